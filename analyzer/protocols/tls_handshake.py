"""Handshake messages of TLS, read from their octets: hellos, certificates, key exchange parameters (RFC 8446, 5246, 6101, SSL 2.0).

Parsers get one whole message body as ``data[start:end]`` and never raise: what is missing or wrong leaves its field at its default
and sets ``malformed``. Lists of codes are kept packed, as they stood on the wire; names and fingerprints are made
from them when somebody asks (:mod:`analyzer.protocols.tls_names`, :mod:`analyzer.protocols.fingerprints`).

Over 500 lines: one parser a message, and the classes that they fill.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: Certificates kept of one Certificate message.
MAX_CERTIFICATES: Final = 16
#: Octets of certificates kept of one Certificate message.
MAX_CERTIFICATE_OCTETS: Final = 131072
#: Octets of certificates remembered so that sessions may share them; when there are more, the memory starts over.
MAX_SHARED_OCTETS: Final = 16 * 1024 * 1024
#: Protocol names kept of one ALPN extension.
MAX_ALPN: Final = 32

# Handshake message types (RFC 8446 section 4, RFC 5246 section 7.4).
CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2
CERTIFICATE: Final = 11
SERVER_KEY_EXCHANGE: Final = 12
CERTIFICATE_REQUEST: Final = 13
SERVER_HELLO_DONE: Final = 14
CLIENT_KEY_EXCHANGE: Final = 16

# Extension types.
_SERVER_NAME: Final = 0
_SUPPORTED_GROUPS: Final = 10
_EC_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_ALPN: Final = 16
_SESSION_TICKET: Final = 35
_PRE_SHARED_KEY: Final = 41
_EARLY_DATA: Final = 42
_SUPPORTED_VERSIONS: Final = 43
_KEY_SHARE: Final = 51
_ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D

#: The random that makes a ServerHello a HelloRetryRequest (RFC 8446 section 4.1.3).
RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

#: Octets of the extension in which a server chooses TLS 1.3 (RFC 8446 section 4.2.1).
_VERSION_EXTENSION: Final = 6

# First octets of the primes of RFC 7919 section A, which tell its named groups from other ones.
_FFDHE_PRIME: Final = bytes.fromhex("ffffffffffffffffadf85458a2bb4a9a")

# Codes of the named groups of RFC 7919, by the size of their primes in bits.
_FFDHE_GROUPS: Final[dict[int, int]] = {2048: 256, 3072: 257, 4096: 258, 6144: 259, 8192: 260}


class ClientHello:
    """What a client offers. Code lists are packed, two octets a code (three in an SSL 2.0 hello's suites), GREASE included."""

    def __init__(self) -> None:
        #: the version field: from TLS 1.3 on 0x0303, and ``versions`` tells
        self.version: int = 0
        #: the hello has the format of SSL 2.0 (RFC 5246 appendix E.2)
        self.sslv2: bool = False
        self.random: bytes = b""
        self.session_id: bytes = b""
        self.suites: bytes = b""
        self.compressions: bytes = b""
        #: extension types in their order, packed
        self.extensions: bytes = b""
        #: there is an extension block, maybe an empty one
        self.has_extensions: bool = False
        #: server name indication (RFC 6066 section 3), None without
        self.sni: str | None = None
        self.has_sni: bool = False
        self.alpn: list[bytes] = []
        self.groups: bytes = b""
        #: EC point formats, one octet each
        self.point_formats: bytes = b""
        self.signature_schemes: bytes = b""
        #: supported_versions
        self.versions: bytes = b""
        #: the client sends a session ticket (RFC 5077), not merely asks for one
        self.ticket: bool = False
        #: the client offers pre-shared keys (RFC 8446 section 4.2.11)
        self.psk: bool = False
        self.early_data: bool = False
        #: an encrypted ClientHello stands beside this one: the SNI here may be the provider's public name
        self.encrypted_hello: bool = False
        self.malformed: bool = False

    def offers_tls13(self) -> bool:
        """Whether TLS 1.3 or a draft of it is among the supported versions."""
        versions = self.versions
        at: i64 = 0
        size: i64 = len(versions)
        while at + 1 < size:
            if (versions[at] == 3 and versions[at + 1] == 4) or 0x7E <= versions[at] <= 0x7F:
                return True
            at += 2
        return False


class ServerHello:
    """What a server chose."""

    def __init__(self) -> None:
        #: the version field: 0x0303 in TLS 1.3 too
        self.legacy_version: int = 0
        #: the version that counts: supported_versions where it is present
        self.version: int = 0
        self.random: bytes = b""
        self.session_id: bytes = b""
        self.suite: int = 0
        self.compression: int = 0
        #: extension types in their order, packed
        self.extensions: bytes = b""
        #: the protocol chosen (TLS 1.2 and older; TLS 1.3 encrypts it)
        self.alpn: bytes | None = None
        #: group of the key share, 0 without
        self.group: int = 0
        #: a pre-shared key was taken: TLS 1.3 resumption
        self.psk: bool = False
        #: the message is a HelloRetryRequest
        self.retry: bool = False
        self.malformed: bool = False


class CertificateList:
    """A Certificate message: DER certificates, the sender's own first."""

    def __init__(self) -> None:
        self.certificates: list[bytes] = []
        #: certificates beyond :data:`MAX_CERTIFICATES` or :data:`MAX_CERTIFICATE_OCTETS`
        self.left_out: int = 0
        self.malformed: bool = False


class KeyExchange:
    """Parameters of a ServerKeyExchange message."""

    def __init__(self) -> None:
        #: code of the group, 0 where it is no named one
        self.group: int = 0
        #: size of the Diffie-Hellman prime in bits, 0 for elliptic curves
        self.dh_bits: int = 0
        #: code of the signature scheme (TLS 1.2), 0 where there is none
        self.signature_scheme: int = 0


class Sslv2ServerHello:
    """SERVER-HELLO of SSL 2.0."""

    def __init__(self) -> None:
        self.version: int = 0
        self.resumed: bool = False
        self.certificate: bytes = b""
        #: ciphers that both sides speak, three octets each
        self.suites: bytes = b""
        self.malformed: bool = False


def parse_client_hello(data: bytes, start: i64, end: i64) -> ClientHello:
    """Read a ClientHello body (RFC 8446 section 4.1.2)."""
    hello = ClientHello()
    at = start
    if at + 35 > end:
        hello.malformed = True
        return hello
    hello.version = (data[at] << 8) | data[at + 1]
    hello.random = data[at + 2 : at + 34]
    at += 34
    size: i64 = data[at]
    at += 1
    if at + size + 2 > end:
        hello.malformed = True
        return hello
    hello.session_id = data[at : at + size]
    at += size
    size = (data[at] << 8) | data[at + 1]
    at += 2
    if at + size + 1 > end:
        hello.suites = data[at:end]
        hello.malformed = True
        return hello
    hello.suites = data[at : at + size]
    at += size
    size = data[at]
    at += 1
    if at + size > end:
        hello.malformed = True
        return hello
    hello.compressions = data[at : at + size]
    at += size
    if at + 2 > end:
        return hello
    size = (data[at] << 8) | data[at + 1]
    at += 2
    hello.has_extensions = True
    limit = at + size
    if limit > end:
        hello.malformed = True
        limit = end
    codes: list[bytes] = []
    while at + 4 <= limit:
        code: i64 = (data[at] << 8) | data[at + 1]
        size = (data[at + 2] << 8) | data[at + 3]
        codes.append(data[at : at + 2])
        at += 4
        stop = at + size
        if stop > limit:
            hello.malformed = True
            stop = limit
        if code == _SERVER_NAME:
            hello.has_sni = True
            if hello.sni is None:
                hello.sni = _server_name(data, at, stop)
        elif code == _SUPPORTED_VERSIONS:
            if at < stop:
                hello.versions = _counted(data, at + 1, stop, data[at])
        elif code == _SUPPORTED_GROUPS:
            if at + 2 <= stop:
                hello.groups = _counted(data, at + 2, stop, (data[at] << 8) | data[at + 1])
        elif code == _SIGNATURE_ALGORITHMS:
            if at + 2 <= stop:
                hello.signature_schemes = _counted(data, at + 2, stop, (data[at] << 8) | data[at + 1])
        elif code == _EC_POINT_FORMATS:
            if at < stop:
                hello.point_formats = _counted(data, at + 1, stop, data[at])
        elif code == _ALPN:
            hello.alpn = _protocols(data, at, stop)
        elif code == _SESSION_TICKET:
            hello.ticket = stop > at
        elif code == _PRE_SHARED_KEY:
            hello.psk = True
        elif code == _EARLY_DATA:
            hello.early_data = True
        elif code == _ENCRYPTED_CLIENT_HELLO:
            hello.encrypted_hello = True
        at = stop
    hello.extensions = b"".join(codes)
    return hello


def parse_server_hello(data: bytes, start: i64, end: i64) -> ServerHello:
    """Read a ServerHello or HelloRetryRequest body (RFC 8446 sections 4.1.3 and 4.1.4, RFC 5246 section 7.4.1.3)."""
    hello = ServerHello()
    at = start
    if at + 2 > end:
        hello.malformed = True
        return hello
    hello.legacy_version = (data[at] << 8) | data[at + 1]
    hello.version = hello.legacy_version
    if at + 35 > end:
        hello.malformed = True
        return hello
    hello.random = data[at + 2 : at + 34]
    hello.retry = hello.random == RETRY_RANDOM
    at += 34
    size: i64
    if hello.legacy_version >> 8 == 0x7F:
        # Drafts of TLS 1.3 up to 21 have neither session id nor compression here.
        if at + 2 > end:
            hello.malformed = True
            return hello
        hello.suite = (data[at] << 8) | data[at + 1]
        at += 2
    else:
        size = data[at]
        at += 1
        if at + size + 3 > end:
            hello.malformed = True
            return hello
        hello.session_id = data[at : at + size]
        at += size
        hello.suite = (data[at] << 8) | data[at + 1]
        hello.compression = data[at + 2]
        at += 3
    if at + 2 > end:
        return hello
    size = (data[at] << 8) | data[at + 1]
    at += 2
    limit = at + size
    if limit > end:
        hello.malformed = True
        limit = end
    codes: list[bytes] = []
    while at + 4 <= limit:
        code: i64 = (data[at] << 8) | data[at + 1]
        size = (data[at + 2] << 8) | data[at + 3]
        codes.append(data[at : at + 2])
        at += 4
        stop = at + size
        if stop > limit:
            hello.malformed = True
            stop = limit
        if code == _SUPPORTED_VERSIONS:
            if at + 2 <= stop:
                hello.version = (data[at] << 8) | data[at + 1]
        elif code == _KEY_SHARE:
            if at + 2 <= stop:
                hello.group = (data[at] << 8) | data[at + 1]
        elif code == _PRE_SHARED_KEY:
            hello.psk = True
        elif code == _ALPN:
            names = _protocols(data, at, stop)
            if names:
                hello.alpn = names[0]
        at = stop
    hello.extensions = b"".join(codes)
    return hello


def judge_cut_server_hello(message: bytes, size: i64) -> tuple[int, int]:
    """Version and suite that the beginning of a ServerHello proves, of ``size`` octets with its header; 0 and -1 where it proves none.

    TLS 1.3 stands in an extension, under the number of TLS 1.2. Which of them it is shows by the suite, for they share none, or by a
    message too short for that extension.
    """
    held: i64 = len(message)
    if held < 6:
        return (0, -1)
    version = (message[4] << 8) | message[5]
    if not 0x0300 <= version <= 0x0303:
        return (0, -1)
    # Header, version, random; the length of the session id; suite and compression.
    fixed: i64 = 38
    session_id: i64 = message[fixed] if held > fixed else 0
    if session_id > 32:
        return (0, -1)
    at = fixed + 1 + session_id
    suite = -1
    if held > fixed and held >= at + 2:
        suite = (message[at] << 8) | message[at + 1]
    if version == 0x0303 and size >= at + 3 + 2 + _VERSION_EXTENSION:
        if 0x1301 <= suite <= 0x13FF:
            version = 0x0304
        elif not (0x0001 <= suite < 0x00C6 or 0xC001 <= suite < 0xC0B0 or 0xCC13 <= suite <= 0xCCAE):
            version = 0
    return (version, suite)


_shared: dict[bytes, bytes] = {}
_shared_octets: i64 = 0


def shared(der: bytes) -> bytes:
    """The same octets, as one object for all sessions: a server sends its certificates to each of thousands of clients."""
    global _shared_octets
    known = _shared.get(der)
    if known is not None:
        return known
    if _shared_octets + len(der) > MAX_SHARED_OCTETS:
        _shared.clear()
        _shared_octets = 0
    _shared[der] = der
    _shared_octets += len(der)
    return der


def parse_certificates(data: bytes, start: i64, end: i64) -> CertificateList:
    """Read a Certificate body of TLS 1.2 or older (RFC 5246 section 7.4.2)."""
    found = CertificateList()
    at = start
    if at + 3 > end:
        found.malformed = True
        return found
    limit = at + 3 + ((data[at] << 16) | (data[at + 1] << 8) | data[at + 2])
    at += 3
    if limit > end:
        found.malformed = True
        limit = end
    kept: i64 = 0
    while at + 3 <= limit:
        size: i64 = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
        at += 3
        if at + size > limit:
            found.malformed = True
            return found
        if len(found.certificates) < MAX_CERTIFICATES and kept + size <= MAX_CERTIFICATE_OCTETS:
            found.certificates.append(shared(data[at : at + size]))
            kept += size
        else:
            found.left_out += 1
        at += size
    return found


def parse_key_exchange(data: bytes, start: i64, end: i64, exchange: str, signed: bool) -> KeyExchange:
    """Read a ServerKeyExchange body (RFC 5246 section 7.4.3, RFC 8422 section 5.4, RFC 4279 section 3).

    ``exchange`` is :func:`analyzer.protocols.tls_names.key_exchange` of the suite; ``signed`` says that a TLS 1.2 signature scheme
    stands behind the parameters.
    """
    found = KeyExchange()
    at = start
    size: i64
    if exchange.endswith("_PSK"):
        if at + 2 > end:
            return found
        at += 2 + ((data[at] << 8) | data[at + 1])
        signed = False
    if exchange.startswith("ECDHE"):
        if at + 4 > end:
            return found
        if data[at] != 3:
            # An explicit curve; nobody uses them (RFC 8422 forbids them), so what follows is not read.
            found.group = 0xFF01 if data[at] == 1 else 0xFF02
            return found
        found.group = (data[at + 1] << 8) | data[at + 2]
        at += 4 + data[at + 3]
    elif exchange.startswith("DHE"):
        if at + 2 > end:
            return found
        size = (data[at] << 8) | data[at + 1]
        at += 2
        if at + size > end:
            return found
        first = at
        stop = at + size
        while first < stop and data[first] == 0:
            first += 1
        bits: i64 = (stop - first) * 8
        if first < stop:
            top: i64 = data[first]
            while top < 128:
                top <<= 1
                bits -= 1
        found.dh_bits = bits
        if data[first : first + 16] == _FFDHE_PRIME:
            found.group = _FFDHE_GROUPS.get(found.dh_bits, 0)
        at = stop
        for _ in range(2):  # the generator and the public value
            if at + 2 > end:
                return found
            at += 2 + ((data[at] << 8) | data[at + 1])
    else:
        return found
    if signed and at + 4 <= end:
        found.signature_scheme = (data[at] << 8) | data[at + 1]
    return found


def parse_sslv2_client_hello(data: bytes, start: i64, end: i64) -> ClientHello:
    """Read a CLIENT-HELLO of SSL 2.0, from its message type on (RFC 5246 appendix E.2)."""
    hello = ClientHello()
    hello.sslv2 = True
    at = start
    if at + 9 > end:
        hello.malformed = True
        return hello
    hello.version = (data[at + 1] << 8) | data[at + 2]
    suites: i64 = (data[at + 3] << 8) | data[at + 4]
    session: i64 = (data[at + 5] << 8) | data[at + 6]
    challenge: i64 = (data[at + 7] << 8) | data[at + 8]
    at += 9
    if at + suites + session + challenge > end:
        hello.malformed = True
    hello.suites = _counted(data, at, end, suites)
    at += suites
    hello.session_id = _counted(data, at, end, session)
    at += session
    hello.random = _counted(data, at, end, challenge)
    return hello


def parse_sslv2_server_hello(data: bytes, start: i64, end: i64) -> Sslv2ServerHello:
    """Read a SERVER-HELLO of SSL 2.0, from its message type on."""
    hello = Sslv2ServerHello()
    at = start
    if at + 11 > end:
        hello.malformed = True
        return hello
    hello.resumed = data[at + 1] != 0
    hello.version = (data[at + 3] << 8) | data[at + 4]
    certificate: i64 = (data[at + 5] << 8) | data[at + 6]
    suites: i64 = (data[at + 7] << 8) | data[at + 8]
    at += 11
    if at + certificate + suites > end:
        hello.malformed = True
        return hello
    hello.certificate = data[at : at + certificate]
    at += certificate
    hello.suites = data[at : at + suites]
    return hello


def _counted(data: bytes, at: i64, stop: i64, size: i64) -> bytes:
    """``size`` octets from ``at`` on, or as many as there are before ``stop``."""
    last = at + size
    if last > stop:
        last = stop
    return data[at:last] if at < last else b""


def _server_name(data: bytes, at: i64, stop: i64) -> str | None:
    """The first host name of a server_name extension; other octets than ASCII are escaped."""
    at += 2
    while at + 3 <= stop:
        kind: i64 = data[at]
        size: i64 = (data[at + 1] << 8) | data[at + 2]
        at += 3
        if kind == 0:
            name = _counted(data, at, stop, min(size, 1024))
            return name.decode("ascii", "backslashreplace")
        at += size
    return None


def _protocols(data: bytes, at: i64, stop: i64) -> list[bytes]:
    names: list[bytes] = []
    at += 2
    while at < stop and len(names) < MAX_ALPN:
        size: i64 = data[at]
        names.append(_counted(data, at + 1, stop, size))
        at += 1 + size
    return names
