"""Identifiers: the same everywhere, and different where what they identify is."""

from __future__ import annotations

import random

from analyzer.findings.base import Finding
from analyzer.findings.catalogue import BY_SLUG
from analyzer.model import SEED, in_hex, mixed, mixed_text
from analyzer.sessions.records import Session


def session(client: str, port: int, start_ns: int) -> Session:
    one = Session()
    one.client_ip, one.client_port, one.server_ip, one.server_port, one.start_ns = (
        client,
        port,
        "198.51.100.20",
        110,
        start_ns,
    )
    return one


def finding(username: str | None, detail: str, offset: int = 7, slug: str = "plaintext-password") -> str:
    one = Finding(
        BY_SLUG[slug], 3, "high", session("192.0.2.1", 40000, 10**18), 9, 10**18 + 5, offset, username, detail, 0
    )
    return one.finding_id()


def test_identifiers_do_not_depend_on_how_mailtap_was_built() -> None:
    # Compiled or not, on any machine: stores and reports made elsewhere are joined by these.
    assert in_hex(mixed(SEED, 0)) == "689d2811942582a2"
    assert in_hex(mixed(SEED, -1)) == "14c53f0db17b0833"
    assert in_hex(mixed_text(SEED, "jürgen@example.org")) == "331021434c33dbff"
    assert session("2001:db8::1", 49152, 1_772_438_851_809_956_000).session_id() == "1d193e631bee471a"
    assert finding("kim", "") == "7675e300918520be"


def test_twenty_thousand_neighbours_have_as_many_identifiers() -> None:
    start_ns = 1_772_438_851_000_000_000
    alike = {
        session(f"10.0.{client >> 4}.{client & 15}", 40000 + port, start_ns + step * 1000).session_id()
        for client in range(40)
        for port in range(50)
        for step in range(10)
    }
    assert len(alike) == 20_000
    assert all(len(one) == 16 for one in alike)


def test_each_digit_changes_with_each_bit() -> None:
    numbers = random.Random(1)
    changed = [0] * 63
    rounds = 200
    for _ in range(rounds):
        number = numbers.getrandbits(62)
        bit = 1 << numbers.randrange(62)
        other = mixed(mixed(SEED, number), 1) ^ mixed(mixed(SEED, number ^ bit), 1)
        for at in range(63):
            changed[at] += other >> at & 1
    assert all(rounds * 0.3 < count < rounds * 0.7 for count in changed)


def test_findings_differ_by_all_of_their_evidence() -> None:
    made = [
        finding("kim", ""),
        finding("lee", ""),
        finding(None, ""),
        finding("", ""),
        finding(None, "kim"),
        finding("", "kim"),
        finding("kim", "", 8),
        finding("kim", "", 7, "weak-password"),
        finding("\udce9", ""),
    ]
    assert len(set(made)) == len(made)
