"""All that the report at a glance needs of the sessions, taken as they come: the sessions themselves need not be kept."""

from __future__ import annotations

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
from analyzer.sessions.records import Session, SessionSink


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

    def receive_session(self, session: Session) -> None:
        add_session(self._total, session)
        self._engine.receive(session)
        self._servers.receive(session)
        self._migrants.receive(session, self._total)
        if session.tls is not None:
            self._tls.receive(session)

    def finish(self, captures: list[CaptureStats]) -> Glance:
        """Totals, findings by rule and server, settings to change, servers with TLS; the same whenever it is asked for."""
        if self._glance is None:
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
