"""The words of POP3 (RFC 1939, 2449, 5034): commands, and what replies and arguments say by themselves."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: Octets kept of one capability.
MAX_CAPABILITY: Final = 255
#: Characters kept of a banner, a user name.
MAX_TEXT: Final = 1024
#: Texts of short replies that were met first: servers say the same all the time, and records share it.
MAX_USUAL: Final = 64
MAX_USUAL_TEXTS: Final = 1024
_USUAL_TEXTS: Final[dict[bytes, str]] = {}

#: How many bits hold the lines that a TOP asks for, and the most they can say.
LINES_BITS: Final = 26
MAX_LINES: Final = 67108863
#: Whoever asks for so many lines wants the whole message.
ALL_LINES: Final = 1000000

# Commands. Those up to LAST_SPECIAL have work to do when they are sent.
UNKNOWN: Final = 0
USER: Final = 1
PASS: Final = 2
APOP: Final = 3
AUTH: Final = 4
STLS: Final = 5
RETR: Final = 6
DELE: Final = 7
LIST: Final = 8  # LIST, UIDL, LANG: a listing where no argument is given
CAPA: Final = 9
XTND: Final = 10
TOP: Final = 11
LAST_SPECIAL: Final = 11
QUIT: Final = 12
RSET: Final = 13
PLAIN: Final = 14  # a reply of one line and no consequence
LISTING: Final = 15
MECHANISMS: Final = 16  # AUTH alone
LOST: Final = 17  # whatever was in a line that is missing
XMIT: Final = 18  # XTND XMIT: the client hands in a message behind the server's +OK

VERBS: Final[dict[bytes, int]] = {
    b"USER": USER,
    b"PASS": PASS,
    b"APOP": APOP,
    b"AUTH": AUTH,
    b"STLS": STLS,
    b"RETR": RETR,
    b"DELE": DELE,
    b"LIST": LIST,
    b"UIDL": LIST,
    b"LANG": LIST,
    b"CAPA": CAPA,
    b"TOP": TOP,
    b"QUIT": QUIT,
    b"RSET": RSET,
    b"STAT": PLAIN,
    b"NOOP": PLAIN,
    b"LAST": PLAIN,
    b"UTF8": PLAIN,
    b"XTND": XTND,
    b"XCLIENT": PLAIN,
    b"IMPLEMENTATION": PLAIN,
    b"HELP": PLAIN,
    b"REST": PLAIN,
}

# Verbs of four letters as numbers.
_WORD_USER: Final = 0x55534552
_WORD_PASS: Final = 0x50415353
_WORD_STAT: Final = 0x53544154
_WORD_NOOP: Final = 0x4E4F4F50
_WORD_QUIT: Final = 0x51554954
_WORD_RETR: Final = 0x52455452
_WORD_DELE: Final = 0x44454C45
_WORD_LIST: Final = 0x4C495354
_WORD_UIDL: Final = 0x5549444C
_WORD_CAPA: Final = 0x43415041

#: Capabilities one of which begins most listings (RFC 2449 section 6 and what servers put first).
CAPABILITIES: Final = (
    "CAPA",
    "TOP",
    "USER",
    "UIDL",
    "STLS",
    "SASL",
    "RESP-CODES",
    "PIPELINING",
    "EXPIRE",
    "IMPLEMENTATION",
)


def kind_of_four(line: bytes) -> int:
    """The command that four letters at the beginning of a line are, in whatever case, for the commonest ones: without a key made."""
    # Only letters become capitals by losing this bit.
    word = (i64(line[0]) << 24 | i64(line[1]) << 16 | i64(line[2]) << 8 | line[3]) & 0xDFDFDFDF
    if word == _WORD_USER:
        return USER
    if word == _WORD_PASS:
        return PASS
    if word == _WORD_STAT or word == _WORD_NOOP:
        return PLAIN
    if word == _WORD_QUIT:
        return QUIT
    if word == _WORD_RETR:
        return RETR
    if word == _WORD_DELE:
        return DELE
    if word == _WORD_LIST or word == _WORD_UIDL:
        return LIST
    if word == _WORD_CAPA:
        return CAPA
    return UNKNOWN


def extension(argument: bytes) -> int:
    """What ``XTND`` asks for: of the extensions of Berkeley's popper, XMIT takes a message, XLST tells a list."""
    word = argument.split(None, 1)[:1]
    name = word[0].upper() if word else b""
    return XMIT if name == b"XMIT" else LISTING if name == b"XLST" else PLAIN


def text_of(data: bytes) -> str:
    """Octets of the client as text; those that are no UTF-8 can be had back from it."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "surrogateescape")


def message_number(argument: bytes) -> int:
    """The message number that a command names; 0 where there is none."""
    size: i64 = len(argument)
    if size == 1:
        digit: i64 = argument[0]
        return digit - 48 if 48 <= digit <= 57 else 0
    text = argument.strip()
    if not text.isdigit() or len(text) > 9:
        return 0
    return int(text)


def top_arguments(argument: bytes) -> int:
    """``TOP msg n`` (RFC 1939 section 7): the message's number, with the lines asked for in the lowest :data:`LINES_BITS`; 0 where neither is plain."""
    words = argument.split()
    if len(words) < 2 or not words[1].isdigit():
        return 0
    digits = words[1].lstrip(b"0")
    lines = MAX_LINES if len(digits) > 8 else min(int(digits or b"0"), MAX_LINES)
    return message_number(words[0]) << LINES_BITS | lines


def announced_octets(line: bytes) -> int:
    """The size that a reply to RETR tells (``+OK 120 octets``, RFC 1939 section 5); -1 where it tells none."""
    words = line.lower().split()
    for at, word in enumerate(words):
        if word.startswith((b"octets", b"bytes")) and at > 0:
            size = words[at - 1].strip(b"(")
            return int(size) if size.isdigit() and len(size) <= 12 else -1
    return -1


def reply_text(line: bytes) -> str:
    """What a reply says behind its status word."""
    if len(line) > MAX_USUAL:
        return _reply_text(line)
    text = _USUAL_TEXTS.get(line)
    if text is None:
        text = _reply_text(line)
        if len(_USUAL_TEXTS) < MAX_USUAL_TEXTS:
            _USUAL_TEXTS[line] = text
    return text


def _reply_text(line: bytes) -> str:
    start = 4 if line.startswith(b"+") else 5
    return line[start : start + MAX_TEXT].decode("utf-8", "replace")


def apop_timestamp(line: bytes) -> str | None:
    """The timestamp of a greeting, with its angle brackets (RFC 1939 section 7); None where there is none."""
    if 60 not in line:
        return None
    at: i64 = 0
    while True:
        at = line.find(b"<", at)
        if at < 0:
            return None
        end: i64 = line.find(b">", at)
        if end < 0:
            return None
        if line.find(b"@", at, end) >= 0:
            return line[at : end + 1].decode("utf-8", "surrogateescape")
        at += 1


def wants_tls(line: bytes) -> bool:
    """Whether a refusal says that passwords are not taken in clear."""
    lower = line.lower()
    return b"plaintext" in lower or b"tls" in lower or b"ssl" in lower or b"encrypt" in lower or b"secure" in lower


def capability(line: bytes) -> str:
    """One line of a CAPA listing, its word in capitals; the mechanisms behind ``SASL`` too (RFC 5034 section 3)."""
    text = line.strip()[:MAX_CAPABILITY].decode("utf-8", "replace")
    word, _, rest = text.partition(" ")
    word = word.upper()
    if not rest:
        return word
    return f"{word} {rest.upper()}" if word == "SASL" else f"{word} {rest}"
