"""Traffic for rules: dialogues and TLS connections as packets, through the whole pipeline, to findings."""

from __future__ import annotations

import datetime as dt
import functools
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from support import tls as lab
from support.traffic import START_NS, Frame, Talk, capture

from analyzer.findings.base import Finding
from analyzer.findings.engine import find
from analyzer.model import CLIENT
from analyzer.pipeline import Result, run
from analyzer.sessions.certificates import TrustStore

SECOND = 1_000_000_000
#: The day of the traffic.
NOW = dt.datetime.fromtimestamp(START_NS // SECOND, dt.UTC)


def talk(
    transcript: str,
    port: int = 110,
    *,
    client: str = "192.0.2.10",
    server: str = "198.51.100.20",
    at: float = 0,
    closed: bool = True,
) -> Talk:
    """A dialogue ``at`` seconds after the start, closed orderly."""
    made = Talk(client, server, 40000 + int(at * 10) % 20000, port, START_NS + int(at * SECOND))
    made.play(transcript)
    return made.close() if closed else made


def carry(made: Talk, pieces: Iterable[lab.Piece]) -> Talk:
    """What both sides of a TLS connection send, as segments of a connection."""
    for sender, what in pieces:
        if isinstance(what, bytes):
            for at in range(0, len(what), 1400):
                made._segment(sender, 24, what[at : at + 1400])
    return made


def tls(
    pieces: Iterable[lab.Piece],
    port: int = 995,
    *,
    client: str = "192.0.2.10",
    server: str = "198.51.100.20",
    at: float = 0,
    before: str = "",
) -> Talk:
    """A TLS connection, behind a dialogue in clear where ``before`` is given."""
    made = Talk(client, server, 40000 + int(at * 10) % 20000, port, START_NS + int(at * SECOND))
    if before:
        made.play(before)
    return carry(made, pieces).close()


def good_tls(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, ciphers: str = "ECDHE+AESGCM") -> list[lab.Piece]:
    """A connection made by the ssl module that says something."""
    made = lab.Connection(lab.context(0, version, ciphers=ciphers), lab.context(1, version, ciphers=ciphers))
    return made.shake_hands().talk().pieces


def failed_tls() -> list[lab.Piece]:
    """A client that knows TLS 1.3 only meets a server that does not."""
    made = lab.Connection(lab.context(0, ssl.TLSVersion.TLSv1_3), lab.context(1, ssl.TLSVersion.TLSv1_2))
    return made.shake_hands().pieces


def distrustful_tls() -> list[lab.Piece]:
    """A client that checks certificates meets one that it does not trust."""
    version = ssl.TLSVersion.TLSv1_2
    made = lab.Connection(lab.context(0, version, verify=True), lab.context(1, version))
    return made.shake_hands().pieces


@functools.cache
def authority() -> lab.Identity:
    return lab.issue(
        "Example Root of Rules", authority=True, start=NOW - dt.timedelta(days=900), end=NOW + dt.timedelta(days=3000)
    )


@functools.cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def identity(
    first: int = -100, last: int = 300, name: str = lab.HOST, signed_by_itself: bool = False, bits: int = 2048
) -> lab.Identity:
    """A server certificate, valid from ``first`` to ``last`` days after the traffic."""
    return lab.issue(
        name, issuer=None if signed_by_itself else authority(), key=_key() if bits == 2048 else rsa.generate_private_key(65537, bits),
        names=(name,), start=NOW + dt.timedelta(days=first), end=NOW + dt.timedelta(days=last),
    )  # fmt: skip


def shown(
    chain: list[bytes], *, suite: int = 0xC02F, version: int = 0x0303, goes_on: bool = True, asks: str = lab.HOST
) -> list[lab.Piece]:
    """A TLS 1.2 handshake in which the server shows a chain; what is encrypted is zeros."""
    ccs, finished = lab.record(20, b"\x01", version), lab.record(22, bytes(40), version)
    hello = lab.client_hello(version=version, suites=(suite,), extensions=lab.sni(asks))
    flight = lab.record(22, lab.server_hello(version=version, suite=suite), version)
    flight += lab.record(22, lab.certificates(*chain), version) + lab.record(22, lab.message(14, b""), version)
    pieces: list[lab.Piece] = [
        (0, lab.record(22, hello, version)), (1, flight),
        (0, lab.record(22, lab.message(16, bytes(130)), version) + ccs + finished), (1, ccs + finished),
    ]  # fmt: skip
    if goes_on:
        pieces += [(1, lab.record(23, bytes(64), version)), (0, lab.record(23, bytes(48), version))]
    return pieces


def trust(folder: Path) -> TrustStore:
    """Trusts the authority of these tests only."""
    path = folder / "roots.pem"
    path.write_bytes(Path(authority().pem).read_bytes())
    return TrustStore(str(path))


def read(folder: Path, talks: Iterable[Talk | list[Frame]], **options: object) -> Result:
    """Connections, mixed by time into one capture, through the pipeline."""
    frames: list[Frame] = []
    for one in talks:
        frames += one.frames() if isinstance(one, Talk) else one
    frames.sort(key=lambda frame: frame[0])
    path = folder / "verdicts.pcap"
    path.write_bytes(capture(frames))
    return run([path], **options)  # type: ignore[arg-type] # options of run, named by the test


def findings(folder: Path, *talks: Talk | list[Frame]) -> list[Finding]:
    """What the rules say of connections."""
    result = read(folder, talks)
    return find(result.sessions, result.captures, trust=trust(folder))


def slugs(found: Iterable[Finding]) -> set[str]:
    return {one.slug for one in found}


def lost(made: Talk, first: int, last: int) -> list[Frame]:
    """A connection without some of its frames, counted from 0."""
    frames = made.frames()
    return frames[:first] + frames[last:]


assert CLIENT == 0
