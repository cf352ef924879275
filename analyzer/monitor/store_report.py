"""Reports from a store: its records become a run's result, and whatever reports on captures reports on it.

Findings are judged again, over all records in order of their start, as offline: what is compared does not depend on when a connection
ended while it was watched. What the monitor told at the time stands in the store's own table ``findings``.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analyzer.collecting import uncollected
from analyzer.errors import UsageError
from analyzer.findings.behaviour import to_be_judged
from analyzer.monitor.store_names import is_store
from analyzer.monitor.store_runs import Runs
from analyzer.pipeline import Result
from analyzer.report.wording import plural
from analyzer.times import check_order, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from analyzer.monitor.store import Store
    from analyzer.report.tables import Report

#: Sessions of one report: they are in memory together, as with captures: 1.7 KB each where mailtap is compiled, 3.6 KB where not (measured).
MAX_SESSIONS: Final = 1_000_000


def load_result(
    store: Store, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None
) -> Result:
    """What a store holds, as a run's result: sessions alive between the two times (nanoseconds since the epoch), of one sensor or all.

    Of more sessions than a report takes the latest are taken, and a warning says so.

    Raises:
        UsageError: the sensor has written nothing.
        CaptureUnreadable: the database cannot be read.
    """
    began = time.perf_counter()
    if sensor is not None:
        known = store.sensors()
        if sensor not in known:
            raise UsageError(
                f"{store.name} holds nothing of a sensor {sensor!r}; sensors: {', '.join(map(repr, known)) or 'none'}"
            )
    count = store.count(since_ns, until_ns, sensor)
    result = Result()
    if count > MAX_SESSIONS:
        result.warnings.append(
            f"{store.name} holds {count:,} sessions of that time; this report is of the latest {MAX_SESSIONS:,}: "
            "ask for earlier ones with --until, or for fewer with --since or --sensor"
        )
    result.stored = True
    result.since_ns, result.until_ns = since_ns, until_ns
    if since_ns is not None or until_ns is not None:
        result.left_out = max(0, store.count(sensor=sensor) - count)
    with uncollected():
        if count > MAX_SESSIONS:
            result.sessions = store.recent(MAX_SESSIONS, since_ns, sensor, until_ns)
        else:
            result.sessions = list(store.sessions(since_ns, until_ns, sensor))
    runs = Runs(store.runs(sensor=sensor))
    for by, stats in store.runs(since_ns, until_ns, sensor):
        stats.name = runs.name(by, stats)
        result.captures.append(stats)
        result.warnings.extend(f"{stats.name}: {warning}" for warning in stats.warnings)
    for session in result.sessions:
        runs.place(session)
    result.warnings.extend(_remarks(store, result, store.open_sessions(since_ns, until_ns, sensor)))
    result.warnings.extend(runs.remarks())
    result.seconds = time.perf_counter() - began
    return result


def _remarks(store: Store, result: Result, unfinished: int) -> list[str]:
    """What a reader has to know of the records."""
    found: list[str] = []
    if unfinished:
        found.append(
            f"{plural(unfinished, 'session')} had not ended when {'it was' if unfinished == 1 else 'they were'} stored: "
            "told as far as was seen"
        )
    if store.damaged:
        found.append(
            f"{plural(store.damaged, 'record')} of {store.name} could not be read, and left out ({store.damage})"
        )
    if store.stripped:
        found.append(
            f"certificates of {plural(store.stripped, 'session')} are no longer in the store: what depends on them is not told"
        )
    unjudged = sum(
        1
        for session in result.sessions
        for one in session.credentials or ()
        if one.secret is not None and one.secret.strength is None and to_be_judged(one)
    )
    if unjudged:
        found.append(
            f"the strength of {plural(unjudged, 'password')} was not judged: more came at once than the monitor judges"
        )
    return found


def read_result(
    place: str, since: str | datetime | None = None, until: str | datetime | None = None, sensor: str | None = None
) -> Result:
    """Open a store, read a run's result from it, and close it; times are the user's. See :func:`load_result` and ``open_store``."""
    from analyzer.monitor.store import open_store

    since_ns, until_ns = parse_time(since), parse_time(until)
    check_order(since_ns, until_ns)
    store = open_store(place, create=False)
    try:
        return load_result(store, since_ns, until_ns, sensor)
    finally:
        store.close()


def load(
    place: str | Path,
    *,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    sensor: str | None = None,
) -> Report:
    """Read a report that :meth:`analyzer.Report.save` wrote, or make one of a store that ``mailtap monitor`` writes.

    Args:
        place: the folder of a saved report, or a JSON or JSON lines result of ``mailtap analyze``; or a store: its file, or ``postgresql://USER@HOST/DATABASE``.
        since: of a store, sessions alive at or after this time (RFC 3339, or a ``datetime``; UTC where no zone is given; or 24h for 24 hours ago).
        until: sessions alive at or before this time.
        sensor: what this sensor has written.

    Raises:
        CaptureNotFound: there is no such folder, file or store.
        NotACapture: it holds no report or store of mailtap, or one of a later mailtap that this one cannot read.
        CaptureUnreadable: it is damaged or may not be read.
        UsageError: pyarrow (for reports), SQLAlchemy or psycopg (for stores) is not installed, or the arguments make no sense.
    """
    if not is_store(str(place)):
        from analyzer.report.store import load as load_folder

        if since is not None or until is not None or sensor is not None:
            raise UsageError(
                "since, until and sensor choose from a store; narrow a saved report down with its filter()"
            )
        return load_folder(place)
    from analyzer.report.tables import Report

    return Report(read_result(str(place), since, until, sensor))
