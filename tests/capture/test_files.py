"""Files, folders, rings and standard input, and what is said where there is no capture."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.captures import NEW_YEAR, data_of, pcap, pcap_header, pcap_record, pcapng
from support.descriptors import descriptors_below

from analyzer.capture.base import CaptureStats, RecordList
from analyzer.capture.files import expand, read_capture, ring_of, sha256_of
from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture, UsageError

FRAMES = [bytes([i]) * 60 for i in range(5)]


def save(path: Path, start: int = NEW_YEAR, content: bytes | None = None) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pcap(FRAMES, start=start) if content is None else content)
    return str(path)


def names(paths: list[str], notes: list[str] | None = None) -> list[list[str]]:
    return [[os.path.basename(file) for file in found.files] for found in expand(paths, notes)]  # noqa: PTH119


# One file.


def test_formats_are_told_by_content(tmp_path: Path):
    for content, expected in (
        (pcap(FRAMES), "pcap"),
        (pcap(FRAMES, ">"), "pcap"),
        (pcapng(FRAMES), "pcapng"),
        (pcapng(FRAMES, ">"), "pcapng"),
        (gzip.compress(pcapng(FRAMES)), "pcapng+gzip"),
    ):
        sink = RecordList()
        stats = read_capture(save(tmp_path / "readme.txt", content=content), sink)
        assert stats.format == expected
        assert data_of(sink.records) == FRAMES


def test_stats_are_those_given(tmp_path: Path):
    path = save(tmp_path / "a.pcap")
    stats = CaptureStats("elsewhere")
    assert read_capture(path, RecordList(), stats=stats) is stats
    assert (stats.packets, stats.name, stats.sha256) == (5, "elsewhere", None)


def test_progress(tmp_path: Path):
    content = pcap_header() + pcap_record(bytes(60000)) * 200
    path = save(tmp_path / "a.pcap", content=content)
    calls: list[int] = []
    read_capture(path, RecordList(), calls.append)
    assert calls == sorted(calls)
    assert calls[-1] == len(content)
    assert len(calls) == 3
    assert calls[0] - (4 << 20) < 65536


def test_sha256_of_a_file_that_has_changed(tmp_path: Path):
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(FRAMES))
    stats = read_capture(str(path), RecordList())
    assert stats.identity is not None
    assert sha256_of(str(path), stats.identity) == hashlib.sha256(pcap(FRAMES)).hexdigest()
    for change in (
        lambda: path.write_bytes(pcap(FRAMES) + b"more"),
        lambda: (path.unlink(), path.write_bytes(pcap(FRAMES))),
    ):
        change()
        with pytest.raises(CaptureUnreadable, match=r"has changed since it was read.*analyze it again"):
            sha256_of(str(path), stats.identity)


def test_sha256(tmp_path: Path):
    path = save(tmp_path / "a.pcap")
    assert sha256_of(path) == hashlib.sha256(pcap(FRAMES)).hexdigest()
    with pytest.raises(CaptureNotFound):
        sha256_of(path + "x")


def test_standard_input(tmp_path: Path):
    code = (
        "from analyzer.capture.files import expand, read_capture\n"
        "from analyzer.capture.base import RecordList\n"
        "sink = RecordList()\n"
        "[found] = expand(['-'])\n"
        "stats = read_capture(found.files[0], sink)\n"
        "print(stats.name, stats.packets, stats.sha256)\n"
    )
    for content in (pcap(FRAMES), gzip.compress(pcapng(FRAMES))):
        done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
        assert done.stdout.decode().split() == ["-", "5", hashlib.sha256(content).hexdigest()]
    closed = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert b"NotACapture" in closed.stderr
    with pytest.raises(UsageError):
        expand(["-", "-"])


def test_named_pipe(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pcap(FRAMES),))
    writer.start()
    inputs = expand([str(pipe), save(tmp_path / "a.pcap")])
    assert [found.name for found in inputs] == [str(tmp_path / "a.pcap"), str(pipe)]
    sink = RecordList()
    stats = read_capture(str(pipe), sink)
    writer.join()
    assert stats.packets == 5
    assert stats.sha256 == hashlib.sha256(pcap(FRAMES)).hexdigest()


@pytest.mark.parametrize(
    "content", [pcap_header()[:15], pcap_header() + b"\xff" * 100, pcap(FRAMES)[:50], pcapng(FRAMES)[:20]]
)
def test_nothing_readable(tmp_path: Path, content: bytes):
    with pytest.raises(CaptureUnreadable, match=r"no packet in this pcap.* could be read"):
        read_capture(save(tmp_path / "a.pcap", content=content), RecordList())


def test_capture_without_packets_is_no_error(tmp_path: Path):
    assert read_capture(save(tmp_path / "a.pcap", content=pcap_header()), RecordList()).packets == 0


def test_missing_and_folder(tmp_path: Path):
    for path in (tmp_path / "missing", Path(save(tmp_path / "a")) / "below"):
        with pytest.raises(CaptureNotFound, match="there is no such file"):
            expand([str(path)])
        with pytest.raises(CaptureNotFound, match="there is no such file"):
            read_capture(str(path), RecordList())
    with pytest.raises(CaptureUnreadable, match="is a folder"):
        read_capture(str(tmp_path), RecordList())
    for call in (lambda: expand(["a\0b"]), lambda: read_capture("a\0b", RecordList())):
        with pytest.raises(CaptureUnreadable):
            call()


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "a.pcap")

    def refuse(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CaptureUnreadable, match="no permission to read it"):
        read_capture(path, RecordList())


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_read_error_midway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: type[bytes]):
    content = compress(pcap_header() + b"".join(pcap_record(os.urandom(1000), NEW_YEAR + i) for i in range(200)))
    path = save(tmp_path / "a.pcap", content=content)
    real = os.read
    calls = 0

    def failing(descriptor: int, size: int) -> bytes:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise OSError(errno.EIO, "Input/output error")
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", failing)
    sink = RecordList()
    stats = read_capture(path, sink)
    assert 120 <= stats.packets < 135
    assert stats.damaged >= 1
    assert stats.skipped_bytes >= len(content) - 131072
    assert "could not be read beyond octet 131072 (Input/output error)" in stats.warnings[-1]
    calls = 2
    with pytest.raises(CaptureUnreadable, match="Input/output error"):
        read_capture(path, sink)


def test_descriptors_are_closed(tmp_path: Path):
    good = save(tmp_path / "a.pcap")
    bad = save(tmp_path / "b.pcap", content=b"no capture")
    for path in (good, bad):
        try:
            read_capture(path, RecordList())
            sha256_of(path)
        except NotACapture:
            assert path == bad
    expand([good, bad])
    assert descriptors_below(tmp_path) == []
    with Path(good).open("rb"):
        assert descriptors_below(tmp_path) == [good]


# Many files.


def test_one_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = save(tmp_path / "a.pcap")
    monkeypatch.setattr(os, "open", lambda *args: pytest.fail("opened"))
    assert names([path]) == [["a.pcap"]]


def test_order_is_that_of_the_first_packets(tmp_path: Path):
    paths = [save(tmp_path / name, NEW_YEAR + at) for name, at in (("c", 20), ("a", 30), ("b", 10))]
    paths.append(save(tmp_path / "empty", content=pcap_header()))
    paths.append(save(tmp_path / "text", content=b"text"))
    # What cannot be read stays in, at the end: reading it says why.
    assert names(paths) == [["b"], ["c"], ["a"], ["empty"], ["text"]]


def test_folder_at_any_depth(tmp_path: Path):
    save(tmp_path / "x" / "two.bin", NEW_YEAR + 100)
    save(tmp_path / "x" / "y" / "z" / "one", NEW_YEAR, pcapng(FRAMES))
    save(tmp_path / "x" / "three.gz", content=gzip.compress(pcap(FRAMES, start=NEW_YEAR + 200)))
    save(tmp_path / "x" / ".hidden")
    save(tmp_path / "x" / ".git" / "object")
    for name in ("readme.md", "notes", "a.sh", "b.sh"):
        save(tmp_path / "x" / name, content=b"text\n")
    notes: list[str] = []
    assert names([str(tmp_path / "x")], notes) == [["one"], ["two.bin"], ["three.gz"]]
    assert notes == [f"{tmp_path / 'x'}: 4 files skipped as no capture (a.sh, b.sh, notes ...)"]


def test_folder_without_captures(tmp_path: Path):
    with pytest.raises(NotACapture, match="is an empty folder"):
        expand([str(tmp_path)])
    save(tmp_path / "a.txt", content=b"text")
    with pytest.raises(NotACapture, match="no capture is among the 1 file of this folder; name one"):
        expand([str(tmp_path)])


def test_folder_with_pipe_and_dangling_link(tmp_path: Path):
    save(tmp_path / "a.pcap")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    notes: list[str] = []
    assert names([str(tmp_path)], notes) == [["a.pcap"]]
    assert len(notes) == 2


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "a.pcap")

    def refuse(*args: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(CaptureUnreadable, match="nothing in this folder could be read"):
        expand([str(tmp_path)])


def test_the_same_file_twice(tmp_path: Path):
    path = save(tmp_path / "a.pcap")
    (tmp_path / "b.pcap").symlink_to(path)
    notes: list[str] = []
    assert names([path, path, str(tmp_path)], notes) == [["a.pcap"]]
    assert notes == [f"{path}: is the same file as one named before; read once"]


def test_too_many_files(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="more than 100000 files"):
        expand([str(tmp_path / "pipe")] * 100001)


# Rings.


@pytest.mark.parametrize(
    "ring",
    [
        ["x_00001_20260101000000.pcapng", "x_00002_20260101000100.pcapng", "x_00003_20260101000200.pcapng"],
        ["x_20260101000000_00001.pcapng", "x_20260101000100_00002.pcapng"],
        ["x.pcap", "x.pcap1", "x.pcap2", "x.pcap10"],
        ["x.pcap08", "x.pcap09", "x.pcap10"],
        ["x-20260101000000.pcap", "x-20260101000100.pcap"],
        ["x_2026-01-01_00:00:00.pcap", "x_2026-01-01_00:01:00.pcap"],
        ["x_2026-01-01T00-00-00.pcap", "x_2026-01-01T00-01-00.pcap"],
        ["x-20260101.pcap", "x-20260102.pcap"],
        ["x-20260101-0000.pcap", "x-20260101-0001.pcap.gz"],
        ["x.log.1767225600", "x.log.1767225660"],
    ],
    ids=lambda ring: ring[0],
)
def test_rings_are_one_input(tmp_path: Path, ring: list[str]):
    for i, name in reversed(list(enumerate(ring))):
        save(tmp_path / name, NEW_YEAR + 60 * i)
    save(tmp_path / "other.pcap", NEW_YEAR + 30)
    assert names([str(tmp_path)]) == [ring, ["other.pcap"]]
    assert names([str(tmp_path / name) for name in reversed(ring)]) == [ring]


def test_ring_goes_by_packets_not_by_numbers(tmp_path: Path):
    # tcpdump -C with -W starts again at the first name.
    for name, at in (("x.pcap0", 300), ("x.pcap1", 100), ("x.pcap2", 200)):
        save(tmp_path / name, NEW_YEAR + at)
    assert names([str(tmp_path)]) == [["x.pcap1", "x.pcap2", "x.pcap0"]]


def test_ring_at_one_time_goes_by_number(tmp_path: Path):
    for name in ("x.pcap10", "x.pcap9", "x.pcap1"):
        save(tmp_path / name)
    assert names([str(tmp_path)]) == [["x.pcap1", "x.pcap9", "x.pcap10"]]


def test_what_is_no_ring(tmp_path: Path):
    for name in (
        "pop3-01.pcap",
        "pop3-02.pcap",
        "session1.pcapng",
        "session2.pcapng",
        "10.0.0.1.pcap",
        "10.0.0.2.pcap",
    ):
        save(tmp_path / name)
    save(tmp_path / "a" / "x.pcap0")
    save(tmp_path / "b" / "x.pcap1")
    save(tmp_path / "y.pcap0", content=pcap_header(linktype=1) + pcap_record(b"a"))
    save(tmp_path / "y.pcap1", content=pcap_header(linktype=113) + pcap_record(b"a"))
    assert all(len(found) == 1 for found in names([str(tmp_path)]))


def test_ring_of():
    assert ring_of("a/x_00001_20260101000000.pcapng") == "a/x*.pcapng"
    assert ring_of("x.pcap") == ring_of("./x.pcap7")
    assert ring_of("x.cap1") == ring_of("x.cap")
    assert ring_of("mail2.pcap") != ring_of("mail.pcap")
