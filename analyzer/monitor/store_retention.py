"""Retention: what was stored too long ago goes, and the oldest where there is too much.

Sessions go by the time at which they were stored, not by that of their traffic (a capture that is followed may be of any time), with their
credentials, messages, handshakes and findings; then what belongs to nobody any more: older findings, captures, certificates. It is done
in slices of a fraction of a second: :meth:`Retention.round` is a generator, and whoever drives it writes between two of its steps.

Sizes. Of an SQLite store counts what the file holds, and what is freed is given back to the file system. Of PostgreSQL counts what mailtap
has put there, by its own count (``octets``); what is freed PostgreSQL uses again once it has vacuumed, which it does by itself: its files
shrink when somebody runs ``VACUUM FULL``. Retention is the whole store's: where several sensors share one, give them all the same
limits; one of them prunes at a time, under one lock for the round.

What must not happen is that evidence goes because of what somebody sends, or because a clock is wrong:

- certificates (16 KB each, as many as a server likes to make up) get a share of a store that is too large, and go before any session;
- where removing sessions does not make the store smaller, no more of them go;
- when more than half of all would go for its age, this is said and waits for an hour: time to set a clock right;
- when another program fills the disk, the latest :data:`MIN_KEPT` stay.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sql
from sqlalchemy import exc

from analyzer.monitor.schema import CAPTURES, CERTIFICATES, FINDINGS, OF_SESSIONS, PRUNE_LOCK, SESSIONS
from analyzer.monitor.store import CERTIFICATE_NS

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Table
    from sqlalchemy.sql.elements import ColumnElement

    from analyzer.monitor.store import Store

#: Seconds that one slice shall take, and no more than twice that; the rows in one follow from it, at least, at first and at most.
SLICE_S: Final = 0.05
LEAST_ROWS: Final = 20
FIRST_ROWS: Final = 50
MOST_ROWS: Final = 400
#: What a session takes, to begin with, and how many are removed at once at least where the store is nearly small enough.
USUAL_OCTETS: Final = 2500
FEWEST_ROWS: Final = 10
#: Pages given back to the file system in one slice, at first and at most.
FIRST_PAGES: Final = 200
MOST_PAGES: Final = 4000
#: A store that is too large is brought to this share of its limit, so that this is not to be done all the time.
FILL: Final = 0.95
#: The share of the limit that certificates may take in a store that is too large.
CERTIFICATE_SHARE: Final = 0.25
#: Sessions worth so many times what is too much may go; if it is still too much then, something else fills the store.
FUTILE: Final = 3
#: Octets on the store's disk that are kept free, but no more than this share of the disk; and what of the store stays in any case.
FREE_FLOOR: Final = 512 << 20
FREE_SHARE: Final = 0.05
MIN_KEPT: Final = 256 << 20
#: Seconds for which more than half of a store stays although it is too old.
HOLD_S: Final = 3600.0


class Retention:
    """Retention of one store; remembers from round to round what it has to.

    ``hold_s`` is for how long more than half of everything stays although it is too old.
    """

    def __init__(
        self, store: Store, *, hold_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        #: sessions removed so far
        self.removed: int = 0
        #: what people should know of the latest round; no numbers that change
        self.trouble: str = ""
        self._store = store
        self._hold_s = HOLD_S if hold_s is None else hold_s
        self._clock = clock
        self._held_since: float | None = None
        #: the size below which removing sessions has not brought the store
        self._stuck: float = 0.0
        self._said: list[str] = []

    def round(self, older_than_ns: int | None, max_bytes: int | None) -> Generator[None]:
        """Remove what was stored before a time, and the oldest beyond a size; between two steps others may write.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database refused; what was removed before stays removed.
        """
        self._said = []
        with _round_lock(self._store) as mine:
            if mine:
                if older_than_ns is not None and self._may_go(older_than_ns):
                    yield from self._by_age(older_than_ns)
                if max_bytes is not None:
                    yield from self._by_size(self._limit(max_bytes))
                yield from self._give_back()
        self.trouble = "; ".join(self._said)

    def _say(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.append(sentence)
        self.trouble = "; ".join(self._said)

    # -- by age ----------------------------------------------------------------------------------------------------------------------

    def _may_go(self, older_than_ns: int) -> bool:
        """Whether what is too old may go now: more than half of everything is not removed without a word and some time."""
        old = SESSIONS.c.stored_ns < older_than_ns
        with self._store.engine.connect() as connection:
            due = int(connection.execute(sql.select(sql.func.count()).select_from(SESSIONS).where(old)).scalar() or 0)
            rest = sql.select(SESSIONS.c.stored_ns).where(SESSIONS.c.stored_ns >= older_than_ns).limit(due).subquery()
            kept = int(connection.execute(sql.select(sql.func.count()).select_from(rest)).scalar() or 0) if due else 0
        if due == 0 or kept >= due:
            self._held_since = None
            return True
        now = self._clock()
        if self._held_since is None:
            self._held_since = now
        what = "more than half of the store is older than the retention allows by the clock of this machine"
        if now - self._held_since < self._hold_s:
            self._say(
                f"{what}: it stays for an hour, then it is removed; set the clock right if it is wrong, or keep longer"
            )
            return False
        self._say(f"{what}: it is removed")
        return True

    def _by_age(self, older_than_ns: int) -> Iterator[None]:
        pace = _Pace(FIRST_ROWS, MOST_ROWS)
        count = limit = 0
        while count >= limit:
            with pace:
                limit = pace.size
                count, _, _ = self._remove(limit, SESSIONS.c.stored_ns < older_than_ns)
                pace.filled = count >= limit
            yield
        yield from self._remove_rest(older_than_ns)

    # -- by size ---------------------------------------------------------------------------------------------------------------------

    def _limit(self, max_bytes: int) -> int:
        """How large the store may be: as it was told, and less where the disk has little room left."""
        path = self._store.place.path
        if path is None:
            return max_bytes
        room = disk_room(path)
        if room is None:
            return max_bytes
        free, total = room
        floor = min(FREE_FLOOR, int(total * FREE_SHARE))
        if free >= floor:
            return max_bytes
        held = size(self._store)
        limit = max(held - (floor - free), min(held, MIN_KEPT))
        if limit >= max_bytes:
            return max_bytes
        if limit < held:
            self._say("the disk of the store has hardly any room left: the oldest of the store goes; free some space")
        else:
            self._say("the disk of the store has hardly any room left, and not because of the store; free some space")
        # What is not too large must not be made smaller for the sake of filling.
        return limit if limit < held else max_bytes

    def _by_size(self, limit: int) -> Iterator[None]:
        """Bring the store below a size: certificates nobody has, certificates beyond their share, then the oldest sessions."""
        begun = found = size(self._store)
        if found <= limit:
            self._stuck = 0.0
            return
        wanted = limit * FILL
        yield from self._remove_certificates(_nobody_has(self._oldest()))
        taken = self._certificate_octets()
        share = int(limit * CERTIFICATE_SHARE)
        if size(self._store) > wanted and taken > share:
            self._say("certificates fill the store: the oldest of them go, their sessions stay and tell less")
            yield from self._remove_certificates(None, taken - share)
        found = size(self._store)
        if found <= wanted:
            return
        if self._stuck and found < self._stuck * (1 + (1 - FILL)):
            self._say_stuck()
            return
        excess = found - wanted
        if excess > begun / 2:
            self._say(
                "the store is more than twice as large as it may be: more than half of it is removed, the oldest first"
            )
        yield from self._shrink(found, wanted, excess)

    def _shrink(self, found: float, wanted: float, excess: float) -> Iterator[None]:
        pace = _Pace(FIRST_ROWS, MOST_ROWS)
        gone = 0
        end_ns = 0
        before = self.removed
        while found > wanted:
            with pace:
                # Towards the end fewer at a time, so that not many more go than have to.
                each = gone / (self.removed - before) if gone else USUAL_OCTETS
                limit = min(pace.size, max(FEWEST_ROWS, int((found - wanted) / each / 2)))
                count, octets, last_ns = self._remove(limit)
                pace.filled = limit == pace.size
            gone += octets
            end_ns = max(end_ns, last_ns)
            if count == 0:
                break
            yield
            found = found - octets if self._store.is_postgres else size(self._store)
            if found > wanted and gone > FUTILE * excess:
                yield from self._remove_rest(end_ns)
                found = size(self._store)
                if found > wanted:
                    self._stuck = found
                    self._say_stuck()
                return
        yield from self._remove_rest(end_ns)

    def _say_stuck(self) -> None:
        self._say("the store stays larger than it may be although its oldest sessions were removed: no more of them go")

    def _oldest(self) -> int | None:
        """When the oldest session was stored; None where there is none."""
        with self._store.engine.connect() as connection:
            value = connection.execute(sql.select(sql.func.min(SESSIONS.c.stored_ns))).scalar()
        return None if value is None else int(value)

    def _certificate_octets(self) -> int:
        with self._store.engine.connect() as connection:
            return int(connection.execute(sql.select(sql.func.sum(CERTIFICATES.c.octets))).scalar() or 0)

    # -- removing --------------------------------------------------------------------------------------------------------------------

    def _remove(self, limit: int, where: ColumnElement[bool] | None = None) -> tuple[int, int, int]:
        """Remove the oldest sessions, ``limit`` at most: their number, their octets, and when the last of them was stored."""
        columns = (SESSIONS.c.sensor, SESSIONS.c.session_id, SESSIONS.c.octets, SESSIONS.c.stored_ns)
        query = sql.select(*columns).order_by(SESSIONS.c.stored_ns, SESSIONS.c.end_ns).limit(limit)
        if where is not None:
            query = query.where(where)
        with self._store.transaction() as connection:
            rows = connection.execute(query).all()
            sensors: dict[str, list[str]] = {}
            for sensor, identifier, _, _ in rows:
                sensors.setdefault(sensor, []).append(identifier)
            for sensor, identifiers in sensors.items():
                for table in (SESSIONS, *OF_SESSIONS, FINDINGS):
                    connection.execute(
                        sql.delete(table).where(table.c.sensor == sensor, table.c.session_id.in_(identifiers))
                    )  # fmt: skip
        self.removed += len(rows)
        return (len(rows), sum(int(row[2]) for row in rows), int(rows[-1][3]) if rows else 0)

    def _remove_rest(self, older_than_ns: int) -> Iterator[None]:
        """Remove what was stored before and belongs to no session that is kept."""
        yield from self._remove_findings(older_than_ns)
        with self._store.transaction() as connection:
            connection.execute(sql.delete(CAPTURES).where(CAPTURES.c.stored_ns < older_than_ns))
        yield
        oldest = self._oldest()
        before_ns = older_than_ns if oldest is None else min(older_than_ns, oldest)
        yield from self._remove_certificates(_nobody_has(before_ns))

    def _remove_findings(self, older_than_ns: int) -> Iterator[None]:
        """Remove findings stored before a time whose session is not there."""
        kept = sql.exists().where(
            SESSIONS.c.session_id == FINDINGS.c.session_id, SESSIONS.c.sensor == FINDINGS.c.sensor
        )
        order = (FINDINGS.c.stored_ns, FINDINGS.c.sensor, FINDINGS.c.finding_id)
        last: tuple[Any, ...] | None = None
        pace = _Pace(FIRST_ROWS, MOST_ROWS)
        while True:
            with pace:
                limit = pace.size
                query = sql.select(*order, kept.label("kept")).where(FINDINGS.c.stored_ns < older_than_ns)
                if last is not None:
                    query = query.where(FINDINGS.c.stored_ns >= last[0], sql.tuple_(*order) > last)
                with self._store.transaction() as connection:
                    rows = connection.execute(query.order_by(*order).limit(limit)).all()
                    loose: dict[str, list[str]] = {}
                    for _, sensor, identifier, has_session in rows:
                        if not has_session:
                            loose.setdefault(sensor, []).append(identifier)
                    for sensor, identifiers in loose.items():
                        connection.execute(
                            sql.delete(FINDINGS).where(
                                FINDINGS.c.sensor == sensor, FINDINGS.c.finding_id.in_(identifiers)
                            )
                        )
                pace.filled = len(rows) >= limit
            yield
            if len(rows) < limit:
                return
            last = tuple(rows[-1])[:3]

    def _remove_certificates(self, where: ColumnElement[bool] | None, octets: int = 0) -> Iterator[None]:
        """Remove certificates, the oldest first: those of a condition, or as many as take so many octets."""
        table: Table = CERTIFICATES
        pace = _Pace(FIRST_ROWS, MOST_ROWS)
        gone = 0
        while where is not None or gone < octets:
            with pace:
                limit = pace.size
                query = sql.select(table.c.sha256, table.c.octets).order_by(table.c.last_ns).limit(limit)
                if where is not None:
                    query = query.where(where)
                with self._store.transaction() as connection:
                    rows = connection.execute(query).all()
                    chosen: list[str] = []
                    for digest, taken in rows:
                        if where is None and gone >= octets:
                            break
                        gone += int(taken)
                        chosen.append(digest)
                    if chosen:
                        connection.execute(sql.delete(table).where(table.c.sha256.in_(chosen)))
                if chosen:
                    self._store.forget_certificates()
                pace.filled = len(rows) >= limit
            yield
            if len(rows) < limit:
                return

    # -- giving back -----------------------------------------------------------------------------------------------------------------

    def _give_back(self) -> Iterator[None]:
        """Give freed space back to the file system."""
        store = self._store
        if store.is_postgres:
            return
        before = _of_driver(store, "PRAGMA freelist_count")[0]
        pace = _Pace(FIRST_PAGES, MOST_PAGES)
        while before > 0:
            with pace:
                # The pragma works as its rows are fetched.
                _of_driver(store, f"PRAGMA incremental_vacuum({pace.size})")
                after = _of_driver(store, "PRAGMA freelist_count")[0]
                pace.filled = True
            yield
            if after >= before:
                break
            before = after
        # Nobody waits for readers: what they still need stays in the log; where there are none, its file is made short.
        busy, pages, moved = _of_driver(store, "PRAGMA wal_checkpoint(PASSIVE)")
        if not busy and pages == moved:
            yield
            _of_driver(store, "PRAGMA wal_checkpoint(TRUNCATE)", patient=False)


class _Pace:
    """How much is done in a slice, so that one takes between once and twice :data:`SLICE_S`. A context around each."""

    def __init__(self, first: int, most: int) -> None:
        self.size = first
        #: the slice did all it was allowed to
        self.filled = False
        self._most = most
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self._began
        # A good part of a slice is the commit, which costs the same for few as for many: slices that are too small come to nothing.
        if took > 2 * SLICE_S:
            self.size = max(LEAST_ROWS, self.size // 2)
        elif self.filled and took < SLICE_S:
            self.size = min(self._most, self.size * 2)


def size(store: Store) -> int:
    """Octets that the content of a store takes."""
    with store.engine.connect() as connection:
        if store.is_postgres:
            sums = (sql.select(sql.func.coalesce(sql.func.sum(one.c.octets), 0)) for one in (SESSIONS, CERTIFICATES))
            return sum(int(connection.execute(one).scalar() or 0) for one in sums)
        pages, free, octets = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * octets


def disk_room(path: Path) -> tuple[int, int] | None:
    """Octets that are free on a file's disk, for us, and all it has; None where nobody knows."""
    try:
        found = os.statvfs(path)
    except (OSError, AttributeError):
        return None
    return (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def _nobody_has(oldest_ns: int | None) -> ColumnElement[bool]:
    """The condition for certificates that no session refers to: stored before the oldest of them was."""
    if oldest_ns is None:
        return sql.true()
    # The time beside a certificate is brought up to date now and then only, hence the grace.
    return CERTIFICATES.c.last_ns < oldest_ns - CERTIFICATE_NS


@contextlib.contextmanager
def _round_lock(store: Store) -> Iterator[bool]:
    """Of several sensors one prunes at a time: False where another does, which it is left to."""
    if not store.is_postgres:
        yield True
        return
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.execute(sql.select(sql.func.pg_try_advisory_lock(PRUNE_LOCK))).scalar():
            yield False
            return
        try:
            yield True
        finally:
            try:
                connection.execute(sql.select(sql.func.pg_advisory_unlock(PRUNE_LOCK)))
            except exc.SQLAlchemyError:
                # The connection is gone, and the lock with it.
                connection.invalidate()


def _of_driver(store: Store, statement: str, *, patient: bool = True) -> tuple[int, ...]:
    """The first row of what a pragma says, outside of transactions, which SQLAlchemy would begin; all its rows are fetched."""
    pooled = store.engine.raw_connection()
    try:
        driver: Any = pooled.driver_connection
        if patient:
            rows = driver.execute(statement).fetchall()
        else:
            before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
            driver.execute("PRAGMA busy_timeout=0")
            try:
                rows = driver.execute(statement).fetchall()
            finally:
                driver.execute(f"PRAGMA busy_timeout={before}")
        return tuple(rows[0]) if rows else (0,)
    finally:
        pooled.close()


def _pragma(connection: Connection, name: str) -> int:
    value: Any = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    return int(value)
