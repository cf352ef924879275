from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alerts import Kept, alert, state
from support.waiting import PATIENCE, until

from analyzer.errors import OutputError
from analyzer.model import SEVERITIES
from analyzer.monitor import alerts as module
from analyzer.monitor import gate as gates
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.base import FINDING, SUMMARY, Alert, AlertSink
from analyzer.monitor.gate import HELD_RULE, Gate


def gate(window_s: float = 60.0, rate: float = 0.0, burst: int = 1000, summary_s: float = 10.0) -> Gate:
    return Gate(window_s, rate, burst, summary_s, 0.0)


def counts(alerts: list[Alert]) -> int:
    return sum(one.count for one in alerts)


def test_an_alert_reaches_every_sink():
    sinks = [Kept("one:"), Kept("two:")]
    dispatcher = AlertDispatcher(sinks, state())
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    until(lambda: all(sink.alerts for sink in sinks))
    assert dispatcher.close(PATIENCE)
    assert [sink.calls for sink in sinks] == [["open", "close"]] * 2


def test_the_screen_is_given_what_is_told_and_repeats_push_nothing_off_it():
    seen = state()
    dispatcher = AlertDispatcher([], seen)
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    for number in range(2, 102):
        dispatcher.raise_alert(alert(number, username="again@example.test"))
        dispatcher.raise_alert(alert(number, severity="info"))
    until(lambda: len(seen.recent) == 2 and seen.alerts_repeated == 99)
    assert [one.username for one in seen.recent] == ["user1@example.test", "again@example.test"]
    assert dispatcher.close(PATIENCE)


def test_alerts_below_the_least_severity_are_counted_and_go_nowhere():
    sink, seen = Kept(), state()
    dispatcher = AlertDispatcher([sink], seen, min_severity="high")
    dispatcher.start()
    for number, severity in enumerate(SEVERITIES):
        dispatcher.raise_alert(alert(number, severity=severity))
    assert dispatcher.close(PATIENCE)
    assert [one.severity for one in sink.alerts] == ["high", "critical"]
    assert (seen.alerts_below, seen.alerts_raised) == (3, 2)


def test_what_an_earlier_run_told_is_not_told_again():
    sink, seen = Kept(), state()
    dispatcher = AlertDispatcher([sink], seen)
    dispatcher.known([alert(1).finding_id, alert(2).finding_id])
    dispatcher.start()
    for number in range(4):
        dispatcher.raise_alert(alert(number))
    assert dispatcher.close(PATIENCE)
    assert [one.finding_id for one in sink.alerts] == [alert(0).finding_id, alert(3).finding_id]
    assert (dispatcher.alerts_known, seen.alerts_raised) == (2, 2)


def test_known_findings_are_bounded_and_the_latest_stay(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_KNOWN", 10)
    dispatcher = AlertDispatcher([], state())
    dispatcher.known(str(number) for number in range(100))
    assert list(dispatcher._known) == [str(number) for number in range(90, 100)]


def test_a_stalled_sink_holds_up_neither_the_loop_nor_another_sink(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_LANE", 50)
    free = threading.Event()

    class Stalled(Kept):
        def deliver(self, alerts: list[Alert]) -> None:
            free.wait()
            super().deliver(alerts)

    stalled, brisk, seen = Stalled("stalled:"), Kept("brisk:"), state()
    dispatcher = AlertDispatcher([stalled, brisk], seen, rate=0)
    dispatcher.start()
    for number in range(200):
        dispatcher.raise_alert(alert(number))
        until(lambda wanted=number + 1: len(brisk.alerts) == wanted)
    until(lambda: stalled.lost == 150)
    assert stalled.lost == 150
    assert "further ones are lost" in stalled.trouble
    free.set()
    assert dispatcher.close(PATIENCE)
    assert len(stalled.alerts) == 50


def test_alerts_for_which_the_queue_has_no_room_are_counted_and_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_QUEUE", 20)
    sink, seen = Kept(), state()
    dispatcher = AlertDispatcher([sink], seen, rate=0)
    for number in range(50):
        dispatcher.raise_alert(alert(number, severity="high" if number % 2 else "critical"))
    assert seen.alerts_lost == 30
    dispatcher.start()
    assert dispatcher.close(PATIENCE)
    assert counts(sink.alerts) == seen.alerts_raised == 50
    assert sink.alerts[-1].kind == SUMMARY
    assert sink.alerts[-1].detail.startswith("15 critical, 15 high; by rule: plaintext-password (critical) 15")


def test_a_fault_in_a_sink_costs_that_sink_alone():
    class Faulty(Kept):
        def deliver(self, alerts: list[Alert]) -> None:
            raise RuntimeError("out of order")

    faulty, good = Faulty("faulty:"), Kept("good:")
    dispatcher = AlertDispatcher([faulty, good], state())
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    assert dispatcher.close(PATIENCE)
    assert len(good.alerts) == 1
    assert faulty.lost == 1
    assert "out of order" in faulty.trouble


def test_a_fault_in_holding_back_holds_nothing_back(monkeypatch: pytest.MonkeyPatch):
    def fault(*_: object) -> list[Alert]:
        raise RuntimeError("out of order")

    sink = Kept()
    dispatcher = AlertDispatcher([sink], state())
    monkeypatch.setattr(Gate, "take", fault)
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    until(lambda: sink.alerts)
    assert "out of order" in dispatcher.trouble
    assert dispatcher.close(PATIENCE)


def test_a_sink_that_cannot_open_ends_the_start_and_closes_the_others():
    class Shut(AlertSink):
        def open(self) -> None:
            raise OutputError("no way")

    first = Kept()
    dispatcher = AlertDispatcher([first, Shut("shut:")], state())
    with pytest.raises(OutputError, match="no way"):
        dispatcher.start()
    assert first.calls == ["open", "close"]
    assert dispatcher.close(PATIENCE)


def test_reopen_reaches_every_sink_after_what_was_raised_before():
    sink = Kept()
    dispatcher = AlertDispatcher([sink], state())
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    dispatcher.reopen()
    until(lambda: "reopen" in sink.calls)
    assert len(sink.alerts) == 1
    assert dispatcher.close(PATIENCE)


# -- what waits for alerts ------------------------------------------------------------------------------------------------------


class Slow(Kept):
    """Takes alerts when it is free."""

    def __init__(self, name: str = "slow:") -> None:
        super().__init__(name)
        self.free = threading.Event()

    def deliver(self, alerts: list[Alert]) -> None:
        self.free.wait()
        super().deliver(alerts)


def test_what_is_stored_goes_behind_its_alert_and_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TAKEN_S", 3600.0)
    slow, brisk = Slow(), Kept()
    dispatcher = AlertDispatcher([slow, brisk], state(), rate=0)
    stored: list[tuple[int, int]] = []
    dispatcher.start()
    for number in range(5):
        dispatcher.raise_alert(alert(number))
        dispatcher.then(lambda number=number: stored.append((number, len(slow.alerts))))
    until(lambda: len(brisk.alerts) == 5)
    assert stored == []
    slow.free.set()
    until(lambda: len(stored) == 5)
    assert [number for number, _ in stored] == list(range(5))
    assert all(told > number for number, told in stored)
    dispatcher.then(lambda: stored.append((5, 5)))
    assert len(stored) == 6, "nothing is under way, so nothing waits"
    assert dispatcher.close(PATIENCE)


def test_a_sink_that_stands_still_keeps_nothing_from_the_store_for_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TAKEN_S", 0.1)
    slow = Slow()
    dispatcher = AlertDispatcher([slow], state())
    stored: list[int] = []
    dispatcher.start()
    dispatcher.raise_alert(alert(1))
    dispatcher.then(lambda: stored.append(1))
    until(lambda: stored)
    assert slow.alerts == []
    slow.free.set()
    assert dispatcher.close(PATIENCE)


def test_what_was_held_back_or_told_to_nobody_keeps_nothing_waiting_and_the_end_does_all(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(module, "TAKEN_S", 3600.0)
    stored: list[int] = []
    slow = Slow()
    for sinks in ([], [Kept()], [slow]):
        dispatcher = AlertDispatcher(sinks, state(), min_severity="high")
        dispatcher.then(lambda: stored.append(0))
        assert stored.pop() == 0
        dispatcher.start()
        dispatcher.raise_alert(alert(1, severity="low"))
        dispatcher.then(lambda: stored.append(1))
        assert stored == [1]
        for _ in range(3):
            dispatcher.raise_alert(alert(2))
        dispatcher.then(lambda: stored.append(2))
        if slow in sinks:
            assert not dispatcher.close(0.2)
        else:
            until(lambda: len(stored) == 2)
            assert dispatcher.close(PATIENCE)
        assert stored == [1, 2]
        stored.clear()
    slow.free.set()


# -- de-duplication --------------------------------------------------------------------------------------------------------------


def test_one_alert_per_rule_server_and_account_in_a_window():
    one = gate()
    same = {"username": "same@example.test"}
    assert one.take([alert(1, **same)], 0) == [alert(1, **same)]
    assert one.take([alert(2, **same)], 1) == []
    assert one.take([alert(3, **same, rule="weak-password")], 2)
    assert one.take([alert(4, **same, server_port=110)], 3)
    assert one.take([alert(5, username="another@example.test")], 4)
    assert one.repeated == 1


def test_repeats_are_told_with_their_count_when_the_window_ends_and_then_once_a_window():
    one = gate()
    same = {"username": "same@example.test"}
    one.take([alert(1, **same)], 0)
    one.take([alert(2, **same), alert(3, **same)], 30)
    assert one.next_due() == 60
    assert one.due(59) == []
    (told,) = one.due(60)
    assert (told.kind, told.count, told.rule, told.username) == (
        SUMMARY,
        2,
        "plaintext-password",
        "same@example.test",
    )
    assert "2 times more" in told.detail
    assert told.finding_id not in {alert(number).finding_id for number in range(4)}
    assert one.take([alert(4, **same)], 61) == []
    assert counts(one.due(120)) == 1
    assert one.due(180) == []
    assert one.next_due() == float("inf")
    assert one.take([alert(5, **same)], 200)[0].count == 1


def test_the_next_alert_of_a_key_tells_what_came_before_it():
    one = gate()
    same = {"username": "same@example.test"}
    one.take([alert(1, **same)], 0)
    one.take([alert(2, **same)], 30)
    (told,) = one.take([alert(3, **same)], 100)
    assert (told.kind, told.count, told.finding_id) == (FINDING, 2, alert(3).finding_id)


def test_what_is_worse_than_what_was_told_goes_out_at_once():
    one = gate()
    same = {"username": "same@example.test"}
    one.take([alert(1, **same, severity="high")], 0)
    one.take([alert(2, **same, severity="high")], 1)
    (told,) = one.take([alert(3, **same, severity="critical")], 2)
    assert (told.severity, told.count) == ("critical", 2)
    assert one.take([alert(4, **same, severity="critical")], 3) == []


def test_the_table_of_keys_is_bounded_and_what_is_forgotten_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gates, "MAX_KEYS", 3)
    one = gate()
    told = one.take([alert(0), alert(0), alert(0)], 0)
    for number in range(1, 100):
        told += one.take([alert(number)], 1)
    assert len(one._windows) == 3
    assert counts(told) == 102
    assert [alert.count for alert in told if alert.kind == SUMMARY] == [2]


def test_a_window_of_nothing_lets_all_through():
    one = gate(window_s=0)
    assert len(one.take([alert(1), alert(1)], 0)) == 2


# -- rate limit ------------------------------------------------------------------------------------------------------------------


def test_the_worst_go_first_and_the_summary_tells_the_rest():
    one = gate(rate=1, burst=8)
    alerts = [alert(number, severity="medium", rule="starttls-not-offered") for number in range(20)]
    alerts += [alert(number, severity="critical") for number in range(20, 25)]
    alerts += [alert(30, severity="high", rule="starttls-stripped")]
    out = one.take(alerts, 0)
    assert [told.severity for told in out] == ["critical"] * 5 + ["high"]
    assert one.take([alert(40, severity="high")], 0.1) == []
    assert one.take([alert(41), alert(42)], 0.2)
    assert one.due(9.9) == []
    one.sensor = "mirror-1"
    (summary,) = one.due(10)
    assert (summary.kind, summary.rule, summary.severity, summary.count) == (SUMMARY, HELD_RULE, "high", 21)
    assert summary.detail == "1 high, 20 medium; by rule: plaintext-password (high) 1, starttls-not-offered (medium) 20"
    assert summary.sensor == "mirror-1"
    assert one.due(100) == []


def test_half_of_the_bucket_is_for_what_is_worse():
    one = gate(rate=1, burst=8)
    assert len(one.take([alert(number, severity="low") for number in range(20)], 0)) == 4
    assert len(one.take([alert(number, severity="high") for number in range(20, 40)], 0)) == 2
    assert len(one.take([alert(number, severity="critical") for number in range(40, 60)], 0)) == 2
    assert len(gate(rate=1, burst=1).take([alert(1, severity="info")], 0)) == 1


def test_what_passes_keeps_its_order():
    one = gate(rate=1, burst=100)
    alerts = [alert(number, severity=SEVERITIES[number % 5]) for number in range(20)]
    assert one.take(alerts, 0) == alerts


def test_a_key_that_the_rate_limit_refused_has_not_been_told():
    one = gate(rate=1, burst=1)
    same = {"username": "same@example.test"}
    assert one.take([alert(1)], 0)
    assert one.take([alert(2, **same), alert(3, **same)], 0) == []
    (told,) = one.take([alert(4, **same)], 5)
    assert told.count == 2


def test_a_summary_names_few_rules_and_counts_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gates, "MAX_HELD", 30)
    one = gate(rate=0.001, burst=1)
    one.take([alert(number, rule=f"rule-{number}") for number in range(101)], 0)
    (summary,) = one.due(10)
    assert summary.count == 100
    assert len(summary.detail) < 1000
    assert "others" in summary.detail


@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),  # account
            st.sampled_from(SEVERITIES),
            st.floats(0, 40),  # seconds since the last
        ),
        max_size=80,
    ),
    st.sampled_from([0.0, 5.0, 60.0]),
    st.sampled_from([0.0, 0.1, 2.0]),
    st.integers(1, 12),
    st.integers(1, 9),
)
def test_what_goes_out_counts_up_to_what_came_in(
    raised: list[tuple[int, str, float]], window_s: float, rate: float, burst: int, batch: int
):
    one = gate(window_s, rate, burst)
    out: list[Alert] = []
    clock = 0.0
    waiting: list[Alert] = []
    for number, (account, severity, pause) in enumerate(raised):
        waiting.append(alert(number, username=f"user{account}@example.test", severity=severity))
        if len(waiting) >= batch:
            out += one.take(waiting, clock)
            waiting = []
        clock += pause
        if pause > 20:
            out += one.due(clock)
    out += one.take(waiting, clock)
    out += one.flush(clock)
    assert counts(out) == len(raised)
    assert len({told.finding_id for told in out}) == len(out)
    assert one.next_due() == float("inf")
    told = sum(1 for one_told in out if one_told.kind == FINDING)
    assert told + one.repeated + one.limited >= len(raised)


def test_the_sum_holds_through_threads_and_a_stop_in_the_middle():
    sink, seen = Kept(), state()
    dispatcher = AlertDispatcher([sink], seen, window_s=0.05, rate=100, burst=20, summary_s=0.02)
    for number in range(3000):
        dispatcher.raise_alert(alert(number, username=f"user{number % 37}@example.test"))
        if number == 499:
            # What has come by now is looked at together, at one moment: it repeats, and is too much, however slow this machine is.
            dispatcher.start()
        if number % 500 == 499:
            until(dispatcher._queue.empty)
    assert dispatcher.close(PATIENCE)
    assert counts(sink.alerts) == seen.alerts_raised == 3000
    assert seen.alerts_repeated > 0
    assert seen.alerts_limited > 0


def test_a_finding_about_a_capture_has_no_session_and_is_told_all_the_same():
    from analyzer.findings.base import Finding
    from analyzer.findings.catalogue import BY_SLUG
    from analyzer.monitor.base import alert_of
    from analyzer.monitor.sinks._object import alert_json

    finding = Finding(BY_SLUG["capture-loss"], 1, "high", None, 0, 0, 0, None, "12 packets were lost", 12)
    finding.capture = "eth0"
    made = alert_of(finding, "mirror-1")
    assert made.key()[0::2] == ("capture-loss", None)
    text = alert_json(made)
    assert '"time":null,"frame":null,"client_ip":null' in text
    assert '"capture":"eth0"' in text
