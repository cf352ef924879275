"""Sealing: what is left of a secret in a record that is kept is its keyed fingerprint, its length and its strength.

Passwords are judged while their values are at hand. The loop that reads packets must not wait for zxcvbn, which takes long for some,
so each password is judged once, and their number is bounded: a burst of ``BURST``, then
``PER_HOUR``; and so is the processor time: ``BURST_S``, then ``SHARE`` of it, whoever chooses the passwords. What is over the bounds stays
unjudged until it is seen again, and is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from analyzer.findings.behaviour import to_be_judged
from analyzer.findings.history import Recent
from analyzer.findings.strength import judge_password, names_in, names_of
from analyzer.model import Secret
from analyzer.sessions.records import Session

#: Passwords judged at once, and in an hour.
BURST: Final = 100
PER_HOUR: Final = 1800
#: Processor time for judging: at once, and as a share of all time.
BURST_S: Final = 1.0
SHARE: Final = 0.01
#: Scores remembered, by fingerprint and account.
MAX_SCORES: Final = 8192


class BoundedJudge:
    """Judges passwords, a bounded number an hour; remembers scores by keyed fingerprints, no passwords."""

    def __init__(
        self, burst: int = BURST, per_hour: int = PER_HOUR, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_hour / 3600
        self._clock = clock
        self._allowance = float(burst)
        self._seconds = BURST_S
        self._at = clock()
        self._scores: Recent[tuple[str, str | None], int] = Recent(MAX_SCORES)
        #: times that zxcvbn was asked, and that it was not, for there were too many
        self.asked: int = 0
        self.left_out: int = 0

    def warm_up(self) -> None:
        """Load the word lists now, and not with the first login."""
        judge_password("", None)
        judge_password("a", None)

    def score(self, secret: Secret, username: str | None) -> int | None:
        """0 to 4; None where the bound is reached. ``secret`` has its value and its fingerprint."""
        value = secret.reveal()
        mark = secret.fingerprint
        if value is None or mark is None:
            return secret.strength
        # Where the account's name is not in the password, the score is that of everybody who has it.
        key = (mark, username if names_in(value, names_of(username)) else None)
        known = self._scores.get(key)
        if known is not None:
            return known
        if not self._allowed():
            self.left_out += 1
            return None
        self.asked += 1
        began = time.thread_time()
        score = judge_password(value, username)
        self._seconds -= time.thread_time() - began
        self._scores.put(key, score)
        return score

    def _allowed(self) -> bool:
        now = self._clock()
        passed = max(0.0, now - self._at)
        self._allowance = min(self._burst, self._allowance + passed * self._per_second)
        self._seconds = min(BURST_S, self._seconds + passed * SHARE)
        self._at = now
        if self._allowance < 1 or self._seconds <= 0:
            return False
        self._allowance -= 1
        return True


def seal_session(session: Session, key: bytes, judge: BoundedJudge) -> None:
    """Give every secret of a session its fingerprint, and the passwords worth judging their strength.

    The records still hold the secrets afterwards; pickled, and so copied or stored, they do not. A session that goes on may be sealed
    again: what is sealed stays as it is.
    """
    for credential in session.credentials or ():
        secret = credential.secret
        if secret is not None:
            secret.seal(key)
            if secret.strength is None and to_be_judged(credential):
                secret.strength = judge.score(secret, credential.username)
        if credential.response is not None:
            credential.response.seal(key)
