"""Lines longer than any that is kept, as packets through the whole pipeline: what stands behind one is read as what it is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.traffic import Talk, logins, run_frames

from analyzer.pipeline import Result
from analyzer.protocols.framing import MAX_LINE

Said = tuple[int, bytes]

PLAIN = base64.b64encode(b"\0kim\0Zulu7Tango").decode()
TRAP = base64.b64encode(b"\0trap\0Trap5Trap").decode()


def lines(text: str) -> list[Said]:
    """``C:`` and ``S:`` lines."""
    return [(int(row[0] == "S"), row[3:].encode() + b"\r\n") for row in text.strip("\n").split("\n")]


def said(port: int, pieces: list[Said], step: int = 1400, twice: bool = False, swapped: bool = False) -> Talk:
    """A dialogue in segments of ``step`` octets: each of them sent twice, or every second one before the one in front of it."""
    talk = Talk(server_port=port)
    for sender, octets in pieces:
        first = len(talk.sent)
        for start in range(0, len(octets), step):
            talk._segment(sender, 24, octets[start : start + step])
        rows = talk.sent[first:]
        if swapped:
            times = [when for when, _ in rows]
            for at in range(0, len(rows) - 1, 2):
                rows[at], rows[at + 1] = rows[at + 1], rows[at]
            rows = [(when, frame) for when, (_, frame) in zip(times, rows, strict=True)]
        if twice:
            rows = [row for row in rows for _ in range(2)]
        talk.sent[first:] = rows
    return talk.close()


def told(result: Result) -> object:
    """What is told of a connection, frames left out."""
    (session,) = result.sessions
    return (
        logins(result),
        [(one.size, one.complete, one.accepted) for one in session.message_list or []],
        [(one.kind, one.offset) for one in session.anomalies or []],
    )


def heard(folder: Path, port: int, pieces: list[Said]) -> Result:
    """The records of a dialogue, which are the same however it is cut."""
    result = run_frames(folder, said(port, pieces).frames())
    for step in (60000, 1399, 53):
        assert told(run_frames(folder, said(port, pieces, step).frames())) == told(result), step
    assert told(run_frames(folder, said(port, pieces, twice=True).frames())) == told(result)
    assert told(run_frames(folder, said(port, pieces, swapped=True).frames())) == told(result)
    return result


# -- a chunk of SMTP that was refused before it came ---------------------------------------------------------------------------

GREETED = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-CHUNKING\nS: 250 AUTH PLAIN\nC: MAIL FROM:<a@b>\nS: 250 ok\nC: RCPT TO:<c@d>\nS: 250 ok\n"
FAREWELL = "C: QUIT\nS: 221 bye"


@pytest.mark.parametrize("refusal", ["S: 552 5.3.4 too big\n", "S: 451 4.3.0 later\n"])
@pytest.mark.parametrize("size", [MAX_LINE - 2, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE])
def test_a_chunk_whose_first_line_is_long(tmp_path: Path, refusal: str, size: int) -> None:
    letter = b"x" * size + f"\r\nAUTH PLAIN {TRAP}\r\nRSET\r\n".encode()
    begun = lines(GREETED + f"C: BDAT {len(letter)} LAST\n" + refusal)
    login = lines(f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\n" + FAREWELL)
    result = heard(tmp_path, 587, [*begun, (0, letter), *login])
    assert told(result) == ([("PLAIN", "kim", "Zulu7Tango", "accepted")], [(len(letter), True, False)], [])


def test_a_chunk_that_ends_within_its_first_line(tmp_path: Path) -> None:
    letter = b"x" * (MAX_LINE + 100)
    begun = lines(GREETED + f"C: BDAT {len(letter)} LAST\nS: 552 no\n")
    login = lines(f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\n" + FAREWELL)
    result = heard(tmp_path, 587, [*begun, (0, letter), *login])
    assert told(result) == ([("PLAIN", "kim", "Zulu7Tango", "accepted")], [(len(letter), True, False)], [])
    # A line that is much longer than the chunk: what is behind the chunk is no line that is kept, either.
    begun = lines(GREETED + "C: BDAT 10 LAST\nS: 552 no\n")
    refused = lines("S: 500 what\n")
    result = heard(tmp_path, 587, [*begun, (0, b"x" * (MAX_LINE + 100) + b"\r\n"), *refused, *login])
    assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]
    assert [one.size for one in result.sessions[0].message_list or []] == [10]


def test_a_chunk_of_several(tmp_path: Path) -> None:
    letter = b"x" * (MAX_LINE + 100) + f"\r\nAUTH PLAIN {TRAP}\r\n".encode()
    begun = lines(GREETED + "C: BDAT 10\n")
    more = lines(f"S: 250 ok\nC: BDAT {len(letter)} LAST\nS: 552 no\n")
    result = heard(tmp_path, 587, [*begun, (0, b"Subject: x"), *more, (0, letter), *lines(FAREWELL)])
    assert told(result) == ([], [(len(letter) + 10, True, False)], [])


def test_a_long_line_where_no_chunk_is_due_is_a_command(tmp_path: Path) -> None:
    long = b"x" * (MAX_LINE + 100) + b"\r\n"
    login = lines(f"S: 500 what\nC: AUTH PLAIN {PLAIN}\nS: 235 ok\n" + FAREWELL)
    for begun in ("", "C: BDAT 1000 LAST\nS: 552 no\nC: RSET\nS: 250 ok\n"):
        result = heard(tmp_path, 587, [*lines(GREETED + begun), (0, long), *login])
        assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]
        assert [one.kind for one in result.sessions[0].anomalies or []] == ["line_too_long"]
        assert result.sessions[0].messages == 0


def test_a_chunk_whose_answer_is_lost(tmp_path: Path) -> None:
    letter = b"x" * (MAX_LINE + 100) + f"\r\nAUTH PLAIN {TRAP}\r\n".encode()
    for answer in ("552 goodbye", "250 goodbye"):
        begun = lines(GREETED + f"C: BDAT {len(letter)} LAST\nS: {answer}\nS: 250 noop\n")
        for pieces in ([*begun, (0, letter)], [*begun[:-2], (0, letter), *begun[-2:]]):
            frames = [frame for frame in said(587, [*pieces, *lines(FAREWELL)]).frames() if b"goodbye" not in frame[1]]
            (session,) = run_frames(tmp_path, frames).sessions
            assert [one.size for one in session.message_list or []] == [len(letter)]
            assert not session.credentials


# -- what an authentication carries ----------------------------------------------------------------------------------------------

LONG = base64.b64encode(b"x" * MAX_LINE).decode()
GREETING = {
    25: "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH GSSAPI PLAIN\n",
    110: "S: +OK mx\n",
    143: "S: * OK [CAPABILITY IMAP4rev1 AUTH=GSSAPI] mx\n",
    4190: 'S: "IMPLEMENTATION" "x"\nS: "SASL" "GSSAPI PLAIN"\nS: OK\n',
}
ASKED = {25: "AUTH GSSAPI", 110: "AUTH GSSAPI", 143: "a AUTHENTICATE GSSAPI", 4190: 'AUTHENTICATE "GSSAPI"'}
CHALLENGE = {25: "334 {}", 110: "+ {}", 143: "+ {}", 4190: '"{}"'}
RESPONSE = {25: "{}", 110: "{}", 143: "{}", 4190: '"{}"'}
YES = {25: "235 in", 110: "+OK in", 143: "a OK in", 4190: 'OK "in"'}
NO = {25: "535 no", 110: "-ERR no", 143: "a NO no", 4190: 'NO "no"'}
LAST = {
    25: f"C: AUTH PLAIN {PLAIN}\nS: 235 ok\nC: QUIT\nS: 221 bye",
    110: "C: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK\nC: QUIT\nS: +OK bye",
    143: "C: b LOGIN kim Zulu7Tango\nS: b OK ok\nC: c LOGOUT\nS: * BYE\nS: c OK bye",
    4190: f'C: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK\nC: LOGOUT\nS: OK',
}


def attempts(folder: Path, port: int, text: str) -> tuple[int, int, list[tuple[str | None, str]], list[str]]:
    """Attempts to log in, how many were accepted, name and secret or response of those that are told, and what was odd."""
    result = heard(folder, port, lines(GREETING[port] + text + "\n" + LAST[port]))
    (session,) = result.sessions
    assert logins(result)[-1][1:] == ("kim", "Zulu7Tango", "accepted")
    known = [(one[2], one[3]) for one in logins(result)[:-1]]
    return session.auth_attempts, session.auth_accepted, known, [one.kind for one in session.anomalies or []]


@pytest.mark.parametrize("port", GREETING)
@pytest.mark.parametrize("accepted", [True, False])
def test_a_long_response(tmp_path: Path, port: int, accepted: bool) -> None:
    answer = (YES if accepted else NO)[port]
    begun, asks, response = f"C: {ASKED[port]}\n", CHALLENGE[port], RESPONSE[port].format(LONG)
    seen = (2, 1 + accepted, [], ["line_too_long"])
    assert attempts(tmp_path, port, f"{begun}S: {asks.format('')}\nC: {response}\nS: {answer}") == seen
    # With the command, and with another one behind it.
    initial = f"C: {ASKED[port]} {response}\n"
    assert attempts(tmp_path, port, f"{initial}S: {answer}") == seen
    more = f"S: {asks.format('AAAA')}\nC: {RESPONSE[port].format('QUJD')}\nS: {answer}"
    known = [("QUJD", "accepted" if accepted else "rejected")]
    for first in (initial, f"{begun}S: {asks.format('')}\nC: {response}\n"):
        assert attempts(tmp_path, port, first + more) == (2, 1 + accepted, known, ["line_too_long"])


@pytest.mark.parametrize("port", GREETING)
@pytest.mark.parametrize("accepted", [True, False])
def test_a_long_challenge(tmp_path: Path, port: int, accepted: bool) -> None:
    answer = (YES if accepted else NO)[port]
    text = f"C: {ASKED[port]}\nS: {CHALLENGE[port].format(LONG)}\nC: {RESPONSE[port].format('QUJD')}\nS: {answer}"
    known = [("QUJD", "accepted" if accepted else "rejected")]
    assert attempts(tmp_path, port, text) == (2, 1 + accepted, known, ["line_too_long"])


@pytest.mark.parametrize("port", GREETING)
@pytest.mark.parametrize("accepted", [True, False])
def test_a_long_answer(tmp_path: Path, port: int, accepted: bool) -> None:
    answer = (YES if accepted else NO)[port]
    long = answer[:-1] + "x" * MAX_LINE + '"' if answer.endswith('"') else answer + "x" * MAX_LINE
    asked = f"C: {ASKED[port]}\nS: {CHALLENGE[port].format('')}\nC: {RESPONSE[port].format('QUJD')}\nS: {long}"
    known = [("QUJD", "accepted" if accepted else "rejected")]
    assert attempts(tmp_path, port, asked) == (2, 1 + accepted, known, ["line_too_long"])


@pytest.mark.parametrize("port", GREETING)
def test_a_long_line_of_no_authentication(tmp_path: Path, port: int) -> None:
    refusal = {25: "500 what", 110: "-ERR what", 143: "z BAD what", 4190: 'NO "what"'}[port]
    for word in ("x", "AUTH", "z AUTHENTICATE", "z LOGIN kim"):
        text = f"C: {word}{'x' * MAX_LINE}\nS: {refusal}"
        count, accepted, known, odd = attempts(tmp_path, port, text)
        assert (count, accepted, known, odd[0]) == (1, 1, [], "line_too_long")
