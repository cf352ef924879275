from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.waiting import CHILD_PATIENCE

import analyzer
from analyzer.monitor import deploy

INSTALLED = ["/opt/mailtap/bin/mailtap"]


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if line and line[0] not in "#[":
            name, equals, value = line.partition("=")
            assert equals, line
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_starts_what_was_asked_for() -> None:
    assert settings(deploy.unit(program=INSTALLED))["ExecStart"] == [
        "/opt/mailtap/bin/mailtap monitor --config /etc/mailtap/monitor.toml"
    ]
    options = ["-i", "eth0", "--filter", 'tcp port 25 and "x" % $y \\', "--sensor", ""]
    assert settings(deploy.unit(options, INSTALLED))["ExecStart"] == [
        '/opt/mailtap/bin/mailtap monitor -i eth0 --filter "tcp port 25 and \\"x\\" %% $$y \\\\" --sensor ""'
    ]


def test_a_line_break_starts_no_setting_of_its_own() -> None:
    unit = deploy.unit(["-i", "eth0\nUser=root"], INSTALLED)
    assert settings(unit)["User"] == ["mailtap"]


def test_the_unit_starts_this_mailtap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "mailtap"
    script.touch()
    monkeypatch.setattr(sys, "argv", [str(script), "monitor"])
    assert deploy.this_program() == [str(script)]
    monkeypatch.setattr(sys, "argv", ["-c"])
    assert deploy.this_program() == [sys.executable, "-m", "analyzer"]
    assert f"ExecStart={sys.executable} -m analyzer monitor" in deploy.unit()


def test_an_installation_that_services_do_not_see_is_cautioned_about() -> None:
    assert deploy.caution(INSTALLED) == ""
    said = deploy.caution(["/home/alice/venv/bin/mailtap"])
    assert "which is in /home: services do not see that folder" in said


def test_the_unit_agrees_with_the_monitor() -> None:
    found = settings(deploy.unit(program=INSTALLED))
    assert found["Type"] == ["notify"]
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"] == ["CAP_NET_RAW"]
    assert "AF_PACKET" in found["RestrictAddressFamilies"][0]
    assert found["SystemCallErrorNumber"] == ["EPERM"]  # the trial to become root again must come back
    assert int(found["WatchdogSec"][0]) >= 15  # the loop may be held up by a slow disk for a while
    assert all(value for values in found.values() for value in values)


@pytest.mark.systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "mailtap-monitor.service"
    unit.write_text(deploy.unit(["-i", "eth0", "--filter", "tcp port 25 or tcp port 110"], ["/bin/sh"]))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=CHILD_PATIENCE
    )
    assert "mailtap-monitor.service" not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.systemd
def test_the_service_is_exposed_little(tmp_path: Path) -> None:
    unit = tmp_path / "mailtap-monitor.service"
    unit.write_text(deploy.unit(program=["/bin/sh"]))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True, text=True, check=True, timeout=CHILD_PATIENCE,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for mailtap-monitor\.service: (\d+\.\d)", done.stdout)
    assert level, done.stdout
    assert float(level[1]) < 2.0, done.stdout


# -- the container file ------------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Instructions and their arguments, lines that go on joined, comments left out."""
    lines = [line for line in deploy.containerfile().splitlines() if line and not line.startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        found.append((word, rest.strip()))
    return found


def test_the_container_is_built_of_known_instructions_and_runs_as_nobody_in_particular() -> None:
    found = instructions()
    known = {
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "ENV",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert {word for word, _ in found} <= known
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    user = [rest for word, rest in found[last:] if word == "USER"]
    assert len(user) == 1
    assert int(user[0]) > 0
    assert f"--uid {user[0]} " in deploy.containerfile()
    assert not [rest for word, rest in found[[word for word, _ in found].index("USER") :] if word == "RUN"]
    for word, rest in found:
        if word == "FROM":
            assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-[a-z]+( AS build)?", rest)
        if word == "RUN":
            subprocess.run(["/bin/sh", "-n", "-c", rest], check=True)
            assert "&& rm -rf /var/lib/apt/lists/*" in rest or "apt-get" not in rest


def test_the_container_is_built_of_files_that_are_there() -> None:
    root = Path(__file__).parents[2]
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            *sources, _ = shlex.split(rest)
            for source in sources:
                assert (root / source).exists(), source


def test_the_files_come_with_the_package() -> None:
    folder = Path(analyzer.__path__[0]) / "monitor" / "deploy"
    assert (folder / "mailtap-monitor.service").is_file()
    assert (folder / "Containerfile").is_file()
