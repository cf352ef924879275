"""Which command a reply of SMTP answers, and what it does not, as packets through the whole pipeline."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.traffic import Talk, logins, run_frames
from support.verdicts import findings

from analyzer.pipeline import Result


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def heard(folder: Path, port: int, lines: str, *, missed: int = 0) -> Result:
    """What the pipeline makes of a dialogue of which the first ``missed`` frames were not captured."""
    return run_frames(folder, Talk(server_port=port).play(lines).close().frames()[missed:])


LATE = "From: kim@a.example\\r\\nSubject: hello\\r\\n\\r\\nhi\\r\\n."


@pytest.mark.parametrize(
    ("port", "lines", "missed", "said"),
    [
        # A reply of SMTP is no word of NNTP, wherever the capture begins ...
        (25, f"C: {LATE}\nS: 502 ESMTP command error\nC: QUIT\nS: 221 bye", 3, ("smtp", None)),
        (587, "S: 502 what\nS: 502 what", 3, ("smtp", None)),
        (24, "S: 502-what\nS: 502 now\nC: QUIT", 3, ("lmtp", None)),
        (25, "S: 502 nobody speaks to you", 0, ("smtp", None)),
        # ... unless a client of NNTP gets it; and other ports and words are told as ever.
        (25, "S: 502 what\nC: AUTHINFO USER kim\nS: 381\nC: AUTHINFO PASS Zulu7Tango\nS: 281", 3, ("unknown", "nntp")),
        (25, "S: 502 go away\nC: MODE READER\nS: 502 go away", 0, ("unknown", "nntp")),
        (25, "S: 200 news ready", 0, ("unknown", "nntp")),
        (25, "S: 201 news ready\nC: GROUP misc.test\nS: 411 none", 0, ("unknown", "nntp")),
        (587, "S: 480 who are you\nC: AUTHINFO USER kim\nS: 381", 3, ("unknown", "nntp")),
        (110, "S: 502 go away", 0, ("unknown", "nntp")),
        (25, "S: 502 what\nC: USER kim\nS: 331 who", 3, ("unknown", "ftp")),
    ],
)
def test_a_code_that_smtp_shares_names_no_stranger(
    tmp_path: Path, port: int, lines: str, missed: int, said: tuple[str, str | None]
) -> None:
    result = heard(tmp_path, port, lines, missed=missed)
    assert [(one.protocol, one.not_mail) for one in result.sessions] == [said]
    assert logins(result) == []
    made = Talk(server_port=port).play(lines).close()
    made.sent = made.sent[missed:]
    assert ("not-mail-on-mail-port" in {one.slug for one in findings(tmp_path, made)}) is (said[1] is not None)


SMTP = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n"
KIM = b64(b"\0kim\0Zulu7Tango")
LOGIN = f"AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {b64(b'kim')}\nS: 334 UGFzc3dvcmQ6\nC: {b64(b'Zulu7Tango')}"


@pytest.mark.parametrize("auth", [f"AUTH PLAIN {KIM}", f"AUTH PLAIN\nS: 334 \nC: {KIM}", LOGIN])
@pytest.mark.parametrize(
    ("rest", "outcome"),
    [
        # The login was not answered, what came behind it was.
        ("C: NOOP\nS: 250 ok\nC: QUIT\nS: 221 bye", "unknown"),
        ("C: RSET\nS: 250 ok", "unknown"),
        ("C: QUIT\nS: 221 bye", "unknown"),
        ("C: VRFY kim\nS: 252 who knows", "unknown"),
        # Nor do these codes answer one, whoever asks.
        ("S: 220 mx begins anew\nC: QUIT\nS: 221 bye", "unknown"),
        ("S: 221 bye", "unknown"),
        ("S: 421 busy", "unknown"),
        ("S: 354 go on", "unknown"),
        ("S: 050 asking\nS: 051 around\nS: 535 no", "rejected"),
        # These do.
        ("S: 050 asking\nS: 235 in", "accepted"),
        ("C: NOOP\nS: 235 in\nS: 250 ok", "accepted"),
        ("C: NOOP\nS: 535 no\nS: 250 ok", "rejected"),
        ("C: QUIT\nS: 235 in\nS: 221 bye", "accepted"),
        ("S: 250 in\nC: NOOP\nS: 250 ok", "accepted"),
    ],
)
def test_a_reply_to_another_command_answers_no_login(tmp_path: Path, auth: str, rest: str, outcome: str) -> None:
    result = heard(tmp_path, 587, f"{SMTP}C: {auth}\n{rest}")
    mechanism = "LOGIN" if "LOGIN" in auth else "PLAIN"
    assert logins(result) == [(mechanism, "kim", "Zulu7Tango", outcome)]
    assert result.sessions[0].auth_accepted == (outcome == "accepted")
    assert not any(one.kind == "malformed_reply" for one in result.sessions[0].anomalies or ())


def test_many_logins_in_one_breath_end(tmp_path: Path) -> None:
    made = Talk(server_port=587).play(SMTP)
    made.client(f"AUTH PLAIN {KIM}\r\n".encode() * 1000).play("S: 250 ok\nS: 250 ok")
    assert {one[3] for one in logins(run_frames(tmp_path, made.close().frames()))} == {"unknown"}
    made = Talk(server_port=25).play("S: 220 mx\nC: HELO pc\nS: 250 mx").client(b"DATA\r\n" * 9000)
    assert run_frames(tmp_path, made.play("S: 250 ok\nS: 250 ok").close().frames()).sessions[0].messages == 0


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("235 in", "503 you are in", "rejected"),
        ("250 in", "503 you are in", "rejected"),
        ("235 in", "535 no", "rejected"),
        ("535 no", "503 not now", "rejected"),
    ],
)
def test_who_is_in_is_not_let_in_again(tmp_path: Path, first: str, second: str, outcome: str) -> None:
    lines = f"{SMTP}C: AUTH PLAIN {KIM}\nS: {first}\nC: AUTH PLAIN {KIM}\nS: {second}\nC: QUIT\nS: 221 bye"
    assert logins(heard(tmp_path, 587, lines))[1][3] == outcome


def test_who_is_in_guesses_no_passwords(tmp_path: Path) -> None:
    again = "".join(f"C: AUTH PLAIN {b64(b'%skim%sZulu%d' % (bytes(1), bytes(1), n))}\nS: {{}}\n" for n in range(30))
    for second, guessed in (("503 you are in", False), ("535 no", True)):
        lines = f"{SMTP}C: AUTH PLAIN {KIM}\nS: 235 in\n" + again.format(*[second] * 30)
        found = {one.slug for one in findings(tmp_path, Talk(server_port=587).play(lines).close())}
        assert ("brute-force" in found) is guessed


LETTER = "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: k\\r\\n\\r\\nhi\\r\\n."


@pytest.mark.parametrize(
    ("rest", "accepted"),
    [
        ("C: QUIT\nS: 221 bye", None),
        ("S: 221 bye", None),
        ("C: QUIT", None),
        ("C: QUIT\nS: 250 taken\nS: 221 bye", True),
        ("C: QUIT\nS: 554 no\nS: 221 bye", False),
        ("S: 250 taken\nC: QUIT\nS: 221 bye", True),
        ("S: 421 busy", False),
    ],
)
def test_a_goodbye_is_no_word_about_a_message(tmp_path: Path, rest: str, accepted: bool | None) -> None:
    for port in (25, 24):
        begin = "S: 220 mx\nC: LHLO pc\nS: 250 mx\n" if port == 24 else "S: 220 mx\nC: EHLO pc\nS: 250 mx\n"
        (session,) = heard(tmp_path, port, f"{begin}{LETTER}\n{rest}").sessions
        (message,) = session.message_list or ()
        assert (message.complete, message.accepted) == (True, accepted)


def test_a_goodbye_behind_the_first_of_two_answers_of_lmtp(tmp_path: Path) -> None:
    two = LETTER.replace("C: DATA", "C: RCPT TO:<e@d.example>\nS: 250 ok\nC: DATA")
    for rest, accepted in (("S: 250 taken\nC: QUIT\nS: 221 bye", True), ("S: 550 no\nC: QUIT\nS: 221 bye", None)):
        (session,) = heard(tmp_path, 24, f"S: 220 mx\nC: LHLO pc\nS: 250 mx\n{two}\n{rest}").sessions
        (message,) = session.message_list or ()
        assert message.accepted is accepted


def test_data_that_nobody_answers(tmp_path: Path) -> None:
    before = LETTER.partition("S: 354")[0]
    result = heard(tmp_path, 25, f"S: 220 mx\nC: EHLO pc\nS: 250 mx\n{before}C: QUIT\nS: 221 bye")
    assert (result.sessions[0].messages, result.sessions[0].anomalies) == (0, None)
    # A letter that does not wait, to a server that says 250 where it should say 354.
    letter = LETTER.replace("S: 354 go\n", "").replace("hi\\r\\n.", "hi\\r\\n.\nS: 250 go\nS: 250 taken")
    result = heard(tmp_path, 25, f"S: 220 mx\nC: EHLO pc\nS: 250 mx\n{letter}\nC: QUIT\nS: 221 bye")
    assert [one.accepted for one in result.sessions[0].message_list or ()] == [True]


PIPED = "S: 220 mx\nC: EHLO pc\nS: 250 mx\nC: MAIL FROM:<a@b.example>\\r\\nRCPT TO:<c@d.example>\\r\\nDATA\n"
TEXT = "C: Subject: k\\r\\n\\r\\nPASS word\\r\\n.\n"


@pytest.mark.parametrize(
    ("lines", "accepted"),
    [
        (PIPED + "S: 500 one at a time\n" + TEXT, False),
        (PIPED + "S: 250 ok\nS: 550 no\n" + TEXT, False),
        (PIPED + "S: 250 ok\nS: 250 ok\n" + TEXT, None),
        (PIPED + "S: 250 ok\nS: 250 ok\nS: 354 go\n" + TEXT + "S: 250 taken", True),
        (PIPED + TEXT, None),
    ],
)
def test_a_letter_that_is_sent_though_its_sender_was_refused(tmp_path: Path, lines: str, accepted: bool | None) -> None:
    (session,) = heard(tmp_path, 25, lines).sessions
    (message,) = session.message_list or ()
    assert (message.mail_from, message.complete, message.accepted) == ("a@b.example", True, accepted)
    assert (session.exposure, session.credentials) == ("content", None)


def test_a_sender_refused_before_another_one_is_asked_for(tmp_path: Path) -> None:
    lines = (
        "S: 220 mx\nC: EHLO pc\nS: 250 mx\nC: MAIL FROM:<x@b.example>\\r\\nRSET\\r\\nMAIL FROM:<a@b.example>\\r\\nRCPT TO:<c@d.example>\n"
        "S: 550 no\nS: 250 ok\nS: 250 ok\nS: 250 ok\nC: DATA\nS: 354 go\n" + TEXT + "S: 250 taken\nC: QUIT\nS: 221 bye"
    )
    for text in (lines, lines.replace("RSET\\r\\n", "").replace("S: 550 no\nS: 250 ok\n", "S: 550 no\n")):
        (session,) = heard(tmp_path, 25, text).sessions
        assert [(one.mail_from, one.accepted) for one in session.message_list or ()] == [("a@b.example", True)]
