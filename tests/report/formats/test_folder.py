"""Folders of files: whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import job_of, result_of
from support.reports import report_of

import analyzer
from analyzer.errors import UsageError
from analyzer.pipeline import Result
from analyzer.report.formats import Job, load
from analyzer.report.formats._folder import whole_folder

FOLDERS = ("csv", "parquet", "zeek")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_both(folder: Path) -> None:
    with whole_folder(folder) as part:
        (part / "a").write_text("newer")
        (part / "b").write_text("newer")


def broken_job() -> Job:
    """A run that cannot be written to its end: its last session is none."""
    result = Result()
    whole = result_of("office.pcapng")
    result.captures = whole.captures
    result.sessions = [*whole.sessions, object()]  # type: ignore[list-item] # that is what breaks it
    return job_of(result)


@pytest.mark.parametrize("form", FOLDERS)
def test_a_run_that_fails_leaves_the_older_result_and_nothing_else(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    load(form).write_folder(job_of(result_of("pop3-login.pcap")), folder)
    before = content(folder)
    with pytest.raises((TypeError, AttributeError)):
        load(form).write_folder(broken_job(), folder)
    assert content(folder) == before
    with pytest.raises((TypeError, AttributeError)):
        load(form).write_folder(broken_job(), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("form", FOLDERS)
def test_a_newer_result_replaces_the_older_and_leaves_what_is_not_its_own(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "deeper").mkdir()
    load(form).write_folder(job_of(result_of("pop3-login.pcap")), folder)
    one = next(path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "notes.txt")
    one.chmod(0o640)
    load(form).write_folder(job_of(result_of("office.pcapng")), folder)
    load(form).write_folder(job_of(result_of("office.pcapng")), tmp_path / "fresh")
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "deeper"} | set(content(tmp_path / "fresh"))
    assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert stat.S_IMODE(one.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out"]


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize("there", [True, False], ids=["into-a-folder", "as-a-folder"])
@pytest.mark.parametrize("form", FOLDERS)
def test_files_with_secrets_are_for_their_owner_alone_in_any_folder(form: str, there: bool, tmp_path: Path) -> None:
    result = result_of("pop3-login.pcap")
    for folder, shown in ((tmp_path / "open", True), (tmp_path / "masked", False)):
        if there:
            folder.mkdir()
            (folder / "notes.txt").write_text("mine")
        load(form).write_folder(job_of(result, show_secrets=shown), folder)
        modes = {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir() if one.name != "notes.txt"}
        assert modes == {0o600 if shown else 0o644}
        assert stat.S_IMODE(folder.stat().st_mode) == (0o755 if there or not shown else 0o700)
        if there:
            assert stat.S_IMODE((folder / "notes.txt").stat().st_mode) == 0o644


@pytest.mark.usefixtures("usual_umask")
def test_files_that_were_there_keep_their_permissions_with_secrets_too(tmp_path: Path) -> None:
    (tmp_path / "credentials.csv").write_text("older")
    (tmp_path / "credentials.csv").chmod(0o640)
    load("csv").write_folder(job_of(result_of("pop3-login.pcap"), show_secrets=True), tmp_path)
    assert stat.S_IMODE((tmp_path / "credentials.csv").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "sessions.csv").stat().st_mode) == 0o600


def test_permissions_are_those_of_any_new_folder_and_narrower_with_secrets(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    result = result_of("pop3-login.pcap")
    load("csv").write_folder(job_of(result), tmp_path / "masked")
    load("csv").write_folder(job_of(result, show_secrets=True), tmp_path / "open")
    assert (tmp_path / "masked").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_a_link_stays_a_link_and_what_is_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with whole_folder(tmp_path / "link") as part:
        (part / "a").write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "a").read_text(encoding="utf-8") == "new"
    (tmp_path / "disk" / "b").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        write_both(tmp_path / "disk")
    assert (tmp_path / "disk" / "a").read_text(encoding="utf-8") == "new"
    with pytest.raises(UsageError, match="is a file"), whole_folder(tmp_path / "disk" / "a"):
        pass


def test_the_working_folder_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with whole_folder(Path()) as part:
        (part / "a").write_text("new")
    assert names(tmp_path) == ["a"]


def test_a_saved_report_that_fails_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, other = report_of("pop3-login.pcap"), report_of("office.pcapng")
    kept.save(tmp_path / "kept")
    broken = analyzer.Report(frames=dict(other.tables) | {"findings": other.findings.drop(columns=["rule"])})
    with pytest.raises(KeyError):
        broken.save(tmp_path / "kept")
    assert len(analyzer.load(tmp_path / "kept").sessions) == len(kept.sessions)
    assert names(tmp_path) == ["kept"]


def test_a_saved_report_and_the_format_are_the_same_files(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    report_of("office.pcapng").save(tmp_path / "saved")
    load("parquet").write_folder(job_of(result_of("office.pcapng")), tmp_path / "format")
    for path in (tmp_path / "format").iterdir():
        one, other = pq.read_schema(path), pq.read_schema(tmp_path / "saved" / path.name)
        assert one.equals(other)
        assert one.field(0).metadata == other.field(0).metadata
