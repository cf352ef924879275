"""SASL exchanges: the RFCs' own examples, and near misses of each."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.protocols import mechanisms
from analyzer.protocols.ntlm import SIGNATURE, find_ntlm, parse_authenticate
from analyzer.protocols.sasl import Exchange, decode_base64, mechanism_name

# [MS-NLMP] section 4.2.2.3 (NTLMv1 authentication), typed from the specification
MS_CHALLENGE = bytes.fromhex(
    "4e544c4d53535000020000000c000c003800000033820 2e20123456789abcdef0000000000000000000000000000000006007017"
    "0000000f530065007200760065007200".replace(" ", "")
)
MS_AUTHENTICATE = bytes.fromhex(
    "4e544c4d5353500003000000180018006c00000018001800840000000c000c00480000000800080054000000100010005c000000"
    "100010009c000000358280e20501280a0000000f44006f006d00610069006e00550073006500720043004f004d0050005500540045005200"
    "98def7b87f88aa5dafe2df779688a172def11c7d5ccdef1367c43011f30298a2ad35ece64f16331c44bdbed927841f94"
    "518822b1b3f350c8958682ecbb3e3cb7"
)
MS_NEGOTIATE = SIGNATURE + b"\x01\0\0\0\x07\x82\x08\xa2" + bytes(24)


def talk(mechanism: str, *said: bytes | tuple[bytes]) -> dict[str, object]:
    """What is learned from responses (octets) and challenges (octets in a tuple); empty fields are left out."""
    exchange = Exchange(mechanism)
    malformed = None
    for message in said:
        if isinstance(message, tuple):
            exchange.receive_challenge(message[0])
        else:
            exchange.receive_response(message)
        malformed = exchange.malformed or malformed
        exchange.malformed = None
    complete = exchange.complete
    exchange.finish("accepted")
    names = ("username", "authzid", "secret", "challenge", "response", "domain")
    found: dict[str, object] = {name: getattr(exchange, name) for name in names if getattr(exchange, name) is not None}
    if exchange.secret_kind != "none":
        found["kind"] = exchange.secret_kind
    if malformed is not None:
        found["malformed"] = malformed
    if complete:
        found["complete"] = True
    assert exchange.known() == bool(set(found) - {"malformed", "kind"})
    return found


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- PLAIN ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "found"),
    [
        # RFC 4616 section 4
        (b"\0tim\0tanstaaftanstaaf", {"username": "tim", "secret": "tanstaaftanstaaf"}),
        (b"Ursel\0Kurt\0xipj3plmq", {"authzid": "Ursel", "username": "Kurt", "secret": "xipj3plmq"}),
        (b"alice\0alice\0p w", {"authzid": "alice", "username": "alice", "secret": "p w"}),
        ("\0jürgen\0pä€".encode(), {"username": "jürgen", "secret": "pä€"}),
        (b"\0bob\0\xe4\xff", {"username": "bob", "secret": "\udce4\udcff"}),
        (b"\0bob\0", {"username": "bob", "secret": ""}),
    ],
)
def test_plain(message: bytes, found: dict[str, object]) -> None:
    assert talk("PLAIN", message) == {**found, "kind": "password", "complete": True}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"bob",
        b"\0secret",
        b"secret\0",
        b"\0\0",
        b"bob\0\0",
        b"bob\0bob",
        b"bob\0se\1cret",
        b"b\nob\0secret",
        b"bob\0\x90\xff",
    ],
)
def test_plain_that_is_none_invents_nothing(message: bytes) -> None:
    assert set(talk("PLAIN", message)) == {"malformed"}


@pytest.mark.parametrize(("message", "authzid"), [(b"\0\0secret", {}), (b"bob\0\0secret", {"authzid": "bob"})])
def test_plain_without_a_user_name_has_a_password_all_the_same(message: bytes, authzid: dict[str, str]) -> None:
    assert talk("PLAIN", message) == {
        "username": "", "secret": "secret", "kind": "password", "complete": True, "malformed": "no user name", **authzid,
    }  # fmt: skip


def test_plain_without_its_first_nul_is_told_and_odd() -> None:
    found = talk("PLAIN", b"bob\0my secret")
    assert found == {
        "username": "bob", "secret": "my secret", "kind": "password", "complete": True,
        "malformed": "user name NUL password, without a NUL before them",
    }  # fmt: skip
    # Where the mechanism was not seen it may be another one's: OTP begins so (RFC 2444).
    assert talk("", b"bob\0secret") == {}


def test_plain_with_a_nul_in_the_password_is_told_and_odd() -> None:
    found = talk("PLAIN", b"\0bob\0secret\0")
    assert found == {
        "username": "bob", "secret": "secret", "kind": "password", "complete": True, "malformed": "a NUL in the password",
    }  # fmt: skip


# -- LOGIN ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompts", [(b"Username:", b"Password:"), (b"User Name\0", b"Password\0"), (b"", b"")])
def test_login(prompts: tuple[bytes, bytes]) -> None:
    expected = {"username": "alice", "secret": "Wonder land!", "kind": "password", "complete": True}
    assert talk("LOGIN", (prompts[0],), b"alice", (prompts[1],), b"Wonder land!") == expected
    assert talk("LOGIN", b"alice", (prompts[1],), b"Wonder land!") == expected  # initial response: the user name
    assert talk("LOGIN", b"", (prompts[0],), b"alice", (prompts[1],), b"Wonder land!") == expected


def test_login_without_a_user_name() -> None:
    found = {"username": "", "secret": "secret", "kind": "password", "complete": True}
    assert talk("LOGIN", (b"Username:",), b"", (b"Password:",), b"secret") == found
    assert talk("LOGIN", b"", (b"Password:",), b"secret") == found
    assert talk("LOGIN", (b"Username:",), b"", (b"Username:",), b"alice") == {"username": "alice"}
    assert talk("LOGIN", (b"Username:",), b"", (b"Password:",)) == {}


def test_login_left_half_way_keeps_the_name() -> None:
    assert talk("LOGIN", (b"Username:",), b"alice", (b"Password:",)) == {"username": "alice"}


@pytest.mark.parametrize("verb", ["QUIT", "NOOP", "RSET", "DATA", "STARTTLS", "AUTH", "HELO", "EHLO", "MAIL"])
def test_a_verb_where_a_name_is_due_is_no_name(verb: str) -> None:
    octets = decode_base64(verb.encode())
    assert octets is not None
    assert set(talk("LOGIN", octets)) == {"malformed"}
    found = talk("LOGIN", b"alice", octets)
    assert found == {"username": "alice", "malformed": "the password has control characters"}


def test_login_keeps_what_echo_left_at_the_end() -> None:
    assert talk("LOGIN", b"alice\n", b"secret\n")["username"] == "alice\n"


def test_login_in_8_bit_characters() -> None:
    found = talk("LOGIN", b"m\xfcller", b"pa\xdfwort")
    assert found["username"] == "m\udcfcller"
    assert str(found["secret"]).encode("utf-8", "surrogateescape") == b"pa\xdfwort"


# -- CRAM ----------------------------------------------------------------------------------------------------------------------


def test_cram_md5_of_rfc_2195() -> None:
    challenge = decode_base64(b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+")
    response = decode_base64(b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw")
    assert challenge is not None
    assert response is not None
    found = talk("CRAM-MD5", (challenge,), response)
    assert found == {
        "username": "tim", "challenge": "<1896.697170952@postoffice.reston.mci.net>",
        "response": "tim b913a602c7eda7a495b4e6e7334d3890", "kind": "challenge_response", "complete": True,
    }  # fmt: skip
    digest = hmac.new(b"tanstaaftanstaaf", str(found["challenge"]).encode(), hashlib.md5).hexdigest()
    assert str(found["response"]).endswith(digest)


def test_cram_names_may_hold_spaces() -> None:
    digest = "0123456789abcdef0123456789ABCDEF"
    found = talk("CRAM-MD5", (b"<1@x>",), f"John Q Public {digest}".encode())
    assert found["username"] == "John Q Public"
    longer = talk("CRAM-SHA256", (b"<1@x>",), f"ann {digest}{digest}".encode())
    assert longer["username"] == "ann"


@pytest.mark.parametrize(
    "response",
    [b"alice", b"alice 0123", b" 0123456789abcdef0123456789abcdef", b"alice 0123456789abcdef0123456789abcdeg",
     b"alice 0123456789abcdef0123456789abcdef0", b"0123456789abcdef0123456789abcdef", b"\x10\x07\x81 x@y"],
)  # fmt: skip
def test_cram_that_is_none_invents_nothing(response: bytes) -> None:
    assert set(talk("CRAM-MD5", (b"<1@x>",), response)) == {"challenge", "malformed"}


def test_challenge_turned_away_is_on_record() -> None:
    assert talk("CRAM-MD5", (b"<1@x>",)) == {"challenge": "<1@x>"}
    assert talk("CRAM-MD5") == {}


# -- DIGEST-MD5 ----------------------------------------------------------------------------------------------------------------

DIGEST_CHALLENGE = b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'
DIGEST_RESPONSE = (
    b'charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",'
    b'digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth'
)


def test_digest_md5_of_rfc_2831() -> None:
    found = talk(
        "DIGEST-MD5", (DIGEST_CHALLENGE,), DIGEST_RESPONSE, (b"rspauth=ea40f60335c427b5527b84dbabcdfffd",), b""
    )
    assert found == {
        "username": "chris", "domain": "elwood.innosoft.com", "challenge": DIGEST_CHALLENGE.decode(),
        "response": DIGEST_RESPONSE.decode(), "kind": "challenge_response", "complete": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("response", "username", "authzid"),
    [
        (b'username="a\\"b\\\\c",response=0', 'a"b\\c', None),
        (b'nonce="x,username=\\"trap\\"",username="real",response=0', "real", None),
        (b'username="u", response = 0 , authzid="boss"', "u", "boss"),
        (b"USERNAME=plain,RESPONSE=0", "plain", None),
        ('charset=utf-8,username="jürgen",response=0'.encode(), "jürgen", None),
        (b'username="j\xfcrgen",response=0', "jürgen", None),  # without charset=utf-8: ISO 8859-1
        ('username="jürgen",response=0'.encode(), "jürgen", None),  # as many clients do all the same
    ],
)
def test_digest_md5_directives(response: bytes, username: str, authzid: str | None) -> None:
    found = talk("DIGEST-MD5", response)
    assert (found["username"], found.get("authzid")) == (username, authzid)


@pytest.mark.parametrize(
    "response", [b"*", b'username="x"', b"response=0", b'username="x,response=0', b'xusername="u",response=0']
)
def test_digest_md5_that_is_none(response: bytes) -> None:
    assert set(talk("DIGEST-MD5", (DIGEST_CHALLENGE,), response)) == {"challenge", "malformed"}


# -- SCRAM ---------------------------------------------------------------------------------------------------------------------

SCRAM = [
    # RFC 5802 section 5
    ("SCRAM-SHA-1", "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
     "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
    # RFC 7677 section 3
    ("SCRAM-SHA-256", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
     "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
     "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
     "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
]  # fmt: skip


@pytest.mark.parametrize(("mechanism", "first", "challenge", "final", "verifier"), SCRAM)
def test_scram_of_the_rfcs(mechanism: str, first: str, challenge: str, final: str, verifier: str) -> None:
    found = talk(mechanism, first.encode(), (challenge.encode(),), final.encode(), (verifier.encode(),), b"")
    assert found == {
        "username": "user", "challenge": challenge, "response": final, "kind": "challenge_response", "complete": True,
    }  # fmt: skip
    # what was kept is enough to try passwords: "pencil" is the one
    name = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
    fields = dict(field.split("=", 1) for field in challenge.split(","))
    salted = hashlib.pbkdf2_hmac(name, b"pencil", base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", name)
    bare, _, proof = final.partition(",p=")
    signature = hmac.digest(hashlib.new(name, client_key).digest(), f"{first[3:]},{challenge},{bare}".encode(), name)
    assert bytes(a ^ b for a, b in zip(client_key, signature, strict=True)) == base64.b64decode(proof)


@pytest.mark.parametrize(
    ("first", "username", "authzid"),
    [
        (b"n,a=boss,n=us=2Cer=3D1,r=x", "us,er=1", "boss"),
        (b"p=tls-server-end-point,,n=user,r=x", "user", None),
        (b"y,,n=user,r=x,ext=1", "user", None),
        (b"n,,m=must,n=user,r=x", "user", None),
        (b"n,a=b=2cd,n=user,r=x", "user", "b,d"),
    ],
)
def test_scram_first_messages(first: bytes, username: str, authzid: str | None) -> None:
    found = talk("SCRAM-SHA-512-PLUS", first, (b"r=xy,s=,i=1",))
    assert (found["username"], found.get("authzid"), found["challenge"]) == (username, authzid, "r=xy,s=,i=1")
    assert "response" not in found


@pytest.mark.parametrize("first", [b"x", b"n,,r=x", b"n,,n=us=er,r=x", b"n,,n=,r=x", b"q,,n=user,r=x", b"n,,n=user"])
def test_scram_that_is_none(first: bytes) -> None:
    assert set(talk("SCRAM-SHA-1", first)) == {"malformed"}


def test_scram_error_instead_of_a_final_message() -> None:
    assert set(talk("SCRAM-SHA-1", b"n,,n=user,r=x", (b"r=xy,s=,i=1",), b"nonsense")) == {
        "username",
        "challenge",
        "malformed",
    }


# -- NTLM ----------------------------------------------------------------------------------------------------------------------


def test_ntlm_of_ms_nlmp() -> None:
    found = talk("NTLM", MS_NEGOTIATE, (MS_CHALLENGE,), MS_AUTHENTICATE)
    assert found == {
        "username": "User", "domain": "Domain", "challenge": b64(MS_CHALLENGE), "response": b64(MS_AUTHENTICATE),
        "kind": "challenge_response", "complete": True,
    }  # fmt: skip


def authenticate(user: bytes, flags: int, header: int = 64, response: bytes = bytes(24)) -> bytes:
    """An AUTHENTICATE message with this user name."""
    fields, payload = b"", b""
    for value in (response, response, b"", user, b"", b""):
        fields += len(value).to_bytes(2, "little") * 2 + (header + len(payload)).to_bytes(4, "little")
        payload += value
    return (SIGNATURE + b"\x03\0\0\0" + fields + flags.to_bytes(4, "little"))[:header] + payload


def test_ntlm_character_sets() -> None:
    assert talk("NTLM", authenticate("käthe".encode("utf-16-le"), 1))["username"] == "käthe"
    assert talk("NTLM", authenticate(b"kate", 2))["username"] == "kate"
    # an old message without flags: what the challenge agreed on counts
    assert talk("NTLM", (MS_CHALLENGE,), authenticate("kate".encode("utf-16-le"), 0, header=52))["username"] == "kate"
    assert talk("NTLM", authenticate(b"kate", 0, header=52))["username"] == "kate"


def test_ntlm_anonymous_has_no_secret() -> None:
    found = talk("NTLM", authenticate(b"", 1, response=b""))
    assert set(found) == {"response", "complete"}


@pytest.mark.parametrize("at", [12, 20, 28, 36, 44])
@pytest.mark.parametrize("value", [b"\xff\xff\xff\xff", b"\x01\0\0\0", b"\xac\0\0\0"])
def test_ntlm_fields_that_leave_the_message(at: int, value: bytes) -> None:
    message = bytearray(MS_AUTHENTICATE)
    message[at + 4 : at + 8] = value
    assert set(talk("NTLM", bytes(message))) == {"malformed"}


def test_ntlm_cut_short() -> None:
    for size in range(len(MS_AUTHENTICATE) - 16):
        found = talk("NTLM", MS_AUTHENTICATE[:size])
        assert "username" not in found
    assert parse_authenticate(MS_AUTHENTICATE[:-17], True) is None


def der(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    return bytes([tag, 0x81, size]) + body if size < 256 else bytes([tag, 0x82]) + size.to_bytes(2, "big") + body


def spnego(message: bytes, first: bool = False) -> bytes:
    """A token of RFC 4178 around a mechanism's message, with a mechListMIC behind it."""
    if first:
        oid = bytes.fromhex("060a2b06010401823702020a")
        token = der(0xA0, der(0x30, der(0xA0, der(0x30, oid)), der(0xA2, der(4, message))))
        return der(0x60, bytes.fromhex("06062b0601050502"), token)
    return der(0xA1, der(0x30, der(0xA0, b"\x0a\x01\x01"), der(0xA2, der(4, message)), der(0xA3, der(4, bytes(16)))))


@pytest.mark.parametrize("mechanism", ["GSS-SPNEGO", "SPNEGO", "GSSAPI"])
@pytest.mark.parametrize("padding", [0, 60, 200])
def test_ntlm_in_spnego(mechanism: str, padding: int) -> None:
    message = MS_AUTHENTICATE + bytes(padding)
    found = talk(mechanism, spnego(MS_NEGOTIATE, first=True), (spnego(MS_CHALLENGE),), spnego(message))
    assert found == {
        "username": "User", "domain": "Domain", "challenge": b64(MS_CHALLENGE), "response": b64(message),
        "kind": "challenge_response", "complete": True,
    }  # fmt: skip


def test_spnego_lengths_that_lie() -> None:
    token = bytearray(spnego(MS_AUTHENTICATE))
    at = token.index(SIGNATURE)
    token[at - 1] = 255
    assert find_ntlm(bytes(token)) is None
    token[at - 2] = 0x85
    assert find_ntlm(bytes(token)) is None
    assert find_ntlm(b"\x60" + SIGNATURE) is None
    assert find_ntlm(b"text with NTLMSSP\0 in it") is None


# -- Kerberos ------------------------------------------------------------------------------------------------------------------


def test_gssapi_keeps_the_ticket_and_reads_the_unsealed_name() -> None:
    ticket = der(0x60, bytes.fromhex("06092a864886f712010202"), b"\x01\x00", bytes(300))
    wrapped = b"\x05\x04\x04\xff\0\x0c\0\0" + bytes(8) + b"\x01\0\0\0alice" + bytes(12)
    found = talk("GSSAPI", ticket, (b"\x60\x03abc",), b"", (b"\x05\x04" + bytes(30),), wrapped)
    assert found == {"response": b64(ticket), "authzid": "alice"}


def test_wrap_tokens() -> None:
    body = b"\x01\0\0\0alice" + bytes(12)
    rotated = body[-5:] + body[:-5]
    assert mechanisms.unsealed(b"\x05\x04\x04\xff\0\x0c\0\x05" + bytes(8) + rotated) == b"\x01\0\0\0alice"
    assert mechanisms.unsealed(b"\x05\x04\x06\xff\0\x0c\0\0" + bytes(8) + body) is None  # sealed
    assert mechanisms.unsealed(b"\x05\x04\x04\xff\xff\xff\0\0" + bytes(8) + body) is None
    assert mechanisms.unsealed(b"\x05\x04") is None


def test_kerberos_v4() -> None:
    found = talk("KERBEROS_V4", (b"\x01\x02\x03\x04",), b"ticket", (b"12345678",), b"more")
    assert (found["challenge"], found["response"]) == (b64(b"\x01\x02\x03\x04"), b64(b"ticket"))
    assert "kind" not in found


# -- OAuth ---------------------------------------------------------------------------------------------------------------------


def test_xoauth2() -> None:
    message = b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
    error = b'{"status":"401","schemes":"bearer","scope":"https://mail.example.com/"}'
    expected = {
        "username": "someuser@example.com", "secret": "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg", "kind": "bearer_token",
        "complete": True,
    }  # fmt: skip
    assert talk("XOAUTH2", message) == expected
    assert talk("XOAUTH2", message, (error,), b"") == expected
    assert talk("XOAUTH2", b"user=u\x01auth=bearer t") == {
        "username": "u",
        "secret": "t",
        "kind": "bearer_token",
        "complete": True,
    }


@pytest.mark.parametrize(
    "message",
    [b"user=u", b"auth=Bearer t\x01\x01", b"user=u\x01auth=Bearer \x01\x01", b"user=u\x01auth=Basic dTpw\x01\x01"],
)
def test_xoauth2_that_is_none(message: bytes) -> None:
    assert set(talk("XOAUTH2", message)) == {"malformed"}


def test_oauthbearer_of_rfc_7628() -> None:
    message = (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    expected = {
        "username": "user@example.com", "secret": "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "kind": "bearer_token",
        "complete": True,
    }  # fmt: skip
    assert talk("OAUTHBEARER", message) == expected
    assert talk("OAUTHBEARER", message, (b'{"status":"invalid_token"}',), b"\x01") == expected
    assert talk("OAUTHBEARER", b"y,,\x01auth=Bearer t\x01\x01") == {
        "secret": "t",
        "kind": "bearer_token",
        "complete": True,
    }
    assert talk("OAUTHBEARER", b"n,a=a=2Cb,\x01auth=Bearer t\x01\x01")["username"] == "a,b"


@pytest.mark.parametrize("message", [b"n,a=u,\x01host=x\x01\x01", b"x\x01auth=Bearer t\x01\x01", b"auth=Bearer t"])
def test_oauthbearer_that_is_none(message: bytes) -> None:
    assert set(talk("OAUTHBEARER", message)) == {"malformed"}


# -- no secrets ----------------------------------------------------------------------------------------------------------------


def test_anonymous_and_external() -> None:
    assert talk("ANONYMOUS", b"sirhc") == {"username": "sirhc", "complete": True}  # RFC 4505 section 3
    assert talk("ANONYMOUS", b"") == {"complete": True}
    assert talk("EXTERNAL", b"fred@example.com") == {"username": "fred@example.com", "complete": True}
    assert set(talk("EXTERNAL", b"\x01\x02")) == {"malformed"}


def test_otp_of_rfc_2444() -> None:
    found = talk("OTP", b"\0tim", (b"otp-md5 123 ke1234 ext",), b"hex:11d4c147e227c1f1")
    assert found == {
        "username": "tim", "challenge": "otp-md5 123 ke1234 ext", "response": "hex:11d4c147e227c1f1", "kind": "challenge_response",
        "complete": True,
    }  # fmt: skip
    assert talk("OTP", b"boss\0tim")["authzid"] == "boss"
    assert set(talk("OTP", b"boss\0")) == {"malformed"}
    assert talk("SKEY", b"tim", (b"\0\0\0\x7fke1234",), b"CHAR FULL")["challenge"] == b64(b"\0\0\0\x7fke1234")


# -- everything else -----------------------------------------------------------------------------------------------------------


def test_unknown_mechanisms_are_kept_by_name() -> None:
    found = talk("X-SECRET", b"\xff1", (b"c1",), b"\xff2", (b"done",))
    assert found == {"challenge": b64(b"c1"), "response": b64(b"\xff2"), "kind": "challenge_response"}
    assert talk("X-SECRET") == {}


def test_mechanism_names() -> None:
    assert mechanism_name("scram-sha-256-plus") == "SCRAM-SHA-256-PLUS"
    assert mechanism_name("a b\x1b[31m") == "A?B??31M"
    assert len(mechanism_name("X" * 1000)) == 40
    assert Exchange("plain").mechanism == "PLAIN"


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        (b"", b""), (b"AGE=", b"\0a"), (b" AGE= ", b"\0a"), (b"AGE", b"\0a"), (b"AGF", None), (b"AGEA0", None), (b"=", None), (b"AGE==", None), (b"A GE=", None),
        (b"!!!notbase64", None), (b"AGE=AGE=", None), (b"*", None), (b"YQ==\r", None), (b"\xff\xfe", None),
    ],
)  # fmt: skip
def test_base64_is_strict(line: bytes, octets: bytes | None) -> None:
    assert decode_base64(line) == octets


NAMES = ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "NTLM", "GSSAPI", "GSS-SPNEGO", "KERBEROS_V4", "XOAUTH2",
         "OAUTHBEARER", "EXTERNAL", "ANONYMOUS", "OTP", "SKEY", "X-NEW", ""]  # fmt: skip
PIECES = [b"\0", b"\x01", b"user=", b"auth=Bearer ", b"n,", b"a=", b"n=", b"r=", b",p=", b"c=", b'username="', b'"', b"\\", b"response=",
          b",", b"=2C", SIGNATURE, b"\x03\0\0\0", b"\x60", b"\x04\x82", b"\xff\xff", b"0" * 32, b" ", MS_AUTHENTICATE[8:80], b"\x05\x04"]  # fmt: skip


@given(
    st.sampled_from(NAMES) | st.text(max_size=30),
    st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(PIECES) | st.binary(max_size=40), max_size=12).map(b"".join)),
        max_size=6,
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_octets_are_met_calmly(name: str, said: list[tuple[bool, bytes]]) -> None:
    exchange = Exchange(name)
    for is_challenge, data in said:
        if is_challenge:
            exchange.receive_challenge(data)
        else:
            exchange.receive_response(data)
    exchange.finish("rejected")
    if exchange.secret_kind in ("password", "bearer_token"):
        assert exchange.secret is not None
    assert (exchange.secret_kind == "challenge_response") <= (exchange.response is not None)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_bounded(name: str) -> None:
    exchange = Exchange(name)
    flood = b"user=" + b"a" * 100_000 + b"\0" + b"b" * 100_000 + b"\0" + b"c" * 100_000
    for _ in range(3):
        exchange.receive_challenge(flood)
        exchange.receive_response(flood)
    kept = (exchange.username, exchange.authzid, exchange.secret, exchange.challenge, exchange.response)
    assert all(len(value or "") <= mechanisms.MAX_TOKEN * 4 // 3 for value in kept)
