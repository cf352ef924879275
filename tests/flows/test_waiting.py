"""Pieces in their places, and octets compared with what was there before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analyzer.flows.sequence import distance
from analyzer.flows.waiting import Piece, contradictions, differing, hold, is_probe


def piece(seq: int, data: bytes, missing: int = 0, ack: int = -1) -> Piece:
    return Piece(seq & 0xFFFFFFFF, data, missing, ack, 1, 1, 1)


def test_distance():
    assert distance(5, 3) == 2
    assert distance(3, 5) == -2
    assert distance(2, 0xFFFFFFFF) == 3
    assert distance(0xFFFFFFFF, 2) == -3
    assert distance(0x80000000, 0) == -0x80000000


def test_differing_compares_only_what_both_hold():
    assert differing(b"abcdef", 2, b"cdXf", 0, 4) == 1
    assert differing(b"abc", 1, b"bX", 0, 50) == 1
    assert differing(b"abc", 5, b"b", 0, 50) == 0
    assert differing(b"", 0, b"", 0, 0) == 0


def test_contradictions():
    recent = [b"hello ", b"big ", b"world"]
    assert contradictions(recent, 15, b"hello big world") == 0
    assert contradictions(recent, 9, b"BIG w") == 3
    assert contradictions(recent, 3, b"rlD and more") == 1
    assert contradictions(recent, 20, b"?????HELLO") == 5
    assert contradictions(recent, 20, b"?????") == 0
    assert contradictions([], 20, b"?????") == 0


def test_later_copy_lowers_what_a_piece_waits_for():
    held: list[Piece] = []
    hold(held, piece(10, b"abcd", ack=700))
    hold(held, piece(10, b"abcd", ack=600))
    assert [one.ack for one in held] == [600]
    hold(held, piece(10, b"abcd", ack=900))
    assert [one.ack for one in held] == [600]
    hold(held, piece(9, b"xabcd"))
    assert [(one.seq, one.data, one.ack) for one in held] == [(9, b"x", -1), (10, b"abcd", -1)]


def test_missing_octets_are_covered():
    held: list[Piece] = []
    hold(held, piece(10, b"ab", missing=4))
    assert hold(held, piece(12, b"wxyz12")) == (2, 0)
    assert [(one.seq, one.data, one.missing) for one in held] == [(10, b"ab", 4), (16, b"12", 0)]
    hold(held, piece(7, b"789", missing=20))
    assert (held[0].seq, held[0].data, held[0].missing) == (7, b"789", 0)
    assert held[-1].seq == 18
    assert held[-1].length() == 12


@given(
    st.integers(0, 0xFFFFFFFF),
    st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=15)), max_size=25),
)
def test_first_copy_of_each_octet_stays(base: int, pieces: list[tuple[int, bytes]]):
    held: list[Piece] = []
    octets: dict[int, int] = {}
    for at, data in pieces:
        want = sum(octets.get(at + index, octet) != octet for index, octet in enumerate(data))
        new = 0
        for index, octet in enumerate(data):
            if at + index not in octets:
                octets[at + index] = octet
                new += 1
        assert hold(held, piece(base + at, data)) == (new, want)
    place = -1
    found: dict[int, int] = {}
    for one in held:
        at = distance(one.seq, base)
        assert at > place
        for index, octet in enumerate(one.data):
            found[at + index] = octet
        place = at + len(one.data) - 1
    assert found == octets


def test_a_keep_alive_probe_repeats_the_last_octet_of_what_waits() -> None:
    held: list[Piece] = []
    hold(held, piece(10, b"abcd"))
    assert is_probe(held, piece(13, b"\0"))
    assert not is_probe(held, piece(12, b"\0"))
    assert not is_probe(held, piece(12, b"\0\0"))
    assert not is_probe(held, piece(14, b"\0"))
