"""Fingerprints of TLS stacks: JA3 and JA3S (Salesforce, 2017), JA4 of the TLS client (FoxIO, 2023).

All three name a TLS implementation by what its hello looks like. They are made when asked for, and remembered by the parts of the
hello that they depend on: the clients of a capture are few kinds, their sessions many. GREASE (RFC 8701) is left out.
"""

from __future__ import annotations

from typing import Final

from analyzer.protocols.tls_handshake import ClientHello, ServerHello
from analyzer.protocols.tls_names import codes_of

#: Distinct hellos whose fingerprints are remembered.
MAX_REMEMBERED: Final = 4096
#: A hello whose parts are larger in all is not remembered.
MAX_REMEMBERED_OCTETS: Final = 2048

_EMPTY_HASH: Final = "000000000000"
_JA4_VERSIONS: Final[dict[int, str]] = {
    0x0304: "13",
    0x0303: "12",
    0x0302: "11",
    0x0301: "10",
    0x0300: "s3",
    0x0002: "s2",
}

_ja3_of: dict[bytes, str] = {}
_ja3s_of: dict[bytes, str] = {}
_ja4_of: dict[bytes, str] = {}


def _join(codes: list[int]) -> str:
    return "-".join([str(code) for code in codes])


def _hexadecimal(codes: list[int]) -> str:
    return ",".join([f"{code:04x}" for code in codes])


def _remember(memory: dict[bytes, str], key: bytes, value: str) -> None:
    if len(key) <= MAX_REMEMBERED_OCTETS:
        if len(memory) >= MAX_REMEMBERED:
            memory.clear()
        memory[key] = value


def ja3_text(hello: ClientHello) -> str:
    """What JA3 hashes: version, suites, extensions, groups, point formats, in decimal."""
    return ",".join(
        [
            str(hello.version),
            _join(codes_of(hello.suites)),
            _join(codes_of(hello.extensions)),
            _join(codes_of(hello.groups)),
            _join(list(hello.point_formats)),
        ]
    )


def ja3(hello: ClientHello) -> str | None:
    """JA3 of a ClientHello: 32 hexadecimal digits. None for a hello in SSL 2.0 format, for which JA3 is not defined."""
    if hello.sslv2:
        return None
    # The lists have lengths of their own in the key: otherwise two hellos could share one.
    key = b"%d %d %d %d " % (hello.version, len(hello.suites), len(hello.extensions), len(hello.groups))
    key += hello.suites + hello.extensions + hello.groups + hello.point_formats
    value = _ja3_of.get(key)
    if value is None:
        import hashlib  # here and below: it loads OpenSSL, which those without TLS need not wait for

        value = hashlib.md5(ja3_text(hello).encode("ascii"), usedforsecurity=False).hexdigest()
        _remember(_ja3_of, key, value)
    return value


def ja3s_text(hello: ServerHello) -> str:
    """What JA3S hashes: version, suite, extensions, in decimal."""
    return f"{hello.legacy_version},{hello.suite},{_join(codes_of(hello.extensions))}"


def ja3s(hello: ServerHello) -> str:
    """JA3S of a ServerHello: 32 hexadecimal digits."""
    key = b"%d %d " % (hello.legacy_version, hello.suite) + hello.extensions
    value = _ja3s_of.get(key)
    if value is None:
        import hashlib

        value = hashlib.md5(ja3s_text(hello).encode("ascii"), usedforsecurity=False).hexdigest()
        _remember(_ja3s_of, key, value)
    return value


def _ja4_alpn(hello: ClientHello) -> str:
    """First and last character of the first protocol offered; of its hexadecimal form where one of them is not alphanumeric."""
    if not hello.alpn or not hello.alpn[0]:
        return "00"
    first, last = hello.alpn[0][:1], hello.alpn[0][-1:]
    if first.isalnum() and last.isalnum():  # bytes.isalnum knows ASCII alone
        return (first + last).decode("ascii")
    return first.hex()[0] + last.hex()[1]


def _ja4_parts(hello: ClientHello) -> tuple[str, str, str, str]:
    suites = codes_of(hello.suites)
    extensions = codes_of(hello.extensions)
    versions = codes_of(hello.versions)
    version = _JA4_VERSIONS.get(max(versions) if versions else hello.version, "00")
    name = "d" if hello.has_sni else "i"
    head = f"t{version}{name}{min(len(suites), 99):02d}{min(len(extensions), 99):02d}{_ja4_alpn(hello)}"
    hashed = sorted([code for code in extensions if code not in (0x0000, 0x0010)])
    return head, _hexadecimal(sorted(suites)), _hexadecimal(hashed), _hexadecimal(codes_of(hello.signature_schemes))


def ja4(hello: ClientHello) -> str | None:
    """JA4 of a ClientHello over TCP, such as ``t13d1516h2_8daaf6152771_e5627efa2ab1``. None for a hello in SSL 2.0 format."""
    if hello.sslv2:
        return None
    alpn = hello.alpn[0] if hello.alpn else b""
    key = b"%d %d %d %d %d " % (
        hello.version,
        hello.has_sni,
        len(hello.suites),
        len(hello.extensions),
        len(hello.signature_schemes),
    )
    key += b"%d " % len(hello.versions)
    key += hello.suites + hello.extensions + hello.signature_schemes + hello.versions + alpn
    value = _ja4_of.get(key)
    if value is None:
        import hashlib

        head, suites, extensions, schemes = _ja4_parts(hello)
        both = f"{extensions}_{schemes}" if schemes else extensions
        suites_hash = hashlib.sha256(suites.encode("ascii")).hexdigest()[:12] if suites else _EMPTY_HASH
        both_hash = hashlib.sha256(both.encode("ascii")).hexdigest()[:12] if extensions else _EMPTY_HASH
        value = f"{head}_{suites_hash}_{both_hash}"
        _remember(_ja4_of, key, value)
    return value
