"""What the screen of the monitor shows: the state as lines of text that fit, whatever the size of the terminal.

Each block of lines says how many it needs and how many it would like; :func:`compose` shares out the height, so nothing wraps and nothing
falls off the end. Columns of tables give way, the widest first. All text from traffic is made visible (``report/visible.py``); what colour
says, a word says as well. Times are in UTC, as in reports.

Over 500 lines: one short function a block of the screen, and what fits them into it; nobody else needs either.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from analyzer.capture.live import LiveSource
from analyzer.monitor.base import Alert, MonitorState
from analyzer.monitor.readings import latest, memory_bytes, settled, sink_name
from analyzer.report.visible import shorten, visible
from analyzer.report.wording import noun, plural

#: From this width on there are two columns, the left one so wide.
WIDE: Final = 126
LEFT: Final = 44
#: Findings have no columns for the client, for the server, on screens narrower than this.
CLIENT_WIDTH: Final = 78
SERVER_WIDTH: Final = 52
#: Numbers further from their names than this are hard to follow.
MAX_TABLE: Final = 60
#: Seconds over which the current rates are taken, and seconds of the curve.
RATE_S: Final = 3.0
CURVE_S: Final = 60
#: The reader falls behind.
LAG_S: Final = 1.0
#: Seconds for which something that is only counted is shown as a trouble after it was counted last.
GROWN_S: Final = 60.0
#: The loop stands still.
STILL_S: Final = 5.0
#: Longest text from traffic or from outside that is looked at.
MAX_TEXT: Final = 200
BARS: Final = "▁▂▃▄▅▆▇█"
SEVERITY_STYLES: Final = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "bold yellow",
    "low": "cyan",
    "info": "dim",
}
TRANSPORTS: Final = {
    "plaintext": "in clear",
    "starttls": "STARTTLS",
    "implicit_tls": "TLS",
    "unknown": "unseen",
}
#: Rules that tell of a login that could be read.
READABLE: Final = frozenset(
    ("plaintext-password", "plaintext-token", "challenge-response-in-clear", "password-sent-though-forbidden")
)
#: A client or server may have no name yet.
NONE: Final = "-"

Line = Text
#: What was said on standard error: seconds since the epoch, and the line.
Message = tuple[float, str]


class Rates:
    """What passes now, from counters that only grow."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int, int]] = deque()
        self.packets: int = 0
        self.bytes: int = 0
        #: lost so far; None where no source can tell
        self.kernel_drops: int | None = None
        self.own_drops: int = 0
        self.packets_s: float = 0.0
        self.bits_s: float = 0.0
        #: lost of late
        self.drops_s: float = 0.0
        #: packets a second, one value a second, latest last
        self.curve: deque[float] = deque(maxlen=CURVE_S)
        self._curve_at: tuple[float, int] | None = None
        #: counts of what should not be: the latest, and when it changed
        self._counts: dict[str, tuple[int, float]] = {}

    def has_grown(self, name: str, count: int) -> bool:
        """Whether a count of what should not be has grown in the last minute."""
        now = time.monotonic()
        before, when = self._counts.get(name, (0, -GROWN_S))
        if count != before:
            before, when = self._counts[name] = (count, now)
        return bool(count) and now - when < GROWN_S

    def take(self, sources: Sequence[LiveSource], now: float) -> None:
        """Read the counters."""
        counted = [source.counters() for source in sources]
        self.packets = sum(count.packets for count in counted)
        self.bytes = sum(count.bytes for count in counted)
        known = [count.kernel_drops for count in counted if count.kernel_drops is not None]
        self.kernel_drops = sum(known) if known else None
        self.own_drops = sum(count.own_drops for count in counted)
        drops = (self.kernel_drops or 0) + self.own_drops
        self._seen.append((now, self.packets, self.bytes, drops))
        while len(self._seen) > 2 and self._seen[1][0] <= now - RATE_S:
            self._seen.popleft()
        then, packets, size, dropped = self._seen[0]
        if now > then:
            self.packets_s = max(0.0, (self.packets - packets) / (now - then))
            self.bits_s = max(0.0, (self.bytes - size) * 8 / (now - then))
            self.drops_s = max(0.0, (drops - dropped) / (now - then))
        if self._curve_at is None:
            self._curve_at = (now, self.packets)
        elif now - self._curve_at[0] >= 1:
            began, before = self._curve_at
            self.curve.append(max(0.0, (self.packets - before) / (now - began)))
            self._curve_at = (now, self.packets)


class Block:
    """Lines that belong together, the title first; ``least`` of them are shown before anything else gets more.

    Where ``width`` is given, the last line shown says how many are not.
    """

    def __init__(self, lines: Sequence[Line], least: int, title: Line | None = None, width: int = 0) -> None:
        self.title = title
        self.lines = list(lines)
        self.least = min(least, len(self.lines))
        self.width = width

    def height(self, given: int) -> int:
        """Lines that the block takes if it shows ``given`` of its own."""
        return given + (1 if self.title is not None and given else 0)

    def shown(self, given: int) -> list[Line]:
        """The block with ``given`` of its lines."""
        lines = self.lines[:given]
        hidden = len(self.lines) - given
        if self.width and lines and hidden:
            note = f"  (and {hidden} more)"
            kept = lines[-1].copy()
            kept.rstrip()
            lines[-1] = _cut(kept, max(0, self.width - len(note))).append(note, style="dim")
        return [*([self.title] if self.title is not None and given else []), *lines]


def share(blocks: Sequence[Block], height: int) -> list[int]:
    """How many lines of its own each block shows, earlier blocks first in need, all in turn after that."""
    given = [0] * len(blocks)
    left = height
    for index, block in enumerate(blocks):
        while given[index] < block.least:
            cost = block.height(given[index] + 1) - block.height(given[index])
            if cost > left:
                break
            given[index] += 1
            left -= cost
    growing = True
    while growing:
        growing = False
        for index, block in enumerate(blocks):
            if given[index] < len(block.lines):
                cost = block.height(given[index] + 1) - block.height(given[index])
                if cost <= left:
                    given[index] += 1
                    left -= cost
                    growing = True
    return given


def compose(state: MonitorState, rates: Rates, messages: Sequence[Message], width: int, height: int) -> list[Line]:
    """The whole screen: exactly ``height`` lines, none wider than ``width``."""
    head = _head(state, width)
    foot = _cut(Text(" q quits", style="dim"), width)
    rows: list[Line] = []
    room = height - 2
    top = [
        Block(_exposure(state, width), 1),
        Block(_traffic(state, rates, width), 1),
        Block(_trouble(state, rates, messages, width), 2, width=width),
    ]
    bottom = [Block(_sinks(state, width), 2, width=width), Block([_store(state, width)], 1)]
    if width >= WIDE and room >= 16:
        frame = [*top, *bottom]
        given = share(frame, room // 2)
        used = sum(block.height(lines) for block, lines in zip(frame, given, strict=True))
        above = [line for block, lines in zip(top, given[:3], strict=True) for line in block.shown(lines)]
        below = [line for block, lines in zip(bottom, given[3:], strict=True) for line in block.shown(lines)]
        right_width = width - LEFT - 2
        # air around the columns, where there is room for it
        air = [Text("")] if room - used >= 20 else []
        middle = room - used - 2 * len(air)
        left = _stacked([_sessions(state, LEFT), *_tops(state, LEFT)], middle)
        right = _stacked([_findings(state, right_width)], middle)
        rows = [*above, *air, *_beside(left, right, LEFT, middle), *air, *below]
    else:
        half = (width - 2) // 2
        servers, clients = _tops(state, half) if width >= 60 else _tops(state, width)
        tops = [_paired(servers, clients, half)] if width >= 60 else [servers, clients]
        blocks = [*top, _sessions(state, width), _findings(state, width), *tops, *bottom]
        # what is least worth its lines comes last when lines are shared out, but stays in its place
        wanted = [*top, *bottom, blocks[4], blocks[3], *tops]
        given_by = dict(zip(map(id, wanted), share(wanted, room), strict=True))
        rows = [line for block in blocks for line in block.shown(given_by[id(block)])]
    rows = [*rows[:room], *[Text("")] * (room - len(rows))]
    return [_cut(line, width) for line in [head, *rows, foot]][-height:] if height > 2 else [head, foot][:height]


# -- the blocks --------------------------------------------------------------------------------------------------------------------


def _head(state: MonitorState, width: int) -> Line:
    longest = max(12, width // 4)
    names = ", ".join(_named_shortly(source.name, longest) for source in state.sources[:8]) or "nothing"
    up = duration(max(0, time.time_ns() - state.started_ns) // 1_000_000_000)
    words = [
        f" mailtap {state.version}",
        f"watches {names}",
        f"for {up}",
        f"as {shorten(state.sensor, 40)}" if state.sensor else "",
    ]
    clock = time.strftime("%H:%M:%S UTC ", time.gmtime())
    words = [word for word in words if word]
    room = max(0, width - len(clock) - 1)
    while len(words) > 2 and cell_len("  ".join(words)) > room:
        words.pop()
    line = _sized("  ".join(words), room) + " " + clock
    return _cut(Text(line, style="reverse"), width)


def _exposure(state: MonitorState, width: int) -> list[Line]:
    if not state.exposed_logins:
        if any(alert.rule in READABLE for alert in latest(state.recent)):
            # The finding is told while the session lives; its logins may be counted a moment later.
            return _flowing([(" LOGINS IN CLEAR: see the last findings", "bold red")], width)
        return _flowing([(" No login in clear so far", "bold")], width)
    parts = [(f" {plural(state.exposed_logins, 'login')} IN CLEAR", "bold red")]
    for word, names in (
        ("account", state.exposed_accounts),
        ("client", state.exposed_clients),
        ("server", state.exposed_servers),
    ):
        count = len(names)
        parts.append((f"{count:,}{'+' if names.more else ''} {noun(count, word)}", "bold"))
    return _flowing(parts, width)


def _traffic(state: MonitorState, rates: Rates, width: int) -> list[Line]:
    by_kernel = "" if rates.kernel_drops is None else f"{rates.kernel_drops:,} by the kernel, "
    dropped = f"dropped {by_kernel}{rates.own_drops:,} by mailtap"
    lost = bool(rates.kernel_drops or rates.own_drops)
    parts = [
        (f" {rates.packets_s:,.0f} packets/s", "bold"),
        (f"{rates.bits_s / 1e6:,.1f} Mbit/s", "bold"),
        (dropped, "bold red" if lost else ""),
        (f"lag {state.lag_s:.2f} s", "bold red" if state.lag_s > LAG_S else ""),
        (f"{state.flows_open:,} connections", ""),
        (f"{size(rates.bytes)} read", ""),
        (f"{size(memory_bytes())} memory", ""),
    ]
    lines = _flowing(parts, width)
    if width >= WIDE and len(rates.curve) > 1:
        lines.append(_curve(rates.curve, width))
    return lines


def _curve(values: Sequence[float], width: int) -> Line:
    top = max(*values, 1.0)
    bars = "".join(BARS[min(len(BARS) - 1, int(value / top * len(BARS)))] for value in values)
    return _cut(Text(f" {bars} at most {top:,.0f} packets/s in the last {len(values)} s", style="dim"), width)


def _trouble(state: MonitorState, rates: Rates, messages: Sequence[Message], width: int) -> list[Line]:
    said: list[str] = []
    still = (time.time_ns() - state.turn_ns) / 1e9 if state.turn_ns else 0.0
    if still > STILL_S:
        said.append(f"the loop has not turned for {still:.0f} seconds")
    for source in state.sources:
        if source.trouble or not source.up:
            said.append(f"{source.name}: {source.trouble or 'down'}")
        elif source.finished:
            said.append(f"{source.name}: at its end")
    if state.store_trouble:
        said.append(f"store: {state.store_trouble}")
    if rates.drops_s > 0:
        said.append(f"{rates.drops_s:,.0f} packets/s are being lost: what is found is not complete")
    if state.lag_s > LAG_S:
        said.append(f"packets are read {state.lag_s:.1f} seconds after they were captured")
    said += [f"{sink_name(sink.name)}: {sink.trouble}" for sink in state.sinks if sink.trouble]
    if rates.has_grown("alerts lost", state.alerts_lost):
        said.append(f"{plural(state.alerts_lost, 'alert')} lost: too many at once")
    said += [
        f"limit {key.partition('.limit_')[2].replace('_', ' ')} reached {count:,} times"
        for key, count in sorted(settled(state.counters).items())
        if ".limit_" in key and rates.has_grown(key, count)
    ]
    # What a program says of itself is no trouble, unless it says so; and what is said of these stands above for as long as it lasts.
    subjects = [
        *(source.name for source in state.sources),
        *(f"alerts to {sink.name}" for sink in state.sinks),
        "store",
    ]
    told = tuple(f"mailtap: warning: {visible(subject)}: " for subject in subjects)
    said += [
        f"{time.strftime('%H:%M:%S UTC', time.gmtime(came))} {line}"
        for came, line in reversed(messages)
        if not line.startswith(told) and (not line.startswith("mailtap: ") or "warning: " in line or "error: " in line)
    ]
    return [_cut(Text(f" ! {shorten(text, MAX_TEXT)}", style="bold yellow"), width) for text in said]


def _sessions(state: MonitorState, width: int) -> Block:
    counts = settled(state.sessions)
    seen = {transport for _, transport in counts}
    # the last of those known is rare, and others there are none
    transports = [name for name in TRANSPORTS if name != "unknown" or name in seen] + sorted(seen - set(TRANSPORTS))
    protocols = sorted({protocol for protocol, _ in counts}, key=lambda name: -sum(_row(counts, name, transports)))
    rows = [
        [name, *(f"{count:,}" if count else NONE for count in _row(counts, name, transports))] for name in protocols
    ]
    header = ["Sessions", *(TRANSPORTS.get(transport, transport) for transport in transports)]
    if not rows:
        return Block([_cut(Text(" none has ended yet", style="dim"), width)], 1, _title("Sessions", width))
    styles = ["bold", "red", "green", "green", ""]
    lines = _table([header, *rows], min(width, MAX_TABLE), styles, right=range(1, len(header)))
    return Block(lines[1:], 2, lines[0])


def _row(counts: Mapping[tuple[str, str], int], protocol: str, transports: Sequence[str]) -> list[int]:
    return [counts.get((protocol, transport), 0) for transport in transports]


def _findings(state: MonitorState, width: int) -> Block:
    # Newest first by what is shown, the time of the evidence: a session that ends, or a file that is read late, tells of earlier ones.
    alerts = sorted(latest(state.recent), key=lambda alert: alert.time_ns)[::-1]
    if not alerts:
        return Block([_cut(Text(" none so far", style="dim"), width)], 1, _title("Last findings", width))
    columns = ["time", "severity", "finding", "server", "client", "account"]
    # at 80 columns: the rule told from others, an IPv4 address whole, with its port
    floors = [8, 8, 20, 17, 13, 9]
    styles = ["dim", "severity", "bold", "", "", "bold"]
    if width < CLIENT_WIDTH:
        columns, floors, styles = _without(4, columns), [8, 8, 13, 17, 9], _without(4, styles)
    if width < SERVER_WIDTH:
        columns, floors, styles = _without(3, columns), [8, 8, 12, 10], _without(3, styles)
    moments = [_moment(alert) for alert in alerts]
    rows = [_finding(alert, moment[1], columns) for alert, moment in zip(alerts, moments, strict=True)]
    header = ["UTC", *columns[1:]]
    server = (columns.index("server"),) if "server" in columns else ()
    client = (columns.index("client"),) if "client" in columns else ()
    lines = _table([header, *rows], width, styles, floors=floors, middle=client, front=server)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    told: list[Line] = []
    for (date, _), line in zip(moments, lines[1:], strict=True):
        if date != day:
            day = date
            told.append(_cut(Text(f" {date}", style="bold dim"), width))
        told.append(line)
    return Block(told, 4, lines[0])


def _without(index: int, values: list[str]) -> list[str]:
    return values[:index] + values[index + 1 :]


def _moment(alert: Alert) -> tuple[str, str]:
    """Day and time of what an alert is about."""
    # gmtime knows no years beyond some thousands; captures may
    moment = time.gmtime(alert.time_ns // 1_000_000_000 % (1 << 33))
    return time.strftime("%Y-%m-%d", moment), time.strftime("%H:%M:%S", moment)


def _finding(alert: Alert, clock: str, columns: Sequence[str]) -> list[str]:
    cells = {
        "time": clock,
        "severity": alert.severity,
        "finding": alert.rule,
        "server": NONE if alert.server_ip is None else f"{_host(alert.server_ip)}:{alert.server_port or 0}",
        "client": alert.client_ip or NONE,
        "account": alert.username or NONE,
    }
    return [cells[column] for column in columns]


def _tops(state: MonitorState, width: int) -> list[Block]:
    blocks = []
    for title, names in (
        ("Servers, logins in clear", state.exposed_servers),
        ("Clients, logins in clear", state.exposed_clients),
    ):
        counts = sorted(names.snapshot().items(), key=lambda item: (-item[1], item[0]))[:40]
        rows = [[name, f"{count:,}"] for name, count in counts] or [[NONE, ""]]
        ends = {"front": (0,)} if names is state.exposed_servers else {"middle": (0,)}
        lines = _table([[title, ""], *rows], width, ["", "bold"], right=(1,), **ends)
        blocks.append(Block(lines[1:], 1, lines[0]))
    return blocks


def _sinks(state: MonitorState, width: int) -> list[Line]:
    held = [
        (state.alerts_repeated, "repeated"),
        (state.alerts_limited, "over the rate"),
        (state.alerts_below, "below the severity"),
    ]
    parts = [
        (f" Alerts {state.alerts_raised:,}", "bold"),
        *[(f"{count:,} {word}", "") for count, word in held if count],
    ]
    lines = _flowing(parts, width)[:1]
    for sink in sorted(state.sinks, key=lambda sink: not (sink.trouble or sink.lost)):
        words = [f"{sink.delivered:,} delivered"]
        words += [f"{sink.waiting:,} waiting"] if sink.waiting else []
        words += [f"{sink.lost:,} LOST"] if sink.lost else []
        words += ["IN TROUBLE"] if sink.trouble else []
        style = "bold red" if sink.lost or sink.trouble else ""
        lines.append(_named(f"  {sink_name(sink.name)}", ", ".join(words), style, width))
    return lines


def _store(state: MonitorState, width: int) -> Line:
    if not state.stores:
        return _named(" Store", "off", "dim", width)
    words = [f"{state.store_written:,} rows written" if state.store_written else "nothing written so far"]
    words += [f"{state.store_waiting:,} waiting"] if state.store_waiting else []
    words += [f"{state.store_lost:,} LOST"] if state.store_lost else []
    words += ["followed files wait for it"] if state.files_wait else []
    words += ["IN TROUBLE"] if state.store_trouble else []
    return _named(" Store", ", ".join(words), "bold red" if state.store_lost or state.store_trouble else "", width)


# -- laying out --------------------------------------------------------------------------------------------------------------------


def _cut(line: Line, width: int) -> Line:
    if line.cell_len > width:
        line = line.copy()
        line.truncate(max(0, width), overflow="ellipsis")
    return line


def _sized(text: str, width: int, *, middle: bool = False, front: bool = False) -> str:
    """Text of exactly that many columns, with an ellipsis where it was cut: at its end, in its middle, or at its front."""
    if cell_len(text) <= width:
        return text + " " * (width - cell_len(text))
    if width <= 0:
        return ""
    if front or (middle and width > 4):
        most = width - 1 if front else width // 2
        tail = text[-most:] if most else ""
        while cell_len(tail) > most:
            tail = tail[1:]
        return _sized(set_cell_size(text, 0 if front else width - 1 - cell_len(tail)) + "…" + tail, width)
    return set_cell_size(text, width - 1) + "…"


def _named_shortly(name: str, width: int) -> str:
    """The name of a source; of a long path, both ends."""
    name = "standard input" if name == "-" else shorten(name, MAX_TEXT)
    return _sized(name, width, middle=True) if cell_len(name) > width else name


def _title(text: str, width: int) -> Line:
    return _cut(Text(_sized(f" {text}", width), style="bold underline"), width)


def _named(name: str, words: str, style: str, width: int) -> Line:
    """A name, and what is said of it; the name gives way."""
    name = _sized(name, min(cell_len(name), max(8, width - cell_len(words) - 2)))
    return _cut(Text.assemble((name, "bold"), "  ", (words, style)), width)


def _flowing(parts: Sequence[tuple[str, str]], width: int) -> list[Line]:
    """Parts after each other, on as many lines as it takes."""
    lines = [Text("")]
    for text, style in parts:
        gap = "  " if lines[-1].plain else ""
        if gap and lines[-1].cell_len + len(gap) + cell_len(text) > width:
            lines.append(Text(" "))
            gap = ""
        lines[-1].append(gap).append(text, style)
    return [_cut(line, width) for line in lines]


def fit(natural: Sequence[int], width: int, floors: Sequence[int] = ()) -> list[int]:
    """Widths of columns that fit: those furthest above their floors give way first, one column of the terminal at a time."""
    widths = list(natural)
    lows = [floors[index] if index < len(floors) else 0 for index in range(len(widths))]
    while sum(widths) > width and max(widths, default=0) > 0:
        spare = [have - low for have, low in zip(widths, lows, strict=True)]
        if max(spare) <= 0:
            spare = widths
        widths[spare.index(max(spare))] -= 1
    return widths


def _table(
    rows: Sequence[Sequence[str]],
    width: int,
    styles: Sequence[str],
    *,
    floors: Sequence[int] = (),
    right: Sequence[int] = (),
    middle: Sequence[int] = (),
    front: Sequence[int] = (),
) -> list[Line]:
    """Rows as lines; the first row is the header.

    Columns in ``right`` are set to the right; where they are too wide, those in ``middle`` lose their middle, those in ``front`` (an
    address with a port) their beginning. What is left of the width goes to the last column, or to the first where numbers follow it.
    """
    columns = len(rows[0])
    cells = [[shorten(cell, MAX_TEXT) for cell in row] for row in rows]
    natural = [max(cell_len(row[index]) for row in cells) for index in range(columns)]
    # two apart, or one where that is what it takes
    gap = 2 if 1 + sum(natural) + 2 * (columns - 1) <= width else 1
    spare = max(0, width - 1 - gap * (columns - 1))
    widths = fit(natural, spare, floors)
    widths[0 if right else columns - 1] += max(0, spare - sum(widths))
    lines: list[Line] = []
    for number, row in enumerate(cells):
        line = Text(" ", style="" if number else "bold underline")
        for index, cell in enumerate(row):
            # a heading reads from its beginning
            sized = _sized(cell, widths[index], middle=index in middle, front=index in front and number > 0)
            if index in right:
                cut = sized.rstrip()
                sized = " " * (widths[index] - cell_len(cut)) + cut
            style = styles[index] if number and index < len(styles) else ""
            if style == "severity":
                style = SEVERITY_STYLES.get(cell, "")
            if index in right and cell == NONE:
                style = "dim"
            line.append(" " * gap if index else "").append(sized, style)
        lines.append(_cut(line, width))
    return lines


def _stacked(blocks: Sequence[Block], height: int) -> list[Line]:
    given = share(blocks, height)
    return [line for block, lines in zip(blocks, given, strict=True) for line in block.shown(lines)]


def _beside(left: Sequence[Line], right: Sequence[Line], left_width: int, height: int) -> list[Line]:
    """Two columns of lines, two apart."""
    lines: list[Line] = []
    for index in range(height):
        line = left[index].copy() if index < len(left) else Text("")
        line = _padded(line, left_width)
        if index < len(right):
            line = Text.assemble(line, "  ", right[index])
        lines.append(line)
    return lines


def _padded(line: Line, width: int) -> Line:
    return Text.assemble(line, " " * max(0, width - line.cell_len))


def _paired(left: Block, right: Block, width: int) -> Block:
    """Two blocks beside each other as one."""
    assert left.title is not None
    assert right.title is not None
    lines = _beside(left.lines, right.lines, width, max(len(left.lines), len(right.lines)))
    return Block(lines, 1, _beside([left.title], [right.title], width, 1)[0])


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def duration(seconds: int) -> str:
    """``3 d 04:05:06``, ``04:05:06``."""
    days, rest = divmod(int(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock


def size(octets: float) -> str:
    """Octets in a unit that suits."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:,.1f} TB"


def plain(line: Line, encoding: str) -> Line:
    """The line, fit for a terminal that knows no Unicode."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return line
    text = visible(line.plain).translate({ord("…"): "~", **{ord(bar): "#" for bar in BARS}})
    return Text(text.encode("ascii", "replace").decode("ascii"), spans=line.spans, style=line.style)
