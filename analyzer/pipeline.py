"""The way from captures to records: the one module that names every stage.

    capture -> packets -> flows -> protocols -> sessions -> (findings, report)

Offline and live traffic take the same way; only the first stage differs. Records go to a sink as sessions end.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analyzer.capture.base import CaptureStats
from analyzer.capture.files import CaptureInput, expand, read_capture
from analyzer.errors import CaptureError, UsageError
from analyzer.flows.table import FlowTable
from analyzer.packets.decoder import PacketDecoder
from analyzer.protocols.detect import PROTOCOL_OF
from analyzer.sessions.dispatch import SessionStreamFactory
from analyzer.sessions.records import Session, SessionList, SessionSink

if TYPE_CHECKING:
    from analyzer.report.tables import Report

#: What tells a caller how far the reading is: octets read so far, octets in all (0 where unknown), packets so far.
Progress = Callable[[int, int, int], None]


class Pipeline:
    """The stages, wired. Feed it captures, close it, read the counters."""

    def __init__(self, sink: SessionSink, *, ports: Mapping[int, str] | None = None, sensor: str = "") -> None:
        self.factory = SessionStreamFactory(sink, dict(ports) if ports else None, sensor)
        self.table = FlowTable(self.factory)
        self.decoder = PacketDecoder(self.table)
        self.captures: list[CaptureStats] = []

    def read(self, path: str, progress: Callable[[int], None] | None = None) -> CaptureStats:
        """Read one capture file (``-``: standard input). Connections go on from one file into the next.

        Raises:
            CaptureError: the file is missing, unreadable, or no capture.
        """
        self.table.capture = len(self.factory.captures)
        self.factory.captures.append(path)
        before = self.decoder.undecoded
        try:
            stats = read_capture(path, self.decoder, progress)
        except CaptureError:
            self.factory.captures.pop()
            raise
        stats.undecoded = self.decoder.undecoded - before
        self.captures.append(stats)
        return stats

    def close(self) -> None:
        """The traffic is over: all open connections end."""
        self.table.end_capture()


class Result:
    """What one run over captures found, as records."""

    def __init__(self) -> None:
        #: sessions in order of their start
        self.sessions: list[Session] = []
        self.captures: list[CaptureStats] = []
        #: sentences for the user about what went wrong or was left out
        self.warnings: list[str] = []
        #: inputs that could not be read, while others could
        self.failures: list[CaptureError] = []
        #: counters of the packet and flow stages, by name
        self.counters: dict[str, int] = {}
        self.seconds: float = 0.0
        #: the user stopped the run; the records cover what was read until then
        self.interrupted: bool = False

    def nothing_analysed(self) -> str:
        """A sentence where packets were read but not one could be decoded; empty otherwise."""
        packets = sum(one.packets for one in self.captures)
        undecoded = sum(one.undecoded for one in self.captures)
        if packets and undecoded >= packets:
            kinds = sorted({str(linktype) for one in self.captures for linktype in one.linktypes})
            return (
                f"none of the {packets} packets could be decoded (link type {', '.join(kinds)}); "
                "convert the capture to a link type with IP inside, for example with editcap -T ether"
            )
        return ""


def parse_ports(ports: Mapping[int, str] | None) -> dict[int, str]:
    """Check a port table of the user.

    Raises:
        UsageError: a port is no port, or a service is unknown.
    """
    table: dict[int, str] = {}
    for port, service in (ports or {}).items():
        name = service.lower()
        if name == "smtps":
            name = "submissions"
        elif name == "sieve":
            name = "managesieve"
        if not 0 < int(port) < 65536:
            raise UsageError(f"{port} is no TCP port (1 to 65535)")
        if name not in PROTOCOL_OF:
            raise UsageError(
                f"unknown mail service {service!r} for port {port}; known: {', '.join(sorted(PROTOCOL_OF))}"
            )
        table[int(port)] = name
    return table


def run(
    paths: str | Path | Iterable[str | Path],
    *,
    ports: Mapping[int, str] | None = None,
    sensor: str = "",
    since_ns: int | None = None,
    until_ns: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Read captures into records.

    ``since_ns`` and ``until_ns`` (nanoseconds since the epoch) keep the sessions that were alive between the two.

    Raises:
        CaptureError: an input named by the caller is missing or unreadable, or nothing in any of them could be read.
        UsageError: the arguments make no sense.
    """
    if isinstance(paths, (str, Path)):
        paths = [paths]
    names = [str(path) for path in paths]
    if not names:
        raise UsageError("no capture was named")
    began = time.perf_counter()
    result = Result()
    sink = SessionList()
    pipeline = Pipeline(sink, ports=parse_ports(ports), sensor=sensor)
    # Flows break their cycles themselves when they end, so the cycle collector would find nothing, at a third of the run's time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        try:
            _read_all(pipeline, expand(names, result.warnings), result, progress)
        except KeyboardInterrupt:
            pipeline.close()
            result.interrupted = True
            result.warnings.append("the run was stopped; the results cover what was read until then")
    finally:
        if collecting:
            gc.enable()
    sessions = sink.sessions
    if since_ns is not None:
        sessions = [session for session in sessions if session.end_ns >= since_ns]
    if until_ns is not None:
        sessions = [session for session in sessions if session.start_ns <= until_ns]
    sessions.sort(key=_start_of)
    result.sessions = sessions
    result.captures = pipeline.captures
    result.counters = counters(pipeline)
    for index, stats in enumerate(pipeline.captures):
        if index < len(pipeline.factory.mail_packets):
            stats.mail_packets = pipeline.factory.mail_packets[index]
        result.warnings.extend(f"{stats.name}: {warning}" for warning in stats.warnings)
    result.seconds = time.perf_counter() - began
    return result


def _start_of(session: Session) -> tuple[int, int]:
    return (session.start_ns, session.first_frame)


def _read_all(pipeline: Pipeline, inputs: list[CaptureInput], result: Result, progress: Progress | None) -> None:
    """Read every input; a file that cannot be read is a failure on record, unless nothing could be read at all."""
    total = sum(_size_of(name) for one in inputs for name in one.files)
    done = 0
    for one in inputs:
        for name in one.files:
            base = done

            def report(octets: int, base: int = base) -> None:
                if progress is not None:
                    progress(base + octets, total, pipeline.decoder.packets)

            try:
                pipeline.read(name, report if progress is not None else None)
            except CaptureError as error:
                result.failures.append(error)
            done += _size_of(name)
        # Connections go on from file to file of one ring, and nowhere else.
        pipeline.close()
    if result.failures and not pipeline.captures:
        raise result.failures[0]


def _size_of(name: str) -> int:
    try:
        return Path(name).stat().st_size
    except OSError:
        return 0


def counters(pipeline: Pipeline) -> dict[str, int]:
    """The counters of the packet and flow stages, by name."""
    found: dict[str, int] = {}
    found.update({f"packets.{name}": count for name, count in pipeline.decoder.counters().items()})
    found.update({f"flows.{name}": count for name, count in pipeline.table.counters().items()})
    found["sessions.faults"] = pipeline.factory.faults
    return found


def analyze(
    paths: str | Path | Iterable[str | Path],
    *,
    show_secrets: bool = False,
    ports: Mapping[int, str] | None = None,
    engine: str = "native",
    headers: bool = False,
    sensor: str = "",
    since: str | None = None,
    until: str | None = None,
    key: bytes | None = None,
    progress: Progress | bool = True,
) -> Report:
    """Analyse captures: a file, several files, folders; ``-`` is standard input.

    Args:
        paths: captures of any kind that mailtap reads (pcap, pcapng, each also compressed), folders of them, or rings.
        show_secrets: put passwords, tokens, challenges and responses in clear into ``credentials``; masked otherwise.
        ports: services on unusual ports, ``{1143: "imap"}``; what is not listed is told by content.
        engine: ``native``.
        headers: read subject and addresses of messages into ``messages``.
        sensor: name for the ``sensor`` column.
        since: keep sessions alive at or after this time (RFC 3339; UTC where no zone is given).
        until: keep sessions alive at or before this time.
        key: key of the fingerprints in ``secret_id``; a random one for each run where None.
        progress: True shows a bar on a terminal or in a notebook once a run takes long, False nothing; a function is called with
            (octets read, octets in all or 0, packets) as the reading goes on.

    Returns:
        A report: ``sessions``, ``credentials``, ``tls``, ``messages``, ``findings``, ``servers``, ``migration``, ``captures`` as
        data frames, made when first asked for.

    Raises:
        CaptureError: an input is missing or unreadable, or nothing in any of them could be read.
        UsageError: the arguments make no sense.
    """
    from analyzer.report.progress import shown_progress
    from analyzer.report.rows import RowMaker
    from analyzer.report.tables import Report

    if engine != "native":
        raise UsageError(f"unknown engine {engine!r}; known: native")
    with shown_progress(progress) as shown:
        result = run(
            paths,
            ports=ports,
            sensor=sensor,
            since_ns=parse_time(since),
            until_ns=parse_time(until),
            progress=shown,
        )
    return Report(result, RowMaker(show_secrets, headers, key))


def parse_time(text: str | None) -> int | None:
    """A time of the user's (RFC 3339 or ISO 8601; UTC where no zone is given) as nanoseconds since the epoch.

    Raises:
        UsageError: it is no time.
    """
    if text is None:
        return None
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time; write it like 2026-01-31, 2026-01-31T08:00 or 2026-01-31T08:00:00+01:00"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000
