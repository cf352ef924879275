"""Captures that grow, rotate, vanish and begin anew: every record comes once, as soon as it is complete, and loss is told."""

from __future__ import annotations

import bz2
import gc
import gzip
import lzma
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.captures import NEW_YEAR, block, option, pcap, pcap_header, pcap_record
from support.descriptors import descriptors_below
from support.waiting import PATIENCE

from analyzer.capture import follow
from analyzer.capture.base import RecordList, RecordSink
from analyzer.capture.follow import FileSource, FolderSource, FollowSource
from analyzer.capture.inlet import Inlet
from analyzer.capture.live import LiveSource
from analyzer.capture.live_open import make_live
from analyzer.capture.pipe import PipeSource
from analyzer.errors import CaptureNotFound, NotACapture, UsageError

FRAMES = [bytes([65 + i]) * (60 + 13 * i) for i in range(12)]


def pcapng(frames: list[bytes], start: int = NEW_YEAR) -> bytes:
    content = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    content += block(1, struct.pack("<HHI", 1, 0, 262144) + option(9, b"\x09") + option(0, b""))
    for index, data in enumerate(frames):
        stamp = (start + index) * 1_000_000_000
        body = struct.pack("<IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)) + data
        content += block(6, body)
    return content


WHOLE = {
    "pcap": pcap(FRAMES),
    "pcapng": pcapng(FRAMES),
    "gzip": gzip.compress(pcap(FRAMES)),
    "two members": gzip.compress(pcap(FRAMES)[:500]) + gzip.compress(pcap(FRAMES)[500:]),
    "xz": lzma.compress(pcap(FRAMES)),
    "bzip2": bz2.compress(pcapng(FRAMES)),
    "zstd": zstandard.ZstdCompressor().compress(pcap(FRAMES)[:500])
    + zstandard.ZstdCompressor().compress(pcap(FRAMES)[500:]),
    "lz4": lz4.frame.compress(pcapng(FRAMES)),
    "twice": gzip.compress(gzip.compress(pcapng(FRAMES))),
}


class Watched:
    """A source and what came out of it."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.sink = RecordList()

    @property
    def data(self) -> list[bytes]:
        return [record[2] for record in self.sink.records]

    @property
    def frames(self) -> list[int]:
        return [record[4] for record in self.sink.records]

    def read(self, until: Callable[[], bool] | None = None) -> Watched:
        """Read until something is so; until the files have been looked at twice more without it."""
        condition = self._looked_at(2) if until is None else until
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, (self.frames, self.source.trouble)
            self.source.read(self.sink)
            time.sleep(0.01)
        return self

    def _looked_at(self, times: int) -> Callable[[], bool]:
        """Whether it has looked so often and read what it found: looks are counted, for how long they take is up to the machine."""
        assert isinstance(self.source, FollowSource)
        source = self.source
        looks = {source._looked}

        def enough() -> bool:
            looks.add(source._looked)
            return (
                len(looks - {0.0}) > times + 1
            )  # the first one was before, and at the last one what the others found has been read

        return enough

    def has(self, count: int) -> Watched:
        return self.read(lambda: len(self.sink.records) >= count)


@pytest.mark.parametrize("name", WHOLE)
@given(cuts=st.lists(st.integers(1, 400), max_size=40))
def test_pieces_make_no_difference(name: str, cuts: list[int]):
    content = WHOLE[name]
    sink = RecordList()
    inlet = Inlet("x", sink)
    at = 0
    for size in [*cuts, len(content)]:
        inlet.feed(content[at : at + size])
        at += size
    inlet.close()
    assert [record[2] for record in sink.records] == FRAMES
    assert (inlet.trouble, inlet.stats.damaged, inlet.size) == ("", 0, len(content))


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 600), st.binary(max_size=300), st.integers(1, 200))
def test_no_octets_do_any_harm(name: str, kept: int, noise: bytes, step: int):
    content = WHOLE[name][:kept] + noise
    sink = RecordList()
    inlet = Inlet("x", sink)
    for at in range(0, len(content), step):
        inlet.feed(content[at : at + step])
    inlet.close()
    assert len(sink.records) <= len(content)


def test_broken_compression_is_told_and_what_came_before_it_is_kept():
    content = gzip.compress(pcap(FRAMES * 40), compresslevel=0)
    for inner in (content[:9000] + b"\xff" * 4000 + content[13000:], content + b"something else, not a member"):
        sink = RecordList()
        inlet = Inlet("x", sink)
        for at in range(0, len(inner), 700):
            inlet.feed(inner[at : at + 700])
        inlet.close()
        assert "gzip" in inlet.trouble
        assert inlet.stats.damaged >= 1
        assert len(sink.records) > 40


def test_a_compressed_flood_of_nothing_stays_small():
    """A thousandfold expansion is handed on piece by piece."""
    bomb = gzip.compress(pcap(FRAMES[:2]) + pcap_record(b"\0" * 262144) * 400)
    sink = RecordSink()
    inlet = Inlet("x", sink)
    gc.collect()
    tracemalloc.start()
    try:
        at = 0
        while at < len(bomb):
            step = inlet.step
            inlet.feed(bomb[at : at + step])
            at += step
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert inlet.stats.packets == 402
    # of 105 MB
    assert peak < 20 << 20


def test_records_come_as_soon_as_they_are_complete():
    for content in (WHOLE["pcap"], WHOLE["pcapng"]):
        sink = RecordList()
        inlet = Inlet("x", sink)
        ends = []
        for at in range(len(content)):
            before = len(sink.records)
            inlet.feed(content[at : at + 1])
            ends += [at + 1] * (len(sink.records) - before)
        # The first two are looked at together, for the size of the record headers; each further one comes with its last octet.
        assert len(ends) == 12
        assert ends[-1] == len(content)
        assert len(set(ends)) >= 11


@pytest.mark.parametrize("name", ["pcap", "pcapng", "gzip"])
def test_a_growing_file(tmp_path: Path, name: str):
    path = tmp_path / "grows"
    watched = Watched(FileSource(str(path)))
    watched.source.open()
    watched.read(lambda: not watched.source.up)
    assert watched.source.trouble == "is not there yet"
    content = WHOLE[name]
    with path.open("wb") as file:
        for at in range(0, len(content), 97):
            file.write(content[at : at + 97])
            file.flush()
            watched.source.read(watched.sink)
    watched.has(12)
    assert watched.data == FRAMES
    assert watched.frames == list(range(1, 13))
    assert (watched.source.up, watched.source.trouble) == (True, "")
    counters = watched.source.counters()
    assert (counters.packets, counters.damaged, counters.linktypes) == (12, 0, [1])
    watched.source.close()
    assert watched.source.counters().packets == 12


def test_half_a_record_waits(tmp_path: Path):
    path = tmp_path / "x.pcap"
    content = pcap(FRAMES)
    path.write_bytes(content[:-10])
    watched = Watched(FileSource(str(path)))
    watched.source.open()
    watched.has(11).read()
    assert watched.source.counters().damaged == 0
    with path.open("ab") as file:
        file.write(content[-10:])
    watched.has(12)
    watched.source.close()


def test_a_file_that_is_none(tmp_path: Path):
    path = tmp_path / "x.pcap"
    path.write_bytes(b"<html><body>log in</body></html>")
    with pytest.raises(NotACapture, match="web page"):
        FileSource(str(path)).open()


def test_a_file_replaced_by_another(tmp_path: Path):
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES[:4]))
    watched = Watched(FileSource(str(path)))
    watched.source.open()
    watched.has(3)
    with path.open("ab") as file:
        file.write(pcap_record(FRAMES[4], NEW_YEAR + 9))
        path.rename(tmp_path / "x.pcap.1")
        path.write_bytes(pcap(FRAMES[5:9], start=NEW_YEAR + 100))
    watched.has(9)
    assert watched.data == FRAMES[:9]
    assert watched.frames == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert watched.source.counters().damaged == 0
    watched.source.close()


def test_a_file_that_vanishes_and_comes_back(tmp_path: Path):
    path = tmp_path / "x.pcap"
    with path.open("wb") as file:
        file.write(pcap(FRAMES[:4]))
        file.flush()
        watched = Watched(FileSource(str(path)))
        watched.source.open()
        watched.has(4)
        path.unlink()
        watched.read(lambda: not watched.source.up)
        assert "has gone" in watched.source.trouble
        # its writer goes on, and so do we
        file.write(pcap_record(FRAMES[4], NEW_YEAR + 9))
        file.flush()
        watched.has(5)
    path.write_bytes(pcap(FRAMES[5:9]))
    watched.has(9)
    assert watched.data == FRAMES[:9]
    watched.read(lambda: watched.source.up)
    assert watched.source.trouble == ""
    watched.source.close()


@pytest.mark.parametrize("frames", [FRAMES[8:10], FRAMES[::-1] * 3], ids=["shorter", "longer"])
def test_a_file_begun_anew(tmp_path: Path, frames: list[bytes]):
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES[:6]))
    watched = Watched(FileSource(str(path)))
    watched.source.open()
    watched.has(6)
    path.write_bytes(pcap(frames, start=NEW_YEAR + 1000))
    watched.has(6 + len(frames))
    assert watched.data == FRAMES[:6] + frames
    assert watched.frames[6] == 1
    watched.read(lambda: "begun anew" in watched.source.trouble)
    watched.source.close()


def names_of_dumpcap(count: int, first: int = 1) -> list[str]:
    return [f"ring_{number:05}_2026010100{number:02}00.pcapng" for number in range(first, first + count)]


def test_a_ring_is_read_in_order(tmp_path: Path):
    names = names_of_dumpcap(4)
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(pcapng(FRAMES[3 * index : 3 * index + 3], NEW_YEAR + 100 * index))
    watched = Watched(FolderSource(str(tmp_path)))
    watched.source.open()
    watched.has(12)
    assert watched.data == FRAMES
    assert watched.frames == [1, 2, 3] * 4
    watched.source.close()


def test_a_ring_that_rotates_while_it_is_read(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("not a capture")
    watched = Watched(FolderSource(str(tmp_path)))
    watched.source.open()
    watched.read(lambda: not watched.source.up)
    assert "no capture" in watched.source.trouble
    written = []
    for index, name in enumerate(names_of_dumpcap(6)):
        content = pcapng(FRAMES[2 * index : 2 * index + 2], NEW_YEAR + 100 * index)
        with (tmp_path / name).open("wb") as file:
            for at in range(0, len(content), 50):
                file.write(content[at : at + 50])
                file.flush()
                watched.source.read(watched.sink)
        watched.has(2 * index + 2)
        written.append(tmp_path / name)
        if len(written) > 2:
            written.pop(0).unlink()
    watched.has(12)
    assert watched.data == FRAMES
    assert (watched.source.up, watched.source.trouble) == (True, "")
    assert watched.source.counters().packets == 12
    watched.source.close()


def test_files_held_open_outlive_their_names(tmp_path: Path):
    names = names_of_dumpcap(4)
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(pcapng(FRAMES[3 * index : 3 * index + 3], NEW_YEAR + 100 * index))
    source = FolderSource(str(tmp_path))
    source.open()
    for name in names:
        (tmp_path / name).unlink()
    watched = Watched(source).has(12)
    assert watched.data == FRAMES
    source.close()


def test_files_never_seen_are_told(tmp_path: Path):
    names = names_of_dumpcap(6)
    (tmp_path / names[0]).write_bytes(pcapng(FRAMES[:3]))
    source = FolderSource(str(tmp_path))
    source.open()
    watched = Watched(source).has(3)
    (tmp_path / names[4]).write_bytes(pcapng(FRAMES[3:6], NEW_YEAR + 500))
    watched.has(6)
    watched.read(lambda: "3 files of the ring" in source.trouble)
    assert source.lost_files == 3
    assert source.counters().damaged == 3
    source.close()


def test_a_ring_of_tcpdump_that_begins_again(tmp_path: Path):
    """-C with -W: the same few names again and again, each truncated and written anew."""
    watched = Watched(FolderSource(str(tmp_path)))
    watched.source.open()
    for index in range(6):
        path = tmp_path / f"ring.pcap{index % 3}"
        path.write_bytes(pcap(FRAMES[2 * index : 2 * index + 2], start=NEW_YEAR + 1000 * index))
        watched.has(2 * index + 2)
    assert watched.data == FRAMES
    assert watched.source.counters().damaged == 0
    watched.source.close()


def test_a_file_begun_anew_before_it_was_read_is_loss(tmp_path: Path):
    for index in range(3):
        (tmp_path / f"ring.pcap{index}").write_bytes(pcap(FRAMES[:4], start=NEW_YEAR + 100 * index))
    source = FolderSource(str(tmp_path))
    source.open()
    lost = (tmp_path / "ring.pcap2").stat().st_size
    (tmp_path / "ring.pcap2").write_bytes(pcap(FRAMES[4:6], start=NEW_YEAR + 1000))
    watched = Watched(source).read()
    assert watched.data == FRAMES[:4] + FRAMES[:4] + FRAMES[4:6]
    assert "begun anew" in source.trouble
    assert source.counters().skipped_bytes == lost
    source.close()


def test_several_rings_side_by_side_and_renamed_files(tmp_path: Path):
    below = tmp_path / "day"
    below.mkdir()
    with (tmp_path / "a.pcap").open("wb") as one, (below / "b.pcap").open("wb") as other:
        one.write(pcap(FRAMES[:3]))
        other.write(pcap(FRAMES[3:6], start=NEW_YEAR + 50))
        one.flush()
        other.flush()
        watched = Watched(FolderSource(str(tmp_path)))
        watched.source.open()
        watched.has(6)
        assert watched.data == FRAMES[:6]
        (tmp_path / "a.pcap").rename(tmp_path / "a.old.pcap")
        one.write(pcap_record(FRAMES[6], NEW_YEAR + 99))
        other.write(pcap_record(FRAMES[7], NEW_YEAR + 99))
        one.flush()
        other.flush()
        watched.has(8).read()
    assert len(watched.data) == 8
    watched.source.close()


def test_the_compressed_copy_is_not_read_again(tmp_path: Path):
    path = tmp_path / "x_20260101120000.pcap"
    path.write_bytes(pcap(FRAMES[:4]))
    watched = Watched(FolderSource(str(tmp_path)))
    watched.source.open()
    watched.has(4)
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    watched.read()
    (tmp_path / "x_20260101130000.pcap").write_bytes(pcap(FRAMES[4:6], start=NEW_YEAR + 3600))
    watched.has(6).read()
    assert watched.data == FRAMES[:6]
    watched.source.close()


def test_a_folder_that_goes(tmp_path: Path):
    folder = tmp_path / "ring"
    folder.mkdir()
    (folder / "x.pcap").write_bytes(pcap(FRAMES))
    source = FolderSource(str(folder))
    source.open()
    watched = Watched(source).has(12)
    (folder / "x.pcap").unlink()
    folder.rmdir()
    watched.read(lambda: "folder has gone" in source.trouble)
    folder.mkdir()
    (folder / "y.pcap").write_bytes(pcap(FRAMES[:2]))
    watched.has(14)
    source.close()
    with pytest.raises(CaptureNotFound):
        FolderSource(str(tmp_path / "no-such-folder")).open()


def test_descriptors_are_given_back(tmp_path: Path):
    for index in range(300):
        (tmp_path / f"alone{index}.pcap").write_bytes(pcap(FRAMES[:2], start=NEW_YEAR + index))
    source = FolderSource(str(tmp_path))
    source.open()
    watched = Watched(source).has(600).read()
    assert len(descriptors_below(tmp_path)) <= 200
    with (tmp_path / "alone7.pcap").open("ab") as file:
        file.write(pcap_record(FRAMES[1], NEW_YEAR + 999))
    watched.has(601)
    assert watched.frames[-1] == 3
    source.close()
    assert descriptors_below(tmp_path) == []


@pytest.mark.parametrize(("call", "late"), [("open", 0.25), ("stat", 10.1)])
def test_slow_disks_blind_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, late: float):
    # Opening many files once must not make looks rare, nor one look that took seconds.
    clock = [1000.0]
    fast = getattr(os, call)

    def slow(*arguments: object, **keywords: object) -> object:
        clock[0] += 0.5
        return fast(*arguments, **keywords)

    for index in range(4):
        (tmp_path / f"alone{index}.pcap").write_bytes(pcap(FRAMES[:2], start=NEW_YEAR + index))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(os, call, slow)
    source = FolderSource(str(tmp_path))
    source.open()
    sink = RecordList()
    while source.read(sink):
        pass
    assert len(sink.records) == 8
    (tmp_path / "late.pcap").write_bytes(pcap(FRAMES[:2], start=NEW_YEAR + 9))
    clock[0] += late
    source.read(sink)
    assert len(sink.records) == 10
    source.close()


@pytest.mark.parametrize("one", [0.02, 0.3, 0.8, 5.0])
def test_looks_through_a_slow_folder_leave_most_of_the_time_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: float
):
    clock = [1000.0]
    fast = os.stat

    def slow(*arguments: object, **keywords: object) -> object:
        clock[0] += one
        return fast(*arguments, **keywords)  # type: ignore[arg-type]

    for index in range(4):
        (tmp_path / f"alone{index}.pcap").write_bytes(pcap(FRAMES[:2], start=NEW_YEAR + index))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(os, "stat", slow)
    source = FolderSource(str(tmp_path))
    source.open()
    looking = 0.0
    looks = 0
    began = clock[0]
    while clock[0] < began + 600:
        before = clock[0]
        source.look()
        spent = clock[0] - before
        looking += spent
        looks += spent > 2 * one
        clock[0] += 0.01
    assert looking < 600 * 0.25
    # and none is put off for long
    assert looks > 600 / max(3.5, 6 * 5 * one) - 1
    source.close()


def test_looks_at_a_file_on_a_slow_disk_leave_most_of_the_time_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    fast = os.stat

    def slow(*arguments: object, **keywords: object) -> object:
        clock[0] += 4.0
        return fast(*arguments, **keywords)  # type: ignore[arg-type]

    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(FRAMES[:2]))
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(os, "stat", slow)
    source = FileSource(str(path))
    source.open()
    sink = RecordList()
    turns = 0
    while clock[0] < 1600:
        source.read(sink)
        clock[0] += 0.01
        turns += 1
    assert len(sink.records) == 2
    assert turns > 600 / 0.01 * 0.75
    source.close()


def watching(tmp_path: Path, *, one: bool) -> tuple[Watched, Callable[[], None]]:
    """A source that looks whenever it is asked to: what it gave before it had to wait, and how to let it look."""
    path = tmp_path / "x.pcap"
    if one:
        path.write_bytes(pcap(FRAMES[:2]))
    watched = Watched(FileSource(str(path)) if one else FolderSource(str(tmp_path)))
    watched.source.open()

    def look() -> None:
        assert isinstance(watched.source, FollowSource)
        watched.source._looked = 0.0
        watched.source.look()

    return watched, look


def test_a_ring_that_rotates_while_it_may_not_be_read_is_read_later(tmp_path: Path):
    watched, look = watching(tmp_path, one=False)
    for index, name in enumerate(names_of_dumpcap(6)):
        (tmp_path / name).write_bytes(pcapng(FRAMES[2 * index : 2 * index + 2], NEW_YEAR + 100 * index))
        look()
        (tmp_path / name).unlink()
        look()
    assert watched.data == []
    watched.has(12)
    assert watched.data == FRAMES
    assert (watched.source.counters().damaged, watched.source.counters().packets) == (0, 12)
    watched.source.close()
    assert descriptors_below(tmp_path) == []


def test_what_is_held_while_it_may_not_be_read_is_bounded_and_the_rest_is_told(tmp_path: Path):
    watched, look = watching(tmp_path, one=False)
    size = len(pcapng(FRAMES[:1]))
    count = follow.MAX_OPEN + 20
    for index in range(count):
        name = tmp_path / f"ring_{index + 1:05}_20260101{index:06}.pcapng"
        name.write_bytes(pcapng(FRAMES[:1], NEW_YEAR + 100 * index))
        look()
        name.unlink()
        assert len(descriptors_below(tmp_path)) <= follow.MAX_OPEN + 1
    watched.read()
    counters = watched.source.counters()
    lost = count - counters.packets
    assert 0 < lost <= 20
    assert (counters.damaged, counters.skipped_bytes) == (lost, lost * size)
    watched.source.close()


def test_files_replaced_one_after_another_while_they_may_not_be_read_are_read_later(tmp_path: Path):
    watched, look = watching(tmp_path, one=True)
    path = tmp_path / "x.pcap"
    for index in range(1, 6):
        path.rename(tmp_path / "x.pcap.1")
        path.write_bytes(pcap(FRAMES[2 * index : 2 * index + 2], start=NEW_YEAR + 100 * index))
        look()
    assert watched.data == []
    watched.has(12)
    assert watched.data == FRAMES
    assert watched.frames == [1, 2] * 6
    assert (watched.source.counters().damaged, watched.source.up, watched.source.trouble) == (0, True, "")
    watched.read()
    assert len(descriptors_below(tmp_path)) == 1
    watched.source.close()
    assert descriptors_below(tmp_path) == []


def test_files_replaced_too_often_meanwhile_are_lost_and_counted(tmp_path: Path):
    watched, look = watching(tmp_path, one=True)
    path = tmp_path / "x.pcap"
    sizes = [path.stat().st_size]
    for index in range(1, follow.MAX_OPEN + 3):
        path.rename(tmp_path / "x.pcap.1")
        path.write_bytes(pcap(FRAMES[index % 9 : index % 9 + 2], start=NEW_YEAR + 100 * index))
        sizes.append(path.stat().st_size)
        look()
    assert len(descriptors_below(tmp_path)) == follow.MAX_OPEN + 1
    kept = 2 * (follow.MAX_OPEN + 1)
    watched.has(kept).read()
    assert watched.data[:2] == FRAMES[2:4]
    counters = watched.source.counters()
    assert (counters.packets, counters.damaged, counters.skipped_bytes) == (kept, 2, sum(sizes[:2]))
    watched.source.close()
    assert descriptors_below(tmp_path) == []


def test_a_file_begun_anew_while_it_may_not_be_read_is_loss(tmp_path: Path):
    watched, look = watching(tmp_path, one=True)
    path = tmp_path / "x.pcap"
    lost = path.stat().st_size
    path.write_bytes(pcap(FRAMES[2:12], start=NEW_YEAR + 1000))
    look()
    assert "begun anew" in watched.source.trouble
    watched.has(10)
    assert watched.data == FRAMES[2:]
    assert watched.source.counters().skipped_bytes == lost
    watched.source.close()


@pytest.mark.parametrize("name", ["pcap", "pcapng", "gzip"])
def test_a_named_pipe(tmp_path: Path, name: str):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    source = make_live(str(path))
    assert isinstance(source, PipeSource)
    source.open()
    watched = Watched(source)
    source.read(watched.sink)
    assert not source.finished
    content = WHOLE[name]
    with path.open("wb", buffering=0) as writer:
        for at in range(0, len(content), 97):
            writer.write(content[at : at + 97])
            source.read(watched.sink)
        watched.has(12)
        assert (source.finished, source.up) == (False, True)
    watched.read(lambda: source.finished)
    assert watched.data == FRAMES
    source.close()
    assert source.fileno() == -1


def test_a_pipe_that_ends_in_the_middle_and_one_that_holds_something_else(tmp_path: Path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for content, words, damaged in (
        (WHOLE["pcap"][:-5], "writer has ended", 1),
        (b"tcpdump: no suitable device found\n" * 40, "text file", 1),
    ):
        source = PipeSource(str(path))
        source.open()
        watched = Watched(source)
        with path.open("wb", buffering=0) as writer:
            writer.write(content)
            watched.read(lambda source=source: source.counters().packets or source.finished)
        watched.read(lambda source=source: source.finished)
        assert words in source.trouble
        assert source.counters().damaged == damaged
        source.close()


def test_standard_input_that_is_a_terminal():
    main, other = os.openpty()
    kept = os.dup(0)
    try:
        os.dup2(other, 0)
        with pytest.raises(UsageError, match="terminal"):
            PipeSource("-").open()
    finally:
        os.dup2(kept, 0)
        for descriptor in (main, other, kept):
            os.close(descriptor)


def test_pcap_header_alone_is_no_trouble(tmp_path: Path):
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap_header())
    source = FileSource(str(path))
    source.open()
    watched = Watched(source).read()
    assert (watched.data, source.trouble, source.up) == ([], "", True)
    source.close()
