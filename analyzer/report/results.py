"""Results of ``mailtap analyze`` read back: one JSON object with all tables, or JSON lines.

All values are as they were but for octets that were no text: JSON shows them as ``\\xe9``, and so they stay.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analyzer.errors import CaptureUnreadable, NotACapture
from analyzer.places import reason, status_of
from analyzer.report.columns import TABLES, Column
from analyzer.report.frames import frame_of_columns
from analyzer.report.wording import window

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.report.tables import Report

#: The version of JSON results that is read. Columns and tables may be added without a new one.
SCHEMA_VERSION: Final = 1
#: What every line of JSON lines begins with.
_LINE: Final = '{"table"'

#: A row, as JSON has it.
Record = Mapping[str, Any]


def is_result(path: str | Path) -> bool:
    """Whether a path names a JSON or JSON lines result, and no capture.

    Raises:
        CaptureError: the file cannot be read.
    """
    status = status_of(path, CaptureUnreadable)
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    try:
        with Path(path).open("rb") as stream:
            return stream.read(64).lstrip()[:1] == b"{"
    except OSError as error:
        raise CaptureUnreadable(f"{path}: cannot be read ({reason(error)})") from error


class WrittenResult:
    """A result, table by table."""

    def __init__(self, file: Path) -> None:
        """Read the file.

        Raises:
            CaptureUnreadable: it cannot be read.
            ValueError: it is no result.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except OSError as error:
            raise CaptureUnreadable(f"{file}: cannot be read ({reason(error)})") from error
        #: what stands before the tables: the version, the times asked for
        self.head: dict[str, Any] = {}
        self._lines: list[str] = []
        if text.startswith(_LINE):
            self._lines = text.splitlines()
            return
        self.head = json.loads(text)
        if not isinstance(self.head, dict) or self.head.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"not of schema_version {SCHEMA_VERSION}")

    def rows(self, *tables: str) -> Iterator[tuple[str, Sequence[Record]]]:
        """The rows of these tables, in pieces: of one object all of a table, in the order asked for; of lines each by itself, as they stand.

        Raises:
            ValueError, TypeError, KeyError: it is no result.
        """
        if self.head:
            for table in tables:
                yield table, self.head[table]
        for line in self._lines:
            row = json.loads(line)
            if row["table"] in tables:
                yield row["table"], [row]


def load_result(file: Path) -> Report:
    """A result as a report of tables.

    Raises:
        CaptureUnreadable: the file cannot be read.
        NotACapture: it is no result, or one of a later mailtap.
    """
    from analyzer.report.tables import Report

    try:
        result = WrittenResult(file)
        records: dict[str, list[Record]] = {name: [] for name in TABLES}
        for table, rows in result.rows(*TABLES):
            records[table].extend(rows)
        frames = {name: _frame(name, rows) for name, rows in records.items()}
        warnings = _window(result.head)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise NotACapture(
            f"{file}: no result of mailtap analyze --format json or jsonl that this mailtap reads ({error})"
        ) from None
    return Report(frames=frames, warnings=warnings)


def _frame(table: str, rows: Sequence[Record]) -> pd.DataFrame:
    values = {column.name: [_value(column, row.get(column.name)) for row in rows] for column in TABLES[table]}
    return frame_of_columns(table, values, len(rows))


#: Column type -> what JSON has for it.
_KINDS: Final[dict[str, type]] = {"text": str, "word": str, "count": int, "flag": bool, "time": str, "list": list}


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, _KINDS[column.kind]) or (column.kind == "count" and isinstance(value, bool)):
        raise TypeError(f"{column.name} is {value!r:.40}")
    if column.kind == "time" and isinstance(value, str):
        return _nanoseconds(column.name, value)
    return value


def _nanoseconds(name: str, value: str) -> int:
    """A time as JSON has it, in nanoseconds since the epoch."""
    second = datetime.fromisoformat(f"{value[:19]}+00:00")
    if value[19:20] != "." or value[29:] != "Z":
        raise ValueError(f"{name} is {value!r:.40}")
    return int(second.timestamp()) * 1_000_000_000 + int(value[20:29])


def _window(head: Mapping[str, Any]) -> list[str]:
    """What a result says of the times asked for, as the run said it."""
    since, until = [None if head.get(name) is None else _nanoseconds(name, head[name]) for name in ("since", "until")]
    sentence = window(since, until, int(head.get("left_out", 0)))
    return [sentence] if sentence else []
