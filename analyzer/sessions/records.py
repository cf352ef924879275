"""Records: what is known of one mail session once its packets are read. Plain data, made from the session's own packets alone.

A :class:`Session` owns its credentials, messages, TLS handshake and anomalies; the tables of ``report`` are views of these
lists. Column meanings are those of the tables (see ``analyzer.report.columns``).

Over 500 lines of plain declarations, and how each is pickled.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SEED, Secret, in_hex, mixed, mixed_text
from analyzer.protocols.tls_facts import TlsFacts

# transport
PLAINTEXT: Final = "plaintext"
STARTTLS: Final = "starttls"
IMPLICIT_TLS: Final = "implicit_tls"
UNKNOWN: Final = "unknown"

# starttls
NOT_APPLICABLE: Final = "not_applicable"
NOT_OFFERED: Final = "not_offered"
OFFERED: Final = "offered"
REQUESTED: Final = "requested"
REFUSED: Final = "refused"
ACCEPTED: Final = "accepted"
COMPLETED: Final = "completed"
UNSEEN: Final = "unseen"

# exposure
EXPOSED_CREDENTIALS: Final = "credentials"
EXPOSED_CONTENT: Final = "content"
EXPOSED_METADATA: Final = "metadata"
EXPOSED_NONE: Final = "none"

# completeness
COMPLETE: Final = "complete"
MIDSTREAM: Final = "midstream"
TRUNCATED: Final = "truncated"
ONE_SIDED: Final = "one_sided"

#: Credentials, messages and anomalies kept of one session; what comes beyond is counted in ``Session.cut_records``.
MAX_CREDENTIALS: Final = 1000
MAX_MESSAGES: Final = 10000
MAX_ANOMALIES: Final = 100


@mypyc_attr(acyclic=True)
class Credential:
    """One authentication attempt that an observer could read something of."""

    __slots__ = (
        "authzid", "challenge", "exchange", "exposed", "frame", "mechanism", "offset", "outcome", "outcome_frame",
        "outcome_ns", "reply", "response", "secret", "secret_kind", "timestamp_ns", "username",
    )  # fmt: skip

    def __init__(
        self,
        exchange: int,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        mechanism: str,
        username: str | None,
        authzid: str | None,
        secret: Secret | None,
        secret_kind: str,
        challenge: str | None,
        response: Secret | None,
    ) -> None:
        #: number of the authentication within its session
        self.exchange = exchange
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset
        self.mechanism = mechanism
        self.username = username
        self.authzid = authzid
        self.secret = secret
        self.secret_kind = secret_kind
        self.challenge = challenge
        self.response = response
        #: ``accepted rejected cancelled unknown``
        self.outcome: str = UNKNOWN
        self.outcome_frame: i64 = 0
        self.outcome_ns: i64 = 0
        self.reply: str | None = None
        #: readable on the wire; False where it was only seen through decryption with keys
        self.exposed: bool = True

    def __reduce__(self) -> tuple[object, ...]:
        first = (
            self.exchange, self.frame, self.timestamp_ns, self.offset, self.mechanism, self.username, self.authzid,
            self.secret, self.secret_kind, self.challenge, self.response,
        )  # fmt: skip
        rest = (self.outcome, self.outcome_frame, self.outcome_ns, self.reply, self.exposed)
        return (_credential, (first, rest))


def _credential(
    first: tuple[int, int, int, int, str, str | None, str | None, Secret | None, str, str | None, Secret | None],
    rest: tuple[str, int, int, str | None, bool],
) -> Credential:
    one = Credential(
        first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7], first[8], first[9], first[10]
    )
    one.outcome, one.outcome_frame, one.outcome_ns, one.reply, one.exposed = rest
    return one


@mypyc_attr(acyclic=True)
class Message:
    """One message that went over the wire in clear (or was read through decryption), or what was seen of it."""

    __slots__ = (
        "accepted", "attachments", "complete", "deleted", "direction", "ended", "exposed", "frame", "header", "mail_from",
        "mailbox", "number", "offset", "recipient_count", "recipients", "size", "timestamp_ns",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        direction: str,
        mail_from: str | None,
        recipients: list[str],
        recipient_count: int,
        size: i64,
        ended: bool,
        complete: bool,
        mailbox: str | None,
        attachments: list[str],
        header: bytes,
    ) -> None:
        self.number = number
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset
        #: ``submitted relayed delivered retrieved appended``
        self.direction = direction
        self.mail_from = mail_from
        self.recipients = recipients
        self.recipient_count = recipient_count
        self.size: i64 = size
        #: its end was seen
        self.ended = ended
        #: its end was seen and no octet is missing
        self.complete = complete
        self.mailbox = mailbox
        self.attachments = attachments
        #: the raw header block, bounded; subject and addresses are read from it on request only
        self.header = header
        self.accepted: bool | None = None
        self.deleted: bool = False
        #: readable on the wire; False where it was only seen through decryption with keys
        self.exposed: bool = True

    def __reduce__(self) -> tuple[object, ...]:
        first = (
            self.number, self.frame, self.timestamp_ns, self.offset, self.direction, self.mail_from, self.recipients,
            self.recipient_count, self.size, self.ended, self.complete, self.mailbox, self.attachments, self.header,
        )  # fmt: skip
        return (_message, (first, self.accepted, self.deleted, self.exposed))


def _message(
    first: tuple[int, int, int, int, str, str | None, list[str], int, int, bool, bool, str | None, list[str], bytes],
    accepted: bool | None,
    deleted: bool,
    exposed: bool,
) -> Message:
    one = Message(
        first[0], first[1], first[2], first[3], first[4], first[5], first[6], first[7], first[8], first[9], first[10],
        first[11], first[12], first[13],
    )  # fmt: skip
    one.accepted = accepted
    one.deleted = deleted
    one.exposed = exposed
    return one


@mypyc_attr(acyclic=True)
class AnomalySeen:
    """One anomaly of a session: what findings are made from."""

    __slots__ = ("detail", "frame", "kind", "offset", "sender", "timestamp_ns")

    def __init__(self, kind: str, detail: str, sender: int, frame: i64, timestamp_ns: i64, offset: i64) -> None:
        self.kind = kind
        self.detail = detail
        self.sender = sender
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset

    def __reduce__(self) -> tuple[object, ...]:
        return (AnomalySeen, (self.kind, self.detail, self.sender, self.frame, self.timestamp_ns, self.offset))


class TlsHandshake:
    """One TLS handshake, as far as it was visible. None where a fact was not seen: unseen is never fine.

    Names and fingerprints cost more to make than the handshake to read, so they are made from ``facts`` when first asked for:
    call :meth:`fill` before reading them.
    """

    def __init__(self, mode: str, frame: i64, timestamp_ns: i64, facts: TlsFacts | None = None) -> None:
        self._facts = facts
        #: ``implicit`` or ``starttls``
        self.mode = mode
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.version: str | None = None
        self.offered_versions: list[str] = []
        self.cipher_suite: str | None = None
        self.offered_suites: list[str] = []
        self.group: str | None = None
        self.sni: str | None = None
        self.alpn: str | None = None
        self.ja3: str | None = None
        self.ja3s: str | None = None
        self.ja4: str | None = None
        self.resumed: bool | None = None
        #: ``completed failed incomplete unseen``
        self.handshake: str = UNSEEN
        self.alert: str | None = None
        self.alert_sender: str | None = None
        #: why it failed: ``alert encrypted_alert text closed``, None where it did not; and who ended it (``client server``)
        self.failure: str | None = None
        self.failure_sender: str | None = None
        #: the client used the connection after the handshake: it took the certificate, whatever is wrong with it
        self.client_went_on: bool = False
        #: DER of the server's certificates as sent, bounded; None where they could not be seen (TLS 1.3, resumption)
        self.certificates: list[bytes] | None = None
        self.client_certificate_seen: bool = False
        #: the suite does not encrypt
        self.null_cipher: bool = False
        #: frame of the alert, 0 for none
        self.alert_frame: i64 = 0
        #: the server's word in clear on the handshake that failed, None for none
        self.reason: str | None = None

    @property
    def client_random(self) -> bytes:
        """The random of the client's hello, which names the connection in a key log; empty where unseen, or after :meth:`fill`."""
        facts = self._facts
        return facts.client_hello.random if facts is not None and facts.client_hello is not None else b""

    def in_short(self) -> tuple[str | None, str | None, str | None, list[bytes] | None]:
        """Version, cipher suite, server name and certificates: what totals need, without making everything else."""
        facts = self._facts
        if facts is None:
            return (self.version, self.cipher_suite, self.sni, self.certificates)
        return (facts.version, facts.cipher_suite, facts.sni, facts.certificates)

    def fill(self) -> None:
        """Make names and fingerprints of the facts on the wire; done once."""
        facts = self._facts
        if facts is None:
            return
        self._facts = None
        self.version = facts.version
        self.offered_versions = facts.offered_versions
        self.cipher_suite = facts.cipher_suite
        self.offered_suites = facts.offered_suites
        self.group = facts.group
        self.sni = facts.sni
        self.alpn = facts.alpn
        self.ja3 = facts.ja3
        self.ja3s = facts.ja3s
        self.ja4 = facts.ja4
        self.resumed = facts.resumed
        self.alert = facts.alert
        if facts.alert_sender >= 0:
            self.alert_sender = "client" if facts.alert_sender == CLIENT else "server"
        self.failure = facts.failure
        if facts.failure is not None and facts.failure_sender >= 0:
            self.failure_sender = "client" if facts.failure_sender == CLIENT else "server"
        self.client_went_on = facts.client_went_on
        self.certificates = facts.certificates or None
        self.client_certificate_seen = bool(facts.client_certificates)
        self.null_cipher = facts.null_cipher
        self.alert_frame = facts.alert_frame
        self.reason = facts.reason.decode("utf-8", "replace") if facts.reason else None

    def __reduce__(self) -> tuple[object, ...]:
        self.fill()
        values = (
            self.version, self.offered_versions, self.cipher_suite, self.offered_suites, self.group, self.sni, self.alpn,
            self.ja3, self.ja3s, self.ja4, self.resumed, self.handshake, self.alert, self.alert_sender, self.certificates,
            self.client_certificate_seen, self.failure, self.failure_sender, self.client_went_on, self.null_cipher,
            self.alert_frame, self.reason,
        )  # fmt: skip
        return (_handshake, (self.mode, self.frame, self.timestamp_ns, values))


def _handshake(
    mode: str,
    frame: int,
    timestamp_ns: int,
    values: tuple[
        str | None, list[str], str | None, list[str], str | None, str | None, str | None, str | None, str | None,
        str | None, bool | None, str, str | None, str | None, list[bytes] | None, bool, str | None, str | None, bool, bool, int, str | None,
    ],
) -> TlsHandshake:  # fmt: skip
    one = TlsHandshake(mode, frame, timestamp_ns)
    one.version, one.offered_versions, one.cipher_suite, one.offered_suites = values[0], values[1], values[2], values[3]
    one.group, one.sni, one.alpn, one.ja3, one.ja3s = values[4], values[5], values[6], values[7], values[8]
    one.ja4, one.resumed, one.handshake, one.alert = values[9], values[10], values[11], values[12]
    one.alert_sender, one.certificates, one.client_certificate_seen = values[13], values[14], values[15]
    one.failure, one.failure_sender, one.client_went_on = values[16], values[17], values[18]
    one.null_cipher, one.alert_frame, one.reason = values[19], values[20], values[21]
    return one


@mypyc_attr(acyclic=True)
class Session:
    """One TCP connection to a mail service (or to a mail port, whatever it spoke)."""

    def __init__(self) -> None:
        self.capture: str = ""
        self.sensor: str = ""
        self.start_ns: i64 = 0
        self.end_ns: i64 = 0
        self.first_frame: i64 = 0
        self.last_frame: i64 = 0
        #: the session's last frame is in another file than its first (a ring of rotated files)
        self.spans_files: bool = False
        self.client_ip: str = ""
        self.client_port: i64 = 0
        self.server_ip: str = ""
        self.server_port: i64 = 0
        #: how client and server were told apart: ``syn port content guess``
        self.direction_from: str = "guess"
        self.protocol: str = UNKNOWN
        self.port_service: str | None = None
        #: at its beginning a proxy was asked for a port that is one for mail (SOCKS, HTTP CONNECT)
        self.proxied: bool = False
        self.transport: str = UNKNOWN
        self.starttls: str = NOT_APPLICABLE
        self.exposure: str = EXPOSED_NONE
        self.auth_attempts: i64 = 0
        self.auth_accepted: i64 = 0
        self.messages: i64 = 0
        self.message_bytes: i64 = 0
        self.packets: i64 = 0
        self.client_bytes: i64 = 0
        self.server_bytes: i64 = 0
        self.gap_bytes: i64 = 0
        self.conflict_bytes: i64 = 0
        self.conflict_frame: i64 = 0
        self.conflict_ns: i64 = 0
        self.completeness: str = COMPLETE
        #: packets of it were cut by the snap length of the capture
        self.truncated: bool = False
        self.server_banner: str | None = None
        self.client_name: str | None = None
        #: words the server offered, each once, in order of appearance; those offered before TLS only. Empty where it refused to say
        self.capabilities: list[str] | None = None
        #: a list of them was seen whole, and told before any login: what is not in it was not offered. Without one they are a part
        self.capabilities_whole: bool = False
        self.compressed: bool = False
        self.credentials: list[Credential] | None = None
        self.message_list: list[Message] | None = None
        self.tls: TlsHandshake | None = None
        self.anomalies: list[AnomalySeen] | None = None
        #: records beyond the caps of this module, counted
        self.cut_records: i64 = 0
        #: what another protocol on a mail port turned out to be (``http``), None for mail
        self.not_mail: str | None = None
        #: frame and time of the STARTTLS request, frame of the first TLS record, of the first RST; 0 where not seen
        self.starttls_frame: i64 = 0
        self.starttls_ns: i64 = 0
        self.tls_frame: i64 = 0
        self.reset_frame: i64 = 0
        self._id: str = ""
        self._mark: i64 = 0

    def mark(self) -> i64:
        """What identifies the session, as a number: its flow and its start; no file, batch or order enters it."""
        if self._mark == 0:
            state = mixed_text(mixed_text(SEED, self.client_ip), self.server_ip)
            self._mark = mixed(mixed(state, (self.client_port << 16) | self.server_port), self.start_ns)
        return self._mark

    def session_id(self) -> str:
        """Stable identifier: :meth:`mark` in hexadecimal."""
        if self._id == "":
            self._id = in_hex(self.mark())
        return self._id

    def display_filter(self) -> str:
        """A Wireshark display filter that shows exactly this session (of its first file, where it spans several)."""
        family = "ipv6" if ":" in self.client_ip else "ip"
        frames = f"frame.number >= {self.first_frame}"
        if not self.spans_files:
            frames = f"{frames} && frame.number <= {self.last_frame}"
        return (
            f"{family}.addr == {self.client_ip} && {family}.addr == {self.server_ip} && tcp.port == {self.client_port}"
            f" && tcp.port == {self.server_port} && {frames}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        numbers = (
            self.start_ns, self.end_ns, self.first_frame, self.last_frame, self.client_port, self.server_port,
            self.auth_attempts, self.auth_accepted, self.messages, self.message_bytes, self.packets, self.client_bytes,
            self.server_bytes, self.gap_bytes, self.conflict_bytes, self.conflict_frame, self.cut_records,
            self.starttls_frame, self.tls_frame, self.reset_frame, self.starttls_ns, self.conflict_ns,
        )  # fmt: skip
        texts = (
            self.capture, self.sensor, self.client_ip, self.server_ip, self.direction_from, self.protocol, self.transport,
            self.starttls, self.exposure, self.completeness,
        )  # fmt: skip
        optional = (self.port_service, self.server_banner, self.client_name, self.not_mail)
        flags = (self.spans_files, self.compressed, self.truncated, self.capabilities_whole, self.proxied)
        parts = (self.capabilities, self.credentials, self.message_list, self.tls, self.anomalies)
        return (_session, (numbers, texts, optional, flags, parts))


def _session(
    numbers: tuple[int, ...],
    texts: tuple[str, str, str, str, str, str, str, str, str, str],
    optional: tuple[str | None, str | None, str | None, str | None],
    flags: tuple[bool, ...],
    parts: tuple[
        list[str] | None, list[Credential] | None, list[Message] | None, TlsHandshake | None, list[AnomalySeen] | None
    ],
) -> Session:  # fmt: skip
    one = Session()
    one.start_ns, one.end_ns, one.first_frame, one.last_frame = numbers[0], numbers[1], numbers[2], numbers[3]
    one.client_port, one.server_port, one.auth_attempts, one.auth_accepted = (
        numbers[4],
        numbers[5],
        numbers[6],
        numbers[7],
    )
    one.messages, one.message_bytes, one.packets, one.client_bytes = numbers[8], numbers[9], numbers[10], numbers[11]
    one.server_bytes, one.gap_bytes, one.conflict_bytes = numbers[12], numbers[13], numbers[14]
    one.conflict_frame, one.cut_records, one.starttls_frame = numbers[15], numbers[16], numbers[17]
    one.tls_frame, one.reset_frame = numbers[18], numbers[19]
    if len(numbers) > 21:  # records stored earlier have fewer
        one.starttls_ns, one.conflict_ns = numbers[20], numbers[21]
    one.capture, one.sensor, one.client_ip, one.server_ip = texts[0], texts[1], texts[2], texts[3]
    one.direction_from, one.protocol, one.transport, one.starttls = texts[4], texts[5], texts[6], texts[7]
    one.exposure, one.completeness = texts[8], texts[9]
    one.port_service, one.server_banner, one.client_name, one.not_mail = optional
    one.spans_files, one.compressed, one.truncated = flags[0], flags[1], flags[2]
    one.capabilities, one.credentials, one.message_list, one.tls, one.anomalies = parts
    if len(flags) > 3:
        one.capabilities_whole = flags[3]
    elif one.capabilities is not None:
        # Records stored earlier do not say it: only where something is missing can a list have been torn.
        one.capabilities_whole = one.starttls == NOT_OFFERED or (
            one.starttls != UNSEEN and one.gap_bytes == 0 and one.completeness != MIDSTREAM
        )
    if len(flags) > 4:
        one.proxied = flags[4]
    return one


@mypyc_attr(allow_interpreted_subclasses=True)
class SessionSink:
    """Takes finished sessions, in the order in which they end. The pipeline and the monitor override this."""

    def receive_session(self, session: Session) -> None:
        """One session is over."""


class SessionList(SessionSink):
    """Keeps every session."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        #: each began later than the one before it
        self.in_order: bool = True
        self._last_ns: i64 = -(1 << 62)

    def receive_session(self, session: Session) -> None:
        # Asked here, where the session is at hand; once there are many, each is far from the processor.
        if session.start_ns <= self._last_ns:
            self.in_order = False
        self._last_ns = session.start_ns
        self.sessions.append(session)


#: Addresses whose text is kept; the cache starts over when it is full.
MAX_ADDRESS_CACHE: Final = 65536
_addresses: Final[dict[bytes, str]] = {}
#: The same for IPv4, by number: a number is hashed at a tenth of the cost.
_addresses_4: Final[dict[int, str]] = {}


@mypyc_attr(acyclic=True)
class _Address:
    """An IPv4 address that was asked for, as number and text."""

    def __init__(self, number: i64, text: str) -> None:
        self.number: i64 = number
        self.text = text


#: In front of it the latest ones, each in the place that its number gives: that needs no hashing.
PLACES: Final = 1024
_latest: Final[list[_Address]] = [_Address(-1, "")] * PLACES


def address_text(ipv4: i64, ipv6: bytes) -> str:
    """An address as text: that of IPv6 (16 octets, network order; RFC 5952), and where there is none that of IPv4, given as a number."""
    if not ipv6:
        place = (ipv4 ^ (ipv4 >> 10) ^ (ipv4 >> 20)) & (PLACES - 1)
        latest = _latest[place]
        if latest.number == ipv4:
            return latest.text
        text = _addresses_4.get(ipv4)
        if text is None:
            if len(_addresses_4) >= MAX_ADDRESS_CACHE:
                _addresses_4.clear()
            text = f"{ipv4 >> 24 & 255}.{ipv4 >> 16 & 255}.{ipv4 >> 8 & 255}.{ipv4 & 255}"
            _addresses_4[ipv4] = text
        _latest[place] = _Address(ipv4, text)
        return text
    text = _addresses.get(ipv6)
    if text is None:
        import socket  # where there is no IPv6, nothing else needs it

        if len(_addresses) >= MAX_ADDRESS_CACHE:
            _addresses.clear()
        text = socket.inet_ntop(socket.AF_INET6, ipv6)
        _addresses[ipv6] = text
    return text
