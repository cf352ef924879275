"""Tables in the HTML page: columns and how their cells look, rows as many as there is room for."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Rows of a table in the page, and on paper (page.css and page.js say the same).
MAX_ROWS: Final = 10_000
PRINT_ROWS: Final = 200
#: Octets of a table's rows: a page that a browser opens at once holds no more than 5 MB.
MAX_OCTETS: Final = {"findings": 2_400_000, "sessions": 1_450_000, "migration": 600_000}
MAX_OTHER: Final = 90_000
#: Columns of a screen, in pixels, up to which a row is a card (page.css and page.js say the same).
NARROW: Final = 1200


class Head(NamedTuple):
    """A column of a table in the page: its name, how its cells look and sort, whether one of its words can be picked."""

    name: str
    kind: str = "text"
    pick: bool = False


#: How the cells of a kind of column look in a table, on a screen and on paper. An address, a time of day and a word are never broken: no
#: line ends within them. Only those longer than a column may be are.
STYLES: Final = {
    "fixed": "white-space:nowrap",
    "number": "text-align:right;white-space:nowrap",
    "severity": "white-space:nowrap",
    "grade": "white-space:nowrap",
    "transport": "white-space:nowrap",
    "place": "max-width:21em",
    "moment": "min-width:6.9em",
    "slim": "max-width:9.5em",
    "wide": "min-width:9em",
    "long": "min-width:14em;max-width:44em;overflow-wrap:anywhere",
}
#: On paper letters are small: a date and its time have room on one line.
PAPER_STYLES: Final = {"moment": "white-space:nowrap"}
#: And where a row is a card: what is long has a line to itself.
CARD_STYLES: Final = {"long": "grid-column:1/-1"}
#: Kinds of columns whose words stand in a frame.
TAGS: Final = ("severity", "grade", "transport")


class View:
    """A table in the page."""

    def __init__(self, name: str, title: str, columns: list[Head]) -> None:
        self.name = name
        self.title = title
        self.columns = columns
        #: places of the columns whose words stand in a frame
        self.tags = [index for index, column in enumerate(columns) if column.kind in TAGS]
        self.rows: list[list[str]] = []
        #: rows that found no room
        self.more = 0
        self._room = MAX_OCTETS.get(name, MAX_OTHER)

    def add(self, *cells: str) -> None:
        """The next row, as long as there is room."""
        text = "".join(cells)
        markup = sum(text.count(character) for character in "&<>\"'")
        self._room -= len(text.encode("utf-8", "replace")) + 4 * markup + 4 * len(cells) + 30 * len(self.tags) + 5
        if len(self.rows) < MAX_ROWS and self._room >= 0:
            self.rows.append(list(cells))
        else:
            self.more += 1

    def style(self) -> str:
        """How its columns look: rules for places in the row cost less than a class in every cell."""
        places = list(enumerate(self.columns, 1))
        wide = [f"#{self.name} td:nth-child({at}){{{STYLES[one.kind]}}}" for at, one in places if one.kind in STYLES]
        narrow = [f'#{self.name} td:nth-child({at})::before{{content:"{one.name}"}}' for at, one in places]
        paper = [
            f"#{self.name} td:nth-child({at}){{{PAPER_STYLES[one.kind]}}}"
            for at, one in places
            if one.kind in PAPER_STYLES
        ]
        narrow += [
            f"#{self.name} td:nth-child({at}){{{CARD_STYLES[one.kind]}}}"
            for at, one in places
            if one.kind in CARD_STYLES
        ]
        return (
            f"@media print,screen and (min-width:{NARROW}.1px){{{''.join(wide)}}}"
            f"@media print{{{''.join(paper)}}}@media screen and (max-width:{NARROW}px){{{''.join(narrow)}}}"
        )
