"""Receivers that reset TLS connections while they are made: no socket is left open, and alerts wait.

A socket that is left open is a ResourceWarning, which fails the test.
"""

from __future__ import annotations

import gc
import select
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.alerts import alert
from support.receivers import LOOPBACK, Rude, Stream, authority, identity, server_context
from support.waiting import PATIENCE, SOCKET_PATIENCE, until

from analyzer.monitor.sinks import SinkOptions, _tls, make_sink
from analyzer.monitor.sinks._spooled import SpooledSink


def await_reset(connection: socket.socket) -> None:
    """Wait until the other side has reset the connection."""
    poll = select.poll()
    poll.register(connection, 0)
    assert poll.poll(1000 * PATIENCE)


class SlowSocket(ssl.SSLSocket):
    """Shakes hands only once the connection is reset."""

    def do_handshake(self, block: bool = False) -> None:
        await_reset(self)
        super().do_handshake(block)


class SlowContext(ssl.SSLContext):
    """Gives the other side time to reset a connection before it is wrapped."""

    sslsocket_class = SlowSocket

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> ssl.SSLSocket:
        try:
            sock.getpeername()
        except OSError:
            pass  # it is not connected yet, or already reset
        else:
            await_reset(sock)
        return super().wrap_socket(sock, *args, **options)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: SlowContext(ssl.PROTOCOL_TLS_CLIENT))


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails where a socket was left to the garbage collector."""
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda fault: told.append(str(fault.exc_value)))
    yield
    gc.collect()
    assert told == []


@pytest.mark.parametrize("word", ["https://127.0.0.1:{}/hook", "syslog+tls://127.0.0.1:{}"])
def test_a_receiver_that_resets_connections_at_once_leaves_no_socket_open(
    word: str, slow: None, left_open: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpooledSink, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(SpooledSink, "MAX_PAUSE_S", 0.01)
    with Rude() as receiver:
        sink = make_sink(word.format(receiver.port), SinkOptions(spool=str(tmp_path)))
        sink.open()
        sink.deliver([alert(1)])
        until(lambda: receiver.connections >= 3)
        until(lambda: sink.trouble)
        sink.close()
    assert (sink.waiting, sink.delivered, sink.lost) == (1, 0, 0)
    assert "alerts wait and are tried again" in sink.trouble
    assert "fault of mailtap" not in sink.trouble


def test_the_first_address_that_takes_the_connection_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=authority()[2])
    down = Stream()
    with Stream(server_context(identity("mail.example.test"))) as receiver:
        places = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port)) for port in (down.port, receiver.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
        with _tls.connected("mail.example.test", 1, SOCKET_PATIENCE, context) as sealed:
            sealed.do_handshake()
            assert sealed.getpeername()[1] == receiver.port
        del places[1:]
        with pytest.raises(ConnectionRefusedError):
            _tls.connected("mail.example.test", 1, SOCKET_PATIENCE, context)
        del places[:]
        with pytest.raises(OSError, match="no address"):
            _tls.connected("mail.example.test", 1, SOCKET_PATIENCE, context)


def test_a_web_server_that_never_ends_its_handshake_is_cut_off(
    tmp_path: Path, left_open: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analyzer.monitor.sinks.webhook import Webhook

    monkeypatch.setattr(Webhook, "TIMEOUT_S", SOCKET_PATIENCE)
    with socket.create_server((LOOPBACK, 0)) as mute:
        sink = make_sink(f"https://{LOOPBACK}:{mute.getsockname()[1]}/", SinkOptions(spool=str(tmp_path)))
        assert isinstance(sink, Webhook)
        sink.open()
        sink.deliver([alert(1)])
        until(lambda: sink._connection is not None and sink._connection.sock is not None)
        sink._late_at = 1e-9
        sink.idle()
        until(lambda: "alerts wait and are tried again" in sink.trouble)
        sink.close()
