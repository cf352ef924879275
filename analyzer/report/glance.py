"""All that the report at a glance needs of the sessions, in one pass: each session is fetched from memory once, not four times."""

from __future__ import annotations

from analyzer.capture.base import CaptureStats
from analyzer.findings.engine import Engine, in_order
from analyzer.findings.strength import PasswordJudge
from analyzer.findings.tally import FindingTally
from analyzer.report.migration import MAX_MIGRANTS_AT_A_GLANCE, Migrants, Migration
from analyzer.report.servers import Postures
from analyzer.report.summary import Summary, add_session
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.records import Session


class Glance:
    """What the report at a glance shows."""

    def __init__(self, total: Summary, tally: FindingTally, notes: list[str], migration: Migration) -> None:
        self.total = total
        self.tally = tally
        #: sentences about what the findings lack
        self.notes = notes
        self.migration = migration


def glance(sessions: list[Session], captures: list[CaptureStats], trust: TrustStore | None) -> Glance:
    """Totals, findings by rule and server, and settings to change."""
    total = Summary()
    tally = FindingTally()
    engine = Engine(tally, trust=trust, strength=PasswordJudge())
    servers = Postures(None)
    migrants = Migrants(MAX_MIGRANTS_AT_A_GLANCE)
    for stats in captures:
        engine.receive_capture(stats)
    for session in in_order(sessions):
        add_session(total, session)
        engine.receive(session)
        servers.receive(session)
        migrants.receive(session)
    engine.close()
    return Glance(total, tally, engine.notes(), migrants.finish(servers.found))
