"""The whole monitor beside things that fail while it runs: a receiver that is down, a ring file that vanishes, a database that restarts.

Logins come through a pipe or a growing file, made up, with the time of now.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from support.postgres import Postgres, running
from support.receivers import Web
from support.traffic import Talk, capture
from support.waiting import CHILD_PATIENCE, until

from analyzer.monitor.store import open_store

pytestmark = pytest.mark.slow

#: Root would become somebody who may not write into the folder of a test.
USER = ("--user", "root") if os.geteuid() == 0 else ()
#: Octets of a capture before its first packet.
HEADER = 24


def login(number: int) -> bytes:
    """The packets of a login in clear of an account of its own, as records of a capture, of now."""
    talk = Talk(client_port=20000 + number, server_port=110)
    talk.play(f"""
        S: +OK ready
        C: USER user{number:03d}@example.test
        S: +OK
        C: PASS made-up-{number}
        S: +OK logged in
        C: QUIT
        S: +OK bye
    """)
    talk.close()
    frames = talk.frames()
    shift = time.time_ns() - frames[-1][0]
    return capture([(at + shift, data) for at, data in frames])


def name(number: int) -> str:
    return f"user{number:03d}@example.test"


class Monitor:
    """A running monitor, with what it says."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.errors = folder / "errors"
        self.alerts = folder / "alerts.jsonl"
        command = [
            sys.executable, "-m", "analyzer", "monitor", *options, "--metrics", "off", "--window", "0", "--rate", "0",
            "--alerts", f"jsonl:{self.alerts}", *USER,
        ]  # fmt: skip
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)

    @property
    def pipe(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    def said(self) -> str:
        return self.errors.read_text(encoding="utf-8")

    def feed(self, octets: bytes) -> None:
        self.pipe.write(octets)
        self.pipe.flush()

    def told(self) -> list[str]:
        """The accounts whose password was told of, in order."""
        if not self.alerts.exists():
            return []
        lines = [json.loads(line) for line in self.alerts.read_text(encoding="utf-8").splitlines()]
        return accounts(lines)

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(CHILD_PATIENCE) == 0, self.said()


def accounts(lines: list[dict[str, Any]]) -> list[str]:
    return [str(line["username"]) for line in lines if line["rule"] == "plaintext-password"]


@contextmanager
def monitor(folder: Path, *options: str) -> Iterator[Monitor]:
    made = Monitor(folder, *options)
    try:
        until(lambda: "watching" in made.said() or made.process.poll() is not None, CHILD_PATIENCE)
        assert made.process.poll() is None, made.said()
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(CHILD_PATIENCE)
        made.pipe.close()


def test_a_receiver_that_is_down_for_a_minute_gets_every_alert_in_order(tmp_path: Path) -> None:
    web = Web()
    with monitor(
        tmp_path, "-", "--store", str(tmp_path / "store.sqlite"), "--alerts", f"http://127.0.0.1:{web.port}/"
    ) as one:
        one.feed(login(0))
        for number in range(1, 61):
            time.sleep(1)
            one.feed(login(number)[HEADER:])
        until(lambda: len(one.told()) == 61)
        assert "alerts wait and are tried again" in one.said()
        with web:

            def taken() -> list[str]:
                # One may come twice, where its answer did not come in time.
                return list(dict.fromkeys(accounts([request.object for request in list(web.taken)])))

            # The longest pause between two attempts, and some patience.
            until(lambda: len(taken()) == 61, CHILD_PATIENCE)
            assert taken() == [name(number) for number in range(61)]
            one.pipe.close()
            assert one.process.wait(CHILD_PATIENCE) == 0, one.said()


def test_a_file_of_a_ring_that_vanishes_takes_nothing_with_it_that_was_read_and_the_next_goes_on(
    tmp_path: Path,
) -> None:
    ring = tmp_path / "ring"
    ring.mkdir()
    first, second = ring / "ring_00001_20260302090000.pcap", ring / "ring_00002_20260302090100.pcap"
    first.write_bytes(login(0))
    with monitor(tmp_path, "--follow", str(ring), "--store", str(tmp_path / "store.sqlite")) as one:
        until(lambda: one.told() == [name(0)])
        with first.open("ab") as file:
            file.write(login(1)[HEADER:])
            file.flush()
            first.unlink()
            # Whoever writes it does not know yet, and what it holds can still be read.
            file.write(login(2)[HEADER:])
        second.write_bytes(login(3))
        until(lambda: name(3) in one.told())
        assert one.process.poll() is None
        one.stop()
        assert one.told() == [name(number) for number in range(4)]
        assert "Traceback" not in one.said()
    with closing(open_store(str(tmp_path / "store.sqlite"), create=False)) as store:
        rows = [row for row in store.findings() if row["rule"] == "plaintext-password"]
        assert sorted(accounts(rows)) == [name(number) for number in range(4)]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running() as one:
        # The monitor of root has no rights over what is others'.
        one.folder.chmod(0o755)
        yield one


@pytest.mark.postgres
def test_a_database_that_restarts_holds_up_no_alert_and_gets_every_finding(tmp_path: Path, server: Postgres) -> None:
    url = server.make("restarted")
    with monitor(tmp_path, "-", "--store", url, "--store-key", str(tmp_path / "key"), "--sensor", "here") as one:
        one.feed(login(0))
        until(lambda: one.told() == [name(0)])
        server.stop()
        try:
            for number in range(1, 6):
                one.feed(login(number)[HEADER:])
            until(lambda: len(one.told()) == 6)
            until(lambda: "rows wait" in one.said())
        finally:
            server.start()
        one.feed(login(6)[HEADER:])
        one.pipe.close()
        assert one.process.wait(CHILD_PATIENCE) == 0, one.said()
        assert one.told() == [name(number) for number in range(7)]
    with closing(open_store(url, create=False)) as store:
        rows = [row for row in store.findings() if row["rule"] == "plaintext-password"]
        assert sorted(accounts(rows)) == [name(number) for number in range(7)]
