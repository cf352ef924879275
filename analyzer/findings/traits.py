"""What several rules want to know of a session: what of it an eavesdropper could read, and where."""

from __future__ import annotations

import time
from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import LOW
from analyzer.protocols.events import ACCEPTED, DELIVERED, NO_SECRET, RELAYED
from analyzer.sessions.records import Credential, Message, Session

#: Servers, and ports of one of them, of which the words are kept: findings by the hundred thousand name the same few.
MAX_SERVERS: Final = 4096
MAX_PORTS: Final = 8
#: The last three digits of a number.
_DIGITS: Final[list[str]] = [f"{number:03d}" for number in range(1000)]


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
    return f"1 {word}" if count == 1 else f"{_grouped(count)} {word}s"


def _grouped(count: i64) -> str:
    """``2,345``. A format does the same, at ten times the cost."""
    if 0 <= count < 1000:
        return str(count)
    if 0 <= count < 1_000_000:
        return f"{count // 1000},{_DIGITS[count % 1000]}"
    return f"{count:,}"


def endpoint(address: str, port: int) -> str:
    """Address and port as one writes them: ``192.0.2.1:110``, ``[2001:db8::1]:110``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class _Server:
    """The words for one port of a server."""

    def __init__(self, protocol: str, address: str, port: i64) -> None:
        self.protocol = protocol
        self.port: i64 = port
        self.text = f"{protocol} server {endpoint(address, port)}"


#: server address -> the words for its ports
_servers: Final[dict[str, list[_Server]]] = {}


def server_text(session: Session) -> str:
    """``pop3 server 198.51.100.20:110``, IPv6 addresses in brackets."""
    known = _servers.get(session.server_ip)
    if known is not None:
        for one in known:
            if one.port == session.server_port and one.protocol == session.protocol:
                return one.text
    made = _Server(session.protocol, session.server_ip, session.server_port)
    if known is None:
        if len(_servers) >= MAX_SERVERS:
            _servers.clear()
        _servers[session.server_ip] = [made]
    elif len(known) < MAX_PORTS:
        known.append(made)
    return made.text
