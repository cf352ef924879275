"""POP3 (RFC 1939, 2449, 2595, 5034, 6856): lines both ways, replies in the order of the commands.

Replies pair with a queue of pending commands. Listings (LIST, UIDL, CAPA) are short and read line by line, so that one whose end
is missing can be told from what follows; messages (RETR, TOP) are skipped in bulk. After AUTH the client is on hold until
the server has said ``+`` or answered, for only the server knows whether the next line is a response.

This module is over 500 lines long because both halves of a dialogue share one state; what can be known without it (words,
messages, SASL, framing) is in modules of its own.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.base import DOT_BODY, Dissector, response_form
from analyzer.protocols.events import (
    ACCEPTED,
    CANCELLED,
    COMMAND_QUEUE_FULL,
    CREDENTIALS_BEFORE_CAPABILITIES,
    MALFORMED_COMMAND,
    MALFORMED_REPLY,
    NO_SECRET,
    PASSWORD,
    PIPELINED_BEFORE_GREETING,
    REJECTED,
    RETRIEVED,
    STARTTLS_STRIPPED,
    SUBMITTED,
    UNEXPECTED_REPLY,
    CapabilitiesOffered,
    Greeted,
    MessageDeleted,
    MessageTransferred,
)
from analyzer.protocols.message import NO_NAMES, MessageReader, is_field
from analyzer.protocols.octets import first_word
from analyzer.protocols.pending import PendingNumbers
from analyzer.protocols.pop3_grammar import (
    ALL_LINES,
    APOP,
    AUTH,
    CAPA,
    CAPABILITIES,
    DELE,
    LAST_SPECIAL,
    LINES_BITS,
    LIST,
    LISTING,
    LOST,
    MAX_LINES,
    MAX_TEXT,
    MECHANISMS,
    PASS,
    PLAIN,
    QUIT,
    RETR,
    RSET,
    STLS,
    TOP,
    UNKNOWN,
    USER,
    VERBS,
    XMIT,
    XTND,
    announced_octets,
    apop_timestamp,
    capability,
    extension,
    kind_of_four,
    message_number,
    reply_text,
    text_of,
    top_arguments,
    wants_tls,
)
from analyzer.protocols.sasl import decode_base64, names_mechanism

#: Commands that may wait for their replies; the oldest are given up beyond it.
MAX_PENDING: Final = 512
#: Capabilities kept of one listing.
MAX_CAPABILITIES: Final = 100
#: Message numbers remembered, for deletions.
MAX_MESSAGES: Final = 10000

#: A pending command is ``kind | number << _SHIFT``: the number of its exchange or message.
_SHIFT: Final = 5
_KIND: Final = 31

# What the server's lines are.
_REPLIES: Final = 0
_IN_LISTING: Final = 1
_IN_CAPABILITIES: Final = 2


@mypyc_attr(acyclic=True, free_list_len=1)
class Pop3Dissector(Dissector):
    """Reads one POP3 session."""

    def __init__(self) -> None:
        super().__init__("pop3")
        self._pending: PendingNumbers = PendingNumbers()
        self._listing: i64 = _REPLIES
        self._greeted: bool = False
        self._first_reply: bool = True
        #: lines are missing: commands and replies no longer pair until the client speaks again
        self._lost_count: bool = False
        #: replies that had come when the client's lines were last found missing; -1 where some of the server's may be missing since
        self._replies_then: i64 = -1
        #: a line was missing at some time: a reply to nothing is no surprise
        self._gaps: bool = False
        self._timestamp: str | None = None
        self._user: str | None = None
        self._client_torn: bool = False  # lines of the client are missing
        #: another user name may be among what is missing
        self._user_torn: bool = False
        #: a user name was sent that no password has followed yet; where, and how the server refused it
        self._user_open: bool = False
        self._user_at: Position | None = None
        self._user_offset: i64 = 0
        self._user_refusal: str | None = None
        self._asked: bool = False  # CAPA was sent
        self._told: bool = False  # and answered
        self._forbidden: bool = False  # the server has said that it takes no passwords in clear
        self._unasked_yes: bool = False  # the last reply was a +OK to a client who was never heard
        #: of such a server: the octets that its reply announced (-1: none), the sizes that it has listed
        self._announced: int = -1
        self._sizes: dict[int, bool] | None = None
        #: the message that comes may be the top of one
        self._maybe_top: bool = False
        #: it is the client's
        self._submits: bool = False
        #: it is, unless the client's next line is a command: the server's word on it was not seen
        self._letter_due: bool = False
        #: the client's lines are taken for a letter's, of which the beginning is missing, until the server says something
        self._letter_guessed: bool = False
        #: a login was accepted; and lines of the client are missing since
        self._entered: bool = False
        self._entered_torn: bool = False
        self._answer_due: bool = False  # the client's next line is a SASL response
        self._answer_guessed: bool = False  # so it seems, but the server's word was not seen
        self._answer: bytes = b""  # the last line that was taken for one
        self._names: list[str] = []
        self._reader: MessageReader | None = None
        self._number: int = 0  # of the message that is being retrieved
        #: by TOP: the lines of its text that were asked for (0: by RETR), and the lines that came, the header's among them
        self._asked_lines: i64 = 0
        self._lines: i64 = 0
        self._messages: int = 0
        #: numbers of the messages that the server has sent, and of those marked as deleted, on the server and of ours
        self._retrieved: dict[int, int] | None = None
        self._deleted: dict[int, bool] | None = None

    # -- the client ----------------------------------------------------------------------------------------------------------

    def client_line(self, line: bytes) -> None:
        if self._letter_due and self._resume_letter(line):
            return
        if self._answer_due:
            if not self._answer_guessed or VERBS.get(first_word(line), UNKNOWN) == UNKNOWN:
                self._receive_response(line)
                return
            if self.exchange_stray():
                self.exchange_dropped()
        if self.server.mode == DOT_BODY and self.server.body_gap:
            # It would not talk on before the end of the message, which is missing then.
            self.end_dot_body(SERVER)
        if self._lost_count:
            self._lost_count = False
            if self.replies == self._replies_then:
                self._talk_on(line)
                return
            self._forget_pending()
            self.exchange_dropped()
        self._answer_due = False
        size: i64 = len(line)
        space: i64 = 4  # most verbs have four letters
        kind: int = UNKNOWN
        if size == 4:
            space = -1
            kind = kind_of_four(line)
        elif size > 4 and line[4] == 32:
            kind = kind_of_four(line)
        if kind == UNKNOWN:
            space = line.find(b" ")
            verb = line if space < 0 else line[:space]
            kind = VERBS.get(verb.rstrip(b"\t ").upper(), UNKNOWN)
            if kind == UNKNOWN:
                self._receive_unknown(line)
                return
        self.commands += 1
        if kind <= LAST_SPECIAL:
            argument = b"" if space < 0 else line[space + 1 :]
            if self._entered_torn and (kind == USER or kind == PASS or kind == APOP or kind == AUTH):
                # Who is in does not log in again: the text of a letter whose beginning is missing.
                self._push(PLAIN, 0)
                return
            if kind == USER:
                if self._user_refusal is not None:
                    self._tell_user()
                self._user_open = True
                self._user_torn = False
                self._user_at = self.at
                self._user_offset = self.line_offset
                if not argument or argument[0] == 32 or argument[len(argument) - 1] == 32 or len(argument) > MAX_TEXT:
                    argument = argument.strip(b" ")[:MAX_TEXT]
                self._user = text_of(argument)
            elif kind == PASS:
                self._receive_password(argument)
                return
            elif kind == RETR or kind == DELE:
                self._push(kind, message_number(argument))
                return
            else:
                if self._user_open and (kind == AUTH or kind == APOP or kind == STLS):
                    self._tell_user()
                self._receive_special(kind, argument)
                return
        self._push(kind, 0)

    def _talk_on(self, line: bytes) -> None:
        """A command that did not wait for the replies to those that are missing: how many come before its own, nobody knows."""
        self._replies_then = -1
        self.client_line(line)
        last = self._pending.last() & _KIND
        if last == PASS or last == APOP:
            self._pending.replace_last(LOST)
        elif last == AUTH:
            self.exchange_dropped()
            self._pending.replace_last(LOST)
            self.release_client()
        self._lost_count = True
        self._replies_then = self.replies

    def _receive_special(self, kind: int, argument: bytes) -> None:
        """The rarer commands that have work to do when they are sent."""
        if kind == LIST:
            self._push(PLAIN if argument.strip() else LISTING, 0)
        elif kind == CAPA:
            self._asked = True
            self._push(CAPA, 0)
        elif kind == STLS:
            self._push(STLS, 0)
            self.starttls_requested()
        elif kind == TOP:
            self._push(TOP, top_arguments(argument))
        elif kind == XTND:
            asked = extension(argument)
            self._push(asked, 0)
            if asked == XMIT:
                self.hold_client()
        elif kind == APOP:
            name, _, digest = argument.strip(b" ").rpartition(b" ")
            if not name:
                self.anomaly(CLIENT, MALFORMED_COMMAND, "APOP without two arguments")
                self._push(PLAIN, 0)
                return
            self._check_timing()
            username = name.strip(b" ")[:MAX_TEXT].decode("utf-8", "surrogateescape")
            exchange = self.tell_digest(
                "APOP", username, self._timestamp, digest[:MAX_TEXT].decode("utf-8", "surrogateescape")
            )
            self._push(APOP, exchange)
        else:
            self._begin_auth(argument)

    def _tell_user(self) -> None:
        """A user name is all that was sent of these credentials."""
        refusal = self._user_refusal
        self._user_open = False
        self._user_refusal = None
        if not self._user:
            return
        here = self.at
        offset = self.line_offset
        if self._user_at is not None:
            self.at = self._user_at
            self.line_offset = self._user_offset
        exchange = self.tell_login("USER/PASS", self._user, None, NO_SECRET)
        self.at = here
        self.line_offset = offset
        if refusal is not None:
            self.tell_outcome(exchange, REJECTED, refusal)

    def _receive_password(self, argument: bytes) -> None:
        self._user_open = False
        self._user_refusal = None
        self._check_timing()
        self.password_sent("PASS", self._forbidden)
        username = None if self._user_torn else self._user
        exchange = self.tell_login("USER/PASS", username, text_of(argument), PASSWORD)
        self._push(PASS, exchange)

    def _begin_auth(self, argument: bytes) -> None:
        """RFC 5034 section 4: ``AUTH mechanism [initial-response]``; alone it asks for the mechanisms (RFC 1734's successors)."""
        words = argument.split()
        if not words:
            self._push(MECHANISMS, 0)
            return
        if self.midstream and self.commands == 1 and not names_mechanism(argument):
            self._push(UNKNOWN, 0)  # Redis has AUTH too, with a password behind it
            return
        self._check_timing()
        self.exchange_dropped()
        self.begin_exchange(words[0].decode("ascii", "replace"))
        self._answer = b""
        self._push(AUTH, 0)
        if len(words) > 1:
            self._take_response(words[1])
        self.hold_client()

    def _receive_response(self, line: bytes) -> None:
        self._answer_due = False
        self._answer = line
        if self.exchange_stray() and not self._pending.holds(AUTH):
            if line != b"*" and not response_form(line):
                self.exchange_dropped()
                self._receive_unknown(line)
                return
            self._expect_outcome()
        if line == b"*":
            # Behind complete credentials it only answers the server's error: the outcome is the server's.
            if not self.exchange_complete():
                self.exchange_ended(CANCELLED, "")
        else:
            self._take_response(line)
        self.hold_client()

    def _take_response(self, encoded: bytes) -> None:
        before = self._exchange_told
        self.exchange_response(encoded)
        exchange = self._exchange
        if self._exchange_told and not before and exchange is not None and exchange.secret_kind == PASSWORD:
            self.password_sent(f"AUTH {exchange.mechanism}", self._forbidden)

    def _receive_unknown(self, line: bytes) -> None:
        if self.commands == 0 and (line.startswith((b"PROXY ", b"SSLproxy:"))):
            return  # a proxy's word to the server's own proxy, which answers nothing
        if (self._gaps or (self.midstream and self.commands == 0)) and not self.exchange_open() and response_form(line):
            # POP3 clients send commands and responses, nothing else.
            self.begin_stray_exchange(doubtful=False)
            self._expect_outcome()
            self._take_response(line)
            self.hold_client()
            return
        if self.sent_all_the_same(line):
            self._push(AUTH, 0)
            self._receive_response(line)
            return
        # The first line of a capture may be the rest of one: then it is a command, and the server may well say yes to it.
        if self._client_torn and is_field(line):
            self._guess_letter()
            return
        self._push(LOST if self.midstream and self.commands == 0 else UNKNOWN, 0)

    def _expect_outcome(self) -> None:
        """The server's next word is about an authentication of which the command was not seen."""
        self._pending.clear()
        self._lost_count = False
        self._first_reply = False
        self._push(AUTH, 0)

    def _check_timing(self) -> None:
        """Credentials are sent: before the server could say what it offers?"""
        if self._asked and not self._told and not self._lost_count and self.replies > 0:
            if self._pending.holds(CAPA):
                self.anomaly(CLIENT, CREDENTIALS_BEFORE_CAPABILITIES, "credentials were sent before the answer to CAPA")

    def _push(self, kind: int, number: int) -> None:
        pending = self._pending
        if pending.count >= MAX_PENDING:
            pending.pop()
            if self.replies:
                self.anomaly(CLIENT, COMMAND_QUEUE_FULL, f"more than {MAX_PENDING} commands without a reply")
        pending.push(kind | number << _SHIFT)

    # -- the server ----------------------------------------------------------------------------------------------------------

    def server_line(self, line: bytes) -> None:
        if self._letter_guessed:
            self._letter_over()
        if self._listing != _REPLIES and not self._ends_listing(line):
            return
        if line.startswith(b"+OK"):
            good = True
        elif line.startswith(b"-ERR"):
            good = False
        else:
            self._receive_other(line)
            return
        if self._first_reply:
            self._first_reply = False
            if self._receive_greeting(line, good):
                return
        pending = self._pending
        if pending.count == 0:
            self._receive_unasked(line, good)
            return
        entry = pending.pop()
        kind = entry & _KIND
        if kind == UNKNOWN and good:
            # What no server knows, none says yes to: this answers the next command (the line was for a proxy, say).
            while kind == UNKNOWN and pending.count > 0:
                entry = pending.pop()
                kind = entry & _KIND
        self.replies += 1
        if kind == PASS:
            self._entered = good
            self.tell_outcome(entry >> _SHIFT, ACCEPTED if good else REJECTED, reply_text(line))
        elif good:
            if kind != PLAIN and kind != USER:
                self._receive_yes(kind, entry >> _SHIFT, line)
        else:
            self._receive_no(kind, entry >> _SHIFT, line)

    def _receive_unasked(self, line: bytes, good: bool) -> None:
        self.reply_seen = True
        if self.commands:
            if not self._gaps and not self.midstream:
                self.anomaly(SERVER, UNEXPECTED_REPLY, "a reply to no command")
            return
        # The client was never heard: its half of the dialogue may be missing.
        self._unasked_yes = good
        self._announced = announced_octets(line)
        if good:
            lower = line.lower()
            if b"begin" in lower and b"tls" in lower:
                self.starttls_granted()

    def _receive_yes(self, kind: int, number: int, line: bytes) -> None:
        if kind == RETR:
            at = self.at
            self._reader = MessageReader(at.frame, at.timestamp_ns, self.line_offset, True)
            self._number = number
            self.expect_dot_body(SERVER)
        elif kind == TOP:
            self._begin_top(number)
            self.expect_dot_body(SERVER)
        elif kind == LISTING or kind == MECHANISMS:
            self._listing = _IN_LISTING
        elif kind == CAPA:
            self._listing = _IN_CAPABILITIES
            self._names = []
            self.listed()
        elif kind == DELE:
            deleted = self._deleted
            if deleted is None:
                deleted = self._deleted = {}
            if number and len(deleted) < MAX_MESSAGES:
                deleted[number] = True
        elif kind == RSET:
            self._deleted = None
        elif kind == QUIT:
            self._carry_out()
        elif kind == STLS:
            self.starttls_granted()
        elif kind == XMIT:
            client = self.client
            self._receive_letter(client.offset if client.parts_size else client.end)
            self.release_client()
        elif kind == APOP:
            self._entered = True
            self.tell_outcome(number, ACCEPTED, reply_text(line))
        elif kind == AUTH:
            if VERBS.get(first_word(self._answer), UNKNOWN) == UNKNOWN:
                self._entered = True
                self.exchange_ended(ACCEPTED, reply_text(line))
            else:
                self.exchange_dropped()  # the client has given up by another command, which this answers
            self._answer_due = False
            self.release_client()

    def _begin_top(self, arguments: i64) -> None:
        """TOP was granted; a header alone is no message, whatever is in it."""
        lines = arguments & MAX_LINES
        self._reader = None
        if lines > 0:
            at = self.at
            self._reader = MessageReader(at.frame, at.timestamp_ns, self.line_offset, True)
            self._number = arguments >> LINES_BITS
            self._asked_lines = lines
            self._lines = 0

    def _receive_letter(self, begins: i64) -> None:
        """XTND XMIT was granted: the client's lines from here on are a message, and then the server answers once more."""
        at = self.at
        self._push(PLAIN, 0)
        self._reader = MessageReader(at.frame, at.timestamp_ns, begins, True)
        self._number = 0
        self._submits = True
        self.expect_dot_body(CLIENT)

    def _resume_letter(self, line: bytes) -> bool:
        """The first line behind XTND XMIT whose answer is missing: whether it is a letter's."""
        self._letter_due = False
        if VERBS.get(first_word(line), UNKNOWN) != UNKNOWN:
            return False  # it was refused
        self._lost_count = False
        self._pending.clear()
        self._receive_letter(self.line_offset)
        row = self.client.row(line)
        self.block_data(CLIENT, row, 0, len(row))
        return True

    def _guess_letter(self) -> None:
        """A line like a letter's behind a gap: the text of one, until its end or the server's word."""
        if self.server.mode != DOT_BODY:
            self._letter_guessed = True
            self._reader = None
            self.expect_dot_body(CLIENT, after_gap=True)

    def _letter_over(self) -> None:
        """The server speaks, or may have: what was taken for a letter's text is over, if it was that."""
        if self._letter_guessed:
            self._letter_guessed = False
            self.end_dot_body(CLIENT)

    def _receive_no(self, kind: int, number: int, line: bytes) -> None:
        if kind == STLS:
            self.starttls_refused(reply_text(line))
        elif kind == XMIT:
            self.release_client()
        elif kind == APOP:
            self.tell_outcome(number, REJECTED, reply_text(line))
        elif kind == USER or kind == AUTH:
            self._forbidden = self._forbidden or wants_tls(line)
            if kind == USER and self._user_open:
                self._user_refusal = reply_text(line)
            if kind == AUTH:
                self.exchange_ended(REJECTED, reply_text(line))
                self._answer_due = False
                self.release_client()
        elif kind == CAPA and not (self._told or self._gaps or self.midstream):
            at = self.at
            self.emit(CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, []))

    def _receive_greeting(self, line: bytes, good: bool) -> bool:
        """The server's first line; whether it was its greeting."""
        text = reply_text(line)
        timestamp = apop_timestamp(line)
        if not good or self.midstream or self._pending.count > 0:
            lower = line.lower()
            ready = timestamp is not None
            if self.midstream and not ready and announced_octets(line) >= 0:
                return False  # a message follows, whatever is ready
            if not ready and not ((self.midstream or self._gaps) and self._pending.count > 0):
                # Where the greeting may be missing, these are words of a reply, too.
                ready = b"ready" in lower or b"pop3" in lower or (b"welcome" in lower and self._pending.count == 0)
            if not (good and ready):
                if good or self._pending.count > 0:
                    return False
                self.reply_seen = True
                return True
        self._greeted = True
        self._timestamp = timestamp
        self.replies += 1
        at = self.at
        self.emit(Greeted(SERVER, at.frame, at.timestamp_ns, self.line_offset, text))
        if self.commands:
            self.anomaly(
                CLIENT, PIPELINED_BEFORE_GREETING, f"commands sent before the server's greeting: {self.commands}"
            )
        return True

    def _receive_other(self, line: bytes) -> None:
        """A line that is no reply: a SASL challenge, or the rest of something whose beginning is missing."""
        if self._pending.count > 0 and (line == b"+" or line.startswith(b"+ ")):
            kind = self._pending.first & _KIND
            if kind == AUTH:
                self.replies += 1
                self._first_reply = False
                self.exchange_challenge(line[2:])
                self._answer_due = True
                self._answer_guessed = self.exchange_stray()
                self.client_line_due()
                self.release_client()
                return
        if line[:1] == b"+" and (self._gaps or self.midstream) and self._receive_stray_challenge(line):
            return
        if self._greeted and self._pending.count > 0 and not self._gaps:
            self.anomaly(SERVER, MALFORMED_REPLY, "a line that is neither +OK nor -ERR")
        self._first_reply = False
        if self._unasked_yes and not self.commands:
            self._unasked_yes = False
            self._receive_unasked_lines(line)
        if not self.commands:
            self._note_size(line)

    def _note_size(self, line: bytes) -> None:
        """A line of a LIST to a client who was never heard: number and size of a message."""
        words = line.split(b" ", 2)
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and len(words[1]) <= 12:
            sizes = self._sizes
            if sizes is None:
                sizes = self._sizes = {}
            if len(sizes) < MAX_MESSAGES:
                sizes[int(words[1])] = True

    def _receive_stray_challenge(self, line: bytes) -> bool:
        """``+`` and base64, of an authentication that was not seen to begin: the client's next line may answer it. A message may hold such a line, too."""
        said = line[2:]
        if (said and decode_base64(said) is None) or (self.exchange_open() and not self.exchange_stray()):
            return False
        if not self.exchange_open():
            self.begin_stray_exchange(doubtful=False)
        self.exchange_challenge(said)
        self._answer_due = True
        self._answer_guessed = True
        self.client_line_due()
        return True

    def _receive_unasked_lines(self, line: bytes) -> None:
        """The first line behind a +OK to a client who was never heard: of a message, a listing of capabilities, or of no interest."""
        if is_field(line):
            at = self.at
            reader = MessageReader(at.frame, at.timestamp_ns, self.line_offset, True)
            row = self.server.row(line)
            reader.receive_data(row, 0, len(row))
            self._reader = reader
            self._number = 0
            self._maybe_top = True
            self.expect_dot_body(SERVER)
        else:
            name = capability(line)
            if name.partition(" ")[0] in CAPABILITIES:
                self._listing = _IN_CAPABILITIES
                self._names = [name]
                self.listed()

    def _ends_listing(self, line: bytes) -> bool:
        """A line within a listing; whether it is the next reply instead, the listing's end being lost.

        No line of a listing begins with ``+OK`` or ``-ERR``: they are numbers and names. Nor does a server reply before it is asked.
        """
        if line == b".":
            if self._listing == _IN_CAPABILITIES:
                self._tell_capabilities(True)
            self._listing = _REPLIES
            return False
        challenge = (
            self._pending.count > 0 and self._pending.first & _KIND == AUTH and (line == b"+" or line.startswith(b"+ "))
        )
        if challenge or ((self._pending.count > 0 or not self.commands) and line.startswith((b"+OK", b"-ERR"))):
            if self._listing == _IN_CAPABILITIES:
                here = self.back_to_listing()
                self._tell_capabilities(False)
                self.at, self.line_offset = here
            self._listing = _REPLIES
            return True
        if self._listing == _IN_CAPABILITIES and len(self._names) < MAX_CAPABILITIES:
            if line.startswith(b"."):
                line = line[1:]
            name = capability(line)
            if name:
                self._names.append(name)
                self.listed()
        return False

    def _tell_capabilities(self, ended: bool) -> None:
        """A listing is over; ``ended``: its end was seen."""
        at = self.at
        names = self._names
        self._names = []
        self._told = True
        self.offer_told(names, ended and not self._gaps and len(names) < MAX_CAPABILITIES)
        self.emit(CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, names))
        self._look_for_overwritten(names)

    def _look_for_overwritten(self, names: list[str]) -> None:
        for name in names:
            if name == "XXXX" or name.startswith("XXXXXX"):
                self.anomaly(SERVER, STARTTLS_STRIPPED, "a capability was overwritten with X")
                break

    def _carry_out(self) -> None:
        """QUIT was answered: RFC 1939 section 6, only now the marked messages are removed."""
        deleted = self._deleted
        retrieved = self._retrieved
        self._deleted = None
        self._retrieved = None
        if deleted is None or retrieved is None:
            return
        at = self.at
        for number in deleted:
            message = retrieved.get(number, 0)
            if message:
                self.emit(MessageDeleted(SERVER, at.frame, at.timestamp_ns, self.line_offset, message))

    # -- messages ------------------------------------------------------------------------------------------------------------

    def block_data(self, sender: Sender, data: bytes, start: i64, end: i64) -> None:
        reader = self._reader
        if reader is not None:
            reader.receive_data(data, start, end, self.stuffed)
            if self._asked_lines > 0:
                self._lines += data.count(b"\n", start, end)

    def block_gap(self, sender: Sender, size: i64) -> None:
        reader = self._reader
        if reader is not None:
            reader.receive_gap(size)

    def block_ended(self, sender: Sender) -> None:
        self._tell_message(self.end_seen)

    def _tell_message(self, ended: bool) -> None:
        reader = self._reader
        if reader is None:
            return
        self._reader = None
        if self._maybe_top:
            self._maybe_top = False
            if ended and not self._is_whole(reader):
                return
        number = self._number
        asked = self._asked_lines
        if asked > 0:
            self._asked_lines = 0
            if not self._is_all(reader, asked, ended):
                self.content_seen = self.content_seen or self._has_text(reader)
                return
            if self._retrieved is not None and number in self._retrieved:
                return  # it was told already
        self._messages += 1
        submits = self._submits
        self._submits = False
        retrieved = self._retrieved
        if retrieved is None:
            retrieved = self._retrieved = {}
        if number and len(retrieved) < MAX_MESSAGES:
            retrieved[number] = self._messages
        event = MessageTransferred(
            CLIENT if submits else SERVER, reader.frame, reader.timestamp_ns, reader.offset, self._messages,
            SUBMITTED if submits else RETRIEVED, None, NO_NAMES, 0,
            reader.size, ended, ended and not reader.torn, None, reader.attachments(), reader.header(),
        )  # fmt: skip
        event.in_parts = asked > 0
        self.emit(event)

    def _is_whole(self, reader: MessageReader) -> bool:
        """Whether what the server sent, nobody heard for which command, is a message (RETR) and not its top (TOP).

        The reply to RETR says how many octets follow, on most servers; a listing has said it, maybe. Else what has a text behind its
        header is taken for a message: clients ask for the header alone mostly, if they use TOP.
        """
        if self._announced >= 0:
            return bool(reader.size >= self._announced)
        if self._sizes is not None:
            return reader.size in self._sizes
        return self._has_text(reader)

    def _has_text(self, reader: MessageReader) -> bool:
        """Whether there is more than a header and its blank line."""
        return bool(reader.size - len(reader.header()) > 2)

    def _is_all(self, reader: MessageReader, asked: i64, ended: bool) -> bool:
        """Whether TOP has brought the whole message: less text than was asked for (RFC 1939 section 7). As much may be cut off there.

        What is missing may be nothing but line ends.
        """
        if not ended and asked < ALL_LINES:
            return False
        lines = self._lines + reader.missing
        if reader.header_complete:
            lines -= reader.header().count(b"\n") + 1
        return lines < asked

    # -- what is missing -----------------------------------------------------------------------------------------------------

    def answer_missing(self) -> None:
        if self._pending.holds(XMIT):
            self._letter_due = True
            return
        # Of a complete exchange the outcome may still come, unless the client talks on.
        self._answer_due = self.exchange_open() and not self.exchange_complete()
        self._answer_guessed = True

    def reply_readable(self, line: bytes) -> bool:
        """``+OK`` or ``-ERR`` with the beginning of its text."""
        return line.startswith((b"+OK ", b"-ERR "))

    def sync_lost(self, sender: Sender) -> None:
        self._gaps = True
        self.offer_told([], False)
        pending = self._pending
        if sender == CLIENT:
            self._answer_due = False
            if self._letter_due:
                self._letter_due = False
                self._guess_letter()
            self._user_torn = True
            self._client_torn = True
            self._entered_torn = self._entered
            if self._lost_count:
                # Commands and replies are missing: nobody knows what the next reply answers.
                self._forget_pending()
                self.exchange_dropped()
            else:
                self._replies_then = self.replies
            self._lost_count = True
            if not self.exchange_open():
                self._push(LOST, 0)
            return
        self._replies_then = -1
        if self._listing == _IN_CAPABILITIES:
            names = self._names
            self._names = []
            self._listing = _IN_LISTING
            if names:
                # What it has offered so far, it has offered.
                here = self.back_to_listing()
                at = self.at
                self.emit(CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, names, False))
                self._look_for_overwritten(names)
                self.at, self.line_offset = here
        if pending.count == 1 and (pending.first & _KIND == RETR or pending.first & _KIND == TOP):
            # The +OK and the beginning of the message may be among what is missing.
            self._letter_over()
            entry = pending.pop()
            at = self.at
            if entry & _KIND == RETR:
                self._reader = MessageReader(at.frame, at.timestamp_ns, self.line_offset, True)
                self._number = entry >> _SHIFT
            elif ((entry >> _SHIFT) & MAX_LINES) >= ALL_LINES:
                self._begin_top(entry >> _SHIFT)
            if self._reader is not None:
                self._reader.receive_gap(0)
            self.expect_dot_body(SERVER, after_gap=True)
        elif pending.count > 1:
            self._forget_pending()
        self._lost_count = True

    def _forget_pending(self) -> None:
        """Replies no longer pair with the commands that wait for them. RSET has no other answer than yes (RFC 1939 section 5)."""
        if self._pending.holds(RSET):
            self._deleted = None
        self._pending.clear()

    def torn_line(self, sender: Sender, line: bytes) -> None:
        if sender == SERVER:
            if line.startswith((b"+OK", b"-ERR", b"+ ")) or line == b"+":
                self.server_line(line)
        elif VERBS.get(first_word(line), UNKNOWN) != UNKNOWN:
            self.client_line(line)
        elif is_field(line):
            self._guess_letter()

    def block_resumed(self, sender: Sender) -> bool:
        """No command is that long: behind XTND XMIT it is a letter's beginning."""
        if sender != CLIENT or not self._letter_due:
            return False
        self._letter_due = False
        self._lost_count = False
        self._pending.clear()
        self._receive_letter(self.client.offset)
        return True

    def line_skipped(self, sender: Sender, begun: bytes) -> None:
        if sender == SERVER:
            self._reply_skipped(begun)
        elif self._answer_due and self.exchange_open():
            self._answer_due = False
            self._answer = b""
            self.response_skipped()
            self.hold_client()
        elif first_word(begun) == b"AUTH" and begun.count(b" ") > 1:
            self.client_line(b" ".join(begun.split(b" ", 2)[:2]))
            self.response_skipped()
        else:
            self._push(UNKNOWN, 0)

    def _reply_skipped(self, begun: bytes) -> None:
        """A line of the server that was too long, of which the first words say all that matters."""
        if begun.startswith((b"+OK", b"-ERR")):
            self.server_line(begun)
        elif self._listing == _REPLIES and begun.startswith(b"+ "):
            self.server_line(b"+ ")
            self.challenge_skipped()
        elif self._pending.count > 0 and self._listing == _REPLIES:
            self._pending.pop()

    def upgraded(self) -> None:
        self._pending.clear()
        self._listing = _REPLIES
        self._first_reply = False
        self._lost_count = False
        self._asked = False
        self._told = False
        self.offer_told([], False)
        self._forbidden = False
        self._answer_due = False
        self._user = None

    def nothing_open(self) -> bool:
        return self._reader is None and not self._user_open

    def session_ended(self) -> None:
        if self._user_open:
            self._tell_user()
        self._tell_message(False)
