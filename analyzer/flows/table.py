"""The flow table: finds the connection of each segment, opens and ends connections, and hands on what is in order.

``FlowTable.receive_segment`` is the hottest function of the room. A segment that belongs to no flow costs one look-up; a segment in
order costs one look-up, one comparison of each number, one slice and one call of the sink. All else is a call away, in
``reassembly``. The look-up is a hash table of its own (``_slots``, chains of ``Half.behind``): hashing a fresh ``bytes`` for a
dictionary costs three times as much, and keys of IPv4 are compared where they stand in the packet.

What opens a flow: a SYN or its answer on any port (mail on unusual ports must be found; such a flow costs three small objects
until its first octets show that it is not mail); payload without SYN on a listed port; payload without SYN that looks like a mail
server's greeting anywhere. What ends one: both FINs acknowledged, a reset, a new SYN, silence (``IDLE_NS`` and its sisters), the limits
below, the end of the capture.

Time is capture time, the latest seen so far; it may run backwards without harm. A flow's silence is judged when its own next packet
comes. The sweep only does the same earlier, later by ``SWEEP_SLACK_NS`` than the rule says, so that packets slightly out of order in
time find what they would have found without it.

A third of the module is argument lists: a segment is passed on as ten plain numbers, because an object a packet would cost more than all
that is done with it.
"""

from __future__ import annotations

import os
from typing import Final

from librt.strings import read_i32_be, read_i64_be
from mypy_extensions import i64

from analyzer.flows.base import SERVER_MAY_OPEN, StreamSinkFactory
from analyzer.flows.reassembly import (
    CLOSED,
    ENDED,
    IDLE_NS,
    MAX_JUMP,
    MAX_RECENT_BYTES,
    MAX_TOTAL_RECENT_BYTES,
    OPEN,
    RECENT_OVERHEAD,
    Connection,
    Half,
    Ledger,
)
from analyzer.flows.sequence import SEQUENCE_HALF, SEQUENCE_MASK, distance
from analyzer.model import CLIENT, SERVER, Position
from analyzer.packets.base import ACK, RST, SYN, SegmentSink
from analyzer.packets.octets import u32

#: Flows that have a sink, and flows that have none yet; at the limit an eighth is ended,
#: those silent the longest first.
MAX_FLOWS: Final = 50_000
MAX_EMBRYOS: Final = 32_768
EVICTED_SHARE: Final = 8
#: Closed flows that may still take late packets.
MAX_LINGERING: Final = 2048
#: Capture time between looks at the closed flows (short, so that few end at a time and what they leave is used again at once), and
#: between sweeps of the whole table (which also waits for enough segments).
TICK_NS: Final = 250_000_000
SWEEP_NS: Final = 10_000_000_000
SWEEP_SLACK_NS: Final = 2_000_000_000
#: Time that jumps ahead farther than this is believed after so many packets: one damaged timestamp must not end all flows.
CLOCK_JUMP_NS: Final = 3_600_000_000_000
CLOCK_JUMP_PACKETS: Final = 8
#: A SYN that is captured after the first data of its flow, of which some were lost, begins at most this far before them.
LATE_SYN_REACH: Final = 1 << 16
LATE_SYN_PACKETS: Final = 16
#: Slots of the look-up at first; four times as many whenever there are as many flow directions as slots.
FIRST_SLOTS: Final = 4096
#: Places of flows that have ended, beside one for each that is open, before they are given up.
SPARE_PLACES: Final = 1024
#: The lowest bits of a sum of products, which say little of what was multiplied.
SLOT_SHIFT: Final = 24


class FlowTable(SegmentSink):
    """All connections that are open, by direction. Push segments in, call ``end_capture`` once behind the last."""

    def __init__(self, factory: StreamSinkFactory) -> None:
        #: number of the input being read; flows note it when they begin
        self.capture: i64 = 0
        self.segments: i64 = 0
        self.flows_closed: i64 = 0
        self.flows_evicted: i64 = 0
        #: flows forgotten without a record: nobody was interested
        self.flows_ignored: i64 = 0
        #: packets come as they pass: silence ends flows although no packets come
        self.live: bool = False
        self._ledger = Ledger(factory)
        self._factory = factory
        #: open flows in the order of opening, each at its ``place``; None where one has ended
        self._flows: list[Connection | None] = []
        self._flows_open: i64 = 0
        #: a place before which all are empty
        self._first_place: i64 = 0
        #: the latest start of a flow with a place, and by how much others behind it began before it at most
        self._latest_start_ns: i64 = -(1 << 62)
        self._disorder_ns: i64 = 0
        self._slots: list[Half | None] = [None] * FIRST_SLOTS
        self._slot_mask: i64 = FIRST_SLOTS - 1
        # Random, lest traffic be made that meets in one slot. Below 2**29, so that no sum of products leaves 64 bits.
        self._seed_0: i64 = random_factor()
        self._seed_1: i64 = random_factor()
        self._seed_2: i64 = random_factor()
        listed = bytearray(65536)
        for port in factory.listed_ports():
            listed[port] = 1
        self._listed: bytes = bytes(listed)
        self._openings: bytes = self._ledger.opening_octets
        self._lingering: list[Connection | None] = []
        self._lingering_at: i64 = 0
        self._tick_ns: i64 = -(1 << 62)
        self._clock_ns: i64 = 0
        self._clock_started: bool = False
        self._clock_jumps: i64 = 0
        self._sweep_ns: i64 = 0
        self._swept_at: i64 = 0

    # -- counters --------------------------------------------------------------------------------------------------------------

    @property
    def mail_packets(self) -> int:
        """Packets of the flows that have, or had, a sink."""
        return int(self._ledger.mail_packets)

    @property
    def flows_open(self) -> int:
        """Flows in the table, those without payload so far included."""
        return int(self._flows_open)

    def earliest_open_ns(self, slack_ns: i64) -> i64:
        """A time before which no flow begins that has yet to end, as long as packets are out of order in time by ``slack_ns`` at most."""
        earliest = self._clock_ns - slack_ns if self._clock_started else i64(-(1 << 62))
        flows = self._flows
        place = self._first_place
        count: i64 = len(flows)
        while place < count:
            flow = flows[place]
            if flow is None:
                if place == self._first_place:
                    self._first_place = place + 1
            else:
                if flow.start_ns < earliest:
                    earliest = flow.start_ns
                if flow.start_ns - self._disorder_ns >= earliest:
                    break  # none behind it began before that
            place += 1
        return earliest

    def open_keys(self) -> list[bytes]:
        """The keys of all connections in the table, those that are closed and wait for late packets included."""
        return [flow.client.full_key() for flow in self._open_flows()]

    def _open_flows(self) -> list[Connection]:
        """Flows in the table, in the order of opening."""
        return [flow for flow in self._flows if flow is not None]

    def counters(self) -> dict[str, int]:
        """All counters by name; a limit that was hit stands there as ``limit_`` and its name."""
        ledger = self._ledger
        counts: dict[str, int] = {
            "segments": int(self.segments),
            "mail_packets": int(ledger.mail_packets),
            "flows_opened": int(ledger.opened),
            "flows_closed": int(self.flows_closed),
            "flows_evicted": int(self.flows_evicted),
            "flows_ignored": int(self.flows_ignored),
            "out_of_order": int(ledger.out_of_order),
            "duplicates": int(ledger.duplicates),
            "strays": int(ledger.strays),
        }
        for limit, hits in sorted(ledger.limits.items()):
            counts["limit_" + limit] = hits
        return counts

    # -- the hot path ----------------------------------------------------------------------------------------------------------

    def receive_segment(
        self,
        key: bytes,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        ack: i64,
        flags: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        self.segments += 1
        if timestamp_ns >= self._tick_ns:
            self.advance(timestamp_ns)
        half = self._find(key)
        if half is not None:
            self._receive_known(half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)
        elif start < end or flags & SYN != 0 or missing != 0:
            self._receive_unknown(key, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)

    def receive_ipv4(
        self,
        key_at: i64,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        ack: i64,
        flags: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        self.segments += 1
        if timestamp_ns >= self._tick_ns:
            self.advance(timestamp_ns)
        addresses = read_i64_be(buffer, key_at)
        source = addresses >> 32 & 0xFFFFFFFF
        target = addresses & 0xFFFFFFFF
        ports = i64(read_i32_be(buffer, key_at + 8)) & 0xFFFFFFFF
        half = self._slots[
            ((source * self._seed_0 + target * self._seed_1 + ports * self._seed_2) >> SLOT_SHIFT) & self._slot_mask
        ]
        while half is not None and (half.ports != ports or half.source != source or half.target != target):
            half = half.behind
        if half is not None:
            self._receive_known(half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)
            return
        if flags & SYN == 0:
            # What _receive_unknown would drop too, dropped before a key is made.
            if start == end and missing == 0:
                return
            if self._listed[ports >> 16] == 0 and self._listed[ports & 0xFFFF] == 0:
                if start == end or self._openings[buffer[start]] & SERVER_MAY_OPEN == 0:
                    return
        self._receive_unknown(
            buffer[key_at : key_at + 12], buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame
        )

    def _receive_known(
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
    ) -> None:
        """A segment of a flow in the table."""
        flow = half.flow
        peer = half.peer
        if flow is None or peer is None:
            return
        if flow.slow or missing != 0 or flags & 0x07 != 0 or timestamp_ns - flow.end_ns > flow.timeout_ns:
            self._receive_slow(flow, half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)
            return
        ahead: i64 = 0
        if flags & ACK != 0:
            ahead = (ack - peer.next_seq) & SEQUENCE_MASK
            if ahead == 0:
                peer.acked = ack
        size: i64 = end - start
        if (size != 0 and seq != half.next_seq) or (ahead != 0 and ahead < SEQUENCE_HALF):
            self._receive_slow(flow, half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)
            return
        ledger = self._ledger
        ledger.mail_packets += 1
        flow.packets += 1
        flow.last_frame = frame
        flow.last_capture = self.capture
        if timestamp_ns > flow.end_ns:
            flow.end_ns = timestamp_ns
        if half.sender == SERVER:
            flow.server_packets += 1
        else:
            flow.client_packets += 1
        if size == 0:
            return
        offset = half.offset
        half.firm = True
        half.next_seq = (seq + size) & SEQUENCE_MASK
        half.offset = offset + size
        if half.sender == SERVER:
            flow.server_bytes = offset + size
        else:
            flow.client_bytes = offset + size
        data = buffer[start:end]
        cost = size + RECENT_OVERHEAD
        if half.recent_size == 0:
            half.recent = [data]
        else:
            half.recent.append(data)
        half.recent_size += cost
        ledger.recent_bytes += cost
        if half.recent_size > MAX_RECENT_BYTES or ledger.recent_bytes > MAX_TOTAL_RECENT_BYTES:
            flow.trim_recent(half)
        sink = flow.sink
        if (
            sink is not None
            and not sink.receive_data(half.sender, data, Position(frame, timestamp_ns, offset))
            and not flow.lose_interest()
        ):
            self._forget(flow)

    def _find(self, key: bytes) -> Half | None:
        """The direction of a flow that a key names, None where there is none."""
        if len(key) != 12:
            half = self._slots[self._slot(key)]
            while half is not None and half.key != key:
                half = half.behind
            return half
        source = u32(key, 0)
        target = u32(key, 4)
        ports = u32(key, 8)
        half = self._slots[self._slot_of_ipv4(source, target, ports)]
        while half is not None and (half.ports != ports or half.source != source or half.target != target):
            half = half.behind
        return half

    def _slot_of(self, half: Half) -> i64:
        if half.source >= 0:
            return self._slot_of_ipv4(half.source, half.target, half.ports)
        return self._slot(half.key)

    def _slot_of_ipv4(self, source: i64, target: i64, ports: i64) -> i64:
        """Where a key of IPv4 is looked for; ``receive_ipv4`` reckons the same."""
        mixed = source * self._seed_0 + target * self._seed_1 + ports * self._seed_2
        return (mixed >> SLOT_SHIFT) & self._slot_mask

    def _slot(self, key: bytes) -> i64:
        """Where a longer key is looked for."""
        size: i64 = len(key)
        mixed: i64 = 0
        at: i64 = 0
        while at + 4 <= size:
            mixed = (mixed >> 20 & 0xFFFFFFFF) * self._seed_0 + u32(key, at) * self._seed_1
            at += 4
        return (mixed >> SLOT_SHIFT) & self._slot_mask

    # -- segments that need thought --------------------------------------------------------------------------------------------

    def _receive_slow(
        self,
        flow: Connection,
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
    ) -> None:
        if (
            timestamp_ns - flow.end_ns > flow.timeout_ns
            or (flow.state == CLOSED and start < end and self._resumes(flow, half, seq))
            or (flags & SYN != 0 and self._replaces(flow, half, seq, ack, flags))
        ):
            key = half.full_key()
            self._end(flow)
            self._receive_unknown(key, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)
            return
        self._count(flow, half, timestamp_ns, frame)
        if flags & SYN != 0:
            if flow.state == OPEN:
                self._synchronise(flow, half, seq, ack, flags)
            seq = (seq + 1) & SEQUENCE_MASK
        self._hand_to(flow, half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame)

    def _hand_to(
        self,
        flow: Connection,
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
    ) -> None:
        if not flow.receive(half, buffer, start, end, missing, seq, ack, flags, timestamp_ns, frame):
            if not flow.replaced:
                self._forget(flow)
                return
            flow.packets -= 1  # it was not of this flow
            if half.sender == SERVER:
                flow.server_packets -= 1
            else:
                flow.client_packets -= 1
            key = half.full_key()
            self._end(flow)
            self._receive_unknown(key, buffer, start, end, missing, seq, ack, flags & ~SYN, timestamp_ns, frame)
            return
        if flow.state == CLOSED:
            if flow.sink is None and not flow.listed:
                self._forget(flow)
                return
            if not flow.lingering:
                flow.lingering = True
                self._lingering.append(flow)
                if len(self._lingering) - self._lingering_at > MAX_LINGERING:
                    self._ledger.hit("lingering")
                    self._end_lingering()
        flow.set_pace()

    def _count(self, flow: Connection, half: Half, timestamp_ns: i64, frame: i64) -> None:
        flow.packets += 1
        flow.last_frame = frame
        flow.last_capture = self.capture
        if timestamp_ns > flow.end_ns:
            flow.end_ns = timestamp_ns
        if half.sender == SERVER:
            flow.server_packets += 1
        else:
            flow.client_packets += 1
        if flow.sink is not None:
            self._ledger.mail_packets += 1
        elif flow.listed and flow.state == OPEN and flow.client_packets > 0 and flow.server_packets > 0:
            flow.timeout_ns = IDLE_NS  # answered, on a mail port: some servers greet late

    def _resumes(self, flow: Connection, half: Half, seq: i64) -> bool:
        """Whether the sender of a RST goes on sending behind it: then its receiver did not take it, and the connection lives."""
        return flow.rst_frame > 0 and half.sender == flow.rst_sender and 0 <= distance(seq, half.next_seq) < MAX_JUMP

    def _replaces(self, flow: Connection, half: Half, seq: i64, ack: i64, flags: i64) -> bool:
        """Whether a SYN on the ports of a flow begins another connection. A SYN sent twice does not, nor one captured late."""
        first = (seq + 1) & SEQUENCE_MASK
        if not half.firm or half.first_seq == first:
            if half.syn:
                self._ledger.duplicates += 1
            return False
        if half.syn or flow.state != OPEN:
            # Hosts do not take another answer to a SYN within a connection, and neither do we while it lives.
            return flags & ACK == 0 or flow.state != OPEN
        before = distance(half.first_seq, first)
        if 0 < before < LATE_SYN_REACH and flow.packets < LATE_SYN_PACKETS:
            return False
        return flags & ACK == 0

    def _synchronise(self, flow: Connection, half: Half, seq: i64, ack: i64, flags: i64) -> None:
        """Takes over from a SYN, or its answer, where the streams begin."""
        if half.syn and half.first_seq != (seq + 1) & SEQUENCE_MASK:
            self._ledger.strays += 1
            return
        half.syn = True
        if flags & ACK != 0:
            flow.syn_ack_seen = True
            other = flow.other(half)
            if not other.firm:
                other.start_at(ack, True)
        else:
            flow.syn_seen = True
            if half.sender == CLIENT:
                flow.direction_from = "syn"
        if not half.firm:
            half.start_at((seq + 1) & SEQUENCE_MASK, True)
        if flow.client.firm and flow.server.firm:
            flow.handshake_pending = False

    def _receive_unknown(
        self,
        key: bytes,
        buffer: bytes,
        start: i64,
        end: i64,
        missing: i64,
        seq: i64,
        ack: i64,
        flags: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        """A segment without a flow: opens one, or is nothing to us."""
        size: i64 = len(key)
        if size < 12:
            return
        source: i64 = (key[size - 4] << 8) | key[size - 3]
        target: i64 = (key[size - 2] << 8) | key[size - 1]
        by_source = self._listed[source] != 0
        listed = by_source or self._listed[target] != 0
        how = "syn"
        sender: int = CLIENT
        if flags & SYN != 0:
            if flags & 0x05 != 0:  # with FIN or RST: a scan
                return
            if flags & ACK != 0:
                sender = SERVER
        elif flags & RST != 0 or (start == end and missing == 0):
            return
        elif listed:
            if missing == 0 and end - start == 1 and buffer[start] == 0:
                return  # a keep-alive probe
            how = "port"
            if by_source and (self._listed[target] == 0 or source < target):
                sender = SERVER
        else:
            if start == end or self._openings[buffer[start]] & SERVER_MAY_OPEN == 0:
                return
            if not self._factory.plausible_start(buffer, start, end):
                return
            how = "content"
            sender = SERVER
        flow = self._open(key, sender, listed, source, target, timestamp_ns)
        if flow is None:
            return
        half = flow.server if sender == SERVER else flow.client
        flow.direction_from = how
        flow.end_ns = timestamp_ns
        flow.first_frame = frame
        self._count(flow, half, timestamp_ns, frame)
        if flags & SYN != 0:
            flow.handshake_pending = True
            self._synchronise(flow, half, seq, ack, flags)
            seq = (seq + 1) & SEQUENCE_MASK
        else:
            half.start_at(seq, True)
        self._hand_to(flow, half, buffer, start, end, missing, seq, ack, flags & ~SYN, timestamp_ns, frame)

    # -- opening and ending ----------------------------------------------------------------------------------------------------

    def _open(
        self, key: bytes, sender: int, listed: bool, source: i64, target: i64, timestamp_ns: i64
    ) -> Connection | None:
        half = Half(key, sender)
        other = Half(b"", 1 - sender)
        other.turn(half)
        if (
            half.source == other.source
            and half.target == other.target
            and half.ports == other.ports
            and other.key in (b"", key)
        ):
            self._ledger.strays += 1  # a packet from a port to itself
            return None
        active: i64 = self._ledger.active
        if active >= MAX_FLOWS:
            self._evict_flows()
        embryos: i64 = self._flows_open - active
        if embryos >= MAX_EMBRYOS:
            self._evict_embryos()
        if sender == SERVER:
            flow = Connection(self._ledger, other, half, listed)
            flow.client_port = target
            flow.server_port = source
        else:
            flow = Connection(self._ledger, half, other, listed)
            flow.client_port = source
            flow.server_port = target
        flow.capture = self.capture
        if len(self._flows) > 2 * self._flows_open + SPARE_PLACES:
            self._close_ranks()
        flow.start_ns = timestamp_ns
        self._note_start(timestamp_ns)
        flow.place = len(self._flows)
        self._flows.append(flow)
        self._flows_open += 1
        if 2 * self._flows_open > len(self._slots):
            self._spread()
        else:
            self._enter(flow.client)
            self._enter(flow.server)
        return flow

    def _close_ranks(self) -> None:
        """Gives up the places of flows that have ended."""
        flows: list[Connection | None] = []
        self._latest_start_ns = -(1 << 62)
        self._disorder_ns = 0
        for flow in self._flows:
            if flow is not None:
                flow.place = len(flows)
                flows.append(flow)
                self._note_start(flow.start_ns)
        self._flows = flows
        self._first_place = 0

    def _note_start(self, start_ns: i64) -> None:
        """A flow that began at this time gets a place behind all others."""
        if start_ns >= self._latest_start_ns:
            self._latest_start_ns = start_ns
        elif self._latest_start_ns - start_ns > self._disorder_ns:
            self._disorder_ns = self._latest_start_ns - start_ns

    def _enter(self, half: Half) -> None:
        """Into the look-up."""
        slots = self._slots
        slot = self._slot_of(half)
        half.behind = slots[slot]
        slots[slot] = half

    def _spread(self) -> None:
        """More slots, so that chains stay short."""
        count = len(self._slots) * 4
        slots: list[Half | None] = [None] * count
        self._slots = slots
        self._slot_mask = count - 1
        for flow in self._flows:
            if flow is not None:
                self._enter(flow.client)
                self._enter(flow.server)

    def _leave(self, half: Half) -> None:
        """Out of the look-up."""
        slot = self._slot_of(half)
        before = self._slots[slot]
        if before is half:
            self._slots[slot] = half.behind
        while before is not None:
            behind = before.behind
            if behind is half:
                before.behind = half.behind
                break
            before = behind
        half.behind = None

    def _forget(self, flow: Connection) -> None:
        """Out of the table without a record."""
        if flow.sink is not None:
            self._ledger.mail_packets -= flow.packets
        self.flows_ignored += 1
        self._remove(flow)

    def _end(self, flow: Connection) -> None:
        """Delivers what still waits, tells the sink, and takes the flow out of the table."""
        if flow.state == OPEN and not flow.flush():
            self._forget(flow)
            return
        if flow.sink is None and flow.listed and flow.client_packets > 0 and flow.server_packets > 0:
            flow.open_sink(flow.client, b"")  # both sides were there and said nothing: worth a record
        sink = flow.sink
        self._remove(flow)
        if sink is None:
            self.flows_ignored += 1
        else:
            self.flows_closed += 1
            sink.flow_ended(flow)

    def _remove(self, flow: Connection) -> None:
        if flow.state != CLOSED or flow.rst_frame > 0:
            flow.release()  # where both sides have closed, nothing was kept since
        flow.state = ENDED
        if flow.sink is not None:
            self._ledger.active -= 1
            flow.sink = None
        # Halves, flow and sink refer to each other: parted by hand, they need no garbage collector.
        client = flow.client
        server = flow.server
        self._flows[flow.place] = None
        self._flows_open -= 1
        self._leave(client)
        self._leave(server)
        client.flow = None
        client.peer = None
        server.flow = None
        server.peer = None

    def _end_lingering(self) -> None:
        """Ends the flow that was closed first."""
        flow = self._lingering[self._lingering_at]
        self._lingering[self._lingering_at] = None
        self._lingering_at += 1
        if self._lingering_at > MAX_LINGERING:
            self._lingering = self._lingering[self._lingering_at :]
            self._lingering_at = 0
        if flow is not None and flow.state == CLOSED:
            self._end(flow)

    def advance(self, timestamp_ns: i64) -> None:
        """Capture time has come this far: ends what has been silent for too long. A live capture calls it when nothing arrives, too."""
        if self._clock_started and timestamp_ns - self._clock_ns > CLOCK_JUMP_NS:
            self._clock_jumps += 1
            if self._clock_jumps < CLOCK_JUMP_PACKETS:
                return
        if timestamp_ns < self._tick_ns:
            return
        self._clock_started = True
        self._clock_jumps = 0
        self._clock_ns = timestamp_ns
        self._tick_ns = timestamp_ns + TICK_NS
        late = timestamp_ns - SWEEP_SLACK_NS
        while self._lingering_at < len(self._lingering):
            flow = self._lingering[self._lingering_at]
            if flow is not None and flow.state == CLOSED and late - flow.end_ns <= flow.timeout_ns:
                break
            self._end_lingering()
        if timestamp_ns >= self._sweep_ns and (self.live or self.segments - self._swept_at >= self._flows_open >> 1):
            self._sweep_ns = timestamp_ns + SWEEP_NS
            self._swept_at = self.segments
            self._sweep(late)

    def step_back(self) -> None:
        """The clock of a live capture was set back: what waits for a time that comes again only later ends now, and time starts anew."""
        while self._lingering_at < len(self._lingering):
            self._end_lingering()
        self._clock_started = False
        self._clock_jumps = 0
        self._tick_ns = -(1 << 62)
        self._sweep_ns = 0

    def _sweep(self, late: i64) -> None:
        for flow in self._open_flows():
            if flow.state == ENDED:
                continue
            if late - flow.end_ns > flow.timeout_ns:
                self._end(flow)
            elif flow.held_count > 0:
                if not flow.check_waits(late):
                    self._forget(flow)
                else:
                    flow.set_pace()

    def _evict_embryos(self) -> None:
        """Ends the flows without a sink that were opened first."""
        self._ledger.hit("embryos")
        count: i64 = MAX_EMBRYOS // EVICTED_SHARE
        flows: list[Connection] = []
        for flow in self._flows:
            if flow is not None and flow.sink is None:
                flows.append(flow)
                if len(flows) >= count:
                    break
        for flow in flows:
            self.flows_evicted += 1
            self._end(flow)

    def _evict_flows(self) -> None:
        """Ends the flows that have been silent the longest; many in one go, so that the search for them is cheap for each."""
        self._ledger.hit("flows")
        flows: list[Connection] = []
        times: list[int] = []
        for flow in self._flows:
            if flow is not None and flow.sink is not None:
                flows.append(flow)
                times.append(int(flow.end_ns))
        count: i64 = len(flows) // EVICTED_SHARE + 1
        times.sort()
        latest: i64 = times[min(count, len(times)) - 1]
        for flow in flows:
            if count > 0 and flow.end_ns <= latest:
                count -= 1
                self.flows_evicted += 1
                self._end(flow)

    def end_capture(self) -> None:
        """Nothing more will come: ends all flows, in the order in which they began."""
        for flow in self._open_flows():
            if flow.state != ENDED:
                self._end(flow)
        self._close_ranks()
        self._lingering = []
        self._lingering_at = 0
        self._clock_started = False
        self._clock_jumps = 0
        self._tick_ns = -(1 << 62)
        self._sweep_ns = 0


def random_factor() -> int:
    """A number of 29 bits for hashing, odd."""
    return int.from_bytes(os.urandom(4), "big") >> 4 | 0x10000001
