"""Where alerts go, one file a kind; the configuration and ``--alerts`` name a sink by its scheme.

    jsonl:-   jsonl:/var/log/mailtap.jsonl                         one JSON object a line
    syslog://host   syslog+tcp://host   syslog+tls://host?ca=FILE   unix:/dev/log          RFC 5424
    https://host/path   http://host/path                           a POST an alert

A sink is a module in this folder, found by its name and imported when it is used; nothing else needs to know of it. It has

    SCHEMES                 the words before the first colon that mean this sink
    EXAMPLE                 one line that shows how such a sink is named
    make(word, options)     the sink, an ``AlertSink``; raises UsageError where the word makes no sense

Every sink escapes what came from traffic, so that an account name can neither begin a new line, move a terminal's cursor, nor turn the
direction of writing. Sinks that go over the network keep alerts in a spool (``_spool``) until their receiver has them.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from analyzer.errors import UsageError
from analyzer.monitor.base import AlertSink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from analyzer.monitor.config import MonitorSettings

#: Sinks at once.
MAX_SINKS: Final = 32


@dataclass(slots=True)
class SinkOptions:
    """What sinks are told beside their own word."""

    #: folder for what a receiver has not taken yet
    spool: str = "mailtap.spool"
    #: octets of alerts that may wait there, for each sink
    spool_bytes: int = 64 << 20
    #: file, or environment variable, that holds the secret with which webhooks are signed
    secret_file: str | None = None
    secret_env: str | None = None
    #: certificates (PEM) by which webhooks' receivers are checked, in place of the system's
    ca_file: str | None = None
    version: str = ""


def names() -> list[str]:
    """The kinds there are, sorted."""
    found = {name.partition(".")[0] for name in os.listdir(os.path.dirname(__file__))}  # noqa: PTH120, PTH208 - quick
    return sorted(name for name in found if not name.startswith("_"))


def load(scheme: str) -> Any | None:
    """The module of the sink with this scheme; None for none."""
    for name in names():
        module = import_module(f"{__name__}.{name}")
        if scheme in module.SCHEMES:
            return module
    return None


def examples() -> list[str]:
    """One line a kind that shows how such a sink is named."""
    return [import_module(f"{__name__}.{name}").EXAMPLE for name in names()]


def make_sink(word: str, options: SinkOptions) -> AlertSink:
    """The sink that a word of the user's names; nothing is opened yet.

    Raises:
        UsageError: there is no such sink, or the word makes no sense to it. The word is not repeated whole: it may hold a secret.
    """
    scheme, colon, _ = word.partition(":")
    module = load(scheme.lower()) if colon else None
    if module is None:
        shown = ascii(scheme[:20]) if colon else "a word without a colon"
        raise UsageError(f"there is no sink for alerts that begins with {shown}; write one of: {'; '.join(examples())}")
    sink: AlertSink = module.make(word, options)
    return sink


def make_sinks(settings: MonitorSettings) -> list[AlertSink]:
    """The sinks that the settings name.

    Raises:
        UsageError: one of them makes no sense, or is named twice.
    """
    return make_all(settings.sink_words(), settings.sink_options())


def left_behind(folder: str, sinks: Iterable[AlertSink]) -> list[str]:
    """Sentences about spools in the folder whose receiver is no longer named, with alerts in them; none where it may not be entered.

    What another mailtap has open is delivered by that one.
    """
    import sqlite3
    from pathlib import Path

    from analyzer.monitor.sinks._spool import in_use
    from analyzer.monitor.sinks._spooled import SpooledSink

    used = {sink.spool_path for sink in sinks if isinstance(sink, SpooledSink)}
    sentences: list[str] = []
    paths: list[Path] = []
    with contextlib.suppress(OSError):
        paths = sorted(path for path in Path(folder).iterdir() if path.suffix == ".db")
    for path in paths:
        if path in used:
            continue
        try:
            with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as spool:
                count = int(spool.execute("SELECT count(*) FROM alerts").fetchone()[0])
        except sqlite3.Error:
            continue  # no spool of ours
        if count and not in_use(path):
            sentences.append(
                f"{path} holds {count:,} alerts for a receiver that is no longer named: name it again to have them delivered, "
                "or delete the file"
            )
    return sentences


def make_all(words: Iterable[str], options: SinkOptions) -> list[AlertSink]:
    """The sinks that the words name.

    Raises:
        UsageError: one of them makes no sense, is named twice, or there are too many.
    """
    sinks: dict[str, AlertSink] = {}
    for word in words:
        sink = make_sink(word, options)
        if sink.name in sinks:
            raise UsageError(f"the sink {sink.name} is named twice; name it once")
        sinks[sink.name] = sink
        if len(sinks) > MAX_SINKS:
            raise UsageError(f"more than {MAX_SINKS} sinks for alerts; name fewer")
    return list(sinks.values())
