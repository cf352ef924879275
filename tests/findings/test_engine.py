"""The engine: any order of files, bounded memory, rules that fail, secrets that stay where they are."""

from __future__ import annotations

import base64
import json
import pickle
import random
from pathlib import Path

import pytest
from support.traffic import START_NS, Talk, capture
from support.verdicts import findings, good_tls, read, slugs, talk, tls

from analyzer.capture.base import CaptureStats
from analyzer.findings import history
from analyzer.findings.base import ANY, Finding, FindingList, FindingSink, Found, Rule
from analyzer.findings.catalogue import RULES
from analyzer.findings.engine import Engine, find, push_findings
from analyzer.findings.history import History, Recent
from analyzer.findings.strength import MAX_CHARACTERS, MAX_JUDGED, PasswordJudge, judge_password
from analyzer.findings.tally import FindingTally
from analyzer.model import Secret
from analyzer.pipeline import Result, run
from analyzer.report.columns import TABLES
from analyzer.report.glance import glance
from analyzer.report.rows import RowList, RowMaker, push_rows
from analyzer.sessions.records import NOT_OFFERED, PLAINTEXT, REFUSED, Credential, Session

SECRET = "Zulu7Tango-Mike"
LOGIN = f"S: +OK ready\nC: USER {{}}\nS: +OK\nC: PASS {SECRET}\nS: +OK in\nC: QUIT\nS: +OK bye"
PLAIN = base64.b64encode(f"\0kim\0{SECRET}".encode()).decode()
EHLO = f"S: 220 mx\nC: EHLO pc\nS: 250-mx\n{{}}S: 250 AUTH PLAIN LOGIN\nC: AUTH PLAIN {PLAIN}\nS: 235 in\nC: QUIT\nS: 221 bye"
OFFER = "S: 250-STARTTLS\n"


def told(found: list[Finding]) -> list[tuple[object, ...]]:
    """What must not depend on files: frames are numbered within one."""
    return [(one.finding_id(), one.slug, one.severity, one.confidence, one.timestamp_ns, one.username) for one in found]


def office() -> list[Talk]:
    rejected = "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS {}\nS: -ERR no\nC: QUIT\nS: +OK bye"
    return [
        talk(LOGIN.format("kim")),
        talk(LOGIN.format("lee"), at=3, client="192.0.2.11"),
        talk(EHLO.format(OFFER), 587, at=5),
        talk(EHLO.format(""), 587, at=8, client="192.0.2.12"),
        talk(EHLO.format(OFFER), 587, at=12),
        *[talk(rejected.format("ann", f"Zulu{at}Tango"), at=20 + at, client="192.0.2.66") for at in range(7)],
        *[talk(rejected.format(f"user{at}", "Zulu7Tango"), at=40 + at, client="192.0.2.67") for at in range(6)],
        tls(good_tls(), at=60),
    ]  # fmt: skip


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    talks = office()
    paths = []
    for number, one in enumerate(talks):
        paths.append(tmp_path / f"part{number}.pcap")
        paths[-1].write_bytes(capture(one.frames()))
    wanted = told(find(run(paths).sessions))
    assert {"brute-force", "password-spraying", "password-reuse", "starttls-offer-vanished"} <= {
        one[1] for one in wanted
    }
    for seed in range(4):
        random.Random(seed).shuffle(paths)
        assert told(find(run(paths).sessions)) == wanted
    together = read(tmp_path, talks)
    assert told(find(together.sessions)) == wanted
    backwards = list(reversed(together.sessions))
    assert told(find(backwards)) == wanted


def test_an_offer_that_comes_later_is_weighed_less(tmp_path: Path) -> None:
    before = findings(tmp_path, talk(EHLO.format(OFFER), 587), talk(EHLO.format(""), 587, at=9))
    after = findings(tmp_path, talk(EHLO.format(""), 587), talk(EHLO.format(OFFER), 587, at=9))
    assert [one.confidence for one in before if one.slug == "starttls-offer-vanished"] == ["high"]
    assert [one.confidence for one in after if one.slug == "starttls-offer-vanished"] == ["medium"]


# -- bounded memory ------------------------------------------------------------------------------------------------------------


def stranger(number: int) -> Session:
    """A session of a client and a server that nobody has seen before, which every history takes note of."""
    session = Session()
    session.client_ip = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    session.server_ip = f"11.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    session.client_port, session.server_port = 40000, 110
    session.protocol, session.port_service = "pop3", "pop3"
    session.transport, session.starttls = PLAINTEXT, NOT_OFFERED
    session.start_ns = session.end_ns = START_NS + number * 1000
    session.capabilities = ["USER", "SASL PLAIN"]
    session.auth_attempts = 2
    return session


def with_logins(session: Session, number: int) -> Session:
    from analyzer.model import Secret

    session.credentials = []
    for at, outcome in enumerate(("rejected", "unknown")):
        credential = Credential(
            at,
            1,
            session.start_ns,
            at * 10,
            "USER/PASS",
            f"user{number}",
            None,
            Secret(f"Zulu{number}{at}"),
            "password",
            None,
            None,
        )
        credential.outcome = outcome
        session.credentials.append(credential)
    return session


def test_memory_is_bounded_whoever_comes() -> None:
    past = History(servers=500, clients=500, accounts=500, secrets=500)
    engine = Engine(FindingSink(), history=past, strength=PasswordJudge(10))
    largest = 0
    for number in range(6000):
        engine.receive(with_logins(stranger(number), number))
        largest = max(largest, past.size() - past.waiting)
    engine.close()
    assert largest <= 2 * 4 * 500
    assert past.waiting <= history.MAX_WAITING_IN_ALL
    assert len(past.weak) <= 10
    assert past.forgotten() > 0
    assert any("too many to keep in mind" in note for note in engine.notes())


@pytest.mark.slow
def test_many_strangers_leave_no_more_than_the_named_limits() -> None:
    past = History()
    engine = Engine(FindingSink(), history=past, strength=PasswordJudge(0))
    for number in range(40_000):
        engine.receive(with_logins(stranger(number), number))
    limits = 2 * (history.MAX_SERVERS + history.MAX_CLIENTS + history.MAX_ACCOUNTS + history.MAX_SECRETS)
    assert past.size() <= limits + history.MAX_WAITING_IN_ALL


def test_one_server_has_no_crowd_of_hosts_and_words() -> None:
    kept = History()
    engine = Engine(FindingList(), history=kept)
    for number in range(200):
        session = stranger(1)
        session.start_ns += number
        session.server_banner = f"+OK host{number}.example.org ready"
        session.capabilities = ["STLS", "SASL SCRAM-SHA-256 PLAIN", *[f"WORD{number}-{at}" for at in range(300)]]
        session.capabilities_whole = True
        engine.receive(session)
    past = kept.server(session)
    assert len(past.offers or {}) == len(past.best or {}) == history.MAX_HOSTS
    assert [len(one.words) for one in (past.lists or {}).values()] == [history.MAX_WORDS] * history.MAX_LISTED_HOSTS


def test_who_is_still_there_is_not_forgotten_in_a_flood() -> None:
    known: Recent[str, int] = Recent(100)
    known.put("office", 1)
    for number in range(5000):
        known.put(f"stranger {number}", number)
        if number % 50 == 0:
            assert known.get("office") == 1
    assert len(known) <= 200
    assert known.get("stranger 3") is None
    assert known.forgotten > 4000


def test_one_server_makes_no_crowd_of_waiting_sessions() -> None:
    past = History()
    engine = Engine(FindingSink(), history=past, strength=PasswordJudge(0))
    for number in range(300):
        session = stranger(number)
        session.server_ip = "198.51.100.20"
        engine.receive(session)
    assert past.waiting <= 2 * history.MAX_WAITING


# -- faults of ours ------------------------------------------------------------------------------------------------------------


def broken(session: Session, found: Found) -> None:
    """A rule that fails, with a secret in its error."""
    raise ValueError(f"cannot stand {SECRET}")


def test_a_rule_that_fails_is_contained_and_told(tmp_path: Path) -> None:
    result = read(tmp_path, office())
    wanted = told(find(result.sessions))
    bad = Rule(
        "broken-rule", 3, "Broken", broken, ANY, "None.", (), None, lambda found: broken(result.sessions[0], found)
    )
    tally = FindingTally()
    engine = Engine(tally, rules=[bad, *RULES], strength=PasswordJudge())
    push_findings(result.sessions, result.captures, engine)
    assert sum(tally.by_severity) == len(wanted)
    assert len(engine.faults) == 1
    assert "broken-rule" in engine.faults[0]
    assert "ValueError" in engine.faults[0]
    assert SECRET not in "".join(engine.notes())


def test_a_fault_reaches_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = read(tmp_path, office()[:1])
    bad = Rule("broken-rule", 3, "Broken", broken, ANY, "None.", ())
    RULES.append(bad)
    try:
        maker = RowMaker()
        push_rows("findings", result.sessions, result.captures, maker, RowList())
    finally:
        RULES.remove(bad)
    assert any("broken-rule" in note for note in maker.notes)


# -- secrets -------------------------------------------------------------------------------------------------------------------


def everything(result: Result, maker: RowMaker) -> str:
    text = ""
    for table in ("findings", "servers", "migration"):
        sink = RowList()
        push_rows(table, result.sessions, result.captures, maker, sink)
        text += repr(sink.rows)
    return text


def test_no_finding_holds_a_secret_or_a_fingerprint_even_when_secrets_are_shown(tmp_path: Path) -> None:
    result = read(tmp_path, [*office(), talk("S: +OK\nC: USER zoe\nS: +OK\nC: PASS password1\nS: +OK in", at=90)])
    maker = RowMaker(True)
    credentials = RowList()
    push_rows("credentials", result.sessions, result.captures, maker, credentials)
    names = [column.name for column in TABLES["credentials"]]
    text = everything(result, maker)
    assert "weak-password" in text
    assert "password-reuse" in text
    for row in credentials.rows:
        cells = dict(zip(names, row, strict=True))
        for hidden in (cells["secret"], cells["secret_id"]):
            assert str(hidden) not in text
            assert base64.b64encode(str(hidden).encode()).decode() not in text
    assert PLAIN not in text


def test_findings_can_be_pickled_without_their_secrets(tmp_path: Path) -> None:
    found = find(read(tmp_path, office()).sessions)
    octets = pickle.dumps(found)
    assert SECRET.encode() not in octets
    again = pickle.loads(octets)
    assert told(again) == told(found)
    assert [one.detail() for one in again] == [one.detail() for one in found]


def test_identifiers_are_unique(tmp_path: Path) -> None:
    found = find(read(tmp_path, office()).sessions)
    assert len({one.finding_id() for one in found}) == len(found)


def test_equal_secrets_are_told_after_pickling_as_before(tmp_path: Path) -> None:
    """Sessions that come from other processes have the fingerprints of their secrets only."""
    result = read(tmp_path, office())
    for session in result.sessions:
        for credential in session.credentials or ():
            if credential.secret is not None:
                credential.secret.seal(b"key")
    sessions = pickle.loads(pickle.dumps(result.sessions))
    wanted = slugs(find(read(tmp_path, office()).sessions)) - {"weak-password"}
    assert slugs(find(sessions)) - {"weak-password"} == wanted


# -- strength ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("password", "user", "low", "high"),
    [
        ("password1", None, 0, 0),
        ("", None, 0, 0),
        ("vT9#qLw2!xRz8", None, 4, 4),
        ("kim@example.org", "kim@example.org", 0, 1),
        ("a" * 5000, None, 2, 2),
        ("password" + "vT9#qLw2!xRz8" * 3, None, 2, 4),
    ],
)
def test_strength(password: str, user: str | None, low: int, high: int) -> None:
    assert low <= judge_password(password, user) <= high
    assert MAX_CHARACTERS == 20


def weak(found: list[Finding]) -> list[str | None]:
    return [one.username for one in found if one.slug == "weak-password"]


def test_the_number_of_judged_passwords_is_bounded_and_told(tmp_path: Path) -> None:
    talks = [talk(f"S: +OK\nC: USER u{at}\nS: +OK\nC: PASS password{at}\nS: +OK in", at=at) for at in range(6)]
    result = read(tmp_path, talks)
    sink = FindingList()
    engine = Engine(sink, strength=PasswordJudge(2))
    push_findings(result.sessions, [], engine)
    assert weak(sink.findings) == ["u0", "u1"]
    assert engine.notes() == [
        "the strength of passwords was judged for the first 2 different ones; 4 logins were left out"
    ]
    assert weak(find(result.sessions, strength=PasswordJudge(100, 3))) == ["u0", "u1", "u2"]


def test_every_output_judges_the_same_passwords(tmp_path: Path) -> None:
    """More passwords than the limit, each of two accounts, in two files read in either order."""
    paths = []
    for half in (0, 1):
        talks = [
            talk(f"S: +OK\nC: USER u{at}\nS: +OK\nC: PASS password{at // 2}\nS: +OK in", at=at * 5 + half, client=f"192.0.2.{at + 1}")
            for at in range(half, 2 * MAX_JUDGED + 20, 2)
        ]  # fmt: skip
        paths.append(tmp_path / f"{half}.pcap")
        paths[-1].write_bytes(capture([frame for one in talks for frame in one.frames()]))
    wanted = [f"u{at}" for at in range(2 * MAX_JUDGED)]
    for order in (paths, paths[::-1]):
        result = run(order)
        assert weak(find(result.sessions)) == wanted
        seen = glance(result.sessions, result.captures, None)
        assert [group.count for group in seen.tally.groups() if group.rule.slug == "weak-password"] == [2 * MAX_JUDGED]
        assert any("20 logins were left out" in note for note in seen.notes)
        sink = RowList()
        push_rows("credentials", result.sessions, [], RowMaker(), sink)
        name, strength = (
            [column.name for column in TABLES["credentials"]].index(word) for word in ("username", "strength")
        )
        assert {row[name] for row in sink.rows if row[strength] is not None} == set(wanted)


def test_the_same_password_of_many_accounts_is_judged_once() -> None:
    judge = PasswordJudge()
    for name in ("kim", "lee@example.org", "ann", None):
        assert judge.score(Secret("vT9#qLw2!xRz8"), name) == 4
    assert judge.asked == 1


@pytest.mark.parametrize(
    "password",
    ["kim1985", "mik1985", "K1m-Zulu", "zulu7tango", "example2024", "3x4mpl3", "Lee.Kim", "@nnx", "nn@", "ll!h"],
)
def test_a_shared_judgement_is_that_of_each_account(password: str) -> None:
    names = ("kim", "lee@example.org", "ann", "hill", "x", None)
    judge = PasswordJudge()
    assert [judge.score(Secret(password), name) for name in names] == [judge_password(password, name) for name in names]


# -- captures ------------------------------------------------------------------------------------------------------------------


def test_losses_of_a_capture_are_findings_without_a_session(tmp_path: Path) -> None:
    result = read(tmp_path, office()[:1])
    result.captures[0].dropped = 17
    found = [one for one in find(result.sessions, result.captures) if one.session is None]
    assert [one.slug for one in found] == ["capture-loss"]
    sink = RowList()
    push_rows("findings", result.sessions, result.captures, RowMaker(), sink)
    rows = [dict(zip([column.name for column in TABLES["findings"]], row, strict=True)) for row in sink.rows]
    assert [row["session_id"] for row in rows if row["rule"] == "capture-loss"] == [None]
    assert "17 packets" in json.dumps(rows)


def test_a_refused_session_without_login_is_no_alarm(tmp_path: Path) -> None:
    text = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 not now\nC: QUIT\nS: 221 bye"
    found = findings(tmp_path, talk(text, 587))
    assert [(one.slug, one.severity) for one in found] == [("starttls-refused", 1)]
    assert found[0].session is not None
    assert found[0].session.starttls == REFUSED


def test_one_thing_is_told_in_the_singular() -> None:
    stats = CaptureStats("office.pcap")
    stats.dropped, stats.damaged, stats.skipped_bytes = 1, 1, 1
    session = stranger(1)
    session.gap_bytes = session.conflict_bytes = 1
    details = {one.detail() for one in find([session], [stats])}
    assert {
        "the capturing system lost 1 packet",
        "the file is damaged at 1 place, 1 octet was skipped",
        "1 octet is missing",
        "1 octet came twice with different content",
    } <= details
