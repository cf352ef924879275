"""What all tests share: the run says which mailtap it is about, and ``support`` is found wherever pytest was started."""

from __future__ import annotations

import sys
from pathlib import Path

import analyzer
from analyzer._build import build_kind

sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header() -> str:
    return f"mailtap {analyzer.__version__}, {build_kind()}, from {analyzer.__path__[0]}"
