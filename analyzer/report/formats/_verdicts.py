"""The parts of the text report that say what to do: findings at a glance, and the settings to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.findings.tally import FindingTally, Group
from analyzer.model import SEVERITIES
from analyzer.report.formats.text import MAX_ROWS, NARROW, READABLE, Frames, all_of, named, new_table
from analyzer.report.migration import FAILING, NAMES, OFFERED, WORKING, Migration, closings
from analyzer.report.migration import UNSEEN as UNTRIED
from analyzer.report.overview import endpoint
from analyzer.report.servers import GRADES, UNSEEN, Posture
from analyzer.report.summary import ServerTally, Summary
from analyzer.report.visible import shorten, visible
from analyzer.report.wording import plural

if TYPE_CHECKING:
    from analyzer.report.formats._page import Page

#: Findings of no severity above this are kept out of the table as long as there are worse ones, and counted below it.
QUIET: Final = 0
#: What is as severe as this has a row for each rule.
GRAVE: Final = SEVERITIES.index("high")
#: Rules named below the table.
MAX_RULES: Final = 8
#: Characters of a server's address and port, or of the name of a capture.
MAX_SERVER: Final = 47
#: Settings shown; sentences on closing ports.
MAX_SETTINGS: Final = 15
MAX_SENTENCES: Final = 5

#: What is known of a setting, in a word.
KNOWN: Final[dict[int, str]] = {WORKING: "works", OFFERED: "offered", UNTRIED: "not seen", FAILING: "TLS fails"}
#: Below this width the settings leave out what is known of them, and where.
SLIM: Final = 60

#: Servers whose grade is explained, those with a grade that is no better than this.
MAX_REASONS: Final = 6
POOR: Final = "CDF"
GRADE_STYLES: Final[dict[str, str]] = {"F": "bold red", "D": "red", "C": "yellow"}

STYLES: Final[dict[str, str]] = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "", "info": "dim"}


class Line:
    """A row of the findings: one rule at one server, or at several of which there is no room for more."""

    def __init__(self, groups: list[Group], alone: bool) -> None:
        #: as bad as each other, of one rule; the first stands for them
        self.groups = groups
        #: no row above it is of the same rule and severity
        self._alone = alone
        self.rule = groups[0].rule
        self.example = groups[0].example
        self.count = sum(group.count for group in groups)

    def server(self) -> str:
        """``192.0.2.1:110``, ``192.0.2.1:110 +3`` for it and three others, ``4 more servers``."""
        count = len(self.groups)
        if count > 1 and not self._alone:
            return f"{count:,} more servers" if self.example.session is not None else f"{count:,} more"
        server = shorten(self.groups[0].server(), MAX_SERVER)
        return f"{server} +{count - 1:,}" if self.more() else server

    def more(self) -> bool:
        """It names one server, and stands for others, too."""
        return self._alone and len(self.groups) > 1

    def clients(self) -> str:
        """How many clients are concerned."""
        if self.example.session is None:
            return ""
        return _number([group.clients for group in self.groups], any(group.more_clients for group in self.groups))

    def accounts(self) -> str:
        """How many accounts are concerned; empty where that is none."""
        if not any(group.accounts for group in self.groups):
            return ""
        return _number([group.accounts for group in self.groups], any(group.more_accounts for group in self.groups))


def _number(counted: list[set[str]], more: bool) -> str:
    """A number of clients or accounts; ``12+`` where there are more than were counted."""
    number = len(counted[0]) if len(counted) == 1 else len(set().union(*counted))
    return f"{number:,}+" if more else f"{number:,}"


def chosen(groups: list[Group], most: int) -> list[Line]:
    """The rows to show of groups that are in order, worst first: about ``most``, and no fewer than what is grave needs.

    What is critical or high has a row for each rule, however many there are: no attack is left out because another one met many servers.
    What room there is goes to their servers, in turn, the worst first, and then in the same way to what is less grave.
    """
    kinds: dict[tuple[int, str], list[Group]] = {}
    for group in groups:
        kinds.setdefault((group.example.severity, group.rule.slug), []).append(group)
    rows = dict.fromkeys(kinds, 0)
    grave = [kind for kind in kinds if kind[0] >= GRAVE]
    for kind in grave:
        rows[kind] = 1
    room = most - len(grave)
    for turn in (grave, [kind for kind in kinds if kind[0] < GRAVE]):
        while room > 0 and (wanting := [kind for kind in turn if rows[kind] < len(kinds[kind])]):
            for kind in wanting[:room]:
                rows[kind] += 1
                room -= 1
    lines: list[Line] = []
    for kind, found in kinds.items():
        if rows[kind]:
            single = rows[kind] - 1
            lines += [Line([group], alone=True) for group in found[:single]]
            lines.append(Line(found[single:], alone=not single))
    return lines


def show_findings(page: Page, tally: FindingTally, frames: Frames) -> None:
    """Findings, worst first, one line a rule and server as far as there is room."""
    groups = tally.groups()
    if groups:
        counts = [f"{count:,} {SEVERITIES[at]}" for at, count in enumerate(tally.by_severity) if count]
        _show_groups(page, groups, ", ".join(reversed(counts)), frames)


def _show_groups(page: Page, groups: list[Group], counts: str, frames: Frames) -> None:
    narrow = page.width < NARROW
    lines = chosen([group for group in groups if group.example.severity > QUIET] or groups, MAX_ROWS)
    server = "server +more" if any(line.more() for line in lines) else "server"
    table = new_table(
        f"Findings: {counts}", ("severity", False), ("what", False), (server, False), ("times", True), ("clients", True),
        *([] if narrow else [("accounts", True)]), (frames.head(), True), spare=("accounts", "clients", "times", frames.head()),
    )  # fmt: skip
    for line in lines:
        word = line.example.severity_word()
        session = line.example.session
        table.add_row(
            (word, STYLES[word]),
            line.rule.title,
            line.server(),
            f"{line.count:,}",
            line.clients(),
            *([] if narrow else [line.accounts()]),
            frames.at(session.capture, line.example.frame) if session is not None else "",
        )
    page.table(table)
    shown = {group for line in lines for group in line.groups}
    rest: dict[str, int] = {}
    for group in groups:
        if group not in shown:
            rest[group.rule.slug] = rest.get(group.rule.slug, 0) + group.count
    if rest:
        told = _some_rules([f"{slug} ({count:,})" for slug, count in rest.items()])
        page.print(
            f"and {plural(sum(rest.values()), 'more finding')}: {told}; {all_of('findings')}", indent=4, style="dim"
        )
    slugs = list(dict.fromkeys([line.rule.slug for line in lines]))
    which = slugs[0] if len(slugs) == 1 else f"SLUG, where SLUG is one of {_some_rules(slugs)}"
    page.print(f"What they mean, and what to do: mailtap rules {which}", indent=4, style="dim")
    page.print("")


def _some_rules(names: list[str]) -> str:
    """The first of some rules, which are the worst, and how many more there are."""
    more = len(names) - MAX_RULES
    return ", ".join(names[:MAX_RULES]) + (f" and {plural(more, 'more rule')}" if more > 0 else "")


def show_settings(page: Page, migration: Migration) -> None:
    """The settings that bring today's clients out of the clear, and what closing the old ports would cut off."""
    if not migration.rows:
        return
    table = new_table(
        "Settings to change: none of these uses encryption",
        ("client", False),
        ("account", False),
        ("server", False),
        ("today", False),
        ("enter instead", False),
        ("known", False),
        spare=("known", "server") if page.width < SLIM else (),
    )
    for one in migration.rows[:MAX_SETTINGS]:
        port = one.port
        setting = port.setting
        protocol = NAMES.get(port.protocol, port.protocol)
        enter = "switch TLS on at the server first"
        if setting is not None:
            enter = f"port {setting.port}, {'SSL/TLS' if setting.implicit else 'STARTTLS'}"
        table.add_row(
            one.client_ip,
            shorten(one.account(), 30),
            shorten(port.host, 40),
            f"{protocol} port {port.server_port}",
            enter,
            "" if setting is None else KNOWN[setting.known],
        )
    page.table(table)
    cut = len(migration.rows) + migration.left_out - MAX_SETTINGS
    if cut > 0:
        what = "logins in clear" if migration.left_out else "settings"
        page.print(f"and {cut:,} more {what} ({all_of('migration')})", style="dim")
    for sentence in closings(migration.ports, MAX_SENTENCES, f" ({all_of('migration')})"):
        page.print(f"  {visible(sentence[:1].upper() + sentence[1:])}.", indent=4)
    page.print("")


def show_servers(page: Page, total: Summary, postures: list[Posture]) -> None:
    """Mail servers, the worst grade first, and what speaks against the worst of them; then what was no mail, on ports for mail."""
    if not total.servers:
        return
    graded: dict[str, _Graded] = {}
    for posture in postures:
        place = endpoint(posture.server_ip, posture.server_port)
        one = _Graded(posture)
        if place not in graded or one.badness > graded[place].badness:
            graded[place] = one
    mail = {endpoint(one.server_ip, one.server_port): one for one in total.servers.values() if one.protocols}
    ranked = sorted(mail, key=lambda place: _server_order(mail[place], graded.get(place)))
    if ranked:
        _show_ranked(page, ranked, mail, graded)
    strangers = [one for one in total.servers.values() if one.strange and not one.protocols]
    if strangers:
        strangers.sort(key=lambda one: (-one.sessions, one.server_ip, one.server_port))
        places = named([endpoint(one.server_ip, one.server_port) for one in strangers])
        what = (
            plural(len(strangers), "more server")
            if ranked
            else f"No mail server was seen; {plural(len(strangers), 'server')}"
        )
        page.print(f"{what} on ports for mail, without mail: {places}", style="dim", indent=4)
    if ranked or strangers:
        page.print("")


class _Graded:
    """What was seen of a server, and what that is worth."""

    def __init__(self, posture: Posture) -> None:
        self.posture = posture
        self.grade, self.reasons = posture.grade()
        self.badness = -1 if self.grade == UNSEEN else GRADES.index(self.grade)


def _server_order(one: ServerTally, seen: _Graded | None) -> tuple[int, int, int, int, str, int]:
    worst = 2 if seen is None else -seen.badness
    return (worst, -one.accounts, -one.plaintext, -one.sessions, one.server_ip, one.server_port)


def _show_ranked(page: Page, ranked: list[str], mail: dict[str, ServerTally], graded: dict[str, _Graded]) -> None:
    narrow = page.width < NARROW
    readable = {place: sum(one.readable for one in mail[place].exposed.values()) for place in ranked[:MAX_ROWS]}
    hashed = any(mail[place].accounts > count for place, count in readable.items())
    table = new_table(
        "Servers", ("grade", False), ("server", False), ("protocol", False), *([] if narrow else [("sessions", True)]),
        ("clear", True), ("TLS", True), ("STARTTLS", True), ("offered", False), ("readable", True), *([("hash", True)] if hashed else []),
        spare=("offered", "sessions", "STARTTLS", "TLS", "protocol", "hash", "readable"),
    )  # fmt: skip
    for place in ranked[:MAX_ROWS]:
        one, seen = mail[place], graded.get(place)
        grade = "-" if seen is None else seen.grade
        table.add_row(
            (grade, GRADE_STYLES.get(grade, "")), place, ", ".join(one.protocols),
            *([] if narrow else [f"{one.sessions:,}"]), f"{one.plaintext:,}", f"{one.implicit_tls:,}", f"{one.starttls:,}",
            "" if seen is None else seen.posture.offers_starttls(), f"{readable[place]:,}{f' +{one.nameless:,}' if one.nameless else ''}", *([f"{one.accounts - readable[place]:,}"] if hashed else []),
        )  # fmt: skip
    page.table(table)
    if len(ranked) > MAX_ROWS:
        page.print(f"and {len(ranked) - MAX_ROWS:,} more servers ({all_of('servers')})", style="dim")
    unnamed = any(mail[place].nameless for place in ranked[:MAX_ROWS])
    if any(readable.values()) or hashed or unnamed:
        what = "; +: logins of which no account could be read" if unnamed else ""
        what += "; hash: only a hash, which can be guessed offline" if hashed else ""
        page.print(f"readable: accounts with {READABLE}{what}", style="dim", indent=4)
    poor = [place for place in ranked if place in graded and graded[place].grade in POOR]
    if poor:
        page.print("What speaks against them most (--format html tells all of it):", style="dim")
    width = max([len(place) for place in poor[:MAX_REASONS]], default=0)
    for place in poor[:MAX_REASONS]:
        seen = graded[place]
        page.print(f"  {seen.grade}  {place:<{width}}  {visible(seen.reasons[0])}", indent=width + 7)
    if len(poor) > MAX_REASONS:
        page.print(f"  and {len(poor) - MAX_REASONS:,} more with grade C, D or F", style="dim")
