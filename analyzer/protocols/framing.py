"""Framing: each direction is cut into lines, blocks of counted octets (literals, BDAT) and dot-terminated bodies.

The protocol is called with them (``client_line``, ``server_line``, ``block_data`` ..., see :mod:`analyzer.protocols.grammar`) and
answers by calling ``expect_octets``, ``expect_dot_body``, ``hold_client`` ... to say what comes next.

Everything with a continuation (DATA, literals, SASL, STARTTLS, COMPRESS) needs the other side's word before the client's next octets
can be understood. The client is then *on hold*: its octets wait, bounded, until the server has answered. In a capture of both
directions the wait is empty, for no client talks on before the answer; what does wait there was pipelined, which is how command
injection (CVE-2011-0411) shows.

Lines end as in RFC 5321 section 2.3.8 (CRLF), leniently: a bare LF ends a line too.

This module is over 300 lines long because waiting and gaps lead into, and out of, the one loop that reads.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.dot_bodies import DotBodies
from analyzer.protocols.events import LINE_TOO_LONG
from analyzer.protocols.octets import line_end
from analyzer.protocols.side import DOT_BODY, HOLD, HOLD_NONE, HOLD_PROTOCOL, LIMBO, LINES, OCTETS, Side

#: Longest line kept. RFC 5321 allows 512, IMAP servers take 8 to 64 KiB; SASL tokens (Kerberos) reach 12 KiB: RFC 4954 section 4.
MAX_LINE: Final = 65536
#: Octets of a side that may wait for the other side's word.
MAX_HELD: Final = 65536
#: Octets kept of the beginning of a line that is longer than :data:`MAX_LINE`.
MAX_BEGUN: Final = 1024

# What is odd about a line.
_TORN: Final = 1
_SKIPPED: Final = 2


@mypyc_attr(acyclic=True)
class Framing(DotBodies):
    """Reads both directions as lines, blocks and bodies.

    It calls the methods that a protocol overrides. COMPRESS and TLS, which take octets away from it, are built on it: of them it
    knows the three methods at its end, and the modes of a side in which its octets go to them.
    """

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self.client: Side = Side()
        self.server: Side = Side()
        #: octets of either side are known to be missing: TLS may begin among what is not seen
        self._gap_seen: bool = False
        #: what waits is being read on, for want of room: it grows no deeper
        self._draining: bool = False

    # -- for the protocol: what comes next -------------------------------------------------------------------------------------

    def client_missing(self) -> None:
        """A reply came that answers no command: where the client was never heard, its half is not in the capture, and may have asked for TLS."""
        if self.client.end == 0:
            self._gap_seen = True

    def expect_octets(self, sender: Sender, count: i64) -> None:
        """The next ``count`` octets are a block; ``block_data`` gets them, then ``block_ended``. A count of 0 ends at once."""
        side = self.server if sender == SERVER else self.client
        if count <= 0:
            self.block_ended(sender)
            return
        side.mode = OCTETS
        side.remaining = count

    def expect_dot_body(self, sender: Sender, after_gap: bool = False) -> None:
        """The next octets are a dot-terminated body; ``block_data`` gets them (dots still stuffed), then ``block_ended``.

        ``after_gap``: its beginning, and the line that announced it, are missing.
        """
        side = self.server if sender == SERVER else self.client
        side.mode = DOT_BODY
        side.line_start = not after_gap
        side.body_gap = after_gap
        side.remaining = 0
        side.skipping = False
        side.torn = False

    def end_dot_body(self, sender: Sender, seen: bool = False) -> None:
        """Leave a body whose terminator was lost in a gap (or is another than it should be: ``seen``), because something else proves that it is over."""
        side = self.server if sender == SERVER else self.client
        if side.mode == DOT_BODY:
            rest = side.take()
            if rest:
                self.block_data(sender, rest, 0, len(rest))
            side.mode = LINES
            self.end_seen = seen
            self.block_ended(sender)
            self.end_seen = True

    def hold_client(self) -> None:
        """Let the client's next octets wait until :meth:`release_client`."""
        self._hold(HOLD_PROTOCOL)

    def _hold(self, reason: i64) -> None:
        """Let the client's next octets wait for the server's word on what the client has just asked."""
        self.client.mode = HOLD
        self.client.hold_reason = reason

    def release_client(self) -> None:
        """Read on what waited; call ``expect_octets`` or ``expect_dot_body`` first where a block is due."""
        side = self.client
        if side.mode == HOLD:
            side.mode = LINES
        side.hold_reason = HOLD_NONE
        if side.parts_size > 0:
            begun: i64 = 0
            if len(side.parts) == 1:
                waiting = side.parts[0]  # not cut: of much that waits, each command would copy the rest
                begun = side.parts_from
                side.parts = []
                side.parts_from = 0
                side.parts_size = 0
            else:
                waiting = side.take()
            self._replay(CLIENT, side, waiting, begun)

    def client_line_due(self) -> None:
        """The server has asked for a line: the client's next octets begin one, whatever was missing before."""
        side = self.client
        if side.mode == LINES and side.torn and side.parts_size == 0:
            side.torn = False
            side.skipping = False

    def client_waiting(self) -> bool:
        """Whether the client talked on before the answer."""
        return self.client.mode == HOLD and self.client.parts_size > 0

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def _feed(self, sender: Sender, side: Side, data: bytes, at: i64) -> None:
        """Read the next octets of a side, from ``at`` on; ``data`` stands at ``self.at``."""
        begun = at
        size: i64 = len(data)
        base = self.at.offset
        while at < size:
            mode = side.mode
            if mode == LINES:
                if at > begun and (self._gap_seen or self.midstream) and 0x14 <= data[at] <= 0x17:
                    if self._begins_tls(sender, side, data[at:], base + at):
                        return
                newline = line_end(data, at, size)
                if newline < 0:
                    self._keep_line(sender, side, data[at:] if at else data, base + at)
                    return
                odd: i64 = 0
                if side.parts_size + newline - at > MAX_LINE:
                    self._keep_line(sender, side, data[at:newline], base + at)
                    if not side.skipping:
                        at = newline  # it was no line, and has been read as what it was
                        continue
                if side.skipping:
                    side.skipping = False
                    odd = _TORN if side.torn else _SKIPPED
                    side.torn = False
                if odd == _SKIPPED:
                    line = side.begun
                    side.begun = b""
                    self.line_offset = side.offset
                elif side.parts_size:
                    side.keep(data[at:newline])
                    line = side.take()
                    self.line_offset = side.offset
                    if line.endswith(b"\r"):
                        line = line[:-1]
                        side.lf_only = False
                    else:
                        side.lf_only = True
                else:
                    self.line_offset = base + at
                    if newline > at and data[newline - 1] == 13:
                        line = data[at : newline - 1]
                        side.lf_only = False
                    else:
                        line = data[at:newline]
                        side.lf_only = True
                at = newline + 1
                if odd:
                    if odd == _TORN:
                        self.torn_line(sender, line)
                    else:
                        self.line_skipped(sender, line)
                elif sender == CLIENT:
                    self.client_line(line)
                else:
                    self.server_line(line)
                if side.mode != LINES and side.parts_size == 0:
                    side.offset = base + at
                if side.inflate_rest:
                    side.inflate_rest = False
                    if at < size:
                        self._inflate(sender, side, data[at:])
                    return
            elif mode == OCTETS:
                take = side.remaining
                if take > size - at:
                    take = size - at
                side.remaining -= take
                self.line_offset = base + at
                self.block_data(sender, data, at, at + take)
                at += take
                if side.remaining == 0 and side.mode == OCTETS:
                    side.mode = LINES
                    self.block_ended(sender)
            elif mode == DOT_BODY:
                if side.parts_size:
                    # At most ".\r" waits: put it before the rest, once.
                    waiting = side.take()
                    base += at - len(waiting)
                    data = waiting + data[at:]
                    size = len(data)
                    at = 0
                    begun = 0
                at = self._dot_body(sender, side, data, at, size)
            elif mode == HOLD:
                if side.parts_size == 0:
                    side.wait_from(base + at, self.at)
                    side.wait(data, at)
                else:
                    side.keep(data[at:] if at else data)
                if side.parts_size > MAX_HELD and not self._draining:
                    self._draining = True
                    while side.mode == HOLD and side.parts_size > MAX_HELD:
                        self._overflow()
                    self._draining = False
                return
            elif self._taken(sender, side, data[at:] if at else data, base + at):
                return

    def _keep_line(self, sender: Sender, side: Side, data: bytes, offset: i64) -> None:
        """The line's end has not come yet."""
        if side.skipping and not side.torn:
            return
        if side.parts_size == 0:
            side.offset = offset
        side.keep(data)
        if side.parts_size > MAX_LINE:
            begun = side.take()
            if self.block_resumed(sender):
                here = self.at
                self.at = Position(here.frame, here.timestamp_ns, side.offset)
                self._feed(sender, side, begun, 0)
                self.at = here
                return
            side.begun = b"" if side.skipping else begun[:MAX_BEGUN]
            side.skipping = True
            side.torn = False
            self.line_offset = side.offset
            self.anomaly(sender, LINE_TOO_LONG, f"a line of more than {MAX_LINE} octets was skipped")

    def _gap(self, sender: Sender, side: Side, size: i64) -> None:
        """``size`` octets of a side are missing."""
        mode = side.mode
        if mode == LINES:
            begun = side.take()
            if begun and sender == SERVER and self.reply_readable(begun):
                # Cut off in its text (a snap length does that), but its first words say all that matters.
                self.line_offset = side.offset
                if side.skipping:
                    self.torn_line(sender, begun)
                else:
                    self.cut_line(begun)
                if side.mode != LINES:
                    return
            side.skipping = True
            side.torn = True
            self._lost(sender)
        elif mode == OCTETS:
            if size < side.remaining:
                side.remaining -= size
                self.block_gap(sender, size)
                return
            inside = side.remaining
            beyond = size - inside
            side.remaining = 0
            side.mode = LINES
            if inside > 0:
                self.block_gap(sender, inside)
            self.block_ended(sender)
            if beyond > 0:
                self._gap(sender, side, beyond)
        elif mode == DOT_BODY:
            rest = side.take()
            if rest:
                self.block_data(sender, rest, 0, len(rest))
            side.line_start = False
            side.body_gap = True
            side.remaining = 0
            self.block_gap(sender, size)
        elif mode == LIMBO:
            side.body_gap = True

    # -- waiting for the server's word ------------------------------------------------------------------------------------------

    def _replay(self, sender: Sender, side: Side, data: bytes, begun: i64 = 0) -> None:
        """Feed octets that waited, from ``begun`` on, at the place where they stood in their stream."""
        here = self.at
        self.at = Position(side.held_frame, side.held_ns, side.offset - begun)
        self._feed(sender, side, data, begun)
        self.at = here

    def _release_all(self) -> None:
        """Read all that waits as if each answer had been yes. Each turn reads at least a line or gets into another mode."""
        client = self.client
        while client.mode == HOLD and client.parts_size:
            self._overflow()

    def _stop_waiting(self) -> None:
        """No use waiting for the answer: read what waits as if it had come, then on from there."""
        self._release_all()
        if self.client.mode == HOLD:
            self._overflow()

    def _overflow(self) -> None:
        """The answer does not come, or too late: go on as if it had been yes."""
        client = self.client
        self.answer_missing()
        if client.mode == HOLD or (client.parts_size and client.mode != LINES):
            self.release_client()

    def _lost(self, sender: Sender) -> None:
        """Lines of a side are missing; of the server's, one may be the word that the client waits for."""
        self.sync_lost(sender)
        if sender == SERVER and self.client.mode == HOLD:
            self._stop_waiting()

    # -- what takes octets away --------------------------------------------------------------------------------------------------

    def _begins_tls(self, sender: Sender, side: Side, data: bytes, offset: i64) -> bool:
        """Behind octets that are missing, where a line begins or is continued: whether TLS takes ``data``, which stands at ``offset``."""
        return False

    def _inflate(self, sender: Sender, side: Side, data: bytes) -> None:
        """The next octets of a side are deflated."""

    def _taken(self, sender: Sender, side: Side, data: bytes, offset: i64) -> bool:
        """Take ``data``, which stands at ``offset``, in a mode in which octets are not read as text (LIMBO, OPAQUE, DISCARD).

        False where the mode has changed: they are to be read after all.
        """
        return True
