"""Progress: on a terminal and in notebooks, late, gone in the end, in the way of nobody."""

from __future__ import annotations

import asyncio
import io
import sys
import types

import pytest
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
