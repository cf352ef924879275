"""One direction of a TLS connection: how it is being read, and what was seen of it so far."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import Position

#: Sizes of encrypted records kept of each direction: enough for the flight that ends a handshake.
MAX_SIZES: Final = 8

# Record content types (RFC 8446 section 5.1, RFC 6520).
CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
HEARTBEAT: Final = 24

# How a direction is being read.
START: Final = 0  # no octet seen yet: TLS, SSL 2.0 or text
HEADER: Final = 1
SKIP: Final = 2  # a record body of no interest
KEEP: Final = 3  # a record body that is read: handshake, alert, data under a NULL suite
LOST: Final = 4  # looking for a plausible record header
TEXT: Final = 5
DISCARD: Final = 6
V2_HEADER: Final = 7  # SSL 2.0 record header, or TLS after a hello in SSL 2.0 format
V2_KEEP: Final = 8
V2_SKIP: Final = 9
LINE: Final = 10  # where a record is due stands what may be a line of text: it is collected
BACK: Final = 11  # text again, behind a handshake that came to nothing: kept for the owner


class Half:
    """One direction of the connection."""

    def __init__(self, role: int) -> None:
        #: CLIENT or SERVER, in TLS's sense
        self.role: int = role
        self.mode: i64 = START
        #: octets left of the record body
        self.remaining: i64 = 0
        #: content type of the record whose body is read
        self.kind: i64 = 0
        #: the beginning of a record header, or the last octets looked through
        self.head: bytes = b""
        #: minor version of the last record, -1 for none
        self.minor: int = -1
        #: any octet of this direction was seen, or is known to be missing
        self.heard: bool = False
        self.gap: bool = False
        self.ended: bool = False
        self.losses: i64 = 0
        #: a gap has hidden where a record begins: what is found behind it may be chance
        self.strayed: bool = False
        #: the header found while looking may be chance: the next one must fit
        self.trial: bool = False
        #: handshake message being collected
        self.message: bytearray = bytearray()
        #: its size with its header; 0: header not complete
        self.message_size: i64 = 0
        #: octets of handshake records to be stepped over
        self.message_skip: i64 = 0
        #: stream offset of the message
        self.message_offset: i64 = 0
        self.alert: bytes = b""
        #: ChangeCipherSpec was sent (without meaning in TLS 1.3)
        self.ccs: bool = False
        #: a handshake record under encryption was sent (TLS 1.2 and older)
        self.finished: bool = False
        #: records of type application_data, their octets, the first sizes and the last one
        self.protected: i64 = 0
        self.protected_octets: i64 = 0
        self.sizes: list[int] = []
        self.last_size: i64 = 0
        #: record body being collected under a NULL suite; what waits for its reader
        self.body: bytearray = bytearray()
        self.body_damaged: bool = False
        self.plaintext: list[bytes] = []
        self.plaintext_size: i64 = 0
        #: text stood where the direction's first record was due
        self.text_first: bool = False
        #: the line that may be text; and where the text stands that its owner has not taken yet
        self.line: bytearray = bytearray()
        self.text_offset: i64 = 0
        #: the text may have been slipped in, and waits for what comes behind it; where it began, its octets, whether they end with a line
        self.text_waits: bool = False
        self.text_at: Position | None = None
        self.text_begun: bytes = b""
        self.line_ended: bool = False
