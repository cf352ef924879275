"""Charts that count: sessions by exposure, authentications by outcome, handshakes by suite, findings by severity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.model import SEVERITIES
from analyzer.report.cards import NOT_LOOKED_AT, READABLE
from analyzer.report.charts.style import (
    BLUE,
    GREY,
    MAX_ROWS,
    ORANGE,
    OUTCOMES,
    PALE,
    PROTOCOLS,
    RED,
    SKY,
    TRANSPORTS,
    YELLOW,
    Part,
    counted,
    dress,
    empty,
    finish,
    height_of,
    new_axes,
    plain,
    stacked_rows,
)
from analyzer.report.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: What an eavesdropper could read, the worst first; and what is no mail, into which nobody looked.
EXPOSURES: Final = {
    "credentials": (READABLE["credentials"], RED),
    "content": (READABLE["content"], ORANGE),
    "metadata": (READABLE["metadata"], YELLOW),
    "none": (READABLE["none"], BLUE),
    "unknown": (READABLE["unknown"], GREY),
    "not_mail": (NOT_LOOKED_AT, PALE),
}
#: Connections to mail ports that are neither mail nor known as something else, as rows.
UNRECOGNISED: Final = "not recognised"
SILENT: Final = "nothing said"
#: TLS versions from oldest to newest, and how they are drawn.
VERSIONS: Final = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3")
OBSOLETE: Final = frozenset(VERSIONS[:4])
SEVERITY_LOOKS: Final = {"critical": RED, "high": ORANGE, "medium": YELLOW, "low": SKY, "info": GREY}


def plot_exposure(sessions: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What an eavesdropper could read of the sessions, by protocol and transport: a stacked bar each, over the sessions table."""
    title = "What could be read on the wire, by protocol and transport"
    if sessions.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no sessions")
    known = sessions["exposure"].astype("object").mask(sessions["not_mail"].notna(), "not_mail")
    protocols = sessions["protocol"].astype("object")
    strange = (protocols == "unknown") & (sessions["transport"] == "unknown") & sessions["not_mail"].isna()
    silent = strange & (sessions["client_bytes"].fillna(0) + sessions["server_bytes"].fillna(0) == 0)
    protocols = protocols.mask(strange & ~silent, UNRECOGNISED).mask(silent, SILENT)
    counts = counted(sessions.assign(exposure=known, protocol=protocols), ["protocol", "transport", "exposure"])
    pairs = [
        (one, two)
        for one in (*PROTOCOLS, UNRECOGNISED, SILENT)
        for two in TRANSPORTS
        if any((one, two, kind) in counts for kind in EXPOSURES)
    ]
    ax = new_axes(ax, 8, height_of(len(pairs)))
    parts = [
        Part(name, look, [counts.get((*pair, kind), 0) for pair in pairs])
        for kind, (name, look) in EXPOSURES.items()
        if any((*pair, kind) in counts for pair in pairs)
    ]
    stacked_rows(ax, [_pair(one, two) for one, two in pairs], parts, "sessions")
    for row in range(1, len(pairs)):
        if pairs[row][0] != pairs[row - 1][0]:
            ax.axhline(row - 0.5, color="#59636e", linewidth=0.5)
    bad = int((sessions["exposure"] == "credentials").sum())
    subtitle = f"{bad:,} of {plural(len(sessions), 'session')} gave credentials away"
    dress(ax, title, subtitle, [(part.name, part.look) for part in parts])
    return finish(ax)


def plot_mechanisms(credentials: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Authentication mechanisms by outcome, over the credentials table."""
    title = "Mechanisms of logins that were seen, by outcome"
    if credentials.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no authentication was readable")
    totals = credentials["mechanism"].astype("object").value_counts()
    names = [str(name) for name in sorted(totals.index, key=lambda name: (-int(totals[name]), str(name)))]
    shown, rest = names[:MAX_ROWS], names[MAX_ROWS:]
    counts = counted(credentials, ["mechanism", "outcome"])
    parts = []
    for outcome, look in OUTCOMES.items():
        values = [counts.get((name, outcome), 0) for name in shown]
        if rest:
            values.append(sum(counts.get((name, outcome), 0) for name in rest))
        if any(values):
            parts.append(Part(outcome, look, values))
    rows = [plain(name) for name in shown] + ([f"{len(rest)} other mechanisms"] if rest else [])
    ax = new_axes(ax, 8, height_of(len(rows)))
    stacked_rows(ax, rows, parts, "authentications")
    accepted = int((credentials["outcome"] == "accepted").sum())
    subtitle = f"{accepted:,} of {plural(len(credentials), 'authentication')} accepted"
    dress(ax, title, subtitle, [(part.name, part.look) for part in parts])
    return finish(ax)


def plot_tls_suites(tls: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """TLS versions and cipher suites that were agreed on, the oldest version first, over the tls table."""
    title = "TLS versions and suites agreed on"
    if tls.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no TLS handshakes")
    counts = counted(tls, ["version", "cipher_suite"])
    pairs = sorted([(key[0], key[1]) for key in counts], key=lambda pair: (_age(pair[0]), -counts[pair], pair[1]))
    if len(pairs) > MAX_ROWS:
        kept = set(sorted(pairs, key=lambda pair: (pair[0] not in OBSOLETE, -counts[pair]))[: MAX_ROWS - 1])
        left = sum(counts[pair] for pair in pairs if pair not in kept)
        others = len(pairs) - len(kept)
        pairs = [pair for pair in pairs if pair in kept]
    else:
        left = others = 0
    looks = {
        "obsolete": RED,
        "TLSv1.2": SKY,
        "TLSv1.3": BLUE,
        "other": GREY,
    }
    rows = [
        f"{one}  {plain(two.removeprefix('TLS_'), 44)}".rstrip() if one else "no ServerHello seen" for one, two in pairs
    ]
    values = [counts[pair] for pair in pairs]
    kinds = [_version_kind(one) for one, _ in pairs]
    if others:
        rows.append(f"{others} other suites")
        values.append(left)
        kinds.append("other")
    parts = [
        Part(name, look, [value if kind == name else 0 for value, kind in zip(values, kinds, strict=True)])
        for name, look in looks.items()
        if name in kinds
    ]
    ax = new_axes(ax, 8, height_of(len(rows)))
    stacked_rows(ax, rows, parts, "handshakes")
    old = int(tls["version"].isin(OBSOLETE).sum())
    subtitle = f"{old:,} of {plural(len(tls), 'handshake')} with an obsolete version (RFC 8996)"
    dress(ax, title, subtitle, [(part.name, part.look) for part in parts])
    return finish(ax)


def plot_findings(findings: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Findings by severity, the worst first, with the rules that gave most of them, over the findings table."""
    title = "Findings by severity"
    if findings.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no findings")
    words = list(reversed(SEVERITIES))
    counts = findings["severity"].value_counts().to_dict()
    values = [int(counts.get(word, 0)) for word in words]
    notes = []
    for word, value in zip(words, values, strict=True):
        rules = findings.loc[findings["severity"] == word, "rule"].astype("object").value_counts()
        names = sorted(rules.index, key=lambda name: (-int(rules[name]), str(name)))[:2]
        told = ", ".join(f"{plain(name)} {int(rules[name]):,}" for name in names)
        more = len(rules) - len(names)
        notes.append(
            f"{value:,}"
            + (f"   {told}" if told else "")
            + (f", {more:,} more {'rule' if more == 1 else 'rules'}" if more else "")
        )
    ax = new_axes(ax, 8, height_of(len(words)))
    parts = [
        Part(word, SEVERITY_LOOKS[word], [value if row == at else 0 for row, value in enumerate(values)])
        for at, word in enumerate(words)
    ]
    stacked_rows(ax, words, parts, "findings", notes)
    # The notes stand behind the bars: room for them, however long the bars are.
    ax.set_xlim(0, max(values) * 2.6)
    sessions = findings["session_id"].nunique()
    dress(ax, title, f"{plural(len(findings), 'finding')} in {plural(int(sessions), 'session')}")
    return finish(ax)


def _age(version: str) -> int:
    """Place of a version from oldest to newest; no version last."""
    return VERSIONS.index(version) if version in VERSIONS else len(VERSIONS) + (0 if version else 1)


def _version_kind(version: str) -> str:
    if version in OBSOLETE:
        return "obsolete"
    return version if version in ("TLSv1.2", "TLSv1.3") else "other"


def _pair(protocol: str, transport: str) -> str:
    if protocol in (UNRECOGNISED, SILENT):
        return protocol
    if protocol == "unknown":
        return "not mail" if transport == "unknown" else f"not mail {TRANSPORTS[transport]}"
    return f"{PROTOCOLS[protocol]} {'unclear' if transport == 'unknown' else TRANSPORTS[transport]}"
