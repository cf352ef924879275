"""The loop: time, sources that come and go, the stop."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import PATIENCE, until

from analyzer.capture.base import RecordList, RecordSink
from analyzer.capture.files import read_capture
from analyzer.capture.follow import FolderSource
from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.monitor.base import Alert, MonitorState
from analyzer.monitor.batch import Batch
from analyzer.monitor.loop import PacketLoop
from analyzer.monitor.metrics import metrics_page
from analyzer.monitor.watch import Watch
from analyzer.pipeline import run
from analyzer.sessions.records import Session

SAMPLES = Path(__file__).parents[2] / "captures"
HOUR_NS = 3_600_000_000_000

Record = tuple[int, int, bytes, int, int]


def records_at(start_ns: int, sample: str = "pop3-login.pcap") -> list[Record]:
    """The packets of a sample, as if its first had come at a time."""
    records = RecordList()
    read_capture(str(SAMPLES / sample), records)
    shift = start_ns - records.records[0][0]
    return [(one[0] + shift, *one[1:]) for one in records.records]


class Interface(LiveSource):
    """Gives what it was told, then nothing; like a ring it never ends."""

    def __init__(self, records: list[Record]) -> None:
        super().__init__("eth0")
        self.kind = "ring"
        self.records = records
        self.closed = False
        self._counters = LiveCounters()

    def read(self, sink: RecordSink) -> int:
        taken, self.records = self.records[:50], self.records[50:]
        for timestamp_ns, linktype, data, wire_length, frame in taken:
            sink.receive_record(data, 0, len(data), wire_length, linktype, timestamp_ns, frame)
            self._counters.packets += 1
            self._counters.last_ns = timestamp_ns
        return len(taken)

    def counters(self) -> LiveCounters:
        return self._counters

    def close(self) -> None:
        self.closed = True


class Kept:
    def __init__(self) -> None:
        self.sessions: dict[str, tuple[Session, bool]] = {}
        self.alerts: list[Alert] = []

    def keep(self, batch: Batch) -> None:
        self.sessions.update({session.session_id(): (session, final) for session, final in batch.sessions})

    def final(self) -> int:
        return sum(final for _, final in self.sessions.values())


def loop_over(*sources: LiveSource) -> tuple[PacketLoop, Kept]:
    kept = Kept()
    watch = Watch(MonitorState("1", "", 0), seal=lambda _: None, tell=kept.alerts.append, keep=kept.keep)
    return PacketLoop(list(sources), watch, watch.state), kept


def patience() -> Iterator[bool]:
    """False until the time is up: for loops that wait for something."""
    end = time.monotonic() + PATIENCE
    while True:
        yield time.monotonic() > end


@pytest.mark.slow
def test_sessions_become_final_when_no_more_packets_come() -> None:
    """Closed connections wait for late packets; on a quiet line it is the clock that ends the wait, not the next packet."""
    source = Interface(records_at(time.time_ns() - 10 * 1_000_000_000))
    loop, kept = loop_over(source)
    up = patience()
    loop.run(lambda: next(up) or (bool(kept.sessions) and kept.final() == len(kept.sessions)))
    assert kept.sessions
    assert kept.final() == len(kept.sessions)
    assert not source.closed
    loop.finish()
    assert source.closed


@pytest.mark.slow
def test_clock_that_is_set_back_holds_nothing_up() -> None:
    """Time goes back by an hour: what was closed before is told now, and what comes after is told when it is over, not an hour later."""
    now = time.time_ns()
    source = Interface(records_at(now))
    loop, kept = loop_over(source)
    while source.records:
        loop._read_all()
    before = loop.pipelines[0].table.flows_open
    assert before
    source.records = records_at(now - HOUR_NS, "imap-login.pcap")
    wanted = before + len(run(str(SAMPLES / "imap-login.pcap")).sessions)
    up = patience()
    loop.run(lambda: next(up) or kept.final() >= wanted)
    assert kept.final() == len(kept.sessions) == wanted
    loop.finish()


def test_stop_tells_of_open_sessions() -> None:
    records = records_at(time.time_ns())
    source = Interface(records[: len(records) // 2])
    loop, kept = loop_over(source)

    def stop() -> None:
        until(lambda: source._counters.packets == len(records) // 2)
        loop.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    loop.run()
    stopper.join()
    loop.finish()
    assert kept.sessions
    assert kept.final() == len(kept.sessions)
    assert "truncated" in {session.completeness for session, _ in kept.sessions.values()}


def test_ends_when_no_source_will_give_anything_any_more() -> None:
    one, other = Interface([]), Interface(records_at(time.time_ns()))
    one.finished = True

    def read(sink: RecordSink) -> int:
        count = Interface.read(other, sink)
        other.finished = count == 0
        return count

    other.read = read  # type: ignore[method-assign]
    loop, kept = loop_over(one, other)
    loop.run()
    loop.finish()
    assert kept.final() == len(kept.sessions) > 0
    assert [stats.packets for stats in loop.captures()] == [0, other.counters().packets]


def test_same_connection_on_two_interfaces_is_told_of_its_source() -> None:
    first, second = Interface(records_at(time.time_ns())), Interface([])
    second.name = "eth1"
    loop, kept = loop_over(first, second)
    while first.records:
        loop._read_all()
    second.records = records_at(time.time_ns() + 60_000_000_000)
    while second.records:
        loop._read_all()
    loop.finish()
    assert {session.capture for session, _ in kept.sessions.values()} == {"eth0", "eth1"}


def test_files_of_a_ring_that_were_gone_before_they_were_read_are_counted_and_told(tmp_path: Path) -> None:
    """Of a ring that is too small: files come and go between two looks at its folder."""
    first, later = tmp_path / "r_00001_20260302090000.pcap", tmp_path / "r_00004_20260302090003.pcap"
    shutil.copy(SAMPLES / "pop3-login.pcap", first)
    source = FolderSource(str(tmp_path))
    source.open()
    loop, kept = loop_over(source)
    until(lambda: loop._read_all() == 0)
    assert loop.captures()[0].warnings == []
    assert loop.watch.state.snapshot()["lost_files"] == 0
    first.unlink()
    shutil.copy(SAMPLES / "imap-login.pcap", later)
    until(lambda: loop._read_all() and source.lost_files)
    loop.finish()
    (stats,) = loop.captures()
    assert [one.partition(" were")[0] for one in stats.warnings] == ["2 files"]
    assert loop.watch.state.snapshot()["lost_files"] == 2
    assert [alert.detail.partition(" of ")[0] for alert in kept.alerts if alert.session_id is None] == ["2 files"]
    page = metrics_page(loop.watch.state).decode()
    assert f'mailtap_lost_files_total{{source="{tmp_path}"}} 2.0' in page


def test_no_session_is_kept_without_a_count_that_its_packets_are_in() -> None:
    """A kill may come between any two batches; what the store holds must fit together then, too."""
    source = Interface(records_at(time.time_ns()))
    loop, _ = loop_over(source)
    kept: list[tuple[int, int]] = []

    def keep(batch: Batch) -> None:
        if batch.sessions:
            (stats,) = batch.captures
            kept.append((max(session.end_ns for session, _ in batch.sessions) - stats.last_ns, stats.packets))

    loop.watch._keep = keep
    while source.records:
        loop._read_all()
        loop.watch.turn()
    assert kept
    loop.finish()
    assert max(kept)[0] <= 0
    assert kept[-1][1] == source.counters().packets


def test_packets_that_the_kernel_hands_over_after_the_stop_are_read() -> None:
    source = Interface(records_at(time.time_ns()))
    late, source.records = source.records, []
    looks = [0]

    def read(sink: RecordSink) -> int:
        looks[0] += 1
        if looks[0] == 2:
            source.records = late
        return Interface.read(source, sink)

    source.read = read  # type: ignore[method-assign]
    loop, kept = loop_over(source)
    loop.stop()
    loop.run()
    loop.finish()
    assert [stats.packets for stats in loop.captures()] == [len(late)]
    assert kept.final() == len(kept.sessions) > 0
