"""JSON: one object with all tables (``json``), or one record a line (``jsonl``).

Written by hand, row by row, because a run may hold hundreds of thousands of sessions and the standard encoder would take longer
than the analysis. All text is ASCII: what is not, control characters and bidi marks included, stands as ``\\u`` escapes
(RFC 8259 section 7); octets that were no UTF-8 stand as ``\\xe9``. Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from analyzer.findings.base import Finding, FindingSink
from analyzer.findings.engine import Engine, push_findings
from analyzer.report.columns import TABLES
from analyzer.report.formats._json_texts import (
    CredentialTexts,
    FindingTexts,
    MessageTexts,
    MigrationTexts,
    Moments,
    Servers,
    SessionTexts,
    Words,
    json_text,
    rfc3339_second,
)
from analyzer.report.migration import Migrants
from analyzer.report.rows import Row, RowMaker, RowSink, judge_passwords, push_rows
from analyzer.report.servers import Postures
from analyzer.sessions.ordering import in_order
from analyzer.sessions.records import Session

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.formats import Job

__all__ = ["RowWriter", "json_text", "rfc3339_second", "write", "write_json", "write_jsonl"]

KIND: Final = "text"
#: It tells the times asked for.
TELLS_TIMES: Final = True
#: Its table of captures has their SHA-256.
HASHED: Final = True
SCHEMA_VERSION: Final = 1
#: Objects joined before they are written: few, so that what is written is still in the processor's cache.
BATCH: Final = 128
#: Sessions that are looked at together for several tables.
TOGETHER: Final = 64
#: Words of one column that are kept as text.
MAX_WORDS: Final = 512
#: Times beyond this (ends of certificates, mostly) need more than 64 bits.
LATE_NS: Final = 1 << 62
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
        self._moments = Moments()
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
        if 0 <= timestamp_ns < LATE_NS:
            return self._moments.text(timestamp_ns)
        second = timestamp_ns // 1_000_000_000
        return f'"{rfc3339_second(second)}.{timestamp_ns - second * 1_000_000_000:09d}Z"'


def write(job: Job, out: TextIO) -> None:
    """The whole run as one object."""
    job.add_hashes()
    write_json(job.result, job.maker, out, job.version)


def write_json(result: Result, maker: RowMaker, out: TextIO, version: str) -> None:
    """One object: ``{"schema_version": 1, "mailtap": version, "captures": [...], "sessions": [...], ...}``.

    Where times were asked for, ``since``, ``until`` (one may be null) and ``left_out`` (sessions) stand before the tables.
    """
    out.write(f'{{"schema_version":{SCHEMA_VERSION},"mailtap":{json_text(version)}')
    if result.since_ns is not None or result.until_ns is not None:
        clock = RowWriter("sessions")
        since, until = ["null" if one is None else clock.time_text(one) for one in (result.since_ns, result.until_ns)]
        out.write(f',"since":{since},"until":{until},"left_out":{result.left_out}')
    tables = _Tables(result, maker, out, False)
    for table in TABLES:
        out.write(f',\n"{table}":[')
        tables.write(table)
        out.write("]")
    out.write("}\n")


def write_jsonl(result: Result, maker: RowMaker, out: TextIO) -> None:
    """One record a line, each with its table's name in front: ``{"table":"sessions",...}``."""
    tables = _Tables(result, maker, out, True)
    for table in TABLES:
        if tables.write(table):
            out.write("\n")


class _Printer(RowSink):
    """Writes objects as they come, in batches."""

    def __init__(self, out: TextIO, between: str, writer: RowWriter) -> None:
        self._out = out
        self._between = between
        self._writer = writer
        self._batch: list[str] = []
        self._size: i64 = 0
        self._begun = False

    def print(self, text: str) -> None:
        """The next object."""
        self._batch.append(text)
        self._size += 1
        if self._size >= BATCH:
            self._write()

    def receive_row(self, row: Row) -> None:
        self.print(self._writer.write(row))

    def _write(self) -> None:
        self._out.write(self._between.join(self._batch))
        self._begun = True
        # Whatever comes next stands behind one more separator.
        self._batch = [""]
        self._size = 0

    def finish(self) -> bool:
        """Write what has come together; whether there was anything at all."""
        if self._size > 0:
            self._write()
        return self._begun


class _FindingPrinter(FindingSink):
    """Writes findings as they come."""

    def __init__(self, printer: _Printer, texts: FindingTexts) -> None:
        self._printer = printer
        self._texts = texts

    def receive_finding(self, finding: Finding) -> None:
        self._printer.print(self._texts.text(finding))


class _Tables:
    """Writes the tables of one run: the large ones straight from the records, the others row by row."""

    def __init__(self, result: Result, maker: RowMaker, out: TextIO, named: bool) -> None:
        self._result = result
        self._maker = maker
        self._out = out
        self._named: bool = named
        self._postures = Postures(maker.trust)
        self._migrants = Migrants()
        self._words = Words()
        self._servers = Servers()
        #: the sessions as the rules want to have them
        self._ordered: list[Session] = result.sessions if result.in_order else in_order(result.sessions)

    def write(self, table: str) -> bool:
        """One table; whether it has any rows."""
        maker = self._maker
        sessions = self._result.sessions
        head = f'{{"table":"{table}",' if self._named else "{"
        printer = _Printer(self._out, "\n" if self._named else ",\n", RowWriter(table, head))
        if table == "sessions":
            session_texts = SessionTexts(head, self._words, self._servers)
            for session in sessions:
                printer.print(session_texts.text(session))
        elif table == "credentials":
            judge_passwords(self._ordered, maker.strength, True)
            self._write_credentials(printer, CredentialTexts(head, maker, self._words, self._servers))
        elif table == "messages":
            message_texts = MessageTexts(head, maker)
            for session in sessions:
                messages = session.message_list
                if messages is not None:
                    for message in messages:
                        printer.print(message_texts.text(session, message))
        elif table == "findings":
            engine = Engine(
                _FindingPrinter(printer, FindingTexts(head, self._words, self._servers)),
                trust=maker.trust,
                strength=maker.strength,
            )
            push_findings(self._ordered, self._result.captures, engine, True)
            for sentence in engine.notes():
                maker.note(sentence)
        elif table == "servers":
            for server in self._postures.found:
                printer.receive_row(maker.server(server))
        elif table == "migration":
            migration_texts = MigrationTexts(head, self._words)
            for migrant in self._migrants.finish(self._postures.found).rows:
                printer.print(migration_texts.text(migrant))
        else:
            push_rows(table, sessions, self._result.captures, maker, printer)
        return printer.finish()

    def _write_credentials(self, printer: _Printer, texts: CredentialTexts) -> None:
        """The credentials; and what servers and settings need, collected on the way.

        Sessions are many and far from the processor: to look at each once less saves more than the second loop takes. Few at a time,
        because the code of both does not fit into its cache.
        """
        sessions = self._result.sessions
        count: i64 = len(sessions)
        at: i64 = 0
        while at < count:
            end: i64 = min(at + TOGETHER, count)
            for session in sessions[at:end]:
                credentials = session.credentials
                if credentials is not None:
                    for credential in credentials:
                        printer.print(texts.text(session, credential))
            while at < end:
                session = sessions[at]
                self._postures.receive(session)
                self._migrants.receive(session)
                at += 1
