"""The thread that sends from the spool: what is renewed when, and its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.alerts import alert
from support.waiting import SOCKET_PATIENCE, until

from analyzer.monitor.base import Alert
from analyzer.monitor.sinks import SinkOptions, _spooled
from analyzer.monitor.sinks._spool import Spooled
from analyzer.monitor.sinks._spooled import Retry, SpooledSink


class Notes(SpooledSink):
    """Notes what it sends, and how often it had been renewed by then."""

    def __init__(self, options: SinkOptions) -> None:
        super().__init__("notes", "notes", options)
        self.sent: list[tuple[str, int]] = []
        self.renewed = 0
        #: what goes wrong
        self.renewing: list[Exception] = []
        self.sending: list[Exception] = []
        self.disconnecting: list[Exception] = []

    def encode(self, alert: Alert) -> bytes:
        return str(alert.frame - 7).encode()

    def send(self, item: Spooled) -> None:
        if self.sending:
            raise self.sending.pop()
        self.sent.append((item.body.decode(), self.renewed))

    def renew(self) -> None:
        if self.renewing:
            raise self.renewing.pop()
        self.renewed += 1

    def disconnect(self) -> None:
        if self.disconnecting:
            raise self.disconnecting.pop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Notes, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(Notes, "MAX_PAUSE_S", 0.02)
    # A slow machine must not look like a receiver that does not answer.
    monkeypatch.setattr(Notes, "TIMEOUT_S", SOCKET_PATIENCE)
    monkeypatch.setattr(_spooled, "CLOSE_S", SOCKET_PATIENCE)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Notes]:
    made = Notes(SinkOptions(spool=str(tmp_path / "spool")))
    yield made
    made.close()


def by_hand(sink: Notes) -> Notes:
    """Open, without the thread: turns are made by the test."""
    sink.renew()
    sink._spool.open()
    return sink


@pytest.mark.parametrize("fault", [OSError("no such file"), ValueError("a fault of ours")])
def test_what_could_not_be_renewed_is_renewed_before_anything_more_is_sent(sink: Notes, fault: Exception):
    sink.open()
    sink.deliver([alert(1)])
    until(lambda: sink.delivered == 1)
    sink.renewing = [fault] * 3
    sink.reopen()
    sink.deliver([alert(2)])
    until(lambda: sink.delivered == 2)
    assert sink.sent == [("1", 1), ("2", 2)]


def test_an_alert_tried_in_place_of_another_is_sent_after_what_was_wished_before_it(
    sink: Notes, monkeypatch: pytest.MonkeyPatch
):
    by_hand(sink)
    sink.deliver([alert(1), alert(2)])
    first = sink._spool.first

    def wish(limit: int, after: int = 0) -> list[Spooled]:
        # Between the look at whether something is wished and the look into the spool.
        sink.reopen()
        return first(limit, after)

    monkeypatch.setattr(sink._spool, "first", wish)
    sink._probed = first(1)[0].number
    sink._turn()
    assert sink.sent == [("2", 2)]


def test_an_alert_in_memory_is_sent_after_what_was_wished_before_it(sink: Notes):
    by_hand(sink)

    class Lock:
        """Lets a wish and an alert come at the last moment."""

        def __enter__(self) -> None:
            sink.reopen()
            sink._memory[0] = Spooled(0, "later", b"1")

        def __exit__(self, *_: object) -> None:
            return

    sink._memory.append(Spooled(0, "early", b"0"))
    sink._sending_memory, lock = Lock(), sink._sending_memory  # type: ignore[assignment]
    sink._turn()
    sink._sending_memory = lock
    assert sink.sent == [("1", 2)]


def test_a_connection_that_cannot_be_ended_holds_up_neither_the_alerts_nor_the_end(tmp_path: Path):
    sink = Notes(SinkOptions(spool=str(tmp_path / "spool")))
    sink.open()
    sink.disconnecting = [OSError("shut already")]
    sink.sending = [Retry("it is down")]
    sink.deliver([alert(1)])
    until(lambda: sink.delivered == 1)
    assert (sink.sending, sink.disconnecting) == ([], [])
    sink.disconnecting = [OSError("shut already")]
    sink.close()
    assert sink.disconnecting == []
    assert "could not be ended in good order" in sink.trouble
    # The spool is free for the next run.
    again = Notes(SinkOptions(spool=str(tmp_path / "spool")))
    again.open()
    again.close()
    assert not [one for one in threading.enumerate() if one.name == "sender to notes"]
