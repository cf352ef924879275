"""What every report leads with: nothing reassures where logins may have gone unseen, and guesses are told apart from accounts."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.jobs import SAMPLES, job_of, result_of, text_of
from support.traffic import START_NS as NOW_NS
from support.traffic import Frame, Talk, capture
from support.verdicts import good_tls, lost, read, talk, tls

from analyzer.pipeline import Result, run
from analyzer.report.cards import unjudged_sessions
from analyzer.report.columns import TABLES
from analyzer.report.overview import Exposed, Verdict, make_overview, verdict
from analyzer.report.summary import summarize
from analyzer.report.tables import Report

POP3 = "S: +OK ready\nC: USER {0}\nS: +OK\nC: PASS Zulu7Tango-{0}\nS: {1}\nC: QUIT\nS: +OK bye"
IN, OUT = "+OK in", "-ERR [AUTH] no"
#: A session in clear in which nobody logs in.
QUIET = "S: +OK ready\nC: CAPA\nS: +OK\nS: USER\nS: .\nC: QUIT\nS: +OK bye"


def login(
    name: str, reply: str = IN, *, at: float = 0, client: str = "192.0.2.10", server: str = "198.51.100.20"
) -> Talk:
    return talk(POP3.format(name, reply), at=at, client=client, server=server)


def of_the_server(made: Talk) -> list[Frame]:
    """What the server sent: frames are told by their source port."""
    return [frame for frame in made.frames() if int.from_bytes(frame[1][34:36]) == 110]


def said_of(result: Result) -> Verdict:
    return verdict(summarize(result.sessions), {})


def both(result: Result) -> tuple[str, str]:
    """The verdict of the page, and the lead of the text report on one line."""
    overview = make_overview(job_of(result))
    lead = text_of(job_of(result), "text").split("\n\n")[1]
    return overview.verdict, " ".join(lead.split())


@pytest.mark.parametrize("login_there", [True, False])
def test_without_the_clients_side_logins_cannot_be_judged(login_there: bool, tmp_path: Path) -> None:
    made = [login("kim", at=at) if login_there else talk(QUIET, at=at) for at in (0, 5)]
    result = read(tmp_path, [of_the_server(one) for one in made])
    found = said_of(result)
    assert (found.kind, found.tone) == ("unjudged", "warn")
    sentence = "Logins cannot be judged: of 2 sessions in clear the clients' side was not captured."
    assert found.sentence() == sentence
    told, lead = both(result)
    assert told == sentence
    assert lead.startswith(sentence)
    assert "No password" not in lead


def test_mail_that_was_readable_hides_no_doubt_about_logins() -> None:
    """Near miss: with the clients' side there, logins are told."""
    result = result_of("server-only.pcap")
    found = said_of(result)
    assert found.tone == "warn"
    assert "of 3 sessions in clear the clients' side was not captured" in found.sentence()
    assert said_of(result_of("client-only.pcap")).tone == "bad"


def test_a_session_that_had_begun_before_may_have_had_its_login_then(tmp_path: Path) -> None:
    late = Talk(handshake=False).play("C: STAT\nS: +OK 0 0\nC: NOOP\nS: +OK\nC: QUIT\nS: +OK bye")
    result = read(tmp_path, [late, talk(QUIET, at=9)])
    assert said_of(result).sentence() == (
        "Logins cannot be judged: 1 session in clear began before the capture. "
        "In 1 other mail session no password, token or message was readable."
    )
    # A login after it, that is seen: then that is what counts.
    seen = Talk(handshake=False).play("C: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in")
    assert said_of(read(tmp_path, [seen])).kind == "readable"


def test_octets_that_are_missing_may_have_been_a_login(tmp_path: Path) -> None:
    whole = login("kim")
    frames = whole.frames()
    at = [number for number, frame in enumerate(frames) if b"USER" in frame[1] or b"PASS" in frame[1]]
    holed = [frame for number, frame in enumerate(frames) if number not in range(at[0], at[-1] + 1)]
    found = said_of(read(tmp_path, [holed]))
    assert (found.kind, found.sentence()) == (
        "unjudged",
        "Logins cannot be judged: 1 session in clear lacks octets.",
    )
    assert said_of(read(tmp_path, [lost(talk(QUIET), 0, 0)])).tone == "good"


def of_the_client(made: Talk, without: bytes = b"\0none") -> list[Frame]:
    """What the client sent, without the segment that holds some octets."""
    mine = [frame for frame in made.frames() if int.from_bytes(frame[1][34:36]) != 110]
    return [frame for frame in mine if without not in frame[1]]


def test_what_the_client_alone_tells_may_lack_its_login(tmp_path: Path) -> None:
    """Octets that are missing, or the beginning, count as they do with both sides; near misses: all of the client's side, with nothing to see."""
    apop = "S: +OK ready <1.2@example.test>\nC: APOP kim 0123456789abcdef0123456789abcdef\nS: +OK in\nC: STAT\nS: +OK 0 0\nC: QUIT\nS: +OK bye"
    holed = of_the_client(talk(apop), without=b"APOP")
    assert said_of(read(tmp_path, [holed])).sentence() == "Logins cannot be judged: 1 session in clear lacks octets."
    late = of_the_client(Talk(handshake=False).play("C: STAT\nS: +OK 0 0\nC: NOOP\nS: +OK\nC: QUIT\nS: +OK bye"))
    assert said_of(read(tmp_path, [late])).sentence() == (
        "Logins cannot be judged: 1 session in clear began before the capture."
    )
    assert said_of(read(tmp_path, [of_the_client(talk(QUIET))])).tone == "good"
    assert said_of(read(tmp_path, [of_the_client(talk(apop))])).kind == "hashed"


def test_a_login_that_the_capture_cuts_off_reassures_nobody(tmp_path: Path) -> None:
    begun = talk("S: +OK ready\nC: USER kim\nS: +OK", closed=False)
    assert said_of(read(tmp_path, [begun])).sentence() == (
        "Logins cannot be judged: in 1 session in clear the capture ends within a login."
    )
    # Near misses: one that the client gave up, and a session without any that has not ended.
    given_up = talk("S: +OK ready\nC: USER kim\nS: +OK\nC: QUIT\nS: +OK bye")
    assert said_of(read(tmp_path, [given_up])).tone == "good"
    assert said_of(read(tmp_path, [talk("S: +OK ready\nC: NOOP\nS: +OK", closed=False)])).tone == "good"


def test_a_login_that_gave_nothing_hides_no_doubt_about_others(tmp_path: Path) -> None:
    """One that was cancelled is none; near miss: who was let in without a secret logs in no more."""
    cancelled = "C: a1 AUTHENTICATE PLAIN\nS: +\nC: *\nS: a1 BAD cancelled\nC: a2 LOGOUT\nS: * BYE\nS: a2 OK bye"
    late = Talk(server_port=143, handshake=False).play(cancelled)
    assert said_of(read(tmp_path, [late])).kind == "unjudged"
    anonymous = "C: a1 AUTHENTICATE ANONYMOUS\nS: +\nC: YW5v\nS: a1 OK in\nC: a2 LOGOUT\nS: * BYE\nS: a2 OK bye"
    late = Talk(server_port=143, handshake=False).play(anonymous)
    assert said_of(read(tmp_path, [late])).tone == "good"


def test_of_headers_alone_nothing_can_be_judged(tmp_path: Path) -> None:
    """A snap length that leaves nothing of what was said, on a port for clear text; on one for TLS that is as with TLS."""
    for port, kind in ((110, "unjudged"), (995, "good")):
        records = [capture([])]
        for moment, frame in talk(POP3.format("kim", IN), port).frames():
            record = capture([(moment, frame[:54])])[24:]
            records.append(record[:12] + struct.pack("<I", len(frame)) + record[16:])
        path = tmp_path / f"{port}.pcap"
        path.write_bytes(b"".join(records))
        found = said_of(run([path]))
        assert found.kind == kind, found.sentence()


def test_what_is_whole_or_sealed_reassures(tmp_path: Path) -> None:
    """Near misses: a session in clear without a login, and TLS met midstream."""
    assert said_of(read(tmp_path, [talk(QUIET)])).sentence() == (
        "No password, token or message was readable in 1 mail session."
    )
    met = tls(good_tls()).frames()[5:]
    found = said_of(read(tmp_path, [met]))
    assert (found.kind, found.tone) == ("good", "good")
    assert found.sentence().endswith("as far as this capture can tell.")


def guesses(names: int, client: str = "203.0.113.9", first: int = 0) -> list[Talk]:
    return [login(f"name{at}", OUT, at=100 + at, client=client) for at in range(first, first + names)]


def test_names_that_were_only_tried_are_told_apart(tmp_path: Path) -> None:
    made = [login("kim"), login("lee", at=5), *guesses(7), login("lee", OUT, at=50, client="203.0.113.9")]
    result = read(tmp_path, made)
    sentence = "2 accounts on 1 server sent their passwords or tokens in clear, from 2 clients; 7 more names were tried and rejected."
    told, lead = both(result)
    assert told == sentence
    assert lead.startswith(f"EXPOSED: {sentence} servers 198.51.100.20:110 clients 203.0.113.9, 192.0.2.10 ")
    exposed = Exposed(summarize(result.sessions))
    assert len(exposed.accounts) == 9
    assert exposed.came_of_it() == "2 let in, 7 rejected"
    assert (exposed.accepted, exposed.rejected) == ({"kim", "lee"}, {f"name{at}" for at in range(7)})


def test_servers_and_clients_are_those_of_the_accounts_that_lead(tmp_path: Path) -> None:
    made = [login("kim"), login("lee", OUT, at=9, client="203.0.113.9", server="198.51.100.99")]
    told, lead = both(read(tmp_path, made))
    assert (
        told
        == "1 account on 1 server sent its password or token in clear, from 1 client; 1 more name was tried and rejected."
    )
    assert "servers 198.51.100.20:110 clients 192.0.2.10 " in lead
    assert "198.51.100.99" not in lead


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (1, "1 account on 1 server sent its password or token in clear, from 1 client, rejected."),
        (3, "3 accounts on 1 server sent their passwords or tokens in clear, from 1 client, all rejected."),
    ],
)
def test_rejected_secrets_were_readable_all_the_same(names: int, sentence: str, tmp_path: Path) -> None:
    result = read(tmp_path, guesses(names))
    assert said_of(result).tone == "bad"
    assert both(result)[0] == sentence


def test_an_outcome_that_was_not_seen_is_no_rejection(tmp_path: Path) -> None:
    """What the brackets say is said of the accounts, not of the clients."""
    open_end = "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS Zulu7Tango-Mike"
    unseen = [talk(open_end.format(name), at=at, closed=False) for at, name in ((5, "lee"), (7, "max"))]
    told, _ = both(read(tmp_path, unseen))
    assert told.startswith(
        "2 accounts (outcome not seen) on 1 server sent their passwords or tokens in clear, from 1 client."
    )
    told, _ = both(read(tmp_path, [login("kim"), *unseen, *guesses(1)]))
    assert told == (
        "3 accounts (1 let in, outcome of 2 not seen) on 1 server sent their passwords or tokens in clear, from 1 client; "
        "1 more name was tried and rejected."
    )


def test_attacks_without_readable_secrets_are_in_every_verdict() -> None:
    told, lead = both(result_of("starttls-injection.pcap"))
    assert told == "No password or message was readable, but 6 findings of high severity want attention."
    assert lead.startswith(told)


def test_a_login_without_a_name_is_told_with_all_that_stands_beside_it(tmp_path: Path) -> None:
    nameless = [talk(POP3.format("kim", IN), at=at) for at in (0, 5)]
    holed = [[frame for frame in one.frames() if b"USER" not in frame[1]] for one in nameless]
    apop = talk(
        "S: +OK ready <1.2@example.test>\nC: APOP lee 0123456789abcdef0123456789abcdef\nS: +OK in\nC: QUIT\nS: +OK bye",
        at=9,
    )
    late = Talk(client_port=47000, handshake=False).play("C: STAT\nS: +OK 0 0\nC: NOOP\nS: +OK\nC: QUIT\nS: +OK bye")
    told, lead = both(read(tmp_path, [holed[0]]))
    assert told == "1 login went over the wire in clear; the account name could not be read."
    assert lead.startswith(f"EXPOSED: {told}")
    told, _ = both(read(tmp_path, [*holed, apop, late]))
    assert told == (
        "2 logins went over the wire in clear; the account names could not be read. "
        "1 account sent challenge and response in clear (APOP): the hash is readable, and can be guessed offline. "
        "Logins cannot be judged: 1 session in clear began before the capture."
    )
    told, _ = both(read(tmp_path, [holed[1], login("max")]))
    assert told == (
        "1 account on 1 server sent its password or token in clear, from 1 client. "
        "1 more login was readable, but not the account name."
    )


def test_every_report_tells_of_a_login_without_a_name(tmp_path: Path) -> None:
    holed = [frame for frame in login("kim").frames() if b"USER" not in frame[1]]
    result = read(tmp_path, [holed])
    text = " ".join(text_of(job_of(result), "text").split())
    assert "Clients that log in in clear: 1 with password or token readable" in text
    assert " password or token without a name " in text
    assert " unseen 0 +1 readable: " in text
    assert "+: logins of which no account could be read" in text
    page = text_of(job_of(result), "html")
    assert "<p>1 login was readable, but not the account name.</p>" in page
    assert "but 1 login without a name" in page
    assert "<b>1</b> <span>session in clear</span>" in page
    assert "No account was seen whose" not in page
    card = Report(result)._repr_html_()
    assert "but 1 login without a name" in card
    assert "none seen" not in card
    assert ">1</div><div>session</div>" in card
    # Near miss: with the name nothing of this is said.
    named = read(tmp_path, [login("kim")])
    for form in ("text", "html"):
        assert "without a name" not in text_of(job_of(named), form)


def test_a_hash_without_a_name_is_as_bad_as_one_with_it(tmp_path: Path) -> None:
    cram = "S: * OK ready\nC: a1 AUTHENTICATE X-CRAM\nS: + PDEyMzRAeD4=\nC: {}\nS: a1 OK in\nC: a2 LOGOUT\nS: * BYE\nS: a2 OK bye"
    result = read(tmp_path, [talk(cram.format("a2ltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"), 143)])
    total = summarize(result.sessions)
    assert (total.nameless, total.nameless_hashes) == (0, 1)
    found = said_of(result)
    assert (found.kind, found.tone) == ("hashed", "warn")
    assert found.sentence() == (
        "No password was readable, but 1 login without a name sent challenge and response in clear: "
        "the hash is readable, and can be guessed offline."
    )


def test_times_that_leave_all_out_are_not_a_capture_without_mail(tmp_path: Path) -> None:
    for since, sentence in (
        (NOW_NS + 10**15, "No mail session was alive in the time asked for."),
        (None, "1 account on 1 server sent"),
    ):
        result = read(tmp_path, [login("kim")], since_ns=since)
        told, lead = both(result)
        assert told.startswith(sentence)
        assert sentence in lead
        assert (sentence in Report(result)._repr_html_()) is (since is not None)
    assert both(Result())[0] == "No mail session was seen in this capture."


def test_the_card_says_what_cannot_be_judged() -> None:
    card = Report(result_of("server-only.pcap"))._repr_html_()
    assert "cannot be judged" in card
    assert "none seen" not in card
    for sample in SAMPLES:
        result = result_of(sample)
        report = Report(result)
        frames = Report(frames={name: report.table(name) for name in TABLES})
        assert unjudged_sessions(frames) == unjudged_sessions(report), sample
