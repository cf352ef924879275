"""The loop: reads packets from live sources into the pipeline, keeps time, and gives the watch its turns."""

from __future__ import annotations

import gc
import os
import select
import time
from collections.abc import Callable, Mapping
from typing import Final

from analyzer.capture.base import CaptureStats
from analyzer.capture.live import LiveSource
from analyzer.monitor.base import MonitorState, lost_files
from analyzer.monitor.watch import Watch
from analyzer.pipeline import Pipeline, counters
from analyzer.report.wording import plural

#: Seconds the loop sleeps at most, and between looks at sources that cannot wake it.
SLEEP_S: Final = 0.1
SLEEP_BLIND_S: Final = 0.05
#: Seconds between two judgements of what there is news of, and between two looks at counters.
TURN_S: Final = 0.2
SECOND_S: Final = 1.0
#: Seconds between two rounds of the cycle collector. Flows part their cycles themselves; the rest of the process makes few.
COLLECT_S: Final = 60.0
#: Time that goes back by more than this was set back, and is no disorder of packets.
STEP_BACK_NS: Final = 5_000_000_000
#: At the stop, seconds in which what has already come is still read.
DRAIN_S: Final = 1.0
#: Seconds that interfaces get for it at least: the kernel hands packets over by the block, full or 50 ms old.
SETTLE_S: Final = 0.15
#: Seconds between two looks at whether files may be read on.
HELD_S: Final = 0.02
#: Sources whose packets carry the time of now; others may tell of the past.
OF_NOW: Final = ("ring", "scapy")
#: Sources that can be made to wait. The writer of a pipe may be a program that captures: it would lose packets, and alerts with them.
PATIENT: Final = "follow"


class _Clock:
    """A pipeline and its capture time: that of the latest packet, and on from there while none comes."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.now_ns = 0
        self._at = time.monotonic()
        #: source -> how late its packets were read, at most, since somebody asked
        self.lag_s: dict[str, float] = {}

    def note(self, source: LiveSource) -> None:
        """Packets of a source were read."""
        last_ns = source.counters().last_ns
        if source.kind in OF_NOW:
            self.lag_s[source.name] = max(self.lag_s.get(source.name, 0.0), (time.time_ns() - last_ns) / 1e9)
            if last_ns < self.now_ns - STEP_BACK_NS:
                self.pipeline.table.step_back()
                self.now_ns = last_ns
        if last_ns >= self.now_ns:
            self.now_ns = last_ns
            self._at = time.monotonic()

    def advance(self, monotonic: float) -> None:
        """Time goes on, packets or not."""
        if self.now_ns:
            self.pipeline.table.advance(self.now_ns + int((monotonic - self._at) * 1e9))


class PacketLoop:
    """Everything from sources to the watch, in one thread.

    ``every_second`` is called about once a second, with the loop's own counters up to date in the state. While ``behind`` says so, files
    are not read: what is in them can wait, and whoever takes what is found in them cannot follow. Those that come and go are noted.
    """

    def __init__(
        self,
        sources: list[LiveSource],
        watch: Watch,
        state: MonitorState,
        *,
        ports: Mapping[int, str] | None = None,
        every_second: Callable[[], None] | None = None,
        behind: Callable[[], bool] | None = None,
    ) -> None:
        self.sources = sources
        self.watch = watch
        self.state = state
        #: interfaces share one, for a connection may go out by one and come in by another; files and pipes have one each
        self.pipelines: list[Pipeline] = []
        self._clocks: list[_Clock] = []
        shared: _Clock | None = None
        for source in sources:
            clock = shared if source.kind in OF_NOW else None
            if clock is None:
                clock = _Clock(Pipeline(watch, ports=ports, sensor=state.sensor))
                self.pipelines.append(clock.pipeline)
            if source.kind in OF_NOW:
                shared = clock
            clock.pipeline.factory.captures.append(source.name)
            self._clocks.append(clock)
        for pipeline in self.pipelines:
            pipeline.table.live = True
            pipeline.factory.watching = True
            watch.factories.append(pipeline.factory)
        watch.counted = self.captures
        state.sources = sources
        self._every_second = every_second
        self._behind = behind if any(source.kind == PATIENT for source in sources) else None
        self._held = False
        self._was_held = False
        self._waker, self._alarm = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._alarm, False)
        self._poll = select.poll()
        self._poll.register(self._waker, select.POLLIN)
        self._polled: dict[int, int] = {}
        self._stopped = False
        now = time.monotonic()
        self._next_turn = now
        self._next_second = now
        self._next_collection = now + COLLECT_S

    def stop(self) -> None:
        """Leave :meth:`run` soon. Safe to call from a signal handler and from other threads."""
        self._stopped = True
        try:
            os.write(self._alarm, b"\0")
        except OSError:
            return  # it is full of alarms, or closed: the loop is awake, or over

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Read until stopped, until ``until`` says so, or until no source will give anything any more."""
        collecting = gc.isenabled()
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            while not self._stopped and not (until is not None and until()):
                handed = self._read_all()
                self.tick()
                if handed == 0:
                    if all(source.finished for source in self.sources):
                        break
                    self._sleep()
        finally:
            gc.unfreeze()
            if collecting:
                gc.enable()

    def finish(self) -> None:
        """Read what has come already, close the sources, end all flows, and judge what they leave."""
        now = time.monotonic()
        deadline = now + DRAIN_S
        settled = (
            now + SETTLE_S if any(source.kind in OF_NOW and not source.finished for source in self.sources) else now
        )
        while now < deadline:
            if self._read_all() == 0:
                if now >= settled:
                    break
                time.sleep(HELD_S)
            now = time.monotonic()
        for source in self.sources:
            source.close()
        self._look_around()
        for pipeline in self.pipelines:
            pipeline.close()
        self.watch.finish()
        self.watch.keep_captures(self.captures())
        self.watch.turn()
        self._poll.unregister(self._waker)
        os.close(self._waker)
        os.close(self._alarm)
        self._alarm = -1

    def _read_all(self) -> int:
        """Every source once; the records handed over."""
        handed = 0
        self._held = self._behind is not None and self._behind()
        for source, clock in zip(self.sources, self._clocks, strict=True):
            if source.finished:
                continue
            if self._held and source.kind == PATIENT:
                self._was_held = True
                source.look()
                continue
            pipeline = clock.pipeline
            pipeline.table.capture = pipeline.factory.captures.index(source.name)
            count = source.read(pipeline.decoder)
            if count:
                handed += count
                clock.note(source)
        return handed

    def tick(self) -> None:
        """What is due by time: the flow table's clock, the watch, the counters."""
        now = time.monotonic()
        if now >= self._next_turn:
            self._next_turn = now + TURN_S
            for clock in dict.fromkeys(self._clocks):
                clock.advance(now)
            self.watch.turn()
            self.state.turn_ns = time.time_ns()
        if now >= self._next_second:
            self._next_second = now + SECOND_S
            self._look_around()
            self.state.files_wait, self._was_held = self._was_held, False
            if self._every_second is not None:
                self._every_second()
        if now >= self._next_collection:
            self._next_collection = now + COLLECT_S
            gc.collect()

    def _look_around(self) -> None:
        state = self.state
        state.counters = {}
        for pipeline in self.pipelines:
            for name, count in counters(pipeline).items():
                state.counters[name] = state.counters.get(name, 0) + count
            name = "sessions.limit_news"
            state.counters[name] = state.counters.get(name, 0) + int(pipeline.factory.unheeded)
        state.flows_open = sum(pipeline.table.flows_open for pipeline in self.pipelines)
        now_ns = time.time_ns()
        state.lag_s = 0.0
        for source, clock in zip(self.sources, self._clocks, strict=True):
            counted = source.counters()
            lost = (counted.kernel_drops or 0) + counted.own_drops
            lag_s = clock.lag_s.pop(source.name, 0.0)
            state.lag_s = max(state.lag_s, lag_s)
            self.watch.judge_loss(source.name, counted.packets, lost, lag_s, now_ns, lost_files(source) or 0)

    def captures(self) -> list[CaptureStats]:
        """What each source has given so far, as rows of ``captures``."""
        found: list[CaptureStats] = []
        for source, clock in zip(self.sources, self._clocks, strict=True):
            factory = clock.pipeline.factory
            packets, index = factory.mail_packets, factory.captures.index(source.name)
            counted = source.counters()
            stats = CaptureStats(source.name)
            stats.format = source.kind
            stats.linktypes = list(counted.linktypes)
            stats.packets, stats.bytes = counted.packets, counted.bytes
            stats.first_ns, stats.last_ns = counted.first_ns, counted.last_ns
            stats.skipped_bytes, stats.damaged = counted.skipped_bytes, counted.damaged
            if counted.kernel_drops is not None or counted.own_drops:
                stats.dropped = (counted.kernel_drops or 0) + counted.own_drops
            stats.mail_packets = packets[index] if index < len(packets) else 0
            files = lost_files(source)
            if files:
                stats.warnings.append(
                    f"{plural(files, 'file')} {'was' if files == 1 else 'were'} gone or overwritten before mailtap had read "
                    f"{'it' if files == 1 else 'them'} to the end: what was in there is missing; a larger ring holds more"
                )
            found.append(stats)
        return found

    def _sleep(self) -> None:
        """Until a source has something, somebody wakes the loop, or the next turn is due."""
        if self._held:
            # What is held back has something all the time.
            time.sleep(HELD_S)
            return
        blind = False
        for index, source in enumerate(self.sources):
            descriptor = -1 if source.finished else source.fileno()
            known = self._polled.get(index, -1)
            if descriptor != known:
                # Files of a ring come and go, and interfaces with them.
                if known >= 0:
                    self._poll.unregister(known)
                if descriptor >= 0:
                    self._poll.register(descriptor, select.POLLIN | select.POLLERR)
                self._polled[index] = descriptor
            blind = blind or (descriptor < 0 and not source.finished)
        wait = SLEEP_BLIND_S if blind else SLEEP_S
        began = time.monotonic()
        events = self._poll.poll(int(wait * 1000))
        for descriptor, event in events:
            if descriptor == self._waker:
                try:
                    os.read(self._waker, 4096)
                except BlockingIOError:
                    continue
            elif (
                event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) and time.monotonic() - began < SLEEP_BLIND_S
            ):
                # An interface that is down reports errors without end.
                time.sleep(SLEEP_BLIND_S)
