"""A file written whole or not at all: an older result stays until the new one is complete."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from analyzer.errors import OutputError
from analyzer.places import status_of

#: Permissions of a file that holds secrets.
PRIVATE: Final = 0o600
#: Letters of a result's name in that of what becomes it: names of files have limits.
MAX_PART: Final = 40


def write_file(path: Path, write: Callable[[Any], None], binary: bool, private: bool = False) -> None:
    """Let something write a file. ``private``: a new one is for its owner alone; what was there keeps its permissions.

    Raises:
        OutputError: the place cannot be looked at.
        OSError: it cannot be written.
    """
    there = status_of(path, OutputError)
    mode, encoding = ("wb", None) if binary else ("w", "utf-8")
    if there is not None and not stat.S_ISREG(there.st_mode):
        with path.open(mode, encoding=encoding) as out:
            write(out)
        return
    # A link stays a link, and permissions that were set on an older result stay; nobody else can open it before it has them.
    path = path.resolve()
    part, descriptor = _new_part(path, PRIVATE if private or there is not None else 0o666)
    try:
        with open(descriptor, mode, encoding=encoding) as out:  # noqa: PTH123 - it is open already
            if there is not None:
                os.fchmod(descriptor, stat.S_IMODE(there.st_mode))
            write(out)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _new_part(path: Path, mode: int) -> tuple[Path, int]:
    """A new file beside one that it is to become, and its descriptor, open to write.

    Its name cannot be guessed, and nothing that stands there is opened: in a folder of many, somebody may have put a link there.
    """
    while True:
        part = path.with_name(f".{path.name[:MAX_PART]}.{os.urandom(8).hex()}.part")
        with contextlib.suppress(FileExistsError):
            return part, os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
