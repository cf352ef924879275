"""Live sources on real interfaces, in network namespaces: nothing missing, nothing doubled, nothing left behind.

Two namespaces joined by a cable. It needs root, ``ip``, ``tcpdump`` and ``dumpcap``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.waiting import CHILD_PATIENCE, PATIENCE, SOCKET_PATIENCE, until
from support.wraps import WRAPS, ethernet, ipv4, ipv6, tcp, udp

from analyzer.capture import ring
from analyzer.capture.base import RecordList
from analyzer.capture.files import read_capture
from analyzer.capture.interfaces import interfaces
from analyzer.capture.live import LiveSource
from analyzer.capture.live_open import make_live
from analyzer.errors import UsageError

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CLONE_NEWNET = 0x40000000
#: What marks our own frames among those the kernel sends of itself: addresses, or payload.
MARK = b"MAILTAP LAB"
IP = ipv4(tcp(MARK))


def run(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=CHILD_PATIENCE)
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread's sockets are made in another namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open("rb") as home, Path(f"/run/netns/{namespace}").open("rb") as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), CLONE_NEWNET) == 0


class Cable:
    """Two namespaces, ``a0`` in one and ``b0`` in the other, and a second cable ``c0`` to ``d0``."""

    def __init__(self) -> None:
        self.near = f"mailtap-n{os.getpid()}"
        self.far = f"mailtap-f{os.getpid()}"

    def up(self) -> None:
        for name in (self.near, self.far):
            run("ip", "netns", "add", name)
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", check=False)
            run("ip", "-n", name, "link", "set", "lo", "up")
        self.plug("a0", "b0")
        self.plug("c0", "d0")

    def plug(self, one: str, other: str) -> None:
        run("ip", "link", "add", one, "netns", self.near, "type", "veth", "peer", "name", other, "netns", self.far)
        run("ip", "-n", self.near, "link", "set", one, "up")
        run("ip", "-n", self.far, "link", "set", other, "up")

    def down(self) -> None:
        for name in (self.near, self.far):
            run("ip", "netns", "del", name, check=False)

    def open(self, name: str = "b0", **arguments: object) -> Watched:
        source = make_live(name, **arguments)  # type: ignore[arg-type]
        with inside(self.far):
            source.open()
        return Watched(source)

    def sender(self, name: str = "a0") -> socket.socket:
        with inside(self.near):
            channel = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            channel.bind((name, 0))
        return channel

    def send(self, *frames: bytes, name: str = "a0") -> None:
        with self.sender(name) as channel:
            for frame in frames:
                channel.send(frame)


class Watched:
    """An open source and what came out of it."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.sink = RecordList()

    @property
    def data(self) -> list[bytes]:
        """Our own frames."""
        return [record[2] for record in self.sink.records if MARK in record[2]]

    def read(self, condition: Callable[[], bool]) -> Watched:
        """Read until something is so."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, (len(self.data), self.source.trouble)
            select.select([self.source], [], [], 0.05)
            self.source.read(self.sink)
        return self

    def read_on(self) -> Watched:
        """A little longer, for what should not come: on a slow machine it may come too late to be noticed, and fails nothing."""
        end = time.monotonic() + 0.4
        return self.read(lambda: time.monotonic() >= end)

    def counted(self) -> int:
        """Packets that came, and those that were dropped."""
        counters = self.source.counters()
        return counters.packets + (counters.kernel_drops or 0) + counters.own_drops

    def has(self, count: int) -> Watched:
        return self.read(lambda: len(self.data) >= count)

    def close(self) -> None:
        self.source.close()


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    made = Cable()
    try:
        made.up()
        yield made
    finally:
        made.down()


KINDS = ["ring", "scapy"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_tcpdump_row_for_row(cable: Cable, kind: str, tmp_path: Path):
    frames = [wrap(ip) for linktype, wrap in WRAPS.values() if linktype == 1 for ip in (IP, ipv6(tcp(MARK)))]
    frames = [frame for frame in frames for _ in range(3)] + [ethernet(ipv4(tcp(MARK + b"x" * 1400)))] * 50
    path = tmp_path / "other.pcap"
    other = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            cable.far,
            "tcpdump",
            "-i",
            "b0",
            "-U",
            "-n",
            "-w",
            str(path),
            "--immediate-mode",
            "-s",
            "2000",
            "-B",
            "8192",
        ],
        stderr=subprocess.PIPE,
    )
    assert other.stderr is not None
    while b"listening" not in other.stderr.readline():
        assert other.poll() is None
    watched = cable.open(kind=kind, filter="")
    cable.send(*frames)
    watched.has(len(frames)).read_on()
    watched.close()
    until(lambda: path.read_bytes().count(MARK) >= b"".join(frames).count(MARK))
    other.terminate()
    other.communicate()
    theirs = RecordList()
    read_capture(str(path), theirs)
    expected = [record for record in theirs.records if MARK in record[2]]
    ours = [record for record in watched.sink.records if MARK in record[2]]
    assert [record[1:4] for record in ours] == [record[1:4] for record in expected]
    assert [record[2] for record in ours] == frames
    # the same clock, in the same unit
    assert max(abs(one[0] - two[0]) for one, two in zip(ours, expected, strict=True)) < 60_000_000_000
    counters = watched.source.counters()
    assert (counters.kernel_drops, counters.own_drops, counters.damaged) == (0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_filter_in_the_kernel(cable: Cable, kind: str):
    wanted = [wrap(IP) for linktype, wrap in WRAPS.values() if linktype == 1]
    unwanted = [
        ethernet(ipv4(udp(MARK * 3, 53), 17)),
        ethernet(ipv6(udp(MARK * 3, 443), 17)),
        ethernet(ipv4(b"\x08\0\0\0" + MARK, 1)),
        wanted[0][:12] + b"\x08\x06" + MARK * 4,
    ]
    watched = cable.open(kind=kind)
    cable.send(*unwanted, *wanted, *unwanted)
    watched.has(len(wanted)).read_on()
    watched.close()
    assert watched.data == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_of_ones_own(cable: Cable, kind: str):
    watched = cable.open(kind=kind, filter="udp port 53")
    dns = ethernet(ipv4(udp(MARK * 3, 53), 17))
    cable.send(ethernet(IP), dns)
    watched.has(1).read_on()
    watched.close()
    assert watched.data == [dns]
    with pytest.raises(UsageError, match="syntax error"):
        cable.open(kind=kind, filter="udp prt 53")


def test_a_filter_for_a_vlan(cable: Cable):
    five = WRAPS["802.1Q"][1](IP)
    six = five[:15] + b"\x06" + five[16:]
    for name in ("b0", "any"):
        watched = cable.open(name, filter="vlan 5 and tcp port 110")
        cable.send(six, ethernet(IP), five)
        watched.has(1).read_on()
        watched.close()
        assert watched.data == [five]


def test_long_packets_of_offload_are_whole(cable: Cable):
    for namespace, name, address in ((cable.near, "c0", "192.0.2.1/24"), (cable.far, "d0", "192.0.2.2/24")):
        run("ip", "-n", namespace, "addr", "add", address, "dev", name)
    watched = cable.open("d0", filter="tcp")
    with inside(cable.far), socket.create_server(("192.0.2.2", 110)) as server:
        with inside(cable.near):
            client = socket.create_connection(("192.0.2.2", 110), timeout=SOCKET_PATIENCE)
        with client, server.accept()[0] as peer:
            thread = threading.Thread(target=client.sendall, args=(MARK * 100000,))
            thread.start()
            left = len(MARK) * 100000
            while left > 0:
                left -= len(peer.recv(1 << 16))
            thread.join()

    def lengths() -> list[int]:
        return [len(record[2]) for record in watched.sink.records]

    watched.read(lambda: sum(length - 66 for length in lengths() if length > 66) >= len(MARK) * 100000)
    watched.close()
    assert max(lengths()) > 30000
    assert all(len(record[2]) == record[3] for record in watched.sink.records)


@pytest.mark.parametrize("kind", KINDS)
def test_any_and_two_interfaces(cable: Cable, kind: str):
    everything = cable.open("any", kind=kind)
    one, two = cable.open("b0", kind=kind), cable.open("d0", kind=kind)
    first, second = ethernet(ipv4(tcp(MARK + b"1"))), ethernet(ipv4(tcp(MARK + b"2")))
    cable.send(first, name="a0")
    cable.send(second, name="c0")
    with (
        inside(cable.far),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        client.sendall(MARK + b"3")
        everything.has(3)
    everything.read_on()
    one.has(1).read_on()
    two.has(1).read_on()
    for watched in (everything, one, two):
        watched.close()
    assert one.data == [first]
    assert two.data == [second]
    assert sorted(data[data.index(MARK) :] for data in everything.data) == [MARK + b"1", MARK + b"2", MARK + b"3"]
    assert [record[4] for record in everything.sink.records] == list(range(1, len(everything.sink.records) + 1))


def test_a_tunnel_gives_plain_ip(cable: Cable):
    with inside(cable.far):
        tunnel = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22s", b"t0", 0x0001 | 0x1000, b""))
    try:
        run("ip", "-n", cable.far, "link", "set", "t0", "up")
        alone, everything = cable.open("t0"), cable.open("any")
        own = cable.open("any", filter="tcp port 110")
        os.write(tunnel, IP)
        os.write(tunnel, ipv4(udp(MARK, 53), 17))
        cable.send(ethernet(IP))
        alone.has(1).read_on()
        everything.has(2).read_on()
        own.has(2).read_on()
        for watched in (alone, everything, own):
            watched.close()
    finally:
        os.close(tunnel)
    assert [(record[1], record[2]) for record in alone.sink.records if MARK in record[2]] == [(101, IP)]
    for watched in (everything, own):
        assert {(record[1], record[2]) for record in watched.sink.records if MARK in record[2]} == {
            (101, IP),
            (1, ethernet(IP)),
        }


@pytest.mark.parametrize("kind", KINDS)
def test_promiscuous_and_back(cable: Cable, kind: str):
    def promiscuity() -> str:
        return run("ip", "-n", cable.far, "-d", "link", "show", "b0").split("promiscuity ")[1].split()[0]

    assert promiscuity() == "0"
    watched = cable.open(kind=kind)
    assert promiscuity() == "1"
    watched.close()
    assert promiscuity() == "0"
    watched = cable.open(kind=kind, promiscuous=False)
    assert promiscuity() == "0"
    watched.close()


def test_promiscuous_ends_with_a_killed_process(cable: Cable):
    script = "import sys, time; from analyzer.capture.live_open import open_live; kept = open_live('b0'); print(1, flush=True); time.sleep(3600)"
    child = subprocess.Popen(["ip", "netns", "exec", cable.far, sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\n"
    assert "promiscuity 1" in run("ip", "-n", cable.far, "-d", "link", "show", "b0")
    child.kill()
    child.communicate()
    until(lambda: "promiscuity 0" in run("ip", "-n", cable.far, "-d", "link", "show", "b0"))


def test_drops_are_counted(cable: Cable):
    frame = ethernet(ipv4(tcp(MARK + b"x" * 1300)))
    watched = cable.open(filter="tcp port 110", ring_bytes=1 << 18)
    cable.send(*[frame] * 2000)
    until(lambda: (watched.source.counters().kernel_drops or 0) > 0)
    watched.read(lambda: watched.counted() == 2000)
    cable.send(frame)
    watched.read(lambda: watched.counted() == 2001)
    counters = watched.source.counters()
    assert counters.packets == len(watched.data)
    assert counters.kernel_drops is not None
    assert counters.packets + counters.kernel_drops == 2001
    watched.close()
    assert watched.source.counters().kernel_drops == counters.kernel_drops


def test_one_packet_alone_is_handed_over_although_its_block_is_far_from_full(cable: Cable):
    watched = cable.open()
    # What the kernel was asked for, in its own words: after so many milliseconds a block is handed over as it is.
    rings = run("ip", "netns", "exec", cable.far, "ss", "-0", "-e")
    (wait,) = re.findall(r"ring_rx\(.*\btmo:(\d+)", rings)
    assert 0 < int(wait) == ring.RETIRE_MS <= 100
    cable.send(ethernet(IP))
    watched.has(1)
    watched.close()


@pytest.mark.parametrize("kind", KINDS)
def test_down_and_up_again(cable: Cable, kind: str):
    watched = cable.open(kind=kind)
    run("ip", "-n", cable.far, "link", "set", "b0", "down")
    watched.read(lambda: not watched.source.up)
    assert watched.source.trouble
    run("ip", "-n", cable.far, "link", "set", "b0", "up")

    def back() -> bool:
        with contextlib.suppress(OSError):
            cable.send(ethernet(IP))
        return bool(watched.data)

    watched.read(back)
    watched.read(lambda: watched.source.up and watched.source.trouble == "")
    watched.close()


def test_no_carrier_is_told(cable: Cable):
    watched = cable.open()
    run("ip", "-n", cable.near, "link", "set", "a0", "down")
    watched.read(lambda: "carrier" in watched.source.trouble)
    assert watched.source.up
    run("ip", "-n", cable.near, "link", "set", "a0", "up")
    watched.read(lambda: watched.source.trouble == "")
    watched.close()


def test_deleted_and_made_anew_without_privileges(cable: Cable):
    """What was opened as root goes on as nobody, even on a new interface of the same name."""
    cable.plug("e0", "f0")
    script = """
import os, select, sys, time
from analyzer.capture.base import RecordList
from analyzer.capture.live_open import open_live
source = open_live("f0", filter="tcp port 110")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sink = RecordList()
print("ready", flush=True)
told = ""
while sum(b"MAILTAP LAB" in record[2] for record in sink.records) < 2:
    select.select([source], [], [], 0.05)
    before = len(sink.records)
    source.read(sink)
    now = f"{source.up} {source.trouble}"
    if now != told:
        told = now
        print(now, flush=True)
    if len(sink.records) > before:
        print("packet", flush=True)
print(source.counters().packets >= 2, flush=True)
"""
    child = subprocess.Popen(
        ["ip", "netns", "exec", cable.far, sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None

    def wait_for(words: str) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            if words in line:
                return
        raise AssertionError(words)

    try:
        wait_for("ready")
        cable.send(ethernet(IP), name="e0")
        wait_for("packet")
        run("ip", "-n", cable.near, "link", "del", "e0")
        wait_for("False is gone")
        cable.plug("e0", "f0")
        wait_for("True")
        assert "promiscuity 1" in run("ip", "-n", cable.far, "-d", "link", "show", "f0")
        cable.send(ethernet(IP), name="e0")
        wait_for("packet")
        assert child.wait(timeout=CHILD_PATIENCE) == 0
    finally:
        child.kill()
        child.communicate()
        run("ip", "-n", cable.near, "link", "del", "e0", check=False)


def test_the_sniffer_ends_its_thread_and_drops_what_it_has_no_room_for(cable: Cable):
    before = threading.active_count()
    watched = cable.open(kind="scapy", filter="tcp port 110")
    assert threading.active_count() == before  # a thread that is older than the drop of privileges would keep them
    watched.source.read(watched.sink)
    assert threading.active_count() == before + 1
    cable.send(*[ethernet(IP)] * 1000)
    watched.read(lambda: watched.counted() == 1000)
    assert watched.source.counters().kernel_drops is not None
    watched.close()
    assert threading.active_count() == before
    assert watched.source.fileno() == -1


def test_interfaces_of_a_namespace(cable: Cable):
    with inside(cable.far):
        found = {one.name: one for one in interfaces()}
    assert {"lo", "b0", "d0", "any"} <= set(found)
    assert (found["b0"].link, found["b0"].up, found["b0"].capturable) == ("Ethernet", True, True)


def test_the_ring_files_of_dumpcap(cable: Cable, tmp_path: Path):
    folder = tmp_path / "ring"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    source = make_live(str(folder), kind="follow")
    source.open()
    watched = Watched(source)
    writer = subprocess.Popen(
        ["ip", "netns", "exec", cable.far, "dumpcap", "-q", "-i", "b0", "-f", "tcp port 110", "-b", "packets:40", "-b", "files:4",
         "-w", str(folder / "x.pcapng")],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: list(folder.iterdir()))
        frames = [ethernet(ipv4(tcp(MARK + str(number).encode()))) for number in range(300)]

        def has(count: int) -> bool:
            source.read(watched.sink)
            return len(watched.data) >= count

        # Never more on the way than the files hold that are still there when dumpcap writes them all at once.
        with cable.sender() as channel:
            for start in range(0, 300, 60):
                for frame in frames[start : start + 60]:
                    channel.send(frame)
                    source.read(watched.sink)
                until(lambda start=start: has(start + 60))
    finally:
        writer.terminate()
        writer.wait()
        source.close()
    assert watched.data == frames
    assert len(list(folder.iterdir())) <= 5
    assert source.counters().damaged == 0
