"""Places that cannot be looked at: told in one sentence wherever a command takes a name, never as a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.traffic import Talk, capture
from support.waiting import CHILD_PATIENCE

import analyzer
from analyzer.cli import run_command
from analyzer.errors import CaptureUnreadable, OutputError
from analyzer.places import is_same, is_there, status_of

TALK = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye"
LONG = "x" * 300
#: What is said of a name too long, and of a link that leads to itself.
WORDS = {LONG: "choose a shorter name", "loop": "leads back to itself"}


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("talk.pcap").write_bytes(capture(Talk().play(TALK).close().frames()))
    Path("loop").symlink_to("loop")
    return "talk.pcap"


def commands() -> list[list[str]]:
    watch = ["--metrics", "off", "--duration", "1s"]
    return [
        ["analyze", "talk.pcap", "-o", "@"],
        ["analyze", "talk.pcap", "-f", "csv", "-o", "@"],
        ["analyze", "talk.pcap", "-f", "zeek", "-o", "@"],
        ["analyze", "talk.pcap", "-o", "@/report.txt"],
        ["analyze", "@"],
        ["analyze", "@", "talk.pcap"],
        ["analyze", "talk.pcap", "--keylog", "@"],
        ["analyze", "talk.pcap", "--ca-file", "@"],
        ["report", "@"],
        ["report", "sqlite:///@"],
        ["diff", "@", "talk.pcap"],
        ["diff", "talk.pcap", "@"],
        ["monitor", "--follow", "@", "--store", "off", *watch],
        ["monitor", "--follow", "talk.pcap", "--store", "@", *watch],
        ["monitor", "--follow", "talk.pcap", "--store", "off", "--alerts", "jsonl:@", *watch],
    ]


@pytest.mark.parametrize("place", [LONG, "loop"])
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_place_that_cannot_be_looked_at_is_no_fault(
    talk: str, capsys: pytest.CaptureFixture[str], words: list[str], place: str
):
    assert run_command([word.replace("@", place) for word in words]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mailtap: error: ")
    assert err.count("\n") == 1
    assert err.count(WORDS[place]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["analyze", "talk.pcap", "-o", "barred/x.txt"],
        ["diff", "barred/a.json", "talk.pcap"],
        ["report", "barred/a.sqlite"],
        ["analyze", "barred/a.pcap"],
    ],
    ids=" ".join,
)
def test_a_folder_that_bars_the_way_is_no_fault(talk: str, words: list[str]):
    barred = Path("barred")
    barred.mkdir()
    (barred / "a.json").write_text("{}")
    barred.chmod(0)
    # Root may look anywhere, so somebody else has to; the modules are imported before, for that user may not see them.
    program = (
        "import os, sys\nimport analyzer.cli, analyzer.pipeline, analyzer.report.diff, analyzer.report.rows\n"
        "import analyzer.monitor.store_report, analyzer.monitor.store, analyzer.report.visible, analyzer.report.formats.text\n"
        "import analyzer.capture.compressed, encodings.ascii\n"
        "if os.geteuid() == 0:\n    os.setgroups([])\n    os.setuid(65534)\n"
        "sys.exit(analyzer.cli.run_command(sys.argv[1:]))\n"
    )
    for folder in (Path.cwd(), *Path.cwd().parents):
        if folder.stat().st_uid == os.geteuid() and folder.name.startswith(("pytest", "test_")):
            folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=CHILD_PATIENCE, check=False
    )
    barred.chmod(0o700)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("mailtap: error: ")
    assert "ermission denied" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("option", ["--keylog", "--ca-file"])
def test_files_of_options_that_are_none_are_told_alike(
    talk: str, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    Path("folder").mkdir()
    for place, said in (
        ("nowhere", "check the spelling"),
        (f"{talk}/x", "check the spelling"),
        ("folder", "name a file in it"),
    ):
        assert run_command(["analyze", talk, option, place]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"mailtap: error: {place}: ")
        assert said in err


def test_a_name_as_long_as_may_be_is_taken(talk: str):
    for form, name in (("text", "r" * 255), ("zeek", "z" * 255)):
        assert run_command(["analyze", talk, "-f", form, "-o", name]) == 0
        assert Path(name).exists()
    assert list(Path().glob(".*.part")) == []


def test_a_link_to_nothing_yet_is_written_through(talk: str):
    Path("link").symlink_to("target.txt")
    assert run_command(["analyze", talk, "-o", "link"]) == 0
    assert Path("link").is_symlink()
    assert "EXPOSED" in Path("target.txt").read_text(encoding="utf-8")


def test_python_is_told_by_the_same_errors(talk: str):
    for place in (LONG, "loop", "a\0b"):
        with pytest.raises(CaptureUnreadable):
            analyzer.load(place)
    with pytest.raises(OutputError):
        analyzer.analyze(talk).save("loop")


def test_looking_at_a_place(talk: str):
    assert status_of("nowhere", OutputError) is None
    assert status_of("talk.pcap/below", OutputError) is None
    assert status_of(talk, OutputError) is not None
    assert [is_there(one) for one in (talk, "nowhere", "loop", LONG, "a\0b")] == [True, False, False, False, False]
    Path("twin").hardlink_to(talk)
    assert [is_same(talk, one) for one in ("twin", "./talk.pcap", "loop", LONG)] == [True, True, False, False]


@pytest.mark.parametrize("store", ["none/x.sqlite", "sqlite:///none/x.sqlite"])
def test_a_store_in_a_folder_that_is_not_there_is_refused(talk: str, capsys: pytest.CaptureFixture[str], store: str):
    watch = ["monitor", "--follow", talk, "--store", store, "--metrics", "off", "--duration", "1s"]
    assert run_command(watch) == 2
    assert "there is no folder none; make it first" in capsys.readouterr().err
    assert not Path("none").exists()
