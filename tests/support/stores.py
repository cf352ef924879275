"""Stores for tests: samples and made-up sessions brought into one, as the monitor does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from analyzer.findings.base import Finding
from analyzer.findings.catalogue import BY_SLUG
from analyzer.findings.engine import find
from analyzer.model import Secret
from analyzer.monitor.batch import Batch
from analyzer.monitor.sealing import BoundedJudge, seal_session
from analyzer.monitor.store import Store
from analyzer.monitor.store_retention import Retention
from analyzer.pipeline import Result, run
from analyzer.report.columns import TABLES
from analyzer.report.rows import Row, RowList, RowMaker, push_rows
from analyzer.sessions.records import Credential, Session, TlsHandshake

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = sorted(path.name for path in CAPTURES.iterdir() if ".pcap" in path.name)
#: Time of the first made-up session, and between two of them.
BEGAN_NS = 1_780_000_000_000_000_000
STEP_NS = 1_000_000_000
KEY = b"a key that only tests have......"


def tables(result: Result, key: bytes) -> dict[str, list[Row]]:
    """All tables of a result."""
    maker = RowMaker(key=key)
    found: dict[str, list[Row]] = {}
    for name in TABLES:
        sink = RowList()
        push_rows(name, result.sessions, result.captures, maker, sink)
        found[name] = sink.rows
    return found


def batch_of(result: Result, key: bytes, *, final: bool = True) -> Batch:
    """A result as the monitor hands it on: sealed copies."""
    judge = BoundedJudge()
    for session in result.sessions:
        seal_session(session, key, judge)
    sessions = pickle.loads(pickle.dumps(result.sessions))
    findings = find(sessions, result.captures)
    return Batch([(one, final) for one in sessions], [(one, final) for one in findings], result.captures)


def prune(store: Store, older_than_ns: int | None = None, max_bytes: int | None = None) -> int:
    """Retention all at once, while others wait; the writer does it in slices. The number of sessions removed."""
    retention = Retention(store, hold_s=0.0)
    for _ in retention.round(older_than_ns, max_bytes):
        pass
    return retention.removed


def keep(store: Store, *samples: str) -> Result:
    """Analyse samples, and bring what was found into a store; the result as it was before."""
    result = run([CAPTURES / name for name in samples])
    whole = run([CAPTURES / name for name in samples])
    store.write(batch_of(result, store.key()))
    return whole


def made_session(number: int, *, size: int = 1, password: str = "correct horse") -> Session:
    """A made-up session with ``size`` logins, sealed and copied."""
    session = Session()
    session.capture = "eth0"
    session.client_ip, session.client_port = f"10.0.{number >> 8 & 255}.{number & 255}", 40000 + number % 20000
    session.server_ip, session.server_port = "192.0.2.1", 110
    session.protocol, session.port_service, session.transport = "pop3", "pop3", "plaintext"
    session.start_ns = BEGAN_NS + number * STEP_NS
    session.end_ns = session.start_ns + STEP_NS // 2
    session.first_frame, session.last_frame = number * 10 + 1, number * 10 + 9
    session.auth_attempts = size
    session.credentials = [
        Credential(
            n, session.first_frame, session.start_ns, n, "USER/PASS", f"user{number % 50}", None, Secret(f"{password} {n}"), "password", None, None
        )
        for n in range(size)
    ]  # fmt: skip
    seal_session(session, KEY, BoundedJudge(burst=0))
    copy: Session = pickle.loads(pickle.dumps(session))
    return copy


def made_finding(session: Session, slug: str = "plaintext-password", username: str = "user1") -> Finding:
    """A finding about a session."""
    return Finding(
        BY_SLUG[slug], 4, "high", session, session.first_frame, session.start_ns, 0, username, f"about {username}", 1
    )


def made_batch(first: int, count: int, *, final: bool = True) -> Batch:
    """``count`` made-up sessions, with a finding each."""
    sessions = [made_session(number) for number in range(first, first + count)]
    return Batch([(one, final) for one in sessions], [(made_finding(one), final) for one in sessions])


def stored_as_seen(store: Store) -> None:
    """Let everything have been stored when it was seen."""
    from analyzer.monitor.schema import CAPTURES, FINDINGS, SESSIONS

    with store.transaction() as connection:
        connection.execute(SESSIONS.update().values(stored_ns=SESSIONS.c.end_ns))
        connection.execute(FINDINGS.update().values(stored_ns=FINDINGS.c.time_ns))
        connection.execute(CAPTURES.update().values(stored_ns=CAPTURES.c.last_ns))


def made_handshake(number: int, certificate: bytes) -> Session:
    """A made-up session whose server showed a certificate."""
    session = made_session(number, size=0)
    session.transport = "implicit-tls"
    session.tls = TlsHandshake("implicit", session.first_frame, session.start_ns)
    session.tls.certificates = [certificate]
    return session


def full(store: Store, pages: int) -> None:
    """Let the database refuse to grow, as on a full disk; 0 lifts that."""
    limit = pages or 1 << 30

    def set_limit(connection: Any, record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={limit}")

    sql.event.listen(store.engine, "connect", set_limit)
    store.engine.dispose()


def contents(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the database but the times of storing, table by table, sorted."""
    from analyzer.monitor.schema import METADATA

    found: dict[str, list[tuple[Any, ...]]] = {}
    with store.engine.connect() as connection:
        for table in METADATA.sorted_tables:
            columns = [one for one in table.columns if not one.name.startswith("stored")]
            rows = connection.execute(sql.select(*columns)).all()
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found
