"""The most frequent names of a stream without end, in bounded memory: space-saving (Metwally, Agrawal, El Abbadi, 2005).

So many names are counted. A new one takes the place of the least frequent, and goes on from its count, as if the others had been it: that
part is what a name may have been overrated by. A name that comes more often than the others is among those kept whenever it
first came, and one that came often long ago gives way once others have come as often.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: Names kept unless told otherwise.
MAX_NAMES: Final = 4096


class FrequentNames:
    """Counts names. ``count`` is for one thread, everything else for any; ``snapshot`` is what to read."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self.limit = limit
        #: whether there were more names than are kept
        self.more = False
        #: name -> (count, part of it that may be others')
        self._counts: dict[str, tuple[int, int]] = {}
        # Names by count, each in order of arrival there, so that the least of thousands is found at once; and the least count.
        self._by_count: dict[int, dict[str, None]] = {}
        self._least = 0

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, name: str, times: int = 1) -> None:
        """The name has come, once or more."""
        had = self._counts.get(name)
        if had is not None:
            before, error = had
            self._leave(name, before)
        elif len(self._counts) < self.limit:
            before = error = 0
        else:
            self.more = True
            oldest = next(iter(self._by_count[self._least]))
            before = error = self._least
            del self._counts[oldest]
            self._leave(oldest, before)
        now = before + times
        self._counts[name] = (now, error)
        self._by_count.setdefault(now, {})[name] = None
        if had is None and not before:
            self._least = min(self._least, now) if len(self._counts) > 1 else now
        elif self._least not in self._by_count:
            self._least = min(self._by_count)

    def update(self, names: Iterable[str]) -> None:
        """All of these have come."""
        for name in names:
            self.count(name)

    def snapshot(self) -> dict[str, int]:
        """The names kept, and how often each has come at least."""
        return {name: count - error for name, (count, error) in self._counts.copy().items()}

    def _leave(self, name: str, count: int) -> None:
        names = self._by_count[count]
        del names[name]
        if not names:
            del self._by_count[count]
