"""Servers and their grades; clients in clear and the settings to enter; what closing a port would cut off."""

from __future__ import annotations

import random
import ssl
from pathlib import Path

import pytest
from support import tls as lab
from support.jobs import job_of, text_of
from support.traffic import Frame, Talk
from support.verdicts import failed_tls, good_tls, identity, read, shown, talk, tls, trust

from analyzer.model import Secret
from analyzer.pipeline import Result
from analyzer.protocols.events import BEARER_TOKEN, NO_SECRET, PASSWORD
from analyzer.report.columns import TABLES
from analyzer.report.migration import Migrants, migrate
from analyzer.report.rows import RowList, RowMaker, push_rows
from analyzer.report.servers import postures
from analyzer.report.summary import Summary, add_session
from analyzer.sessions.records import PLAINTEXT, Credential, Session

CLEAR = "S: +OK ready\nC: CAPA\nS: +OK\nS: {}USER\nS: .\nC: USER {}\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: {} in\nC: QUIT\nS: +OK bye"
STLS = "S: +OK ready\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\nC: STLS\nS: +OK go"
SMTP = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: {}250 AUTH PLAIN\nC: AUTH PLAIN AGtpbQBadWx1N1RhbmdvLU1pa2U=\nS: 235 in\nC: QUIT\nS: 221 bye"


def clear(
    user: str = "kim",
    *,
    offer: str = "STLS\\r\\n",
    port: int = 110,
    client: str = "192.0.2.10",
    at: float = 0,
    outcome: str = "+OK",
    server: str = "198.51.100.20",
) -> Talk:
    return talk(CLEAR.format(offer, user, outcome), port, client=client, server=server, at=at)


def rows(folder: Path, table: str, *talks: Talk | list[Frame]) -> list[dict[str, object]]:
    result = read(folder, talks)
    maker = RowMaker()
    maker.trust = trust(folder)
    sink = RowList()
    push_rows(table, result.sessions, result.captures, maker, sink)
    names = [column.name for column in TABLES[table]]
    return [dict(zip(names, row, strict=True)) for row in sink.rows]


# -- settings ------------------------------------------------------------------------------------------------------------------


def advice(folder: Path, *talks: Talk | list[Frame]) -> list[tuple[object, ...]]:
    return [
        (one["username"], one["current"], one["recommended"], one["seen_working"])
        for one in rows(folder, "migration", *talks)
    ]


def test_tls_from_the_first_octet_that_was_seen_working_comes_first(tmp_path: Path) -> None:
    inside = tls(good_tls(), client="192.0.2.50", at=9)
    upgraded = tls(good_tls(), 110, client="192.0.2.51", at=12, before=STLS)
    assert advice(tmp_path, clear(), inside, upgraded) == [
        ("kim", "POP3 port 110, no encryption", "POP3 port 995, SSL/TLS", True)
    ]


def test_starttls_that_works_comes_before_what_was_not_seen(tmp_path: Path) -> None:
    upgraded = tls(good_tls(), 110, client="192.0.2.51", at=12, before=STLS)
    assert advice(tmp_path, clear(), upgraded)[0][2:] == ("POP3 port 110, STARTTLS", True)


def test_tls_from_the_first_octet_that_may_be_there_comes_before_an_offer_that_nobody_used(tmp_path: Path) -> None:
    assert advice(tmp_path, clear())[0][2:] == ("POP3 port 995, SSL/TLS", False)
    assert rows(tmp_path, "migration", clear())[0]["basis"] == "not seen: check first that this server has it"


def test_what_the_server_is_known_not_to_offer_is_never_recommended(tmp_path: Path) -> None:
    assert advice(tmp_path, clear(offer=""))[0][2:] == ("POP3 port 995, SSL/TLS", False)
    without = talk(SMTP.format(""), 587)
    assert advice(tmp_path, without)[0][2] == "SMTP port 465, SSL/TLS"
    sieve = talk(
        'S: "SASL" "PLAIN"\nS: OK "ready"\nC: AUTHENTICATE "PLAIN" "AGtpbQBadWx1N1RhbmdvLU1pa2U="\nS: OK "in"', 4190
    )
    found = rows(tmp_path, "migration", sieve)[0]
    assert (found["recommended"], found["seen_working"]) == (None, False)
    assert "no TLS" in str(found["basis"])


def test_submission_goes_to_465_or_587(tmp_path: Path) -> None:
    offered = talk(SMTP.format("250-STARTTLS\\r\\n"), 587)
    assert advice(tmp_path, offered)[0][1:] == ("SMTP port 587, no encryption", "SMTP port 465, SSL/TLS", False)
    both = tls(good_tls(), 465, client="192.0.2.50", at=9)
    assert advice(tmp_path, offered, both)[0][2:] == ("SMTP port 465, SSL/TLS", True)
    relay = talk(SMTP.format("250-STARTTLS\\r\\n"), 25)
    found = rows(tmp_path, "migration", relay, both)[0]
    assert found["recommended"] == "SMTP port 465, SSL/TLS"
    assert found["closing"] == "refusing logins on port 25 of 198.51.100.20 today would cut off 1 client, 1 account"


def test_another_server_says_nothing_about_this_one(tmp_path: Path) -> None:
    other = tls(good_tls(), server="198.51.100.99", client="192.0.2.50", at=9)
    assert advice(tmp_path, clear(offer=""), other)[0][2:] == ("POP3 port 995, SSL/TLS", False)


def test_a_server_whose_handshakes_fail_is_recommended_last(tmp_path: Path) -> None:
    failing = tls(failed_tls(), client="192.0.2.50", at=9)
    assert advice(tmp_path, clear(), failing)[0][2] == "POP3 port 110, STARTTLS"
    found = rows(tmp_path, "migration", clear(offer=""), failing)[0]
    assert found["recommended"] == "POP3 port 995, SSL/TLS"
    assert "handshakes failed" in str(found["basis"])


def test_misconfigurations_are_named(tmp_path: Path) -> None:
    version = ssl.TLSVersion.TLSv1_2
    distrust = lab.Connection(lab.context(0, version, verify=True), lab.context(1, version)).shake_hands().pieces
    deleting = talk(
        "S: +OK\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: RETR 1\nS: +OK\nS: Subject: x\\r\\n\\r\\ny\\r\\n.\nC: DELE 1\nS: +OK\nC: QUIT\nS: +OK",
        at=20,
    )
    found = rows(
        tmp_path,
        "migration",
        tls(distrust),
        deleting,
        talk("S: +OK\nC: USER lee\nS: +OK\nC: PASS Zulu7Tango-Mike", 995, at=40),
    )
    by_name = {str(one["username"]): " / ".join(one["problems"]) for one in found}  # type: ignore[arg-type]
    assert "certificate error" in by_name["kim"]
    assert "unknown_ca" in by_name["kim"]
    assert "deletes mail" in by_name["kim"]
    assert "port 995 without SSL/TLS" in by_name["lee"]


def test_names_are_better_than_addresses(tmp_path: Path) -> None:
    assert rows(tmp_path, "migration", clear())[0]["host"] == "198.51.100.20"
    assert rows(tmp_path, "migration", clear(), tls(shown(identity().chain), at=9))[0]["host"] == lab.HOST


def test_tokens_need_oauth2(tmp_path: Path) -> None:
    token = talk(
        "S: * OK [CAPABILITY STARTTLS AUTH=XOAUTH2] x\nC: a AUTHENTICATE XOAUTH2 dXNlcj1raW0BYXV0aD1CZWFyZXIgeWEyOS5adWx1AQE=\nS: a OK in",
        143,
    )
    assert [one["authentication"] for one in rows(tmp_path, "migration", token, clear())] == [
        "OAuth2",
        "normal password",
    ]


def test_who_guesses_has_no_setting_to_change(tmp_path: Path) -> None:
    wrong = "S: +OK\nC: USER {}\nS: +OK\nC: PASS {}\nS: -ERR no\nC: QUIT\nS: +OK"
    guessing = [talk(wrong.format("kim", f"Zulu{at}"), client="192.0.2.66", at=at) for at in range(6)]
    spraying = [talk(wrong.format(f"user{at}", "Zulu7"), client="192.0.2.67", at=20 + at) for at in range(6)]
    forgetful = [talk(wrong.format("lee", "Zulu7"), client="192.0.2.68", at=40 + at) for at in range(6)]
    found = rows(tmp_path, "migration", *guessing, *spraying, *forgetful)
    assert [(one["username"], one["problems"]) for one in found] == [("lee", ["was not let in"])]


def test_an_office_of_thirty(tmp_path: Path) -> None:
    """One server with STLS and TLS, thirty clients, eleven of them in clear: the table has exactly those."""
    talks: list[Talk | list[Frame]] = []
    for number in range(30):
        client = f"192.0.2.{100 + number}"
        for again in range(2):
            at = number * 10 + again * 5
            if number < 11:
                talks.append(clear(f"user{number}", client=client, at=at))
            elif number < 20:
                talks.append(tls(good_tls(), 110, client=client, at=at, before=STLS))
            else:
                talks.append(tls(good_tls(), client=client, at=at))
    found = rows(tmp_path, "migration", *talks)
    assert {(one["client_ip"], one["username"]) for one in found} == {
        (f"192.0.2.{100 + number}", f"user{number}") for number in range(11)
    }
    assert len(found) == 11
    assert {one["recommended"] for one in found} == {"POP3 port 995, SSL/TLS"}
    assert all(one["seen_working"] for one in found)
    assert {one["closing"] for one in found} == {
        "closing port 110 of 198.51.100.20 today would cut off 11 clients, 11 accounts in clear, and 9 clients with STARTTLS"
    }
    result = read(tmp_path, talks)
    assert [
        (len(port.clients), len(port.accounts))
        for port in migrate(result.sessions, postures(result.sessions, None)).ports
    ] == [(11, 11)]


# -- servers -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("talks", "grade", "reason"),
    [
        (lambda: [clear()], "F", "readable passwords"),
        (lambda: [tls(good_tls())], "A", "TLS from the first octet"),
        (lambda: [tls(shown(identity().chain))], "A", "TLS from the first octet"),
        (lambda: [tls(shown(identity(first=-400, last=-1).chain))], "C", "has expired"),
        (lambda: [tls(shown(identity(last=10).chain))], "B", "expires soon"),
        (lambda: [tls(lab.old_handshake(0x0300, 0x002F))], "F", "SSLv3"),
        (lambda: [tls(lab.old_handshake(0x0301, 0x002F))], "C", "TLSv1.0"),
        (lambda: [tls(failed_tls())], "C", "handshakes failed"),
        (lambda: [talk("S: +OK\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: QUIT\nS: +OK")], "D", "no STARTTLS"),
        (lambda: [talk("S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\nC: QUIT\nS: +OK")], "C", "invites passwords"),
        (lambda: [talk("S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: SASL SCRAM-SHA-256\nS: .\nC: QUIT\nS: +OK")], "A", "takes no passwords before TLS"),
        (lambda: [talk("S: +OK\nC: QUIT\nS: +OK")], "unseen", "shows neither"),
    ],
)  # fmt: skip
def test_grades(talks: object, grade: str, reason: str, tmp_path: Path) -> None:
    found = rows(tmp_path, "servers", *talks())  # type: ignore[operator] # a function without arguments
    assert len(found) == 1
    assert found[0]["grade"] == grade
    assert reason in " / ".join(found[0]["reasons"])  # type: ignore[arg-type]


def test_an_offer_is_always_sometimes_never_or_unseen(tmp_path: Path) -> None:
    with_it, without, silent = (
        clear(),
        clear(offer="", at=5),
        talk("S: +OK\nC: USER a\nS: +OK\nC: PASS b\nS: +OK", at=9),
    )
    for talks, word in (
        ((with_it,), "always"),
        ((with_it, without), "sometimes"),
        ((without,), "never"),
        ((silent,), "unseen"),
    ):
        assert [one["starttls_offered"] for one in rows(tmp_path, "servers", *talks)] == [word]


def test_an_offer_that_is_refused_is_counted_once(tmp_path: Path) -> None:
    def said(*talks: Talk) -> tuple[object, list[str]]:
        one = rows(tmp_path, "servers", *talks)[0]
        return one["starttls_offered"], [reason for reason in one["reasons"] if "STARTTLS" in reason]  # type: ignore[attr-defined]

    listing = "S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\n"
    refused, bare = talk(listing + "C: STLS\nS: -ERR no"), talk("S: +OK\nC: STLS\nS: -ERR no")
    without = talk((listing + "C: STLS\nS: -ERR no").replace("S: STLS\n", ""))
    assert said(refused) == ("always", ["offers STARTTLS and refuses it"])
    assert said(without) == ("never", ["refuses STARTTLS"])
    assert said(bare) == ("unseen", ["refuses STARTTLS"])
    assert said(refused, clear(at=5)) == ("always", ["refused STARTTLS in 1 session", "offers STARTTLS"])
    works = tls(good_tls(), 110, before=STLS, at=5)
    assert said(refused, works) == ("always", ["refused STARTTLS in 1 session", "STARTTLS works"])
    some = ["offers STARTTLS and refuses it", "offers STARTTLS only sometimes (1 of 2 sessions)"]
    assert said(refused, clear(offer="", at=5)) == ("sometimes", some)


def test_a_server_has_one_row_a_port_and_protocol(tmp_path: Path) -> None:
    found = rows(tmp_path, "servers", clear(), clear(port=8110, at=5), tls(good_tls(), at=9), clear(at=20))
    assert [(one["server_port"], one["protocol"], one["sessions"]) for one in found] == [
        (110, "pop3", 2),
        (8110, "pop3", 1),
        (995, "pop3", 1),
    ]
    assert found[2]["tls_versions"] == ["TLSv1.3"]
    assert found[0]["accepted_mechanisms"] == ["USER/PASS"]


def test_what_finds_no_room_in_the_table_is_counted_all_the_same(tmp_path: Path) -> None:
    result = read(tmp_path, [clear(f"user{at}", client=f"192.0.2.{100 + at}", at=at) for at in range(6)])
    migrants = Migrants(2)
    for session in result.sessions:
        migrants.receive(session)
    found = migrants.finish(postures(result.sessions, None))
    assert (len(found.rows), found.left_out) == (2, 4)
    assert [(len(port.clients), len(port.accounts)) for port in found.ports] == [(6, 6)]


def some_session(rng: random.Random, number: int) -> Session:
    """Logins of few clients to few accounts, in clear, at ports that more than one protocol may use."""
    session = Session()
    session.start_ns = session.end_ns = number + 1
    session.client_ip = f"192.0.2.{rng.randrange(4)}"
    session.server_ip = f"198.51.100.{rng.randrange(2)}"
    session.server_port = 110
    session.protocol = rng.choice(("pop3", "pop3", "imap"))
    session.transport = PLAINTEXT
    session.credentials = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.choice((PASSWORD, PASSWORD, NO_SECRET, BEARER_TOKEN))
        name = rng.choice((None, "kim", "ann", "lee", "eva"))
        one = Credential(1, number, number, 0, "PLAIN", name, None, Secret(f"Zulu{rng.randrange(9)}"), kind, None, None)
        one.outcome = rng.choice(("accepted", "rejected", "unknown"))
        session.credentials.append(one)
    return session


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("limit", [0, 1, 3, 8, 1000])
def test_the_totals_only_save_looking_up(seed: int, limit: int) -> None:
    rng = random.Random(seed)
    sessions = [some_session(rng, number) for number in range(60)]
    found: list[object] = []
    for total in (None, Summary()):
        migrants = Migrants(limit)
        for session in sessions:
            if total is not None:
                add_session(total, session)
            migrants.receive(session, total)
        table = migrants.finish([])
        found.append(
            (
                table.left_out,
                [(one.client_ip, one.username, one.port.protocol, one.logins, one.rejected) for one in table.rows],
                [(port.server_ip, port.protocol, port.clients, port.accounts) for port in table.ports],
            )
        )
    assert found[0] == found[1]


# -- odd cases -----------------------------------------------------------------------------------------------------------------

SIEVE = 'S: "IMPLEMENTATION" "x"\nS: "SASL" "PLAIN"\nS: {}OK "ready"\nC: AUTHENTICATE "PLAIN" "AGtpbQBadWx1N1RhbmdvLU1pa2U="\nS: OK "in"'
LMTP = "S: 220 lmtp\nC: LHLO pc\nS: 250-lmtp\nS: {}250 AUTH PLAIN\nC: AUTH PLAIN AGtpbQBadWx1N1RhbmdvLU1pa2U=\nS: 235 in\nC: QUIT\nS: 221 bye"
OFFER = "250-STARTTLS\\r\\n"


@pytest.mark.parametrize(
    ("made", "recommended", "closing"),
    [
        # what has one port only is not closed
        (lambda: talk(SIEVE.format('"STARTTLS"\\r\\n'), 4190), "ManageSieve port 4190, STARTTLS", "refusing clear text on port 4190"),
        (lambda: talk(SIEVE.format(""), 4190), None, "refusing clear text on port 4190"),
        (lambda: talk(LMTP.format(OFFER), 24), "LMTP port 24, STARTTLS", "refusing clear text on port 24"),
        (lambda: talk(LMTP.format(""), 24), None, "refusing clear text on port 24"),
        # a service on a port of its own
        (lambda: talk(SMTP.format(OFFER), 2525), "SMTP port 2525, STARTTLS", "refusing clear text on port 2525"),
        (lambda: talk(SMTP.format(""), 2525), "SMTP port 465, SSL/TLS", "closing port 2525"),
        (lambda: clear(port=8110), "POP3 port 8110, STARTTLS", "refusing clear text on port 8110"),
        # servers' own port
        (lambda: talk(SMTP.format(OFFER), 25), "SMTP port 465, SSL/TLS", "refusing logins on port 25"),
        # a port for TLS that speaks clear text has no TLS from the first octet
        (lambda: clear(offer="", port=995), "POP3 port 110, STARTTLS", "refusing clear text on port 995"),
        (lambda: talk("C: USER kim\nC: PASS Zulu7Tango-Mike", 995), "POP3 port 995, SSL/TLS", "refusing clear text on port 995"),
    ],
)  # fmt: skip
def test_odd_services_get_settings_that_make_sense(
    made: object, recommended: str | None, closing: str, tmp_path: Path
) -> None:
    (found,) = rows(tmp_path, "migration", made())  # type: ignore[operator]
    assert found["recommended"] == recommended
    assert str(found["closing"]).startswith(closing)


def test_a_port_for_tls_that_takes_clear_text_is_not_said_not_to_work(tmp_path: Path) -> None:
    (found,) = rows(tmp_path, "migration", clear(offer="", port=995))
    assert found["problems"] == ["port 995 without SSL/TLS: the server takes it, though the port is for TLS"]


def test_a_server_of_version_six(tmp_path: Path) -> None:
    made = talk(CLEAR.format("STLS\\r\\n", "kim", "+OK"), client="2001:db8::7", server="2001:db8::1")
    (found,) = rows(tmp_path, "migration", made)
    assert (found["server_ip"], found["host"], found["recommended"]) == (
        "2001:db8::1",
        "2001:db8::1",
        "POP3 port 995, SSL/TLS",
    )
    assert found["closing"] == "closing port 110 of 2001:db8::1 today would cut off 1 client, 1 account"


def test_the_name_that_is_used_with_the_protocol_is_better_than_another(tmp_path: Path) -> None:
    pop3 = tls(shown(identity(name="pop.example.test").chain, asks="pop.example.test"), at=9)
    imap = tls(shown(identity(name="imap.example.test").chain, asks="imap.example.test"), 993, at=18)
    assert rows(tmp_path, "migration", clear(), pop3, imap)[0]["host"] == "pop.example.test"
    assert rows(tmp_path, "migration", clear(), imap)[0]["host"] == "imap.example.test"


@pytest.mark.parametrize("totals", [False, True])
def test_guessers_do_not_fill_the_table(totals: bool) -> None:
    sessions = []
    for number in range(60):
        session = some_session(random.Random(number), number)
        guesses = number < 40
        session.client_ip = "192.0.2.66" if guesses else f"192.0.2.{number}"
        one = Credential(1, number, number, 0, "PLAIN", f"user{number}", None, Secret("Zulu7"), PASSWORD, None, None)
        one.outcome = "rejected" if guesses else "accepted"
        session.credentials = [one]
        sessions.append(session)
    migrants = Migrants(20)
    total = Summary() if totals else None
    for session in sessions:
        if total is not None:
            add_session(total, session)
        migrants.receive(session, total)
    found = migrants.finish([])
    assert [one.username for one in found.rows] == [f"user{number}" for number in range(40, 50)]
    assert found.left_out == 10


def test_who_was_never_let_in_is_not_cut_off(tmp_path: Path) -> None:
    lee = clear("lee", client="192.0.2.11", at=9, outcome="-ERR")
    found = rows(tmp_path, "migration", clear(), lee, clear("ann", client="192.0.2.11", at=18))
    assert [(one["username"], one["accounts"]) for one in found] == [("kim", 1), ("lee", 2), ("ann", 2)]
    assert str(found[1]["closing"]).endswith("would cut off 2 clients, 2 accounts")
    (alone,) = rows(tmp_path, "migration", lee)
    assert (alone["accounts"], alone["recommended"]) == (1, "POP3 port 995, SSL/TLS")
    assert str(alone["closing"]).endswith("would cut off 0 clients, 0 accounts")


def test_what_closing_cuts_off_does_not_depend_on_the_room_in_the_table() -> None:
    rng = random.Random(7)
    sessions = [some_session(rng, number) for number in range(300)]
    for one in sessions:
        one.client_ip = f"192.0.2.{rng.randrange(200)}"
    told = []
    for limit in (0, 5, 50, 100_000):
        migrants = Migrants(limit)
        for one in sessions:
            migrants.receive(one)
        told.append({(port.server_ip, port.protocol, port.closing) for port in migrants.finish([]).ports})
    assert told[0] == told[1] == told[2] == told[3]


def both_reports(result: Result) -> list[list[str]]:
    """The sentences on closing ports, of the text report and of what page and Markdown have."""
    text, markdown = (text_of(job_of(result), form) for form in ("text", "markdown"))
    lines = text[text.index("Settings to change") :].split("\n\n")[0].replace("\n    ", " ").split("\n")
    return [
        [line.strip() for line in lines if line.startswith("  ")],
        [line[2:] for line in markdown[markdown.index("## Migration") :].split("\n\n")[1].split("\n")],
    ]


def test_sentences_on_closing_come_in_one_order_and_what_is_left_is_counted(tmp_path: Path) -> None:
    made = [
        clear(f"kim{at}", client=f"192.0.2.{at + 1}", server=f"198.51.100.{server}", at=server * 50 + at)
        for server in range(1, 14)
        for at in range(server % 7 + 1)
    ]
    refused = clear("lee", server="198.51.100.99", at=900, outcome="-ERR")
    text, markdown = both_reports(read(tmp_path, [*made, refused]))
    assert len(text) == 6
    assert text[:5] == markdown[:5]
    assert text[0] == "Closing port 110 of 198.51.100.13 today would cut off 7 clients, 7 accounts."
    assert text[5] == "And so on for 8 more ports (all: --format csv --table migration)."
    assert len(markdown) == 11
    assert markdown[10] == "And so on for 3 more ports."
    assert not [line for line in text + markdown if "cut off 0" in line or "100.99" in line]


def test_nobody_is_told_to_close_a_port_for_tls(tmp_path: Path) -> None:
    """Clear text on it is refused; and the same port with an upgrade by STARTTLS, and nobody in clear, is not told at all."""
    result = read(tmp_path, [clear(port=995), talk(SMTP.format(""), 465, at=9), clear("lee", outcome="-ERR", at=18)])
    for told in both_reports(result):
        assert sorted(told) == [
            "Refusing clear text on port 465 of 198.51.100.20 today would cut off 1 client, 1 account.",
            "Refusing clear text on port 995 of 198.51.100.20 today would cut off 1 client, 1 account.",
        ]
