"""Files and pipes wait for a store that is behind; interfaces cannot, and nobody waits for a store that takes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.stores import made_batch
from support.waiting import PATIENCE, until

from analyzer.capture.base import RecordList, RecordSink
from analyzer.capture.files import read_capture
from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.monitor import store_place, writer
from analyzer.monitor.base import MonitorState
from analyzer.monitor.loop import PacketLoop
from analyzer.monitor.store import Store, open_store
from analyzer.monitor.watch import Watch
from analyzer.monitor.writer import StoreWriter

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

    def counters(self) -> LiveCounters:
        return self._counters


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not look like a store that somebody holds."""
    monkeypatch.setattr(store_place, "BUSY_S", PATIENCE)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "mailtap.db"), sensor="cellar")
    yield opened
    opened.close()


def test_files_and_pipes_wait_for_who_is_behind_and_interfaces_go_on() -> None:
    follow, pipe, ring = Source("follow"), Source("pipe"), Source("ring")
    behind = [True]
    watch = Watch(MonitorState("1", "", 0), seal=lambda _: None, tell=lambda _: None, keep=lambda _: None)
    loop = PacketLoop([follow, pipe, ring], watch, watch.state, behind=lambda: behind[0])
    turns: list[float] = []

    def enough() -> bool:
        turns.append(time.monotonic())
        return len(turns) > ring.size + 5

    loop.run(enough)
    assert (len(follow.records), len(pipe.records), len(ring.records)) == (follow.size, pipe.size, 0)
    behind[0] = False
    loop.run(lambda: follow.finished and pipe.finished)
    assert [stats.packets for stats in loop.captures()] == [follow.size, pipe.size, ring.size]
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

    def refuse_to_grow(connection: object, record: object) -> None:
        connection.execute("PRAGMA max_page_count=1")  # type: ignore[attr-defined]

    sql.event.listen(store.engine, "connect", refuse_to_grow)
    store.engine.dispose()
    thread = StoreWriter(store)
    thread.submit(made_batch(0, 40))
    until(lambda: thread.trouble)
    assert thread.waiting > 50
    assert not thread.behind
    thread.close(0.1)
    until(lambda: not thread._thread.is_alive())


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
