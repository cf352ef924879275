"""The way into TLS: STARTTLS, and TLS whose beginning was not captured.

A client that has asked for TLS is on hold until the server has answered. After a yes both sides are in *limbo*: TLS is due, but text
may come, and often the first octets are too few to tell. Text before TLS was slipped in by somebody (CVE-2011-0411 from the client's
side, its like from the server's), or crossed the grant; text without TLS means a decrypting proxy's capture, a tunnel, or a broken
server. Where octets are missing, the upgrade may be among them, and TLS is looked for wherever a line may begin.

How a stream was cut into pieces decides nothing: what may or may not be TLS waits for more, and is judged as it is where no more comes.

This module is over 300 lines long because the two sides in limbo are judged by each other's octets.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.compression import Compression
from analyzer.protocols.events import (
    STARTTLS_COMMAND_INJECTION,
    STARTTLS_RESPONSE_INJECTION,
    STARTTLS_WITHOUT_TLS,
    StartTlsAccepted,
    StartTlsRefused,
    StartTlsRequested,
    TlsStarted,
)
from analyzer.protocols.framing import MAX_HELD
from analyzer.protocols.grammar import MAX_DETAIL
from analyzer.protocols.octets import (
    TLS_HEADER,
    TLS_SURE,
    asks_for_tls,
    describe_lines,
    find_tls,
    find_tls_header,
    is_tls_header,
    looks_like_tls,
    may_be_tls,
    next_line,
    text_or_not,
)
from analyzer.protocols.side import HOLD_NONE, HOLD_STARTTLS, LIMBO, LINES, OPAQUE, Side

#: Pieces of the client's text behind a grant of STARTTLS that keep their own frames; those beyond share the last one's.
MAX_PLACES: Final = 256
#: Requests in vain behind which all that waits is looked through for TLS; whoever asks on and on gets none.
MAX_IN_VAIN: Final = 64


@mypyc_attr(acyclic=True)
class StartTls(Compression):
    """Finds where TLS begins, and what was said in clear before it that should not have been.

    It relies on framing to hand over what stands behind a grant (``_taken``) and what may be TLS behind a gap (``_begins_tls``), and
    feeds framing again where text goes on. Of COMPRESS it knows that inflated octets are no place for TLS to begin.
    """

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        #: TLS octets have been met: the owner takes ``trailing_data`` and feeds a TLS dissector from now on
        self.tls_started: bool = False
        #: the server has said yes, or its answer is missing and taken for a yes; False again where text goes on
        self._granted: bool = False
        #: the grant was seen, so that nothing but TLS is due behind it
        self._grant_seen: bool = False
        #: the client's text before TLS: slipped in, or crossed the grant
        self._injected: bytes = b""
        #: requests to which no answer came
        self._in_vain: i64 = 0
        #: the grant has cut the last line of that, and what came behind it so far goes on with the line
        self._in_cut_line: bool = False
        #: where each part stands of the client's text that came behind the grant and waits (LIMBO); None where none does
        self._text_at: list[Position] | None = None
        #: octets at the end of what the server has said behind the grant that may begin TLS, too few to tell
        self._reply_begun: bytes = b""
        #: the last octets of the client's text that waits, where they may begin a TLS record
        self._header_begun: bytes = b""

    # -- TLS whose beginning was not seen ------------------------------------------------------------------------------------

    def _begins_tls(self, sender: Sender, side: Side, data: bytes, offset: i64) -> bool:
        """Behind octets that are missing: whether TLS records begin here, so that the upgrade is among what is missing; True also while it may be so.

        ``offset`` is that of ``data`` in its stream; a line begins there, or is continued.
        """
        if not data:
            return False
        first = data[0] if side.parts_size == 0 else side.parts[0][side.parts_from]
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
        side.tls = octets
        at = self.at
        self.events.append(TlsStarted(sender, at.frame, at.timestamp_ns, side.tls_at))
        return True

    # -- STARTTLS ------------------------------------------------------------------------------------------------------------

    def starttls_requested(self) -> None:
        """The client's line just read asks for TLS."""
        at = self.at
        self.events.append(StartTlsRequested(CLIENT, at.frame, at.timestamp_ns, self.line_offset))
        self._hold(HOLD_STARTTLS)

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
        injected = self._enter_limbo(grant_seen=True)
        self.server.take()
        if injected:
            where = find_tls(injected, 0)
            if where >= 0:
                begun = injected[where:]
                self._injected = injected[:where]
                self.client.keep(begun)
                if not may_be_tls(begun):
                    self._tls_found()
            else:
                self._injected = injected

    def _overflow(self) -> None:
        client = self.client
        if client.hold_reason != HOLD_STARTTLS:
            super()._overflow()
            return
        self._in_vain += 1
        if self._in_vain > MAX_IN_VAIN:
            super()._overflow()
            return
        waiting = self._enter_limbo(grant_seen=False)
        if waiting:
            begins = find_tls(waiting, 0)
            if begins > 0 and is_tls_header(waiting[begins:]) and not asks_for_tls(waiting[:begins]):
                # The answer is missing, but was yes: TLS begins, and nothing before it has asked again.
                self._injected = waiting[:begins]
                client.keep(waiting[begins:])
                self._tls_found()
            else:
                self._client_in_limbo(client, waiting)

    def text_again(self) -> None:
        """TLS has begun and come to nothing: from now on the owner feeds what is text behind it, and the dialogue stands where it stood."""
        self.tls_started = False
        self._granted = False
        self._text_at = None
        self._injected = b""
        self._in_cut_line = False
        self._reply_begun = b""
        self._header_begun = b""
        for side in (self.client, self.server):
            side.take()
            side.mode = LINES
            side.hold_reason = HOLD_NONE
            side.skipping = False
            side.torn = False
            side.body_gap = False
        self._gap_seen = True  # TLS may be tried once more

    # -- limbo -----------------------------------------------------------------------------------------------------------------

    def _enter_limbo(self, grant_seen: bool) -> bytes:
        """TLS or text: the next octets tell. What the client had sent before the answer."""
        client, server = self.client, self.server
        self._granted = True
        self._grant_seen = grant_seen
        self._in_cut_line = False
        self._reply_begun = b""
        client.hold_reason = HOLD_NONE
        waiting = client.take()
        client.mode = LIMBO
        client.body_gap = False
        server.mode = LIMBO
        server.body_gap = False
        return waiting

    def _taken(self, sender: Sender, side: Side, data: bytes, offset: i64) -> bool:
        if side.mode == LIMBO:
            if sender == SERVER and self._text_at is not None:
                # An answer in clear, or TLS: the client's text is no part of that.
                self._text_goes_on()
                return side.mode == LINES and self._begins_tls(sender, side, data, offset)
            if side.parts_size == 0 and not (sender == CLIENT and self._injected):
                side.wait_from(offset, self.at)
            if sender == CLIENT:
                self._client_in_limbo(side, data)
            else:
                self._server_in_limbo(side, data)
        elif side.mode == OPAQUE:
            if not side.tls:
                side.tls_at = offset
            side.tls += data
        return True

    def _client_in_limbo(self, side: Side, data: bytes) -> None:
        """Octets of the client behind the grant, in which nothing but TLS is due."""
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
        if not self._in_cut_line and looks_like_tls(data):
            if not may_be_tls(data):
                self._tls_found()
        elif self._injected and not self._injected.endswith(b"\n"):
            # The injected text was cut in two by the grant: the rest of its line is text as well, anything may follow.
            side.take()
            newline: i64 = data.find(b"\n")
            self._in_cut_line = newline < 0
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
        if side.body_gap:
            verdict = text_or_not(side.joined())
            if verdict < 0:
                self._tls_found()
                return
            side.body_gap = verdict == 0
        where = find_tls(look, 0 if line_begins else next_line(look, 0, len(look)))
        if where >= 0:
            beginning = look[where : where + TLS_SURE]
            if may_be_tls(beginning):
                self._reply_begun = beginning
            else:
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
        self._tell_injected()
        replies = server.take()
        if replies:
            where = 0 if server.body_gap else find_tls(replies, 0)
            text = replies if where < 0 else replies[:where]
            if text and self._grant_seen and not (few and server.held_frame > client.held_frame):
                self._held_anomaly(SERVER, server, STARTTLS_RESPONSE_INJECTION, describe_lines(text))
            server.tls = b"" if where < 0 else replies[where:]
            if where >= 0:
                server.tls_at = server.end - len(server.tls)
        client.tls = client.take()
        client.tls_at = begins
        client.mode = OPAQUE
        server.mode = OPAQUE
        self.events.append(TlsStarted(CLIENT, at.frame, at.timestamp_ns, begins))

    def _text_goes_on(self) -> None:
        """Granted, yet no TLS: a decrypting proxy's capture, a tunnel, or a broken server. Read on as text (RFC 3207 section 4.2)."""
        client, server = self.client, self.server
        here = self.at
        places = self._text_at
        client.settle()
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
                    self._feed(CLIENT, client, waited[number], 0)
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

    def _limbo_side_ended(self, sender: Sender) -> None:
        """One direction has ended, perhaps in limbo."""
        # What waits for the server's word waits on: it may still speak, and the session's end is the end of all waiting.
        if self._text_at is not None:
            if sender == CLIENT:
                self._text_goes_on()
        elif self._granted and not self.tls_started:
            self._judge_few(CLIENT)  # whoever ends: without the server there will be no more of a handshake
            if sender == SERVER:
                self._judge_few(SERVER)
            if self._grant_seen and not self.tls_started:
                self._end_limbo(sender)

    def _limbo_over(self) -> None:
        """The session is over, perhaps in limbo."""
        if self._granted and not self.tls_started:
            self._judge_few(CLIENT)
            self._judge_few(SERVER)
        if self._granted and not self.tls_started:
            if self._grant_seen:
                self._end_limbo(CLIENT)
                self._end_limbo(SERVER)
            elif self.server.parts_size or self.client.parts_size:
                self._text_goes_on()

    def _end_limbo(self, sender: Sender) -> None:
        """A side sends no more: tell what it has said in clear where TLS was due."""
        if self._injected:
            self._read_injected()
        elif sender == SERVER and self.server.parts_size:
            self._held_anomaly(SERVER, self.server, STARTTLS_WITHOUT_TLS, describe_lines(self.server.take()))

    def _read_injected(self) -> None:
        """TLS does not come any more: what the client had sent in front of it is told, and read, for it was in clear."""
        client, server = self.client, self.server
        commands = self._injected
        replies = b""
        self._tell_injected()
        if server.parts_size:
            replies = server.take()
            self._held_anomaly(SERVER, server, STARTTLS_WITHOUT_TLS, describe_lines(replies))
        end, rest = client.end, client.take()
        self._granted = False
        self._gap_seen = True  # a hello may have crossed the server's end
        client.mode = LINES
        server.mode = LINES
        self._replay(CLIENT, client, commands + rest)
        if replies:
            client.end = client.offset
            self._replay(SERVER, server, replies)
            client.end = end

    def _tell_injected(self) -> None:
        """The client's text before TLS, if there is any."""
        if self._injected:
            self._held_anomaly(CLIENT, self.client, STARTTLS_COMMAND_INJECTION, describe_lines(self._injected))
            self._injected = b""

    def _held_anomaly(self, sender: Sender, side: Side, kind: str, detail: str) -> None:
        """An anomaly of octets that waited: at the place where they stand, not where they were understood."""
        here = self.at
        if side.held_frame:
            self.at = Position(side.held_frame, side.held_ns, side.offset)
        self.line_offset = side.offset
        self.anomaly(sender, kind, detail)
        self.at = here
