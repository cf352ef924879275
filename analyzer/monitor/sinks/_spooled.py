"""What all sinks that go over the network have in common: the spool, the thread that sends, and the pauses between attempts.

    deliver --> spool (synced) --> sender's thread --> send --> removed from the spool once the receiver has it

An alert that was taken is never lost while the receiver is down, nor when mailtap is killed; it may come twice, and says so by the
finding's id. The order is kept. Where the disk of the spool is full, alerts wait in memory (``MAX_MEMORY``) and are sent from there.

After a failure the next attempt waits, twice as long each time, up to ``MAX_PAUSE_S``, and a bit less by chance, lest many monitors
come back to their receiver at the same moment; or as long as the receiver asked.

An alert that the receiver answers with a failure (``Retry`` with ``answered``) may be the reason for it. After ``ATTEMPTS`` of them the
next ones are tried in its place. Where none is taken, the receiver is what fails: everything stays as it is, in order, for as long as it
takes. Where one is taken and the first is refused all the same, it goes behind the others; ``ROUNDS`` such times, and ``GIVE_UP_S`` after the
first of them, it is given up: counted as lost, and said.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from analyzer.errors import OutputError
from analyzer.monitor.base import Alert, AlertSink
from analyzer.monitor.sinks import SinkOptions
from analyzer.monitor.sinks._spool import Spool, Spooled

#: Alerts that wait in memory while the spool cannot be written to.
MAX_MEMORY: Final = 1000
#: Alerts read from the spool at once.
MAX_BATCH: Final = 50
#: Alerts sent and not settled; beyond, the sender waits.
MAX_UNSETTLED: Final = 2000
#: Seconds at the stop in which what waits is still sent.
CLOSE_S: Final = 2.0
#: Seconds between two looks at a receiver that has not settled what it was sent; and between two looks at all.
SETTLE_POLL_S: Final = 0.1
POLL_S: Final = 1.0
#: Seconds that what was sent is waited for before a connection is made anew, with nothing more sent on the old one.
RENEW_S: Final = 5.0
#: Answered attempts after which others are tried in place of an alert; of one that has been put behind before, the first.
ATTEMPTS: Final = 4
#: The longest pause between two attempts at different alerts, of which one may be to blame.
PROBE_S: Final = 1.0
#: An alert is given up once it was put behind others that were taken so many times, and so many seconds after the first time.
ROUNDS: Final = 5
GIVE_UP_S: Final = 600.0
#: Seconds for which that is said.
SAID_S: Final = 60.0
#: Alerts put behind others that are remembered; the oldest are forgotten, and begin anew.
MAX_DEFERRED: Final = 10_000


class Retry(Exception):
    """It did not work now, and may work later; perhaps the receiver said when. ``answered``: it may be the alert's own fault."""

    def __init__(self, why: str, after_s: float | None = None, *, answered: bool = False) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.answered = answered


class Refused(Exception):
    """The receiver will never take this alert."""


def short_hash(text: str) -> str:
    """By which receivers are told apart without showing their address, which may hold a secret."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


class SpooledSink(AlertSink):
    """A sink with a spool and a thread that sends. What it sends, and how, is its subclass's: ``encode``, ``send``, ``disconnect``."""

    #: pauses after a failure, seconds
    FIRST_PAUSE_S: float = 0.25
    MAX_PAUSE_S: float = 30.0

    def __init__(self, name: str, spool_name: str, options: SinkOptions) -> None:
        super().__init__(name)
        self._spool = Spool(options.spool, spool_name, options.spool_bytes)
        self._memory: deque[Spooled] = deque()
        #: held while an alert is sent from memory, so that it is not put into the spool meanwhile
        self._sending_memory = threading.Lock()
        self._spool_trouble = ""
        self._send_trouble = ""
        self._showing = threading.Lock()
        #: the last alert of the spool that was sent
        self._sent = 0
        self._failures = 0
        self._not_before = 0.0
        #: the pause is the receiver's wish
        self._asked = False
        #: the oldest alert where it was answered with a failure, how often, and whether another was taken since
        self._suspect = 0
        self._attempts = 0
        #: the same of the first in memory
        self._memory_attempts = 0
        self._vouched = False
        #: the last one tried in place of the suspect; 0 while that is tried itself
        self._probed = 0
        #: alerts put behind others: number -> (times, when first)
        self._deferred: dict[int, tuple[int, float]] = {}
        #: what is said of an alert given up while others are taken, and until when
        self._given_up = ""
        self._given_up_until = 0.0
        self._wake = threading.Event()
        self._renew = False
        #: until when it waits for what was sent; 0 while it does not
        self._renew_by = 0.0
        self._stop_at: float | None = None
        #: the sink is closed, and the sender has come to its end: the later of the two closes the spool
        self._ending = threading.Lock()
        self._abandoned = False
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def spool_path(self) -> Path:
        """The file of the spool."""
        return self._spool.path

    @property
    def waiting(self) -> int:
        # Counted when asked: two threads change it, and a number kept aside by one would stand where the other knows better.
        return self._spool.waiting + len(self._memory)

    # -- for the subclass --------------------------------------------------------------------------------------------------------

    def encode(self, alert: Alert) -> bytes:
        """What is kept in the spool and given to ``send``."""
        raise OutputError(f"{self.name}: this sink cannot write alerts")

    def send(self, item: Spooled) -> None:
        """Send one alert.

        Raises:
            Retry: not now.
            Refused: never.
        """

    def settled(self) -> int:
        """The number of the last alert that the receiver has for certain.

        Raises:
            Retry: the connection is gone; what is not settled has to be sent again.
        """
        return self._sent

    def unsettled(self) -> int:
        """How many alerts were sent that are not settled."""
        return 0

    def disconnect(self) -> None:
        """Let go of the connection; nothing that was sent on it counts as unsettled any more."""

    def renew(self) -> None:
        """Read anew what may have changed: secrets, certificates.

        Raises:
            OutputError: it cannot be read; nothing is sent until it can.
        """

    # -- the sink's thread -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.renew()
        self._spool.open()
        self._spool_trouble = self._spool.damage
        self._show_trouble()
        self._thread = threading.Thread(target=self._run, name=f"sender to {self.name}", daemon=True)
        self._thread.start()

    def deliver(self, alerts: list[Alert]) -> None:
        items = [(alert.finding_id, self.encode(alert)) for alert in alerts]
        # While some wait in memory, all that come later wait behind them.
        if self._memory or not self._keep(items):
            self._memory.extend([Spooled(0, alert_id, body) for alert_id, body in items])
            self._bound_memory()
        if self._probed and not self._asked:
            # The pause is for those that were tried; this one is not among them.
            self._not_before = min(self._not_before, time.monotonic())
        self._wake.set()

    def idle(self) -> None:
        if self._given_up:
            self._show_trouble()
        if self._memory and self._sending_memory.acquire(blocking=False):
            try:
                if self._keep([(item.alert_id, item.body) for item in self._memory]):
                    self._memory.clear()
            finally:
                self._sending_memory.release()
            self._wake.set()

    def reopen(self) -> None:
        self._renew = True
        self._wake.set()

    def close(self) -> None:
        self.idle()
        self._stop_at = time.monotonic() + CLOSE_S
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S + 0.5)
            if self._thread.is_alive():
                # It waits for the network. It reads nothing more and writes nothing more once its attempt is over.
                self.cut()
                self._thread.join(self.TIMEOUT_S - CLOSE_S - 1.0)
        if self._memory:
            self.lose(len(self._memory))
            self._memory.clear()
        # Where the sender still waits for the network, it closes the spool itself at its end.
        with self._ending:
            self._abandoned = True
            if self._thread is None or self._ended:
                self._spool.close()

    def cut(self) -> None:
        """End an attempt that is under way, from another thread."""

    def _keep(self, items: list[tuple[str, bytes]]) -> bool:
        """Write alerts to the spool; False where that does not work."""
        try:
            dropped = self._spool.add(items)
        except OutputError as error:
            self._spool_trouble = f"{error}; they wait in memory"
            self._show_trouble()
            return False
        if dropped:
            self.lose(dropped)
            self._spool_trouble = f"the spool is full ({self._spool.max_bytes:,} octets): the oldest alerts are dropped"
        else:
            self._spool_trouble = ""
        self._show_trouble()
        return True

    def _bound_memory(self) -> None:
        while len(self._memory) > MAX_MEMORY:
            try:
                self._memory.popleft()
            except IndexError:
                break  # the sender was quicker
            self.lose(1)

    def _show_trouble(self) -> None:
        # Two threads do this: the one that knows less must not have the last word.
        with self._showing:
            if self._given_up and time.monotonic() >= self._given_up_until:
                self._given_up = ""
            said = (self._send_trouble, self._given_up, self._spool_trouble)
            self.trouble = "; ".join([text for text in said if text])

    # -- the sender's thread; counts last, so that who sees a number sees what belongs to it -------------------------------------

    def _run(self) -> None:
        try:
            self._send_all()
        finally:
            with self._ending:
                self._ended = True
                if self._abandoned:
                    self._spool.close()

    def _send_all(self) -> None:
        while True:
            self._wake.clear()
            pause = self._not_before - time.monotonic()
            if self._stop_at is not None and (pause > 0 or self._finished()):
                break
            if pause > 0:
                # New alerts do not end a pause, the stop does.
                self._wake.wait(min(pause, POLL_S))
                continue
            try:
                busy = self._turn()
            except Retry as error:
                self._failed(str(error), error.after_s, probing=error.answered and self._more_to_try())
                continue
            except OutputError as error:
                self._failed(str(error), None)
                continue
            except Exception as error:  # noqa: BLE001 - a fault must not end the sending
                self._failed(
                    f"a fault of mailtap in this sink ({type(error).__name__}: {error}); please report it", None
                )
                continue
            if not busy:
                self._wake.wait(SETTLE_POLL_S if self.unsettled() or self._stop_at is not None else POLL_S)
        fault = self._let_go()
        if fault:
            self._send_trouble = f"the last one was sent{fault}"
            self._show_trouble()

    def _let_go(self) -> str:
        """Disconnect; words for people about what went wrong with that."""
        try:
            self.disconnect()
        except Exception as error:  # noqa: BLE001 - the connection is of no use any more, whatever its end looks like
            return f"; the connection could not be ended in good order ({type(error).__name__}: {error})"
        return ""

    def _finished(self) -> bool:
        """Whether the stop need not wait any longer."""
        if self._stop_at is None:
            return False
        if time.monotonic() >= self._stop_at:
            return True
        return not self._memory and not self.unsettled() and not self._spool.waiting

    def _turn(self) -> bool:
        """Settle what was sent, send what waits; whether there may be more."""
        self._settle()
        if not self._renewed() or self.unsettled() >= MAX_UNSETTLED:
            return False
        if self._probed:
            return self._probe()
        try:
            items = self._spool.first(MAX_BATCH, self._sent)
        except OutputError:
            if not self._memory:
                raise
            items = []
        # What came after the wish to renew is sent after it.
        if not self._renewed():
            return False
        for item in items:
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                return False
            try:
                self.send(item)
            except Refused as error:
                self._give_up(item, str(error))
            except Retry as error:
                if not error.answered:
                    raise
                if not self._blame(item, error):
                    raise
                continue
            else:
                self._went_well()
            self._sent = item.number
            self._settle()
        return bool(items) or self._send_from_memory()

    def _renewed(self) -> bool:
        """Renew where that is wished. False while what was sent before is to be settled first: nothing more is sent until then."""
        if not self._renew:
            return True
        if self.unsettled():
            now = time.monotonic()
            if not self._renew_by:
                self._renew_by = now + RENEW_S
            if now < self._renew_by:
                return False
            # The receiver takes its time, or is what is to be connected to anew: all of it is sent again.
            self._sent = 0
        self._renew_by = 0.0
        self.disconnect()
        self._renew = False  # before: who wishes it meanwhile has changed something again
        try:
            self.renew()
        except BaseException:
            self._renew = True
            raise
        return True

    def _probe(self) -> bool:
        """Try the next alert in place of the suspect; when there is none, the suspect comes again."""
        for item in self._spool.first(1, self._probed):
            if not self._renewed():
                return False
            self._probed = item.number
            try:
                self.send(item)
            except Refused as error:
                self._give_up(item, str(error))
            else:
                self._deferred.pop(item.number, None)
                self._went_well()
                self.delivered += self._spool.remove(item.number, item.number)
                self._vouched = True
                self._probed = 0
            return True
        self._probed = 0
        if self._send_from_memory():
            self._vouched = True
        return True

    def _more_to_try(self) -> bool:
        """Whether one was tried in place of the suspect, and another waits that was not."""
        if self._probed in {0, self._suspect}:
            return False
        try:
            return bool(self._spool.first(1, self._probed))
        except OutputError:
            return False  # the next turn says what is wrong

    def _blame(self, item: Spooled, error: Retry) -> bool:
        """The oldest alert was answered with a failure. True where it is out of the way, because it alone is to blame."""
        if item.number != self._suspect:
            self._suspect, self._attempts, self._vouched = item.number, 0, False
        self._attempts += 1
        times, first = self._deferred.get(item.number, (0, time.monotonic()))
        if self._attempts < ATTEMPTS and not times:
            return False
        if not self._vouched:
            self._probed = item.number
            return False
        self._suspect = 0
        self._deferred.pop(item.number, None)
        if times + 1 >= ROUNDS and time.monotonic() - first >= GIVE_UP_S:
            self._given_up = (
                f"{error} to one alert {times + 1} times, and took others: it is given up, and counted as lost"
            )
            self._given_up_until = time.monotonic() + SAID_S
            self._give_up(item, "")
            return True
        number = self._spool.defer(item.number)
        if number:
            self._deferred[number] = (times + 1, first)
            if len(self._deferred) > MAX_DEFERRED:
                del self._deferred[next(iter(self._deferred))]
        return True

    def _send_from_memory(self) -> bool:
        if not self._memory:
            return False
        with self._sending_memory:
            try:
                item = self._memory[0]
            except IndexError:
                return False
            if not self._renewed():
                return False
            try:
                self.send(item)
            except Refused as error:
                self._send_trouble = str(error)
                self._show_trouble()
                self._out_of_memory(item)
                self.lose(1)
            except Retry as error:
                self._memory_attempts += error.answered
                if self._memory_attempts >= ATTEMPTS and self._memory and self._memory[0] is item:
                    self._memory.rotate(-1)
                    self._memory_attempts = 0
                raise
            else:
                self._memory_attempts = 0
                self._went_well()
                self._out_of_memory(item)
                self.delivered += 1
        return True

    def _out_of_memory(self, item: Spooled) -> None:
        if self._memory and self._memory[0] is item:
            self._memory.popleft()

    def _settle(self) -> None:
        number = self.settled()
        if number:
            self.delivered += self._spool.remove(number)

    def _give_up(self, item: Spooled, why: str) -> None:
        self._send_trouble = why
        self._show_trouble()
        self.lose(self._spool.remove(item.number, item.number))

    def _went_well(self) -> None:
        self._failures = 0
        if self._send_trouble:
            self._send_trouble = ""
            self._show_trouble()

    def _failed(self, why: str, after_s: float | None, *, probing: bool = False) -> None:
        """Try again later, from the oldest alert that is not settled; soon where the next one may fare better."""
        why += self._let_go()
        self._sent = 0
        pause = min(self.MAX_PAUSE_S, self.FIRST_PAUSE_S * 2.0 ** min(self._failures, 20))
        if probing:
            pause = min(pause, PROBE_S)
        pause *= random.uniform(0.75, 1.0)  # noqa: S311 - to spread, not to hide
        self._failures += 1
        self._asked = after_s is not None
        self._not_before = time.monotonic() + (pause if after_s is None else max(pause, after_s))
        self._send_trouble = f"{why}; alerts wait and are tried again"
        self._show_trouble()
