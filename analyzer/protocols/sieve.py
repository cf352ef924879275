"""ManageSieve (RFC 5804): commands of words, quoted strings and literals; data lines and OK, NO or BYE in return.

A line that ends in ``{n}`` or ``{n+}`` goes on behind n octets. Only those of an authentication are kept: scripts are skipped in
bulk, whatever they say. After AUTHENTICATE the client is on hold until the server has sent a challenge or its answer.

A little over 500 lines, because both halves of the dialogue share one state, and the words of this protocol alone stand with them.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position, Sender
from analyzer.protocols.base import OCTETS, Dissector, response_form
from analyzer.protocols.events import (
    ACCEPTED,
    CANCELLED,
    COMMAND_QUEUE_FULL,
    MALFORMED_COMMAND,
    PASSWORD,
    PIPELINED_BEFORE_GREETING,
    REJECTED,
    STARTTLS_STRIPPED,
    UNEXPECTED_REPLY,
    CapabilitiesOffered,
    Greeted,
)
from analyzer.protocols.sasl import decode_base64

#: Commands that may wait for their replies; the oldest are given up beyond it.
MAX_PENDING: Final = 512
#: Words kept of a line.
MAX_WORDS: Final = 32
#: Octets kept of a literal, when it is part of an authentication.
MAX_LITERAL: Final = 65536
#: Capabilities kept of one listing, and characters of each.
MAX_CAPABILITIES: Final = 100
MAX_CAPABILITY: Final = 1024
#: Digits of a literal's size (RFC 5804 section 4: a number has 32 bits).
MAX_SIZE_DIGITS: Final = 10

_UNKNOWN: Final = 0
_AUTHENTICATE: Final = 1
_STARTTLS: Final = 2
_CAPABILITY: Final = 3
_PLAIN: Final = 4  # a reply and no consequence
_LOST: Final = 5  # whatever was in a line that is missing

_VERBS: Final[dict[bytes, int]] = {
    b"AUTHENTICATE": _AUTHENTICATE,
    b"STARTTLS": _STARTTLS,
    b"CAPABILITY": _CAPABILITY,
    b"LOGOUT": _PLAIN,
    b"NOOP": _PLAIN,
    b"HAVESPACE": _PLAIN,
    b"PUTSCRIPT": _PLAIN,
    b"LISTSCRIPTS": _PLAIN,
    b"SETACTIVE": _PLAIN,
    b"GETSCRIPT": _PLAIN,
    b"DELETESCRIPT": _PLAIN,
    b"RENAMESCRIPT": _PLAIN,
    b"CHECKSCRIPT": _PLAIN,
    b"UNAUTHENTICATE": _PLAIN,
}

#: Capabilities one of which every listing has (RFC 5804 section 1.7).
_CAPABILITIES: Final = ("IMPLEMENTATION", "SASL", "SIEVE", "VERSION", "STARTTLS")


class SieveDissector(Dissector):
    """Reads one ManageSieve session."""

    def __init__(self) -> None:
        super().__init__("managesieve")
        self._pending: list[int] = []
        #: the words of a line so far; a line goes on behind a literal
        self._client_words: list[bytes] = []
        self._server_words: list[bytes] = []
        #: octets of the literal that is being read, if they are of interest
        self._client_literal: list[bytes] | None = None
        self._server_literal: list[bytes] | None = None
        #: the server has answered the client's line before its end
        self._early: list[bytes] | None = None
        #: and it stands here
        self._early_at: Position = self.at
        self._early_offset: i64 = 0
        #: octets of a literal of the client's line are missing, or were not kept
        self._client_torn: bool = False
        #: lines of the listing that is being read are missing, or may be
        self._listing_torn: bool = False
        #: the client's line began with a string, so it is a SASL response, or the text of a script
        self._string_line: bool = False
        #: the server's line began with a string, so it is data
        self._data_line: bool = False
        self._names: list[str] = []
        self._greeted: bool = False
        self._forbidden: bool = False  # the server has said that it takes no password in clear
        self._answer_due: bool = False  # the client's next string is a SASL response
        self._answer_guessed: bool = False  # so it seems, but the server's word was not seen
        self._gave_up: bool = False  # the client has sent a command in the place of one
        #: lines are missing: commands and replies no longer pair until the client speaks again
        self._lost_count: bool = False
        #: a line was missing at some time: a reply to nothing is no surprise
        self._gaps: bool = False
        #: TLS was negotiated: the client may speak before the listing is repeated
        self._upgraded: bool = False

    # -- the client ----------------------------------------------------------------------------------------------------------

    def client_line(self, line: bytes) -> None:
        words = self._client_words
        if not words:
            self._string_line = line.startswith((b'"', b"{"))
        size = literal_size(line)
        read_words(line, words)
        if size >= 0:
            authentication = (
                self._answer_due
                or (self._string_line and self._on_probation())
                or (bool(words) and words[0].upper() == b"AUTHENTICATE")
            )
            self._client_literal = [] if authentication and size <= MAX_LITERAL else None
            if authentication and size > MAX_LITERAL:
                self._client_torn = True  # too long to be kept
            self.expect_octets(CLIENT, size)
            return
        self._client_words = []
        if words:
            self._receive_command(words)
        self._client_torn = False
        if self._early is not None:
            self._answer_early()

    def _receive_command(self, words: list[bytes]) -> None:
        first = words[0]
        verb = first.upper()
        kind = _VERBS.get(verb, _UNKNOWN)
        if self._answer_due:
            if not self._answer_guessed or kind == _UNKNOWN:
                self._gave_up = kind != _UNKNOWN and not self._string_line
                self._receive_response(words[0])
                return
            self._answer_due = False
            if self.exchange_stray():
                self.exchange_dropped()
        if self._lost_count:
            self._lost_count = False
            self._pending.clear()
            self.exchange_dropped()
        if kind == _UNKNOWN:
            if self._on_probation():
                # As likely a line of a script as a command, or a SASL response: the server's next word tells.
                if self._string_line and len(words) == 1 and not self.exchange_open() and response_form(first):
                    self.begin_stray_exchange(doubtful=True)
                    self._pending.clear()
                    self._push(_AUTHENTICATE)
                    self._take_response(first)
                    self.hold_client()
                return
            if self._string_line and self.sent_all_the_same(first):
                self._push(_AUTHENTICATE)
                self._receive_response(first)
                return
            self._push(_UNKNOWN)
            return
        self.commands += 1
        if kind == _AUTHENTICATE:
            self._begin_auth(words)
        elif kind == _STARTTLS:
            self._push(_STARTTLS)
            self.starttls_requested()
        else:
            self._push(kind)

    def _on_probation(self) -> bool:
        """Whether lines that are no commands may be text of a script, whose beginning was not seen."""
        return self._gaps or (self.midstream and self.commands == 0)

    def _begin_auth(self, words: list[bytes]) -> None:
        """RFC 5804 section 2.1: ``AUTHENTICATE "mechanism" ["initial-response"]``."""
        if len(words) < 2:
            self.anomaly(CLIENT, MALFORMED_COMMAND, "AUTHENTICATE without a mechanism")
            self._push(_PLAIN)
            return
        self.exchange_dropped()
        self.begin_exchange(words[1].decode("ascii", "replace"))
        # It may be a line of a script: if the client talks on before the answer, it was.
        self._exchange_doubtful = self._gaps or (self.midstream and self.commands == 1)
        self._gave_up = False
        self._push(_AUTHENTICATE)
        if len(words) > 2:
            self._take_response(words[2])
        self.hold_client()

    def _receive_response(self, word: bytes) -> None:
        self._answer_due = False
        if self.exchange_stray() and _AUTHENTICATE not in self._pending:
            if word != b"*" and not response_form(word):
                self.exchange_dropped()
                return
            self._pending.clear()
            self._lost_count = False
            self._push(_AUTHENTICATE)
        if word == b"*":
            # Behind complete credentials it only answers the server's error: the outcome is the server's.
            if not self.exchange_complete():
                self.exchange_ended(CANCELLED, "")
        else:
            self._take_response(word)
        self.hold_client()

    def _take_response(self, encoded: bytes) -> None:
        exchange = self._exchange
        if self._client_torn:
            if exchange is not None:
                exchange.missed(False)
            return
        before = self._exchange_told
        self.exchange_response(encoded)
        if self._exchange_told and not before and exchange is not None and exchange.secret_kind == PASSWORD:
            self.password_sent(f"AUTHENTICATE {exchange.mechanism}", self._forbidden)

    def _push(self, kind: int) -> None:
        pending = self._pending
        if len(pending) >= MAX_PENDING:
            pending.pop(0)
            if self.replies:
                self.anomaly(CLIENT, COMMAND_QUEUE_FULL, f"more than {MAX_PENDING} commands without a reply")
        pending.append(kind)

    # -- the server ----------------------------------------------------------------------------------------------------------

    def server_line(self, line: bytes) -> None:
        words = self._server_words
        if not words:
            self._data_line = line.startswith((b'"', b"{"))
        size = literal_size(line)
        read_words(line, words)
        if size >= 0:
            challenge = bool(self._pending) and self._pending[0] == _AUTHENTICATE
            self._server_literal = [] if challenge and size <= MAX_LITERAL else None
            self.expect_octets(SERVER, size)
            return
        self._server_words = []
        if not words:
            return
        if self._data_line:
            self._receive_data_line(words)
        else:
            status = words[0].upper()
            if status == b"OK" or status == b"NO" or status == b"BYE":
                self._receive_reply(status == b"OK", status == b"BYE", words)

    def _receive_data_line(self, words: list[bytes]) -> None:
        pending = self._pending
        listed = bool(self._names) or words[0].decode("ascii", "replace").upper() in _CAPABILITIES
        if pending and pending[0] == _AUTHENTICATE and (self._greeted or not listed):
            self.replies += 1
            if self._settle_doubt():
                self.exchange_challenge(words[0])
                self._answer_due = True
                self._answer_guessed = self.exchange_stray()
                self.client_line_due()
            self.release_client()
        elif (
            len(words) == 1
            and not listed
            and (self._gaps or self.midstream)
            and is_challenge(words[0])
            and not self.exchange_open()
        ):
            # Of an authentication that was not seen to begin, if the client's next string answers it.
            self.begin_stray_exchange(doubtful=False)
            self.exchange_challenge(words[0])
            self._answer_due = True
            self._answer_guessed = True
            self.client_line_due()
        elif len(self._names) < MAX_CAPABILITIES and (not pending or not self._greeted or pending[0] == _CAPABILITY):
            name = words[0].decode("utf-8", "replace").upper()
            rest = b" ".join(words[1:]).decode("utf-8", "replace")
            if name == "SASL":
                rest = rest.upper()
            self._names.append(f"{name} {rest}"[:MAX_CAPABILITY] if rest else name[:MAX_CAPABILITY])
            self.listed()

    def _answer_early(self) -> None:
        """A line that the server has answered before its end is all there, or never will be."""
        words = self._early
        self._early = None
        if words is not None:
            here = self.at
            offset = self.line_offset
            self.at = self._early_at
            self.line_offset = self._early_offset
            status = words[0].upper()
            self._take_reply(status == b"OK", status == b"BYE", words)
            self.at = here
            self.line_offset = offset

    def _receive_reply(self, good: bool, bye: bool, words: list[bytes]) -> None:
        if self.client.mode == OCTETS and not self._names and (not self._pending or self._answer_due):
            self._early = words  # the literal comes all the same: it does not wait
            self._early_at = self.at
            self._early_offset = self.line_offset
            return
        self._take_reply(good, bye, words)

    def _take_reply(self, good: bool, bye: bool, words: list[bytes]) -> None:
        """A reply to what is all there."""
        names = self._names
        self._names = []
        pending = self._pending
        if good and names and is_listing(names):
            unasked = not pending or pending[0] != _CAPABILITY or not (self._greeted or self._gaps or self.midstream)
            if unasked:
                # The greeting, or what RFC 5804 section 2.2 wants repeated inside TLS.
                self._greet(names)
            self._tell_capabilities(names)
            self._listing_torn = False
            if unasked:
                return
        self._listing_torn = False
        text = words[-1].decode("utf-8", "replace") if len(words) > 1 else ""
        if not pending:
            self.reply_seen = True
            if not self.commands:
                self.client_missing()
            if self.commands and not bye and not self._gaps and not self.midstream:
                self.anomaly(SERVER, UNEXPECTED_REPLY, "a reply to no command")
            return
        kind = pending.pop(0)
        if not pending:
            self._lost_count = False
        self.replies += 1
        self._greeted = True
        if kind == _AUTHENTICATE:
            self._settle_doubt()
            if good and len(words) > 2 and words[1].upper() == b"SASL":
                self.exchange_challenge(words[2])
            elif not good and len(words) > 1 and words[1].upper() == b"ENCRYPT-NEEDED":
                self._forbidden = True
            if good and self._gave_up:
                self.exchange_dropped()  # this answers the other command
            else:
                self.exchange_ended(ACCEPTED if good else REJECTED, text)
            self._answer_due = False
            self.release_client()
        elif kind == _STARTTLS:
            if good:
                self.starttls_granted()
            else:
                self.starttls_refused(text)
        elif kind == _CAPABILITY and not good and not (self._gaps or self.midstream):
            self._tell_capabilities([])

    def _settle_doubt(self) -> bool:
        """The server has answered; False where that shows that what looked like a response was text."""
        if not self._exchange_doubtful:
            return True
        if self.client_waiting():
            self.exchange_dropped()  # the client had talked on
            return False
        self.exchange_confirmed()
        if self.exchange_complete():
            self.exchange_told()
        return True

    def _tell_capabilities(self, names: list[str]) -> None:
        at = self.at
        self.offer_told(names, not (self._listing_torn or self._gaps) and len(names) < MAX_CAPABILITIES)
        self.emit(
            CapabilitiesOffered(SERVER, at.frame, at.timestamp_ns, self.line_offset, names, not self._listing_torn)
        )
        for name in names:
            if name.startswith("XXXXXX"):
                self.anomaly(SERVER, STARTTLS_STRIPPED, f"a capability was overwritten: {name}")

    def _greet(self, names: list[str]) -> None:
        if self._greeted:
            return
        self._greeted = True
        self.replies += 1
        banner = ""
        for name in names:
            if name.startswith("IMPLEMENTATION "):
                banner = name[15:]
        at = self.at
        self.emit(Greeted(SERVER, at.frame, at.timestamp_ns, self.line_offset, banner))
        if self.commands and not self.midstream and not self._gaps and not self._upgraded:
            self.anomaly(
                CLIENT, PIPELINED_BEFORE_GREETING, f"commands sent before the server's greeting: {self.commands}"
            )

    # -- literals ------------------------------------------------------------------------------------------------------------

    def block_data(self, sender: Sender, data: bytes, start: i64, end: i64) -> None:
        kept = self._server_literal if sender == SERVER else self._client_literal
        if kept is not None:
            kept.append(data[start:end])

    def block_gap(self, sender: Sender, size: i64) -> None:
        if sender == SERVER:
            self._server_literal = None
        else:
            if self._client_literal is not None:
                self._client_torn = True
            self._client_literal = None

    def block_ended(self, sender: Sender) -> None:
        kept = self._server_literal if sender == SERVER else self._client_literal
        word = b"" if kept is None else b"".join(kept)
        words = self._server_words if sender == SERVER else self._client_words
        if len(words) < MAX_WORDS:
            words.append(word)

    # -- what is missing -----------------------------------------------------------------------------------------------------

    def answer_missing(self) -> None:
        # Of a complete exchange the outcome may still come, unless the client talks on.
        self._answer_due = self.exchange_open() and not self.exchange_complete()
        self._answer_guessed = True

    def sync_lost(self, sender: Sender) -> None:
        self._gaps = True
        self.offer_told([], False)
        both = self._lost_count
        self._lost_count = True
        if sender == CLIENT:
            self._answer_early()
            if both:
                # Commands and replies are missing: nobody knows what the next reply answers.
                self.exchange_dropped()
                self._pending.clear()
            self._client_words = []
            self._client_torn = False
            self._answer_due = False
            if not self.exchange_open():
                self._push(_LOST)
            return
        self._server_words = []
        names = self._names
        self._names = []
        self._listing_torn = True
        if is_listing(names):
            here = self.back_to_listing()
            self._tell_capabilities(names)  # what it has offered so far, it has offered
            self.at, self.line_offset = here
        if len(self._pending) > 1:
            self._pending.clear()

    def torn_line(self, sender: Sender, line: bytes) -> None:
        if sender == SERVER:
            if line.startswith((b"OK", b"NO", b"BYE", b'"', b"{")):
                self.server_line(line)
        elif _VERBS.get(line.split(b" ", 1)[0].upper(), _UNKNOWN) != _UNKNOWN:
            self.client_line(line)

    def line_skipped(self, sender: Sender, begun: bytes) -> None:
        if sender == SERVER:
            self._reply_skipped(begun)
            return
        words: list[bytes] = []
        if not self._client_words:
            read_words(begun, words)
        self._client_words = []
        if self._answer_due and self.exchange_open():
            self._answer_due = False
            self.response_skipped()
            self.hold_client()
        elif len(words) > 2 and words[0].upper() == b"AUTHENTICATE":
            self._string_line = False
            self._receive_command(words[:2])
            self.response_skipped()
        else:
            self._push(_UNKNOWN)

    def _reply_skipped(self, begun: bytes) -> None:
        """A line of the server that was too long, of which the first words say all that matters."""
        goes_on = bool(self._server_words)
        self._server_words = []
        if goes_on:
            return
        if begun.startswith(b'"'):
            if self._pending and self._pending[0] == _AUTHENTICATE:
                self._receive_data_line([b""])
                self.challenge_skipped()
        elif begun.startswith((b"OK", b"NO", b"BYE")):
            self.server_line(begun.rstrip(b"}"))

    def session_ended(self) -> None:
        if self.exchange_open():
            self._answer_early()

    def nothing_open(self) -> bool:
        return True  # all is told as it comes

    def upgraded(self) -> None:
        self._pending.clear()
        self._client_words = []
        self._server_words = []
        self._early = None
        self._names = []
        self._greeted = False
        self.offer_told([], False)
        self._forbidden = False
        self._answer_due = False
        self._lost_count = False
        self._upgraded = True


def is_challenge(word: bytes) -> bool:
    """Whether a string of the server may be a SASL challenge: base64, or nothing."""
    return not word or decode_base64(word) is not None


def is_listing(names: list[str]) -> bool:
    """Whether data lines are a listing of capabilities."""
    return any(name.split(" ", 1)[0] in _CAPABILITIES for name in names)


def literal_size(line: bytes) -> i64:
    """The size that ``{n}`` or ``{n+}`` at the end of a line announces (RFC 5804 section 4); -1 where there is none."""
    size: i64 = len(line)
    if size < 3 or line[size - 1] != 125:
        return -1
    start: i64 = line.rfind(b"{")
    if start < 0:
        return -1
    end = size - 1
    if line[end - 1] == 43:
        end -= 1
    digits = line[start + 1 : end]
    if not digits.isdigit() or len(digits) > MAX_SIZE_DIGITS:
        return -1
    return int(digits)


def read_words(line: bytes, words: list[bytes]) -> None:
    """Add the words of a line: atoms and quoted strings, their quotes undone; parentheses and a literal's announcement are none."""
    at: i64 = 0
    end: i64 = len(line)
    if literal_size(line) >= 0:
        end = line.rfind(b"{")
    while at < end and len(words) < MAX_WORDS:
        octet: i64 = line[at]
        if octet == 32 or octet == 9 or octet == 40 or octet == 41:
            at += 1
        elif octet == 34:
            at = _read_quoted(line, at + 1, end, words)
        else:
            start = at
            while at < end:
                octet = line[at]
                if octet == 32 or octet == 9 or octet == 40 or octet == 41 or octet == 34:
                    break
                at += 1
            words.append(line[start:at])


def _read_quoted(line: bytes, at: i64, end: i64, words: list[bytes]) -> i64:
    """One quoted string from behind its quote; where to read on. An unclosed one goes to the end."""
    parts: list[bytes] = []
    while True:
        quote: i64 = line.find(b'"', at, end)
        if quote < 0:
            quote = end
        escape: i64 = line.find(b"\\", at, quote)
        if escape < 0:
            parts.append(line[at:quote])
            words.append(parts[0] if len(parts) == 1 else b"".join(parts))
            return quote + 1
        parts.append(line[at:escape])
        parts.append(line[escape + 1 : escape + 2])
        at = escape + 2
        if at >= end:
            words.append(b"".join(parts))
            return end
