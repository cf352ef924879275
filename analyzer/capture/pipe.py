"""A capture that another program writes into a pipe: ``ssh host tcpdump -U -w - | mailtap monitor -``, or a named pipe.

The pipe is asked whether it holds something before it is read, so reading never waits, and its mode is left alone (it may be shared with
the shell that made it). It is finished when its writer is gone.
"""

from __future__ import annotations

import os
import select
from typing import Final

from analyzer.capture.base import RecordSink
from analyzer.capture.compressed import CHUNK
from analyzer.capture.files import STDIN
from analyzer.capture.inlet import Inlet, Note
from analyzer.capture.live import MAX_RECORDS_A_READ, LiveCounters, LiveSource
from analyzer.errors import CaptureNotFound, CaptureUnreadable, UsageError

#: Chunks of one read that hold no record at most: a stream of damage must not keep the monitor.
MAX_CHUNKS_A_READ: Final = 512


class PipeSource(LiveSource):
    """Standard input (``-``) or a named pipe."""

    def __init__(self, name: str = STDIN) -> None:
        super().__init__(name)
        self.kind = "pipe"
        self._descriptor = -1
        self._poll = select.poll()
        self._note = Note()
        self._inlet = Inlet("standard input" if name == STDIN else name, RecordSink())

    def open(self) -> None:
        if self.name == STDIN:
            if os.isatty(0):
                raise UsageError(
                    "standard input (-) is a terminal; pipe a capture into it: tcpdump -U -w - | mailtap monitor -"
                )
            self._descriptor = 0
            try:
                os.fstat(0)
            except OSError as error:
                raise CaptureUnreadable(f"standard input cannot be read ({error.strerror})") from error
        else:
            try:
                self._descriptor = os.open(self.name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise CaptureNotFound(f"{self.name}: there is no such pipe; make it with mkfifo") from error
            except OSError as error:
                raise CaptureUnreadable(f"{self.name}: cannot be opened ({error.strerror})") from error
        self._poll.register(self._descriptor, select.POLLIN)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, sink: RecordSink) -> int:
        inlet = self._inlet
        stats = inlet.stats
        before = stats.packets
        damaged = stats.damaged
        if self._descriptor < 0 or self.finished:
            return 0
        inlet.retarget(sink)
        for _ in range(MAX_CHUNKS_A_READ):
            if stats.packets - before >= MAX_RECORDS_A_READ or not self._poll.poll(0):
                break
            try:
                chunk = os.read(self._descriptor, min(CHUNK, inlet.step))
            except BlockingIOError:
                break
            except OSError as error:
                self._finish(f"could not be read any further ({error.strerror})")
                break
            if not chunk:
                self._finish("")
                break
            inlet.feed(chunk)
            if inlet.trouble:
                self._finish(inlet.trouble)
                break
        if stats.damaged > damaged and stats.warnings:
            self._note.say(stats.warnings[-1])
        if not self.finished:
            self.trouble = self._note.text()
        return stats.packets - before

    def _finish(self, trouble: str) -> None:
        self._inlet.close()
        self.finished = True
        self.up = False
        self.trouble = trouble or self._inlet.trouble or "its writer has ended"

    def counters(self) -> LiveCounters:
        counters = LiveCounters()
        count(counters, self._inlet)
        return counters

    def close(self) -> None:
        if self._descriptor < 0:
            return
        self._poll.unregister(self._descriptor)
        if self._descriptor > 0:
            os.close(self._descriptor)
        self._descriptor = -1


def count(counters: LiveCounters, inlet: Inlet) -> None:
    """Add what an inlet counted."""
    stats = inlet.stats
    counters.packets += stats.packets
    counters.bytes += stats.bytes
    counters.skipped_bytes += stats.skipped_bytes + inlet.unread
    counters.damaged += stats.damaged
    if stats.dropped is not None:
        counters.kernel_drops = (counters.kernel_drops or 0) + stats.dropped
    if stats.packets > 0:
        if counters.first_ns == 0 or stats.first_ns < counters.first_ns:
            counters.first_ns = stats.first_ns
        counters.last_ns = max(counters.last_ns, stats.last_ns)
    for linktype in stats.linktypes:
        if linktype not in counters.linktypes:
            counters.linktypes.append(linktype)
