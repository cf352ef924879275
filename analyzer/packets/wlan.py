"""IEEE 802.11 data frames in clear, bare or behind what drivers put in front of them (radiotap, Prism, AVS, PPI).

Encrypted frames are counted. Some drivers leave the bit that says so in frames they have decrypted: those are told by the
LLC header that stands where the encrypted octets would (a chance of one in 2^48).
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.link import LinkLayer
from analyzer.packets.octets import u16, u16_little, u32, u32_little

#: first octet of a frame control field: protocol version 0, type data; the subtype is masked
_VERSION_AND_TYPE: Final = 0x0F
_DATA: Final = 0x08
#: bits of the data subtypes
_NO_DATA: Final = 0x40
_QOS: Final = 0x80
#: second octet of a frame control field
_FOUR_ADDRESSES: Final = 0x03
_PROTECTED: Final = 0x40
_ORDER: Final = 0x80
#: first octet of the QoS control field: the payload is an A-MSDU
_AGGREGATED: Final = 0x80

_RADIOTAP_TSFT: Final = 0x01
_RADIOTAP_FLAGS: Final = 0x02
_RADIOTAP_MORE: Final = 0x80000000
_RADIOTAP_FLAG_PADDED: Final = 0x20
_RADIOTAP_FLAG_BAD_FCS: Final = 0x40

_PRISM_SIZE: Final = 144
#: the magic number of an AVS header, its version in the last four bits
_AVS_MAGIC: Final = 0x80211000


class WlanLayer(LinkLayer):
    """Reads 802.11 frames and the capture headers in front of them."""

    def decode_wlan(self, buffer: bytes, pos: i64, end: i64, depth: i64, padded: bool) -> None:
        """An 802.11 frame (IEEE 802.11-2020 section 9.3.2); ``padded``: its header is filled up to a multiple of four octets."""
        if end - pos < 2:
            self.cut_short()
            return
        control: i64 = buffer[pos]
        flags: i64 = buffer[pos + 1]
        if control & _VERSION_AND_TYPE != _DATA or control & _NO_DATA:
            self.non_ip += 1
            return
        header: i64 = 24
        aggregated = False
        if flags & _FOUR_ADDRESSES == _FOUR_ADDRESSES:
            header += 6
        if end - pos < header + 2:
            self.cut_short()
            return
        if control & _QOS:
            service: i64 = buffer[pos + header]
            aggregated = service & _AGGREGATED != 0
            header += 2
            if flags & _ORDER:
                header += 4  # HT control
        if padded:
            header = (header + 3) & ~3
        if buffer[pos + 22] & 0x0F:
            self.non_ip += 1  # the rest of a fragmented frame: no IP header in it
            return
        body: i64 = pos + header
        if flags & _PROTECTED:
            body = _clear_body(buffer, body, end)
            if body < 0:
                self.encrypted += 1
                return
        if aggregated:
            self._decode_aggregate(buffer, body, end, depth)
        else:
            self.decode_llc(buffer, body, end, depth)

    def _decode_aggregate(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """The frames in an A-MSDU: addresses, length, LLC, padded to four octets each. What is left over is the FCS."""
        while end - pos >= 14 + 8:
            size: i64 = 14 + u16(buffer, pos + 12)
            self.decode_llc(buffer, pos + 14, min(end, pos + size), depth)
            pos += (size + 3) & ~3

    def decode_radiotap(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A radiotap header (radiotap.org) and its 802.11 frame. Frames that failed their check sequence are dropped."""
        if end - pos < 8:
            self.cut_short()
            return
        size: i64 = u16_little(buffer, pos + 2)
        if buffer[pos] != 0 or size < 8:
            self.malformed += 1
            return
        if size > end - pos:
            self.cut_short()
            return
        stop: i64 = pos + size
        present: i64 = u32_little(buffer, pos + 4)
        at: i64 = pos + 8
        more: i64 = present & _RADIOTAP_MORE
        while more and at + 4 <= stop:
            more = u32_little(buffer, at) & _RADIOTAP_MORE
            at += 4
        if present & _RADIOTAP_TSFT:
            at = pos + ((at - pos + 7) & ~7) + 8
        flags: i64 = 0
        if present & _RADIOTAP_FLAGS and at < stop:
            flags = buffer[at]
        if flags & _RADIOTAP_FLAG_BAD_FCS:
            self.malformed += 1
            return
        self.decode_wlan(buffer, stop, end, depth, flags & _RADIOTAP_FLAG_PADDED != 0)

    def decode_prism(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """A Prism header or, in its place, an AVS header, and the 802.11 frame behind it."""
        if end - pos < 8:
            self.cut_short()
            return
        if u32(buffer, pos) & ~15 == _AVS_MAGIC:
            self.decode_avs(buffer, pos, end, depth)
        else:
            self.decode_wlan(buffer, pos + _PRISM_SIZE, end, depth, False)

    def decode_avs(self, buffer: bytes, pos: i64, end: i64, depth: i64) -> None:
        """An AVS header, which tells its own length, and the 802.11 frame behind it."""
        if end - pos < 8:
            self.cut_short()
            return
        size: i64 = u32(buffer, pos + 4)
        if u32(buffer, pos) & ~15 != _AVS_MAGIC or size < 8:
            self.malformed += 1
        else:
            self.decode_wlan(buffer, pos + size, end, depth, False)


def _clear_body(buffer: bytes, body: i64, end: i64) -> i64:
    """Where the LLC header of a frame marked as encrypted stands in clear: at once, or behind the vector left in; else -1."""
    for size in (0, 4, 8):
        at: i64 = body + size
        if end - at >= 8 and u32(buffer, at) == 0xAAAA0300 and u16(buffer, at + 4) == 0:
            return at
    return -1
