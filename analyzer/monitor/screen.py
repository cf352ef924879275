"""The monitor's screen, ``mailtap monitor --live``: a thread that draws the state twice a second and waits for ``q``.

What stands on it is made in ``panels.py``. While it is up, the terminal shows no typed characters, standard error is kept and shown among
the troubles for a minute (and printed when the screen has gone), and whatever ends the monitor, the terminal gets back what it had: ``stop`` is called
by ``with``, by the end of the thread, and at the latest by the end of the process.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final, Self

from analyzer.errors import UsageError
from analyzer.monitor.base import MonitorState
from analyzer.monitor.readings import latest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from analyzer.monitor.panels import Rates

#: Seconds between two pictures.
REFRESH_S: Final = 0.5
#: Lines of standard error that are kept while the screen is up; the oldest go.
MAX_MESSAGES: Final = 200
#: Octets of one such line.
MAX_MESSAGE: Final = 2000
#: Seconds for which a line is shown.
SHOWN_S: Final = 60.0
#: Seconds that the thread has for its last picture.
STOP_S: Final = 2.0
#: How often, within as long again, what a terminal does not take is thrown away; a picture may be larger than what a terminal holds.
UNSTICK_TIMES: Final = 10
QUIT_KEYS: Final = b"qQ"


class _Messages(io.TextIOBase):
    """Stands in for standard error: keeps lines."""

    def __init__(self) -> None:
        super().__init__()
        #: each with the wall clock and the monotonic time at which it came
        self.lines: deque[tuple[float, float, str]] = deque(maxlen=MAX_MESSAGES)
        self._open = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *whole, rest = (self._open + text).split("\n")
        came, at = time.time(), time.monotonic()
        self.lines.extend((came, at, line[:MAX_MESSAGE]) for line in whole if line.strip())
        self._open = rest[:MAX_MESSAGE]
        return len(text)

    def finish(self) -> list[str]:
        """All lines, the last one even without its end."""
        if self._open:
            self.write("\n")
        return [line for _, _, line in self.lines]

    def recent(self) -> list[tuple[float, str]]:
        """The lines of the last minute, with the wall clock at which they came."""
        oldest = time.monotonic() - SHOWN_S
        return [(came, line) for came, at, line in latest(self.lines) if at >= oldest]


class Screen:
    """The screen. ``on_quit`` is called from its thread when ``q`` was typed, or the terminal has gone; ``quit`` says the same.

    Start it once privileges are dropped: it is a thread.
    """

    def __init__(
        self, state: MonitorState, on_quit: Callable[[], None] | None = None, console: Console | None = None
    ) -> None:
        self.state = state
        #: the user wants the monitor to end
        self.quit: bool = False
        #: what ended the screen before its time; empty when all is well
        self.trouble: str = ""
        self._on_quit = on_quit
        self._console = console
        self._messages = _Messages()
        self._stderr: IO[str] | None = None
        #: the terminal that keys come from, and whether we opened it
        self._keys: int = -1
        self._own_keys = False
        self._before: list[Any] | None = None
        self._waker, self._alarm = -1, -1
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """The terminal is the screen's now; what is written to standard error is shown on it, and printed later."""
        return self._live is not None

    def start(self) -> None:
        """Put the screen up.

        Raises:
            UsageError: standard output is no terminal, or one that cannot show a screen, or mailtap runs in the background.
        """
        from rich.console import Console
        from rich.live import Live

        if self._console is None:
            if sys.stdout is None or not sys.stdout.isatty():
                raise UsageError(
                    "--live needs a terminal, and standard output is none: leave it out, or send alerts to a file"
                )
            self._console = Console(file=sys.stdout)
        if self._console.is_dumb_terminal:
            raise UsageError(
                f"--live: this terminal ({os.environ.get('TERM', 'TERM is not set')}) can show no screen; leave --live out"
            )
        self._waker, self._alarm = os.pipe()
        self._stopping = False
        self._take_keys()
        atexit.register(self.stop)
        self._stderr, sys.stderr = sys.stderr, self._messages
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take the screen away and give the terminal back; what was said meanwhile is printed. Harmless when repeated."""
        atexit.unregister(self.stop)
        self._stopping = True
        if self._alarm >= 0:
            with contextlib.suppress(OSError):
                os.write(self._alarm, b"\0")
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_S)
            self._unstick(thread)
        self._restore()
        if thread is not None and thread.is_alive():
            return  # it is late with its last picture, looks at its waker once more, and ends then
        for descriptor in (self._waker, self._alarm):
            if descriptor >= 0:
                os.close(descriptor)
        self._waker, self._alarm = -1, -1

    def draw(self, rates: Rates, width: int, height: int) -> list[Any]:
        """The picture of now, as lines."""
        from analyzer.monitor.panels import compose

        rates.take(list(self.state.sources), time.monotonic())
        return compose(self.state, rates, self._messages.recent(), width, height)

    # -- the thread ------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        from analyzer.monitor.panels import Rates, plain

        rates = Rates()
        assert self._console is not None
        try:
            while True:
                width, height = self._size()
                lines = [plain(line, self._console.encoding) for line in self.draw(rates, width, height)]
                self._show(lines)
                if self._asked_to_end():
                    return
        except Exception as error:  # noqa: BLE001 - a fault in a picture ends the pictures, not the monitor
            if self._stopping:
                return  # the terminal was given back under a late picture: no fault, and nobody to tell
            self.trouble = f"the screen ended: {type(error).__name__}: {error}"
            self._restore()
            if isinstance(error, OSError):  # the terminal has gone, and with it who watched
                self._wish_to_quit()
            elif sys.stderr is not None:
                sys.stderr.write(f"mailtap: {self.trouble}\n")

    def _size(self) -> tuple[int, int]:
        assert self._console is not None
        if not self._console.is_terminal:
            raise OSError("the terminal has gone")
        return self._console.size.width, self._console.size.height

    def _show(self, lines: list[Any]) -> None:
        from rich.console import Group

        with self._lock:
            if self._live is not None:
                self._live.update(Group(*lines), refresh=True)

    def _asked_to_end(self) -> bool:
        """Wait until the next picture is due; True where there shall be none."""
        until = time.monotonic() + REFRESH_S
        while (left := until - time.monotonic()) > 0:
            keys = self._keys
            watched = [self._waker] if keys < 0 else [self._waker, keys]
            ready, _, _ = select.select(watched, [], [], left)
            if self._waker in ready:
                return True
            if keys in ready:
                typed = os.read(keys, 64)
                if not typed:
                    raise OSError("the terminal has gone")
                if any(key in QUIT_KEYS for key in typed):
                    self._wish_to_quit()
                    return False
        return False

    def _wish_to_quit(self) -> None:
        self.quit = True
        if self._on_quit is not None:
            self._on_quit()

    # -- the terminal ----------------------------------------------------------------------------------------------------------

    def _take_keys(self) -> None:
        """Read keys as they are typed, without showing them; from the terminal itself where standard input is something else."""
        try:
            keys = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        except ValueError:
            keys = -1
        if keys < 0:
            with contextlib.suppress(OSError):
                keys = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
                self._own_keys = True
        if keys < 0:
            return
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(keys) != os.getpgrp():
                self._let_go_of_keys(keys)
                raise UsageError(
                    "--live: mailtap runs in the background; bring it to the foreground, or leave --live out"
                )
        try:
            self._before = termios.tcgetattr(keys)
            mode = termios.tcgetattr(keys)
            # keys at once, unseen; Ctrl-C stays what it is, Ctrl-Z and Ctrl-S would leave the terminal as it is now
            mode[0] &= ~termios.IXON
            mode[3] &= ~(termios.ECHO | termios.ICANON)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            mode[6][termios.VSUSP] = os.fpathconf(keys, "PC_VDISABLE").to_bytes(1, "big")
            termios.tcsetattr(keys, termios.TCSAFLUSH, mode)
        except termios.error:
            self._before = None
            self._let_go_of_keys(keys)
            return
        self._keys = keys

    def _let_go_of_keys(self, keys: int) -> None:
        if self._own_keys and keys >= 0:
            os.close(keys)
        self._own_keys = False

    def _unstick(self, thread: threading.Thread) -> None:
        """Where nobody takes what the terminal shows (a connection that hangs), throw it away: a picture must not hold up the end."""
        assert self._console is not None
        for _ in range(UNSTICK_TIMES):
            if not thread.is_alive():
                return
            with contextlib.suppress(OSError, ValueError, termios.error):  # no terminal any more
                terminal = self._console.file.fileno()
                termios.tcflush(terminal, termios.TCOFLUSH)
                # Stopped and started: Linux wakes who waits for room then, and not for the room alone.
                termios.tcflow(terminal, termios.TCOOFF)
                termios.tcflow(terminal, termios.TCOON)
            thread.join(STOP_S / UNSTICK_TIMES)

    def _restore(self) -> None:
        """Everything as it was; once."""
        with self._lock:
            live, self._live = self._live, None
            before, self._before = self._before, None
            stderr, self._stderr = self._stderr, None
            keys, self._keys = self._keys, -1
        if live is not None:
            with contextlib.suppress(Exception):  # the terminal has gone, perhaps
                live.stop()
        if before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(keys, termios.TCSANOW, before)
            self._let_go_of_keys(keys)
        if stderr is not None:
            sys.stderr = stderr
            with contextlib.suppress(OSError, ValueError):
                stderr.write("".join(f"{line}\n" for line in self._messages.finish()))
                stderr.flush()
