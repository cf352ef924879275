"""Bodies that end at a line with a dot alone: messages of SMTP (RFC 5321 section 4.5.2) and of POP3 (RFC 1939 section 3).

A body ends at CRLF . CRLF only, unless its sender ends all its lines in bare LF (RFC 5321 section 4.1.1.4; anything laxer lets
message text pose as commands). Dots stay stuffed: who wants the text takes them off.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Sender
from analyzer.protocols.grammar import Grammar
from analyzer.protocols.side import LINES, Side

#: Dots of one piece of a body that are looked at one by one.
MAX_DOTS: Final = 64


@mypyc_attr(acyclic=True)
class DotBodies(Grammar):
    """Hands on the octets of dot-terminated bodies with ``block_data``, and finds their ends.

    It relies on the methods that a protocol overrides, and on what the side it is given keeps between two pieces: ``line_start``,
    ``lf_only``, ``remaining`` and, among the parts, at most ``.CR``, which may be the terminator.
    """

    def _dot_body(self, sender: Sender, side: Side, data: bytes, start: i64, size: i64) -> i64:
        """Read a body on from ``start``; where the next octet is to be read."""
        first: i64 = data[start]
        if not side.lf_only and first != 46 and first != 10:
            return self._strict_body(sender, side, data, start, size)
        at = start
        if side.line_start and data[at] == 46:
            dot = at
        else:
            # Looking for one octet first is ten times as fast as for two, and most of an attachment holds no dot.
            at = data.find(b".", at)
            if at >= 0:
                at = data.find(b"\n.", start)
            dot = at + 1 if at >= 0 else -1
        while dot >= 0:
            # dot is the offset of a dot that begins a line; CRLF before it, or nothing (the body's first line)
            if (
                dot == start
                or side.lf_only
                or (dot >= 2 and data[dot - 2] == 13)
                or (dot - 1 == start and self._cr_before(side))
            ):
                after = dot + 1
                if after >= size or (data[after] == 13 and after + 1 >= size):
                    # It may be the terminator, the next octets tell.
                    if dot > start:
                        self.block_data(sender, data, start, dot)
                    side.line_start = True
                    side.keep(data[dot:])
                    return size
                end: i64 = -1
                if data[after] == 13:
                    if data[after + 1] == 10:
                        end = after + 2
                elif data[after] == 10 and side.lf_only:
                    end = after + 1
                if end >= 0:
                    if dot > start:
                        self.block_data(sender, data, start, dot)
                    side.mode = LINES
                    self.line_offset = self.at.offset + dot
                    self.block_ended(sender)
                    return end
            at = data.find(b"\n.", dot)
            dot = at + 1 if at >= 0 else -1
        self.block_data(sender, data, start, size)
        if data[size - 1] == 10 and (
            side.lf_only or (size >= 2 and data[size - 2] == 13) or (size == 1 and self._cr_before(side))
        ):
            side.line_start = True
        else:
            side.line_start = False
        side.remaining = 1 if data[size - 1] == 13 else 0
        return size

    def _strict_body(self, sender: Sender, side: Side, data: bytes, start: i64, size: i64) -> i64:
        """:meth:`_dot_body` where lines end in CRLF, which does not begin with a dot or in the middle of a line end.

        Dots are few, so each is looked at, for being the terminator, or one that was put before a line. They are searched for in
        text, because text's find() compiles to a call of a few dozen instructions, and that of octets to a thousand.
        """
        rest = data[start:] if start else data
        text = rest.decode("latin-1")
        count: i64 = len(rest)
        dot: i64 = -1
        ended = False
        stuffed: i64 = 0
        looks: i64 = 0
        at: i64 = text.find(".")
        while at >= 0:
            if rest[at - 1] == 10:
                if rest[at - 2] == 13 and (
                    at + 1 == count or (rest[at + 1] == 13 and (at + 2 == count or rest[at + 2] == 10))
                ):
                    dot = start + at
                    ended = at + 2 < count
                    break
                stuffed += 1
            looks += 1
            if looks == MAX_DOTS:
                # All dots and little text: one search for the terminator alone, the dots are counted by whom it concerns.
                stuffed = -1
                rest = rest[at:]
                line, found, _ = rest.partition(b"\r\n.\r\n")
                if found:
                    dot = start + at + len(line) + 2
                    ended = True
                elif rest.endswith(b"\r\n."):
                    dot = size - 1
                elif rest.endswith(b"\r\n.\r"):
                    dot = size - 2
                break
            at = text.find(".", at + 1)
        self.stuffed = stuffed
        self.block_data(sender, data, start, size if dot < 0 else dot)
        self.stuffed = -1
        if ended:
            side.mode = LINES
            self.line_offset = self.at.offset + dot
            self.block_ended(sender)
            return dot + 3
        if dot >= 0:
            # It may be the terminator, the next octets tell.
            side.line_start = True
            side.keep(data[dot:])
        else:
            side.line_start = size - start >= 2 and data[size - 1] == 10 and data[size - 2] == 13
            side.remaining = 1 if data[size - 1] == 13 else 0
        return size

    def _cr_before(self, side: Side) -> bool:
        """DOT_BODY keeps in ``remaining`` whether the last octet delivered was a CR: a line end may be cut between CR and LF."""
        return side.remaining == 1
