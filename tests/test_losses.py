"""What a lossy capture hides, as packets through the whole pipeline: what is missing is told as missing, and nothing is made up for it."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from support.traffic import START_NS, Frame, Talk, logins, run_frames
from support.verdicts import carry, findings, good_tls, slugs

from analyzer.flows.base import Flow
from analyzer.model import CLIENT, SERVER, Position
from analyzer.pipeline import Result
from analyzer.report.migration import migrate
from analyzer.report.servers import postures
from analyzer.sessions.builder import MAX_CAPABILITIES
from analyzer.sessions.dispatch import SessionStream, SessionStreamFactory
from analyzer.sessions.records import Session, SessionList


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def without(made: Talk, *lines: str) -> list[Frame]:
    """The frames of a dialogue, but for those that hold one of some words."""
    return [frame for frame in made.frames() if not any(line.encode() in frame[1] for line in lines)]


def read(folder: Path, port: int, lines: str, *lost: str) -> Result:
    return run_frames(folder, without(Talk(server_port=port).play(lines).close(), *lost))


PLAIN = b64(b"\0kim\0Zulu7Tango")
LISTING = (
    "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\nS: 250-PIPELINING\nS: 250-STARTTLS\nS: 250-AUTH PLAIN\nS: 250 SMTPUTF8\n"
)
LOGIN = f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\nC: QUIT\nS: 221 bye"
MAIL = "C: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\n"
TEXT = "C: DATA\nS: 354 go\nC: Subject: x\nC: \nC: .\nS: 250 queued\n"


@pytest.mark.parametrize("port", [80, 143])
def test_a_password_with_a_hole_is_not_glued_together(tmp_path: Path, port: int) -> None:
    made = Talk(server_port=port).play("S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready")
    made.client(b"a LOGIN kim Zulu").client(b"7Ta").client(b"ngo\r\n")
    made.play("S: a OK in\nC: b SELECT INBOX\nS: b OK done\nC: c LOGOUT\nS: * BYE\nS: c OK")
    whole = made.close().frames()
    assert logins(run_frames(tmp_path, whole)) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]
    result = run_frames(tmp_path, [frame for frame in whole if b"7Ta" not in frame[1] or b"LOGIN" in frame[1]])
    assert [session.protocol for session in result.sessions] == ["imap"]
    assert result.sessions[0].gap_bytes == 3
    assert "Zulungo" not in str(logins(result))


@pytest.mark.parametrize(
    ("lost", "state"), [("PIPELINING", "offered"), ("STARTTLS", "unseen"), ("AUTH PLAIN\r", "offered")]
)
def test_a_listing_with_a_line_missing_proves_no_absence(tmp_path: Path, lost: str, state: str) -> None:
    result = read(tmp_path, 587, LISTING + LOGIN, lost)
    assert [session.starttls for session in result.sessions] == [state]


def test_a_listing_that_is_whole_does(tmp_path: Path) -> None:
    lines = LISTING.replace("S: 250-STARTTLS\n", "") + LOGIN
    # What is missing is elsewhere.
    assert [session.starttls for session in read(tmp_path, 587, lines, "221 bye").sessions] == ["not_offered"]
    made = Talk(server_port=587).play(LISTING + LOGIN).close()
    assert "starttls-not-offered" not in slugs(findings(tmp_path, without(made, "STARTTLS")))
    made = Talk(server_port=587).play(lines).close()
    assert "starttls-not-offered" in slugs(findings(tmp_path, made.frames()))


def test_a_listing_of_managesieve_with_a_line_missing(tmp_path: Path) -> None:
    lines = (
        f'S: "IMPLEMENTATION" "x"\nS: "STARTTLS"\nS: "SASL" "PLAIN"\nS: OK\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK'
    )
    assert [one.starttls for one in read(tmp_path, 4190, lines, "STARTTLS").sessions] == ["unseen"]
    whole = lines.replace('S: "STARTTLS"\n', "")
    assert [one.starttls for one in read(tmp_path, 4190, whole).sessions] == ["not_offered"]


UPGRADES = {
    587: LISTING + "C: STARTTLS\nS: 220 go",
    110: "S: +OK mx\nC: CAPA\nS: +OK\nS: STLS\nS: SASL PLAIN\nS: UIDL\nS: .\nC: STLS\nS: +OK go",
    4190: 'S: "IMPLEMENTATION" "x"\nS: "SASL" "PLAIN"\nS: "STARTTLS"\nS: OK "hi"\nC: STARTTLS\nS: OK "go"',
}


@pytest.mark.parametrize("port", UPGRADES)
def test_a_listing_with_a_line_missing_forbids_no_passwords(tmp_path: Path, port: int) -> None:
    lines = UPGRADES[port]
    password = {587: "AUTH PLAIN", 110: "SASL PLAIN", 4190: '"SASL"'}[port]
    whole = carry(Talk(server_port=port).play(lines), good_tls()).close()
    talks = {
        "whole": whole.frames(),
        "torn": without(whole, password),
        "without": carry(Talk(server_port=port).play(lines.replace("PLAIN", "SCRAM-SHA-256")), good_tls()).close().frames(),
        "elsewhere": without(carry(Talk(server_port=port).play(lines.replace(password, "NOOP")), good_tls()).close(), " go"),
    }  # fmt: skip
    seen = {name: postures(run_frames(tmp_path, frames).sessions, None)[0] for name, frames in talks.items()}
    assert {name: one.plaintext_auth for name, one in seen.items()} == {
        "whole": True, "torn": None, "without": False, "elsewhere": False,
    }  # fmt: skip
    said = {name: "takes no passwords before TLS" in one.grade()[1] for name, one in seen.items()}
    assert said == {"whole": False, "torn": False, "without": True, "elsewhere": True}


SIEVE = 'S: "IMPLEMENTATION" "x"\nS: "SASL" "PLAIN"\nS: "STARTTLS"\nS: OK "hi"\n'
REFUSALS = {
    587: (LISTING + f"C: STARTTLS\nS: 502 unknown\n{LOGIN}", "250-STARTTLS"),
    110: ("S: +OK mx\nC: CAPA\nS: +OK\nS: STLS forone\nS: SASL PLAIN\nS: .\nC: STLS\nS: -ERR no\n" + f"C: AUTH PLAIN {PLAIN}\nS: +OK in", "forone"),
    4190: (SIEVE + f'C: STARTTLS\nS: NO "not now"\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK "in"', '"STARTTLS"'),
}  # fmt: skip


@pytest.mark.parametrize("port", REFUSALS)
def test_a_refusal_behind_a_listing_with_a_line_missing(tmp_path: Path, port: int) -> None:
    lines, offer = REFUSALS[port]

    def said(lines: str, *lost: str) -> tuple[set[str], str, list[str], object]:
        found = slugs(findings(tmp_path, without(Talk(server_port=port).play(lines).close(), *lost)))
        sessions = read(tmp_path, port, lines, *lost).sessions
        servers = postures(sessions, None)
        setting = migrate(sessions, servers).rows[0].port.setting
        reasons = [reason for reason in servers[0].grade()[1] if "STARTTLS" in reason]
        known = None if setting is None else setting.port
        rules = {"starttls-refused", "starttls-stripped", "starttls-not-offered", "starttls-not-used"}
        return (found & rules, servers[0].starttls_offered(), reasons, known)

    enter = {587: 465, 110: 995, 4190: 4190}[port]
    assert said(lines) == ({"starttls-refused"}, "always", ["offers STARTTLS and refuses it"], enter)
    assert said(lines, offer) == ({"starttls-refused"}, "unseen", ["refuses STARTTLS"], enter)
    # A list that is whole, without the offer: here the absence is proven.
    whole = "\n".join(line for line in lines.split("\n") if offer not in line or line.startswith("C:"))
    rules = {"starttls-not-offered"} | ({"starttls-stripped", "starttls-refused"} if port == 4190 else set())
    assert said(whole) == (rules, "never", ["refuses STARTTLS"], None if port == 4190 else enter)


def test_a_request_behind_a_listing_with_a_line_missing(tmp_path: Path) -> None:
    lines = LISTING + "C: STARTTLS"
    assert [one.starttls_offered() for one in postures(read(tmp_path, 587, lines).sessions, None)] == ["always"]
    torn = read(tmp_path, 587, lines, "250-STARTTLS").sessions
    assert ([one.starttls for one in torn], postures(torn, None)[0].starttls_offered()) == (["requested"], "unseen")
    never = read(tmp_path, 587, lines.replace("S: 250-STARTTLS\n", "")).sessions
    assert postures(never, None)[0].starttls_offered() == "never"


def test_a_listing_longer_than_what_is_kept(tmp_path: Path) -> None:
    def said(words: int, last: str) -> tuple[str, str]:
        many = "".join(f"S: 250-WORD{number}\n" for number in range(words))
        sessions = read(
            tmp_path, 587, f"S: 220 mx\nC: EHLO pc\nS: 250-mx\n{many}S: 250 {last}\nC: QUIT\nS: 221 bye"
        ).sessions
        return sessions[0].starttls, postures(sessions, None)[0].starttls_offered()

    assert said(MAX_CAPABILITIES - 2, "STARTTLS") == ("offered", "always")
    assert said(MAX_CAPABILITIES - 2, "DSN") == ("not_offered", "never")
    assert said(MAX_CAPABILITIES, "STARTTLS") == ("offered", "unseen")


@pytest.mark.parametrize("asked", ["", "C: STARTTLS\nS: 454 no\n"])
def test_a_listing_that_began_before_the_capture(tmp_path: Path, asked: str) -> None:
    listing = "S: 220 mx.example.org\nC: EHLO pc\n" + LISTING.partition("EHLO pc\n")[2].replace(
        "PLAIN", "SCRAM-SHA-256 PLAIN"
    )

    def said(lines: str, begun: bool) -> set[str]:
        before = [
            Talk(client_port=40000 + at, server_port=587, start_ns=START_NS + at * 10**9).play(listing + LOGIN).close()
            for at in range(4)
        ]
        last = Talk(client_port=40009, server_port=587, start_ns=START_NS + 60 * 10**9, handshake=begun)
        found = findings(tmp_path, *before, last.play(lines + asked + LOGIN).close())
        return slugs(one for one in found if one.session is not None and one.session.client_port == 40009)

    lost = {"starttls-not-offered", "starttls-offer-vanished", "sasl-downgrade", "capability-suppressed"}
    assert not said("S: 250-DSN\nS: 250 8BITMIME\n", begun=False) & lost
    assert said("S: 220 mx.example.org\nC: EHLO pc\nS: 250-mx\nS: 250 SMTPUTF8\n", begun=True) >= lost


def test_a_part_of_a_listing_invites_all_the_same(tmp_path: Path) -> None:
    made = carry(Talk(server_port=587).play(UPGRADES[587]), good_tls()).close()
    assert postures(run_frames(tmp_path, without(made, "SMTPUTF8")).sessions, None)[0].plaintext_auth is True


def test_records_stored_before_lists_were_known_to_be_whole(tmp_path: Path) -> None:
    def older(lines: str, *lost: str) -> Session:
        one = read(tmp_path, 587, lines, *lost).sessions[0]
        restore, (numbers, texts, optional, flags, parts) = one.__reduce__()  # type: ignore[misc] # as records are made
        assert restore(numbers, texts, optional, flags, parts).capabilities_whole == one.capabilities_whole  # type: ignore[operator]
        found: Session = restore(numbers, texts, optional, flags[:3], parts)  # type: ignore[operator, index]
        assert found.__reduce__()[1][:3] == one.__reduce__()[1][:3]  # type: ignore[index]
        return found

    assert older(LISTING + LOGIN).capabilities_whole
    assert not older(LISTING + LOGIN, "PIPELINING").capabilities_whole
    assert not older(LISTING + LOGIN, "STARTTLS").capabilities_whole
    assert older(LISTING.replace("S: 250-STARTTLS\n", "") + LOGIN, "221 bye").capabilities_whole
    assert not older("S: 220 mx\nC: HELO pc\nS: 250 mx\nC: QUIT\nS: 221 bye").capabilities_whole


def test_a_literal_with_a_hole_is_no_empty_password(tmp_path: Path) -> None:
    made = Talk(server_port=4190).play('S: "SASL" "LOGIN"\nS: OK\nC: AUTHENTICATE "LOGIN" "a2lt"\nS: "UGFzc3dvcmQ6"')
    made.client(b"{16+}\r\nWnVs").client(b"dTdUY").client(b"W5nbw==\r\n")
    frames = made.play("S: OK").close().frames()
    assert logins(run_frames(tmp_path, frames)) == [("LOGIN", "kim", "Zulu7Tango", "accepted")]
    frames = [frame for frame in frames if b"dTdUY" not in frame[1]]
    assert logins(run_frames(tmp_path, frames)) == [("LOGIN", "kim", None, "accepted")]


def test_a_challenge_as_a_literal_behind_a_gap(tmp_path: Path) -> None:
    challenge = b64(b"<17.4@mx>")
    response = b64(b"kim 0123456789abcdef0123456789abcdef")
    made = Talk(server_port=4190).play('S: "SASL" "CRAM-MD5"\nS: OK "ready"\nC: AUTHENTICATE "CRAM-MD5"')
    made.server(f"{{{len(challenge)}}}\r\n{challenge}\r\n".encode())
    frames = without(made.play(f'C: "{response}"\nS: OK').close(), "SASL", "ready")
    assert [login[:2] for login in logins(run_frames(tmp_path, frames))] == [("CRAM-MD5", "kim")]


def test_only_235_lets_in_where_replies_are_missing(tmp_path: Path) -> None:
    lines = LISTING + f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\nC: NOOP\nS: 250 fine\nC: QUIT\nS: 221 bye"
    assert logins(read(tmp_path, 587, lines, "235 ok")) == [("PLAIN", "kim", "Zulu7Tango", "unknown")]
    assert logins(read(tmp_path, 587, lines, "250 fine")) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize(("auth", "answer"), [(f"AUTH PLAIN {PLAIN}", ""), ("AUTH PLAIN", f"S: 334 \nC: {PLAIN}\n")])
def test_what_was_missing_long_before_hides_no_answer(tmp_path: Path, auth: str, answer: str) -> None:
    listing = LISTING.partition("\n")[2]
    lines = f"S: 220 lostgreet\nC: NOOP\nS: 250 fine\n{listing}C: {auth}\n{answer}S: 250 come in\nC: QUIT\nS: 221 bye"
    said = ("PLAIN", "kim", "Zulu7Tango")
    for lost in ("lostgreet", "NOOP", "250 fine"):
        assert logins(read(tmp_path, 587, lines, lost)) == [(*said, "accepted")]
    # Met in its middle, and the list of what is offered tells which answer is which.
    made = Talk(server_port=587, handshake=False).play(lines.partition("fine\n")[2]).close()
    assert logins(run_frames(tmp_path, made.frames())) == [(*said, "accepted")]
    # Behind the list, another command may have been answered.
    made = Talk(server_port=587).play(lines.replace(f"C: {auth}", f"C: VRFY gone\nS: 250 gone\nC: {auth}")).close()
    outcome = "accepted" if answer else "unknown"
    assert logins(run_frames(tmp_path, without(made, "250 gone"))) == [(*said, outcome)]


@pytest.mark.parametrize("between", ["", "x\r\n"])
def test_logins_in_a_chunk_whose_command_is_missing(tmp_path: Path, between: str) -> None:
    chunk = f"AUTH PLAIN {PLAIN}\r\n{between}AUTH PLAIN {PLAIN}\r\n".encode()
    made = Talk(server_port=587).play(
        "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 CHUNKING\nC: MAIL FROM:<a@b>\nS: 250 ok"
    )
    made.play("C: RCPT TO:<c@d>\nS: 250 ok").client(b"BDAT %d LAST\r\n" % len(chunk)).client(chunk)
    frames = without(made.play("S: 250 queued\nC: QUIT\nS: 221 bye").close(), "BDAT")
    assert logins(run_frames(tmp_path, frames)) == []


def test_ftp_met_in_its_middle_is_no_pop3(tmp_path: Path) -> None:
    lines = "S: 220 ftp ready\nC: USER kim\nS: 331 password\nC: PASS Zulu7Tango\nS: 230 in\nC: SYST\nS: 215 UNIX"
    frames = Talk(server_port=110).play(lines).close().frames()[4:]
    result = run_frames(tmp_path, frames)
    assert [session.not_mail for session in result.sessions] == ["ftp"]
    assert logins(result) == []
    # The same where the beginning of the connection was captured, but for the greeting.
    assert logins(read(tmp_path, 110, lines, "ftp ready")) == []
    lines = "S: +OK mx\nC: USER kim\nS: +OK 331\nC: PASS Zulu7Tango\nS: +OK in"
    frames = Talk(server_port=110).play(lines).close().frames()[4:]
    assert logins(run_frames(tmp_path, frames)) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("FEAT", "ftp"),
        ("GET / HTTP/1.1", "http"),
        ("stats", "memcached"),
        ("MODE READER", "nntp"),
        ("USER kim 0 * :kim", "irc"),
    ],
)
@pytest.mark.parametrize("lost", ["lostgreet", "nothing"])
def test_how_a_first_line_is_cut_decides_nothing(tmp_path: Path, first: str, name: str, lost: str) -> None:
    told = set()
    for size in (1, 2, 5, 100):
        made = Talk(server_port=110).play("S: +OK lostgreet" if name == "irc" or lost != "nothing" else "S: 200 hello")
        line = f"{first}\r\n".encode()
        for at in range(0, len(line), size):
            made.client(line[at : at + size])
        result = run_frames(tmp_path, without(made.play("S: 200 x\nC: QUIT").close(), lost))
        told.add((result.sessions[0].protocol, result.sessions[0].not_mail, str(logins(result))))
    assert len(told) == 1
    if lost == "lostgreet":
        assert told == {("unknown", name, "[]")}


def test_a_verb_in_two_segments_behind_a_lost_greeting(tmp_path: Path) -> None:
    made = Talk(server_port=110).play("S: +OK mx ready").client(b"CAP").client(b"A\r\n")
    made.play("S: +OK\nS: USER\nS: .\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in")
    result = run_frames(tmp_path, without(made.close(), "mx ready"))
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize(("lost", "deleted"), [("+OK forgotten", False), ("+OK noop", True)])
def test_marks_are_taken_back_by_a_reset_whose_answer_is_lost(tmp_path: Path, lost: str, deleted: bool) -> None:
    lines = (
        "S: +OK mx\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: RETR 1\nS: +OK 12 octets\nS: Subject: x\nS: \nS: .\n"
        "C: DELE 1\nS: +OK marked\n"
    )
    lines += "C: RSET\nS: +OK forgotten\n" if not deleted else "C: NOOP\nS: +OK noop\n"
    session = read(tmp_path, 110, lines + "C: QUIT\nS: +OK bye", lost).sessions[0]
    assert [message.deleted for message in session.message_list or []] == [deleted]


def test_an_answer_that_ends_a_listing_whose_end_is_missing(tmp_path: Path) -> None:
    made = Talk(server_port=110).play("S: +OK mx\nC: CAPA\nS: +OK\nS: SASL PLAIN").server(b".\r\n")
    made.play(f"C: AUTH PLAIN\nS: + \nC: {PLAIN}\nS: -ERR no\nC: QUIT\nS: +OK bye").close()
    frames = [
        frame
        for frame in made.frames()
        if frame[1][-4:] not in (b"\x00\x00.\r", b"\n.\r\n") and frame[1][54:] != b".\r\n"
    ]
    assert len(frames) == len(made.frames()) - 1
    assert logins(run_frames(tmp_path, frames)) == [("PLAIN", "kim", "Zulu7Tango", "rejected")]


def test_a_listing_of_pop3_that_is_cut_tells_what_it_has_offered(tmp_path: Path) -> None:
    lines = "S: +OK mx\nC: CAPA\nS: +OK\nS: STLS\nS: UIDL\nS: .\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in"
    assert [session.starttls for session in read(tmp_path, 110, lines, "UIDL").sessions] == ["offered"]
    assert [session.starttls for session in read(tmp_path, 110, lines, "STLS").sessions] == ["unseen"]


def test_a_login_of_managesieve_behind_a_gap(tmp_path: Path) -> None:
    lines = 'S: "SASL" "LOGIN"\nS: OK\nC: NOOP\nS: OK "noop"\nC: AUTHENTICATE "LOGIN" "a2lt"\nS: "UGFzc3dvcmQ6"\nC: "WnVsdTdUYW5nbw=="\nS: OK'
    assert logins(read(tmp_path, 4190, lines, "noop")) == [("LOGIN", "kim", "Zulu7Tango", "accepted")]
    lines = f'S: "SASL" "PLAIN"\nS: OK "hello"\nC: CAPABILITY\nS: "SASL" "PLAIN"\nS: OK\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK'
    result = read(tmp_path, 4190, lines, "hello")
    assert (logins(result), result.sessions[0].anomalies) == ([("PLAIN", "kim", "Zulu7Tango", "accepted")], None)


@pytest.mark.parametrize("service", ["imaps", None])
def test_gaps_do_not_pile_up_before_the_protocol_is_known(service: str | None) -> None:
    stream = SessionStream(SessionStreamFactory(SessionList(), {}), Flow(), service)
    stream.receive_data(SERVER, b"220 m", Position(1, 1, 0))
    for frame in range(2, 100):
        for sender in (CLIENT, SERVER):
            stream.receive_gap(sender, 1000, Position(frame, frame, 1000 * frame))
    waiting = stream._waiting
    assert waiting is not None
    assert sorted(piece.gap for piece in waiting) == [0, 98000, 98000]


@pytest.mark.parametrize("lost", ["552 no", "nothing"])
def test_a_refusal_of_a_chunk_that_is_lost(tmp_path: Path, lost: str) -> None:
    lines = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 CHUNKING\n" + MAIL + "C: BDAT 30\n"
    made = Talk(server_port=25).play(lines).client(b"Subject: x\r\n\r\nthe beginning").play("S: 250 got 30")
    made.play("C: BDAT 100000 LAST\nS: 552 no\nC: RSET\nS: 250 ok\n" + MAIL + TEXT + "C: QUIT\nS: 221 bye").close()
    result = run_frames(tmp_path, without(made, lost))
    # What had come of the first one was readable.
    assert [(one.size, one.complete) for one in result.sessions[0].message_list or []] == [(30, False), (14, True)]


def test_a_chunk_captured_behind_its_answer(tmp_path: Path) -> None:
    chunk = f"AUTH PLAIN {PLAIN}\r\n".encode()
    lines = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 CHUNKING\n" + MAIL
    made = Talk(server_port=25).play(lines + f"C: BDAT {len(chunk)} LAST\nS: 250 queued").client(chunk)
    result = run_frames(tmp_path, made.play("C: QUIT\nS: 221 bye").close().frames())
    assert (logins(result), result.sessions[0].messages) == ([], 1)


def test_what_is_lost_before_a_question_leaves_its_answer_whole(tmp_path: Path) -> None:
    lines = "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN\n" + LOGIN
    assert [session.starttls for session in read(tmp_path, 587, lines, "220 mx").sessions] == ["not_offered"]


@pytest.mark.parametrize("login", ["PASS Zulu7Tango", "APOP kim 0123456789abcdef0123456789abcdef"])
def test_a_login_that_does_not_wait_for_the_answer_to_what_is_lost(tmp_path: Path, login: str) -> None:
    told = ("USER/PASS", None, "Zulu7Tango") if login[0] == "P" else ("APOP", "kim", login[9:])
    begun = "S: +OK mx <1.2@mx>\nC: USER lostname\n"
    # The first answer may be to the line that is lost, and the second to another one.
    lines = begun + f"C: {login}\nS: +OK so far\nS: -ERR no\nC: QUIT\nS: +OK bye"
    assert logins(read(tmp_path, 110, lines, "lostname")) == [(*told, "unknown")]
    # What waited, or comes behind an answer, is answered by what comes next.
    lines = begun + f"S: +OK so far\nC: {login}\nS: -ERR no\nC: QUIT\nS: +OK bye"
    assert logins(read(tmp_path, 110, lines, "lostname")) == [(*told, "rejected")]
    assert logins(read(tmp_path, 110, lines, "lostname", "so far")) == [(*told, "rejected")]
    lines = begun + f"C: CAPA\nS: +OK\nS: -ERR what\nC: {login}\nS: +OK in\nC: QUIT\nS: +OK bye"
    assert logins(read(tmp_path, 110, lines, "lostname")) == [(*told, "accepted")]


def test_a_bare_challenge_behind_a_lost_answer(tmp_path: Path) -> None:
    lines = f"S: +OK mx\nC: AUTH PLAIN {PLAIN}\nS: -ERR lost\nC: AUTH PLAIN\nS: +\nC: {PLAIN}\nS: -ERR no\nC: USER kim\nS: +OK"
    said = ("PLAIN", "kim", "Zulu7Tango")
    assert logins(read(tmp_path, 110, lines, "-ERR lost"))[:2] == [(*said, "unknown"), (*said, "rejected")]


@pytest.mark.parametrize("missed", [0, 3, 6])
def test_a_listing_that_a_capture_begins_with_is_the_answer_to_its_question(tmp_path: Path, missed: int) -> None:
    listing = 'S: "IMPLEMENTATION" "x"\nS: "SASL" "PLAIN LOGIN"\nS: OK\n'
    lines = f'{listing}C: CAPABILITY\n{listing}C: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: NO "no"\nC: NOOP\nS: OK\nC: LOGOUT\nS: OK'
    frames = Talk(server_port=4190).play(lines).close().frames()
    result = run_frames(tmp_path, frames[missed:])
    assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "rejected")]
    # A greeting that nobody asked for, in a capture that begins with it.
    result = run_frames(tmp_path, Talk(server_port=4190, handshake=False).play(lines).close().frames())
    assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "rejected")]
    assert result.sessions[0].server_banner == "x"


def test_a_capture_that_begins_within_a_command_of_pop3(tmp_path: Path) -> None:
    rest = "C: PASS Zulu7Tango\nS: +OK so far\nS: -ERR no\nC: QUIT\nS: +OK bye"
    made = Talk(server_port=110, handshake=False).client(b"m\r\n").play(rest).close()
    assert logins(run_frames(tmp_path, made.frames())) == [("USER/PASS", None, "Zulu7Tango", "rejected")]
    # What no server knows is answered by no yes, where the line is whole.
    made = Talk(server_port=110).play("S: +OK mx").client(b"m\r\n").play(rest).close()
    assert logins(run_frames(tmp_path, made.frames())) == [("USER/PASS", None, "Zulu7Tango", "accepted")]


@pytest.mark.parametrize("answer", ["OK taken", "NO full"])
@pytest.mark.parametrize("lost", ["n OK noop", "+ goahead", "nothing"])
def test_an_appended_message_behind_a_lost_answer(tmp_path: Path, lost: str, answer: str) -> None:
    letter = b"Subject: x\r\n\r\nb LOGIN trap trap\r\n+ x\r\n"
    made = Talk(server_port=143).play("S: * OK mx\nC: a LOGIN kim Zulu7Tango\nS: a OK in\nC: n NOOP\nS: n OK noop")
    made.client(b"c APPEND Sent {%d}\r\n" % len(letter)).play("S: + goahead").client(letter + b"\r\n")
    made.play(f"S: c {answer}\nC: d NOOP\nS: d OK\nC: e LOGOUT\nS: * BYE\nS: e OK")
    result = run_frames(tmp_path, without(made.close(), lost))
    assert logins(result) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]
    messages = result.sessions[0].message_list or []
    assert [(one.size, one.complete, one.accepted) for one in messages] == [(len(letter), True, answer[0] == "O")]


def appended(tag: str, answer: str, begun: str = "C: a LOGIN kim Zulu7Tango\nS: a OK in\n") -> Talk:
    """A letter in two segments that holds logins, each of them with a tag that is, or will be, a command's."""
    trap = f"Subject: x\r\n\r\n{tag} LOGIN trap trap\r\n{tag} AUTHENTICATE PLAIN AHRyYXAAdHJhcA==\r\n".encode()
    made = Talk(server_port=143).play("S: * OK mx\n" + begun + "C: n NOOP\nS: n OK noop")
    made.client(b"c APPEND Sent {%d}\r\n" % len(trap)).play("S: + goahead").client(trap[:14]).client(
        trap[14:] + b"\r\n"
    )
    return made.play(f"S: c {answer}\nC: d NOOP\nS: d OK\nC: e LOGOUT\nS: * BYE\nS: e OK").close()


@pytest.mark.parametrize("answer", ["OK taken", "NO full"])
@pytest.mark.parametrize("tag", ["a", "b", "c", "d", "e"])
def test_an_appended_message_whose_command_is_lost(tmp_path: Path, tag: str, answer: str) -> None:
    made = appended(tag, answer)
    lost = ["c APPEND", "n NOOP", "a OK in", "n OK noop", "goahead", "Subject: x"]
    for count in (1, 2, 3):
        for more in itertools.combinations(lost[1:], count - 1):
            found = logins(run_frames(tmp_path, without(made, "c APPEND", *more)))
            assert found in ([("LOGIN-CMD", "kim", "Zulu7Tango", outcome)] for outcome in ("accepted", "unknown")), more
    # Where nothing shows that somebody is in: no client has a blank line between two commands.
    assert logins(run_frames(tmp_path, without(appended(tag, answer, ""), "c APPEND"))) == []


def test_an_appended_message_whose_command_is_lost_and_whose_server_was_not_captured(tmp_path: Path) -> None:
    made = appended("b", "OK taken")
    half = [frame for frame in made.frames() if frame[1][34:36] != b"\0\x8f"]
    for lost in ([], ["n NOOP"], ["Subject: x"], ["d NOOP"]):
        frames = [frame for frame in half if not any(word.encode() in frame[1] for word in ["c APPEND", *lost])]
        assert logins(run_frames(tmp_path, frames)) == [("LOGIN-CMD", "kim", "Zulu7Tango", "unknown")]


@pytest.mark.parametrize("login", ["LOGIN kim Zulu7Tango", f"AUTHENTICATE PLAIN {PLAIN}"])
def test_a_login_behind_a_loss_of_who_is_not_in(tmp_path: Path, login: str) -> None:
    mechanism = "PLAIN" if "PLAIN" in login else "LOGIN-CMD"
    said = (mechanism, "kim", "Zulu7Tango")
    refused = f"S: * OK mx\nC: a {login}\nS: a NO no\nC: n NOOP\nS: n OK noop\n"
    for answer, outcome in (("OK in", "accepted"), ("NO no", "rejected")):
        lines = refused + f"C: b {login}\nS: b {answer}\nC: e LOGOUT\nS: * BYE\nS: e OK"
        for lost in ("n NOOP", "n OK noop", "nothing"):
            assert logins(read(tmp_path, 143, lines, lost)) == [(*said, "rejected"), (*said, outcome)]
    # Nor is the login itself answered, nor its literals.
    lines = (
        "S: * OK mx\nC: n NOOP\nS: n OK noop\n"
        f"C: b {login}\nS: b OK in\nC: d NOOP\nS: d OK\nC: e LOGOUT\nS: * BYE\nS: e OK"
    )
    words = "C: b LOGIN {3}\nS: + name\nC: kim {10}\nS: + secret\nC: Zulu7Tango"
    for literals in (lines, lines.replace(f"C: b {login}", words)):
        for more in ([], ["+ name"], ["+ secret"]):
            found = logins(read(tmp_path, 143, literals, "n NOOP", "b OK in", *more))
            assert [one[1:] for one in found] == [("kim", "Zulu7Tango", "unknown")]
    # The rest of a command that was cut off, and the answer to a command that is missing, stand before it.
    made = Talk(server_port=143).play("S: * OK mx\nC: n NOOP").client(b"l NO").client(b"OP lost\r\n")
    made.play(f"S: n OK\nS: l OK\nC: b {login}\nS: b OK in\nC: e LOGOUT\nS: * BYE\nS: e OK")
    frames = [frame for frame in made.close().frames() if not frame[1].endswith(b"l NO")]
    assert logins(run_frames(tmp_path, frames)) == [(*said, "accepted")]


@pytest.mark.parametrize("login", ["LOGIN kim {}", "AUTHENTICATE PLAIN {}"])
def test_a_login_behind_a_loss_of_who_may_have_been_refused(tmp_path: Path, login: str) -> None:
    mechanism = "PLAIN" if "PLAIN" in login else "LOGIN-CMD"
    words = ["Wrong5Word", "Zulu7Tango"]
    first, second = [login.format(b64(f"\0kim\0{word}".encode()) if "PLAIN" in login else word) for word in words]
    lines = (
        f"S: * OK mx\nC: a {first}\nS: a NO no\nC: n NOOP\nS: n OK noop\n"
        f"C: b {second}\nS: b OK in\nC: e LOGOUT\nS: * BYE\nS: e OK"
    )
    for lost in (["a NO no", "n NOOP"], ["a NO no", "n NOOP", "n OK noop"]):
        found = logins(read(tmp_path, 143, lines, *lost))
        assert found == [(mechanism, "kim", words[0], "unknown"), (mechanism, "kim", words[1], "accepted")]
    # Nobody knows what a server has said that was not captured.
    frames = without(Talk(server_port=143).play(lines).close(), "n NOOP")
    found = logins(run_frames(tmp_path, [frame for frame in frames if frame[1][34:36] != b"\0\x8f"]))
    assert found == [(mechanism, "kim", word, "unknown") for word in words]


def test_a_literal_that_was_refused_behind_a_lost_answer(tmp_path: Path) -> None:
    lines = "S: * OK mx\nC: n NOOP\nS: n OK noop\nC: a LOGIN {3}\nS: a NO no\nC: b LOGIN kim Zulu7Tango\nS: b OK in"
    assert logins(read(tmp_path, 143, lines, "n OK noop")) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]


# -- what is not lost, and was misread


def test_two_letters_of_a_client_whose_server_was_not_captured(tmp_path: Path) -> None:
    letter = f"C: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\nC: Subject: x\nC: \nC: AUTH PLAIN {PLAIN}\nC: STARTTLS\nC: .\n"
    made = Talk(server_port=25).play("C: EHLO pc\n" + letter * 3 + "C: QUIT").close()
    half = [frame for frame in made.frames() if frame[1][34:36] != b"\x00\x19"]
    result = run_frames(tmp_path, half)
    assert logins(result) == []
    assert [(session.messages, session.starttls) for session in result.sessions] == [(3, "unseen")]


@pytest.mark.parametrize(
    ("answers", "accepted"),
    [("S: 250 a\nS: 550 b\nS: 250 queued", True), ("S: 550 a\nS: 550 b\nS: 550 no", False)],
)
def test_a_reply_for_each_recipient_before_the_one_that_counts(tmp_path: Path, answers: str, accepted: bool) -> None:
    lines = (
        "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 PRDR\nC: MAIL FROM:<a@b> PRDR\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\n"
        "C: RCPT TO:<e@f>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\nC: \nC: .\nS: 353 content analysis has started\n"
    )
    session = read(tmp_path, 25, lines + answers + "\nC: QUIT\nS: 221 bye").sessions[0]
    assert session.anomalies is None
    assert [message.accepted for message in session.message_list or []] == [accepted]


RECIPIENTS = (
    "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 PRDR\nC: MAIL FROM:<a@b> PRDR\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\n"
    "C: RCPT TO:<e@f>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\nC: \nC: .\nS: 353 PRDR content analysis beginning\n"
)


@pytest.mark.parametrize(
    ("answers", "accepted"),
    [
        ("S: 550 PRDR R=<c@d> refusal\nS: 250 PRDR R=<e@f> acceptance\nS: 250 id=1 message accepted for some recipients", True),
        ("S: 250 PRDR R=<c@d> acceptance\nS: 250 PRDR R=<e@f> acceptance\nS: 550 spam", False),
        ("S: 250 PRDR R=<c@d> acceptance\nS: 250 PRDR R=<e@f> acceptance\nS: 250 lost\nC: NOOP\nS: 550 no", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lost", ["353 PRDR", "R=<c@d>"])
def test_answers_for_single_recipients_whose_beginning_is_missing(
    tmp_path: Path, answers: str, accepted: bool | None, lost: str
) -> None:
    (session,) = read(tmp_path, 25, RECIPIENTS + answers + "\nC: QUIT\nS: 221 bye", lost, "250 lost").sessions
    assert [one.accepted for one in session.message_list or []] == [accepted]


@pytest.mark.parametrize(("answer", "accepted"), [("250 id=1 for PRDR R=<", True), ("550 PRDR, but no", False)])
def test_an_answer_to_the_message_as_a_whole(tmp_path: Path, answer: str, accepted: bool) -> None:
    lines = RECIPIENTS.rpartition("S: 353")[0] + f"S: {answer}\nC: NOOP\nS: 250 fine\nC: QUIT\nS: 221 bye"
    (session,) = read(tmp_path, 25, lines, "220 mx").sessions
    assert [one.accepted for one in session.message_list or []] == [accepted]


def test_a_chunk_that_is_refused_before_it_comes(tmp_path: Path) -> None:
    begun = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 CHUNKING\n" + MAIL + "C: BDAT 1000000 LAST\nS: 503 no\n"
    result = read(tmp_path, 25, begun + "C: RSET\nS: 250 ok\n" + MAIL + TEXT + f"C: AUTH PLAIN {PLAIN}\nS: 235 ok")
    assert result.sessions[0].messages == 1
    assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]
    # A client that sends it all the same has sent text.
    chunk = f"Subject: x\r\n\r\nAUTH PLAIN {PLAIN}\r\n".encode()
    made = (
        Talk(server_port=25).play(begun.replace("1000000", str(len(chunk)))).client(chunk).play("C: QUIT\nS: 221 bye")
    )
    assert logins(run_frames(tmp_path, made.close().frames())) == []


@pytest.mark.parametrize("refusals", ["S: 552 no\n", "S: 552 no\nS: 552 no\n"])
def test_a_chunk_that_is_refused_for_each_recipient_before_it_comes(tmp_path: Path, refusals: str) -> None:
    envelope = MAIL + "C: RCPT TO:<e@f>\nS: 250 ok\n"
    begun = "S: 220 mx\nC: LHLO pc\nS: 250-mx\nS: 250 CHUNKING\n" + envelope
    text = envelope + TEXT.replace("queued", "for c") + "S: 550 not for e\n"
    lines = begun + "C: BDAT 1000000 LAST\n" + refusals + "C: RSET\nS: 250 ok\n" + text + "C: QUIT\nS: 221 bye"
    session = read(tmp_path, 24, lines).sessions[0]
    assert session.anomalies is None
    assert [(one.size, one.accepted) for one in session.message_list or []] == [(14, True)]
    # Sent all the same, whole before the answers or in part.
    chunk = b"Subject: x\r\n\r\nNOOP\r\n"
    for before in (0, 10, len(chunk)):
        made = Talk(server_port=24).play(begun + f"C: BDAT {len(chunk)} LAST")
        if before:
            made.client(chunk[:before])
        made.play(refusals if before == 0 else "S: 552 no\nS: 552 no")
        if before < len(chunk):
            made.client(chunk[before:])
        session = run_frames(tmp_path, made.play(text + "C: QUIT\nS: 221 bye").close().frames()).sessions[0]
        assert session.anomalies is None
        assert [(one.size, one.accepted) for one in session.message_list or []] == [(20, False), (14, True)]


def test_a_refusal_too_many_is_unexpected(tmp_path: Path) -> None:
    begun = (
        "S: 220 mx\nC: LHLO pc\nS: 250-mx\nS: 250 CHUNKING\n" + MAIL + "C: BDAT 1000000 LAST\nS: 552 no\nS: 552 no\n"
    )
    session = read(tmp_path, 24, begun + "C: QUIT\nS: 221 bye").sessions[0]
    assert [one.kind for one in session.anomalies or []] == ["unexpected_reply"]


def test_octets_of_exchange_between_two_commands(tmp_path: Path) -> None:
    lines = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 XEXCH50\n" + MAIL
    made = Talk(server_port=25).play(lines + "C: XEXCH50 40 2\nS: 354 Send binary data")
    made.client(bytes(range(20)) + f"AUTH PLAIN {PLAIN}\r\n".encode()[:20])
    result = run_frames(tmp_path, made.play("S: 250 ok\n" + TEXT + "C: QUIT\nS: 221 bye").close().frames())
    assert (result.sessions[0].messages, logins(result)) == (1, [])
    refused = lines + "C: XEXCH50 40 2\nS: 504 Need to authenticate first\n" + TEXT
    assert read(tmp_path, 25, refused).sessions[0].messages == 1


EXCHANGE = bytes(range(20)) + f"AUTH PLAIN {PLAIN}\r\n".encode()


@pytest.mark.parametrize("early", [1, 20, len(EXCHANGE)])
@pytest.mark.parametrize("pieces", [1, 2])
def test_octets_of_exchange_that_do_not_wait(tmp_path: Path, early: int, pieces: int) -> None:
    asked = b"XEXCH50 %d 2\r\n" % len(EXCHANGE)
    made = Talk(server_port=25).play("S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 XEXCH50\n" + MAIL)
    if pieces == 1:
        made.client(asked + EXCHANGE[:early])
    else:
        made.client(asked).client(EXCHANGE[:early])
    made.play("S: 354 goahead").client(EXCHANGE[early:] + b"DATA\r\n")
    whole = made.play("S: 250 ok\n" + TEXT.partition("\n")[2] + "C: QUIT\nS: 221 bye").close()
    server = [frame for frame in whole.frames() if frame[1][34:36] == b"\0\x19"]
    halves = [frame for frame in whole.frames() if frame not in server]
    for frames in (
        (whole.frames(), halves) if early < len(EXCHANGE) else (whole.frames(), without(whole, "goahead"), halves)
    ):
        result = run_frames(tmp_path, frames)
        assert (result.sessions[0].messages, logins(result), result.sessions[0].anomalies) == (1, [], None)


def test_commands_that_do_not_wait_for_exchange(tmp_path: Path) -> None:
    lines = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 XEXCH50\nC: XEXCH50 40 2\nC: NOOP\nS: 504 no\nS: 250 ok\n" + LOGIN
    result = read(tmp_path, 587, lines)
    assert (logins(result), result.sessions[0].anomalies) == ([("PLAIN", "kim", "Zulu7Tango", "accepted")], None)
    assert logins(read(tmp_path, 587, lines, "504 no")) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize("octets", [b"AAAA\r\n" + EXCHANGE, EXCHANGE, EXCHANGE[:20], b"A" * 70000 + EXCHANGE])
@pytest.mark.parametrize("step", [7, 1000, 100000])
def test_octets_of_exchange_whose_go_ahead_alone_is_lost(tmp_path: Path, octets: bytes, step: int) -> None:
    begun = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 XEXCH50\n" + MAIL
    made = Talk(server_port=25).play(begun + f"C: XEXCH50 {len(octets)} 2\nS: 354 goahead")
    for at in range(0, len(octets), step):
        made.client(octets[at : at + step][:60000]).client(octets[at : at + step][60000:])
    frames = without(made.play("S: 250 ok\n" + TEXT + "C: QUIT\nS: 221 bye").close(), "goahead")
    (session,) = run_frames(tmp_path, frames).sessions
    assert (session.credentials, session.anomalies) == (None, None)
    assert [(one.size, one.recipient_count, one.accepted) for one in session.message_list or []] == [(14, 1, True)]


LETTER = "Subject: x\r\n\r\nUSER trap\r\nPASS Trap5Trap\r\nQUIT\r\n.\r\n"
ENTERED = "S: +OK mx\nC: USER kim\nS: +OK user\nC: PASS Zulu7Tango\nS: +OK in\n"


@pytest.mark.parametrize("step", [1, 9, 1000])
@pytest.mark.parametrize("lost", ["XTND XMIT", "+OK goahead", "+OK sent", "nothing"])
@pytest.mark.parametrize("more", ["+OK in", "+OK user", "Subject: x\r\n\r\n", "nothing"])
def test_a_letter_that_is_submitted_by_pop3(tmp_path: Path, lost: str, more: str, step: int) -> None:
    made = Talk(server_port=110).play(ENTERED + "C: XTND XMIT\nS: +OK goahead")
    made.client(LETTER[:14].encode())
    for at in range(14, len(LETTER), step):
        made.client(LETTER[at : at + step].encode())
    made.play(
        "S: +OK sent\nC: STAT\nS: +OK 0 0\nC: RETR 1\nS: +OK\\r\\nSubject: y\\r\\n\\r\\nz\\r\\n.\nC: QUIT\nS: +OK bye"
    )
    result = run_frames(tmp_path, without(made.close(), lost, more))
    outcome = "unknown" if more == "+OK in" else "accepted"
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", outcome)]
    found = [(one.direction, one.size) for one in result.sessions[0].message_list or []]
    if (lost, more) != ("XTND XMIT", "Subject: x\r\n\r\n"):
        assert found[-1] == ("retrieved", 17)
    if lost != "XTND XMIT" and more != "Subject: x\r\n\r\n":
        assert found[0] == ("submitted", len(LETTER) - 3)


def test_a_submission_by_pop3_that_is_refused_and_nobody_heard_it(tmp_path: Path) -> None:
    lines = (
        ENTERED
        + "C: XTND XMIT\nS: -ERR goaway\nC: RETR 1\nS: +OK\\r\\nSubject: y\\r\\n\\r\\nz\\r\\n.\nC: QUIT\nS: +OK bye"
    )
    (session,) = read(tmp_path, 110, lines, "goaway").sessions
    assert [(one.direction, one.size) for one in session.message_list or []] == [("retrieved", 17)]


def test_the_rest_of_a_line_like_a_field_hides_nothing(tmp_path: Path) -> None:
    made = Talk(server_port=110).play("S: +OK mx").client(b"USER ").client(b"kim:you\r\n").play("S: -ERR no")
    made.play("C: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye")
    frames = [frame for frame in made.close().frames() if not frame[1].endswith(b"USER ")]
    assert logins(run_frames(tmp_path, frames)) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


def test_a_refused_hello_leaves_the_envelope(tmp_path: Path) -> None:
    lines = "S: 220 mx\nC: HELO pc\nS: 250 mx\n" + MAIL + "C: EHLO pc\nS: 503 not now\n" + TEXT
    assert [one.recipient_count for one in read(tmp_path, 25, lines).sessions[0].message_list or []] == [1]
    taken = lines.replace("503 not now", "250 mx")
    assert [one.recipient_count for one in read(tmp_path, 25, taken).sessions[0].message_list or []] == [0]


@pytest.mark.parametrize(
    ("port", "lines", "asked"),
    [
        (587, LISTING + f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\n", "C: STARTTLS\nS: 503 no"),
        (110, "S: +OK mx\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK\n", "C: STLS\nS: -ERR"),
        (143, "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] mx\nC: a LOGIN kim Zulu7Tango\nS: a OK in\n", "C: b STARTTLS\nS: b BAD no"),
    ],
)  # fmt: skip
def test_tls_asked_for_after_the_login(tmp_path: Path, port: int, lines: str, asked: str) -> None:
    late = slugs(findings(tmp_path, Talk(server_port=port).play(lines + asked).close()))
    assert "starttls-not-used" in late
    assert not late & {"starttls-refused", "starttls-not-offered", "starttls-stripped"}
    sessions = read(tmp_path, port, lines + asked).sessions
    assert [server.starttls_offered() for server in postures(sessions, None)] == ["always"]


def test_captures_without_times(tmp_path: Path) -> None:
    def said(*talks: Talk) -> set[str]:
        return slugs(findings(tmp_path, *[[(0, octets) for _, octets in made.frames()] for made in talks]))

    asked = f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\nC: STARTTLS\nS: 454 no"
    late, early = (
        Talk(server_port=587).play(LISTING + asked).close(),
        Talk(server_port=587).play(REFUSALS[587][0]).close(),
    )
    judged = {"starttls-refused", "starttls-not-used"}
    assert (said(late) & judged, said(early) & judged) == ({"starttls-not-used"}, {"starttls-refused"})
    without = Talk(client_port=40001, server_port=587).play((LISTING + LOGIN).replace("S: 250-STARTTLS\n", "")).close()
    assert "starttls-offer-vanished" in said(Talk(server_port=587).play(LISTING + LOGIN).close(), without)
    assert "starttls-offer-vanished" not in said(without)


def test_a_refusal_without_a_word_of_what_is_offered(tmp_path: Path) -> None:
    lines = f"C: STARTTLS\nS: 454 not now\nC: AUTH PLAIN {PLAIN}\nS: 235 ok\nC: QUIT\nS: 221 bye"
    made = Talk(server_port=587, handshake=False).play(lines).close()
    assert slugs(findings(tmp_path, made)) & {"starttls-refused", "starttls-not-offered"} == {"starttls-refused"}


def test_a_list_told_with_the_answer_to_a_login(tmp_path: Path) -> None:
    login = "C: a LOGIN kim Zulu7Tango\n"
    told = "S: * CAPABILITY IMAP4rev1 IDLE\n"
    after = read(tmp_path, 143, "S: * OK mx\n" + login + told + "S: a OK in")
    assert [one.starttls for one in after.sessions] == ["unseen"]
    before = read(tmp_path, 143, "S: * OK mx\nC: c CAPABILITY\n" + told + "S: c OK\n" + login + "S: a OK in")
    assert [one.starttls for one in before.sessions] == ["not_offered"]


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ("S: * OK mx\n{login}S: * OK [CAPABILITY IMAP4rev1 IDLE] x\nS: a OK in", "unseen"),
        ("S: * OK mx\nC: n NOOP\n{login}S: * CAPABILITY IMAP4rev1 IDLE\nS: a OK in\nS: n OK", "unseen"),
        ("S: * OK mx\n{login}C: c CAPABILITY\nS: * OK [CAPABILITY IMAP4rev1 IDLE] x\nS: a OK in\nS: c OK", "unseen"),
        # What was asked for before the login, or greets, is for all; so is what is told to who was not let in.
        ("S: * OK mx\nC: n NOOP\nC: c CAPABILITY\n{login}S: n OK\nS: * CAPABILITY IMAP4rev1 IDLE\nS: c OK\nS: a OK in", "not_offered"),
        ("{login}S: * OK [CAPABILITY IMAP4rev1 IDLE] mx\nS: a OK in", "not_offered"),
        ("S: * OK mx\n{login}S: a NO [AUTHENTICATIONFAILED] no\nS: * OK [CAPABILITY IMAP4rev1 IDLE] x", "not_offered"),
    ],
)  # fmt: skip
def test_a_list_told_between_a_login_and_its_answer(tmp_path: Path, lines: str, state: str) -> None:
    for login in ("C: a LOGIN kim Zulu7Tango\n", f"C: a AUTHENTICATE PLAIN {PLAIN}\n"):
        made = Talk(server_port=143).play(lines.format(login=login) + "\nC: z LOGOUT\nS: * BYE\nS: z OK").close()
        result = run_frames(tmp_path, made.frames())
        assert [(one.starttls, one.auth_attempts) for one in result.sessions] == [(state, 1)]


@pytest.mark.parametrize("step", [1, 6, 1000])
@pytest.mark.parametrize(
    ("port", "begun", "listing", "lost"),
    [
        (587, "S: 220 mx\nC: EHLO pc", "250-mx\r\n250-XXXXXXXA\r\n", "250 SIZE\r\n"),
        (110, "S: +OK mx\nC: CAPA", "+OK\r\nXXXX\r\n", "USER\r\n.\r\n"),
        (4190, "S: OK", '"IMPLEMENTATION" "x"\r\n"XXXXXXXX"\r\n', '"SASL" "PLAIN"\r\nOK\r\n'),
    ],
)
def test_what_a_listing_of_which_the_end_is_lost_has_offered_stands_where_it_was_said(
    tmp_path: Path, port: int, begun: str, listing: str, lost: str, step: int
) -> None:
    made = Talk(server_port=port).play(begun)
    place = made.seq[1] - 5001 + listing[:-2].rfind("\r\n") + 2
    for at in range(0, len(listing), step):
        made.server(listing[at : at + step].encode())
    frame = len(made.sent)
    made.server(lost.encode()).play("C: NOOP and so on, farther than the server has come\nC: NOOP\nC: NOOP")
    rest = {587: "S: 250 ok", 110: "S: +OK", 4190: "S: OK"}[port]
    made.play(f"{rest}\n{rest}\n{rest}").close()
    whole = run_frames(tmp_path, made.frames()).sessions[0].anomalies or []
    torn = run_frames(tmp_path, without(made, lost)).sessions[0].anomalies or []
    assert [(one.kind, one.frame, one.offset) for one in torn if one.kind == "starttls_stripped"] == [
        ("starttls_stripped", frame, place)
    ]
    # Of a whole one, its last line is the evidence.
    assert [one.frame for one in whole if one.kind == "starttls_stripped"] == [frame + 1]
