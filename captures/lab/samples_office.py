"""The demo: a few minutes in a made-up office, some of whose programs were set up long ago."""

from __future__ import annotations

import random
import socket
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any, Final

from . import network, proxy, servers
from .accounts import OFFICE, message
from .clients import tls_context, together
from .laboratory import Laboratory, sample
from .ledger import Credential
from .network import ATTACKER, CYRUS, ECDSA, MAIL, OTHER, SELF_SIGNED, STRICT
from .pcapfile import Packet, readdressed

_SEED: Final = 20260302
_ROUNDS: Final = 7
_STRIPPED: Final = "10.20.0.33"
_GUESSER: Final = "10.20.0.66"


def _finish(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
    for session in lab.ledger.sessions:
        if session.server == ATTACKER:
            session.server = MAIL
            session.note = "somebody in between took STARTTLS away"
    return readdressed(packets, ATTACKER, MAIL)


def _look_up(client: str, name: str) -> None:
    """Ask the office's name server for an address, as programs do before they connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind((client, 0))
        end.settimeout(3)
        labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
        end.sendto(
            struct.pack(">HHHHHH", zlib.crc32(f"{client} {name}".encode()) & 0xFFFF, 0x0100, 1, 0, 0, 0)
            + labels
            + b"\0\0\1\0\1",
            (MAIL, 53),
        )
        end.recv(512)


class _Desk:
    """One computer of the office: an address, a person, and how its mail program was set up."""

    def __init__(self, lab: Laboratory, address: str, user: str) -> None:
        self.lab, self.address, self.user, self.secret = lab, address, user, OFFICE[user]
        self.letter = message(1, f"{user}@example.org", sender="nora@example.org")

    def pop3_clear(self, *, apop: bool = False, delete: bool = False) -> None:
        _look_up(self.address, "pop.example.org")
        with self.lab.pop3(source=self.address) as client:
            client.capa()
            (client.apop if apop else client.login)(self.user, self.secret)
            client.retrieve(1, delete=delete)
            client.quit()

    def pop3_tls(self, *, stls: bool) -> None:
        _look_up(self.address, "pop.example.org")
        options = {} if stls else {"port": 995, "tls": tls_context()}
        with self.lab.pop3(ECDSA, source=self.address, **options) as client:
            if stls:
                client.capa()
                client.stls()
            client.login(self.user, self.secret)
            client.retrieve(1)
            client.quit()

    def imap_clear(self, *, mechanism: str = "", style: str = "quoted", server: str = MAIL) -> None:
        _look_up(self.address, "imap.example.org")
        with self.lab.imap(server, source=self.address) as client:
            client.command('ID ("name" "Desk Mail" "version" "2.1")')
            if mechanism:
                client.authenticate(mechanism, self.user, self.secret)
            else:
                client.login(self.user, self.secret, style=style)
            client.fetch(1)
            client.logout()

    def imap_tls(self, *, starttls: bool, server: str = ECDSA) -> None:
        _look_up(self.address, "imap.example.org")
        options = {} if starttls else {"port": 993, "tls": tls_context()}
        problem = "self_signed" if server == SELF_SIGNED else None
        with self.lab.imap(server, source=self.address, cert_problem=problem, **options) as client:
            if starttls:
                client.starttls()
            client.login(self.user, self.secret)
            client.fetch(1)
            client.logout()

    def send(self, *, how: str, mechanism: str = "PLAIN", server: str = MAIL) -> None:
        """Submit a letter: ``clear``, ``starttls`` or ``tls``."""
        _look_up(self.address, "smtp.example.org")
        options = {"port": 465, "tls": tls_context()} if how == "tls" else {}
        with self.lab.smtp(server, source=self.address, hello=f"{self.user}-pc.example.org", **options) as client:
            if how == "starttls":
                client.starttls()
            client.auth(mechanism, self.user, self.secret, initial=mechanism != "LOGIN")
            client.mail(self.letter, "office@example.org", sender=f"{self.user}@example.org")
            client.quit()

    def sieve(self) -> None:
        with self.lab.sieve(source=self.address) as client:
            client.authenticate("PLAIN", self.user, self.secret)
            client.command("LISTSCRIPTS")
            client.logout()

    def browse(self) -> None:
        """A page on the intranet; nothing to do with mail."""
        session = self.lab.did("unknown", 80, OTHER, client=self.address, not_mail="http")
        with socket.create_connection((OTHER, 80), 5, (self.address, 0)) as end:
            session.client_port = end.getsockname()[1]
            end.sendall(b"GET /canteen HTTP/1.1\r\nHost: intranet.example.org\r\nConnection: close\r\n\r\n")
            while end.recv(4096):
                continue


def _desks(lab: Laboratory) -> list[tuple[_Desk, tuple[Callable[[_Desk], None], ...]]]:
    """Who sits where, and what their programs do in each round."""
    habits: tuple[tuple[str, tuple[Callable[[_Desk], None], ...]], ...] = (
        ("nora", (_Desk.pop3_clear, lambda d: d.send(how="clear"))),
        ("pavel", (_Desk.pop3_clear,)),
        ("quinn", (lambda d: d.pop3_clear(delete=True),)),
        ("rosa", (lambda d: d.pop3_clear(apop=True),)),
        ("sven", (_Desk.imap_clear, lambda d: d.send(how="clear", mechanism="LOGIN"))),
        ("tara", (lambda d: d.imap_clear(style="atom"), _Desk.browse)),
        ("umar", (lambda d: d.imap_clear(mechanism="PLAIN"),)),
        ("vera", (lambda d: d.imap_clear(mechanism="CRAM-MD5"), lambda d: d.send(how="clear", mechanism="CRAM-MD5"))),
        ("wim", (lambda d: d.imap_clear(style="literal+"), _Desk.sieve)),
        ("scanner", (lambda d: d.send(how="clear", mechanism="LOGIN"),)),
        ("backup", (lambda d: d.send(how="clear"),)),
        ("office", (_Desk.imap_clear, _Desk.browse)),
        ("xenia", (lambda d: d.imap_tls(starttls=True), lambda d: d.send(how="starttls", server=ECDSA_SUBMISSION))),
        ("yusuf", (lambda d: d.imap_tls(starttls=True),)),
        ("zora", (lambda d: d.imap_tls(starttls=True, server=STRICT), _Desk.browse)),
        ("adele", (lambda d: d.imap_tls(starttls=False), lambda d: d.send(how="tls", server=ECDSA_SUBMISSION))),
        ("bruno", (lambda d: d.imap_tls(starttls=False),)),
        ("clara", (lambda d: d.imap_tls(starttls=False), lambda d: d.send(how="tls", server=ECDSA_SUBMISSION))),
        ("dario", (lambda d: d.imap_tls(starttls=False), _Desk.browse)),
        ("edith", (lambda d: d.imap_tls(starttls=False, server=SELF_SIGNED),)),
        ("felix", (lambda d: d.pop3_tls(stls=True),)),
        ("gina", (lambda d: d.pop3_tls(stls=True), lambda d: d.send(how="starttls", server=STRICT))),
        ("hugo", (lambda d: d.pop3_tls(stls=False),)),
        ("ines", (lambda d: d.pop3_tls(stls=False), _Desk.browse)),
        ("jana", (lambda d: d.imap_tls(starttls=False), lambda d: d.send(how="starttls", server=ECDSA_SUBMISSION))),
        ("karl", (lambda d: d.imap_tls(starttls=False), lambda d: d.send(how="starttls", server=ECDSA_SUBMISSION))),
        ("luisa", (lambda d: d.imap_tls(starttls=True),)),
    )  # fmt: skip
    addresses = [a for a in network.OFFICE_CLIENTS if a not in (_STRIPPED, _GUESSER)]
    return [(_Desk(lab, address, user), acts) for address, (user, acts) in zip(addresses, habits, strict=False)]


#: The server that new accounts are told to submit to.
ECDSA_SUBMISSION: Final = ECDSA


def _desk_day(desk: _Desk, acts: tuple[Callable[[_Desk], None], ...], dice: random.Random) -> None:
    for turn in range(_ROUNDS):
        time.sleep(dice.uniform(0.1, 5.0))
        acts[0](desk)
        for act in acts[1:]:
            if dice.random() < 0.35 or turn == 0:
                act(desk)


def _stripped_day(lab: Laboratory) -> None:
    """A client behind somebody who takes STARTTLS away; it would use it, and sends its password anyway."""
    for _ in range(3):
        time.sleep(2)
        with lab.smtp(ATTACKER, source=_STRIPPED, hello="marek-pc.example.org") as client:
            if client.session.starttls == "offered":
                client.starttls()
            client.auth("PLAIN", "marek", OFFICE["marek"])
            client.mail(message(2, "office@example.org"), "office@example.org", sender="marek@example.org")
            client.quit()


def _guesser_day(lab: Laboratory) -> None:
    """Somebody on the guests' network guesses the password of the backup account."""
    time.sleep(6)
    for guess in ("backup1", "Backup", "admin", "123456", "password", "backup2024", "secret", "changeme", "root", "toor", "test",
                  "qwerty", "letmein", "backup!", "BACKUP", "backup"):  # fmt: skip
        with lab.pop3(source=_GUESSER) as client:
            client.login("backup", guess)
            client.quit()


def _programs_day(lab: Laboratory) -> None:
    """Programs that cannot choose their address take turns; the partner's mail server sends in between."""
    run, text = lab.programs, message(2, "nora@example.org").replace("\r\n", "\n")
    for turn, (address, user) in enumerate(
        (("10.20.0.38", "pavel"), ("10.20.0.39", "sven"), ("10.20.0.40", "ines"), ("10.20.0.41", "hugo"))
    ):
        network.source(address)
        lab.did("pop3", 110, client=address, messages=2).add(
            Credential("USER/PASS", user, OFFICE[user], outcome="accepted")
        )
        run.fetchmail(MAIL, user, "POP3", poll="auth password", user_options="sslproto ''")
        session = lab.did("imap", 143, client=address, messages=2, starttls="offered")
        session.add(Credential("LOGIN-CMD", user, OFFICE[user], outcome="accepted"))
        run.mbsync("mail.example.org", user)
        session = lab.did("smtp", 587, client=address, starttls="completed", tls_version="TLSv1.3", tls_messages=1)
        session.add(Credential("PLAIN", user, OFFICE[user], outcome="accepted"), encrypted=True)
        run.msmtp(MAIL, 587, user, "office@example.org", auth="plain", tls="starttls", text=text)
        secure = turn % 2
        truth: dict[str, Any] = (
            {"starttls": "completed", "tls_version": "TLSv1.3", "tls_messages": 1}
            if secure
            else {"starttls": "offered", "messages": 1}
        )
        for _ in range(3):
            lab.did("smtp", 25, client=network.PARTNER, **truth)
            run.partner(lab.folder, f"{'tls-' if secure else ''}{user}@example.org", text=text)
            lab.wait_sent()
    network.source("10.20.0.37")
    session = lab.did("imap", 143, CYRUS, client="10.20.0.37", starttls="offered")
    session.add(Credential("LOGIN-CMD", "pavel", OFFICE["pavel"], outcome="accepted"))
    run.run("python3", "-c", _OLD_SCRIPT.format(server=CYRUS, user="pavel", secret=OFFICE["pavel"]))
    network.source(network.CLIENT)


#: A forgotten cron job.
_OLD_SCRIPT: Final = (
    "import imaplib; c = imaplib.IMAP4('{server}'); c.login('{user}', '{secret}'); c.select(); c.logout()"
)


@sample(
    "office.pcapng",
    "The demo. A made-up office of thirty-odd clients: clear POP3, IMAP and submission, STARTTLS and TLS, a stripped client, a bout of guessing, mail between servers, and names and pages beside",
    "fetchmail, mbsync, msmtp, Postfix, imaplib and scripted clients; Dovecot, Postfix, Cyrus",
    needs=("fetchmail", "mbsync", "msmtp", "python3"),
    expression="ip",
    finish=_finish,
)
def office(lab: Laboratory) -> None:
    servers.serve_names(MAIL)
    web = servers.serve(OTHER, 80, servers.Web)
    standing = proxy.Proxy(ATTACKER, 587, (MAIL, 587), proxy.StripKeyword)
    dice = random.Random(_SEED)
    try:
        days = [
            (lambda d=desk, a=acts, r=random.Random(dice.random()): _desk_day(d, a, r)) for desk, acts in _desks(lab)
        ]  # fmt: skip
        together(*days, lambda: _stripped_day(lab), lambda: _guesser_day(lab), lambda: _programs_day(lab))
    finally:
        standing.close()
        web.shutdown()
        web.server_close()
