"""From byte streams to sessions: which dissector reads a connection, and when the reading passes on to TLS.

One :class:`SessionStream` listens to one TCP connection. It collects the first octets until detection knows the protocol, hands
everything to the protocol's dissector, passes on to the TLS dissector where TLS begins, and makes the session record when the
connection is over, or as soon as both sides have closed a connection in clear and nothing is pending. A fault in a dissector
costs that one session its remaining events, and is recorded in it.

Over 500 lines, because a connection changes hands (detection, dissector, TLS, what TLS carried) within one object, and octets that wait go from
one to the other.
"""

from __future__ import annotations

import sys
import traceback
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.flows.base import Flow, StreamSink, StreamSinkFactory
from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.base import Dissector, looks_like_tls, may_be_tls
from analyzer.protocols.detect import (
    ENOUGH,
    IMPLICIT_TLS_SERVICES,
    MAX_LOOK,
    NOT_MAIL_PREFIX,
    PROTOCOL_OF,
    SERVICES,
    decide,
    plausible_greeting,
    quick_verdict,
    says_grant,
)
from analyzer.protocols.events import (
    DISSECTOR_FAULT,
    NOT_MAIL,
    PLAINTEXT_ON_TLS_PORT,
    STARTTLS_WITHOUT_TLS,
    TLS_ON_PLAINTEXT_PORT,
    Anomaly,
    AuthenticationEnded,
    CredentialsSent,
    Event,
    MessageTransferred,
    StartTlsRefused,
)
from analyzer.protocols.imap import ImapDissector
from analyzer.protocols.octets import TLS_SURE, next_line
from analyzer.protocols.pop3 import Pop3Dissector
from analyzer.protocols.prefaces import preface_length, tunnel_port
from analyzer.protocols.sieve import SieveDissector
from analyzer.protocols.smtp import SmtpDissector
from analyzer.protocols.tls import TlsDissector
from analyzer.protocols.tls_text import takes_leave
from analyzer.sessions.builder import SessionBuilder
from analyzer.sessions.records import (
    COMPLETE,
    IMPLICIT_TLS,
    MIDSTREAM,
    NOT_APPLICABLE,
    ONE_SIDED,
    PLAINTEXT,
    STARTTLS,
    TRUNCATED,
    UNKNOWN,
    UNSEEN,
    Session,
    SessionSink,
    TlsHandshake,
    address_text,
)

#: Characters of a contained fault's traceback that its anomaly keeps.
MAX_TRACEBACK: Final = 2000
#: Connections that wait for the monitor's next look at them: more than the flow table holds open, and some that ended meanwhile.
#: Those beyond are looked at when they end, and counted.
MAX_STIRRED: Final = 1 << 17
#: Handshakes of one connection that may fail and be followed by text; behind one more, octets that are no TLS are lost.
MAX_HANDSHAKES: Final = 16


@mypyc_attr(acyclic=True)
class _Piece:
    """Octets (or a gap) that wait until the protocol is known."""

    def __init__(self, sender: Sender, data: bytes, gap: i64, at: Position) -> None:
        self.sender: int = sender
        self.data = data
        self.gap: i64 = gap
        self.at = at


def make_dissector(protocol: str, service: str | None, midstream: bool) -> Dissector:
    """The dissector of a protocol's word; ``midstream`` says that the connection began before the capture."""
    dissector: Dissector
    if protocol == "pop3":
        dissector = Pop3Dissector()
    elif protocol == "imap":
        dissector = ImapDissector()
    elif protocol == "managesieve":
        dissector = SieveDissector()
    else:
        smtp = SmtpDissector()
        if protocol == "lmtp":
            smtp.protocol = "lmtp"
        smtp.submission = service == "submission" or service == "submissions" or service == "smtps"
        dissector = smtp
    return _begun(dissector, midstream)


def _begun(dissector: Dissector, midstream: bool) -> Dissector:
    dissector.midstream = midstream
    return dissector


@mypyc_attr(acyclic=True, free_list_len=1)
class SessionStream(StreamSink):
    """Listens to one connection."""

    def __init__(self, factory: SessionStreamFactory, flow: Flow, service: str | None) -> None:
        self._factory = factory
        self._flow = flow
        self._service = service
        self._dissector: Dissector | None = None
        self._tls: TlsDissector | None = None
        self._builder: SessionBuilder | None = None
        self._waiting: list[_Piece] | None = None
        self._waiting_size: i64 = 0
        self._not_mail: str | None = None
        self._tls_mode: str = ""
        self._tls_on_plaintext: bool = False
        #: whose octets are TLS while the other side's are text, and are not read: CLIENT or SERVER, -1 for nobody's
        self._unread: int = -1
        self._faulty: bool = False
        #: the dissector that read the clear part before TLS
        self._read_before: Dissector | None = None
        #: the directions that are text again, a bit of each sender: TLS has begun and come to nothing
        self._text_again: i64 = 0
        #: where the client's text goes on behind its farewell, -1: it took none; and the commands up to there
        self._left_at: i64 = -1
        self._left_commands: i64 = 0
        #: the handshake that text of the client's went on behind
        self._clear_behind: TlsDissector | None = None
        self._handshakes: i64 = 0
        #: an earlier handshake of the connection, which failed
        self._tls_before: TlsDissector | None = None
        #: the record, once all octets are read: no more than late packets are missing in it
        self._record: Session | None = None
        #: reads what TLS carried, where that can be read; None where it cannot, or is no mail
        self._inside: Dissector | None = None
        #: first octets of what TLS carried, until the protocol is known; None: nothing has come, or it is settled
        self._inside_waiting: list[_Piece] | None = None
        self._inside_settled: bool = False
        self._inside_decrypted: bool = False
        self._inside_client: i64 = 0
        self._inside_server: i64 = 0
        #: the monitor is to look at it; and the connection is over
        self._stirred: bool = False
        self._over: bool = False

    # -- StreamSink ------------------------------------------------------------------------------------------------------------

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> bool:
        dissector = self._dissector
        if dissector is not None:
            if sender == self._unread:
                return True
            try:
                events = dissector.receive_data(sender, data, at)
                if events:
                    self._apply(events)
                if dissector.tls_started:
                    self._pass_on_to_tls(dissector, at, sender == CLIENT)
            except Exception:
                self._contain(at)
            return True
        tls = self._tls
        if tls is not None:
            try:
                events = tls.receive_data(sender, data, at)
                if events:
                    self._apply(events)
                if tls.readable:
                    self._take_readable(tls, sender, at)
            except Exception:
                self._contain(at)
            return True
        if self._not_mail is not None or self._faulty or self._record is not None:
            return True
        waiting = self._waiting
        if waiting is None:
            waiting = []
            self._waiting = waiting
        waiting.append(_Piece(sender, data, 0, at))
        self._waiting_size += len(data)
        service = self._service
        if service is not None and self._waiting_size <= MAX_LOOK:
            count = len(waiting)
            if count == 1 and sender == SERVER:
                # The greeting alone settles nothing that the client's first line would not settle better.
                return True
            if count == 2 and sender == CLIENT:
                first = waiting[0]
                if first.sender == SERVER and not first.gap:
                    verdict = quick_verdict(service, first.data, data)
                    if verdict:
                        self._waiting = None
                        self._dissector = make_dissector(
                            verdict, service, not (self._flow.syn_seen or self._flow.syn_ack_seen)
                        )
                        self.receive_data(SERVER, first.data, first.at)
                        return self.receive_data(CLIENT, data, at)
        return self._detect(at, self._waiting_size > MAX_LOOK)

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> None:
        dissector = self._dissector
        tls = self._tls
        try:
            if dissector is None and tls is not None:
                if sender == SERVER and tls.text_waits():
                    tls.release_text()
                    self._take_readable(tls, SERVER, at)
                if tls.is_text(sender):
                    dissector = self._read_before
                    tls.text_missing(sender, size)
            if dissector is not None:
                if sender != self._unread:
                    self._apply(dissector.receive_gap(sender, size, at))
                    if dissector.tls_started:
                        # What waited is TLS, and the gap is behind it.
                        self._pass_on_to_tls(dissector, at)
                        if self._tls is not None and (sender == CLIENT or dissector.server.tls_at >= 0):
                            self._apply(self._tls.receive_gap(sender, size, at))
            elif self._tls is not None:
                self._apply(self._tls.receive_gap(sender, size, at))
            elif self._not_mail is None and not self._faulty and self._record is None:
                if not self._wait_gap(sender, size, at):
                    return
                if self._service is not None:
                    # Whatever the missing octets were, no more may be waited for in front of them.
                    self._detect(at, self._service not in IMPLICIT_TLS_SERVICES)
        except Exception:
            self._contain(at)

    def _wait_gap(self, sender: Sender, size: i64, at: Position) -> bool:
        """Let a gap wait with the octets; whether that tells more than the one before it, of which it is the rest."""
        waiting = self._waiting
        if waiting is None:
            waiting = []
            self._waiting = waiting
        # A short snap length makes every segment one: between two pieces of octets each side has but one.
        for piece in waiting[-2:]:
            if piece.gap and piece.sender == sender and (piece is waiting[-1] or waiting[-1].gap):
                piece.gap += size
                return False
        waiting.append(_Piece(sender, b"", size, at))
        return True

    def receive_eof(self, sender: Sender, at: Position) -> None:
        dissector = self._dissector
        try:
            if (
                dissector is None
                and self._tls is None
                and self._not_mail is None
                and self._waiting
                and self._service is not None
            ):
                self._detect(at, True)
                dissector = self._dissector
            if dissector is not None:
                self._apply(dissector.receive_eof(sender, at))
                if dissector.tls_started:
                    self._pass_on_to_tls(dissector, at)
            elif self._tls is not None:
                self._apply(self._tls.receive_eof(sender, at))
                if self._inside is not None:
                    self._end_inside(sender, at, False)
                before = self._read_before
                if before is not None and self._text_again:
                    self._apply(before.receive_eof(sender, at))
                    if before.tls_started:
                        self._pass_on_to_tls(before, at)
        except Exception:
            self._contain(at)
        if self._factory.watching:
            self._stir()

    def streams_ended(self) -> None:
        """The record is made while all that goes into it is at hand: closed flows wait for late packets, thousands of them in busy captures."""
        dissector = self._dissector
        try:
            if dissector is not None and dissector.settled():
                self._record = self._session(self._flow)
                self._builder = None
                self._dissector = None
        except Exception:
            self._contain(Position(self._flow.last_frame, self._flow.end_ns, 0))

    def flow_ended(self, flow: Flow) -> None:
        self._over = True
        record = self._record
        if record is not None:
            _fill_packets(record, flow)
            self._hand_on(record, flow)
            return
        at = Position(flow.last_frame, flow.end_ns, 0)
        try:
            if self._dissector is None and self._tls is None and self._not_mail is None and self._waiting:
                self._detect(at, True)
            dissector = self._dissector
            if dissector is not None:
                self._apply(dissector.finish(at))
                if dissector.tls_started and self._tls is None:
                    self._pass_on_to_tls(dissector, at)
            if self._tls is not None:
                tls = self._tls
                self._apply(tls.finish(at))
                if tls.readable:
                    self._take_readable(tls, SERVER, at)
                if self._inside is not None or self._inside_waiting is not None:
                    self._end_inside(CLIENT, at, True)
                if self._text_again and self._read_before is not None:
                    self._apply(self._read_before.finish(at))
        except Exception:
            self._contain(at)
        if self._worth_a_record():
            self._hand_on(self._session(flow), flow)

    def _worth_a_record(self) -> bool:
        return self._service is not None or self._dissector is not None or self._tls is not None or self._faulty

    def _hand_on(self, session: Session, flow: Flow) -> None:
        self._factory.sink.receive_session(session)
        self._factory.count_packets(flow.capture, flow.packets)

    # -- looking on --------------------------------------------------------------------------------------------------------------

    def _stir(self) -> None:
        """Something happened that somebody who looks on wants to know at once."""
        if not self._stirred and not self._over:
            factory = self._factory
            if len(factory.stirred) < MAX_STIRRED:
                self._stirred = True
                factory.stirred.append(self)
            else:
                factory.unheeded += 1

    def so_far(self) -> Session | None:
        """The record of a connection that goes on, as it stands; None once it is over, or where there is nothing to say yet.

        It is the very record that goes on to be filled: copy it before the next octets come.
        """
        self._stirred = False
        record = self._record
        if self._over:
            return None
        if record is not None:
            _fill_packets(record, self._flow)
            return record
        return self._session(self._flow) if self._worth_a_record() else None

    def is_closed(self) -> bool:
        """Whether both sides have closed, or one has reset, the connection: only late packets may come."""
        flow = self._flow
        return (flow.client_fin and flow.server_fin) or flow.rst_frame > 0

    # -- detection -------------------------------------------------------------------------------------------------------------

    def _detect(self, at: Position, final: bool) -> bool:
        """Decide what is spoken, if the octets so far allow it; whether the flow is still of interest."""
        waiting = self._waiting
        if waiting is None:
            return True
        client = b""
        server = b""
        gap_before = False
        #: whether what each side is seen to say first is what it said first
        begun = [self._flow.syn_seen or self._flow.syn_ack_seen, self._flow.syn_ack_seen]
        for piece in waiting:
            if piece.gap:
                gap_before = True
                if not (server if piece.sender == SERVER else client):
                    begun[piece.sender] = False
            elif piece.sender == CLIENT:
                client += piece.data
            else:
                server += piece.data
        service = self._service
        client_skip, server_skip = preface_length(client, server)
        if client_skip < 0:
            if not final:
                return True
            client_skip = server_skip = 0
        whole = self._flow.syn_seen and self._flow.syn_ack_seen and not gap_before
        client_first = client_skip == 0 and waiting[0].sender == CLIENT
        # Behind a gap the next line tells; of TLS, it takes more octets to tell its middle from text.
        if gap_before and service is not None and service not in IMPLICIT_TLS_SERVICES:
            # A word of the client's may be the beginning of another one; and FTP begins as POP3 does, where its greeting is missing:
            # the server's answer tells.
            begun_line = 0 < len(client) < ENOUGH and b"\n" not in client
            asked = service == "pop3" and not server and client[:5].upper() in (b"USER ", b"PASS ")
            final = final or not (begun_line or asked)
        if not final and not gap_before and (may_be_tls(client[client_skip:]) or may_be_tls(server[server_skip:])):
            return True
        verdict = decide(service, server[server_skip:], client[client_skip:], final, whole, client_first)
        if verdict == "":
            return True
        if service is None and client_first:
            # No mail client speaks before the server's greeting (Redis has AUTH and +OK as well).
            verdict = NOT_MAIL_PREFIX
        if client_skip and service is None:
            # Where a tunnel leads is as good as the port of a connection.
            behind = self._factory.port_service(tunnel_port(client[:client_skip]))
            if behind is not None and behind in IMPLICIT_TLS_SERVICES and looks_like_tls(client[client_skip:]):
                verdict = "tls"
                self._make_builder().session.protocol = PROTOCOL_OF[behind]
            if behind is not None and not verdict.startswith(NOT_MAIL_PREFIX):
                self._make_builder().session.proxied = True
        self._waiting = None
        if verdict == "tls":
            shown = begun[CLIENT] if looks_like_tls(client[client_skip:]) else begun[SERVER]
            self._begin_tls(at, shown, begun[CLIENT] and begun[SERVER])
        elif verdict.startswith(NOT_MAIL_PREFIX):
            if service is None:
                return False
            self._not_mail = verdict[1:] or UNKNOWN
            self._make_builder().add_anomaly(NOT_MAIL, self._not_mail, CLIENT, at.frame, at.timestamp_ns, 0)
            return True
        else:
            self._dissector = make_dissector(verdict, service, not (self._flow.syn_seen or self._flow.syn_ack_seen))
            if looks_like_tls(client[client_skip:]) and (begun[CLIENT] or not says_grant(server)):
                # A client that expects implicit TLS met a server that greets in clear.
                self._tls_on_plaintext = True
                self._unread = CLIENT
                self._make_builder().add_anomaly(
                    TLS_ON_PLAINTEXT_PORT,
                    "the client began with TLS, the server with text",
                    CLIENT,
                    at.frame,
                    at.timestamp_ns,
                    0,
                )
            elif service is not None and service in IMPLICIT_TLS_SERVICES:
                self._make_builder().add_anomaly(
                    PLAINTEXT_ON_TLS_PORT, f"{verdict} in clear on port {self._flow.server_port}", CLIENT, at.frame, at.timestamp_ns, 0
                )  # fmt: skip
            if self._unread < 0 and looks_like_tls(server[server_skip:]):
                self._unread = SERVER  # nothing but alerts
        self._replay(waiting, client_skip, server_skip)
        return True

    def _replay(self, waiting: list[_Piece], client_skip: int, server_skip: int) -> None:
        """Hand on what waited, in order, without the prefaces."""
        for piece in waiting:
            if piece.gap:
                self.receive_gap(piece.sender, piece.gap, piece.at)
                continue
            data = piece.data
            skip = client_skip if piece.sender == CLIENT else server_skip
            if skip:
                size = len(data)
                cut = skip if skip < size else size
                if piece.sender == CLIENT:
                    client_skip -= cut
                else:
                    server_skip -= cut
                data = data[cut:]
                if not data:
                    continue
                piece.at = Position(piece.at.frame, piece.at.timestamp_ns, piece.at.offset + cut)
            self.receive_data(piece.sender, data, piece.at)

    # -- TLS -------------------------------------------------------------------------------------------------------------------

    def _begin_tls(self, at: Position, begun: bool, whole: bool) -> None:
        """What is seen of the connection begins with TLS; ``begun``: so does the connection. ``whole``: both sides are seen from their beginnings on."""
        service = self._service
        if service is None or service in IMPLICIT_TLS_SERVICES or begun:
            self._tls_mode = "implicit"
            if service is not None and service not in IMPLICIT_TLS_SERVICES:
                self._make_builder().add_anomaly(
                    TLS_ON_PLAINTEXT_PORT, f"TLS from the first octet on port {self._flow.server_port}", CLIENT, at.frame,
                    at.timestamp_ns, 0,
                )  # fmt: skip
        else:
            # On a port that begins in clear, behind octets that were not captured: the upgrade is among them.
            self._tls_mode = "starttls"
        self._tls = TlsDissector(self._tls_mode, not whole)
        self._make_builder().session.tls_frame = at.frame

    def _pass_on_to_tls(self, dissector: Dissector, at: Position, by_client: bool = False) -> None:
        """STARTTLS was granted and TLS octets have come; or, where neither side was understood so far, TLS was found behind a gap.

        ``by_client``: the client's octets have shown it, so what the server has said came before them.
        """
        unread = dissector.commands + dissector.replies == 0
        self._tls_mode = "implicit" if unread and self._service in IMPLICIT_TLS_SERVICES else "starttls"
        tls = TlsDissector(self._tls_mode)
        if self._tls is not None and not self._tls.untried():
            self._tls_before = self._tls
        self._handshakes += 1
        if self._tls_mode == "starttls" and self._handshakes <= MAX_HANDSHAKES:
            tls.text_protocol = dissector.protocol
        self._text_again = 0
        self._left_at = -1
        self._tls = tls
        self._dissector = None
        self._read_before = dissector
        client = dissector.trailing_data(CLIENT)
        server = dissector.trailing_data(SERVER)
        tls.server_captured = dissector.server_heard()
        begins = dissector.client.tls_at
        if client and server and by_client:
            self.receive_data(CLIENT, client[:TLS_SURE], Position(at.frame, at.timestamp_ns, begins))
            client, begins = client[TLS_SURE:], begins + TLS_SURE
            self.receive_data(SERVER, server, Position(at.frame, at.timestamp_ns, dissector.server.tls_at))
            server = b""
        if client:
            self.receive_data(CLIENT, client, Position(at.frame, at.timestamp_ns, begins))
        if server:
            self.receive_data(SERVER, server, Position(at.frame, at.timestamp_ns, dissector.server.tls_at))

    def _take_readable(self, tls: TlsDissector, sender: Sender, at: Position) -> None:
        """What stands where TLS should, or within it, may be readable."""
        if tls.facts.null_cipher:
            self._read_null_cipher(tls, sender, at)
            return
        if sender == CLIENT and tls.text_waited() and tls.is_text(SERVER) and tls.is_text(CLIENT):
            self._read_text_again(SERVER, tls, at)
        if tls.is_text(sender) and self._tls is tls:
            self._read_text_again(sender, tls, at)

    def _read_text_again(self, sender: Sender, tls: TlsDissector, at: Position) -> None:
        """The handshake came to nothing, and this direction goes on in clear (RFC 3207 section 4 leaves it to both sides)."""
        at = tls.text_position(sender, at)
        data = tls.plaintext(sender)
        dissector = self._read_before
        if dissector is None:
            return
        if not self._text_again:
            dissector.text_again()
        self._text_again |= 1 << sender
        if not data:
            return
        if sender == CLIENT and self._clear_behind is not tls and self._left_at < 0:
            line, _, rest = data.partition(b"\n")
            if takes_leave(dissector.protocol, line.rstrip(b"\r")):
                self._left_at = at.offset + len(data) - len(rest)
                self._left_commands = dissector.commands + 1
            else:
                self._went_on(tls, at)
        size: i64 = len(data)
        start: i64 = 0
        while start < size:
            left = self._left_at >= 0 and self._clear_behind is not tls and not dissector.tls_started
            # A line at a time, until a command has come behind the farewell: what is told of it stands where it came.
            end = next_line(data, start, size) if left and sender == CLIENT else size
            here = Position(at.frame, at.timestamp_ns, at.offset + start)
            events = dissector.receive_data(sender, data[start:end], here)
            if events:
                self._apply(events)
            if left and dissector.commands > self._left_commands:
                self._went_on(tls, Position(at.frame, at.timestamp_ns, self._left_at))
            start = end
        if dissector.tls_started:
            self._pass_on_to_tls(dissector, at)

    def _went_on(self, tls: TlsDissector | None, at: Position) -> None:
        """The client has done more behind a failed handshake than to take its leave."""
        self._clear_behind = tls
        why = "text went on after the TLS handshake had failed"
        self._apply([Anomaly(CLIENT, at.frame, at.timestamp_ns, at.offset, STARTTLS_WITHOUT_TLS, why)])

    # -- inside TLS ------------------------------------------------------------------------------------------------------------

    def receive_decrypted(self, sender: Sender, data: bytes, at: Position) -> None:
        """Octets that TLS carried, decrypted with keys: read on, and marked as seen that way only (``exposed`` false)."""
        if self._tls is None or self._faulty:
            return
        self._inside_decrypted = True
        self._read_inside(sender, data, at)

    def _read_null_cipher(self, tls: TlsDissector, sender: Sender, at: Position) -> None:
        """The suite does not encrypt: what TLS carries is read as if in clear, for it is (RFC 4785, RFC 9150)."""
        for side in (sender, SERVER if sender == CLIENT else CLIENT):
            data = tls.plaintext(side)
            if data:
                self._read_inside(side, data, at)

    def _read_inside(self, sender: Sender, data: bytes, at: Position) -> None:
        try:
            self._inside_data(sender, data, at)
        except Exception:
            self._contain_inside(at)

    def _end_inside(self, sender: Sender, at: Position, final: bool) -> None:
        """One direction has ended, or the whole connection."""
        try:
            if not final and self._inside is not None:
                self._apply_inside(self._inside.receive_eof(sender, at))
            elif final:
                self._settle_inside(True)
                if self._inside is not None:
                    self._apply_inside(self._inside.finish(at))
        except Exception:
            self._contain_inside(at)

    def _apply_inside(self, events: list[Event]) -> None:
        if events:
            builder = self._make_builder()
            builder.decrypted = self._inside_decrypted
            builder.apply(events)
            builder.decrypted = False

    def _contain_inside(self, at: Position) -> None:
        """A fault of ours inside TLS: what is known of the handshake stays."""
        self._inside = None
        self._inside_waiting = None
        self._inside_settled = True
        self._record_fault(at)

    def _inside_data(self, sender: Sender, data: bytes, at: Position) -> None:
        # Offsets count the octets inside TLS.
        if sender == CLIENT:
            at = Position(at.frame, at.timestamp_ns, self._inside_client)
            self._inside_client += len(data)
        else:
            at = Position(at.frame, at.timestamp_ns, self._inside_server)
            self._inside_server += len(data)
        inside = self._inside
        if inside is not None:
            self._apply_inside(inside.receive_data(sender, data, at))
            return
        if self._inside_settled:
            return
        before = self._read_before
        if before is not None:
            self._inside_settled = True
            self._note_content(before)
            before.content_seen = False
            before.enter_tls()
            self._inside = before
            self._apply_inside(before.receive_data(sender, data, at))
            return
        waiting = self._inside_waiting
        if waiting is None:
            waiting = []
            self._inside_waiting = waiting
        waiting.append(_Piece(sender, data, 0, at))
        self._settle_inside(self._inside_client + self._inside_server > MAX_LOOK)

    def _settle_inside(self, final: bool) -> None:
        """Decide what is spoken inside TLS, if the octets so far allow it, and read what waited."""
        waiting = self._inside_waiting
        if waiting is None:
            return
        client = b""
        server = b""
        for piece in waiting:
            if piece.sender == CLIENT:
                client += piece.data
            else:
                server += piece.data
        verdict = decide(self._service, server, client, final)
        if verdict == "":
            return
        self._inside_waiting = None
        self._inside_settled = True
        if verdict == "tls" or verdict.startswith(NOT_MAIL_PREFIX):
            return
        inside = make_dissector(verdict, self._service, not (self._flow.syn_seen or self._flow.syn_ack_seen))
        self._inside = inside
        for piece in waiting:
            self._apply_inside(inside.receive_data(piece.sender, piece.data, piece.at))

    # -- the record ------------------------------------------------------------------------------------------------------------

    def _make_builder(self) -> SessionBuilder:
        builder = self._builder
        if builder is None:
            builder = SessionBuilder(self._factory.keep_headers)
            self._builder = builder
        return builder

    def _apply(self, events: list[Event]) -> None:
        if events:
            self._make_builder().apply(events)
            if self._factory.watching:
                for event in events:
                    if isinstance(event, (AuthenticationEnded, CredentialsSent, StartTlsRefused, Anomaly)) or (
                        # The first message says it; thousands more would only have it looked at again.
                        isinstance(event, MessageTransferred) and self._make_builder().session.messages <= 1
                    ):
                        self._stir()
                        break

    def _contain(self, at: Position) -> None:
        """A fault of ours: record it, read no further."""
        self._faulty = True
        if self._dissector is not None:
            self._read_before = self._dissector
        self._dissector = None
        self._tls = None
        self._inside = None
        self._inside_waiting = None
        self._waiting = None
        self._record_fault(at)

    def _record_fault(self, at: Position) -> None:
        # Where it happened and what kind it was; its message may quote the traffic.
        kind, _, where = sys.exc_info()
        places = [f"{one.filename.rpartition('/')[2]}:{one.lineno}" for one in traceback.extract_tb(where, limit=-4)]
        text = f"{kind.__name__ if kind is not None else 'fault'} at {' < '.join(reversed(places))}"[:MAX_TRACEBACK]
        self._make_builder().add_anomaly(DISSECTOR_FAULT, text, CLIENT, at.frame, at.timestamp_ns, 0)
        self._factory.faults += 1

    def _session(self, flow: Flow) -> Session:
        builder = self._make_builder()
        session = builder.session
        session.capture = self._factory.capture_name(flow.capture)
        session.sensor = self._factory.sensor
        session.start_ns = flow.start_ns
        session.first_frame = flow.first_frame
        session.client_ip = address_text(flow.client_ipv4, flow.client_ipv6)
        session.client_port = flow.client_port
        session.server_ip = address_text(flow.server_ipv4, flow.server_ipv6)
        session.server_port = flow.server_port
        session.direction_from = flow.direction_from
        _fill_packets(session, flow)
        session.client_bytes = flow.client_bytes
        session.server_bytes = flow.server_bytes
        session.gap_bytes = flow.gap_bytes
        session.conflict_bytes = flow.conflict_bytes
        session.conflict_frame = flow.conflict_frame
        session.conflict_ns = flow.conflict_ns
        session.reset_frame = flow.rst_frame
        session.port_service = self._service
        session.completeness = completeness(flow)
        session.truncated = flow.truncated
        self._fill_protocol(session, flow)
        self._fill_transport(session, flow, builder)
        return session

    def _read(self) -> Dissector | None:
        """The dissector that has read what was in clear, None where nothing was."""
        return self._dissector if self._dissector is not None else self._read_before

    def _fill_protocol(self, session: Session, flow: Flow) -> None:
        service = self._service
        if self._not_mail is not None:
            session.not_mail = self._not_mail
            session.protocol = UNKNOWN
            return
        reading = self._read()
        if reading is not None:
            if self._tls is not None or _understood(session, reading):
                session.protocol = reading.protocol
                return
            read = flow.client_bytes + flow.server_bytes - flow.gap_bytes
            if service is not None and (read <= 0 or flow.truncated or self._tls_on_plaintext or self._faulty):
                # The snap length may leave a few octets of each segment, too few to read: the port is all there is then, too.
                session.protocol = PROTOCOL_OF[service]
            return
        if self._inside is not None:
            session.protocol = self._inside.protocol
            return
        if service is not None and (self._tls is not None or flow.client_bytes + flow.server_bytes > 0):
            # TLS on a listed port, or a connection of which no octet of payload was captured: the port is all there is.
            session.protocol = PROTOCOL_OF[service]

    def _note_content(self, dissector: Dissector | None) -> None:
        """Content that is of no message is exposure all the same, unless it was read with keys."""
        if dissector is not None and dissector.content_seen:
            if dissector is not self._inside or not self._inside_decrypted:
                self._make_builder().content_seen()

    def _fill_transport(self, session: Session, flow: Flow, builder: SessionBuilder) -> None:
        if session.capabilities_whole and not flow.syn_seen and not flow.syn_ack_seen:
            # The connection is older than the capture: who knows what of a list was told before, and whether that was after a login.
            session.capabilities_whole = False
        tls = self._tls
        reading = self._read()
        self._note_content(reading)
        self._note_content(self._inside)
        if tls is not None and self._tls_mode == "starttls" and tls.untried():
            # An alert alone, be it because the client has gone, or talks on in clear: nobody has tried a handshake.
            if self._tls_before is not None:
                tls = self._tls_before
            elif reading is not None and reading.commands > 0:
                tls = None
        if tls is not None:
            facts = tls.facts
            handshake = TlsHandshake(self._tls_mode, facts.first_frame, facts.first_ns, facts)
            handshake.handshake = facts.handshake
            session.tls = handshake
            if self._tls_mode == "starttls":
                unseen = reading is None or (
                    reading.commands + reading.replies == 0 and not reading.reply_seen and session.server_banner is None
                )
                # A client that spoke TLS where no upgrade was seen, and was answered with text, was in error.
                session.transport = PLAINTEXT if (unseen and facts.text) or tls is self._clear_behind else STARTTLS
                session.starttls = UNSEEN if unseen else builder.starttls_state(facts.established)
            elif facts.text:
                # The client spoke TLS, the server text (RFC 8314 section 3.3 mixed up with STARTTLS): nothing was protected.
                session.transport = PLAINTEXT
                session.starttls = UNSEEN
            else:
                session.transport = IMPLICIT_TLS
            read_on = tls is self._clear_behind or (facts.null_cipher and self._inside is not None)
            session.exposure = builder.exposure(read_on)
        elif (
            reading is not None
            and session.protocol != UNKNOWN
            and (not flow.truncated or self._tls_on_plaintext or _understood(session, reading))
        ):
            session.transport = PLAINTEXT
            session.starttls = builder.starttls_state(False)
            session.exposure = builder.exposure(reading.commands > 0 or reading.replies > 1)
        elif session.protocol != UNKNOWN and self._service is not None:
            session.starttls = NOT_APPLICABLE if self._service in IMPLICIT_TLS_SERVICES else UNSEEN
            session.exposure = UNKNOWN


def _fill_packets(session: Session, flow: Flow) -> None:
    """What a packet changes that carries nothing new: those that come late do."""
    session.packets = flow.packets
    session.end_ns = flow.end_ns
    session.last_frame = flow.last_frame
    session.spans_files = flow.last_capture != flow.capture


def _understood(session: Session, reading: Dissector) -> bool:
    """Whether anything of what was read in clear made sense as the dissector's protocol."""
    return (
        reading.commands + reading.replies > 0
        or reading.reply_seen
        or session.server_banner is not None
        or session.credentials is not None
    )


def completeness(flow: Flow) -> str:
    """The ``completeness`` column: what of the connection the capture holds."""
    if (flow.client_packets == 0 or flow.server_packets == 0) and flow.client_bytes + flow.server_bytes > 0:
        return ONE_SIDED
    if not flow.syn_seen and not flow.syn_ack_seen:
        return MIDSTREAM
    if flow.gap_bytes > 0 or flow.truncated:
        return TRUNCATED
    if not flow.client_fin and not flow.server_fin and flow.rst_frame == 0:
        return TRUNCATED
    return COMPLETE


class SessionStreamFactory(StreamSinkFactory):
    """Opens a :class:`SessionStream` for each connection that may be mail."""

    def __init__(self, sink: SessionSink, ports: dict[int, str] | None = None, sensor: str = "") -> None:
        self.sink = sink
        self.sensor = sensor
        #: keep the header blocks of messages, for who asks for subjects and addresses
        self.keep_headers: bool = False
        #: listed port -> service, the user's words included
        self.services: dict[int, str] = dict(SERVICES)
        if ports:
            self.services.update(ports)
        #: names of the captures read so far, in order
        self.captures: list[str] = []
        #: packets of the sessions that begin in each capture
        self.mail_packets: list[int] = []
        #: contained faults of dissectors
        self.faults: i64 = 0
        #: somebody looks on while connections live: those of which there is news are in ``stirred``
        self.watching: bool = False
        self.stirred: list[SessionStream] = []
        #: news of connections that did not fit
        self.unheeded: i64 = 0

    def capture_name(self, index: i64) -> str:
        if 0 <= index < len(self.captures):
            return self.captures[index]
        return ""

    def count_packets(self, index: i64, packets: i64) -> None:
        while len(self.mail_packets) <= index:
            self.mail_packets.append(0)
        self.mail_packets[index] += packets

    def port_service(self, port: i64) -> str | None:
        return self.services.get(port)

    def listed_ports(self) -> list[int]:
        return list(self.services)

    def plausible_start(self, buffer: bytes, start: i64, end: i64) -> bool:
        return plausible_greeting(buffer, start, end)

    def open_stream(self, flow: Flow) -> StreamSink | None:
        return SessionStream(self, flow, self.services.get(flow.server_port))
