"""Events of one connection become its :class:`Session` record.

What a session yields depends on its own packets alone; comparing sessions is the business of findings.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from analyzer.protocols.events import (
    ACCEPTED as OUTCOME_ACCEPTED,
)
from analyzer.protocols.events import (
    NO_SECRET,
    Anomaly,
    AuthenticationEnded,
    CapabilitiesOffered,
    ClientNamed,
    CompressionStarted,
    CredentialsSent,
    Event,
    Greeted,
    MessageAnswered,
    MessageDeleted,
    MessageTransferred,
    StartTlsAccepted,
    StartTlsRefused,
    StartTlsRequested,
    TlsStarted,
)
from analyzer.sessions.records import (
    ACCEPTED,
    COMPLETED,
    EXPOSED_CONTENT,
    EXPOSED_CREDENTIALS,
    EXPOSED_METADATA,
    EXPOSED_NONE,
    MAX_ANOMALIES,
    MAX_CREDENTIALS,
    MAX_MESSAGES,
    NOT_OFFERED,
    OFFERED,
    REFUSED,
    REQUESTED,
    UNSEEN,
    AnomalySeen,
    Credential,
    Message,
    Session,
)

#: Capabilities kept of one session, and characters kept of a banner or name.
MAX_CAPABILITIES: Final = 100
MAX_TEXT: Final = 1024

#: Capability words that offer an upgrade to TLS.
UPGRADE_WORDS: Final = ("STARTTLS", "STLS", "X-ANONYMOUSTLS")


@mypyc_attr(acyclic=True, free_list_len=1)
class SessionBuilder:
    """Collects what the dissector says into one session."""

    def __init__(self, keep_headers: bool = False) -> None:
        self.session: Session = Session()
        #: keep the header blocks of messages (kilobytes each)
        self.keep_headers = keep_headers
        #: events come from decrypted octets: nothing of them was exposed
        self.decrypted: bool = False
        self._offered: bool = False
        self._requested: bool = False
        self._granted: bool = False
        self._refused: bool = False
        self._credentials_exposed: bool = False
        self._content_exposed: bool = False

    def apply(self, events: list[Event]) -> None:
        """Take events in the order of the wire."""
        for event in events:
            if isinstance(event, CredentialsSent):
                self._credentials_sent(event)
            elif isinstance(event, AuthenticationEnded):
                self._authentication_ended(event)
            elif isinstance(event, Greeted):
                if self.session.server_banner is None:
                    self.session.server_banner = event.text[:MAX_TEXT]
            elif isinstance(event, MessageTransferred):
                self._message_transferred(event)
            elif isinstance(event, CapabilitiesOffered):
                self._capabilities_offered(event)
            elif isinstance(event, ClientNamed):
                self.session.client_name = event.name[:MAX_TEXT]
            elif isinstance(event, MessageAnswered):
                message = self._message(event.message)
                if message is not None:
                    message.accepted = event.accepted
            elif isinstance(event, MessageDeleted):
                message = self._message(event.message)
                if message is not None:
                    message.deleted = True
            elif isinstance(event, StartTlsRequested):
                self._requested = True
                if self.session.starttls_frame == 0:
                    self.session.starttls_frame = event.frame
                    self.session.starttls_ns = event.timestamp_ns
            elif isinstance(event, StartTlsAccepted):
                self._granted = True
            elif isinstance(event, StartTlsRefused):
                self._refused = True
            elif isinstance(event, TlsStarted):
                self._granted = True
                if self.session.tls_frame == 0:
                    self.session.tls_frame = event.frame
            elif isinstance(event, Anomaly):
                if self.decrypted:
                    continue  # anomalies are about what others on the way can read or change
                self.add_anomaly(event.kind, event.detail, event.sender, event.frame, event.timestamp_ns, event.offset)
            elif isinstance(event, CompressionStarted):
                self.session.compressed = True

    def add_anomaly(self, kind: str, detail: str, sender: int, frame: int, timestamp_ns: int, offset: int) -> None:
        """Keep an anomaly, bounded."""
        session = self.session
        if session.anomalies is None:
            session.anomalies = []
        if len(session.anomalies) >= MAX_ANOMALIES:
            session.cut_records += 1
            return
        session.anomalies.append(AnomalySeen(kind, detail, sender, frame, timestamp_ns, offset))

    def _credentials_sent(self, event: CredentialsSent) -> None:
        session = self.session
        session.auth_attempts += 1
        if session.credentials is None:
            session.credentials = []
        if len(session.credentials) >= MAX_CREDENTIALS:
            session.cut_records += 1
            return
        credential = Credential(
            event.exchange, event.frame, event.timestamp_ns, event.offset, event.mechanism, event.username, event.authzid,
            event.secret, event.secret_kind, event.challenge, event.response,
        )  # fmt: skip
        credential.exposed = not self.decrypted
        if not self.decrypted and event.secret_kind != NO_SECRET:
            self._credentials_exposed = True
        session.credentials.append(credential)

    def _authentication_ended(self, event: AuthenticationEnded) -> None:
        session = self.session
        if event.outcome == OUTCOME_ACCEPTED:
            session.auth_accepted += 1
        credentials = session.credentials
        if credentials is not None:
            at = len(credentials) - 1
            while at >= 0:
                credential = credentials[at]
                if credential.exchange == event.exchange:
                    credential.outcome = event.outcome
                    credential.outcome_frame = event.frame
                    credential.outcome_ns = event.timestamp_ns
                    credential.reply = event.reply
                    return
                at -= 1
        # An answer to an attempt of which nothing was readable (one-sided capture, mechanism refused at once).
        session.auth_attempts += 1

    def _message_transferred(self, event: MessageTransferred) -> None:
        session = self.session
        if not self.decrypted:
            if event.ended and not event.in_parts:
                session.messages += 1
            session.message_bytes += event.size
            self._content_exposed = True
        if session.message_list is None:
            session.message_list = []
        if len(session.message_list) >= MAX_MESSAGES:
            session.cut_records += 1
            return
        message = Message(
            event.message, event.frame, event.timestamp_ns, event.offset, event.direction, event.mail_from,
            event.recipients, event.recipient_count, event.size, event.ended, event.complete, event.mailbox,
            event.attachments, event.header if self.keep_headers else b"",
        )  # fmt: skip
        message.exposed = not self.decrypted
        session.message_list.append(message)

    def _message(self, number: int) -> Message | None:
        messages = self.session.message_list
        if messages is not None:
            at = len(messages) - 1
            while at >= 0:
                if messages[at].number == number:
                    return messages[at]
                at -= 1
        return None

    def _capabilities_offered(self, event: CapabilitiesOffered) -> None:
        session = self.session
        if self.decrypted or (not event.names and session.auth_accepted > 0):
            return
        if session.auth_accepted == 0 and event.whole:
            # After login a server no longer offers the upgrade, whoever it is: only earlier lists prove that it does not.
            session.capabilities_whole = True
        if session.capabilities is None:
            session.capabilities = []
        words = session.capabilities
        for name in event.names:
            if not self._offered and name.split(" ")[0] in UPGRADE_WORDS:
                self._offered = True
            if len(words) < MAX_CAPABILITIES and name not in words:
                words.append(name[:MAX_TEXT])
        if len(words) >= MAX_CAPABILITIES:
            session.capabilities_whole = False  # there may be more

    def starttls_state(self, tls_completed: bool) -> str:
        """The ``starttls`` column of a session that began in clear."""
        if self._granted:
            return COMPLETED if tls_completed else ACCEPTED
        if self._refused:
            return REFUSED
        if self._requested:
            return REQUESTED
        if self._offered:
            return OFFERED
        return NOT_OFFERED if self.session.capabilities_whole else UNSEEN

    def content_seen(self) -> None:
        """Content could be read, be it of no message that is told."""
        self._content_exposed = True

    def exposure(self, commands_read: bool) -> str:
        """The ``exposure`` column: the worst thing an eavesdropper could read."""
        if self._credentials_exposed:
            return EXPOSED_CREDENTIALS
        if self._content_exposed:
            return EXPOSED_CONTENT
        return EXPOSED_METADATA if commands_read else EXPOSED_NONE
