"""TLS seen through: records of both directions, the handshake's messages, and how the handshake ended (RFC 8446, 5246, 6101, SSL 2.0).

Sans-IO like the mail dissectors, and with the same four methods: octets of a TLS connection go in, events come out, facts gather in
:attr:`TlsDissector.handshake`. Nothing here decrypts. Once the handshake is decided, records of application data
are stepped over by their headers alone: most segments of a long session cost one comparison and one subtraction.

How the end of a handshake is told without keys:

- TLS 1.2 and older: each side sends ChangeCipherSpec and one encrypted handshake record (its Finished); application data of a side
  proves the same where a gap hides them.
- TLS 1.3: behind the ServerHello all records look like application data, and ChangeCipherSpec means nothing. The server's flight comes
  first; the client's first record after it is its Finished (or its certificate), unless it has exactly the size of an encrypted alert
  and nothing follows: then the client has refused, most often the certificate.
- Where the capture holds one direction alone, that side's Finished and application data must do.

A gap inside a record is stepped over; one that hides a record header sends the reader looking for the next plausible header. Octets that
are no TLS at all are looked through in the same way, up to :data:`MAX_LOSSES` times.

This module is over 500 lines long because records, messages and the verdict share the state of both directions.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.events import (
    TLS_HANDSHAKE_TOO_LONG,
    TLS_MALFORMED,
    TLS_STREAM_LOST,
    Anomaly,
    Event,
    TlsAlert,
    TlsCompleted,
    TlsFailed,
    TlsHelloSeen,
)
from analyzer.protocols.tls_facts import (
    BY_PSK,
    BY_SESSION_ID,
    BY_TICKET,
    ENCRYPTED_ALERT,
    FAILURE_ALERT,
    FAILURE_CLOSED,
    FAILURE_ENCRYPTED_ALERT,
    FAILURE_TEXT,
    NOBODY,
    TlsFacts,
)
from analyzer.protocols.tls_handshake import (
    CERTIFICATE,
    CERTIFICATE_REQUEST,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    SERVER_HELLO,
    SERVER_HELLO_DONE,
    SERVER_KEY_EXCHANGE,
    ClientHello,
    judge_cut_server_hello,
    parse_certificates,
    parse_client_hello,
    parse_key_exchange,
    parse_server_hello,
    parse_sslv2_client_hello,
    parse_sslv2_server_hello,
)
from analyzer.protocols.tls_names import (
    SSLV2_ERRORS,
    alert_name,
    key_exchange,
    null_mac_size,
    suite_name,
)

#: Octets of one handshake message that are kept; the largest real ones are certificate chains. A longer message is stepped over.
MAX_HANDSHAKE: Final = 262144
#: Longest record body: 2^14 octets of text, and up to 2048 more that encryption and compression may add (RFC 5246 section 6.2.3).
MAX_RECORD: Final = 18432
#: Octets kept of text that came instead of TLS.
MAX_TEXT: Final = 200
#: Octets of readable application data (NULL suites) that wait for their reader, of each direction; more are dropped.
MAX_PLAINTEXT: Final = 1048576
#: Times that a direction may be lost and found again before the rest of it is left unread.
MAX_LOSSES: Final = 64
#: Anomalies told of one connection.
MAX_ANOMALIES: Final = 16
#: Alerts told of one connection.
MAX_ALERTS: Final = 16
#: Sizes of encrypted records kept of each direction: enough for the flight that ends a handshake.
MAX_SIZES: Final = 8

# Record content types (RFC 8446 section 5.1, RFC 6520).
_CHANGE_CIPHER_SPEC: Final = 20
_ALERT: Final = 21
_HANDSHAKE: Final = 22
_APPLICATION_DATA: Final = 23
_HEARTBEAT: Final = 24

# Alert descriptions that do not end a TLS 1.3 handshake by themselves, or that say that it was ended on purpose.
_CLOSE_NOTIFY: Final = 0
_USER_CANCELED: Final = 90

# How a direction is being read.
_START: Final = 0  # no octet seen yet: TLS, SSL 2.0 or text
_HEADER: Final = 1
_SKIP: Final = 2  # a record body of no interest
_KEEP: Final = 3  # a record body that is read: handshake, alert, data under a NULL suite
_LOST: Final = 4  # looking for a plausible record header
_TEXT: Final = 5
_DISCARD: Final = 6
_V2_HEADER: Final = 7  # SSL 2.0 record header, or TLS after a hello in SSL 2.0 format
_V2_KEEP: Final = 8
_V2_SKIP: Final = 9

# SSL 2.0 messages.
_V2_ERROR: Final = 0
_V2_CLIENT_HELLO: Final = 1
_V2_CLIENT_MASTER_KEY: Final = 2
_V2_SERVER_HELLO: Final = 4

# Handshake types that exist, as a set of bits: 0-6, 8, 11-16, 20-26.
_KNOWN_MESSAGES: Final = 0x7F1F97F


class _Half:
    """One direction of the connection."""

    def __init__(self, role: int) -> None:
        #: CLIENT or SERVER, in TLS's sense
        self.role: int = role
        self.mode: i64 = _START
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


class TlsDissector:
    """Reads one TLS connection. ``mode`` is ``implicit`` or ``starttls``; ``midstream`` says that its beginning is not in the capture."""

    def __init__(self, mode: str, midstream: bool = False) -> None:
        self.facts: TlsFacts = TlsFacts(mode)
        #: this is TLS: a record or an SSL 2.0 hello was seen
        self.recognised: bool = False
        #: octets of readable application data that nobody took in time
        self.plaintext_dropped: i64 = 0
        self._events: list[Event] = []
        self._at: Position = Position(0, 0, 0)
        #: offset in the current piece, for the offsets of events
        self._here: i64 = 0
        # The halves by TCP direction, and the same two by role.
        self._from_client: _Half = _Half(CLIENT)
        self._from_server: _Half = _Half(SERVER)
        self._client: _Half = self._from_client
        self._server: _Half = self._from_server
        if midstream:
            self._client.mode = _LOST
            self._server.mode = _LOST
        #: application data needs no look: the handshake is decided, and nothing can be read
        self._bulk: bool = False
        self._tls13: bool = False
        #: SSL 2.0 proper, and its keys are agreed on
        self._v2: bool = False
        self._v2_keyed: bool = False
        #: the server sent a message that an abbreviated handshake does not have
        self._full: bool = False
        #: octets of the MAC under a NULL suite, -1 where data cannot be read
        self._null_mac: int = -1
        #: size of a TLS 1.3 record that holds an alert, and of one that holds a Finished message
        self._alert_size: i64 = 19
        self._finished_size: i64 = 53
        #: the server's encrypted records when the handshake was completed
        self._server_before: i64 = 0
        #: who ended its direction first
        self._closer: int = NOBODY
        self._alerts: i64 = 0
        self._anomalies: i64 = 0

    @property
    def handshake(self) -> TlsFacts:
        """What is known so far."""
        return self.facts

    @property
    def completed(self) -> bool:
        """Whether the handshake is finished on both sides, as far as can be seen."""
        return self.facts.completed

    # -- for the owner ---------------------------------------------------------------------------------------------------------

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> list[Event]:
        """The next octets of one direction; what they made happen. An empty list must not be changed: it is used again."""
        half = self._from_server if sender == SERVER else self._from_client
        if self._events:
            self._events = []
        size: i64 = len(data)
        if size < half.remaining and half.mode == _SKIP:
            half.remaining -= size
            return self._events
        self._at = at
        self._read(half, data, size)
        return self._events

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> list[Event]:
        """``size`` octets of one direction are missing here."""
        half = self._from_server if sender == SERVER else self._from_client
        if self._events:
            self._events = []
        self._at = at
        self._here = 0
        half.heard = True
        half.gap = True
        mode = half.mode
        if not self._bulk:
            self.facts.damaged = True
        if mode in (_SKIP, _KEEP) and size <= half.remaining:
            half.remaining -= size
            if mode == _KEEP:
                if half.kind == _HANDSHAKE:
                    self._message_gap(half, size)
                elif half.kind == _APPLICATION_DATA:
                    half.body_damaged = True
                else:
                    half.alert = b""
            if half.remaining == 0:
                self._body_ended(half)
        elif mode == _V2_KEEP or mode == _V2_SKIP:
            if size <= half.remaining:
                half.remaining -= size
                half.message.clear()
                half.mode = _V2_SKIP if half.remaining else _V2_HEADER
            else:
                half.mode = _DISCARD
        elif mode == _V2_HEADER:
            half.mode = _DISCARD
        elif mode != _TEXT and mode != _DISCARD:
            half.head = b""
            half.remaining = 0
            self._message_cut(half)
            self._forget(half)
            half.mode = _LOST
        return self._events

    def receive_eof(self, sender: Sender, at: Position) -> list[Event]:
        """One direction has ended (FIN, or RST)."""
        half = self._from_server if sender == SERVER else self._from_client
        if self._events:
            self._events = []
        self._at = at
        self._here = 0
        facts = self.facts
        half.ended = True
        if self._closer == NOBODY:
            self._closer = half.role
        self._judge_alert_instead(half.role == SERVER)
        other = self._server if half.role == CLIENT else self._client
        if (
            facts.client_hello is not None
            and not facts.completed
            and facts.failure is None
            and not facts.damaged
            and other.heard
        ):
            if facts.alert is not None:
                self._fail(FAILURE_ALERT, facts.alert_sender)
            else:
                self._fail(FAILURE_CLOSED, self._closer)
        self._tally()
        return self._events

    def finish(self, at: Position) -> list[Event]:
        """The connection is over, or the capture is: whatever is pending is told now."""
        if self._events:
            self._events = []
        self._at = at
        self._here = 0
        self._judge_alert_instead(False)
        self._tally()
        return self._events

    def plaintext(self, sender: Sender) -> bytes:
        """Application data that the suite did not encrypt (``facts.null_cipher``), without its MACs; handed over once."""
        half = self._from_server if sender == SERVER else self._from_client
        data = b"".join(half.plaintext)
        half.plaintext = []
        half.plaintext_size = 0
        return data

    # -- records ---------------------------------------------------------------------------------------------------------------

    def _read(self, half: _Half, data: bytes, size: i64) -> None:
        at: i64 = 0
        half.heard = True
        while at < size:
            mode = half.mode
            if mode == _SKIP:
                if size - at < half.remaining:
                    half.remaining -= size - at
                    return
                at += half.remaining
                half.remaining = 0
                half.mode = _HEADER
            elif mode == _HEADER:
                if half.head or at + 5 > size:
                    at = self._joined_header(half, data, at, size)
                    continue
                length: i64 = (data[at + 3] << 8) | data[at + 4]
                if (
                    self._bulk
                    and data[at] == _APPLICATION_DATA
                    and data[at + 1] == 3
                    and data[at + 2] <= 4
                    and length <= MAX_RECORD
                ):
                    half.protected += 1
                    half.protected_octets += length
                    half.last_size = length
                    half.minor = data[at + 2]
                    half.trial = False
                    if half.protected <= MAX_SIZES:
                        half.sizes.append(length)
                    at += 5
                    half.remaining = length
                    half.mode = _SKIP
                else:
                    self._here = at
                    if self._open(half, data[at], data[at + 1], data[at + 2], length):
                        at += 5
                    else:
                        self._lose(half)
                        at += 1
            elif mode == _KEEP:
                stop = at + half.remaining
                if stop > size:
                    stop = size
                half.remaining -= stop - at
                self._here = at
                if half.kind == _HANDSHAKE:
                    self._messages(half, data, at, stop)
                elif half.kind == _ALERT:
                    self._alert_octets(half, data, at, stop)
                else:
                    half.body += data[at:stop]
                at = stop
                if half.remaining == 0:
                    self._body_ended(half)
            elif mode == _LOST:
                at = self._look(half, data, at, size)
            elif mode == _START:
                at = self._begin(half, data, at, size)
            elif mode == _TEXT:
                self._text_octets(data, at, size)
                return
            elif mode == _DISCARD:
                return
            else:
                at = self._read_v2(half, data, at, size)

    def _begin(self, half: _Half, data: bytes, at: i64, size: i64) -> i64:
        """The first octets of a direction: TLS, SSL 2.0, or something else."""
        self._here = at - len(half.head)
        if not half.head:
            first: i64 = data[at]
            if _CHANGE_CIPHER_SPEC <= first <= _HEARTBEAT:
                half.mode = _HEADER
                return at
            if first & 0x80 == 0:
                if 32 <= first <= 126 or first in (9, 10, 13):
                    half.mode = _TEXT
                    self._judge_text()
                else:
                    self._lose(half)
                return at
        need = 3 - len(half.head)
        if size - at < need:
            half.head += data[at:size]
            return size
        head = half.head + data[at : at + need]
        half.head = b""
        length: i64 = ((head[0] & 0x7F) << 8) | head[1]
        wanted = _V2_CLIENT_HELLO if half.role == CLIENT else _V2_SERVER_HELLO
        half.message_offset = self._at.offset + at + need - 3
        self._here = at + need - 3
        if length >= 9 and (head[2] == wanted or (head[2] == _V2_CLIENT_HELLO and not self.recognised)):
            half.message = bytearray(head[2:])
            half.remaining = length - 1
            half.mode = _V2_KEEP
        elif half.role == SERVER and head[2] == _V2_ERROR and length == 3:
            half.message = bytearray(head[2:])
            half.remaining = 2
            half.mode = _V2_KEEP
        else:
            half.head = head[1:]
            self._lose(half)
        return at + need

    def _joined_header(self, half: _Half, data: bytes, at: i64, size: i64) -> i64:
        """A record header that is cut into pieces; offset of the next octet to be read."""
        need = 5 - len(half.head)
        if size - at < need:
            half.head += data[at:size]
            return size
        head = half.head + data[at : at + need]
        half.head = b""
        self._here = at + need - 5
        if not self._open(half, head[0], head[1], head[2], (head[3] << 8) | head[4]):
            half.head = head[1:]
            self._lose(half)
        return at + need

    def _open(self, half: _Half, kind: i64, major: i64, minor: i64, length: i64) -> bool:
        """A record header: decide how its body is read, and what its coming means. False where it is no TLS record header."""
        if kind < _CHANGE_CIPHER_SPEC or kind > _HEARTBEAT or major != 3 or minor > 4 or length > MAX_RECORD:
            return False
        facts = self.facts
        self.recognised = True
        half.trial = False
        if facts.first_frame == 0:
            facts.first_frame = self._at.frame
            facts.first_ns = self._at.timestamp_ns
        half.minor = minor
        before = half.kind
        half.kind = kind
        half.remaining = length
        half.mode = _SKIP
        if kind == _APPLICATION_DATA:
            if before == _CHANGE_CIPHER_SPEC and half.role == CLIENT:
                self._no_finished_before(half)
            half.protected += 1
            half.protected_octets += length
            half.last_size = length
            if half.protected <= MAX_SIZES:
                half.sizes.append(length)
            if not facts.completed:
                facts.record_version = 0x0300 | minor
            if self._null_mac >= 0:
                half.mode = _KEEP
            self._judge(half)
        elif kind == _HANDSHAKE:
            if half.ccs and not self._tls13:
                half.finished = True
                self._judge(half)
            elif not facts.completed:
                half.mode = _KEEP
        elif kind == _CHANGE_CIPHER_SPEC:
            if not self._tls13:
                if not facts.completed:
                    facts.record_version = 0x0300 | minor
                if half.ccs and length > 1 and facts.completed and half.role == CLIENT:
                    facts.renegotiations += 1
                if half.role == SERVER and not half.ccs:
                    self._judge_resumption(half)
                half.ccs = True
        elif kind == _ALERT:
            if length == 2 or (self._null_mac >= 0 and not self._tls13 and length == 2 + self._null_mac):
                half.alert = b""
                half.message_offset = self._at.offset + self._here
                half.mode = _KEEP
            elif not facts.completed and facts.failure is None and not self._tls13 and not facts.damaged and half.ccs:
                self._note_alert(ENCRYPTED_ALERT, True, half.role)
                self._fail(FAILURE_ENCRYPTED_ALERT, half.role)
        return True

    def _body_ended(self, half: _Half) -> None:
        if half.mode == _KEEP and half.kind == _APPLICATION_DATA:
            if not half.body_damaged:
                self._keep_plaintext(half)
            half.body.clear()
            half.body_damaged = False
        half.mode = _HEADER

    def _keep_plaintext(self, half: _Half) -> None:
        size: i64 = len(half.body) - self._null_mac
        if self._tls13:
            # TLSInnerPlaintext: content, its type, zeros (RFC 8446 section 5.2), under the integrity-only suites of RFC 9150.
            while size > 0 and half.body[size - 1] == 0:
                size -= 1
            size -= 1
            if size < 0 or half.body[size] != _APPLICATION_DATA:
                return
        if size <= 0:
            return
        if half.plaintext_size + size > MAX_PLAINTEXT:
            self.plaintext_dropped += size
            return
        half.plaintext.append(bytes(half.body[:size]))
        half.plaintext_size += size

    # -- lost and found --------------------------------------------------------------------------------------------------------

    def _lose(self, half: _Half) -> None:
        """What stands here is no TLS record: look for the next one."""
        half.losses += 1
        half.remaining = 0
        self._forget(half)
        half.mode = _LOST if half.losses <= MAX_LOSSES else _DISCARD
        if half.trial:
            half.trial = False
        elif self.recognised:
            self.facts.damaged = self.facts.damaged or not self.facts.completed
            self._anomaly(half.role, TLS_STREAM_LOST, "octets that are no TLS record")

    def _forget(self, half: _Half) -> None:
        """Whatever was being collected is broken, and what comes next need not be what comes next."""
        half.kind = 0
        half.message.clear()
        half.message_size = 0
        half.message_skip = 0
        half.body.clear()
        half.body_damaged = False
        half.alert = b""

    def _look(self, half: _Half, data: bytes, start: i64, size: i64) -> i64:
        """Search for a record header of a known kind, version and plausible length; offset of the next octet to be read."""
        head = half.head
        carried: i64 = len(head)
        if carried or start:
            data = head + data[start:size]
        end: i64 = len(data)
        minor = self._settled_minor()
        # Only headers that are complete count, and four octets are carried over: so pieces of any size give the same result.
        at: i64 = data.find(b"\x03", 1)
        while at > 0 and at + 3 < end:
            kind: i64 = data[at - 1]
            length: i64 = (data[at + 2] << 8) | data[at + 3]
            if (
                _CHANGE_CIPHER_SPEC <= kind <= _APPLICATION_DATA
                and 0 < length <= MAX_RECORD
                and (data[at + 1] == minor if minor >= 0 else data[at + 1] <= 3)
                and (kind >= _HANDSHAKE or length <= 256)
            ):
                half.head = b""
                half.mode = _HEADER
                self._here = start + at - 1 - carried
                if self.recognised or (at == 1 and half.losses == 0):
                    self._open(half, kind, 3, data[at + 1], length)
                else:
                    # Chance alone finds a header every few million octets: step over it, the next one must fit.
                    half.trial = True
                    if half.losses == 0:
                        half.losses = 1  # the beginning has gone by
                    half.minor = data[at + 1]
                    half.remaining = length
                    half.mode = _SKIP
                return start + at + 4 - carried
            at = data.find(b"\x03", at + 1)
        half.head = data[end - 4 :] if end > 4 else data
        if half.losses == 0 and end > 4:
            half.losses = 1  # the beginning has gone by
        return size

    def _settled_minor(self) -> int:
        """The minor version that all records to come carry, -1 where that is not known.

        The client's first records carry what old servers bear, whatever version comes of it (RFC 8446 section 5.1), and are no measure.
        """
        client, server = self._client, self._server
        if server.minor >= 0:
            return server.minor
        return client.minor if client.ccs or client.protected > 0 else -1

    # -- handshake messages ----------------------------------------------------------------------------------------------------

    def _messages(self, half: _Half, data: bytes, at: i64, stop: i64) -> None:
        """Octets of handshake records: messages may be cut and joined by records and segments in any way (RFC 8446 section 5.1)."""
        while at < stop:
            take: i64
            if half.message_skip > 0:
                take = stop - at
                if take > half.message_skip:
                    take = half.message_skip
                half.message_skip -= take
                at += take
                continue
            held: i64 = len(half.message)
            if held == 0:
                half.message_offset = self._at.offset + at
                if at + 4 <= stop:
                    length: i64 = (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]
                    if at + 4 + length <= stop and self._message_known(data[at], length):
                        self._message(half, data[at], data, at + 4, at + 4 + length)
                        at += 4 + length
                        continue
            if held < 4:
                take = 4 - held
                if take > stop - at:
                    take = stop - at
                half.message += data[at : at + take]
                at += take
                if held + take < 4:
                    return
                size: i64 = (half.message[1] << 16) | (half.message[2] << 8) | half.message[3]
                if not self._message_known(half.message[0], size):
                    self._bad_message(half, half.message[0], size, stop - at + half.remaining)
                    continue
                half.message_size = 4 + size
            else:
                take = half.message_size - held
                if take > stop - at:
                    take = stop - at
                half.message += data[at : at + take]
                at += take
            if len(half.message) == half.message_size:
                whole = bytes(half.message)
                half.message.clear()
                half.message_size = 0
                self._message(half, whole[0], whole, 4, len(whole))

    def _message_known(self, kind: i64, size: i64) -> bool:
        return size <= MAX_HANDSHAKE and kind < 32 and (_KNOWN_MESSAGES >> kind) & 1 == 1

    def _bad_message(self, half: _Half, kind: i64, size: i64, rest: i64) -> None:
        """A message that is too long is stepped over; behind one of no known type nothing in its record can be understood."""
        half.message.clear()
        half.message_size = 0
        self._here = half.message_offset - self._at.offset
        self.facts.damaged = True
        if kind < 32 and (_KNOWN_MESSAGES >> kind) & 1 == 1:
            half.message_skip = size
            if kind == CERTIFICATE and half.role == SERVER:
                self.facts.cert_seen = True
            self._anomaly(half.role, TLS_HANDSHAKE_TOO_LONG, f"a handshake message of type {kind} claims {size} octets")
        else:
            half.message_skip = rest
            if not half.gap:
                self._anomaly(half.role, TLS_MALFORMED, f"a handshake message of the unknown type {kind}")

    def _message_gap(self, half: _Half, size: i64) -> None:
        """Octets of a handshake record are missing; where the message's length is known, what follows it can still be read."""
        held: i64 = len(half.message)
        left: i64 = -1
        if half.message_skip > 0:
            left = half.message_skip
        elif held >= 4:
            left = half.message_size - held
            self._message_cut(half)
        half.message.clear()
        half.message_size = 0
        # Beyond the message's end, or with its length unknown: go on at the next record.
        half.message_skip = left - size if left >= size else half.remaining

    def _message_cut(self, half: _Half) -> None:
        """The rest of a message is missing (a snap length takes it): what its beginning proves by itself."""
        held: i64 = len(half.message)
        if held < 4:
            return
        facts = self.facts
        kind = half.message[0]
        if half.role == CLIENT:
            if kind == CLIENT_KEY_EXCHANGE:
                self._keys_exchanged(half)
        elif kind == CERTIFICATE:
            facts.cert_seen = True
            self._full = True
        elif kind == SERVER_HELLO and facts.server_hello is None:
            version, suite = judge_cut_server_hello(bytes(half.message), half.message_size)
            if version:
                facts.known_version = version
            if suite >= 0:
                facts.suite_code = suite

    def _keys_exchanged(self, half: _Half) -> None:
        """TLS 1.3 has no such message, and older versions write the version in use on its record."""
        facts = self.facts
        facts.record_version = 0x0300 | half.minor
        if facts.server_hello is None and half.minor == 3:
            facts.known_version = 0x0303

    def _no_finished_before(self, half: _Half) -> None:
        """Data right behind the client's ChangeCipherSpec: up to TLS 1.2 a Finished stands between them, of another record type.

        Early data stands there, too (RFC 8446 section 4.2.10), but before the server's first word.
        """
        facts = self.facts
        if not facts.completed and facts.server_hello is None and facts.known_version == 0 and self._server.minor == 3:
            facts.known_version = 0x0304

    def _message(self, half: _Half, kind: i64, data: bytes, start: i64, end: i64) -> None:
        facts = self.facts
        self._here = half.message_offset - self._at.offset
        if kind == CLIENT_HELLO:
            if facts.client_hello is None:  # else the second one, after a HelloRetryRequest
                self._client_said(half, parse_client_hello(data, start, end))
        elif kind == SERVER_HELLO:
            self._server_said(half, data, start, end)
        elif half.role == SERVER:
            if kind == CERTIFICATE:
                self._full = True
                facts.resumed = False
                facts.resumption = None
                if not facts.cert_seen:
                    facts.cert_seen = True
                    found = parse_certificates(data, start, end)
                    facts.certificates = found.certificates
                    facts.certificates_left_out = found.left_out
                    if found.malformed:
                        self._anomaly(SERVER, TLS_MALFORMED, "a Certificate message that contradicts itself")
            elif kind == SERVER_KEY_EXCHANGE:
                self._full = True
                if facts.suite_code >= 0:
                    exchange = parse_key_exchange(
                        data, start, end, key_exchange(facts.suite_code), facts.version_code >= 0x0303
                    )
                    facts.group_code = exchange.group
                    facts.dh_bits = exchange.dh_bits
                    facts.signature_scheme_code = exchange.signature_scheme
            elif kind == SERVER_HELLO_DONE:
                self._full = True
                facts.resumed = False
                facts.resumption = None
            elif kind == CERTIFICATE_REQUEST:
                facts.client_certificate_requested = True
        elif kind == CERTIFICATE:
            if not facts.client_certificates:
                facts.client_certificates = parse_certificates(data, start, end).certificates
        elif kind == CLIENT_KEY_EXCHANGE:
            self._keys_exchanged(half)

    def _client_said(self, half: _Half, hello: ClientHello) -> None:
        facts = self.facts
        if half.role == SERVER and facts.server_hello is None:
            self._swap_roles()
        facts.client_hello = hello
        if hello.malformed:
            self._anomaly(CLIENT, TLS_MALFORMED, "a ClientHello that contradicts itself")
        at = self._at
        self._events.append(TlsHelloSeen(CLIENT, at.frame, at.timestamp_ns, half.message_offset, hello.sni))
        self._judge_text()

    def _swap_roles(self) -> None:
        """Met midstream, the flow was taken the wrong way round: hellos tell who is who."""
        self._client, self._server = self._server, self._client
        self._client.role = CLIENT
        self._server.role = SERVER
        self.facts.roles_swapped = not self.facts.roles_swapped

    def _server_said(self, half: _Half, data: bytes, start: i64, end: i64) -> None:
        facts = self.facts
        if facts.server_hello is not None and not facts.server_hello.retry:
            return
        if half.role == CLIENT:
            if facts.client_hello is not None or facts.server_hello is not None:
                return
            self._swap_roles()
        hello = parse_server_hello(data, start, end)
        if hello.malformed:
            self._anomaly(SERVER, TLS_MALFORMED, "a ServerHello that contradicts itself")
            if len(hello.random) < 32:
                return
        facts.server_hello = hello
        self._tls13 = hello.version >= 0x0304
        facts.suite_code = hello.suite
        if hello.group:
            facts.group_code = hello.group
        if hello.retry:
            facts.retried = True
            self._tls13 = True
            return
        facts.alpn_selected = hello.alpn
        facts.compression = hello.compression != 0 and not self._tls13
        mac = null_mac_size(hello.suite)
        if mac >= 0 and self._tls13 == (hello.suite in (0xC0B4, 0xC0B5)):
            facts.null_cipher = True
            if not facts.compression:
                self._null_mac = mac
        if self._tls13:
            name = suite_name(hello.suite)
            tag = mac if mac >= 0 else (8 if name.endswith("_CCM_8_SHA256") else 16)
            self._alert_size = 2 + 1 + tag
            self._finished_size = 4 + (48 if name.endswith("SHA384") else 32) + 1 + tag
            facts.resumed = hello.psk
            facts.resumption = BY_PSK if hello.psk else None
        elif facts.client_hello is not None and hello.session_id and hello.session_id == facts.client_hello.session_id:
            facts.resumed = True
            facts.resumption = BY_TICKET if facts.client_hello.ticket else BY_SESSION_ID

    def _judge_resumption(self, half: _Half) -> None:
        """The server changes ciphers: if no message of a full handshake came before, the session is an old one (RFC 5077 section 3.4)."""
        facts = self.facts
        if facts.server_hello is None or half.gap or facts.damaged or self._full:
            return
        facts.resumed = True
        if facts.resumption is None and facts.client_hello is not None:
            facts.resumption = BY_TICKET if facts.client_hello.ticket else BY_SESSION_ID

    # -- alerts and text -------------------------------------------------------------------------------------------------------

    def _alert_octets(self, half: _Half, data: bytes, at: i64, stop: i64) -> None:
        held = len(half.alert)
        if held >= 2:
            return
        half.alert += data[at : min(stop, at + 2 - held)]
        if len(half.alert) < 2:
            return
        code = half.alert[1]
        # From TLS 1.3 on the level means nothing (RFC 8446 section 6).
        fatal = half.alert[0] == 2 or (self._tls13 and code not in (_CLOSE_NOTIFY, _USER_CANCELED))
        name = alert_name(code)
        self._here = half.message_offset - self._at.offset
        self._tell_alert(half.role, half.message_offset, name, fatal)
        self._note_alert(name, fatal, half.role)
        if not self.facts.completed and self.facts.failure is None and (fatal or code == _CLOSE_NOTIFY):
            if self.facts.client_hello is not None or self.facts.server_hello is not None or fatal:
                self._fail(FAILURE_ALERT, half.role)

    def _tell_alert(self, sender: int, offset: i64, name: str, fatal: bool) -> None:
        if self._alerts < MAX_ALERTS:
            self._alerts += 1
            self._events.append(TlsAlert(sender, self._at.frame, self._at.timestamp_ns, offset, name, fatal))

    def _note_alert(self, name: str, fatal: bool, sender: int) -> None:
        """Keep the alert that counts: the first fatal one, else the first warning that is more than a farewell."""
        facts = self.facts
        if (
            facts.alert is None
            or (fatal and not facts.alert_fatal)
            or (facts.alert == "close_notify" and not facts.alert_fatal)
        ):
            if name == "close_notify" and facts.completed:
                return
            facts.alert = name
            facts.alert_fatal = fatal
            facts.alert_sender = sender
            facts.alert_frame = self._at.frame

    def _text_octets(self, data: bytes, at: i64, size: i64) -> None:
        facts = self.facts
        room = MAX_TEXT - len(facts.text)
        if room > 0:
            facts.text += data[at : min(size, at + room)]

    def _judge_text(self) -> None:
        """One side speaks TLS and the other one text: no handshake will come of it."""
        facts = self.facts
        if facts.client_hello is None or facts.failure is not None or facts.completed:
            return
        if self._server.mode == _TEXT:
            self._fail(FAILURE_TEXT, SERVER)
        elif self._client.mode == _TEXT:
            self._fail(FAILURE_TEXT, CLIENT)

    # -- the verdict -----------------------------------------------------------------------------------------------------------

    def _judge(self, half: _Half) -> None:
        """An encrypted record of ``half`` has come: is the handshake finished?"""
        facts = self.facts
        if facts.completed or facts.failure == FAILURE_TEXT:
            return
        client, server = self._client, self._server
        hello = facts.client_hello
        if facts.failure is not None and not (client.protected and server.protected):
            return  # only data that goes on in both directions proves an alert wrong
        if self._tls13:
            if not client.heard:
                # The server alone: its own Finished has a size of its own, what follows it was sent after the client's.
                if server.protected > MAX_SIZES or self._finished_size in server.sizes[: server.protected - 1]:
                    self._complete(half)
            elif half.role == CLIENT and client.protected and server.protected:
                if client.protected > 1 or client.last_size != self._alert_size:
                    self._complete(half)
            return
        client_done = client.protected > 0 or (client.ccs and client.finished)
        server_done = server.protected > 0 or (server.ccs and server.finished)
        if facts.server_hello is None and not client.finished and hello is not None and hello.offers_tls13():
            # It may be TLS 1.3 whose ServerHello is not in the capture: a first record that small may be an alert.
            client_done = client.protected > 1 or (
                client.protected == 1 and client.last_size != self._alert_size and server.heard
            )
        if client_done and server_done:
            self._complete(half)
        elif (client_done and client.protected and not server.heard) or (
            server_done and server.protected and not client.heard
        ):
            self._complete(half)

    def _complete(self, half: _Half) -> None:
        facts = self.facts
        at = self._at
        facts.completed = True
        facts.failure = None
        facts.failure_sender = NOBODY
        facts.completed_frame = at.frame
        facts.completed_ns = at.timestamp_ns
        self._server_before = self._server.protected
        self._bulk = self._null_mac < 0
        suite = suite_name(facts.suite_code) if facts.suite_code >= 0 else None
        self._events.append(
            TlsCompleted(
                half.role, at.frame, at.timestamp_ns, at.offset + self._here, facts.version, suite, facts.resumed
            )
        )

    def _fail(self, failure: str, sender: int) -> None:
        facts = self.facts
        at = self._at
        facts.failure = failure
        facts.failure_sender = sender
        alert = facts.alert if failure in (FAILURE_ALERT, FAILURE_ENCRYPTED_ALERT) else None
        self._events.append(TlsFailed(sender, at.frame, at.timestamp_ns, at.offset + self._here, failure, alert))

    def _judge_alert_instead(self, server_ended: bool) -> None:
        """The end has come: in TLS 1.3, was the only encrypted record of a side an alert?"""
        facts = self.facts
        client, server = self._client, self._server
        if not self._tls13 or facts.failure is not None:
            return
        size = self._alert_size
        if not facts.completed:
            if client.protected == 1 and client.last_size == size and server.protected:
                self._note_alert(ENCRYPTED_ALERT, True, CLIENT)
                self._fail(FAILURE_ENCRYPTED_ALERT, CLIENT)
            elif server.protected == 1 and server.last_size == size:
                self._note_alert(ENCRYPTED_ALERT, True, SERVER)
                self._fail(FAILURE_ENCRYPTED_ALERT, SERVER)
        elif (
            server_ended
            and server.protected == self._server_before + 1
            and server.last_size == size
            and self._closer != CLIENT
            and client.last_size != size
            and client.heard
            and not server.gap
        ):
            # The server's only word after the client's Finished: it refuses (a client certificate, for one).
            facts.completed = False
            self._note_alert(ENCRYPTED_ALERT, True, SERVER)
            self._fail(FAILURE_ENCRYPTED_ALERT, SERVER)

    def _tally(self) -> None:
        """Count what can only be application data."""
        facts = self.facts
        for half in (self._client, self._server):
            count = half.protected
            if self._v2:
                count = 0
            elif self._tls13 and not facts.completed:
                count = 0
            elif self._tls13:
                # Up to the Finished message, which has a size of its own; a last record of an alert's size is a farewell.
                flight: i64 = 1
                limit: i64 = 4 if half.role == CLIENT else MAX_SIZES
                for number, size in enumerate(half.sizes[:limit]):
                    if size == self._finished_size:
                        flight = number + 1
                        break
                count -= flight
                if count > 0 and half.last_size == self._alert_size:
                    count -= 1
                if count < 0:
                    count = 0
            if half.role == CLIENT:
                facts.client_data_records = count
                facts.client_data_octets = half.protected_octets
            else:
                facts.server_data_records = count
                facts.server_data_octets = half.protected_octets

    def _anomaly(self, sender: int, kind: str, detail: str) -> None:
        if self._anomalies < MAX_ANOMALIES:
            self._anomalies += 1
            at = self._at
            self._events.append(Anomaly(sender, at.frame, at.timestamp_ns, at.offset + self._here, kind, detail))

    # -- SSL 2.0 ---------------------------------------------------------------------------------------------------------------

    def _read_v2(self, half: _Half, data: bytes, at: i64, size: i64) -> i64:
        """SSL 2.0 records; offset of the next octet to be read."""
        if half.mode == _V2_HEADER:
            need = 3 - len(half.head)
            if size - at < need:
                half.head += data[at:size]
                return size
            head = half.head + data[at : at + need]
            half.head = b""
            half.message_offset = self._at.offset + at + need - 3
            self._here = at + need - 3
            if head[1] == 3 and _CHANGE_CIPHER_SPEC <= head[0] <= _HEARTBEAT and not self._v2:
                half.head = head
                half.mode = _HEADER
                return at + need
            if not self._v2 and half.role == SERVER:
                self._lose(half)
                return at + need
            # A header of two octets, or of three where the record is padded.
            if head[0] & 0x80:
                half.remaining = (((head[0] & 0x7F) << 8) | head[1]) - 1
                body = head[2:]
            else:
                half.remaining = ((head[0] & 0x3F) << 8) | head[1]
                body = b""
            if half.remaining < 0:
                half.mode = _DISCARD
                return size
            half.message.clear()
            if self._v2_keyed:
                half.mode = _V2_SKIP
                half.protected += 1
                if self._client.protected >= 1 and self._server.protected >= 2 and not self.facts.completed:
                    self._complete(half)
            else:
                half.message += body
                half.mode = _V2_KEEP
            if half.remaining == 0:
                self._v2_ended(half)
            return at + need
        stop = at + half.remaining
        if stop > size:
            stop = size
        half.remaining -= stop - at
        if half.mode == _V2_KEEP:
            half.message += data[at:stop]
        if half.remaining == 0:
            self._v2_ended(half)
        return stop

    def _v2_ended(self, half: _Half) -> None:
        """An SSL 2.0 record is complete."""
        self._here = half.message_offset - self._at.offset
        keep = half.mode == _V2_KEEP
        half.mode = _V2_HEADER
        whole = bytes(half.message)
        half.message.clear()
        if not keep or not whole:
            return
        facts = self.facts
        kind = whole[0]
        if kind == _V2_CLIENT_HELLO:
            hello = parse_sslv2_client_hello(whole, 0, len(whole))
            if hello.version != 2 and hello.version >> 8 != 3:
                self._lose(half)
                return
            self._v2_recognised()
            if facts.client_hello is None:
                self._client_said(half, hello)
        elif kind == _V2_SERVER_HELLO and half.role == SERVER:
            answer = parse_sslv2_server_hello(whole, 0, len(whole))
            if answer.malformed or answer.version != 2:
                self._lose(half)
                return
            self._v2_recognised()
            self._v2 = True
            facts.known_version = 2
            facts.resumed = answer.resumed
            facts.resumption = BY_SESSION_ID if answer.resumed else None
            self._v2_keyed = answer.resumed
            if answer.certificate:
                facts.cert_seen = True
                facts.certificates = [answer.certificate]
        elif kind == _V2_CLIENT_MASTER_KEY and half.role == CLIENT and len(whole) >= 4:
            self._v2 = True
            self._v2_keyed = True
            facts.known_version = 2
            facts.suite_code = (whole[1] << 16) | (whole[2] << 8) | whole[3]
        elif kind == _V2_ERROR and len(whole) >= 3:
            name = SSLV2_ERRORS.get((whole[1] << 8) | whole[2], "handshake_failure")
            self._note_alert(name, True, half.role)
            self._tell_alert(half.role, half.message_offset, name, True)
            if not facts.completed:
                self._fail(FAILURE_ALERT, half.role)

    def _v2_recognised(self) -> None:
        self.recognised = True
        if self.facts.first_frame == 0:
            self.facts.first_frame = self._at.frame
            self.facts.first_ns = self._at.timestamp_ns
