"""IPv4 and IPv6: lengths, options, extension headers, fragments in frames."""

import struct
from collections.abc import Callable

import pytest
from support.wraps import ROUTE, Segment, decode, ethernet, gre, ipv4, ipv6, tcp, udp

from analyzer.packets.base import SegmentList
from analyzer.packets.decoder import PacketDecoder
from analyzer.packets.ip import MAX_EXTENSION_HEADERS

Make = Callable[[bytes, int], list[bytes]]
KEY4 = bytes([10, 1, 0, 1, 10, 2, 0, 2]) + struct.pack("!HH", 40123, 110)
OPTIONS8 = b"\1\4\0\0\0\0"
FINAL = bytes.fromhex("20010db8000000000000000000000099")


def play(records: list[bytes], linktype: int = 1) -> tuple[list[Segment], PacketDecoder]:
    """The segments of several records, the frame numbers counting from 1, a millisecond apart."""
    sink = SegmentList()
    decoder = PacketDecoder(sink)
    for number, record in enumerate(records, 1):
        decoder.receive_record(record, 0, len(record), len(record), linktype, number * 1_000_000, number)
    return sink.segments, decoder


def fragments4(payload: bytes, size: int, protocol: int = 6, number: int = 7) -> list[bytes]:
    """The IPv4 fragments of a payload, ``size`` octets each."""
    out = []
    for offset in range(0, len(payload), size):
        more = 0x2000 if offset + size < len(payload) else 0
        out.append(ethernet(ipv4(payload[offset : offset + size], protocol, place=more | offset >> 3, number=number)))
    return out


def fragments6(
    payload: bytes, size: int, protocol: int = 6, number: int = 7, front: bytes = b"", front_kind: int = 44
) -> list[bytes]:
    out = []
    for offset in range(0, len(payload), size):
        more = 1 if offset + size < len(payload) else 0
        header = struct.pack("!BBHI", protocol, 0, offset | more, number)
        out.append(ethernet(ipv6(front + header + payload[offset : offset + size], front_kind)))
    return out


@pytest.mark.parametrize("size", [4, 8, 40])
def test_ipv4_options(size: int) -> None:
    (segment,), _ = decode(1, ethernet(ipv4(tcp(b"data"), options=b"\1" * size)))
    assert segment[0] == KEY4
    assert segment[1] == b"data"


@pytest.mark.parametrize("first", [0x44, 0x40, 0x55, 0x05, 0x65])
def test_a_bad_first_octet(first: int) -> None:
    ip = bytearray(ipv4(tcp(b"data")))
    ip[0] = first
    segments, decoder = decode(1, ethernet(bytes(ip)))
    assert segments == []
    assert decoder.counters()["malformed"] == 1


@pytest.mark.parametrize("total", [1, 19, 20, 33, 39])
def test_a_total_length_too_small_for_the_headers(total: int) -> None:
    ip = bytearray(ipv4(tcp(b"data")))
    ip[2:4] = struct.pack("!H", total)
    segments, decoder = decode(1, ethernet(bytes(ip)))
    assert segments == []
    assert decoder.counters()["malformed"] == 1


@pytest.mark.parametrize(
    ("first", "front"),
    [
        (0, b"\x06\0" + OPTIONS8),
        (0, b"\x3c\0" + OPTIONS8 + b"\x06\1" + OPTIONS8 + b"\0" * 8),
        (60, b"\x06\0" + OPTIONS8),
        (43, b"\x06\0\x04\0\0\0\0\0"),
        (44, b"\x06\0\0\0\0\0\0\7"),  # an atomic fragment
        (51, b"\x06\4" + b"\0" * 22),
        (135, b"\x06\0" + OPTIONS8),
        (0, b"\x2c\0" + OPTIONS8 + b"\x33\0\0\0\0\0\0\7" + b"\x3c\4" + b"\0" * 22 + b"\x06\0" + OPTIONS8),
    ],
)
def test_ipv6_extension_headers(first: int, front: bytes) -> None:
    (segment,), decoder = decode(1, ethernet(ipv6(front + tcp(b"data"), first)))
    assert segment[0] == ipv6(b"")[8:40] + struct.pack("!HH", 40123, 110)
    assert segment[1:3] == (b"data", 0)
    assert decoder.counters()["ipv6"] == 1


@pytest.mark.parametrize(
    "header",
    [
        b"\x06\4\0\1\0\0\0\0" + b"\x11" * 16 + FINAL,
        b"\x06\2\2\1\0\0\0\0" + FINAL,
        b"\x06\4\4\1\1\0\0\0" + FINAL + b"\x11" * 16,
    ],
)
def test_a_routing_header_tells_where_the_packet_goes(header: bytes) -> None:
    (segment,), _ = decode(1, ethernet(ipv6(header + tcp(b"data"), 43)))
    assert segment[0][16:32] == FINAL
    arrived = header[:3] + b"\0" + header[4:]
    (segment,), _ = decode(1, ethernet(ipv6(arrived + tcp(b"data"), 43)))
    assert segment[0][:32] == ipv6(b"")[8:40]


def test_extension_headers_without_end() -> None:
    chain = (b"\x3c\0" + OPTIONS8) * (MAX_EXTENSION_HEADERS + 1)
    segments, decoder = decode(1, ethernet(ipv6(chain + tcp(b"data"), 60)))
    assert segments == []
    assert decoder.counters()["malformed"] == 1
    chain = (b"\x33\1" + b"\0" * 10) * (MAX_EXTENSION_HEADERS + 1)
    segments, decoder = decode(1, ethernet(ipv4(chain + tcp(b"data"), 51)))
    assert segments == []
    assert decoder.counters()["malformed"] == 1


@pytest.mark.parametrize("next_header", [59, 50, 58, 200])
def test_ipv6_that_holds_no_tcp(next_header: int) -> None:
    segments, decoder = decode(1, ethernet(ipv6(tcp(b"data"), next_header)))
    assert segments == []
    assert decoder.counters()["non_tcp"] == 1


def test_authentication_headers_in_ipv4() -> None:
    header = b"\x33\4" + b"\0" * 22 + b"\x06\4" + b"\0" * 22
    (segment,), _ = decode(1, ethernet(ipv4(header + tcp(b"data"), 51)))
    assert segment[:3] == (KEY4, b"data", 0)


@pytest.mark.parametrize("make", [fragments4, fragments6])
@pytest.mark.parametrize("size", [8, 16, 24, 1000])
def test_fragments_give_the_segment_at_the_frame_that_completes_it(make: Make, size: int) -> None:
    payload = tcp(b"PASS " + b"s" * 1500)
    frames = make(payload, size)
    segments, decoder = play(frames[::-1])
    assert [(s[1], s[2]) for s in segments] == [(payload[20:], 0)]
    assert segments[0][7] == len(frames)
    assert segments[0][6] == len(frames) * 1_000_000
    counters = decoder.counters()
    assert counters["reassembled"] == 1
    assert counters["fragments"] == len(frames)
    assert counters["fragments_dropped"] == 0


def test_fragments_in_short_time() -> None:
    for make in (fragments4, fragments6):
        frames = make(tcp(b"x" * 100), 24)
        sink = SegmentList()
        decoder = PacketDecoder(sink)
        for number, frame in enumerate([frames[2], frames[0], frames[2], *frames], 1):
            decoder.receive_record(frame, 0, len(frame), len(frame), 1, 5, number)
        assert [(s[1], s[7]) for s in sink.segments] == [(b"x" * 100, 8)]


def test_fragments_of_two_datagrams_do_not_mix() -> None:
    one = fragments4(tcp(b"1" * 40), 32, number=1)
    two = fragments4(tcp(b"2" * 40), 32, number=2)
    segments, _ = play([one[0], two[0], two[1], one[1]])
    assert [s[1] for s in segments] == [b"2" * 40, b"1" * 40]
    other = fragments4(udp(b"3" * 40, 53), 32, 17, number=1)
    segments, decoder = play([one[0], other[0], other[1], one[1]])
    assert [s[1] for s in segments] == [b"1" * 40]
    assert decoder.counters()["non_tcp"] == 1


def test_fragments_behind_extension_headers() -> None:
    front = b"\x2c\0" + OPTIONS8
    payload = b"\x06\0" + OPTIONS8 + tcp(b"y" * 100)
    segments, _ = play(fragments6(payload, 48, 60, front=front, front_kind=0))
    assert [s[1] for s in segments] == [b"y" * 100]


def test_a_tunnel_in_fragments_and_fragments_in_a_tunnel() -> None:
    for ip in (ipv4(tcp(b"z" * 200)), ipv6(tcp(b"z" * 200))):
        kind = b"\x86\xdd" if ip[0] == 0x60 else b"\x08\0"
        for make in (fragments4, fragments6):
            segments, decoder = play(make(gre(kind, ip, 0x4000, b"\0\0\0\0" + ROUTE), 56, 47))
            assert [s[1] for s in segments] == [b"z" * 200]
            assert decoder.counters()["tunnels"] == 1
    inner = [frame[14:] for frame in fragments4(tcp(b"z" * 200), 48)]
    segments, _ = play([ethernet(ipv4(gre(b"\x08\0", ip), 47)) for ip in inner])
    assert [s[1] for s in segments] == [b"z" * 200]


def chain(length: int) -> list[bytes]:
    """Frames with the first halves of datagrams, each completed by what completes the one before it, and the last half of all."""
    segment = tcp(b"deep down")
    frames = [ethernet(ipv6(struct.pack("!BBHI", 6, 0, 1, 0) + segment[:8], 44))]
    for number in range(1, length):
        nested = struct.pack("!BBHI", 44, 0, 8, number - 1)
        frames.append(ethernet(ipv6(struct.pack("!BBHI", 44, 0, 1, number) + nested, 44)))
    frames.append(ethernet(ipv6(struct.pack("!BBHI", 44, 0, 8, length - 1) + segment[8:], 44)))
    return frames


def test_fragments_of_fragments_are_bounded() -> None:
    segments, decoder = play(chain(8))
    assert [s[1] for s in segments] == [b"deep down"]
    assert decoder.counters()["reassembled"] == 8
    segments, decoder = play(chain(500))
    assert segments == []
    assert decoder.counters()["too_deep"] == 1


def test_fragments_that_cannot_carry_tcp_are_not_kept() -> None:
    _, decoder = play(fragments4(b"\x08\0" + b"p" * 3000, 1480, 1))
    assert decoder.fragment_table.datagrams == {}
    assert decoder.counters()["non_tcp"] == 3
    assert decoder.counters()["fragments"] == 0


def test_fragments_cut_by_the_snap_length_are_dropped() -> None:
    frames = fragments4(tcp(b"x" * 1000), 512)
    sink = SegmentList()
    decoder = PacketDecoder(sink)
    for frame in frames:
        decoder.receive_record(frame[:96], 0, 96, len(frame), 1, 5, 1)
    assert sink.segments == []
    assert decoder.counters()["fragments_dropped"] == 2
    assert decoder.fragment_table.datagrams == {}


def test_fragments_that_make_more_than_a_datagram() -> None:
    payload = tcp(b"x" * 65500)
    segments, decoder = play(fragments4(payload[:65528], 8184))
    assert segments == []
    assert decoder.counters()["malformed"] == 1


def test_an_overlap_keeps_the_first_copy_and_is_counted() -> None:
    good = tcp(b"RETR 1\r\n" + b"." * 100)
    evil = tcp(b"DELE 1\r\n" + b"." * 100)
    frames = [
        ethernet(ipv4(good[:32], place=0x2000)),
        ethernet(ipv4(evil[16:48], place=0x2002)),
        ethernet(ipv4(good[48:], place=6)),
    ]
    segments, decoder = play(frames)
    assert [s[1] for s in segments] == [good[20:]]
    assert decoder.counters()["fragment_overlaps"] == 1
