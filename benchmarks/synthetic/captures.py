"""The captures themselves: which flows, how many of each, mixed by time, written as a classic pcap file.

``mixed``    an office uplink: web, downloads, QUIC, DNS, SSH, a few per cent of IPv6, ARP and ICMP; about 4 % of the packets are mail
``allmail``  a POP3 server's uplink: nothing but logins with USER and PASS, a quarter of them with a wrong password
``tlsmail``  a provider's uplink: 90 % of the mail sessions are encrypted, from the first octet or after STARTTLS
``tiny``     three sessions
``big``      ``mixed`` five times over, times shifted; for the memory measurement, only on request
``strangers``  a million logins, each of another client at another server; for the memory measurement, only on request

Everything follows from the seed, but for the few TLS handshakes, which are real and so differ from run to run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from . import dialogues as say
from .frames import Copies, Rendered, Shape, datagram_shape, render, tcp_shape

#: Flows of one shape and how many copies of it, at scale 1.
Recipe = list[tuple[Shape, int]]

#: 2026-03-02 08:00:00 UTC, in microseconds.
EPOCH_US: Final = 1_772_438_400_000_000
#: Flows are rendered, sorted by time and written in so many slices: bounds the memory of the generator.
SLICES: Final = 12
_PCAP_HEADER: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)


@dataclass(frozen=True)
class Counts:
    """What a capture holds, as its generator counted it."""

    packets: int
    mail_packets: int
    mail_sessions: int
    size: int

    def plus(self, other: Counts) -> Counts:
        """The sum; ``size`` is counted by whoever writes the file."""
        return Counts(
            self.packets + other.packets,
            self.mail_packets + other.mail_packets,
            self.mail_sessions + other.mail_sessions,
            self.size + other.size,
        )


@dataclass(frozen=True)
class Plan:
    """A capture that can be made: its recipe, how long a span it covers at scale 1, and how often it is repeated."""

    recipe: Callable[[], Recipe]
    span_us: int
    repeats: int = 1
    #: so many clients, servers and accounts
    clients: int = 251
    servers: int = 5
    accounts: int = 5_000


def allmail_recipe() -> Recipe:
    """About 130,000 POP3 logins in 2.3 million packets and 300 MB."""
    small, middle = say.message(9, 1), say.message(14, 2)
    return [
        (tcp_shape(say.pop3([small]), 110, rtt_us=18_000, mail=True), 46_000),
        (tcp_shape(say.pop3([small, middle]), 110, rtt_us=35_000, mail=True), 15_000),
        (tcp_shape(say.pop3([middle]), 110, rtt_us=9_000, mail=True), 15_000),
        (tcp_shape(say.pop3([]), 110, rtt_us=24_000, mail=True), 18_500),
        (tcp_shape(say.pop3([], accepted=False), 110, rtt_us=21_000, mail=True), 33_500),
    ]


def tlsmail_recipe() -> Recipe:
    """About 48,000 mail sessions in 1.1 million packets and 235 MB; each TLS shape is three handshakes, made one by one."""
    short, long = say.message(6, 6), say.message(30, 7)

    def mail(turns: say.Turns, port: int, *, ipv6: bool = False) -> Shape:
        return tcp_shape(turns, port, mail=True, ipv6=ipv6)

    recipe: Recipe = []
    for _ in range(3):
        recipe += [
            (mail(say.encrypted(say.imap([short])), 993), 4_200),
            (mail(say.encrypted(say.imap([long]), "1.2"), 993), 2_600),
            (mail(say.encrypted(say.pop3([short])), 995), 2_400),
            (mail(say.encrypted(say.pop3([]), "1.2"), 995), 1_200),
            (mail(say.encrypted(say.smtp(short, login=True)), 465, ipv6=True), 1_200),
            (mail(say.starttls("smtp", say.smtp(long, login=True)), 587), 1_600),
            (mail(say.starttls("imap", say.imap([short])), 143), 800),
            (mail(say.starttls("pop3", say.pop3([short])), 110), 400),
        ]
    clear: Recipe = [
        (mail(say.pop3([short]), 110), 2_400),
        (mail(say.imap([short]), 143), 1_200),
        (mail(say.smtp(long, login=False), 25), 1_200),
    ]
    return recipe + clear


def mixed_recipe() -> Recipe:
    """About 657,000 packets in 600 MB."""
    short, long, picture = say.message(6, 3), say.message(40, 4), say.message(900, 5)

    def mail(turns: say.Turns, port: int, *, ipv6: bool = False) -> Shape:
        return tcp_shape(turns, port, mail=True, ipv6=ipv6)

    office: Recipe = [
        (mail(say.pop3([short]), 110), 180),
        (mail(say.pop3([], accepted=False), 110), 60),
        (mail(say.pop3([long, short, picture]), 110, ipv6=True), 30),
        (mail(say.starttls("pop3", say.pop3([short])), 110), 40),
        (mail(say.encrypted(say.pop3([long])), 995), 60),
        (mail(say.imap([short, long]), 143), 160),
        (mail(say.imap([long, picture], sasl=True), 143), 40),
        (mail(say.starttls("imap", say.imap([short])), 143), 40),
        (mail(say.encrypted(say.imap([long]), "1.2"), 993), 70),
        (mail(say.smtp(long, login=False), 25), 160),
        (mail(say.smtp(picture, login=False, starttls=True), 25), 30),
        (mail(say.starttls("smtp", say.smtp(short, login=True)), 587), 50),
        (mail(say.smtp(short, login=True), 587, ipv6=True), 60),
        (mail(say.encrypted(say.smtp(short, login=True)), 465), 40),
        (mail(say.sieve(), 4190), 20),
    ]
    web: Recipe = [
        (tcp_shape(say.web_tls(size, size), 443, ipv6=ipv6), copies)
        for size, ipv6, copies in [
            (2_000, False, 2400),
            (9_000, False, 1500),
            (30_000, False, 900),
            (30_000, True, 300),
            (120_000, False, 420),
            (250_000, True, 60),
            (600_000, False, 215),
        ]
    ]
    other: Recipe = [
        (tcp_shape(say.http(20_000, 11), 80), 500),
        (tcp_shape(say.http(400_000, 12), 80), 175),
        (tcp_shape(say.http(80_000, 13), 8080), 90),
        (tcp_shape(say.upload(500_000, 14), 9000), 90),
        (tcp_shape(say.ssh(120, 15), 22), 40),
        (datagram_shape("udp", say.dns(16), 53, gap_us=9_000), 9_000),
        (datagram_shape("udp", say.dns(17), 53, gap_us=9_000, ipv6=True), 1_500),
        (datagram_shape("udp", say.quic(300, 18), 443), 290),
        (datagram_shape("udp", say.quic(60, 19), 443, ipv6=True), 300),
        (datagram_shape("icmp", [(0, b"ping" * 14), (1, b"ping" * 14)], gap_us=12_000), 1_200),
        (datagram_shape("arp", [(0, b""), (1, b"")]), 1_500),
    ]
    return office + web + other


def tiny_recipe() -> Recipe:
    """Three sessions: what start-up costs."""
    return [
        (tcp_shape(say.pop3([say.message(4, 1)]), 110, mail=True), 1),
        (tcp_shape(say.imap([say.message(4, 1)]), 143, mail=True), 1),
        (tcp_shape(say.smtp(say.message(4, 1), login=True), 587, mail=True), 1),
    ]


def strangers_recipe() -> Recipe:
    """A million POP3 logins in 15 million packets and 1.4 GB."""
    return [(tcp_shape(say.pop3([]), 110, mail=True), 1_000_000)]


PLANS: Final = {
    "tiny": Plan(tiny_recipe, 3_000_000),
    "mixed": Plan(mixed_recipe, 600_000_000),
    "allmail": Plan(allmail_recipe, 900_000_000),
    "tlsmail": Plan(tlsmail_recipe, 900_000_000),
    "big": Plan(mixed_recipe, 600_000_000, repeats=5),
    "strangers": Plan(strangers_recipe, 3_600_000_000, clients=1_000_000, servers=1_000_000, accounts=1_000_000),
}


def write_capture(path: Path, name: str, *, scale: float = 1.0, seed: int = 1) -> Counts:
    """Generate the capture ``name`` into ``path``, and what it holds into ``path`` with ``.json`` behind it."""
    plan = PLANS[name]
    recipe = [(shape, max(1, round(copies * scale))) for shape, copies in plan.recipe()]
    counts = Counts(0, 0, 0, len(_PCAP_HEADER))
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as out:
        out.write(_PCAP_HEADER)
        now = EPOCH_US
        for _ in range(plan.repeats):
            generator = np.random.default_rng(seed)
            flow = 0
            for slice_number in range(SLICES):
                share = [
                    (shape, copies * (slice_number + 1) // SLICES - copies * slice_number // SLICES)
                    for shape, copies in recipe
                ]
                now, written = _write_slice(out, share, generator, now, int(plan.span_us * scale / SLICES), flow, plan)
                flow += sum(copies for _, copies in share)
                counts = counts.plus(written)
    partial.replace(path)
    Path(f"{path}.json").write_text(json.dumps(asdict(counts) | {"scale": scale, "seed": seed}))
    return counts


def cached_capture(path: Path, name: str, *, scale: float = 1.0, seed: int = 1) -> Counts:
    """The capture at ``path`` if it is already there at this scale and seed, else a new one."""
    books = Path(f"{path}.json")
    if path.exists() and books.exists():
        known = json.loads(books.read_text())
        if (known.pop("scale"), known.pop("seed")) == (scale, seed) and path.stat().st_size == known["size"]:
            return Counts(**known)
    return write_capture(path, name, scale=scale, seed=seed)


def _write_slice(
    out: BinaryIO,
    share: Recipe,
    generator: np.random.Generator,
    start_us: int,
    span_us: int,
    first_flow: int,
    plan: Plan,
) -> tuple[int, Counts]:
    """Write the flows of one slice of time, in time order; returns when the next slice may start, and the counts."""
    rendered = Rendered()
    mail_packets = mail_sessions = 0
    if not any(copies for _, copies in share):
        return start_us + span_us, Counts(0, 0, 0, 0)
    for shape, copies in share:
        if not copies:
            continue
        render(shape, _copies(generator, copies, start_us, span_us, first_flow, plan), rendered)
        first_flow += copies
        if shape.mail:
            mail_sessions += copies
            mail_packets += copies * len(shape.frames)
    times = np.concatenate(rendered.times_us)
    records = rendered.records
    data = b"".join([records[i] for i in np.argsort(times, kind="stable").tolist()])
    out.write(data)
    end_us = max(start_us + span_us, int(times.max()) + 1)
    return end_us, Counts(len(records), mail_packets, mail_sessions, len(data))


def _copies(
    generator: np.random.Generator, count: int, start_us: int, span_us: int, first_flow: int, plan: Plan
) -> Copies:
    """Who talks to whom, from when on. No two flows of one pass share addresses and ports."""
    flow = np.arange(first_flow, first_flow + count, dtype=np.int64)
    return Copies(
        start_us=start_us + generator.integers(0, max(span_us, 1), count),
        client=0x0A01_0001 + flow % plan.clients,
        client_port=20_000 + flow % 45_000,
        server=(0xC633_6401 if plan.servers < 255 else 0xC612_0001) + flow % plan.servers,
        client_isn=generator.integers(0, 2**32, count),
        server_isn=generator.integers(0, 2**32, count),
        number=generator.integers(0, plan.accounts, count),
    )
