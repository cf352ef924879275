"""Reads handshakes with mailtap and with tshark, and prints where the two differ.

    python benchmarks/compare_tls.py FOLDER-OR-CAPTURE...

Compared, for each TLS connection on a mail port or found to be mail: version, cipher suite, server name, ALPN, the SHA-256 of each
of the server's certificates, and the fatal alert. Where tshark holds the secrets (pcapng decryption secrets) it sees more;
what was encrypted on the wire is left out. Exit code 0: no difference, 1: some, 2: no capture named.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from analyzer.capture.wireshark import Wireshark, find_tshark
from analyzer.errors import CaptureError
from analyzer.pipeline import run
from analyzer.protocols.tls_names import alert_name, suite_name, version_name
from analyzer.sessions.records import Session, TlsHandshake

#: Values of one column are many (a frame holds several messages); tshark joins them with a comma.
FIELDS = (
    "tcp.stream", "tcp.srcport", "tls.handshake.type", "tls.handshake.version", "tls.handshake.extensions.supported_version",
    "tls.handshake.ciphersuite", "tls.handshake.extensions_server_name", "tls.handshake.extensions_alpn_str",
    "tls.handshake.certificate", "tls.alert_message.level", "tls.alert_message.desc",
)  # fmt: skip
#: Mail over TLS that tshark does not know by itself.
DECODE_AS = ("tcp.port==4190,tls",)


@dataclass
class Said:
    """What tshark says of one connection."""

    version: str | None = None
    suite: str | None = None
    sni: str | None = None
    alpn: str | None = None
    certificates: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)


def ask_tshark(path: Path, server_ports: dict[int, int]) -> dict[int, Said]:
    """What tshark says, by ``tcp.stream``; ``server_ports`` tells the server's port of each stream."""
    command = [find_tshark(), "-n", "-r", str(path), "-Y", "tls", "-T", "fields", "-E", "separator=|"]
    command += ["-o", "tcp.reassemble_out_of_order:TRUE"]
    for rule in DECODE_AS:
        command += ["-d", rule]
    for name in FIELDS:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[int, Said] = defaultdict(Said)
    for line in done.stdout.splitlines():
        row = {
            name: [word for word in text.split(",") if word] for name, text in zip(FIELDS, line.split("|"), strict=True)
        }
        number = int(row["tcp.stream"][0])
        from_server = int(row["tcp.srcport"][0]) == server_ports.get(number)
        _add(found[number], row, from_server)
    return found


def _add(said: Said, row: dict[str, list[str]], from_server: bool) -> None:
    kinds = row["tls.handshake.type"]
    if "1" in kinds and said.sni is None:
        said.sni = next(iter(row["tls.handshake.extensions_server_name"]), None)
    if "2" in kinds and row["tls.handshake.version"] and row["tls.handshake.ciphersuite"]:
        versions = row["tls.handshake.extensions.supported_version"] or row["tls.handshake.version"]
        said.version = version_name(int(versions[-1], 16))
        said.suite = suite_name(int(row["tls.handshake.ciphersuite"][-1], 16))
        if said.version != "TLSv1.3":
            said.alpn = next(iter(row["tls.handshake.extensions_alpn_str"]), None)
    if "11" in kinds and from_server and said.version != "TLSv1.3":
        said.certificates += [
            hashlib.sha256(bytes.fromhex(word)).hexdigest() for word in row["tls.handshake.certificate"]
        ]
    for level, code in zip(row["tls.alert_message.level"], row["tls.alert_message.desc"], strict=False):
        if level == "2":
            said.alerts.append(alert_name(int(code)))


def compare(path: Path) -> tuple[int, list[str]]:
    """(handshakes compared, one line for each difference)."""
    sessions = [session for session in run(path).sessions if session.tls is not None]
    if not sessions:
        return 0, []
    streams = {}
    for stream in Wireshark(str(path)).list_streams():
        for side in (0, 1):
            ends = (stream.addresses[side], stream.ports[side], stream.addresses[1 - side], stream.ports[1 - side])
            streams[*ends, stream.start_ns] = stream.number
    numbers: dict[int, Session] = {}
    lines = []
    for session in sessions:
        ends = (session.client_ip, session.client_port, session.server_ip, session.server_port)
        found = streams.get((*ends, session.start_ns))
        if found is None:
            lines.append(f"{path.name} frame {session.first_frame}: tshark begins this connection elsewhere")
        else:
            numbers[found] = session
    said = ask_tshark(path, {number: session.server_port for number, session in numbers.items()})
    for number, session in numbers.items():
        lines += [f"{path.name} stream {number}: {line}" for line in differences(session, said.get(number, Said()))]
    return len(sessions), lines


def differences(session: Session, said: Said) -> list[str]:
    """Where one handshake is read differently."""
    tls = session.tls
    assert tls is not None
    tls.fill()
    pairs: list[tuple[str, object, object]] = [
        ("version", tls.version, said.version),
        ("cipher suite", tls.cipher_suite, said.suite),
        ("server name", tls.sni, said.sni),
        ("ALPN", None if tls.version == "TLSv1.3" else tls.alpn, said.alpn),
        ("certificates", [hashlib.sha256(der).hexdigest() for der in tls.certificates or ()], said.certificates),
        ("alert", *_alerts(tls, said)),
    ]
    return [f"{name}: mailtap {mine}, tshark {other}" for name, mine, other in pairs if mine != other]


def _alerts(tls: TlsHandshake, said: Said) -> tuple[str | None, str | None]:
    """The fatal alerts as far as both can know them: an encrypted one is none, and so is one that keys opened for tshark."""
    mine = tls.alert if tls.failure == "alert" else None
    other = said.alerts[0] if said.alerts else None
    if mine is None and (tls.alert is not None or tls.handshake == "completed"):
        other = None
    if mine is not None and other is None:
        # A warning that ended the handshake; tshark was asked for fatal ones.
        mine = None
    return mine, other


def main() -> None:
    """Compare all captures named."""
    paths = []
    for name in sys.argv[1:]:
        path = Path(name)
        paths += sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not paths:
        sys.exit(2)
    compared = found = 0
    for path in paths:
        try:
            count, lines = compare(path)
        except CaptureError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        compared += count
        found += len(lines)
        for line in lines:
            print(line)
    print(f"{compared} handshakes compared, {found} differences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
