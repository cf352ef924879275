from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from analyzer.monitor.names import FrequentNames


def test_names_are_counted_exactly_as_long_as_there_is_room() -> None:
    names = FrequentNames(3)
    names.update(["ann", "bob", "ann", "others"])
    assert names.snapshot() == {"ann": 2, "bob": 1, "others": 1}
    assert (len(names), names.more) == (3, False)


def test_one_that_comes_late_and_often_is_kept_and_passers_by_make_room() -> None:
    names = FrequentNames(10)
    names.update(f"early{number}" for number in range(10))
    for number in range(500):
        names.count(f"passer-by{number}")
        if number > 100:
            names.count("late")
    assert len(names) == 10
    assert names.more
    found = names.snapshot()
    assert max(found, key=lambda name: found[name]) == "late"
    assert found["late"] > 350
    assert not any(name.startswith("early") for name in found)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 3)), max_size=200), st.integers(1, 8))
def test_no_name_is_overrated_and_a_frequent_one_is_never_missing(coming: list[tuple[str, int]], limit: int) -> None:
    names, truth = FrequentNames(limit), Counter[str]()
    for name, times in coming:
        names.count(name, times)
        truth[name] += times
    found = names.snapshot()
    assert len(found) == min(limit, len(truth))
    assert all(0 < count <= truth[name] for name, count in found.items())
    assert {name for name, count in truth.items() if count > truth.total() / limit} <= set(found)
