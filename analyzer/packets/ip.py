"""IPv4 (RFC 791) and IPv6 with its extension headers (RFC 8200), fragments of both included.

Lengths are believed over the frame: what follows the packet is padding, what is missing was cut off by the snap length.
A total length of 0 is what segmentation offload leaves in outgoing packets; the captured length stands in for it.
Checksums are never looked at: offload leaves them wrong in good packets.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.base import SegmentSink
from analyzer.packets.fragments import FragmentTable
from analyzer.packets.octets import u16
from analyzer.packets.tcp import MAX_DEPTH, TcpLayer

#: extension headers that are followed in one IPv6 packet (and authentication headers in IPv4)
MAX_EXTENSION_HEADERS: Final = 16

HOP_BY_HOP: Final = 0
IPV4_IN_IP: Final = 4
TCP: Final = 6
UDP: Final = 17
IPV6_IN_IP: Final = 41
ROUTING: Final = 43
FRAGMENT: Final = 44
GRE: Final = 47
AUTHENTICATION: Final = 51
DESTINATION_OPTIONS: Final = 60
KA9Q_IN_IP: Final = 94
ETHERNET_IN_IP: Final = 97
L2TPV3: Final = 115
MOBILITY: Final = 135
MPLS_IN_IP: Final = 137
HOST_IDENTITY: Final = 139
SHIM6: Final = 140
ETHERNET_SRV6: Final = 143

_ROUTING_SOURCE: Final = 0
_ROUTING_MOBILE: Final = 2
_ROUTING_SEGMENTS: Final = 4


class IpLayer(TcpLayer):
    """Reads IP headers, extension headers and fragments."""

    def __init__(self, sink: SegmentSink) -> None:
        super().__init__(sink)
        self.fragment_table = FragmentTable()

    def decode_payload(self, protocol: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """The payload of an IP packet that is not TCP. ``TunnelLayer`` looks for tunnels in it."""
        self.non_tcp += 1

    def decode_ip(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An IP packet of either version, told by its first four bits."""
        if pos >= end:
            self.cut_short()
            return
        version: i64 = buffer[pos]
        version >>= 4
        if version == 4:
            self.decode_ipv4(buffer, pos, end, depth)
        elif version == 6:
            self.decode_ipv6(buffer, pos, end, depth)
        else:
            self.non_ip += 1

    def decode_ipv4(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An IPv4 packet."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 20:
            self.cut_short()
            return
        first: i64 = buffer[pos]
        header: i64 = (first & 15) << 2
        total: i64 = u16(buffer, pos + 2)
        missing: i64 = 0
        if first >> 4 != 4 or header < 20 or (total < header and total != 0):
            self.malformed += 1
            return
        if total == 0:
            missing = self._cut
        elif pos + total < end:
            end = pos + total
        else:
            missing = pos + total - end
        self.ipv4 += 1
        at: i64 = pos + header
        if at > end:
            self.cut_short()
            return
        protocol: i64 = buffer[pos + 9]
        place: i64 = u16(buffer, pos + 6)
        if place & 0x3FFF:
            self._decode_ipv4_fragment(protocol, place, buffer, pos, at, end, missing, depth)
        elif protocol == TCP:
            self.decode_tcp(buffer[pos + 12 : pos + 20], buffer, at, end, missing)
        elif protocol == AUTHENTICATION:
            self._decode_authenticated(buffer, pos, at, end, missing, depth)
        else:
            self.decode_payload(protocol, buffer, at, end, depth)

    def _decode_authenticated(self, buffer: bytes, pos: i64, at: i64, end: i64, missing: i64, depth: i64) -> None:
        """What follows authentication headers (RFC 4302) in the IPv4 packet at ``pos``; they encrypt nothing."""
        protocol: i64 = AUTHENTICATION
        for _ in range(MAX_EXTENSION_HEADERS):
            if protocol != AUTHENTICATION:
                break
            if end - at < 12:
                self.cut_short()
                return
            size: i64 = buffer[at + 1]
            protocol = buffer[at]
            at += (size + 2) << 2
            if at > end:
                self.cut_short()
                return
        if protocol == AUTHENTICATION:
            self.malformed += 1
        elif protocol == TCP:
            self.decode_tcp(buffer[pos + 12 : pos + 20], buffer, at, end, missing)
        else:
            self.decode_payload(protocol, buffer, at, end, depth)

    def _decode_ipv4_fragment(
        self, protocol: i64, place: i64, buffer: bytes, pos: i64, at: i64, end: i64, missing: i64, depth: i64
    ) -> None:
        """A fragment of an IPv4 datagram: ``place`` is its field of flags and offset, ``at`` the start of its data."""
        if not _may_carry_tcp(protocol):
            self.non_tcp += 1
            return
        self.fragments += 1
        if missing > 0:
            self.fragments_cut += 1
            return
        # source, destination, identification, protocol (RFC 791 section 3.2)
        key = buffer[pos + 12 : pos + 20] + buffer[pos + 4 : pos + 6] + buffer[pos + 9 : pos + 10]
        whole = self.fragment_table.add(
            key, protocol, (place & 0x1FFF) << 3, place & 0x2000 != 0, buffer[at:end], self._timestamp_ns
        )
        if whole is None:
            return
        size: i64 = 20 + len(whole.payload)
        if size > 65535:
            self.malformed += 1
            return
        # the packet as it was before it was cut up, options left out
        packet = b"\x45\x00" + _two(size) + b"\x00\x00\x00\x00" + buffer[pos + 8 : pos + 20] + whole.payload
        self._cut = 0
        self.ipv4 -= 1  # counted as a fragment already
        self.decode_ipv4(packet, 0, size, depth + 1)

    def decode_ipv6(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An IPv6 packet. A payload length of 0 (jumbograms, segmentation offload) means all that is there."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 40:
            self.cut_short()
            return
        first: i64 = buffer[pos]
        if first >> 4 != 6:
            self.malformed += 1
            return
        size: i64 = u16(buffer, pos + 4)
        missing: i64 = 0
        if size == 0:
            missing = self._cut
        elif pos + 40 + size < end:
            end = pos + 40 + size
        else:
            missing = pos + 40 + size - end
        self.ipv6 += 1
        protocol: i64 = buffer[pos + 6]
        destination = buffer[pos + 24 : pos + 40]
        at: i64 = pos + 40
        for _ in range(MAX_EXTENSION_HEADERS):
            if protocol == TCP:
                self.decode_tcp(buffer[pos + 8 : pos + 24] + destination, buffer, at, end, missing)
                return
            if not _is_extension_header(protocol):
                self.decode_payload(protocol, buffer, at, end, depth)
                return
            if end - at < 8:
                self.cut_short()
                return
            if protocol == FRAGMENT:
                place: i64 = u16(buffer, at + 2)
                if place & 0xFFF9:
                    self._decode_ipv6_fragment(destination, place, buffer, pos, at, end, missing, depth)
                    return
                size = 8  # a fragment that is the whole datagram (RFC 6946)
            elif protocol == AUTHENTICATION:
                size = buffer[at + 1]
                size = (size + 2) << 2
            else:
                size = buffer[at + 1]
                size = (size + 1) << 3
                if protocol == ROUTING and at + size <= end:
                    destination = _final_destination(buffer, at, size, destination)
            protocol = buffer[at]
            at += size
            if at > end:
                self.cut_short()
                return
        self.malformed += 1

    def _decode_ipv6_fragment(
        self, destination: bytes, place: i64, buffer: bytes, pos: i64, at: i64, end: i64, missing: i64, depth: i64
    ) -> None:
        """A fragment of an IPv6 datagram: ``at`` is the start of its fragment header, ``place`` the field with the offset."""
        protocol: i64 = buffer[at]
        if not (_may_carry_tcp(protocol) or _is_extension_header(protocol)):
            self.non_tcp += 1
            return
        self.fragments += 1
        if missing > 0:
            self.fragments_cut += 1
            return
        source = buffer[pos + 8 : pos + 24]
        key = source + destination + buffer[at + 4 : at + 8]
        whole = self.fragment_table.add(
            key, protocol, place & 0xFFF8, place & 1 != 0, buffer[at + 8 : end], self._timestamp_ns
        )
        if whole is None:
            return
        size: i64 = len(whole.payload)
        packet = (
            b"\x60\x00\x00\x00"
            + _two(size)
            + bytes([whole.protocol])
            + buffer[pos + 7 : pos + 8]
            + source
            + destination
            + whole.payload
        )
        self._cut = 0
        self.ipv6 -= 1  # counted as a fragment already
        self.decode_ipv6(packet, 0, 40 + size, depth + 1)


def _two(number: i64) -> bytes:
    """A number as two octets in network byte order."""
    return bytes([number >> 8, number & 255])


def _may_carry_tcp(protocol: i64) -> bool:
    """Whether fragments of this protocol are worth keeping: TCP and tunnels."""
    return (
        protocol == TCP
        or protocol == UDP
        or protocol == IPV4_IN_IP
        or protocol == IPV6_IN_IP
        or protocol == GRE
        or protocol == AUTHENTICATION
        or protocol == L2TPV3
        or protocol == ETHERNET_IN_IP
        or protocol == MPLS_IN_IP
        or protocol == ETHERNET_SRV6
        or protocol == KA9Q_IN_IP
    )


def _is_extension_header(protocol: i64) -> bool:
    return (
        protocol == HOP_BY_HOP
        or protocol == ROUTING
        or protocol == FRAGMENT
        or protocol == AUTHENTICATION
        or protocol == DESTINATION_OPTIONS
        or protocol == MOBILITY
        or protocol == HOST_IDENTITY
        or protocol == SHIM6
    )


def _final_destination(buffer: bytes, at: i64, size: i64, destination: bytes) -> bytes:
    """Where a packet with the routing header at ``at`` goes in the end: that address is in the flow's other direction.

    Type 0 (RFC 2460) lists the way to go, type 2 (RFC 6275) holds the home address, type 4 (RFC 8754) lists the way backwards.
    """
    kind: i64 = buffer[at + 2]
    left: i64 = buffer[at + 3]
    if left == 0 or size < 24:
        return destination
    if kind == _ROUTING_SOURCE:
        last: i64 = at + 8 + (((size - 8) >> 4) - 1) * 16
        return buffer[last : last + 16]
    if kind == _ROUTING_MOBILE or kind == _ROUTING_SEGMENTS:
        return buffer[at + 8 : at + 24]
    return destination
