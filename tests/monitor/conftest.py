"""What several tests of the monitor share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import PATIENCE

from analyzer.monitor import store_place
from analyzer.monitor.store import Store, open_store


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not look like a store that somebody holds."""
    monkeypatch.setattr(store_place, "BUSY_S", PATIENCE)


@pytest.fixture
def store(tmp_path: Path, patient: None) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "mailtap.db"), sensor="cellar")
    yield opened
    opened.close()
