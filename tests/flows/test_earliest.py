"""The time before which no flow begins that has yet to end: what sessions are put in order by."""

from __future__ import annotations

import random
import struct

import pytest

from analyzer.flows.base import CountingFactory
from analyzer.flows.table import SPARE_PLACES, FlowTable
from analyzer.packets.base import ACK, FIN, PSH, RST, SYN

SECOND = 1_000_000_000
CLIENT, SERVER = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 2])


def earliest(table: FlowTable, slack_ns: int) -> int:
    """The same, by looking at every flow."""
    begun = [flow.start_ns for flow in table._flows if flow is not None]
    return min([table._clock_ns - slack_ns if table._clock_started else -(1 << 62), *begun])


class Traffic:
    """Short connections of one client, and the table that they meet in."""

    def __init__(self) -> None:
        self.table = FlowTable(CountingFactory([110]))
        self.frame = 0

    def send(self, port: int, now: int, sender: int, flags: int, seq: int, ack: int, data: bytes = b"") -> None:
        ends = (CLIENT + SERVER, (port, 110)) if sender == 0 else (SERVER + CLIENT, (110, port))
        key = ends[0] + struct.pack("!HH", *ends[1])
        self.frame += 1
        self.table.receive_segment(key, data, 0, len(data), 0, seq, ack, flags, now, self.frame)

    def open(self, port: int, now: int) -> None:
        self.send(port, now, 0, SYN, 10, 0)
        self.send(port, now, 1, SYN | ACK, 20, 11)
        self.send(port, now, 0, PSH | ACK, 11, 21, b"QUIT\r\n")

    def close(self, port: int, now: int) -> None:
        self.send(port, now, 0, FIN | ACK, 17, 21)
        self.send(port, now, 1, FIN | ACK, 21, 18)
        self.send(port, now, 0, ACK, 18, 22)

    def check(self) -> None:
        for slack_ns in (0, 2 * SECOND):
            assert self.table.earliest_open_ns(slack_ns) == earliest(self.table, slack_ns)


def steps(rng: random.Random) -> list[int]:
    """How time goes on: in order, with jitter, with jumps, or without any order."""
    kind = rng.randrange(4)
    if kind == 0:
        return [rng.randrange(SECOND // 3) for _ in range(300)]
    if kind == 1:
        return [rng.randrange(-SECOND // 10, SECOND // 3) for _ in range(300)]
    if kind == 2:
        return [
            rng.choice([SECOND // 10, SECOND // 10, -5 * SECOND, 30 * SECOND, 4 * 3600 * SECOND]) for _ in range(300)
        ]
    return [rng.randrange(-1000 * SECOND, 1000 * SECOND) for _ in range(300)]


@pytest.mark.parametrize("seed", range(40))
def test_no_flow_that_is_open_began_before(seed: int) -> None:
    rng = random.Random(seed)
    traffic = Traffic()
    table = traffic.table
    now = 10**18
    for step in steps(rng):
        now += step
        port = 40000 + rng.randrange(30)
        what = rng.random()
        if what < 0.5:
            traffic.open(port, now)
        elif what < 0.8:
            traffic.close(port, now)
        elif what < 0.9:
            traffic.send(port, now, 0, RST | ACK, 17, 21)
        elif what < 0.95:
            table.advance(now + rng.randrange(10 * SECOND))
        elif what < 0.97:
            table.step_back()
        elif what < 0.98:
            table.end_capture()
            assert table.flows_open == 0
        traffic.check()


def test_flows_that_have_ended_leave_their_places() -> None:
    """A connection that lasts, thousands that do not, and some whose packets two queues have swapped."""
    traffic = Traffic()
    now = 10**18
    traffic.open(30000, now)
    for number in range(3 * SPARE_PLACES):
        now += SECOND // 50
        port = 40000 + number % 20000
        swapped = SECOND // 20 if number % 97 == 0 else 0
        traffic.open(port, now - swapped)
        traffic.close(port, now + 1)
        if number % 61 == 0:
            traffic.check()
    assert len(traffic.table._flows) < 3 * SPARE_PLACES
    assert traffic.table.earliest_open_ns(0) == 10**18
    traffic.close(30000, now)
    traffic.table.advance(now + 100 * SECOND)
    traffic.table.advance(now + 200 * SECOND)
    traffic.check()
    assert traffic.table.earliest_open_ns(0) > now


def test_a_lingering_flow_that_ends_is_let_go() -> None:
    traffic = Traffic()
    for number in range(300):
        traffic.open(40000 + number, 10**18 + number)
        traffic.close(40000 + number, 10**18 + number)
    assert sum(flow is not None for flow in traffic.table._lingering) == 300
    traffic.table.advance(10**18 + 60 * SECOND)
    assert traffic.table.flows_open == 0
    assert not any(traffic.table._lingering)
