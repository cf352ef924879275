"""CSV (RFC 4180): one table a file.

A cell of text that would begin a formula in a spreadsheet gets an apostrophe in front, because user names and banners are written by
strangers. Lists are joined by a space and a bar; times are RFC 3339 in UTC; null is an empty cell.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from analyzer.report.columns import TABLES
from analyzer.report.formats._folder import whole_folder
from analyzer.report.formats.json import RowWriter
from analyzer.report.rows import Row, RowMaker, RowSink, push_rows
from analyzer.report.visible import visible

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.formats import Job

KIND: Final = "tables"
#: Its table of captures has their SHA-256.
HASHED: Final = True
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


class _Printer(RowSink):
    def __init__(self, table: str, out: TextIO) -> None:
        self._columns = TABLES[table]
        self._csv = csv.writer(out, lineterminator="\n")
        self._clock = RowWriter(table)
        self._csv.writerow([column.name for column in self._columns])

    def receive_row(self, row: Row) -> None:
        cells: list[object] = []
        for column, value in zip(self._columns, row, strict=True):
            if value is None:
                cells.append("")
            elif isinstance(value, bool):
                cells.append("true" if value else "false")
            elif isinstance(value, int):
                cells.append(self._clock.time_text(value)[1:-1] if column.kind == "time" else value)
            elif isinstance(value, list):
                cells.append(cell_text(" | ".join([str(one) for one in value])))
            else:
                cells.append(cell_text(str(value)))
        self._csv.writerow(cells)


def cell_text(text: str) -> str:
    """Text made safe for a cell."""
    text = visible(text)
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def write(job: Job, out: TextIO) -> None:
    """The table that was asked for."""
    if job.table == "captures":
        job.add_hashes()
    write_csv(job.result, job.maker, job.table, out)


def write_folder(job: Job, folder: Path) -> None:
    """All tables."""
    job.add_hashes()
    write_csv_folder(job.result, job.maker, folder)


def write_csv(result: Result, maker: RowMaker, table: str, out: TextIO) -> None:
    """One table."""
    push_rows(table, result.sessions, result.captures, maker, _Printer(table, out))


def write_csv_folder(result: Result, maker: RowMaker, folder: Path) -> None:
    """Every table in a file of its name; tables without rows have their head alone."""
    with whole_folder(folder, private=maker.show_secrets) as part:
        for table in TABLES:
            with (part / f"{table}.csv").open("w", encoding="utf-8", newline="") as out:
                write_csv(result, maker, table, out)
