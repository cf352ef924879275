"""Samples of STARTTLS under attack, of things that are not mail, of unusual ports and of a bad wire.

The attacker is a proxy at an address of its own; in the finished capture it has the server's address, as seen by a tap
between the client and the attacker.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from . import network, proxy, servers
from .accounts import message, password
from .clients import Imap
from .laboratory import Laboratory, sample
from .ledger import Credential
from .network import ATTACKER, CLIENT, MAIL, OTHER
from .pcapfile import Packet, readdressed

_ANNA: Final = password("anna")
_TO: Final = "eva@example.org"
_NOTE: Final = message(1, _TO)
_PORTS: Final = {"smtp": 587, "imap": 143, "pop3": 110}


def _as_server(lab: Laboratory, packets: list[Packet]) -> list[Packet]:
    """Give the attacker the address of the server it stands before."""
    for session in lab.ledger.sessions:
        if session.server == ATTACKER:
            session.server = MAIL
    return readdressed(packets, ATTACKER, MAIL)


@contextlib.contextmanager
def attacked(protocol: str, attack: type[proxy.Attack], *arguments: object) -> Iterator[None]:
    """A proxy before the mail server's port of a protocol."""
    port = _PORTS[protocol]
    standing = proxy.Proxy(ATTACKER, port, (MAIL, port), attack, *arguments)
    try:
        yield
    finally:
        standing.close()


@sample(
    "starttls-stripped.pcap",
    "Somebody in between takes STARTTLS away: keyword removed, keyword and banner masked, refused; each client goes on in clear",
    "swaks, curl, neomutt and scripted clients through a proxy; Postfix, Dovecot",
    needs=("swaks", "curl", "neomutt", "script"),
    finish=_as_server,
)
def starttls_stripped(lab: Laboratory) -> None:
    with lab.smtp(MAIL) as honest:  # the server does offer it
        honest.quit()
    login = Credential("PLAIN", "anna", _ANNA, outcome="accepted")
    with attacked("smtp", proxy.StripKeyword):
        lab.did("smtp", 587, ATTACKER, starttls="not_offered", credentials=[login], messages=1)
        lab.programs.swaks("--server", f"{ATTACKER}:587", "--to", _TO, "-tlso", "--auth", "PLAIN", "--auth-user", "anna",
                           "--auth-password", _ANNA)  # fmt: skip
    with attacked("smtp", proxy.MaskKeyword):
        lab.did("smtp", 587, ATTACKER, starttls="not_offered", credentials=[login], messages=1)
        lab.programs.swaks("--server", f"{ATTACKER}:587", "--to", _TO, "-tlso", "--auth", "PLAIN", "--auth-user", "anna",
                           "--auth-password", _ANNA)  # fmt: skip
        with lab.smtp(ATTACKER) as stubborn:
            stubborn.starttls()
            stubborn.auth("PLAIN", "eva", password("eva"))
            stubborn.mail(_NOTE, "anna@example.org")
            stubborn.quit()
    with attacked("smtp", proxy.Refuse), lab.smtp(ATTACKER) as careless:
        careless.starttls()
        careless.auth("LOGIN", "anna", _ANNA)
        careless.mail(_NOTE, _TO)
        careless.quit()
    with attacked("imap", proxy.StripKeyword):
        session = lab.did("imap", 143, ATTACKER, starttls="not_offered", messages=1)
        session.add(Credential("PLAIN", "anna", _ANNA, outcome="accepted"))
        lab.programs.curl(
            f"imap://{ATTACKER}/INBOX/;MAILINDEX=1", "--ssl", "--user", f"anna:{_ANNA}", "--login-options", "AUTH=PLAIN"
        )
    with attacked("imap", proxy.Refuse):
        session = lab.did("imap", 143, ATTACKER, starttls="refused", messages=1)
        session.add(Credential("PLAIN", "eva", password("eva"), outcome="accepted"))
        lab.programs.curl(f"imap://{ATTACKER}/INBOX/;MAILINDEX=1", "--ssl", "--user", f"eva:{password('eva')}",
                          "--login-options", "AUTH=PLAIN")  # fmt: skip
    with attacked("pop3", proxy.StripKeyword), lab.pop3(ATTACKER) as careless_pop3:
        careless_pop3.capa()
        careless_pop3.login("anna", _ANNA)
        careless_pop3.retrieve(1)
        careless_pop3.quit()
    with attacked("pop3", proxy.Refuse):
        with lab.pop3(ATTACKER) as careless_pop3:
            careless_pop3.capa()
            careless_pop3.stls()
            careless_pop3.login("anna", _ANNA)
            careless_pop3.retrieve(1)
            careless_pop3.quit()
        with lab.pop3(ATTACKER) as careful:
            careful.capa()
            careful.stls()
            careful.quit()


@sample(
    "starttls-injection.pcap",
    "Octets between the STARTTLS command or its grant and the handshake: commands behind it, replies behind the grant",
    "scripted clients, partly through a proxy; Postfix (throws them away), Dovecot (hands them to TLS, which fails)",
    finish=_as_server,
)
def starttls_injection(lab: Laboratory) -> None:
    with lab.smtp() as victim:
        victim.send("STARTTLS\r\nRSET\r\nMAIL FROM:<injected@example.test>\r\n")
        if victim.reply().startswith("220") and victim.start_tls():
            victim.ehlo()
            victim.auth("PLAIN", "anna", _ANNA)
            victim.mail(_NOTE, _TO)
            victim.quit()
    with lab.imap() as victim_imap:
        victim_imap.send("m001 STARTTLS\r\nm002 NOOP\r\n")
        victim_imap.finish("m001")
        victim_imap.start_tls()
    with lab.pop3() as victim_pop3:
        victim_pop3.send("STLS\r\nCAPA\r\n")
        victim_pop3.reply()
        victim_pop3.start_tls()
    with (
        attacked("smtp", proxy.InjectReply, b"250-mail.example.org\r\n250 AUTH PLAIN LOGIN\r\n"),
        lab.smtp(ATTACKER) as victim,
    ):
        if victim.command("STARTTLS").startswith("220") and victim.start_tls():
            victim.auth("LOGIN", "anna", _ANNA)
            victim.quit()
    with (
        attacked("imap", proxy.InjectReply, b"m002 OK [ALERT] Everything is fine\r\n"),
        lab.imap(ATTACKER) as victim_imap,
    ):
        if victim_imap.starttls():
            victim_imap.authenticate("PLAIN", "anna", _ANNA)
            victim_imap.logout()
    with attacked("pop3", proxy.InjectReply, b"+OK Logged in.\r\n"), lab.pop3(ATTACKER) as victim_pop3:
        if victim_pop3.stls():
            victim_pop3.login("anna", _ANNA)
            victim_pop3.quit()


@sample(
    "imap-preauth.pcap",
    "A PREAUTH greeting keeps the client from asking for TLS; its draft goes to the attacker's mailbox",
    "scripted client through a proxy; Dovecot",
    finish=_as_server,
)
def imap_preauth(lab: Laboratory) -> None:
    with attacked("imap", proxy.Preauth, "igor", password("igor")), Imap(lab.ledger, ATTACKER) as victim:
        victim.command("SELECT INBOX")
        victim.append(
            message(4, "anna@example.org", body="Dear Eva, this draft was meant for my own mailbox.\n"), mailbox="INBOX"
        )
        victim.logout()


@sample(
    "not-mail.pcap",
    "Not mail on ports of mail, and mail's words elsewhere: HTTP on 587, SSH on 110, FTP on 21 and on 25, Redis on 110; a page and a form full of mail commands on 8080",
    "curl, ssh-keyscan and scripted clients; OpenSSH and small servers",
    needs=("curl", "ssh-keyscan", "ssh-keygen", "sshd"),
)
def not_mail(lab: Laboratory) -> None:
    web, web_alt = servers.serve(OTHER, 587, servers.Web), servers.serve(OTHER, 8080, servers.Web)
    ftp, ftp_alt = servers.serve(OTHER, 21, servers.Ftp), servers.serve(OTHER, 25, servers.Ftp)
    redis = servers.serve("192.0.2.31", 110, servers.Redis)
    with lab.listening(web, web_alt, ftp, ftp_alt, redis):
        for port in (587, 8080):
            lab.did("unknown", port, OTHER, not_mail="http")
            lab.programs.curl(f"http://{OTHER}:{port}/mail-by-hand", expect=(0,))
        form = "USER decoy\r\nPASS decoy-in-a-form\r\nAUTH PLAIN AGRlY295AGRlY295\r\n"
        lab.did("unknown", 587, OTHER, not_mail="http")
        lab.programs.curl(f"http://{OTHER}:587/", "--data-binary", form)
        key = str(lab.folder / "ssh-key")
        network.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it
        sshd = lab.servers.start(
            "/usr/sbin/sshd", "-D", "-e", "-p", "110", "-h", key, "-o", f"ListenAddress={OTHER}", "-f", "/dev/null"
        )
        lab.wait_listening(OTHER, 110)
        lab.did("unknown", 110, OTHER, not_mail="ssh")
        lab.programs.run("ssh-keyscan", "-p", "110", "-t", "ed25519", OTHER)
        sshd.terminate()
        for port in (21, 25):
            session = lab.did("unknown", port, OTHER, not_mail="ftp")
            with socket.create_connection((OTHER, port), 5, (CLIENT, 0)) as files:
                session.client_port = files.getsockname()[1]
                for line in (b"USER decoy", b"PASS decoy-in-ftp", b"SYST", b"QUIT"):
                    files.recv(1024)
                    files.sendall(line + b"\r\n")
                files.recv(1024)
        session = lab.did("unknown", 110, "192.0.2.31", not_mail="redis")
        with socket.create_connection(("192.0.2.31", 110), 5, (CLIENT, 0)) as cache:
            session.client_port = cache.getsockname()[1]
            for words in (("AUTH", "decoy", "decoy-in-redis"), ("SET", "USER", "decoy"), ("SET", "PASS", "decoy")):
                parts = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
                cache.sendall(f"*{len(words)}\r\n{parts}".encode())
                cache.recv(1024)


@sample(
    "unusual-ports.pcap",
    "IMAP on 1143, POP3 on 8110, submission on 2525, in clear and after STARTTLS",
    "curl, swaks and scripted clients; Dovecot, Postfix",
    needs=("curl", "swaks"),
)
def unusual_ports(lab: Laboratory) -> None:
    session = lab.did("imap", 1143, starttls="offered", messages=1)
    session.add(Credential("PLAIN", "anna", _ANNA, outcome="accepted"))
    lab.programs.curl(
        f"imap://{MAIL}:1143/INBOX/;MAILINDEX=1", "--user", f"anna:{_ANNA}", "--login-options", "AUTH=PLAIN"
    )
    with lab.imap(port=1143) as scripted:
        scripted.starttls()
        scripted.login("eva", password("eva"))
        scripted.logout()
    with lab.pop3(port=8110) as scripted_pop3:
        scripted_pop3.login("eva", password("eva"))
        scripted_pop3.retrieve()
        scripted_pop3.quit()
    session = lab.did("smtp", 2525, starttls="offered", messages=1)
    session.add(Credential("LOGIN", "eva", password("eva"), outcome="accepted"))
    lab.programs.swaks(
        "--server",
        f"{MAIL}:2525",
        "--to",
        _TO,
        "--auth",
        "LOGIN",
        "--auth-user",
        "eva",
        "--auth-password",
        password("eva"),
    )


@sample(
    "guessing.pcap",
    "One client guesses a password on POP3 until it fits; another tries one password on many accounts of IMAP",
    "scripted clients; Dovecot",
)
def guessing(lab: Laboratory) -> None:
    for guess in ("123456", "password", "qwerty", "greta1", "greta123", "iloveyou", "letmein", "dragon", "G", "g"):
        with lab.pop3(source="198.51.100.11") as guesser:
            guesser.login("greta", guess)
            guesser.quit()
    for user in ("anna", "boris", "dimitri", "eva", "farid", "greta", "hana", "igor", "nora", "vera"):
        with lab.imap(source="198.51.100.12") as sprayer:
            sprayer.login(user, "Summer2024", style="atom")
            sprayer.logout()
