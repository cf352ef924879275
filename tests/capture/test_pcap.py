"""pcap in all its variants, and what is left of it after damage."""

from __future__ import annotations

import struct

import pytest
from support.captures import (
    MICRO,
    MODIFIED,
    NANO,
    NEW_YEAR,
    SECOND,
    data_of,
    feed,
    pcap,
    pcap_header,
    pcap_record,
    read,
)

FRAMES = [bytes([65 + i]) * (20 + 13 * i) for i in range(12)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(MICRO, 1000), (NANO, 1)])
def test_four_magics(order: str, magic: int, unit: int):
    records, stats = read(pcap(FRAMES, order, magic))
    assert records == [
        ((NEW_YEAR + i) * SECOND + 7 * i * unit, 1, data, len(data), i + 1) for i, data in enumerate(FRAMES)
    ]
    assert (stats.format, stats.linktypes, stats.damaged, stats.cut) == ("pcap", [1], 0, False)
    assert (stats.first_ns, stats.last_ns) == (records[0][0], records[-1][0])
    assert stats.warnings == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "extra"),
    [(MODIFIED, 8), (MODIFIED, 12), (MODIFIED, 0), (MICRO, 8), (MICRO, 4)],
    ids=["modified", "modified-28", "modified-16", "patched", "nokia"],
)
def test_modified_record_headers(order: str, magic: int, extra: int):
    content = pcap_header(order, magic) + b"".join(
        pcap_record(data, NEW_YEAR, i, order=order, extra=b"\x00\x00\x00\x02\x08\x00\x01\x00\x00\x00\x00\x00"[:extra])
        for i, data in enumerate(FRAMES)
    )
    for sizes in ([], [1] * len(content)):
        records, stats = read(content, sizes)
        assert data_of(records) == FRAMES
        assert stats.damaged == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0x1C0001AC, 0x1C0001AB])
def test_ixia(order: str, magic: int):
    records = b"".join(pcap_record(data, order=order) for data in FRAMES)
    content = pcap_header(order, magic) + struct.pack(order + "I", len(records)) + records
    assert data_of(read(content)[0]) == FRAMES


@pytest.mark.parametrize("version", [(2, 0), (2, 2), (2, 3)])
def test_old_versions_swap_the_lengths(version: tuple[int, int]):
    content = pcap_header(version=version)
    for data in FRAMES:
        content += struct.pack("<IIII", NEW_YEAR, 0, len(data) + 100, len(data)) + data
    records, stats = read(content)
    assert data_of(records) == FRAMES
    assert [record[3] for record in records] == [len(data) + 100 for data in FRAMES]
    assert stats.damaged == 0


def test_unusual_version_is_read_and_said():
    content = pcap_header(version=(7, 1)) + b"".join(pcap_record(data) for data in FRAMES)
    records, stats = read(content)
    assert data_of(records) == FRAMES
    assert stats.warnings == ["pcap version 7.1 is unusual; read as 2.4"]


def test_check_sequence_bits_are_no_link_type():
    content = pcap_header(linktype=0x54000000 | 105) + pcap_record(FRAMES[0])
    records, stats = read(content)
    assert records[0][1] == 105
    assert stats.linktypes == [105]


@pytest.mark.parametrize("snaplen", [0, 1, 40, 65535, 0x7FFFFFFF, 0xFFFFFFFF])
def test_snap_length_of_the_header_is_no_law(snaplen: int):
    content = pcap_header(snaplen=snaplen) + b"".join(pcap_record(data) for data in FRAMES)
    records, stats = read(content)
    assert data_of(records) == FRAMES
    assert stats.damaged == 0


@pytest.mark.parametrize("snaplen", [68, 65535])
def test_records_cut_to_the_snap_length(snaplen: int):
    content = pcap_header(snaplen=snaplen)
    content += b"".join(pcap_record(bytes([i]) * 68, NEW_YEAR + i, wire=1514) for i in range(50))
    records, stats = read(content)
    assert len(records) == 50
    assert {record[3] for record in records} == {1514}
    assert stats.damaged == 0


def test_more_captured_than_was_on_the_wire():
    content = pcap_header() + b"".join(pcap_record(data, wire=len(data) - 4) for data in FRAMES)
    records, stats = read(content)
    assert data_of(records) == FRAMES
    assert stats.damaged == 0


def test_days_between_cut_records_are_no_damage():
    content = pcap_header()
    content += b"".join(pcap_record(bytes(60), NEW_YEAR + 400000 * i, wire=1000) for i in range(10))
    records, stats = read(content)
    assert (len(records), stats.damaged) == (10, 0)


def test_empty_records_between_others():
    content = pcap_header() + pcap_record(b"a" * 60) + pcap_record(b"") + pcap_record(b"", wire=60)
    content += pcap_record(b"b" * 60)
    records, stats = read(content)
    assert [len(record[2]) for record in records] == [60, 0, 0, 60]
    assert stats.damaged == 0


def test_times_out_of_order():
    content = pcap_header() + b"".join(pcap_record(b"x", NEW_YEAR + s) for s in (5, 1, 9, 3))
    _, stats = read(content)
    assert (stats.first_ns, stats.last_ns) == ((NEW_YEAR + 1) * SECOND, (NEW_YEAR + 9) * SECOND)


def test_header_alone_is_no_error():
    records, stats = read(pcap_header())
    assert (records, stats.packets, stats.damaged, stats.cut) == ([], 0, 0, False)


def test_largest_record():
    content = pcap_header() + pcap_record(b"a" * 262144) + pcap_record(b"b")
    assert [len(record[2]) for record in read(content)[0]] == [262144, 1]
    assert [len(record[2]) for record in read(content, [997] * 300)[0]] == [262144, 1]


# Damage.


@pytest.mark.parametrize("missing", [1, 5, 15, 16, 20, 30])
def test_cut_at_the_end(missing: int):
    content = pcap(FRAMES)[:-missing]
    records, stats = read(content)
    assert data_of(records) == FRAMES[:-1]
    assert stats.cut
    assert stats.damaged == 1
    assert stats.skipped_bytes == 16 + len(FRAMES[-1]) - missing
    assert "cut in the middle of a record" in stats.warnings[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("garbage", [b"\xff" * 100, b"garbage " * 9, bytes(range(256)), b"\n" * 33, b"\0" * 50])
def test_garbage_between_records(order: str, garbage: bytes):
    content = pcap(FRAMES, order)
    place = content.index(FRAMES[6]) - 16
    records, stats = read(content[:place] + garbage + content[place:])
    assert data_of(records) == FRAMES
    assert [record[4] for record in records] == list(range(1, 13))
    assert stats.skipped_bytes == len(garbage)
    assert stats.damaged == 1
    assert f"damaged at octet {place} (after frame 6)" in stats.warnings[0]


@pytest.mark.parametrize("field", [8, 9, 10, 11])
def test_wrong_length_costs_one_record(field: int):
    content = bytearray(pcap(FRAMES))
    content[content.index(FRAMES[6]) - 16 + field] ^= 0x55
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES[:6] + FRAMES[7:]
    assert stats.skipped_bytes == 16 + len(FRAMES[6])
    assert stats.damaged == 1


def test_wrong_length_that_leads_into_a_header():
    content = bytearray(pcap(FRAMES, ">", NANO))
    # One octet into a later header, where the lengths, shifted, would still do.
    length = sum(16 + len(data) for data in FRAMES[3:6]) - 15
    place = content.index(FRAMES[3]) - 16
    content[place + 8 : place + 12] = length.to_bytes(4, "big")
    assert data_of(read(bytes(content))[0]) == FRAMES[:3] + FRAMES[4:]


def test_wrong_length_in_the_last_record_is_told_from_a_cut():
    content = bytearray(pcap(FRAMES))
    content[content.index(FRAMES[6]) - 16 + 9] ^= 0x80  # reaches beyond the end of the file
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES[:6] + FRAMES[7:]
    assert not stats.cut


def test_wrong_length_on_the_wire_is_handed_on():
    content = bytearray(pcap(FRAMES))
    content[content.index(FRAMES[6]) - 16 + 13] ^= 0x10
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES
    assert stats.damaged == 0


@pytest.mark.parametrize("zeros", [16, 17, 40, 1024, 5000, 200000])
def test_tail_of_zeros(zeros: int):
    records, stats = read(pcap(FRAMES) + bytes(zeros))
    assert data_of(records) == FRAMES
    assert stats.skipped_bytes == zeros
    assert stats.damaged == 1


@pytest.mark.parametrize("zeros", [16, 1000, 1024, 4096, 70001])
def test_hole_of_zeros(zeros: int):
    content = pcap(FRAMES)
    place = content.index(FRAMES[6]) - 16
    records, stats = read(content[:place] + bytes(zeros) + content[place:], [1000, 10, 1000])
    assert data_of(records) == FRAMES
    assert stats.skipped_bytes == zeros


def test_first_record_damaged():
    content = bytearray(pcap(FRAMES))
    content[24:40] = b"\xff" * 16
    records, stats = read(bytes(content))
    assert data_of(records) == FRAMES[1:]
    assert stats.damaged == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_two_files_in_one(order: str):
    content = pcap(FRAMES) + pcap(FRAMES, order, NANO, NEW_YEAR + 10_000_000)
    records, stats = read(content)
    assert data_of(records) == FRAMES * 2
    assert [record[4] for record in records] == list(range(1, 25))
    assert records[13][0] == (NEW_YEAR + 10_000_001) * SECOND + 7
    assert stats.damaged == 0
    assert stats.warnings == [f"another pcap file begins at octet {len(pcap(FRAMES))}; read on as one capture"]


def test_file_behind_a_cut_one():
    content = pcap(FRAMES)[:-3] + pcap(FRAMES, ">", start=NEW_YEAR + 9_000_000)
    records, stats = read(content)
    # The last record of the first file swallows three octets of the second one's header: with them its first record.
    assert data_of(records)[:11] == FRAMES[:11]
    assert stats.damaged >= 1
    assert stats.skipped_bytes > 0


def test_file_behind_garbage():
    content = pcap(FRAMES) + b"\xff" * 77 + pcap(FRAMES, ">", start=NEW_YEAR + 9_000_000)
    records, stats = read(content)
    assert data_of(records) == FRAMES * 2
    assert stats.skipped_bytes == 77


def test_no_header():
    records, stats = read(b"nothing like a capture, at all")
    assert (records, stats.damaged, stats.skipped_bytes) == ([], 1, 30)


def test_cut_within_the_file_header():
    records, stats = read(pcap_header()[:20])
    assert records == []
    assert "cut within the file header" in stats.warnings[0]


def test_search_is_linear():
    # Half a megabyte in which every place looks like the start of a record at first.
    false_start = struct.pack("<IIII", NEW_YEAR, 0, 250000, 250001)
    content = pcap(FRAMES) + b"\xff" * 16 + false_start * 30000
    _, reader = feed(content, [65536] * 8)
    assert reader.stats.packets < 20
    assert reader.stats.bytes + reader.framing_bytes + reader.stats.skipped_bytes == len(content)


def test_warnings_are_bounded():
    content = pcap_header() + (pcap_record(b"a" * 60) + pcap_record(b"b" * 60) + b"\xff" * 20) * 50
    records, stats = read(content)
    assert len(records) == 100
    assert stats.damaged == 50
    assert len(stats.warnings) == 8
