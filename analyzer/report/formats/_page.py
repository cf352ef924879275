"""A page of text within a width: lines, sentences, tables. A terminal gets it in colours, through rich; a file as it is.

The layout is made here and not by rich, because rich takes longer to load and to lay a page out than mailtap takes to read a hundred
megabytes of capture. Text must be visible already (:mod:`analyzer.report.visible`): what is in it is shown as it stands.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Final, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from rich.console import Console

#: Columns where the width is not that of a terminal, and the most that is taken of one.
WIDTH: Final = 100
#: Spaces between two columns of a table.
GAP: Final = 2
#: Columns of a table are not made narrower than this.
MIN_COLUMN: Final = 3

#: A piece of text and its style (``bold red``; empty for none), in rich's words.
Piece: TypeAlias = tuple[str, str]
Cell: TypeAlias = str | Piece


class Table:
    """Rows under a head. Cells of columns that are ``whole`` are cut where there is no room, those of the others go on below."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.names: list[str] = []
        self._numbers: list[bool] = []
        self._whole: list[bool] = []
        self._rows: list[list[Piece]] = []

    def add_column(self, name: str, number: bool, whole: bool) -> None:
        """The next column; ``number``: it stands at the right."""
        self.names.append(name)
        self._numbers.append(number)
        self._whole.append(number or whole)

    def add_row(self, *cells: Cell, style: str = "") -> None:
        """The next row; ``style`` is for the cells that have none."""
        self._rows.append([(cell, style) if isinstance(cell, str) else cell for cell in cells])

    def lines(self, width: int, rule: str) -> list[list[Piece]]:
        """The head, a rule, the rows."""
        head = [(name, "bold") for name in self.names]
        widths = [
            max(cells(text) for text, _ in column) for column in zip(head, *self._rows, strict=True)
        ]  # fmt: skip
        widths = self._narrowed(widths, width - GAP * (len(widths) - 1))
        lines = self._lines_of(head, widths)
        lines.append([(rule * (sum(widths) + GAP * (len(widths) - 1)), "")])
        for row in self._rows:
            lines += self._lines_of(row, widths)
        return lines

    def _narrowed(self, widths: list[int], room: int) -> list[int]:
        """Widths that fit: the widest columns give way first, those that may fold before the others."""
        widths = list(widths)
        for columns in ([at for at, whole in enumerate(self._whole) if not whole], list(range(len(widths)))):
            while columns and sum(widths) > room:
                widest = max(columns, key=lambda at: widths[at])
                if widths[widest] <= MIN_COLUMN:
                    break
                others = [widths[at] for at in columns if at != widest]
                step = max(1, widths[widest] - max(others, default=MIN_COLUMN))
                widths[widest] -= min(step, sum(widths) - room, widths[widest] - MIN_COLUMN)
        return widths

    def _lines_of(self, row: list[Piece], widths: list[int]) -> list[list[Piece]]:
        columns: list[list[str]] = []
        for (text, _), width, whole in zip(row, widths, self._whole, strict=True):
            if cells(text) <= width:
                columns.append([text])
            elif whole:
                columns.append([cut(text, width)])
            else:
                columns.append([text[start:end] for start, end in folds(text, width)])
        lines: list[list[Piece]] = []
        for at in range(max(len(column) for column in columns)):
            line: list[Piece] = []
            for column, (_, style), width, number in zip(columns, row, widths, self._numbers, strict=True):
                text = column[at] if at < len(column) else ""
                space = " " * (width - cells(text))
                if number:
                    line += [(space, ""), (text, style)]
                else:
                    line += [(text, style), (space, "")]
                line.append((" " * GAP, ""))
            lines.append(line)
        return lines


class Page:
    """Writes lines that fit to a file or a terminal."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._console: Console | None = None
        self.width: int = WIDTH
        if out.isatty() or os.environ.get("FORCE_COLOR"):
            from rich.console import Console

            self._console = Console(
                file=cast("IO[str]", out), width=None if out.isatty() else WIDTH, highlight=False, emoji=False, markup=False
            )  # fmt: skip
            self.width = min(self._console.width, WIDTH)
        self._plain = not (getattr(out, "encoding", None) or "utf-8").lower().startswith("utf")

    def print(self, *pieces: Cell, indent: int = 0, style: str = "") -> None:
        """A line, folded where it is too long, ``indent`` spaces before what is below; nothing: an empty line."""
        styled = [(piece, style) if isinstance(piece, str) else piece for piece in pieces]
        text = "".join([piece for piece, _ in styled])
        for number, (start, end) in enumerate(folds(text, self.width, indent)):
            self._write(([(" " * indent, "")] if number else []) + _between(styled, start, end))

    def table(self, table: Table) -> None:
        """A table under its title."""
        if table.title:
            self.print(table.title, style="bold")
        for line in table.lines(self.width, "-" if self._plain else "─"):
            self._write(line)

    def _write(self, pieces: list[Piece]) -> None:
        # Spaces at the end of a line are nobody's.
        while pieces:
            text, style = pieces[-1]
            text = text.rstrip(" ")
            if text:
                pieces[-1] = (text, style)
                break
            pieces = pieces[:-1]
        if self._plain:
            encoding = self._out.encoding
            pieces = [(text.encode(encoding, "backslashreplace").decode(encoding), style) for text, style in pieces]
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
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """The beginning of a text, with an ellipsis: at most ``width`` columns."""
    if cells(text) <= width:
        return text
    return text[: _fitting(text, 0, width - 1)] + "…"


def _fitting(text: str, start: int, width: int) -> int:
    """The end of the longest part from ``start`` that takes at most ``width`` columns; one character at least where there is one."""
    end = min(len(text), start + width)
    while end > start + 1 and cells(text[start:end]) > width:
        end -= 1
    return max(end, min(start + 1, len(text)))


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
