"""Retention: what is too old goes, and the oldest where there is too much.

Sessions go by their end, with their credentials, messages, handshakes and findings, a few hundred in a transaction, so that writing goes
on between. Then what belongs to nobody any more: older findings, captures, certificates.

Sizes. Of an SQLite store counts what the file holds, and what is freed is given back to the file system. Of PostgreSQL counts what mailtap
has put there, by its own count (``sessions.octets``); what is freed is vacuumed, for PostgreSQL to use again: its files shrink when
somebody runs ``VACUUM FULL``. Retention is the whole store's: where several sensors share one, give them all the same limits.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sql

from analyzer.monitor.schema import CAPTURES, CERTIFICATES, FINDINGS, OF_SESSIONS, PRUNE_LOCK, SESSIONS
from analyzer.monitor.store import CERTIFICATE_NS

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.sql.elements import ColumnElement

    from analyzer.monitor.store import Store

#: Sessions removed in one transaction, and pages given back at a time.
SLICE: Final = 500
PAGES: Final = 4000
#: A store that is too large is brought to this share of its limit, so that this is not to be done all the time.
FILL: Final = 0.95


def prune(store: Store, older_than_ns: int | None, max_bytes: int | None) -> int:
    """Remove what is older than a time, and the oldest beyond a size; the number of sessions removed.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database refused; what was removed before stays removed.
    """
    removed = 0
    if older_than_ns is not None:
        while True:
            count, _ = _remove(store, SLICE, SESSIONS.c.end_ns < older_than_ns)
            removed += count
            if count < SLICE:
                break
        _remove_rest(store, older_than_ns)
    if max_bytes is not None:
        removed += _shrink(store, max_bytes)
    _give_back(store, vacuum=removed > 0)
    return removed


def size(store: Store) -> int:
    """Octets that the content of a store takes."""
    with store.engine.connect() as connection:
        if store.is_postgres:
            return int(connection.execute(sql.select(sql.func.sum(SESSIONS.c.octets))).scalar() or 0)
        pages, free, octets = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * octets


def _shrink(store: Store, max_bytes: int) -> int:
    """Remove the oldest sessions until the rest is small enough."""
    removed = 0
    found = size(store)
    if found <= max_bytes:
        return 0
    wanted = max_bytes * FILL
    while found > wanted:
        with store.engine.connect() as connection:
            total = int(connection.execute(sql.select(sql.func.count()).select_from(SESSIONS)).scalar() or 0)
        due = min(total, max(1, math.ceil(total * (found - wanted) / found)))
        end_ns = 0
        while due > 0:
            count, end_ns = _remove(store, min(due, SLICE))
            removed += count
            due -= count
            if count == 0:
                break
        if total == 0:
            # Nothing but findings about captures, and empty tables.
            break
        _remove_rest(store, end_ns)
        found = size(store)
    return removed


def _remove(store: Store, limit: int, where: ColumnElement[bool] | None = None) -> tuple[int, int]:
    """Remove the oldest sessions, ``limit`` at most: their number, and the end of the last."""
    query = (
        sql.select(SESSIONS.c.sensor, SESSIONS.c.session_id, SESSIONS.c.end_ns).order_by(SESSIONS.c.end_ns).limit(limit)
    )
    if where is not None:
        query = query.where(where)
    with store.transaction() as connection:
        if not _only_one(connection):
            return (0, 0)
        rows = connection.execute(query).all()
        sensors: dict[str, list[str]] = {}
        for sensor, identifier, _ in rows:
            sensors.setdefault(sensor, []).append(identifier)
        for sensor, identifiers in sensors.items():
            for table in (SESSIONS, *OF_SESSIONS, FINDINGS):
                connection.execute(
                    sql.delete(table).where(table.c.sensor == sensor, table.c.session_id.in_(identifiers))
                )  # fmt: skip
    return (len(rows), int(rows[-1][2]) if rows else 0)


def _remove_rest(store: Store, older_than_ns: int) -> None:
    """Remove what is older and belongs to no session that is kept."""
    kept = sql.exists().where(SESSIONS.c.session_id == FINDINGS.c.session_id, SESSIONS.c.sensor == FINDINGS.c.sensor)
    with store.transaction() as connection:
        if not _only_one(connection):
            return
        connection.execute(sql.delete(FINDINGS).where(FINDINGS.c.time_ns < older_than_ns, sql.not_(kept)))
        connection.execute(sql.delete(CAPTURES).where(CAPTURES.c.last_ns < older_than_ns, CAPTURES.c.last_ns > 0))
        # The time beside a certificate is brought up to date now and then only, hence the grace.
        connection.execute(sql.delete(CERTIFICATES).where(CERTIFICATES.c.last_ns < older_than_ns - 2 * CERTIFICATE_NS))


def _only_one(connection: Connection) -> bool:
    """Of several sensors one prunes at a time; the others leave it to that one."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(sql.select(sql.func.pg_try_advisory_xact_lock(PRUNE_LOCK))).scalar())


def _give_back(store: Store, *, vacuum: bool) -> None:
    """Give freed space back to the file system, or to PostgreSQL."""
    if store.is_postgres:
        if vacuum:
            with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in (SESSIONS, *OF_SESSIONS, FINDINGS):
                    connection.exec_driver_sql(f"VACUUM {table.name}")
        return
    # Outside of transactions, which SQLAlchemy would begin: with the driver's own connection.
    pooled = store.engine.raw_connection()
    try:
        driver = pooled.driver_connection
        assert driver is not None
        before = driver.execute("PRAGMA freelist_count").fetchone()[0]
        while before > 0:
            # The pragma works as its rows are fetched.
            driver.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
            after = driver.execute("PRAGMA freelist_count").fetchone()[0]
            if after >= before:
                break
            before = after
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        pooled.close()


def _pragma(connection: Connection, name: str) -> int:
    value: Any = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
    return int(value)
