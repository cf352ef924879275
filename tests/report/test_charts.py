"""Charts: what is drawn is what the tables say; any number of rows, any name, no warning."""

from __future__ import annotations

import inspect
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from support.reports import CAPTURES, made_up, report_of

import analyzer
from analyzer.report import charts
from analyzer.report.cards import exposed_logins
from analyzer.report.charts.style import MARK, MAX_ROWS, NAME_WIDTH, escaped, fonts, plain
from analyzer.report.charts.timeline import ANOMALIES
from analyzer.report.columns import TABLES
from analyzer.report.overview import HASH_ONLY

CHARTS = [
    "accounts",
    "certificates",
    "clients",
    "exposure",
    "findings",
    "logins",
    "mechanisms",
    "servers",
    "session",
    "tls_suites",
]
DAY = 86_400 * 10**9
NOON = 1_767_268_800 * 10**9  # 2026-01-01 12:00 UTC
HOSTILE = [
    "山田太郎@例え.jp",
    "محمد@مثال.السعودية",
    "😀🏳️\u200d🌈",
    "\x1b[31m\x00\u202etxt\u2066",
    "$\\frac{1}{0}$ $x_$",
    "caf\udce9\ud800",
    "\\undefined{%s}%d{}",
    "x" * 5000,
    "",
    "<script>alert(1)</script>",
]


def office():
    return report_of("office.pcapng")


def texts(ax: Axes):
    """All that is written on the axes, legend and ticks included."""
    ax.figure.canvas.draw()
    return [found.get_text() for found in ax.figure.findobj(Text) if found.get_text() and found.get_visible()]


def bars(ax: Axes):
    """Label of each part -> lengths of its bars, from top to bottom."""
    return {container.get_label(): [round(bar.get_width()) for bar in container] for container in ax.containers}


def rows(ax: Axes):
    return [label.get_text().replace("\\$", "$") for label in ax.get_yticklabels()]


def report_of_rows(count: int, names: Sequence[str] = ("anna",)):
    """A report with so many rows in every table, the names of people and things taken in turn."""
    kinds = ["critical", "high", "medium", "low", "info"]
    tables = {name: [] for name in TABLES}
    for index in range(count):
        name, moment = names[index % len(names)], NOON + index * 10**9
        who = {
            "session_id": f"s{index}",
            "client_ip": f"10.0.{index // 256}.{index % 256}",
            "server_ip": f"192.0.2.{index % 250}",
            "server_port": 110,
            "protocol": "pop3",
        }
        seen = {"session_id": f"s{index}", "time": moment, "frame": index + 4}
        tables["sessions"].append(
            who | {"transport": "plaintext", "exposure": "credentials", "starttls": "offered", "start": moment, "end": moment + 10**9, "first_frame": index + 1}
            | {"last_frame": index + 9, "server_banner": name, "client_name": name, "anomalies": [f"odd@{index + 2}"], "messages": 1}
        )  # fmt: skip
        tables["credentials"].append(
            who
            | seen
            | {
                "mechanism": name,
                "username": name,
                "secret": "Hunter2",
                "secret_kind": "password",
                "outcome": "accepted",
                "exposed": True,
            }
        )
        tables["tls"].append(seen | {"version": "TLSv1.2", "cipher_suite": name, "sni": name, "handshake": "failed", "alert": name, "cert_sha256": f"{index:064x}", "cert_names": [name], "cert_subject": name,
                                     "cert_not_before": moment - DAY * 365, "cert_not_after": moment + DAY * (index % 90)})  # fmt: skip
        tables["messages"].append(seen | {"direction": "retrieved", "mail_from": name, "size": 1000})
        tables["findings"].append(seen | {"rule": name, "severity": kinds[index % 5], "title": name})
    return analyzer.Report(frames={name: made_up(name, tables[name]) for name in TABLES})


@pytest.mark.parametrize("chart", CHARTS)
def test_an_empty_table_gives_a_chart_that_says_so(chart: str):
    ax = getattr(report_of_rows(0).charts, chart)()
    said = texts(ax)
    assert any(text.startswith("no ") for text in said)
    assert not ax.containers


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("form", ["png", "svg", pytest.param("pdf", marks=pytest.mark.slow)])
def test_hostile_names_are_drawn_without_a_warning(chart: str, form: str):
    report = report_of_rows(len(HOSTILE), HOSTILE)
    if chart == "session":
        for session_id in report.sessions["session_id"] if form == "svg" else ["s1"]:
            report.charts.session(session_id).figure.savefig(io.BytesIO(), format=form)
    getattr(report.charts, chart)().figure.savefig(io.BytesIO(), format=form)


@pytest.mark.parametrize("chart", CHARTS)
@pytest.mark.parametrize("count", [1, 10_000])
def test_one_row_and_ten_thousand_make_sense(chart: str, count: int):
    report = ten_thousand() if count > 1 else report_of_rows(1)
    ax = getattr(report.charts, chart)()
    width, height = ax.figure.get_size_inches()
    assert width <= 9
    assert 2 <= height <= 16
    ax.figure.savefig(io.BytesIO(), format="svg")
    assert len(rows(ax)) <= MAX_ROWS + 1
    assert any(f"{count:,} " in text or f"of {count:,}" in text or chart == "session" for text in texts(ax))


KEPT = []


def ten_thousand():
    if not KEPT:
        KEPT.append(report_of_rows(10_000, [f"name{index}" for index in range(997)]))
    return KEPT[0]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_draws_on_the_axes_it_is_given(chart: str):
    ax = Figure().subplots()
    assert getattr(office().charts, chart)(ax=ax) is ax
    ax.figure.savefig(io.BytesIO(), format="png")


@pytest.mark.parametrize("chart", CHARTS)
def test_each_chart_is_a_function_too(chart: str):
    function = getattr(charts, f"plot_{chart}")
    table = next(iter(inspect.signature(function).parameters))
    alone, method = function(office().table(table)), getattr(office().charts, chart)()
    assert rows(alone) == rows(method)
    assert function.__doc__
    assert f"the {table} table" in " ".join(function.__doc__.split())


def first_bars(ax: Axes):
    """A bar of each part, to see how it looks."""
    return {container.get_label(): container[0] for container in ax.containers}


def test_exposure_draws_the_counts():
    ax = office().charts.exposure()
    drawn = bars(ax)
    words = {
        "POP3": "pop3",
        "IMAP": "imap",
        "SMTP": "smtp",
        "ManageSieve": "managesieve",
        "in clear": "plaintext",
        "STARTTLS": "starttls",
        "implicit TLS": "implicit_tls",
    }
    names = {"credentials": "credentials", "messages": "content", "nothing": "none"}
    sessions = office().sessions
    assert set(drawn) == set(names)
    total = 0
    for row, label in enumerate(rows(ax)):
        protocol, transport = (words[part] for part in label.split(" ", 1))
        for part, counts in drawn.items():
            same = (
                (sessions["protocol"] == protocol)
                & (sessions["transport"] == transport)
                & (sessions["exposure"] == names[part])
            )
            assert counts[row] == same.sum(), (label, part)
            total += counts[row]
    assert total == len(sessions)
    assert "127 of 265 sessions gave credentials away" in texts(ax)


def test_other_traffic_has_rows_of_its_own():
    ax = report_of("not-mail.pcap", "imaps.pcap").charts.exposure()
    assert rows(ax)[-1] == "not mail"
    # Nobody looked into it: that is not to be drawn as if there were nothing in it.
    assert bars(ax)["not looked at"] == [0] * (len(rows(ax)) - 1) + [len(report_of("not-mail.pcap").sessions)]
    assert bars(ax)["nothing"][-1] == 0
    looks = {name: bar.get_facecolor() for name, bar in first_bars(ax).items()}
    assert looks["not looked at"] != looks["nothing"]
    red, green, blue, _ = looks["not looked at"]
    assert max(red, green, blue) - min(red, green, blue) < 0.1, "grey"


def test_who_said_nothing_has_a_row_of_its_own():
    frames = {name: made_up(name, []) for name in TABLES}
    shared = {"protocol": "unknown", "transport": "unknown", "exposure": "none", "server_bytes": 0}
    rest = ({"client_bytes": 0}, {"client_bytes": 9}, {"client_bytes": 9, "not_mail": "http"})
    frames["sessions"] = made_up("sessions", [{"session_id": str(at), **shared, **one} for at, one in enumerate(rest)])
    assert rows(analyzer.Report(frames=frames).charts.exposure()) == ["not mail", "not recognised", "nothing said"]


def test_mechanisms_draw_outcomes():
    report = report_of("imap-auth.pcap", "guessing.pcap")
    ax = report.charts.mechanisms()
    found = report.credentials.groupby(["mechanism", "outcome"], observed=True).size()
    drawn = {
        (label, part): count
        for part, counts in bars(ax).items()
        for label, count in zip(rows(ax), counts, strict=True)
        if count
    }
    assert drawn == {pair: int(count) for pair, count in found.items()}
    totals = [sum(counts) for counts in zip(*bars(ax).values(), strict=True)]
    assert totals == sorted(totals, reverse=True)
    for total in totals:
        assert f"{total:,}" in texts(ax)


def test_tls_draws_versions_and_suites_from_old_to_new():
    report = report_of("tls-versions.pcap")
    ax = report.charts.tls_suites()
    tls = report.tls
    drawn = {}
    for counts in bars(ax).values():
        for label, count in zip(rows(ax), counts, strict=True):
            drawn[label] = drawn.get(label, 0) + count
    expected = {}
    for version, suite in zip(tls["version"], tls["cipher_suite"], strict=True):
        label = (
            "no ServerHello seen"
            if pd.isna(version)
            else f"{version}  {'' if pd.isna(suite) else suite.removeprefix('TLS_')}".rstrip()
        )
        expected[label] = expected.get(label, 0) + 1
    assert drawn == expected
    versions = [label.split(" ")[0] for label in rows(ax) if label.startswith("TLS")]
    assert versions == sorted(versions)
    old = tls["version"].isin(["TLSv1.0", "TLSv1.1"]).sum()
    assert sum(bars(ax)["obsolete"]) == old > 0


def test_too_many_suites_are_summed_up():
    report = ten_thousand()
    ax = report.charts.tls_suites()
    assert rows(ax)[-1] == f"{997 - MAX_ROWS + 1} other suites"
    assert sum(sum(counts) for counts in bars(ax).values()) == 10_000


def test_servers_draw_each_cell():
    ax = office().charts.servers()
    counts = office().sessions.groupby(["server_ip", "server_port", "transport"], observed=True).size()
    columns = {"in clear": "plaintext", "STARTTLS": "starttls", "implicit TLS": "implicit_tls", "unknown": "unknown"}
    names = [columns[label.get_text()] for label in ax.get_xticklabels()]
    drawn = {}
    for text in ax.texts:
        if text.get_text().isdigit():
            x, y = (round(value) for value in text.get_position())
            address, port = rows(ax)[y].rsplit(":", 1)
            drawn[(address, int(port), names[x])] = int(text.get_text())
    assert drawn == {key: int(count) for key, count in counts.items()}
    assert len(ax.patches) == len(rows(ax)) * len(names)


def test_servers_beyond_the_rows_are_summed_up():
    ax = ten_thousand().charts.servers()
    assert rows(ax)[-1] == "230 other servers"
    assert (
        sum(int(text.get_text().replace(",", "")) for text in ax.texts if text.get_text().replace(",", "").isdigit())
        == 10_000
    )


def by_kind(logins: pd.DataFrame) -> pd.DataFrame:
    """Logins of which only a hash could be read have that as their outcome."""
    return logins.assign(outcome=logins["outcome"].astype("object").where(logins["secret"].notna(), HASH_ONLY))


@pytest.mark.parametrize("name", ["accounts", "clients"])
def test_accounts_and_clients_draw_logins(name: str):
    ax = getattr(office().charts, name)()
    logins = by_kind(exposed_logins(office().credentials))
    key = ["username", "server_ip", "server_port"] if name == "accounts" else ["client_ip"]
    counts = logins.groupby([*key, "outcome"], observed=True, dropna=False).size()
    drawn = bars(ax)
    for row, label in enumerate(rows(ax)):
        if name == "accounts":
            user, server = label.split("  ")
            address, port = server.rsplit(":", 1)
            wanted = (user, address, int(port))
        else:
            wanted = (label,)
        for outcome, values in drawn.items():
            assert values[row] == counts.get((*wanted, outcome), 0)
    totals = [sum(values) for values in zip(*drawn.values(), strict=True)]
    best = logins.groupby(key, observed=True, dropna=False).size().sort_values(ascending=False)
    assert totals == best.head(len(totals)).tolist()
    said = " ".join(" ".join(text.get_text() for text in ax.texts).split())
    # The numbers of the text report, which leads with who gave a password or token away.
    whose = {"accounts": "13 accounts on 5 servers, and of 2 more", "clients": "17 clients, and of 2 more"}
    assert f"127 logins of {whose[name]} with {HASH_ONLY}; the 15 rows with most" in said
    assert set(drawn) == {"accepted", "rejected", HASH_ONLY}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["password"], "1 login of 1 account on 1 server"),
        (["challenge_response"], f"1 login of 1 account on 1 server, {HASH_ONLY}"),
        (["challenge_response", "challenge_response"], f"2 logins of 2 accounts on 2 servers, {HASH_ONLY}"),
        (["password", "challenge_response"], f"2 logins of 1 account on 1 server, and of 1 more with {HASH_ONLY}"),
    ],
)
def test_accounts_with_only_a_hash_readable_are_told_apart(kinds: list[str], expected: str):
    frame = made_up(
        "credentials",
        [
            {"username": f"user{at}", "server_ip": "192.0.2.1", "server_port": 110 + at, "exposed": True, "secret_kind": kind,
             "secret": "********" if kind == "password" else None, "outcome": "accepted"}
            for at, kind in enumerate(kinds)
        ],
    )  # fmt: skip
    assert expected in texts(charts.plot_accounts(frame))


@pytest.mark.parametrize("name", ["accounts", "clients"])
def test_a_folded_line_leaves_the_chart_its_room(name: str):
    ax = getattr(office().charts, name)()
    ax.figure.draw_without_rendering()
    assert ax.get_position().x1 > 0.95


def test_an_account_without_a_name_is_counted_as_such():
    frame = made_up(
        "credentials",
        [
            {
                "username": None,
                "server_ip": "2001:db8::1",
                "server_port": 143,
                "exposed": True,
                "secret_kind": "bearer_token",
                "outcome": "rejected",
            }
        ],
    )
    assert rows(charts.plot_accounts(frame)) == ["(no name seen)  [2001:db8::1]:143"]


def test_what_needed_keys_is_not_exposed():
    frame = made_up(
        "credentials",
        [
            {
                "username": "anna",
                "server_ip": "192.0.2.1",
                "server_port": 143,
                "exposed": False,
                "secret_kind": "password",
                "outcome": "accepted",
                "time": NOON,
            }
        ],
    )
    for function in (charts.plot_accounts, charts.plot_clients, charts.plot_logins):
        assert "no login could be read" in texts(function(frame))


def heights(ax: Axes):
    return {container.get_label(): [round(bar.get_height()) for bar in container] for container in ax.containers}


@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "Asia/Kolkata"])
def test_logins_draw_each_login_at_its_time(tz: str):
    ax = office().charts.logins(tz=tz)
    logins = by_kind(exposed_logins(office().credentials))
    seconds = logins["time"].dt.floor("s")
    for outcome, values in heights(ax).items():
        counts = seconds[logins["outcome"] == outcome].value_counts()
        assert sum(values) == counts.sum()
        assert sorted(value for value in values if value) == sorted(counts.tolist())
    assert ax.get_xlabel() == f"time ({tz})"
    assert ax.get_ylabel() == "logins per second"
    assert any(seconds.min().tz_convert(tz).strftime("%Y-%m-%d %H:%M:%S") in text for text in texts(ax))


def login_at(*moments: int):
    return made_up(
        "credentials",
        [{"exposed": True, "secret_kind": "password", "outcome": "accepted", "time": moment} for moment in moments],
    )


def test_bars_begin_at_full_hours_of_the_zone():
    # 50 days with a login each at 20:00 UTC, which is the next day in Kolkata
    frame = login_at(*[NOON + 8 * 3600 * 10**9 + index * DAY for index in range(50)])
    ax = charts.plot_logins(frame, tz="Asia/Kolkata")
    assert ax.get_ylabel() == "logins per day"
    assert heights(ax) == {"accepted": [1] * 50}
    from matplotlib.dates import num2date

    assert num2date(ax.patches[0].get_x(), tz="Asia/Kolkata").strftime("%Y-%m-%d %H:%M") == "2026-01-02 00:00"


@pytest.mark.parametrize("moments", [[NOON], [NOON, NOON + 400 * 365 * DAY // 4], [0, NOON]])
def test_any_span_of_time_is_drawn(moments: list[int]):
    ax = charts.plot_logins(login_at(*moments))
    assert sum(heights(ax)["accepted"]) == len(moments)
    ax.figure.savefig(io.BytesIO(), format="svg")


def test_certificates_draw_lifetimes():
    report = report_of("tls-certificates.pcap")
    ax = report.charts.certificates()
    from matplotlib.dates import date2num

    seen = (
        report.tls.dropna(subset=["cert_sha256"])
        .drop_duplicates("cert_sha256")
        .sort_values(["cert_not_after", "cert_not_before"])
    )
    assert len(rows(ax)) == len(seen)
    # Those that lie inside the drawn span begin and end where the certificate says.
    first, last = ax.get_xlim()
    ends = {round(container[0].get_y() + container[0].get_height() / 2): container[0] for container in ax.containers}
    inside = 0
    for row, (before, after) in enumerate(zip(seen["cert_not_before"], seen["cert_not_after"], strict=True)):
        start, stop = (date2num(moment.tz_localize(None).to_datetime64()) for moment in (before, after))
        if row in ends and first < start < last:
            assert ends[row].get_x() == pytest.approx(start)
            inside += 1
        if row in ends and first < stop < last:
            assert ends[row].get_x() + ends[row].get_width() == pytest.approx(stop)
    assert inside
    now = report.tls["time"].max()
    wrong = ((seen["cert_not_before"] > now) | (seen["cert_not_after"] < now)).sum()
    assert any(f"{wrong} of them not valid" in text for text in texts(ax))
    assert any(text.startswith("expired ") and text.endswith(" earlier") for text in texts(ax))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (-10, 10, "10 days left"),
        (-10, 1, "1 day left"),
        (-400, 400, "400 days left"),
        (-400, -3, "expired 3 days earlier"),
        (3, 400, "valid in 3 days"),
        (-4000, -3000, "expired 3,000 days earlier"),
        (3000, 4000, "valid in 3,000 days"),
        (-10, 0, "less than a day left"),
        (10, -10, "expired 10 days earlier"),
    ],
)
def test_certificates_say_how_long(before: int, after: int, said: str):
    row = {
        "time": NOON,
        "cert_sha256": "ab",
        "cert_names": ["mail.example.org"],
        "cert_not_before": NOON + before * DAY,
        "cert_not_after": NOON + after * DAY,
    }
    ax = charts.plot_certificates(made_up("tls", [row]))
    assert said in texts(ax)
    ax.figure.savefig(io.BytesIO(), format="png")


def test_a_certificate_without_a_real_end_is_drawn():
    row = {
        "time": NOON,
        "cert_sha256": "ab",
        "cert_names": [],
        "cert_subject": None,
        "cert_not_before": -(10**20),
        "cert_not_after": 10**20,
    }
    ax = charts.plot_certificates(made_up("tls", [row]))
    assert rows(ax) == ["(no name)"]
    assert any(text.endswith("(no real end)") for text in texts(ax))


def test_findings_draw_severities():
    ax = office().charts.findings()
    counts = office().findings["severity"].value_counts()
    assert rows(ax) == ["critical", "high", "medium", "low", "info"]
    drawn = bars(ax)
    for row, severity in enumerate(rows(ax)):
        assert drawn[severity][row] == counts.get(severity, 0)
        assert sum(values[row] for values in drawn.values()) == counts.get(severity, 0)
    common = office().findings.loc[office().findings["severity"] == "critical", "rule"].astype("object").value_counts()
    assert any(f"{common.index[0]} {common.iloc[0]}" in text for text in texts(ax))


def test_what_is_left_out_is_counted_in_words():
    assert any(text.endswith(", 4 more rules") for text in texts(office().charts.findings()))
    assert any(text.endswith(", 1 more rule") for text in texts(office().charts.findings()))


def test_a_session_is_told_in_order():
    report = report_of("starttls-injection.pcap")
    for session_id in report.sessions["session_id"]:
        said = texts(report.charts.session(session_id))
        session = report.sessions.set_index("session_id").loc[session_id]
        assert any(f"frames {session['first_frame']} to {session['last_frame']}" in text for text in said)
        for title in report.findings.loc[report.findings["session_id"] == session_id, "title"]:
            assert any(title in text for text in said)
        for version in report.tls.loc[report.tls["session_id"] == session_id, "version"].dropna():
            assert any(version in text for text in said)


def test_the_session_with_the_worst_finding_is_the_first_choice():
    report = office()
    worst = report.findings.sort_values("severity", ascending=False, kind="stable")["session_id"].iloc[0]
    assert texts(report.charts.session()) == texts(report.charts.session(worst))
    alone = texts(charts.plot_session(report.sessions))
    exposed = report.sessions.loc[report.sessions["exposure"] == "credentials", "session_id"].iloc[0]
    assert alone == texts(charts.plot_session(report.sessions, exposed))
    with pytest.raises(
        analyzer.UsageError, match="'no such session' is no session of this report; the column session_id"
    ):
        report.charts.session("no such session")


def test_a_session_tells_what_is_odd_in_words():
    stripped = report_of("starttls-stripped.pcap")
    for report in (stripped, report_of("not-mail.pcap"), report_of("unusual-ports.pcap")):
        for session_id in report.sessions["session_id"]:
            said = " ".join(texts(report.charts.session(session_id)))
            assert "anomaly" not in said
            assert "_" not in said
    every = [text for one in stripped.sessions["session_id"] for text in texts(stripped.charts.session(one))]
    assert any("hide STARTTLS" in text for text in every)
    assert any(text.startswith("http, not mail, from ") for text in texts(report_of("not-mail.pcap").charts.session()))


def test_each_kind_of_anomaly_has_words():
    # The source lies beside a compiled module as well.
    source = (Path(analyzer.__file__).parent / "protocols" / "events.py").read_text("utf-8")
    kinds = source.partition("# Kinds of anomalies")[2]
    found = set(re.findall(r"""^[A-Z_]+: Final = \(?\s*"([a-z_]+)""", kinds, re.MULTILINE))
    assert {"starttls_stripped", "not_mail", "tls_malformed", "starttls_without_tls"} <= found
    assert found == set(ANOMALIES)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2.2 counts it."""

    def luminance(color: str) -> float:
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_numbers_can_be_read_on_any_shade():
    counts = [1, 2, 3, 5, 7, 8, 13, 16, 40, 120]
    ways = ["plaintext", "starttls", "implicit_tls", "unknown"]
    report = made_up(
        "sessions",
        [
            {"session_id": f"{way}{count}{number}", "server_ip": f"192.0.2.{count}", "server_port": 143, "protocol": "imap",
             "transport": way, "exposure": "none"}
            for way in ways for count in counts for number in range(count)
        ],
    )  # fmt: skip
    ax = charts.plot_servers(report)
    cells = {(round(cell.get_x() + 0.47), round(cell.get_y() + 0.45)): cell for cell in ax.patches}
    numbers = [text for text in ax.texts if text.get_text().isdigit()]
    assert len(numbers) == len(ways) * len(counts)
    for text in numbers:
        x, y = (round(value) for value in text.get_position())
        assert contrast(text.get_color(), cells[x, y].get_facecolor()) >= 4.5, text.get_text()
    # What goes in clear is orange, not the blue of what does not.
    for row in range(len(counts)):
        red, _, blue, _ = cells[0, row].get_facecolor()
        assert red > blue
        red, _, blue, _ = cells[1, row].get_facecolor()
        assert blue > red


@pytest.mark.parametrize("dpi", [60, 150])
@pytest.mark.parametrize("chart", CHARTS)
def test_a_saved_picture_holds_all_that_is_said(chart: str, dpi: int):
    for report in (office(), report_of("guessing.pcap", "not-mail.pcap", "tls-versions.pcap", "imap-auth.pcap")):
        ax = getattr(report.charts, chart)()
        figure, legend = ax.figure, ax.get_legend()
        figure.savefig(io.BytesIO(), dpi=dpi)
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        edge = figure.bbox
        for text in [*ax.texts, *ax.get_yticklabels(), *(legend.get_texts() if legend else [])]:
            box = text.get_window_extent()
            assert box.x0 >= -1, text.get_text()
            assert box.x1 <= edge.x1 + 1, text.get_text()
            assert box.y1 <= edge.y1 + 1, text.get_text()


def test_a_long_line_above_a_chart_is_folded_and_pushes_the_title_up():
    ax = office().charts.accounts()
    subtitle, title = (next(text for text in ax.texts if text.get_label() == name) for name in ("subtitle", "title"))
    assert subtitle.get_text().count("\n") == 1
    ax.figure.draw_without_rendering()
    assert title.get_window_extent().y0 >= subtitle.get_window_extent().y1
    # A near miss: a line that has room is one line, and what was not made here is left as it is.
    assert (
        "\n" not in next(text for text in office().charts.servers().texts if text.get_label() == "subtitle").get_text()
    )
    given = Figure(figsize=(3, 3)).subplots()
    assert not [text for text in office().charts.accounts(ax=given).texts if "\n" in text.get_text()]


def test_a_session_never_shows_a_secret():
    shown = analyzer.analyze(CAPTURES / "pop3-login.pcap", show_secrets=True, progress=False)
    secrets = {secret for secret in shown.credentials["secret"].dropna() if len(secret) > 3}
    assert len(secrets) > 2
    for session_id in shown.sessions["session_id"]:
        said = " ".join(texts(shown.charts.session(session_id)))
        assert "********" in said or session_id not in set(shown.credentials["session_id"])
        assert not [secret for secret in secrets if secret in said]


def test_long_sessions_leave_the_middle_out():
    report = report_of_rows(1)
    many = made_up(
        "messages", [{"session_id": "s0", "time": NOON, "frame": 5, "direction": "retrieved", "size": 10}] * 10_000
    )
    said = texts(charts.plot_session(report.sessions, "s0", messages=many))
    assert sum("message retrieved" in text for text in said) < 40
    assert any("steps left out" in text for text in said)


def test_meaning_is_never_in_colour_alone():
    for chart in ("exposure", "mechanisms", "logins"):
        ax = getattr(report_of("office.pcapng", "imap-auth.pcap").charts, chart)()
        looks = {(bar.get_facecolor(), bar.get_hatch() or "") for container in ax.containers for bar in container}
        assert len({hatch for _, hatch in looks}) >= min(2, len(looks))
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [
            container.get_label() for container in ax.containers
        ]


def test_names_are_made_fit_to_draw():
    drawn = fonts()[1]
    for name in HOSTILE:
        text = plain(name)
        assert text.replace(MARK, "").isprintable()
        assert 0 < len(text.replace(MARK, "").replace("\\$", "$")) <= NAME_WIDTH + 1
        assert all(ord(one) in drawn for one in text)
        assert "$" not in text.replace("\\$", "")
    assert plain("gärtner@example.org") == "gärtner@example.org"
    assert escaped("\u202e") == "\\u202e"


def test_no_setting_of_the_user_matters(monkeypatch: pytest.MonkeyPatch):
    import matplotlib as mpl

    with mpl.rc_context(
        {"text.usetex": True, "font.family": "no such font", "axes.prop_cycle": mpl.cycler(color=["k"])}
    ):
        before = dict(mpl.rcParams)
        for chart in CHARTS:
            getattr(office().charts, chart)()
        assert dict(mpl.rcParams) == before


def test_charts_leave_no_figures_behind():
    script = (
        "import warnings; warnings.simplefilter('error')\nimport sys, analyzer\n"
        f"report = analyzer.analyze({str(CAPTURES / 'pop3-login.pcap')!r})\n"
        "for _ in range(30): report.charts.exposure()\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
