"""All that the report at a glance needs of the sessions, taken as they come: the sessions themselves need not be kept."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.capture.base import CaptureStats
from analyzer.findings.engine import Engine
from analyzer.findings.strength import PasswordJudge
from analyzer.findings.tally import FindingTally
from analyzer.report.encryption import TlsServer, TlsServers
from analyzer.report.migration import MAX_MIGRANTS_AT_A_GLANCE, MAX_PORTS_AT_A_GLANCE, Migrants, Migration
from analyzer.report.servers import MAX_SERVERS_AT_A_GLANCE, Posture, Postures
from analyzer.report.summary import Summary, add_session
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.ordering import in_order
from analyzer.sessions.records import Credential, Session, SessionSink

#: Sessions that are taken together: the code of totals, rules and servers does not fit into a processor's cache all at once, so each of
#: them is run over several sessions.
BATCH: Final = 64


class Glance:
    """What the report at a glance shows."""

    def __init__(
        self,
        total: Summary,
        tally: FindingTally,
        notes: list[str],
        migration: Migration,
        tls: list[TlsServer],
        servers: list[Posture],
    ) -> None:
        self.total = total
        self.tally = tally
        #: sentences about what the findings lack
        self.notes = notes
        self.migration = migration
        #: servers that TLS was seen of, worst first
        self.tls = tls
        #: what was seen of each server, with its grade
        self.servers = servers


class Glancer(SessionSink):
    """Takes sessions in order of their start; :meth:`finish` tells what they come to."""

    def __init__(self, trust: TrustStore | None = None, strength: PasswordJudge | None = None) -> None:
        self._trust: TrustStore = TrustStore() if trust is None else trust
        self._total = Summary()
        self._tally = FindingTally()
        self._engine = Engine(self._tally, trust=self._trust, strength=strength)
        self._servers = Postures(self._trust, MAX_SERVERS_AT_A_GLANCE)
        self._migrants = Migrants(MAX_MIGRANTS_AT_A_GLANCE, MAX_PORTS_AT_A_GLANCE)
        self._tls = TlsServers()
        self._glance: Glance | None = None
        #: sessions that are taken together, and how many of them were counted, judged, and put to their servers
        self._waiting: list[Session] = []
        #: of each the latest login, its own or an earlier one's, that was with the same password as its account's one before
        self._repeated: list[Credential | None] = []
        self._counted: i64 = 0
        self._judged: i64 = 0
        self._placed: i64 = 0

    def receive_session(self, session: Session) -> None:
        self._waiting.append(session)
        if len(self._waiting) >= BATCH:
            self._take()

    def _take(self) -> None:
        """Take the sessions that wait. Goes on where it was interrupted."""
        total = self._total
        waiting = self._waiting
        count: i64 = len(waiting)
        while self._counted < count:
            session = waiting[self._counted]
            self._counted += 1
            self._repeated.append(None)
            if session.tls is not None:
                session.tls.fill()
            add_session(total, session)
            self._repeated[self._counted - 1] = total.repeated
            self._migrants.receive(session, total)
        while self._judged < count:
            self._judged += 1
            self._engine.receive(waiting[self._judged - 1], self._repeated[self._judged - 1])
        while self._placed < count:
            session = waiting[self._placed]
            self._placed += 1
            self._servers.receive(session)
            if session.tls is not None:
                self._tls.receive(session)
        self._waiting = []
        self._repeated = []
        self._counted = 0
        self._judged = 0
        self._placed = 0

    def finish(self, captures: list[CaptureStats]) -> Glance:
        """Totals, findings by rule and server, settings to change, servers with TLS; the same whenever it is asked for."""
        if self._glance is None:
            self._take()
            for stats in captures:
                self._engine.receive_capture(stats)
            self._engine.close()
            self._glance = Glance(
                self._total,
                self._tally,
                self._total.notes() + self._tally.notes() + self._engine.notes(),
                self._migrants.finish(self._servers.found),
                self._tls.judged(self._trust),
                self._servers.found,
            )
        return self._glance


def glance(sessions: list[Session], captures: list[CaptureStats], trust: TrustStore | None) -> Glance:
    """What the sessions of a run come to."""
    glancer = Glancer(trust)
    for session in in_order(sessions):
        glancer.receive_session(session)
    return glancer.finish(captures)
