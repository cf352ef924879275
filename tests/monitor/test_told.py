"""What a running monitor says of itself on standard error, and what its end says."""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.monitor.config import MonitorSettings
from analyzer.monitor.service import TROUBLE_AGAIN_S, Monitor

FULL = "the store cannot be written (disk is full); rows wait in memory"
OLD = "what is too old or too much could not be removed (disk is full); it is tried again"


@dataclass
class Writer:
    """Of a writer to the store, its troubles."""

    rows_trouble: str = ""
    retention_trouble: str = ""
    faults: list[str] = field(default_factory=list)


def silent() -> tuple[Monitor, list[str]]:
    """A monitor that is not started, and what it says."""
    said: list[str] = []
    return Monitor(MonitorSettings(follow=["-"], store=""), say=said.append), said


def test_that_rows_cannot_be_written_is_said_though_retention_spoke_first() -> None:
    monitor, said = silent()
    writer = monitor._writer = Writer(retention_trouble=OLD)  # type: ignore[assignment]
    monitor._say_troubles(0.0)
    writer.rows_trouble = FULL
    monitor._say_troubles(1.0)
    monitor._say_troubles(2.0)
    assert said == [f"warning: retention: {OLD}", f"warning: store: {FULL}"]
    writer.rows_trouble = ""
    monitor._say_troubles(3.0)
    assert said[2:] == ["store: all is well again"]
    writer.retention_trouble = ""
    monitor._say_troubles(4.0)
    assert said[3:] == ["retention: all is well again"]
    writer.rows_trouble = FULL
    monitor._say_troubles(5.0)
    monitor._say_troubles(5.0 + TROUBLE_AGAIN_S)
    assert said[4:] == [f"warning: store: {FULL}"] * 2
