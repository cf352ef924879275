"""JSON: one object with all tables (``json``), or one record a line (``jsonl``).

Written by hand, row by row, because a run may hold hundreds of thousands of sessions and the standard encoder would take longer
than the analysis. All text is ASCII: what is not, control characters and bidi marks included, stands as ``\\u`` escapes
(RFC 8259 section 7); octets that were no UTF-8 stand as ``\\xe9``. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

import json
import time
from json.encoder import encode_basestring_ascii as encode_ascii
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

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
#: Words of one column that are kept as text.
MAX_WORDS: Final = 512
#: What no row holds.
_NOTHING: Final = object()


class RowWriter:
    """Turns the rows of one table into JSON objects.

    Neighbouring rows have most words in common: a value that is the same object as in the row before is not written anew,
    and words that come again and again are kept with their column's name.
    """

    def __init__(self, table: str, head: str = "{") -> None:
        columns = TABLES[table]
        #: what stands before each value: the column's name, and a comma or what opens the object
        self.heads: list[str] = [f',"{column.name}":' for column in columns]
        self.heads[0] = head + self.heads[0][1:]
        self.times: list[bool] = [column.kind == "time" for column in columns]
        self.second: int = -1
        self.prefix: str = ""
        self._last: list[object] = [_NOTHING] * len(columns)
        self._last_text: list[str] = [""] * len(columns)
        #: column -> word -> its text; None for a column of ever new words
        self._words: list[dict[str, str] | None] = [{} for _ in columns]

    def write(self, row: Row) -> str:
        """One JSON object on one line."""
        parts: list[str] = []
        self.write_to(row, parts)
        return "".join(parts)

    def write_to(self, row: Row, parts: list[str]) -> None:
        """One JSON object on one line, in pieces."""
        heads = self.heads
        last = self._last
        texts = self._last_text
        count: i64 = len(heads)
        at: i64 = 0
        while at < count:
            value = row[at]
            if value is not last[at]:
                text = heads[at]
                if value is None:
                    text += "null"
                elif isinstance(value, str):
                    text = self._word(at, value)
                elif isinstance(value, bool):
                    text += "true" if value else "false"
                elif isinstance(value, int):
                    text += self.time_text(value) if self.times[at] else str(value)
                elif isinstance(value, list):
                    text += f"[{','.join([json_text(str(one)) for one in value])}]" if value else "[]"
                else:
                    text += json_text(str(value))
                last[at] = value
                texts[at] = text
            parts.append(texts[at])
            at += 1
        parts.append("}")

    def _word(self, at: i64, value: str) -> str:
        words = self._words[at]
        if words is None:
            return self.heads[at] + json_text(value)
        text = words.get(value)
        if text is None:
            text = self.heads[at] + json_text(value)
            words[value] = text
            if len(words) > MAX_WORDS:
                self._words[at] = None
        return text

    def time_text(self, timestamp_ns: int) -> str:
        """A time as RFC 3339, with nanoseconds."""
        second = timestamp_ns // 1_000_000_000
        if second != self.second:
            self.second = second
            self.prefix = rfc3339_second(second)
        return f'"{self.prefix}.{str(timestamp_ns - second * 1_000_000_000 + 1_000_000_000)[1:]}Z"'


def rfc3339_second(second: int) -> str:
    """A second since the epoch as ``2026-01-31T23:59:59``; years beyond 9999 (a damaged capture) as the last second of 9999."""
    moment = time.gmtime(min(max(second, -62135596800), 253402300799))
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )


def json_text(text: str) -> str:
    """A JSON string."""
    if text.isascii():
        return encode_ascii(text)
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
        self._writer = RowWriter(table, f'{{"table":"{table}",' if named else "{")
        self._out = out
        self._between = "\n" if named else ",\n"
        self._batch: list[str] = []
        self._rows: i64 = 0
        self.written = False

    def receive_row(self, row: Row) -> None:
        if self.written:
            self._batch.append(self._between)
        self.written = True
        self._writer.write_to(row, self._batch)
        self._rows += 1
        if self._rows >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Write what has come together."""
        if self._batch:
            self._out.write("".join(self._batch))
            self._batch = []
            self._rows = 0


def _write_rows(result: Result, maker: RowMaker, table: str, out: TextIO, named: bool) -> None:
    printer = _RowPrinter(table, out, named)
    push_rows(table, result.sessions, result.captures, maker, printer)
    printer.flush()
    if named and printer.written:
        out.write("\n")
