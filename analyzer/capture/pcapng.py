"""pcapng files (draft-ietf-opsawg-pcapng): sections, interfaces, packets of three kinds, statistics, TLS secrets.

Each section has its own byte order and interfaces; frames are numbered through all of them, as Wireshark does, which gives
numbers to custom and journal blocks too. Blocks of no use here (names, vendors' blocks) are stepped over. A block says its length twice, before and
after its body: where the two differ, or the length is absurd, the thread is lost, and the reader goes on at the next
octet from which a whole block of a known type stands with both lengths equal.

The fast loop takes enhanced packet blocks in little-endian sections whose clock ticks in whole nanoseconds, which is what
every present tool writes on every present machine; all else goes through :meth:`PcapngReader._take`.

The module is long because the format is: nine kinds of blocks.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i16_le, read_i32_be, read_i32_le
from mypy_extensions import i64

from analyzer.capture.base import MAX_RECORD, CaptureStats, Reader, RecordSink

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE: Final = 1
OLD_PACKET: Final = 2
SIMPLE_PACKET: Final = 3
NAME_RESOLUTION: Final = 4
STATISTICS: Final = 5
ENHANCED_PACKET: Final = 6
JOURNAL: Final = 9
SECRETS: Final = 10
CUSTOM: Final = 0x00000BAD
CUSTOM_NOT_COPIED: Final = 0x40000BAD

#: Largest block (Wireshark's limit): names, secrets and comments may be long.
MAX_BLOCK: Final = 16 << 20
#: Largest packet block, options included; also the largest block of any kind that a search believes.
MAX_PACKET_BLOCK: Final = MAX_RECORD + 65536
#: Interfaces remembered per section; packets of further ones count as damaged.
MAX_INTERFACES: Final = 65536
#: Octets of TLS secrets kept per capture.
MAX_KEYLOG: Final = 16 << 20
#: Secrets type of an NSS key log, ``TLSK``.
SECRETS_TLS: Final = 0x544C534B
#: Clock offsets beyond this many seconds (three centuries would not fit the timestamp) are not believed.
MAX_OFFSET_SECONDS: Final = 4294967296
#: Largest timestamp that is believed, in nanoseconds (the year 2262 ends the signed 64-bit range).
MAX_TIMESTAMP: Final = 0x7FFFFFFFFFFFFFFF

# Option codes.
OPTION_END: Final = 0
IF_TSRESOL: Final = 9
IF_TSOFFSET: Final = 14
ISB_IFDROP: Final = 5
ISB_OSDROP: Final = 7
#: "Unknown" in the drop count of an old packet block.
DROPS_UNKNOWN: Final = 0xFFFF

# Verdicts on a place in the buffer.
NO: Final = 0
YES: Final = 1
UNKNOWN: Final = 2  # more octets are needed (``_need`` says how many)
CUT: Final = 3  # the file ends within the block


class Interface:
    """One interface of a section: link type, snap length, clock."""

    __slots__ = ("drops", "linktype", "max_ticks", "offset_ns", "snaplen", "tick_ns", "ticks_per_second")

    def __init__(self, linktype: i64, snaplen: i64) -> None:
        self.linktype: i64 = linktype
        #: 0 where it is unlimited
        self.snaplen: i64 = snaplen
        #: nanoseconds in a tick; 0 where that is no whole number
        self.tick_ns: i64 = 1000
        self.ticks_per_second: int = 1000000
        self.offset_ns: i64 = 0
        #: the largest number of ticks that is a time
        self.max_ticks: i64 = MAX_TIMESTAMP // 1000
        #: packets dropped, by the last statistics of this interface; -1 where there were none
        self.drops: int = -1

    def set_clock(self, resolution: int, offset_s: int) -> None:
        """Take ``if_tsresol`` (a power of ten, or of two with the top bit) and ``if_tsoffset``."""
        exponent = resolution & 0x7F
        self.ticks_per_second = 2**exponent if resolution & 0x80 else 10**exponent
        self.offset_ns = offset_s * 1000000000
        self.tick_ns = 0
        self.max_ticks = 0
        if 1000000000 % self.ticks_per_second == 0:
            self.tick_ns = 1000000000 // self.ticks_per_second
            # Half of the range for the ticks, less than half of it for the offset: the sum cannot overflow.
            self.max_ticks = MAX_TIMESTAMP // 2 // self.tick_ns

    def timestamp_ns(self, ticks: int) -> int:
        """Nanoseconds since the epoch; -1 where they are before it or beyond the range."""
        # Plain integers, which have no end: hostile ticks times a second do not fit 64 bits.
        offset: int = self.offset_ns
        timestamp = ticks * 1000000000 // self.ticks_per_second + offset
        return timestamp if 0 <= timestamp <= MAX_TIMESTAMP else -1


class PcapngReader(Reader):
    """Reads one pcapng file. Feed it from the first octet; see :class:`analyzer.capture.base.Reader`."""

    def __init__(self, stats: CaptureStats, sink: RecordSink) -> None:
        super().__init__(stats, sink)
        stats.format = "pcapng"
        self._little = True
        self._interfaces: list[Interface] = []
        # Time of the last packet: simple packet blocks have none of their own.
        self._last_ns: i64 = 0
        self._keylog_size = 0
        # What the last scan found.
        self._verdict: i64 = NO
        # Damage has been met, so an interface may have been lost to it.
        self._torn = False

    def parse(self, buffer: bytes, start: i64, final: bool) -> i64:
        position = start
        size: i64 = len(buffer)
        while True:
            if self._searching:
                found = self._scan(buffer, position, size, final)
                self.stats.skipped_bytes += found - position
                position = found
                self._searching = self._verdict == UNKNOWN
                if self._verdict == UNKNOWN:
                    return position
            if self._little:
                position = self._packets(buffer, position, size)
            if position == size:
                self._need = 1
                return position
            verdict = self._examine(buffer, position, size, final)
            if verdict == YES:
                position = self._take(buffer, position)
            elif verdict == UNKNOWN:
                return position
            elif verdict == CUT:
                return self._cut(position, size)
            else:
                # No block starts at this octet; the search begins behind it.
                self.stats.skipped_bytes += 1
                position += 1

    def _packets(self, buffer: bytes, at: i64, size: i64) -> i64:
        """The fast loop: complete, ordinary enhanced packet blocks. Stops at the first that is anything else."""
        if not self._interfaces:
            return at
        stats = self.stats
        sink = self.sink
        frame = self.frame
        begun = at
        captured: i64 = 0
        timestamp: i64 = 0
        earliest: i64 = MAX_TIMESTAMP
        latest: i64 = 0
        current: i64 = 0
        interface = self._interfaces[0]
        linktype = interface.linktype
        tick_ns = interface.tick_ns
        max_ticks = interface.max_ticks
        offset_ns = interface.offset_ns
        while size - at >= 32:
            if read_i32_le(buffer, at) != ENHANCED_PACKET:
                break
            total = i64(read_i32_le(buffer, at + 4))
            end = at + total
            if total < 32 or total > MAX_PACKET_BLOCK or end > size:
                break
            if read_i32_le(buffer, end - 4) != total:
                break
            number = i64(read_i32_le(buffer, at + 8)) & 0xFFFFFFFF
            if number != current:
                if number >= len(self._interfaces):
                    break
                current = number
                interface = self._interfaces[number]
                linktype = interface.linktype
                tick_ns = interface.tick_ns
                max_ticks = interface.max_ticks
                offset_ns = interface.offset_ns
            high = i64(read_i32_le(buffer, at + 12))
            if high < 0:
                break
            ticks = high << 32 | i64(read_i32_le(buffer, at + 16)) & 0xFFFFFFFF
            if tick_ns == 0 or ticks > max_ticks:
                break
            length = i64(read_i32_le(buffer, at + 20))
            if length < 0 or length > total - 32 or length > MAX_RECORD:
                break
            timestamp = ticks * tick_ns + offset_ns
            if timestamp < 0:
                break
            wire = i64(read_i32_le(buffer, at + 24)) & 0xFFFFFFFF
            if timestamp > latest:
                latest = timestamp
            if timestamp < earliest:
                earliest = timestamp
            frame += 1
            captured += length
            self._last_ns = timestamp
            sink.receive_record(buffer, at + 28, at + 28 + length, wire, linktype, timestamp, frame)
            at = end
        taken = frame - self.frame
        if taken > 0:
            self.frame = frame
            if stats.packets == 0 or earliest < stats.first_ns:
                stats.first_ns = earliest
            if latest > stats.last_ns:
                stats.last_ns = latest
            stats.packets += taken
            stats.bytes += captured
            self.framing_bytes += at - begun - captured
        return at

    # Below: what is rare.

    def _u32(self, buffer: bytes, at: i64) -> i64:
        """The unsigned 32-bit number at ``at``, in the byte order of the section."""
        if self._little:
            return i64(read_i32_le(buffer, at)) & 0xFFFFFFFF
        return i64(read_i32_be(buffer, at)) & 0xFFFFFFFF

    def _u16(self, buffer: bytes, at: i64) -> i64:
        if self._little:
            return i64(read_i16_le(buffer, at)) & 0xFFFF
        return i64(read_i16_be(buffer, at)) & 0xFFFF

    def _total(self, buffer: bytes, at: i64) -> i64:
        """The length of the block at ``at``, of which 12 octets are here; -1 for a section of no byte order."""
        if buffer[at] == 0x0A and buffer[at : at + 4] == b"\n\r\r\n":
            magic = buffer[at + 8 : at + 12]
            if magic == b"\x4d\x3c\x2b\x1a":
                return int.from_bytes(buffer[at + 4 : at + 8], "little")
            if magic == b"\x1a\x2b\x3c\x4d":
                return int.from_bytes(buffer[at + 4 : at + 8], "big")
            return -1
        return self._u32(buffer, at + 4)

    def _examine(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """Whether a whole block stands at ``position``. NO comes with the loss counted and the search begun."""
        if size - position < 12:
            self._need = 12
            return CUT if final else UNKNOWN
        total = self._total(buffer, position)
        if total < 12 or total > MAX_BLOCK:
            self._tear(position, f"a block of {total} octets" if total >= 0 else "a section of no byte order")
            return NO
        if total > size - position:
            if not final:
                self._need = total
                return UNKNOWN
            if self._scan(buffer, position + 1, size, True) < size:
                self._tear(position, f"a block of {total} octets, more than are left")
                return NO
            return CUT
        end = position + total
        if buffer[position + 4 : position + 8] != buffer[end - 4 : end]:
            self._tear(position, f"a block of {total} octets that says another length at its end")
            return NO
        return YES

    def _tear(self, position: i64, what: str) -> None:
        self._torn = True
        self._lose(position, what)

    def _scan(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """The index of the next whole block of a known type (``_verdict`` YES).

        With UNKNOWN more octets are needed to judge the place returned; with NO, and only with ``final``, it is the end.
        """
        while True:
            if size - position < 12:
                self._verdict = NO if final else UNKNOWN
                self._need = 12
                return size if final else position
            first = buffer[position]
            last = buffer[position + 3]
            if (first <= 0x0A and last <= 0x0A) or first == 0xAD or last == 0xAD:
                total = self._known(buffer, position)
                if total > 0:
                    if total > size - position:
                        if not final:
                            self._verdict = UNKNOWN
                            self._need = total
                            return position
                    elif buffer[position + 4 : position + 8] == buffer[position + total - 4 : position + total]:
                        self._verdict = YES
                        return position
            position += 1

    def _known(self, buffer: bytes, at: i64) -> i64:
        """The length of the block at ``at`` if its start is that of a known type with a fitting length; else 0."""
        total = self._total(buffer, at)
        if total < 12 or total > MAX_PACKET_BLOCK or total & 3 != 0:
            return 0
        kind = self._u32(buffer, at)
        if kind == ENHANCED_PACKET or kind == OLD_PACKET:
            return total if total >= 32 else 0
        if kind == SECTION_HEADER:
            return total if total >= 28 else 0
        if kind == INTERFACE:
            return total if total >= 20 else 0
        if kind == SIMPLE_PACKET or kind == CUSTOM or kind == CUSTOM_NOT_COPIED:
            return total if total >= 16 else 0
        if kind == STATISTICS:
            return total if total >= 24 else 0
        if kind == SECRETS:
            return total if total >= 20 else 0
        return total if kind == NAME_RESOLUTION or kind == JOURNAL else 0

    def _take(self, buffer: bytes, position: i64) -> i64:
        """Use the whole block at ``position``; the index behind it."""
        total = self._total(buffer, position)
        end = position + total
        kind = self._u32(buffer, position)
        captured: i64 = 0
        if kind == ENHANCED_PACKET:
            captured = self._enhanced_packet(buffer, position, total)
        elif kind == SECTION_HEADER:
            self._section(buffer, position)
        elif kind == INTERFACE:
            captured = self._interface(buffer, position, total)
        elif kind == SIMPLE_PACKET:
            captured = self._simple_packet(buffer, position, total)
        elif kind == OLD_PACKET:
            captured = self._old_packet(buffer, position, total)
        elif kind == STATISTICS:
            self._statistics(buffer, position, total)
        elif kind == SECRETS:
            self._secrets(buffer, position, total)
        elif kind == CUSTOM or kind == CUSTOM_NOT_COPIED or kind == JOURNAL:
            self.frame += 1  # not a packet, but Wireshark shows it as one
        if captured < 0:
            self._torn = True
            self.stats.damaged += 1
            self.stats.skipped_bytes += total
        else:
            self.framing_bytes += total - captured
        return end

    def _section(self, buffer: bytes, at: i64) -> None:
        self._little = buffer[at + 8] == 0x4D
        self._interfaces = []
        self._torn = False

    def _interface(self, buffer: bytes, at: i64, total: i64) -> i64:
        if total < 20:
            return self._unfit(at, "an interface")
        if len(self._interfaces) >= MAX_INTERFACES:
            return self._unfit(at, f"interface number {MAX_INTERFACES}, the limit, of its section")
        linktype: int = self._u16(buffer, at + 8)
        interface = Interface(linktype, self._u32(buffer, at + 12))
        resolution = 6
        offset_s = 0
        # Options, each padded to 32 bits; damaged ones end the list.
        option = at + 16
        end = at + total - 4
        while option + 4 <= end:
            code = self._u16(buffer, option)
            length = self._u16(buffer, option + 2)
            value = option + 4
            if code == OPTION_END or value + length > end:
                break
            if code == IF_TSRESOL and length >= 1:
                resolution = buffer[value]
            elif code == IF_TSOFFSET and length >= 8:
                order = "little" if self._little else "big"
                offset_s = _signed(buffer[value : value + 8], order)
            option = value + (length + 3 & ~3)
        if not -MAX_OFFSET_SECONDS <= offset_s <= MAX_OFFSET_SECONDS:
            self._warn(f"interface {len(self._interfaces)} has a clock offset of {offset_s} s; not believed")
            offset_s = 0
        interface.set_clock(resolution, offset_s)
        self._interfaces.append(interface)
        if linktype not in self.stats.linktypes:
            self.stats.linktypes.append(linktype)
        return 0

    def _find_interface(self, number: i64) -> Interface | None:
        if number < len(self._interfaces):
            return self._interfaces[number]
        if not self._torn:
            return None
        # Its description was lost to damage: the last known one, else Ethernet with microseconds, is the best guess.
        if not self._interfaces:
            self._interfaces.append(Interface(1, 0))
            if 1 not in self.stats.linktypes:
                self.stats.linktypes.append(1)
            self._warn("the description of the interfaces is damaged; taken for Ethernet")
        return self._interfaces[len(self._interfaces) - 1]

    def _unfit(self, at: i64, what: str) -> i64:
        """The block is whole, but not what it says: it is skipped. Always -1."""
        self._warn(f"damaged at octet {self._origin + at} (after frame {self.frame}): {what}")
        return -1

    def _deliver(self, buffer: bytes, begin: i64, length: i64, wire: i64, linktype: i64, timestamp: i64) -> i64:
        stats = self.stats
        if stats.packets == 0 or timestamp < stats.first_ns:
            stats.first_ns = timestamp
        if timestamp > stats.last_ns:
            stats.last_ns = timestamp
        self._last_ns = timestamp
        self.frame += 1
        stats.packets += 1
        stats.bytes += length
        self.sink.receive_record(buffer, begin, begin + length, wire, linktype, timestamp, self.frame)
        return length

    def _time(self, interface: Interface, high: i64, low: i64) -> i64:
        """The time in nanoseconds; that of the packet before where it is out of range."""
        upper: int = high
        lower: int = low
        timestamp = interface.timestamp_ns((upper << 32) + lower)
        if timestamp < 0:
            self._warn(f"frame {self.frame + 1} has a time out of range; that of the frame before is used")
            return self._last_ns
        return timestamp

    def _enhanced_packet(self, buffer: bytes, at: i64, total: i64) -> i64:
        if total < 32:
            return self._unfit(at, "a packet block without a packet")
        interface = self._find_interface(self._u32(buffer, at + 8))
        length = self._u32(buffer, at + 20)
        if interface is None:
            return self._unfit(at, f"a packet of interface {self._u32(buffer, at + 8)}, which is not described")
        if length > total - 32 or length > MAX_RECORD:
            return self._unfit(at, f"a packet of {length} octets in a block of {total}")
        timestamp = self._time(interface, self._u32(buffer, at + 12), self._u32(buffer, at + 16))
        return self._deliver(buffer, at + 28, length, self._u32(buffer, at + 24), interface.linktype, timestamp)

    def _old_packet(self, buffer: bytes, at: i64, total: i64) -> i64:
        if total < 32:
            return self._unfit(at, "a packet block without a packet")
        interface = self._find_interface(self._u16(buffer, at + 8))
        length = self._u32(buffer, at + 20)
        if interface is None:
            return self._unfit(at, f"a packet of interface {self._u16(buffer, at + 8)}, which is not described")
        if length > total - 32 or length > MAX_RECORD:
            return self._unfit(at, f"a packet of {length} octets in a block of {total}")
        drops: int = self._u16(buffer, at + 10)
        if drops != DROPS_UNKNOWN:
            self.stats.dropped = (self.stats.dropped or 0) + drops
        timestamp = self._time(interface, self._u32(buffer, at + 12), self._u32(buffer, at + 16))
        return self._deliver(buffer, at + 28, length, self._u32(buffer, at + 24), interface.linktype, timestamp)

    def _simple_packet(self, buffer: bytes, at: i64, total: i64) -> i64:
        interface = self._find_interface(0)
        if total < 16 or interface is None:
            return self._unfit(at, "a simple packet without an interface or a length")
        wire = self._u32(buffer, at + 8)
        length = min(wire, total - 16)
        if 0 < interface.snaplen < length:
            length = interface.snaplen
        if length > MAX_RECORD:
            return self._unfit(at, f"a packet of {length} octets")
        return self._deliver(buffer, at + 12, length, wire, interface.linktype, self._last_ns)

    def _statistics(self, buffer: bytes, at: i64, total: i64) -> None:
        """Add up the drops by interface and operating system. Each block replaces the one before of its interface."""
        if total < 24:
            return
        number = self._u32(buffer, at + 8)
        if number >= len(self._interfaces):
            return
        drops = -1
        order = "little" if self._little else "big"
        option = at + 20
        end = at + total - 4
        while option + 4 <= end:
            code = self._u16(buffer, option)
            length = self._u16(buffer, option + 2)
            value = option + 4
            if code == OPTION_END or value + length > end:
                break
            if (code == ISB_IFDROP or code == ISB_OSDROP) and length == 8:
                drops = max(drops, 0) + _unsigned(buffer[value : value + 8], order)
            option = value + (length + 3 & ~3)
        if drops >= 0:
            interface = self._interfaces[number]
            self.stats.dropped = (self.stats.dropped or 0) + drops - max(interface.drops, 0)
            interface.drops = drops

    def _secrets(self, buffer: bytes, at: i64, total: i64) -> None:
        if total < 20 or self._u32(buffer, at + 8) != SECRETS_TLS:
            return
        length: int = min(self._u32(buffer, at + 12), total - 20)
        if self._keylog_size + length > MAX_KEYLOG:
            self._warn(f"more than {MAX_KEYLOG} octets of TLS secrets; the rest is left out")
            return
        self._keylog_size += length
        self.stats.keylog.append(buffer[at + 16 : at + 16 + length])

    def _cut(self, position: i64, size: i64) -> i64:
        """The file ends within a block: count what there is of it."""
        self.stats.cut = True
        self.stats.damaged += 1
        self.stats.skipped_bytes += size - position
        self._warn(f"cut in the middle of a block, at octet {self._origin + position} (after frame {self.frame})")
        return size


def _unsigned(octets: bytes, order: str) -> int:
    return int.from_bytes(octets, "little" if order == "little" else "big")


def _signed(octets: bytes, order: str) -> int:
    return int.from_bytes(octets, "little" if order == "little" else "big", signed=True)
