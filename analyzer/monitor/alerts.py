"""Brings alerts from the loop to the sinks: queue, de-duplication, rate limit, and a thread for each sink.

    loop -- raise_alert --> queue --> alert thread (gate.py) --> lane --> sink's thread --> AlertSink.deliver
                                                            `--> lane --> ...

``raise_alert`` never waits: where the alert thread is so far behind that the queue is full, the alert is counted as lost, and a summary
says how many of which kind. A sink that waits for its receiver holds up nobody: each has its own lane, bounded as well. An alert is with
its sink within milliseconds when nothing is in the way; nothing is collected first.

What the store holds is safe, and ``known`` to the next run; an alert is safe (against a killed process) once its sinks have taken it, on disk,
milliseconds after it was raised. So the finding goes to the store behind its alert: the loop raises the alert, and gives the store its
rows by ``then``, which waits until all sinks have taken what was raised before; ``TAKEN_S`` at most, for a sink that stands still must not
keep the store from its rows. What a kill takes with it are the counts of what was held back since the last summary (the findings
themselves are in the store), and what a sink kept in memory because its disk was full.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from analyzer.errors import MailtapError
from analyzer.model import SEVERITIES
from analyzer.monitor.base import Alert, AlertSink, MonitorState
from analyzer.monitor.gate import Gate

if TYPE_CHECKING:
    from analyzer.monitor.config import MonitorSettings

#: Alerts that wait for the alert thread.
MAX_QUEUE: Final = 10_000
#: Alerts that wait for the thread of one sink.
MAX_LANE: Final = 10_000
#: Alerts looked at together, so that the worst of them go first; and given to a sink at once.
MAX_BATCH: Final = 500
#: Ids of findings that were alerted in an earlier run; the oldest are forgotten.
MAX_KNOWN: Final = 200_000
#: Pairs of severity and rule of lost alerts, counted apart.
MAX_LOST: Final = 400
#: How often a sink that has nothing to do is asked whether it wants to try again.
IDLE_S: Final = 0.25
#: A summary of what the rate limit held back comes at most this often.
SUMMARY_S: Final = 60.0
#: Seconds that a step waits for sinks to take the alerts before it.
TAKEN_S: Final = 1.0
#: Defaults of the options of the same names: alerts a second, and at once after a quiet time.
WINDOW_S: Final = 3600.0
RATE: Final = 1.0
BURST: Final = 100


class _Order:
    """Something that a thread is to do beside taking alerts."""

    __slots__ = ("kind", "sinks", "values")

    def __init__(
        self, kind: str, values: tuple[float, float, int] | None = None, sinks: list[AlertSink] | None = None
    ) -> None:
        self.kind = kind
        self.values = values
        self.sinks = sinks


class Lane:
    """One sink and the thread that serves it."""

    def __init__(self, sink: AlertSink, taken: Callable[[], None], *, opened: bool) -> None:
        self.sink = sink
        self._tell_taken = taken
        self._queue: SimpleQueue[list[Alert] | _Order] = SimpleQueue()
        #: alerts put in by the alert thread, and taken by the sink: each is written by one thread only
        self.put_in = 0
        self.taken = 0
        self._opened = opened
        self._thread = threading.Thread(target=self._run, name=f"alerts to {sink.name}", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def put(self, alerts: list[Alert]) -> None:
        """Alerts for the sink; those for which there is no room are counted as lost."""
        room = MAX_LANE - (self.put_in - self.taken)
        if len(alerts) > room:
            self.sink.lose(len(alerts) - max(0, room))
            self.sink.trouble = f"the receiver takes nothing: {MAX_LANE:,} alerts wait for it, further ones are lost"
            alerts = alerts[: max(0, room)]
        if alerts:
            self.put_in += len(alerts)
            self._queue.put(alerts)

    def order(self, kind: str) -> None:
        """``reopen`` or ``close``, after all alerts that were put before."""
        self._queue.put(_Order(kind))

    def join(self, timeout: float) -> bool:
        """Wait for the end after ``close``; True where it came."""
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                item = self._queue.get(timeout=IDLE_S)
            except Empty:
                self._guarded(self._idle)
                continue
            order = item if isinstance(item, _Order) else self._deliver(item)
            if order is not None and order.kind == "close":
                self._guarded(self.sink.close)
                return
            if order is not None:
                self._guarded(self.sink.reopen)

    def _deliver(self, alerts: list[Alert]) -> _Order | None:
        """Give alerts to the sink, with those that came meanwhile; the order that came behind them, if one did."""
        later: _Order | None = None
        while len(alerts) < MAX_BATCH:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if isinstance(item, _Order):
                later = item
                break
            alerts += item
        if not self._opened:
            self._guarded(self._idle)
        if not self._guarded(lambda: self.sink.deliver(alerts)):
            self.sink.lose(len(alerts))
        self.taken += len(alerts)
        self._tell_taken()
        return later

    def _idle(self) -> None:
        if not self._opened:
            # A sink that a new configuration brought: what is wrong with it is its trouble, not the monitor's end.
            self.sink.open()
            self._opened = True
            self.sink.trouble = ""
        self.sink.idle()

    def _guarded(self, step: Callable[[], object]) -> bool:
        """Run one step of the sink; a fault in it is its trouble and never the end of the thread."""
        try:
            step()
        except MailtapError as error:
            self.sink.trouble = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - a fault in a sink must not end the alerts
            self.sink.trouble = f"a fault of mailtap in this sink ({type(error).__name__}: {error}); please report it"
            return False
        return True


class _Step:
    """Something that waits for the alerts raised before it."""

    __slots__ = ("after", "due", "marks", "run")

    def __init__(self, run: Callable[[], None], after: int, due: float) -> None:
        self.run = run
        #: the number of the last alert before it
        self.after = after
        self.due = due
        #: lanes, and how many alerts each must have taken; None until the last alert has passed the gate
        self.marks: list[tuple[Lane, int]] | None = None


class AlertDispatcher:
    """Takes alerts from the loop, holds back what repeats or comes too fast, and gives the rest to every sink.

    Made and started by the loop, after privileges were dropped: files and spools are opened as the user that will open them
    again on SIGHUP. ``state`` gets the counters and the latest alerts that were let out; ``raise_alert``, ``reload``, ``reopen`` ``then`` and ``close`` are for the loop's thread alone.

    Args:
        sinks: where alerts go; also listed in ``state.sinks``.
        state: its ``alerts_*`` counters are kept by this class.
        min_severity: alerts below are counted and go nowhere.
        window_s: one alert per rule, server and account in so many seconds; 0 for all.
        rate: alerts a second in the long run; 0 for no limit.
        burst: alerts at once after a quiet time.
        summary_s: a summary of what the rate limit held back comes at most this often.
    """

    def __init__(
        self,
        sinks: Iterable[AlertSink],
        state: MonitorState,
        *,
        min_severity: str = "medium",
        window_s: float = WINDOW_S,
        rate: float = RATE,
        burst: int = BURST,
        summary_s: float = SUMMARY_S,
    ) -> None:
        self._state = state
        self._lanes = [Lane(sink, self._wake, opened=True) for sink in sinks]
        state.sinks = [lane.sink for lane in self._lanes]
        self._least = SEVERITIES.index(min_severity)
        self._gate = Gate(window_s, rate, burst, summary_s, time.monotonic())
        self._gate.sensor = state.sensor
        self._queue: SimpleQueue[Alert | _Order] = SimpleQueue()
        self._known: dict[str, None] = {}
        #: alerts put into the queue, and through the gate: each is written by one thread only
        self._queued = 0
        self._gated = 0
        self._steps: deque[_Step] = deque()
        self._stepping = threading.RLock()
        self._losing = threading.Lock()
        self._lost: dict[tuple[str, str], int] = {}
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._started = False
        #: what went wrong in this class itself; empty when all is well
        self.trouble = ""
        #: alerts that an earlier run had told already
        self.alerts_known = 0

    def start(self) -> None:
        """Open the sinks and begin.

        Raises:
            UsageError, OutputError: a sink can never work; those that were opened are closed again.
        """
        opened: list[AlertSink] = []
        try:
            for lane in self._lanes:
                lane.sink.open()
                opened.append(lane.sink)
        except MailtapError:
            for sink in opened:
                sink.close()
            raise
        for lane in self._lanes:
            lane.start()
        self._started = True
        self._thread.start()

    def known(self, finding_ids: Iterable[str]) -> None:
        """Findings that an earlier run alerted: they are not alerted again. The latest ``MAX_KNOWN`` are remembered."""
        for finding_id in finding_ids:
            self._known[finding_id] = None
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]

    def raise_alert(self, alert: Alert) -> None:
        """Tell of something. Never waits, never raises."""
        state = self._state
        if alert.severity_number < self._least:
            state.alerts_below += 1
            return
        if alert.finding_id in self._known:
            self.alerts_known += 1
            return
        state.alerts_raised += 1
        if self._queue.qsize() >= MAX_QUEUE:
            state.alerts_lost += 1
            pair = (alert.severity, alert.rule)
            with self._losing:
                if pair in self._lost or len(self._lost) < MAX_LOST:
                    self._lost[pair] = self._lost.get(pair, 0) + 1
                else:
                    pair = (alert.severity, "others")
                    self._lost[pair] = self._lost.get(pair, 0) + 1
            return
        self._queued += 1
        self._queue.put(alert)

    def then(self, step: Callable[[], None]) -> None:
        """Do something short once every sink has taken all that was raised before, or ``TAKEN_S`` later; in order, from any thread.

        At once where nothing is under way. ``close`` does all that is left.
        """
        with self._stepping:
            self._steps.append(_Step(step, self._queued, time.monotonic() + TAKEN_S))
            if not self._started:
                self._do_steps(everything=True)
            else:
                self._do_steps()
                if self._steps:
                    self._wake()

    def reload(self, settings: MonitorSettings) -> None:
        """Take over what may change on SIGHUP: sinks, least severity, window, rate, burst. Sinks named as before stay as they are.

        Raises:
            UsageError: a sink's name makes no sense; everything stays as it was.
        """
        from analyzer.monitor.sinks import make_sinks

        sinks = make_sinks(settings)
        self._least = SEVERITIES.index(settings.min_severity)
        self._queue.put(_Order("reload", (settings.window_s, settings.rate, settings.burst), sinks))

    def reopen(self) -> None:
        """SIGHUP: sinks open their files anew, connect anew, read their secrets anew."""
        self._queue.put(_Order("reopen"))

    def close(self, timeout: float = 5.0) -> bool:
        """Tell what is still held back, give everything to the sinks, close them; True where all came to its end in time.

        What a sink with a spool could not deliver stays there for the next run.
        """
        if not self._started:
            return True
        end = time.monotonic() + timeout
        self._queue.put(_Order("close"))
        self._thread.join(timeout)
        done = not self._thread.is_alive()
        for lane in self._lanes:
            done &= lane.join(end - time.monotonic())
        self._do_steps(everything=True)
        return done

    def _do_steps(self, *, everything: bool = False) -> None:
        """Those at the head of the line whose alerts have been taken, or which have waited long enough."""
        with self._stepping:
            while self._steps:
                step = self._steps[0]
                if step.marks is None and self._gated >= step.after:
                    step.marks = [(lane, lane.put_in) for lane in self._lanes]
                taken = step.marks is not None and all(lane.taken >= mark for lane, mark in step.marks)
                if not (taken or everything or time.monotonic() >= step.due):
                    return
                self._steps.popleft()
                try:
                    step.run()
                except Exception as error:  # noqa: BLE001 - a fault in a step must not end the alerts
                    self.trouble = f"a fault of mailtap behind its alerts ({type(error).__name__}); please report it"

    def _wake(self) -> None:
        """Have the alert thread look at the steps that wait."""
        if self._steps:
            self._queue.put(_Order("look"))

    # -- the alert thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        orders: list[_Order] = []
        while True:
            alerts = self._take(orders)
            now = time.monotonic()
            with self._losing:
                lost, self._lost = self._lost, {}
            for (severity, rule), count in lost.items():
                self._gate.hold(severity, rule, count, now)
            out = self._through(alerts, now, last=bool(orders) and orders[-1].kind == "close")
            self._state.alerts_repeated = self._gate.repeated
            self._state.alerts_limited = self._gate.limited
            if out:
                # The screen shows what is told, whether or not there is somebody else to tell.
                self._state.recent.extend(out)
                for lane in self._lanes:
                    lane.put(list(out))
            self._gated += len(alerts)
            self._do_steps()
            while orders:
                order = orders.pop(0)
                if order.kind == "look":
                    continue
                if order.kind == "reload":
                    self._exchange(order)
                    continue
                for lane in self._lanes:
                    lane.order(order.kind)
                if order.kind == "close":
                    return

    def _through(self, alerts: list[Alert], now: float, *, last: bool) -> list[Alert]:
        """What the gate lets out now; a fault in it lets everything out."""
        gate = self._gate
        try:
            out = gate.take(alerts, now) if alerts else []
            out += gate.due(now)
            if last:
                out += gate.flush(now)
        except Exception as error:  # noqa: BLE001 - a fault in holding back must not end the telling
            self.trouble = f"a fault of mailtap in its alerts ({type(error).__name__}: {error}); please report it"
            self._gate = Gate(gate.window_s, gate.rate, gate.burst, gate.summary_s, now)
            self._gate.sensor = gate.sensor
            return alerts
        return out

    def _take(self, orders: list[_Order]) -> list[Alert]:
        """Wait for alerts, an order, or the time at which something is due; what was raised before an order goes out before it."""
        alerts: list[Alert] = []
        due = self._gate.next_due()
        with self._stepping:
            if self._steps:
                due = min(due, self._steps[0].due)
        wait = min(1.0, max(0.0, due - time.monotonic()))
        with contextlib.suppress(Empty):
            item = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            while True:
                if isinstance(item, _Order):
                    orders.append(item)
                    break
                alerts.append(item)
                if len(alerts) >= MAX_BATCH:
                    break
                item = self._queue.get_nowait()
        return alerts

    def _exchange(self, order: _Order) -> None:
        """Other limits, other sinks; a sink named as before goes on with what it has."""
        if order.values is not None:
            self._gate.set(*order.values)
        wanted = {sink.name: sink for sink in order.sinks or []}
        lanes: list[Lane] = []
        for lane in self._lanes:
            if wanted.pop(lane.sink.name, None) is not None:
                lanes.append(lane)
            else:
                lane.order("close")
        for sink in wanted.values():
            lane = Lane(sink, self._wake, opened=False)
            lane.start()
            lanes.append(lane)
        self._lanes = lanes
        self._state.sinks = [lane.sink for lane in lanes]
