"""Tunnels over IP and UDP: the packets inside them are read like any other.

IP in IP (RFC 2003), 6in4 (RFC 4213), GRE (RFC 2784, 2890; PPTP, RFC 2637), ERSPAN, EtherIP (RFC 3378), MPLS in IP (RFC 4023),
L2TPv2 (RFC 2661) and L2TPv3 (RFC 3931), VXLAN (RFC 7348), VXLAN-GPE, Geneve (RFC 8926), GTP-U (3GPP TS 29.281), Teredo (RFC
4380), GRE and MPLS in UDP (RFC 8086, 7510), TZSP. UDP is told to be a tunnel by its port alone, so whatever follows is checked
before it is believed.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.ip import (
    ETHERNET_IN_IP,
    ETHERNET_SRV6,
    GRE,
    IPV4_IN_IP,
    IPV6_IN_IP,
    KA9Q_IN_IP,
    L2TPV3,
    MPLS_IN_IP,
    UDP,
)
from analyzer.packets.link import ETHERTYPE_PPP, looks_like_ethernet
from analyzer.packets.octets import u16, u32
from analyzer.packets.wlan import WlanLayer

PORT_L2TP: Final = 1701
PORT_GTP_U: Final = 2152
PORT_TEREDO: Final = 3544
PORT_GRE: Final = 4754
PORT_VXLAN: Final = 4789
PORT_VXLAN_GPE: Final = 4790
PORT_GENEVE: Final = 6081
PORT_MPLS: Final = 6635
PORT_VXLAN_LINUX: Final = 8472
PORT_TZSP: Final = 37008

#: extension headers that are followed in one GTP-U packet, and tags in one TZSP packet
MAX_TUNNEL_OPTIONS: Final = 16

_GRE_CHECKSUM: Final = 0x8000
_GRE_ROUTING: Final = 0x4000
_GRE_KEY: Final = 0x2000
_GRE_SEQUENCE: Final = 0x1000
_GRE_ACKNOWLEDGEMENT: Final = 0x0080
_GRE_VERSION: Final = 0x0007
_ETHERTYPE_WCCP: Final = 0x883E
_ETHERTYPE_ERSPAN: Final = 0x88BE
_ETHERTYPE_ERSPAN_3: Final = 0x22EB

_L2TP_CONTROL: Final = 0x8000
_L2TP_LENGTH: Final = 0x4000
_L2TP_SEQUENCE: Final = 0x0800
_L2TP_OFFSET: Final = 0x0200
_L2TP_VERSION: Final = 0x000F

_GTP_VERSION_1: Final = 0x30  # version 1, protocol type GTP (not GTP')
_GTP_EXTENDED: Final = 0x07
_GTP_EXTENSION: Final = 0x04
_GTP_USER_DATA: Final = 0xFF


def is_tunnel_port(port: i64) -> bool:
    """Whether UDP packets sent to this port are looked into."""
    return (
        port == PORT_VXLAN
        or port == PORT_GTP_U
        or port == PORT_GENEVE
        or port == PORT_L2TP
        or port == PORT_TEREDO
        or port == PORT_VXLAN_LINUX
        or port == PORT_VXLAN_GPE
        or port == PORT_GRE
        or port == PORT_MPLS
        or port == PORT_TZSP
    )


def is_tunnel(source: i64, destination: i64) -> bool:
    """Whether UDP packets between these ports are looked into. The replies of some tunnels go from their port to any other."""
    return is_tunnel_port(destination) or source == PORT_L2TP or source == PORT_TEREDO


class TunnelLayer(WlanLayer):
    """Reads tunnel headers."""

    def decode_payload(self, protocol: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """The payload of an IP packet that is not TCP."""
        if protocol == UDP:
            self.decode_udp(buffer, pos, end, depth)
            return
        if protocol == GRE:
            self.tunnels += 1
            self.decode_gre(buffer, pos, end, depth + 1)
        elif protocol == IPV4_IN_IP or protocol == KA9Q_IN_IP:
            self.tunnels += 1
            self.decode_ipv4(buffer, pos, end, depth + 1)
        elif protocol == IPV6_IN_IP:
            self.tunnels += 1
            self.decode_ipv6(buffer, pos, end, depth + 1)
        elif protocol == MPLS_IN_IP:
            self.tunnels += 1
            self.decode_mpls(buffer, pos, end, depth + 1)
        elif protocol == ETHERNET_SRV6:
            self.tunnels += 1
            self.decode_ethernet(buffer, pos, end, depth + 1)
        elif protocol == ETHERNET_IN_IP:
            self.tunnels += 1
            self.decode_ethernet(buffer, pos + 2, end, depth + 1)
        elif protocol == L2TPV3 and end - pos >= 8 and u32(buffer, pos) != 0:
            self.tunnels += 1
            self._decode_l2tpv3(buffer, pos + 4, end, depth + 1)
        else:
            self.non_tcp += 1

    def decode_udp(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A UDP header; its payload is looked into where a port says that it is a tunnel."""
        if end - pos < 8:
            self.cut_short()
            return
        source: i64 = u16(buffer, pos)
        port: i64 = u16(buffer, pos + 2)
        if end - pos < 16 or not is_tunnel(source, port):
            self.non_tcp += 1
            return
        if not is_tunnel_port(port):
            port = source
        pos += 8
        first: i64 = buffer[pos]
        depth += 1
        self.tunnels += 1
        if port == PORT_VXLAN or port == PORT_VXLAN_LINUX:
            if first & 0x08:
                self.note_network(u32(buffer, pos + 4) >> 8)
                self.decode_ethernet(buffer, pos + 8, end, depth)
                return
        elif port == PORT_GTP_U:
            if first & 0xF0 == _GTP_VERSION_1 and buffer[pos + 1] == _GTP_USER_DATA:
                self._decode_gtp(buffer, pos, end, depth)
                return
        elif port == PORT_GENEVE:
            if first >> 6 == 0:
                self.note_network(u32(buffer, pos + 4) >> 8)
                self.decode_ethertype(u16(buffer, pos + 2), buffer, pos + 8 + ((first & 0x3F) << 2), end, depth)
                return
        elif port == PORT_L2TP:
            if self._decode_l2tp(buffer, pos, end, depth):
                return
        elif port == PORT_TEREDO:
            pos = _skip_teredo(buffer, pos, end)
            if pos < end and buffer[pos] >> 4 == 6:
                self.decode_ipv6(buffer, pos, end, depth)
                return
        elif port == PORT_VXLAN_GPE:
            if first & 0x0C == 0x0C:
                kind: i64 = buffer[pos + 3]
                self.decode_next_protocol(kind, buffer, pos + 8, end, depth)
                return
            if first & 0x08:
                self.decode_ethernet(buffer, pos + 8, end, depth)
                return
        elif port == PORT_TZSP:
            if self._decode_tzsp(buffer, pos, end, depth):
                return
        elif port == PORT_MPLS:
            self.decode_mpls(buffer, pos, end, depth)
            return
        else:
            self.decode_gre(buffer, pos, end, depth)
            return
        self.tunnels -= 1
        self.non_tcp += 1

    def decode_gre(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A GRE header of version 0, or of version 1 as PPTP uses it."""
        if end - pos < 8:
            self.cut_short()
            return
        flags: i64 = u16(buffer, pos)
        kind: i64 = u16(buffer, pos + 2)
        version: i64 = flags & _GRE_VERSION
        at: i64 = pos + 4
        if version > 1 or (version == 1 and kind != ETHERTYPE_PPP):
            self.malformed += 1
            return
        if version == 0 and flags & (_GRE_CHECKSUM | _GRE_ROUTING):
            at += 4
        if flags & _GRE_KEY:
            if version == 0 and end - at >= 4:
                self.note_network(u32(buffer, at))
            at += 4
        if flags & _GRE_SEQUENCE:
            at += 4
        if version == 1:
            if flags & _GRE_ACKNOWLEDGEMENT:
                at += 4
            if flags & _GRE_SEQUENCE:
                self.decode_ppp(buffer, at, end, depth)
            else:
                self.non_ip += 1  # an acknowledgement alone
            return
        if flags & _GRE_ROUTING:
            at = _skip_gre_routes(buffer, at, end)
        if at >= end:
            self.cut_short()
        elif kind == _ETHERTYPE_ERSPAN:
            # type I has no header of its own, type II one of 8 octets, announced by a sequence number
            self.decode_ethernet(buffer, at + 8 if flags & _GRE_SEQUENCE else at, end, depth)
        elif kind == _ETHERTYPE_ERSPAN_3:
            if end - at < 12:
                self.cut_short()
                return
            self.decode_ethernet(buffer, at + 20 if buffer[at + 11] & 1 else at + 12, end, depth)
        elif kind == _ETHERTYPE_WCCP:
            # version 2 puts a redirect header of four octets in front of the IP header, version 1 does not
            self.decode_ipv4(buffer, at if buffer[at] >> 4 == 4 else at + 4, end, depth)
        else:
            self.decode_ethertype(kind, buffer, at, end, depth)

    def _decode_gtp(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """User data of GTP version 1: optional fields, extension headers, then mostly IP, seldom Ethernet."""
        flags: i64 = buffer[pos]
        at: i64 = pos + 8
        if flags & _GTP_EXTENDED:
            at += 4
            if at > end:
                self.cut_short()
                return
            following: i64 = buffer[at - 1]
            if flags & _GTP_EXTENSION == 0:
                following = 0
            for _ in range(MAX_TUNNEL_OPTIONS):
                if following == 0:
                    break
                if at >= end:
                    self.cut_short()
                    return
                size: i64 = buffer[at]
                size <<= 2
                at += size
                if size == 0 or at > end:
                    self.malformed += 1
                    return
                following = buffer[at - 1]
            if following != 0:
                self.malformed += 1
                return
        if looks_like_ethernet(buffer, at, end) and not self._looks_like_ip(buffer, at, end):
            self.decode_ethernet(buffer, at, end, depth)
        else:
            self.decode_ip(buffer, at, end, depth)

    def _decode_l2tp(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> bool:
        """A data message of L2TPv2 (RFC 2661 section 3.1) or L2TPv3; False where it is a control message or none at all."""
        flags: i64 = u16(buffer, pos)
        version: i64 = flags & _L2TP_VERSION
        if flags & _L2TP_CONTROL:
            return False
        if version == 3:
            self._decode_l2tpv3(buffer, pos + 8, end, depth)
            return True
        if version != 2:
            return False
        at: i64 = pos + 6
        if flags & _L2TP_LENGTH:
            at += 2
        if flags & _L2TP_SEQUENCE:
            at += 4
        if flags & _L2TP_OFFSET:
            if at + 2 > end:
                return False
            at += 2 + u16(buffer, at)
        self.decode_ppp(buffer, at, end, depth)
        return True

    def _decode_l2tpv3(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """What follows the session number of L2TPv3. The peers alone know the sizes of cookie and sublayer: they are tried."""
        for size in (0, 4, 8, 12):
            if looks_like_ethernet(buffer, pos + size, end):
                self.decode_ethernet(buffer, pos + size, end, depth)
                return
        self.non_ip += 1

    def _decode_tzsp(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> bool:
        """A frame that a sniffer sends away (TaZmen Sniffer Protocol): tags, then Ethernet or 802.11; False for anything else."""
        kind: i64 = u16(buffer, pos + 2)
        if u16(buffer, pos) != 0x0100:
            return False
        at: i64 = pos + 4
        for _ in range(MAX_TUNNEL_OPTIONS):
            if at + 2 > end:
                return False
            tag: i64 = buffer[at]
            if tag == 1:
                if kind == 1:
                    self.decode_ethernet(buffer, at + 1, end, depth)
                elif kind == 0x12:
                    self.decode_wlan(buffer, at + 1, end, depth, False)
                else:
                    return False
                return True
            if tag == 0:
                at += 1
            else:
                size: i64 = buffer[at + 1]
                at += 2 + size
        return False


def _skip_gre_routes(buffer: bytes, at: i64, end: i64) -> i64:
    """Where the source route entries of RFC 1701 end: behind the one that is empty."""
    while at + 4 <= end:
        size: i64 = buffer[at + 3]
        family: i64 = u16(buffer, at)
        at += 4 + size
        if family == 0 and size == 0:
            break
    return at


def _skip_teredo(buffer: bytes, pos: i64, end: i64) -> i64:
    """Where the IPv6 packet begins, behind the authentication and origin indications of RFC 4380 section 5.1.1."""
    if end - pos >= 4 and u16(buffer, pos) == 1:
        client: i64 = buffer[pos + 2]
        secret: i64 = buffer[pos + 3]
        pos += 13 + client + secret
    if end - pos >= 8 and u16(buffer, pos) == 0:
        pos += 8
    return pos
