"""The page as a text: what it allows itself, what comes first, what strangers cannot do, how large it gets."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import sys
import time
from html.parser import HTMLParser

import pytest
from support.jobs import BIDI, CAPTURES, MARKUP, hostile_result, job_of, large_result, result_of, text_of

from analyzer.pipeline import Result, run
from analyzer.report.cards import exposed_logins
from analyzer.report.overview import Exposed
from analyzer.report.summary import summarize
from analyzer.report.tables import Report

#: Elements that end by themselves.
VOID = {"meta", "link", "rect", "circle", "input", "br"}


class Page(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.words)


def test_the_policy_allows_the_pages_own_style_and_script_alone() -> None:
    text = text_of(job_of(result_of("pop3-login.pcap")), "html")
    policy = next(
        one["content"] for one in Page(text).all("meta") if one.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    for name, directive in (("script", "script-src"), ("style", "style-src")):
        parts = re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
        assert len(parts) == 1
        digest = base64.b64encode(hashlib.sha256(parts[0].encode()).digest()).decode()
        assert rules[directive] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in (policy or "")


def test_the_page_names_nothing_to_fetch() -> None:
    for sample in ("office.pcapng", "tls-certificates.pcap"):
        page = Page(text_of(job_of(result_of(sample)), "html"))
        assert not {"img", "iframe", "object", "embed", "audio", "video", "form", "base", "use"} & {
            tag for tag, _ in page.elements
        }
        for tag, attributes in page.elements:
            assert not {"src", "srcset", "style", "data", "action", "xlink:href"} & set(attributes), tag
            assert not [name for name in attributes if name.startswith("on")], tag
        assert [one["href"] for one in page.all("link")] == ["data:,"]
        assert all((one["href"] or "").startswith(("#", "https://")) for one in page.all("a"))
        assert "@import" not in page.text
        assert not re.search(r"url\((?!#)", page.text)


def test_sections_come_in_the_order_of_need() -> None:
    text = text_of(job_of(result_of("office.pcapng")), "html")
    places = [
        text.index(f"id={name}")
        for name in (
            "verdict",
            "todo",
            "migration-title",
            "findings-title",
            "servers-title",
            "sessions-title",
            "limits-title",
        )
    ]
    assert places == sorted(places)
    page = Page(text)
    assert "13 accounts on 5 servers sent their passwords or tokens in clear, from 17 clients." in page.text
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert [tag for tag, _ in page.elements if tag in ("header", "nav", "main", "footer")] == [
        "header",
        "nav",
        "main",
        "footer",
    ]
    assert page.all("html") == [{"lang": "en"}]


def test_every_row_is_there_without_a_script() -> None:
    result = result_of("office.pcapng")
    job = job_of(result)
    tables = re.findall(r'<table class=data id="(\w+)".*?<tbody>\n(.*?)</tbody>', text_of(job, "html"), re.DOTALL)
    counts = {name: body.count("<tr>") for name, body in tables}
    for table in ("findings", "servers", "sessions", "migration", "captures"):
        assert counts[table] == len(job.rows(table))


def test_nothing_from_traffic_is_markup() -> None:
    harmless = Page(text_of(job_of(result_of("office.pcapng"), headers=True), "html"))
    page = Page(text_of(job_of(hostile_result(), headers=True), "html"))
    known = {tag for tag, _ in harmless.elements} | {"p"}
    assert {tag for tag, _ in page.elements} <= known
    assert len(page.all("script")) == 1
    assert len(page.all("style")) == 1
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    # It is all there to be read, in greeting, account, subject, certificate, remark and file name.
    assert page.text.count(MARKUP) > 8
    assert "\\u202eevil" in page.text
    assert BIDI[0] not in page.text
    assert "caf\\xe9" in page.text
    assert f"mailtap: {MARKUP}\\x1b[31m\\x07.pcap" in page.text


def test_certificates_of_strangers_are_listed() -> None:
    page = text_of(job_of(hostile_result()), "html")
    body = re.search(r'<table class=data id="certificates".*?</table>', page, re.DOTALL)
    assert body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202eevil" in body[0].replace("\\\\", "\\")


def test_a_run_without_sessions_says_so() -> None:
    page = Page(text_of(job_of(Result()), "html"))
    assert "No mail session was seen in this capture." in page.text
    assert "table" not in {
        tag
        for tag, attributes in page.elements
        if "data" in (attributes.get("class") or "") and attributes.get("id") != "captures"
    }


def test_messages_are_listed_only_where_headers_were_asked_for() -> None:
    result = result_of("smtp-submission.pcap")
    assert 'id="messages"' not in text_of(job_of(result), "html")
    assert 'id="messages"' in text_of(job_of(result, headers=True), "html")


@pytest.mark.slow
def test_a_page_of_5000_sessions_stays_small() -> None:
    job = job_of(large_result())
    began = time.perf_counter()
    text = text_of(job, "html")
    sys.stdout.write(f"{len(text.encode()):,} octets, made in {time.perf_counter() - began:.2f} s\n")
    assert len(text.encode()) < 5_000_000
    assert len(re.findall("<tr><td>2026", text)) == 5000
    assert text.count("<tr>") > 5000 + 8000
    assert "are not in this page" in text


def test_of_several_captures_the_first_frame_names_its_file() -> None:
    text = text_of(job_of(result_of("pop3-login.pcap", "lmtp.pcap")), "html")
    assert "first in frame 9 of pop3-login.pcap." in text
    assert "first in frame 9." in text_of(job_of(result_of("pop3-login.pcap")), "html")


def cells_of(page: str, table: str) -> list[list[str]]:
    """The rows of a table of the page, without markup."""
    body = re.search(rf'<table class=data id="{table}".*?<tbody>\n(.*?)</tbody>', page, re.DOTALL)
    assert body
    rows = body[1].split("<tr>")[1:]
    return [[re.sub(r"<.*?>", "", cell).strip() for cell in row.split("<td>")[1:]] for row in rows]


def heads_of(page: str, table: str) -> list[str]:
    head = re.search(rf'<table class=data id="{table}".*?<tbody>', page, re.DOTALL)
    assert head
    return re.findall(r"<th [^>]*>(.*?)</th>", head[0])


def test_exposed_accounts_are_listed_as_in_the_text_report() -> None:
    job = job_of(result_of("guessing.pcap", "pop3-apop.pcap"))
    page = text_of(job, "html")
    total = summarize(job.result.sessions)
    rows = cells_of(page, "accounts")
    assert len(rows) == len(total.exposed_accounts()) + len(total.hashed_accounts())
    heads = heads_of(page, "accounts")
    assert heads[:7] == ["Account", "Server", "Protocol", "How", "Clients", "Accepted", "Rejected"]
    assert heads[-1] == "Last seen (UTC)"
    hashed = {row[0] for row in rows if row[3].endswith(" (hash)")}
    assert hashed == {one.username for one in total.hashed_accounts()}
    assert sum(int(row[5]) for row in rows) == sum(one.accepted for one in total.accounts)
    assert sum(int(row[6]) for row in rows) == sum(one.rejected for one in total.accounts)
    assert all(re.fullmatch(r"2026-\d\d-\d\d \d\d:\d\d:\d\d", row[-1]) for row in rows)


def test_the_list_of_accounts_is_counted_as_the_text_report_counts_them() -> None:
    job = job_of(result_of("office.pcapng"))
    exposed = Exposed(summarize(job.result.sessions))
    for form, words in (
        ("html", "{} with password or token readable, {} with only a hash readable ("),
        ("text", "{} with password or token readable, {} with only a hash readable;"),
    ):
        assert words.format(len(exposed.accounts), len(exposed.hashed)) in text_of(job, form)


def test_without_exposed_accounts_there_is_no_list_of_them() -> None:
    page = text_of(job_of(result_of("tls-certificates.pcap")), "html")
    assert 'id="accounts"' not in page
    assert "No account was seen whose password, token or response could be read." in page


def test_a_servers_name_has_a_column_where_it_is_not_the_address() -> None:
    assert "Server name" not in heads_of(text_of(job_of(result_of("office.pcapng")), "html"), "migration")
    page = text_of(job_of(result_of("pop3-login.pcap", "pop3s.pcap")), "html")
    at = heads_of(page, "migration").index("Server name")
    # Where none was seen the address is all there is, and the column of servers has that.
    assert {row[at] for row in cells_of(page, "migration")} == {"mail.example.org", ""}


def test_nothing_is_green_where_logins_may_have_gone_unseen() -> None:
    page = text_of(job_of(result_of("server-only.pcap")), "html")
    assert "Logins cannot be judged" in page
    assert 'class="verdict warn"' in page
    assert "\u2713" not in page
    # A near miss: where all was captured, and nothing was in clear, it is.
    good = text_of(job_of(result_of("imaps.pcap")), "html")
    assert 'class="verdict good"' in good or "accounts" in good


def test_the_times_that_were_asked_for_stand_under_the_title() -> None:
    whole = result_of("office.pcapng")
    assert "<p class=window>" not in text_of(job_of(whole), "html")
    part = run([CAPTURES / "office.pcapng"], since_ns=whole.captures[0].first_ns + 10 * 10**9)
    page = text_of(job_of(part), "html")
    assert part.window()
    assert page.index("</h1>") < page.index(f"<p class=window>{part.window()}</p>") < page.index("</header>")


def test_what_is_not_mail_is_counted_and_named_as_such() -> None:
    page = text_of(job_of(result_of("not-mail.pcap")), "html")
    assert "0 mail sessions and 5 other connections to mail ports" in page
    assert "of 0 mail sessions" in page
    assert "Not mail, on mail ports: ftp at 192.0.2.30:" in page
    assert {row[6] for row in cells_of(page, "sessions")} == {"not looked at"}
    assert "Not mail" not in text_of(job_of(result_of("pop3-login.pcap")), "html")


def test_a_server_of_tls_alone_needs_no_starttls() -> None:
    page = text_of(job_of(result_of("office.pcapng")), "html")
    at = heads_of(page, "servers").index("Offers STARTTLS")
    offers = {row[1]: row[at] for row in cells_of(page, "servers")}
    assert offers["192.0.2.17:993"] == "not needed"
    assert offers["192.0.2.10:143"] == "always"
    # A near miss: one that was met in clear, too.
    assert "not needed" not in text_of(job_of(result_of("pop3-login.pcap")), "html")


def test_logins_over_time_are_those_that_the_charts_count() -> None:
    result = result_of("imap-auth.pcap", "smtp-submission.pcap")
    report = Report(result)
    readable = len(exposed_logins(report.credentials))
    assert readable < int(report.credentials["exposed"].sum()), "ANONYMOUS, or cancelled, gives nothing away"
    assert f"{readable} logins whose password, token or response could be read" in text_of(job_of(result), "html")
