from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alerts import HOSTILE, alert, state
from support.receivers import Datagrams, Stream, authority, identity, server_context
from support.waiting import PATIENCE, SOCKET_PATIENCE, until

from analyzer.errors import OutputError, UsageError
from analyzer.findings.catalogue import RULES
from analyzer.model import SEVERITIES
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.sinks import SinkOptions, _spooled, make_sink, syslog
from analyzer.monitor.sinks.syslog import MAX_DATAGRAM, Syslog, message

#: RFC 5424 section 6, for what mailtap writes: header, one element of structured data, BOM and text.
SYNTAX = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) ([!-~]{1,255}) mailtap (\d{1,128}) ([!-~]{1,32}) "
    r'\[mailtap@32473((?: [a-z_]{1,32}="(?:[^"\\\]]|\\["\\\]])*")+)\] \ufeff(.*)'
)


def parts(data: bytes) -> tuple[int, str, dict[str, str], str]:
    """Priority, message id, structured data, text."""
    match = SYNTAX.fullmatch(data.decode("utf-8"))
    assert match is not None, data
    pairs = re.findall(r' ([a-z_]+)="((?:[^"\\\]]|\\["\\\]])*)"', match[6])
    values = {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in pairs}
    return int(match[1]), match[5], values, match[7]


@pytest.fixture
def options(tmp_path: Path) -> SinkOptions:
    return SinkOptions(spool=str(tmp_path / "spool"))


@pytest.fixture
def made() -> Iterator[list[Syslog]]:
    """Sinks that are closed at the end of a test."""
    sinks: list[Syslog] = []
    yield sinks
    for sink in sinks:
        sink.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Syslog, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(Syslog, "MAX_PAUSE_S", 0.1)
    monkeypatch.setattr(syslog, "SETTLE_S", 0.2)
    # A slow machine must not look like a receiver that does not answer.
    monkeypatch.setattr(Syslog, "TIMEOUT_S", SOCKET_PATIENCE)
    monkeypatch.setattr(_spooled, "CLOSE_S", SOCKET_PATIENCE)


def opened(made: list[Syslog], word: str, options: SinkOptions) -> Syslog:
    sink = make_sink(word, options)
    assert isinstance(sink, Syslog)
    sink.open()
    made.append(sink)
    return sink


def numbers(messages: list[bytes]) -> list[int]:
    return [int(parts(one)[2]["frame"]) - 7 for one in messages]


def test_a_message_is_what_the_rfc_says():
    priority, name, values, text = parts(message(alert(1, count=3), 10, MAX_DATAGRAM))
    assert (priority, name) == (82, "plaintext-password")
    assert values["alert"] == "finding"
    assert (values["username"], values["server_port"], values["count"]) == ("user1@example.test", "143", "3")
    assert (values["time"], values["references"]) == ("2026-03-02T09:00:00.000000001Z", "RFC 8314")
    assert text == (
        "critical: Password sent in clear: LOGIN-CMD was accepted "
        "(user user1@example.test, server 198.51.100.1 port 143, client 192.0.2.7)"
    )
    assert [parts(message(alert(severity=word), 4, 2048))[0] - 32 for word in SEVERITIES] == [6, 5, 4, 3, 2]


def test_every_rule_fits_a_message_id():
    assert all(re.fullmatch(r"[!-~]{1,32}", rule.slug) for rule in RULES)


def test_a_hostile_name_neither_ends_the_element_nor_the_message():
    _, _, values, text = parts(message(alert(1, username=HOSTILE, detail=HOSTILE), 10, MAX_DATAGRAM))
    assert values["username"].startswith('eve"]\\x0d\\x0a<13>1')
    assert values["username"].endswith("\\xe9\\")
    assert (text + values["username"]).isprintable()


@given(st.text(max_size=400), st.text(max_size=2000), st.sampled_from([480, 1000, 2048, 8192]))
def test_any_text_gives_a_message_of_bounded_size(username: str, detail: str, most: int):
    one = alert(1, username=username, detail=detail, title=detail[:200], capture=username, remediation=detail)
    data = message(one, 10, most)
    assert len(data) <= most
    if most > 480:
        _, _, values, text = parts(data)
        assert values["finding_id"]
        assert text.isprintable()


def test_udp(made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch):
    # An alert does not wait for the sender to look by itself.
    monkeypatch.setattr(_spooled, "POLL_S", 3600.0)
    with Datagrams() as receiver:
        sink = opened(made, f"syslog://127.0.0.1:{receiver.port}?facility=local4", options)
        sink.deliver([alert(1)])
        until(lambda: receiver.messages)
        sink.deliver([alert(number, detail="x" * 5000) for number in range(2, 5)])
        until(lambda: len(receiver.messages) == 4)
        until(lambda: sink.delivered == 4)
    assert numbers(receiver.messages) == [1, 2, 3, 4]
    assert parts(receiver.messages[0])[0] == 20 * 8 + 2
    assert max(len(one) for one in receiver.messages) <= 2048


def test_udp_to_nobody_on_this_machine_waits(made: list[Syslog], options: SinkOptions):
    receiver = Datagrams()
    sink = opened(made, f"syslog://127.0.0.1:{receiver.port}", options)
    sink.deliver([alert(number) for number in range(5)])
    until(lambda: "Connection refused" in sink.trouble)
    with receiver:
        until(lambda: sink.delivered == 5)
        until(lambda: len(receiver.messages) == 5)
    assert numbers(receiver.messages) == list(range(5))


def test_the_syslog_of_this_machine(made: list[Syslog], options: SinkOptions, tmp_path: Path):
    with Datagrams(str(tmp_path / "log")) as receiver:
        sink = opened(made, f"unix:{tmp_path}/log", options)
        sink.deliver([alert(1), alert(2)])
        until(lambda: len(receiver.messages) == 2)
    sink.deliver([alert(3)])
    until(lambda: sink.trouble)
    with receiver:
        until(lambda: len(receiver.messages) == 3)
    assert numbers(receiver.messages) == [1, 2, 3]


def test_tcp_with_its_receiver_crashing_and_coming_back(
    made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    receiver = Stream()
    sink = opened(made, f"syslog+tcp://127.0.0.1:{receiver.port}", options)
    sink.deliver([alert(number) for number in range(10)])
    until(lambda: "Connection refused" in sink.trouble)
    with receiver:
        until(lambda: sink.delivered == 10)
        assert (sink.waiting, sink.trouble) == (0, "")
        until(lambda: len(receiver.messages) == 10)
        # What its system has acknowledged and it has not read is sent again.
        receiver.stall = True
        assert receiver.stalled.wait(PATIENCE)
        monkeypatch.setattr(syslog, "SETTLE_S", 3600)
        sink.deliver([alert(number) for number in range(10, 20)])
        until(lambda: sink.unsettled() == 10)
    assert sink.delivered == 10
    monkeypatch.setattr(syslog, "SETTLE_S", 0.2)
    receiver.stall = False
    sink.deliver([alert(number) for number in range(20, 30)])
    with receiver:
        until(lambda: sink.delivered == 30)
        until(lambda: set(numbers(receiver.messages)) == set(range(30)))
    assert list(dict.fromkeys(numbers(receiver.messages))) == list(range(30))
    assert (sink.lost, sink.waiting) == (0, 0)


def test_tcp_to_a_receiver_that_reads_nothing_holds_up_nobody(made: list[Syslog], options: SinkOptions):
    with Stream() as receiver, Datagrams() as other:
        receiver.stall = True
        stalled = make_sink(f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        brisk = make_sink(f"syslog://127.0.0.1:{other.port}", options)
        dispatcher = AlertDispatcher([stalled, brisk], state(), rate=0)
        dispatcher.start()
        for number in range(60):
            dispatcher.raise_alert(alert(number))
            until(lambda wanted=number: len(other.messages) > wanted)
        until(lambda: len(other.messages) == 60)
        until(lambda: stalled.waiting + stalled.delivered == 60)
        receiver.stall = False
        until(lambda: stalled.delivered == 60)
        assert dispatcher.close(PATIENCE)
        until(lambda: set(numbers(receiver.messages)) == set(range(60)))


def test_a_receiver_that_ends_the_connection_in_good_order_gets_nothing_twice(made: list[Syslog], options: SinkOptions):
    with Stream() as receiver:
        sink = opened(made, f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        for number in range(3):
            sink.deliver([alert(number)])
            until(lambda wanted=number + 1: len(receiver.messages) == wanted)
            receiver._open[-1].shutdown(2)
            until(lambda wanted=number + 1: sink.delivered == wanted)
    assert numbers(receiver.messages) == [0, 1, 2]
    assert receiver.connections >= 3


def test_tls_checks_who_the_server_is(made: list[Syslog], options: SinkOptions):
    with Stream(server_context(identity("127.0.0.1", "localhost"))) as receiver:
        word = f"syslog+tls://localhost:{receiver.port}"
        stranger = opened(made, word, options)
        stranger.deliver([alert(1)])
        until(lambda: "the server's certificate is not good" in stranger.trouble)
        sink = opened(made, f"{word}?ca={authority()[2]}", options)
        sink.deliver([alert(2), alert(3)])
        until(lambda: sink.delivered == 2)
        until(lambda: numbers(receiver.messages) == [2, 3])
    sink.deliver([alert(4)])
    with receiver:
        until(lambda: sink.delivered == 3)
        until(lambda: 4 in numbers(receiver.messages))
    assert list(dict.fromkeys(numbers(receiver.messages))) == [2, 3, 4]
    with Stream(server_context(identity("mail.example.test"))) as receiver:
        sink = opened(made, f"syslog+tls://127.0.0.1:{receiver.port}?ca={authority()[2]}", options)
        sink.deliver([alert(1)])
        until(lambda: "mismatch" in sink.trouble)
        assert not receiver.messages


def test_tls_with_a_certificate_of_our_own(made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch):
    mine = identity("mirror-1")
    with Stream(server_context(identity("127.0.0.1"), clients=True)) as receiver:
        word = f"syslog+tls://127.0.0.1:{receiver.port}?ca={authority()[2]}"
        sink = opened(made, f"{word}&cert={mine}&key={mine}", options)
        sink.deliver([alert(2)])
        until(lambda: sink.delivered == 1)
        until(lambda: receiver.messages)
        # However long the server takes to refuse a connection that stands already.
        monkeypatch.setattr(syslog, "SETTLE_S", 3600)
        unknown = opened(made, word, options)
        unknown.deliver([alert(1)])
        until(lambda: unknown.trouble)
        assert (unknown.delivered, unknown.waiting) == (0, 1)
    assert numbers(receiver.messages) == [2]


def test_sighup_connects_anew_and_repeats_nothing(
    made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(syslog, "SETTLE_S", 3600)
    monkeypatch.setattr(_spooled, "RENEW_S", 3600)
    with Stream() as receiver:
        sink = opened(made, f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        sink.deliver([alert(1)])
        until(sink.unsettled)
        sink.reopen()
        monkeypatch.setattr(syslog, "SETTLE_S", 0.2)
        until(lambda: sink.delivered == 1)
        sink.deliver([alert(2)])
        until(lambda: sink.delivered == 2)
        until(lambda: len(receiver.messages) == 2)
    assert receiver.connections == 2
    assert numbers(receiver.messages) == [1, 2]


def test_sighup_connects_anew_though_alerts_never_cease(
    made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_spooled, "RENEW_S", 3600)
    with Stream() as receiver:
        sink = opened(made, f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        count = [0]

        def steadily(condition: Callable[[], bool]) -> Callable[[], bool]:
            def more() -> bool:
                # One waits or is unsettled at every moment.
                while sink.waiting < 3:
                    sink.deliver([alert(count[0])])
                    count[0] += 1
                return condition()

            return more

        until(steadily(lambda: sink.delivered > 3))
        sink.reopen()
        until(steadily(lambda: receiver.connections == 2))
        taken = sink.delivered
        until(steadily(lambda: sink.delivered > taken + 3))
        until(lambda: sink.waiting == 0)
        until(lambda: len(receiver.messages) >= count[0])
    # Nothing was sent on the old connection that had to be sent again.
    assert numbers(receiver.messages) == list(range(count[0]))
    assert receiver.connections == 2


def test_sighup_connects_anew_to_a_receiver_that_settles_nothing(
    made: list[Syslog], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(syslog, "SETTLE_S", 3600)
    monkeypatch.setattr(_spooled, "RENEW_S", 0.3)
    with Stream() as receiver:
        sink = opened(made, f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        sink.deliver([alert(1), alert(2)])
        until(lambda: sink.unsettled() == 2)
        sink.reopen()
        until(lambda: receiver.connections == 2)
        until(lambda: sink.unsettled() == 2)
        assert (sink.delivered, sink.waiting) == (0, 2)
        monkeypatch.setattr(syslog, "SETTLE_S", 0.2)
        until(lambda: sink.delivered == 2)
        # What was not settled is sent again, in order.
        until(lambda: len(receiver.messages) == 4)
    assert sorted(numbers(receiver.messages)) == [1, 1, 2, 2]
    assert sink.lost == 0


def test_the_stop_waits_for_the_acknowledgement_and_leaves_nothing(
    options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(syslog, "SETTLE_S", 3600)
    with Stream() as receiver:
        sink = make_sink(f"syslog+tcp://127.0.0.1:{receiver.port}", options)
        sink.open()
        sink.deliver([alert(number) for number in range(100)])
        sink.close()
        assert (sink.delivered, sink.waiting) == (100, 0)
        until(lambda: len(receiver.messages) == 100)


@pytest.mark.parametrize(
    "word",
    [
        "syslog:",
        "syslog://",
        "syslog://host:port",
        "syslog://host/path",
        "syslog://user:marzipan@host",
        "syslog://host?facility=marching",
        "syslog://host?colour=red",
        "syslog+tcp://host?ca=/x",
        "syslog+tls://[::1",
        "unix:",
    ],
)
def test_words_that_make_no_sense(word: str, options: SinkOptions):
    with pytest.raises(UsageError) as told:
        make_sink(word, options)
    assert "marzipan" not in str(told.value)


def test_words_that_do(options: SinkOptions):
    receiver = make_sink("syslog+tls://[::1]?ca=/x", options)
    assert isinstance(receiver, Syslog)
    assert (receiver.receiver.host, receiver.receiver.port, receiver.receiver.facility) == ("::1", 6514, 10)
    with pytest.raises(OutputError, match="ca, cert or key cannot be used"):
        receiver.open()
    with pytest.raises(UsageError, match="known: kern"):
        make_sink("syslog://host?facility=x", replace(options))
