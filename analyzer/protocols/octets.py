"""What octets look like: where their lines end, whether they are text, whether TLS begins in them.

Streams come in pieces of any size, and how they were cut must decide nothing: where the next octets may take a verdict back, the
function says so, and its caller waits for them.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: Octets that are looked at to tell text from the middle of a TLS record.
TEXT_LOOK: Final = 16
#: Octets of a TLS record's header, and the most that its body may have (RFC 5246 section 6.2.3).
TLS_HEADER: Final = 5
MAX_TLS_RECORD: Final = 18432
#: Octets by which TLS is told from text for good.
TLS_SURE: Final = 3

#: Octets looked at one by one before a search is worth its call.
_NEAR: Final = 96
#: Whether mailtap is compiled: loops over octets are for compiled code only.
COMPILED: Final = not __file__.endswith(".py")


def line_end(data: bytes, at: i64, size: i64) -> i64:
    """Offset of the next LF of ``data``, whose size is given, from ``at`` on; -1 where there is none."""
    if COMPILED:
        near = at + _NEAR
        if near > size:
            near = size
        while at < near:
            if data[at] == 10:
                return at
            at += 1
        if at == size:
            return -1
    return data.find(b"\n", at)


def first_word(line: bytes) -> bytes:
    """The verb of a command line, in capitals."""
    space: i64 = line.find(b" ")
    return (line if space < 0 else line[:space]).upper()


def next_line(data: bytes, at: i64, size: i64) -> i64:
    """Offset behind the next LF of ``data``, whose size is given, from ``at`` on; the size where there is none."""
    newline = line_end(data, at, size)
    return size if newline < 0 else newline + 1


def looks_like_tls(data: bytes) -> bool:
    """Whether octets at the start of a stream begin a TLS record (RFC 8446 section 5.1) or an SSLv2 hello (RFC 5246 appendix E.2).

    One octet is enough for a yes, which two more may take back: see :func:`may_be_tls`.
    """
    size = len(data)
    if size == 0:
        return False
    first = data[0]
    if 0x14 <= first <= 0x17:
        if size > 1 and data[1] != 3:
            return False
        return not (size > 2 and data[2] > 4)
    if first & 0x80:
        return not (size > 2 and data[2] != 1)
    return False


def may_be_tls(data: bytes) -> bool:
    """Whether octets look like TLS so far, and so few that the next ones may say otherwise: who judges them now judges by how they were split."""
    return len(data) < TLS_SURE and looks_like_tls(data)


def is_tls_header(data: bytes) -> bool:
    """Whether octets begin with the header of a TLS record, complete and plausible (RFC 8446 section 5.1)."""
    return (
        len(data) >= TLS_HEADER
        and 0x14 <= data[0] <= 0x17
        and data[1] == 3
        and data[2] <= 4
        and 0 < (data[3] << 8 | data[4]) <= MAX_TLS_RECORD
    )


def text_or_not(data: bytes) -> i64:
    """1 where octets begin with a line of text, -1 where they do not (control octets among the first ones), 0 where it takes more of them to tell.

    More octets never change a verdict.
    """
    end: i64 = data.find(b"\n", 0, TEXT_LOOK)
    for octet in data[:TEXT_LOOK] if end < 0 else data[:end]:
        if octet < 32 and octet != 9 and octet != 13:
            return -1
    return 1 if end >= 0 or len(data) >= TEXT_LOOK else 0


def find_tls(data: bytes, at: i64) -> i64:
    """Offset of the first line of ``data`` that looks like TLS so far; -1 where none does. A line begins at ``at``."""
    size: i64 = len(data)
    while at < size:
        if looks_like_tls(data[at : at + TLS_SURE]):
            return at
        at = next_line(data, at, size)
    return -1


def find_tls_header(data: bytes, at: i64) -> i64:
    """Offset of the first line of ``data`` that is the header of a TLS record, or may be its first octets; -1 where none is. A line begins at ``at``."""
    size: i64 = len(data)
    while at < size:
        if 0x14 <= data[at] <= 0x17 and (size - at < TLS_HEADER or is_tls_header(data[at : at + TLS_HEADER])):
            return at
        at = next_line(data, at, size)
    return -1


def asks_for_tls(text: bytes) -> bool:
    """Whether lines of a client may hold another request for TLS."""
    upper = text.upper()
    return b"STARTTLS" in upper or b"STLS" in upper or b"ANONYMOUSTLS" in upper


#: First words of lines that may be told; any other word may itself be a secret (a SASL response is one word).
TOLD_WORDS: Final = frozenset(
    {b"EHLO", b"HELO", b"LHLO", b"MAIL", b"RCPT", b"DATA", b"BDAT", b"RSET", b"NOOP", b"QUIT", b"AUTH", b"VRFY", b"STARTTLS",
     b"USER", b"PASS", b"APOP", b"CAPA", b"STAT", b"LIST", b"UIDL", b"RETR", b"DELE", b"TOP", b"STLS", b"+OK", b"-ERR", b"*",
     b"LOGIN", b"AUTHENTICATE", b"CAPABILITY", b"SELECT", b"EXAMINE", b"FETCH", b"APPEND", b"LOGOUT", b"ID", b"OK", b"NO",
     b"BAD", b"BYE", b"PUTSCRIPT", b"LISTSCRIPTS", b"SETACTIVE", b"HAVESPACE"}
)  # fmt: skip


def describe_lines(data: bytes) -> str:
    """What lines of injected text say, without what they hold: their count, octets and commands (anything else may be secret)."""
    words: list[str] = []
    count = 0
    for line in data.split(b"\n"):
        text = line.strip()
        if not text:
            continue
        count += 1
        if len(words) < 4:
            words.append(_told_word(text.split(b" ", 2)))
    lines = "1 line" if count == 1 else f"{count} lines"
    octets = "1 octet" if len(data) == 1 else f"{len(data)} octets"
    return f"{lines}, {octets}{': ' if words else ''}{', '.join(words)}"


def _told_word(words: list[bytes]) -> str:
    """The command or status of a line, the one behind a tag included; ``?`` for what may be a secret."""
    for word in words[:2]:
        name = word.upper()
        if name in TOLD_WORDS:
            return name.decode("ascii")
        if len(name) >= 3 and name[:3].isdigit() and (len(name) == 3 or name[3] == 45):
            return name[:3].decode("ascii")
    return "?"
