"""Runs a program as a whole process and takes its processor time and peak memory from the kernel's own accounting.

This module and its importers stay small on purpose: on Linux a child's peak memory cannot read below that of the process
that started it.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Run:
    """One run of one program."""

    #: of the processor, user and system: what else the machine does hardly shows in them
    seconds: float
    peak_kib: int
    exit_code: int
    timed_out: bool = False


@dataclass
class Series:
    """All counted runs of one program on one capture."""

    runs: list[Run] = field(default_factory=list)
    failure: str = ""

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def peak_mib(self) -> float:
        """The largest peak, in MiB."""
        return max(run.peak_kib for run in self.runs) / 1024


def run_once(
    command: list[str], output: Path, *, cpu: int | None, timeout: float, environment: dict[str, str] | None = None
) -> Run:
    """Run ``command`` with its output into a file, on one processor, and wait for it."""

    def pin() -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    merged = {**os.environ, **(environment or {})}
    with output.open("wb") as out, Path(f"{output}.err").open("wb") as err, Path(os.devnull).open("rb") as nothing:
        child = subprocess.Popen(
            command,
            stdin=nothing,
            stdout=out,
            stderr=err,
            env=merged,
            preexec_fn=pin,  # noqa: PLW1509 - one thread only here, and the affinity must be set before the program starts
            start_new_session=True,
        )
        killed = _Alarm(child.pid, timeout)
        with killed:
            _, status, usage = os.wait4(child.pid, 0)
        seconds = usage.ru_utime + usage.ru_stime
        child.returncode = os.waitstatus_to_exitcode(status)
    return Run(seconds, usage.ru_maxrss, child.returncode, killed.fired)


def pick_cpu() -> int | None:
    """The processor that everything is pinned to; None where the system has no such call."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    return max(os.sched_getaffinity(0))


class _Alarm:
    """Ends the child's process group when its time is over."""

    def __init__(self, pid: int, seconds: float) -> None:
        self.pid = pid
        self.seconds = seconds
        self.fired = False

    def _end(self, _number: int, _frame: object) -> None:
        self.fired = True
        os.killpg(self.pid, signal.SIGKILL)

    def __enter__(self) -> None:
        signal.signal(signal.SIGALRM, self._end)
        signal.setitimer(signal.ITIMER_REAL, self.seconds)

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
