"""The streams of a command: closed ones, those of another encoding, devices and pipes by name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.traffic import Talk, capture
from support.waiting import CHILD_PATIENCE

TALK = "S: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye"
WRONG = 3


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    login = Talk().server(b"+OK ready\r\n").client("USER jürgen\r\n".encode())
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(login.play(TALK).close().frames()))
    return path


def shell(line: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of the shell's, in which ``mailtap`` is mailtap and ``$1`` the first argument."""
    whole = f'mailtap() {{ "{sys.executable}" -m analyzer "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", whole, "bash", *map(str, arguments)], capture_output=True, check=False, timeout=CHILD_PATIENCE,
        env={**os.environ, "COLUMNS": "100", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_file_is_written_whichever_stream_is_closed(talk: Path, tmp_path: Path, closed: str) -> None:
    out = tmp_path / "out.json"
    done = shell(f'mailtap analyze "$1" -o "$2" {closed}', talk, out)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert len(json.loads(out.read_text(encoding="utf-8"))["sessions"]) == 1


@pytest.mark.parametrize("words", ['analyze "$1"', "--version", "--help"])
@pytest.mark.parametrize("place", [">&-", ">/dev/full"])
def test_standard_output_that_cannot_be_written_is_one_line_and_no_finding(talk: Path, words: str, place: str) -> None:
    done = shell(f"mailtap {words} {place}", talk)
    assert done.returncode == WRONG
    assert done.stderr.startswith(b"mailtap: error: standard output: the result could not be written (")
    assert done.stderr.count(b"\n") == 1


def test_standard_error_that_is_closed_says_nothing_into_what_is_read_or_written(talk: Path) -> None:
    done = shell('mailtap analyze "$1" -f json --headers 2>&-', talk)
    assert (done.returncode, len(json.loads(done.stdout)["sessions"])) == (0, 1)
    assert shell("mailtap analyze no-such-file 2>&-").returncode == WRONG


def test_standard_input_that_is_closed_cannot_be_read(talk: Path) -> None:
    done = shell("mailtap analyze - <&-")
    assert (done.returncode, done.stderr.count(b"\n")) == (WRONG, 1)
    assert done.stderr.startswith(b"mailtap: error: standard input")


def test_help_that_nobody_reads_to_its_end_is_no_finding() -> None:
    assert shell("mailtap --help | true; exit ${PIPESTATUS[0]}").returncode in (0, WRONG)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("form", ["html", "markdown", "csv --table credentials"])
def test_results_are_utf8_whatever_the_encoding_of_the_terminal(talk: Path, form: str, encoding: str) -> None:
    done = shell(f'mailtap analyze "$1" -f {form}', talk, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "jürgen" in done.stdout.decode("utf-8")


def test_text_escapes_what_the_encoding_has_not(talk: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pcap"
    nothing.write_bytes(capture(Talk().play("S: +OK ready\nC: QUIT\nS: +OK").close().frames()))
    for words in ('analyze "$1"', 'diff "$2" "$1"'):
        done = shell(f"mailtap {words}", talk, nothing, PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, b"")
        assert rb"j\xfcrgen" in done.stdout
        assert "jürgen" in shell(f"mailtap {words}", talk, nothing, PYTHONIOENCODING="utf-8").stdout.decode()


def test_a_device_or_a_pipe_takes_one_table(talk: Path, tmp_path: Path) -> None:
    usual = shell('mailtap analyze "$1" -f csv', talk).stdout
    assert usual.startswith(b"session_id,")
    assert shell('mailtap analyze "$1" -f csv -o /dev/stdout', talk).stdout == usual
    assert shell('mailtap analyze "$1" -f csv -o >(cat) | cat', talk).stdout == usual
    assert shell('mailtap analyze "$1" -f csv -o /dev/null', talk).returncode == 0
    # A file is as wrong a folder as ever.
    file = tmp_path / "file"
    file.write_text("mine")
    assert shell('mailtap analyze "$1" -f csv -o "$2"', talk, file).returncode == 2
    assert file.read_text() == "mine"


def test_standard_output_by_name_is_added_to_what_is_there(talk: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    assert shell('mailtap analyze "$1" -f csv -o /dev/stdout >> "$2"', talk, log).returncode == 0
    assert log.read_text(encoding="utf-8").startswith("before\nsession_id,")


def test_a_dash_is_standard_output_as_it_is_standard_input(talk: Path, tmp_path: Path) -> None:
    done = shell('cd "$2"; mailtap analyze "$1" -f json -o -', talk, tmp_path, PYTHONPATH=str(Path.cwd()))
    assert (done.returncode, len(json.loads(done.stdout)["sessions"])) == (0, 1)
    assert not (tmp_path / "-").exists()


def test_alerts_have_no_standard_output_where_it_is_closed(talk: Path) -> None:
    user = "--user root" if os.geteuid() == 0 else ""
    done = shell(f'mailtap monitor - {user} --store off <"$1" >&-', talk)
    assert done.returncode == WRONG
    assert b"there is no standard output for alerts" in done.stderr


def test_alerts_that_nobody_got_are_counted_at_the_end(talk: Path) -> None:
    user = "--user root" if os.geteuid() == 0 else ""
    done = shell(f'mailtap monitor - {user} --store off <"$1" >/dev/full', talk)
    assert re.search(rb"stopped: .*; \d+ alerts? could not be delivered", done.stderr)
    assert b"could not be delivered" not in shell(f'mailtap monitor - {user} --store off <"$1"', talk).stderr
