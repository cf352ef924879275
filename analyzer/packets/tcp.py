"""The TCP header (RFC 9293 section 3.1), and what all layers of this room share: the sink, the record at hand, the counters.

The room is a chain of classes, each adding the headers of one layer to the one below it:

    TcpLayer -> IpLayer -> LinkLayer -> WlanLayer -> TunnelLayer -> LinktypeLayer -> PacketDecoder

so that a call down is a plain method call, and the one call up (IP met a protocol that may be a tunnel) is a method that
``TunnelLayer`` overrides. Methods named ``decode_x(buffer, pos, end, depth)`` read the header x at ``pos`` and go on with what
it carries; ``buffer[pos:end]`` is all they may read. ``depth`` counts headers nested in headers.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.capture.base import RecordSink
from analyzer.packets.base import SegmentSink
from analyzer.packets.octets import u32
from analyzer.packets.realms import Realms

#: headers nested in headers (tunnels in tunnels) that are followed
MAX_DEPTH: Final = 16

#: up to and with the flags; a header cut after them by the snap length still tells what was sent
_TCP_FLAGS_END: Final = 14
_TCP_HEADER: Final = 20


class TcpLayer(RecordSink):
    """Reads TCP headers and pushes segments; keeps the counters of all layers (how many headers, unless said otherwise)."""

    def __init__(self, sink: SegmentSink) -> None:
        self.sink = sink
        #: the record at hand, for the slow path
        self._timestamp_ns: i64 = 0
        self._frame: i64 = 0
        #: octets of the record at hand that the snap length cut off
        self._cut: i64 = 0
        #: the networks that the record at hand names (VLAN, VXLAN ...), as one number; 0: none
        self._tag: i64 = 0
        self.realms: Realms = Realms()
        #: records received
        self.packets: i64 = 0
        #: TCP segments handed on
        self.segments: i64 = 0
        #: link-layer frames that carry neither IP nor anything that carries IP
        self.non_ip: i64 = 0
        self.ipv4: i64 = 0
        self.ipv6: i64 = 0
        #: IP packets whose payload is neither TCP nor a tunnel
        self.non_tcp: i64 = 0
        #: tunnel headers followed
        self.tunnels: i64 = 0
        #: fragments of IP datagrams that may carry TCP
        self.fragments: i64 = 0
        #: such fragments cut by the snap length, which makes them useless
        self.fragments_cut: i64 = 0
        #: headers that the snap length cut off
        self.truncated: i64 = 0
        #: headers that contradict themselves or their packet
        self.malformed: i64 = 0
        #: packets with more than MAX_DEPTH headers nested in each other
        self.too_deep: i64 = 0
        #: 802.11 frames whose payload is encrypted
        self.encrypted: i64 = 0

    def decode_tcp(self, addresses: bytes, buffer: bytes, pos: i64, end: i64, missing: i64) -> None:
        """A TCP header at ``pos``; the packet goes on for ``missing`` octets after ``end``, which were not captured.

        ``addresses`` are source and destination, as they open a flow key.
        """
        if end - pos < _TCP_FLAGS_END:
            self.cut_short()
            return
        size: i64 = buffer[pos + 12]
        size = (size >> 4) << 2
        stop: i64 = end + missing
        data: i64 = pos + size
        if size < _TCP_HEADER or data > stop:
            self.malformed += 1
            return
        if data > end:
            missing = stop - data
            data = end
        self.segments += 1
        flags: i64 = buffer[pos + 13]
        seq: i64 = u32(buffer, pos + 4)
        ack: i64 = u32(buffer, pos + 8)
        key = addresses + buffer[pos : pos + 4]
        if self._tag != 0:
            key = self.realms.place(key, self._tag, seq, ack, flags, self._timestamp_ns)
        self.sink.receive_segment(
            key,
            buffer,
            data,
            end,
            missing,
            seq,
            ack,
            flags,
            self._timestamp_ns,
            self._frame,
        )

    def note_network(self, number: i64) -> None:
        """A header names the network that the record at hand is of: see ``realms``."""
        self._tag = (self._tag * 65599 + number + 1) & 0xFFFFFFFF

    def cut_short(self) -> None:
        """A header does not fit in what is there: counted as the snap length's doing if it cut this record."""
        if self._cut > 0:
            self.truncated += 1
        else:
            self.malformed += 1
