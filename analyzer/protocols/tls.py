"""TLS seen through: records of both directions, the handshake's messages, and how the handshake ended (RFC 8446, 5246, 6101, SSL 2.0).

Sans-IO like the mail dissectors, and with the same four methods: octets of a TLS connection go in, events come out, facts gather in
:attr:`TlsDissector.handshake`. Nothing here decrypts. Once the handshake is decided, records of application data
are stepped over by their headers alone: most segments of a long session cost one comparison and one subtraction.

A gap inside a record is stepped over; one that hides a record header sends the reader looking for the next plausible header. Octets that
are no TLS at all are looked through in the same way, up to :data:`~analyzer.protocols.tls_messages.MAX_LOSSES` times.

It is built up in layers, each a class on top of the one before, and one object, because records, messages and the verdict share the
state of both directions:

- :mod:`~analyzer.protocols.tls_verdict`: how the handshake ended
- :mod:`~analyzer.protocols.tls_messages`: the handshake's messages
- :mod:`~analyzer.protocols.tls_sslv2`: SSL 2.0
- :mod:`~analyzer.protocols.tls_back`: text instead of records
- :class:`TlsDissector`, here: what the owner calls, and records

Beside them, :mod:`~analyzer.protocols.tls_half` is how one direction is being read, :mod:`~analyzer.protocols.tls_handshake` takes single
messages apart, :mod:`~analyzer.protocols.tls_facts` holds what was found.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.events import Event
from analyzer.protocols.tls_back import TextAgain
from analyzer.protocols.tls_facts import ENCRYPTED_ALERT, FAILURE_ALERT, FAILURE_CLOSED, FAILURE_ENCRYPTED_ALERT, NOBODY
from analyzer.protocols.tls_half import (
    ALERT,
    APPLICATION_DATA,
    BACK,
    CHANGE_CIPHER_SPEC,
    DISCARD,
    HANDSHAKE,
    HEADER,
    HEARTBEAT,
    KEEP,
    LINE,
    LOST,
    MAX_SIZES,
    SKIP,
    START,
    TEXT,
    V2_HEADER,
    V2_KEEP,
    V2_SKIP,
    Half,
)
from analyzer.protocols.tls_names import alert_name
from analyzer.protocols.tls_sslv2 import V2_CLIENT_HELLO, V2_ERROR, V2_SERVER_HELLO

#: Longest record body: 2^14 octets of text, and up to 2048 more that encryption and compression may add (RFC 5246 section 6.2.3).
MAX_RECORD: Final = 18432
#: Octets of readable application data (NULL suites) that wait for their reader, of each direction; more are dropped.
MAX_PLAINTEXT: Final = 1048576

# Alert descriptions that do not end a TLS 1.3 handshake by themselves, or that say that it was ended on purpose.
_CLOSE_NOTIFY: Final = 0
_USER_CANCELED: Final = 90


class TlsDissector(TextAgain):
    """Reads one TLS connection. ``mode`` is ``implicit`` or ``starttls``; ``midstream`` says that its beginning is not in the capture."""

    # -- for the owner ---------------------------------------------------------------------------------------------------------

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> list[Event]:
        """The next octets of one direction; what they made happen. An empty list must not be changed: it is used again."""
        half = self._from_server if sender == SERVER else self._from_client
        if self._events:
            self._events = []
        size: i64 = len(data)
        if size < half.remaining and half.mode == SKIP:
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
        if mode in (SKIP, KEEP) and size <= half.remaining:
            half.remaining -= size
            if mode == KEEP:
                if half.kind == HANDSHAKE:
                    self._message_gap(half, size)
                elif half.kind == APPLICATION_DATA:
                    half.body_damaged = True
                else:
                    half.alert = b""
            if half.remaining == 0:
                self._body_ended(half)
        elif mode == V2_KEEP or mode == V2_SKIP:
            if size <= half.remaining:
                half.remaining -= size
                half.message.clear()
                half.mode = V2_SKIP if half.remaining else V2_HEADER
            else:
                half.mode = DISCARD
        elif mode == V2_HEADER:
            half.mode = DISCARD
        elif mode == LINE and half.text_first:
            self._no_line(half)
        elif mode != TEXT and mode != DISCARD and mode != BACK:
            half.line.clear()
            half.strayed = True
            half.head = b""
            half.remaining = 0
            self._message_cut(half)
            self._forget(half)
            half.mode = LOST
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
        if half.mode == LINE:
            self._no_line(half)
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
            elif self._tls13 and self._closer == SERVER and self._server.last_size == self._alert_size:
                # What stands last in its flight is too small for anything but an alert.
                self._note_alert(ENCRYPTED_ALERT, True, SERVER)
                self._fail(FAILURE_ENCRYPTED_ALERT, SERVER)
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
        for half in (self._client, self._server):
            if half.mode == LINE:
                self._no_line(half)
        self.release_text()
        self._judge_alert_instead(False)
        self._tally()
        return self._events

    def is_text(self, sender: Sender) -> bool:
        """Whether a direction is text again, behind a handshake that came to nothing; it stays so."""
        half = self._from_server if sender == SERVER else self._from_client
        return half.mode == BACK and not half.text_waits

    def text_position(self, sender: Sender, here: Position) -> Position:
        """Where the text of a direction stands that :meth:`plaintext` hands over next: ``here``, unless it has waited."""
        half = self._from_server if sender == SERVER else self._from_client
        at = here if half.text_at is None else half.text_at
        half.text_at = None
        return Position(at.frame, at.timestamp_ns, half.text_offset)

    def text_waits(self) -> bool:
        """Whether text of the server's is there that waits: who does not, asks :meth:`release_text` to hand it over."""
        return self._server.text_waits

    def text_waited(self) -> bool:
        """Whether text of the server's is there, not handed over yet, that has waited for the client to speak: it came before."""
        return self._from_server.text_at is not None

    def text_missing(self, sender: Sender, size: i64) -> None:
        """``size`` octets are missing of a direction's text."""
        (self._from_server if sender == SERVER else self._from_client).text_offset += size

    def untried(self) -> bool:
        """Whether the client has sent nothing where its hello was due, and the server no more than an alert that says so."""
        facts = self.facts
        server = self._server
        return (
            not self._client.heard
            and not facts.completed
            and facts.client_hello is None
            and facts.server_hello is None
            and facts.alert is not None
            and not (facts.damaged or server.gap or server.ccs or server.protected)
        )

    def plaintext(self, sender: Sender) -> bytes:
        """What waits for its reader, handed over once: application data that the suite did not encrypt, without its MACs, or text (:meth:`is_text`)."""
        half = self._from_server if sender == SERVER else self._from_client
        data = b"".join(half.plaintext)
        half.plaintext = []
        half.plaintext_size = 0
        half.text_offset += len(data)
        return data

    # -- records ---------------------------------------------------------------------------------------------------------------

    def _read(self, half: Half, data: bytes, size: i64) -> None:
        at: i64 = 0
        half.heard = True
        while at < size:
            mode = half.mode
            if mode == SKIP:
                if size - at < half.remaining:
                    half.remaining -= size - at
                    return
                at += half.remaining
                half.remaining = 0
                half.mode = HEADER
            elif mode == HEADER:
                if half.head or at + 5 > size:
                    if not half.head and self._may_be_text(half, data[at]):
                        self._begin_line(half, at)
                        continue
                    at = self._joined_header(half, data, at, size)
                    continue
                length: i64 = (data[at + 3] << 8) | data[at + 4]
                if (
                    self._bulk
                    and data[at] == APPLICATION_DATA
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
                    half.mode = SKIP
                else:
                    self._here = at
                    if self._open(half, data[at], data[at + 1], data[at + 2], length):
                        at += 5
                    elif self._may_be_text(half, data[at]):
                        self._begin_line(half, at)
                    else:
                        self._lose(half)
                        at += 1
            elif mode == KEEP:
                stop = at + half.remaining
                if stop > size:
                    stop = size
                half.remaining -= stop - at
                self._here = at
                if half.kind == HANDSHAKE:
                    self._messages(half, data, at, stop)
                elif half.kind == ALERT:
                    self._alert_octets(half, data, at, stop)
                else:
                    half.body += data[at:stop]
                at = stop
                if half.remaining == 0:
                    self._body_ended(half)
            elif mode == LOST:
                at = self._look(half, data, at, size)
            elif mode == START:
                at = self._begin(half, data, at, size)
            elif mode == TEXT or mode == BACK:
                at = self._read_text(half, data, at, size)
            elif mode == DISCARD:
                return
            elif mode == LINE:
                at = self._read_line(half, data, at, size)
            else:
                at = self._read_v2(half, data, at, size)

    def _begin(self, half: Half, data: bytes, at: i64, size: i64) -> i64:
        """The first octets of a direction: TLS, SSL 2.0, or something else."""
        self._here = at - len(half.head)
        if not half.head:
            first: i64 = data[at]
            if CHANGE_CIPHER_SPEC <= first <= HEARTBEAT:
                half.mode = HEADER
                return at
            if first & 0x80 == 0:
                if 32 <= first <= 126 or first in (9, 10, 13):
                    half.text_first = True
                    if self._may_be_text(half, first):
                        self._begin_line(half, at)
                    else:
                        half.mode = TEXT
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
        wanted = V2_CLIENT_HELLO if half.role == CLIENT else V2_SERVER_HELLO
        half.message_offset = self._at.offset + at + need - 3
        self._here = at + need - 3
        if length >= 9 and (head[2] == wanted or (head[2] == V2_CLIENT_HELLO and not self.recognised)):
            half.message = bytearray(head[2:])
            half.remaining = length - 1
            half.mode = V2_KEEP
        elif half.role == SERVER and head[2] == V2_ERROR and length == 3:
            half.message = bytearray(head[2:])
            half.remaining = 2
            half.mode = V2_KEEP
        else:
            half.head = head[1:]
            self._lose(half)
        return at + need

    def _joined_header(self, half: Half, data: bytes, at: i64, size: i64) -> i64:
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

    def _open(self, half: Half, kind: i64, major: i64, minor: i64, length: i64) -> bool:
        """A record header: decide how its body is read, and what its coming means. False where it is no TLS record header."""
        if kind < CHANGE_CIPHER_SPEC or kind > HEARTBEAT or major != 3 or minor > 4 or length > MAX_RECORD:
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
        half.mode = SKIP
        if kind == APPLICATION_DATA:
            if before == CHANGE_CIPHER_SPEC and half.role == CLIENT:
                self._no_finished_before(half)
            half.protected += 1
            half.protected_octets += length
            half.last_size = length
            if half.protected <= MAX_SIZES:
                half.sizes.append(length)
            if not facts.completed:
                facts.record_version = 0x0300 | minor
            if self._null_mac >= 0:
                half.mode = KEEP
            self._judge(half)
        elif kind == HANDSHAKE:
            if half.ccs and not self._tls13:
                half.finished = True
                self._judge(half)
            elif not facts.completed:
                half.mode = KEEP
        elif kind == CHANGE_CIPHER_SPEC:
            if not self._tls13:
                if not facts.completed:
                    facts.record_version = 0x0300 | minor
                if half.ccs and length > 1 and facts.completed and half.role == CLIENT:
                    facts.renegotiations += 1
                if half.role == SERVER and not half.ccs:
                    self._judge_resumption(half)
                half.ccs = True
        elif kind == ALERT:
            if length == 2 or (self._null_mac >= 0 and not self._tls13 and length == 2 + self._null_mac):
                half.alert = b""
                half.message_offset = self._at.offset + self._here
                half.mode = KEEP
            elif (
                not facts.completed
                and facts.failure is None
                and not self._tls13
                and not facts.damaged
                and half.ccs
                and (self._server if half.role == CLIENT else self._client).heard  # else it may be a farewell
            ):
                self._note_alert(ENCRYPTED_ALERT, True, half.role)
                self._fail(FAILURE_ENCRYPTED_ALERT, half.role)
        return True

    def _body_ended(self, half: Half) -> None:
        if half.mode == KEEP and half.kind == APPLICATION_DATA:
            if not half.body_damaged:
                self._keep_plaintext(half)
            half.body.clear()
            half.body_damaged = False
        half.mode = HEADER

    def _keep_plaintext(self, half: Half) -> None:
        size: i64 = len(half.body) - self._null_mac
        if self._tls13:
            # TLSInnerPlaintext: content, its type, zeros (RFC 8446 section 5.2), under the integrity-only suites of RFC 9150.
            while size > 0 and half.body[size - 1] == 0:
                size -= 1
            size -= 1
            if size < 0 or half.body[size] != APPLICATION_DATA:
                return
        if size <= 0:
            return
        if half.plaintext_size + size > MAX_PLAINTEXT:
            self.plaintext_dropped += size
            return
        half.plaintext.append(bytes(half.body[:size]))
        half.plaintext_size += size

    def _alert_octets(self, half: Half, data: bytes, at: i64, stop: i64) -> None:
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

    # -- lost and found --------------------------------------------------------------------------------------------------------

    def _look(self, half: Half, data: bytes, start: i64, size: i64) -> i64:
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
                CHANGE_CIPHER_SPEC <= kind <= APPLICATION_DATA
                and 0 < length <= MAX_RECORD
                and (data[at + 1] == minor if minor >= 0 else data[at + 1] <= 3)
                and (kind >= HANDSHAKE or length <= 256)
            ):
                half.head = b""
                half.mode = HEADER
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
                    half.mode = SKIP
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
