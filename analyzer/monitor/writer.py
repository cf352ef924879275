"""The writer: a thread that brings batches into the store, so that the loop that reads packets never waits for a disk or a server.

Batches wait in a queue, bounded by rows and by octets. They are committed as they come, several times a second at most, many in one
transaction where many wait. When the database refuses (disk full, locked, server restarted, connection lost), everything is kept and
tried again, sooner at first, every few seconds then; beyond the bounds the oldest goes, counted in ``lost``. A record that the database
will never take is left out, counted too, and does not keep the others waiting. Retention goes on between two commits, a slice at a time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from analyzer.errors import MailtapError
from analyzer.monitor.store_place import said_by

from sqlalchemy import exc  # isort: skip - after the line that says where it is missing

from analyzer.monitor.store_retention import Retention
from analyzer.monitor.store_rows import BatchRows

if TYPE_CHECKING:
    from analyzer.monitor.batch import Batch
    from analyzer.monitor.store import Store

#: Rows (sessions, findings, captures) that wait at most, and octets of memory that they take.
MAX_WAITING: Final = 100_000
MAX_OCTETS: Final = 256 << 20
#: A part of either that may be taken before those who can wait should: one turn of the watch may bring most of what is left.
BEHIND_SHARE: Final = 8
#: Rows in one transaction, more or less.
ROWS_A_COMMIT: Final = 2000
#: Seconds without any progress after which nobody waits any more: a store that somebody holds, or whose disk hangs, says nothing of it.
STUCK_S: Final = 2.0
#: Seconds of that after which it is said.
SILENT_S: Final = 10.0
#: Seconds between the beginnings of two commits; a commit waits for no more than that.
COMMIT_S: Final = 0.25
#: Seconds before a failed commit is tried again: at first, and at most.
RETRY_S: Final = 0.25
MAX_RETRY_S: Final = 4.0
#: Sentences about single records that are kept.
MAX_FAULTS: Final = 20
#: Seconds between two rounds of retention, from one that failed to the next, and between two slices of one, for others who want to write.
PRUNE_S: Final = 60.0
PRUNE_AGAIN_S: Final = 5.0
BETWEEN_S: Final = 0.005

#: What a database says when the values are to blame, and not its state: trying again would not help.
_VALUES: Final = (exc.DataError, exc.IntegrityError, exc.StatementError, ValueError, TypeError, OverflowError)
_STATE: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)


class _Waiting:
    """A batch in the queue."""

    __slots__ = ("batch", "dropped", "rows", "size")

    def __init__(self, batch: Batch) -> None:
        self.batch: Batch | None = batch
        #: counted as lost
        self.dropped = False
        #: its rows, once rendered
        self.rows: BatchRows | None = None
        self.size = batch.size()

    @property
    def octets(self) -> int:
        return 0 if self.rows is None else self.rows.octets

    @property
    def left_out(self) -> int:
        """Records that no rows could be made of; they are counted as lost already."""
        return 0 if self.rows is None else self.rows.left_out


class StoreWriter:
    """Writes batches to a store from a thread of its own. ``keep_ns`` and ``max_bytes`` are the retention's limits, None for none."""

    def __init__(self, store: Store, *, keep_ns: int | None = None, max_bytes: int | None = None) -> None:
        self.store = store
        self.keep_ns = keep_ns
        self.max_bytes = max_bytes
        #: rows committed, and rows given up
        self.written: int = 0
        self.lost: int = 0
        #: sessions removed by retention
        self.pruned: int = 0
        #: sentences about single records that could not be stored; the first ones
        self.faults: list[str] = []
        #: why nothing can be written now; empty when all is well
        self._failing: str = ""
        #: it can not because there is no room
        self._is_full: bool = False
        self._retention = Retention(store)
        #: the round that is going on
        self._round: Generator[None] | None = None
        self._prune_at = time.monotonic() + min(5.0, PRUNE_S)
        self._queue: deque[_Waiting] = deque()
        #: those of the queue that are not rendered yet
        self._fresh: deque[_Waiting] = deque()
        self._rows = 0
        self._octets = 0
        #: batches taken in, and batches done with, written or lost
        self._submitted = 0
        self._done = 0
        #: batches at the head of the queue that are being written
        self._busy = 0
        #: when rows were made or committed last, or there began to be something to do (monotonic)
        self._moved_at = time.monotonic()
        self._urgent = 0
        self._closing = False
        self._stopped = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="mailtap-store", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """What is wrong, for people; empty when all is well. The same words as long as the same is wrong."""
        return "; ".join(one for one in (self.rows_trouble, self.retention_trouble) if one)

    @property
    def retention_trouble(self) -> str:
        """The part of it that is about what is too old or too much."""
        return self._retention.trouble

    @property
    def rows_trouble(self) -> str:
        """The part of it that keeps rows from the store."""
        with self._change:
            silent = bool(self._queue) and time.monotonic() - self._moved_at >= SILENT_S
            failing = self._failing
        if silent and not failing:
            failing = f"the store {self.store.name} takes nothing, and says nothing (held by another program, or its disk hangs?); rows wait in memory"
        return failing

    @property
    def waiting(self) -> int:
        """Rows that wait to be written; after :meth:`close`, that waited when it gave them up."""
        with self._change:
            return self._rows

    @property
    def behind(self) -> bool:
        """Whether much waits, and rows are being written: who can wait should. Nobody need wait for what takes nothing at all.

        A store takes nothing where it says so, and where nothing has moved for ``STUCK_S``.
        """
        with self._change:
            much = self._rows > MAX_WAITING // BEHIND_SHARE or self._octets > MAX_OCTETS // BEHIND_SHARE
            return much and not self._failing and time.monotonic() - self._moved_at < STUCK_S

    def submit(self, batch: Batch) -> None:
        """Take a batch in; comes back at once. Its records must not change any more."""
        one = _Waiting(batch)
        with self._change:
            if self._closing:
                self.lost += one.size
                return
            if not self._queue:
                self._moved_at = time.monotonic()
            self._queue.append(one)
            self._fresh.append(one)
            self._rows += one.size
            self._submitted += 1
            self._bound()
            self._change.notify_all()

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything submitted so far is committed. False where it is not in time, or some of it was lost."""
        deadline = time.monotonic() + timeout
        with self._change:
            wanted = self._submitted
            lost = self.lost
            self._urgent += 1
            self._change.notify_all()
            while self._done < wanted:
                left = deadline - time.monotonic()
                if left <= 0 or self._stopped:
                    break
                self._change.wait(left)
            self._urgent -= 1
            return self._done >= wanted and self.lost == lost

    def close(self, timeout: float = 10.0) -> bool:
        """Write what waits, and stop. False where not everything was written in time; what is left is counted as lost.

        The store itself stays open. A commit that is under way for longer than that may still succeed; its rows count as written then.
        """
        lost = self.lost
        self.flush(timeout)
        with self._change:
            self._closing = True
            self._change.notify_all()
        self._thread.join(max(0.1, timeout / 2))
        with self._change:
            for one in self._queue:
                if not one.dropped:
                    one.dropped = True
                    self.lost += one.size - one.left_out
            # What is being written stays until that is over, one way or the other.
            while len(self._queue) > self._busy:
                self._queue.pop()
            self._fresh.clear()
            return self.lost == lost

    # -- the thread ------------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        retry = 0.0
        last = 0.0
        while True:
            with self._change:
                self._pause(last, retry)
                if self._closing:
                    self._end_round()
                    self._stopped = True
                    self._change.notify_all()
                    return
            last = time.monotonic()
            try:
                self._render()
                if not self.store.prepared:
                    self.store.prepare()
                self._write_some()
            except Exception as error:  # noqa: BLE001 - whatever the database does, the thread lives on
                retry = min(MAX_RETRY_S, retry * 2) if retry else RETRY_S
                self._failed(error)
            else:
                retry = 0.0
                self._take_again()
            if self._may_prune():
                self._prune()

    def _take_again(self) -> None:
        """Rows are taken, again perhaps: what retention could not do for the same reason it need not wait to do."""
        if self._failing and self._retention.trouble and self._round is None:
            self._prune_at = min(self._prune_at, time.monotonic())
        self._failing, self._is_full = "", False

    def _may_prune(self) -> bool:
        """Whether retention can do anything: while nothing can be written, only where there is no room."""
        return not self._failing or self._is_full

    def _pause(self, last: float, retry: float) -> None:
        """Wait until there is something to do: rows, after a failure some time, or retention."""
        going_on = self._round is not None and self._may_prune()
        if going_on and not self._closing:
            self._change.wait(BETWEEN_S)
            return
        while not self._closing:
            now = time.monotonic()
            due = self._prune_at if self._may_prune() else last + (retry or MAX_RETRY_S)
            if not self.store.prepared:
                # A server that was not there at the start is looked for whether there is anything to write or not.
                due = last + retry
            if self._queue:
                wait = retry or (0.0 if self._urgent or self._rows >= ROWS_A_COMMIT else COMMIT_S)
                if retry and self._urgent:
                    wait = min(wait, COMMIT_S)
                due = min(due, last + wait)
            if now >= due:
                return
            self._change.wait(due - now)

    def _render(self) -> None:
        """Make rows of what has come. They take less memory than records, and their size is known."""
        while True:
            with self._change:
                if not self._fresh:
                    return
                one = self._fresh[0]
            assert one.batch is not None
            rows = self.store.render(one.batch)
            with self._change:
                if one.dropped:
                    continue
                self._fresh.popleft()
                one.rows, one.batch = rows, None
                self.lost += rows.left_out
                self.faults.extend(rows.faults[: max(0, MAX_FAULTS - len(self.faults))])
                self._octets += rows.octets
                self._moved_at = time.monotonic()
                self._bound()

    def _write_some(self) -> None:
        """Write until the queue is empty, in transactions of bounded size."""
        while True:
            with self._change:
                group: list[_Waiting] = []
                size = 0
                for one in self._queue:
                    if one.rows is None or (group and size + one.size > ROWS_A_COMMIT):
                        break
                    group.append(one)
                    size += one.size
                self._busy = len(group)
            if not group:
                return
            try:
                try:
                    self._commit(group)
                except _VALUES as error:
                    if isinstance(error, _STATE) or _is_about_state(error):
                        raise
                    self._commit_singly(group)
            finally:
                with self._change:
                    self._busy = 0
                    # What came meanwhile may have been too much; what was being written had to stay until now.
                    self._bound()

    def _commit(self, group: list[_Waiting]) -> None:
        rows = group[0].rows
        assert rows is not None
        if len(group) > 1:
            merged = BatchRows()
            for one in group:
                assert one.rows is not None
                merged.add(one.rows)
            rows = merged
        if self.store.place.vanished():
            self.store.reconnect()
        self.store.write_rows(rows)
        self._finish(group)

    def _commit_singly(self, group: list[_Waiting]) -> None:
        """One of them holds what the database will not take: find it, and leave it out."""
        for one in group:
            try:
                self._commit([one])
            except _VALUES as error:
                if isinstance(error, _STATE) or _is_about_state(error):
                    raise
                self._commit_parts(one)

    def _commit_parts(self, one: _Waiting) -> None:
        """The same within a batch. Of a session that is refused its own row may still do."""
        assert one.rows is not None
        refused = 0
        for what, part in one.rows.parts():
            try:
                self.store.write_rows(part)
            except _VALUES as error:
                if isinstance(error, _STATE) or _is_about_state(error):
                    raise
                said = said_by(error)
                kept = self._commit_stub(part)
                refused += 0 if kept else 1
                how = "only its own row is stored" if kept else "it is left out"
                if len(self.faults) < MAX_FAULTS:
                    self.faults.append(f"{what}: {self.store.name} refused it ({said}); {how}")
        self._finish([one], refused=refused)

    def _commit_stub(self, part: BatchRows) -> bool:
        stub = part.stub()
        if stub is None:
            return False
        try:
            self.store.write_rows(stub)
        except _VALUES as error:
            if isinstance(error, _STATE) or _is_about_state(error):
                raise
            return False
        return True

    def _finish(self, group: list[_Waiting], *, refused: int = 0) -> None:
        """Groups that are done with: written but for so many rows. The store takes rows again, however many still wait."""
        with self._change:
            self._moved_at = time.monotonic()
            self._take_again()
            for one in group:
                self._queue.popleft()
                self._busy -= 1
                self._done += 1
                self._rows -= one.size
                self._octets -= one.octets
                self.written += one.size - one.left_out
                if one.dropped:
                    # Given up at the close, and written after all.
                    self.lost -= one.size - one.left_out
            self.written -= refused
            self.lost += refused
            self._change.notify_all()

    def _bound(self) -> None:
        """Drop the oldest beyond the bounds; what is being written stays."""
        while (self._rows > MAX_WAITING or self._octets > MAX_OCTETS) and len(self._queue) > self._busy + 1:
            one = self._queue[self._busy]
            del self._queue[self._busy]
            one.dropped = True
            if one.rows is None:
                # Rendered in order: it is the first of them.
                self._fresh.remove(one)
            self._rows -= one.size
            self._octets -= one.octets
            self.lost += one.size - one.left_out
            self._done += 1

    def _prune(self) -> None:
        """One slice of retention, where one is due."""
        now = time.monotonic()
        if self._round is None:
            if now < self._prune_at:
                return
            self._prune_at = now + PRUNE_S
            if self.keep_ns is None and self.max_bytes is None:
                self._retention.trouble = ""
                return
            older = None if self.keep_ns is None else time.time_ns() - self.keep_ns
            self._round = self._retention.round(older, self.max_bytes)
        try:
            next(self._round)
        except StopIteration:
            self._round = None
            self._prune_at = now + PRUNE_S
        except Exception as error:  # noqa: BLE001 - it is tried again; what is to be written matters more
            self._end_round()
            self._prune_at = now + PRUNE_AGAIN_S
            said = str(error) if isinstance(error, MailtapError) else said_by(error)
            self._retention.trouble = f"what is too old or too much could not be removed ({said}); it is tried again"
        self.pruned = self._retention.removed

    def _end_round(self) -> None:
        """Give up the round that is going on; the next one comes in its time."""
        going_on, self._round = self._round, None
        self._prune_at = time.monotonic() + PRUNE_S
        if going_on is not None:
            going_on.close()

    def _failed(self, error: Exception) -> None:
        said = str(error) if isinstance(error, MailtapError) else said_by(error)
        advice = ""
        self._is_full = "full" in said or "No space" in said
        if self._is_full:
            advice = "; free some space, or let retention keep less"
            # The floor of free space is retention's business, and cannot wait for its turn.
            self._prune_at = min(self._prune_at, time.monotonic())
        elif "locked" in said or "lock timeout" in said:
            advice = "; another program holds it"
        self._failing = f"the store {self.store.name} cannot be written ({said}){advice}; rows wait in memory"
        if not self._is_full:
            self._end_round()
        try:
            self.store.reconnect()
        except (MailtapError, exc.SQLAlchemyError, sqlite3.Error, OSError):
            # It is tried again with the next commit; what is wrong has just been said.
            return


def _is_about_state(error: BaseException) -> bool:
    """Whether an error of a kind that is about values comes from the state of the database all the same."""
    return bool(getattr(error, "connection_invalidated", False)) or isinstance(error, exc.ProgrammingError)
