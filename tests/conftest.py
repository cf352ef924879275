"""What all tests share: the run says which mailtap it is about, and ``support`` is found wherever pytest was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import analyzer
from analyzer._build import build_kind

# No deadlines: the first call of a property may import much. On a build server the examples are the same each time; elsewhere new
# ones are tried at every run. Where the working folder may not be written, what failed is not remembered. How long examples take to make,
# and how many are thrown away, is a matter of the machine and of chance. Functions under @given that use a folder of the test write the
# same file again for each example.
settings.register_profile(
    "mailtap",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.large_base_example,
        HealthCheck.function_scoped_fixture,
    ],
)
if not os.access(".", os.W_OK):
    settings.register_profile("mailtap", settings.get_profile("mailtap"), database=None)
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
# Nor on whether they were started in the background or with nohup, where shells have signals ignored, and children inherit that.
if threading.current_thread() is threading.main_thread():
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def own_matplotlib(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of matplotlib's with its list of fonts: where it makes that first, it says so on a slow machine."""
    folder = str(tmp_path_factory.mktemp("matplotlib"))
    made = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(made, check=True, capture_output=True, env={**os.environ, "MPLCONFIGDIR": folder})
    return folder


@pytest.fixture
def own_jupyter(tmp_path: Path, own_matplotlib: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels as they are for everybody: not as the user has set them up, or cannot where the home folder may not be written."""
    monkeypatch.setenv("MPLCONFIGDIR", own_matplotlib)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))


def pytest_report_header() -> str:
    return f"mailtap {analyzer.__version__}, {build_kind()}, from {analyzer.__path__[0]}"
