"""What the README and its like say is so: links lead somewhere, commands and code run as they stand there, in the project's folder."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import analyzer
from analyzer.report.columns import TABLES
from analyzer.report.formats import csv, ecs, names, zeek

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "analyzer/monitor/README.md",
    "analyzer/report/README.md",
    "benchmarks/README.md",
    "benchmarks/live.md",
    "captures/README.md",
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(?:^    .*\n|^\n(?=    ))+", README, re.MULTILINE)
#: Extras for who works on mailtap.
INSIDE = {"test", "browser", "dev"}


def shell_lines(begin: str) -> list[list[str]]:
    """The commands in the README's blocks that begin so, without their comments."""
    lines = [re.split(r"\s# ", line)[0].strip() for block in BLOCKS for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(begin)]


def anchors(text: str) -> set[str]:
    """The anchors of headings, as forges make them."""
    return {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def project_folder(folder: Path) -> dict[str, str]:
    """Make a folder look as the project's does to who reads; the environment in which mailtap is found from there."""
    for name in ("captures", "notebooks"):
        (folder / name).symlink_to(ROOT / name)
    return {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_captures_that_are_read_are_there() -> None:
    commands = shell_lines("mailtap analyze ")
    assert len(commands) > 3
    code = README + (analyzer.__doc__ or "")
    paths = [words[2] for words in commands] + re.findall(r'analyzer\.analyze\("([^"]+)"\)', code)
    for path in paths:
        assert (ROOT / path).exists(), path


def test_options_and_extras_are_those_there_are() -> None:
    table = README.partition("| option |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`(--[a-z-]+)", table))
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "analyze", "--help"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert told <= set(re.findall(r"--[a-z-]+", done.stdout))
    assert len(told) > 8
    formats = next(row for row in table.splitlines() if row.startswith("| `--format` "))
    assert set(re.findall(r"`(\w+)`", formats)) == set(names())
    table = README.partition("| extra |")[2].partition("\n\n")[0]
    extras = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z]+)`", row.split("|")[1])}
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert extras == set(config["options.extras_require"]) - INSIDE
    for named in re.findall(r"pip install '\.\[([a-z,]+)\]'", README):
        assert set(named.split(",")) <= extras


def test_what_is_said_of_formats_is_so() -> None:
    text = (ROOT / "analyzer" / "report" / "README.md").read_text(encoding="utf-8")
    titles = [name for line in re.findall(r"^## (.+)$", text, re.MULTILINE) for name in line.split(", ")]
    assert set(titles) >= set(names())
    rows = re.findall(r"^\| `mailtap\.(\w+)` \| `(\w+)` \| (\w+) \| (\w+) \|$", text, re.MULTILINE)
    assert {table: (name, kind, [category]) for name, table, kind, category in rows} == {
        table: event[:3] for table, event in ecs.EVENTS.items()
    }
    assert set(re.findall(r"`(\w+)\.log`", text)) == {*zeek.LOGS, *zeek.OWN}
    order = re.search(r"in this order, too: ([^.]+)\.", text)
    assert order is not None
    assert re.findall(r"`(\w+)`", order[1]) == list(TABLES)
    starts = re.search(r"begins with ([^;]+?) has an apostrophe", text)
    assert starts is not None
    told = re.split(r",? (?:or )?", starts[1].replace("a tab", "\t").replace("a carriage return", "\r"))
    assert {one.strip("`") for one in told} == set(csv.FORMULA_STARTS)


def test_the_benchmark_finds_the_place_of_its_table() -> None:
    script = (ROOT / "benchmarks" / "run.py").read_text(encoding="utf-8")
    for marker in re.findall(r'^README_(?:START|END) = "(.+)"$', script, re.MULTILINE):
        assert README.count(marker) == 1
    assert re.search(r"Measured on \d{4}-\d\d-\d\d", README)


def test_the_commands_of_the_live_benchmark_make_its_table() -> None:
    text = (ROOT / "benchmarks" / "live.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    sudo ")]
    assert len(commands) == 4
    script = ROOT / "benchmarks" / "live.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    options = set(re.findall(r"--[a-z-]+", done.stdout))
    assert {word for words in commands for word in words if word.startswith("--")} <= options
    receivers = ("ring", "ring, all", "scapy", "scapy alone", "dumpcap")
    wanted: dict[str, list[str]] = {}
    for words in commands:
        if "--only" not in words:
            continue
        rates = words[words.index("--rates") + 1].split(",")
        for word in words[words.index("--only") + 1].split(","):
            wanted.update({name: rates for name in receivers if word in name})
    rows = re.findall(r"^\| ([a-z, ]+) \| ([\d,]+) \|", text.partition("\n\n64 MiB")[0], re.MULTILINE)
    told = {name: [int(rate.replace(",", "")) for one, rate in rows if one == name] for name in receivers}
    for name, rates in wanted.items():
        assert len(told[name]) == len(rates), name
        # the sender is a little fast where it can be, and slower at its end
        assert all(rate <= int(asked) * 1005 for rate, asked in zip(told[name], rates, strict=True)), name
    assert set(wanted) == set(receivers)


@pytest.mark.slow
def test_commands_do_what_their_comments_say(tmp_path: Path) -> None:
    environment = project_folder(tmp_path)
    for words in shell_lines("mailtap analyze "):
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", *words[1:]], capture_output=True, text=True, check=False, cwd=tmp_path,
            env=environment,
        )  # fmt: skip
        assert done.returncode == (1 if "--fail-on" in words else 0), done.stderr
        if "-o" in words:
            assert (tmp_path / words[words.index("-o") + 1]).stat().st_size > 0
        else:
            assert "EXPOSED: " in done.stdout


@pytest.mark.slow
def test_python_runs_as_it_stands_there(tmp_path: Path) -> None:
    environment = project_folder(tmp_path)
    code = "".join(textwrap.dedent(block) for block in BLOCKS if "analyzer.analyze(" in block)
    assert code.count("analyzer.analyze(") == 2
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d+\.\d+\.\d+\.\d+ +\d+$", done.stdout, re.MULTILINE)
