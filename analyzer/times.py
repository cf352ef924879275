"""Times as users give them: in words on the command line, as objects in Python."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from analyzer.errors import UsageError

if TYPE_CHECKING:
    from datetime import datetime

#: Times may be told as so many of these ago, in seconds, with so many characters at most.
AGO_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_AGO_DIGITS: Final = 7
#: The last digits of parts of a second, as results have them; datetime has none for them.
_NANOSECONDS: Final = re.compile(r"(?<=:\d\d[.,]\d{6})\d{1,3}(?!\d)")


def parse_time(value: str | datetime | None) -> int | None:
    """A time of the user's as nanoseconds since the epoch.

    It may be written (RFC 3339 or ISO 8601; or 24h for 24 hours ago) or a ``datetime``, pandas' ``Timestamp`` among them; UTC where it has no zone.

    Raises:
        UsageError: it is no time.
    """
    if value is None:
        return None
    from datetime import UTC, datetime

    below = 0
    try:
        if isinstance(value, datetime):
            below = getattr(value, "nanosecond", 0)
            moment = value
        else:
            ago = value.strip()
            if ago[-1:] in AGO_S and ago[:-1].isdecimal() and len(ago) <= MAX_AGO_DIGITS:
                return max(0, int(time.time()) - int(ago[:-1]) * AGO_S[ago[-1]]) * 1_000_000_000
            finer = _NANOSECONDS.search(value)
            if finer is not None:
                below = int(finer[0].ljust(3, "0"))
            moment = datetime.fromisoformat(value)
        # Part by part: pandas' own NaT is a datetime without any, and its Timestamp knows fewer years than there are.
        moment = datetime(
            moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, moment.microsecond,
            moment.tzinfo or UTC, fold=moment.fold,
        )  # fmt: skip
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise UsageError(
            f"{value!r} is no time; write it like 2026-01-31, 2026-01-31T08:00 or 2026-01-31T08:00:00+01:00, or 24h for 24 hours ago, 7d for 7 days ago"
        ) from None
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000 + below


def check_order(since_ns: int | None, until_ns: int | None) -> None:
    """Two times between which sessions are to be.

    Raises:
        UsageError: the first lies behind the second.
    """
    if since_ns is not None and until_ns is not None and since_ns > until_ns:
        raise UsageError("since lies behind until, so that no session can be between the two; swap them")
