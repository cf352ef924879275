"""Times as users give them, and other arguments of the library in forms that Python has for them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
from support.traffic import START_NS, Talk, capture

import analyzer
from analyzer.errors import UsageError
from analyzer.times import parse_time

TALK = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye"
NOON_NS = 1767268800 * 10**9


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk().play(TALK).close().frames()))
    return path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("2026-01-01T12:00", NOON_NS),
        ("2026-01-01T13:00:00+01:00", NOON_NS),
        ("2026-01-01T12:00:00.123456789Z", NOON_NS + 123456789),
        ("2026-01-01T12:00:00.1234567", NOON_NS + 123456700),
        (datetime(2026, 1, 1, 12), NOON_NS),  # noqa: DTZ001 - that is the case
        (datetime(2026, 1, 1, 12, tzinfo=UTC), NOON_NS),
        (datetime(2026, 1, 1, 13, microsecond=5, tzinfo=timezone(timedelta(hours=1))), NOON_NS + 5000),
        (pd.Timestamp("2026-01-01T12:00:00.123456789"), NOON_NS + 123456789),
        (pd.Timestamp("2026-01-01T13:00", tz="Europe/Berlin"), NOON_NS),
        (pd.Timestamp(NOON_NS, tz="UTC"), NOON_NS),
    ],
)
def test_times_are_words_or_objects(given: str | datetime | None, expected: int | None) -> None:
    assert parse_time(given) == expected


@pytest.mark.parametrize("given", ["yesterday", "", 5, pd.NaT, b"2026-01-01", ["2026-01-01"]])
def test_what_is_no_time_is_said(given: object) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_time(given)  # type: ignore[arg-type]


def test_analyze_and_filter_take_the_same_times(talk: Path) -> None:
    for before in ("2026-03-02T09:00", datetime(2026, 3, 2, 9), pd.Timestamp(START_NS, tz="Asia/Tokyo")):  # noqa: DTZ001
        assert len(analyzer.analyze(talk, since=before).sessions) == 1
        assert len(analyzer.analyze(talk, until=before).sessions) == 1
        assert len(analyzer.analyze(talk).filter(since=before).sessions) == 1
    after = pd.Timestamp(START_NS, tz="UTC") + pd.Timedelta(days=1)
    assert analyzer.analyze(talk, since=after).sessions.empty
    assert analyzer.analyze(talk).filter(since=after).sessions.empty


def test_paths_are_texts_octets_or_path_objects(talk: Path) -> None:
    for given in (str(talk), os.fsencode(talk), talk, [os.fsencode(talk)]):
        assert len(analyzer.analyze(given).sessions) == 1
    for wrong in (7, [7], None):
        with pytest.raises(UsageError, match="named by their paths"):
            analyzer.analyze(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("ports", [{"x": "imap"}, {1143: None}, {-1: "imap"}, {"": "imap"}])
def test_ports_that_are_none_are_said(talk: Path, ports: dict[int, str]) -> None:
    with pytest.raises(UsageError, match=r"TCP port|unknown mail service"):
        analyzer.analyze(talk, ports=ports)
