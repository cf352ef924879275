"""Looking at a place that a user named, before anything is read from it or written to it.

``Path.exists`` and its like give an answer where there is nothing, but raise where the way there is barred, the name is too long or a link
leads in a circle. Commands ask here instead, and users are told what is wrong with the place they named.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

from analyzer.errors import MailtapError

#: What to do about it, where the system's own words do not say.
_CURES: Final = {
    errno.EACCES: "run mailtap as a user who may look there, or name another place",
    errno.EISDIR: "name a file in it",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the link leads back to itself; name the file that is meant",
}


def status_of(path: str | Path, wrong: type[MailtapError]) -> os.stat_result | None:
    """What is there, links followed; None where nothing is.

    Raises:
        MailtapError: of the kind ``wrong``, where it cannot be told: no permission, a name too long, a link that leads to itself.
    """
    try:
        return Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise wrong(f"{path}: cannot be looked at ({reason(error)})") from None


def missing_folder(path: str | Path, wrong: type[MailtapError], *, makes_folders: bool = False) -> Path | None:
    """The folder that is not there, or is none, so that nothing new can stand at ``path``; None where the way is free.

    ``makes_folders``: whoever writes there makes the folders on the way that are missing.

    Raises:
        MailtapError: as :func:`status_of`.
    """
    for parent in Path(path).parents:
        status = status_of(parent, wrong)
        if status is not None and stat.S_ISDIR(status.st_mode):
            return None
        if status is not None or not makes_folders:
            return parent
    return None


def reason(error: Exception) -> str:
    """Why something could not be looked at, read or written, in the system's words, and what to do where they do not say."""
    if not isinstance(error, OSError):
        return str(error)
    cure = _CURES.get(error.errno or 0, "")
    said = error.strerror or str(error)
    return f"{said}: {cure}" if cure else said


def is_same(one: str | Path, other: str | Path) -> bool:
    """Whether two names are known to be of one file."""
    try:
        return os.path.samestat(Path(one).stat(), Path(other).stat())
    except (OSError, ValueError):
        return False


def is_there(path: str | Path) -> bool:
    """Whether something is known to be there; what cannot be looked at counts as not there, and is told by what opens it."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where the way is barred
