"""Charts of who is concerned: servers by transport, accounts and clients that logged in in clear."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from analyzer.report.cards import exposed_logins, only_hashed
from analyzer.report.charts.style import (
    INK,
    LINE,
    LOGINS,
    MAX_ROWS,
    MUTED,
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
from analyzer.report.overview import HASH_ONLY, endpoint
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
    """The accounts with most logins that could be read, by outcome, over the credentials table; where only a hash could, by that."""
    logins = exposed_logins(credentials)
    title = "Accounts whose logins could be read"
    names = logins["username"].astype("object").where(logins["username"].notna(), None)
    keys = [
        f"{'(no name seen)' if name is None else plain(name, 26)}  {place(str(address), int(port))}"
        for name, address, port in zip(names, logins["server_ip"], logins["server_port"], strict=True)
    ]
    return _ranked(logins, keys, ax, title, "username")


def plot_clients(credentials: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The clients with most logins that could be read, by outcome, over the credentials table; where only a hash could, by that."""
    logins = exposed_logins(credentials)
    keys = [plain(address) for address in logins["client_ip"]]
    return _ranked(logins, keys, ax, "Clients whose logins could be read", "client_ip")


def _ranked(logins: pd.DataFrame, keys: list[str], ax: Axes | None, title: str, column: str) -> Axes:
    if not keys:
        return empty(new_axes(ax, 8, 2.4), title, "no login could be read")
    counts: dict[str, dict[str, int]] = {}
    for key, kind in zip(keys, kinds_of(logins), strict=True):
        row = counts.setdefault(key, dict.fromkeys(LOGINS, 0))
        row[kind] += 1
    order = sorted(counts, key=lambda key: (-sum(counts[key].values()), -counts[key]["accepted"], key))
    shown, rest = order[:TOP], order[TOP:]
    parts = [
        Part(kind, look, [counts[key][kind] for key in shown])
        for kind, look in LOGINS.items()
        if any(counts[key][kind] for key in shown)
    ]
    ax = new_axes(ax, 8, height_of(len(shown)))
    stacked_rows(ax, shown, parts, "logins")
    subtitle = f"{plural(len(keys), 'login')} of {_whose(logins, column)}"
    if rest:
        subtitle += f"; the {len(shown)} rows with most, {sum(sum(counts[key].values()) for key in rest):,} logins of others are not shown"
    dress(ax, title, subtitle, [(part.name, part.look) for part in parts])
    return finish(ax)


def kinds_of(logins: pd.DataFrame) -> pd.Series[str]:
    """How each of these logins is drawn: by its outcome where a password or token could be read, else as a hash."""
    return logins["outcome"].astype("object").mask(only_hashed(logins), HASH_ONLY)


def _whose(logins: pd.DataFrame, column: str) -> str:
    """The accounts, or clients, of logins that could be read, and those of which only a hash could, counted as the reports do."""
    hashes = only_hashed(logins)
    all_names, readable = set(logins[column].dropna()), set(logins.loc[~hashes, column].dropna())
    what = "account" if column == "username" else "client"
    used = logins if hashes.all() else logins[~hashes]
    servers = len(used[["server_ip", "server_port"]].drop_duplicates())
    where = f" on {plural(servers, 'server')}" if column == "username" else ""
    if hashes.all():
        return f"{plural(len(all_names), what)}{where}, {HASH_ONLY}"
    more = len(all_names - readable)
    return f"{plural(len(readable), what)}{where}" + (f", and of {more:,} more with {HASH_ONLY}" if more else "")


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
