"""Network interfaces of this machine: names, addresses, kinds, state, and whether packets can be captured on them now.

On Linux the kernel is asked through a netlink socket (RFC 3549), which needs no rights and, unlike ``/sys``, always answers for the
network namespace that one is in. Elsewhere scapy is asked.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from typing import Final

#: The name that stands for all interfaces together.
ANY: Final = "any"

# Kinds of hardware (linux/if_arp.h).
ARPHRD_ETHER: Final = 1
ARPHRD_PPP: Final = 512
ARPHRD_RAWIP: Final = 519
ARPHRD_TUNNEL: Final = 768
ARPHRD_TUNNEL6: Final = 769
ARPHRD_LOOPBACK: Final = 772
ARPHRD_SIT: Final = 776
ARPHRD_IPGRE: Final = 778
ARPHRD_WLAN: Final = 801
ARPHRD_WLAN_PRISM: Final = 802
ARPHRD_WLAN_RADIOTAP: Final = 803
ARPHRD_IP6GRE: Final = 823
ARPHRD_NONE: Final = 0xFFFE

IFF_UP: Final = 0x1
IFF_RUNNING: Final = 0x40

#: Interfaces listed at most.
MAX_INTERFACES: Final = 4096
#: Octets of one netlink answer, and answers to one question.
_ANSWER: Final = 1 << 16
_MAX_ANSWERS: Final = 4096

_RTM_NEWLINK: Final = 16
_RTM_GETLINK: Final = 18
_RTM_NEWADDR: Final = 20
_RTM_GETADDR: Final = 22
_NLMSG_DONE: Final = 3
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST_DUMP: Final = 0x301
_IFLA_IFNAME: Final = 3
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2

_KINDS: Final = {
    ARPHRD_ETHER: "Ethernet",
    ARPHRD_LOOPBACK: "loopback",
    ARPHRD_PPP: "PPP",
    ARPHRD_RAWIP: "IP",
    ARPHRD_NONE: "IP",
    ARPHRD_TUNNEL: "IP tunnel",
    ARPHRD_TUNNEL6: "IP tunnel",
    ARPHRD_SIT: "IP tunnel",
    ARPHRD_IPGRE: "GRE tunnel",
    ARPHRD_IP6GRE: "GRE tunnel",
    ARPHRD_WLAN: "802.11 monitor",
    ARPHRD_WLAN_PRISM: "802.11 monitor",
    ARPHRD_WLAN_RADIOTAP: "802.11 monitor",
}


class Interface:
    """One network interface, as it was when asked for."""

    def __init__(self, name: str, index: int) -> None:
        self.name = name
        self.index = index
        #: IP addresses, without prefix lengths
        self.addresses: list[str] = []
        self.up: bool = False
        #: a cable is plugged in, or what stands for one
        self.running: bool = False
        #: the kernel's number for its hardware (ARPHRD_), -1 where unknown
        self.hardware: int = -1
        #: the same in words: ``Ethernet``, ``loopback``, ``IP tunnel`` ...
        self.link: str = ""
        #: packets can be captured on it now, by this process
        self.capturable: bool = True
        #: why they cannot, or what one should know; empty when all is well
        self.why: str = ""

    def __repr__(self) -> str:
        return f"Interface({self.name!r}, {self.link!r}, up={self.up}, {self.addresses!r})"


def kind_of(hardware: int) -> str:
    """The words for a kind of hardware."""
    return _KINDS.get(hardware, f"link type {hardware}")


def interfaces() -> list[Interface]:
    """The network interfaces, in the kernel's order, and ``any`` at the end where it can be captured from.

    Raises nothing: what cannot be found out is left empty.
    """
    if not sys.platform.startswith("linux"):
        return _ask_scapy()
    found = _ask_kernel()
    why = permission_missing()
    for one in found:
        if why:
            one.capturable = False
            one.why = why
        elif not one.up:
            one.why = f"is down; packets will come once it is up (ip link set {one.name} up)"
        elif not one.running:
            one.why = "has no carrier: is the cable plugged in?"
    everything = Interface(ANY, 0)
    everything.up = everything.running = True
    everything.link = "all interfaces"
    everything.capturable = not why
    everything.why = why
    found.append(everything)
    return found


def names() -> list[str]:
    """The names of the interfaces, for messages and completion."""
    try:
        return [name for _, name in socket.if_nameindex()]
    except OSError:
        return []


def permission_missing() -> str:
    """How to get the right to open a packet socket; empty where this process has it."""
    try:
        probe = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        return how_to_grant()
    except OSError as error:
        return f"the kernel has no packet sockets ({error.strerror})"
    probe.close()
    return ""


def how_to_grant() -> str:
    """What to do where CAP_NET_RAW is missing."""
    interpreter = os.path.realpath(sys.executable or "python3")
    return (
        "it needs the capability CAP_NET_RAW. Run mailtap with sudo; or grant it to this interpreter, and with it to every program "
        f"that it runs: sudo setcap cap_net_raw+ep {interpreter}; "
        "or, in a systemd unit: AmbientCapabilities=CAP_NET_RAW; in a container: --cap-add NET_RAW"
    )


def _ask_scapy() -> list[Interface]:
    from scapy.config import conf

    found: list[Interface] = []
    for entry in list(conf.ifaces.values())[:MAX_INTERFACES]:
        one = Interface(str(entry.name), int(entry.index))
        one.addresses = [str(address) for version in (4, 6) for address in entry.ips.get(version, [])]
        one.up = one.running = "UP" in str(entry.flags)
        one.hardware = int(getattr(entry, "type", -1) or -1)
        one.capturable = bool(entry.is_valid())
        found.append(one)
    return found


def _ask_kernel() -> list[Interface]:
    found: dict[int, Interface] = {}
    try:
        for kind, body in _dump(_RTM_GETLINK):
            if kind != _RTM_NEWLINK or len(body) < 16 or len(found) >= MAX_INTERFACES:
                continue
            hardware, index, flags = struct.unpack_from("=HiI", body, 2)
            for number, value in _attributes(body, 16):
                if number == _IFLA_IFNAME:
                    one = Interface(value.rstrip(b"\0").decode("utf-8", "replace"), index)
                    one.hardware = hardware
                    one.link = kind_of(hardware)
                    one.up = bool(flags & IFF_UP)
                    one.running = bool(flags & IFF_RUNNING)
                    found[index] = one
        for kind, body in _dump(_RTM_GETADDR):
            if kind != _RTM_NEWADDR or len(body) < 8:
                continue
            family, index = body[0], int.from_bytes(body[4:8], sys.byteorder)
            values = dict(_attributes(body, 8))
            # On a point-to-point link the plain address is the other end's.
            address = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
            if index in found and address is not None and len(address) in (4, 16):
                found[index].addresses.append(socket.inet_ntop(family, address))
    except OSError:
        # Netlink may be forbidden (seccomp): the names alone are better than nothing.
        for index, name in socket.if_nameindex():
            found.setdefault(index, Interface(name, index))
    return list(found.values())


def _dump(question: int) -> list[tuple[int, bytes]]:
    """The kernel's answers to one question: type and body of each message."""
    answers: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as channel:
        channel.settimeout(5)
        channel.send(struct.pack("=IHHII16s", 32, question, _NLM_F_REQUEST_DUMP, 1, 0, b""))
        for _ in range(_MAX_ANSWERS):
            data = channel.recv(_ANSWER)
            at = 0
            while at + 16 <= len(data):
                size, kind = struct.unpack_from("=IH", data, at)
                if kind == _NLMSG_DONE or kind == _NLMSG_ERROR or size < 16:
                    return answers
                answers.append((kind, data[at + 16 : at + size]))
                at += (size + 3) & ~3
            if not data:
                break
    return answers


def _attributes(body: bytes, at: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while at + 4 <= len(body):
        size, number = struct.unpack_from("=HH", body, at)
        if size < 4:
            break
        found.append((number & 0x3FFF, body[at + 4 : at + size]))
        at += (size + 3) & ~3
    return found
