"""The measuring itself: times, memory, failures, tables."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import Run, Series, run_once
from peers import Program, mailtap_programs, peers
from run import Row, aligned, first_packets, run_all, table
from support.waiting import CHILD_PATIENCE
from synthetic.captures import write_capture

#: keeps the processor busy for so many seconds
BUSY = "import time\nwhile time.process_time() < {}: pass"


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_a_run_has_time_memory_and_exit_code(tmp_path: Path):
    script = f"{BUSY.format(0.2)}\nb = b'x' * 80_000_000; print('said'); raise SystemExit(3)"
    run = run_once(python(script), tmp_path / "out", cpu=None, timeout=CHILD_PATIENCE)
    assert (run.exit_code, run.timed_out) == (3, False)
    # the kernel counts in ticks
    assert run.seconds > 0.15
    assert run.peak_kib > 78_000
    assert (tmp_path / "out").read_text(encoding="utf-8") == "said\n"


def test_a_program_that_never_ends_is_ended(tmp_path: Path):
    run = run_once(python("import time; time.sleep(600)"), tmp_path / "out", cpu=None, timeout=0.3)
    assert run.timed_out
    assert run.exit_code < 0


def test_failures_are_named_and_the_rest_goes_on(tmp_path: Path):
    capture = tmp_path / "tiny.pcap"
    packets = write_capture(capture, "tiny").packets
    programs = [
        Program("good", python("pass")),
        Program("bad", python("import sys; sys.exit('it broke')")),
        Program("absent", ["absent"], "absent is not installed"),
    ]
    rows = run_all(programs, capture, packets, tmp_path, 2, CHILD_PATIENCE)
    assert [len(row.series.runs) for row in rows] == [2, 0, 0]
    text = table(rows)
    assert "| good" in text
    assert "Left out: bad: failed, exit code 1: it broke; absent: absent is not installed." in text


def test_a_slice_is_extrapolated(tmp_path: Path):
    capture = tmp_path / "tiny.pcap"
    packets = write_capture(capture, "tiny").packets
    programs = [Program("slow", python(BUSY.format(0.1)), slice_packets=packets // 2)]
    row = run_all(programs, capture, packets, tmp_path, 1, CHILD_PATIENCE)[0]
    assert row.seconds > 0.15
    part = first_packets(capture, tmp_path, 3)
    assert capture.read_bytes().startswith(part.read_bytes())


def test_ratios_are_to_mailtap_and_to_a_plain_read():
    series = [Series([Run(seconds, 2048, 0)]) for seconds in (0.5, 0.1, 2.0)]
    names = ("mailtap, compiled", "cat", "tshark")
    rows = [Row(Program(n, []), s, 1000, s.seconds) for n, s in zip(names, series, strict=True)]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table(rows).split("\n")]
    assert cells[2] == ["cat", "0.100", "10,000", "2", "0.20", "1.0"]
    assert cells[4] == ["tshark", "2.000", "500", "2", "4.00", "20.0"]


def test_tables_are_aligned():
    assert aligned([["a", "b"], ["long", "1"]]) == "| a    | b |\n|------|--:|\n| long | 1 |"


def test_every_peer_is_named_installed_or_not():
    names = " ".join(program.name for program in peers())
    for name in ("cat", "tcpdump", "ndpiReader", "dsniff", "tshark", "scapy", "pyshark"):
        assert name in names
    rows = mailtap_programs({"compiled": None, "pure": Path("/pure")})
    assert [bool(row.missing) for row in rows] == [True, True, False, False]
