"""Handshake messages: what is in them, and what is left of them when they are cut or lie about their lengths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tls as lab

from analyzer.protocols import tls_handshake as messages
from analyzer.protocols.fingerprints import ja3, ja3s, ja4


def hello_body(extensions: bytes = b"") -> bytes:
    return lab.client_hello(extensions=extensions)[4:]


EXTENSIONS = (
    lab.sni("imap.example.test")
    + lab.extension(10, lab.counted(2, lab.codes(29, 23)))
    + lab.extension(11, lab.counted(1, b"\0"))
    + lab.extension(13, lab.counted(2, lab.codes(0x0403, 0x0804)))
    + lab.extension(16, lab.counted(2, lab.counted(1, b"imap") + lab.counted(1, b"pop3")))
    + lab.extension(35, bytes(16))
    + lab.extension(41, bytes(60))
    + lab.extension(42, b"")
    + lab.extension(43, lab.counted(1, lab.codes(0x1A1A, 0x0304, 0x0303)))
    + lab.extension(0xFE0D, bytes(80))
)


def test_client_hello():
    body = hello_body(EXTENSIONS)
    hello = messages.parse_client_hello(body, 0, len(body))
    assert not hello.malformed
    assert (hello.version, hello.suites, hello.sni) == (0x0303, lab.codes(0x1301, 0xC02F, 0x002F), "imap.example.test")
    assert (hello.groups, hello.point_formats, hello.signature_schemes) == (
        lab.codes(29, 23),
        b"\0",
        lab.codes(0x0403, 0x0804),
    )
    assert hello.alpn == [b"imap", b"pop3"]
    assert (hello.ticket, hello.psk, hello.early_data, hello.encrypted_hello, hello.has_sni) == (True,) * 5
    assert hello.offers_tls13()
    assert hello.extensions == lab.codes(0, 10, 11, 13, 16, 35, 41, 42, 43, 0xFE0D)
    assert hello.random == bytes(range(32))


def test_client_hello_inside_other_octets():
    body = hello_body(EXTENSIONS)
    hello = messages.parse_client_hello(b"before" + body + b"after", 6, 6 + len(body))
    assert (hello.malformed, hello.sni) == (False, "imap.example.test")


def test_client_hello_without_extensions():
    body = lab.client_hello(extensions=None)[4:]
    hello = messages.parse_client_hello(body, 0, len(body))
    assert (hello.malformed, hello.has_extensions, hello.sni) == (False, False, None)
    assert not hello.offers_tls13()


def test_a_name_that_is_not_ascii_is_escaped():
    body = hello_body(lab.extension(0, lab.counted(2, b"\0" + lab.counted(2, b"m\xffil\x1b"))))
    assert messages.parse_client_hello(body, 0, len(body)).sni == "m\\xffil\x1b"


def test_every_cut_of_a_client_hello_is_read_as_far_as_it_goes():
    body = hello_body(EXTENSIONS)
    for size in range(len(body)):
        hello = messages.parse_client_hello(body, 0, size)
        assert hello.malformed or not hello.has_extensions


def test_server_hello():
    body = lab.server_hello(
        suite=0x1302, extensions=lab.extension(43, lab.codes(0x0304)) + lab.extension(41, lab.codes(0))
    )[4:]
    hello = messages.parse_server_hello(body, 0, len(body))
    assert (hello.legacy_version, hello.version, hello.suite, hello.psk, hello.malformed) == (
        0x0303,
        0x0304,
        0x1302,
        True,
        False,
    )
    for size in range(len(body)):
        messages.parse_server_hello(body, 0, size)


CHOSEN = lab.extension(43, lab.codes(0x0304))
ANSWERS = {
    "TLSv1.3": lab.server_hello(suite=0x1302, session_id=bytes(32), extensions=CHOSEN + lab.extension(51, bytes(36))),
    "TLSv1.3 short": lab.server_hello(suite=0x1301, extensions=CHOSEN),
    "TLSv1.2": lab.server_hello(suite=0xC030, session_id=bytes(32), extensions=lab.extension(0xFF01, b"\0")),
    "TLSv1.2 long": lab.server_hello(
        suite=0x009C, extensions=lab.extension(0xFF01, b"\0") + lab.extension(11, bytes(9))
    ),
    "TLSv1.2 short": lab.server_hello(suite=0x002F),
    "TLSv1.1": lab.server_hello(version=0x0302, suite=0x0035, session_id=bytes(32)),
    "TLSv1.0": lab.server_hello(version=0x0301, suite=0x0005),
    "SSLv3": lab.server_hello(version=0x0300, suite=0x0005),
}


@pytest.mark.parametrize("which", ANSWERS)
def test_what_the_beginning_of_a_server_hello_proves(which: str):
    answer = ANSWERS[which]
    whole = messages.parse_server_hello(answer, 4, len(answer))
    told = [messages.judge_cut_server_hello(answer[:size], len(answer)) for size in range(len(answer))]
    # The truth, or nothing, and never less than before.
    for before, (version, suite) in zip([(0, -1), *told], told, strict=False):
        assert version in (before[0] or 0, whole.version)
        assert suite in (before[1] if before[1] >= 0 else -1, whole.suite)
    sid = len(whole.session_id)
    assert told[41 + sid] == (whole.version, whole.suite)
    early = which.startswith("TLSv1.3") or which in ("TLSv1.2", "TLSv1.2 long")
    assert told[38] == ((0, -1) if early else (whole.version, -1))


def test_a_suite_of_nobody_proves_no_version():
    for suite in (0x00C6, 0xC0B4, 0xC0B0, 0xC103, 0x5A5A, 0x0000, 0x1300):
        answer = lab.server_hello(suite=suite, extensions=CHOSEN)
        assert messages.judge_cut_server_hello(answer[:46], len(answer)) == (0, suite)
    for cut in (b"\x02\0\0\x60\x03\x04", b"\x02\0\0\x60\x7f\x1c", b"\x02\0\0\x60\x03\x01" + bytes(32) + b"\x21"):
        assert messages.judge_cut_server_hello(cut + bytes(4), 100) == (0, -1)


def test_server_hello_of_an_early_draft_of_tls13():
    body = (
        lab.codes(0x7F12)
        + bytes(32)
        + lab.codes(0x1301)
        + lab.counted(2, lab.extension(51, lab.codes(29) + lab.counted(2, bytes(32))))
    )
    hello = messages.parse_server_hello(body, 0, len(body))
    assert (hello.version, hello.suite, hello.group, hello.malformed) == (0x7F12, 0x1301, 29, False)


def test_certificates_are_bounded():
    body = lab.certificates(bytes(100_000), bytes(50_000), b"small")[4:]
    found = messages.parse_certificates(body, 0, len(body))
    assert [len(der) for der in found.certificates] == [100_000, 5]
    assert found.left_out == 1
    assert messages.parse_certificates(b"\0\0\x09\0\0\x05ab", 0, 8).malformed
    assert messages.parse_certificates(b"", 0, 0).malformed


def test_key_exchanges():
    curve = b"\x03" + lab.codes(23) + lab.counted(1, bytes(65))
    found = messages.parse_key_exchange(
        curve + lab.codes(0x0403) + lab.counted(2, b"s"), 0, len(curve) + 5, "ECDHE", True
    )
    assert (found.group, found.signature_scheme) == (23, 0x0403)
    hinted = lab.counted(2, b"hint") + curve
    assert messages.parse_key_exchange(hinted, 0, len(hinted), "ECDHE_PSK", True).group == 23
    assert messages.parse_key_exchange(b"\x01\0\0\0", 0, 4, "ECDHE", False).group == 0xFF01
    assert messages.parse_key_exchange(curve, 0, len(curve), "RSA", True).group == 0
    assert messages.parse_key_exchange(b"\xff\xff\0", 0, 3, "DHE", True).dh_bits == 0


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.integers(0, 400).map(lambda n: hello_body(EXTENSIONS)[:n] + b"\xff" * 20)),
    st.integers(0, 50),
)
def test_no_octets_make_a_parser_raise(octets: bytes, start: int):
    start = min(start, len(octets))
    client = messages.parse_client_hello(octets, start, len(octets))
    ja3(client)
    ja4(client)
    ja3s(messages.parse_server_hello(octets, start, len(octets)))
    messages.parse_certificates(octets, start, len(octets))
    messages.parse_sslv2_client_hello(octets, start, len(octets))
    messages.parse_sslv2_server_hello(octets, start, len(octets))
    for exchange in ("ECDHE", "DHE", "ECDHE_PSK", "DHE_PSK", ""):
        messages.parse_key_exchange(octets, start, len(octets), exchange, True)


def test_sessions_share_the_octets_of_certificates():
    body = lab.counted(3, lab.counted(3, b"certificate" * 9))
    one, two = (messages.parse_certificates(body, 0, len(body)) for _ in range(2))
    assert one.certificates == [b"certificate" * 9]
    assert one.certificates[0] is two.certificates[0]
    for number in range(6):
        messages.shared(bytes([number]) * (messages.MAX_SHARED_OCTETS // 4))
    assert sum(map(len, messages._shared)) <= messages.MAX_SHARED_OCTETS
