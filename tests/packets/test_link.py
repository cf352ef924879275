"""Near misses of the link layer: what looks like a header we know and is none, or carries no IP. The hits are in test_decoder."""

import struct

import pytest
from support.wraps import MACS, decode, dot3, ethernet, ipv4, mpls, ppp, pppoe, snap, tagged, tcp

from analyzer.packets.link import MAX_LABELS, MAX_TAGS

IP = ipv4(tcp(b"PASS not to be seen\r\n"))


def counted(linktype: int, record: bytes) -> set[str]:
    """The names of the counters that are not 0, ``packets`` apart, of a record that must give no segment."""
    segments, decoder = decode(linktype, record)
    assert segments == []
    return {name for name, count in decoder.counters().items() if count and name != "packets"}


@pytest.mark.parametrize(
    "record",
    [
        tagged(b"\x08\x06", b"\0\1\x08\0\6\4\0\1" + b"\0" * 20),
        tagged(b"\x88\x63", pppoe(ppp(IP))),  # PPPoE discovery
        tagged(b"\x88\x64", b"\x11\xa7\0\x09\0\0"[:6] + ppp(IP)),  # PADT
        tagged(b"\x88\x64", b"\x21\0\0\x09\0\0" + ppp(IP)),
        tagged(b"\x88\x64", pppoe(b"\xc0\x21" + IP)),  # LCP
        tagged(b"\x88\x64", pppoe(b"\0\x2d" + IP)),  # compressed by Van Jacobson
        tagged(b"\x88\x64", pppoe(b"\0\x3d\x80\0\0\1" + ppp(IP))),  # the first of several multilink fragments
        tagged(b"\x88\xcc", IP),
        tagged(b"\x90\0", b"\0\0\x08\0" + IP),  # loopback test, not a tag
        dot3(b"\x42\x42\x03" + IP),
        dot3(b"\xaa\xaa\x03\0\0\x0c\x20\0" + IP),
        dot3(b"\xaa\xaa\x13\0\0\0\x08\0" + IP),
        dot3(b"\xff\xff\0\x30" + IP),
        dot3(b"\xfe\xfe\x03\x83" + IP),
        tagged(b"\x89\x4f", b"\x0f\xc2\x02\x09\0\0\0\1" + IP),
    ],
)
def test_frames_without_ip(record: bytes) -> None:
    assert counted(1, record) == {"non_ip"}


def test_ip_under_the_wrong_number() -> None:
    assert counted(1, MACS + b"\x86\xdd" + IP) == {"malformed"}
    assert counted(1, MACS + b"\x08\0\x60" + IP[1:]) == {"malformed"}
    assert counted(1, tagged(b"\x88\x64", pppoe(b"\0\x57" + IP))) == {"malformed"}


def test_encrypted_macsec() -> None:
    for control in (0x04, 0x08, 0x2C):
        assert counted(1, tagged(b"\x88\xe5", bytes([control]) + b"\0" * 13 + b"\x08\0" + IP)) == {"encrypted"}


def test_tags_and_labels_without_end() -> None:
    assert counted(1, MACS + b"\x81\0\0\5" * (MAX_TAGS + 1) + b"\x08\0" + IP) == {"malformed"}
    assert counted(1, tagged(b"\x88\x47", mpls(IP, MAX_LABELS + 1))) == {"malformed"}
    segments, _ = decode(1, tagged(b"\x88\x47", mpls(IP, MAX_LABELS)))
    assert len(segments) == 1


def test_a_service_header_shorter_than_itself() -> None:
    assert counted(1, tagged(b"\x89\x4f", b"\x0f\xc1\x02\x01\0\0\0\1" + IP)) == {"malformed"}


def test_too_little_for_a_header() -> None:
    for record in (
        b"",
        MACS,
        MACS + b"\x08",
        MACS + b"\x08\0",
        MACS + b"\x81\0\0\5",
        tagged(b"\x88\x47", b"\0\0\x10"),
        tagged(b"\x88\x47", mpls(b"")),
        tagged(b"\x88\x64", b"\x11\0\0\x09"),
        tagged(b"\x88\x64", pppoe(b"\0")),
        dot3(b"\xaa\xaa"),
        dot3(snap(IP)[:6]),
    ):
        assert counted(1, record) == {"malformed"}
        segments, decoder = decode(1, record, len(record) + 1)
        assert segments == []
        assert decoder.counters()["truncated"] == 1


def test_a_pseudowire_without_ip() -> None:
    arp = MACS + b"\x08\x06" + b"\0" * 40
    assert counted(1, tagged(b"\x88\x47", mpls(b"\0\0\0\0" + arp))) == {"non_ip"}
    assert counted(1, tagged(b"\x88\x47", mpls(arp))) == {"non_ip"}


def test_isl_with_its_check_sequence() -> None:
    front = b"\x03\0\x0c\0\0\0" + MACS[6:] + struct.pack("!H", len(IP) + 30) + b"\xaa\xaa\x03\0\0\x0c\0\x0a\0\0\0\0"
    (segment,), _ = decode(1, front + ethernet(IP) + b"FCS.")
    assert segment[1] == b"PASS not to be seen\r\n"
