"""What all tests share: the run says which mailtap it is about."""

from __future__ import annotations

import analyzer
from analyzer._build import build_kind


def pytest_report_header() -> str:
    return f"mailtap {analyzer.__version__}, {build_kind()}, from {analyzer.__path__[0]}"
