"""Packets from a network interface through a ring that the Linux kernel fills (TPACKET_V3, packet(7) and packet_mmap.rst).

The ring is memory shared with the kernel, in blocks. The kernel puts packets into a block until it is full or ``RETIRE_MS`` have passed,
then hands the block over; it is read and given back. Nothing but the standard library's ``socket`` and ``mmap`` is needed: pieces of a
block are copied into ``bytes`` and walked by compiled code. Pieces are 64 KiB, as for files: they stay in the processor's cache, and larger
ones were measured no faster. Larger blocks are: whole pipeline, 200,000 packets a second, 640 ns of processor time a packet with blocks of 128 KiB,
290 with 1 MiB, 220 with 4 MiB. But a block is used up after ``RETIRE_MS`` though it hold a single packet, so 64 blocks of 1 MiB let the reader be
late by three seconds on a quiet network, and 16 of 4 MiB by less than one.

**Which packets.** What the filter passes (see ``filters``), of the interface named or of ``any``. On ``any`` every packet keeps the header
of its own interface, and its record the link type that goes with it: Ethernet stays Ethernet, so nothing need be made up or copied, and
the fast path of the decoder is taken; a cooked header in front of each packet would cost that. Interfaces without a link header that we
know (tunnels, PPP) give plain IP; and what is neither gets a cooked header (LINKTYPE_LINUX_SLL2). So no kind of interface is refused.
VLAN tags that the kernel took off are put back. On loopback, where the kernel shows each packet as it leaves and as it comes in, the
first is dropped, as libpcap does.

**When the interface goes.** Down and up again: the kernel stops and starts delivering by itself, on the same socket. Deleted and made
anew (a new USB adapter, ``docker compose up``): the new interface of that name is bound to the same socket, with filter, ring and
counters as they were, which needs no privileges; packets that passed before that are not seen, and nobody can count them. Renamed: the
socket stays with the interface.

**Promiscuous mode** is asked for by a membership of the socket, so the kernel ends it with the socket, even after ``kill -9``, and other
programs' wishes are not touched. ``any`` has none: name the interfaces instead.

On processors that reorder memory accesses, the system call between waiting for a block and reading it keeps the order; a block that was
seen ready without such a call in between was handed over longer ago than any processor delays a load.
"""

from __future__ import annotations

import errno
import mmap
import socket
import struct
import sys
import threading
import time
from typing import Final

from mypy_extensions import i64

from analyzer.capture import filters
from analyzer.capture.base import MAX_RECORD, RecordSink
from analyzer.capture.interfaces import (
    ANY,
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ARPHRD_WLAN,
    ARPHRD_WLAN_PRISM,
    ARPHRD_WLAN_RADIOTAP,
    IFF_RUNNING,
    IFF_UP,
    how_to_grant,
    names,
)
from analyzer.capture.live import MAX_RECORDS_A_READ, LiveCounters, LiveSource
from analyzer.errors import CaptureError, CaptureNotFound

#: Octets of a block. A packet must fit: segmentation offload makes them 64 KiB long, and up to 512 KiB with "BIG TCP" on IPv6.
BLOCK: Final = 1 << 20
#: Octets of the whole ring: 0.7 seconds of 150,000 packets a second of 600 octets each.
RING: Final = 64 << 20
#: The smallest ring that makes sense: one block is being read while the other is filled.
MIN_RING: Final = 2 * 65536
#: Octets copied out of a block at a time.
PIECE: Final = 65536
#: The kernel hands over a block that is not full after so many milliseconds.
RETIRE_MS: Final = 50
#: How often the state of the interface is asked for.
LOOK_S: Final = 0.2
#: Seconds without a carrier before that is told: the kernel says so for a second after an interface has come up.
CARRIER_S: Final = 2.0

# linux/if_packet.h
SOL_PACKET: Final = 263
PACKET_ADD_MEMBERSHIP: Final = 1
PACKET_RX_RING: Final = 5
PACKET_STATISTICS: Final = 6
PACKET_VERSION: Final = 10
PACKET_MR_PROMISC: Final = 1
TPACKET_V3: Final = 2
ETH_P_ALL: Final = 3
PACKET_OUTGOING: Final = 4
TP_STATUS_USER: Final = 1
TP_STATUS_VLAN_VALID: Final = 0x10
TP_STATUS_VLAN_TPID_VALID: Final = 0x40
#: struct tpacket_block_desc
BLOCK_HEADER: Final = 48
#: struct tpacket3_hdr, and the struct sockaddr_ll behind it
PACKET_HEADER: Final = 68

SIOCGIFFLAGS: Final = 0x8913
SIOCGIFHWADDR: Final = 0x8927
SIOCGIFINDEX: Final = 0x8933

# Link types of records.
_ETHERNET: Final = 1
_RAW: Final = 101
_WLAN: Final = 105
_PRISM: Final = 119
_RADIOTAP: Final = 127
_SLL2: Final = 276

_KERNEL: Final = b"\0\0\0\0"


class BlockWalker:
    """Reads blocks of a ring into records. Whatever octets a block holds, it neither raises nor reads beyond the block."""

    def __init__(self) -> None:
        #: number of the last record handed over; records count from 1
        self.frame: i64 = 0
        #: octets captured
        self.bytes: i64 = 0
        self.first_ns: i64 = 0
        self.last_ns: i64 = 0
        #: blocks whose content made no sense, and packets lost with them
        self.damaged: i64 = 0
        self.lost: i64 = 0
        self.linktypes: list[int] = []
        # Packets of the present block still to come; octets the next one needs from its start, where it is longer than the piece.
        self._left: i64 = 0
        self._need: i64 = 0
        # Hardware of the last packet, and what goes with it: the link type, 0 for "by protocol".
        self._hardware: i64 = -1
        self._linktype: i64 = 0

    def take_block(self, memory: mmap.mmap | bytes, base: i64, size: i64, sink: RecordSink) -> None:
        """Hand over all packets of the block ``memory[base:base + size]``."""
        head = memory[base : base + BLOCK_HEADER]
        if len(head) < BLOCK_HEADER:
            return
        self._left = _u32(head, 12)
        at: i64 = _u32(head, 16)
        end: i64 = _u32(head, 20)
        if end > size:
            end = size
        while self._left > 0:
            stop = at + PIECE
            if self._need > PIECE:
                stop = at + self._need
            if stop > end:
                stop = end
            self._need = 0
            if at < BLOCK_HEADER or stop - at < PACKET_HEADER:
                break
            piece = memory[base + at : base + stop]
            used = self._walk(piece, end - at, sink)
            at += used
            if used == 0 and self._need <= stop - at:
                break
        self._need = 0
        if self._left > 0:
            self.damaged += 1
            self.lost += self._left
            self._left = 0

    def _walk(self, piece: bytes, room: i64, sink: RecordSink) -> i64:
        """Hand over the packets that lie whole in ``piece``; the index of the first one that does not.

        ``room`` octets of the block are left from the piece's start.
        """
        size: i64 = len(piece)
        at: i64 = 0
        left = self._left
        frame = self.frame
        octets: i64 = 0
        stamp: i64 = 0
        while left > 0 and size - at >= PACKET_HEADER:
            # Octet by octet, as everywhere on the hot path: this compiles to a few instructions.
            following: i64 = piece[at] | i64(piece[at + 1]) << 8 | i64(piece[at + 2]) << 16 | i64(piece[at + 3]) << 24
            captured: i64 = (
                piece[at + 12] | i64(piece[at + 13]) << 8 | i64(piece[at + 14]) << 16 | i64(piece[at + 15]) << 24
            )
            front: i64 = piece[at + 24] | i64(piece[at + 25]) << 8
            if front < PACKET_HEADER or captured > MAX_RECORD or front + captured > room - at:
                break
            if front + captured > size - at:
                self._need = front + captured
                break
            if left > 1 and following < PACKET_HEADER:
                break
            seconds: i64 = piece[at + 4] | i64(piece[at + 5]) << 8 | i64(piece[at + 6]) << 16 | i64(piece[at + 7]) << 24
            nanos: i64 = piece[at + 8] | i64(piece[at + 9]) << 8 | i64(piece[at + 10]) << 16 | i64(piece[at + 11]) << 24
            wire: i64 = (
                piece[at + 16] | i64(piece[at + 17]) << 8 | i64(piece[at + 18]) << 16 | i64(piece[at + 19]) << 24
            )
            hardware: i64 = piece[at + 56] | i64(piece[at + 57]) << 8
            if hardware != self._hardware:
                self._meet(hardware)
            left -= 1
            if hardware == ARPHRD_LOOPBACK and piece[at + 58] == PACKET_OUTGOING:
                at += following
                continue
            frame += 1
            stamp = seconds * 1000000000 + nanos
            if self.first_ns == 0:
                self.first_ns = stamp
            if self._linktype == 0 or (self._linktype == _ETHERNET and piece[at + 20] & TP_STATUS_VLAN_VALID):
                octets += self._rare(piece, at, front, captured, wire, stamp, frame, sink)
            else:
                octets += captured
                sink.receive_record(piece, at + front, at + front + captured, wire, self._linktype, stamp, frame)
            at += following
        self._left = left
        self.frame = frame
        self.bytes += octets
        if stamp > 0:
            self.last_ns = stamp
        if at > size:
            # The gap up to the next packet ends in the next piece.
            return at if at < room else room
        return at

    def _rare(
        self, piece: bytes, at: i64, front: i64, captured: i64, wire: i64, stamp: i64, frame: i64, sink: RecordSink
    ) -> i64:
        """A packet whose record must be made first: with a VLAN tag put back, or of an interface without a header we know.

        Returns the octets of the record.
        """
        start = at + front
        stop = start + captured
        if self._linktype == _ETHERNET:
            if captured < 12:
                sink.receive_record(piece, start, stop, wire, _ETHERNET, stamp, frame)
                return captured
            kind = b"\x81\x00"
            if piece[at + 20] & TP_STATUS_VLAN_TPID_VALID:
                kind = bytes([piece[at + 37], piece[at + 36]])
            tag = bytes([piece[at + 33], piece[at + 32]])
            record = piece[start : start + 12] + kind + tag + piece[start + 12 : stop]
            sink.receive_record(record, 0, captured + 4, wire + 4, _ETHERNET, stamp, frame)
            return captured + 4
        network: i64 = piece[at + 26] | i64(piece[at + 27]) << 8
        if network < front or network - front > captured:
            network = front
        captured -= network - front
        wire -= network - front
        start = at + network
        protocol: i64 = i64(piece[at + 50]) << 8 | piece[at + 51]
        if protocol == 0x0800 or protocol == 0x86DD:
            self._note(_RAW)
            sink.receive_record(piece, start, stop, wire, _RAW, stamp, frame)
            return captured
        # protocol, two octets unused, interface, hardware, packet type, address: as the kernel has it, in network order
        self._note(_SLL2)
        record = (
            piece[at + 50 : at + 52]
            + b"\0\0"
            + bytes([piece[at + 55], piece[at + 54], piece[at + 53], piece[at + 52]])
            + bytes([piece[at + 57], piece[at + 56]])
            + piece[at + 58 : at + 68]
            + piece[start:stop]
        )
        sink.receive_record(record, 0, captured + 20, wire + 20, _SLL2, stamp, frame)
        return captured + 20

    def _meet(self, hardware: i64) -> None:
        """Packets of another kind of hardware come."""
        self._hardware = hardware
        if hardware == ARPHRD_ETHER or hardware == ARPHRD_LOOPBACK:
            self._linktype = _ETHERNET
        elif hardware == ARPHRD_WLAN:
            self._linktype = _WLAN
        elif hardware == ARPHRD_WLAN_PRISM:
            self._linktype = _PRISM
        elif hardware == ARPHRD_WLAN_RADIOTAP:
            self._linktype = _RADIOTAP
        else:
            self._linktype = 0
            return
        self._note(self._linktype)

    def _note(self, linktype: i64) -> None:
        if linktype not in self.linktypes:
            self.linktypes.append(linktype)


class RingSource(LiveSource):
    """An interface, or ``any``, through a TPACKET_V3 ring."""

    def __init__(
        self,
        name: str,
        expression: str | None = None,
        promiscuous: bool = True,
        snaplen: int = MAX_RECORD,
        ring_bytes: int = RING,
        block_bytes: int = BLOCK,
    ) -> None:
        super().__init__(name)
        self.kind = "ring"
        self.walker = BlockWalker()
        #: octets of the ring as it was granted
        self.ring_bytes = ring_bytes
        self._expression = expression
        self._promiscuous = promiscuous and name != ANY
        self._snaplen = snaplen
        self._block: i64 = block_bytes
        self._blocks: i64 = 0
        self._next: i64 = 0
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        self._drops = 0
        self._counting = threading.Lock()
        self._index = 0
        self._looked = 0.0
        self._small = ""
        # Since when there has been no carrier; 0 while there is one.
        self._dark_since = 0.0

    def open(self) -> None:
        if sys.byteorder != "little":
            raise CaptureError(
                f"{self.name}: the ring is read in little-endian order only; capture through scapy instead (--source scapy)"
            )
        if self.name != ANY and (not 0 < len(self.name.encode()) < 16 or self.name not in names()):
            raise CaptureNotFound(f"{self.name}: there is no such interface; there are {', '.join([*names(), ANY])}")
        # A named interface is bound last; ``any`` is what a socket of all protocols hears at once, so until all is ready it
        # gets a filter that passes nothing, and making the ring throws away what came before that.
        protocol = socket.htons(ETH_P_ALL) if self.name == ANY else 0
        try:
            channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except PermissionError as error:
            raise CaptureError(f"{self.name}: cannot be captured from: {how_to_grant()}") from error
        except OSError as error:
            raise CaptureError(
                f"{self.name}: the kernel has no packet sockets ({error.strerror}); capture through scapy instead (--source scapy)"
            ) from error
        try:
            filters.attach(channel, filters.drop_all())
            program = self._program(channel)
            self._socket = channel
            self._memory = self._make_ring(channel)
            filters.attach(channel, program)
            if self.name != ANY:
                self._bind(channel)
        except OSError as error:
            self.close()
            channel.close()
            raise CaptureError(f"{self.name}: cannot be captured from ({error.strerror or error})") from error
        except BaseException:
            self.close()
            channel.close()
            raise
        self._look(channel)

    def _program(self, channel: socket.socket) -> list[filters.Instruction]:
        """The filter's instructions, for the hardware of the interface. Raises UsageError."""
        if self._expression is None:
            return filters.default_filter(self._snaplen)
        answer = None if self.name == ANY else _ioctl(channel, SIOCGIFHWADDR, self.name)
        hardware = -1 if answer is None else int.from_bytes(answer[16:18], sys.byteorder)
        return filters.user_filter(self._expression, hardware, self._snaplen)

    def _make_ring(self, channel: socket.socket) -> mmap.mmap:
        """Ask for the ring; for a smaller one where the kernel has no memory for it."""
        page = mmap.PAGESIZE
        block: int = self._block
        wanted = max(self.ring_bytes, MIN_RING)
        block = max(page, min(block, wanted // 2) // page * page)
        channel.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        count = max(2, wanted // block)
        while True:
            request = struct.pack("=7I", block, count, page, block * count // page, RETIRE_MS, 0, 0)
            try:
                channel.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
                memory = mmap.mmap(channel.fileno(), block * count, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
                break
            except OSError as error:
                if error.errno not in (errno.ENOMEM, errno.EPERM, errno.EAGAIN) or count <= 2:
                    raise
                channel.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack("=7I", 0, 0, 0, 0, 0, 0, 0))
                count = max(2, count // 2)
                self._small = f"there was memory for a ring of {block * count:,} octets only, of {wanted:,}"
        self._block = block
        self._blocks = count
        self.ring_bytes = block * count
        return memory

    def _bind(self, channel: socket.socket) -> None:
        """Hear the interface of our name; promiscuous where that is wanted."""
        channel.bind((self.name, ETH_P_ALL))
        index = _ioctl(channel, SIOCGIFINDEX, self.name)
        self._index = 0 if index is None else int.from_bytes(index[16:20], sys.byteorder)
        if self._promiscuous:
            membership = struct.pack("=iHH8s", self._index, PACKET_MR_PROMISC, 0, b"")
            channel.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def read(self, sink: RecordSink) -> int:
        channel = self._socket
        memory = self._memory
        if channel is None or memory is None:
            return 0
        walker = self.walker
        before = walker.frame
        for _ in range(self._blocks):
            base = self._next * self._block
            if memory[base + 8] & TP_STATUS_USER == 0:
                # An error that is not fetched would make the descriptor look ready for ever.
                channel.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                break
            try:
                walker.take_block(memory, base, self._block, sink)
            finally:
                memory[base + 8 : base + 12] = _KERNEL
                self._next += 1
                if self._next == self._blocks:
                    self._next = 0
            if walker.frame - before >= MAX_RECORDS_A_READ:
                break
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked = now
            self._look(channel)
        return walker.frame - before

    def _look(self, channel: socket.socket) -> None:
        """Ask how the interface is; bind to it again where it was made anew."""
        self.trouble = self._small
        if self.name == ANY:
            return
        flags = _ioctl(channel, SIOCGIFFLAGS, self.name)
        if flags is None:
            renamed = str(channel.getsockname()[0])
            self.up = bool(renamed)
            self.trouble = f"is now called {renamed}" if renamed else "is gone; waiting for an interface of that name"
            return
        index = _ioctl(channel, SIOCGIFINDEX, self.name)
        if index is not None and int.from_bytes(index[16:20], sys.byteorder) != self._index:
            try:
                self._bind(channel)
            except OSError as error:
                self.up = False
                self.trouble = f"was made anew, but cannot be bound to ({error.strerror})"
                return
        state = int.from_bytes(flags[16:18], sys.byteorder)
        self.up = bool(state & IFF_UP)
        if not self.up:
            self.trouble = "is down; packets will come once it is up"
        if not self.up or state & IFF_RUNNING:
            self._dark_since = 0.0
        elif self._dark_since == 0.0:
            self._dark_since = time.monotonic()
        elif time.monotonic() - self._dark_since >= CARRIER_S:
            self.trouble = "has no carrier: is the cable plugged in?"

    def _statistics(self, channel: socket.socket) -> None:
        """Add the kernel's counts to ours: it forgets them with each question."""
        with self._counting:
            try:
                _, drops, _ = struct.unpack("=3I", channel.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
            except OSError:
                return  # closed meanwhile: metrics and screen ask from threads of their own
            self._drops += drops

    def counters(self) -> LiveCounters:
        if self._socket is not None:
            self._statistics(self._socket)
        counters = LiveCounters()
        walker = self.walker
        counters.packets = walker.frame
        counters.bytes = walker.bytes
        counters.kernel_drops = self._drops
        counters.own_drops = walker.lost
        counters.damaged = walker.damaged
        counters.first_ns = walker.first_ns
        counters.last_ns = walker.last_ns
        counters.linktypes = list(walker.linktypes)
        return counters

    def close(self) -> None:
        channel = self._socket
        if channel is None:
            return
        self._statistics(channel)
        self._socket = None
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        channel.close()


def _ioctl(channel: socket.socket, request: int, name: str) -> bytes | None:
    """Ask about an interface (struct ifreq); None where there is none of that name."""
    import fcntl

    try:
        return fcntl.ioctl(channel.fileno(), request, struct.pack("40s", name.encode()))
    except OSError:
        return None


def _u32(buffer: bytes, at: i64) -> i64:
    return buffer[at] | i64(buffer[at + 1]) << 8 | i64(buffer[at + 2]) << 16 | i64(buffer[at + 3]) << 24
