"""A folder of files written whole or not at all: an older result stays until the new one is complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from analyzer.errors import OutputError, UsageError
from analyzer.places import status_of
from analyzer.report.formats._file import MAX_PART, PRIVATE


@contextlib.contextmanager
def whole_folder(folder: Path, *, private: bool = False, last: str = "") -> Iterator[Path]:
    """A folder to write to; what is in it when the block ends becomes ``folder``, or replaces its files of the same names.

    It is made beside ``folder``, and renamed at the end. Where ``folder`` exists, its files are replaced one by one once all new ones are
    written; other files in it stay. Where the block fails, nothing has changed. ``private``: a new folder, and every
    file that was not there before, is for its owner alone (the folder as ``mkdtemp`` makes it); what was there keeps its permissions. ``last`` names the file that says that the
    others are there: it goes first and comes last.

    Raises:
        UsageError: ``folder`` is a file, or one of its files is a folder.
        OutputError: the place cannot be looked at.
        OSError: something cannot be written.
    """
    status = status_of(folder, OutputError)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{folder} is a file; name a folder")
    place = folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{place.name[:MAX_PART]}.", suffix=".part", dir=_home_of(place)))
    try:
        yield part
        if private:
            for one in part.iterdir():
                one.chmod(PRIVATE)
        if place.exists():
            _replace(part, place, last)
        else:
            if not private:
                part.chmod(0o777 & ~_umask())
            part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _home_of(place: Path) -> Path:
    """Where the new files are gathered: beside the folder, or in it where it is a disk of its own, or nothing may be made beside it."""
    beside = place.parent
    if not place.exists():
        return beside
    here = place.stat().st_dev == beside.stat().st_dev and os.access(beside, os.W_OK | os.X_OK)
    return beside if here else place


def _replace(part: Path, place: Path, last: str) -> None:
    """Put new files into an existing folder; permissions that were set on the old ones stay."""
    names = sorted((one.name for one in part.iterdir()), key=lambda name: (name == last, name))
    for name in names:
        target = place / name
        if target.is_dir():
            raise UsageError(f"{target} is a folder, where a file of that name is to be written; move it away")
        if target.exists():
            (part / name).chmod(stat.S_IMODE(target.stat().st_mode))
    if last:
        (place / last).unlink(missing_ok=True)
    for name in names:
        (part / name).replace(place / name)


def _umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
