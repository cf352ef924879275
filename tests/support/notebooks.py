"""Notebooks run as a user runs them, however slow the machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import nbformat
from nbclient import NotebookClient

#: Seconds for a kernel to start, for each cell, and for its outputs to arrive.
PATIENCE: Final = 300


def run_notebook(book: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in a kernel of their own that works in ``folder``; the outputs are put into the notebook."""
    # The default for outputs is four seconds, after which those that are still on their way are silently left out.
    client = NotebookClient(
        book,
        timeout=PATIENCE,
        startup_timeout=PATIENCE,
        iopub_timeout=PATIENCE,
        raise_on_iopub_timeout=True,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
