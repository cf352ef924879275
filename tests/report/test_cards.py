"""The report at a glance: its sentence, its summary, its card."""

from __future__ import annotations

from html.parser import HTMLParser

from support.reports import made_up, report_of

import analyzer
from analyzer.report.cards import worst_findings
from analyzer.report.columns import TABLES


def hostile_report():
    bad = "<script>alert(1)</script>\u202e\x1b[31m\udce9"
    frames = {name: made_up(name, []) for name in TABLES}
    frames["captures"] = made_up("captures", [{"capture": bad}])
    frames["sessions"] = made_up(
        "sessions", [{"session_id": "a", "protocol": "pop3", "transport": "plaintext", "server_banner": bad}]
    )
    finding = {
        "rule": "plaintext-password",
        "severity": "critical",
        "title": bad,
        "detail": bad,
        "server_ip": "192.0.2.1",
        "server_port": 110,
    }
    frames["findings"] = made_up("findings", [finding])
    return analyzer.Report(frames=frames, warnings=[bad])


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = []
        self.seen = set()

    def handle_starttag(self, tag: str, attrs: object):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag


def test_the_sentence_counts_what_the_tables_hold():
    report = report_of("office.pcapng")
    text = repr(report)
    assert text.startswith(
        "<Report of 1 capture: 265 mail sessions, 133 in clear, 64 STARTTLS, 68 implicit TLS, 13 accounts exposed on 5 servers"
    )


def test_the_summary_counts_what_the_tables_hold():
    report = report_of("office.pcapng")
    summary = report.summary()
    assert list(summary.index) == ["pop3", "imap", "smtp", "managesieve", "all"]
    assert set(map(str, summary.dtypes)) == {"Int64"}
    for protocol in summary.index[:-1]:
        sessions = report.sessions[report.sessions["protocol"] == protocol]
        row = summary.loc[protocol]
        assert row["sessions"] == len(sessions) == row[["plaintext", "starttls", "implicit_tls", "unknown"]].sum()
        assert row["messages_exposed"] == sessions["messages"].sum()
        assert row["logins_exposed"] + row["logins_hashed"] == (report.credentials["protocol"] == protocol).sum()
    counted = summary.drop(columns=["accounts_exposed", "servers_exposed", "accounts_hashed"])
    assert (counted.loc["all"] == counted.iloc[:-1].sum()).all()
    # All findings under the name that they have everywhere else, and those of high and critical severity by a name of their own.
    assert summary.loc["all", "findings"] == len(report.findings) == 398
    assert summary.loc["all", "findings_serious"] == report.findings["severity"].isin(["high", "critical"]).sum() == 224
    # An account is a name: who uses two protocols counts in both, and once in all.
    assert summary["accounts_exposed"].to_dict() == {"pop3": 7, "imap": 8, "smtp": 5, "managesieve": 1, "all": 13}
    # Of who sent a hash alone the password is not exposed, but can be guessed: the text report tells both apart, too.
    assert summary["logins_hashed"].to_dict() == {"pop3": 7, "imap": 7, "smtp": 4, "managesieve": 0, "all": 18}
    assert summary["accounts_hashed"].to_dict() == {"pop3": 1, "imap": 1, "smtp": 1, "managesieve": 0, "all": 2}
    assert summary["servers_exposed"].to_dict() == {"pop3": 1, "imap": 2, "smtp": 1, "managesieve": 1, "all": 5}


def test_the_card_shows_counts_and_the_worst_findings():
    text = report_of("office.pcapng")._repr_html_()
    for told in (">265<", ">133<", ">13<", "accounts exposed", "on 5 servers", "critical", "192.0.2.10 port 110"):
        assert told in text
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert len(text) < 20_000


def test_the_card_escapes_what_traffic_says():
    text = hostile_report()._repr_html_()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not {"script", "svg", "img", "a"} & parser.seen
    assert text.isprintable()
    assert "&lt;script&gt;" in text
    assert "\\u202e\\x1b[31m\\xe9" in text


def test_the_worst_findings_name_each_rule_and_server_once():
    findings = report_of("office.pcapng").findings
    worst = worst_findings(findings)
    assert len(worst) == 5
    assert worst["severity"].tolist() == sorted(worst["severity"], key=["critical", "high"].index)
    assert not worst.duplicated(["rule", "server_ip", "server_port"]).any()
    first = worst.iloc[0]
    same = findings[
        (findings["rule"] == first["rule"])
        & (findings["server_ip"] == first["server_ip"])
        & (findings["server_port"] == first["server_port"])
    ]
    assert first["times"] == len(same)
