"""What the kernel puts into a block comes out as records, and no octets in a block do any harm."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.blocks import BLOCK, TPID_VALID, VLAN_VALID, Packet, block
from support.wraps import WRAPS, decode, ethernet, ipv4, ipv6, tcp

from analyzer.capture import interfaces
from analyzer.capture.base import RecordList
from analyzer.capture.live_open import make_live, open_live
from analyzer.capture.ring import BlockWalker, RingSource
from analyzer.errors import CaptureError, CaptureNotFound, UsageError

FRAME = ethernet(ipv4(tcp(b"USER anna\r\n")))
STAMP = Packet(b"").stamp


def walk(content: bytes, front: bytes = b"") -> tuple[list[tuple[int, int, bytes, int, int]], BlockWalker]:
    walker = BlockWalker()
    records = RecordList()
    walker.take_block(front + content, len(front), len(content), records)
    return records.records, walker


def test_packets_become_records():
    packets = [Packet(FRAME + bytes(index), STAMP + index) for index in range(300)]
    records, walker = walk(block(packets))
    assert records == [
        (STAMP + index, 1, packet.data, len(packet.data), index + 1) for index, packet in enumerate(packets)
    ]
    assert (walker.damaged, walker.lost, walker.linktypes) == (0, 0, [1])
    assert (walker.first_ns, walker.last_ns) == (STAMP, STAMP + 299)
    assert walker.bytes == sum(len(packet.data) for packet in packets)


def test_blocks_elsewhere_in_memory_and_one_after_another():
    walker = BlockWalker()
    records = RecordList()
    memory = b"".join(block([Packet(bytes([65 + index]) * 60)]) for index in range(5))
    for index in range(5):
        walker.take_block(memory, index * BLOCK, BLOCK, records)
    assert [record[2][:1] for record in records.records] == [b"A", b"B", b"C", b"D", b"E"]
    assert [record[4] for record in records.records] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("size", [65000, 65536, 65600, 100000, 130000])
def test_packets_longer_than_a_piece(size: int):
    packets = [
        Packet(FRAME),
        Packet(b"B" * size),
        Packet(FRAME),
        Packet(b"D" * (BLOCK - 2000 - size - 1000)),
        Packet(FRAME),
    ]
    records, walker = walk(block(packets))
    assert [record[2] for record in records] == [packet.data for packet in packets]
    assert walker.damaged == 0


def test_cut_packets_keep_their_length():
    records, _ = walk(block([Packet(FRAME[:60], wire=1514)]))
    assert records == [(STAMP, 1, FRAME[:60], 1514, 1)]


def test_an_empty_block():
    records, walker = walk(block([]))
    assert records == []
    assert walker.damaged == 0


@pytest.mark.parametrize("name", ["802.1Q", "QinQ", "QinQ 0x9100", "VXLAN in VLAN", "VLAN and SNAP"])
def test_vlan_tags_are_put_back(name: str):
    """The kernel takes the outer tag off: type and value stand beside the packet."""
    tagged = WRAPS[name][1](ipv4(tcp(b"USER anna\r\n")))
    kind, value = struct.unpack("!HH", tagged[12:16])
    stripped = Packet(tagged[:12] + tagged[16:], status=1 | VLAN_VALID | TPID_VALID, tag=(value, kind))
    records, walker = walk(block([Packet(FRAME), stripped, stripped, Packet(FRAME)]))
    assert [record[2] for record in records] == [FRAME, tagged, tagged, FRAME]
    assert records[1][3] == len(tagged)
    assert walker.bytes == 2 * len(FRAME) + 2 * len(tagged)
    assert decode(1, records[1][2])[0] == decode(1, tagged)[0] != []


def test_vlan_tag_of_an_old_driver_and_of_a_stump():
    records, _ = walk(block([Packet(FRAME, status=1 | VLAN_VALID, tag=(5, 0)), Packet(b"\2" * 8, status=0x51)]))
    assert records[0][2] == FRAME[:12] + b"\x81\0\0\5" + FRAME[12:]
    assert records[1][2] == b"\2" * 8


def test_loopback_once():
    out = Packet(FRAME, hardware=772, direction=4)
    into = Packet(FRAME, hardware=772)
    records, walker = walk(block([out, into, out, into, Packet(FRAME, direction=4)]))
    assert len(records) == 3
    assert [record[4] for record in records] == [1, 2, 3]
    assert walker.damaged == 0


@pytest.mark.parametrize("version", ["IPv4", "IPv6"])
def test_each_interface_of_any_has_its_own_link_type(version: str):
    ip = ipv4(tcp(b"USER")) if version == "IPv4" else ipv6(tcp(b"USER"))
    kind = 0x0800 if version == "IPv4" else 0x86DD
    wlan = WRAPS["802.11"][1](ip)
    packets = [
        Packet(ethernet(ip)),
        Packet(ethernet(ip), hardware=772),
        Packet(ip, hardware=0xFFFE, link=0, protocol=kind),  # tun
        Packet(b"\xff\3\0\x21" + ip, hardware=512, link=4, protocol=kind),  # PPP with a header in front
        Packet(wlan, hardware=801, link=0, protocol=4),
        Packet(WRAPS["radiotap"][1](ip), hardware=803, link=0, protocol=4),
        Packet(WRAPS["Prism"][1](ip), hardware=802, link=0, protocol=4),
        Packet(b"\1" * 24 + ip, hardware=32, link=24, protocol=kind),  # InfiniBand
        Packet(b"\1" * 24 + WRAPS["MPLS"][1](ip)[14:], hardware=32, link=24, protocol=0x8847),
    ]
    records, walker = walk(block(packets))
    assert [record[1] for record in records] == [1, 1, 101, 101, 105, 127, 119, 101, 276]
    assert walker.linktypes == [1, 101, 105, 127, 119, 276]
    for linktype, data, wire in [(record[1], record[2], record[3]) for record in records]:
        assert wire == len(data)
        segments, _ = decode(linktype, data)
        assert [segment[1] for segment in segments] == [b"USER"]


@pytest.mark.parametrize(
    ("where", "value"),
    [(12, 9), (12, 0xFFFFFFFF), (16, 0), (16, 40), (16, 0xFFFFFFFF), (20, 0), (20, 60), (48, 0), (48, 1), (48, 0xFFFFFFF0),
     (60, 0xFFFFFFFF), (60, BLOCK), (72, 0), (72, 0xFFFF)],
)  # fmt: skip
def test_a_block_that_makes_no_sense_is_counted(where: int, value: int):
    content = bytearray(block([Packet(FRAME)] * 8))
    content[where : where + 4] = struct.pack("<I", value)
    records, walker = walk(bytes(content))
    assert len(records) < 9
    assert (walker.damaged, walker.lost > 0) == (1, True)


@given(st.binary(max_size=400), st.integers(0, 12), st.integers(0, 400), st.integers(0, 2000))
def test_no_octets_do_any_harm(head: bytes, count: int, first: int, end: int):
    content = bytearray(head.ljust(400, b"\0"))
    content[12:24] = struct.pack("<3I", count, first, end)
    # What stands around the block must make no difference.
    outcomes = []
    for around in (b"\0", b"\xff"):
        walker = BlockWalker()
        records = RecordList()
        walker.take_block(around * 64 + bytes(content) + around * 512, 64, len(content), records)
        outcomes.append((records.records, walker.lost, walker.linktypes))
        assert walker.frame + walker.lost <= count
    assert outcomes[0] == outcomes[1]


@given(
    st.lists(st.integers(0, 300), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
)
def test_changed_octets_do_no_harm(sizes: list[int], changes: list[tuple[int, int]]):
    content = bytearray(block([Packet(bytes(size)) for size in sizes], 4096))
    for where, octet in changes:
        content[where] = octet
    _, walker = walk(bytes(content))
    assert 0 <= walker.frame <= 4096


@given(st.lists(st.integers(0, 70000), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_pieces_make_no_difference(sizes: list[int], nanos: int):
    packets = [Packet(struct.pack("<I", size) * (size // 4 + 1), STAMP + nanos) for size in sizes]
    records, walker = walk(block(packets, 1 << 20))
    assert [record[2] for record in records] == [packet.data for packet in packets]
    assert walker.damaged == 0


def test_no_such_interface_names_those_there_are():
    with pytest.raises(CaptureNotFound, match=r"there is no such interface; there are .*\blo\b.*\bany\b"):
        open_live("no-such0", kind="ring")


def test_missing_right_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(CaptureError) as caught:
        RingSource("lo").open()
    for word in ("lo", "CAP_NET_RAW", "sudo setcap cap_net_raw+ep /", "AmbientCapabilities"):
        assert word in str(caught.value)


def test_arguments_that_make_no_sense():
    with pytest.raises(UsageError, match="kind"):
        make_live("lo", kind="magic")
    with pytest.raises(UsageError, match="snap"):
        make_live("lo", snaplen=3)
    with pytest.raises(UsageError, match="ring"):
        make_live("lo", ring_bytes=3)
    with pytest.raises(UsageError, match="filter is for interfaces"):
        make_live("-", filter="tcp")


def test_kinds_are_told_by_name(tmp_path: Path):
    assert make_live("-").kind == "pipe"
    assert make_live("lo").kind == "ring"
    assert make_live("any").kind == "ring"
    assert make_live("lo", kind="scapy").kind == "scapy"
    assert make_live(str(tmp_path)).kind == "follow"
    assert make_live(str(tmp_path / "not-yet.pcap")).kind == "follow"
    assert make_live("lo", kind="follow").kind == "follow"


def test_interfaces_are_listed():
    found = {one.name: one for one in interfaces.interfaces()}
    assert found["lo"].link == "loopback"
    # It has none while it is down, as in a new network namespace.
    assert "127.0.0.1" in found["lo"].addresses or not found["lo"].up
    assert list(found)[-1] == "any"
    for one in found.values():
        assert one.capturable or one.why


def test_interfaces_without_netlink(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise OSError(97, "Address family not supported")

    monkeypatch.setattr(socket, "socket", refuse)
    assert {"lo", "any"} <= {one.name for one in interfaces.interfaces()}


@given(st.binary(max_size=200))
def test_netlink_attributes_of_any_octets(body: bytes):
    interfaces._attributes(body, 0)
