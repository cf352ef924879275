from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.sinks._spool import OVERHEAD, Spool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def opened(folder: Path, max_bytes: int = 1 << 20) -> Spool:
    spool = Spool(folder, "one", max_bytes)
    spool.open()
    return spool


def test_alerts_come_back_in_order_after_a_restart(folder: Path):
    spool = opened(folder)
    spool.add([("a", b"first"), ("b", b"second")])
    spool.add([("c", b"third")])
    assert spool.waiting == 3
    first = spool.first(2)
    assert [(item.alert_id, item.body) for item in first] == [("a", b"first"), ("b", b"second")]
    assert [item.body for item in spool.first(10, first[-1].number)] == [b"third"]
    assert spool.remove(first[0].number) == 1
    spool.close()
    spool = opened(folder)
    assert spool.waiting == 2
    assert [item.body for item in spool.first(10)] == [b"second", b"third"]
    # Numbers are never used twice, even once all is delivered.
    last = spool.first(10)[-1].number
    spool.remove(last)
    spool.close()
    spool = opened(folder)
    spool.add([("d", b"fourth")])
    assert spool.first(1)[0].number > last
    spool.close()


def test_folder_and_files_are_for_their_user_alone(folder: Path):
    old = os.umask(0)
    try:
        spool = opened(folder)
        spool.add([("a", b"x")])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        spool.close()
    finally:
        os.umask(old)


def test_beyond_its_size_the_oldest_are_dropped_and_counted(folder: Path):
    spool = opened(folder, 10 * (100 + OVERHEAD))
    assert spool.add([(str(number), b"x" * 100) for number in range(8)]) == 0
    assert spool.add([(str(number), b"x" * 100) for number in range(8, 13)]) == 3
    assert [item.alert_id for item in spool.first(50)] == [str(number) for number in range(3, 13)]
    assert spool.waiting == 10
    spool.remove(spool.first(4)[-1].number)
    assert spool.add([("more", b"x" * 100)] * 4) == 0
    assert spool.add([("large", b"x" * 5000)]) == 11
    assert spool.waiting == 0
    assert spool.add([("more", b"x" * 100)]) == 0
    spool.close()


def test_the_file_shrinks_when_alerts_are_delivered(folder: Path):
    spool = opened(folder, 64 << 20)
    for start in range(0, 2000, 500):
        spool.add([(str(number), b"x" * 1000) for number in range(start, start + 500)])
    spool.remove(1 << 60)
    spool.close()
    assert (folder / "one.db").stat().st_size < 50_000


def test_two_monitors_do_not_deliver_one_spool(folder: Path):
    spool = opened(folder)
    with pytest.raises(UsageError, match="the spool of another mailtap"):
        opened(folder)
    spool.close()
    opened(folder).close()


def test_a_damaged_file_is_put_aside_and_said(folder: Path):
    spool = opened(folder)
    spool.add([("a", b"x")])
    spool.close()
    (folder / "one.db").write_bytes(b"this was a database once" * 400)
    spool = opened(folder)
    assert "put aside" in spool.damage
    assert (folder / "one.damaged").exists()
    spool.add([("b", b"y")])
    assert [item.alert_id for item in spool.first(9)] == ["b"]
    spool.close()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--spool"):
        Spool(tmp_path / "file" / "spool", "one", 1000).open()


def test_a_full_disk_leaves_the_spool_as_it_was(folder: Path):
    spool = opened(folder)
    spool.add([("a", b"first")])
    assert spool._writer is not None
    # SQLite's own limit on the size of a file gives the very error of a full disk.
    pages = spool._writer.execute("PRAGMA page_count").fetchone()[0]
    spool._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OutputError, match="full"):
        spool.add([("b", b"x" * 100_000)])
    assert spool.waiting == 1
    spool._writer.execute("PRAGMA max_page_count = 100000")
    spool.add([("c", b"third")])
    assert [item.alert_id for item in spool.first(9)] == ["a", "c"]
    spool.close()
    check = sqlite3.connect(folder / "one.db")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()
