"""Charts of who is concerned: servers by transport, accounts and clients that logged in in clear."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from analyzer.report.cards import exposed_logins
from analyzer.report.charts.style import (
    INK,
    LINE,
    MAX_ROWS,
    MUTED,
    OUTCOMES,
    PAPER,
    TRANSPORTS,
    Part,
    counted,
    dress,
    empty,
    finish,
    height_of,
    ink_on,
    new_axes,
    plain,
    stacked_rows,
)
from analyzer.report.overview import endpoint
from analyzer.report.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

#: The colours of the cells of servers by transport, for few sessions and for many.
SHADES: Final = {
    "plaintext": ["#fdebd8", "#b23b00"],
    "starttls": ["#e3eef7", "#0b3c66"],
    "implicit_tls": ["#e3eef7", "#0b3c66"],
    "unknown": ["#eceff2", "#57606a"],
}
#: Rows of the charts of accounts and clients.
TOP: Final = 15


def plot_servers(sessions: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """A heat map of servers by transport with the numbers of sessions, the busiest in clear first, over the sessions table."""
    title = "Which servers are used how"
    if sessions.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no sessions")
    counts: dict[tuple[str, int], list[int]] = {}
    kinds = list(TRANSPORTS) if (sessions["transport"] == "unknown").any() else list(TRANSPORTS)[:-1]
    for (address, port, transport), count in counted(sessions, ["server_ip", "server_port", "transport"]).items():
        row = counts.setdefault((address, int(port)), [0] * len(kinds))
        row[kinds.index(transport)] += count
    order = sorted(counts, key=lambda server: (-counts[server][0], -sum(counts[server]), _numeric(server)))
    rows = [counts[server] for server in order[:MAX_ROWS]]
    names = [place(address, port) for address, port in order[:MAX_ROWS]]
    rest = order[MAX_ROWS:]
    if rest:
        rows.append([sum(counts[server][at] for server in rest) for at in range(len(kinds))])
        names.append(plural(len(rest), "other server"))
    ax = new_axes(ax, 8, height_of(len(rows)))

    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    # What goes in clear is orange, as in the other charts; blue is for what does not, and grey for what nobody knows.
    shades = {kind: LinearSegmentedColormap.from_list(kind, ends) for kind, ends in SHADES.items()}
    norm = LogNorm(1, max(2, *[count for row in rows for count in row]))
    for y, row in enumerate(rows):
        for x, count in enumerate(row):
            fill = shades[kinds[x]](norm(count)) if count else PAPER
            # An outlined cell in the first column: what goes in clear is marked by more than its place.
            ax.add_patch(_cell(x, y, fill, INK if count and x == 0 else PAPER))
            ax.text(
                x,
                y,
                f"{count:,}" if count else "·",
                ha="center",
                va="center",
                fontsize=9.5,
                color=ink_on(fill) if count else MUTED,
            )
    ax.set_xlim(-0.5, len(kinds) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks(range(len(kinds)), [TRANSPORTS[kind] for kind in kinds])
    ax.set_yticks(range(len(rows)), names)
    clear = sum(1 for server in order if counts[server][0])
    verb = "was" if clear == 1 else "were"
    dress(
        ax,
        title,
        f"{plural(len(sessions), 'session')}; {clear:,} of {plural(len(order), 'server')} {verb} used in clear (outlined)",
    )
    ax.tick_params(labelcolor=INK)
    ax.spines["bottom"].set_color(LINE)
    return finish(ax)


def plot_accounts(credentials: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The accounts with most logins that could be read, by outcome, over the credentials table."""
    logins = exposed_logins(credentials)
    title = "Accounts whose logins could be read"
    names = logins["username"].astype("object").where(logins["username"].notna(), None)
    keys = [
        f"{'(no name seen)' if name is None else plain(name, 26)}  {place(str(address), int(port))}"
        for name, address, port in zip(names, logins["server_ip"], logins["server_port"], strict=True)
    ]
    servers = len(logins[["server_ip", "server_port"]].drop_duplicates())
    whose = f"{plural(int(logins['username'].nunique()), 'account')} on {plural(servers, 'server')}"
    return _ranked(logins, keys, ax, title, whose)


def plot_clients(credentials: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The clients with most logins that could be read, by outcome, over the credentials table."""
    logins = exposed_logins(credentials)
    keys = [plain(address) for address in logins["client_ip"]]
    return _ranked(logins, keys, ax, "Clients whose logins could be read", plural(len(set(keys)), "client"))


def _ranked(logins: pd.DataFrame, keys: list[str], ax: Axes | None, title: str, whose: str) -> Axes:
    if not keys:
        return empty(new_axes(ax, 8, 2.4), title, "no login could be read")
    counts: dict[str, dict[str, int]] = {}
    for key, outcome in zip(keys, logins["outcome"].astype("object"), strict=True):
        row = counts.setdefault(key, dict.fromkeys(OUTCOMES, 0))
        row[outcome] += 1
    order = sorted(counts, key=lambda key: (-sum(counts[key].values()), -counts[key]["accepted"], key))
    shown, rest = order[:TOP], order[TOP:]
    parts = [
        Part(outcome, look, [counts[key][outcome] for key in shown])
        for outcome, look in OUTCOMES.items()
        if any(counts[key][outcome] for key in shown)
    ]
    ax = new_axes(ax, 8, height_of(len(shown)))
    stacked_rows(ax, shown, parts, "logins")
    subtitle = f"{plural(len(keys), 'login')} of {whose}"
    if rest:
        subtitle += f"; the {len(shown)} rows with most, {sum(sum(counts[key].values()) for key in rest):,} logins of others are not shown"
    dress(ax, title, subtitle, [(part.name, part.look) for part in parts])
    return finish(ax)


def place(address: str, port: int) -> str:
    """``192.0.2.10:110``, ``[2001:db8::1]:993``."""
    return plain(endpoint(address, port), 48)


def _numeric(server: tuple[str, int]) -> tuple[int, int, str, int]:
    """Addresses in the order of their numbers."""
    try:
        address = ip_address(server[0])
    except ValueError:
        return (0, 0, *server)
    return (address.version, int(address), *server)


def _cell(x: int, y: int, fill: Any, edge: str) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x - 0.47, y - 0.45), 0.94, 0.9, facecolor=fill, edgecolor=edge, linewidth=1.4 if edge == INK else 0
    )
