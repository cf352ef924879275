"""One connection under several VLAN tags stays one; two tenants with the same addresses and ports are two."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from support.traffic import Frame, Talk, logins, retimed, run_frames
from support.wraps import over_udp

from analyzer.packets.base import ACK, FIN, SYN
from analyzer.packets.realms import MAX_REMEMBERED, Realms


def vlan(frame: bytes, number: int) -> bytes:
    return frame[:12] + struct.pack("!HH", 0x8100, number) + frame[12:]


def vxlan(frame: bytes, number: int) -> bytes:
    return over_udp(4789, b"\x08\0\0\0" + struct.pack("!I", number << 8) + frame)


def geneve(frame: bytes, number: int) -> bytes:
    return over_udp(6081, b"\0\0\x65\x58" + struct.pack("!I", number << 8) + frame)


def talk(name: str, isn: tuple[int, int], **more: str) -> list[Frame]:
    return (
        Talk(isn=isn, **more)  # type: ignore[arg-type] # addresses
        .play(f"S: +OK mx\nC: USER {name}\nS: +OK\nC: PASS pw-of-{name}\nS: +OK in\nC: QUIT\nS: +OK bye")
        .close()
        .frames()
    )


def mixed(one: list[Frame], two: list[Frame]) -> list[Frame]:
    """Frames in turns, in time."""
    return retimed([frame for pair in zip(one, two, strict=True) for frame in pair])


def told(folder: Path, frames: list[Frame]) -> list[tuple[str, str | None, str | None, str]]:
    result = run_frames(folder, frames)
    assert all(session.completeness == "complete" for session in result.sessions)
    return sorted(logins(result), key=str)


KIM = ("USER/PASS", "kim", "pw-of-kim", "accepted")
ANN = ("USER/PASS", "ann", "pw-of-ann", "accepted")
IPV6 = {"client": "2001:db8::1", "server": "2001:db8::2"}


@pytest.mark.parametrize("wrap", [vlan, vxlan, geneve])
@pytest.mark.parametrize("addresses", [{}, IPV6])
def test_two_tenants_at_once(tmp_path: Path, wrap: object, addresses: dict[str, str]) -> None:
    assert callable(wrap)
    one = [(time, wrap(frame, 10)) for time, frame in talk("kim", (1000, 5000), **addresses)]
    two = [(time + 500_000, wrap(frame, 20)) for time, frame in talk("ann", (900_000_000, 77), **addresses)]
    assert told(tmp_path, mixed(one, two)) == [ANN, KIM]
    result = run_frames(tmp_path, mixed(one, two))
    assert len({session.session_id() for session in result.sessions}) == 2
    assert {session.client_ip for session in result.sessions} == {addresses.get("client", "192.0.2.10")}


def test_tenants_whose_directions_have_tags_of_their_own(tmp_path: Path) -> None:
    def by_direction(frames: list[Frame], out: int, back: int) -> list[Frame]:
        return [(time, vlan(frame, out if frame[34:36] == b"\x9c\x40" else back)) for time, frame in frames]

    one = by_direction(talk("kim", (1000, 5000)), 10, 11)
    two = by_direction(talk("ann", (900_000_000, 77)), 20, 11)
    assert told(tmp_path, one) == [KIM]
    assert told(tmp_path, mixed(one, two)) == [ANN, KIM]


def test_before_and_after_a_router(tmp_path: Path) -> None:
    frames = talk("kim", (1000, 5000))
    twice = [(time, vlan(frame, number)) for time, frame in frames for number in (10, 20)]
    result = run_frames(tmp_path, retimed(twice))
    assert logins(result) == [KIM]
    assert len(result.sessions) == 1
    # the second copy of each, much later
    late = retimed([(0, vlan(frame, 10)) for _, frame in frames[:6]] + [(0, vlan(frame, 20)) for _, frame in frames])
    assert logins(run_frames(tmp_path, [(frames[0][0] + index, frame) for index, (_, frame) in enumerate(late)])) == [
        KIM
    ]


def test_a_mirror_of_both_tenants_and_the_router(tmp_path: Path) -> None:
    one = [(time, vlan(frame, number)) for time, frame in talk("kim", (1000, 5000)) for number in (10, 20)]
    two = [(time, vlan(frame, number)) for time, frame in talk("ann", (900_000_000, 77)) for number in (30, 40)]
    assert sorted(logins(run_frames(tmp_path, mixed(one, two))), key=str) == [ANN, KIM]


def test_a_port_that_is_used_again(tmp_path: Path) -> None:
    one = [(time, vlan(frame, 10)) for time, frame in talk("kim", (1000, 5000))]
    two = [(time, vlan(frame, 20)) for time, frame in talk("ann", (900_000_000, 77))]
    assert told(tmp_path, retimed([(one[0][0] + i, frame) for i, (_, frame) in enumerate(one + two)])) == [ANN, KIM]


def test_priority_tags_name_no_network(tmp_path: Path) -> None:
    frames = [(time, vlan(frame, 0) if index % 2 else frame) for index, (time, frame) in enumerate(talk("kim", (1, 2)))]
    assert told(tmp_path, frames) == [KIM]


def key(port: int) -> bytes:
    return b"\x0a\0\0\1\x0a\0\0\2" + port.to_bytes(2, "big") + b"\0\x6e"


def test_what_is_remembered_is_bounded() -> None:
    realms = Realms()
    for index in range(MAX_REMEMBERED + 10):
        realms.place(index.to_bytes(8, "big") + b"\0\1\0\x6e", 10, 1000, 0, SYN, 0)
    assert realms.forgotten == 1
    assert len(realms._connections) <= MAX_REMEMBERED
    assert realms.split == 0


def test_only_a_second_beginning_splits() -> None:
    realms = Realms()
    assert realms.place(key(1), 10, 1000, 0, SYN, 0) == key(1)
    assert realms.place(key(1), 20, 1000, 0, SYN, 1) == key(1)  # the same SYN
    assert realms.place(key(1), 10, 5000, 0, SYN, 2) == key(1)  # another, of the same network
    assert realms.place(key(1), 20, 90_000, 7, ACK, 3) == key(1)  # no beginning
    other = realms.place(key(1), 20, 2_000_000, 0, SYN, 4)
    assert other == b"\0\1" + key(1)
    assert realms.place(key(1), 99, 2_000_050, 7, ACK, 5) == other  # by its sequence number
    assert realms.place(key(1), 99, 5050, 7, ACK, 5) == key(1)
    assert realms.split == 1
    # the first one is over: its port may be used again
    realms.place(key(1), 10, 5060, 7, ACK | FIN, 6)
    assert realms.place(key(1), 30, 77, 0, SYN, 7) == key(1)
