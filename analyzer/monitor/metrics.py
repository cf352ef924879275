"""The monitor's numbers for Prometheus, and whether it is well: ``/metrics``, ``/healthz``, ``/readyz`` over HTTP.

The numbers are read off :class:`~analyzer.monitor.base.MonitorState` when they are asked for, by a collector that keeps no copies;
prometheus_client writes them down (extra ``monitor``). Label values are bounded: sources and sinks by the command line, everything else by
what mailtap knows. Names of users, clients and servers are never among them, nor paths and passwords of sinks.

The server is one thread around a selector, and not the standard library's, which gives every client a thread and every octet a timeout of
its own: here a client has seconds in all, a few may be there at once (the oldest gives way), a few come in a second, and a page is written
at most every quarter of a second, whoever asks how often. So nobody who can reach the port can keep the loop from its packets.

Over 500 lines: half are the numbers, one line after another, with their help texts.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from analyzer._build import build_kind
from analyzer.errors import UsageError, comes_with
from analyzer.monitor.base import MonitorState, lost_files
from analyzer.monitor.readings import memory_bytes, settled, sink_name, unique
from analyzer.report.visible import shorten

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: Where the numbers are told if only a port is named.
LOOPBACK: Final = "127.0.0.1"
#: Seconds without a turn of the loop after which the monitor counts as stuck.
STALE_S: Final = 10.0
#: Clients at a time.
MAX_CLIENTS: Final = 16
#: Clients taken in a second, in the long run and at once.
CLIENTS_A_SECOND: Final = 50.0
#: Octets of a request.
MAX_REQUEST: Final = 8192
#: Seconds that a client has from connecting to the last octet.
CLIENT_S: Final = 5.0
#: Seconds that a client has to hang up, once it has its answer.
GOODBYE_S: Final = 1.0
#: Seconds for which a page is given out again instead of being written anew.
PAGE_S: Final = 0.25
#: Seconds between two looks at the loop's clock.
LOOK_S: Final = 0.5

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
INDEX: Final = "mailtap monitor: /metrics, /healthz, /readyz\n"
#: How the flows room marks the counters of limits that were hit.
LIMIT: Final = "limit_"
#: Those limits, and the monitor's own: they are told as 0 before they are hit, or their first hit would be no increase.
LIMITS: Final = (
    "embryos",
    "flows",
    "held_bytes",
    "held_bytes_total",
    "held_segments",
    "lingering",
    "news",
    "recent_bytes",
)


class StateCollector:
    """Makes metric families of the state, each time it is asked to."""

    def __init__(self, state: MonitorState) -> None:
        self.state = state

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        yield from self._about()
        yield from self._packets()
        yield from self._mail()
        yield from self._alerts()

    def _about(self) -> Iterator[Metric]:
        from prometheus_client import ProcessCollector

        state = self.state
        python = sys.version.split()[0]
        yield _family(
            "gauge", "mailtap_build_info", "Version of mailtap and of Python, and whether it is compiled.",
            [((state.version, build_kind(), python), 1)], ("version", "build", "python"),
        )  # fmt: skip
        yield _family("gauge", "mailtap_sensor_info", "Name of this sensor.", [((state.sensor,), 1)], ("sensor",))
        yield _single("gauge", "mailtap_start_time_seconds", "When the monitor was started.", state.started_ns / 1e9)
        yield _single("gauge", "mailtap_ready", "1 while traffic is watched.", state.ready)
        yield _single("gauge", "mailtap_memory_bytes", "Memory in use.", memory_bytes())
        yield _single("counter", "mailtap_cpu_seconds", "Processor time used.", time.process_time())
        # process_open_fds and the like, as every dashboard expects them; Linux only, and not where /proc is hidden from services
        yield from ProcessCollector(registry=None).collect()

    def _packets(self) -> Iterator[Metric]:
        state = self.state
        sources = list(state.sources)
        names = unique(shorten(source.name, 120) for source in sources)
        counted = [(name, source, source.counters()) for name, source in zip(names, sources, strict=True)]

        def by_source(kind: str, name: str, text: str, values: Iterable[tuple[str, float | None]]) -> Metric:
            return _family(
                kind, name, text, [((label,), value) for label, value in values if value is not None], ("source",)
            )

        yield by_source("gauge", "mailtap_source_up", "1 while the interface is up, or the file is there.",
                        [(name, source.up) for name, source, _ in counted])  # fmt: skip
        yield by_source(
            "counter", "mailtap_packets", "Packets read.", [(name, count.packets) for name, _, count in counted]
        )
        yield by_source(
            "counter", "mailtap_bytes", "Octets of packets read.", [(name, count.bytes) for name, _, count in counted]
        )
        yield by_source("counter", "mailtap_kernel_drops", "Packets that the kernel had no room for, where it can tell.",
                        [(name, count.kernel_drops) for name, _, count in counted])  # fmt: skip
        yield by_source("counter", "mailtap_own_drops", "Packets that mailtap left behind.",
                        [(name, count.own_drops) for name, _, count in counted])  # fmt: skip
        yield by_source("counter", "mailtap_lost_files", "Followed files that were gone, or lost their end, before they were read.",
                        [(name, lost_files(source)) for name, source, _ in counted])  # fmt: skip
        yield by_source("counter", "mailtap_damaged", "Places of damage in a file or pipe.",
                        [(name, count.damaged) for name, _, count in counted])  # fmt: skip
        yield by_source("counter", "mailtap_skipped_bytes", "Octets of a file or pipe that could not be read as packets.",
                        [(name, count.skipped_bytes) for name, _, count in counted])  # fmt: skip
        yield by_source("gauge", "mailtap_last_packet_timestamp_seconds", "Capture time of the latest packet.",
                        [(name, count.last_ns / 1e9 or None) for name, _, count in counted])  # fmt: skip
        yield _single(
            "gauge", "mailtap_lag_seconds", "How long ago the latest packet was captured when it was read.", state.lag_s
        )
        yield _single("gauge", "mailtap_flows_open", "TCP connections in the flow table.", state.flows_open)
        limits = dict.fromkeys(LIMITS, 0.0)
        events: list[tuple[tuple[str, ...], float]] = []
        for key, count in sorted(settled(state.counters).items()):
            stage, _, event = key.partition(".")
            if event.startswith(LIMIT):
                limits[event.removeprefix(LIMIT)] = count
            else:
                events.append(((stage, event), count))
        yield _family(
            "counter",
            "mailtap_limit_hits",
            "How often a named limit of mailtap was reached.",
            [((limit,), count) for limit, count in sorted(limits.items())],
            ("limit",),
        )
        yield _family(
            "counter", "mailtap_stage_events", "What the stages met in packets and flows.", events, ("stage", "event")
        )

    def _mail(self) -> Iterator[Metric]:
        state = self.state
        yield _family("counter", "mailtap_sessions", "Mail sessions that have ended.",
                      sorted(settled(state.sessions).items()), ("protocol", "transport"))  # fmt: skip
        yield _family("counter", "mailtap_findings", "Findings.",
                      sorted(settled(state.findings).items()), ("rule", "severity"))  # fmt: skip
        yield _single(
            "counter", "mailtap_exposed_logins", "Logins that an eavesdropper could read.", state.exposed_logins
        )
        for what, names in (
            ("accounts", state.exposed_accounts),
            ("clients", state.exposed_clients),
            ("servers", state.exposed_servers),
        ):
            yield _single("gauge", f"mailtap_exposed_{what}", f"Different {what} of logins that an eavesdropper could read, "
                          "since the start and up to a limit.", len(names))  # fmt: skip
        yield _single("counter", "mailtap_store_rows_written", "Rows committed to the store.", state.store_written)
        yield _single("gauge", "mailtap_store_rows_waiting", "Rows that wait for the store.", state.store_waiting)
        yield _single(
            "counter", "mailtap_store_rows_lost", "Rows given up because the store did not take them.", state.store_lost
        )
        yield _single(
            "gauge", "mailtap_store_trouble", "1 while something is wrong with the store.", bool(state.store_trouble)
        )
        yield _single(
            "gauge",
            "mailtap_followed_files_wait",
            "1 while followed files wait for the store, which takes less than they give.",
            state.files_wait,
        )

    def _alerts(self) -> Iterator[Metric]:
        state = self.state
        yield _single("counter", "mailtap_alerts", "Alerts raised.", state.alerts_raised)
        yield _family("counter", "mailtap_alerts_held_back", "Alerts that were not sent: repeated, over the rate limit, or below "
                      "--min-severity.", [(("repeated",), state.alerts_repeated), (("rate_limit",), state.alerts_limited),
                                          (("below_severity",), state.alerts_below)], ("reason",))  # fmt: skip
        yield _single(
            "counter", "mailtap_alerts_lost", "Alerts given up before they reached a sink.", state.alerts_lost
        )
        sinks = list(state.sinks)
        names = unique(sink_name(sink.name) for sink in sinks)
        for kind, name, text, values in (
            ("counter", "mailtap_sink_delivered", "Alerts delivered.", [float(sink.delivered) for sink in sinks]),
            ("gauge", "mailtap_sink_waiting", "Alerts that wait for their receiver.", [sink.waiting for sink in sinks]),
            ("counter", "mailtap_sink_lost", "Alerts given up.", [sink.lost for sink in sinks]),
            (
                "gauge",
                "mailtap_sink_trouble",
                "1 while something is wrong with the sink.",
                [bool(sink.trouble) for sink in sinks],
            ),
        ):
            yield _family(
                kind, name, text, [((label,), value) for label, value in zip(names, values, strict=True)], ("sink",)
            )


def _family(
    kind: str, name: str, text: str, samples: Iterable[tuple[tuple[str, ...], float]], labels: tuple[str, ...]
) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    make: Any = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family: Metric = make(name, text, labels=labels)
    for values, count in samples:
        family.add_metric([shorten(value, 200) for value in values], float(count))  # type: ignore[attr-defined]
    return family


def _single(kind: str, name: str, text: str, value: float) -> Metric:
    return _family(kind, name, text, [((), value)], ())


def metrics_page(state: MonitorState) -> bytes:
    """The page that Prometheus fetches, in its text format 0.0.4.

    Raises:
        UsageError: prometheus_client is not installed.
    """
    return _exposition(StateCollector(state))


def _exposition(collector: StateCollector) -> bytes:
    _need_prometheus_client()
    from prometheus_client import generate_latest

    return generate_latest(collector)  # of a registry it asks collect() alone


def _need_prometheus_client() -> None:
    try:
        import prometheus_client  # noqa: F401 - is it there?
    except ImportError as error:
        raise UsageError(
            f"--metrics needs prometheus_client, which is not installed; {comes_with('monitor')}"
        ) from error


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``--metrics``: ``127.0.0.1:9469``, ``[::1]:9469``, ``localhost:9469``, or a port alone, which is on loopback.

    Raises:
        UsageError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host = LOOPBACK
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or not host:
        host = ""
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            f"--metrics {shorten(text, 80)}: an address and a port are wanted: 127.0.0.1:9469, [::1]:9469; 0.0.0.0:9469 for "
            "every address of this machine"
        )
    return host, int(port)


class _Client:
    """A connection: what was read, what is still to be written."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.connection = connection
        self.request = b""
        self.reply = b""
        self.answered = False
        self.deadline = now + CLIENT_S


class MetricsServer:
    """Tells numbers and health over HTTP, from a thread of its own.

    ``open`` takes the port, ``start`` begins to answer (after privileges are dropped), ``close`` ends it.
    """

    def __init__(self, state: MonitorState, address: str, *, stale_s: float = STALE_S) -> None:
        self.state = state
        self.stale_s = stale_s
        self._asked = address
        self._host, self._port = parse_address(address)
        self._collector = StateCollector(state)
        self._listener: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []
        self._thread: threading.Thread | None = None
        self._waker, self._alarm = -1, -1
        self._stopping = False
        self._page = b""
        self._page_at = -PAGE_S
        # The loop's clock is the wall's, which may be set: what counts is when we saw it move.
        self._turn_ns = state.turn_ns
        self._turned_at = time.monotonic()
        self._allowance = CLIENTS_A_SECOND
        self._allowed_at = time.monotonic()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens: host and port."""
        return self._host, self._port

    @property
    def warning(self) -> str:
        """What to tell who opened it to the network; empty on loopback."""
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(self._host).is_loopback:
                return ""
        if self._host == "localhost":
            return ""
        return f"--metrics {self._asked}: anybody who reaches this address can read how much mail there is, and how it is protected"

    def open(self) -> None:
        """Take the port.

        Raises:
            UsageError: the address is not one of this machine, the port is taken or not allowed, prometheus_client is missing.
        """
        _need_prometheus_client()
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
        except (OSError, UnicodeError) as error:
            raise UsageError(f"--metrics {self._asked}: this address is not known: {error}") from error
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(MAX_CLIENTS)
        except OSError as error:
            listener.close()
            raise UsageError(f"--metrics {self._asked}: {_why(error)}") from error
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._listener = listener

    def start(self) -> None:
        """Begin to answer."""
        assert self._listener is not None
        self._waker, self._alarm = os.pipe()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._stopping = True
        if self._thread is not None:
            os.write(self._alarm, b"\0")
            self._thread.join(CLIENT_S)
            self._thread = None
            os.close(self._alarm)
            os.close(self._waker)
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._selector.close()

    # -- the thread ------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        listening = False
        while not self._stopping:
            now = time.monotonic()
            if self._allowed(now) != listening:
                listening = not listening
                if listening:
                    self._selector.register(self._listener_socket(), selectors.EVENT_READ)
                else:
                    self._selector.unregister(self._listener_socket())
            for key, events in self._selector.select(LOOK_S if listening else 1 / CLIENTS_A_SECOND):
                if key.fileobj is self._listener:
                    self._take()
                elif isinstance(key.data, _Client):
                    self._serve(key.data, events)
            self._look()
        for client in list(self._clients):
            self._leave(client)

    def _listener_socket(self) -> socket.socket:
        assert self._listener is not None
        return self._listener

    def _allowed(self, now: float) -> bool:
        """Another client may be taken."""
        self._allowance = min(CLIENTS_A_SECOND, self._allowance + (now - self._allowed_at) * CLIENTS_A_SECOND)
        self._allowed_at = now
        return self._allowance >= 1

    def _take(self) -> None:
        self._allowance -= 1
        try:
            connection, _ = self._listener_socket().accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._allowance = -LOOK_S * CLIENTS_A_SECOND  # no use in asking again at once
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._leave(self._clients[0])
        connection.setblocking(False)
        client = _Client(connection, time.monotonic())
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _leave(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.connection)
            client.connection.close()

    def _note_turn(self) -> None:
        turn_ns = self.state.turn_ns
        if turn_ns != self._turn_ns:
            self._turn_ns, self._turned_at = turn_ns, time.monotonic()

    def _look(self) -> None:
        """Time: of the loop, and of the clients."""
        self._note_turn()
        now = time.monotonic()
        for client in [client for client in self._clients if now > client.deadline]:
            self._leave(client)

    def _serve(self, client: _Client, events: int) -> None:
        if client not in self._clients:  # it gave way to another one in this round
            return
        try:
            if events & selectors.EVENT_READ:
                self._read(client)
            elif events & selectors.EVENT_WRITE:
                self._write(client)
        except BlockingIOError:
            return
        except OSError:  # it is gone
            self._leave(client)

    def _read(self, client: _Client) -> None:
        data = client.connection.recv(MAX_REQUEST)
        if not data:
            self._leave(client)
        elif not client.answered:
            client.request += data
            if b"\r\n\r\n" in client.request or b"\n\n" in client.request:
                self._answer(client, *self._page_for(client.request))
            elif len(client.request) >= MAX_REQUEST:
                self._answer(client, 431, TEXT_TYPE, b"the request is too long\n")

    def _answer(self, client: _Client, code: int, kind: str, body: bytes) -> None:
        client.answered = True
        lines = [
            f"HTTP/1.1 {code} {REASONS[code]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
        ]
        if code == 405:
            lines.append("Allow: GET, HEAD")
        head = "\r\n".join([*lines, "", ""]).encode("ascii")
        client.reply = head if client.request.startswith(b"HEAD ") else head + body
        client.request = b""
        self._selector.modify(client.connection, selectors.EVENT_WRITE, client)
        self._write(client)

    def _write(self, client: _Client) -> None:
        sent = client.connection.send(client.reply)
        client.reply = client.reply[sent:]
        if not client.reply:
            # Not closed at once: what the client may still send would turn into a reset that takes the answer with it.
            client.connection.shutdown(socket.SHUT_WR)
            client.deadline = min(client.deadline, time.monotonic() + GOODBYE_S)
            self._selector.modify(client.connection, selectors.EVENT_READ, client)

    # -- the pages -------------------------------------------------------------------------------------------------------------

    def _page_for(self, request: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body for a request."""
        words = request.split(b"\n", 1)[0].strip().split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return 400, TEXT_TYPE, b"this is no HTTP request\n"
        if words[0] not in (b"GET", b"HEAD"):
            return 405, TEXT_TYPE, b"GET and HEAD only\n"
        path = words[1].partition(b"?")[0]
        if path == b"/metrics":
            return self._metrics()
        if path == b"/healthz":
            return _verdict(self.trouble())
        if path == b"/readyz":
            return _verdict(self.unready())
        if path == b"/":
            return 200, TEXT_TYPE, INDEX.encode()
        return 404, TEXT_TYPE, INDEX.encode()

    def _metrics(self) -> tuple[int, str, bytes]:
        now = time.monotonic()
        if now - self._page_at >= PAGE_S:
            try:
                self._page = _exposition(self._collector)
            except Exception as error:  # noqa: BLE001 - a fault here costs this page, never the monitor
                return 500, TEXT_TYPE, f"the numbers could not be told: {type(error).__name__}\n".encode()
            self._page_at = now
        return 200, METRICS_TYPE, self._page

    def trouble(self) -> str:
        """Why the monitor is not well; empty when it is."""
        self._note_turn()
        silent = time.monotonic() - self._turned_at
        if silent <= self.stale_s:
            return ""
        return f"the loop has not turned for {silent:.0f} seconds"

    def unready(self) -> str:
        """Why no traffic is watched; empty when it is."""
        trouble = self.trouble()
        if trouble or not self.state.ready:
            return trouble or "not ready: starting or stopping"
        sources = list(self.state.sources)
        if sources and not any(source.up and not source.finished for source in sources):
            said = [f"{source.name}: {source.trouble or 'down'}" for source in sources]
            return shorten("nothing to watch: " + "; ".join(said), 500)
        return ""


def _verdict(trouble: str) -> tuple[int, str, bytes]:
    if trouble:
        return 503, TEXT_TYPE, f"{trouble}\n".encode("utf-8", "replace")
    return 200, TEXT_TYPE, b"ok\n"


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use, by another mailtap perhaps; choose another one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    if error.errno == errno.EACCES:
        return "the port may not be used; those below 1024 are root's"
    return str(error.strerror or error)
