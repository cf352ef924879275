"""Which header a record begins with: its link type tells, and this module knows some thirty of them.

Link types are the LINKTYPE_ values of capture files (https://www.tcpdump.org/linktypes.html), with the DLT_ values that some
writers put in their place. Where a link type is no more than a small header in front of something, that header is read here;
the rest is in ``link``, ``wlan`` and ``ip``.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.octets import u16, u16_little, u32, u32_little
from analyzer.packets.tcp import MAX_DEPTH
from analyzer.packets.tunnels import TunnelLayer

NULL: Final = 0
ETHERNET: Final = 1
TOKEN_RING: Final = 6
SLIP: Final = 8
PPP: Final = 9
FDDI: Final = 10
RAW_BSD: Final = 12
RAW_OPENBSD: Final = 14
PPP_HDLC: Final = 50
PPP_ETHER: Final = 51
ATM_RFC1483: Final = 100
RAW: Final = 101
C_HDLC: Final = 104
IEEE802_11: Final = 105
FRAME_RELAY: Final = 107
LOOP: Final = 108
ENC: Final = 109
LINUX_SLL: Final = 113
PFLOG: Final = 117
PRISM: Final = 119
SUNATM: Final = 123
RADIOTAP: Final = 127
IP_OVER_FIREWIRE: Final = 138
USER2: Final = 149
AVS: Final = 163
PPP_PPPD: Final = 166
JUNIPER_ETHERNET: Final = 178
PPI: Final = 192
PPP_WITH_DIRECTION: Final = 204
MPLS: Final = 219
IPNET: Final = 226
IPV4: Final = 228
IPV6: Final = 229
NFLOG: Final = 239
NETANALYZER: Final = 240
PKTAP: Final = 258
LINUX_SLL2: Final = 276

#: values of an EtherType place in Linux cooked captures that are none (linux/if_ether.h)
_SLL_8023: Final = 0x0001
_SLL_8022: Final = 0x0004
_ARPHRD_ETHER: Final = 1
_ARPHRD_RADIOTAP: Final = 803

_NFLOG_PAYLOAD: Final = 9
#: how long the header of a macOS PKTAP record may be; under the number USER2 this is what tells it from anything else
_PKTAP_MIN: Final = 108
_PKTAP_MAX: Final = 256

_RARE_LINKTYPES: Final = frozenset(
    {
        TOKEN_RING,
        SLIP,
        FDDI,
        ATM_RFC1483,
        FRAME_RELAY,
        ENC,
        PFLOG,
        SUNATM,
        IP_OVER_FIREWIRE,
        JUNIPER_ETHERNET,
        PPI,
        IPNET,
        NETANALYZER,
        PKTAP,
    }
)


class LinktypeLayer(TunnelLayer):
    """Reads records by their link type."""

    def decode_linktype(self, linktype: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> bool:
        """A record by its link type; False where there is no decoder for it (or the record is clearly of another one)."""
        if depth == 0:
            self._tag = 0
        if linktype == ETHERNET:
            self.decode_ethernet(buffer, pos, end, depth)
        elif linktype == LINUX_SLL:
            self._decode_cooked(buffer, pos, end, depth, pos + 2, pos + 14, pos + 16)
        elif linktype == LINUX_SLL2:
            self._decode_cooked(buffer, pos, end, depth, pos + 8, pos, pos + 20)
        elif linktype == RAW or linktype == RAW_BSD or linktype == RAW_OPENBSD:
            self._decode_raw(buffer, pos, end, depth)
        elif linktype == IPV4:
            self.decode_ipv4(buffer, pos, end, depth)
        elif linktype == IPV6:
            self.decode_ipv6(buffer, pos, end, depth)
        elif linktype == NULL or linktype == LOOP:
            self._decode_loopback(buffer, pos, end, depth)
        elif linktype == IEEE802_11:
            self.decode_wlan(buffer, pos, end, depth, False)
        elif linktype == RADIOTAP:
            self.decode_radiotap(buffer, pos, end, depth)
        elif linktype == PRISM:
            self.decode_prism(buffer, pos, end, depth)
        elif linktype == AVS:
            self.decode_avs(buffer, pos, end, depth)
        elif linktype == PPP or linktype == PPP_HDLC:
            self._decode_serial(buffer, pos, end, depth)
        elif linktype == PPP_WITH_DIRECTION:
            self.decode_ppp(buffer, pos + 1, end, depth)
        elif linktype == PPP_PPPD:
            # the direction stands where the address octet would
            behind = 2 if end - pos >= 2 and buffer[pos + 1] == 0x03 else 1
            self.decode_ppp(buffer, pos + behind, end, depth)
        elif linktype == PPP_ETHER:
            self.decode_pppoe(buffer, pos, end, depth)
        elif linktype == C_HDLC:
            self._decode_cisco_hdlc(buffer, pos, end, depth)
        elif linktype == NFLOG:
            self._decode_nflog(buffer, pos, end, depth)
        elif linktype == MPLS:
            self.decode_mpls(buffer, pos, end, depth)
        else:
            return self._decode_rare_linktype(linktype, buffer, pos, end, depth)
        return True

    def _decode_rare_linktype(self, linktype: i64, buffer: bytes, pos: i64, end: i64, depth: i64) -> bool:
        """Link types with a header of known size in front of something else."""
        if linktype == USER2:
            size: i64 = u32_little(buffer, pos) if end - pos >= _PKTAP_MIN else 0
            if size < _PKTAP_MIN or size > _PKTAP_MAX or u32_little(buffer, pos + 4) != 1:
                return False
            linktype = PKTAP
        if linktype not in _RARE_LINKTYPES:
            return False
        if end - pos < 18:
            self.cut_short()
            return True
        if linktype == PPI:
            # version, flags, size, link type (both little-endian)
            return self._decode_wrapped(
                u32_little(buffer, pos + 4), buffer, pos, u16_little(buffer, pos + 2), end, depth
            )
        if linktype == PKTAP:
            # size, record type, link type, in the byte order of the machines that write it
            return self._decode_wrapped(u32_little(buffer, pos + 8), buffer, pos, u32_little(buffer, pos), end, depth)
        if linktype == PFLOG:
            size = buffer[pos]
            self.decode_ip(buffer, pos + ((size + 3) & ~3), end, depth)
        elif linktype == TOKEN_RING:
            # access control, frame control, two addresses; the first bit of the source announces a route
            size = 14
            if buffer[pos + 8] & 0x80:
                route: i64 = buffer[pos + 14]
                size += route & 0x1F
            self.decode_llc(buffer, pos + size, end, depth)
        elif linktype == FDDI:
            self.decode_llc(buffer, pos + 13, end, depth)
        elif linktype == ATM_RFC1483:
            self.decode_llc(buffer, pos, end, depth)
        elif linktype == SUNATM:
            self.decode_llc(buffer, pos + 4, end, depth)
        elif linktype == FRAME_RELAY:
            self._decode_frame_relay(buffer, pos, end, depth)
        elif linktype == SLIP:
            self.decode_ip(buffer, pos + 16, end, depth)
        elif linktype == ENC:
            self.decode_ip(buffer, pos + 12, end, depth)
        elif linktype == IPNET:
            self.decode_ip(buffer, pos + 24, end, depth)
        elif linktype == IP_OVER_FIREWIRE:
            self.decode_ethertype(u16(buffer, pos + 16), buffer, pos + 18, end, depth)
        elif linktype == NETANALYZER:
            self.decode_ethernet(buffer, pos + 4, end, depth)
        else:
            self._decode_juniper(buffer, pos, end, depth)
        return True

    def _decode_wrapped(self, linktype: i64, buffer: bytes, pos: i64, size: i64, end: i64, depth: i64) -> bool:
        """A record of another link type behind a header of ``size`` octets."""
        if depth >= MAX_DEPTH:
            self.too_deep += 1
            return True
        if size < 8:
            self.malformed += 1
            return True
        if pos + size > end:
            self.cut_short()
            return True
        return self.decode_linktype(linktype, buffer, pos + size, end, depth + 1)

    def _decode_cooked(
        self, buffer: bytes, pos: i64, end: i64, depth: i64, device_at: i64, kind_at: i64, body: i64
    ) -> None:
        """A Linux cooked capture: the type of the device, the protocol, and the payload stand at the places given."""
        if body > end:
            self.cut_short()
            return
        device: i64 = u16(buffer, device_at)
        kind: i64 = u16(buffer, kind_at)
        if device == _ARPHRD_RADIOTAP:
            self.decode_radiotap(buffer, body, end, depth)
        elif kind == _SLL_8022:
            self.decode_llc(buffer, body, end, depth)
        elif kind == _SLL_8023 and device == _ARPHRD_ETHER:
            self.non_ip += 1  # Novell's frames, without LLC
        else:
            self.decode_ethertype(kind, buffer, body, end, depth)

    def _decode_raw(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """IP without a link layer; the number 12 means loopback on OpenBSD, which begins with an address family."""
        if end - pos >= 4 and _family(buffer, pos) > 0:
            self._decode_loopback(buffer, pos, end, depth)
        else:
            self.decode_ip(buffer, pos, end, depth)

    def _decode_loopback(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """BSD loopback: an address family in the byte order of whoever wrote it, then IP."""
        if end - pos < 4:
            self.cut_short()
            return
        family = _family(buffer, pos)
        if family == 4:
            self.decode_ipv4(buffer, pos + 4, end, depth)
        elif family == 6:
            self.decode_ipv6(buffer, pos + 4, end, depth)
        else:
            self.non_ip += 1

    def _decode_serial(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """PPP, or Cisco's HDLC under the same number, told by its address octet."""
        if end - pos >= 4 and (buffer[pos] == 0x0F or buffer[pos] == 0x8F) and buffer[pos + 1] == 0:
            self._decode_cisco_hdlc(buffer, pos, end, depth)
        else:
            self.decode_ppp(buffer, pos, end, depth)

    def _decode_cisco_hdlc(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """Cisco's HDLC: address, control, EtherType (or the two octets of ISO protocols)."""
        if end - pos < 4:
            self.cut_short()
            return
        self.decode_ethertype(u16(buffer, pos + 2), buffer, pos + 4, end, depth)

    def _decode_frame_relay(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """Frame Relay (RFC 2427): an address of two to four octets, then NLPID, or an EtherType as Cisco has it."""
        at: i64 = pos + 1
        while at < pos + 4 and buffer[at] & 1 == 0:
            at += 1
        at += 1
        if buffer[at] != 0x03:
            self.decode_ethertype(u16(buffer, at), buffer, at + 2, end, depth)
            return
        at += 1
        if buffer[at] == 0:
            at += 1  # padding
        self.decode_nlpid(buffer, at, end, depth)

    def _decode_nflog(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """Linux netfilter log: family, version, resource; then attributes (size, type) filled up to four octets each."""
        at: i64 = pos + 4
        while at + 4 <= end:
            size: i64 = u16_little(buffer, at)
            kind: i64 = u16_little(buffer, at + 2) & 0x7FFF
            if size < 4 or kind > 255:  # written by a big-endian machine
                size = u16(buffer, at)
                kind = u16(buffer, at + 2) & 0x7FFF
            if kind == _NFLOG_PAYLOAD:
                self.decode_ip(buffer, at + 4, end, depth)
                return
            if size < 4:
                self.malformed += 1
                return
            at += (size + 3) & ~3
        self.cut_short()

    def _decode_juniper(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """Ethernet behind Juniper's header: magic ``MGC``, flags, extensions where a flag says so."""
        flags: i64 = buffer[pos + 3]
        if u16(buffer, pos) != 0x4D47 or buffer[pos + 2] != 0x43:
            self.malformed += 1
            return
        at: i64 = pos + 4
        if flags & 0x80:
            at += 2 + u16(buffer, pos + 4)
        if flags & 0x02:
            self.decode_ip(buffer, at + 4, end, depth)  # no layer 2, its family instead
        else:
            self.decode_ethernet(buffer, at, end, depth)


def _family(buffer: bytes, pos: i64) -> i64:
    """The IP version that an address family of four octets, in either byte order, stands for; 0 for none."""
    family: i64 = u32(buffer, pos)
    if family > 0xFFFF:
        family = u32_little(buffer, pos)
    if family == 2:
        return 4
    # the numbers of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS
    if family == 10 or family == 23 or family == 24 or family == 28 or family == 30:
        return 6
    return 0
