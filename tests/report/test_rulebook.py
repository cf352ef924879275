"""``mailtap rules``: found by slug or title, folded to the terminal, and honest about severities that differ."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from support.traffic import Frame, Talk, capture

from analyzer.cli import run_command
from analyzer.errors import UsageError
from analyzer.findings.base import FindingList
from analyzer.findings.catalogue import BY_SLUG, RULES, explanation
from analyzer.findings.engine import Engine, push_findings
from analyzer.model import SEVERITIES
from analyzer.pipeline import run
from analyzer.report.diff import KINDS, NEW, Trouble, write_text
from analyzer.report.formats._page import WIDTH, width_of
from analyzer.report.rulebook import rule_list, rule_named, rule_text

CAPTURES = Path(__file__).parents[2] / "captures"
LOGIN = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS {}\nS: {}\nC: QUIT\nS: +OK bye"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_a_rule_is_found_by_slug_and_title_in_any_case(rule: object) -> None:
    one = BY_SLUG[rule.slug]  # type: ignore[attr-defined] # a Rule
    for name in (one.slug, one.title, one.slug.upper(), one.title.upper(), f" {one.title.replace(' ', '  ')} "):
        assert rule_named(name) is one
    assert rule_named(one.slug.replace("-", " ")) is one


def test_titles_are_all_different() -> None:
    assert len({rule.title.lower() for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("starttls-striped", "starttls-stripped"),
        ("Offer of STARTLS vanished", "starttls-offer-vanished"),
        ("weekpassword", "weak-password"),
        ("forward", "tls-no-forward-secrecy"),
    ],
)
def test_a_slip_is_answered_with_what_may_be_meant(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean .*{meant}"):
        rule_named(typed)


def test_what_is_like_no_rule_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["rules", "xyzzy\x1b[31m"]) == 2
    err = capsys.readouterr().err
    assert err == "mailtap: error: there is no rule 'xyzzy\\x1b[31m'; mailtap rules lists them\n"
    with pytest.raises(UsageError):
        rule_named("")


def test_a_title_needs_no_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["rules", "Offer", "of", "STARTTLS", "vanished"]) == 0
    assert capsys.readouterr().out.startswith("starttls-offer-vanished  (high)\n")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_rules_fit_the_terminal(width: int) -> None:
    listed = rule_list(width)
    assert max(map(len, listed.splitlines())) <= width
    words = " ".join(listed.split())
    for rule in RULES:
        assert rule.slug in words
        assert rule.title in words
        text = rule_text(rule.slug, width)
        assert max(map(len, text.splitlines())) <= width
        assert " ".join(explanation(rule.slug).split()) in " ".join(text.split())


@pytest.mark.parametrize("slug", sorted(BY_SLUG))
def test_rules_are_told_in_words_without_the_marks_of_their_source(slug: str) -> None:
    text = rule_text(slug)
    assert "`" not in text
    assert ":func:" not in text


@pytest.mark.parametrize(("columns", "width"), [(20, 60), (60, 60), (80, 80), (100, 100), (200, 100)])
def test_the_width_is_the_terminals_within_limits(monkeypatch: pytest.MonkeyPatch, columns: int, width: int) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback: os.terminal_size((columns, 24)))
    assert width_of(Terminal()) == width
    assert width_of(io.StringIO()) == WIDTH


def test_differences_fold_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback: os.terminal_size((60, 24)))
    one = Trouble("plaintext-password", "2001:db8::10", "2001:db8::1", 110, "pop3", "kim" * 30, "critical", "title")
    found = {kind: [one] if kind == NEW else [] for kind in KINDS}
    narrow, plain = Terminal(), io.StringIO()
    write_text(found, narrow)
    write_text(found, plain)
    assert max(map(len, narrow.getvalue().splitlines())) <= 60
    assert "2001:db8::10 at pop3 [2001:db8::1]:110" in " ".join(narrow.getvalue().split())
    assert len(plain.getvalue().splitlines()[1]) > 100
    assert plain.getvalue().splitlines()[2] == ""


def findings_of(frames: list[Frame], path: Path) -> dict[str, str]:
    path.write_bytes(capture(frames))
    return dict(severities(path))


def severities(path: Path) -> set[tuple[str, str]]:
    result = run([path])
    found = FindingList()
    push_findings(result.sessions, result.captures, Engine(found))
    return {(one.rule.slug, SEVERITIES[one.severity]) for one in found.findings}


@pytest.mark.parametrize("sample", sorted(path.name for path in CAPTURES.glob("*.pcap*")))
def test_a_severity_that_is_not_the_usual_one_is_explained(sample: str) -> None:
    for slug, severity in severities(CAPTURES / sample):
        if severity != SEVERITIES[BY_SLUG[slug].severity]:
            assert severity in explanation(slug).lower(), slug


def test_the_severity_of_a_password_is_as_its_rule_tells(tmp_path: Path) -> None:
    def of(password: str, answer: str, client: str) -> dict[str, str]:
        frames = Talk(client=client).play(LOGIN.format(password, answer)).close().frames()
        return findings_of(frames, tmp_path / "one.pcap")

    away, home = "192.0.2.10", "198.51.100.20"
    assert of("Zulu7Tango", "+OK in", away)["plaintext-password"] == "critical"
    assert of("Zulu7Tango", "-ERR no", away)["plaintext-password"] == "high"
    assert of("Zulu7Tango", "+OK in", home)["plaintext-password"] == "low"
    assert "Low at most where client and server are one machine" in " ".join(explanation("plaintext-password").split())
    assert of("123456", "+OK in", away)["weak-password"] == "high"
    assert of("Zulu7", "+OK in", away)["weak-password"] == "medium"
    assert "High where a thousand guesses would do" in explanation("weak-password")
