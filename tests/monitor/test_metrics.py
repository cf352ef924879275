from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.alerts import Behind
from support.waiting import PATIENCE, SOCKET_PATIENCE, until

from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.errors import UsageError
from analyzer.monitor import metrics
from analyzer.monitor.base import AlertSink, MonitorState
from analyzer.monitor.metrics import MetricsServer, metrics_page, parse_address
from analyzer.monitor.readings import memory_bytes, settled, sink_name, unique


class Source(LiveSource):
    def __init__(self, name: str, counted: LiveCounters) -> None:
        super().__init__(name)
        self.counted = counted

    def counters(self) -> LiveCounters:
        return self.counted


def counted(packets: int, kernel_drops: int | None) -> LiveCounters:
    found = LiveCounters()
    found.packets, found.bytes, found.kernel_drops = packets, packets * 100, kernel_drops
    found.last_ns = 1_700_000_000_500_000_000
    return found


def monitored() -> MonitorState:
    state = MonitorState("1.2.3", "sensor-ä", time.time_ns())
    state.sources = [Source("eth0", counted(1000, 7)), Source("-", counted(5, None)), Source("eth0", counted(1, 0))]
    address = "webhook:https://user:Tok3n@hooks.example:8443/services/T0K3N?key=T0K3N"
    webhook = Behind(address, delivered=3, waiting=2, lost=1, trouble="refused")
    state.sinks = [webhook, AlertSink("jsonl:/var/log/mailtap.jsonl")]
    state.sessions.update({("pop3", "plaintext"): 12, ("imap", "starttls"): 3})
    state.findings[("plaintext-password", "critical")] += 4
    state.counters = {"flows.limit_flows": 9, "packets.malformed": 2, "flows.out_of_order": 1}
    state.exposed_accounts.update(["erin@example.test", 'x"} 1\nevil 1'])
    state.exposed_logins, state.alerts_raised, state.alerts_repeated, state.alerts_below = 16, 4, 11, 5
    state.store_written, state.store_waiting, state.store_lost, state.lag_s = 100, 10, 1, 0.25
    state.files_wait = True
    state.ready, state.turn_ns, state.flows_open = True, time.time_ns(), 77
    return state


def samples(page: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "a series stands there twice"
            assert sample.name.endswith("_total") == (family.type == "counter")
            found[key] = sample.value
    return found


def value(page: bytes, name: str, **labels: str) -> float:
    return samples(page)[name, frozenset(labels.items())]


def test_every_number_of_the_state_is_told() -> None:
    page = metrics_page(monitored())
    assert value(page, "mailtap_packets_total", source="eth0") == 1000
    assert value(page, "mailtap_packets_total", source="eth0 #2") == 1
    assert value(page, "mailtap_bytes_total", source="-") == 500
    assert value(page, "mailtap_kernel_drops_total", source="eth0") == 7
    assert ("mailtap_kernel_drops_total", frozenset({("source", "-")})) not in samples(page)  # a pipe cannot tell
    assert value(page, "mailtap_sessions_total", protocol="pop3", transport="plaintext") == 12
    assert value(page, "mailtap_findings_total", rule="plaintext-password", severity="critical") == 4
    assert value(page, "mailtap_exposed_logins_total") == 16
    assert value(page, "mailtap_exposed_accounts") == 2
    assert value(page, "mailtap_limit_hits_total", limit="flows") == 9
    assert value(page, "mailtap_stage_events_total", stage="packets", event="malformed") == 2
    assert value(page, "mailtap_alerts_total") == 4
    assert value(page, "mailtap_alerts_held_back_total", reason="repeated") == 11
    assert value(page, "mailtap_alerts_held_back_total", reason="below_severity") == 5
    assert value(page, "mailtap_store_rows_written_total") == 100
    assert value(page, "mailtap_store_rows_waiting") == 10
    assert value(page, "mailtap_followed_files_wait") == 1
    assert value(page, "mailtap_store_trouble") == 0
    assert value(page, "mailtap_lag_seconds") == 0.25
    assert value(page, "mailtap_flows_open") == 77
    assert value(page, "mailtap_last_packet_timestamp_seconds", source="eth0") == 1_700_000_000.5
    assert value(page, "mailtap_sink_waiting", sink="webhook:https://hooks.example:8443") == 2
    assert value(page, "mailtap_sink_trouble", sink="jsonl:/var/log/mailtap.jsonl") == 0
    assert value(page, "mailtap_sensor_info", sensor="sensor-ä") == 1
    assert value(page, "mailtap_cpu_seconds_total") > 0
    assert 1_000_000 < value(page, "mailtap_memory_bytes") < 10_000_000_000


def test_no_name_of_a_user_and_no_secret_of_a_sink_is_told() -> None:
    page = metrics_page(monitored()).decode()
    for word in ("erin@", "evil", "T0K3N", "Tok3n", "services"):
        assert word not in page


def test_names_follow_the_conventions() -> None:
    for name, labels in samples(metrics_page(monitored())):
        assert re.fullmatch(r"(mailtap|process)_[a-z_]+", name)
        assert not name.endswith(("_count", "_sum", "_bucket", "_milliseconds", "_ms"))
        for label, _ in labels:
            assert label in {
                "source", "protocol", "transport", "rule", "severity", "limit", "stage", "event", "reason", "sink", "sensor",
                "version", "build", "python",
            }  # fmt: skip


def test_a_state_in_which_nothing_happened_yet() -> None:
    page = metrics_page(MonitorState("1", "", 0))
    assert value(page, "mailtap_exposed_logins_total") == 0
    assert value(page, "mailtap_ready") == 0


def test_every_limit_is_told_before_it_is_hit() -> None:
    """A counter that begins to exist with its first hit has no increase that an alert of Prometheus could see."""
    told = {
        dict(labels)["limit"]: count
        for (name, labels), count in samples(metrics_page(MonitorState("1", "", 0))).items()
        if name == "mailtap_limit_hits_total"
    }
    flows = Path(__file__).parents[2] / "analyzer" / "flows"
    there = {
        limit
        for path in flows.glob("*.py")
        for limit in re.findall(r'\.hit\("(\w+)"\)', path.read_text(encoding="utf-8"))
    }
    assert there
    assert told == dict.fromkeys([*sorted(there), "news"], 0.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not look like a slow client."""
    monkeypatch.setattr(metrics, "CLIENT_S", PATIENCE)
    monkeypatch.setattr(metrics, "GOODBYE_S", PATIENCE)


def time_is_up(server: MetricsServer) -> None:
    """For all clients there are."""
    for client in list(server._clients):
        client.deadline = 0.0


@contextmanager
def served(state: MonitorState, address: str = "127.0.0.1:0", stale_s: float = 3600.0) -> Iterator[MetricsServer]:
    server = MetricsServer(state, address, stale_s=stale_s)
    server.open()
    server.start()
    try:
        yield server
    finally:
        server.close()


def fetch(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(*server.address, timeout=SOCKET_PATIENCE)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.headers["Content-Type"], reply.read()
    finally:
        connection.close()


def test_the_pages() -> None:
    with served(monitored()) as server:
        status, kind, page = fetch(server, "/metrics?x=y")
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert value(page, "mailtap_alerts_total") == 4
        assert fetch(server, "/healthz")[::2] == (200, b"ok\n")
        assert fetch(server, "/readyz")[::2] == (200, b"ok\n")
        assert fetch(server, "/metrics", "HEAD")[::2] == (200, b"")
        assert b"/metrics" in fetch(server, "/")[2]
        assert fetch(server, "/other")[0] == 404
        assert fetch(server, "/metrics", "POST")[0] == 405
        assert fetch(server, "/metrics", "DELETE")[0] == 405


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_ipv6() -> None:
    if not has_ipv6():
        with pytest.raises(UsageError, match="--metrics"):
            MetricsServer(monitored(), "[::1]:0").open()
        return
    with served(monitored(), "[::1]:0") as server:
        assert server.address[0] == "::1"
        assert fetch(server, "/healthz")[0] == 200


def test_a_loop_that_stands_still_is_not_well_and_one_whose_clock_is_set_back_is() -> None:
    state = monitored()
    with served(state) as server:
        state.turn_ns -= 3_600_000_000_000
        assert fetch(server, "/healthz")[0] == 200
        server._turned_at -= server.stale_s + 60  # so long ago
        status, _, why = fetch(server, "/healthz")
        assert status == 503
        assert re.fullmatch(rb"the loop has not turned for \d+ seconds\n", why)
        assert fetch(server, "/readyz")[0] == 503
        state.turn_ns += 1
        assert fetch(server, "/healthz")[0] == 200


def test_ready_means_that_something_is_watched() -> None:
    state = monitored()
    with served(state) as server:
        for source in state.sources:
            source.up = False
        state.sources[0].trouble = "the link is down\r\nX: \x1b[2J"
        status, _, why = fetch(server, "/readyz")
        assert status == 503
        assert b"eth0: the link is down\\x0d\\x0aX: \\x1b[2J; -: down" in why
        state.sources[1].up = True
        assert fetch(server, "/readyz")[0] == 200
        state.ready = False
        assert fetch(server, "/readyz")[::2] == (503, b"not ready: starting or stopping\n")
        assert fetch(server, "/healthz")[0] == 200


def test_numbers_that_cannot_be_told_cost_their_page_only() -> None:
    state = monitored()
    state.lag_s = "late"  # type: ignore[assignment]
    with served(state) as server:
        status, _, body = fetch(server, "/metrics")
        assert status == 500
        assert body == b"the numbers could not be told: ValueError\n"
        assert fetch(server, "/healthz")[0] == 200


def test_a_port_in_use_is_said() -> None:
    with served(monitored()) as server:
        again = MetricsServer(monitored(), f"127.0.0.1:{server.address[1]}")
        with pytest.raises(UsageError, match="the port is in use"):
            again.open()
        again.close()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:9469", ("127.0.0.1", 9469)),
        ("[::1]:9469", ("::1", 9469)),
        ("9469", ("127.0.0.1", 9469)),
        ("localhost:1", ("localhost", 1)),
    ],
)
def test_addresses(text: str, meant: tuple[str, int]) -> None:
    assert parse_address(text) == meant


@pytest.mark.parametrize(
    "text", ["", ":", ":9469", "::1:9469", "host:", "host:http", "host:65536", "[::1]", "1.2.3.4:9469:1", "²"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--metrics"):
        parse_address(text)


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:9469"])
def test_an_address_that_is_not_ours(address: str) -> None:
    server = MetricsServer(monitored(), address)
    with pytest.raises(UsageError, match="address"):
        server.open()
    server.close()


def test_who_opens_it_to_the_network_is_warned() -> None:
    for address, quiet in (
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
    ):
        server = MetricsServer(monitored(), address)
        assert (server.warning == "") == quiet
        server.close()


# -- clients that mean no good -----------------------------------------------------------------------------------------------------


def asked(server: MetricsServer, request: bytes) -> bytes:
    with socket.create_connection(server.address, timeout=SOCKET_PATIENCE) as connection:
        connection.sendall(request)
        found = b""
        while data := connection.recv(65536):
            found += data
        return found


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1 extra\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
        (b"GET /healthz HTTP/1.0\n\n", 200),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /healthz HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + b"x" * 100_000, 200),
        (b"GET /" + b"x" * 20_000, 431),
    ],
)
def test_odd_requests_get_an_answer_and_no_more(request_: bytes, status: int) -> None:
    with served(monitored()) as server:
        assert asked(server, request_).startswith(b"HTTP/1.1 %d " % status)
        assert fetch(server, "/healthz")[0] == 200


def test_slow_clients_are_shown_the_door_and_hinder_nobody() -> None:
    with served(monitored()) as server:
        slow = [
            socket.create_connection(server.address, timeout=SOCKET_PATIENCE) for _ in range(metrics.MAX_CLIENTS + 4)
        ]
        try:
            for connection in slow[-4:]:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            assert fetch(server, "/healthz")[0] == 200
            assert len(server._clients) <= metrics.MAX_CLIENTS
            time_is_up(server)
            until(lambda: not server._clients)
            for connection in slow:
                assert connection.recv(100) == b""
        finally:
            for connection in slow:
                connection.close()


def test_a_client_that_never_reads_its_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MetricsServer, "_metrics", lambda _: (200, "text/plain", b"x" * 20_000_000))
    with served(monitored()) as server, socket.create_connection(server.address, timeout=SOCKET_PATIENCE) as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert fetch(server, "/healthz")[0] == 200
        assert server._clients
        time_is_up(server)
        until(lambda: not server._clients)


def test_a_page_is_not_written_anew_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PAGE_S", 3600.0)
    state = monitored()
    with served(state) as server:
        before = fetch(server, "/metrics")[2]
        state.alerts_raised += 1
        assert fetch(server, "/metrics")[2] == before


def test_more_clients_than_are_taken_in_a_second_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CLIENTS_A_SECOND", 5.0)
    with served(monitored()) as server:
        assert [fetch(server, "/healthz")[0] for _ in range(8)] == [200] * 8
    one = MetricsServer(monitored(), "127.0.0.1:0")
    one._allowance = 0.5
    began = one._allowed_at
    assert not one._allowed(began)
    assert one._allowed(began + 0.11)
    assert one._allowed(began + 3600)
    assert one._allowance == 5
    one.close()


def test_closing_ends_the_thread_and_frees_the_port() -> None:
    with served(monitored()) as server:
        address = server.address
        idle = socket.create_connection(address, timeout=SOCKET_PATIENCE)
        until(lambda: server._clients)
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    assert idle.recv(10) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=SOCKET_PATIENCE)
    server.close()  # twice is no fault
    never = MetricsServer(monitored(), "127.0.0.1:0")
    never.close()


# -- readings ----------------------------------------------------------------------------------------------------------------------


def test_counts_that_grow_meanwhile_are_read_all_the_same() -> None:
    counts: dict[int, int] = {}
    done = threading.Event()

    def grow() -> None:
        number = 0
        while not done.is_set():
            counts[number % 5000] = number
            number += 1
            if number % 5000 == 0:
                counts.clear()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(300):
            settled(counts)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("jsonl:/var/log/x.jsonl", "jsonl:/var/log/x.jsonl"),
        ("syslog:tls://10.0.0.1:6514", "syslog:tls://10.0.0.1:6514"),
        ("webhook:https://a:b@c.example/d?e#f", "webhook:https://c.example"),
        ("https://a:b@c@[2001:db8::1]:80/d", "https://[2001:db8::1]:80"),
        ("postgresql+psycopg://mailtap:pw@db/mailtap", "postgresql+psycopg://db"),
        ("webhook:https://ok.example\x1b[2J", "webhook:https://ok.example\\x1b[2J"),
    ],
)
def test_names_of_sinks_open_nothing(name: str, shown: str) -> None:
    assert sink_name(name) == shown


def test_the_same_name_twice() -> None:
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a #2", "a #3"]


def test_memory_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    real = memory_bytes()

    def missing(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", missing)
    assert memory_bytes() >= real // 2
