"""How strong a password is, whoever chose it."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from analyzer.findings import strength
from analyzer.findings.strength import MAX_LOOKALIKES, judge_password
from analyzer.model import Secret
from analyzer.monitor.sealing import BURST_S, BoundedJudge

#: Every sign of it may stand for a letter: zxcvbn alone tries all their combinations.
CRAFTED = "4@8({[<3691!|105$+7%"


def test_crafted_password_takes_no_longer_than_others() -> None:
    assert judge_password(CRAFTED, None) >= 3
    # The time grows with the combinations, and so with the number of different signs.
    assert len(set(CRAFTED)) > 3 * MAX_LOOKALIKES
    seen = strength._with_few_lookalikes(CRAFTED)
    assert len(seen) == len(CRAFTED)
    assert len(set(seen) - {"_"}) == MAX_LOOKALIKES


def test_signs_that_stand_for_letters_are_still_seen_through() -> None:
    assert judge_password("p@$$w0rd", None) == judge_password("password", None) == 0
    assert judge_password("p4ssword", None) <= 1


def test_any_text_is_judged() -> None:
    """What is no text in another language (a lone surrogate: an octet that was no UTF-8), and what changes its length with its case."""
    rng = random.Random(9)
    letters = "abc019@$ \udc80\ud800\x00\x7fßİıſﬁŉǰ漢😀é"  # noqa: RUF001
    for _ in range(2000):
        password = "".join(rng.choice(letters) for _ in range(rng.randrange(24)))
        name = "".join(rng.choice(letters) for _ in range(rng.randrange(6)))
        assert 0 <= judge_password(password, name) <= 4


def test_judging_takes_a_bounded_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each judgement takes a fiftieth of a second here.
    ticks = itertools.count()
    monkeypatch.setattr(time, "thread_time", lambda: next(ticks) / 50)
    now = [0.0]
    judge = BoundedJudge(burst=10**6, per_hour=10**9, clock=lambda: now[0])
    rng = random.Random(4)
    left = 0
    for number in range(1000):
        secret = Secret("".join(rng.choice("4@8({[<abcdefgh") for _ in range(18)))
        secret.seal(b"key")
        left += judge.score(secret, f"user{number}") is None
        if left:
            break
    assert left
    assert judge.asked == pytest.approx(BURST_S * 50, abs=1)
