"""All rules, in the order in which they are asked and listed."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Final

from analyzer.findings import behaviour, certificates, honesty, plaintext, ports, starttls, tls
from analyzer.findings.base import Finding, Rule
from analyzer.sessions.records import Session

#: Theme (the module's name) -> its rules.
THEMES: Final[dict[str, tuple[Rule, ...]]] = {
    "plaintext": plaintext.RULES,
    "starttls": starttls.RULES,
    "ports": ports.RULES,
    "tls": tls.RULES,
    "certificates": certificates.RULES,
    "behaviour": behaviour.RULES,
    "honesty": honesty.RULES,
}

#: Every rule. ``password-spraying`` reads the rejections that ``brute-force`` has noted, so it stands behind it.
RULES: Final[list[Rule]] = [rule for rules in THEMES.values() for rule in rules]

BY_SLUG: Final[dict[str, Rule]] = {rule.slug: rule for rule in RULES}

for _number, _rule in enumerate(RULES):
    _rule.number = _number


def explanation(slug: str) -> str:
    """What a rule's finding means: the docstring of its function. Read from its source, because compiled functions have none.

    Raises:
        KeyError: there is no such rule.
    """
    rule = BY_SLUG[slug]
    for theme, rules in THEMES.items():
        if rule in rules:
            try:
                source = (Path(__file__).parent / f"{theme}.py").read_text(encoding="utf-8")
            except OSError:
                return rule.title
            for node in ast.parse(source).body:
                if isinstance(node, ast.FunctionDef) and node.name == slug.replace("-", "_"):
                    return inspect.cleandoc(ast.get_docstring(node) or rule.title)
    return rule.title


def restore(
    slug: str,
    severity: int,
    confidence: str,
    session: Session | None,
    frame: int,
    timestamp_ns: int,
    offset: int,
    username: str | None,
    detail: str,
    count: int,
    capture: str,
) -> Finding:
    """A finding from its pickle."""
    finding = Finding(
        BY_SLUG[slug], severity, confidence, session, frame, timestamp_ns, offset, username, detail, count
    )
    finding.capture = capture
    return finding
