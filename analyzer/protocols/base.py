"""The base of the mail dissectors: octets of one TCP connection go in, events come out.

A dissector is sans-IO (:meth:`Dissector.receive_data`) and never raises on traffic. What all four mail protocols share is built up in
layers, each a class on top of the one before:

- :mod:`~analyzer.protocols.grammar`: what a protocol overrides, and how it tells what happened
- :mod:`~analyzer.protocols.dot_bodies`: bodies that end at a line with a dot alone
- :mod:`~analyzer.protocols.framing`: lines, blocks, gaps, and the client on hold; how a protocol says what comes next
- :mod:`~analyzer.protocols.compression`: COMPRESS=DEFLATE
- :mod:`~analyzer.protocols.starttls`: the way into TLS
- :mod:`~analyzer.protocols.logins`: SASL exchanges, and the telling of logins
- :class:`Dissector`, here: what the owner calls

Beside them, :mod:`~analyzer.protocols.side` is how one direction is being read, :mod:`~analyzer.protocols.octets` what octets look like.

The layers are one object, because they read one pair of directions: an upgrade takes octets away from framing and gives them back, and
a gap concerns all of them at once. Parts that hold each other would cost every connection their making, and every line the way
between them. Protocols and the owner import from here what they need of all that.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from analyzer.model import SERVER, Position, Sender
from analyzer.protocols.events import Event
from analyzer.protocols.logins import Logins, response_form
from analyzer.protocols.octets import looks_like_tls, may_be_tls
from analyzer.protocols.side import DOT_BODY, HOLD, HOLD_PROTOCOL, LIMBO, LINES, OCTETS

__all__ = [
    "DOT_BODY",
    "HOLD",
    "HOLD_PROTOCOL",
    "LINES",
    "OCTETS",
    "Dissector",
    "looks_like_tls",
    "may_be_tls",
    "response_form",
]


@mypyc_attr(acyclic=True)
class Dissector(Logins):
    """What the owner of a dissector calls. A protocol is built on it, and overrides the methods of Grammar."""

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> list[Event]:
        """The next octets of one direction; what they made happen. The list is the caller's to read, not to change."""
        if self.events:
            self.events = []
        self.at = at
        side = self.server if sender == SERVER else self.client
        side.end = at.offset + len(data)
        if side.mode == LINES and (self._gap_seen or self.midstream):
            if self._begins_tls(sender, side, data, at.offset):
                return self.events
        if side.inflater is None:
            self._feed(sender, side, data, 0)
        else:
            self._inflate(sender, side, data)
        return self.events

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> list[Event]:
        """``size`` octets of one direction are missing here."""
        self.events = []
        self.at = at
        self._gap_seen = True
        side = self.server if sender == SERVER else self.client
        side.end = at.offset + size
        if side.inflater is not None:
            self._compression_lost(sender, side, "octets missing")
            return self.events
        if self._text_at is not None:
            self._text_goes_on()
        if side.mode == HOLD:
            self._stop_waiting()  # and the gap is where that leads
        if side.mode == LIMBO:
            self._judge_few(sender)
        self._gap(sender, side, size)
        return self.events

    def receive_eof(self, sender: Sender, at: Position) -> list[Event]:
        """One direction has ended."""
        self.events = []
        self.at = at
        side = self.server if sender == SERVER else self.client
        self._limbo_side_ended(sender)
        if side.mode == DOT_BODY and side.parts_size:
            rest = side.take()
            self.block_data(sender, rest, 0, len(rest))
        self.stream_ended(sender)
        return self.events

    def finish(self, at: Position) -> list[Event]:
        """The session is over (both directions ended, or the capture did): whatever is pending is told now."""
        self.events = []
        self.at = at
        if self._text_at is not None:
            self._text_goes_on()
        self._release_all()
        self._limbo_over()
        self.session_ended()
        self.exchange_dropped()
        return self.events

    def settled(self) -> bool:
        """Whether :meth:`finish` would tell nothing, provided that no octets come any more."""
        return self._exchange is None and not self._granted and self.client.parts_size == 0 and self.nothing_open()

    def trailing_data(self, sender: Sender) -> bytes:
        """The TLS octets met so far of one direction, after :attr:`tls_started`; handed over once."""
        side = self.server if sender == SERVER else self.client
        data = side.tls
        side.tls = b""
        return data

    def enter_tls(self) -> None:
        """From now on the owner feeds decrypted octets: read them as a new beginning (RFC 3207 section 4.2)."""
        self.tls_started = False
        self._granted = False
        self.client.mode = LINES
        self.server.mode = LINES
        self.client.take()
        self.server.take()
        self.upgraded()
