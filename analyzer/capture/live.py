"""Packets as they pass: what every live source has in common.

A live source hands over records like a file does, but never ends by itself (a pipe may), never waits inside ``read``, and can lose
packets, which it counts. The kinds are in modules of their own: ``ring`` (Linux TPACKET_V3), ``sniffer`` (scapy), ``follow`` (growing
files, rings of files, pipes).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import mypyc_attr

from analyzer.capture.base import RecordSink

#: Records that one call of ``read`` hands over at most, more or less: between calls the monitor looks after everything else.
MAX_RECORDS_A_READ: Final = 20000


class LiveCounters:
    """What a live source counted so far."""

    def __init__(self) -> None:
        self.packets: int = 0
        #: octets captured
        self.bytes: int = 0
        #: packets the kernel had no room for; None where it cannot tell
        self.kernel_drops: int | None = None
        #: packets that mailtap itself left behind
        self.own_drops: int = 0
        #: octets lost to damage, and places of it (files and pipes)
        self.skipped_bytes: int = 0
        self.damaged: int = 0
        #: capture time of the first and of the latest packet, 0 for none
        self.first_ns: int = 0
        self.last_ns: int = 0
        self.linktypes: list[int] = []


@mypyc_attr(allow_interpreted_subclasses=True)
class LiveSource:
    """One source of packets. Made cheaply; ``open`` does what needs privileges, ``read`` works without them."""

    def __init__(self, name: str) -> None:
        #: as the user named it: ``eth0``, ``any``, ``-``, a path
        self.name = name
        #: ``ring``, ``scapy``, ``follow``, ``pipe``
        self.kind: str = ""
        #: it will give nothing any more: a pipe whose writer is gone
        self.finished: bool = False
        #: False while the interface is down or the file has gone; comes back by itself
        self.up: bool = True
        #: what is wrong or odd right now, for people; empty when all is well
        self.trouble: str = ""

    def open(self) -> None:
        """Open the interface or file.

        Raises:
            CaptureError: it is missing, or may not be opened; the message says what to do.
            UsageError: the filter makes no sense.
        """

    def fileno(self) -> int:
        """A descriptor that becomes readable when there is something to read; -1 where there is none and time must tell."""
        return -1

    def read(self, sink: RecordSink) -> int:
        """Hand over what has come, without waiting, about ``MAX_RECORDS_A_READ`` at most; the number of records."""
        return 0

    def look(self) -> None:
        """In place of ``read``, as often, where what there is must wait: what would be gone later is laid hold of."""

    def counters(self) -> LiveCounters:
        """What was counted so far; cheap enough for once a second."""
        return LiveCounters()

    def close(self) -> None:
        """Let go of everything; promiscuous mode goes with it."""
