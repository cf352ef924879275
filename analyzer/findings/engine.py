"""Runs the rules: sessions in order of their start go in, findings come out."""

from __future__ import annotations

import traceback
from typing import Final

from analyzer.capture.base import CaptureStats
from analyzer.findings.base import (
    ANOMALIES,
    ANONYMOUS,
    CERTIFICATE,
    CLEAR,
    COMPRESSED,
    CONFLICT,
    CREDENTIALS,
    DELETED,
    FALLBACK,
    INCOMPLETE,
    LISTED,
    MARKED,
    MESSAGES,
    NO_OFFER,
    NOT_MAIL,
    OFFERED_CLEAR,
    PASSWORDS,
    PORT_25,
    REJECTED_HERE,
    REJECTIONS,
    RESPONSES,
    SUBMISSION,
    SURE,
    TLS,
    TOKENS,
    UNUSUAL_PORT,
    VALID_PASSWORDS,
    Finding,
    FindingList,
    FindingSink,
    Found,
    Rule,
)
from analyzer.findings.catalogue import BY_SLUG, RULES
from analyzer.findings.history import History
from analyzer.findings.strength import PasswordJudge
from analyzer.findings.traits import counted
from analyzer.protocols.events import BEARER_TOKEN, CANCELLED, CHALLENGE_RESPONSE, PASSWORD, REJECTED
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.ordering import in_order
from analyzer.sessions.records import COMPLETE, NOT_OFFERED, OFFERED, PLAINTEXT, REFUSED, UNKNOWN, Credential, Session

#: Sentences about rules that failed.
MAX_FAULTS: Final = 20


class Engine:
    """Asks every rule about every session.

    Give it sessions in order of their start (:func:`in_order`), then :meth:`close` it. ``faults`` are sentences about rules that
    failed: one that does is contained, and the others go on.
    """

    def __init__(
        self,
        sink: FindingSink,
        *,
        rules: list[Rule] | None = None,
        history: History | None = None,
        trust: TrustStore | None = None,
        strength: PasswordJudge | None = None,
    ) -> None:
        self.rules: list[Rule] = RULES if rules is None else rules
        self.history: History = History() if history is None else history
        self.found = Found(
            sink,
            self.history,
            self.rules[0] if self.rules else RULES[0],
            TrustStore() if trust is None else trust,
            PasswordJudge() if strength is None else strength,
        )
        self.faults: list[str] = []
        #: bits of a session -> the rules to ask
        self._asked: dict[int, list[Rule]] = {}
        self._faulty: dict[str, int] = {}

    def receive(self, session: Session, repeated: Credential | None = None) -> None:
        """The next session. ``repeated`` is a login with the very password that its account's one before at this server was taken with.

        Where that is known, it saves looking; nothing else depends on it.
        """
        bits = traits_of(session, self.history)
        asked = self._asked.get(bits)
        if asked is None:
            asked = [rule for rule in self.rules if rule.needs & bits == rule.needs]
            self._asked[bits] = asked
        found = self.found
        found.repeated = repeated
        for rule in asked:
            found.rule = rule
            try:
                rule.judge(session, found)
            except Exception as error:  # noqa: BLE001 - a rule of ours that fails costs its findings, nothing else
                self._contain(rule, session, error)

    def receive_capture(self, stats: CaptureStats) -> None:
        """A capture file, for what is wrong with it as a whole."""
        rule = BY_SLUG["capture-loss"]
        if rule not in self.rules:
            return
        if stats.dropped:
            self._add_loss(rule, stats, f"the capturing system lost {counted(stats.dropped, 'packet')}", stats.dropped)
        if stats.damaged or stats.cut:
            what = "the file ends in the middle of a packet"
            if stats.damaged:
                what = f"the file is damaged at {counted(stats.damaged, 'place')}"
            were = "was" if stats.skipped_bytes == 1 else "were"
            skipped = f"{counted(stats.skipped_bytes, 'octet')} {were} skipped"
            self._add_loss(rule, stats, f"{what}, {skipped}", stats.skipped_bytes)

    def _add_loss(self, rule: Rule, stats: CaptureStats, detail: str, count: int) -> None:
        finding = Finding(rule, rule.severity, SURE, None, 0, stats.first_ns, 0, None, detail, count)
        finding.capture = stats.name
        self.found.sink.receive_finding(finding)

    def notes(self) -> list[str]:
        """Sentences for the user about what the findings lack: rules that failed, passwords not judged, memory that was full."""
        notes = list(self.faults)
        history = self.history
        strength = self.found.strength
        if history.passwords_left_out:
            notes.append(
                f"the strength of passwords was judged for the first {strength.asked:,} different ones; "
                f"{history.passwords_left_out:,} {'login was' if history.passwords_left_out == 1 else 'logins were'} left out"
            )
        forgotten = history.forgotten()
        if forgotten:
            notes.append(
                f"servers, clients and accounts were too many to keep in mind, {forgotten:,} times one was forgotten: "
                "findings that compare sessions may lack some"
            )
        return notes

    def close(self) -> None:
        """All sessions are through."""
        found = self.found
        for rule in self.rules:
            if rule.conclude is not None:
                found.rule = rule
                try:
                    rule.conclude(found)
                except Exception as error:  # noqa: BLE001 - as above
                    self._contain(rule, None, error)

    def _contain(self, rule: Rule, session: Session | None, error: Exception) -> None:
        """A fault of ours: say so once a rule, and go on. What the error says may hold octets of the traffic, so only its kind is told."""
        times = self._faulty.get(rule.slug, 0)
        self._faulty[rule.slug] = times + 1
        if times == 0 and len(self.faults) < MAX_FAULTS:
            frames = traceback.extract_tb(error.__traceback__)
            where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
            at = "" if session is None else f" on the session of frame {session.first_frame} in {session.capture}"
            self.faults.append(
                f"a fault of mailtap: rule {rule.slug} failed with {type(error).__name__}{where}{at}; its findings are incomplete, please report it"
            )


def traits_of(session: Session, history: History) -> int:
    """What a session has, as bits of ``Rule.needs``."""
    bits = 0
    mail = session.protocol != UNKNOWN
    credentials = session.credentials
    if credentials is not None:
        for credential in credentials:
            if credential.exposed:
                kind = credential.secret_kind
                if kind == PASSWORD:
                    bits |= CREDENTIALS | PASSWORDS
                    outcome = credential.outcome
                    if outcome != REJECTED and outcome != CANCELLED:
                        bits |= VALID_PASSWORDS
                elif kind == CHALLENGE_RESPONSE:
                    bits |= CREDENTIALS | RESPONSES
                elif kind == BEARER_TOKEN:
                    bits |= CREDENTIALS | TOKENS
                else:
                    bits |= CREDENTIALS | ANONYMOUS
        if session.auth_accepted != session.auth_attempts:
            bits |= REJECTIONS | REJECTED_HERE
        elif history.guessers > 0 or history.crowds > 0:
            bits |= REJECTIONS
    messages = session.message_list
    if messages is not None:
        bits |= MESSAGES
        for message in messages:
            if message.deleted:
                bits |= DELETED
                break
    tls = session.tls
    if tls is not None:
        tls.fill()
        bits |= TLS | FALLBACK
        if tls.certificates:
            bits |= CERTIFICATE
    elif history.failures > 0:
        bits |= FALLBACK
    if session.anomalies is not None:
        bits |= ANOMALIES | MARKED
    state = session.starttls
    if state == REFUSED:
        bits |= MARKED
    if mail and session.transport == PLAINTEXT:
        bits |= CLEAR
        if state == OFFERED:
            bits |= OFFERED_CLEAR
        elif state == NOT_OFFERED:
            bits |= NO_OFFER
        elif state == REFUSED:
            bits |= NO_OFFER | OFFERED_CLEAR
    if session.capabilities is not None:
        bits |= LISTED
    service = session.port_service
    if service is None:
        if mail and not session.proxied:
            bits |= UNUSUAL_PORT
    elif service == "smtp":
        if session.server_port == 25:
            bits |= PORT_25
    elif service == "submission" or service == "submissions":
        bits |= SUBMISSION
    if session.not_mail is not None:
        bits |= NOT_MAIL
    if session.completeness != COMPLETE or session.gap_bytes > 0 or session.truncated:
        bits |= INCOMPLETE
    if session.conflict_bytes > 0:
        bits |= CONFLICT
    if session.compressed:
        bits |= COMPRESSED
    return bits


def push_findings(sessions: list[Session], captures: list[CaptureStats], engine: Engine, ordered: bool = False) -> None:
    """Run all rules over all sessions and captures of a run. ``ordered``: the sessions are as :func:`in_order` would have them."""
    for stats in captures:
        engine.receive_capture(stats)
    for session in sessions if ordered else in_order(sessions):
        engine.receive(session)
    engine.close()


def find(
    sessions: list[Session],
    captures: list[CaptureStats] | None = None,
    *,
    rules: list[Rule] | None = None,
    history: History | None = None,
    trust: TrustStore | None = None,
    strength: PasswordJudge | None = None,
) -> list[Finding]:
    """The findings of a run's sessions, in order of their sessions; see :class:`Engine` for the arguments."""
    sink = FindingList()
    push_findings(sessions, captures or [], Engine(sink, rules=rules, history=history, trust=trust, strength=strength))
    return sink.findings
