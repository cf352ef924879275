from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.alerts import HOSTILE, alert, state
from support.waiting import PATIENCE, until

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.sinks import SinkOptions, jsonl, make_sink
from analyzer.report.columns import FINDINGS
from analyzer.report.visible import visible


def sink(path: Path) -> jsonl.JsonLines:
    made = jsonl.make(f"jsonl:{path}", SinkOptions())
    made.open()
    return made


def objects(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_a_line_has_the_columns_of_a_finding_and_those_of_an_alert(tmp_path: Path):
    path = tmp_path / "alerts.jsonl"
    one = sink(path)
    one.deliver([alert(1)])
    one.close()
    (told,) = objects(path)
    assert set(told) == {column.name for column in FINDINGS} | {"alert", "raised", "count", "sensor", "client_port"}
    assert told["alert"] == "finding"
    assert told["time"] == "2026-03-02T09:00:00.000000001Z"
    assert told["raised"] == "2026-03-02T09:00:00.250000001Z"
    assert (told["rule"], told["username"], told["references"]) == (
        "plaintext-password",
        "user1@example.test",
        ["RFC 8314"],
    )
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_nothing_from_traffic_leaves_its_line_or_reaches_a_terminal(tmp_path: Path):
    path = tmp_path / "alerts.jsonl"
    one = sink(path)
    one.deliver([alert(1, username=HOSTILE, detail=HOSTILE * 40)])
    one.close()
    content = path.read_bytes()
    assert content.count(b"\n") == 1
    assert all(0x20 <= octet < 0x7F for octet in content.rstrip(b"\n"))
    (told,) = objects(path)
    assert told["username"] == visible(HOSTILE)
    assert len(content) < 10_000


def test_a_file_is_opened_anew_after_it_was_moved_away(tmp_path: Path):
    path, moved = tmp_path / "alerts.jsonl", tmp_path / "alerts.jsonl.1"
    one = jsonl.make(f"jsonl:{path}", SinkOptions())
    dispatcher = AlertDispatcher([one], state())
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    until(lambda: one.delivered == 1)
    path.rename(moved)
    dispatcher.raise_alert(alert(2))
    until(lambda: one.delivered == 2)
    dispatcher.reopen()
    dispatcher.raise_alert(alert(3))
    assert dispatcher.close(PATIENCE)
    assert [told["frame"] for told in objects(moved)] == [8, 9]
    assert [told["frame"] for told in objects(path)] == [10]


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file grows beyond a size: the full disk that a test can have everywhere."""
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def test_a_full_disk_keeps_lines_whole_and_waiting(tmp_path: Path):
    path = tmp_path / "alerts.jsonl"
    one = sink(path)
    with full_disk(2000):
        one.deliver([alert(number) for number in range(5)])
        assert 0 < one.delivered < 5
        assert one.waiting == 5 - one.delivered
        assert "alerts.jsonl" in one.trouble
        one.deliver([alert(5)])
        one.idle()
        assert one.lost == 0
    one.idle()
    assert (one.delivered, one.waiting, one.trouble) == (6, 0, "")
    one.close()
    assert [told["frame"] for told in objects(path)] == list(range(7, 13))


def test_lines_of_a_full_disk_go_whole_to_the_next_file(tmp_path: Path):
    path, moved = tmp_path / "alerts.jsonl", tmp_path / "alerts.jsonl.1"
    one = sink(path)
    with full_disk(1000):
        one.deliver([alert(number) for number in range(3)])
    path.rename(moved)
    with full_disk(1000):
        one.reopen()
    one.idle()
    one.close()
    whole = moved.read_bytes().split(b"\n")[:-1] + path.read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["frame"] for line in whole] == [7, 8, 9]


def test_of_what_waits_too_long_the_oldest_is_lost_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(jsonl, "MAX_WAITING", 10)
    one = sink(tmp_path / "alerts.jsonl")
    with full_disk(0):
        one.deliver([alert(number) for number in range(25)])
        assert (one.delivered, one.waiting, one.lost) == (0, 10, 15)
        assert "alerts wait in memory" in one.trouble
        one.close()
    assert (one.waiting, one.lost) == (0, 25)


def test_a_line_cut_by_a_kill_does_not_take_the_next_with_it(tmp_path: Path):
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"alert":"fin')
    one = sink(path)
    one.deliver([alert(1)])
    one.close()
    assert one.delivered == 1
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b'{"alert":"fin'
    assert json.loads(lines[1])["frame"] == 8


def test_standard_output_and_a_reader_that_goes_away():
    script = (
        "import sys, time\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from support.alerts import alert\n"
        "from analyzer.monitor.sinks import SinkOptions, make_sink\n"
        "sink = make_sink('jsonl:-', SinkOptions())\n"
        "sink.open()\n"
        "sink.deliver([alert(1)])\n"
        "sys.stdin.read()\n"
        "sink.deliver([alert(2)])\n"
        "sink.deliver([alert(3)])\n"
        "print(sink.delivered, sink.lost, sink.trouble, file=sys.stderr)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(Path(__file__).parents[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        assert run.stderr is not None
        assert json.loads(run.stdout.readline())["frame"] == 8
        run.stdout.close()
        run.stdin.close()
        assert run.stderr.read().strip() == "1 2 the reader of the alerts is gone; alerts are lost"


def test_what_can_never_be_written_is_said_at_once(tmp_path: Path):
    with pytest.raises(OutputError, match="make its folder"):
        sink(tmp_path / "none" / "alerts.jsonl")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OutputError, match="No such device"):
        sink(fifo)
    with pytest.raises(UsageError, match="name a file"):
        make_sink("jsonl:", SinkOptions())
    with pytest.raises(UsageError, match="no sink for alerts"):
        make_sink("mailto:someone", SinkOptions())
    with pytest.raises(UsageError, match="no sink for alerts"):
        make_sink("alerts", SinkOptions())
