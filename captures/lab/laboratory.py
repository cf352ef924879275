"""The laboratory as a sample sees it, and the register of samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from . import accounts, network, pcapfile
from .clients import Imap, Lmtp, Pop3, Sieve, Smtp
from .ledger import Ledger, Session
from .pcapfile import Packet
from .programs import Programs
from .servers import Servers, wait_for

Finish: TypeAlias = Callable[["Laboratory", list[Packet]], list[Packet]]


@dataclass(frozen=True)
class Sample:
    """One file of ``captures/``: what it shows, how it is made, and the function that does it."""

    name: str
    shows: str
    made: str
    make: Callable[[Laboratory], None]
    needs: tuple[str, ...]
    interface: str
    options: tuple[str, ...]
    expression: str
    finish: Finish | None
    write: Callable[[Laboratory, Path, list[Packet]], None] | None


SAMPLES: Final[dict[str, Sample]] = {}


def sample(
    name: str, shows: str, made: str, *, needs: Iterable[str] = (), interface: str = "c0", options: Iterable[str] = (),
    expression: str = "tcp", finish: Finish | None = None,
    write: Callable[[Laboratory, Path, list[Packet]], None] | None = None,
) -> Callable[[Callable[[Laboratory], None]], Callable[[Laboratory], None]]:  # fmt: skip
    """Register a function as the maker of a sample. ``needs`` names the programs it runs."""

    def register(make: Callable[[Laboratory], None]) -> Callable[[Laboratory], None]:
        SAMPLES[name] = Sample(
            name, shows, made, make, tuple(needs), interface, tuple(options), expression, finish, write
        )  # fmt: skip
        return make

    return register


@dataclass
class Laboratory:
    """Servers, programs and scripted clients, all writing into one ledger at a time."""

    folder: Path
    servers: Servers
    programs: Programs
    ledger: Ledger = field(default_factory=Ledger)
    #: moments a sample asked to be remembered, by session
    marks: dict[int, int] = field(default_factory=dict)

    def begin(self) -> None:
        """A new sample: empty ledger, seeded mailboxes."""
        self.ledger = Ledger()
        self.marks = {}
        self.servers.seed(accounts.ACCOUNTS | accounts.OFFICE)
        network.source(network.CLIENT)

    def did(
        self, protocol: str, port: int, server: str = network.MAIL, *, client: str = network.CLIENT, **truth: Any
    ) -> Session:
        """Enter a connection that a program is about to make."""
        if ":" in server and client == network.CLIENT:
            client = network.CLIENT6
        return self.ledger.open(Session(client, server, port, protocol, **truth))

    def pop3(self, *args: Any, **options: Any) -> Pop3:
        """A scripted POP3 client."""
        return Pop3(self.ledger, *args, **options)

    def imap(self, *args: Any, **options: Any) -> Imap:
        """A scripted IMAP client."""
        return Imap(self.ledger, *args, **options)

    def smtp(self, *args: Any, **options: Any) -> Smtp:
        """A scripted SMTP client."""
        return Smtp(self.ledger, *args, **options)

    def lmtp(self, *args: Any, **options: Any) -> Lmtp:
        """A scripted LMTP client."""
        return Lmtp(self.ledger, *args, **options)

    def sieve(self, *args: Any, **options: Any) -> Sieve:
        """A scripted ManageSieve client."""
        return Sieve(self.ledger, *args, **options)

    def wait_sent(self, seconds: float = 15) -> None:
        """Wait until the partner's Postfix has nothing left to send."""
        end = time.monotonic() + seconds
        queue = self.folder / "partner" / "queue"
        while any(path.is_file() for name in ("maildrop", "incoming", "active") for path in (queue / name).rglob("*")):
            if time.monotonic() > end:
                raise network.LabError("the partner's Postfix does not get rid of its mail")
            time.sleep(0.1)
        time.sleep(0.3)

    @staticmethod
    def wait_listening(address: str, port: int) -> None:
        """Wait for a server that was just started, from its own side of the cable."""
        network.enter(network.SERVERS)
        try:
            wait_for(address, port)
        finally:
            network.enter(network.CLIENTS)

    def mark(self, session: Session) -> None:
        """Remember this moment of a session; nothing is on its way then."""
        time.sleep(0.08)
        self.marks[id(session)] = time.time_ns()
        time.sleep(0.02)

    @contextmanager
    def listening(self, *started: Any) -> Any:
        """Close small servers when the sample is made."""
        try:
            yield
        finally:
            for server in started:
                server.shutdown()
                server.server_close()

    def owner(self, packet: Packet) -> Session | None:
        """The session a packet belongs to."""
        found = pcapfile.segment(packet)
        if found is None:
            return None
        ends = {(found.source, found.source_port), (found.target, found.target_port)}
        return next((s for s in self.ledger.sessions if {(s.client, s.client_port), (s.server, s.port)} == ends), None)
