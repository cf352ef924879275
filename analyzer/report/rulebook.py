"""What ``mailtap rules`` prints: the list of rules, and one rule explained."""

from __future__ import annotations

import textwrap
from typing import Final

from analyzer.errors import UsageError
from analyzer.findings.base import Rule
from analyzer.findings.catalogue import BY_SLUG, RULES, THEMES, explanation
from analyzer.model import SEVERITIES
from analyzer.report.formats._page import WIDTH
from analyzer.report.visible import shorten

#: Titles stand behind slug and severity where there is so much room for them, else below.
MIN_TITLE: Final = 30
#: Rules that are suggested where what was asked for is none.
MAX_NEAR: Final = 5
_END: Final = "mailtap rules SLUG explains one. Severities are those of most findings; one may be worse or better."


def rule_list(width: int = WIDTH) -> str:
    """All rules by theme: slug, severity, title; in lines of at most ``width`` columns."""
    slugs = max(len(rule.slug) for rule in RULES) + 2
    severities = max(map(len, SEVERITIES)) + 2
    begin = 2 + slugs + severities
    lines: list[str] = []
    for theme, rules in THEMES.items():
        lines.append(f"{theme}")
        for rule in rules:
            head = f"  {rule.slug:<{slugs}}{SEVERITIES[rule.severity]:<{severities}}"
            if width - begin >= MIN_TITLE:
                lines += textwrap.wrap(rule.title, width, initial_indent=head, subsequent_indent=" " * begin)
            else:
                lines.append(head.rstrip())
                lines += textwrap.wrap(rule.title, width, initial_indent="    ", subsequent_indent="    ")
        lines.append("")
    lines += textwrap.wrap(_END, width)
    return "\n".join(lines) + "\n"


def rule_text(name: str, width: int = WIDTH) -> str:
    """One rule, by its slug or its title: what it finds, what that means, what to do, where to read on.

    Raises:
        UsageError: there is no such rule.
    """
    rule = rule_named(name)
    parts = [f"{rule.slug}  ({SEVERITIES[rule.severity]})", rule.title, ""]
    for paragraph in explanation(rule.slug).split("\n\n"):
        parts += [*textwrap.wrap(" ".join(paragraph.split()), width, break_on_hyphens=False), ""]
    advice = textwrap.wrap(rule.remediation, width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    parts += ["What to do", *advice, ""]
    if rule.references:
        parts.append("References")
        for reference in rule.references:
            parts += textwrap.wrap(reference, width, initial_indent="  ", subsequent_indent="    ")
        parts.append("")
    return "\n".join(parts)


def rule_named(name: str) -> Rule:
    """The rule of a slug or a title, in any letter case.

    Raises:
        UsageError: there is none; the message names some that are like it.
    """
    wanted = " ".join(name.split()).lower()
    by_title = {rule.title.lower(): rule for rule in RULES}
    rule = BY_SLUG.get(wanted) or by_title.get(wanted) or BY_SLUG.get(wanted.replace(" ", "-").replace("_", "-"))
    if rule is not None:
        return rule
    import difflib

    known = {**{slug: slug for slug in BY_SLUG}, **{title: one.slug for title, one in by_title.items()}}
    near = difflib.get_close_matches(wanted, list(known), MAX_NEAR)
    if not near and wanted:
        near = [words for words in known if wanted in words]
    slugs = list(dict.fromkeys(known[words] for words in near))
    hint = f"did you mean {', '.join(slugs[:MAX_NEAR])}?" if slugs else "mailtap rules lists them"
    raise UsageError(f"there is no rule '{shorten(name, 60)}'; {hint}")
