"""How a TLS handshake ended, told without keys; and the alerts on the way.

- TLS 1.2 and older: each side sends ChangeCipherSpec and one encrypted handshake record (its Finished); application data of a side
  proves the same where a gap hides them.
- TLS 1.3: behind the ServerHello all records look like application data, and ChangeCipherSpec means nothing. The server's flight comes
  first; the client's first record after it is its Finished (or its certificate), unless it has exactly the size of an encrypted alert
  and nothing follows: then the client has refused, most often the certificate.
- Where the capture holds one direction alone, that side's Finished and application data must do.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position
from analyzer.protocols.events import Anomaly, Event, TlsAlert, TlsCompleted, TlsFailed
from analyzer.protocols.tls_facts import (
    ENCRYPTED_ALERT,
    FAILURE_ALERT,
    FAILURE_ENCRYPTED_ALERT,
    FAILURE_TEXT,
    NOBODY,
    TlsFacts,
)
from analyzer.protocols.tls_half import LOST, MAX_SIZES, Half
from analyzer.protocols.tls_names import suite_name

#: Anomalies told of one connection.
MAX_ANOMALIES: Final = 16
#: Alerts told of one connection.
MAX_ALERTS: Final = 16


class Verdict:
    """The state of a TLS connection, and what is made of it. The lowest layer of :class:`~analyzer.protocols.tls.TlsDissector`."""

    def __init__(self, mode: str, midstream: bool = False) -> None:
        self.facts: TlsFacts = TlsFacts(mode)
        #: this is TLS: a record or an SSL 2.0 hello was seen
        self.recognised: bool = False
        #: octets of readable application data that nobody took in time
        self.plaintext_dropped: i64 = 0
        #: something may wait for its reader: data under a suite that does not encrypt, or text (``is_text``)
        self.readable: bool = False
        #: word of the protocol that was spoken in clear before, and may go on where no handshake comes about; empty: none may
        self.text_protocol: str = ""
        #: the server was heard in clear before: that it says nothing here does not mean that it was not captured
        self.server_captured: bool = False
        self._events: list[Event] = []
        self._at: Position = Position(0, 0, 0)
        #: offset in the current piece, for the offsets of events
        self._here: i64 = 0
        # The halves by TCP direction, and the same two by role.
        self._from_client: Half = Half(CLIENT)
        self._from_server: Half = Half(SERVER)
        self._client: Half = self._from_client
        self._server: Half = self._from_server
        if midstream:
            self._client.mode = LOST
            self._server.mode = LOST
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

    def _judge_text(self) -> None:
        """One side speaks TLS and the other one text: no handshake will come of it."""
        facts = self.facts
        if facts.client_hello is None or facts.failure is not None or facts.completed:
            return
        if self._server.text_first:
            self._fail(FAILURE_TEXT, SERVER)
        elif self._client.text_first:
            self._fail(FAILURE_TEXT, CLIENT)

    def _judge(self, half: Half) -> None:
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
        elif (client_done and client.protected and not (server.heard or self.server_captured)) or (
            server_done and server.protected and not client.heard
        ):
            self._complete(half)

    def _complete(self, half: Half) -> None:
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

    def _no_finished_before(self, half: Half) -> None:
        """Data right behind the client's ChangeCipherSpec: up to TLS 1.2 a Finished stands between them, of another record type.

        Early data stands there, too (RFC 8446 section 4.2.10), but before the server's first word.
        """
        facts = self.facts
        if not facts.completed and facts.server_hello is None and facts.known_version == 0 and self._server.minor == 3:
            facts.known_version = 0x0304

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
