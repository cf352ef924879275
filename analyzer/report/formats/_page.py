"""A page of text within a width: lines, sentences, tables. A terminal gets it in colours, through rich; a file as it is.

The layout is made here and not by rich, because rich takes longer to load and to lay a page out than mailtap takes to read a hundred
megabytes of capture. Text must be visible already (:mod:`analyzer.report.visible`): what is in it is shown as it stands.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import IO, TYPE_CHECKING, Final, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

#: Columns where the width is not that of a terminal, and the most that is taken of one.
WIDTH: Final = 100
#: The least that lines which fold are made for.
MIN_WIDTH: Final = 60
#: Spaces between two columns of a table.
GAP: Final = 2
#: Columns of a table are not made narrower than this.
MIN_COLUMN: Final = 3
#: Folded text is comfortable to read in columns of this width, and words up to this length are not torn as long as there is another way.
COMFORT: Final = 20
MAX_WORD: Final = 16
#: Cells that do not fold (addresses) are cut to this width before words are torn or columns left out, and to that one afterwards.
MAX_CUT: Final = 24
MIN_CUT: Final = 12
#: What stands where something was left out, and what does where that letter is not to be had.
ELLIPSIS: Final = "…"
PLAIN_ELLIPSIS: Final = "..."

#: Finds what rich must be asked about: what is not Latin, Greek, Cyrillic or one of the signs that the report itself uses.
_MAYBE_WIDE: Final = re.compile(r"[^\x20-\x7e\xa1-\u02ff\u0370-\u0482\u2010-\u2027\u2190-\u2193\u2500-\u257f]").search

#: A piece of text and its style (``bold red``; empty for none), in rich's words.
Piece: TypeAlias = tuple[str, str]
Cell: TypeAlias = str | Piece


def width_of(out: TextIO) -> int:
    """The columns of what is written to, for pages of folded lines: a terminal's, within limits; else the usual ones."""
    if not out.isatty():
        return WIDTH
    return max(MIN_WIDTH, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


class Table:
    """Rows under a head. Cells of columns that are ``whole`` are cut where there is no room, those of the others go on below.

    Where even that makes no room, the columns named in ``spare`` are left out, the first first.
    """

    def __init__(self, title: str, spare: tuple[str, ...] = ()) -> None:
        self.title = title
        self._spare = spare
        self.names: list[str] = []
        self._numbers: list[bool] = []
        self._whole: list[bool] = []
        self._least: list[int] = []
        self._rows: list[list[Piece]] = []

    def add_column(self, name: str, number: bool, whole: bool, least: int = 0) -> None:
        """The next column; ``number``: it stands at the right. Columns that may be left out go before it gets less than ``least``."""
        self.names.append(name)
        self._numbers.append(number)
        self._whole.append(number or whole)
        self._least.append(least)

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """The next row; ``style`` is for the cells that have none."""
        self._rows.append([(cell, style) if isinstance(cell, str) else cell for cell in cells])

    def lines(
        self, width: int, rule: str, ellipsis: str = ELLIPSIS, shown: Callable[[str], str] = str
    ) -> list[list[Piece]]:
        """The head, a rule, the rows. ``shown`` makes texts what the page can show."""
        rows = [[(name, "bold") for name in self.names], *self._rows]
        if shown is not str:
            rows = [[(shown(text), style) for text, style in row] for row in rows]
        kept, widths = self._laid_out(rows, width)
        lines: list[list[Piece]] = []
        for row in rows:
            lines += self._lines_of([row[at] for at in kept], kept, widths, ellipsis)
            if row is rows[0]:
                lines.append([(rule * (sum(widths) + GAP * (len(widths) - 1)), "")])
        return lines

    def _laid_out(self, rows: list[list[Piece]], width: int) -> tuple[list[int], list[int]]:
        """The columns that are kept, and their widths."""
        natural = [max(cells(row[at][0]) for row in rows) for at in range(len(self.names))]
        kept = list(range(len(natural)))
        if sum(natural) + GAP * (len(kept) - 1) <= width:
            return kept, natural
        words = [
            0 if self._whole[at] else max(cells(word) for row in rows for word in row[at][0].split(" ")) for at in kept
        ]
        least = [
            size
            if self._numbers[at]
            else min(size, max(self._least[at], MAX_CUT if self._whole[at] else min(words[at], MAX_WORD)))
            for at, size in enumerate(natural)
        ]
        for name in self._spare:
            if sum([least[at] for at in kept]) + GAP * (len(kept) - 1) <= width:
                break
            kept = [at for at in kept if self.names[at] != name]
        room = width - GAP * (len(kept) - 1)
        widths = [natural[at] for at in kept]
        folding = [place for place, at in enumerate(kept) if not self._whole[at]]
        cutting = [place for place, at in enumerate(kept) if self._whole[at] and not self._numbers[at]]
        everything = list(range(len(kept)))
        comfort = [max(COMFORT, least[at]) for at in kept]
        floors_cut = [max(MAX_CUT, least[at]) for at in kept]
        # Text folds first, then addresses lose their middles; only where that is not enough are words torn, and numbers cut.
        for columns, floors in (
            (folding, comfort),
            (cutting, floors_cut),
            (folding, [least[at] for at in kept]),
            (cutting, [MIN_CUT] * len(kept)),
            (folding, [MIN_COLUMN] * len(kept)),
            (everything, [MIN_COLUMN] * len(kept)),
        ):
            _narrow(widths, room, columns, floors)
        return kept, widths

    def _lines_of(self, row: list[Piece], kept: list[int], widths: list[int], ellipsis: str) -> list[list[Piece]]:
        columns: list[list[str]] = []
        for (text, _), width, at in zip(row, widths, kept, strict=True):
            if cells(text) <= width:
                columns.append([text])
            elif self._whole[at]:
                columns.append([cut(text, width, ellipsis)])
            else:
                columns.append([text[start:end] for start, end in folds(text, width)])
        numbers = [self._numbers[at] for at in kept]
        lines: list[list[Piece]] = []
        for at in range(max(len(column) for column in columns)):
            line: list[Piece] = []
            for column, (_, style), width, number in zip(columns, row, widths, numbers, strict=True):
                text = column[at] if at < len(column) else ""
                space = " " * (width - cells(text))
                if number:
                    line += [(space, ""), (text, style)]
                else:
                    line += [(text, style), (space, "")]
                line.append((" " * GAP, ""))
            lines.append(line)
        return lines


def _narrow(widths: list[int], room: int, columns: list[int], floors: list[int]) -> None:
    """Make some columns narrower until all fit, the widest first, none below its floor."""
    while sum(widths) > room:
        wide = [at for at in columns if widths[at] > floors[at]]
        if not wide:
            return
        widest = max(wide, key=lambda at: widths[at])
        others = [widths[at] for at in wide if at != widest]
        step = max(1, widths[widest] - max(others, default=0))
        widths[widest] -= min(step, sum(widths) - room, widths[widest] - floors[widest])


class Page:
    """Writes lines that fit to a file or a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._console: Console | None = None
        self.width: int = WIDTH
        # FORCE_COLOR is for what is shown: a file named with -o has no colours.
        if out.isatty() or (out is sys.stdout and os.environ.get("FORCE_COLOR")):
            from rich.console import Console

            self._console = Console(
                file=cast("IO[str]", out), width=None if out.isatty() else WIDTH, highlight=False, emoji=False, markup=False
            )  # fmt: skip
            self.width = min(self._console.width, WIDTH)
        self._plain = not (getattr(out, "encoding", None) or "utf-8").lower().startswith("utf")

    def print(self, *pieces: Cell, indent: int = 0, style: str = "") -> None:
        """A line, folded where it is too long, ``indent`` spaces before what is below; nothing: an empty line."""
        styled = [(piece, style) if isinstance(piece, str) else piece for piece in pieces]
        if self._plain:
            styled = [(self._shown(piece), one) for piece, one in styled]
        # What is below must have room, however long that is which it stands behind.
        indent = min(indent, self.width // 3)
        text = "".join([piece for piece, _ in styled])
        for number, (start, end) in enumerate(folds(text, self.width, indent)):
            self._write(([(" " * indent, "")] if number else []) + _between(styled, start, end))

    def table(self, table: Table) -> None:
        """A table under its title."""
        if table.title:
            self.print(table.title, style="bold")
        if self._plain:
            lines = table.lines(self.width, "-", PLAIN_ELLIPSIS, self._shown)
        else:
            lines = table.lines(self.width, "─")
        for line in lines:
            self._write(line)

    def _shown(self, text: str) -> str:
        """A text in the letters of the output's encoding, the others escaped: before it is laid out, for escapes are longer."""
        if text.isascii():
            return text
        encoding = self._out.encoding
        return text.replace(ELLIPSIS, PLAIN_ELLIPSIS).encode(encoding, "backslashreplace").decode(encoding)

    def _write(self, pieces: list[Piece]) -> None:
        # Spaces at the end of a line are nobody's.
        while pieces:
            text, style = pieces[-1]
            text = text.rstrip(" ")
            if text:
                pieces[-1] = (text, style)
                break
            pieces = pieces[:-1]
        if self._console is None:
            self._out.write("".join([text for text, _ in pieces]) + "\n")
        else:
            from rich.text import Text

            self._console.print(Text.assemble(*pieces), soft_wrap=True)


def _between(pieces: list[Piece], start: int, end: int) -> list[Piece]:
    """The part of styled text between two of its characters."""
    found: list[Piece] = []
    at = 0
    for text, style in pieces:
        part = text[max(0, start - at) : max(0, end - at)]
        if part:
            found.append((part, style))
        at += len(text)
    return found


def cells(text: str) -> int:
    """The columns that a text takes on a terminal: letters of some scripts take two, marks above others none."""
    if text.isascii() or not _MAYBE_WIDE(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int, ellipsis: str = ELLIPSIS) -> str:
    """Both ends of a text, with an ellipsis between them: at most ``width`` columns. Of an address the port is kept so, and its end."""
    if cells(text) <= width:
        return text
    room = max(0, width - cells(ellipsis))
    end = _fitting(text, 0, max(1, room - room // 2))
    room -= cells(text[:end])
    start = len(text)
    while start > end and cells(text[start - 1 :]) <= room:
        start -= 1
    while start < len(text) and cells(text[start]) == 0:
        start += 1  # a mark whose letter is left out
    return text[:end] + ellipsis + text[start:]


def _fitting(text: str, start: int, width: int) -> int:
    """The end of the longest part from ``start`` that takes at most ``width`` columns; one character at least where there is one."""
    end = min(len(text), start + width)
    while end > start + 1 and cells(text[start:end]) > width:
        end -= 1
    end = max(end, min(start + 1, len(text)))
    if not text.isascii():
        # Marks take no room, and stay with their letters.
        room = max(width, cells(text[start:end]))
        while end < len(text) and cells(text[start : end + 1]) <= room:
            end += 1
    return end


def folds(text: str, width: int, indent: int = 0) -> list[tuple[int, int]]:
    """Where the lines of a text begin and end, ``indent`` columns less for all but the first; words that are too long are torn."""
    lines: list[tuple[int, int]] = []
    start = 0
    while True:
        room = max(1, width - (indent if lines else 0))
        if cells(text[start:]) <= room:
            lines.append((start, len(text)))
            return lines
        end = _fitting(text, start, room)
        if text[end : end + 1] != " ":
            space = text.rfind(" ", start, end)
            # Spaces that a line begins with are its indentation, no place to break it.
            if space > start and text[start:space].strip(" "):
                end = space
        lines.append((start, end))
        start = end
        while text[start : start + 1] == " ":
            start += 1
        if start == len(text):
            return lines
