"""Numbers in sentences, and sentences with numbers, as all reports write them."""

from __future__ import annotations

import time
from typing import Final

#: The last time that a calendar of four digits has.
LAST_NS: Final = 253402300799_000_000_000


def noun(count: int, word: str) -> str:
    """The word for so many: ``session``, ``sessions``."""
    return word if count == 1 else f"{word}s"


def plural(count: int, word: str) -> str:
    """``1 session``, ``2 sessions``, ``12,345 sessions``."""
    return f"{count:,} {noun(count, word)}"


def window(since_ns: int | None, until_ns: int | None, left_out: int) -> str:
    """A sentence that tells which times were asked for, and how many sessions that left out; empty where no times were."""
    if since_ns is None and until_ns is None:
        return ""
    when = (
        f"until {_moment(until_ns or 0)}"
        if since_ns is None
        else f"since {_moment(since_ns)}"
        if until_ns is None
        else f"between {_moment(since_ns)} and {_moment(until_ns)}"
    )
    left = f"{plural(left_out, 'session')} {'was' if left_out == 1 else 'were'}" if left_out else "none was"
    return f"Only sessions alive {when} UTC are told; {left} left out."


def _moment(timestamp_ns: int) -> str:
    """A time in UTC, with parts of a second where it has any; times without a calendar are told as its ends."""
    seconds, rest = divmod(min(max(timestamp_ns, 0), LAST_NS), 1_000_000_000)
    text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    return f"{text}.{rest:09d}".rstrip("0") if rest else text


def secrets_inside(capture: str, count: int) -> str:
    """A sentence about the TLS secrets that a capture holds itself."""
    return (
        f"{capture} holds the TLS secrets of {plural(count, 'session')}: --engine wireshark, in Python "
        'engine="wireshark", reads what they carried'
    )
