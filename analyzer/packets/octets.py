"""Numbers in network byte order, read where they stand. The caller has checked the bounds."""

from __future__ import annotations

from mypy_extensions import i64


def u16(buffer: bytes, pos: i64) -> i64:
    """The 16-bit number at ``pos``, most significant octet first."""
    high: i64 = buffer[pos]
    low: i64 = buffer[pos + 1]
    return (high << 8) | low


def u16_little(buffer: bytes, pos: i64) -> i64:
    """The 16-bit number at ``pos``, least significant octet first."""
    low: i64 = buffer[pos]
    high: i64 = buffer[pos + 1]
    return (high << 8) | low


def u32(buffer: bytes, pos: i64) -> i64:
    """The 32-bit number at ``pos``, most significant octet first."""
    a: i64 = buffer[pos]
    b: i64 = buffer[pos + 1]
    c: i64 = buffer[pos + 2]
    d: i64 = buffer[pos + 3]
    return (a << 24) | (b << 16) | (c << 8) | d


def u32_little(buffer: bytes, pos: i64) -> i64:
    """The 32-bit number at ``pos``, least significant octet first."""
    a: i64 = buffer[pos]
    b: i64 = buffer[pos + 1]
    c: i64 = buffer[pos + 2]
    d: i64 = buffer[pos + 3]
    return (d << 24) | (c << 16) | (b << 8) | a
