"""The cycle collector rests while records and tables are made, and goes on afterwards, whatever happens meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import analyzer
from analyzer.collecting import uncollected
from analyzer.report import tables

SAMPLES = Path(__file__).parents[1] / "captures"


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


def test_it_rests_and_goes_on() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_where_something_fails() -> None:
    with pytest.raises(KeyboardInterrupt), uncollected():
        raise KeyboardInterrupt
    assert gc.isenabled()


def test_who_had_it_off_has_it_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_reading_and_making_a_table_are_such_times(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    push_rows: Callable[..., None] = tables.push_rows

    def watch(*said: object) -> None:
        seen.append(gc.isenabled())
        push_rows(*said)

    monkeypatch.setattr(tables, "push_rows", watch)
    report = analyzer.analyze(SAMPLES / "pop3-login.pcap", progress=lambda *_: seen.append(gc.isenabled()))
    assert gc.isenabled()
    assert len(report.sessions)
    assert len(seen) > 1
    assert not any(seen)
    assert gc.isenabled()
