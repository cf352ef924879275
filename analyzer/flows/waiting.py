"""What is known of a stream beside its next octet: pieces that wait for it, and the latest octets for comparison.

Pieces that arrived early wait in a list sorted by sequence number, in which no octet stands twice: the copy that arrived first is
kept, later copies are only compared with it.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from analyzer.flows.sequence import SEQUENCE_MASK, distance


@mypyc_attr(acyclic=True)
class Piece:
    """Octets of one stream that cannot be delivered yet; or, without octets, the mark of a FIN or a RST."""

    def __init__(
        self, seq: i64, data: bytes, missing: i64, ack: i64, order: i64, frame: i64, timestamp_ns: i64
    ) -> None:
        self.seq: i64 = seq
        self.data = data
        #: octets that follow the data and were cut off by the snap length
        self.missing: i64 = missing
        #: the peer's stream must have been delivered up to here first; -1: it need not
        self.ack: i64 = ack
        #: number of the packet within its flow, from 1
        self.order: i64 = order
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns

    def length(self) -> i64:
        """Sequence numbers covered by the octets."""
        return len(self.data) + self.missing


def differing(one: bytes, one_at: i64, other: bytes, other_at: i64, size: i64) -> i64:
    """How many of ``size`` octets differ between two pieces; octets that either does not hold are not compared."""
    known: i64 = len(one) - one_at
    if known < size:
        size = known
    known = len(other) - other_at
    if known < size:
        size = known
    if size <= 0 or one[one_at : one_at + size] == other[other_at : other_at + size]:
        return 0
    count: i64 = 0
    index: i64 = 0
    while index < size:
        if one[one_at + index] != other[other_at + index]:
            count += 1
        index += 1
    return count


def cut_front(piece: Piece, size: i64) -> Piece:
    """The piece without its first ``size`` octets."""
    held: i64 = len(piece.data)
    missing: i64 = piece.missing
    if size > held:
        missing -= size - held
    return Piece(
        (piece.seq + size) & SEQUENCE_MASK,
        piece.data[size:],
        missing,
        piece.ack,
        piece.order,
        piece.frame,
        piece.timestamp_ns,
    )


def _first(piece: Piece, size: i64) -> Piece:
    """The first ``size`` octets of a piece."""
    held: i64 = len(piece.data)
    missing: i64 = size - held
    if missing < 0:
        missing = 0
    return Piece(piece.seq, piece.data[:size], missing, piece.ack, piece.order, piece.frame, piece.timestamp_ns)


def _same_octets_again(kept: Piece, again: Piece) -> None:
    """A later copy that acknowledges less proves that the octets were first sent without waiting for more."""
    if again.ack < 0 or kept.ack < 0:
        kept.ack = -1
    elif distance(again.ack, kept.ack) < 0:
        kept.ack = again.ack


def hold(held: list[Piece], piece: Piece) -> tuple[i64, i64]:
    """Puts a piece in its place, without what is there already.

    Returns how many octets came to be held, and how many contradict the copy that was there first.
    """
    added: i64 = 0
    index: i64 = len(held)
    if index == 0:
        held.append(piece)
        return len(piece.data), 0
    last = held[index - 1]
    if distance(piece.seq, last.seq) >= last.length():
        held.append(piece)
        return len(piece.data), 0
    conflicts: i64 = 0
    while index > 0 and distance(held[index - 1].seq, piece.seq) >= 0:
        index -= 1
    if index > 0:
        before = held[index - 1]
        into = distance(piece.seq, before.seq)
        covered = before.length() - into
        if covered > 0:
            conflicts += differing(before.data, into, piece.data, 0, covered)
            _same_octets_again(before, piece)
            if covered >= piece.length():
                return added, conflicts
            piece = cut_front(piece, covered)
    while index < len(held):
        after = held[index]
        room = distance(after.seq, piece.seq)
        if room >= piece.length():
            break
        if room > 0:
            part = _first(piece, room)
            held.insert(index, part)
            added += len(part.data)
            index += 1
        conflicts += differing(after.data, 0, piece.data, room, after.length())
        _same_octets_again(after, piece)
        covered = room + after.length()
        if covered >= piece.length():
            return added, conflicts
        piece = cut_front(piece, covered)
        index += 1
    held.insert(index, piece)
    return added + len(piece.data), conflicts


def is_probe(held: list[Piece], piece: Piece) -> bool:
    """Whether a piece repeats the last octet of one that waits: a keep-alive probe, RFC 9293 section 3.8.4, whose octet may be garbage."""
    return piece.length() == 1 and any(
        one.length() > 1 and distance(piece.seq, one.seq) == one.length() - 1 for one in held
    )


def contradictions(recent: list[bytes], behind: i64, data: bytes) -> i64:
    """How many octets of a retransmission differ from what was delivered.

    ``recent`` holds the latest pieces of a stream, the last of which ends ``behind`` octets after the first octet of ``data``.
    What is older than ``recent`` is not compared.
    """
    conflicts: i64 = 0
    size: i64 = len(data)
    nearest: i64 = behind - size  # both ends of the copy, counted backwards from the end of what was delivered
    if nearest < 0:
        nearest = 0
    reached: i64 = 0
    index: i64 = len(recent)
    while index > 0 and reached < behind:
        index -= 1
        chunk = recent[index]
        begin: i64 = reached + len(chunk)
        if begin > nearest:
            far = begin if begin < behind else behind
            near = reached if reached > nearest else nearest
            conflicts += differing(chunk, begin - far, data, behind - far, far - near)
        reached = begin
    return conflicts
