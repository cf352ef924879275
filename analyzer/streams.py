"""The streams that a command is started with: standard input, output and error, closed ones among them.

A result is UTF-8 wherever it goes, because it is read by programs, or says of itself that it is (HTML). What is laid out for a terminal has
the letters of the terminal's encoding, and escapes for all others.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from analyzer.errors import OutputError

#: Errors of a full disk, in whatever is written last.
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Other names of standard output. To open one of them would cut the file off that the shell opened to append to.
STDOUT_NAMES: Final = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def prepare() -> None:
    """Put something in the place of streams that were closed when the process began (``>&-``), and let no letter stop standard output.

    Python has None for a closed stream, and the next file that is opened gets its number: what somebody says would go into a result. Here
    standard input cannot be read and standard output cannot be written, which is told as of any other; what is said on standard error is lost,
    as whoever closed it wanted.
    """
    # In the order of their numbers, because an opened file gets the lowest that is free.
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_WRONLY), encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_RDWR), "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def write_stdout(write: Callable[[Any], None], binary: bool = False, utf8: bool = False) -> None:
    """Let something write all of a result to standard output; ``utf8``: whatever the terminal's encoding is.

    Raises:
        OutputError: it could not be written, or not to its end.
    """
    try:
        if utf8 and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8", errors="strict")
        write(sys.stdout.buffer if binary else sys.stdout)
        sys.stdout.flush()
    except SystemExit:  # how rich says that nobody reads on
        raise reader_gone() from None
    except OSError as error:
        raise unwritten(error) from None


def reader_gone() -> OutputError:
    """What to say where nobody reads standard output to its end."""
    _give_up()
    return OutputError(
        "standard output: its reader went away before the end, the result is cut off; -o FILE keeps it whole"
    )


def unwritten(error: OSError) -> OutputError:
    """What to say where standard output could not be written."""
    if isinstance(error, BrokenPipeError):
        return reader_gone()
    _give_up()
    said = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
    cure = "free some space, or write" if error.errno in NO_ROOM else "write"
    return OutputError(f"standard output: the result could not be written ({said}); {cure} elsewhere with -o")


def _give_up() -> None:
    """What is still in the buffer must not raise again at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
