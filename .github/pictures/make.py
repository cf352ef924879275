"""Makes the README's pictures from ``captures/office.pcapng``: run it with mailtap installed (extra monitor) and chromium at hand.

python .github/pictures/make.py
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

import analyzer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: named as a reader of the README would name it
CAPTURE = "captures/office.pcapng"
LINES = 36
#: Columns and lines of the monitor's screen, and seconds in which the capture grows before it.
SCREEN = (130, 36)
GROWS_S = 8.0
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-sync",
)


def terminal_report() -> None:
    """The first screen of the text report, as a terminal shows it."""
    command = [sys.executable, "-m", "analyzer", "analyze", CAPTURE]
    environment = {**os.environ, "FORCE_COLOR": "1"}
    shown = subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT, env=environment).stdout
    console = Console(record=True, width=100, file=io.StringIO())
    for line in shown.splitlines()[:LINES]:
        console.print(Text.from_ansi(line.rstrip()), overflow="ignore", crop=True, no_wrap=True)
    console.save_svg(str(HERE / "terminal.svg"), title=f"mailtap analyze {CAPTURE}")


def html_report() -> None:
    """The top of the HTML report in a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed (Debian package chromium)")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        subprocess.run(
            [sys.executable, "-m", "analyzer", "analyze", CAPTURE, "-f", "html", "-o", str(page)], check=True, cwd=ROOT
        )
        subprocess.run(
            [chromium, *CHROMIUM, f"--user-data-dir={folder}/profile", "--window-size=1200,1100",
             f"--screenshot={HERE / 'report.png'}", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


def charts() -> None:
    """Two charts."""
    report = analyzer.analyze(ROOT / CAPTURE)
    for name in ("exposure", "servers"):
        axes = getattr(report.charts, name)()
        axes.figure.savefig(HERE / f"{name}.png", dpi=90, bbox_inches="tight")


def monitor_screen() -> None:
    """The monitor's screen, in a terminal of its own, while the capture grows."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", SCREEN[1], SCREEN[0], 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        growing = Path(folder) / "office.pcapng"
        growing.touch()
        writer = threading.Thread(target=grow, args=(growing,))
        program = subprocess.Popen(
            [sys.executable, "-m", "analyzer", "monitor", "--follow", growing.name, "--live", "--sensor", "gateway",
             "--alerts", "jsonl:alerts.jsonl", *(["--user", "root"] if os.geteuid() == 0 else [])],
            stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, cwd=folder,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        )  # fmt: skip
        os.close(slave)
        writer.start()
        written = read(master, GROWS_S)
        program.send_signal(signal.SIGTERM)
        read(master, 20.0)
        program.wait(20)
        writer.join()
    os.close(master)
    # a frame begins at the top left corner; the last one may be cut
    frame = written.split("\x1b[H")[-2]
    console = Console(record=True, width=SCREEN[0], file=io.StringIO())
    for line in re.split(r"\r?\n", frame)[: SCREEN[1]]:
        console.print(Text.from_ansi(line), overflow="ignore", crop=True, no_wrap=True)
    console.save_svg(str(HERE / "monitor.svg"), title="mailtap monitor --live")


def grow(path: Path) -> None:
    """The capture, as it would come from the wire."""
    content = (ROOT / CAPTURE).read_bytes()
    steps = 40
    with path.open("ab", buffering=0) as file:
        for step in range(steps):
            file.write(content[len(content) * step // steps : len(content) * (step + 1) // steps])
            time.sleep(GROWS_S / steps)


def read(terminal: int, seconds: float) -> str:
    """What a terminal is written in that time, or until there is nobody to write."""
    found = b""
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                found += os.read(terminal, 65536)
    return found.decode()


if __name__ == "__main__":
    terminal_report()
    monitor_screen()
    html_report()
    charts()
