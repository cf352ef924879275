"""A wire that loses, doubles and reorders frames, so that the endpoints really retransmit.

It reads raw frames at one end and sends them out at the other. Which frames suffer is drawn from a seeded generator.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import threading
import time
from typing import Final

from . import network

_ETH_P_ALL: Final = 3
_PACKET_OUTGOING: Final = 4
_DELAY: Final = 0.002  # seconds every frame takes
_LATE: Final = 0.010  # seconds more for a frame that is to be overtaken


class BadWire:
    """Forwards between ``w0`` and ``w1`` until closed. Probabilities are per frame."""

    def __init__(self, *, loss: float, double: float, late: float, seed: int) -> None:
        self.loss, self.double, self.late = loss, double, late
        self.counts = {"forwarded": 0, "lost": 0, "doubled": 0, "late": 0}
        self._random = random.Random(seed)
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._thread = network.thread_in(network.WIRE, self._forward)
        self._ready.wait(5)

    def close(self) -> None:
        """Stop forwarding."""
        self._stop.set()
        self._thread.join(3)

    def _forward(self) -> None:
        ends = [_raw("w0"), _raw("w1")]
        self._ready.set()
        queue: list[tuple[float, int, int, bytes]] = []
        serial = 0
        while not self._stop.is_set():
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                _, _, to, frame = heapq.heappop(queue)
                ends[to].send(frame)
                self.counts["forwarded"] += 1
            wait = max(0.0, queue[0][0] - now) if queue else 0.2
            for end in select.select(ends, [], [], wait)[0]:
                frame, origin = end.recvfrom(65536)
                if origin[2] == _PACKET_OUTGOING:
                    continue
                to = 1 if end is ends[0] else 0
                due = time.monotonic() + _DELAY
                copies = 1
                if frame[12:14] == b"\x08\x00":  # ARP is left alone
                    if self._random.random() < self.loss:
                        self.counts["lost"] += 1
                        continue
                    if self._random.random() < self.late:
                        due += _LATE
                        self.counts["late"] += 1
                    if self._random.random() < self.double:
                        copies = 2
                        self.counts["doubled"] += 1
                for copy in range(copies):
                    heapq.heappush(queue, (due + copy * 0.0004, serial, to, frame))
                    serial += 1
        for end in ends:
            end.close()


def _raw(interface: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    end.bind((interface, 0))
    return end
