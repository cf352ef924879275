"""Numbers in sentences, as all reports write them."""

from __future__ import annotations


def plural(count: int, word: str) -> str:
    """``1 session``, ``2 sessions``, ``12,345 sessions``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
