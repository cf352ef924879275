"""Which protocol a connection speaks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.protocols.detect import (
    MAX_LOOK,
    decide,
    judge_greeting,
    plausible_greeting,
    quick_verdict,
)
from analyzer.protocols.prefaces import preface_length, tunnel_port

GREETINGS = [
    (b"+OK ready\r\n", "pop3"),
    (b"-ERR busy\r\n", "pop3"),
    (b"* OK ready\r\n", "imap"),
    (b"* PREAUTH hello\r\n", "imap"),
    (b"* BYE busy\r\n", "imap"),
    (b"220 mx ESMTP\r\n", "smtp"),
    (b"220-mx\r\n220 ESMTP\r\n", "smtp"),
    (b"554 no\r\n", "smtp"),
    (b'"IMPLEMENTATION" "x"\r\n', "managesieve"),
    (b"SSH-2.0-x\r\n", "!ssh"),
    (b"HTTP/1.1 400 Bad\r\n", "!http"),
    (b"200 news\r\n", "!nntp"),
    (b":irc.example.org NOTICE * :hi\r\n", "!irc"),
    (b"-NOAUTH Authentication required.\r\n", "!redis"),
    (b"+PONG\r\n", "!redis"),
    (b":1\r\n", "!redis"),
    (b"* ACAP (IMPLEMENTATION x)\r\n", "!acap"),
    (b"+ VXNlcm5hbWU6\r\n", "?"),
    (b"ERROR :Closing link\r\n", "!irc"),
    (b"STAT pid 1\r\n", "!memcached"),
    (b"\x16\x03\x03\x00\x10", "tls"),
    (b"* hello\r\n", "?"),
    (b"welcome\r\n", "?"),
]


@pytest.mark.parametrize(("octets", "word"), GREETINGS)
def test_greetings(octets: bytes, word: str) -> None:
    assert judge_greeting(octets) == word


@pytest.mark.parametrize(
    ("service", "server", "client", "word"),
    [
        ("pop3", b"+OK x\r\n", b"USER a\r\n", "pop3"),
        ("pop3", b"* OK x\r\n", b"a1 CAPABILITY\r\n", "imap"),
        ("smtp", b"220 ftp.example.org FTP\r\n", b"USER a\r\n", "!ftp"),
        ("smtp", b"220 ftp.example.org\r\n", b"AUTH TLS\r\n", "!ftp"),
        ("smtp", b"220 mx.example.org\r\n", b"AUTH PLAIN\r\n", "smtp"),
        ("submission", b"", b"GET / HTTP/1.1\r\n", "!http"),
        ("pop3", b"+OK\r\n", b"*1\r\n$4\r\nPING\r\n", "!redis"),
        ("pop3", b"SSH-2.0-x\r\n", b"", "!ssh"),
        ("lmtp", b"220 x\r\n", b"LHLO y\r\n", "lmtp"),
        ("imaps", b"", b"\x16\x03\x01\x02\x00\x01", "tls"),
        ("imaps", b"", b"a1 LOGIN u p\r\n", ""),
        (None, b"220 x\r\n", b"EHLO y\r\n", "smtp"),
        (None, b"220 ftp\r\n", b"USER y\r\n", "!"),
        (None, b"220 ftp\r\n", b"NOOP\r\n", "!"),
        (None, b"+OK\r\n", b"USER y\r\n", "pop3"),
        (None, b"+OK\r\n", b"*1\r\n$4\r\nPING\r\n", "!"),
        (None, b"* OK x\r\n", b". LOGIN u p\r\n", "imap"),
        (None, b"* OK x\r\n", b"hello there\r\n", "!"),
        (None, b"", b"EHLO y\r\n", ""),
        (None, b"220 x\r\n", b"", ""),
    ],
)
def test_port_first_then_content(service: str | None, server: bytes, client: bytes, word: str) -> None:
    assert decide(service, server, client, False) == word


@pytest.mark.parametrize("service", ["pop3", "imap", "smtp", "submission", "managesieve", "lmtp"])
@pytest.mark.parametrize("greeting", [octets for octets, _ in GREETINGS])
@pytest.mark.parametrize(
    "line",
    [
        b"USER a\r\n", b"user a\r\n", b"CAPA\r\n", b"AUTH PLAIN\r\n", b"EHLO x\r\n", b"helo x\r\n", b"a1 LOGIN u p\r\n",
        b". capability\r\n", b"+ LOGIN x\r\n", b"GET /LOGIN HTTP/1.1\r\n", b"GET LOGIN HTTP/1.1\r\n", b"QUIT\r\n", b"*1\r\n", b"AUTH TLS\r\n",
    ],
)  # fmt: skip
def test_the_quick_way_agrees_with_the_long_one(service: str, greeting: bytes, line: bytes) -> None:
    quick = quick_verdict(service, greeting, line)
    assert quick in ("", decide(service, greeting, line, False))


@given(st.sampled_from(["pop3", "imap", "smtp", None]), st.binary(max_size=80), st.binary(max_size=80), st.booleans())
def test_any_octets_get_a_verdict(service: str | None, server: bytes, client: bytes, final: bool) -> None:
    assert isinstance(decide(service, server, client, final), str)
    preface_length(client, server)
    plausible_greeting(server, 0, len(server))
    if service is not None and client:
        quick = quick_verdict(service, server, client)
        assert quick in ("", decide(service, server, client, False))


LINES = [
    b"USER a\r\n", b"EHLO b\r\n", b"a LOGIN c d\r\n", b"AUTH foo\r\n", b"AUTH PLAIN\r\n", b"AUTH TLS\r\n", b"GET / HTTP/1.1\r\n",
    b"hello\r\n", b"CLIENT x\r\n", b"*1\r\n", b"\x16\x03\x01\x02\x00\x01",
]  # fmt: skip


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("service", ["pop3", "imap", "submission", "managesieve", None])
def test_more_octets_never_change_a_verdict(service: str | None, whole: bool) -> None:
    # every way in which a greeting, or the line behind it, can be on its way
    for greeting, _ in GREETINGS:
        for line in LINES:
            verdict = decide(service, greeting, line, False, whole)
            beginnings = [(greeting[:size], b"") for size in range(len(greeting))]
            beginnings += [(greeting, line[:size]) for size in range(len(line))]
            for server, client in beginnings:
                assert decide(service, server, client, False, whole) in ("", verdict), (server, client)


@pytest.mark.parametrize(
    ("client", "server", "lengths", "port"),
    [
        (
            b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x19EHLO",
            b"\x05\x00\x05\x00\x00\x01" + bytes(6) + b"220 x",
            (13, 12),
            25,
        ),
        (b"\x05\x01\x00\x05\x01\x00\x03\x02mx\x00\x19", b"\x05\x00\x05\x00\x00\x03\x02mx\x00\x19", (12, 11), 25),
        (
            b"\x05\x01\x02\x01\x02ab\x02cd\x05\x01\x00\x01" + bytes(6),
            b"\x05\x02\x01\x00\x05\x00\x00\x01" + bytes(6),
            (20, 14),
            0,
        ),
        (b"\x04\x01\x00\x19\x0a\x00\x00\x01me\x00EHLO", b"\x00\x5a" + bytes(6) + b"220", (11, 8), 25),
        (b"\x04\x01\x00\x19\x00\x00\x00\x01me\x00mx\x00", b"\x00\x5a" + bytes(6), (14, 8), 25),
        (b"CONNECT mx:25 HTTP/1.1\r\n\r\nEHLO", b"HTTP/1.1 200 OK\r\n\r\n220", (26, 19), 25),
        (b"CONNECT [2001:db8::1]:993 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", (38, 19), 993),
        (
            b"CONNECT mx:25 HTTP/1.1\r\n\r\nCONNECT mx:25 HTTP/1.1\r\nProxy-Authorization: x\r\n\r\nEHLO",
            b"HTTP/1.1 407 no\r\ncontent-length: 5\r\n\r\n220 xHTTP/1.1 200 OK\r\n\r\n220 x",
            (76, 62),
            25,
        ),
        (b"CONNECT mx:25 HTTP/1.1\r\n\r\nCONNECT m", b"HTTP/1.1 407 no\r\n\r\n", (-1, -1), 0),
        (b"CONNECT mx:25 HTTP/1.1\r\n\r\nGET /", b"HTTP/1.1 407 no\r\n\r\n", (26, 19), 25),
        (b"CONNECT mx HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", (23, 19), 0),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nEHLO", b"", (37, 0), 0),
        (b"SSLproxy: [192.0.2.1]:1,s\r\nUSER", b"+OK", (27, 0), 0),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04abcdEHLO", b"", (20, 0), 0),
        (b"EHLO x\r\n", b"220", (0, 0), 0),
        (b"CAPA\r\n", b"+OK", (0, 0), 0),
        (b"\x05", b"", (-1, -1), 0),
    ],
)
def test_prefaces_of_proxies(client: bytes, server: bytes, lengths: tuple[int, int], port: int) -> None:
    assert preface_length(client, server) == lengths
    assert lengths[0] <= 0 or tunnel_port(client[: lengths[0]]) == port


def test_looking_has_an_end() -> None:
    assert decide("pop3", b"x" * (MAX_LOOK + 1), b"", False) != ""
