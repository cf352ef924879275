"""``mailtap monitor`` from the command line, where no interface is needed: pipes and growing files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.waiting import CHILD_PATIENCE, until

from analyzer.cli import make_app
from analyzer.monitor.config import keys

SAMPLES = Path(__file__).parents[2] / "captures"
USER = ("--user", "root") if os.geteuid() == 0 else ()


def monitor(folder: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "analyzer", "monitor", "--metrics", "off", "--store", str(folder / "store.sqlite"), "--window", "0",
        "--rate", "0", "--min-severity", "info", *USER, *options,
    ]  # fmt: skip


def report(folder: Path, *options: str) -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-m", "analyzer", "report", str(folder / "store.sqlite"), "--format", "json", *options]
    found: dict[str, list[dict[str, object]]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return found


def offline(path: Path) -> dict[str, list[dict[str, object]]]:
    command = [sys.executable, "-m", "analyzer", "analyze", str(path), "--format", "json"]
    found: dict[str, list[dict[str, object]]] = json.loads(
        subprocess.run(command, capture_output=True, text=True, check=True).stdout
    )
    return found


def test_every_setting_of_the_file_is_an_option() -> None:
    command = typer.main.get_command(make_app()).commands["monitor"]  # type: ignore[attr-defined]
    options = {word.removeprefix("--") for parameter in command.params for word in parameter.opts}
    assert set(keys()) <= options


def test_pipe_is_watched_to_its_end_and_the_store_tells_what_an_offline_run_tells(tmp_path: Path) -> None:
    path = SAMPLES / "office.pcapng"
    with path.open("rb") as pipe:
        done = subprocess.run(monitor(tmp_path, "-"), stdin=pipe, capture_output=True, check=True)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    stored, wanted = report(tmp_path), offline(path)
    for name in ("sessions", "findings", "tls", "messages", "servers", "migration"):
        for rows in (stored[name], wanted[name]):
            for row in rows:
                for column in ("capture", "sensor"):
                    row.pop(column, None)
        assert stored[name] == wanted[name], name
    assert {line["finding_id"] for line in told if line.get("finding_id")} == {
        row["finding_id"] for row in stored["findings"]
    }


@pytest.mark.slow
def test_growing_file_is_followed_and_sighup_opens_alerts_anew(tmp_path: Path) -> None:
    octets = (SAMPLES / "pop3-login.pcap").read_bytes()
    growing, alerts = tmp_path / "growing.pcap", tmp_path / "alerts.jsonl"
    growing.write_bytes(octets[: len(octets) // 2])
    process = subprocess.Popen(
        monitor(tmp_path, "--follow", str(growing), "--alerts", f"jsonl:{alerts}"), stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: alerts.exists() and alerts.stat().st_size > 0, CHILD_PATIENCE)
        alerts.rename(tmp_path / "rotated.jsonl")
        process.send_signal(signal.SIGHUP)
        until(alerts.exists, CHILD_PATIENCE)
        with growing.open("ab") as file:
            file.write(octets[len(octets) // 2 :])
        until(lambda: alerts.stat().st_size > 0, CHILD_PATIENCE)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=CHILD_PATIENCE)
    assert process.returncode == 0, said
    assert "watching" in said
    assert "stopped: " in said
    lines = [
        line
        for name in ("rotated.jsonl", "alerts.jsonl")
        for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()
    ]
    assert {json.loads(line)["finding_id"] for line in lines} >= {
        row["finding_id"]
        for row in offline(SAMPLES / "pop3-login.pcap")["findings"]
        if row["rule"] == "plaintext-password"
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to watch"),
        (("eth0",), "-i eth0"),
        (("-i", "nosuch0"), "nosuch0"),
        (("--follow", "-", "--retention", "soon"), "retention"),
        (("--follow", "-", "--alerts", "pigeon://loft"), "pigeon"),
        (("--follow", "-", "--live"), "terminal"),
        (("--follow", "-", "--store", "/proc/nowhere/store.sqlite"), "/proc"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_watched(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = subprocess.run(
        monitor(tmp_path, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode in (2, 3)
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


HEADER = (SAMPLES / "pop3-login.pcap").read_bytes()[:24]


@pytest.mark.parametrize(
    ("octets", "code", "words"),
    [
        (b"", 3, "error: standard input: nothing came"),
        (bytes(range(255, 0, -1)) * 12, 3, "error: standard input: no packet of it could be read ("),
        (HEADER + b"\0" * 5, 3, "error: standard input: no packet of it could be read ("),
        (HEADER, 0, "stopped: 0 packets"),
    ],
    ids=["empty", "no capture", "cut", "no packet"],
)
def test_a_pipe_without_a_capture_is_judged_as_by_analyze(tmp_path: Path, octets: bytes, code: int, words: str) -> None:
    done = subprocess.run(monitor(tmp_path, "-"), input=octets, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr.decode()
    analyze = [sys.executable, "-m", "analyzer", "analyze", "-"]
    assert subprocess.run(analyze, input=octets, capture_output=True, check=False).returncode == code


def test_unit_starts_what_the_command_line_says(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "analyzer",
        "monitor",
        "-i",
        "eth 0",
        "--no-promiscuous",
        "--rate",
        "0",
        "--print-unit",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (start,) = [line for line in done.stdout.splitlines() if line.startswith("ExecStart=")]
    assert '--interface "eth 0"' in start
    assert "--no-promiscuous --rate 0" in start
    for option, words in (("--print-containerfile", "FROM "), ("--example-config", "min-severity")):
        printed = subprocess.run([*command[:4], option], capture_output=True, text=True, check=True)
        assert words in printed.stdout
