"""The store: what goes in comes out, for people who ask with SQL and for reports; and no secret is in it."""

from __future__ import annotations

import base64
import builtins
import json
import os
import pickle
import re
import sqlite3
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from support.stores import (
    BEGAN_NS,
    CAPTURES,
    KEY,
    SAMPLES,
    STEP_NS,
    batch_of,
    contents,
    keep,
    made_batch,
    made_finding,
    made_session,
    tables,
)

import analyzer
from analyzer.capture.base import CaptureStats
from analyzer.cli import run_command
from analyzer.errors import CaptureError, CaptureNotFound, CaptureUnreadable, NotACapture, OutputError, UsageError
from analyzer.model import Secret
from analyzer.monitor import schema, store_report
from analyzer.monitor.batch import Batch
from analyzer.monitor.pickles import SHAPE, DamagedRecord, SessionLoader, dump_session
from analyzer.monitor.sealing import BoundedJudge, seal_session
from analyzer.monitor.store import Store, open_store
from analyzer.monitor.store_place import Location
from analyzer.monitor.store_report import load_result
from analyzer.pipeline import Result, run
from analyzer.report.columns import TABLES
from analyzer.report.formats import Job, load, names
from analyzer.report.rows import RowMaker
from analyzer.report.tables import add_hashes
from analyzer.report.wording import plural


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "mailtap.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = open_store(str(path), sensor="cellar")
    yield opened
    opened.close()


def reopened(store: Store) -> Store:
    """The same store, to read alone."""
    return open_store(store.name, create=False)


# -- what goes in comes out ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_report_from_the_store_equals_one_from_the_capture(store: Store, sample: str):
    whole = keep(store, sample)
    reader = reopened(store)
    stored = load_result(reader)
    assert tables(stored, store.key()) == tables(whole, store.key())
    assert reader.damaged == 0
    # Of the captures' own remarks none is missing, and there is nothing to remark on the store.
    assert set(stored.warnings) <= set(whole.warnings)
    reader.close()


def written(result: Result, key: bytes, folder: Path) -> dict[str, object]:
    """What each format makes of a result, file by file; the formats that are not text as the number of their rows."""
    found: dict[str, object] = {}
    for name in names():
        writer = load(name)
        job = Job(result, RowMaker(key=key), "0", "findings")
        place = folder / name
        if writer.KIND in ("folder", "tables"):
            writer.write_folder(job, place)
            for file in sorted(place.iterdir()):
                if file.suffix == ".parquet":
                    from pyarrow.parquet import read_metadata

                    found[f"{name}/{file.name}"] = read_metadata(file).num_rows
                else:
                    found[f"{name}/{file.name}"] = file.read_bytes()
        elif writer.KIND == "binary":
            place = place.with_suffix(".xlsx")
            with place.open("wb") as out:
                writer.write(job, out)
            import openpyxl

            book = openpyxl.load_workbook(place)
            found[name] = [(sheet.title, list(sheet.iter_rows(values_only=True))) for sheet in book]
        else:
            with place.open("w", encoding="utf-8") as out:
                writer.write(job, out)
            found[name] = place.read_text("utf-8")
    return found


@pytest.mark.slow
def test_every_format_says_the_same_from_the_store(store: Store, tmp_path: Path):
    result = run([CAPTURES / "office.pcapng"])
    add_hashes(result)
    store.write(batch_of(run([CAPTURES / "office.pcapng"]), store.key()))
    with store.transaction() as connection:
        connection.execute(schema.CAPTURES.update().values(sha256=result.captures[0].sha256))
    stored = load_result(store)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    on, off = written(stored, store.key(), tmp_path / "a"), written(result, store.key(), tmp_path / "b")
    assert on.keys() == off.keys()
    for name in off:
        if name.startswith("zeek/"):
            # Zeek's logs say when they were written.
            on[name], off[name] = (
                [line for line in bytes(one).splitlines() if not line.startswith((b"#open", b"#close"))]
                for one in (on[name], off[name])
            )
        if name == "ecs":
            # A store knows what was captured, and no file.
            off[name] = re.sub(r',"file.size":\d+', "", off[name])
        assert on[name] == off[name], name


def test_several_captures_come_back_in_order_of_start(store: Store):
    whole = keep(store, "pop3-login.pcap", "smtp-submission.pcap", "imap-login.pcap")
    stored = load_result(store)
    assert [one.session_id() for one in stored.sessions] == [one.session_id() for one in whole.sessions]
    assert {one.name for one in stored.captures} == {one.name for one in whole.captures}


def test_since_and_until_choose_as_they_do_offline(store: Store):
    result = run([CAPTURES / "office.pcapng"])
    keep(store, "office.pcapng")
    starts = sorted(one.start_ns for one in result.sessions)
    since_ns, until_ns = starts[len(starts) // 3], starts[len(starts) // 2]
    off = run([CAPTURES / "office.pcapng"], since_ns=since_ns, until_ns=until_ns)
    on = load_result(store, since_ns, until_ns)
    assert 10 < len(on.sessions) < len(result.sessions)
    assert tables(on, store.key()) == tables(off, store.key())
    assert on.window() == off.window()
    assert (on.since_ns, on.until_ns, on.left_out) == (since_ns, until_ns, len(result.sessions) - len(on.sessions))
    assert load_result(store).window() == ""


def test_recent_sessions_are_the_latest_in_order_of_start(store: Store):
    store.write(made_batch(0, 20))
    assert [one.first_frame for one in store.recent(3)] == [171, 181, 191]
    assert store.recent(100, since_ns=BEGAN_NS + 18 * STEP_NS)[0].first_frame == 181
    assert store.recent(100, sensor="attic") == []


def test_identifiers_of_findings_are_the_latest_oldest_first(store: Store):
    store.write(made_batch(0, 20))
    expected = [made_finding(made_session(number)).finding_id() for number in range(20)]
    assert list(store.finding_ids()) == expected
    assert list(store.finding_ids(limit=4)) == expected[-4:]
    assert list(store.finding_ids(BEGAN_NS + 18 * STEP_NS, "cellar")) == expected[-2:]
    assert not store.finding_ids(sensor="attic")


# -- provisional and final ----------------------------------------------------------------------------------------------------------


def test_a_final_record_takes_the_place_of_what_was_provisional(store: Store):
    session = made_session(1, size=3)
    early = made_session(1, size=2)
    early.end_ns -= 1000
    store.write(Batch([(early, False)], [(made_finding(early), False), (made_finding(early, username="user2"), False)]))
    assert sorted((one["username"], one["final"]) for one in store.findings()) == [("user1", False), ("user2", False)]
    assert store.findings(final=True) == []
    assert store.open_sessions() == 1
    assert load_result(store).warnings[0].startswith("1 session had not ended")
    store.write(Batch([(session, True)], [(made_finding(session, username="user3"), True)]))
    assert [(one["username"], one["final"]) for one in store.findings()] == [("user3", True)]
    assert store.open_sessions() == 0
    (found,) = store.sessions()
    assert len(found.credentials or ()) == 3
    with store.engine.connect() as connection:
        assert connection.execute(sql.select(sql.func.count()).select_from(schema.CREDENTIALS)).scalar() == 3


def test_a_record_that_comes_late_does_not_replace_the_final_one(store: Store):
    store.write(Batch([(made_session(1, size=3), True)]))
    store.write(Batch([(made_session(1, size=1), False)]))
    (found,) = store.sessions()
    assert len(found.credentials or ()) == 3
    assert store.open_sessions() == 0


def test_a_finding_about_an_earlier_session_comes_and_stays(store: Store):
    session = made_session(1)
    store.write(Batch([(session, True)]))
    store.write(Batch([], [(made_finding(session, "starttls-offer-vanished"), True)]))
    store.write(Batch([(session, True)]))
    assert [one["rule"] for one in store.findings()] == ["starttls-offer-vanished"]


def test_written_twice_is_written_once(store: Store):
    for sample in ("office.pcapng", "tls-versions.pcap"):
        result = run([CAPTURES / sample])
        batch = batch_of(result, store.key())
        store.write(batch)
        before = contents(store)
        store.write(batch)
        assert contents(store) == before


def test_captures_are_counted_on_and_begin_anew_with_each_start(store: Store):
    stats = CaptureStats("eth0")
    stats.format = "ring"
    store.write(Batch(captures=[stats]))
    assert [one.packets for one in store.captures()] == [0]
    for packets in (10, 20):
        stats.packets, stats.first_ns, stats.last_ns = packets, BEGAN_NS, BEGAN_NS + packets
        store.write(Batch(captures=[stats]))
    later = CaptureStats("eth0")
    later.packets, later.first_ns, later.last_ns, later.dropped = 5, BEGAN_NS + 1000, BEGAN_NS + 2000, 3
    store.write(Batch(captures=[later]))
    assert [(one.packets, one.dropped) for one in store.captures()] == [(20, None), (5, 3)]
    report = analyzer.load(store.name)
    # The interface is no file that could be hashed.
    assert report.captures["sha256"].isna().all()
    assert report.warnings == []
    assert report.findings["rule"].tolist() == ["capture-loss"]


def test_two_sensors_keep_what_they_see_apart(path: Path):
    for name, size in (("attic", 1), ("cellar", 2)):
        opened = open_store(str(path), sensor=name)
        opened.write(Batch([(made_session(7, size=size), True)]))
        opened.close()
    reader = open_store(str(path), create=False)
    assert reader.sensors() == ["attic", "cellar"]
    assert reader.count() == 2
    assert [len(one.credentials or ()) for one in reader.sessions(sensor="attic")] == [1]
    with pytest.raises(UsageError, match="sensors: 'attic', 'cellar'"):
        load_result(reader, sensor="roof")
    reader.close()


# -- for people who ask with SQL ----------------------------------------------------------------------------------------------------


def test_tables_have_the_columns_of_the_report(store: Store):
    keep(store, "office.pcapng")
    with closing(sqlite3.connect(store.name)) as connection:
        for name in ("sessions", "credentials", "tls", "messages", "findings", "captures"):
            found = {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            assert {column.name for column in TABLES[name]} | {"sensor", "final"} <= found
        readable, exact = connection.execute("SELECT start, start_ns FROM sessions ORDER BY start_ns").fetchone()
        assert readable.endswith(f"{exact % 10**9:09d}Z")
        (again,) = connection.execute("SELECT strftime('%s', ?)", (readable,)).fetchone()
        assert int(again) == exact // 10**9
        who = "SELECT DISTINCT username FROM credentials WHERE exposed AND outcome = 'accepted' AND server_port = 110"
        assert ("nora",) in connection.execute(who).fetchall()
        offers = "SELECT count(*) FROM sessions, json_each(capabilities) WHERE json_each.value = 'STLS'"
        assert connection.execute(offers).fetchone()[0] > 0
        assert connection.execute("SELECT DISTINCT secret FROM credentials").fetchall() == [("********",), (None,)]
    connection.close()


def test_text_no_database_takes_is_escaped_in_columns_and_whole_in_the_record(store: Store):
    session = made_session(1)
    session.server_banner = "ready\0 \x1b[2J \udcff \u202e ü"
    session.capabilities = ["A\0", "\udc80"]
    store.write(Batch([(session, True)]))
    (found,) = store.sessions()
    assert found.server_banner == session.server_banner
    assert found.capabilities == session.capabilities
    with store.engine.connect() as connection:
        row = connection.execute(sql.select(schema.SESSIONS.c.server_banner, schema.SESSIONS.c.capabilities)).one()
    assert row.server_banner == "ready\\x00 \\x1b[2J \\xff \\u202e ü"
    assert json.loads(row.capabilities) == session.capabilities


# -- secrets ------------------------------------------------------------------------------------------------------------------------


def octets_of(store: Store) -> bytes:
    """All octets of the database, its log included, and what is packed in its records."""
    place = Path(store.name)
    found = [file.read_bytes() for file in place.parent.iterdir()]
    with store.engine.connect() as connection:
        found += [zlib.decompress(row[0][1:]) for row in connection.execute(sql.select(schema.SESSIONS.c.record))]
    return b"\n".join(found)


def test_no_secret_is_anywhere_in_the_database(store: Store):
    looked_for = 0
    # Words that every store holds, as names of columns and kinds, some user has for a password.
    store.write(made_batch(0, 1))
    always = octets_of(store)
    for sample in SAMPLES:
        result = run([CAPTURES / sample])
        harmless: set[str] = set()
        words: set[str] = set()
        for session in result.sessions:
            for one in session.credentials or ():
                harmless |= {one.username or "", one.authzid or ""}
                words |= {hidden.reveal() or "" for hidden in (one.secret, one.response) if hidden is not None}
        store.write(batch_of(result, store.key()))
        octets = octets_of(store)
        for word in words:
            # A row holds its columns one behind the other: a name and a digit behind it may look like a password.
            if len(word) < 6 or any(word in name or (len(name) > 3 and name in word) for name in harmless):
                continue
            raw = word.encode("utf-8", "surrogateescape")
            if raw in always:
                continue
            looked_for += 1
            assert raw not in octets, (sample, len(word))
            for shift in range(3):
                # As it stands within the base64 of something longer, whatever comes before it.
                coded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")[shift + 1 : -1]
                assert len(coded) < 6 or coded not in octets, (sample, len(word))
    assert looked_for > 60
    for session in store.sessions():
        for one in session.credentials or ():
            assert (one.challenge, one.reply) == (None, None)
            assert all(hidden.reveal() is None for hidden in (one.secret, one.response) if hidden is not None)


def test_files_are_for_their_owner_alone_and_the_key_is_beside_them(store: Store):
    old = os.umask(0)
    try:
        store.write(made_batch(0, 2))
        store.key()
    finally:
        os.umask(old)
    place = Path(store.name)
    found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in place.parent.iterdir()}
    assert found == dict.fromkeys(("mailtap.db", "mailtap.db-wal", "mailtap.db-shm", "mailtap.db.key"), 0o600)
    key = bytes.fromhex(store.key_path.read_text(encoding="utf-8"))
    with closing(open_store(store.name)) as again:
        assert key == store.key() == again.key()
    assert key not in place.read_bytes()
    assert key.hex().encode() not in octets_of(store).replace(store.key_path.read_bytes(), b"")


def test_the_key_of_a_database_elsewhere_is_in_the_folder_of_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = Location("postgresql://mail:secret-word@db.example/traffic?password=other-word")
    assert "word" not in place.name
    assert place.name.startswith("postgresql://mail:***@db.example/traffic")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert place.key_file() == tmp_path / "mailtap" / "store.key"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mailtap:/var/lib/other")
    assert place.key_file() == Path("/var/lib/mailtap/store.key")


def test_a_key_file_that_holds_none_is_refused(path: Path, tmp_path: Path):
    bad = tmp_path / "bad.key"
    bad.write_text("abc\n")
    with closing(open_store(str(path), key_file=bad)) as opened, pytest.raises(OutputError, match="no key"):
        opened.key()


def test_masked_secrets_keep_their_strength_and_older_pickles_of_them_are_read():
    secret = Secret("correct horse")
    secret.seal(KEY)
    secret.strength = 3
    masked = pickle.loads(pickle.dumps(secret))
    assert (masked.reveal(), masked.length, masked.fingerprint, masked.strength) == (None, 13, secret.fingerprint, 3)
    restore, parts = secret.__reduce__()
    assert callable(restore)
    older = restore(*parts[:2])
    assert (older.length, older.strength) == (13, None)


def test_passwords_are_judged_while_they_are_known_a_bounded_number():
    now = [0.0]
    judge = BoundedJudge(burst=2, per_hour=3600, clock=lambda: now[0])
    sessions = [made_session(number) for number in range(4)]
    for number, session in enumerate(sessions):
        assert session.credentials is not None
        session.credentials[0].secret = Secret(("password", "123456", "qwerty", "letmein")[number])
        session.credentials[0].outcome = "accepted"
        seal_session(session, KEY, judge)
    scores = [session.credentials[0].secret.strength for session in sessions if session.credentials]
    assert scores[:2] == [0, 0]
    assert scores[2:] == [None, None]
    assert (judge.asked, judge.left_out) == (2, 2)
    now[0] += 1.0
    # Seen again, it is judged; one that was judged costs nothing.
    seal_session(sessions[2], KEY, judge)
    seal_session(sessions[0], KEY, judge)
    assert sessions[2].credentials[0].secret.strength == 0
    assert judge.asked == 3


def test_a_report_says_which_passwords_were_not_judged(store: Store):
    session = made_session(1)
    session.credentials[0].outcome = "accepted"
    store.write(Batch([(session, True)]))
    assert any("strength of 1 password was not judged" in one for one in load_result(store).warnings)


# -- what comes from a database nobody vouches for ----------------------------------------------------------------------------------


class Shell:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch '{self.proof}'",))


class Evaluation:
    def __reduce__(self) -> tuple[Any, ...]:
        return (builtins.eval, ("1+1",))


def packed(content: object) -> bytes:
    return SHAPE + zlib.compress(pickle.dumps(content))


def test_a_pickle_can_name_nothing_but_records(tmp_path: Path):
    proof = tmp_path / "was-here"
    loader = SessionLoader({})
    nested = made_session(1)
    nested.server_banner = "x"
    good, _ = dump_session(nested)
    assert loader.load(good).session_id() == nested.session_id()
    for bad in (
        packed(Shell(proof)),
        packed(Evaluation()),
        packed([Shell(proof)]),
        packed("text"),
        packed(CaptureStats("x")),
        good[:40],
        b"",
        b"\x02" + good[1:],
        SHAPE + b"no deflated octets",
        SHAPE + zlib.compress(bytes(64 << 20)),
    ):
        with pytest.raises(DamagedRecord):
            loader.load(bad)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_ns", "text"),
        ("client_ip", None),
        ("capabilities", [1]),
        ("credentials", ["x"]),
        ("compressed", 1),
        ("anomalies", {}),
    ],
)
def test_records_of_wrong_parts_are_refused(name: str, value: object):
    function, parts = made_session(1).__reduce__()
    numbers, texts, optional, flags, rest = (list(part) for part in parts)
    place = {"start_ns": (numbers, 0), "client_ip": (texts, 2), "capabilities": (rest, 0), "credentials": (rest, 1), "compressed": (flags, 1), "anomalies": (rest, 4)}[name]  # fmt: skip
    place[0][place[1]] = value

    class Forged:
        def __reduce__(self) -> tuple[Any, ...]:
            return (function, tuple(tuple(part) for part in (numbers, texts, optional, flags, rest)))

    with pytest.raises(DamagedRecord):
        SessionLoader({}).load(packed(Forged()))


def test_a_damaged_record_costs_itself_and_is_said(store: Store, tmp_path: Path):
    store.write(made_batch(0, 5))
    with store.transaction() as connection:
        query = schema.SESSIONS.update().where(schema.SESSIONS.c.first_frame == 21)
        connection.execute(query.values(record=packed(Shell(tmp_path / "was-here"))))
    result = load_result(store)
    assert len(result.sessions) == 4
    assert any("1 record of" in one and "left out" in one for one in result.warnings)


def test_certificates_are_kept_once_and_checked(store: Store):
    keep(store, "tls-certificates.pcap")
    with store.engine.connect() as connection:
        kept = connection.execute(sql.select(sql.func.count()).select_from(schema.CERTIFICATES)).scalar()
        seen = connection.execute(sql.select(sql.func.count()).where(schema.TLS.c.cert_seen)).scalar()
    assert kept
    assert seen
    with store.transaction() as connection:
        connection.execute(schema.CERTIFICATES.update().values(der=b"forged"))
    reader = reopened(store)
    # The sessions are told all the same, and what they lack is said.
    assert any(
        f"certificates of {plural(seen, 'session')} are no longer in the store" in one
        for one in load_result(reader).warnings
    )
    found = list(reader.sessions())
    assert len(found) == reader.count()
    assert reader.damaged == 0
    assert not [one for one in found if one.tls is not None and one.tls.certificates]
    reader.close()


# -- opening ------------------------------------------------------------------------------------------------------------------------


def test_a_store_of_a_later_version_is_refused_with_words(store: Store):
    with store.transaction() as connection:
        connection.execute(schema.META.update().where(schema.META.c.key == "schema_version").values(value="99"))
        connection.execute(schema.META.update().where(schema.META.c.key == "mailtap").values(value="7.0"))
    for create in (True, False):
        with pytest.raises(CaptureError, match=r"written by mailtap 7\.0 with layout 99; .* Update mailtap"):
            open_store(store.name, create=create)


def test_an_earlier_store_is_brought_up_to_date_or_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.write(made_batch(0, 3))
    store.close()

    def add_column(connection: sql.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE sessions ADD COLUMN mood TEXT")

    def fail(connection: sql.Connection) -> None:
        add_column(connection)
        connection.exec_driver_sql("ALTER TABLE nowhere ADD COLUMN mood TEXT")

    later = schema.SCHEMA_VERSION + 1
    monkeypatch.setattr(schema, "SCHEMA_VERSION", later)
    monkeypatch.setattr(schema, "UPGRADES", {later - 1: fail})
    with pytest.raises(CaptureUnreadable, match="earlier mailtap"):
        open_store(store.name, create=False)
    with pytest.raises(OutputError, match="cannot be opened"):
        open_store(store.name)
    monkeypatch.setattr(schema, "UPGRADES", {later - 1: add_column})
    opened = open_store(store.name)
    assert opened.meta("schema_version") == str(later)
    assert opened.meta("mailtap") == analyzer.__version__
    assert opened.count() == 3
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT mood FROM sessions").all() == [(None,)] * 3
    opened.close()


def as_in_layout_1(store: Store) -> None:
    """Make of a store what the first version wrote."""
    with store.transaction() as connection:
        for index in ("sessions_stored", "findings_stored", "certificates_last"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        for table in ("sessions", "findings", "captures"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN stored")
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN stored_ns")
        connection.exec_driver_sql("ALTER TABLE certificates DROP COLUMN octets")
        connection.execute(schema.META.update().where(schema.META.c.key == "schema_version").values(value="1"))


def test_a_store_of_the_first_layout_is_read_on_and_keeps_its_ages(store: Store):
    keep(store, "tls-certificates.pcap")
    store.write(made_batch(0, 3))
    ahead = made_session(3)
    ahead.end_ns = time.time_ns() + 10**18
    store.write(Batch([(ahead, True)]))
    before, layout = contents(store), described(store)
    as_in_layout_1(store)
    store.close()
    opened = open_store(store.name)
    assert described(opened) == layout
    with opened.transaction() as connection:
        ages = connection.execute(
            sql.select(
                schema.SESSIONS.c.stored_ns - schema.SESSIONS.c.end_ns, schema.SESSIONS.c.stored, schema.SESSIONS.c.end
            )
        ).all()
        assert sum(age == 0 and stored == end for age, stored, end in ages) == len(ages) - 1
        assert min(age for age, _, _ in ages) < -(10**17)
        assert connection.execute(sql.select(sql.func.min(schema.CERTIFICATES.c.octets))).scalar() > 100
        connection.execute(schema.CERTIFICATES.update().values(last_ns=0))
    after = contents(opened)
    assert {**after, "certificates": []} == {**before, "certificates": []}
    assert len(after["certificates"]) == len(before["certificates"])
    with closing(reopened(store)) as reader:
        assert load_result(opened).warnings == load_result(reader).warnings
    opened.write(made_batch(4, 2))
    opened.close()


def described(store: Store) -> set[tuple[str, str]]:
    """Columns and indexes of the tables."""
    with store.engine.connect() as connection:
        found = sql.inspect(connection)
        columns = {(name, one["name"]) for name in found.get_table_names() for one in found.get_columns(name)}
        return columns | {
            (name, str(one["name"])) for name in found.get_table_names() for one in found.get_indexes(name)
        }


def test_what_belongs_to_a_session_is_found_without_a_search_through_all(store: Store):
    """At every commit and in every slice of retention: it must not take longer the more there is."""
    with store.engine.connect() as connection:
        for table in ("sessions", "credentials", "tls", "messages", "findings"):
            query = f"EXPLAIN QUERY PLAN DELETE FROM {table} WHERE sensor = 'a' AND session_id IN ('1', '2')"
            (plan,) = [
                str(row[3]) for row in connection.exec_driver_sql(query) if "SEARCH" in row[3] or "SCAN" in row[3]
            ]
            assert "session_id=?" in plan, plan


def test_what_is_no_store_is_told_from_one(tmp_path: Path):
    with pytest.raises(CaptureNotFound, match="there is no such store"):
        open_store(str(tmp_path / "missing.db"), create=False)
    text = tmp_path / "text.db"
    text.write_text("x" * 5000)
    with pytest.raises(NotACapture, match="not a store"):
        open_store(str(text), create=False)
    with pytest.raises(NotACapture, match="not a store"):
        open_store(str(text))
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    for create in (True, False):
        with pytest.raises(NotACapture, match="another program"):
            open_store(str(other), create=create)
    with pytest.raises(UsageError, match="folder"):
        open_store(str(tmp_path))
    with pytest.raises(UsageError, match="neither"):
        open_store("mysql://localhost/mail")
    with pytest.raises(UsageError) as caught:
        open_store("postgresql://mail:secret-word@db:port/traffic")
    assert "secret-word" not in str(caught.value)
    with pytest.raises(OutputError, match="cannot be made"):
        open_store("/proc/nowhere/mailtap.db")


def test_a_copy_where_nothing_can_be_written_is_read(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store.write(made_batch(0, 3))
    store.close()
    copy = tmp_path / "evidence" / "copy.db"
    copy.parent.mkdir()
    copy.write_bytes(Path(store.name).read_bytes())
    access = os.access
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK and access(place, mode))
    reader = open_store(str(copy), create=False)
    assert reader.count() == 3
    assert [file.name for file in copy.parent.iterdir()] == ["copy.db"]
    reader.close()


def test_addresses_of_files(tmp_path: Path):
    odd = tmp_path / "a ?#%20 b.db"
    opened = open_store(f"sqlite:///{odd}")
    opened.write(made_batch(0, 1))
    opened.close()
    assert odd.is_file()
    with closing(open_store(str(odd), create=False)) as reader:
        assert reader.count() == 1


def test_without_sqlalchemy_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, path: Path, capsys: pytest.CaptureFixture[str]
):
    for name in list(sys.modules):
        if name.startswith("analyzer.monitor.") or name.partition(".")[0] == "sqlalchemy":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    path.parent.mkdir()
    path.write_bytes(b"SQLite format 3\0")
    assert run_command(["report", str(path)]) == 2
    assert (
        "pip install 'mailtap[monitor]' brings it (in a clone of mailtap: pip install '.[monitor]')"
        in capsys.readouterr().err
    )


# -- the command and the library ----------------------------------------------------------------------------------------------------


def test_the_command_reports_as_analyze_does(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    keep(store, "office.pcapng")
    assert run_command(["analyze", str(CAPTURES / "office.pcapng")]) == 0
    off = capsys.readouterr().out
    assert run_command(["report", store.name]) == 0
    assert capsys.readouterr().out == off
    assert run_command(["report", store.name, "-f", "json", "-o", str(tmp_path / "out.json"), "--fail-on", "high"]) == 1
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert len(found["sessions"]) == 265
    assert {one["secret"] for one in found["credentials"]} <= {None, "********"}
    assert run_command(["report", store.name, "-f", "csv", "--table", "servers", "--since", "2030-01-01"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run_command(["report", store.name, "--sensor", "roof"]) == 2
    assert run_command(["report", str(tmp_path / "missing.db")]) == 3
    assert "there is no such store" in capsys.readouterr().err
    assert run_command(["report", store.name, "-f", "json", "-o", store.name]) == 2


def test_an_empty_store_makes_an_empty_report(store: Store, capsys: pytest.CaptureFixture[str]):
    assert run_command(["report", store.name]) == 0
    assert "0 mail sessions" in capsys.readouterr().out
    assert len(analyzer.load(store.name).sessions) == 0


def test_load_makes_frames_of_a_store(store: Store):
    keep(store, "office.pcapng")
    report = analyzer.load(store.name)
    assert len(report.sessions) == 265
    assert report.summary().loc["all", "sessions"] == 265
    assert len(analyzer.load(store.name, since="2030-01-01").sessions) == 0
    # Times may be objects, and a part is found anew, of what is in the store.
    half = report.sessions["start"].iloc[132]
    later = analyzer.load(store.name, since=half)
    assert 0 < len(later.sessions) < 265
    assert later.findings["finding_id"].tolist() == report.filter(since=half).findings["finding_id"].tolist()
    with pytest.raises(UsageError, match="filter"):
        analyzer.load(CAPTURES, since="2030-01-01")


def test_a_report_takes_the_latest_of_more_than_it_can_hold(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.write(made_batch(0, 6))
    monkeypatch.setattr(store_report, "MAX_SESSIONS", 4)
    found = load_result(store, until_ns=BEGAN_NS + 4 * STEP_NS)
    assert [one.first_frame for one in found.sessions] == [11, 21, 31, 41]
    assert "holds 5 sessions of that time; this report is of the latest 4" in found.warnings[0]
    assert len(load_result(store, since_ns=BEGAN_NS + 4 * STEP_NS).sessions) == 2


def test_times_may_be_told_as_so_long_ago(store: Store, capsys: pytest.CaptureFixture[str]):
    fresh = made_session(7)
    fresh.start_ns = fresh.end_ns = time.time_ns() - 5 * 3600 * STEP_NS
    store.write(Batch([(fresh, True), (made_session(1), True)]))
    for options, expected in (
        (["--since", "6h"], 1),
        (["--since", "90m"], 0),
        (["--since", "1d", "--until", "4h"], 1),
        (["--until", "6h", "--since", "2000-01-01"], 1),
        (["--since", "999999w"], 2),
    ):
        assert run_command(["report", store.name, "-f", "csv", *options]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 1 + expected, options
    for wrong in ("24", "h", "-3h", "1.5h", "99999999d"):
        assert run_command(["report", store.name, f"--since={wrong}"]) == 2
        assert "24h for 24 hours ago" in capsys.readouterr().err
