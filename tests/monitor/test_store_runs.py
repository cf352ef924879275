"""Reports of a store that several starts of the monitor have written: which of them a frame is in, and what was not counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.stores import BEGAN_NS, STEP_NS, made_session
from support.waiting import PATIENCE

from analyzer.capture.base import CaptureStats
from analyzer.cli import run_command
from analyzer.monitor import store_place
from analyzer.monitor.batch import Batch
from analyzer.monitor.store import Store, open_store
from analyzer.monitor.store_report import load_result
from analyzer.sessions.records import Session


def counted(first: int, last: int, *, name: str = "eth0", packets: int = 10) -> CaptureStats:
    """What a run has counted from one made-up session to another."""
    stats = CaptureStats(name)
    stats.format, stats.packets = "ring", packets
    stats.first_ns, stats.last_ns = BEGAN_NS + first * STEP_NS, BEGAN_NS + last * STEP_NS + STEP_NS // 2
    return stats


def seen(number: int, frame: int = 1) -> Session:
    """The made-up session of a number, from this frame on."""
    session = made_session(number)
    session.first_frame, session.last_frame = frame, frame + 8
    for one in session.credentials or ():
        one.frame = frame
    return session


def names(store: Store) -> tuple[list[str], list[str]]:
    """What the captures of a report are called, and what those of its sessions."""
    result = load_result(store)
    return [stats.name for stats in result.captures], [session.capture for session in result.sessions]


def remarks(store: Store) -> list[str]:
    """What a report says of runs."""
    return [one for one in load_result(store).warnings if "packets" in one]


def test_a_frame_is_told_with_the_run_that_it_is_in(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(Batch([(seen(0), True), (seen(1), True)], captures=[counted(0, 1)]))
    store.write(Batch([(seen(100), True)], captures=[counted(100, 100)]))
    runs, placed = names(store)
    assert runs == ["eth0, from 2026-05-28 20:26:40 UTC", "eth0, from 2026-05-28 20:28:20 UTC"]
    assert placed == [runs[0], runs[0], runs[1]]
    assert remarks(store) == []
    assert run_command(["report", store.name]) == 0
    text = capsys.readouterr().out
    assert "#1:1" in text
    # Both are told where they are told apart, and the table of captures says which is which.
    assert run_command(["report", store.name, "--since", "2026-05-28T20:28:00Z"]) == 0
    assert runs[1] in capsys.readouterr().out
    assert run_command(["report", store.name, "--format", "csv", "--table", "sessions"]) == 0
    table = capsys.readouterr().out
    assert (table.count(runs[0]), table.count(runs[1])) == (2, 1)


def test_what_is_told_once_keeps_its_name(store: Store) -> None:
    store.write(Batch([(seen(0), True)], captures=[counted(0, 1), counted(0, 1, name="eth1")]))
    assert names(store) == (["eth0", "eth1"], ["eth0"])


def test_runs_of_one_second_are_told_apart(store: Store) -> None:
    first, second = counted(0, 0), counted(0, 1)
    first.last_ns, second.first_ns = first.first_ns + 1, first.first_ns + 2
    store.write(Batch(captures=[first]))
    store.write(Batch(captures=[second]))
    assert names(store)[0] == ["eth0, from 2026-05-28 20:26:40 UTC", "eth0, from 2026-05-28 20:26:40.000000002 UTC"]


def test_sources_of_two_sensors_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_place, "BUSY_S", PATIENCE)
    path = tmp_path / "shared.db"
    for sensor in ("attic", "cellar"):
        store = open_store(str(path), sensor=sensor)
        session = seen(0)
        session.sensor = sensor
        store.write(Batch([(session, True)], captures=[counted(0, 0)]))
        store.close()
    reader = open_store(str(path), create=False)
    runs, placed = names(reader)
    assert runs == [f"eth0 on {sensor}, from 2026-05-28 20:26:40 UTC" for sensor in ("attic", "cellar")]
    assert placed == runs
    assert [one.capture for one in load_result(reader, sensor="attic").sessions] == ["eth0"]
    reader.close()


def test_sessions_whose_packets_were_not_counted_are_said(store: Store) -> None:
    """As a kill left it where counts came to the store by themselves."""
    store.write(Batch([(seen(0), True)], captures=[counted(0, 0)]))
    store.write(Batch([(seen(50, frame=40), True), (seen(60, frame=3), True)]))
    store.write(Batch([(seen(90), True)], captures=[counted(90, 90)]))
    runs, placed = names(store)
    # Frames count on in a run: the third session is of neither that is known.
    assert placed == [runs[0], runs[0], "eth0", runs[1]]
    (said,) = remarks(store)
    assert said.startswith("eth0: the packets of 2 sessions are not in the numbers")


def test_sessions_of_a_run_that_counted_nothing_are_said(store: Store) -> None:
    store.write(Batch([(seen(0), True)], captures=[counted(0, 0, packets=0)]))
    (said,) = remarks(store)
    assert said.startswith("eth0: the packets of 1 session are not in the numbers")
    store.write(Batch([(seen(90), True)], captures=[counted(90, 90)]))
    assert names(store) == (["eth0"], ["eth0", "eth0"])
    assert remarks(store) == [said]
