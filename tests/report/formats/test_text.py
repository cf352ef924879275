"""The text report: its lines, its servers' grades, its frames of several files, the same numbers as everywhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from html import unescape
from pathlib import Path

import pytest
from support.jobs import SAMPLES, job_of, result_of, text_of
from support.reports import report_of
from support.traffic import Talk, capture
from support.verdicts import read, talk

from analyzer.pipeline import run
from analyzer.report.cards import sentence
from analyzer.report.formats._page import WIDTH
from analyzer.report.formats.html import MAX_REASONS, _reasons
from analyzer.report.formats.text import write_text
from analyzer.report.overview import Exposed, make_overview
from analyzer.report.summary import summarize

CAPTURES = Path(__file__).parents[3] / "captures"
LOGIN = "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: QUIT\nS: +OK bye"


class Terminal(io.StringIO):
    """A terminal, as far as the report asks."""

    def isatty(self) -> bool:
        return True


def saved(path: Path, talks: Iterable[Talk]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(capture([frame for one in talks for frame in one.frames()]))
    return path


def told(*paths: Path) -> str:
    return text_of(job_of(run(paths)), "text")


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_line_ends_in_a_space_or_is_too_wide(sample: str) -> None:
    text = text_of(job_of(result_of(sample)), "text")
    assert text.endswith("\n")
    for line in text.split("\n"):
        assert line == line.rstrip(), line
        assert len(line) <= WIDTH, line


@pytest.mark.parametrize("columns", [80, 100, 160])
def test_a_terminal_gets_no_spaces_at_the_ends_either(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(CAPTURES)
    out = Terminal()
    write_text(run("office.pcapng"), out, "1")
    assert "\x1b[1;31m" in out.getvalue()
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(len(line) for line in plain.split("\n")) <= min(columns, WIDTH)
    assert not re.search(r" $", plain, re.MULTILINE)
    assert "Password sent in clear" in plain  # in one piece, whatever the width
    assert "…" not in plain


def section(text: str, title: str) -> list[str]:
    """The lines of a section, without its title."""
    lines = text.split("\n")
    first = next(at for at, line in enumerate(lines) if line.startswith(title)) + 1
    return lines[first : lines.index("", first)]


def test_the_servers_have_their_grades_worst_first_and_say_why() -> None:
    result = result_of("office.pcapng")
    job = job_of(result)
    lines = section(text_of(job, "text"), "Servers")
    assert lines[0].split()[:3] == ["grade", "server", "protocol"]
    rows = [line.split() for line in lines[2:] if re.match(r"[A-F] ", line)]
    shown = {row[1]: row[0] for row in rows}
    graded = {f"{row[0]}:{row[1]}": row for row in job.rows("servers")}
    wanted = {place: next(cell for cell in row if cell in ("A", "B", "C", "D", "F")) for place, row in graded.items()}
    assert shown == wanted
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    reasons = [line for line in lines if line.startswith("  F ")]
    assert len(reasons) == 5
    assert all("with readable passwords or tokens in clear" in line for line in reasons)
    assert len(lines) < len(rows) + 12


HTTP = "C: GET / HTTP/1.1\\r\\nHost: a\\r\\n\nS: HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n"


def test_what_is_not_mail_is_no_mail_server(tmp_path: Path) -> None:
    """It has a line of its own, the same number of servers as the table of records, and its name."""
    path = saved(tmp_path / "a.pcap", [talk(HTTP, 587), talk(LOGIN.format("kim"), at=3)])
    job = job_of(run([path]))
    text, markdown = text_of(job, "text"), text_of(job, "markdown")
    lines = section(text, "Servers")
    assert [line.split()[:2] for line in lines[2:-4]] == [["F", "198.51.100.20:110"]]
    assert len(job.rows("servers")) == 1
    assert lines[-1] == "1 more server on ports for mail, without mail: 198.51.100.20:587"
    assert "1 mail session and 1 other connection to mail ports" in text.split("\n")[1]
    assert "1 mail session and 1 other connection to mail ports: 1 in clear" in markdown
    assert "\nNot mail, on mail ports: http at 198.51.100.20:587.\n" in markdown
    assert "| 587 | http |" in markdown
    assert "| 587 | unknown |" not in markdown


def test_where_nothing_is_mail_there_is_no_table_of_servers(tmp_path: Path) -> None:
    text = told(saved(tmp_path / "a.pcap", [talk(HTTP, 587)]))
    assert "\nServers\n" not in text
    assert "\nNo mail server was seen; 1 server on ports for mail, without mail: 198.51.100.20:587\n" in text


def test_who_says_nothing_is_no_server_and_who_speaks_something_else_can_be_read(tmp_path: Path) -> None:
    """Connections without a word are counted in every report; near miss: what was recognised is named, with its server."""
    silent = [Talk(client_port=41000 + at, server=f"198.51.100.{at}").close() for at in (7, 8)]
    for talks, words in ((silent, "2 connections to mail ports without a word."), ([talk(HTTP, 587)], "")):
        job = job_of(run([saved(tmp_path / "a.pcap", talks)]))
        text, markdown, page = (text_of(job, form) for form in ("text", "markdown", "html"))
        assert "without readable content" not in text
        assert ", 0 without readable content" in markdown
        for report in (text, markdown, page):
            assert (words in report) if words else ("to mail ports without a word" not in report)
            assert ("198.51.100.20:587" in report) is not bool(words)
        assert ("on ports for mail, without mail" in text) is not bool(words)
        assert ("<th scope=row>nothing said<" in page) is bool(words)
        assert ("<th scope=row>not mail<" in page) is not bool(words)
        assert ("| not looked at |" in markdown) is not bool(words)


def test_accounts_without_a_name_are_told_apart_in_every_report(tmp_path: Path) -> None:
    nameless = [frame for frame in talk(LOGIN.format("kim")).frames() if b"USER" not in frame[1]]
    empty = talk('S: * OK hi\nC: a LOGIN "" Zulu7Tango\nS: a OK in\nC: b LOGOUT\nS: * BYE\nS: b OK', 143, at=5)
    sent = "S: 220 hi\nC: EHLO a\nS: 250 hi\nC: MAIL FROM:<a@example.test>\nS: 250 ok\nC: RCPT TO:<b@example.test>\nS: 250 ok\n"
    sent += "C: DATA\nS: 354 go\nC: Subject: x\\r\\n\\r\\nhi\\r\\n.\nS: 250 ok\nC: QUIT\nS: 221 bye"
    job = job_of(read(tmp_path, [nameless, empty, talk(sent, 587, at=9)]))
    page = text_of(job, "html")
    table = page[page.index('id="migration"') :].split("</table>")[0]
    shown = [row.split("<td>")[2].strip() for row in table.split("<tr>")[2:]]
    lines = text_of(job, "markdown").split("## Migration")[1].split("## Findings")[0].split("\n")
    marked = [line.split("|")[2].strip(" `") for line in lines if line.startswith("| `")]
    assert shown == marked == ["?", "(empty)", "(no login)"]


def test_what_speaks_against_a_server_is_told_in_whole_reasons() -> None:
    few = ["uses TLSv1.0 (RFC 8996)", "offers no STARTTLS" * 12, "invites passwords before TLS"]
    assert _reasons(few) == ", ".join(few)
    told = _reasons([f"{at} is a reason of some length that speaks against a server" for at in range(100)])
    assert len(told) < MAX_REASONS + 20
    assert re.search(r", \d+ is a reason of some length that speaks against a server and \d+ more$", told)


def test_whether_starttls_is_offered_is_said_in_the_same_words(tmp_path: Path) -> None:
    result = result_of("office.pcapng")
    job = job_of(result)
    text = [line for line in section(text_of(job, "text"), "Servers") if re.match("[A-F]  ", line)]
    markdown = text_of(job, "markdown").split("## Servers")[1].split("## Sessions")[0].split("\n")
    for word in ("always", "sometimes", "never", "not needed", "unseen"):
        assert sum(f" {word} " in line for line in text) == sum(f"| {word} |" in line for line in markdown), word
    assert sum("| not needed |" in line for line in markdown) == 4


def test_the_numbers_of_the_report_can_be_reconciled() -> None:
    """13 accounts whose password or token was readable and 2 of which a hash was; of servers, and of clients, too."""
    text = text_of(job_of(result_of("office.pcapng")), "text")
    assert "EXPOSED: 13 accounts on 5 servers" in text
    assert "2 more accounts sent challenge and response in clear (APOP, CRAM-MD5)" in text
    assert "Accounts exposed: 13 with password or token readable, 2 with only a hash readable; by server\n" in text
    clients = section(text, "Clients that log in in clear: 17 with password or token readable, 2 without")
    assert sum(line.endswith("password or token") for line in clients) == 17
    assert sum(line.endswith("  hash") for line in clients) == 2
    servers = {line.split()[1]: line.split()[-2:] for line in section(text, "Servers") if re.match("F  ", line)}
    found = {}
    for line in section(text, "Findings"):
        if "Password sent in clear" in line:
            cells = line.split("Password sent in clear")[1].split()
            found[cells[0]] = cells[3]
    assert {place: readable for place, (readable, _) in servers.items()} == found
    assert servers["192.0.2.10:143"] == ["8", "1"]


def test_the_times_that_were_asked_for_are_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pcap", [talk(LOGIN.format("kim")), talk(LOGIN.format("lee"), at=60)])
    whole = run([path])
    late = run([path], since_ns=whole.sessions[1].start_ns)
    sentence = late.window()
    assert "1 session was left out" in sentence
    text, markdown = (" ".join(text_of(job_of(late), form).split()) for form in ("text", "markdown"))
    assert f" UTC {sentence} EXPOSED: 1 account" in text
    assert f"in clear, from 1 client.** {sentence} 1 mail session: " in markdown
    assert "left out" not in text_of(job_of(whole), "text") + text_of(job_of(whole), "markdown")


def test_frames_of_several_captures_name_the_file(tmp_path: Path) -> None:
    one = saved(tmp_path / "mon.pcap", [talk(LOGIN.format("kim"))])
    other = saved(tmp_path / "tue.pcap", [talk(LOGIN.format("lee"), server="198.51.100.99", at=60)])
    alone = told(one)
    assert "mon.pcap:" not in alone
    both = told(one, other)
    for title in ("Findings", "Accounts exposed"):
        rows = section(both, title)
        assert "file:frame" in rows[0]
        assert next(row for row in rows if "198.51.100.20" in row).split()[-1] == "mon.pcap:7"
        assert next(row for row in rows if "198.51.100.99" in row).split()[-1] == "tue.pcap:7"


@pytest.mark.parametrize("names", [("a/day.pcap", "b/day.pcap"), ("a-long-name-of-monday.pcap", "b.pcap")])
def test_files_that_names_do_not_tell_apart_go_by_number(names: tuple[str, str], tmp_path: Path) -> None:
    talks = [talk(LOGIN.format("kim")), talk(LOGIN.format("lee"), server="198.51.100.99", at=60)]
    paths = [saved(tmp_path / name, [one]) for name, one in zip(names, talks, strict=True)]
    text = told(*paths)
    assert next(row for row in section(text, "Findings") if "198.51.100.99" in row).split()[-1] == "#2:7"
    assert [row.split()[0] for row in section(text, "Captures")[2:]] == ["#1", "#2"]


@pytest.mark.parametrize(("columns", "shown"), [(46, False), (60, True), (80, True), (100, True)])
def test_names_of_captures_are_not_torn(
    columns: int, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"gw-eth0_{at:05}_2026112123154{at}.pcap" for at in (1, 2)]
    paths = [
        saved(tmp_path / "an-interface-of-the-mail-gateway" / name, [talk(LOGIN.format("kim"), at=60)])
        for name in names
    ]
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    out = Terminal()
    write_text(run(paths), out, "1")
    rows = section(re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()), "Captures")
    cells = [row.split()[:2] for row in rows[2:] if row.startswith("#")]
    assert [one[0] for one in cells] == ["#1", "#2"]
    for name, (_, cell) in zip(names, cells, strict=True):
        # The columns that can be had elsewhere go first; where that is not enough, both ends stay.
        assert cell.endswith(name) if shown else (cell[0] == "…" and cell[-9:] == name[-9:])
    assert "damage" in rows[0]
    assert ("format" in rows[0]) is False


def test_a_capture_that_is_named_is_listed_however_many_there_are(tmp_path: Path) -> None:
    quiet = "S: +OK ready\nC: QUIT\nS: +OK bye"
    paths = [saved(tmp_path / f"{at}/day.pcap", [talk(quiet, at=at)]) for at in range(24)]
    paths.append(saved(tmp_path / "24/day.pcap", [talk(LOGIN.format("kim"), at=99)]))
    text = told(*paths)
    assert "#25:7" in text
    assert [row.split()[0] for row in section(text, "Captures")[2:-1]] == [f"#{at}" for at in (*range(1, 21), 25)]
    assert "and 4 more captures" in text
    assert all("/day.pcap" in row for row in section(text, "Captures")[2:-1])


def test_addresses_of_version_six_stand_in_brackets(tmp_path: Path) -> None:
    path = saved(tmp_path / "six.pcap", [talk(LOGIN.format("kim"), client="2001:db8::1", server="2001:db8::2")])
    text = told(path)
    assert "[2001:db8::2]:110" in text
    assert not re.search(r"(?<!\[)2001:db8::2:110", text)


@pytest.mark.parametrize("sample", SAMPLES)
def test_every_report_counts_accounts_and_servers_alike(sample: str) -> None:
    """An account is a name, a server an address and port: in text, HTML, Markdown, cards and tables."""
    report = report_of(sample)
    job = job_of(result_of(sample))
    readable = report.credentials[
        report.credentials["exposed"].fillna(value=False)
        & report.credentials["secret"].notna()
        & report.credentials["username"].notna()
    ]
    accounts = readable["username"].nunique()
    servers = len(readable[["server_ip", "server_port"]].drop_duplicates())
    exposed = Exposed(summarize(job.result.sessions))
    words = exposed.words()
    assert words.startswith(f"{len(exposed.leading)} account")
    assert not exposed.accounts or len(exposed.leading | exposed.rejected) == accounts
    assert (len(exposed.accounts), len(exposed.servers)) == (accounts, servers)
    total = report.summary().loc["all"]
    assert (total["accounts_exposed"], total["servers_exposed"]) == (accounts, servers)
    text, markdown, page = text_of(job, "text"), text_of(job, "markdown"), unescape(text_of(job, "html"))
    card, short = unescape(report._repr_html_()), sentence(report)
    assert re.search(rf'font-size:1\.6em">{accounts}</div><div>accounts? exposed<', card)
    assert re.search(rf"<b>{accounts}</b> <span>accounts? exposed</span>", page)
    if accounts:
        assert f"EXPOSED: {words} sent" in text
        assert make_overview(job).verdict.startswith(f"{words} sent")
        assert f"**{words} sent" in markdown
        assert f"{accounts} account{'s' * (accounts != 1)} exposed on {servers} server{'s' * (servers != 1)}" in short
        assert f"on {servers} server" in card
        assert f"on {servers} server" in page
    else:
        assert "EXPOSED" not in re.sub(r"EXPOSED: \d+ logins? went", "", text)
        assert "0 accounts exposed, " in short


def test_a_client_counts_each_account_once(tmp_path: Path) -> None:
    """Kim on two ports is one account."""
    talks = [talk(LOGIN.format("kim")), talk(LOGIN.format("kim"), 8110, at=5), talk(LOGIN.format("lee"), at=9)]
    text = told(saved(tmp_path / "a.pcap", talks))
    assert section(text, "Clients that log in in clear")[2].split()[:3] == ["192.0.2.10", "3", "2"]


MAIL = "C: MAIL FROM:<kim@example.org>\nS: 250 ok\nC: RCPT TO:<lee@example.org>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\\r\\n\\r\\ntext\\r\\n.\nS: 250 taken"


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (lambda: talk(f"S: 220 mx\nC: EHLO pc\nS: 250 mx\n{MAIL}", 587), "(no login)"),
        (lambda: Talk(handshake=False).play("C: PASS Zulu7Tango-Mike\nS: +OK Logged in.\nC: STAT\nS: +OK 0 0"), "?"),
    ],
)
def test_a_setting_without_an_account_says_why(made: Callable[[], Talk], shown: str, tmp_path: Path) -> None:
    path = tmp_path / "made.pcap"
    path.write_bytes(capture(made().frames()))
    assert section(told(path), "Settings to change")[2].split("  ")[1] == shown


def test_a_setting_that_is_offered_is_said_in_a_word(tmp_path: Path) -> None:
    path = tmp_path / "own.pcap"
    text = "S: +OK ready\nC: CAPA\nS: +OK\nS: STLS\nS: .\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in"
    path.write_bytes(capture(talk(text, 8110).frames()))
    assert any(line.endswith("port 8110, STARTTLS  offered") for line in section(told(path), "Settings to change"))


def test_what_was_not_told_apart_makes_numbers_lower_bounds(tmp_path: Path) -> None:
    path = tmp_path / "clear.pcap"
    path.write_bytes(capture(talk("S: +OK\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in").frames()))
    total = summarize(run([path]).sessions)
    assert Exposed(total).words() == "1 account on 1 server"
    total.accounts_left_out = 1
    assert Exposed(total).words() == "at least 1 account on 1 server"
