"""The synthetic captures: whole, valid, and what they claim to be."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from synthetic.captures import PLANS, Counts, cached_capture, write_capture
from synthetic.dialogues import encrypted, pop3
from synthetic.frames import CLIENT, SERVER, SLOT, tcp_shape

#: Enough for at least one copy of every flow.
SCALE = 0.0005


def packets(path: Path) -> list[tuple[int, bytes]]:
    """Every record of a classic pcap file: microseconds, frame."""
    data = path.read_bytes()
    assert data[:4] == b"\xd4\xc3\xb2\xa1"
    found = []
    at = 24
    while at < len(data):
        seconds, micros, captured, wire = struct.unpack_from("<IIII", data, at)
        assert captured == wire
        found.append((seconds * 1_000_000 + micros, data[at + 16 : at + 16 + captured]))
        at += 16 + captured
    assert at == len(data)
    return found


def recomputed(frame: bytes) -> tuple[Packet, Packet]:
    """The frame as captured, and the same with lengths and checksums computed by scapy."""
    packet = Ether(frame)
    fresh = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in fresh:
            del fresh[layer].chksum
    return packet, Ether(bytes(fresh))


@pytest.fixture(scope="module", params=["mixed", "allmail", "tiny"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Counts]:
    path = tmp_path_factory.mktemp("captures") / f"{request.param}.pcap"
    return request.param, path, write_capture(path, request.param, scale=SCALE)


def test_counts_are_what_the_file_holds(made: tuple[str, Path, Counts]):
    _, path, counts = made
    assert len(packets(path)) == counts.packets
    assert path.stat().st_size == counts.size
    assert json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))["packets"] == counts.packets


def test_time_never_goes_back(made: tuple[str, Path, Counts]):
    _, path, _ = made
    times = [time for time, _ in packets(path)]
    assert times == sorted(times)


def test_checksums_are_valid(made: tuple[str, Path, Counts]):
    _, path, _ = made
    seen = set()
    for _, frame in packets(path)[::3]:
        packet, fresh = recomputed(frame)
        for layer in (IP, TCP, UDP, ICMP):
            if layer in packet:
                seen.add(layer)
                assert packet[layer].chksum == fresh[layer].chksum
        if IPv6 in packet:
            seen.add(IPv6)
            assert packet[IPv6].plen == len(packet[IPv6].payload)
    assert TCP in seen
    if made[0] == "mixed":
        assert seen == {IP, IPv6, TCP, UDP, ICMP}


def test_sequence_numbers_join_up(made: tuple[str, Path, Counts]):
    _, path, _ = made
    expected: dict[tuple[object, ...], int] = {}
    for _, frame in packets(path):
        packet = Ether(frame)
        if TCP not in packet:
            continue
        tcp = packet[TCP]
        key = (packet[1].src, packet[1].dst, tcp.sport, tcp.dport)
        assert tcp.flags.S or tcp.seq == expected[key]
        size = len(packet[1].payload) - tcp.dataofs * 4
        expected[key] = (tcp.seq + size + bool(tcp.flags.S) + bool(tcp.flags.F)) % 2**32


@pytest.mark.parametrize(
    ("name", "packet_count", "size", "mail"),
    [("mixed", 657e3, 600e6, 0.04), ("allmail", 2.3e6, 300e6, 1.0), ("tlsmail", 1.085e6, 235e6, 1.0)],
)
def test_plans_add_up(name: str, packet_count: float, size: float, mail: float):
    recipe = PLANS[name].recipe()
    total = sum(len(shape.frames) * copies for shape, copies in recipe)
    octets = sum(copies * sum(82 + len(frame.payload) for frame in shape.frames) for shape, copies in recipe)
    assert total == pytest.approx(packet_count, rel=0.05)
    assert octets == pytest.approx(size, rel=0.1)
    assert sum(len(s.frames) * n for s, n in recipe if s.mail) / total == pytest.approx(mail, abs=0.005)


def test_nine_in_ten_sessions_of_tlsmail_are_encrypted():
    recipe = PLANS["tlsmail"].recipe()
    sealed = sum(copies for shape, copies in recipe if any(frame.payload[:2] == b"\x16\x03" for frame in shape.frames))
    assert sealed / sum(copies for _, copies in recipe) == pytest.approx(0.9)


def test_a_capture_is_made_once(tmp_path: Path):
    path = tmp_path / "tiny.pcap"
    first = cached_capture(path, "tiny", scale=1.0)
    stamp = path.stat().st_mtime_ns
    assert cached_capture(path, "tiny", scale=1.0) == first
    assert path.stat().st_mtime_ns == stamp
    path.write_bytes(path.read_bytes()[:-1])
    assert cached_capture(path, "tiny", scale=1.0) == first
    assert path.stat().st_size == first.size


def test_big_is_mixed_five_times_over(tmp_path: Path):
    one = write_capture(tmp_path / "one.pcap", "mixed", scale=SCALE)
    five = write_capture(tmp_path / "five.pcap", "big", scale=SCALE)
    assert abs(five.packets - 5 * one.packets) < 50  # a real TLS handshake may differ by a segment
    assert five.mail_sessions == 5 * one.mail_sessions


def test_every_account_has_its_own_number(tmp_path: Path):
    path = tmp_path / "allmail.pcap"
    write_capture(path, "allmail", scale=SCALE)
    data = path.read_bytes()
    assert SLOT not in data
    users = {frame[frame.index(b"USER ") :] for _, frame in packets(path) if b"USER user" in frame}
    assert len(users) > 10


def test_long_replies_are_cut_into_segments_and_acknowledged():
    shape = tcp_shape([(SERVER, b"x" * 5000), (CLIENT, b"ok\r\n")], 110)
    sizes = [len(frame.payload) for frame in shape.frames if frame.sender == SERVER and frame.payload]
    assert sizes == [1448, 1448, 1448, 656]
    assert sum(frame.sender == CLIENT and not frame.payload for frame in shape.frames) == 4  # SYN, ACK, ACK, FIN


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_tls_is_real_and_hides_the_password(version: str):
    turns = encrypted(pop3([]), version)
    assert turns[0][0] == CLIENT
    assert turns[0][1][:2] == b"\x16\x03"
    assert b"PASS" not in b"".join(data for _, data in turns)
    assert b"mail.example.com" in turns[0][1]
