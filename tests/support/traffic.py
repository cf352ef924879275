"""Plays dialogues as TCP connections: Ethernet frames with right sequence numbers and checksums, as a pcap in memory.

talk = Talk(server_port=110)
talk.play('''
    S: +OK ready
    C: USER alice
''')
content = capture(talk.frames())
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from textwrap import dedent

from analyzer.pipeline import Result, run

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

#: 2026-03-02 09:00:00 UTC
START_NS = 1_772_442_000_000_000_000
MILLISECOND = 1_000_000

#: (timestamp_ns, octets of an Ethernet frame)
Frame = tuple[int, bytes]


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def tcp_frame(
    source: str, target: str, source_port: int, target_port: int, seq: int, ack: int, flags: int, payload: bytes = b""
) -> bytes:
    """One Ethernet frame holding one TCP segment, IPv4 or IPv6 by its addresses."""
    a, b = ip_address(source).packed, ip_address(target).packed
    segment = struct.pack(
        "!HHIIBBHHH", source_port, target_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 64240, 0, 0
    )
    segment += payload
    pseudo = a + b + (struct.pack("!BBH", 0, 6, len(segment)) if len(a) == 4 else struct.pack("!II", len(segment), 6))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    if len(a) == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, 6, 0) + a + b
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        kind = b"\x08\x00"
    else:
        head = struct.pack("!IHBB", 0x60000000, len(segment), 6, 64) + a + b
        kind = b"\x86\xdd"
    return b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01" + kind + head + segment


class Talk:
    """One TCP connection in the making."""

    def __init__(
        self,
        client: str = "192.0.2.10",
        server: str = "198.51.100.20",
        client_port: int = 40000,
        server_port: int = 110,
        start_ns: int = START_NS,
        isn: tuple[int, int] = (1000, 5000),
        handshake: bool = True,
    ) -> None:
        self.ends = ((client, client_port), (server, server_port))
        self.seq = [isn[0], isn[1]]
        self.now = start_ns
        self.sent: list[Frame] = []
        #: index of the first frame of payload
        if handshake:
            self._segment(0, SYN, b"", with_ack=False)
            self._segment(1, SYN | ACK, b"")
            self._segment(0, ACK, b"")
        else:
            self.seq = [isn[0] + 1, isn[1] + 1]

    def _segment(self, sender: int, flags: int, payload: bytes, with_ack: bool = True) -> None:
        (source, source_port), (target, target_port) = self.ends[sender], self.ends[1 - sender]
        ack = self.seq[1 - sender] if with_ack else 0
        frame = tcp_frame(source, target, source_port, target_port, self.seq[sender], ack, flags, payload)
        self.sent.append((self.now, frame))
        self.now += MILLISECOND
        self.seq[sender] += len(payload) + (1 if flags & (SYN | FIN) else 0)

    def client(self, payload: bytes) -> Talk:
        """The client sends one segment."""
        self._segment(0, PSH | ACK, payload)
        return self

    def server(self, payload: bytes) -> Talk:
        """The server sends one segment."""
        self._segment(1, PSH | ACK, payload)
        return self

    def acknowledge(self, sender: int) -> Talk:
        """A bare ACK."""
        self._segment(sender, ACK, b"")
        return self

    def play(self, transcript: str) -> Talk:
        """``C:`` and ``S:`` lines, one segment each, CRLF added; ``\\n`` and ``\\x..`` in them as in Python."""
        for line in dedent(transcript).strip("\n").split("\n"):
            if not line.strip():
                continue
            who, _, text = line.partition(": ")
            octets = text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1") + b"\r\n"
            if who.strip() == "C":
                self.client(octets)
            else:
                self.server(octets)
        return self

    def close(self) -> Talk:
        """Both sides say FIN."""
        self._segment(0, FIN | ACK, b"")
        self._segment(1, FIN | ACK, b"")
        self._segment(0, ACK, b"")
        return self

    def reset(self, sender: int = 0) -> Talk:
        """One side says RST."""
        self._segment(sender, RST | ACK, b"")
        return self

    def frames(self) -> list[Frame]:
        return list(self.sent)


def capture(frames: Iterable[Frame], linktype: int = 1) -> bytes:
    """A nanosecond pcap file."""
    content = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, linktype)]
    for timestamp, frame in frames:
        content.append(struct.pack("<IIII", timestamp // 10**9, timestamp % 10**9, len(frame), len(frame)))
        content.append(frame)
    return b"".join(content)


def retimed(frames: Sequence[Frame]) -> list[Frame]:
    """Frames in the order given, with the times of that order: what a capture of reordered packets holds."""
    times = sorted(timestamp for timestamp, _ in frames)
    return [(timestamp, frame) for timestamp, (_, frame) in zip(times, frames, strict=True)]


def run_frames(folder: Path, frames: Iterable[Frame], **options: object) -> Result:
    """Run the pipeline over frames."""
    path = folder / "talk.pcap"
    path.write_bytes(capture(frames))
    return run([path], **options)  # type: ignore[arg-type] # options of run, named by the test


def logins(result: Result) -> list[tuple[str, str | None, str | None, str]]:
    """(mechanism, username, secret or response in clear, outcome) of every credential of a run."""
    found = []
    for session in result.sessions:
        for one in session.credentials or ():
            hidden = one.secret if one.secret is not None else one.response
            found.append((one.mechanism, one.username, None if hidden is None else hidden.reveal(), one.outcome))
    return found
