"""What ``mailtap rules`` prints: the list of rules, and one rule explained."""

from __future__ import annotations

import textwrap
from typing import Final

from analyzer.errors import UsageError
from analyzer.findings.catalogue import BY_SLUG, THEMES, explanation
from analyzer.model import SEVERITIES

#: Columns of both.
WIDTH: Final = 100


def rule_list() -> str:
    """All rules by theme: slug, severity, title."""
    lines: list[str] = []
    for theme, rules in THEMES.items():
        lines.append(f"{theme}")
        lines.extend([f"  {rule.slug:<34}{SEVERITIES[rule.severity]:<10}{rule.title}" for rule in rules])
        lines.append("")
    lines.append("mailtap rules SLUG explains one. Severities are those of most findings; one may be worse or better.")
    return "\n".join(lines) + "\n"


def rule_text(slug: str) -> str:
    """One rule: what it finds, what that means, what to do, where to read on.

    Raises:
        UsageError: there is no such rule.
    """
    rule = BY_SLUG.get(slug)
    if rule is None:
        import difflib

        near = difflib.get_close_matches(slug, list(BY_SLUG), 3)
        hint = f"; did you mean {', '.join(near)}?" if near else "; mailtap rules lists them"
        raise UsageError(f"there is no rule {slug!r}{hint}")
    parts = [f"{rule.slug}  ({SEVERITIES[rule.severity]})", rule.title, ""]
    for paragraph in explanation(slug).split("\n\n"):
        parts += [*textwrap.wrap(" ".join(paragraph.split()), WIDTH), ""]
    parts += ["What to do", *textwrap.wrap(rule.remediation, WIDTH, initial_indent="  ", subsequent_indent="  "), ""]
    if rule.references:
        parts += ["References", *[f"  {reference}" for reference in rule.references], ""]
    return "\n".join(parts)
