"""The commands of live use: ``mailtap monitor`` and ``mailtap interfaces``. Settings are checked in ``monitor.config``, not here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from analyzer.monitor.store_names import DEFAULT_STORE

WATCHED = "What is watched"
TOLD = "Who is told, and how often"
KEPT = "What is kept"
RUN = "How it runs"
#: Columns that addresses of interfaces have where they go on below.
MIN_ADDRESSES = 24


def _print(what: str, options: list[str]) -> None:
    """What ``monitor`` prints instead of watching: the unit starts with the options that stand beside."""
    if what == "config":
        from analyzer.monitor.config import example_config

        sys.stdout.write(example_config())
        return
    from analyzer.monitor import deploy

    if what == "container":
        sys.stdout.write(deploy.containerfile())
        return
    sys.stdout.write(deploy.unit(options))
    against = deploy.caution()
    if against:
        sys.stderr.write(f"mailtap: warning: {against}\n")


def _options(given: dict[str, Any], config: Path | None) -> list[str]:
    """The command line again, as words."""
    from analyzer.monitor.config import key_of

    words = [] if config is None else ["--config", str(config.absolute())]
    for name, value in given.items():
        option = f"--{key_of(name)}"
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        elif isinstance(value, list):
            for one in value:
                words += [option, str(one)]
        elif value is not None:
            words += [option, str(value)]
    return words


def monitor(
    interface: Annotated[
        list[str] | None,
        typer.Option(
            "--interface",
            "-i",
            metavar="NAME",
            help="Interface to watch; any for all. May be repeated.",
            rich_help_panel=WATCHED,
        ),
    ] = None,
    follow: Annotated[
        list[str] | None,
        typer.Option(
            "--follow",
            metavar="PATH",
            help="A growing capture, a folder of rotated ones, - for standard input.",
            rich_help_panel=WATCHED,
        ),
    ] = None,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[-]", help="- is short for --follow -.", show_default=False)
    ] = None,
    filter: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option(
            "--filter", metavar="BPF", help="Capture filter in place of the usual one.", rich_help_panel=WATCHED
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="[auto|ring|scapy]", help="Who reads the interface.", rich_help_panel=WATCHED),
    ] = None,
    promiscuous: Annotated[
        bool | None,
        typer.Option(
            "--promiscuous/--no-promiscuous",
            help="See what is for other machines, too (usual).",
            rich_help_panel=WATCHED,
        ),
    ] = None,
    snaplen: Annotated[
        int | None, typer.Option("--snaplen", metavar="OCTETS", help="Octets of a packet.", rich_help_panel=WATCHED)
    ] = None,
    ring_size: Annotated[
        str | None,
        typer.Option(
            "--ring-size", metavar="SIZE", help="Room for packets in the kernel (64M).", rich_help_panel=WATCHED
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            metavar="PORT=SERVICE",
            help="A mail service on an unusual port: 1143=imap.",
            rich_help_panel=WATCHED,
        ),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(
            "--ca-file", metavar="FILE", help="Trusted roots (PEM) instead of the usual ones.", rich_help_panel=WATCHED
        ),
    ] = None,
    alerts: Annotated[
        list[str] | None,
        typer.Option(
            "--alerts",
            metavar="SINK",
            rich_help_panel=TOLD,
            help="jsonl:- (usual), jsonl:FILE, syslog://HOST, syslog+tcp://, syslog+tls://, https://... May be repeated.",
        ),
    ] = None,
    min_severity: Annotated[
        str | None,
        typer.Option(
            "--min-severity", metavar="SEVERITY", help="Least severity that is told (medium).", rich_help_panel=TOLD
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            "--window", metavar="TIME", help="One alert per rule, server and account in it (1h).", rich_help_panel=TOLD
        ),
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help="Alerts in the long run (1/s).", rich_help_panel=TOLD)
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option("--burst", metavar="COUNT", help="Alerts at once after a quiet time.", rich_help_panel=TOLD),
    ] = None,
    spool: Annotated[
        str | None,
        typer.Option(
            "--spool", metavar="FOLDER", help="Where alerts wait for receivers that are down.", rich_help_panel=TOLD
        ),
    ] = None,
    spool_size: Annotated[
        str | None, typer.Option("--spool-size", metavar="SIZE", help="Room for them.", rich_help_panel=TOLD)
    ] = None,
    webhook_secret_file: Annotated[
        str | None,
        typer.Option("--webhook-secret-file", metavar="FILE", help="Secret that signs webhooks.", rich_help_panel=TOLD),
    ] = None,
    webhook_secret_env: Annotated[
        str | None,
        typer.Option(
            "--webhook-secret-env", metavar="NAME", help="Environment variable with it.", rich_help_panel=TOLD
        ),
    ] = None,
    webhook_ca_file: Annotated[
        str | None,
        typer.Option(
            "--webhook-ca-file", metavar="FILE", help="Certificates to check receivers by.", rich_help_panel=TOLD
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="STORE",
            help=f"A file, postgresql://..., or off ({DEFAULT_STORE}).",
            rich_help_panel=KEPT,
        ),
    ] = None,
    store_key: Annotated[
        str | None,
        typer.Option(
            "--store-key", metavar="FILE", help="Key of the store's fingerprints (beside it).", rich_help_panel=KEPT
        ),
    ] = None,
    sensor: Annotated[
        str | None,
        typer.Option(
            "--sensor", metavar="NAME", help="Name of this monitor in a store of several.", rich_help_panel=KEPT
        ),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            "--retention", metavar="TIME", help="How long the store keeps (90d); 0 for ever.", rich_help_panel=KEPT
        ),
    ] = None,
    retention_size: Annotated[
        str | None,
        typer.Option(
            "--retention-size", metavar="SIZE", help="How large it grows (10G); 0 for any.", rich_help_panel=KEPT
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="Settings (TOML); read again on SIGHUP.", rich_help_panel=RUN
        ),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            "--user", metavar="NAME", help="Who root becomes once the interface is open.", rich_help_panel=RUN
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", metavar="ADDRESS", help="Prometheus and health (127.0.0.1:9469), or off.", rich_help_panel=RUN
        ),
    ] = None,
    live: Annotated[bool | None, typer.Option("--live", help="Show the screen.", rich_help_panel=RUN)] = None,
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="TIME", help="Stop after this time.", rich_help_panel=RUN)
    ] = None,
    example_config: Annotated[
        bool,
        typer.Option(
            "--example-config",
            help="Print a configuration.",
            rich_help_panel=RUN,
        ),
    ] = False,
    print_unit: Annotated[
        bool,
        typer.Option("--print-unit", help="Print a systemd unit.", rich_help_panel=RUN),
    ] = False,
    print_containerfile: Annotated[
        bool,
        typer.Option(
            "--print-containerfile",
            help="Print a container file.",
            rich_help_panel=RUN,
        ),
    ] = False,
) -> None:
    """Watch an interface, a growing capture or a pipe; tell at once who logs in in clear."""
    from analyzer.errors import UsageError
    from analyzer.monitor.config import load_settings, merged
    from analyzer.monitor.service import run_monitor

    for name in sources or []:
        if name != "-":
            raise UsageError(f"{name}: name an interface with -i {name}, or a capture with --follow {name}")
        follow = [*(follow or []), "-"]
    given: dict[str, Any] = {
        "interface": interface or None, "follow": follow or None, "filter": filter, "source": source, "promiscuous": promiscuous,
        "snaplen": snaplen, "ring_bytes": ring_size, "ports": port or None, "ca_file": ca_file, "alerts": alerts or None,
        "min_severity": min_severity, "window_s": window, "rate": rate, "burst": burst, "spool": spool, "spool_bytes": spool_size,
        "webhook_secret_file": webhook_secret_file, "webhook_secret_env": webhook_secret_env, "webhook_ca_file": webhook_ca_file,
        "store": store,
        "store_key": store_key, "sensor": sensor, "retention_s": retention, "retention_bytes": retention_size, "user": user, "metrics": metrics,
        "live": live, "duration_s": duration,
    }  # fmt: skip
    what = "config" if example_config else "unit" if print_unit else "container" if print_containerfile else ""
    if what:
        _print(what, _options(given, config))
        return
    settings = merged(None if config is None else load_settings(config), given)
    raise typer.Exit(run_monitor(settings, config, given))


def interfaces() -> None:
    """List the network interfaces, and whether mailtap may capture there."""
    import textwrap

    from analyzer.capture.interfaces import interfaces as found
    from analyzer.report.formats._page import width_of
    from analyzer.report.visible import visible

    rows = [("INTERFACE", "STATE", "LINK", "ADDRESSES", "")]
    every = found()
    why = {one.why for one in every if not one.capturable}
    for one in every:
        state = "up" if one.up and one.running else "no carrier" if one.up else "down"
        note = one.why if one.capturable else ""
        rows.append((one.name, state, one.link, " ".join(one.addresses) or "-", note))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    noted = max(len(row[3]) for row in rows if row[4] or row is rows[0])
    room = width_of(sys.stdout) if sys.stdout.isatty() else 0
    lines: list[str] = []
    for row in rows:
        head = "  ".join(visible(cell).ljust(width) for cell, width in zip(row, widths, strict=False))
        line = visible(f"{head}  {row[3].ljust(noted)}  {row[4]}").rstrip()
        if room and len(line) > room:
            below = min(len(head) + 2, room - MIN_ADDRESSES)
            lines += textwrap.wrap(line, room, subsequent_indent=" " * below, break_on_hyphens=False)
        else:
            lines.append(line)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    for sentence in sorted(filter(None, why)):
        sys.stderr.write(f"mailtap: cannot capture here: {sentence}\n")
