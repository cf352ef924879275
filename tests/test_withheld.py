"""Passwords sent to servers whose list offers no login with one before TLS, as packets through the whole pipeline."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.traffic import Talk
from support.verdicts import findings

PLAIN = base64.b64encode(b"\0kim\0Zulu7Tango").decode()
WORD = base64.b64encode(b"Zulu7Tango").decode()
TOKEN = base64.b64encode(b"user=kim\x01auth=Bearer tok-77\x01\x01").decode()
RULE = "password-sent-though-forbidden"

#: port, greeting and list (the words that count left open), login, no, yes
SMTP = (
    587,
    "S: 220 mx\nC: EHLO pc\nS: 250-mx\n{}S: 250 HELP\n",
    f"C: AUTH PLAIN {PLAIN}\n",
    "S: 535 no\n",
    "S: 235 in\n",
)
POP3 = (110, "S: +OK mx\nC: CAPA\nS: +OK\n{}S: TOP\nS: .\n", "C: USER kim\nS: +OK\nC: PASS Zulu7Tango\n", "S: -ERR no\n", "S: +OK in\n")  # fmt: skip
SIEVE = (4190, 'S: "IMPLEMENTATION" "mx"\n{}S: OK\n', f'C: AUTHENTICATE "PLAIN" "{PLAIN}"\n', "S: NO\n", "S: OK\n")
IMAP = (
    143,
    "S: * OK [CAPABILITY IMAP4rev1 {}] mx\n",
    f"C: a AUTHENTICATE PLAIN {PLAIN}\n",
    "S: a NO no\n",
    "S: a OK in\n",
)
Kind = tuple[int, str, str, str, str]


def fired(folder: Path, port: int, lines: str, lost: int = -1) -> list[str | None]:
    """Accounts of the findings of the rule; a frame may be ``lost``."""
    made = Talk(server_port=port).play(lines).close()
    if lost >= 0:
        del made.sent[3 + lost]
    return [one.username for one in findings(folder, made) if one.slug == RULE]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (SMTP, "S: 250-STARTTLS\n"),
        (SMTP, "S: 250-STARTTLS\nS: 250-AUTH CRAM-MD5 XOAUTH2\n"),
        (SMTP, "S: 250-AUTH=NTLM\nS: 250-starttls\n"),
        (SMTP, "S: 250-AUTH ANONYMOUS\nS: 250-STARTTLS\n"),
        (POP3, "S: STLS\n"),
        (POP3, "S: SASL CRAM-MD5\nS: STLS\n"),
        (SIEVE, 'S: "SASL" ""\nS: "STARTTLS"\n'),
        (SIEVE, 'S: "STARTTLS"\nS: "SASL" "SCRAM-SHA-256"\n'),
        (SIEVE, 'S: "STARTTLS"\n'),
        (IMAP, "STARTTLS LOGINDISABLED"),
        (IMAP, "LOGINDISABLED AUTH=CRAM-MD5 STARTTLS"),
    ],
)
def test_a_password_that_the_list_withholds(tmp_path: Path, kind: Kind, words: str) -> None:
    port, before, login, no, yes = kind
    begin = before.format(words)
    assert fired(tmp_path, port, begin + login + no) == ["kim"]
    assert fired(tmp_path, port, begin + login) == ["kim"]  # the answer was not seen
    # Who takes it all the same has not forbidden it.
    assert fired(tmp_path, port, begin + login + yes) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        # Such a login is offered, in whatever words; or no TLS is.
        (SMTP, "S: 250-STARTTLS\nS: 250-AUTH LOGIN\n"),
        (SMTP, "S: 250-STARTTLS\nS: 250-AUTH=plain\n"),
        (SMTP, "S: 250-STARTTLS\nS: 250-X-EXPS GSSAPI LOGIN\n"),
        (SMTP, "S: 250-AUTH CRAM-MD5\n"),
        (SMTP, ""),
        (POP3, "S: STLS\nS: USER\n"),
        (POP3, "S: STLS\nS: SASL PLAIN\n"),
        (POP3, ""),
        (SIEVE, 'S: "SASL" "PLAIN"\nS: "STARTTLS"\n'),
        (SIEVE, 'S: "SASL" ""\n'),
        (IMAP, "STARTTLS"),
        (IMAP, "STARTTLS AUTH=CRAM-MD5"),
        (IMAP, "STARTTLS LOGINDISABLED AUTH=PLAIN"),
    ],
)
def test_a_password_that_the_list_does_not_withhold(tmp_path: Path, kind: Kind, words: str) -> None:
    port, before, login, no, _ = kind
    assert fired(tmp_path, port, before.format(words) + login + no) == []


@pytest.mark.parametrize(
    ("kind", "words"),
    [(SMTP, "S: 250-STARTTLS\n"), (POP3, "S: STLS\n"), (SIEVE, 'S: "SASL" ""\nS: "STARTTLS"\n')],
)
def test_what_a_list_with_lines_missing_withholds_is_not_known(tmp_path: Path, kind: Kind, words: str) -> None:
    port, before, login, no, _ = kind
    begin = before.format(words)
    rows = begin.splitlines()
    first = next(at for at, row in enumerate(rows) if words.startswith(row + "\n"))
    for lost in range(first, len(rows)):
        assert fired(tmp_path, port, begin + login + no, lost) == [], lost


@pytest.mark.parametrize(
    ("port", "lines"),
    [
        # No password was sent.
        (587, f"S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-AUTH XOAUTH2\nS: 250 STARTTLS\nC: AUTH XOAUTH2 {TOKEN}\nS: 535 no"),
        (587, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-AUTH ANONYMOUS\nS: 250 STARTTLS\nC: AUTH ANONYMOUS a2lt\nS: 535 no"),
        (587, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: AUTH LOGIN\nS: 503 no such thing"),
        (4190, f'S: "SASL" "XOAUTH2"\nS: "STARTTLS"\nS: OK\nC: AUTHENTICATE "XOAUTH2" "{TOKEN}"\nS: NO'),
        (143, f"S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=XOAUTH2] mx\nC: a AUTHENTICATE XOAUTH2 {TOKEN}\nS: a NO no"),
        (143, f"S: * OK mx\nC: a AUTHENTICATE PLAIN {PLAIN}\nS: * CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\nS: a NO no"),
        # It was sent before anybody could know; or the latest list offers it; or nothing but the greeting is offered.
        (587, f"S: 220 mx\nC: AUTH PLAIN {PLAIN}\nS: 503 EHLO first\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS"),
        (587, f"S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: EHLO pc\nS: 250-mx\nS: 250-STARTTLS\nS: 250 AUTH PLAIN\nC: AUTH PLAIN {PLAIN}\nS: 535 no"),
        (587, f"S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: HELO pc\nS: 250 mx\nC: AUTH PLAIN {PLAIN}\nS: 535 no"),
        # The list is one for who is in: what he may not do once more is left out.
        (587, f"S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-STARTTLS\nS: 250 AUTH PLAIN\nC: AUTH PLAIN {PLAIN}\nS: 235 in\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: AUTH PLAIN {PLAIN}\nS: 503 you are in"),
        (4190, f'S: "SASL" "PLAIN"\nS: "STARTTLS"\nS: OK\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK\nC: CAPABILITY\nS: "SASL" ""\nS: "STARTTLS"\nS: OK\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: NO'),
    ],
)  # fmt: skip
def test_what_is_no_password_before_its_time(tmp_path: Path, port: int, lines: str) -> None:
    assert fired(tmp_path, port, lines) == []


def test_a_password_is_told_once_whatever_forbade_it(tmp_path: Path) -> None:
    begin = f"S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: a2lt\nS: 334 UGFzc3dvcmQ6\nC: {WORD}\n"
    assert fired(tmp_path, 587, begin + "S: 530 Must issue a STARTTLS command first\nC: QUIT\nS: 221 bye") == ["kim"]
    again = f"C: AUTH PLAIN {PLAIN}\nS: 538 Encryption required\n" * 2
    assert fired(tmp_path, 587, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\n" + again) == ["kim", "kim"]
