"""POP3: transcripts and what is heard in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialogue import cut_randomly, hear, kinds, play, read_transcript, told

from analyzer.model import CLIENT, SERVER, Position
from analyzer.protocols.pop3 import MAX_PENDING, Pop3Dissector
from analyzer.protocols.pop3_grammar import apop_timestamp

HELLO = "S: +OK mx ready <17.4@mx.example>\n"
GREETED = "Greeted text='mx ready <17.4@mx.example>'"


def heard(transcript: str) -> list[str]:
    """What is heard behind a greeting."""
    lines = hear(Pop3Dissector, HELLO + transcript)
    assert lines[0] == GREETED
    return lines[1:]


def login(user: str, password: str, number: int = 1) -> str:
    return f"CredentialsSent exchange={number} mechanism='USER/PASS' username={user!r} secret={password!r} secret_kind='password'"


def ended(outcome: str, reply: str = "", number: int = 1) -> str:
    return f"AuthenticationEnded exchange={number} outcome={outcome!r}" + (f" reply={reply!r}" if reply else "")


def test_login() -> None:
    assert heard("C: USER anna\nS: +OK\nC: PASS ap01\nS: +OK Logged in.\nC: QUIT\nS: +OK") == [
        login("anna", "ap01"),
        ended("accepted", "Logged in."),
    ]


@pytest.mark.parametrize(
    ("commands", "user", "password"),
    [
        ("C: user anna\nS: +OK\nC: pass ap02", "anna", "ap02"),
        ("C: USER  anna\nS: +OK\nC: PASS ap 03 with spaces ", "anna", "ap 03 with spaces "),
        ("C: USER anna\nS: +OK\nC: PASS  ap04", "anna", " ap04"),
        ("C: USER änna\nS: +OK\nC: PASS pässwört", "änna", "pässwört"),
        ("C| USER anna\\r\\nPASS \\xff\\r\\n\nS: +OK", "anna", "\udcff"),
        ("C| USER anna\\nPASS ap05\\n\nS: +OK", "anna", "ap05"),
    ],
)
def test_spellings_of_a_login(commands: str, user: str, password: str) -> None:
    assert heard(commands + "\nS: +OK") == [login(user, password), ended("accepted")]


def test_pipelined_attempts_pair_with_their_replies() -> None:
    assert heard(
        "C: USER a\nC: PASS 1\nC: USER b\nC: PASS 2\nC: STAT\nS: +OK\nS: -ERR [AUTH] no\nS: +OK\nS: +OK in\nS: +OK 0 0"
    ) == [login("a", "1"), login("b", "2", 2), ended("rejected", "[AUTH] no"), ended("accepted", "in", 2)]


def test_user_refused_and_pass_sent_anyway() -> None:
    refused = "C: USER anna\nS: -ERR [SYS/PERM] Plaintext authentication disallowed.\nC: PASS ap06\nS: -ERR no"
    assert heard(refused) == [
        "Anomaly kind='password_though_forbidden' detail='PASS, although the server takes no password in clear'",
        login("anna", "ap06"),
        ended("rejected", "no"),
    ]
    assert heard("C: USER anna\nS: -ERR who?\nC: PASS ap06\nS: -ERR no") == [
        login("anna", "ap06"),
        ended("rejected", "no"),
    ]


def test_capabilities() -> None:
    assert heard("C: capa\nS: +OK list\nS: TOP\nS: sasl plain Login\nS: STLS\nS: IMPLEMENTATION Mx\nS: USER\nS: .") == [
        "CapabilitiesOffered names=['TOP', 'SASL PLAIN LOGIN', 'STLS', 'IMPLEMENTATION Mx', 'USER']"
    ]
    # Who refuses to say what it offers offers nothing.
    assert heard("C: CAPA\nS: -ERR what?\nC: STAT\nS: +OK") == ["CapabilitiesOffered"]
    assert kinds(heard("C: CAPA\nS: +OK\nS: USER\nS: .\nC: CAPA\nS: -ERR again?")) == ["CapabilitiesOffered"]


def test_password_that_the_capabilities_rule_out() -> None:
    capa = "C: CAPA\nS: +OK\nS: STLS\nS: TOP\nS: .\nC: USER a\nS: +OK\nC: PASS p\nS: +OK"
    assert "password_not_offered" in heard(capa)[1]
    assert kinds(heard(capa.replace("S: TOP", "S: USER"))) == [
        "CapabilitiesOffered",
        "CredentialsSent",
        "AuthenticationEnded",
    ]


def test_credentials_before_the_answer_to_capa() -> None:
    assert "Anomaly credentials_before_capabilities" in kinds(
        heard("C: CAPA\nC: USER a\nC: PASS p\nS: +OK\nS: STLS\nS: .\nS: +OK\nS: +OK")
    )


def test_masked_capability() -> None:
    assert kinds(heard("C: CAPA\nS: +OK\nS: USER\nS: XXXX\nS: .")) == [
        "CapabilitiesOffered",
        "Anomaly starttls_stripped",
    ]


def test_apop() -> None:
    digest = "c4c9334bac560ecc979e58001b3e22fb"
    assert heard(f"C: APOP anna {digest}\nS: +OK in") == [
        f"CredentialsSent exchange=1 mechanism='APOP' username='anna' secret_kind='challenge_response' challenge='<17.4@mx.example>' response='{digest}'",
        ended("accepted", "in"),
    ]
    assert kinds(heard("C: APOP anna\nS: -ERR")) == ["Anomaly malformed_command"]


def test_timestamp_needs_an_at_sign() -> None:
    assert apop_timestamp(b"+OK <mx> ready <1.2@mx> >") == "<1.2@mx>"
    assert apop_timestamp(b"+OK <mx> ready") is None
    assert apop_timestamp(b"+OK <1@mx") is None


def plain(user: str, password: str, number: int = 1) -> str:
    return f"CredentialsSent exchange={number} mechanism='PLAIN' username={user!r} secret={password!r} secret_kind='password'"


@pytest.mark.parametrize(
    "commands",
    [
        "C: AUTH PLAIN AGFubmEAYXAwNw==",
        "C: auth plain\nS: +\nC: AGFubmEAYXAwNw==",
        "C: AUTH PLAIN\nC: AGFubmEAYXAwNw==\nS: + ",
    ],
)
def test_sasl_plain(commands: str) -> None:
    assert heard(commands + "\nS: +OK in\nC: STAT\nS: +OK 0 0") == [plain("anna", "ap07"), ended("accepted", "in")]


def test_sasl_login_cancelled_then_repeated() -> None:
    lines = heard(
        "C: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: *\nS: -ERR cancelled\nC: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: YW5uYQ==\nS: + UGFzc3dvcmQ6\nC: YXAwOA==\nS: +OK"
    )
    assert lines == [
        ended("cancelled"),
        "CredentialsSent exchange=2 mechanism='LOGIN' username='anna' secret='ap08' secret_kind='password'",
        ended("accepted", number=2),
    ]


def test_sasl_refused_at_once() -> None:
    assert heard("C: AUTH GSSAPI\nS: -ERR no\nC: USER a\nS: +OK\nC: PASS p\nS: +OK") == [
        ended("rejected", "no"),
        login("a", "p", 2),
        ended("accepted", number=2),
    ]


def test_auth_alone_lists_mechanisms() -> None:
    assert heard("C: AUTH\nS: +OK\nS: PLAIN\nS: LOGIN\nS: .\nC: USER a\nS: +OK\nC: PASS p\nS: -ERR") == [
        login("a", "p"),
        ended("rejected"),
    ]


def test_base64_that_is_a_verb() -> None:
    # Behind the server's "+" the next line is the response, whatever it says; it makes no user name.
    lines = heard("C: AUTH LOGIN\nS: + VXNlcm5hbWU6\nC: QUIT\nS: -ERR what?")
    assert not any("username" in line for line in lines)
    assert lines[-1] == ended("rejected", "what?")


MESSAGE = "S: Subject: lunch\nS: \nS: USER trap\nS: PASS trap\nS: +OK Logged in\nS: ..dotted\nS: .\n"


def message(
    number: int, size: int = 64, header: bytes = b"Subject: lunch\r\n", state: str = "ended=True complete=True"
) -> str:
    return f"MessageTransferred message={number} direction='retrieved' recipient_count=0 size={size} {state} header={header!r}"


def test_messages_and_deletion() -> None:
    assert heard(
        "C: RETR 7\nS: +OK 64 octets\n" + MESSAGE + "C: DELE 7\nS: +OK\nC: RETR 8\nS: +OK\n" + MESSAGE
        + "C: DELE 9\nS: +OK\nC: TOP 1 1\nS: +OK\n" + MESSAGE + "C: QUIT\nS: +OK bye"
    ) == [message(1), message(2), "MessageDeleted message=1"]  # fmt: skip


def test_top_tells_the_same_however_it_is_cut() -> None:
    # Four lines of text: USER, PASS, +OK, a dotted one.
    top = "C: TOP 7 {}\nS: +OK\n" + MESSAGE + "C: DELE 7\nS: +OK\nC: QUIT\nS: +OK bye"
    assert heard(top.format(5)) == [message(1), "MessageDeleted message=1"]
    assert heard(top.format(4)) == []
    assert heard(top.format(5).replace("S: +OK\nS: Sub", "S: +OK\nS~ 2\nS: Sub", 1)) == []


def test_top_whose_beginning_is_lost() -> None:
    # Nobody knows how much: only who asks for all there is has it told.
    rest = "C: TOP 1 {}\nS~ 30\nS: tea\nS: \nS: text\nS: .\nC: NOOP\nS: +OK\n"
    lines = [line for line in heard(rest.format(99999999)) if not line.startswith("Anomaly")]
    assert kinds(lines) == ["MessageTransferred"]
    assert "ended=True complete=False" in lines[0]
    assert heard(rest.format(999999)) == []


def test_rset_and_a_lost_quit_delete_nothing() -> None:
    retrieved = "C: RETR 1\nS: +OK\n" + MESSAGE + "C: DELE 1\nS: +OK\n"
    assert kinds(heard(retrieved + "C: RSET\nS: +OK\nC: QUIT\nS: +OK")) == ["MessageTransferred"]
    assert kinds(heard(retrieved + "C: QUIT")) == ["MessageTransferred"]
    assert kinds(heard(retrieved + "C: QUIT\nS: -ERR")) == ["MessageTransferred"]
    assert kinds(heard(retrieved.replace("DELE 1\nS: +OK", "DELE 1\nS: -ERR") + "C: QUIT\nS: +OK")) == [
        "MessageTransferred"
    ]


def test_listings_with_and_without_argument() -> None:
    assert heard(
        "C: LIST\nC: LIST 1\nC: UIDL\nC: UIDL 1\nC: LANG\nC: LANG de\nC: USER a\nC: PASS p\n"
        "S: +OK\nS: 1 10\nS: .\nS: +OK 1 10\nS: +OK\nS: 1 x\nS: .\nS: +OK 1 x\nS: +OK\nS: de\nS: .\nS: +OK\nS: +OK\nS: -ERR no"
    ) == [login("a", "p"), ended("rejected", "no")]


def test_listing_without_its_end() -> None:
    assert heard("C: LIST\nS: +OK\nS: 1 10\nC: RETR 1\nS: +OK\n" + MESSAGE) == [message(1)]
    assert heard("C: CAPA\nS: +OK\nS: TOP\nC: USER a\nS: +OK\nC: PASS p\nS: +OK") == [
        "CapabilitiesOffered names=['TOP']",
        login("a", "p"),
        ended("accepted"),
    ]


def test_unasked_and_unreadable_replies() -> None:
    assert kinds(heard("C: NOOP\nS: +OK\nS: -ERR idle for too long")) == ["Anomaly unexpected_reply"]
    assert kinds(heard("C: NOOP\nS: 250 ok")) == ["Anomaly malformed_reply"]


def test_unknown_commands_are_answered_no() -> None:
    assert heard("C: FOO\nC: USER a\nC: PASS p\nS: -ERR what?\nS: +OK\nS: +OK in") == [
        login("a", "p"),
        ended("accepted", "in"),
    ]


def test_a_proxys_line_is_answered_by_nobody() -> None:
    dialogue = "C: SSLproxy: [127.0.0.1]:1,s\n" + HELLO + "C: USER a\nS: +OK\nC: PASS p\nS: -ERR no"
    assert hear(Pop3Dissector, dialogue) == [GREETED, login("a", "p"), ended("rejected", "no")]
    dialogue = "C: XPROXY 1\n" + HELLO + "C: USER a\nS: +OK\nC: PASS p\nS: -ERR no"
    assert hear(Pop3Dissector, dialogue) == [GREETED, login("a", "p"), ended("rejected", "no")]


def test_pipelined_before_the_greeting() -> None:
    assert kinds(hear(Pop3Dissector, "C: USER a\nC: PASS p\n" + HELLO + "S: +OK\nS: +OK")) == [
        "CredentialsSent",
        "Greeted",
        "Anomaly pipelined_before_greeting",
        "AuthenticationEnded",
    ]


# -- one side, the middle, gaps


def test_one_side_only() -> None:
    client = "C: USER a\nC: PASS p\nC: STAT\nC: AUTH PLAIN\nC: AGFubmEAYXAwNw==\nC: RETR 1\nC: AUTH LOGIN\nC: YW5uYQ==\nC: YXAwOA==\nC: QUIT"
    assert hear(Pop3Dissector, client) == [
        login("a", "p"),
        plain("anna", "ap07", 2),
        "CredentialsSent exchange=3 mechanism='LOGIN' username='anna' secret='ap08' secret_kind='password'",
    ]
    assert heard("S: +OK\nS: +OK Logged in.\nS: +OK 1 20\nS: -ERR no\nS: +OK bye") == []


def test_an_answer_that_was_not_seen_is_guessed_from_what_follows() -> None:
    assert heard("C: AUTH LOGIN\nS~ 20\nC: USER bob\nS: +OK\nC: PASS p\nS: +OK in")[-2:] == [
        login("bob", "p", 2),
        ended("accepted", "in", 2),
    ]
    assert heard("C: AUTH PLAIN\nS~ 4\nC: AGFubmEAYXAwNw==\nS: +OK in") == [
        plain("anna", "ap07"),
        ended("accepted", "in"),
    ]


def test_midstream() -> None:
    def make() -> Pop3Dissector:
        dissector = Pop3Dissector()
        dissector.midstream = True
        return dissector

    assert hear(make, "C: PASS p\nS: +OK in\nC: STAT\nS: +OK 0 0") == [
        "CredentialsSent exchange=1 mechanism='USER/PASS' secret='p' secret_kind='password'",
        ended("accepted", "in"),
    ]
    assert hear(make, "S: text of a message\nS: +OK, I agree\nS: .\nC: USER a\nS: +OK\nC: PASS p\nS: +OK in") == [
        login("a", "p"),
        ended("accepted", "in"),
    ]
    assert hear(Pop3Dissector, "C: PASS p\nS: +OK in\nC: STAT\nS: +OK 0 0")[-1] == ended("accepted", "in")


def test_gap_in_a_message() -> None:
    lines = heard("C: RETR 1\nS: +OK\nS: Subject: lunch\nS: \nS: te\nS~ 1000\nS: xt\nS: .\nC: QUIT\nS: +OK")
    assert lines == [message(1, 1026, state="ended=True complete=False")]


def test_gap_that_swallows_a_messages_end() -> None:
    lines = heard("C: RETR 1\nS: +OK\nS: Subject: lunch\nS: \nS~ 1000\nC: USER a\nS: +OK\nC: PASS p\nS: -ERR")
    assert lines == [message(1, 1018, state="ended=False complete=False"), login("a", "p"), ended("rejected")]


def test_gap_that_swallows_a_messages_beginning() -> None:
    lines = heard(
        "C: RETR 1\nS~ 50\nS: PASS trap\nS: +OK trap\nS: .\nC: NOOP\nS: +OK\nC: USER a\nS: +OK\nC: PASS p\nS: -ERR"
    )
    assert lines == [
        message(1, 21, header=b"", state="ended=True complete=False").replace(" header=b''", ""),
        login("a", "p"),
        ended("rejected"),
    ]


def test_gaps_between_commands() -> None:
    assert heard("C: STAT\nS~ 9\nC: USER a\nS: +OK\nC: PASS p\nS: -ERR")[-1] == ended("rejected")
    assert heard("C~ 6\nS: +OK\nC: USER a\nS: +OK\nC: PASS p\nS: -ERR")[-1] == ended("rejected")
    assert heard("C: USER a\nS: +OK\nC: PASS p\nS~ 16\nC: STAT\nS: +OK 0 0") == [login("a", "p")]


def test_end_of_capture_within_a_message() -> None:
    assert heard("C: RETR 1\nS: +OK\nS: Subject: lunch\nS: \nS: text") == [
        message(1, 24, state="ended=False complete=False")
    ]


# -- STLS


def test_stls_refused() -> None:
    assert heard("C: STLS\nS: -ERR no TLS today\nC: USER a\nS: +OK\nC: PASS p\nS: +OK") == [
        "StartTlsRequested",
        "StartTlsRefused reply='no TLS today'",
        login("a", "p"),
        ended("accepted"),
    ]


TLS = (
    "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00\nC| USER trap\\r\\nPASS trap\\r\\n"
)
TRAILING = [
    "trailing client b'\\x16\\x03\\x01\\x00\\x02\\x01\\x00USER trap\\r\\nPASS trap\\r\\n'",
    "trailing server b'\\x16\\x03\\x03\\x00\\x02\\x02\\x00'",
]


def test_stls_granted() -> None:
    assert heard("C: STLS\nS: +OK go\n" + TLS) == ["StartTlsRequested", "StartTlsAccepted", "TlsStarted", *TRAILING]


def test_command_injection() -> None:
    assert heard("C: STLS\nC: USER a\nC: PASS p\nS: +OK go\n" + TLS) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly kind='starttls_command_injection' detail='2 lines, 16 octets: USER, PASS'",
        "TlsStarted",
        *TRAILING,
    ]


def test_response_injection() -> None:
    assert heard("C: STLS\nS: +OK go\nS: +OK 1 message\n" + TLS) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly kind='starttls_response_injection' detail='1 line, 15 octets: +OK'",
        "TlsStarted",
        *TRAILING,
    ]


def test_granted_but_text_goes_on() -> None:
    assert heard("C: STLS\nS: +OK go\nC: USER a\nS: +OK\nC: PASS p\nS: +OK in") == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly kind='starttls_without_tls' detail='text went on after the server had granted TLS'",
        login("a", "p"),
        ended("accepted", "in"),
    ]


def test_decrypted_octets_are_read_as_a_new_beginning() -> None:
    dissector = Pop3Dissector()
    play(dissector, read_transcript(HELLO + "C: STLS\nS: +OK go\nC| \\x16\\x03\\x01"), eof=False, finish=False)
    assert dissector.tls_started
    dissector.enter_tls()
    lines = told(play(dissector, read_transcript("C: USER a\nS: +OK\nC: PASS p\nS: +OK in")))
    assert lines == [login("a", "p"), ended("accepted", "in")]


# -- limits and properties


def test_pending_commands_are_bounded() -> None:
    dissector = Pop3Dissector()
    pieces = read_transcript(HELLO)
    said = play(dissector, [*pieces, *[(CLIENT, b"NOOP\r\n" * 1000)] * 5], finish=False)
    assert kinds(told(said)).count("Anomaly command_queue_full") == 100
    assert dissector.anomalies_dropped > 0
    assert dissector._pending.count == MAX_PENDING


LINES = st.sampled_from(
    [
        "C: USER anna",
        "C: PASS p",
        "C: CAPA",
        "C: AUTH PLAIN",
        "C: AUTH LOGIN YW5uYQ==",
        "C: AGFubmEAYXAwNw==",
        "C: *",
        "C: RETR 1",
        "C: LIST",
        "C: LIST 1",
        "C: DELE 1",
        "C: TOP 1 1",
        "C: RSET",
        "C: QUIT",
        "C: STLS",
        "C: APOP a b",
        "C: what",
        "C: ",
        "S: +OK",
        "S: +OK ready <1@mx>",
        "S: -ERR no",
        "S: +",
        "S: + YQ==",
        "S: .",
        "S: ..",
        "S: text",
        "S: USER",
        "S: STLS",
        "S: Subject: x",
        "S: ",
        "C| USER",
        "S| +O",
        "S| \\r",
        "S| \\n",
        "C| \\r",
        "C| \\n",
        "C| \\x16\\x03\\x01",
        "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00",
        "S| \\x16\\x03\\x01",
        "C~ 5",
        "S~ 5",
        "--",
    ]
)


@given(st.lists(LINES, max_size=40), st.integers(0, 1 << 30))
@settings(max_examples=300, deadline=None)
def test_any_split_says_the_same(rows: list[str], seed: int) -> None:
    pieces = read_transcript("\n".join(rows))
    assert told(play(Pop3Dissector(), pieces), True) == told(play(Pop3Dissector(), cut_randomly(pieces, seed)), True)


@given(
    st.lists(
        st.tuples(st.sampled_from([CLIENT, SERVER]), st.one_of(st.integers(1, 3000), st.binary(max_size=40))),
        max_size=40,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_octets_and_gaps(pieces: list[tuple[int, bytes | int]]) -> None:
    dissector = Pop3Dissector()
    play(dissector, pieces)
    dissector.finish(Position(0, 0, 0))
    assert dissector.client.parts_size <= 70000


def test_server_alone() -> None:
    assert heard(
        "S: +OK\nS: TOP\nS: STLS\nS: .\nS: +OK\nS: +OK in\nS: +OK 2\nS: 1 10\nS: .\nS: +OK 64 octets\n"
        + MESSAGE
        + "S: +OK bye"
    ) == [
        "CapabilitiesOffered names=['TOP', 'STLS']",
        message(1),
    ]
    assert kinds(heard("S: +OK Begin TLS negotiation now.\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00"))[:2] == [
        "StartTlsAccepted",
        "TlsStarted",
    ]
