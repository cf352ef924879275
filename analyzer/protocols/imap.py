r"""IMAP (RFC 9051, 3501): commands by tag, literals in both directions, logins, and the messages that are fetched and appended.

With them RFC 2177 (IDLE), 2595 (STARTTLS, LOGINDISABLED), 2971 (ID), 3502 (MULTIAPPEND), 3516 (BINARY), 4469 (CATENATE), 4959 (initial SASL
response), 4978 (COMPRESS), 6851 (MOVE), 7162 (VANISHED), 7888 (non-synchronising literals) and 8508
(REPLACE).

A command or reply that ends in a literal marker goes on behind the literal; lines are put together here, bounded. Message
content (FETCH, APPEND, REPLACE) goes to a reader in bulk and is never taken for commands or replies. What the client sends behind a
synchronising literal or in an AUTHENTICATE depends on the server's word, so it waits for that (``hold_client``): a ``+`` or
the tagged reply. Where the server's half of the dialogue is missing nobody waits, and what comes is told by its form.

After a gap in the client's stream a line may be text of a message whose APPEND was lost. Credentials read in that state are told
only when the server answers their tag.

This module is over 500 lines long because the client's and the server's half of the dialogue share nearly all their state; grammar
and mailbox are apart already.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.base import HOLD, HOLD_PROTOCOL, LINES, OCTETS, response_form
from analyzer.protocols.events import (
    ACCEPTED,
    APPENDED,
    CANCELLED,
    COMMAND_QUEUE_FULL,
    CREDENTIALS_BEFORE_CAPABILITIES,
    IMAP_PREAUTH,
    MALFORMED_COMMAND,
    MALFORMED_REPLY,
    NO_SECRET,
    PASSWORD,
    PASSWORD_THOUGH_FORBIDDEN,
    REJECTED,
    STARTTLS_STRIPPED,
    UNEXPECTED_REPLY,
    UNTAGGED_DATA_BEFORE_TLS,
    CapabilitiesOffered,
    ClientNamed,
    Greeted,
    MessageAnswered,
)
from analyzer.protocols.imap_commands import (
    APPEND,
    ASK,
    AUTHENTICATE,
    CAPABILITY,
    CLOSE,
    COMMANDS,
    COMPRESS,
    EXAMINE,
    EXISTS,
    EXPUNGE,
    EXPUNGED,
    FETCH,
    FETCHED,
    ID,
    IDLE,
    KNOWN,
    LOGIN,
    MAIL,
    MAILBOX_DATA,
    NUMBERED,
    REPLACE,
    REPLIES,
    SELECT,
    STARTTLS,
    STATUS,
    STORE,
    UNKNOWN,
    UNSELECT,
    VANISHED,
    Pending,
    is_command,
    is_masked,
    is_tag,
    is_word,
    response_code,
    shown,
    without_quoted,
)
from analyzer.protocols.imap_grammar import (
    FetchReply,
    is_synchronising,
    literal_size,
    literal_start,
    mailbox_name,
    number,
    read_arguments,
    requested_piece,
    text,
)
from analyzer.protocols.imap_mailbox import Mailbox
from analyzer.protocols.imap_messages import MessageTraffic
from analyzer.protocols.message import MessageReader
from analyzer.protocols.sasl import decode_base64

#: Commands that wait for their tagged reply; more than this and the oldest is forgotten.
MAX_PENDING: Final = 256
#: Octets kept of one command's literals (names, passwords); message content is not kept.
MAX_COMMAND: Final = 65536
#: Capabilities kept of one list.
MAX_CAPABILITIES: Final = 200
#: Messages of one APPEND (RFC 3502) whose answer is told one by one.
MAX_APPENDED: Final = 1000

# What the client waits for.
_NOTHING: Final = 0
_GO_AHEAD: Final = 1  # to send a literal
_CHALLENGE: Final = 2

# An authentication whose command was not seen.
_NO_STRAY: Final = 0
_CLIENT_DUE: Final = 1
_SERVER_DUE: Final = 2


class ImapDissector(MessageTraffic):
    """Reads one IMAP connection."""

    def __init__(self) -> None:
        super().__init__()
        self._pending_dropped: bool = False
        # the command that goes on behind a literal
        self._current: Pending | None = None
        self._arguments: list[bytes] = []
        self._well_formed: bool = True
        self._command_offset: i64 = 0
        self._command_size: i64 = 0
        self._literal_size: i64 = 0
        #: the literal waits for the server's go-ahead; one that does not comes whatever the server says
        self._literal_waits: bool = False
        self._literal: list[bytes] = []
        self._keep_literal: bool = False
        self._is_message: bool = False
        self._catenating: bool = False
        self._has_url: bool = False
        self._reader: MessageReader | None = None
        # waiting for the server
        self._waits_for: i64 = _NOTHING
        self._early_go_ahead: bool = False
        self._early_text: bytes = b""
        self._idle_plus_due: bool = False
        self._idling: bool = False
        self._authenticating: Pending | None = None
        self._response_due: bool = False
        #: an authentication whose command was not seen: who speaks next in it
        self._stray: i64 = _NO_STRAY
        #: lines that were no commands, after a beginning or a piece that is missing
        self._text_lines: i64 = 0
        #: those of them before the last piece that is missing, or before a reply to a command that was not seen: their text is over
        self._text_over: i64 = 0
        # state of the session
        self._greeted: bool = False
        self._authenticated: bool = False
        #: a login was sent beyond doubt, and not refused; or something shows that there was one
        self._entered: bool = False
        #: one was sent whose answer may be missing, and may have been no
        self._refusal_lost: bool = False
        self._capabilities_told: bool = False
        self._login_disabled: bool = False
        self._upgraded: bool = False
        self._client_gap: bool = False
        self._client_lost: bool = False
        self._server_gap: bool = False
        self._stripped_told: bool = False
        self._early_data_told: bool = False

    # -- the client ----------------------------------------------------------------------------------------------------------

    def client_line(self, line: bytes) -> None:
        if self._current is not None:
            self._read_on(line)
            return
        if self._response_due and self.exchange_open():
            asking = self._authenticating
            doubtful = asking is not None and asking.doubtful
            if not is_command(line) and not (
                doubtful and line != b"*" and line != b"=" and decode_base64(line) is None
            ):
                self._sasl_response(line)
                return
            # A response never holds a space: the client has gone on.
            if asking is not None and doubtful:
                asking.set_aside = self._exchange
                asking.at = Position(self._exchange_frame, self._exchange_ns, 0)
                asking.offset = self._exchange_offset
            self.exchange_dropped()
            self._response_due = False
        space: i64 = line.find(b" ")
        if self._client_lost or self.midstream:
            if self._stray_line(line):
                return
            if not is_command(line) and line.strip().upper() != b"DONE":
                # No command is empty, but the rest of one may be with which the capture begins.
                begins = self.midstream and self.commands == 0 and self._text_lines == 0
                self._text_lines += 1 if line or begins else 2
                if self.commands == 0 and self.midstream:
                    # The capture begins within a literal, for all that one knows: lines are text until the server answers one.
                    self._client_lost = True
        if space <= 0:
            self._single_word(line)
            return
        size: i64 = len(line)
        at = space + 1
        while at < size and line[at] == 32:
            at += 1
        end: i64 = line.find(b" ", at)
        if end < 0:
            end = size
        verb = line[at:end].upper()
        by_uid = False
        if verb == b"UID" and end < size:
            by_uid = True
            at = end + 1
            end = line.find(b" ", at)
            if end < 0:
                end = size
            verb = line[at:end].upper()
        code = COMMANDS.get(verb, UNKNOWN)
        if code == UNKNOWN:
            if self._client_lost:
                return
            if is_masked(verb):
                self._tell_stripped(CLIENT, "the client's STARTTLS was overwritten on its way")
            elif not is_word(verb):
                self.anomaly(CLIENT, MALFORMED_COMMAND, "a line that is no command")
                return
        elif not is_tag(line, space):
            if not self._client_lost:
                self.anomaly(CLIENT, MALFORMED_COMMAND, "an impossible tag")
            return
        else:
            self.commands += 1
            if code == REPLACE:
                # RFC 8508 section 4: a message's number, or * for the last one; the rest is an APPEND's.
                at = end + 1
                end = line.find(b" ", at)
                if end < 0:
                    end = size
                replaced = line[at:end]
                code = APPEND if replaced.isdigit() or replaced == b"*" else MAIL
        doubtful = self._client_lost or (self.midstream and not self.server_heard())
        pending = Pending(line[:space], code, by_uid, doubtful)
        pending.text_at = self._text_lines
        pending.text_before = self._text_lines - self._text_over
        pendings = self._pending
        pendings.append(pending)
        if len(pendings) > MAX_PENDING:
            del pendings[0]
            if not self._pending_dropped:
                self._pending_dropped = True
                self.anomaly(CLIENT, COMMAND_QUEUE_FULL, f"more than {MAX_PENDING} commands wait for their replies")
        self._arguments = []
        self._well_formed = True
        self._command_offset = self.line_offset
        self._command_size = size
        self._catenating = False
        self._read_arguments(pending, line, end)

    def _stray_line(self, line: bytes) -> bool:
        """Whether a line is a SASL response in an authentication whose command is missing, as far as its form tells.

        Of a message's text only a single line can look so for a while: what follows it, or the server's silence, shows that it is none.
        """
        if self._stray == _SERVER_DUE or (self._stray == _CLIENT_DUE and (line == b"*" or is_command(line))):
            self._stray = _NO_STRAY
            self.exchange_dropped()
            if line != b"*":
                self._text_lines += 1
                self._client_lost = True
        if self.exchange_open() and self._stray == _NO_STRAY:
            return False
        if not response_form(line):
            return False
        if self._stray == _NO_STRAY:
            self.begin_stray_exchange(doubtful=True)
            if self._early_go_ahead:
                self._early_go_ahead = False
                self.exchange_challenge(self._early_text)
        self.exchange_response(line)
        self._stray = _SERVER_DUE
        return True

    def _end_stray(self, good: bool, reply: str) -> None:
        """A tagged reply to no command that was seen, behind what looked like a SASL response: it was one."""
        self._stray = _NO_STRAY
        self._client_lost = False
        self.exchange_confirmed()
        self.exchange_ended(ACCEPTED if good else REJECTED, reply)

    def _single_word(self, line: bytes) -> None:
        word = line.strip().upper()
        if word == b"DONE":
            self._idling = False
            self.commands += 1
        elif self._client_lost:
            return
        elif self.sent_all_the_same(line):
            self.exchange_response(line)
            self.exchange_dropped()
        elif word:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "a line that is no command")

    def _read_on(self, line: bytes) -> None:
        """The rest of a command, behind a literal."""
        pending = self._current
        if pending is None:
            return
        self._current = None
        self._command_size += len(line)
        self._read_arguments(pending, line, 0)

    def _read_arguments(self, pending: Pending, line: bytes, start: i64) -> None:
        """Read ``line[start:]``; the command ends here, or a literal follows."""
        code = pending.code
        marker = literal_start(line)
        end: i64 = len(line) if marker < 0 else marker
        if code != KNOWN and code != MAIL and code != UNKNOWN and not read_arguments(line, start, end, self._arguments):
            self._well_formed = False
        if code == APPEND:
            self._read_append(pending, line, start, end)
        elif code == FETCH and pending.origin < 0:
            pending.origin, pending.length = requested_piece(line)
        if marker < 0:
            self._command_read(pending)
            return
        self._current = pending
        self._literal_size = literal_size(line, marker)
        self._literal = []
        self._is_message = code == APPEND and self._literal_size > 0 and len(self._arguments) > 0
        self._keep_literal = (
            not self._is_message and self._literal_size <= MAX_COMMAND - self._command_size and code != MAIL
        )
        self._command_size += self._literal_size
        self._literal_waits = is_synchronising(line)
        if self._literal_waits and pending.status and pending.status != b"OK":
            self._give_up(pending)  # refused already: no go-ahead will come
            self._answer(pending, pending.status, pending.reply)
        elif self._literal_waits:
            self._wait(_GO_AHEAD)
        else:
            self.expect_octets(CLIENT, self._literal_size)

    def _read_append(self, pending: Pending, line: bytes, start: i64, end: i64) -> None:
        """Follow CATENATE's parts (RFC 4469): texts in a row are one message, one with a URL in it is not whole here."""
        if self._catenating:
            plain = without_quoted(line[start:end])
            if plain.find(b"URL") >= 0:
                self._has_url = True
            if plain.find(b")") < 0:
                return
            self._catenating = False
            self._appended(pending)
        opening: i64 = line[start:end].upper().find(b"CATENATE (")
        if opening >= 0:
            plain = without_quoted(line[start + opening : end])
            self._has_url = plain.upper().find(b"URL ") >= 0
            self._catenating = plain.find(b")") < 0

    def _command_read(self, pending: Pending) -> None:
        """All of a command was read."""
        code = pending.code
        if code == LOGIN:
            self._login(pending)
        elif code == AUTHENTICATE:
            self._authenticate(pending)
        elif code == STARTTLS:
            self.starttls_requested()
        elif code == COMPRESS:
            if self._arguments and self._arguments[0].upper() == b"DEFLATE":
                self.compress_requested()
            else:
                pending.code = KNOWN
        elif code == IDLE:
            self._idling = True
            self._idle_plus_due = True
        elif code == ID:
            self._name_client()
        elif code == SELECT or code == EXAMINE:
            if self._arguments:
                pending.mailbox = mailbox_name(self._arguments[0])
        elif code == STORE:
            self._store(pending)
        if pending.status:
            self._answer(pending, pending.status, pending.reply)

    def _login(self, pending: Pending) -> None:
        arguments = self._arguments
        if not self._well_formed or len(arguments) != 2:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "LOGIN without exactly a user name and a password")
            return
        pending.username = text(arguments[0])
        pending.password = text(arguments[1])
        if pending.doubtful:
            pending.at = self.at
            pending.offset = self._command_offset
        else:
            self._tell_login(pending)

    def _tell_login(self, pending: Pending) -> None:
        username = pending.username
        if username is None or pending.exchange:
            return
        password = pending.password
        if self.exchange_open():
            self.exchange_dropped()
        here = self.at
        said = pending.at
        if said is None:
            self.line_offset = self._command_offset
        else:
            # Told late: where and when it was said stands with it.
            self.at = said
            self.line_offset = pending.offset
        pending.exchange = self.tell_login("LOGIN-CMD", username, password, NO_SECRET if password is None else PASSWORD)
        self.at = here
        self._login_sent()
        if password is not None and not pending.doubtful:
            if self._login_disabled:
                self.anomaly(CLIENT, PASSWORD_THOUGH_FORBIDDEN, "LOGIN though the server had said LOGINDISABLED")
            self._check_order("LOGIN")

    def _login_unfinished(self, pending: Pending) -> None:
        """A LOGIN of which the password never came."""
        if self._well_formed and self._arguments and not pending.doubtful:
            pending.username = text(self._arguments[0])
            self._tell_login(pending)

    def _check_order(self, command: str) -> None:
        if (
            not (self._capabilities_told or self._upgraded or self.midstream or self._server_gap)
            and self.server_heard()
        ):
            self.anomaly(
                CLIENT, CREDENTIALS_BEFORE_CAPABILITIES, f"{command} before the server had told what it offers"
            )

    def _authenticate(self, pending: Pending) -> None:
        arguments = self._arguments
        if not arguments:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "AUTHENTICATE without a mechanism")
            return
        self.exchange_dropped()
        self.begin_exchange(text(arguments[0]))
        self._authenticating = pending
        pending.exchange = self._exchange_number
        if pending.doubtful:
            self._exchange_told = True  # until the server answers this tag
        else:
            self._login_sent()
            self._check_order("AUTHENTICATE")
        if len(arguments) > 1:
            self._take_response(arguments[1])
        self._response_due = False
        self._wait(_CHALLENGE)

    def _sasl_response(self, line: bytes) -> None:
        self._response_due = False
        if line == b"*":
            # Behind complete credentials it only answers the server's error: the outcome is the server's.
            asking = self._authenticating
            if self.exchange_complete():
                return
            if asking is not None and asking.doubtful:
                asking.cancelled = True
                return
            self.exchange_ended(CANCELLED, "")
            self._authenticating = None
            return
        self._take_response(line)
        self._wait(_CHALLENGE)

    def _take_response(self, encoded: bytes) -> None:
        before = self._exchange_told
        self.exchange_response(encoded)
        exchange = self._exchange
        if self._exchange_told and not before and exchange is not None and exchange.secret_kind == PASSWORD:
            self.password_sent(f"AUTHENTICATE {exchange.mechanism}", False)

    def _name_client(self) -> None:
        """``ID ("name" "Mail" "version" "1.0")``, RFC 2971."""
        arguments = self._arguments
        name = b""
        version = b""
        index: i64 = 0
        count: i64 = len(arguments)
        while index + 1 < count:
            key = arguments[index].strip(b'("').lower()
            value = arguments[index + 1]
            if value.endswith(b"NIL)"):
                value = b"NIL"
            if key == b"":  # an opening parenthesis that stands alone
                index += 1
                continue
            if key == b"name":
                name = value
            elif key == b"version":
                version = value
            index += 2
        if name and name.upper() != b"NIL":
            said = name if not version or version.upper() == b"NIL" else name + b" " + version
            at = self.at
            self.emit(ClientNamed(CLIENT, at.frame, at.timestamp_ns, self.line_offset, shown(said)))

    def _store(self, pending: Pending) -> None:
        arguments = self._arguments
        if len(arguments) < 3:
            return
        pending.numbers = arguments[0]
        item = arguments[1].upper()
        names_it = b" ".join(arguments[2:]).lower().find(b"\\deleted") >= 0
        if item.startswith(b"+FLAGS"):
            pending.deletes = 1 if names_it else -1
        elif item.startswith(b"-FLAGS"):
            pending.deletes = 0 if names_it else -1
        elif item.startswith(b"FLAGS"):
            pending.deletes = 1 if names_it else 0

    def _appended(self, pending: Pending | None) -> None:
        """A message of an APPEND is all there."""
        reader = self._reader
        self._reader = None
        if reader is None:
            return
        mailbox = mailbox_name(self._arguments[0]) if self._arguments else None
        message = self._tell_message(CLIENT, reader, APPENDED, True, not self._has_url, mailbox)
        self._has_url = False
        if pending is not None and len(pending.messages) < MAX_APPENDED:
            pending.messages.append(message)

    # -- waiting for the server ---------------------------------------------------------------------------------------------

    def _wait(self, what: i64) -> None:
        """The client may send what comes next only after a ``+``; where no reply can be expected it is read as it comes."""
        self._waits_for = what
        if self._early_go_ahead:
            self._early_go_ahead = False
            if what == _CHALLENGE:
                self.exchange_challenge(self._early_text)
            self._go_ahead()
        elif self.server_heard() and not self._client_lost:
            self.hold_client()
        else:
            self._go_ahead()

    def _go_ahead(self) -> None:
        what = self._waits_for
        self._waits_for = _NOTHING
        if what == _GO_AHEAD:
            self.expect_octets(CLIENT, self._literal_size)
        elif what == _CHALLENGE:
            self._response_due = True

    def answer_missing(self) -> None:
        self._go_ahead()

    def _is_held(self) -> bool:
        return self.client.mode == HOLD and self.client.hold_reason == HOLD_PROTOCOL

    # -- the server ------------------------------------------------------------------------------------------------------------

    def server_line(self, line: bytes) -> None:
        if self._reply_goes_on:
            self._reply_goes_on = False
            if not line.startswith(b"* "):
                self._read_reply_on(line)
                return
            self._end_fetch()
        if not line:
            return
        if line[0] == 42 and len(line) > 1 and line[1] == 32:
            self._untagged(line)
        elif line[0] == 43:
            self._continuation(line[2:] if line.startswith(b"+ ") else line[1:])
        else:
            self._tagged(line)

    def _continuation(self, said: bytes) -> None:
        if self._idle_plus_due:
            self._idle_plus_due = False
        elif self._waits_for != _NOTHING:
            if self._waits_for == _CHALLENGE:
                self.exchange_challenge(said)
            held = self._is_held()
            self._go_ahead()
            if held:
                self.release_client()
        elif self._response_due and self.exchange_open():
            self.exchange_challenge(said)
            self.client_line_due()
        elif self._stray == _SERVER_DUE:
            self._stray = _CLIENT_DUE
            self.exchange_challenge(said)
            self.client_line_due()
        elif self._current is None:
            self.client_line_due()
            # It came before the line that it answers (a capture may have them the wrong way round), or for one that was missed.
            self._early_go_ahead = not self._idling
            self._early_text = said

    def _untagged(self, line: bytes) -> None:
        size: i64 = len(line)
        space: i64 = line.find(b" ", 2)
        if space < 0:
            space = size
        word = line[2:space].upper()
        kind: i64 = REPLIES.get(word, 0)
        if kind == STATUS:
            self._status(word, line, space)
            return
        if kind == CAPABILITY:
            self.replies += 1
            self._offer(line[space + 1 :], self._is_before_login())
            return
        first: i64 = -1
        rest = space
        if kind == 0:
            first = number(word)
            if first >= 0:
                rest = line.find(b" ", space + 1)
                if rest < 0:
                    rest = size
                word = line[space + 1 : rest].upper()
                kind = REPLIES.get(word, 0)
        if kind == 0 or (kind >= NUMBERED) != (first >= 0):
            if is_word(word):
                self._skip_literal(line)
            else:
                self._odd_reply("an unknown untagged reply")
            return
        self.replies += 1
        if kind >= MAILBOX_DATA and not self._authenticated:
            self._check_early_data(word)
        if kind == FETCHED:
            self._fetch = FetchReply(first)
            self._read_fetch(line, rest)
            return
        if kind == EXPUNGED:
            self._removed(self._mailbox.expunged(first, self._is_pending(EXPUNGE)))
        elif kind == EXISTS:
            self._exists = first
            self._mailbox.exists = first
        elif kind == VANISHED:
            earlier = line.find(b"(") >= 0
            uids = line[line.rfind(b" ") + 1 :]
            removed = self._mailbox.vanished(uids, self._is_pending(EXPUNGE))
            if not earlier:
                self._removed(removed)
        self._skip_literal(line)

    def _status(self, word: bytes, line: bytes, space: i64) -> None:
        """``* OK``, ``* NO``, ``* BAD``, ``* BYE``, ``* PREAUTH``: a greeting, a warning, a farewell."""
        first = self.replies == 0 and self.commands == 0 and not self._server_gap
        self.replies += 1
        code = response_code(line, space)
        if first and word != b"NO" and word != b"BAD" and not self._greeted and not self.midstream:
            self._greeted = True
            at = self.at
            banner = line[space + 1 :]
            if code:
                banner = banner[len(code) + 2 :].lstrip()
            self.emit(Greeted(SERVER, at.frame, at.timestamp_ns, self.line_offset, shown(banner)))
            if word == b"PREAUTH":
                self._authenticated = True
                self._entered = True
                self.anomaly(SERVER, IMAP_PREAUTH, "the server greeted as if the client had logged in")
        if code[:11].upper() == b"CAPABILITY ":
            greets = self.replies == 1 and not self._server_gap and not self.midstream
            self._offer(code[11:], greets or self._is_before_login())

    def _is_before_login(self) -> bool:
        """Whether a list told now is for who has not logged in: one that comes unasked, or out of turn, behind a login may be for who has."""
        for pending in self._pending:
            if pending.code == ASK:
                return True
            if pending.code == LOGIN or pending.code == AUTHENTICATE:
                return False
        return True

    def _offer(self, words: bytes, before_login: bool = True) -> None:
        """A list of capabilities; one told with the answer to a login need not name what was offered before it."""
        said = words.upper()
        names = [
            name for name in said.decode("utf-8", "replace").split(" ", MAX_CAPABILITIES)[:MAX_CAPABILITIES] if name
        ]
        self._capabilities_told = True
        self._login_disabled = "LOGINDISABLED" in names
        whole = before_login and not self._server_gap and len(names) < MAX_CAPABILITIES
        self.offer_told(names, self._login_disabled and whole)
        masked = said.find(b"XXXXXXX") >= 0 and any(is_masked(word) for word in said.split(b" "))
        at = self.at
        self.emit(CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, names, before_login))
        if masked:
            self._tell_stripped(SERVER, "a capability was overwritten on its way")

    def _check_early_data(self, word: bytes) -> None:
        if (
            self._early_data_told
            or not self._greeted
            or self.midstream
            or self._client_gap
            or self._server_gap
            or self._upgraded
        ):
            return
        for pending in self._pending:
            if pending.code >= MAIL or pending.code == UNKNOWN:
                return
        self._early_data_told = True
        self.anomaly(SERVER, UNTAGGED_DATA_BEFORE_TLS, f"{shown(word)} before the client had logged in")

    def _tagged(self, line: bytes) -> None:
        space: i64 = line.find(b" ")
        end: i64 = line.find(b" ", space + 1)
        if end < 0:
            end = len(line)
        status = line[space + 1 : end].upper() if space > 0 else b""
        if status != b"OK" and status != b"NO" and status != b"BAD":
            self._odd_reply("a line that is no reply")
            return
        self.replies += 1
        self._early_go_ahead = False
        code = response_code(line, end)
        pending = self._take(line[:space])
        told = code[:11].upper() == b"CAPABILITY "
        # What comes with the answer to a login is what the server offers to whom it has let in.
        behind = told and status == b"OK" and pending is not None and pending.code in (LOGIN, AUTHENTICATE)
        if told and not behind:
            self._offer(code[11:])
        if pending is None:
            self._text_over = self._text_lines
            if self.commands == 0:
                self.client_missing()
            if not (self.commands == 0 or self.midstream or self._client_gap or self._pending_dropped):
                self.anomaly(SERVER, UNEXPECTED_REPLY, "a tagged reply to no command")
            if self._stray == _SERVER_DUE:
                self._end_stray(status == b"OK", shown(line[space + 1 :]))
            if status == b"OK":
                self._authenticated = True  # for all that one knows: what it answers was not seen
            return
        if pending.doubtful:
            self._client_lost = False
        reply = shown(line[space + 1 :])
        if pending is not self._current or self._cut_short(pending, status, reply):
            self._answer(pending, status, reply)
        if behind:
            self._offer(code[11:])

    def _cut_short(self, pending: Pending, status: bytes, reply: str) -> bool:
        """The tagged reply came while a literal was due; False where the command goes on all the same, and is answered at its end."""
        if self._is_held():
            if (status == b"OK" or self._server_gap) and self.client_waiting():
                # The literal was sent: the go-ahead is missing.
                pending.status = status
                pending.reply = reply
                self._go_ahead()
                self.release_client()
                return False
            self._waits_for = _NOTHING
            self._give_up(pending)
            self._answer(pending, status, reply)
            self.release_client()
            return False
        client = self.client
        unsent = client.mode == OCTETS and client.remaining == self._literal_size
        if unsent and self._literal_waits and status != b"OK":
            # Nothing of the literal was sent, and now it never will be.
            client.mode = LINES
            client.remaining = 0
            self._give_up(pending)
            return True
        pending.status = status
        pending.reply = reply
        return False

    def _give_up(self, pending: Pending) -> None:
        """The rest of the command that is being read will not come."""
        self._current = None
        if pending.code == LOGIN:
            self._login_unfinished(pending)

    def _answer(self, pending: Pending, status: bytes, reply: str) -> None:
        """A command's tagged reply."""
        code = pending.code
        ok = status == b"OK"
        if code == LOGIN:
            if pending.doubtful and self._may_be_login(pending):
                self._tell_login(pending)
            if pending.exchange:
                self.tell_outcome(pending.exchange, ACCEPTED if ok else REJECTED, reply)
                self._entered = ok
            if ok:
                self._authenticated = True
        elif code == AUTHENTICATE:
            self._authentication_ended(pending, ok, reply)
        elif code == STARTTLS:
            if ok:
                self.starttls_granted()
            else:
                self.starttls_refused(reply)
        elif code == COMPRESS:
            if ok:
                self.compress_granted()
            else:
                self.compress_refused()
        elif code == IDLE:
            self._idling = False
            self._idle_plus_due = False
        elif code == APPEND:
            at = self.at
            for message in pending.messages:
                self.emit(MessageAnswered(SERVER, at.frame, at.timestamp_ns, self.line_offset, message, ok))
        elif code == SELECT or code == EXAMINE:
            self._mailbox = Mailbox(pending.mailbox if ok else None, code == EXAMINE)
            if ok:
                self._mailbox.exists = self._exists
        elif code == CLOSE:
            if ok:
                self._removed(self._mailbox.closed())
                self._mailbox = Mailbox(None, False)
        elif code == UNSELECT:
            if ok:
                self._mailbox = Mailbox(None, False)
        elif code == STORE and ok and pending.deletes >= 0:
            self._mailbox.mark(pending.numbers, pending.by_uid, pending.deletes == 1)
        elif code == ASK and not (
            ok or self._capabilities_told or self._client_gap or self._server_gap or self.midstream
        ):
            self._offer(b"")
        if code >= MAIL and ok:
            self._authenticated = True
            if not pending.doubtful:
                self._entered = True

    def _login_sent(self) -> None:
        if self.server_heard():
            self._entered = True
        else:
            self._refusal_lost = True

    def _may_be_login(self, pending: Pending) -> bool:
        """Whether a doubtful login can be one: a line of a letter has others before and behind it, and who is in does not log in again.

        A line before it may be the rest of one that was cut off. Who may have been refused tries again, but one login at a time.
        """
        if self._entered or (self._refusal_lost and self._other_login(pending, True)):
            return False
        return pending.text_before <= 1 and pending.text_at == self._text_lines

    def _other_login(self, one: Pending | None, doubtful: bool) -> bool:
        """Whether a login, a doubtful one or one beyond doubt, waits for its answer, other than this one."""
        for pending in self._pending:
            if pending.code == LOGIN or pending.code == AUTHENTICATE:
                if pending is not one and pending.doubtful == doubtful:
                    return True
        return False

    def _authentication_ended(self, pending: Pending, ok: bool, reply: str) -> None:
        if pending.doubtful and not self._may_be_login(pending):
            if pending is self._authenticating:
                self._authenticating = None
                self._response_due = False
                self._exchange_told = True
                self.exchange_dropped()
                self._stop_waiting_for_challenge()
            return
        self._entered = ok
        if pending is self._authenticating and self.exchange_open():
            if pending.doubtful:
                self._exchange_told = False
            outcome = ACCEPTED if ok else CANCELLED if pending.cancelled else REJECTED
            self.exchange_ended(outcome, "" if outcome == CANCELLED else reply)
        elif pending is self._authenticating and pending.exchange:
            self.tell_outcome(pending.exchange, ACCEPTED if ok else REJECTED, reply)
        if pending is self._authenticating:
            self._authenticating = None
            self._response_due = False
            self._stop_waiting_for_challenge()
        if ok:
            self._authenticated = True

    def _stop_waiting_for_challenge(self) -> None:
        if self._waits_for == _CHALLENGE:
            held = self._is_held()
            self._waits_for = _NOTHING
            if held:
                self.release_client()

    def _take(self, tag: bytes) -> Pending | None:
        """The oldest pending command of this tag, which is pending no more."""
        for index, pending in enumerate(self._pending):
            if pending.tag == tag:
                del self._pending[index]
                return pending
        return None

    def _odd_reply(self, what: str) -> None:
        if not (self.midstream or self._server_gap):
            self.anomaly(SERVER, MALFORMED_REPLY, what)

    def _tell_stripped(self, sender: Sender, what: str) -> None:
        if not self._stripped_told:
            self._stripped_told = True
            self.anomaly(sender, STARTTLS_STRIPPED, what)

    # -- what framing says -----------------------------------------------------------------------------------------------------

    def block_data(self, sender: Sender, data: bytes, start: i64, end: i64) -> None:
        if sender == SERVER:
            self._server_octets(data, start, end)
        elif self._is_message:
            self._client_reader().receive_data(data, start, end)
        elif self._keep_literal:
            self._literal.append(data[start:end])

    def block_gap(self, sender: Sender, size: i64) -> None:
        if sender == SERVER:
            reader = self._server_reader
            if reader is not None:
                reader.receive_gap(size)
        elif self._is_message:
            self._client_reader().receive_gap(size)
        else:
            self._keep_literal = False

    def block_ended(self, sender: Sender) -> None:
        if sender == SERVER:
            self._end_server_literal()
            return
        if self._is_message:
            self._is_message = False
            if not self._catenating:
                self._appended(self._current)
        elif self._keep_literal:
            self._arguments.append(b"".join(self._literal))
        else:
            self._well_formed = False
        self._literal = []

    def _client_reader(self) -> MessageReader:
        reader = self._reader
        if reader is None:
            at = self.at
            reader = MessageReader(at.frame, at.timestamp_ns, self.line_offset, False)
            self._reader = reader
        return reader

    def line_skipped(self, sender: Sender, begun: bytes) -> None:
        if sender == SERVER:
            self._reply_skipped(begun)
        elif self._response_due and self.exchange_open():
            self._response_due = False
            self.response_skipped()
            self._wait(_CHALLENGE)
        elif self._current is None and is_command(begun) and begun.split(b" ", 2)[1].upper() == b"AUTHENTICATE":
            words = begun.split(b" ", 3)
            if len(words) > 3:
                self.client_line(b" ".join(words[:3]))
                self.response_skipped()
        else:
            self._current = None

    def _reply_skipped(self, begun: bytes) -> None:
        """A line of the server that was too long, of which the first words say all that matters."""
        if not self._reply_goes_on and begun.startswith(b"+ "):
            self.challenge_skipped()
            self._continuation(b"")
        elif not self._reply_goes_on and self.reply_readable(begun):
            self._tagged(begun)
        else:
            self._end_fetch()
            self._reply_goes_on = False

    def torn_line(self, sender: Sender, line: bytes) -> None:
        if (
            sender == SERVER
            and line.startswith(b"+ ")
            and (self._waits_for != _NOTHING or (self._current is None and decode_base64(line[2:]) is not None))
        ):
            self._continuation(line[2:])
            return
        if sender == CLIENT and is_command(line):
            self.client_line(line)  # and doubtful, until its tag is answered
            return
        # A reply that names a command in flight is what it seems, whatever is missing before it.
        if sender == SERVER and self.reply_readable(line):
            tag = line[: line.find(b" ")]
            for pending in self._pending:
                if pending.tag == tag:
                    self._tagged(line)
                    return

    def reply_readable(self, line: bytes) -> bool:
        """A tagged reply with the beginning of its text."""
        words = line.split(b" ", 2)
        return len(words) == 3 and words[0] not in (b"*", b"+") and words[1].upper() in (b"OK", b"NO", b"BAD")

    def sync_lost(self, sender: Sender) -> None:
        if sender == SERVER:
            self._server_gap = True
            if self._entered and self._other_login(None, False):
                self._entered = False
                self._refusal_lost = True
            self.offer_told([], False)
            self._end_fetch()
            self._mailbox.forget_headers()
            self._reply_goes_on = False
            self._server_reader = None
            if self._is_held():
                self._go_ahead()
                self.release_client()
            return
        self._client_gap = True
        self._client_lost = True
        self._mailbox.forget_headers()
        self._text_over = self._text_lines
        self._stray = _NO_STRAY
        self._current = None
        self._reader = None

    def upgraded(self) -> None:
        self._pending = []
        self._current = None
        self._waits_for = _NOTHING
        self._response_due = False
        self._authenticating = None
        self._early_go_ahead = False
        self._capabilities_told = False
        self._login_disabled = False
        self.offer_told([], False)
        self._reply_goes_on = False
        self._fetch = None
        self._server_text = None
        self._upgraded = True

    def nothing_open(self) -> bool:
        return (
            self._current is None
            and not self._pending
            and self._reader is None
            and self._server_reader is None
            and self._server_text is None
            and not self._mailbox.piecemeal
        )

    def session_ended(self) -> None:
        current = self._current
        if current is not None and current.code == LOGIN:
            self._login_unfinished(current)
        for pending in self._pending:
            if pending.doubtful:
                if self.server_heard() and not self._server_gap:
                    continue  # a command would have been answered
                if self._refusal_lost and self.server_heard():
                    continue  # who tries again is answered, unless that is lost as well
                if self._may_be_login(pending) and self.commands > 1:
                    self._tell_login(pending)
                    said = pending.at
                    if pending.set_aside is not None and said is not None:
                        self.tell_exchange(pending.set_aside, pending.exchange, said, pending.offset)
                    elif pending is self._authenticating and self.exchange_open():
                        self._exchange_told = False  # the owner of all exchanges tells it
        reader = self._reader
        if reader is not None:
            self._reader = None
            mailbox = mailbox_name(self._arguments[0]) if self._arguments else None
            self._tell_message(CLIENT, reader, APPENDED, False, False, mailbox)
        self._tell_unfinished()
