"""The store in a real PostgreSQL: the same content, several sensors, a server that is restarted while somebody writes."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.postgres import PASSWORD, Postgres, running
from support.stores import (
    BEGAN_NS,
    CAPTURES,
    STEP_NS,
    batch_of,
    contents,
    keep,
    made_batch,
    made_finding,
    made_session,
    prune,
    stored_as_seen,
    tables,
)
from support.waiting import CHILD_PATIENCE, PATIENCE, until

import analyzer
from analyzer.cli import run_command
from analyzer.errors import CaptureError, CaptureUnreadable, NotACapture, OutputError
from analyzer.monitor import schema, store_place, store_retention
from analyzer.monitor import store as store_module
from analyzer.monitor.batch import Batch
from analyzer.monitor.store import Store, open_store
from analyzer.monitor.store_report import load_result
from analyzer.monitor.writer import StoreWriter
from analyzer.pipeline import run

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not look like a server that is not there."""
    monkeypatch.setattr(store_place, "CONNECT_S", int(PATIENCE))
    monkeypatch.setattr(store_module, "LOCK_S", int(PATIENCE))
    monkeypatch.setattr(store_module, "STATEMENT_S", int(PATIENCE))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with running() as one:
        yield one


@pytest.fixture
def url(server: Postgres, request: pytest.FixtureRequest) -> str:
    return server.make(request.node.name[:60])


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Store]:
    opened = open_store(url, sensor="cellar", key_file=tmp_path / "store.key")
    yield opened
    opened.close()


def test_a_report_from_the_store_equals_one_from_the_captures(store: Store, url: str):
    samples = [
        "office.pcapng",
        "tls-certificates.pcap",
        "bad-wire.pcap",
        "not-mail.pcap",
        "guessing.pcap",
        "tap-loss.pcap",
    ]
    whole = keep(store, *samples)
    before = contents(store)
    store.write(batch_of(run([CAPTURES / name for name in samples]), store.key()))
    assert contents(store) == before
    reader = open_store(url, create=False)
    stored = load_result(reader)
    on, off = tables(stored, store.key()), tables(whole, store.key())
    # One store keeps the sources in order of their first packets, a run in the order in which they were named.
    on["captures"].sort(key=str)
    off["captures"].sort(key=str)
    for name in off:
        assert sorted(map(str, on[name])) == sorted(map(str, off[name])), name
    assert on["sessions"] == off["sessions"]
    assert reader.damaged == 0
    reader.close()


def test_the_command_and_the_library_take_its_address(store: Store, url: str, capsys: pytest.CaptureFixture[str]):
    keep(store, "office.pcapng")
    assert run_command(["analyze", str(CAPTURES / "office.pcapng")]) == 0
    off = capsys.readouterr().out
    assert run_command(["report", url]) == 0
    assert capsys.readouterr().out == off
    assert len(analyzer.load(url, sensor="cellar").sessions) == 265
    assert run_command(["report", url, "--sensor", "roof"]) == 2
    assert PASSWORD not in capsys.readouterr().err


def test_people_ask_with_sql(store: Store):
    session = made_session(1)
    session.server_banner = "ready\0 \udcff"
    session.capabilities = ["A\0", "\udc80"]
    store.write(Batch([(session, True)], [(made_finding(session), True)]))
    with store.engine.connect() as connection:
        row = connection.execute(sql.select(schema.SESSIONS)).mappings().one()
        assert row["server_banner"] == "ready\\x00 \\xff"
        assert json.loads(row["capabilities"]) == session.capabilities
        assert row["start"].timestamp() == session.start_ns / 1e9
        recent = connection.exec_driver_sql("SELECT count(*) FROM findings WHERE time > now() - interval '1000 years'")
        assert recent.scalar() == 1
    (found,) = store.sessions()
    assert found.server_banner == session.server_banner


def test_a_final_record_takes_the_place_of_what_was_provisional(store: Store):
    session, early = made_session(1, size=3), made_session(1, size=2)
    store.write(Batch([(early, False)], [(made_finding(early), False)]))
    store.write(Batch([(session, True)], [(made_finding(session, username="user3"), True)]))
    store.write(Batch([(early, False)]))
    assert [(one["username"], one["final"]) for one in store.findings()] == [("user3", True)]
    assert [len(one.credentials or ()) for one in store.sessions()] == [3]


def test_no_secret_is_in_its_files(store: Store, server: Postgres):
    result = run([CAPTURES / "office.pcapng"])
    words = {
        hidden.reveal() or ""
        for session in result.sessions
        for one in session.credentials or ()
        for hidden in (one.secret, one.response)
        if hidden is not None
    }
    store.write(batch_of(result, store.key()))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")
        records = [
            zlib.decompress(bytes(one)[1:])
            for one in connection.execute(sql.select(schema.SESSIONS.c.record)).scalars()
        ]
    found = b"".join(records) + b"".join(one.read_bytes() for one in server.data.rglob("*") if one.is_file())
    looked_for = [word.encode() for word in words if len(word) > 7 and word != "password"]
    assert len(looked_for) > 10
    assert not [word for word in looked_for if word in found]
    assert store.key() not in found
    assert store.key().hex().encode() not in found


def test_two_sensors_write_side_by_side(url: str, tmp_path: Path):
    """Overlapping in time, with the same sessions and certificates, and both prune: neither waits for the other for ever."""
    stores = [open_store(url, sensor=name, key_file=tmp_path / "store.key") for name in ("attic", "cellar")]
    certificates = run([CAPTURES / "tls-certificates.pcap"])
    writers = [StoreWriter(one, keep_ns=time.time_ns()) for one in stores]

    def write(one: StoreWriter) -> None:
        one.submit(batch_of(certificates, one.store.key()))
        for number in range(0, 600, 10):
            one.submit(made_batch(number, 10))
            if number % 100 == 0:
                prune(one.store, older_than_ns=BEGAN_NS)

    threads = [threading.Thread(target=write, args=(one,)) for one in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.close(CHILD_PATIENCE) for one in writers] == [True, True]
    assert [one.lost for one in writers] == [0, 0]
    for one in stores:
        assert one.count(until_ns=BEGAN_NS + 600 * STEP_NS, sensor=one.sensor) == 600
        assert len(one.findings(until_ns=BEGAN_NS + 600 * STEP_NS, sensor=one.sensor)) == 600
        one.close()


def test_several_may_make_the_store_at_once(url: str, tmp_path: Path):
    opened: list[Store] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_store(url, key_file=tmp_path / "store.key")))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    assert len({one.key() for one in opened}) == 1
    for one in opened:
        one.close()


@pytest.mark.parametrize("limit", ["LOCK_S", "STATEMENT_S"])
def test_a_table_that_somebody_locks_is_said_and_waited_for(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch, limit: str
):
    monkeypatch.setattr(store_module, limit, 1)
    writer = StoreWriter(store)
    other = Store(store_place.postgres_engine(store_place.Location(url)), store_place.Location(url))
    with other.engine.connect() as holder:
        holder.exec_driver_sql("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        writer.submit(made_batch(0, 5))
        until(lambda: writer.trouble)
        assert ("lock timeout" if limit == "LOCK_S" else "statement timeout") in writer.trouble
        assert ("another program holds it" in writer.trouble) == (limit == "LOCK_S")
        assert "rows wait in memory" in writer.trouble
        holder.rollback()
    assert writer.close(PATIENCE)
    assert (store.count(), writer.lost) == (5, 0)
    other.close()


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_in_the_middle_of_writing_loses_nothing(store: Store, server: Postgres, how: str):
    writer = StoreWriter(store)
    troubles: set[str] = set()
    for number in range(0, 1500, 5):
        writer.submit(made_batch(number, 5))
        if number == 500:
            server.stop(how)
        if number == 900:
            until(lambda: writer.trouble)
            troubles.add(writer.trouble)
            assert writer.waiting > 0
            server.start()
        time.sleep(0.003)
    assert writer.flush(CHILD_PATIENCE), writer.trouble
    assert (store.count(), writer.lost, writer.waiting, writer.written) == (1500, 0, 0, 3000)
    assert len(store.finding_ids()) == 1500
    (said,) = troubles
    assert "cannot be written" in said
    assert PASSWORD not in said
    assert writer.close(PATIENCE)


def test_a_server_that_is_not_there_at_the_start_is_waited_for(url: str, server: Postgres, tmp_path: Path):
    server.stop()
    try:
        store = open_store(url, sensor="cellar", key_file=tmp_path / "store.key", patient=True)
        assert not store.prepared
        assert PASSWORD not in store.absent
        with pytest.raises(CaptureUnreadable, match="cannot be read"):
            store.finding_ids()
        writer = StoreWriter(store, keep_ns=STEP_NS)
        until(lambda: writer.trouble)
        assert "cannot be opened" in writer.trouble
        writer.submit(made_batch(0, 5))
        assert not writer.flush(0.5)
    finally:
        server.start()
    assert writer.flush(CHILD_PATIENCE), writer.trouble
    assert (store.count(), writer.lost) == (5, 0)
    assert writer.close(PATIENCE)
    store.close()
    # Who is not let in is told at once.
    with pytest.raises(OutputError, match="authentication failed"):
        open_store(url.replace(PASSWORD, "another-word"), patient=True)
    with pytest.raises(OutputError, match="does not exist"):
        open_store(server.url("nowhere"), patient=True)


def test_a_connection_cut_under_a_reader_is_said(store: Store, server: Postgres):
    store.write(made_batch(0, 2000))
    sessions = store.sessions()
    next(sessions)
    server.stop()
    try:
        with pytest.raises(CaptureUnreadable, match="cannot be read"):
            list(sessions)
        with pytest.raises(CaptureUnreadable) as caught:
            open_store(store.engine.url.render_as_string(hide_password=False), create=False)
        assert PASSWORD not in str(caught.value)
        with pytest.raises(OutputError) as refused:
            open_store(store.engine.url.render_as_string(hide_password=False))
        assert PASSWORD not in str(refused.value)
    finally:
        server.start()
    assert len(list(store.sessions())) == 2000


def test_retention_by_age_and_by_size(store: Store):
    store.write(made_batch(0, 1000))
    stored_as_seen(store)
    assert prune(store, older_than_ns=BEGAN_NS + 400 * STEP_NS) == 400
    assert store.count() == len(store.findings()) == 600
    size = store_retention.size(store)
    with store.engine.connect() as connection:
        real = connection.exec_driver_sql("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname IN ('sessions', 'credentials', 'tls', 'messages', 'findings')").scalar()  # fmt: skip
    # The store's own count is of the order of what PostgreSQL takes (here with the 400 that are gone, for nobody has rewritten it).
    assert 0.4 < size / (float(real) * 0.6) < 2
    removed = prune(store, max_bytes=size // 2)
    assert 250 < removed < 400
    assert store_retention.size(store) <= size // 2
    assert next(store.sessions()).first_frame == (400 + removed) * 10 + 1


def test_one_prunes_at_a_time_and_the_others_leave_it_to_that_one(store: Store, url: str, tmp_path: Path):
    store.write(made_batch(0, 300))
    other = open_store(url, sensor="attic", key_file=tmp_path / "store.key")
    going_on = store_retention.Retention(other, hold_s=0.0).round(None, 10_000)
    next(going_on)
    # It comes back, with nothing done, though the store is too large.
    assert prune(store, max_bytes=10_000) == 0
    going_on.close()
    assert prune(store, max_bytes=10_000) > 250
    assert store_retention.size(store) <= 10_000
    other.close()


def test_a_store_of_the_first_layout_is_brought_up_to_date(store: Store, url: str):
    store.write(made_batch(0, 3))
    store.write(batch_of(run([CAPTURES / "tls-certificates.pcap"]), store.key()))
    before = contents(store)
    with store.transaction() as connection:
        for index in ("sessions_stored", "findings_stored", "certificates_last"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for table in ("sessions", "findings", "captures"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN stored, DROP COLUMN stored_ns")
        connection.exec_driver_sql("ALTER TABLE certificates DROP COLUMN octets")
        connection.execute(schema.META.update().where(schema.META.c.key == "schema_version").values(value="1"))
    store.reconnect()
    opened = open_store(url)
    with opened.engine.connect() as connection:
        ages = connection.execute(
            sql.select(
                schema.SESSIONS.c.stored_ns - schema.SESSIONS.c.end_ns,
                schema.SESSIONS.c.stored == schema.SESSIONS.c.end,
            )
        )
        assert set(map(tuple, ages)) == {(0, True)}
        indexes = {one["name"] for one in sql.inspect(connection).get_indexes("sessions")}
    assert "sessions_stored" in indexes
    opened.close()
    after = contents(store)
    assert {**after, "certificates": []} == {**before, "certificates": []}
    assert min(row[2] for row in after["certificates"]) > 100


def test_layouts_of_other_versions(store: Store, url: str, monkeypatch: pytest.MonkeyPatch):
    store.write(made_batch(0, 2))
    later = schema.SCHEMA_VERSION + 1
    monkeypatch.setattr(schema, "SCHEMA_VERSION", later)
    monkeypatch.setattr(
        schema, "UPGRADES", {later - 1: lambda one: one.exec_driver_sql("ALTER TABLE sessions ADD COLUMN mood TEXT")}
    )
    with pytest.raises(CaptureUnreadable, match="earlier mailtap"):
        open_store(url, create=False)
    opened = open_store(url)
    assert opened.meta("schema_version") == str(later)
    assert opened.count() == 2
    opened.close()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", later - 1)
    with pytest.raises(CaptureError, match="Update mailtap"):
        open_store(url)


def test_a_database_without_a_store(url: str, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(NotACapture, match="empty database"):
        open_store(url, create=False)
    monkeypatch.setenv("XDG_STATE_HOME", os.devnull)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    opened = open_store(url)
    with pytest.raises(OutputError, match="key of the fingerprints"):
        opened.key()
    opened.close()
