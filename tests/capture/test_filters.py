"""Which packets the filters pass: all that mail can be in, and of the rest nothing by default."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bpf import passes
from support.wraps import MACS, WRAPS, decode, ethernet, ipv4, ipv6, over, tcp, udp

from analyzer.capture import filters
from analyzer.capture.base import MAX_RECORD
from analyzer.capture.interfaces import ARPHRD_NONE, ARPHRD_PPP, ARPHRD_WLAN_RADIOTAP
from analyzer.errors import UsageError
from analyzer.packets.tunnels import is_tunnel

DEFAULT = filters.default_filter()
LOOPBACK = 772
INSIDE = {"IPv4": ipv4(tcp(b"USER anna\r\n")), "IPv6": ipv6(tcp(b"USER anna\r\n"))}
ON_ETHERNET = [name for name, (linktype, _) in WRAPS.items() if linktype == 1]


def untagged(frame: bytes) -> bytes:
    """The frame as the kernel filters it: without its outer VLAN tag."""
    return frame[:12] + frame[16:] if frame[12:14] in (b"\x81\0", b"\x88\xa8") else frame


@pytest.mark.parametrize("version", INSIDE)
@pytest.mark.parametrize("name", ON_ETHERNET)
def test_default_passes_every_wrapping(name: str, version: str):
    frame = WRAPS[name][1](INSIDE[version])
    assert passes(DEFAULT, frame) == MAX_RECORD
    assert passes(DEFAULT, untagged(frame)) == MAX_RECORD


@pytest.mark.parametrize("version", INSIDE)
def test_default_passes_other_hardware(version: str):
    ip = INSIDE[version]
    protocol = 0x0800 if version == "IPv4" else 0x86DD
    for hardware in (ARPHRD_NONE, ARPHRD_PPP, 768, 769, 776, 519):
        assert passes(DEFAULT, ip, hardware=hardware, protocol=protocol)
    # an unknown header: its payload is IP, nothing more is known
    assert passes(DEFAULT, b"\0" * 20 + ip, hardware=32, protocol=protocol)
    assert passes(DEFAULT, WRAPS["radiotap"][1](ip), hardware=ARPHRD_WLAN_RADIOTAP, protocol=4)


def test_default_passes_fragments():
    segment = tcp(b"x" * 64)
    first, later = ipv4(segment[:32], place=0x2000), ipv4(segment[32:], place=0x0004)
    assert passes(DEFAULT, ethernet(first))
    assert passes(DEFAULT, ethernet(later))
    assert passes(DEFAULT, ethernet(ipv6(b"\x06\0\0\1\0\0\0\7" + segment, 44)))
    # a later fragment of UDP may be a tunnel's
    assert passes(DEFAULT, ethernet(ipv4(b"\0" * 32, 17, place=0x0004)))


UNWANTED = {
    "DNS": ethernet(ipv4(udp(b"\0" * 20, 53), 17)),
    "DNS reply": ethernet(ipv4(udp(b"\0" * 20, 40000, 53), 17)),
    "DNS over IPv6": ethernet(ipv6(udp(b"\0" * 20, 53), 17)),
    "QUIC": ethernet(ipv4(udp(b"\0" * 1200, 443), 17)),
    "ping": over(1, b"\x08\0" + b"\0" * 60),
    "ping over IPv6": ethernet(ipv6(b"\x80\0" + b"\0" * 60, 58)),
    "ESP": over(50, b"\1" * 60),
    "ARP": MACS + b"\x08\x06" + b"\0" * 46,
    "LLDP": MACS + b"\x88\xcc" + b"\0" * 46,
    "EtherCAT": MACS + b"\x88\xa4" + b"\0" * 46,
    "nothing": b"",
    "cut": MACS,
}


@pytest.mark.parametrize("name", UNWANTED)
def test_default_drops_the_rest(name: str):
    assert passes(DEFAULT, UNWANTED[name], protocol=0x0806) == 0


def test_default_agrees_with_the_decoder_about_tunnel_ports():
    chance = random.Random(7)
    ports = {*range(0, 65536, 37), *filters.TUNNEL_PORTS, *filters.TUNNEL_SOURCES, *(chance.sample(range(65536), 500))}
    for port in ports:
        for ip in (ipv4(udp(b"\0" * 20, port), 17), ipv6(udp(b"\0" * 20, port), 17)):
            assert bool(passes(DEFAULT, ethernet(ip))) == is_tunnel(50000, port)
        back = ethernet(ipv4(udp(b"\0" * 20, 50001, port), 17))
        assert bool(passes(DEFAULT, back)) == is_tunnel(port, 50001)


@given(
    st.sampled_from(ON_ETHERNET),
    st.sampled_from(sorted(INSIDE)),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
)
def test_nothing_that_is_decoded_is_dropped(name: str, version: str, changes: list[tuple[int, int]]):
    frame = bytearray(WRAPS[name][1](INSIDE[version]))
    for where, octet in changes:
        frame[where % len(frame)] = octet
    segments, _ = decode(1, bytes(frame))
    if segments:
        assert passes(DEFAULT, bytes(frame))


def test_snap_length_is_what_the_filter_returns():
    assert passes(filters.default_filter(96), ethernet(INSIDE["IPv4"])) == 96
    assert passes(filters.pass_all(96), b"anything") == 96
    assert passes(filters.drop_all(), ethernet(INSIDE["IPv4"])) == 0


@pytest.mark.parametrize("program", [DEFAULT, filters.pass_all(), filters.user_filter("")])
def test_loopback_shows_each_packet_once(program: list[filters.Instruction]):
    frame = ethernet(INSIDE["IPv4"])
    assert passes(program, frame, hardware=LOOPBACK, direction=4) == 0
    assert passes(program, frame, hardware=LOOPBACK, direction=0)
    assert passes(program, frame, direction=4)


@pytest.mark.parametrize("hardware", [1, -1])
def test_a_filter_of_ones_own(hardware: int):
    program = filters.user_filter("tcp port 110 or udp port 53", hardware)
    assert passes(program, ethernet(INSIDE["IPv4"])) == MAX_RECORD
    assert passes(program, ethernet(INSIDE["IPv6"])) == MAX_RECORD
    assert passes(program, UNWANTED["DNS"])
    assert not passes(program, ethernet(ipv4(tcp(b"x", ports=(40123, 80)))))
    assert not passes(program, UNWANTED["ARP"])
    assert not passes(program, ethernet(INSIDE["IPv4"]), hardware=LOOPBACK, direction=4)


def test_a_filter_of_ones_own_on_all_interfaces():
    program = filters.user_filter("tcp port 110")
    assert passes(program, INSIDE["IPv4"], hardware=ARPHRD_NONE, protocol=0x0800)
    assert not passes(program, ipv4(tcp(b"x", ports=(1, 80))), hardware=ARPHRD_NONE, protocol=0x0800)
    assert passes(program, WRAPS["radiotap"][1](INSIDE["IPv4"]), hardware=ARPHRD_WLAN_RADIOTAP, protocol=4)
    assert not passes(program, INSIDE["IPv4"], hardware=32, protocol=0x0800)
    # what only Ethernet knows matches on Ethernet only
    program = filters.user_filter("ether src 02:00:00:00:00:0a")
    assert passes(program, ethernet(INSIDE["IPv4"]))
    assert not passes(program, INSIDE["IPv4"], hardware=ARPHRD_NONE, protocol=0x0800)


@pytest.mark.parametrize(
    ("expression", "words"),
    [("tcp prt 25", "syntax error"), ("port 99999", "99999"), ("(", "")],
)
def test_a_wrong_filter_says_what_libpcap_says(expression: str, words: str):
    with pytest.raises(UsageError) as caught:
        filters.user_filter(expression, 1)
    assert words in str(caught.value)
    assert expression in str(caught.value)


def test_filters_that_cannot_be():
    with pytest.raises(UsageError, match="link type 32"):
        filters.user_filter("tcp", 32)
    with pytest.raises(UsageError, match="longer"):
        filters.user_filter("tcp or " * 20000)
    with pytest.raises(UsageError, match="instructions"):
        filters._dispatch([((1,), [(6, 0, 0, 0)] * 5000)])


def test_packed_as_the_kernel_wants_it():
    assert filters.packed([(0x15, 1, 2, 0x0800), (6, 0, 0, 96)]) == struct.pack(
        "=HBBIHBBI", 0x15, 1, 2, 0x800, 6, 0, 0, 96
    )
