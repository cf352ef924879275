"""What metrics and screen read off the state of the monitor while the loop writes it: copies that hold still, names without secrets."""

from __future__ import annotations

import os
import re
import resource
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from analyzer.report.visible import shorten

Key = TypeVar("Key")
Item = TypeVar("Item")

#: How often something that changes under our hands is read again before it is taken as it can be had.
ATTEMPTS: Final = 8
#: Longest name of a source or sink that is shown.
MAX_NAME: Final = 120
#: ``webhook:https://user:token@host:8080/secret/path?key=...``
_ADDRESS: Final = re.compile(r"^(?P<kind>[^/]*?)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/?#\\]*)")


def settled(counts: Mapping[Key, int]) -> dict[Key, int]:
    """A copy of counts that another thread goes on writing."""
    for _ in range(ATTEMPTS):
        try:
            return dict(counts.items())
        except RuntimeError:  # it grew while it was copied
            continue
    return {}


def latest(items: deque[Item]) -> list[Item]:
    """A copy of what another thread appends to, oldest first."""
    for _ in range(ATTEMPTS):
        try:
            return list(items)
        except RuntimeError:
            continue
    return []


def sink_name(name: str) -> str:
    """The name of a sink or store fit to be shown: an address loses user, password, path and query, for they may be what opens it."""
    found = _ADDRESS.match(name)
    if found is not None:
        place = found["place"].rpartition("@")[2]
        name = f"{found['kind']}{found['scheme']}://{place}"
    return shorten(name, MAX_NAME)


def unique(names: Iterable[str]) -> list[str]:
    """The names, each made different from those before it: ``eth0``, ``eth0 #2``."""
    seen: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found


def memory_bytes() -> int:
    """Memory of this process that is in RAM; at other systems than Linux, the most there ever was."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - read often
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
