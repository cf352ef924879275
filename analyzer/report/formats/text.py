"""The text report: what matters first, then tables, in at most 100 columns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from analyzer.model import SEVERITIES
from analyzer.report.encryption import TlsServer, bad_certificates, short_name, suite_weakness
from analyzer.report.formats._page import Page, Table
from analyzer.report.glance import Glance, Glancer, glance
from analyzer.report.overview import HASH_ONLY, Exposed, endpoint, sessions_of, unseen, verdict, wordless
from analyzer.report.summary import AccountTally, Summary, leading
from analyzer.report.visible import shorten, shorten_path, visible
from analyzer.report.wording import plural
from analyzer.sessions.certificates import parse_certificate

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.formats import Job
    from analyzer.report.rows import RowMaker
    from analyzer.sessions.certificates import TrustStore

KIND: Final = "text"
#: It tells the times asked for.
TELLS_TIMES: Final = True
#: Its letters are those of the terminal.
ADAPTS: Final = True
#: It lists no single message.
MESSAGES: Final = False
#: Rows shown of a table; the rest is counted.
MAX_ROWS: Final = 20
#: Columns whose cells stay on one line.
UNFOLDED: Final = (
    "server",
    "server +more",
    "protocol",
    "client",
    "file",
    "from",
    "format",
    "first at",
    "valid until",
    "certificate",
)
#: Below this width tables leave out what can be had from other columns or tables.
NARROW: Final = 96
#: Clients and accounts named in the lead.
MAX_NAMED: Final = 5
#: Characters of a capture's name beside a frame, and of its path.
MAX_FILE: Final = 14
MAX_PATH: Final = 36
#: The least widths of other columns, where a table has any; and what damage is told in, in few lines.
NO_WIDTHS: Final[Mapping[str, int]] = {}
MIN_DAMAGE: Final = 14

#: What was readable of an account: the two words of this report, at length.
READABLE: Final = "password or token readable"

#: What a verdict that is not bad looks like.
TONES: Final[dict[str, str]] = {"warn": "bold yellow", "good": "bold green", "none": "bold"}

#: What anomalies are called that no rule speaks of, most telling first; kinds that are not here are details for other formats.
ANOMALY_NAMES: Final[dict[str, str]] = {
    "compressed_stream_lost": "compressed stream that could not be read on",
    "command_queue_full": "more commands in flight than mailtap pairs with replies",
    "line_too_long": "line too long to keep",
    "dissector_fault": "fault of mailtap, contained (please report it)",
}


def receiver(maker: RowMaker) -> Glancer | None:
    """What takes the sessions as they end; None where they must be kept, because secrets are looked up in them."""
    return None if maker.show_secrets else Glancer(maker.trust, maker.strength)


def write(job: Job, out: TextIO) -> None:
    """The report of one run."""
    seen = None if job.glancer is None else job.glancer.finish(job.result.captures)
    write_text(job.result, out, job.version, job.maker.show_secrets, job.maker.trust, seen)


def write_text(
    result: Result,
    out: TextIO,
    version: str,
    show_secrets: bool = False,
    trust: TrustStore | None = None,
    seen: Glance | None = None,
) -> None:
    """Write the report of one run; certificates are checked against ``trust`` (certifi's roots where None).

    ``seen`` is what the sessions come to, where they were not kept.
    """
    page = Page(out)
    if seen is None:
        seen = glance(result.sessions, result.captures, trust)
    total = seen.total
    frames = Frames(result)
    _head(page, result, total, version)
    exposed = _lead(page, total, dict(zip(SEVERITIES, seen.tally.by_severity, strict=True)), result.left_out)
    from analyzer.report.formats._verdicts import show_findings, show_servers, show_settings

    show_findings(page, seen.tally, frames)
    _accounts(page, total, exposed, result, show_secrets, frames)
    show_settings(page, seen.migration)
    _clients(page, total)
    show_servers(page, total, seen.servers)
    if total.starttls or total.implicit_tls:
        _tls(page, seen.tls)
    _anomalies(page, total, frames)
    _captures(page, result, frames)
    _limits(page, result, total, seen.notes)


class Frames:
    """Frame numbers as the report shows them: of several captures with the file, by name where names are short and differ."""

    def __init__(self, result: Result) -> None:
        paths = [one.name for one in result.captures]
        names = [shorten(path.rpartition("/")[2], MAX_FILE + 1) for path in paths]
        self.several = len(paths) > 1
        #: captures go by their numbers, which the table of captures explains
        self.numbered = self.several and (len(set(names)) < len(names) or max(map(len, names)) > MAX_FILE)
        self._labels = dict(
            zip(paths, [f"#{at}" for at in range(1, len(paths) + 1)] if self.numbered else names, strict=True)
        )
        #: captures that were named
        self.named: set[str] = set()

    def head(self) -> str:
        """What stands over a column of them."""
        return "file:frame" if self.several else "frame"

    def at(self, capture: str, frame: int) -> str:
        """One frame."""
        if not self.several:
            return f"{frame}"
        self.named.add(capture)
        return f"{self._labels.get(capture, capture)}:{frame}"


def _head(page: Page, result: Result, total: Summary, version: str) -> None:
    names = [visible(one.name) for one in result.captures]
    what = names[0] if len(names) == 1 else f"{len(names)} captures"
    packets = sum(one.packets for one in result.captures)
    page.print((f"mailtap {version}", "bold"), f"  {what}")
    span = ""
    first = [one.first_ns for one in result.captures if one.packets]
    last = [one.last_ns for one in result.captures if one.packets]
    if first:
        span = f", {clock(min(first))} to {clock(max(last))} UTC"
    page.print(f"{plural(packets, 'packet')}, {sessions_of(total)}{span}", style="dim")
    if result.window():
        page.print(result.window(), style="bold")
    page.print("")


def _lead(page: Page, total: Summary, severities: dict[str, int], left_out: int) -> Exposed:
    """The verdict, and what was met in short; whose secrets were readable."""
    found = verdict(total, severities, left_out)
    if found.tone == "bad":
        page.print((f"EXPOSED: {found.lead}", "bold red"), found.rest)
    else:
        page.print((found.lead, TONES[found.tone]), found.rest)
    if found.kind == "readable":
        _exposed(page, total, found.exposed)
    if total.decrypted_logins or total.decrypted_messages:
        page.print(
            f"With keys, {plural(total.decrypted_logins, 'login')} and {plural(total.decrypted_messages, 'message')}"
            " inside TLS were read; they were not exposed."
        )
    if total.messages_exposed and found.kind != "messages":
        page.print(f"{plural(total.messages_exposed, 'whole message')} could be read in clear.")
    shares = [
        f"{count:,} {name}"
        for count, name in (
            (total.plaintext, "in clear"),
            (total.starttls, "upgraded with STARTTLS"),
            (total.implicit_tls, "with implicit TLS"),
            (total.unreadable, "without readable content"),
        )
        if count
    ]
    if shares:
        page.print(f"Sessions: {', '.join(shares)}.")
    if total.not_mail:
        others = ", ".join(f"{count} {visible(name)}" for name, count in sorted(total.not_mail.items()))
        page.print(f"Not mail, on mail ports: {others}.")
    if wordless(total):
        page.print(wordless(total))
    page.print("")
    return found.exposed


def _exposed(page: Page, total: Summary, exposed: Exposed) -> None:
    """The servers and clients of the accounts that lead, and the accounts of which a hash was readable."""
    page.print(f"  servers  {named(sorted(exposed.servers_leading))}", indent=11)
    clients = sorted(exposed.clients_leading, key=lambda client: (-total.clients[client].logins, client))
    page.print(f"  clients  {named(clients)}", indent=11)
    if exposed.hashed:
        page.print(
            f"{plural(len(exposed.hashed), 'more account')} sent challenge and response in clear ({', '.join(exposed.hashed_by)}): "
            "the hash is readable, and can be guessed offline."
        )
    if total.nameless_hashes:
        page.print(f"{plural(total.nameless_hashes, 'login')} without a name sent challenge and response in clear.")


def named(names: list[str], most: int = MAX_NAMED) -> str:
    """The first of some names, and how many more there are."""
    shown = ", ".join(visible(name) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def new_table(
    title: str, *columns: tuple[str, bool], spare: tuple[str, ...] = (), least: Mapping[str, int] = NO_WIDTHS
) -> Table:
    """A table; columns are (name, whether it holds numbers). Only columns of text may fold, and never an address in the middle.

    The columns named in ``spare`` are left out, the first first, where there is no room, also for the ``least`` widths of others.
    """
    table = Table(title, spare)
    for name, number in columns:
        table.add_column(name, number, name in UNFOLDED, least.get(name, 0))
    return table


def all_of(table: str) -> str:
    """Where the rows are that a table has no room for: in one of the tables of records."""
    return f"all: --format csv --table {table}"


def _show(page: Page, table: Table, cut: int = 0, what: str = "", records: str = "") -> None:
    page.table(table)
    if cut > 0:
        page.print(f"and {cut:,} more {what} ({all_of(records)})", style="dim")
    page.print("")


def _accounts(page: Page, total: Summary, exposed: Exposed, result: Result, show_secrets: bool, frames: Frames) -> None:
    readable, hashed = total.exposed_accounts(), total.hashed_accounts()
    if not readable and not hashed:
        return
    accounts = leading(readable, MAX_ROWS)
    accounts += leading(hashed, MAX_ROWS - len(accounts))
    secrets = _secrets(result, accounts) if show_secrets else {}
    columns = [
        ("account", False),
        ("server", False),
        ("how", False),
        ("clients", True),
        ("ok", True),
        ("failed", True),
        *([("unknown", True)] if any(one.other for one in accounts) else []),
        (frames.head(), True),
    ]
    if show_secrets:
        columns.insert(3, ("secret", False))
    outcomes = "" if exposed.accounts == exposed.accepted else f" ({exposed.came_of_it()})"
    counts = [f"{len(exposed.accounts):,} with {READABLE}{outcomes}"] if exposed.accounts else []
    counts += [f"{len(exposed.hashed):,} with {HASH_ONLY}"] if exposed.hashed else []
    table = new_table(
        f"Accounts exposed: {', '.join(counts)}; by server",
        *columns,
        spare=("clients", "unknown", "failed", frames.head(), "ok"),
    )
    for one in accounts:
        cells = [
            shorten(one.username, 40) or "(empty)",
            endpoint(one.server_ip, one.server_port),
            f"{one.protocol} {_mechanisms(one)}" + ("" if one.readable else " (hash)"),
            f"{len(one.clients()):,}{'+' if one.more_clients else ''}",
            f"{one.accepted:,}",
            f"{one.rejected:,}",
            *([f"{one.other:,}"] if len(columns) - show_secrets == 8 else []),
            frames.at(one.capture, one.frame),
        ]
        if show_secrets:
            cells.insert(3, secrets.get(_account_key(one), ""))
        table.add_row(*cells, style="" if one.accepted else "dim")
    _show(page, table, len(readable) + len(hashed) - MAX_ROWS, "rows of account and server", "credentials")


def _mechanisms(one: AccountTally) -> str:
    """The mechanisms of an account: two of them, and how many more there are."""
    names = one.mechanisms()
    more = len(names) - 2
    return ", ".join(names[:2]) + (f" +{more}" if more > 0 else "")


def _account_key(one: AccountTally) -> str:
    return f"{one.username} {one.server_ip} {one.server_port}"


def _secrets(result: Result, accounts: list[AccountTally]) -> dict[str, str]:
    """The secrets seen of the accounts that are shown, by account."""
    wanted: dict[str, list[str]] = {_account_key(one): [] for one in accounts}
    for session in result.sessions:
        for credential in session.credentials or ():
            found = wanted.get(f"{credential.username} {session.server_ip} {session.server_port}")
            hidden = credential.secret if credential.secret is not None else credential.response
            if found is None or hidden is None:
                continue
            text = shorten(hidden.reveal() or "", 60)
            if text not in found and len(found) < MAX_NAMED:
                found.append(text)
    return {key: ", ".join(found) for key, found in wanted.items()}


def _clients(page: Page, total: Summary) -> None:
    if not total.clients:
        return
    ranked = sorted(total.clients.values(), key=lambda one: (-one.logins, one.client_ip))
    accounts = total.names_of([one.client_ip for one in ranked[:MAX_ROWS]])
    sent = sum(one.exposed or one.nameless for one in ranked)
    counts = [f"{sent:,} with {READABLE}"] if sent else []
    counts += [f"{len(ranked) - sent:,} without"] if sent < len(ranked) else []
    table = new_table(
        f"Clients that log in in clear: {', '.join(counts)}", ("client", False), ("logins in clear", True), ("accounts", True),
        ("readable", False), spare=("readable", "accounts"),
    )  # fmt: skip
    for one in ranked[:MAX_ROWS]:
        names = accounts[one.client_ip]
        readable = "password or token" if one.exposed or one.nameless else "hash"
        if not names:
            readable += " without a name"
        table.add_row(one.client_ip, f"{one.logins:,}", f"{len(names):,}", readable)
    _show(page, table, len(ranked) - MAX_ROWS, "clients", "credentials")


def _tls(page: Page, servers: list[TlsServer]) -> None:
    """What TLS each server speaks, and the certificates that something is wrong with."""
    if not servers:
        return
    table = new_table(
        "TLS", ("server", False), ("handshakes", True), ("failed", True), ("versions", False), ("cipher suites", False),
        ("certificate", False), spare=("failed", "handshakes", "certificate"),
    )  # fmt: skip
    for one in servers[:MAX_ROWS]:
        table.add_row(
            endpoint(one.server_ip, one.server_port), f"{one.handshakes:,}", f"{one.failed:,}" if one.failed else "",
            ", ".join(_counted(one.versions, sorted(one.versions))), _suites(one.suites), one.verdict(),
        )  # fmt: skip
    _show(page, table, len(servers) - MAX_ROWS, "servers", "tls")
    bad = bad_certificates(servers)
    if not bad:
        return
    table = new_table(
        "Certificates with problems", ("certificate", False), ("problems", False), ("sessions", True), ("valid until", False),
        ("servers", False), spare=("sessions", "valid until"),
    )  # fmt: skip
    for certificate, users in bad[:MAX_ROWS]:
        until = parse_certificate(certificate.chain[0]).not_after_ns
        table.add_row(
            shorten(short_name(certificate), 40), ", ".join(certificate.problems).replace("_", " "),
            f"{certificate.sessions:,}", clock(until)[:10] if until is not None else "?",
            named([endpoint(one.server_ip, one.server_port) for one in users], 2),
        )  # fmt: skip
    _show(page, table, len(bad) - MAX_ROWS, "certificates", "tls")


def _counted(counts: dict[str, int], order: list[str]) -> list[str]:
    """Names with how often they were met, where there is more than one."""
    return [f"{name} ({counts[name]:,})" if len(counts) > 1 else name for name in order]


def _suites(suites: dict[str, int]) -> str:
    """The suites that are weak by name, the others by their number."""
    weak = sorted([name for name in suites if suite_weakness(name)], key=lambda name: (-suite_weakness(name), name))
    parts = [name.removeprefix("TLS_") for name in _counted(suites, weak[:MAX_NAMED])]
    if len(weak) > MAX_NAMED:
        parts.append(f"{len(weak) - MAX_NAMED} more weak ones")
    sound = len(suites) - len(weak)
    if sound:
        parts.append(f"{sound} sound")
    return ", ".join(parts)


def _anomalies(page: Page, total: Summary, frames: Frames) -> None:
    seen = [kind for kind in ANOMALY_NAMES if kind in total.anomalies]
    if not seen:
        return
    table = new_table("Odd, and worth a look", ("what", False), ("times", True), ("first at", False))
    for kind in seen:
        one = total.anomalies[kind]
        address, port = one.server.split(" ")
        table.add_row(
            ANOMALY_NAMES[kind],
            f"{one.count:,}",
            f"frame {frames.at(one.capture, one.frame)}, server {endpoint(address, port)}",
        )
    _show(page, table)


def _captures(page: Page, result: Result, frames: Frames) -> None:
    table = new_table(
        "Captures",
        *([("", True)] if frames.numbered else []),
        ("file", False),
        ("format", False),
        ("packets", True),
        ("mail ports", True),
        ("from", False),
        ("damage", False),
        spare=("format", "mail ports", "from", "packets"),
        least={"file": MAX_PATH, "damage": MIN_DAMAGE},
    )
    shown = [
        (number, one)
        for number, one in enumerate(result.captures, 1)
        if number <= MAX_ROWS or (frames.numbered and one.name in frames.named)
    ]
    for number, one in shown:
        damage = []
        if one.damaged:
            damage.append(f"{plural(one.damaged, 'place')}, {plural(one.skipped_bytes, 'octet')} skipped")
        elif one.cut or one.skipped_bytes:
            damage.append(f"cut, {plural(one.skipped_bytes, 'octet')} left over")
        if one.dropped:
            damage.append(f"{plural(one.dropped, 'packet')} dropped while capturing")
        if one.undecoded:
            damage.append(f"{plural(one.undecoded, 'packet')} not decoded")
        table.add_row(
            *([f"#{number}"] if frames.numbered else []), shorten_path(one.name, MAX_PATH), one.format, f"{one.packets:,}", f"{one.mail_packets:,}",
            clock(one.first_ns) if one.packets else "", "; ".join(damage) or "none",
        )  # fmt: skip
    _show(page, table, len(result.captures) - len(shown), "captures", "captures")


def _limits(page: Page, result: Result, total: Summary, notes: list[str]) -> None:
    """What the captures cannot tell."""
    lines = [*unseen(total), *result.warnings, *notes]
    if lines:
        page.print("What this capture cannot tell", style="bold")
        for line in lines[:MAX_ROWS]:
            page.print(f"  {visible(line)}", indent=4)
        if len(lines) > MAX_ROWS:
            page.print(f"  and {len(lines) - MAX_ROWS:,} more remarks", style="dim")


def clock(timestamp_ns: int) -> str:
    """A time in UTC to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(timestamp_ns // 1_000_000_000, 0), 253402300799)))
