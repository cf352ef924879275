"""Findings in the text report: whatever there is much of, nothing that is grave goes without a row."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from support.jobs import SAMPLES, job_of, result_of, text_of
from support.verdicts import read, talk

from analyzer.findings.base import Finding
from analyzer.findings.catalogue import RULES
from analyzer.findings.tally import MAX_GROUPS, FindingTally
from analyzer.pipeline import Result
from analyzer.report.formats._page import WIDTH, Page
from analyzer.report.formats._verdicts import MAX_RULES, _show_groups, chosen
from analyzer.report.formats.text import MAX_ROWS, Frames
from analyzer.report.glance import glance
from analyzer.sessions.records import Session

LOGIN = "S: +OK ready\nC: USER kim{0}\nS: +OK\nC: PASS Zulu7Tango-{0}\nS: +OK in\nC: QUIT\nS: +OK bye"
#: A line behind STLS that no TLS has sealed (CVE-2011-0411).
INJECTED = "S: +OK ready\nC: STLS\\r\\nUSER lee\nS: +OK go\nS: +OK"


def section(result: Result) -> list[str]:
    """The findings, what goes on below its line put back into it."""
    text = text_of(job_of(result), "text")
    lines = text[text.index("\nFindings: ") + 1 :].split("\n\n")[0].split("\n")
    assert all(len(line) <= WIDTH for line in lines)
    return lines


def crowd(servers: int) -> list[object]:
    return [talk(LOGIN.format(at), server=f"198.51.100.{at + 1}", at=at) for at in range(servers)]


def test_one_rule_at_many_servers_hides_no_other(tmp_path: Path) -> None:
    result = read(tmp_path, [*crowd(30), talk(INJECTED, server="203.0.113.7", at=99)])  # type: ignore[list-item]
    lines = section(result)
    rows = [re.split(r"  +", line) for line in lines if re.match("(critical|high|medium|low|info) ", line)]
    assert len(rows) == MAX_ROWS
    first = [row for row in rows if row[1] == "Password sent in clear"]
    assert first[0][2:6] == ["198.51.100.10:110", "1", "1", "1"]
    assert first[-1][2:6] == [
        f"{30 - len(first) + 1} more servers",
        *[str(30 - len(first) + 1), "1", str(30 - len(first) + 1)],
    ]
    assert any(row[1] == "Commands injected behind STARTTLS" and row[2] == "203.0.113.7:110" for row in rows)
    assert "starttls-command-injection" in " ".join(lines[-4:])


def test_the_command_that_explains_is_told_with_the_rules_found(tmp_path: Path) -> None:
    told = " ".join(" ".join(section(read(tmp_path, [*crowd(1), talk(INJECTED, server="203.0.113.7", at=99)]))).split())  # type: ignore[list-item]
    slugs = told.partition("mailtap rules SLUG, where SLUG is one of ")[2].split(", ")
    assert {"plaintext-password", "starttls-command-injection"} <= set(slugs) <= {rule.slug for rule in RULES}


def test_where_one_rule_was_found_its_command_stands_as_it_is_typed(tmp_path: Path) -> None:
    refused = read(tmp_path, [talk("S: +OK ready\nC: STLS\nS: -ERR not now\nC: QUIT\nS: +OK bye", at=1)])
    found = re.findall(r"mailtap rules (.*)", "\n".join(section(refused)))
    assert found == ["starttls-refused"]


def test_where_few_are_found_each_has_its_row(tmp_path: Path) -> None:
    """Near miss: everything fits, nothing is put together."""
    lines = section(read(tmp_path, crowd(9)))  # type: ignore[arg-type]
    assert sum("Password sent in clear" in line for line in lines) == 9
    assert not [line for line in lines if "more" in line]


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_finding_is_in_a_row_or_counted_below(sample: str) -> None:
    result = result_of(sample)
    tally = glance(result.sessions, result.captures, None).tally
    if not tally.groups():
        return
    text = " ".join(section(result))
    shown = {(line.rule.slug, line.example.severity) for line in chosen(tally.groups(), MAX_ROWS)}
    rest = re.search(r"and ([\d,]+) more findings?: (.*?); all: --format csv --table findings", text)
    counted = {slug: int(count) for slug, count in re.findall(r"([\w-]+) \((\d+)\)", rest[2])} if rest else {}
    cut = rest is not None and re.search(r" and \d+ more rules?$", rest[2]) is not None
    assert cut == (len({group.rule.slug for group in tally.groups()} - {slug for slug, _ in shown}) > MAX_RULES)
    assert (sum(counted.values()) < int(rest[1].replace(",", ""))) is cut if rest else not counted
    for group in tally.groups():
        kind = (group.rule.slug, group.example.severity)
        assert kind in shown or group.rule.slug in counted or cut, kind
        assert kind in shown or kind[1] < 3, kind


def tally_of(severity: int, rules: int, servers: int) -> FindingTally:
    tally = FindingTally()
    for rule in RULES[:rules]:
        for at in range(servers):
            session = Session()
            session.server_ip, session.server_port, session.client_ip = f"198.51.100.{at}", 110, f"192.0.2.{at}"
            tally.receive_finding(Finding(rule, severity, "high", session, 1, 1, 0, f"kim{at}", "", 1))
    return tally


@pytest.mark.parametrize("rules", [1, 3, 7, 20, 30])
@pytest.mark.parametrize("servers", [1, 2, 9, 40])
@pytest.mark.parametrize("severity", [2, 3, 4])
def test_rows_are_as_many_as_there_is_room_for(rules: int, servers: int, severity: int) -> None:
    groups = tally_of(severity, rules, servers).groups()
    lines = chosen(groups, MAX_ROWS)
    room = min(MAX_ROWS, rules * servers)
    assert len(lines) == (max(room, rules) if severity >= 3 else room)
    assert [line.example.severity for line in lines] == [severity] * len(lines)
    if severity >= 3 or rules <= MAX_ROWS:
        assert sum(line.count for line in lines) == rules * servers
        assert {line.rule.slug for line in lines} == {rule.slug for rule in RULES[:rules]}
    if rules == MAX_ROWS and servers == 9:
        assert {line.server() for line in lines} == {"198.51.100.0:110 +8"}
        assert {(line.count, line.clients(), line.accounts()) for line in lines} == {(9, "9", "9")}


def test_of_many_rules_the_worst_are_named_and_the_others_counted() -> None:
    page = io.StringIO()
    groups = tally_of(2, 40, 1).groups() + tally_of(1, 40, 1).groups()
    _show_groups(Page(page), groups, "80", Frames(Result()))
    text = " ".join(page.getvalue().split())
    rest = re.search(r"and 60 more findings: (.*?); all: --format", text)
    assert rest is not None
    assert len(re.findall(r"\(\d\)", rest[1])) == MAX_RULES
    assert rest[1].endswith(" and 32 more rules")
    assert text.endswith(" and 12 more rules")


def finding(rule: int, severity: int, server: int) -> Finding:
    session = Session()
    session.server_ip, session.server_port = f"10.{server >> 16}.{server >> 8 & 255}.{server & 255}", 110
    return Finding(RULES[rule], severity, "high", session, 1, 1, 0, None, "", 1)


def test_a_sweep_of_many_servers_hides_nothing_grave() -> None:
    """A rule that is grave for the first time has a row, however many groups there are; near misses: the second time, and what is low."""
    tally = FindingTally()
    for server in range(MAX_GROUPS):
        tally.receive_finding(finding(0, 1, server))
    for server in range(3):
        tally.receive_finding(finding(1, 4, MAX_GROUPS + server))
        tally.receive_finding(finding(2, 1, MAX_GROUPS + server))
        # A server that is known, and a rule that was met as something low only.
        tally.receive_finding(finding(3, 3, server))
    tally.receive_finding(finding(0, 4, MAX_GROUPS + 1))
    groups = tally.groups()
    assert len(groups) == MAX_GROUPS + 3
    worst = [(group.rule.number, group.example.severity, group.count, group.server()) for group in groups[:3]]
    place = f"10.0.{MAX_GROUPS >> 8}.{MAX_GROUPS & 255}:110"
    assert sorted(worst) == sorted([
        (RULES[1].number, 4, 1, place), (RULES[3].number, 3, 1, "10.0.0.0:110"),
        (RULES[0].number, 4, 1, f"10.0.{MAX_GROUPS + 1 >> 8}.{MAX_GROUPS + 1 & 255}:110"),
    ])  # fmt: skip
    assert tally.left_out == 2 + 3 + 2
    assert sum(tally.by_severity) == sum(group.count for group in groups) + tally.left_out
    # It goes on being counted where it has its group.
    tally.receive_finding(finding(1, 4, MAX_GROUPS))
    assert max(group.count for group in tally.groups()) == 2
