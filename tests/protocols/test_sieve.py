"""ManageSieve: transcripts and what is heard in them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.dialogue import cut_randomly, hear, kinds, play, read_transcript, told

from analyzer.model import CLIENT, SERVER
from analyzer.protocols import sieve
from analyzer.protocols.sieve import SieveDissector, literal_size, read_words

HELLO = 'S: "IMPLEMENTATION" "Mx Sieve"\nS: "SASL" "plain login"\nS: "SIEVE" "fileinto"\nS: "STARTTLS"\nS: OK "ready"\n'
CAPABILITIES = "CapabilitiesOffered names=['IMPLEMENTATION Mx Sieve', 'SASL PLAIN LOGIN', 'SIEVE fileinto', 'STARTTLS']"
GREETED = ["Greeted text='Mx Sieve'", CAPABILITIES]


def heard(transcript: str) -> list[str]:
    """What is heard behind a greeting."""
    lines = hear(SieveDissector, HELLO + transcript)
    assert lines[:2] == GREETED
    return lines[2:]


def credentials(mechanism: str, user: str, password: str, number: int = 1) -> str:
    return f"CredentialsSent exchange={number} mechanism={mechanism!r} username={user!r} secret={password!r} secret_kind='password'"


def ended(outcome: str, reply: str = "", number: int = 1) -> str:
    return f"AuthenticationEnded exchange={number} outcome={outcome!r}" + (f" reply={reply!r}" if reply else "")


@pytest.mark.parametrize(
    "commands",
    [
        'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="',
        'C: authenticate "plain" "AGFubmEAYXAyMQ=="',
        "C: AUTHENTICATE {5+}\nC| PLAIN {16+}\\r\\n\nC: AGFubmEAYXAyMQ==",
        'C: AUTHENTICATE "PLAIN" {16}\nC: AGFubmEAYXAyMQ==',
        'C: AUTHENTICATE "PLAIN"\nS: ""\nC: "AGFubmEAYXAyMQ=="',
        'C: AUTHENTICATE "PLAIN"\nS: {0}\nS: \nC: {16+}\nC: AGFubmEAYXAyMQ==',
        'C: AUTHENTICATE "PLAIN"\nC: "AGFubmEAYXAyMQ=="\nS: ""',
    ],
)
def test_plain(commands: str) -> None:
    assert heard(commands + '\nS: OK "Logged in."\nC: LOGOUT\nS: OK "bye"') == [
        credentials("PLAIN", "anna", "ap21"),
        ended("accepted", "Logged in."),
    ]


def test_login_refused_cancelled_and_repeated() -> None:
    assert heard(
        'C: AUTHENTICATE "NTLM"\nS: NO "no"\nC: AUTHENTICATE "LOGIN"\nS: "VXNlcm5hbWU6"\nC: "*"\nS: NO "cancelled"\n'
        'C: AUTHENTICATE "LOGIN"\nS: {12}\nS: VXNlcm5hbWU6\nC: "YW5uYQ=="\nS: "UGFzc3dvcmQ6"\nC: "YXAyMg=="\nS: NO (TRYLATER) "not now"'
    ) == [
        ended("rejected", "no"),
        ended("cancelled", number=2),
        credentials("LOGIN", "anna", "ap22", 3),
        ended("rejected", "not now", 3),
    ]


def test_final_data_and_literal_text() -> None:
    lines = heard(
        'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\nS: OK (SASL "cnNwYXV0aD0x") "in"\nC: NOOP\nS: OK {3}\nS: hey'
    )
    assert lines == [credentials("PLAIN", "anna", "ap21"), ended("accepted", "in")]


def test_scripts_are_not_read() -> None:
    script = 'AUTHENTICATE "PLAIN" "AHRyYXAAdHJhcA=="\\r\\nLOGOUT\\r\\n'
    size = len(script.encode().decode("unicode_escape"))
    trap = f'C: PUTSCRIPT "a" {{{size}+}}\nC| {script}\\r\\n\nS: OK\n'
    got = f'C: GETSCRIPT "a"\nS: {{{size}}}\nS| {script}\\r\\n\nS: OK\n'
    assert heard(trap + got + 'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\nS: OK') == [
        credentials("PLAIN", "anna", "ap21"),
        ended("accepted"),
    ]
    lines = heard(trap.replace("C| ", "C~ 20\nC| ") + 'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\nS: OK')
    assert not any("trap" in line for line in lines)


def test_capabilities_again() -> None:
    listing = HELLO.replace("ready", "done")
    assert heard("C: CAPABILITY\n" + listing + 'C: LISTSCRIPTS\nS: "SIEVE" ACTIVE\nS: "x"\nS: OK') == [CAPABILITIES]


def test_masked_capability() -> None:
    assert kinds(hear(SieveDissector, 'S: "SIEVE" "x"\nS: "XXXXXXXA"\nS: OK')) == [
        "Greeted",
        "CapabilitiesOffered",
        "Anomaly starttls_stripped",
    ]


def test_password_that_was_forbidden() -> None:
    attempt = 'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\n'
    assert (
        kinds(heard(attempt + 'S: NO (ENCRYPT-NEEDED) "TLS first"\n' + attempt + "S: OK")).count(
            "Anomaly password_though_forbidden"
        )
        == 1
    )
    assert "Anomaly password_though_forbidden" not in kinds(heard(attempt + 'S: NO "wrong"\n' + attempt + "S: OK"))


# -- STARTTLS

TLS = "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00\nS| \\x16\\x03\\x03\\x00\\x02\\x02\\x00\n"
STARTED = ["StartTlsRequested", "StartTlsAccepted", "TlsStarted"]


def test_starttls() -> None:
    assert kinds(heard('C: STARTTLS\nS: OK "go"\n' + TLS))[:3] == STARTED
    assert heard('C: STARTTLS\nS: NO "no TLS"\nC: NOOP\nS: OK') == [
        "StartTlsRequested",
        "StartTlsRefused reply='no TLS'",
    ]


def test_injections() -> None:
    lines = heard('C: STARTTLS\nC: AUTHENTICATE "PLAIN" "AHRyYXAAdHJhcA=="\nS: OK\n' + TLS)
    assert kinds(lines)[:4] == [*STARTED[:2], "Anomaly starttls_command_injection", "TlsStarted"]
    assert kinds(heard('C: STARTTLS\nS: OK\nS: "SASL" "PLAIN"\n' + TLS))[:4] == [
        *STARTED[:2],
        "Anomaly starttls_response_injection",
        "TlsStarted",
    ]


@pytest.mark.parametrize("listing", [HELLO, ""])
def test_text_goes_on(listing: str) -> None:
    lines = heard("C: STARTTLS\nS: OK\n" + listing + 'C: AUTHENTICATE "PLAIN"\nS: ""\nC: "AGFubmEAYXAyMQ=="\nS: OK')
    assert lines[2:] == [
        "Anomaly kind='starttls_without_tls' detail='text went on after the server had granted TLS'",
        *(GREETED if listing else []),
        credentials("PLAIN", "anna", "ap21"),
        ended("accepted"),
    ]


# -- one side, the middle, gaps, oddities


def test_one_side_only() -> None:
    client = 'C: CAPABILITY\nC: AUTHENTICATE "LOGIN"\nC: "YW5uYQ=="\nC: "YXAyMg=="\nC: PUTSCRIPT "a" {4+}\nC: keep\nC: LOGOUT'
    assert hear(SieveDissector, client) == [credentials("LOGIN", "anna", "ap22")]
    assert heard('S: "VXNlcm5hbWU6"\nS: OK "Logged in."\nS: OK "bye"') == []


def test_gaps() -> None:
    attempt = 'C: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\nS: OK'
    assert heard("C~ 10\nS: OK\n" + attempt) == [credentials("PLAIN", "anna", "ap21"), ended("accepted")]
    assert heard("C: NOOP\nS~ 4\n" + attempt) == [credentials("PLAIN", "anna", "ap21"), ended("accepted")]
    assert heard('C: AUTHENTICATE "LOGIN"\nS~ 16\nC: "YW5uYQ=="\nS: ""\nC: "YXAyMg=="\nS: OK') == [
        credentials("LOGIN", "anna", "ap22"),
        ended("accepted"),
    ]
    assert heard('C: AUTHENTICATE "PLAIN" {16+}\nC| AGFub\nC~ 11\nC: \nS: NO "bad"')[-1] == ended("rejected", "bad")


def test_oddities() -> None:
    assert kinds(heard('C: NOOP\nS: OK\nS: OK "what?"')) == ["Anomaly unexpected_reply"]
    assert kinds(heard('C: NOOP\nS: OK\nS: BYE "idle"')) == []
    assert kinds(heard("C: AUTHENTICATE\nS: NO")) == ["Anomaly malformed_command"]
    assert heard('C: WHAT\nS: NO "what?"\nC: \nC: AUTHENTICATE "PLAIN" "AGFubmEAYXAyMQ=="\nS: BYE "wrong"')[
        -1
    ] == ended("rejected", "wrong")
    assert kinds(hear(SieveDissector, "C: NOOP\n" + HELLO + "S: OK")) == [
        "Greeted",
        "Anomaly pipelined_before_greeting",
        "CapabilitiesOffered",
    ]


@pytest.mark.parametrize(
    ("line", "words", "size"),
    [
        (b'A "b c" d', [b"A", b"b c", b"d"], -1),
        (b'"a\\"b\\\\c" ""', [b'a"b\\c', b""], -1),
        (b'"open', [b"open"], -1),
        (b'"open\\', [b"open", b""], -1),
        (b'OK (SASL "x")', [b"OK", b"SASL", b"x"], -1),
        (b"A {12+}", [b"A"], 12),
        (b"A {12}", [b"A"], 12),
        (b"A {12", [b"A", b"{12"], -1),
        (b"A {99999999999}", [b"A", b"{99999999999}"], -1),
        (b"A {x}", [b"A", b"{x}"], -1),
    ],
)
def test_words(line: bytes, words: list[bytes], size: int) -> None:
    found: list[bytes] = []
    read_words(line, found)
    assert b" ".join(found).strip() == b" ".join(words).strip()
    assert literal_size(line) == size


def test_bounds() -> None:
    dissector = SieveDissector()
    said = play(
        dissector,
        [*read_transcript(HELLO), (CLIENT, b"NOOP\r\n" * 5000), (SERVER, b'"X" "y"\r\n' * 5000)],
        finish=False,
    )
    assert len(dissector._pending) == sieve.MAX_PENDING
    assert len(dissector._names) <= sieve.MAX_CAPABILITIES
    assert len(said) < 200


ROWS = st.sampled_from(
    [
        *[
            "C: NOOP",
            'C: AUTHENTICATE "PLAIN"',
            'C: AUTHENTICATE "LOGIN" "YW5uYQ=="',
            'C: "YW5uYQ=="',
            'C: "*"',
            "C: {5+}",
            'C: PUTSCRIPT "a" {9+}',
            "C: STARTTLS",
            "C: LOGOUT",
            "C: CAPABILITY",
            "C: what",
            "C: ",
        ],
        *[
            "S: OK",
            'S: NO "x"',
            "S: BYE",
            'S: ""',
            'S: "SASL" "PLAIN"',
            "S: {4}",
            "S: abcd",
            'S: OK (SASL "YQ==")',
            "C| ab",
            "S| O",
            "C| \\r",
            "C| \\n",
            "S| \\n",
            "C| \\x16\\x03\\x01",
            "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00",
            "S| \\x16\\x03\\x01",
            "C~ 5",
            "S~ 5",
            "--",
        ],
    ]
)


@given(st.lists(ROWS, max_size=40), st.integers(0, 1 << 30))
@example(
    ['C: AUTHENTICATE "PLAIN"', "C: {5+}", "S~ 5", 'S: OK (SASL "YQ==")', "C| \\x16\\x03\\x01\\x00\\x02\\x01\\x00"], 0
)
@settings(max_examples=300, deadline=None)
def test_any_split_says_the_same(rows: list[str], seed: int) -> None:
    pieces = read_transcript("\n".join(rows))
    assert told(play(SieveDissector(), pieces), True) == told(play(SieveDissector(), cut_randomly(pieces, seed)), True)


@given(
    st.lists(
        st.tuples(st.sampled_from([CLIENT, SERVER]), st.one_of(st.integers(1, 3000), st.binary(max_size=40))),
        max_size=40,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_octets_and_gaps(pieces: list[tuple[int, bytes | int]]) -> None:
    play(SieveDissector(), pieces)
