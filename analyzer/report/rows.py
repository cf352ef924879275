"""Records as rows: the values of each table's columns, in the order of :mod:`analyzer.report.columns`.

Times are nanoseconds since the epoch here (0 and None: not known); each format writes them its way. Secrets are masked here,
once, for all formats: without ``show`` no secret, challenge or response leaves this module.
"""

from __future__ import annotations

import os
from typing import Final

from mypy_extensions import mypyc_attr

from analyzer.capture.base import CaptureStats
from analyzer.findings.base import Finding, FindingSink, Rule
from analyzer.findings.behaviour import to_be_judged
from analyzer.findings.engine import Engine, push_findings
from analyzer.findings.strength import PasswordJudge
from analyzer.model import MASK
from analyzer.report.migration import Migrant, migrate
from analyzer.report.servers import Posture, postures
from analyzer.sessions.certificates import TrustStore, judge, parse_certificate
from analyzer.sessions.ordering import in_order
from analyzer.sessions.records import Credential, Message, Session, TlsHandshake

Row = list[object]

#: Characters of a header field that the messages table shows.
MAX_FIELD: Final = 998


class RowMaker:
    """Makes rows of records.

    ``show_secrets`` puts secrets, challenges and responses in clear; ``headers`` subject and addresses of messages;
    ``key`` keys the fingerprints of secrets (a random one for the run where None); ``ca_file`` is a bundle of trusted roots
    (PEM), certifi's where None.
    """

    def __init__(
        self, show_secrets: bool = False, headers: bool = False, key: bytes | None = None, ca_file: str | None = None
    ) -> None:
        self.show_secrets = show_secrets
        self.headers = headers
        self.key: bytes = os.urandom(32) if key is None else key
        #: what certificates are checked against
        self.trust = TrustStore(ca_file)
        #: judges passwords, each once a run
        self.strength = PasswordJudge()
        #: sentences for the user about what the tables lack
        self.notes: list[str] = []
        self._references: dict[str, list[str]] = {}

    def anew(self) -> RowMaker:
        """One for other sessions: it makes the same fingerprints, and judges and notes for itself."""
        maker = RowMaker(self.show_secrets, self.headers, self.key)
        maker.trust = self.trust
        return maker

    def session(self, one: Session) -> Row:
        """A row of ``sessions``."""
        return [
            one.session_id(),
            one.capture,
            one.sensor,
            one.start_ns,
            one.end_ns,
            one.first_frame,
            one.last_frame,
            one.client_ip,
            one.client_port,
            one.server_ip,
            one.server_port,
            one.protocol,
            one.port_service,
            one.transport,
            one.starttls,
            one.exposure,
            one.auth_attempts,
            one.auth_accepted,
            one.messages,
            one.message_bytes,
            one.packets,
            one.client_bytes,
            one.server_bytes,
            one.gap_bytes,
            one.conflict_bytes,
            one.completeness,
            one.server_banner,
            one.client_name,
            one.capabilities if one.capabilities is not None else [],
            one.display_filter(),
            one.compressed,
            one.not_mail,
            [f"{seen.kind}@{seen.frame}" for seen in one.anomalies] if one.anomalies is not None else [],
        ]

    def credential(self, session: Session, one: Credential) -> Row:
        """A row of ``credentials``."""
        secret, challenge, response, secret_id, length, strength = self.shown(one)
        return [
            session.session_id(),
            one.timestamp_ns,
            one.frame,
            session.client_ip,
            session.server_ip,
            session.server_port,
            session.protocol,
            one.mechanism,
            one.username,
            one.authzid,
            secret,
            one.secret_kind,
            challenge,
            response,
            one.outcome,
            secret_id,
            length,
            strength,
            one.exposed,
        ]

    def shown(self, one: Credential) -> tuple[str | None, str | None, str | None, str | None, int | None, int | None]:
        """What is shown of a secret: itself (masked, unless it may be shown), challenge, response, fingerprint, length, strength."""
        secret = one.secret
        response = one.response
        hidden = secret if secret is not None else response
        show = self.show_secrets
        return (
            None if secret is None else (secret.reveal() if show else MASK),
            one.challenge if show else None,
            response.reveal() if show and response is not None else None,
            None if hidden is None else hidden.seal(self.key),
            None if secret is None else secret.length,
            self.strength.score(secret, one.username) if secret is not None and to_be_judged(one) else None,
        )

    def tls(self, session: Session, one: TlsHandshake) -> Row:
        """A row of ``tls``."""
        one.fill()
        row: Row = [
            session.session_id(),
            one.timestamp_ns,
            one.frame,
            one.mode,
            one.version,
            one.offered_versions,
            one.cipher_suite,
            one.offered_suites,
            one.group,
            one.sni,
            one.alpn,
            one.ja3,
            one.ja3s,
            one.ja4,
            one.resumed,
            one.handshake,
            one.alert,
            one.alert_sender,
            bool(one.certificates),
        ]
        row.extend(certificate_values(one, self.trust))
        return row

    def message(self, session: Session, one: Message) -> Row:
        """A row of ``messages``."""
        subject, sender, recipients = self.header_fields(one)
        return [
            session.session_id(),
            one.timestamp_ns,
            one.frame,
            one.direction,
            one.mail_from,
            one.recipients,
            one.recipient_count,
            one.size,
            one.complete,
            one.accepted,
            one.deleted,
            one.mailbox,
            one.attachments,
            subject,
            sender,
            recipients,
            one.exposed,
        ]

    def header_fields(self, one: Message) -> tuple[str | None, str | None, str | None]:
        """Subject, sender and recipients in the header of a message, where they are asked for."""
        if self.headers and one.header:
            from analyzer.report.headers import read_header

            return read_header(one.header)
        return (None, None, None)

    def finding(self, one: Finding) -> Row:
        """A row of ``findings``."""
        session = one.session
        rule = one.rule
        return [
            one.finding_id(),
            rule.slug,
            one.severity_word(),
            one.confidence,
            rule.title,
            None if session is None else session.session_id(),
            one.timestamp_ns or None,
            one.frame or None,
            None if session is None else session.client_ip,
            None if session is None else session.server_ip,
            None if session is None else session.server_port,
            None if session is None else session.protocol,
            one.username,
            one.detail(),
            rule.remediation,
            self.references(rule),
            one.offset,
            one.capture if session is None else session.capture,
        ]

    def references(self, rule: Rule) -> list[str]:
        """A rule's references, the same list each time: formats need not write it anew."""
        found = self._references.get(rule.slug)
        if found is None:
            found = list(rule.references)
            self._references[rule.slug] = found
        return found

    def server(self, one: Posture) -> Row:
        """A row of ``servers``."""
        grade, reasons = one.grade()
        return [
            one.server_ip,
            one.server_port,
            one.protocol,
            one.sessions,
            one.plaintext,
            one.starttls,
            one.implicit_tls,
            one.starttls_offered(),
            one.mechanisms,
            one.plaintext_auth,
            one.versions,
            one.certificate_sha256,
            one.first_ns,
            one.last_ns,
            grade,
            reasons,
            one.accepted,
            one.refused,
            one.tls_failed,
            one.suites,
            one.certificate_not_after_ns,
            one.certificate_problems,
        ]

    def migrant(self, one: Migrant) -> Row:
        """A row of ``migration``."""
        return [
            one.client_ip,
            one.port.server_ip,
            one.port.server_port,
            one.port.protocol,
            one.username,
            one.current(),
            one.recommended(),
            one.seen_working(),
            one.accounts(),
            one.last_ns,
            one.port.host,
            one.authentication(),
            one.basis(),
            one.problems,
            one.port.closing,
        ]

    def note(self, sentence: str) -> None:
        """Tell the user something, once."""
        if sentence and sentence not in self.notes:
            self.notes.append(sentence)

    def capture(self, one: CaptureStats) -> Row:
        """A row of ``captures``."""
        return [
            one.name,
            one.format,
            [linktype_name(linktype) for linktype in one.linktypes],
            one.packets,
            one.bytes,
            one.first_ns if one.packets else None,
            one.last_ns if one.packets else None,
            one.mail_packets,
            one.skipped_bytes,
            one.damaged,
            one.dropped,
            one.sha256,
        ]


@mypyc_attr(allow_interpreted_subclasses=True)
class RowSink:
    """Takes rows one by one."""

    def receive_row(self, row: Row) -> None:
        """The next row of the table."""


class RowList(RowSink):
    """Keeps all rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def receive_row(self, row: Row) -> None:
        self.rows.append(row)


def push_rows(
    table: str, sessions: list[Session], captures: list[CaptureStats], maker: RowMaker, sink: RowSink
) -> None:
    """All rows of one table, in order, into a sink: one at a time, for a run may hold hundreds of thousands."""
    if table == "captures":
        for one in captures:
            sink.receive_row(maker.capture(one))
    elif table == "sessions":
        for session in sessions:
            sink.receive_row(maker.session(session))
    elif table == "credentials":
        judge_passwords(sessions, maker.strength)
        for session in sessions:
            credentials = session.credentials
            if credentials is not None:
                for credential in credentials:
                    sink.receive_row(maker.credential(session, credential))
    elif table == "messages":
        for session in sessions:
            messages = session.message_list
            if messages is not None:
                for message in messages:
                    sink.receive_row(maker.message(session, message))
    elif table == "tls":
        for session in sessions:
            tls = session.tls
            if tls is not None:
                sink.receive_row(maker.tls(session, tls))
    elif table == "servers":
        for server in postures(sessions, maker.trust):
            sink.receive_row(maker.server(server))
    elif table == "migration":
        for migrant in migrate(sessions, postures(sessions, None)).rows:
            sink.receive_row(maker.migrant(migrant))
    elif table == "findings":
        engine = Engine(_FindingRows(maker, sink), trust=maker.trust, strength=maker.strength)
        push_findings(sessions, captures, engine)
        for sentence in engine.notes():
            maker.note(sentence)


def judge_passwords(sessions: list[Session], strength: PasswordJudge, ordered: bool = False) -> None:
    """Have the passwords judged in the order in which the rules see them, so that tables and findings agree which were left out.

    ``ordered``: the sessions are in that order.
    """
    for session in sessions if ordered else in_order(sessions):
        for credential in session.credentials or []:
            if credential.secret is not None and to_be_judged(credential):
                strength.score(credential.secret, credential.username)
        if strength.closed:
            return


class _FindingRows(FindingSink):
    """Turns findings into rows as they come."""

    def __init__(self, maker: RowMaker, sink: RowSink) -> None:
        self._maker = maker
        self._sink = sink

    def receive_finding(self, finding: Finding) -> None:
        self._sink.receive_row(self._maker.finding(finding))


def certificate_values(one: TlsHandshake, trust: TrustStore) -> Row:
    """The ``cert_`` columns behind ``cert_seen``, judged at the time of the handshake."""
    chain = one.certificates
    if not chain:
        return [None, None, [], None, None, None, None, None, []]
    leaf = parse_certificate(chain[0])
    return [
        leaf.subject,
        leaf.issuer,
        leaf.names,
        leaf.not_before_ns,
        leaf.not_after_ns,
        leaf.key,
        leaf.signature,
        leaf.sha256,
        judge(chain, one.timestamp_ns, one.sni, trust),
    ]


#: LINKTYPE_ numbers by the names of the registry that users meet.
LINKTYPES: Final[dict[int, str]] = {
    0: "NULL",
    1: "ETHERNET",
    9: "PPP",
    12: "RAW",
    14: "RAW",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    101: "RAW",
    104: "C_HDLC",
    105: "IEEE802_11",
    108: "LOOP",
    113: "LINUX_SLL",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    163: "IEEE802_11_AVS",
    192: "PPI",
    219: "MPLS",
    228: "IPV4",
    229: "IPV6",
    239: "NFLOG",
    276: "LINUX_SLL2",
}


def linktype_name(linktype: int) -> str:
    """Name of a LINKTYPE_ value; its number where it has none here."""
    return LINKTYPES.get(linktype, str(linktype))
