"""802.11: encrypted, fragmented, empty and broken frames. The hits are in test_decoder."""

import pytest
from support.wraps import amsdu, decode, ipv4, radiotap, snap, tcp, wlan

IP = ipv4(tcp(b"PASS not to be seen\r\n"))
CIPHER = b"\1\0\0\x20\0\0\0\0" + bytes(range(100))


def counted(linktype: int, record: bytes) -> set[str]:
    segments, decoder = decode(linktype, record)
    assert segments == []
    return {name for name, count in decoder.counters().items() if count and name != "packets"}


@pytest.mark.parametrize(
    "frame",
    [
        wlan(snap(IP), 0x80),  # beacon
        wlan(snap(IP), 0xB4),  # RTS
        wlan(snap(IP), 0x48),  # null function
        wlan(snap(IP), 0xC8, 2, b"\0\0"),  # QoS null
        wlan(snap(IP), 0x09),  # another version of the protocol
        wlan(b"\x42\x42\x03" + b"\0" * 30),
        wlan(snap(IP))[:22] + b"\x11\0" + snap(IP),  # the second fragment of a frame
    ],
)
def test_frames_without_ip(frame: bytes) -> None:
    assert counted(105, frame) == {"non_ip"}


def test_encrypted_frames_are_counted() -> None:
    assert counted(105, wlan(CIPHER, 0x08, 0x41)) == {"encrypted"}
    assert counted(105, wlan(CIPHER, 0x88, 0x42, b"\0\0")) == {"encrypted"}
    assert counted(127, radiotap(wlan(CIPHER, 0x88, 0x42, b"\x80\0"), 0x10)) == {"encrypted"}


def test_an_aggregate_gives_every_frame_in_it() -> None:
    others = [ipv4(tcp(b"frame %d" % number)) for number in range(3)]
    frame = wlan(amsdu(*(snap(ip) for ip in others)), 0x88, 2, b"\x80\0") + b"FCS."
    segments, _ = decode(127, radiotap(frame, 0x10))
    assert [s[1] for s in segments] == [b"frame 0", b"frame 1", b"frame 2"]
    assert {s[7] for s in segments} == {42}


def test_an_aggregate_of_empty_frames_ends() -> None:
    segments, _ = decode(105, wlan(b"\0" * 5000, 0x88, 2, b"\x80\0"))
    assert segments == []


def test_frames_that_failed_their_check_sequence_are_dropped() -> None:
    assert counted(127, radiotap(wlan(snap(IP)) + b"FCS.", 0x50)) == {"malformed"}


@pytest.mark.parametrize(
    "record",
    [
        b"\0\0\x04\0\0\0\0\0" + wlan(snap(IP)),  # shorter than itself
        b"\1\0\x08\0\0\0\0\0" + wlan(snap(IP)),  # another version
        b"\0\0\xff\xff\0\0\0\0" + wlan(snap(IP)),  # longer than the record
        b"\0\0\x08\0",
        radiotap(b"\x08"),
        radiotap(wlan(b"")[:20]),
    ],
)
def test_a_broken_radiotap_header(record: bytes) -> None:
    assert counted(127, record) == {"malformed"}


def test_presence_words_without_end() -> None:
    record = b"\0\0\x20\0" + b"\xff" * 28 + wlan(snap(IP))
    segments, _ = decode(127, record)
    assert len(segments) == 1


def test_a_null_frame_shorter_than_a_header() -> None:
    for size in range(24):
        assert decode(105, wlan(snap(IP))[:size])[0] == []
