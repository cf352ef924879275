r"""The selected mailbox as far as it was seen: which messages were fetched, and what became of them.

A fetched message is known by its sequence number, which shifts down when one before it is expunged, and by its UID where a reply
told it (RFC 9051 section 2.3.1). It counts as removed from the server when it was marked ``\Deleted`` and then expunged, by
EXPUNGE (each told by an untagged reply) or silently by CLOSE; a message that MOVE took elsewhere is still on the server.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.protocols.imap_grammar import LARGEST, in_ranges, read_set
from analyzer.protocols.message import MessageReader

#: Fetched messages of the selected mailbox that are watched for their removal; later ones are not.
MAX_WATCHED: Final = 2048
#: Messages being fetched piece by piece at a time.
MAX_PIECEMEAL: Final = 16
#: Sizes (RFC822.SIZE, and those of headers) remembered.
MAX_SIZES: Final = 4096
#: Octets kept of headers that came without their texts, and of whatever a server sends with them: of the newest.
MAX_HEADERS: Final = 262144


class Piecemeal:
    """A message that the client fetches in pieces (``BODY[]<0>``, ``BODY[]<65536>`` ...)."""

    def __init__(self, sequence: i64, reader: MessageReader) -> None:
        self.sequence: i64 = sequence
        self.reader = reader
        #: where the next piece begins
        self.expected: i64 = 0
        self.pieces: i64 = 0


class Mailbox:
    """The mailbox that is selected; its name may be unknown (midstream)."""

    def __init__(self, name: str | None, read_only: bool) -> None:
        self.name = name
        self.read_only = read_only
        #: messages in the mailbox, -1 while unknown
        self.exists: i64 = -1
        self.piecemeal: list[Piecemeal] = []
        self._sequences: list[int] = []
        self._uids: list[int] = []
        self._messages: list[int] = []
        self._marked: list[bool] = []
        self._sizes: dict[int, int] = {}
        #: headers whose texts may come, the newest ones, and the sizes of all
        self._headers: dict[int, MessageReader] = {}
        self._headers_kept: i64 = 0
        self._header_sizes: dict[int, int] = {}

    def watch(self, sequence: i64, uid: i64, message: int, marked: bool) -> None:
        """A message was fetched whole."""
        if len(self._messages) < MAX_WATCHED:
            self._sequences.append(sequence)
            self._uids.append(uid)
            self._messages.append(message)
            self._marked.append(marked)

    def flags(self, sequence: i64, marked: bool) -> None:
        r"""The server told a message's flags; ``marked``: with ``\Deleted``."""
        for index, known in enumerate(self._sequences):
            if known == sequence:
                self._marked[index] = marked

    def mark(self, numbers: bytes, by_uid: bool, marked: bool) -> None:
        r"""The client set (or took away) ``\Deleted`` of a sequence set."""
        largest = LARGEST if by_uid or self.exists < 0 else self.exists
        ranges = read_set(numbers, largest)
        for index, known in enumerate(self._uids if by_uid else self._sequences):
            if known >= 0 and in_ranges(ranges, known):
                self._marked[index] = marked

    def expunged(self, sequence: i64, marked_or_not: bool) -> list[int]:
        """Message ``sequence`` is gone, the ones behind it move up; the numbers of the messages that were removed thereby."""
        removed: list[int] = []
        index: i64 = 0
        count: i64 = len(self._sequences)
        while index < count:
            known = self._sequences[index]
            if known > sequence:
                self._sequences[index] = known - 1
            elif known == sequence:
                if marked_or_not or self._marked[index]:
                    removed.append(self._messages[index])
                self._forget(index)
                count -= 1
                continue
            index += 1
        if self.exists > 0:
            self.exists -= 1
        if self._sizes:
            self._sizes = {}
        self.forget_headers()
        for piecemeal in self.piecemeal:
            if piecemeal.sequence > sequence:
                piecemeal.sequence -= 1
        return removed

    def vanished(self, uids: bytes, marked_or_not: bool) -> list[int]:
        """Messages of these UIDs are gone (RFC 7162 section 3.2.10). Sequence numbers shift in a way that only the server knows."""
        ranges = read_set(uids, LARGEST)
        removed: list[int] = []
        index: i64 = 0
        count: i64 = len(self._uids)
        while index < count:
            known = self._uids[index]
            if known >= 0 and in_ranges(ranges, known):
                if marked_or_not or self._marked[index]:
                    removed.append(self._messages[index])
                self._forget(index)
                count -= 1
            else:
                self._sequences[index] = -1
                index += 1
        self._sizes = {}
        self.forget_headers()
        return removed

    def closed(self) -> list[int]:
        """CLOSE: what is marked is removed without a word, unless the mailbox was only looked at (RFC 9051 section 6.4.1)."""
        if self.read_only:
            return []
        return [message for index, message in enumerate(self._messages) if self._marked[index]]

    def remember_size(self, sequence: i64, size: i64) -> None:
        """The server told a message's RFC822.SIZE."""
        if len(self._sizes) < MAX_SIZES:
            self._sizes[sequence] = size

    def size(self, sequence: i64) -> i64:
        """A message's RFC822.SIZE, -1 while unknown."""
        return self._sizes.get(sequence, -1)

    def keep_header(self, sequence: i64, header: MessageReader) -> None:
        """The header of a message came alone: its text may follow."""
        self.take_header(sequence)
        if len(self._header_sizes) >= MAX_SIZES:
            self.take_header(next(iter(self._header_sizes)))
        self._header_sizes[sequence] = header.size
        self._headers[sequence] = header
        self._headers_kept += header.kept()
        while self._headers_kept > MAX_HEADERS:
            self._headers_kept -= self._headers.pop(next(iter(self._headers))).kept()

    def take_header(self, sequence: i64) -> MessageReader | None:
        """The reader of a message whose header came alone, for its text; one that has only its size, where too many came since. None without a header."""
        size = self._header_sizes.pop(sequence, -1)
        if size < 0:
            return None
        reader = self._headers.pop(sequence, None)
        if reader is None:
            reader = MessageReader(0, 0, 0, False)
            reader.size = size
        else:
            self._headers_kept -= reader.kept()
        reader.begin_text()
        return reader

    def forget_headers(self) -> None:
        """Messages have other numbers now, or may have."""
        if self._header_sizes:
            self._header_sizes = {}
            self._headers = {}
            self._headers_kept = 0

    def piece_of(self, sequence: i64, origin: i64) -> Piecemeal | None:
        """The message that a piece from ``origin`` on continues; None where the piece fits nowhere."""
        for piecemeal in self.piecemeal:
            if piecemeal.sequence == sequence and piecemeal.expected == origin:
                return piecemeal
        return None

    def begin_piecemeal(self, piecemeal: Piecemeal) -> None:
        """A first piece comes; it replaces an earlier attempt, or the oldest of too many."""
        self.piecemeal = [p for p in self.piecemeal if p.sequence != piecemeal.sequence][-(MAX_PIECEMEAL - 1) :]
        self.piecemeal.append(piecemeal)

    def end_piecemeal(self, piecemeal: Piecemeal) -> None:
        """All of a message is there."""
        self.piecemeal = [p for p in self.piecemeal if p is not piecemeal]

    def _forget(self, index: i64) -> None:
        del self._sequences[index]
        del self._uids[index]
        del self._messages[index]
        del self._marked[index]
