"""The notebooks: each runs from top to bottom, says nothing to standard error, and keeps its outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from support.notebooks import run_notebook
from support.reports import report_of

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
#: Octets that a notebook may have, outputs included.
MAX_SIZE = 400_000


def outputs(book: nbformat.NotebookNode) -> list[list[tuple[str, list[str]]]]:
    """Kinds of outputs of each cell; pictures and tables change with versions of libraries, their presence does not."""
    return [
        [(one.output_type, sorted(one.get("data", {}))) for one in shown(cell) if one.output_type != "stream"]
        for cell in book.cells
        if cell.cell_type == "code"
    ]


def shown(cell: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The outputs of a cell, without the bar that a slow machine shows."""
    return [
        one
        for one in cell.get("outputs", [])
        if one.output_type != "display_data" or "image/png" in one.get("data", {})
    ]


def test_there_are_five_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_kept_and_small(path: Path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert path.stat().st_size < MAX_SIZE
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = path.read_text(encoding="utf-8")
    assert "image/png" in text
    assert '"error"' not in text
    assert '"stderr"' not in text
    assert "widget-view" not in text
    for trace in ("/home/", "/root/", "/tmp/", "/work/", "site-packages"):
        assert trace not in text
    for cell in book.cells:
        lines = cell.source.splitlines()
        assert all(len(line) <= 160 for line in lines)
    assert book.cells[0].source.startswith(f"# {path.name[:2]} · ")
    assert "**Question.**" in book.cells[0].source
    assert book.cells[-1].source.startswith("**Conclusion.**")


def words(book: nbformat.NotebookNode) -> list[list[str]]:
    """What each cell says, word by word: how tables are laid out changes with versions of pandas, what is in them does not."""
    said = []
    for cell in book.cells:
        text = "".join(one.get("text", "") + "".join(one.get("data", {}).get("text/plain", "")) for one in shown(cell))
        said.append([word for word in text.split() if word not in {"\\", "..."}])
    return said


def test_the_words_of_the_first_look_are_those_of_its_numbers():
    total = report_of("office.pcapng").summary().loc["all"]
    text = " ".join(NOTEBOOKS[0].read_text(encoding="utf-8").split())
    numbers = {13: "thirteen", 5: "five"}
    told = f"{numbers[total['accounts_exposed']]} accounts, on {numbers[total['servers_exposed']]} servers"
    assert told in text
    assert f"{total['accounts_exposed']} accounts exposed on {total['servers_exposed']} servers" in text


def test_both_notebooks_on_the_office_count_accounts_as_the_reports_do():
    total = report_of("office.pcapng").summary().loc["all"]
    text = " ".join(NOTEBOOKS[1].read_text(encoding="utf-8").split())
    for what in ("exposed", "hashed"):
        assert f"{total[f'logins_{what}']} logins gave" in text
        assert f"of {total[f'accounts_{what}']} users on" in text


@pytest.mark.slow
@pytest.mark.usefixtures("own_jupyter")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path):
    kept = nbformat.read(path, as_version=4)
    book = nbformat.read(path, as_version=4)
    run_notebook(book, path.parent)
    assert outputs(book) == outputs(kept)
    assert words(book) == words(kept)
    said = [one.text for cell in book.cells for one in cell.get("outputs", []) if one.get("name") == "stderr"]
    assert said == []
