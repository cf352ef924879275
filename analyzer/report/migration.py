"""The way out of plaintext: for each client and account still in clear, today's setting and the setting to enter.

Settings are in the words of mail clients' dialogs. A setting is recommended by what is known of the server: first what was seen
working there, then TLS from the first octet unless it is known to be missing or broken (RFC 8314 section 3: only that lets the port
in clear be closed; the row says to check it first), then a STARTTLS that is offered; never what the server is known not to offer.
Among equals submission on 465 comes before 587. A service on a port of its own is taken at its word: the STARTTLS that it offers
comes before the usual ports, where something else may be.

Over 500 lines, because who is in clear, what to recommend and how to say it are judged of the same rows.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.behaviour import MIN_ACCOUNTS, MIN_GUESSES
from analyzer.findings.history import fingerprint
from analyzer.protocols.events import ACCEPTED, BEARER_TOKEN, NO_SECRET, PASSWORD, REJECTED
from analyzer.report.servers import Posture
from analyzer.report.summary import AccountTally, Summary
from analyzer.report.wording import plural
from analyzer.sessions.records import PLAINTEXT, STARTTLS, UNKNOWN, Session

NAMES: Final[dict[str, str]] = {
    "pop3": "POP3",
    "imap": "IMAP",
    "smtp": "SMTP",
    "lmtp": "LMTP",
    "managesieve": "ManageSieve",
}

#: What is known of a setting at a server.
WORKING: Final = 4
OFFERED: Final = 3
UNSEEN: Final = 2
FAILING: Final = 1
NOT_THERE: Final = 0

#: Protocol -> ports to try, best first: (port, TLS from the first octet). LMTP has no port that clients could be sent to.
CHOICES: Final[dict[str, tuple[tuple[int, bool], ...]]] = {
    "pop3": ((995, True), (110, False)),
    "imap": ((993, True), (143, False)),
    "smtp": ((465, True), (587, False)),
    "lmtp": (),
    "managesieve": ((4190, False),),
}

#: Protocols that have no port for TLS from the first octet: theirs cannot be closed, but refuse clear text.
ONE_PORT: Final = ("lmtp", "managesieve")

#: What a recommendation rests on.
BASIS: Final[dict[int, str]] = {
    WORKING: "seen working on this server",
    OFFERED: "offered by this server, not seen in use",
    UNSEEN: "not seen: check first that this server has it",
    FAILING: "its TLS handshakes failed: mend that first (see tls-handshake-failed)",
    NOT_THERE: "this server offers no TLS: switch it on there first",
}
CERTIFICATE_ALERTS: Final = (
    "unknown_ca",
    "bad_certificate",
    "certificate_unknown",
    "certificate_expired",
    "unsupported_certificate",
)

#: Rows of the table, and rows kept for a report at a glance, which shows few.
MAX_MIGRANTS: Final = 1_000_000
MAX_MIGRANTS_AT_A_GLANCE: Final = 1000

#: Failed handshakes remembered.
MAX_KEPT: Final = 65536
#: Server ports of the table, and those kept for a report at a glance; clients and accounts that have no row and are counted all the same,
#: of all ports together. What is beyond is left out, so the numbers of :meth:`Port.sentence` are lower bounds then.
MAX_PORTS: Final = 1_000_000
MAX_PORTS_AT_A_GLANCE: Final = 10_000
MAX_COUNTED: Final = 100_000


#: What ports for TLS from the first octet are for.
SEALED: Final = ("pop3s", "imaps", "submissions", "smtps")

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

    __slots__ = (
        "accepted", "client_ip", "deletes", "guesses", "last_ns", "logins", "port", "problems", "readable", "rejected", "token", "unnamed",
        "username",
    )  # fmt: skip

    def __init__(self, port: Port, client_ip: str, username: str | None) -> None:
        self.port = port
        self.client_ip = client_ip
        self.username = username
        self.logins: i64 = 0
        self.accepted: i64 = 0
        self.rejected: i64 = 0
        self.last_ns: i64 = 0
        self.readable: bool = False
        self.token: bool = False
        self.deletes: bool = False
        #: logins of which no account could be read; without them a row without an account is of mail handed in without a login
        self.unnamed: bool = False
        #: different secrets that were rejected, as fingerprints, no more than tell a guesser
        self.guesses: set[int] | None = None
        #: misconfigurations, by name
        self.problems: list[str] = NO_PROBLEMS

    def account(self) -> str:
        """The account in words: ``(empty)``, ``?`` where none could be read, ``(no login)``."""
        if self.username is None:
            return "?" if self.unnamed else "(no login)"
        return self.username or "(empty)"

    def current(self) -> str:
        """Today's setting."""
        return f"{NAMES.get(self.port.protocol, self.port.protocol)} port {self.port.server_port}, no encryption"

    def recommended(self) -> str | None:
        """The setting to enter, None where the server is known to have none."""
        return None if self.port.setting is None else self.port.setting.text(self.port.protocol)

    def seen_working(self) -> bool:
        """Whether somebody was seen using the recommended setting on this server."""
        return self.port.setting is not None and self.port.setting.known == WORKING

    def accounts(self) -> int:
        """Accounts that this client uses in clear at this server port."""
        return self.port.clients.get(self.client_ip, 0) + self.port.refused.get(self.client_ip, 0)

    def authentication(self) -> str:
        """What to choose for authentication. Under TLS a plain password is fine, and every server takes it."""
        return "OAuth2" if self.token and not self.readable else "normal password"

    def basis(self) -> str:
        """What the recommendation rests on."""
        setting = self.port.setting
        return BASIS[NOT_THERE if setting is None else setting.known]


class Port:
    """Who uses one port of one server in clear, and who uses it with STARTTLS; and the setting to enter instead."""

    def __init__(self, session: Session) -> None:
        self.server_ip = session.server_ip
        self.server_port: i64 = session.server_port
        self.protocol = session.protocol
        self.service = session.port_service
        #: a port for TLS; a port that no user's login belongs on, or a port for TLS
        self.sealed: bool = session.port_service in SEALED
        self.odd: bool = self.sealed or session.server_port == 25
        #: client -> account (none: mail without a login) -> row
        self.rows: dict[str, dict[str | None, Migrant]] = {}
        #: accounts that have rows
        self.listed: set[str | None] = set()
        #: client in clear -> its accounts that have rows; and all accounts
        self.clients: dict[str, int] = {}
        self.accounts: set[str] = set()
        #: client in clear -> its accounts that were never let in: they have rows, but there is nothing that they could be cut off from
        self.refused: dict[str, int] = {}
        #: clients that use STARTTLS here
        self.upgraded: set[str] = set()
        #: whether :meth:`count` takes new names
        self.counting: bool = True
        self.host: str = ""
        self.setting: Setting | None = None
        self.closing: str = ""

    def count(self, client_ip: str, username: str | None, account: AccountTally | None = None) -> None:
        """Count a client and account that have no row."""
        if not self.counting:
            return
        if client_ip not in self.clients:
            self.clients[client_ip] = 0
        if username is not None and (account is None or account.counted_by is not self):
            self.accounts.add(username)
            if account is not None:
                account.counted_by = self

    def _stays(self) -> bool:
        """Whether clients are to go on using the port, under TLS. A port for TLS is never one to close, whoever was met on it in clear."""
        if self.sealed or self.service == "submission" or self.protocol in ONE_PORT:
            return True
        return self.service is None and self.setting is not None and self.setting.port == self.server_port

    def sentence(self) -> str:
        """``closing port 110 of 198.51.100.20 today would cut off 11 clients, 11 accounts``."""
        where = f"port {self.server_port} of {self.server_ip}"
        closing = False
        if self.protocol == "smtp" and self.server_port == 25:
            what = f"refusing logins on {where}"
        elif self._stays():
            what = f"refusing clear text on {where}"
        else:
            what = f"closing {where}"
            closing = True
        text = (
            f"{what} today would cut off {plural(len(self.clients), 'client')}, {plural(len(self.accounts), 'account')}"
        )
        if closing and self.upgraded:
            text = f"{text} in clear, and {plural(len(self.upgraded), 'client')} with STARTTLS"
        return text


class Migration:
    """The whole table, and the ports it is about."""

    def __init__(self) -> None:
        #: in order of the first login in clear
        self.rows: list[Migrant] = []
        #: logins of clients and accounts beyond the limit; they are counted in ``ports`` all the same
        self.left_out: int = 0
        #: those with most accounts first
        self.ports: list[Port] = []


class Migrants:
    """Collects who is still in clear, session by session."""

    def __init__(self, limit: int = MAX_MIGRANTS, ports: int = MAX_PORTS) -> None:
        self._limit = limit
        self._max_ports: i64 = ports
        self._left_out: i64 = 0
        #: clients and accounts that have no row and were counted
        self._counted: i64 = 0
        self._by_address: dict[str, dict[int, list[Port]]] = {}
        self._ports: list[Port] = []
        self._rows: list[Migrant] = []
        #: client, server and protocol -> why its TLS handshakes failed
        self._failures: dict[str, str] = {}

    def receive(self, session: Session, total: Summary | None = None) -> None:
        """The next session. Totals that have just counted it know its account, which need not be looked up again then."""
        transport = session.transport
        tls = session.tls
        if tls is not None and tls.handshake == "failed" and len(self._failures) < MAX_KEPT:
            key = f"{session.client_ip} {session.server_ip} {session.protocol}"
            self._failures[key] = tls.alert or tls.failure or ""
        if transport == STARTTLS:
            port = self._port(session)
            if port is not None and self._counted < MAX_COUNTED:
                before: i64 = len(port.upgraded)
                port.upgraded.add(session.client_ip)
                self._counted += len(port.upgraded) - before
        elif transport == PLAINTEXT and session.protocol != UNKNOWN:
            if session.credentials is None and session.message_list is None:
                return
            port = self._port(session)
            if port is None:
                self._left_out += 1
                return
            counted: i64 = len(port.clients) + len(port.accounts)
            port.counting = self._counted < MAX_COUNTED
            if session.credentials is not None:
                self._left_out += _add_logins(port, session, self._rows, self._limit, total)
            else:
                self._left_out += _add_mail(port, session, self._rows, self._limit)
            self._counted += len(port.clients) + len(port.accounts) - counted

    def finish(self, servers: list[Posture]) -> Migration:
        """The table; ``servers`` are the postures of the same sessions."""
        migration = Migration()
        migration.rows = _without_guessers(self._rows)
        migration.left_out = self._left_out
        for one in migration.rows:
            port = one.port
            if one.rejected == one.logins:
                port.refused[one.client_ip] = port.refused.get(one.client_ip, 0) + 1
            else:
                port.clients[one.client_ip] = port.clients.get(one.client_ip, 0) + 1
                if one.username is not None:
                    port.accounts.add(one.username)
            _name_problems(one, self._failures)
        advisor = _Advisor(servers)
        for port in self._ports:
            if port.clients or port.refused:
                port.host = advisor.host(port)
                port.setting = advisor.setting(port)
                port.closing = port.sentence()
                migration.ports.append(port)
        migration.ports.sort(key=_port_order)
        return migration

    def _port(self, session: Session) -> Port | None:
        """The port of a session's server; None where there is no room for another one."""
        ports = self._by_address.get(session.server_ip)
        known: list[Port] | None = None if ports is None else ports.get(session.server_port)
        if known is not None:
            for port in known:  # more than one only where a port was met with several protocols
                if port.protocol == session.protocol:
                    return port
        if len(self._ports) >= self._max_ports:
            return None
        if ports is None:
            ports = {}
            self._by_address[session.server_ip] = ports
        if known is None:
            known = []
            ports[session.server_port] = known
        port = Port(session)
        known.append(port)
        self._ports.append(port)
        return port


def migrate(sessions: list[Session], servers: list[Posture]) -> Migration:
    """Who is still in clear, and what to enter instead. ``servers`` are the postures of the same sessions."""
    migrants = Migrants()
    for session in sessions:
        migrants.receive(session)
    return migrants.finish(servers)


def closings(ports: list[Port], most: int, where: str = "") -> list[str]:
    """What closing ports in clear would cut off, as :meth:`Port.sentence` says it: at most ``most`` and one more on how many are left.

    That one ends in ``where`` all of them can be had.

    Those with most accounts come first. Ports that nobody uses in clear who was let in have none: closing them cuts off nobody from there.
    """
    used = [port.closing for port in ports if port.clients or port.accounts]
    told = used[:most]
    if len(used) > most:
        told.append(f"and so on for {plural(len(used) - most, 'more port')}{where}")
    return told


def _port_order(one: Port) -> tuple[int, str, int]:
    return (-len(one.accounts), one.server_ip, one.server_port)


def _add_logins(port: Port, session: Session, rows: list[Migrant], limit: int, total: Summary | None) -> int:
    """The accounts of one session in clear; how many logins found no room in the table."""
    left_out = 0
    for credential in session.credentials or []:
        if not credential.exposed or credential.secret_kind == NO_SECRET:
            continue
        outcome = credential.outcome
        account = total.latest if total is not None and total.latest_of is credential else None
        one: Migrant | None = None
        if account is None or account.unlisted_by is not port:
            # Who was never let in may be a guesser, and is left out in the end: guessers must not fill the table.
            one = _row(port, session, credential.username, rows, limit // 2 if outcome == REJECTED else limit)
        if one is None:
            if account is not None and len(rows) >= limit and credential.username not in port.listed:
                # There was no room, and there will be none.
                account.unlisted_by = port
            if outcome != REJECTED:
                left_out += 1
                port.count(session.client_ip, credential.username, account)
            continue
        one.logins += 1
        if credential.username is None:
            one.unnamed = True
        if outcome == ACCEPTED:
            one.accepted += 1
            if session.message_list is not None and not one.deletes:
                one.deletes = _deletes(session)
        elif outcome == REJECTED:
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
    return left_out


def _deletes(session: Session) -> bool:
    """Whether a session removed mail from the server."""
    return any(message.deleted for message in session.message_list or [])


def _add_mail(port: Port, session: Session, rows: list[Migrant], limit: int) -> int:
    """Mail handed in without a login, at a place meant for users: a setting as well. 1 where it found no room, else 0."""
    if session.port_service == "submission" or session.port_service == "submissions":
        one = _row(port, session, None, rows, limit)
        if one is None:
            port.count(session.client_ip, None)
            return 1
        one.logins += 1
        one.accepted += 1
    return 0


def _row(port: Port, session: Session, username: str | None, rows: list[Migrant], limit: int) -> Migrant | None:
    """The row of a client and account; None where there is no room for a new one."""
    accounts = port.rows.get(session.client_ip)
    one: Migrant | None = None if accounts is None else accounts.get(username)
    if one is None:
        if len(rows) >= limit:
            return None
        one = Migrant(port, session.client_ip, username)
        if accounts is None:
            accounts = {}
            port.rows[session.client_ip] = accounts
        accounts[username] = one
        port.listed.add(username)
        rows.append(one)
    if session.end_ns > one.last_ns:
        one.last_ns = session.end_ns
    return one


def _without_guessers(rows: list[Migrant]) -> list[Migrant]:
    """Leave out those who guess: an account never let in with many passwords, or many accounts of one client never let in."""
    refused: dict[str, int] = {}
    for one in rows:
        if one.rejected == one.logins:
            refused[one.client_ip] = refused.get(one.client_ip, 0) + 1
    if not refused:
        return rows
    kept: list[Migrant] = []
    for one in rows:
        guesses = 0 if one.guesses is None else len(one.guesses)
        if one.rejected < one.logins or (guesses < MIN_GUESSES and refused[one.client_ip] < MIN_ACCOUNTS):
            kept.append(one)
    return kept


def _name_problems(one: Migrant, failures: dict[str, str]) -> None:
    """Misconfigurations that users meet, by name."""
    port = one.port
    if not one.deletes and one.rejected < one.logins and not failures and not port.odd:
        return
    problems: list[str] = []
    if port.sealed:
        works = "the server takes it, though the port is for TLS" if one.accepted else "it cannot work so"
        problems.append(f"port {port.server_port} without SSL/TLS: {works}")
    if failures:
        failure = failures.get(f"{one.client_ip} {port.server_ip} {port.protocol}")
        if failure is not None:
            what = "certificate error" if failure in CERTIFICATE_ALERTS else "TLS error"
            problems.append(f"{what} when this client tried TLS ({failure or 'no reason given'})")
    if one.deletes:
        problems.append("deletes mail from the server after fetching it in clear")
    if port.server_port == 25 and port.protocol == "smtp":
        problems.append("logs in on port 25, which is for servers")
    if one.rejected == one.logins:
        problems.append("was not let in")
    if problems:
        one.problems = problems


class _Advisor:
    """Knows what each server has."""

    def __init__(self, servers: list[Posture]) -> None:
        self._by_port: dict[str, Posture] = {}
        #: address and protocol, and address alone -> name
        self._names: dict[str, str] = {}
        for server in servers:
            self._by_port[f"{server.server_ip} {server.server_port} {server.protocol}"] = server
            name = server.names[0] if server.names else ""
            if not name:
                name = next((one for one in server.certificate_names if "*" not in one and "." in one), "")
            if name:
                for key in (f"{server.server_ip} {server.protocol}", server.server_ip):
                    if server.names or key not in self._names:
                        self._names[key] = name

    def host(self, one: Port) -> str:
        """The name that others use for this server, with this protocol if there is one, or its certificate has, else its address."""
        name = self._names.get(f"{one.server_ip} {one.protocol}")
        return self._names.get(one.server_ip, one.server_ip) if name is None else name

    def setting(self, one: Port) -> Setting | None:
        """The best setting for this server; None where it is known to have none."""
        best: Setting | None = None
        choices = list(CHOICES.get(one.protocol, ()))
        relay = one.protocol == "smtp" and one.server_port == 25
        usual = len(choices)
        if not relay and (one.server_port, False) not in choices and (one.server_port, True) not in choices:
            # A service on a port of its own; port 25 is no port for users, whatever it offers (RFC 8314 section 3.3).
            choices.append((one.server_port, False))
        best_rank = 2 * NOT_THERE
        for at, (port, implicit) in enumerate(choices):
            known = self._known(one, port, implicit)
            rank = 2 * OFFERED + 1 if implicit and known == UNSEEN else 2 * known
            if at >= usual and known == OFFERED:
                rank = 2 * WORKING
            if rank > best_rank:
                best_rank = rank
                best = Setting(port, implicit, known)
        return best

    def _known(self, one: Port, port: int, implicit: bool) -> int:
        """What is known of one setting at a server."""
        server = self._by_port.get(f"{one.server_ip} {port} {one.protocol}")
        if server is None:
            return UNSEEN
        if implicit:
            if server.implicit_tls and server.tls_completed:
                return WORKING
            if server.speaks_clear():
                return NOT_THERE
            return FAILING if server.tls_failed else UNSEEN
        if server.starttls and server.tls_completed:
            return WORKING
        if server.offered:
            return FAILING if server.tls_failed else OFFERED
        return NOT_THERE if server.not_offered else UNSEEN
