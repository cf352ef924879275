"""pcap files (draft-ietf-opsawg-pcap): the classic format of libpcap, with its relatives.

Read: both byte orders; microseconds and nanoseconds; the modified record headers of patched Linux libpcaps (24 and 28
octets, with their own magic number or, worse, with the ordinary one) and of Nokia (20); Ixia's lcap; the swapped
length fields before version 2.3; several files one after another in one stream.

The fast loop takes records whose two lengths agree, as nearly all do, and looks at nothing else. A record whose lengths
differ, are zero or too large is examined: it is believed when a sound header follows it. Where that fails the thread is
lost, and the reader goes on at the next octet from which records follow each other again: lengths that fit, times that
are near, and the header after that as well. The cost of a search is linear in the octets searched.

The module is long because the fast loop stands in it twice, once per byte order.
"""

from __future__ import annotations

from typing import Final

from librt.strings import read_i32_be, read_i32_le, read_i64_be, read_i64_le
from mypy_extensions import i64

from analyzer.capture.base import MAX_RECORD, CaptureStats, Reader, RecordSink

#: Octets of the file header; Ixia's has four more.
FILE_HEADER: Final = 24
IXIA_EXTRA: Final = 4
#: Octets of an ordinary record header.
RECORD_HEADER: Final = 16
#: No packet was longer than this on the wire; only a search insists on it.
MAX_WIRE: Final = 1 << 24
#: While searching, neighbouring records are at most this many seconds apart.
NEAR_SECONDS: Final = 86400
#: While searching without any neighbour, no time before 1990 is believed.
EARLIEST_SECONDS: Final = 631152000

MAGIC_MICRO: Final = 0xA1B2C3D4
MAGIC_NANO: Final = 0xA1B23C4D
MAGIC_MODIFIED: Final = 0xA1B2CD34
MAGIC_IXIA_HARDWARE: Final = 0x1C0001AC
MAGIC_IXIA_SOFTWARE: Final = 0x1C0001AB

#: Runs of zeros (preallocated blocks never written before a crash) are stepped over by the block.
ZERO_RUN: Final = 1024

# Verdicts on a place in the buffer.
NO: Final = 0
YES: Final = 1
UNKNOWN: Final = 2  # more octets are needed (``_need`` says how many)
CUT: Final = 3  # the file ends within the record
FILE: Final = 4  # another file header stands here
FAR: Final = 5  # it would do, but its time is far from that of its neighbour


def is_magic(value: int) -> bool:
    """Whether the first four octets of a file, read in its byte order, say pcap."""
    return value in (MAGIC_MICRO, MAGIC_NANO, MAGIC_MODIFIED, MAGIC_IXIA_HARDWARE, MAGIC_IXIA_SOFTWARE)


class PcapReader(Reader):
    """Reads one pcap file. Feed it from the first octet; see :class:`analyzer.capture.base.Reader`."""

    def __init__(self, stats: CaptureStats, sink: RecordSink) -> None:
        super().__init__(stats, sink)
        stats.format = "pcap"
        self._started = False
        # False until the size of the record headers has been told from the first two records.
        self._settled = False
        self._little = True
        self._linktype: i64 = 0
        self._header: i64 = RECORD_HEADER
        # Nanoseconds in one unit of the second timestamp field, and its number of units in a second.
        self._unit_ns: i64 = 1000
        self._units: i64 = 1000000
        # Largest captured length that the fast loop takes, and the largest that a search believes.
        self._limit: i64 = MAX_RECORD
        self._magic: i64 = 0
        # The two length fields are the other way round: always, or where they make no sense otherwise.
        self._swapped = False
        self._maybe_swapped = False
        # Time of the last record, the measure of what is near; only with _timed.
        self._timed = False
        self._last_s: i64 = 0
        # What the last scan found.
        self._verdict: i64 = NO

    def parse(self, buffer: bytes, start: i64, final: bool) -> i64:
        position = start
        size: i64 = len(buffer)
        while True:
            if not self._started:
                if size - position < FILE_HEADER + IXIA_EXTRA and not final:
                    self._need = FILE_HEADER + IXIA_EXTRA
                    return position
                position = self._open(buffer, position, size)
            if self._searching:
                position = self._search(buffer, position, size, final)
                if self._verdict == UNKNOWN:
                    return position
                continue
            if not self._settled and not self._settle(buffer, position, size, final):
                return position
            position = self._records(buffer, position, size)
            if position == size:
                self._need = 1
                return position
            if size - position < self._header:
                if not final:
                    self._need = self._header
                    return position
                return self._cut(position, size)
            verdict = self._examine(buffer, position, size, final)
            if verdict == YES:
                position = self._take(buffer, position)
            elif verdict == UNKNOWN:
                return position
            elif verdict == CUT:
                return self._cut(position, size)
            elif verdict == FILE:
                position = self._begin_file(buffer, position)
            else:
                # No record starts at this octet; the search begins behind it.
                self.stats.skipped_bytes += 1
                position += 1

    def _records(self, buffer: bytes, at: i64, size: i64) -> i64:
        """The fast loop: complete records with equal lengths. Stops at the first that is anything else.

        Written out once per byte order, because that is what compiles to a few instructions; both halves of a time are one number.
        """
        stats = self.stats
        sink = self.sink
        header = self._header
        linktype = self._linktype
        limit = self._limit
        unit_ns = self._unit_ns
        frame = self.frame
        begun = at
        seconds: i64 = 0
        timestamp: i64 = 0
        earliest: i64 = 0x7FFFFFFFFFFFFFFF
        latest: i64 = 0
        if self._little:
            while size - at >= header:
                length = i64(read_i32_le(buffer, at + 8))
                if length <= 0 or length > limit or length != read_i32_le(buffer, at + 12):
                    break
                begin = at + header
                end = begin + length
                if end > size:
                    break
                moment = read_i64_le(buffer, at)
                seconds = moment & 0xFFFFFFFF
                timestamp = seconds * 1000000000 + (moment >> 32 & 0xFFFFFFFF) * unit_ns
                if timestamp > latest:
                    latest = timestamp
                if timestamp < earliest:
                    earliest = timestamp
                frame += 1
                sink.receive_record(buffer, begin, end, length, linktype, timestamp, frame)
                at = end
        else:
            while size - at >= header:
                length = i64(read_i32_be(buffer, at + 8))
                if length <= 0 or length > limit or length != read_i32_be(buffer, at + 12):
                    break
                begin = at + header
                end = begin + length
                if end > size:
                    break
                moment = read_i64_be(buffer, at)
                seconds = moment >> 32 & 0xFFFFFFFF
                timestamp = seconds * 1000000000 + (moment & 0xFFFFFFFF) * unit_ns
                if timestamp > latest:
                    latest = timestamp
                if timestamp < earliest:
                    earliest = timestamp
                frame += 1
                sink.receive_record(buffer, begin, end, length, linktype, timestamp, frame)
                at = end
        taken = frame - self.frame
        if taken > 0:
            self.frame = frame
            if stats.packets == 0 or earliest < stats.first_ns:
                stats.first_ns = earliest
            if latest > stats.last_ns:
                stats.last_ns = latest
            stats.packets += taken
            stats.bytes += at - begun - taken * header
            self.framing_bytes += taken * header
            self._last_s = seconds
            self._timed = True
        return at

    # Below: what is rare.

    def _u32(self, buffer: bytes, at: i64) -> i64:
        """The unsigned 32-bit number at ``at``, in the byte order of the file."""
        if self._little:
            return i64(read_i32_le(buffer, at)) & 0xFFFFFFFF
        return i64(read_i32_be(buffer, at)) & 0xFFFFFFFF

    def _open(self, buffer: bytes, position: i64, size: i64) -> i64:
        """The start of the file: take its header, or look for records without one."""
        self._started = True
        self._settled = True
        big = int.from_bytes(buffer[position : position + 4], "big")
        little = int.from_bytes(buffer[position : position + 4], "little")
        if size - position < FILE_HEADER or not (is_magic(big) or is_magic(little)):
            self._lose(position, "cut within the file header" if size - position < FILE_HEADER else "no file header")
            return position
        return self._begin_file(buffer, position)

    def _is_file_header(self, buffer: bytes, position: i64, size: i64) -> bool:
        """Whether a further file begins here: its header must be wholly ordinary."""
        octet = buffer[position]
        if octet != 0xA1 and octet != 0xD4 and octet != 0x4D and octet != 0x34:
            return False
        if size - position < FILE_HEADER:
            return False
        if octet == 0xA1:
            magic = int.from_bytes(buffer[position : position + 4], "big")
            version = buffer[position + 4 : position + 8] in (b"\0\2\0\3", b"\0\2\0\4")
        else:
            magic = int.from_bytes(buffer[position : position + 4], "little")
            version = buffer[position + 4 : position + 8] in (b"\2\0\3\0", b"\2\0\4\0")
        sigfigs = buffer[position + 12 : position + 16]
        return version and sigfigs == b"\0\0\0\0" and magic in (MAGIC_MICRO, MAGIC_NANO, MAGIC_MODIFIED)

    def _begin_file(self, buffer: bytes, position: i64) -> i64:
        """Take the file header at ``position``, the first or a further one; the index behind it."""
        octet = buffer[position]
        self._little = octet != 0xA1 and octet != 0x1C
        magic = self._u32(buffer, position)
        version = self._u32(buffer, position + 4)
        major = version & 0xFFFF if self._little else version >> 16
        minor = version >> 16 if self._little else version & 0xFFFF
        snaplen = self._u32(buffer, position + 16)
        # The upper 16 bits hold the length of the frame check sequence and reserved bits.
        linktype: int = self._u32(buffer, position + 20) & 0xFFFF
        if self._origin + position > 0:
            self._warn(f"another pcap file begins at octet {self._origin + position}; read on as one capture")
        elif major != 2:
            self._warn(f"pcap version {major}.{minor} is unusual; read as 2.4")
        self._settled = False
        self._searching = False
        self._timed = False
        self._magic = magic
        self._linktype = linktype
        self._header = RECORD_HEADER
        self._limit = snaplen if 0 < snaplen < MAX_RECORD else MAX_RECORD
        self._unit_ns = 1 if magic == MAGIC_NANO else 1000
        self._units = 1000000000 if self._unit_ns == 1 else 1000000
        self._swapped = (major == 2 and minor < 3) or major == 543
        self._maybe_swapped = major == 2 and minor == 3
        if linktype not in self.stats.linktypes:
            self.stats.linktypes.append(linktype)
        length: i64 = FILE_HEADER
        if magic == MAGIC_IXIA_HARDWARE or magic == MAGIC_IXIA_SOFTWARE:
            length = min(FILE_HEADER + IXIA_EXTRA, len(buffer) - position)
        self.framing_bytes += length
        return position + length

    def _settle(self, buffer: bytes, position: i64, size: i64, final: bool) -> bool:
        """Tell the size of the record headers: the first under which two records follow each other.

        False where more octets are needed for that.
        """
        candidates = [RECORD_HEADER]
        if self._magic == MAGIC_MODIFIED:
            candidates = [24, 28, RECORD_HEADER]
        elif self._magic == MAGIC_MICRO:
            candidates = [RECORD_HEADER, 24, 20]
        chosen: i64 = candidates[0]
        possible: i64 = 0
        for candidate in candidates:
            header: i64 = candidate
            self._header = header
            if size - position < header:
                if not final:
                    self._need = header
                    return False
                continue
            length = self._captured(buffer, position)
            if length > MAX_RECORD:
                continue
            verdict = self._follows(buffer, position, position + header + length, size, final)
            if verdict == UNKNOWN:
                return False
            if verdict == YES:
                chosen = header
                break
            if verdict == FAR and possible == 0:
                possible = header
                chosen = header
        self._header = chosen
        self._settled = True
        return True

    def _captured(self, buffer: bytes, position: i64) -> i64:
        """The captured length in the record header at ``position``."""
        length = self._u32(buffer, position + 8)
        if self._swapped:
            return self._u32(buffer, position + 12)
        if self._maybe_swapped:
            wire = self._u32(buffer, position + 12)
            if wire < length:
                return wire
        return length

    def _wire(self, buffer: bytes, position: i64) -> i64:
        """The length on the wire in the record header at ``position``."""
        length = self._u32(buffer, position + 12)
        if self._swapped:
            return self._u32(buffer, position + 8)
        if self._maybe_swapped:
            captured = self._u32(buffer, position + 8)
            if length < captured:
                return captured
        return length

    def _take(self, buffer: bytes, position: i64) -> i64:
        """Hand over the complete record at ``position``, which was examined and believed; the index behind it."""
        stats = self.stats
        header = self._header
        length = self._captured(buffer, position)
        seconds = self._u32(buffer, position)
        timestamp = seconds * 1000000000 + self._u32(buffer, position + 4) * self._unit_ns
        begin = position + header
        if stats.packets == 0 or timestamp < stats.first_ns:
            stats.first_ns = timestamp
        if timestamp > stats.last_ns:
            stats.last_ns = timestamp
        self.frame += 1
        stats.packets += 1
        stats.bytes += length
        self.framing_bytes += header
        self._last_s = seconds
        self._timed = True
        self.sink.receive_record(
            buffer, begin, begin + length, self._wire(buffer, position), self._linktype, timestamp, self.frame
        )
        return begin + length

    def _examine(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """Whether to believe the record at ``position``, which the fast loop refused or found incomplete.

        NO comes with the loss counted and the search begun.
        """
        header = self._header
        least = max(FILE_HEADER, header)
        if size - position < least and not final:
            self._need = least
            return UNKNOWN
        if self._is_file_header(buffer, position, size):
            return FILE
        length = self._captured(buffer, position)
        wire = self._wire(buffer, position)
        if length > MAX_RECORD:
            self._lose(position, f"a record of {length} octets")
            return NO
        if length == 0 and wire == 0 and self._timed and not self._near(self._u32(buffer, position)):
            self._lose(position, "an empty record of another time")
            return NO
        end = position + header + length
        ordinary = length == wire and 0 < length <= self._limit
        if end > size:
            if not final:
                self._need = header + length
                return UNKNOWN
            if not ordinary and self._scan(buffer, position + 1, size, True) < size:
                self._lose(position, f"a record of {length} octets, more than are left")
                return NO
            return CUT
        if ordinary:
            return YES
        # Cut to the snap length, as the file header announced it.
        if length == self._limit and length < wire and self._near(self._u32(buffer, position)):
            return YES
        verdict = self._follows(buffer, position, end, size, final)
        if verdict == FAR:
            # Days may lie between two records; but not if the other length leads to a nearer one.
            verdict = NO
            if length < wire:
                other = (
                    self._follows(buffer, position, position + header + wire, size, final) if wire <= MAX_RECORD else NO
                )
                if other == UNKNOWN:
                    return UNKNOWN
                verdict = NO if other == YES else YES
        if verdict == NO:
            self._lose(position, f"a record of {length} octets ({wire} on the wire) with no record behind it")
        return verdict

    def _near(self, seconds: i64) -> bool:
        distance = seconds - self._last_s
        return self._timed and -NEAR_SECONDS <= distance <= NEAR_SECONDS

    def _follows(self, buffer: bytes, position: i64, following: i64, size: i64, final: bool) -> i64:
        """Whether what stands at ``following`` can be the header after the record at ``position``: YES, FAR or NO."""
        least = max(FILE_HEADER, self._header)
        if size - following < least and not final:
            self._need = following + least - position
            return UNKNOWN
        seconds = self._u32(buffer, position)
        if following > size:
            return NO
        if size - following < self._header:
            # The end of the file: too little is left to say more.
            if following - position == self._header and not self._near(seconds):
                return NO
            return YES if following == size else FAR
        if self._is_file_header(buffer, following, size):
            return YES
        length = self._captured(buffer, following)
        wire = self._wire(buffer, following)
        if length > MAX_RECORD or self._u32(buffer, following + 4) >= 1000000000:
            return NO
        after = self._u32(buffer, following)
        if after == 0 and length == 0 and wire == 0:
            return NO
        distance = after - seconds
        if -NEAR_SECONDS <= distance <= NEAR_SECONDS:
            return YES
        return FAR if 0 < length <= wire <= MAX_WIRE else NO

    def _sound(self, buffer: bytes, position: i64) -> bool:
        """Whether a search may take the complete header at ``position`` for one."""
        length = self._captured(buffer, position)
        if length == 0 or length > self._limit:
            return False
        wire = self._wire(buffer, position)
        return length <= wire <= MAX_WIRE and self._u32(buffer, position + 4) < self._units

    def _chain(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """Whether records follow each other from ``position``: two near the last good one, or three of any time."""
        header = self._header
        wanted: i64 = 2
        links: i64 = 0
        here = position
        before: i64 = 0
        while True:
            if size - here < header:
                if not final:
                    self._need = here + header - position
                    return UNKNOWN
                if here == size:
                    # The last record ends exactly with the file.
                    return YES if links > 1 or (links == 1 and (wanted == 2 or before >= EARLIEST_SECONDS)) else NO
                if here < size:
                    return YES if links > 1 or (links == 1 and wanted == 2) else NO
                return YES if links > 1 else NO
            if not self._sound(buffer, here):
                return NO
            seconds = self._u32(buffer, here)
            if links == 0:
                if not self._near(seconds):
                    wanted = 3
            else:
                distance = seconds - before
                if distance < -NEAR_SECONDS or distance > NEAR_SECONDS:
                    return NO
            before = seconds
            links += 1
            if links == wanted:
                return YES
            here += header + self._captured(buffer, here)

    def _search(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """Go on to the next plausible record or file header, and count what lies between.

        ``_searching`` stays set where the search has not ended.
        """
        found = self._scan(buffer, position, size, final)
        self.stats.skipped_bytes += found - position
        if self._verdict == FILE:
            return self._begin_file(buffer, found)
        self._searching = self._verdict == UNKNOWN
        return found

    def _scan(self, buffer: bytes, position: i64, size: i64, final: bool) -> i64:
        """The index of the next plausible record (``_verdict`` YES) or file header (FILE).

        With UNKNOWN more octets are needed to judge the place returned; with NO, and only with ``final``, it is the end.
        """
        # The uppermost octets of both lengths are zero in any sound header.
        high_length: i64 = 11 if self._little else 8
        high_wire: i64 = 15 if self._little else 12
        least = max(FILE_HEADER, self._header)
        zeros = bytes(ZERO_RUN)
        while True:
            left = size - position
            if left < least and not final:
                self._need = least
                self._verdict = UNKNOWN
                return position
            if left < self._header:
                self._verdict = NO
                return size
            if buffer[position + high_length] == 0 and buffer[position + high_wire] == 0:
                if buffer[position] == 0 and left >= ZERO_RUN and buffer[position : position + ZERO_RUN] == zeros:
                    position += ZERO_RUN - RECORD_HEADER
                    continue
                self._verdict = self._chain(buffer, position, size, final)
                if self._verdict != NO:
                    return position
            if self._is_file_header(buffer, position, size):
                self._verdict = FILE
                return position
            position += 1

    def _cut(self, position: i64, size: i64) -> i64:
        """The file ends within a record: count what there is of it."""
        self.stats.cut = True
        self.stats.damaged += 1
        self.stats.skipped_bytes += size - position
        self._warn(f"cut in the middle of a record, at octet {self._origin + position} (after frame {self.frame})")
        return size
