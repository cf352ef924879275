"""Which network a segment is of, where two networks use the same addresses and ports at the same time.

VLAN tags, and the network numbers of VXLAN, Geneve and GRE, are not part of a flow's key, and must not be: captures see one connection
under several of them all the time. Each direction has its own where they come from two taps or ports of a mirror; every packet is there twice,
before and after it was routed or bridged. Yet two tenants with the same private addresses are two connections.

What cannot be one connection shows by its content: a second SYN in the same direction, with another sequence number, under another
network number, while the first connection is not over. From then on the connections are told apart by their sequence numbers (what was
routed or mirrored has the same ones under every tag), and by the tag where that is not enough. Where it was one host all the same, that
reused a port after its network was renumbered, nothing is lost but that the old connection waits for its timeout.

MPLS labels, tunnel identifiers of GTP and L2TP, and session numbers of PPPoE are left out: they name a path or a direction, and change
with it. Connections of which neither SYN was captured are not told apart, nor those of which one is not tagged. A firewall that
rewrites sequence numbers between two VLANs makes two connections of one, which is what they are.

None of this concerns packets without a tag.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.packets.base import ACK, FIN, RST, SYN

#: Connections whose networks are remembered; at the limit those remembered first are forgotten, an eighth of all.
MAX_REMEMBERED: Final = 65_536
FORGOTTEN_SHARE: Final = 8
#: Networks that share addresses and ports: further ones are taken for the first.
MAX_REALMS: Final = 4096
#: A connection without a word for so long is over.
SILENCE_NS: Final = 7_200_000_000_000
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


class _Connection:
    """One of the connections under one key."""

    def __init__(self, number: i64, tag: i64, seq: i64) -> None:
        #: 0: its key is that of the packets; else a number that is put in front
        self.number: i64 = number
        #: of the client's SYN
        self.tag: i64 = tag
        self.seq: i64 = seq
        self.latest_ns: i64 = 0
        self.over: bool = False


class Realms:
    """Remembers the SYNs of tagged packets."""

    def __init__(self) -> None:
        #: by the key of the client's packets
        self._connections: dict[bytes, list[_Connection]] = {}
        #: keys, of both directions, under which there is more than one
        self._shared: dict[bytes, bool] = {}
        self._numbers: i64 = 0
        #: connections that share addresses and ports with another one
        self.split: i64 = 0
        #: limits that were hit
        self.forgotten: i64 = 0

    def place(self, key: bytes, tag: i64, seq: i64, ack: i64, flags: i64, timestamp_ns: i64) -> bytes:
        """The key of a tagged segment's flow: its own, or one of its network alone."""
        if flags & SYN != 0 and flags & ACK == 0:
            return self._begin(key, tag, seq, timestamp_ns)
        client = self._shared.get(key)
        if client is None:
            if flags & (FIN | RST) != 0:
                found = self._connections.get(key)
                if found is not None:
                    found[0].over = True
            return key
        number = seq if client else ack
        mine = self._nearest(self._connections.get(key if client else _turned(key)), tag, number, client)
        if mine is None:
            return key
        mine.latest_ns = timestamp_ns
        if flags & RST != 0 or (client and flags & FIN != 0):
            mine.over = True
        return _prefixed(key, mine.number)

    def _begin(self, key: bytes, tag: i64, seq: i64, timestamp_ns: i64) -> bytes:
        known = self._connections.get(key)
        if known is None:
            if len(self._connections) >= MAX_REMEMBERED:
                self._forget()
            known = [_Connection(0, tag, seq)]
            self._connections[key] = known
            known[0].latest_ns = timestamp_ns
            return key
        for one in known:
            if one.seq == seq:
                one.latest_ns = timestamp_ns
                return _prefixed(key, one.number)  # the same SYN, again or under another tag
        for one in known:
            if one.tag == tag or one.over or timestamp_ns - one.latest_ns > SILENCE_NS:
                one.tag = tag
                one.seq = seq
                one.over = False
                one.latest_ns = timestamp_ns
                return _prefixed(key, one.number)  # the port is used again
        if self._numbers >= MAX_REALMS:
            self.forgotten += 1
            return key
        self._numbers += 1
        self.split += 1
        mine = _Connection(self._numbers, tag, seq)
        mine.latest_ns = timestamp_ns
        known.append(mine)
        self._shared[key] = True
        self._shared[_turned(key)] = False
        return _prefixed(key, mine.number)

    def _nearest(self, known: list[_Connection] | None, tag: i64, number: i64, client: bool) -> _Connection | None:
        """The connection that began the shortest way before a sequence number; its tag's where that is a single one."""
        if known is None:
            return None
        best: _Connection | None = None
        shortest: i64 = _HALF
        tagged: _Connection | None = None
        count = 0
        for one in known:
            if one.tag == tag:
                tagged = one
                count += 1
            way = (number - one.seq) & _MASK
            if way < shortest:
                shortest = way
                best = one
        return tagged if client and count == 1 else best

    def _forget(self) -> None:
        self.forgotten += 1
        count = MAX_REMEMBERED // FORGOTTEN_SHARE
        keys: list[bytes] = []
        for key in self._connections:
            keys.append(key)
            if len(keys) >= count:
                break
        for key in keys:
            del self._connections[key]
            if key in self._shared:
                del self._shared[key]
                del self._shared[_turned(key)]


def _prefixed(key: bytes, number: i64) -> bytes:
    if number == 0:
        return key
    return bytes([number >> 8, number & 0xFF]) + key


def _turned(key: bytes) -> bytes:
    """The key of the other direction."""
    size: i64 = len(key)
    address: i64 = (size - 4) >> 1
    return key[address : 2 * address] + key[:address] + key[size - 2 :] + key[size - 4 : size - 2]
