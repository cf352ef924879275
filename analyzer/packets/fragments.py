"""Fragments of IPv4 and IPv6 datagrams put together again (RFC 815, RFC 8200 section 4.5).

Fragments may come in any order, twice, or overlapping. On overlap the first copy is kept, for both versions of IP: that
is what most receivers do, and an observer who drops the datagram instead (RFC 5722) would be blind to one that did not.
The table is bounded in datagrams, in octets and in capture time; what is pushed out is counted.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

from mypy_extensions import i64

#: datagrams that may wait for their missing fragments at once
MAX_FRAGMENT_DATAGRAMS: Final = 1024
#: octets that waiting fragments may hold, each fragment counted with ``FRAGMENT_COST`` on top
MAX_FRAGMENT_BYTES: Final = 8 * 1024 * 1024
#: what a waiting fragment costs beside its octets (objects, list entries)
FRAGMENT_COST: Final = 96
#: capture time after which an unfinished datagram is given up (Linux: ``ipfrag_time``), in nanoseconds
FRAGMENT_TIMEOUT_NS: Final = 30_000_000_000
#: octets that the payload of one datagram may have
MAX_DATAGRAM: Final = 65535


class Datagram:
    """One datagram whose fragments are being collected: pieces in order, without overlap."""

    def __init__(self, first_ns: i64) -> None:
        #: capture time of the fragment that came first
        self.first_ns: i64 = first_ns
        #: the protocol (next header) that the fragment at offset 0 names; -1 as long as it is missing
        self.protocol: i64 = -1
        #: size of the whole payload in octets; -1 as long as the last fragment is missing
        self.size: i64 = -1
        #: octets collected, each octet once
        self.held: i64 = 0
        #: what this datagram counts for in the table's ``cost``
        self.cost: i64 = 0
        #: fragments taken in
        self.fragments: i64 = 0
        self.offsets: list[int] = []
        self.pieces: list[bytes] = []
        #: the whole payload, once complete
        self.payload: bytes = b""


class FragmentTable:
    """Collects fragments, and hands back each datagram when its last hole is filled."""

    def __init__(self) -> None:
        self.datagrams: dict[bytes, Datagram] = {}
        #: octets held now, overhead included
        self.cost: i64 = 0
        #: datagrams completed
        self.reassembled: i64 = 0
        #: fragments thrown away: impossible, too late, or pushed out by a limit
        self.dropped: i64 = 0
        #: fragments that overlapped what was there (exact repetitions do not count)
        self.overlaps: i64 = 0

    def add(
        self, key: bytes, protocol: i64, offset: i64, more: bool, data: bytes, timestamp_ns: i64
    ) -> Datagram | None:
        """Takes one fragment; returns its datagram if that is now complete.

        ``key`` tells datagrams apart (addresses, identification, for IPv4 the protocol), ``offset`` is in octets, ``more``
        says that other fragments follow this one.
        """
        size: i64 = len(data)
        if more:
            size -= size & 7  # only the last fragment may have an odd size; Linux cuts the rest off, too
            if size < len(data):
                data = data[:size]
        if size == 0 or offset + size > MAX_DATAGRAM:
            self.dropped += 1
            return None
        datagram = self.datagrams.get(key)
        if datagram is not None and timestamp_ns - datagram.first_ns > FRAGMENT_TIMEOUT_NS:
            self._give_up(key)  # the identification has come round again
            datagram = None
        if datagram is None:
            datagram = Datagram(timestamp_ns)
            self.datagrams[key] = datagram
        if not _fits(datagram, offset, size, more):
            self.dropped += 1
            return None
        if not more:
            datagram.size = offset + size
        if offset == 0 and datagram.protocol < 0:
            datagram.protocol = protocol
        self._insert(datagram, offset, data)
        if datagram.held == datagram.size:
            self.cost -= datagram.cost
            del self.datagrams[key]
            datagram.payload = b"".join(datagram.pieces)
            self.reassembled += 1
            return datagram
        self._make_room(timestamp_ns)
        return None

    def _insert(self, datagram: Datagram, offset: i64, data: bytes) -> None:
        """Puts the parts of a fragment that are not there yet in their places."""
        offsets = datagram.offsets
        pieces = datagram.pieces
        start: i64 = offset
        end: i64 = offset + len(data)
        index: i64 = bisect_right(offsets, offset)
        overlap = False
        datagram.fragments += 1
        if index > 0:
            before: i64 = offsets[index - 1]
            if before == offset and pieces[index - 1] == data:
                return
            before += len(pieces[index - 1])
            if before > start:
                overlap = True
                start = before
        while start < end:
            following: i64 = end
            if index < len(offsets):
                following = offsets[index]
            stop: i64 = min(end, following)
            if stop > start:
                offsets.insert(index, start)
                pieces.insert(index, data[start - offset : stop - offset])
                index += 1
                datagram.held += stop - start
                datagram.cost += stop - start + FRAGMENT_COST
                self.cost += stop - start + FRAGMENT_COST
            if following >= end:
                break
            overlap = True
            start = following + len(pieces[index])
            index += 1
        if overlap:
            self.overlaps += 1

    def _make_room(self, timestamp_ns: i64) -> None:
        """Gives up the oldest datagrams until no limit is exceeded and none is too old."""
        while self.datagrams:
            key = next(iter(self.datagrams))
            age: i64 = timestamp_ns - self.datagrams[key].first_ns
            if (
                age <= FRAGMENT_TIMEOUT_NS
                and self.cost <= MAX_FRAGMENT_BYTES
                and len(self.datagrams) <= MAX_FRAGMENT_DATAGRAMS
            ):
                return
            self._give_up(key)

    def _give_up(self, key: bytes) -> None:
        datagram = self.datagrams.pop(key)
        self.cost -= datagram.cost
        self.dropped += datagram.fragments


def _fits(datagram: Datagram, offset: i64, size: i64, more: bool) -> bool:
    """Whether a fragment agrees with what is known of the size of its datagram."""
    end: i64 = offset + size
    if datagram.size >= 0 and (end > datagram.size or (not more and end != datagram.size)):
        return False
    if not more and datagram.offsets:
        last: i64 = datagram.offsets[-1]
        return last + len(datagram.pieces[-1]) <= end
    return True
