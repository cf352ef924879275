"""The messages of a TLS handshake: put together from records, and taken for what they say (RFC 8446, 5246, 5077)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER
from analyzer.protocols.events import (
    STARTTLS_RESPONSE_INJECTION,
    TLS_HANDSHAKE_TOO_LONG,
    TLS_MALFORMED,
    TLS_STREAM_LOST,
    Anomaly,
    TlsHelloSeen,
)
from analyzer.protocols.octets import describe_lines
from analyzer.protocols.tls_facts import BY_PSK, BY_SESSION_ID, BY_TICKET, FAILURE_TEXT, NOBODY
from analyzer.protocols.tls_half import DISCARD, LOST, Half
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
)
from analyzer.protocols.tls_names import key_exchange, null_mac_size, suite_name
from analyzer.protocols.tls_verdict import MAX_ANOMALIES, Verdict

#: Octets of one handshake message that are kept; the largest real ones are certificate chains. A longer message is stepped over.
MAX_HANDSHAKE: Final = 262144
#: Times that a direction may be lost and found again before the rest of it is left unread.
MAX_LOSSES: Final = 64

# Handshake types that exist, as a set of bits: 0-6, 8, 11-16, 20-26.
_KNOWN_MESSAGES: Final = 0x7F1F97F


class Messages(Verdict):
    """Collects handshake messages, and forgets what a loss has broken."""

    def _messages(self, half: Half, data: bytes, at: i64, stop: i64) -> None:
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

    def _bad_message(self, half: Half, kind: i64, size: i64, rest: i64) -> None:
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

    def _message_gap(self, half: Half, size: i64) -> None:
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

    def _message_cut(self, half: Half) -> None:
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

    def _message(self, half: Half, kind: i64, data: bytes, start: i64, end: i64) -> None:
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

    def _client_said(self, half: Half, hello: ClientHello) -> None:
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

    def _server_said(self, half: Half, data: bytes, start: i64, end: i64) -> None:
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
        if half.text_first:
            self._tell_slipped_in(half)
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
            self.readable = True
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

    def _tell_slipped_in(self, half: Half) -> None:
        """The server's hello stands behind text: that is none of the server's, for the handshake goes on."""
        facts = self.facts
        half.text_first = False
        if facts.failure == FAILURE_TEXT:
            facts.failure = None
            facts.failure_sender = NOBODY
        facts.text = b""
        facts.reason = b""
        half.text_waits = False
        half.plaintext = []
        at = half.text_at
        if at is not None and self._anomalies < MAX_ANOMALIES:
            self._anomalies += 1
            detail = describe_lines(half.text_begun)
            self._events.append(
                Anomaly(SERVER, at.frame, at.timestamp_ns, at.offset, STARTTLS_RESPONSE_INJECTION, detail)
            )
        half.text_at = None
        half.text_begun = b""

    def _keys_exchanged(self, half: Half) -> None:
        """TLS 1.3 has no such message, and older versions write the version in use on its record."""
        facts = self.facts
        facts.record_version = 0x0300 | half.minor
        if facts.server_hello is None and half.minor == 3:
            facts.known_version = 0x0303

    def _judge_resumption(self, half: Half) -> None:
        """The server changes ciphers: if no message of a full handshake came before, the session is an old one (RFC 5077 section 3.4)."""
        facts = self.facts
        if facts.server_hello is None or half.gap or facts.damaged or self._full:
            return
        facts.resumed = True
        if facts.resumption is None and facts.client_hello is not None:
            facts.resumption = BY_TICKET if facts.client_hello.ticket else BY_SESSION_ID

    def _lose(self, half: Half) -> None:
        """What stands here is no TLS record: look for the next one."""
        half.losses += 1
        half.remaining = 0
        self._forget(half)
        half.mode = LOST if half.losses <= MAX_LOSSES else DISCARD
        if half.trial:
            half.trial = False
        elif self.recognised:
            self.facts.damaged = self.facts.damaged or not self.facts.completed
            self._anomaly(half.role, TLS_STREAM_LOST, "octets that are no TLS record")

    def _forget(self, half: Half) -> None:
        """Whatever was being collected is broken, and what comes next need not be what comes next."""
        half.kind = 0
        half.message.clear()
        half.message_size = 0
        half.message_skip = 0
        half.body.clear()
        half.body_damaged = False
        half.alert = b""
