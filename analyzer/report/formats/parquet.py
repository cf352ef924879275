"""Parquet: every table in a file of its name, typed as in :mod:`analyzer.report.columns`, in a folder. Needs pyarrow, not pandas.

``word`` columns are dictionaries (pandas reads them as categories), times are nanoseconds in UTC, lists are lists of strings. Octets
that were no UTF-8 stand as ``\\xe9``, as in JSON. The schema carries the version of mailtap, and what each column means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from analyzer.report.columns import TABLES, Column
from analyzer.report.rows import Row, RowSink

if TYPE_CHECKING:
    from pathlib import Path

    from analyzer.report.formats import Job

KIND: Final = "folder"
NEEDS: Final = ("pyarrow", "parquet")
#: Rows of a row group: bounds the memory a table needs on its way out.
GROUP: Final = 65536


class _Writer(RowSink):
    """Writes the rows of one table, a row group at a time."""

    def __init__(self, table: str, path: Path, version: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._types = [_type_of(column) for column in TABLES[table]]
        fields = [
            pa.field(column.name, kind, metadata={"meaning": column.meaning})
            for column, kind in zip(TABLES[table], self._types, strict=True)
        ]
        self._schema = pa.schema(fields, metadata={"mailtap": version, "schema_version": "1", "table": table})
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def receive_row(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        arrays = []
        for index, kind in enumerate(self._types):
            values = [_value(row[index]) for row in self._rows]
            if pa.types.is_dictionary(kind):
                arrays.append(pa.array(values, pa.string()).dictionary_encode())
            else:
                arrays.append(pa.array(values, kind))
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def close(self) -> None:
        """Write what is left; a table without rows has its schema alone."""
        self._flush()
        self._file.close()


def _type_of(column: Column) -> Any:
    import pyarrow as pa

    kinds = {
        "text": pa.string(),
        "word": pa.dictionary(pa.int32(), pa.string()),
        "count": pa.int64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("ns", "UTC"),
        "list": pa.list_(pa.string()),
    }
    return kinds[column.kind]


def _value(value: object) -> object:
    """A value as Arrow takes it: strings are well-formed."""
    if isinstance(value, str):
        return value if value.isascii() else _well_formed(value)
    if isinstance(value, list):
        return [_well_formed(str(one)) for one in value]
    return value


def _well_formed(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_folder(job: Job, folder: Path) -> None:
    """Every table in a file of its name."""
    job.add_hashes()
    folder.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        writer = _Writer(table, folder / f"{table}.parquet", job.version)
        try:
            job.push(table, writer)
        finally:
            writer.close()
