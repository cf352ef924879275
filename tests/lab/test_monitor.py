"""The monitor beside real clients and a real server: what it finds is what a capture of the same traffic holds, and it says so at once.

It needs root, and what the office needs.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from support.office import CLIENTS, PASSWORD, SERVER, Office, run, user
from support.waiting import CHILD_PATIENCE, until

from analyzer.capture.base import RecordSink
from analyzer.capture.files import read_capture
from analyzer.monitor.store import open_store
from analyzer.pipeline import run as read
from analyzer.times import parse_time

pytestmark = [pytest.mark.lab, pytest.mark.slow]

#: Settings of the thirty clients: in clear, upgraded, inside TLS.
SETTINGS = [
    ("POP3", 110, "no encryption"),
    ("IMAP", 143, "no encryption"),
    ("IMAP", 143, "STARTTLS"),
    ("POP3", 995, "SSL/TLS"),
]
#: Columns that cannot be the same: two captures number packets each for itself, and stamp them one after the other, and identifiers
#: are made of times.
OTHERS = {"capture", "sensor", "session_id", "finding_id", "frame", "first_frame", "last_frame", "display_filter"}
#: Where the monitor says how far it is, in the server's namespace.
METRICS = "127.0.0.1:9469"
#: Seconds between the server's answer and the line that tells of it, at most, and of a session's end and the store: bounds that hold on
#: machines far slower than those that the README speaks of.
TOLD_S = 10.0
KEPT_S = 30.0
#: Seconds by which two captures may differ in the times of one kind, as a rule; and of a single packet, where the machine was away between them.
APART_S = 0.05
AWAY_S = 2.0
#: How often the monitor is killed.
KILLS = 4
TIME = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")

# Logs in again and again, a few connections side by side, and leaves each after a while.
LOGINS = f"""
import random, socket, sys, threading, time
def one(number):
    while True:
        with socket.create_connection(({SERVER!r}, 110), 30, (sys.argv[1 + number], 0)) as line:
            file = line.makefile("rb")
            file.readline()
            for word in (f"USER {{sys.argv[-1]}}", f"PASS {PASSWORD.format("")}{{sys.argv[-1]}}", "STAT", "QUIT"):
                line.sendall(word.encode() + b"\\r\\n")
                file.readline()
                time.sleep(random.uniform(0, 0.05))
for number in range(len(sys.argv) - 2):
    threading.Thread(target=one, args=(number,), daemon=True).start()
time.sleep(3600)
"""


#: The monitors of a test.
RUNNING: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def no_monitor_outlives_its_test() -> Iterator[None]:
    yield
    while RUNNING:
        process = RUNNING.pop()
        process.kill()
        process.wait()


class Running:
    """A monitor in the server's namespace."""

    def __init__(self, office: Office, *options: str, interface: str = "s0", store: Path | None = None) -> None:
        self.store = office.folder / "monitor.sqlite" if store is None else store
        self.alerts = office.folder / "alerts.jsonl"
        command = [
            "ip", "netns", "exec", office.outside, sys.executable, "-m", "analyzer", "monitor", "-i", interface, "--user", "root",
            "--store", str(self.store), "--alerts", f"jsonl:{self.alerts}", "--metrics", METRICS, "--min-severity", "info",
            "--window", "0", "--rate", "0", "--sensor", "here", *options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said: list[str] = []
        while not any("watching" in line for line in self.said):
            line = self.process.stderr.readline()
            assert line, "".join(self.said)
            self.said.append(line)
        RUNNING.append(self.process)
        self._office = office
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self.said.extend(self.process.stderr)

    def says(self, *words: str) -> bool:
        """Whether one line on standard error has all these words."""
        return any(all(word in line for word in words) for line in list(self.said))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(CHILD_PATIENCE)
        self._listener.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def packets(self) -> int:
        """How many packets it has read."""
        page = run("ip", "netns", "exec", self._office.outside, "curl", "-sS", f"http://{METRICS}/metrics").stdout
        return int(float(re.findall(r"^mailtap_packets_total{.*} (\S+)$", page, re.MULTILINE)[0]))

    def lines(self, *, whole: bool = False) -> list[dict[str, Any]]:
        """The alerts; of whole lines only, while more of them are written."""
        if not self.alerts.exists():
            return []
        text = self.alerts.read_text(encoding="utf-8")
        return [json.loads(line) for line in (text[: text.rfind("\n") + 1] if whole else text).splitlines()]


class Arrivals:
    """Reads the file of alerts while they are written, and notes the wall clock at which each line was there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[tuple[int, dict[str, Any]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        read = b""
        offset = 0
        over = False
        while not over:
            over = self._over.wait(0.02)  # and one last look behind the end
            if not self.path.exists():
                continue
            with self.path.open("rb") as file:
                file.seek(offset)
                more = file.read()
            now = time.time_ns()
            offset += len(more)
            *whole, read = (read + more).split(b"\n")
            self.lines += [(now, json.loads(line)) for line in whole]

    def logins(self) -> list[tuple[int, dict[str, Any]]]:
        """Those about accounts that were let in in clear."""
        return [(arrived, line) for arrived, line in list(self.lines) if line["rule"] == "plaintext-password"]


@contextlib.contextmanager
def tap(office: Office, path: Path, program: str = "tcpdump") -> Iterator[None]:
    """tcpdump, with timestamps as fine as the monitor's, or dumpcap beside it."""
    options = {
        "tcpdump": ("-U", "--immediate-mode", "-Z", "root", "--time-stamp-precision=nano", "-w", str(path), "tcp"),
        "dumpcap": ("-f", "tcp", "-w", str(path)),
    }
    process = subprocess.Popen(
        ["ip", "netns", "exec", office.outside, program, "-i", "s0", *options[program]],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    ready = {"tcpdump": "listening", "dumpcap": "File:"}[program]
    while ready not in process.stderr.readline():
        assert process.poll() is None
    try:
        yield
    finally:
        office.end_tap(process, path)


def tables(*arguments: str) -> dict[str, list[dict[str, Any]]]:
    """The tables of a JSON result, without what must differ."""
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *arguments, "--format", "json"], capture_output=True, text=True, check=True
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rows in json.loads(done.stdout).items():
        if isinstance(rows, list):
            found[name] = [{key: value for key, value in row.items() if key not in OTHERS} for row in rows]
    return found


def test_live_is_offline_row_for_row_and_alerts_come_at_once(office: Office) -> None:
    path, ring = office.folder / "beside.pcap", office.folder / "beside.pcapng"
    with tap(office, path), tap(office, ring, "dumpcap"):
        monitor = Running(office)
        with Arrivals(monitor.alerts) as arrivals:
            for number, client in enumerate(CLIENTS[:12]):
                office.fetch(client, *SETTINGS[number % len(SETTINGS)])
            office.calm()
            # Alerts are out while it runs, and not when it is stopped.
            until(lambda: len(arrivals.logins()) == 6)
            # What is behind them is on disk with the other tap by now, and in the monitor when it has as many packets (its filter lets a few more pass).
            until(lambda: monitor.packets() >= packets_of(path))
        assert monitor.stop() == 0, monitor.said
    live = without_keys(tables("report", str(monitor.store)))
    for captured in (path, ring):
        offline = without_keys(tables("analyze", str(captured)))
        assert len(offline["sessions"]) >= 12
        for name in ("findings", "sessions", "credentials", "tls", "messages", "servers", "migration"):
            assert len(live[name]) == len(offline[name]), (captured, name)
            apart: dict[str, list[float]] = {}
            for mine, theirs in zip(live[name], offline[name], strict=True):
                assert same(mine, theirs, apart), (captured, name, mine, theirs)
            for column, seconds in apart.items():
                assert abs(statistics.median(seconds)) < APART_S, (captured, name, column, seconds)
                assert max(map(abs, seconds)) < AWAY_S, (captured, name, column, seconds)

    # Who was let in in clear is told at once, and not before the server's answer.
    answers = {
        (session.client_ip, session.client_port): max(one.outcome_ns for one in session.credentials or [])
        for session in read(str(path)).sessions
        if session.credentials
    }
    told = arrivals.logins()
    assert {(line["client_ip"], line["client_port"]) for _, line in told} == set(answers)
    for arrived, line in told:
        assert 0 < arrived - answers[line["client_ip"], line["client_port"]] < TOLD_S * 1e9


def packets_of(path: Path) -> int:
    """How many packets a capture holds by now."""
    return read_capture(str(path), RecordSink()).packets


def without_keys(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Without what each run makes with a key of its own."""
    for row in found["credentials"]:
        del row["secret_id"]
    return found


def nanoseconds(text: str) -> int:
    parsed = parse_time(text)
    assert parsed is not None
    return parsed


def same(mine: dict[str, Any], theirs: dict[str, Any], apart: dict[str, list[float]]) -> bool:
    """Whether two rows are equal but for times. By how many seconds those differ is noted for their column."""
    for key, value in mine.items():
        other = theirs.get(key)
        if isinstance(value, str) and isinstance(other, str) and TIME.fullmatch(value) and TIME.fullmatch(other):
            apart.setdefault(key, []).append((nanoseconds(value) - nanoseconds(other)) / 1e9)
        elif value != other:
            return False
    return mine.keys() == theirs.keys()


def stored(store: Path) -> list[int]:
    """The times of the logins in clear that are in the store."""
    with contextlib.closing(open_store(str(store), create=False)) as opened:
        return [row["time"] for row in opened.findings() if row["rule"] == "plaintext-password"]


def enough(monitor: Running, began: int) -> bool:
    """Whether a run of the monitor has some logins so far behind it that they must outlive a kill."""
    time.sleep(0.3)
    return sum(began < at < time.time_ns() - KEPT_S * 1e9 for at in stored(monitor.store)) >= 15


def test_nothing_that_was_over_is_lost_when_the_monitor_is_killed(office: Office) -> None:
    name = user(CLIENTS[0])
    script = office.folder / "logins.py"
    script.write_text(LOGINS)
    path = office.folder / "killed.pcap"
    store = office.folder / "monitor.sqlite"
    store.unlink(missing_ok=True)
    killed: list[tuple[int, int]] = []
    with tap(office, path):
        clients = subprocess.Popen(
            ["ip", "netns", "exec", office.inside, sys.executable, str(script), *CLIENTS[:4], name]
        )
        try:
            for _ in range(KILLS):
                monitor = Running(office)
                began = time.time_ns()
                until(lambda monitor=monitor, began=began: enough(monitor, began), CHILD_PATIENCE)
                time.sleep(random.uniform(0, 0.5))
                killed.append((began, time.time_ns()))
                monitor.stop(signal.SIGKILL)
        finally:
            clients.kill()
            clients.wait()
    with contextlib.closing(open_store(str(store), create=False)) as opened:
        names = {row["session_id"] for row in opened.findings() if row["rule"] == "plaintext-password"}
        kept = {(one.client_ip, one.client_port) for one in opened.sessions() if one.session_id() in names}
    # Known by the client's end: two captures stamp a packet one after the other.
    told = {
        (line["client_ip"], line["client_port"]) for line in monitor.lines() if line["rule"] == "plaintext-password"
    }
    seen = overdue = 0
    # How far each run of the monitor came: in the store, and with its alerts.
    times = stored(store), [nanoseconds(line["time"]) for line in monitor.lines()]
    reached = [
        (began, ended, min(max((at for at in some if began < at < ended), default=0) for some in times))
        for began, ended in killed
    ]
    for session in read(str(path)).sessions:
        for began, ended, last in reached:
            # Both ends inside one run, and so long before its end, or two seconds before the last that it told of: nothing is left out.
            late = session.end_ns < ended - KEPT_S * 1e9
            if began < session.start_ns and (late or session.end_ns < last - 2_000_000_000):
                seen += 1
                overdue += late
                assert (session.client_ip, session.client_port) in kept & told
    assert overdue > 10 * KILLS
    assert seen > overdue


def test_interface_that_goes_down_and_comes_up_again(office: Office) -> None:
    monitor = Running(office)
    run("ip", "-n", office.outside, "link", "set", "s0", "down")
    until(lambda: monitor.says("s0", "down"))
    assert monitor.process.poll() is None
    run("ip", "-n", office.outside, "link", "set", "s0", "up")
    run("ip", "-n", office.outside, "route", "replace", "10.20.0.0/24", "dev", "s0")
    until(lambda: monitor.says("s0", "all is well again"))
    before = len(monitor.lines())
    office.fetch(CLIENTS[1], "POP3", 110, "no encryption")
    until(lambda: "plaintext-password" in {line["rule"] for line in monitor.lines(whole=True)[before:]})
    assert monitor.stop() == 0


def test_full_disk_holds_up_neither_packets_nor_alerts_and_is_made_up_for(office: Office) -> None:
    small = office.folder / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small))
    try:
        monitor = Running(office, store=small / "monitor.sqlite")
        before = len(monitor.lines())
        filler = small / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as out:
            while out.write(bytes(4096)):
                pass
        for client in CLIENTS[20:26]:
            office.fetch(client, "POP3", 110, "no encryption")

        def told() -> set[str]:
            lines = monitor.lines(whole=True)[before:]
            return {line["client_ip"] for line in lines if line["rule"] == "plaintext-password"}

        until(lambda: told() == set(CLIENTS[20:26]))
        until(lambda: monitor.says("store", "full"))
        filler.unlink()

        def kept() -> set[str]:
            with contextlib.closing(open_store(str(monitor.store), create=False)) as opened:
                return {row["client_ip"] for row in opened.findings() if row["rule"] == "plaintext-password"}

        until(lambda: kept() == told())
        assert monitor.stop() == 0
        assert kept() == told()
    finally:
        run("umount", str(small))
