"""Where two engines differ is said, one line each, without secrets."""

from __future__ import annotations

from pathlib import Path

from support.traffic import Talk, run_frames

from analyzer.model import Secret
from analyzer.pipeline import Result
from analyzer.report.crosscheck import MAX_DIFFERENCES, differences

TALK = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: RETR 1\nS: +OK\\r\\nSubject: a\\r\\n\\r\\nb\\r\\n.\nC: QUIT\nS: +OK bye"


def ran(folder: Path) -> Result:
    return run_frames(folder, Talk().play(TALK).close().frames())


def test_equal_runs_do_not_differ(tmp_path: Path) -> None:
    assert differences(ran(tmp_path), ran(tmp_path)) == []


def test_each_difference_is_a_line_that_says_where(tmp_path: Path) -> None:
    one, two = ran(tmp_path), ran(tmp_path)
    session = two.sessions[0]
    session.gap_bytes = 7
    assert session.credentials is not None
    session.credentials[0].outcome = "rejected"
    session.message_list = []
    lines = differences(one, two)
    assert len(lines) == 4
    assert all(line.startswith(f"{session.capture} frame 1, 192.0.2.10:40000 to 198.51.100.20:110: ") for line in lines)
    assert lines[0].endswith("gap_bytes: native 0, Wireshark 7")
    assert "login of the native engine only: USER/PASS kim accepted, frame 7" in lines[1]
    assert "login of the Wireshark engine only: USER/PASS kim rejected, frame 7" in lines[2]
    assert "message of the native engine only: retrieved" in lines[3]
    assert "Zulu7Tango" not in "".join(lines)


def test_secrets_that_differ_are_not_shown(tmp_path: Path) -> None:
    one, two = ran(tmp_path), ran(tmp_path)
    assert two.sessions[0].credentials is not None
    two.sessions[0].credentials[0].secret = Secret("Other5Secret")
    (line,) = differences(one, two)
    assert line.endswith("the secrets of the logins differ")


def test_a_session_of_one_engine_only(tmp_path: Path) -> None:
    one, two = ran(tmp_path), ran(tmp_path)
    two.sessions = []
    assert differences(one, two)[0].endswith("seen by the native engine only")
    assert differences(two, one)[0].endswith("seen by the Wireshark engine only")


def test_what_keys_opened_is_no_difference(tmp_path: Path) -> None:
    one, two = ran(tmp_path), ran(tmp_path)
    for credential in two.sessions[0].credentials or ():
        credential.exposed = False
    for credential in one.sessions[0].credentials or ():
        credential.exposed = False
    two.sessions[0].credentials = None
    assert differences(one, two) == []


def test_a_flood_of_differences_is_cut(tmp_path: Path) -> None:
    one, two = ran(tmp_path), ran(tmp_path)
    one.sessions = one.sessions * 1
    credentials = one.sessions[0].credentials
    assert credentials is not None
    credentials *= MAX_DIFFERENCES + 50
    lines = differences(one, two)
    assert len(lines) == MAX_DIFFERENCES + 1
    assert lines[-1] == "and 49 more differences"
