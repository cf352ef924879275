"""Parquet: every table in a file of its name, typed as in :mod:`analyzer.report.columns`, in a folder. Needs pyarrow, not pandas.

``word`` columns are dictionaries (pandas reads them as categories), times are nanoseconds in UTC, lists are lists of strings. Octets
that were no UTF-8 stand as ``\\xe9``, as in JSON. The schema carries the version of mailtap, and what each column means.

A saved report (:mod:`analyzer.report.store`) is written by the same :class:`TableWriter`, but exact: there a column with such octets
is binary, encoded with ``surrogatepass``, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from analyzer.report.columns import TABLES, Column
from analyzer.report.formats._folder import whole_folder
from analyzer.report.rows import Row, RowSink

if TYPE_CHECKING:
    from pathlib import Path

    from analyzer.report.formats import Job

KIND: Final = "folder"
#: Its table of captures has their SHA-256.
HASHED: Final = True
NEEDS: Final = ("pyarrow", "parquet")
#: Rows of a row group: bounds the memory a table needs on its way out.
GROUP: Final = 65536


class TableWriter(RowSink):
    """Writes the rows of one table, a row group at a time."""

    def __init__(self, table: str, path: Path, version: str) -> None:
        self.table = table
        self._path = path
        self._version = version
        self._file: Any = None
        self._rows: list[Row] = []

    def receive_row(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        columns = TABLES[self.table]
        self.write([array_of(column, [row[at] for row in self._rows]) for at, column in enumerate(columns)])
        self._rows = []

    def write(self, arrays: Sequence[Any]) -> None:
        """Arrays of Arrow, one a column, as a row group; their types are those of the first group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._file is None:
            schema = schema_of(self.table, [array.type for array in arrays], self._version)
            self._file = pq.ParquetWriter(self._path, schema, compression="zstd")
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._file.schema), row_group_size=GROUP)

    def close(self) -> None:
        """Write what is left; a table without rows has its schema alone."""
        if self._rows or self._file is None:
            self._flush()
        self._file.close()

    def discard(self) -> None:
        """Let go of a file that is not to be finished."""
        if self._file is not None:
            self._file.close()


def schema_of(table: str, types: Sequence[Any], version: str) -> Any:
    """The schema of a table whose columns have these types of Arrow."""
    import pyarrow as pa

    fields = [
        pa.field(column.name, kind, metadata={"meaning": column.meaning})
        for column, kind in zip(TABLES[table], types, strict=True)
    ]
    return pa.schema(fields, metadata={"mailtap": version, "schema_version": "1", "table": table})


def array_of(column: Column, values: Sequence[Any], *, exact: bool = False) -> Any:
    """Values of a column as an array of Arrow; times are nanoseconds since the epoch, None is null.

    Octets that were no UTF-8 are written out; with ``exact`` a column that holds any is binary.
    """
    import pyarrow as pa

    if column.kind == "list":
        items: Sequence[Any] = [[] if cell is None else [str(one) for one in cell] for cell in values]
        if not exact:
            return pa.array([[_well_formed(one) for one in cell] for cell in items], pa.list_(pa.string()))
        try:
            return pa.array(items, pa.list_(pa.string()))
        except UnicodeEncodeError:
            return pa.array([[encoded(one) for one in cell] for cell in items], pa.list_(pa.binary()))
    if column.kind in ("text", "word"):
        if not exact:
            values = [None if value is None else _well_formed(str(value)) for value in values]
        try:
            text = pa.array(values, pa.string())
        except UnicodeEncodeError:
            return pa.array([None if value is None else encoded(value) for value in values], pa.binary())
        return text.dictionary_encode() if column.kind == "word" else text
    kinds = {"count": pa.int64(), "flag": pa.bool_(), "time": pa.timestamp("ns", "UTC")}
    return pa.array(values, kinds[column.kind])


def encoded(text: str) -> bytes:
    """Text with whatever octets it came with; the reverse decodes with ``surrogatepass``."""
    return text.encode("utf-8", "surrogatepass")


def _well_formed(text: str) -> str:
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_folder(job: Job, folder: Path) -> None:
    """Every table in a file of its name."""
    job.add_hashes()
    with whole_folder(folder, private=job.maker.show_secrets) as part:
        for table in TABLES:
            writer = TableWriter(table, part / f"{table}.parquet", job.version)
            try:
                job.push(table, writer)
            except BaseException:
                writer.discard()
                raise
            writer.close()
