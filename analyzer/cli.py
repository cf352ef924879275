"""The command line: ``mailtap analyze PATH...``.

Standard output carries the result alone; progress, warnings and errors go to standard error, progress only on a terminal.
Exit codes: 0 done, 1 a finding as bad as ``--fail-on`` says (or the engines of ``--cross-check`` differ), 2 wrong usage, 3 input
missing, unreadable or nothing in it could be analysed (or the result could not be written), 4 a fault of mailtap.

About 600 lines: the commands are one list of options after another, and share what reads, writes and fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO, TypeAlias

import typer

from analyzer import __version__, cli_live
from analyzer.errors import CaptureError, MailtapError, OutputError, UsageError
from analyzer.model import SEVERITIES
from analyzer.places import is_same, missing_folder, reason, status_of
from analyzer.report.formats import BINARY, FOLDER, SUFFIXES, TABLES, TEXT_SUFFIXES, Job, format_of, load, names
from analyzer.report.formats._file import write_file
from analyzer.streams import NO_ROOM, STDOUT_NAMES, prepare, reader_gone, unwritten, write_stdout

if TYPE_CHECKING:
    from analyzer.pipeline import Result
    from analyzer.report.rows import RowMaker

#: Exit code where a finding is as bad as ``--fail-on`` says.
FOUND = 1
#: Exit code of ``--cross-check`` where the engines differ.
DIFFERENT = 1
#: Exit code after Ctrl-C, as shells have it; what was read until then is reported all the same.
INTERRUPTED = 130

#: What the process has found, kept to its end lest it be taken apart; None where this is not the process's own run.
_kept: list[Result] | None = None


class SeverityName(StrEnum):
    """How bad a finding is."""

    info = "info"
    low = "low"
    medium = "medium"
    high = "high"
    critical = "critical"


class TableName(StrEnum):
    """A table of the result."""

    captures = "captures"
    sessions = "sessions"
    credentials = "credentials"
    tls = "tls"
    messages = "messages"
    findings = "findings"
    servers = "servers"
    migration = "migration"


#: How times are written, for the help.
_TIMES = "2026-01-31, 2026-01-31T08:00 (UTC) or 2026-01-31T08:00+01:00; or 24h for 24 hours ago, 7d for 7 days ago."


def _place(output: Path | None) -> Path | None:
    """Where ``-o`` leads: None is standard output, by whichever name."""
    return None if str(output) in STDOUT_NAMES else output


# Options of more than one command.
Form: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        metavar=f"[{'|'.join(names())}]",
        help=f"How the result is written; unless told, as the name behind -o ends ({' '.join(SUFFIXES)}), else as text.",
    ),
]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        callback=_place,
        help="File to write to; a folder for parquet, zeek and csv (csv: one table where it ends in .csv).",
    ),
]
Table: TypeAlias = Annotated[
    TableName | None,
    typer.Option("--table", help="The table that csv writes to one file or standard output (sessions)."),
]
Since: TypeAlias = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help=f"Leave out sessions that ended before TIME: {_TIMES}")
]
Until: TypeAlias = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Leave out sessions that began after TIME, written as for --since."),
]
CaFile: TypeAlias = Annotated[
    Path | None, typer.Option("--ca-file", metavar="FILE", help="Trusted roots (PEM) instead of the usual ones.")
]
Ports: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--port", metavar="PORT=SERVICE", help="A mail service on an unusual port: 1143=imap."),
]
FailOn: TypeAlias = Annotated[
    SeverityName | None,
    typer.Option("--fail-on", help="Exit code 1 where a finding is as bad as this, or worse."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from analyzer._build import build_kind

        sys.stdout.write(f"mailtap {__version__} ({build_kind()}, Python {sys.version.split()[0]})\n")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version, and whether it is compiled."
        ),
    ] = False,
) -> None:
    """mailtap reads captures of mail traffic."""


def analyze(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Captures, folders of captures, or - for standard input.")
    ],
    form: Form = None,
    output: Output = None,
    table: Table = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="Show passwords, tokens and responses in clear.")
    ] = False,
    headers: Annotated[
        bool, typer.Option("--headers", help="Show subject and addresses of messages, where the format lists messages.")
    ] = False,
    port: Ports = None,
    since: Since = None,
    until: Until = None,
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="[native|wireshark]", help="Who reads the capture; wireshark needs tshark."),
    ] = "native",
    keylog: Annotated[
        Path | None,
        typer.Option(
            "--keylog", metavar="FILE", help="TLS secrets (SSLKEYLOGFILE): read what TLS carried, with tshark."
        ),
    ] = None,
    ca_file: CaFile = None,
    fail_on: FailOn = None,
    cross_check: Annotated[
        bool,
        typer.Option("--cross-check", help="Run both engines and print where they differ; exit code 1 where they do."),
    ] = False,
) -> None:
    """Read captures; say who logged in in clear, where, and how."""
    from analyzer.pipeline import run
    from analyzer.report.progress import shown_progress
    from analyzer.times import parse_time

    if cross_check:
        if (
            form not in (None, "text")
            or table is not None
            or output is not None
            or fail_on is not None
            or keylog is not None
            or ca_file is not None
        ):
            raise UsageError(
                "--cross-check prints where the engines differ, and nothing else: leave out -f, --table, -o, --fail-on, --keylog and --ca-file"
            )
        _cross_check(paths, _ports(port or []), parse_time(since), parse_time(until))
        return
    maker = _maker(show_secrets, headers, ca_file)
    form, writer = _writer(form, output, paths)
    shown = _check_table(writer, form, output, table)
    if headers and (not getattr(writer, "MESSAGES", True) or shown not in ("", "messages")):
        _say(f"warning: --headers shows subjects and addresses in lists of messages, {_no_messages(form, shown)}")
    glancer = writer.receiver(maker) if hasattr(writer, "receiver") else None
    with shown_progress(True) as progress:
        result = run(
            paths,
            ports=_ports(port or []),
            since_ns=parse_time(since),
            until_ns=parse_time(until),
            engine=engine,
            keylog=keylog,
            headers=headers,
            progress=progress,
            receiver=glancer,
            hashed=getattr(writer, "HASHED", False),
        )
    if _kept is not None:
        _kept.append(result)
    job = Job(result, maker, __version__, shown or TableName.sessions.value, glancer)
    _conclude(job, form, writer, output, fail_on)


def report(
    store: Annotated[
        str,
        typer.Argument(
            metavar="STORE", help="What mailtap monitor writes: a file, or postgresql://USER@HOST/DATABASE."
        ),
    ],
    form: Form = None,
    output: Output = None,
    table: Table = None,
    since: Since = None,
    until: Until = None,
    sensor: Annotated[
        str | None, typer.Option("--sensor", metavar="NAME", help="Report what this sensor has written, not all.")
    ] = None,
    ca_file: CaFile = None,
    fail_on: FailOn = None,
) -> None:
    """Report from the store of a monitor, running or not, as analyze does from captures."""
    from analyzer.monitor.store_report import read_result

    maker = _maker(False, False, ca_file)
    form, writer = _writer(form, output, [store])
    shown = _check_table(writer, form, output, table)
    result = read_result(store, since, until, sensor)
    if _kept is not None:
        _kept.append(result)
    _conclude(Job(result, maker, __version__, shown or TableName.sessions.value), form, writer, output, fail_on)


def _conclude(job: Job, form: str, writer: Any, output: Path | None, fail_on: SeverityName | None) -> None:
    """Write a result, say what went wrong, and leave with the exit code that it calls for."""
    result = job.result
    _write(job, writer, output)
    for failure in result.failures:
        _say(f"error: {failure}")
    window = "" if getattr(writer, "TELLS_TIMES", False) else result.window()
    if window:
        _say(f"note: {window}")
    # The text report says them itself, at its end; that it is no whole one must not be missed where it goes into a file.
    said = result.warnings[:1] if result.interrupted else []
    for warning in said if form == "text" else result.warnings + job.maker.notes:
        _say(f"warning: {warning}")
    if result.interrupted:
        raise typer.Exit(INTERRUPTED)
    nothing = result.nothing_analysed()
    if nothing:
        _say(f"error: {nothing}")
    if result.failures or nothing:
        raise typer.Exit(CaptureError.exit_code)
    if fail_on is not None and _worst(job) >= SEVERITIES.index(fail_on.value):
        raise typer.Exit(FOUND)


def _worst(job: Job) -> int:
    """The worst severity found, as its place among all; -1 for nothing."""
    if job.glancer is not None:
        return job.glancer.finish(job.result.captures).tally.worst()
    from analyzer.findings.engine import Engine, push_findings
    from analyzer.findings.tally import FindingTally

    tally = FindingTally()
    engine = Engine(tally, trust=job.maker.trust, strength=job.maker.strength)
    push_findings(job.result.sessions, job.result.captures, engine)
    return tally.worst()


def rules(
    slug: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SLUG]", help="The rule to explain, by its slug or title; all are listed without."),
    ] = None,
) -> None:
    """List the rules, or explain one: what it finds, what that means, what to do."""
    from analyzer.report.formats._page import width_of
    from analyzer.report.rulebook import rule_list, rule_text

    width = width_of(sys.stdout)
    text = rule_text(" ".join(slug), width) if slug else rule_list(width)
    write_stdout(lambda out: out.write(text))


def diff(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="A JSON result of analyze, a capture, or a folder of captures.")
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, of another day.")],
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON instead of text.")] = False,
    port: Ports = None,
    ca_file: CaFile = None,
    fail_on: Annotated[
        SeverityName | None,
        typer.Option("--fail-on", help="Exit code 1 where a new finding is as bad as this, or worse."),
    ] = None,
) -> None:
    """Compare two results: which findings are new, fixed, still there, or were not seen again."""
    from analyzer.report.diff import NEW, compare, snapshot, write_json, write_text
    from analyzer.report.results import is_result

    if (port or ca_file is not None) and is_result(old) and is_result(new):
        raise UsageError(
            "--port and --ca-file say how captures are read; both inputs are results that were made before"
        )
    read = partial(_run_whole, ports=_ports(port or []))
    snapshots = [
        snapshot(path, read, _maker(show_secrets=False, headers=False, ca_file=ca_file)) for path in (old, new)
    ]
    for path, one in zip((old, new), snapshots, strict=True):
        for warning in one.warnings:
            named = warning.startswith((f"{path}:", f"{path.rstrip('/')}/"))
            _say(f"warning: {warning}" if named else f"warning: {path}: {warning}")
    found = compare(*snapshots)
    write_stdout(partial(write_json if as_json else write_text, found), utf8=as_json)
    if fail_on is not None and any(
        SEVERITIES.index(one.severity) >= SEVERITIES.index(fail_on.value) for one in found[NEW]
    ):
        raise typer.Exit(FOUND)


#: The commands, as the help lists them.
COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "analyze": analyze,
    "report": report,
    "rules": rules,
    "diff": diff,
    "monitor": cli_live.monitor,
    "interfaces": cli_live.interfaces,
}


def make_app(only: str | None = None) -> typer.Typer:
    """The command line, of all commands or of one: Typer takes its time for each of them at every start."""
    app = typer.Typer(
        name="mailtap",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Who logs in to mail servers in clear, who upgrades, who uses TLS: read from captures.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, command in COMMANDS.items():
        if only is None or name == only:
            app.command(name)(command)
    return app


def _maker(show_secrets: bool, headers: bool, ca_file: Path | None) -> RowMaker:
    """What makes rows of records; a wrong ``--ca-file`` is told before any capture is read."""
    from analyzer.report.rows import RowMaker

    maker = RowMaker(show_secrets, headers, None, None if ca_file is None else str(ca_file))
    if ca_file is not None:
        maker.trust.load()
    return maker


def _run_whole(paths: Any, **how: Any) -> Result:
    """A run whose result is compared with another: half of one makes no sense, so a stop ends the command."""
    from analyzer.pipeline import run

    result = run(paths, **how)
    if result.interrupted:
        _say("stopped; nothing was compared")
        raise typer.Exit(INTERRUPTED)
    return result


def _cross_check(paths: list[str], ports: dict[int, str], since_ns: int | None, until_ns: int | None) -> None:
    """Run both engines; one line a difference on standard output."""
    from analyzer.pipeline import ENGINES
    from analyzer.report.crosscheck import differences
    from analyzer.report.wording import plural

    native, wireshark = [
        _run_whole(paths, ports=ports, since_ns=since_ns, until_ns=until_ns, engine=engine) for engine in ENGINES
    ]
    lines = differences(native, wireshark)
    for failure in native.failures or wireshark.failures:
        _say(f"error: {failure}")
    for warning in dict.fromkeys(native.warnings + wireshark.warnings):
        _say(f"warning: {warning}")
    total = len(native.sessions)
    verdict = (
        f"both engines tell the same of {plural(total, 'session')}"
        if not lines
        else f"the engines differ, in {plural(total, 'session')} read"
    )

    def write(out: TextIO) -> None:
        out.writelines(f"{line}\n" for line in [*lines, verdict, *filter(None, [native.window()])])

    write_stdout(write)
    if native.failures or wireshark.failures:
        raise typer.Exit(CaptureError.exit_code)
    if lines:
        raise typer.Exit(DIFFERENT)


def _ports(words: list[str]) -> dict[int, str]:
    from analyzer.pipeline import read_ports

    try:
        return read_ports(words)
    except UsageError as error:
        raise UsageError(f"--port {error}") from None


def _writer(form: str | None, output: Path | None, paths: list[str]) -> tuple[str, Any]:
    """The format that is meant, and its module; see :func:`_check_output`."""
    suffix = "" if output is None else output.suffix
    meant = format_of(suffix) if form is None else form
    writer = load(meant)
    _check_output(writer, meant, output, paths)
    # An ending without a letter is the rest of a date or a number.
    ending = suffix.lower() if any(map(str.isalpha, suffix)) else ""
    if form is None and ending not in TEXT_SUFFIXES and ending not in SUFFIXES:
        _say(f"warning: -o {output}: the ending {suffix} tells no format, so text is written; --format names another")
    return meant, writer


def _check_table(writer: Any, form: str, output: Path | None, table: TableName | None) -> str:
    """The one table that will be written; empty for a format, or a folder, that holds all. To ask for one there makes no sense."""
    one = writer.KIND == TABLES and not _is_folder(writer, output)
    if table is not None and not one:
        what = f"-o {output} is a folder, which gets them all" if writer.KIND == TABLES else f"{form} is written whole"
        raise UsageError(
            f"--table {table.value} chooses the table that csv writes to one file or standard output, and {what}: "
            f"leave it out, or write -f csv{'' if output is None else ' -o FILE.csv'}"
        )
    return "" if not one else TableName.sessions.value if table is None else table.value


def _no_messages(form: str, shown: str) -> str:
    if shown:
        return f"and {form} writes the table of {shown}: add --table messages"
    return f"and {form} has none: add -f html, or json"


def _is_folder(writer: Any, output: Path | None) -> bool:
    """Whether a result goes into a folder of files."""
    if writer.KIND == TABLES:
        return output is not None and output.suffix.lower() != ".csv" and not _is_device(output)
    return bool(writer.KIND == FOLDER)


def _is_device(output: Path) -> bool:
    """Whether a place is a device or a pipe, which takes one table."""
    status = status_of(output, OutputError)
    return status is not None and not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)


def _check_output(writer: Any, form: str, output: Path | None, paths: list[str]) -> None:
    """Say before the run, not after it, that its result has nowhere to go."""
    folder = _is_folder(writer, output)
    if output is not None:
        for path in paths:
            if path != "-" and is_same(output, path):
                raise UsageError(f"-o {output} names a capture that is to be read; name another file for the result")
        status = status_of(output, OutputError)
        if status is not None and stat.S_ISDIR(status.st_mode) != folder:
            raise UsageError(_wrong_kind(writer, form, output, folder))
        missing = None if status is not None else missing_folder(output, OutputError, makes_folders=folder)
        if missing is not None:
            raise UsageError(f"-o {output}: there is no folder {missing}; make it first")
    elif folder:
        raise UsageError(f"--format {form} writes a folder of files: name one with -o FOLDER")
    if writer.KIND == BINARY and output is None and sys.stdout.isatty():
        raise UsageError(f"--format {form} is not for a terminal: name a file with -o FILE")


def _wrong_kind(writer: Any, form: str, output: Path, folder: bool) -> str:
    """What to say where a folder is named for one file, or a file for a folder."""
    tables = writer.KIND == TABLES
    if folder:
        one = ", or a file that ends in .csv for one table" if tables else ""
        return f"-o {output} is no folder, and {form} writes a folder of files there: name one with -o FOLDER{one}"
    other = "" if tables else ", or use --format csv for a folder of tables"
    return f"-o {output} is a folder, and {form} writes one file there: name a file in it{other}"


def _write(job: Job, writer: Any, output: Path | None) -> None:
    """Write the result in one format; where its file cannot be written, the text report still reaches standard output."""
    binary = writer.KIND == BINARY
    if output is None:
        write_stdout(partial(writer.write, job), binary, utf8=not binary and not getattr(writer, "ADAPTS", False))
        return
    try:
        if _is_folder(writer, output):
            writer.write_folder(job, output)
        else:
            write_file(output, partial(writer.write, job), binary, job.maker.show_secrets)
    except (OSError, MailtapError) as error:  # MailtapError: a folder is in the way of one of the files
        _say(
            f"error: {output}: the result could not be written ({reason(error)}); the text report follows on standard output"
        )
        write_stdout(partial(load("text").write, job))
        raise typer.Exit(OutputError.exit_code) from None


def _say(message: str) -> None:
    from analyzer.report.visible import visible

    with contextlib.suppress(OSError):
        sys.stderr.write(f"mailtap: {visible(message)}\n")


def run_command(arguments: list[str] | None = None) -> int:
    """Run the command line; its exit code."""
    code: Any
    words = sys.argv[1:] if arguments is None else arguments
    try:
        app = make_app(words[0] if words and words[0] in COMMANDS else None)
        code = app(args=words, prog_name="mailtap", standalone_mode=False)
    except MailtapError as error:
        code = _refused(error)
    except KeyboardInterrupt:
        _say("stopped")
        code = INTERRUPTED
    except SystemExit as stop:  # how Typer says that nobody reads the help to its end
        code = 0 if not stop.code else _refused(reader_gone())
    except OSError as error:
        # What is written without looking is text for standard output: a version, help, a list.
        code = _refused(unwritten(error)) if error.errno in (*NO_ROOM, errno.EBADF) else _usage_or_fault(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: said, not shown as a crash
        code = _usage_or_fault(error)
    return code if isinstance(code, int) else 0


def _refused(error: MailtapError) -> int:
    """Say an error; its exit code."""
    _say(f"error: {error}")
    return error.exit_code


def main() -> None:
    """The ``mailtap`` command: run, then leave at once.

    Taking hundreds of thousands of records apart one by one, only to end the process, would cost as much as reading a good
    part of the capture; so the process leaves without it, once everything is written.
    """
    global _kept  # noqa: PLW0603 - this is the process's own run
    prepare()
    _kept = []
    code = run_command()
    try:
        sys.stdout.flush()
    except OSError as error:
        code = code or _refused(unwritten(error))
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _usage_or_fault(error: Exception) -> int:
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        return code
    import traceback

    _say("a fault of mailtap; please report it with the lines below and, if you may, the capture")
    sys.stderr.write(traceback.format_exc())
    return 4
