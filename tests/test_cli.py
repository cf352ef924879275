"""The command line as its users meet it: results on standard output, words on standard error, exit codes."""

from __future__ import annotations

import array
import csv
import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from support.traffic import Talk, capture, tcp_frame
from support.waiting import CHILD_PATIENCE, until

from analyzer.capture.interfaces import Interface
from analyzer.cli import run_command
from analyzer.monitor.store import open_store
from analyzer.report.formats import SUFFIXES, load, names

#: Root does not watch traffic unless told to.
USER = ("--user", "root") if os.geteuid() == 0 else ()
#: Formats of several files.
FOLDERS = {name for name in names() if hasattr(load(name), "write_folder")}
TALK = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye"


def mailtap(*arguments: object, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=CHILD_PATIENCE,
        env={**os.environ, "COLUMNS": "100", **environment},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk().play(TALK).close().frames()))
    return path


def test_text_report_leads_with_who_is_exposed_and_fits_100_columns(talk: Path) -> None:
    done = mailtap("analyze", talk)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "EXPOSED: 1 account" in "\n".join(lines[:5])
    assert "198.51.100.20:110" in done.stdout
    assert "192.0.2.10" in done.stdout
    assert "kim" in done.stdout
    assert "Zulu7Tango" not in done.stdout
    assert max(map(len, lines)) <= 100


def test_show_secrets_shows_them(talk: Path) -> None:
    assert "Zulu7Tango" in mailtap("analyze", talk, "--show-secrets").stdout


def test_json_has_all_tables_and_no_heavy_import(talk: Path) -> None:
    done = mailtap("analyze", talk, "--format", "json")
    found = json.loads(done.stdout)
    assert (found["schema_version"], done.returncode) == (1, 0)
    assert list(found)[2:] == [
        "captures",
        "sessions",
        "credentials",
        "tls",
        "messages",
        "findings",
        "servers",
        "migration",
    ]
    assert found["sessions"][0]["start"] == "2026-03-02T09:00:00.000000000Z"
    assert found["credentials"][0]["secret"] == "********"
    assert found["captures"][0]["mail_packets"] == found["sessions"][0]["packets"] == 13
    shown = json.loads(mailtap("analyze", talk, "--format", "json", "--show-secrets").stdout)
    assert shown["credentials"][0]["secret"] == "Zulu7Tango"


@pytest.mark.parametrize("form", ["text", "json"])
def test_text_and_json_import_neither_pandas_nor_scapy(talk: Path, form: str) -> None:
    code = (
        "import sys\nfrom analyzer.cli import run_command\n"
        f"run_command(['analyze', {str(talk)!r}, '--format', {form!r}])\n"
        "sys.stderr.write(' '.join(sorted({'pandas', 'scapy', 'matplotlib', 'numpy', 'cryptography'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=CHILD_PATIENCE
    )
    assert done.stderr == ""


def test_jsonl_is_one_record_a_line(talk: Path) -> None:
    records = [json.loads(line) for line in mailtap("analyze", talk, "-f", "jsonl").stdout.splitlines()]
    assert list(dict.fromkeys(one["table"] for one in records))[:3] == ["captures", "sessions", "credentials"]


def test_csv_one_table_to_stdout_all_to_a_folder(talk: Path, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(mailtap("analyze", talk, "-f", "csv", "--table", "credentials").stdout)))
    assert [(one["username"], one["outcome"]) for one in rows] == [("kim", "accepted")]
    folder = tmp_path / "tables"
    assert mailtap("analyze", talk, "-f", "csv", "-o", folder).returncode == 0
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.csv"
        for name in ("captures", "sessions", "credentials", "tls", "messages", "findings", "servers", "migration")
    }


def test_csv_cells_from_traffic_begin_no_formula(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk().play(TALK.replace("kim", "=HYPERLINK(1)")).close().frames()))
    text = mailtap("analyze", path, "-f", "csv", "--table", "credentials").stdout
    assert ",'=HYPERLINK(1)," in text


def test_terminal_escapes_and_bidi_marks_from_traffic_are_escaped(tmp_path: Path) -> None:
    talk = (
        Talk()
        .client(b"")
        .server(b"+OK \x1b[2Jhello\r\n")
        .client("USER k\u202eim\x07\r\n".encode())
        .play("S: +OK\nC: PASS x1\nS: +OK")
    )
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(talk.close().frames()))
    for form in ("text", "json", "jsonl", "csv"):
        done = mailtap("analyze", path, "-f", form, *(["--table", "credentials"] if form == "csv" else []))
        assert done.returncode == 0
        for mark in ("\x1b", "\u202e", "\x07"):
            assert mark not in done.stdout + done.stderr


def test_ports_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk(server_port=7110, handshake=False).play("C: USER kim\nC: PASS Zulu7Tango").frames()))
    assert json.loads(mailtap("analyze", path, "-f", "json").stdout)["sessions"] == []
    found = json.loads(mailtap("analyze", path, "-f", "json", "--port", "7110=pop3").stdout)
    assert [(one["protocol"], one["completeness"]) for one in found["sessions"]] == [("pop3", "one_sided")]
    assert [one["username"] for one in found["credentials"]] == ["kim"]


@pytest.mark.parametrize("word", ["1143", "1143=imapx", "0=imap", "70000=imap", "x=imap"])
def test_bad_port_words_are_usage_errors(talk: Path, word: str) -> None:
    done = mailtap("analyze", talk, "--port", word)
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"--port {word}: " in done.stderr


def test_since_and_until(talk: Path) -> None:
    def count(*arguments: str) -> int:
        return len(json.loads(mailtap("analyze", talk, "-f", "json", *arguments).stdout)["sessions"])

    assert count("--since", "2026-03-02T09:00:00") == 1
    assert count("--since", "2026-03-02T10:00:00+00:00") == 0
    assert count("--until", "2026-03-02") == 0
    assert count("--until", "2026-03-02T10:00:01+01:00") == 1
    assert mailtap("analyze", talk, "--since", "yesterday").returncode == 2


def test_json_tells_the_times_that_were_asked_for_and_what_they_left_out(talk: Path) -> None:
    asked = json.loads(mailtap("analyze", talk, "-f", "json", "--since", "2026-03-03").stdout)
    head = ["schema_version", "mailtap", "since", "until", "left_out", "captures"]
    assert list(asked)[:6] == head
    assert (asked["since"], asked["until"], asked["left_out"]) == ("2026-03-03T00:00:00.000000000Z", None, 1)
    assert "since" not in json.loads(mailtap("analyze", talk, "-f", "json").stdout)


@pytest.mark.parametrize("form", sorted(names()))
def test_every_format_or_a_note_tells_the_times_that_were_asked_for(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    sentence = "Only sessions alive until 2020-01-01 00:00:00 UTC are told; 1 session was left out."
    words = ["analyze", str(talk), "-f", form, "-o", str(tmp_path / "out")]
    assert run_command([*words, "--until", "2020-01-01"]) == 0
    held = form in ("text", "markdown", "html", "json")
    assert capsys.readouterr().err == ("" if held else f"mailtap: note: {sentence}\n")
    if held:
        assert ('"left_out":1' if form == "json" else sentence) in (tmp_path / "out").read_text(encoding="utf-8")
    assert run_command(words) == 0
    assert capsys.readouterr().err == ""


def test_standard_input_and_several_captures(talk: Path, tmp_path: Path) -> None:
    assert "EXPOSED" in mailtap("analyze", "-", stdin=talk.read_bytes()).stdout
    second = tmp_path / "more.pcap"
    second.write_bytes(capture(Talk(client_port=41000, client="192.0.2.11").play(TALK).close().frames()))
    found = json.loads(mailtap("analyze", tmp_path, "-f", "json").stdout)
    assert [one["capture"] for one in found["sessions"]] == [str(talk), str(second)] or len(found["sessions"]) == 2


# -- bad input -----------------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    done = mailtap("analyze", tmp_path / "nothing.pcap")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing.pcap" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"just some text\nin a file\n", b"\xd4\xc3\xb2", bytes(100)])
def test_files_that_are_no_captures(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.pcap"
    path.write_bytes(content)
    done = mailtap("analyze", path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "odd.pcap" in done.stderr
    assert "Traceback" not in done.stderr


def test_cut_file_gives_what_it_holds_and_says_so(talk: Path) -> None:
    talk.write_bytes(talk.read_bytes()[:-300])
    done = mailtap("analyze", talk)
    assert done.returncode == 0
    assert "EXPOSED: 1 account" in done.stdout
    assert "cut" in done.stdout


def test_file_without_mail(tmp_path: Path) -> None:
    path = tmp_path / "web.pcap"
    frame = tcp_frame("192.0.2.1", "192.0.2.2", 50000, 80, 1, 1, 24, b"GET / HTTP/1.1\r\n\r\n")
    path.write_bytes(capture([(1, frame)]))
    done = mailtap("analyze", path)
    assert done.returncode == 0
    assert "No mail session was seen" in done.stdout


def test_unknown_link_type(tmp_path: Path) -> None:
    path = tmp_path / "odd.pcap"
    path.write_bytes(capture([(1, b"\x01\x02\x03\x04" * 8)], linktype=147))
    done = mailtap("analyze", path)
    assert done.returncode == 3
    assert "147" in done.stderr


def test_a_file_that_may_not_be_read(talk: Path) -> None:
    talk.chmod(0)
    for folder in (talk.parent, *talk.parent.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    # Root may read everything, so the command runs as nobody, with what it needs imported by a first call.
    code = (
        "import os, sys\nfrom analyzer.cli import run_command\nrun_command(['analyze', '/no/such/file'])\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        f"sys.exit(run_command(['analyze', {str(talk)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=CHILD_PATIENCE
    )
    assert done.returncode == 3
    assert "ermission" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_where_a_file_should_be_written(talk: Path, tmp_path: Path) -> None:
    done = mailtap("analyze", talk, "-o", tmp_path)
    assert done.returncode == 2
    assert "folder" in done.stderr


@pytest.mark.parametrize("form", names())
@pytest.mark.parametrize("command", ["analyze", "report"])
def test_a_place_that_cannot_be_is_told_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, form: str
) -> None:
    # What is to be read is not there: it was not looked for.
    (tmp_path / "folder.csv").mkdir()
    file = tmp_path / "file"
    file.write_text("mine")
    bad, way = (file, file / "new" / "result") if form in FOLDERS else (tmp_path / "folder.csv", file / "result")
    for place in (bad, tmp_path / "folder.csv", way):
        if place.suffix and form in FOLDERS - {"csv"}:
            continue  # is as good a folder as any
        assert run_command([command, "nowhere", "-f", form, "-o", str(place)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"mailtap: error: -o {place}")
        assert err.count("\n") == 1
    assert file.read_text() == "mine"
    good = (tmp_path / "new" / "folder", tmp_path) if form in FOLDERS else (tmp_path / "result", file)
    for place in good:
        assert run_command([command, "nowhere", "-f", form, "-o", str(place)]) == 3
        assert "nowhere: " in capsys.readouterr().err


def test_the_result_is_not_lost_where_a_folder_is_in_the_way_of_a_table(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all" / "tls.csv").mkdir(parents=True)
    assert run_command(["analyze", str(talk), "-f", "csv", "-o", str(tmp_path / "all")]) == 3
    out, err = capsys.readouterr()
    assert "tls.csv is a folder" in err
    assert "EXPOSED: 1 account" in out


def test_full_disk_keeps_the_result(talk: Path) -> None:
    done = mailtap("analyze", talk, "-f", "json", "-o", "/dev/full")
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "EXPOSED: 1 account" in done.stdout


def test_a_folder_that_is_not_there_is_told_before_the_run(talk: Path, tmp_path: Path) -> None:
    done = mailtap("analyze", talk, "-o", tmp_path / "no" / "such" / "folder" / "out.txt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no folder" in done.stderr


def test_a_capture_is_never_overwritten(talk: Path) -> None:
    before = talk.read_bytes()
    done = mailtap("analyze", talk, "-f", "json", "-o", talk)
    assert done.returncode == 2
    assert talk.read_bytes() == before


def test_results_keep_their_permissions_and_links(talk: Path, tmp_path: Path) -> None:
    out, link = tmp_path / "out.json", tmp_path / "link.json"
    assert mailtap("analyze", talk, "-f", "json", "-o", out, "--show-secrets").returncode == 0
    assert out.stat().st_mode & 0o777 == 0o600
    link.symlink_to(out)
    assert mailtap("analyze", talk, "-f", "json", "-o", link).returncode == 0
    assert link.is_symlink()
    assert out.stat().st_mode & 0o777 == 0o600


def test_logins_without_a_name_lead_too(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk(handshake=False).play("C: PASS Zulu7Tango\nS: +OK in").frames()))
    assert "EXPOSED: 1 login went over the wire in clear" in mailtap("analyze", path).stdout


def test_an_older_result_stays_until_the_new_one_is_complete(talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert mailtap("analyze", talk, "-f", "json", "-o", out).returncode == 0
    assert json.loads(out.read_text(encoding="utf-8"))["schema_version"] == 1
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("secrets", [[], ["--show-secrets"]])
def test_what_stands_beside_a_result_is_neither_followed_nor_in_the_way(
    talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secrets: list[str]
) -> None:
    # Names that were guessed, and the remains of a run that was killed.
    victim, out = tmp_path / "victim", tmp_path / "out.json"
    victim.write_text("mine")
    victim.chmod(0o666)
    names_taken = [f".out.json.{word}.part" for word in (str(os.getpid()), "00" * 8, "01" * 8)]
    for name in names_taken[:2]:
        (tmp_path / name).symlink_to(victim)
    (tmp_path / names_taken[2]).write_text("half a result")
    drawn, real = iter([bytes(8), b"\1" * 8, b"\2" * 8]), os.urandom
    monkeypatch.setattr("analyzer.cli.os.urandom", lambda size: next(drawn) if size == 8 else real(size))
    assert run_command(["analyze", str(talk), "-f", "json", "-o", str(out), *secrets]) == 0
    assert json.loads(out.read_text(encoding="utf-8"))["schema_version"] == 1
    assert not out.is_symlink()
    assert victim.read_text() == "mine"
    assert victim.stat().st_mode & 0o777 == 0o666
    assert out.stat().st_mode & 0o077 == (0 if secrets else 0o044 & ~umask())
    assert (tmp_path / names_taken[2]).read_text() == "half a result"
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.endswith(".part")) == sorted(names_taken)


def umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def test_broken_pipe(talk: Path) -> None:
    command = f"{sys.executable} -m analyzer analyze {talk} -f json; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({command}) | head -c 1 > /dev/null; true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=CHILD_PATIENCE,
    )
    assert "Traceback" not in done.stderr
    # A short result may fit the pipe before its reader goes; either way the tool says nothing odd.
    assert done.stderr.split()[-1] in ("0", "3")


def test_full_standard_output(talk: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", "analyze", str(talk)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=CHILD_PATIENCE,
        )
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_bad_file_among_good_ones(talk: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pcap"
    bad.write_bytes(b"no capture at all, only words")
    done = mailtap("analyze", talk, bad)
    assert done.returncode == 3
    assert "EXPOSED: 1 account" in done.stdout
    assert "bad.pcap" in done.stderr


def test_usage(tmp_path: Path) -> None:
    assert mailtap("analyze").returncode == 2
    assert mailtap("nonsense").returncode == 2
    assert mailtap("--version").stdout.startswith("mailtap 0.")
    assert "analyze" in mailtap("--help").stdout


def test_a_full_disk_and_a_reader_that_left_are_said_not_shown_as_crashes():
    office = str(Path(__file__).parent.parent / "captures" / "office.pcapng")
    for arguments in (["--help"], ["analyze", office]):
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            done = subprocess.run(
                [sys.executable, "-m", "analyzer", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 3
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stderr
        assert "free some space" in done.stderr
    # The reader is gone before the first word: whatever was written before would fit into the pipe.
    reader, writer = os.pipe()
    os.close(reader)
    try:
        left = subprocess.run(
            [sys.executable, "-m", "analyzer", "analyze", office],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (left.returncode, "-o FILE keeps it whole" in left.stderr) == (3, True)


def test_times_the_wrong_way_round(capsys: pytest.CaptureFixture[str]):
    office = str(Path(__file__).parent.parent / "captures" / "office.pcapng")
    assert run_command(["analyze", office, "--since", "2026-11-22", "--until", "2026-11-20"]) == 2
    assert "swap them" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json", "html", "csv"])
def test_a_stopped_run_tells_what_was_read_until_then(talk: Path, form: str) -> None:
    content = talk.read_bytes()
    half = len(content) * 3 // 4
    done = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "analyze", "-", "-f", form],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.stdin is not None
    done.stdin.write(content[:half])
    done.stdin.flush()
    until(lambda: _waits_for_more(done), CHILD_PATIENCE)
    done.send_signal(signal.SIGINT)
    out, err = done.communicate(timeout=CHILD_PATIENCE)
    assert done.returncode == 130
    assert err.decode().startswith(
        "mailtap: warning: the run was stopped; the results cover what was read until then\n"
    )
    if form == "json":
        found = json.loads(out)
        assert [one["capture"] for one in found["captures"]] == ["-"]
        assert 0 < found["captures"][0]["packets"] < 13
        assert found["captures"][0]["format"] == "pcap"
        assert len(found["sessions"]) == 1
        assert found["sessions"][0]["packets"] == found["captures"][0]["packets"]
    else:
        assert "0 captures" not in out.decode()
        assert form == "csv" or "the run was stopped" in out.decode()


def _waits_for_more(process: subprocess.Popen[bytes]) -> bool:
    """All that was written has been read, and the process sleeps until there is more."""
    assert process.stdin is not None
    unread = array.array("i", [0])
    fcntl.ioctl(process.stdin.fileno(), termios.FIONREAD, unread)
    return unread[0] == 0 and Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("report.html", "<!doctype html>"),
        ("REPORT.HTM", "<!doctype html>"),
        ("report.md", "# "),
        ("report.json", '{"schema_version"'),
        ("report.jsonl", '{"table"'),
        ("report.csv", "session_id,"),
        ("report.xlsx", "PK"),
        ("report.txt", "mailtap "),
        ("report", "mailtap "),
    ],
)
def test_the_name_of_the_file_tells_the_format(talk: Path, tmp_path: Path, name: str, beginning: str) -> None:
    out = tmp_path / name
    assert run_command(["analyze", str(talk), "-o", str(out)]) == 0
    assert out.read_bytes().decode("latin-1").lower().startswith(beginning.lower())


@pytest.mark.parametrize("name", ["x.ndjson", "r.PDF", "r.html.gz", "r.md.bak"])
def test_an_ending_that_tells_no_format_is_told_of(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / name
    assert run_command(["analyze", str(talk), "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("mailtap ")
    said = f"warning: -o {out}: the ending {out.suffix} tells no format, so text is written; --format names another"
    assert capsys.readouterr().err == f"mailtap: {said}\n"
    assert run_command(["analyze", str(talk), "-f", "text", "-o", str(out)]) == 0
    assert capsys.readouterr().err == ""


def test_the_help_names_the_endings_that_tell_a_format_and_what_writes_folders() -> None:
    words = " ".join(mailtap("analyze", "--help", COLUMNS="400").stdout.split())
    told = re.search(r"a folder for ([a-z, ]+) \(", words)
    assert told is not None
    assert set(re.split(", | and ", told[1])) == FOLDERS
    for ending in SUFFIXES:
        assert re.search(rf"(?<!\S|\w)\(?{re.escape(ending)}\b", words), ending


@pytest.mark.parametrize("name", ["r", "r.txt", "r.TEXT", "r.log", "r.out", "r.html", "report-2026.11.22", ".hidden"])
def test_an_ending_of_text_or_none_is_not(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run_command(["analyze", str(talk), "-o", str(tmp_path / name)]) == 0
    assert capsys.readouterr().err == ""


def test_a_format_that_is_named_counts_more_than_the_name_of_the_file(talk: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    assert run_command(["analyze", str(talk), "-f", "text", "-o", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("mailtap ")
    assert run_command(["analyze", str(talk), "-o", str(tmp_path / "all.parquet")]) == 0
    assert (tmp_path / "all.parquet" / "sessions.parquet").is_file()


def test_a_table_is_chosen_where_there_is_one_to_choose(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = ["analyze", str(talk), "--table", "findings"]
    for words in ([], ["-f", "json"], ["-f", "csv", "-o", str(tmp_path / "folder")], ["-o", str(tmp_path / "x.html")]):
        assert run_command([*findings, *words]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "--table findings chooses the table that csv writes" in err
    assert list(tmp_path.iterdir()) == [talk]
    assert run_command([*findings, "-o", str(tmp_path / "x.csv")]) == 0
    assert (tmp_path / "x.csv").read_text(encoding="utf-8").startswith("finding_id,")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-f", "text"], "and text has none: add -f html, or json"),
        (["-f", "markdown"], "and markdown has none"),
        (["-f", "csv"], "and csv writes the table of sessions: add --table messages"),
        (["-f", "csv", "--table", "messages"], ""),
        (["-f", "json"], ""),
        (["-f", "html"], ""),
    ],
)
def test_headers_that_show_nowhere_are_told_of(
    talk: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run_command(["analyze", str(talk), "--headers", *words]) == 0
    err = capsys.readouterr().err
    assert told in err if told else err == ""


def test_files_that_hold_nothing_of_use_have_one_exit_code(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("nothing\n")
    for option, said in (("--ca-file", "no certificate in this file"), ("--keylog", "no TLS secret in this file")):
        assert run_command(["analyze", str(talk), option, str(empty)]) == 3
        assert said in capsys.readouterr().err


def test_captures_and_stores_are_told_apart(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store.sqlite"
    open_store(str(store)).close()
    assert run_command(["analyze", str(store)]) == 3
    assert "is read by mailtap report" in capsys.readouterr().err
    assert run_command(["report", str(talk)]) == 3
    assert "captures are read by mailtap analyze" in capsys.readouterr().err
    assert run_command(["report", str(tmp_path)]) == 2
    assert "mailtap analyze reads folders of captures" in capsys.readouterr().err


def test_differences_name_a_capture_once(talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(talk.read_bytes()[:-7])
    for named in (cut, tmp_path):
        assert run_command(["diff", str(talk), str(named)]) == 0
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "cut" in line]
        assert line.count("cut.pcap:") == 1


def test_words_for_one_thing_are_of_one(talk: Path) -> None:
    # By itself, for it gives up rights.
    done = mailtap("monitor", "--follow", talk, "--store", "off", "--duration", "1s", "--metrics", "off", *USER)
    assert done.returncode == 0
    assert "13 packets, 0 lost, 1 session, 1 login in clear, " in done.stderr


def test_half_of_a_run_is_compared_with_nothing(talk: Path) -> None:
    done = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "diff", talk, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert done.stdin is not None
    done.stdin.write(talk.read_bytes()[:-100])
    done.stdin.flush()
    until(lambda: _waits_for_more(done), CHILD_PATIENCE)
    done.send_signal(signal.SIGINT)
    assert done.communicate(timeout=CHILD_PATIENCE) == (b"", b"mailtap: stopped; nothing was compared\n")
    assert done.returncode == 130


def test_a_note_of_an_interface_is_no_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Interface("eth0", 1), Interface("eth1", 2), Interface("eth2", 3)]
    found[0].addresses = ["192.0.2.1", "2001:db8::1"]
    found[1].addresses = ["fd00::2"]
    found[1].why = found[2].why = "is down"
    monkeypatch.setattr("analyzer.capture.interfaces.interfaces", lambda: found)
    assert run_command(["interfaces"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "INTERFACE  STATE  LINK  ADDRESSES",
        "eth0       down         192.0.2.1 2001:db8::1",
        "eth1       down         fd00::2    is down",
        "eth2       down         -          is down",
    ]


def test_interfaces_without_the_right_say_what_is_the_matter() -> None:
    program = (
        "import os, sys\nimport analyzer.cli, analyzer.capture.interfaces, analyzer.report.visible, analyzer.report.formats._page\n"
        "if os.geteuid() == 0:\n    os.setgroups([])\n    os.setuid(65534)\n"
        "sys.exit(analyzer.cli.run_command(['interfaces']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=CHILD_PATIENCE, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("INTERFACE ")
    assert done.stderr.startswith("mailtap: cannot capture here: it needs the capability CAP_NET_RAW.")
