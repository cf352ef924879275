"""Commands that wait for their replies, in order: mostly one, so that a list would be made and emptied for each of them."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr


@mypyc_attr(acyclic=True)
class PendingNumbers:
    """A queue of numbers, none of them negative."""

    def __init__(self) -> None:
        #: the oldest, -1 where there is none
        self.first: i64 = -1
        self.count: i64 = 0
        #: those behind it
        self._rest: list[int] | None = None

    def push(self, number: i64) -> None:
        """At the end."""
        if self.count == 0:
            self.first = number
        else:
            rest = self._rest
            if rest is None:
                rest = []
                self._rest = rest
            rest.append(number)
        self.count += 1

    def pop(self) -> i64:
        """Takes the oldest; -1 where there is none."""
        number = self.first
        if self.count > 0:
            self.count -= 1
            rest = self._rest
            self.first = rest.pop(0) if rest else -1
        return number

    def last(self) -> i64:
        """The newest; -1 where there is none."""
        rest = self._rest
        return rest[-1] if rest else self.first

    def replace_last(self, number: i64) -> None:
        """Another one in the place of the newest."""
        rest = self._rest
        if rest:
            rest[-1] = number
        elif self.count > 0:
            self.first = number

    def holds(self, number: i64) -> bool:
        """Whether a number is in the queue."""
        return self.count > 0 and (self.first == number or (self._rest is not None and number in self._rest))

    def clear(self) -> None:
        """None are left."""
        self.first = -1
        self.count = 0
        self._rest = None
