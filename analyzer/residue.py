"""The files of one sensor's ring, read side by side, and what crosses from file to file read in order: the same records as in one stream.

    parts = [read_part(path) for path in ring]                      # on as many cores or machines as there are
    residues = [read_residue(part, crossing(parts, i)) for ...]     # likewise
    sessions, lost = join(parts, residues)                          # in order, little

A connection that is not over when its file ends is told from its packets alone, and those are in several files. So a part says which
connections were open at its end; its residue is the packets, as they were captured, of these and of all that an earlier file has left
open; the residues joined are a small capture of their own. What a part itself has told of those connections is dropped, for the joined
reading tells all of it. Every other connection has nothing in any other file that could matter to it: it was told.

Nothing of this costs a run that does not ask for it. What it keeps is bounded (``packets.selection``), and ``lost`` counts what was left out.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Final

from analyzer.capture.base import CaptureStats
from analyzer.capture.files import read_capture
from analyzer.packets.selection import RecordSelector, connection_key
from analyzer.pipeline import Pipeline
from analyzer.sessions.ordering import sort_by_start
from analyzer.sessions.records import Session, SessionList

#: A record as it was captured: ``(timestamp_ns, linktype, data, wire_length, frame)``.
Record = tuple[int, int, bytes, int, int]
#: Connections left open by one file that are followed into the next ones.
MAX_OPEN: Final = 100_000


class Part:
    """What one file of a ring told by itself. Can be pickled."""

    def __init__(self, path: str) -> None:
        self.path = path
        #: sessions in the order in which they ended; those of connections in ``open`` are preliminary
        self.sessions: list[Session] = []
        #: connections that were not over when the file ended
        self.open: set[bytes] = set()
        self.stats: CaptureStats = CaptureStats(path)
        #: connections beyond :data:`MAX_OPEN`: they are told in two pieces
        self.open_left_out: int = 0


class Residue:
    """The packets of one file that must be read together with those of others. Can be pickled."""

    def __init__(self, path: str, keys: set[bytes], records: list[Record], left_out: int) -> None:
        self.path = path
        #: the connections they are of
        self.keys = keys
        self.records = records
        #: packets left out, because there were too many
        self.left_out = left_out


def read_part(path: str, *, ports: Mapping[int, str] | None = None, sensor: str = "", headers: bool = False) -> Part:
    """Read one file of a ring by itself.

    Raises:
        CaptureError: the file is missing, unreadable, or no capture.
    """
    sink = SessionList()
    pipeline = Pipeline(sink, ports=ports, sensor=sensor)
    pipeline.factory.keep_headers = headers
    part = Part(path)
    part.stats = pipeline.read(path)
    for key in pipeline.table.open_keys():
        if len(part.open) >= MAX_OPEN:
            part.open_left_out += 1
        else:
            part.open.add(connection_key(key))
    pipeline.close()
    part.sessions = sink.sessions
    return part


def crossing(parts: Sequence[Part], index: int) -> set[bytes]:
    """The connections whose packets in file ``index`` belong to what is read in order: open at its end, or at that of one before."""
    keys: set[bytes] = set()
    for part in parts[: index + 1]:
        keys |= part.open
    return keys


def read_residue(path: str, keys: set[bytes]) -> Residue:
    """The packets of these connections in one file, in their order.

    Raises:
        CaptureError: the file is missing, unreadable, or no capture.
    """
    selector = RecordSelector(keys)
    if keys:
        read_capture(path, selector)
    return Residue(path, keys, selector.records, int(selector.left_out))


def join(
    parts: Sequence[Part],
    residues: Sequence[Residue],
    *,
    ports: Mapping[int, str] | None = None,
    sensor: str = "",
    headers: bool = False,
) -> tuple[list[Session], int]:
    """The sessions of the whole ring, in order of their start, and how many packets and connections were left out on the way."""
    sink = SessionList()
    pipeline = Pipeline(sink, ports=ports, sensor=sensor)
    pipeline.factory.keep_headers = headers
    every: set[bytes] = set()
    lost = 0
    for index, residue in enumerate(residues):
        every |= residue.keys
        lost += residue.left_out + parts[index].open_left_out
        pipeline.table.capture = index
        pipeline.factory.captures.append(residue.path)
        for timestamp_ns, linktype, data, wire_length, frame in residue.records:
            pipeline.decoder.receive_record(data, 0, len(data), wire_length, linktype, timestamp_ns, frame)
    pipeline.close()
    # Fragments of other connections come along; what they would make is told by their own part.
    sessions = [session for session in sink.sessions if connection_of(session) in every]
    for part, residue in zip(parts, residues, strict=True):
        sessions += [session for session in part.sessions if connection_of(session) not in residue.keys]
    sort_by_start(sessions)
    for part in parts:
        part.stats.mail_packets = sum(int(session.packets) for session in sessions if session.capture == part.path)
    return sessions, lost


def connection_of(session: Session) -> bytes:
    """The name that a session's connection has here."""
    client, server = (ipaddress.ip_address(text).packed for text in (session.client_ip, session.server_ip))
    ports = int(session.client_port).to_bytes(2, "big") + int(session.server_port).to_bytes(2, "big")
    return connection_key(client + server + ports)
