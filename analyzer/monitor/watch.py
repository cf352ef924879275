"""Judges sessions as they go and when they end: what the monitor does beside reading packets.

A session is judged three times. While it lives, whenever there is news of it (a login was answered, an upgrade refused), by the rules
whose verdict nothing that follows can change: an alert is out within a second of the reply. When both sides have closed it, by all
rules that look at one session alone; and, in order of start, by those that compare sessions (``ACROSS``). When the flow is over, late
packets included, once more: what was found before is provisional, and replaced.

Rules that compare sessions are given them in order of start, as offline, but cannot wait for a connection that stays open all day:
a session waits ``HOLD_NS`` for those that began before it. Where connections overlap for longer, such a finding may rest on another of
them than offline; ``mailtap report`` judges what is in the store again in full order, and so says what an offline run says.

A login that has no answer yet is told once it has one, or after ``PATIENCE_NS``: a server that never answers hides nothing. A look
takes the latest ``MAX_SEEN`` logins and messages of a session, and a turn so many milliseconds, whatever the traffic makes of it; what
is left waits for the next turn, in order.

From here on no record holds a secret: they are sealed (fingerprint, length, strength) before a session is copied and kept.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Final

from analyzer.capture.base import CaptureStats
from analyzer.findings.base import Finding, FindingList, Rule
from analyzer.findings.catalogue import BY_SLUG, RULES
from analyzer.findings.engine import Engine
from analyzer.findings.history import History
from analyzer.monitor.base import Alert, MonitorState, alert_of
from analyzer.monitor.batch import Batch
from analyzer.protocols.events import NO_SECRET
from analyzer.report.wording import plural
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.dispatch import SessionStream, SessionStreamFactory
from analyzer.sessions.ordering import in_order
from analyzer.sessions.records import Session, SessionSink

#: Rules that compare a session with others, or say something of a server once: they need all sessions, in order of start.
ACROSS: Final = (
    "plaintext-auth-offered",
    "starttls-offer-vanished",
    "tls-fallback-to-plaintext",
    "capability-suppressed",
    "sasl-downgrade",
    "certificate-expiring",
    "certificate-untrusted",
    "brute-force",
    "password-spraying",
    "password-reuse",
    "weak-password",
)
#: Rules whose finding in a session that goes on is there to stay.
AT_ONCE: Final = (
    "plaintext-password",
    "plaintext-token",
    "challenge-response-in-clear",
    "plaintext-message",
    "password-sent-though-forbidden",
    "mail-before-starttls",
    "starttls-stripped",
    "starttls-refused",
    "starttls-command-injection",
    "starttls-response-injection",
    "imap-preauth",
    "untagged-data-before-tls",
    "plaintext-on-tls-port",
    "tls-on-plaintext-port",
    "auth-on-port-25",
    "anonymous-login",
)
#: How long a session that is over waits for those that began before it, before rules that compare sessions are asked.
HOLD_NS: Final = 800_000_000
#: Findings remembered as told, and sessions remembered as given to the rules that compare.
MAX_TOLD: Final = 20_000
#: Sentences about sessions that could not be kept.
MAX_FAULTS: Final = 20
#: How long a login may wait for its answer before it is told without.
PATIENCE_NS: Final = 1_500_000_000
#: Logins and messages of a living session that a look takes; larger ones are judged as a whole when they are over.
MAX_SEEN: Final = 200
#: Seconds of a turn for sessions that live, and for those that are over; more of these than that are not put off any more.
LOOK_S: Final = 0.06
TURN_S: Final = 0.12
MAX_ENDED: Final = 20_000
#: Stored sessions given to the rules that compare in one turn, after a restart.
PAST_A_TURN: Final = 200
#: Drops are told again no sooner than this, and only if they are more than one packet in so many since the last look at them;
#: looks that found less are this far apart.
LOSS_AGAIN_S: Final = 600.0
LOSS_SHARE: Final = 10_000
LOSS_LOOK_S: Final = 60.0
#: Seconds behind the wire that are told as loss is.
LAG_S: Final = 5.0


def split_rules(rules: Iterable[Rule] = tuple(RULES)) -> tuple[list[Rule], list[Rule], list[Rule]]:
    """The rules in three lists: those asked while a session lives, those about one session alone, those that compare sessions."""
    every = list(rules)
    alone = [rule for rule in every if rule.slug not in ACROSS]
    return [rule for rule in alone if rule.slug in AT_ONCE], alone, [rule for rule in every if rule.slug in ACROSS]


class Watch(SessionSink):
    """Takes sessions from the flow table, and news of those that live; gives findings to ``tell`` and batches to ``keep``.

    ``seal`` is called with each session before it is copied; it must leave fingerprints in place of secrets. ``tell`` gets each
    finding once, as an alert; ``keep`` gets what is to be stored. Neither may block.
    """

    def __init__(
        self,
        state: MonitorState,
        *,
        seal: Callable[[Session], None],
        tell: Callable[[Alert], None],
        keep: Callable[[Batch], None],
        trust: TrustStore | None = None,
        history: History | None = None,
    ) -> None:
        self.state = state
        #: those of the pipelines that give sessions; set once they are there, for the two need each other
        self.factories: list[SessionStreamFactory] = []
        #: what the sources have counted so far; set as well
        self.counted: Callable[[], list[CaptureStats]] | None = None
        self._seal = seal
        self._tell = tell
        self._keep = keep
        trust = TrustStore() if trust is None else trust
        at_once, alone, across = split_rules()
        self._found = FindingList()
        self._at_once = Engine(self._found, rules=at_once, trust=trust)
        self._alone = Engine(self._found, rules=alone, trust=trust)
        self._across = Engine(self._found, rules=across, trust=trust, history=history)
        #: over, and not judged yet
        self._ended: list[Session] = []
        #: (monotonic time of arrival, session) that wait for those that began before them
        self._held: list[tuple[int, Session]] = []
        #: sessions given to the rules that compare, whose flow is not over yet
        self._given: OrderedDict[str, bool] = OrderedDict()
        self._told: OrderedDict[tuple[str, str | None, str | None, int, int], bool] = OrderedDict()
        self._batch = Batch()
        self._faults: list[str] = []
        #: living connections of which there is news, and those that are looked at again: when, and which
        self._news: deque[SessionStream] = deque()
        self._later: deque[tuple[int, SessionStream]] = deque()
        self._waiting: set[int] = set()
        #: session -> its logins counted so far, for sessions that are not over
        self._counted: dict[str, set[int]] = {}
        #: sessions of an earlier run that the rules that compare are still to be given, and findings told then; None: not loaded yet
        self._past: deque[Session] | None = deque()
        self._known: set[str] = set()
        #: source -> packets, drops and lost files at the last look at them, when that was, and when loss was told last
        self._losses: dict[str, tuple[int, int, int, float, float]] = {}

    def faults(self) -> list[str]:
        """Sentences about what failed in us: rules, and sessions that could not be kept."""
        return [*self._faults, *self._at_once.faults, *self._alone.faults, *self._across.faults]

    def receive_session(self, session: Session) -> None:
        self._ended.append(session)

    # -- several times a second --------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Judge what there is news of, and hand on what was found. Takes little more than ``TURN_S``, or is made up for later."""
        began = time.monotonic()
        for factory in self.factories:
            if factory.stirred:
                self._news.extend(factory.stirred)
                factory.stirred = []
        self._look_around(began + LOOK_S)
        self._finish_some(began + TURN_S)
        self._remember_some(PAST_A_TURN)
        if not self._past and self._past is not None:
            self._compare(HOLD_NS)
        self._hand_on()

    def _look_around(self, until: float) -> None:
        """Living connections of which there is news, then those whose login waits for an answer for too long."""
        news, later = self._news, self._later
        while news and time.monotonic() < until:
            self._look_at(news.popleft(), patient=True)
        now = time.monotonic_ns()
        while later and later[0][0] <= now and time.monotonic() < until:
            stream = later.popleft()[1]
            self._waiting.discard(id(stream))
            self._look_at(stream, patient=False)

    def _look_at(self, stream: SessionStream, *, patient: bool) -> None:
        closed = stream.is_closed()
        session = stream.so_far()
        if session is None:
            return
        large = _records(session) > MAX_SEEN
        if closed and large:
            return  # it is judged as a whole in a moment
        try:
            copy = self._copy(session, MAX_SEEN if large else 0)
            if patient and not closed and _leave_unanswered(copy) and id(stream) not in self._waiting:
                self._waiting.add(id(stream))
                self._later.append((time.monotonic_ns() + PATIENCE_NS, stream))
            self._look(copy, closed)
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this look, nothing else
            self._contain(session, error)

    def _finish_some(self, until: float) -> None:
        ended = self._ended
        done = 0
        for session in ended:
            if time.monotonic() > until and len(ended) - done < MAX_ENDED:
                break
            done += 1
            try:
                self._finish(self._copy(session))
            except Exception as error:  # noqa: BLE001 - a fault of ours costs this session, nothing else
                self._contain(session, error)
        self._ended = ended[done:]

    def finish(self) -> None:
        """The monitor stops, all flows have been ended: judge everything that is left."""
        self._news.clear()
        self._later.clear()
        for factory in self.factories:
            factory.stirred = []
        self._finish_some(float("inf"))
        self._remember_some(len(self._past or ()))
        self._compare(-1)
        self._across.close()
        self._take(final=True)
        self._hand_on()

    def _contain(self, session: Session, error: Exception) -> None:
        """A fault of ours: said, a few times; where it happened and what kind it was, for its message may quote the traffic."""
        if len(self._faults) < MAX_FAULTS:
            frames = traceback.extract_tb(error.__traceback__)
            where = f" ({frames[-1].name}, line {frames[-1].lineno})" if frames else ""
            self._faults.append(
                f"a fault of mailtap: the session of frame {session.first_frame} of {session.capture} could not be judged or kept: "
                f"{type(error).__name__}{where}; please report it"
            )

    def _copy(self, session: Session, most: int = 0) -> Session:
        """A copy without secrets, with the latest logins and messages alone where ``most`` says so; the original goes on, or goes."""
        self._seal(session)
        credentials, messages = session.credentials, session.message_list
        if most:
            session.credentials = credentials and credentials[-most:]
            session.message_list = messages and messages[-most:]
        try:
            copy: Session = pickle.loads(pickle.dumps(session, 5))  # noqa: S301 - made in the same line
        finally:
            session.credentials, session.message_list = credentials, messages
        return copy

    def _look(self, session: Session, closed: bool) -> None:
        """A session that lives, or whose flow waits for late packets only."""
        self._batch.sessions.append((session, False))
        self._count_exposed(session)
        if closed:
            self._alone.receive(session)
            self._give(session)
        else:
            self._at_once.receive(session)
        self._take(final=False)

    def _finish(self, session: Session) -> None:
        """A session that is over."""
        self._batch.sessions.append((session, True))
        self._count_exposed(session)
        self._counted.pop(session.session_id(), None)
        self._alone.receive(session)
        self._take(final=True)
        if self._given.pop(session.session_id(), None) is None:
            self._give(session, remember=False)

    def _give(self, session: Session, *, remember: bool = True) -> None:
        """Put a session in line for the rules that compare, once."""
        if remember:
            key = session.session_id()
            if key in self._given:
                return
            self._given[key] = True
            if len(self._given) > MAX_TOLD:
                self._given.popitem(last=False)
        self.state.sessions[(session.protocol, session.transport)] += 1
        self._held.append((time.monotonic_ns(), session))

    def _compare(self, hold_ns: int) -> None:
        """Give those that have waited long enough, and all that began before them, to the rules that compare sessions."""
        if not self._held:
            return
        due = time.monotonic_ns() - hold_ns
        latest = max((session.start_ns for arrived, session in self._held if arrived <= due), default=None)
        if latest is None:
            return
        ready = [session for _, session in self._held if session.start_ns <= latest]
        self._held = [one for one in self._held if one[1].start_ns > latest]
        for session in in_order(ready):
            self._across.receive(session)
        self._take(final=True)

    # -- what was found ----------------------------------------------------------------------------------------------------------

    def _take(self, *, final: bool) -> None:
        """Findings of the engines become rows to keep and, where they are new, alerts."""
        findings, self._found.findings = self._found.findings, []
        for finding in findings:
            self._batch.findings.append((finding, final))
            self._raise(finding)

    def _raise(self, finding: Finding) -> None:
        session = finding.session
        key = (
            finding.slug,
            finding.capture if session is None else session.session_id(),
            finding.username,
            int(finding.timestamp_ns),
            finding.severity,
        )
        if key in self._told:
            return
        self._told[key] = True
        if len(self._told) > MAX_TOLD:
            self._told.popitem(last=False)
        self.state.findings[(finding.slug, finding.severity_word())] += 1
        alert = alert_of(finding, self.state.sensor)
        self._tell(alert)

    def _count_exposed(self, session: Session) -> None:
        """Count what could be read of a session's logins, each once, while it lives."""
        exposed = [one for one in session.credentials or [] if one.exposed and one.secret_kind != NO_SECRET]
        if not exposed:
            return
        state = self.state
        counted = self._counted.get(session.session_id())
        if counted is None:
            counted = self._counted[session.session_id()] = set()
            state.count_name(state.exposed_clients, session.client_ip)
            state.count_name(state.exposed_servers, f"{session.server_ip} port {session.server_port}")
        for one in exposed:
            if one.exchange not in counted:
                counted.add(one.exchange)
                state.exposed_logins += 1
                if one.username:
                    state.count_name(state.exposed_accounts, one.username)

    def _hand_on(self) -> None:
        if self._batch.sessions or self._batch.findings or self._batch.captures:
            batch, self._batch = self._batch, Batch()
            if batch.sessions and self.counted is not None:
                # With each session goes, in one transaction, a count that its packets are in: a kill may come at any time.
                batch.captures = self.counted()
            self._keep(batch)

    # -- sources -----------------------------------------------------------------------------------------------------------------

    def keep_captures(self, captures: list[CaptureStats]) -> None:
        """What the sources have counted so far, for the store."""
        self._batch.captures = captures

    def judge_loss(self, name: str, packets: int, dropped: int, lag_s: float, now_ns: int, files: int = 0) -> None:
        """Raise ``capture-loss`` where a source has lost packets or files since it was last told of, or reads far behind the wire."""
        now = time.monotonic()
        packets_then, dropped_then, files_then, looked, told = self._losses.get(
            name, (0, 0, 0, now - LOSS_LOOK_S, now - LOSS_AGAIN_S)
        )
        if now - told < LOSS_AGAIN_S:
            return
        lost, lost_files = dropped - dropped_then, files - files_then
        said: list[str] = []
        if lost * LOSS_SHARE > packets - packets_then + lost:
            since = "" if dropped == lost else f" ({dropped:,} since the start)"
            said.append(f"{lost:,} of {packets - packets_then + lost:,} packets were lost on {name}{since}")
        elif lag_s > LAG_S:
            said.append(f"packets of {name} are read {lag_s:.0f} seconds late")
        if lost_files > 0:
            since = "" if files == lost_files else f" ({files:,} since the start)"
            were = "was" if lost_files == 1 else "were"
            said.append(f"{plural(lost_files, 'file')} of {name} {were} lost before mailtap had read to the end{since}")
        if not said:
            if now - looked >= LOSS_LOOK_S:
                self._losses[name] = (packets, dropped, files, now, told)
            return
        detail = "; ".join(said)
        self._losses[name] = (packets, dropped, files, now, now)
        rule = BY_SLUG["capture-loss"]
        finding = Finding(rule, rule.severity, "high", None, 0, now_ns, 0, None, detail, max(lost, lost_files, 0))
        finding.capture = name
        self._found.findings.append(finding)
        self._take(final=True)

    # -- after a restart ---------------------------------------------------------------------------------------------------------

    def expect_past(self) -> None:
        """The past is being loaded: the rules that compare sessions wait for it."""
        self._past = None

    def take_past(self, sessions: Iterable[Session], known: set[str]) -> None:
        """Stored sessions, in order of start, for the rules that compare: some in each turn, before those of now.

        ``known`` are the identifiers of findings in the store: what is found and not among them was cut off by the end of the
        last run, and is told now.
        """
        self._past = deque(sessions)
        self._known = known

    def _remember_some(self, most: int) -> None:
        past = self._past
        if not past:
            return
        for _ in range(min(most, len(past))):
            self._across.receive(past.popleft())
        findings, self._found.findings = self._found.findings, []
        for finding in findings:
            if finding.finding_id() not in self._known:
                self._batch.findings.append((finding, True))
                self._raise(finding)
        if not past:
            self._known = set()


def _records(session: Session) -> int:
    return len(session.credentials or ()) + len(session.message_list or ())


def _leave_unanswered(session: Session) -> bool:
    """Take logins that have no answer yet out of a copy; whether there were any. Told now, they would be told once as sent."""
    credentials = session.credentials
    if not credentials:
        return False
    answered = [one for one in credentials if one.outcome != "unknown" or one.outcome_frame]
    if len(answered) == len(credentials):
        return False
    session.credentials = answered or None
    return True
