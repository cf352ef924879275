r"""The grammar of IMAP (RFC 9051 section 9), as far as a listener needs it: literals, strings, FETCH items, sequence sets.

Lines come without their line ends and without their literals, which the framing has taken out: a line that ends in ``{5}`` is
followed by five octets and then by the rest of the command or reply as a line of its own. Where servers are more tolerant than
the grammar this module is too: a listener must read what the server read.
"""

from __future__ import annotations

import binascii
from typing import Final

from mypy_extensions import i64

#: Arguments kept of one command.
MAX_ARGUMENTS: Final = 200
#: Ranges read of a sequence set.
MAX_RANGES: Final = 256
#: The largest number of a sequence set: what ``*`` stands for where the largest one in use is not known.
LARGEST: Final = 4294967295
#: Characters kept of a mailbox's name.
MAX_MAILBOX: Final = 255
# What an item of a FETCH reply holds, where it is no piece.
_PART: Final = -1
_WHOLE: Final = -2
TEXT: Final = -3
HEADER: Final = -4
CONTENT: Final = -5

_SPACE: Final = 32
_QUOTE: Final = 34
_OPEN: Final = 40
_CLOSE: Final = 41
_BACKSLASH: Final = 92
_BRACKET: Final = 91


def literal_start(line: bytes) -> i64:
    """Offset of the marker of a literal at the end of a line (``{5}``, ``{5+}``, ``{5-}``, ``~{5}``); -1 where there is none.

    RFC 9051 section 4.3, RFC 7888, RFC 3516: a marker is an argument of its own. ``pass{5}`` is an atom, however odd, and what stands
    between quotes is text.
    """
    size: i64 = len(line)
    if size < 3 or line[size - 1] != 125:
        return -1
    opening: i64 = line.rfind(b"{", size - 23 if size > 23 else 0)
    if opening < 0:
        return -1
    end = size - 1
    if line[end - 1] == 43 or line[end - 1] == 45:
        end -= 1
    if end <= opening + 1 or end - opening > 19:
        return -1
    at = opening + 1
    while at < end:
        if line[at] < 48 or line[at] > 57:
            return -1
        at += 1
    if opening > 0 and line[opening - 1] == 126:
        opening -= 1
    if opening > 0:
        before = line[opening - 1]
        if before != _SPACE and before != _OPEN and before != _BRACKET:
            return -1
        if line.find(b'"', 0, opening) >= 0 and within_quotes(line, opening):
            return -1
    return opening


def literal_size(line: bytes, start: i64) -> i64:
    """Octets of the literal whose marker begins at ``start`` and ends the line."""
    at = start
    number: i64 = 0
    size: i64 = len(line)
    while at < size:
        octet: i64 = line[at]
        if 48 <= octet <= 57:
            number = number * 10 + (octet - 48)
        at += 1
    return number


def is_synchronising(line: bytes) -> bool:
    """Whether the client waits for the server's word before it sends the literal whose marker ends the line (RFC 7888)."""
    mark = line[-2]
    return mark != 43 and mark != 45


def within_quotes(line: bytes, place: i64) -> bool:
    """Whether ``place`` is inside a quoted string that began before it. A quote in the middle of an atom opens none."""
    at: i64 = 0
    while True:
        at = line.find(b'"', at, place)
        if at < 0:
            return False
        if at > 0:
            before = line[at - 1]
            if before != _SPACE and before != _OPEN and before != _BRACKET:
                at += 1
                continue
        at = quoted_end(line, at)
        if at < 0 or at > place:
            return True


def quoted_end(line: bytes, opening: i64) -> i64:
    """Offset behind the quoted string that opens at ``opening``; -1 where it does not end."""
    at = opening + 1
    size: i64 = len(line)
    while at < size:
        octet = line[at]
        if octet == _QUOTE:
            return at + 1
        at += 2 if octet == _BACKSLASH else 1
    return -1


def unquote(line: bytes, opening: i64, end: i64) -> bytes:
    r"""The text of the quoted string in ``line[opening:end]``; ``\"`` and ``\\`` are undone, and so is any other ``\x``, as servers do."""
    inner = line[opening + 1 : end - 1]
    if inner.find(b"\\") < 0:
        return inner
    out: list[bytes] = []
    pieces = inner.split(b"\\")
    out.append(pieces[0])
    index: i64 = 1
    count: i64 = len(pieces)
    while index < count:
        piece = pieces[index]
        if not piece and index + 1 < count:
            # two backslashes: the next piece follows the second one as it stands
            index += 1
            out.append(b"\\")
            out.append(pieces[index])
        else:
            out.append(piece)
        index += 1
    return b"".join(out)


def read_arguments(line: bytes, start: i64, end: i64, out: list[bytes]) -> bool:
    """Append the arguments in ``line[start:end]`` to ``out``; False where a quoted string does not end as it should.

    An argument is a quoted string or everything up to the next space: ``LOGIN`` takes atoms with any octet in them, lists too.
    """
    at = start
    while at < end:
        if line[at] == _SPACE:
            at += 1
            continue
        if len(out) >= MAX_ARGUMENTS:
            return True
        if line[at] == _QUOTE:
            behind = quoted_end(line, at)
            if behind < 0 or behind > end or (behind < end and line[behind] != _SPACE and line[behind] != _CLOSE):
                return False
            out.append(unquote(line, at, behind))
            at = behind
            continue
        space: i64 = line.find(b" ", at, end)
        if space < 0:
            space = end
        out.append(line[at:space])
        at = space
    return True


def text(data: bytes) -> str:
    """Octets as text, recoverable."""
    return data.decode("utf-8", "surrogateescape")


def mailbox_name(data: bytes) -> str:
    """A mailbox's name for display: modified UTF-7 (RFC 3501 section 5.1.3) undone, ``INBOX`` in capitals, bounded."""
    data = data[: 4 * MAX_MAILBOX]
    if len(data) == 5 and data.upper() == b"INBOX":
        return "INBOX"
    if data.find(b"&") < 0:
        return text(data)[:MAX_MAILBOX]
    out: list[str] = []
    at: i64 = 0
    while True:
        ampersand: i64 = data.find(b"&", at)
        if ampersand < 0:
            out.append(text(data[at:]))
            break
        out.append(text(data[at:ampersand]))
        end: i64 = data.find(b"-", ampersand)
        if end < 0:
            out.append(text(data[ampersand:]))
            break
        shifted = data[ampersand + 1 : end]
        out.append(_shifted(shifted) if shifted else "&")
        at = end + 1
    return "".join(out)[:MAX_MAILBOX]


def _shifted(shifted: bytes) -> str:
    try:
        octets = binascii.a2b_base64(shifted.replace(b",", b"/") + b"==="[: -len(shifted) % 4], strict_mode=True)
        return octets.decode("utf-16-be")
    except ValueError:
        return "&" + text(shifted) + "-"


def read_set(data: bytes, largest: i64) -> list[int]:
    """The ranges of a sequence set, flat: first, last, first, last ...; ``*`` is ``largest``. What is no number is left out."""
    ranges: list[int] = []
    for piece in data[:8192].split(b",", MAX_RANGES)[:MAX_RANGES]:
        first, colon, last = piece.partition(b":")
        low = _set_number(first, largest)
        high = _set_number(last, largest) if colon else low
        if low < 0 or high < 0:
            continue
        if low > high:
            low, high = high, low
        ranges.append(low)
        ranges.append(high)
    return ranges


def _set_number(data: bytes, largest: i64) -> i64:
    if data == b"*":
        return largest
    return number(data)


def number(data: bytes) -> i64:
    """A decimal number of at most ten digits; -1 where the octets are none."""
    size: i64 = len(data)
    if size == 0 or size > 10:
        return -1
    value: i64 = 0
    at: i64 = 0
    while at < size:
        octet: i64 = data[at]
        if octet < 48 or octet > 57:
            return -1
        value = value * 10 + (octet - 48)
        at += 1
    return value


def in_ranges(ranges: list[int], value: i64) -> bool:
    """Whether a number is in one of the ranges of :func:`read_set`."""
    at: i64 = 0
    size: i64 = len(ranges)
    while at < size:
        if ranges[at] <= value <= ranges[at + 1]:
            return True
        at += 2
    return False


def body_item(name: bytes) -> i64:
    """What a FETCH item (in capitals) holds: -2 a whole message, :data:`HEADER` or :data:`TEXT` of one, other :data:`CONTENT`, -1 something else, else a piece of a whole message from this octet on.

    ``BODY[]``, ``BINARY[]`` and ``RFC822`` are whole (RFC 9051 section 7.5.2, RFC 3516), ``BODY[]<0>`` is a piece; header and text
    make a message together; fields of a header, pieces of a text and numbered parts are not messages.
    """
    if (
        name == b"BODY[]"
        or name == b"RFC822"
        or name == b"BINARY[]"
        or name == b"BODY.PEEK[]"
        or name == b"RFC822.PEEK"
    ):
        return _WHOLE
    if name.endswith(b">") and (name.startswith(b"BODY[]<") or name.startswith(b"BINARY[]<")):  # noqa: PIE810 - two are quicker compiled
        inner = name[name.index(b"<") + 1 : len(name) - 1]
        return number(inner)
    if name == b"BODY[TEXT]" or name == b"RFC822.TEXT" or name == b"BODY.PEEK[TEXT]":
        return TEXT
    if name == b"BODY[HEADER]" or name == b"RFC822.HEADER" or name == b"BODY.PEEK[HEADER]":
        return HEADER
    if name.startswith(b"BODY[") or name.startswith(b"BINARY["):  # noqa: PIE810
        inner = name[name.index(b"[") + 1 :]
        if inner.find(b"HEADER") < 0 and inner.find(b"MIME") < 0:
            return CONTENT  # a numbered part, or a piece of one or of the text
    return _PART


def requested_piece(line: bytes) -> tuple[i64, i64]:
    """Origin and length of the piece of a whole message that a FETCH command asks for (``BODY.PEEK[]<0.2048>``); -1, -1 where of none."""
    at: i64 = line.find(b"[]<")
    if at < 0:
        return -1, -1
    end: i64 = line.find(b">", at)
    if end < 0:
        return -1, -1
    origin, _, length = line[at + 3 : end].partition(b".")
    return number(origin), number(length)


class FetchReply:
    """A FETCH reply (RFC 9051 section 7.5.2), read line by line while its literals go by.

    :meth:`read` walks ``(name value name value ...)``. A line may end in the middle of it, with a literal: then :attr:`item` is the
    name whose value the literal is, or empty where it is nested in something else (an envelope).
    """

    def __init__(self, sequence: i64) -> None:
        self.sequence: i64 = sequence
        self.uid: i64 = -1
        #: RFC822.SIZE, -1 where it was not told
        self.size: i64 = -1
        self.flags_told: bool = False
        self.deleted: bool = False
        #: name in capitals, whose value is still to come
        self.item: bytes = b""
        self.depth: i64 = 0
        #: the closing parenthesis was read
        self.ended: bool = False
        #: messages sent as quoted strings, whole or the first part: item and text by turns
        self.quoted: list[bytes] = []
        #: numbers of the messages told of this reply
        self.messages: list[int] = []

    def literal_read(self) -> None:
        """The literal at the end of the last line has gone by."""
        if self.depth <= 1:
            self.item = b""

    def read(self, line: bytes, start: i64, end: i64) -> None:
        """Read on in ``line[start:end]``; the end is the line's, or its literal marker's."""
        at = start
        while at < end and not self.ended:
            octet = line[at]
            if octet == _SPACE:
                at += 1
            elif octet == _OPEN:
                self.depth += 1
                at += 1
            elif octet == _CLOSE:
                self.depth -= 1
                at += 1
                if self.depth == 1:
                    self.item = b""
                elif self.depth <= 0:
                    self.ended = True
            elif octet == _QUOTE:
                behind = quoted_end(line, at)
                if behind < 0 or behind > end:
                    behind = end
                elif self.depth == 1 and self.item:
                    kind = body_item(self.item)
                    if kind != _PART and len(self.quoted) < (2 if kind == CONTENT else 8):
                        self.quoted.append(self.item)
                        self.quoted.append(unquote(line, at, behind))
                    self.item = b""
                at = behind
            else:
                behind = _atom_end(line, at, end)
                if self.depth == 1:
                    self._word(line[at:behind])
                elif self.depth == 2 and octet == _BACKSLASH and self.item == b"FLAGS":
                    self.flags_told = True
                    if line[at:behind].lower() == b"\\deleted":
                        self.deleted = True
                at = behind
        if self.item == b"FLAGS":
            self.flags_told = True

    def _word(self, word: bytes) -> None:
        if not self.item:
            self.item = word.upper()
            return
        if self.item == b"UID":
            self.uid = number(word)
        elif self.item == b"RFC822.SIZE":
            self.size = number(word)
        self.item = b""


def _atom_end(line: bytes, start: i64, end: i64) -> i64:
    """End of an atom, with the section in brackets that an item's name may have: ``BODY[HEADER.FIELDS (TO)]<0>``."""
    at = start
    while at < end:
        octet = line[at]
        if octet == _SPACE or octet == _OPEN or octet == _CLOSE:
            return at if at > start else at + 1
        if octet == _BRACKET:
            close: i64 = line.find(b"]", at, end)
            if close < 0:
                return end
            at = close
        at += 1
    return end
