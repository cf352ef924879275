"""How many packets a second the live sources hold: one table of rate, loss and processor time. And a soak: does memory stay flat?

    python benchmarks/live.py [--rates 25,50,100,150,200,300] [--seconds 5] [--only ring,dumpcap] [--compiled DIR]
    python benchmarks/live.py --soak 600 [--syn-flood 10000] [--rates 30]

Two network namespaces joined by a cable; tcpreplay sends the synthetic mixed capture (about 4 % mail) on one processor, with new
addresses in each round, and the receiver runs on another. What the kernel does to bring a packet to the receiver is done on the sender's
processor, as on a machine whose interrupts go elsewhere. It needs root, ``ip`` and ``tcpreplay``.

``ring``         default filter, decoder, flow table, dissectors, session records, as in the monitor; no store and no alerts
``ring, all``    the same with no filter in the kernel: the decoder drops what is no TCP
``scapy``        the same behind scapy's socket (``--source scapy``)
``scapy alone``  scapy's AsyncSniffer, counting packets and doing nothing else
``dumpcap``      dumpcap writing to /dev/null

Loss is what the receiver's kernel says that it dropped, beside what the receiver dropped itself; for receivers without a filter it
must agree with what was sent, which is checked.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

FAR, NEAR = "mailtap-bench-r", "mailtap-bench-s"
RECEIVERS = ("ring", "ring, all", "scapy", "scapy alone", "dumpcap")
#: Receivers are not asked for more than this: they lose nearly all of it.
LIMITS = {"scapy": 100, "scapy alone": 100}


@dataclass
class Row:
    """One receiver at one rate."""

    receiver: str
    wanted: int
    sent: float
    seen: float
    loss: float
    processor: float
    peak_mib: float
    note: str = ""


def main() -> None:
    """Parse the command line; send and receive; print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rates",
        default="25,50,100,150,200,300",
        help="thousands of packets a second, one row each; --soak takes the first (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=5, help="for each rate (default: 5)")
    parser.add_argument("--only", default="", help="receivers whose name holds one of these words, comma-separated")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="cache folder")
    parser.add_argument("--scale", type=float, default=0.25, help="size of the capture that is sent, 1 is 600 MB")
    parser.add_argument("--compiled", type=Path, help="folder that holds a compiled package (default: the installed)")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="mixed traffic for long, and memory over time")
    parser.add_argument(
        "--syn-flood", type=int, nargs="?", const=20000, default=0, metavar="RATE",
        help="with --soak: SYNs of random flows to mail ports as well, so many a second (20000 where no number is given)",
    )  # fmt: skip
    parser.add_argument("--urgent", action="store_true", help="go before other programs, on a machine that is in use")
    parser.add_argument("--receive", nargs=2, metavar=("KIND", "INTERFACE"), help=argparse.SUPPRESS)
    parser.add_argument("--flood", nargs=3, metavar=("INTERFACE", "SECONDS", "RATE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        receive(*options.receive)
        return
    if options.flood:
        flood(options.flood[0], float(options.flood[1]), int(options.flood[2]))
        return
    missing = [tool for tool in ("ip", "tcpreplay") if shutil.which(tool) is None]
    if os.geteuid() != 0 or missing:
        sys.exit(f"needs root, and {' and '.join(missing) or 'nothing else'}")
    if options.urgent:
        os.environ["MAILTAP_BENCH_URGENT"] = "1"
    if options.compiled:
        os.environ["PYTHONPATH"] = str(options.compiled.resolve())
    from run import generate, machine

    options.dir.mkdir(parents=True, exist_ok=True)
    capture, packets = generate(options.dir, "mixed", options.scale)
    rates = [int(rate) * 1000 for rate in options.rates.split(",")]
    with cable():
        if options.soak:
            soak(capture, rates[0], options.soak, options.syn_flood)
            return
        wanted = [word.strip() for word in options.only.split(",") if word.strip()]
        rows = []
        for receiver in RECEIVERS:
            if wanted and not any(word in receiver for word in wanted):
                continue
            for rate in rates:
                if rate > 1000 * LIMITS.get(receiver, rate):
                    continue
                rows.append(measure(receiver, capture, packets, rate, options.seconds))
                print(line(rows[-1]), flush=True)
    print()
    print("| receiver | packets/s sent | seen | loss | one core | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        print(line(row))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\nMeasured on {machine()}, load {load}; {build()}.")


def line(row: Row) -> str:
    """A row of the table."""
    return (
        f"| {row.receiver} | {row.sent:,.0f} | {row.seen:,.0f} | {row.loss:.2%} | {row.processor:.0%} | "
        f"{f'{row.peak_mib:.0f}' if row.peak_mib else ''} |{row.note}"
    )


def build() -> str:
    """Which mailtap was measured."""
    script = "import analyzer._build as b; print(b.build_kind())"
    done = subprocess.run([sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True)
    return f"mailtap {done.stdout.strip()}"


@contextmanager
def cable() -> Iterator[None]:
    """The two namespaces, ``s0`` in one and ``r0`` in the other."""
    try:
        for name in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "add", name], check=True)
            quiet = ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]
            subprocess.run(["ip", "netns", "exec", name, *quiet], check=False)
        subprocess.run(
            ["ip", "link", "add", "s0", "netns", NEAR, "type", "veth", "peer", "name", "r0", "netns", FAR], check=True
        )
        for name, interface in ((NEAR, "s0"), (FAR, "r0")):
            subprocess.run(["ip", "-n", name, "link", "set", interface, "up"], check=True)
        yield
    finally:
        for name in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def cpus() -> tuple[int, int]:
    """One processor for the receiver, one for the sender; the same where there is but one."""
    there = sorted(os.sched_getaffinity(0))
    return there[0], there[-1]


def start(namespace: str, command: list[str], cpu: int) -> subprocess.Popen[str]:
    """Run a command in a namespace, on one processor. The process is the command itself: ``ip`` puts it in its own place."""
    child = subprocess.Popen(
        ["ip", "netns", "exec", namespace, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # noqa: PLW1509 - one thread only here
        start_new_session=True,
    )
    if os.environ.get("MAILTAP_BENCH_URGENT"):
        # Linux shares processors by session before it looks at niceness: this makes the new session the most important one.
        Path(f"/proc/{child.pid}/autogroup").write_text("-20")
    return child


def measure(receiver: str, capture: Path, packets: int, rate: int, seconds: float) -> Row:
    """One receiver at one rate."""
    receiving, sending = cpus()
    if receiver == "dumpcap":
        child = start(FAR, ["dumpcap", "-q", "-i", "r0", "-w", "/dev/null"], receiving)
        assert child.stderr is not None
        while "File:" not in child.stderr.readline():
            continue
    else:
        child = start(FAR, [sys.executable, "-P", str(Path(__file__)), "--receive", receiver, "r0"], receiving)
        assert child.stdout is not None
        if "ready" not in child.stdout.readline():
            sys.exit(f"{receiver} did not start: {child.stderr.read() if child.stderr else ''}")
    before = processor_seconds(child.pid)
    began = time.perf_counter()
    count, sent = send(capture, packets, rate, seconds, sending)
    time.sleep(0.3)
    used = processor_seconds(child.pid) - before
    elapsed = time.perf_counter() - began
    child.send_signal(signal.SIGINT)
    try:
        output, errors = child.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
    if receiver == "dumpcap":
        found = re.search(r"received/dropped on interface '?r0'?: (\d+)/(\d+)", errors)
        seen, lost = (int(found.group(1)), int(found.group(2))) if found else (0, count)
        peak = 0.0
    else:
        told = json.loads(output.strip().splitlines()[-1])
        seen, lost, peak = told["packets"], told["lost"], told["peak_mib"]
    note = ""
    if receiver in ("ring, all", "dumpcap") and abs(seen + lost - count) > count // 1000:
        note = f" {seen + lost:,} of {count:,} sent came"
    if receiver == "scapy alone":
        lost = max(0, count - seen)  # it does not ask the kernel
    span = count / sent
    return Row(receiver, rate, sent, seen / span, lost / max(1, seen + lost), used / elapsed, peak, note)


def send(capture: Path, packets: int, rate: int, seconds: float, cpu: int) -> tuple[int, float]:
    """Send at a rate; how many packets went out, and at which rate."""
    loops = max(1, -(-int(rate * seconds) // packets))
    command = [
        "tcpreplay",
        "-q",
        "-i",
        "s0",
        "-K",
        f"--pps={rate}",
        f"--limit={int(rate * seconds)}",
        "--no-flow-stats",
    ]
    command += [f"--loop={loops}", "--unique-ip"] if loops > 1 else []
    child = start(NEAR, [*command, str(capture)], cpu)
    output, errors = child.communicate(timeout=600)
    found = re.search(r"Actual: (\d+) packets .* in ([\d.]+) seconds", output)
    if found is None:
        sys.exit(f"tcpreplay: {errors or output}")
    count, took = int(found.group(1)), float(found.group(2))
    return count, count / max(took, 0.001)


def processor_seconds(pid: int) -> float:
    """User and system time of a process until now."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Resident memory of a process, without what it shares with the kernel (the ring)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return sum(int(number) for number in re.findall(r"Rss(?:Anon|File):\s+(\d+)", text)) / 1024


def receive(kind: str, interface: str) -> None:
    """The receiving process: until SIGINT, then what it counted, as JSON."""
    if kind == "scapy alone":
        receive_scapy(interface)
        return
    from analyzer.capture.live_open import open_live
    from analyzer.pipeline import Pipeline
    from analyzer.sessions.records import SessionSink

    source = open_live(
        interface, kind="scapy" if kind == "scapy" else "ring", filter="" if kind == "ring, all" else None
    )
    pipeline = Pipeline(SessionSink())
    pipeline.table.live = True
    pipeline.factory.captures = [interface]
    waiting = select.poll()
    waiting.register(source.fileno(), select.POLLIN)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGINT, stop)
    gc.collect()
    gc.freeze()
    gc.disable()
    turn = time.monotonic()
    print("ready", flush=True)
    while not stopped:
        if source.read(pipeline.decoder) == 0:
            waiting.poll(100)
        if time.monotonic() - turn > 0.2:
            turn = time.monotonic()
            last = source.counters().last_ns
            if last:
                pipeline.table.advance(last)
    counters = source.counters()
    source.close()
    print(
        json.dumps(
            {
                "packets": counters.packets,
                "lost": (counters.kernel_drops or 0) + counters.own_drops,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def receive_scapy(interface: str) -> None:
    """Scapy's own sniffer, which counts."""
    from scapy.sendrecv import AsyncSniffer

    seen = 0

    def count(_: object) -> None:
        nonlocal seen
        seen += 1

    sniffer = AsyncSniffer(iface=interface, store=False, prn=count)
    sniffer.start()
    time.sleep(1)
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGINT, stop)
    print("ready", flush=True)
    while not stopped:
        time.sleep(0.1)
    sniffer.stop(join=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"packets": seen, "lost": 0, "peak_mib": peak}), flush=True)
    os._exit(0)


def flood(interface: str, seconds: float, rate: int) -> None:
    """Sends SYNs of random flows to mail ports, ``rate`` a second."""
    import random
    import socket
    import struct

    chance = random.Random(1)
    ports = (25, 110, 143, 465, 587, 993, 995, 4190)
    channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    channel.bind((interface, 0))
    link = bytes.fromhex("02000000000202000000000a0800")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        began = time.monotonic()
        for _ in range(rate // 100):
            addresses = chance.getrandbits(64).to_bytes(8, "big")
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, chance.getrandbits(16), 0, 64, 6, 0) + addresses
            port = ports[chance.getrandbits(3)]
            tcp = struct.pack(
                "!HHIIBBHHH", chance.getrandbits(16), port, chance.getrandbits(32), 0, 0x50, 2, 1024, 0, 0
            )
            channel.send(link + ip + tcp)
        time.sleep(max(0.0, 0.01 - (time.monotonic() - began)))


def soak(capture: Path, rate: int, seconds: float, syn_flood: int) -> None:
    """``mailtap monitor`` itself, with its store, under mixed traffic for long; memory every ten seconds."""
    receiving, sending = cpus()
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    command = [sys.executable, "-P", "-m", "analyzer", "monitor", "-i", "r0", "--store", str(folder / "soak.db")]
    command += ["--alerts", f"jsonl:{folder / 'alerts.jsonl'}", "--user", "root"]
    child = start(FAR, command, receiving)
    others: list[subprocess.Popen[str]] = []
    try:
        time.sleep(3)
        sender = [
            "tcpreplay",
            "-q",
            "-i",
            "s0",
            "-K",
            f"--pps={rate}",
            "--loop=100000",
            "--unique-ip",
            "--no-flow-stats",
        ]
        others.append(start(NEAR, [*sender, f"--duration={int(seconds)}", str(capture)], sending))
        if syn_flood:
            script = [sys.executable, "-P", str(Path(__file__)), "--flood", "s0", str(seconds), str(syn_flood)]
            others.append(start(NEAR, script, sending))
        began = time.monotonic()
        print("| seconds | MiB | processor |")
        print("|---:|---:|---:|")
        before = processor_seconds(child.pid)
        while time.monotonic() - began < seconds and child.poll() is None:
            time.sleep(10)
            now = processor_seconds(child.pid)
            share = (now - before) / 10
            before = now
            print(f"| {time.monotonic() - began:.0f} | {memory_mib(child.pid):.0f} | {share:.0%} |", flush=True)
    finally:
        for other in others:
            other.kill()
            other.communicate()
        child.send_signal(signal.SIGINT)
        try:
            _, errors = child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            _, errors = child.communicate()
        print(errors)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
