"""One IP packet in every wrapping that the packets room takes off: ``WRAPS[name]`` is its link type and the function that wraps."""

from __future__ import annotations

import struct
from collections.abc import Callable

from analyzer.packets.base import SegmentList
from analyzer.packets.decoder import PacketDecoder

Segment = tuple[bytes, bytes, int, int, int, int, int, int]

MACS = bytes.fromhex("02000000000202000000000a")
#: an address that looks like the start of an IPv6 header, and one that looks like a control word
MACS_SIX = bytes.fromhex("60000000000202000000000a")
MACS_NULL = bytes.fromhex("00163e00000200163e00000a")


def decode(linktype: int, record: bytes, wire_length: int | None = None) -> tuple[list[Segment], PacketDecoder]:
    """The segments in one record. What stands around it in the read buffer makes no difference: that is tried every time."""
    size = len(record) if wire_length is None else wire_length
    outcomes = []
    for front, behind in ((b"", b""), (b"\0" * 5, b"\0" * 64), (b"\xff" * 37, b"\xff" * 64)):
        sink = SegmentList()
        decoder = PacketDecoder(sink)
        buffer = front + record + behind
        decoder.receive_record(buffer, len(front), len(front) + len(record), size, linktype, 1_000_000_007, 42)
        outcomes.append((sink.segments, decoder))
    for segments, decoder in outcomes[1:]:
        assert segments == outcomes[0][0]
        assert decoder.counters() == outcomes[0][1].counters()
    return outcomes[0]


def tcp(
    payload: bytes = b"", *, options: bytes = b"", flags: int = 0x18, ports: tuple[int, int] = (40123, 110)
) -> bytes:
    """A TCP segment from a client to a POP3 server."""
    size = 20 + len(options)
    return struct.pack("!HHIIBBHHH", *ports, 0xFFFFFF00, 0x01020304, size << 2, flags, 8192, 0, 0) + options + payload


def udp(payload: bytes, port: int, source: int = 50000) -> bytes:
    return struct.pack("!HHHH", source, port, 8 + len(payload), 0) + payload


def ipv4(payload: bytes, protocol: int = 6, *, options: bytes = b"", place: int = 0, number: int = 7) -> bytes:
    total = 20 + len(options) + len(payload)
    first = 0x45 + len(options) // 4
    head = struct.pack("!BBHHHBBH", first, 0, total, number, place, 64, protocol, 0)
    return head + bytes([10, 1, 0, 1, 10, 2, 0, 2]) + options + payload


def ipv6(payload: bytes, protocol: int = 6) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64)
    return head + bytes.fromhex("20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02") + payload


def is6(ip: bytes) -> bool:
    return ip[0] >> 4 == 6


def ethertype(ip: bytes) -> bytes:
    return b"\x86\xdd" if is6(ip) else b"\x08\x00"


def ethernet(ip: bytes, macs: bytes = MACS) -> bytes:
    return macs + ethertype(ip) + ip


def tagged(kind: bytes, ip: bytes) -> bytes:
    """The payload of a frame whose EtherType is ``kind``: an Ethernet frame around it."""
    return MACS + kind + ip


def padded(frame: bytes) -> bytes:
    return frame + b"PADDING, NOT PAYLOAD"


def snap(ip: bytes) -> bytes:
    return b"\xaa\xaa\x03\0\0\0" + ethertype(ip) + ip


def dot3(llc: bytes) -> bytes:
    return MACS + struct.pack("!H", len(llc)) + llc


def ppp(ip: bytes) -> bytes:
    return (b"\x00\x57" if is6(ip) else b"\x00\x21") + ip


def pppoe(frame: bytes) -> bytes:
    return struct.pack("!BBHH", 0x11, 0, 9, len(frame)) + frame


def mpls(payload: bytes, labels: int = 1) -> bytes:
    stack = b"".join(struct.pack("!I", (100 + i) << 12 | (i == labels - 1) << 8 | 64) for i in range(labels))
    return stack + payload


def gre(kind: bytes, payload: bytes, flags: int = 0, fields: bytes = b"") -> bytes:
    return struct.pack("!H", flags) + kind + fields + payload


def next_header(ip: bytes) -> int:
    return 41 if is6(ip) else 4


def wlan(body: bytes, control: int = 0x08, flags: int = 0x01, extra: bytes = b"") -> bytes:
    return bytes([control, flags]) + b"\0\0" + b"\x02\0\0\0\0\x01" * 3 + b"\x10\0" + extra + body


def amsdu(*bodies: bytes) -> bytes:
    out = b""
    for body in bodies:
        sub = MACS + struct.pack("!H", len(body)) + body
        out += sub + b"\0" * (-len(sub) % 4)
    return out


def radiotap(frame: bytes, flags: int | None = None, *, time: bool = False, words: int = 1) -> bytes:
    present = (1 if time else 0) | (2 if flags is not None else 0)
    masks = [present | (0x80000000 if words > 1 else 0)]
    masks += [0x80000000 if i + 2 < words else 0 for i in range(words - 1)]
    fields = struct.pack(f"<{words}I", *masks)
    if time:
        fields += b"\0" * (-(4 + len(fields)) % 8) + b"\0" * 8
    if flags is not None:
        fields += bytes([flags])
    return struct.pack("<BBH", 0, 0, 4 + len(fields)) + fields + frame


def sll(ip: bytes, kind: bytes | None = None) -> bytes:
    return b"\0\0\0\1\0\6\x02\0\0\0\0\1\0\0" + (kind or ethertype(ip)) + ip


def sll2(ip: bytes, kind: bytes | None = None) -> bytes:
    return (kind or ethertype(ip)) + b"\0\0\0\0\0\2\0\1\0\6\x02\0\0\0\0\1\0\0" + ip


def nflog(ip: bytes, order: str = "<") -> bytes:
    family = 10 if is6(ip) else 2
    prefix = struct.pack(order + "HH", 8, 1) + b"\x08\0\0\0" + struct.pack(order + "HH", 5, 10) + b"\0\0\0\0"
    return bytes([family, 0, 0, 5]) + prefix + struct.pack(order + "HH", 4 + len(ip), 9) + ip


def gtp(ip: bytes, flags: int = 0x30, fields: bytes = b"") -> bytes:
    return struct.pack("!BBHI", flags, 0xFF, len(fields) + len(ip), 1) + fields + ip


def over(protocol: int, payload: bytes) -> bytes:
    """An Ethernet frame with an IPv4 packet of some protocol."""
    return ethernet(ipv4(payload, protocol))


def over_udp(port: int, payload: bytes, source: int = 50000) -> bytes:
    return over(17, udp(payload, port, source))


def teredo(ip: bytes, front: bytes = b"") -> bytes:
    return over_udp(3544, front + (ip if is6(ip) else ipv6(ip, 4)))


VXLAN = b"\x08\0\0\0\0\0\x05\0"
L2TP_FIELDS = b"\0\1\0\1\0\1\0\2\0\3abc"
ROUTE = struct.pack("!HBB", 0x0800, 0, 4) + b"\x0a\0\0\1" + b"\0\0\0\0"

WRAPS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    # Ethernet and what stands between it and IP
    "ethernet": (1, ethernet),
    "ethernet padded": (1, lambda ip: padded(ethernet(ip))),
    "802.1Q": (1, lambda ip: tagged(b"\x81\0", b"\0\x05" + ethertype(ip) + ip)),
    "802.1Q padded": (1, lambda ip: padded(tagged(b"\x81\0", b"\0\x05" + ethertype(ip) + ip))),
    "QinQ": (1, lambda ip: tagged(b"\x88\xa8", b"\0\x05\x81\0\0\x06" + ethertype(ip) + ip)),
    "QinQ 0x9100": (1, lambda ip: tagged(b"\x91\0", b"\0\x05\x81\0\0\x06" + ethertype(ip) + ip)),
    "VLAN and SNAP": (1, lambda ip: tagged(b"\x81\0", b"\0\x05" + struct.pack("!H", len(snap(ip))) + snap(ip))),
    "VN-Tag": (1, lambda ip: tagged(b"\x89\x26", b"\0\0\0\1" + ethertype(ip) + ip)),
    "E-Tag": (1, lambda ip: tagged(b"\x89\x3f", b"\0\0\0\1\0\0" + ethertype(ip) + ip)),
    "Cisco metadata": (1, lambda ip: tagged(b"\x89\x09", b"\1\1\0\1\0\5" + ethertype(ip) + ip)),
    "MACsec": (1, lambda ip: tagged(b"\x88\xe5", b"\x20\0\0\0\0\1" + b"\2" * 8 + ethertype(ip) + ip + b"\xee" * 16)),
    "MACsec short": (1, lambda ip: tagged(b"\x88\xe5", b"\0\0\0\0\0\1" + ethertype(ip) + ip + b"\xee" * 16)),
    "backbone bridge": (1, lambda ip: tagged(b"\x88\xe7", b"\0\0\0\7" + ethernet(ip))),
    "SNAP": (1, lambda ip: dot3(snap(ip))),
    "LLC 06": (1, lambda ip: dot3(b"\x06\x06\x03" + ip)),
    "jumbo LLC": (1, lambda ip: tagged(b"\x88\x70", snap(ip))),
    "ISL": (
        1,
        lambda ip: (
            b"\x01\0\x0c\0\0\0"
            + MACS[6:]
            + struct.pack("!H", len(ip) + 30)
            + b"\xaa\xaa\x03\0\0\x0c\0\x0a\0\0\0\0"
            + ethernet(ip)
        ),
    ),
    "MPLS": (1, lambda ip: tagged(b"\x88\x47", mpls(ip))),
    "MPLS as a link type": (219, lambda ip: mpls(ip, 2)),
    "MPLS three labels": (1, lambda ip: tagged(b"\x88\x47", mpls(ip, 3))),
    "MPLS multicast": (1, lambda ip: tagged(b"\x88\x48", mpls(ip))),
    "pseudowire": (1, lambda ip: tagged(b"\x88\x47", mpls(b"\0\0\0\0" + ethernet(ip)))),
    "pseudowire, null address": (1, lambda ip: tagged(b"\x88\x47", mpls(b"\0\0\0\0" + ethernet(ip, MACS_NULL)))),
    "pseudowire without control word": (1, lambda ip: tagged(b"\x88\x47", mpls(ethernet(ip, MACS_NULL)))),
    "pseudowire, address like IPv4": (
        1,
        lambda ip: tagged(b"\x88\x47", mpls(ethernet(ip, b"\x45\0\xff\xff" + MACS[4:]))),
    ),
    "pseudowire, address like IPv6": (
        1,
        lambda ip: tagged(b"\x88\x47", mpls(ethernet(ip, MACS_SIX[:4] + b"\xff\xff" + MACS[6:]))),
    ),
    "PPPoE": (1, lambda ip: tagged(b"\x88\x64", pppoe(ppp(ip)))),
    "PPPoE in VLAN": (1, lambda ip: padded(tagged(b"\x81\0", b"\0\x05\x88\x64" + pppoe(ppp(ip))))),
    "PPPoE, MPLS": (1, lambda ip: tagged(b"\x88\x64", pppoe(b"\x02\x81" + mpls(ip)))),
    "PPPoE, short protocol": (1, lambda ip: tagged(b"\x88\x64", pppoe(ppp(ip)[1:]))),
    "PPPoE, multilink": (1, lambda ip: tagged(b"\x88\x64", pppoe(b"\0\x3d\xc0\0\0\1" + ppp(ip)))),
    "NSH": (1, lambda ip: tagged(b"\x89\x4f", b"\x0f\xc2\x02" + (b"\2" if is6(ip) else b"\1") + b"\0\0\0\1" + ip)),
    "NSH, Ethernet": (1, lambda ip: tagged(b"\x89\x4f", b"\x0f\xc6\x01\x03\0\0\0\1" + b"\0" * 16 + ethernet(ip))),
    # link types
    "raw": (101, lambda ip: ip),
    "raw 12": (12, lambda ip: ip),
    "raw 14": (14, lambda ip: ip),
    "OpenBSD loop as 12": (12, lambda ip: struct.pack("!I", 24 if is6(ip) else 2) + ip),
    "null little": (0, lambda ip: struct.pack("<I", 24 if is6(ip) else 2) + ip),
    "null big": (0, lambda ip: struct.pack(">I", 28 if is6(ip) else 2) + ip),
    "null macOS": (0, lambda ip: struct.pack("<I", 30 if is6(ip) else 2) + ip),
    "null Linux": (0, lambda ip: struct.pack("<I", 10 if is6(ip) else 2) + ip),
    "loop": (108, lambda ip: struct.pack("!I", 24 if is6(ip) else 2) + ip),
    "SLL": (113, sll),
    "SLL, VLAN": (113, lambda ip: sll(b"\0\x05" + ethertype(ip) + ip, b"\x81\0")),
    "SLL, LLC": (113, lambda ip: sll(snap(ip), b"\0\4")),
    "SLL2": (276, sll2),
    "SLL2, VLAN": (276, lambda ip: sll2(b"\0\x05" + ethertype(ip) + ip, b"\x81\0")),
    "PPP": (9, ppp),
    "PPP, HDLC framing": (9, lambda ip: b"\xff\x03" + ppp(ip)),
    "PPP serial": (50, lambda ip: b"\xff\x03" + ppp(ip)),
    "PPP serial, Cisco": (50, lambda ip: b"\x0f\0" + ethertype(ip) + ip),
    "PPPoE alone": (51, lambda ip: pppoe(ppp(ip))),
    "PPP with direction": (204, lambda ip: b"\0\xff\x03" + ppp(ip)),
    "PPP pppd": (166, lambda ip: b"\1\x03" + ppp(ip)),
    "PPP pppd, nothing else": (166, lambda ip: b"\0" + ppp(ip)),
    "C-HDLC": (104, lambda ip: b"\x0f\0" + ethertype(ip) + ip),
    "frame relay": (107, lambda ip: b"\x18\x41\x03" + (b"\x8e" if is6(ip) else b"\xcc") + ip),
    "frame relay, SNAP": (107, lambda ip: b"\x18\x41\x03\0\x80\0\0\0" + ethertype(ip) + ip),
    "frame relay, Cisco": (107, lambda ip: b"\x18\x41" + ethertype(ip) + ip),
    "NFLOG": (239, nflog),
    "NFLOG big-endian": (239, lambda ip: nflog(ip, ">")),
    "PFLOG": (117, lambda ip: bytes([61, 10 if is6(ip) else 2]) + b"\0" * 62 + ip),
    "ENC": (109, lambda ip: b"\2\0\0\0" + b"\0" * 8 + ip),
    "SLIP": (8, lambda ip: b"\0" + b"\x40" + b"\0" * 14 + ip),
    "token ring": (6, lambda ip: b"\x10\x40" + MACS + snap(ip)),
    "token ring, routed": (
        6,
        lambda ip: b"\x10\x40" + MACS[:6] + b"\x82\0\0\0\0\1" + b"\x06\x30\0\x11\0\x20" + snap(ip),
    ),
    "FDDI": (10, lambda ip: b"\x50" + MACS + snap(ip)),
    "ATM": (100, snap),
    "ATM, NLPID": (100, lambda ip: b"\xfe\xfe\x03" + (b"\x8e" if is6(ip) else b"\xcc") + ip),
    "SunATM": (123, lambda ip: b"\x02\0\0\x20" + snap(ip)),
    "FireWire": (138, lambda ip: b"\1" * 16 + ethertype(ip) + ip),
    "IPNET": (226, lambda ip: b"\1" + (b"\x1a" if is6(ip) else b"\x02") + b"\0" * 22 + ip),
    "netANALYZER": (240, lambda ip: b"\0\0\0\0" + ethernet(ip) + b"\1\2\3\4"),
    "Juniper": (178, lambda ip: b"MGC\x01" + ethernet(ip)),
    "Juniper with extensions": (178, lambda ip: b"MGC\x81\0\4\1\2\3\4" + ethernet(ip)),
    "Juniper, IP": (178, lambda ip: b"MGC\x02\0\0\0\2" + ip),
    "PKTAP": (258, lambda ip: struct.pack("<III", 108, 1, 1) + b"\0" * 96 + ethernet(ip)),
    "PKTAP as user": (149, lambda ip: struct.pack("<III", 108, 1, 101) + b"\0" * 96 + ip),
    # IEEE 802.11
    "802.11": (105, lambda ip: wlan(snap(ip))),
    "802.11 with FCS": (105, lambda ip: wlan(snap(ip)) + b"\x01\x02\x03\x04"),
    "802.11 four addresses": (105, lambda ip: wlan(snap(ip), flags=3, extra=b"\x02\0\0\0\0\x01")),
    "802.11 QoS": (105, lambda ip: wlan(snap(ip), 0x88, 2, b"\0\0")),
    "802.11 QoS, HT control": (105, lambda ip: wlan(snap(ip), 0x88, 0x82, b"\0\0\0\0\0\0")),
    "802.11 A-MSDU": (105, lambda ip: wlan(amsdu(b"\xaa\xaa\x03\0\0\0\x88\x8e1234", snap(ip)), 0x88, 2, b"\x80\0")),
    "802.11 decrypted": (105, lambda ip: wlan(snap(ip), 0x88, 0x42, b"\0\0")),
    "802.11 decrypted, CCMP": (105, lambda ip: wlan(b"\1\0\0\x20\0\0\0\0" + snap(ip), 0x88, 0x42, b"\0\0")),
    "radiotap": (127, lambda ip: radiotap(wlan(snap(ip)))),
    "radiotap, flags": (127, lambda ip: radiotap(wlan(snap(ip)) + b"FCS.", 0x10, time=True)),
    "radiotap, padded": (127, lambda ip: radiotap(wlan(snap(ip), 0x88, 2, b"\0\0\0\0"), 0x20, time=True)),
    "radiotap, many words": (127, lambda ip: radiotap(wlan(snap(ip), 0x88, 2, b"\0\0\0\0"), 0x20, time=True, words=4)),
    "Prism": (119, lambda ip: b"\x44\0\0\0\x90\0\0\0wlan0" + b"\0" * 131 + wlan(snap(ip))),
    "AVS in Prism": (119, lambda ip: b"\x80\x21\x10\x01\0\0\0\x40" + b"\0" * 56 + wlan(snap(ip))),
    "AVS": (163, lambda ip: b"\x80\x21\x10\x02\0\0\0\x50" + b"\0" * 72 + wlan(snap(ip))),
    "PPI": (192, lambda ip: struct.pack("<BBHI", 0, 0, 8, 105) + wlan(snap(ip))),
    "PPI, Ethernet": (192, lambda ip: struct.pack("<BBHI", 0, 0, 12, 1) + b"\0" * 4 + ethernet(ip)),
    "SLL, radiotap": (113, lambda ip: b"\0\0\x03\x23" + b"\0" * 12 + radiotap(wlan(snap(ip)))),
    # tunnels
    "IP in IPv4": (1, lambda ip: over(next_header(ip), ip)),
    "IP in IPv4, padded": (1, lambda ip: padded(over(next_header(ip), ip))),
    "IP in IPv6": (1, lambda ip: ethernet(ipv6(ip, next_header(ip)))),
    "IPv4 options around": (1, lambda ip: ethernet(ipv4(ip, next_header(ip), options=b"\x94\x04\0\0"))),
    "EtherIP": (1, lambda ip: over(97, b"\x30\0" + ethernet(ip))),
    "SRv6 Ethernet": (1, lambda ip: ethernet(ipv6(ethernet(ip), 143))),
    "MPLS in IP": (1, lambda ip: over(137, mpls(ip))),
    "AH in IPv4, IP": (1, lambda ip: over(51, bytes([next_header(ip), 4]) + b"\0" * 22 + ip)),
    "GRE": (1, lambda ip: over(47, gre(ethertype(ip), ip))),
    "GRE, all fields": (1, lambda ip: over(47, gre(ethertype(ip), ip, 0xB000, b"\0" * 12))),
    "GRE, routing": (1, lambda ip: over(47, gre(ethertype(ip), ip, 0x4000, b"\0\0\0\0" + ROUTE))),
    "GRE, Ethernet": (1, lambda ip: over(47, gre(b"\x65\x58", ethernet(ip), 0x2000, b"\0\0\x05\0"))),
    "GRE, MPLS": (1, lambda ip: over(47, gre(b"\x88\x47", mpls(ip)))),
    "GRE over IPv6": (1, lambda ip: ethernet(ipv6(gre(ethertype(ip), ip), 47))),
    "PPTP": (1, lambda ip: over(47, gre(b"\x88\x0b", b"\xff\x03" + ppp(ip), 0x3081, b"\0\x40\0\1\0\0\0\7\0\0\0\6"))),
    "PPTP, no acknowledgement": (1, lambda ip: over(47, gre(b"\x88\x0b", ppp(ip), 0x3001, b"\0\x40\0\1\0\0\0\7"))),
    "ERSPAN I": (1, lambda ip: over(47, gre(b"\x88\xbe", ethernet(ip)))),
    "ERSPAN II": (
        1,
        lambda ip: over(47, gre(b"\x88\xbe", b"\x10\x05\0\1\0\0\0\1" + ethernet(ip), 0x1000, b"\0\0\0\1")),
    ),
    "ERSPAN III": (
        1,
        lambda ip: over(47, gre(b"\x22\xeb", b"\x20\x05\0\1" + b"\0" * 8 + ethernet(ip), 0x1000, b"\0\0\0\1")),
    ),
    "ERSPAN III, subheader": (
        1,
        lambda ip: over(
            47, gre(b"\x22\xeb", b"\x20\x05\0\1" + b"\0" * 7 + b"\1" + b"\0" * 8 + ethernet(ip), 0x1000, b"abcd")
        ),
    ),
    "VXLAN": (1, lambda ip: over_udp(4789, VXLAN + ethernet(ip))),
    "VXLAN, Linux": (1, lambda ip: over_udp(8472, VXLAN + ethernet(ip))),
    "VXLAN in VLAN": (1, lambda ip: tagged(b"\x81\0", b"\0\5\x08\0" + over_udp(4789, VXLAN + ethernet(ip))[14:])),
    "VXLAN over IPv6": (1, lambda ip: ethernet(ipv6(udp(VXLAN + ethernet(ip), 4789), 17))),
    "VXLAN-GPE": (1, lambda ip: over_udp(4790, b"\x0c\0\0" + (b"\2" if is6(ip) else b"\1") + b"\0\0\5\0" + ip)),
    "VXLAN-GPE, NSH": (
        1,
        lambda ip: over_udp(4790, b"\x0c\0\0\x04\0\0\5\0" + b"\x0f\xc2\x02\x03\0\0\0\1" + ethernet(ip)),
    ),
    "VXLAN-GPE, no protocol": (1, lambda ip: over_udp(4790, b"\x08\0\0\0\0\0\5\0" + ethernet(ip))),
    "VXLAN-GPE, MPLS": (1, lambda ip: over_udp(4790, b"\x0c\0\0\x05\0\0\5\0" + mpls(ip))),
    "Geneve": (1, lambda ip: over_udp(6081, b"\0\0\x65\x58\0\0\5\0" + ethernet(ip))),
    "Geneve, options": (1, lambda ip: over_udp(6081, b"\x02\0\x65\x58\0\0\5\0" + b"\1\2\3\1abcd" + ethernet(ip))),
    "Geneve, IP": (1, lambda ip: over_udp(6081, b"\0\0" + ethertype(ip) + b"\0\0\5\0" + ip)),
    "GTP-U": (1, lambda ip: over_udp(2152, gtp(ip))),
    "GTP-U, sequence": (1, lambda ip: over_udp(2152, gtp(ip, 0x32, b"\0\1\0\0"))),
    "GTP-U, extension": (1, lambda ip: over_udp(2152, gtp(ip, 0x34, b"\0\0\0\x85\1\x10\x09\0"))),
    "GTP-U, extensions": (1, lambda ip: over_udp(2152, gtp(ip, 0x37, b"\0\1\2\x85\1\x10\x09\x40\1\0\0\0"))),
    "GTP-U, Ethernet": (1, lambda ip: over_udp(2152, gtp(ethernet(ip)))),
    "L2TP": (1, lambda ip: over_udp(1701, b"\0\2\0\1\0\1\xff\x03" + ppp(ip), 1701)),
    "L2TP from its port": (1, lambda ip: over_udp(50123, b"\0\2\0\1\0\1\xff\x03" + ppp(ip), 1701)),
    "L2TP, all fields": (
        1,
        lambda ip: over_udp(
            1701, b"\x4a\2" + struct.pack("!H", 21 + len(ip)) + L2TP_FIELDS + b"\xff\x03" + ppp(ip), 1701
        ),
    ),
    "L2TPv3": (1, lambda ip: over(115, b"\0\0\0\7" + ethernet(ip))),
    "L2TPv3, cookie": (1, lambda ip: over(115, b"\0\0\0\7" + b"cookie!!" + b"\x40\0\0\1" + ethernet(ip))),
    "L2TPv3 over UDP": (1, lambda ip: over_udp(1701, b"\0\3\0\0\0\0\0\7" + b"\x40\0\0\1" + ethernet(ip), 1701)),
    "Teredo": (1, teredo),
    "Teredo, indications": (1, lambda ip: teredo(ip, b"\0\1\2\3ididx" + b"\0" * 9 + b"\0\0\x9c\x40\xf5\xff\xff\xfd")),
    "GRE in UDP": (1, lambda ip: over_udp(4754, gre(ethertype(ip), ip))),
    "MPLS in UDP": (1, lambda ip: over_udp(6635, mpls(ip))),
    "TZSP": (1, lambda ip: over_udp(37008, b"\1\0\0\1\0\x0a\1\xc0\1" + ethernet(ip))),
    "TZSP, 802.11": (1, lambda ip: over_udp(37008, b"\1\0\0\x12\1" + wlan(snap(ip)))),
    "three deep": (
        1,
        lambda ip: over_udp(4789, VXLAN + over(47, gre(b"\x65\x58", over_udp(2152, gtp(ip))))),
    ),
    "raw, tunnel": (101, lambda ip: ipv4(ip, next_header(ip))),
    "802.11, tunnel": (105, lambda ip: wlan(snap(ipv4(ip, next_header(ip))))),
}
