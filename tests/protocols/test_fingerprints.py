"""JA3, JA3S and JA4 against the vectors that their authors published."""

from __future__ import annotations

import pytest

from analyzer.protocols import fingerprints
from analyzer.protocols.fingerprints import _ja4_parts, ja3, ja3_text, ja3s, ja3s_text, ja4
from analyzer.protocols.tls_handshake import ClientHello, ServerHello


def decimal(text: str) -> bytes:
    return b"".join([int(word).to_bytes(2, "big") for word in text.split("-") if word])


def hexadecimal(text: str) -> bytes:
    return bytes.fromhex(text.replace(",", ""))


def of_ja3_text(text: str) -> ClientHello:
    """A hello that has this JA3 text."""
    version, suites, extensions, groups, formats = text.split(",")
    hello = ClientHello()
    hello.version = int(version)
    hello.suites, hello.extensions, hello.groups = decimal(suites), decimal(extensions), decimal(groups)
    hello.point_formats = bytes([int(word) for word in formats.split("-") if word])
    return hello


# The examples of the JA3 README, and of its list of clients.
@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", "ada70206e40642a3e4461f35503241d5"),
        ("769,4-5-10-9-100-98-3-6-19-18-99,,,", "de350869b8c85de67a350c8d186f11e6"),
    ],
)
def test_ja3(text: str, digest: str):
    hello = of_ja3_text(text)
    assert ja3_text(hello) == text
    assert ja3(hello) == digest
    hello.suites = b"\x1a\x1a" + hello.suites
    hello.extensions += b"\xda\xda"
    hello.groups += b"\x0a\x0a"
    assert ja3(hello) == digest


# The text of the example in the JA3S README.
def test_ja3s():
    hello = ServerHello()
    hello.legacy_version, hello.suite, hello.extensions = 769, 47, decimal("65281-0-11-35-5-16")
    assert ja3s_text(hello) == "769,47,65281-0-11-35-5-16"
    assert ja3s(hello) == "836ce314215654b5b1f85f97c73e506f"


def chrome() -> ClientHello:
    """The hello of the example in JA4's description."""
    hello = ClientHello()
    hello.version = 0x0303
    hello.has_sni = True
    hello.alpn = [b"h2", b"http/1.1"]
    hello.versions = hexadecimal("6a6a,0304,0303")
    hello.suites = hexadecimal("1a1a,1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035")
    hello.extensions = hexadecimal(
        "2a2a,001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"
    )
    hello.signature_schemes = hexadecimal("0403,0804,0401,0503,0805,0501,0806,0601")
    return hello


def test_ja4():
    assert ja4(chrome()) == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    assert "_".join(_ja4_parts(chrome())) == (
        "t13d1516h2_002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9"
        "_0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01"
        "_0403,0804,0401,0503,0805,0501,0806,0601"
    )


def test_ja4_of_a_later_browser():
    hello = chrome()
    hello.extensions = hexadecimal("fe0d,0033,ff01,0017,001b,000a,0000,0010,0005,002b,002d,0012,000b,44cd,000d,0023")
    assert ja4(hello) == "t13d1516h2_8daaf6152771_d8a2da3f94cd"


def test_ja4_does_not_depend_on_the_order_of_suites_and_extensions():
    hello = chrome()
    hello.suites = b"".join(sorted(hello.suites[at : at + 2] for at in range(0, len(hello.suites), 2)))
    hello.extensions = b"".join(sorted(hello.extensions[at : at + 2] for at in range(0, len(hello.extensions), 2)))
    assert ja4(hello) == ja4(chrome())


@pytest.mark.parametrize(
    ("alpn", "want"),
    [([], "00"), ([b""], "00"), ([b"h2"], "h2"), ([b"http/1.1"], "h1"), ([b"\xab"], "ab"), ([b"\xab\xcd"], "ad"), ([b"0\xab\xcd1"], "01"),
     ([b"0\xab"], "3b"), ([b"01\xab\xcd"], "3d"), ([b"imap", b"pop3"], "ip")],
)  # fmt: skip
def test_ja4_of_protocols(alpn: list[bytes], want: str):
    hello = chrome()
    hello.alpn = alpn
    assert (ja4(hello) or "")[8:10] == want


@pytest.mark.parametrize(
    ("version", "versions", "want"),
    [
        (0x0303, "", "12"),
        (0x0301, "", "10"),
        (0x0300, "", "s3"),
        (0x0303, "0302,0304,0303", "13"),
        (0x0303, "7a7a,0302", "11"),
        (0x9999, "", "00"),
    ],
)
def test_ja4_of_versions(version: int, versions: str, want: str):
    hello = chrome()
    hello.version, hello.versions = version, hexadecimal(versions)
    assert (ja4(hello) or "")[1:3] == want


def test_ja4_of_a_bare_hello():
    hello = ClientHello()
    hello.version = 0x0301
    assert ja4(hello) == "t10i000000_000000000000_000000000000"
    hello.suites = bytes(range(1, 251))
    assert (ja4(hello) or "").startswith("t10i9900")


def test_sslv2_hellos_have_no_fingerprint():
    hello = chrome()
    hello.sslv2 = True
    assert (ja3(hello), ja4(hello)) == (None, None)


def test_what_is_remembered_is_bounded():
    for number in range(fingerprints.MAX_REMEMBERED + 5):
        hello = ClientHello()
        hello.suites = number.to_bytes(4, "big")
        ja3(hello)
        ja4(hello)
    assert len(fingerprints._ja3_of) <= fingerprints.MAX_REMEMBERED
    assert len(fingerprints._ja4_of) <= fingerprints.MAX_REMEMBERED
