"""Streams that another program reassembled become sessions: the same dissectors read them, so that the same tables come out.

Used by the second engine. What the first engine's flow table tells a session (who is the client, what was seen of the
connection, what is missing) is told here from Wireshark's words; octets that it decrypted go to the part of the session
that marks what it finds as seen through decryption.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from analyzer.capture.wireshark import DECRYPTED, GAP, Piece, Wireshark, WiresharkStream
from analyzer.flows.base import CLIENT_MAY_OPEN, SERVER_MAY_OPEN, Flow
from analyzer.model import CLIENT, SERVER, Position
from analyzer.sessions.dispatch import SessionStream, SessionStreamFactory
from analyzer.sessions.records import Session, SessionList

#: What comes first of what carries one frame number: octets, what was decrypted of them, the end of the stream.
_OCTETS: Final = 0
_INSIDE: Final = 1
_END: Final = 2
#: Sessions that are named to tshark one by one; more of them are looked for among all.
MAX_FILTERED: Final = 100


def client_side(stream: WiresharkStream, factory: SessionStreamFactory) -> tuple[int, str]:
    """Which side of a stream is the client, and how that is known (``syn port content guess``)."""
    if stream.syn_side >= 0:
        return stream.syn_side, "syn"
    if stream.syn_ack_side >= 0:
        return 1 - stream.syn_ack_side, "syn"
    listed = [factory.port_service(port) is not None for port in stream.ports]
    if listed[0] != listed[1]:
        return (0 if listed[1] else 1), "port"
    if stream.first_sender >= 0:
        # Of mail protocols the server speaks first.
        return 1 - stream.first_sender, "content"
    return 0, "guess"


def is_of_interest(stream: WiresharkStream, factory: SessionStreamFactory) -> bool:
    """Whether a stream may be mail: its server's port is listed, or it begins as mail may."""
    client, _how = client_side(stream, factory)
    if factory.port_service(stream.ports[1 - client]) is not None:
        return True
    opening = factory.opening_octets()
    first = stream.first_sender
    if first < 0:
        return False
    may_open = CLIENT_MAY_OPEN if first == client else SERVER_MAY_OPEN
    return bool(opening[stream.first_octets[first]] & may_open)


def decrypt(
    sessions: list[Session], path: str, keylog: str | None, ports: dict[int, str] | None
) -> tuple[list[Session], list[str]]:
    """Sessions of one capture, read again through Wireshark: those that it gave something of, and what it warned of.

    Raises:
        EngineError: tshark is missing or too old, or the capture is standard input.
        CaptureUnreadable: tshark cannot read the capture or the key log.
    """
    wanted = {session.session_id() for session in sessions}
    display_filter = ""
    if len(sessions) <= MAX_FILTERED:
        display_filter = " || ".join(sorted({_filter(session) for session in sessions}))
    sink = SessionList()
    wireshark = Wireshark(path, keylog, display_filter)
    read_through(wireshark, SessionStreamFactory(sink, ports), 0)
    found = [session for session in sink.sessions if session.session_id() in wanted]
    return [session for session in found if read_inside(session)], wireshark.warnings


def read_inside(session: Session) -> bool:
    """Whether anything of the session was read through decryption."""
    return any(not one.exposed for one in session.credentials or ()) or any(
        not one.exposed for one in session.message_list or ()
    )


def _filter(session: Session) -> str:
    """A display filter for the addresses and ports of a session."""
    family = "ipv6" if ":" in session.client_ip else "ip"
    return (
        f"({family}.addr == {session.client_ip} && {family}.addr == {session.server_ip}"
        f" && tcp.port == {session.client_port} && tcp.port == {session.server_port})"
    )


def read_through(
    wireshark: Wireshark, factory: SessionStreamFactory, capture: int, progress: Callable[[int], None] | None = None
) -> None:
    """Read a capture through Wireshark; its sessions go to the factory's sink, in the order in which they end."""
    streams = [stream for stream in wireshark.list_streams() if is_of_interest(stream, factory)]
    streams.sort(key=lambda stream: (stream.end_ns, stream.last_frame))

    def server_port(stream: WiresharkStream) -> int:
        return stream.ports[1 - client_side(stream, factory)[0]]

    for number, stream in enumerate(wireshark.follow(streams, server_port), 1):
        replay(stream, factory, capture)
        if progress is not None:
            progress(number)


def replay(stream: WiresharkStream, factory: SessionStreamFactory, capture: int) -> None:
    """Let one stream, octets and all, be read as if it came from the flow table."""
    client, how = client_side(stream, factory)
    flow = Flow()
    flow.client_ipv4, flow.client_ipv6 = _packed(stream.addresses[client])
    flow.server_ipv4, flow.server_ipv6 = _packed(stream.addresses[1 - client])
    flow.client_port, flow.server_port = stream.ports[client], stream.ports[1 - client]
    flow.start_ns, flow.end_ns = stream.start_ns, stream.end_ns
    flow.first_frame, flow.last_frame = stream.first_frame, stream.last_frame
    flow.client_packets, flow.server_packets = stream.packets[client], stream.packets[1 - client]
    flow.packets = flow.client_packets + flow.server_packets
    flow.syn_seen = stream.syn_side >= 0
    flow.syn_ack_seen = stream.syn_ack_side >= 0
    flow.client_fin, flow.server_fin = stream.fins[client] is not None, stream.fins[1 - client] is not None
    if stream.reset is not None:
        flow.rst_frame = stream.reset[0]
        flow.rst_sender = CLIENT if stream.reset[2] == client else SERVER
    flow.truncated = bool(stream.cuts)
    flow.direction_from = how
    flow.capture = flow.last_capture = capture
    sink = factory.open_stream(flow)
    if sink is None:
        return
    offsets = [0, 0]
    for frame, timestamp_ns, kind, sender, piece in _in_order(stream, client):
        at = Position(frame, timestamp_ns, offsets[sender])
        if kind == _END:
            sink.receive_eof(sender, at)
        elif piece is None:
            continue
        elif kind == _INSIDE:
            if isinstance(sink, SessionStream):
                sink.receive_decrypted(sender, piece.data, at)
        else:
            offsets[sender] += piece.size
            flow.client_bytes, flow.server_bytes = offsets[CLIENT], offsets[SERVER]
            if piece.kind == GAP:
                flow.gap_bytes += piece.size
                sink.receive_gap(sender, piece.size, at)
            elif not sink.receive_data(sender, piece.data, at):
                return
    sink.flow_ended(flow)


def _in_order(stream: WiresharkStream, client: int) -> list[tuple[int, int, int, int, Piece | None]]:
    """What happens in a stream: (frame, time, kind, sender, piece), by frame, each direction's own order kept."""
    events: list[tuple[int, int, int, int, int, Piece | None]] = []
    reached = {_OCTETS: 0, _INSIDE: 0}
    for number, piece in enumerate(stream.pieces):
        kind = _INSIDE if piece.kind == DECRYPTED else _OCTETS
        # A piece that waited for an earlier one keeps its frame number, yet comes behind it.
        reached[kind] = max(reached[kind], piece.frame)
        sender = CLIENT if piece.side == client else SERVER
        events.append((reached[kind], kind, number, piece.timestamp_ns, sender, piece))
    ends = [(end[0], end[1], side) for side, end in enumerate(stream.fins) if end is not None]
    if stream.reset is not None and stream.fins[stream.reset[2]] is None:
        ends.append(stream.reset)
    for frame, timestamp_ns, side in ends:
        events.append((frame, _END, 0, timestamp_ns, CLIENT if side == client else SERVER, None))
    events.sort(key=lambda event: event[:3])
    return [
        (frame if piece is None else piece.frame, timestamp_ns, kind, sender, piece)
        for frame, kind, _number, timestamp_ns, sender, piece in events
    ]


def _packed(address: str) -> tuple[int, bytes]:
    """An address as a flow has it: the number where it is of IPv4, the octets where it is of IPv6."""
    if ":" in address:
        return 0, socket.inet_pton(socket.AF_INET6, address)
    return int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big"), b""
