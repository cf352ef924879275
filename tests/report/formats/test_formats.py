"""All formats: found by name, with the same counts for every sample, nothing unsafe and no secret in any of them."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path

import pytest
from openpyxl import load_workbook
from support.jobs import SAMPLES, UNSAFE_CHARACTERS, hostile_result, job_of, result_of, text_of
from support.traffic import capture
from support.waiting import CHILD_PATIENCE

from analyzer.cli import run_command
from analyzer.errors import UsageError
from analyzer.report import formats
from analyzer.report.columns import TABLES
from analyzer.report.formats import zeek

ALL = ["csv", "ecs", "html", "json", "jsonl", "markdown", "parquet", "text", "xlsx", "zeek"]


def test_formats_are_the_files_of_their_folder() -> None:
    assert formats.names() == ALL
    for name in ALL:
        module = formats.load(name)
        assert module.KIND in (formats.TEXT, formats.BINARY, formats.FOLDER, formats.TABLES)
        assert hasattr(module, "write_folder") == (module.KIND in (formats.FOLDER, formats.TABLES))
        assert hasattr(module, "write") == (module.KIND != formats.FOLDER)


def test_an_unknown_format_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"no format 'pdf'; formats: csv, ecs, html"):
        formats.load("pdf")
    with pytest.raises(UsageError):
        formats.load("__init__")


@pytest.mark.parametrize(
    ("name", "module", "extra"), [("parquet", "pyarrow", "parquet"), ("xlsx", "xlsxwriter", "xlsx")]
)
def test_a_format_says_what_it_needs(name: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda wanted: None if wanted == module else object())
    with pytest.raises(UsageError, match=rf"{module}, which is not installed; pip install 'mailtap\[{extra}\]'"):
        formats.load(name)


def counts_of(sample: str, folder: Path) -> dict[str, dict[str, int]]:
    """How many rows each table has, as each format tells it."""
    import pyarrow.parquet as pq

    job = job_of(result_of(sample))
    found: dict[str, dict[str, int]] = {"records": {table: len(job.rows(table)) for table in TABLES}}
    found["json"] = {table: len(json.loads(text_of(job, "json"))[table]) for table in TABLES}
    lines = [json.loads(line)["table"] for line in text_of(job, "jsonl").splitlines()]
    found["jsonl"] = {table: lines.count(table) for table in TABLES}
    formats.load("csv").write_folder(job, folder / "csv")
    found["csv"] = {
        table: len(list(csv.reader(io.StringIO((folder / "csv" / f"{table}.csv").read_text("utf-8"), newline="")))) - 1
        for table in TABLES
    }
    formats.load("parquet").write_folder(job, folder / "parquet")
    found["parquet"] = {table: pq.read_metadata(folder / "parquet" / f"{table}.parquet").num_rows for table in TABLES}
    book = load_workbook(io.BytesIO(text_of(job, "xlsx").encode("latin-1")), read_only=True)
    found["xlsx"] = {table: sum(1 for _ in book[table].iter_rows()) - 1 for table in TABLES}
    datasets = [json.loads(line)["event.dataset"] for line in text_of(job, "ecs").splitlines()]
    names = {table: f"mailtap.{event[0]}" for table, event in formats.load("ecs").EVENTS.items()}
    found["ecs"] = {table: datasets.count(names[table]) for table in TABLES}
    formats.load("zeek").write_folder(job, folder / "zeek")
    lines_of = {
        path.stem: sum(1 for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
        for path in (folder / "zeek").iterdir()
    }
    found["zeek"] = {
        "sessions": lines_of["conn"],
        "tls": lines_of["ssl"],
        "findings": lines_of["notice"],
        "messages": lines_of["smtp"] + lines_of["mail_message"],
        **{table: lines_of[log] for log, table in zeek.OWN.items() if table != "messages"},
    }
    page = text_of(job, "html")
    found["html"] = {
        table: int(count.replace(",", "")) for table, count in re.findall(r'data-count="(\w+)">([\d,]+)<', page)
    }
    rows = re.search(r"Rows of each table: (.*)\.\n", text_of(job, "markdown"))
    assert rows
    found["markdown"] = {
        table: int(count.replace(",", "")) for table, count in re.findall(r"(\w+) (\d[\d,]*\d|\d)", rows[1])
    }
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES)
def test_all_formats_hold_the_same_counts(sample: str, tmp_path: Path) -> None:
    found = counts_of(sample, tmp_path)
    for name, counts in found.items():
        assert counts == found["records"], name
    assert {name for name in ALL if name != "text"} == set(found) - {"records"}


def everything(form: str, folder: Path, *, show_secrets: bool = False) -> str:
    """All that a format writes of the hostile run, as text."""
    job = job_of(hostile_result(), headers=True, show_secrets=show_secrets)
    module = formats.load(form)
    if module.KIND in (formats.FOLDER, formats.TABLES):
        module.write_folder(job, folder)
        return "".join(path.read_bytes().decode("utf-8", "replace") for path in sorted(folder.iterdir()))
    if form == "xlsx":
        book = load_workbook(io.BytesIO(text_of(job, form).encode("latin-1")))
        return "\n".join(str(cell.value) for sheet in book for row in sheet.iter_rows() for cell in row)
    return text_of(job, form)


@pytest.mark.parametrize("form", [name for name in ALL if name != "parquet"])
def test_nothing_unsafe_comes_out(form: str, tmp_path: Path) -> None:
    text = everything(form, tmp_path)
    assert "alert(1)" in text
    for character in UNSAFE_CHARACTERS:
        assert character not in text, f"{character!r} in {form}"


@pytest.mark.parametrize("form", ALL)
def test_secrets_are_masked_unless_asked_for(form: str, tmp_path: Path) -> None:
    if form == "parquet":  # compressed: read back instead
        import pyarrow.parquet as pq

        formats.load(form).write_folder(job_of(hostile_result()), tmp_path)
        text = json.dumps([str(pq.read_table(path).to_pydict()) for path in tmp_path.iterdir()])
    else:
        text = everything(form, tmp_path / "masked")
    assert "Zulu7Tango" not in text
    assert base64.b64encode(b"Zulu7Tango").decode() not in text
    if form not in ("parquet", "markdown"):
        assert "Zulu7Tango" in everything(form, tmp_path / "shown", show_secrets=True)


def test_formats_that_need_a_folder_or_a_file_say_so_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.pcap"
    path.write_bytes(capture([]))
    for form in ("zeek", "parquet"):
        assert run_command(["analyze", str(path), "-f", form]) == 2
        assert "-o FOLDER" in capsys.readouterr().err
        (tmp_path / "file").write_text("x")
        assert run_command(["analyze", str(path), "-f", form, "-o", str(tmp_path / "file")]) == 2
        assert run_command(["analyze", str(path), "-f", form, "-o", str(tmp_path / form)]) == 0
        assert list((tmp_path / form).iterdir())
    for form in ("html", "markdown", "xlsx", "ecs"):
        assert run_command(["analyze", str(path), "-f", form, "-o", str(tmp_path / f"out.{form}")]) == 0
        assert (tmp_path / f"out.{form}").stat().st_size > 0


def test_the_page_and_the_markdown_import_neither_pandas_nor_matplotlib(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = tmp_path / "empty.pcap"
    path.write_bytes(capture([]))
    code = (
        "import sys\nfrom analyzer.cli import run_command\n"
        f"for form in ('html', 'markdown', 'ecs', 'xlsx'): run_command(['analyze', {str(path)!r}, '-f', form, '-o', {str(tmp_path / 'out')!r}])\n"
        "sys.stderr.write(' '.join(sorted({'pandas', 'scapy', 'matplotlib', 'numpy'} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=CHILD_PATIENCE
    )
    assert done.stderr == ""
