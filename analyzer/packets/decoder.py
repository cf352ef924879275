"""The front door of this room: records in, TCP segments out.

``receive_record`` reads the two commonest stacks itself (Ethernet, IPv4 or IPv6 without options, TCP), and drops UDP that is
no tunnel, before any object is made; at millions of packets a second nothing else is affordable. All the rest goes by link
type to the layers, which are classes that build on each other (see ``tcp``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i64_be
from mypy_extensions import i64

from analyzer.packets.base import SegmentSink
from analyzer.packets.ip import TCP, UDP
from analyzer.packets.linktypes import ETHERNET, LinktypeLayer
from analyzer.packets.octets import u16
from analyzer.packets.tunnels import is_tunnel

if TYPE_CHECKING:
    from analyzer.packets.slow import ScapyDecoder

#: link types that are counted one by one when nobody can decode them; further ones share the number -1
MAX_UNKNOWN_LINKTYPES: Final = 256
#: 0x86DD as a signed number of 16 bits
ETHERTYPE_IPV6: Final = 0x86DD - 0x10000


class PacketDecoder(LinktypeLayer):
    """Decodes records down to TCP segments, and counts what it met. Never raises on what a record holds."""

    def __init__(self, sink: SegmentSink) -> None:
        super().__init__(sink)
        #: records whose link type nobody could decode, in all
        self.undecoded: i64 = 0
        #: the same by link type
        self.unknown_linktypes: dict[int, int] = {}
        #: records in which scapy found IP
        self.slow_decoded: i64 = 0
        self._slow: ScapyDecoder | None = None

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
        """One record of a capture (see ``RecordSink``)."""
        self.packets += 1
        if linktype == ETHERNET and end - start >= 54:
            ip: i64 = start + 14
            kind = read_i16_be(buffer, start + 12)
            # The first eight octets of the IP header: version, lengths, and what says of which packet it is a fragment.
            words = read_i64_be(buffer, ip)
            tcp: i64 = 0
            stop: i64 = 0
            protocol: i64 = 0
            if kind == 0x0800 and words >> 56 == 0x45:
                protocol = buffer[ip + 9]
                # Not a fragment: neither "more fragments" nor an offset.
                if words & 0x3FFF == 0:
                    if protocol == TCP:
                        tcp = ip + 20
                        stop = ip + (words >> 32 & 0xFFFF)
                    elif protocol == UDP and not is_tunnel(u16(buffer, ip + 20), u16(buffer, ip + 22)):
                        self.ipv4 += 1
                        self.non_tcp += 1
                        return
            elif kind == ETHERTYPE_IPV6 and words >> 60 == 6:
                protocol = words >> 8 & 0xFF
                if protocol == TCP and end - start >= 74:
                    tcp = ip + 40
                    stop = tcp + (words >> 16 & 0xFFFF)
                elif (
                    protocol == UDP and end - start >= 62 and not is_tunnel(u16(buffer, ip + 40), u16(buffer, ip + 42))
                ):
                    self.ipv6 += 1
                    self.non_tcp += 1
                    return
            if tcp > 0:
                flags: i64 = i64(read_i16_be(buffer, tcp + 12))
                size = flags >> 10 & 0x3C
                data: i64 = tcp + size
                # lengths that contradict each other, and the 0 of segmentation offload, take the long way
                if size >= 20 and data <= stop:
                    missing: i64 = 0
                    if stop > end:
                        if data > end:
                            data = end
                            missing = stop - tcp - size
                        else:
                            missing = stop - end
                        stop = end
                    self.segments += 1
                    numbers = read_i64_be(buffer, tcp + 4)
                    seq = numbers >> 32 & 0xFFFFFFFF
                    ack = numbers & 0xFFFFFFFF
                    flags &= 0xFF
                    if tcp - ip == 20:
                        self.ipv4 += 1
                        self.sink.receive_ipv4(
                            ip + 12, buffer, data, stop, missing, seq, ack, flags, timestamp_ns, frame
                        )
                        return
                    self.ipv6 += 1
                    self.sink.receive_segment(
                        buffer[ip + 8 : ip + 44], buffer, data, stop, missing, seq, ack, flags, timestamp_ns, frame
                    )
                    return
        self._timestamp_ns = timestamp_ns
        self._frame = frame
        self._cut = max(wire_length - (end - start), 0)
        if not self.decode_linktype(linktype, buffer, start, end, 0):
            self._decode_unknown(linktype, buffer[start:end])

    def _decode_unknown(self, linktype: i64, record: bytes) -> None:
        """A link type without a decoder here: scapy is asked."""
        if self._slow is None:
            from analyzer.packets.slow import ScapyDecoder

            self._slow = ScapyDecoder()
        packet = self._slow.find_ip(linktype, record)
        if packet is not None:
            self.slow_decoded += 1
            self.decode_ip(packet, 0, len(packet), 1)
            return
        self.undecoded += 1
        number: int = linktype
        if number not in self.unknown_linktypes and len(self.unknown_linktypes) >= MAX_UNKNOWN_LINKTYPES:
            number = -1
        self.unknown_linktypes[number] = self.unknown_linktypes.get(number, 0) + 1

    def counters(self) -> dict[str, int]:
        """What was met, by name, in one plain dictionary (``unknown_linktypes`` is apart)."""
        table = self.fragment_table
        return {
            "packets": self.packets,
            "segments": self.segments,
            "non_ip": self.non_ip,
            "ipv4": self.ipv4,
            "ipv6": self.ipv6,
            "non_tcp": self.non_tcp,
            "tunnels": self.tunnels,
            "fragments": self.fragments,
            "fragments_dropped": table.dropped + self.fragments_cut,
            "fragment_overlaps": table.overlaps,
            "reassembled": table.reassembled,
            "truncated": self.truncated,
            "malformed": self.malformed,
            "too_deep": self.too_deep,
            "encrypted": self.encrypted,
            "slow_decoded": self.slow_decoded,
            "undecoded": self.undecoded,
            "shared_addresses": self.realms.split,
            "networks_forgotten": self.realms.forgotten,
        }
