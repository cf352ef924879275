"""The store: what the monitor found, in SQLite (a file) or PostgreSQL (for several sensors).

    store = open_store("/var/lib/mailtap/mailtap.db", sensor="office")
    store.write(batch)                      # one transaction
    for session in store.sessions(): ...    # records, in order of start, streamed

It can be read while a monitor writes to it. A session is known by sensor and identifier; its row is replaced by the next one of it, and
a final one stays. Written twice, a batch leaves the store as written once. After a crash, at any moment, the store holds whole
transactions: SQLite in WAL mode with ``synchronous=FULL``, so what was committed survives a power cut too.

Secrets. A record comes here sealed: no secret enters the database, only its keyed fingerprint, length and strength. The key is kept
outside the database, in a file for the owner alone: whoever had both could try passwords until a fingerprint fits, and whoever has the
database alone cannot. Where several sensors write into one PostgreSQL and equal secrets are to have equal fingerprints, give them
copies of one key file.

This module needs SQLAlchemy (``pip install "mailtap[monitor]"``), PostgreSQL psycopg too (``"mailtap[postgres]"``). It is imported when it is used.

Over 500 lines, because the store is one object: what writes, reads and locks shares its connections; rows, schema, places and retention are in
modules of their own.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

# First of all: it says so where SQLAlchemy is missing.
from analyzer.monitor.store_place import Location, make_file, postgres_engine, read_key, said_by, sqlite_engine  # isort: skip

import sqlalchemy as sql
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql, sqlite

from analyzer.capture.base import CaptureStats
from analyzer.errors import CaptureUnreadable, NotACapture, OutputError
from analyzer.monitor import schema
from analyzer.monitor.pickles import DamagedRecord, SessionLoader
from analyzer.monitor.schema import CAPTURES, CERTIFICATES, CREDENTIALS, FINDINGS, META, OF_SESSIONS, SESSIONS, TLS
from analyzer.monitor.schema import MESSAGES as MESSAGE_ROWS
from analyzer.monitor.store_rows import BatchRows, Renderer, SessionRows, Values
from analyzer.report.rows import RowMaker

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.sql.elements import ColumnElement

    from analyzer.monitor.batch import Batch
    from analyzer.sessions.certificates import TrustStore
    from analyzer.sessions.records import Session

#: Seconds that one statement may take that writes to PostgreSQL, and of them for a lock that somebody else holds.
STATEMENT_S: Final = 30
LOCK_S: Final = 10
#: What a server says that will not let us in, however long somebody waits.
FOR_GOOD: Final = ("authentication failed", "pg_hba.conf", "does not exist", "password supplied", "permission denied")
#: Identifiers in one statement.
CHUNK: Final = 400
#: Rows fetched at a time.
FETCH: Final = 500
#: Certificates kept at hand while reading, and known as written while writing.
MAX_CERTIFICATES: Final = 4096
#: Findings that the next run of the monitor is told of.
MAX_FINDING_IDS: Final = 200_000
#: How often the time at which a certificate was stored last is brought up to date. Retention gives that time grace.
CERTIFICATE_NS: Final = 60_000_000_000


def open_store(
    where: str,
    *,
    sensor: str = "",
    create: bool = True,
    key_file: str | Path | None = None,
    trust: TrustStore | None = None,
    patient: bool = False,
) -> Store:
    """Open a store: a path, ``sqlite:///PATH`` or ``postgresql://USER@HOST/DATABASE``.

    ``sensor`` is the name under which this process writes. With ``create`` the store is made where there is none, and can be written
    to; without, it must be there and is only read. ``key_file`` is where the key of the fingerprints is kept (see the module), ``trust``
    what certificates are checked against. With ``patient`` a database server that is not there is no error: the store is not ``prepared``
    then, cannot be read, and is prepared when something is written and the server is there.

    Raises:
        UsageError: the address makes no sense, or the driver is not installed.
        CaptureError: with ``create`` false, there is no store, or it cannot be read; either way, a later mailtap wrote it.
        OutputError: it cannot be made or written to.
    """
    place = Location(where)
    engine = sqlite_engine(place, create) if place.path is not None else postgres_engine(place)
    store = Store(engine, place, sensor, writing=create, key_file=key_file, trust=trust)
    try:
        store.prepare()
    except BaseException:
        engine.dispose()
        if not (patient and store.absent):
            raise
    return store


class Store:
    """An open store. Any thread may use it, and several at once; writing is one thread's business."""

    def __init__(
        self,
        engine: Engine,
        place: Location,
        sensor: str = "",
        *,
        writing: bool = True,
        key_file: str | Path | None = None,
        trust: TrustStore | None = None,
    ) -> None:
        self.engine = engine
        self.place = place
        #: how it is called in messages, without a password
        self.name = place.name
        self.sensor = sensor
        self.writing = writing
        self.key_path = Path(key_file) if key_file is not None else place.key_file()
        #: its tables are there, in the layout of this version
        self.prepared: bool = False
        #: why the server could not be asked: it is not there; empty where it is
        self.absent: str = ""
        #: sessions met whose certificates are gone
        self.stripped: int = 0
        #: records met that could not be read, and what was wrong with the first
        self.damaged: int = 0
        self.damage: str = ""
        self._trust = trust
        self._key: bytes | None = None
        self._renderer: Renderer | None = None
        self._making = threading.Lock()
        #: certificates that are in the database, and the time that stands beside them there
        self._written: OrderedDict[bytes, int] = OrderedDict()
        self._insert: Callable[[Table], Any] = postgresql.insert if self.is_postgres else sqlite.insert
        self._upserts: dict[str, str] = {}

    @property
    def is_postgres(self) -> bool:
        """Whether it is a PostgreSQL database."""
        return self.place.url is not None

    # -- opening ---------------------------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """See to it that the tables are there, in the layout of this version. See :func:`open_store` for what it raises."""
        from analyzer import __version__

        try:
            if self.writing:
                with self.transaction() as connection:
                    schema.prepare(connection, self.name, __version__)
                self.prepared, self.absent = True, ""
                return
            with self.engine.connect() as connection:
                current = schema.check_layout(connection, self.name)
                empty = not current and schema.layout_of(connection, self.name) == 0
        except (exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            if self.is_postgres and isinstance(error, exc.OperationalError):
                said = said_by(error)
                self.absent = "" if any(one in said for one in FOR_GOOD) else said
            raise self._cannot(error) from None
        if empty:
            raise NotACapture(f"{self.name}: an empty database; mailtap monitor --store makes a store of it")
        if not current:
            raise CaptureUnreadable(
                f"{self.name}: written by an earlier mailtap; start this version's monitor with it once, which brings it up to date"
            )
        self.prepared = True

    def _cannot(self, error: Exception) -> Exception:
        said = said_by(error)
        if "file is not a database" in said or "malformed" in said:
            return NotACapture(f"{self.name}: not a store of mailtap, or damaged ({said})")
        if not self.writing:
            return CaptureUnreadable(f"{self.name}: the store cannot be read ({said})")
        return OutputError(f"{self.name}: the store cannot be opened ({said})")

    def key(self) -> bytes:
        """The key of the fingerprints, from its file; made there at first use.

        Raises:
            OutputError: it can be neither read nor written.
        """
        with self._making:
            if self._key is None:
                self._key = read_key(self.key_path)
            return self._key

    def maker(self) -> RowMaker:
        """What makes rows of records under this store's key."""
        maker = RowMaker(key=self.key())
        if self._trust is not None:
            maker.trust = self._trust
        return maker

    def transaction(self) -> _Writing:
        """A transaction that writes, as a context."""
        return _Writing(self)

    def close(self) -> None:
        """Let go of all connections. SQLite's write-ahead log is merged into the file with the last of them."""
        self.engine.dispose()

    def reconnect(self) -> None:
        """Forget all connections: the next one is made anew. A file that has vanished is made anew too.

        Raises:
            MailtapError: the store cannot be made anew.
        """
        self.engine.dispose()
        self._written.clear()
        if self.place.path is not None and self.place.vanished():
            make_file(self.place.path)
            self.prepare()

    # -- writing ---------------------------------------------------------------------------------------------------------------------

    def render(self, batch: Batch) -> BatchRows:
        """The rows of a batch, as :meth:`write_rows` takes them. The records of the batch may change afterwards."""
        renderer = self._renderer
        if renderer is None:
            renderer = self._renderer = Renderer(self.maker(), self.sensor, self.engine.dialect.name)
        return renderer.render(batch)

    def write(self, batch: Batch) -> int:
        """Write a batch in one transaction: all of it or nothing. Returns the number of sessions, findings and captures written.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database refused; nothing was written.
        """
        return self.write_rows(self.render(batch))

    def write_rows(self, rows: BatchRows) -> int:
        """Write rows in one transaction; see :meth:`write`."""
        if not self.prepared:
            self.prepare()
        fresh: dict[bytes, int] = {}
        with self.transaction() as connection:
            sessions = self._replaceable(connection, rows)
            final = [key for key, one in rows.sessions.items() if one.final]
            for sensor, identifiers in _by_sensor(final):
                for chunk in _chunks(identifiers):
                    connection.execute(
                        sql.delete(FINDINGS).where(
                            FINDINGS.c.sensor == sensor, FINDINGS.c.session_id.in_(chunk), FINDINGS.c.final == sql.false()
                        )
                    )  # fmt: skip
            self._put(connection, SESSIONS, [one.session for one in sessions])
            self._put(connection, CREDENTIALS, [row for one in sessions for row in one.credentials])
            self._put(connection, TLS, [one.tls for one in sessions if one.tls is not None])
            self._put(connection, MESSAGE_ROWS, [row for one in sessions for row in one.messages])
            self._put(connection, CERTIFICATES, self._certificates(sessions, fresh))
            self._put(connection, FINDINGS, list(rows.findings.values()))
            if rows.captures:
                # The row of a source that had seen no packet yet; keys hold the time of the first.
                for sensor, identifiers in _by_sensor([(key[0], key[1]) for key in rows.captures]):
                    connection.execute(
                        sql.delete(CAPTURES).where(
                            CAPTURES.c.sensor == sensor, CAPTURES.c.capture.in_(identifiers), CAPTURES.c.first_ns == 0
                        )
                    )  # fmt: skip
                self._put(connection, CAPTURES, list(rows.captures.values()))
        # Only what is committed is known to be there.
        for digest, moment in fresh.items():
            self._written[digest] = moment
            self._written.move_to_end(digest)
        while len(self._written) > MAX_CERTIFICATES:
            self._written.popitem(last=False)
        return len(rows.sessions) + len(rows.findings) + len(rows.captures)

    def _replaceable(self, connection: Connection, rows: BatchRows) -> list[SessionRows]:
        """The sessions to write: all but those of which the store has the final record and the batch has none.

        What the store has of the others' credentials, messages and handshakes goes.
        """
        stored: dict[tuple[str, str], bool] = {}
        for sensor, identifiers in _by_sensor(list(rows.sessions)):
            for chunk in _chunks(identifiers):
                query = sql.select(SESSIONS.c.session_id, SESSIONS.c.final).where(
                    SESSIONS.c.sensor == sensor, SESSIONS.c.session_id.in_(chunk)
                )
                for identifier, final in connection.execute(query):
                    stored[sensor, identifier] = final
        kept = {key for key, final in stored.items() if final and not rows.sessions[key].final}
        for sensor, identifiers in _by_sensor([key for key in stored if key not in kept]):
            for chunk in _chunks(identifiers):
                for table in OF_SESSIONS:
                    connection.execute(
                        sql.delete(table).where(table.c.sensor == sensor, table.c.session_id.in_(chunk))
                    )  # fmt: skip
        return [one for key, one in rows.sessions.items() if key not in kept]

    def _certificates(self, sessions: list[SessionRows], fresh: dict[bytes, int]) -> list[Values]:
        """Rows for certificates that are not in the database, or whose time there has grown old."""
        found: dict[bytes, bytes] = {}
        for one in sessions:
            for digest, der in one.certificates.items():
                known = fresh.get(digest, self._written.get(digest))
                # A clock that was set back must not make it older than what it belongs to.
                if known is None or abs(one.stored_ns - known) > CERTIFICATE_NS // 2:
                    fresh[digest] = one.stored_ns
                    found[digest] = der
        return [
            {"sha256": digest.hex(), "last_ns": fresh[digest], "octets": len(der), "der": der}
            for digest, der in found.items()
        ]

    def forget_certificates(self) -> None:
        """Certificates were removed: none is known to be there any more."""
        self._written.clear()

    def _put(self, connection: Connection, table: Table, rows: list[Values]) -> None:
        """Insert rows; those that are there are replaced."""
        if rows:
            # In the order of the key, so that two sensors that write at once never wait for each other in a circle.
            keys = [column.name for column in table.primary_key]
            rows.sort(key=lambda row: [row[key] for key in keys])
            # Values are as the driver wants them; SQLAlchemy need not look at each of them again.
            connection.exec_driver_sql(self._upsert(table), rows)

    def _upsert(self, table: Table) -> str:
        """The statement that inserts or replaces a row of a table, with parameters by name of column."""
        found = self._upserts.get(table.name)
        if found is None:
            statement = self._insert(table)
            keys = list(table.primary_key)
            new = {column.name: statement.excluded[column.name] for column in table.columns if column not in keys}
            where: ColumnElement[bool] | None = None
            if table is CERTIFICATES:
                where = statement.excluded.last_ns > CERTIFICATES.c.last_ns
            statement = statement.on_conflict_do_update(index_elements=keys, set_=new, where=where)
            dialect = self.engine.dialect if self.is_postgres else sqlite.dialect(paramstyle="named")
            found = self._upserts[table.name] = str(statement.compile(dialect=dialect))
        return found

    # -- reading ---------------------------------------------------------------------------------------------------------------------

    def count(self, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None) -> int:
        """Sessions that :meth:`sessions` would give."""
        query = sql.select(sql.func.count()).select_from(SESSIONS).where(*_between(since_ns, until_ns, sensor))
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def sessions(
        self, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None
    ) -> Iterator[Session]:
        """Sessions that were alive between the two times, in order of start; one at a time, so memory holds no more than a few hundred.

        Records that cannot be read are left out and counted in ``damaged``.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        return self._load(list(_between(since_ns, until_ns, sensor)))

    def recent(
        self, limit: int, since_ns: int | None = 0, sensor: str | None = None, until_ns: int | None = None
    ) -> list[Session]:
        """The latest ``limit`` sessions alive between two times, in order of start: what rules that compare are given after a restart.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        return list(self._load(list(_between(since_ns, until_ns, sensor)), limit))[::-1]

    def _load(self, where: list[ColumnElement[bool]], latest: int | None = None) -> Iterator[Session]:
        """Sessions in order of start; with ``latest`` so many, the latest first."""
        loader = SessionLoader(_Certificates(self))
        place = sql.tuple_(*_ORDER)
        order = [column if latest is None else column.desc() for column in _ORDER]
        left = latest
        last: tuple[Any, ...] | None = None
        with self._reading(snapshot=True) as connection:
            # Page by page, all of one snapshot: no cursor has to be kept open, whatever the driver makes of that.
            while left is None or left > 0:
                size = FETCH if left is None else min(FETCH, left)
                query = sql.select(SESSIONS.c.record, *_ORDER).where(*where).order_by(*order).limit(size)
                if last is not None:
                    # The first of the two is for the index, the second for those of one moment.
                    if latest is None:
                        query = query.where(SESSIONS.c.start_ns >= last[0], place > last)
                    else:
                        query = query.where(SESSIONS.c.start_ns <= last[0], place < last)
                rows = connection.execute(query).all()
                for octets, *_ in rows:
                    try:
                        session = loader.load(bytes(octets))
                    except DamagedRecord as error:
                        self.damaged += 1
                        self.damage = self.damage or str(error)
                    else:
                        self.stripped += loader.stripped
                        loader.stripped = 0
                        yield session
                if len(rows) < size:
                    return
                last = tuple(rows[-1])[1:]
                left = None if left is None else left - size

    def certificate(self, digest: bytes) -> bytes:
        """A certificate by its SHA-256; KeyError where it is not in the store, or is not what it should be."""
        query = sql.select(CERTIFICATES.c.der).where(CERTIFICATES.c.sha256 == digest.hex())
        with self._reading() as connection:
            der = connection.execute(query).scalar()
        if der is None or hashlib.sha256(bytes(der)).digest() != digest:
            raise KeyError(digest)
        return bytes(der)

    def captures(
        self, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None
    ) -> list[CaptureStats]:
        """What the sources had counted, one for each source and start of the monitor, in order of their first packets.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        return [stats for _, stats in self.runs(since_ns, until_ns, sensor)]

    def runs(
        self, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None
    ) -> list[tuple[str, CaptureStats]]:
        """The same, each with the sensor that wrote it.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        query = sql.select(CAPTURES).order_by(CAPTURES.c.first_ns, CAPTURES.c.capture, CAPTURES.c.sensor)
        if sensor is not None:
            query = query.where(CAPTURES.c.sensor == sensor)
        if since_ns is not None:
            query = query.where(sql.or_(CAPTURES.c.last_ns >= since_ns, CAPTURES.c.packets == 0))
        if until_ns is not None:
            query = query.where(CAPTURES.c.first_ns <= until_ns)
        with self._reading() as connection:
            return [(row["sensor"], _stats(row)) for row in connection.execute(query).mappings()]

    def findings(
        self,
        since_ns: int | None = None,
        until_ns: int | None = None,
        sensor: str | None = None,
        *,
        final: bool = False,
    ) -> list[Values]:
        """Findings as they were stored while the traffic passed, in order of time; with ``final`` provisional ones are left out.

        Dictionaries by column, ``time`` in nanoseconds, ``references`` a list.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        query = sql.select(FINDINGS).order_by(FINDINGS.c.time_ns, FINDINGS.c.rule, FINDINGS.c.finding_id)
        query = query.where(*_of_findings(since_ns, until_ns, sensor))
        if final:
            query = query.where(FINDINGS.c.final == sql.true())
        found: list[Values] = []
        with self._reading() as connection:
            for row in connection.execute(query).mappings():
                values = dict(row)
                values["time"] = values.pop("time_ns")
                values["references"] = json.loads(values["references"])
                found.append(values)
        return found

    def finding_ids(
        self, since_ns: int | None = None, sensor: str | None = None, limit: int = MAX_FINDING_IDS
    ) -> dict[str, None]:
        """Identifiers of the latest findings in the store, in order of time: of a list that keeps the latest, the right ones stay.

        A dictionary, so that it can be asked whether it has one; its values say nothing.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        query = sql.select(FINDINGS.c.finding_id).where(*_of_findings(since_ns, None, sensor))
        query = query.order_by(FINDINGS.c.time_ns.desc(), FINDINGS.c.finding_id).limit(limit)
        with self._reading() as connection:
            return dict.fromkeys(reversed(connection.execute(query).scalars().all()))

    def sensors(self) -> list[str]:
        """The sensors that have written, sorted.

        Raises:
            CaptureUnreadable: the database cannot be read.
        """
        with self._reading() as connection:
            found = set(connection.execute(sql.select(SESSIONS.c.sensor).distinct()).scalars())
            found |= set(connection.execute(sql.select(CAPTURES.c.sensor).distinct()).scalars())
        return sorted(found)

    def open_sessions(self, since_ns: int | None = None, until_ns: int | None = None, sensor: str | None = None) -> int:
        """Sessions whose final record was never written: open still, or cut off by the end of their monitor."""
        query = (
            sql.select(sql.func.count())
            .select_from(SESSIONS)
            .where(SESSIONS.c.final == sql.false(), *_between(since_ns, until_ns, sensor))
        )
        with self._reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def meta(self, key: str) -> str | None:
        """A fact of the store: ``schema_version``, ``mailtap``."""
        with self._reading() as connection:
            return connection.execute(sql.select(META.c.value).where(META.c.key == key)).scalar()

    def _reading(self, *, snapshot: bool = False) -> _Reading:
        return _Reading(self, snapshot=snapshot)


class _Reading:
    """A connection to read with. What the database says against it becomes a CaptureUnreadable."""

    def __init__(self, store: Store, *, snapshot: bool = False) -> None:
        self._store = store
        self._snapshot = snapshot
        self._connection: Connection | None = None

    def __enter__(self) -> Connection:
        try:
            self._connection = self._store.engine.connect()
            if self._snapshot and self._store.is_postgres:
                # SQLite's transactions are snapshots anyway.
                self._connection.execution_options(isolation_level="REPEATABLE READ")
        except (exc.SQLAlchemyError, sqlite3.Error) as error:
            raise self._unreadable(error) from None
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._connection is not None:
            self._connection.close()
        if isinstance(error, (exc.SQLAlchemyError, sqlite3.Error)):
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> CaptureUnreadable:
        return CaptureUnreadable(f"{self._store.name}: the store cannot be read ({said_by(error)})")


class _Writing:
    """A transaction that writes: committed at the end, rolled back where anything goes wrong."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: Connection | None = None

    def __enter__(self) -> Connection:
        store = self._store
        connection = store.engine.connect().execution_options(mailtap_writing=True)
        self._connection = connection
        try:
            connection.begin()
            if store.is_postgres:
                # Both for this transaction, in one exchange.
                connection.exec_driver_sql(
                    f"SELECT set_config('statement_timeout', '{STATEMENT_S}s', true), set_config('lock_timeout', '{LOCK_S}s', true)"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._connection is not None
        with self._connection as connection:
            if error is None:
                connection.commit()
            else:
                connection.rollback()


class _Certificates(Mapping[bytes, bytes]):
    """Certificates of a store, fetched when asked for, the latest kept at hand: sessions share few."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def __getitem__(self, digest: bytes) -> bytes:
        known = self._kept.get(digest)
        if known is None:
            known = self._store.certificate(digest)
            self._kept[digest] = known
            if len(self._kept) > MAX_CERTIFICATES:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(digest)
        return known

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


#: The order of sessions in reports: of their starts, within one moment of frames.
_ORDER: Final = (
    SESSIONS.c.start_ns,
    SESSIONS.c.first_frame,
    SESSIONS.c.end_ns,
    SESSIONS.c.session_id,
    SESSIONS.c.sensor,
)


def _between(since_ns: int | None, until_ns: int | None, sensor: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if since_ns is not None:
        found.append(SESSIONS.c.end_ns >= since_ns)
    if until_ns is not None:
        found.append(SESSIONS.c.start_ns <= until_ns)
    if sensor is not None:
        found.append(SESSIONS.c.sensor == sensor)
    return found


def _of_findings(since_ns: int | None, until_ns: int | None, sensor: str | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if since_ns is not None:
        found.append(FINDINGS.c.time_ns >= since_ns)
    if until_ns is not None:
        found.append(FINDINGS.c.time_ns <= until_ns)
    if sensor is not None:
        found.append(FINDINGS.c.sensor == sensor)
    return found


def _by_sensor(keys: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for sensor, identifier in keys:
        found.setdefault(sensor, []).append(identifier)
    return list(found.items())


def _chunks(identifiers: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(identifiers), CHUNK):
        yield identifiers[at : at + CHUNK]


def _stats(row: Any) -> CaptureStats:
    """A row of ``captures`` as the record it was made from; a record that makes no sense is left at what its columns say."""
    stats = CaptureStats(row["capture"])
    stats.format = row["format"] or ""
    stats.packets, stats.bytes = row["packets"] or 0, row["bytes"] or 0
    stats.first_ns, stats.last_ns = row["first_ns"] or 0, row["last_ns"] or 0
    stats.mail_packets, stats.skipped_bytes = row["mail_packets"] or 0, row["skipped_bytes"] or 0
    stats.damaged, stats.dropped, stats.sha256 = row["damaged"] or 0, row["dropped"], row["sha256"]
    try:
        record = json.loads(row["record"])
        stats.name = str(record["name"])
        stats.linktypes = [int(one) for one in record["linktypes"]]
        stats.cut, stats.undecoded = bool(record["cut"]), int(record["undecoded"])
        stats.first_ns, stats.last_ns = int(record["first_ns"]), int(record["last_ns"])
        stats.warnings = [str(one) for one in record["warnings"]]
    except (ValueError, LookupError, TypeError):
        stats.warnings = ["what the store has of this source is damaged"]
    return stats
