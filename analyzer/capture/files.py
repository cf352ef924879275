"""Files, folders, standard input: which inputs there are, in which order, and the way from a path to a sink.

:func:`expand` turns what the user named into inputs; :func:`read_capture` reads one file. The rules:

- A folder stands for every capture under it, at any depth; its other files and hidden ones are skipped, with a note.
- The format, and the compression, are told by content, never by name.
- The files of a ring are one input, read in order as one stream, so that flows go on from file to file. A ring is told
  by the names its writer gives, in one folder, with one set of link types: dumpcap (``x_00001_20260101120000.pcapng``),
  tcpdump -C (``x.pcap``, ``x.pcap1``, ``x.pcap2``), tcpdump -G (a date and time, or seconds since 1970, in the name).
  Within it files go by the time of their first packet, then by name.
- All other files are inputs of their own. Inputs go by the time of their first packet too.
- Frame numbers count from 1 in each file.

With several files named, each is looked into for its first packet; a single one is not, and pipes never are.
"""
# ruff: noqa: PTH116, PTH118, PTH119
# os.path, because pathlib alone would cost a tenth of the start-up time.

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from analyzer.capture.base import CaptureStats, Reader, RecordSink
from analyzer.capture.compressed import CHUNK, CompressedSource, FileSource, Pushed, compression_of
from analyzer.capture.pcap import PcapReader
from analyzer.capture.pcapng import PcapngReader
from analyzer.capture.recognise import HEAD, describe, says_pcap, says_pcapng
from analyzer.errors import CaptureError, CaptureNotFound, CaptureUnreadable, NotACapture, UsageError
from analyzer.places import reason

if TYPE_CHECKING:
    import hashlib

#: The name of standard input.
STDIN: Final = "-"
#: Files one call may name, folders counted with all they hold.
MAX_FILES: Final = 100000
#: Octets looked at, after decompression, for the first packet of a file.
MAX_PROBE: Final = 1 << 20
#: Compression within compression: so many layers are taken off.
MAX_LAYERS: Final = 2
#: ``progress`` is called each time so many octets of the file have been read.
PROGRESS_STEP: Final = 4 << 20

_COMPRESSED_NAME: Final = re.compile(r"\.(?:gz|zst|lz4|xz|bz2)$")
_RING_NAMES: Final = (
    # dumpcap, with the number before the time (files) or behind it (nametimenum)
    re.compile(r"_\d{5,}_\d{14}(?=\.|$)"),
    re.compile(r"_\d{14}_\d{5,}(?=\.|$)"),
    # tcpdump -G, with any usual spelling of a date, with or without a time, or with seconds since 1970
    re.compile(r"(?<!\d)(?:19|20)\d\d[01]\d[0-3]\d(?:[-_T ]?\d{4}(?:\d\d)?)?Z?(?!\d)"),
    re.compile(r"(?<!\d)(?:19|20)\d\d-[01]\d-[0-3]\d(?:[-_T ]\d\d[-:._h]?\d\d(?:[-:._m]?\d\d)?)?Z?(?!\d)"),
    re.compile(r"(?<!\d)1\d{9}(?!\d)"),
)
_RING_NUMBER: Final = re.compile(r"(?<=\.pcap|\.dump)\d+$|(?<=\.pcapng)\d+$|(?<=\.cap|\.dmp)\d+$")
_DIGITS: Final = re.compile(r"(\d+)")


class CaptureInput:
    """Files that are read in order as one stream; mostly just one."""

    def __init__(self, files: list[str]) -> None:
        #: paths, in the order in which they are to be read; ``-`` is standard input
        self.files = files
        #: the first path, by which the input goes
        self.name = files[0]

    def __repr__(self) -> str:
        return f"CaptureInput({self.files!r})"


class _Probe:
    """What a look into a file told."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.error: CaptureError | None = None
        self.linktypes: tuple[int, ...] = ()
        #: None where no packet was found
        self.first_ns: int | None = None


def expand(paths: Sequence[str], notes: list[str] | None = None) -> list[CaptureInput]:
    """The inputs that ``paths`` (files, folders, ``-``) stand for, in the order in which to read them.

    Sentences about what was skipped are appended to ``notes``. Raises CaptureNotFound for a path that does not exist,
    NotACapture for a folder without any capture, UsageError for ``-`` given twice or too many files. What a file named
    directly holds is judged by :func:`read_capture`.
    """
    notes = [] if notes is None else notes
    named: list[str] = []
    found: list[_Probe] = []
    seen: set[tuple[int, int]] = set()
    for path in paths:
        if path == STDIN:
            if STDIN in named:
                raise UsageError("standard input (-) is named twice; name it once")
            named.append(path)
            continue
        status = _status(path)
        if stat.S_ISDIR(status.st_mode):
            found.extend(_walk(path, seen, notes))
        elif _is_new(status, seen):
            named.append(path)
        else:
            notes.append(f"{path}: is the same file as one named before; read once")
        if len(named) + len(found) > MAX_FILES:
            raise UsageError(f"more than {MAX_FILES} files are named; analyze them in several calls")
    if len(named) == 1 and not found:
        return [CaptureInput(named)]
    return _order([_probe(path) for path in named] + found)


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CaptureNotFound(f"{path}: there is no such file or folder; check the spelling") from error
    except (OSError, ValueError) as error:
        raise CaptureUnreadable(f"{path}: cannot be looked at ({reason(error)})") from error


def _is_new(status: os.stat_result, seen: set[tuple[int, int]]) -> bool:
    """Whether this file (by device and inode) was not met before; pipes always are."""
    if not stat.S_ISREG(status.st_mode):
        return True
    key = (status.st_dev, status.st_ino)
    if key in seen:
        return False
    seen.add(key)
    return True


def _walk(folder: str, seen: set[tuple[int, int]], notes: list[str]) -> list[_Probe]:
    """The captures under ``folder``, sorted by path."""
    found: list[_Probe] = []
    skipped: list[str] = []
    unreadable: list[str] = []
    known = 0

    def failed(error: OSError) -> None:
        unreadable.append(str(error.filename))

    for where, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files, key=_natural):
            path = os.path.join(where, name)
            if name.startswith("."):
                continue
            try:
                status = os.stat(path)
            except OSError:
                unreadable.append(path)
                continue
            if not stat.S_ISREG(status.st_mode):
                skipped.append(path)
                continue
            if not _is_new(status, seen):
                known += 1
                continue
            probe = _probe(path)
            if probe.error is None:
                found.append(probe)
            elif isinstance(probe.error, NotACapture):
                skipped.append(path)
            else:
                unreadable.append(path)
            if len(found) > MAX_FILES:
                raise UsageError(f"{folder}: holds more than {MAX_FILES} captures; analyze it in several calls")
    if not found and unreadable:
        raise CaptureUnreadable(
            f"{folder}: nothing in this folder could be read, {unreadable[0]} for one; change the permissions, or run as a user who may"
        )
    if not found and not known:
        what = f"no capture is among the {_count(skipped)} of this folder" if skipped else "is an empty folder"
        raise NotACapture(f"{folder}: {what}; name one that holds pcap or pcapng files")
    if skipped:
        notes.append(f"{folder}: {_count(skipped)} skipped as no capture ({_few(skipped)})")
    if unreadable:
        notes.append(f"{folder}: {_count(unreadable)} could not be read ({_few(unreadable)})")
    return found


def _count(paths: list[str]) -> str:
    return "1 file" if len(paths) == 1 else f"{len(paths)} files"


def _few(paths: list[str]) -> str:
    return ", ".join(os.path.basename(path) for path in paths[:3]) + (" ..." if len(paths) > 3 else "")


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key under which ``x9`` comes before ``x10``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _DIGITS.split(name) if part]


def ring_of(path: str) -> str:
    """What the names of all files of one ring have in common; the path itself, in effect, where it is of no ring."""
    folder, name = os.path.split(path)
    name = _COMPRESSED_NAME.sub("", name)
    name = _RING_NUMBER.sub("", name)
    for pattern in _RING_NAMES:
        changed = pattern.sub("*", name, count=1)
        if changed != name:
            name = changed
            break
    return os.path.join(os.path.normpath(folder or "."), name)


def _order(probes: list[_Probe]) -> list[CaptureInput]:
    """Rings put together; everything by the time of the first packet, what has none at the end."""

    def key(probe: _Probe) -> tuple[bool, int, list[tuple[int, str]]]:
        return (probe.first_ns is None, probe.first_ns or 0, _natural(probe.path))

    probes = sorted(probes, key=key)
    rings: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for probe in probes:
        alone = probe.path if probe.first_ns is None else ""
        rings.setdefault((alone or ring_of(probe.path), probe.linktypes), []).append(probe.path)
    return [CaptureInput(files) for files in rings.values()]


def _probe(path: str) -> _Probe:
    """Look into a regular file for its first packet; anything else is left alone, for looking would use it up."""
    probe = _Probe(path)
    stats = CaptureStats(path)
    try:
        if path == STDIN or not stat.S_ISREG(_status(path).st_mode):
            return probe
        descriptor, file = _open(path)
    except CaptureError as error:
        probe.error = error
        return probe
    try:
        source, compression = _decompressed(file)
        reader = _reader(source, compression, stats, RecordSink())
        octets = 0
        while stats.packets == 0 and octets < MAX_PROBE:
            chunk = source.read()
            if not chunk:
                reader.close()
                break
            octets += len(chunk)
            reader.feed(chunk)
    except CaptureError as error:
        probe.error = error
        return probe
    finally:
        _close(descriptor)
    probe.linktypes = tuple(stats.linktypes)
    if stats.packets > 0:
        # The chunk may hold many: the earliest of the first chunk will do.
        probe.first_ns = stats.first_ns
    return probe


def read_capture(
    path: str,
    sink: RecordSink,
    progress: Callable[[int], None] | None = None,
    stats: CaptureStats | None = None,
    hashed: bool = False,
) -> CaptureStats:
    """Read a whole capture, ``-`` for standard input, and push its records into ``sink``.

    ``progress`` is called about every 4 MiB with the octets of the file (as it is, compressed or not) read so far.
    ``stats`` may be given to watch the counts grow, and to keep them when reading ends with an exception. ``hashed``: the file's
    SHA-256 is made on the way, as it always is where the input cannot be read twice.

    Raises CaptureNotFound, CaptureUnreadable or NotACapture where nothing can be read; damage behind the first
    record is counted and put into words in ``stats`` instead.
    """
    stats = CaptureStats(path) if stats is None else stats
    descriptor, file = _open(path)
    try:
        stats.identity = _identity(descriptor)
        if hashed and file.digest is None:
            file.digest = _digest()
        source, compression = _decompressed(file)
        reader = _reader(source, compression, stats, sink)
        announced = 0
        while True:
            chunk = source.read()
            if not chunk:
                break
            reader.feed(chunk)
            if progress is not None and file.position - announced >= PROGRESS_STEP:
                announced = file.position
                progress(announced)
        reader.close()
        if hashed:
            while file.read():  # what stands behind damaged compressed data is part of the file
                pass
        if progress is not None:
            progress(file.position)
    finally:
        _close(descriptor)
    if source.trouble:
        stats.damaged += 1
        stats.skipped_bytes += source.lost
        stats.warnings.append(source.trouble)
    if file.digest is not None:
        stats.sha256 = file.digest.hexdigest()
    if stats.packets == 0 and stats.damaged > 0:
        raise CaptureUnreadable(
            f"{path}: no packet in this {stats.format} file could be read, {stats.skipped_bytes} octets are damaged "
            f"({stats.warnings[0]}); get a fresh copy of it"
        )
    return stats


def _identity(descriptor: int) -> tuple[int, int, int] | None:
    """What tells whether a regular file is still the one that was read; None for anything else."""
    status = os.fstat(descriptor)
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def sha256_of(path: str, identity: tuple[int, int, int] | None = None) -> str:
    """The SHA-256 of a file as it stands on disk, in hexadecimal.

    With ``identity`` (see :class:`CaptureStats`) the file must still be what it was. Raises CaptureError where it is not, or
    cannot be read.
    """
    descriptor, file = _open(path)
    try:
        digest = _digest()
        if identity is not None and _identity(descriptor) != identity:
            raise CaptureUnreadable(_changed(path))
        while True:
            chunk = file.read()
            if not chunk:
                break
            digest.update(chunk)
        if identity is not None and _identity(descriptor) != identity:
            raise CaptureUnreadable(_changed(path))
    finally:
        _close(descriptor)
    if file.trouble:
        raise CaptureUnreadable(f"{path}: {file.trouble}")
    return digest.hexdigest()


def _changed(path: str) -> str:
    return (
        f"{path}: has changed since it was read, so its SHA-256 is left out; analyze it again when nothing writes to it"
    )


def _open(path: str) -> tuple[int, FileSource]:
    """Open ``path`` for reading: the descriptor, and a source upon it."""
    if path == STDIN:
        if os.isatty(0):
            raise UsageError("standard input (-) is a terminal; pipe a capture into it: tcpdump -w - | mailtap ...")
        source = FileSource(0, "standard input")
        source.digest = _digest()
        return 0, source
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CaptureNotFound(f"{path}: there is no such file; check the spelling") from error
    except PermissionError as error:
        raise CaptureUnreadable(
            f"{path}: no permission to read it; change its permissions, or run as a user who may"
        ) from error
    except (OSError, ValueError) as error:
        raise CaptureUnreadable(f"{path}: cannot be opened ({reason(error)})") from error
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        os.close(descriptor)
        raise CaptureUnreadable(f"{path}: cannot be looked at ({reason(error)})") from error
    if stat.S_ISDIR(status.st_mode):
        os.close(descriptor)
        raise CaptureUnreadable(f"{path}: is a folder, where a file is wanted; name a file in it")
    if stat.S_ISREG(status.st_mode):
        return descriptor, FileSource(descriptor, path, status.st_size)
    source = FileSource(descriptor, path)
    source.digest = _digest()
    return descriptor, source


def _digest() -> hashlib._Hash:
    """An empty SHA-256, to be fed."""
    import hashlib  # loads OpenSSL: only for those who ask for it

    return hashlib.sha256()


def _close(descriptor: int) -> None:
    if descriptor != 0:
        os.close(descriptor)


def _decompressed(file: FileSource) -> tuple[Pushed, str]:
    """The source of the capture itself, and the compressions taken off it as they stand in ``stats.format``."""
    source: Pushed = file
    compression = ""
    for _ in range(MAX_LAYERS):
        kind = compression_of(source.peek(10))
        if kind == "zstd":
            kind = compression_of(source.peek(HEAD))  # it may be a skippable frame before lz4 data
        if not kind:
            break
        source = CompressedSource(source, kind, file)
        compression += "+" + kind
    return source, compression


def _reader(source: Pushed, compression: str, stats: CaptureStats, sink: RecordSink) -> Reader:
    """The reader for the format that the content tells. Raises NotACapture."""
    head = source.peek(4)
    reader: Reader
    if says_pcap(head):
        reader = PcapReader(stats, sink)
    elif says_pcapng(source.peek(12)):
        reader = PcapngReader(stats, sink)
    else:
        head = source.peek(HEAD)
        within = " (after decompression)" if compression else ""
        if source.trouble and not head:
            raise CaptureUnreadable(f"{stats.name}: {source.trouble}; nothing of it could be read")
        name = "standard input" if stats.name == STDIN else stats.name
        raise NotACapture(f"{name}: {describe(head)}{within}")
    stats.format += compression
    return reader


__all__ = ["CHUNK", "STDIN", "CaptureInput", "expand", "read_capture", "ring_of", "sha256_of"]
