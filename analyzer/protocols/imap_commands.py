"""IMAP's commands and untagged replies by name, a command on its way, and what tells a command from other text."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import Position
from analyzer.protocols.sasl import Exchange

#: Octets of a tag. No client known uses more than 20.
MAX_TAG: Final = 128
#: Characters kept of text that is only shown: banners, replies, names of clients.
MAX_SHOWN: Final = 200

# Commands that mean something here; all others that IMAP knows are KNOWN (any state) or MAIL (authenticated or selected state).
UNKNOWN: Final = 0
LOGIN: Final = 1
AUTHENTICATE: Final = 2
STARTTLS: Final = 3
COMPRESS: Final = 4
IDLE: Final = 5
ID: Final = 6
ASK: Final = 7  # CAPABILITY
KNOWN: Final = 8
MAIL: Final = 9  # from here on: commands that make a server send mailbox data
SELECT: Final = 10
EXAMINE: Final = 11
APPEND: Final = 12
FETCH: Final = 13
STORE: Final = 14
EXPUNGE: Final = 15
CLOSE: Final = 16
UNSELECT: Final = 17
MOVE: Final = 18
REPLACE: Final = 19  # read as APPEND, behind the number of the message that it replaces

COMMANDS: Final[dict[bytes, int]] = {
    b"LOGIN": LOGIN,
    b"AUTHENTICATE": AUTHENTICATE,
    b"STARTTLS": STARTTLS,
    b"COMPRESS": COMPRESS,
    b"IDLE": IDLE,
    b"ID": ID,
    b"SELECT": SELECT,
    b"EXAMINE": EXAMINE,
    b"APPEND": APPEND,
    b"FETCH": FETCH,
    b"STORE": STORE,
    b"EXPUNGE": EXPUNGE,
    b"CLOSE": CLOSE,
    b"UNSELECT": UNSELECT,
    b"MOVE": MOVE,
    b"REPLACE": REPLACE,
    b"CAPABILITY": ASK,
    b"NOOP": KNOWN,
    b"LOGOUT": KNOWN,
    b"ENABLE": KNOWN,
    b"LANGUAGE": KNOWN,
    b"UNAUTHENTICATE": KNOWN,
    b"CHECK": MAIL,
    b"COPY": MAIL,
    b"CREATE": MAIL,
    b"DELETE": MAIL,
    b"DELETEACL": MAIL,
    b"GETACL": MAIL,
    b"GETMETADATA": MAIL,
    b"GETQUOTA": MAIL,
    b"GETQUOTAROOT": MAIL,
    b"LIST": MAIL,
    b"LISTRIGHTS": MAIL,
    b"LSUB": MAIL,
    b"MYRIGHTS": MAIL,
    b"NAMESPACE": MAIL,
    b"NOTIFY": MAIL,
    b"RENAME": MAIL,
    b"SEARCH": MAIL,
    b"SETACL": MAIL,
    b"SETMETADATA": MAIL,
    b"SETQUOTA": MAIL,
    b"SORT": MAIL,
    b"STATUS": MAIL,
    b"SUBSCRIBE": MAIL,
    b"THREAD": MAIL,
    b"UNSUBSCRIBE": MAIL,
    b"XLIST": MAIL,
}

# Untagged replies. From MAILBOX_DATA on they are mailbox data, of which none is due before the client has logged in (RFC 9051 section 7);
# from NUMBERED on a number goes before the name.
STATUS: Final = 1
CAPABILITY: Final = 2
OTHER_DATA: Final = 3
MAILBOX_DATA: Final = 4
VANISHED: Final = 5
NUMBERED: Final = 6
EXISTS: Final = 7
EXPUNGED: Final = 8
FETCHED: Final = 9

REPLIES: Final[dict[bytes, int]] = {
    b"OK": STATUS,
    b"NO": STATUS,
    b"BAD": STATUS,
    b"BYE": STATUS,
    b"PREAUTH": STATUS,
    b"CAPABILITY": CAPABILITY,
    b"ID": OTHER_DATA,
    b"ENABLED": OTHER_DATA,
    b"NAMESPACE": OTHER_DATA,
    b"QUOTA": OTHER_DATA,
    b"QUOTAROOT": OTHER_DATA,
    b"ACL": OTHER_DATA,
    b"LISTRIGHTS": OTHER_DATA,
    b"MYRIGHTS": OTHER_DATA,
    b"METADATA": OTHER_DATA,
    b"ANNOTATION": OTHER_DATA,
    b"LANGUAGE": OTHER_DATA,
    b"XLIST": OTHER_DATA,
    b"CONVERTED": OTHER_DATA,
    b"GENURLAUTH": OTHER_DATA,
    b"URLFETCH": OTHER_DATA,
    b"COMPARATOR": OTHER_DATA,
    b"FLAGS": MAILBOX_DATA,
    b"LIST": MAILBOX_DATA,
    b"LSUB": MAILBOX_DATA,
    b"STATUS": MAILBOX_DATA,
    b"SEARCH": MAILBOX_DATA,
    b"ESEARCH": MAILBOX_DATA,
    b"SORT": MAILBOX_DATA,
    b"THREAD": MAILBOX_DATA,
    b"VANISHED": VANISHED,
    b"RECENT": NUMBERED,
    b"EXISTS": EXISTS,
    b"EXPUNGE": EXPUNGED,
    b"FETCH": FETCHED,
}


class Pending:
    """A command on its way: sent, not answered."""

    def __init__(self, tag: bytes, code: i64, by_uid: bool, doubtful: bool) -> None:
        self.tag = tag
        self.code: i64 = code
        self.by_uid = by_uid
        #: read after a gap: it may be text of a message
        self.doubtful = doubtful
        #: of a doubtful one: where and when it was said, how many lines of text were met by then, and of one text
        self.at: Position | None = None
        self.offset: i64 = 0
        self.text_at: i64 = 0
        self.text_before: i64 = 0
        #: the client took its authentication back, as far as that is one
        self.cancelled: bool = False
        #: its authentication, which nobody has answered
        self.set_aside: Exchange | None = None
        #: number of the authentication, 0 for none
        self.exchange: int = 0
        #: LOGIN that is not told before its tag is answered
        self.username: str | None = None
        self.password: str | None = None
        self.mailbox: str | None = None
        #: STORE: sequence set, and whether \Deleted is set (1), taken away (0) or of no concern (-1)
        self.numbers: bytes = b""
        self.deletes: i64 = -1
        #: FETCH of a piece: where it begins, how many octets were asked for
        self.origin: i64 = -1
        self.length: i64 = -1
        #: APPEND, REPLACE: numbers of its messages
        self.messages: list[int] = []
        #: the tagged reply, where it came before the command's end
        self.status: bytes = b""
        self.reply: str = ""


def is_command(line: bytes) -> bool:
    """Whether a line looks like a tag and a command that IMAP knows."""
    space: i64 = line.find(b" ")
    if space <= 0:
        return False
    end: i64 = line.find(b" ", space + 1)
    verb = line[space + 1 :] if end < 0 else line[space + 1 : end]
    return verb.upper() in COMMANDS and is_tag(line, space)


def is_tag(line: bytes, end: i64) -> bool:
    """Whether ``line[:end]`` could be a tag. Servers take more than RFC 9051 allows (``.``): any visible ASCII but a leading ``+`` or ``*``."""
    if end > MAX_TAG or line[0] == 43 or line[0] == 42:
        return False
    at: i64 = 0
    while at < end:
        if line[at] <= 32 or line[at] >= 127:
            return False
        at += 1
    return True


def is_word(word: bytes) -> bool:
    """Whether octets could be the name of a command or reply that this module does not know."""
    return 0 < len(word) <= 40 and not word.strip(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def is_masked(word: bytes) -> bool:
    """Whether a middlebox has overwritten a keyword so that neither side notices: ``XXXXXXXX``, ``XXXXXXXA`` in place of STARTTLS."""
    return len(word) == 8 and word[:7] == b"XXXXXXX" and (word[7] == 88 or word[7] == 65)


def response_code(line: bytes, space: i64) -> bytes:
    """What stands in the brackets of a status reply whose text begins behind ``space`` (RFC 9051 section 7.1); empty where nothing does."""
    if line[space + 1 : space + 2] != b"[":
        return b""
    end: i64 = line.find(b"]", space)
    return b"" if end < 0 else line[space + 2 : end]


def without_quoted(data: bytes) -> bytes:
    """The octets outside of quoted strings."""
    if data.find(b'"') < 0:
        return data
    out: list[bytes] = []
    outside = True
    for piece in data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"'):
        if outside:
            out.append(piece)
        outside = not outside
    return b" ".join(out)


def shown(data: bytes) -> str:
    """Text of a server or client for display, bounded."""
    return data[:MAX_SHOWN].decode("utf-8", "replace")
