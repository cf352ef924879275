"""Finished sessions in order of their start, handed on as soon as no session can come that began earlier.

Sessions end in any order; findings and reports take them in order of their start. Keeping all of them to the end of a run costs memory
for each session of a capture, and time to fetch them again; most can be handed on a moment after their end. What holds one back is a
connection that is still open and began earlier, so a connection that lasts for hours holds back what began after it.

The order is that of the start, of sessions of the same moment that of their addresses and ports, so that no order of files or packets
matters. It is exact as long as packets are no further out of order in time than ``SLACK_NS``; a session beyond that is handed on when it
comes, and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import i64

from analyzer.flows.table import FlowTable
from analyzer.sessions.records import Session, SessionSink

#: How far out of order in time the packets of a capture may be.
SLACK_NS: Final = 2_000_000_000
#: Sessions that come together before they are looked through; few, so that they are still in the processor's cache.
BATCH: Final = 64
#: Looking at the open connections is put off until there is a session for so many of them.
FLOWS_PER_SESSION: Final = 16
#: TLS connections of which the name in key logs is kept.
MAX_RANDOMS: Final = 65536
#: Before all times, behind all times.
START_OF_TIME: Final = -(1 << 62)
END_OF_TIME: Final = 0x7FFFFFFFFFFFFFFF


class SessionOrder(SessionSink):
    """Puts sessions in order of their start. Call :meth:`flush` behind the last."""

    def __init__(self, sink: SessionSink, batch: int = BATCH) -> None:
        self.sink = sink
        #: the connections that are open; None: nothing is handed on before the end
        self.table: FlowTable | None = None
        #: sessions handed on behind one that began later, because they came too late
        self.late: i64 = 0
        self._waiting: list[Session] = []
        self._batch: i64 = batch
        self._full: i64 = batch
        self._last_ns: i64 = START_OF_TIME

    @property
    def waiting(self) -> int:
        """Sessions that wait."""
        return len(self._waiting)

    def receive_session(self, session: Session) -> None:
        self._waiting.append(session)
        if len(self._waiting) >= self._full:
            self._look_through()

    def flush(self) -> None:
        """No session will come any more: hand on all."""
        self._hand_on(END_OF_TIME)

    def _look_through(self) -> None:
        table = self.table
        if table is None:
            self._full = END_OF_TIME  # to sort now would be in vain
            return
        # The time before which no session will begin that has not ended yet.
        self._hand_on(table.earliest_open_ns(SLACK_NS))
        waiting: i64 = len(self._waiting)
        full = waiting + (waiting >> 1) + self._batch
        open_flows: i64 = table.flows_open
        if self._batch > 1 and full < waiting + open_flows // FLOWS_PER_SESSION:
            full = waiting + open_flows // FLOWS_PER_SESSION
        self._full = full

    def _hand_on(self, before_ns: i64) -> None:
        """Hand on the sessions that began before a time."""
        waiting = self._waiting
        waiting.sort(key=_start_of)
        count: i64 = len(waiting)
        ready: i64 = 0
        while ready < count and (waiting[ready].start_ns < before_ns or before_ns == END_OF_TIME):
            ready += 1
        if ready == 0:
            return
        due = waiting[:ready]
        self._waiting = waiting[ready:]
        settle(due)
        done: i64 = 0
        try:
            while done < ready:
                session = due[done]
                done += 1
                if session.start_ns < self._last_ns:
                    self.late += 1
                else:
                    self._last_ns = session.start_ns
                self.sink.receive_session(session)
        except BaseException:
            # The user stops the run in the middle: what was not handed on yet is told all the same.
            self._waiting = due[done:] + self._waiting
            raise


class SessionGate(SessionSink):
    """Lets through the sessions that were alive between two times, and keeps what names their TLS connections in a key log."""

    def __init__(self, sink: SessionSink, since_ns: int | None = None, until_ns: int | None = None) -> None:
        self.sink = sink
        self._since_ns: i64 = START_OF_TIME if since_ns is None else max(since_ns, START_OF_TIME)
        self._until_ns: i64 = END_OF_TIME if until_ns is None else min(until_ns, END_OF_TIME)
        #: capture -> the randoms of the clients' hellos in it
        self.randoms: dict[str, list[bytes]] = {}
        #: sessions that were not let through
        self.left_out: i64 = 0
        self._kept: i64 = 0

    def receive_session(self, session: Session) -> None:
        if session.end_ns < self._since_ns or session.start_ns > self._until_ns:
            self.left_out += 1
            return
        tls = session.tls
        if tls is not None and self._kept < MAX_RANDOMS:
            random = tls.client_random
            if random:
                self._kept += 1
                self.randoms.setdefault(session.capture, []).append(random)
        self.sink.receive_session(session)


def sort_by_start(sessions: list[Session]) -> None:
    """Order of start, within one moment of frames; where files begin alike, of addresses and ports, whichever was read first."""
    sessions.sort(key=_start_of)
    settle(sessions, _frame_order)


def settle(sessions: list[Session], key: Callable[[Session], Any] | None = None) -> None:
    """Put sessions of the same moment in order, by their addresses unless a ``key`` is given; ``sessions`` are in order of their start."""
    count: i64 = len(sessions)
    if count < 2:
        return
    before_ns = sessions[0].start_ns
    at: i64 = 1
    while at < count:
        start_ns = sessions[at].start_ns
        if start_ns == before_ns:
            first = at - 1
            while at < count and sessions[at].start_ns == start_ns:
                at += 1
            sessions[first:at] = sorted(sessions[first:at], key=_order if key is None else key)
            if at == count:
                return
            start_ns = sessions[at].start_ns
        before_ns = start_ns
        at += 1


def in_order(sessions: list[Session]) -> list[Session]:
    """Sessions in the order in which :class:`SessionOrder` hands them on; the same list where it is in order already."""
    last_ns: i64 = START_OF_TIME
    alike = False
    for session in sessions:
        start_ns = session.start_ns
        if start_ns <= last_ns:
            if start_ns < last_ns:
                return sorted(sessions, key=_order)
            alike = True
        last_ns = start_ns
    if not alike:
        return sessions
    ordered = list(sessions)
    settle(ordered)
    return ordered


def _start_of(session: Session) -> int:
    return session.start_ns


def _frame_order(session: Session) -> tuple[int, str, int, str, int]:
    return (session.first_frame, session.client_ip, session.client_port, session.server_ip, session.server_port)


def _order(session: Session) -> tuple[int, str, int, str, int, int]:
    return (
        session.start_ns, session.client_ip, session.client_port, session.server_ip, session.server_port, session.first_frame,
    )  # fmt: skip
