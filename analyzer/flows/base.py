"""What leaves the flows room: two ordered byte streams a TCP connection, with explicit gaps."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import Position, Sender

#: Bits of :meth:`StreamSinkFactory.opening_octets`.
SERVER_MAY_OPEN: Final = 1
CLIENT_MAY_OPEN: Final = 2


def default_opening_octets() -> bytes:
    """What :meth:`StreamSinkFactory.opening_octets` answers unless told otherwise.

    Mail servers greet with ``+`` (POP3), ``*`` (IMAP), ``2``, ``4``, ``5`` (SMTP, LMTP) or ``"`` (ManageSieve), some old
    ManageSieve servers with a bare word (``IMPLEMENTATION``, ``OK``, ``NO``, ``BYE``). Clients send letters, digits and, in
    IMAP tags, almost any printable octet; what they send first is looked at only where the greeting was not captured.
    Prefaces of proxies begin with 4 or 5 (SOCKS) or a line end (PROXY protocol 2).
    """
    table = bytearray(256)
    for octet in range(0x21, 0x7F):
        table[octet] = CLIENT_MAY_OPEN
    for octet in b"\x04\x05\r":
        table[octet] = CLIENT_MAY_OPEN
    for octet in b'+*245"IONBionb':
        table[octet] |= SERVER_MAY_OPEN
    return bytes(table)


@mypyc_attr(acyclic=True)
class Flow:
    """The facts of one TCP connection, kept up to date while it lives."""

    def __init__(self) -> None:
        #: addresses of IPv6, packed; empty where they are of IPv4
        self.client_ipv6: bytes = b""
        self.server_ipv6: bytes = b""
        #: how sure we are who is the client: ``syn``, ``port``, ``content``, ``guess``
        self.direction_from: str = "guess"
        #: who sent the first RST
        self.rst_sender: int = 0
        #: addresses of IPv4 as numbers
        self.client_ipv4: i64 = 0
        self.server_ipv4: i64 = 0
        self.client_port: i64 = 0
        self.server_port: i64 = 0
        self.start_ns: i64 = 0
        self.end_ns: i64 = 0
        self.first_frame: i64 = 0
        self.last_frame: i64 = 0
        self.packets: i64 = 0
        #: octets of payload delivered or known to have been sent, each octet once
        self.client_bytes: i64 = 0
        self.server_bytes: i64 = 0
        #: octets known to have been sent that the capture does not hold
        self.gap_bytes: i64 = 0
        #: octets seen twice with different content (the first copy was kept)
        self.conflict_bytes: i64 = 0
        #: where and when that was met first
        self.conflict_frame: i64 = 0
        self.conflict_ns: i64 = 0
        self.syn_seen: bool = False
        self.syn_ack_seen: bool = False
        self.client_fin: bool = False
        self.server_fin: bool = False
        #: frame of the first RST, 0 for none
        self.rst_frame: i64 = 0
        #: some segments were cut by the snap length
        self.truncated: bool = False
        #: packets seen from each side (one of them 0: one-sided capture)
        self.client_packets: i64 = 0
        self.server_packets: i64 = 0
        #: number of the input (``FlowTable.capture``) in which the flow began
        self.capture: i64 = 0
        #: number of the input that holds its last packet so far
        self.last_capture: i64 = 0


@mypyc_attr(acyclic=True)
class StreamSink:
    """Takes the two byte streams of one flow, in causal order: what a peer has acknowledged comes before its answer."""

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> bool:
        """The next octets of a stream. False: no interest in this flow any more, forget it without a record."""
        return True

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> None:
        """``size`` octets were sent that the capture does not hold."""

    def receive_eof(self, sender: Sender, at: Position) -> None:
        """The sender has closed its stream (FIN in order, or RST)."""

    def streams_ended(self) -> None:
        """Both streams are complete: no octets will come any more, though packets may. What is not needed for the end may go."""

    def flow_ended(self, flow: Flow) -> None:
        """Nothing more will come: closed, reset, idle for too long, pushed out, or the capture is over."""


class StreamSinkFactory:
    """Decides which flows are worth following, and who listens to them. The sessions room overrides this."""

    def port_service(self, port: i64) -> str | None:
        """The mail service a port is for (``pop3s``), None off the list."""
        return None

    def listed_ports(self) -> list[int]:
        """The ports that ``port_service`` knows. Asked once."""
        return [port for port in range(65536) if self.port_service(port) is not None]

    def plausible_start(self, buffer: bytes, start: i64, end: i64) -> bool:
        """Whether a payload met midstream on an unlisted port looks like a mail server's greeting."""
        return False

    def opening_octets(self) -> bytes:
        """256 octets of bits: with which first octet a stream on an unlisted port may begin and still be of interest.

        A flow on an unlisted port whose server (``SERVER_MAY_OPEN``) or client (``CLIENT_MAY_OPEN``) begins with another
        octet is forgotten before a sink is made for it, and ``plausible_start`` is not asked about such a payload. Asked once.
        """
        return default_opening_octets()

    def open_stream(self, flow: Flow) -> StreamSink | None:
        """A sink for a new flow; None to ignore it."""
        return None


class StreamRecorder(StreamSink):
    """Writes down all it is given: for tests and for a look at a flow. ``calls`` holds ``(kind, sender, data, size, frame, offset)``.

    ``kind`` is ``data``, ``gap`` or ``eof``; ``data`` is empty and ``size`` zero where they mean nothing.
    """

    def __init__(self, flow: Flow, refused: bytes) -> None:
        self.flow = flow
        self.calls: list[tuple[str, int, bytes, int, int, int]] = []
        #: how often ``flow_ended`` was called: 1 in the end
        self.ended: int = 0
        #: the recorder loses interest in a flow whose data begin with this; empty: in none
        self.refused = refused

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> bool:
        self.calls.append(("data", sender, data, len(data), int(at.frame), int(at.offset)))
        return not (self.refused and data.startswith(self.refused))

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> None:
        self.calls.append(("gap", sender, b"", int(size), int(at.frame), int(at.offset)))

    def receive_eof(self, sender: Sender, at: Position) -> None:
        self.calls.append(("eof", sender, b"", 0, int(at.frame), int(at.offset)))

    def flow_ended(self, flow: Flow) -> None:
        self.ended += 1

    def stream(self, sender: Sender) -> bytes:
        """All octets of one side; a gap is left out."""
        return b"".join([call[2] for call in self.calls if call[1] == sender])


class StreamRecorderFactory(StreamSinkFactory):
    """Opens a :class:`StreamRecorder` for every flow, and keeps it, in the order of opening."""

    def __init__(self, services: dict[int, str], greetings: list[bytes], refused: bytes = b"") -> None:
        self.services = services
        self.greetings = greetings
        self.refused = refused
        self.recorders: list[StreamRecorder] = []

    def port_service(self, port: i64) -> str | None:
        return self.services.get(int(port))

    def listed_ports(self) -> list[int]:
        return list(self.services)

    def plausible_start(self, buffer: bytes, start: i64, end: i64) -> bool:
        payload = buffer[start:end]
        return payload.startswith(tuple(self.greetings))

    def open_stream(self, flow: Flow) -> StreamSink | None:
        recorder = StreamRecorder(flow, self.refused)
        self.recorders.append(recorder)
        return recorder


class CountingSink(StreamSink):
    """Does nothing but count; what is left of a measurement is the cost of the flows room itself."""

    def __init__(self) -> None:
        self.octets: i64 = 0

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> bool:
        self.octets += len(data)
        return True


class CountingFactory(StreamSinkFactory):
    """One :class:`CountingSink` for all flows, listening to the ports given: for measurements."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.sink = CountingSink()

    def port_service(self, port: i64) -> str | None:
        return "mail" if int(port) in self.ports else None

    def listed_ports(self) -> list[int]:
        return self.ports

    def open_stream(self, flow: Flow) -> StreamSink | None:
        return self.sink
