"""Compiles the hot modules with mypyc. Metadata is in ``setup.cfg``.

Where mypyc or a C compiler is missing, or anything goes wrong on the way, the package is installed as plain Python: the same
results, several times slower. Either way the last line of the build says which it was, and so does ``mailtap --version``.

``MAILTAP_PURE=1``      do not compile
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

#: Rooms on the hot path: every module in them is compiled, but for those below.
COMPILED_ROOMS = ("capture", "packets", "flows", "protocols", "sessions", "findings")
#: Modules outside those rooms: those whose classes hot code uses, and those that walk over every record.
COMPILED_MODULES = (
    "analyzer/model.py",
    "analyzer/report/columns.py",
    "analyzer/report/encryption.py",
    "analyzer/report/formats/_json_texts.py",
    "analyzer/report/formats/json.py",
    "analyzer/report/glance.py",
    "analyzer/report/migration.py",
    "analyzer/report/rows.py",
    "analyzer/report/servers.py",
    "analyzer/report/summary.py",
)
#: Modules of the hot rooms that stay interpreted, and why.
INTERPRETED = {
    "__init__.py": "a docstring; nothing to gain",
    "keylog.py": "read once a run, if at all",
    "replay.py": "waits for another program",
    "wireshark.py": "waits for another program",
}


#: Commands that need no compiling: an installer runs this file several times, and translating to C takes its time.
METADATA_ONLY = {"egg_info", "dist_info", "sdist", "clean", "--version", "--name", "--help"}


def compiled_paths() -> list[str]:
    """The modules to compile, sorted, so that the same tree gives the same build."""
    paths = set(COMPILED_MODULES)
    for room in COMPILED_ROOMS:
        paths |= {str(path) for path in Path("analyzer", room).glob("*.py") if path.name not in INTERPRETED}
    return sorted(paths)


def say(message: str) -> None:
    """One line that stands out in a build log."""
    print(f"mailtap: {message}", file=sys.stderr, flush=True)


def quicker(extension: Any) -> Any:
    """Tells the C compiler that nobody but each other calls the modules: calls need no table then, small functions no call.

    Calls of the interpreter's functions need no stub in between, either: it would be one more line of the processor's cache. And nobody
    wants the compiler's warnings: the C code is mypyc's, and looking it through takes longer than translating it.
    """
    if os.name == "posix":
        # One list may be that of all extensions, so a new one takes its place.
        extension.extra_compile_args = [
            *extension.extra_compile_args,
            "-fvisibility=hidden",
            "-fno-semantic-interposition",
            "-fno-plt",
            "-Wno-all",
        ]
    return extension


def extensions() -> list[Any]:
    """The extension modules, translated to C; none where that is not wanted or not possible."""
    if METADATA_ONLY & set(sys.argv):
        return []
    if os.environ.get("MAILTAP_PURE", "0") not in ("", "0"):
        say("MAILTAP_PURE is set: installing the pure Python version")
        return []
    try:
        from mypyc.build import mypycify

        # An empty configuration and missing imports allowed: the build environment holds neither our other
        # dependencies nor their stubs, and type checking for its own sake is `make lint`. What the hot modules import
        # from elsewhere is read for its types, without judging it.
        options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", *compiled_paths()]
        return [quicker(extension) for extension in mypycify(options, opt_level="3", debug_level="0")]
    except ImportError as error:
        say(f"mypyc is not installed ({error}): installing the pure Python version")
    except OSError as error:
        say(f"mypyc could not write its C files ({error}): installing the pure Python version")
    except SystemExit:  # how mypyc says that it found type errors; it has printed them
        say("mypyc refused the source: installing the pure Python version")
    except Exception as error:  # noqa: BLE001 - a fault of mypyc's, an older one's other ways: the install goes on without
        say(f"mypyc failed ({type(error).__name__}: {error}): installing the pure Python version")
    return []


class BuildOrGoPure(build_ext):
    """Builds the extension modules; if any of them fails, leaves all of them out."""

    def run(self) -> None:
        """Build all or nothing."""
        if not self.extensions:
            return
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - no compiler, no headers, no memory: the install goes on without
            self._leave_out(error)
        else:
            say(f"compiled {len(compiled_paths())} modules")

    def _leave_out(self, error: Exception) -> None:
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        self.extensions = []
        say(f"the C compiler failed ({error})")
        say("installing the pure Python version: same results, several times slower")


COMMANDS: dict[str, Any] = {"build_ext": BuildOrGoPure}

setup(ext_modules=extensions(), cmdclass=COMMANDS)
