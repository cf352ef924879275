"""What tshark says is understood, and what goes wrong with it is told."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from support.traffic import Talk, capture

from analyzer.capture.wireshark import DATA, DECRYPTED, GAP, FollowReader, Wireshark, WiresharkStream, parse_epoch
from analyzer.errors import CaptureUnreadable, EngineError

TALK = "S: +OK ready\nC: QUIT\nS: +OK bye"


def stream(number: int, first: int, last: int, port: int = 40000) -> WiresharkStream:
    made = WiresharkStream(number, first, 5, ("192.0.2.1", "192.0.2.2"), (port, 110))
    made.last_frame = last
    return made


def block(pieces: list[tuple[int, int, str, bytes]], host: str = "192.0.2.1", port: int = 40000) -> bytes:
    lines = [b"peers:", b"  - peer: 0", b"    host: " + host.encode(), b"    port: %d" % port]
    lines += [b"  - peer: 1", b"    host: ", b"    port: 0", b"packets:"]
    for frame, peer, time, data in pieces:
        lines += [
            b"  - packet: %d" % frame,
            b"    peer: %d" % peer,
            b"    index: 0",
            b"    timestamp: " + time.encode(),
        ]
        lines += [b"    data: !!binary |"]
        text = base64.b64encode(data)
        lines += [b"      " + text[at : at + 76] for at in range(0, len(text), 76)]
    return b"\n".join(lines) + b"\n"


def read(text: bytes, streams: list[WiresharkStream], kind: str = DATA) -> FollowReader:
    reader = FollowReader(streams, kind)
    for line in text.splitlines(keepends=True):
        reader.line(line)
    reader.close()
    return reader


def told(one: WiresharkStream) -> list[tuple[str, int, bytes, int, int]]:
    return [(piece.kind, piece.side, piece.data, piece.size, piece.frame) for piece in one.pieces]


def test_blocks_are_told_apart_by_peers_and_frames_in_any_order() -> None:
    first, second, third = stream(0, 1, 9), stream(1, 10, 19), stream(2, 2, 12, port=50000)
    text = block([(11, 1, "2.5", b"two")]) + block([], "", 0) + block([(3, 0, "1.5", b"three")], port=50000)
    text += block([(4, 1, "1.000000001", b"one" * 40), (5, 0, "1.1", b"ONE")])
    assert read(text, [first, second, third]).blocks == 4
    assert told(first) == [(DATA, 1, b"one" * 40, 120, 4), (DATA, 0, b"ONE", 3, 5)]
    assert first.pieces[0].timestamp_ns == 1_000_000_001
    assert told(second) == [(DATA, 1, b"two", 3, 11)]
    assert told(third) == [(DATA, 0, b"three", 5, 3)]


def test_the_peers_may_be_the_other_way_round() -> None:
    one = stream(0, 1, 9)
    read(
        block([(4, 1, "1.0", b"from the client"), (5, 0, "1.0", b"from the server")], "192.0.2.2", 110),
        [one],
        DECRYPTED,
    )
    assert told(one) == [(DECRYPTED, 0, b"from the client", 15, 4), (DECRYPTED, 1, b"from the server", 15, 5)]


def test_missing_octets_are_a_gap_and_a_text_that_looks_alike_is_not() -> None:
    one = stream(0, 1, 9)
    words = b"[2896 bytes missing in capture file]"
    read(block([(3, 0, "1.0", b"x"), (4, 0, "0.000000000", words + b"\0"), (5, 0, "2.0", words)]), [one])
    assert told(one) == [(DATA, 0, b"x", 1, 3), (GAP, 0, b"", 2896, 4), (DATA, 0, words, len(words), 5)]


def test_a_cut_packet_leaves_a_gap() -> None:
    one = stream(0, 1, 9)
    one.cuts[3] = 100
    read(block([(3, 0, "1.0", b"x"), (4, 0, "1.1", b"y")]), [one])
    assert [piece.kind for piece in one.pieces] == [DATA, GAP, DATA]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("0.000000000", 0), ("1795303025.916661000", 1_795_303_025_916_661_000), ("12.5", 12_500_000_000), ("12", 12_000_000_000),
     ("2026-03-02T09:00:00.000000123Z", 1_772_442_000_000_000_123)],
)  # fmt: skip
def test_times(text: str, nanoseconds: int) -> None:
    assert parse_epoch(text) == nanoseconds


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk().play(TALK).close().frames()))
    return path


def test_without_tshark_one_sentence_says_what_to_install(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(EngineError, match="install the package tshark") as caught:
        Wireshark(str(talk))
    assert "\n" not in str(caught.value)


@pytest.mark.tshark
def test_what_cannot_be_read_is_said_before_tshark_runs(talk: Path) -> None:
    with pytest.raises(EngineError, match="standard input"):
        Wireshark("-")
    with pytest.raises(CaptureUnreadable, match="capture cannot be read"):
        Wireshark(str(talk) + "x")
    with pytest.raises(CaptureUnreadable, match="key log cannot be read"):
        Wireshark(str(talk), str(talk) + "x")


@pytest.mark.tshark
def test_streams_and_their_octets(talk: Path) -> None:
    wireshark = Wireshark(str(talk))
    (one,) = wireshark.list_streams()
    assert (one.addresses, one.ports) == (("192.0.2.10", "198.51.100.20"), (40000, 110))
    assert (one.first_frame, one.last_frame, one.packets, one.syn_side, one.syn_ack_side) == (1, 9, [5, 4], 0, 1)
    assert [end is not None for end in one.fins] == [True, True]
    assert (one.first_sender, chr(one.first_octets[1])) == (1, "+")
    followed = [
        [(piece.side, piece.data, piece.frame) for piece in found.pieces]
        for found in wireshark.follow([one], lambda _: 110)
    ]
    assert followed == [[(1, b"+OK ready\r\n", 4), (0, b"QUIT\r\n", 5), (1, b"+OK bye\r\n", 6)]]
    assert one.pieces == []
    assert wireshark.warnings == []


@pytest.mark.tshark
def test_works_inside_a_running_event_loop(talk: Path) -> None:
    async def notebook() -> int:
        return len(Wireshark(str(talk)).list_streams())

    assert asyncio.run(notebook()) == 1


@pytest.mark.tshark
def test_a_cut_file_is_a_warning_and_a_file_that_is_none_an_error(talk: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(talk.read_bytes()[:-10])
    wireshark = Wireshark(str(cut))
    assert len(wireshark.list_streams()) == 1
    assert len(wireshark.warnings) == 1
    assert "tshark ended with status" in wireshark.warnings[0]
    none = tmp_path / "none.pcap"
    none.write_text("this is a letter, not a capture\n" * 20)
    with pytest.raises(CaptureUnreadable, match="tshark could not read it"):
        Wireshark(str(none)).list_streams()


@pytest.mark.tshark
def test_a_stop_of_the_user_ends_tshark(talk: Path) -> None:
    wireshark = Wireshark(str(talk))
    wireshark._stop = True
    assert wireshark.list_streams() == []
