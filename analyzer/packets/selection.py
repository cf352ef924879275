"""Picks the records of some TCP connections out of a capture, as they are: what has to be read again, in order, elsewhere."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.capture.base import RecordSink
from analyzer.packets.base import SegmentSink
from analyzer.packets.decoder import PacketDecoder

#: Octets of records that one selection keeps; records beyond it are counted.
MAX_SELECTED: Final = 1 << 30
#: What a record costs beside its octets.
RECORD_OVERHEAD: Final = 150


def connection_key(key: bytes) -> bytes:
    """One name for both directions of a connection, made of the key of either; the number of a network in front of a key is left out."""
    size: i64 = len(key)
    start: i64 = 2 if size == 14 or size == 38 else 0
    address: i64 = (size - start - 4) >> 1
    middle: i64 = start + address
    one = key[start:middle] + key[size - 4 : size - 2]
    other = key[middle : middle + address] + key[size - 2 :]
    return one + other if one <= other else other + one


class _Watcher(SegmentSink):
    """Notes whether a segment is of one of the connections."""

    def __init__(self, keys: set[bytes]) -> None:
        self.keys = keys
        self.met: bool = False

    def receive_segment(
        self,
        key: bytes,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        ack: i64,
        flags: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        if connection_key(key) in self.keys:
            self.met = True


class RecordSelector(RecordSink):
    """Keeps the records that hold segments of the connections named, and all that hold fragments: of what, their first one alone tells."""

    def __init__(self, keys: set[bytes]) -> None:
        self._watcher = _Watcher(keys)
        self._decoder = PacketDecoder(self._watcher)
        #: ``(timestamp_ns, linktype, data, wire_length, frame)``
        self.records: list[tuple[int, int, bytes, int, int]] = []
        self.size: i64 = 0
        #: records left out for :data:`MAX_SELECTED`
        self.left_out: i64 = 0

    def receive_record(
        self,
        buffer: bytes,
        start: i64,
        end: i64,
        wire_length: i64,
        linktype: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        decoder = self._decoder
        watcher = self._watcher
        watcher.met = False
        fragments: i64 = decoder.fragments
        decoder.receive_record(buffer, start, end, wire_length, linktype, timestamp_ns, frame)
        if not watcher.met and decoder.fragments == fragments:
            return
        self.size += end - start + RECORD_OVERHEAD
        if self.size > MAX_SELECTED:
            self.left_out += 1
            return
        self.records.append((timestamp_ns, linktype, buffer[start:end], wire_length, frame))
