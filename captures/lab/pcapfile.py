"""Capture files: recording them, rewriting their packets, and telling which connection came first.

Only headers are looked at here, to put the sessions of the ledger into the order of their first packets. What the
sessions said is known from the clients.
"""

from __future__ import annotations

import gzip
import ipaddress
import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from . import network
from .ledger import Session
from .network import LabError, inside, run

_ETHERNET: Final = 1
_SLL2: Final = 276
_NANOSECOND_MAGIC: Final = 0xA1B23C4D
_TAGS: Final = (0x8100, 0x88A8)
_SYN: Final = 0x02
_ACK: Final = 0x10


@dataclass(frozen=True)
class Packet:
    """One packet as captured. ``length`` is its length on the wire."""

    time_ns: int
    data: bytes
    length: int
    linktype: int


@dataclass(frozen=True)
class Segment:
    """Ends and flags of a TCP segment."""

    source: str
    source_port: int
    target: str
    target_port: int
    flags: int
    payload: int


class Tap:
    """tcpdump on an interface of the clients (``any`` for all of them), from construction until :meth:`close`."""

    def __init__(
        self, path: Path, *, interface: str = "c0", options: Iterable[str] = (), expression: str = "tcp"
    ) -> None:
        argv = (
            "tcpdump",
            "-i",
            interface,
            "-Z",
            "root",
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            *options,
            "-w",
            str(path),
            expression,
        )
        self._log = path.with_suffix(".log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(inside(network.CLIENTS, *argv), stderr=log, stdin=subprocess.DEVNULL)
        for _ in range(100):
            if "listening on" in self._log.read_text():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise LabError(f"tcpdump did not start: {self._log.read_text().strip()}")

    def close(self) -> None:
        """Wait for the last packets and stop; a packet dropped by the kernel spoils the sample."""
        time.sleep(0.4)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        dropped = re.search(r"(\d+) packets dropped by kernel", self._log.read_text())
        if dropped and dropped.group(1) != "0":
            raise LabError(f"tcpdump lost {dropped.group(1)} packets, try again")


def read(path: Path) -> list[Packet]:
    """The packets of a little-endian pcap file, as tcpdump writes them on this kind of machine."""
    data = path.read_bytes()
    magic, _, _, _, _, _, linktype = struct.unpack_from("<IHHiIII", data)
    unit = 1 if magic == _NANOSECOND_MAGIC else 1000
    packets, offset = [], 24
    while offset < len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, offset)
        offset += 16
        packets.append(Packet(seconds * 10**9 + fraction * unit, data[offset : offset + captured], length, linktype))
        offset += captured
    return packets


def write(path: Path, packets: list[Packet], *, nanoseconds: bool = False, snaplen: int = 262144) -> None:
    """Write a pcap file, compressed if its name says so (``.gz``, ``.zst``)."""
    linktype = packets[0].linktype if packets else _ETHERNET
    magic, unit = (_NANOSECOND_MAGIC, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    parts = [struct.pack("<IHHiIII", magic, 2, 4, 0, 0, snaplen, linktype)]
    for packet in packets:
        seconds, rest = divmod(packet.time_ns, 10**9)
        parts.append(struct.pack("<IIII", seconds, rest // unit, len(packet.data), packet.length))
        parts.append(packet.data)
    data = b"".join(parts)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data, 9, mtime=0))
    elif path.suffix == ".zst":
        subprocess.run(["zstd", "-q", "-f", "-19", "-o", str(path)], input=data, check=True)
    else:
        path.write_bytes(data)


def write_pcapng(path: Path, packets: list[Packet], keylog: Path | None = None) -> None:
    """Write a pcapng file with Wireshark's editcap, with TLS secrets in front if there are any."""
    plain = path.with_suffix(".editcap.pcap")
    write(plain, packets)
    secrets = ("--inject-secrets", f"tls,{keylog}") if keylog else ()
    run("editcap", "-F", "pcapng", *secrets, str(plain), str(path))
    plain.unlink()


def write_mixed_pcapng(path: Path, first: list[Packet], second: list[Packet]) -> None:
    """Write a pcapng file of two sections by hand, to have the blocks that common tools seldom write.

    The first section is little-endian, has two interfaces (microseconds; nanoseconds with an offset), a name
    resolution block, a comment, an unknown block and interface statistics. The second is big-endian.
    """
    out = [_section("<"), _interface("<", 6, "c0"), _interface("<", 9, "c0-ns", offset=1_000_000)]
    out.append(_block("<", 4, struct.pack("<HH", 1, 15) + bytes((192, 0, 2, 10)) + b"mail.ex.am\0\0" + bytes(4)))
    for number, packet in enumerate(first):
        comment = struct.pack("<HH", 1, 11) + b"a new start\0" + bytes(4) if number == 0 else b""
        nanoseconds = number % 2
        stamp = packet.time_ns - 1_000_000 * 10**9 if nanoseconds else packet.time_ns // 1000
        out.append(_enhanced("<", packet, nanoseconds, stamp, comment))
        if number == 1:
            out.append(_block("<", 0x0BAD, b"nobody knows this block."))
    out.append(_block("<", 5, struct.pack("<IIIHHQHH", 0, 0, 0, 4, 8, len(first), 0, 0)))
    out += [_section(">"), _interface(">", 6, "c0")]
    out += [_enhanced(">", packet, 0, packet.time_ns // 1000, b"") for packet in second]
    path.write_bytes(b"".join(out))


def _block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def _section(order: str) -> bytes:
    return _block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def _interface(order: str, digits: int, name: str, offset: int = 0) -> bytes:
    options = struct.pack(order + "HH", 2, len(name)) + name.encode() + bytes(-len(name) % 4)
    options += struct.pack(order + "HHB3x", 9, 1, digits)
    if offset:
        options += struct.pack(order + "HHq", 14, 8, offset)
    return _block(order, 1, struct.pack(order + "HHI", _ETHERNET, 0, 0) + options + bytes(4))


def _enhanced(order: str, packet: Packet, interface: int, stamp: int, options: bytes) -> bytes:
    head = struct.pack(order + "IIIII", interface, stamp >> 32, stamp & 0xFFFFFFFF, len(packet.data), packet.length)
    return _block(order, 6, head + packet.data + bytes(-len(packet.data) % 4) + options)


def tagged(packets: list[Packet], *tags: tuple[int, int]) -> list[Packet]:
    """The same Ethernet frames with VLAN tags ``(ethertype, id)``, the outer one first."""
    inserted = b"".join(struct.pack(">HH", kind, vlan) for kind, vlan in tags)
    return [
        replace(p, data=p.data[:12] + inserted + p.data[12:], length=p.length + len(inserted))
        for p in packets
    ]  # fmt: skip


def readdressed(packets: list[Packet], old: str, new: str) -> list[Packet]:
    """The same Ethernet and IPv4 packets with one address put for another, checksums adjusted (RFC 1624)."""
    before, after = ipaddress.IPv4Address(old).packed, ipaddress.IPv4Address(new).packed
    changed = []
    for packet in packets:
        data = bytearray(packet.data)
        for at in (26, 30):
            if data[12:14] == b"\x08\x00" and data[at : at + 4] == before:
                data[at : at + 4] = after
                checksums = [24]
                if data[23] == 6:
                    checksums.append(14 + (data[14] & 15) * 4 + 16)
                for where in checksums:
                    _adjust(data, where, before, after)
        changed.append(replace(packet, data=bytes(data)))
    return changed


def _adjust(data: bytearray, where: int, before: bytes, after: bytes) -> None:
    total = 0xFFFF - int.from_bytes(data[where : where + 2], "big")
    for at in (0, 2):
        total += 0xFFFF - int.from_bytes(before[at : at + 2], "big") + int.from_bytes(after[at : at + 2], "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    data[where : where + 2] = (0xFFFF - total).to_bytes(2, "big")


def cut(packets: list[Packet], snaplen: int) -> list[Packet]:
    """The same packets as a capture with a small snap length has them."""
    return [replace(p, data=p.data[:snaplen]) for p in packets]


def segment(packet: Packet) -> Segment | None:
    """The TCP ends of a packet; None for anything else."""
    data = packet.data
    kind_at = 0 if packet.linktype == _SLL2 else 12
    at = 20 if packet.linktype == _SLL2 else 14
    (kind,) = struct.unpack_from(">H", data, kind_at)
    while kind in _TAGS and packet.linktype == _ETHERNET:
        (kind,) = struct.unpack_from(">H", data, at + 2)
        at += 4
    if kind == 0x0800 and data[at + 9] == 6:
        source, target = (str(ipaddress.IPv4Address(data[at + n : at + n + 4])) for n in (12, 16))
        total = int.from_bytes(data[at + 2 : at + 4], "big")
        tcp = at + (data[at] & 15) * 4
        end = at + total
    elif kind == 0x86DD and data[at + 6] == 6:
        source, target = (str(ipaddress.IPv6Address(data[at + n : at + n + 16])) for n in (8, 24))
        tcp = at + 40
        end = tcp + int.from_bytes(data[at + 4 : at + 6], "big")
    else:
        return None
    source_port, target_port = struct.unpack_from(">HH", data, tcp)
    payload = end - tcp - (data[tcp + 12] >> 4) * 4
    return Segment(source, source_port, target, target_port, data[tcp + 13], payload)


def assign_ports(packets: list[Packet], sessions: list[Session]) -> None:
    """Tell each session its client port: among those of one client and server port, the first to begin comes first."""
    waiting = list(sessions)
    known = {(s.client, s.client_port, s.server, s.port) for s in sessions if s.client_port}
    waiting = [s for s in sessions if not s.client_port]
    seen = set(known)
    for found in _segments(packets):
        ends = (found.source, found.source_port, found.target, found.target_port)
        if found.flags & (_SYN | _ACK) != _SYN or ends in seen:
            continue
        seen.add(ends)
        match = next((s for s in waiting if (s.client, s.server, s.port) == (ends[0], ends[2], ends[3])), None)
        if match is None:
            raise LabError(f"a connection nobody owns up to: {ends}")
        match.client_port = found.source_port
        waiting.remove(match)
    if waiting:
        raise LabError(f"never connected: {[(s.client, s.server, s.port, s.protocol) for s in waiting]}")


def in_order(packets: list[Packet], sessions: list[Session]) -> list[Session]:
    """The sessions that have packets here, in the order of their first packets."""
    by_ends = {frozenset(((s.client, s.client_port), (s.server, s.port))): s for s in sessions}
    if len(by_ends) != len(sessions):
        raise LabError("two sessions used the same ports, try again")
    ordered: dict[int, Session] = {}
    for found in _segments(packets):
        ends = frozenset(((found.source, found.source_port), (found.target, found.target_port)))
        if ends not in by_ends:
            raise LabError(f"a connection nobody owns up to: {found}")
        ordered.setdefault(id(by_ends[ends]), by_ends[ends])
    return list(ordered.values())


def _segments(packets: list[Packet]) -> Iterator[Segment]:
    for packet in packets:
        found = segment(packet)
        if found is not None:
            yield found


def which(program: str) -> bool:
    """Whether a program is installed (sbin included)."""
    return shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") is not None
