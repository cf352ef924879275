"""Runs: what one start of the monitor saw of one source, a row of ``captures`` each.

An interface is called the same after every restart, and its frames are counted from 1 again. In a report of several runs each has a name of
its own therefore, ``eth0, from 2026-03-02 09:00:00 UTC``, in its own row and in those of its sessions; in the store they are called as they were.
Which run a session is of is told by its start, which is never before the first packet of its run.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from typing import Final

from analyzer.capture.base import CaptureStats
from analyzer.report.wording import plural
from analyzer.sessions.records import Session

#: Packets come in disorder, but by no more than this: what begins earlier is of another run.
DISORDER_NS: Final = 1_000_000_000
#: A row of ``captures``, and the sensor that wrote it.
Row = tuple[str, CaptureStats]


class Runs:
    """The runs that a store knows of, those out of a report's span of time included; all of them, so that each is always called the same."""

    def __init__(self, rows: Iterable[Row]) -> None:
        #: (sensor, source) -> times of the first packets, in order, and the runs that had one
        self._begun: dict[tuple[str, str], tuple[list[int], list[CaptureStats]]] = {}
        self._names: dict[tuple[str, str, int], str] = {}
        #: sessions met of which no run has counted the packets, by source
        self._uncounted: Counter[str] = Counter()
        known = sorted(rows, key=lambda row: (row[0], row[1].name, row[1].first_ns))
        often = Counter(stats.name for _, stats in known)
        sensors: dict[str, set[str]] = {}
        for sensor, stats in known:
            sensors.setdefault(stats.name, set()).add(sensor)
            if stats.packets:
                times, runs = self._begun.setdefault((sensor, stats.name), ([], []))
                times.append(stats.first_ns)
                runs.append(stats)
        self._sensors = {name: next(iter(found)) for name, found in sensors.items() if len(found) == 1}
        taken: set[str] = set()
        for sensor, stats in known:
            name = stats.name
            if often[name] > 1:
                on = f" on {sensor}" if len(sensors[name]) > 1 else ""
                second, rest = divmod(stats.first_ns, 1_000_000_000)
                name = f"{name}{on}, from {_moment(second)} UTC" if stats.packets else f"{name}{on}"
                if name in taken:
                    name = f"{stats.name}{on}, from {_moment(second)}.{rest:09d} UTC"
            taken.add(name)
            self._names[sensor, stats.name, stats.first_ns] = name

    def name(self, sensor: str, stats: CaptureStats) -> str:
        """What a run is called."""
        return self._names.get((sensor, stats.name, stats.first_ns), stats.name)

    def place(self, session: Session) -> None:
        """Call the source of a session as its run is called; as it was where the run cannot be told."""
        source = session.capture
        sensor = session.sensor
        if (sensor, source) not in self._begun:
            sensor = self._sensors.get(source, sensor)
        times, runs = self._begun.get((sensor, source), ([], []))
        if not runs:
            self._uncounted[source] += 1
            return
        run = runs[max(0, bisect_right(times, session.start_ns) - 1)]
        if session.start_ns < run.first_ns - DISORDER_NS:
            self._uncounted[source] += 1
            return
        if session.start_ns > run.last_ns:
            # It goes on behind what was counted of the run; or it is of another one, of which nothing was.
            self._uncounted[source] += 1
            if session.first_frame <= run.packets:
                return
        session.capture = self._names[sensor, source, run.first_ns]

    def remarks(self) -> list[str]:
        """Sentences about sessions whose packets nobody counted."""
        return [
            f"{source}: the packets of {plural(count, 'session')} are not in the numbers: the monitor was killed before it had stored how "
            "many there were, or the clock was set"
            for source, count in sorted(self._uncounted.items())
        ]


def _moment(second: int) -> str:
    """A second since the epoch as people read it; the number itself beyond the year 9999."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))
    except (ValueError, OverflowError):
        return str(second)
