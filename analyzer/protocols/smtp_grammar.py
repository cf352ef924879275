"""The words of SMTP and LMTP (RFC 5321, 2033, 3030, 4954): commands, and what a line or a reply says by itself."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.protocols.envelope import parse_path
from analyzer.protocols.sasl import decode_base64

# Commands.
UNKNOWN: Final = 0
EHLO: Final = 1
HELO: Final = 2
LHLO: Final = 3
MAIL: Final = 4
RCPT: Final = 5
DATA: Final = 6
BDAT: Final = 7
RSET: Final = 8
AUTH: Final = 9
STARTTLS: Final = 10
QUIT: Final = 11
PLAIN: Final = 12  # a reply and no consequence
BODY: Final = 13  # DATA was granted: the final reply is due
BDAT_LAST: Final = 14
LOST: Final = 15  # whatever was in a line that is missing
XEXCH50: Final = 16  # so many octets of Exchange's own come behind the server's 354 ([MS-XEXCH50])

VERBS: Final[dict[bytes, int]] = {
    b"EHLO": EHLO,
    b"HELO": HELO,
    b"LHLO": LHLO,
    b"MAIL": MAIL,
    b"RCPT": RCPT,
    b"DATA": DATA,
    b"BDAT": BDAT,
    b"RSET": RSET,
    b"AUTH": AUTH,
    b"X-EXPS": AUTH,
    b"STARTTLS": STARTTLS,
    b"X-ANONYMOUSTLS": STARTTLS,
    b"QUIT": QUIT,
    b"NOOP": PLAIN,
    b"VRFY": PLAIN,
    b"EXPN": PLAIN,
    b"HELP": PLAIN,
    b"TURN": PLAIN,
    b"ETRN": PLAIN,
    b"ATRN": PLAIN,
    b"BURL": PLAIN,
    b"SEND": PLAIN,
    b"SOML": PLAIN,
    b"SAML": PLAIN,
    b"VERB": PLAIN,
    b"XCLIENT": PLAIN,
    b"XFORWARD": PLAIN,
    b"X-LINK2STATE": PLAIN,
    b"XEXCH50": XEXCH50,
}


def is_plain_command(kind: int, argument: bytes) -> bool:
    """Whether a line that begins with a verb has the form of that command, so that it is hardly a line of a letter."""
    if kind == MAIL:
        return parse_path(argument, b"FROM") is not None
    if kind == RCPT:
        return parse_path(argument, b"TO") is not None
    if kind == AUTH or kind == BDAT:
        words = argument.split()
        if not 0 < len(words) <= 2:
            return False
        if kind == BDAT:
            return words[0].isdigit() and (len(words) == 1 or words[1].upper() == b"LAST")
        return len(words) == 1 or words[1] == b"=" or decode_base64(words[1]) is not None
    if kind == DATA or kind == RSET or kind == QUIT or kind == STARTTLS:
        return not argument
    return argument.find(b" ") < 0


def exchange_octets(argument: bytes) -> int:
    """The octets that ``XEXCH50 size type`` announces ([MS-XEXCH50]); -1 where it tells no size."""
    words = argument.split()
    return int(words[0]) if words and words[0].isdigit() and len(words[0]) <= 9 else -1


def is_keyword(text: bytes) -> bool:
    """Whether a line of a reply is a keyword of EHLO that says how to go on, and no greeting."""
    upper = text.upper()
    return upper in (b"STARTTLS", b"X-ANONYMOUSTLS") or upper.startswith((b"AUTH ", b"AUTH="))


def answers_auth(code: i64) -> bool:
    """Whether a reply can be the answer to AUTH, and not that to a message (RFC 4954 section 6)."""
    return code == 334 or code == 235 or code == 432 or code == 454 or 500 <= code < 550


def answers_only(code: i64) -> int:
    """The command that a code is the answer to, where there is but one; -1 elsewhere."""
    if code == 334 or code == 235:
        return AUTH
    if code == 354:
        return DATA
    if code == 221:
        return QUIT
    # XCLIENT is answered with 220 too, but nobody pipelines STARTTLS behind it.
    return STARTTLS if code == 220 else -1


def reply_code(line: bytes) -> i64:
    """The code that a line of a reply, known to have one, begins with."""
    code: i64 = (line[0] - 48) * 100
    return code + (line[1] - 48) * 10 + (line[2] - 48)


def reply_text(line: bytes) -> str:
    """What a line of a reply says behind its code."""
    return line[4:].decode("utf-8", "replace")


def whole_reply(lines: list[bytes]) -> str:
    """The last line of a reply, code and text."""
    return lines[-1].decode("utf-8", "replace")


def wants_tls(lines: list[bytes]) -> bool:
    """Whether a refusal asks for encryption first."""
    lower = b" ".join(lines).lower()
    return b"tls" in lower or b"ssl" in lower or b"encrypt" in lower or b"secure" in lower
