"""The cycle collector, kept away from where records and rows are made by the hundred thousand."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Let the cycle collector rest; it goes on afterwards, where it was on before.

    Records have no cycles, or break them themselves, so all it would find is that they are still there: again and again as they become
    more, at a third of a run's time and at two thirds of a table's.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
