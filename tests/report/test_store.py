"""Reports saved and read back: equal, for every sample, whatever is in the text; damage is said."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal
from support.reports import CAPTURES, SAMPLES, made_up, report_of

import analyzer
from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture, OutputError, UsageError
from analyzer.report.columns import TABLES
from analyzer.report.store import SCHEMA_VERSION, from_arrow, to_arrow

#: Samples of the quick run; all others are in the whole one.
QUICK = ("office.pcapng", "tls-certificates.pcap", "not-mail.pcap")


def assert_reports_equal(left: analyzer.Report, right: analyzer.Report):
    for name in TABLES:
        assert_frame_equal(left.table(name), right.table(name), check_exact=True)
    assert left.warnings == right.warnings


@pytest.mark.parametrize(
    "sample", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLES]
)
def test_a_saved_report_is_read_back_as_it_was(sample: str, tmp_path: Path):
    report = report_of(sample)
    assert report.save(tmp_path / "kept") == tmp_path / "kept"
    assert_reports_equal(analyzer.load(str(tmp_path / "kept")), report)


@pytest.mark.parametrize(("shown", "mode"), [(True, 0o700), (False, 0o755)])
def test_a_report_with_secrets_is_for_its_owner_alone(shown: bool, mode: int, tmp_path: Path):
    before = os.umask(0o022)
    try:
        (tmp_path / "there").mkdir()
        report = analyzer.analyze(CAPTURES / "pop3-apop.pcap", show_secrets=shown)
        report.save(tmp_path / "kept")
        report.save(tmp_path / "there")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o755
    files = [*(tmp_path / "kept").iterdir(), *(tmp_path / "there").iterdir()]
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {mode & 0o666}


def test_octets_that_were_no_text_survive(tmp_path: Path):
    rows = [
        {
            "session_id": "a",
            "server_banner": "caf\udce9",
            "capabilities": ["\udcff", "日本"],
            "client_name": "\x00\x1b[31m",
            "protocol": "pop3",
        },
        {"session_id": "b", "server_banner": None, "capabilities": [], "client_name": "😀"},
    ]
    frames = {name: made_up(name, rows if name == "sessions" else []) for name in TABLES}
    report = analyzer.Report(frames=frames, warnings=["one", "zwölf \udce9"])
    report.save(tmp_path)
    assert_reports_equal(analyzer.load(tmp_path), report)


def test_parquet_files_have_natural_types():
    table = to_arrow("sessions", report_of("office.pcapng").sessions)
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["start"] == "timestamp[ns, tz=UTC]"
    assert kinds["client_ip"] == "string"
    assert kinds["client_port"] == "int64"
    assert kinds["compressed"] == "bool"
    assert kinds["capabilities"].startswith("list<")
    assert kinds["protocol"].startswith("dictionary<values=string")


def test_a_column_that_came_later_is_empty():
    report = report_of("pop3-login.pcap")
    older = to_arrow("sessions", report.sessions).drop_columns(["anomalies", "not_mail"])
    frame = from_arrow("sessions", older)
    assert list(frame.columns) == list(report.sessions.columns)
    assert frame["not_mail"].isna().all()
    assert frame["anomalies"].tolist() == [[]] * len(frame)


def test_an_older_report_is_replaced(tmp_path: Path):
    report_of("office.pcapng").save(tmp_path)
    report_of("pop3-login.pcap").save(tmp_path)
    assert_reports_equal(analyzer.load(tmp_path), report_of("pop3-login.pcap"))


def test_secrets_stay_masked(tmp_path: Path):
    report_of("pop3-login.pcap").save(tmp_path)
    assert set(analyzer.load(tmp_path).credentials["secret"].dropna()) == {"********"}


def test_what_is_no_report_is_said(tmp_path: Path):
    with pytest.raises(
        NotACapture, match=r"neither a folder that report.save\(\) wrote, .*; captures are read by analyzer.analyze\(\)"
    ):
        analyzer.load(CAPTURES / "office.pcapng")
    with pytest.raises(CaptureNotFound, match="no such folder"):
        analyzer.load(tmp_path / "none")
    with pytest.raises(NotACapture, match="missing"):
        analyzer.load(tmp_path)
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(NotACapture, match="damaged"):
        analyzer.load(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(NotACapture, match="damaged"):
        analyzer.load(tmp_path)


@pytest.mark.parametrize("sealed", [["x"], {"x.pcapng": 3}, {"x.pcapng": None}, "x"])
def test_a_list_of_report_json_that_is_none_is_damage(sealed: object, tmp_path: Path):
    report_of("pop3-login.pcap").save(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"sealed": sealed}))
    with pytest.raises(NotACapture, match="damaged"):
        analyzer.load(tmp_path)


def test_a_later_layout_is_refused(tmp_path: Path):
    report_of("pop3-login.pcap").save(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(NotACapture, match=f"layout {SCHEMA_VERSION + 1}"):
        analyzer.load(tmp_path)


def test_missing_cut_and_exchanged_files_are_said(tmp_path: Path):
    report_of("pop3-login.pcap").save(tmp_path)
    path = tmp_path / "sessions.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaptureUnreadable, match=r"sessions\.parquet"):
        analyzer.load(tmp_path)
    path.unlink()
    with pytest.raises(CaptureUnreadable, match=r"sessions\.parquet"):
        analyzer.load(tmp_path)
    path.write_bytes((tmp_path / "captures.parquet").read_bytes())
    with pytest.raises(CaptureUnreadable, match="rows"):
        analyzer.load(tmp_path)


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="is a file"):
        report_of("pop3-login.pcap").save(file)
    with pytest.raises(OutputError, match="could not be written"):
        report_of("pop3-login.pcap").save(file / "below")


def test_without_pyarrow_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    report = report_of("pop3-login.pcap")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"mailtap\[parquet\]"):
        report.save(tmp_path)


#: Endings, what they begin with, and whether it is one file.
ENDINGS = {
    "report.html": b"<!DOCTYPE html>",
    "report.HTM": b"<!DOCTYPE html>",
    "report.json": b'{"schema_version":1,',
    "report.jsonl": b'{"table":"captures",',
    "report.md": b"#",
    "report.csv": b"session_id,capture,",
    "report.xlsx": b"PK",
    "report.txt": b"mailtap ",
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_ending_tells_the_format_as_on_the_command_line(name: str, tmp_path: Path):
    place = tmp_path / name
    assert report_of("pop3-login.pcap").save(place) == place
    assert place.read_bytes().startswith(ENDINGS[name])
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("name", ["kept", "kept.parquet", "2026-11-21", "mail.example.org", "kept.v2"])
def test_what_tells_no_format_is_a_folder_to_be_read_back(name: str, tmp_path: Path):
    report_of("pop3-login.pcap").save(tmp_path / name)
    assert (tmp_path / name / "report.json").is_file()
    assert_reports_equal(analyzer.load(tmp_path / name), report_of("pop3-login.pcap"))


def test_the_format_may_be_named(tmp_path: Path):
    report = report_of("pop3-login.pcap")
    report.save(tmp_path / "lines", format="ecs")
    assert (tmp_path / "lines").read_bytes().startswith(b'{"@timestamp":')
    report.save(tmp_path / "page.txt", "html")
    assert (tmp_path / "page.txt").read_bytes().startswith(ENDINGS["report.html"])
    report.save(tmp_path / "odd.json", "parquet")
    assert (tmp_path / "odd.json" / "sessions.parquet").is_file()
    report.save(tmp_path / "tables", "csv")
    assert {one.stem for one in (tmp_path / "tables").iterdir()} == set(TABLES)
    report.save(tmp_path / "logins.csv", table="credentials")
    assert len((tmp_path / "logins.csv").read_text(encoding="utf-8").splitlines()) == len(report.credentials) + 1
    for wrong in ({"format": "pdf"}, {"table": "logins"}):
        with pytest.raises(UsageError, match="there is no"):
            report.save(tmp_path / "x.csv", **wrong)
    with pytest.raises(UsageError, match="is a folder"):
        report.save(tmp_path / "tables", "html")


@pytest.mark.parametrize("shown", [True, False])
def test_a_file_with_secrets_is_for_its_owner_alone(shown: bool, tmp_path: Path):
    before = os.umask(0o022)
    try:
        analyzer.analyze(CAPTURES / "pop3-apop.pcap", show_secrets=shown).save(tmp_path / "all.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "all.json").stat().st_mode) == (0o600 if shown else 0o644)


def test_tables_alone_make_no_other_format(tmp_path: Path):
    part = report_of("pop3-login.pcap").filter(client="198.51.100.10")
    with pytest.raises(UsageError, match="made of the records"):
        part.save(tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []
    # Between two times there are records.
    report_of("pop3-login.pcap").filter(since="2026-01-01").save(tmp_path / "x.html")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    report = report_of("pop3-login.pcap")
    for place, missing in (
        ("no/report.html", "no"),
        ("no/such/report.json", "no/such"),
        ("file/x.md", "file"),
        ("file/x", "file"),
    ):
        with pytest.raises(OutputError) as caught:
            report.save(tmp_path / place)
        assert (
            str(caught.value)
            == f"{tmp_path / place}: the report could not be written, for there is no folder {tmp_path / missing}; make it first"
        )
    # Whoever writes a folder makes those on the way to it.
    assert len(analyzer.load(report.save(tmp_path / "no/such/folder")).sessions) == len(report.sessions)


@pytest.mark.parametrize("sample", QUICK)
@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_json_result_is_read_back_as_it_was(sample: str, form: str, tmp_path: Path):
    report = report_of(sample)
    read = analyzer.load(report.save(tmp_path / f"result.{form}"))
    for name in TABLES:
        assert_frame_equal(read.table(name), report.table(name), check_exact=True)
    assert read.summary().equals(report.summary())
    assert "exposed" in repr(read)


def test_a_json_result_tells_the_times_it_is_of(tmp_path: Path):
    for times in (
        {"since": "2026-11-22"},
        {"since": "2026-11-21T23:15:40.5", "until": "9999-12-31"},
        {"until": "2026-11-21"},
    ):
        part = report_of("pop3-login.pcap").filter(**times)
        part.save(tmp_path / "x.json")
        read = analyzer.load(tmp_path / "x.json")
        assert len(read.sessions) == len(part.sessions)
        assert read.warnings == part.warnings != []
    text = (tmp_path / "x.json").read_text()
    for good, bad in (
        ('"since":null', '"since":7'),
        ('"until":"2026', '"until":"x'),
        ('"left_out":13', '"left_out":[]'),
    ):
        assert good in text
        (tmp_path / "y.json").write_text(text.replace(good, bad))
        with pytest.raises(NotACapture, match="no result of mailtap"):
            analyzer.load(tmp_path / "y.json")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"schema_version":2}',
        '{"schema_version":1}',
        '{"schema_version":1,"sessions":[7]}',
        '{"table":"sessions","client_port":"x"}',
        '{"table":"sessions","start":"today"}',
        '{"table":"sessions","capabilities":"x"}',
        '{"table":"sessions"',
        '{"table":7}\n[]',
    ],
)
def test_json_that_is_no_result_is_said(text: str, tmp_path: Path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(NotACapture, match="no result of mailtap"):
        analyzer.load(tmp_path / "x.json")
