"""What the loop hands to the store in one go."""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.capture.base import CaptureStats
from analyzer.findings.base import Finding
from analyzer.sessions.records import Session


@dataclass(slots=True)
class Batch:
    """Rows for one transaction. Sessions are sealed: they hold no secrets.

    The boolean beside a session says whether it is final; one that goes on is replaced by its next record. The boolean beside a
    finding says the same: with a session's final record its provisional findings go, and the final ones of the batch take their place.
    """

    sessions: list[tuple[Session, bool]] = field(default_factory=list)
    findings: list[tuple[Finding, bool]] = field(default_factory=list)
    #: what the sources have counted so far; replaces what was stored of the same source and start
    captures: list[CaptureStats] = field(default_factory=list)

    def size(self) -> int:
        """Rows in it, more or less."""
        return len(self.sessions) + len(self.findings) + len(self.captures)
