r"""The reader of message content (RFC 5322, MIME), shared by every protocol that carries messages.

It is fed a body in whatever pieces it arrives and answers three questions: how many octets the receiver stores, what the header
block says, and which file names the attachments have. Megabytes go by in bulk: outside header blocks the only thing looked for
is ``\n--``, which opens a MIME part (RFC 2046 section 5.1.1), and only in messages whose header announces parts. Names are
kept as they stand and decoded (RFC 2231, RFC 2047) when somebody asks for them.

Any way of splitting a body into pieces gives the same answers.

Over 500 lines, because header, parts and names are read by one machine, whose state a cut anywhere must leave whole.
"""

from __future__ import annotations

import binascii
from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.protocols.octets import COMPILED

#: Octets kept of a message's header block. Postfix refuses more than 100 KiB by default, Exim more than 1 MiB; real ones are under 20 KiB.
MAX_HEADER: Final = 65536
#: Octets that the header block of a MIME part may have to be read.
MAX_PART_HEADER: Final = 8192
#: Attachments named per message.
MAX_ATTACHMENTS: Final = 100
#: Characters kept of a name.
MAX_NAME: Final = 255
#: Boundaries known at a time (nested multiparts each bring one).
MAX_BOUNDARIES: Final = 16
#: Octets of a header block that are looked at one by one where that is faster than a search.
NEAR: Final = 256
#: Octets searched for the end of a boundary line: 70 of the boundary, dashes, white space (RFC 2046 section 5.1.1).
MAX_BOUNDARY_LINE: Final = 128

#: Stand in for lists of which most messages need none; they stay empty.
NO_OCTETS: Final[list[bytes]] = []
NO_NAMES: Final[list[str]] = []

# What lines of a header begin with: a dot, which may be a stuffed one; the letter of Content-Type and its sisters.
DOTTED: Final = 1
LETTER_C: Final = 2
ANY_MARKS: Final = 3

# What the next octets are.
_TOP: Final = 0  # the message's own header block
_PART: Final = 1  # the header block of a part, or of a message within the message
_TEXT: Final = 2  # content, in which a boundary may come
_REST: Final = 3  # content of no further interest


def is_field(line: bytes) -> bool:
    """Whether a line has the form of a header field: a name and a colon (RFC 5322 section 2.2)."""
    colon: i64 = line.find(b":")
    if colon <= 0:
        return False
    at: i64 = 0
    while at < colon:
        if line[at] <= 32 or line[at] >= 127:
            return False
        at += 1
    return True


@mypyc_attr(acyclic=True, free_list_len=1)
class MessageReader:
    """Reads one message; made when its body begins.

    ``frame``, ``timestamp_ns`` and ``offset`` say where that was and are only kept. ``dot_stuffed`` bodies (SMTP DATA, POP3) have a
    dot added to each line that begins with one (RFC 5321 section 4.5.2); :attr:`size` and :meth:`header` are without it.
    """

    def __init__(self, frame: i64, timestamp_ns: i64, offset: i64, dot_stuffed: bool) -> None:
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset
        #: octets of the message as its receiver stores it, missing ones included
        self.size: i64 = 0
        #: octets that the capture lacks
        self.missing: i64 = 0
        #: there was a gap, of whatever size
        self.torn: bool = False
        #: the blank line behind the header was seen, and nothing before it is missing
        self.header_complete: bool = False
        self._dot_stuffed: bool = dot_stuffed
        self._line_start: bool = True
        #: dots taken off so far
        self._stuffed: i64 = 0
        #: what lines of the header may begin with
        self._marks: i64 = ANY_MARKS
        self._state: i64 = _TOP
        self._header: list[bytes] = NO_OCTETS
        self._header_size: i64 = 0
        #: the last octets of what was read, where a blank line or a boundary may have begun
        self._carried: bytes = b"\n"
        self._boundaries: list[bytes] = NO_OCTETS
        #: the header that told the boundaries was not (wholly) seen: any line that could be one is taken for one
        self._any_boundary: bool = False
        self._names: list[bytes] = NO_OCTETS

    def receive_data(self, data: bytes, start: i64, end: i64, stuffed: i64 = -1) -> None:
        """``data[start:end]`` comes next; ``stuffed`` of its lines begin with a dot (-1: not counted)."""
        if end <= start:
            return
        self.size += end - start
        if self._dot_stuffed:
            # Looking for one octet is ten times as fast as for two, and attachments hold no dots.
            if stuffed < 0:
                data = data[start:end]
                end -= start
                start = 0
                stuffed = data.count(b"\n.") if 46 in data else 0
                if self._line_start and data[0] == 46:
                    stuffed += 1
            self._stuffed += stuffed
            self.size -= stuffed
            self._line_start = data[end - 1] == 10
        state = self._state
        if state == _REST:
            return
        if state == _TOP:
            self._read_top(data, start, end)
        else:
            self._read_parts(data, start, end)

    def receive_gap(self, size: i64) -> None:
        """``size`` octets are missing here; 0 where their number is not known."""
        self.size += size
        self.missing += size
        self.torn = True
        self._line_start = False
        self._carried = b""
        if self._state != _REST:
            self._state = _TEXT
            self._any_boundary = True

    def begin_text(self) -> None:
        """What follows is the text behind the header, wherever that went by and whatever it ended in."""
        if self._state == _TOP:
            self._state = _TEXT
            self._any_boundary = True
            self._carried = b"\n"

    def join_header(self, header: MessageReader) -> None:
        """The header came behind the text that this has read."""
        self.size += header.size
        self.missing += header.missing
        self.torn = self.torn or header.torn
        self._header = header._header
        self._header_size = header._header_size

    def kept(self) -> int:
        """Octets that are kept of the message."""
        size = self._header_size + len(self._carried)
        for one in self._names:
            size += len(one)
        for one in self._boundaries:
            size += len(one)
        return size

    def header(self) -> bytes:
        """The header block up to its blank line, as received, at most :data:`MAX_HEADER` octets."""
        block = self._joined_header()
        if self._stuffed > 0 and self._marks & DOTTED != 0:
            block = block.replace(b"\n.", b"\n")
            if block.startswith(b"."):
                block = block[1:]
        return block

    def _joined_header(self) -> bytes:
        header = self._header
        if len(header) == 1:
            return header[0]
        block = b"".join(header)
        self._header = [block]
        return block

    def attachments(self) -> list[str]:
        """The file names of the message's parts, decoded, in their order; at most :data:`MAX_ATTACHMENTS`."""
        if not self._names:
            return NO_NAMES
        names: list[str] = []
        for block in self._names:
            name = file_name(block)
            if name:
                names.append(name)
        return names

    def _find_header(self, data: bytes, start: i64, end: i64) -> i64:
        """:func:`blank_line`, that notes on its way what the header's lines begin with."""
        if not COMPILED:
            return blank_line(data, start, end)
        near = end - 2
        if near > start + NEAR:
            near = start + NEAR
        behind: i64 = data[start]
        marks: i64 = 0
        if behind == 46:
            marks = DOTTED
        elif behind | 32 == 99:
            marks = LETTER_C
        while start < near:
            if data[start] == 10:
                behind = data[start + 1]
                if behind == 10 or (behind == 13 and data[start + 2] == 10):
                    self._marks = marks
                    return start
                if behind == 46:
                    marks |= DOTTED
                elif behind | 32 == 99:
                    marks |= LETTER_C
            start += 1
        return blank_line(data, start, end)

    def _keep_header(self, part: bytes) -> None:
        if self._header_size == 0:
            self._header = [part]
        else:
            self._header.append(part)
        self._header_size += len(part)

    def _read_top(self, data: bytes, start: i64, end: i64) -> None:
        first: i64 = data[start]
        if self._header_size == 0 and first != 10 and first != 13:
            # The message begins here, and mostly its whole header is here.
            blank = self._find_header(data, start, end)
            if blank >= 0 and blank + 1 - start <= MAX_HEADER:
                self._keep_header(data[start : blank + 1])
                self.header_complete = not self.torn
                self._begin_text(self._header[0], False)
                if self._state != _REST:
                    begin: i64 = data.find(b"\n", blank + 1)
                    self._read_parts(data, begin, end)
                return
        self._marks = ANY_MARKS
        carried = self._carried
        window = carried + data[start:end]
        size: i64 = len(window)
        skip: i64 = len(carried)
        blank = blank_line(window, 0, size)
        keep: i64 = size if blank < 0 else blank + 1
        room: i64 = MAX_HEADER - self._header_size
        if keep - skip > room:
            # No blank line within the limit: what follows is content, whatever it is.
            self._keep_header(window[skip : skip + room])
            self._begin_text(self._joined_header(), True)
            self._read_parts(window, skip + room, size)
            return
        if keep > skip:
            self._keep_header(window[skip:keep])
        if blank < 0:
            # "\n\r" may be the beginning of the blank line
            self._carried = window[size - 2 :] if size >= 2 else window
            return
        self.header_complete = not self.torn
        header = self._joined_header()
        if keep < skip:
            # The line end of the last header line had been carried along with part of the blank line, and kept.
            header = header[: self._header_size - (skip - keep)]
            self._header_size = len(header)
            self._header = [header]
        self._begin_text(header, False)
        if self._state != _REST:
            rest: i64 = window.find(b"\n", blank + 1)
            self._read_parts(window, rest, size)

    def _begin_text(self, header: bytes, cut: bool) -> None:
        self._carried = b""
        nested = self._marks & LETTER_C != 0 and self._read_header(header)
        if cut:
            self._any_boundary = True
        if nested:
            self._state = _PART
        elif self._boundaries or self._any_boundary:
            self._state = _TEXT
        else:
            self._state = _REST

    def _read_parts(self, data: bytes, start: i64, end: i64) -> None:
        """Look for boundaries, and read the header blocks behind them."""
        if self._state == _REST:
            return
        window = data
        at = start
        if self._carried:
            window = self._carried + data[start:end]
            self._carried = b""
            at = 0
            end = len(window)
        while True:
            if self._state == _PART:
                # at is the line end before the block
                limit = end if end < at + MAX_PART_HEADER else at + MAX_PART_HEADER
                blank = blank_line(window, at, limit)
                if blank < 0:
                    if end - at < MAX_PART_HEADER:
                        self._carried = window[at:end]
                        return
                    self._state = _TEXT
                    at += 1
                    continue
                nested = self._read_header(window[at + 1 : blank + 1])
                if len(self._names) >= MAX_ATTACHMENTS:
                    self._state = _REST
                    return
                if not nested:
                    self._state = _TEXT
                at = window.find(b"\n", blank + 1)
                continue
            opening: i64 = window.find(b"-", at, end)
            if opening >= 0:
                opening = window.find(b"\n--", at, end)
            if opening < 0:
                if window[end - 1] == 10:
                    self._carried = b"\n"
                elif end - at >= 2 and window[end - 1] == 45 and window[end - 2] == 10:
                    self._carried = b"\n-"
                return
            limit = end if end < opening + MAX_BOUNDARY_LINE else opening + MAX_BOUNDARY_LINE
            line_end: i64 = window.find(b"\n", opening + 3, limit)
            if line_end < 0:
                if end - opening < MAX_BOUNDARY_LINE:
                    self._carried = window[opening:end]
                    return
                at = opening + 3
            else:
                at = line_end
                if self._opens_part(window[opening + 3 : line_end].rstrip()):
                    self._state = _PART

    def _opens_part(self, line: bytes) -> bool:
        """Whether a line that began with two dashes opens a part; RFC 2046 section 5.1.1: with two dashes behind it closes the last one."""
        if not line:
            return False
        for boundary in self._boundaries:
            if line == boundary:
                return True
        return self._any_boundary and not line.endswith(b"--")

    def _read_header(self, block: bytes) -> bool:
        """Keep what a header block tells of names and boundaries; whether a message with its own header block follows."""
        if 58 not in block:
            return False
        lower = block.lower()
        nested = False
        if not lower.partition(b"content-")[1]:
            return False
        kind = field_value(lower, block, b"content-type:")
        if kind:
            lower_kind = kind.lower()
            if lower_kind.startswith(b"multipart/"):
                boundary = parameter(kind, lower_kind, b"boundary=")
                if boundary and len(self._boundaries) < MAX_BOUNDARIES:
                    if not self._boundaries:
                        self._boundaries = []
                    self._boundaries.append(boundary.rstrip())
            elif lower_kind.startswith((b"message/rfc822", b"message/global")):
                nested = True
        if lower.find(b"name") >= 0 and len(self._names) < MAX_ATTACHMENTS:
            disposition = field_value(lower, block, b"content-disposition:")
            if (disposition and disposition.lower().find(b"filename") >= 0) or (
                kind and kind.lower().find(b"name") >= 0
            ):
                if not self._names:
                    self._names = []
                self._names.append(disposition + b"\n" + kind)
        return nested


def blank_line(data: bytes, start: i64, end: i64) -> i64:
    """Offset of the line end that a blank line follows, in ``data[start:end]``; -1 where there is none."""
    if COMPILED:
        # Most headers are short; compiled, looking octet by octet costs less than two calls.
        near = end - 2
        if near > start + NEAR:
            near = start + NEAR
        while start < near:
            if data[start] == 10:
                behind: i64 = data[start + 1]
                if behind == 10 or (behind == 13 and data[start + 2] == 10):
                    return start
            start += 1
    at: i64 = data.find(b"\n\r\n", start, end)
    bare: i64 = data.find(b"\n\n", start, end if at < 0 else at + 1)
    return at if bare < 0 else bare


def field_value(lower: bytes, block: bytes, name: bytes) -> bytes:
    """The value of the first field of this (lower-case) name, unfolded (RFC 5322 section 2.2.3); empty where it is absent."""
    at: i64 = 0
    if not lower.startswith(name):
        at = lower.find(b"\n" + name)
        if at < 0:
            return b""
        at += 1
    start = at + len(name)
    end = start
    size: i64 = len(block)
    while True:
        end = block.find(b"\n", end)
        if end < 0:
            end = size
            break
        if end + 1 >= size or (block[end + 1] != 32 and block[end + 1] != 9):
            break
        end += 1
    return block[start:end].replace(b"\r", b"").replace(b"\n", b"").strip()


def parameter(value: bytes, lower: bytes, name: bytes) -> bytes:
    """A parameter of a MIME field, its quotes undone (RFC 2045 section 5.1); ``name`` ends in ``=``. Empty where it is absent."""
    at: i64 = 0
    while True:
        at = lower.find(name, at)
        if at < 0:
            return b""
        if at > 0 and (lower[at - 1] == 59 or lower[at - 1] == 32 or lower[at - 1] == 9):
            break
        at += 1
    at += len(name)
    if value[at : at + 1] == b'"':
        out: list[bytes] = []
        at += 1
        while True:
            quote: i64 = value.find(b'"', at)
            escape: i64 = value.find(b"\\", at, quote if quote >= 0 else len(value))
            if escape >= 0:
                out.append(value[at:escape])
                out.append(value[escape + 1 : escape + 2])
                at = escape + 2
                continue
            out.append(value[at:] if quote < 0 else value[at:quote])
            return b"".join(out)
    end: i64 = value.find(b";", at)
    token = value[at:] if end < 0 else value[at:end]
    return token.strip()


def file_name(fields: bytes) -> str:
    """The file name in a part's Content-Disposition and Content-Type values (one a line), decoded; empty where there is none.

    RFC 2183 section 2.3 (``filename``) goes before the older ``name``; RFC 2231 continuations and charsets, and the encoded words
    that many programs put there against RFC 2047 section 5, are undone.
    """
    for value in fields.split(b"\n"):
        lower = value.lower()
        for word in (b"filename", b"name"):
            name = _extended(value, lower, word)
            if not name:
                plain = parameter(value, lower, word + b"=")
                name = decode_words(plain)
            if name:
                return name[:MAX_NAME]
    return ""


def _extended(value: bytes, lower: bytes, word: bytes) -> str:
    """A parameter in the forms of RFC 2231: ``name*=``, or ``name*0=``, ``name*1*=`` ... joined."""
    encoded = parameter(value, lower, word + b"*=")
    if encoded:
        charset, _, rest = encoded.partition(b"'")
        return decode_text(_percent(rest.partition(b"'")[2]), charset) if rest else decode_text(encoded, b"")
    pieces: list[bytes] = []
    charset = b""
    for number in range(100):
        digits = str(number).encode("ascii")
        piece = parameter(value, lower, word + b"*" + digits + b"*=")
        if piece:
            if number == 0:
                charset, _, rest = piece.partition(b"'")
                piece = rest.partition(b"'")[2]
            pieces.append(_percent(piece))
            continue
        piece = parameter(value, lower, word + b"*" + digits + b"=")
        if not piece:
            break
        pieces.append(piece)
    if not pieces:
        return ""
    text = b"".join(pieces)
    return decode_text(text, charset) if charset else decode_words(text)


def _percent(data: bytes) -> bytes:
    """RFC 2231 section 4: ``%C3%A4`` undone."""
    pieces = data.split(b"%")
    out: list[bytes] = [pieces[0]]
    for piece in pieces[1:]:
        try:
            out.append(binascii.unhexlify(piece[:2]) + piece[2:])
        except ValueError:
            out.append(b"%" + piece)
    return b"".join(out)


def decode_text(data: bytes, charset: bytes) -> str:
    """Text of a charset named by the sender, never failing: an unknown charset is read as UTF-8."""
    try:
        return data.decode(charset.decode("ascii") or "utf-8", "replace")
    except (LookupError, ValueError):
        return data.decode("utf-8", "replace")


def decode_words(data: bytes) -> str:
    """Text in which encoded words (RFC 2047) may stand: ``=?utf-8?B?w6Q=?=`` is read, the rest is UTF-8."""
    if data.find(b"=?") < 0:
        return data.decode("utf-8", "replace")
    out: list[str] = []
    at: i64 = 0
    after_word = False
    while True:
        start: i64 = data.find(b"=?", at)
        if start < 0:
            break
        fields = data[start + 2 :].split(b"?", 3)
        if len(fields) < 4 or not fields[3].startswith(b"="):
            out.append(data[at : start + 2].decode("utf-8", "replace"))
            at = start + 2
            after_word = False
            continue
        between = data[at:start]
        if not after_word or between.strip():
            out.append(
                between.decode("utf-8", "replace")
            )  # RFC 2047 section 6.2: white space between two words is not shown
        out.append(_decode_word(fields[0], fields[1], fields[2]))
        after_word = True
        at = start + 2 + len(fields[0]) + len(fields[1]) + len(fields[2]) + 4
    out.append(data[at:].decode("utf-8", "replace"))
    return "".join(out)


def _decode_word(charset: bytes, encoding: bytes, text: bytes) -> str:
    try:
        if encoding == b"B" or encoding == b"b":
            octets = binascii.a2b_base64(text + b"===")
        else:
            octets = binascii.a2b_qp(text, header=True)
    except ValueError:
        octets = text
    return decode_text(octets, charset.partition(b"*")[0])
