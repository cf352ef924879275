"""Findings at a glance: one group a rule and server, with counts and the worst of them as an example."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import CRITICAL, HIGH, LOW, MEDIUM, Finding, FindingSink, Rule
from analyzer.findings.traits import endpoint
from analyzer.sessions.records import Session

#: Clients and accounts counted of one group; beyond it their number is a lower bound. Small, so that counting stays cheap.
MAX_COUNTED: Final = 1000
#: The same of all groups together; beyond it, too, numbers are lower bounds.
MAX_COUNTED_IN_ALL: Final = 200_000
#: Groups kept; findings of further ones are counted in ``FindingTally.left_out``. A rule that is met as something grave for the first time
#: has a group beyond that, too: one, so there are no more of these than rules.
MAX_GROUPS: Final = 5_000
#: What is as severe as this is grave.
GRAVE: Final = HIGH


class Group:
    """Findings of one rule at one server."""

    def __init__(self, finding: Finding) -> None:
        self.rule: Rule = finding.rule
        #: the worst of them, the first where several are as bad
        self.example = finding
        self.count: i64 = 0
        self.clients: set[str] = set()
        self.accounts: set[str] = set()
        #: there are more of them than were counted
        self.more_clients: bool = False
        self.more_accounts: bool = False

    def server(self) -> str:
        """Address and port, a capture's name where there is no server."""
        session = self.example.session
        if session is None:
            return self.example.capture
        return endpoint(session.server_ip, session.server_port)


class _Client:
    """One client at one server."""

    def __init__(self) -> None:
        #: the rules whose groups have counted it, as bits by their numbers
        self.counted: i64 = 0


class _Place:
    """What was found at one server, or of one capture."""

    def __init__(self) -> None:
        #: by the rule's number, as far as there are any
        self.groups: list[Group | None] = []
        #: the clients met first, no more than are counted
        self.clients: dict[str, _Client] = {}
        #: there was room to keep it
        self.kept: bool = False

    def group(self, number: i64) -> Group | None:
        """The group of a rule."""
        return self.groups[number] if number < len(self.groups) else None

    def add(self, number: i64, group: Group) -> None:
        """A rule that has found something here for the first time."""
        while len(self.groups) <= number:
            self.groups.append(None)
        self.groups[number] = group


class FindingTally(FindingSink):
    """Groups findings as they come, and forgets them."""

    def __init__(self) -> None:
        #: server address -> port; captures by their names, at port 0
        self._places: dict[str, dict[int, _Place]] = {}
        #: the session that came last, its server, and its client there; None where there are too many
        self._session: Session | None = None
        self._place = _Place()
        self._client: _Client | None = None
        self._clients: i64 = 0
        self._size: i64 = 0
        self._counted: i64 = 0
        self.left_out: i64 = 0
        #: numbers of the rules of which a group holds something grave
        self._grave: set[int] = set()
        self._info: i64 = 0
        self._low: i64 = 0
        self._medium: i64 = 0
        self._high: i64 = 0
        self._critical: i64 = 0

    @property
    def by_severity(self) -> list[int]:
        """Findings by severity, harmless first."""
        return [self._info, self._low, self._medium, self._high, self._critical]

    def _weigh(self, severity: i64) -> None:
        """Count a finding by its severity."""
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
        self._weigh(finding.severity)
        session = finding.session
        if session is not None:
            self._of_session(session)
            place = self._place
        else:
            place = self._of_place(finding.capture, 0)
        number = finding.rule.number
        grave = finding.severity >= GRAVE
        group = place.group(number)
        if group is None:
            if self._size >= MAX_GROUPS:
                if not grave or number in self._grave:
                    self.left_out += 1
                    return
                if not place.kept:
                    self._keep(place, finding)
            self._size += 1
            group = Group(finding)
            place.add(number, group)
        elif finding.severity > group.example.severity:
            group.example = finding
        if grave:
            self._grave.add(number)
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
        group = self._of_session(session).group(rule.number)
        if group is None or severity > group.example.severity:
            # Only those that may be shown are made.
            self.receive_finding(
                Finding(rule, severity, confidence, session, frame, timestamp_ns, offset, username, detail_text, count)
            )
        else:
            self._weigh(severity)
            self._add(group, session, username)

    def _of_session(self, session: Session) -> _Place:
        """What was found at a session's server."""
        if session is not self._session:
            self._session = session
            place = self._of_place(session.server_ip, session.server_port)
            self._place = place
            client = place.clients.get(session.client_ip)
            if client is None and len(place.clients) < MAX_COUNTED and self._clients < MAX_COUNTED_IN_ALL:
                client = _Client()
                place.clients[session.client_ip] = client
                if place.kept:
                    self._clients += 1
            self._client = client
        return self._place

    def _of_place(self, name: str, port: int) -> _Place:
        ports = self._places.get(name)
        place: _Place | None = None if ports is None else ports.get(port)
        if place is None:
            place = _Place()
            if self._size < MAX_GROUPS:
                if ports is None:
                    ports = {}
                    self._places[name] = ports
                ports[port] = place
                place.kept = True
        return place

    def _keep(self, place: _Place, finding: Finding) -> None:
        """Keep a place for which there is no room, because of something grave."""
        session = finding.session
        name, port = finding.capture, 0
        if session is not None:
            name, port = session.server_ip, session.server_port
        ports = self._places.get(name)
        if ports is None:
            ports = {}
            self._places[name] = ports
        ports[port] = place
        place.kept = True

    def _add(self, group: Group, session: Session | None, username: str | None) -> None:
        group.count += 1
        if session is not None:
            # A client is counted for each of its findings; most are met again and again.
            client = self._client
            if client is None:
                if not group.more_clients:
                    group.more_clients = self._is_beyond(group.clients, session.client_ip)
            else:
                bit: i64 = 1 << i64(group.rule.number)
                if client.counted & bit == 0:
                    client.counted |= bit
                    if not group.more_clients:
                        group.more_clients = self._is_beyond(group.clients, session.client_ip)
        if username is not None and not group.more_accounts:
            group.more_accounts = self._is_beyond(group.accounts, username)

    def _is_beyond(self, names: set[str], name: str) -> bool:
        """Count a name; whether there was no room for it. There will be none for others then."""
        before: i64 = len(names)
        if before < MAX_COUNTED and (self._counted < MAX_COUNTED_IN_ALL or before == 0):
            names.add(name)
            self._counted += len(names) - before
            return False
        return name not in names

    def worst(self) -> int:
        """The worst severity of all, -1 where nothing was found."""
        found = [severity for severity, count in enumerate(self.by_severity) if count]
        return found[-1] if found else -1

    def notes(self) -> list[str]:
        """Sentences about what the groups do not hold."""
        if not self.left_out:
            return []
        return [f"{self.left_out:,} findings at further servers are counted by their severity only"]

    def groups(self) -> list[Group]:
        """All groups, worst first, then those that concern most."""
        found: list[Group] = []
        for ports in self._places.values():
            for place in ports.values():
                found.extend([group for group in place.groups if group is not None])
        found.sort(key=_worst_first)
        return found


def _worst_first(group: Group) -> tuple[int, int, int, str]:
    return (-group.example.severity, group.rule.number, -group.count, group.server())
