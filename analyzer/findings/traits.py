"""What several rules want to know of a session: what of it an eavesdropper could read, and where."""

from __future__ import annotations

import time

from mypy_extensions import i64

from analyzer.findings.base import LOW
from analyzer.protocols.events import ACCEPTED, DELIVERED, NO_SECRET, RELAYED
from analyzer.sessions.records import Credential, Message, Session


def clear_messages(session: Session) -> int:
    """How many messages, or parts of one, could be read without keys."""
    count = 0
    if session.message_list is not None:
        for message in session.message_list:
            if message.exposed:
                count += 1
    return count


def first_clear_message(session: Session) -> Message | None:
    """The first of them."""
    messages = session.message_list
    if messages is not None:
        for message in messages:
            if message.exposed:
                return message
    return None


def first_login(session: Session) -> Credential | None:
    """The first login of which an eavesdropper could read a secret, or something to guess it with."""
    credentials = session.credentials
    if credentials is not None:
        for credential in credentials:
            if credential.exposed and credential.secret_kind != NO_SECRET:
                return credential
    return None


def asked_too_late(session: Session) -> bool:
    """Whether the client asked for TLS only after it was let in.

    POP3 and IMAP servers must not grant it then (RFC 2595 section 4, RFC 9051 section 6.2.1), and those of SMTP mostly do not.
    """
    if session.starttls_frame == 0 or session.credentials is None:
        return False
    asked_ns = session.starttls_ns  # 0 is a time, too: that of captures without times
    for credential in session.credentials:
        if credential.outcome == ACCEPTED and (
            credential.timestamp_ns < asked_ns
            or (credential.timestamp_ns == asked_ns and credential.frame < session.starttls_frame)
        ):
            return True
    return False


def between_servers(message: Message) -> bool:
    """Whether a message went from server to server: encryption is a matter of opportunity there (RFC 7435)."""
    return message.direction == RELAYED or message.direction == DELIVERED


def on_one_host(session: Session) -> bool:
    """Whether client and server are the same machine: nobody on the network could listen."""
    return session.client_ip == session.server_ip


def capped(session: Session, severity: int) -> int:
    """A severity, low at most where nobody on the network could listen."""
    if severity > LOW and on_one_host(session):
        return LOW
    return severity


def credential_at(session: Session | None, frame: i64, offset: i64) -> Credential | None:
    """The credential of a session that is a finding's evidence."""
    if session is not None and session.credentials is not None:
        for credential in session.credentials:
            if credential.offset == offset and credential.frame == frame:
                return credential
    return None


def moment(timestamp_ns: i64) -> str:
    """A time to the second, for details: frames of other sessions may be of other files."""
    second = timestamp_ns // 1_000_000_000
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(max(second, 0), 253402300799)))


def counted(count: i64, word: str) -> str:
    """``1 octet``, ``2,345 octets``."""
    return f"1 {word}" if count == 1 else f"{count:,} {word}s"


def endpoint(address: str, port: int) -> str:
    """Address and port as one writes them: ``192.0.2.1:110``, ``[2001:db8::1]:110``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def server_text(session: Session) -> str:
    """``pop3 server 198.51.100.20:110``, IPv6 addresses in brackets."""
    return f"{session.protocol} server {endpoint(session.server_ip, session.server_port)}"
