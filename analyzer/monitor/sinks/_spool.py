"""What a receiver has not taken yet, kept on disk: an alert is here, synced, before the first attempt to deliver it.

One SQLite file a receiver, in a folder for its user alone. SQLite because it is in the standard library and has what a spool needs and
is easily got wrong: one write and one sync for a batch (write-ahead log, ``synchronous=FULL``; measured at half a millisecond), torn
writes found after a power cut, a full disk as an error that leaves everything as it was, and a file that shrinks again. The queues on
top of it that exist (persist-queue and others) keep pickles, which must not be read from a file that others may write, and leave
syncing, order over restarts and a limit of size to their user.

Two connections: the sink's thread adds, and the sender's thread reads and removes. Removing is not synced: after a power cut an alert
may be delivered twice, never not at all. A lock on the folder's file keeps a second mailtap from delivering the same spool.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from analyzer.errors import OutputError, UsageError

#: Seconds that one thread waits for the other.
BUSY_S: Final = 5.0
#: Octets that the write-ahead log may keep.
WAL_OCTETS: Final = 4 << 20
#: What SQLite's own bookkeeping takes for each alert, about.
OVERHEAD: Final = 64

_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS alerts (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, body BLOB NOT NULL)"
)


class Spooled(NamedTuple):
    """An alert in the spool: its place in the order, its finding's id, and what is to be sent."""

    number: int
    alert_id: str
    body: bytes


class Spool:
    """The alerts that wait for one receiver, in order. ``add`` is for one thread, ``first`` and ``remove`` for another."""

    def __init__(self, folder: str | Path, name: str, max_bytes: int) -> None:
        self.folder = Path(folder)
        self.path = self.folder / f"{name}.db"
        self.max_bytes = max_bytes
        #: what was wrong with the file of an earlier run; empty when all is well
        self.damage = ""
        # Alerts and octets: found at the opening, changed by the thread that adds, and by the one that removes.
        self._found = self._added = self._removed = 0
        self._found_bytes = self._added_bytes = self._removed_bytes = 0
        self._lock = -1
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    @property
    def waiting(self) -> int:
        """How many alerts wait."""
        # Two threads count; one that is removed may be counted before it was counted as added.
        return max(0, self._found + self._added - self._removed)

    def open(self) -> None:
        """Open the spool, make it where there is none; a damaged file is put aside.

        Raises:
            UsageError: another mailtap uses it.
            OutputError: it cannot be made.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file()
            try:
                self._connect()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self._put_aside()
                self._connect()
        except OSError as error:
            self.close()
            raise OutputError(
                f"alerts cannot be kept in {self.folder} ({error.strerror}); name a folder that the user of the monitor may "
                "write to with --spool"
            ) from None
        except sqlite3.Error as error:
            self.close()
            raise OutputError(f"alerts cannot be kept in {self.path} ({error}); is its disk full?") from None

    def add(self, items: list[tuple[str, bytes]]) -> int:
        """Keep alerts: once this is back they survive a kill and a power cut. The number of oldest ones dropped to make room.

        Raises:
            OutputError: they are not kept: the disk is full, or fails.
        """
        if self._writer is None:
            raise OutputError(f"alerts are not kept: {self.path} is not open")
        writer = self._writer
        try:
            with self._transaction(writer):
                writer.executemany("INSERT INTO alerts (id, body) VALUES (?, ?)", items)
                added_bytes = sum([len(body) + OVERHEAD for _, body in items])
                dropped, dropped_bytes = self._make_room(writer, added_bytes)
        except sqlite3.Error as error:
            raise OutputError(f"alerts are not kept on disk: {self.path}: {error}") from None
        self._added += len(items) - dropped
        self._added_bytes += added_bytes - dropped_bytes
        return dropped

    def first(self, limit: int, after: int = 0) -> list[Spooled]:
        """The oldest alerts behind a number, in order.

        Raises:
            OutputError: the file cannot be read.
        """
        if self._reader is None:
            return []
        try:
            rows = self._reader.execute(
                "SELECT number, id, body FROM alerts WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
            )
            return [Spooled(int(number), str(alert_id), bytes(body)) for number, alert_id, body in rows]
        except sqlite3.Error as error:
            raise OutputError(f"alerts cannot be read from {self.path}: {error}") from None

    def remove(self, number: int, least: int = 0) -> int:
        """Forget the alerts from ``least`` up to a number: they were delivered, or given up. How many there were.

        Raises:
            OutputError: they cannot be removed, and will be delivered again.
        """
        reader = self._reader
        if reader is None:
            return 0
        try:
            with self._transaction(reader):
                (octets,) = reader.execute(
                    "SELECT coalesce(sum(length(body) + ?), 0) FROM alerts WHERE number BETWEEN ? AND ?",
                    (OVERHEAD, least, number),
                ).fetchone()
                removed = reader.execute("DELETE FROM alerts WHERE number BETWEEN ? AND ?", (least, number))
                count = removed.rowcount
        except sqlite3.Error as error:
            raise OutputError(f"delivered alerts cannot be removed from {self.path}: {error}") from None
        self._removed += count
        self._removed_bytes += octets
        return count

    def defer(self, number: int) -> int:
        """Move an alert behind all others; its new number, 0 where it is there no more.

        Raises:
            OutputError: it cannot be moved, and stays where it is.
        """
        reader = self._reader
        if reader is None:
            return 0
        try:
            with self._transaction(reader):
                moved = reader.execute(
                    "INSERT INTO alerts (id, body) SELECT id, body FROM alerts WHERE number = ?", (number,)
                )
                if moved.rowcount < 1:
                    return 0
                reader.execute("DELETE FROM alerts WHERE number = ?", (number,))
                return int(moved.lastrowid or 0)
        except sqlite3.Error as error:
            raise OutputError(f"alerts cannot be moved in {self.path}: {error}") from None

    def close(self) -> None:
        """Let go of the file; what is in it stays."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._reader = self._writer = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _lock_file(self) -> None:
        self._lock = os.open(_lock_of(self.path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = -1
            raise UsageError(
                f"{self.path} is the spool of another mailtap that runs; give this one a folder of its own with --spool"
            ) from None

    def _connect(self) -> None:
        # Made here, so that nobody else may read it; SQLite gives its log the same mode.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._writer = self._connection("FULL")
        self._writer.execute(_TABLE)
        if self._writer.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        self._found, self._found_bytes = self._writer.execute(
            "SELECT count(*), coalesce(sum(length(body) + ?), 0) FROM alerts", (OVERHEAD,)
        ).fetchone()
        self._reader = self._connection("NORMAL")

    def _connection(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum = FULL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_OCTETS}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _put_aside(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        aside = self.path.with_suffix(".damaged")
        self.path.replace(aside)
        for ending in ("-wal", "-shm"):
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        self.damage = f"the spool was damaged and is put aside as {aside}; what was in it is not delivered"

    @contextlib.contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended the transaction already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _make_room(self, writer: sqlite3.Connection, more: int) -> tuple[int, int]:
        """Drop the oldest alerts beyond the limit; how many, and their octets."""
        excess = self._found_bytes + self._added_bytes + more - self._removed_bytes - self.max_bytes
        if excess <= 0:
            return 0, 0
        last = octets = count = 0
        for number, size in writer.execute("SELECT number, length(body) + ? FROM alerts ORDER BY number", (OVERHEAD,)):
            if octets >= excess:
                break
            octets += size
            count += 1
            last = number
        writer.execute("DELETE FROM alerts WHERE number <= ?", (last,))
        return count, octets


def in_use(path: Path) -> bool:
    """Whether a mailtap has a spool open; so, too, where that cannot be known."""
    try:
        descriptor = os.open(_lock_of(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        # Shared, and let go of at once: two that look do not take each other for one that delivers.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")
