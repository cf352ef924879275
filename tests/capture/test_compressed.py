"""Compressed captures: told by content, read as far as they go."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.captures import data_of, pcap

from analyzer.capture import compressed
from analyzer.capture.base import CaptureStats, RecordList
from analyzer.capture.files import read_capture
from analyzer.errors import CaptureUnreadable, NotACapture

zstandard = pytest.importorskip("zstandard")
lz4 = pytest.importorskip("lz4.frame")

FRAMES = [random.Random(i).randbytes(30 + i % 100).hex().encode() for i in range(2000)]
CONTENT = pcap(FRAMES)

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "lz4": lambda data: bytes(lz4.compress(data)),
    "zstd": lambda data: bytes(zstandard.ZstdCompressor(write_checksum=True).compress(data)),
}
ALL = sorted(COMPRESS)


def read(tmp_path: Path, content: bytes) -> tuple[list[bytes], CaptureStats]:
    path = tmp_path / "capture"
    path.write_bytes(content)
    sink = RecordList()
    stats = read_capture(str(path), sink)
    return data_of(sink.records), stats


@pytest.mark.parametrize("kind", ALL)
def test_whole(tmp_path: Path, kind: str):
    frames, stats = read(tmp_path, COMPRESS[kind](CONTENT))
    assert frames == FRAMES
    assert (stats.format, stats.damaged, stats.warnings) == (f"pcap+{kind}", 0, [])


@pytest.mark.parametrize("kind", ALL)
def test_several_members_with_padding(tmp_path: Path, kind: str):
    third = len(CONTENT) // 3
    members = [COMPRESS[kind](part) for part in (CONTENT[:third], CONTENT[third:-5], CONTENT[-5:])]
    padding = bytes(8) if kind in {"gzip", "xz"} else b""
    frames, stats = read(tmp_path, padding.join(members) + padding)
    assert frames == FRAMES
    assert stats.damaged == 0


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("left", [0.9, 0.5])
def test_cut(tmp_path: Path, kind: str, left: float):
    # In several members, because some formats give nothing of a member before they have most of it.
    members = b"".join(COMPRESS[kind](CONTENT[start : start + 20000]) for start in range(0, len(CONTENT), 20000))
    frames, stats = read(tmp_path, members[: int(len(members) * left)])
    assert len(frames) > len(FRAMES) * (left - 0.15)
    assert frames == FRAMES[: len(frames)]
    assert f"ends in the middle of its {kind} data" in stats.warnings[-1]


@pytest.mark.parametrize("kind", ALL)
def test_damaged(tmp_path: Path, kind: str):
    members = bytearray(
        b"".join(COMPRESS[kind](CONTENT[start : start + 20000]) for start in range(0, len(CONTENT), 20000))
    )
    place = len(members) // 2
    members[place : place + 200] = b"\xff" * 200
    frames, stats = read(tmp_path, bytes(members))
    assert len(frames) > len(FRAMES) * 0.3
    assert frames[:600] == FRAMES[:600]
    assert stats.damaged >= 1
    assert stats.warnings


def test_gzip_is_used_up_to_the_damage(tmp_path: Path):
    text = pcap([b"a line of some text, again and again %d" % i for i in range(5000)])
    content = bytearray(gzip.compress(text, 9))
    content[-3] ^= 0xFF  # the length at the very end
    frames, stats = read(tmp_path, bytes(content))
    assert len(frames) == 5000
    assert "broken gzip data" in stats.warnings[-1]


def test_garbage_behind_gzip(tmp_path: Path):
    frames, stats = read(tmp_path, gzip.compress(CONTENT) + b"something else")
    assert frames == FRAMES
    assert stats.skipped_bytes == len(b"something else")
    assert stats.warnings == ["has gzip data followed by something else"]


@pytest.mark.parametrize("kind", ALL)
def test_broken_from_the_start(tmp_path: Path, kind: str):
    content = COMPRESS[kind](CONTENT)[:12] + b"\xff" * 3000
    with pytest.raises((CaptureUnreadable, NotACapture)) as caught:
        read(tmp_path, content)
    assert "capture" in str(caught.value)


@pytest.mark.parametrize("kind", ALL)
def test_magic_alone(tmp_path: Path, kind: str):
    with pytest.raises((CaptureUnreadable, NotACapture)):
        read(tmp_path, COMPRESS[kind](CONTENT)[:10])


def test_twice_compressed(tmp_path: Path):
    frames, stats = read(tmp_path, gzip.compress(bz2.compress(CONTENT)))
    assert frames == FRAMES
    assert stats.format == "pcap+gzip+bzip2"
    with pytest.raises(NotACapture, match="compressed more than twice"):
        read(tmp_path, gzip.compress(gzip.compress(gzip.compress(CONTENT))))


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_skippable_frame_first(tmp_path: Path, kind: str):
    frames, stats = read(tmp_path, b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip" + COMPRESS[kind](CONTENT))
    assert frames == FRAMES
    assert stats.format == f"pcap+{kind}"


@pytest.mark.parametrize("kind", ALL)
def test_bomb_takes_no_memory(tmp_path: Path, kind: str):
    # 120 MB of zeros behind a good start; what reading them adds to the memory is measured in a process of its own.
    path = tmp_path / "bomb"
    path.write_bytes(COMPRESS[kind](CONTENT) + COMPRESS[kind](bytes(120_000_000)))
    code = (
        "import re, sys\n"
        "from analyzer.capture.compressed import CompressedSource, FileSource, CHUNK\n"
        "import os\n"
        # The peak; where the kernel does not tell it, what is held now. Not ru_maxrss, which a process inherits from the one that
        # started it.
        "def held():\n"
        "    status = open('/proc/self/status').read()\n"
        "    return int((re.search(r'VmHWM:\\s*(\\d+)', status) or re.search(r'VmRSS:\\s*(\\d+)', status))[1])\n"
        "file = FileSource(os.open(sys.argv[1], os.O_RDONLY), 'bomb', 0)\n"
        "source = CompressedSource(file, sys.argv[2], file)\n"
        "size = len(source.read())\n"
        "before = peak = held()\n"
        "while chunk := source.read():\n"
        "    size += len(chunk)\n"
        "    assert len(chunk) <= CHUNK\n"
        "    peak = max(peak, held())\n"
        "print(size, (peak - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), kind], capture_output=True, text=True, check=True, env=os.environ
    )
    size, added = map(int, done.stdout.split())
    assert size == len(CONTENT) + 120_000_000
    # A step of zstd may come to 16 MB, three times while it grows.
    assert added < 80


@pytest.mark.parametrize(("kind", "package"), [("zstd", "zstandard"), ("lz4", "lz4")])
def test_missing_package_is_named(tmp_path: Path, kind: str, package: str):
    path = tmp_path / "capture"
    path.write_bytes(COMPRESS[kind](CONTENT))
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['zstandard', 'lz4', 'lz4.frame', 'compression.zstd']))\n"
        "from analyzer.capture.base import RecordList\n"
        "from analyzer.capture.files import read_capture\n"
        "read_capture(sys.argv[1], RecordList())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "CaptureUnreadable" in done.stderr
    assert f"pip install {package}" in done.stderr


def test_compression_is_told_by_content():
    assert [compressed.compression_of(COMPRESS[kind](b"x")) for kind in ALL] == ALL
    assert compressed.compression_of(b"") == ""
    assert compressed.compression_of(CONTENT) == ""
    assert compressed.compression_of(b"BZhello world") == ""
