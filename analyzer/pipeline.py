"""The way from captures to records: the one module that names every stage.

    capture -> packets -> flows -> protocols -> sessions -> (findings, report)

Offline and live traffic take the same way; only the first stage differs. Records go to a sink as sessions end.

Over 500 lines, because it names every stage once, for the library and the command line: arguments and what each of them means take most.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyzer.capture.base import CaptureStats, RecordSink
from analyzer.capture.files import CaptureInput, expand, read_capture
from analyzer.collecting import uncollected
from analyzer.errors import CaptureError, EngineError, NotACapture, UsageError
from analyzer.flows.table import FlowTable
from analyzer.packets.decoder import PacketDecoder
from analyzer.protocols.detect import PROTOCOL_OF
from analyzer.report.wording import plural, secrets_inside, window
from analyzer.sessions.dispatch import SessionStreamFactory
from analyzer.sessions.ordering import SessionGate, SessionOrder, in_order, sort_by_start
from analyzer.sessions.records import Session, SessionList, SessionSink

if TYPE_CHECKING:
    from datetime import datetime

    from analyzer.capture.keylog import KeyLog
    from analyzer.report.tables import Report

#: The engines: mailtap's own, and Wireshark's reassembly and decryption before mailtap's dissectors.
NATIVE: Final = "native"
WIRESHARK: Final = "wireshark"
ENGINES: Final = (NATIVE, WIRESHARK)

#: What a result says first where the user has stopped the run.
STOPPED: Final = "the run was stopped; the results cover what was read until then"

#: What tells a caller how far the reading is: octets read so far, octets in all (0 where unknown), packets so far.
Progress = Callable[[int, int, int], None]


class Pipeline:
    """The stages, wired. Feed it captures, close it, read the counters."""

    def __init__(self, sink: SessionSink, *, ports: Mapping[int, str] | None = None, sensor: str = "") -> None:
        self.factory = SessionStreamFactory(sink, dict(ports) if ports else None, sensor)
        self.table = FlowTable(self.factory)
        self.decoder = PacketDecoder(self.table)
        self.captures: list[CaptureStats] = []
        #: make the SHA-256 of each capture on the way
        self.hashed: bool = False

    def read(self, path: str, progress: Callable[[int], None] | None = None) -> CaptureStats:
        """Read one capture file (``-``: standard input). Connections go on from one file into the next.

        Raises:
            CaptureError: the file is missing, unreadable, or no capture.
        """
        self.table.capture = len(self.factory.captures)
        self.factory.captures.append(path)
        before, undecoded = self.decoder.packets, self.decoder.undecoded
        stats = CaptureStats(path)
        try:
            read_capture(path, self.decoder, progress, stats, self.hashed)
        except CaptureError:
            self.factory.captures.pop()
            raise
        except KeyboardInterrupt:
            # The user stops the run: what was read until then counts.
            if stats.packets:
                stats.packets = max(stats.packets, self.decoder.packets - before)
            stats.undecoded = self.decoder.undecoded - undecoded
            self.captures.append(stats)
            raise
        stats.undecoded = self.decoder.undecoded - undecoded
        self.captures.append(stats)
        return stats

    def read_wireshark(self, path: str, keylog: str | None = None) -> CaptureStats:
        """Read one capture file through the second engine; all its connections end with it.

        Raises:
            CaptureError: the file is missing, unreadable, or no capture.
            EngineError: tshark or pyshark is missing, or cannot do what is asked.
        """
        from analyzer.capture.wireshark import Wireshark
        from analyzer.sessions.replay import read_through

        wireshark = Wireshark(path, keylog)
        try:
            # What the file is and holds, our own reader says: records alone cost next to nothing.
            stats = read_capture(path, RecordSink())
        except NotACapture:
            # A format of Wireshark's alone.
            stats = CaptureStats(path)
            stats.format = "wireshark"
        self.factory.captures.append(path)
        try:
            read_through(wireshark, self.factory, len(self.factory.captures) - 1)
        except CaptureError:
            self.factory.captures.pop()
            raise
        except KeyboardInterrupt:
            stats.packets = wireshark.packets
            self.captures.append(stats)
            raise
        stats.packets = stats.packets or wireshark.packets
        stats.warnings.extend(wireshark.warnings)
        self.captures.append(stats)
        return stats

    def close(self) -> None:
        """The traffic is over: all open connections end."""
        self.table.end_capture()


class Result:
    """What one run over captures found, as records."""

    def __init__(self) -> None:
        #: sessions in order of their start; none where somebody took them as they ended
        self.sessions: list[Session] = []
        #: no two of them began at the same moment, as far as is known
        self.in_order: bool = False
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
        #: the records come from a store: captures are what a monitor listened to, no files that could be read again
        self.stored: bool = False
        #: the times between which sessions had to be alive, in nanoseconds since the epoch; None where nobody asked
        self.since_ns: int | None = None
        self.until_ns: int | None = None
        #: sessions that were left out because they were not
        self.left_out: int = 0
        #: capture -> the identifiers of kept sessions whose TLS secrets it holds, unused
        self.sealed: dict[str, list[str]] = {}

    def window(self) -> str:
        """A sentence that tells which times were asked for, and what that left out; empty where no times were."""
        return window(self.since_ns, self.until_ns, self.left_out)

    def nothing_analysed(self) -> str:
        """A sentence where packets were read but not one could be decoded; empty otherwise."""
        packets = sum(one.packets for one in self.captures)
        undecoded = sum(one.undecoded for one in self.captures)
        if packets and undecoded >= packets:
            kinds = sorted({str(linktype) for one in self.captures for linktype in one.linktypes})
            return (
                f"none of the packets could be decoded ({plural(packets, 'packet')}, link type {', '.join(kinds)}); "
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
        name = str(service).lower()
        if name == "smtps":
            name = "submissions"
        elif name == "sieve":
            name = "managesieve"
        if not str(port).isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"{port!r} is no TCP port (1 to 65535)")
        if name not in PROTOCOL_OF:
            raise UsageError(
                f"unknown mail service {service!r} for port {port}; known: {', '.join(sorted(PROTOCOL_OF))}"
            )
        table[int(port)] = name
    return table


def read_ports(words: Iterable[str]) -> dict[int, str]:
    """A port table as users write it, a word a port: ``1143=imap``.

    Raises:
        UsageError: a word is not written so, its port is no port, or its service is unknown; the message begins with the word.
    """
    ports: dict[int, str] = {}
    for word in words:
        number, equals, service = (part.strip() for part in word.partition("="))
        if not equals or not number.isdecimal() or len(number) > 5:
            raise UsageError(f"{word}: write it as PORT=SERVICE, for example 1143=imap")
        try:
            ports.update(parse_ports({int(number): service}))
        except UsageError as error:
            raise UsageError(f"{word}: {error}") from None
    return ports


def run(
    paths: str | bytes | Path | Iterable[str | bytes | Path],
    *,
    ports: Mapping[int, str] | None = None,
    sensor: str = "",
    since_ns: int | None = None,
    until_ns: int | None = None,
    engine: str = NATIVE,
    keylog: str | Path | None = None,
    headers: bool = False,
    progress: Progress | None = None,
    receiver: SessionSink | None = None,
    hashed: bool = False,
) -> Result:
    """Read captures into records.

    ``since_ns`` and ``until_ns`` (nanoseconds since the epoch) keep the sessions that were alive between the two. ``engine`` is
    ``native`` or ``wireshark``; ``headers`` keeps the header blocks of messages, for subjects and addresses; with a ``keylog`` the native
    engine hands the TLS sessions whose secrets it holds to the other. A ``receiver`` is given the sessions in order of their start, most
    of them soon after their end, and none is kept: memory stays flat. Where they must be kept (several inputs, a ``keylog``) it is given
    them when all are read. ``hashed`` makes the SHA-256 of each capture as it is read.

    Raises:
        CaptureError: an input named by the caller is missing or unreadable, or nothing in any of them could be read.
        UsageError: the arguments make no sense.
    """
    names = _names(paths)
    if not names:
        raise UsageError("no capture was named")
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")
    from analyzer.times import check_order

    check_order(since_ns, until_ns)
    secrets = _read_secrets(keylog)
    began = time.perf_counter()
    result = Result()
    result.since_ns, result.until_ns = since_ns, until_ns
    kept = SessionList()
    order = SessionOrder(kept if receiver is None or secrets is not None else receiver)
    gate = SessionGate(order, since_ns, until_ns)
    pipeline = Pipeline(gate, ports=parse_ports(ports), sensor=sensor)
    pipeline.factory.keep_headers = headers
    pipeline.hashed = hashed
    with uncollected():
        try:
            inputs = expand(names, result.warnings)
            if engine == NATIVE and len(inputs) == 1:
                order.table = pipeline.table
            if engine == WIRESHARK:
                _read_wireshark(pipeline, inputs, result, progress, None if keylog is None else str(keylog))
            else:
                _read_all(pipeline, inputs, result, progress)
        except KeyboardInterrupt:
            pipeline.close()
            result.interrupted = True
            result.warnings.insert(0, STOPPED)
        order.flush()
    if not kept.in_order:
        sort_by_start(kept.sessions)
    result.sessions = kept.sessions
    result.in_order = kept.in_order
    result.captures = pipeline.captures
    if engine == NATIVE and not result.interrupted:
        _decrypt(pipeline, result, secrets, None if keylog is None else str(keylog), gate.randoms)
    if receiver is not None and result.sessions:
        for session in in_order(result.sessions):
            receiver.receive_session(session)
        result.sessions = []
    result.left_out = gate.left_out
    result.counters = counters(pipeline)
    result.warnings.extend(_limits_hit(result.counters))
    for index, stats in enumerate(pipeline.captures):
        if stats.undecoded:
            kinds = ", ".join(str(linktype) for linktype in stats.linktypes)
            stats.warnings.append(
                f"{plural(stats.undecoded, 'packet')} could not be decoded (link types of the file: {kinds})"
            )
        if index < len(pipeline.factory.mail_packets):
            stats.mail_packets = pipeline.factory.mail_packets[index]
        result.warnings.extend(f"{stats.name}: {warning}" for warning in stats.warnings)
    result.seconds = time.perf_counter() - began
    return result


def _names(paths: str | bytes | Path | Iterable[str | bytes | Path]) -> list[str]:
    """The names of the captures that are meant: one, or several."""
    try:
        return [os.fsdecode(path) for path in ([paths] if isinstance(paths, (str, bytes, Path)) else paths)]
    except TypeError as error:
        raise UsageError(f"captures are named by their paths: {error}") from None


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


def _read_wireshark(
    pipeline: Pipeline, inputs: list[CaptureInput], result: Result, progress: Progress | None, keylog: str | None
) -> None:
    """Read every input through the second engine."""
    names = [name for one in inputs for name in one.files]
    if len(names) > len(inputs):
        result.warnings.append(
            "the Wireshark engine reads each file by itself: a connection that goes on in the next one is told as two sessions"
        )
    total = sum(_size_of(name) for name in names)
    done = packets = 0
    for name in names:
        try:
            packets += pipeline.read_wireshark(name, keylog).packets
        except CaptureError as error:
            result.failures.append(error)
        done += _size_of(name)
        if progress is not None:
            progress(done, total, packets)
    if result.failures and not pipeline.captures:
        raise result.failures[0]


def _read_secrets(keylog: str | Path | None) -> KeyLog | None:
    if keylog is None:
        return None
    from analyzer.capture.keylog import read_keylog

    return read_keylog(str(keylog))


def _decrypt(
    pipeline: Pipeline, result: Result, secrets: KeyLog | None, keylog: str | None, randoms: dict[str, list[bytes]]
) -> None:
    """After a native run: let the second engine read the TLS sessions that a key log has secrets of, or say why not.

    Secrets inside a capture are not used unasked, but told of.
    """
    embedded = [stats for stats in result.captures if stats.keylog]
    if secrets is None and not embedded:
        return
    from analyzer.capture.keylog import KeyLog

    if secrets is None:
        kept = _by_capture(one for one in result.sessions if one.tls is not None and one.tls.client_random)
        for stats in embedded:
            inside = KeyLog()
            for text in stats.keylog:
                inside.add(text)
            sealed = kept.get(stats.name, [])
            fit = [one.session_id() for one in sealed if one.tls is not None and inside.fits(one.tls.client_random)]
            if fit:
                result.sealed[stats.name] = fit
            count = len(fit) or sum(1 for random in randoms.get(stats.name, ()) if inside.fits(random))
            if count:
                result.warnings.append(secrets_inside(stats.name, count))
        return
    sealed = [session for session in result.sessions if session.tls is not None and session.tls.client_random]
    fitting = [one for one in sealed if one.tls is not None and secrets.fits(one.tls.client_random)]
    if not fitting:
        result.warnings.append(
            f"{keylog}: nothing was decrypted, for none of its secrets fits; the beginning of {plural(len(sealed), 'TLS session')} was captured"
        )
        return
    from analyzer.sessions.replay import decrypt

    opened: dict[str, Session] = {}
    kept = _by_capture(fitting)
    for stats in result.captures:
        mine = kept.get(stats.name, [])
        if not mine:
            continue
        try:
            found, warnings = decrypt(mine, stats.name, keylog, dict(pipeline.factory.services))
        except (EngineError, CaptureError) as error:
            result.warnings.append(f"{plural(len(mine), 'TLS session')} of {stats.name} not decrypted: {error}")
            continue
        result.warnings.extend(f"{stats.name}: {warning}" for warning in warnings)
        for session in found:
            session.capture = stats.name
            session.sensor = pipeline.factory.sensor
            opened[session.session_id()] = session
        if len(found) < len(mine):
            result.warnings.append(
                f"{stats.name}: the secrets of {plural(len(mine) - len(found), 'TLS session')} are known, yet no login or message was read in them"
            )
    if opened:
        result.sessions = [opened.get(session.session_id(), session) for session in result.sessions]


def _by_capture(sessions: Iterable[Session]) -> dict[str, list[Session]]:
    """Sessions by their capture: there may be thousands of both."""
    found: dict[str, list[Session]] = {}
    for session in sessions:
        found.setdefault(session.capture, []).append(session)
    return found


def _limits_hit(found: dict[str, int]) -> list[str]:
    """A sentence for each limit that cost something: results near it may be incomplete."""
    sentences = [
        f"a limit of mailtap was reached {plural(count, 'time')} ({name.removeprefix('flows.limit_').replace('_', ' ')}): "
        "connections open at the same time may be told in part"
        for name, count in sorted(found.items())
        if name.startswith("flows.limit_") and count
    ]
    for name, what, words in (
        ("packets.fragments_dropped", "IP fragment", "could not be put together"),
        ("packets.too_deep", "packet", "wrapped in more layers than mailtap takes off"),
        ("packets.encrypted", "frame", "encrypted on the radio or the link"),
    ):
        if found.get(name):
            sentences.append(f"{plural(found[name], what)} {words}: what was in there is unseen")
    if found.get("packets.networks_forgotten"):
        sentences.append(
            "more connections with VLAN tags than mailtap remembers: tenants that share addresses and ports may be mixed up"
        )
    return sentences


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
    paths: str | bytes | Path | Iterable[str | bytes | Path],
    *,
    show_secrets: bool = False,
    ports: Mapping[int, str] | None = None,
    engine: str = NATIVE,
    keylog: str | Path | None = None,
    ca_file: str | Path | None = None,
    headers: bool = False,
    sensor: str = "",
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    key: bytes | None = None,
    progress: Progress | bool = True,
) -> Report:
    """Analyse captures: a file, several files, folders; ``-`` is standard input.

    Args:
        paths: captures of any kind that mailtap reads (pcap, pcapng, each also compressed), folders of them, or rings.
        show_secrets: put passwords, tokens, challenges and responses in clear into ``credentials``; masked otherwise.
        ports: services on unusual ports, ``{1143: "imap"}``; what is not listed is told by content.
        engine: ``native``, or ``wireshark``: tshark reassembles the streams and decrypts TLS where secrets are at hand (in
            ``keylog``, or in the capture); what is read inside TLS is in the same tables, with ``exposed`` false.
        keylog: a file of TLS secrets, as ``SSLKEYLOGFILE`` makes it; the native engine hands the sessions it fits to the other.
        ca_file: trusted roots (PEM) to check certificates against; those of ``certifi`` where None.
        headers: read subject and addresses of messages into ``messages``.
        sensor: name for the ``sensor`` column.
        since: keep sessions alive at or after this time (RFC 3339, or a ``datetime``; UTC where no zone is given; or 24h for 24 hours ago).
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
        EngineError: the Wireshark engine was asked for and cannot be used.
    """
    from analyzer.report.progress import shown_progress
    from analyzer.report.rows import RowMaker
    from analyzer.report.tables import Report
    from analyzer.times import parse_time

    maker = RowMaker(show_secrets, headers, key, None if ca_file is None else str(ca_file))
    if ca_file is not None:
        maker.trust.load()
    with shown_progress(progress) as shown:
        result = run(
            paths,
            ports=ports,
            sensor=sensor,
            since_ns=parse_time(since),
            until_ns=parse_time(until),
            engine=engine,
            keylog=keylog,
            headers=headers,
            progress=shown,
        )
    return Report(result, maker)
