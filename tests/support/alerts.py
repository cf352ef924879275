"""Alerts made up, a state for them, and a sink that keeps what it is given."""

from __future__ import annotations

from typing import Any

from analyzer.monitor.base import FINDING, Alert, AlertSink, MonitorState

#: 2026-03-02 09:00:00 UTC
MOMENT_NS = 1_772_442_000_000_000_000
#: An account name that tries everything: a new line with a log entry of its own, a terminal escape, marks that turn the direction of
#: writing, the end of a structured data element, an octet that is no UTF-8.
HOSTILE = 'eve"]\r\n<13>1 2026-03-02T09:00:00Z x mailtap - - - all is well\x1b[2J\u202e\u2066\x7f\x85\u2028\0\udce9\\'


def alert(number: int = 0, **values: Any) -> Alert:
    """An alert about an account of its own number."""
    given: dict[str, Any] = {
        "kind": FINDING,
        "finding_id": f"{number:016x}",
        "rule": "plaintext-password",
        "severity": "critical",
        "confidence": "high",
        "title": "Password sent in clear",
        "detail": "LOGIN-CMD was accepted",
        "time_ns": MOMENT_NS + number,
        "raised_ns": MOMENT_NS + number + 250_000_000,
        "sensor": "mirror-1",
        "capture": "eth0",
        "session_id": "5e55",
        "frame": 7 + number,
        "client_ip": "192.0.2.7",
        "client_port": 40000,
        "server_ip": "198.51.100.1",
        "server_port": 143,
        "protocol": "imap",
        "username": f"user{number}@example.test",
        "remediation": "Use port 993",
        "references": ("RFC 8314",),
    }
    given.update(values)
    return Alert(**given)


def state() -> MonitorState:
    return MonitorState("0.1.0", "mirror-1", MOMENT_NS)


class Behind(AlertSink):
    """Has brought some alerts to its receiver, while others wait for it."""

    def __init__(self, name: str, *, delivered: int, waiting: int, lost: int = 0, trouble: str = "") -> None:
        super().__init__(name)
        self.delivered, self.lost, self.trouble = delivered, lost, trouble
        self.held = waiting

    @property
    def waiting(self) -> int:
        return self.held


class Kept(AlertSink):
    """Keeps what it is given, and when."""

    def __init__(self, name: str = "kept:") -> None:
        super().__init__(name)
        self.alerts: list[Alert] = []
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def deliver(self, alerts: list[Alert]) -> None:
        self.alerts += alerts

    def reopen(self) -> None:
        self.calls.append("reopen")

    def close(self) -> None:
        self.calls.append("close")
