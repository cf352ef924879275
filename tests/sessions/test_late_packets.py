"""Packets that come behind the end of a connection belong to its session, whose record is already made by then."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.traffic import START_NS, Talk, capture, tcp_frame

from analyzer.pipeline import run
from analyzer.sessions.records import Session

SECOND = 1_000_000_000
DIALOGUES = {
    110: "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye",
    # Nobody has answered the password when the connection ends.
    143: "S: * OK ready\nC: a LOGIN kim Zulu7Tango",
    # Nothing but a greeting.
    587: "S: 220 mx.example.org ESMTP",
}


def closed(port: int) -> Talk:
    return Talk(server_port=port).play(DIALOGUES[port]).close()


def facts(session: Session) -> dict[str, object]:
    """All of a session but what late packets change."""
    credentials = [(one.username, one.outcome, one.frame) for one in session.credentials or ()]
    return {
        "id": session.session_id(),
        "start": session.start_ns,
        "protocol": session.protocol,
        "transport": session.transport,
        "exposure": session.exposure,
        "completeness": session.completeness,
        "octets": (session.client_bytes, session.server_bytes, session.gap_bytes, session.conflict_bytes),
        "banner": session.server_banner,
        "credentials": credentials,
        "reset": session.reset_frame,
    }


@pytest.mark.parametrize("port", DIALOGUES)
def test_packets_behind_the_end_count_and_change_nothing_else(tmp_path: Path, port: int) -> None:
    talk = closed(port)
    frames = talk.frames()
    file = tmp_path / "talk.pcap"
    file.write_bytes(capture(frames))
    (before,) = run([file]).sessions
    fin, answer = frames[-3][1], frames[-1][1]
    reset = tcp_frame("192.0.2.10", "198.51.100.20", 40000, port, talk.seq[0], talk.seq[1], 0x14)
    late = [(talk.now + 300_000_000, fin), (talk.now + SECOND, answer), (talk.now + SECOND + 5, reset)]
    file.write_bytes(capture(frames + late))
    result = run([file])
    (session,) = result.sessions
    assert (session.packets, session.last_frame) == (before.packets + 3, before.last_frame + 3)
    assert session.end_ns == late[-1][0]
    assert facts(session) == facts(before)
    assert result.captures[0].mail_packets == len(frames) + 3


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
