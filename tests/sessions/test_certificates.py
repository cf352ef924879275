"""Certificates: what they say, what was wrong with them at a given time, and strangers' octets."""

from __future__ import annotations

import datetime as dt
import functools
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tls as lab

from analyzer.errors import CaptureNotFound, CaptureUnreadable
from analyzer.sessions import certificates
from analyzer.sessions.certificates import TrustStore, judge, name_matches, parse_certificate

DAY = 86400 * 1_000_000_000
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2024, 12, 31, tzinfo=dt.UTC)
START_NS = int(START.timestamp()) * 1_000_000_000
END_NS = int(END.timestamp()) * 1_000_000_000
MIDDLE_NS = START_NS + 180 * DAY
HOST = "mail.example.test"


def issue(common_name: str = HOST, **settings: object) -> lab.Identity:
    return lab.issue(common_name, start=START, end=END, **settings)


def pem(*identities: lab.Identity) -> bytes:
    return b"".join([identity.certificate.public_bytes(serialization.Encoding.PEM) for identity in identities])


@pytest.fixture(scope="module")
def root() -> lab.Identity:
    return issue("Root", authority=True)


@pytest.fixture(scope="module")
def middle(root: lab.Identity) -> lab.Identity:
    return issue("Issuer", issuer=root, authority=True)


@pytest.fixture(scope="module")
def good(middle: lab.Identity) -> lab.Identity:
    return issue(issuer=middle, names=(HOST, "*.example.org", "192.0.2.7", "2001:db8::7"))


@pytest.fixture(scope="module")
def bundle(root: lab.Identity, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(b"# roots of the house\n" + pem(root))
    return str(path)


@functools.cache
def signed_with_rsa() -> lab.Identity:
    return issue(key=rsa.generate_private_key(65537, 2048))


# -- what a certificate says ---------------------------------------------------------------------------------------------


def test_facts(good: lab.Identity):
    certificate = parse_certificate(good.chain[0])
    assert certificate.unparsable is None
    assert (certificate.subject, certificate.issuer) == (f"CN={HOST}", "CN=Issuer")
    assert certificate.names == [HOST, "*.example.org", "192.0.2.7", "2001:db8::7"]
    assert (certificate.not_before_ns, certificate.not_after_ns) == (START_NS, END_NS)
    assert (certificate.key, certificate.key_bits, certificate.weak_key) == ("EC-P-256", 256, False)
    assert (certificate.signature, certificate.weak_signature) == ("ecdsa-with-SHA256", False)
    assert certificate.sha256 == good.certificate.fingerprint(hashes.SHA256()).hex()
    assert parse_certificate(good.chain[0]) is certificate


def test_common_name_counts_where_there_are_no_other_names():
    assert parse_certificate(issue("old.example.test").chain[0]).names == ["old.example.test"]


@pytest.mark.parametrize(
    ("key", "name", "weak"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "RSA-2048", False),
        (lambda: rsa.generate_private_key(65537, 1024), "RSA-1024", True),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "EC-P-384", False),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "EC-secp256k1", False),
        (lambda: dsa.generate_private_key(1024), "DSA-1024", True),
    ],
)
def test_keys(key: object, name: str, weak: bool):
    certificate = parse_certificate(issue(key=key()).chain[0])
    assert (certificate.key, certificate.weak_key) == (name, weak)


@pytest.mark.parametrize(("kind", "name"), [(ed25519.Ed25519PrivateKey, "Ed25519"), (ed448.Ed448PrivateKey, "Ed448")])
def test_edwards_keys(kind: object, name: str):
    key = kind.generate()
    builder = (
        x509.CertificateBuilder().subject_name(lab.name("a")).issuer_name(lab.name("a")).public_key(key.public_key())
    )
    builder = builder.serial_number(5).not_valid_before(START).not_valid_after(END)
    certificate = parse_certificate(builder.sign(key, None).public_bytes(serialization.Encoding.DER))
    assert (certificate.key, certificate.signature, certificate.weak_key) == (name, name, False)


@pytest.mark.parametrize(
    ("last", "name", "weak"),
    [
        (2, "md2WithRSAEncryption", True),
        (4, "md5WithRSAEncryption", True),
        (5, "sha1WithRSAEncryption", True),
        (11, "sha256WithRSAEncryption", False),
        (13, "sha512WithRSAEncryption", False),
        (99, "1.2.840.113549.1.1.99", False),
    ],
)
def test_signatures(last: int, name: str, weak: bool):
    """Nobody signs with the old ones any more, so the algorithm is written into a certificate."""
    prefix = bytes.fromhex("06092a864886f70d0101")
    der = signed_with_rsa().chain[0].replace(prefix + b"\x0b", prefix + bytes([last]))
    certificate = parse_certificate(der)
    assert (certificate.signature, certificate.weak_signature) == (name, weak)
    assert ("weak_signature" in judge([der], MIDDLE_NS, None, None)) is weak


def test_pss_signatures_tell_their_digest():
    key = rsa.generate_private_key(65537, 2048)
    builder = (
        x509.CertificateBuilder().subject_name(lab.name("a")).issuer_name(lab.name("b")).public_key(key.public_key())
    )
    builder = builder.serial_number(5).not_valid_before(START).not_valid_after(END)
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), padding.PSS.DIGEST_LENGTH)
    der = builder.sign(key, hashes.SHA384(), rsa_padding=pss).public_bytes(serialization.Encoding.DER)
    certificate = parse_certificate(der)
    assert (certificate.signature, certificate.weak_signature) == ("rsassaPss-sha384", False)


def test_an_rsa_key_that_is_refused_is_still_measured():
    strong = signed_with_rsa().chain[0]
    at = strong.find(bytes.fromhex("06092a864886f70d010101")) + 13
    key_info = strong[at:]
    assert key_info[0] == 0x03
    certificate = certificates.Certificate(strong)
    certificates._read_refused_key(certificate, strong, "1.2.840.113549.1.1.1")
    assert (certificate.key, certificate.weak_key) == ("RSA-2048", False)
    for size in range(at, at + 12):
        certificates._read_refused_key(certificates.Certificate(strong), strong[:size], "x")


def test_a_weak_curve_is_named_though_it_is_refused():
    der = issue().chain[0].replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030101"))
    certificate = parse_certificate(der)
    assert (certificate.key, certificate.weak_key, certificate.unparsable) == ("EC-secp192r1", True, None)


# -- judged at capture time --------------------------------------------------------------------------------------------------


def test_a_good_chain_has_no_problem(good: lab.Identity, bundle: str):
    assert judge(good.chain, MIDDLE_NS, HOST, TrustStore(bundle)) == []


@pytest.mark.parametrize(
    ("at_ns", "problems"),
    [
        (START_NS - 1, ["not_yet_valid"]),
        (START_NS, []),
        (END_NS - 30 * DAY, []),
        (END_NS - 30 * DAY + 1, ["expiring"]),
        (END_NS, ["expiring"]),
        (END_NS + 1, ["expired"]),
        (END_NS + 400 * DAY, ["expired"]),
    ],
)
def test_validity(good: lab.Identity, at_ns: int, problems: list[str]):
    assert judge(good.chain, at_ns, HOST, None) == problems


def test_names(good: lab.Identity):
    assert judge(good.chain, MIDDLE_NS, "other.example.test", None) == ["name_mismatch"]
    assert judge(good.chain, MIDDLE_NS, None, None) == []


@pytest.mark.parametrize(
    ("wanted", "names", "want"),
    [
        ("mail.example.org", ["mail.example.org"], True),
        ("MAIL.example.org.", ["mail.Example.org"], True),
        ("mail.example.org", ["*.example.org"], True),
        ("example.org", ["*.example.org"], False),
        ("a.mail.example.org", ["*.example.org"], False),
        ("mail.example.org", ["m*.example.org"], False),
        ("mail.example.org", ["*.*.org"], False),
        ("mail.org", ["*.org"], False),
        ("mail.example.org", ["example.org", "imap.example.org"], False),
        ("192.0.2.7", ["192.0.2.7"], True),
        ("192.0.2.7", ["*.0.2.7"], False),
        ("2001:db8::7", ["2001:0db8:0:0::7"], True),
        ("[2001:db8::7]", ["2001:db8::7"], True),
        ("192.0.2.7", ["mail.example.org"], False),
        ("mail.example.org", [], False),
        ("", ["mail.example.org"], False),
    ],
)
def test_name_matching(wanted: str, names: list[str], want: bool):
    assert name_matches(wanted, names) is want


def test_self_signed_is_not_called_untrusted_as_well(bundle: str):
    alone = issue(names=(HOST,))
    assert judge(alone.chain, MIDDLE_NS, HOST, TrustStore(bundle)) == ["self_signed"]
    assert judge(alone.chain, MIDDLE_NS, HOST, None) == ["self_signed"]


def test_a_self_signed_certificate_in_the_bundle_is_trusted(tmp_path: Path):
    alone = issue(names=(HOST,))
    path = tmp_path / "ca.pem"
    path.write_bytes(pem(alone))
    assert judge(alone.chain, MIDDLE_NS, HOST, TrustStore(str(path))) == []


def test_untrusted(good: lab.Identity, bundle: str, root: lab.Identity):
    assert judge(good.chain, MIDDLE_NS, HOST, TrustStore()) == ["untrusted"]
    # the server did not send the certificate in between
    assert judge(good.chain[:1], MIDDLE_NS, HOST, TrustStore(bundle)) == ["untrusted"]
    # the order of what it sent does not matter, nor do strangers in it
    mixed = [good.chain[0], root.chain[0], issue("stranger").chain[0], *good.chain[1:]]
    assert judge(mixed, MIDDLE_NS, HOST, TrustStore(bundle)) == []


def test_an_issuer_that_may_not_issue(root: lab.Identity, bundle: str):
    server = issue("server.example.test", issuer=root)
    forged = issue(issuer=server, names=(HOST,))
    assert judge([*forged.chain[:1], server.chain[0]], MIDDLE_NS, HOST, TrustStore(bundle)) == ["untrusted"]


def test_a_signature_that_is_not_the_issuers(root: lab.Identity, bundle: str):
    impostor = issue("Root", authority=True)
    server = issue(issuer=impostor, names=(HOST,))
    assert judge(server.chain[:1], MIDDLE_NS, HOST, TrustStore(bundle)) == ["untrusted"]


def test_an_issuer_that_was_expired_at_the_time(root: lab.Identity, bundle: str):
    short = lab.issue("Short", issuer=root, authority=True, start=START, end=START + dt.timedelta(days=90))
    server = issue(issuer=short, names=(HOST,))
    store = TrustStore(bundle)
    assert judge(server.chain, START_NS + 80 * DAY, HOST, store) == []
    assert judge(server.chain, START_NS + 100 * DAY, HOST, store) == ["untrusted"]


def test_the_bundle_of_certifi_is_the_default():
    store = TrustStore()
    store.load()
    assert len(store._hashes) > 50
    known = parse_certificate(store._ders[0])
    assert known.unparsable is None
    assert known.not_before_ns is not None
    assert judge([known.der], known.not_before_ns + DAY, None, store) == []


def test_bundles_that_are_no_bundles(tmp_path: Path):
    with pytest.raises(CaptureNotFound, match="no such file"):
        TrustStore(str(tmp_path / "none.pem")).load()
    text = tmp_path / "text.pem"
    text.write_text("-----BEGIN CERTIFICATE-----\n!\n")
    with pytest.raises(CaptureUnreadable, match="PEM"):
        TrustStore(str(text)).load()
    with pytest.raises(CaptureUnreadable):
        TrustStore(str(tmp_path)).load()


# -- strangers ---------------------------------------------------------------------------------------------------------------


def test_no_chain_no_problem():
    assert judge([], MIDDLE_NS, HOST, None) == []


@pytest.mark.parametrize("der", [b"", b"not a certificate", b"\x30\x82\xff\xff" + bytes(100), b"\x30\x80" * 5000])
def test_octets_that_are_no_certificate(der: bytes):
    certificate = parse_certificate(der)
    assert certificate.unparsable
    assert certificate.subject is None
    assert judge([der], MIDDLE_NS, HOST, TrustStore()) == ["unparsable"]


def test_a_huge_certificate_is_not_parsed(good: lab.Identity):
    certificate = parse_certificate(good.chain[0] + bytes(certificates.MAX_CERTIFICATE_OCTETS))
    assert "larger" in (certificate.unparsable or "")


def test_nesting_without_end_comes_to_an_end(good: lab.Identity):
    """Sequences within sequences, alone and in place of a certificate's subject."""
    nested = b""
    while len(nested) < certificates.MAX_CERTIFICATE_OCTETS - 8:
        size = len(nested)
        nested = (
            b"\x30\x83" + size.to_bytes(3, "big") if size > 65535 else b"\x30\x82" + size.to_bytes(2, "big")
        ) + nested
    assert parse_certificate(nested[: certificates.MAX_CERTIFICATE_OCTETS]).unparsable
    inside = good.chain[0]
    at = inside.index(b"\x30", 40)
    assert judge(
        [inside[:at] + nested[: certificates.MAX_CERTIFICATE_OCTETS - len(inside)] + inside[at:]], MIDDLE_NS, HOST, None
    )


def test_broken_extensions_leave_the_rest_readable(good: lab.Identity):
    san = bytes.fromhex("0603551d11")
    twice = good.chain[0].replace(bytes.fromhex("0603551d13"), san)
    certificate = parse_certificate(twice)
    assert certificate.unparsable is not None
    assert certificate.subject == f"CN={HOST}"
    assert "expired" in judge([twice], END_NS + DAY, None, None)
    assert judge([twice], MIDDLE_NS, None, None)[0] == "unparsable"


def test_names_are_read_though_a_default_is_encoded(middle: lab.Identity):
    """Old issuers wrote CA:FALSE out, which DER forbids and cryptography refuses."""
    der = issue(issuer=middle, names=(HOST, "192.0.2.7")).chain[0]
    plain = bytes.fromhex("0603551d130101ff04023000")  # critical, empty
    odd = bytes.fromhex("0603551d1304053003010100")  # not critical, CA:FALSE
    assert plain in der
    assert len(plain) == len(odd)
    certificate = parse_certificate(der.replace(plain, odd))
    assert "EncodedDefault" in (certificate.unparsable or "")
    assert certificate.names == [HOST, "192.0.2.7"]
    assert not certificate.authority
    assert judge([certificate.der], MIDDLE_NS, HOST, None) == ["unparsable"]
    assert certificates._refused_extensions(middle.chain[0]) == ([], True)


def test_what_is_remembered_is_bounded():
    for number in range(certificates.MAX_CERTIFICATES + 10):
        parse_certificate(number.to_bytes(4, "big"))
    assert len(certificates._certificates) == certificates.MAX_CERTIFICATES


def test_a_maze_of_cross_signed_issuers_costs_a_bounded_number_of_verifications(tmp_path: Path):
    """Issuers that all have one name and one key: every path is possible, none leads to a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    maze = [lab.issue("Maze", key=key, authority=True, start=START, end=END) for _ in range(15)]
    server = issue(issuer=maze[0], names=(HOST,))
    chain = [server.chain[0], *[identity.chain[0] for identity in maze]]
    path = tmp_path / "ca.pem"
    path.write_bytes(pem(issue("Other", authority=True)))
    verified = []

    class Counted:
        def __init__(self, parsed: x509.Certificate) -> None:
            self.parsed = parsed

        def verify_directly_issued_by(self, issuer: Counted) -> None:
            verified.append(issuer)
            self.parsed.verify_directly_issued_by(issuer.parsed)

    for der in chain:
        certificate = parse_certificate(der)
        assert certificate._parsed is not None
        certificate._parsed = Counted(certificate._parsed)
    assert judge(chain, MIDDLE_NS, HOST, TrustStore(str(path))) == ["untrusted"]
    assert 15 <= len(verified) <= certificates.MAX_VERIFICATIONS


def test_many_names_are_cut():
    san = x509.SubjectAlternativeName([x509.DNSName(f"h{number}.example.test") for number in range(1000)])
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder().subject_name(lab.name("a")).issuer_name(lab.name("a")).public_key(key.public_key())
    )
    builder = builder.serial_number(5).not_valid_before(START).not_valid_after(END).add_extension(san, critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    assert len(parse_certificate(der).names) == certificates.MAX_NAMES


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_changed_certificates_never_raise(data: st.DataObject):
    der = bytearray(lab.server_identity().chain[0])
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(der[: data.draw(st.integers(0, len(der)))]) if data.draw(st.booleans()) else bytes(der)
    problems = judge([cut, *lab.server_identity().chain[1:]], MIDDLE_NS, HOST, None)
    assert set(problems) <= {
        "unparsable", "expired", "not_yet_valid", "expiring", "name_mismatch", "self_signed", "weak_key", "weak_signature",
    }  # fmt: skip


def test_importing_it_does_not_import_cryptography():
    code = "import sys, analyzer.sessions.certificates; sys.exit('cryptography' in sys.modules or 'certifi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
