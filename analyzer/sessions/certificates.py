"""Certificates seen in handshakes: what they say, and what was wrong with them at the time of the capture.

Parsing is done by ``cryptography``, imported on first use, once per distinct certificate. Certificates come from strangers:
one that cannot be parsed is itself a problem (``unparsable``), and the work spent on any chain is bounded.

Problems are judged at capture time, never by the wall clock, against RFC 5280 (validity, path), RFC 9525 (names; RFC 6125 where a
certificate has no subjectAltName) and a bundle of trusted roots. A path is accepted as a mail client would accept it: signatures,
validity and CA flag of the issuers are checked; revocation, policies and name constraints are not. Trust needs the chain: an
issuer that the server did not send, and that is in no bundle, leaves the certificate untrusted.

This module is a little over 500 lines long: reading, judging and trusting share the certificate they are about.
"""

from __future__ import annotations

import ipaddress
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyzer.errors import CaptureNotFound, CaptureUnreadable
from analyzer.places import reason

if TYPE_CHECKING:
    from cryptography import x509

#: Distinct certificates remembered.
MAX_CERTIFICATES: Final = 4096
#: Distinct chains whose paths are remembered, by each trust store.
MAX_CHAINS: Final = 4096
#: A larger certificate is not parsed.
MAX_CERTIFICATE_OCTETS: Final = 65536
#: Names kept of one certificate.
MAX_NAMES: Final = 256
#: Characters kept of a subject, issuer or name.
MAX_TEXT: Final = 1024
#: Certificates between a server's own and a root.
MAX_DEPTH: Final = 8
#: Signatures verified for one chain; cross-signed and hostile chains have many paths.
MAX_VERIFICATIONS: Final = 32
#: Paths to a root kept of one chain.
MAX_PATHS: Final = 4
#: An issuer's key of more bits is not used: verifying costs time that a stranger chooses.
MAX_KEY_BITS: Final = 8192

#: RSA and DSA keys below this are weak (NIST SP 800-131A).
MIN_RSA_BITS: Final = 2048
#: Elliptic curve keys below this are weak.
MIN_EC_BITS: Final = 224

_NS: Final = 1_000_000_000
#: Certificates that end within this time are ``expiring``.
EXPIRING_NS: Final = 30 * 86400 * _NS

# The words of ``cert_problems``, in the order in which they are listed.
UNPARSABLE: Final = "unparsable"
EXPIRED: Final = "expired"
NOT_YET_VALID: Final = "not_yet_valid"
EXPIRING: Final = "expiring"
NAME_MISMATCH: Final = "name_mismatch"
SELF_SIGNED: Final = "self_signed"
UNTRUSTED: Final = "untrusted"
WEAK_KEY: Final = "weak_key"
WEAK_SIGNATURE: Final = "weak_signature"

_CURVES: Final[dict[str, str]] = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}

# Names of signature algorithms by object identifier (RFC 8017, 5758, 3279, 8410, 9688, 9881).
_SIGNATURES: Final[dict[str, str]] = {
    "1.2.840.113549.1.1.2": "md2WithRSAEncryption",
    "1.2.840.113549.1.1.3": "md4WithRSAEncryption",
    "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
    "1.3.14.3.2.29": "sha1WithRSAEncryption",
    "1.3.14.3.2.3": "md5WithRSAEncryption",
    "1.2.840.113549.1.1.10": "rsassaPss",
    "1.2.840.113549.1.1.11": "sha256WithRSAEncryption",
    "1.2.840.113549.1.1.12": "sha384WithRSAEncryption",
    "1.2.840.113549.1.1.13": "sha512WithRSAEncryption",
    "1.2.840.113549.1.1.14": "sha224WithRSAEncryption",
    "1.2.840.10040.4.3": "dsa-with-sha1",
    "1.3.14.3.2.27": "dsa-with-sha1",
    "2.16.840.1.101.3.4.3.1": "dsa-with-sha224",
    "2.16.840.1.101.3.4.3.2": "dsa-with-sha256",
    "2.16.840.1.101.3.4.3.3": "dsa-with-sha384",
    "2.16.840.1.101.3.4.3.4": "dsa-with-sha512",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}

_WEAK_DIGESTS: Final = ("md2", "md4", "md5", "sha1")

# Weak curves that cryptography does not load any more, by the DER of their object identifiers (SEC 2).
_OLD_CURVES: Final[dict[bytes, tuple[str, int]]] = {
    bytes.fromhex("06082a8648ce3d030101"): ("secp192r1", 192),
    bytes.fromhex("06052b8104001f"): ("secp192k1", 192),
    bytes.fromhex("06052b81040008"): ("secp160r1", 160),
    bytes.fromhex("06052b81040009"): ("secp160k1", 160),
    bytes.fromhex("06052b8104001e"): ("secp160r2", 160),
    bytes.fromhex("06052b81040006"): ("secp112r1", 112),
    bytes.fromhex("06052b8104001c"): ("secp128r1", 128),
    bytes.fromhex("06052b81040001"): ("sect163k1", 163),
    bytes.fromhex("06052b8104000f"): ("sect163r2", 163),
}
_EC_KEY_OID: Final = bytes.fromhex("06072a8648ce3d0201")
_NAMES_OID: Final = bytes.fromhex("0603551d11")
_CONSTRAINTS_OID: Final = bytes.fromhex("0603551d13")
_RSA_KEY_OID: Final = bytes.fromhex("06092a864886f70d010101")


class Certificate:
    """What one certificate says. Times are in nanoseconds since the epoch (None where unparsable)."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        #: SHA-256 of the DER octets, hexadecimal
        self.sha256: str = _sha256(der).hex()
        #: why it could not be parsed, None where it could
        self.unparsable: str | None = None
        #: RFC 4514 text
        self.subject: str | None = None
        self.issuer: str | None = None
        #: DER of both, by which issuers are looked up
        self.subject_der: bytes = b""
        self.issuer_der: bytes = b""
        #: DNS names and IP addresses of subjectAltName; the common name where it has none
        self.names: list[str] = []
        self.not_before_ns: int | None = None
        self.not_after_ns: int | None = None
        #: ``RSA-2048``, ``EC-P-256``, ``Ed25519``
        self.key: str | None = None
        #: size of the key in bits, 0 where it says nothing
        self.key_bits: int = 0
        self.weak_key: bool = False
        #: name of the signature algorithm, ``sha256WithRSAEncryption``
        self.signature: str | None = None
        self.weak_signature: bool = False
        #: issued to itself (subject and issuer are equal)
        self.self_issued: bool = False
        #: may issue certificates (basicConstraints, or version 1 of old roots)
        self.authority: bool = False
        self._parsed: x509.Certificate | None = None

    def issued(self, other: Certificate) -> bool:
        """Whether this certificate's key signed ``other`` (names match, and the signature verifies)."""
        issuer, subject = self._parsed, other._parsed
        if issuer is None or subject is None or self.key_bits > MAX_KEY_BITS:
            return False
        try:
            subject.verify_directly_issued_by(issuer)
        except Exception:  # noqa: BLE001 - wrong signature, unknown algorithm, odd key: whatever it is, it proves nothing
            return False
        return True


def _sha256(der: bytes) -> bytes:
    import hashlib  # loads OpenSSL: where no certificate was seen, nobody waits for it

    return hashlib.sha256(der).digest()


_certificates: OrderedDict[bytes, Certificate] = OrderedDict()


def parse_certificate(der: bytes) -> Certificate:
    """The facts of a DER certificate; parsed once, remembered by its hash. Never raises."""
    digest = _sha256(der)
    known = _certificates.get(digest)
    if known is not None:
        return known
    certificate = Certificate(der)
    if len(der) > MAX_CERTIFICATE_OCTETS:
        certificate.unparsable = f"larger than {MAX_CERTIFICATE_OCTETS} octets"
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # odd encodings make cryptography warn; they are a stranger's, not ours
                _read(certificate, der)
        except Exception as error:  # noqa: BLE001 - whatever a stranger's octets make cryptography raise is a fact about them
            certificate.unparsable = f"{type(error).__name__}: {error}"[:MAX_TEXT]
    if len(_certificates) >= MAX_CERTIFICATES:
        _certificates.popitem(last=False)
    _certificates[digest] = certificate
    return certificate


def _read(certificate: Certificate, der: bytes) -> None:
    from cryptography import x509

    parsed = x509.load_der_x509_certificate(der)
    subject = parsed.subject.rfc4514_string()
    issuer = parsed.issuer.rfc4514_string()
    before, after = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    names: list[str] = []
    authority = parsed.version == x509.Version.v1 and parsed.subject == parsed.issuer
    try:
        extensions = parsed.extensions
    except Exception as error:  # noqa: BLE001 - the rest of the certificate is still worth telling
        certificate.unparsable = f"extensions: {error}"[:MAX_TEXT]
        names, authority = _refused_extensions(der)
    else:
        for extension in extensions:
            value = extension.value
            if isinstance(value, x509.SubjectAlternativeName):
                for name in value:
                    if len(names) < MAX_NAMES and isinstance(name, x509.DNSName | x509.IPAddress):
                        names.append(str(name.value)[:MAX_TEXT])
            elif isinstance(value, x509.BasicConstraints):
                authority = value.ca
    if not names:
        for attribute in parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME):
            text = attribute.value
            names.append((text if isinstance(text, str) else text.decode("latin-1"))[:MAX_TEXT])
    certificate.subject = subject[:MAX_TEXT]
    certificate.issuer = issuer[:MAX_TEXT]
    certificate.subject_der = parsed.subject.public_bytes()
    certificate.issuer_der = parsed.issuer.public_bytes()
    certificate.names = names
    certificate.not_before_ns = int(before.timestamp()) * _NS
    certificate.not_after_ns = int(after.timestamp()) * _NS
    certificate.self_issued = parsed.subject == parsed.issuer
    certificate.authority = authority
    identifier = parsed.signature_algorithm_oid.dotted_string
    certificate.signature = _SIGNATURES.get(identifier, identifier)
    digest = parsed.signature_hash_algorithm if identifier == "1.2.840.113549.1.1.10" else None
    if digest is not None:
        certificate.signature = f"rsassaPss-{digest.name}"
    name = certificate.signature.lower()
    certificate.weak_signature = any(name.startswith(weak) or name.endswith("-" + weak) for weak in _WEAK_DIGESTS)
    _read_key(certificate, parsed)
    certificate._parsed = parsed  # noqa: SLF001 - this function fills the object


def _refused_extensions(der: bytes) -> tuple[list[str], bool]:
    """Names and CA flag of a certificate whose extensions are not DER enough for cryptography (old issuers encode defaults)."""
    names: list[str] = []
    at = _extension_value(der, _NAMES_OID)
    if at >= 0 and der[at : at + 1] == b"\x30":
        size, at = _der_length(der, at + 1)
        end = min(at + size, len(der))
        while at + 2 <= end and len(names) < MAX_NAMES:
            tag = der[at]
            size, at = _der_length(der, at + 1)
            value = der[at : min(at + size, end)]
            if tag == 0x82:
                names.append(value[:MAX_TEXT].decode("ascii", "backslashreplace"))
            elif tag == 0x87 and len(value) in (4, 16):
                names.append(str(ipaddress.ip_address(value)))
            at += size
    at = _extension_value(der, _CONSTRAINTS_OID)
    return names, at >= 0 and der[at : at + 1] == b"\x30" and der[at + 2 : at + 5] == b"\x01\x01\xff"


def _extension_value(der: bytes, oid: bytes) -> int:
    """Where the value of an extension begins, behind its critical flag and OCTET STRING header; -1 without."""
    at = der.find(oid)
    if at < 0:
        return -1
    at += len(oid)
    if der[at : at + 2] == b"\x01\x01":
        at += 3
    if der[at : at + 1] != b"\x04":
        return -1
    return _der_length(der, at + 1)[1]


def _read_key(certificate: Certificate, parsed: x509.Certificate) -> None:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

    try:
        key = parsed.public_key()
    except Exception:  # noqa: BLE001 - keys too weak or too odd for cryptography; what they are is read from the octets
        _read_refused_key(certificate, parsed.tbs_certificate_bytes, parsed.public_key_algorithm_oid.dotted_string)
        return
    if isinstance(key, rsa.RSAPublicKey | dsa.DSAPublicKey):
        kind = "RSA" if isinstance(key, rsa.RSAPublicKey) else "DSA"
        certificate.key_bits = key.key_size
        certificate.key = f"{kind}-{key.key_size}"
        certificate.weak_key = key.key_size < MIN_RSA_BITS
    elif isinstance(key, ec.EllipticCurvePublicKey):
        certificate.key_bits = key.key_size
        certificate.key = f"EC-{_CURVES.get(key.curve.name, key.curve.name)}"
        certificate.weak_key = key.key_size < MIN_EC_BITS
    elif isinstance(key, ed25519.Ed25519PublicKey):
        certificate.key, certificate.key_bits = "Ed25519", 256
    elif isinstance(key, ed448.Ed448PublicKey):
        certificate.key, certificate.key_bits = "Ed448", 456
    else:
        identifier = parsed.public_key_algorithm_oid.dotted_string
        certificate.key = _SIGNATURES.get(identifier, identifier)


def _read_refused_key(certificate: Certificate, der: bytes, identifier: str) -> None:
    """Size of an RSA modulus or name of a curve, from the octets of a key that cryptography does not load (RFC 3279, RFC 5480)."""
    certificate.key = identifier
    at = der.find(_RSA_KEY_OID)
    if at >= 0:
        # AlgorithmIdentifier's NULL, BIT STRING, SEQUENCE, INTEGER: the modulus begins within the next few octets.
        at += len(_RSA_KEY_OID)
        if der[at : at + 2] == b"\x05\x00":
            at += 2
        for tag in (0x03, 0x30, 0x02):
            if der[at : at + 1] != bytes([tag]):
                return
            size, at = _der_length(der, at + 1)
            if tag == 0x03:
                at += 1  # unused bits
        modulus = int.from_bytes(der[at : at + min(size, MAX_CERTIFICATE_OCTETS)], "big")
        certificate.key_bits = modulus.bit_length()
        certificate.key = f"RSA-{certificate.key_bits}"
        certificate.weak_key = certificate.key_bits < MIN_RSA_BITS
        return
    at = der.find(_EC_KEY_OID)
    if at >= 0:
        at += len(_EC_KEY_OID)
        for octets, (name, bits) in _OLD_CURVES.items():
            if der.startswith(octets, at):
                certificate.key, certificate.key_bits, certificate.weak_key = f"EC-{name}", bits, bits < MIN_EC_BITS
                return


def _der_length(der: bytes, at: int) -> tuple[int, int]:
    """A DER length and the offset behind it; zero where it is cut or absurd."""
    if at >= len(der):
        return 0, at
    first = der[at]
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    if count > 4:
        return 0, at + 1
    return int.from_bytes(der[at + 1 : at + 1 + count], "big"), at + 1 + count


class TrustStore:
    """Trusted roots: a PEM bundle the user names, else the one of ``certifi``. Loaded on first use, and then kept.

    :raises CaptureNotFound: there is no such file
    :raises CaptureUnreadable: the file cannot be read, or holds no certificate
    """

    def __init__(self, ca_file: str | None = None) -> None:
        self.ca_file = ca_file
        self._ders: list[bytes] | None = None
        self._hashes: set[bytes] = set()
        #: roots by the DER of their subject, parsed when a chain leads to them
        self._roots: OrderedDict[bytes, list[Certificate]] = OrderedDict()
        #: by the hashes of a chain: times within which a path to a root is valid
        self._paths: OrderedDict[tuple[str, ...], list[tuple[int, int]]] = OrderedDict()

    def load(self) -> None:
        """Read the bundle now, so that a wrong ``--ca-file`` is told before any capture is read."""
        if self._ders is not None:
            return
        ders = _pem_certificates(self._bundle())
        if not ders and self.ca_file is not None:
            raise CaptureUnreadable(f"{self.ca_file}: no certificate in this file; a bundle in PEM form is wanted")
        self._hashes = {_sha256(der) for der in ders}
        self._ders = ders

    def _roots_named(self, name: bytes) -> list[Certificate]:
        """The roots whose subject is ``name`` (DER). Most are never needed, so none is parsed before."""
        roots = self._roots.get(name)
        if roots is None:
            # Its name stands in a certificate's octets as it is; parsing tells whether it is the subject.
            found = [parse_certificate(der) for der in self._ders or [] if name in der]
            roots = [root for root in found if root.subject_der == name]
            if len(self._roots) >= MAX_CHAINS:
                self._roots.popitem(last=False)
            self._roots[name] = roots
        return roots

    def _bundle(self) -> bytes:
        path = self.ca_file
        if path is None:
            import certifi

            path = certifi.where()
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise CaptureNotFound(
                f"{path}: there is no such file of trusted certificates; check the spelling"
            ) from None
        except (OSError, ValueError) as error:
            raise CaptureUnreadable(f"{path}: trusted certificates cannot be read ({reason(error)})") from error

    def holds(self, certificate: Certificate) -> bool:
        """Whether the certificate itself is trusted."""
        self.load()
        return bytes.fromhex(certificate.sha256) in self._hashes

    def trusts(self, chain: list[Certificate], at_ns: int) -> bool:
        """Whether a path leads from the first certificate to a root, all of its issuers valid at that time."""
        if not chain:
            return False
        if self.holds(chain[0]):
            return True
        key = tuple([certificate.sha256 for certificate in chain])
        paths = self._paths.get(key)
        if paths is None:
            paths = self._find_paths(chain)
            if len(self._paths) >= MAX_CHAINS:
                self._paths.popitem(last=False)
            self._paths[key] = paths
        return any(first <= at_ns <= last for first, last in paths)

    def _find_paths(self, chain: list[Certificate]) -> list[tuple[int, int]]:
        """Periods within which the issuers of a path are valid. Issuers are the roots, and what else the server sent."""
        sent: dict[bytes, list[Certificate]] = {}
        for certificate in chain[1:]:
            if certificate.subject_der and certificate.authority:
                sent.setdefault(certificate.subject_der, []).append(certificate)
        paths: list[tuple[int, int]] = []
        budget = MAX_VERIFICATIONS
        # A path under way: its last certificate, the hashes on it, the time within which its issuers are valid.
        waiting: list[tuple[Certificate, tuple[str, ...], int, int]] = [(chain[0], (chain[0].sha256,), 0, 1 << 80)]
        while waiting and budget > 0 and len(paths) < MAX_PATHS:
            last, passed, first_ns, last_ns = waiting.pop()
            if not last.issuer_der:
                continue
            for issuer in self._roots_named(last.issuer_der) + sent.get(last.issuer_der, []):
                if issuer.sha256 in passed or issuer.not_before_ns is None or issuer.not_after_ns is None:
                    continue
                if budget <= 0 or len(passed) > MAX_DEPTH:
                    break
                budget -= 1
                if not issuer.issued(last):
                    continue
                start, end = max(first_ns, issuer.not_before_ns), min(last_ns, issuer.not_after_ns)
                if self.holds(issuer):
                    paths.append((start, end))
                else:
                    waiting.append((issuer, (*passed, issuer.sha256), start, end))
        return paths


def _pem_certificates(text: bytes) -> list[bytes]:
    """DER octets of the certificates in PEM text; blocks that do not decode are left out."""
    import binascii

    found: list[bytes] = []
    for block in text.split(b"-----BEGIN CERTIFICATE-----")[1:]:
        body = block.split(b"-----END CERTIFICATE-----")[0]
        try:
            der = binascii.a2b_base64(body)
        except binascii.Error:
            continue
        if der[:1] == b"\x30":  # a SEQUENCE, as every certificate is
            found.append(der)
    return found


def judge(chain: list[bytes], at_ns: int, server_name: str | None, trust: TrustStore | None) -> list[str]:
    """What was wrong with a server's certificate at a time, as words of ``cert_problems``; empty for nothing.

    ``chain`` is what the server sent, DER, its own certificate first; ``at_ns`` the capture time in nanoseconds since the epoch;
    ``server_name`` the name the client asked for (SNI), None where it asked for none: then names cannot be judged. Without a
    ``trust`` store, trust is not judged. A self-signed certificate is not called untrusted as well; one that
    the store holds is neither.
    """
    if not chain:
        return []
    own = parse_certificate(chain[0])
    problems: list[str] = []
    if own.unparsable is not None:
        problems.append(UNPARSABLE)
    if own.not_before_ns is None or own.not_after_ns is None:
        return problems
    if at_ns > own.not_after_ns:
        problems.append(EXPIRED)
    elif at_ns < own.not_before_ns:
        problems.append(NOT_YET_VALID)
    elif own.not_after_ns - at_ns < EXPIRING_NS:
        problems.append(EXPIRING)
    if server_name is not None and not name_matches(server_name, own.names):
        problems.append(NAME_MISMATCH)
    if own.self_issued:
        if trust is None or not trust.holds(own):
            problems.append(SELF_SIGNED)
    elif trust is not None:
        rest = [parse_certificate(der) for der in chain[1:]]
        if not trust.trusts([own, *rest], at_ns):
            problems.append(UNTRUSTED)
    if own.weak_key:
        problems.append(WEAK_KEY)
    if own.weak_signature:
        problems.append(WEAK_SIGNATURE)
    return problems


def name_matches(wanted: str, names: list[str]) -> bool:
    """Whether a name the client asked for is one of a certificate's names (RFC 9525 section 6).

    Letter case and a final dot do not count; ``*`` stands for exactly one whole leftmost label; an IP address matches itself only.
    """
    wanted = wanted.rstrip(".").lower()
    address = _address(wanted)
    if address is not None:
        return any(_address(name) == address for name in names)
    parent = wanted.partition(".")[2]
    for name in names:
        name = name.rstrip(".").lower()
        if name == wanted:
            return True
        if name.startswith("*.") and "." in name[2:] and parent and name[2:] == parent:
            return True
    return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
