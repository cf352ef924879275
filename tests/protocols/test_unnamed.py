"""Authentications whose beginning is not in the capture: what is certain is told, nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialogue import hear, play, read_transcript

from analyzer.protocols.base import Dissector
from analyzer.protocols.imap import ImapDissector
from analyzer.protocols.pop3 import Pop3Dissector
from analyzer.protocols.sieve import SieveDissector
from analyzer.protocols.smtp import SmtpDissector
from analyzer.protocols.unnamed import could_be_response, mechanism_of
from analyzer.sessions.dispatch import make_dissector


def b64(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode("latin-1")).decode()


PLAIN = b64("\0kim\0Zulu7Tango")
TRAP = b64("\0trap\0trap")
KIM = b64("kim")
WORD = b64("Zulu7Tango")

#: protocol, a challenge around base64, a response, the answers yes and no, a command's beginning
SPOKEN = {
    "smtp": ("334 %s", "%s", "235 in", "535 no", "AUTH %s"),
    "pop3": ("+ %s", "%s", "+OK in", "-ERR no", "AUTH %s"),
    "imap": ("+ %s", "%s", "a7 OK in", "a7 NO no", "a7 AUTHENTICATE %s"),
    "managesieve": ('"%s"', '"%s"', "OK", "NO", 'AUTHENTICATE "%s"'),
}
GREETINGS = {
    "smtp": "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n",
    "pop3": "S: +OK mx\nC: CAPA\nS: +OK\nS: .\n",
    "imap": "S: * OK [CAPABILITY IMAP4rev1] mx\nC: a1 NOOP\nS: a1 OK\n",
    "managesieve": 'S: "SASL" "PLAIN LOGIN"\nS: OK\n',
}
PROTOCOLS = list(SPOKEN)


def midstream(protocol: str) -> Dissector:
    return make_dissector(protocol, None, True)


def told(lines: list[str]) -> list[str]:
    """Of each credential: mechanism, user name, secret; then outcomes."""
    found = []
    for line in lines:
        words = {word.split("=", 1)[0]: word.split("=", 1)[1].strip("'") for word in line.split() if "=" in word}
        if line.startswith("CredentialsSent"):
            found.append(" ".join(words.get(name, "-") for name in ("mechanism", "username", "secret")))
        elif line.startswith("AuthenticationEnded"):
            found.append(words["outcome"])
    return found


def dialogue(protocol: str, turns: str) -> str:
    """``?x`` is a challenge x, ``!x`` a response x, ``yes`` and ``no`` the answers, ``@x`` the command; gaps and other lines as they are."""
    challenge, response, yes, no, command = SPOKEN[protocol]
    lines = []
    for turn in turns.split():
        kind, rest = turn[0], turn[1:]
        if kind == "?":
            lines.append("S: " + (challenge % rest).rstrip(" ") + (" " if rest == "" and protocol == "smtp" else ""))
        elif kind == "!":
            lines.append("C: " + response % rest)
        elif kind == "@":
            lines.append("C: " + command % rest)
        elif kind == "~":
            lines.append(f"{rest[0]}~ 12")
        else:
            lines.append("S: " + (yes if turn == "yes" else no))
    return "\n".join(lines)


USER, PASS = "?" + b64("Username:"), "?" + b64("Password:")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (f"? !{PLAIN} yes", ["PLAIN kim Zulu7Tango", "accepted"]),
        (f"!{PLAIN} yes", ["PLAIN kim Zulu7Tango", "accepted"]),
        (f"!{PLAIN} no", ["PLAIN kim Zulu7Tango", "rejected"]),
        (f"{USER} !{KIM} {PASS} !{WORD} yes", ["LOGIN kim Zulu7Tango", "accepted"]),
        (f"{USER} !{KIM} {PASS} !{WORD} no", ["LOGIN kim Zulu7Tango", "rejected"]),
        (f"!{KIM} {PASS} !{WORD} yes", ["LOGIN kim Zulu7Tango", "accepted"]),
        (f"{PASS} !{WORD} yes", ["LOGIN - Zulu7Tango", "accepted"]),
        # a name or a password, nobody knows; and what is no response at all
        (f"!{WORD} yes", []),
        (f"{USER} !* no", []),
        (f"? !{b64(bytes(range(12)))} yes", []),
        ("? !not-base64 no", []),
    ],
)
def test_from_the_middle(protocol: str, turns: str, expected: list[str]) -> None:
    assert told(hear(lambda: midstream(protocol), dialogue(protocol, turns))) == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (f"~C ? !{PLAIN} yes", ["PLAIN kim Zulu7Tango", "accepted"]),
        ("@PLAIN ? ~C yes", []),
        (f"@PLAIN ~S !{PLAIN} yes", ["PLAIN kim Zulu7Tango", "accepted"]),
        (f"~C {USER} !{KIM} {PASS} !{WORD} yes", ["LOGIN kim Zulu7Tango", "accepted"]),
        (f"@LOGIN {USER} ~C {PASS} !{WORD} yes", ["LOGIN - Zulu7Tango", "accepted"]),
        (f"@LOGIN {USER} !{KIM} {PASS} ~C yes", ["LOGIN kim -", "accepted"]),
        # the piece that is missing may end within the next line
        (f"@LOGIN {USER} ~C !{WORD} yes", []),
    ],
)
def test_a_piece_is_missing(protocol: str, turns: str, expected: list[str]) -> None:
    found = told(hear(lambda: make_dissector(protocol, None, False), GREETINGS[protocol] + dialogue(protocol, turns)))
    assert [one for one in found if one != "accepted" or expected] == expected


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("\0kim\0pw", "PLAIN"),
        ("boss\0kim\0pw", "PLAIN"),
        ("\0kim\0", ""),
        ("\0\0pw", ""),
        ("a\0b\0c\0d", ""),
        ("\0k\x01m\0pw", ""),
        ("user=kim\x01auth=Bearer tok\x01\x01", "XOAUTH2"),
        ("n,a=kim,\x01host=x\x01auth=Bearer tok\x01\x01", "OAUTHBEARER"),
        ("user=kim\x01auth=Basic tok\x01\x01", ""),
        ("kim 0123456789abcdef0123456789abcdef", "CRAM-MD5"),
        ("kim 0123456789abcdef", ""),
        ("NTLMSSP\0\x01\0\0\0", "NTLM"),
        ('username="kim",realm="x",nonce="n",nc=00000001,cnonce="c",digest-uri="imap/x",response=0af3', "DIGEST-MD5"),
        ('username="kim",realm="x"', ""),
        ("c=biws,r=abc,p=" + b64(bytes(32)), "SCRAM-SHA-256"),
        ("c=biws,r=abc,p=" + b64(bytes(20)), "SCRAM-SHA-1"),
        ("c=" + b64("p=tls-exporter,,xx") + ",r=abc,p=" + b64(bytes(32)), "SCRAM-SHA-256-PLUS"),
        ("c=biws,r=abc,p=" + b64(bytes(33)), ""),
        ("kim", ""),
    ],
)
def test_forms(data: str, name: str) -> None:
    assert mechanism_of(data.encode("latin-1")) == name


def test_scram_is_named_by_its_last_message() -> None:
    final = "c=biws,r=abcdef,p=" + b64(bytes(32))
    turns = f"!{b64('n,,n=kim,r=abc')} ?{b64('r=abcdef,s=QQ==,i=4096')} !{b64(final)} yes"
    for protocol in PROTOCOLS:
        (line, end) = hear(lambda p=protocol: midstream(p), dialogue(protocol, turns))
        assert "mechanism='SCRAM-SHA-256' username='kim'" in line
        assert f"response='{final}'" in line
        assert "outcome='accepted'" in end


def test_a_digest_brings_its_challenge() -> None:
    turns = f"?{b64('<1.2@mx>')} !{b64('kim 0123456789abcdef0123456789abcdef')} yes"
    for protocol in PROTOCOLS:
        (line, _) = hear(lambda p=protocol: midstream(p), dialogue(protocol, turns))
        assert "mechanism='CRAM-MD5' username='kim' secret_kind='challenge_response' challenge='<1.2@mx>'" in line


# -- near misses: text of messages and scripts


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (SmtpDissector, f"C: {TRAP}\nC: .\nS: 250 queued\nC: QUIT\nS: 221 bye"),
        (SmtpDissector, f"C: {TRAP}\nC: {TRAP}\nC: .\nS: 250 queued"),
        (SmtpDissector, f"C: {TRAP}\nS: 250 queued\nC: NOOP\nS: 250 ok"),
        (SmtpDissector, f"C: AUTH PLAIN {TRAP}\nC: so he wrote\nC: .\nS: 250 queued"),
        (SmtpDissector, f"C: AUTH PLAIN {TRAP}\nC: .\nS: 250 queued"),
        (SmtpDissector, f"C: AUTH PLAIN {TRAP}\nS: 250 queued"),
        (SmtpDissector, "C: Data of the year\nC: STARTTLS is fine\nC: .\nS: 250 queued"),
        (ImapDissector, f"C: {TRAP}\nC: {TRAP}\nC: \nS: a7 OK appended"),
        (ImapDissector, f"C: {TRAP}\nC: \nS: a7 OK appended"),
        (ImapDissector, "C: t LOGIN trap trap\nC: and more\nC: \nS: a7 OK appended"),
        (Pop3Dissector, "S: + list\nS: of things\nS: .\nC: QUIT\nS: +OK"),
        (SieveDissector, f'C: "{TRAP}"\nC: keep;\nS: OK'),
    ],
)
def test_text_is_no_response(make: type[Dissector], lines: str) -> None:
    def begin() -> Dissector:
        dissector = make()
        dissector.midstream = True
        return dissector

    assert told(hear(begin, lines)) == []


@pytest.mark.parametrize(
    "lines",
    [
        f"C: Data of the year\nC: AUTH PLAIN {TRAP}\nC: text\nC: .\nC: QUIT",
        f"C: AUTH PLAIN {TRAP}\nC: text\nC: .\nC: QUIT",
        f"C: EHLO trap\nC: AUTH PLAIN {TRAP}\nC: MAIL FROM:<trap@x.example>\nC: 250 ok\nC: .\nC: QUIT",
        f"C: EHLO trap\nC: AUTH LOGIN\nC: {b64('trap')}\nC: {b64('trap')}\nC: .\nC: QUIT",
        "C: STARTTLS is great\nC: text\nC: .\nC: QUIT",
    ],
)
def test_client_alone_from_within_a_message(lines: str) -> None:
    assert [line for line in hear(lambda: midstream("smtp"), lines) if not line.startswith("ClientNamed")] == []


def test_client_alone_from_a_command_on() -> None:
    lines = f"C: EHLO pc\nC: AUTH PLAIN {PLAIN}\nC: MAIL FROM:<kim@x.example>\nC: RCPT TO:<ann@x.example>\nC: DATA\nC: Subject: x\nC: \nC: AUTH PLAIN {TRAP}\nC: .\nC: QUIT"
    said = hear(lambda: midstream("smtp"), lines)
    assert told(said) == ["PLAIN kim Zulu7Tango"]
    assert len([line for line in said if line.startswith("MessageTransferred")]) == 1


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("C: please LOGIN trap trap\nC: b LOGIN trap trap\nC: and so on\nC: a9 LOGOUT", []),
        ("C: one line\nC: two lines\nC: b LOGIN trap trap\nC: a9 NOOP\nC: a10 LOGOUT", []),
        (f"C: t AUTHENTICATE PLAIN\nC: {TRAP}\nC: and so on\nC: a9 LOGOUT", []),
        (f"C: t AUTHENTICATE PLAIN {TRAP}\nC: and so on\nC: a9 LOGOUT", []),
        ("C: a1 LOGIN kim Zulu7Tango\nC: a2 SELECT INBOX\nC: a3 LOGOUT", ["LOGIN-CMD kim Zulu7Tango"]),
        ("C: BILITY\nC: a1 LOGIN kim Zulu7Tango\nC: a2 SELECT INBOX", ["LOGIN-CMD kim Zulu7Tango"]),
        (f"C: a1 AUTHENTICATE PLAIN\nC: {PLAIN}\nC: a2 SELECT INBOX", ["PLAIN kim Zulu7Tango"]),
        (f"C: a1 AUTHENTICATE PLAIN {PLAIN}\nC: a2 SELECT INBOX", ["PLAIN kim Zulu7Tango"]),
        ("C: a1 LOGIN {3}\nC: kim {5}\nC: Zulu7\nC: a2 SELECT INBOX", ["LOGIN-CMD kim Zulu7"]),
    ],
)
def test_client_alone_of_imap(lines: str, expected: list[str]) -> None:
    assert told(hear(lambda: midstream("imap"), lines)) == expected


def test_a_login_told_late_stands_where_it_was_said() -> None:
    dissector = midstream("imap")
    said = play(dissector, read_transcript("C: BILITY\nC: a1 LOGIN kim Zulu7Tango\n--\nC: a2 NOOP\nS: a1 OK\n"))
    assert [(one.frame, one.offset) for one in said if type(one).__name__ == "CredentialsSent"] == [(1, 8)]


@pytest.mark.parametrize(
    ("reply", "text", "listed", "count"),
    [
        ("+OK 24 octets", "text", "", 1),
        ("+OK 900 octets", "text", "", 0),  # its top
        ("+OK", "text", "", 1),
        ("+OK", "", "", 0),
        ("+OK", "text", "S: +OK 2 messages\nS: 1 24\nS: 2 900\nS: .\n", 1),
        ("+OK", "text", "S: +OK 2 messages\nS: 1 1200\nS: 2 900\nS: .\n", 0),
        ("+OK message follows (24 bytes)", "text", "", 1),
    ],
)
def test_a_server_alone_sends_a_message_or_its_top(reply: str, text: str, listed: str, count: int) -> None:
    body = f"S: Subject: lunch\nS: \n{'S: ' + text if text else ''}\nS: .\nS: +OK bye"
    lines = hear(Pop3Dissector, f"S: +OK mx\nS: +OK\nS: +OK in\n{listed}S: {reply}\n{body}")
    assert len([line for line in lines if line.startswith("MessageTransferred")]) == count


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120))
def test_any_octets(data: bytes) -> None:
    could_be_response(data)


# -- what pairs only by luck


@pytest.mark.parametrize(
    ("make", "lines", "expected"),
    [
        # another user name, and another attempt, may be among what is missing
        (Pop3Dissector, "S: +OK\nC: USER bob\nS: +OK\nC~ 10\nS: +OK\nC: PASS Zulu7\nS: +OK", ["USER/PASS - Zulu7", "accepted"]),
        (Pop3Dissector, "S: +OK\nC: USER kim\nS: +OK\nC: PASS bad\nS~ 6\nC~ 12\nS: +OK in", ["USER/PASS kim bad"]),
        (Pop3Dissector, f"S: +OK\nC: AUTH PLAIN {PLAIN}\nS~ 6\nC~ 40\nS: +OK in", ["PLAIN kim Zulu7Tango"]),
        (SmtpDissector, f"S: 220 mx\nC: AUTH PLAIN {PLAIN}\nS~ 9\nC~ 40\nS: 235 in", ["PLAIN kim Zulu7Tango"]),
        (SieveDissector, f'S: "SASL" "X"\nS: OK\nC: AUTHENTICATE "PLAIN" "{PLAIN}"\nS~ 4\nC~ 40\nS: OK', ["PLAIN kim Zulu7Tango"]),
        # the client's "*" may be missing
        (SmtpDissector, f"S: 220 mx\nC: AUTH LOGIN\nS: 334 {b64('Username:')}\nC: {KIM}\nS: 334 {b64('Password:')}\nC~ 3\nS: 501 no", ["LOGIN kim -"]),
        (ImapDissector, f"S: * OK\nC: a AUTHENTICATE LOGIN\nS: + {b64('Username:')}\nC: {KIM}\nS: + {b64('Password:')}\nC~ 3\nS: a BAD no", ["LOGIN kim -"]),
        # text of a message and of a script, whose command is missing
        (SmtpDissector, f"S: 220 mx\nC: MAIL FROM:<a@x>\nS: 250 ok\nC: RCPT TO:<b@x>\nS: 250 ok\nC~ 18\nS~ 6\nC: \nC: AUTH PLAIN {TRAP}\nC: .\nS: 250 ok", []),
        (SieveDissector, f'S: "SASL" "X"\nS: OK\nC~ 30\nC: x\nC: AUTHENTICATE "PLAIN" "{TRAP}"\nC: \nS: OK', []),
    ],
)  # fmt: skip
def test_what_may_not_belong_together(make: type[Dissector], lines: str, expected: list[str]) -> None:
    assert told(hear(make, lines)) == expected


def test_an_answer_to_starttls_that_is_missing_is_no_grant() -> None:
    lines = hear(ImapDissector, "S: * OK mx\nC: a STARTTLS\nS~ 8\nC~ 20\nS: b OK in")
    assert not any(line.startswith("Anomaly") for line in lines)
