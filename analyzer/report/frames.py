"""Typed pandas columns: rows of a table become a data frame, the same with and without pyarrow installed.

Text is pandas' ``string`` type over Python objects, so that octets which were no UTF-8 survive as lone surrogates. ``word``
columns are categories; ``severity`` and ``confidence`` are ordered ones, so that they sort and compare as they should.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from analyzer.model import SEVERITIES
from analyzer.report.columns import TABLES, Column

if TYPE_CHECKING:
    import pandas as pd

#: Words that have an order, from least to most.
ORDERED: Final[dict[str, tuple[str, ...]]] = {
    "severity": SEVERITIES,
    "confidence": ("low", "medium", "high"),
}


#: What pandas can hold, in nanoseconds: the years 1678 to 2261. Times beyond (certificates until 9999) stand at its ends.
FIRST_NS: Final = -9_214_560_000_000_000_000
LAST_NS: Final = 9_214_646_399_999_999_999


def _bounded(moment: int | None) -> int | None:
    return None if moment is None else min(max(moment, FIRST_NS), LAST_NS)


def series_of(column: Column, values: Sequence[Any]) -> pd.Series[Any]:
    """Values of a column as a typed series. Times are nanoseconds since the epoch, None is a missing value of any type."""
    import pandas as pd

    if column.kind == "time":
        moments = pd.Series(pd.array([_bounded(value) for value in values], dtype="Int64"))
        return pd.to_datetime(moments, unit="ns", utc=True).astype("datetime64[ns, UTC]")
    if column.kind == "count":
        return pd.Series(pd.array(values, dtype="Int64"))
    if column.kind == "flag":
        return pd.Series(pd.array(values, dtype="boolean"))
    if column.kind == "list":
        return pd.Series([[] if value is None else list(value) for value in values], dtype="object")
    text = pd.Series(pd.array(values, dtype=pd.StringDtype(storage="python")))
    if column.kind != "word":
        return text
    words = ORDERED.get(column.name)
    if words is None:
        return text.astype("category")
    known = pd.Index(pd.array(words, dtype=pd.StringDtype(storage="python")))
    return text.astype(pd.CategoricalDtype(known, ordered=True))


def frame_of_columns(table: str, values: Mapping[str, Sequence[Any]], size: int) -> pd.DataFrame:
    """Columns by name as a data frame of ``size`` rows; a column that is not given is there, and empty."""
    import pandas as pd

    columns = TABLES[table]
    frame = pd.DataFrame({column.name: series_of(column, values.get(column.name, [None] * size)) for column in columns})
    # Names of columns are plain objects: inferred strings would be of another type with pyarrow installed.
    frame.columns = pd.Index([column.name for column in columns], dtype="object")
    return frame


def frame_of(table: str, rows: Sequence[Sequence[object]]) -> pd.DataFrame:
    """Rows of a table (see :mod:`analyzer.report.rows`) as a typed data frame."""
    names = [column.name for column in TABLES[table]]
    return frame_of_columns(table, {name: [row[index] for row in rows] for index, name in enumerate(names)}, len(rows))


def retyped(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame cut out of, or joined from, frames of this table, as if it had been made of its rows: types, categories, index."""
    import pandas as pd

    frame = frame.reset_index(drop=True)
    for column in TABLES[table]:
        if column.kind == "word":
            text = frame[column.name].astype(pd.StringDtype(storage="python"))
            frame[column.name] = series_of(column, text.tolist())
    frame.columns = pd.Index([column.name for column in TABLES[table]], dtype="object")
    return frame
