"""Alerts as JSON lines, to standard output or a file: ``jsonl:-``, ``jsonl:/var/log/mailtap/alerts.jsonl``.

One object a line, as ``_object`` describes it; what came together is written together, at once. A file is made with mode 0640, because
alerts name accounts; it is appended to, and opened anew on SIGHUP, as logrotate wants it (``postrotate`` with ``systemctl reload``).

Where the disk is full, lines wait in memory and are tried again a few times a second; no line is written by halves. Of more than
``MAX_WAITING`` lines the oldest are lost, and counted. A pipe whose reader is gone loses what comes.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.base import Alert, AlertSink
from analyzer.monitor.sinks import SinkOptions
from analyzer.monitor.sinks._object import alert_json

SCHEMES: Final = ("jsonl",)
EXAMPLE: Final = "jsonl:- or jsonl:/var/log/mailtap/alerts.jsonl"

#: Lines that wait for room on the disk.
MAX_WAITING: Final = 10_000
#: Octets written at once.
MAX_WRITE: Final = 1 << 20
MODE: Final = 0o640
STDOUT: Final = 1
NEW_LINE: Final = b"\n"


class JsonLines(AlertSink):
    """Writes alerts as JSON lines."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        #: empty for standard output
        self.path = path
        self._fd = -1
        self._lines: deque[bytes] = deque()
        #: octets of the first line that are written already
        self._written = 0

    def open(self) -> None:
        if self._fd < 0:
            self._fd = self._opened()

    def deliver(self, alerts: list[Alert]) -> None:
        for alert in alerts:
            self._lines.append(alert_json(alert).encode("ascii") + b"\n")
        self._write()

    def idle(self) -> None:
        if self._lines or self._fd < 0:
            self._write()

    def reopen(self) -> None:
        if not self.path:
            return
        # What does not fit on the full disk of the old file goes to the new one, whole lines.
        self._write()
        self._let_go()
        self._write()

    def close(self) -> None:
        self._write()
        if self._lines:
            self.lose(len(self._lines))
            self._lines.clear()
        self._let_go()

    @property
    def waiting(self) -> int:
        return len(self._lines)

    def _opened(self) -> int:
        """The open file.

        Raises:
            OutputError: it cannot be opened.
        """
        if not self.path:
            import fcntl  # not on every system

            try:
                if (
                    fcntl.fcntl(STDOUT, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
                ):  # what a closed one was replaced by
                    return os.dup(STDOUT)
            except OSError:
                pass
            raise OutputError("there is no standard output for alerts; send them to a file: jsonl:PATH")
        # Not blocking, for the open alone: a named pipe without a reader is an error, not a wait without end.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(self.path, flags, MODE)
        except OSError as error:
            raise OutputError(
                f"alerts cannot be written to {self.path} ({error.strerror}); make its folder, or give the user of the monitor "
                "the right to write there"
            ) from None
        try:
            os.set_blocking(fd, True)
            if _is_cut(self.path):
                self._lines.appendleft(NEW_LINE)
        except OSError as error:
            os.close(fd)
            raise OutputError(f"alerts cannot be written to {self.path} ({error.strerror})") from None
        return fd

    def _write(self) -> None:
        """Write all lines that wait, as far as it goes."""
        try:
            if self._fd < 0:
                self._fd = self._opened()
            while self._lines:
                self._write_some()
            self.trouble = ""
        except BrokenPipeError:
            self.trouble = "the reader of the alerts is gone; alerts are lost"
            self.lose(len(self._lines))
            self._lines.clear()
            self._written = 0
            if self.path:
                self._let_go()
        except OSError as error:
            self.trouble = f"{self.path or 'standard output'}: {error.strerror}; alerts wait in memory"
        except OutputError as error:
            self.trouble = str(error)
        too_many = len(self._lines) - MAX_WAITING
        if too_many > 0:
            # The first line stays where it is half written: a cut line would take the next one with it.
            first = [self._lines.popleft()] if self._written else []
            for _ in range(too_many):
                self._lines.popleft()
            self._lines.extendleft(first)
            self.lose(too_many)

    def _write_some(self) -> None:
        size = 0
        pieces: list[bytes] = []
        for line in self._lines:
            if size and size + len(line) > MAX_WRITE:
                break
            pieces.append(line if pieces else line[self._written :])
            size += len(pieces[-1])
        written = os.write(self._fd, b"".join(pieces))
        for piece in pieces:
            if written < len(piece):
                self._written += written
                break
            written -= len(piece)
            self._written = 0
            if self._lines.popleft() != NEW_LINE:
                self.delivered += 1

    def _let_go(self) -> None:
        """Close the file; a line written by halves is to be written anew, whole."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._written = 0


def _is_cut(path: str) -> bool:
    """Whether an earlier run was killed in its last line; the next alert must not be taken with it."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a text of the user's
            if not file.seekable() or file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != NEW_LINE
    except PermissionError:
        return False  # it may be written but not read


def make(word: str, _options: SinkOptions) -> JsonLines:
    """The sink of ``jsonl:PATH``.

    Raises:
        UsageError: the path is missing.
    """
    path = word.partition(":")[2]
    if not path:
        raise UsageError(f"{word}: name a file, or - for standard output: {EXAMPLE}")
    return JsonLines(word, "" if path == "-" else path)
