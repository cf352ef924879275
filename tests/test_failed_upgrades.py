"""STARTTLS whose handshake comes to nothing: what goes on in clear behind it is read, and nothing is that was encrypted."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tls as lab
from support.traffic import Talk, logins, run_frames
from support.verdicts import good_tls

from analyzer.findings.base import Finding
from analyzer.findings.engine import find
from analyzer.monitor.pickles import SessionLoader, dump_session
from analyzer.pipeline import Result
from analyzer.sessions.records import Session

Said = tuple[int, bytes]

GREETED = {
    110: "S: +OK mx\nC: CAPA\nS: +OK\\r\\nSTLS\\r\\nUSER\\r\\n.\n",
    143: "S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] mx\n",
    587: "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\\r\\n250-STARTTLS\\r\\n250 AUTH PLAIN\n",
    4190: 'S: "IMPLEMENTATION" "x"\\r\\n"SASL" "PLAIN"\\r\\n"STARTTLS"\\r\\nOK\n',
}
REQUEST = {110: b"STLS\r\n", 143: b"b.1 STARTTLS\r\n", 587: b"STARTTLS\r\n", 4190: b"STARTTLS\r\n"}
GRANT = {110: b"+OK\r\n", 143: b"b.1 OK go\r\n", 587: b"220 go\r\n", 4190: b"OK\r\n"}
REFUSAL = {
    110: b"-ERR STLS failed: key: Permission denied\r\n", 143: b"b.1 NO STARTTLS failed: no key\r\n",
    587: b"454 4.3.0 TLS failed\r\n", 4190: b'NO "TLS failed"\r\n',
}  # fmt: skip
LOGIN: dict[int, list[Said]] = {
    110: [(0, b"USER kim\r\n"), (1, b"+OK\r\n"), (0, b"PASS Zulu7Tango\r\n"), (1, b"+OK in\r\n")],
    143: [(0, b"c LOGIN kim Zulu7Tango\r\n"), (1, b"c OK in\r\n")],
    587: [(0, b"AUTH PLAIN AGtpbQBadWx1N1Rhbmdv\r\n"), (1, b"235 ok\r\n")],
    4190: [(0, b'AUTHENTICATE "PLAIN" "AGtpbQBadWx1N1Rhbmdv"\r\n'), (1, b"OK\r\n")],
}
FAREWELL = {110: b"QUIT\r\n", 143: b"d LOGOUT\r\n", 587: b"QUIT\r\n", 4190: b"LOGOUT\r\n"}
MECHANISM = {110: "USER/PASS", 143: "LOGIN-CMD", 587: "PLAIN", 4190: "PLAIN"}
PORTS = sorted(GREETED)

HELLO = lab.record(22, lab.client_hello())
CLOSE_NOTIFY = lab.record(21, b"\x01\x00")
REFUSED = lab.record(21, b"\x02\x28")
UNKNOWN_CA = lab.record(21, b"\x02\x30")
#: A server's flight in TLS 1.3: what is encrypted is zeros.
HELLOS13: list[Said] = [(sender, data) for sender, data in lab.tls13_hellos() if isinstance(data, bytes)]
FLIGHT = lab.record(23, bytes(27)) + lab.record(23, bytes(900)) + lab.record(23, bytes(281)) + lab.record(23, bytes(53))
ENCRYPTED_ALERT = lab.record(23, bytes(19))

#: How a handshake comes to nothing; ``None`` stands for the server's refusal in words.
FAILURES: dict[str, list[tuple[int, bytes | None]]] = {
    "server's alert": [(0, HELLO), (1, REFUSED)],
    "alert and words": [(0, HELLO), (1, CLOSE_NOTIFY), (1, None)],
    "words alone": [(0, HELLO), (1, None)],
    "client's alert without a hello": [(0, lab.record(21, b"\x02\x50")), (1, CLOSE_NOTIFY)],
    "client's alert": [(0, HELLO + UNKNOWN_CA)],
    "certificate refused": [*HELLOS13, (1, FLIGHT), (0, UNKNOWN_CA), (1, ENCRYPTED_ALERT), (1, None)],
    "certificate refused under encryption": [*HELLOS13, (1, FLIGHT), (0, ENCRYPTED_ALERT), (1, CLOSE_NOTIFY)],
    "no word at all": [*HELLOS13, (1, FLIGHT)],
}


def failed(port: int, how: str) -> list[Said]:
    return [(sender, REFUSAL[port] if data is None else data) for sender, data in FAILURES[how]]


def said(port: int, *pieces: Said, end: str = "fin", step: int = 0) -> Talk:
    """A greeting, a grant of TLS, and then these pieces, in segments of ``step`` octets (0: whole)."""
    talk = Talk(server_port=port).play(GREETED[port])
    for sender, data in ((0, REQUEST[port]), (1, GRANT[port]), *pieces):
        for start in range(0, len(data), step or len(data)):
            talk._segment(sender, 24, data[start : start + (step or len(data))])
    return talk.close() if end == "fin" else talk.reset(1)


def heard(folder: Path, talk: Talk) -> tuple[Result, Session, dict[str, Finding]]:
    result = run_frames(folder, talk.frames())
    (session,) = result.sessions
    return result, session, {one.slug: one for one in find(result.sessions)}


def kinds(session: Session) -> list[str]:
    return [seen.kind for seen in session.anomalies or []]


@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("port", PORTS)
def test_a_login_behind_a_failed_handshake_is_read(port: int, how: str, tmp_path: Path) -> None:
    for step in (0, 1):
        result, session, found = heard(tmp_path, said(port, *failed(port, how), *LOGIN[port], step=step))
        assert logins(result) == [(MECHANISM[port], "kim", "Zulu7Tango", "accepted")]
        assert (session.transport, session.starttls, session.exposure) == ("plaintext", "accepted", "credentials")
        assert kinds(session) == ["starttls_without_tls"]
        assert found["starttls-without-tls"].severity_word() == "critical"
        assert {"plaintext-password", "tls-handshake-failed"} <= found.keys()


@pytest.mark.parametrize("port", PORTS)
def test_one_direction_may_come_back_alone(port: int, tmp_path: Path) -> None:
    request = LOGIN[port][0]
    result, session, _ = heard(tmp_path, said(port, (0, REFUSED), (1, CLOSE_NOTIFY), request, end="rst"))
    assert [one[1] for one in logins(result)] == ["kim"]
    assert session.transport == "plaintext"


def test_a_second_word_on_the_upgrade_answers_no_command(tmp_path: Path) -> None:
    """The client talks on at once; the server's word on the handshake comes between its commands and their answers."""
    pieces = [(0, REFUSED), (0, b"USER kim\r\n"), (1, CLOSE_NOTIFY), (1, REFUSAL[110]), *LOGIN[110][1:]]
    result, session, _ = heard(tmp_path, said(110, *pieces))
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]
    assert kinds(session) == ["starttls_without_tls"]


@pytest.mark.parametrize("port", PORTS)
def test_a_completed_handshake_is_never_text_again(port: int, tmp_path: Path) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        pieces = [(sender, data) for sender, data in good_tls(version) if isinstance(data, bytes)]
        for more in ([], [(1, REFUSED)], [(0, REFUSED), (1, REFUSED)]):
            result, session, found = heard(tmp_path, said(port, *pieces, *more, *LOGIN[port]))
            assert logins(result) == []
            assert (session.transport, session.starttls, session.exposure) == ("starttls", "completed", "none")
            assert "starttls-without-tls" not in found


@pytest.mark.parametrize("port", PORTS)
def test_what_may_be_an_alert_and_goes_on_encrypted_is_no_failure(port: int, tmp_path: Path) -> None:
    records = [(0, ENCRYPTED_ALERT), (1, lab.record(23, bytes(80))), (0, lab.record(23, bytes(70)))]
    result, session, _ = heard(tmp_path, said(port, *HELLOS13, (1, FLIGHT), *records, *LOGIN[port]))
    assert logins(result) == []
    assert (session.transport, session.starttls) == ("starttls", "completed")


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("odd", [b"hello\r\n", b"\x01\r\n", b"A\x17\x03\x03\0\5USER \r\n", b" ", b"\r\n", b"x" * 9000])
def test_octets_that_are_no_line_of_the_dialogue_are_not_read(port: int, odd: bytes, tmp_path: Path) -> None:
    result, session, _ = heard(tmp_path, said(port, *failed(port, "server's alert"), (0, odd), *LOGIN[port]))
    assert logins(result) == []
    assert (session.transport, session.exposure) == ("starttls", "none")
    assert "tls_stream_lost" in kinds(session)


@pytest.mark.parametrize("port", PORTS)
def test_a_lost_segment_within_the_handshake_makes_nothing_text(port: int, tmp_path: Path) -> None:
    """Records whose bodies read like a dialogue, any one segment of them missing; a login in clear stands behind the client's."""
    login = b"".join(data for sender, data in LOGIN[port] if sender == 0)
    answers = b"".join(data for sender, data in LOGIN[port] if sender == 1)
    record = lab.record(22, lab.message(11, login * 3))
    reply = lab.record(22, lab.message(2, answers * 9))
    #: the segments, and whether it is known without each where the client's next record is due
    pieces = [
        ((0, HELLO[:9]), False), ((0, HELLO[9:]), True), ((0, record[:5]), False), ((0, record[5:40]), True),
        ((0, record[40:]), True), ((1, reply[:5]), True), ((1, reply[5:]), True), ((1, REFUSED), True), ((0, login), False),
    ]  # fmt: skip
    frames = said(port, *[piece for piece, _ in pieces]).frames()
    first = len(frames) - 3 - len(pieces)
    assert len(frames[first][1]) == 54 + 9
    for number, (_, known) in enumerate(pieces):
        result = run_frames(tmp_path, frames[: first + number] + frames[first + number + 1 :])
        assert logins(result) == ([(MECHANISM[port], "kim", "Zulu7Tango", "unknown")] if known else []), number


@pytest.mark.parametrize("port", PORTS)
def test_what_looks_like_records_within_one_whose_header_is_lost_makes_nothing_text(port: int, tmp_path: Path) -> None:
    login = b"".join(data for sender, data in LOGIN[port] if sender == 0)
    whole = lab.record(22, REFUSED * 2 + login * 3)
    frames = said(port, (0, HELLO), (0, whole[:5]), (0, whole[5:]), (1, REFUSED)).frames()
    lost = next(at for at, (_, frame) in enumerate(frames) if frame.endswith(whole[:5]))
    assert logins(run_frames(tmp_path, frames)) == []
    assert logins(run_frames(tmp_path, frames[:lost] + frames[lost + 1 :])) == []


@pytest.mark.parametrize("port", PORTS)
def test_what_stands_behind_a_lost_segment_of_the_text_is_told_where_it_stands(port: int, tmp_path: Path) -> None:
    line = {110: b"NOOP\r\n", 143: b"e NOOP\r\n", 587: b"NOOP\r\n", 4190: b"NOOP\r\n"}[port]
    frames = said(port, *failed(port, "alert and words"), (0, line), (0, line), *LOGIN[port]).frames()
    lost = len(frames) - 3 - len(LOGIN[port]) - 1
    told = []
    for kept in (frames, frames[:lost] + frames[lost + 1 :]):
        (session,) = run_frames(tmp_path, kept).sessions
        told.append([(one.username, one.offset) for one in session.credentials or []])
        assert session.gap_bytes == (0 if kept is frames else len(line))
    assert told[0] == told[1] != []


@pytest.mark.parametrize("port", PORTS)
def test_who_takes_his_leave_in_clear_has_not_gone_on(port: int, tmp_path: Path) -> None:
    for step in (0, 1):
        talk = said(port, *failed(port, "alert and words"), (0, FAREWELL[port]), step=step)
        _, session, found = heard(tmp_path, talk)
        assert (session.transport, session.starttls, session.exposure) == ("starttls", "accepted", "none")
        assert "starttls-without-tls" not in found
        assert "tls-handshake-failed" in found
        talk = said(port, *failed(port, "alert and words"), (0, FAREWELL[port]), *LOGIN[port], step=step)
        assert heard(tmp_path, talk)[1].transport == "plaintext"


@pytest.mark.parametrize("port", PORTS)
def test_an_upgrade_tried_twice(port: int, tmp_path: Path) -> None:
    good = [(sender, data) for sender, data in good_tls() if isinstance(data, bytes)]
    again = [*failed(port, "alert and words"), (0, REQUEST[port]), (1, GRANT[port])]
    result, session, _ = heard(tmp_path, said(port, *again, *good))
    assert logins(result) == []
    assert (session.transport, session.starttls) == ("starttls", "completed")
    result, session, found = heard(tmp_path, said(port, *again, *failed(port, "server's alert"), *LOGIN[port]))
    assert logins(result) == [(MECHANISM[port], "kim", "Zulu7Tango", "accepted")]
    assert (session.transport, session.starttls) == ("plaintext", "accepted")
    assert "tls-handshake-failed" in found


@pytest.mark.parametrize("port", PORTS)
def test_who_leaves_at_a_second_grant_has_failed_at_the_first(port: int, tmp_path: Path) -> None:
    again = [(0, REQUEST[port]), (1, GRANT[port])]
    _, session, found = heard(tmp_path, said(port, *failed(port, "server's alert"), *again, (1, CLOSE_NOTIFY)))
    assert session.tls is not None
    assert (session.tls.handshake, session.tls.alert) == ("failed", "handshake_failure")
    assert "handshake_failure" in found["tls-handshake-failed"].detail()


@pytest.mark.parametrize("port", PORTS)
def test_handshakes_without_end_are_not_followed_without_end(port: int, tmp_path: Path) -> None:
    line = {110: b"NOOP\r\n", 143: b"e NOOP\r\n", 587: b"NOOP\r\n", 4190: b"NOOP\r\n"}[port]
    for times, read in ((3, True), (40, False), (900, False)):
        result, session, _ = heard(
            tmp_path, said(port, (0, HELLO + REFUSED), (0, (line + REFUSED) * times), *LOGIN[port])
        )
        assert session.starttls == "accepted"
        assert (logins(result) != []) is read
        assert "dissector_fault" not in kinds(session)


# -- no handshake tried ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", PORTS)
def test_a_client_that_leaves_at_the_grant_has_tried_no_handshake(port: int, tmp_path: Path) -> None:
    quiet = heard(tmp_path, said(port))
    for alert in (CLOSE_NOTIFY, lab.record(21, b"\x02\x32")):
        talk = said(port, end="rst")
        del talk.sent[-1]
        talk._segment(0, 17, b"")
        talk.server(alert)
        talk.reset(0)
        for _, session, found in (quiet, heard(tmp_path, talk)):
            assert (session.transport, session.starttls, session.exposure) == ("plaintext", "accepted", "metadata")
            assert session.tls is None
            assert not {"tls-handshake-failed", "starttls-without-tls"} & found.keys()
    # A client's alert is a try: its own library has failed it.
    _, session, found = heard(tmp_path, said(port, (0, REFUSED), (1, CLOSE_NOTIFY)))
    assert (session.transport, "tls-handshake-failed" in found) == ("starttls", True)


@pytest.mark.parametrize("port", PORTS)
def test_an_alert_behind_a_loss_proves_no_handshake_untried(port: int, tmp_path: Path) -> None:
    frames = said(port, *HELLOS13, (1, FLIGHT), (1, UNKNOWN_CA)).frames()
    servers = [one for one in frames if one[1][26:30] == bytes([198, 51, 100, 20])]
    lost = [one for one in servers if not one[1].endswith((HELLOS13[1][1], FLIGHT))]
    assert len(lost) == len(servers) - 2
    (session,) = run_frames(tmp_path, lost).sessions
    assert session.tls is not None
    assert session.transport == "starttls"


@pytest.mark.parametrize("end", ["fin", "rst"])
@pytest.mark.parametrize("port", PORTS)
def test_what_was_slipped_in_front_of_tls_that_never_came_was_in_clear(port: int, end: str, tmp_path: Path) -> None:
    login = b"".join(data for sender, data in LOGIN[port] if sender == 0)
    replies = b"".join(data for sender, data in LOGIN[port] if sender == 1)
    for answer, outcome in ((b"", "unknown"), (replies, "accepted")):
        talk = Talk(server_port=port).play(GREETED[port]).client(REQUEST[port] + login).server(GRANT[port] + answer)
        result, session, found = heard(tmp_path, talk.close() if end == "fin" else talk.reset(1))
        assert logins(result) == [(MECHANISM[port], "kim", "Zulu7Tango", outcome)]
        assert (session.transport, session.exposure) == ("plaintext", "credentials")
        assert {"starttls-command-injection", "plaintext-password"} <= found.keys()


SLIPPED_IN = {
    110: b"+OK Logged in.\r\n",
    143: b"* OK hi\r\n* 7 EXISTS\r\n",
    587: b"250-mx\r\n250 AUTH PLAIN\r\n",
    4190: b'OK "in"\r\n',
}


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("port", PORTS)
def test_text_that_was_slipped_in_front_of_the_servers_hello(
    port: int, version: ssl.TLSVersion, odd: bool, tmp_path: Path
) -> None:
    hello, *rest = [(sender, data) for sender, data in good_tls(version) if isinstance(data, bytes)]
    text = (b"hello there\r\n" if odd else b"") + SLIPPED_IN[port]
    whole = heard(tmp_path, said(port, hello, *rest))[1]
    for more in ([(1, text), *rest], [(1, text + rest[0][1]), *rest[1:]]):
        for step in (0, 1):
            result, session, found = heard(tmp_path, said(port, hello, *more, step=step))
            assert (session.transport, session.starttls, session.exposure) == ("starttls", "completed", "none")
            assert kinds(session) == ["starttls_response_injection"]
            assert session.capabilities == whole.capabilities
            assert logins(result) == []
            assert session.tls is not None
            assert whole.tls is not None
            assert (session.tls.handshake, session.tls.sni) == ("completed", whole.tls.sni)
            told = found["starttls-response-injection"]
            assert told.severity_word() == "high"
            assert f"{len(text)} octets" in told.detail()
            before = whole.server_bytes - sum(len(data) for sender, data in rest if sender == 1)
            assert told.offset == before
            assert step or told.frame == session.tls_frame + 1
            assert "tls-handshake-failed" not in found


@pytest.mark.parametrize("port", PORTS)
def test_a_handshake_that_fails_behind_text_that_was_slipped_in(port: int, tmp_path: Path) -> None:
    for text in (SLIPPED_IN[port], b"hello there\r\n"):
        pieces = [(0, HELLO), (1, text), HELLOS13[1], (0, UNKNOWN_CA), *LOGIN[port]]
        for step in (0, 1):
            result, session, _ = heard(tmp_path, said(port, *pieces, step=step))
            assert logins(result) == [(MECHANISM[port], "kim", "Zulu7Tango", "accepted")]
            assert kinds(session) == ["starttls_response_injection", "starttls_without_tls"]
            assert session.tls is not None
            assert (session.tls.failure, session.tls.alert) == ("alert", "unknown_ca")


def test_text_that_waits_and_is_not_followed_by_a_hello_is_read_where_it_stands(tmp_path: Path) -> None:
    lost = b"+OK two\r\n"
    mail = (1, b"+OK\r\nSubject: x\r\n\r\ntext\r\n.\r\n")
    pieces = [(0, HELLO), (1, b"+OK one\r\n"), (1, lost), *LOGIN[110], (0, b"RETR 1\r\n"), mail]
    frames = said(110, *pieces).frames()
    at = next(at for at, (_, frame) in enumerate(frames) if frame.endswith(lost))
    (whole,), (torn,) = [run_frames(tmp_path, kept).sessions for kept in (frames, frames[:at] + frames[at + 1 :])]
    assert torn.gap_bytes == len(lost)
    told = [[(one.size, one.offset) for one in session.message_list or []] for session in (whole, torn)]
    assert told[0] == told[1] != []
    # The end is the end of all waiting; and an alert behind the text says why the handshake came to nothing.
    assert kinds(heard(tmp_path, said(110, *pieces[:2]))[1]) == ["unexpected_reply"]
    for step in (0, 1):
        pieces = [(0, HELLO), (1, REFUSAL[110] + REFUSED), *LOGIN[110]]
        result, session, _ = heard(tmp_path, said(110, *pieces, step=step))
        assert session.tls is not None
        assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]
        assert (session.tls.failure, session.tls.alert) == ("alert", "handshake_failure")
        assert session.tls.reason == REFUSAL[110].decode().strip()


@pytest.mark.parametrize("port", PORTS)
def test_text_behind_which_no_hello_comes_has_failed_the_handshake(port: int, tmp_path: Path) -> None:
    late = HELLOS13[1:]
    for more, failed in (
        ([], True),
        ([(0, REFUSED)], True),
        ([(1, b"\x16")], True),
        # What comes behind much text, or behind the client's, is another matter.
        ([(1, b"x" * 9000 + b"\r\n"), *late], False),
        ([(0, LOGIN[port][0][1]), *late], False),
    ):
        for step in (0, 1000):
            _, session, found = heard(tmp_path, said(port, (0, HELLO), (1, SLIPPED_IN[port]), *more, step=step))
            assert session.starttls == "accepted"
            assert "starttls-response-injection" not in found
            assert "tls-handshake-failed" in found or not failed


# -- how it is told --------------------------------------------------------------------------------------------------------------


def test_the_server_says_why(tmp_path: Path) -> None:
    _, _, found = heard(tmp_path, said(110, *failed(110, "alert and words")))
    assert (
        found["tls-handshake-failed"]
        .detail()
        .endswith(
            "the server broke it off (alert close_notify); the server said: -ERR STLS failed: key: Permission denied"
        )
    )
    long = b"-ERR STLS failed: " + b"x" * 4000 + b"\r\n"
    _, _, found = heard(tmp_path, said(110, (0, HELLO), (1, CLOSE_NOTIFY), (1, long)))
    assert len(found["tls-handshake-failed"].detail()) < 400
    # Of what it says once the client has gone on, nobody knows what it repeats.
    pieces = [(0, REFUSED), *LOGIN[110][:1], (1, CLOSE_NOTIFY), (1, b"-ERR no TLS for Zulu7Tango\r\n")]
    _, _, found = heard(tmp_path, said(110, *pieces))
    assert "Zulu7Tango" not in found["tls-handshake-failed"].detail()


def test_a_flight_that_ends_in_an_alert_is_told(tmp_path: Path) -> None:
    talk = said(587, *HELLOS13, (1, FLIGHT + ENCRYPTED_ALERT), end="rst")
    del talk.sent[-1]
    talk._segment(1, 17, b"")
    talk._segment(0, 17, b"")
    _, session, found = heard(tmp_path, talk)
    assert session.tls is not None
    assert (session.tls.handshake, session.tls.alert_sender) == ("failed", "server")
    assert "with an encrypted record of an alert's size" in found["tls-handshake-failed"].detail()
    talk = said(587, *HELLOS13, (1, FLIGHT), end="rst")
    del talk.sent[-1]
    talk._segment(1, 17, b"")
    talk._segment(0, 17, b"")
    assert "without a word" in heard(tmp_path, talk)[2]["tls-handshake-failed"].detail()


# -- however it is cut -----------------------------------------------------------------------------------------------------------


def stable(result: Result) -> object:
    """What is told of a connection, frames left out."""
    (session,) = result.sessions
    session_tls = session.tls
    if session_tls is not None:
        session_tls.fill()
    return (
        logins(result), session.transport, session.starttls, session.exposure, [(one.kind, one.offset) for one in session.anomalies or []], session.messages,
        session_tls and (session_tls.handshake, session_tls.failure, session_tls.failure_sender, session_tls.alert, session_tls.reason),
    )  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(PORTS), st.data())
def test_cuts_never_matter(tmp_path: Path, port: int, data: st.DataObject) -> None:
    words = [
        (0, HELLO), (0, REFUSED), (1, REFUSED), (1, CLOSE_NOTIFY), (1, FLIGHT), (0, ENCRYPTED_ALERT), (1, ENCRYPTED_ALERT),
        (1, REFUSAL[port]), (0, FAREWELL[port]), (0, REQUEST[port]), (1, GRANT[port]), (0, b"hello\r\n"), (1, b"what\r\n"),
        (0, b"\x16"), (0, b"U"), *HELLOS13, *LOGIN[port], (1, SLIPPED_IN[port]), (1, b"\x16"), (1, SLIPPED_IN[port] + HELLOS13[1][1]),
        (1, SLIPPED_IN[port] + REFUSED), (1, CLOSE_NOTIFY[:4]), (1, FLIGHT[:9]), (1, HELLOS13[1][1][:40]),
    ]  # fmt: skip
    pieces = data.draw(st.lists(st.sampled_from(words), max_size=8))
    pieces = data.draw(st.sampled_from([[], *[failed(port, how) for how in FAILURES]])) + pieces
    # What one side says in one go is one segment, or many.
    joined: list[Said] = []
    for sender, octets in pieces:
        if joined and joined[-1][0] == sender:
            joined[-1] = (sender, joined[-1][1] + octets)
        else:
            joined.append((sender, octets))
    whole = stable(run_frames(tmp_path, said(port, *joined).frames()))
    assert stable(run_frames(tmp_path, said(port, *joined, step=data.draw(st.integers(1, 7))).frames())) == whole


@pytest.mark.parametrize("begun", [b"\x15", b"\x16", b"\x16\x03", CLOSE_NOTIFY[:4], CLOSE_NOTIFY[:6], FLIGHT[:9]])
@pytest.mark.parametrize("port", PORTS)
def test_a_record_that_the_server_begins_before_the_clients_hello(port: int, begun: bytes, tmp_path: Path) -> None:
    login = b"".join(data for sender, data in LOGIN[port] if sender == 0)
    for rest in (
        [(0, HELLO)], [(0, HELLO), (1, REFUSED)], [(0, ENCRYPTED_ALERT)], [(0, ENCRYPTED_ALERT + HELLO)], [(0, ENCRYPTED_ALERT), (1, REFUSED)],
        [(0, ENCRYPTED_ALERT), HELLOS13[1]], [(0, REFUSED), (0, login)], [(0, login)],
        [(0, b"hello\r\n" + HELLO + login + ENCRYPTED_ALERT), (1, b"\x17\x03\x03\0")],
    ):  # fmt: skip
        whole = stable(run_frames(tmp_path, said(port, (1, begun), *rest).frames()))
        for step in (1, 2, 5):
            assert stable(run_frames(tmp_path, said(port, (1, begun), *rest, step=step).frames())) == whole, rest


@pytest.mark.parametrize("port", PORTS)
def test_a_loss_within_text_that_was_slipped_in_front_of_tls(port: int, tmp_path: Path) -> None:
    """Two octets are missing of the server's text behind its grant: TLS begins behind it all the same."""
    text = SLIPPED_IN[port]
    for before, behind in (
        (b"x" * 20 + text[:-3], b"\n" + HELLOS13[1][1]),
        (b"x" * 20 + text[:-3], b"\n" + lab.record(22, lab.message(2, text))),
        (b"", text[2:] + b"\x16"),
        (b"", text[2:] + b"\x80"),
    ):
        told = []
        for step in (0, 1):
            talk = said(port, *([(1, before)] if before else []), step=step)
            del talk.sent[-3:]  # the farewell
            talk.seq = [talk.seq[0] - 1, talk.seq[1] - 1 + 2]
            for start in range(0, len(behind), step or len(behind)):
                talk.server(behind[start : start + (step or len(behind))])
            result, session, _ = heard(tmp_path, talk.reset(1))
            told.append(stable(result))
            assert kinds(session)[0] == "starttls_response_injection"
        assert told[0] == told[1]


@pytest.mark.parametrize("port", PORTS)
def test_what_is_odd_behind_a_farewell_is_told_in_order(port: int, tmp_path: Path) -> None:
    login = b"".join(data for sender, data in LOGIN[port] if sender == 0)
    pieces = [*failed(port, "server's alert"), (0, FAREWELL[port]), (0, login + b"\x01hello\r\n" + login)]
    whole = stable(run_frames(tmp_path, said(port, *pieces).frames()))
    for step in (1, 5):
        assert stable(run_frames(tmp_path, said(port, *pieces, step=step).frames())) == whole


@pytest.mark.parametrize("port", PORTS)
def test_records_of_many_lines_behind_a_farewell_cost_no_more_than_without_it(port: int, tmp_path: Path) -> None:
    record = b"\x16\x03\x01\x40\0" + b"\n" * 60000
    spent = []
    for line in (b"", FAREWELL[port]):
        frames = said(port, (0, HELLO), (1, REFUSED), (0, line + record)).frames()
        times = []
        for _ in range(3):
            began = time.process_time()
            run_frames(tmp_path, frames)
            times.append(time.process_time() - began)
        spent.append(min(times))
    assert spent[1] < 15 * spent[0]


# -- in a store ------------------------------------------------------------------------------------------------------------------


def test_the_servers_words_are_kept_in_a_store(tmp_path: Path) -> None:
    _, session, _ = heard(tmp_path, said(110, *failed(110, "alert and words")))
    assert session.tls is not None
    session.tls.fill()
    again = SessionLoader({}).load(dump_session(session)[0])
    assert again.tls is not None
    assert again.tls.reason == session.tls.reason == "-ERR STLS failed: key: Permission denied"
    # What was stored before there was a place for them is read as well.
    _, (*rest, values) = session.tls.__reduce__()  # type: ignore[misc]
    older = SessionLoader({})._handshake(*rest, values[:-1])
    assert (older.handshake, older.reason) == ("failed", None)
