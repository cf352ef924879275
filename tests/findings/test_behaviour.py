"""Guessers, sprayers and shared passwords, and those who only look like them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from support.traffic import START_NS, Talk
from support.verdicts import SECOND, findings, talk

from analyzer.findings.base import FindingList
from analyzer.findings.engine import Engine, find
from analyzer.findings.history import NEVER, AccountPast, ClientPast, History, Rejection
from analyzer.model import Secret
from analyzer.report.glance import glance
from analyzer.sessions.records import PLAINTEXT, Credential, Session

GUESSED = "brute-force"
SPRAYED = "password-spraying"


def login(at: float, password: str, user: str = "kim", *, lets_in: bool = False, client: str = "192.0.2.10") -> Talk:
    answer = "+OK in" if lets_in else "-ERR no"
    text = f"S: +OK ready\nC: USER {user}\nS: +OK\nC: PASS {password}\nS: {answer}\nC: QUIT\nS: +OK bye"
    return talk(text, 110, at=at, client=client)


def told(folder: Path, rule: str, *talks: Talk) -> list[tuple[str, str]]:
    """Severity and confidence of what a rule found."""
    return [(one.severity_word(), one.confidence) for one in findings(folder, *talks) if one.slug == rule]


def guessing(begins: float, guesses_at: float, *, lets_in_after: bool = False) -> Talk:
    """One connection that is opened early and guesses late."""
    made = Talk("192.0.2.10", "198.51.100.20", 39000, 110, START_NS + int(begins * SECOND))
    made.play("S: +OK ready")
    made.now = START_NS + int(guesses_at * SECOND)
    for number in range(6):
        made.play(f"C: USER kim\nS: +OK\nC: PASS Wrong{number}xyz\nS: -ERR no")
    return made.close()


def test_a_login_before_the_guesses_is_not_their_fruit(tmp_path: Path) -> None:
    # The connection that guesses began first, so its rejections are known when the login is looked at.
    assert told(tmp_path, GUESSED, guessing(0, 100), login(2, "Zulu7Tango-Mike", lets_in=True)) == [("high", "high")]
    assert told(tmp_path, GUESSED, guessing(0, 100), login(102, "Zulu7Tango-Mike", lets_in=True)) == [
        ("high", "high"),
        ("critical", "medium"),
    ]


def test_a_guesser_with_two_connections_is_let_in_while_the_other_still_guesses(tmp_path: Path) -> None:
    late = Talk("192.0.2.10", "198.51.100.20", 39001, 110, START_NS)
    for number in range(6):
        late.play(f"C: USER kim\nS: +OK\nC: PASS Wrong{number}xyz\nS: -ERR no")
        late.now += 10 * SECOND
    assert ("critical", "medium") in told(tmp_path, GUESSED, late.close(), login(45, "Zulu7Tango-Mike", lets_in=True))


def test_guesses_that_are_told_are_not_told_again_at_the_next_slip(tmp_path: Path) -> None:
    talks = [login(at, f"Wrong{at}xyz") for at in range(5)]
    talks += [login(9, "Zulu7Tango-Mike", lets_in=True), login(12, "Zulu7Tango-Mkie")]
    assert told(tmp_path, GUESSED, *talks) == [("high", "high"), ("critical", "medium")]
    # Five more are five more.
    talks += [login(20 + at, f"More{at}xyz") for at in range(5)]
    assert told(tmp_path, GUESSED, *talks)[2:] == [("high", "high")]


def hashed(at: float, *, lets_in: bool = False) -> Talk:
    answer = "+OK in" if lets_in else "-ERR no"
    return talk(f"S: +OK <{at}@mx>\nC: APOP kim {int(at):032x}\nS: {answer}\nC: QUIT\nS: +OK bye", 110, at=at)


def test_hashes_do_not_tell_a_guesser_from_an_old_password(tmp_path: Path) -> None:
    talks = [hashed(at * 30) for at in range(11)]
    assert told(tmp_path, GUESSED, *talks) == []
    talks.append(hashed(11 * 30))
    assert told(tmp_path, GUESSED, *talks) == [("medium", "medium")]
    # Somebody gave the program its new password at last; or the guesser is in.
    assert told(tmp_path, GUESSED, *talks, hashed(400, lets_in=True)) == [("medium", "medium"), ("high", "medium")]
    # Whoever goes on with passwords that can be read is a guesser, whatever came before.
    talks += [login(360 + at, f"Wrong{at}xyz") for at in range(5)]
    assert told(tmp_path, GUESSED, *talks) == [("medium", "medium"), ("high", "high")]


def test_captures_without_times_are_told_once_too() -> None:
    account, client = AccountPast(Rejection(0, "192.0.2.10", "kim", 1)), ClientPast()
    assert account.told_ns == client.sprayed_ns == NEVER < 0
    talks: list[Session] = []
    for number in range(30):
        one = Session()
        one.protocol, one.transport, one.server_ip, one.server_port = "pop3", PLAINTEXT, "198.51.100.20", 110
        one.client_ip, one.client_port, one.port_service = f"192.0.2.{number % 3 + 1}", 40000 + number, "pop3"
        secret = Secret(f"Wrong-{number}-xyz")
        login = Credential(1, 5, 0, 0, "USER/PASS", f"user{number % 10}", None, secret, "password", None, None)
        login.outcome = "rejected"
        one.credentials, one.auth_attempts = [login], 1
        talks.append(one)
    slugs = [one.slug for one in find(talks)]
    assert slugs.count(SPRAYED) == 3  # once a client
    for one in talks:
        assert one.credentials is not None
        one.credentials[0].username = "kim"
    details = [one.detail() for one in find(talks) if one.slug == GUESSED]
    assert len([detail for detail in details if "of 3 clients" in detail or "of 2 clients" in detail]) == 1


def test_guesses_hours_apart_are_not_within_ten_minutes(tmp_path: Path) -> None:
    # Four late ones of a connection that began early, and one of another hours before them.
    early = Talk("192.0.2.10", "198.51.100.20", 39000, 110, START_NS)
    early.play("S: +OK ready")
    early.now += 5 * 3600 * SECOND
    for number in range(4):
        early.play(f"C: USER kim\nS: +OK\nC: PASS Wrong{number}xyz\nS: -ERR no")
    assert told(tmp_path, GUESSED, early.close(), login(60, "Another-One")) == []


@pytest.mark.parametrize(("same", "expected"), [(False, []), (True, [("high", "high")])])
def test_a_web_mailer_whose_users_mistype_is_no_sprayer(
    same: bool, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    talks = [
        login(at * 2, "Winter-1" if same and at % 5 == 3 else f"Pw{at}xyz", f"user{at}", lets_in=at % 5 != 3)
        for at in range(40)
    ]
    assert told(tmp_path, SPRAYED, *talks) == expected


def test_a_sprayer_that_is_let_in_now_and_then_is_one(tmp_path: Path) -> None:
    talks = [login(at * 2, f"Pw{at % 2}xyz", f"user{at}", lets_in=at % 5 == 4) for at in range(14)]
    assert told(tmp_path, SPRAYED, *talks) == [("high", "medium")]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("kim", "kim@example.org", 0),
        ("kim", "EXAMPLE\\\\Kim", 0),
        ("kim@example.org", "EXAMPLE\\\\kim", 0),
        ("kim@example.org", "kim@example.net", 1),
        ("EXAMPLE\\\\kim", "OTHER\\\\kim", 1),
        ("kim", "lee", 1),
    ],
)
def test_one_account_may_be_written_in_several_ways(one: str, other: str, shared: int, tmp_path: Path) -> None:
    talks = [login(at, "Zulu7Tango-Mike", name, lets_in=True) for at, name in enumerate((one, other))]
    assert len(told(tmp_path, "password-reuse", *talks)) == shared


def test_the_password_of_nobody_known_is_a_password(tmp_path: Path) -> None:
    made = Talk(handshake=False).play("C: PASS password1\nS: +OK Logged in.\nC: STAT\nS: +OK 0 0")
    (found,) = [one for one in findings(tmp_path, made) if one.slug == "weak-password"]
    assert found.detail() == "a password at pop3 server 198.51.100.20:110 would be guessed at once"


def test_a_noisy_client_does_not_hide_what_another_one_guesses(tmp_path: Path) -> None:
    # A forgotten device repeats an old password all the time while somebody else guesses.
    talks = [login(at * 5.0, "Old-1-Secret", client="192.0.2.50") for at in range(110)]
    talks += [login(at * 70.0 + 1, f"Wrong{at}xyz", client="203.0.113.9") for at in range(8)]
    talks += [login(561, "Zulu7Tango-Mike", lets_in=True, client="203.0.113.9")]
    assert told(tmp_path, GUESSED, *talks) == [("high", "high"), ("critical", "medium")]


def test_a_sprayer_who_was_forgotten_meanwhile_is_found_again() -> None:
    kept = FindingList()
    engine = Engine(kept, history=History(clients=8, accounts=100))
    moments = iter(range(1000))

    def rejected(name: str, client: str) -> None:
        session = Session()
        session.start_ns = session.end_ns = START_NS + next(moments) * SECOND
        session.client_ip, session.server_ip = client, "198.51.100.20"
        session.client_port, session.server_port = 40000, 110
        session.protocol = session.port_service = "pop3"
        session.transport = PLAINTEXT
        session.auth_attempts = 1
        one = Credential(
            1, 1, session.start_ns, 0, "USER/PASS", name, None, Secret(f"{name}-{client}"), "password", None, None
        )
        one.outcome = "rejected"
        session.credentials = [one]
        engine.receive(session)

    for at in range(4):
        rejected(f"user{at}", "203.0.113.9")
    for at in range(40):
        rejected("user0", f"192.0.2.{at}")
    for at in range(8):
        rejected(f"user{at % 7}", "203.0.113.9")
    assert SPRAYED in [one.slug for one in kept.findings]


@pytest.mark.parametrize(
    ("users", "busy", "rejected"), [(60, 0, 55), (80, 0, 55), (100, 0, 55), (120, 0, 55), (20, 400, 15)]
)
def test_a_large_web_mailer_is_no_sprayer_whichever_format_is_asked_for(users: int, busy: int, rejected: int) -> None:
    def made() -> list[Session]:
        logins = [(f"bad{at}", "rejected") for at in range(3)]
        logins += [(f"user{at // 2}", "accepted") for at in range(2 * users)]
        logins += [("user0", "accepted")] * busy  # one that is let in again and again drives nobody out
        logins += [(f"bad{at}", "rejected") for at in range(3, rejected)]
        sessions = []
        for number, (name, outcome) in enumerate(logins):
            session = Session()
            session.start_ns = session.end_ns = START_NS + number * SECOND // 10
            session.client_ip, session.server_ip = "192.0.2.10", "198.51.100.20"
            session.client_port, session.server_port = 40000, 110
            session.protocol = session.port_service = "pop3"
            session.transport = PLAINTEXT
            session.auth_attempts, session.auth_accepted = 1, int(outcome == "accepted")
            # A name of its own each time, as from the wire.
            one = Credential(
                1, 1, session.start_ns, 0, "USER/PASS", "".join(list(name)), None, Secret(f"{name}-x"), "password", None, None
            )  # fmt: skip
            one.outcome = outcome
            session.credentials = [one]
            sessions.append(session)
        return sessions

    assert SPRAYED not in [one.slug for one in find(made())]
    assert SPRAYED not in [group.rule.slug for group in glance(made(), [], None).tally.groups()]


def test_accounts_that_are_forgotten_leave_nothing_behind() -> None:
    """Compiled, nobody looks for objects that hold each other: what is forgotten must go by itself."""
    kept = History(accounts=50, clients=50)
    session = Session()
    session.server_ip, session.client_ip = "198.51.100.20", "192.0.2.10"
    gc.collect()
    gc.disable()
    try:
        # Those of earlier tests may still be there.
        older = {id(one) for one in gc.get_objects() if type(one) in (AccountPast, Rejection)}
        for number in range(400):
            for at in range(3):
                kept.rejected(session, Rejection(number * 10 + at, "192.0.2.10", f"user{number}", at + 1))
        past = [one for one in gc.get_objects() if type(one) is AccountPast and id(one) not in older]
        watched = [one for one in gc.get_objects() if type(one) is Rejection and id(one) not in older]
    finally:
        gc.enable()
    assert len(kept.accounts) <= 100
    assert len(past) <= 100
    assert len(watched) <= 300
