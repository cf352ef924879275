"""Near misses of the link types. The hits are in test_decoder."""

import struct

import pytest
from support.wraps import decode, ethernet, ipv4, nflog, ppp, sll, sll2, snap, tcp, wlan

from analyzer.packets.tcp import MAX_DEPTH

IP = ipv4(tcp(b"PASS not to be seen\r\n"))


def counted(linktype: int, record: bytes) -> set[str]:
    segments, decoder = decode(linktype, record)
    assert segments == []
    return {name for name, count in decoder.counters().items() if count and name != "packets"}


@pytest.mark.parametrize(
    ("linktype", "record"),
    [
        (0, struct.pack("<I", 7) + IP),
        (108, struct.pack("!I", 1) + IP),
        (101, b"\x50" + IP[1:]),
        (12, struct.pack("!I", 99) + IP),
        (113, sll(IP, b"\0\1")),
        (113, sll(IP, b"\x08\x06")),
        (276, sll2(IP, b"\x08\x06")),
        (104, b"\x0f\0\x80\x35" + IP),  # SLARP
        (9, b"\xff\x03\xc0\x21" + IP),
        (107, b"\x18\x41\x03\x08" + IP),
        (100, b"\xaa\xaa\x03\0\x80\xc2\0\7" + IP),
    ],
)
def test_records_without_ip(linktype: int, record: bytes) -> None:
    assert counted(linktype, record) == {"non_ip"}


@pytest.mark.parametrize(
    ("linktype", "record"),
    [
        (192, struct.pack("<BBHI", 0, 0, 4, 105) + wlan(snap(IP))),
        (258, struct.pack("<III", 4, 1, 101) + IP),
        (178, b"XYZ\x01" + ethernet(IP)),
        (239, b"\2\0\0\5" + b"\1\0\7\0" + IP),
        (239, nflog(IP)[:20]),
        (228, ppp(IP)),
        (229, IP),
        (163, b"\x80\x21\x20\x01\0\0\0\x40" + b"\0" * 56 + wlan(snap(IP))),
    ],
)
def test_records_that_contradict_their_link_type(linktype: int, record: bytes) -> None:
    assert counted(linktype, record) == {"malformed"}


@pytest.mark.parametrize(
    "linktype", [0, 1, 6, 8, 10, 51, 100, 104, 107, 109, 113, 117, 123, 138, 178, 192, 226, 240, 258, 276]
)
def test_nothing_in_a_record(linktype: int) -> None:
    assert counted(linktype, b"") == {"malformed"}


def test_records_in_records_are_bounded() -> None:
    record = struct.pack("<BBHI", 0, 0, 8, 192) * 1000 + IP
    assert counted(192, record) == {"too_deep"}
    record = struct.pack("<BBHI", 0, 0, 8, 192) * (MAX_DEPTH - 1) + struct.pack("<BBHI", 0, 0, 8, 101) + IP
    assert len(decode(192, record)[0]) == 1


def test_what_is_inside_a_wrapping_may_be_unknown() -> None:
    _, decoder = decode(192, struct.pack("<BBHI", 0, 0, 8, 147) + IP)
    assert decoder.unknown_linktypes == {192: 1}


def test_a_user_link_type_is_not_taken_for_pktap() -> None:
    for record in (
        IP,
        struct.pack("<III", 108, 2, 101) + b"\0" * 96 + IP,
        struct.pack("<III", 5000, 1, 101) + b"\0" * 96 + IP,
    ):
        _, decoder = decode(149, record)
        assert decoder.unknown_linktypes == {149: 1}
