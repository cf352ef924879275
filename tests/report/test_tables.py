"""The report and its tables: types, documentation, nothing heavy loaded, the same with and without pyarrow."""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from support.reports import CAPTURES, SAMPLES, report_of

import analyzer
from analyzer.report.columns import TABLES
from analyzer.report.frames import FIRST_NS, LAST_NS, frame_of, frame_of_columns
from analyzer.report.tables import TYPES

PANDAS = {
    "text": "string",
    "word": "category",
    "count": "Int64",
    "flag": "boolean",
    "time": "datetime64[ns, UTC]",
    "list": "object",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("sample", ["office.pcapng", "not-mail.pcap"])
def test_tables_have_the_documented_columns_and_types(name: str, sample: str):
    frame = report_of(sample).table(name)
    assert list(frame.columns) == [column.name for column in TABLES[name]]
    for column in TABLES[name]:
        assert str(frame[column.name].dtype) == PANDAS[column.kind], column.name


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_has_the_same_types(name: str):
    full, empty = report_of("office.pcapng").table(name), frame_of(name, [])
    assert len(empty) == 0
    assert [str(kind) for kind in empty.dtypes] == [str(kind) for kind in full.dtypes]


@pytest.mark.parametrize("name", TABLES)
def test_each_table_documents_each_column(name: str):
    text = inspect.getdoc(getattr(analyzer.Report, name))
    assert text
    lines = dict(line.split(" (", 1) for line in text.splitlines()[2:])
    assert list(lines) == list(report_of("office.pcapng").table(name).columns)
    for column in TABLES[name]:
        assert lines[column.name] == f"{TYPES[column.kind]}): {column.meaning}"
        assert column.meaning


def test_words_are_among_those_documented():
    listed = {"protocol": TABLES["sessions"][11].meaning}
    for sample in SAMPLES:
        for name, frame in report_of(sample).tables.items():
            for column in TABLES[name]:
                meaning = listed.get(column.name, column.meaning)
                # Slugs of rules, services of ports and mechanisms are lists of their own.
                if column.kind == "word" and column.name not in ("rule", "port_service", "mechanism"):
                    known = set(meaning.replace(",", " ").replace(";", " ").replace(":", " ").split())
                    known |= set("ABCDEF") if column.name == "grade" else set()
                    assert set(frame[column.name].dropna()) <= known, f"{sample} {name}.{column.name}"


def test_severities_sort_from_harmless_to_worst():
    severity = report_of("office.pcapng").findings["severity"]
    assert severity.cat.ordered
    assert list(severity.cat.categories) == ["info", "low", "medium", "high", "critical"]
    assert severity.max() == "critical"


def test_times_beyond_what_pandas_holds_stand_at_its_ends():
    year_9999 = 253_402_300_799 * 10**9
    frame = frame_of_columns("tls", {"cert_not_before": [-year_9999, None], "cert_not_after": [year_9999, 0]}, 2)
    assert frame["cert_not_before"].iloc[0] == pd.Timestamp(FIRST_NS, tz="UTC")
    assert frame["cert_not_after"].iloc[0] == pd.Timestamp(LAST_NS, tz="UTC")
    assert frame["cert_not_before"].isna().tolist() == [False, True]
    assert frame["cert_not_after"].iloc[1] == pd.Timestamp(0, tz="UTC")


def test_lone_surrogates_and_lists_of_one_length_survive():
    frame = frame_of_columns("sessions", {"server_banner": ["caf\udce9"], "capabilities": [["A", "B"]]}, 1)
    assert frame["server_banner"].iloc[0] == "caf\udce9"
    assert frame["capabilities"].iloc[0] == ["A", "B"]


def test_tables_cannot_be_replaced_and_unknown_ones_are_none():
    report = report_of("office.pcapng")
    with pytest.raises(AttributeError, match="work on a copy"):
        report.sessions = 1
    with pytest.raises(KeyError):
        report.table("session")


def test_tables_are_the_same_without_pyarrow(tmp_path: Path):
    script = (
        "import sys, pickle\nsys.modules['pyarrow'] = None\nimport analyzer\n"
        "report = analyzer.analyze(sys.argv[1], key=b'tests', progress=False)\n"
        "pickle.dump(report.tables, open(sys.argv[2], 'wb'))"
    )
    source, target = CAPTURES / "office.pcapng", tmp_path / "tables"
    subprocess.run([sys.executable, "-c", script, source, target], check=True)
    without = pickle.loads(target.read_bytes())
    for name, frame in report_of("office.pcapng").tables.items():
        assert_frame_equal(frame, without[name])


HEAVY = "print(*sorted({'pandas', 'numpy', 'matplotlib', 'scapy', 'pyarrow', 'IPython'} & set(sys.modules)))"


@pytest.mark.parametrize(
    ("script", "loaded"),
    [
        ("import analyzer", ""),
        ("from analyzer import analyze, concat, load, Report", ""),
        ("import analyzer; analyzer.analyze(SAMPLE)", ""),
        ("import analyzer; analyzer.analyze(SAMPLE).charts", ""),
        ("import analyzer; analyzer.analyze(SAMPLE).charts.exposure()", "matplotlib numpy pandas"),
        ("from analyzer.cli import run_command; run_command(['analyze', SAMPLE, '-o', '/dev/null'])", ""),
        ("from analyzer.cli import run_command; run_command(['analyze', SAMPLE, '-f', 'json', '-o', '/dev/null'])", ""),
    ],
)
def test_heavy_libraries_load_when_used(script: str, loaded: str):
    lines = f"import sys\nSAMPLE = {str(CAPTURES / 'pop3-login.pcap')!r}\n{script}\n{HEAVY}"
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) - {"pyarrow"} == set(loaded.split())


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_report_in_a_file_loads_little(form: str, tmp_path: Path):
    """Start-up is part of the speed: no colours, no OpenSSL and no sockets for who needs none. JSON has the capture's SHA-256."""
    # A path that the report has to cut.
    sample = tmp_path / os.fsdecode("Größe-".encode() * 12) / "pop3-login.pcap"
    sample.parent.mkdir()
    shutil.copy(CAPTURES / sample.name, sample)
    lines = (
        f"import sys\nSAMPLE = {str(sample)!r}\nfrom analyzer.cli import run_command\n"
        f"run_command(['analyze', SAMPLE, '-f', '{form}', '-o', '/dev/null'])\n"
        "print(*sorted({'rich', '_hashlib', 'socket', 'cryptography', 'random'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ([] if form == "text" else ["_hashlib"])


def test_a_report_reads_paths_folders_and_single_files(tmp_path: Path):
    sample = CAPTURES / "pop3-login.pcap"
    (tmp_path / "copy.pcap").write_bytes(sample.read_bytes())
    alone = analyzer.analyze(str(sample), progress=False)
    for paths in (sample, [sample], tmp_path):
        report = analyzer.analyze(paths, progress=False)
        assert len(report.sessions) == len(alone.sessions)
    assert Path(report.captures["capture"].iloc[0]).name == "copy.pcap"


def test_a_capture_that_has_changed_since_has_no_hash(tmp_path: Path):
    path = tmp_path / "a.pcapng"
    path.write_bytes((CAPTURES / "office.pcapng").read_bytes())
    report = analyzer.analyze(path, progress=False)
    path.write_bytes(path.read_bytes() + bytes(4))
    assert report.captures["sha256"].isna().all()
    assert any("has changed since it was read" in warning for warning in report.warnings)
