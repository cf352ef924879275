"""Parts of reports, and reports joined."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal
from support.reports import CAPTURES, made_up, report_of

import analyzer
from analyzer.errors import UsageError
from analyzer.report.columns import TABLES

OFFICE = "office.pcapng"


def whole():
    return report_of(OFFICE)


def frames_alone(report: analyzer.Report) -> analyzer.Report:
    """A report as it is read back."""
    return analyzer.Report(frames=report.tables, warnings=report.warnings)


def test_a_filter_that_keeps_all_changes_nothing():
    kept = whole().filter(client="0.0.0.0/0")
    for name in TABLES:
        assert_frame_equal(kept.table(name), whole().table(name))
    assert kept.warnings == whole().warnings


#: Times, and what they choose.
BETWEEN = [
    ({"since": "2026-11-21T23:17:20"}, "end >= '2026-11-21T23:17:20+00:00'"),
    ({"until": datetime(2026, 11, 21, 23, 17, 20, tzinfo=UTC)}, "start <= '2026-11-21T23:17:20+00:00'"),
    (
        {"since": "2026-11-22T00:17:10+01:00", "until": "2026-11-21T23:17:12Z"},
        "end >= '2026-11-21T23:17:10Z' and start <= '2026-11-21T23:17:12Z'",
    ),
]


@pytest.mark.parametrize(
    ("choice", "query"),
    [
        ({"client": "10.20.0.66"}, "client_ip == '10.20.0.66'"),
        ({"client": ["10.20.0.66", "10.20.0.15"]}, "client_ip in ['10.20.0.66', '10.20.0.15']"),
        ({"client": "10.20.0.0/24"}, "client_ip.str.startswith('10.20.0.')"),
        ({"server": "192.0.2.10"}, "server_ip == '192.0.2.10'"),
        ({"server": "192.0.2.10:110"}, "server_ip == '192.0.2.10' and server_port == 110"),
        ({"protocol": "imap"}, "protocol == 'imap'"),
        (
            {"protocol": ["imap", "smtp"], "server": "192.0.2.17"},
            "protocol in ['imap', 'smtp'] and server_ip == '192.0.2.17'",
        ),
        *BETWEEN,
    ],
)
def test_sessions_are_chosen_and_what_hangs_on_them(choice: dict[str, Any], query: str):
    part = frames_alone(whole()).filter(**choice)
    expected = whole().sessions.query(query)
    assert 0 < len(part.sessions) == len(expected)
    assert part.sessions["session_id"].tolist() == expected["session_id"].tolist()
    ids = set(expected["session_id"])
    for name in ("credentials", "tls", "messages", "findings"):
        rows = whole().table(name)
        assert part.table(name)["session_id"].tolist() == rows.loc[rows["session_id"].isin(ids), "session_id"].tolist()
    assert set(part.servers["server_ip"]) == set(expected.loc[expected["protocol"] != "unknown", "server_ip"])
    assert part.sessions.dtypes.equals(whole().sessions.dtypes) or set(part.sessions.dtypes.astype(str)) <= set(
        whole().sessions.dtypes.astype(str)
    )


@pytest.mark.parametrize(("choice", "query"), BETWEEN)
def test_between_two_times_everything_is_found_anew_as_a_run_does(choice: dict[str, Any], query: str):
    part, run = whole().filter(**choice), analyzer.analyze(CAPTURES / OFFICE, **choice)
    assert part.sessions["session_id"].tolist() == whole().sessions.query(query)["session_id"].tolist()
    for name in TABLES:
        expected = run.table(name)
        keyed = [column for column in expected.columns if column == "secret_id"]  # its key is another in each run
        assert_frame_equal(part.table(name).drop(columns=keyed), expected.drop(columns=keyed))
    assert part.warnings == run.warnings


def test_weak_passwords_of_accounts_that_were_seen_before_are_told_of_the_later_time():
    since = "2026-11-21T23:17:20"
    weak = [
        set(report.filter(since=since).findings.query("rule == 'weak-password'")["username"])
        for report in (whole(), frames_alone(whole()))
    ]
    assert weak[0] > weak[1]


def test_what_cannot_be_found_anew_is_said():
    kept = frames_alone(whole())
    told = kept.filter(since="2026-11-21T23:17:20", client="10.20.0.0/16").filter(until="2026-11-21T23:17:25").warnings
    assert [one for one in told if "analyzer.analyze(since=" in one] == told[-1:]
    assert kept.filter(client="10.20.0.66").warnings == kept.warnings
    # Narrowed down by client after the time was chosen, the findings are those of the time.
    both = whole().filter(since="2026-11-21T23:17:20", protocol="pop3")
    later = whole().filter(since="2026-11-21T23:17:20").findings
    ids = set(both.sessions["session_id"])
    assert both.findings["finding_id"].tolist() == later[later["session_id"].isin(ids) | later["session_id"].isna()]["finding_id"].tolist()  # fmt: skip
    assert not any("analyzer.analyze(since=" in one for one in both.warnings)


def test_how_many_sessions_could_be_decrypted_is_told_of_those_that_are_left():
    report = report_of("tls13-secrets.pcapng")
    (sentence,) = report.warnings
    assert "holds the TLS secrets of 4 sessions" in sentence
    first = str(report.sessions["start"].iloc[0])
    protocols = report.sessions["protocol"].value_counts()
    some = {name: int(count) for name, count in protocols.items() if 0 < count < 4}
    parts = [
        (report.filter(until=first), 1),
        (report.filter(until=first).filter(client="0.0.0.0/0"), 1),
        (report.filter(client="203.0.113.99"), 0),
        *[(report.filter(protocol=name), count) for name, count in some.items()],
    ]
    for part, count in parts:
        assert len(part.tls) == count
        told = [sentence.replace("4 sessions", "1 session" if count == 1 else f"{count} sessions")] if count else []
        assert [one for one in part.warnings if "TLS secrets" in one] == told
    assert parts[0][0].warnings == analyzer.analyze(CAPTURES / "tls13-secrets.pcapng", until=first).warnings


def test_so_it_is_of_parts_of_a_part_and_of_parts_joined(tmp_path: Path):
    whole_one = report_of("tls13-secrets.pcapng")
    whole_one.save(tmp_path / "kept")
    for report in (whole_one, analyzer.load(tmp_path / "kept"), whole_one.filter(client="0.0.0.0/0")):
        mail = report.filter(client="0.0.0.0/0")
        imap, pop3 = mail.filter(protocol="imap"), mail.filter(protocol="pop3")
        none = imap.filter(protocol="pop3")
        joined = analyzer.concat([imap, pop3, none])
        for part, told in ((imap, "2 sessions"), (pop3, "1 session"), (none, ""), (joined, "3 sessions")):
            sentences = [one for one in part.warnings if "TLS secrets" in one]
            assert len(sentences) == bool(told)
            assert all(f"holds the TLS secrets of {told}:" in one for one in sentences)
        assert [one for one in joined.filter(protocol="imap").warnings if "of 2 sessions:" in one]


def test_what_the_findings_of_all_lack_is_not_said_of_a_part():
    report = analyzer.analyze(CAPTURES / OFFICE)
    report.maker.strength.limit = 1
    assert len(report.findings)
    assert any("strength of passwords was judged" in one for one in report.warnings)
    part = report.filter(until="2026-11-21T23:17:12Z")
    assert part.findings is not None
    assert not any("strength of passwords was judged" in one for one in part.warnings)


def test_a_part_shows_what_the_whole_shows():
    report = analyzer.analyze(CAPTURES / OFFICE, headers=True, show_secrets=True)
    part = report.filter(since="2000-01-01")
    for name in TABLES:
        assert_frame_equal(part.table(name), report.table(name))
    assert part.messages["subject"].notna().any()
    assert "********" not in set(part.credentials["secret"].dropna())


def test_equal_secrets_have_equal_fingerprints_whichever_part_was_asked_first():
    report = analyzer.analyze(CAPTURES / OFFICE, show_secrets=True)
    assert report.filter(until="2026-11-21T23:17:12Z").credentials["secret_id"].notna().any()
    known = report.credentials.dropna(subset=["secret"])
    assert known[["secret", "secret_id"]].drop_duplicates()["secret"].is_unique


def test_times_in_words_of_the_command_line_and_of_pandas():
    assert whole().filter(since="1h").sessions.empty is True
    assert len(whole().filter(since="21 Nov 2026").sessions) == len(whole().sessions)
    assert len(whole().filter(until="9999-12-31").sessions) == len(whole().sessions)
    assert len(frames_alone(whole()).filter(until="9999-12-31").sessions) == len(whole().sessions)


def test_a_part_of_a_part_is_a_report_too():
    part = whole().filter(protocol="pop3").filter(client="10.20.0.66")
    assert set(part.credentials["client_ip"]) == {"10.20.0.66"}
    assert "exposed" in repr(part)
    assert part.charts.accounts().get_title() == ""


def test_nothing_left_is_an_empty_report():
    part = whole().filter(client="203.0.113.99")
    assert [
        len(part.table(name)) for name in ("sessions", "credentials", "tls", "messages", "servers", "migration")
    ] == [0] * 6
    assert int(part.summary().loc["all", "sessions"]) == 0
    assert "no findings" in part._repr_html_()


@pytest.mark.parametrize("address", ["[2001:db8::7]", "2001:db8::7", "[2001:db8::7]:143", "2001:db8::/32"])
def test_ipv6_addresses(address: str):
    frames = {name: made_up(name, []) for name in TABLES}
    rows = [
        {"session_id": one, "server_ip": one, "server_port": 143, "client_ip": "10.0.0.1"}
        for one in ("2001:db8::7", "2001:db9::8", "192.0.2.1")
    ]
    frames["sessions"] = made_up("sessions", rows)
    assert analyzer.Report(frames=frames).filter(server=address).sessions["session_id"].tolist() == ["2001:db8::7"]


@pytest.mark.parametrize(
    "choice",
    [{"client": "mail.example.org"}, {"server": "192.0.2.10:"}, {"protocol": "pop"}, {"since": "yesterday-ish"}],
)
def test_what_makes_no_sense_is_said(choice: dict[str, Any]):
    with pytest.raises(UsageError):
        whole().filter(**choice)


def test_a_report_joined_with_itself_is_itself():
    twice = analyzer.concat([whole(), whole()])
    for name in TABLES:
        if name not in ("servers", "migration"):
            assert_frame_equal(twice.table(name), whole().table(name))
    counts = ["sessions", "plaintext", "starttls", "implicit_tls"]
    assert twice.servers[counts].sum().tolist() == whole().servers[counts].sum().tolist()
    assert len(twice.servers) == len(whole().servers)
    assert len(twice.migration) == len(whole().migration)


def test_two_halves_of_a_day_are_the_day():
    early = frames_alone(whole()).filter(until="2026-11-21T23:17:15")
    late = frames_alone(whole()).filter(since="2026-11-21T23:17:15")
    day = analyzer.concat([early, late])
    for name in ("sessions", "tls", "captures"):
        assert_frame_equal(day.table(name), whole().table(name))
    assert set(day.findings["finding_id"]) == set(whole().findings["finding_id"])
    pairs = ["server_ip", "server_port", "protocol"]
    assert_frame_equal(day.servers[[*pairs, "sessions"]].sort_values(pairs, ignore_index=True), whole().servers[[*pairs, "sessions"]].sort_values(pairs, ignore_index=True), check_categorical=False)  # fmt: skip


def test_joined_reports_hold_what_each_held():
    parts = [report_of(name) for name in ("pop3-login.pcap", "imaps.pcap", "not-mail.pcap")]
    both = analyzer.concat(parts)
    for name in ("captures", "sessions", "credentials", "tls", "messages"):
        assert len(both.table(name)) == sum(len(part.table(name)) for part in parts)
        assert [str(kind) for kind in both.table(name).dtypes] == [str(kind) for kind in parts[0].table(name).dtypes]
    assert both.sessions["start"].is_monotonic_increasing


def test_rows_of_one_server_become_one():
    first = {
        "server_ip": "192.0.2.1",
        "server_port": 143,
        "protocol": "imap",
        "starttls_offered": "always",
        "mechanisms": ["PLAIN"],
        "grade": "B",
    }
    second = dict(
        first,
        starttls_offered="never",
        mechanisms=["LOGIN", "PLAIN"],
        grade="unseen",
        cert_sha256="ab",
        cert_problems=["expired"],
    )
    times = [{"first_seen": 10**18, "last_seen": 2 * 10**18}, {"first_seen": 15 * 10**17, "last_seen": 3 * 10**18}]
    reports = []
    for row, span in zip((first, second), times, strict=True):
        frames = {name: made_up(name, []) for name in TABLES}
        frames["servers"] = made_up("servers", [row | span])
        frames["sessions"] = made_up(
            "sessions",
            [
                {
                    "session_id": str(span),
                    "server_ip": "192.0.2.1",
                    "server_port": 143,
                    "protocol": "imap",
                    "transport": "plaintext",
                }
            ],
        )
        reports.append(analyzer.Report(frames=frames))
    one = analyzer.concat(reports).servers
    assert len(one) == 1
    row = one.iloc[0]
    assert (row["sessions"], row["plaintext"], row["starttls"]) == (2, 2, 0)
    assert row["starttls_offered"] == "sometimes"
    assert row["mechanisms"] == ["PLAIN", "LOGIN"]
    assert row["grade"] == "B"
    assert (row["cert_sha256"], row["cert_problems"]) == ("ab", ["expired"])
    assert (row["first_seen"].value, row["last_seen"].value) == (10**18, 3 * 10**18)


def test_nothing_to_join_is_said():
    with pytest.raises(UsageError, match="no report"):
        analyzer.concat([])


def test_times_are_those_of_a_run():
    for choice in (
        {"since": "2026-11-21T23:15:41", "until": "2026-11-21T23:15:40"},
        {"since": 20261121},
    ):
        for take in (whole().filter, lambda **times: analyzer.analyze(CAPTURES / OFFICE, **times)):
            with pytest.raises(UsageError):
                take(**choice)
