"""The table of fragments: order, repetition, overlap, limits."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.packets.fragments import (
    FRAGMENT_COST,
    FRAGMENT_TIMEOUT_NS,
    MAX_FRAGMENT_BYTES,
    MAX_FRAGMENT_DATAGRAMS,
    FragmentTable,
)

SECOND = 1_000_000_000


def cuts(payload: bytes, places: list[int]) -> list[tuple[int, bool, bytes]]:
    """The fragments of a payload, cut at multiples of 8."""
    edges = sorted({0, len(payload), *(place * 8 for place in places if 0 < place * 8 < len(payload))})
    return [(a, b < len(payload), payload[a:b]) for a, b in pairwise(edges)]


@given(
    st.binary(min_size=1, max_size=600), st.lists(st.integers(0, 80), max_size=10), st.randoms(use_true_random=False)
)
def test_any_order_gives_the_datagram_once(payload: bytes, places: list[int], random: Random) -> None:
    table = FragmentTable()
    fragments = cuts(payload, places)
    random.shuffle(fragments)
    done = [table.add(b"key", 6, offset, more, data, 0) for offset, more, data in fragments]
    assert [datagram is not None for datagram in done] == [False] * (len(done) - 1) + [True]
    assert done[-1].payload == payload
    assert done[-1].protocol == 6
    assert (table.cost, table.datagrams, table.reassembled, table.dropped, table.overlaps) == (0, {}, 1, 0, 0)


@given(
    st.binary(min_size=9, max_size=300),
    st.lists(st.tuples(st.integers(0, 37), st.integers(1, 38)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_copies_and_overlaps_of_equal_content_change_nothing(
    payload: bytes, ranges: list[tuple[int, int]], random: Random
) -> None:
    table = FragmentTable()
    fragments = cuts(payload, [2, 5, 11])
    for start, size in ranges:
        offset = start * 8
        end = min(offset + size * 8, len(payload))
        if offset < end:
            fragments.append((offset, end < len(payload), payload[offset:end]))
    random.shuffle(fragments)
    done = []
    for offset, more, data in fragments:
        datagram = table.add(b"key", 6, offset, more, data, 0)
        if datagram is not None:
            done.append(datagram.payload)
    assert done
    assert set(done) == {payload}
    assert table.dropped == 0


def test_the_first_copy_is_kept() -> None:
    table = FragmentTable()
    assert table.add(b"key", 6, 8, True, b"B" * 8, 0) is None
    assert table.add(b"key", 6, 0, True, b"x" * 24, 0) is None
    assert table.overlaps == 1
    assert table.add(b"key", 6, 8, True, b"B" * 8, 0) is None
    assert table.overlaps == 1
    whole = table.add(b"key", 6, 16, False, b"y" * 12, 0)
    assert whole.payload == b"x" * 8 + b"B" * 8 + b"x" * 8 + b"y" * 4
    assert table.overlaps == 2


def test_teardrop() -> None:
    table = FragmentTable()
    assert table.add(b"key", 17, 0, True, b"a" * 40, 0) is None
    assert table.add(b"key", 17, 24, False, b"b" * 4, 0) is None  # ends inside the first
    assert table.dropped == 1
    assert table.add(b"key", 17, 40, False, b"c" * 4, 0).payload == b"a" * 40 + b"c" * 4


@pytest.mark.parametrize(
    ("offset", "more", "data"),
    [
        (65528, False, b"x" * 8),  # the ping of death
        (0, True, b""),
        (0, True, b"1234567"),
        (0, False, b""),
    ],
)
def test_impossible_fragments_are_dropped(offset: int, more: bool, data: bytes) -> None:
    table = FragmentTable()
    assert table.add(b"key", 6, offset, more, data, 0) is None
    assert (table.dropped, table.cost) == (1, 0)


def test_two_ends_or_octets_behind_the_end() -> None:
    table = FragmentTable()
    table.add(b"key", 6, 16, False, b"x" * 8, 0)
    for offset, more, size in ((16, False, 4), (24, True, 8), (24, False, 1), (8, True, 24)):
        assert table.add(b"key", 6, offset, more, b"z" * size, 0) is None
    assert table.dropped == 4
    assert table.add(b"key", 6, 0, True, b"y" * 16, 0).payload == b"y" * 16 + b"x" * 8


def test_an_odd_size_in_the_middle_is_cut_to_eight() -> None:
    table = FragmentTable()
    table.add(b"key", 6, 0, True, b"x" * 15, 0)
    assert table.add(b"key", 6, 8, False, b"y", 0).payload == b"x" * 8 + b"y"


def test_the_number_of_datagrams_is_bounded() -> None:
    table = FragmentTable()
    for number in range(MAX_FRAGMENT_DATAGRAMS + 10):
        table.add(b"%d" % number, 6, 0, True, b"x" * 8, 0)
    assert len(table.datagrams) == MAX_FRAGMENT_DATAGRAMS
    assert table.dropped == 10
    assert table.add(b"0", 6, 8, False, b"y", 0) is None  # its first half was pushed out


def test_the_number_of_octets_is_bounded() -> None:
    table = FragmentTable()
    for number in range(200):
        table.add(b"%d" % number, 6, 0, True, b"x" * 65000, 0)
        assert table.cost <= MAX_FRAGMENT_BYTES
    assert table.dropped == 200 - MAX_FRAGMENT_BYTES // (65000 + FRAGMENT_COST)
    assert table.cost == sum(datagram.cost for datagram in table.datagrams.values())


def test_small_fragments_cannot_cost_more_than_they_are_charged() -> None:
    table = FragmentTable()
    for number in range(30):
        for place in range(0, 65528, 16):
            table.add(b"%d" % number, 6, 65520 - place, True, b"x" * 8, 0)
    assert table.cost <= MAX_FRAGMENT_BYTES
    held = sum(len(datagram.pieces) for datagram in table.datagrams.values())
    assert held <= MAX_FRAGMENT_BYTES // (8 + FRAGMENT_COST)


def test_old_fragments_are_given_up_by_capture_time() -> None:
    table = FragmentTable()
    table.add(b"old", 6, 0, True, b"x" * 8, 1 * SECOND)
    table.add(b"new", 6, 0, True, b"x" * 8, 1 * SECOND + FRAGMENT_TIMEOUT_NS + 1)
    assert list(table.datagrams) == [b"new"]
    assert table.dropped == 1


def test_an_identification_that_comes_round_again_starts_anew() -> None:
    table = FragmentTable()
    table.add(b"key", 6, 0, True, b"OLD.....", 0)
    late = FRAGMENT_TIMEOUT_NS + 1
    assert table.add(b"key", 6, 8, False, b"new", late) is None
    assert table.add(b"key", 6, 0, True, b"NEW.....", late).payload == b"NEW.....new"
    assert table.cost == 0


def test_time_may_go_backwards() -> None:
    table = FragmentTable()
    table.add(b"key", 6, 0, True, b"12345678", 100 * SECOND)
    assert table.add(b"key", 6, 8, False, b"9", 1 * SECOND).payload == b"123456789"
