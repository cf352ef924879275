"""Which build is under test, what is compiled in it, and that a pure one gives the same results."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer._build import build_kind

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = sorted(path for path in (ROOT / "captures").glob("*") if ".pcap" in path.name)


def constants_of_setup() -> dict[str, Any]:
    """The lists in setup.py, read without running it: setuptools need not be installed here."""
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    wanted = ("COMPILED_ROOMS", "COMPILED_MODULES", "INTERPRETED")
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    pairs = [(node.targets[0].id, node.value) for node in assignments if isinstance(node.targets[0], ast.Name)]
    return {name: ast.literal_eval(value) for name, value in pairs if name in wanted}


def hot_modules() -> list[str]:
    """The modules that setup.py compiles, by their dotted names."""
    setup = constants_of_setup()
    paths = [ROOT / path for path in setup["COMPILED_MODULES"]]
    for room in setup["COMPILED_ROOMS"]:
        paths += [path for path in (ROOT / "analyzer" / room).glob("*.py") if path.name not in setup["INTERPRETED"]]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]


def test_this_is_the_build_that_was_asked_for():
    assert build_kind() == os.environ.get("MAILTAP_EXPECT", build_kind())


def test_every_hot_module_is_of_the_same_build():
    suffixes = tuple(EXTENSION_SUFFIXES)
    kinds = {}
    for name in hot_modules():
        spec = find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, name
        kinds[name] = "compiled" if spec.origin.endswith(suffixes) else "pure"
    assert {name for name, kind in kinds.items() if kind != build_kind()} == set()


def json_of(capture: Path, package: Path) -> dict[str, Any]:
    """What ``mailtap analyze --format json`` says, without what is random in every run."""
    environment = {**os.environ, "PYTHONPATH": str(package), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "analyzer", "analyze", str(capture), "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=package)
    assert result.returncode in (0, 3), result.stderr
    document: dict[str, Any] = json.loads(result.stdout) if result.stdout else {"stderr": result.stderr}
    for row in document.get("credentials", []):
        row.pop("secret_id")  # keyed afresh in every run
    return document


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an interpreted copy of the package under test."""
    folder = tmp_path_factory.mktemp("pure")
    source = Path(analyzer.__path__[0])
    shutil.copytree(source, folder / "analyzer", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("capture", SAMPLES, ids=lambda path: path.name)
def test_pure_and_compiled_give_equal_results(capture: Path, pure: Path):
    assert json_of(capture, pure) == json_of(capture, Path(analyzer.__path__[0]).parent)


def test_setup_leaves_out_only_what_is_there_and_explained():
    setup = constants_of_setup()
    names = {path.name for room in setup["COMPILED_ROOMS"] for path in (ROOT / "analyzer" / room).glob("*.py")}
    assert setup["INTERPRETED"].keys() <= names
    assert all(setup["INTERPRETED"].values())
