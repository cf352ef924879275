"""The way out of plaintext: for each client and account still in clear, today's setting and the setting to enter.

Settings are in the words of mail clients' dialogs. A setting is recommended by what is known of the server: first what was seen
working there, then what it offers, then what it may have; never what it is known not to offer. Among equals, TLS from the first
octet comes before STARTTLS (RFC 8314 section 3), and submission on 465 before 587.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.behaviour import MIN_ACCOUNTS, MIN_GUESSES
from analyzer.findings.history import fingerprint
from analyzer.protocols.events import ACCEPTED, BEARER_TOKEN, NO_SECRET, PASSWORD, REJECTED
from analyzer.report.servers import Posture
from analyzer.sessions.records import PLAINTEXT, STARTTLS, UNKNOWN, Session

NAMES: Final[dict[str, str]] = {"pop3": "POP3", "imap": "IMAP", "smtp": "SMTP", "lmtp": "LMTP", "managesieve": "ManageSieve"}

#: What is known of a setting at a server.
WORKING: Final = 4
OFFERED: Final = 3
UNSEEN: Final = 2
FAILING: Final = 1
NOT_THERE: Final = 0

#: Protocol -> ports to try, best first: (port, TLS from the first octet).
CHOICES: Final[dict[str, tuple[tuple[int, bool], ...]]] = {
    "pop3": ((995, True), (110, False)),
    "imap": ((993, True), (143, False)),
    "smtp": ((465, True), (587, False)),
    "lmtp": ((24, False),),
    "managesieve": ((4190, False),),
}

#: Failed handshakes and deletions remembered, and accounts counted for one port.
MAX_KEPT: Final = 65536


#: What rows without problems share.
NO_PROBLEMS: Final[list[str]] = []


class Setting:
    """A setting to enter, and what is known of it."""

    def __init__(self, port: int, implicit: bool, known: int) -> None:
        self.port = port
        self.implicit = implicit
        self.known = known

    def text(self, protocol: str) -> str:
        """``POP3 port 995, SSL/TLS``."""
        return f"{NAMES.get(protocol, protocol)} port {self.port}, {'SSL/TLS' if self.implicit else 'STARTTLS'}"


class Migrant:
    """One client and account that still logs in in clear at one server port."""

    def __init__(self, session: Session, username: str | None) -> None:
        self.client_ip = session.client_ip
        self.server_ip = session.server_ip
        self.server_port: i64 = session.server_port
        self.port_service = session.port_service
        self.protocol = session.protocol
        self.username = username
        self.logins: i64 = 0
        self.accepted: i64 = 0
        self.rejected: i64 = 0
        self.last_ns: i64 = 0
        self.readable: bool = False
        self.token: bool = False
        self.deletes: bool = False
        #: different secrets that were rejected, as fingerprints, no more than tell a guesser
        self.guesses: set[int] | None = None
        # Filled in when all sessions are through.
        self.at_server: str = ""
        self.accounts: int = 0
        self.host: str = ""
        self.setting: Setting | None = None
        self.problems: list[str] = NO_PROBLEMS
        self.closing: str = ""

    def current(self) -> str:
        """Today's setting."""
        return f"{NAMES.get(self.protocol, self.protocol)} port {self.server_port}, no encryption"

    def recommended(self) -> str | None:
        """The setting to enter, None where the server is known to have none."""
        return None if self.setting is None else self.setting.text(self.protocol)

    def seen_working(self) -> bool:
        """Whether somebody was seen using the recommended setting on this server."""
        return self.setting is not None and self.setting.known == WORKING

    def authentication(self) -> str:
        """What to choose for authentication. Under TLS a plain password is fine, and every server takes it."""
        return "OAuth2" if self.token and not self.readable else "normal password"

    def basis(self) -> str:
        """What the recommendation rests on."""
        setting = self.setting
        if setting is None:
            return "this server offers no TLS: switch it on there first"
        if setting.known == WORKING:
            return "seen working on this server"
        if setting.known == OFFERED:
            return "offered by this server, not seen in use"
        if setting.known == FAILING:
            return "its TLS handshakes failed: mend that first (see tls-handshake-failed)"
        return "not seen: check first that this server has it"


class Port:
    """Who uses one port of one server in clear, and who uses it with STARTTLS."""

    def __init__(self, server_ip: str, server_port: i64, protocol: str, submission: bool) -> None:
        self.server_ip = server_ip
        self.server_port: i64 = server_port
        self.protocol = protocol
        self.submission = submission
        self.clients: set[str] = set()
        self.accounts: set[str] = set()
        self.upgraded: set[str] = set()

    def sentence(self) -> str:
        """``closing port 110 of 198.51.100.20 today would cut off 11 clients, 11 accounts``."""
        where = f"port {self.server_port} of {self.server_ip}"
        if self.protocol == "smtp" and self.server_port == 25:
            what = f"refusing logins on {where}"
        elif self.submission:
            what = f"refusing clear text on {where}"
        else:
            what = f"closing {where}"
        text = f"{what} today would cut off {_count(len(self.clients), 'client')}, {_count(len(self.accounts), 'account')}"
        if what.startswith("closing") and self.upgraded:
            text = f"{text} in clear, and {_count(len(self.upgraded), 'client')} that use{'s' if len(self.upgraded) == 1 else ''} STARTTLS there"
        return text


class Migration:
    """The whole table, and the sentences on closing ports."""

    def __init__(self) -> None:
        self.rows: list[Migrant] = []
        #: worst first
        self.ports: list[Port] = []


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def migrate(sessions: list[Session], servers: list[Posture]) -> Migration:
    """Who is still in clear, and what to enter instead. ``servers`` are the postures of the same sessions."""
    rows: dict[str, Migrant] = {}
    #: client, server and protocol -> why its TLS handshakes failed
    failures: dict[str, str] = {}
    for session in sessions:
        if session.protocol == UNKNOWN:
            continue
        tls = session.tls
        if tls is not None and tls.handshake == "failed" and len(failures) < MAX_KEPT:
            failures[f"{session.client_ip} {session.server_ip} {session.protocol}"] = tls.alert or tls.failure or ""
        if session.transport == PLAINTEXT:
            _add(rows, session)
    kept = _without_guessers(list(rows.values()))
    advisor = _Advisor(servers)
    accounts: dict[str, int] = {}
    for one in kept:
        one.at_server = f"{one.client_ip} {one.server_ip} {one.server_port}"
        accounts[one.at_server] = accounts.get(one.at_server, 0) + 1
    for one in kept:
        one.accounts = accounts[one.at_server]
        one.host = advisor.host(one)
        one.setting = advisor.setting(one)
        failure = failures.get(f"{one.client_ip} {one.server_ip} {one.protocol}") if failures else None
        _name_problems(one, failure)
    migration = Migration()
    migration.rows = kept
    migration.ports = _ports(sessions, kept)
    return migration


def _add(rows: dict[str, Migrant], session: Session) -> None:
    """The accounts of one session in clear."""
    deletes = False
    for message in session.message_list or []:
        if message.deleted:
            deletes = True
            break
    credentials = session.credentials
    if credentials is not None:
        for credential in credentials:
            if not credential.exposed or credential.secret_kind == NO_SECRET:
                continue
            one = _row(rows, session, credential.username)
            one.logins += 1
            if credential.outcome == ACCEPTED:
                one.accepted += 1
                one.deletes = one.deletes or deletes
            elif credential.outcome == REJECTED:
                one.rejected += 1
                if credential.secret is not None:
                    if one.guesses is None:
                        one.guesses = set()
                    if len(one.guesses) < MIN_GUESSES:
                        one.guesses.add(fingerprint(credential.secret))
            if credential.secret_kind == PASSWORD:
                one.readable = True
            elif credential.secret_kind == BEARER_TOKEN:
                one.token = True
    elif session.message_list and (session.port_service == "submission" or session.port_service == "submissions"):
        # Mail handed in without a login, at a place meant for users: a setting as well.
        one = _row(rows, session, None)
        one.logins += 1
        one.accepted += 1


def _row(rows: dict[str, Migrant], session: Session, username: str | None) -> Migrant:
    key = f"{session.client_ip} {session.server_ip} {session.server_port} {session.protocol} {username}"
    one = rows.get(key)
    if one is None:
        one = Migrant(session, username)
        rows[key] = one
    if session.end_ns > one.last_ns:
        one.last_ns = session.end_ns
    return one


def _without_guessers(rows: list[Migrant]) -> list[Migrant]:
    """Leave out those who guess: an account never let in with many passwords, or many accounts of one client never let in."""
    refused: dict[str, int] = {}
    for one in rows:
        if one.rejected == one.logins:
            refused[one.client_ip] = refused.get(one.client_ip, 0) + 1
    kept: list[Migrant] = []
    for one in rows:
        guesses = 0 if one.guesses is None else len(one.guesses)
        if one.rejected < one.logins or (guesses < MIN_GUESSES and refused[one.client_ip] < MIN_ACCOUNTS):
            kept.append(one)
    return kept


def _name_problems(one: Migrant, failure: str | None) -> None:
    """Misconfigurations that users meet, by name."""
    problems: list[str] = []
    if one.port_service in ("pop3s", "imaps", "submissions", "smtps"):
        problems.append(f"port {one.server_port} without SSL/TLS: it cannot work so")
    if failure is not None:
        certificate = failure in ("unknown_ca", "bad_certificate", "certificate_unknown", "certificate_expired", "unsupported_certificate")
        what = "certificate error" if certificate else "TLS error"
        problems.append(f"{what} when this client tried TLS ({failure or 'no reason given'})")
    if one.deletes:
        problems.append("deletes mail from the server after fetching it in clear")
    if one.protocol == "smtp" and one.server_port == 25:
        problems.append("logs in on port 25, which is for servers")
    if one.rejected == one.logins:
        problems.append("was not let in")
    if problems:
        one.problems = problems


class _Advisor:
    """Knows what each server has."""

    def __init__(self, servers: list[Posture]) -> None:
        self._by_port: dict[str, Posture] = {}
        self._names: dict[str, str] = {}
        self._settings: dict[str, Setting | None] = {}
        for server in servers:
            self._by_port[f"{server.server_ip} {server.server_port} {server.protocol}"] = server
            name = server.names[0] if server.names else ""
            if not name:
                name = next((one for one in server.certificate_names if "*" not in one and "." in one), "")
            if name and (server.names or server.server_ip not in self._names):
                self._names[server.server_ip] = name

    def host(self, one: Migrant) -> str:
        """The name that others use for this server or its certificate has, else its address."""
        return self._names.get(one.server_ip, one.server_ip)

    def setting(self, one: Migrant) -> Setting | None:
        """The best setting for this server; None where it is known to have none."""
        key = f"{one.server_ip} {one.server_port} {one.protocol}"
        if key not in self._settings:
            self._settings[key] = self._best(one)
        return self._settings[key]

    def _best(self, one: Migrant) -> Setting | None:
        best: Setting | None = None
        choices = list(CHOICES.get(one.protocol, ()))
        if (one.server_port, False) not in choices and (one.server_port, True) not in choices:
            choices.append((one.server_port, False))
        for port, implicit in choices:
            known = self._known(one, port, implicit)
            if known > NOT_THERE and (best is None or known > best.known):
                best = Setting(port, implicit, known)
        return best

    def _known(self, one: Migrant, port: int, implicit: bool) -> int:
        """What is known of one setting at a server."""
        server = self._by_port.get(f"{one.server_ip} {port} {one.protocol}")
        if server is None:
            return UNSEEN
        if implicit:
            if server.implicit_tls and server.tls_completed:
                return WORKING
            return FAILING if server.tls_failed else UNSEEN
        if server.starttls and server.tls_completed:
            return WORKING
        if server.offered:
            return FAILING if server.tls_failed else OFFERED
        return NOT_THERE if server.not_offered or server.refused else UNSEEN


def _ports(sessions: list[Session], rows: list[Migrant]) -> list[Port]:
    """Who would be cut off, by port."""
    ports: dict[str, Port] = {}
    for one in rows:
        key = f"{one.server_ip} {one.server_port} {one.protocol}"
        port = ports.get(key)
        if port is None:
            port = Port(one.server_ip, one.server_port, one.protocol, one.port_service == "submission")
            ports[key] = port
        if len(port.clients) < MAX_KEPT:
            port.clients.add(one.client_ip)
        if one.username is not None and len(port.accounts) < MAX_KEPT:
            port.accounts.add(one.username)
    if ports:
        for session in sessions:
            if session.transport == STARTTLS:
                port = ports.get(f"{session.server_ip} {session.server_port} {session.protocol}")
                if port is not None and len(port.upgraded) < MAX_KEPT:
                    port.upgraded.add(session.client_ip)
        sentences = {key: port.sentence() for key, port in ports.items()}
        for one in rows:
            one.closing = sentences[f"{one.server_ip} {one.server_port} {one.protocol}"]
    return sorted(ports.values(), key=_port_order)


def _port_order(one: Port) -> tuple[int, str, int]:
    return (-len(one.accounts), one.server_ip, one.server_port)
