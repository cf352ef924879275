"""Builds capture files octet by octet, and reads them back by the readers under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from analyzer.capture.base import CaptureStats, Reader, RecordList
from analyzer.capture.pcap import PcapReader
from analyzer.capture.pcapng import PcapngReader

MICRO = 0xA1B2C3D4
NANO = 0xA1B23C4D
MODIFIED = 0xA1B2CD34

#: 2026-01-01 00:00:00 UTC
NEW_YEAR = 1767225600
SECOND = 1_000_000_000

#: ``(timestamp_ns, linktype, data, wire_length, frame)``
Record = tuple[int, int, bytes, int, int]


def pcap_header(
    order: str = "<",
    magic: int = MICRO,
    linktype: int = 1,
    snaplen: int = 262144,
    version: tuple[int, int] = (2, 4),
) -> bytes:
    return struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, linktype)


def pcap_record(
    data: bytes,
    seconds: int = NEW_YEAR,
    fraction: int = 0,
    wire: int | None = None,
    order: str = "<",
    extra: bytes = b"",
) -> bytes:
    lengths = (len(data), len(data) if wire is None else wire)
    return struct.pack(order + "IIII", seconds, fraction, *lengths) + extra + data


def pcap(frames: Iterable[bytes], order: str = "<", magic: int = MICRO, start: int = NEW_YEAR) -> bytes:
    """A file of ``frames``, a second and seven units apart."""
    records = [pcap_record(data, start + i, 7 * i, order=order) for i, data in enumerate(frames)]
    return pcap_header(order, magic) + b"".join(records)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<", options: bytes = b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(linktype: int = 1, snaplen: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", linktype, 0, snaplen) + options, order)


def enhanced(
    data: bytes,
    ticks: int = NEW_YEAR * 1_000_000,
    number: int = 0,
    wire: int | None = None,
    order: str = "<",
    options: bytes = b"",
) -> bytes:
    wire = len(data) if wire is None else wire
    body = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), wire)
    return block(6, body + data + bytes(-len(data) % 4) + options, order)


def simple(data: bytes, wire: int | None = None, order: str = "<") -> bytes:
    return block(3, struct.pack(order + "I", len(data) if wire is None else wire) + data, order)


def old_packet(data: bytes, ticks: int, number: int = 0, drops: int = 0, order: str = "<") -> bytes:
    body = struct.pack(order + "HHIIII", number, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(2, body + data, order)


def pcapng(frames: Iterable[bytes], order: str = "<", start: int = NEW_YEAR) -> bytes:
    """A file of ``frames``, a second and seven microseconds apart."""
    packets = [enhanced(data, (start + i) * 1_000_000 + 7 * i, order=order) for i, data in enumerate(frames)]
    return section(order) + interface(order=order) + b"".join(packets)


def reader_for(content: bytes, sink: RecordList) -> Reader:
    stats = CaptureStats("test")
    return PcapngReader(stats, sink) if content[:4] == b"\n\r\r\n" else PcapReader(stats, sink)


def feed(content: bytes, sizes: Iterable[int] = ()) -> tuple[list[Record], Reader]:
    """Read ``content`` in chunks of ``sizes``, the rest in one; the records and the reader."""
    sink = RecordList()
    reader = reader_for(content, sink)
    position = 0
    for size in sizes:
        reader.feed(content[position : position + size])
        position += size
    reader.feed(content[position:])
    reader.close()
    return sink.records, reader


def read(content: bytes, sizes: Iterable[int] = ()) -> tuple[list[Record], CaptureStats]:
    """As :func:`feed`, with every octet accounted for."""
    records, reader = feed(content, sizes)
    stats = reader.stats
    assert stats.bytes + reader.framing_bytes + stats.skipped_bytes == len(content)
    assert stats.packets == len(records)
    assert stats.bytes == sum(len(record[2]) for record in records)
    return records, stats


def data_of(records: Iterable[Record]) -> list[bytes]:
    return [record[2] for record in records]
