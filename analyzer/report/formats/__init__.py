"""Output formats, one file each; the file's name is the word after ``--format``.

A format is a module in this folder, found by its name and imported when it is used. It has

    KIND                        what it writes: one of the words below
    write(job, out)             TEXT and TABLES: to a stream of text; BINARY: to a stream of octets
    write_folder(job, folder)   FOLDER and TABLES: files in a folder, which it makes, whole or not at all (``_folder.whole_folder``)
    NEEDS                       optional: the module it cannot do without, and the extra of mailtap that brings it
    HASHED                      optional: True where the SHA-256 of the captures is part of it, which is then made as they are read
    TELLS_TIMES                 optional: True where the times asked for (``Result.window()``) are part of it
    ADAPTS                      optional: True where it looks at the encoding of what it writes to; the text of all others is UTF-8, wherever it goes
    MESSAGES                    optional: False where it lists no single message, and so no subject and no address of one
    receiver(maker)             optional: what takes the sessions as they end, so that they need not be kept (``job.glancer``);
                                it gives None where they must be

In come records, through a :class:`Job`. Formats that machines or terminals read are made without pandas. Every format escapes what
came from traffic: control characters, terminal escapes, bidi marks, and its own markup.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from analyzer.errors import UsageError, comes_with

if TYPE_CHECKING:
    from analyzer.pipeline import Result
    from analyzer.report.glance import Glancer
    from analyzer.report.rows import Row, RowMaker, RowSink

TEXT: Final = "text"  # one file of text
BINARY: Final = "binary"  # one file of octets
FOLDER: Final = "folder"  # a folder of files
TABLES: Final = "tables"  # one table as text, or all tables in a folder

#: How files of one format alone end (``.ndjson`` may be that of two); a table, so that no format is imported for its name.
SUFFIXES: Final = {
    ".csv": "csv",
    ".htm": "html",
    ".html": "html",
    ".json": "json",
    ".jsonl": "jsonl",
    ".markdown": "markdown",
    ".md": "markdown",
    ".parquet": "parquet",
    ".xlsx": "xlsx",
}
#: How files of text end; other endings that tell no format are likely slips.
TEXT_SUFFIXES: Final = ("", ".log", ".out", ".text", ".txt")
#: The format where neither a word nor a suffix tells one.
USUAL: Final = "text"


class Job:
    """What a format is given: the records of a run, and how they are to be shown.

    ``maker`` makes rows of them, with secrets masked unless it was asked to show them; ``table`` is the one table that formats of
    kind ``tables`` write to a stream; ``glancer`` has taken the sessions, where the format wants to have them as they end.
    """

    def __init__(
        self, result: Result, maker: RowMaker, version: str, table: str = "sessions", glancer: Glancer | None = None
    ) -> None:
        self.result = result
        self.maker = maker
        self.version = version
        self.table = table
        self.glancer = glancer

    def push(self, table: str, sink: RowSink) -> None:
        """All rows of one table into a sink, one at a time."""
        from analyzer.report.rows import push_rows

        push_rows(table, self.result.sessions, self.result.captures, self.maker, sink)

    def rows(self, table: str) -> list[Row]:
        """All rows of one table."""
        from analyzer.report.rows import RowList

        sink = RowList()
        self.push(table, sink)
        return sink.rows

    def add_hashes(self) -> None:
        """Fill in the SHA-256 of the captures that have none, for formats that show it."""
        from analyzer.report.tables import add_hashes

        add_hashes(self.result)


def names() -> list[str]:
    """The formats there are, sorted."""
    found = {name.partition(".")[0] for name in os.listdir(os.path.dirname(__file__))}  # noqa: PTH120, PTH208 - quick
    return sorted(name for name in found if not name.startswith("_"))


def format_of(suffix: str) -> str:
    """The format that a file with this ending (``.html``, in any case) is of; ``text`` where it tells none."""
    return SUFFIXES.get(suffix.lower(), USUAL)


def load(name: str) -> Any:
    """The module of a format.

    Raises:
        UsageError: there is no such format, or what it needs is not installed.
    """
    if name not in names():
        raise UsageError(f"there is no format {name!r}; formats: {', '.join(names())}")
    module = import_module(f"{__name__}.{name}")
    needed, extra = getattr(module, "NEEDS", ("analyzer", ""))
    if find_spec(needed) is None:
        raise UsageError(f"--format {name} needs {needed}, which is not installed; {comes_with(extra)}")
    return module
