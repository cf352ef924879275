"""The office, once for each file that wants it: starting a server takes seconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.office import Office


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    # Dovecot drops its rights, so its folder must be open to others, which pytest's own are not.
    folder = Path(tempfile.mkdtemp(prefix="mailtap-office-"))
    folder.chmod(0o755)
    made = Office(folder)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(made.folder, ignore_errors=True)
