"""Mail that programs fetch otherwise than by RETR and BODY[], through the whole pipeline: what is a message, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.traffic import Talk, logins, run_frames
from support.verdicts import findings, lost, slugs

POP3 = "S: +OK mx\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\n"
# 30 octets of header with its blank line, 37 of text: four lines, one of which is empty
LETTER = "S: Subject: tea\nS: From: a@b.cd\nS: \nS: \nS: PASS trap\nS: ..dots\nS: at four o'clock\nS: .\n"
DELETED = "C: DELE 1\nS: +OK\nC: QUIT\nS: +OK bye"
Rows = list[tuple[str, int, bool, bool]]


def pop3(dialogue: str) -> Talk:
    return Talk(server_port=110).play(POP3 + dialogue).close()


def rows(folder: Path, talk: Talk) -> Rows:
    """Direction, size, whether complete and deleted, of the messages of a connection, in which nobody else logged in."""
    result = run_frames(folder, talk.frames())
    assert [one[1:3] for one in logins(result)] == [("kim", "Zulu7Tango")]
    return [(one.direction, one.size, one.complete, one.deleted) for one in result.sessions[0].message_list or ()]


WHOLE: Rows = [("retrieved", 67, True, True)]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("TOP 1 99999999", WHOLE), ("top  1  2147483647", WHOLE), ("TOP 1 99999999999999999999", WHOLE), ("TOP 1 5", WHOLE), ("TOP 01 005", WHOLE),
        ("TOP 1 4", []), ("TOP 1 3", []), ("TOP 1 0", []), ("TOP 1", []), ("TOP 1 -1", []), ("TOP 1 x", []), ("TOP", []),
    ],
)  # fmt: skip
def test_top_of_more_lines_than_there_are_is_the_message(tmp_path: Path, asked: str, told: Rows) -> None:
    talk = pop3(f"C: {asked}\nS: +OK\n{LETTER}{DELETED}")
    assert rows(tmp_path, talk) == told
    rules = slugs(findings(tmp_path, talk))
    assert {"plaintext-message", "mail-deleted-after-download"} & rules == (
        {"plaintext-message", "mail-deleted-after-download"} if told else set()
    )


def test_top_that_is_refused_or_not_followed_by_a_farewell(tmp_path: Path) -> None:
    assert rows(tmp_path, pop3("C: TOP 1 99999999\nS: -ERR none\nC: QUIT\nS: +OK")) == []
    assert rows(tmp_path, pop3(f"C: TOP 1 99999999\nS: +OK\n{LETTER}C: DELE 1\nS: +OK")) == [
        ("retrieved", 67, True, False)
    ]


def test_a_message_without_text_has_fewer_lines_than_one(tmp_path: Path) -> None:
    empty = "S: Subject: tea\nS: \nS: .\n"
    assert [row[1] for row in rows(tmp_path, pop3(f"C: TOP 1 1\nS: +OK\n{empty}C: QUIT\nS: +OK"))] == [16]
    assert rows(tmp_path, pop3(f"C: TOP 1 0\nS: +OK\n{empty}C: QUIT\nS: +OK")) == []


@pytest.mark.parametrize(
    ("first", "second", "more", "counted"),
    [("TOP 1 20", "RETR 1", [("retrieved", 67, True, False)], 1), ("RETR 1", "TOP 1 20", [], 1), ("TOP 1 20", "TOP 1 20", [], 0)],
)  # fmt: skip
def test_who_looked_before_retrieves_all_the_same(
    tmp_path: Path, first: str, second: str, more: Rows, counted: int
) -> None:
    talk = pop3(f"C: {first}\nS: +OK\n{LETTER}C: {second}\nS: +OK\n{LETTER}{DELETED}")
    assert rows(tmp_path, talk) == more + WHOLE
    # What was not fetched as a message is one to read, and none to count.
    assert run_frames(tmp_path, talk.frames()).sessions[0].messages == counted


def test_a_look_at_the_beginning_takes_no_message_away(tmp_path: Path) -> None:
    talk = pop3(f"C: TOP 1 4\nS: +OK\n{LETTER}C: TOP 2 20\nS: +OK\n{LETTER}C: RETR 1\nS: +OK\n{LETTER}{DELETED}")
    assert rows(tmp_path, talk) == [("retrieved", 67, True, False), ("retrieved", 67, True, True)]


@pytest.mark.parametrize(("asked", "told"), [(99999999, [False]), (100, [False]), (5, [])])
def test_lines_that_are_missing_may_be_many(tmp_path: Path, asked: int, told: list[bool]) -> None:
    # The line of ten octets may be ten lines, for all that one knows.
    talk = pop3(f"C: TOP 1 {asked}\nS: +OK\n{LETTER}C: QUIT\nS: +OK")
    first = next(index for index, (_, frame) in enumerate(talk.frames()) if b"trap" in frame)
    result = run_frames(tmp_path, lost(talk, first, first + 1))
    assert [one.complete for one in result.sessions[0].message_list or ()] == told


@pytest.mark.parametrize(("asked", "told"), [(99999999, [False]), (100, [])])
def test_a_connection_that_breaks_off_in_a_top(tmp_path: Path, asked: int, told: list[bool]) -> None:
    talk = pop3(f"C: TOP 1 {asked}\nS: +OK\n{LETTER.removesuffix('S: .' + chr(10))}")
    assert [row[2] for row in rows(tmp_path, talk)] == told


IMAP = "S: * OK mx\nC: l LOGIN kim Zulu7Tango\nS: l OK in\nC: s SELECT INBOX\nS: * 2 EXISTS\nS: s OK [READ-WRITE]\n"
HEAD = "Subject: tea\\r\\nFrom: a@b.cd\\r\\n\\r\\n"  # 30 octets
TEXT = "a LOGIN trap trap\\r\\n)\\r\\na OK\\r\\n"  # 28
FARE_WELL = "C: z LOGOUT\nS: * BYE\nS: z OK"


def imap(*replies: str, rest: str = FARE_WELL) -> Talk:
    """Every reply is the answer to a command of its own."""
    asked = "".join(
        f"C: f{number} FETCH 1 X\nS: {reply}\nS: f{number} OK done\n" for number, reply in enumerate(replies)
    )
    return Talk(server_port=143).play(IMAP + asked + rest).close()


HEADER = f"* 1 FETCH (RFC822.HEADER {{30}}\\r\\n{HEAD})"
PEEKED = f"* 1 FETCH (BODY[TEXT] {{28}}\\r\\n{TEXT})"
BOTH = f"* 1 FETCH (RFC822.HEADER {{30}}\\r\\n{HEAD} RFC822.TEXT {{28}}\\r\\n{TEXT})"


@pytest.mark.parametrize(
    "replies", [(HEADER, PEEKED), (BOTH,), (HEADER, HEADER, PEEKED), (HEADER, PEEKED, HEADER), (HEADER, PEEKED, PEEKED)]
)
def test_header_and_text_fetched_apart_are_a_message(tmp_path: Path, replies: tuple[str, ...]) -> None:
    talk = imap(*replies)
    assert rows(tmp_path, talk) == [("retrieved", 58, True, False)]
    assert "plaintext-message" in slugs(findings(tmp_path, talk))


@pytest.mark.parametrize(
    "replies",
    [
        (HEADER,) * 3, (PEEKED,), (HEADER, PEEKED.replace("* 1", "* 2")), (HEADER, "* 1 EXPUNGE", PEEKED),
        (HEADER, PEEKED.replace("[TEXT]", "[TEXT]<0>")), (HEADER, PEEKED.replace("[TEXT]", "[1]")), (HEADER.replace("RFC822.HEADER", "BODY[HEADER.FIELDS (FROM)]"), PEEKED),
    ],
)  # fmt: skip
def test_what_makes_no_whole_is_no_message(tmp_path: Path, replies: tuple[str, ...]) -> None:
    talk = imap(*replies)
    assert rows(tmp_path, talk) == []
    assert "plaintext-message" not in slugs(findings(tmp_path, talk))


SEALED = "S: * OK mx\nC: l AUTHENTICATE GSSAPI\nS: l OK in\nC: s SELECT INBOX\nS: * 2 EXISTS\nS: s OK [READ-WRITE]\n"
SEALED_POP3 = "S: +OK mx\nC: AUTH GSSAPI\nS: +OK in\n"


@pytest.mark.parametrize(
    ("item", "exposure"),
    [
        *[(item, "content") for item in ("BODY[TEXT]", "RFC822.TEXT", "BODY[TEXT]<0>", "BODY[1]", "BODY[1.2]<7>", "BINARY[1]", "BODY[2.TEXT]")],
        *[(item, "metadata") for item in ("BODY[HEADER]", "RFC822.HEADER", "BODY[HEADER.FIELDS (TO)]", "BODY[1.MIME]", "BODY[2.HEADER]", "X")],
    ],
)  # fmt: skip
def test_content_that_makes_no_message_was_readable_all_the_same(tmp_path: Path, item: str, exposure: str) -> None:
    for value, seen in (("{5}\\r\\nhello", exposure), ('"hello"', exposure), ('""', "metadata"), ("NIL", "metadata")):
        lines = f"{SEALED}C: f FETCH 1 X\nS: * 1 FETCH ({item} {value})\nS: f OK done\n{FARE_WELL}"
        (session,) = run_frames(tmp_path, Talk(server_port=143).play(lines).close().frames()).sessions
        assert (session.exposure, session.messages, session.message_list) == (seen, 0, None)


@pytest.mark.parametrize(
    ("asked", "exposure"), [("TOP 1 0", "metadata"), ("TOP 1 1", "content"), ("TOP 1 4", "content")]
)
def test_the_first_lines_of_a_text_were_readable(tmp_path: Path, asked: str, exposure: str) -> None:
    letter = "".join(LETTER.splitlines(True)[: 3 + int(asked[-1])]) + "S: .\n"
    talk = Talk(server_port=110).play(f"{SEALED_POP3}C: {asked}\nS: +OK\n{letter}C: QUIT\nS: +OK bye")
    (session,) = run_frames(tmp_path, talk.close().frames()).sessions
    assert (session.exposure, session.messages, session.message_list) == (exposure, 0, None)


def test_a_list_of_headers_is_no_mail(tmp_path: Path) -> None:
    listed = "".join(f"* {number} FETCH (BODY[HEADER] {{30}}\\r\\n{HEAD})\\r\\n" for number in range(1, 1001))
    assert rows(tmp_path, imap(listed.removesuffix("\\r\\n"))) == []
    assert rows(tmp_path, imap(listed + PEEKED.replace("* 1", "* 500"))) == [("retrieved", 58, True, False)]


def test_header_and_text_deleted(tmp_path: Path) -> None:
    gone = "C: d STORE 1 +FLAGS (\\\\Deleted)\nS: d OK\nC: e EXPUNGE\nS: * 1 EXPUNGE\nS: e OK\n" + FARE_WELL
    talk = imap(HEADER, PEEKED, rest=gone)
    assert rows(tmp_path, talk) == [("retrieved", 58, True, True)]
    assert "mail-deleted-after-download" in slugs(findings(tmp_path, talk))
    assert rows(tmp_path, imap(HEADER, rest=gone)) == []


def test_segments_twice_and_the_wrong_way_round_tell_the_same(tmp_path: Path) -> None:
    frames = imap(HEADER, PEEKED, BOTH).frames()
    told = [("retrieved", 58, True)] * 2
    at = next(index for index, (_, frame) in enumerate(frames) if b"[TEXT]" in frame)
    turned = [*frames[:at], frames[at + 1], frames[at], *frames[at + 2 :]]
    for made in (frames, [one for one in frames for _ in (1, 2)], turned):
        found = run_frames(tmp_path, made).sessions[0].message_list or ()
        assert [(one.direction, one.size, one.complete) for one in found] == told
