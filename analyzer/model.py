"""Words that every stage shares: who sends, where in the capture, what is secret, how bad.

Nothing here imports another part of mailtap.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from mypy_extensions import i64, mypyc_attr

#: Who sent something. Plain integers, because the hot path compares them once a segment.
Sender: TypeAlias = int
CLIENT: Final = 0
SERVER: Final = 1

#: What a masked secret looks like, whatever it was: its length is not shown either.
MASK: Final = "********"


#: hashlib.blake2b, once somebody has asked for it.
_blake2b: Any = None


def short_digest(data: bytes, key: bytes = b"") -> str:
    """Eight octets of BLAKE2b (RFC 7693), under a key of at most 64 octets, in hexadecimal."""
    global _blake2b  # noqa: PLW0603 - hashlib loads OpenSSL, which takes longer than most runs take to hash
    if _blake2b is None:
        import hashlib

        _blake2b = hashlib.blake2b
    # Naming an empty key takes a fifth of the time.
    text: str = (_blake2b(data, digest_size=8, key=key) if key else _blake2b(data, digest_size=8)).hexdigest()
    return text


#: The lower 32 bits of a number, and what a state begins with.
_LOW: Final = 0xFFFFFFFF
SEED: Final = 0x3C6EF372_9E3779B9
_HEX: Final[list[str]] = [f"{number:02x}" for number in range(256)]


def mixed(state: i64, number: i64) -> i64:
    """A number mixed into a state of 63 bits, for identifiers that are made by the hundred thousand.

    The state is two lanes of 31 and 32 bits. Each takes 32 bits of the number at a time, is multiplied and shifted, in the manner of
    MurmurHash3's finalizer; no product exceeds 63 bits, so that compiled code and the interpreter count alike. It tells rows apart and
    keeps nothing secret: what must not be forged or guessed is for :func:`short_digest`.
    """
    first: i64 = state >> 32
    second: i64 = state & _LOW
    part: i64 = number & _LOW
    first = ((first ^ part) * 0x5BD1E995) & 0x7FFFFFFF
    first ^= first >> 15
    second = ((second ^ part) * 0x7FEB352D) & _LOW
    second ^= second >> 16
    part = (number >> 32) & _LOW
    first = ((first ^ part) * 0x2C1B3C6D) & 0x7FFFFFFF
    first ^= first >> 13
    second = ((second ^ part) * 0x297A2D39) & _LOW
    second ^= second >> 15
    return (first << 32) | second


def mixed_text(state: i64, text: str) -> i64:
    """A text mixed into a state, and its length."""
    data = text.encode("ascii") if text.isascii() else text.encode("utf-8", "surrogateescape")
    count: i64 = len(data)
    number: i64 = 0
    at: i64 = 0
    while at < count:
        number = (number << 8) | data[at]
        at += 1
        if at % 7 == 0:
            state = mixed(state, number)
            number = 0
    return mixed(mixed(state, number), count)


def in_hex(state: i64) -> str:
    """A state as 16 hexadecimal digits."""
    return (
        f"{_HEX[state >> 56]}{_HEX[(state >> 48) & 255]}{_HEX[(state >> 40) & 255]}{_HEX[(state >> 32) & 255]}"
        f"{_HEX[(state >> 24) & 255]}{_HEX[(state >> 16) & 255]}{_HEX[(state >> 8) & 255]}{_HEX[state & 255]}"
    )


@mypyc_attr(acyclic=True, free_list_len=1)
class Position:
    """Where in the capture a piece of a byte stream was seen.

    ``frame`` is Wireshark's frame number (1-based, over the whole file), ``timestamp_ns`` the capture time in
    nanoseconds since the epoch, ``offset`` the offset in octets of the piece's first byte in its sender's stream.
    """

    __slots__ = ("frame", "offset", "timestamp_ns")

    def __init__(self, frame: i64, timestamp_ns: i64, offset: i64) -> None:
        self.frame: i64 = frame
        self.timestamp_ns: i64 = timestamp_ns
        self.offset: i64 = offset


@mypyc_attr(acyclic=True)
class Secret:
    """A password, token or response. Shows itself to nobody who does not call :meth:`reveal`.

    ``repr``, ``str``, ``format``, JSON encoders that fall back on ``str``, pickles and tracebacks all give the mask.
    A pickled secret comes back without its value, with length, fingerprint and strength kept.
    """

    __slots__ = ("_value", "fingerprint", "length", "strength")

    def __init__(self, value: str, length: int = -1, fingerprint: str | None = None) -> None:
        self._value: str | None = value
        #: characters in the secret
        self.length: int = len(value) if length < 0 else length
        #: keyed fingerprint, set by :meth:`seal`: equal secrets have equal fingerprints under one key
        self.fingerprint: str | None = fingerprint
        #: how hard it is to guess (0 to 4), where it was judged before its value was dropped
        self.strength: int | None = None

    def reveal(self) -> str | None:
        """The secret in clear; None where only its mask was kept (after pickling)."""
        return self._value

    def seal(self, key: bytes) -> str:
        """The keyed fingerprint of the secret (BLAKE2b, 64 bits, hexadecimal); computed once."""
        if self.fingerprint is None:
            value = (self._value or "").encode("utf-8", "surrogateescape")
            self.fingerprint = short_digest(value, key[:64])
        return self.fingerprint

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __reduce__(self) -> tuple[object, ...]:
        return (_masked, (self.length, self.fingerprint, self.strength))


def _masked(length: int, fingerprint: str | None, strength: int | None = None) -> Secret:
    secret = Secret("", length, fingerprint)
    secret.strength = strength
    secret._value = None  # noqa: SLF001 - the other half of Secret.__reduce__
    return secret


#: Severities from harmless to worst, as ``--fail-on`` takes them.
SEVERITIES: Final = ("info", "low", "medium", "high", "critical")
