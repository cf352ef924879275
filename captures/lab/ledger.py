"""What the clients did, written down by the clients while they did it. Nothing here looks at captured octets.

The words are those of mailtap's own tables. ``credentials`` and ``messages`` (whole ones) are what travelled readable;
``tls_credentials`` and ``tls_messages`` are what travelled inside TLS and needs keys to be read.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any, Final

#: Fields of a credential that are left out of ``expected.jsonl`` when they are None.
_OPTIONAL: Final = ("authzid", "secret", "challenge", "response")


@dataclass
class Credential:
    """One attempt to log in, as its client saw it.

    ``secret`` is the password or token where one travelled; ``challenge`` and ``response`` are the decoded texts of a
    challenge-response mechanism (SCRAM: server-first and client-final message; NTLM: base64 of the binary messages).
    """

    mechanism: str
    username: str | None
    secret: str | None = None
    challenge: str | None = None
    response: str | None = None
    authzid: str | None = None
    outcome: str = "unknown"

    def as_json(self) -> dict[str, Any]:
        """As it stands in ``expected.jsonl``."""
        record: dict[str, Any] = {"mechanism": self.mechanism, "username": self.username}
        record.update({key: value for key in _OPTIONAL if (value := getattr(self, key)) is not None})
        record["outcome"] = self.outcome
        return record


@dataclass
class Session:
    """One TCP connection, as its client saw it."""

    client: str
    server: str
    port: int
    protocol: str
    implicit_tls: bool = False
    #: ``unseen`` until the server has said what it offers
    starttls: str = "unseen"
    credentials: list[Credential] = field(default_factory=list)
    messages: int = 0
    tls_credentials: list[Credential] = field(default_factory=list)
    tls_messages: int = 0
    tls_version: str | None = None
    cert_problem: str | None = None
    not_mail: str | None = None
    completeness: str = "complete"
    note: str = ""
    client_port: int = 0
    #: TLS that had begun before the recording did
    midstream_tls: bool = False

    def __post_init__(self) -> None:
        if self.implicit_tls or self.not_mail:
            self.starttls = "not_applicable"

    def add(self, credential: Credential, *, encrypted: bool = False) -> Credential:
        """Note an attempt to log in; the client fills in the outcome when it knows it."""
        (self.tls_credentials if encrypted else self.credentials).append(credential)
        return credential

    @property
    def transport(self) -> str:
        """``implicit_tls``, ``starttls``, ``plaintext`` or (not mail) ``unknown``."""
        if self.not_mail:
            return "unknown"
        if self.implicit_tls:
            return "implicit_tls"
        return "starttls" if self.starttls in ("completed", "accepted") or self.midstream_tls else "plaintext"

    def as_json(self, sample: str, stream: int) -> dict[str, Any]:
        """As it stands in ``expected.jsonl``."""
        record: dict[str, Any] = {
            "sample": sample,
            "stream": stream,
            "client": endpoint(self.client, self.client_port),
            "server": endpoint(self.server, self.port),
            "protocol": self.protocol,
            "transport": self.transport,
            "starttls": self.starttls,
            "implicit_tls": self.implicit_tls,
            "tls_version": self.tls_version,
            "cert_problem": self.cert_problem,
            "credentials": [credential.as_json() for credential in self.credentials],
            "messages": self.messages,
            "tls_credentials": [credential.as_json() for credential in self.tls_credentials],
            "tls_messages": self.tls_messages,
            "not_mail": self.not_mail,
            "completeness": self.completeness,
        }
        if self.note:
            record["note"] = self.note
        return record


def endpoint(address: str, port: int) -> str:
    """``192.0.2.10:110`` or ``[2001:db8::1]:110``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Ledger:
    """All sessions of one sample, in the order in which they were begun."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self._lock = threading.Lock()

    def open(self, session: Session) -> Session:
        """Enter a session; call it just before connecting."""
        with self._lock:
            self.sessions.append(session)
        return session
