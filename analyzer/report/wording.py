"""Numbers in sentences, as all reports write them."""

from __future__ import annotations


def noun(count: int, word: str) -> str:
    """The word for so many: ``session``, ``sessions``."""
    return word if count == 1 else f"{word}s"


def plural(count: int, word: str) -> str:
    """``1 session``, ``2 sessions``, ``12,345 sessions``."""
    return f"{count:,} {noun(count, word)}"
