"""Two namespaces joined by a cable, and a third one between them that spoils what it forwards.

Every address is one that documentation or private networks may use (RFC 5737, 1918, 3849). The addresses are /32 and
/128 on one link, with routes to the other side, so that no router is needed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any, Final

CLIENTS: Final = "mailtap-cli"
SERVERS: Final = "mailtap-srv"
WIRE: Final = "mailtap-wire"

#: Where the client programs sit when nothing else is said.
CLIENT: Final = "198.51.100.10"
CLIENT6: Final = "2001:db8:1::10"
#: The sending mail server of a partner.
PARTNER: Final = "203.0.113.25"
#: The client and server on the bad wire.
WIRE_CLIENT: Final = "198.51.100.130"
WIRE_SERVER: Final = "192.0.2.130"

MAIL: Final = "192.0.2.10"
MAIL6: Final = "2001:db8:2::10"
STRICT: Final = "192.0.2.11"  # no password without TLS
EXPIRED: Final = "192.0.2.12"
SELF_SIGNED: Final = "192.0.2.13"
MISMATCH: Final = "192.0.2.14"
WEAK: Final = "192.0.2.15"  # RSA-1024, SHA-1
NOT_YET: Final = "192.0.2.16"
ECDSA: Final = "192.0.2.17"
CYRUS: Final = "192.0.2.20"
OTHER: Final = "192.0.2.30"  # things that are not mail
ATTACKER: Final = "192.0.2.40"  # where the proxies listen

OFFICE_CLIENTS: Final = tuple(f"10.20.0.{n}" for n in (*range(11, 42), 66))

_CLIENT_SIDE: Final = (CLIENT, "198.51.100.11", "198.51.100.12", "198.51.100.13", PARTNER, *OFFICE_CLIENTS)
_SERVER_SIDE: Final = (
    *(f"192.0.2.{n}" for n in range(10, 21)), OTHER, "192.0.2.31", "192.0.2.32", *(f"192.0.2.{n}" for n in range(40, 48)),
)  # fmt: skip
_HOSTS: Final = f"""127.0.0.1 localhost
{MAIL} mail.example.org imap.example.org pop.example.org smtp.example.org sieve.example.org mx.example.org
{STRICT} strict.example.org
{CYRUS} cyrus.example.org
{PARTNER} mx.example.test
{CLIENT} desk.example.net
"""
#: What the machines call themselves; it travels in greetings and message identifiers.
_NAMES: Final = {CLIENTS: "desk.example.net", SERVERS: "mail.example.org", WIRE: "wire.example.net"}
#: Hardware addresses kept for documentation (RFC 9542).
_HARDWARE: Final = {
    end: f"00:00:5e:00:53:{number:02x}" for number, end in enumerate(("c0", "s0", "c1", "s1", "w0", "w1"), 1)
}
_CLONE_NEWNET: Final = 0x40000000


class LabError(Exception):
    """The laboratory cannot do what was asked; the message says what to do about it."""


def run(*argv: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command of the host; a failure shows what it said."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def start_daemon(namespace: str, *argv: str) -> None:
    """Run a command that leaves a daemon behind. The daemon would keep a pipe open, so a file takes what it says."""
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(inside(namespace, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if done.returncode:
            log.seek(0)
            raise LabError(f"{' '.join(argv)}: exit code {done.returncode}: {log.read().strip()}")


def inside(namespace: str, *argv: str) -> list[str]:
    """The command line that runs a program inside a namespace, with that namespace's ``/etc/hosts`` and host name."""
    rename = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', _NAMES[namespace])
    return ["ip", "netns", "exec", namespace, *rename, *argv]


def enter(namespace: str) -> None:
    """Move the calling thread into a namespace; sockets it makes from now on belong there."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(handle, _CLONE_NEWNET):
            raise LabError(f"cannot enter namespace {namespace}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(handle)


def thread_in(namespace: str, target: Any, *args: Any) -> threading.Thread:
    """Start a daemon thread that lives in a namespace."""

    def body() -> None:
        enter(namespace)
        target(*args)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    return thread


def up() -> None:
    """Make the namespaces, cables, addresses, routes and hosts files (after removing what an earlier run left)."""
    down()
    for name in (CLIENTS, SERVERS, WIRE):
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run(*inside(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"), check=False)
    _cable(CLIENTS, "c0", SERVERS, "s0")
    _cable(CLIENTS, "c1", WIRE, "w0")
    _cable(SERVERS, "s1", WIRE, "w1")
    for address in _CLIENT_SIDE:
        run("ip", "-n", CLIENTS, "addr", "add", f"{address}/32", "dev", "c0")
    for address in _SERVER_SIDE:
        run("ip", "-n", SERVERS, "addr", "add", f"{address}/32", "dev", "s0")
    run("ip", "-n", CLIENTS, "addr", "add", f"{WIRE_CLIENT}/32", "dev", "c1")
    run("ip", "-n", SERVERS, "addr", "add", f"{WIRE_SERVER}/32", "dev", "s1")
    run("ip", "-n", CLIENTS, "addr", "add", f"{CLIENT6}/128", "dev", "c0", "nodad")
    run("ip", "-n", SERVERS, "addr", "add", f"{MAIL6}/128", "dev", "s0", "nodad")
    source(CLIENT)
    run("ip", "-n", CLIENTS, "route", "add", f"{WIRE_SERVER}/32", "dev", "c1", "src", WIRE_CLIENT)
    run("ip", "-n", CLIENTS, "-6", "route", "add", "2001:db8:2::/64", "dev", "c0", "src", CLIENT6)
    for network in ("198.51.100.0/24", "10.20.0.0/24", "203.0.113.0/24"):
        run("ip", "-n", SERVERS, "route", "add", network, "dev", "s0", "src", MAIL)
    run("ip", "-n", SERVERS, "route", "add", f"{WIRE_CLIENT}/32", "dev", "s1", "src", WIRE_SERVER)
    run("ip", "-n", SERVERS, "-6", "route", "add", "2001:db8:1::/64", "dev", "s0", "src", MAIL6)
    for name in (CLIENTS, SERVERS):
        folder = Path("/etc/netns") / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(_HOSTS)
        (folder / "resolv.conf").write_text("")


def down() -> None:
    """Remove everything that :func:`up` made."""
    for name in (CLIENTS, SERVERS, WIRE):
        run("ip", "netns", "del", name, check=False)
        shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def source(address: str) -> None:
    """Let programs that cannot bind an address speak from this one."""
    run("ip", "-n", CLIENTS, "route", "replace", "192.0.2.0/24", "dev", "c0", "src", address)


def _cable(left: str, left_end: str, right: str, right_end: str) -> None:
    run("ip", "link", "add", left_end, "netns", left, "type", "veth", "peer", "name", right_end, "netns", right)
    for name, end in ((left, left_end), (right, right_end)):
        run("ip", "-n", name, "link", "set", end, "address", _HARDWARE[end])
        run("ip", "-n", name, "link", "set", end, "up")
        # Real frame sizes and checksums: no offloading to a card that does not exist.
        run(*inside(name, "ethtool", "-K", end, "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off"))
