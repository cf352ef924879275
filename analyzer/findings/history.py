"""What rules remember of earlier sessions: of servers, of clients at servers, of accounts, of secrets.

Sessions come in order of their start, whatever order their files came in, so the same traffic gives the same memory. All of it is
bounded: what was not asked for in a long time is forgotten, and counted. Secrets are known by keyed fingerprints only.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Secret
from analyzer.sessions.records import Session

#: Servers (address, port and protocol), clients at servers, accounts at servers, and secrets in memory: twice that at most.
MAX_SERVERS: Final = 8192
MAX_CLIENTS: Final = 8192
MAX_ACCOUNTS: Final = 8192
MAX_SECRETS: Final = 32768
#: Sessions of one server that wait for what its later sessions say, and of all servers.
MAX_WAITING: Final = 100
MAX_WAITING_IN_ALL: Final = 4000
#: Hosts behind one address whose offers are remembered.
MAX_HOSTS: Final = 32
#: Of those, the hosts whose capability lists are remembered, and words kept of one's lists: anybody can make up both.
MAX_LISTED_HOSTS: Final = 4
MAX_WORDS: Final = 100
#: Rejected logins kept of one client at one server, or of one account.
MAX_REJECTIONS: Final = 64

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, in two generations: when the young one is full it becomes the old one, and the old one is forgotten.

    Whoever is asked for stays young, so a flood of strangers does not wipe out those who are still there.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.young: dict[Key, Value] = {}
        self.old: dict[Key, Value] = {}
        #: values forgotten so far
        self.forgotten: i64 = 0

    def get(self, key: Key) -> Value | None:
        """The value of a key, None where there is none or it was forgotten."""
        value = self.young.get(key)
        if value is None and self.old:
            value = self.old.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Remember a value."""
        if len(self.young) >= self.limit:
            self.forgotten += len(self.old)
            self.old = self.young
            self.young = {}
        self.young[key] = value

    def __len__(self) -> int:
        return len(self.young) + len(self.old)


class ServerPast:
    """What earlier sessions said of one server: address, port and protocol."""

    __slots__ = ("best", "lists", "offers", "said", "waiting", "waiting_weak")

    def __init__(self) -> None:
        #: name in the greeting (empty for none) -> start of the latest session in which it offered STARTTLS
        self.offers: dict[str, int] | None = None
        #: the same name -> the strongest mechanism that it offered in clear
        self.best: dict[str, Strongest] | None = None
        #: the same name -> its capability lists
        self.lists: dict[str, ListsPast] | None = None
        #: sessions without an offer of STARTTLS, and with weak mechanisms only, as long as no other session had more
        self.waiting: list[Session] | None = None
        self.waiting_weak: list[Session] | None = None
        #: what was said once and need not be said again
        self.said: set[str] | None = None


class Strongest:
    """The strongest kind of mechanism that a host offered, one of that kind, and when."""

    __slots__ = ("mechanism", "rank", "timestamp_ns")

    def __init__(self, rank: int, mechanism: str, timestamp_ns: i64) -> None:
        self.rank = rank
        self.mechanism = mechanism
        self.timestamp_ns: i64 = timestamp_ns


class ListsPast:
    """The capability lists of one host."""

    __slots__ = ("count", "lacking", "words")

    def __init__(self) -> None:
        #: lists seen, and the words that stood in all of them
        self.count: i64 = 0
        self.words: set[str] = set()
        #: word -> clients that did not get it, no more than show that it is gone
        self.lacking: dict[str, set[str]] | None = None


@mypyc_attr(acyclic=True)
class ClientPast:
    """What earlier sessions of one client at one server address did."""

    __slots__ = ("excused", "failures", "guessed", "let_in", "names", "rejections", "sprayed_ns")

    def __init__(self) -> None:
        #: protocol -> the latest TLS handshake that failed
        self.failures: dict[str, Session] | None = None
        #: rejected logins, oldest first
        self.rejections: list[Rejection] = []
        #: account -> rejected logins of it, no less than there are in ``rejections``
        self.names: dict[str, int] = {}
        #: account that was guessed at -> capture times at which that was found, and of the latest login that belongs to it; bounded
        #: as ``rejections`` are
        self.guessed: dict[str, tuple[int, int]] = {}
        #: once several accounts were rejected: accounts that were let in -> the latest time; bounded alike
        self.let_in: dict[str, int] | None = None
        #: the same where accounts were sprayed, 0 where they were not
        self.sprayed_ns: i64 = 0
        #: further rejections that change nothing: it is let in as often, and that takes long to count
        self.excused: i64 = 0


@mypyc_attr(acyclic=True)
class AccountPast:
    """Rejected logins to one account at one server address, whoever tried."""

    __slots__ = ("rejection", "rejections", "told_ns")

    def __init__(self, rejection: Rejection) -> None:
        #: the first, and where there are more, the latest of all
        self.rejection = rejection
        self.rejections: list[Rejection] | None = None
        self.told_ns: i64 = 0


@mypyc_attr(acyclic=True)
class Rejection:
    """One rejected login. ``secret`` is a keyed fingerprint, 0 where the secret is not known (challenge and response)."""

    __slots__ = ("client_ip", "secret", "timestamp_ns", "username")

    def __init__(self, timestamp_ns: i64, client_ip: str, username: str, secret: int) -> None:
        self.timestamp_ns: i64 = timestamp_ns
        self.client_ip = client_ip
        self.username = username
        self.secret = secret


@mypyc_attr(acyclic=True)
class SecretPast:
    """The accounts that one secret was seen with. The secret itself is not kept."""

    __slots__ = ("accounts", "server_ip", "username")

    def __init__(self, server_ip: str, username: str) -> None:
        #: where it was seen first
        self.server_ip = server_ip
        self.username = username
        #: accounts already reported
        self.accounts: set[str] | None = None


class History:
    """All that rules remember."""

    def __init__(
        self,
        servers: int = MAX_SERVERS,
        clients: int = MAX_CLIENTS,
        accounts: int = MAX_ACCOUNTS,
        secrets: int = MAX_SECRETS,
    ) -> None:
        self.servers: Recent[str, ServerPast] = Recent(servers)
        self.clients: Recent[str, ClientPast] = Recent(clients)
        self.accounts: Recent[str, AccountPast] = Recent(accounts)
        self.secrets: Recent[int, SecretPast] = Recent(secrets)
        #: weak passwords already told of, each of an account: no more than are judged
        self.weak: set[tuple[int, str | None]] = set()
        #: logins whose passwords are not judged, because there are too many
        self.passwords_left_out: i64 = 0
        #: the client asked for last, and by which session
        self._client_of: Session | None = None
        self._client: ClientPast | None = None
        #: handshakes that failed, and guessers found: as long as there are none, nobody needs to be looked up
        self.failures: i64 = 0
        self.guessers: i64 = 0
        #: clients of which several accounts were rejected, as above
        self.crowds: i64 = 0
        #: sessions that wait in ``ServerPast.waiting``, and those for which there was no room
        self.waiting: int = 0
        self.not_compared: i64 = 0

    def server(self, session: Session) -> ServerPast:
        """The past of a session's server."""
        key = f"{session.server_ip} {session.server_port} {session.protocol}"
        past = self.servers.get(key)
        if past is None:
            past = ServerPast()
            self.servers.put(key, past)
        return past

    def client(self, session: Session) -> ClientPast:
        """The past of a session's client at its server's address."""
        if self._client_of is session and self._client is not None:
            return self._client
        key = f"{session.client_ip} {session.server_ip}"
        past = self.clients.get(key)
        if past is None:
            past = ClientPast()
            self.clients.put(key, past)
        self._client_of = session
        self._client = past
        return past

    def known_client(self, session: Session) -> ClientPast | None:
        """The past of a session's client at its server's address, if there is any."""
        if self._client_of is session:
            return self._client
        if len(self.clients) == 0:
            return None
        self._client_of = session
        self._client = self.clients.get(f"{session.client_ip} {session.server_ip}")
        return self._client

    def rejected(self, session: Session, rejection: Rejection) -> AccountPast | None:
        """The past of the account at a session's server address, a rejection added; None where it is the first."""
        key = f"{session.server_ip} {rejection.username}"
        past = self.accounts.get(key)
        if past is None:
            self.accounts.put(key, AccountPast(rejection))
        elif past.rejections is None:
            past.rejections = [past.rejection, rejection]
        else:
            keep(past.rejections, rejection)
        return past

    def wait(self, sessions: list[Session], session: Session) -> None:
        """Let a session wait for what later sessions of its server say."""
        if len(sessions) >= MAX_WAITING or self.waiting >= MAX_WAITING_IN_ALL:
            self.not_compared += 1
            return
        self.waiting += 1
        sessions.append(session)

    def released(self, sessions: list[Session]) -> None:
        """Sessions that waited wait no more."""
        self.waiting -= len(sessions)

    def size(self) -> int:
        """Entries in memory."""
        return len(self.servers) + len(self.clients) + len(self.accounts) + len(self.secrets) + self.waiting

    def forgotten(self) -> int:
        """Entries that were pushed out, and sessions that were not compared for lack of room."""
        return (
            self.servers.forgotten
            + self.clients.forgotten
            + self.accounts.forgotten
            + self.secrets.forgotten
            + self.not_compared
        )


def keep(rejections: list[Rejection], rejection: Rejection) -> None:
    """Keep a rejection, and the latest before it."""
    if len(rejections) >= MAX_REJECTIONS:
        del rejections[: MAX_REJECTIONS // 4]
    rejections.append(rejection)


def fingerprint(secret: Secret) -> int:
    """A keyed fingerprint by which equal secrets are told within one run; 0 for none.

    It is the interpreter's hash of text (SipHash, keyed at random for each process), or the fingerprint that came with a secret
    whose value was dropped on the way. It never leaves the process.
    """
    sealed = secret.fingerprint
    if sealed is not None:
        return hash(sealed)
    value = secret.reveal()
    return 0 if value is None else hash(value)
