"""Makes the README's pictures from ``captures/office.pcapng``: run it with mailtap installed and chromium at hand.

python .github/pictures/make.py
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

import analyzer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: named as a reader of the README would name it
CAPTURE = "captures/office.pcapng"
LINES = 36
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
    shown = subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT).stdout
    console = Console(record=True, width=102, file=io.StringIO())
    console.print(Text("$ mailtap analyze captures/office.pcapng", style="bold"))
    for line in shown.splitlines()[:LINES]:
        style = "bold red" if line.startswith("EXPOSED") else ""
        console.print(Text(line.rstrip(), style=style), overflow="ignore", crop=True)
    console.save_svg(str(HERE / "terminal.svg"), title="mailtap")


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


if __name__ == "__main__":
    terminal_report()
    html_report()
    charts()
