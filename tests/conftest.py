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
# What the outputs of the tests look like must not depend on whose terminal they are started from.
for name in (
    "FORCE_COLOR",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "COLUMNS",
    "LINES",
):
    os.environ.pop(name, None)
sys.path.insert(0, str(Path(__file__).parent))


def pytest_report_header() -> str:
    return f"mailtap {analyzer.__version__}, {build_kind()}, from {analyzer.__path__[0]}"
