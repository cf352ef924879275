"""The look that all charts share, and text from traffic made fit to draw.

Colours are told apart by people who see few of them (after Okabe and Ito), each goes with a hatch of its own, and numbers stand at
the bars, so that nothing is said by colour alone. Nothing of matplotlib's global settings is changed.

Names from traffic are hostile: control and bidi characters are escaped, so is whatever no installed font can draw, and dollar
signs stay dollar signs instead of becoming formulas.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from unicodedata import bidirectional
from weakref import WeakSet

from analyzer.report.overview import HASH_ONLY
from analyzer.report.visible import escaped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Annotation

#: The colours of text, of what is less important, of lines, and of the ground.
INK: Final = "#1f2328"
MUTED: Final = "#59636e"
LINE: Final = "#d1d9e0"
PAPER: Final = "#ffffff"

#: Characters of a name, and rows, that a chart shows.
NAME_WIDTH: Final = 34
MAX_ROWS: Final = 20

#: The left-to-right mark: invisible, and text around it keeps its order.
MARK: Final = "\u200e"

#: What the two lines above a chart are known by.
TITLE: Final = "title"
SUBTITLE: Final = "subtitle"
#: Space between a figure's edge and what is drawn, in inches; and how far its lines of small text are apart, in points.
PAD: Final = 0.12
LINE_HEIGHT: Final = 13.0
#: How often it is looked at whether all fits, and characters that a line above a chart has at least.
MAX_LOOKS: Final = 4
MIN_LINE: Final = 20
#: Letters of a picture with fewer dots are up to so much wider than those that are measured.
SPARE: Final = 1.08

#: Fonts in the order in which they are asked for a character: matplotlib's own, then those for other scripts, where installed.
FONTS: Final = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans JP",
    "IPAexGothic",
    "Hiragino Sans",
    "Yu Gothic",
    "Noto Sans CJK SC",
    "Microsoft YaHei",
    "PingFang SC",
    "WenQuanYi Zen Hei",
    "Malgun Gothic",
    "Noto Sans Thai",
    "Noto Sans Devanagari",
)


class Look(NamedTuple):
    """How one kind of thing is drawn: fill, hatch, and the colour of text upon it."""

    fill: str
    hatch: str
    ink: str


RED: Final = Look("#c2410c", "", "#ffffff")
ORANGE: Final = Look("#e69f00", "///", INK)
YELLOW: Final = Look("#f0e442", "...", INK)
SKY: Final = Look("#8ecdf2", "\\\\\\", INK)
BLUE: Final = Look("#0b5c96", "", "#ffffff")
GREY: Final = Look("#b8bfc7", "---", INK)
PALE: Final = Look("#d5dae0", "|||", INK)

TRANSPORTS: Final = {
    "plaintext": "in clear",
    "starttls": "STARTTLS",
    "implicit_tls": "implicit TLS",
    "unknown": "unknown",
}
PROTOCOLS: Final = {
    "pop3": "POP3",
    "imap": "IMAP",
    "smtp": "SMTP",
    "lmtp": "LMTP",
    "managesieve": "ManageSieve",
    "unknown": "unknown",
}
OUTCOMES: Final = {"accepted": RED, "rejected": ORANGE, "cancelled": SKY, "unknown": GREY}
#: The same of logins that could be read, and those of which only a hash could, whatever came of them.
LOGINS: Final = {**OUTCOMES, HASH_ONLY: YELLOW}


class Part(NamedTuple):
    """One colour of a stacked chart: its name, its look, its value in each row."""

    name: str
    look: Look
    counts: Sequence[int]


@cache
def fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """The families of :data:`FONTS` that are installed, and the characters that they can draw."""
    from matplotlib.font_manager import fontManager, get_font

    paths = {entry.name: entry.fname for entry in reversed(fontManager.ttflist) if entry.style == "normal"}
    found = tuple(name for name in FONTS if name in paths)
    drawn: set[int] = set()
    for name in found:
        drawn.update(get_font(paths[name]).get_charmap())
    return found, frozenset(drawn)


def plain(text: object, width: int = NAME_WIDTH) -> str:
    """Text from traffic, fit to draw: what cannot be drawn is escaped, at most ``width`` characters, no formula in it."""
    drawn = fonts()[1]
    shown, size, right_to_left = [], 0, False
    for one in str(text):
        piece = one if ord(one) in drawn and one.isprintable() else escaped(one)
        size += len(piece)
        if size > width:
            shown.append("…")
            break
        shown.append(piece)
        right_to_left = right_to_left or bidirectional(one) in ("R", "AL")
    told = "".join(shown).replace("$", r"\$") or "(empty)"
    # Names written from right to left are not to turn round what stands beside them.
    return f"{MARK}{told}{MARK}" if right_to_left and ord(MARK) in drawn else told


#: Figures that were made here: what stands in them may be moved.
OURS: Final[WeakSet[Figure | SubFigure]] = WeakSet()


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure (inches). In a notebook the figure is shown below the cell."""
    if ax is not None:
        return ax
    shell = sys.modules.get("IPython")
    if shell is not None and shell.get_ipython() is not None:
        from matplotlib import pyplot as plt

        figure = plt.figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    else:
        # Not one of pyplot's: those stay in memory until somebody closes them.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=PAD, h_pad=0.1)  # type: ignore[call-arg]
    OURS.add(figure)
    return figure.subplots()


def dress(ax: Axes, title: str, subtitle: str = "", looks: Sequence[tuple[str, Look]] = ()) -> None:
    """Title, one line below it, legend below that, and quiet axes."""
    ax.set_facecolor(PAPER)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(LINE)
    ax.tick_params(length=0, colors=MUTED, labelsize=9)
    ax.set_axisbelow(True)
    above = 8.0
    if looks:
        from matplotlib.patches import Patch

        handles = [Patch(facecolor=look.fill, edgecolor=PAPER, hatch=look.hatch, label=name) for name, look in looks]
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=len(handles),
            frameon=False,
            borderpad=0.2,
            borderaxespad=0.2,
            handlelength=1.6,
            handleheight=1.1,
            columnspacing=1.4,
            fontsize=9,
            labelcolor=INK,
        )
        above += 20.0
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left", "va": "bottom"}
    if subtitle:
        ax.annotate(subtitle, (0, 1), (0, above), color=MUTED, fontsize=9.5, label=SUBTITLE, **place)
        above += 16.0
    ax.annotate(title, (0, 1), (0, above), color=INK, fontsize=12.5, fontweight="bold", label=TITLE, **place)


def finish(ax: Axes) -> Axes:
    """The last touch: fonts that have the characters, no TeX, whatever the user's settings are, and nothing beyond the figure's edge."""
    from matplotlib.text import Text

    families = list(fonts()[0])
    for found in ax.findobj(Text):
        if isinstance(found, Text):
            found.set_fontfamily(families)
            found.set_usetex(False)
    if ax.figure in OURS:
        _fit(ax)
    return ax


def _fit(ax: Axes) -> None:
    """Fold the lines above a chart, and its legend, where they would go beyond the edge of the figure: a file that is saved ends there."""
    from matplotlib.text import Annotation

    figure = ax.figure
    lines = [line for line in ax.texts if isinstance(line, Annotation) and line.get_label() in (SUBTITLE, TITLE)]
    legend = ax.get_legend()
    above: list[Artist] = [*lines, *([] if legend is None else [legend])]
    # A line that is too long would take the chart its room, and not give it back when it is folded.
    for one in above:
        one.set_in_layout(False)
    _fold(ax, lines)
    for one in above:
        one.set_in_layout(True)
    figure.draw_without_rendering()  # type: ignore[union-attr]


def _fold(ax: Axes, lines: list[Annotation]) -> None:
    figure, legend = ax.figure, ax.get_legend()
    # Where lines are folded they may go on for longer or shorter: it is looked at again.
    for _ in range(MAX_LOOKS):
        figure.draw_without_rendering()  # type: ignore[union-attr]
        right = figure.bbox.x1 - PAD / 2 * figure.dpi
        higher = 0.0
        if legend is not None and legend.get_window_extent().x1 > right and len(legend.get_texts()) > 2:
            legend.set_ncols((len(legend.get_texts()) + 1) // 2)
            higher = LINE_HEIGHT
        fits = higher == 0
        for line in lines:
            x, y = line.xyann
            line.xyann = (x, y + higher)
            box, text = line.get_window_extent(), line.get_text()
            size = box.width * SPARE
            if box.x0 + size <= right:
                continue
            fits = False
            longest = max(len(part) for part in text.split("\n"))
            room = int(longest * (right - box.x0) / size)
            folded = wrap(" ".join(text.split("\n")), max(room, MIN_LINE), break_long_words=False)
            higher += LINE_HEIGHT * (len(folded) - 1 - text.count("\n"))
            line.set_text("\n".join(folded))
        if fits:
            return


def empty(ax: Axes, title: str, sentence: str) -> Axes:
    """A chart without data says so."""
    dress(ax, title)
    ax.spines["bottom"].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.text(0.5, 0.5, sentence, transform=ax.transAxes, ha="center", va="center", color=MUTED, fontsize=11)
    return finish(ax)


def height_of(rows: int) -> float:
    """Inches for a chart of so many rows."""
    return 1.6 + 0.32 * max(rows, 2)


def stacked_rows(ax: Axes, names: Sequence[str], parts: Sequence[Part], unit: str, notes: Sequence[str] = ()) -> None:
    """Horizontal stacked bars, the first name on top: each part's number in its bar where it fits, the total (or a note) behind."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    positions = list(range(len(names)))
    totals = [sum(part.counts[row] for part in parts) for row in positions]
    longest = max([*totals, 1])
    left = [0] * len(names)
    for part in parts:
        look = part.look
        bars = ax.barh(
            positions,
            part.counts,
            left=left,
            height=0.68,
            color=look.fill,
            edgecolor=PAPER,
            linewidth=0.8,
            hatch=look.hatch,
            label=part.name,
        )
        for row, bar in enumerate(bars):
            value = part.counts[row]
            text = f"{value:,}"
            if value != totals[row] and value / longest > 0.012 * (len(text) + 1):
                middle = left[row] + value / 2
                ground = {"facecolor": look.fill, "edgecolor": "none", "pad": 2.2}
                ax.text(
                    middle,
                    bar.get_y() + 0.34,
                    text,
                    ha="center",
                    va="center",
                    color=look.ink,
                    fontsize=8.5,
                    bbox=ground,
                )
        left = [start + value for start, value in zip(left, part.counts, strict=True)]
    for row, total in enumerate(totals):
        text = notes[row] if notes else f"{total:,}"
        ax.annotate(
            text, (total, row), (5, 0), textcoords="offset points", ha="left", va="center", color=INK, fontsize=9
        )
    ax.set_yticks(positions, names)
    ax.tick_params(axis="y", labelcolor=INK)
    # One bar alone is not to fill the chart.
    ax.set_ylim(max(len(names), 2) - 0.5, -0.5)
    ax.set_xlim(0, longest * 1.12)
    ax.grid(axis="x", color=LINE, linewidth=0.6)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set_xlabel(unit, color=MUTED, fontsize=9)


def ink_on(fill: Any) -> str:
    """Black or white, whichever can be read better on a colour: the contrast is 4.5 at least, whatever the colour (WCAG 2.2, 1.4.3)."""
    from matplotlib.colors import to_rgb

    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(fill)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) ** 2 > 0.0525 else "#ffffff"


def counted(table: pd.DataFrame, columns: Sequence[str]) -> dict[tuple[str, ...], int]:
    """How many rows there are of each combination of values; a missing value is an empty text."""
    counts: dict[tuple[str, ...], int] = {}
    cells = [table[name].astype("object").where(table[name].notna(), "").tolist() for name in columns]
    for row in zip(*cells, strict=True):
        key = tuple([str(cell) for cell in row])
        counts[key] = counts.get(key, 0) + 1
    return counts
