"""IMAP: dialogues and what an eavesdropper is told of them, however they are cut."""

from __future__ import annotations

import base64
import itertools
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialogue import Piece, hear, kinds, play, read_transcript, told

from analyzer.model import CLIENT, SERVER, Position, Secret
from analyzer.protocols import events, imap, imap_mailbox
from analyzer.protocols.imap import ImapDissector

GREETING = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\n"
LOGGED_IN = GREETING + "C: l LOGIN u p\nS: l OK in\n"


def listen(transcript: str) -> list[str]:
    """What is told of a dialogue behind the greeting."""
    lines = hear(ImapDissector, GREETING + transcript)
    assert lines[:2] == ["Greeted text='ready'", "CapabilitiesOffered names=['IMAP4REV1', 'STARTTLS', 'AUTH=PLAIN']"]
    return lines[2:]


def logged_in(transcript: str) -> list[str]:
    """What is told of a dialogue behind the login."""
    lines = hear(ImapDissector, LOGGED_IN + transcript)
    assert lines[3] == "AuthenticationEnded exchange=1 outcome='accepted' reply='OK in'"
    return lines[4:]


def logins(lines: list[str]) -> list[str]:
    """Credentials and outcomes alone, in short."""
    out = []
    for line in lines:
        if line.startswith("CredentialsSent exchange="):
            out.append(line.removeprefix("CredentialsSent exchange=").replace(" secret_kind='password'", ""))
        elif line.startswith("AuthenticationEnded exchange="):
            out.append(line.removeprefix("AuthenticationEnded exchange=").split(" reply=")[0])
    return out


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


# -- LOGIN ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "username", "password"),
    [
        ("u@x.example Pw15secret", "u@x.example", "Pw15secret"),
        ('"u18" "Pw\\"q Pw18secret"', "u18", 'Pw"q Pw18secret'),
        (r'"do\\main\\user" "back\\"', r"do\main\user", "back\\"),
        (r'user "lenient\x"', "user", "lenientx"),
        ("user päß€", "user", "päß€"),
        ('"dävid" "p w"', "dävid", "p w"),
        ("user \\odd\\", "user", "\\odd\\"),
        ('user pass"word"', "user", 'pass"word"'),
        ("user (list)%*]", "user", "(list)%*]"),
        ("user pass{5}", "user", "pass{5}"),
        ("user heidi-{12+}-lit", "user", "heidi-{12+}-lit"),
        ('user "ends {5}"', "user", "ends {5}"),
        ('user "a\\" {5}"', "user", 'a" {5}'),
        ('user ""', "user", ""),
        ("NIL nil", "NIL", "nil"),
        ("  user   pass ", "user", "pass"),
        ("user LOGIN", "user", "LOGIN"),
    ],
)
def test_login(arguments: str, username: str, password: str) -> None:
    lines = listen(f"C: a1 LOGIN {arguments}\nS: a1 OK Logged in\n")
    secret = f" secret={password!r}" if password else ""
    assert lines == [
        f"CredentialsSent exchange=1 mechanism='LOGIN-CMD' username={username!r}{secret} secret_kind='password'",
        "AuthenticationEnded exchange=1 outcome='accepted' reply='OK Logged in'",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "a1 login u p",
        "A1 LoGiN u p",
        ". LOGIN u p",
        "1 LOGIN u p",
        "#%&' LOGIN u p",
        "UID LOGIN u p",
        "LOGIN LOGIN u p",
    ],
)
def test_login_under_any_tag_in_any_letter_case(line: str) -> None:
    tag = line.split(" ", maxsplit=1)[0]
    assert logins(listen(f"C: {line}\nS: {tag} NO [AUTHENTICATIONFAILED] no\n")) == [
        "1 mechanism='LOGIN-CMD' username='u' secret='p'", "1 outcome='rejected'",
    ]  # fmt: skip


def test_login_octets_that_are_no_utf_8_stay_recoverable() -> None:
    pieces = read_transcript(GREETING + 'C| a LOGIN m\\xfcller "pa\\xdf"\\r\\n\n')
    said = play(ImapDissector(), pieces)
    sent = next(e for e in said if isinstance(e, events.CredentialsSent))
    assert isinstance(sent.secret, Secret)
    assert (sent.username, sent.secret.reveal()) == ("m\udcfcller", "pa\udcdf")


@pytest.mark.parametrize(
    "line", ["a LOGIN", "a LOGIN u", "a LOGIN u p x", 'a LOGIN u "p', 'a LOGIN "u"p', 'a LOGIN u "p {5}']
)
def test_login_that_is_none(line: str) -> None:
    assert kinds(listen(f"C: {line}\nS: a BAD what\n")) == ["Anomaly malformed_command"]


# Two literals, as each client sends them. The first form waits for the server's word.
LITERALS = [
    "C: a LOGIN {13}\nS: + go on\nC| usr20{5}@{6+} {11}\\r\\n\nS: + OK\nC| Pw20 {2+}\\r\\n\\r\\n\n",
    "C: a LOGIN {13+}\nC| usr20{5}@{6+} {11+}\\r\\nPw20 {2+}\\r\\n\\r\\n\n",
    "C: a LOGIN {13-}\nC| usr20{5}@{6+} {11-}\\r\\nPw20 {2+}\\r\\n\\r\\n\n",
    # the client does not wait for the go-ahead
    "C: a LOGIN {13}\nC| usr20{5}@{6+} {11}\\r\\nPw20 {2+}\\r\\n\\r\\n\nS: + a\nS: + b\n",
    'C: a LOGIN "usr20{5}@{6+}" {11}\nS: + OK\nC| Pw20 {2+}\\r\\n\\r\\n\n',
    "C: a LOGIN usr20{5}@{6+} ~{11}\nS: +\nC| Pw20 {2+}\\r\\n\\r\\n\n",
]


@pytest.mark.parametrize("dialogue", LITERALS)
def test_login_with_literals(dialogue: str) -> None:
    assert logins(listen(dialogue + "S: a OK in\nC: b NOOP\nS: b OK\n")) == [
        "1 mechanism='LOGIN-CMD' username='usr20{5}@{6+}' secret='Pw20 {2+}\\r\\n'", "1 outcome='accepted'",
    ]  # fmt: skip


def test_login_with_an_empty_literal_and_a_command_behind_it() -> None:
    lines = listen("C| a LOGIN {0+}\\r\\n {0}\\r\\n\nS: + ok\nC:\nS: a NO no\nC: b LOGIN x y\nS: b OK\n")
    assert logins(lines) == [
        "1 mechanism='LOGIN-CMD'", "1 outcome='rejected'", "2 mechanism='LOGIN-CMD' username='x' secret='y'", "2 outcome='accepted'",
    ]  # fmt: skip


def test_login_refused_before_its_literal() -> None:
    lines = listen("C: a LOGIN alice {6}\nS: a NO [PRIVACYREQUIRED] not in clear\nC: b LOGIN bob secret\nS: b OK\n")
    assert lines[:2] == [
        "CredentialsSent exchange=1 mechanism='LOGIN-CMD' username='alice' secret_kind='none'",
        "AuthenticationEnded exchange=1 outcome='rejected' reply='NO [PRIVACYREQUIRED] not in clear'",
    ]
    assert logins(lines)[2:] == ["2 mechanism='LOGIN-CMD' username='bob' secret='secret'", "2 outcome='accepted'"]


def test_login_left_in_the_middle() -> None:
    assert logins(listen("C: a LOGIN alice {6}\nS: + go on\nC| sec\n")) == [
        "1 mechanism='LOGIN-CMD' username='alice' secret_kind='none'"
    ]


def test_logins_in_flight_are_answered_by_tag() -> None:
    lines = listen("C: a LOGIN u1 p1\nC: b LOGIN u2 p2\nC: c NOOP\nS: b NO no\nS: c OK\nS: a OK yes\n")
    assert logins(lines) == [
        "1 mechanism='LOGIN-CMD' username='u1' secret='p1'", "2 mechanism='LOGIN-CMD' username='u2' secret='p2'",
        "2 outcome='rejected'", "1 outcome='accepted'",
    ]  # fmt: skip


def test_login_as_servers_of_other_makers_answer_it() -> None:
    for reply, outcome in (
        ("OK Logged in", "accepted"),
        ("NO", "rejected"),
        ("ok done", "accepted"),
        ("BAD x", "rejected"),
    ):
        assert logins(listen(f"C: a1 LOGIN u p\nS: a1 {reply}\n"))[1] == f"1 outcome={outcome!r}"


def test_where_an_event_was() -> None:
    first = read_transcript(GREETING)
    said = play(
        ImapDissector(), [*first, (CLIENT, b"x NOOP\r\na LOGIN {1+}\r\n"), (CLIENT, b"u p\r\n"), (SERVER, b"a OK\r\n")]
    )
    sent = next(e for e in said if isinstance(e, events.CredentialsSent))
    assert (sent.sender, sent.frame, sent.offset) == (CLIENT, 3, 8)


# -- AUTHENTICATE --------------------------------------------------------------------------------------------------------------


def test_authenticate_plain_with_and_without_initial_response() -> None:
    for dialogue in (
        f"C: a AUTHENTICATE PLAIN {b64(chr(0) + 'bob' + chr(0) + 'b o')}\n",
        f"C: a authenticate plain\nS: +\nC: {b64(chr(0) + 'bob' + chr(0) + 'b o')}\n",
        f"C: a AUTHENTICATE PLAIN\nS: + \nC: {b64(chr(0) + 'bob' + chr(0) + 'b o')}\n",
        f"C: a AUTHENTICATE PLAIN\nC: {b64(chr(0) + 'bob' + chr(0) + 'b o')}\nS: + go on\n",
        f'C: a AUTHENTICATE "PLAIN"\nS: + Ready for it\nC: {b64(chr(0) + "bob" + chr(0) + "b o")}\n',
    ):
        assert logins(listen(dialogue + "S: a OK in\n")) == [
            "1 mechanism='PLAIN' username='bob' secret='b o'", "1 outcome='accepted'",
        ]  # fmt: skip


def test_authenticate_plain_for_somebody_else() -> None:
    assert logins(listen(f"C: a AUTHENTICATE PLAIN {b64('boss' + chr(0) + 'bob' + chr(0) + 'pw')}\nS: a NO\n")) == [
        "1 mechanism='PLAIN' username='bob' authzid='boss' secret='pw'", "1 outcome='rejected'",
    ]  # fmt: skip


def test_authenticate_login() -> None:
    for dialogue in (
        "C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: YWxpY2U=\nS: + UGFzc3dvcmQ6\nC: cHc=\n",
        "C: a AUTHENTICATE LOGIN YWxpY2U=\nS: + UGFzc3dvcmQ6\nC: cHc=\n",
        "C: a AUTHENTICATE LOGIN =\nS: + VXNlcm5hbWU6\nC: YWxpY2U=\nS: + UGFzc3dvcmQ6\nC: cHc=\n",
    ):
        assert logins(listen(dialogue + "S: a OK in\n")) == [
            "1 mechanism='LOGIN' username='alice' secret='pw'",
            "1 outcome='accepted'",
        ]


def test_authenticate_cancelled_refused_malformed_and_then_done() -> None:
    lines = listen(
        "C: c1 AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: YWxpY2U=\nS: + UGFzc3dvcmQ6\nC: *\nS: c1 BAD Authentication aborted\n"
        "C: c2 AUTHENTICATE PLAIN !!!notbase64\nS: c2 BAD Invalid base64\n"
        "C: c3 AUTHENTICATE FOO\nS: c3 NO [ALERT] Unsupported\n"
        f"C: c4 AUTHENTICATE PLAIN {b64(chr(0) + 'bob' + chr(0) + 'pw')}\nS: c4 OK in\n"
    )
    assert lines == [
        "CredentialsSent exchange=1 mechanism='LOGIN' username='alice' secret_kind='none'",
        "AuthenticationEnded exchange=1 outcome='cancelled'",
        "Anomaly kind='malformed_sasl' detail=\"PLAIN: the client's response is not base64\"",
        "AuthenticationEnded exchange=2 outcome='rejected' reply='BAD Invalid base64'",
        "AuthenticationEnded exchange=3 outcome='rejected' reply='NO [ALERT] Unsupported'",
        "CredentialsSent exchange=4 mechanism='PLAIN' username='bob' secret='pw' secret_kind='password'",
        "AuthenticationEnded exchange=4 outcome='accepted' reply='OK in'",
    ]


def test_authenticate_with_challenges() -> None:
    response = "tim b913a602c7eda7a495b4e6e7334d3890"
    lines = listen(f"C: a AUTHENTICATE CRAM-MD5\nS: + {b64('<1@x>')}\nC: {b64(response)}\nS: a OK\n")
    assert lines[0] == (
        f"CredentialsSent exchange=1 mechanism='CRAM-MD5' username='tim' secret_kind='challenge_response' challenge='<1@x>' response='{response}'"
    )
    final = "c=biws,r=xy,p=AA=="
    lines = listen(
        f"C: a AUTHENTICATE SCRAM-SHA-256 {b64('n,,n=user,r=x')}\nS: + {b64('r=xy,s=AA==,i=4096')}\nC: {b64(final)}\n"
        f"S: + {b64('v=AA==')}\nC:\nS: a OK\n"
    )
    assert kinds(lines) == ["CredentialsSent", "AuthenticationEnded"]
    assert "username='user'" in lines[0]
    assert f"challenge='r=xy,s=AA==,i=4096' response='{final}'" in lines[0]


def test_digest_md5_turned_away_from() -> None:
    lines = listen(f"C: a AUTHENTICATE DIGEST-MD5\nS: + {b64('nonce=1')}\nC: *\nS: a BAD\nC: b LOGIN u p\nS: b OK\n")
    assert logins(lines)[:2] == [
        "1 mechanism='DIGEST-MD5' secret_kind='none' challenge='nonce=1'",
        "1 outcome='cancelled'",
    ]
    assert logins(lines)[3] == "2 outcome='accepted'"


def test_tokens() -> None:
    xoauth2 = b64("user=alice\1auth=Bearer ya29.made-up\1\1")
    bearer = b64("n,a=alice,\1host=x\1auth=Bearer ya29.made-up\1\1")
    error = b64('{"status":"401"}')
    for mechanism, message, answer in (
        ("XOAUTH2", xoauth2, ""),
        ("OAUTHBEARER", bearer, "AQ=="),
        ("XOAUTH2", xoauth2, "*"),
    ):
        sent = f"1 mechanism='{mechanism}' username='alice' secret='ya29.made-up' secret_kind='bearer_token'"
        accepted = listen(f"C: a AUTHENTICATE {mechanism}\nS: +\nC: {message}\nS: a OK\n")
        assert logins(accepted) == [sent, "1 outcome='accepted'"]
        rejected = listen(
            f"C: a AUTHENTICATE {mechanism} {message}\nS: + {error}\nC: {answer}\nS: a NO\nC: b NOOP\nS: b OK\n"
        )
        assert logins(rejected) == [sent, "1 outcome='rejected'"]


def test_a_response_equal_to_a_verb_is_a_response() -> None:
    lines = listen("C: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: NOOP\nS: a NO\nC: b NOOP\nS: b OK\n")
    assert kinds(lines) == ["Anomaly malformed_sasl", "AuthenticationEnded"]


def test_commands_pipelined_behind_an_initial_response() -> None:
    lines = listen(
        f"C: a AUTHENTICATE PLAIN {b64(chr(0) + 'u' + chr(0) + 'p')}\nC: b CAPABILITY\nC: c LOGIN x y\nS: a NO\nS: b OK\nS: c OK\n"
    )
    assert logins(lines) == [
        "1 mechanism='PLAIN' username='u' secret='p'", "1 outcome='rejected'",
        "2 mechanism='LOGIN-CMD' username='x' secret='y'", "2 outcome='accepted'",
    ]  # fmt: skip


def test_authenticate_unanswered() -> None:
    lines = listen(f"C: a AUTHENTICATE PLAIN {b64(chr(0) + 'u' + chr(0) + 'p')}\n")
    assert logins(lines) == ["1 mechanism='PLAIN' username='u' secret='p'"]
    assert kinds(listen("C: a AUTHENTICATE\nS: a BAD\n")) == ["Anomaly malformed_command"]


# -- capabilities and states ---------------------------------------------------------------------------------------------------


def test_capabilities_are_told_wherever_they_stand() -> None:
    lines = hear(
        ImapDissector,
        "S: * OK hello [CAPABILITY not here]\nC: a CAPABILITY\nS: * capability imap4REV1 auth=PLAIN\nS: a OK\n"
        "C: b LOGIN u p\nS: b OK [CAPABILITY IMAP4rev1 IDLE] in\nS: * OK [CAPABILITY X]\n",
    )
    assert [line for line in lines if line.startswith(("Greeted", "Cap"))] == [
        "Greeted text='hello [CAPABILITY not here]'", "CapabilitiesOffered names=['IMAP4REV1', 'AUTH=PLAIN']",
        "CapabilitiesOffered names=['IMAP4REV1', 'IDLE']", "CapabilitiesOffered names=['X']",
    ]  # fmt: skip


def test_password_sent_though_forbidden() -> None:
    greeting = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hi\n"
    lines = hear(ImapDissector, greeting + "C: a LOGIN u p\nS: a NO\n")
    assert kinds(lines)[2:] == ["CredentialsSent", "Anomaly password_though_forbidden", "AuthenticationEnded"]
    lines = hear(
        ImapDissector, greeting + "C: a CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: a OK\nC: a LOGIN u p\nS: a NO\n"
    )
    assert kinds(lines)[3:] == ["CredentialsSent", "AuthenticationEnded"]


def test_credentials_before_capabilities() -> None:
    assert kinds(hear(ImapDissector, "S: * OK hi\nC: a LOGIN u p\nS: a OK\n")) == [
        "Greeted", "CredentialsSent", "Anomaly credentials_before_capabilities", "AuthenticationEnded",
    ]  # fmt: skip
    assert "Anomaly credentials_before_capabilities" in kinds(
        hear(ImapDissector, "S: * OK hi\nC: a AUTHENTICATE PLAIN\nS: a NO\n")
    )
    for beginning in (GREETING, "S: * OK hi\nC: c CAPABILITY\nS: * CAPABILITY X\nS: c OK\n"):
        assert "Anomaly" not in "".join(kinds(hear(ImapDissector, beginning + "C: a LOGIN u p\nS: a OK\n")))


def test_preauth_and_bye_greetings() -> None:
    assert kinds(hear(ImapDissector, "S: * PREAUTH in already\nS: * 3 EXISTS\n")) == ["Greeted", "Anomaly imap_preauth"]
    assert hear(ImapDissector, "S: * BYE too busy\n") == ["Greeted text='too busy'"]
    assert hear(ImapDissector, LOGGED_IN + "C: a LOGOUT\nS: * BYE bye\nS: a OK\n")[4:] == []


def test_mailbox_data_before_the_login() -> None:
    for data in ("3 EXISTS", "1 RECENT", 'LIST () "/" INBOX', "1 FETCH (FLAGS ())", "FLAGS (\\Seen)", "SEARCH 1"):
        lines = listen(f"S: * {data}\nS: * {data}\n")
        assert lines == [
            f"Anomaly kind='untagged_data_before_tls' detail='{data.split()[data[0].isdigit()]} before the client had logged in'"
        ]
    # solicited, logged in, or no mailbox data
    assert logged_in("S: * 3 EXISTS\n") == []
    assert listen("C: a SELECT INBOX\nS: * 3 EXISTS\nS: a OK\nS: * 4 EXISTS\n") == []
    assert listen('C: a ID NIL\nS: * ID ("name" "server")\nS: a OK\nS: * OK still here\n') == []


def test_masked_keywords() -> None:
    for word in ("XXXXXXXX", "XXXXXXXA"):
        lines = hear(
            ImapDissector, f"S: * OK [CAPABILITY IMAP4rev1 {word} AUTH=PLAIN] hi\nC: a {word}\nS: a BAD what\n"
        )
        assert kinds(lines) == ["Greeted", "CapabilitiesOffered", "Anomaly starttls_stripped"]
    assert kinds(listen("C: a XXXXXXXX\nS: a BAD what\n")) == ["Anomaly starttls_stripped"]
    assert listen('C: a XLIST "" *\nC: b XXXX\nC: c XAPPLEPUSHSERVICE x\nS: a OK\nS: b BAD\nS: c OK\n') == []


def test_id_names_the_client() -> None:
    for arguments, name in (
        ('("name" "Test Mail" "version" "1.5" "os" "x")', "Test Mail 1.5"),
        ('( "VERSION" "2" "Name" "m" )', "m 2"),
        ('("name" "only")', "only"),
        ('("name" "x" "version" NIL)', "x"),
    ):
        assert logged_in(f"C: a ID {arguments}\nS: a OK\n") == [f"ClientNamed name={name!r}"]
    assert logged_in('C: a ID ("name" {3+}\nC| abc "version" "1")\\r\\n\nS: a OK\n') == ["ClientNamed name='abc 1'"]
    assert logged_in('C: a ID NIL\nS: a OK\nC: b ID ("os" "name")\nS: b OK\n') == []


def test_idle() -> None:
    lines = logged_in(
        "C: a IDLE\nS: + idling\nS: * 4 EXISTS\nS: * OK Still here\nC: DONE\nS: a OK\n"
        "C: b IDLE\nC: DONE\nC: c APPEND x {3}\nS: + idling\nS: b OK\nS: + go\nC| abc\\r\\n\nS: c OK\n"
    )
    assert kinds(lines) == ["MessageTransferred", "MessageAnswered"]


# -- STARTTLS and COMPRESS -----------------------------------------------------------------------------------------------------


def test_starttls() -> None:
    lines = listen(
        "C: a STARTTLS\nS: a OK begin\nC| \\x16\\x03\\x01\\x00\\x05hello\nS| \\x16\\x03\\x03\\x00\\x05world\n"
    )
    assert lines == [
        "StartTlsRequested", "StartTlsAccepted", "TlsStarted",
        r"trailing client b'\x16\x03\x01\x00\x05hello'", r"trailing server b'\x16\x03\x03\x00\x05world'",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["BAD Unknown command", "NO not now"])
def test_starttls_refused_and_then_a_login(word: str) -> None:
    assert listen(f'C: b STARTTLS\nS: b {word}\nC: c LOGIN alice "Wonder land!"\nS: c OK\n') == [
        "StartTlsRequested", f"StartTlsRefused reply={word!r}",
        "CredentialsSent exchange=1 mechanism='LOGIN-CMD' username='alice' secret='Wonder land!' secret_kind='password'",
        "AuthenticationEnded exchange=1 outcome='accepted' reply='OK'",
    ]  # fmt: skip


def test_starttls_injections() -> None:
    lines = listen("C| a STARTTLS\\r\\nb LOGIN trapuser trapsecret\\r\\n\nS: a OK\nC| \\x16\\x03\\x01\\x00\\x01x\n")
    assert kinds(lines)[:4] == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_command_injection",
        "TlsStarted",
    ]
    assert "trap" not in "".join(lines)
    lines = listen("C: a STARTTLS\nS: a OK\nS: * CAPABILITY LOGIN\nC| \\x16\\x03\\x01\\x00\\x01x\n")
    assert kinds(lines)[:4] == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_response_injection",
        "TlsStarted",
    ]


def test_starttls_granted_and_text_goes_on() -> None:
    lines = listen("C: a STARTTLS\nS: a OK\nC: b LOGIN u p\nS: b OK\n")
    assert kinds(lines) == [
        "StartTlsRequested",
        "StartTlsAccepted",
        "Anomaly starttls_without_tls",
        "CredentialsSent",
        "AuthenticationEnded",
    ]


def test_starttls_pipelined_behind_other_commands() -> None:
    lines = listen(
        "C: a CAPABILITY\nC: b STARTTLS\nS: * CAPABILITY X\nS: a OK\nS: b OK\nC| \\x16\\x03\\x01\\x00\\x01x\n"
    )
    assert kinds(lines)[:4] == ["StartTlsRequested", "CapabilitiesOffered", "StartTlsAccepted", "TlsStarted"]


def deflate(*parts: bytes) -> list[bytes]:
    """Each part deflated and flushed, as one stream."""
    deflater = zlib.compressobj(wbits=-15)
    return [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts]


def test_compression_is_read_through() -> None:
    client = deflate(b"b SELECT INBOX\r\n", b"c FETCH 1 BODY[]\r\n", b"d APPEND x {5}\r\n", b"abcde\r\n")
    server = deflate(b"b OK\r\n", b"* 1 FETCH (BODY[] {9}\r\nc OK\r\n\r\nx)\r\nc OK\r\n", b"+ go\r\n", b"d OK\r\n")
    pieces: list[Piece] = [*read_transcript(LOGGED_IN + "C: z COMPRESS DEFLATE\nS: z OK now\n")]
    for question, answer in zip(client, server, strict=True):
        pieces += [(CLIENT, question), (SERVER, answer)]
    # Offsets inside a deflated stream depend on how it is cut.
    assert told(play(ImapDissector(), cut(pieces, 1))) == told(play(ImapDissector(), pieces))
    assert told(play(ImapDissector(), pieces))[4:] == [
        "CompressionStarted",
        "MessageTransferred message=1 direction='retrieved' recipient_count=0 size=9 ended=True complete=True mailbox='INBOX' header=b'c OK\\r\\n'",
        "MessageTransferred message=2 direction='appended' recipient_count=0 size=5 ended=True complete=True mailbox='x' header=b'abcde'",
        "MessageAnswered message=2 accepted=True",
    ]


def test_where_a_compression_was_lost_is_told_alike() -> None:
    # What the server says meanwhile has nothing to do with it.
    pieces: list[Piece] = [(CLIENT, b"f COMPRESS DEFLATE\r\na LOGIN u p\r\n"), (SERVER, b'* LIST () "/" {2}\r\n\r\n')]
    for step in (1, 3, 99):
        assert run(cut(pieces, step))[0].startswith("Anomaly [C20] kind='compressed_stream_lost'")


def test_compression_refused() -> None:
    assert logged_in("C: z COMPRESS DEFLATE\nS: z NO [COMPRESSIONACTIVE]\nC: b LOGIN x y\nS: b OK\n")[0].endswith(
        "secret_kind='password'"
    )
    assert kinds(logged_in("C: z COMPRESS LZ4\nS: z OK\nC: b LOGIN x y\nS: b OK\n")) == [
        "CredentialsSent",
        "AuthenticationEnded",
    ]


# -- messages fetched ----------------------------------------------------------------------------------------------------------

BODY = "a001 LOGIN trapuser trapsecret\\r\\n* 9 FETCH (BODY[] {4}\\r\\nx OK\\r\\n"  # 61 octets


def fetched(lines: list[str]) -> list[tuple[str, str]]:
    """Sizes and mailboxes of the messages told of, ``?`` for unknown mailboxes."""
    out = []
    for line in lines:
        if line.startswith("MessageTransferred"):
            assert "direction='retrieved'" in line
            size = line.split("size=")[1].split(" ")[0]
            mailbox = line.split("mailbox='")[1].split("'")[0] if "mailbox=" in line else "?"
            out.append((size if "complete=True" in line else f"{size} incomplete", mailbox))
        else:
            assert line.startswith(("MessageDeleted", "MessageAnswered")), line
    return out


SELECT = "C: s SELECT inbox\nS: * 9 EXISTS\nS: s OK [READ-WRITE]\n"


@pytest.mark.parametrize(
    "item",
    [
        "BODY[] {61}\\r\\n%s", "RFC822 {61}\\r\\n%s", "body[] {61}\\r\\n%s", "BINARY[] ~{61}\\r\\n%s", "UID 7 BODY[] {61}\\r\\n%s",
        'FLAGS (\\\\Seen) INTERNALDATE "1-Jan-2026 00:00:00 +0000" BODY[] {61}\\r\\n%s UID 7', "BODY[HEADER] {4}\\r\\nA: b BODY[] {61}\\r\\n%s",
        'ENVELOPE (NIL {3}\\r\\n BO DY[] (("x" {2}\\r\\n))))) BODY[] {61}\\r\\n%s', 'X-NEW (1 (2 "(") 3) BODY[] {61}\\r\\n%s',
        "BODY[HEADER.FIELDS (SUBJECT TO)] {2}\\r\\n\\r\\n BODY[] {61}\\r\\n%s", 'RFC822.SIZE 61 BODY[] {61}\\r\\n%s BODYSTRUCTURE (("a") "b")',
    ],
)  # fmt: skip
def test_whole_messages_are_counted(item: str) -> None:
    row = item.replace("%s", BODY)
    lines = logged_in(SELECT + f"C: f FETCH 1 X\nS| * 1 FETCH ({row})\\r\\n\nS: f OK\nC: g NOOP\nS: g OK\n")
    assert fetched(lines) == [("61", "INBOX")]


@pytest.mark.parametrize(
    "item",
    [
        "BODY[TEXT] {61}\\r\\n%s", "BODY[HEADER] {61}\\r\\n%s", "BODY[1] {61}\\r\\n%s", "BODY[1.MIME] {61}\\r\\n%s", "RFC822.HEADER {61}\\r\\n%s",
        "RFC822.TEXT {61}\\r\\n%s", "BODY[HEADER.FIELDS (DATE)] {61}\\r\\n%s", "BODY[] NIL", 'BODY[] ""', "BODY[] {0}\\r\\n", "PREVIEW {61}\\r\\n%s",
        'ENVELOPE ("BODY[]" {61}\\r\\n%s)', "BINARY[1] {61}\\r\\n%s", "BINARY.SIZE[] 61", "FLAGS (BODY[])", "BODY[]<0> {61}\\r\\n%s", "BODY[]<99> {61}\\r\\n%s",
        'BODY ("BODY[]" "x")', "UID BODY[]", "X-BODY[] {61}\\r\\n%s",
    ],
)  # fmt: skip
def test_parts_and_headers_are_not(item: str) -> None:
    row = item.replace("%s", BODY)
    assert logged_in(SELECT + f"C: f FETCH 1 X\nS| * 1 FETCH ({row})\\r\\n\nS: f OK\nC: g NOOP\nS: g OK\n") == []


def test_messages_as_quoted_strings() -> None:
    lines = logged_in(SELECT + 'C: f FETCH 1 BODY[]\nS: * 1 FETCH (BODY[] "To: \\"a\\" {5}" UID 3)\nS: f OK\n')
    assert fetched(lines) == [("11", "INBOX")]


def test_several_messages_in_one_reply() -> None:
    rows = "".join(f"S| * {n} FETCH (UID {n} BODY[] {{3}}\\r\\nab{n})\\r\\n\n" for n in (1, 2, 3))
    assert fetched(logged_in(f"C: f UID FETCH 1:3 (BODY.PEEK[])\n{rows}S: f OK\n")) == [("3", "?")] * 3


HEAD = "Subject: tea\\r\\nX: y\\r\\n\\r\\n"  # 22 octets
HEAD_ITEM = f"BODY[HEADER] {{22}}\\r\\n{HEAD}"
TEXT_ITEM = f"BODY[TEXT] {{61}}\\r\\n{BODY}"


@pytest.mark.parametrize(
    "replies",
    [
        [HEAD_ITEM, TEXT_ITEM], [f"{HEAD_ITEM} {TEXT_ITEM}"], [f"{TEXT_ITEM} {HEAD_ITEM}"], [f"UID 7 {HEAD_ITEM}", f"{TEXT_ITEM} UID 7"],
        [f"RFC822.HEADER {{22}}\\r\\n{HEAD}", f"RFC822.TEXT {{61}}\\r\\n{BODY}"], [f"{HEAD_ITEM} RFC822.TEXT {{61}}\\r\\n{BODY} {TEXT_ITEM}"],
        [f"body[header] {{22}}\\r\\n{HEAD} body[text] {{61}}\\r\\n{BODY}"], [HEAD_ITEM, HEAD_ITEM, "FLAGS (\\\\Seen)", TEXT_ITEM], [HEAD_ITEM, TEXT_ITEM, TEXT_ITEM],
        [f"RFC822.SIZE 9999 {HEAD_ITEM}", f"{TEXT_ITEM} FLAGS (\\\\Seen)"],
    ],
)  # fmt: skip
def test_header_and_text_are_a_message(replies: list[str]) -> None:
    rows = "".join(f"C: f FETCH 1 X\nS| * 1 FETCH ({row})\\r\\n\nS: f OK\n" for row in replies)
    lines = logged_in(SELECT + rows)
    assert fetched(lines) == [("83", "INBOX")]
    assert lines[0].endswith(f"header={HEAD.encode().decode('unicode_escape').encode()[:-2]!r}")


@pytest.mark.parametrize(
    "dialogue",
    [
        f"S| * 1 FETCH ({TEXT_ITEM})\\r\\n\n", f"S| * 1 FETCH ({HEAD_ITEM})\\r\\n\n" * 3, f"S| * 2 FETCH ({HEAD_ITEM})\\r\\n* 1 FETCH ({TEXT_ITEM})\\r\\n\n",
        f"S| * 1 FETCH ({TEXT_ITEM})\\r\\n* 1 FETCH ({HEAD_ITEM})\\r\\n\n", f"S| * 1 FETCH ({HEAD_ITEM} BODY[1] {{61}}\\r\\n{BODY})\\r\\n\n",
        f"S| * 1 FETCH ({HEAD_ITEM} BODY[TEXT]<0> {{61}}\\r\\n{BODY})\\r\\n\n", f"S| * 1 FETCH ({HEAD_ITEM} BODY[2.TEXT] {{61}}\\r\\n{BODY})\\r\\n\n",
        f"S| * 1 FETCH (BODY[HEADER]<0> {{22}}\\r\\n{HEAD} {TEXT_ITEM})\\r\\n\n", f"S| * 1 FETCH (BODY[HEADER.FIELDS (X)] {{22}}\\r\\n{HEAD} {TEXT_ITEM})\\r\\n\n",
        f"S| * 1 FETCH ({HEAD_ITEM} BODY[TEXT] NIL)\\r\\n* 1 FETCH (BODY[HEADER] NIL)\\r\\n\n",
        # other messages, or another mailbox, since
        f"S| * 2 FETCH ({HEAD_ITEM})\\r\\n* 1 EXPUNGE\\r\\n* 2 FETCH ({TEXT_ITEM})\\r\\n\n", f"S| * 2 FETCH ({HEAD_ITEM})\\r\\n* VANISHED 1\\r\\n* 2 FETCH ({TEXT_ITEM})\\r\\n\n",
        f"S| * 1 FETCH ({HEAD_ITEM})\\r\\n\n{SELECT}S| * 1 FETCH ({TEXT_ITEM})\\r\\n\n", f"S| * 1 FETCH ({HEAD_ITEM})\\r\\n\nS~ 20\nS| \\r\\n* 1 FETCH ({TEXT_ITEM})\\r\\n\n",
    ],
)  # fmt: skip
def test_header_or_text_alone_is_none(dialogue: str) -> None:
    assert fetched(logged_in(SELECT + "C: f FETCH 1 X\n" + dialogue)) == []


def test_a_message_whole_and_in_two_is_one() -> None:
    row = f"{HEAD_ITEM} {TEXT_ITEM} BODY[] {{83}}\\r\\n{HEAD}{BODY}"
    assert fetched(logged_in(SELECT + f"C: f FETCH 1 X\nS| * 1 FETCH ({row})\\r\\n\nS: f OK\n")) == [("83", "INBOX")]


def test_header_and_text_of_few_octets() -> None:
    def sizes(row: str) -> list[str]:
        lines = logged_in(SELECT + f"C: f FETCH 1 X\nS: * 1 FETCH ({row})\nS: f OK\n")
        return [size for size, _ in fetched(lines)]

    assert sizes('BODY[HEADER] "A: b" BODY[TEXT] "To: \\"a\\" {5}"') == ["15"]
    assert sizes('BODY[HEADER] "" BODY[TEXT] "abc"') == ["3"]
    assert sizes('BODY[HEADER] "A: b" BODY[TEXT] ""') == ["4"]
    assert sizes('BODY[HEADER] "" BODY[TEXT] ""') == []
    # What is no header's end makes no header of the text.
    said = logged_in(
        SELECT
        + 'C: f FETCH 1 X\nS: * 1 FETCH (BODY[HEADER] "A: b" BODY[TEXT] {9})\nS| C: d\\r\\n\\r\\nx)\\r\\n\nS: f OK\n'.replace(
            "})", "}"
        )
    )
    assert said[0].endswith("header=b'A: b'")


def test_attachments_of_a_text_that_came_apart() -> None:
    head = "Content-Type: multipart/mixed; boundary=zz\\r\\n\\r\\n"
    body = "--zz\\r\\nContent-Disposition: attachment; filename=plan.pdf\\r\\n\\r\\n--yy\\r\\nContent-Disposition: attachment; filename=trap\\r\\n\\r\\n--zz--\\r\\n"
    sizes = [len(octets.encode().decode("unicode_escape")) for octets in (head, body)]
    lines = logged_in(
        SELECT
        + f"C: f FETCH 1 X\nS| * 1 FETCH (BODY[HEADER] {{{sizes[0]}}}\\r\\n{head} BODY[TEXT] {{{sizes[1]}}}\\r\\n{body})\\r\\n\nS: f OK\n"
    )
    assert len(lines) == 1
    assert "attachments=['plan.pdf']" in lines[0]


def test_a_text_cut_off_by_the_end_or_by_a_gap() -> None:
    begun = f"C: f FETCH 1 X\nS| * 1 FETCH ({HEAD_ITEM})\\r\\n* 1 FETCH (BODY[TEXT] {{61}}\\r\\na001 LOG\n"
    assert fetched(logged_in(SELECT + begun)) == [("30 incomplete", "INBOX")]
    assert fetched(logged_in(SELECT + begun.replace("HEADER]", "MIME]"))) == []
    torn = begun + "S~ 47\nS| 12345)\\r\\nf OK\\r\\n\n"
    assert fetched(logged_in(SELECT + torn)) == [("83 incomplete", "INBOX")]
    torn = (
        f"C: f FETCH 1 X\nS| * 1 FETCH (BODY[HEADER] {{22}}\\r\\nSubject:\nS~ 10\nS| \\r\\n\\r\\n {TEXT_ITEM})\\r\\n\n"
    )
    assert fetched(logged_in(SELECT + torn)) == [("83 incomplete", "INBOX")]
    # Its end is not needed.
    assert fetched(logged_in(SELECT + f"C: f FETCH 1 X\nS| * 1 FETCH ({HEAD_ITEM} {TEXT_ITEM}\n")) == [("83", "INBOX")]


def test_messages_in_two_deleted() -> None:
    fetch = f"C: f FETCH 1 X\nS| * 1 FETCH ({HEAD_ITEM})\\r\\n* 1 FETCH ({TEXT_ITEM} UID 7)\\r\\n\nS: f OK\n"
    gone = "C: d UID STORE 7 +FLAGS (\\Deleted)\nS: d OK\nC: e EXPUNGE\nS: * 1 EXPUNGE\nS: e OK\n"
    assert logged_in(SELECT + fetch + gone)[1:] == ["MessageDeleted message=1"]


def test_a_flood_of_headers_is_bounded() -> None:
    head = b"A: " + b"x" * 1000
    replies = b"".join(b"* %d FETCH (BODY[HEADER] {1003}\r\n%s)\r\n" % (n, head) for n in range(1, 5001))
    dissector = ImapDissector()
    play(dissector, [*read_transcript(LOGGED_IN), (SERVER, replies)], finish=False)
    mailbox = dissector._mailbox
    assert len(mailbox._header_sizes) == imap_mailbox.MAX_SIZES
    assert len(mailbox._headers) == imap_mailbox.MAX_HEADERS // (1003 + 2)  # with what may begin a blank line
    # The sizes of those that are not kept are known.
    texts = b"".join(b"* %d FETCH (BODY[TEXT] {4}\r\ntext)\r\n" % n for n in (1, 1000, 5000))
    at = Position(9, 9, len(replies))
    said = [
        event for event in dissector.receive_data(SERVER, texts, at) if isinstance(event, events.MessageTransferred)
    ]
    assert [(one.size, one.header) for one in said] == [(1007, b""), (1007, head)]


def piece(origin: int, data: str, more: str = "") -> str:
    return f"S| * 1 FETCH ({more}BODY[]<{origin}> {{{len(data)}}}\\r\\n{data})\\r\\n\n"


def test_messages_fetched_in_pieces() -> None:
    ask = "C: f{0} UID FETCH 7 (UID BODY.PEEK[]<{0}.10>)\n"
    # a piece shorter than asked for ends the message
    short = ask.format(0) + piece(0, "0123456789") + "S: f0 OK\n" + ask.format(10) + piece(10, "abc") + "S: f10 OK\n"
    assert fetched(logged_in(SELECT + short)) == [("13", "INBOX")]
    # so does an empty one, or the size that was told before
    empty = ask.format(0) + piece(0, "0123456789") + "S: f0 OK\n" + ask.format(10) + piece(10, "") + "S: f10 OK\n"
    assert fetched(logged_in(SELECT + empty)) == [("10", "INBOX")]
    size = "C: z FETCH 1 RFC822.SIZE\nS: * 1 FETCH (RFC822.SIZE 10)\nS: z OK\n"
    assert fetched(logged_in(SELECT + size + ask.format(0) + piece(0, "0123456789") + "S: f0 OK\n")) == [
        ("10", "INBOX")
    ]
    # asked for all at once
    flight = ask.format(0) + ask.format(10) + piece(0, "0123456789") + "S: f0 OK\n" + piece(10, "abc") + "S: f10 OK\n"
    assert fetched(logged_in(SELECT + flight)) == [("13", "INBOX")]


def test_pieces_that_do_not_make_a_message() -> None:
    ask = "C: f{0} FETCH 1 (BODY.PEEK[]<{0}.10>)\n"
    preview = ask.format(0) + piece(0, "0123456789") + "S: f0 OK\n"
    assert fetched(logged_in(SELECT + preview)) == []
    hole = preview + ask.format(20) + piece(20, "abc") + "S: f20 OK\n"
    assert fetched(logged_in(SELECT + hole)) == []
    again = preview + preview + ask.format(10) + piece(10, "abc") + "S: f10 OK\n"
    assert fetched(logged_in(SELECT + again)) == [("13", "INBOX")]
    broken_off = preview + ask.format(10) + piece(10, "0123456789") + "S: f10 OK\n"
    assert fetched(logged_in(SELECT + broken_off)) == [("20 incomplete", "INBOX")]


def test_a_message_cut_off_by_the_end_or_by_a_gap() -> None:
    assert fetched(logged_in("C: f FETCH 1 BODY[]\nS| * 1 FETCH (BODY[] {50}\\r\\nTo: x\\r\\n\n")) == [
        ("7 incomplete", "?")
    ]
    lines = logged_in(
        "C: f FETCH 1 BODY[]\nS| * 1 FETCH (BODY[] {50}\\r\\nTo: x\\r\\n\nS~ 40\nS| abc)\\r\\nf OK\\r\\n\nC: g NOOP\nS: g OK\n"
    )
    assert fetched(lines) == [("50 incomplete", "?")]


def test_mailbox_names() -> None:
    for name, shown in (
        ("INBOX", "INBOX"), ('"Sent Mail"', "Sent Mail"), ("Entw&APw-rfe", "Entwürfe"), ("a&-b", "a&b"), ("&Jjo-!", "☺!"), ("&bad", "&bad"),
        ("&AA-", "&AA-"), ("Entwürfe", "Entwürfe"),
    ):  # fmt: skip
        lines = logged_in(
            f"C: s EXAMINE {name}\nS: s OK\nC: f FETCH 1 BODY[]\nS: * 1 FETCH (BODY[] {{1}}\nS: x)\nS: f OK\n"
        )
        assert fetched(lines) == [("1", shown)]
    select = "C: s SELECT {5}\nS: + ok\nC| Trash\\r\\n\nS: s OK\n"
    message = "C: f FETCH 1 BODY[]\nS: * 1 FETCH (BODY[] {1}\nS: x)\nS: f OK\n"
    assert fetched(logged_in(select + message)) == [("1", "Trash")]
    assert fetched(logged_in(select + "C: t SELECT nope\nS: t NO\n" + message)) == [("1", "?")]


def test_messages_deleted() -> None:
    fetch = (
        "C: f FETCH 1:3 (UID BODY[])\n"
        + "".join(f"S| * {n} FETCH (UID {n + 6} BODY[] {{2}}\\r\\nm{n})\\r\\n\n" for n in (1, 2, 3))
        + "S: f OK\n"
    )

    def deleted(rest: str, select: str = SELECT) -> str:
        lines = logged_in(select + fetch + rest)
        return " ".join(
            line.removeprefix("MessageDeleted message=") for line in lines if line.startswith("MessageDeleted")
        )

    mark = "C: d STORE 1,3 +FLAGS.SILENT (\\Deleted \\Seen)\nS: d OK\n"
    assert deleted(mark + "C: e EXPUNGE\nS: * 1 EXPUNGE\nS: * 2 EXPUNGE\nS: e OK\n") == "1 3"
    assert deleted(mark + "C: e CLOSE\nS: e OK\n") == "1 3"
    assert deleted(mark + "C: e CLOSE\nS: e OK\n", SELECT.replace("SELECT", "EXAMINE")) == ""
    assert deleted(mark + "C: e LOGOUT\nS: e OK\n") == ""
    assert deleted(mark.replace("d OK", "d NO") + "C: e CLOSE\nS: e OK\n") == ""
    assert deleted(mark + "C: g STORE 1:* -FLAGS \\Deleted\nS: g OK\nC: e CLOSE\nS: e OK\n") == ""
    assert deleted("C: d UID STORE 8 +FLAGS (\\DELETED)\nS: d OK\nC: e UID EXPUNGE 8\nS: * 2 EXPUNGE\nS: e OK\n") == "2"
    assert deleted("C: d UID STORE 8:* FLAGS \\Deleted\nS: d OK\nC: e EXPUNGE\nS: * VANISHED 8,9\nS: e OK\n") == "2 3"
    assert (
        deleted("C: d STORE 2 +FLAGS (\\Deleted)\nS: * 2 FETCH (FLAGS (\\Deleted))\nS: d OK\nC: e CLOSE\nS: e OK\n")
        == "2"
    )
    # somebody else's doing, a move, a vanished mailbox history: the client removed nothing
    assert deleted("S: * 1 EXPUNGE\n") == ""
    assert deleted("C: m MOVE 1 Trash\nS: * 1 EXPUNGE\nS: m OK\n") == ""
    assert deleted("S: * VANISHED (EARLIER) 7:9\n") == ""


# -- messages appended ---------------------------------------------------------------------------------------------------------


def appended(lines: list[str]) -> list[str]:
    out = []
    for line in lines:
        words = dict(word.split("=", 1) for word in line.split(" ") if "=" in word)
        if line.startswith("MessageTransferred"):
            assert words["direction"] == "'appended'"
            out.append(
                f"{words['size']} {words.get('mailbox', '?')}"
                + ("" if words.get("complete") == "True" else " incomplete")
            )
        else:
            assert line.startswith("MessageAnswered"), line
            out.append(f"{words['message']} {words['accepted']}")
    return out


@pytest.mark.parametrize(
    ("dialogue", "messages"),
    [
        (f"C| b APPEND INBOX {{62+}}\\r\\n{BODY}\\r\\n\nS: b OK\n", ["62 'INBOX'", "1 True"]),
        (f'C: b APPEND Sent (\\Seen) "1-Jan-2026 00:00:00 +0000" {{62}}\nS: + go\nC| {BODY}\\r\\n\nS: b NO [OVERQUOTA]\n', ["62 'Sent'", "1 False"]),
        ("C: b APPEND x ~{3}\nS: + go\nC| a\\x00b\\r\\n\nS: b OK\n", ["3 'x'", "1 True"]),
        ("C: b APPEND x UTF8 (~{3}\nS: + go\nC| abc)\\r\\n\nS: b OK\n", ["3 'x'", "1 True"]),
        # the mailbox is a literal too
        ("C: b APPEND {1+}\nC| y {3}\\r\\n\nS: + go\nC| abc\\r\\n\nS: b OK\n", ["3 'y'", "1 True"]),
        # RFC 3502: several at once
        ("C: b APPEND x {1}\nS: +\nC| a () {2}\\r\\n\nS: +\nC| bc (\\\\Seen) {3+}\\r\\ndef\\r\\n\nS: b OK\n", ["1 'x'", "2 'x'", "3 'x'", "1 True", "2 True", "3 True"]),
        # given up, or refused before anything was sent
        ("C: b APPEND x {0}\nS: +\nC:\nS: b NO\n", []),
        ("C: b APPEND nope {62}\nS: b NO [TRYCREATE]\nC: c APPEND x {1+}\nC| a\\r\\n\nS: c OK\n", ["1 'x'", "1 True"]),
        # RFC 4469: parts joined by the server
        ("C| b APPEND x CATENATE (TEXT {3+}\\r\\nabc TEXT {2+}\\r\\nde)\\r\\n\nS: b OK\n", ["5 'x'", "1 True"]),
        ('C| b APPEND x CATENATE (URL "/INBOX/;UID=1" TEXT {3+}\\r\\nabc)\\r\\n\nS: b OK\n', ["3 'x' incomplete", "1 True"]),
        ('C| b APPEND x CATENATE (TEXT {3+}\\r\\nabc URL "/a)b") () {1+}\\r\\nz\\r\\n\nS: b OK\n', ["3 'x' incomplete", "1 'x'", "1 True", "2 True"]),
        ('C| b APPEND x CATENATE (URL "/INBOX/;UID=1")\\r\\n\nS: b OK\n', []),
        # RFC 8508: in the place of another one
        (f"C| b REPLACE 4 Drafts (\\\\Seen \\\\Draft) {{62+}}\\r\\n{BODY}\\r\\n\nS: * OK [APPENDUID 1 2000] so\nS: * 4 EXPUNGE\nS: b OK\n", ["62 'Drafts'", "1 True"]),
        ("C: b UID REPLACE 2000 {1}\nS: + go\nC| y () {3}\\r\\n\nS: + go\nC| abc\\r\\n\nS: b NO [OVERQUOTA]\n", ["3 'y'", "1 False"]),
        ("C: b uid replace * x UTF8 (~{3+}\nC| abc)\\r\\n\nS: b OK\n", ["3 'x'", "1 True"]),
        ("C: b REPLACE 4 nope {62}\nS: b NO [TRYCREATE]\n", []),
        # no such command, and another one of a similar name: what they carry is none
        ("C: b REPLACE x {3+}\nC| abc\\r\\n\nS: b BAD\n", []),
        ("C: b REPLACE\nS: b BAD\nC: b REPLACE 4\nS: b BAD\n", []),
        ("C: b XREPLACE 4 x {3+}\nC| abc\\r\\n\nS: b BAD\n", []),
        # cut off
        ("C: b APPEND x {50+}\nC| To: x\nC~ 40\nC| 12345\\r\\nc NOOP\\r\\n\nS: b OK\n", ["50 'x' incomplete", "1 True"]),
    ],
)  # fmt: skip
def test_appends(dialogue: str, messages: list[str]) -> None:
    assert appended(logged_in(dialogue + "C: z NOOP\nS: z OK\n")) == messages


def test_append_cut_off_by_the_end() -> None:
    assert appended(logged_in("C: b APPEND x {50+}\nC| To: x\n")) == ["5 'x' incomplete"]
    assert appended(logged_in("C: b APPEND x {50+}\n")) == []


def test_answer_that_overtakes_a_literal() -> None:
    lines = logged_in(
        "C: b APPEND x {9+}\nC| abc\nS: b NO [TOOBIG]\nC| def\\r\\n\\x00\\r\\n\nC: c LOGIN x y\nS: c OK\n"
    )
    assert kinds(lines) == ["MessageTransferred", "MessageAnswered", "CredentialsSent", "AuthenticationEnded"]


# -- traps ---------------------------------------------------------------------------------------------------------------------


def test_text_in_messages_is_never_read_as_dialogue() -> None:
    trap = "a LOGIN trapuser trapsecret\\r\\na AUTHENTICATE PLAIN AHRyYXAAdHJhcA==\\r\\n* OK [CAPABILITY TRAP]\\r\\n+ \\r\\nf OK trap\\r\\nb BAD trap\\r\\n"
    size = len(trap.encode().decode("unicode_escape"))
    lines = logged_in(
        f"C| f APPEND x {{{size}+}}\\r\\n{trap}\\r\\n\nS: f OK\nC: b FETCH 1 BODY[TEXT]\n"
        f"S| * 1 FETCH (BODY[TEXT] {{{size}}}\\r\\n{trap} FLAGS ())\\r\\n\nS: b OK\n"
        f"C: c SEARCH BODY {{{size}}}\nS: + go\nC| {trap}\\r\\n\nS: c OK\n"
        f'C: d LIST "" *\nS| * LIST () "/" {{{size}}}\\r\\n{trap}\\r\\n* LIST () "/" x\\r\\nd OK\\r\\n\n'
    )
    assert kinds(lines) == ["MessageTransferred", "MessageAnswered"]
    assert "trap" not in " ".join(lines).split("header=")[0]


def test_reply_text_is_no_literal_and_no_command() -> None:
    lines = listen("S: * OK we have {50}\nC: a NOOP\nS: a OK done {50}\nC: b LOGIN u p\nS: b OK b LOGIN trap trap\n")
    assert logins(lines) == ["1 mechanism='LOGIN-CMD' username='u' secret='p'", "1 outcome='accepted'"]


# -- damage --------------------------------------------------------------------------------------------------------------------


def test_one_direction_alone() -> None:
    client = (
        "C: a LOGIN {5}\nC| alice {2}\\r\\npw\\r\\n\nC: b AUTHENTICATE PLAIN\n"
        f"C: {b64(chr(0) + 'bob' + chr(0) + 'b o')}\nC: c AUTHENTICATE LOGIN\nC: YW5u\nC: cHc=\n"
        "C: d APPEND x {30}\nC| e LOGIN trapuser trapsecret\\r\\n\\r\\n\nC: f AUTHENTICATE LOGIN\nC: ZXZl\nC: *\nC: g LOGIN z {1}\nC| y\\r\\n\n"
    )
    lines = hear(ImapDissector, client)
    assert logins(lines) == [
        "1 mechanism='LOGIN-CMD' username='alice' secret='pw'",
        "2 mechanism='PLAIN' username='bob' secret='b o'",
        "3 mechanism='LOGIN' username='ann' secret='pw'",
        "4 mechanism='LOGIN' username='eve' secret_kind='none'", "4 outcome='cancelled'",
        "5 mechanism='LOGIN-CMD' username='z' secret='y'",
    ]  # fmt: skip
    server = (
        GREETING
        + "S: a OK [CAPABILITY X] in\nS: * 3 EXISTS\nS: + go\nS: * 1 FETCH (BODY[] {2}\nS: ab)\nS: b OK\nS: c BAD\n"
    )
    assert kinds(hear(ImapDissector, server)) == [
        "Greeted",
        "CapabilitiesOffered",
        "CapabilitiesOffered",
        "MessageTransferred",
    ]


def test_from_the_middle() -> None:
    def make() -> ImapDissector:
        dissector = ImapDissector()
        dissector.midstream = True
        return dissector

    lines = hear(
        make, "S: * 9 EXISTS\nS: x OK done\nS: * OK Still here\nS: text of a message)\nC: a LOGIN u p\nS: a OK\n"
    )
    assert kinds(lines) == ["CredentialsSent", "AuthenticationEnded"]


def test_login_behind_a_gap_is_told_when_it_is_answered() -> None:
    appended = LOGGED_IN + "C: b APPEND x {5\nC~ 9\n"
    for answer in ("b OK", "b OK\nS: t OK", "t NO"):  # the last ones answer other commands
        for trap in ("LOGIN trapuser trapsecret", "AUTHENTICATE PLAIN AHRyYXAAdHJhcA=="):
            lines = hear(ImapDissector, appended + f"C: x\nC: t {trap}\nS: {answer}\n")
            assert logins(lines[4:]) == []
    # who has not logged in, and is answered, has sent a command
    beginning = GREETING + "C: l LOGIN u p\nS: l NO\nC: b NOO\nC~ 9\n"
    lines = hear(ImapDissector, beginning + "C: x\nC: c LOGIN u2 p2\nS: c OK\nC: d LOGIN u3 p3\nS: d NO\n")
    assert logins(lines[4:]) == [
        "2 mechanism='LOGIN-CMD' username='u2' secret='p2'", "2 outcome='accepted'",
        "3 mechanism='LOGIN-CMD' username='u3' secret='p3'", "3 outcome='rejected'",
    ]  # fmt: skip
    lines = hear(ImapDissector, beginning + "C: x\nC: c AUTHENTICATE PLAIN AHUAcA==\nS: c OK\n")
    assert logins(lines[4:]) == ["2 mechanism='PLAIN' username='u' secret='p'", "2 outcome='accepted'"]
    lines = hear(ImapDissector, beginning + "C: x\nC: c LOGIN u {2}\nS: + go\nC: p2\nS: c OK\n")
    assert logins(lines[4:]) == ["2 mechanism='LOGIN-CMD' username='u' secret='p2'", "2 outcome='accepted'"]


def test_go_ahead_that_was_lost() -> None:
    # ... while the client waits
    lines = listen("C: a LOGIN u {2}\nS~ 10\nC: pw\nS: a OK\n")
    assert logins(lines) == ["1 mechanism='LOGIN-CMD' username='u' secret='pw'"]
    # ... and the whole answer with it; the next reply is readable again
    lines = listen("C: a AUTHENTICATE PLAIN\nS~ 4\nC: AHUAcA==\nS: x\nS: a OK\n")
    assert logins(lines) == ["1 mechanism='PLAIN' username='u' secret='p'", "1 outcome='accepted'"]
    # refused, for all that was lost
    lines = listen("C: a LOGIN u {9}\nS~ 4\nS: x\nS: a NO\nC: b LOGIN v w\nS: b OK\n")
    assert logins(lines)[2:] == ["2 mechanism='LOGIN-CMD' username='v' secret='w'", "2 outcome='accepted'"]


def test_go_ahead_before_the_question() -> None:
    assert logins(listen("S: + early\nC: a LOGIN u {2}\nC: pw\nS: a OK\n")) == [
        "1 mechanism='LOGIN-CMD' username='u' secret='pw'",
        "1 outcome='accepted'",
    ]
    lines = listen(
        f"S: + {b64('<1@x>')}\nC: a AUTHENTICATE CRAM-MD5\nC: {b64('tim b913a602c7eda7a495b4e6e7334d3890')}\nS: a OK\n"
    )
    assert "challenge='<1@x>'" in lines[0]


def test_odd_dialogue() -> None:
    assert kinds(listen("C: a NOOP\nS: zz OK what\nS: a OK\n")) == ["Anomaly unexpected_reply"]
    assert kinds(listen("S: complete nonsense\nS: * what:ever\n")) == ["Anomaly malformed_reply"] * 2
    assert kinds(listen("C: GET / HTTP/1.1\nC: word\nC: + LOGIN u p\nC:\n")) == ["Anomaly malformed_command"] * 3
    assert listen("S: * X-SOMETHING new {3}\nS: abc\nS: * 3 EXISTS\n")[0].startswith("Anomaly kind='untagged_data")


def test_lines_that_are_too_long() -> None:
    pieces = cut(
        [
            (CLIENT, b"a LOGIN " + b"x" * 70000 + b"\r\nb LOGIN u p\r\nc LOGIN {1+}\r\n" + b"x" * 70000 + b"\r\n"),
            (SERVER, b"* " + b"x" * 70000 + b"\r\nb OK\r\n"),
        ],
        1000,
    )
    said = play(ImapDissector(), [*read_transcript(GREETING), *pieces])
    assert kinds(told(said))[2:] == [
        "Anomaly line_too_long",
        "CredentialsSent",
        "Anomaly line_too_long",
        "Anomaly line_too_long",
        "AuthenticationEnded",
    ]


def test_a_flood_of_commands_is_bounded() -> None:
    flood = b"".join(b"%d NOOP\r\n" % n for n in range(2000))
    dissector = ImapDissector()
    said = play(dissector, [*read_transcript(GREETING), (CLIENT, flood), (SERVER, b"1999 OK\r\n1 OK\r\n")])
    assert [e.kind for e in said if isinstance(e, events.Anomaly)] == ["command_queue_full"]
    assert len(dissector._pending) < imap.MAX_PENDING


def test_a_flood_of_fetches_is_bounded() -> None:
    replies = b"".join(b"* %d FETCH (UID %d RFC822.SIZE 9 BODY[] {1}\r\nx)\r\n" % (n, n) for n in range(1, 5000))
    replies += b"".join(b"* %d FETCH (BODY[]<0> {1}\r\nx)\r\n" % n for n in range(1, 5000))
    dissector = ImapDissector()
    play(dissector, [*read_transcript(LOGGED_IN), (SERVER, replies)], finish=False)
    mailbox = dissector._mailbox
    assert len(mailbox._messages) == imap_mailbox.MAX_WATCHED
    assert len(mailbox._sizes) == imap_mailbox.MAX_SIZES
    assert len(mailbox.piecemeal) == imap_mailbox.MAX_PIECEMEAL


def test_a_literal_that_is_too_large_for_a_login_is_not_kept() -> None:
    lines = listen("C: a LOGIN u {99999999999}\nS: + go\nC| " + "x" * 100_000 + "\n")
    assert logins(lines) == ["1 mechanism='LOGIN-CMD' username='u' secret_kind='none'"]
    dissector = ImapDissector()
    play(dissector, [*read_transcript(GREETING), (CLIENT, b"a LOGIN {70000+}\r\n" + b"x" * 70000 + b" p\r\n")])
    assert dissector._literal == []


# -- any input -----------------------------------------------------------------------------------------------------------------

CLIENT_WORDS = [
    "a LOGIN u p", 'b LOGIN "u" {2}', "pp", "c AUTHENTICATE PLAIN", "c AUTHENTICATE LOGIN YWxpY2U=", "AHUAcA==", "*", "cHc=", "d APPEND x {4+}",
    "abcd", "", "e STARTTLS", "f COMPRESS DEFLATE", "g IDLE", "DONE", 'h ID ("name" "x")', "i SELECT y", "j UID FETCH 1 BODY[]<0.2>", "k STORE 1 +FLAGS (\\Deleted)",
    "l CLOSE", "m APPEND x CATENATE (TEXT {1+}", 'x URL "y")', "n LOGIN {1+}", "u {1}", "{1}", "o SEARCH {3}", "\x16\x03\x01", "p EXPUNGE",
]  # fmt: skip
SERVER_WORDS = [
    "* OK [CAPABILITY X XXXXXXXX LOGINDISABLED] hi", "* PREAUTH x", "+ ", "+ VXNlcm5hbWU6", "a OK", "a NO", "b OK", "b BAD", "c OK x", "c NO", "d OK", "e OK", "e NO",
    "f OK", "g OK", "h OK", "i OK", "j OK", "k OK", "l OK", "m OK", "n NO", "o OK", "p OK", "* 1 EXISTS", "* 1 FETCH (BODY[] {3}", "abc UID 4)", "* 1 FETCH (BODY[]<0> {2}", "xy)",
    "* 1 FETCH (BODY[HEADER] {3}", "* 1 FETCH (UID 4 BODY[TEXT] {3}", "A: ) ", '* 1 FETCH (RFC822.TEXT "z" RFC822.HEADER {2}', '* 1 FETCH (BODY[HEADER] "A: b" BODY[TEXT] {3}',
    '* 1 FETCH (BODY[]<2> "z" RFC822.SIZE 3)', "* 1 EXPUNGE", "* VANISHED 1:9", '* LIST () "/" {2}', "* BYE", "", '* 1 FETCH (FLAGS (\\Deleted) ENVELOPE ("(" {1}', "x)",
]  # fmt: skip


@st.composite
def dialogues(draw: st.DrawFn) -> list[Piece]:
    """Lines that make sense, in an order that need not."""
    pieces: list[Piece] = []
    for _ in range(draw(st.integers(1, 25))):
        sender = draw(st.sampled_from([CLIENT, SERVER]))
        lines = draw(
            st.lists(st.sampled_from(CLIENT_WORDS if sender == CLIENT else SERVER_WORDS), min_size=1, max_size=3)
        )
        pieces.append((sender, ("\r\n".join(lines) + "\r\n").encode("latin-1")))
    return pieces


def run(pieces: list[Piece], finish: bool = True) -> list[str]:
    """What is told, without what depends on the place of a cut alone."""
    return told(play(ImapDissector(), pieces, finish=finish), where=True)


@given(dialogues(), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_any_split_tells_the_same(pieces: list[Piece], random: object) -> None:
    whole = run(pieces)
    assert run(cut(pieces, 1)) == whole
    assert run(cut(pieces, 3)) == whole


def cut(pieces: list[Piece], step: int) -> list[Piece]:
    out: list[Piece] = []
    for sender, data in pieces:
        assert isinstance(data, bytes)
        out += [(sender, data[i : i + step]) for i in range(0, len(data), step)]
    return out


@given(
    dialogues(),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([CLIENT, SERVER]), st.integers(1, 500)), max_size=4),
)
@settings(max_examples=80, deadline=None)
def test_gaps_anywhere_are_met_calmly(pieces: list[Piece], gaps: list[tuple[int, int, int]]) -> None:
    damaged = list(cut(pieces, 5))
    for place, sender, size in gaps:
        damaged.insert(min(place, len(damaged)), (sender, size))
    run(damaged)


@given(st.lists(st.tuples(st.sampled_from([CLIENT, SERVER]), st.binary(max_size=60)), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_octets_are_met_calmly(pieces: list[tuple[int, bytes]]) -> None:
    run(list(pieces))


def test_every_prefix_and_every_gap_of_a_session() -> None:
    transcript = (
        LOGGED_IN
        + "C: a LOGIN u {2}\nS: + x\nC: pp\nS: a NO\nC: f FETCH 1 BODY[]\nS: * 1 FETCH (BODY[] {3}\nS: abc)\nS: f OK\nC: i APPEND x {2+}\nC: ab\nS: i OK\n"
    )
    pieces = read_transcript(transcript)
    for index, (sender, data) in itertools.chain(enumerate(pieces)):
        assert isinstance(data, bytes)
        for at in range(len(data)):
            run([*pieces[:index], (sender, data[:at])])
            run([*pieces[:index], (sender, data[:at]), (sender, len(data) - at), *pieces[index + 1 :]])


def test_nothing_is_told_after_the_end() -> None:
    dissector = ImapDissector()
    play(dissector, read_transcript(LOGGED_IN))
    assert dissector.finish(Position(9, 9, 9)) == []


def test_what_a_server_sends_with_a_header_is_not_kept_without_end() -> None:
    part = b"--b\r\nContent-Disposition: attachment; filename=" + b"x" * 8000 + b"\r\n\r\n"
    letter = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 90
    dissector = ImapDissector()
    play(dissector, read_transcript(LOGGED_IN), eof=False, finish=False)
    tracemalloc.start()
    try:
        for number in range(1, 31):
            reply = b"* %d FETCH (RFC822.HEADER {%d}\r\n%b)\r\n" % (number, len(letter), letter)
            dissector.receive_data(SERVER, reply, Position(number, number, 1000 + number * len(reply)))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 10 * imap_mailbox.MAX_HEADERS
