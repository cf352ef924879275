"""What rules are and what they give: :class:`Rule` and :class:`Finding`.

A finding is light: it refers to its session, and its texts are made when somebody reads them, because a run over an unprotected
network has hundreds of thousands of them and a report shows few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.findings.history import History
from analyzer.findings.strength import PasswordJudge
from analyzer.model import SEED, SEVERITIES, in_hex, mixed, mixed_text
from analyzer.sessions.certificates import TrustStore, judge
from analyzer.sessions.records import Credential, Session

# Severities as numbers, so that comparing them costs nothing; ``SEVERITIES`` has their words.
INFO: Final = 0
LOW: Final = 1
MEDIUM: Final = 2
HIGH: Final = 3
CRITICAL: Final = 4

# How sure a finding is: the traffic leaves no other reading; one other reading is possible; it is a hint.
SURE: Final = "high"
LIKELY: Final = "medium"
HINT: Final = "low"

# What a session must have for a rule to be asked at all: bits of ``Rule.needs``. Most sessions have few, so most rules cost nothing.
ANY: Final = 0
CREDENTIALS: Final = 1 << 0  # credentials that an eavesdropper could read
PASSWORDS: Final = 1 << 1  # passwords among them
TOKENS: Final = 1 << 2  # bearer tokens
RESPONSES: Final = 1 << 3  # challenges and responses
ANONYMOUS: Final = 1 << 4  # logins that prove nothing: ANONYMOUS, EXTERNAL
REJECTIONS: Final = 1 << 5  # logins that were not accepted; or somebody is known to be guessing
MESSAGES: Final = 1 << 6  # messages
TLS: Final = 1 << 7  # a TLS handshake, or what was seen of one
CERTIFICATE: Final = 1 << 8  # the server's certificate was seen
FALLBACK: Final = 1 << 9  # a TLS handshake, or an earlier one of anybody that failed
ANOMALIES: Final = 1 << 10  # anomalies
MARKED: Final = 1 << 11  # anomalies, or STARTTLS was refused
CLEAR: Final = 1 << 12  # it is mail, and it stayed in clear
OFFERED_CLEAR: Final = 1 << 13  # in spite of an offer of STARTTLS, or asking for it was in vain
LISTED: Final = 1 << 14  # the server told in clear what it offers
NO_OFFER: Final = 1 << 15  # it told so, and STARTTLS was not among it; or it refused
PORT_25: Final = 1 << 16  # SMTP on port 25
SUBMISSION: Final = 1 << 17  # a port for submission
NOT_MAIL: Final = 1 << 18  # another protocol on a mail port
UNUSUAL_PORT: Final = 1 << 19  # mail on a port that is not for it
COMPRESSED: Final = 1 << 20  # COMPRESS=DEFLATE
INCOMPLETE: Final = 1 << 21  # the capture does not hold all of it
CONFLICT: Final = 1 << 22  # octets came twice with different content
VALID_PASSWORDS: Final = 1 << 23  # passwords that were not rejected
REJECTED_HERE: Final = 1 << 24  # logins of this session that were not accepted
DELETED: Final = 1 << 25  # messages that were deleted from the server

#: Characters of a finding's detail.
MAX_DETAIL: Final = 500


class Rule:
    """One rule: its slug, how bad what it finds is at most, its judge, and what to do about it.

    ``judge`` is the rule's function; its docstring is the explanation that ``mailtap rules SLUG`` prints. ``describe`` makes the
    detail of a finding that was reported without one; of the traffic's own words only the finding's user name may be in it, so that
    whoever knows how the name is to be written can write the detail. ``needs`` are the bits a session must have.
    """

    def __init__(
        self,
        slug: str,
        severity: int,
        title: str,
        judge: Callable[[Session, Found], None],
        needs: int,
        remediation: str,
        references: tuple[str, ...],
        describe: Callable[[Finding], str] | None = None,
        conclude: Callable[[Found], None] | None = None,
    ) -> None:
        self.slug = slug
        #: of most of its findings; a finding may be worse or better
        self.severity = severity
        self.title = title
        self.judge = judge
        self.needs = needs
        self.remediation = remediation
        self.references = references
        self.describe = describe
        #: asked once, when all sessions are through
        self.conclude = conclude
        #: its place in the catalogue
        self.number: int = 0
        #: its slug, for identifiers of findings
        self.mark: i64 = mixed_text(SEED, slug)


@mypyc_attr(acyclic=True)
class Finding:
    """One thing found: the rule, how bad and how sure, and the evidence. ``session`` is None for what is wrong with a capture itself."""

    __slots__ = (
        "capture",
        "confidence",
        "count",
        "detail_text",
        "frame",
        "offset",
        "rule",
        "session",
        "severity",
        "timestamp_ns",
        "username",
    )

    def __init__(
        self,
        rule: Rule,
        severity: int,
        confidence: str,
        session: Session | None,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        username: str | None,
        detail_text: str,
        count: i64,
    ) -> None:
        self.rule = rule
        self.severity = severity
        self.confidence = confidence
        self.session = session
        #: Wireshark's number of the packet that proves it, its time, and the offset of the evidence in its sender's stream
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset
        self.username = username
        self.detail_text = detail_text
        #: how many things of the kind the session has (messages, octets)
        self.count: i64 = count
        #: the capture, where there is no session
        self.capture: str = ""

    @property
    def slug(self) -> str:
        """The rule's name."""
        return self.rule.slug

    def severity_word(self) -> str:
        """``info low medium high critical``."""
        return SEVERITIES[self.severity]

    def detail(self) -> str:
        """The evidence in words."""
        text = self.detail_text
        if text == "" and self.rule.describe is not None:
            text = self.rule.describe(self)
        return text if len(text) <= MAX_DETAIL else text[:MAX_DETAIL]

    def finding_id(self) -> str:
        """Stable identifier: a hash of the rule and its evidence; no file, batch or order enters it."""
        session = self.session
        state = mixed(mixed_text(SEED, self.capture) if session is None else session.mark(), self.rule.mark)
        state = mixed(mixed(state, self.timestamp_ns), self.offset)
        if self.username is not None:
            state = mixed_text(mixed(state, 1), self.username)
        if self.detail_text:
            state = mixed_text(mixed(state, 2), self.detail_text)
        return in_hex(state)

    def __reduce__(self) -> tuple[object, ...]:
        from analyzer.findings.catalogue import restore

        return (
            restore,
            (
                self.rule.slug, self.severity, self.confidence, self.session, self.frame, self.timestamp_ns, self.offset,
                self.username, self.detail_text, self.count, self.capture,
            ),
        )  # fmt: skip


@mypyc_attr(allow_interpreted_subclasses=True)
class FindingSink:
    """Takes findings one by one."""

    def receive_finding(self, finding: Finding) -> None:
        """The next finding."""

    def receive_parts(
        self,
        rule: Rule,
        severity: int,
        confidence: str,
        session: Session,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        username: str | None,
        detail_text: str,
        count: i64,
    ) -> None:
        """The next finding, in its parts: a sink that only counts most of them need not have them made."""
        self.receive_finding(
            Finding(
                rule, severity, confidence, session, frame, timestamp_ns, offset, username, detail_text, count
            )
        )  # fmt: skip


class FindingList(FindingSink):
    """Keeps all findings."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def receive_finding(self, finding: Finding) -> None:
        self.findings.append(finding)


class Found:
    """What a rule is given beside the session: the history, and where to say what it found."""

    def __init__(
        self, sink: FindingSink, history: History, rule: Rule, trust: TrustStore, strength: PasswordJudge
    ) -> None:
        self.sink = sink
        self.history = history
        #: the rule that is being asked
        self.rule = rule
        self.trust = trust
        self.strength = strength
        #: a login that is known to be with the password that was looked at with the same account's last one
        self.repeated: Credential | None = None
        self._judged: Session | None = None
        self._problems: list[str] = []

    def certificate_problems(self, session: Session) -> list[str]:
        """What was wrong with the certificate of a session's server, as words of ``cert_problems``; judged once a session."""
        if self._judged is not session:
            tls = session.tls
            self._judged = session
            self._problems = []
            if tls is not None and tls.certificates:
                self._problems = judge(tls.certificates, tls.timestamp_ns, tls.sni, self.trust)
        return self._problems

    def add(
        self,
        session: Session,
        frame: i64,
        timestamp_ns: i64,
        offset: i64,
        *,
        severity: int = -1,
        confidence: str = SURE,
        username: str | None = None,
        detail: str = "",
        count: i64 = 0,
    ) -> None:
        """Say what was found, with its evidence. The rule's own severity counts where none is given."""
        rule = self.rule
        self.sink.receive_parts(
            rule, rule.severity if severity < 0 else severity, confidence, session, frame, timestamp_ns, offset,
            username, detail, count,
        )  # fmt: skip

    def add_start(
        self, session: Session, *, severity: int = -1, confidence: str = SURE, detail: str = "", count: i64 = 0
    ) -> None:
        """Say what was found of a session as a whole; the evidence is its first packet."""
        self.add(
            session,
            session.first_frame,
            session.start_ns,
            0,
            severity=severity,
            confidence=confidence,
            detail=detail,
            count=count,
        )
