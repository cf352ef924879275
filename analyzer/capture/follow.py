"""Captures that grow: a file another program is writing, or a folder with the rotating ring of dumpcap or tcpdump.

**A file** is read from its beginning, then as it grows. One that is not there yet is waited for. It may be replaced by another of the same
name (log rotation), begun anew in place, or vanish: what is left of the old one is read through the descriptor that is still open, and
the next one is read from its own beginning.

**A folder** is read at any depth, as ``analyze`` reads one: the files of a ring in the order of their first packets, and when the present
one is at its end and the next one has appeared, that. Several rings, and files that belong to none, are followed side by side; those
that are there at the start are read one after another. Files that wait for their turn are held open, so that a ring that throws its
oldest away loses nothing while mailtap is behind, up to ``MAX_OPEN`` files; so are those that were replaced under the one name. ``look``
finds them while nothing is to be read.

**Loss** is counted and told: a file begun anew before it was read to its end, files of a dumpcap ring whose numbers were never seen,
files that grew again after their turn.

Compressed files that grow are read as far as the compressor has flushed them (see ``inlet``). A ring whose files are compressed once
they are full (``tcpdump -z gzip``) is read while they are plain; the compressed copy is told by its name, and left alone.

Frames count from 1 in each file, as offline; ``file`` names the one that the latest records came from. The format is told by content.

The module is long because files can go wrong in so many ways, and none is of use without the others.
"""
# ruff: noqa: PTH112, PTH116, PTH118
# os.path, as in ``files``.

from __future__ import annotations

import os
import re
import stat
import time
from typing import Final

from analyzer.capture.base import RecordSink
from analyzer.capture.compressed import CHUNK
from analyzer.capture.files import ring_of
from analyzer.capture.inlet import Inlet, Note
from analyzer.capture.live import MAX_RECORDS_A_READ, LiveCounters, LiveSource
from analyzer.capture.pipe import MAX_CHUNKS_A_READ, count
from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture

#: How often a file is asked whether it is still the same, and a folder is looked through.
LOOK_S: Final = 0.2
#: Looks may take this part of the time,
LOOK_SHARE: Final = 0.05
#: unless the next one would be further away than this: one slow look must not blind us for long.
MAX_REST_S: Final = 3.0
#: Between two looks there is so many times what one takes in any case: whatever else is read meanwhile gets most of the time.
MIN_RESTS: Final = 4.0
#: Octets by which a file that was begun anew is told from the old one: they hold the time of its first packet.
HEAD: Final = 64
#: Octets looked at for the time of a file's first packet.
PROBE: Final = 65536
#: Files looked at in one folder.
MAX_FILES: Final = 100000
#: Rings, and files of none, followed at a time.
MAX_RINGS: Final = 1024
#: Files held open that wait for their turn, or do not grow; further ones are opened again when their time comes.
MAX_OPEN: Final = 128
#: Looks after which a file without a name that does not grow is let go of: about a minute.
MAX_GONE_LOOKS: Final = 300
#: Names of files that were read and are gone that are remembered.
MAX_VANISHED: Final = 4096

_COMPRESSED: Final = re.compile(r"\.(?:gz|zst|lz4|xz|bz2)$")
_NUMBERED: Final = re.compile(r"_(\d{5,})_\d{14}(?=\.|$)")
_DIGITS: Final = re.compile(r"(\d+)")


class Tail:
    """One file that is being read, or waits for its turn."""

    def __init__(self, path: str, status: os.stat_result, descriptor: int) -> None:
        self.path = path
        #: which file it is, whatever its name
        self.identity: tuple[int, int] = (status.st_dev, status.st_ino)
        self.inlet = Inlet(path, RecordSink())
        #: octets read
        self.position = 0
        #: nothing more to read for now
        self.at_end = False
        #: size when it was last looked at
        self.size = status.st_size
        self.mtime = status.st_mtime_ns
        #: its first octets
        self.head = b""
        #: time of its first packet, 0 where there is none yet
        self.first_ns = 0
        #: the name is gone, or is another file's
        self.gone = False
        #: it has had its turn, or will have none
        self.over = False
        #: it was begun anew in place: there is nothing left of what was to be read
        self.restarted = False
        #: looks at its folder since it was gone and gave nothing any more
        self.idle_looks = 0
        #: why it can be read no further
        self.failure = ""
        self._descriptor = descriptor

    @property
    def opened(self) -> bool:
        """Whether a descriptor is held."""
        return self._descriptor >= 0

    def look(self) -> None:
        """Fetch what is not known yet of the beginning."""
        if len(self.head) >= HEAD and self.first_ns:
            return
        if not self.reopen():
            return
        try:
            octets = os.pread(self._descriptor, PROBE, 0)
        except OSError as error:
            self.failure = error.strerror or str(error)
            return
        self.head = octets[:HEAD]
        probe = Inlet(self.path, RecordSink())
        probe.feed(octets)
        if probe.hopeless:
            probe.close()
        self.first_ns = probe.stats.first_ns
        if probe.trouble and not probe.recognised:
            self.failure = probe.trouble

    def is_another(self, status: os.stat_result) -> bool:
        """Whether the file was begun anew in place: it is shorter than it was, or begins differently. Notes its size otherwise."""
        if self.restarted or status.st_size < self.position or status.st_size < len(self.head):
            return True
        if status.st_mtime_ns == self.mtime and status.st_size == self.size:
            return False
        if not self.reopen():
            return True
        try:
            head = os.pread(self._descriptor, HEAD, 0)
        except OSError:
            return True
        if not head.startswith(self.head):
            return True
        self.head = head
        self.size = status.st_size
        self.mtime = status.st_mtime_ns
        return False

    def reopen(self) -> bool:
        """Have a descriptor again; False where the file cannot be opened, or is another by now."""
        if self._descriptor >= 0:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return False
        status = os.fstat(descriptor)
        if (status.st_dev, status.st_ino) != self.identity:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def park(self) -> None:
        """Give the descriptor back until it is needed again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def measure(self) -> int:
        """Octets that are there and were not read; its size is up to date then, where it is open."""
        if self._descriptor >= 0:
            try:
                self.size = os.fstat(self._descriptor).st_size
            except OSError as error:
                self.failure = error.strerror or str(error)
        return self.size - self.position

    def drain(self, sink: RecordSink, records: int) -> int:
        """Read to the end of what is there, or until about so many records have come."""
        inlet = self.inlet
        stats = inlet.stats
        before = stats.packets
        inlet.retarget(sink)
        self.at_end = False
        if not self.reopen():
            self.at_end = True
            return 0
        for number in range(MAX_CHUNKS_A_READ):
            if stats.packets - before >= records:
                break
            try:
                chunk = os.pread(self._descriptor, min(CHUNK, inlet.step), self.position)
                if chunk and number == 0:
                    # What came since the last look may be of another capture in the same file.
                    head = os.pread(self._descriptor, HEAD, 0)
                    self.restarted = not head.startswith(self.head)
                    self.head = self.head if self.restarted else head
            except OSError as error:
                self.failure = error.strerror or str(error)
                self.at_end = True
                break
            if not chunk or self.restarted:
                self.at_end = True
                break
            self.position += len(chunk)
            self.idle_looks = 0
            inlet.feed(chunk)
        return stats.packets - before

    def close(self) -> None:
        """It is over: what is unfinished at its end is counted."""
        self.inlet.close()
        self.park()


class FollowSource(LiveSource):
    """What growing files and folders have in common: counters of the files that are over, and sentences."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.kind = "follow"
        #: the file that the latest records came from
        self.file = ""
        #: files that were lost, or lost their end, before they were read
        self.lost_files = 0
        self._past = LiveCounters()
        self._note = Note()
        # When it was looked at last, how long that is enough, and time that the look has spent on opening files that are new: it is
        # spent once, so looks need not be rarer for it.
        self._looked = 0.0
        self._rest = LOOK_S
        self._meeting = 0.0

    def _look(self) -> None:
        """Look what has become of the file, or of the folder's files."""

    def _look_when_due(self) -> None:
        """Look, unless that was a moment ago; the rarer the longer it takes."""
        began = time.monotonic()
        if began - self._looked >= self._rest:
            self._meeting = 0.0
            self._look()
            self._looked = time.monotonic()
            self._rest = _rest_after(self._looked - began - self._meeting)

    def _begin(self, path: str) -> Tail | None:
        """Open a file; None, with a note, where that cannot be done."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note.say(f"{path} cannot be opened ({error.strerror})")
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            self._note.say(f"{path} is no regular file")
            return None
        tail = Tail(path, status, descriptor)
        tail.look()
        return tail

    def _end(self, tail: Tail) -> None:
        """A file is over."""
        if tail.over:
            return
        tail.over = True
        tail.close()
        count(self._past, tail.inlet)
        # What is remembered of it must not be its reader.
        tail.inlet = Inlet(tail.path, RecordSink())

    def _drain(self, tail: Tail, sink: RecordSink, records: int) -> int:
        damaged = tail.inlet.stats.damaged
        taken = tail.drain(sink, records)
        if taken:
            self.file = tail.path
        if tail.inlet.stats.damaged > damaged:
            warnings = tail.inlet.stats.warnings
            self._note.say(f"{tail.path}: {tail.inlet.trouble or (warnings[-1] if warnings else 'is damaged')}")
        return taken

    def _lose(self, tail: Tail, why: str) -> None:
        """What was not read of a file yet is lost."""
        unread = tail.size - tail.position
        if unread > 0:
            self.lost_files += 1
            self._past.damaged += 1
            self._past.skipped_bytes += unread
            self._note.say(f"{tail.path} {why}: {unread:,} octets were lost")
        else:
            self._note.say(f"{tail.path} {why}; all that was seen of it had been read")

    def _tails(self) -> list[Tail]:
        """The files being read."""
        return []

    def counters(self) -> LiveCounters:
        counters = LiveCounters()
        past = self._past
        counters.packets = past.packets
        counters.bytes = past.bytes
        counters.kernel_drops = past.kernel_drops
        counters.skipped_bytes = past.skipped_bytes
        counters.damaged = past.damaged
        counters.first_ns = past.first_ns
        counters.last_ns = past.last_ns
        counters.linktypes = list(past.linktypes)
        for tail in self._tails():
            count(counters, tail.inlet)
        return counters


class FileSource(FollowSource):
    """One growing file."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._tail: Tail | None = None
        # Those that had the name before and are still to be read, held open; the oldest first.
        self._older: list[Tail] = []

    def open(self) -> None:
        self._look()
        tail = self._tail
        if tail is None:
            if self._note.text():
                raise CaptureUnreadable(
                    f"{self._note.text()}; change its permissions, or run as a user who may read it"
                )
            return
        if tail.failure:
            self.close()
            raise NotACapture(f"{self.name}: {tail.failure}")

    def read(self, sink: RecordSink) -> int:
        taken = self._read_on(sink, MAX_RECORDS_A_READ)
        before = self._tail
        if before is not None and before.restarted:
            self._looked = 0.0
        self._look_when_due()
        if self._tail is not before:
            # What was written to the old one until it was replaced is still to be had.
            taken += self._read_on(sink, MAX_RECORDS_A_READ - taken)
        return taken

    def look(self) -> None:
        self._look_when_due()

    def _read_on(self, sink: RecordSink, records: int) -> int:
        """Read those that were replaced to their end, then the one of the name, until about so many records have come."""
        taken = 0
        while self._older:
            tail = self._older[0]
            taken += self._drain(tail, sink, records - taken)
            if not tail.at_end:
                return taken
            self._end(tail)
            self._older.pop(0)
        if self._tail is not None:
            taken += self._drain(self._tail, sink, records - taken)
        return taken

    def _put_behind(self, tail: Tail) -> None:
        """A file whose name is another's by now waits to be read to its end."""
        self._older.append(tail)
        if len(self._older) > MAX_OPEN:
            oldest = self._older.pop(0)
            oldest.measure()
            self._lose(oldest, "was replaced before it was read")
            self._end(oldest)

    def _look(self) -> None:
        """Is there a file of this name, and is it still the same?"""
        tail = self._tail
        self.trouble = ""
        try:
            status = os.stat(self.name)
        except FileNotFoundError:
            self.up = False
            self.trouble = "is not there yet" if tail is None else "has gone; waiting for a file of that name"
            return
        except OSError as error:
            self.up = False
            self.trouble = f"cannot be looked at ({error.strerror})"
            return
        if tail is not None and (status.st_dev, status.st_ino) == tail.identity and tail.is_another(status):
            self._lose(tail, "was begun anew")
            # In place: the old content is gone, there is nothing left to drain.
            self._end(tail)
            tail = None
            self._tail = None
        if tail is None or (status.st_dev, status.st_ino) != tail.identity:
            opened = self._begin(self.name)
            if opened is not None:
                if tail is not None:
                    self._put_behind(tail)
                self._tail = opened
        self.up = self._tail is not None
        if self._tail is not None and self._tail.inlet.trouble:
            self.trouble = self._tail.inlet.trouble
        elif self._tail is not None and self._tail.failure:
            self.trouble = f"cannot be read any further ({self._tail.failure})"
        if not self.trouble:
            self.trouble = self._note.text()

    def _tails(self) -> list[Tail]:
        return self._older if self._tail is None else [*self._older, self._tail]

    def close(self) -> None:
        for tail in self._tails():
            self._end(tail)
        self._older.clear()
        self._tail = None


class Ring:
    """Files that follow each other: one is read, the others wait."""

    def __init__(self) -> None:
        self.tail: Tail | None = None
        self.waiting: list[Tail] = []
        #: the number in the name of the file read last (dumpcap)
        self.number = -1
        #: numbers of files behind that one that were seen, and are counted as lost
        self.lost: set[int] = set()

    def order(self) -> tuple[bool, int]:
        """By which rings go: the time of the first packet still to be read."""
        tail = self.tail
        if tail is None:
            return (True, 0)
        return (tail.first_ns == 0, tail.first_ns)


class FolderSource(FollowSource):
    """A folder in which captures grow and rotate."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._rings: dict[str, Ring] = {}
        # Every file of the folder, those that are over and those that are no captures included.
        self._known: dict[tuple[int, int], Tail] = {}
        # Names of files that were read and are gone: a compressed copy of one is not read again.
        self._vanished: dict[str, None] = {}
        self._full = False
        self._missing = False
        # Descriptors held at the last look, and whether that is too many.
        self._held = 0
        self._crowded = False

    def open(self) -> None:
        try:
            os.scandir(self.name).close()
        except FileNotFoundError as error:
            raise CaptureNotFound(f"{self.name}: there is no such folder; check the spelling") from error
        except OSError as error:
            raise CaptureUnreadable(f"{self.name}: cannot be looked through ({error.strerror})") from error
        self._look_when_due()

    def read(self, sink: RecordSink) -> int:
        taken = 0
        self._look_when_due()
        for ring in sorted(self._rings.values(), key=Ring.order):
            while taken < MAX_RECORDS_A_READ and ring.tail is not None:
                tail = ring.tail
                if tail.opened or tail.position < tail.size:
                    taken += self._drain(tail, sink, MAX_RECORDS_A_READ - taken)
                if tail.restarted:
                    self._looked = 0.0  # look at once, in the next turn
                    break
                if self._crowded and tail.at_end and not tail.gone:
                    tail.park()
                # A file that waits was found before this one was drained, so its writer had left this one by then.
                if not tail.at_end or not ring.waiting:
                    break
                self._end(tail)
                self._next(ring)
            if taken >= MAX_RECORDS_A_READ:
                break
        self._tell()
        return taken

    def look(self) -> None:
        self._look_when_due()
        self._tell()

    def _next(self, ring: Ring) -> None:
        """The turn of the next file of a ring."""
        for tail in ring.waiting:
            tail.look()
        ring.waiting.sort(key=_turn)
        tail = ring.tail = ring.waiting.pop(0)
        if not tail.reopen():
            self._lose(tail, "vanished before it was read")
        elif self._held > MAX_OPEN:
            tail.park()
        number = _number(tail.path)
        if number >= 0:
            told = [one for one in ring.lost if one < number]
            ring.lost.difference_update(told)
            missed = number - ring.number - 1 - len(told)
            if ring.number >= 0 and 0 < missed < MAX_FILES:
                self.lost_files += missed
                self._past.damaged += missed
                gone = "1 file of the ring" if missed == 1 else f"{missed} files of the ring"
                was, seen = ("was", "it was") if missed == 1 else ("were", "they were")
                self._note.say(f"{gone}, before {tail.path}, {was} gone before {seen} seen")
            ring.number = number

    def _look(self) -> None:
        """Look through the folder: files that are new, begun anew, renamed, gone."""
        self._missing = not os.path.isdir(self.name)
        found = self._walk()
        paths = {path for path, _ in found}
        present: set[tuple[int, int]] = set()
        rings: set[str] = set()
        for path, status in found:
            identity = (status.st_dev, status.st_ino)
            if identity in present:
                continue  # another name of the same file
            present.add(identity)
            tail = self._known.get(identity)
            if tail is not None and tail.path != path and tail.path not in paths and not tail.is_another(status):
                tail.path = path
            self._meet_or_check(path, status, tail, rings)
        for identity in [identity for identity in self._known if identity not in present]:
            tail = self._known.pop(identity)
            tail.gone = True
            if tail.position > 0 and not _COMPRESSED.search(tail.path):
                self._vanished[tail.path] = None
                if len(self._vanished) > MAX_VANISHED:
                    del self._vanished[next(iter(self._vanished))]
        for key in rings:
            if self._rings[key].tail is None:
                self._next(self._rings[key])
        self._tidy()

    def _meet_or_check(self, path: str, status: os.stat_result, tail: Tail | None, rings: set[str]) -> None:
        """One file of the folder: new to us, or known."""
        if tail is None:
            self._meet(path, rings)
            return
        grown = status.st_size - tail.size
        if tail.is_another(status):
            gone = tail.path != path  # its place on the disk is another file's by now
            if not tail.over:
                self._lose(tail, "has gone" if gone else "was begun anew")
            self._forget(tail, gone)
            self._meet(path, rings)
        elif tail.failure and grown:
            self._forget(tail)
            self._meet(path, rings)
        elif tail.over and grown > 0 and not tail.failure:
            self._past.skipped_bytes += grown
            self._note.say(
                f"{path} grew again after the next one of its ring had been begun: {grown:,} octets were lost"
            )

    def _forget(self, tail: Tail, gone: bool = False) -> None:
        """Take a tail out of its ring."""
        self._known.pop(tail.identity, None)
        for ring in self._rings.values():
            if ring.tail is tail:
                ring.tail = None
            elif tail in ring.waiting:
                ring.waiting.remove(tail)
                number = _number(tail.path)
                if gone and number >= 0 and len(ring.lost) < MAX_VANISHED:
                    ring.lost.add(number)
        self._end(tail)

    def _meet(self, path: str, rings: set[str]) -> None:
        """A file that is new to us."""
        key = ring_of(path)
        if key not in self._rings and len(self._rings) >= MAX_RINGS:
            self._full = True
            return
        began = time.monotonic()
        tail = self._begin(path)
        self._meeting += time.monotonic() - began
        if tail is None:
            return
        self._known[tail.identity] = tail
        plain = _COMPRESSED.sub("", path)
        if plain != path and (plain in self._vanished or any(plain == one.path for one in self._known.values())):
            # The compressed copy of a file that was read, or is being read.
            tail.over = True
            tail.park()
        elif tail.failure:
            # No capture: looked at again when it changes.
            tail.over = True
            tail.park()
        else:
            self._rings.setdefault(key, Ring()).waiting.append(tail)
            rings.add(key)
            self._held += 1
            if self._held > MAX_OPEN:
                tail.park()

    def _walk(self) -> list[tuple[str, os.stat_result]]:
        """The regular files in the folder, at any depth, hidden ones left out."""
        found: list[tuple[str, os.stat_result]] = []
        for where, folders, files in os.walk(self.name):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if name.startswith("."):
                    continue
                path = os.path.join(where, name)
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # gone meanwhile
                if stat.S_ISREG(status.st_mode):
                    found.append((path, status))
                if len(found) >= MAX_FILES:
                    return found
        return found

    def _tidy(self) -> None:
        """Let go of rings whose files are gone, and of descriptors that are not needed now."""
        waiting: list[Tail] = []
        idle: list[Tail] = []
        for key in list(self._rings):
            ring = self._rings[key]
            tail = ring.tail
            if tail is not None and tail.at_end:
                if tail.gone and not ring.waiting and (not tail.opened or tail.measure() <= 0):
                    # Its writer may go on through its own descriptor, for as long as it likes: ours is kept a while.
                    tail.idle_looks += 1
                    if tail.idle_looks > MAX_GONE_LOOKS:
                        if tail.measure() > 0:
                            self._lose(tail, "vanished before it was read to its end")
                        self._end(tail)
                        ring.tail = None
                idle.append(tail)
            if ring.tail is None and not ring.waiting:
                del self._rings[key]
            waiting += ring.waiting
        self._crowded = len(waiting) + len(self._rings) > MAX_OPEN
        held = [tail for tail in waiting + idle if tail.opened]
        for tail in held[MAX_OPEN:]:
            tail.park()
        self._held = min(len(held), MAX_OPEN)

    def _tell(self) -> None:
        """What is odd right now."""
        self.up = bool(self._rings)
        if self._missing:
            self.trouble = "the folder has gone"
        elif self._full:
            self.trouble = f"more than {MAX_RINGS} rings are in this folder; the further ones are not read"
        else:
            self.trouble = self._note.text() or ("" if self.up else "there is no capture in this folder yet")

    def _tails(self) -> list[Tail]:
        return [tail for ring in self._rings.values() for tail in (ring.tail, *ring.waiting) if tail is not None]

    def close(self) -> None:
        for tail in self._tails():
            self._end(tail)
        self._rings.clear()
        self._known.clear()


def _rest_after(spent: float) -> float:
    """Seconds until the next look at a file or through a folder, after one that took so many."""
    return max(LOOK_S, min(spent / LOOK_SHARE, max(MAX_REST_S, MIN_RESTS * spent)))


def _number(path: str) -> int:
    """The number in the name of a file of dumpcap's, -1 for none."""
    found = _NUMBERED.search(path)
    return -1 if found is None else int(found.group(1))


def _turn(tail: Tail) -> tuple[bool, int, list[tuple[int, str]]]:
    """Files go by the time of their first packet, then by name; those without a packet yet are the newest."""
    parts = _DIGITS.split(tail.path)
    return (tail.first_ns == 0, tail.first_ns, [(int(part), "") if part.isdecimal() else (-1, part) for part in parts])
