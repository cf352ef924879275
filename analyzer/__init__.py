"""mailtap: a network traffic analyzer for mail protocols.

    import analyzer

    report = analyzer.analyze("captures/office.pcapng")
    report.credentials          # a pandas DataFrame: who logged in where, how, and whether it was accepted

The names below are the public interface. What is heavy behind them (pandas, the dissectors) is imported at first use,
so that ``import analyzer`` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.errors import (
    CaptureError,
    CaptureNotFound,
    CaptureUnreadable,
    InternalError,
    MailtapError,
    NotACapture,
    OutputError,
    UsageError,
)

if TYPE_CHECKING:
    from analyzer.model import Secret
    from analyzer.monitor.store_report import load
    from analyzer.pipeline import analyze
    from analyzer.report.selection import concat
    from analyzer.report.tables import Report

__all__ = [
    "CaptureError",
    "CaptureNotFound",
    "CaptureUnreadable",
    "InternalError",
    "MailtapError",
    "NotACapture",
    "OutputError",
    "Report",
    "Secret",
    "UsageError",
    "__version__",
    "analyze",
    "concat",
    "load",
]

__version__ = "0.1.0"

#: Where the names live that are imported at first use.
_LAZY = {
    "Report": "analyzer.report.tables",
    "Secret": "analyzer.model",
    "analyze": "analyzer.pipeline",
    "concat": "analyzer.report.selection",
    "load": "analyzer.monitor.store_report",
}

if not TYPE_CHECKING:  # a type checker that saw __getattr__ would believe in any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use."""
        if name not in _LAZY:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        from importlib import import_module

        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, lazy ones included."""
    return sorted({*globals(), *__all__})
