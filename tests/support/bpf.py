"""Runs classic BPF programs as the Linux kernel does, with what it knows of a packet beside its octets."""

from __future__ import annotations

from analyzer.capture.filters import AD_HATYPE, AD_PKTTYPE, AD_PROTOCOL, Instruction

MASK = 0xFFFFFFFF


def passes(
    program: list[Instruction], packet: bytes, *, hardware: int = 1, protocol: int | None = None, direction: int = 0
) -> int:
    """What the program returns: the octets to keep, 0 for none. Kinds of instruction it does not know are an error."""
    protocol = int.from_bytes(packet[12:14], "big") if protocol is None else protocol
    known = {AD_PROTOCOL: protocol, AD_PKTTYPE: direction, AD_HATYPE: hardware}
    a = x = at = 0
    memory = [0] * 16
    for _ in range(len(program)):
        code, yes, no, k = program[at]
        at += 1
        kind, size, mode = code & 7, code & 0x18, code & 0xE0
        if kind in (0, 1) and mode in (0x20, 0x40):  # load from the packet
            width = {0x00: 4, 0x08: 2, 0x10: 1}[size]
            where = k + (x if mode == 0x40 else 0)
            if k >= 0xFFFFF000:
                value = known[k]
            elif where + width > len(packet):
                return 0
            else:
                value = int.from_bytes(packet[where : where + width], "big")
            a = value
        elif code == 0xB1:  # ldx 4*([k]&0xf)
            if k >= len(packet):
                return 0
            x = 4 * (packet[k] & 15)
        elif kind == 0 and mode == 0x00:
            a = k
        elif kind == 1 and mode == 0x00:
            x = k
        elif kind == 0 and mode == 0x60:
            a = memory[k]
        elif kind == 1 and mode == 0x60:
            x = memory[k]
        elif code == 0x02:
            memory[k] = a
        elif code == 0x03:
            memory[k] = x
        elif code == 0x00 | 0x80:
            a = len(packet)
        elif kind == 4:
            other = x if code & 8 else k
            a = {
                0x00: a + other,
                0x10: a - other,
                0x40: a | other,
                0x50: a & other,
                0x60: a << other,
                0x70: a >> other,
            }[code & 0xF0] & MASK
        elif kind == 5:
            other = x if code & 8 else k
            test = code & 0xF0
            if test == 0x00:
                at += k
            else:
                met = {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: bool(a & other)}[test]
                at += yes if met else no
        elif kind == 6:
            return a if code & 0x18 == 0x10 else k
        elif kind == 7:
            x, a = (a, a) if code == 0x07 else (x, x)
        else:
            raise AssertionError(f"unknown instruction {code:#x}")
    raise AssertionError("the program does not end")
