"""The thread that writes: it never blocks, loses nothing it can keep, and says what is wrong. Retention; readers at work."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from support.stores import (
    BEGAN_NS,
    STEP_NS,
    contents,
    full,
    made_batch,
    made_finding,
    made_handshake,
    made_session,
    prune,
    stored_as_seen,
)
from support.waiting import CHILD_PATIENCE, PATIENCE, until

from analyzer.capture.base import CaptureStats
from analyzer.monitor import pickles, schema, store_place, store_retention, store_rows, writer
from analyzer.monitor.batch import Batch
from analyzer.monitor.store import CERTIFICATE_NS, Store, open_store
from analyzer.monitor.store_report import load_result
from analyzer.monitor.writer import StoreWriter
from analyzer.sessions.records import Session

pytestmark = pytest.mark.usefixtures("patient")

#: Sessions in a batch of the writing child.
WHOLE = 7


@pytest.fixture
def thread(store: Store) -> Iterator[StoreWriter]:
    started = StoreWriter(store)
    yield started
    started.close(PATIENCE)


def test_what_is_submitted_is_written_without_waiting_for_it(store: Store, thread: StoreWriter):
    for number in range(0, 300, 10):
        thread.submit(made_batch(number, 10))
    assert thread.flush(PATIENCE)
    assert (thread.written, thread.waiting, thread.lost, thread.trouble) == (600, 0, 0, "")
    assert store.count() == 300
    # Nobody asks for it, and it is there all the same.
    thread.submit(made_batch(300, 1))
    until(lambda: store.count() == 301)
    assert thread.close(PATIENCE)
    thread.submit(made_batch(301, 1))
    assert (thread.lost, store.count()) == (2, 301)


def test_many_batches_in_one_transaction_are_as_one_after_the_other(store: Store, tmp_path: Path):
    session, early = made_session(1, size=3), made_session(1, size=1)
    batches = [
        Batch([(early, False)], [(made_finding(early), False), (made_finding(early, "weak-password"), True)]),
        Batch([(session, True)], [(made_finding(session, username="user3"), True)]),
        Batch([(early, False)], [(made_finding(early, "brute-force"), True)]),
        made_batch(2, 3, final=False),
        made_batch(2, 2),
    ]
    other = open_store(str(tmp_path / "other.db"), sensor="cellar", key_file=store.key_path)
    for batch in batches:
        other.write(batch)
    thread = StoreWriter(store)
    with store.transaction():
        for batch in batches:
            thread.submit(batch)
        time.sleep(0.1)
    assert thread.close(PATIENCE)
    assert contents(store) == contents(other)
    assert sorted(one["rule"] for one in store.findings()) == [
        "brute-force",
        *["plaintext-password"] * 4,
        "weak-password",
    ]
    other.close()


def test_a_full_disk_costs_nothing_that_can_wait(store: Store, thread: StoreWriter):
    thread.submit(made_batch(0, 5))
    assert thread.flush(PATIENCE)
    full(store, 60)
    for number in range(5, 405, 5):
        thread.submit(made_batch(number, 5))
    until(lambda: thread.trouble)
    assert "disk is full" in thread.trouble
    assert "free some space" in thread.trouble
    assert "rows wait" in thread.trouble
    # The same words as long as it lasts: they are told once.
    assert not [one for one in thread.trouble.replace(store.name, "") if one.isdecimal()]
    assert not thread.flush(0.3)
    assert thread.waiting > 0
    # What was committed can be read meanwhile, and is whole.
    reader = open_store(store.name, create=False)
    assert reader.count() % 5 == 0
    reader.close()
    full(store, 0)
    assert thread.flush(PATIENCE)
    until(lambda: thread.trouble == "")
    assert (store.count(), thread.lost, thread.waiting) == (405, 0, 0)


def test_a_full_disk_keeps_neither_rows_nor_retention_in_trouble_for_longer_than_it_is_full(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "PRUNE_S", 10 * PATIENCE)
    monkeypatch.setattr(writer, "PRUNE_AGAIN_S", 10 * PATIENCE)
    refusing = threading.Event()
    refusing.set()
    begun = store_retention.Retention.round

    def round_of(self: store_retention.Retention, *limits: int | None) -> Iterator[None]:
        if refusing.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        yield from begun(self, *limits)

    monkeypatch.setattr(store_retention.Retention, "round", round_of)
    thread = StoreWriter(store, keep_ns=1 << 62)
    full(store, 60)
    for number in range(0, 400, 5):
        thread.submit(made_batch(number, 5))
    # Each is told apart: the one that matters does not go under in the other.
    until(lambda: thread.rows_trouble and thread.retention_trouble)
    assert "rows wait" in thread.rows_trouble
    assert thread.retention_trouble.startswith("what is too old")
    assert thread.trouble == f"{thread.rows_trouble}; {thread.retention_trouble}"
    refusing.clear()
    full(store, 0)
    assert thread.flush(PATIENCE)
    until(lambda: thread.trouble == "")
    assert thread.close(PATIENCE)


def test_beyond_the_bound_the_oldest_goes_and_is_counted(
    store: Store, thread: StoreWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(writer, "MAX_WAITING", 100)
    full(store, 1)
    for number in range(0, 400, 10):
        thread.submit(made_batch(number, 10))
    until(lambda: thread.trouble)
    until(lambda: thread.waiting <= 100)
    assert thread.written + thread.lost + thread.waiting == 800
    assert thread.lost >= 600
    full(store, 0)
    until(lambda: thread.waiting == 0)
    assert thread.written + thread.lost == 800
    assert [one.first_frame for one in store.sessions()][-1] == 3991


def test_octets_that_wait_are_bounded_too(store: Store, thread: StoreWriter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "MAX_OCTETS", 400_000)
    full(store, 1)
    for number in range(0, 400, 10):
        thread.submit(made_batch(number, 10))
    until(lambda: thread.lost > 0)
    until(lambda: 0 < thread.waiting < 400)
    full(store, 0)
    until(lambda: thread.waiting == 0)
    assert thread.written + thread.lost == 800


def test_a_store_somebody_else_holds_is_waited_for(store: Store, thread: StoreWriter, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_place, "BUSY_S", 0.1)
    store.reconnect()
    other = sqlite3.connect(store.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    thread.submit(made_batch(0, 3))
    until(lambda: "locked" in thread.trouble)
    other.execute("ROLLBACK")
    other.close()
    assert thread.flush(PATIENCE)
    assert store.count() == 3


def test_a_record_no_database_takes_does_not_keep_the_others_waiting(store: Store, thread: StoreWriter):
    bad = made_batch(50, 1)
    bad.sessions[0][0].message_bytes = 1 << 62
    bad.sessions[0][0].packets = 1 << 62
    rows = store.render(bad)
    next(iter(rows.sessions.values())).session["packets"] = 1 << 70
    store.render = lambda batch: rows if batch is bad else Store.render(store, batch)  # type: ignore[method-assign]
    with store.transaction():
        thread.submit(made_batch(0, 3))
        thread.submit(bad)
        thread.submit(made_batch(3, 3))
        time.sleep(0.1)
    until(lambda: thread.waiting == 0)
    # What the database would not take was a number: the session's own row is there, with the largest it takes, and so is the finding.
    assert (store.count(), thread.lost, thread.written) == (7, 0, 14)
    assert "refused it" in thread.faults[0]
    assert "only its own row is stored" in thread.faults[0]
    until(lambda: thread.trouble == "")
    bad = Batch([], bad.findings)
    rows = Store.render(store, bad)
    next(iter(rows.findings.values()))["frame"] = 1 << 70
    thread.submit(bad)
    until(lambda: thread.waiting == 0)
    assert (thread.lost, thread.written) == (1, 14)
    assert "it is left out" in thread.faults[-1]


def test_a_record_that_cannot_be_rendered_is_left_out_and_said(
    store: Store, thread: StoreWriter, monkeypatch: pytest.MonkeyPatch
):
    real = store_rows.dump_session

    def fail(session: Session) -> tuple[bytes, dict[bytes, bytes]]:
        if session.first_frame == 11:
            raise RuntimeError
        return real(session)

    monkeypatch.setattr(store_rows, "dump_session", fail)
    thread.submit(made_batch(0, 3))
    until(lambda: thread.waiting == 0)
    assert (store.count(), thread.lost, thread.written) == (2, 1, 5)
    assert "a fault of mailtap" in thread.faults[0]


def test_a_session_that_is_too_large_is_kept_in_short_and_said(
    store: Store, thread: StoreWriter, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pickles, "MAX_STORED", 8000)
    large, immense = made_session(1, size=1000), made_session(2)
    immense.server_banner = os.urandom(40_000).hex()
    thread.submit(Batch([(made_session(0), True), (large, True), (immense, True)]))
    until(lambda: thread.waiting == 0)
    assert (store.count(), thread.lost, thread.written) == (3, 0, 3)
    assert len(thread.faults) == 2
    assert "its own row and its first logins" in thread.faults[0]
    found = load_result(store)
    assert [len(one.credentials or ()) for one in found.sessions] == [1, 100]
    assert [one.auth_attempts for one in found.sessions] == [1, 1000]
    assert any("too large to be kept" in one for one in found.warnings)
    with store.engine.connect() as connection:
        query = sql.select(schema.SESSIONS.c.server_port).where(schema.SESSIONS.c.first_frame == 21)
        assert connection.execute(query).scalar() == 110


def test_a_file_that_was_removed_is_made_anew(store: Store, thread: StoreWriter):
    thread.submit(made_batch(0, 3))
    assert thread.flush(PATIENCE)
    for name in ("", "-wal", "-shm"):
        Path(store.name + name).unlink()
    thread.submit(made_batch(3, 2))
    assert thread.flush(PATIENCE)
    reader = open_store(store.name, create=False)
    assert reader.count() == 2
    reader.close()


def test_a_reader_sees_whole_transactions_while_somebody_writes(store: Store, thread: StoreWriter):
    store.write(made_batch(0, 10))
    stop = threading.Event()
    seen: list[int] = []

    def read() -> None:
        while not stop.is_set():
            reader = open_store(store.name, create=False)
            result = load_result(reader)
            assert reader.damaged == 0
            seen.append(len(result.sessions))
            reader.close()

    readers = [threading.Thread(target=read) for _ in range(2)]
    for one in readers:
        one.start()
    for number in range(10, 510, 10):
        thread.submit(made_batch(number, 10))
        time.sleep(0.005)
    assert thread.flush(CHILD_PATIENCE)
    stop.set()
    for one in readers:
        one.join()
    assert thread.lost == 0
    assert store.count() == 510
    assert seen
    assert all(count % 10 == 0 for count in seen)


# -- retention ----------------------------------------------------------------------------------------------------------------------


def test_what_is_too_old_goes_with_all_that_belongs_to_it(store: Store):
    old, new = CaptureStats("eth0"), CaptureStats("eth0")
    old.packets, old.first_ns, old.last_ns = 1, BEGAN_NS, BEGAN_NS + STEP_NS
    new.packets, new.first_ns, new.last_ns = 1, BEGAN_NS + 1, BEGAN_NS + 1000 * STEP_NS
    store.write(made_batch(0, 1200))
    store.write(Batch(captures=[old, new]))
    # A finding whose session was never stored, as old as those that go.
    store.write(Batch([], [(made_finding(made_session(5), username="nobody"), True)]))
    stored_as_seen(store)
    assert prune(store, older_than_ns=BEGAN_NS + 700 * STEP_NS) == 700
    found = contents(store)
    assert len(found["sessions"]) == len(found["credentials"]) == len(found["findings"]) == 500
    assert [one.first_ns for one in store.captures()] == [BEGAN_NS + 1]
    assert next(store.sessions()).first_frame == 7001


def test_a_store_that_is_too_large_loses_its_oldest_and_gives_space_back(store: Store):
    store.write(made_batch(0, 1500))
    prune(store)
    before = Path(store.name).stat().st_size
    wanted = before // 2
    removed = prune(store, max_bytes=wanted)
    # Pages that became half empty are filled again by what comes; until then a few more sessions have to go.
    assert 500 < removed < 1300
    assert store_retention.size(store) <= wanted
    assert Path(store.name).stat().st_size <= wanted
    assert Path(store.name + "-wal").stat().st_size == 0
    assert next(store.sessions()).first_frame == removed * 10 + 1
    assert prune(store, max_bytes=wanted) == 0
    # A limit that nothing could keep empties the store, and comes to an end.
    prune(store, max_bytes=1)
    assert store.count() == 0


def test_certificates_nobody_needs_go_last(store: Store):
    from support.stores import keep

    keep(store, "tls-certificates.pcap")
    now_ns = time.time_ns()
    prune(store, older_than_ns=now_ns + 1)
    assert store.count() == 0
    assert len(contents(store)["certificates"]) > 0
    prune(store, older_than_ns=now_ns + CERTIFICATE_NS + 1)
    assert contents(store)["certificates"] == []


def test_certificates_made_up_by_the_thousand_cost_no_session(store: Store):
    """A server that shows everybody another large certificate does not push the evidence out."""
    limit = 5_000_000
    for first in range(0, 640, 80):
        store.write(made_batch(first, 80))
    for number in range(640, 1240):
        store.write(Batch([(made_handshake(number, os.urandom(16_000)), True)]))
    assert store_retention.size(store) > 2 * limit
    retention = store_retention.Retention(store)
    for _ in retention.round(None, limit):
        pass
    assert "certificates fill the store" in retention.trouble
    assert store_retention.size(store) <= limit
    assert store.count() == 1240
    assert retention.removed == 0
    result = load_result(store)
    assert len(result.sessions) == 1240
    assert any("are no longer in the store" in one for one in result.warnings)
    # Some of them are kept, and those the latest.
    assert [one.tls.certificates for one in result.sessions if one.tls is not None][-1]
    # What nobody refers to goes at once where there is too much, however new it is.
    with store.transaction() as connection:
        for table in (schema.SESSIONS, schema.TLS, schema.FINDINGS, schema.CREDENTIALS):
            connection.execute(table.delete())
    prune(store, max_bytes=100_000)
    assert contents(store)["certificates"] == []


def test_sessions_stay_where_removing_them_would_not_help(store: Store):
    store.write(made_batch(0, 600))
    with store.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE ballast (octets BLOB)")
        connection.exec_driver_sql("INSERT INTO ballast VALUES (randomblob(4000000))")
        # What they are worth by the count is not what the file loses: something else takes the room.
        connection.execute(schema.SESSIONS.update().values(octets=schema.SESSIONS.c.octets * 50))
    retention = store_retention.Retention(store)
    limit = store_retention.size(store) - 200_000
    for _ in range(3):
        for _ in retention.round(None, limit):
            pass
        assert "no more of them go" in retention.trouble
    assert 400 < store.count() < 600


def test_age_is_that_of_storing_and_a_clock_that_is_wrong_is_said_first(store: Store):
    now = [0.0]
    # Captures of long ago, followed today, stay.
    store.write(made_batch(0, 30))
    store.write(Batch([(made_session(100), True)]))
    assert prune(store, older_than_ns=time.time_ns() - 3600 * STEP_NS) == 0
    # The clock is set a year ahead.
    retention = store_retention.Retention(store, clock=lambda: now[0])
    ahead_ns = time.time_ns() + 365 * 86400 * STEP_NS

    def round_of(older_than_ns: int) -> int:
        for _ in retention.round(older_than_ns, None):
            pass
        return retention.removed

    assert round_of(ahead_ns) == 0
    assert "set the clock right" in retention.trouble
    now[0] = store_retention.HOLD_S - 1
    assert round_of(ahead_ns) == 0
    # It was set right in time.
    assert round_of(time.time_ns() - STEP_NS * 3600) == 0
    assert retention.trouble == ""
    now[0] += 2
    assert round_of(ahead_ns) == 0
    now[0] += store_retention.HOLD_S
    assert round_of(ahead_ns) == 31
    assert "it is removed" in retention.trouble


def test_a_disk_with_hardly_any_room_costs_the_oldest_but_not_all(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.write(made_batch(0, 1000))
    held = store_retention.size(store)
    retention = store_retention.Retention(store)

    def round_with(free: int) -> str:
        monkeypatch.setattr(store_retention, "disk_room", lambda path: (free, 1 << 40))
        for _ in retention.round(None, 1 << 30):
            pass
        return retention.trouble

    assert round_with(1 << 30) == ""
    # Less than what stays in any case: nothing goes, whoever fills the disk.
    assert "not because of the store" in round_with(1 << 20)
    assert retention.removed == 0
    monkeypatch.setattr(store_retention, "MIN_KEPT", held // 2)
    assert "hardly any room" in round_with(store_retention.FREE_FLOOR - held // 5)
    assert 100 < retention.removed < 750
    assert next(store.sessions()).first_frame == retention.removed * 10 + 1
    round_with(0)
    assert held * 0.4 < store_retention.size(store) <= held // 2


def test_what_comes_is_written_while_retention_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store_retention, "SLICE_S", 0.0)
    monkeypatch.setattr(store_retention, "FIRST_ROWS", 2)
    monkeypatch.setattr(store_retention, "LEAST_ROWS", 2)
    store.write(made_batch(0, 1000))
    stored_as_seen(store)
    reader = open_store(store.name, create=False)
    monkeypatch.setattr(writer, "PRUNE_S", 0.01)
    # So slow that it cannot be done while twenty commits come, whatever else this machine does.
    monkeypatch.setattr(writer, "BETWEEN_S", 0.2)
    # As many fresh ones as old ones: what goes is not more than half.
    store.write(made_batch(2000, 1001))
    thread = StoreWriter(store, keep_ns=3600 * STEP_NS)
    until(lambda: thread.pruned > 0)
    monkeypatch.setattr(writer, "PRUNE_S", 3600.0)
    for number in range(4000, 4020):
        thread.submit(made_batch(number, 1))
        assert thread.flush(PATIENCE)
    # Twenty commits, each asked for when the one before was done, and there is much left to remove.
    assert thread.pruned < 900
    monkeypatch.setattr(writer, "BETWEEN_S", 0.0)
    # Somebody who reads is not in the way.
    sessions = reader.sessions()
    next(sessions)
    until(lambda: thread.flush(PATIENCE) and thread.pruned == 1000)
    assert store.count() == 1021
    assert len(list(sessions)) > 1000
    assert thread.close(PATIENCE)
    reader.close()


def test_the_writer_prunes_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer, "PRUNE_S", 0.1)
    batch = made_batch(0, 3)
    fresh = made_session(9)
    store.write(batch)
    stored_as_seen(store)
    store.write(Batch([(fresh, True)]))
    monkeypatch.setattr(store_retention, "HOLD_S", 0.3)
    thread = StoreWriter(store, keep_ns=3600 * STEP_NS)
    until(lambda: store.count() == 1)
    until(lambda: thread.pruned == 3)
    assert thread.close(PATIENCE)


# -- the end comes without warning --------------------------------------------------------------------------------------------------

CHILD = f"""
import sys
from support.stores import made_batch
from analyzer.monitor.store import open_store
from analyzer.monitor.writer import StoreWriter

store = open_store(sys.argv[1], sensor="cellar")
thread = StoreWriter(store)
number = int(sys.argv[2])
print("began", flush=True)
while True:
    for _ in range(3):
        thread.submit(made_batch(number * {WHOLE}, {WHOLE}))
        number += 1
    if not thread.flush(600):
        sys.exit("not written")
    print(number, flush=True)
"""


@pytest.mark.slow
def test_after_ten_kills_everything_acknowledged_is_there_and_whole(tmp_path: Path):
    path = tmp_path / "mailtap.db"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    chance = random.Random(6)
    acknowledged = 0
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path), str(acknowledged)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "began\n"
        lines = [child.stdout.readline()]
        timer = threading.Timer(chance.uniform(0.0, 0.3), child.send_signal, [signal.SIGKILL])
        timer.start()
        lines += child.stdout.read().splitlines(keepends=True)
        child.stdout.close()
        assert child.wait(CHILD_PATIENCE) == -signal.SIGKILL
        timer.join()
        whole = [line for line in lines if line.endswith("\n")]
        acknowledged = max([acknowledged, *map(int, whole)])
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = connection.execute("SELECT (start_ns - ?) / ? / ?, count(*) FROM sessions GROUP BY 1 ORDER BY 1", (BEGAN_NS, STEP_NS, WHOLE)).fetchall()  # fmt: skip
            findings = connection.execute("SELECT count(*) FROM findings").fetchone()[0]
        connection.close()
        batches = dict(rows)
        assert set(batches.values()) <= {WHOLE}
        assert set(range(acknowledged)) <= set(batches)
        assert findings == WHOLE * len(batches)
        reader = open_store(str(path), create=False)
        assert len(load_result(reader).sessions) == WHOLE * len(batches)
        reader.close()
    assert acknowledged > 10


#: Writes on a file system of one megabyte that somebody else fills up, and says how it fares.
ON_A_SMALL_DISK = """
import os, sys, time
from pathlib import Path
from support.stores import made_batch
from analyzer.monitor.store import open_store
from analyzer.monitor.writer import StoreWriter

folder = Path(sys.argv[1])
store = open_store(str(folder / "mailtap.db"), sensor="cellar")
thread = StoreWriter(store)
thread.submit(made_batch(0, 10))
assert thread.flush(60)
with (folder / "filler").open("wb", buffering=0) as filler:
    try:
        while filler.write(bytes(4096)) == 4096:
            pass
    except OSError:
        pass
for number in range(10, 310, 10):
    thread.submit(made_batch(number, 10))
deadline = time.monotonic() + 60
while not thread.trouble and time.monotonic() < deadline:
    time.sleep(0.02)
print(thread.trouble)
assert not thread.flush(0.5)
assert open_store(store.name, create=False).count() >= 10
(folder / "filler").unlink()
assert thread.flush(60), thread.trouble
assert (store.count(), thread.lost) == (310, 0)
print("all", store.count())
"""


@pytest.mark.root
def test_on_a_disk_that_is_really_full(tmp_path: Path):
    place = tmp_path / "disk"
    place.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", 'mount -t tmpfs -o size=4m tmpfs "$1"; exec "$0" -c "$2" "$1"', sys.executable, str(place), ON_A_SMALL_DISK],
        capture_output=True, text=True, check=False, timeout=2 * CHILD_PATIENCE, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, last = done.stdout.splitlines()
    assert "full" in said or "I/O error" in said
    assert last == "all 310"


def test_schema_names_what_it_keeps():
    assert {table.name for table in schema.METADATA.sorted_tables} == {
        "meta", "sessions", "credentials", "tls", "messages", "findings", "captures", "certificates",
    }  # fmt: skip
