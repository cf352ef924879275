"""What a running monitor says of itself on standard error, and what its end says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from analyzer.capture.follow import FolderSource
from analyzer.errors import UsageError
from analyzer.findings.base import Finding
from analyzer.findings.catalogue import RULES
from analyzer.monitor import privileges
from analyzer.monitor.base import AlertSink, alert_of
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


def test_a_configuration_that_only_root_may_read_is_said_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by the first SIGHUP, which comes weeks later."""
    monitor, said = silent()
    monitor._configuration = tmp_path / "monitor.toml"
    checked: list[list[Path]] = []

    def check(
        user: privileges.User | None, writable: object, readable: object, *, secret: Iterable[Path], **_: object
    ) -> None:
        checked.append(list(secret))
        if monitor._configuration in checked[-1]:
            raise UsageError("nobody may not read it")

    monkeypatch.setattr(privileges, "check", check)
    monkeypatch.setattr(privileges, "close_inherited", lambda _: 0)
    monkeypatch.setattr(privileges, "drop", lambda user: "runs as nobody")
    monkeypatch.setattr(privileges, "choose_user", lambda *_, **__: None)
    monitor._leave_rights_behind()
    # Who does not change may read what he has just read.
    assert said == []
    nobody = privileges.User("nobody", os.geteuid(), os.getegid(), (), "/")
    monkeypatch.setattr(privileges, "choose_user", lambda *_, **__: nobody)
    monitor._leave_rights_behind()
    assert said == [
        "warning: SIGHUP will not be able to read the configuration: nobody may not read it",
        "runs as nobody",
    ]
    assert checked == [[], [monitor._configuration]]


def test_who_is_in_trouble_is_named_once(tmp_path: Path) -> None:
    monitor, said = silent()
    sources = [FolderSource("grow.pcap"), FolderSource("ring"), FolderSource("-")]
    sources[0].trouble = "grow.pcap was begun anew"
    sources[1].trouble = "ring/r_00001.pcap has gone"
    sources[2].trouble = "its writer has ended: -"
    sink = AlertSink("jsonl:out/a.jsonl")
    sink.trouble = "out/a.jsonl: No space left on device"
    hook = AlertSink("https://h/... (0011)")
    hook.trouble = "the receiver answered 500: it waits"
    monitor.state.sources, monitor.state.sinks = list(sources), [sink, hook]
    monitor._say_troubles(0.0)
    assert said == [
        "warning: grow.pcap was begun anew",
        "warning: ring: ring/r_00001.pcap has gone",
        "warning: -: its writer has ended: -",
        "warning: alerts to jsonl:out/a.jsonl: No space left on device",
        "warning: alerts to https://h/... (0011): the receiver answered 500: it waits",
    ]


def test_no_alert_sends_its_reader_to_a_table_that_he_has_not() -> None:
    told = [
        alert_of(Finding(rule, rule.severity, "high", None, 0, 0, 0, None, "", 0), "here").remediation for rule in RULES
    ]
    assert not [one for one in told if "table" in one]


def test_lost_files_stand_in_what_is_said_at_the_end(tmp_path: Path) -> None:
    monitor, said = silent()
    source = FolderSource(str(tmp_path))
    monitor.state.sources = [source]
    monitor._say_what_was()
    source.lost_files = 14
    monitor._say_what_was()
    assert [one.partition(" session")[0] for one in said] == [
        "stopped: 0 packets, 0 lost, 0",
        "stopped: 0 packets, 0 lost, 14 files lost unread, 0",
    ]
