"""Link types that this room has no decoder for: scapy finds the IP packet in them.

Loading scapy takes most of a second, so it is loaded for the link types that it is known to have a layer for and this room
has not. A program that has loaded scapy already may have taught it others: then it is asked about every link type.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any, Final

#: records of a link type that are tried before it is given up, when not one of them could be decoded
MAX_FAILURES: Final = 100

#: what scapy adds: IrDA-style cooked captures, Bluetooth, IEEE 802.15.4, frames with their preamble
SCAPY_LINKTYPES: Final = frozenset({144, 187, 195, 201, 230, 251, 254, 256, 274})


class ScapyDecoder:
    """Finds IP packets in records by scapy's table of link types; remembers the link types for which that is in vain."""

    def __init__(self) -> None:
        self._failures: dict[int, int] = {}
        self._loaded = False
        self._link_table: Any = None
        self._ip_layers: list[Any] = []

    def find_ip(self, linktype: int, record: bytes) -> bytes | None:
        """The first IP packet in a record, from its IP header on; None where scapy finds none, or is not installed."""
        failures = self._failures.get(linktype, 0)
        if failures >= MAX_FAILURES:
            return None
        if linktype not in SCAPY_LINKTYPES and "scapy.config" not in sys.modules:
            return None
        packet = self._dissect(linktype, record)
        if packet is None:
            self._failures[linktype] = failures + 1
            return None
        self._failures[linktype] = -1_000_000_000  # it can be done: never give up
        return packet

    def _dissect(self, linktype: int, record: bytes) -> bytes | None:
        log = logging.getLogger("scapy")
        level = log.level
        log.setLevel(logging.CRITICAL + 1)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                layer = self._layer(linktype)
                if layer is None:
                    return None
                packet = layer(record)
                for ip in self._ip_layers:
                    found = packet.getlayer(ip)
                    if found is not None:
                        return bytes(found.original)
        except Exception:  # noqa: BLE001  (foreign code on hostile input: whatever it raises, it could not read this record)
            return None
        finally:
            log.setLevel(level)
        return None

    def _layer(self, linktype: int) -> Any:
        """The scapy class for a link type, None where there is none."""
        if not self._loaded:
            self._loaded = True
            try:
                import scapy.layers.all  # noqa: F401  (fills the table of link types)
                from scapy.config import conf
                from scapy.layers.inet import IP
                from scapy.layers.inet6 import IPv6
            except ImportError:
                return None
            self._link_table = conf.l2types.num2layer
            self._ip_layers = [IP, IPv6]
        if self._link_table is None:
            return None
        return self._link_table.get(linktype)
