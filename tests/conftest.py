"""What all tests share: the run says which mailtap it is about, and ``support`` is found wherever pytest was started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import settings

import analyzer
from analyzer._build import build_kind

# No deadlines: the first call of a property may import much. On a build server the examples are the same each time; elsewhere new
# ones are tried at every run.
settings.register_profile("mailtap", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("mailtap")
sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header() -> str:
    return f"mailtap {analyzer.__version__}, {build_kind()}, from {analyzer.__path__[0]}"
