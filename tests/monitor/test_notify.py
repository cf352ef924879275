from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.waiting import SOCKET_PATIENCE

from analyzer.monitor import notify
from analyzer.monitor.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's ear, and its address as systemd would write it."""
    name = f"{tmp_path}/notify" if request.param == "path" else f"@mailtap-test-{os.getpid()}-{id(request)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        ear.settimeout(SOCKET_PATIENCE)
        yield ear, name


def heard(ear: socket.socket) -> list[str]:
    return ear.recv(4096).decode().split("\n")


def test_the_life_of_a_service_is_told(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    environment = {"NOTIFY_SOCKET": name, "OTHER": "kept"}
    notifier = Notifier(environment)
    assert notifier
    assert environment == {"OTHER": "kept"}  # nobody we start may speak for us
    notifier.ready("watching eth0")
    assert heard(ear) == ["READY=1", "STATUS=watching eth0"]
    notifier.status("watching eth0")  # nothing new
    notifier.status("12 sessions\nREADY=0\x1b[2J")
    assert heard(ear) == ["STATUS=12 sessions\\x0aREADY=0\\x1b[2J"]  # one line, whatever is in it
    notifier.reloading()
    reloading, clock = heard(ear)
    assert reloading == "RELOADING=1"
    assert 0 <= time.monotonic_ns() // 1000 - int(clock.removeprefix("MONOTONIC_USEC=")) < 600_000_000
    notifier.ready()
    assert heard(ear) == ["READY=1"]
    notifier.stopping()
    assert heard(ear) == ["STOPPING=1"]
    notifier.close()
    notifier.ready()
    assert not notifier
    assert notifier.trouble == ""


def test_a_long_status_is_cut(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.status("x" * 5000)
    assert len(heard(ear)[0]) < 250
    notifier.close()


def test_the_watchdog_hears_as_often_as_it_asked(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear, name = manager
    now = [100.0]
    monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda: now[0]))
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "90000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.watchdog_s == pytest.approx(0.03)
    for _ in range(100):
        notifier.beat()
    assert heard(ear) == ["WATCHDOG=1"]
    now[0] += 0.031
    notifier.beat()
    assert heard(ear) == ["WATCHDOG=1"]
    notifier.close()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},  # meant for another process
    ],
)
def test_no_watchdog_unless_it_is_ours(environment: dict[str, str]) -> None:
    assert Notifier(environment).watchdog_s is None


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    assert not notifier
    assert notifier.fileno() == -1
    notifier.ready("x")
    notifier.status("x")
    notifier.beat()
    notifier.reloading()
    notifier.stopping()
    notifier.close()
    assert notifier.trouble == ""


@pytest.mark.parametrize("address", ["vsock:2:1234", "/", "relative"])
def test_an_address_of_another_kind_is_said_to_be_unknown(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    assert not notifier
    assert "NOTIFY_SOCKET" in notifier.trouble


def test_a_manager_that_is_gone_is_trouble_and_no_error(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notifier.ready()
    assert "No such file" in notifier.trouble
    notifier.close()


def test_a_manager_that_does_not_read_never_makes_us_wait(manager: tuple[socket.socket, str]) -> None:
    ear, name = manager
    notifier = Notifier({"NOTIFY_SOCKET": name})
    for number in range(5000):
        notifier.status(f"{number}")
    assert notifier.trouble
    ear.setblocking(False)
    while True:
        try:
            ear.recv(4096)
        except BlockingIOError:
            break
    notifier.ready()
    assert notifier.trouble == ""
    notifier.close()
