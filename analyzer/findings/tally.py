"""Findings at a glance: one group a rule and server, with counts and the worst of them as an example."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import CRITICAL, HIGH, LOW, MEDIUM, Finding, FindingSink, Rule
from analyzer.sessions.records import Session

#: Clients and accounts counted of one group; beyond it their number is a lower bound. Small, so that counting stays cheap.
MAX_COUNTED: Final = 1000
#: The same of all groups together; beyond it, too, numbers are lower bounds.
MAX_COUNTED_IN_ALL: Final = 200_000
#: Groups kept; findings of further ones are counted in ``FindingTally.left_out``.
MAX_GROUPS: Final = 5_000


class Group:
    """Findings of one rule at one server."""

    def __init__(self, finding: Finding) -> None:
        self.rule: Rule = finding.rule
        #: the worst of them, the first where several are as bad
        self.example = finding
        self.count: i64 = 0
        self.clients: set[str] = set()
        self.accounts: set[str] = set()

    def server(self) -> str:
        """Address and port, a capture's name where there is no server."""
        session = self.example.session
        if session is None:
            return self.example.capture
        address = f"[{session.server_ip}]" if ":" in session.server_ip else session.server_ip
        return f"{address}:{session.server_port}"


class FindingTally(FindingSink):
    """Groups findings as they come, and forgets them."""

    def __init__(self) -> None:
        #: server address -> port -> groups, each at its rule's number; captures by their names, at port 0
        self._places: dict[str, dict[int, list[Group | None]]] = {}
        self._session: Session | None = None
        self._groups: list[Group | None] = []
        self._size: i64 = 0
        self._counted: i64 = 0
        self.left_out: i64 = 0
        self._info: i64 = 0
        self._low: i64 = 0
        self._medium: i64 = 0
        self._high: i64 = 0
        self._critical: i64 = 0

    @property
    def by_severity(self) -> list[int]:
        """Findings by severity, harmless first."""
        return [self._info, self._low, self._medium, self._high, self._critical]

    def _add_severity(self, severity: int) -> None:
        if severity == CRITICAL:
            self._critical += 1
        elif severity == HIGH:
            self._high += 1
        elif severity == MEDIUM:
            self._medium += 1
        elif severity == LOW:
            self._low += 1
        else:
            self._info += 1

    def receive_finding(self, finding: Finding) -> None:
        self._add_severity(finding.severity)
        session = finding.session
        groups = self._of_session(session) if session is not None else self._of_place(finding.capture, 0)
        number = finding.rule.number
        group = groups[number] if number < len(groups) else None
        if group is None:
            if self._size >= MAX_GROUPS:
                self.left_out += 1
                return
            self._size += 1
            group = Group(finding)
            while len(groups) <= number:
                groups.append(None)
            groups[number] = group
        elif finding.severity > group.example.severity:
            group.example = finding
        self._add(group, session, finding.username)

    def receive_parts(
        self,
        rule: Rule,
        severity: int,
        confidence: str,
        session: Session,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        username: str | None,
        detail_text: str,
        count: i64,
    ) -> None:
        groups = self._of_session(session)
        number = rule.number
        group = groups[number] if number < len(groups) else None
        if group is None or severity > group.example.severity:
            # Only those that may be shown are made.
            self.receive_finding(
                Finding(rule, severity, confidence, session, frame, timestamp_ns, offset, username, detail_text, count)
            )
        else:
            self._add_severity(severity)
            self._add(group, session, username)

    def _of_session(self, session: Session) -> list[Group | None]:
        """The groups of a session's server, each at its rule's number; the list may end before it."""
        if session is not self._session:
            self._session = session
            self._groups = self._of_place(session.server_ip, session.server_port)
        return self._groups

    def _of_place(self, place: str, port: int) -> list[Group | None]:
        ports = self._places.get(place)
        groups: list[Group | None] | None = None if ports is None else ports.get(port)
        if groups is None:
            groups = []
            if self._size < MAX_GROUPS:
                if ports is None:
                    ports = {}
                    self._places[place] = ports
                ports[port] = groups
        return groups

    def _add(self, group: Group, session: Session | None, username: str | None) -> None:
        group.count += 1
        if session is not None:
            self._count(group.clients, session.client_ip)
        if username is not None:
            self._count(group.accounts, username)

    def _count(self, names: set[str], name: str) -> None:
        """Count a name, within bounds."""
        before: i64 = len(names)
        if before < MAX_COUNTED and (self._counted < MAX_COUNTED_IN_ALL or before == 0):
            names.add(name)
            self._counted += len(names) - before

    def worst(self) -> int:
        """The worst severity of all, -1 where nothing was found."""
        counts = self.by_severity
        for severity in range(len(counts) - 1, -1, -1):
            if counts[severity]:
                return severity
        return -1

    def notes(self) -> list[str]:
        """Sentences about what the groups do not hold."""
        if not self.left_out:
            return []
        return [f"{self.left_out:,} findings at further servers are counted by their severity only"]

    def groups(self) -> list[Group]:
        """All groups, worst first, then those that concern most."""
        found: list[Group] = []
        for ports in self._places.values():
            for groups in ports.values():
                found.extend([group for group in groups if group is not None])
        found.sort(key=_worst_first)
        return found


def _worst_first(group: Group) -> tuple[int, int, int, str]:
    return (-group.example.severity, group.rule.number, -group.count, group.server())
