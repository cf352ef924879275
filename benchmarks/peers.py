"""The programs that mailtap is measured against, and how each is called to do what it can of mailtap's work."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

#: What tcpdump is asked to keep: the ports that mailtap follows first.
MAIL_PORTS = "port 25 or port 110 or port 143 or port 465 or port 587 or port 993 or port 995 or port 2525 or port 4190 or port 24"

_SCAPY = """
import sys
from scapy.all import PcapReader, TCP
logins = 0
for packet in PcapReader(sys.argv[1]):
    if TCP in packet and packet[TCP].dport in (25, 110, 143, 587, 4190):
        payload = bytes(packet[TCP].payload)
        logins += payload[:5].upper() == b"USER " or b"LOGIN" in payload[:20].upper()
print(logins)
"""

_PYSHARK = """
import sys, pyshark
logins = 0
for packet in pyshark.FileCapture(sys.argv[1], display_filter="pop.request.command == USER || imap.request.command == login", keep_packets=False):
    logins += 1
print(logins)
"""


@dataclass(frozen=True)
class Program:
    """One row of the table: a command with ``{capture}`` in it, and what it is good for."""

    name: str
    command: list[str]
    #: why it cannot be run here; empty where it can
    missing: str = ""
    #: too slow for the whole capture: runs on its first so many packets, and the time is extrapolated
    slice_packets: int = 0
    #: extra environment
    environment: tuple[tuple[str, str], ...] = ()

    def command_for(self, capture: Path) -> list[str]:
        """The command line for one capture."""
        return [part.replace("{capture}", str(capture)) for part in self.command]


def _program(name: str, command: list[str], *, slice_packets: int = 0) -> Program:
    path = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    missing = "" if path else f"{command[0]} is not installed"
    return Program(name, [path or command[0], *command[1:]], missing, slice_packets)


def _library(name: str, script: str, slice_packets: int) -> Program:
    missing = "" if importlib.util.find_spec(name) else f"{name} is not installed"
    if name == "pyshark" and not missing and not shutil.which("tshark"):
        missing = "pyshark needs tshark, which is not installed"
    command = [sys.executable, "-W", "ignore", "-c", script, "{capture}"]
    return Program(f"{name} (first {slice_packets:,} packets, extrapolated)", command, missing, slice_packets)


def peers(capture: str = "") -> list[Program]:
    """Every peer, installed or not, after a plain read of the file; where it is all about TLS, who reads that."""
    if capture == "tlsmail":
        versions = ["tshark", "-T", "fields", "-e", "tls.handshake.version", "-r", "{capture}"]
        return [
            _program("cat", ["cat", "{capture}"]),
            _program("ndpiReader -q", ["ndpiReader", "-q", "-i", "{capture}"]),
            _program("tshark -T fields -e tls.handshake.version", versions),
        ]
    return [
        _program("cat", ["cat", "{capture}"]),
        _program("tcpdump -w, mail ports", ["tcpdump", "-n", "-r", "{capture}", "-w", "/dev/null", MAIL_PORTS]),
        _program("ndpiReader -q", ["ndpiReader", "-q", "-i", "{capture}"]),
        _program("dsniff -n -p", ["dsniff", "-n", "-p", "{capture}"]),
        _program("tshark -q -z credentials", ["tshark", "-q", "-z", "credentials", "-r", "{capture}"]),
        _library("scapy", _SCAPY, 20_000),
        _library("pyshark", _PYSHARK, 20_000),
    ]


def mailtap_command(*arguments: str) -> list[str]:
    """The command line ``mailtap ...`` of whatever package the environment points at."""
    return [sys.executable, "-m", "analyzer", *arguments]


def package_path(folder: Path) -> tuple[tuple[str, str], ...]:
    """The environment that makes ``mailtap_command`` run the package in ``folder``, from any working folder."""
    return (("PYTHONPATH", str(folder)), ("PYTHONSAFEPATH", "1"))


def mailtap_programs(builds: dict[str, Path | None]) -> list[Program]:
    """mailtap's own rows: text and JSON, each build; a build is the folder that holds its package."""
    rows = []
    for build, folder in builds.items():
        for form in ("text", "json"):
            name = f"mailtap, {build}" + ("" if form == "text" else f", --format {form}")
            command = mailtap_command("analyze", "{capture}", "--format", form)
            if folder is None:
                rows.append(Program(name, command, f"no {build} package is installed"))
            else:
                rows.append(Program(name, command, environment=package_path(folder)))
    return rows
