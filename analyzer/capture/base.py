"""What leaves the capture room: records, pushed one by one into a sink; and what every reader of them shares.

A record is one captured frame. It is handed over as a slice of the read buffer (no copy), because at millions of
packets a second the copy would be the cost. A sink must not keep the buffer.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: Largest number of octets one record may have captured (libpcap's and Wireshark's own limit). More is damage.
MAX_RECORD: Final = 262144
#: Sentences about damage kept per capture; further places are only counted.
MAX_WARNINGS: Final = 8
#: Pieces of an unfinished record that wait unjoined (they come one octet at a time from some pipes).
MAX_PARTS: Final = 4096


class RecordSink:
    """Takes the records of a capture. The packets room overrides this; the base drops them."""

    def receive_record(
        self,
        buffer: bytes,
        start: i64,
        end: i64,
        wire_length: i64,
        linktype: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        """One record: ``buffer[start:end]`` was captured of ``wire_length`` octets on the wire.

        ``linktype`` is the LINKTYPE_ value of the file, ``frame`` the 1-based number of the record in its file.
        """


class RecordList(RecordSink):
    """Keeps every record as a tuple ``(timestamp_ns, linktype, data, wire_length, frame)``: for small captures and tests."""

    def __init__(self) -> None:
        self.records: list[tuple[int, int, bytes, int, int]] = []

    def receive_record(
        self,
        buffer: bytes,
        start: i64,
        end: i64,
        wire_length: i64,
        linktype: i64,
        timestamp_ns: i64,
        frame: i64,
    ) -> None:
        self.records.append((timestamp_ns, linktype, buffer[start:end], wire_length, frame))


class CaptureStats:
    """What one capture held, as its reader counted it (the ``captures`` table is made from this)."""

    def __init__(self, name: str) -> None:
        #: the path as the user gave it, ``-`` for standard input
        self.name = name
        #: ``pcap``, ``pcapng``, with ``+gzip`` and the like behind it
        self.format = ""
        #: LINKTYPE_ values seen, in order of appearance
        self.linktypes: list[int] = []
        self.packets: int = 0
        #: octets captured (not octets of the file)
        self.bytes: int = 0
        self.first_ns: int = 0
        self.last_ns: int = 0
        #: octets of the file that belonged to no readable record
        self.skipped_bytes: int = 0
        #: places at which the reader lost the thread (bad or cut record) and looked for the next plausible one
        self.damaged: int = 0
        #: packets that the capturing system says it dropped (pcapng interface statistics); None where it does not say
        self.dropped: int | None = None
        #: True where the file ends in the middle of a record
        self.cut: bool = False
        #: records whose link type nobody could decode
        self.undecoded: int = 0
        #: packets that belonged to mail sessions; filled in by the pipeline
        self.mail_packets: int = 0
        self.sha256: str | None = None
        #: size, time of the last change and inode of the file when it was read; None where it is no regular file
        self.identity: tuple[int, int, int] | None = None
        #: TLS secrets found in the file (pcapng decryption secrets blocks, NSS key log text), for the second engine
        self.keylog: list[bytes] = []
        #: sentences for the user: what was odd, where
        self.warnings: list[str] = []

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _restored,
            (
                self.name, self.format, self.linktypes, self.packets, self.bytes, self.first_ns, self.last_ns, self.skipped_bytes,
                self.damaged, self.dropped, self.cut, self.undecoded, self.mail_packets, self.sha256, self.identity, self.keylog,
                self.warnings,
            ),
        )  # fmt: skip


def _restored(
    name: str,
    form: str,
    linktypes: list[int],
    packets: int,
    octets: int,
    first_ns: int,
    last_ns: int,
    skipped_bytes: int,
    damaged: int,
    dropped: int | None,
    cut: bool,
    undecoded: int,
    mail_packets: int,
    sha256: str | None,
    identity: tuple[int, int, int] | None,
    keylog: list[bytes],
    warnings: list[str],
) -> CaptureStats:
    """The other half of ``CaptureStats.__reduce__``."""
    stats = CaptureStats(name)
    stats.format = form
    stats.linktypes = linktypes
    stats.packets = packets
    stats.bytes = octets
    stats.first_ns = first_ns
    stats.last_ns = last_ns
    stats.skipped_bytes = skipped_bytes
    stats.damaged = damaged
    stats.dropped = dropped
    stats.cut = cut
    stats.undecoded = undecoded
    stats.mail_packets = mail_packets
    stats.sha256 = sha256
    stats.identity = identity
    stats.keylog = keylog
    stats.warnings = warnings
    return stats


class Reader:
    """A sans-IO push parser: octets of one capture go in by :meth:`feed`, records come out at the sink.

    Any split of the input into chunks gives the same records. What a chunk leaves unfinished waits, and only that is
    joined with the next chunk: the chunks themselves are parsed where they lie, because copying each would cost more
    than parsing it. Chunks of about 64 KiB are fastest (larger ones were measured several times slower: page faults).

    Every octet fed ends up in exactly one count: ``stats.bytes`` (record data), ``framing_bytes`` (file, record and
    block headers, padding, blocks that are not packets) or ``stats.skipped_bytes`` (lost to damage).
    """

    def __init__(self, stats: CaptureStats, sink: RecordSink) -> None:
        self.stats = stats
        self.sink = sink
        #: number of the last record handed over; records count from 1
        self.frame: i64 = 0
        #: octets that framed the records
        self.framing_bytes: i64 = 0
        #: octets taken in so far
        self.size: i64 = 0
        # The unfinished rest: its pieces, their size, and the size at which parsing can go on.
        self._parts: list[bytes] = []
        self._held: i64 = 0
        self._need: i64 = 1
        # True while the reader has lost the thread and looks for the next plausible record.
        self._searching = False
        # Offset in the file of the first octet not yet parsed, and of index 0 of the buffer being parsed.
        self._offset: i64 = 0
        self._origin: i64 = 0

    def parse(self, buffer: bytes, start: i64, final: bool) -> i64:
        """Parse what is complete in ``buffer[start:]``; the index of the first octet not used.

        Sets ``_need`` to the octets required from there. With ``final`` nothing follows: all is used or counted.
        """
        return len(buffer)

    def feed(self, chunk: bytes) -> None:
        """Take the next octets of the file and hand over every record that they complete."""
        size: i64 = len(chunk)
        position: i64 = 0
        self.size += size
        while self._held > 0:
            if position >= size:
                return
            take = self._need - self._held
            if self._searching or take > size - position:
                take = size - position  # a search goes octet by octet: give it all there is
            self._parts.append(chunk[position : position + take])
            self._held += take
            position += take
            if len(self._parts) > MAX_PARTS:
                self._parts = [b"".join(self._parts)]
            if self._held >= self._need:
                joined = b"".join(self._parts)
                self._run(joined, 0, False)
        if position < size:
            self._run(chunk, position, False)

    def close(self) -> None:
        """The file ends here: what is left is read as far as it goes, and the rest is counted as cut or skipped."""
        rest = b"".join(self._parts)
        self._run(rest, 0, True)

    def _run(self, buffer: bytes, start: i64, final: bool) -> None:
        self._origin = self._offset - start
        used = self.parse(buffer, start, final)
        self._offset += used - start
        rest = len(buffer) - used
        self._held = rest
        if rest > 0:
            self._parts = [buffer[used:]]
            if self._need <= rest:
                self._need = rest + 1
        else:
            self._parts = []

    def _lose(self, position: i64, what: str) -> None:
        """The thread is lost at ``buffer[position]``: count it, say it, and search from there."""
        self.stats.damaged += 1
        self._searching = True
        self._warn(f"damaged at octet {self._origin + position} (after frame {self.frame}): {what}")

    def _warn(self, sentence: str) -> None:
        if len(self.stats.warnings) < MAX_WARNINGS:
            self.stats.warnings.append(sentence)
