"""Which packets the kernel hands over at all: classic BPF programs (Linux: Documentation/networking/filter.rst).

**The default filter** passes what the packets room can find TCP in, and no more. Mail on unusual ports is told by what is said, so no
TCP port is left out; what goes is UDP, ICMP, ARP and the rest, which in most networks is the smaller part of the packets but, with
video and QUIC, much of the octets. In detail it passes

- TCP over IPv4 and IPv6, fragments of it included, and IPv6 with any extension header that is followed;
- the tunnels: IP in IP, 6in4, GRE (and ERSPAN), EtherIP, L2TPv3, MPLS in IP, authentication headers, and UDP to the ports of VXLAN, Geneve,
  GTP-U, L2TP, Teredo, GRE, MPLS and TZSP. What is inside is not looked at: that would be a second decoder written in instructions that
  cannot loop. A mirror port full of tunnelled video costs what it costs;
- later fragments of UDP, which do not say whether they belong to a tunnel;
- frames behind a second VLAN tag (the kernel takes the first one off), MPLS, PPPoE and the other carriers, uninspected as well; and IEEE
  802.2 frames, which are few.

Dropping in the kernel is cheap: tens of nanoseconds a packet, where copying an unwanted packet into the ring and stepping over it costs
some three hundred. The program is made here from a table, so that nobody needs libpcap for it, and it works on all
kinds of interface at once, which no single program of libpcap does: it asks the kernel for the kind of hardware of each packet.

**The user's own filter** (``--filter``) is compiled by libpcap, reached through scapy, and stands in place of the default. It is compiled
for Ethernet, for plain IP (tunnels, PPP) and for 802.11 as needed, and the kernel chooses by the packet's hardware, so it works on
``any``, too. The word ``vlan`` needs a program that asks the kernel for the tag it took off: libpcap makes it for an open interface
alone, and ``lo`` is opened for that.
"""

from __future__ import annotations

import array
import re
import struct
from typing import TYPE_CHECKING, Any, Final

from analyzer.capture.base import MAX_RECORD
from analyzer.capture.interfaces import (
    ARPHRD_ETHER,
    ARPHRD_LOOPBACK,
    ARPHRD_NONE,
    ARPHRD_PPP,
    ARPHRD_RAWIP,
    ARPHRD_SIT,
    ARPHRD_TUNNEL,
    ARPHRD_TUNNEL6,
    ARPHRD_WLAN,
    ARPHRD_WLAN_PRISM,
    ARPHRD_WLAN_RADIOTAP,
)
from analyzer.errors import CaptureError, UsageError

if TYPE_CHECKING:
    import socket

#: Instructions that the kernel takes at most (BPF_MAXINSNS).
MAX_INSTRUCTIONS: Final = 4096
#: Longest filter expression.
MAX_EXPRESSION: Final = 65536

SO_ATTACH_FILTER: Final = 26

# Instructions.
LD_W_ABS: Final = 0x20
LD_H_ABS: Final = 0x28
LD_H_IND: Final = 0x48
LD_B_IND: Final = 0x50
LDX_IMM: Final = 0x01
JA: Final = 0x05
JEQ: Final = 0x15
JGE: Final = 0x35
JSET: Final = 0x45
RET: Final = 0x06

# What the kernel answers at these places instead of octets of the packet.
_AD: Final = 0xFFFFF000
AD_PROTOCOL: Final = _AD + 0
AD_PKTTYPE: Final = _AD + 4
AD_HATYPE: Final = _AD + 28

_PACKET_OUTGOING: Final = 4

# Link types for libpcap (its DLT_ values).
_DLT_ETHERNET: Final = 1
_DLT_RAW: Final = 12
_DLT_WLAN: Final = 105
_DLT_PRISM: Final = 119
_DLT_RADIOTAP: Final = 127

#: Hardware whose packets begin with an Ethernet header, and with an IP header.
ETHERNET_HARDWARE: Final = (ARPHRD_ETHER, ARPHRD_LOOPBACK)
IP_HARDWARE: Final = (ARPHRD_NONE, ARPHRD_RAWIP, ARPHRD_TUNNEL, ARPHRD_TUNNEL6, ARPHRD_SIT, ARPHRD_PPP)
WLAN_HARDWARE: Final = (ARPHRD_WLAN, ARPHRD_WLAN_PRISM, ARPHRD_WLAN_RADIOTAP)

# What the packets room reads; it is a later stage, so the numbers are repeated here and a test compares them.
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_TCP: Final = 6
_UDP: Final = 17
#: EtherTypes behind which IP may be: tags, labels, PPP, bridging, NSH, MACsec
CARRIERS: Final = (
    0x8100, 0x88A8, 0x9100, 0x9200, 0x9300,
    0x8926, 0x893F, 0x8909, 0x8847, 0x8848, 0x8864, 0x6558, 0x88E7, 0x880B, 0x8870, 0x894F, 0x88E5,
)  # fmt: skip
#: IP protocols that are tunnels, and the authentication header
TUNNELS: Final = (4, 41, 47, 51, 94, 97, 115, 137, 143)
#: IPv6 headers that others follow
EXTENSIONS: Final = (0, 43, 44, 60, 135, 139, 140)
TUNNEL_PORTS: Final = (4789, 2152, 6081, 1701, 3544, 8472, 4790, 4754, 6635, 37008)
#: tunnels whose replies go from their port to any other
TUNNEL_SOURCES: Final = (1701, 3544)

#: One instruction: code, jump if true, jump if false, constant.
Instruction = tuple[int, int, int, int]


class _Assembler:
    """Instructions with named places to jump to. An empty name is the next instruction."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, str, str, int]] = []
        self._places: dict[str, int] = {}

    def place(self, name: str, further: int = 0) -> None:
        """The next instruction, or the one ``further`` behind it, gets a name."""
        self._places[name] = len(self._lines) + further

    def do(self, code: int, constant: int = 0, yes: str = "", no: str = "") -> None:
        self._lines.append((code, yes, no, constant))

    def jump_if_any(self, constants: tuple[int, ...], place: str) -> None:
        for constant in constants:
            self.do(JEQ, constant, place)

    def made(self) -> list[Instruction]:
        program: list[Instruction] = []
        for index, (code, yes, no, constant) in enumerate(self._lines):
            jumps = [self._places[name] - index - 1 if name else 0 for name in (yes, no)]
            if code == JA:
                program.append((code, 0, 0, jumps[0]))
            else:
                program.append((code, jumps[0], jumps[1], constant))
        return program


def default_filter(snaplen: int = MAX_RECORD) -> list[Instruction]:
    """The filter where the user gives none; see above. For packet sockets of the raw kind on any interface."""
    code = _Assembler()
    _drop_loopback_twice(code)
    code.jump_if_any(ETHERNET_HARDWARE, "ethernet")
    code.jump_if_any(IP_HARDWARE, "ip")
    code.jump_if_any(WLAN_HARDWARE, "pass")
    # Of an unknown header nothing is known but what the kernel calls its payload.
    code.do(LD_H_ABS, AD_PROTOCOL)
    code.jump_if_any((_IPV4, _IPV6), "pass")
    code.do(JA, 0, "carrier")

    code.place("ip")
    code.do(LDX_IMM, 0)
    code.do(LD_H_ABS, AD_PROTOCOL)
    code.do(JA, 0, "kind")

    code.place("ethernet")
    code.do(LDX_IMM, 14)
    code.do(LD_H_ABS, 12)
    code.do(JGE, 0x0600, "kind", "pass")  # smaller values are lengths: IEEE 802.2

    code.place("kind")
    code.do(JEQ, _IPV4, "ipv4")
    code.do(JEQ, _IPV6, "ipv6")
    code.place("carrier")
    code.jump_if_any(CARRIERS, "pass")
    code.do(JA, 0, "drop")

    code.place("ipv4")
    code.do(LD_B_IND, 9)
    code.do(JEQ, _TCP, "pass")
    code.jump_if_any(TUNNELS, "pass")
    code.do(JEQ, _UDP, "", "drop")
    code.do(LD_H_IND, 6)
    code.do(JSET, 0x1FFF, "pass")  # a later fragment
    code.do(LD_B_IND, 0)
    code.do(JEQ, 0x45, "", "pass")  # options: too rare to look behind them
    code.do(LD_H_IND, 20)
    code.jump_if_any(TUNNEL_SOURCES, "pass")
    code.do(LD_H_IND, 22)
    code.do(JA, 0, "port")

    code.place("ipv6")
    code.do(LD_B_IND, 6)
    code.do(JEQ, _TCP, "pass")
    code.jump_if_any(EXTENSIONS, "pass")
    code.jump_if_any(TUNNELS, "pass")
    code.do(JEQ, _UDP, "", "drop")
    code.do(LD_H_IND, 40)
    code.jump_if_any(TUNNEL_SOURCES, "pass")
    code.do(LD_H_IND, 42)

    code.place("port")
    code.jump_if_any(TUNNEL_PORTS, "pass")
    code.place("drop")
    code.do(RET, 0)
    code.place("pass")
    code.do(RET, snaplen)
    return code.made()


def drop_all() -> list[Instruction]:
    """A filter that passes nothing: for the moment in which a socket is made ready."""
    return [(RET, 0, 0, 0)]


def pass_all(snaplen: int = MAX_RECORD) -> list[Instruction]:
    """A filter that passes everything, but on loopback each packet once."""
    code = _Assembler()
    _drop_loopback_twice(code)
    code.do(RET, snaplen)
    code.place("drop")
    code.do(RET, 0)
    return code.made()


def user_filter(expression: str, hardware: int = -1, snaplen: int = MAX_RECORD) -> list[Instruction]:
    """The program for an expression in libpcap's language (``man pcap-filter``), compiled by libpcap.

    ``hardware`` is the interface's kind (ARPHRD_), -1 for all kinds at once (``any``).

    Raises:
        UsageError: the expression is wrong, in libpcap's own words, or cannot be used on this kind of interface.
        CaptureError: libpcap or scapy is missing.
    """
    if not expression.strip():
        return pass_all(snaplen)
    if len(expression) > MAX_EXPRESSION or "\0" in expression:
        raise UsageError(f"the filter is longer than {MAX_EXPRESSION} octets, or holds a null octet")
    wanted = [kinds for kinds in _groups() if hardware < 0 or hardware in kinds[1]]
    if not wanted:
        raise UsageError(
            f"a filter of your own cannot be used on an interface of link type {hardware}: libpcap's programs are for Ethernet, IP and "
            "802.11; leave --filter out, or capture with dumpcap and follow its file (--follow)"
        )
    programs: list[tuple[tuple[int, ...], list[Instruction]]] = []
    for linktype, kinds in wanted:
        try:
            programs.append((kinds, _compile(expression, linktype, snaplen)))
        except UsageError:
            # On all interfaces together a word that only Ethernet knows (ether host) is right: others just never match.
            if hardware >= 0 or linktype == _DLT_ETHERNET:
                raise
    return _dispatch(programs)


def _groups() -> list[tuple[int, tuple[int, ...]]]:
    """Link types for libpcap, and the hardware that each fits."""
    return [
        (_DLT_ETHERNET, ETHERNET_HARDWARE),
        (_DLT_RAW, IP_HARDWARE),
        (_DLT_WLAN, (ARPHRD_WLAN,)),
        (_DLT_PRISM, (ARPHRD_WLAN_PRISM,)),
        (_DLT_RADIOTAP, (ARPHRD_WLAN_RADIOTAP,)),
    ]


def _drop_loopback_twice(code: _Assembler) -> None:
    """On loopback the kernel shows each packet as it leaves and as it comes in: the first is dropped. Leaves the hardware in A."""
    code.do(LD_W_ABS, AD_HATYPE)
    code.do(JEQ, ARPHRD_LOOPBACK, "", "other hardware")
    code.do(LD_W_ABS, AD_PKTTYPE)
    code.do(JEQ, _PACKET_OUTGOING, "drop")
    code.do(LD_W_ABS, AD_HATYPE)
    code.place("other hardware")


def _dispatch(programs: list[tuple[tuple[int, ...], list[Instruction]]]) -> list[Instruction]:
    """One program of several, chosen by hardware. Programs of libpcap jump relatively, so they can stand anywhere."""
    code = _Assembler()
    _drop_loopback_twice(code)
    for number, (kinds, _) in enumerate(programs):
        for index, kind in enumerate(kinds):
            code.do(JEQ, kind, f"enter {number}", "" if index + 1 < len(kinds) else f"behind {number}")
        code.place(f"enter {number}")
        code.do(JA, 0, f"program {number}")
        code.place(f"behind {number}")
    code.place("drop")
    code.do(RET, 0)
    bodies: list[Instruction] = []
    for number, (_, body) in enumerate(programs):
        code.place(f"program {number}", len(bodies))
        bodies += body
    program = code.made() + bodies
    if len(program) > MAX_INSTRUCTIONS:
        raise UsageError(
            f"the filter needs {len(program)} instructions and the kernel takes {MAX_INSTRUCTIONS}: make it simpler"
        )
    return program


def _compile(expression: str, linktype: int, snaplen: int) -> list[Instruction]:
    """What libpcap makes of an expression for one of its link types."""
    from ctypes import byref, create_string_buffer, string_at

    pcap = libpcap()
    handle = None
    # Only for an open interface does libpcap look for the tag where the kernel has put it.
    if linktype == _DLT_ETHERNET and re.search(r"\bvlan\b", expression):
        error = create_string_buffer(512)
        handle = pcap.pcap_create(b"lo", error)
        if handle:
            pcap.pcap_set_snaplen(handle, snaplen)
            if pcap.pcap_activate(handle) < 0:
                pcap.pcap_close(handle)
                handle = None
    if not handle:
        handle = pcap.pcap_open_dead(linktype, snaplen)
    if not handle:
        raise CaptureError("libpcap has no memory to compile the filter; free some, or leave --filter out")
    try:
        program = pcap.bpf_program()
        if pcap.pcap_compile(handle, byref(program), expression.encode(), 1, 0xFFFFFFFF) != 0:
            words = bytes(pcap.pcap_geterr(handle)).decode("utf-8", "replace").strip()
            raise UsageError(f"the filter {expression!r} is wrong: {words} (the language: man pcap-filter)")
        try:
            octets = string_at(program.bf_insns, 8 * program.bf_len)
        finally:
            pcap.pcap_freecode(byref(program))
    finally:
        pcap.pcap_close(handle)
    return list(struct.iter_unpack("=HBBI", octets))


def libpcap() -> Any:
    """libpcap, as scapy finds it.

    Raises:
        CaptureError: it, or scapy, is missing.
    """
    try:
        from scapy.libs import winpcapy
    except (OSError, ImportError, AttributeError) as error:
        raise CaptureError(
            f"a filter of your own needs libpcap, which is not installed here ({error}): apt install libpcap0.8, dnf install libpcap or "
            "apk add libpcap; or leave --filter out, for the default needs nothing"
        ) from error
    return winpcapy


def packed(program: list[Instruction]) -> bytes:
    """The program as the kernel takes it (``struct sock_filter``)."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def attach(channel: socket.socket, program: list[Instruction]) -> int:
    """Let the kernel run a program on each packet of a socket; the size of the program. Raises OSError where it refuses."""
    import socket

    instructions = array.array("B", packed(program))
    address, size = instructions.buffer_info()
    channel.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), address))
    # The kernel has copied from the address by now. Compiled code lets go of a variable after its last use, so this must be it.
    return min(size, len(instructions))
