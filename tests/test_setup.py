"""An install never fails for want of a compiler: it goes pure, and says so."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Stands in for mypyc, whose translation takes its time: one shared library and one module, as mypyc lays them out.
TRANSLATOR = """
from pathlib import Path
from setuptools import Extension

def mypycify(paths, **options):
    extensions = []
    for name in ("shared__mypyc", "analyzer.model"):
        source = Path(name.replace(".", "_") + ".c")
        short = name.rpartition(".")[2]
        source.write_text(
            "#include <Python.h>\\n"
            f"static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, \\"{short}\\", 0, -1}};\\n"
            f"PyMODINIT_FUNC PyInit_{short}(void) {{ return PyModule_Create(&definition); }}\\n"
        )
        extensions.append(Extension(name, [str(source)]))
    return extensions
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with its shared words alone, and a translator that is quick."""
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "analyzer").mkdir()
    for name in ("__init__.py", "errors.py", "model.py", "_build.py", "py.typed"):
        shutil.copy(ROOT / "analyzer" / name, tmp_path / "analyzer")
    translator(tmp_path, TRANSLATOR)
    return tmp_path


def translator(project: Path, source: str) -> None:
    """Put a package ``mypyc`` in the way of the real one."""
    (project / "mypyc").mkdir(exist_ok=True)
    (project / "mypyc" / "__init__.py").write_text("")
    (project / "mypyc" / "build.py").write_text(source)


def build(project: Path, **environment: str) -> tuple[str, list[str]]:
    """Build the project; what was said, and the extension modules that came out."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAILTAP_")}
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-base", "out", "--build-lib", "lib"],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
        env={**clean, "PYTHONPATH": str(project), **environment},
    )
    assert result.returncode == 0, result.stderr
    assert (project / "lib" / "analyzer" / "model.py").is_file()
    return result.stderr, sorted(path.name for path in (project / "lib").rglob("*.so"))


def test_without_a_compiler_the_install_goes_pure(project: Path):
    said, built = build(project, CC="/nonexistent/cc", LDSHARED="/nonexistent/cc -shared")
    assert "mailtap: the C compiler failed" in said
    assert "mailtap: installing the pure Python version" in said
    assert built == []


def test_with_a_compiler_that_fails_half_way_nothing_half_built_stays(project: Path):
    linker = project / "linker"
    linker.write_text('#!/bin/sh\ncase "$*" in *model*) exit 1 ;; esac\nexec cc "$@"\n')
    linker.chmod(0o755)
    said, built = build(project, LDSHARED=f"{linker} -shared")
    assert "mailtap: installing the pure Python version" in said
    assert built == []


def test_without_mypyc_the_install_goes_pure(project: Path):
    translator(project, "raise ImportError('no mypyc here')\n")
    said, built = build(project)
    assert "mailtap: mypyc is not installed (no mypyc here)" in said
    assert built == []


def test_source_that_mypyc_refuses_goes_pure(project: Path):
    translator(project, "def mypycify(paths, **options): raise SystemExit(1)\n")
    said, built = build(project)
    assert "mailtap: mypyc refused the source" in said
    assert built == []


def test_pure_on_request(project: Path):
    said, built = build(project, MAILTAP_PURE="1")
    assert "mailtap: MAILTAP_PURE is set" in said
    assert built == []


def test_compiled_where_there_is_a_compiler(project: Path):
    said, built = build(project)
    if shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists():
        assert "mailtap: compiled " in said
        assert len(built) == 2
    else:
        assert "mailtap: installing the pure Python version" in said
        assert built == []


def test_a_translator_that_fails_in_any_other_way_goes_pure(project: Path):
    translator(project, "def mypycify(paths, **options): raise AssertionError('unreachable')\n")
    said, built = build(project)
    assert "mailtap: mypyc failed (AssertionError: unreachable): installing the pure Python version" in said
    assert built == []


def rules_of_make() -> dict[str, list[str]]:
    """What each target of the Makefile waits for."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.findall(r"^([^\s:#=]+):(?![=])([^\n=]*)$", text, re.MULTILINE)
    return {target: needs.replace("|", " ").split() for target, needs in found}


def test_tests_of_the_source_tree_and_lint_wait_for_no_compiler():
    rules = rules_of_make()

    def behind(target: str) -> set[str]:
        return {target}.union(*[behind(need) for need in rules.get(target, [])])

    for target in ("test-pure", "lint", "format"):
        assert {"$(VENV)/tools", "setup.cfg", "pyproject.toml"} <= behind(target)
        assert not {"build/wheel", "$(SOURCES)"} & behind(target)
    for target in ("demo", "test", "test-compiled", "bench"):
        assert {"build/wheel", "$(SOURCES)"} <= behind(target)


def test_what_they_need_is_what_the_extra_for_developers_brings():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    program = text.partition("define REQUIREMENTS\n")[2].partition("endef\n")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    wanted = setup["options"]["install_requires"].split()
    for extra in ("dev", "browser", "test", "monitor", "parquet", "postgres", "xlsx"):
        wanted += [word for word in extras[extra].split() if not word.startswith("mailtap[")]
    assert set(done.stdout.split()) == set(wanted)
