"""Numbers in network byte order, read where they stand. The caller has checked the bounds.

``librt`` is the library that comes with mypyc: compiled, each of these is one load and a swap of its octets.
"""

from __future__ import annotations

from librt.strings import read_i16_be, read_i16_le, read_i32_be, read_i32_le
from mypy_extensions import i64


def u16(buffer: bytes, pos: i64) -> i64:
    """The 16-bit number at ``pos``, most significant octet first."""
    return i64(read_i16_be(buffer, pos)) & 0xFFFF


def u16_little(buffer: bytes, pos: i64) -> i64:
    """The 16-bit number at ``pos``, least significant octet first."""
    return i64(read_i16_le(buffer, pos)) & 0xFFFF


def u32(buffer: bytes, pos: i64) -> i64:
    """The 32-bit number at ``pos``, most significant octet first."""
    return i64(read_i32_be(buffer, pos)) & 0xFFFFFFFF


def u32_little(buffer: bytes, pos: i64) -> i64:
    """The 32-bit number at ``pos``, least significant octet first."""
    return i64(read_i32_le(buffer, pos)) & 0xFFFFFFFF
