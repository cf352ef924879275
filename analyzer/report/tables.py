"""The report: one run's records as pandas data frames.

Each table is made when it is first asked for, column by column, with the types of :mod:`analyzer.report.columns`: present and
typed even when it is empty. Text columns use pandas' ``string`` type over Python objects, so that octets which were no UTF-8
survive and results are the same with and without pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from analyzer.capture.files import sha256_of
from analyzer.errors import CaptureError
from analyzer.report.columns import TABLES
from analyzer.report.rows import RowList, RowMaker, push_rows

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.pipeline import Result

#: Column type -> pandas type.
_NUMBERS: Final[dict[str, Literal["Int64", "boolean"]]] = {"count": "Int64", "flag": "boolean"}


def frame_of(table: str, rows: list[list[object]]) -> pd.DataFrame:
    """Rows of a table as a typed data frame."""
    import pandas as pd  # noqa: PLC0415 - start-up

    columns = TABLES[table]
    data: dict[str, pd.Series] = {}
    for index, column in enumerate(columns):
        values: Any = [row[index] for row in rows]
        if column.kind == "time":
            series = pd.Series(pd.array(values, dtype="Int64"))
            data[column.name] = pd.to_datetime(series, unit="ns", utc=True).astype("datetime64[ns, UTC]")
        elif column.kind in _NUMBERS:
            data[column.name] = pd.Series(pd.array(values, dtype=_NUMBERS[column.kind]))
        elif column.kind == "word":
            data[column.name] = pd.Series(pd.array(values, dtype=pd.StringDtype(storage="python"))).astype("category")
        elif column.kind == "list":
            data[column.name] = pd.Series([list(value) if isinstance(value, list) else [] for value in values], dtype="object")
        else:
            data[column.name] = pd.Series(pd.array(values, dtype=pd.StringDtype(storage="python")))
    return pd.DataFrame(data, columns=[column.name for column in columns])


class Report:
    """What one run over captures found.

    ``sessions``, ``credentials``, ``tls``, ``messages``, ``findings``, ``servers``, ``migration`` and ``captures`` are data frames; their
    columns are described in :mod:`analyzer.report.columns`. ``warnings`` are sentences about what went wrong or was left out.
    """

    def __init__(self, result: Result, maker: RowMaker) -> None:
        self.result = result
        self._maker = maker
        self._frames: dict[str, pd.DataFrame] = {}

    def table(self, name: str) -> pd.DataFrame:
        """One table by its name.

        Raises:
            KeyError: there is no such table.
        """
        frame = self._frames.get(name)
        if frame is None:
            if name not in TABLES:
                raise KeyError(name)
            if name == "captures":
                add_hashes(self.result)
            sink = RowList()
            push_rows(name, self.result.sessions, self.result.captures, self._maker, sink)
            frame = frame_of(name, sink.rows)
            self._frames[name] = frame
        return frame

    @property
    def sessions(self) -> pd.DataFrame:
        """One row a connection to a mail service (or a mail port)."""
        return self.table("sessions")

    @property
    def credentials(self) -> pd.DataFrame:
        """One row an authentication of which anything was readable."""
        return self.table("credentials")

    @property
    def tls(self) -> pd.DataFrame:
        """One row a TLS handshake."""
        return self.table("tls")

    @property
    def messages(self) -> pd.DataFrame:
        """One row a message seen in clear."""
        return self.table("messages")

    @property
    def findings(self) -> pd.DataFrame:
        """One row a finding."""
        return self.table("findings")

    @property
    def servers(self) -> pd.DataFrame:
        """One row a server address, port and protocol."""
        return self.table("servers")

    @property
    def migration(self) -> pd.DataFrame:
        """One row a client, server and account still in clear."""
        return self.table("migration")

    @property
    def captures(self) -> pd.DataFrame:
        """One row a capture file."""
        return self.table("captures")

    @property
    def warnings(self) -> list[str]:
        """What went wrong or was left out, in sentences."""
        return self.result.warnings + [str(error) for error in self.result.failures]

    def __repr__(self) -> str:
        from analyzer.report.summary import summarize  # noqa: PLC0415 - start-up

        total = summarize(self.result.sessions)
        return (
            f"<Report of {len(self.result.captures)} capture(s): {total.mail:,} mail sessions, {total.plaintext:,} in clear, "
            f"{total.starttls:,} STARTTLS, {total.implicit_tls:,} implicit TLS, {len(total.exposed_accounts()):,} accounts exposed>"
        )


def add_hashes(result: Result) -> None:
    """Fill in the SHA-256 of the captures: read again, because hashing along would slow every run down for a column few ask for."""
    for stats in result.captures:
        if stats.sha256 is None and stats.name != "-":
            try:
                stats.sha256 = sha256_of(stats.name)
            except CaptureError as error:
                result.warnings.append(str(error))
