"""Which alerts go out now, which are held back, and how what was held back is told: de-duplication and the rate limit.

Two gates stand one behind the other, and neither swallows anything: the counts of all alerts that came out, summed, are the alerts
that went in.

Repeats: one alert per rule, server and account in a window. What comes meanwhile is counted, and told by a summary when the window
ends; a repeat that is worse than what was told goes out at once, with the count of those before it. A key whose alert the rate limit
refused has not been told, so its next alert is tried anew.

Rate: a token bucket over all alerts. Where more come together than may pass, the worst go first, and the last half of the bucket is
for high and critical ones, the last quarter for critical ones alone. What is refused is counted by severity and rule, and a summary tells the counts.

All times are those of a clock that never steps back, in seconds.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, OrderedDict
from dataclasses import replace
from typing import Final

from analyzer.model import SEVERITIES
from analyzer.monitor.base import SUMMARY, Alert

#: Rules, servers and accounts remembered at once; beyond, the oldest is told and forgotten.
MAX_KEYS: Final = 10_000
#: Pairs of severity and rule counted apart in one summary of the rate limit; further ones are counted together.
MAX_HELD: Final = 400
#: Pairs that the text of a summary names.
NAMED: Final = 12
#: Shares of the bucket that alerts of a severity leave to worse ones.
RESERVE: Final = {"critical": 0.0, "high": 0.25}
RESERVE_OTHERS: Final = 0.5
#: What the rule of a summary is called.
HELD_RULE: Final = "alerts-held-back"
OTHERS: Final = "others"

_NEVER: Final = float("inf")

Key = tuple[str, str | None, int | None, str | None]


class _Window:
    """What is remembered of one rule, server and account."""

    __slots__ = ("held", "latest", "opened", "told")

    def __init__(self, opened: float, told: int, latest: Alert) -> None:
        self.opened = opened
        #: the worst severity that was told
        self.told = told
        #: alerts counted since then, and the worst (then latest) of them
        self.held = 0
        self.latest = latest


class Gate:
    """Lets alerts through, or holds them back and tells of them later. Used by one thread."""

    def __init__(self, window_s: float, rate: float, burst: int, summary_s: float, now: float) -> None:
        self.summary_s = summary_s
        #: held back by de-duplication, by the rate limit; alerts, however often they are told
        self.repeated = 0
        self.limited = 0
        self._windows: OrderedDict[Key, _Window] = OrderedDict()
        self._held: Counter[tuple[str, str]] = Counter()
        self._summary_due = _NEVER
        self._tokens = float(burst)
        self._filled = now
        self.window_s = window_s
        self.rate = rate
        self.burst = burst
        #: named in summaries
        self.sensor = ""

    def set(self, window_s: float, rate: float, burst: int) -> None:
        """Other limits from now on; open windows are measured by the new ones."""
        self.window_s = window_s
        self.rate = rate
        self.burst = burst
        self._tokens = min(self._tokens, float(burst))

    def take(self, alerts: list[Alert], now: float) -> list[Alert]:
        """Of these alerts, in their order, those that go out now."""
        early: list[Alert] = []
        fresh: list[Alert] = []
        for alert in alerts:
            told = self._new(alert, now, early)
            if told is not None:
                fresh.append(told)
        return self._limit(early + fresh, now)

    def due(self, now: float) -> list[Alert]:
        """What is to be told because its time has come: windows that ended, the summary of the rate limit."""
        ended: list[Alert] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.opened + self.window_s > now:
                break
            del self._windows[key]
            if window.held:
                ended.append(self._repeats(window))
                # It goes on: another window, so that a steady repeat is told once a window.
                self._windows[key] = _Window(now, window.latest.severity_number, window.latest)
        told = self._limit(ended, now)
        if now >= self._summary_due:
            told += self._summary()
        return told

    def next_due(self) -> float:
        """When ``due`` has something to do; infinity for never."""
        if not self._windows:
            return self._summary_due
        oldest = next(iter(self._windows.values()))
        return min(self._summary_due, oldest.opened + self.window_s)

    def flush(self, now: float) -> list[Alert]:
        """Everything that was held back and not told yet, as far as the rate allows; the rest in one summary. For the stop."""
        repeats = [self._repeats(window) for window in self._windows.values() if window.held]
        self._windows.clear()
        return self._limit(repeats, now) + self._summary()

    def hold(self, severity: str, rule: str, count: int, now: float) -> None:
        """Count alerts that got lost elsewhere into the next summary."""
        pair = (severity, rule)
        if pair not in self._held and len(self._held) >= MAX_HELD:
            pair = (severity, OTHERS)
        self._held[pair] += count
        self._summary_due = min(self._summary_due, now + self.summary_s)

    def _new(self, alert: Alert, now: float, early: list[Alert]) -> Alert | None:
        """The alert with its count, if it is not a repeat. What has to be forgotten for it is told in ``early``."""
        if self.window_s <= 0:
            return alert
        key = alert.key()
        window = self._windows.get(key)
        severity = alert.severity_number
        if window is None:
            if len(self._windows) >= MAX_KEYS:
                _, oldest = self._windows.popitem(last=False)
                if oldest.held:
                    early.append(self._repeats(oldest))
            self._windows[key] = _Window(now, severity, alert)
            return alert
        over = window.opened + self.window_s <= now
        if over or severity > window.told:
            if window.held:
                alert = replace(alert, count=alert.count + window.held)
            window.held = 0
            window.told = severity
            window.latest = alert
            if over:
                window.opened = now
                self._windows.move_to_end(key)
            return alert
        if not window.held or severity >= window.latest.severity_number:
            window.latest = alert
        window.held += alert.count
        self.repeated += alert.count
        return None

    def _repeats(self, window: _Window) -> Alert:
        """The summary of one rule, server and account: its latest alert, as one that stands for all that were held back."""
        latest = window.latest
        held = window.held
        again = "once more" if held == 1 else f"{held:,} times more"
        detail = f"{again} since it was last told; the latest: {latest.detail}"
        summary = replace(latest, kind=SUMMARY, count=held, detail=detail, raised_ns=time.time_ns())
        summary.finding_id = _summary_id(summary)
        return summary

    def _limit(self, alerts: list[Alert], now: float) -> list[Alert]:
        """Those of the alerts, in their order, for which there are tokens; the worst come first to the bucket."""
        if not alerts or self.rate <= 0:
            return alerts
        self._tokens = min(float(self.burst), self._tokens + max(0.0, now - self._filled) * self.rate)
        self._filled = now
        order = range(len(alerts))
        passed = [True] * len(alerts)
        if self._tokens - self.burst * RESERVE_OTHERS < len(alerts):
            order_by_severity = sorted(order, key=lambda place: -alerts[place].severity_number)
        else:
            order_by_severity = list(order)
        for place in order_by_severity:
            alert = alerts[place]
            # A bucket of a few has nothing to reserve: somebody must be told of something.
            floor = min(self.burst - 1.0, self.burst * RESERVE.get(alert.severity, RESERVE_OTHERS))
            if self._tokens - floor >= 1.0:
                self._tokens -= 1.0
                continue
            passed[place] = False
            self.limited += alert.count
            self.hold(alert.severity, alert.rule, alert.count, now)
            window = self._windows.get(alert.key())
            if window is not None and window.held:
                window.told = -1
            elif window is not None:
                del self._windows[alert.key()]
        return [alert for place, alert in enumerate(alerts) if passed[place]]

    def _summary(self) -> list[Alert]:
        """The alert that tells what the rate limit held back; none where that is nothing. It needs no token."""
        if not self._held:
            self._summary_due = _NEVER
            return []
        counts = sorted(self._held.items(), key=lambda pair: (-SEVERITIES.index(pair[0][0]), -pair[1], pair[0][1]))
        total = sum(self._held.values())
        worst = counts[0][0][0]
        by_severity: Counter[str] = Counter()
        for (severity, _), count in counts:
            by_severity[severity] += count
        severities = ", ".join([f"{by_severity[word]:,} {word}" for word in reversed(SEVERITIES) if by_severity[word]])
        rules = ", ".join([f"{rule} ({severity}) {count:,}" for (severity, rule), count in counts[:NAMED]])
        more = sum([count for _, count in counts[NAMED:]])
        if more:
            rules += f", {OTHERS} {more:,}"
        moment = time.time_ns()
        summary = Alert(
            SUMMARY, "", HELD_RULE, worst, "high", f"{total:,} alerts were held back",
            f"{severities}; by rule: {rules}", moment, moment, self.sensor,
            remediation="mailtap report shows the findings, which are in the monitor's store unless that is off. --rate and --burst say how many alerts may go out.",
            count=total,
        )  # fmt: skip
        summary.finding_id = _summary_id(summary)
        self._held.clear()
        self._summary_due = _NEVER
        return [summary]


def _summary_id(summary: Alert) -> str:
    """An identifier of a summary's own: receivers drop what comes twice under one."""
    text = f"{summary.kind} {summary.key()} {summary.count} {summary.raised_ns} {summary.detail}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
