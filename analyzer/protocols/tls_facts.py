"""What is known of one TLS connection: :class:`TlsFacts`, filled by :mod:`analyzer.protocols.tls`, read by the sessions room.

Facts are kept as they stood on the wire; names and fingerprints are made when asked for.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.protocols.fingerprints import ja3, ja3s, ja4
from analyzer.protocols.tls_handshake import ClientHello, ServerHello
from analyzer.protocols.tls_names import group_name, names_of, signature_scheme_name, suite_name, version_name

# Words of the ``handshake`` column.
COMPLETED: Final = "completed"
FAILED: Final = "failed"
INCOMPLETE: Final = "incomplete"
UNSEEN: Final = "unseen"

# Why a handshake failed.
FAILURE_ALERT: Final = "alert"
FAILURE_ENCRYPTED_ALERT: Final = "encrypted_alert"
FAILURE_TEXT: Final = "text"
FAILURE_CLOSED: Final = "closed"

#: ``alert`` where its meaning is encrypted.
ENCRYPTED_ALERT: Final = "encrypted_alert"

# How a handshake was resumed.
BY_SESSION_ID: Final = "session_id"
BY_TICKET: Final = "ticket"
BY_PSK: Final = "psk"

#: Nobody: the sender of an alert or failure that did not happen.
NOBODY: Final = -1


class TlsFacts:
    """The facts of one TLS connection. Senders are ``CLIENT``, ``SERVER`` or :data:`NOBODY`; times in nanoseconds since the epoch."""

    def __init__(self, mode: str) -> None:
        #: ``implicit`` or ``starttls``
        self.mode = mode
        #: the first ClientHello (the second one, after a HelloRetryRequest, says the same but for its key shares)
        self.client_hello: ClientHello | None = None
        #: the ServerHello; a HelloRetryRequest where nothing better was seen
        self.server_hello: ServerHello | None = None
        #: a HelloRetryRequest was seen
        self.retried: bool = False
        #: version of records other than hellos, 0 for none seen: what the record layer says is true up to TLS 1.2 only
        self.record_version: int = 0
        #: the version is known without a ServerHello (SSL 2.0; a key exchange message that TLS 1.3 does not have), 0 otherwise
        self.known_version: int = 0
        #: code of the suite, -1 unknown
        self.suite_code: int = -1
        #: code of the key exchange group, 0 unknown
        self.group_code: int = 0
        #: size of a Diffie-Hellman prime in bits, 0 for none seen
        self.dh_bits: int = 0
        #: code of the scheme that the server signed its key exchange with, 0 unknown
        self.signature_scheme_code: int = 0
        #: protocol chosen by ALPN, None unseen (TLS 1.3 encrypts it)
        self.alpn_selected: bytes | None = None
        #: None: cannot be told
        self.resumed: bool | None = None
        #: ``session_id``, ``ticket`` or ``psk`` where resumed
        self.resumption: str | None = None
        #: a Certificate message of the server was seen, whole or in parts
        self.cert_seen: bool = False
        #: DER certificates of the server, its own first
        self.certificates: list[bytes] = []
        #: certificates of the server beyond what is kept
        self.certificates_left_out: int = 0
        self.client_certificate_requested: bool = False
        #: DER certificates of the client; empty where it sent none
        self.client_certificates: list[bytes] = []
        #: the suite does not encrypt: application data can be read (``TlsDissector.plaintext``)
        self.null_cipher: bool = False
        #: records are deflated (RFC 3749; CRIME)
        self.compression: bool = False
        #: encrypted handshakes after the first one, counted by the client's ChangeCipherSpec
        self.renegotiations: int = 0
        #: IANA name of the alert that counts: the first fatal one, else the first warning; ``encrypted_alert``
        self.alert: str | None = None
        self.alert_fatal: bool = False
        self.alert_sender: int = NOBODY
        #: the handshake failed: ``alert``, ``encrypted_alert``, ``text``, ``closed``
        self.failure: str | None = None
        self.failure_sender: int = NOBODY
        #: first octets of what came instead of TLS
        self.text: bytes = b""
        #: the server's word in clear on the handshake that failed, one line; empty for none
        self.reason: bytes = b""
        #: the handshake is finished on both sides
        self.completed: bool = False
        #: frame and time of the first TLS record, and of the handshake's end (0 for none)
        self.first_frame: i64 = 0
        self.first_ns: i64 = 0
        self.completed_frame: i64 = 0
        self.completed_ns: i64 = 0
        #: frame of the alert, 0 for none
        self.alert_frame: i64 = 0
        #: encrypted records that can only be application data, of each side; in TLS 1.3 an estimate from record sizes
        self.client_data_records: i64 = 0
        self.server_data_records: i64 = 0
        #: octets in application data records, encryption included
        self.client_data_octets: i64 = 0
        self.server_data_octets: i64 = 0
        #: the client's hello came from the side taken for the server
        self.roles_swapped: bool = False
        #: octets of handshake or record headers are missing or are no TLS
        self.damaged: bool = False

    @property
    def handshake(self) -> str:
        """``completed``, ``failed``, ``incomplete``, or ``unseen`` where neither hello is in the capture."""
        if self.completed and (
            self.client_hello is not None or self.server_hello is not None or self.known_version == 2
        ):
            return COMPLETED
        if self.failure is not None:
            return FAILED
        if self.client_hello is None and self.server_hello is None:
            return UNSEEN
        return INCOMPLETE

    @property
    def established(self) -> bool:
        """Whether TLS is in use: the handshake is completed, or application data passed though the hellos were not seen."""
        if self.completed:
            return True
        unseen = self.client_hello is None and self.server_hello is None and self.failure is None
        return unseen and self.client_data_octets + self.server_data_octets > 0

    @property
    def version_code(self) -> int:
        """Code of the version in use, 0 unknown."""
        if self.server_hello is not None and self.server_hello.version:
            return self.server_hello.version
        if self.known_version:
            return self.known_version
        if self.record_version in (0x0300, 0x0301, 0x0302):
            return self.record_version
        return 0

    @property
    def version(self) -> str | None:
        """The version in use, ``TLSv1.2``; None where only the client's offer, or nothing, is known."""
        code = self.version_code
        return version_name(code) if code else None

    @property
    def offered_versions(self) -> list[str]:
        """Versions that the client offers, in its order. Without supported_versions only its highest one is known."""
        hello = self.client_hello
        if hello is None:
            return []
        if hello.versions:
            return list(names_of("versions", hello.versions))
        names: list[str] = []
        if hello.sslv2:
            kinds = hello.suites
            for at in range(0, len(kinds) - 2, 3):
                if kinds[at] != 0:
                    names.append("SSLv2")
                    break
        if hello.version and not (names and hello.version == 2):
            names.append(version_name(hello.version))
        return names

    @property
    def cipher_suite(self) -> str | None:
        """IANA name of the suite in use."""
        return suite_name(self.suite_code) if self.suite_code >= 0 else None

    @property
    def offered_suites(self) -> list[str]:
        """IANA names of the suites offered, in the client's order, GREASE left out."""
        hello = self.client_hello
        if hello is None:
            return []
        return list(names_of("sslv2_suites" if hello.sslv2 else "suites", hello.suites))

    @property
    def group(self) -> str | None:
        """Name of the key exchange group; ``DH-1024`` for a prime that has no name. None for RSA key transport or unseen."""
        if self.group_code:
            return group_name(self.group_code)
        return f"DH-{self.dh_bits}" if self.dh_bits else None

    @property
    def signature_scheme(self) -> str | None:
        """Name of the scheme that the server signed with (TLS 1.2)."""
        return signature_scheme_name(self.signature_scheme_code) if self.signature_scheme_code else None

    @property
    def sni(self) -> str | None:
        """The name that the client asks for."""
        return None if self.client_hello is None else self.client_hello.sni

    @property
    def offered_alpn(self) -> list[str]:
        """Application protocols that the client offers."""
        hello = self.client_hello
        return [] if hello is None else [name.decode("ascii", "backslashreplace") for name in hello.alpn]

    @property
    def alpn(self) -> str | None:
        """The application protocol chosen; what the client offers, separated by commas, where the choice cannot be seen."""
        if self.alpn_selected is not None:
            return self.alpn_selected.decode("ascii", "backslashreplace")
        hello = self.client_hello
        if hello is None or not hello.alpn:
            return None
        if self.server_hello is not None and not self.server_hello.retry and self.server_hello.version <= 0x0303:
            return None  # the server had the chance to choose in clear, and chose none
        return ",".join(self.offered_alpn)

    @property
    def ja3(self) -> str | None:
        """JA3 fingerprint of the client."""
        return None if self.client_hello is None else ja3(self.client_hello)

    @property
    def ja3s(self) -> str | None:
        """JA3S fingerprint of the server."""
        return None if self.server_hello is None else ja3s(self.server_hello)

    @property
    def ja4(self) -> str | None:
        """JA4 fingerprint of the client."""
        return None if self.client_hello is None else ja4(self.client_hello)

    @property
    def client_went_on(self) -> bool:
        """Whether the client used the connection after the handshake: it accepted the certificate, whatever is wrong with it."""
        return self.completed and self.client_data_records > 0
