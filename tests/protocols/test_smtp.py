"""SMTP, submission and LMTP: transcripts and what is heard in them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.dialogue import cut_randomly, hear, kinds, play, read_transcript, told

from analyzer.model import CLIENT, SERVER
from analyzer.protocols import envelope, smtp
from analyzer.protocols.envelope import parse_path
from analyzer.protocols.smtp import SmtpDissector

HELLO = "S: 220 mx.example ESMTP\nC: EHLO me.example\nS: 250-mx.example\nS: 250-STARTTLS\nS: 250 AUTH PLAIN LOGIN\n"
GREETED = [
    "Greeted text='mx.example ESMTP'",
    "ClientNamed name='me.example'",
    "CapabilitiesOffered names=['STARTTLS', 'AUTH PLAIN LOGIN']",
]
MAIL = "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 250 ok\n"
BODY = "C: Subject: lunch\nC: \nC: AUTH PLAIN AHRyYXAAdHJhcA==\nC: MAIL FROM:<trap@x>\nC: ..\nC: .\n"


def heard(transcript: str) -> list[str]:
    """What is heard behind greeting and EHLO."""
    lines = hear(SmtpDissector, HELLO + transcript)
    assert lines[:3] == GREETED
    return lines[3:]


def message(
    number: int = 1,
    size: int = 70,
    *,
    direction: str = "relayed",
    sender: str | None = "a@b.example",
    to: tuple[str, ...] = ("c@d.example",),
    state: str = "ended=True complete=True",
    header: bytes = b"Subject: lunch\r\n",
) -> str:
    start = f"MessageTransferred message={number} direction={direction!r}" + (
        f" mail_from={sender!r}" if sender else ""
    )
    if to:
        start += f" recipients={list(to)!r}"
    return f"{start} recipient_count={len(to)} size={size} {state}" + (f" header={header!r}" if header else "")


def answered(accepted: bool = True, number: int = 1) -> str:
    return f"MessageAnswered message={number} accepted={accepted}"


def credentials(mechanism: str, user: str, password: str, number: int = 1) -> str:
    return f"CredentialsSent exchange={number} mechanism={mechanism!r} username={user!r} secret={password!r} secret_kind='password'"


def ended(outcome: str, reply: str = "", number: int = 1) -> str:
    return f"AuthenticationEnded exchange={number} outcome={outcome!r}" + (f" reply={reply!r}" if reply else "")


# -- greetings and capabilities


def test_keywords() -> None:
    lines = hear(
        SmtpDissector,
        "S: 220-mx one\nS: 220 two\nC: ehlo me\nS: 250-mx\nS: 250-auth plain Login\nS: 250-AUTH=PLAIN LOGIN\nS: 250-AUTH=CRAM-MD5\nS: 250-size 10\nS: 250 8BITMIME",
    )
    assert lines == [
        "Greeted text='mx one'",
        "ClientNamed name='me'",
        "CapabilitiesOffered names=['AUTH PLAIN LOGIN', 'AUTH CRAM-MD5', 'SIZE 10', '8BITMIME']",
    ]


def test_hello_in_other_ways() -> None:
    assert hear(SmtpDissector, "S: 220 mx\nC: EHLO\nS: 501 no\nC: HELO me\nS: 250 mx") == [
        "Greeted text='mx'",
        "ClientNamed name='me'",
    ]
    # The server knows no EHLO, or somebody says so in its name: nothing is offered.
    for said in ("C: HELO me\nS: 250 mx", "C: HELO me\nS: 250 mx\nC: HELO me\nS: 250 mx"):
        for answer in ("502 no", "450 later"):
            lines = kinds(hear(SmtpDissector, f"S: 220 mx\nC: EHLO me\nS: {answer}\n{said}"))
            assert lines.count("CapabilitiesOffered") == 1
    for said in (
        "S: 502 no\nC: HELO me\nS: 502 no",
        "S: 502 no\nC: QUIT\nS: 221 bye",
        "S: 450 later\nC: QUIT\nS: 221 bye",
    ):
        assert "CapabilitiesOffered" not in kinds(hear(SmtpDissector, f"S: 220 mx\nC: EHLO me\n{said}"))
    assert hear(SmtpDissector, "S: 220 mx\nC: EHLO me\nS: 250 mx")[-1] == "CapabilitiesOffered"
    # Lines of one reply with codes that differ: the last one counts.
    assert (
        hear(SmtpDissector, "S: 220 mx\nC: EHLO me\nS: 250-mx\nS: 220-SIZE\nS: 250 STARTTLS")[-1]
        == "CapabilitiesOffered names=['SIZE', 'STARTTLS']"
    )
    assert kinds(hear(SmtpDissector, "S: 554 go away\nC: QUIT\nS: 221 bye")) == []


@pytest.mark.parametrize("keyword", ["XXXXXXXA", "XXXXXXXX"])
def test_masked_keyword(keyword: str) -> None:
    assert (
        kinds(hear(SmtpDissector, f"S: 220 mx\nC: EHLO me\nS: 250-mx\nS: 250 {keyword}"))[-1]
        == "Anomaly starttls_stripped"
    )


def test_masked_banner_and_command() -> None:
    assert kinds(hear(SmtpDissector, "S: 220 ****************0*2****0*00")) == ["Greeted", "Anomaly starttls_stripped"]
    assert kinds(hear(SmtpDissector, "S: 220 *** mx.example *** welcome ***")) == ["Greeted"]
    assert kinds(heard("C: XXXXXXXX\nS: 500 what?")) == ["Anomaly starttls_stripped"]
    assert kinds(heard("C: XYZ\nS: 500 what?")) == []


# -- authentication


@pytest.mark.parametrize(
    "commands",
    [
        "C: AUTH PLAIN AGFubmEAYXAxMQ==",
        "C: auth plain AGFubmEAYXAxMQ==",
        "C: AUTH PLAIN\nS: 334 \nC: AGFubmEAYXAxMQ==",
        "C: AUTH PLAIN\nS: 334\nC: AGFubmEAYXAxMQ==",
        "C: AUTH PLAIN\nC: AGFubmEAYXAxMQ==\nS: 334 go on",
    ],
)
def test_plain(commands: str) -> None:
    assert heard(commands + "\nS: 235 in") == [credentials("PLAIN", "anna", "ap11"), ended("accepted", "235 in")]


@pytest.mark.parametrize("prompts", [("VXNlcm5hbWU6", "UGFzc3dvcmQ6"), ("Username:", "Password:"), ("", "")])
def test_login(prompts: tuple[str, str]) -> None:
    user, password = prompts
    assert heard(f"C: AUTH LOGIN\nS: 334 {user}\nC: YW5uYQ==\nS: 334 {password}\nC: YXAxMg==\nS: 535 no") == [
        credentials("LOGIN", "anna", "ap12"),
        ended("rejected", "535 no"),
    ]
    assert heard(f"C: AUTH LOGIN YW5uYQ==\nS: 334 {password}\nC: YXAxMg==\nS: 454 later")[0] == credentials(
        "LOGIN", "anna", "ap12"
    )


def test_cancelled_refused_and_repeated() -> None:
    assert heard(
        "C: AUTH GSSAPI\nS: 504 no\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: *\nS: 501 cancelled\nC: AUTH\nS: 501 what?\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235-in\nS: 235 deed"
    ) == [
        ended("rejected", "504 no"),
        ended("cancelled", number=2),
        credentials("PLAIN", "anna", "ap11", 3),
        ended("accepted", "235 deed", 3),
    ]


def test_exchanges_authentication() -> None:
    assert heard("C: X-EXPS LOGIN\nS: 334\nC: YW5uYQ==\nS: 334\nC: YXAxMg==\nS: 235 in") == [
        credentials("LOGIN", "anna", "ap12"),
        ended("accepted", "235 in"),
    ]


def test_a_verb_in_place_of_a_response() -> None:
    # It is valid base64, and no name.
    assert not any("username" in line for line in heard("C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: QUIT"))
    # Without the 334 it is a command, answered as one.
    assert heard("C: AUTH LOGIN\nC: QUIT\nS: 503 no\nS: 221 bye") == [ended("rejected", "503 no")]


def test_credentials_that_the_server_had_forbidden() -> None:
    again = "C: AUTH PLAIN AGFubmEAYXAxMQ==\nS: {}\n" * 2
    assert (
        kinds(heard(again.format("538 Encryption required", "538 Encryption required"))).count(
            "Anomaly password_though_forbidden"
        )
        == 1
    )
    assert (
        kinds(heard(again.format("530 Must issue a STARTTLS command first", "235 in"))).count(
            "Anomaly password_though_forbidden"
        )
        == 1
    )
    assert "Anomaly password_though_forbidden" not in kinds(heard(again.format("535 no", "235 in")))
    mail = "C: MAIL FROM:<a@b>\nS: 530 5.7.0 {}\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in"
    assert "Anomaly password_though_forbidden" in kinds(heard(mail.format("Must issue a STARTTLS command first")))
    assert "Anomaly password_though_forbidden" not in kinds(heard(mail.format("Authentication required")))


def test_credentials_before_capabilities() -> None:
    assert kinds(hear(SmtpDissector, "S: 220 mx\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in")) == [
        "Greeted",
        "Anomaly credentials_before_capabilities",
        "CredentialsSent",
        "AuthenticationEnded",
    ]


# -- messages


def test_message() -> None:
    assert heard(MAIL + "C: DATA\nS: 354 go\n" + BODY + "S: 250 queued\nC: QUIT\nS: 221 bye") == [message(), answered()]


def test_direction() -> None:
    def submission() -> SmtpDissector:
        dissector = SmtpDissector()
        dissector.submission = True
        return dissector

    transfer = MAIL + "C: DATA\nS: 354 go\n" + BODY + "S: 250 queued"
    assert hear(submission, HELLO + transfer)[3] == message(direction="submitted")
    assert heard("C: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in\n" + transfer)[2] == message(direction="submitted")
    assert heard("C: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 535 no\n" + transfer)[2] == message(direction="relayed")


def test_several_messages_and_rset() -> None:
    transfer = "C: DATA\nS: 354 go\n" + BODY
    second = "C: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<x@y>\nS: 250 ok\n"
    assert heard(MAIL + transfer + "S: 250 ok\n" + MAIL + "C: RSET\nS: 250 ok\n" + second + transfer + "S: 550 no") == [
        message(),
        answered(),
        message(2, sender="", to=("x@y",)),
        answered(False, 2),
    ]


def test_refused_recipients_do_not_count() -> None:
    assert heard(
        "C: MAIL FROM:<a@b.example>\nC: RCPT TO:<no@d>\nC: RCPT TO:<c@d.example>\nC: RCPT TO:<no2@d>\nC: DATA\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 451 no\nS: 354 go\n"
        + BODY
        + "S: 250 ok"
    ) == [
        message(),
        answered(),
    ]


def test_nested_mail_keeps_the_first_envelope() -> None:
    assert (
        heard(
            "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: MAIL FROM:<z@z>\nS: 503 nested\nC: RCPT TO:<c@d.example>\nS: 250 ok\nC: DATA\nS: 354 go\n"
            + BODY
        )[0]
        == message()
    )


def test_data_refused() -> None:
    assert heard(MAIL + "C: DATA\nS: 451 no\nC: NOOP\nS: 250 ok\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in") == [
        credentials("PLAIN", "anna", "ap11"),
        ended("accepted", "235 in"),
    ]


def test_message_sent_in_spite_of_a_refusal_is_text() -> None:
    assert heard(MAIL + "C: DATA\n" + BODY + "S: 503 no\nC: NOOP\nS: 250 ok") == []
    assert heard(MAIL + "C: DATA\nC: RSET\nC: NOOP\nS: 503 no\nS: 250 ok\nS: 250 ok") == []


def test_everything_pipelined() -> None:
    commands = (
        "C: EHLO me.example\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\n" + BODY + "C: QUIT\n"
    )
    replies = "S: 220 mx.example ESMTP\nS: 250 mx\nS: 250 ok\nS: 250 ok\nS: 354 go\nS: 250 queued\nS: 221 bye"
    assert kinds(hear(SmtpDissector, commands + replies)) == [
        "ClientNamed",
        "Greeted",
        "Anomaly pipelined_before_greeting",
        "CapabilitiesOffered",
        "MessageTransferred",
        "MessageAnswered",
    ]


def test_body_is_never_commands() -> None:
    body = "C: Subject: lunch\nC: \nC: AUTH LOGIN\nC: dHJhcA==\nC: ...\nC: . \nC:  .\nC| x.\\r\nC| \\n.\\n.x\\r\\n\nC: BDAT 5\nC: .\n"
    assert kinds(heard(MAIL + "C: DATA\nS: 354 go\n" + body + "S: 250 queued\nC: QUIT\nS: 221 bye")) == [
        "MessageTransferred",
        "MessageAnswered",
    ]


def test_unended_message() -> None:
    assert heard(MAIL + "C: DATA\nS: 354 go\nC: Subject: lunch\nC: \nC: ..")[0] == message(
        size=21, state="ended=False complete=False"
    )


def test_server_gives_up_within_a_message() -> None:
    assert heard(
        MAIL + "C: DATA\nS: 354 go\nC: Subject: lunch\nC: \nS: 552 too big\nC: text\nC: .\nC: NOOP\nS: 250 ok"
    ) == [message(size=24), answered(False)]


# -- BDAT


def chunks(transcript: str, **how: object) -> list[str]:
    return heard(MAIL + transcript)


def test_chunks() -> None:
    assert heard(
        MAIL
        + "C: BDAT 20\nC| Subject: lunch\\r\\n\\r\\nQU\nC: BDAT 4 last\nC| IT\\r\\n\nC: QUIT\nS: 250 ok\nS: 250 ok\nS: 221 bye"
    ) == [
        message(size=24),
        answered(),
    ]
    assert heard(MAIL + "C: BDAT 18\nC| Subject: lunch\\r\\n\\r\\n\nS: 250 ok\nC: BDAT 0 LAST\nS: 250 ok") == [
        message(size=18),
        answered(),
    ]


def test_chunk_followed_by_a_command_without_line_end() -> None:
    envelope = "C: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: BDAT 6 LAST\nC| a: b.c\n"
    assert kinds(
        heard(
            envelope
            + "C: RSET\n"
            + envelope
            + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 554 no"
        )
    ) == [
        "MessageTransferred",
        "MessageAnswered",
        "MessageTransferred",
        "MessageAnswered",
    ]
    assert heard(envelope + "S: 250 ok\nS: 550 no\nS: 554 no")[0] == message(size=6, to=(), header=b"a: b.c")


def test_refused_chunk_is_read_nevertheless() -> None:
    assert heard("C: BDAT 12\nC| MAIL FROM:a\\n\nC: BDAT 6 LAST\nC| QUIT\\r\\n\nS: 503 no\nS: 503 no") == [
        message(size=18, sender=None, to=(), header=b"MAIL FROM:a\nQUIT\r\n"),
        answered(False),
    ]


@pytest.mark.parametrize("argument", ["", "5 X", "LAST", "-5", "5 LAST x", "99999999999999999999999", "0x5"])
def test_chunk_of_no_size(argument: str) -> None:
    assert kinds(heard(f"C: BDAT {argument}\nC: MAIL FROM:<a@b>\nS: 501 no\nS: 250 ok")) == [
        "Anomaly malformed_command"
    ]


def test_chunks_given_up() -> None:
    assert heard(MAIL + "C: BDAT 18\nC| Subject: lunch\\r\\n\\r\\n\nS: 552 no\nC: RSET\nS: 250 ok")[0] == message(
        size=18, state="ended=False complete=False"
    )


# -- LMTP


def test_lmtp_answers_each_recipient() -> None:
    dialogue = (
        "S: 220 mx LMTP\nC: LHLO me\nS: 250 mx\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: RCPT TO:<no@d>\nC: RCPT TO:<e@d>\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nS: 354 go\n" + BODY + "S: 452 full\nS: 250 ok\nC: QUIT\nS: 221 bye"
    )
    lines = hear(SmtpDissector, dialogue)
    assert lines[-2:] == [message(direction="delivered", to=("c@d.example", "e@d")), answered()]
    assert hear(SmtpDissector, dialogue.replace("S: 250 ok\nC: QUIT", "S: 452 full\nC: QUIT"))[-1] == answered(False)
    dissector = SmtpDissector()
    play(dissector, read_transcript(dialogue))
    assert dissector.protocol == "lmtp"


# -- addresses


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        (b"FROM:<a@b>", "a@b"),
        (b"from: <a@b> SIZE=1", "a@b"),
        (b"FROM : a@b BODY=8BITMIME", "a@b"),
        (b"FROM:a@b", "a@b"),
        (b"FROM:<>", ""),
        (b'FROM:<"a> b"@c> AUTH=<>', '"a> b"@c'),
        (b'FROM:<"a\\" >b"@c>', '"a\\" >b"@c'),
        (b'FROM:"a b"@c SIZE=1', '"a b"@c'),
        (b"FROM:<@r1,@r2:a@b>", "a@b"),
        ("FROM:<ä@ö>".encode(), "ä@ö"),
        (b"FROM:<a@b", "a@b"),
        (b'FROM:<"a@b', '"a@b'),
        (b"FROM <a@b>", None),
        (b"TO:<a@b>", None),
        (b"", None),
    ],
)
def test_paths(argument: bytes, address: str | None) -> None:
    assert parse_path(argument, b"FROM") == address


def test_mail_without_an_address() -> None:
    assert kinds(heard("C: MAIL\nC: RCPT <a@b>\nS: 501 no\nS: 501 no")) == ["Anomaly malformed_command"] * 2


# -- STARTTLS

TLS = "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00\n"
TRAILING = [
    "trailing client b'\\x16\\x03\\x01\\x00\\x02\\x01\\x00'",
    "trailing server b'\\x16\\x03\\x03\\x00\\x02\\x02\\x00'",
]


@pytest.mark.parametrize("verb", ["STARTTLS", "starttls", "X-ANONYMOUSTLS"])
def test_starttls(verb: str) -> None:
    assert heard(f"C: {verb}\nS: 220-go\nS: 220 on\n{TLS}") == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "TlsStarted",
        *TRAILING,
    ]


@pytest.mark.parametrize("reply", ["454 not now", "502 no", "500 what?"])
def test_starttls_refused(reply: str) -> None:
    assert heard(f"C: STARTTLS\nS: {reply}\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in") == [
        "StartTlsRequested",
        f"StartTlsRefused reply={reply!r}",
        credentials("PLAIN", "anna", "ap11"),
        ended("accepted", "235 in"),
    ]


def test_starttls_stripped_on_the_way() -> None:
    assert kinds(heard("C: STARTTLS\nS: 500 #5.5.1 command not recognized")) == [
        "StartTlsRequested",
        "Anomaly starttls_stripped",
        "StartTlsRefused",
    ]


def test_command_injection() -> None:
    assert heard("C: STARTTLS\nC: MAIL FROM:<x@y>\nC: RSET\nS: 220 go\n" + TLS) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly kind='starttls_command_injection' detail='2 lines, 23 octets: MAIL, RSET'",
        "TlsStarted",
        *TRAILING,
    ]
    # The same in one segment with the handshake.
    lines = heard(
        "C: STARTTLS\nC: RSET\nC| \\x16\\x03\\x01\\x00\\x02\\x01\\x00\nS: 220 go\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00"
    )
    assert kinds(lines[:4]) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_command_injection",
        "TlsStarted",
    ]
    assert lines[4:] == TRAILING


INJECTED = ["StartTlsRequested", "StartTlsAccepted", "Anomaly starttls_command_injection", "TlsStarted"]


def test_command_injection_behind_the_grant() -> None:
    text = "C: STARTTLS\nS: 220 go\nC: MAIL FROM:<x@y>\n--\nC: RSET\n"
    assert heard(text + TLS) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly kind='starttls_command_injection' detail='2 lines, 23 octets: MAIL, RSET'",
        "TlsStarted",
        *TRAILING,
    ]
    # In one segment with the handshake; on both sides of the grant; around a line that the grant cuts in two.
    for text in (
        "C: STARTTLS\nS: 220 go\nC: RSET\n",
        "C: STARTTLS\nC: NOOP\nS: 220 go\n--\nC: RSET\n",
        "C: STARTTLS\nC| RS\nS: 220 go\nC| ET\\r\\n\nC: RSET\n",
    ):
        lines = heard(text + TLS)
        assert kinds(lines[:4]) == INJECTED
        assert lines[4:] == TRAILING
    # The server's text before it was injected, too.
    both = kinds(heard("C: STARTTLS\nS: 220 go\nS: 250 ok\nC: RSET\n" + TLS)[:5])
    assert both == [*INJECTED[:3], "Anomaly starttls_response_injection", "TlsStarted"]


def test_text_behind_the_grant_is_evidence_where_it_stands() -> None:
    pieces = read_transcript("C: STARTTLS\nS: 220 go\nC: NOOP\n--\nC: RSET\n--\n" + TLS)
    said = play(SmtpDissector(), pieces)
    assert [(one.frame, one.offset) for one in said[2:4]] == [(3, 10), (5, 22)]
    # Each line keeps its frame where it turns out to be a command.
    said = play(
        SmtpDissector(), read_transcript("C: STARTTLS\nS: 220 go\nC: NOOP\n--\nC: EHLO a\n--\nC: EHLO b\nS: 250 ok")
    )
    assert [(one.frame, one.offset) for one in said[2:5]] == [(3, 10), (4, 16), (5, 24)]


@pytest.mark.parametrize(
    "ending",
    [
        "S: 250 ok\n" + TLS,  # it was answered: the server read it as a command
        "",  # and nothing came any more
        "C~ 5\n",
        "S~ 5\n",
        "S| \\x15\\x03\\x03\\x00\\x02\\x02\\x0a\n",  # answered with an alert
        "C| \\x16\\x03\nS: 250 ok\n",  # the beginning of nothing
        "C| \\x16\\x04\\x01\\x00\\x02\\x01\\x00\n",
        "C| x\\x16\\x03\\x01\\x00\\x02\\x01\\x00\n",  # not where a line begins
    ],
)
def test_text_behind_the_grant_that_no_tls_follows_goes_on(ending: str) -> None:
    lines = kinds(heard("C: STARTTLS\nS: 220 go\nC: EHLO me.example\n" + ending))
    assert lines[:4] == [*INJECTED[:2], "Anomaly starttls_without_tls", "ClientNamed"]
    assert "Anomaly starttls_command_injection" not in lines


def test_text_behind_the_grant_waits_within_bounds() -> None:
    said = play(
        SmtpDissector(),
        [*read_transcript("C: STARTTLS\nS: 220 go"), *[(CLIENT, b"NOOP\r\n")] * 20000],
        eof=False,
        finish=False,
    )
    assert kinds(told(said))[2] == "Anomaly starttls_without_tls"


def test_response_injection() -> None:
    assert kinds(heard("C: STARTTLS\nS: 220 go\nS: 250-mx\nS: 250 AUTH PLAIN\n" + TLS)[:4]) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_response_injection",
        "TlsStarted",
    ]


def test_refused_with_commands_behind_it() -> None:
    assert heard("C: STARTTLS\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 454 no\nS: 235 in")[2:] == [
        credentials("PLAIN", "anna", "ap11"),
        ended("accepted", "235 in"),
    ]


def test_text_goes_on() -> None:
    lines = heard(
        "C: STARTTLS\nS: 220 go\nC: EHLO me.example\nS: 250-mx\nS: 250 SIZE\n"
        + MAIL
        + "C: DATA\nS: 354 go\n"
        + BODY
        + "S: 250 ok"
    )
    assert kinds(lines) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_without_tls",
        "ClientNamed",
        "CapabilitiesOffered",
        "MessageTransferred",
        "MessageAnswered",
    ]
    assert kinds(heard("C: STARTTLS\nS: 220 go\nS: HTTP/1.1 101 Switching"))[-1] == "Anomaly starttls_without_tls"


# -- one side, the middle, gaps


def test_client_alone() -> None:
    lines = hear(
        SmtpDissector,
        "C: EHLO me.example\nC: AUTH LOGIN\nC: YW5uYQ==\nC: YXAxMg==\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\n"
        + BODY
        + "C: QUIT",
    )
    assert lines == ["ClientNamed name='me.example'", credentials("LOGIN", "anna", "ap12"), message()]
    lines = hear(SmtpDissector, "C: EHLO me.example\nC: STARTTLS\nC| \\x16\\x03\\x01\\x00\\x02\\x01\\x00")
    assert kinds(lines)[:3] == ["ClientNamed", "StartTlsRequested", "TlsStarted"]


def test_server_alone() -> None:
    assert kinds(
        hear(
            SmtpDissector,
            "S: 220 mx\nS: 250-mx\nS: 250 SIZE\nS: 334 VXNlcm5hbWU6\nS: 235 in\nS: 354 go\nS: 250 ok\nS: 221 bye",
        )
    ) == ["Greeted", "CapabilitiesOffered"]


def test_large_message_of_a_client_alone() -> None:
    text = (
        "C: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\nC: Subject: lunch\nC: \n"
        + ("C: " + "x" * 998 + "\n") * 100
        + "C: .\nC: RSET"
    )
    assert hear(SmtpDissector, text, seeds=[]) == [message(size=100018)]


def test_midstream_within_a_message() -> None:
    def make() -> SmtpDissector:
        dissector = SmtpDissector()
        dissector.midstream = True
        return dissector

    text = "C: and so he said:\nC: AUTH PLAIN AHRyYXAAdHJhcA==\nC: .\n"
    rest = "S: 250 queued\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in"
    assert hear(make, text + rest) == [credentials("PLAIN", "anna", "ap11"), ended("accepted", "235 in")]
    assert hear(SmtpDissector, text + rest) == hear(make, text + rest)


def test_gap_in_a_message() -> None:
    lines = heard(
        MAIL
        + "C: DATA\nS: 354 go\nC: Subject: lunch\nC: \nC~ 1000\nC: AUTH PLAIN AHRyYXAAdHJhcA==\nC: .\nS: 250 ok\nC: QUIT\nS: 221 bye"
    )
    assert lines == [message(size=1047, state="ended=True complete=False"), answered()]


def test_gap_that_swallows_a_messages_end() -> None:
    lines = heard(
        MAIL
        + "C: DATA\nS: 354 go\nC: Subject: lunch\nC: \nC~ 1000\nS: 250 ok\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in"
    )
    assert lines == [
        message(size=1018, state="ended=False complete=False"),
        answered(),
        credentials("PLAIN", "anna", "ap11"),
        ended("accepted", "235 in"),
    ]


def test_gap_that_swallows_the_data_command() -> None:
    text = "C~ 40\nC: said:\nC: AUTH PLAIN AHRyYXAAdHJhcA==\nC: .\nS: 250 ok\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in"
    assert credentials("PLAIN", "anna", "ap11") in heard(
        MAIL.replace("S: 250 ok\n", "") + "S: 250 ok\nS: 250 ok\n" + text.replace("C: said", "C: x\nC: said")
    )
    assert not any("trap" in line for line in heard(MAIL + text.replace("C: said", "C: x\nC: said")))
    lines = heard(MAIL + "C~ 6\nS: 354 go\n" + BODY + "S: 250 ok\nC: QUIT\nS: 221 bye")
    assert lines == [message(), answered()]


def test_gap_that_swallows_the_go_ahead() -> None:
    assert heard(MAIL + "C: DATA\nS~ 8\n" + BODY + "S: 250 ok") == [message(), answered()]
    assert heard("C: AUTH LOGIN\nS~ 18\nC: YW5uYQ==\nS: 334\nC: YXAxMg==\nS: 235 in") == [
        credentials("LOGIN", "anna", "ap12"),
        ended("accepted", "235 in"),
    ]


def test_gap_in_a_chunk() -> None:
    assert heard(MAIL + "C: BDAT 30 LAST\nC: Subject: lunch\nC~ 14\nC: QUIT\nS: 250 ok\nS: 221 bye") == [
        message(size=30, state="ended=True complete=False"),
        answered(),
    ]
    assert kinds(heard(MAIL + "C: BDAT 30 LAST\nC: Subject: lunch\nC~ 30\nS: 250 ok\nC: QUIT\nS: 221 bye")) == [
        "MessageTransferred",
        "MessageAnswered",
    ]


def test_gaps_between_commands() -> None:
    assert heard("C~ 10\nS: 250 ok\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in")[-1] == ended("accepted", "235 in")
    assert heard("C: NOOP\nS~ 8\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in")[-1] == ended("accepted", "235 in")
    assert heard("C: AUTH PLAIN AGFubmEAYXAxMQ==\nS~ 8\nC: NOOP\nS: 250 ok") == [credentials("PLAIN", "anna", "ap11")]


# -- oddities


def test_unasked_replies() -> None:
    assert kinds(heard("S: 421 idle for too long")) == []
    assert kinds(heard("S: 250 what did you say?")) == ["Anomaly unexpected_reply"]
    assert kinds(heard("C: NOOP\nS: what?\nS: 250 ok")) == ["Anomaly malformed_reply"]


def test_a_proxys_line_is_answered_by_nobody() -> None:
    assert hear(SmtpDissector, "C: PROXY TCP4 192.0.2.1 192.0.2.2 5 25\n" + HELLO) == GREETED


def test_long_lines() -> None:
    assert kinds(hear(SmtpDissector, "S: 220 " + "x" * 5000 + "\nC: EHLO " + "y" * 4000 + "\nS: 250 mx", seeds=[])) == [
        "Greeted",
        "ClientNamed",
        "CapabilitiesOffered",
    ]
    assert kinds(hear(SmtpDissector, HELLO + "C: NOOP " + "y" * 70000 + "\nS: 500 no\nC: RSET\nS: 250 ok", seeds=[]))[
        3:
    ] == ["Anomaly line_too_long"]


# -- limits and properties


def test_bounds() -> None:
    dissector = SmtpDissector()
    play(
        dissector,
        [*read_transcript(HELLO), (CLIENT, b"RCPT TO:<a@b>\r\n" * 5000), (SERVER, b"250-x\r\n" * 5000)],
        finish=False,
    )
    assert len(dissector._pending) == smtp.MAX_PENDING
    assert len(dissector._reply) == smtp.MAX_REPLY_LINES
    assert dissector._envelope is not None
    assert len(dissector._envelope.recipients()) == envelope.MAX_RECIPIENTS
    assert dissector._envelope.count() == 5000


ROWS = st.sampled_from(
    [
        *[
            "C: EHLO me",
            "C: MAIL FROM:<a@b>",
            "C: RCPT TO:<c@d>",
            "C: DATA",
            "C: BDAT 5",
            "C: BDAT 5 LAST",
            "C: BDAT 0 LAST",
            "C: .",
            "C: ..",
            "C: text: x",
            "C: ",
            "C: AUTH PLAIN",
            "C: AUTH LOGIN",
        ],
        *[
            "C: AUTH PLAIN AGFubmEAYXAxMQ==",
            "C: AGFubmEAYXAxMQ==",
            "C: *",
            "C: QUIT",
            "C: RSET",
            "C: STARTTLS",
            "C: what",
            "C: LHLO x",
            "S: 220 mx",
            "S: 250 ok",
            "S: 250-ok",
            "S: 354 go",
            "S: 334 YQ==",
        ],
        *[
            "S: 235 in",
            "S: 535 no",
            "S: 550 no",
            "S: 421 bye",
            "S: 454 no",
            "S: what",
            "C| hello",
            "C| \\r",
            "C| \\n",
            "C| .",
            "S| 2",
            "S| \\n",
            "C| \\x16\\x03\\x01",
            "S| \\x16\\x03\\x01",
            "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00",
            "C~ 5",
            "S~ 5",
            "--",
        ],
    ]
)


@example(
    ["C~ 5", "C: EHLO me", "C| \\x16\\x03\\x01", "C: EHLO me"], 3
)  # what may be TLS, behind a line of the same piece
@example(["S: 220 mx", "C~ 5", "C: .", "S: 235 in", "S: 220 mx", "S| \\x16\\x03\\x01"], 146)  # the server begins TLS
@given(st.lists(ROWS, max_size=40), st.integers(0, 1 << 30))
@settings(max_examples=400, deadline=None)
def test_any_split_says_the_same(rows: list[str], seed: int) -> None:
    pieces = read_transcript("\n".join(rows))
    assert told(play(SmtpDissector(), pieces), True) == told(play(SmtpDissector(), cut_randomly(pieces, seed)), True)


@given(
    st.lists(
        st.tuples(st.sampled_from([CLIENT, SERVER]), st.one_of(st.integers(1, 3000), st.binary(max_size=40))),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_octets_and_gaps(pieces: list[tuple[int, bytes | int]]) -> None:
    play(SmtpDissector(), pieces)


def test_replies_whose_end_is_missing() -> None:
    assert hear(
        SmtpDissector,
        "S: 220 mx\nC: EHLO me\nS: 250-mx\nS: 250-SIZE\nC: AUTH LOGIN\nS: 334\nC: YW5uYQ==\nS: 334\nC: YXAxMg==\nS: 235 in",
    )[2:] == [
        "CapabilitiesOffered names=['SIZE']",
        credentials("LOGIN", "anna", "ap12"),
        ended("accepted", "235 in"),
    ]
    assert kinds(hear(SmtpDissector, "S: 220 mx\nC: EHLO me\nC: STARTTLS\nS: 220 go\n" + TLS))[-5:-2] == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "TlsStarted",
    ]


@pytest.mark.parametrize("end", ["\\r\\n.\\n", "\\n.\\r\\n", "\\n.\\n", "\\r\\n.\\n\\n"])
def test_ends_that_servers_take_though_they_should_not(end: str) -> None:
    text = MAIL + "C: DATA\nS: 354 go\nC| Subject: lunch\\r\\n\\r\\nx" + end
    assert heard(text + "\nS: 250 ok\nC: AUTH PLAIN AGFubmEAYXAxMQ==\nS: 235 in") == [
        message(size=21 if end.startswith("\\r") else 20),
        answered(),
        credentials("PLAIN", "anna", "ap11"),
        ended("accepted", "235 in"),
    ]
    # What stands behind such an end is text until the server says otherwise.
    assert heard(text + "AUTH PLAIN AHRyYXAAdHJhcA==\\r\\n.\\r\\n\nS: 250 ok")[-1] == answered()
    assert kinds(heard(text)) == ["MessageTransferred"]


def test_server_alone_that_offers_tls() -> None:
    lines = hear(
        SmtpDissector, "S: 220 mx\nS: 250-mx\nS: 250 STARTTLS\nS: 220 go\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00"
    )
    assert kinds(lines)[:4] == ["Greeted", "CapabilitiesOffered", "StartTlsAccepted", "TlsStarted"]


def test_replies_that_are_missing_without_a_trace() -> None:
    assert heard("C: NOOP\nC: AUTH LOGIN\nS: 334\nC: YW5uYQ==\nS: 334\nC: YXAxMg==\nS: 235 in") == [
        credentials("LOGIN", "anna", "ap12"),
        ended("accepted", "235 in"),
    ]


def test_client_that_says_all_and_hangs_up() -> None:
    dissector = SmtpDissector()
    said = play(
        dissector,
        read_transcript("C: HELO me\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\n" + BODY),
        finish=False,
    )
    said += play(dissector, read_transcript("S: 220 mx\nS: 250 mx\nS: 250 ok\nS: 250 ok\nS: 354 go\nS: 250 ok"))
    assert told(said)[-2:] == [message(), answered()]


def test_go_ahead_later_than_it_was_waited_for() -> None:
    text = MAIL + "C: DATA\nC: Subject: lunch\nC: \n" + ("C: " + "x" * 998 + "\n") * 100 + "C: .\nS: 354 go\nS: 250 ok"
    assert hear(SmtpDissector, HELLO + text, seeds=[])[3:] == [message(size=100018), answered()]
