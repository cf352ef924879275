"""The text report: what matters first, then tables, in at most 100 columns."""

from __future__ import annotations

import re
import textwrap
import time
from typing import IO, TYPE_CHECKING, Final, cast

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzer.report.encryption import TlsServer, bad_certificates, short_name, suite_weakness
from analyzer.report.glance import Glance, Glancer, glance
from analyzer.report.overview import Exposed, endpoint
from analyzer.report.summary import AccountTally, ServerTally, Summary
from analyzer.report.visible import shorten, visible
from analyzer.sessions.certificates import parse_certificate

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.formats import Job
    from analyzer.report.rows import RowMaker
    from analyzer.sessions.certificates import TrustStore

KIND: Final = "text"
#: Columns of the report where its width is not that of a terminal, and the most it takes of one.
WIDTH: Final = 100
#: Rows shown of a table; the rest is counted.
MAX_ROWS: Final = 20
#: Columns whose cells stay on one line.
UNFOLDED: Final = (
    "server",
    "protocol",
    "client",
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
MAX_PATH: Final = 40

#: Spaces at the end of a line, with terminal codes between them; one such code.
_END: Final = re.compile(r"(?: |\x1b\[[0-9;]*m)+$")
_CODE: Final = re.compile(r"\x1b\[[0-9;]*m")

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
    terminal = out.isatty()
    trimmed = _Trimmed(out)
    console = Console(
        file=cast("IO[str]", trimmed), width=None if terminal else WIDTH, highlight=False, soft_wrap=False, emoji=False,
        markup=False,
    )  # fmt: skip
    if console.width > WIDTH:
        console.width = WIDTH
    if seen is None:
        seen = glance(result.sessions, result.captures, trust)
    total = seen.total
    frames = Frames(result)
    _head(console, result, total, version)
    _lead(console, total)
    from analyzer.report.formats._verdicts import show_findings, show_servers, show_settings

    show_findings(console, seen.tally, frames)
    _accounts(console, total, result, show_secrets, frames)
    show_settings(console, seen.migration)
    _clients(console, total)
    show_servers(console, total, seen.servers)
    if total.starttls or total.implicit_tls:
        _tls(console, seen.tls)
    _anomalies(console, total, frames)
    _captures(console, result, frames)
    _limits(console, result, total, seen.notes)
    trimmed.end()


class _Trimmed:
    """Hands text on line by line, without the spaces that tables put at the ends of lines; terminal codes among them stay."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rest = ""
        self.encoding = getattr(out, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        self._out.writelines([_END.sub(_codes, line) + "\n" for line in lines])
        return len(text)

    def flush(self) -> None:
        self._out.flush()

    def isatty(self) -> bool:
        return self._out.isatty()

    def fileno(self) -> int:
        return self._out.fileno()

    def end(self) -> None:
        """What is left of the last line."""
        self._out.write(_END.sub(_codes, self._rest))
        self._rest = ""


def _codes(spaces: re.Match[str]) -> str:
    return "".join(_CODE.findall(spaces.group()))


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


def _head(console: Console, result: Result, total: Summary, version: str) -> None:
    names = [visible(one.name) for one in result.captures]
    what = names[0] if len(names) == 1 else f"{len(names)} captures"
    packets = sum(one.packets for one in result.captures)
    line = Text(f"mailtap {version}", style="bold")
    line.append(f"  {what}", style="default")
    console.print(line, overflow="fold")
    span = ""
    first = [one.first_ns for one in result.captures if one.packets]
    last = [one.last_ns for one in result.captures if one.packets]
    if first:
        span = f", {clock(min(first))} to {clock(max(last))} UTC"
    console.print(
        f"{plural(packets, 'packet')}, {plural(total.mail, 'mail session')}{span}", style="dim", overflow="fold"
    )
    console.print()


def _lead(console: Console, total: Summary) -> None:
    exposed = Exposed(total)
    hashed = total.hashed_accounts()
    if exposed.accounts:
        line = Text()
        line.append(f"EXPOSED: {exposed.words()}", style="bold red")
        line.append(f" sent {'its' if len(exposed.accounts) == 1 else 'their'} password or token in clear,")
        line.append(f" from {plural(len(exposed.clients), 'client')}")
        if exposed.accepted != exposed.accounts:
            line.append(f" ({len(exposed.accepted):,} with an accepted login)")
        line.append(".")
        console.print(line)
        say(console, f"  servers  {_named(sorted(exposed.servers))}", 11)
        clients = sorted(exposed.clients, key=lambda client: (-total.clients.get(client, 0), client))
        say(console, f"  clients  {_named(clients)}", 11)
    elif total.nameless:
        line = Text()
        line.append(f"EXPOSED: {plural(total.nameless, 'login')}", style="bold red")
        line.append(" went over the wire in clear; the account names could not be read.")
        console.print(line)
    elif total.mail:
        console.print("No password or token was seen in clear.", style="bold green")
    else:
        console.print("No mail session was seen.", style="bold")
    if hashed:
        console.print(
            f"{plural(len({one.username for one in hashed}), 'account')} sent challenge and response in clear"
            f" ({', '.join(sorted({name for one in hashed for name in one.mechanisms}))}): passwords can be guessed offline."
        )
    if total.decrypted_logins or total.decrypted_messages:
        console.print(
            f"With keys, {plural(total.decrypted_logins, 'login')} and {plural(total.decrypted_messages, 'message')}"
            " inside TLS were read; they were not exposed.",
        )
    if total.messages_exposed:
        console.print(f"{plural(total.messages_exposed, 'whole message')} could be read in clear.")
    shares = [
        f"{count:,} {name}"
        for count, name in (
            (total.plaintext, "in clear"),
            (total.starttls, "upgraded with STARTTLS"),
            (total.implicit_tls, "with implicit TLS"),
            (total.unknown, "without readable content"),
        )
        if count
    ]
    if shares:
        console.print(f"Sessions: {', '.join(shares)}.")
    if total.not_mail:
        named = ", ".join(f"{count} {visible(name)}" for name, count in sorted(total.not_mail.items()))
        console.print(f"Not mail, on mail ports: {named}.")
    console.print()


def say(console: Console, text: str, indent: int = 4, style: str = "") -> None:
    """A sentence, its second and further lines indented."""
    lines = textwrap.wrap(
        text, console.width, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True
    )
    console.print(Text("\n".join(lines), style=style), overflow="fold")


def _named(names: list[str], most: int = MAX_NAMED) -> str:
    shown = ", ".join(visible(name) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more:,} more" if more > 0 else shown


def _table(title: str, *columns: tuple[str, bool]) -> Table:
    """A table; columns are (name, whether it holds numbers). Only the first columns of text may fold, never an address in the middle."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
        expand=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name, number in columns:
        whole = number or name in UNFOLDED
        table.add_column(
            name, justify="right" if number else "left", overflow="ellipsis" if whole else "fold", no_wrap=whole
        )
    return table


def _show(console: Console, table: Table, cut: int, what: str) -> None:
    console.print(table)
    if cut > 0:
        console.print(f"and {cut:,} more {what} (--format json, csv or jsonl has them all)", style="dim")
    console.print()


def _accounts(console: Console, total: Summary, result: Result, show_secrets: bool, frames: Frames) -> None:
    accounts = total.exposed_accounts() + total.hashed_accounts()
    if not accounts:
        return
    secrets = _secrets(result, accounts[:MAX_ROWS]) if show_secrets else {}
    columns = [
        ("account", False),
        ("server", False),
        ("how", False),
        ("clients", True),
        ("ok", True),
        ("failed", True),
        *([("unknown", True)] if any(one.other for one in accounts[:MAX_ROWS]) else []),
        (frames.head(), True),
    ]
    if show_secrets:
        columns.insert(3, ("secret", False))
    table = _table("Accounts exposed", *columns)
    for one in accounts[:MAX_ROWS]:
        cells = [
            shorten(one.username, 40) or "(empty)",
            endpoint(one.server_ip, one.server_port),
            f"{one.protocol} {_mechanisms(one)}" + ("" if one.readable else " (hash)"),
            f"{len(one.clients):,}",
            f"{one.accepted:,}",
            f"{one.rejected:,}",
            *([f"{one.other:,}"] if len(columns) - show_secrets == 8 else []),
            frames.at(one.capture, one.frame),
        ]
        if show_secrets:
            cells.insert(3, secrets.get(_account_key(one), ""))
        table.add_row(*[Text(cell) for cell in cells], style=None if one.accepted else "dim")
    _show(console, table, len(accounts) - MAX_ROWS, "accounts")


def _mechanisms(one: AccountTally) -> str:
    """The mechanisms of an account: two of them, and how many more there are."""
    more = len(one.mechanisms) - 2
    return ", ".join(one.mechanisms[:2]) + (f" +{more}" if more > 0 else "")


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


def _clients(console: Console, total: Summary) -> None:
    if not total.clients:
        return
    ranked = sorted(total.clients.items(), key=lambda item: (-item[1], item[0]))
    accounts = total.names_of([client for client, _ in ranked[:MAX_ROWS]])
    table = _table("Clients that log in in clear", ("client", False), ("logins in clear", True), ("accounts", True))
    for client, logins in ranked[:MAX_ROWS]:
        table.add_row(client, f"{logins:,}", f"{len(accounts[client]):,}")
    _show(console, table, len(ranked) - MAX_ROWS, "clients")


def _tls(console: Console, servers: list[TlsServer]) -> None:
    """What TLS each server speaks, and the certificates that something is wrong with."""
    if not servers:
        return
    table = _table(
        "TLS", ("server", False), ("handshakes", True), ("failed", True), ("versions", False), ("cipher suites", False),
        ("certificate", False),
    )  # fmt: skip
    for one in servers[:MAX_ROWS]:
        table.add_row(
            endpoint(one.server_ip, one.server_port), f"{one.handshakes:,}", f"{one.failed:,}" if one.failed else "",
            ", ".join(_counted(one.versions, sorted(one.versions))), _suites(one.suites), one.verdict(),
        )  # fmt: skip
    _show(console, table, len(servers) - MAX_ROWS, "servers")
    bad = bad_certificates(servers)
    if not bad:
        return
    table = _table(
        "Certificates with problems", ("certificate", False), ("problems", False), ("sessions", True), ("valid until", False),
        ("servers", False),
    )  # fmt: skip
    for certificate, users in bad[:MAX_ROWS]:
        until = parse_certificate(certificate.chain[0]).not_after_ns
        table.add_row(
            Text(shorten(short_name(certificate), 40)), ", ".join(certificate.problems).replace("_", " "),
            f"{certificate.sessions:,}", clock(until)[:10] if until is not None else "?",
            _named([endpoint(one.server_ip, one.server_port) for one in users], 2),
        )  # fmt: skip
    _show(console, table, len(bad) - MAX_ROWS, "certificates")


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


def upgrade_offered(one: ServerTally) -> str:
    """Whether a server offers STARTTLS, as far as was seen."""
    yes = one.offered + one.starttls
    if one.implicit_tls and not one.plaintext and not one.starttls:
        return "not needed"
    if one.refused:
        return "refused"
    if yes and one.not_offered:
        return "sometimes"
    if yes:
        return "yes"
    return "no" if one.not_offered else "unseen"


def _anomalies(console: Console, total: Summary, frames: Frames) -> None:
    seen = [kind for kind in ANOMALY_NAMES if kind in total.anomalies]
    if not seen:
        return
    table = _table("Odd, and worth a look", ("what", False), ("times", True), ("first at", False))
    for kind in seen:
        one = total.anomalies[kind]
        address, port = one.server.split(" ")
        table.add_row(
            Text(ANOMALY_NAMES[kind]),
            f"{one.count:,}",
            Text(f"frame {frames.at(one.capture, one.frame)}, server {endpoint(address, port)}"),
        )
    _show(console, table, 0, "")


def _path(name: str) -> str:
    """A capture's path; of a long one the end, which tells it from others."""
    name = visible(name)
    return name if len(name) <= MAX_PATH else f"…{name[1 - MAX_PATH :]}"


def _captures(console: Console, result: Result, frames: Frames) -> None:
    table = _table(
        "Captures",
        *([("", True)] if frames.numbered else []),
        ("file", False),
        ("format", False),
        ("packets", True),
        ("mail", True),
        ("from", False),
        ("damage", False),
    )
    shown = [
        (number, one)
        for number, one in enumerate(result.captures, 1)
        if number <= MAX_ROWS or (frames.numbered and one.name in frames.named)
    ]
    for number, one in shown:
        damage = []
        if one.damaged:
            damage.append(f"{plural(one.damaged, 'place')}, {one.skipped_bytes:,} octets skipped")
        elif one.cut or one.skipped_bytes:
            damage.append(f"cut, {one.skipped_bytes:,} octets left over")
        if one.dropped:
            damage.append(f"{one.dropped:,} packets dropped while capturing")
        if one.undecoded:
            damage.append(f"{one.undecoded:,} packets not decoded")
        table.add_row(
            *([f"#{number}"] if frames.numbered else []), Text(_path(one.name)), one.format, f"{one.packets:,}", f"{one.mail_packets:,}",
            clock(one.first_ns) if one.packets else "", Text("; ".join(damage) or "none"),
        )  # fmt: skip
    _show(console, table, len(result.captures) - len(shown), "captures")


def _limits(console: Console, result: Result, total: Summary, notes: list[str]) -> None:
    """What the captures cannot tell."""
    lines = []
    if total.midstream:
        lines.append(f"{plural(total.midstream, 'session')} began before the capture: what came before is unseen.")
    if total.one_sided:
        lines.append(
            f"{plural(total.one_sided, 'session')} had only one direction captured: outcomes or secrets may be missing."
        )
    if total.truncated:
        lines.append(
            f"{plural(total.truncated, 'session')} lacked octets ({total.gap_bytes:,} missing) or had not ended."
        )
    if total.conflicts:
        lines.append(
            f"{plural(total.conflicts, 'session')} carried the same octets twice with different content: somebody may inject packets."
        )
    if total.cut_records:
        lines.append(f"{total.cut_records:,} records of overlong sessions were left out.")
    lines.extend(result.warnings)
    lines.extend(notes)
    if lines:
        console.print("What this capture cannot tell", style="bold")
        for line in lines[:MAX_ROWS]:
            say(console, f"  {visible(line)}")
        if len(lines) > MAX_ROWS:
            console.print(f"  and {len(lines) - MAX_ROWS:,} more remarks", style="dim")


def clock(timestamp_ns: int) -> str:
    """A time in UTC to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(max(timestamp_ns // 1_000_000_000, 0), 253402300799)))


def plural(count: int, word: str) -> str:
    """``1 session``, ``2 sessions``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
