"""ECS: JSON lines in the Elastic Common Schema (8.11), a document a record, for Elasticsearch and SIEMs that speak its field names.

    event.dataset          table          event.kind, category, type
    mailtap.session        sessions       event, network, connection + protocol (+ start, end)
    mailtap.credential     credentials    event, authentication, start (+ info); event.outcome success, failure or unknown
    mailtap.tls            tls            event, network, connection + protocol
    mailtap.message        messages       event, email, info
    mailtap.finding        findings       alert, network, info; rule.*, event.severity 1 21 47 73 99; what to do: mailtap.remediation
    mailtap.server         servers        state, network, info
    mailtap.migration      migration      state, configuration, info
    mailtap.capture        captures       state, file, info

``rule.description`` is the rule's explanation, as ``mailtap rules SLUG`` prints it. ``source`` and ``client`` are the client, ``destination`` and ``server`` the server. ``network.community_id`` (version 1, seed 0) ties documents to
those of other sensors. ``email.sender.address`` and ``email.to.address`` are the envelope's; ``email.from.address`` and ``email.subject`` are the
header's, where it was asked for. What ECS has no field for stands under ``mailtap``, by its column's name: all columns of the table that
went nowhere else; a server's counts of sessions are ``mailtap.plaintext_sessions``, ``starttls_sessions`` and ``implicit_tls_sessions``, because a
field has one type. Certificates are known by ``tls.server.hash.sha256``, in capitals, wherever they occur. Keys are written with dots, as Elasticsearch takes them. No secret is ever in a field of ECS; ``mailtap.secret`` is masked
unless secrets were asked for.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from analyzer.findings.catalogue import explanation
from analyzer.report.columns import TABLES
from analyzer.report.formats.json import RowWriter, json_text
from analyzer.report.overview import reference_url
from analyzer.report.rows import Row, RowSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from analyzer.report.formats import Job
    from analyzer.sessions.records import Session

KIND: Final = "text"
#: Its table of captures has their SHA-256.
HASHED: Final = True
ECS_VERSION: Final = "8.11.0"
#: Severities as the numbers that Elastic's own rules use.
SEVERITY: Final = {"info": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}

Document = dict[str, object]

#: Table -> dataset, event.kind, event.category, event.type.
EVENTS: Final[dict[str, tuple[str, str, list[str], list[str]]]] = {
    "captures": ("capture", "state", ["file"], ["info"]),
    "sessions": ("session", "event", ["network"], ["connection", "protocol", "start", "end"]),
    "credentials": ("credential", "event", ["authentication"], ["start"]),
    "tls": ("tls", "event", ["network"], ["connection", "protocol"]),
    "messages": ("message", "event", ["email"], ["info"]),
    "findings": ("finding", "alert", ["network"], ["info"]),
    "servers": ("server", "state", ["network"], ["info"]),
    "migration": ("migration", "state", ["configuration"], ["info"]),
}
#: Table -> column -> the field it becomes. A column named nowhere stands under ``mailtap``.
FIELDS: Final[dict[str, dict[str, str]]] = {
    "captures": {"capture": "file.path", "first": "@timestamp", "sha256": "file.hash.sha256"},
    "sessions": {
        "session_id": "event.id", "sensor": "observer.name", "start": "event.start", "end": "event.end",
        "client_bytes": "source.bytes", "server_bytes": "destination.bytes", "packets": "network.packets",
    },
    "credentials": {"time": "@timestamp", "username": "user.name"},
    "tls": {
        "time": "@timestamp", "cipher_suite": "tls.cipher", "group": "tls.curve", "sni": "tls.client.server_name",
        "alpn": "tls.next_protocol", "ja3": "tls.client.ja3", "ja3s": "tls.server.ja3s", "resumed": "tls.resumed",
        "offered_suites": "tls.client.supported_ciphers", "cert_subject": "tls.server.subject",
        "cert_issuer": "tls.server.issuer", "cert_not_before": "tls.server.not_before",
        "cert_not_after": "tls.server.not_after", "cert_names": "tls.server.x509.alternative_names",
        "cert_signature": "tls.server.x509.signature_algorithm", "cert_sha256": "tls.server.hash.sha256",
    },
    "messages": {
        "time": "@timestamp", "mail_from": "email.sender.address", "recipients": "email.to.address",
        "subject": "email.subject", "header_from": "email.from.address",
    },
    "findings": {
        "finding_id": "event.id", "time": "@timestamp", "rule": "rule.id", "title": "rule.name",
        "detail": "message", "username": "user.name",
    },
    "servers": {
        "last_seen": "@timestamp", "cert_sha256": "tls.server.hash.sha256", "cert_not_after": "tls.server.not_after",
        # A field has one type in all documents: mailtap.starttls is a word, of a session.
        "plaintext": "mailtap.plaintext_sessions", "starttls": "mailtap.starttls_sessions",
        "implicit_tls": "mailtap.implicit_tls_sessions",
    },
    "migration": {"last_seen": "@timestamp", "username": "user.name"},
}  # fmt: skip
#: Columns that every table maps alike.
COMMON: Final = {
    "client_ip": "source.ip",
    "client_port": "source.port",
    "server_ip": "destination.ip",
    "server_port": "destination.port",
}
#: Fields that ECS wants as lists even of one.
LISTS: Final = ("email.from.address",)


class _Printer(RowSink):
    """Writes the rows of one table as documents."""

    def __init__(self, table: str, job: Job, out: TextIO, sessions: dict[str, Session]) -> None:
        self._columns = TABLES[table]
        self._names = [
            FIELDS[table].get(one.name) or COMMON.get(one.name) or f"mailtap.{one.name}" for one in self._columns
        ]
        self._clock = RowWriter(table)
        self._out = out
        self._sessions = sessions
        self._extra = _EXTRA.get(table)
        #: capture -> octets of its file, where it was one
        self._sizes = {one.name: one.identity[0] for one in job.result.captures if one.identity is not None}
        self._of_files = table == "captures"
        dataset, kind, category, types = EVENTS[table]
        self._fixed: Document = {
            "ecs.version": ECS_VERSION,
            "event.kind": kind,
            "event.category": category,
            "event.type": types,
            "event.module": "mailtap",
            "event.dataset": f"mailtap.{dataset}",
            "observer.product": "mailtap",
            "observer.version": job.version,
        }

    def receive_row(self, row: Row) -> None:
        record: dict[str, object] = {}
        document: Document = {"@timestamp": None, **self._fixed}
        for name, column, value in zip(self._names, self._columns, row, strict=True):
            record[column.name] = value
            if value is None or value == []:
                continue
            if column.kind == "time" and isinstance(value, int):
                value = self._clock.time_text(value)[1:-1]
            document[name] = [value] if name in LISTS else value
        session = self._sessions.get(str(record.get("session_id")))
        _network(document, record, session)
        if self._extra is not None:
            self._extra(document, record)
        if self._of_files:
            document["file.size"] = self._sizes.get(str(record["capture"]))
        if document["@timestamp"] is None:
            # The document must have a time: that of its session, else the epoch.
            start = session.start_ns if session is not None else 0
            document["@timestamp"] = self._clock.time_text(start)[1:-1]
        pairs = [f'"{name}":{_json(value)}' for name, value in document.items() if value is not None]
        self._out.write("{" + ",".join(pairs) + "}\n")


def _json(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join([_json(one) for one in value]) + "]"
    if isinstance(value, dict):
        return "{" + ",".join([f'"{name}":{_json(one)}' for name, one in value.items()]) + "}"
    return json_text(str(value))


def _network(document: Document, record: dict[str, object], session: Session | None) -> None:
    """Where and between whom: from the record, and from its session where the record does not say."""
    if session is not None:
        document.setdefault("source.ip", session.client_ip)
        document.setdefault("source.port", session.client_port)
        document.setdefault("destination.ip", session.server_ip)
        document.setdefault("destination.port", session.server_port)
        document["network.community_id"] = community_id(
            session.client_ip, session.client_port, session.server_ip, session.server_port
        )
    client, server = document.get("source.ip"), document.get("destination.ip")
    for one, other in (("source", "client"), ("destination", "server")):
        for part in ("ip", "port", "bytes"):
            if f"{one}.{part}" in document:
                document[f"{other}.{part}"] = document[f"{one}.{part}"]
    if server is not None:
        document["network.transport"] = "tcp"
        document["network.type"] = "ipv6" if ":" in str(server) else "ipv4"
        protocol = record.get("protocol", None if session is None else session.protocol)
        if protocol not in (None, "unknown"):
            document["network.protocol"] = protocol
    addresses = sorted({str(one) for one in (client, server) if one is not None})
    if addresses:
        document["related.ip"] = addresses
    user = document.get("user.name")
    if user is not None:
        document["related.user"] = [user]


def community_id(client: str, client_port: int, server: str, server_port: int) -> str:
    """The Community ID flow hash of a TCP connection: version 1, seed 0."""
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    try:
        ends = sorted(
            [(socket.inet_pton(family, client), client_port), (socket.inet_pton(family, server), server_port)]
        )
    except OSError:
        return ""
    (one, one_port), (other, other_port) = ends
    data = b"\0\0" + one + other + b"\x06\0" + struct.pack("!HH", one_port, other_port)
    return "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii")


def _session(document: Document, record: dict[str, object]) -> None:
    document["@timestamp"] = document.get("event.start")
    if not record["sensor"]:
        document.pop("observer.name", None)
    start, end = record["start"], record["end"]
    if isinstance(start, int) and isinstance(end, int):
        document["event.duration"] = end - start
    sent, received = record["client_bytes"], record["server_bytes"]
    if isinstance(sent, int) and isinstance(received, int):
        document["network.bytes"] = sent + received


def _credential(document: Document, record: dict[str, object]) -> None:
    document["event.outcome"] = {"accepted": "success", "rejected": "failure"}.get(str(record["outcome"]), "unknown")


def _tls(document: Document, record: dict[str, object]) -> None:
    version = record["version"]
    if version is not None:
        name, _, number = str(version).partition("v")
        document["tls.version_protocol"] = name.lower()
        document["tls.version"] = number
    if record["handshake"] != "unseen":
        document["tls.established"] = record["handshake"] == "completed"
    _hash(document)
    if record["cert_sha256"] is not None:
        document["tls.server.x509.subject.distinguished_name"] = record["cert_subject"]
        document["tls.server.x509.issuer.distinguished_name"] = record["cert_issuer"]
        kind, _, size = str(record["cert_key"] or "").partition("-")
        document["tls.server.x509.public_key_algorithm"] = kind or None
        if size.isdecimal():
            document["tls.server.x509.public_key_size"] = int(size)
    if record["sni"] is not None and not _is_address(str(record["sni"])):
        document["destination.domain"] = record["sni"]


def _is_address(name: str) -> bool:
    """Whether what a client asked for is no name of a host, but an address."""
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _hash(document: Document) -> None:
    """The fingerprint of a certificate as ECS writes it: in capitals."""
    fingerprint = document.get("tls.server.hash.sha256")
    if fingerprint is not None:
        document["tls.server.hash.sha256"] = str(fingerprint).upper()
        document["related.hash"] = [str(fingerprint).upper()]


def _server(document: Document, _record: dict[str, object]) -> None:
    _hash(document)


def _message(document: Document, record: dict[str, object]) -> None:
    attachments = record["attachments"]
    if isinstance(attachments, list) and attachments:
        document["email.attachments"] = [{"file": {"name": name}} for name in attachments]


@cache
def _explanation(slug: str) -> str:
    """What a rule's findings mean, in one paragraph."""
    return " ".join(explanation(slug).split())


def _finding(document: Document, record: dict[str, object]) -> None:
    document["rule.description"] = _explanation(str(record["rule"]))
    document["event.severity"] = SEVERITY.get(str(record["severity"]), 0)
    references = record["references"]
    links = [reference_url(str(one)) for one in references] if isinstance(references, list) else []
    links = [link for link in links if link]
    if links:
        document["rule.reference"] = links[0]


_EXTRA: Final[dict[str, Callable[[Document, dict[str, object]], None]]] = {
    "sessions": _session,
    "credentials": _credential,
    "tls": _tls,
    "messages": _message,
    "findings": _finding,
    "servers": _server,
}


def write(job: Job, out: TextIO) -> None:
    """All tables, a document a line."""
    job.add_hashes()
    sessions = {session.session_id(): session for session in job.result.sessions}
    for table in TABLES:
        job.push(table, _Printer(table, job, out, sessions))
