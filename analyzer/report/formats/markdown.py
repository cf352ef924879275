"""Markdown (CommonMark with GitHub's tables): the report for people, for tickets and wikis.

The same order as the HTML report: verdict, what to do first, migration, findings, servers, sessions, what the capture cannot tell. Words
from traffic stand in code spans, where they can be neither links nor mentions nor markup; tables are cut to a readable length, and say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.report.cards import NOT_LOOKED_AT, READABLE
from analyzer.report.columns import TABLES
from analyzer.report.formats.json import rfc3339_second
from analyzer.report.overview import make_overview, reference_url, sessions_of, strangers, wordless
from analyzer.report.rows import Row, RowSink
from analyzer.report.servers import offer_in_words
from analyzer.report.visible import shorten, shorten_path
from analyzer.report.wording import plural

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.report.formats import Job
    from analyzer.sessions.records import Session

KIND: Final = "text"
#: It tells the times asked for.
TELLS_TIMES: Final = True
#: It lists no single message.
MESSAGES: Final = False
#: Its table of captures has their SHA-256.
HASHED: Final = True
#: Rows of a table, and characters of a cell.
MAX_ROWS: Final = 100
MAX_CELL: Final = 200

#: Table -> the columns it shows, with the words over them.
SHOWN: Final[dict[str, dict[str, str]]] = {
    "migration": {
        "client_ip": "client", "username": "account", "server_ip": "server", "current": "today", "recommended": "enter instead",
        "host": "server name", "authentication": "authentication", "basis": "known from", "last_seen": "last seen (UTC)",
    },
    "findings": {
        "severity": "severity", "title": "finding", "time": "time (UTC)", "frame": "frame", "client_ip": "client", "server_ip": "server",
        "server_port": "port", "username": "account", "detail": "evidence",
    },
    "servers": {
        "grade": "grade", "server_ip": "server", "server_port": "port", "protocol": "protocol", "sessions": "sessions",
        "plaintext": "in clear", "starttls": "STARTTLS", "implicit_tls": "TLS", "starttls_offered": "offers STARTTLS",
        "reasons": "why",
    },
    "sessions": {
        "start": "start (UTC)", "client_ip": "client", "server_ip": "server", "server_port": "port", "protocol": "protocol",
        "transport": "transport", "starttls": "STARTTLS", "exposure": "readable", "auth_attempts": "logins", "messages": "messages",
        "completeness": "captured", "first_frame": "first frame", "server_banner": "greeting",
    },
    "captures": {
        "capture": "capture", "format": "format", "packets": "packets", "mail_packets": "to mail ports", "first": "first (UTC)",
        "last": "last (UTC)", "damaged": "damaged places", "skipped_bytes": "octets skipped", "dropped": "dropped",
    },
}  # fmt: skip
#: Columns of text whose words are mailtap's own.
OWN: Final = ("title", "current", "recommended", "authentication", "basis")
TITLES: Final = {
    "migration": "Migration: the settings to enter",
    "findings": "Findings",
    "servers": "Servers",
    "sessions": "Sessions",
}


class _Rows(RowSink):
    """Keeps the first rows and counts all."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.count = 0

    def receive_row(self, row: Row) -> None:
        self.count += 1
        if len(self.rows) < MAX_ROWS:
            self.rows.append(row)


def code(text: str) -> str:
    """Words from traffic as a code span for a table's cell; nothing for no words."""
    return span(shorten(text, MAX_CELL))


def span(text: str) -> str:
    """A text that may be shown as a code span."""
    if not text.strip():
        return "` `" if text else ""
    fence = "`"
    while fence in text:
        fence += "`"
    # Backticks at the ends need a space between them and the fence, which readers take off again.
    edge = " " if text[0] == "`" or text[-1] == "`" or (text[0] == " " and text[-1] == " ") else ""
    return f"{fence}{edge}{text}{edge}{fence}".replace("|", "\\|")


def write(job: Job, out: TextIO) -> None:
    """The report of one run."""
    job.add_hashes()
    overview = make_overview(job)
    names = [span(shorten_path(one.name, MAX_CELL)) for one in job.result.captures]
    out.write(
        f"# Mail traffic in {names[0] if len(names) == 1 else plural(len(names), 'capture')}\n\n**{overview.verdict}**\n\n"
    )
    window = job.result.window()
    out.write(f"{window}\n\n" if window else "")
    total = overview.total
    out.write(
        f"{sessions_of(total)}: {total.plaintext:,} in clear, {total.starttls:,} upgraded with STARTTLS, "
        f"{total.implicit_tls:,} with TLS from the start, {total.unreadable:,} without readable content. "
        f"{plural(total.messages_exposed, 'message')} readable.\n\n## What to do first\n\n"
    )
    for number, one in enumerate(overview.actions, 1):
        links = [
            f"[{reference}]({reference_url(reference)})" if reference_url(reference) else reference
            for reference in one.references
        ]
        out.write(f"{number}. **{one.title}** ({one.severity}, {plural(one.count, 'time')}). {one.remediation}")
        out.write(f" {', '.join(links)}\n" if links else "\n")
    out.write("" if overview.actions else "Nothing was found that wants doing.\n")
    tables = {table: _Rows() for table in TABLES}
    for table, sink in tables.items():
        if table == "findings":
            sink.rows, sink.count = overview.findings[:MAX_ROWS], sum(overview.severities.values())
        else:
            job.push(table, sink)
    _tell_apart(tables, job.result.sessions, overview.migrants)
    for table, title in TITLES.items():
        out.write(f"\n## {title}\n\n")
        if table == "migration" and overview.closing:
            out.write("".join(f"- {sentence[:1].upper()}{sentence[1:]}.\n" for sentence in overview.closing) + "\n")
        _write_table(table, tables[table], out)
        if table == "servers":
            out.writelines(f"\n{others}\n" for others in (strangers(job.result.sessions), wordless(total)) if others)
    out.write("\n## What this capture cannot tell\n\n")
    out.writelines(f"- {code(limit)}\n" for limit in overview.limits)
    out.write(
        "\n"
        if overview.limits
        else "All sessions were captured whole, in both directions, and nothing was lost that shows.\n\n"
    )
    _write_table("captures", tables["captures"], out)
    counts = ", ".join(f"{table} {sink.count:,}" for table, sink in tables.items())
    out.write(
        f"\nRows of each table: {counts}.\n\nMade by mailtap {job.version}. Times are UTC, frames are Wireshark's numbers.\n"
    )


def _tell_apart(tables: dict[str, _Rows], sessions: list[Session], accounts: list[str]) -> None:
    """Put words for people into the rows: what it was that was no mail, which servers need no STARTTLS, accounts without a name."""
    migration = [column.name for column in TABLES["migration"]]
    for row, account in zip(tables["migration"].rows, accounts, strict=False):
        row[migration.index("username")] = account
    names = [column.name for column in TABLES["sessions"]]
    protocol, exposure = names.index("protocol"), names.index("exposure")
    for row, session in zip(tables["sessions"].rows, sessions, strict=False):
        row[protocol] = session.not_mail or row[protocol]
        row[exposure] = (
            NOT_LOOKED_AT if session.not_mail is not None else READABLE.get(session.exposure, session.exposure)
        )
    at = {column.name: index for index, column in enumerate(TABLES["servers"])}
    for row in tables["servers"].rows:
        counts = [int(str(row[at[name]])) for name in ("plaintext", "starttls", "implicit_tls")]
        row[at["starttls_offered"]] = offer_in_words(str(row[at["starttls_offered"]]), *counts)


def _write_table(table: str, sink: _Rows, out: TextIO) -> None:
    if not sink.count:
        out.write("None.\n")
        return
    shown = SHOWN[table]
    at = {column.name: index for index, column in enumerate(TABLES[table])}
    kinds = {column.name: column.kind for column in TABLES[table]}
    out.write("| " + " | ".join(shown.values()) + " |\n")
    out.write("|" + "|".join(" ---: " if kinds[name] == "count" else " --- " for name in shown) + "|\n")
    out.writelines(
        "| "
        + " | ".join(
            _cell(row[at[name]], "own" if name in OWN else "path" if name == "capture" else kinds[name])
            for name in shown
        )
        + " |\n"
        for row in sink.rows
    )
    if sink.count > len(sink.rows):
        out.write(f"\nand {sink.count - len(sink.rows):,} more (all: `--format csv --table {table}`)\n")


def _cell(value: object, kind: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return rfc3339_second(value // 1_000_000_000).replace("T", " ") if kind == "time" else str(value)
    if kind == "path":
        return span(shorten_path(str(value), MAX_CELL))
    if isinstance(value, list):
        return code(", ".join(map(str, value)))
    return str(value).replace("_", " ") if kind in ("word", "own") else code(str(value))
