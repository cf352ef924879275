"""TLS to a receiver of alerts, which closes what it opened whatever the receiver does.

A socket is wrapped before it is connected. Wrapped afterwards, as ``http.client`` does it, it is lost where the receiver has reset the
connection meanwhile: Python before 3.13 takes the plain socket apart, asks the new one for its peer, and raises without closing it.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def connected(host: str, port: int, timeout_s: float, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A socket connected to the first address of the host that takes it. Its ``do_handshake``, and closing it, are the caller's.

    Args:
        host: a name or an address; the server's certificate must be for it, if the context says so.
        port: the port.
        timeout_s: for each step on the socket, this one and later ones, seconds.
        context: how certificates are checked.

    Raises:
        OSError: the name is not known, or no address takes the connection.
    """
    failed: OSError | None = None
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            with contextlib.ExitStack() as undo:
                plain = undo.enter_context(socket.socket(family, kind, protocol))
                plain.settimeout(timeout_s)
                sealed = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
                undo.push(sealed)
                sealed.connect(address)
                undo.pop_all()
        except OSError as error:
            failed = error
        else:
            return sealed
    try:
        raise failed or OSError(errno.EADDRNOTAVAIL, "the name has no address")
    finally:
        failed = None  # it refers to this frame by its traceback, and the frame to it


class SecureConnection(http.client.HTTPSConnection):
    """HTTP over TLS. Its socket can be cut off from another thread while it shakes hands, too."""

    def __init__(self, host: str, port: int, timeout_s: float, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=timeout_s, context=context)
        self._timeout_s = timeout_s
        self._sealing = context

    def connect(self) -> None:
        """Connect, and shake hands.

        Raises:
            OSError: the receiver cannot be reached, or its certificate is not good.
        """
        sealed = connected(self.host, self.port, self._timeout_s, self._sealing)
        self.sock = sealed
        try:
            sealed.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sealed.do_handshake()
        except BaseException:
            self.close()
            raise
