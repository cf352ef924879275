"""TLS connections without a network: real ones by Python's ssl module in memory, and odd ones built octet by octet."""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import ipaddress
import random
import shutil
import ssl
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from analyzer.model import CLIENT, SERVER, Position
from analyzer.protocols.events import Event
from analyzer.protocols.tls import TlsDissector
from analyzer.protocols.tls_names import ALERTS

#: ``(sender, octets)``, ``(sender, size)`` of a gap, ``(sender, None)`` for the end of a direction
Piece = tuple[int, bytes | int | None]

HOST = "mail.example.test"

_EVENT_FIELDS = ("sni", "version", "failure", "alert", "name", "kind")
_FOLDER = Path(tempfile.mkdtemp(prefix="mailtap-tls-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


class Identity(NamedTuple):
    """A key and its certificate chain: objects, DER, and the PEM file that the ssl module wants."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    chain: list[bytes]
    pem: str


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def issue(
    common_name: str,
    *,
    issuer: Identity | None = None,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    names: tuple[str, ...] = (),
    authority: bool = False,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
) -> Identity:
    """A certificate, self-signed without an issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(issuer.certificate.subject if issuer else name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start or now - dt.timedelta(days=1))
        .not_valid_after(end or now + dt.timedelta(days=365))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )
    if names:
        san: list[x509.GeneralName] = []
        for text in names:
            try:
                san.append(x509.IPAddress(ipaddress.ip_address(text)))
            except ValueError:
                san.append(x509.DNSName(text))
        builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    chain = [certificate.public_bytes(serialization.Encoding.DER)]
    if issuer is not None and issuer.certificate.issuer != issuer.certificate.subject:
        pem += issuer.certificate.public_bytes(serialization.Encoding.PEM)
        chain.append(issuer.certificate.public_bytes(serialization.Encoding.DER))
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = _FOLDER / f"{certificate.serial_number:x}.pem"
    path.write_bytes(pem)
    return Identity(key, certificate, chain, str(path))


@functools.cache
def root() -> Identity:
    return issue("Example Root", authority=True)


@functools.cache
def server_identity() -> Identity:
    """An RSA server certificate under an intermediate one: RSA, because only it allows key transport and NULL suites."""
    middle = issue("Example Issuer", issuer=root(), authority=True)
    return issue(HOST, issuer=middle, key=rsa.generate_private_key(65537, 2048), names=(HOST,))


@functools.cache
def client_identity() -> Identity:
    return issue("alice", issuer=root())


def context(
    side: int,
    version: ssl.TLSVersion,
    *,
    ciphers: str = "ALL:COMPLEMENTOFDEFAULT",
    alpn: list[str] | None = None,
    verify: bool = False,
) -> ssl.SSLContext:
    """A context for one version alone, with all that is obsolete allowed."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if side == SERVER else ssl.PROTOCOL_TLS_CLIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.minimum_version = version
        made.maximum_version = version
    made.set_ciphers(f"{ciphers}:@SECLEVEL=0")
    if side == SERVER:
        made.load_cert_chain(server_identity().pem)
    else:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


class Connection:
    """A TLS connection in memory; ``pieces`` is what an observer between the two sides sees."""

    def __init__(
        self,
        client: ssl.SSLContext,
        server: ssl.SSLContext,
        *,
        sni: str | None = HOST,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.pieces: list[Piece] = []
        self._bios = [(ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())]
        self.client = client.wrap_bio(*self._bios[CLIENT], server_hostname=sni, session=session)
        self.server = server.wrap_bio(*self._bios[SERVER], server_side=True)
        self.errors: list[ssl.SSLError] = []

    def move(self) -> bool:
        """Carry what waits from one side to the other; whether there was anything."""
        moved = False
        for sender in (CLIENT, SERVER):
            data = self._bios[sender][1].read()
            if data:
                moved = True
                self.pieces.append((sender, data))
                self._bios[1 - sender][0].write(data)
        return moved

    def shake_hands(self) -> Connection:
        for _ in range(20):
            done = 0
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                    done += 1
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLError as error:
                    self.errors.append(error)
                finally:
                    self.move()
            if done == 2 or self.errors:
                break
        return self

    def say(self, sender: int, text: bytes) -> Connection:
        """One side writes, the other one reads."""
        writer, reader = (self.client, self.server) if sender == CLIENT else (self.server, self.client)
        writer.write(text)
        self.move()
        heard = b""
        while len(heard) < len(text):
            heard += reader.read(65536)
        assert heard == text
        return self

    def talk(self) -> Connection:
        return self.say(SERVER, b"* OK ready\r\n").say(CLIENT, b"a1 NOOP\r\n").say(SERVER, b"a1 OK done\r\n")

    def close(self) -> Connection:
        for side in (self.client, self.server):
            try:
                side.unwrap()
            except ssl.SSLError:
                pass
            finally:
                self.move()
        self.pieces += [(CLIENT, None), (SERVER, None)]
        return self


def play(
    pieces: list[Piece], *, cut: str = "whole", seed: int = 0, midstream: bool = False, finish: bool = True
) -> Played:
    """Feed pieces to a dissector: as they are, octet by octet, or in random pieces."""
    dissector = TlsDissector("implicit", midstream)
    events: list[Event] = []
    plain = [b"", b""]
    offsets = [0, 0]
    chance = random.Random(seed)
    frame = 0
    for sender, what in pieces:
        frame += 1
        if what is None:
            events += dissector.receive_eof(sender, Position(frame, frame * 1000, offsets[sender]))
        elif isinstance(what, int):
            events += dissector.receive_gap(sender, what, Position(frame, frame * 1000, offsets[sender]))
            offsets[sender] += what
        else:
            at = 0
            while at < len(what):
                size = {"whole": len(what), "octets": 1}.get(cut) or chance.randint(1, 40)
                part = what[at : at + size]
                events += dissector.receive_data(sender, part, Position(frame, frame * 1000, offsets[sender]))
                plain[sender] += dissector.plaintext(sender)
                at += len(part)
                offsets[sender] += len(part)
    if finish:
        events += dissector.finish(Position(frame, frame * 1000, 0))
    return Played(dissector, events, plain)


class Played:
    """What came of a connection."""

    def __init__(self, dissector: TlsDissector, events: list[Event], plain: list[bytes]) -> None:
        self.dissector = dissector
        self.facts = dissector.handshake
        self.events = events
        self.plain = plain

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def anomalies(self) -> list[str]:
        return [event.kind for event in self.events if hasattr(event, "kind")]

    def summary(self) -> dict[str, object]:
        """All that must not depend on how the streams are cut."""
        facts = self.facts
        names = [
            "mode", "retried", "record_version", "known_version", "suite_code", "group_code", "dh_bits",
            "signature_scheme_code", "alpn_selected", "resumed", "resumption", "cert_seen", "certificates",
            "certificates_left_out", "client_certificate_requested", "client_certificates", "null_cipher", "compression",
            "renegotiations", "alert", "alert_fatal", "alert_sender", "failure", "failure_sender", "text", "completed",
            "first_frame", "completed_frame", "client_data_records", "server_data_records", "client_data_octets",
            "server_data_octets", "roles_swapped", "damaged", "handshake", "established", "version", "offered_versions",
            "cipher_suite", "offered_suites", "group", "sni", "alpn", "ja3", "ja3s", "ja4", "client_went_on",
        ]  # fmt: skip
        told = {name: getattr(facts, name) for name in names}
        told["recognised"] = self.dissector.recognised
        told["plain"] = self.plain
        told["events"] = [
            (
                type(event).__name__, event.sender, event.frame, event.offset,
                *[getattr(event, field) for field in _EVENT_FIELDS if hasattr(event, field)],
            )
            for event in self.events
        ]  # fmt: skip
        return told


# -- built octet by octet ----------------------------------------------------------------------------------------------


def alert_code(name: str) -> int:
    return next(code for code, known in ALERTS.items() if known == name)


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def counted(size: int, data: bytes) -> bytes:
    """A vector with its length in front."""
    return number(len(data), size) + data


def codes(*values: int) -> bytes:
    return b"".join([number(value, 2) for value in values])


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    return bytes([kind]) + codes(version) + counted(2, body)


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + counted(3, body)


def extension(code: int, body: bytes) -> bytes:
    return codes(code) + counted(2, body)


def client_hello(
    *,
    version: int = 0x0303,
    suites: tuple[int, ...] = (0x1301, 0xC02F, 0x002F),
    extensions: bytes | None = b"",
    session_id: bytes = b"",
) -> bytes:
    body = codes(version) + bytes(range(32)) + counted(1, session_id) + counted(2, codes(*suites)) + b"\x01\0"
    if extensions is not None:
        body += counted(2, extensions)
    return message(1, body)


def server_hello(
    *,
    version: int = 0x0303,
    suite: int = 0xC02F,
    extensions: bytes | None = None,
    session_id: bytes = b"",
    compression: int = 0,
    random_octets: bytes = bytes(32),
) -> bytes:
    body = codes(version) + random_octets + counted(1, session_id) + codes(suite) + bytes([compression])
    if extensions is not None:
        body += counted(2, extensions)
    return message(2, body)


def certificates(*ders: bytes) -> bytes:
    return message(11, counted(3, b"".join([counted(3, der) for der in ders])))


def sni(host: str) -> bytes:
    return extension(0, counted(2, b"\0" + counted(2, host.encode())))


def old_handshake(version: int, suite: int = 0x002F, *, data: bool = True) -> list[Piece]:
    """A full handshake of SSL 3.0 to TLS 1.2 with RSA key transport; what is encrypted is zeros."""
    ccs, finished = record(20, b"\x01", version), record(22, bytes(40), version)
    pieces: list[Piece] = [
        (CLIENT, record(22, client_hello(version=version, suites=(suite,), extensions=None), version)),
        (
            SERVER,
            record(22, server_hello(version=version, suite=suite), version)
            + record(22, certificates(b"not really a certificate"), version)
            + record(22, message(14, b""), version),
        ),
        (CLIENT, record(22, message(16, bytes(130)), version) + ccs + finished),
        (SERVER, ccs + finished),
    ]
    if data:
        pieces += [(SERVER, record(23, bytes(64), version)), (CLIENT, record(23, bytes(48), version))]
    return pieces


def tls13_hellos(suite: int = 0x1301, extra: bytes = b"") -> list[Piece]:
    """Both hellos of TLS 1.3."""
    offer = sni(HOST) + extension(43, counted(1, codes(0x0304, 0x0303)))
    answer = extension(43, codes(0x0304)) + extension(51, codes(29) + counted(2, bytes(32))) + extra
    return [
        (CLIENT, record(22, client_hello(extensions=offer, suites=(suite, 0xC02F)), 0x0301)),
        (SERVER, record(22, server_hello(suite=suite, extensions=answer)) + record(20, b"\x01")),
    ]


def sslv2_client_hello(version: int, suites: bytes) -> bytes:
    body = b"\x01" + codes(version, len(suites), 0, 16) + suites + bytes(16)
    return number(0x8000 | len(body), 2) + body


def sslv2_record(body: bytes) -> bytes:
    return number(0x8000 | len(body), 2) + body
