"""HTML: the report as one self-contained page that fetches nothing, for people.

The page is ``analyzer/report/page``: a Jinja2 template with autoescape on, a style sheet and a script, put into the page and allowed by their
hashes alone (Content-Security-Policy); every value goes through :func:`~analyzer.report.visible.visible` before it is escaped. Without
JavaScript the page holds every row; the script sorts, filters and pages them. Charts are a few rectangles of SVG made by the template: they
take the colours of the page in light and dark, and cost neither matplotlib's start-up nor its size.

What a table shows at most is bounded, worst first; what is left out is counted and said. How tables look is in ``_views``; what stands in each
of them is here, one function a table, all together for comparing.

Over 500 lines for that reason.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import defaultdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from analyzer.report.cards import GUESSABLE, NOT_LOOKED_AT, READABLE
from analyzer.report.columns import TABLES
from analyzer.report.formats._views import MAX_ROWS, PRINT_ROWS, Head, View
from analyzer.report.overview import (
    Action,
    Exposed,
    endpoint,
    make_overview,
    nameless,
    reference_url,
    sessions_of,
    strangers,
    wordless,
)
from analyzer.report.rows import Row, RowSink
from analyzer.report.servers import GRADES, offer_in_words
from analyzer.report.summary import leading
from analyzer.report.visible import shorten, shorten_path, visible
from analyzer.report.wording import noun, plural

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.report.formats import Job
    from analyzer.report.summary import Summary
    from analyzer.sessions.records import Session

KIND: Final = "text"
#: It tells the times asked for.
TELLS_TIMES: Final = True

#: Characters of a cell, of a greeting or host name, of an account, of a list of words.
MAX_CELL: Final = 160
MAX_GREETING: Final = 40
MAX_NAME: Final = 64
MAX_WORDS: Final = 300
#: The same of what speaks for and against a server, of which each is told whole.
MAX_REASONS: Final = 2000
#: Kinds of findings that stand open under "what to do first".
LEAD: Final = 5
#: Bars of the chart over time.
MAX_BARS: Final = 60

TRANSPORTS: Final = {"plaintext": "in clear", "starttls": "STARTTLS", "implicit_tls": "TLS", "unknown": "unseen"}
#: What a row of each table is called.
COUNTED: Final = {
    "captures": "capture",
    "sessions": "session",
    "credentials": "login",
    "tls": "TLS handshake",
    "messages": "message",
    "findings": "finding",
    "servers": "server",
    "migration": "setting",
}
#: What words in a frame and bars look like, by the word; patterns, because colour alone says nothing to some.
LOOKS: Final = {
    "in clear": "clear",
    "STARTTLS": "starttls",
    "TLS": "tls",
    **{grade: f"grade-{grade}" for grade in GRADES},
}
FILLS: Final = {"in clear": "clear", "STARTTLS": "hatched", "TLS": "tls", "unseen": "dotted"}
MARKS: Final = {"bad": "!", "warn": "!", "good": "\u2713", "none": "\u2013"}
STEPS: Final = (
    (1, "1 second"), (10, "10 seconds"), (60, "1 minute"), (600, "10 minutes"), (3600, "1 hour"), (21600, "6 hours"),
    (86400, "1 day"), (604800, "1 week"), (2592000, "30 days"), (31536000, "365 days"),
)  # fmt: skip


class _Count(RowSink):
    def __init__(self) -> None:
        self.rows = 0

    def receive_row(self, row: Row) -> None:
        self.rows += 1


def write(job: Job, out: TextIO) -> None:
    """The page."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def shown(value: object) -> object:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    page = files("analyzer.report") / "page"
    style, script = (page / "page.css").read_text("utf-8"), (page / "page.js").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=shown, trim_blocks=True)
    template = environment.from_string((page / "page.html").read_text("utf-8"))
    values = page_values(job)
    style += "".join(value.style() for value in values.values() if isinstance(value, View))
    values |= {
        "style": Markup(style),  # noqa: S704 - our own file
        "script": Markup(script),  # noqa: S704 - our own file
        "style_hash": _hash_of(style),
        "script_hash": _hash_of(script),
    }
    out.writelines(template.generate(values))


def _hash_of(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def page_values(job: Job) -> dict[str, Any]:
    """What the template shows."""
    overview = make_overview(job)
    total = overview.total
    captures = job.result.captures
    names = [shorten_path(one.name, MAX_CELL) for one in captures]
    packets = sum(one.packets for one in captures)
    first = [one.first_ns for one in captures if one.packets]
    last = [one.last_ns for one in captures if one.packets]
    span = f"{plural(packets, 'packet')}, {sessions_of(total)}"
    if first:
        span += f", {clock(min(first))} to {clock(max(last))} UTC"
    several = len(captures) > 1
    findings = _findings(overview.findings, several)
    findings.more += sum(overview.severities.values()) - len(overview.findings)
    return {
        "version": job.version,
        "what": names[0] if len(names) == 1 else plural(len(names), "capture"),
        "span": span,
        "window": job.result.window(),
        "tone": overview.tone,
        "mark": MARKS[overview.tone],
        "verdict": overview.verdict,
        "cards": _cards(total),
        "legend": list(FILLS.items()),
        "bars": _bars(job.result.sessions),
        "severities": _severity_bars(overview.severities),
        "history": _history(job.result.sessions),
        "actions": [_action(one, several) for one in overview.actions],
        "lead": LEAD,
        "closing": [f"{one[:1].upper()}{one[1:]}." for one in overview.closing],
        "accounts": _accounts(total),
        "exposed": _exposed(total),
        "nameless": nameless(total.nameless),
        "migration": _migration(overview.migration, overview.migrants),
        "findings": findings,
        "servers": _servers(job.rows("servers")),
        "strangers": " ".join(filter(None, (strangers(job.result.sessions), wordless(total)))),
        "certificates": _certificates(job),
        "sessions": _sessions(job, several),
        "messages": _messages(job),
        "captures": _captures(job),
        "limits": overview.limits,
        "counts": _counts(job, sum(overview.severities.values()), len(overview.migration)),
        "sections": [
            ("verdict", "Verdict"), ("todo", "What to do first"), ("accounts-title", "Accounts exposed"), ("migration-title", "Migration"),
            ("findings-title", "Findings"), ("servers-title", "Servers"), ("sessions-title", "Sessions"),
            ("limits-title", "What this capture cannot tell"),
        ],
        "looks": defaultdict(str, LOOKS),
        "print_rows": PRINT_ROWS,
        "secrets": job.maker.show_secrets,
    }  # fmt: skip


def clock(timestamp_ns: object) -> str:
    """A time in UTC to the second; empty where there is none."""
    if not isinstance(timestamp_ns, int):
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(timestamp_ns // 1_000_000_000, 0), 253402300799)))


def _text(value: object, width: int = MAX_CELL) -> str:
    """A value as a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return shorten(", ".join(map(str, value)), MAX_WORDS)
    if isinstance(value, int):
        return f"{value:,}"
    return shorten(str(value), width)


def _file(name: object) -> str:
    """A capture by the last part of its name; the table of captures has all of it."""
    return _text(str(name or "").rpartition("/")[2])


def _records(table: str, rows: list[Row]) -> list[dict[str, object]]:
    names = [column.name for column in TABLES[table]]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _cards(total: Summary) -> list[tuple[str, str, str]]:
    exposed = Exposed(total)
    note = f"on {plural(len(exposed.servers), 'server')}, {exposed.came_of_it()}" if exposed.accounts else ""
    if total.nameless:
        note += f"{', and' if note else 'but'} {plural(total.nameless, 'login')} without a name"
    return [
        (f"{len(exposed.accounts):,}", f"{noun(len(exposed.accounts), 'account')} exposed", note),
        (
            f"{len(exposed.hashed):,}",
            f"{noun(len(exposed.hashed), 'account')} by hash",
            "challenge and response in clear",
        ),
        (
            f"{total.messages_exposed:,}",
            f"{noun(total.messages_exposed, 'message')} readable",
            "whole messages in clear",
        ),
        (
            f"{total.plaintext:,}",
            f"{noun(total.plaintext, 'session')} in clear",
            f"of {plural(total.mail, 'mail session')}",
        ),
        (
            f"{total.starttls + total.implicit_tls:,}",
            f"{noun(total.starttls + total.implicit_tls, 'session')} with TLS",
            f"{total.starttls:,} by STARTTLS",
        ),
    ]


def _action(one: Action, several: bool) -> dict[str, Any]:
    parts = [f"{plural(one.count, 'time')}"]
    if one.servers:
        parts.append(f"on {_some(sorted(one.servers))}")
    if one.accounts:
        parts.append(plural(len(one.accounts), "account"))
    if one.clients:
        parts.append(plural(len(one.clients), "client"))
    if one.frame is not None:
        parts.append(f"first in frame {one.frame}" + (f" of {_file(one.capture)}" if several else ""))
    return {
        "rule": one.rule,
        "severity": one.severity,
        "title": one.title,
        "where": ", ".join(parts) + ".",
        "remediation": one.remediation,
        "references": [(reference, reference_url(reference)) for reference in one.references],
    }


def _some(names: list[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more:,} more" if more > 0 else "")


def _exposed(total: Summary) -> str:
    """How many accounts are in that list, in the words of the text report."""
    exposed = Exposed(total)
    counts = [f"{len(exposed.accounts):,} with password or token readable"] if exposed.accounts else []
    if exposed.hashed:
        counts.append(
            f"{len(exposed.hashed):,} with only a hash readable (challenge and response, from which a password can be guessed)"
        )
    return f"{', '.join(counts)}; by server."


def _accounts(total: Summary) -> View:
    """Accounts whose logins could be read, by server, as the text report has them: those with a password or token first."""
    readable, hashed = total.exposed_accounts(), total.hashed_accounts()
    shown = leading(readable, MAX_ROWS)
    shown += leading(hashed, MAX_ROWS - len(shown))
    heads = [
        Head("Account"), Head("Server", "place"), Head("Protocol", "fixed", True), Head("How", "wide"), Head("Clients", "number"),
        Head("Accepted", "number"), Head("Rejected", "number"),
    ]  # fmt: skip
    unknown = any(one.other for one in shown)
    view = View(
        "accounts",
        "Accounts exposed",
        [*heads, *([Head("Unknown", "number")] if unknown else []), Head("Last seen (UTC)", "moment")],
    )
    for one in shown:
        view.add(
            shorten(one.username, MAX_NAME) or "(empty)", endpoint(one.server_ip, one.server_port), one.protocol,
            ", ".join(one.mechanisms()[:4]) + ("" if one.readable else " (hash)"),
            f"{len(one.clients()):,}{'+' if one.more_clients else ''}", f"{one.accepted:,}", f"{one.rejected:,}",
            *([f"{one.other:,}"] if unknown else []), clock(one.last_ns) if one.last_ns else "",
        )  # fmt: skip
    view.more += len(readable) + len(hashed) - len(shown)
    return view


def _migration(rows: list[Row], accounts: list[str]) -> View:
    records = _records("migration", rows)
    # Where clients were seen to use an address, the column of servers has it.
    named = any(one["host"] != one["server_ip"] for one in records)
    view = View("migration", "Migration", [
        Head("Client", "place"), Head("Account"), Head("Server", "place"), Head("Today", "wide"), Head("Enter instead", "wide"),
        *([Head("Server name")] if named else []), Head("Authentication"), Head("Does it work?", "wide", True), Head("Also", "long"),
        Head("Last seen (UTC)", "moment"),
    ])  # fmt: skip
    for one, account in zip(records, accounts, strict=True):
        name = "" if one["host"] == one["server_ip"] else _text(one["host"], MAX_GREETING)
        view.add(
            _text(one["client_ip"]), shorten(account, MAX_NAME), endpoint(one["server_ip"], one["server_port"]), _text(one["current"]),
            _text(one["recommended"]), *([name] if named else []), _text(one["authentication"]), _text(one["basis"]),
            _text(one["problems"]), clock(one["last_seen"]),
        )  # fmt: skip
    return view


def _findings(rows: list[Row], several: bool) -> View:
    heads = [
        Head("Severity", "severity", True), Head("Finding", "wide", True), Head("Time (UTC)", "moment"), Head("Frame", "number"), Head("Client", "place"),
        Head("Server", "place"), Head("Account"), Head("Evidence", "long"), Head("Confidence", "fixed", True),
    ]  # fmt: skip
    view = View("findings", "Findings", [*heads, Head("Capture")] if several else heads)
    for one in _records("findings", rows):
        cells = [
            _text(one["severity"]), _text(one["title"]), clock(one["time"]), _text("" if one["frame"] is None else str(one["frame"])), _text(one["client_ip"]),
            "" if one["server_ip"] is None else endpoint(one["server_ip"], one["server_port"]), _text(one["username"], MAX_NAME),
            _text(one["detail"]), _text(one["confidence"]),
        ]  # fmt: skip
        view.add(*cells, *([_file(one["capture"])] if several else []))
    return view


def _worst_first(server: dict[str, object]) -> tuple[int, int]:
    grade, sessions = str(server["grade"]), server["sessions"]
    return (-GRADES.index(grade) if grade in GRADES else 1, -sessions if isinstance(sessions, int) else 0)


def _servers(rows: list[Row]) -> View:
    view = View("servers", "Servers", [
        Head("Grade", "grade", True), Head("Server", "place"), Head("Protocol", "fixed", True), Head("Sessions", "number"),
        Head("In clear", "number"), Head("STARTTLS", "number"), Head("TLS", "number"), Head("Offers STARTTLS"),
        Head("Passwords before TLS"), Head("TLS versions"), Head("Why", "long"),
    ])  # fmt: skip
    for one in sorted(_records("servers", rows), key=_worst_first):
        view.add(
            _text(one["grade"]), endpoint(one["server_ip"], one["server_port"]), _text(one["protocol"]), _text(one["sessions"]),
            _text(one["plaintext"]), _text(one["starttls"]), _text(one["implicit_tls"]), _offer(one),
            _text(one["plaintext_auth_offered"]), _text(one["tls_versions"]), _reasons(one["reasons"]),
        )  # fmt: skip
    return view


def _reasons(value: object) -> str:
    """What speaks for and against a server: each reason whole, those that find no room counted."""
    reasons = [str(reason) for reason in value] if isinstance(value, list) else []
    told, room = [], MAX_REASONS
    for reason in reasons:
        room -= len(reason) + 2
        if room < 0:
            break
        told.append(reason)
    more = len(reasons) - len(told)
    return ", ".join(told) + (f" and {more:,} more" if more else "")


def _offer(server: dict[str, object]) -> str:
    """Whether a server offers STARTTLS; where all is TLS from the first octet, nobody needs it."""
    counts = [int(str(server[name])) for name in ("plaintext", "starttls", "implicit_tls")]
    return offer_in_words(_text(server["starttls_offered"]), *counts)


def _certificates(job: Job) -> View:
    view = View("certificates", "Certificates", [
        Head("Subject"), Head("Names"), Head("Issuer"), Head("Valid until (UTC)", "moment"), Head("Key", "fixed"), Head("Signature", "place"),
        Head("Problems", pick=True), Head("Seen at", "place"), Head("SHA-256", "fixed"),
    ])  # fmt: skip
    names = [column.name for column in TABLES["tls"]]
    seen: dict[object, tuple[dict[str, object], set[str]]] = {}
    for session in job.result.sessions:
        if session.tls is None:
            continue
        one = dict(zip(names, job.maker.tls(session, session.tls), strict=True))
        if one["cert_sha256"] is not None and len(seen) < MAX_ROWS:
            servers = seen.setdefault(one["cert_sha256"], (one, set()))[1]
            servers.add(endpoint(session.server_ip, session.server_port))
    for one, servers in seen.values():
        view.add(
            _parts(one["cert_subject"]), _text(one["cert_names"]), _parts(one["cert_issuer"]), clock(one["cert_not_after"]),
            _text(one["cert_key"]), _text(one["cert_signature"]), _text(one["cert_problems"]).replace("_", " "), _some(sorted(servers)),
            f"{str(one['cert_sha256'])[:12]}\u2026",
        )  # fmt: skip
    return view


def _parts(name: object) -> str:
    """A distinguished name (RFC 4514) with a place between its parts at which a line may end."""
    return re.sub(r",(?=[A-Z]+=)", ", ", _text(name))


def _sessions(job: Job, several: bool) -> View:
    heads = [
        Head("Start (UTC)", "moment"), Head("Client", "place"), Head("Server", "place"), Head("Protocol", "fixed", True),
        Head("Transport", "transport", True), Head("STARTTLS", pick=True), Head("Readable", pick=True), Head("Logins", "wide"),
        Head("Messages", "number"), Head("Captured", pick=True), Head("Frames", "slim"), Head("Greeting", "slim"),
    ]  # fmt: skip
    view = View("sessions", "Sessions", heads)
    for session in job.result.sessions:
        if view.more:
            view.more += 1
            continue
        frames = f"{session.first_frame}\u2013{session.last_frame}"
        view.add(
            clock(session.start_ns), endpoint(session.client_ip, session.client_port), endpoint(session.server_ip, session.server_port),
            session.not_mail or session.protocol, TRANSPORTS.get(session.transport, session.transport),
            "" if session.starttls == "not_applicable" else session.starttls.replace("_", " "), _readable(session), _logins(session, job.maker.show_secrets),
            f"{session.messages:,}", session.completeness.replace("_", " "), f"{_file(session.capture)}: {frames}" if several else frames,
            shorten(session.server_banner or "", MAX_GREETING),
        )  # fmt: skip
    return view


def _readable(session: Session) -> str:
    """The worst that could be read of a session, in the words of the charts."""
    return NOT_LOOKED_AT if session.not_mail is not None else READABLE.get(session.exposure, session.exposure)


def _logins(session: Session, show_secrets: bool) -> str:
    """Who logged in in a session, how, and whether that was accepted."""
    parts: list[str] = []
    credentials = session.credentials or []
    for one in credentials:
        text = f"{shorten(one.username or '(no name)', 40)} ({one.mechanism}, {one.outcome})"
        hidden = one.secret if one.secret is not None else one.response
        if show_secrets and hidden is not None:
            text += f" {shorten(hidden.reveal() or '', 80)}"
        if text not in parts:
            parts.append(text)
        if len(parts) == 4:
            break
    more = len(credentials) - 4
    return ", ".join(parts[:3]) + (f" and {more + 1:,} more" if len(parts) == 4 else "")


def _messages(job: Job) -> View:
    """Messages with their header fields; empty where those were not asked for."""
    view = View("messages", "Messages", [
        Head("Time (UTC)", "moment"), Head("Direction", "fixed", True), Head("Subject"), Head("From"), Head("To"), Head("Octets", "number"),
        Head("Frame", "number"),
    ])  # fmt: skip
    if job.maker.headers:
        for one in _records("messages", job.rows("messages")):
            view.add(
                clock(one["time"]), _text(one["direction"]), _text(one["subject"]), _text(one["header_from"] or one["mail_from"]),
                _text(one["header_to"] or one["recipients"]), _text(one["size"]), _text(str(one["frame"])),
            )  # fmt: skip
    return view


def _captures(job: Job) -> View:
    view = View("captures", "Captures", [
        Head("Capture", "long"), Head("Format", "fixed"), Head("Link types"), Head("Packets", "number"), Head("To mail ports", "number"), Head("First (UTC)", "moment"),
        Head("Last (UTC)", "moment"), Head("Damaged places", "number"), Head("Octets skipped", "number"), Head("Packets dropped", "number"),
    ])  # fmt: skip
    for one in _records("captures", job.rows("captures")):
        view.add(
            _text(one["capture"]), _text(one["format"]), _text(one["linktypes"]), _text(one["packets"]), _text(one["mail_packets"]),
            clock(one["first"]), clock(one["last"]), _text(one["damaged"]), _text(one["skipped_bytes"]),
            "not said" if one["dropped"] is None else _text(one["dropped"]),
        )  # fmt: skip
    return view


def _counts(job: Job, findings: int, migration: int) -> list[tuple[str, str, str]]:
    """What was counted: the table's name, how many rows it has, and what those are."""
    counts = []
    for table in TABLES:
        if table in ("findings", "migration"):
            rows = findings if table == "findings" else migration
        else:
            sink = _Count()
            job.push(table, sink)
            rows = sink.rows
        number, _, what = plural(rows, COUNTED[table]).partition(" ")
        counts.append((table, number, what))
    return counts


def _kind(session: Session) -> str:
    """The protocol of a session; what it was where that was no mail."""
    if session.not_mail is not None:
        return "not mail"
    if session.protocol != "unknown" or session.transport != "unknown":
        return session.protocol
    return "not recognised" if session.client_bytes + session.server_bytes else "nothing said"


def _bars(sessions: list[Session]) -> list[dict[str, Any]]:
    """Sessions by protocol and transport."""
    counts: dict[str, dict[str, int]] = {}
    for session in sessions:
        shares = counts.setdefault(_kind(session), dict.fromkeys(FILLS, 0))
        shares[TRANSPORTS.get(session.transport, "unseen")] += 1
    most = max([sum(shares.values()) for shares in counts.values()], default=0)
    bars = []
    for protocol, shares in sorted(counts.items(), key=lambda item: (-sum(item[1].values()), item[0])):
        x, parts = 0.0, []
        for name, count in shares.items():
            if count:
                width = 100 * count / most
                parts.append({"kind": FILLS[name], "x": f"{x:.2f}", "width": f"{width:.2f}"})
                x += width
        words = ", ".join(f"{count:,} {name}" for name, count in shares.items() if count)
        bars.append({"name": protocol, "parts": parts, "words": words, "total": f"{sum(shares.values()):,}"})
    return bars


def _severity_bars(severities: dict[str, int]) -> list[dict[str, str]]:
    most = max(severities.values(), default=0)
    if not most:
        return []
    return [
        {"name": name, "total": f"{count:,}", "width": f"{100 * count / most:.2f}"}
        for name, count in severities.items()
    ]


def _history(sessions: list[Session]) -> dict[str, Any] | None:
    """Logins whose password, token or response could be read, over time, as the charts count them; None where there are none."""
    moments = [
        one.timestamp_ns // 1_000_000_000
        for session in sessions
        for one in session.credentials or ()
        if one.exposed and one.secret_kind in GUESSABLE and one.timestamp_ns > 0
    ]
    if not moments:
        return None
    first, last = min(moments), max(moments)
    step, words = next(((step, words) for step, words in STEPS if (last - first) // step < MAX_BARS), STEPS[-1])
    start = first // step
    counts: dict[int, int] = {}
    for moment in moments:
        at = min(moment // step - start, MAX_BARS * 10)
        counts[at] = counts.get(at, 0) + 1
    most = max(counts.values())
    columns = max(last // step - start + 1, 12)
    return {
        "step": words,
        "most": f"{most:,}",
        "total": plural(len(moments), "login"),
        "width": min(columns, MAX_BARS * 10 + 1) * 10,
        "bars": [(at * 10 + 1, round(100 * count / most, 1)) for at, count in sorted(counts.items())],
        "first": clock(start * step * 1_000_000_000),
        "last": clock((start + columns) * step * 1_000_000_000),
    }
