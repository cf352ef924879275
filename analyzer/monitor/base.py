"""What the parts of the monitor hand to each other: alerts, sinks that take them, and counters that metrics and screen show."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, Final

from analyzer.capture.live import LiveSource
from analyzer.findings.base import Finding
from analyzer.model import SEVERITIES
from analyzer.monitor.names import FrequentNames

#: Alerts that the screen can show.
MAX_RECENT: Final = 50
#: An alert is about a finding, or sums up what the rate limit and de-duplication held back.
FINDING: Final = "finding"
SUMMARY: Final = "summary"
#: What a rule says to do to who has a report in hand, and what the reader of an alert is told instead, who has none.
IN_A_REPORT: Final = "The migration table has the settings"
IN_AN_ALERT: Final = "mailtap report, asked of the monitor's store, has the settings"


@dataclass(slots=True)
class Alert:
    """Something to tell the administrator now. Holds no secret; text from traffic is as it came, sinks escape it."""

    kind: str
    finding_id: str
    rule: str
    #: ``info low medium high critical``
    severity: str
    #: ``high medium low``
    confidence: str
    title: str
    detail: str
    #: capture time of the evidence, and wall clock of the alert: nanoseconds since the epoch
    time_ns: int
    raised_ns: int
    sensor: str = ""
    capture: str = ""
    session_id: str | None = None
    frame: int = 0
    #: octet of its sender's stream at which the evidence begins
    offset: int = 0
    client_ip: str | None = None
    client_port: int | None = None
    server_ip: str | None = None
    server_port: int | None = None
    protocol: str | None = None
    username: str | None = None
    remediation: str = ""
    references: tuple[str, ...] = ()
    #: findings of the same rule, server and account that this alert stands for: itself, and those held back before it
    count: int = 1

    @property
    def severity_number(self) -> int:
        """The place of the severity among all, harmless first."""
        return SEVERITIES.index(self.severity)

    def key(self) -> tuple[str, str | None, int | None, str | None]:
        """By which alerts are told as the same: rule, server and account; what concerns no server, by its source."""
        return (self.rule, self.server_ip or self.capture, self.server_port, self.username)


def alert_of(finding: Finding, sensor: str) -> Alert:
    """The alert that tells of a finding."""
    session = finding.session
    rule = finding.rule
    alert = Alert(
        FINDING, finding.finding_id(), rule.slug, finding.severity_word(), finding.confidence, rule.title, finding.detail(),
        int(finding.timestamp_ns), time.time_ns(), sensor, finding.capture, None, int(finding.frame), int(finding.offset),
        username=finding.username, remediation=rule.remediation.replace(IN_A_REPORT, IN_AN_ALERT), references=rule.references,
    )  # fmt: skip
    if session is not None:
        alert.capture = session.capture
        alert.session_id = session.session_id()
        alert.client_ip = session.client_ip
        alert.client_port = int(session.client_port)
        alert.server_ip = session.server_ip
        alert.server_port = int(session.server_port)
        alert.protocol = session.protocol
    return alert


def lost_files(source: LiveSource) -> int | None:
    """Files that were gone, or lost their end, before a source had read them; None where it reads none."""
    # Only sources that follow files have it.
    count: int | None = getattr(source, "lost_files", None)
    return count


class AlertSink:
    """Takes alerts and brings them somewhere. One file of ``monitor/sinks`` a kind.

    All methods but ``open`` are called from a thread of the sink's own, never from the one that reads packets, so they may wait, and
    a sink that waits holds up no other; ``deliver`` must come back within ``TIMEOUT_S`` all the same. What cannot be delivered now is
    either kept by the sink itself (spool) and tried again from ``idle``, or counted as lost.
    """

    #: seconds after which a single attempt is given up
    TIMEOUT_S: Final = 5.0

    def __init__(self, name: str) -> None:
        #: ``jsonl:/var/log/mailtap.jsonl``, as the user gave it
        self.name = name
        self.delivered: int = 0
        self.lost: int = 0
        #: the last thing that went wrong, for people; empty when all is well
        self.trouble: str = ""
        self._counting = threading.Lock()

    @property
    def waiting(self) -> int:
        """Alerts that wait for a receiver that is down."""
        return 0

    def lose(self, count: int) -> None:
        """Count alerts that will never reach the receiver; from any thread."""
        with self._counting:
            self.lost += count

    def open(self) -> None:
        """Get ready. Raises UsageError or OutputError where it never can be."""

    def deliver(self, alerts: list[Alert]) -> None:
        """Bring alerts to their receiver, or keep them, or count them as lost. Never raises for what the receiver does."""

    def idle(self) -> None:
        """Called a few times a second: a chance to try again."""

    def reopen(self) -> None:
        """SIGHUP: open files anew, connect anew."""

    def close(self) -> None:
        """The last chance; comes back within ``TIMEOUT_S``. What still waits stays in the spool, if there is one."""


@dataclass(slots=True)
class MonitorState:
    """What the monitor knows of itself. Written by the loop alone; metrics and screen read it and must bear values in motion."""

    version: str
    sensor: str
    started_ns: int
    sources: list[LiveSource] = field(default_factory=list)
    sinks: list[AlertSink] = field(default_factory=list)
    #: wall clock of the loop's last turn, by which health is told
    turn_ns: int = 0
    #: True once sources are open and privileges dropped, until the stop
    ready: bool = False
    flows_open: int = 0
    #: counters of the packets and flows rooms, ``packets.undecoded``, ``flows.limit_flows`` ...
    counters: dict[str, int] = field(default_factory=dict)
    #: (protocol, transport) -> sessions
    sessions: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: (rule, severity) -> findings
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: logins that an eavesdropper could read, and the accounts, clients and servers concerned: the most frequent, by sessions
    exposed_logins: int = 0
    exposed_accounts: FrequentNames = field(default_factory=FrequentNames)
    exposed_clients: FrequentNames = field(default_factory=FrequentNames)
    exposed_servers: FrequentNames = field(default_factory=FrequentNames)
    recent: deque[Alert] = field(default_factory=lambda: deque(maxlen=MAX_RECENT))
    alerts_raised: int = 0
    #: held back by de-duplication, by the rate limit, by ``--min-severity``
    alerts_repeated: int = 0
    alerts_limited: int = 0
    alerts_below: int = 0
    #: given up because the alert thread was too far behind; told by a summary
    alerts_lost: int = 0
    #: False where nothing is stored (``--store off``)
    stores: bool = True
    #: the store: rows committed, waiting, given up; what is wrong with it
    store_written: int = 0
    store_waiting: int = 0
    store_lost: int = 0
    store_trouble: str = ""
    #: followed files were not read for some of the last second, because the store was behind
    files_wait: bool = False
    #: seconds between the latest packet's time and the moment it was read
    lag_s: float = 0.0

    def count_name(self, names: FrequentNames, name: str) -> None:
        """Count a name."""
        names.count(name)

    def snapshot(self) -> dict[str, Any]:
        """Sums for a log line."""
        packets = sum(source.counters().packets for source in self.sources)
        drops = sum((one.kernel_drops or 0) + one.own_drops for one in (source.counters() for source in self.sources))
        return {
            "packets": packets,
            "drops": drops,
            "lost_files": sum(lost_files(source) or 0 for source in self.sources),
            "sessions": sum(self.sessions.values()),
            "alerts": self.alerts_raised,
        }
