"""XLSX: a workbook with a sheet for every table, after one that says what was found. Needs XlsxWriter.

Text from traffic is written as text, whatever it looks like: no cell is a formula, a link or a number in disguise. Times are dates of
the spreadsheet, in UTC, to the millisecond it can hold.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from analyzer.report.columns import TABLES
from analyzer.report.overview import make_overview
from analyzer.report.rows import Row, RowSink
from analyzer.report.visible import visible

if TYPE_CHECKING:
    from analyzer.report.formats import Job

KIND: Final = "binary"
#: Its table of captures has their SHA-256.
HASHED: Final = True
NEEDS: Final = ("xlsxwriter", "xlsx")
#: Rows of a sheet, its head included, and characters of a cell: limits of the file format.
MAX_ROWS: Final = 1_048_576
MAX_CELL: Final = 32_767
#: Width of columns by type, in characters.
WIDTHS: Final = {"text": 22, "word": 14, "count": 10, "flag": 8, "time": 22, "list": 28}


class _Sheet(RowSink):
    """Writes one table to one sheet."""

    def __init__(self, book: Any, table: str, styles: dict[str, Any]) -> None:
        self.columns = TABLES[table]
        self.rows = 0
        self._sheet = book.add_worksheet(table)
        self._time = styles["time"]
        self._sheet.freeze_panes(1, 0)
        for index, column in enumerate(self.columns):
            self._sheet.set_column(index, index, max(WIDTHS[column.kind], len(column.name) + 2))
            self._sheet.write_string(0, index, column.name, styles["head"])

    def receive_row(self, row: Row) -> None:
        self.rows += 1
        if self.rows >= MAX_ROWS:
            return
        sheet, line = self._sheet, self.rows
        for index, value in enumerate(row):
            if value is None:
                continue
            if isinstance(value, bool):
                sheet.write_boolean(line, index, value)
            elif isinstance(value, int):
                if self.columns[index].kind == "time":
                    self._write_time(line, index, value)
                else:
                    sheet.write_number(line, index, value)
            else:
                text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
                if text:
                    sheet.write_string(line, index, visible(text)[:MAX_CELL])

    def _write_time(self, line: int, index: int, timestamp_ns: int) -> None:
        try:
            moment = datetime.fromtimestamp(timestamp_ns // 1_000_000_000, UTC)
            moment = moment.replace(microsecond=timestamp_ns % 1_000_000_000 // 1000, tzinfo=None)
        except (OverflowError, ValueError):
            moment = datetime.max  # noqa: DTZ901 - a certificate that never ends, or a damaged capture
        if moment.year < 1900:
            self._sheet.write_string(line, index, moment.isoformat(sep=" "))  # before a spreadsheet's first day
        else:
            self._sheet.write_datetime(line, index, moment, self._time)

    def close(self) -> None:
        """Make the head a filter."""
        self._sheet.autofilter(0, 0, min(self.rows, MAX_ROWS - 1), len(self.columns) - 1)


def write(job: Job, out: BinaryIO) -> None:
    """The workbook."""
    import xlsxwriter

    job.add_hashes()
    overview = make_overview(job)
    content = io.BytesIO()
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
        "default_date_format": "yyyy-mm-dd hh:mm:ss.000",
    }
    with xlsxwriter.Workbook(content, options) as book:
        # The same run gives the same file: it is dated by its traffic.
        second = max(int(overview.total.first_ns) // 1_000_000_000, 315_532_800)
        created = datetime.fromtimestamp(min(second, 4_102_444_800), UTC).replace(tzinfo=None)
        book.set_properties({"title": "mailtap report", "created": created})
        styles = {
            "head": book.add_format({"bold": True, "bottom": 1}),
            "bold": book.add_format({"bold": True}),
            "time": book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"}),
            "wrap": book.add_format({"text_wrap": True, "valign": "top"}),
        }
        front = book.add_worksheet("overview")
        sheets = []
        for table in TABLES:
            sheet = _Sheet(book, table, styles)
            job.push(table, sheet)
            sheet.close()
            sheets.append((table, sheet.rows))
        _write_front(front, overview, sheets, styles)
    out.write(content.getvalue())


def _write_front(front: Any, overview: Any, sheets: list[tuple[str, int]], styles: dict[str, Any]) -> None:
    """The first sheet: the verdict, what to do first, what the capture cannot tell, and how many rows there are."""
    front.set_column(0, 0, 16)
    front.set_column(1, 1, 10)
    front.set_column(2, 3, 70)
    front.write_string(0, 0, f"mailtap {overview.version}", styles["bold"])
    front.write_string(1, 0, visible(overview.verdict), styles["bold"])
    line = 3
    for name, title in enumerate(("severity", "times", "what to do first", "how")):
        front.write_string(line, name, title, styles["head"])
    for action in overview.actions:
        line += 1
        front.write_string(line, 0, action.severity)
        front.write_number(line, 1, action.count)
        front.write_string(line, 2, visible(action.title), styles["wrap"])
        front.write_string(line, 3, visible(action.remediation)[:MAX_CELL], styles["wrap"])
    line += 2
    front.write_string(line, 0, "sheet", styles["head"])
    front.write_string(line, 1, "rows", styles["head"])
    for table, rows in sheets:
        line += 1
        front.write_string(line, 0, table)
        front.write_number(line, 1, rows)
        if rows >= MAX_ROWS:
            front.write_string(
                line, 2, f"a sheet holds no more than {MAX_ROWS - 1:,} rows; --format parquet has them all"
            )
    line += 2
    if overview.limits:
        front.write_string(line, 0, "What this capture cannot tell", styles["head"])
    for limit in overview.limits:
        line += 1
        front.write_string(line, 0, visible(limit)[:MAX_CELL])
