"""Alerts to a syslog server, RFC 5424.

    syslog://host[:514]            UDP (RFC 5426), a datagram an alert; what is lost on the way is not known
    syslog+tcp://host[:514]        TCP, octet counting (RFC 6587 section 3.4.1)
    syslog+tls://host[:6514]       TLS 1.2 and later (RFC 5425), the server's certificate and name checked
    unix:/dev/log                  the syslog of this machine: a datagram, or a stream with octet counting

    ?ca=FILE                       roots (PEM) in place of the system's; cert=FILE&key=FILE: who we are, where the server asks for it
    ?facility=local4               kern user mail daemon auth syslog ... local0 to local7; authpriv unless named

A message:

    <82>1 2026-03-02T09:00:00.250000Z sensor-host mailtap 4711 plaintext-password
        [mailtap@32473 finding_id="..." rule="..." severity="critical" ... username="..." server_ip="..." server_port="143" ...]
        BOM critical: Password sent in clear: LOGIN-CMD was accepted (user ... at 198.51.100.1 port 143, client 192.0.2.7)

severity: critical 2, high 3, medium 4, low 5, info 6. MSGID is the rule. The names in the structured data are those of the findings table,
with ``alert``, ``count`` and ``sensor``; 32473 is the enterprise number of examples (RFC 5612), for there is none of mailtap's own.
Text from traffic is escaped: what does not print stands as ``\\x1b``, and ``"``, ``\\`` and ``]`` as section 6.3.3 wants it. A message has
2,048 octets at most over UDP (section 6.1), 8,192 over TCP; long texts are cut, the remediation is left out first.

TCP does not say what the receiving program has read. An alert stays in the spool until the receiver's system has acknowledged it and
the connection has lived on for ``SETTLE_S``; if it breaks before that, the alert is sent again, and may come twice. A connection that the
receiver ends in good order has delivered what was acknowledged.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.base import Alert
from analyzer.monitor.sinks import SinkOptions
from analyzer.monitor.sinks._object import shortened, time_text
from analyzer.monitor.sinks._spool import Spooled
from analyzer.monitor.sinks._spooled import Retry, SpooledSink, short_hash
from analyzer.report.columns import FINDINGS
from analyzer.report.visible import visible

if TYPE_CHECKING:
    import ssl

SCHEMES: Final = ("syslog", "syslog+tcp", "syslog+tls", "unix")
EXAMPLE: Final = "syslog://HOST, syslog+tcp://HOST, syslog+tls://HOST?ca=FILE or unix:/dev/log"

PORTS: Final = {"syslog": 514, "syslog+tcp": 514, "syslog+tls": 6514}
#: Octets of a message.
MAX_DATAGRAM: Final = 2048
MAX_MESSAGE: Final = 8192
#: Seconds that a connection must live on after the acknowledgement of what was sent.
SETTLE_S: Final = 1.0
#: Milliseconds after which what is sent and not acknowledged ends the connection.
USER_TIMEOUT_MS: Final = 10_000
#: RFC 5424 section 6.2.1.
SEVERITIES: Final = {"critical": 2, "high": 3, "medium": 4, "low": 5, "info": 6}
FACILITIES: Final = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
    "authpriv": 10, "ftp": 11, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
SD_ID: Final = "mailtap@32473"
BOM: Final = "\ufeff"
#: Columns that the structured data leaves out where a message grows too long, in this order; then texts are cut.
SPARE: Final = ("remediation", "references", "title", "capture")
#: Linux: octets in the send queue that the other side has not acknowledged.
_SIOCOUTQ: Final = 0x5411


class Receiver(NamedTuple):
    """Where to, and how."""

    scheme: str
    host: str
    port: int
    facility: int
    ca: str | None
    cert: str | None
    key: str | None


class Syslog(SpooledSink):
    """Sends alerts to one syslog server."""

    def __init__(self, name: str, receiver: Receiver, options: SinkOptions) -> None:
        kind = receiver.scheme.replace("+", "-")
        super().__init__(name, f"{kind}-{short_hash(name)}", options)
        self.receiver = receiver
        self._datagrams = receiver.scheme == "syslog"
        self._socket: socket.socket | None = None
        #: what is not settled; its last number that is acknowledged, and since when; the last number of an ended connection
        self._open_numbers: deque[int] = deque()
        self._acknowledged = 0
        self._acknowledged_at = 0.0
        self._done = 0

    def encode(self, alert: Alert) -> bytes:
        return message(alert, self.receiver.facility, MAX_DATAGRAM if self._datagrams else MAX_MESSAGE)

    def send(self, item: Spooled) -> None:
        try:
            self._look()
            connection = self._connection()
            if self._datagrams:
                connection.send(item.body)
                _check(connection)
            else:
                connection.sendall(b"%d %s" % (len(item.body), item.body))
        except OSError as error:
            raise Retry(_said(error)) from None
        if item.number and not self._datagrams:
            self._open_numbers.append(item.number)

    def settled(self) -> int:
        if self._datagrams:
            return self._sent
        try:
            self._look()
        except OSError as error:
            raise Retry(_said(error)) from None
        if self._done:
            # The receiver ended the connection in good order.
            done, self._done = self._done, 0
            return done
        return self._settle_acknowledged()

    def unsettled(self) -> int:
        return len(self._open_numbers)

    def disconnect(self) -> None:
        connection, self._socket = self._socket, None
        self._open_numbers.clear()
        self._acknowledged = 0
        if connection is not None:
            connection.close()

    def renew(self) -> None:
        if self.receiver.scheme == "syslog+tls":
            self._context()  # says what is wrong with the files before anything waits for them

    def _settle_acknowledged(self) -> int:
        """What was acknowledged long enough ago; notes what is acknowledged now."""
        now = time.monotonic()
        stopping = self._stop_at is not None
        if self._acknowledged and (stopping or now - self._acknowledged_at >= SETTLE_S):
            number, self._acknowledged = self._acknowledged, 0
            while self._open_numbers and self._open_numbers[0] <= number:
                self._open_numbers.popleft()
            return number
        if self._open_numbers and not self._acknowledged and self._queued() == 0:
            self._acknowledged = self._open_numbers[-1]
            self._acknowledged_at = now
        return 0

    def _queued(self) -> int:
        """Octets that the receiver's system has not acknowledged; 0 where this system cannot tell."""
        if self._socket is None or self._socket.family == socket.AF_UNIX:
            return 0
        try:
            from fcntl import ioctl

            return int(struct.unpack("i", ioctl(self._socket.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0])
        except OSError:
            return 0

    def _look(self) -> None:
        """Whether the connection still stands. Where the receiver has ended it in good order, what it acknowledged is settled.

        Raises:
            OSError: it broke, or ended with something unacknowledged.
        """
        connection = self._socket
        if connection is None or self._datagrams:
            return
        connection.settimeout(0)
        try:
            # A syslog server says nothing; whatever it says is thrown away, the rest at the next look.
            if connection.recv(1 << 16):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if _would_wait(error):
                return
            raise
        finally:
            connection.settimeout(self.TIMEOUT_S)
        if self._open_numbers:
            # Had it not read everything, its system would have answered with a reset.
            if self._queued():
                raise ConnectionResetError("the receiver has ended the connection")
            self._done = self._open_numbers[-1]
        self.disconnect()

    def _connection(self) -> socket.socket:
        """The connection that stands, else a new one."""
        if self._socket is None:
            self._socket = self._connected()
        return self._socket

    def _connected(self) -> socket.socket:
        """A connected socket.

        Raises:
            OSError: the receiver cannot be reached, or its certificate is not good.
        """
        to = self.receiver
        if to.scheme == "unix":
            return self._local(to.host)
        if self._datagrams:
            family, kind, protocol, _, address = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)[0]
            datagrams = socket.socket(family, kind, protocol)
            try:
                datagrams.settimeout(self.TIMEOUT_S)
                datagrams.connect(address)
            except BaseException:
                datagrams.close()
                raise
            return datagrams
        if to.scheme == "syslog+tls":
            from analyzer.monitor.sinks._tls import connected

            sealed = connected(to.host, to.port, self.TIMEOUT_S, self._context())
            try:
                _watch_over(sealed)
                sealed.do_handshake()
            except BaseException:
                sealed.close()
                raise
            return sealed
        connection = socket.create_connection((to.host, to.port), self.TIMEOUT_S)
        try:
            _watch_over(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _local(self, path: str) -> socket.socket:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            connection = socket.socket(socket.AF_UNIX, kind)
            connection.settimeout(self.TIMEOUT_S)
            try:
                connection.connect(path)
            except OSError as error:
                connection.close()
                # EPROTOTYPE: it is a socket of the other kind.
                if kind == socket.SOCK_STREAM or error.errno != errno.EPROTOTYPE:
                    raise
                continue
            self._datagrams = kind == socket.SOCK_DGRAM
            return connection
        raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE))

    def _context(self) -> ssl.SSLContext:
        """How the server's certificate is checked.

        Raises:
            OutputError: a file with certificates or keys cannot be used.
        """
        import ssl

        to = self.receiver
        try:
            context = ssl.create_default_context(cafile=to.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if to.cert is not None:
                context.load_cert_chain(to.cert, to.key)
        except (OSError, ssl.SSLError) as error:
            raise OutputError(f"{self.name}: a file named by ca, cert or key cannot be used ({error})") from None
        return context


def message(alert: Alert, facility: int, most: int) -> bytes:
    """An alert as one message of RFC 5424, at most so many octets."""
    priority = facility * 8 + SEVERITIES.get(alert.severity, 6)
    moment = time_text(alert.raised_ns)[1:-5] + "Z"  # to the microsecond, as section 6.2.3 allows
    head = f"<{priority}>1 {moment} {_word(socket.gethostname(), 255)} mailtap {os.getpid()} {_word(alert.rule, 32)} "
    left_out: set[str] = set()
    longest = 1000
    while True:
        text = head + _structured(alert, left_out, longest) + " " + BOM + _sentence(alert, longest)
        data = text.encode("utf-8", "replace")
        if len(data) <= most:
            return data
        if len(left_out) < len(SPARE):
            left_out.add(SPARE[len(left_out)])
        elif longest > 16:
            longest //= 2
        else:
            return data[:most].decode("utf-8", "ignore").encode("utf-8")


def _structured(alert: Alert, left_out: set[str], longest: int) -> str:
    pairs: list[tuple[str, object]] = [("alert", alert.kind), ("count", alert.count), ("sensor", alert.sensor)]
    for column in FINDINGS:
        if column.name not in left_out:
            value = getattr(alert, "time_ns" if column.name == "time" else column.name)
            if column.kind == "time":
                value = time_text(value)[1:-1] if value else None
            pairs.append((column.name, value))
    parts = [f'{name}="{_value(value, longest)}"' for name, value in pairs if value is not None]
    return f"[{SD_ID} {' '.join(parts)}]"


def _value(value: object, longest: int) -> str:
    """A PARAM-VALUE, section 6.3.3."""
    text = ", ".join([str(one) for one in value]) if isinstance(value, tuple) else str(value)
    text = _cut(text, longest)
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _sentence(alert: Alert, longest: int) -> str:
    """What people read. Nothing in it can be taken for the end of the message: it holds no control character."""
    text = f"{alert.severity}: {_cut(alert.title, longest)}"
    if alert.detail:
        text += f": {_cut(alert.detail, longest)}"
    where: list[str] = []
    if alert.username is not None:
        where.append(f"user {_cut(alert.username, longest)}")
    if alert.server_ip is not None:
        where.append(f"server {alert.server_ip} port {alert.server_port}")
    if alert.client_ip is not None:
        where.append(f"client {alert.client_ip}")
    return text + (f" ({', '.join(where)})" if where else "")


def _cut(text: str, longest: int) -> str:
    """Text made visible, and cut."""
    text = visible(shortened(text))
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _word(text: str, longest: int) -> str:
    """A word of a header: printable ASCII without spaces; a dash for none."""
    return "".join([character for character in text if "!" <= character <= "~"])[:longest] or "-"


def _watch_over(connection: socket.socket) -> None:
    """Have the system send at once, and notice a receiver that is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def _check(connection: socket.socket) -> None:
    """Whether nobody listens for a datagram; known at once only where the receiver is on this machine.

    Raises:
        OSError: nobody does.
    """
    error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


def _would_wait(error: OSError) -> bool:
    import ssl

    return isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError)


def _said(error: OSError) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the receiver does not answer"
    return error.strerror or str(error) or type(error).__name__


def make(word: str, options: SinkOptions) -> Syslog:
    """The sink of ``syslog://...`` or ``unix:PATH``.

    Raises:
        UsageError: the word makes no sense.
    """
    scheme = word.partition(":")[0].lower()
    try:
        parts = urlsplit(word)
        port = parts.port
        pairs = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise UsageError(f"{visible(word)}: {error}; write {EXAMPLE}") from None
    local = scheme == "unix"
    host = parts.path if local else parts.hostname
    if not host or parts.fragment or parts.username is not None or (not local and parts.path not in {"", "/"}):
        raise UsageError(f"this is no syslog server: write {EXAMPLE}")
    allowed = {"facility"} | ({"ca", "cert", "key"} if scheme == "syslog+tls" else set())
    unknown = sorted(set(pairs) - allowed)
    if unknown:
        raise UsageError(f"{scheme}://{host}: unknown option {unknown[0]!a}; known: {', '.join(sorted(allowed))}")
    facility = FACILITIES.get(pairs.get("facility", "authpriv"))
    if facility is None:
        raise UsageError(f"{scheme}://{host}: unknown facility {pairs['facility']!a}; known: {', '.join(FACILITIES)}")
    receiver = Receiver(
        scheme, host, port or PORTS.get(scheme, 0), facility, pairs.get("ca"), pairs.get("cert"), pairs.get("key")
    )
    return Syslog(visible(word), receiver, options)
