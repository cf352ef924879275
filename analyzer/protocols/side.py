"""One direction of a connection: how it is being read, and what of it waits."""

from __future__ import annotations

import zlib
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Position

# How a side is being read (``mode``).
LINES: Final = 0
OCTETS: Final = 1
DOT_BODY: Final = 2
HOLD: Final = 3
LIMBO: Final = 4  # after a STARTTLS grant: TLS or text, the first octets tell
OPAQUE: Final = 5  # TLS: kept for the owner
DISCARD: Final = 6  # nothing can be read any more

# Why a side is on hold (``hold_reason``). Only the client ever is.
HOLD_NONE: Final = 0
HOLD_STARTTLS: Final = 1
HOLD_COMPRESS: Final = 2
HOLD_PROTOCOL: Final = 3


@mypyc_attr(acyclic=True)
class Side:
    """How one direction is being read."""

    def __init__(self) -> None:
        self.mode: i64 = LINES
        #: the beginning of a line (LINES), of a possible terminator (DOT_BODY), or everything that waits (HOLD, LIMBO)
        self.parts: list[bytes] = []
        self.parts_size: i64 = 0
        #: octets of the first part that were read already (HOLD): what waits is long, and read line by line
        self.parts_from: i64 = 0
        #: stream offset of the line or of the parts; where a line has changed the mode, of the octet behind that line
        self.offset: i64 = 0
        #: stream offset behind all octets received so far
        self.end: i64 = 0
        #: stream offset of the TLS octets met (OPAQUE); -1 where none were
        self.tls_at: i64 = -1
        #: frame and capture time of the first octets that wait (HOLD)
        self.held_frame: i64 = 0
        self.held_ns: i64 = 0
        #: octets left of a block (OCTETS)
        self.remaining: i64 = 0
        #: discard up to the next line end: behind a gap, or a line that is too long
        self.skipping: bool = False
        #: skipping because of a gap: what stands before the next line end may be a whole line
        self.torn: bool = False
        #: the beginning of the line that is too long and skipped, where that is known
        self.begun: bytes = b""
        #: the last line ended in a bare LF
        self.lf_only: bool = False
        #: DOT_BODY: the next octet begins a line
        self.line_start: bool = True
        #: DOT_BODY, LIMBO: some octets of this body, or behind the grant, are missing
        self.body_gap: bool = False
        self.hold_reason: i64 = HOLD_NONE
        self.inflater: zlib._Decompress | None = None
        #: the octets behind the line just read are deflated
        self.inflate_rest: bool = False
        #: octets inflated so far
        self.inflated: i64 = 0
        #: the TLS octets met, until the owner takes them (at the end: what every line needs stands together)
        self.tls: bytes = b""

    def row(self, line: bytes) -> bytes:
        """The line just read, with the end that it had."""
        return line + (b"\n" if self.lf_only else b"\r\n")

    def take(self) -> bytes:
        """The parts in one piece; none are left."""
        if self.parts_from > 0:
            self.settle()
        parts = self.parts
        self.parts_size = 0
        if not parts:
            return b""
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.parts = []
        return data

    def joined(self) -> bytes:
        """The parts in one piece, which they stay."""
        if self.parts_from > 0:
            self.settle()
        parts = self.parts
        if len(parts) != 1:
            self.parts = parts = [b"".join(parts)]
        return parts[0]

    def wait_from(self, offset: i64, at: Position) -> None:
        """The next octets that wait are the first ones, and stand here."""
        self.offset = offset
        self.held_frame = at.frame
        self.held_ns = at.timestamp_ns

    def settle(self) -> None:
        """Cut off what was read already of the first part."""
        if self.parts_from > 0:
            self.parts[0] = self.parts[0][self.parts_from :]
            self.parts_from = 0

    def wait(self, data: bytes, at: i64) -> None:
        """What stands in ``data`` from ``at`` on waits, and nothing before it."""
        self.parts = [data]
        self.parts_from = at
        self.parts_size = len(data) - at

    def keep(self, data: bytes) -> None:
        """Let octets wait behind the parts that do."""
        self.parts.append(data)
        self.parts_size += len(data)
