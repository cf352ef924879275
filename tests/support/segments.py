"""Makes TCP segments out of dialogues, and pushes segments into a flow table.

talk = Talk()                   # or Talk(client_port=..., server_port=110, ...)
talk.open()                     # SYN, SYN-ACK, ACK
talk.say(SERVER, b"+OK\\r\\n")  # one segment; the other side acknowledges it in its next
talk.say(CLIENT, b"QUIT\\r\\n", size=1)
talk.close()
recorders = play(talk.segments)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace

from analyzer.flows.base import StreamRecorder, StreamRecorderFactory
from analyzer.flows.table import FlowTable
from analyzer.model import CLIENT, SERVER

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MASK = 0xFFFFFFFF
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
#: where the time of all talks begins
EPOCH = 1_600_000_000 * SECOND

SERVICES = {25: "smtp", 110: "pop3", 143: "imap", 465: "submissions", 995: "pop3s"}
GREETINGS = [b"+OK ", b"* OK ", b"220 "]


@dataclass(frozen=True)
class Segment:
    """One segment as the packets room hands it on; its frame number is its place in what is played."""

    key: bytes
    data: bytes
    seq: int
    ack: int
    flags: int
    time: int
    missing: int = 0

    def but(self, **changes: object) -> Segment:
        return replace(self, **changes)  # type: ignore[arg-type]


class Talk:
    """One connection's dialogue, and the segments it makes."""

    def __init__(
        self,
        server_port: int = 110,
        client_port: int = 40000,
        client_ip: str = "192.0.2.1",
        server_ip: str = "198.51.100.2",
        isn: tuple[int, int] = (1000, 5000),
        time: int = EPOCH,
        pause: int = MILLISECOND,
    ) -> None:
        client = ipaddress.ip_address(client_ip).packed
        server = ipaddress.ip_address(server_ip).packed
        ports = client_port.to_bytes(2, "big"), server_port.to_bytes(2, "big")
        self.keys = (client + server + ports[0] + ports[1], server + client + ports[1] + ports[0])
        self.isn = isn
        self.next = [isn[0], isn[1]]
        self.time = time
        self.pause = pause
        self.segments: list[Segment] = []

    def send(
        self,
        sender: int,
        data: bytes = b"",
        flags: int = ACK,
        seq: int | None = None,
        ack: int | None = None,
        missing: int = 0,
    ) -> Segment:
        """One segment as told; without ``seq`` it continues its stream."""
        if seq is None:
            seq = self.next[sender]
            self.next[sender] = (seq + len(data) + missing + bool(flags & SYN) + bool(flags & FIN)) & MASK
        if ack is None:
            ack = self.next[1 - sender] if flags & ACK else 0
        segment = Segment(self.keys[sender], data, seq & MASK, ack & MASK, flags, self.time, missing)
        self.time += self.pause
        self.segments.append(segment)
        return segment

    def open(self) -> Talk:
        self.send(CLIENT, flags=SYN)
        self.send(SERVER, flags=SYN | ACK)
        self.send(CLIENT)
        return self

    def say(self, sender: int, data: bytes, size: int = 1448) -> Talk:
        """Octets in segments of at most ``size``."""
        for at in range(0, len(data), size):
            self.send(sender, data[at : at + size], flags=PSH | ACK)
        return self

    def dialogue(self, *turns: tuple[int, bytes], size: int = 1448) -> Talk:
        for sender, data in turns:
            self.say(sender, data, size)
        return self

    def close(self) -> Talk:
        self.send(CLIENT, flags=FIN | ACK)
        self.send(SERVER, flags=FIN | ACK)
        self.send(CLIENT)
        return self


LOGIN = (
    (SERVER, b"+OK ready\r\n"),
    (CLIENT, b"USER ann\r\n"),
    (SERVER, b"+OK\r\n"),
    (CLIENT, b"PASS made-up\r\n"),
    (SERVER, b"+OK logged in\r\n"),
)


def login(**settings: object) -> Talk:
    """A short POP3 session, from SYN to the last acknowledgement."""
    return Talk(**settings).open().dialogue(*LOGIN).close()  # type: ignore[arg-type]


class Player:
    """A table with recorders behind it."""

    def __init__(self, refused: bytes = b"") -> None:
        self.factory = StreamRecorderFactory(SERVICES, GREETINGS, refused)
        self.table = FlowTable(self.factory)
        self.frame = 0

    def play(self, segments: Iterable[Segment]) -> Player:
        for segment in segments:
            self.frame += 1
            # never at the start of the buffer, as in a real one
            buffer = b"\xff\xff" + segment.data + b"\xff"
            end = 2 + len(segment.data)
            self.table.receive_segment(
                segment.key, buffer, 2, end, segment.missing, segment.seq, segment.ack, segment.flags, segment.time,
                self.frame,
            )  # fmt: skip
        return self

    def end(self) -> list[StreamRecorder]:
        self.table.end_capture()
        assert self.table.flows_open == 0
        assert self.table._ledger.held_bytes == 0
        assert self.table._ledger.recent_bytes == 0
        assert self.table._ledger.active == 0
        return self.recorders

    @property
    def recorders(self) -> list[StreamRecorder]:
        return self.factory.recorders


def conversation(recorder: StreamRecorder) -> list[tuple[str, int, bytes, int]]:
    """``(kind, sender, data, size)`` in order, neighbouring data of one sender (and its neighbouring gaps) joined."""
    turns: list[tuple[str, int, bytes, int]] = []
    for kind, sender, data, size, _frame, _offset in recorder.calls:
        if turns and turns[-1][:2] == (kind, sender):
            last = turns.pop()
            turns.append((kind, sender, last[2] + data, last[3] + size))
        else:
            turns.append((kind, sender, data, size))
    return turns


def play(segments: Iterable[Segment], refused: bytes = b"") -> list[StreamRecorder]:
    """Everything from the first segment to the end of the capture."""
    return Player(refused).play(segments).end()


def turns(recorder: StreamRecorder) -> list[tuple[int, bytes]]:
    """Who said what, in order; gaps and ends left out, neighbouring pieces joined."""
    said: list[tuple[int, bytes]] = []
    for kind, sender, data, _size, _frame, _offset in recorder.calls:
        if kind != "data":
            continue
        if said and said[-1][0] == sender:
            said[-1] = (sender, said[-1][1] + data)
        else:
            said.append((sender, data))
    return said
