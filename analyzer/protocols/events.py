"""What dissectors say. Events are in the past tense; an anomaly is an event too, never an exception.

Every event knows who sent the octets it was read from (``sender``), in which frame they were completed, at what capture
time, and at which offset of the sender's stream they begin.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Secret, Sender

# secret_kind of a credential
PASSWORD: Final = "password"  # noqa: S105 - a word of the table, not a secret
BEARER_TOKEN: Final = "bearer_token"  # noqa: S105
CHALLENGE_RESPONSE: Final = "challenge_response"
NO_SECRET: Final = "none"  # noqa: S105

# outcome of an authentication
ACCEPTED: Final = "accepted"
REJECTED: Final = "rejected"
CANCELLED: Final = "cancelled"
UNKNOWN: Final = "unknown"

# direction of a message
SUBMITTED: Final = "submitted"
RELAYED: Final = "relayed"
DELIVERED: Final = "delivered"
RETRIEVED: Final = "retrieved"
APPENDED: Final = "appended"


@mypyc_attr(acyclic=True)
class Event:
    """Base of all events."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64) -> None:
        self.sender: int = sender
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset


@mypyc_attr(acyclic=True, free_list_len=1)
class Greeted(Event):
    """The server greeted; ``text`` is its banner without the protocol's status word, decoded leniently."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, text: str) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.text = text


@mypyc_attr(acyclic=True)
class CapabilitiesOffered(Event):
    """The server told what it can do: one upper-case word or ``WORD ARGS`` a capability, in its order (``AUTH PLAIN LOGIN``, ``STARTTLS``).

    An empty list where it refused to say, or somebody on the way did so in its name: nothing was offered. ``whole`` is False where what
    is not in it may have been offered all the same: lines of it are missing in the capture, or it was told with the answer to a login.
    """

    def __init__(
        self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, names: list[str], whole: bool = True
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.names = names
        self.whole = whole


@mypyc_attr(acyclic=True)
class ClientNamed(Event):
    """The client introduced itself: EHLO/HELO/LHLO argument, or IMAP ID as ``name version``."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, name: str) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.name = name


@mypyc_attr(acyclic=True)
class StartTlsRequested(Event):
    """The client asked for TLS (STLS, STARTTLS, X-ANONYMOUSTLS)."""


@mypyc_attr(acyclic=True)
class StartTlsAccepted(Event):
    """The server granted TLS; what follows should be a handshake."""


@mypyc_attr(acyclic=True)
class StartTlsRefused(Event):
    """The server refused TLS; ``reply`` is its answer."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, reply: str) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.reply = reply


@mypyc_attr(acyclic=True)
class TlsStarted(Event):
    """TLS octets begin here, after a grant; ``Dissector.trailing_data`` holds them."""


@mypyc_attr(acyclic=True)
class CompressionStarted(Event):
    """COMPRESS=DEFLATE (RFC 4978) was granted; the dissector inflates and reads on."""


@mypyc_attr(acyclic=True, free_list_len=1)
class CredentialsSent(Event):
    """Credentials are on the wire. ``exchange`` numbers the authentication within the session, its end refers to it.

    ``challenge`` and ``response`` are text for the text mechanisms, base64 for the binary ones (NTLM, SPNEGO, GSSAPI).
    For ``challenge_response`` kinds ``secret`` is None and ``response`` a :class:`Secret`.
    """

    def __init__(
        self,
        sender: Sender,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        exchange: int,
        mechanism: str,
        username: str | None,
        authzid: str | None,
        secret: Secret | None,
        secret_kind: str,
        challenge: str | None,
        response: Secret | None,
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.exchange = exchange
        self.mechanism = mechanism
        self.username = username
        self.authzid = authzid
        self.secret = secret
        self.secret_kind = secret_kind
        self.challenge = challenge
        self.response = response


@mypyc_attr(acyclic=True, free_list_len=1)
class AuthenticationEnded(Event):
    """The server answered (or the client cancelled) exchange number ``exchange``; ``outcome`` is accepted, rejected or cancelled."""

    def __init__(
        self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, exchange: int, outcome: str, reply: str
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.exchange = exchange
        self.outcome = outcome
        self.reply = reply


@mypyc_attr(acyclic=True, free_list_len=1)
class MessageTransferred(Event):
    """A message, or what was seen of it, went over the wire. ``message`` numbers it within the session.

    ``size`` is in octets as the receiver stores it (dot-stuffing undone); ``complete`` says that its end was seen and no
    octet in between is missing; ``ended`` that its end was seen. ``accepted`` is None until the receiver answers
    (:class:`MessageAnswered`), and stays None where no answer is due. ``header`` is the raw header block, bounded. ``in_parts`` says
    that it was fetched otherwise than as a message (POP3's TOP, header and text apart): mailtap has put it together.
    """

    def __init__(
        self,
        sender: Sender,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        message: int,
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
        super().__init__(sender, frame, timestamp_ns, offset)
        self.message = message
        self.direction = direction
        self.mail_from = mail_from
        self.recipients = recipients
        self.recipient_count = recipient_count
        self.size: i64 = size
        self.ended = ended
        self.complete = complete
        self.mailbox = mailbox
        self.attachments = attachments
        self.header = header
        self.in_parts: bool = False


@mypyc_attr(acyclic=True)
class MessageAnswered(Event):
    """The receiver took (or refused) message number ``message``; LMTP: accepted for at least one recipient."""

    def __init__(
        self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, message: int, accepted: bool
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.message = message
        self.accepted = accepted


@mypyc_attr(acyclic=True)
class MessageDeleted(Event):
    """A retrieved message was removed from the server (POP3: DELE carried out by QUIT; IMAP: \\Deleted and EXPUNGE)."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, message: int) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.message = message


@mypyc_attr(acyclic=True)
class Anomaly(Event):
    """Something that the protocol does not foresee. ``kind`` is one of the words below, ``detail`` is masked and bounded text."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, kind: str, detail: str) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.kind = kind
        self.detail = detail


# Kinds of anomalies. Findings are made from these words, so none is renamed.
STARTTLS_COMMAND_INJECTION: Final = (
    "starttls_command_injection"  # client text behind STARTTLS, before TLS: CVE-2011-0411
)
STARTTLS_RESPONSE_INJECTION: Final = (
    "starttls_response_injection"  # server text behind its grant, before TLS: CVE-2021-38371
)
STARTTLS_WITHOUT_TLS: Final = "starttls_without_tls"  # granted, and then text went on: RFC 3207 section 4
STARTTLS_STRIPPED: Final = "starttls_stripped"  # XXXXXXXA keyword, 220 **** banner, 500 #5.5.1
IMAP_PREAUTH: Final = "imap_preauth"  # RFC 9051 section 7.1.4: no STARTTLS possible any more
UNTAGGED_DATA_BEFORE_TLS: Final = (
    "untagged_data_before_tls"  # untagged data in the not-authenticated state: NO STARTTLS paper, 2021
)
PASSWORD_THOUGH_FORBIDDEN: Final = "password_though_forbidden"  # noqa: S105 - LOGINDISABLED, 530, 538 ignored: RFC 9051 section 6.2.3
PASSWORD_NOT_OFFERED: Final = "password_not_offered"  # noqa: S105 - the list has TLS, and no such login before: RFC 4954 section 4
CREDENTIALS_BEFORE_CAPABILITIES: Final = (
    "credentials_before_capabilities"  # login sent before the server told what it offers
)
PIPELINED_BEFORE_GREETING: Final = "pipelined_before_greeting"  # RFC 5321 section 4.3.1
UNEXPECTED_REPLY: Final = "unexpected_reply"  # a reply to nothing
MALFORMED_COMMAND: Final = "malformed_command"
MALFORMED_REPLY: Final = "malformed_reply"
MALFORMED_SASL: Final = "malformed_sasl"  # bad base64, impossible mechanism message: RFC 4422 section 5
LINE_TOO_LONG: Final = "line_too_long"
COMMAND_QUEUE_FULL: Final = "command_queue_full"
PLAINTEXT_ON_TLS_PORT: Final = "plaintext_on_tls_port"
TLS_ON_PLAINTEXT_PORT: Final = "tls_on_plaintext_port"
NOT_MAIL: Final = "not_mail"  # another protocol on a mail port; detail names it
COMPRESSED_STREAM_LOST: Final = "compressed_stream_lost"  # a gap in, or garbage for, a deflated stream
DISSECTOR_FAULT: Final = "dissector_fault"  # a bug of ours, contained; detail is its traceback


# -- TLS -----------------------------------------------------------------------------------------------------------------------

# Kinds of anomalies of a TLS stream.
TLS_STREAM_LOST: Final = "tls_stream_lost"  # octets that are no TLS records; reading goes on at the next plausible one
TLS_MALFORMED: Final = "tls_malformed"  # a handshake message that contradicts itself
TLS_HANDSHAKE_TOO_LONG: Final = "tls_handshake_too_long"  # a handshake message longer than mailtap keeps


@mypyc_attr(acyclic=True)
class TlsHelloSeen(Event):
    """A ClientHello is complete; ``sni`` is the name that it asks for, None without."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, sni: str | None) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.sni = sni


@mypyc_attr(acyclic=True)
class TlsCompleted(Event):
    """The TLS handshake is finished on both sides, as far as can be seen. ``version`` and ``cipher_suite`` are None where unseen."""

    def __init__(
        self,
        sender: Sender,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        version: str | None,
        cipher_suite: str | None,
        resumed: bool | None,
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.version = version
        self.cipher_suite = cipher_suite
        self.resumed = resumed


@mypyc_attr(acyclic=True)
class TlsFailed(Event):
    """The TLS handshake failed; ``sender`` is the side that ended it.

    ``failure`` is ``alert``, ``encrypted_alert``, ``text`` (text came instead of TLS) or ``closed`` (without a word);
    ``alert`` is the name of the alert, None without.
    """

    def __init__(
        self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, failure: str, alert: str | None
    ) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.failure = failure
        self.alert = alert


@mypyc_attr(acyclic=True)
class TlsAlert(Event):
    """A readable alert: its IANA name, and whether it ends the connection."""

    def __init__(self, sender: Sender, frame: i64, timestamp_ns: i64, offset: i64, name: str, fatal: bool) -> None:
        super().__init__(sender, frame, timestamp_ns, offset)
        self.name = name
        self.fatal = fatal
