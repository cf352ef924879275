"""COMPRESS=DEFLATE (RFC 4978): from the server's yes on, the octets of both directions are deflated.

What they inflate to is framed like any other text. A stream that cannot be inflated any more, for a piece of it is missing or it is
no deflate, is given up: deflated octets make sense from their beginning on only.
"""

from __future__ import annotations

import zlib
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.events import COMPRESSED_STREAM_LOST, CompressionStarted
from analyzer.protocols.framing import Framing
from analyzer.protocols.side import DISCARD, HOLD_COMPRESS, HOLD_NONE, LINES, Side

#: Octets that one direction of a compressed session may inflate to, in all.
MAX_INFLATED: Final = 256 * 1024 * 1024
#: Octets inflated at a time.
INFLATE_STEP: Final = 65536


@mypyc_attr(acyclic=True)
class Compression(Framing):
    """Inflates both directions on their way into framing (``_feed``), and keeps the client on hold until the server has answered."""

    def compress_requested(self) -> None:
        """The client's line just read asks for COMPRESS=DEFLATE (RFC 4978)."""
        self._hold(HOLD_COMPRESS)

    def compress_refused(self) -> None:
        """The server's line just read says no."""
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
            # It stands where it began to wait, not where the server said yes.
            self.at = Position(client.held_frame, client.held_ns, client.offset)
            self._inflate(CLIENT, client, waiting)
            self.at = at

    def _inflate(self, sender: Sender, side: Side, data: bytes) -> None:
        inflater = side.inflater
        if inflater is None or side.mode == DISCARD:
            return
        here = self.at
        told: i64 = 0
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
                # Lines of one step are not where those of another are.
                self.at = Position(here.frame, here.timestamp_ns, here.offset + told)
                told += len(text)
                self._feed(sender, side, text, 0)
                self.at = here
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
        """Nothing more can be read of a direction."""
        if side.mode != DISCARD:
            side.mode = DISCARD
            side.take()
            self.anomaly(sender, COMPRESSED_STREAM_LOST, why)
            self._lost(sender)

    def _overflow(self) -> None:
        client = self.client
        if client.hold_reason != HOLD_COMPRESS:
            super()._overflow()
            return
        client.hold_reason = HOLD_NONE
        self.line_offset = client.offset  # of what waits, not of what the server said last
        client.take()
        client.mode = DISCARD
        self.anomaly(CLIENT, COMPRESSED_STREAM_LOST, "the server's answer to COMPRESS was not seen")
