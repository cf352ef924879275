"""The report: what one run found, as pandas data frames, with pictures of them.

Each table is made when it is first asked for, with the types of :mod:`analyzer.report.columns`: present and typed even when it
is empty. A report is made of a run's records, or of frames: those of a saved report, of a filtered one, of several joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, overload

from analyzer.capture.files import sha256_of
from analyzer.collecting import uncollected
from analyzer.errors import CaptureError
from analyzer.report.columns import TABLES
from analyzer.report.frames import frame_of
from analyzer.report.rows import RowList, RowMaker, push_rows

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import pandas as pd

    from analyzer.pipeline import Result
    from analyzer.report.charts import Charts

#: What one row of each table is.
ROWS: Final = {
    "captures": "One row a capture file",
    "sessions": "One row a connection to a mail service (or a mail port)",
    "credentials": "One row an authentication of which anything was readable",
    "tls": "One row a TLS handshake",
    "messages": "One row a message seen in clear",
    "findings": "One row a finding, in order of their sessions",
    "servers": "One row a server address, port and protocol",
    "migration": "One row a client, server and account still in clear",
}

#: Column type -> the pandas type behind it.
TYPES: Final = {
    "text": "string",
    "word": "category",
    "count": "Int64",
    "flag": "boolean",
    "time": "datetime64[ns, UTC]",
    "list": "object, lists of text",
}


class Table:
    """A table of a :class:`Report`, as an attribute: a data frame, documented column by column."""

    def __init__(self, name: str) -> None:
        self.name = name
        lines = [f"{column.name} ({TYPES[column.kind]}): {column.meaning}" for column in TABLES[name]]
        self.__doc__ = f"{ROWS[name]}. Columns:\n\n" + "\n".join(lines)

    @overload
    def __get__(self, report: None, owner: type) -> Table: ...

    @overload
    def __get__(self, report: Report, owner: type) -> pd.DataFrame: ...

    def __get__(self, report: Report | None, owner: type) -> Table | pd.DataFrame:
        return self if report is None else report.table(self.name)

    def __set__(self, report: Report, value: object) -> None:
        message = f"the table {self.name} is what was found; work on a copy of it"
        raise AttributeError(message)


class Report:
    """What was found in captures: eight data frames, and ways to look at them.

    ``report.sessions`` and its like are data frames; ``help(analyzer.Report.sessions)`` explains the columns of one.
    ``report.charts`` draws, ``report.summary()`` counts, ``report.filter(client="10.0.0.7")`` narrows down,
    ``report.save(folder)`` keeps it for :func:`analyzer.load`, ``report.save("report.html")`` writes it as the command does.
    """

    captures = Table("captures")
    sessions = Table("sessions")
    credentials = Table("credentials")
    tls = Table("tls")
    messages = Table("messages")
    findings = Table("findings")
    servers = Table("servers")
    migration = Table("migration")

    def __init__(
        self,
        result: Result | None = None,
        maker: RowMaker | None = None,
        *,
        frames: Mapping[str, pd.DataFrame] | None = None,
        warnings: Iterable[str] = (),
        sealed: Mapping[str, list[str]] | None = None,
    ) -> None:
        #: the records behind the tables; None where the report was made of frames
        self.result = result
        #: what makes rows of them
        self.maker = RowMaker() if maker is None and result is not None else maker
        self._frames: dict[str, pd.DataFrame] = dict(frames or {})
        self._warnings = list(warnings)
        self._sealed = dict(sealed or {})

    def table(self, name: str) -> pd.DataFrame:
        """One table by its name.

        Raises:
            KeyError: there is no such table.
        """
        frame = self._frames.get(name)
        if frame is None:
            if name not in TABLES:
                raise KeyError(name)
            with uncollected():
                sink = RowList()
                if self.result is not None and self.maker is not None:
                    if name == "captures":
                        add_hashes(self.result)
                    push_rows(name, self.result.sessions, self.result.captures, self.maker, sink)
                frame = frame_of(name, sink.rows)
            self._frames[name] = frame
        return frame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        return {name: self.table(name) for name in TABLES}

    @property
    def sealed(self) -> Mapping[str, list[str]]:
        """Capture -> the identifiers of sessions whose TLS secrets it holds, unused; ``warnings`` tell how many."""
        return self._sealed if self.result is None else self.result.sealed

    @property
    def warnings(self) -> list[str]:
        """What went wrong or was left out, in sentences."""
        if self.result is None:
            return list(self._warnings)
        notes = self.maker.notes if self.maker is not None else []
        window = [self.result.window()] if self.result.window() else []
        return self._warnings + window + self.result.warnings + notes + [str(error) for error in self.result.failures]

    @property
    def charts(self) -> Charts:
        """Charts of this report: ``report.charts.exposure()``; each takes ``ax=None`` and gives matplotlib's Axes."""
        from analyzer.report.charts import Charts

        return Charts(self)

    def summary(self) -> pd.DataFrame:
        """The report in one small table: a row for each protocol and one for all, their counts beside it.

        ``sessions``, of them ``plaintext``, ``starttls``, ``implicit_tls`` and ``unknown``; ``logins_exposed``: logins whose password or token was
        readable; ``accounts_exposed``: accounts, by name, of which one was, on ``servers_exposed`` servers (address and port); ``logins_hashed`` and
        ``accounts_hashed``: those of which only a hash was readable (challenge and response), from which the password can be guessed;
        ``messages_exposed``: whole messages readable; ``findings``, and ``findings_serious``: those of severity ``high`` or ``critical``. All
        findings are more than those of the protocols together where some are of a capture as a whole.
        """
        from analyzer.report.cards import summary_of

        return summary_of(self)

    def filter(
        self,
        *,
        client: str | Iterable[str] | None = None,
        server: str | Iterable[str] | None = None,
        protocol: str | Iterable[str] | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
    ) -> Report:
        """The part of the report that is about some sessions only.

        Args:
            client: addresses or networks of clients (``10.0.0.7``, ``10.0.0.0/8``).
            server: addresses or networks of servers, with a port where wanted (``192.0.2.10:110``, ``[2001:db8::1]:993``).
            protocol: ``pop3 imap smtp lmtp managesieve unknown``.
            since: sessions alive at or after this time (UTC where no zone is given; or 24h for 24 hours ago).
            until: sessions alive at or before this time.

        Of the sessions between two times everything is found anew, as :func:`analyzer.analyze` does for these times, where the report has records.
        Otherwise (a report that was saved, joined or narrowed down before, which ``warnings`` says then; and always by client, server and
        protocol) ``credentials``, ``tls``, ``messages`` and ``findings`` keep the rows of the sessions that are left, and ``servers`` and ``migration``
        those of their servers and clients as they are, known from the whole report. ``captures`` and findings about captures stay.

        Raises:
            UsageError: an address, protocol or time is none.
        """
        from analyzer.report.selection import filtered

        return filtered(self, client=client, server=server, protocol=protocol, since=since, until=until)

    def save(self, path: str | Path, format: str | None = None, *, table: str = "sessions") -> Path:  # noqa: A002 - the command's word
        """Write the report: into a folder, a Parquet file a table, which :func:`analyzer.load` reads back, nothing lost; or in another format.

        Args:
            path: the folder; or a file whose ending tells its format (``.html .json .jsonl .md .csv .xlsx .txt``), as on the command line.
            format: any format of ``mailtap analyze --format``, whatever the ending; ``parquet`` is the folder.
            table: the table that goes into a ``.csv`` file (in a folder, ``csv`` writes them all).

        What was there before is replaced. Secrets are saved as they are in ``credentials``: masked, unless they were asked for.

        Raises:
            UsageError: what the format needs is not installed (``pip install "mailtap[parquet]"``), there is no such format or table, a folder
                stands where a file is to be, or a file where a folder; or the format is made of records, and the report holds tables alone.
            OutputError: it could not be written.
        """
        from analyzer.report.store import save

        return save(self, path, format, table)

    def __repr__(self) -> str:
        from analyzer.report.cards import sentence

        return f"<Report of {sentence(self)}>"

    def _repr_html_(self) -> str:
        from analyzer.report.cards import html_card

        return html_card(self)


def add_hashes(result: Result) -> None:
    """Fill in the SHA-256 of captures that were not hashed as they were read: who did not ask then has to read them again.

    Who has stopped the run would not wait for that.
    """
    if result.stored or result.interrupted:
        return
    for stats in result.captures:
        if stats.sha256 is None and stats.name != "-":
            try:
                stats.sha256 = sha256_of(stats.name, stats.identity)
            except CaptureError as error:
                result.warnings.append(str(error))
