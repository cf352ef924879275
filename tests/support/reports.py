"""Reports of the sample captures, each made once a test run, and tables with rows made up."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

import analyzer
from analyzer.report.columns import TABLES
from analyzer.report.frames import frame_of_columns

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = sorted(path.name for path in CAPTURES.glob("*.pcap*"))


@cache
def report_of(*samples: str) -> analyzer.Report:
    return analyzer.analyze([CAPTURES / name for name in samples], key=b"tests", progress=False)


def made_up(table: str, rows: list[dict[str, object]]) -> pd.DataFrame:
    """A table with these rows; what a row does not say is null."""
    names = [column.name for column in TABLES[table]]
    assert not {name for row in rows for name in row} - set(names)
    return frame_of_columns(table, {name: [row.get(name) for row in rows] for name in names}, len(rows))
