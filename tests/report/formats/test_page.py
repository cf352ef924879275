"""Pages of text: what fits, what folds, what is cut, on terminals and in files."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from analyzer.report.formats._page import GAP, WIDTH, Page, Table, cells, cut, folds

TEXT = st.text(st.sampled_from("ab c  de漢字é…-"), max_size=60)


def written(*, encoding: str = "utf-8") -> tuple[Page, io.TextIOWrapper]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    return Page(out), out


def lines(out: io.TextIOWrapper) -> list[str]:
    buffer = out.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(out.encoding).splitlines()


def table(*rows: tuple[str, ...], whole: bool = False) -> Table:
    made = Table("Logins")
    made.add_column("account", number=False, whole=whole)
    made.add_column("times", number=True, whole=True)
    for row in rows:
        made.add_row(*row)
    return made


def test_a_table_stands_in_columns() -> None:
    page, out = written()
    page.table(table(("kim", "7"), ("漢字@example.org", "1,234")))
    assert lines(out) == [
        "Logins",
        "account           times",
        "───────────────────────",
        "kim                   7",
        "漢字@example.org  1,234",
    ]


def test_a_cell_that_is_too_long_folds_or_is_cut() -> None:
    long = "all of the mail of " + "k" * 150
    page, out = written()
    page.table(table((long, "7")))
    found = lines(out)[3:]
    assert len(found) > 1
    assert found[0].endswith(" 7")
    assert "".join(line[: WIDTH - GAP - len("times")].strip() for line in found).replace(" ", "") == long.replace(
        " ", ""
    )
    page, out = written()
    page.table(table((long, "7"), whole=True))
    room = WIDTH - GAP - len("times") - 1
    assert lines(out)[3] == f"{long[: room - room // 2]}…{'k' * (room // 2)}      7"


def test_a_page_without_the_letters_says_so() -> None:
    page, out = written(encoding="ascii")
    page.print("Zoë")
    page.table(table(("kim", "7")))
    page.table(table(("漢字" * 3, "7"), ("kim…", "8")))
    assert lines(out) == [
        "Zo\\xeb",
        "Logins",
        "account  times",
        "--------------",
        "kim          7",
        "Logins",
        "account                               times",
        "-------------------------------------------",
        "\\u6f22\\u5b57\\u6f22\\u5b57\\u6f22\\u5b57      7",
        "kim...                                    8",
    ]


def test_marks_stay_with_their_letters() -> None:
    text = "e\u0301" * 6
    assert [text[start:end] for start, end in folds(text, 4)] == ["e\u0301" * 4, "e\u0301" * 2]


def test_what_stands_behind_something_long_has_room() -> None:
    page, out = written()
    page.print("[2001:db8::1]:110  " * 4 + "took many logins " * 4, indent=90)
    assert [len(line) - len(line.lstrip()) for line in lines(out)] == [0, WIDTH // 3]


SERVERS = ("[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:110", "198.51.100.20:110")


@pytest.mark.parametrize(
    ("width", "names", "first"),
    [
        (100, ["severity", "what", "server", "times", "frame"], "critical  Password sent in clear  [2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:110  1,234   5678"),
        (80, ["severity", "what", "server", "times", "frame"], "critical  Password sent in      [2001:db8:ffff:ff…f:ffff:fffe]:110  1,234   5678"),
        (60, ["severity", "what", "server", "times", "frame"], "critical  Password    [2001:db8:ff…f:fffe]:110  1,234   5678"),
        (51, ["severity", "what", "server", "frame"], "critical  Password  [2001:db8:ff…f:fffe]:110   5678"),
        (40, ["severity", "what", "server"], "critical  Password  [2001:db8:…fffe]:110"),
    ],
)  # fmt: skip
def test_narrow_tables_fold_cut_and_leave_out_in_this_order(width: int, names: list[str], first: str) -> None:
    made = Table("", spare=("times", "frame"))
    for name in ("severity", "what", "server", "times", "frame"):
        made.add_column(name, number=name in ("times", "frame"), whole=name == "server")
    for server in SERVERS:
        made.add_row("critical", "Password sent in clear", server, "1,234", "5678")
    found = ["".join(text for text, _ in line).rstrip() for line in made.lines(width, "-")]
    assert found[0].split() == names
    assert found[2] == first
    assert max(map(cells, found)) <= width


def test_lines_below_are_indented_and_styles_go_nowhere_in_files() -> None:
    page, out = written()
    page.print(("clients", "bold red"), "  " + ", ".join(["198.51.100.200"] * 8), indent=9)
    assert lines(out) == [
        "clients  " + ", ".join(["198.51.100.200"] * 5) + ",",
        " " * 9 + ", ".join(["198.51.100.200"] * 3),
    ]


def test_colours_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    file, in_file = written()
    file.print(("EXPOSED", "bold red"), ": kim")
    assert lines(in_file) == ["EXPOSED: kim"]
    monkeypatch.setattr("sys.stdout", in_file)
    out = in_file
    out.seek(0)
    Page(out).print(("EXPOSED", "bold red"), ": kim")
    assert lines(out) == ["\x1b[1;31mEXPOSED\x1b[0m: kim"]


def test_the_letters_counted_without_rich_are_those_it_counts_alike() -> None:
    for number in range(0x20, 0x3000):
        letter = chr(number)
        if letter.isprintable():
            assert cells(letter) == cell_len(letter), hex(number)


@given(TEXT, st.integers(1, 30), st.integers(0, 5))
def test_folding_loses_nothing_but_spaces(text: str, width: int, indent: int) -> None:
    parts = [text[start:end] for start, end in folds(text, width, indent)]
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    for number, part in enumerate(parts):
        room = max(1, width - (indent if number else 0))
        # A letter of two columns has to stand somewhere.
        assert cells(part) <= room or len(part) == 1


@given(TEXT, st.integers(2, 30))
def test_what_is_cut_fits(text: str, width: int) -> None:
    short = cut(text, width)
    assert cells(short) <= max(width, 3)
    assert short == text if cells(text) <= width else "…" in short


def test_of_an_address_that_is_cut_the_port_is_left() -> None:
    assert cut("[2001:db8:ffff:ffff:ffff:ffff:ffff:fffe]:110", 24) == "[2001:db8:ff…f:fffe]:110"


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5), st.integers(20, 100))
def test_tables_fit(rows: list[tuple[str, str, str]], width: int) -> None:
    made = Table("")
    for name in ("a", "b", "c"):
        made.add_column(name, number=name == "c", whole=name == "b")
    for row in rows:
        made.add_row(*row)
    for line in made.lines(width, "-"):
        assert cells("".join(text for text, _ in line)) <= width + GAP  # the space behind the last column


def test_a_column_has_its_least_width_before_others_that_may_be_left_out() -> None:
    made = Table("", ("format",))
    made.add_column("file", number=False, whole=True, least=30)
    made.add_column("format", number=False, whole=False)
    made.add_row("f" * 40, "pcapng")
    found = ["".join(text for text, _ in line).rstrip() for line in made.lines(38, "-")]
    assert found == [f"{'file':30}  format", "-" * 38, f"{'f' * 15}…{'f' * 14}  pcapng"]
    found = ["".join(text for text, _ in line).rstrip() for line in made.lines(35, "-")]
    assert found == ["file", "-" * 35, f"{'f' * 17}…{'f' * 17}"]
