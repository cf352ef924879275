"""The dissector's shape, and what all four mail protocols share: framing, the way into TLS, compression.

A dissector is sans-IO: octets of one TCP connection go in (:meth:`Dissector.receive_data`), events come out. It never raises on
traffic. Framing is apart from grammar: this module cuts each direction into lines, blocks of counted octets (literals,
BDAT) and dot-terminated bodies, and calls the protocol's ``client_line``, ``server_line``, ``block_data`` ... with them;
the protocol answers by calling ``expect_octets``, ``expect_dot_body``, ``hold`` ... to say what comes next.

Three situations need the other side's word before the client's next octets can be understood: STARTTLS, COMPRESS and
everything with a continuation (DATA, literals, SASL). The client is then *on hold*: its octets wait, bounded, until the
server has answered. In a capture of both directions the wait is empty, for no client talks on before the answer;
what does wait there was pipelined, which is how command injection (CVE-2011-0411) shows.

Framing follows RFC 5321 section 2.3.8 (CRLF ends a line) leniently: a bare LF ends a line too. A dot-terminated body ends at
CRLF . CRLF only, unless its sender ends all its lines in bare LF (RFC 5321 section 4.1.1.4; anything laxer lets message text
pose as commands).

This module is over 500 lines long because framing and upgrade share their state; apart they would be two halves of one thing.
"""

from __future__ import annotations

import zlib
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Secret, Sender
from analyzer.protocols.events import (
    CANCELLED,
    CHALLENGE_RESPONSE,
    COMPRESSED_STREAM_LOST,
    LINE_TOO_LONG,
    MALFORMED_SASL,
    REJECTED,
    STARTTLS_COMMAND_INJECTION,
    STARTTLS_RESPONSE_INJECTION,
    STARTTLS_WITHOUT_TLS,
    Anomaly,
    AuthenticationEnded,
    CompressionStarted,
    CredentialsSent,
    Event,
    StartTlsAccepted,
    StartTlsRefused,
    StartTlsRequested,
    TlsStarted,
)
from analyzer.protocols.octets import (
    TLS_HEADER,
    TLS_SURE,
    asks_for_tls,
    describe_lines,
    find_tls,
    find_tls_header,
    is_tls_header,
    line_end,
    looks_like_tls,
    may_be_tls,
    next_line,
    text_or_not,
)
from analyzer.protocols.sasl import Exchange, decode_base64
from analyzer.protocols.side import (
    DISCARD,
    DOT_BODY,
    HOLD,
    HOLD_COMPRESS,
    HOLD_NONE,
    HOLD_PROTOCOL,
    HOLD_STARTTLS,
    LIMBO,
    LINES,
    OCTETS,
    OPAQUE,
    Side,
)
from analyzer.protocols.unnamed import could_be_response

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

#: Longest line kept. RFC 5321 allows 512, IMAP servers take 8 to 64 KiB; SASL tokens (Kerberos) reach 12 KiB: RFC 4954 section 4.
MAX_LINE: Final = 65536
#: Octets of a side that may wait for the other side's word.
MAX_HELD: Final = 65536
#: Pieces of the client's text behind a grant of STARTTLS that keep their own frames; those beyond share the last one's.
MAX_PLACES: Final = 256
#: Octets that one direction of a compressed session may inflate to, in all.
MAX_INFLATED: Final = 256 * 1024 * 1024
#: Octets inflated at a time.
INFLATE_STEP: Final = 65536
#: Dots of one piece of a body that are looked at one by one.
MAX_DOTS: Final = 64
#: Characters kept of an anomaly's detail, and of a reply.
MAX_DETAIL: Final = 200
#: Anomalies told of one session; more of them say nothing new. How many were left out is in ``anomalies_dropped``.
MAX_ANOMALIES: Final = 100


def response_form(line: bytes) -> bool:
    """Whether a line has the form of a SASL response in base64: one that may belong to an authentication whose beginning is missing."""
    if not line or line.find(b" ") >= 0:
        return False
    decoded = decode_base64(line)
    return decoded is not None and could_be_response(decoded)


@mypyc_attr(acyclic=True)
class Dissector:
    """Base of the mail dissectors. A protocol overrides the methods of its second half; none of them may raise on input."""

    def __init__(self, protocol: str) -> None:
        #: word of the ``protocol`` column; SMTP changes it to ``lmtp`` on LHLO
        self.protocol = protocol
        self.client: Side = Side()
        self.server: Side = Side()
        self.at: Position = Position(0, 0, 0)
        #: for ``block_data``: how many lines of the piece of a dot-terminated body begin with a dot; -1: not counted
        self.stuffed: i64 = -1
        #: stream offset of the line being handled
        self.line_offset: i64 = 0
        self.events: list[Event] = []
        #: TLS octets have been met: the owner takes ``trailing_data`` and feeds a TLS dissector from now on
        self.tls_started: bool = False
        #: for ``block_ended``: the end of the block or body was seen, and not concluded from something else
        self.end_seen: bool = True
        #: octets of either side are known to be missing: TLS may begin among what is not seen
        self._gap_seen: bool = False
        self._granted: bool = False
        #: the grant was seen, so that nothing but TLS is due behind it
        self._grant_seen: bool = False
        self._injected: bytes = b""
        #: where each part stands of the client's text that came behind the grant and waits (LIMBO); None where none does
        self._text_at: list[Position] | None = None
        #: octets at the end of what the server has said behind the grant that may begin TLS, too few to tell
        self._reply_begun: bytes = b""
        #: the last octets of it, where they may begin a TLS record
        self._header_begun: bytes = b""
        self._trailing_client: bytes = b""
        self._trailing_server: bytes = b""
        self._exchange: Exchange | None = None
        self._exchange_number: int = 0
        #: where the client's last word of the exchange stands: the evidence for what is told later
        self._exchange_frame: i64 = 0
        self._exchange_ns: i64 = 0
        self._exchange_offset: i64 = 0
        self._exchange_told: bool = False
        #: what looks like an exchange may be something else: nothing is told of it before the server has answered it
        self._exchange_doubtful: bool = False
        #: its command was not captured
        self._exchange_stray: bool = False
        #: some of what the client said in it may be missing
        self._exchange_torn: bool = False
        #: the owner sets it where the capture lacks the connection's beginning: the first lines may be anything
        self.midstream: bool = False
        self._anomalies: i64 = 0
        #: anomalies left out for :data:`MAX_ANOMALIES`
        self.anomalies_dropped: i64 = 0
        #: commands understood so far: how sure one can be that this is the protocol
        self.commands: int = 0
        #: replies understood so far
        self.replies: int = 0
        #: the server said something that has the form of this protocol's replies, though nobody knows to what
        self.reply_seen: bool = False

    # -- for the owner -------------------------------------------------------------------------------------------------

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
            self._feed(sender, side, data)
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
            # No use waiting for the answer: read what waits as if it had come, then the gap is where it leads.
            self._release_all(sender, side)
            if side.mode == HOLD:
                self._overflow(sender, side)
        if side.mode == LIMBO:
            self._judge_few(sender)
        self._gap(sender, side, size)
        return self.events

    def _gap(self, sender: Sender, side: Side, size: i64) -> None:
        mode = side.mode
        if mode == LINES:
            begun = side.take()
            if begun and sender == SERVER and self.reply_readable(begun):
                # Cut off in its text (a snap length does that), but its first words say all that matters.
                self.line_offset = side.offset
                if side.skipping:
                    self.torn_line(sender, begun)
                else:
                    self.server_line(begun)
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

    def receive_eof(self, sender: Sender, at: Position) -> list[Event]:
        """One direction has ended."""
        self.events = []
        self.at = at
        side = self.server if sender == SERVER else self.client
        # What waits for the server's word waits on: it may still speak, and finish() is the end of all waiting.
        if self._text_at is not None:
            if sender == CLIENT:
                self._text_goes_on()
        elif self._granted and not self.tls_started:
            self._judge_few(CLIENT)  # whoever ends: without the server there will be no more of a handshake
            if sender == SERVER:
                self._judge_few(SERVER)
            if self._grant_seen and not self.tls_started:
                self._end_limbo(sender)
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
        self._release_all(CLIENT, self.client)
        if self._granted and not self.tls_started:
            self._judge_few(CLIENT)
            self._judge_few(SERVER)
        if self._granted and not self.tls_started:
            if self._grant_seen:
                self._end_limbo(SERVER)
                self._end_limbo(CLIENT)
            elif self.server.parts_size or self.client.parts_size:
                self._text_goes_on()
        self.session_ended()
        if self._exchange is not None:
            self._tell_credentials(self._exchange)
            self._exchange = None
        return self.events

    def settled(self) -> bool:
        """Whether :meth:`finish` would tell nothing, provided that no octets come any more."""
        return self._exchange is None and not self._granted and self.client.parts_size == 0 and self.nothing_open()

    def trailing_data(self, sender: Sender) -> bytes:
        """The TLS octets met so far of one direction, after :attr:`tls_started`; handed over once."""
        if sender == SERVER:
            data = self._trailing_server
            self._trailing_server = b""
        else:
            data = self._trailing_client
            self._trailing_client = b""
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

    def server_heard(self) -> bool:
        """Whether any reply was understood: if not, the capture may hold the client's direction alone."""
        return self.replies > 0

    # -- for the protocol: what comes next ---------------------------------------------------------------------------------

    def client_missing(self) -> None:
        """A reply came that answers no command: where the client was never heard, its half is not in the capture, and may have asked for TLS."""
        if self.client.end == 0:
            self._gap_seen = True

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def anomaly(self, sender: Sender, kind: str, detail: str) -> None:
        at = self.at
        if self._anomalies >= MAX_ANOMALIES:
            self.anomalies_dropped += 1
            return
        self._anomalies += 1
        if len(detail) > MAX_DETAIL:
            detail = detail[:MAX_DETAIL]
        self.events.append(Anomaly(sender, at.frame, at.timestamp_ns, self.line_offset, kind, detail))

    def _held_anomaly(self, sender: Sender, side: Side, kind: str, detail: str) -> None:
        """An anomaly of octets that waited: at the place where they stand, not where they were understood."""
        here = self.at
        if side.held_frame:
            self.at = Position(side.held_frame, side.held_ns, side.offset)
        self.line_offset = side.offset
        self.anomaly(sender, kind, detail)
        self.at = here

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
        self.client.mode = HOLD
        self.client.hold_reason = HOLD_PROTOCOL

    def release_client(self) -> None:
        """Read on what waited; call ``expect_octets`` or ``expect_dot_body`` first where a block is due."""
        side = self.client
        if side.mode == HOLD:
            side.mode = LINES
        side.hold_reason = HOLD_NONE
        waiting = side.take()
        if waiting:
            self._replay(CLIENT, side, waiting)

    def client_line_due(self) -> None:
        """The server has asked for a line: the client's next octets begin one, whatever was missing before."""
        side = self.client
        if side.mode == LINES and side.torn and side.parts_size == 0:
            side.torn = False
            side.skipping = False

    def client_waiting(self) -> bool:
        """Whether the client talked on before the answer."""
        return self.client.mode == HOLD and self.client.parts_size > 0

    # -- TLS whose beginning was not seen ------------------------------------------------------------------------------------

    def _begins_tls(self, sender: Sender, side: Side, data: bytes, offset: i64) -> bool:
        """Behind octets that are missing: whether TLS records begin here, so that the upgrade is among what is missing; True also while it may be so.

        ``offset`` is that of ``data`` in its stream; a line begins there, or is continued.
        """
        if not data:
            return False
        first = data[0] if side.parts_size == 0 else side.parts[0][0]
        if not 0x14 <= first <= 0x17 or side.inflater is not None:
            return False
        octets = side.take() + data
        if len(octets) < TLS_HEADER and looks_like_tls(octets):
            if len(octets) == len(data):
                side.offset = offset
            side.keep(octets)
            return True
        if not is_tls_header(octets):
            if len(octets) > len(data):
                side.keep(octets[: len(octets) - len(data)])
            return False
        self.tls_started = True
        self.server.take()
        self.client.take()
        self.client.mode = OPAQUE
        self.server.mode = OPAQUE
        side.tls_at = offset + len(data) - len(octets)
        if sender == CLIENT:
            self._trailing_client = octets
        else:
            self._trailing_server = octets
        at = self.at
        self.events.append(TlsStarted(sender, at.frame, at.timestamp_ns, side.tls_at))
        return True

    # -- STARTTLS ------------------------------------------------------------------------------------------------------------

    def starttls_requested(self) -> None:
        """The client's line just read asks for TLS."""
        at = self.at
        self.events.append(StartTlsRequested(CLIENT, at.frame, at.timestamp_ns, self.line_offset))
        self.client.mode = HOLD
        self.client.hold_reason = HOLD_STARTTLS

    def starttls_refused(self, reply: str) -> None:
        """The server's line just read says no; the session goes on in clear."""
        at = self.at
        self.events.append(StartTlsRefused(SERVER, at.frame, at.timestamp_ns, self.line_offset, reply[:MAX_DETAIL]))
        if self.client.hold_reason == HOLD_STARTTLS:
            self.release_client()

    def starttls_granted(self) -> None:
        """The server's line just read says yes."""
        at = self.at
        self.events.append(StartTlsAccepted(SERVER, at.frame, at.timestamp_ns, self.line_offset))
        self._granted = True
        self._grant_seen = True
        client = self.client
        client.hold_reason = HOLD_NONE
        injected = client.take()
        client.mode = LIMBO
        client.body_gap = False
        self.server.take()
        self.server.mode = LIMBO
        self.server.body_gap = False
        self._reply_begun = b""
        if injected:
            where = find_tls(injected, 0)
            if where >= 0:
                begun = injected[where:]
                self._injected = injected[:where]
                client.keep(begun)
                if not may_be_tls(begun):
                    self._tls_found()
            else:
                self._injected = injected

    def _limbo(self, sender: Sender, side: Side, data: bytes) -> None:
        """Octets behind the grant, in which nothing but TLS is due."""
        if sender == CLIENT:
            self._client_in_limbo(side, data)
        else:
            self._server_in_limbo(side, data)

    def _client_in_limbo(self, side: Side, data: bytes) -> None:
        if self._text_at is not None:
            self._wait_for_tls(side, data)
            return
        side.keep(data)
        if side.body_gap:
            # The handshake's beginning is missing: whatever is not text is taken for TLS.
            verdict = text_or_not(side.joined())
            if verdict > 0:
                self._text_goes_on()
            elif verdict < 0:
                self._tls_found()
            return
        data = side.joined()
        if may_be_tls(data):
            return
        if looks_like_tls(data):
            self._tls_found()
        elif self._injected and not self._injected.endswith(b"\n"):
            # The injected text was cut in two by the grant: the rest of its line is text as well, anything may follow.
            side.take()
            newline: i64 = data.find(b"\n")
            if newline < 0:
                self._injected += data
                if len(self._injected) > MAX_HELD:
                    self._text_goes_on()
                return
            self._injected += data[: newline + 1]
            if newline + 1 < len(data):
                self._client_in_limbo(side, data[newline + 1 :])
        elif self._grant_seen:
            side.take()
            self._text_at = []
            self._header_begun = b""
            side.line_start = True
            self._wait_for_tls(side, data)
        else:
            self._text_goes_on()

    def _server_in_limbo(self, side: Side, data: bytes) -> None:
        """Octets of the server behind its grant. They wait with the client's: who is in the right, only TLS or its absence tells."""
        begun = self._reply_begun
        self._reply_begun = b""
        look = begun + data if begun else data
        line_begins = bool(begun) or not side.parts_size or side.parts[-1].endswith(b"\n")
        side.keep(data)
        where = find_tls(look, 0 if line_begins else next_line(look, 0, len(look)))
        found = where >= 0
        if found:
            beginning = look[where : where + TLS_SURE]
            if may_be_tls(beginning):
                self._reply_begun = beginning
                return
        if side.body_gap and not found:
            verdict = text_or_not(side.joined())
            if verdict < 0:
                found = True
            elif verdict > 0:
                side.body_gap = False
        if found:
            self._tls_found()
        elif side.parts_size > MAX_HELD:
            self._text_goes_on()

    def _wait_for_tls(self, side: Side, data: bytes) -> None:
        """Text of the client behind the grant. It was slipped in, or crossed the grant, if TLS begins behind it; till then it waits.

        The server's next word, a gap and the client's end show that it was a command like any other: STARTTLS was granted and not used.
        """
        places = self._text_at
        if places is None:
            return
        begun = self._header_begun
        self._header_begun = b""
        look = begun + data if begun else data
        size: i64 = len(look)
        where = find_tls_header(look, 0 if begun or side.line_start else next_line(look, 0, size))
        side.keep(data)
        if where >= 0:
            if size - where >= TLS_HEADER:
                waited = side.take()
                text: i64 = len(waited) - (size - where)
                self._injected += waited[:text]
                side.keep(waited[text:])
                self._text_at = None
                self._tls_found()
                return
            self._header_begun = look[where:]
        side.line_start = look[size - 1] == 10
        places.append(self.at if len(places) < MAX_PLACES else places[MAX_PLACES - 1])
        if side.parts_size + len(self._injected) > MAX_HELD:
            self._text_goes_on()

    def _tls_found(self, few: bool = False) -> None:
        """TLS has begun. With ``few`` it is only taken for that: then what the server has said since may be its word on what it got."""
        at = self.at
        self.tls_started = True
        client, server = self.client, self.server
        # Where nothing of the client waits, the server began: its own offset is that of some line before.
        begins = client.offset + len(self._injected) if client.parts_size or self._injected else client.end
        if self._injected:
            self._held_anomaly(CLIENT, client, STARTTLS_COMMAND_INJECTION, describe_lines(self._injected))
            self._injected = b""
        replies = server.take()
        if replies:
            where = 0 if server.body_gap else find_tls(replies, 0)
            text = replies if where < 0 else replies[:where]
            if text and self._grant_seen and not (few and server.held_frame > client.held_frame):
                self._held_anomaly(SERVER, server, STARTTLS_RESPONSE_INJECTION, describe_lines(text))
            self._trailing_server = b"" if where < 0 else replies[where:]
            if where >= 0:
                server.tls_at = server.offset + where
        self._trailing_client = client.take()
        client.tls_at = begins
        client.mode = OPAQUE
        server.mode = OPAQUE
        self.events.append(TlsStarted(CLIENT, at.frame, at.timestamp_ns, begins))

    def _text_goes_on(self) -> None:
        """Granted, yet no TLS: a decrypting proxy's capture, a tunnel, or a broken server. Read on as text (RFC 3207 section 4.2)."""
        client, server = self.client, self.server
        here = self.at
        places = self._text_at
        waited = client.parts
        replies = server.take()
        commands = self._injected + client.take()
        offset = client.offset
        if places is not None:
            # It has waited for the server's word, which is read next: what it leads to belongs where it stands.
            self._text_at = None
            self.at = places[0]
            commands = self._injected
            offset += len(commands)
        self._injected = b""
        self._granted = False
        client.mode = LINES
        server.mode = LINES
        client.held_frame = server.held_frame = self.at.frame
        client.held_ns = server.held_ns = self.at.timestamp_ns
        self.line_offset = client.offset
        if self._grant_seen:
            self.anomaly(CLIENT, STARTTLS_WITHOUT_TLS, "text went on after the server had granted TLS")
        self._gap_seen = True  # TLS may begin behind it all the same: the text crossed the grant, or was slipped in
        self.upgraded()
        if replies:
            end = client.end
            if commands or places is not None:
                client.end = client.offset  # as far as it was read when the server said this
            self._replay(SERVER, server, replies)
            client.end = end
        if commands:
            self._replay(CLIENT, client, commands)
        if places is not None:
            for number, place in enumerate(places):
                self.at = Position(place.frame, place.timestamp_ns, offset)
                if client.mode != LINES or not self._begins_tls(CLIENT, client, waited[number], offset):
                    self._feed(CLIENT, client, waited[number])
                offset += len(waited[number])
        self.at = here

    def _judge_few(self, sender: Sender) -> None:
        """No further octets come behind the few that one side has sent since the grant: what looks like TLS so far is taken for it."""
        if self.tls_started or self._text_at is not None:
            return
        client = self.client
        if sender == SERVER:
            if self._reply_begun:
                self._tls_found()
        elif client.mode == LIMBO and client.parts_size and not client.body_gap and may_be_tls(client.joined()):
            self._tls_found(few=True)

    def _end_limbo(self, sender: Sender) -> None:
        if sender == CLIENT:
            if self._injected:
                self._held_anomaly(CLIENT, self.client, STARTTLS_COMMAND_INJECTION, describe_lines(self._injected))
                self._injected = b""
        elif self.server.parts_size:
            self._held_anomaly(SERVER, self.server, STARTTLS_WITHOUT_TLS, describe_lines(self.server.take()))

    # -- COMPRESS ------------------------------------------------------------------------------------------------------------

    def compress_requested(self) -> None:
        """The client's line just read asks for COMPRESS=DEFLATE (RFC 4978)."""
        self.client.mode = HOLD
        self.client.hold_reason = HOLD_COMPRESS

    def compress_refused(self) -> None:
        if self.client.hold_reason == HOLD_COMPRESS:
            self.release_client()

    def compress_granted(self) -> None:
        """The server's line just read says yes: all octets behind it, and the client's next ones, are deflated."""
        at = self.at
        self.events.append(CompressionStarted(SERVER, at.frame, at.timestamp_ns, self.line_offset))
        client, server = self.client, self.server
        client.hold_reason = HOLD_NONE
        waiting = client.take()
        client.mode = LINES
        client.inflater = zlib.decompressobj(-15)
        server.inflater = zlib.decompressobj(-15)
        server.inflate_rest = True
        if waiting:
            self._inflate(CLIENT, client, waiting)

    def _inflate(self, sender: Sender, side: Side, data: bytes) -> None:
        inflater = side.inflater
        if inflater is None or side.mode == DISCARD:
            return
        while data:
            try:
                text = inflater.decompress(data, INFLATE_STEP)
            except zlib.error as error:
                self._compression_lost(sender, side, str(error))
                return
            data = inflater.unconsumed_tail
            side.inflated += len(text)
            if side.inflated > MAX_INFLATED:
                self._compression_lost(sender, side, "inflates to more than mailtap reads")
                return
            if text:
                self._feed(sender, side, text)
                if side.mode == DISCARD:
                    return
            elif not data:
                break
        if inflater.eof:
            if inflater.unused_data:
                self._compression_lost(sender, side, "octets behind the end of the deflated stream")
            else:
                # A tidy end: some servers finish the stream when they say goodbye.
                side.mode = DISCARD
                side.take()

    def _compression_lost(self, sender: Sender, side: Side, why: str) -> None:
        if side.mode != DISCARD:
            side.mode = DISCARD
            side.take()
            self.anomaly(sender, COMPRESSED_STREAM_LOST, why)
            self._lost(sender)

    # -- SASL ------------------------------------------------------------------------------------------------------------------

    def begin_exchange(self, mechanism: str) -> None:
        """The client asks for an authentication by this mechanism."""
        self._exchange = Exchange(mechanism)
        self._exchange_number += 1
        self._exchange_told = False
        self._exchange_doubtful = False
        self._exchange_stray = False
        self._exchange_torn = False
        self._mark_exchange()

    def begin_stray_exchange(self, doubtful: bool) -> None:
        """An authentication goes on whose beginning, the mechanism's name included, was not captured.

        ``doubtful``: so it seems, by what the client has sent. Nothing is told before :meth:`exchange_confirmed`.
        """
        self.begin_exchange("")
        self._exchange_stray = True
        self._exchange_doubtful = doubtful

    def exchange_stray(self) -> bool:
        """Whether an authentication is going on of which the command was not captured."""
        return self._exchange_stray and self._exchange is not None

    def exchange_confirmed(self) -> None:
        """The server's word: what looked like an authentication was one."""
        self._exchange_doubtful = False

    def exchange_told(self) -> None:
        """Tell what is known of the exchange by now."""
        if self._exchange is not None:
            self._tell_credentials(self._exchange)

    def exchange_open(self) -> bool:
        """Whether an authentication is going on."""
        return self._exchange is not None

    def exchange_complete(self) -> bool:
        """Whether all credentials of the authentication that goes on are on the wire: the server has the word, none is due from the client."""
        return self._exchange is not None and self._exchange.complete

    def exchange_dropped(self) -> None:
        """How the authentication ends will not be known: tell what was sent, and leave it."""
        if self._exchange is not None:
            self._tell_credentials(self._exchange)
            self._exchange = None

    def exchange_response(self, encoded: bytes) -> None:
        """A SASL response of the client, in base64; ``=`` is an empty one where it stands alone (RFC 4954 section 4)."""
        exchange = self._exchange
        if exchange is None:
            return
        if encoded == b"=":
            encoded = b""
        decoded = decode_base64(encoded)
        if decoded is None:
            if exchange.mechanism:
                self.anomaly(CLIENT, MALFORMED_SASL, f"{exchange.mechanism}: the client's response is not base64")
            return
        self.exchange_octets(decoded)

    def exchange_octets(self, decoded: bytes) -> None:
        """A SASL response of the client, decoded."""
        exchange = self._exchange
        if exchange is None:
            return
        self._mark_exchange()
        exchange.receive_response(decoded)
        if exchange.malformed is not None:
            self.anomaly(CLIENT, MALFORMED_SASL, f"{exchange.mechanism}: {exchange.malformed}")
            exchange.malformed = None
        if exchange.complete and not self._exchange_told:
            self._tell_credentials(exchange)

    def exchange_challenge(self, encoded: bytes) -> None:
        """A SASL challenge of the server, in base64. Servers write prose there too; what does not decode is no challenge."""
        exchange = self._exchange
        if exchange is None:
            return
        decoded = decode_base64(encoded)
        if decoded is not None:
            exchange.receive_challenge(decoded)

    def exchange_ended(self, outcome: str, reply: str) -> None:
        """The exchange is over: ``accepted``, ``rejected`` or ``cancelled``."""
        exchange = self._exchange
        if exchange is None:
            return
        if not exchange.mechanism or self._exchange_doubtful:
            self._exchange = None  # nobody knows what it was
            return
        if not self._exchange_told:
            exchange.finish(outcome)
            self._tell_credentials(exchange)
        self._exchange = None
        if self._exchange_torn and outcome == REJECTED and not exchange.complete:
            return  # the client may have given up: what it said last is missing
        at = self.at
        sender = CLIENT if outcome == CANCELLED else SERVER
        self.events.append(
            AuthenticationEnded(
                sender, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, outcome, reply[:MAX_DETAIL]
            )
        )

    def tell_login(self, mechanism: str, username: str | None, password: str | None, kind: str) -> int:
        """Credentials of a mechanism outside SASL (USER/PASS, LOGIN); returns the exchange's number, for ``tell_outcome``."""
        self._exchange_number += 1
        at = self.at
        secret = None if password is None else Secret(password)
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, mechanism, username, None,
                secret, kind, None, None,
            )
        )  # fmt: skip
        return self._exchange_number

    def tell_digest(self, mechanism: str, username: str | None, challenge: str | None, digest: str) -> int:
        """Credentials of a challenge-response mechanism outside SASL (APOP); returns the exchange's number, for ``tell_outcome``."""
        self._exchange_number += 1
        at = self.at
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, mechanism, username, None,
                None, CHALLENGE_RESPONSE, challenge, Secret(digest),
            )
        )  # fmt: skip
        return self._exchange_number

    def tell_outcome(self, exchange: int, outcome: str, reply: str) -> None:
        at = self.at
        self.events.append(
            AuthenticationEnded(
                SERVER, at.frame, at.timestamp_ns, self.line_offset, exchange, outcome, reply[:MAX_DETAIL]
            )
        )

    def _mark_exchange(self) -> None:
        at = self.at
        self._exchange_frame = at.frame
        self._exchange_ns = at.timestamp_ns
        self._exchange_offset = self.line_offset

    def _tell_credentials(self, exchange: Exchange) -> None:
        if self._exchange_told or self._exchange_doubtful or not exchange.known():
            return
        self._exchange_told = True
        at = Position(self._exchange_frame, self._exchange_ns, 0)
        self.tell_exchange(exchange, self._exchange_number, at, self._exchange_offset)

    def tell_exchange(self, exchange: Exchange, number: int, at: Position, offset: i64) -> None:
        """Tell what is known of an authentication: its number, and where the client's last word of it stands."""
        if not exchange.known():
            return
        secret = None if exchange.secret is None else Secret(exchange.secret)
        response = None if exchange.response is None else Secret(exchange.response)
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, offset, number, exchange.mechanism, exchange.username, exchange.authzid,
                secret, exchange.secret_kind, exchange.challenge, response,
            )
        )  # fmt: skip

    # -- framing -------------------------------------------------------------------------------------------------------------

    def _feed(self, sender: Sender, side: Side, data: bytes) -> None:
        at: i64 = 0
        size: i64 = len(data)
        base = self.at.offset
        while at < size:
            mode = side.mode
            if mode == LINES:
                if at > 0 and (self._gap_seen or self.midstream) and 0x14 <= data[at] <= 0x17:
                    if self._begins_tls(sender, side, data[at:], base + at):
                        return
                newline = line_end(data, at, size)
                if newline < 0:
                    self._keep_line(sender, side, data[at:] if at else data, base + at)
                    return
                torn = False
                if side.parts_size + newline - at > MAX_LINE:
                    self._keep_line(sender, side, data[at:newline], base + at)
                if side.skipping:
                    side.skipping = False
                    torn = side.torn
                    if not torn:
                        at = newline + 1
                        continue
                    side.torn = False
                if side.parts_size:
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
                if torn:
                    self.torn_line(sender, line)
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
                at = self._dot_body(sender, side, data, at, size)
            elif mode == HOLD:
                if side.parts_size == 0:
                    side.offset = base + at
                    side.held_frame = self.at.frame
                    side.held_ns = self.at.timestamp_ns
                side.keep(data[at:] if at else data)
                if side.parts_size > MAX_HELD:
                    self._overflow(sender, side)
                return
            elif mode == LIMBO:
                if sender == SERVER and self._text_at is not None:
                    # An answer in clear, or TLS: the client's text is no part of that.
                    self._text_goes_on()
                    if side.mode == LINES and self._begins_tls(sender, side, data[at:] if at else data, base + at):
                        return
                    continue
                if side.parts_size == 0 and not (sender == CLIENT and self._injected):
                    side.offset = base + at
                    side.held_frame = self.at.frame
                    side.held_ns = self.at.timestamp_ns
                self._limbo(sender, side, data[at:] if at else data)
                return
            elif mode == OPAQUE:
                rest = data[at:] if at else data
                if not (self._trailing_server if sender == SERVER else self._trailing_client):
                    side.tls_at = base + at
                if sender == SERVER:
                    self._trailing_server += rest
                else:
                    self._trailing_client += rest
                return
            else:
                return

    def _keep_line(self, sender: Sender, side: Side, data: bytes, offset: i64) -> None:
        if side.skipping and not side.torn:
            return
        if side.parts_size == 0:
            side.offset = offset
        side.keep(data)
        if side.parts_size > MAX_LINE:
            side.take()
            side.skipping = True
            side.torn = False
            self.line_offset = side.offset
            self.anomaly(sender, LINE_TOO_LONG, f"a line of more than {MAX_LINE} octets was skipped")
            self.line_skipped(sender)

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

    def _replay(self, sender: Sender, side: Side, data: bytes) -> None:
        """Feed octets that waited, at the place where they stood in their stream."""
        here = self.at
        self.at = Position(side.held_frame, side.held_ns, side.offset)
        self._feed(sender, side, data)
        self.at = here

    def _release_all(self, sender: Sender, side: Side) -> None:
        """Read all that waits as if each answer had been yes. Each turn reads at least a line or gets into another mode."""
        while side.mode == HOLD and side.parts_size:
            self._overflow(sender, side)

    def _overflow(self, sender: Sender, side: Side) -> None:
        """The answer does not come, or too late: go on as if it had been yes."""
        reason = side.hold_reason
        if reason == HOLD_STARTTLS:
            waiting = side.take()
            side.hold_reason = HOLD_NONE
            self._granted = True
            self._grant_seen = False
            side.mode = LIMBO
            side.body_gap = False
            self.server.mode = LIMBO
            self.server.body_gap = False
            self._reply_begun = b""
            if waiting:
                begins = find_tls(waiting, 0)
                if begins > 0 and is_tls_header(waiting[begins:]) and not asks_for_tls(waiting[:begins]):
                    # The answer is missing, but was yes: TLS begins, and nothing before it has asked again.
                    self._injected = waiting[:begins]
                    side.keep(waiting[begins:])
                    self._tls_found()
                else:
                    self._limbo(sender, side, waiting)
        elif reason == HOLD_COMPRESS:
            side.hold_reason = HOLD_NONE
            side.take()
            side.mode = DISCARD
            self.anomaly(sender, COMPRESSED_STREAM_LOST, "the server's answer to COMPRESS was not seen")
        else:
            self.answer_missing()
            if side.mode == HOLD:
                self.release_client()
            elif side.parts_size and side.mode != LINES:
                self.release_client()

    def _lost(self, sender: Sender) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.missed(sender == SERVER)
            if sender == CLIENT:
                self._exchange_torn = True
        self.sync_lost(sender)
        if sender == SERVER and self.client.mode == HOLD:
            self._release_all(CLIENT, self.client)
            if self.client.mode == HOLD:
                self._overflow(CLIENT, self.client)

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

    def line_skipped(self, sender: Sender) -> None:
        """A line was too long to keep: whatever it was, a command or a reply went by."""

    def answer_missing(self) -> None:
        """The client is on hold and no answer will come: call ``expect_octets`` ... as if it had been granted."""

    def reply_readable(self, line: bytes) -> bool:
        """Whether a reply of which the end is missing can be understood from its beginning."""
        return False

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
