"""From a dialogue to captured frames, many copies at once.

A :class:`Shape` is one flow as a list of frame templates. :func:`render` makes ``n`` copies of every template as one
numpy array, fills in what differs from copy to copy (time, addresses, ports, sequence numbers, account numbers) and
computes the checksums over whole columns. That is what makes a capture of millions of packets a matter of seconds.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

#: Six octets in a payload that are replaced by the copy's six-digit number.
SLOT: Final = b"\x00SLOT\x00"

CLIENT: Final = 0
SERVER: Final = 1

FIN: Final = 0x01
SYN: Final = 0x02
PSH: Final = 0x08
ACK: Final = 0x10

#: Payload octets in a full segment: 1,500 less IP header, TCP header and timestamp option (IPv6 has 20 fewer).
MSS: Final = 1448

RECORD_HEADER: Final = 16
ETHERNET_HEADER: Final = 14

_CLIENT_MAC: Final = bytes.fromhex("020000000001")
_SERVER_MAC: Final = bytes.fromhex("020000000002")
_SYN_OPTIONS: Final = bytes.fromhex("020405b40402080a000000000000000001030307")
_DATA_OPTIONS: Final = bytes.fromhex("0101080a0000000000000000")

Protocol = Literal["tcp", "udp", "icmp", "arp"]
_PROTOCOL_NUMBER: Final = {"tcp": 6, "udp": 17, "icmp": 1}

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """One frame of a flow: who sends it, when (microseconds after the flow's start), and what is in it."""

    sender: int
    delay_us: int
    payload: bytes = b""
    flags: int = ACK
    #: octets sent before this frame by its sender and by its peer, SYN and FIN counted
    seq: int = 0
    ack: int = 0


@dataclass(frozen=True)
class Shape:
    """One flow of which many copies are made."""

    protocol: Protocol
    frames: list[Frame]
    server_port: int = 0
    ipv6: bool = False
    #: counted as mail by the benchmark's own books
    mail: bool = False

    @property
    def duration_us(self) -> int:
        """From the first frame to the last."""
        return self.frames[-1].delay_us


@dataclass
class Copies:
    """What differs between the copies of one shape; one element a copy."""

    start_us: Numbers
    client: Numbers
    client_port: Numbers
    server: Numbers
    client_isn: Numbers
    server_isn: Numbers
    number: Numbers


@dataclass
class Rendered:
    """Frames ready to be written: ``records[i]`` is to be written at ``times_us[i]``."""

    records: list[bytes] = field(default_factory=list)
    times_us: list[Numbers] = field(default_factory=list)


def tcp_shape(
    turns: list[tuple[int, bytes]], server_port: int, *, rtt_us: int = 20_000, ipv6: bool = False, mail: bool = False
) -> Shape:
    """A whole TCP connection around a dialogue: handshake, segments, acknowledgements, FIN from both sides.

    A turn without octets is a bare acknowledgement. Every second full segment is acknowledged at once, as by a
    receiver with delayed acknowledgements.
    """
    mss = MSS - 20 if ipv6 else MSS
    sent = [0, 0]
    frames: list[Frame] = []
    now = 0

    def send(sender: int, flags: int, payload: bytes = b"") -> None:
        frames.append(Frame(sender, now, payload, flags, sent[sender], sent[1 - sender]))
        sent[sender] += len(payload) + (1 if flags & (SYN | FIN) else 0)

    send(CLIENT, SYN)
    now += rtt_us
    send(SERVER, SYN | ACK)
    now += 60
    send(CLIENT, ACK)
    speaker = CLIENT
    for sender, data in turns:
        now += rtt_us // 2 if sender != speaker else 400
        speaker = sender
        if not data:
            send(sender, ACK)
            continue
        pieces = [data[i : i + mss] for i in range(0, len(data), mss)]
        for count, piece in enumerate(pieces, 1):
            last = count == len(pieces)
            send(sender, ACK | PSH if last else ACK, piece)
            now += 120
            if count % 2 == 0 and not last:
                send(1 - sender, ACK)
                now += 15
    now += rtt_us // 2
    send(SERVER, FIN | ACK)
    now += 300
    send(CLIENT, FIN | ACK)
    now += rtt_us // 2
    send(SERVER, ACK)
    return Shape("tcp", frames, server_port, ipv6, mail)


def datagram_shape(
    protocol: Protocol, turns: list[tuple[int, bytes]], server_port: int = 0, *, gap_us: int = 150, ipv6: bool = False
) -> Shape:
    """A flow without a connection: UDP, ICMP or ARP."""
    frames = [Frame(sender, i * gap_us, data) for i, (sender, data) in enumerate(turns)]
    return Shape(protocol, frames, server_port, ipv6)


def render(shape: Shape, copies: Copies, into: Rendered) -> None:
    """Append every frame of every copy of ``shape`` to ``into``."""
    for index, frame in enumerate(shape.frames):
        length, times, rows = _render_frame(shape, frame, index, copies)
        width = rows.shape[1]
        data = rows.tobytes()
        into.records.extend([data[i : i + length] for i in range(0, len(data), width)])
        into.times_us.append(times)


def _render_frame(shape: Shape, frame: Frame, index: int, copies: Copies) -> tuple[int, Numbers, NDArray[np.uint8]]:
    """One row a copy, padded to even width; returns the true length of a row, the times, and the rows."""
    template, ip, l4 = _template(shape, frame)
    length = len(template)
    count = len(copies.start_us)
    rows = np.empty((count, length + length % 2), dtype=np.uint8)
    rows[:] = np.frombuffer(template + b"\0" * (length % 2), dtype=np.uint8)
    times = copies.start_us + frame.delay_us
    _put(rows, 0, 4, times // 1_000_000, little=True)
    _put(rows, 4, 4, times % 1_000_000, little=True)
    _fill_slots(rows, template, copies.number)
    if shape.protocol == "arp":
        _put(rows, ip + 14, 4, copies.client)
        _put(rows, ip + 24, 4, copies.server)
        return length, times, rows

    from_client = frame.sender == CLIENT
    source, destination = (copies.client, copies.server) if from_client else (copies.server, copies.client)
    if shape.ipv6:
        _put(rows, ip + 20, 4, source)
        _put(rows, ip + 36, 4, destination)
    else:
        _put(rows, ip + 4, 2, (copies.client_isn + index) & 0xFFFF)
        _put(rows, ip + 12, 4, source)
        _put(rows, ip + 16, 4, destination)
        _put(rows, ip + 10, 2, _checksum(rows[:, ip:l4]))
    if shape.protocol in ("tcp", "udp"):
        _put(rows, l4 if from_client else l4 + 2, 2, copies.client_port)
    if shape.protocol == "tcp":
        mine, theirs = (copies.client_isn, copies.server_isn) if from_client else (copies.server_isn, copies.client_isn)
        _put(rows, l4 + 4, 4, mine + frame.seq)
        if frame.flags & ACK:
            _put(rows, l4 + 8, 4, theirs + frame.ack)
        stamp = l4 + (28 if frame.flags & SYN else 24)
        _put(rows, stamp, 4, times // 1000)
        if frame.flags & ACK:
            _put(rows, stamp + 4, 4, times // 1000 - 1)
    _put(rows, l4 + _CHECKSUM_AT[shape.protocol], 2, _l4_checksum(shape, rows, ip, l4, length))
    return length, times, rows


_CHECKSUM_AT: Final[dict[str, int]] = {"tcp": 16, "udp": 6, "icmp": 2}


def _template(shape: Shape, frame: Frame) -> tuple[bytes, int, int]:
    """The frame with everything that all copies share, and the offsets of its network and transport headers."""
    from_client = frame.sender == CLIENT
    macs = _SERVER_MAC + _CLIENT_MAC if from_client else _CLIENT_MAC + _SERVER_MAC
    ip = RECORD_HEADER + ETHERNET_HEADER
    if shape.protocol == "arp":
        body = (
            struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1 if from_client else 2)
            + macs[6:]
            + b"\0" * 4
            + macs[:6]
            + b"\0" * 4
        )
        packet = macs + b"\x08\x06" + body
        return struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet, ip, ip
    l4 = ip + (40 if shape.ipv6 else 20)
    ports = struct.pack(">HH", 0, shape.server_port) if from_client else struct.pack(">HH", shape.server_port, 0)
    if shape.protocol == "tcp":
        options = _SYN_OPTIONS if frame.flags & SYN else _DATA_OPTIONS
        header = ports + struct.pack(">IIBBHHH", 0, 0, (20 + len(options)) << 2, frame.flags, 502, 0, 0) + options
    elif shape.protocol == "udp":
        header = ports + struct.pack(">HH", 8 + len(frame.payload), 0)
    else:
        header = struct.pack(">BBHHH", 8 if from_client else 0, 0, 0, 7, 1)
    segment = header + frame.payload
    if shape.ipv6:
        prefix = bytes.fromhex("20010db8000000000000000000000000")
        network = struct.pack(">IHBB", 0x60000000, len(segment), _PROTOCOL_NUMBER[shape.protocol], 64) + prefix * 2
        packet = macs + b"\x86\xdd" + network + segment
    else:
        number = _PROTOCOL_NUMBER[shape.protocol]
        network = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, number, 0) + b"\0" * 8
        packet = macs + b"\x08\x00" + network + segment
    return struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet, ip, l4


def _put(rows: NDArray[np.uint8], at: int, size: int, values: Numbers, *, little: bool = False) -> None:
    """Write one number a row, ``size`` octets at offset ``at``, in network byte order unless ``little``."""
    for i in range(size):
        shift = 8 * (i if little else size - 1 - i)
        rows[:, at + i] = (values >> shift) & 0xFF


def _fill_slots(rows: NDArray[np.uint8], template: bytes, numbers: Numbers) -> None:
    at = template.find(SLOT)
    while at >= 0:
        for i in range(6):
            rows[:, at + i] = numbers // 10 ** (5 - i) % 10 + ord("0")
        at = template.find(SLOT, at + 6)


def _sum(rows: NDArray[np.uint8]) -> Numbers:
    """The sum of the 16-bit words of each row, in network byte order. Rows are of even width."""
    words = np.ascontiguousarray(rows).view("<u2")
    folded = _fold(words.sum(axis=1, dtype=np.int64))
    # the one's complement sum does not depend on byte order, but for a swap of the result (RFC 1071, section 2)
    swapped: Numbers = ((folded & 0xFF) << 8) | (folded >> 8)
    return swapped


def _fold(total: Numbers) -> Numbers:
    for _ in range(4):
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _checksum(rows: NDArray[np.uint8]) -> Numbers:
    result: Numbers = 0xFFFF - _fold(_sum(rows))
    return result


def _l4_checksum(shape: Shape, rows: NDArray[np.uint8], ip: int, l4: int, length: int) -> Numbers:
    total = _sum(rows[:, l4:])
    if shape.protocol != "icmp":
        addresses = rows[:, ip + 8 : l4] if shape.ipv6 else rows[:, ip + 12 : l4]
        total = total + _sum(addresses) + _PROTOCOL_NUMBER[shape.protocol] + (length - l4)
    result: Numbers = 0xFFFF - _fold(total)
    if shape.protocol == "udp":
        result = np.where(result == 0, 0xFFFF, result)
    return result
