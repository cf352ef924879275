"""Text behind a TLS handshake that came to nothing: how it is known.

Some servers and clients go on in clear on the same connection when a handshake that STARTTLS led to has failed (RFC 3207 section 4
leaves it to them), and passwords follow. Where a record is due, no octet of TLS is that of a letter, so text cannot be mistaken for
records; that it is a dialogue's is believed of a whole line that is a command or a reply of the protocol spoken before, and of nothing less.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, Sender
from analyzer.protocols.detect import IMAP_VERBS, POP3_VERBS, SIEVE_VERBS, SMTP_VERBS, says_sieve, verb_of

#: Octets of a first line that are looked at; a longer one is not taken for text.
MAX_FIRST_LINE: Final = 8192
#: Longest tag of an IMAP command.
_MAX_TAG: Final = 64
#: What no tag holds (RFC 9051 section 9, "tag").
_NO_TAG: Final = b'(){%*"\\+'

_UNTAGGED: Final = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH", b"CAPABILITY"})
_SIEVE_LISTING: Final = (b'"IMPLEMENTATION"', b'"SIEVE"', b'"SASL"', b'"STARTTLS"', b'"NOTIFY"', b'"VERSION"')


def text_size(data: bytes, at: i64, end: i64) -> i64:
    """How many octets from ``at`` on may stand in a line of text: up to the first control octet that is neither a tab nor a line's end."""
    start = at
    while at < end:
        octet = data[at]
        if octet < 32 and octet != 9 and octet != 10 and octet != 13:
            break
        at += 1
    return at - start


def is_known_line(protocol: str, sender: Sender, line: bytes) -> bool:
    """Whether a line, without its end, is a command of the client's or a reply of the server's in a protocol."""
    return _is_command(protocol, line) if sender == CLIENT else _is_reply(protocol, line)


def _is_command(protocol: str, line: bytes) -> bool:
    if protocol == "imap":
        words = line.split(b" ", 2)
        return len(words) > 1 and _is_tag(words[0]) and words[1].upper() in IMAP_VERBS
    verb = verb_of(line)
    if protocol == "pop3":
        return verb in POP3_VERBS
    if protocol == "managesieve":
        return verb in SIEVE_VERBS
    return verb in SMTP_VERBS


def _is_reply(protocol: str, line: bytes) -> bool:
    words = line.split(b" ", 2)
    first = words[0]
    if protocol == "pop3":
        return first == b"+OK" or first == b"-ERR"
    if protocol == "imap":
        second = words[1].upper() if len(words) > 1 else b""
        if first == b"*":
            return second in _UNTAGGED
        return _is_tag(first) and (second == b"OK" or second == b"NO" or second == b"BAD")
    if protocol == "managesieve":
        return says_sieve(line + b"\r\n") or line.upper().startswith(_SIEVE_LISTING)
    code = line[:3]
    return len(code) == 3 and code.isdigit() and 50 <= code[0] <= 53 and line[3:4] in (b"", b" ", b"-")


def _is_tag(word: bytes) -> bool:
    return 0 < len(word) <= _MAX_TAG and all(32 < octet < 127 and octet not in _NO_TAG for octet in word)


def is_refusal(protocol: str, line: bytes) -> bool:
    """Whether a whole reply of the server's says no."""
    words = line.split(b" ", 2)
    if protocol == "pop3":
        return words[0] == b"-ERR"
    if protocol == "imap":
        return words[0] != b"*" and len(words) > 1 and words[1].upper() in (b"NO", b"BAD")
    if protocol == "managesieve":
        return words[0].upper() == b"NO"
    return line[:1] in (b"4", b"5") and line[3:4] != b"-"


def names_tls(line: bytes) -> bool:
    """Whether a reply speaks of TLS."""
    lower = line.lower()
    return b"tls" in lower or b"ssl" in lower


def takes_leave(protocol: str, line: bytes) -> bool:
    """Whether a command of the client's, without its end, does no more than end the dialogue."""
    words = line.split(b" ", 2)
    if protocol == "imap":
        return len(words) > 1 and words[1].upper() == b"LOGOUT"
    return words[0].upper() in (b"QUIT", b"LOGOUT")
