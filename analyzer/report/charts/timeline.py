"""One session as a sequence: who said what when, between the client's line and the server's.

It is made of the tables, so it knows what they know: times and frames of handshakes, logins, messages and findings. What has a
frame but no time of its own (anomalies) stands in the order of frames. Secrets are masked here even where the table shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from analyzer.errors import UsageError
from analyzer.model import MASK
from analyzer.report.charts.style import (
    BLUE,
    INK,
    LINE,
    MUTED,
    PROTOCOLS,
    RED,
    TRANSPORTS,
    Look,
    dress,
    empty,
    finish,
    new_axes,
    plain,
)
from analyzer.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from matplotlib.axes import Axes

TITLE: Final = "One session, step by step"
#: Steps that are drawn, and characters of each.
MAX_STEPS: Final = 36
WIDTH: Final = 66

#: Kinds of logins in which something secret went over the wire.
WITH_SECRET: Final = ("password", "bearer_token", "challenge_response")

# Who says it.
CLIENT: Final = "client"
SERVER: Final = "server"
BOTH: Final = "both"
NOTE: Final = "note"
WARN: Final = "finding"


#: What is said about STARTTLS, by what became of it.
UPGRADES: Final = {
    "not_offered": ((SERVER, "does not offer STARTTLS"),),
    "offered": ((SERVER, "offers STARTTLS; nobody asks for it"),),
    "requested": ((CLIENT, "asks for STARTTLS"),),
    "refused": ((CLIENT, "asks for STARTTLS"), (SERVER, "refuses STARTTLS")),
    "accepted": ((CLIENT, "asks for STARTTLS"), (SERVER, "grants STARTTLS")),
    "completed": ((CLIENT, "asks for STARTTLS"), (SERVER, "grants STARTTLS")),
}
#: What the protocols do not foresee, in words; a kind that is not here is told by its own.
ANOMALIES: Final = {
    "starttls_stripped": "somebody on the way seems to hide STARTTLS",
    "starttls_command_injection": "text of the client's behind STARTTLS, before TLS",
    "starttls_response_injection": "text of the server's behind its grant, before TLS",
    "starttls_without_tls": "STARTTLS granted, and then text went on",
    "imap_preauth": "logged in from the start, so no STARTTLS is possible",
    "untagged_data_before_tls": "data that nobody asked for, before TLS",
    "password_though_forbidden": "a password though the server forbids it in clear",
    "password_not_offered": "a password though the server offers no such login in clear",
    "credentials_before_capabilities": "a login before the server told what it offers",
    "pipelined_before_greeting": "commands before the greeting",
    "unexpected_reply": "a reply to nothing",
    "malformed_command": "a malformed command",
    "malformed_reply": "a malformed reply",
    "malformed_sasl": "a malformed exchange of authentication",
    "line_too_long": "a line too long to keep",
    "command_queue_full": "more commands in flight than can be paired with replies",
    "plaintext_on_tls_port": "clear text on a port for TLS",
    "tls_on_plaintext_port": "TLS on a port for clear text",
    "not_mail": "this is not mail",
    "compressed_stream_lost": "a compressed stream that could not be read on",
    "dissector_fault": "a fault of mailtap, contained (please report it)",
    "tls_stream_lost": "octets that are no TLS",
    "tls_malformed": "a malformed TLS handshake",
    "tls_handshake_too_long": "a TLS handshake too long to keep",
}
#: What the arrows mean: in clear or not, look, line, name.
KEY: Final[tuple[tuple[bool, Look, Any, str], ...]] = (
    (True, RED, "-", "could be read by anybody on the way"),
    (False, BLUE, (0, (4, 2)), "protected, or nothing in it"),
)


class Step(NamedTuple):
    """One step: its frame, its time (ns; None where it has none), its place among steps of one frame, who, what, in clear or not."""

    frame: int
    time_ns: int | None
    order: int
    who: str
    text: str
    clear: bool


def plot_session(
    sessions: pd.DataFrame,
    session_id: str | None = None,
    ax: Axes | None = None,
    *,
    credentials: pd.DataFrame | None = None,
    tls: pd.DataFrame | None = None,
    messages: pd.DataFrame | None = None,
    findings: pd.DataFrame | None = None,
    tz: str = "UTC",
) -> Axes:
    """The steps of one session from top to bottom, over the sessions table and those tables that are given.

    Without ``session_id`` it is the session with the worst finding, else the first that gave most away. What went in clear is
    drawn as a full red arrow, what was protected as a dashed blue one.

    Raises:
        UsageError: there is no such session.
    """
    if sessions.empty:
        return empty(new_axes(ax, 8.5, 2.4), TITLE, "no sessions")
    chosen = _choose(sessions, findings) if session_id is None else session_id
    found = sessions[sessions["session_id"] == chosen]
    if found.empty:
        raise UsageError(
            f"{chosen!r} is no session of this report; the column session_id of its sessions names those there are"
        )
    session = found.to_dict("records")[0]
    steps = steps_of(session, credentials, tls, messages, findings)
    left_out = max(0, len(steps) - MAX_STEPS)
    if left_out:
        half = MAX_STEPS // 2
        gap = Step(steps[half].frame, None, 0, NOTE, f"{plural(left_out, 'step')} left out", clear=False)
        steps = [*steps[:half], gap, *steps[-half:]]
    ax = new_axes(ax, 8.5, 1.9 + 0.36 * len(steps))
    _draw(ax, steps, _ns(session["start"]) or 0)
    ax.annotate(
        f"client\n{plain(session['client_ip'], 40)}", (0, -0.55), ha="center", va="bottom", color=INK, fontsize=9.5
    )
    server = f"{plain(session['server_ip'], 40)} port {session['server_port']}"
    ax.annotate(f"server\n{server}", (1, -0.55), ha="center", va="bottom", color=INK, fontsize=9.5)
    start = (
        session["start"].tz_convert(tz).strftime("%Y-%m-%d %H:%M:%S")
        if session["start"] == session["start"]
        else "time unknown"
    )
    what = f"{PROTOCOLS.get(session['protocol'], 'unknown')}, {TRANSPORTS.get(session['transport'], 'unknown')}"
    if _known(session["not_mail"]):
        what = f"{plain(session['not_mail'])}, not mail"
    dress(ax, TITLE, f"{what}, from {start} {plain(tz)}; frames {session['first_frame']} to {session['last_frame']}")
    _explain(ax, steps)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines["bottom"].set_visible(False)
    return finish(ax)


def steps_of(
    session: dict[Any, Any],
    credentials: pd.DataFrame | None,
    tls: pd.DataFrame | None,
    messages: pd.DataFrame | None,
    findings: pd.DataFrame | None,
) -> list[Step]:
    """What is known of a session, in order."""
    steps = [Step(int(session["first_frame"]), _ns(session["start"]), 0, CLIENT, "connects", clear=False)]
    first = int(session["first_frame"])
    if session["transport"] != "implicit_tls" and _known(session["server_banner"]):
        steps.append(Step(first, None, 1, SERVER, str(session["server_banner"]), clear=True))
    if _known(session["client_name"]):
        steps.append(Step(first, None, 2, CLIENT, f"calls itself {session['client_name']}", clear=True))
    for who, text in UPGRADES.get(session["starttls"], ()):
        steps.append(Step(first, None, 3, who, text, clear=True))
    for row in _rows(tls, session):
        version = row["version"] if _known(row["version"]) else "no version agreed on"
        name = f" for {row['sni']}" if _known(row["sni"]) else ""
        alert = f", alert: {row['alert']}" if _known(row["alert"]) else ""
        steps.append(
            Step(
                int(row["frame"]),
                _ns(row["time"]),
                4,
                BOTH,
                f"TLS handshake{name}: {version}, {row['handshake']}{alert}",
                clear=False,
            )
        )
    for row in _rows(credentials, session):
        user = f" {row['username']}" if _known(row["username"]) else ""
        secret = f" {MASK}" if row["secret_kind"] in WITH_SECRET else ""
        clear = bool(row["exposed"]) if _known(row["exposed"]) else False
        steps.append(Step(int(row["frame"]), _ns(row["time"]), 5, CLIENT, f"{row['mechanism']}{user}{secret}", clear))
        answer = {"accepted": "accepts the login", "rejected": "rejects the login"}.get(row["outcome"])
        if answer:
            steps.append(Step(int(row["frame"]), None, 6, SERVER, answer, clear))
    for row in _rows(messages, session):
        who = SERVER if row["direction"] == "retrieved" else CLIENT
        sender = f" from {row['mail_from']}" if _known(row["mail_from"]) else ""
        steps.append(
            Step(
                int(row["frame"]),
                _ns(row["time"]),
                7,
                who,
                f"message {row['direction']}{sender}, {row['size']:,} octets",
                clear=True,
            )
        )
    for anomaly in session["anomalies"]:
        kind, _, place = str(anomaly).rpartition("@")
        if place.isdecimal():
            steps.append(Step(int(place), None, 8, NOTE, ANOMALIES.get(kind, kind.replace("_", " ")), clear=False))
    for row in _rows(findings, session):
        frame = int(row["frame"]) if _known(row["frame"]) else first
        steps.append(Step(frame, None, 9, WARN, f"{row['severity']}: {row['title']}", clear=False))
    steps.append(Step(int(session["last_frame"]), _ns(session["end"]), 10, NOTE, "end of the session", clear=False))
    return sorted(steps, key=lambda step: (step.frame, step.order))


def _draw(ax: Axes, steps: list[Step], start_ns: int) -> None:
    count = len(steps)
    for x in (0, 1):
        ax.plot([x, x], [-0.45, count - 0.5], color=LINE, linewidth=2, solid_capstyle="round", zorder=1)
    shown = -1
    for row, step in enumerate(steps):
        look = RED if step.clear else BLUE
        if step.who in (CLIENT, SERVER, BOTH):
            ends = ((1, row), (0, row)) if step.who == SERVER else ((0, row), (1, row))
            arrow = {
                "arrowstyle": "<|-|>" if step.who == BOTH else "-|>",
                "color": look.fill,
                "linestyle": "-" if step.clear else (0, (4, 2)),
                "linewidth": 1.3,
                "shrinkA": 0,
                "shrinkB": 0,
            }
            ax.annotate("", ends[1], ends[0], arrowprops=arrow)
            ax.annotate(
                plain(step.text, WIDTH),
                (0.5, row),
                (0, 2.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=INK,
                fontsize=9,
            )
        else:
            mark = "▲ " if step.who == WARN else ""
            style: dict[str, Any] = {
                "color": INK if step.who == WARN else MUTED,
                "fontsize": 9,
                "fontweight": "bold" if step.who == WARN else "normal",
            }
            ax.annotate(mark + plain(step.text, WIDTH), (0.5, row), ha="center", va="center", **style)
        if step.frame != shown or step.time_ns is not None:
            after = f"+{(step.time_ns - start_ns) / 1e9:,.3f} s  " if step.time_ns is not None else ""
            ax.annotate(f"{after}#{step.frame}", (-0.03, row), ha="right", va="center", color=MUTED, fontsize=8.5)
            shown = step.frame
    # Room for times and frame numbers on the left, for half of the server's name on the right.
    ax.set_xlim(-0.3, 1.18)
    ax.set_ylim(count - 0.3, -1.5)


def _explain(ax: Axes, steps: list[Step]) -> None:
    """What the arrows mean, below them."""
    from matplotlib.lines import Line2D

    kinds = {step.clear for step in steps if step.who in (CLIENT, SERVER, BOTH)}
    lines = [
        Line2D([], [], color=look.fill, linestyle=style, linewidth=1.3, label=name)
        for clear, look, style, name in KEY
        if clear in kinds
    ]
    ax.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=MUTED,
        handlelength=3,
    )


def _choose(sessions: pd.DataFrame, findings: pd.DataFrame | None) -> str:
    """The session with the worst finding; without findings, the first of those that gave most away."""
    if findings is not None:
        mine = findings[findings["session_id"].isin(sessions["session_id"])]
        if not mine.empty:
            return str(mine.sort_values("severity", ascending=False, kind="stable")["session_id"].iloc[0])
    for kind in ("credentials", "content", "metadata"):
        mine = sessions[sessions["exposure"] == kind]
        if not mine.empty:
            return str(mine["session_id"].iloc[0])
    return str(sessions["session_id"].iloc[0])


def _rows(table: pd.DataFrame | None, session: dict[Any, Any]) -> Iterable[dict[Any, Any]]:
    if table is None:
        return []
    rows: list[dict[Any, Any]] = table[table["session_id"] == session["session_id"]].to_dict("records")
    return rows


def _known(value: Any) -> bool:
    import pandas as pd

    return not pd.isna(value)


def _ns(moment: Any) -> int | None:
    return int(moment.value) if _known(moment) else None
