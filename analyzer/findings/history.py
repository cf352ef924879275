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

#: No capture time; 0 is that of captures without times.
NEVER: Final = -1

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
            value = self.old.get(key)
            if value is not None:
                del self.old[key]
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


class RecentOf(Generic[Value]):
    """As :class:`Recent`, with keys of two texts that are not put together: neither is their hash made anew at each question."""

    def __init__(self, limit: int) -> None:
        self.limit: i64 = limit
        self.young: dict[str, dict[str, Value]] = {}
        self.old: dict[str, dict[str, Value]] = {}
        self._count: i64 = 0
        self._old_count: i64 = 0
        #: values forgotten so far
        self.forgotten: i64 = 0

    def get(self, place: str, name: str) -> Value | None:
        """The value of a name at a place, None where there is none or it was forgotten."""
        names = self.young.get(place)
        if names is not None:
            value = names.get(name)
            if value is not None:
                return value
        if self._old_count > 0:
            names = self.old.get(place)
            if names is not None:
                value = names.get(name)
                if value is not None:
                    del names[name]
                    self._old_count -= 1
                    self.put(place, name, value)
                    return value
        return None

    def put(self, place: str, name: str, value: Value) -> None:
        """Remember the value of a name that has none yet."""
        if self._count >= self.limit:
            self.forgotten += self._old_count
            self.old = self.young
            self._old_count = self._count
            self.young = {}
            self._count = 0
        names = self.young.get(place)
        if names is None:
            names = {}
            self.young[place] = names
        names[name] = value
        self._count += 1

    def __len__(self) -> int:
        return self._count + self._old_count


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

    # There are many, and each login looks one up: what is seldom needed is made when it is.
    __slots__ = (
        "excused",
        "failures",
        "guessed",
        "let_in",
        "let_in_before",
        "let_in_before_ns",
        "let_in_since_ns",
        "names",
        "rejections",
        "sprayed_ns",
    )

    def __init__(self) -> None:
        #: how many accounts were rejected, counted as far as anybody asks; one may count twice when it was forgotten meanwhile
        self.names: i64 = 0
        #: capture time at which accounts were found to be sprayed, and of the latest login that belongs to it; ``NEVER`` where they were not
        self.sprayed_ns: i64 = NEVER
        #: account that was guessed at -> the same times, and whether passwords were seen to differ; bounded as ``rejections`` are
        self.guessed: dict[str, tuple[int, int, bool]] | None = None
        #: once several accounts were rejected: accounts that were let in since some time (some of them twice), and in the time before
        self.let_in: list[str] | None = None
        self.let_in_since_ns: i64 = 0
        self.let_in_before: list[str] | None = None
        self.let_in_before_ns: i64 = 0
        #: rejected logins, oldest first
        self.rejections: list[Rejection] | None = None
        #: protocol -> the latest TLS handshake that failed
        self.failures: dict[str, Session] | None = None
        #: further rejections that change nothing: it is let in as often, and that takes long to count
        self.excused: i64 = 0


@mypyc_attr(acyclic=True)
class Rejection:
    """One rejected login. ``secret`` is a keyed fingerprint, 0 where the secret is not known (challenge and response)."""

    __slots__ = ("client_ip", "secret", "timestamp_ns", "username")

    def __init__(self, timestamp_ns: i64, client_ip: str, username: str, secret: i64) -> None:
        self.timestamp_ns: i64 = timestamp_ns
        self.client_ip = client_ip
        self.username = username
        self.secret: i64 = secret


@mypyc_attr(acyclic=True)
class AccountPast:
    """Rejected logins to one account at one server address, whoever tried."""

    __slots__ = ("rejection", "rejections", "told_ns")

    def __init__(self, rejection: Rejection) -> None:
        #: the first, and where there are more, the latest of all, oldest first
        self.rejection = rejection
        self.rejections: list[Rejection] | None = None
        self.told_ns: i64 = NEVER


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
        #: server address -> client, and account: what is known of them
        self.clients: RecentOf[ClientPast] = RecentOf(clients)
        self.accounts: RecentOf[AccountPast] = RecentOf(accounts)
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
        past = self.clients.get(session.server_ip, session.client_ip)
        if past is None:
            past = ClientPast()
            self.clients.put(session.server_ip, session.client_ip, past)
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
        self._client = self.clients.get(session.server_ip, session.client_ip)
        return self._client

    def rejected(self, session: Session, rejection: Rejection) -> AccountPast | None:
        """The past of the account at a session's server address, a rejection added; None where it is the first."""
        past = self.accounts.get(session.server_ip, rejection.username)
        if past is None:
            self.accounts.put(session.server_ip, rejection.username, AccountPast(rejection))
        elif past.rejections is None:
            past.rejections = [past.rejection, rejection]
        else:
            if len(past.rejections) >= MAX_REJECTIONS:
                _make_room(past.rejections)
            past.rejections.append(rejection)
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


def _make_room(rejections: list[Rejection]) -> None:
    """Forget the oldest of the client that has most: one that makes noise does not hide what another one does."""
    counts: dict[str, int] = {}
    for one in rejections:
        counts[one.client_ip] = counts.get(one.client_ip, 0) + 1
    most = max(counts.values())
    noisy = next(client_ip for client_ip, count in counts.items() if count == most)
    spare = max(1, min(most - 1, MAX_REJECTIONS // 4))
    kept: list[Rejection] = []
    for one in rejections:
        if spare > 0 and one.client_ip == noisy:
            spare -= 1
        else:
            kept.append(one)
    rejections[:] = kept


def fingerprint(secret: Secret) -> i64:
    """A keyed fingerprint by which equal secrets are told within one run; 0 for none.

    It is the interpreter's hash of text (SipHash, keyed at random for each process), or the fingerprint that came with a secret
    whose value was dropped on the way. It never leaves the process.
    """
    sealed = secret.fingerprint
    if sealed is not None:
        return hash(sealed)
    value = secret.reveal()
    return 0 if value is None else hash(value)
