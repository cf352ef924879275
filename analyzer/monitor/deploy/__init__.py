"""What a machine needs to run the monitor: a hardened systemd unit and a container file, printed by the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: Options where none were given.
USUAL_OPTIONS: Final = ("--config", "/etc/mailtap/monitor.toml")
#: Folders that a service under ProtectHome= does not see.
HIDDEN: Final = ("/home", "/root", "/run/user")
COMMAND: Final = "@COMMAND@"


def unit(options: Sequence[str] = (), program: Sequence[str] | None = None) -> str:
    """The systemd unit, with the options of ``mailtap monitor`` that it shall start with.

    ``program`` is how mailtap is started; by default, as this process was.
    """
    words = [*(this_program() if program is None else program), "monitor", *(options or USUAL_OPTIONS)]
    return _text("mailtap-monitor.service").replace(COMMAND, " ".join(_quoted(word) for word in words))


def containerfile() -> str:
    """The container file."""
    return _text("Containerfile")


def caution(program: Sequence[str] | None = None) -> str:
    """What stands against the unit on this machine, for standard error; empty where nothing does."""
    for word in this_program() if program is None else program:
        for folder in HIDDEN:
            if word.startswith(folder + "/") or os.path.realpath(word).startswith(folder + "/"):
                return (
                    f"the unit starts {word}, which is in {folder}: services do not see that folder; install mailtap elsewhere, "
                    "into a virtual environment in /opt/mailtap, say"
                )
    return ""


def this_program() -> list[str]:
    """How this mailtap is started, whatever the working folder."""
    started = Path(sys.argv[0])
    if started.name == "mailtap" and started.exists():
        return [os.path.abspath(started)]  # noqa: PTH100 - links stay: what they point to may be another environment's
    return [sys.executable, "-m", "analyzer"]


def _text(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _quoted(word: str) -> str:
    """A word of ExecStart= that means itself (systemd.service(5), COMMAND LINES)."""
    if word and all(character.isalnum() or character in "-_./:=,+@" for character in word) and word.isascii():
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'.replace("%", "%%").replace("$", "$$")
