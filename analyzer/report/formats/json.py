"""JSON: one object with all tables (``json``), or one record a line (``jsonl``).

Written by hand, row by row, because a run may hold hundreds of thousands of sessions and the standard encoder would take longer
than the analysis. All text is ASCII: what is not, control characters and bidi marks included, stands as ``\\u`` escapes
(RFC 8259 section 7); octets that were no UTF-8 stand as ``\\xe9``. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from analyzer.report.columns import TABLES
from analyzer.report.rows import Row, RowMaker, RowSink, push_rows

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.formats import Job

KIND: Final = "text"
SCHEMA_VERSION: Final = 1
#: Rows joined before they are written.
BATCH: Final = 512


class RowWriter:
    """Turns the rows of one table into JSON objects."""

    def __init__(self, table: str) -> None:
        columns = TABLES[table]
        self.heads: list[str] = [f'"{column.name}":' for column in columns]
        self.times: list[bool] = [column.kind == "time" for column in columns]
        self.second: int = -1
        self.prefix: str = ""

    def write(self, row: Row) -> str:
        """One JSON object on one line."""
        parts: list[str] = []
        heads = self.heads
        times = self.times
        for at in range(len(heads)):
            value = row[at]
            if value is None:
                text = "null"
            elif isinstance(value, str):
                text = json_text(value)
            elif isinstance(value, bool):
                text = "true" if value else "false"
            elif isinstance(value, int):
                text = self.time_text(value) if times[at] else str(value)
            elif isinstance(value, list):
                text = f"[{','.join([json_text(str(one)) for one in value])}]" if value else "[]"
            else:
                text = json_text(str(value))
            parts.append(heads[at] + text)
        return "{" + ",".join(parts) + "}"

    def time_text(self, timestamp_ns: int) -> str:
        """A time as RFC 3339, with nanoseconds."""
        second = timestamp_ns // 1_000_000_000
        if second != self.second:
            self.second = second
            self.prefix = rfc3339_second(second)
        return f'"{self.prefix}.{timestamp_ns - second * 1_000_000_000:09d}Z"'


def rfc3339_second(second: int) -> str:
    """A second since the epoch as ``2026-01-31T23:59:59``; years beyond 9999 (a damaged capture) as the last second of 9999."""
    moment = time.gmtime(min(max(second, -62135596800), 253402300799))
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )


def json_text(text: str) -> str:
    """A JSON string."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


def write(job: Job, out: TextIO) -> None:
    """The whole run as one object."""
    job.add_hashes()
    write_json(job.result, job.maker, out, job.version)


def write_json(result: Result, maker: RowMaker, out: TextIO, version: str) -> None:
    """One object: ``{"schema_version": 1, "mailtap": version, "captures": [...], "sessions": [...], ...}``."""
    out.write(f'{{"schema_version":{SCHEMA_VERSION},"mailtap":{json_text(version)}')
    for table in TABLES:
        out.write(f',\n"{table}":[')
        _write_rows(result, maker, table, out, False)
        out.write("]")
    out.write("}\n")


def write_jsonl(result: Result, maker: RowMaker, out: TextIO) -> None:
    """One record a line, each with its table's name in front: ``{"table":"sessions",...}``."""
    for table in TABLES:
        _write_rows(result, maker, table, out, True)


class _RowPrinter(RowSink):
    """Writes rows as they come, in batches."""

    def __init__(self, table: str, out: TextIO, named: bool) -> None:
        self._writer = RowWriter(table)
        self._out = out
        self._head = f'{{"table":"{table}",' if named else "{"
        self._between = "\n" if named else ",\n"
        self._batch: list[str] = []
        self.written = False

    def receive_row(self, row: Row) -> None:
        self._batch.append(self._head + self._writer.write(row)[1:])
        if len(self._batch) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has come together."""
        if self._batch:
            text = self._between.join(self._batch)
            self._out.write(self._between + text if self.written else text)
            self.written = True
            self._batch = []


def _write_rows(result: Result, maker: RowMaker, table: str, out: TextIO, named: bool) -> None:
    printer = _RowPrinter(table, out, named)
    push_rows(table, result.sessions, result.captures, maker, printer)
    printer.flush()
    if named and printer.written:
        out.write("\n")
