"""Blocks of a TPACKET_V3 ring, built octet by octet as the kernel fills them."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

BLOCK = 1 << 18
VLAN_VALID = 0x10
TPID_VALID = 0x40


class Packet(NamedTuple):
    """One packet in a block."""

    data: bytes
    stamp: int = 1_767_225_600_123_456_789
    wire: int | None = None
    status: int = 1
    tag: tuple[int, int] = (0, 0)  # TCI, TPID
    hardware: int = 1
    direction: int = 0
    protocol: int = 0x0800
    #: octets of the link header
    link: int = 14
    index: int = 2


def packed(packet: Packet, last: bool) -> bytes:
    network = 80 + max(16, packet.link)
    front = network - packet.link
    size = (front + len(packet.data) + 15) & ~15
    seconds, nanos = divmod(packet.stamp, 1_000_000_000)
    wire = len(packet.data) if packet.wire is None else packet.wire
    head = struct.pack(
        "<6IHHIIHH8s", 0 if last else size, seconds, nanos, len(packet.data), wire, packet.status, front, network, 0,
        packet.tag[0], packet.tag[1], 0, b"",
    )  # fmt: skip
    address = struct.pack("<H", 17) + struct.pack(">H", packet.protocol)
    address += struct.pack("<iHBB8s", packet.index, packet.hardware, packet.direction, 6, b"\2\0\0\0\0\1")
    return (head + address).ljust(front, b"\0") + packet.data + bytes(size - front - len(packet.data))


def block(packets: Iterable[Packet], size: int = BLOCK) -> bytes:
    """A block ready to be read."""
    listed = list(packets)
    body = b"".join(packed(packet, index + 1 == len(listed)) for index, packet in enumerate(listed))
    head = struct.pack("<6IQ4I", 3, 48, 1, len(listed), 48, 48 + len(body), 1, 0, 0, 0, 0)
    assert len(head) + len(body) <= size
    return (head + body).ljust(size, b"\xff")
