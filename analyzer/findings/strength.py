"""How easily a password is guessed, by zxcvbn: 0 (at once) to 4 (strong).

zxcvbn takes milliseconds a password, and far longer for long ones, so passwords are cut to their first characters, each is judged
once, and a run judges a bounded number of them. What is over the bound is not judged, and counted.
"""

from __future__ import annotations

from typing import Final

from analyzer.findings.history import fingerprint
from analyzer.model import Secret

#: Characters that are judged.
MAX_CHARACTERS: Final = 20
#: Passwords judged in a run whose tables are written, and in one for a report at a glance: zxcvbn takes 2 to 8 ms each.
MAX_JUDGED: Final = 100
MAX_JUDGED_AT_A_GLANCE: Final = 24


class PasswordJudge:
    """Judges the passwords of a run. Keeps scores by keyed fingerprints, no passwords.

    ``all_or_none``: a run with more passwords than the limit judges none at all.
    """

    def __init__(self, limit: int = MAX_JUDGED, all_or_none: bool = False) -> None:
        self.limit = limit
        self.all_or_none = all_or_none
        self._scores: dict[str, int] = {}
        #: passwords that were not judged, because the limit was reached
        self.left_out: int = 0

    def score(self, secret: Secret, username: str | None) -> int | None:
        """0 to 4; None where the password is not known any more, or too many were judged before it."""
        key = f"{fingerprint(secret)} {username}"
        known = self._scores.get(key)
        if known is not None:
            return known
        value = secret.reveal()
        if value is None:
            return None
        if len(self._scores) >= self.limit:
            self.left_out += 1
            return None
        score = judge_password(value, username)
        self._scores[key] = score
        return score


def judge_password(password: str, username: str | None) -> int:
    """zxcvbn's score of a password; its user's name in it counts as guessed. A cut password is judged by its beginning."""
    from zxcvbn import zxcvbn  # here, because its word lists take a tenth of a second to load

    names: list[str] = []
    if username:
        local, _, domain = username.partition("@")
        names = [name for name in (username[:60], local[:60], domain[:60], domain.partition(".")[0][:60]) if name]
    cut = password[:MAX_CHARACTERS]
    if not cut:
        return 0
    score = int(zxcvbn(cut, user_inputs=names)["score"])
    # A phrase whose first twenty characters take no guessing may go on with anything; what was not looked at counts in its favour.
    return score if len(password) <= MAX_CHARACTERS else max(score, 2)
