"""Grammar, as apart from framing: what a protocol is called with, and how it tells what happened.

:class:`Grammar` is the ground that all else in a dissector stands on. A protocol overrides what it wants to know of; here, each of
these methods does nothing.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Position, Sender
from analyzer.protocols.events import Anomaly, Event

#: Characters kept of an anomaly's detail, and of a reply.
MAX_DETAIL: Final = 200
#: Anomalies told of one session; more of them say nothing new. How many were left out is in ``anomalies_dropped``.
MAX_ANOMALIES: Final = 100


@mypyc_attr(acyclic=True)
class Grammar:
    """What a protocol makes of lines, blocks and bodies. None of its methods may raise on input."""

    def __init__(self, protocol: str) -> None:
        #: word of the ``protocol`` column; SMTP changes it to ``lmtp`` on LHLO
        self.protocol = protocol
        #: where the octets being read stand: the frame and time of all that is told, and the stream offset of the first one
        self.at: Position = Position(0, 0, 0)
        #: stream offset of the line being handled
        self.line_offset: i64 = 0
        #: where the latest line of a listing stands of which the end may be missing; it is told late then
        self.listed_at: Position = self.at
        self.listed_offset: i64 = 0
        #: for ``block_data``: how many lines of the piece of a dot-terminated body begin with a dot; -1: not counted
        self.stuffed: i64 = -1
        #: for ``block_ended``: the end of the block or body was seen, and not concluded from something else
        self.end_seen: bool = True
        #: what has happened since the owner asked last
        self.events: list[Event] = []
        #: the owner sets it where the capture lacks the connection's beginning: the first lines may be anything
        self.midstream: bool = False
        #: content has gone by that is of no message told: a text without its header, a part, the first lines
        self.content_seen: bool = False
        self._anomalies: i64 = 0
        #: anomalies left out for :data:`MAX_ANOMALIES`
        self.anomalies_dropped: i64 = 0
        #: commands understood so far: how sure one can be that this is the protocol
        self.commands: int = 0
        #: replies understood so far
        self.replies: int = 0
        #: the server said something that has the form of this protocol's replies, though nobody knows to what
        self.reply_seen: bool = False

    # -- what a protocol tells ------------------------------------------------------------------------------------------------

    def server_heard(self) -> bool:
        """Whether any reply was understood: if not, the capture may hold the client's direction alone."""
        return self.replies > 0

    def emit(self, event: Event) -> None:
        """Something happened."""
        self.events.append(event)

    def anomaly(self, sender: Sender, kind: str, detail: str) -> None:
        """The line or octets being handled are odd; ``detail`` holds no secret."""
        at = self.at
        if self._anomalies >= MAX_ANOMALIES:
            self.anomalies_dropped += 1
            return
        self._anomalies += 1
        if len(detail) > MAX_DETAIL:
            detail = detail[:MAX_DETAIL]
        self.events.append(Anomaly(sender, at.frame, at.timestamp_ns, self.line_offset, kind, detail))

    # -- what a protocol overrides -------------------------------------------------------------------------------------------

    def client_line(self, line: bytes) -> None:
        """A line of the client, without its line end."""

    def server_line(self, line: bytes) -> None:
        """A line of the server, without its line end."""

    def torn_line(self, sender: Sender, line: bytes) -> None:
        """The first line behind a gap, whose beginning may be missing: to be read where it is unmistakable, else left alone."""

    def block_data(self, sender: Sender, data: bytes, start: i64, end: i64) -> None:
        """``data[start:end]`` is part of a block or body."""

    def block_gap(self, sender: Sender, size: i64) -> None:
        """``size`` octets of a block or body are missing."""

    def block_ended(self, sender: Sender) -> None:
        """The block or body is complete."""

    def block_resumed(self, sender: Sender) -> bool:
        """A line is too long to keep: whether it is none, but the block that ``expect_octets`` was now called for."""
        return False

    def listed(self) -> None:
        """The line being handled is one of a listing: should its end be missing, it is told here."""
        self.listed_at = self.at
        self.listed_offset = self.line_offset

    def back_to_listing(self) -> tuple[Position, i64]:
        """Go to the latest line of a listing that is told late; gives ``at`` and ``line_offset``, to go on from behind it."""
        place = (self.at, self.line_offset)
        self.at = self.listed_at
        self.line_offset = self.listed_offset
        return place

    def line_skipped(self, sender: Sender, begun: bytes) -> None:
        """A line was too long to keep, and is over: ``begun`` is its beginning, or nothing. Whatever it was, a command or a reply went by."""

    def answer_missing(self) -> None:
        """The client is on hold and no answer will come: call ``expect_octets`` ... as if it had been granted."""

    def reply_readable(self, line: bytes) -> bool:
        """Whether a reply of which the end is missing can be understood from its beginning."""
        return False

    def cut_line(self, line: bytes) -> None:
        """The beginning of a server's line whose end is missing, and that says enough (:meth:`reply_readable`)."""
        self.server_line(line)

    def sync_lost(self, sender: Sender) -> None:
        """Lines of this side are missing: commands and replies no longer pair by count."""

    def upgraded(self) -> None:
        """TLS was negotiated (and is read through): forget what the server said before (RFC 3207 section 4.2)."""

    def stream_ended(self, sender: Sender) -> None:
        """One direction has ended."""

    def session_ended(self) -> None:
        """The session is over: tell what is pending."""

    def nothing_open(self) -> bool:
        """Whether ``session_ended`` would tell nothing; no, where that is not known."""
        return False
