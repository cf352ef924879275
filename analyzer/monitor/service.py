"""``mailtap monitor`` as a whole: opens everything in the right order, keeps it going, and ends it clean.

Order of the start: sources are opened (this may need rights), inherited descriptors closed, rights dropped; only then come the store,
the history from it, sinks, metrics, the screen. Order of the end: sources are read to their end and closed, open sessions judged, alerts
and rows delivered, then everything is closed. A second signal does not wait for that.

Over 500 lines, because this order is the module: each step is short, and stands where its turn comes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

from analyzer import __version__
from analyzer.capture.live import LiveSource
from analyzer.capture.live_open import make_live
from analyzer.errors import CaptureUnreadable, MailtapError, NotACapture, OutputError, UsageError
from analyzer.monitor import privileges
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.base import MonitorState
from analyzer.monitor.batch import Batch
from analyzer.monitor.config import MonitorSettings, load_settings, merged, reloaded
from analyzer.monitor.loop import PacketLoop
from analyzer.monitor.notify import Notifier
from analyzer.monitor.sealing import BoundedJudge, seal_session
from analyzer.monitor.sinks import left_behind, make_sinks
from analyzer.monitor.watch import Watch
from analyzer.places import is_there, status_of
from analyzer.report.wording import plural
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.records import Session

if TYPE_CHECKING:
    from analyzer.monitor.metrics import MetricsServer
    from analyzer.monitor.screen import Screen
    from analyzer.monitor.store import Store
    from analyzer.monitor.writer import StoreWriter

#: What rules that compare sessions are told of the past at the start: this far back, and so many sessions at most.
REMEMBERED_NS: Final = 24 * 3_600_000_000_000
MAX_REMEMBERED: Final = 20_000
#: Files of a followed folder that are tried before rights are dropped.
MAX_TRIED: Final = 100
#: Seconds between two writes of what the sources have counted.
CAPTURES_S: Final = 10.0
#: Seconds that the end may take: for alerts, and for the store.
ALERTS_END_S: Final = 8.0
STORE_END_S: Final = 15.0
#: The same trouble is said again on standard error after this time at the earliest.
TROUBLE_AGAIN_S: Final = 300.0
#: Sentences about faults that are said in one run.
MAX_FAULTS_TOLD: Final = 100


class Monitor:
    """One run of the monitor. Make it, :meth:`run` it once.

    ``configuration`` and ``command_line`` are what the settings were made of, for SIGHUP; ``say`` takes sentences for the user.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        *,
        configuration: Path | None = None,
        command_line: Mapping[str, object] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings
        self.state = MonitorState(__version__, settings.sensor, time.time_ns(), stores=bool(settings.store))
        self._configuration = configuration
        self._command_line = dict(command_line or {})
        self._say_to = say
        self._notifier = Notifier()
        self._end = contextlib.ExitStack()
        self._store: Store | None = None
        self._writer: StoreWriter | None = None
        self._dispatcher: AlertDispatcher | None = None
        self._screen: Screen | None = None
        self._loop: PacketLoop | None = None
        self._reload_wanted = False
        self._signals_seen = 0
        self._had_terminal = _has_terminal()
        self._loading: threading.Thread | None = None
        self._loaded: list[Session] | None = None
        self._known: set[str] = set()
        self._troubles: dict[str, float] = {}
        self._faults_told: set[str] = set()
        self._captures_due = 0.0
        self._stop_at: float | None = None

    # -- start -------------------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Watch until told to stop; 0.

        Raises:
            CaptureError: a source cannot be opened, or all have come to their end and gave nothing that could be read.
            OutputError: the store or a file of alerts cannot be written.
            UsageError: the settings make no sense here.
        """
        with self._end:
            self._end.enter_context(self._signals())
            self._look_at_places()
            sources = self._open_sources()
            self._leave_rights_behind()
            watch = self._open_rest()
            loop = PacketLoop(
                sources, watch, self.state, ports=self.settings.ports, every_second=self._second, behind=self._behind
            )
            self._loop = loop
            if self._signals_seen:
                loop.stop()
            if self._screen is not None:
                self._screen.start()
            self._announce(sources)
            if self.settings.duration_s:
                self._stop_at = time.monotonic() + self.settings.duration_s
            self.state.ready = True
            try:
                loop.run(self._time_is_up)
            finally:
                self.state.ready = False
                self._notifier.stopping("ending open sessions")
                self._take_past(wait=True)
                loop.finish()
                self._deliver_the_rest()
        self._say_what_was()
        _refuse_nothing(sources)
        return 0

    def _time_is_up(self) -> bool:
        if self._screen is not None and self._screen.quit:
            return True
        return self._stop_at is not None and time.monotonic() >= self._stop_at

    def _look_at_places(self) -> None:
        """Refuse what can be neither followed nor written: a name too long, a link in a circle, a folder that bars the way."""
        for name in self.settings.follow:
            if name != "-":
                status_of(name, CaptureUnreadable)
        for path in self.settings.written_paths():
            status_of(path, OutputError)
        store = self.settings.store_path()
        if store is not None and status_of(store.parent, OutputError) is None:
            raise UsageError(f"--store {store}: there is no folder {store.parent}; make it first")

    def _open_sources(self) -> list[LiveSource]:
        settings = self.settings
        sources = [
            make_live(
                name, kind=settings.source, filter=settings.filter, promiscuous=settings.promiscuous,
                snaplen=settings.snaplen, ring_bytes=settings.ring_bytes,
            )
            for name in settings.interface
        ]  # fmt: skip
        sources.extend(make_live(name, kind="pipe" if name == "-" else "follow") for name in settings.follow)
        for source in sources:
            source.open()
            self._end.callback(source.close)
        return sources

    def _leave_rights_behind(self) -> None:
        settings = self.settings
        privileges.close_inherited([self._notifier.fileno()])
        paths = settings.written_paths()
        store = settings.store_path()
        writable = [path for path in paths if path != store]
        if store is not None:
            writable.extend(privileges.sqlite_files(store))
        user = privileges.choose_user(settings.user, writes_files=bool(writable))
        if user is not None or writable:
            readable = _there(settings.ca_file, settings.webhook_ca_file)
            captures = _there(*settings.follow)
            # What is in a followed folder now stands for what will be.
            captures += [path for folder in captures if folder.is_dir() for path in _captures_in(folder)]
            privileges.check(
                user,
                writable,
                [*privileges.installed(), *readable],
                secret=_there(settings.webhook_secret_file),
                captures=captures,
            )
        if user is not None and self._configuration is not None:
            try:
                privileges.check(user, (), (), secret=[self._configuration])
            except UsageError as error:
                self._say(f"warning: SIGHUP will not be able to read the configuration: {error}")
        done = privileges.drop(user)
        if user is not None:
            self._say(done)

    def _open_rest(self) -> Watch:
        settings = self.settings
        state = self.state
        trust = TrustStore(settings.ca_file) if settings.ca_file else TrustStore()
        if settings.ca_file:
            trust.load()
        known: dict[str, None] = {}
        since_ns = time.time_ns() - REMEMBERED_NS
        if settings.store:
            from analyzer.monitor.store import open_store
            from analyzer.monitor.writer import StoreWriter

            store = open_store(
                settings.store, sensor=settings.sensor, key_file=settings.store_key, trust=trust, patient=True
            )
            self._end.callback(store.close)
            self._store = store
            key = store.key()
            # Captures that are followed may tell of any time.
            if store.prepared:
                known = store.finding_ids(None if settings.follow else since_ns, settings.sensor)
            else:
                self._say(f"warning: {store.name} is not there ({store.absent}): rows wait in memory until it is")
            self._writer = StoreWriter(store, keep_ns=_keep_ns(settings), max_bytes=settings.retention_bytes or None)
            self._end.callback(lambda: self._writer is not None and self._writer.close(0.0))
        else:
            key = secrets.token_bytes(32)
        dispatcher = AlertDispatcher(
            make_sinks(settings), state,
            min_severity=settings.min_severity, window_s=settings.window_s, rate=settings.rate, burst=settings.burst,
        )  # fmt: skip
        dispatcher.known(known)
        dispatcher.start()
        self._dispatcher = dispatcher
        self._say_left_behind()
        judge = BoundedJudge()
        judge.warm_up()
        watch = Watch(
            state,
            seal=lambda session: seal_session(session, key, judge),
            tell=dispatcher.raise_alert,
            keep=self._keep,
            trust=trust,
        )
        if self._store is not None:
            watch.expect_past()
            self._loading = threading.Thread(
                target=self._load_past, args=(self._store, since_ns), name="past", daemon=True
            )
            self._loading.start()
            self._known = set(known)
        if settings.metrics:
            self._open_metrics()
        if settings.live:
            from analyzer.monitor.screen import Screen

            self._screen = Screen(state)
            self._end.callback(self._screen.stop)
        return watch

    def _load_past(self, store: Store, since_ns: int) -> None:
        """In a thread of its own: packets are read meanwhile."""
        try:
            self._loaded = store.recent(MAX_REMEMBERED, since_ns, self.settings.sensor)
        except MailtapError as error:
            self._say(f"warning: the past is not remembered: {error}")
            self._loaded = []

    def _take_past(self, *, wait: bool = False) -> None:
        """Hand the past to the watch once it is loaded."""
        loading, loop = self._loading, self._loop
        if loading is None or loop is None:
            return
        if wait:
            loading.join(STORE_END_S)
        elif loading.is_alive():
            return
        self._loading = None
        past = self._loaded or []
        self._loaded = None
        loop.watch.take_past(past, self._known)
        self._known = set()
        if past:
            self._say(f"{plural(len(past), 'session')} of the last day remembered from {self._store_name()}")

    def _say_left_behind(self) -> None:
        """Alerts that wait for a receiver that nobody names any more."""
        for sentence in left_behind(str(self.settings.spool_folder()), self.state.sinks):
            self._say(f"warning: {sentence}")

    def _open_metrics(self) -> None:
        """The endpoint; where it is only a default, its absence is no reason not to watch."""
        from analyzer.monitor.metrics import MetricsServer

        server: MetricsServer = MetricsServer(self.state, self.settings.metrics)
        try:
            server.open()
        except UsageError as error:
            if self.settings.metrics != MonitorSettings().metrics:
                raise
            self._say(f"warning: no metrics: {error}")
            return
        server.start()
        self._end.callback(server.close)
        if server.warning:
            self._say(f"warning: {server.warning}")

    def _store_name(self) -> str:
        return "" if self._store is None else self._store.name

    def _announce(self, sources: list[LiveSource]) -> None:
        names = ", ".join(f"{source.name} ({source.kind})" for source in sources)
        where = f"; store {self._store_name()}" if self._store is not None else "; nothing is stored"
        self._say(f"watching {names}{where}")
        self._notifier.ready(f"watching {names}")

    # -- while it runs -----------------------------------------------------------------------------------------------------------

    def _keep(self, batch: Batch) -> None:
        """Rows go to the store behind their alerts: what the store holds counts as told at the next start."""
        writer, dispatcher = self._writer, self._dispatcher
        if writer is not None and dispatcher is not None:
            dispatcher.then(lambda: writer.submit(batch))

    def _behind(self) -> bool:
        """Whether files had better wait for the store."""
        return self._writer is not None and self._writer.behind

    def _second(self) -> None:
        """What is due about once a second."""
        state = self.state
        writer = self._writer
        if writer is not None:
            state.store_written, state.store_waiting = writer.written, writer.waiting
            state.store_lost, state.store_trouble = writer.lost, writer.trouble
        now = time.monotonic()
        loop = self._loop
        self._take_past()
        if loop is not None and now >= self._captures_due:
            self._captures_due = now + CAPTURES_S
            loop.watch.keep_captures(loop.captures())
        if self._reload_wanted:
            self._reload_wanted = False
            self._reload()
        self._notifier.beat()
        self._notifier.status(self._status())
        self._say_troubles(now)

    def _status(self) -> str:
        state = self.state
        found = state.snapshot()
        files = f", {plural(found['lost_files'], 'file')} lost unread" if found["lost_files"] else ""
        return (
            f"{plural(found['packets'], 'packet')}, {found['drops']:,} lost{files}, {plural(found['sessions'], 'session')}, "
            f"{plural(state.exposed_logins, 'login')} in clear, {plural(state.alerts_raised, 'alert')}"
        )

    def _say_troubles(self, now: float) -> None:
        """Whatever is wrong now, once, and again after a while; and that it is over. By subject: words may hold changing numbers."""
        state = self.state
        troubles = {source.name: source.trouble for source in state.sources}
        troubles |= {f"alerts to {sink.name}": sink.trouble for sink in state.sinks}
        if self._writer is not None:
            # Apart: that rows cannot be written must not go under because retention had something to say before.
            troubles["store"] = self._writer.rows_trouble
            troubles["retention"] = self._writer.retention_trouble
        if self._dispatcher is not None:
            troubles["alerts"] = self._dispatcher.trouble
        for subject, trouble in troubles.items():
            told = self._troubles.get(subject)
            if trouble and (told is None or now - told >= TROUBLE_AGAIN_S):
                self._troubles[subject] = now
                self._say(f"warning: {_sentence(subject, trouble)}")
            elif not trouble and told is not None:
                del self._troubles[subject]
                self._say(f"{subject}: all is well again")
        faults = [] if self._loop is None else self._loop.watch.faults()
        if self._writer is not None:
            faults += self._writer.faults
        for fault in faults:
            if fault not in self._faults_told and len(self._faults_told) < MAX_FAULTS_TOLD:
                self._faults_told.add(fault)
                self._say(f"warning: {fault}")

    def _reload(self) -> None:
        """SIGHUP: the configuration is read again, files are opened anew. What is wrong with it leaves everything as it is."""
        self._notifier.reloading()
        dispatcher = self._dispatcher
        assert dispatcher is not None
        try:
            if self._configuration is not None:
                new = merged(load_settings(self._configuration), self._command_line)
                settings, warnings = reloaded(self.settings, new)
                dispatcher.reload(settings)
                self.settings = settings
                for warning in warnings:
                    self._say(f"warning: {warning}")
                self._say_left_behind()
            dispatcher.reopen()
            if self._writer is not None:
                self._writer.keep_ns = _keep_ns(self.settings)
                self._writer.max_bytes = self.settings.retention_bytes or None
            self._say("reloaded: files of alerts are opened anew" + (", settings read" if self._configuration else ""))
        except UsageError as error:
            self._say(f"error: the settings stay as they were: {error}")
        self._notifier.ready(self._status())

    # -- signals -----------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the loop, SIGHUP reloads; as they were before, afterwards.

        A SIGHUP because the terminal was closed, of which nobody is left to ask, ends it as well.
        """

        def end(_number: int, _frame: FrameType | None) -> None:
            self._signals_seen += 1
            if self._loop is not None:
                self._loop.stop()
            if self._signals_seen > 1:
                raise KeyboardInterrupt

        def reload(number: int, frame: FrameType | None) -> None:
            if self._had_terminal and not _has_terminal():
                end(number, frame)
            self._reload_wanted = True

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, reload)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- end ---------------------------------------------------------------------------------------------------------------------

    def _deliver_the_rest(self) -> None:
        dispatcher = self._dispatcher
        if dispatcher is not None and not dispatcher.close(ALERTS_END_S):
            self._say(
                "warning: not every alert was delivered before the end; those with a spool go out at the next start"
            )
        writer = self._writer
        if writer is not None:
            self._notifier.stopping("writing to the store")
            if not writer.close(STORE_END_S):
                raise OutputError(
                    f"{self._store_name()}: {plural(writer.waiting, 'row')} could not be written before the end ({writer.trouble or 'it took too long'})"
                )
            self.state.store_written, self.state.store_lost = writer.written, writer.lost

    def _say_what_was(self) -> None:
        state = self.state
        lost = f"; {plural(state.store_lost, 'row')} could not be stored" if state.store_lost else ""
        given_up = state.alerts_lost + sum(sink.lost for sink in state.sinks)
        if given_up:
            lost = f"{lost}; {plural(given_up, 'alert')} could not be delivered"
        self._say(f"stopped: {self._status()}{lost}")

    def _say(self, sentence: str) -> None:
        if self._say_to is not None:
            self._say_to(sentence)
        else:
            from analyzer.report.visible import visible

            with contextlib.suppress(OSError):
                sys.stderr.write(f"mailtap: {visible(sentence)}\n")
                sys.stderr.flush()


def _sentence(subject: str, trouble: str) -> str:
    """What is wrong with whom, who is named once: some troubles begin with the file that they are about, which is the subject's own."""
    if trouble.startswith(f"{subject} "):
        return trouble
    head, colon, rest = trouble.partition(": ")
    return f"{subject}: {rest}" if colon and subject.endswith(f":{head}") else f"{subject}: {trouble}"


def _there(*names: str | None) -> list[Path]:
    """Those of the names that are there; standard input is none."""
    return [Path(name) for name in names if name and name != "-" and is_there(name)]


def _refuse_nothing(sources: list[LiveSource]) -> None:
    """Raise, as ``analyze`` does, where every source was a pipe that is over, and no capture came through any.

    A capture without a packet is one all the same.
    """
    said: list[str] = []
    for source in sources:
        counted = source.counters()
        if not source.finished or counted.packets or (counted.linktypes and not counted.skipped_bytes):
            return
        name = "standard input" if source.name == "-" else source.name
        if counted.damaged or counted.skipped_bytes:
            said.append(f"{name}: no packet of it could be read ({source.trouble})")
        else:
            said.append(f"{name}: nothing came; look at what the program says that should write a capture into it")
    raise NotACapture("; ".join(said))


def _captures_in(folder: Path) -> list[Path]:
    """A few files of a folder."""
    found = [path for path in folder.rglob("*") if os.path.isfile(path) and not path.name.startswith(".")]  # noqa: PTH113 - Path.is_file raises where it may not look
    return sorted(found)[:MAX_TRIED]


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _keep_ns(settings: MonitorSettings) -> int | None:
    return int(settings.retention_s * 1e9) if settings.retention_s else None


def run_monitor(settings: MonitorSettings, configuration: Path | None, command_line: Mapping[str, object]) -> int:
    """Run ``mailtap monitor`` to its end; the exit code. See :meth:`Monitor.run` for what it raises."""
    return Monitor(settings, configuration=configuration, command_line=command_line).run()
