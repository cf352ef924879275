"""The benchmark: one command that makes the captures, runs mailtap and its peers on them, and prints one table a capture.

    python benchmarks/run.py [--scale 0.1] [--runs 5] [--big] [--only mailtap,tshark] [--readme]

Every program is run as a whole process, its output into a file, the capture in the page cache, all on one processor: once to
warm up, then in rounds, so that a slow minute of the machine hits all alike; the median counts. Times are seconds of the processor
(user and system); they and peak memory are the kernel's figures. Programs that are not installed are named, not failed. The table also goes to ``results.md`` in the cache folder,
and with ``--readme`` into README.md.
"""

from __future__ import annotations

import argparse
import compileall
import datetime as dt
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from measure import Series, pick_cpu, run_once  # noqa: E402 - found through the line above, also with PYTHONSAFEPATH
from peers import Program, mailtap_command, mailtap_programs, package_path, peers  # noqa: E402

README_START = "<!-- benchmark table: written by `make bench` with --readme -->"
README_END = "<!-- end of benchmark table -->"
#: Captures that show how much memory is needed.
MEMORY = ("big", "strangers")
#: Programs slower than this in their warm-up are run fewer times.
SLOW_SECONDS = 3.0
SLOW_RUNS = 3


@dataclass
class Row:
    """One line of a table."""

    program: Program
    series: Series
    packets: int
    #: seconds on the whole capture (extrapolated where only a slice was read)
    seconds: float = 0.0


def main() -> None:
    """Parse the command line, make the captures, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--dir", type=Path, default=ROOT / "build" / "bench", help="cache folder (default: build/bench)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of the captures, 1 is 600 and 300 MB")
    parser.add_argument("--runs", type=int, default=5, help="counted runs a program (default: 5)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds after which a program is given up")
    parser.add_argument(
        "--big",
        action="store_true",
        help="also the 3 GB capture and a million servers and clients, mailtap only: is memory flat?",
    )
    parser.add_argument("--only", default="", help="run programs whose name holds one of these words, comma-separated")
    parser.add_argument(
        "--captures", default="mixed,allmail,tlsmail", help="which captures (default: mixed,allmail,tlsmail)"
    )
    parser.add_argument(
        "--compiled", type=Path, help="folder that holds a compiled package (default: the installed one)"
    )
    parser.add_argument("--generate", action="store_true", help="make the captures and stop")
    parser.add_argument("--readme", action="store_true", help="put the tables into README.md")
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)

    names = [*options.captures.split(","), *(MEMORY if options.big else [])]
    captures = {name: generate(options.dir, name, options.scale) for name in [*names, "tiny"]}
    if options.generate:
        return

    builds = find_builds(options.dir, options.compiled)
    sections = []
    for name in names:
        path, packets = captures[name]
        programs = mailtap_programs(builds) + (peers(name) if name not in MEMORY else peers()[:1])
        wanted = [word for word in options.only.split(",") if word]
        programs = [p for p in programs if not wanted or p.name == "cat" or any(word in p.name for word in wanted)]
        rows = run_all(programs, path, packets, options.dir, options.runs, options.timeout)
        title = f"`{name}`: {path.stat().st_size / 1e6:,.0f} MB, {packets:,} packets"
        sections.append(f"{title}\n\n{table(rows)}\n")
        print(sections[-1], flush=True)
    sections.append(start_up(builds, captures["tiny"][0], options.dir, options.runs))
    print(sections[-1])
    text = f"Processor seconds (user and system) of whole commands. Measured on {machine()}.\n\n" + "\n".join(sections)
    (options.dir / "results.md").write_text(text)
    print(f"Measured on {machine()}. Written to {options.dir / 'results.md'}")
    if options.readme:
        into_readme(text)


def generate(folder: Path, name: str, scale: float) -> tuple[Path, int]:
    """A capture and its number of packets. Made in a process of its own, so that this one stays small."""
    path = folder / f"{name}.pcap"
    size = scale if name != "tiny" else 1.0
    command = [sys.executable, "-m", "synthetic", name, str(path), str(size)]
    subprocess.run(command, check=True, cwd=ROOT / "benchmarks", env={**os.environ, "PYTHONSAFEPATH": ""})
    books = json.loads(Path(f"{path}.json").read_text())
    return path, int(books["packets"])


def find_builds(folder: Path, given: Path | None) -> dict[str, Path | None]:
    """The folders that hold the compiled and the pure package; None where there is no compiled one."""
    script = "import analyzer, analyzer._build as b; print(b.build_kind()); print(analyzer.__path__[0])"
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    if given is not None:
        environment["PYTHONPATH"] = str(given.resolve())
    found = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, env=environment, cwd=folder
    )
    lines = found.stdout.split("\n")
    pure = folder / "pure"
    shutil.rmtree(pure, ignore_errors=True)
    shutil.copytree(ROOT / "analyzer", pure / "analyzer", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    compileall.compile_dir(pure, quiet=2)
    return {"compiled": Path(lines[1]).parent if lines[0] == "compiled" else None, "pure": pure}


def run_all(programs: list[Program], capture: Path, packets: int, folder: Path, runs: int, timeout: float) -> list[Row]:
    """Every program on one capture, in rounds; the first round is the warm-up."""
    cpu = pick_cpu()
    rows = [Row(program, Series(failure=program.missing), packets) for program in programs]
    parts = {
        row.program.slice_packets: first_packets(capture, folder, row.program.slice_packets)
        for row in rows
        if not row.series.failure and 0 < row.program.slice_packets < packets
    }
    warm(capture)
    slow: set[str] = set()
    output = folder / "output"
    for number in range(runs + 1):
        for row in rows:
            program, series = row.program, row.series
            if series.failure or (program.name in slow and number > SLOW_RUNS):
                continue
            if sys.stderr.isatty():
                print(f"\r{capture.stem}, round {number} of {runs}: {program.name:60.60}", end="", file=sys.stderr)
            command = program.command_for(parts.get(program.slice_packets, capture))
            run = run_once(command, output, cpu=cpu, timeout=timeout, environment=dict(program.environment))
            if run.timed_out:
                series.failure = f"gave up after {timeout:.0f} s"
            elif run.exit_code != 0:
                errors = Path(f"{output}.err").read_text(errors="replace").strip().split("\n")
                series.failure = f"failed, exit code {run.exit_code}: {errors[-1][:80]}"
            elif number > 0:
                series.runs.append(run)
            elif run.seconds > SLOW_SECONDS:
                slow.add(program.name)
    if sys.stderr.isatty():
        print(f"\r{'':100}\r", end="", file=sys.stderr)
    for row in rows:
        if row.series.runs:
            part = row.program.slice_packets
            row.seconds = row.series.seconds * (packets / part if part in parts else 1)
    return rows


def warm(capture: Path) -> None:
    """Read the file once, so that it is in the page cache."""
    with capture.open("rb") as file:
        while file.read(1 << 20):
            pass


def first_packets(capture: Path, folder: Path, count: int) -> Path:
    """The first so many packets of a capture, as a file of their own."""
    part = folder / f"{capture.stem}.first{count}.pcap"
    with capture.open("rb") as file, part.open("wb") as out:
        out.write(file.read(24))
        for _ in range(count):
            header = file.read(16)
            out.write(header + file.read(struct.unpack_from("<I", header, 8)[0]))
    return part


def table(rows: list[Row]) -> str:
    """A Markdown table, aligned so that it reads well on a terminal too; what is missing is named below it."""
    done = [row for row in rows if row.series.runs and not row.series.failure]
    mine = next((row.seconds for row in done if row.program.name.startswith("mailtap")), 0.0)
    plain = next((row.seconds for row in done if row.program.name == "cat"), 0.0)
    lines = [["program", "seconds", "packets/s", "peak MB", "against mailtap", "against cat"]]
    lines += [
        [
            row.program.name,
            f"{row.seconds:.3f}" if row.seconds < 10 else f"{row.seconds:.1f}",
            f"{row.packets / row.seconds:,.0f}",
            f"{row.series.peak_mib:.0f}",
            f"{row.seconds / mine:.2f}" if mine else "",
            f"{row.seconds / plain:.1f}" if plain else "",
        ]
        for row in sorted(done, key=lambda row: row.seconds)
    ]
    text = aligned(lines)
    left_out = [f"{row.program.name}: {row.series.failure}" for row in rows if row.series.failure]
    return text + ("\n\nLeft out: " + "; ".join(left_out) + "." if left_out else "")


def aligned(lines: list[list[str]]) -> str:
    """Rows of cells as a Markdown table: first column left, the others right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def row(cells: list[str]) -> str:
        rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([cells[0].ljust(widths[0]), *rest]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([row(lines[0]), rule, *map(row, lines[1:])])


def start_up(builds: dict[str, Path | None], tiny: Path, folder: Path, runs: int) -> str:
    """What it costs to start: the help page, and a capture of three sessions, whole command."""
    lines = [["start-up", "seconds", "peak MB"]]
    for build, path in builds.items():
        if path is None:
            continue
        for what, arguments in (("--help", ["--help"]), ("analyze, three sessions", ["analyze", str(tiny)])):
            program = Program(f"mailtap, {build}: {what}", mailtap_command(*arguments), environment=package_path(path))
            row = run_all([program], tiny, 3, folder, runs, 60)[0]
            if row.series.failure:
                lines.append([f"{program.name}: {row.series.failure}", "", ""])
            else:
                lines.append([program.name, f"{row.seconds:.3f}", f"{row.series.peak_mib:.0f}"])
    return aligned(lines) + "\n"


def machine() -> str:
    """Date, processor, cores, Python: what a figure means nothing without."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().split("\n") if line.startswith("model name")
        ]
        model = names[0] if names else model
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return (
        f"{today}, {model}, {os.cpu_count()} cores of which one was used, {platform.system()}, "
        f"CPython {platform.python_version()}; load average {os.getloadavg()[1]:.1f}"
    )


def into_readme(text: str) -> None:
    """Replace what stands between the two markers in README.md."""
    path = ROOT / "README.md"
    readme = path.read_text()
    before, _, rest = readme.partition(README_START)
    _, _, after = rest.partition(README_END)
    if not rest or README_END not in rest:
        sys.exit(f"README.md has no place for the table: put {README_START} and {README_END} there")
    path.write_text(f"{before}{README_START}\n{text}{README_END}{after}")


if __name__ == "__main__":
    main()
