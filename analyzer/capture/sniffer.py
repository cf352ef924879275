"""Packets from a network interface through scapy's sockets: where there is no AF_PACKET ring (BSD, macOS), or on request.

A thread of its own takes packets from scapy's layer 2 listening socket as plain octets (scapy's dissection is never run) and puts them
into a queue of bounded size; what finds no room there is dropped and counted. It is slower than the ring by far: every packet costs system
calls and a turn of the interpreter, shared with everything else that mailtap does.

On Linux the kernel filters as for the ring, loopback packets are seen once, VLAN tags are put back by scapy, and ``any`` stands for the
interfaces that were up at the start. Elsewhere libpcap does what it does, and there is no default filter. Times are good to a
microsecond.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import threading
from collections import deque
from typing import Any, Final

from analyzer.capture import filters
from analyzer.capture.base import MAX_RECORD, RecordSink
from analyzer.capture.interfaces import ANY, how_to_grant, interfaces, names
from analyzer.capture.live import MAX_RECORDS_A_READ, LiveCounters, LiveSource
from analyzer.errors import CaptureError, CaptureNotFound

#: Packets, and octets, that wait for the monitor at most.
MAX_QUEUED: Final = 65536
MAX_QUEUED_BYTES: Final = 64 << 20
#: Octets that the kernel holds for the thread, where it lets us (Linux).
KERNEL_BUFFER: Final = 16 << 20
#: How often the thread looks whether it is to stop, or the interface is back.
_TURN_S: Final = 0.2
#: Seconds for which ``close`` waits for the thread.
_JOIN_S: Final = 2.0
_SO_RCVBUFFORCE: Final = 33
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_ETHERNET: Final = 1
#: Numbers by which scapy knows link types, where they are not those of captures: hardware (ARPHRD_) and libpcap's own (DLT_).
_LINKTYPES: Final = {12: 101, 14: 101, 31: 101, 772: _ETHERNET, 23: _ETHERNET}


class SnifferSource(LiveSource):
    """An interface, or ``any``, through scapy."""

    def __init__(
        self, name: str, expression: str | None = None, promiscuous: bool = True, snaplen: int = MAX_RECORD
    ) -> None:
        super().__init__(name)
        self.kind = "scapy"
        self._expression = expression
        self._promiscuous = promiscuous
        self._snaplen = snaplen
        self._sockets: list[Any] = []
        self._linktypes: list[int] = []
        self._queue: deque[tuple[bytes, int, int]] = deque()
        self._queued = 0
        self._worker: threading.Thread | None = None
        self._stop = threading.Event()
        self._wake_read = -1
        self._wake_write = -1
        self._counters = LiveCounters()
        self._frame = 0

    def open(self) -> None:
        wanted = [self.name]
        if self.name == ANY:
            wanted = [one.name for one in interfaces() if one.up and one.name != ANY]
        elif self.name not in names():
            raise CaptureNotFound(f"{self.name}: there is no such interface; there are {', '.join([*names(), ANY])}")
        try:
            import scapy.arch  # chooses the kind of socket
            import scapy.layers.l2  # noqa: F401 - makes link types known
            from scapy.config import conf
        except ImportError as error:
            raise CaptureError(f"{self.name}: scapy is not installed ({error}); pip install scapy") from error
        program: list[filters.Instruction] | None = None
        arguments: dict[str, Any] = {"promisc": self._promiscuous}
        if sys.platform.startswith("linux"):
            program = (
                filters.default_filter(self._snaplen)
                if self._expression is None
                else filters.user_filter(self._expression, -1, self._snaplen)
            )
        elif self._expression:
            arguments["filter"] = self._expression
        try:
            for name in wanted:
                channel: Any = conf.L2listen(iface=name, **arguments)
                self._sockets.append(channel)
                if program is not None and isinstance(getattr(channel, "ins", None), socket.socket):
                    filters.attach(channel.ins, filters.drop_all())
                    _empty(channel.ins)
                    filters.attach(channel.ins, program)
                    _enlarge(channel.ins)
                number = int(conf.l2types.layer2num.get(channel.LL, _ETHERNET))
                self._linktypes.append(_LINKTYPES.get(number, number))
        except PermissionError as error:
            self.close()
            raise CaptureError(f"{self.name}: cannot be captured from: {how_to_grant()}") from error
        except Exception as error:
            # Scapy raises whatever it likes, its own class among them.
            self.close()
            raise CaptureError(f"{self.name}: scapy cannot capture from it ({error})") from error
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def fileno(self) -> int:
        return self._wake_read

    def _run(self) -> None:
        """The thread: packets from the sockets into the queue."""
        sockets = dict(zip(self._sockets, self._linktypes, strict=True))
        while not self._stop.is_set():
            try:
                ready, _, _ = select.select(list(sockets), [], [], _TURN_S)
                for channel in ready:
                    _, octets, stamp = channel.recv_raw(self._snaplen)
                    if octets is not None and stamp is not None:
                        self._put(bytes(octets), int(float(stamp) * 1e9), sockets[channel])
                if ready:
                    self.up = True
                    self.trouble = ""
            except OSError as error:
                if self._stop.is_set():
                    return
                self.up = False
                self.trouble = f"gives nothing at present ({error.strerror or error}); waiting for it"
                self._stop.wait(_TURN_S)
            except ValueError:
                return  # closed under our hands

    def _put(self, octets: bytes, stamp: int, linktype: int) -> None:
        if len(self._queue) >= MAX_QUEUED or self._queued + len(octets) > MAX_QUEUED_BYTES:
            self._counters.own_drops += 1
            return
        self._queued += len(octets)
        self._queue.append((octets, stamp, linktype))
        if len(self._queue) == 1:
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake already
            os.write(self._wake_write, b"\0")

    def read(self, sink: RecordSink) -> int:
        if self._wake_read < 0:
            return 0
        if self._worker is None:
            # Not before the first look: a thread that is older than the drop of privileges keeps them.
            self._worker = threading.Thread(target=self._run, name=f"mailtap-{self.name}", daemon=True)
            self._worker.start()
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        counters = self._counters
        queue = self._queue
        taken = 0
        while queue and taken < MAX_RECORDS_A_READ:
            octets, stamp, linktype = queue.popleft()
            # Both threads change this sum; what is lost in a race is little, and an empty queue sets it right.
            self._queued -= len(octets)
            taken += 1
            self._frame += 1
            counters.packets += 1
            counters.bytes += len(octets)
            counters.first_ns = counters.first_ns or stamp
            counters.last_ns = stamp
            if linktype not in counters.linktypes:
                counters.linktypes.append(linktype)
            sink.receive_record(octets, 0, len(octets), len(octets), linktype, stamp, self._frame)
        if queue:
            self._wake()
        else:
            self._queued = 0
        return taken

    def counters(self) -> LiveCounters:
        for channel in self._sockets:
            self._statistics(channel)
        return self._counters

    def _statistics(self, channel: Any) -> None:
        """Add what the kernel says that it dropped: it forgets that with each question."""
        if not sys.platform.startswith("linux") or not isinstance(getattr(channel, "ins", None), socket.socket):
            return
        try:
            _, drops = struct.unpack("=II", channel.ins.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        except OSError:
            return  # no packet socket
        self._counters.kernel_drops = (self._counters.kernel_drops or 0) + drops

    def close(self) -> None:
        self._stop.set()
        if self._worker is not None:
            self._worker.join(_JOIN_S)
            self._worker = None
        for channel in self._sockets:
            self._statistics(channel)
            with contextlib.suppress(OSError):
                channel.close()
        self._sockets = []
        for descriptor in (self._wake_read, self._wake_write):
            if descriptor >= 0:
                os.close(descriptor)
        self._wake_read = self._wake_write = -1


def _enlarge(channel: socket.socket) -> None:
    """Ask for room in the kernel: scapy asks for 64 KiB, which is 85 packets."""
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with contextlib.suppress(OSError):
            channel.setsockopt(socket.SOL_SOCKET, option, KERNEL_BUFFER)
            return


def _empty(channel: socket.socket) -> None:
    """Throw away what came before the filter."""
    with contextlib.suppress(BlockingIOError):
        while True:
            channel.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC)
