"""JSON lines: one record a line, each with its table's name in front, written by :mod:`analyzer.report.formats.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.report.formats.json import write_jsonl

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.report.formats import Job

KIND: Final = "text"
#: Its table of captures has their SHA-256.
HASHED: Final = True


def write(job: Job, out: TextIO) -> None:
    """All tables, one after the other."""
    job.add_hashes()
    write_jsonl(job.result, job.maker, out)
