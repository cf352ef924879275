"""The tables of the store, and their versions.

The tables and columns are those of every report (``analyzer.report.columns``), for people who ask with SQL; ``servers`` and
``migration`` are made from the others when a report is. Beside them stand

- ``sensor`` in every table, and ``final``: false for a connection that was still open when its row was written;
- ``sessions.record``: the whole record, from which ``mailtap report`` makes every table, chart and format anew (see ``pickles``);
  ``captures.record`` the same, as JSON; ``certificates``: each certificate once, by its SHA-256;
- ``n``: the place of a credential or message within its session;
- ``stored``: when a row was written, by this machine's clock, which retention goes by: captures may be of any time.

A moment is stored twice. The column of the report's name is for reading: on SQLite text as in JSON (RFC 3339, UTC, which sorts in order
of time, and which SQLite's date functions read), on PostgreSQL ``timestamptz``. The one with ``_ns`` behind its name is exact, and
indexed: nanoseconds since the epoch. Lists are JSON text. Text from the traffic has its control characters escaped (``\\x1b``), as
wherever it is shown: databases refuse some of them, and a terminal that shows a row should see none.

There are no foreign keys: rows are written in the order in which they come, and a finding may be about a session that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    case,
    func,
    inspect,
    null,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP

from analyzer.errors import CaptureError, NotACapture
from analyzer.report.columns import TABLES

#: Version of the layout. Whoever changes it adds the way from the version before to ``UPGRADES``.
SCHEMA_VERSION: Final = 2
#: Moments of the traffic have a column of nanoseconds too; the validity of certificates is in whole seconds, up to the year 9999.
MOMENTS: Final = ("start", "end", "time", "first", "last")
#: Number of the lock under which one process at a time looks after a PostgreSQL store's layout, and of the one for pruning.
LAYOUT_LOCK: Final = 0x6D61696C
PRUNE_LOCK: Final = 0x6D61696D

METADATA: Final = MetaData()
META: Final = Table(
    "meta", METADATA, Column("key", Text, primary_key=True), Column("value", Text, nullable=False)
)  # fmt: skip

_TIME: Final = Text().with_variant(TIMESTAMP(timezone=True), "postgresql")
_TYPES: Final[dict[str, Any]] = {
    "text": Text, "word": Text, "list": Text, "count": BigInteger, "flag": Boolean, "time": _TIME,
}  # fmt: skip


def _stored() -> list[Column[Any]]:
    """When a row was written last: to read, and exact."""
    return [Column("stored", _TIME), Column("stored_ns", BigInteger, nullable=False, server_default="0")]


def _columns(name: str, keys: tuple[str, ...]) -> list[Column[Any]]:
    found: list[Column[Any]] = []
    for column in TABLES[name]:
        key = column.name in keys
        found.append(Column(column.name, _TYPES[column.kind], primary_key=key, nullable=not key))
        if column.kind == "time" and column.name in MOMENTS:
            ns = f"{column.name}_ns"
            found.append(Column(ns, BigInteger, primary_key=ns in keys, nullable=ns not in keys, autoincrement=False))
    return found


SESSIONS: Final = Table(
    "sessions", METADATA, *_columns("sessions", ("sensor", "session_id")),
    Column("final", Boolean, nullable=False), *_stored(),
    #: octets that the session takes here with its credentials, messages and handshake, more or less: for retention by size
    Column("octets", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Index("sessions_start", "start_ns"), Index("sessions_end", "end_ns"),
    Index("sessions_client", "client_ip"), Index("sessions_server", "server_ip", "server_port"),
    #: what retention asks for: the oldest, and how much there is, without a look at the rows themselves
    Index("sessions_stored", "stored_ns", "end_ns", "octets"),
)  # fmt: skip
CREDENTIALS: Final = Table(
    "credentials", METADATA, Column("sensor", Text, primary_key=True), *_columns("credentials", ("session_id",)),
    Column("n", Integer, primary_key=True, autoincrement=False), Column("final", Boolean, nullable=False),
    Index("credentials_time", "time_ns"), Index("credentials_client", "client_ip"),
    Index("credentials_server", "server_ip", "server_port"),
)  # fmt: skip
TLS: Final = Table(
    "tls", METADATA, Column("sensor", Text, primary_key=True), *_columns("tls", ("session_id",)),
    Column("final", Boolean, nullable=False), Index("tls_time", "time_ns"),
)  # fmt: skip
MESSAGES: Final = Table(
    "messages", METADATA, Column("sensor", Text, primary_key=True), *_columns("messages", ("session_id",)),
    Column("n", Integer, primary_key=True, autoincrement=False), Column("final", Boolean, nullable=False),
    Index("messages_time", "time_ns"),
)  # fmt: skip
FINDINGS: Final = Table(
    "findings", METADATA, Column("sensor", Text, primary_key=True), *_columns("findings", ("finding_id",)),
    Column("final", Boolean, nullable=False), *_stored(),
    # With the sensor, or SQLite looks through all that a sensor has found for those of one session.
    Index("findings_session", "session_id", "sensor"), Index("findings_time", "time_ns"), Index("findings_stored", "stored_ns"),
    Index("findings_client", "client_ip"), Index("findings_server", "server_ip", "server_port"),
)  # fmt: skip
CAPTURES: Final = Table(
    "captures", METADATA, Column("sensor", Text, primary_key=True), *_columns("captures", ("capture", "first_ns")),
    Column("final", Boolean, nullable=False), *_stored(), Column("record", Text, nullable=False),
    Index("captures_last", "last_ns"),
)  # fmt: skip
CERTIFICATES: Final = Table(
    "certificates", METADATA, Column("sha256", Text, primary_key=True),
    #: when a session that has it was stored last, more or less (``store.CERTIFICATE_NS``)
    Column("last_ns", BigInteger, nullable=False), Column("octets", BigInteger, nullable=False, server_default="0"),
    Column("der", LargeBinary, nullable=False), Index("certificates_last", "last_ns", "octets"),
)  # fmt: skip

#: What belongs to a session, and goes with it.
OF_SESSIONS: Final = (CREDENTIALS, TLS, MESSAGES)


def _add_times_of_storing(connection: Connection) -> None:
    """Layout 2: retention goes by the time of storing. Of what is there already it is taken to be that of the traffic, if that is past."""
    moment = "TIMESTAMP WITH TIME ZONE" if connection.dialect.name == "postgresql" else "TEXT"
    now_ns = time.time_ns()
    for name in ("sessions", "findings", "captures"):
        connection.execute(text(f"ALTER TABLE {name} ADD COLUMN stored {moment}"))
        connection.execute(text(f"ALTER TABLE {name} ADD COLUMN stored_ns BIGINT NOT NULL DEFAULT 0"))
    for table, seen, seen_ns in (
        (SESSIONS, SESSIONS.c.end, SESSIONS.c.end_ns),
        (FINDINGS, FINDINGS.c.time, FINDINGS.c.time_ns),
        (CAPTURES, CAPTURES.c.last, CAPTURES.c.last_ns),
    ):
        past = func.coalesce(seen_ns, 0).between(1, now_ns)
        connection.execute(
            update(table).values(stored_ns=case((past, seen_ns), else_=now_ns), stored=case((past, seen), else_=null()))
        )
    connection.execute(text("ALTER TABLE certificates ADD COLUMN octets BIGINT NOT NULL DEFAULT 0"))
    # It was the end of a session, brought up to date once an hour.
    later = CERTIFICATES.c.last_ns + 3_600_000_000_000
    connection.execute(
        update(CERTIFICATES).values(
            octets=func.length(CERTIFICATES.c.der), last_ns=case((later < now_ns, later), else_=now_ns)
        )
    )
    connection.execute(text("DROP INDEX findings_session"))
    for table in (SESSIONS, FINDINGS, CERTIFICATES):
        for index in table.indexes:
            if index.name in ("sessions_stored", "findings_stored", "findings_session", "certificates_last"):
                index.create(connection)


#: Version -> what makes the next one of it, within one transaction.
UPGRADES: Final[dict[int, Callable[[Connection], None]]] = {1: _add_times_of_storing}


def layout_of(connection: Connection, where: str) -> int:
    """Version of the layout in a database, 0 where it is empty.

    Raises:
        NotACapture: the database is not a store of mailtap.
    """
    names = inspect(connection).get_table_names()
    if "meta" not in names:
        if names and connection.dialect.name == "sqlite":
            raise NotACapture(f"{where}: a database of another program ({names[0]}, ...); name another file")
        return 0
    version = _meta(connection, "schema_version")
    if version is None or not version.isdecimal():
        raise NotACapture(f"{where}: not a store of mailtap (its table meta is of another program)")
    return int(version)


def check_layout(connection: Connection, where: str) -> bool:
    """Whether a database has the layout of this version; False where it is empty or of an earlier version.

    Raises:
        CaptureError: it is of a later version, or not a store of mailtap.
    """
    version = layout_of(connection, where)
    if version > SCHEMA_VERSION:
        writer = _meta(connection, "mailtap") or "a later version"
        raise CaptureError(
            f"{where}: written by mailtap {writer} with layout {version}; this mailtap knows layouts up to {SCHEMA_VERSION}. "
            "Update mailtap, or name another store"
        )
    return version == SCHEMA_VERSION


def prepare(connection: Connection, where: str, program: str) -> None:
    """Make the tables, or bring an earlier layout up to date; within the connection's transaction, so all or nothing.

    Raises:
        CaptureError: the database is of a later version, or not a store of mailtap.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LAYOUT_LOCK})
    if check_layout(connection, where):
        return
    version = layout_of(connection, where)
    if version == 0:
        METADATA.create_all(connection)
        connection.execute(
            META.insert(), [{"key": "schema_version", "value": str(SCHEMA_VERSION)}, {"key": "mailtap", "value": program}]
        )  # fmt: skip
        return
    if connection.dialect.name == "postgresql":
        # Every row is written anew; that takes as long as it takes, once.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
    while version < SCHEMA_VERSION:
        UPGRADES[version](connection)
        version += 1
    for key, value in (("schema_version", str(version)), ("mailtap", program)):
        connection.execute(update(META).where(META.c.key == key).values(value=value))


def _meta(connection: Connection, key: str) -> str | None:
    value = connection.execute(select(META.c.value).where(META.c.key == key)).scalar()
    return None if value is None else str(value)
