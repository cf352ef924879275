"""How easily a password is guessed, by zxcvbn: 0 (at once) to 4 (strong).

zxcvbn takes a tenth of a millisecond a password, and far longer for long or crafted ones, so passwords are cut to their first
characters, each is judged once, whoever has it, and a run judges a bounded number of them: the first ones in order of time, the same
for every output. What comes beyond the bound is not judged, and counted.
"""

from __future__ import annotations

from typing import Any, Final

from analyzer.model import Secret

#: Characters that are judged.
MAX_CHARACTERS: Final = 20
#: Different passwords judged in a run: a hundredth of a second, a second at most where all of them are crafted.
MAX_JUDGED: Final = 100
#: Passwords of accounts judged in a run; those that several accounts share cost one judgement.
MAX_ACCOUNTS: Final = 1000

#: Different signs of that kind that are read as letters.
MAX_LOOKALIKES: Final = 6
#: What stands for a letter in passwords, as zxcvbn reads it.
_LOOKALIKES: Final[dict[str, str]] = {
    "a": "4@", "b": "8", "c": "({[<", "e": "3", "g": "69", "i": "1!|", "l": "1|7", "o": "0", "s": "$5", "t": "+7",
    "x": "%", "z": "2",
}  # fmt: skip
_SIGNS: Final = frozenset("".join(_LOOKALIKES.values()))


class PasswordJudge:
    """Judges the passwords of a run. Keeps scores by keyed fingerprints, no passwords.

    Once it is ``closed``, because there were too many passwords, it takes no new ones: which are judged depends on the order of the
    traffic alone. Ask it in that order.
    """

    def __init__(self, limit: int = MAX_JUDGED, accounts: int = MAX_ACCOUNTS) -> None:
        #: different passwords, and passwords of accounts, that are judged
        self.limit = limit
        self.accounts = accounts
        self.closed: bool = False
        #: times that zxcvbn was asked
        self.asked: int = 0
        #: (fingerprint, account) -> score, and fingerprint -> score where the account does not matter
        self._scores: dict[tuple[int, str | None], int] = {}
        self._alone: dict[int, int] = {}
        #: the fingerprints of all passwords judged
        self._judged: set[int] = set()

    def score(self, secret: Secret, username: str | None) -> int | None:
        """0 to 4; None where too many were judged before it, or it was dropped without having been judged."""
        value = secret.reveal()
        if value is None:
            return secret.strength
        # Keyed at random for each process, as in history.fingerprint; but a seal that comes later must not change it.
        mark = hash(value)
        if self.closed and mark not in self._judged:
            return None
        key = (mark, username)
        known = self._scores.get(key)
        if known is not None or self.closed:
            return known
        if len(self._scores) >= self.accounts:
            self.closed = True
            return None
        names = names_of(username)
        personal = names_in(value, names)
        score = None if personal else self._alone.get(mark)
        if score is None:
            if self.asked >= self.limit:
                self.closed = True
                return None
            self.asked += 1
            score = judge_password(value, username)
            if not personal:
                self._alone[mark] = score
        self._scores[key] = score
        self._judged.add(mark)
        return score


def judge_password(password: str, username: str | None) -> int:
    """zxcvbn's score of a password; its user's name in it counts as guessed. A cut password is judged by its beginning."""
    cut = _with_few_lookalikes(password[:MAX_CHARACTERS])
    if not cut:
        return 0
    score = _guessed([cut, *names_of(username)])
    # A phrase whose first twenty characters take no guessing may go on with anything; what was not looked at counts in its favour.
    return score if len(password) <= MAX_CHARACTERS else max(score, 2)


def _guessed(texts: list[str]) -> int:
    """zxcvbn's score of the first text; the others are known to whoever guesses it."""
    from zxcvbn_rs_py import zxcvbn  # here, because its word lists take a hundredth of a second to load

    # Octets that were no UTF-8 came as surrogates, which no other language's text can hold.
    password, *names = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    # Its stub says that the score is a number; it is an enumeration that can be made one.
    judged: Any = zxcvbn(password, names)
    return int(judged.score)


def _with_few_lookalikes(text: str) -> str:
    """The text with at most ``MAX_LOOKALIKES`` different signs that may stand for letters: zxcvbn tries all their combinations.

    Twenty such signs, chosen by somebody who knows, take it a hundred times as long as any other password. Whoever has
    more of them than fit is not guessed by their reading.
    """
    kept: set[str] = set()
    found: list[str] = []
    for sign in text:
        if sign in _SIGNS:
            if sign not in kept and len(kept) >= MAX_LOOKALIKES:
                sign = "_"
            else:
                kept.add(sign)
        found.append(sign)
    return "".join(found)


def names_of(username: str | None) -> list[str]:
    """What an attacker who knows the account tries first: it, and the parts of its address."""
    if not username:
        return []
    local, _, domain = username.partition("@")
    return [name for name in (username[:60], local[:60], domain[:60], domain.partition(".")[0][:60]) if name]


def names_in(password: str, names: list[str]) -> bool:
    """Whether zxcvbn could find one of the names in a password: as it is, backwards, or with digits and signs for letters.

    Where it could not, the score is the same for every account that has the password.
    """
    text = password[:MAX_CHARACTERS].lower()
    return any(_spelled(name.lower(), one) for name in names for one in (text, text[::-1]))


def _spelled(name: str, text: str) -> bool:
    size = len(name)
    if name in text:
        return True
    for first in range(len(text) - size + 1):
        if all(
            text[first + at] == letter or text[first + at] in _LOOKALIKES.get(letter, "")
            for at, letter in enumerate(name)
        ):
            return True
    return False
