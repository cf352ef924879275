"""JSON written straight from the records is what the rows say, octet by octet."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from analyzer.pipeline import run
from analyzer.report.columns import TABLES
from analyzer.report.formats.json import RowWriter, write_json, write_jsonl
from analyzer.report.rows import RowList, RowMaker, push_rows

SAMPLES = Path(__file__).parents[3] / "captures"
KEY = b"key of the tests"


@pytest.mark.parametrize("secrets", [False, True])
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.pcap*")))
def test_what_is_written_is_what_the_rows_say(name: str, secrets: bool) -> None:
    result = run([SAMPLES / name], headers=secrets)
    whole = io.StringIO()
    write_json(result, RowMaker(secrets, secrets, KEY), whole, "1")
    lines = io.StringIO()
    write_jsonl(result, RowMaker(secrets, secrets, KEY), lines)
    maker = RowMaker(secrets, secrets, KEY)
    expected = '{"schema_version":1,"mailtap":"1"'
    expected_lines = ""
    for table in TABLES:
        sink = RowList()
        push_rows(table, result.sessions, result.captures, maker, sink)
        writer, named = RowWriter(table), RowWriter(table, f'{{"table":"{table}",')
        expected += f',\n"{table}":[' + ",\n".join([writer.write(row) for row in sink.rows]) + "]"
        expected_lines += "".join([named.write(row) + "\n" for row in sink.rows])
    assert whole.getvalue() == expected + "}\n"
    assert lines.getvalue() == expected_lines
    json.loads(whole.getvalue())
