"""pcapng: every block, clock and byte order, and what is left of it after damage."""

from __future__ import annotations

import struct

import pytest
from support.captures import (
    NEW_YEAR,
    SECOND,
    block,
    data_of,
    enhanced,
    interface,
    old_packet,
    option,
    pcapng,
    read,
    section,
    simple,
)

FRAMES = [bytes([65 + i]) * (20 + 13 * i) for i in range(12)]
TICKS = NEW_YEAR * 1_000_000


@pytest.mark.parametrize("order", ["<", ">"])
def test_enhanced_packets(order: str):
    records, stats = read(pcapng(FRAMES, order))
    assert records == [((NEW_YEAR + i) * SECOND + 7000 * i, 1, data, len(data), i + 1) for i, data in enumerate(FRAMES)]
    assert (stats.format, stats.linktypes, stats.damaged, stats.dropped) == ("pcapng", [1], 0, None)
    assert (stats.first_ns, stats.last_ns) == (records[0][0], records[-1][0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("resolution", "ticks_per_second"),
    [(0, 1), (3, 10**3), (6, 10**6), (9, 10**9), (10, 10**10), (0x80, 1), (0x8A, 2**10), (0xA0, 2**32)],
)
@pytest.mark.parametrize("offset", [0, 3600, -7200])
def test_clocks(order: str, resolution: int, ticks_per_second: int, offset: int):
    options = option(9, bytes([resolution]), order) + option(14, struct.pack(order + "q", offset), order)
    options += option(0, b"", order)
    ticks = (1_000_000_000 - offset) * ticks_per_second + ticks_per_second // 4
    content = section(order) + interface(options=options, order=order) + enhanced(b"x", ticks, order=order)
    records, stats = read(content)
    quarter = 250_000_000 if ticks_per_second >= 4 else 0
    assert records[0][0] == 1_000_000_000 * SECOND + quarter
    assert stats.warnings == []


@pytest.mark.parametrize("resolution", [6, 9, 12, 0x7F, 0xFF, 0x80])
def test_time_out_of_range_takes_that_of_the_frame_before(resolution: int):
    content = section() + interface() + interface(options=option(9, bytes([resolution])))
    content += enhanced(b"a", TICKS) + enhanced(b"b", 2**64 - 1, 1)
    records, stats = read(content)
    assert records[0][0] == NEW_YEAR * SECOND
    if resolution not in {12, 0x7F, 0xFF}:
        assert records[1][0] == NEW_YEAR * SECOND
        assert "time out of range" in stats.warnings[0]
    assert stats.packets == 2


def test_absurd_clock_offset_is_not_believed():
    content = section() + interface(options=option(14, struct.pack("<q", 2**62))) + enhanced(b"a", TICKS)
    records, stats = read(content)
    assert records[0][0] == NEW_YEAR * SECOND
    assert "clock offset" in stats.warnings[0]


def test_many_interfaces():
    content = section() + interface(1) + interface(113) + interface(101, options=option(9, b"\x09"))
    content += enhanced(b"a", TICKS, 0) + enhanced(b"b", TICKS, 1) + enhanced(b"c", NEW_YEAR * SECOND + 5, 2)
    content += enhanced(b"d", TICKS, 0)
    records, stats = read(content)
    assert [(record[1], record[2], record[0] - NEW_YEAR * SECOND) for record in records] == [
        (1, b"a", 0),
        (113, b"b", 0),
        (101, b"c", 5),
        (1, b"d", 0),
    ]
    assert stats.linktypes == [1, 113, 101]


def test_sections_of_both_byte_orders_number_frames_through():
    content = pcapng(FRAMES[:3]) + pcapng(FRAMES[3:6], ">") + pcapng(FRAMES[6:])
    records, stats = read(content)
    assert data_of(records) == FRAMES
    assert [record[4] for record in records] == list(range(1, 13))
    assert stats.damaged == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_simple_packets_carry_the_last_time(order: str):
    content = section(order) + interface(snaplen=40, order=order) + simple(b"a" * 30, order=order)
    content += enhanced(b"b", TICKS, order=order) + simple(b"c" * 40, wire=1000, order=order)
    records, _ = read(content)
    assert [(record[0], record[2], record[3]) for record in records] == [
        (0, b"a" * 30, 30),
        (NEW_YEAR * SECOND, b"b", 1),
        (NEW_YEAR * SECOND, b"c" * 40, 1000),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_old_packet_blocks(order: str):
    content = section(order) + interface(order=order)
    content += old_packet(b"abc", TICKS, drops=3, order=order) + old_packet(b"de", TICKS, drops=0xFFFF, order=order)
    records, stats = read(content)
    assert data_of(records) == [b"abc", b"de"]
    assert records[0][0] == NEW_YEAR * SECOND
    assert stats.dropped == 3


@pytest.mark.parametrize("order", ["<", ">"])
def test_drops_are_the_last_statistics_of_each_interface(order: str):
    def statistics(number: int, *drops: tuple[int, int]) -> bytes:
        options = b"".join(option(code, struct.pack(order + "Q", count), order) for code, count in drops)
        return block(5, struct.pack(order + "III", number, 0, 0) + options, order)

    content = section(order) + interface(order=order) * 2 + enhanced(b"a", order=order)
    content += statistics(0, (4, 900), (5, 10)) + statistics(1, (5, 1), (7, 2)) + statistics(0, (5, 15))
    content += statistics(1, (4, 77)) + statistics(9, (5, 1000))
    content += section(order) + interface(order=order) + statistics(0, (5, 100))
    _, stats = read(content)
    assert stats.dropped == 15 + 3 + 100


def test_tls_secrets_are_kept():
    secrets = b"CLIENT_RANDOM 00 11\n"
    content = section() + interface() + block(10, struct.pack("<II", 0x544C534B, len(secrets)) + secrets)
    content += block(10, struct.pack("<II", 0x57474B4C, 4) + b"WGKL") + enhanced(b"a")
    _, stats = read(content)
    assert stats.keylog == [secrets]


def test_tls_secrets_are_bounded():
    secrets = block(10, struct.pack("<II", 0x544C534B, 10 << 20) + bytes(10 << 20))
    _, stats = read(section() + interface() + secrets + secrets + enhanced(b"a"))
    assert len(stats.keylog) == 1
    assert "TLS secrets" in stats.warnings[0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_blocks_of_no_use_are_stepped_over(order: str):
    names = block(4, b"\x00\x01\x00\x08\x7f\x00\x00\x01abc\x00" + bytes(4), order)
    content = section(order, option(3, b"an OS", order)) + names + interface(order=order) + names
    content += enhanced(b"a", order=order, options=option(1, b"a comment", order) + option(0, b"", order))
    content += block(0x12345, b"unknown", order) + block(0x0BAD, b"\0\0\x7e\xd9data", order)
    content += block(0x40000BAD, b"\0\0\x7e\xd9data", order) + block(9, b"MESSAGE=x\n\n", order)
    content += enhanced(b"b", order=order)
    records, stats = read(content)
    # Custom and journal blocks are frames of their own in Wireshark.
    assert [(record[2], record[4]) for record in records] == [(b"a", 1), (b"b", 5)]
    assert stats.damaged == 0


def test_header_alone_is_no_error():
    records, stats = read(section() + interface())
    assert (records, stats.damaged) == ([], 0)


# Damage.


@pytest.mark.parametrize("missing", [1, 4, 11, 30, 60])
def test_cut_at_the_end(missing: int):
    content = pcapng(FRAMES)[:-missing]
    records, stats = read(content)
    assert data_of(records) == FRAMES[:-1]
    assert stats.cut
    assert stats.damaged == 1
    assert "cut in the middle of a block" in stats.warnings[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("garbage", [b"\xff" * 101, b"garbage " * 9, bytes(range(256)), b"\n" * 33, b"\0" * 5000])
def test_garbage_between_blocks(order: str, garbage: bytes):
    content = pcapng(FRAMES, order)
    place = content.index(FRAMES[6]) - 28
    records, stats = read(content[:place] + garbage + content[place:], [100] * 9)
    assert data_of(records) == FRAMES
    assert stats.skipped_bytes == len(garbage)
    assert stats.damaged == 1


@pytest.mark.parametrize("field", [4, 5, 6, 7])
def test_wrong_block_length_costs_one_packet(field: int):
    content = bytearray(pcapng(FRAMES))
    content[content.index(FRAMES[6]) - 28 + field] ^= 0x54
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES[:6] + FRAMES[7:]
    assert stats.damaged == 1


def test_wrong_captured_length_costs_one_packet():
    content = bytearray(pcapng(FRAMES))
    content[content.index(FRAMES[6]) - 28 + 21] ^= 0x40
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES[:6] + FRAMES[7:]
    assert (stats.damaged, stats.skipped_bytes) == (1, 32 + len(FRAMES[6]) + -len(FRAMES[6]) % 4)


def test_undescribed_interface_costs_its_packets():
    content = section() + interface() + enhanced(b"a") + enhanced(b"b", number=7) + enhanced(b"c")
    records, stats = read(content)
    assert data_of(records) == [b"a", b"c"]
    assert "interface 7" in stats.warnings[0]


def test_interface_lost_to_damage_is_guessed():
    content = bytearray(pcapng(FRAMES))
    content[32] ^= 0xFF  # the length of the interface block
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES
    assert records[3][0] == (NEW_YEAR + 3) * SECOND + 21000
    assert stats.linktypes == [1]
    assert "taken for Ethernet" in stats.warnings[-1]


def test_section_lost_to_damage():
    second = bytearray(pcapng(FRAMES[6:]))
    second[8] ^= 0xFF  # the byte order
    records, stats = read(pcapng(FRAMES[:6]) + bytes(second))
    assert data_of(records) == FRAMES
    assert stats.damaged == 1


def test_tail_of_zeros():
    records, stats = read(pcapng(FRAMES) + bytes(100000), [4096] * 10)
    assert data_of(records) == FRAMES
    assert stats.skipped_bytes == 100000
