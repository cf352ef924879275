"""Words of findings that are kept, or put together digit by digit: they say what a format would."""

from __future__ import annotations

import itertools
import random

import pytest

from analyzer.findings import traits
from analyzer.findings.traits import MAX_PORTS, MAX_SERVERS, counted, server_text
from analyzer.sessions.records import Session


def told(session: Session, protocol: str, address: str, port: int) -> str:
    session.protocol, session.server_ip, session.server_port = protocol, address, port
    return server_text(session)


def test_a_server_is_told_by_address_port_and_protocol() -> None:
    session = Session()
    places = list(
        itertools.product(("pop3", "imap", "smtp"), ("192.0.2.1", "192.0.2.2", "2001:db8::1"), range(110, 120))
    )
    random.Random(1).shuffle(places)
    for protocol, address, port in places * 2:
        shown = f"[{address}]" if ":" in address else address
        assert told(session, protocol, address, port) == f"{protocol} server {shown}:{port}"


def test_of_servers_without_end_not_all_words_are_kept() -> None:
    session = Session()
    for number in range(2 * MAX_SERVERS):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert told(session, "smtp", address, 25) == f"smtp server {address}:25"
        assert len(traits._servers) <= MAX_SERVERS
    for port in range(1, 1000):
        assert told(session, "smtp", "10.0.0.1", port) == f"smtp server 10.0.0.1:{port}"
    assert max(len(known) for known in traits._servers.values()) == MAX_PORTS


@pytest.mark.parametrize(
    "count", [0, 2, 999, 1000, 1001, 12_045, 100_000, 999_999, 1_000_000, 1_000_001, 12_345_678_901]
)
def test_numbers_are_grouped(count: int) -> None:
    assert counted(count, "octet") == f"{count:,} octets"


def test_one_is_one() -> None:
    assert counted(1, "message") == "1 message"
