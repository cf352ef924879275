"""Progress: on a terminal and in notebooks, late, gone in the end, in the way of nobody."""

from __future__ import annotations

import asyncio
import io
import sys
import types
from pathlib import Path

import nbformat
import pytest
from support.notebooks import run_notebook
from support.reports import CAPTURES

import analyzer
from analyzer.report import progress
from analyzer.report.progress import in_notebook, shown_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch: pytest.MonkeyPatch):
    """Standard error as a terminal; not a fixture, because pytest puts its own stream there before each phase."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    return stream


def test_a_function_is_told_how_far_the_reading_is():
    calls = []
    sample = CAPTURES / "office.pcapng"
    analyzer.analyze(sample, progress=lambda *told: calls.append(told))
    assert calls
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1] == sample.stat().st_size


def test_a_short_run_shows_nothing(monkeypatch: pytest.MonkeyPatch):
    assert 0.5 <= progress.DELAY <= 1.0
    # As short as it would be on a quick machine.
    monkeypatch.setattr(progress, "DELAY", 3600.0)
    stream = terminal(monkeypatch)
    analyzer.analyze(CAPTURES / "pop3-login.pcap")
    assert stream.getvalue() == ""


def test_a_long_run_shows_a_bar_and_takes_it_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)
    stream = terminal(monkeypatch)
    analyzer.analyze(CAPTURES / "office.pcapng")
    assert "reading" in stream.getvalue()
    assert "packets/s" in stream.getvalue()
    # the cursor is back
    assert "\x1b[?25h" in stream.getvalue()


def test_nothing_is_shown_where_nobody_looks_or_wants(monkeypatch: pytest.MonkeyPatch):
    terminal(monkeypatch)
    with shown_progress(False) as shown:
        assert shown is None
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with shown_progress(True) as shown:
        assert shown is None
    monkeypatch.setattr(sys, "stderr", None)
    with shown_progress(True) as shown:
        assert shown is None


def test_a_running_event_loop_does_not_matter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "DELAY", 0.0)

    stream = terminal(monkeypatch)

    async def work() -> analyzer.Report:
        return analyzer.analyze(CAPTURES / "pop3-login.pcap")

    assert len(asyncio.run(work()).sessions) == 13
    assert "reading" in stream.getvalue()


def test_a_notebook_is_told_by_its_kernel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not in_notebook()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()
    kernel = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.setattr(progress, "find_spec", lambda name: object())
    assert in_notebook()
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    assert not in_notebook()


@pytest.mark.slow
@pytest.mark.usefixtures("own_jupyter")
def test_a_notebook_gets_its_own_form_of_the_bar(tmp_path: Path):
    source = (
        "import asyncio, analyzer\nfrom analyzer.report import progress\nprogress.DELAY = 0.0\n"
        f"report = analyzer.analyze({str(CAPTURES / 'office.pcapng')!r})\n"
        "assert asyncio.get_event_loop().is_running()\nlen(report.sessions)"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    run_notebook(book, tmp_path)
    outputs = book.cells[0].outputs
    assert not [one for one in outputs if one.output_type == "stream"]
    assert any("application/vnd.jupyter.widget-view+json" in one.get("data", {}) for one in outputs)
    assert outputs[-1]["data"]["text/plain"] == "265"
