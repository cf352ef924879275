"""Followed files wait for a store that is behind; interfaces and pipes do not, and nobody waits for a store that takes nothing."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.captures import NEW_YEAR, pcap
from support.stores import full, made_batch
from support.waiting import PATIENCE, until

from analyzer.capture.base import RecordList, RecordSink
from analyzer.capture.files import read_capture
from analyzer.capture.follow import FolderSource
from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.monitor import writer
from analyzer.monitor.base import MonitorState
from analyzer.monitor.loop import PacketLoop
from analyzer.monitor.store import Store
from analyzer.monitor.store_rows import BatchRows
from analyzer.monitor.watch import Watch
from analyzer.monitor.writer import StoreWriter

pytestmark = pytest.mark.usefixtures("patient")

SAMPLE = Path(__file__).parents[2] / "captures" / "pop3-login.pcap"


class Source(LiveSource):
    """Gives the packets of a sample, one a time; ends behind them unless it is an interface."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        records = RecordList()
        read_capture(str(SAMPLE), records)
        self.records = records.records
        self.size = len(self.records)
        self.looks = 0
        self._counters = LiveCounters()

    def read(self, sink: RecordSink) -> int:
        if not self.records:
            self.finished = self.kind != "ring"
            return 0
        timestamp_ns, linktype, data, wire_length, frame = self.records.pop(0)
        sink.receive_record(data, 0, len(data), wire_length, linktype, timestamp_ns, frame)
        self._counters.packets += 1
        self._counters.last_ns = timestamp_ns
        return 1

    def look(self) -> None:
        self.looks += 1

    def counters(self) -> LiveCounters:
        return self._counters


def loop_over(*sources: LiveSource, behind: Callable[[], bool]) -> PacketLoop:
    watch = Watch(MonitorState("1", "", 0), seal=lambda _: None, tell=lambda _: None, keep=lambda _: None)
    return PacketLoop(list(sources), watch, watch.state, behind=behind)


def read_until(loop: PacketLoop, condition: Callable[[], object]) -> None:
    """Let the loop read until something is so."""
    limit = time.monotonic() + PATIENCE

    def over() -> bool:
        assert time.monotonic() < limit, "still not true"
        return bool(condition())

    loop.run(over)


def test_files_wait_for_who_is_behind_and_interfaces_and_pipes_go_on() -> None:
    follow, pipe, ring = Source("follow"), Source("pipe"), Source("ring")
    behind = [True]
    loop = loop_over(follow, pipe, ring, behind=lambda: behind[0])
    turns: list[float] = []

    def enough() -> bool:
        turns.append(time.monotonic())
        return len(turns) > ring.size + 5 and loop.state.files_wait

    read_until(loop, enough)
    assert (len(follow.records), len(pipe.records), len(ring.records)) == (follow.size, 0, 0)
    # They are asked all the same to lay hold of what would be gone later.
    assert follow.looks >= ring.size
    assert (pipe.looks, ring.looks) == (0, 0)
    behind[0] = False
    read_until(loop, lambda: follow.finished and not loop.state.files_wait)
    assert [stats.packets for stats in loop.captures()] == [follow.size, pipe.size, ring.size]
    loop.finish()


def test_the_stop_does_not_wait_for_what_is_held_back_and_counts_what_was_read() -> None:
    follow, ring = Source("follow"), Source("ring")
    behind = [False]
    loop = loop_over(follow, ring, behind=lambda: behind[0])
    read_until(loop, lambda: len(follow.records) < 20)
    behind[0] = True
    left = len(follow.records)
    stopper = threading.Timer(0.05, loop.stop)
    stopper.start()
    loop.run()
    stopper.join()
    loop.finish()
    # An interface is read to the end of what has come.
    assert (len(follow.records), len(ring.records)) == (left, 0)
    assert [stats.packets for stats in loop.captures()] == [follow.size - left, ring.size]


def test_a_ring_that_rotates_while_it_is_held_back_is_read_later(tmp_path: Path) -> None:
    folder = FolderSource(str(tmp_path))
    folder.open()
    behind = [True]
    loop = loop_over(folder, behind=lambda: behind[0])
    for number in range(1, 6):
        path = tmp_path / f"ring_{number:05}_202601010000{number:02}.pcap"
        path.write_bytes(pcap([bytes([number]) * 60] * 3, start=NEW_YEAR + 100 * number))
        read_until(loop, lambda number=number: len(folder._known) == 1 and len(folder._tails()) == number)  # type: ignore[misc]
        path.unlink()
        read_until(loop, lambda: not folder._known)
    assert folder.counters().packets == 0
    behind[0] = False
    read_until(loop, lambda: folder.counters().packets == 15)
    assert (folder.counters().damaged, folder.lost_files) == (0, 0)
    loop.finish()


def test_a_store_says_that_it_is_behind_while_it_writes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 100)
    thread = StoreWriter(store)
    assert not thread.behind
    with store.transaction():
        thread.submit(made_batch(0, 6))
        assert not thread.behind
        thread.submit(made_batch(6, 24))
        assert thread.behind
    until(lambda: not thread.behind)
    assert thread.close(PATIENCE)
    assert (store.count(), thread.lost) == (30, 0)


def test_nobody_waits_for_a_store_that_takes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 100)
    full(store, 1)
    thread = StoreWriter(store)
    thread.submit(made_batch(0, 40))
    until(lambda: thread.trouble)
    assert thread.waiting > 50
    assert not thread.behind
    thread.close(0.1)
    until(lambda: not thread._thread.is_alive())


class Clock:
    """The clock, set ahead by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = 0.0
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + self.ahead)


@contextlib.contextmanager
def hanging(store: Store, monkeypatch: pytest.MonkeyPatch, *, works: bool = True) -> Iterator[threading.Event]:
    """Commits that say nothing and come to no end before the event is set; whether they work then."""
    go_on = threading.Event()
    write = store.write_rows

    def hang(rows: BatchRows) -> int:
        assert go_on.wait(PATIENCE)
        if not works:
            raise sql.exc.OperationalError("", {}, Exception("the connection was lost"))
        return write(rows)

    monkeypatch.setattr(store, "write_rows", hang)
    try:
        yield go_on
    finally:
        go_on.set()


def test_nobody_waits_for_a_store_that_hangs_and_it_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 100)
    monkeypatch.setattr(writer, "SILENT_S", 3600.0)
    monkeypatch.setattr(writer, "STUCK_S", 600.0)
    thread = StoreWriter(store)
    clock = Clock(monkeypatch)
    with hanging(store, monkeypatch) as go_on:
        thread.submit(made_batch(0, 30))
        until(lambda: thread._busy)
        assert thread.behind
        clock.ahead = 599.0 - PATIENCE
        assert thread.behind
        clock.ahead = 601.0
        # It says nothing, and takes nothing: what is read on may be lost, and alerts go out.
        assert not thread.behind
        assert thread.trouble == ""
        clock.ahead = 3601.0
        assert "takes nothing, and says nothing" in thread.trouble
        assert not [one for one in thread.trouble.replace(store.name, "") if one.isdecimal()]
        thread.submit(made_batch(30, 18))
        assert not thread.behind
        go_on.set()
    until(lambda: thread.waiting == 0)
    assert thread.trouble == ""
    # What comes to an idle store is not late.
    clock.ahead = 7200.0
    with store.transaction():
        thread.submit(made_batch(48, 30))
        assert thread.behind
    assert thread.close(PATIENCE)
    assert (store.count(), thread.lost) == (78, 0)


def test_after_a_failure_the_first_commit_that_works_ends_the_trouble(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_COMMIT", 10)
    monkeypatch.setattr(writer, "MAX_WAITING", 200)
    write = store.write_rows
    seen: list[tuple[bool, str]] = []

    def fail_once(rows: BatchRows) -> int:
        seen.append((thread.behind, thread.trouble))
        if len(seen) == 1:
            raise sql.exc.OperationalError("", {}, Exception("the server is being restarted"))
        return write(rows)

    monkeypatch.setattr(store, "write_rows", fail_once)
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    monkeypatch.setattr(writer, "STUCK_S", 3600.0)
    thread = StoreWriter(store)
    with thread._change:
        for first in range(0, 40, 5):
            thread.submit(made_batch(first, 5))
    until(lambda: thread.waiting == 0)
    assert [behind for behind, _ in seen[:3]] == [True, False, True]
    assert ["restarted" in trouble for _, trouble in seen[:4]] == [False, True, False, False]
    assert thread.close(PATIENCE)
    assert (store.count(), thread.lost) == (40, 0)


@pytest.mark.parametrize("works", [True, False])
def test_rows_that_are_being_written_when_the_time_is_up_are_counted_right(
    store: Store, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    monkeypatch.setattr(writer, "ROWS_A_COMMIT", 10)
    thread = StoreWriter(store)
    with hanging(store, monkeypatch, works=works) as go_on:
        for first in range(0, 15, 5):
            thread.submit(made_batch(first, 5))
        until(lambda: thread._busy)
        assert not thread.close(0.05)
        assert (thread.lost, thread.written, thread.waiting) == (30, 0, 30)
        # A second look at it counts nothing twice.
        thread.close(0.0)
        assert thread.lost == 30
        go_on.set()
        until(lambda: not thread._thread.is_alive())
    assert (thread.lost, thread.written, store.count()) == ((20, 10, 5) if works else (30, 0, 0))


def test_what_is_written_at_the_last_moment_is_not_called_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = StoreWriter(store)
    # The time to wait is over before the commit that is going on.
    monkeypatch.setattr(thread, "flush", lambda timeout: False)
    with store.transaction():
        thread.submit(made_batch(0, 5))
        time.sleep(0.05)
    until(lambda: thread.waiting == 0)
    assert thread.close(PATIENCE)
    assert (thread.lost, store.count()) == (0, 5)
