"""Near misses of the tunnels: control messages, other versions, garbage on their ports. The hits are in test_decoder."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.wraps import (
    VXLAN,
    amsdu,
    decode,
    ethernet,
    gre,
    gtp,
    ipv4,
    ipv6,
    mpls,
    over,
    over_udp,
    ppp,
    snap,
    tcp,
    wlan,
)

from analyzer.packets import tunnels
from analyzer.packets.tunnels import is_tunnel, is_tunnel_port

IP = ipv4(tcp(b"PASS not to be seen\r\n"))
FRAME = ethernet(IP)
PORTS = [value for name, value in vars(tunnels).items() if name.startswith("PORT_")]


def counted(record: bytes) -> set[str]:
    segments, decoder = decode(1, record)
    assert segments == []
    return {name for name, count in decoder.counters().items() if count and name not in {"packets", "ipv4", "ipv6"}}


def test_every_port_is_a_tunnel_port() -> None:
    assert len(PORTS) == 10
    assert all(is_tunnel_port(port) for port in PORTS)
    assert not any(is_tunnel_port(port) for port in (0, 53, 110, 443, 4788, 65535))
    assert is_tunnel(1701, 53)
    assert is_tunnel(3544, 53)
    assert not is_tunnel(4789, 53)


@pytest.mark.parametrize(
    "record",
    [
        over_udp(4788, VXLAN + FRAME),
        over_udp(50000, VXLAN + FRAME, 4789),  # from the port, not to it
        over_udp(4789, b"\0" * 8 + FRAME),  # no network identifier
        over_udp(6081, b"\x40\0\x65\x58\0\0\5\0" + FRAME),  # another version
        over_udp(2152, b"\x32\x01" + gtp(IP)[2:]),  # echo request
        over_udp(2152, b"\x48" + gtp(IP)[1:]),  # GTP version 2
        over_udp(2152, b"\x20" + gtp(IP)[1:]),  # GTP'
        over_udp(1701, b"\xc8\2" + b"\0" * 10 + ppp(IP), 1701),  # control message
        over_udp(1701, b"\0\1" + b"\0" * 4 + ppp(IP), 1701),  # L2F
        over_udp(1701, b"\2\2" + b"\0\1\0\1" + b"\xff", 1701),  # an offset that is not there
        over_udp(3544, IP),
        over_udp(37008, b"\1\4\0\1\1" + FRAME),  # keepalive
        over_udp(37008, b"\1\0\0\7\1" + FRAME),
        over_udp(37008, b"\1\0\0\1" + b"\0" * 40 + FRAME),
        over_udp(37008, b"\1\0\0\1" + b"\5\xff" + FRAME),
        over_udp(4789, VXLAN[:7]),
        over(115, b"\0\0\0\0" + FRAME),  # control connection
        over(50, IP),
        over(132, IP),
    ],
)
def test_what_is_no_tunnel_is_dropped_as_any_other_packet(record: bytes) -> None:
    assert counted(record) == {"non_tcp"}


@pytest.mark.parametrize(
    ("record", "counter"),
    [
        (over(47, gre(b"\x08\0", IP, 0x0002)), "malformed"),
        (over(47, gre(b"\x08\0", IP, 0x3001, b"\0" * 8)), "malformed"),
        (over(47, gre(b"\x88\x0b", b"", 0x2081, b"\0\0\0\1\0\0\0\6")), "non_ip"),
        (over(47, gre(b"\x88\xcc", IP)), "non_ip"),
        (over(47, gre(b"\x08\0", b"", 0x4000, b"\0" * 4 + b"\x08\0\0\xff")), "malformed"),
        (over(47, b"\0\0\x08"), "malformed"),
        (over(47, gre(b"\x22\xeb", b"\x20\0\0\0\0")), "malformed"),
        (over(4, ipv6(tcp(b"x"))), "malformed"),
        (over(41, IP), "malformed"),
        (over(137, mpls(b"")), "malformed"),
        (over_udp(4789, VXLAN + b"garbage"), "malformed"),
        (over_udp(4789, VXLAN + b"\0" * 60), "non_ip"),
        (over_udp(4790, b"\x0c\0\0\x63\0\0\0\0" + FRAME), "non_ip"),
        (over_udp(2152, gtp(b"\x00" * 30)), "non_ip"),
        (over_udp(2152, gtp(b"", 0x34, b"\0\0\0\x85\0\0\0\0")), "malformed"),
        (over_udp(2152, gtp(b"", 0x34, b"\0\0\0\x85" + b"\1\0\0\x85" * 40)), "malformed"),
        (over_udp(2152, gtp(b"", 0x34, b"\0\0\0\x85" + b"\1\0\0\x85" * 3)), "malformed"),
        (over_udp(3544, ipv6(b"", 59)), "non_tcp"),  # a bubble
        (over_udp(1701, b"\0\3\0\0\0\0\0\7" + b"\0" * 60, 1701), "non_ip"),
    ],
)
def test_a_tunnel_with_nothing_to_read_in_it(record: bytes, counter: str) -> None:
    assert counted(record) == {counter, "tunnels"}


@given(st.sampled_from(PORTS), st.binary(max_size=200), st.booleans())
def test_garbage_on_a_tunnel_port(port: int, garbage: bytes, answer: bool) -> None:
    record = over_udp(50000, garbage, port) if answer else over_udp(port, garbage)
    segments, decoder = decode(1, record)
    assert len(segments) <= 1 + len(garbage) // 40
    assert sum(count for name, count in decoder.counters().items() if name not in {"packets", "ipv4", "tunnels"}) >= 1


def test_wccp_with_and_without_its_header() -> None:
    for body in (IP, b"\0\0\0\0" + IP):
        (segment,), _ = decode(1, over(47, gre(b"\x88\x3e", body)))
        assert segment[1] == b"PASS not to be seen\r\n"


def test_an_aggregate_in_a_tunnel_gives_every_segment() -> None:
    second = ipv4(tcp(b"second", ports=(40124, 143)))
    frame = wlan(amsdu(snap(IP), snap(second)), 0x88, 2, b"\x80\0")
    segments, _ = decode(1, over_udp(37008, b"\1\0\0\x12\1" + frame))
    assert [(s[1], struct.unpack("!H", s[0][10:])[0]) for s in segments] == [
        (b"PASS not to be seen\r\n", 110),
        (b"second", 143),
    ]
