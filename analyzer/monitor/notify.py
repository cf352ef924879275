"""What systemd wants to know of a service: that it is ready, what it does, that it is alive (sd_notify(3), standard library only).

Without ``NOTIFY_SOCKET`` in the environment nothing is sent and every call costs nothing, so the loop need not ask who started it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

from analyzer.report.visible import shorten

#: Longest STATUS= that is sent, in characters; ``systemctl status`` shows one line.
MAX_STATUS: Final = 200
#: Heartbeats in each period that systemd allows without one: one may be lost.
BEATS_A_PERIOD: Final = 3
#: What systemd puts into the environment; taken out of it, so that programs we start do not speak for us.
VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager; does nothing where there is none.

    Never raises and never waits: a message that cannot be sent at once is lost, and ``trouble`` says why.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        given = {name: environment.pop(name, "") for name in VARIABLES}
        #: the last thing that went wrong, for people; empty when all is well
        self.trouble: str = ""
        #: seconds between heartbeats, None where systemd watches nothing
        self.watchdog_s: float | None = _watchdog_seconds(given["WATCHDOG_USEC"], given["WATCHDOG_PID"])
        self._address: bytes = b""
        self._socket: socket.socket | None = None
        self._beat_at: float = 0.0
        self._status: str = ""
        self._open(given["NOTIFY_SOCKET"])

    def __bool__(self) -> bool:
        """There is a service manager that listens."""
        return self._socket is not None

    def fileno(self) -> int:
        """The socket's descriptor, -1 without one: not to be closed with those that are needed no longer."""
        return -1 if self._socket is None else self._socket.fileno()

    def ready(self, status: str = "") -> None:
        """READY=1: start-up is over, or the configuration is read anew."""
        self._say("READY=1", status)

    def status(self, text: str) -> None:
        """STATUS=: one line of what is going on, for ``systemctl status``; sent only where it changed."""
        if text != self._status:
            self._say("", text)

    def reloading(self) -> None:
        """RELOADING=1: the configuration is being read anew; ``ready`` ends it."""
        # MONOTONIC_USEC is what Type=notify-reload asks for; older systemd does not mind
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """STOPPING=1: the end has begun."""
        self._say("STOPPING=1", status)

    def beat(self) -> None:
        """WATCHDOG=1, as often as is asked for. Call it every turn of the loop, and nowhere else: it says that the loop turns."""
        if self.watchdog_s is None or self._socket is None:
            return
        now = time.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self.watchdog_s
            self._say("WATCHDOG=1")

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self, address: str) -> None:
        if not address:
            return
        if address[0] not in "@/" or len(address) < 2:
            self.trouble = f"NOTIFY_SOCKET is '{shorten(address, 80)}', neither a path nor an abstract socket: systemd hears nothing"
            return
        self._address = os.fsencode("\0" + address[1:] if address[0] == "@" else address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def _say(self, message: str, status: str = "") -> None:
        if self._socket is None:
            return
        if status:
            self._status = status
            line = f"STATUS={shorten(status, MAX_STATUS)}"
            message = f"{message}\n{line}" if message else line
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            self.trouble = f"systemd cannot be told how the monitor is: {error.strerror}"
        else:
            self.trouble = ""


def _watchdog_seconds(microseconds: str, pid: str) -> float | None:
    """Seconds between heartbeats, three of which fit into what systemd allows; None where it does not watch this process."""
    if pid and pid != str(os.getpid()):
        return None
    if not microseconds.isascii() or not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return int(microseconds) / 1e6 / BEATS_A_PERIOD
