"""Parquet and XLSX: typed, and nothing in a cell does anything."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import load_workbook
from support.jobs import hostile_result, job_of, result_of, text_of

from analyzer.pipeline import Result
from analyzer.report.columns import TABLES
from analyzer.report.formats import load

ARROW = {
    "text": pa.string(),
    "word": pa.dictionary(pa.int32(), pa.string()),
    "count": pa.int64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("ns", "UTC"),
    "list": pa.list_(pa.string()),
}


def test_parquet_is_typed_and_documented_even_when_empty(tmp_path: Path) -> None:
    for name, result in (("full", result_of("office.pcapng")), ("empty", Result())):
        load("parquet").write_folder(job_of(result), tmp_path / name)
        for table, columns in TABLES.items():
            schema = pq.read_schema(tmp_path / name / f"{table}.parquet")
            assert [(field.name, field.type) for field in schema] == [(one.name, ARROW[one.kind]) for one in columns]
            assert schema.metadata[b"table"] == table.encode()
            assert schema.field(0).metadata[b"meaning"] == columns[0].meaning.encode()


def test_parquet_holds_the_rows(tmp_path: Path) -> None:
    job = job_of(result_of("office.pcapng"))
    load("parquet").write_folder(job, tmp_path)
    rows = pq.read_table(tmp_path / "sessions.parquet").to_pandas()
    expected = job.rows("sessions")
    names = [column.name for column in TABLES["sessions"]]
    assert rows["session_id"].tolist() == [row[0] for row in expected]
    assert rows["start"].astype("int64").tolist() == [row[names.index("start")] for row in expected]
    assert rows["transport"].tolist() == [row[names.index("transport")] for row in expected]
    assert [list(value) for value in rows["capabilities"]] == [row[names.index("capabilities")] for row in expected]


def test_parquet_takes_octets_that_were_no_text(tmp_path: Path) -> None:
    load("parquet").write_folder(job_of(hostile_result()), tmp_path)
    names = pq.read_table(tmp_path / "credentials.parquet")["username"].to_pylist()
    assert "caf\\xe9" in names
    assert "日本語" in names


def test_no_cell_is_a_formula_or_a_link() -> None:
    octets = text_of(job_of(hostile_result(), headers=True), "xlsx").encode("latin-1")
    archive = zipfile.ZipFile(io.BytesIO(octets))
    for name in archive.namelist():
        if name.startswith("xl/worksheets/"):
            content = archive.read(name).decode()
            assert "<f>" not in content
            assert "<hyperlink" not in content
    book = load_workbook(io.BytesIO(octets))
    cells = [cell for row in book["credentials"].iter_rows() for cell in row if "HYPERLINK" in str(cell.value)]
    assert [(cell.value, cell.data_type) for cell in cells] == [("=HYPERLINK(1)", "s")] or all(
        cell.data_type in ("s", "inlineStr") for cell in cells
    )
    assert cells


def test_a_workbook_has_typed_cells_and_an_overview() -> None:
    job = job_of(result_of("office.pcapng"))
    book = load_workbook(io.BytesIO(text_of(job, "xlsx").encode("latin-1")))
    assert book.sheetnames == ["overview", *TABLES]
    assert "13 accounts on 5 servers sent" in str(book["overview"]["A2"].value)
    sheet = book["sessions"]
    heads = [cell.value for cell in sheet[1]]
    assert heads == [column.name for column in TABLES["sessions"]]
    first = dict(zip(heads, [cell.value for cell in sheet[2]], strict=True))
    row = dict(zip(heads, job.rows("sessions")[0], strict=True))
    assert isinstance(first["start"], dt.datetime)
    assert first["client_port"] == row["client_port"]
    assert first["compressed"] is row["compressed"]
    assert sheet.auto_filter.ref
    assert sheet.freeze_panes == "A2"


def test_the_same_run_gives_the_same_workbook() -> None:
    job = job_of(result_of("pop3-login.pcap"))
    first, second = text_of(job, "xlsx"), text_of(job, "xlsx")
    one, other = (
        zipfile.ZipFile(io.BytesIO(first.encode("latin-1"))),
        zipfile.ZipFile(io.BytesIO(second.encode("latin-1"))),
    )
    assert {name: one.read(name) for name in one.namelist()} == {name: other.read(name) for name in other.namelist()}


def test_certificates_that_never_end_fit_a_cell() -> None:
    from analyzer.report.formats.xlsx import _Sheet

    written: list[tuple[object, ...]] = []

    class Sheet:
        def __getattr__(self, name: str) -> object:
            return lambda *values: written.append((name, *values))

    class Book:
        def add_worksheet(self, name: str) -> Sheet:
            return Sheet()

    sheet = _Sheet(Book(), "tls", {"time": None, "head": None})
    written.clear()
    for moment in (-(2**62), 0, 2**63 - 1, 253402300799 * 10**9 + 10**12):
        sheet._write_time(1, 1, moment)
    assert [one[0] for one in written] == ["write_string", "write_datetime", "write_datetime", "write_datetime"]
