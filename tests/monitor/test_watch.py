"""What the monitor finds while packets pass is what an offline run finds in the same packets."""

from __future__ import annotations

import pickle
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.traffic import Talk

from analyzer.capture.base import RecordList, RecordSink
from analyzer.capture.files import read_capture
from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.findings.base import Finding
from analyzer.findings.engine import find
from analyzer.monitor import watch as watching
from analyzer.monitor.base import Alert, MonitorState
from analyzer.monitor.batch import Batch
from analyzer.monitor.loop import TURN_S, PacketLoop
from analyzer.monitor.watch import MAX_SEEN, Watch, split_rules
from analyzer.pipeline import run
from analyzer.sessions.records import Session

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = sorted(path for path in CAPTURES.iterdir() if path.suffix in (".pcap", ".pcapng"))
KEY = b"a key of this test"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples overlap for longer, and a busy machine reads slower, than the monitor waits; and a look takes as long as it takes."""
    monkeypatch.setattr(watching, "HOLD_NS", 1 << 62)
    monkeypatch.setattr(watching, "PATIENCE_NS", 1 << 62)
    monkeypatch.setattr(watching, "LOOK_S", 3600.0)
    monkeypatch.setattr(watching, "TURN_S", 3600.0)


class Replay(LiveSource):
    """The packets of a file, a few at each read."""

    def __init__(self, path: Path, step: int = 7) -> None:
        super().__init__(str(path))
        self.kind = "replay"
        records = RecordList()
        read_capture(str(path), records)
        self._left: Iterator[tuple[int, int, bytes, int, int]] = iter(records.records)
        self._step = step
        self._counters = LiveCounters()

    def read(self, sink: RecordSink) -> int:
        count = 0
        for timestamp_ns, linktype, data, wire_length, frame in self._left:
            sink.receive_record(data, 0, len(data), wire_length, linktype, timestamp_ns, frame)
            self._counters.packets += 1
            self._counters.last_ns = timestamp_ns
            count += 1
            if count == self._step:
                return count
        self.finished = count == 0
        return count

    def counters(self) -> LiveCounters:
        return self._counters


class Shelf:
    """Keeps what a store would hold."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[Session, bool]] = {}
        self.findings: dict[str, tuple[Finding, bool]] = {}
        self.alerts: list[Alert] = []

    def keep(self, batch: Batch) -> None:
        for session, final in batch.sessions:
            self.sessions[session.session_id()] = (session, final)
            if final:
                gone = [
                    name
                    for name, (finding, settled) in self.findings.items()
                    if not settled
                    and finding.session is not None
                    and finding.session.session_id() == session.session_id()
                ]
                for name in gone:
                    del self.findings[name]
        for finding, final in batch.findings:
            self.findings[finding.finding_id()] = (finding, final)


def seal(session: Session) -> None:
    for credential in session.credentials or []:
        for secret in (credential.secret, credential.response):
            if secret is not None:
                secret.seal(KEY)


def watched(path: Path, every: int = 1) -> tuple[Shelf, MonitorState]:
    """A file as if its packets came one by one, the watch looking on after each few."""
    shelf = Shelf()
    state = MonitorState("1", "here", 0)
    watch = Watch(state, seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    loop = PacketLoop([Replay(path)], watch, state)
    turns = 0
    while not loop.sources[0].finished:
        loop._read_all()
        turns += 1
        if turns % every == 0:
            watch.turn()
    loop.finish()
    return shelf, state


def comparable(findings: list[Finding]) -> list[tuple[object, ...]]:
    return sorted(
        (
            one.slug, one.severity, one.confidence, one.frame, one.timestamp_ns, one.offset, one.username or "", one.detail(),
            "" if one.session is None else one.session.session_id(),
        )
        for one in findings
        if one.session is not None
    )  # fmt: skip


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_live_finds_what_offline_finds(path: Path) -> None:
    result = run(str(path))
    for session in result.sessions:
        seal(session)
    sealed = [pickle.loads(pickle.dumps(session)) for session in result.sessions]
    shelf, _ = watched(path)
    assert all(final for _, final in shelf.sessions.values())
    assert sorted(shelf.sessions) == sorted(session.session_id() for session in result.sessions)
    live = [finding for finding, final in shelf.findings.values() if final]
    assert len(live) == len(shelf.findings)
    assert comparable(live) == comparable(find(sealed))


def test_what_is_told_is_told_once_and_is_what_is_kept() -> None:
    shelf, state = watched(CAPTURES / "office.pcapng")
    told = [(alert.rule, alert.session_id, alert.username, alert.time_ns, alert.severity) for alert in shelf.alerts]
    assert len(told) == len(set(told))
    kept = {
        (one.slug, one.session.session_id(), one.username, int(one.timestamp_ns), one.severity_word())
        for one, _ in shelf.findings.values()
        if one.session is not None
    }
    assert {one for one in told if one[1] is not None} == kept
    assert sum(state.findings.values()) == len(told)
    assert sum(state.sessions.values()) == len(shelf.sessions)
    assert state.exposed_logins == sum(
        one.exposed and one.secret_kind != "none"
        for session, _ in shelf.sessions.values()
        for one in session.credentials or []
    )


def test_a_login_is_told_while_its_session_goes_on() -> None:
    """A client that stays connected all day is told of when it is let in, with the server's answer, not when it leaves."""
    path = CAPTURES / "imap-idle-append.pcap"
    offline = [one for one in find(run(str(path)).sessions) if one.slug == "plaintext-password"]
    assert offline
    shelf = Shelf()
    watch = Watch(MonitorState("1", "", 0), seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    source = Replay(path, 1)
    loop = PacketLoop([source], watch, watch.state)
    for wanted in offline:
        session = wanted.session
        assert session is not None
        answered = max(one.outcome_frame for one in session.credentials or [])
        assert session.last_frame > answered
        while source.counters().packets < answered:
            loop._read_all()
        watch.turn()
        (alert,) = [
            one for one in shelf.alerts if one.rule == "plaintext-password" and one.client_port == session.client_port
        ]
        assert alert.severity == wanted.severity_word()
        assert alert.frame == wanted.frame
        _, final = shelf.sessions[session.session_id()]
        assert not final
    loop.finish()
    assert len([one for one in shelf.alerts if one.rule == "plaintext-password"]) == len(offline)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_rules_about_one_session_need_no_other(path: Path) -> None:
    """The rules asked when a session ends say the same whatever came before it: the list of those that compare is complete."""
    _, alone, across = split_rules()
    assert {rule.slug for rule in alone} & {rule.slug for rule in across} == set()
    sessions = run(str(path)).sessions
    for session in sessions:
        seal(session)
    together = find(sessions, rules=alone)
    apart = [one for session in sessions for one in find([session], rules=alone)]
    assert comparable(together) == comparable(apart)


def test_what_was_cut_off_by_the_end_of_a_run_is_told_by_the_next() -> None:
    path = CAPTURES / "guessing.pcap"
    shelf, _ = watched(path)
    across = {rule.slug for rule in split_rules()[2]}
    found = {name: one for name, (one, _) in shelf.findings.items() if one.slug in across}
    assert "brute-force" in {one.slug for one in found.values()}
    sessions = sorted((one for one, _ in shelf.sessions.values()), key=lambda one: one.start_ns)

    def restarted(known: set[str]) -> list[Alert]:
        again = Shelf()
        watch = Watch(MonitorState("1", "", 0), seal=seal, tell=again.alerts.append, keep=again.keep)
        watch.take_past(sessions, known)
        watch.turn()
        assert set(again.findings) == set(found) - known
        return again.alerts

    assert len(restarted(set())) == len(found)
    assert restarted(set(found)) == []


def test_loss_is_told_where_it_matters_and_not_again_at_once() -> None:
    shelf = Shelf()
    watch = Watch(MonitorState("1", "", 0), seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    watch.judge_loss("eth0", 10**10, 1, 0.0, 5)
    assert shelf.alerts == []
    watch.judge_loss("eth0", 10**10 + 1_000_000, 5001, 0.0, 5)
    watch.judge_loss("eth0", 10**10 + 1_000_100, 9000, 0.0, 5)
    watch.judge_loss("eth1", 1_000_100, 0, 9.0, 5)
    assert [(one.rule, one.detail) for one in shelf.alerts] == [
        ("capture-loss", "5,000 of 1,005,000 packets were lost on eth0 (5,001 since the start)"),
        ("capture-loss", "packets of eth1 are read 9 seconds late"),
    ]
    assert len({one.key() for one in shelf.alerts}) == 2


def test_lost_files_are_told_as_loss_and_what_is_lost_later_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf()
    watch = Watch(MonitorState("1", "", 0), seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    watch.judge_loss("ring", 100, 0, 0.0, 5, 0)
    assert shelf.alerts == []
    watch.judge_loss("ring", 200, 0, 0.0, 6, 1)
    watch.judge_loss("ring", 300, 0, 0.0, 7, 3)
    monkeypatch.setattr(watching, "LOSS_AGAIN_S", 0.0)
    watch.judge_loss("ring", 300, 0, 0.0, 8, 3)
    watch.judge_loss("ring", 400, 50, 0.0, 9, 4)
    assert [(one.rule, one.detail) for one in shelf.alerts] == [
        ("capture-loss", "1 file of ring was lost before mailtap had read to the end"),
        ("capture-loss", "2 files of ring were lost before mailtap had read to the end (3 since the start)"),
        (
            "capture-loss",
            "50 of 150 packets were lost on ring; 1 file of ring was lost before mailtap had read to the end (4 since the start)",
        ),
    ]


def test_a_fault_of_ours_costs_one_session_and_is_said() -> None:
    shelf = Shelf()
    wrecked: list[str] = []

    def fail_once(session: Session) -> None:
        seal(session)
        if not wrecked or wrecked[0] == session.session_id():
            wrecked[:] = [session.session_id()]
            message = "Tango7-quick"
            raise ValueError(message)

    path = CAPTURES / "pop3-login.pcap"
    watch = Watch(MonitorState("1", "", 0), seal=fail_once, tell=shelf.alerts.append, keep=shelf.keep)
    loop = PacketLoop([Replay(path)], watch, watch.state)
    loop.run()
    loop.finish()
    assert len(shelf.sessions) == len(run(str(path)).sessions) - 1
    assert wrecked[0] not in shelf.sessions
    assert watch.faults()
    assert all("ValueError" in fault and "Tango7" not in fault for fault in watch.faults())


class Frames(Replay):
    """Frames made by a test."""

    def __init__(self, frames: list[tuple[int, bytes]]) -> None:
        LiveSource.__init__(self, "made")
        self.kind = "replay"
        self._left = iter([(at, 1, frame, len(frame), number) for number, (at, frame) in enumerate(frames, 1)])
        self._step = 100
        self._counters = LiveCounters()


def live(lines: list[str], shelf: Shelf) -> tuple[Watch, PacketLoop]:
    """A watch over an IMAP connection that goes on after these lines; its packets are read, it is not judged yet."""
    watch = Watch(MonitorState("1", "", 0), seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    talk = Talk(server_port=143).play("\n".join(["S: * OK ready", *lines]))
    source = Frames(talk.frames())
    loop = PacketLoop([source], watch, watch.state)
    while not source.finished:
        loop._read_all()
    return watch, loop


def test_login_is_told_though_a_later_one_gets_no_answer_and_that_one_soon_after() -> None:
    shelf = Shelf()
    watch, loop = live(["C: a1 LOGIN amelie Tango7-quick", "C: a2 LOGIN bruno Zulu8-slow", "S: a1 OK in"], shelf)
    watch.turn()
    assert [(one.username, one.severity) for one in shelf.alerts if one.rule == "plaintext-password"] == [
        ("amelie", "critical")
    ]
    assert watch.state.exposed_logins == 1
    watch.turn()
    assert watch.state.exposed_logins == 1
    watch._later = deque([(0, stream) for _, stream in watch._later])  # the time is up
    watch.turn()
    assert watch.state.exposed_logins == 2
    assert [one.username for one in shelf.alerts if one.rule == "plaintext-password"] == ["amelie", "bruno"]
    loop.finish()
    assert watch.state.exposed_logins == 2
    assert [one.username for one in shelf.alerts if one.rule == "plaintext-password"] == ["amelie", "bruno"]


@pytest.mark.parametrize("answer", ["OK in", "NO no"])
def test_a_login_is_told_in_the_turn_after_its_answer(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """However fast the machine: a turn comes ``TURN_S`` after the one before, and what was answered until then is told in it."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "monotonic_ns", lambda: int(clock[0] * 1e9))
    shelf = Shelf()
    watch = Watch(MonitorState("1", "", 0), seal=seal, tell=shelf.alerts.append, keep=shelf.keep)
    lines = ["S: * OK ready", "C: a1 LOGIN amelie Tango7-quick", f"S: a1 {answer}", "C: a2 NOOP", "S: a2 OK done"]
    source = Frames(Talk(server_port=143).play("\n".join(lines)).frames())
    source._step = 1
    loop = PacketLoop([source], watch, watch.state)
    told: dict[int, list[float]] = {}
    while not source.finished:
        loop._read_all()
        for _ in range(2):
            # The first half of the time is not enough, and none is left over.
            clock[0] += TURN_S / 2
            loop.tick()
            if any(one.rule == "plaintext-password" for one in shelf.alerts):
                told.setdefault(source.counters().packets, []).append(clock[0])
    loop.finish()
    ((session, _),) = shelf.sessions.values()
    (login,) = session.credentials or []
    assert min(told) == login.outcome_frame < source.counters().packets
    assert TURN_S < 1


def test_what_a_look_takes_of_a_session_is_bounded() -> None:
    """Thousands of logins in one connection cost no more at each look than hundreds, and all of them are told."""
    shelf = Shelf()
    tries = 600
    lines = [
        line
        for number in range(tries)
        for line in (f"C: a{number} LOGIN user{number} Tango7-{number}", f"S: a{number} NO no")
    ]
    watch, loop = live(lines, shelf)
    watch.turn()
    ((session, final),) = shelf.sessions.values()
    assert not final
    assert len(session.credentials or []) == MAX_SEEN
    loop.finish()
    ((session, final),) = shelf.sessions.values()
    assert final
    assert len(session.credentials or []) == watch.state.exposed_logins == tries
    assert len({one.username for one in shelf.alerts if one.rule == "plaintext-password"}) == tries
