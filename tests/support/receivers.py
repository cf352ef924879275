"""Receivers of alerts on loopback: syslog servers over UDP, TCP and TLS, and a web server, which fail, stall, go down and come back."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import ipaddress
import json
import re
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.waiting import PATIENCE, SOCKET_PATIENCE

LOOPBACK = "127.0.0.1"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mailtap-receivers-")


@functools.cache
def authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, str]:
    """A root: its certificate, key, and PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate("Example Receivers", key, None)
    path = Path(_folder().name) / "root.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key, str(path)


def identity(*names: str) -> str:
    """A PEM file with key and certificate of a server (or client) under the root."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(names[0], key, authority()[:2], names)
    path = Path(_folder().name) / f"{certificate.serial_number:x}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(path)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
    names: Iterable[str] = (),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    by, signer = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=issuer is None,
                crl_sign=issuer is None,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    san: list[x509.GeneralName] = []
    for text in names:
        try:
            san.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            san.append(x509.DNSName(text))
    if san:
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    return builder.sign(signer, hashes.SHA256())


class _Sealed(ssl.SSLSocket):
    """Closes itself where its client has gone before it was made, which Python before 3.13 leaves undone."""

    def getpeername(self) -> Any:
        try:
            return super().getpeername()
        except OSError:
            if self.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise  # it listens, and has no peer
            self.close()
            raise


def server_context(pem: str, *, clients: bool = False) -> ssl.SSLContext:
    """For a server with that identity; with ``clients``, those must show a certificate of the same root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = _Sealed
    context.load_cert_chain(pem)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority()[2])
    return context


class _Place:
    """A TCP port of a server that comes and goes; no other program is given it while the server is down."""

    def __init__(self) -> None:
        self.port = 0
        self._held: socket.socket | None = None
        self.hold()

    def hold(self) -> None:
        """Keep the port while nobody listens there: connections are refused."""
        self._held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((LOOPBACK, self.port))
        self.port = int(self._held.getsockname()[1])

    def take(self) -> socket.socket:
        """The socket to listen with."""
        taken, self._held = self._held, None
        assert taken is not None
        return taken

    def __del__(self) -> None:
        if self._held is not None:
            self._held.close()


def free_udp_port() -> int:
    """A port to which nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class _Receiver:
    """Starts with ``with``, or ``start``; ``stop`` and ``start`` again on the same port."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        raise AssertionError

    def stop(self) -> None:
        raise AssertionError


class Datagrams(_Receiver):
    """A syslog server over UDP, or over a local datagram socket."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self.port = 0 if path else free_udp_port()
        self.messages: list[bytes] = []
        self._stopping = False

    def start(self) -> None:
        self._stopping = False
        if self.path:
            Path(self.path).unlink(missing_ok=True)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.bind(self.path)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._socket.bind((LOOPBACK, self.port))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.messages.append(self._socket.recv(65536))
            except TimeoutError:
                continue

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
        self._socket.close()


class Stream(_Receiver):
    """A syslog server over TCP or TLS: octet counting.

    ``stall`` makes it read nothing; ``stop`` breaks the connections off in the middle, as a crash does.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._place = _Place()
        self.port = self._place.port
        self.context = context
        self.messages: list[bytes] = []
        self.stall = False
        #: a connection has noticed that
        self.stalled = threading.Event()
        self.connections = 0
        self._stopping = False

    def start(self) -> None:
        self._stopping = False
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = self._place.take()
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(SOCKET_PATIENCE)
        try:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            self._open.append(connection)
            connection.settimeout(0.05)
            data = b""
            while not self._stopping:
                if self.stall:
                    self.stalled.set()
                    time.sleep(0.02)
                    continue
                try:
                    more = connection.recv(65536)
                except TimeoutError:
                    continue
                if not more:
                    break
                data += more
                while match := re.match(rb"([1-9][0-9]{0,4}) ", data):
                    size = int(match[1])
                    if len(data) < match.end() + size:
                        break
                    self.messages.append(data[match.end() : match.end() + size])
                    data = data[match.end() + size :]
        except OSError:
            pass  # the client has gone, or did not like our certificate
        finally:
            if self._stopping:
                _break_off(connection)
            connection.close()

    def stop(self) -> None:
        self._stopping = True
        self._acceptor.join()
        self._listener.close()
        self._place.hold()
        for thread in self._threads:
            thread.join()


class Rude(_Receiver):
    """Takes connections, and resets each at once."""

    def __init__(self) -> None:
        self._place = _Place()
        self.port = self._place.port
        #: connections that were reset
        self.connections = 0
        self._stopping = False

    def start(self) -> None:
        self._stopping = False
        self._listener = self._place.take()
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            _break_off(connection)
            connection.close()
            self.connections += 1

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()
        self._listener.close()
        self._place.hold()


def _break_off(connection: socket.socket) -> None:
    """Have a connection end by a reset, not in good order, when it is closed."""
    with contextlib.suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Request:
    """A request that the web server has received."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.at = time.monotonic()

    @property
    def object(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value


class Web(_Receiver):
    """A web server that answers as ``answers`` say, one a request, then 204: a status, with headers perhaps; ``stall`` for none."""

    def __init__(
        self, answers: Iterable[int | tuple[int, dict[str, str]] | str] = (), context: ssl.SSLContext | None = None
    ) -> None:
        self._place = _Place()
        self.port = self._place.port
        self.context = context
        self.answers = list(answers)
        self.requests: list[Request] = []
        #: requests that were answered by 2xx
        self.taken: list[Request] = []
        self._release = threading.Event()

    def judge(self, request: Request) -> int:
        """The status for a request when ``answers`` are used up."""
        return 204

    def start(self) -> None:
        receiver = self
        self._release.clear()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = SOCKET_PATIENCE

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if len(body) < int(self.headers["Content-Length"]):
                    self.close_connection = True
                    return  # the client was killed in the middle of it
                request = Request(self.path, dict(self.headers), body)
                receiver.requests.append(request)
                answer = receiver.answers.pop(0) if receiver.answers else receiver.judge(request)
                if answer == "stall":
                    receiver._release.wait(PATIENCE)
                    self.close_connection = True
                    return
                if answer == "drip":
                    self.close_connection = True
                    try:
                        self.wfile.write(b"HTTP/1.1 ")
                        while not receiver._release.wait(0.05):
                            self.wfile.write(b"x")
                    except OSError:
                        return
                    return
                if answer == "garbage":
                    self.close_connection = True
                    self.wfile.write(b"SSH-2.0-server\r\n")
                    return
                status, headers = answer if isinstance(answer, tuple) else (int(answer), {})
                if 200 <= status < 300:
                    # Before the answer: whoever has read it may look at once.
                    receiver.taken.append(request)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                return  # the client went away

        self._server = Server((LOOPBACK, self.port), Handler, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = self._place.take()
        self._server.server_activate()
        if self.context is not None:
            self._server.socket = self.context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._place.hold()
        # Who waits for an answer comes again when the connection ends: nobody listens by then.
        self._release.set()
