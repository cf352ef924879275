"""What the screen shows, on all sizes; and, in a terminal of its own, how it comes and goes."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from support.alerts import Behind
from support.waiting import CHILD_PATIENCE

from analyzer.capture.live import LiveCounters, LiveSource
from analyzer.errors import UsageError
from analyzer.monitor.base import Alert, AlertSink, MonitorState
from analyzer.monitor.config import MonitorSettings
from analyzer.monitor.panels import Rates, compose, duration, fit, plain, size
from analyzer.monitor.screen import Screen, _Messages
from analyzer.monitor.service import Monitor

HOSTILE = "\x1b]0;owned\x07\u202eevil\n\x9b31m\udce9"


class Source(LiveSource):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.counted = LiveCounters()
        self.counted.kernel_drops = 0

    def counters(self) -> LiveCounters:
        return self.counted


def alert(number: int, username: str | None = "erin@example.test", severity: str = "critical") -> Alert:
    return Alert(
        "finding", f"{number}", "plaintext-password", severity, "high", "title", "detail", 1_700_000_000_000_000_000 + number,
        1, client_ip="10.0.0.7", server_ip="192.0.2.1", server_port=110, protocol="pop3", username=username,
    )  # fmt: skip


def monitored() -> MonitorState:
    state = MonitorState("1.2.3", "gateway", time.time_ns() - 93_784_000_000_000)
    state.sources = [Source("eth0")]
    state.sessions.update({("pop3", "plaintext"): 1204, ("imap", "starttls"): 7, ("jmap", "carrier_pigeon"): 1})
    state.recent.extend([alert(1), alert(2, HOSTILE, "low"), alert(3, "王小明@例子.测试"), alert(4, None)])
    state.exposed_logins = 1300
    state.exposed_accounts.update(["a", "b"])
    state.exposed_clients.update(["10.0.0.7"] * 5 + [HOSTILE])
    state.exposed_servers.update(["192.0.2.1 port 110"] * 6)
    address = "webhook:https://user:Tok3n@hooks.example/T0K3N"
    webhook = Behind(address, delivered=9, waiting=2, trouble=f"refused {HOSTILE}")
    state.sinks = [AlertSink("jsonl:/var/log/alerts.jsonl"), webhook]
    state.alerts_raised, state.store_written = 4, 31
    state.turn_ns = time.time_ns()
    return state


def shown(state: MonitorState, width: int = 80, height: int = 24, messages: tuple[str, ...] = ()) -> str:
    rates = Rates()
    rates.take(state.sources, 1.0)
    return "\n".join(line.plain.rstrip() for line in compose(state, rates, said(*messages), width, height))


def said(*lines: str) -> list[tuple[float, str]]:
    """Lines of standard error, of now."""
    return [(time.time(), line) for line in lines]


def test_at_80_by_24_everything_has_its_place() -> None:
    screen = shown(monitored())
    for words in (
        "mailtap 1.2.3  watches eth0  for 1 d 02:03:04  as gateway",
        "1,300 logins IN CLEAR  2 accounts  2 clients  1 server\n",
        "dropped 0 by the kernel, 0 by mailtap",
        "! webhook:https://hooks.example: refused",
        "in clear  STARTTLS  TLS  carrier_pigeon",
        "1,204",
        "critical plaintext-password",
        "192.0.2.1:110",
        "erin@ex",
        "low ",
        "192.0.2.1 port 110",
        "Alerts 4",
        "9 delivered, 2 waiting, IN TROUBLE",
        "Store  31 rows written",
        " q quits",
    ):
        assert words in screen, screen
    assert screen.index("critical plaintext-password") < screen.index("low ")  # the latest first


def test_a_quiet_beginning() -> None:
    screen = shown(MonitorState("1", "", 0))
    for words in (
        "No login in clear so far",
        "watches nothing",
        "none so far",
        "none has ended yet",
        "dropped 0 by mailtap",
        "nothing written so far",
    ):
        assert words in screen


def test_a_monitor_without_a_store_says_so() -> None:
    state = MonitorState("1", "", 0, stores=False)
    assert "Store  off" in shown(state)
    assert "written" not in shown(state)
    # and the service tells its state
    assert not Monitor(MonitorSettings(store="")).state.stores
    assert Monitor(MonitorSettings()).state.stores


def test_findings_are_newest_first_in_utc_with_the_day_where_it_is_not_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        state = monitored()
        state.recent.clear()
        today = int(time.time()) // 86400 * 86400
        for number, second in enumerate(
            (today + 2, today - 86400 * 400, today + 61, today - 86400 * 400 + 5, today + 2)
        ):
            one = alert(number, f"user{number}")
            one.time_ns = second * 1_000_000_000
            state.recent.append(one)
        lines, now = [line.strip() for line in shown(state, 80, 40).splitlines()], time.time()
        began = next(index for index, line in enumerate(lines) if line.startswith("UTC  "))
        told = [re.sub(r"^(\S+) .* (\S+)$", r"\1 \2", line) for line in lines[began + 1 : began + 7]]
        day = time.strftime("%Y-%m-%d", time.gmtime(today - 86400 * 400))
        midnight = ["00:01:01 user2", "00:00:02 user4", "00:00:02 user0"]
        assert told == [*midnight, day, "00:00:05 user3", "00:00:00 user1"]
        assert lines[0].split()[-2] in {time.strftime("%H:%M:%S", time.gmtime(now + more)) for more in range(-5, 2)}
        assert lines[0].endswith(" UTC")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("width", [52, 60, 77, 78, 80, 130])
@pytest.mark.parametrize(
    ("address", "port"), [("203.0.113.210", 4190), ("2001:db8:1234:5678:9abc:def0:1234:5678", 143)]
)
def test_a_server_keeps_its_port_and_the_end_of_its_address(width: int, address: str, port: int) -> None:
    state = monitored()
    one = alert(5, "somebody.with.a.name@accounts.example.test")
    one.server_ip, one.server_port, one.client_ip = address, port, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"
    state.recent = deque([one])
    state.exposed_servers.count(f"{address} port {port}", 99)
    lines = shown(state, width, 40).splitlines()
    (row,) = [line for line in lines if "plaintext" in line]
    assert re.search(rf"[.:]\d*{address[-2:]}\]?:{port} ", row), row
    # who is a client where there is room for both
    assert ("ffff" in row) == (width >= 78), row
    assert any(re.search(rf"{address[-2:]} port {port} +99", line) for line in lines), lines


def test_a_head_that_does_not_fit_loses_whole_words() -> None:
    assert re.match(r" mailtap 1\.2\.3  watches eth0 +\d\d:\d\d:\d\d UTC$", shown(monitored(), 50).splitlines()[0])


def test_trouble_is_said_in_words() -> None:
    state = monitored()
    state.sources[0].up = False
    state.sources.append(Source("-"))
    state.sources[1].finished = True
    state.store_trouble = "database is locked"
    state.store_lost = 3
    state.files_wait = True
    state.lag_s = 2.5
    state.alerts_lost = 1
    state.counters = {"flows.limit_half_open": 7, "flows.limit_flows": 0, "packets.malformed": 5}
    state.turn_ns -= 60_000_000_000
    rates = Rates()
    source = state.sources[0]
    assert isinstance(source, Source)
    for second in range(3):
        source.counted.kernel_drops = second * 100
        rates.take(state.sources, float(second))
    lines = compose(state, rates, said("mailtap: warning: said on standard error", "mailtap: all is well"), 100, 50)
    screen = "\n".join(line.plain for line in lines)
    for words in (
        "the loop has not turned for 60 seconds",
        "100 packets/s are being lost",
        "2.5 seconds after they were captured",
        "eth0: down",
        "-: at its end",
        "store: database is locked",
        "1 alert lost",
        "limit half open reached 7 times",
        "mailtap: warning: said on standard error",
        "3 LOST, followed files wait for it, IN TROUBLE",
    ):
        assert words in screen, screen
    assert "limit flows" not in screen
    assert "all is well" not in screen
    # where there is no room for all of it, that is said
    assert re.search(r"\(and \d+ more\)", "\n".join(line.plain for line in compose(state, rates, [], 80, 24)))


def test_troubles_that_have_ended_are_gone_and_what_was_said_stays_a_minute_with_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = monitored()
    state.store_trouble = "disk full; 7 rows wait"
    state.counters = {"flows.limit_flows": 7}
    state.alerts_lost = 1
    rates = Rates()
    messages = _Messages()
    name = state.sinks[1].name
    messages.write(
        f"mailtap: warning: store: disk full; 3 rows wait\nmailtap: warning: alerts to {name}: it was down\n"
    )
    messages.write("mailtap: warning: no metrics\n")

    def screen() -> str:
        return "\n".join(line.plain for line in compose(state, rates, messages.recent(), 100, 50))

    first = screen()
    assert first.count("disk full") == 1
    assert "limit flows reached 7 times" in first
    assert re.search(r"! \d\d:\d\d:\d\d UTC mailtap: warning: no metrics", first)
    assert "it was down" not in first
    state.store_trouble = state.sinks[1].trouble = ""
    assert "disk full" not in screen()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    assert "!" not in screen()
    state.counters["flows.limit_flows"] = 8
    assert "limit flows reached 8 times" in screen()
    # when the screen has gone, all that was said is printed
    assert len(messages.finish()) == 3


def test_what_is_counted_does_not_contradict_what_was_found() -> None:
    state = monitored()
    state.exposed_logins = 0
    screen = shown(state)
    assert "No login in clear" not in screen
    assert "LOGINS IN CLEAR: see the last findings" in screen


def test_what_is_shown_can_do_nothing_to_the_terminal_and_opens_nothing() -> None:
    state = monitored()
    state.sources[0].name = f"eth0{HOSTILE}"
    state.sensor = HOSTILE
    state.store_trouble = HOSTILE
    for width, height in ((80, 24), (140, 50), (40, 20)):
        written = io.StringIO()
        console = Console(file=written, force_terminal=True, color_system="truecolor", width=width, height=height)
        rates = Rates()
        for line in compose(state, rates, said(HOSTILE, "[bold]not markup[/bold]"), width, height):
            console.print(line)
        text = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue())
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
        assert "Tok3n" not in text
        assert "T0K3N" not in text
    assert "[bold]not markup" in shown(state, 140, 50, ("[bold]not markup[/bold]",))


@given(
    st.integers(1, 180), st.integers(1, 60),
    st.lists(st.text(max_size=30), max_size=4), st.integers(0, 10**9),
)  # fmt: skip
def test_nothing_wraps_or_falls_off_whatever_the_size(width: int, height: int, names: list[str], count: int) -> None:
    state = monitored()
    for name in names:
        state.recent.append(alert(9, name))
        state.exposed_clients.count(name, count + 1)
        state.sessions[name, name] = count
        state.sinks.append(AlertSink(name))
    lines = compose(state, Rates(), said(*names), width, height)
    assert len(lines) == height
    assert all(line.cell_len <= width for line in lines)
    assert all("\n" not in line.plain for line in lines)


def test_a_long_path_shows_both_its_ends() -> None:
    state = monitored()
    state.sources = [Source("/var/spool/captures/" + "x" * 60 + "/mirror-port.pcapng"), Source("-")]
    assert "…ort.pcapng, standard input" in shown(state)


def test_a_terminal_without_unicode_is_spared_it() -> None:
    state = monitored()
    for line in compose(state, Rates(), said("ä" * 200), 140, 50):
        assert plain(line, "ascii").plain.isascii()
        assert plain(line, "utf-8") is line


def test_rates_are_those_of_the_last_seconds() -> None:
    source = Source("eth0")
    rates = Rates()
    for step in range(41):
        if step > 20:
            source.counted.packets += 100
            source.counted.bytes += 100_000
        rates.take([source], step * 0.5)
    assert rates.packets_s == pytest.approx(200)
    assert rates.bits_s == pytest.approx(1_600_000)
    assert rates.drops_s == 0
    assert list(rates.curve) == [0.0] * 10 + [200.0] * 10
    source.counted.packets = 0  # counted anew
    rates.take([source], 21.0)
    assert rates.packets_s == 0


def test_columns_give_way_above_their_floors_first() -> None:
    assert fit([10, 30, 10], 50) == [10, 30, 10]
    assert fit([10, 30, 10], 40) == [10, 20, 10]
    assert fit([10, 30, 10], 40, [0, 28, 0]) == [5, 30, 5]
    assert fit([10, 30], 5, [10, 30]) == [2, 3]
    assert fit([], 0) == []


def test_words_for_numbers() -> None:
    assert [duration(0), duration(3661), duration(90061)] == ["00:00:00", "01:01:01", "1 d 01:01:01"]
    assert [size(1), size(1500), size(250_000), size(1.2e9), size(5e15)] == [
        "1 B",
        "1.5 kB",
        "250 kB",
        "1.2 GB",
        "5,000.0 TB",
    ]


# -- in a terminal -----------------------------------------------------------------------------------------------------------------

SCRIPT = """
import os, signal, sys, threading, time
os.dup2(os.open(sys.argv[1], os.O_RDWR), 0)  # the session's terminal from now on
os.dup2(0, 1)
sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
from analyzer.errors import UsageError
from analyzer.monitor.base import MonitorState
from analyzer.monitor import screen as room
from analyzer.monitor.screen import Screen
room.STOP_S = 120.0  # a slow machine must not look like a terminal that hangs
state = MonitorState("1.2.3", "gateway", time.time_ns())
state.turn_ns = time.time_ns()
quit = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: quit.set())
told = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: told.set())
def wait():
    if not quit.wait(120):
        sys.exit("nobody quit")
"""


class Terminal:
    """A terminal of 80 by 24 with a program in it."""

    def __init__(self, script: str, **environment: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.program = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", SCRIPT + textwrap.dedent(script), os.ttyname(self.slave)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**variables, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        self.seen = ""

    def expect(self, words: str) -> None:
        deadline = time.monotonic() + CHILD_PATIENCE
        while words not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} did not come: {self.seen[-2000:]!r}"
            self._read(min(left, 0.5))
            if self.program.poll() is not None and not self._read(0):
                assert words in self.seen, (self.seen, self.program.communicate())

    def _read(self, seconds: float) -> bool:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536).decode()
            return True
        return False

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error; all that was written is in ``seen``."""
        deadline = time.monotonic() + CHILD_PATIENCE
        while self.program.poll() is None and time.monotonic() < deadline:
            self._read(0.05)
        while self._read(0):
            pass
        _, errors = self.program.communicate(timeout=CHILD_PATIENCE)
        return self.program.returncode, errors

    def is_as_before(self) -> bool:
        """The usual screen, the cursor, and the mode in which keys are read."""
        return (
            self.seen.rfind("\x1b[?1049l") > self.seen.rfind("\x1b[?1049h") >= 0
            and self.seen.rfind("\x1b[?25h") > self.seen.rfind("\x1b[?25l") >= 0
            and termios.tcgetattr(self.slave) == self.before
        )

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
        self.program.communicate()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def terminal(script: str, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(script, **environment)
    try:
        yield opened
    finally:
        opened.close()


def quit_by_key(opened: Terminal) -> None:
    opened.type(b"xq")


def quit_by_interrupt(opened: Terminal) -> None:
    opened.type(b"\x03")


def quit_by_term(opened: Terminal) -> None:
    opened.program.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("way", [quit_by_key, quit_by_interrupt, quit_by_term])
def test_the_terminal_is_given_back(way: Callable[[Terminal], None]) -> None:
    script = """
    try:
        with Screen(state, quit.set) as screen:
            assert screen.running and not screen.quit
            print("mailtap: warning: said meanwhile", file=sys.stderr)
            wait()
        assert not screen.running
    except KeyboardInterrupt:
        pass
    print("back", file=sys.stderr)
    """
    with terminal(script) as opened:
        opened.expect("q quits")
        opened.expect("said meanwhile")
        assert not termios.tcgetattr(opened.slave)[3] & termios.ECHO
        way(opened)
        code, errors = opened.end()
        assert (code, errors) == (0, "mailtap: warning: said meanwhile\nback\n")
        assert opened.is_as_before()


def test_a_picture_that_is_late_is_no_fault() -> None:
    script = """
    room.STOP_S = 0.05
    go_on, drawing = threading.Event(), threading.Event()
    class Late(Screen):
        def draw(self, *size):
            drawing.set()
            go_on.wait()
            return super().draw(*size)
    screen = Late(state, quit.set)
    screen.start()
    thread = screen._thread
    drawing.wait()
    told.wait()
    screen.stop()
    go_on.set()
    thread.join()
    print(thread.is_alive(), [screen.trouble], quit.is_set(), file=sys.stderr)
    """
    with terminal(script) as opened:
        # What a terminal has not shown yet is thrown away.
        opened.expect("\x1b[?1049h")
        opened.program.send_signal(signal.SIGUSR1)
        assert opened.end() == (0, "False [''] False\n")
        assert opened.is_as_before()


def test_a_terminal_that_takes_nothing_more_does_not_hold_up_the_end() -> None:
    script = """
    room.REFRESH_S, room.STOP_S = 0.01, 0.5
    drawn = [-1, 0]
    class Counted(Screen):
        def draw(self, *size):
            drawn[1] += 1
            return super().draw(*size)
    with Counted(state, quit.set) as screen:
        while drawn[0] != drawn[1]:
            drawn[0] = drawn[1]
            time.sleep(0.5)
        print("said meanwhile", file=sys.stderr)
    print("back", file=sys.stderr)
    """
    with terminal(script) as opened:
        assert opened.program.wait(CHILD_PATIENCE) == 0  # without reading what it shows
        assert opened.end() == (0, "said meanwhile\nback\n")
        assert "\x1b[?1049l" in opened.seen
        assert termios.tcgetattr(opened.slave) == opened.before


def test_the_terminal_is_given_back_when_the_loop_raises() -> None:
    script = """
    with Screen(state, quit.set) as screen:
        time.sleep(0.2)
        raise RuntimeError("the loop fell over")
    """
    with terminal(script) as opened:
        code, errors = opened.end()
        assert code == 1
        assert errors.endswith("RuntimeError: the loop fell over\n")
        assert opened.is_as_before()


def test_the_terminal_is_given_back_when_nobody_stops_the_screen() -> None:
    with terminal("Screen(state, quit.set).start(); time.sleep(0.2); sys.exit(3)") as opened:
        assert opened.end() == (3, "")
        assert opened.is_as_before()


def test_a_fault_in_a_picture_ends_the_pictures_and_not_the_monitor() -> None:
    script = """
    state.sources = None
    with Screen(state, quit.set) as screen:
        screen._thread.join()
        print(screen.trouble)
    print("goes on", quit.is_set())
    """
    with terminal(script) as opened:
        code, errors = opened.end()
        assert code == 0
        assert errors.startswith("mailtap: the screen ended: TypeError")
        assert "goes on False" in opened.seen
        assert opened.is_as_before()


def test_who_closes_the_terminal_quits() -> None:
    script = """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Screen(state, quit.set) as screen:
        wait()
    os._exit(0 if quit.is_set() and screen.quit and "OSError" in screen.trouble else 1)
    """
    with terminal(script) as opened:
        opened.expect("q quits")
        master, opened.master = opened.master, os.open("/dev/null", os.O_RDWR)
        os.close(master)
        assert opened.program.wait(CHILD_PATIENCE) == 0


def test_standard_input_may_be_a_pipe_of_packets() -> None:
    script = """
    reading, writing = os.pipe()
    os.dup2(reading, 0)
    with Screen(state) as screen:
        while not screen.quit:
            time.sleep(0.02)
    """
    with terminal(script) as opened:
        opened.expect("q quits")
        opened.type(b"q")
        assert opened.end() == (0, "")
        assert opened.is_as_before()


def test_colours_can_be_turned_off() -> None:
    script = """
    state.exposed_logins = 1
    with Screen(state, quit.set):
        wait()
    """
    with terminal(script) as opened:
        opened.expect("q quits")
        quit_by_key(opened)
        opened.end()
        assert re.search(r"\x1b\[[0-9;]*3[0-7]m", opened.seen)
    with terminal(script, NO_COLOR="1") as opened:
        opened.expect("q quits")
        quit_by_key(opened)
        opened.end()
        assert "1 login IN CLEAR" in opened.seen
        assert not re.search(r"\x1b\[[0-9;]*[34][0-7]m", opened.seen)


def test_a_terminal_that_can_show_no_screen_is_refused() -> None:
    script = """
    try:
        Screen(state, quit.set).start()
    except UsageError as error:
        print(error, file=sys.stderr)
    """
    with terminal(script, TERM="dumb") as opened:
        code, errors = opened.end()
        assert code == 0
        assert "--live: this terminal (dumb) can show no screen" in errors
        assert termios.tcgetattr(opened.slave) == opened.before


def test_in_the_background_there_is_no_screen() -> None:
    script = """
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        try:
            Screen(state, quit.set).start()
        except UsageError as error:
            print(error, file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    """
    with terminal(script) as opened:
        code, errors = opened.end()
        assert code == 0
        assert "runs in the background" in errors


def test_not_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    before: Any = sys.stderr
    with pytest.raises(UsageError, match="--live needs a terminal"):
        Screen(monitored(), lambda: None).start()
    assert sys.stderr is before
