"""Plays transcripts of dialogues into a dissector, in any way of cutting them, and writes down what it said.

A transcript has one line a row: ``C: text`` and ``S: text`` are lines of client and server (CRLF is added), ``C| text`` and
``S| text`` are octets as they stand, with Python's escapes undone and nothing added, ``C~ 100`` is a gap of 100 octets, ``--`` ends a
segment, ``#`` begins a comment. Neighbouring rows of one sender travel in one segment.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from analyzer.model import CLIENT, SERVER, Position, Secret
from analyzer.protocols import events
from analyzer.protocols.base import Dissector

#: ``(sender, octets)``, or ``(sender, size)`` of a gap
Piece = tuple[int, bytes | int]

_FIELDS: dict[type[events.Event], tuple[str, ...]] = {
    events.Greeted: ("text",),
    events.CapabilitiesOffered: ("names",),
    events.ClientNamed: ("name",),
    events.StartTlsRequested: (),
    events.StartTlsAccepted: (),
    events.StartTlsRefused: ("reply",),
    events.TlsStarted: (),
    events.CompressionStarted: (),
    events.CredentialsSent: (
        "exchange", "mechanism", "username", "authzid", "secret", "secret_kind", "challenge", "response",
    ),
    events.AuthenticationEnded: ("exchange", "outcome", "reply"),
    events.MessageTransferred: (
        "message", "direction", "mail_from", "recipients", "recipient_count", "size", "ended", "complete", "mailbox",
        "attachments", "header",
    ),
    events.MessageAnswered: ("message", "accepted"),
    events.MessageDeleted: ("message",),
    events.Anomaly: ("kind", "detail"),
}  # fmt: skip


def read_transcript(text: str) -> list[Piece]:
    """The pieces of a transcript, one a segment."""
    pieces: list[Piece] = []
    joined = False
    for row in text.splitlines():
        row = row.strip("\n")
        mark = row.lstrip()[:2]
        rest = row.lstrip()[3:]
        if not mark or mark.startswith("#"):
            continue
        if mark == "--":
            joined = False
            continue
        sender = {"C": CLIENT, "S": SERVER}[mark[0]]
        if mark[1] == "~":
            pieces.append((sender, int(rest)))
            joined = False
            continue
        if mark[1] == ":":
            data = rest.encode("utf-8", "surrogateescape") + b"\r\n"
        else:
            assert mark[1] == "|", row
            data = rest.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
        last = pieces[-1] if pieces else None
        if joined and last is not None and last[0] == sender and isinstance(last[1], bytes):
            pieces[-1] = (sender, last[1] + data)
        else:
            pieces.append((sender, data))
        joined = True
    return pieces


def cut_bytes(pieces: Iterable[Piece]) -> list[Piece]:
    """The same dialogue, one octet a segment."""
    out: list[Piece] = []
    for sender, data in pieces:
        if isinstance(data, int):
            out.append((sender, data))
        else:
            out.extend((sender, data[i : i + 1]) for i in range(len(data)))
    return out


def cut_randomly(pieces: Iterable[Piece], seed: int) -> list[Piece]:
    """The same dialogue, cut at places that ``seed`` chooses."""
    chance = random.Random(seed)
    out: list[Piece] = []
    for sender, data in pieces:
        if isinstance(data, int):
            out.append((sender, data))
            continue
        at = 0
        while at < len(data):
            step = chance.choice((1, 1, 2, 3, 7, 20, 100))
            out.append((sender, data[at : at + step]))
            at += step
    return out


def play(dissector: Dissector, pieces: Iterable[Piece], eof: bool = True, finish: bool = True) -> list[events.Event]:
    """What the dissector says to these pieces, in order; then both streams end, and the session."""
    offsets = [0, 0]
    said: list[events.Event] = []
    frame = 0
    for sender, data in pieces:
        frame += 1
        at = Position(frame, frame * 1_000_000, offsets[sender])
        if isinstance(data, int):
            said += dissector.receive_gap(sender, data, at)
            offsets[sender] += data
        else:
            said += dissector.receive_data(sender, data, at)
            offsets[sender] += len(data)
    if eof:
        for sender in (CLIENT, SERVER):
            said += dissector.receive_eof(sender, Position(frame, frame * 1_000_000, offsets[sender]))
    if finish:
        said += dissector.finish(Position(frame, frame * 1_000_000, offsets[CLIENT]))
    return said


def describe(event: events.Event, where: bool = False) -> str:
    """One event as a line: ``CredentialsSent exchange=1 username='alice' secret='pw'``; empty fields are left out, secrets shown.

    With ``where`` its sender and offset are said too (the frame never is: it depends on the cut).
    """
    words = [type(event).__name__]
    if where:
        words.append(f"[{'CS'[event.sender]}{event.offset}]")
    for name in _FIELDS[type(event)]:
        value = getattr(event, name)
        if isinstance(value, Secret):
            value = value.reveal()
        if value not in (None, "", [], b""):
            words.append(f"{name}={value!r}")
    return " ".join(words)


def told(said: Iterable[events.Event], where: bool = False) -> list[str]:
    """The events as lines."""
    return [describe(event, where) for event in said]


def hear(make: Callable[[], Dissector], transcript: str | list[Piece], seeds: Iterable[int] = range(6)) -> list[str]:
    """What a fresh dissector says to a transcript, the same for every way of cutting it (asserted), and the octets left for TLS."""
    pieces = read_transcript(transcript) if isinstance(transcript, str) else transcript

    def run(cut: list[Piece], where: bool) -> list[str]:
        dissector = make()
        lines = told(play(dissector, cut), where)
        for sender, name in ((CLIENT, "client"), (SERVER, "server")):
            rest = dissector.trailing_data(sender)
            if rest:
                lines.append(f"trailing {name} {rest!r}")
        return lines

    whole = run(pieces, True)
    assert run(cut_bytes(pieces), True) == whole
    for seed in seeds:
        assert run(cut_randomly(pieces, seed), True) == whole
    return run(pieces, False)


def kinds(lines: Iterable[str]) -> list[str]:
    """The first word of each line of :func:`hear`; an anomaly's kind goes with it."""
    out = []
    for line in lines:
        words = line.split(" ", 2)
        out.append(f"{words[0]} {words[1].removeprefix('kind=').strip(chr(39))}" if words[0] == "Anomaly" else words[0])
    return out
