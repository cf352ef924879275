"""TCP headers, whole, wrong and cut."""

from collections.abc import Callable

import pytest
from support.wraps import decode, ethernet, ipv4, ipv6, sll, tcp

Make = Callable[[bytes], bytes]
Wrap = tuple[int, Make]


@pytest.fixture(params=["fast", "slow"])
def wrap(request: pytest.FixtureRequest) -> Wrap:
    return (1, ethernet) if request.param == "fast" else (113, sll)


@pytest.mark.parametrize("make", [ipv4, ipv6])
@pytest.mark.parametrize("size", [0, 4, 12, 40])
def test_options_are_no_payload(wrap: Wrap, make: Make, size: int) -> None:
    linktype, around = wrap
    (segment,), _ = decode(linktype, around(make(tcp(b"payload", options=b"\1" * size))))
    assert segment[1:6] == (b"payload", 0, 0xFFFFFF00, 0x01020304, 0x18)


@pytest.mark.parametrize("make", [ipv4, ipv6])
@pytest.mark.parametrize("size", [0x00, 0x10, 0x40, 0xF0])
def test_an_impossible_data_offset(wrap: Wrap, make: Make, size: int) -> None:
    linktype, around = wrap
    header = bytearray(tcp(b"payload"))
    header[12] = size
    segments, decoder = decode(linktype, around(make(bytes(header))))
    assert segments == []
    assert decoder.counters()["malformed"] == 1


@pytest.mark.parametrize("make", [ipv4, ipv6])
def test_a_header_cut_by_the_snap_length_still_tells_what_was_sent(wrap: Wrap, make: Make) -> None:
    linktype, around = wrap
    record = around(make(tcp(b"payload", options=b"\1" * 12)))
    for lost in range(7 + 18 + 1):
        (segment,), decoder = decode(linktype, record[: len(record) - lost], len(record))
        assert segment[1] == b"payload"[: max(7 - lost, 0)]
        assert segment[2] == min(lost, 7)
    segments, decoder = decode(linktype, record[: len(record) - 26], len(record))
    assert segments == []
    assert decoder.counters()["truncated"] == 1
    assert decoder.counters()["malformed"] == 0


def test_flags_are_the_eight_of_rfc_9293(wrap: Wrap) -> None:
    linktype, around = wrap
    for flags in (0x02, 0x12, 0x11, 0x04, 0xC2, 0xFF, 0x00):
        (segment,), _ = decode(linktype, around(ipv4(tcp(flags=flags))))
        assert segment[5] == flags
