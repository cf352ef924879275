"""Numbers where they stand."""

from analyzer.packets.octets import u16, u16_little, u32, u32_little


def test_both_byte_orders() -> None:
    buffer = bytes.fromhex("00ff80010203ff")
    assert u16(buffer, 1) == 0xFF80
    assert u16_little(buffer, 1) == 0x80FF
    assert u32(buffer, 2) == 0x80010203
    assert u32_little(buffer, 2) == 0x03020180
    assert u32(b"\xff" * 4, 0) == u32_little(b"\xff" * 4, 0) == 0xFFFFFFFF
