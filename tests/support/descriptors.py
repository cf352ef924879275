"""What this process has open: counted by place, so that it does not matter what else in the process opens and closes files."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def descriptors_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open, those that are deleted included, once for each descriptor."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile: it was the one that the folder was read through
            found.append(os.readlink(entry))  # noqa: PTH115 - what is no path is a target as well
    return sorted(path for path in found if path.startswith(f"{folder}{os.sep}"))
