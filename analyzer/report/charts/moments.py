"""Charts over time: logins in clear, lifetimes of certificates. Time zones are named at the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from analyzer.report.cards import exposed_logins
from analyzer.report.charts.hosts import kinds_of
from analyzer.report.charts.style import (
    BLUE,
    GREY,
    INK,
    LINE,
    LOGINS,
    MAX_ROWS,
    MUTED,
    ORANGE,
    PAPER,
    RED,
    dress,
    empty,
    finish,
    height_of,
    new_axes,
    plain,
)
from analyzer.report.frames import FIRST_NS, LAST_NS
from analyzer.report.wording import plural

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NS: Final = 1_000_000_000
DAY: Final = 86_400
#: Widths of the bars over time, in seconds, and the most bars there may be.
WIDTHS: Final = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
    DAY,
    7 * DAY,
    28 * DAY,
    364 * DAY,
)
MAX_BARS: Final = 60
#: Lifetimes are drawn so many days around the recording; what goes on beyond is marked by an arrow.
NEAR: Final = 730
#: A certificate that ends so soon after the recording needs attention.
SOON: Final = 30


def plot_logins(credentials: pd.DataFrame, ax: Axes | None = None, tz: str = "UTC") -> Axes:
    """Logins that could be read, over time, by outcome, over the credentials table; where only a hash could, by that; ``tz`` is the time zone of the axis."""
    title = "Logins that could be read, over time"
    logins = exposed_logins(credentials)
    logins = logins[logins["time"].notna()]
    if logins.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no login could be read")
    ax = new_axes(ax, 8, 3.6)
    local = logins["time"].dt.tz_convert(tz)
    # Bars begin at full hours and days of the zone.
    shift = int(local.min().utcoffset().total_seconds())
    seconds = logins["time"].astype("int64") // NS + shift
    first, last = int(seconds.min()), int(seconds.max())
    width = next((one for one in WIDTHS if (last - first) // one < MAX_BARS), WIDTHS[-1])
    origin = first // width * width
    bins = ((seconds - origin) // width).astype("int64")
    size = int(bins.max()) + 1
    starts = [_number((origin + index * width - shift) * NS) for index in range(size)]
    below = [0] * size
    looks = []
    kinds = kinds_of(logins)
    for kind, look in LOGINS.items():
        values = [0] * size
        for index, count in bins[kinds == kind].value_counts().items():
            values[int(str(index))] = int(count)
        if any(values):
            looks.append((kind, look))
            style: dict[str, Any] = {"color": look.fill, "edgecolor": PAPER, "linewidth": 0.6, "hatch": look.hatch}
            ax.bar(starts, values, width=width / DAY, bottom=below, align="edge", label=kind, **style)
            below = [low + value for low, value in zip(below, values, strict=True)]
    peak = max(below)
    at = below.index(peak)
    ax.annotate(
        f"{peak:,}",
        (starts[at] + width / DAY / 2, peak),
        (0, 3),
        textcoords="offset points",
        ha="center",
        color=INK,
        fontsize=9,
    )

    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    room = max(width * size, 5) / DAY
    ax.set_xlim(starts[0] - room * 0.02, starts[0] + room * 1.02)
    ax.set_ylim(0, peak * 1.15)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.grid(axis="y", color=LINE, linewidth=0.6)
    _time_axis(ax, tz)
    ax.set_ylabel(f"logins per {_span(width)}", color=MUTED, fontsize=9)
    dress(
        ax,
        title,
        f"{plural(len(logins), 'login')} from {_clock(local.min())} to {_clock(local.max())} {plain(tz)}",
        looks,
    )
    return finish(ax)


def plot_certificates(tls: pd.DataFrame, ax: Axes | None = None, tz: str = "UTC") -> Axes:
    """Lifetimes of the certificates that were seen, those that end first on top, over the tls table; the line is the last handshake."""
    title = "Lifetimes of the servers' certificates"
    seen = tls[tls["cert_sha256"].notna() & tls["cert_not_before"].notna() & tls["cert_not_after"].notna()]
    if seen.empty:
        return empty(new_axes(ax, 8, 2.4), title, "no certificate could be seen (TLS 1.3 and resumed sessions hide it)")
    now = seen["time"].max()
    unique = seen.drop_duplicates("cert_sha256").sort_values(["cert_not_after", "cert_not_before"], kind="stable")
    shown = unique.head(MAX_ROWS)
    ax = new_axes(ax, 8, height_of(len(shown)))
    days = 24 * 3600 * NS
    begin, end = int(now.value) - NEAR * days, int(now.value) + NEAR * days
    first = max(int(shown["cert_not_before"].astype("int64").min()), begin)
    last = min(int(shown["cert_not_after"].astype("int64").max()), end)
    first, last = min(first, int(now.value)), max(last, int(now.value))
    span = max(last - first, days)
    kinds: dict[str, Any] = {}
    for row, (before, after) in enumerate(zip(shown["cert_not_before"], shown["cert_not_after"], strict=True)):
        told, kind, look = _state(before, after, now)
        kinds[kind] = look
        start, stop = max(before.value, first - span // 50), min(after.value, last + span // 50)
        if before.value < FIRST_NS + days or after.value > LAST_NS - days:
            told += " (no real end)"
        if stop > start:
            left, length = _number(start), _number(stop) - _number(start)
            ax.barh(
                row,
                length,
                left=left,
                height=0.5,
                color=look.fill,
                edgecolor=PAPER,
                linewidth=0.6,
                hatch=look.hatch,
                label=kind,
            )
        for cut, edge, arrow, side in (
            (before.value < start, start, "◂", "right"),
            (after.value > stop, stop, "▸", "left"),
        ):
            if cut and stop > start:
                ax.annotate(
                    arrow,
                    (_number(edge), row),
                    (0, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    color=look.fill,
                    fontsize=10,
                )
        ax.annotate(
            told, (1.02, row), xycoords=("axes fraction", "data"), ha="left", va="center", color=INK, fontsize=9
        )
        if stop <= start:
            ax.annotate("◂" if after.value <= first else "▸", (0.0 if after.value <= first else 1.0, row), xycoords=("axes fraction", "data"),
                        ha="left" if after.value <= first else "right", va="center", color=look.fill, fontsize=11)  # fmt: skip
        ax.axhline(row + 0.5, color=LINE, linewidth=0.4)
    ax.axvline(_number(int(now.value)), color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    late = int(now.value) - first > span * 0.6
    ground = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
    place: dict[str, Any] = {
        "textcoords": "offset points",
        "ha": "right" if late else "left",
        "va": "bottom",
        "bbox": ground,
    }
    ax.annotate(
        "recorded",
        (_number(int(now.value)), len(shown) - 0.5),
        (-4 if late else 4, 3),
        color=INK,
        fontsize=8.5,
        **place,
    )
    ax.set_yticks(range(len(shown)), _certificate_names(shown))
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlim(_number(first - span // 40), _number(last + span // 40))
    _time_axis(ax, tz)
    bad = sum(
        1
        for before, after in zip(unique["cert_not_before"], unique["cert_not_after"], strict=True)
        if not before <= now <= after
    )
    subtitle = f"{plural(len(unique), 'certificate')}, {bad:,} of them not valid when recorded"
    if len(unique) > len(shown):
        subtitle += f"; the {len(shown)} that end first"
    dress(ax, title, subtitle, list(kinds.items()))
    ax.tick_params(axis="y", labelcolor=INK)
    return finish(ax)


def _certificate_names(shown: pd.DataFrame) -> list[str]:
    """What to call each certificate: its first name, else its subject; two of one name are told apart by their fingerprints."""
    names = []
    for listed, subject in zip(shown["cert_names"], shown["cert_subject"], strict=True):
        names.append(
            plain(listed[0] if listed else subject if isinstance(subject, str) and subject else "(no name)", 30)
        )
    prints = [f"{name}  {str(mark)[:6]}" for name, mark in zip(names, shown["cert_sha256"], strict=True)]
    return [mark if names.count(name) > 1 else name for name, mark in zip(names, prints, strict=True)]


def _state(before: pd.Timestamp, after: pd.Timestamp, now: pd.Timestamp) -> tuple[str, str, Any]:
    if now > after:
        return f"expired {_days(now - after)} earlier", "expired", RED
    if now < before:
        return f"valid in {_days(before - now)}", "not yet valid", GREY
    left = f"{_days(after - now)} left"
    if (after - now).days < SOON:
        return left, f"ends within {SOON} days", ORANGE
    return left, "valid", BLUE


def _days(span: pd.Timedelta) -> str:
    return plural(span.days, "day") if span.days else "less than a day"


def _number(moment_ns: int) -> float:
    """A time as matplotlib counts: days."""
    import numpy as np
    from matplotlib.dates import date2num

    return float(date2num(np.datetime64(moment_ns // 1000, "us")))  # type: ignore[no-untyped-call]


def _time_axis(ax: Axes, tz: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=tz, minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=tz))  # type: ignore[no-untyped-call]
    ax.set_xlabel(f"time ({plain(tz)})", color=MUTED, fontsize=9)


def _span(seconds: int) -> str:
    for size, word in ((DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return word if count == 1 else f"{count} {word}s"
    return "second" if seconds == 1 else f"{seconds} seconds"


def _clock(moment: pd.Timestamp) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
