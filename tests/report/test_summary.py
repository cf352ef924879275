"""Totals stay bounded: what is beyond the limits is counted, and said."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.findings.base import Found
from analyzer.findings.catalogue import BY_SLUG, RULES
from analyzer.findings.engine import find
from analyzer.findings.tally import MAX_COUNTED, MAX_COUNTED_IN_ALL, MAX_GROUPS, FindingTally
from analyzer.model import Secret
from analyzer.pipeline import Result
from analyzer.report.formats._verdicts import Line
from analyzer.report.formats.text import write_text
from analyzer.report.glance import BATCH, Glancer, glance
from analyzer.report.migration import MAX_MIGRANTS_AT_A_GLANCE
from analyzer.report.overview import Exposed, limits
from analyzer.report.servers import MAX_SERVERS_AT_A_GLANCE
from analyzer.report.summary import (
    CLIENT_MASK,
    MAX_CLIENTS,
    MAX_NAMED,
    MAX_SERVERS,
    AccountTally,
    leading,
    summarize,
)
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.records import PLAINTEXT, Credential, Session


def login(number: int, server: int) -> Session:
    """A login in clear of a client and account of its own."""
    session = Session()
    session.start_ns = session.end_ns = number + 1
    session.client_ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    session.server_ip = f"172.{16 + (server >> 16)}.{server >> 8 & 255}.{server & 255}"
    session.server_port = 110
    session.protocol = session.port_service = "pop3"
    session.transport = PLAINTEXT
    one = Credential(
        1, number, number, 0, "USER/PASS", f"user{number}", None, Secret(f"Zulu7Tango{number}"), "password", None, None
    )
    one.outcome = "accepted"
    session.credentials = [one]
    session.auth_attempts = session.auth_accepted = 1
    return session


def test_servers_beyond_the_limit_are_counted_and_told_of() -> None:
    glancer = Glancer()
    for number in range(MAX_SERVERS + 25):
        glancer.receive_session(login(number, number))
    for number in range(5):
        glancer.receive_session(login(number, number))
    seen = glancer.finish([])
    total = seen.total
    assert total.sessions == total.logins_accepted == MAX_SERVERS + 30
    assert len(total.servers) == len(total.accounts) == MAX_SERVERS
    assert total.others.sessions == total.accounts_left_out == 25
    assert len(seen.servers) == MAX_SERVERS_AT_A_GLANCE
    assert len(seen.migration.rows) == MAX_MIGRANTS_AT_A_GLANCE
    assert len(seen.tally.groups()) == MAX_GROUPS
    assert sum(seen.tally.by_severity) == sum(group.count for group in seen.tally.groups()) + seen.tally.left_out
    assert any("25 sessions on further ones" in note for note in seen.notes)
    assert any("findings at further servers" in note for note in seen.notes)
    assert any("25 sessions on further ones" in line for line in limits(Result(), total))
    # What is known of those within the limit stays exact.
    assert total.servers["172.16.0.0 110"].sessions == 2
    assert total.servers["172.16.0.9 110"].sessions == 1


def test_few_are_told_apart_without_a_word() -> None:
    seen = glance([login(number, number % 3) for number in range(300)], [], None)
    assert seen.total.notes() == []
    names, accepted, rejected, servers, clients = seen.total.exposed()
    assert (len(names), len(accepted), len(rejected), len(servers), len(clients)) == (300, 300, 0, 3, 300)
    assert seen.total.names_of(["10.0.0.7", "10.9.9.9"]) == {"10.0.0.7": {"user7"}, "10.9.9.9": set()}
    assert max(len(group.clients) for group in seen.tally.groups()) == 100 < MAX_COUNTED


def test_findings_are_counted_by_severity() -> None:
    tally = FindingTally()
    assert (tally.by_severity, tally.worst()) == ([0] * 5, -1)
    for severity in range(5):
        for number in range(severity + 1):
            tally.receive_parts(BY_SLUG["weak-password"], severity, "high", login(number, 1), 1, 1, 0, "kim", "", 1)
        assert tally.worst() == severity
    assert tally.by_severity == [1, 2, 3, 4, 5]


def test_numbers_that_are_lower_bounds_say_so() -> None:
    tally = FindingTally()
    rule = BY_SLUG["plaintext-password"]

    def tell(server: int, accounts: int) -> None:
        session = login(7, server)
        for number in range(accounts):
            tally.receive_parts(rule, 3, "high", session, 1, 1, 0, f"user{number}", "", 1)

    def said(server: int) -> tuple[str, str]:
        of = next(group for group in tally.groups() if group.example.session.server_ip == login(7, server).server_ip)  # type: ignore[union-attr]
        one = Line([of], alone=True)
        return one.clients(), one.accounts()

    tell(0, MAX_COUNTED)
    tell(1, MAX_COUNTED + 1)
    assert (said(0), said(1)) == (("1", "1,000"), ("1", "1,000+"))
    tell(2, 5)
    for server in range(3, 3 + MAX_COUNTED_IN_ALL // MAX_COUNTED):
        tell(server, MAX_COUNTED)
    # There is no more room for all together: of each server one client and account are counted all the same.
    tell(900, 2)
    tell(901, 1)
    tell(2, 5)
    assert (said(900), said(901), said(2)) == (("1", "1+"), ("1", "1"), ("1", "5"))
    tell(2, 6)
    assert said(2) == ("1", "5+")
    for number in range(2):
        tally.receive_parts(rule, 3, "high", login(number, 902), 1, 1, 0, None, "", 1)
    assert said(902) == ("1+", "")
    assert Line(tally.groups(), alone=True).accounts() == "1,000+"


#: Clients that an account notes in itself; of more it keeps a set.
FEW = 12


def test_clients_of_an_account_are_told_once_each() -> None:
    assert MAX_CLIENTS <= CLIENT_MASK
    one = AccountTally("kim", "198.51.100.20", 110, "pop3")
    for number in range(3 * FEW):
        for _ in range(2):
            one.add_client(MAX_CLIENTS - number % (2 * FEW))
        assert one.clients() == {MAX_CLIENTS - before for before in range(min(number + 1, 2 * FEW))}
    for number in range(MAX_NAMED):
        assert not one.more_clients
        one.add_client(number + 1)
        if len(one.clients()) == MAX_NAMED:
            break
    one.add_client(MAX_NAMED - 2 * FEW + 1)
    assert (len(one.clients()), one.more_clients) == (MAX_NAMED, True)


@pytest.mark.parametrize("clients", [1, 3, 4, FEW, FEW + 1, 3 * FEW])
def test_the_accounts_of_a_client_are_found_however_many_clients_they_have(clients: int) -> None:
    sessions = []
    for number in range(clients):
        session = login(number + 1, 0)
        (credential,) = session.credentials or ()
        credential.username = "kim"
        sessions.append(session)
    total = summarize(sessions)
    everybody = [session.client_ip for session in sessions]
    assert total.names_of(everybody) == {client: {"kim"} for client in everybody}


def test_clients_beyond_the_limit_are_told_of() -> None:
    """They are among nobody's clients, and the report says that there are more."""
    sessions = [login(number, number % 7) for number in range(MAX_CLIENTS + 5)]
    for session in sessions:
        (credential,) = session.credentials or ()
        credential.username = "kim" if session in sessions[-5:] else "lee"
    total = summarize(sessions)
    assert (len(total.clients), total.clients_left_out) == (MAX_CLIENTS, 5)
    kims = [one for one in total.accounts if one.username == "kim"]
    assert all(one.clients() == set() and one.more_clients for one in kims)
    assert Exposed(total).senders() == f"at least {MAX_CLIENTS:,} clients"
    assert any(f"the first {MAX_CLIENTS:,} clients are told apart; 5 logins" in note for note in total.notes())
    page = io.StringIO()
    write_text(Result(), page, "0", False, TrustStore(), glance(sessions, [], None))
    assert f"from at least {MAX_CLIENTS:,}" in " ".join(page.getvalue().split())


def test_the_leading_accounts_are_those_that_sorting_all_would_show() -> None:
    rng = random.Random(3)
    accounts = []
    for number in range(300):
        one = AccountTally(f"user{number}", f"198.51.100.{number % 3}", 110, "pop3")
        one.accepted, one.rejected, one.other = rng.randrange(3), rng.randrange(4), rng.randrange(2)
        accounts.append(one)
    ranked = sorted(
        accounts,
        key=lambda one: (not one.accepted, -(one.accepted + one.rejected + one.other), one.server_ip, one.username),
    )
    for most in (0, 1, 20, 299, 300, 1000):
        assert leading(accounts, most) == ranked[:most]


#: account, server, client, password, outcome, and a login before it in the same session
LOGINS = st.tuples(
    st.integers(0, 3), st.integers(0, 1), st.integers(0, 4), st.integers(0, 3), st.sampled_from(["accepted", "accepted", "rejected", "unknown"]),
    st.booleans(),
)  # fmt: skip


def tried(number: int, account: int, server: int, client: int, password: int, outcome: str, twice: bool) -> Session:
    session = login(number, server)
    session.client_ip = f"192.0.2.{client}"
    credentials = session.credentials = []
    for at in range(1 + twice):
        word = ["", "Zulu7Tango", "letmein", "Winter-1"][password if at == twice else (password + 1) % 4]
        one = Credential(
            at, number, number * 10**9, at, "USER/PASS", f"user{account}", None, Secret(word), "password", None, None
        )
        one.outcome = outcome if at == twice else "rejected"
        credentials.append(one)
    session.auth_attempts = 1 + twice
    session.auth_accepted = int(outcome == "accepted")
    session.start_ns = session.end_ns = number * 10**9
    return session


@given(st.lists(LOGINS, min_size=1, max_size=200))
def test_what_is_counted_at_a_glance_is_what_the_rules_find(logins: list[tuple[int, int, int, int, str, bool]]) -> None:
    def sessions() -> list[Session]:
        return [tried(number + 1, *one) for number, one in enumerate(logins)]

    wanted: dict[tuple[str, str], int] = {}
    clients: dict[tuple[str, str], set[str]] = {}
    accounts: dict[tuple[str, str], set[str]] = {}
    for finding in find(sessions()):
        assert finding.session is not None
        key = (finding.slug, finding.session.server_ip)
        wanted[key] = wanted.get(key, 0) + 1
        clients.setdefault(key, set()).add(finding.session.client_ip)
        accounts.setdefault(key, set()).update([finding.username] if finding.username is not None else [])
    tally = glance(sessions(), [], None).tally
    groups = tally.groups()
    assert {(one.rule.slug, one.server().split(":")[0]): one.count for one in groups} == wanted
    assert {(one.rule.slug, one.server().split(":")[0]): one.clients for one in groups} == clients
    assert {(one.rule.slug, one.server().split(":")[0]): one.accounts for one in groups} == accounts
    assert sum(tally.by_severity) == sum(wanted.values())


def test_who_proved_a_password_without_sending_it_has_not_exposed_it() -> None:
    sent, proved = login(1, 0), login(2, 0)
    (credential,) = proved.credentials or ()
    credential.username = "user1"
    credential.mechanism, credential.secret, credential.secret_kind = "CRAM-MD5", None, "challenge_response"
    total = summarize([sent, proved])
    names, _, _, servers, clients = total.exposed()
    assert (names, len(servers), clients) == ({"user1"}, 1, {sent.client_ip})
    assert len(total.clients) == 2
    assert [len(one.clients()) for one in total.exposed_accounts()] == [2]
    assert total.hashed_accounts() == []


def test_a_rule_has_a_bit_for_who_was_counted() -> None:
    assert max(rule.number for rule in RULES) < 63


def test_what_goes_wrong_while_counting_costs_one_session() -> None:
    glancer = Glancer()
    for number in range(BATCH - 1):
        glancer.receive_session(login(number + 1, number % 3))
    broken = login(BATCH, 0)
    broken.credentials = [None]  # type: ignore[list-item]
    with pytest.raises((AttributeError, TypeError)):
        glancer.receive_session(broken)
    broken.credentials = None
    seen = glancer.finish([])
    assert seen.total.sessions == BATCH
    assert sum(group.count for group in seen.tally.groups() if group.rule.slug == "plaintext-password") == BATCH - 1


def test_who_is_interrupted_goes_on_where_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    glancer = Glancer()
    for number in range(BATCH - 1):
        glancer.receive_session(login(number + 1, number % 3))
    rule = next(one for one in RULES if one.slug == "plaintext-password")
    judge = rule.judge
    judged: list[int] = []

    def interrupted(session: Session, found: Found) -> None:
        judged.append(session.start_ns)
        if len(judged) == 20:
            raise KeyboardInterrupt
        judge(session, found)

    monkeypatch.setattr(rule, "judge", interrupted)
    with pytest.raises(KeyboardInterrupt):
        glancer.receive_session(login(BATCH, 0))
    seen = glancer.finish([])
    assert seen.total.sessions == len(judged) == len(set(judged)) == BATCH
    (count,) = {sum(group.count for group in seen.tally.groups() if group.rule is rule)}
    assert count == BATCH - 1  # the one at which it was interrupted
