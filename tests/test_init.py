"""The public face of the package: names, laziness, typing."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

import analyzer


def test_all_is_sorted_and_every_name_is_there():
    assert analyzer.__all__ == sorted(analyzer.__all__)
    assert len(set(analyzer.__all__)) == len(analyzer.__all__)
    for name in analyzer.__all__:
        assert getattr(analyzer, name) is not None
        assert name in dir(analyzer)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        _ = analyzer.analyse


def test_import_loads_nothing_heavy():
    script = "import sys, analyzer; print(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    heavy = {"pandas", "numpy", "matplotlib", "scapy", "pyshark", "typer", "rich", "cryptography", "email", "hashlib"}
    assert not loaded & heavy
    assert {name for name in loaded if name.startswith("analyzer")} == {"analyzer", "analyzer.errors"}


def test_types_are_published():
    assert files("analyzer").joinpath("py.typed").is_file()


def test_errors_carry_the_exit_codes_of_the_command_line():
    codes = {name: getattr(analyzer, name).exit_code for name in analyzer.__all__ if name.endswith(("Error", "Found"))}
    assert codes == {
        "CaptureError": 3,
        "CaptureNotFound": 3,
        "InternalError": 4,
        "MailtapError": 4,
        "OutputError": 3,
        "UsageError": 2,
    }
