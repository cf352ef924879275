"""Batches of records as rows of the store.

The rows of the report (``analyzer.report.rows``: secrets are masked there), with their values in the shape that databases take.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from analyzer.capture.base import CaptureStats
from analyzer.findings.base import Finding
from analyzer.monitor.batch import Batch
from analyzer.monitor.pickles import RecordTooLarge, dump_session, shortened
from analyzer.monitor.schema import MOMENTS
from analyzer.report.columns import TABLES
from analyzer.report.rows import Row, RowMaker
from analyzer.report.visible import visible
from analyzer.sessions.records import Session

Values = dict[str, Any]

#: Octets that a row takes beside its text and its record, with its share of indexes and findings (measured: a fifth more than PostgreSQL takes).
ROW_OCTETS: Final = 600
#: Octets of memory that a row takes while it waits, measured; its record comes on top.
WAITING_OCTETS: Final = 1200
#: Characters of one text in a row; the record has all of it.
MAX_CELL: Final = 65536
#: The largest number of a column, and sentences about single records of a batch.
MAX_NUMBER: Final = (1 << 63) - 1
MAX_FAULTS: Final = 3
#: Lists whose JSON is at hand.
MAX_LISTS: Final = 1024

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SessionRows:
    """The rows of one session in all tables."""

    __slots__ = ("certificates", "credentials", "final", "messages", "session", "stored_ns", "tls")

    def __init__(self, session: Values, final: bool) -> None:
        self.session = session
        self.final = final
        self.stored_ns: int = session["stored_ns"]
        self.credentials: list[Values] = []
        self.tls: Values | None = None
        self.messages: list[Values] = []
        #: SHA-256 -> DER
        self.certificates: dict[bytes, bytes] = {}


class BatchRows:
    """The rows of batches. Keys are (sensor, identifier); what comes later replaces what came before."""

    def __init__(self) -> None:
        self.sessions: dict[tuple[str, str], SessionRows] = {}
        self.findings: dict[tuple[str, str], Values] = {}
        self.captures: dict[tuple[str, str, int], Values] = {}
        #: octets of memory that they take, more or less
        self.octets: int = 0
        #: sentences about records that could not be rendered, and their number
        self.faults: list[str] = []
        self.left_out: int = 0

    def fault(self, sentence: str) -> None:
        """Keep a sentence about a record, a few at most."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(sentence)

    def parts(self) -> list[tuple[str, BatchRows]]:
        """Every row apart, and what to call it: sessions (with their credentials and so on), findings, captures, in this order."""
        found: list[tuple[str, BatchRows]] = []
        for key, session in self.sessions.items():
            found.append((f"session {key[1]}", BatchRows()))
            found[-1][1].sessions[key] = session
        for key, finding in self.findings.items():
            found.append((f"finding {key[1]} of rule {finding['rule']}", BatchRows()))
            found[-1][1].findings[key] = finding
        for name, capture in self.captures.items():
            found.append((f"what is counted of {name[1]}", BatchRows()))
            found[-1][1].captures[name] = capture
        return found

    def stub(self) -> BatchRows | None:
        """Of the sessions their own rows alone, with numbers that any database takes; None where there are none."""
        if not self.sessions:
            return None
        found = BatchRows()
        for key, session in self.sessions.items():
            found.sessions[key] = SessionRows(
                {name: _fitting(one) for name, one in session.session.items()}, session.final
            )
        return found

    def add(self, later: BatchRows) -> None:
        """Take in the rows of a later batch."""
        final: set[tuple[str, str]] = set()
        for key, rows in later.sessions.items():
            known = self.sessions.get(key)
            if known is None or rows.final or not known.final:
                self.sessions[key] = rows
            if rows.final:
                final.add(key)
        if final and self.findings:
            # As in the database: with the final record go the findings that were provisional.
            self.findings = {
                key: row
                for key, row in self.findings.items()
                if row["final"] or (row["sensor"], row["session_id"]) not in final
            }
        self.findings.update(later.findings)
        self.captures.update(later.captures)
        self.octets += later.octets


class Renderer:
    """Makes rows of batches for one kind of database."""

    def __init__(self, maker: RowMaker, sensor: str, dialect: str) -> None:
        self.maker = maker
        self.sensor = sensor
        #: the wall clock, by which rows are stored
        self.clock: Callable[[], int] = time.time_ns
        self._stored: Values = {}
        #: lists and their JSON: clients offer the same suites again and again
        self._lists: dict[tuple[str, ...], str] = {}
        moment: Callable[[int], Any] = readable_text if dialect == "sqlite" else readable_datetime
        self._moment = moment
        changes: dict[str, Callable[[Any], Any]] = {"time": moment, "list": self._list, "text": _cell, "word": _cell}
        self._plans: dict[str, list[tuple[str, str, Callable[[Any], Any]]]] = {
            name: [
                (
                    column.name,
                    f"{column.name}_ns" if column.kind == "time" and column.name in MOMENTS else "",
                    changes.get(column.kind, _as_it_is),
                )
                for column in columns
            ]
            for name, columns in TABLES.items()
        }

    def _list(self, values: list[str]) -> str:
        key = tuple(values)
        found = self._lists.get(key)
        if found is None:
            if len(self._lists) >= MAX_LISTS:
                self._lists.clear()
            found = self._lists[key] = json.dumps(values)
        return found

    def render(self, batch: Batch) -> BatchRows:
        """The rows of a batch. A record that cannot be rendered is left out, and said: it must not keep the others from the store."""
        rows = BatchRows()
        now_ns = self.clock()
        self._stored = {"stored": self._moment(now_ns), "stored_ns": now_ns}
        for session, final in batch.sessions:
            try:
                self._session(rows, session, final)
            except Exception as error:  # noqa: BLE001 - a fault of ours in one record costs that record
                self._contain(rows, f"the record of session {session.session_id()}", error)
        for finding, final in batch.findings:
            try:
                self._finding(rows, finding, final)
            except Exception as error:  # noqa: BLE001 - as above
                self._contain(rows, f"a finding of rule {finding.slug}", error)
        for stats in batch.captures:
            self._capture(rows, stats)
        return rows

    def _contain(self, rows: BatchRows, what: str, error: Exception) -> None:
        rows.left_out += 1
        rows.fault(f"{what} could not be stored ({type(error).__name__}): a fault of mailtap, please report it")

    def _values(self, table: str, row: Row, final: bool) -> Values:
        values: Values = {"final": final}
        for (name, ns, change), value in zip(self._plans[table], row, strict=True):
            if ns:
                values[ns] = value
            values[name] = None if value is None else change(value)
        return values

    def _session(self, rows: BatchRows, session: Session, final: bool) -> None:
        maker = self.maker
        values = self._values("sessions", maker.session(session), final)
        values |= self._stored
        sensor = values["sensor"] = values["sensor"] or self.sensor
        identifier = values["session_id"]
        found = SessionRows(values, final)
        record, session = self._record(rows, session, found)
        for n, credential in enumerate(session.credentials or ()):
            row = self._values("credentials", maker.credential(session, credential), final)
            row["sensor"], row["n"] = sensor, n
            found.credentials.append(row)
        if session.tls is not None:
            found.tls = self._values("tls", maker.tls(session, session.tls), final)
            found.tls["sensor"] = sensor
        for n, message in enumerate(session.message_list or ()):
            row = self._values("messages", maker.message(session, message), final)
            row["sensor"], row["n"] = sensor, n
            found.messages.append(row)
        rendered = [values, *found.credentials, *found.messages]
        if found.tls is not None:
            rendered.append(found.tls)
        count = len(rendered)
        values["octets"] = len(record) + ROW_OCTETS * count + sum(map(_text_octets, rendered))
        values["record"] = record
        rows.octets += len(record) + WAITING_OCTETS * count
        rows.sessions[sensor, identifier] = found

    def _record(self, rows: BatchRows, session: Session, found: SessionRows) -> tuple[bytes, Session]:
        """The record of a session, and what of it the other tables are to say: all of it unless it is too large."""
        try:
            record, found.certificates = dump_session(session)
        except RecordTooLarge as error:
            rows.fault(
                f"{error}: of session {session.session_id()} the store keeps its own row and its first logins, not its messages"
            )
        else:
            return (record, session)
        short = shortened(session)
        try:
            record, found.certificates = dump_session(short)
        except RecordTooLarge:
            record = b""
        return (record, short)

    def _finding(self, rows: BatchRows, finding: Finding, final: bool) -> None:
        values = self._values("findings", self.maker.finding(finding), final)
        values |= self._stored
        session = finding.session
        values["sensor"] = (session.sensor if session is not None else "") or self.sensor
        rows.octets += WAITING_OCTETS
        rows.findings[values["sensor"], values["finding_id"]] = values

    def _capture(self, rows: BatchRows, stats: CaptureStats) -> None:
        values = self._values("captures", self.maker.capture(stats), final=True)
        values |= self._stored
        values["sensor"] = self.sensor
        values["first_ns"] = stats.first_ns if stats.packets else 0
        values["record"] = json.dumps(
            {
                "linktypes": stats.linktypes, "cut": stats.cut, "undecoded": stats.undecoded, "warnings": stats.warnings,
                "first_ns": stats.first_ns, "last_ns": stats.last_ns, "name": stats.name,
            }
        )  # fmt: skip
        rows.captures[self.sensor, values["capture"], values["first_ns"]] = values


def _text_octets(row: Values) -> int:
    return sum([len(value) for value in row.values() if type(value) is str])


def _fitting(value: Any) -> Any:
    return max(-MAX_NUMBER - 1, min(value, MAX_NUMBER)) if type(value) is int else value


def _as_it_is(value: Any) -> Any:
    return value


def _cell(value: Any) -> Any:
    return visible(value)[:MAX_CELL]


def readable_text(moment_ns: int) -> str | None:
    """Nanoseconds since the epoch as RFC 3339 text in UTC, as in JSON; None for 0, which is not known, and beyond the year 9999."""
    if moment_ns == 0:
        return None
    second, rest = divmod(moment_ns, 1_000_000_000)
    try:
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(second))}.{rest:09d}Z"
    except (ValueError, OverflowError):
        return None


def readable_datetime(moment_ns: int) -> datetime | None:
    """The same for databases that know time: whole microseconds."""
    if moment_ns == 0:
        return None
    try:
        return _EPOCH + timedelta(microseconds=moment_ns // 1000)
    except OverflowError:
        return None
