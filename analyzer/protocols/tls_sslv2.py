"""SSL 2.0: its records and messages, and hellos of later versions in its format (SSL 2.0 draft, RFC 5246 appendix E.2)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER
from analyzer.protocols.tls_facts import BY_SESSION_ID, FAILURE_ALERT
from analyzer.protocols.tls_half import (
    CHANGE_CIPHER_SPEC,
    DISCARD,
    HEADER,
    HEARTBEAT,
    V2_HEADER,
    V2_KEEP,
    V2_SKIP,
    Half,
)
from analyzer.protocols.tls_handshake import parse_sslv2_client_hello, parse_sslv2_server_hello
from analyzer.protocols.tls_messages import Messages
from analyzer.protocols.tls_names import SSLV2_ERRORS

# SSL 2.0 messages.
V2_ERROR: Final = 0
V2_CLIENT_HELLO: Final = 1
_V2_CLIENT_MASTER_KEY: Final = 2
V2_SERVER_HELLO: Final = 4


class Sslv2(Messages):
    """Reads a direction in SSL 2.0."""

    def _read_v2(self, half: Half, data: bytes, at: i64, size: i64) -> i64:
        """SSL 2.0 records; offset of the next octet to be read."""
        if half.mode == V2_HEADER:
            need = 3 - len(half.head)
            if size - at < need:
                half.head += data[at:size]
                return size
            head = half.head + data[at : at + need]
            half.head = b""
            half.message_offset = self._at.offset + at + need - 3
            self._here = at + need - 3
            if head[1] == 3 and CHANGE_CIPHER_SPEC <= head[0] <= HEARTBEAT and not self._v2:
                half.head = head
                half.mode = HEADER
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
                half.mode = DISCARD
                return size
            half.message.clear()
            if self._v2_keyed:
                half.mode = V2_SKIP
                half.protected += 1
                if self._client.protected >= 1 and self._server.protected >= 2 and not self.facts.completed:
                    self._complete(half)
            else:
                half.message += body
                half.mode = V2_KEEP
            if half.remaining == 0:
                self._v2_ended(half)
            return at + need
        stop = at + half.remaining
        if stop > size:
            stop = size
        half.remaining -= stop - at
        if half.mode == V2_KEEP:
            half.message += data[at:stop]
        if half.remaining == 0:
            self._v2_ended(half)
        return stop

    def _v2_ended(self, half: Half) -> None:
        """An SSL 2.0 record is complete."""
        self._here = half.message_offset - self._at.offset
        keep = half.mode == V2_KEEP
        half.mode = V2_HEADER
        whole = bytes(half.message)
        half.message.clear()
        if not keep or not whole:
            return
        facts = self.facts
        kind = whole[0]
        if kind == V2_CLIENT_HELLO:
            hello = parse_sslv2_client_hello(whole, 0, len(whole))
            if hello.version != 2 and hello.version >> 8 != 3:
                self._lose(half)
                return
            self._v2_recognised()
            if facts.client_hello is None:
                self._client_said(half, hello)
        elif kind == V2_SERVER_HELLO and half.role == SERVER:
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
        elif kind == V2_ERROR and len(whole) >= 3:
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
