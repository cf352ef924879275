"""One connection: two directions, put in order each for itself and in causal order among each other.

*In its own order*: an octet is delivered once, when all octets before it were delivered or given up as lost. What arrives early
waits; what arrives again is compared with the first copy, which stays, and dropped.

*In causal order*: a segment that acknowledges the peer's octet N was sent after that octet had arrived, so it is delivered after it,
in whatever order the two were captured (several receive queues, merged captures). Where neither acknowledges the other the order
of the capture stands.

*What never comes*: waiting ends when the peer has acknowledged the missing octets and ``ACKED_WAIT_*`` has passed (the capture lost
them, nobody will send them again), when ``HOLE_WAIT_NS`` has passed, when a limit is hit, or with the connection. Then the hole is
delivered as a gap. All waits are judged when a packet of the connection arrives, before it is looked at, and by the connection's own
packets and times, so what other connections do changes nothing; a sweep of the table only does earlier what that packet would do.

A one-sided capture has acknowledgements of a peer that is never seen: after one wait they are no longer waited for, until it shows up.
Octets of a side of which no packet at all was captured are not counted as gaps.

The module is long because it is one class: delivering, holding, releasing and giving up call each other in circles.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.flows.base import CLIENT_MAY_OPEN, SERVER_MAY_OPEN, Flow, StreamSink, StreamSinkFactory
from analyzer.flows.sequence import SEQUENCE_MASK, distance
from analyzer.flows.waiting import Piece, contradictions, cut_front, hold, is_probe
from analyzer.model import CLIENT, SERVER, Position
from analyzer.packets.base import ACK, FIN, RST
from analyzer.packets.octets import u32

#: A hole that the peer has acknowledged is given up this many packets of the flow, or this much time, after the data behind it.
ACKED_WAIT_SEGMENTS: Final = 128
ACKED_WAIT_NS: Final = 1_000_000_000
#: A hole that nobody has acknowledged is given up after this time without progress.
HOLE_WAIT_NS: Final = 60_000_000_000
#: What may wait: pieces and octets of one flow, octets of all flows.
MAX_HELD_SEGMENTS: Final = 512
MAX_HELD_BYTES: Final = 1 << 20
MAX_TOTAL_HELD_BYTES: Final = 48 << 20
#: Memory that a held piece costs beside its octets.
HELD_OVERHEAD: Final = 160
#: Delivered octets kept to compare retransmissions with: of one direction, of all flows.
MAX_RECENT_BYTES: Final = 32 << 10
MAX_TOTAL_RECENT_BYTES: Final = 24 << 20
#: Memory that a delivered piece costs beside its octets.
RECENT_OVERHEAD: Final = 48
#: A segment or acknowledgement farther than this from where its stream stands is a stray; windows of mail traffic are far smaller.
MAX_JUMP: Final = 1 << 24
#: After so many strays that continue each other the stream is taken to go on there: with a gap if less than MAX_LOSS is missing.
RESYNC_SEGMENTS: Final = 4
RESYNC_REACH: Final = 1 << 16
MAX_LOSS: Final = 1 << 30
#: An unacknowledged hole larger than this, though the peer's acknowledgements are there, means that the data behind it are a stray.
MAX_UNACKED_HOLE: Final = 1 << 20
#: Silence after which a flow is over (RFC 9051 lets servers cut off after 30 minutes; RFC 5382 asks routers for 124).
IDLE_NS: Final = 7_200_000_000_000
#: How long a flow without payload waits for its first, on a port where none is expected or while nobody answers.
SYN_WAIT_NS: Final = 60_000_000_000
#: How long a flow of which both FINs were seen waits for their acknowledgement; or the only side that was captured is done.
FIN_WAIT_NS: Final = 60_000_000_000
#: How long a closed flow still takes the packets that come late; after a reset the peer may go on for a while.
LINGER_NS: Final = 2_000_000_000
RESET_LINGER_NS: Final = 30_000_000_000

#: Stand in for the lists of most directions, and stay empty: most flows are in order, and most are small.
NOTHING_HELD: Final[list[Piece]] = []
NOTHING_RECENT: Final[list[bytes]] = []

# Connection.state
OPEN: Final = 0
CLOSED: Final = 1
ENDED: Final = 2


class Ledger:
    """What all flows of a table share: the factory, the counters, the budgets."""

    def __init__(self, factory: StreamSinkFactory) -> None:
        self.factory = factory
        #: per first octet, who may open a stream of interest with it on an unlisted port
        self.opening_octets: bytes = factory.opening_octets()
        #: flows that got a sink, and how many of them are in the table
        self.opened: i64 = 0
        self.active: i64 = 0
        #: packets of flows that have a sink
        self.mail_packets: i64 = 0
        self.out_of_order: i64 = 0
        self.duplicates: i64 = 0
        #: packets of a flow that make no sense in it
        self.strays: i64 = 0
        self.held_bytes: i64 = 0
        self.recent_bytes: i64 = 0
        #: limit -> how often it was hit
        self.limits: dict[str, int] = {}

    def hit(self, limit: str) -> None:
        """Counts that a limit was hit."""
        self.limits[limit] = self.limits.get(limit, 0) + 1


def turned(key: bytes) -> bytes:
    """The key of the other direction."""
    size: i64 = len(key)
    front = prefix_size(key)
    address: i64 = (size - 4 - front) >> 1
    middle: i64 = front + address
    ports = key[size - 2 :] + key[size - 4 : size - 2]
    return key[:front] + key[middle : middle + address] + key[front:middle] + ports


def prefix_size(key: bytes) -> i64:
    """Octets in front of a key's addresses: two where connections of several networks share addresses and ports, mostly none."""
    size: i64 = len(key)
    return 2 if size == 14 or size == 38 else 0


@mypyc_attr(acyclic=True)
class Half:
    """One direction of a connection: the stream of one sender."""

    def __init__(self, key: bytes, sender: int) -> None:
        # What refers to other objects stands together in front: a closed flow is met again when it is far from the processor's
        # cache, and only to be given up.
        #: see :meth:`full_key`; empty where the numbers below say it all, and in the direction that was not seen first
        self.key = b"" if len(key) == 12 else key
        self.flow: Connection | None = None
        self.peer: Half | None = None
        #: the next in its slot of the table's look-up
        self.behind: Half | None = None
        self.held: list[Piece] = NOTHING_HELD
        self.fin: Piece | None = None
        self.rst: Piece | None = None
        #: the latest octets delivered; replaced, not filled, where there were none
        self.recent: list[bytes] = NOTHING_RECENT
        self.sender: int = sender
        #: the key as numbers (source, target, both ports), for the look-up; the source is -1 where the key is not of IPv4
        self.source: i64 = -1
        self.target: i64 = 0
        self.ports: i64 = 0
        if len(key) == 12:
            self.source = u32(key, 0)
            self.target = u32(key, 4)
            self.ports = u32(key, 8)
        #: whether ``next_seq`` means anything, and whether it is sure (SYN seen, or data delivered)
        self.known: bool = False
        self.firm: bool = False
        #: this sender's SYN was seen
        self.syn: bool = False
        #: that takes no sequence number, as the peer has it, which has acknowledged nothing beyond it
        self.syn_bare: bool = False
        self.finished: bool = False
        #: sequence number of the stream's first octet, and of the next to deliver
        self.first_seq: i64 = 0
        self.next_seq: i64 = 0
        #: octets delivered or given up
        self.offset: i64 = 0
        #: the peer's latest acknowledgement that is not behind what was delivered
        self.acked: i64 = 0
        #: capture time of the last delivery while something waited
        self.progress_ns: i64 = 0
        self.recent_size: i64 = 0
        self.strays: i64 = 0
        self.stray_seq: i64 = 0

    def turn(self, other: Half) -> None:
        """Takes over the key of the other direction, turned round."""
        if other.source >= 0:
            self.source = other.target
            self.target = other.source
            self.ports = (other.ports & 0xFFFF) << 16 | other.ports >> 16
        else:
            self.key = turned(other.key)

    def full_key(self) -> bytes:
        """Addresses and ports as they stand in this direction's packets."""
        if self.source >= 0:
            return b"".join([int(number).to_bytes(4, "big") for number in (self.source, self.target, self.ports)])
        if not self.key and self.peer is not None:
            self.key = turned(self.peer.key)
        return self.key

    def start_at(self, seq: i64, firm: bool) -> None:
        """The stream's first octet has this sequence number. An acknowledgement of more than that stays noted."""
        if not self.known or distance(self.acked, seq) < 0:
            self.acked = seq
        self.known = True
        self.firm = firm
        self.first_seq = seq
        self.next_seq = seq

    def front(self) -> Piece | None:
        """What waits, and would be delivered first."""
        if self.held:
            return self.held[0]
        if self.fin is not None:
            return self.fin
        return self.rst


@mypyc_attr(acyclic=True, free_list_len=1)
class Connection(Flow):
    """A flow in the table: its facts, its two halves, its sink."""

    def __init__(self, ledger: Ledger, client: Half, server: Half, listed: bool) -> None:
        super().__init__()
        self.ledger = ledger
        self.client = client
        self.server = server
        #: none until the first octets are delivered
        self.sink: StreamSink | None = None
        #: the side that is not captured: its octets are not waited for; -1: none
        self.unseen: int = -1
        #: its place among the open connections of its table
        self.place: i64 = 0
        client.flow = self
        server.flow = self
        client.peer = server
        server.peer = client
        #: one of the ports is a mail port
        self.listed: bool = listed
        self.state: i64 = OPEN
        #: packets need more than the table's fast path
        self.slow: bool = True
        self.timeout_ns: i64 = SYN_WAIT_NS
        #: a SYN was seen, its answer was not: nothing is delivered yet
        self.handshake_pending: bool = False
        #: pieces and marks that wait
        self.held_count: i64 = 0
        self.held_bytes: i64 = 0
        #: strays have shown that another connection uses the ports now
        self.replaced: bool = False
        self.lingering: bool = False

    # -- facts -----------------------------------------------------------------------------------------------------------------

    def packets_of(self, half: Half) -> i64:
        """Packets seen from one side."""
        return self.server_packets if half.sender == SERVER else self.client_packets

    def other(self, half: Half) -> Half:
        """The other direction."""
        return self.server if half.sender == CLIENT else self.client

    def set_pace(self) -> None:
        """Whether the next packet may take the table's fast path."""
        self.slow = (
            self.sink is None
            or self.held_count > 0
            or self.handshake_pending
            or self.unseen >= 0
            or self.state != OPEN
            or self.client.finished
            or self.server.finished
            or not self.client.known
            or not self.server.known
        )

    def open_sink(self, half: Half, data: bytes) -> StreamSink | None:
        """The sink, made when the first octets (or the first gap, or the end) are there to be delivered. None: of no interest."""
        ledger = self.ledger
        if not self.listed and data and half.offset == 0:
            bit: i64 = SERVER_MAY_OPEN if half.sender == SERVER else CLIENT_MAY_OPEN
            if ledger.opening_octets[data[0]] & bit == 0:
                return None
        client = self.client
        if client.source >= 0:
            self.client_ipv4 = client.source
            self.server_ipv4 = client.target
        else:
            key = client.full_key()
            front = prefix_size(key)
            size: i64 = (len(key) - 4 - front) >> 1
            if size == 4:
                self.client_ipv4 = u32(key, front)
                self.server_ipv4 = u32(key, front + 4)
            else:
                self.client_ipv6 = key[front : front + size]
                self.server_ipv6 = key[front + size : front + 2 * size]
        sink = ledger.factory.open_stream(self)
        if sink is None:
            if not self.listed:
                return None
            # On a mail port the entries stay, so that the factory is not asked again for each packet.
            sink = StreamSink()
        ledger.opened += 1
        ledger.active += 1
        ledger.mail_packets += self.packets
        self.sink = sink
        if self.state == OPEN:
            self.timeout_ns = IDLE_NS
        return sink

    # -- a packet --------------------------------------------------------------------------------------------------------------

    def receive(
        self,
        half: Half,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        ack: i64,
        flags: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> bool:
        """A packet of this flow (SYN already dealt with, its sequence number skipped). False: forget the flow, or see ``replaced``."""
        if self.held_count > 0 and not self.check_waits(timestamp_ns):
            return False
        if self.state != OPEN:
            if self.rst_frame > 0 and half.sender != self.rst_sender and seq == half.next_seq and not half.finished:
                # Under way when the reset was sent, or captured after it: an eavesdropper has read it all the same.
                return start == end or self._deliver(half, buffer[start:end], missing, timestamp_ns, frame)
            return True
        peer = self.other(half)
        if self.unseen == half.sender:
            self.unseen = -1
        if flags & RST != 0:
            if not self._receive_reset(half, peer, seq, ack, flags, timestamp_ns, frame):
                return False
        else:
            claim: i64 = -1
            if flags & ACK != 0:
                claim = self._note_ack(half, peer, ack)
            if not half.known:
                half.start_at(seq, False)
            size: i64 = end - start
            if (size > 0 or missing > 0) and not self._receive_payload(
                half, buffer, start, end, missing, seq, claim, timestamp_ns, frame
            ):
                return False
            if flags & FIN != 0:
                self._receive_fin(half, (seq + size + missing) & SEQUENCE_MASK, claim, timestamp_ns, frame)
        if self.held_count > 0 and not self._pump():
            return False
        self._close_if_done()
        return True

    def _note_ack(self, half: Half, peer: Half, ack: i64) -> i64:
        """Keeps what ``half`` acknowledges; returns what it must wait for, -1 for nothing."""
        if not peer.known:
            peer.start_at(ack, False)
            return ack
        ahead = distance(ack, peer.next_seq)
        if self.unseen == peer.sender:
            if 0 < ahead < MAX_JUMP:
                peer.next_seq = ack
                peer.first_seq = ack
                peer.acked = ack
            return -1
        if self.handshake_pending and not peer.firm and -MAX_JUMP < ahead <= 0:
            # An acknowledgement sent earlier and captured later: the peer's stream begins no later than here.
            peer.next_seq = ack
            peer.first_seq = ack
            return ack
        if 0 <= ahead < MAX_JUMP:
            peer.acked = ack
            return ack if ahead > 0 else -1
        if ahead == -1 and peer.offset == 0 and peer.syn:
            peer.syn_bare = True
        return -1

    def _receive_payload(
        self,
        half: Half,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        claim: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> bool:
        ledger = self.ledger
        size: i64 = end - start
        gone: i64 = distance(half.next_seq, seq)  # so many octets of it are behind
        if gone > MAX_JUMP or gone < -MAX_JUMP:
            return self._receive_stray(half, buffer[start:end], missing, seq, gone, timestamp_ns, frame)
        half.strays = 0
        if missing > 0:
            self.truncated = True
        if gone > 0 and not half.firm and not self.handshake_pending:
            half.start_at(seq, False)
            gone = 0
        if gone == 1 and half.syn_bare and half.offset == 0 and size > 1 and not half.held:
            # A capture made by hand. Where the SYN takes its number, the octet that stands there is read by nobody.
            half.start_at(seq, True)
            gone = 0
        if gone > 0 and half.firm:
            if gone == 1 and size + missing <= 1:
                return True  # a keep-alive probe, RFC 9293 section 3.8.4; its octet may be garbage
            # A FIN took a number too, and stands behind the octets that are compared.
            conflicts = contradictions(half.recent, gone - 1 if half.finished else gone, buffer[start:end])
            if conflicts > 0:
                self._note_conflict(conflicts, frame, timestamp_ns)
            if gone >= size + missing:
                ledger.duplicates += 1
                return True
            if gone < size:
                start += gone
            else:
                start = end
                missing -= gone - size
            seq = half.next_seq
            gone = 0
        if half.finished:
            ledger.strays += 1
            return True
        if gone == 0 and not half.held:
            if self.sink is None and not self.listed and half.firm and start < end:
                bit: i64 = SERVER_MAY_OPEN if half.sender == SERVER else CLIENT_MAY_OPEN
                if ledger.opening_octets[buffer[start]] & bit == 0 and half.offset == 0:
                    return False
            if not self._blocked(half, claim):
                return self._deliver(half, buffer[start:end], missing, timestamp_ns, frame)
        elif gone < 0:
            ledger.out_of_order += 1
        return self._hold(half, Piece(seq, buffer[start:end], missing, claim, self.packets, frame, timestamp_ns))

    def _receive_stray(
        self, half: Half, data: bytes, missing: i64, seq: i64, gone: i64, timestamp_ns: i64, frame: i64
    ) -> bool:
        """Data far from where the stream stands are dropped, until they have gone on there for a while."""
        self.ledger.strays += 1
        off = distance(seq, half.stray_seq)
        if half.strays > 0 and -RESYNC_REACH < off < RESYNC_REACH:
            half.strays += 1
        else:
            half.strays = 1
        half.stray_seq = (seq + len(data) + missing) & SEQUENCE_MASK
        if half.strays < RESYNC_SEGMENTS:
            return True
        half.strays = 0
        if gone > 0 or gone < -MAX_LOSS or half.finished:
            self.replaced = True
            return False
        while half.held or half.fin is not None or half.rst is not None:
            if not self._force(half):
                return False
            if self.state != OPEN or half.finished:
                return True
        lost = distance(seq, half.next_seq)
        if lost > 0 and not self._skip(half, lost, timestamp_ns, frame):
            return False
        return self._deliver(half, data, missing, timestamp_ns, frame)

    def _receive_fin(self, half: Half, seq: i64, claim: i64, timestamp_ns: i64, frame: i64) -> None:
        if half.finished or half.fin is not None:
            return
        ahead = distance(seq, half.next_seq)
        if ahead < 0 or ahead > MAX_JUMP:
            self.ledger.strays += 1
        elif ahead == 0 and not self._blocked(half, claim):
            self._finish(half, timestamp_ns, frame)
        else:
            half.fin = Piece(seq, b"", 0, claim, self.packets, frame, timestamp_ns)
            self.held_count += 1

    def _receive_reset(
        self, half: Half, peer: Half, seq: i64, ack: i64, flags: i64, timestamp_ns: i64, frame: i64
    ) -> bool:
        """A reset counts where its receiver may have taken it (RFC 9293 section 3.10.7.4, RFC 5961): not behind what that has confirmed."""
        ahead = distance(seq, half.next_seq)
        if not half.known or half.finished or (self.sink is None and self.held_count == 0):
            return self._reset(half, timestamp_ns, frame)
        if ahead > MAX_JUMP or ahead < -MAX_JUMP or (ahead < 0 and distance(seq, half.acked) < 0):
            self.ledger.strays += 1
            return True
        claim: i64 = -1
        if flags & ACK != 0 and peer.known and 0 < distance(ack, peer.next_seq) < MAX_JUMP:
            claim = ack
        if ahead <= 0 and not self._blocked(half, claim):
            return self._reset(half, timestamp_ns, frame)
        if half.rst is None:
            half.rst = Piece(seq, b"", 0, claim, self.packets, frame, timestamp_ns)
            self.held_count += 1
        return True

    # -- delivery --------------------------------------------------------------------------------------------------------------

    def _blocked(self, half: Half, ack: i64) -> bool:
        """Whether something that acknowledges ``ack`` must wait for the peer's stream."""
        if self.handshake_pending:
            return True
        if ack < 0 or self.unseen >= 0:
            return False
        return 0 < distance(ack, self.other(half).next_seq) < MAX_JUMP

    def _advance(self, half: Half, size: i64) -> None:
        half.next_seq = (half.next_seq + size) & SEQUENCE_MASK
        half.offset += size
        if half.sender == SERVER:
            self.server_bytes = half.offset
        else:
            self.client_bytes = half.offset

    def _deliver(self, half: Half, data: bytes, missing: i64, timestamp_ns: i64, frame: i64) -> bool:
        half.firm = True
        half.progress_ns = timestamp_ns
        sink = self.sink
        if sink is None:
            sink = self.open_sink(half, data)
            if sink is None:
                return False
        size: i64 = len(data)
        if size > 0:
            at = Position(frame, timestamp_ns, half.offset)
            self._advance(half, size)
            if half.recent_size == 0:
                half.recent = [data]
            else:
                half.recent.append(data)
            half.recent_size += size + RECENT_OVERHEAD
            self.ledger.recent_bytes += size + RECENT_OVERHEAD
            if half.recent_size > MAX_RECENT_BYTES or self.ledger.recent_bytes > MAX_TOTAL_RECENT_BYTES:
                self.trim_recent(half)
            if not sink.receive_data(half.sender, data, at) and not self.lose_interest():
                return False
        if missing > 0:
            return self._skip(half, missing, timestamp_ns, frame)
        return True

    def lose_interest(self) -> bool:
        """The sink wants no more. On a mail port its flow is kept, mute, lest each later packet opens another one."""
        if not self.listed:
            return False
        self.sink = StreamSink()
        return True

    def _skip(self, half: Half, size: i64, timestamp_ns: i64, frame: i64) -> bool:
        """Delivers a gap."""
        half.firm = True
        half.progress_ns = timestamp_ns
        sink = self.sink
        if sink is None:
            sink = self.open_sink(half, b"")
            if sink is None:
                return False
        at = Position(frame, timestamp_ns, half.offset)
        self._advance(half, size)
        self.gap_bytes += size
        self.forget_recent(half)
        sink.receive_gap(half.sender, size, at)
        return True

    def _finish(self, half: Half, timestamp_ns: i64, frame: i64) -> None:
        """FIN: the stream is complete, and its mark takes a sequence number."""
        half.finished = True
        half.next_seq = (half.next_seq + 1) & SEQUENCE_MASK
        self._drop_held(half)
        if half.sender == SERVER:
            self.server_fin = True
        else:
            self.client_fin = True
        if self.sink is not None:
            self.sink.receive_eof(half.sender, Position(frame, timestamp_ns, half.offset))

    def _reset(self, half: Half, timestamp_ns: i64, frame: i64) -> bool:
        """RST: what the peer had sent is delivered, then all is over."""
        self._drop_held(half)
        while self.held_count > 0:
            if not self._force(self.other(half)):
                return False
        if self.state != OPEN:
            return True
        if not self._skip_trailing(timestamp_ns, frame):
            return False
        self.rst_frame = frame
        self.rst_sender = half.sender
        if self.sink is not None and not half.finished:
            self.sink.receive_eof(half.sender, Position(frame, timestamp_ns, half.offset))
        self._close(RESET_LINGER_NS)
        return True

    def _close_if_done(self) -> None:
        """Both FINs delivered and acknowledged."""
        client = self.client
        server = self.server
        if self.state != OPEN or not (client.finished or server.finished):
            return
        if client.finished and server.finished:
            self.timeout_ns = FIN_WAIT_NS
            if distance(client.acked, client.next_seq) >= 0 and distance(server.acked, server.next_seq) >= 0:
                self._close(LINGER_NS)
                if self.sink is not None:
                    self.sink.streams_ended()
        elif self.client_packets == 0 or self.server_packets == 0:
            self.timeout_ns = FIN_WAIT_NS

    def _close(self, linger_ns: i64) -> None:
        self.state = CLOSED
        self.timeout_ns = linger_ns
        self.release()

    def release(self) -> None:
        """Gives back what is held."""
        self._drop_held(self.client)
        self._drop_held(self.server)
        self.forget_recent(self.client)
        self.forget_recent(self.server)

    def _note_conflict(self, octets: i64, frame: i64, timestamp_ns: i64) -> None:
        if self.conflict_bytes == 0:
            self.conflict_frame = frame
            self.conflict_ns = timestamp_ns
        self.conflict_bytes += octets

    def trim_recent(self, half: Half) -> None:
        """Keeps the later half of the octets for comparison; none where all flows together keep too many."""
        ledger = self.ledger
        if ledger.recent_bytes > MAX_TOTAL_RECENT_BYTES:
            ledger.hit("recent_bytes")
            self.forget_recent(half)
            return
        recent = half.recent
        size: i64 = half.recent_size
        index: i64 = 0
        while size > MAX_RECENT_BYTES // 2:
            size -= len(recent[index]) + RECENT_OVERHEAD
            index += 1
        half.recent = recent[index:]
        ledger.recent_bytes -= half.recent_size - size
        half.recent_size = size

    def forget_recent(self, half: Half) -> None:
        """Keeps no octets for comparison."""
        if half.recent_size > 0:
            self.ledger.recent_bytes -= half.recent_size
            half.recent_size = 0
            half.recent = NOTHING_RECENT

    # -- waiting ---------------------------------------------------------------------------------------------------------------

    def _hold(self, half: Half, piece: Piece) -> bool:
        ledger = self.ledger
        before: i64 = len(half.held)
        if before == 0:
            half.held = []
        added, conflicts = hold(half.held, piece)
        if conflicts > 0 and not is_probe(half.held, piece):
            self._note_conflict(conflicts, piece.frame, piece.timestamp_ns)
        more: i64 = len(half.held) - before
        if more == 0:
            ledger.duplicates += 1
        self.held_count += more
        cost = added + more * HELD_OVERHEAD
        self.held_bytes += cost
        ledger.held_bytes += cost
        if not self._pump():
            return False
        while self.held_count > 0:
            if self.held_count > MAX_HELD_SEGMENTS:
                ledger.hit("held_segments")
            elif self.held_bytes > MAX_HELD_BYTES:
                ledger.hit("held_bytes")
            elif ledger.held_bytes > MAX_TOTAL_HELD_BYTES:
                ledger.hit("held_bytes_total")
            else:
                break
            if not self._force(self._longest_waiting()):
                return False
        return True

    def _unhold(self, half: Half) -> Piece:
        piece = half.held.pop(0)
        cost: i64 = len(piece.data) + HELD_OVERHEAD
        self.held_count -= 1
        self.held_bytes -= cost
        self.ledger.held_bytes -= cost
        return piece

    def _drop_held(self, half: Half) -> None:
        while half.held:
            self._unhold(half)
        if half.fin is not None:
            half.fin = None
            self.held_count -= 1
        if half.rst is not None:
            half.rst = None
            self.held_count -= 1

    def _pump(self) -> bool:
        """Delivers all that need not wait any more."""
        moved = True
        while moved and self.held_count > 0 and not self.handshake_pending:
            count = self.held_count
            if not self._release_half(self.client) or not self._release_half(self.server):
                return False
            moved = self.held_count < count or self._untangle()
        return True

    def _release_half(self, half: Half) -> bool:
        while half.held:
            piece = half.held[0]
            gone = distance(half.next_seq, piece.seq)
            if gone < 0 or self._blocked(half, piece.ack):
                break
            self._unhold(half)
            if gone > 0:
                if half.firm:
                    conflicts = contradictions(half.recent, gone, piece.data)
                    if conflicts > 0:
                        self._note_conflict(conflicts, piece.frame, piece.timestamp_ns)
                    if gone >= piece.length():
                        self.ledger.duplicates += 1
                        continue
                    piece = cut_front(piece, gone)
                else:
                    half.start_at(piece.seq, False)
            if not self._deliver(half, piece.data, piece.missing, piece.timestamp_ns, piece.frame):
                return False
        fin = half.fin
        if fin is not None:
            ahead = distance(fin.seq, half.next_seq)
            if ahead < 0:  # the stream went on behind it
                half.fin = None
                self.held_count -= 1
                self.ledger.strays += 1
            elif ahead == 0 and not self._blocked(half, fin.ack):
                self._finish(half, fin.timestamp_ns, fin.frame)
        rst = half.rst
        if rst is not None:
            ahead = distance(rst.seq, half.next_seq)
            if ahead < 0:
                half.rst = None
                self.held_count -= 1
                self.ledger.strays += 1
            elif ahead == 0 and not self._blocked(half, rst.ack):
                return self._reset(half, rst.timestamp_ns, rst.frame)
        return True

    def _ready(self, half: Half) -> Piece | None:
        """What waits for nothing but the peer's stream."""
        piece = half.front()
        if piece is None or distance(piece.seq, half.next_seq) > 0:
            return None
        return piece

    def _untangle(self) -> bool:
        """Two pieces that wait for each other: one is a retransmission with a newer acknowledgement, so its octets are the older ones.

        The original was not captured; the retransmission is the one that was captured later.
        """
        mine = self._ready(self.client)
        if mine is None:
            return False
        theirs = self._ready(self.server)
        if theirs is None:
            return False
        if mine.order > theirs.order:
            mine.ack = -1
        else:
            theirs.ack = -1
        return True

    def _longest_waiting(self) -> Half:
        mine = self.client.front()
        theirs = self.server.front()
        if mine is None or (theirs is not None and theirs.order < mine.order):
            return self.server
        return self.client

    def _overdue(self, half: Half, timestamp_ns: i64) -> bool:
        piece = half.front()
        if piece is None:
            return False
        if timestamp_ns - piece.timestamp_ns < ACKED_WAIT_NS and self.packets - piece.order < ACKED_WAIT_SEGMENTS:
            return False
        if self.handshake_pending or distance(piece.seq, half.next_seq) <= 0:
            return True
        if 0 < distance(half.acked, half.next_seq) < MAX_JUMP:
            return True
        return timestamp_ns - piece.timestamp_ns >= HOLE_WAIT_NS and timestamp_ns - half.progress_ns >= HOLE_WAIT_NS

    def check_waits(self, timestamp_ns: i64) -> bool:
        """Ends the waits that are over at this time. False: forget the flow."""
        while self.held_count > 0:
            half = self._longest_waiting()
            if not self._overdue(half, timestamp_ns):
                half = self.other(half)
                if not self._overdue(half, timestamp_ns):
                    break
            if not self._force(half):
                return False
        return True

    def _force(self, half: Half) -> bool:
        """Ends the wait of what stands first in a half: each call takes away at least one reason to wait."""
        piece = half.front()
        if piece is None:
            return self._pump()
        peer = self.other(half)
        ahead = distance(piece.seq, half.next_seq)
        if self.handshake_pending:
            # The answer to the SYN is not in the capture: the stream begins where the acknowledgements, or the data, say.
            self.handshake_pending = False
            if self.server_packets == 0:
                self.unseen = SERVER
            elif self.client_packets == 0:
                self.unseen = CLIENT
        elif ahead > 0:
            confirmed = distance(half.acked, half.next_seq)
            if 0 < confirmed < ahead:
                ahead = confirmed
            elif (confirmed <= 0 or confirmed > MAX_JUMP) and ahead > MAX_UNACKED_HOLE and self.packets_of(peer) > 0:
                self._drop_front(half)
                return self._pump()
            if not self._skip(half, ahead, piece.timestamp_ns, piece.frame):
                return False
        elif self._blocked(half, piece.ack):
            if self.packets_of(peer) == 0:
                self.unseen = peer.sender
                peer.next_seq = piece.ack
                peer.first_seq = piece.ack
            elif distance(peer.acked, piece.ack) >= 0:
                if not self._give_up_peer(peer, piece):
                    return False
            else:  # its sender has since acknowledged less: the acknowledgement was bogus
                piece.ack = -1
        return self._pump()

    def _give_up_peer(self, peer: Half, piece: Piece) -> bool:
        """The peer's octets that ``piece`` acknowledges are not in the capture."""
        lost = distance(piece.ack, peer.next_seq)
        behind = peer.front()
        if behind is not None:
            hole = distance(behind.seq, peer.next_seq)
            if 0 < hole < lost:
                lost = hole
        elif lost == 1 and not peer.finished and not piece.data:
            self._finish(peer, piece.timestamp_ns, piece.frame)  # one octet, answered by a FIN or RST: it was a FIN
            return True
        if peer.finished:
            piece.ack = -1
            return True
        return self._skip(peer, lost, piece.timestamp_ns, piece.frame)

    def _drop_front(self, half: Half) -> None:
        self.ledger.strays += 1
        if half.held:
            self._unhold(half)
        elif half.fin is not None:
            half.fin = None
            self.held_count -= 1
        elif half.rst is not None:
            half.rst = None
            self.held_count -= 1

    # -- the end ---------------------------------------------------------------------------------------------------------------

    def flush(self) -> bool:
        """Delivers all that waits, with gaps. False: forget the flow."""
        while self.held_count > 0:
            if not self._force(self._longest_waiting()):
                return False
        if self.state != OPEN:
            return True
        return self._skip_trailing(self.end_ns, self.last_frame)

    def _skip_trailing(self, timestamp_ns: i64, frame: i64) -> bool:
        """Gaps at the ends: octets that the peer has acknowledged and the capture does not hold."""
        return self._skip_trailing_of(self.client, self.server, timestamp_ns, frame) and self._skip_trailing_of(
            self.server, self.client, timestamp_ns, frame
        )

    def _skip_trailing_of(self, half: Half, peer: Half, timestamp_ns: i64, frame: i64) -> bool:
        if half.finished or not half.known or self.packets_of(half) == 0 or self.packets_of(peer) == 0:
            return True
        if self.sink is None and not self.listed:
            return True
        lost = distance(half.acked, half.next_seq)
        if peer.finished or lost == 1:
            lost -= 1  # the last number acknowledged was that of a FIN
        if 0 < lost < MAX_JUMP:
            return self._skip(half, lost, timestamp_ns, frame)
        return True
