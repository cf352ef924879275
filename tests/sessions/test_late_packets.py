"""Packets that come behind the end of a connection belong to its session, whose record is already made by then."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from support.traffic import START_NS, Talk, capture, tcp_frame

from analyzer.flows.table import FlowTable
from analyzer.packets.decoder import PacketDecoder
from analyzer.pipeline import run
from analyzer.sessions.dispatch import SessionStreamFactory
from analyzer.sessions.records import Session, SessionList

SECOND = 1_000_000_000
DIALOGUES = {
    110: "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye",
    # Nobody has answered the password when the connection ends.
    143: "S: * OK ready\nC: a LOGIN kim Zulu7Tango",
    1430: "S: * OK ready\nC: a LOGIN kim Zulu7Tango\nS: a OK in\nC: b LOGOUT\nS: * BYE\nS: b OK",
    4190: 'S: "SASL" "PLAIN"\nS: OK\nC: AUTHENTICATE "PLAIN" "AGtpbQBadWx1N1Rhbmdv"\nS: OK',
    # Nothing but a greeting.
    587: "S: 220 mx.example.org ESMTP",
}


def closed(port: int) -> Talk:
    return Talk(server_port=port).play(DIALOGUES[port]).close()


def facts(session: Session) -> str:
    """All of a session but what late packets change."""
    copy = pickle.loads(pickle.dumps(session))
    copy.packets = copy.end_ns = copy.last_frame = 0
    copy.spans_files = False
    return spelt(copy)


def spelt(value: object) -> str:
    """A record in full, with all that it holds."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(spelt(one) for one in value)}]"
    if hasattr(type(value), "__reduce__") and type(value).__module__.startswith("analyzer."):
        return f"{type(value).__name__}{spelt(value.__reduce__()[1])}"
    return repr(value)


@pytest.mark.parametrize("port", DIALOGUES)
def test_packets_behind_the_end_count_and_change_nothing_else(tmp_path: Path, port: int) -> None:
    talk = closed(port)
    frames = talk.frames()
    file = tmp_path / "talk.pcap"
    file.write_bytes(capture(frames))
    (before,) = run([file], ports={1430: "imap"}).sessions
    fin, answer = frames[-3][1], frames[-1][1]
    reset = tcp_frame("192.0.2.10", "198.51.100.20", 40000, port, talk.seq[0], talk.seq[1], 0x14)
    again = tcp_frame("192.0.2.10", "198.51.100.20", 40000, port, talk.seq[0] - 9, talk.seq[1], 0x18, b"OTHERWISE")
    beyond = tcp_frame("192.0.2.10", "198.51.100.20", 40000, port, talk.seq[0], talk.seq[1], 0x18, b"USER lee\r\n")
    late = [
        (talk.now + 300_000_000, fin),
        (talk.now + 400_000_000, again),
        (talk.now + 500_000_000, beyond),
        (talk.now + SECOND, answer),
        (talk.now + SECOND + 5, reset),
    ]
    file.write_bytes(capture(frames + late))
    result = run([file], ports={1430: "imap"})
    (session,) = result.sessions
    assert (session.packets, session.last_frame) == (before.packets + len(late), before.last_frame + len(late))
    assert session.end_ns == late[-1][0]
    assert facts(session) == facts(before)
    assert result.captures[0].mail_packets == len(frames) + len(late)


def test_packets_behind_the_end_may_be_in_the_next_file(tmp_path: Path) -> None:
    talk = closed(110)
    frames = talk.frames()
    first, second = tmp_path / "ring_00001_20260302090000.pcap", tmp_path / "ring_00002_20260302090001.pcap"
    first.write_bytes(capture(frames))
    second.write_bytes(capture([(talk.now + SECOND, frames[-1][1])]))
    result = run([first, second])
    assert [one.packets for one in result.captures] == [len(frames), 1]
    (session,) = result.sessions
    assert session.spans_files
    assert session.packets == len(frames) + 1


def test_the_ports_may_be_used_again_at_once(tmp_path: Path) -> None:
    """A new connection on the same ports ends the wait; both have their record."""
    one = closed(110)
    other = Talk(start_ns=one.now + 1, isn=(900_000, 700_000)).play(DIALOGUES[110]).close()
    file = tmp_path / "talks.pcap"
    file.write_bytes(capture(one.frames() + other.frames()))
    sessions = run([file]).sessions
    assert [session.packets for session in sessions] == [len(one.frames()), len(other.frames())]
    assert [session.start_ns for session in sessions] == [START_NS, one.now + 1]
    assert [[login.outcome for login in session.credentials or ()] for session in sessions] == [["accepted"]] * 2


@pytest.mark.parametrize("port", [110, 143, 587, 1430, 4190])
def test_whoever_looks_on_sees_late_packets_as_they_come(port: int) -> None:
    ended = SessionList()
    factory = SessionStreamFactory(ended, {1430: "imap"})
    factory.watching = True
    table = FlowTable(factory)
    decoder = PacketDecoder(table)
    talk = closed(port)
    frames = talk.frames()
    for number, (timestamp, frame) in enumerate([*frames, (talk.now + SECOND, frames[-1][1])], 1):
        decoder.receive_record(frame, 0, len(frame), len(frame), 1, timestamp, number)
        session = factory.stirred[0].so_far() if factory.stirred else None
        if number >= len(frames):
            assert session is not None
            assert (session.packets, session.last_frame, session.end_ns) == (number, number, timestamp)
    assert session is not None
    before = facts(session)
    table.end_capture()
    assert [facts(one) for one in ended.sessions] == [before]
    assert factory.stirred[0].so_far() is None
