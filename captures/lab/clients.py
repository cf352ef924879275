"""Scripted clients: they say exactly what a sample needs and write down what became of it.

Each keeps a :class:`ledger.Session` up to date while it talks. What travels inside TLS is noted apart.

The module is long because the four protocols share the conversation, the exchanges and the way outcomes are noted.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
import time
import zlib
from pathlib import Path
from typing import Any, Final, Self

from . import network, sasl
from .ledger import Credential, Ledger, Session

_TIMEOUT: Final = 10.0
_VERSION_NAMES: Final = {"TLSv1": "TLSv1.0"}


def tls_context(
    *, version: ssl.TLSVersion | None = None, keylog: Path | None = None, ciphers: str = ""
) -> ssl.SSLContext:
    """A client that takes any certificate, any version or just one, and may write its keys to a file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    context.minimum_version = version or ssl.TLSVersion.TLSv1
    if version:
        context.maximum_version = version
    if keylog:
        context.keylog_filename = str(keylog)
    return context


class Conversation:
    """One TCP connection, its ledger entry, and lines in both directions."""

    protocol = "unknown"

    def __init__(
        self, ledger: Ledger, server: str = network.MAIL, port: int = 0, *, source: str = "", tls: ssl.SSLContext | None = None,
        name: str = "mail.example.org", **truth: Any,
    ) -> None:  # fmt: skip
        source = source or (network.CLIENT6 if ":" in server else network.CLIENT)
        self.server_name = name
        self.session = ledger.open(Session(source, server, port, self.protocol, implicit_tls=tls is not None, **truth))
        self.socket: socket.socket = socket.create_connection((server, port), _TIMEOUT, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.session.client_port = self.socket.getsockname()[1]
        self.closed = False
        self._buffer = b""
        self._inflate: Any = None
        self._deflate: Any = None
        self.encrypted = False
        if tls is not None:
            self._handshake(tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Send octets as they are (text as UTF-8)."""
        octets = data.encode() if isinstance(data, str) else data
        if self._deflate is not None:
            octets = self._deflate.compress(octets) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(octets)

    def read_line(self) -> str:
        """The next line without its end; an empty string once the server has closed."""
        while b"\n" not in self._buffer:
            if not self._fill():
                rest, self._buffer = self._buffer, b""
                return rest.decode("utf-8", "replace")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def read_octets(self, count: int) -> bytes:
        """The next octets, as many as said (fewer only at the end)."""
        while len(self._buffer) < count and self._fill():
            continue
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def start_tls(self, context: ssl.SSLContext | None = None) -> bool:
        """Make the handshake the server has agreed to; False when it fails."""
        self.session.starttls = "accepted"
        try:
            self._handshake(context or tls_context())
        except (ssl.SSLError, ConnectionError, TimeoutError):
            return False
        self.session.starttls = "completed"
        return True

    def credential(self, credential: Credential) -> Credential:
        """Note an attempt to log in."""
        return self.session.add(credential, encrypted=self.encrypted)

    def cancelled(self, credential: Credential, answered: int) -> None:
        """Note that a login was called off before its password; if nothing was said, nothing is known of it."""
        credential.outcome, credential.secret = "cancelled", None
        if not answered:
            self.session.credentials.remove(credential)

    def message(self, count: int = 1) -> None:
        """Note whole messages that travelled."""
        if self.encrypted:
            self.session.tls_messages += count
        else:
            self.session.messages += count

    def offered(self, starttls: bool) -> None:
        """Note that the server has said what it offers, and whether STARTTLS was among it."""
        if self.session.starttls in ("unseen", "not_offered") and not self.encrypted:
            self.session.starttls = "offered" if starttls else "not_offered"

    def compress(self) -> None:
        """Deflate both directions from here on."""
        self._deflate = zlib.compressobj(wbits=-15)
        self._inflate = zlib.decompressobj(wbits=-15)

    def _handshake(self, context: ssl.SSLContext) -> None:
        secured = context.wrap_socket(self.socket, server_hostname=self.server_name)
        self.socket = secured
        self.encrypted = True
        version = secured.version() or ""
        self.session.tls_version = _VERSION_NAMES.get(version, version)

    def _fill(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.closed = not data
        if self._inflate is not None and data:
            data = self._inflate.decompress(data)
        self._buffer += data
        return bool(data)


class Pop3(Conversation):
    """A POP3 client (RFC 1939, 2449, 2595, 5034)."""

    protocol = "pop3"

    def __init__(self, ledger: Ledger, server: str = network.MAIL, *, port: int = 110, **options: Any) -> None:
        super().__init__(ledger, server, port, **options)
        self.banner = self.read_line()

    def command(self, line: str, *, multiline: bool = False) -> str:
        """Send a command and return the first line of its reply."""
        self.send(line + "\r\n")
        return self.reply(multiline=multiline)

    def reply(self, *, multiline: bool = False) -> str:
        """Read a reply and return its first line."""
        first = line = self.read_line()
        if multiline and first.startswith("+OK"):
            while (line := self.read_line()) != "." and not self.closed:
                if line == "STLS":
                    self.offered(starttls=True)
        return first

    def capa(self) -> None:
        """CAPA."""
        self.offered(starttls=False)
        self.command("CAPA", multiline=True)

    def login(self, user: str, secret: str) -> bool:
        """USER and PASS."""
        credential = self.credential(Credential("USER/PASS", user, secret))
        self.command(f"USER {user}")
        return _settle(credential, self.command(f"PASS {secret}"), "+OK", "-ERR")

    def apop(self, user: str, secret: str) -> bool:
        """APOP."""
        stamp, digest = sasl.apop(self.banner, secret)
        credential = self.credential(Credential("APOP", user, challenge=stamp, response=digest))
        return _settle(credential, self.command(f"APOP {user} {digest}"), "+OK", "-ERR")

    def auth(self, mechanism: str, user: str, secret: str = "", *, initial: bool = True, **options: Any) -> bool:
        """AUTH with any mechanism of :mod:`sasl`."""
        exchange, credential = sasl.begin(mechanism, user, secret, host="pop3/mail.example.org", **options)
        self.credential(credential)
        first = _first(exchange, mechanism, initial)
        line = self.command(
            f"AUTH {mechanism}" + (f" {_encode(first) or '='}" if initial and first is not None else "")
        )
        pending = None if initial else first
        while line.startswith("+ "):
            line = self.command(_respond(exchange, pending, line[2:]))
            pending = None
        return _settle(credential, line, "+OK", "-ERR")

    def stls(self, context: ssl.SSLContext | None = None) -> bool:
        """STLS and the handshake; False when refused or failed."""
        return _ask_for_tls(self, self.command("STLS"), "+OK", context)

    def retrieve(self, count: int = 2, *, delete: bool = False) -> None:
        """STAT, LIST, RETR of the first messages, perhaps DELE."""
        self.command("STAT")
        self.command("LIST", multiline=True)
        for number in range(1, count + 1):
            if self.command(f"RETR {number}", multiline=True).startswith("+OK"):
                self.message()
            if delete:
                self.command(f"DELE {number}")

    def quit(self) -> None:
        """QUIT."""
        self.command("QUIT")


class Imap(Conversation):
    """An IMAP client (RFC 9051, 3501 and extensions)."""

    protocol = "imap"

    def __init__(self, ledger: Ledger, server: str = network.MAIL, *, port: int = 143, **options: Any) -> None:
        super().__init__(ledger, server, port, **options)
        self.tag = 0
        self.lines: list[str] = []
        self.greeting = self.read_line()
        if "[CAPABILITY" in self.greeting:
            self.offered("STARTTLS" in self.greeting)

    def command(self, text: str, *parts: str, tag: str = "") -> str:
        """Send a command and return its tagged reply.

        Each further part is a literal: after ``{n}`` the client waits for ``+``, after ``{n+}`` it does not.
        """
        tag = tag or self.next_tag()
        if parts:
            return self._literals(tag, f"{tag} {text}{parts[0]}", *parts[1:])
        self.send(f"{tag} {text}\r\n")
        return self.finish(tag)

    def next_tag(self) -> str:
        """A tag that was not used before."""
        self.tag += 1
        return f"m{self.tag:03}"

    def finish(self, tag: str) -> str:
        """Read replies until the tagged one or a continuation request, and return it."""
        self.lines = []
        while line := self.read_line():
            if "CAPABILITY" in line and "STARTTLS" in line:
                self.offered(starttls=True)
            if line.startswith((f"{tag} ", "+")):
                return line
            self.lines.append(line)
            while match := re.search(r"\{(\d+)\}$", line):
                self.read_octets(int(match.group(1)))
                line = self.read_line()
        return ""

    def login(self, user: str, secret: str, *, style: str = "quoted", verb: str = "LOGIN", tag: str = "") -> bool:
        """LOGIN with its arguments as ``atom``, ``quoted``, ``literal`` or ``literal+``."""
        credential = self.credential(Credential("LOGIN-CMD", user, secret))
        if style == "atom":
            line = self.command(f"{verb} {user} {secret}", tag=tag)
        elif style == "quoted":
            line = self.command(f"{verb} {_quote(user)} {_quote(secret)}", tag=tag)
        else:
            plus = "+" if style == "literal+" else ""
            first, second = (f"{{{len(text.encode())}{plus}}}\r\n" for text in (user, secret))
            line = self.command(f"{verb} ", first, user + " " + second, secret + "\r\n", tag=tag)
        return _settle(credential, line.partition(" ")[2], "OK", "NO", "BAD")

    def authenticate(
        self,
        mechanism: str,
        user: str,
        secret: str = "",
        *,
        initial: bool = True,
        cancel: int | None = None,
        **options: Any,
    ) -> bool:
        """AUTHENTICATE with any mechanism of :mod:`sasl`; ``cancel`` stops after so many responses."""
        exchange, credential = sasl.begin(mechanism, user, secret, host="imap/mail.example.org", **options)
        self.credential(credential)
        first = _first(exchange, mechanism, initial)
        tag = self.next_tag()
        self.send(
            f"{tag} AUTHENTICATE {mechanism}"
            + (f" {_encode(first) or '='}" if initial and first is not None else "")
            + "\r\n"
        )
        line = self.finish(tag)
        answered = 0
        pending = None if initial else first
        while line.startswith("+"):
            if cancel == answered:
                self.send("*\r\n")
                self.cancelled(credential, answered)
                self.finish(tag)
                return False
            answered += 1
            self.send(_respond(exchange, pending, line[2:]) + "\r\n")
            pending = None
            line = self.finish(tag)
        return _settle(credential, line.partition(" ")[2], "OK", "NO", "BAD")

    def starttls(self, context: ssl.SSLContext | None = None) -> bool:
        """STARTTLS and the handshake; False when refused or failed."""
        return _ask_for_tls(self, self.command("STARTTLS").partition(" ")[2], "OK", context)

    def fetch(self, count: int = 2, item: str = "BODY.PEEK[]") -> None:
        """SELECT INBOX and FETCH the first messages."""
        self.command("SELECT INBOX")
        for number in range(1, count + 1):
            if "OK" in self.command(f"FETCH {number} (FLAGS {item})"):
                self.message()

    def append(self, text: str, *, plus: bool = False, mailbox: str = "INBOX") -> None:
        """APPEND a message as a literal."""
        size = len(text.encode())
        line = self.command(f"APPEND {mailbox} (\\Seen) ", f"{{{size}{'+' if plus else ''}}}\r\n", text + "\r\n")
        if " OK" in line:
            self.message()

    def idle(self, during: Any) -> None:
        """IDLE until ``during()`` has made the server say something, then DONE."""
        tag = self.next_tag()
        self.send(f"{tag} IDLE\r\n")
        self.finish(tag)
        during()
        while "EXISTS" not in self.read_line():
            continue
        self.send("DONE\r\n")
        self.finish(tag)

    def logout(self) -> None:
        """LOGOUT."""
        self.command("LOGOUT")

    def _literals(self, tag: str, *parts: str) -> str:
        line = ""
        for part in parts:
            self.send(part)
            if re.search(r"\{\d+\}\r\n$", part):
                line = self.finish(tag)
                if not line.startswith("+"):
                    return line
        return self.finish(tag)


class Smtp(Conversation):
    """An SMTP, submission or LMTP client (RFC 5321, 3207, 4954, 3030, 2033)."""

    protocol = "smtp"

    def __init__(
        self,
        ledger: Ledger,
        server: str = network.MAIL,
        *,
        port: int = 587,
        hello: str = "desk.example.net",
        **options: Any,
    ) -> None:
        super().__init__(ledger, server, port, **options)
        self.reply()
        self.hello_name = hello
        self.ehlo()

    def ehlo(self) -> None:
        """EHLO, or LHLO in LMTP."""
        self.offered(starttls=False)
        self.command(f"{'LHLO' if self.protocol == 'lmtp' else 'EHLO'} {self.hello_name}")

    def command(self, line: str) -> str:
        """Send a command and return the last line of its reply."""
        self.send(line + "\r\n")
        return self.reply()

    def reply(self) -> str:
        """Read a reply, of any number of lines, and return its last line."""
        while line := self.read_line():
            if line[4:] == "STARTTLS":
                self.offered(starttls=True)
            if line[3:4] != "-":
                return line
        return ""

    def auth(
        self,
        mechanism: str,
        user: str,
        secret: str = "",
        *,
        initial: bool = True,
        cancel: int | None = None,
        **options: Any,
    ) -> bool:
        """AUTH with any mechanism of :mod:`sasl`; ``cancel`` stops after so many responses."""
        exchange, credential = sasl.begin(mechanism, user, secret, host="smtp/mail.example.org", **options)
        self.credential(credential)
        first = _first(exchange, mechanism, initial)
        line = self.command(
            f"AUTH {mechanism}" + (f" {_encode(first) or '='}" if initial and first is not None else "")
        )
        answered = 0
        pending = None if initial else first
        while line.startswith("334"):
            if cancel == answered:
                self.cancelled(credential, answered)
                self.command("*")
                return False
            answered += 1
            line = self.command(_respond(exchange, pending, line[4:]))
            pending = None
        return _settle(credential, line, "2", "4", "5")

    def starttls(self, context: ssl.SSLContext | None = None) -> bool:
        """STARTTLS, the handshake and EHLO again; False when refused or failed."""
        done = _ask_for_tls(self, self.command("STARTTLS"), "220", context)
        if done:
            self.ehlo()
        return done

    def mail(self, text: str, *recipients: str, sender: str = "post@example.test", parameters: str = "") -> None:
        """MAIL, RCPT, DATA; dots are doubled."""
        self.command(f"MAIL FROM:<{sender}>{parameters}")
        for recipient in recipients:
            self.command(f"RCPT TO:<{recipient}>")
        if self.command("DATA").startswith("354"):
            self.send(stuffed(text))
            replies = [self.reply() for _ in (recipients if self.protocol == "lmtp" else recipients[:1])]
            if any(line.startswith("250") for line in replies):
                self.message()

    def bdat(self, text: str, recipient: str, *, chunk: int = 200, sender: str = "post@example.test") -> None:
        """MAIL, RCPT, BDAT in chunks, the last one marked."""
        data = text.encode()
        self.command(f"MAIL FROM:<{sender}>")
        self.command(f"RCPT TO:<{recipient}>")
        line = ""
        for begin in range(0, len(data), chunk):
            piece = data[begin : begin + chunk]
            self.send(f"BDAT {len(piece)}{' LAST' if begin + chunk >= len(data) else ''}\r\n".encode() + piece)
            line = self.reply()
        if line.startswith("250"):
            self.message()

    def quit(self) -> None:
        """QUIT."""
        self.command("QUIT")


class Lmtp(Smtp):
    """The same on LMTP."""

    protocol = "lmtp"

    def __init__(self, ledger: Ledger, server: str = network.MAIL, *, port: int = 24, **options: Any) -> None:
        super().__init__(ledger, server, port=port, **options)


class Sieve(Conversation):
    """A ManageSieve client (RFC 5804)."""

    protocol = "managesieve"

    def __init__(self, ledger: Ledger, server: str = network.MAIL, *, port: int = 4190, **options: Any) -> None:
        super().__init__(ledger, server, port, **options)
        self.offered(starttls=False)
        self.finish()

    def command(self, line: str) -> str:
        """Send a command and return its OK, NO or BYE."""
        self.send(line + "\r\n")
        return self.finish()

    def finish(self) -> str:
        """Read until OK, NO, BYE or (in AUTHENTICATE) a string that stands alone."""
        while line := self.read_line():
            if line.startswith('"STARTTLS"'):
                self.offered(starttls=True)
            if line.startswith(("OK", "NO", "BYE")):
                return line
            if match := re.match(r"\{(\d+)\}$", line):
                challenge = self.read_octets(int(match.group(1))).decode()
                self.read_line()
                return f'"{challenge}"'
            if line.startswith('"') and line.count('"') == 2 and line.endswith('"') and self._in_exchange:
                return line
        return ""

    _in_exchange = False

    def authenticate(self, mechanism: str, user: str, secret: str = "", *, style: str = "quoted") -> bool:
        """AUTHENTICATE; strings ``quoted`` or as ``literal+``. PLAIN is sent with its initial response."""
        exchange, credential = sasl.begin(mechanism, user, secret, host="sieve/mail.example.org")
        self.credential(credential)
        first = _first(exchange, mechanism, initial=True)
        self._in_exchange = True
        line = self.command(
            f'AUTHENTICATE "{mechanism}"' + (f" {_sieve_string(_encode(first), style)}" if first is not None else "")
        )
        while line.startswith('"'):
            line = self.command(_sieve_string(_respond(exchange, None, line.strip('"')), style))
        self._in_exchange = False
        return _settle(credential, line, "OK", "NO", "BYE")

    def starttls(self, context: ssl.SSLContext | None = None) -> bool:
        """STARTTLS, the handshake and the new capabilities."""
        done = _ask_for_tls(self, self.command("STARTTLS"), "OK", context)
        if done:
            self.finish()
        return done

    def logout(self) -> None:
        """LOGOUT."""
        self.command("LOGOUT")


def stuffed(text: str) -> str:
    """A message as DATA wants it: leading dots doubled, ended by a lone dot."""
    return re.sub(r"(?m)^\.", "..", text) + ("" if text.endswith("\r\n") else "\r\n") + ".\r\n"


def drip(conversation: Conversation, data: bytes, pause: float = 0.01) -> None:
    """Send octet by octet, each in a segment of its own."""
    for index in range(len(data)):
        conversation.send(data[index : index + 1])
        time.sleep(pause)


def together(*jobs: Any) -> None:
    """Run jobs side by side, in the clients' namespace; the first failure is raised here."""
    failures: list[BaseException] = []

    def body(job: Any) -> None:
        try:
            job()
        except BaseException as failure:  # noqa: BLE001 - handed to the caller below
            failures.append(failure)

    threads: list[threading.Thread] = [network.thread_in(network.CLIENTS, body, job) for job in jobs]
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _settle(credential: Credential, line: str, good: str, *bad: str) -> bool:
    if line.startswith(good):
        credential.outcome = "accepted"
    elif line.startswith(bad):
        credential.outcome = "rejected"
    return credential.outcome == "accepted"


def _ask_for_tls(conversation: Conversation, line: str, good: str, context: ssl.SSLContext | None) -> bool:
    if line.startswith(good):
        return conversation.start_tls(context)
    conversation.session.starttls = "refused" if line else "requested"
    return False


def _first(exchange: sasl.Exchange, mechanism: str, initial: bool) -> bytes | None:
    first = next(exchange)
    if first is None and mechanism == "LOGIN" and initial:
        return exchange.send(b"")
    return first


def _respond(exchange: sasl.Exchange, pending: bytes | None, challenge: str) -> str:
    if pending is not None:
        return _encode(pending)
    try:
        return _encode(exchange.send(base64.b64decode(challenge)))
    except StopIteration:  # the server asks for more than the mechanism has
        return "*"


def _encode(response: bytes | None) -> str:
    return base64.b64encode(response or b"").decode()


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _sieve_string(text: str, style: str) -> str:
    return f'"{text}"' if style == "quoted" else f"{{{len(text)}+}}\r\n{text}"
