"""The whole room at once: every wrapping, cut anywhere, garbage of any kind, and the counters."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import wraps
from support.wraps import WRAPS, decode, ethernet, ipv4, ipv6, is6, tagged, tcp, udp

from analyzer.packets.base import SegmentList
from analyzer.packets.decoder import MAX_UNKNOWN_LINKTYPES, PacketDecoder
from analyzer.packets.slow import MAX_FAILURES

PLAIN = {
    "IPv4": ipv4(tcp(b"USER alice\r\n", options=b"\1\1\1\1")),
    "IPv6": ipv6(tcp(b"USER alice\r\n", options=b"\1\1\1\1")),
}
COUNTED = ("segments", "non_ip", "non_tcp", "truncated", "malformed", "too_deep", "encrypted", "undecoded", "fragments")


def vlan(ip: bytes) -> bytes:
    return tagged(b"\x81\0", b"\0\5" + wraps.ethertype(ip) + ip)


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("version", PLAIN)
def test_a_wrapped_packet_gives_the_segment_of_the_bare_one(name: str, version: str) -> None:
    linktype, wrap = WRAPS[name]
    segments, decoder = decode(linktype, wrap(PLAIN[version]))
    assert len(segments) == 1
    key, payload, missing, seq, ack, flags, timestamp_ns, frame = segments[0]
    if version == "IPv4":
        assert key == bytes([10, 1, 0, 1, 10, 2, 0, 2]) + struct.pack("!HH", 40123, 110)
    else:
        assert key == PLAIN["IPv6"][8:40] + struct.pack("!HH", 40123, 110)
    if name.startswith("Teredo") and version == "IPv4":
        assert len(key) == 12
    assert (payload, missing) == (b"USER alice\r\n", 0)
    assert (seq, ack, flags) == (0xFFFFFF00, 0x01020304, 0x18)
    assert (timestamp_ns, frame) == (1_000_000_007, 42)
    counters = decoder.counters()
    assert counters["packets"] == counters["segments"] == 1
    assert counters["malformed"] == counters["truncated"] == counters["undecoded"] == 0


@pytest.mark.parametrize("name", WRAPS)
@pytest.mark.parametrize("version", PLAIN)
def test_a_record_cut_anywhere_gives_what_is_left_and_says_what_is_missing(name: str, version: str) -> None:
    linktype, wrap = WRAPS[name]
    record = wrap(PLAIN[version])
    (whole,), _ = decode(linktype, record)
    sink = SegmentList()
    decoder = PacketDecoder(sink)
    for size in range(len(record)):
        decoder.receive_record(record[:size], 0, size, len(record), linktype, 1_000_000_007, 42)
    assert decoder.counters()["packets"] == len(record)
    assert len(sink.segments) > 12
    for key, payload, missing, *rest in sink.segments:
        assert key == whole[0]
        assert len(payload) + missing == len(whole[1])
        assert whole[1].startswith(payload)
        assert rest == list(whole[3:])


@given(
    st.sampled_from(sorted(PLAIN)),
    st.lists(st.sampled_from(["vlan", "gre", "ip", "vxlan", "mpls", "pppoe", "gtp"]), max_size=4),
)
def test_wrappings_in_wrappings(version: str, layers: list[str]) -> None:
    ip = PLAIN[version]
    for layer in layers:
        if layer == "vlan":
            ip = ipv4(wraps.gre(b"\x65\x58", vlan(ip)), 47)
        elif layer == "gre":
            ip = ipv6(wraps.gre(wraps.ethertype(ip), ip), 47)
        elif layer == "ip":
            ip = ipv4(ip, wraps.next_header(ip))
        elif layer == "vxlan":
            ip = ipv4(udp(wraps.VXLAN + ethernet(ip), 4789), 17)
        elif layer == "mpls":
            ip = ipv4(wraps.mpls(ip, 2), 137)
        elif layer == "pppoe":
            ip = ipv4(wraps.gre(b"\x65\x58", tagged(b"\x88\x64", wraps.pppoe(wraps.ppp(ip)))), 47)
        else:
            ip = ipv6(udp(wraps.gtp(ip), 2152), 17)
    segments, decoder = decode(1, ethernet(ip))
    assert segments == decode(101, PLAIN[version])[0]
    assert decoder.counters()["tunnels"] == len(layers)


def test_tunnels_in_tunnels_end_somewhere() -> None:
    ip = PLAIN["IPv4"]
    for _ in range(200):
        ip = ipv4(ip, 4)
    segments, decoder = decode(101, ip)
    assert segments == []
    assert decoder.counters()["too_deep"] == 1


def test_a_router_loop_of_every_kind_is_bounded() -> None:
    for layer in (b"\x65\x58", b"\x88\x70", b"\x88\xe7", b"\x89\x4f", b"\x88\x47", b"\x81\0", b"\x88\x0b"):
        frame = (wraps.MACS + layer) * 3000
        _, decoder = decode(1, frame)
        assert sum(decoder.counters()[name] for name in COUNTED) == 1
    llc = b"\xaa\xaa\x03\0\0\0\x88\x70" * 5000
    _, decoder = decode(100, llc)
    assert decoder.counters()["too_deep"] == 1


ANY_LINKTYPE = st.one_of(st.sampled_from(sorted({link for link, _ in WRAPS.values()})), st.integers(0, 70000))


@given(ANY_LINKTYPE, st.binary(max_size=300), st.integers(0, 100))
@example(1, b"", 0)
@example(107, b"\0" * 18, 0)
def test_any_octets_of_any_link_type_never_raise(linktype: int, record: bytes, cut: int) -> None:
    segments, decoder = decode(linktype, record, len(record) + cut)
    assert len(segments) <= len(record) // 34
    assert all(len(payload) <= len(record) for _, payload, *_ in segments)
    assert decoder.counters()["packets"] == 1


@given(st.data())
def test_a_changed_record_never_raises_and_never_reaches_outside_itself(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(WRAPS)))
    linktype, wrap = WRAPS[name]
    record = bytearray(wrap(PLAIN[data.draw(st.sampled_from(sorted(PLAIN)))]))
    for _ in range(data.draw(st.integers(1, 4))):
        record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(0, len(record)))
    segments, decoder = decode(linktype, bytes(record[:size]), len(record))
    for key, payload, missing, *_ in segments:
        assert len(key) in {12, 36}
        assert missing >= 0
        assert payload in bytes(record)  # the octets around the record are 0xff
    assert sum(decoder.counters()[counter] for counter in COUNTED) >= 1


HEADER_OCTETS = st.sampled_from([0, 1, 4, 5, 6, 0x0F, 0x11, 0x20, 0x28, 0x40, 0x45, 0x50, 0x60, 0xF0, 0xFF])


@given(
    st.sampled_from(sorted(PLAIN)),
    st.dictionaries(st.integers(0, 60), HEADER_OCTETS, max_size=4),
    st.integers(0, 100),
    st.integers(0, 40),
)
def test_the_fast_path_decodes_like_the_slow_one(version: str, changes: dict[int, int], size: int, cut: int) -> None:
    ip = bytearray(PLAIN[version])
    for place, octet in changes.items():
        if place < len(ip):
            ip[place] = octet
    kind = wraps.ethertype(PLAIN[version])
    ip = ip[:size]
    fast = wraps.MACS + kind + bytes(ip)
    slow = wraps.MACS + b"\x81\0\0\5" + kind + bytes(ip)
    fast_segments, fast_decoder = decode(1, fast, len(fast) + cut)
    slow_segments, slow_decoder = decode(1, slow, len(slow) + cut)
    assert fast_segments == slow_segments
    assert fast_decoder.counters() == slow_decoder.counters()


@pytest.mark.parametrize("version", PLAIN)
def test_no_payload_and_no_padding_taken_for_it(version: str) -> None:
    make = ipv6 if version == "IPv6" else ipv4
    (segment,), _ = decode(1, ethernet(make(tcp(flags=0x10))) + b"\0" * 6)
    assert segment[1:3] == (b"", 0)
    assert segment[5] == 0x10


@pytest.mark.parametrize("version", PLAIN)
@pytest.mark.parametrize("wrap", [ethernet, vlan])
def test_a_length_of_0_from_segmentation_offload(version: str, wrap: Callable[[bytes], bytes]) -> None:
    ip = bytearray((ipv6 if version == "IPv6" else ipv4)(tcp(b"x" * 3000)))
    place = 4 if version == "IPv6" else 2
    ip[place : place + 2] = b"\0\0"
    record = wrap(bytes(ip))
    (segment,), _ = decode(1, record)
    assert segment[1:3] == (b"x" * 3000, 0)
    (segment,), _ = decode(1, record[:-1000], len(record))
    assert segment[1:3] == (b"x" * 2000, 1000)


def test_checksums_are_nobodys_business() -> None:
    ip = bytearray(PLAIN["IPv4"])
    ip[10:12] = b"\xba\xad"
    ip[36:38] = b"\xba\xad"
    assert decode(1, ethernet(bytes(ip)))[0] == decode(1, ethernet(PLAIN["IPv4"]))[0]


def test_what_is_not_tcp_is_counted_and_dropped() -> None:
    for ip in (
        ipv4(udp(b"x" * 30, 53), 17),
        ipv6(udp(b"x" * 30, 53), 17),
        ipv4(b"\x08\0" + b"\0" * 40, 1),
        ipv4(b"", 132),
    ):
        segments, decoder = decode(1, ethernet(ip))
        assert segments == []
        counters = decoder.counters()
        assert counters["non_tcp"] == 1
        assert counters["ipv6" if is6(ip) else "ipv4"] == 1
        assert counters["malformed"] == 0


def test_tcp_quoted_in_icmp_is_no_segment() -> None:
    for protocol, make in ((1, ipv4), (58, ipv6)):
        quoted = b"\x03\x03\0\0\0\0\0\0" + make(tcp(b"PASS quoted"))
        segments, decoder = decode(1, ethernet(make(quoted, protocol)))
        assert segments == []
        assert decoder.counters()["non_tcp"] == 1


def test_octets_of_the_next_record_are_out_of_bounds() -> None:
    sink = SegmentList()
    decoder = PacketDecoder(sink)
    frame = ethernet(PLAIN["IPv4"])
    buffer = frame + b"NOT OURS" * 10
    decoder.receive_record(buffer, 0, len(frame) - 4, len(frame), 1, 5, 1)
    decoder.receive_record(buffer, 0, len(frame), len(frame), 1, 6, 2)
    assert [(s[1], s[2], s[6], s[7]) for s in sink.segments] == [
        (b"USER ali", 4, 5, 1),
        (b"USER alice\r\n", 0, 6, 2),
    ]


def test_an_unknown_link_type_is_counted_by_number() -> None:
    decoder = PacketDecoder(SegmentList())
    for _ in range(3):
        decoder.receive_record(b"\1\2\3\4" * 20, 0, 80, 80, 147, 1, 1)
    decoder.receive_record(b"\1\2\3\4" * 20, 0, 80, 80, 149, 1, 1)
    assert decoder.unknown_linktypes == {147: 3, 149: 1}
    assert decoder.undecoded == decoder.counters()["undecoded"] == 4


def test_the_table_of_unknown_link_types_is_bounded() -> None:
    decoder = PacketDecoder(SegmentList())
    for linktype in range(1000, 1000 + MAX_UNKNOWN_LINKTYPES + 50):
        decoder.receive_record(b"", 0, 0, 0, linktype, 1, 1)
    assert len(decoder.unknown_linktypes) == MAX_UNKNOWN_LINKTYPES + 1
    assert decoder.unknown_linktypes[-1] == 50


def test_scapy_decodes_what_the_room_does_not_know() -> None:
    # a frame with its preamble (IEEE 802.3br)
    record = b"\x55" * 7 + b"\xd5" + ethernet(PLAIN["IPv4"]) + b"FCS."
    segments, decoder = decode(274, record)
    assert segments == decode(1, ethernet(PLAIN["IPv4"]))[0]
    assert decoder.counters()["slow_decoded"] == 1
    assert decoder.unknown_linktypes == {}


def test_scapy_is_not_asked_for_ever() -> None:
    sink = SegmentList()
    decoder = PacketDecoder(sink)
    for _ in range(MAX_FAILURES):
        decoder.receive_record(b"\0" * 60, 0, 60, 60, 274, 1, 1)
    record = b"\x55" * 7 + b"\xd5" + ethernet(PLAIN["IPv4"]) + b"FCS."
    decoder.receive_record(record, 0, len(record), len(record), 274, 1, 1)
    assert sink.segments == []
    assert decoder.unknown_linktypes == {274: MAX_FAILURES + 1}
