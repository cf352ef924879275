"""TCP sequence numbers: 32 bits that wrap, so there is no less and more, only a distance (RFC 9293, section 3.4)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: Sequence numbers are kept in 0 .. SEQUENCE_MASK.
SEQUENCE_MASK: Final = 0xFFFFFFFF
#: Half the number space: a number farther ahead than this is behind.
SEQUENCE_HALF: Final = 0x80000000


def distance(there: i64, here: i64) -> i64:
    """How many octets ``there`` is ahead of ``here``; negative when it is behind."""
    return ((there - here + 0x80000000) & 0xFFFFFFFF) - 0x80000000
