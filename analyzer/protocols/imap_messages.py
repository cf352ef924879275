"""The message half of IMAP: bodies in FETCH replies, whole or piece by piece, and what becomes of the messages.

The dialogue itself (commands, logins, states) is in :mod:`analyzer.protocols.imap`, which builds on this.
"""

from __future__ import annotations

from mypy_extensions import i64

from analyzer.model import SERVER, Sender
from analyzer.protocols.base import Dissector
from analyzer.protocols.events import RETRIEVED, MessageDeleted, MessageTransferred
from analyzer.protocols.imap_commands import FETCH, MOVE, Pending
from analyzer.protocols.imap_grammar import CONTENT, HEADER, TEXT, FetchReply, body_item, literal_size, literal_start
from analyzer.protocols.imap_mailbox import Mailbox, Piecemeal
from analyzer.protocols.message import MessageReader


class MessageTraffic(Dissector):
    """Reads the literals of replies, and keeps the selected mailbox up to date."""

    def __init__(self) -> None:
        super().__init__("imap")
        #: commands that wait for their tagged replies, in their order
        self._pending: list[Pending] = []
        self._mailbox: Mailbox = Mailbox(None, False)
        #: the last EXISTS
        self._exists: i64 = -1
        self._message_number: int = 0
        # the reply that goes on behind a literal
        self._reply_goes_on: bool = False
        self._fetch: FetchReply | None = None
        self._server_reader: MessageReader | None = None
        self._server_item: i64 = -1
        self._server_size: i64 = 0
        #: the text of a message that this reply tells apart from its header, and whether that is still to come
        self._server_text: MessageReader | None = None
        self._server_text_bare: bool = False
        #: what comes next is content, and may be of no message
        self._content_due: bool = False

    def _is_pending(self, code: i64) -> bool:
        return any(pending.code == code for pending in self._pending)

    def _removed(self, messages: list[int]) -> None:
        if not messages or self._is_pending(MOVE):
            return
        at = self.at
        for message in messages:
            self.emit(MessageDeleted(SERVER, at.frame, at.timestamp_ns, self.line_offset, message))

    def _read_fetch(self, line: bytes, start: i64) -> None:
        fetch = self._fetch
        if fetch is None:
            return
        marker = literal_start(line)
        fetch.read(line, start, len(line) if marker < 0 else marker)
        quoted = fetch.quoted
        if quoted:
            fetch.quoted = []
            index: i64 = 0
            count: i64 = len(quoted)
            while index < count:
                self._server_item = body_item(quoted[index])
                self._server_size = len(quoted[index + 1])
                self._begin_server_body()
                self._server_octets(quoted[index + 1], 0, self._server_size)
                self._end_server_body()
                index += 2
        if marker < 0:
            self._end_fetch()
            return
        self._server_item = body_item(fetch.item) if fetch.depth == 1 and not fetch.ended else -1
        self._server_size = literal_size(line, marker)
        self._begin_server_body()
        self.expect_octets(SERVER, self._server_size)

    def _read_reply_on(self, line: bytes) -> None:
        """The rest of a reply, behind a literal."""
        if self._fetch is not None:
            self._read_fetch(line, 0)
        else:
            self._skip_literal(line)

    def _skip_literal(self, line: bytes) -> None:
        marker = literal_start(line)
        if marker >= 0:
            self._fetch = None
            self._server_item = -1
            self._server_reader = None
            self.expect_octets(SERVER, literal_size(line, marker))

    def _begin_server_body(self) -> None:
        """Choose the reader of the body that follows: none for parts, or for a piece that continues nothing."""
        self._server_reader = None
        origin = self._server_item
        fetch = self._fetch
        self._content_due = origin == CONTENT
        if origin == -1 or origin == CONTENT or fetch is None:
            return
        at = self.at
        offset = self.line_offset
        if origin == TEXT:
            self._begin_server_text(fetch, offset)
        elif origin <= 0:
            reader = MessageReader(at.frame, at.timestamp_ns, offset, False)
            self._server_reader = reader
            if origin == 0:
                self._mailbox.begin_piecemeal(Piecemeal(fetch.sequence, reader))
        else:
            piecemeal = self._mailbox.piece_of(fetch.sequence, origin)
            if piecemeal is not None:
                self._server_reader = piecemeal.reader
            else:
                self._server_item = -1

    def _begin_server_text(self, fetch: FetchReply, offset: i64) -> None:
        """The text of a message, which goes on where its header ended (RFC 9051 section 6.4.5)."""
        if self._server_text is not None:
            return  # the same under another name
        reader = self._mailbox.take_header(fetch.sequence)
        self._server_text_bare = reader is None
        if reader is None:
            at = self.at
            reader = MessageReader(at.frame, at.timestamp_ns, offset, False)
            reader.begin_text()
            self._content_due = True
        reader.offset = offset
        self._server_reader = reader

    def _tell_server_text(self, fetch: FetchReply, text: MessageReader) -> None:
        """A reply that told a text is over: with its header it makes a message, unless the reply has told the whole one, too."""
        self._server_text = None
        if self._server_text_bare:
            header = self._mailbox.take_header(fetch.sequence)
            if header is None:
                return
            text.join_header(header)
        if not fetch.messages and text.size > 0:
            fetch.messages.append(self._tell_message(SERVER, text, RETRIEVED, True, True, self._mailbox.name, True))

    def _server_octets(self, data: bytes, start: i64, end: i64) -> None:
        if self._content_due and end > start:
            self._content_due = False
            self.content_seen = True
        reader = self._server_reader
        if reader is not None:
            reader.receive_data(data, start, end)

    def _end_server_body(self) -> None:
        reader = self._server_reader
        fetch = self._fetch
        self._server_reader = None
        if reader is None or fetch is None:
            return
        origin = self._server_item
        if origin == HEADER:
            self._mailbox.keep_header(fetch.sequence, reader)
            return
        if origin == TEXT:
            self._server_text = reader
            return
        if origin < 0:
            if self._server_size > 0:
                fetch.messages.append(self._tell_message(SERVER, reader, RETRIEVED, True, True, self._mailbox.name))
            return
        piecemeal = self._mailbox.piece_of(fetch.sequence, origin)
        if piecemeal is None:
            return
        piecemeal.expected += self._server_size
        piecemeal.pieces += 1
        if self._is_last_piece(fetch, origin, piecemeal.expected):
            self._mailbox.end_piecemeal(piecemeal)
            if piecemeal.expected > 0:
                fetch.messages.append(self._tell_message(SERVER, reader, RETRIEVED, True, True, self._mailbox.name))

    def _is_last_piece(self, fetch: FetchReply, origin: i64, reached: i64) -> bool:
        """Whether a message is all there: its size is reached, or the piece is shorter than what was asked for."""
        size = fetch.size if fetch.size >= 0 else self._mailbox.size(fetch.sequence)
        if size >= 0:
            return reached >= size
        if self._server_size == 0:
            return True
        for pending in self._pending:
            if pending.code == FETCH and pending.origin == origin and pending.length > 0:
                return self._server_size < pending.length
        return False

    def _end_fetch(self) -> None:
        fetch = self._fetch
        self._fetch = None
        if fetch is None:
            return
        mailbox = self._mailbox
        if fetch.size >= 0:
            mailbox.remember_size(fetch.sequence, fetch.size)
        text = self._server_text
        if text is not None:
            self._tell_server_text(fetch, text)
        for message in fetch.messages:
            mailbox.watch(fetch.sequence, fetch.uid, message, fetch.deleted)
        if fetch.flags_told:
            mailbox.flags(fetch.sequence, fetch.deleted)

    def _tell_message(
        self,
        sender: Sender,
        reader: MessageReader,
        direction: str,
        ended: bool,
        whole: bool,
        mailbox: str | None,
        in_parts: bool = False,
    ) -> int:
        self._message_number += 1
        at = self.at
        event = MessageTransferred(
            sender, at.frame, at.timestamp_ns, reader.offset, self._message_number, direction, None, [], 0, reader.size,
            ended, ended and whole and reader.missing == 0, mailbox, reader.attachments(), reader.header(),
        )  # fmt: skip
        event.in_parts = in_parts
        self.emit(event)
        return self._message_number

    def _end_server_literal(self) -> None:
        """A literal of a reply has gone by; the reply goes on."""
        self._end_server_body()
        if self._fetch is not None:
            self._fetch.literal_read()
        self._reply_goes_on = True

    def _tell_unfinished(self) -> None:
        """The session is over: tell messages whose end was not seen. A single first piece is no more than a preview."""
        reader = self._server_reader
        item = self._server_item
        fetch = self._fetch
        text = self._server_text
        if text is not None and fetch is not None:
            self._tell_server_text(fetch, text)
        elif reader is not None and item < 0 and item != HEADER:
            if item != TEXT or not (self._server_text_bare or fetch is None or fetch.messages):
                self._tell_message(SERVER, reader, RETRIEVED, False, False, self._mailbox.name)
        for piecemeal in self._mailbox.piecemeal:
            if piecemeal.pieces > 1:
                self._tell_message(SERVER, piecemeal.reader, RETRIEVED, False, False, self._mailbox.name)
        self._server_reader = None
        self._mailbox.piecemeal = []
