"""What changed between two runs, and the rules as they are printed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support.traffic import START_NS, Talk, capture
from support.verdicts import SECOND, authority, failed_tls, good_tls, identity, shown, talk, tls
from support.waiting import CHILD_PATIENCE

from analyzer import load
from analyzer.errors import CaptureError, UsageError
from analyzer.findings.catalogue import RULES
from analyzer.pipeline import run
from analyzer.report.diff import FIXED, KINDS, NEW, STILL, UNSEEN, compare, snapshot
from analyzer.report.rulebook import WIDTH, rule_list, rule_text

LOGIN = "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: QUIT\nS: +OK bye"


def save(path: Path, *talks: Talk) -> Path:
    path.write_bytes(capture(sorted([frame for one in talks for frame in one.frames()], key=lambda frame: frame[0])))
    return path


def mailtap(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analyzer", *map(str, arguments)], capture_output=True, check=False, text=True, timeout=CHILD_PATIENCE,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip


@pytest.fixture
def days(tmp_path: Path) -> tuple[Path, Path]:
    """Kim moves to TLS, Lee stays in clear, Ann is at home, Bob is new."""
    old = save(
        tmp_path / "old.pcap", talk(LOGIN.format("kim")), talk(LOGIN.format("lee"), client="192.0.2.11", at=5),
        talk(LOGIN.format("ann"), client="192.0.2.12", at=9),
    )  # fmt: skip
    new = save(
        tmp_path / "new.pcap", tls(good_tls(), at=90000), talk(LOGIN.format("lee"), client="192.0.2.11", at=90005),
        talk(LOGIN.format("bob"), client="192.0.2.13", at=90009),
    )  # fmt: skip
    return old, new


def passwords(found: dict[str, list[object]], kind: str) -> list[str]:
    return [one.username for one in found[kind] if one.rule == "plaintext-password"]  # type: ignore[attr-defined]


def test_new_fixed_still_there_and_not_seen_again(days: tuple[Path, Path]) -> None:
    found = compare(snapshot(str(days[0]), run), snapshot(str(days[1]), run))
    assert [passwords(found, kind) for kind in (NEW, FIXED, STILL, UNSEEN)] == [["bob"], ["kim"], ["lee"], ["ann"]]


def test_a_client_that_comes_back_in_clear_with_another_account_has_fixed_nothing(tmp_path: Path) -> None:
    old = save(tmp_path / "old.pcap", talk(LOGIN.format("kim")))
    new = save(tmp_path / "new.pcap", talk(LOGIN.format("lee")))
    found = compare(snapshot(str(old), run), snapshot(str(new), run))
    assert passwords(found, UNSEEN) == ["kim"]
    assert passwords(found, FIXED) == []


IMAP = "S: * OK [CAPABILITY IMAP4rev1 {}] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK out"
OTHER = {"client": "192.0.2.77", "at": 90000}


def become(tmp_path: Path, rule: str, before: list[Talk], after: list[Talk]) -> list[tuple[str, str]]:
    """What became of the findings of a rule: (kind, account)."""
    old, new = save(tmp_path / "before.pcap", *before), save(tmp_path / "after.pcap", *after)
    found = compare(snapshot(str(old), run), snapshot(str(new), run))
    return [(kind, one.username) for kind in KINDS for one in found[kind] if one.rule == rule]


def test_what_is_said_of_a_server_is_known_by_the_server_whoever_met_it(tmp_path: Path) -> None:
    one, other = talk(IMAP.format("AUTH=PLAIN"), 143), talk(IMAP.format("AUTH=PLAIN"), 143, **OTHER)
    assert become(tmp_path, "plaintext-auth-offered", [one], [other]) == [(STILL, "")]
    mended = talk(IMAP.format("STARTTLS LOGINDISABLED"), 143, **OTHER)
    assert become(tmp_path, "plaintext-auth-offered", [one], [mended]) == [(FIXED, "")]
    elsewhere = talk(IMAP.format("STARTTLS LOGINDISABLED"), 143, server="198.51.100.99", **OTHER)
    assert become(tmp_path, "plaintext-auth-offered", [one], [elsewhere]) == [(UNSEEN, "")]
    named = [talk(LOGIN.format("kim"), 8110)], [talk(LOGIN.format("lee"), 8110, **OTHER)]
    assert become(tmp_path, "mail-on-unusual-port", *named) == [(STILL, "")]


def test_an_offer_of_which_lines_are_missing_is_not_known_to_be_over(tmp_path: Path) -> None:
    listing = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-STARTTLS\nS: 250-AUTH PLAIN\nS: 250 DSN\nC: QUIT\nS: 221 bye"
    before, mended = talk(listing, 587), talk(listing.replace("S: 250-AUTH PLAIN\n", ""), 587, **OTHER)
    torn = [frame for frame in talk(listing, 587, **OTHER).frames() if b"AUTH" not in frame[1]]
    kinds = {}
    for name, after in (("mended", mended.frames()), ("torn", torn)):
        path = tmp_path / f"{name}.pcap"
        path.write_bytes(capture(after))
        found = compare(snapshot(str(save(tmp_path / "before.pcap", before)), run), snapshot(str(path), run))
        kinds[name] = [kind for kind in KINDS for one in found[kind] if one.rule == "plaintext-auth-offered"]
    assert kinds == {"mended": [FIXED], "torn": [UNSEEN]}


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        ("certificate-expired", {"first": -400, "last": -1}),
        ("certificate-not-yet-valid", {"first": 2, "last": 400}),
        ("certificate-expiring", {"last": 20}),
        ("certificate-untrusted", {"last": 20}),
        ("certificate-self-signed", {"signed_by_itself": True}),
        ("certificate-weak-key", {"bits": 1024}),
    ],
)
def test_a_certificate_belongs_to_its_server(tmp_path: Path, rule: str, bad: dict[str, int]) -> None:
    before = [tls(shown(identity(**bad).chain))]
    assert become(tmp_path, rule, before, [tls(shown(identity(**bad).chain), **OTHER)]) == [(STILL, "")]
    # A certificate inside TLS 1.3 is unseen: nothing is known of it, and so nothing is mended.
    assert become(tmp_path, rule, before, [tls(good_tls(), **OTHER)]) == [(UNSEEN, "")]
    if rule not in ("certificate-untrusted", "certificate-expiring"):
        assert become(tmp_path, rule, before, [tls(shown(identity().chain), **OTHER)]) == [(FIXED, "")]


def test_a_client_that_ignores_certificates_is_another_matter_than_the_certificate(tmp_path: Path) -> None:
    expired = identity(first=-400, last=-1).chain
    before, after = [tls(shown(expired))], [tls(shown(expired, goes_on=False), **OTHER)]
    assert become(tmp_path, "certificate-ignored", before, after) == [(UNSEEN, "")]


PASSWORD = "plaintext-password"


def test_tls_of_a_client_proves_nothing_of_the_accounts_it_may_not_be_of(tmp_path: Path) -> None:
    kim, lee = talk(LOGIN.format("kim")), talk(LOGIN.format("lee"), at=5)
    moved, lee_again = tls(good_tls(), at=90000), talk(LOGIN.format("lee"), at=90005)
    # Kim moved, lee is still in clear.
    assert become(tmp_path, PASSWORD, [kim, lee], [moved, lee_again]) == [(FIXED, "kim"), (STILL, "lee")]
    # One of the two moved, and nobody can tell which.
    assert become(tmp_path, PASSWORD, [kim, lee], [moved]) == [(UNSEEN, "kim"), (UNSEEN, "lee")]
    # Another account of the client used TLS before.
    assert become(tmp_path, PASSWORD, [kim, tls(good_tls(), at=9)], [moved]) == [(UNSEEN, "kim")]
    # A rejected name is no second account.
    typo = talk(LOGIN.format("kmi").replace("+OK in", "-ERR [AUTH] no"), at=7)
    assert become(tmp_path, PASSWORD, [kim, typo], [moved])[0] == (FIXED, "kim")


FETCHED = (
    "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: RETR 1\nS: +OK\nS: Subject: x\nS:\nS: hello\nS: .\n"
    "C: DELE 1\nS: +OK\nC: QUIT\nS: +OK bye"
)


def test_what_is_said_inside_sessions_may_go_on_inside_tls(tmp_path: Path) -> None:
    rule, before = "mail-deleted-after-download", [talk(FETCHED.format("kim"))]
    assert become(tmp_path, rule, before, [talk(FETCHED.format("kim"), at=90000)]) == [(STILL, "kim")]
    assert become(tmp_path, rule, before, [talk(LOGIN.format("kim"), at=90000)]) == [(FIXED, "kim")]
    assert become(tmp_path, rule, before, [tls(good_tls(), at=90000)]) == [(UNSEEN, "kim")]
    # Whose session it was that was under TLS, nobody can tell; and another account is another matter.
    both = [talk(LOGIN.format("kim"), at=90000), tls(good_tls(), at=90009)]
    assert become(tmp_path, rule, before, both) == [(UNSEEN, "kim")]
    assert become(tmp_path, rule, before, [talk(LOGIN.format("lee"), at=90000)]) == [(UNSEEN, "kim")]
    # A handshake that failed hid nothing.
    failed = [talk(LOGIN.format("kim"), at=90000), tls(failed_tls(), at=90009)]
    assert become(tmp_path, rule, before, failed) == [(FIXED, "kim")]


SMTP = "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN\n{}C: QUIT\nS: 221 bye"
AUTH = "C: AUTH PLAIN AGtpbQBadWx1N1RhbmdvLU1pa2U=\nS: 235 in\n"


def test_logins_on_a_port_are_over_where_that_port_is_no_longer_used_for_them(tmp_path: Path) -> None:
    rule, before = "auth-on-port-25", [talk(SMTP.format(AUTH), 25)]
    assert [kind for kind, _ in become(tmp_path, rule, before, [talk(SMTP.format(""), 25, at=90000)])] == [FIXED]
    assert [kind for kind, _ in become(tmp_path, rule, before, [tls(good_tls(), 465, at=90000)])] == [FIXED]
    assert [kind for kind, _ in become(tmp_path, rule, before, [tls(good_tls(), 25, at=90000)])] == [UNSEEN]


def test_an_account_whose_password_is_still_sent_in_clear_has_moved_nowhere(tmp_path: Path) -> None:
    offered = "S: +OK ready\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\n" + LOGIN.partition("\n")[2].format("kim")
    refused = LOGIN.format("kim").replace("+OK in", "-ERR [AUTH] no")
    before, after = [talk(offered)], [talk(refused, at=90000), tls(good_tls(), at=90009)]
    assert become(tmp_path, PASSWORD, before, after) == [(STILL, "kim")]
    assert become(tmp_path, "starttls-not-used", before, after) == [(UNSEEN, "kim")]
    assert become(tmp_path, "starttls-not-used", before, after[1:]) == [(FIXED, "kim")]


def test_a_handshake_that_fails_protects_nobody(tmp_path: Path) -> None:
    before = [talk(LOGIN.format("kim"))]
    assert become(tmp_path, PASSWORD, before, [tls(failed_tls(), at=90000)]) == [(UNSEEN, "kim")]
    # A client that fell back in clear from a failed one, and now gets through, has moved.
    before.append(tls(failed_tls(), at=20))
    assert become(tmp_path, PASSWORD, before, [tls(good_tls(), at=90000)]) == [(FIXED, "kim")]


def test_a_weak_password_belongs_to_its_account(tmp_path: Path) -> None:
    weak, strong = LOGIN.format("kim").replace("Zulu7Tango-Mike", "password1"), LOGIN.format("kim")
    before = [talk(weak)]
    assert become(tmp_path, "weak-password", before, [talk(weak, **OTHER)]) == [(STILL, "kim")]
    assert become(tmp_path, "weak-password", before, [talk(strong, **OTHER)]) == [(FIXED, "kim")]
    # Under TLS the password is unseen: it may be as weak as ever.
    assert become(tmp_path, "weak-password", before, [tls(good_tls(), at=90000)]) == [(UNSEEN, "kim")]


REUSE = "password-reuse"


def test_accounts_with_one_password_share_the_trouble_whoever_came_first(tmp_path: Path) -> None:
    kim, lee = talk(LOGIN.format("kim")), talk(LOGIN.format("lee"), client="192.0.2.11", at=5)
    lee_first = [talk(LOGIN.format("lee"), client="192.0.2.11", at=90000), talk(LOGIN.format("kim"), at=90005)]
    assert become(tmp_path, REUSE, [kim, lee], lee_first) == [(STILL, "kim"), (STILL, "lee")]
    changed = talk(LOGIN.format("kim").replace("Zulu7", "Echo4"), at=90005)
    assert become(tmp_path, REUSE, [kim, lee], [lee_first[0], changed]) == [(FIXED, "kim"), (FIXED, "lee")]
    # Lee is not there: whether kim's password is still that of lee, nobody can tell.
    assert become(tmp_path, REUSE, [kim, lee], [lee_first[1]]) == [(UNSEEN, "kim"), (UNSEEN, "lee")]
    # Ann joins them; kim leaves them.
    ann = talk(LOGIN.format("ann"), client="192.0.2.12", at=90001)
    assert become(tmp_path, REUSE, [kim, lee], [*lee_first, ann]) == [(NEW, "ann"), (STILL, "kim"), (STILL, "lee")]
    assert become(tmp_path, REUSE, [kim, lee], [lee_first[0], changed, ann]) == [
        (NEW, "ann"),
        (FIXED, "kim"),
        (STILL, "lee"),
    ]


def test_two_spellings_of_one_account_share_nothing(tmp_path: Path) -> None:
    one = [talk(LOGIN.format("kim")), talk(LOGIN.format("kim@example.org"), at=5)]
    assert become(tmp_path, REUSE, [], one) == []
    # Lee has kim's other password, which says nothing of this one.
    other = LOGIN.replace("Zulu7", "Echo4")
    talks = [*one, talk(other.format("lee"), at=9), talk(other.format("kim"), at=12)]
    assert become(tmp_path, REUSE, [], talks) == [(NEW, "kim"), (NEW, "lee")]


@pytest.mark.parametrize("seed", range(3))
def test_the_same_traffic_in_other_files_and_another_order_changes_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    talks = []
    for at in range(20):
        # Two begin at each moment, in any order.
        start_ns = START_NS + at // 2 * 3 * SECOND
        one = Talk(f"192.0.2.{rng.randrange(3)}", f"198.51.100.{rng.randrange(2)}", 30000 + at, 110, start_ns)
        text = LOGIN.format(rng.choice(("kim", "lee", "kim@example.org", "ann"))).replace(
            "Zulu7", rng.choice(("Zulu7", "Echo4"))
        )
        talks.append(one.play(text).close())
    talks += [tls(failed_tls(), at=61), talk(LOGIN.format("eva"), at=70), talk(IMAP.format("AUTH=PLAIN"), 143, at=63)]
    whole = save(tmp_path / "whole.pcap", *talks)
    parts = tmp_path / "parts"
    parts.mkdir()
    frames = sorted([frame for one in talks for frame in one.frames()], key=lambda frame: frame[0])
    # Files that begin at the same moment go by their names.
    places = [at for at in range(1, len(frames)) if frames[at - 1][0] < frames[at][0]]
    cuts = sorted(rng.sample(places, 4))
    # A ring that came round: its names are in another order than its packets.
    names = rng.sample(["mail.pcap", "mail.pcap1", "mail.pcap2", "mail.pcap3", "mail.pcap4"], 5)
    for first, last, name in zip([0, *cuts], [*cuts, len(frames)], names, strict=True):
        (parts / name).write_bytes(capture(frames[first:last]))
    for found in (
        compare(snapshot(str(whole), run), snapshot(str(parts), run)),
        compare(snapshot(str(parts), run), snapshot(str(whole), run)),
    ):
        assert [found[NEW], found[FIXED], found[UNSEEN]] == [[], [], []]
        assert {one.rule for one in found[STILL]} >= {"plaintext-password", REUSE, "tls-fallback-to-plaintext"}


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_results_and_captures_compare_alike(days: tuple[Path, Path], form: str, tmp_path: Path) -> None:
    results = []
    for day in days:
        path = tmp_path / f"{day.stem}.{form}"
        assert mailtap("analyze", day, "--format", form, "-o", path).returncode == 0
        results.append(str(path))
    assert compare(snapshot(results[0], run), snapshot(results[1], run)) == compare(
        snapshot(str(days[0]), run), snapshot(str(days[1]), run)
    )
    assert compare(snapshot(results[0], run), snapshot(str(days[0]), run))[NEW] == []


def test_folders_of_captures(days: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "monday"
    folder.mkdir()
    days[0].rename(folder / "a.pcap")
    assert passwords(compare(snapshot(str(folder), run), snapshot(str(days[1]), run)), FIXED) == ["kim"]


def test_what_is_no_result(tmp_path: Path) -> None:
    for content in (
        '{"schema_version": 2}',
        "{",
        '{"a": 1}',
        '{"table":"findings","rule":"x"}',
        '{"schema_version":1,"sessions":[7],"findings":[]}',
    ):
        path = tmp_path / "odd.json"
        path.write_text(content)
        with pytest.raises(UsageError):
            snapshot(str(path), run)
    with pytest.raises(CaptureError):
        snapshot(str(tmp_path / "nothing.pcap"), run)


def test_the_command(days: tuple[Path, Path]) -> None:
    done = mailtap("diff", *days)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines() if line and not line.startswith(" ")] == [
        "NEW",
        "FIXED",
        "STILL THERE",
        "NOT SEEN AGAIN",
    ]
    assert "account kim" in done.stdout
    assert "Zulu7Tango" not in done.stdout
    found = json.loads(mailtap("diff", *days, "--json").stdout)
    assert {one["username"] for one in found["fixed"]} >= {"kim"}
    assert mailtap("diff", *days, "--fail-on", "critical").returncode == 1
    assert mailtap("diff", days[0], days[0], "--fail-on", "info").returncode == 0
    assert mailtap("diff", days[0], days[0].parent / "none.pcap").returncode == 3


def test_captures_are_read_as_analyze_reads_them(tmp_path: Path) -> None:
    """``--port`` names services, ``--ca-file`` trusted roots."""
    old = save(tmp_path / "old.pcap", tls(shown(identity().chain)), talk("S: +OK ready\nC: USER kim", 8110))
    new = save(
        tmp_path / "new.pcap", tls(shown(identity().chain), **OTHER), talk("S: +OK ready\nC: USER kim", 8110, **OTHER)
    )
    roots = Path(authority().pem)
    plain = json.loads(mailtap("diff", old, new, "--json").stdout)
    assert {one["rule"] for one in plain["still_there"]} == {"certificate-untrusted", "mail-on-unusual-port"}
    told = json.loads(mailtap("diff", old, new, "--json", "--ca-file", roots, "--port", "8110=pop3").stdout)
    assert {one["rule"] for one in told["still_there"]} == set()
    assert mailtap("diff", old, new, "--ca-file", tmp_path / "none.pem").returncode == 3
    assert mailtap("diff", old, new, "--port", "8110").returncode == 2
    results = []
    for day in (old, new):
        results.append(tmp_path / f"{day.stem}.json")
        assert mailtap("analyze", day, "--format", "json", "-o", results[-1]).returncode == 0
    done = mailtap("diff", *results, "--ca-file", roots)
    assert done.returncode == 2
    assert "captures" in done.stderr


def test_what_could_not_be_read_is_told(tmp_path: Path, days: tuple[Path, Path]) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(days[0].read_bytes()[:-5])
    done = mailtap("diff", cut, days[1])
    assert done.returncode == 0
    assert "cut.pcap" in done.stderr


def test_fail_on(days: tuple[Path, Path], tmp_path: Path) -> None:
    assert mailtap("analyze", days[0], "--fail-on", "critical").returncode == 1
    assert mailtap("analyze", days[0], "--fail-on", "critical", "--format", "json").returncode == 1
    harmless = save(tmp_path / "good.pcap", tls(good_tls()))
    assert mailtap("analyze", harmless, "--fail-on", "info").returncode == 0
    assert mailtap("analyze", days[0], "--fail-on", "terrible").returncode == 2
    assert mailtap("analyze", tmp_path / "none.pcap", "--fail-on", "info").returncode == 3


def test_rules_are_listed_and_explained() -> None:
    done = mailtap("rules")
    assert done.returncode == 0
    assert all(rule.slug in done.stdout for rule in RULES)
    assert max(map(len, rule_list().splitlines())) <= WIDTH
    for rule in RULES:
        text = rule_text(rule.slug)
        assert max(map(len, text.splitlines())) <= WIDTH
        assert rule.title in text
        assert all(reference in text for reference in rule.references)
    unknown = mailtap("rules", "starttls-striped")
    assert unknown.returncode == 2
    assert "starttls-stripped" in unknown.stderr


def test_the_text_report_leads_with_findings_and_ends_in_settings(days: tuple[Path, Path]) -> None:
    done = mailtap("analyze", days[0])
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    heads = [
        line.strip()
        for line in lines
        if line.startswith(("Findings:", "Accounts exposed", "Settings to change", "Servers"))
    ]
    assert [head.split(":")[0] for head in heads] == ["Findings", "Accounts exposed", "Settings to change", "Servers"]
    assert "Password sent in clear" in done.stdout
    assert "Closing port 110 of 198.51.100.20 today would cut off 3 clients, 3 accounts." in done.stdout


def test_a_wall_of_repetition_is_one_line(tmp_path: Path) -> None:
    path = save(tmp_path / "many.pcap", *[talk(LOGIN.format("kim"), at=at) for at in range(60)])
    done = mailtap("analyze", path)
    assert done.stdout.count("Password sent in clear") == 1
    line = next(line for line in done.stdout.splitlines() if "Password sent in clear" in line)
    assert line.split()[-4:-1] == ["60", "1", "1"]


def test_hostile_names_are_shown_escaped(tmp_path: Path) -> None:
    old = save(tmp_path / "old.pcap", talk(LOGIN.format("kim\\x1b[31mred")))
    new = save(tmp_path / "new.pcap", talk(LOGIN.format("lee")))
    for done in (mailtap("diff", old, new), mailtap("diff", old, new, "--json"), mailtap("analyze", old)):
        assert done.returncode == 0
        assert "\x1b" not in done.stdout


def test_json_that_is_nested_too_deeply_is_no_result(tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text('{"schema_version":1,"captures":' + "[" * 200_000, encoding="utf-8")
    with pytest.raises(UsageError, match="no result of mailtap"):
        snapshot(str(deep), run)
    with pytest.raises(CaptureError, match="no result of mailtap"):
        load(deep)
