"""Progress of a run: a bar on a terminal, its notebook form in Jupyter, nothing anywhere else.

It comes up after :data:`DELAY` only, so that short runs leave no trace in a terminal or a notebook's outputs. rich draws from a
thread of its own, so a running event loop does not matter to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

#: Seconds before the bar comes up.
DELAY = 0.7


class Bar:
    """A bar that is told (octets read, octets in all or 0, packets) and shows itself once a run has become long."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, packets: int) -> None:
        seconds = time.monotonic() - self.began
        if seconds < DELAY:
            return
        if self._bar is None:
            self._bar = _rich_bar()
            self._task = self._bar.add_task("", total=None, rate="")
            self._bar.start()
        if self._task is not None:
            rate = f"{packets / seconds:,.0f} packets/s" if seconds > 0 else ""
            self._bar.update(self._task, completed=done, total=total or None, rate=rate)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _rich_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("reading"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console() if in_notebook() else Console(stderr=True),
        transient=True,
    )


def in_notebook() -> bool:
    """This is a Jupyter kernel with what rich needs to draw in it."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and hasattr(running, "kernel") and find_spec("ipywidgets") is not None


@contextmanager
def shown_progress(
    wanted: bool | Callable[[int, int, int], None] | None,
) -> Iterator[Callable[[int, int, int], None] | None]:
    """What to tell the progress of a run: a caller's own function, a bar where there is somebody to see it, or None."""
    if callable(wanted):
        yield wanted
        return
    if not wanted or not (_terminal() or in_notebook()):
        yield None
        return
    bar = Bar()
    try:
        yield bar
    finally:
        bar.close()


def _terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # a closed stream
        return False
