"""Link layers with an EtherType, a PPP protocol number or an LLC header, and the tags and labels in front of IP.

Ethernet II and IEEE 802.3, Cisco ISL, VLAN tags of all kinds, MPLS and pseudowires (RFC 4448), PPPoE (RFC 2516), PPP (RFC
1661), LLC and SNAP (IEEE 802.2), provider backbone bridges, VN-Tag, E-Tag, MACsec without encryption (IEEE 802.1AE), Cisco
metadata, NSH (RFC 8300). Which link type starts with which header is told in ``linktypes``.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.ip import IpLayer
from analyzer.packets.octets import u16, u32
from analyzer.packets.tcp import MAX_DEPTH

#: VLAN and other tags that are followed in one Ethernet header
MAX_TAGS: Final = 8
#: MPLS labels that are followed in one stack
MAX_LABELS: Final = 16

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_TEB: Final = 0x6558  # transparent Ethernet bridging: a whole frame follows
ETHERTYPE_VLAN: Final = 0x8100
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_PPP: Final = 0x880B
ETHERTYPE_MPLS: Final = 0x8847
ETHERTYPE_MPLS_MULTICAST: Final = 0x8848
ETHERTYPE_PPPOE: Final = 0x8864
ETHERTYPE_JUMBO_LLC: Final = 0x8870
ETHERTYPE_QINQ: Final = 0x88A8
ETHERTYPE_MACSEC: Final = 0x88E5
ETHERTYPE_BACKBONE: Final = 0x88E7
ETHERTYPE_CISCO_METADATA: Final = 0x8909
ETHERTYPE_VN_TAG: Final = 0x8926
ETHERTYPE_E_TAG: Final = 0x893F
ETHERTYPE_NSH: Final = 0x894F
#: smaller values in the place of an EtherType are lengths (IEEE 802.3)
ETHERTYPE_MIN: Final = 0x0600

_PPP_IPV4: Final = 0x0021
_PPP_MULTILINK: Final = 0x003D
_PPP_IPV6: Final = 0x0057
_PPP_MPLS: Final = 0x0281
_PPP_MPLS_MULTICAST: Final = 0x0283


class LinkLayer(IpLayer):
    """Reads link-layer headers down to IP."""

    def decode_ethernet(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An Ethernet II or IEEE 802.3 frame (or one in a Cisco ISL wrapping), from its destination address on."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 14:
            self.cut_short()
            return
        kind: i64 = u16(buffer, pos + 12)
        if kind >= ETHERTYPE_MIN:
            self.decode_ethertype(kind, buffer, pos + 14, end, depth)
        elif _is_isl(buffer, pos, end):
            self.decode_ethernet(buffer, pos + 26, end, depth + 1)
        else:
            self.decode_llc(buffer, pos + 14, end, depth)

    def decode_ethertype(self, kind: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """What stands behind the EtherType ``kind``; tags in between are skipped."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        for _ in range(MAX_TAGS):
            if kind == ETHERTYPE_IPV4:
                self.decode_ipv4(buffer, pos, end, depth)
                return
            if kind == ETHERTYPE_IPV6:
                self.decode_ipv6(buffer, pos, end, depth)
                return
            size: i64 = _tag_size(kind)
            if size == 0:
                self._decode_carrier(kind, buffer, pos, end, depth)
                return
            if end - pos < size:
                self.cut_short()
                return
            pos += size
            if size == 4:
                vlan: i64 = u16(buffer, pos - 4) & 0x0FFF
                if vlan != 0:  # 0 is a priority, and no VLAN
                    self.note_network(vlan)
            kind = u16(buffer, pos - 2)
            if kind < ETHERTYPE_MIN:
                self.decode_llc(buffer, pos, end, depth)
                return
        self.malformed += 1

    def _decode_carrier(self, kind: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """The EtherTypes that carry something else than IP or a tag."""
        if kind == ETHERTYPE_MPLS or kind == ETHERTYPE_MPLS_MULTICAST:
            self.decode_mpls(buffer, pos, end, depth)
        elif kind == ETHERTYPE_PPPOE:
            self.decode_pppoe(buffer, pos, end, depth)
        elif kind == ETHERTYPE_TEB:
            self.decode_ethernet(buffer, pos, end, depth + 1)
        elif kind == ETHERTYPE_BACKBONE:
            self.decode_ethernet(buffer, pos + 4, end, depth + 1)
        elif kind == ETHERTYPE_PPP:
            self.decode_ppp(buffer, pos, end, depth + 1)
        elif kind == ETHERTYPE_JUMBO_LLC:
            self.decode_llc(buffer, pos, end, depth + 1)
        elif kind == ETHERTYPE_NSH:
            self.decode_nsh(buffer, pos, end, depth + 1)
        elif kind == ETHERTYPE_MACSEC:
            self._decode_macsec(buffer, pos, end, depth + 1)
        else:
            self.non_ip += 1

    def decode_llc(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An IEEE 802.2 LLC header: SNAP (RFC 1042), IP by its own access point, or NLPID (RFC 2684)."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 3:
            self.cut_short()
            return
        access: i64 = u16(buffer, pos)
        if buffer[pos + 2] != 0x03:
            self.non_ip += 1
        elif access == 0xAAAA:
            if end - pos < 8:
                self.cut_short()
                return
            owner: i64 = u16(buffer, pos + 3)
            last: i64 = buffer[pos + 5]
            # RFC 1042, and the bridge tunnel of IEEE 802.1H
            if owner == 0 and (last == 0x00 or last == 0xF8):
                self.decode_ethertype(u16(buffer, pos + 6), buffer, pos + 8, end, depth + 1)
            else:
                self.non_ip += 1
        elif access == 0x0606:
            self.decode_ip(buffer, pos + 3, end, depth)
        elif access == 0xFEFE:
            self.decode_nlpid(buffer, pos + 3, end, depth)
        else:
            self.non_ip += 1

    def decode_nlpid(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A network layer protocol identifier (ISO/IEC TR 9577, RFC 2427) and what follows it."""
        if end - pos < 6:
            self.cut_short()
            return
        kind: i64 = buffer[pos]
        if kind == 0xCC or kind == 0x8E:
            self.decode_ip(buffer, pos + 1, end, depth)
        elif kind == 0x80 and u16(buffer, pos + 1) == 0 and buffer[pos + 3] == 0:
            self.decode_ethertype(u16(buffer, pos + 4), buffer, pos + 6, end, depth + 1)
        else:
            self.non_ip += 1

    def decode_mpls(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A stack of MPLS labels (RFC 3032). Nothing says what is below it: IP by its first bits, else Ethernet (RFC 4448)."""
        bottom = False
        for _ in range(MAX_LABELS):
            if end - pos < 4:
                self.cut_short()
                return
            mark: i64 = buffer[pos + 2]
            pos += 4
            if mark & 1:
                bottom = True
                break
        if not bottom:
            self.malformed += 1
            return
        if pos >= end:
            self.cut_short()
            return
        first: i64 = buffer[pos]
        first >>= 4
        if (first == 4 or first == 6) and self._looks_like_ip(buffer, pos, end):
            self.decode_ip(buffer, pos, end, depth)
        elif first == 0 and (looks_like_ethernet(buffer, pos + 4, end) or not looks_like_ethernet(buffer, pos, end)):
            self.decode_ethernet(buffer, pos + 4, end, depth + 1)  # behind a control word
        else:
            self.decode_ethernet(buffer, pos, end, depth + 1)

    def _looks_like_ip(self, buffer: bytes, pos: i64, end: i64) -> bool:
        """Whether the lengths of an IP header agree with what is there; an Ethernet address may begin with 4 or 6, too."""
        room: i64 = end - pos + self._cut
        if end - pos < 20:
            return self._cut > 0
        first: i64 = buffer[pos]
        if first >> 4 == 4:
            total: i64 = u16(buffer, pos + 2)
            return (first & 15) >= 5 and total <= room
        return first >> 4 == 6 and u16(buffer, pos + 4) + 40 <= room

    def decode_pppoe(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A PPPoE session header (RFC 2516 section 4) and its PPP frame."""
        if end - pos < 8:
            self.cut_short()
            return
        if buffer[pos] != 0x11 or buffer[pos + 1] != 0:
            self.non_ip += 1
            return
        self.decode_ppp(buffer, pos + 6, end, depth + 1)

    def decode_ppp(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A PPP frame (RFC 1661, 1662), with or without address and control, with a protocol field of one or two octets."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 4:
            self.cut_short()
            return
        if buffer[pos] == 0xFF and buffer[pos + 1] == 0x03:
            pos += 2
        kind: i64 = buffer[pos]
        pos += 1
        if kind & 1 == 0:
            if pos >= end:
                self.cut_short()
                return
            kind = u16(buffer, pos - 1)
            pos += 1
        if kind == _PPP_IPV4:
            self.decode_ipv4(buffer, pos, end, depth)
        elif kind == _PPP_IPV6:
            self.decode_ipv6(buffer, pos, end, depth)
        elif kind == _PPP_MPLS or kind == _PPP_MPLS_MULTICAST:
            self.decode_mpls(buffer, pos, end, depth)
        elif kind == _PPP_MULTILINK and pos + 4 <= end and u16(buffer, pos) & 0xC000 == 0xC000:
            self.decode_ppp(buffer, pos + 4, end, depth + 1)  # RFC 1990: one fragment that is the whole packet
        else:
            self.non_ip += 1

    def decode_nsh(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A network service header (RFC 8300) and what it carries."""
        if depth > MAX_DEPTH:
            self.too_deep += 1
            return
        if end - pos < 8:
            self.cut_short()
            return
        size: i64 = buffer[pos + 1]
        size = (size & 0x3F) << 2
        kind: i64 = buffer[pos + 3]
        if size < 8:
            self.malformed += 1
        else:
            self.decode_next_protocol(kind, buffer, pos + size, end, depth)

    def decode_next_protocol(self, kind: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """The payload of NSH or VXLAN-GPE, by the number that both use for it."""
        if kind == 1:
            self.decode_ipv4(buffer, pos, end, depth)
        elif kind == 2:
            self.decode_ipv6(buffer, pos, end, depth)
        elif kind == 3:
            self.decode_ethernet(buffer, pos, end, depth + 1)
        elif kind == 4:
            self.decode_nsh(buffer, pos, end, depth + 1)
        elif kind == 5:
            self.decode_mpls(buffer, pos, end, depth)
        else:
            self.non_ip += 1

    def _decode_macsec(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A MACsec tag (IEEE 802.1AE section 9): readable where it protects integrity only."""
        if end - pos < 16:
            self.cut_short()
            return
        control: i64 = buffer[pos]
        if control & 0x0C:
            self.encrypted += 1
            return
        pos += 14 if control & 0x20 else 6
        self.decode_ethertype(u16(buffer, pos), buffer, pos + 2, end, depth)


def _tag_size(kind: i64) -> i64:
    """Octets of the tag behind this EtherType, the next EtherType (its last two) included; 0 where it is no tag."""
    if kind == ETHERTYPE_VLAN or kind == ETHERTYPE_QINQ or (kind & 0xFCFF == 0x9000 and kind != 0x9000):
        return 4  # IEEE 802.1Q, 802.1ad, and 0x9100 to 0x9300 from before it
    if kind == ETHERTYPE_VN_TAG:
        return 6
    if kind == ETHERTYPE_E_TAG or kind == ETHERTYPE_CISCO_METADATA:
        return 8
    return 0


def _is_isl(buffer: bytes, pos: i64, end: i64) -> bool:
    """Whether a frame is a Cisco ISL wrapping, told by its destination address."""
    if end - pos < 40:
        return False
    front: i64 = u32(buffer, pos)
    return (front == 0x01000C00 or front == 0x03000C00) and buffer[pos + 4] == 0


def looks_like_ethernet(buffer: bytes, pos: i64, end: i64) -> bool:
    """Whether an Ethernet header that leads to something we know seems to begin here."""
    if end - pos < 16:
        return False
    kind: i64 = u16(buffer, pos + 12)
    first: i64 = buffer[pos + 14]
    if kind == ETHERTYPE_IPV4:
        return first >> 4 == 4
    if kind == ETHERTYPE_IPV6:
        return first >> 4 == 6
    return (
        kind == ETHERTYPE_ARP
        or kind == ETHERTYPE_MPLS
        or kind == ETHERTYPE_PPPOE
        or _tag_size(kind) > 0
        or (kind < ETHERTYPE_MIN and u16(buffer, pos + 14) == 0xAAAA)
    )
