"""Totals over sessions, for reports that lead with what matters: who is exposed, on which servers, by which clients.

Over 500 lines, because every tally is filled by one walk over a session, which is on the hot path of the report.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.findings.history import fingerprint
from analyzer.findings.traits import endpoint
from analyzer.protocols.events import BEARER_TOKEN, CHALLENGE_RESPONSE, NO_SECRET, PASSWORD
from analyzer.sessions.records import (
    ACCEPTED,
    COMPLETE,
    IMPLICIT_TLS,
    MIDSTREAM,
    NOT_OFFERED,
    OFFERED,
    ONE_SIDED,
    PLAINTEXT,
    REFUSED,
    REQUESTED,
    STARTTLS,
    TRUNCATED,
    UNKNOWN,
    UNSEEN,
    Credential,
    Session,
)

#: Clients and mechanisms told apart for one account; that there were more is noted of clients.
MAX_NAMED: Final = 1000
#: Servers, accounts and clients that are told apart; what is beyond counts in the totals only, and that is said.
MAX_SERVERS: Final = 10_000
MAX_ACCOUNTS: Final = 50_000
MAX_CLIENTS: Final = 50_000
#: A client's number fits into so many bits, for three of them stand in one number of 64.
CLIENT_BITS: Final = 16
CLIENT_MASK: Final = (1 << CLIENT_BITS) - 1


@mypyc_attr(acyclic=True)
class AccountTally:
    """One account as it was exposed on one server."""

    def __init__(self, username: str, server_ip: str, server_port: i64, protocol: str) -> None:
        # What each login touches stands together: there are many accounts, and memory comes by the line.
        self.accepted: i64 = 0
        self.rejected: i64 = 0
        self.other: i64 = 0
        self.last_ns: i64 = 0
        #: fingerprint of the password that was taken last, 0 for none
        self.secret: i64 = 0
        #: a password or token went over the wire as such (not only a hash)
        self.readable: bool = False
        self.token: bool = False
        self.hashed: bool = False
        #: numbers of the first clients, three in each; and of all, where they are more: a set takes memory, and most accounts have few
        self._few_0: i64 = 0
        self._few_1: i64 = 0
        self._few_2: i64 = 0
        self._few_3: i64 = 0
        self._many: set[int] | None = None
        #: it has further clients, which are not told apart
        self.more_clients: bool = False
        #: the port of :mod:`analyzer.report.migration` that has counted the account, and the one that will have no row of it
        self.counted_by: object | None = None
        self.unlisted_by: object | None = None
        #: the mechanism met first, and the others
        self.mechanism: str = ""
        self.further: list[str] | None = None
        self.username = username
        self.server_ip = server_ip
        self.server_port: i64 = server_port
        self.protocol = protocol
        self.capture: str = ""
        self.frame: i64 = 0

    def add_client(self, number: i64) -> None:
        """A client that logged in to it: its number in :attr:`Summary.clients`, not 0."""
        many = self._many
        if many is not None:
            if len(many) < MAX_NAMED:
                many.add(number)
            elif number not in many:
                self.more_clients = True
            return
        noted = _noted(self._few_0, number)
        if noted >= 0:
            self._few_0 = noted
            return
        noted = _noted(self._few_1, number)
        if noted >= 0:
            self._few_1 = noted
            return
        noted = _noted(self._few_2, number)
        if noted >= 0:
            self._few_2 = noted
            return
        noted = _noted(self._few_3, number)
        if noted >= 0:
            self._few_3 = noted
            return
        self._many = {*self.numbers(), int(number)}

    def numbers(self) -> list[int]:
        """The numbers of the clients that logged in to it, each once."""
        if self._many is not None:
            return list(self._many)
        numbers: list[int] = []
        _take_apart(self._few_0, numbers)
        _take_apart(self._few_1, numbers)
        _take_apart(self._few_2, numbers)
        _take_apart(self._few_3, numbers)
        return numbers

    def clients(self) -> set[int]:
        """The same as a set."""
        return set(self.numbers())

    def mechanisms(self) -> list[str]:
        """The mechanisms met, in order of appearance."""
        first = [self.mechanism] if self.mechanism else []
        return first if self.further is None else first + self.further

    def logins(self) -> int:
        """How many there were, whatever came of them."""
        return self.accepted + self.rejected + self.other


def _noted(few: i64, number: i64) -> i64:
    """Up to three numbers in one, with another one among them; -1 where there is no room for it."""
    if few & CLIENT_MASK == number or few >> CLIENT_BITS & CLIENT_MASK == number or few >> 2 * CLIENT_BITS == number:
        return few
    if few == 0:
        return number
    if few >> CLIENT_BITS == 0:
        return few | number << CLIENT_BITS
    return few | number << 2 * CLIENT_BITS if few >> 2 * CLIENT_BITS == 0 else -1


def _take_apart(few: i64, numbers: list[int]) -> None:
    """What :func:`_noted` has put together."""
    while few != 0:
        numbers.append(few & CLIENT_MASK)
        few >>= CLIENT_BITS


class ClientTally:
    """One client that logged in in clear."""

    def __init__(self, client_ip: str, number: i64) -> None:
        self.client_ip = client_ip
        #: its place among all, from 1 on
        self.number: i64 = number
        self.logins: i64 = 0
        #: it sent a password or token as such, with the name of an account; and without one that could be read
        self.exposed: bool = False
        self.nameless: bool = False


class ServerTally:
    """One server address and port."""

    def __init__(self, server_ip: str, server_port: i64) -> None:
        self.server_ip = server_ip
        self.server_port: i64 = server_port
        self.protocols: list[str] = []
        self.sessions: i64 = 0
        self.plaintext: i64 = 0
        self.starttls: i64 = 0
        self.implicit_tls: i64 = 0
        self.unknown: i64 = 0
        #: sessions in clear in which the server offered an upgrade, and in which it told what it offers without one
        self.offered: i64 = 0
        self.not_offered: i64 = 0
        self.refused: i64 = 0
        self.accounts: i64 = 0
        #: logins with a password or token that was readable, of which no account could be read
        self.nameless: i64 = 0
        #: something else than mail was recognised there
        self.strange: bool = False
        #: accounts exposed on it, by name
        self.exposed: dict[str, AccountTally] = {}
        self.messages: i64 = 0


class AnomalyTally:
    """One kind of anomaly: how often, and where first."""

    def __init__(self, kind: str, capture: str, frame: i64, server: str) -> None:
        self.kind = kind
        self.count: i64 = 0
        self.capture = capture
        self.frame: i64 = frame
        self.server = server


class Summary:
    """Totals over all sessions of a run."""

    def __init__(self) -> None:
        self.sessions: i64 = 0
        #: sessions whose protocol is known to be mail
        self.mail: i64 = 0
        self.plaintext: i64 = 0
        self.starttls: i64 = 0
        self.implicit_tls: i64 = 0
        self.unknown: i64 = 0
        self.logins_accepted: i64 = 0
        self.messages_exposed: i64 = 0
        self.midstream: i64 = 0
        self.one_sided: i64 = 0
        self.truncated: i64 = 0
        self.complete: i64 = 0
        #: mail sessions without a login of which nobody can say that there was none: in clear, but the client's side was not captured, or the
        #: beginning, or octets are missing, or the capture ends within a login; and nothing that was said in them was captured, where it
        #: may have been in clear
        self.unheard: i64 = 0
        self.late: i64 = 0
        self.patchy: i64 = 0
        self.unfinished: i64 = 0
        self.unread: i64 = 0
        #: mail sessions without readable content, with TLS not counted; connections that are neither mail nor known as something else: those
        #: in which nothing was said, and those in which nothing was recognised
        self.unreadable: i64 = 0
        self.wordless: i64 = 0
        self.unrecognised: i64 = 0
        self.gap_bytes: i64 = 0
        self.conflicts: i64 = 0
        self.cut_records: i64 = 0
        self.first_ns: i64 = 0
        self.last_ns: i64 = 0
        #: logins and messages that were read inside TLS, with keys: not exposed
        self.decrypted_logins: i64 = 0
        self.decrypted_messages: i64 = 0
        #: logins in clear of which no account could be read: with a readable password or token, and with challenge and response alone
        self.nameless: i64 = 0
        self.nameless_hashes: i64 = 0
        self.not_mail: dict[str, int] = {}
        self.accounts: list[AccountTally] = []
        self.servers: dict[str, ServerTally] = {}
        #: address -> port -> the same tallies, found without making a key
        self._by_address: dict[str, dict[int, ServerTally]] = {}
        #: the account counted last, and by which login
        self.latest: AccountTally | None = None
        self.latest_of: Credential | None = None
        #: the latest login that was with the password taken at its account's one before
        self.repeated: Credential | None = None
        #: clients that logged in in clear, by address
        self.clients: dict[str, ClientTally] = {}
        #: accounts of which a password or token was readable
        self.readable: i64 = 0
        self.anomalies: dict[str, AnomalyTally] = {}
        #: servers beyond the limit, as one; logins of accounts and of clients beyond theirs
        self.others = ServerTally("", 0)
        self.accounts_left_out: i64 = 0
        self.clients_left_out: i64 = 0

    def server(self, address: str, port: i64) -> ServerTally:
        """The tally of one server, made where there is none."""
        ports = self._by_address.get(address)
        if ports is None:
            ports = {}
            self._by_address[address] = ports
        server = ports.get(port)
        if server is None:
            if len(self.servers) >= MAX_SERVERS:
                if not ports:
                    del self._by_address[address]
                return self.others
            server = ServerTally(address, port)
            ports[port] = server
            self.servers[f"{address} {port}"] = server
        return server

    def exposed_accounts(self) -> list[AccountTally]:
        """Accounts whose password or token was readable; :func:`leading` puts the foremost of them in order."""
        if self.readable == len(self.accounts):
            return list(self.accounts)
        return [one for one in self.accounts if one.readable]

    def hashed_accounts(self) -> list[AccountTally]:
        """Accounts of which only challenge and response were readable (they can be guessed offline)."""
        if self.readable == len(self.accounts):
            return []
        return [one for one in self.accounts if not one.readable]

    def exposed(self) -> tuple[set[str], set[str], set[str], set[str], set[str]]:
        """Accounts whose password or token was readable: their names, the names let in, those only rejected, their servers; who sent it."""
        names: set[str] = set()
        accepted: set[str] = set()
        unseen: set[str] = set()
        servers: set[str] = set()
        for server in self.servers.values():
            met = False
            for name, one in server.exposed.items():
                if one.readable:
                    met = True
                    names.add(name)
                    if one.accepted:
                        accepted.add(name)
                    elif one.other:
                        unseen.add(name)
            if met:
                servers.add(endpoint(server.server_ip, server.server_port))
        rejected: set[str] = set() if len(names) == len(accepted) else names - accepted - unseen
        clients = {one.client_ip for one in self.clients.values() if one.exposed}
        return (names, accepted, rejected, servers, clients)

    def places_of(self, names: set[str]) -> tuple[set[str], set[str]]:
        """The servers (address and port) at which a password or token of these accounts was readable, and the clients that sent one."""
        servers: set[str] = set()
        numbers: set[int] = set()
        for one in self.accounts:
            if one.readable and one.username in names:
                servers.add(endpoint(one.server_ip, one.server_port))
                numbers.update(one.numbers())
        clients = {one.client_ip for one in self.clients.values() if one.exposed and int(one.number) in numbers}
        return (servers, clients)

    def names_of(self, clients: list[str]) -> dict[str, set[str]]:
        """The accounts that clients logged in to in clear, by name."""
        found: dict[str, set[str]] = {}
        by_number: dict[int, set[str]] = {}
        for client in clients:
            found[client] = set()
            tally = self.clients.get(client)
            if tally is not None:
                by_number[tally.number] = found[client]
        for one in self.accounts:
            for number in one.numbers():
                names = by_number.get(number)
                if names is not None:
                    names.add(one.username)
        return found

    def doubtful(self) -> int:
        """Mail sessions without a login of which nobody can say that there was none."""
        return self.unheard + self.late + self.patchy + self.unfinished + self.unread

    def notes(self) -> list[str]:
        """Sentences about what the totals do not tell apart."""
        notes: list[str] = []
        if self.others.sessions:
            notes.append(
                f"the first {MAX_SERVERS:,} servers are told apart; {self.others.sessions:,} sessions on further ones are in the totals only"
            )
        if self.accounts_left_out:
            notes.append(
                f"the first {MAX_ACCOUNTS:,} accounts are told apart; {self.accounts_left_out:,} logins of further ones (or on servers "
                "beyond the limit) are in the totals only"
            )
        if self.clients_left_out:
            notes.append(
                f"the first {MAX_CLIENTS:,} clients are told apart; {self.clients_left_out:,} logins of further ones are in the totals only, "
                "and among no account's clients"
            )
        return notes


def leading(accounts: list[AccountTally], most: int) -> list[AccountTally]:
    """The first ``most`` accounts: those that were let in before the others, then those with most logins, then by server and name."""
    if most < 1:
        return []
    if len(accounts) > most:
        # Sorting hundreds of thousands by everything takes long; by one number it does not, and it leaves few.
        weights = [_weight(one) for one in accounts]
        least = sorted(weights, reverse=True)[most - 1]
        accounts = [one for one, weight in zip(accounts, weights, strict=True) if weight >= least]
    return sorted(accounts, key=_account_order)[:most]


def _weight(one: AccountTally) -> int:
    return one.logins() + ((1 << 60) if one.accepted else 0)


def _account_order(one: AccountTally) -> tuple[int, str, str]:
    return (-_weight(one), one.server_ip, one.username)


def summarize(sessions: list[Session]) -> Summary:
    """Totals over sessions."""
    total = Summary()
    for session in sessions:
        add_session(total, session)
    return total


def add_session(total: Summary, session: Session) -> None:
    """Count one more session."""
    total.sessions += 1
    if total.sessions == 1 or session.start_ns < total.first_ns:
        total.first_ns = session.start_ns
    if session.end_ns > total.last_ns:
        total.last_ns = session.end_ns
    server = total.server(session.server_ip, session.server_port)
    server.sessions += 1
    protocol = session.protocol
    if protocol != UNKNOWN:
        total.mail += 1
        if protocol not in server.protocols:
            server.protocols.append(protocol)
    elif session.not_mail is not None:
        total.not_mail[session.not_mail] = total.not_mail.get(session.not_mail, 0) + 1
        server.strange = True
    transport = session.transport
    if transport == PLAINTEXT:
        total.plaintext += 1
        server.plaintext += 1
        state = session.starttls
        if state == OFFERED or state == REQUESTED:
            server.offered += 1
        elif state == NOT_OFFERED:
            server.not_offered += 1
        elif state == REFUSED:
            server.refused += 1
    elif transport == STARTTLS:
        total.starttls += 1
        server.starttls += 1
    elif transport == IMPLICIT_TLS:
        total.implicit_tls += 1
        server.implicit_tls += 1
    else:
        total.unknown += 1
        server.unknown += 1
        if protocol != UNKNOWN:
            total.unreadable += 1
            if session.starttls == UNSEEN:
                total.unread += 1
        elif session.not_mail is None:
            if session.client_bytes + session.server_bytes == 0:
                total.wordless += 1
            else:
                total.unrecognised += 1
    if session.message_list is not None:
        total.messages_exposed += session.messages
        server.messages += session.messages
    completeness = session.completeness
    if completeness == COMPLETE:
        total.complete += 1
    else:
        silent = (
            transport == PLAINTEXT and protocol != UNKNOWN and (session.credentials is None or _gave_nothing(session))
        )
        if completeness == MIDSTREAM:
            total.midstream += 1
            if silent:
                total.late += 1
        elif completeness == ONE_SIDED:
            total.one_sided += 1
            if silent:
                if session.client_bytes == 0:
                    total.unheard += 1
                elif session.direction_from != "syn":
                    # Who opened the connection was not seen: its beginning is missing.
                    total.late += 1
                elif session.gap_bytes > 0:
                    total.patchy += 1
        elif completeness == TRUNCATED:
            total.truncated += 1
            if silent:
                if session.gap_bytes > 0:
                    total.patchy += 1
                elif session.credentials is not None and session.credentials[-1].outcome == UNKNOWN:
                    total.unfinished += 1
    total.gap_bytes += session.gap_bytes
    if session.conflict_bytes > 0:
        total.conflicts += 1
    total.cut_records += session.cut_records
    if session.credentials is not None:
        for credential in session.credentials:
            if credential.exposed:
                _add_credential(total, server, session, credential)
            else:
                total.decrypted_logins += 1
    if session.tls is not None and session.message_list is not None:
        for message in session.message_list:
            if not message.exposed:
                total.decrypted_messages += 1
    if session.anomalies is not None:
        for seen in session.anomalies:
            tally = total.anomalies.get(seen.kind)
            if tally is None:
                tally = AnomalyTally(
                    seen.kind, session.capture, seen.frame, f"{session.server_ip} {session.server_port}"
                )
                total.anomalies[seen.kind] = tally
            tally.count += 1


def _gave_nothing(session: Session) -> bool:
    """Whether none of its logins was accepted or gave a secret away: there may have been another one."""
    if session.credentials is not None:
        for credential in session.credentials:
            if credential.secret_kind != NO_SECRET or credential.outcome == ACCEPTED:
                return False
    return True


def _add_credential(total: Summary, server: ServerTally, session: Session, credential: Credential) -> None:
    kind = credential.secret_kind
    username = credential.username
    if kind != PASSWORD and kind != BEARER_TOKEN and kind != CHALLENGE_RESPONSE:
        return
    client_ip = session.client_ip
    client = total.clients.get(client_ip)
    if client is None and len(total.clients) < MAX_CLIENTS:
        client = ClientTally(client_ip, len(total.clients) + 1)
        total.clients[client_ip] = client
    if client is None:
        total.clients_left_out += 1
    else:
        client.logins += 1
    secret = credential.secret
    if username is None:
        if kind == CHALLENGE_RESPONSE and secret is None:
            total.nameless_hashes += 1
        else:
            total.nameless += 1
            server.nameless += 1
            if client is not None:
                client.nameless = True
        return
    if client is not None and secret is not None:
        client.exposed = True
    account = server.exposed.get(username)
    if account is None:
        if server is total.others or len(total.accounts) >= MAX_ACCOUNTS:
            total.accounts_left_out += 1
            if credential.outcome == "accepted":
                total.logins_accepted += 1
            return
        account = AccountTally(username, session.server_ip, session.server_port, session.protocol)
        account.capture = session.capture
        account.frame = credential.frame
        server.exposed[username] = account
        total.accounts.append(account)
        server.accounts += 1
    else:
        # The same name, as the same object: whoever keeps or compares it keeps one, and compares no letters.
        credential.username = account.username
    total.latest = account
    total.latest_of = credential
    outcome = credential.outcome
    if outcome == "accepted":
        account.accepted += 1
        total.logins_accepted += 1
        if kind == PASSWORD and secret is not None:
            mark = fingerprint(secret)
            if mark == account.secret:
                total.repeated = credential
            account.secret = mark
    elif outcome == "rejected":
        account.rejected += 1
    else:
        account.other += 1
    if secret is not None:
        if not account.readable:
            account.readable = True
            total.readable += 1
        if kind == BEARER_TOKEN:
            account.token = True
    elif kind == CHALLENGE_RESPONSE:
        account.hashed = True
    if client is None:
        account.more_clients = True
    else:
        account.add_client(client.number)
    mechanism = credential.mechanism
    if mechanism != account.mechanism:
        _add_mechanism(account, mechanism)
    if credential.timestamp_ns > account.last_ns:
        account.last_ns = credential.timestamp_ns


def _add_mechanism(account: AccountTally, mechanism: str) -> None:
    """A mechanism that is not the account's first one so far."""
    if not account.mechanism:
        account.mechanism = mechanism
        return
    further = account.further
    if further is None:
        further = []
        account.further = further
    if mechanism not in further and len(further) < MAX_NAMED:
        further.append(mechanism)
