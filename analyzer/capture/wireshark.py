"""The second engine's source: Wireshark reads the capture, reassembles its TCP streams and, with secrets, decrypts TLS.

Two questions are put to tshark. pyshark lists the packets: which stream they belong to, who sent them, their flags and frame
numbers. Wireshark's *Follow Stream* then gives the octets, each piece with the number of its frame, once as TCP carried them and
once as TLS carried them; the second is empty where no secrets fit. Secrets come from a key log file (``SSLKEYLOGFILE``), or stand
in the capture itself (pcapng decryption secrets), where tshark finds them unasked.

pyshark needs an event loop of its own and fails inside a running one (Jupyter's), so it works in a thread. tshark's exit status
counts: a run that fails after packets came is a warning, one that gave none is an error. tshark itself keeps a capture's
streams in memory; this engine is for samples, for captures with secrets, and for checking the first engine.

A little over 500 lines, because both questions are put to one program: which streams there are, and how it can fail, is the same for both.
"""

from __future__ import annotations

import binascii
import re
import shutil
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from analyzer.errors import CaptureUnreadable, EngineError
from analyzer.places import reason

if TYPE_CHECKING:
    import asyncio

#: Streams that one run of tshark follows: each is two taps that look at every packet.
FOLLOWED_AT_ONCE: Final = 200
#: Streams remembered of one capture; further ones are counted and said.
MAX_STREAMS: Final = 200_000
#: Seconds that tshark may take to end once its output has.
PATIENCE_S: Final = 60
#: The beginnings of TLS records whose streams are followed a second time, decrypted.
_HANDSHAKE_STARTS: Final = (b"\x16\x03", b"\x17\x03", b"\x14\x03", b"\x15\x03")

# Kinds of pieces.
DATA: Final = "data"
GAP: Final = "gap"
DECRYPTED: Final = "decrypted"

_FIN: Final = 0x01
_SYN: Final = 0x02
_RST: Final = 0x04
_ACK: Final = 0x10

#: What tshark writes into a followed stream where octets are missing, with the time zero.
_MISSING: Final = re.compile(rb"\[(\d{1,10}) bytes missing in capture file\]\0?")
#: What reassembly depends on, whatever the user's Wireshark profile says.
_PREFERENCES: Final[dict[str, str]] = {
    "ip.defragment": "TRUE",
    "tcp.desegment_tcp_streams": "TRUE",
    "tcp.reassemble_out_of_order": "TRUE",
    "tls.desegment_ssl_records": "TRUE",
    "tls.desegment_ssl_application_data": "TRUE",
}
_NS: Final = 1_000_000_000


class Piece:
    """A piece of one direction of a stream, in order: octets, a gap, or octets decrypted from TLS."""

    __slots__ = ("data", "frame", "kind", "side", "size", "timestamp_ns")

    def __init__(self, kind: str, side: int, data: bytes, size: int, frame: int, timestamp_ns: int) -> None:
        self.kind = kind
        #: 0: sent by ``addresses[0]`` of its stream, 1: by ``addresses[1]``
        self.side = side
        self.data = data
        self.size = size
        self.frame = frame
        self.timestamp_ns = timestamp_ns


class WiresharkStream:
    """One TCP stream as Wireshark tells them apart. Side 0 is who sent its first packet, side 1 the other."""

    def __init__(
        self, number: int, frame: int, timestamp_ns: int, addresses: tuple[str, str], ports: tuple[int, int]
    ) -> None:
        #: ``tcp.stream``
        self.number = number
        self.addresses = addresses
        self.ports = ports
        self.first_frame = self.last_frame = frame
        self.start_ns = self.end_ns = timestamp_ns
        #: packets sent by each side, and their payload as it travelled (retransmissions included)
        self.packets = [0, 0]
        self.octets = [0, 0]
        #: side that sent a SYN without ACK, and one with; -1 for none
        self.syn_side = -1
        self.syn_ack_side = -1
        #: frame and time of the first FIN of each side, None without
        self.fins: list[tuple[int, int] | None] = [None, None]
        #: frame, time and side of the first RST
        self.reset: tuple[int, int, int] | None = None
        #: first octet of payload of each side, -1 for none, and who sent payload first
        self.first_octets = [-1, -1]
        self.first_sender = -1
        #: frame -> octets of its payload that the snap length cut off
        self.cuts: dict[int, int] = {}
        #: the stream's octets, once it was followed
        self.pieces: list[Piece] = []

    def add(self, packet: PacketFacts) -> None:
        """Take one more packet."""
        side = 0 if (packet.source, packet.source_port) == (self.addresses[0], self.ports[0]) else 1
        self.last_frame = packet.frame
        self.end_ns = max(self.end_ns, packet.timestamp_ns)
        self.packets[side] += 1
        self.octets[side] += packet.size
        flags = packet.flags
        if flags & _SYN:
            if flags & _ACK:
                self.syn_ack_side = side
            elif self.syn_side < 0:
                self.syn_side = side
        if flags & _FIN and self.fins[side] is None:
            self.fins[side] = (packet.frame, packet.timestamp_ns)
        if flags & _RST and self.reset is None:
            self.reset = (packet.frame, packet.timestamp_ns, side)
        if packet.size and self.first_octets[side] < 0 and packet.first_octet >= 0:
            self.first_octets[side] = packet.first_octet
            if self.first_sender < 0:
                self.first_sender = side
        if packet.missing:
            self.cuts[packet.frame] = packet.missing

    @property
    def speaks_tls(self) -> bool:
        """Whether a piece of it begins as a TLS record does: then it is worth asking what TLS carried."""
        return any(piece.data[:2] in _HANDSHAKE_STARTS or piece.data[2:3] == b"\x01" for piece in self.pieces)


class PacketFacts:
    """What is asked of one TCP packet."""

    __slots__ = (
        "first_octet", "flags", "frame", "missing", "size", "source", "source_port", "stream", "target", "target_port",
        "timestamp_ns",
    )  # fmt: skip

    def __init__(self, packet: Any) -> None:
        frame, tcp = packet.frame_info, _innermost(packet, "tcp")
        names = str(frame.protocols).split(":")
        # Of IP in IP the inner one carries the connection.
        family = next((name for name in reversed(names) if name in ("ip", "ipv6")), "ip")
        address = _innermost(packet, family)
        self.frame = int(packet.number)
        self.timestamp_ns = parse_epoch(str(frame.time_epoch))
        self.stream = int(tcp.stream)
        self.source, self.target = str(address.src), str(address.dst)
        self.source_port, self.target_port = int(tcp.srcport), int(tcp.dstport)
        self.flags = int(str(tcp.flags), 16)
        self.size = int(tcp.len)
        # Octets as two digits each, with a colon between them.
        payload = str(tcp.payload) if self.size and "payload" in tcp.field_names else ""
        self.first_octet = int(payload[:2], 16) if payload else -1
        self.missing = self.size - (len(payload) + 1) // 3 if int(frame.cap_len) < int(frame.len) else 0


def _innermost(packet: Any, name: str) -> Any:
    layer = packet[name]
    return layer.duplicate_layers[-1] if layer.duplicate_layers else layer


def parse_epoch(text: str) -> int:
    """A time as tshark writes it (seconds and a fraction; in newer versions RFC 3339) in nanoseconds since the epoch."""
    if "T" in text:
        from datetime import datetime

        whole, _, rest = text.rstrip("Z").partition(".")
        seconds = int(datetime.fromisoformat(whole + "+00:00").timestamp())
        return seconds * _NS + int(rest[:9].ljust(9, "0") or "0")
    whole, _, rest = text.partition(".")
    nanoseconds = int(rest[:9].ljust(9, "0") or "0")
    return int(whole) * _NS + (-nanoseconds if whole.startswith("-") else nanoseconds)


def find_tshark() -> str:
    """The path of tshark.

    Raises:
        EngineError: it is not installed.
    """
    path = shutil.which("tshark")
    if path is None:
        raise EngineError(
            "the Wireshark engine needs tshark, which is not installed: install the package tshark (Debian, Ubuntu), "
            "wireshark-cli (Fedora, RHEL, Arch) or wireshark (Homebrew)"
        )
    return path


class Wireshark:
    """One capture file, read through Wireshark. ``keylog`` is a file of TLS secrets, as browsers and mail clients write them.

    Raises:
        EngineError: tshark or pyshark is missing.
        CaptureUnreadable: the capture or the key log cannot be read.
    """

    def __init__(self, path: str, keylog: str | None = None, display_filter: str = "") -> None:
        self.path = path
        self.tshark = find_tshark()
        self._filter = "tcp && !icmp && !icmpv6" + (f" && ({display_filter})" if display_filter else "")
        #: sentences for the user about what went wrong with this capture
        self.warnings: list[str] = []
        #: TCP packets read so far
        self.packets = 0
        self._streams: dict[int, WiresharkStream] = {}
        self._left_out = 0
        self._stop = False
        self._preferences = dict(_PREFERENCES)
        # Without a key log the preference is emptied: what a user's profile names has nothing to do with this run.
        self._preferences["tls.keylog_file"] = ""
        if path == "-":
            raise EngineError(
                "the Wireshark engine reads a capture several times, which standard input does not allow: save it to a file"
            )
        if keylog is not None:
            check_readable(keylog, "key log")
            self._preferences["tls.keylog_file"] = str(Path(keylog).resolve())
        check_readable(path, "capture")

    # -- the packets: pyshark ---------------------------------------------------------------------------------------------------

    def list_streams(self) -> list[WiresharkStream]:
        """All TCP streams of the capture, in order of their first packet, without their octets."""
        failures: list[BaseException] = []

        def work() -> None:
            import asyncio

            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            try:
                with _own_child_watcher():
                    loop.run_until_complete(self._list_packets(loop))
            except BaseException as error:  # noqa: BLE001 - it goes on in the thread that asked
                failures.append(error)
            finally:
                asyncio.set_event_loop(None)
                loop.close()

        thread = threading.Thread(target=work, name="pyshark", daemon=True)
        thread.start()
        try:
            thread.join()
        except KeyboardInterrupt:
            self._stop = True
            thread.join(PATIENCE_S)
            raise
        if failures:
            raise failures[0]
        if self._left_out:
            self.warnings.append(f"{self._left_out} packets of streams beyond the first {MAX_STREAMS} were left out")
        return list(self._streams.values())

    async def _list_packets(self, loop: asyncio.AbstractEventLoop) -> None:
        pyshark = _import_pyshark()
        # JSON holds what pyshark's XML does, at a third of the time; "-j" leaves out all layers but these.
        capture = pyshark.FileCapture(
            self.path, keep_packets=False, use_json=True, display_filter=self._filter, eventloop=loop, tshark_path=self.tshark,
            override_prefs=self._preferences, custom_parameters=["-j", "frame ip ipv6 tcp"],
        )  # fmt: skip
        # pyshark kills tshark without waiting for its exit status; so its processes are waited for here.
        processes: set[Any] = capture._running_processes  # noqa: SLF001
        status = 0
        try:
            await capture.packets_from_tshark(self._take, close_tshark=False)
            for process in processes:
                if self._stop and process.returncode is None:
                    process.kill()
                status = max(status, abs(await process.wait()))
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            processes.clear()
            await capture.close_async()
        if status and not self._stop:
            self._failed(status, str(capture._last_error_line or ""), self.packets > 0)  # noqa: SLF001

    def _take(self, packet: Any) -> None:
        if self._stop:
            raise _import_pyshark().capture.capture.StopCapture
        facts = PacketFacts(packet)
        self.packets += 1
        stream = self._streams.get(facts.stream)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                self._left_out += 1
                return
            stream = WiresharkStream(
                facts.stream,
                facts.frame,
                facts.timestamp_ns,
                (facts.source, facts.target),
                (facts.source_port, facts.target_port),
            )
            self._streams[facts.stream] = stream
        stream.add(facts)

    # -- the octets: Follow Stream ----------------------------------------------------------------------------------------------

    def follow(
        self, streams: list[WiresharkStream], tls_ports: Callable[[WiresharkStream], int]
    ) -> Iterator[WiresharkStream]:
        """The streams with their octets, one after the other. ``tls_ports`` tells the server's port of one that speaks TLS.

        A stream's pieces are dropped once it was handed over: what is in memory is what one run of tshark followed.
        """
        for first in range(0, len(streams), FOLLOWED_AT_ONCE):
            batch = streams[first : first + FOLLOWED_AT_ONCE]
            self._follow(batch, "tcp", [])
            inside = [stream for stream in batch if stream.speaks_tls]
            if inside:
                # Whatever the ports are for, TLS is looked for from their first octet on; clear text before it is passed over.
                ports = sorted({tls_ports(stream) for stream in inside})
                self._follow(inside, "tls", [part for port in ports for part in ("-d", f"tcp.port=={port},tls")])
            for stream in batch:
                yield stream
                stream.pieces = []

    def _follow(self, streams: list[WiresharkStream], protocol: str, options: list[str]) -> None:
        command = [self.tshark, "-n", "-q", "-r", self.path, *options]
        for name, value in self._preferences.items():
            command += ["-o", f"{name}:{value}"]
        for stream in streams:
            command += ["-z", f"follow,{protocol},yaml,{stream.number}"]
        kind = DATA if protocol == "tcp" else DECRYPTED
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)  # noqa: S603 - tshark
            try:
                assert child.stdout is not None
                read = FollowReader(streams, kind)
                for line in child.stdout:
                    read.line(line)
                read.close()
                status = child.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                status = -1
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
                if child.stdout is not None:
                    child.stdout.close()
            if status:
                errors.seek(0)
                lines = errors.read().decode("utf-8", "replace").strip().split("\n")
                self._failed(abs(status), lines[-1], read.blocks > 0)

    def _failed(self, status: int, error: str, partly: bool) -> None:
        said = error.removeprefix("tshark:").strip() or "no reason given"
        if partly:
            warning = f"tshark ended with status {status}: {said}"
            if warning not in self.warnings:
                self.warnings.append(warning)
            return
        if "follow" in said and "yaml" in said:
            raise EngineError(
                f"this tshark is too old to follow streams in YAML (Wireshark 3.6 or newer is wanted): {said}"
            )
        raise CaptureUnreadable(f"{self.path}: tshark could not read it (status {status}): {said}")


class FollowReader:
    """Reads what ``-z follow,...,yaml`` prints, block by block; puts the pieces where they belong.

    The order of the blocks differs between versions, so a block is recognised by its peers and its frames.
    """

    def __init__(self, streams: list[WiresharkStream], kind: str) -> None:
        self._streams = streams
        self._kind = kind
        #: blocks seen, empty ones included
        self.blocks = 0
        self._hosts = ["", ""]
        self._ports = [0, 0]
        self._peer = 0
        self._in_packets = False
        self._stream: WiresharkStream | None = None
        self._frame = 0
        self._sender = 0
        self._time_ns = 0
        self._last_ns = 0
        self._base64: list[bytes] | None = None

    def line(self, line: bytes) -> None:
        """The next line."""
        if self._base64 is not None:
            if line.startswith(b"      "):
                self._base64.append(line.strip())
                return
            self._end_piece()
        text = line.strip()
        name, _, value = text.partition(b":")
        value = value.strip()
        if line.startswith(b"peers:"):
            self.blocks += 1
            self._in_packets = False
            self._stream = None
            self._last_ns = 0
        elif line.startswith(b"packets:"):
            self._in_packets = True
        elif not self._in_packets:
            if name == b"- peer":
                self._peer = int(value) & 1
            elif name == b"host":
                self._hosts[self._peer] = value.decode("ascii", "replace")
            elif name == b"port":
                self._ports[self._peer] = int(value)
        elif name == b"- packet":
            self._frame = int(value)
        elif name == b"peer":
            self._sender = int(value) & 1
        elif name == b"timestamp":
            self._time_ns = parse_epoch(value.decode("ascii"))
        elif name == b"data":
            self._base64 = []

    def close(self) -> None:
        """The output ends here."""
        if self._base64 is not None:
            self._end_piece()

    def _end_piece(self) -> None:
        data = binascii.a2b_base64(b"".join(self._base64 or []))
        self._base64 = None
        stream = self._stream
        if stream is None or not stream.first_frame <= self._frame <= stream.last_frame:
            stream = self._stream = self._find()
            if stream is None:
                return
        side = self._side(stream)
        if self._time_ns == 0:
            missing = _MISSING.fullmatch(data)
            if missing is not None:
                stream.pieces.append(
                    Piece(GAP, side, b"", int(missing.group(1)), self._frame, self._last_ns or stream.start_ns)
                )
                return
        self._last_ns = self._time_ns
        stream.pieces.append(Piece(self._kind, side, data, len(data), self._frame, self._time_ns))
        cut = stream.cuts.get(self._frame, 0) if self._kind == DATA else 0
        if cut:
            # Follow Stream joins what the snap length has parted.
            stream.pieces.append(Piece(GAP, side, b"", cut, self._frame, self._time_ns))

    def _find(self) -> WiresharkStream | None:
        """The stream of the block under way: that of its peers whose packets stand around this frame."""
        known = {(self._hosts[0], self._ports[0]), (self._hosts[1], self._ports[1])} - {("", 0)}
        for stream in self._streams:
            ends = {(stream.addresses[0], stream.ports[0]), (stream.addresses[1], stream.ports[1])}
            if known <= ends and stream.first_frame <= self._frame <= stream.last_frame:
                return stream
        return None

    def _side(self, stream: WiresharkStream) -> int:
        for peer in (0, 1):
            if self._hosts[peer]:
                first = (self._hosts[peer], self._ports[peer]) == (stream.addresses[0], stream.ports[0])
                same = peer == self._sender
                return 0 if first == same else 1
        return self._sender


def check_readable(path: str, what: str) -> None:
    """Raise an error of ours where a file cannot be opened."""
    try:
        with Path(path).open("rb"):
            return
    except (OSError, ValueError) as error:
        raise CaptureUnreadable(f"{path}: the {what} cannot be read ({reason(error)})") from None


def _import_pyshark() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old spellings inside pyshark, which are no business of our users
            import pyshark
    except ImportError as error:
        raise EngineError(
            f"the Wireshark engine needs the Python package pyshark: pip install pyshark ({error})"
        ) from None
    return pyshark


class _own_child_watcher:  # noqa: N801 - used as a context
    """Lets asyncio start processes from this thread, whatever watcher the program has set (Python 3.11; later ones need none)."""

    def __enter__(self) -> None:
        import asyncio
        import sys

        self._before: Any = None
        if sys.version_info < (3, 12):
            self._before = asyncio.get_child_watcher()
            if not self._before.is_active():
                asyncio.set_child_watcher(asyncio.ThreadedChildWatcher())
            else:
                self._before = None

    def __exit__(self, *_: object) -> None:
        import asyncio
        import sys

        if sys.version_info < (3, 12) and self._before is not None:
            asyncio.set_child_watcher(self._before)
