"""What leaves the flows room: two ordered byte streams a TCP connection, with explicit gaps."""

from __future__ import annotations

from mypy_extensions import i64

from analyzer.model import Position, Sender


class Flow:
    """The facts of one TCP connection, kept up to date while it lives. Addresses are packed (4 or 16 octets)."""

    def __init__(self) -> None:
        self.client_ip: bytes = b""
        self.server_ip: bytes = b""
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
        self.conflict_frame: i64 = 0
        self.syn_seen: bool = False
        self.syn_ack_seen: bool = False
        self.client_fin: bool = False
        self.server_fin: bool = False
        #: frame of the first RST, 0 for none, and who sent it
        self.rst_frame: i64 = 0
        self.rst_sender: int = 0
        #: some segments were cut by the snap length
        self.truncated: bool = False
        #: packets seen from each side (one of them 0: one-sided capture)
        self.client_packets: i64 = 0
        self.server_packets: i64 = 0
        #: how sure we are who is the client: ``syn``, ``port``, ``content``, ``guess``
        self.direction_from: str = "guess"


class StreamSink:
    """Takes the two byte streams of one flow, in causal order: what a peer has acknowledged comes before its answer."""

    def receive_data(self, sender: Sender, data: bytes, at: Position) -> bool:
        """The next octets of a stream. False: no interest in this flow any more, forget it without a record."""
        return True

    def receive_gap(self, sender: Sender, size: i64, at: Position) -> None:
        """``size`` octets were sent that the capture does not hold."""

    def receive_eof(self, sender: Sender, at: Position) -> None:
        """The sender has closed its stream (FIN in order, or RST)."""

    def flow_ended(self, flow: Flow) -> None:
        """Nothing more will come: closed, reset, idle for too long, pushed out, or the capture is over."""


class StreamSinkFactory:
    """Decides which flows are worth following, and who listens to them. The sessions room overrides this."""

    def port_service(self, port: i64) -> str | None:
        """The mail service a port is for (``pop3s``), None off the list."""
        return None

    def plausible_start(self, buffer: bytes, start: i64, end: i64) -> bool:
        """Whether a payload met midstream on an unlisted port looks like a mail server's greeting."""
        return False

    def open_stream(self, flow: Flow) -> StreamSink | None:
        """A sink for a new flow; None to ignore it."""
        return None
