"""Waiting in tests: patient, so that no test fails because the machine that runs it is slow.

The limits below are reached only when a test would fail anyway: a condition that holds ends the wait at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a condition may take to come true, in seconds.
PATIENCE: Final = 60.0
#: How long a child process may take to do its work and end, in seconds.
CHILD_PATIENCE: Final = 120.0
#: How long one operation on a socket may take, in seconds.
SOCKET_PATIENCE: Final = 30.0
#: How often a condition is looked at, in seconds.
STEP: Final = 0.01


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until ``condition()`` is true; fail the test when it is not within ``patience`` seconds."""
    limit = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < limit, f"still not true after {patience:g} s: {condition!r}"
        time.sleep(STEP)
