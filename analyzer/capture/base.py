"""What leaves the capture room: records, pushed one by one into a sink.

A record is one captured frame. It is handed over as a slice of the read buffer (no copy), because at millions of
packets a second the copy would be the cost. A sink must not keep the buffer.
"""

from __future__ import annotations

from mypy_extensions import i64


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
        #: TLS secrets found in the file (pcapng decryption secrets blocks, NSS key log text), for the second engine
        self.keylog: list[bytes] = []
        #: sentences for the user: what was odd, where
        self.warnings: list[str] = []
