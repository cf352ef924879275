"""A capture whose octets come bit by bit: compression and format are told by the first of them, records come out as they are complete.

What ``files`` does for a file that is whole, by pulling, this does by being pushed: for pipes, and for files that still grow. gzip, zstd,
lz4, xz and bzip2 are taken off as far as their writer has flushed them; a compressor that keeps much back makes everything later by as
much.
"""

from __future__ import annotations

import time
from typing import Final

from analyzer.capture.base import CaptureStats, Reader, RecordSink
from analyzer.capture.compressed import CHUNK, Decoder, compression_of, decoder_of
from analyzer.capture.files import MAX_LAYERS
from analyzer.capture.pcap import PcapReader
from analyzer.capture.pcapng import PcapngReader
from analyzer.capture.recognise import HEAD, describe, says_pcap, says_pcapng
from analyzer.errors import CaptureUnreadable

#: Octets of compressed data given at a time, so that one turn of the monitor stays short.
COMPRESSED_CHUNK: Final = 8192
#: Seconds for which a source tells of something that has happened.
NOTE_S: Final = 60.0
#: Octets by which pcap and pcapng are told.
_FORMAT: Final = 12
#: Octets by which compression is told.
_COMPRESSION: Final = 10
#: Octets a member of compressed data needs to be told from padding.
_MEMBER: Final = 18


class Layer:
    """One compression taken off: octets in, octets out."""

    def __init__(self, compression: str, name: str) -> None:
        self.compression = compression
        #: why nothing more comes out; empty while all is well
        self.trouble = ""
        self._name = name
        self._decoder: Decoder = decoder_of(compression, name)
        self._input = b""
        # Between two members.
        self._between = False

    def put(self, octets: bytes) -> None:
        """More of what is compressed. All that comes of it must be pulled before more is put."""
        self._input += octets

    def pull(self) -> bytes:
        """The next piece of what comes out, of bounded size; empty where there is none for now. Damage ends the layer, with ``trouble``."""
        while not self.trouble:
            if self._between:
                self._input = self._input.lstrip(b"\0")
                if len(self._input) < _MEMBER:
                    break
                kind = compression_of(self._input)
                if kind != self.compression and (kind, self.compression) != ("zstd", "lz4"):
                    self.trouble = f"{self.compression} data are followed by something else"
                    break
                self._decoder = decoder_of(self.compression, self._name)
                self._between = False
            octets = b""
            if self._decoder.hungry:
                octets = self._input
                self._input = b""
                if not octets:
                    break
            try:
                output = self._decoder.decode(octets)
            except self._decoder.errors as error:
                self.trouble = f"its {self.compression} data are broken ({error})"
                return self._decoder.rescue()
            if self._decoder.eof:
                self._between = True
                self._input = self._decoder.rest + self._input
            if output:
                return output
        return b""


class Note:
    """A sentence about something that has happened: shown for a while, then forgotten."""

    def __init__(self) -> None:
        self._text = ""
        self._until = 0.0

    def say(self, text: str) -> None:
        self._text = text
        self._until = time.monotonic() + NOTE_S

    def text(self) -> str:
        """The sentence, empty once its time is over."""
        if self._text and time.monotonic() >= self._until:
            self._text = ""
        return self._text


class Inlet:
    """One capture that comes bit by bit. ``feed`` it, ``close`` it when nothing more will come."""

    def __init__(self, name: str, sink: RecordSink) -> None:
        self.stats = CaptureStats(name)
        #: why nothing more is read of it: no capture, broken compression; empty while all is well
        self.trouble = ""
        #: octets taken in
        self.size = 0
        #: octets taken in since the trouble began
        self.unread = 0
        self._sink = sink
        self._reader: Reader | None = None
        self._layers: list[Layer] = []
        self._head = b""
        # The compression of what is in hand has been told.
        self._told = False

    @property
    def recognised(self) -> bool:
        """Whether it has turned out to be a capture."""
        return self._reader is not None

    @property
    def hopeless(self) -> bool:
        """Whether it cannot become a capture any more, though more of it would make a better message."""
        return self._told and self._reader is None and len(self._head) >= _FORMAT

    @property
    def step(self) -> int:
        """Octets to give it at a time: compressed ones can become a thousand times as many."""
        return COMPRESSED_CHUNK if self._layers else CHUNK

    def feed(self, octets: bytes) -> None:
        """Take the next octets and hand on every record that they complete. Never raises for what they are."""
        self.size += len(octets)
        if self.trouble:
            self.unread += len(octets)
            return
        self._push(octets, 0)
        for layer in self._layers:
            if layer.trouble and not self.trouble:
                self._stop(layer.trouble)

    def close(self) -> None:
        """Nothing more will come: what is left over is counted as cut."""
        if self._reader is None and self._head and not self.trouble:
            self._told = True
            self._tell(self._head, True)
        if self._reader is not None:
            self._reader.close()

    def retarget(self, sink: RecordSink) -> None:
        """Records go to another sink from now on."""
        self._sink = sink
        if self._reader is not None:
            self._reader.sink = sink

    def _stop(self, why: str) -> None:
        self.trouble = why
        self.stats.damaged += 1

    def _push(self, octets: bytes, level: int) -> None:
        """Octets from below layer number ``level``; behind the last layer they are the capture's own."""
        if level < len(self._layers):
            layer = self._layers[level]
            layer.put(octets)
            while True:
                piece = layer.pull()
                if not piece:
                    return
                self._push(piece, level + 1)
        if self._reader is not None:
            self._reader.feed(octets)
            return
        self._head += octets
        self._tell(self._head, False)

    def _tell(self, head: bytes, final: bool) -> None:
        """Tell what the octets in hand are, if there are enough of them."""
        if self._reader is None and not self._told:
            if len(head) < _COMPRESSION:
                return
            kind = compression_of(head)
            if kind == "zstd" and len(head) < HEAD and head[:4] != b"\x28\xb5\x2f\xfd":
                return  # a skippable frame: what follows it tells
            if kind and len(self._layers) < MAX_LAYERS:
                try:
                    self._layers.append(Layer(kind, self.stats.name))
                except CaptureUnreadable as error:
                    self._stop(str(error).removeprefix(f"{self.stats.name}: "))
                    return
                self._head = b""
                self._push(head, len(self._layers) - 1)
                return
            self._told = True
        if len(head) < _FORMAT and not final:
            return
        if says_pcap(head):
            self._reader = PcapReader(self.stats, self._sink)
        elif says_pcapng(head):
            self._reader = PcapngReader(self.stats, self._sink)
        elif len(head) >= HEAD or final or not _may_be_text(head):
            self._stop(describe(head))
            self.unread += len(head)
            self._head = b""
            return
        else:
            return
        for layer in self._layers:
            self.stats.format += "+" + layer.compression
        self._head = b""
        self._reader.feed(head)


def _may_be_text(head: bytes) -> bool:
    """More octets would make a better message."""
    return all(octet >= 32 or octet in b"\t\n\r\f\x1b" for octet in head)
