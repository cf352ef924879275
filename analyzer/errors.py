"""What mailtap raises, and the exit code of the command line that goes with it.

    MailtapError                 everything below; never raised by traffic itself
    |-- UsageError               the call or the command line is wrong                 exit 2
    |-- CaptureError             an input cannot be used                               exit 3
    |   |-- CaptureNotFound      there is no such file or folder
    |   |-- CaptureUnreadable    permission, I/O error, a compressed file cut or broken at its start
    |   `-- NotACapture          the content is no capture format that mailtap knows
    |-- EngineError              the second engine is missing, or cannot do what was asked   exit 3
    |-- OutputError              the result could not be written (full disk, no permission)   exit 3
    `-- InternalError            a fault of mailtap itself                             exit 4

Each message says what happened, where, and what to do about it.
"""

from __future__ import annotations


class MailtapError(Exception):
    """Base of every error that mailtap raises on purpose."""

    exit_code = 4


class UsageError(MailtapError):
    """The call or the command line makes no sense."""

    exit_code = 2


class CaptureError(MailtapError):
    """An input cannot be used."""

    exit_code = 3


class CaptureNotFound(CaptureError):
    """There is no such file or folder."""


class CaptureUnreadable(CaptureError):
    """The file is there but cannot be read."""


class NotACapture(CaptureError):
    """The content is of no capture format that mailtap knows."""


class EngineError(MailtapError):
    """The second engine (tshark) is missing, too old, or failed."""

    exit_code = 3


class OutputError(MailtapError):
    """The result could not be written."""

    exit_code = 3


class InternalError(MailtapError):
    """A fault of mailtap itself."""

    exit_code = 4


def comes_with(extra: str) -> str:
    """How a package that is missing is installed: with an extra of mailtap, wherever mailtap itself was installed from."""
    return f"pip install 'mailtap[{extra}]' brings it (in a clone of mailtap: pip install '.[{extra}]')"
