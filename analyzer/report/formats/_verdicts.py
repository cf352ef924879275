"""The parts of the text report that say what to do: findings at a glance, and the settings to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.padding import Padding
from rich.text import Text

from analyzer.findings.tally import MAX_COUNTED, FindingTally, Group
from analyzer.model import SEVERITIES
from analyzer.report.formats.text import MAX_ROWS, _show, _table
from analyzer.report.migration import Migration
from analyzer.report.visible import shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

#: Findings of no severity above this are kept out of the table as long as there are worse ones, and counted below it.
QUIET: Final = 0
#: Settings shown; sentences on closing ports.
MAX_SETTINGS: Final = 15
MAX_SENTENCES: Final = 5

STYLES: Final[dict[str, str]] = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "", "info": "dim"}


def show_findings(console: Console, tally: FindingTally) -> None:
    """Findings, worst first, one line a rule and server."""
    groups = tally.groups()
    if groups:
        counts = [f"{count:,} {SEVERITIES[at]}" for at, count in enumerate(tally.by_severity) if count]
        _show_groups(console, groups, ", ".join(reversed(counts)))


def _number(counted: int) -> str:
    """A number of clients or accounts, which are counted so far only."""
    return f"{counted:,}" if counted < MAX_COUNTED else f"{counted:,}+"


def _show_groups(console: Console, groups: list[Group], counts: str) -> None:
    table = _table(
        f"Findings: {counts}", ("severity", False), ("what", False), ("server", False), ("times", True), ("clients", True),
        ("accounts", True), ("frame", True),
    )  # fmt: skip
    loud = [group for group in groups if group.example.severity > QUIET] or groups
    for group in loud[:MAX_ROWS]:
        word = group.example.severity_word()
        session = group.example.session
        table.add_row(
            Text(word, style=STYLES[word]),
            Text(group.rule.title),
            Text(shorten(group.server(), 47)),
            f"{group.count:,}",
            _number(len(group.clients)) if session is not None else "",
            _number(len(group.accounts)) if group.accounts else "",
            f"{group.example.frame}" if session is not None else "",
        )
    _show(console, table, len(groups) - min(len(loud), MAX_ROWS), "kinds of findings")
    slugs = list(dict.fromkeys([group.rule.slug for group in loud[:MAX_ROWS]]))
    console.print(
        Padding(f"What they mean, and what to do: mailtap rules SLUG, here {', '.join(slugs[:3])}", (0, 0, 1, 0)),
        style="dim",
    )


def show_settings(console: Console, migration: Migration) -> None:
    """The settings that bring today's clients out of the clear, and what closing the old ports would cut off."""
    if not migration.rows:
        return
    table = _table(
        "Settings to change",
        ("client", False),
        ("account", False),
        ("today", False),
        ("enter instead", False),
        ("known", False),
    )
    for one in migration.rows[:MAX_SETTINGS]:
        setting = one.port.setting
        host = one.port.host if setting is not None else ""
        table.add_row(
            Text(one.client_ip),
            Text(shorten(one.username, 30) if one.username else "?"),
            Text(one.current().replace(", no encryption", ", clear")),
            Text(
                f"{one.recommended()} ({shorten(host, 40)})"
                if setting is not None
                else "switch TLS on at the server first"
            ),
            Text(
                "works"
                if one.seen_working()
                else ""
                if setting is None
                else one.basis().partition(",")[0].partition(":")[0]
            ),
        )
    _show(
        console,
        table,
        len(migration.rows) + migration.left_out - MAX_SETTINGS,
        "settings" if not migration.left_out else "logins in clear",
    )
    for port in migration.ports[:MAX_SENTENCES]:
        sentence = visible(port.closing)
        console.print(Text(f"  {sentence[:1].upper()}{sentence[1:]}."), overflow="fold")
    console.print()
