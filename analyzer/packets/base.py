"""What leaves the packets room: TCP segments, pushed one by one into a sink."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10


class SegmentSink:
    """Takes TCP segments. The flows room overrides this; the base drops them."""

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
        """One segment: payload ``buffer[start:end]``, then ``missing`` octets that were on the wire but cut off by the snap length.

        ``key`` is source address, destination address, source port, destination port as they stand in the packet
        (12 octets for IPv4, 36 for IPv6), behind two octets of a network's number where several share addresses and ports (see ``realms``). The sink must not keep the buffer.
        """

    def receive_ipv4(
        self,
        key_at: i64,
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
        """:meth:`receive_segment` with a key that stands in the buffer, its 12 octets at ``key_at``: most keys need not be made."""
        self.receive_segment(
            buffer[key_at : key_at + 12], buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame
        )


class SegmentList(SegmentSink):
    """Keeps every segment as a tuple ``(key, payload, missing, seq, ack, flags, timestamp_ns, frame)``: for small captures and tests."""

    def __init__(self) -> None:
        self.segments: list[tuple[bytes, bytes, int, int, int, int, int, int]] = []

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
        self.segments.append((key, buffer[start:end], missing, seq, ack, flags, timestamp_ns, frame))
