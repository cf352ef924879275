"""SMTP, submission and LMTP (RFC 5321, 3207, 4954, 3030, 2920, 6409, 2033, 6531).

Replies pair with a queue of pending commands. The client is on hold after DATA and AUTH, for only the server's 354 or 334 makes its
next octets a message or a response; BDAT announces its octets itself. Text of messages is skipped in bulk and never read as
commands, not even where a gap has swallowed the DATA command: after a gap a line that begins with no verb is taken for text.

This module is over 500 lines long because both halves of a dialogue share one state; what can be known without it (words,
addresses, envelopes, messages, SASL, framing) is in modules of its own.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Sender
from analyzer.protocols.base import DOT_BODY, HOLD, LINES, OCTETS, Dissector, response_form
from analyzer.protocols.envelope import Envelope, Pending, Transfer, parse_path
from analyzer.protocols.events import (
    ACCEPTED,
    CANCELLED,
    COMMAND_QUEUE_FULL,
    CREDENTIALS_BEFORE_CAPABILITIES,
    DELIVERED,
    MALFORMED_COMMAND,
    MALFORMED_REPLY,
    PASSWORD,
    PIPELINED_BEFORE_GREETING,
    REJECTED,
    RELAYED,
    STARTTLS_STRIPPED,
    SUBMITTED,
    UNEXPECTED_REPLY,
    CapabilitiesOffered,
    ClientNamed,
    Greeted,
    MessageAnswered,
    MessageTransferred,
)
from analyzer.protocols.message import MessageReader, is_field
from analyzer.protocols.octets import first_word
from analyzer.protocols.sasl import names_mechanism
from analyzer.protocols.smtp_grammar import (
    AUTH,
    BDAT,
    BDAT_LAST,
    BODY,
    DATA,
    EHLO,
    HELO,
    LHLO,
    LOST,
    MAIL,
    PLAIN,
    QUIT,
    RCPT,
    RSET,
    STARTTLS,
    UNKNOWN,
    VERBS,
    XEXCH50,
    answers_auth,
    answers_only,
    exchange_octets,
    is_keyword,
    is_plain_command,
    reply_code,
    reply_text,
    wants_tls,
    whole_reply,
)

#: Commands that may wait for their replies; the oldest are given up beyond it. RFC 5321 section 4.5.3.1.8: 100 recipients at least.
MAX_PENDING: Final = 2000
#: Lines kept of a reply, and octets of each.
MAX_REPLY_LINES: Final = 200
MAX_REPLY_LINE: Final = 1024
#: Characters kept of a name that a client gives itself.
MAX_TEXT: Final = 1024
#: Digits of a BDAT size: no server takes more than an exabyte.
MAX_SIZE_DIGITS: Final = 18

#: Octets of a message's end that are remembered, for ends that servers take though they should not.
_TAIL: Final = 8


class SmtpDissector(Dissector):
    """Reads one session of SMTP, submission or LMTP."""

    def __init__(self) -> None:
        super().__init__("smtp")
        #: the owner sets it on submission ports (587, 465): messages are ``submitted`` even without authentication
        self.submission: bool = False
        self._pending: list[Pending] = []
        self._reply: list[bytes] = []
        self._first_reply: bool = True
        self._greeted: bool = False
        self._told: bool = False  # EHLO was answered
        self._ehlo_refused: bool = False  # though it named the client
        self._authenticated: bool = False
        self._forbidden: bool = False  # the server has said that it takes no credentials in clear
        self._answer_due: bool = False  # the client's next line is a SASL response
        self._answer_guessed: bool = False  # so it seems, but the server's word was not seen
        self._answer: bytes = b""  # the last line that was taken for one
        #: a line that is a SASL response if the server says so, and text of a message if not
        self._stray_line: bytes | None = None
        #: lines are missing: commands and replies no longer pair until the client speaks again
        self._lost_count: bool = False
        #: a line was missing at some time: a reply to nothing is no surprise
        self._gaps: bool = False
        #: a reply has shown which command it answers, and nothing was missing since
        self._paired: bool = False
        #: lines of the server are missing; of the reply that is being read, or may be
        self._replies_lost: bool = False
        self._reply_torn: bool = False
        #: the client's lines may be the text of a message whose beginning is missing
        self._unsynced: bool = False
        self._envelope: Envelope | None = None
        self._transfer: Transfer | None = None  # whose octets come now
        self._chunked: Transfer | None = None  # BDAT has begun and LAST has not come
        self._chunk_last: bool = False
        #: octets that the latest BDAT announced, and its place among the commands
        self._chunk_size: i64 = 0
        self._chunk_entry: Pending | None = None
        #: BDAT was answered before any of its octets came: the client's next line is a command, or the chunk all the same
        self._chunk_doubtful: bool = False
        #: octets of Exchange's that come now, unless the client's next line is a command: the server's word on them was not seen
        self._exchange_due: i64 = 0
        self._tail: bytes = b""  # the last octets of the message that comes
        #: the first that is heard of the dialogue is the go-ahead for a message
        self._go_ahead_first: bool = False
        self._data_held: bool = False  # the client is on hold for DATA, not for AUTH
        self._messages: int = 0

    # -- the client ----------------------------------------------------------------------------------------------------------

    def client_line(self, line: bytes) -> None:
        if self._chunk_doubtful and self._resume_chunk(line):
            return
        if self._exchange_due > 0 and self._resume_exchange(line):
            return
        if self._answer_due:
            if not self._answer_guessed or VERBS.get(first_word(line), UNKNOWN) == UNKNOWN:
                self._receive_response(line)
                return
            self._answer_due = False
            if self.exchange_stray():
                self.exchange_dropped()
                self._drop_pending()
        if self._lost_count:
            self._lost_count = False
            self._drop_pending()
            self.exchange_dropped()
        space: i64 = line.find(b" ")
        verb = line if space < 0 else line[:space]
        kind = VERBS.get(verb, UNKNOWN)
        if kind == UNKNOWN:
            kind = VERBS.get(verb.strip(b"\t").upper(), UNKNOWN)
            if kind == UNKNOWN:
                self._receive_unknown(line)
                return
        argument = b"" if space < 0 else line[space + 1 :].strip(b" \t")
        doubtful = (self._unsynced or self.midstream) and self._on_probation()
        if doubtful and not is_plain_command(kind, argument):
            self._receive_unknown(line)
            return
        self._unsynced = False
        self.commands += 1
        if kind == RCPT:
            self._receive_recipient(argument)
        elif kind == MAIL:
            self._receive_sender(argument)
        elif kind == DATA:
            self._push(DATA, self._envelope, 0, None)
            self._data_held = True
            self.hold_client()
        elif kind == BDAT:
            self._receive_chunk(argument)
        elif kind == AUTH:
            self._begin_auth(argument, doubtful)
        elif kind == STARTTLS:
            self._push(STARTTLS, None, 0, None)
            self.starttls_requested()
        elif kind <= LHLO:
            self._receive_hello(kind, argument)
        elif kind == XEXCH50:
            size = exchange_octets(argument)
            self._push(XEXCH50 if size >= 0 else PLAIN, None, size, None)
            if size >= 0:
                self._data_held = False
                self.hold_client()
        else:
            if kind == RSET or kind == QUIT:
                self._end_transaction()
            self._push(kind, None, 0, None)

    def _receive_hello(self, kind: int, argument: bytes) -> None:
        if kind == LHLO:
            self.protocol = "lmtp"
        server = self.server
        if not self._pending and not self._reply and server.mode == LINES and server.parts_size == 0:
            # What is missing was said before the question: the answer is whole, and the server's next octets begin it.
            self._reply_torn = False
            server.torn = False
            server.skipping = False
        # Should the server refuse it, the envelope before stays in force (RFC 5321 section 4.1.4).
        self._push(kind, self._envelope, 1 if argument else 0, None)
        self._end_transaction()
        if argument:
            at = self.at
            name = argument[:MAX_TEXT].decode("utf-8", "replace")
            self.emit(ClientNamed(CLIENT, at.frame, at.timestamp_ns, self.line_offset, name))

    def _receive_sender(self, argument: bytes) -> None:
        address = parse_path(argument, b"FROM")
        if address is None:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "MAIL without FROM:")
            self._push(PLAIN, None, 0, None)
            return
        if self._chunked is not None:
            self._end_transaction()
        # Should the server refuse it, the envelope before stays in force.
        self._push(MAIL, self._envelope, 0, None)
        self._envelope = Envelope(address)

    def _receive_recipient(self, argument: bytes) -> None:
        address = parse_path(argument, b"TO")
        if address is None:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "RCPT without TO:")
            self._push(PLAIN, None, 0, None)
            return
        envelope = self._envelope
        if envelope is None:
            envelope = self._envelope = Envelope(None)
        self._push(RCPT, envelope, envelope.add(address), None)

    def _receive_chunk(self, argument: bytes) -> None:
        """``BDAT size [LAST]`` (RFC 3030 section 2): the octets follow at once, whatever the server will say of them."""
        words = argument.split()
        last = len(words) == 2 and words[1].upper() == b"LAST"
        if not words or not words[0].isdigit() or len(words[0]) > MAX_SIZE_DIGITS or (len(words) > 1 and not last):
            self.anomaly(CLIENT, MALFORMED_COMMAND, "BDAT without a size")
            self._push(PLAIN, None, 0, None)
            return
        transfer = self._chunked
        if transfer is None:
            transfer = self._chunked = self._begin_transfer(self._envelope, self.line_offset, False)
        self._transfer = transfer
        self._chunk_last = last
        self._chunk_size = int(words[0])
        self._chunk_entry = self._push(BDAT_LAST if last else BDAT, None, 0, transfer)
        self.expect_octets(CLIENT, self._chunk_size)

    def _doubt_chunk(self) -> None:
        """None of a chunk's octets has come, and the server has answered, or may have: the client's next line tells."""
        client = self.client
        client.mode = LINES
        client.remaining = 0
        self._transfer = None
        self._chunk_doubtful = True

    def _forget_refusals(self) -> None:
        """Of what was said of a chunk before it came no more is due: LMTP refuses it for each recipient, or once for all of them."""
        self._chunk_doubtful = False
        queue = self._pending
        if queue and queue[0] is self._chunk_entry and queue[0].index:
            transfer = queue.pop(0).transfer
            if transfer is not None:
                transfer.answered = True

    def _resume_chunk(self, line: bytes) -> bool:
        """The first line behind an answer that came before the chunk: whether it is the chunk's (RFC 3030 section 2: it must come)."""
        self._forget_refusals()
        kind = VERBS.get(first_word(line), UNKNOWN)
        transfer = self._chunked
        if transfer is None or (kind != UNKNOWN and is_plain_command(kind, line.partition(b" ")[2].strip(b" \t"))):
            self._chunked = None  # refused, and never sent; the chunks before it were
            if transfer is not None:
                self._tell(transfer)
            return False
        self._transfer = transfer
        self._read_as_octets(line, self._chunk_size)
        return True

    def _resume_exchange(self, line: bytes) -> bool:
        """The first line behind XEXCH50 whose answer is missing: whether it is of the octets that were announced."""
        size = self._exchange_due
        self._exchange_due = 0
        if VERBS.get(first_word(line), UNKNOWN) != UNKNOWN:
            return False  # none of it was asked for
        self._read_as_octets(line, size)
        return True

    def _read_as_octets(self, line: bytes, size: i64) -> None:
        """A line is the beginning of ``size`` octets, or more than all of them."""
        row = self.client.row(line)
        if len(row) <= size:
            self.block_data(CLIENT, row, 0, len(row))
            self.expect_octets(CLIENT, size - len(row))
        else:
            self.block_data(CLIENT, row, 0, size)
            self.block_ended(CLIENT)
            rest = row[size:].rstrip(b"\r\n")
            if rest:
                self.client_line(rest)

    def block_resumed(self, sender: Sender) -> bool:
        """No command is that long: behind an answer that came before the chunk it is the chunk's beginning."""
        if sender != CLIENT:
            return False
        size = self._exchange_due
        transfer = self._chunked
        if self._chunk_doubtful and transfer is not None:
            self._forget_refusals()
            self._transfer = transfer
            size = self._chunk_size
        self._exchange_due = 0
        if size > 0:
            self.expect_octets(CLIENT, size)
        return size > 0

    def _receive_unknown(self, line: bytes) -> None:
        if self.commands == 0 and line.startswith((b"PROXY ", b"SSLproxy:")):
            return  # a proxy's word to the server's own proxy, which answers nothing
        first = self.commands == 0 and (self.midstream or (self.replies == 0 and not self._greeted))
        if self._unsynced or first or (self.midstream and self._on_probation()):
            if self._exchange_doubtful:
                self.exchange_dropped()
            if not self.exchange_open() and response_form(line):
                # Of text, or of an authentication whose beginning is missing: the server's next word tells.
                self._stray_line = line
                self.begin_stray_exchange(doubtful=True)
                self.exchange_response(line)
                self._data_held = False
                self.hold_client()
            elif self._go_ahead_first and is_field(line):
                self._begin_asked_text(line)
            else:
                self._begin_text()
            return
        if len(line) >= 4 and line.count(b"X") == len(line):
            self.anomaly(CLIENT, STARTTLS_STRIPPED, "a command was overwritten with X")
        if self.sent_all_the_same(line):
            self._push(AUTH, None, 0, None)
            self._receive_response(line)
            return
        self._push(UNKNOWN, None, 0, None)

    def _begin_text(self) -> None:
        """Not a verb, and there was no telling where one would begin: the text of a message, until its end or the server's word."""
        envelope = self._envelope
        self._transfer = None
        if envelope is not None and envelope.count():
            transfer = self._begin_transfer(envelope, self.line_offset, True)
            transfer.reader.receive_gap(0)
            self._transfer = transfer
            self._envelope = None
            self._push(BODY, envelope, 0, transfer)
        self.expect_dot_body(CLIENT, after_gap=True)

    def _begin_asked_text(self, line: bytes) -> None:
        """The first line of a message of which DATA was not captured, but the server's 354 was."""
        self._go_ahead_first = False
        transfer = self._begin_transfer(self._envelope, self.line_offset, True)
        row = self.client.row(line)
        transfer.reader.receive_data(row, 0, len(row))
        self._tail = row[-_TAIL:]
        self._transfer = transfer
        self._envelope = None
        self._push(BODY, None, 0, transfer)
        self.expect_dot_body(CLIENT)

    def _on_probation(self) -> bool:
        """Whether the client's lines may be the text of a message though they look like commands: nothing has shown that they are none."""
        return self._unsynced or (self.midstream and self.replies == 0 and not self.reply_seen)

    def _push(self, kind: int, envelope: Envelope | None, index: int, transfer: Transfer | None) -> Pending:
        queue = self._pending
        if len(queue) >= MAX_PENDING:
            first = queue.pop(0)
            if first.transfer is not None and first.transfer.ended:
                self._tell(first.transfer)
            if self.replies:
                self.anomaly(CLIENT, COMMAND_QUEUE_FULL, f"more than {MAX_PENDING} commands without a reply")
        entry = Pending(kind, envelope, index, transfer)
        queue.append(entry)
        return entry

    # -- authentication ------------------------------------------------------------------------------------------------------

    def _begin_auth(self, argument: bytes, doubtful: bool) -> None:
        """RFC 4954 section 4: ``AUTH mechanism [initial-response]``; ``doubtful``: it may be a line of a message."""
        words = argument.split()
        if not words:
            self._push(PLAIN, None, 0, None)
            return
        if self.midstream and self.commands == 1 and not names_mechanism(argument):
            self._push(UNKNOWN, None, 0, None)  # Redis has AUTH too, with a password behind it
            return
        if self._greeted and not self._told and not self._reply and not self._gaps and not self.midstream:
            self.anomaly(CLIENT, CREDENTIALS_BEFORE_CAPABILITIES, "AUTH was sent before the server told what it offers")
        self.exchange_dropped()
        self.begin_exchange(words[0].decode("ascii", "replace"))
        self._exchange_doubtful = doubtful
        self._answer = b""
        self._push(AUTH, None, 0, None)
        if len(words) > 1:
            self._take_response(words[1])
        self._data_held = False
        self.hold_client()

    def _receive_response(self, line: bytes) -> None:
        self._answer_due = False
        self._answer = line
        if line == b"*":
            # Behind complete credentials it only answers the server's error: the outcome is the server's.
            if not self.exchange_complete():
                self.exchange_ended(CANCELLED, "")
        else:
            self._take_response(line)
        self._data_held = False
        self.hold_client()

    def _take_response(self, encoded: bytes) -> None:
        before = self._exchange_told
        self.exchange_response(encoded)
        exchange = self._exchange
        if self._exchange_told and not before and exchange is not None and exchange.secret_kind == PASSWORD:
            self.password_sent(f"AUTH {exchange.mechanism}", self._forbidden)

    # -- the server ----------------------------------------------------------------------------------------------------------

    def server_line(self, line: bytes) -> None:
        size: i64 = len(line)
        if size < 3 or not (48 < line[0] <= 57 and 48 <= line[1] <= 57 and 48 <= line[2] <= 57):
            if line[:1] == b"0" and line[1:3].isdigit():
                return  # what Sendmail tells on its way to the reply, behind VERB
            if size and self._greeted and not self._gaps:
                self.anomaly(SERVER, MALFORMED_REPLY, "a line without a reply code")
            return
        reply = self._reply
        if reply and len(self._pending) > 1 and not reply[0].startswith(line[:3]):
            # The end of the reply before is missing: the client has talked on, and this answers something else.
            self._reply = []
            here = self.back_to_listing()
            self._receive_reply(reply_code(reply[0]), reply)
            self.at, self.line_offset = here
            reply = self._reply
        if len(reply) < MAX_REPLY_LINES:
            reply.append(line[:MAX_REPLY_LINE])
        if size > 3 and line[3] == 45:
            self.listed()
            return
        code = reply_code(line)
        lines = self._reply
        self._reply = []
        if self._first_reply:
            self._first_reply = False
            if self._receive_greeting(code, lines):
                self._reply_torn = False
                return
        self._receive_reply(code, lines)
        self._reply_torn = False

    def _receive_greeting(self, code: i64, lines: list[bytes]) -> bool:
        """The server's first reply; whether it was its greeting."""
        if code == 220:
            if self._pending and self._pending[0].kind == STARTTLS:
                return False
            self._greeted = True
            self.replies += 1
            text = reply_text(lines[0])
            at = self.at
            self.emit(Greeted(SERVER, at.frame, at.timestamp_ns, self.line_offset, text))
            stars = text.count("*")
            if stars >= 8 and 2 * stars >= len(text):
                self.anomaly(SERVER, STARTTLS_STRIPPED, "the banner was overwritten with asterisks")
            if self.commands:
                self.anomaly(
                    CLIENT, PIPELINED_BEFORE_GREETING, f"commands sent before the server's greeting: {self.commands}"
                )
            if self.client.mode == DOT_BODY and self.client.body_gap and self._transfer is None:
                self.end_dot_body(CLIENT)
            return True
        # 554 and 421 turn the client away (RFC 5321 section 3.1)
        if self._pending or code < 400 or self._stray_line is not None:
            return False
        self.reply_seen = True
        return True

    def _receive_reply(self, code: i64, lines: list[bytes]) -> None:
        client = self.client
        queue = self._pending
        if self._stray_line is not None:
            self._settle_stray(code)
        if code == 334 and (self._gaps or self.midstream) and not self.exchange_open():
            # Nothing else is answered so, and AUTH was not seen.
            self._drop_pending()
            self.begin_stray_exchange(doubtful=False)
            self._push(AUTH, None, 0, None)
        if client.mode == DOT_BODY and client.body_gap and code != 354:
            transfer = self._transfer
            if transfer is None or (queue and queue[0].transfer is transfer):
                # The reply to the message, so that is over: its end is among what is missing.
                self.end_dot_body(CLIENT)
                self._unsynced = True
        elif client.mode == DOT_BODY and code < 300 and queue and queue[0].transfer is self._transfer:
            self._end_at_lax_dot()
        if not queue:
            self._receive_unasked(code, lines)
            return
        wanted = queue[-1].kind
        if wanted != queue[0].kind and answers_only(code) == wanted:
            # This code answers no other command, so the replies to those before it are missing.
            self._drop_pending_but_last()
        entry = queue[0]
        if code == 354 and entry.kind == BODY:
            return  # the go-ahead, later than it was waited for
        if entry.kind == UNKNOWN and code < 400:
            # What no server knows, none says yes to: this answers the next command (the line was for a proxy, say).
            while entry.kind == UNKNOWN and len(queue) > 1:
                queue.pop(0)
                entry = queue[0]
        self.replies += 1
        kind = entry.kind
        if kind == AUTH and self._exchange_doubtful and answers_auth(code):
            self.exchange_confirmed()
            if self.exchange_complete():
                self.exchange_told()
        if code == 334 and kind == AUTH:
            self._paired = True
            self.exchange_challenge(lines[0][4:])
            self._answer_due = True
            self._answer_guessed = self.exchange_stray()
            self.client_line_due()
            self.release_client()
            return
        if code == 354 and kind != DATA and kind != XEXCH50 and self._gaps and client.mode == LINES:
            # The DATA command is missing, what it asked for comes.
            entry.kind = kind = DATA
            entry.envelope = self._envelope
        if kind == DATA and code < 400:
            if code != 354 and self._asks_on():
                # DATA was not answered: the client asks for something else, and gets it.
                queue.pop(0)
                self.release_client()
                self._answer_next(code, lines)
                return
            if code == 354 or not self.midstream:
                self._paired = True
                self._begin_body(entry)
                self.release_client()
                return
            self.release_client()  # the word stood in a message, which this answers
        if (
            code >= 400
            and entry is self._chunk_entry
            and client.mode == OCTETS
            and client.remaining == self._chunk_size
        ):
            entry.index = 1
            self._doubt_chunk()
        if kind == XEXCH50:
            if code == 354:
                entry.kind = PLAIN
                self._exchange_due = 0
                if client.mode == HOLD or (client.mode == LINES and client.parts_size == 0):
                    self.expect_octets(CLIENT, entry.index)
                    self.release_client()
                return
            if code >= 400:
                self._exchange_due = 0
            self.release_client()  # refused: whatever has come is read as the server reads it
        if kind == BODY or kind == BDAT_LAST:
            transfer = entry.transfer
            if transfer is not None:
                if answers_only(code) >= 0:
                    queue.pop(0)  # whatever this answers, it is not the message
                    if transfer.ended:
                        self._tell_unanswered(transfer)
                    return
                if not self._receive_verdict(transfer, code, lines[-1]):
                    return
        queue.pop(0)
        if not queue:
            self._lost_count = False
        if code < 400:
            self._receive_yes(kind, lines)
        else:
            self._receive_no(entry, code, lines)
        if queue:
            transfer = queue[0].transfer
            if transfer is not None and transfer.ended and (queue[0].kind == BODY or queue[0].kind == BDAT_LAST):
                self._tell(transfer)

    def _settle_stray(self, code: i64) -> None:
        """The server's word on a line that has the form of a SASL response: it is one, or text."""
        self._stray_line = None
        if not self.client_waiting() and (
            answers_only(code) == AUTH or code == 454 or 534 <= code <= 538 or code == 432
        ):
            self._drop_pending()
            self._lost_count = False
            self._unsynced = False
            self.exchange_confirmed()
            self._push(AUTH, None, 0, None)
            return
        self.exchange_dropped()
        self._begin_text()
        self.release_client()

    def _receive_unasked(self, code: i64, lines: list[bytes]) -> None:
        self.reply_seen = True
        if code == 354 and (self._gaps or self.midstream) and self.commands and self.client.mode == LINES:
            self._begin_body(self._push(DATA, self._envelope, 0, None))
            self.release_client()
        elif not self.commands:
            # The client was never heard: its half of the dialogue may be missing.
            self._go_ahead_first = code == 354 and (self._gaps or self.midstream) and self.client.mode == LINES
            if code == 250 and len(lines) > 1 and not self._told:
                self._tell_capabilities(lines)
            elif code == 220 and self._greeted:
                self.starttls_granted()
        elif not self._gaps and not self.midstream and code != 421:
            self.anomaly(SERVER, UNEXPECTED_REPLY, str(code))

    def _receive_yes(self, kind: int, lines: list[bytes]) -> None:
        if kind == EHLO or kind == LHLO:
            if kind == EHLO:
                self.protocol = "smtp"  # whatever the port is for: no server of LMTP takes it (RFC 2033 section 4.1)
            self._paired = len(lines) > 1 and not self._pending
            self._tell_capabilities(lines)
        elif kind == HELO:
            self.protocol = "smtp"
            if self._ehlo_refused and not self._told and not self._gaps:
                self._tell_capabilities(lines[:1])  # the client does without
            self._told = True
            self.offer_told([], False)
        elif kind == STARTTLS:
            self.starttls_granted()
        elif kind == AUTH:
            code = reply_code(lines[-1])
            asks_on = code != 235 and self._asks_on()
            self._answer_due = False
            if code == 235 or (code == 250 and self._lets_in() and not asks_on):
                self._authenticated = True
                self.exchange_ended(ACCEPTED, whole_reply(lines))
                self.release_client()
                return
            self.exchange_dropped()
            self.release_client()
            if asks_on:
                self._answer_next(code, lines)

    def _asks_on(self) -> bool:
        """Whether the client, on hold for an answer, has gone on with another command."""
        return self.client_waiting() and self._command_waits()

    def _answer_next(self, code: i64, lines: list[bytes]) -> None:
        """A reply that does not answer the command before: it answers the next one, unless that is one of those it does not answer either."""
        queue = self._pending
        if queue and queue[0].kind != AUTH and queue[0].kind != DATA:
            self._receive_reply(code, lines)

    def _lets_in(self) -> bool:
        """Whether 250 is the answer to a login: only 235 should be (RFC 4954 section 6), but some servers say so."""
        if VERBS.get(first_word(self._answer), UNKNOWN) != UNKNOWN:
            return False  # the client has given up by another command, which this answers
        if (self._gaps or self.midstream) and not self._paired:
            # It answers another command, if replies are missing; else the command stood in a message.
            if not self._replies_lost:
                self._exchange_doubtful = True
                self._unsynced = True
            return False
        return True

    def _receive_no(self, entry: Pending, code: i64, lines: list[bytes]) -> None:
        kind = entry.kind
        envelope = entry.envelope
        if code == 538 or ((code == 530 or code == 534) and wants_tls(lines)):
            self._forbidden = True
        if kind == RCPT:
            if envelope is not None:
                envelope.refuse(entry.index)
        elif kind == MAIL:
            self._refuse_sender(envelope)
        elif kind == DATA:
            self._refuse_data()
        elif kind == STARTTLS:
            if lines[0][4:].lstrip().startswith(b"#5.5.1"):
                self.anomaly(SERVER, STARTTLS_STRIPPED, "500 #5.5.1")
            self.starttls_refused(whole_reply(lines))
        elif kind == AUTH:
            if code == 421:
                # The server leaves, whatever was asked (RFC 5321 section 3.8): nothing is said of the password.
                self.exchange_dropped()
            else:
                self.exchange_ended(REJECTED, whole_reply(lines))
            self._answer_due = False
            self.release_client()
        elif kind == EHLO or kind == HELO or kind == LHLO:
            if self._envelope is None:
                self._envelope = envelope
            if kind == EHLO and entry.index:
                self._ehlo_refused = True

    def _refuse_sender(self, before: Envelope | None) -> None:
        """MAIL was refused: the envelope ``before`` it stays in force, and what was pipelined behind it was asked for in vain."""
        refused = self._envelope
        following: Pending | None = None
        for entry in self._pending:
            if entry.kind == MAIL:
                following = entry
                break
        if following is None:
            self._envelope = before
        else:
            refused = following.envelope
            following.envelope = before
        if refused is not None:
            refused.turned_away = True

    def _tell_capabilities(self, lines: list[bytes]) -> None:
        """RFC 5321 section 4.1.1.1: behind the first line, one keyword a line; where lines are missing, the first may be one as well."""
        self._told = True
        names: list[str] = []
        for line in lines if self._reply_torn and is_keyword(lines[0][4:]) else lines[1:]:
            name = line[4:].decode("utf-8", "replace").strip().upper()
            if name.startswith("AUTH="):  # what old clients of Microsoft's understood
                name = "AUTH " + name[5:].strip()
            if not name or (name in names):
                continue
            names.append(name)
        at = self.at
        self.offer_told(names, not (self._reply_torn or self._gaps) and len(lines) < MAX_REPLY_LINES)
        self.emit(CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, names, not self._reply_torn))
        for name in names:
            if name.startswith("XXXXXX") and len(name) <= 10:
                self.anomaly(SERVER, STARTTLS_STRIPPED, f"a keyword was overwritten: {name}")

    def _listing_cut(self, reply: list[bytes]) -> None:
        """The end of a reply will not be seen, or lines before it: what a listing has offered so far, it has offered."""
        if len(reply) > 1 and not self._told and self._pending and reply[0].startswith(b"250"):
            kind = self._pending[0].kind
            if kind == EHLO or kind == LHLO:
                self._reply_torn = True
                here = self.back_to_listing()
                self._tell_capabilities(reply)
                self.at, self.line_offset = here

    # -- messages ------------------------------------------------------------------------------------------------------------

    def _begin_transfer(self, envelope: Envelope | None, offset: i64, dot_stuffed: bool) -> Transfer:
        at = self.at
        self._messages += 1
        reader = MessageReader(at.frame, at.timestamp_ns, offset, dot_stuffed)
        return Transfer(self._messages, envelope if envelope is not None else Envelope(None), reader)

    def _begin_body(self, entry: Pending) -> None:
        """DATA was granted."""
        client = self.client
        transfer = self._begin_transfer(entry.envelope, client.offset if client.parts_size else client.end, True)
        self._tail = b""
        entry.kind = BODY
        entry.transfer = transfer
        self._transfer = transfer
        self._envelope = None
        self.expect_dot_body(CLIENT)

    def _refuse_data(self) -> None:
        """No message is wanted. A client that has sent one already (against RFC 2920 section 3.1) has sent text, not commands."""
        if self.client_waiting():
            if not self._command_waits():
                self._transfer = None
                self.expect_dot_body(CLIENT)
        self.release_client()

    def _command_waits(self) -> bool:
        """Whether what the client said before the server's word begins with a command."""
        waiting = self.client.joined() if self.client.parts_size else b""
        return VERBS.get(first_word(waiting.split(b"\n", 1)[0].rstrip(b"\r")), UNKNOWN) != UNKNOWN

    def block_data(self, sender: Sender, data: bytes, start: i64, end: i64) -> None:
        transfer = self._transfer
        if transfer is not None:
            transfer.reader.receive_data(data, start, end, self.stuffed)
            last = data[start if end - start < _TAIL else end - _TAIL : end]
            self._tail = (self._tail + last)[-_TAIL:]

    def _end_at_lax_dot(self) -> None:
        """The server has taken a message whose end is not CRLF . CRLF: it does so after a dot on a line that a bare LF begins or ends.

        Only a dot that nothing but line ends follow is taken for the end; text behind it may be commands to the server, and may not.
        """
        transfer = self._transfer
        kept = self._tail.rstrip(b"\r\n")
        if transfer is not None and kept.endswith(b"\n."):
            transfer.reader.size -= len(self._tail) - len(kept)
            self.end_dot_body(CLIENT, seen=True)

    def block_gap(self, sender: Sender, size: i64) -> None:
        transfer = self._transfer
        if transfer is not None:
            transfer.reader.receive_gap(size)

    def block_ended(self, sender: Sender) -> None:
        transfer = self._transfer
        self._transfer = None
        if transfer is None:
            return
        if self._chunked is not None:
            if not self._chunk_last:
                return
            self._chunked = None
            self._envelope = None
        transfer.ended = True
        if not self.end_seen:
            transfer.ended = False
            self._tell(transfer)
            return
        queue = self._pending
        if transfer.answered or not self.server_heard() or not queue or queue[0].transfer is transfer:
            self._tell(transfer)

    def _end_transaction(self) -> None:
        """RSET, EHLO, QUIT: what was on its way in chunks will not be finished."""
        transfer = self._chunked
        self._chunked = None
        self._envelope = None
        if transfer is not None:
            self._tell(transfer)

    def _tell(self, transfer: Transfer) -> None:
        envelope = transfer.envelope
        reader = transfer.reader
        if transfer.told or (reader.size == 0 and (not transfer.ended or not envelope.count())):
            return  # granted, and then nothing came; or the dot that is due where a pipelined DATA was, though no recipient was
        transfer.told = True
        if self.protocol == "lmtp":
            direction = DELIVERED
        else:
            direction = SUBMITTED if self._authenticated or self.submission else RELAYED
        self.emit(
            MessageTransferred(
                CLIENT, reader.frame, reader.timestamp_ns, reader.offset, transfer.number, direction, envelope.mail_from,
                envelope.recipients(), envelope.count(), reader.size, transfer.ended,
                transfer.ended and not reader.torn, None, reader.attachments(), reader.header(),
            )
        )  # fmt: skip
        if transfer.answered:
            self._tell_verdict(transfer)

    def _receive_verdict(self, transfer: Transfer, code: i64, line: bytes) -> bool:
        """A reply behind the message's end; whether it was the last one due."""
        last = transfer.is_last_reply(code, line, self.protocol == "lmtp", self._gaps)
        self._mark_answer(transfer)
        if not last:
            return False
        if transfer.told:
            self._tell_verdict(transfer)
        else:
            transfer.answered = True
            if transfer.ended:
                self._tell(transfer)
        return True

    def _mark_answer(self, transfer: Transfer) -> None:
        at = self.at
        transfer.answer_frame = at.frame
        transfer.answer_ns = at.timestamp_ns
        transfer.answer_offset = self.line_offset

    def _tell_unanswered(self, transfer: Transfer) -> None:
        """No reply to a message will be seen any more; in LMTP some recipient's may have been."""
        transfer.answered = transfer.answered or transfer.accepted
        if transfer.told and transfer.answered:
            self._tell_verdict(transfer)
        else:
            self._tell(transfer)

    def _tell_verdict(self, transfer: Transfer) -> None:
        self.emit(
            MessageAnswered(
                SERVER, transfer.answer_frame, transfer.answer_ns, transfer.answer_offset, transfer.number, transfer.accepted
            )
        )  # fmt: skip

    # -- what is missing -----------------------------------------------------------------------------------------------------

    def answer_missing(self) -> None:
        if self._stray_line is not None:
            self._stray_line = None
            self.exchange_dropped()
            self._begin_text()
            return
        queue = self._pending
        if queue and queue[-1].kind == XEXCH50:
            self._exchange_due = queue[-1].index
            return
        if not self._data_held:
            # Of a complete exchange the outcome may still come, unless the client talks on.
            self._answer_due = self.exchange_open() and not self.exchange_complete()
            self._answer_guessed = True
            return
        entry = queue[-1] if queue and queue[-1].kind == DATA else self._push(DATA, self._envelope, 0, None)
        envelope = entry.envelope
        self._begin_body(entry)
        transfer = entry.transfer
        if transfer is not None and envelope is not None and envelope.is_refused():
            # Sent without waiting for an answer, to a server that had refused what it takes to ask for one.
            transfer.answered = True
            self._mark_answer(transfer)

    def reply_readable(self, line: bytes) -> bool:
        """The last line of a reply with the beginning of its text."""
        return len(line) > 3 and line[3] == 32 and line[:3].isdigit()

    def cut_line(self, line: bytes) -> None:
        self._reply_torn = True
        self.server_line(line)

    def sync_lost(self, sender: Sender) -> None:
        self._gaps = True
        self.offer_told([], False)
        self._paired = False
        if sender == SERVER:
            self._reply_torn = True
            self._replies_lost = True
        both = self._lost_count
        self._lost_count = True
        if sender == CLIENT:
            self._forget_refusals()
            self._exchange_due = 0
            if both:
                # Commands and replies are missing: nobody knows what the next reply answers.
                self.exchange_dropped()
                self._drop_pending()
            self._answer_due = False
            self._unsynced = True
            self._go_ahead_first = False
            if not self.exchange_open():
                self._push(LOST, None, 0, None)
            return
        client = self.client
        if client.mode == OCTETS and self._chunked is not None and client.remaining == self._chunk_size:
            self._doubt_chunk()  # the answer may be among what is missing
        reply = self._reply
        self._reply = []
        self._listing_cut(reply)
        if len(self._pending) > 1:
            self._drop_pending()

    def _drop_pending(self) -> None:
        for entry in self._pending:
            if entry.transfer is not None and entry.transfer.ended:
                self._tell_unanswered(entry.transfer)
        self._pending.clear()

    def torn_line(self, sender: Sender, line: bytes) -> None:
        if sender == SERVER:
            if line[:3].isdigit() and len(line) >= 3 and (len(line) == 3 or line[3] == 32 or line[3] == 45):
                self._reply_torn = True
                self.server_line(line)
        elif VERBS.get(first_word(line), UNKNOWN) != UNKNOWN:
            self.client_line(line)

    def _drop_pending_but_last(self) -> None:
        last = self._pending.pop()
        self._drop_pending()
        self._pending.append(last)

    def line_skipped(self, sender: Sender, begun: bytes) -> None:
        if sender == SERVER:
            if begun.startswith(b"334 "):
                self.server_line(b"334 ")
                self.challenge_skipped()
            elif begun[:3].isdigit():
                self.server_line(begun)
            return
        self._forget_refusals()
        self._exchange_due = 0
        if self._answer_due and self.exchange_open():
            self._answer_due = False
            self._answer = b""
            self._data_held = False
            self.response_skipped()
            self.hold_client()
        elif VERBS.get(first_word(begun), UNKNOWN) == AUTH and begun.count(b" ") > 1 and not self._on_probation():
            self.client_line(b" ".join(begun.split(b" ", 2)[:2]))
            self.response_skipped()
        else:
            self._push(UNKNOWN, None, 0, None)

    def upgraded(self) -> None:
        self._drop_pending()
        self._reply = []
        self._first_reply = False
        self._told = False
        self._ehlo_refused = False
        self.offer_told([], False)
        self._forbidden = False
        self._answer_due = False
        self._lost_count = False
        self._unsynced = False
        self._chunk_doubtful = False
        self._exchange_due = 0
        self._chunk_entry = None
        self._reply_torn = False
        self._end_transaction()

    def nothing_open(self) -> bool:
        return not self._pending and self._transfer is None and self._chunked is None and len(self._reply) <= 1

    def session_ended(self) -> None:
        self._listing_cut(self._reply)
        if self._exchange_doubtful and self._on_probation() and self.commands > 1:
            self.exchange_confirmed()  # commands all along
        self._drop_pending()
        transfer = self._transfer
        self._transfer = None
        if transfer is not None:
            self._tell(transfer)
        self._end_transaction()
