"""Which live source is right for what the user named: an interface, a growing file or folder, a pipe."""

from __future__ import annotations

import os
import socket
import stat
import sys
from typing import Final

from analyzer.capture.base import MAX_RECORD
from analyzer.capture.files import STDIN
from analyzer.capture.interfaces import ANY, Interface, interfaces, names
from analyzer.capture.live import LiveSource
from analyzer.errors import UsageError

#: Kinds of source, as the user names them.
KINDS: Final = ("auto", "ring", "scapy", "follow", "pipe")
#: Sizes of a ring that make sense.
MIN_RING: Final = 128 << 10
MAX_RING: Final = 4 << 30
MIN_SNAPLEN: Final = 64


def open_live(
    name: str,
    *,
    kind: str = "auto",
    filter: str | None = None,  # noqa: A002 - the word for it everywhere
    promiscuous: bool = True,
    snaplen: int = MAX_RECORD,
    ring_bytes: int = 64 << 20,
) -> LiveSource:
    """A source, open.

    ``name`` is an interface, ``any``, a file, a folder, a named pipe, or ``-``. With ``kind`` ``auto`` a name that is an interface's
    is one, ``-`` and named pipes are pipes, and other paths are followed; interfaces go through the ring where there is one, else through
    scapy. ``filter`` is an expression in libpcap's language, None for the default (see ``filters``), an empty one for no filter at all;
    it is for interfaces only.

    Raises:
        CaptureError: it is missing, or may not be opened; the message says what to do.
        UsageError: the arguments make no sense, the filter among them.
    """
    source = make_live(name, kind=kind, filter=filter, promiscuous=promiscuous, snaplen=snaplen, ring_bytes=ring_bytes)
    source.open()
    return source


def make_live(
    name: str,
    *,
    kind: str = "auto",
    filter: str | None = None,  # noqa: A002
    promiscuous: bool = True,
    snaplen: int = MAX_RECORD,
    ring_bytes: int = 64 << 20,
) -> LiveSource:
    """The same, not yet open. Raises UsageError."""
    if kind not in KINDS:
        raise UsageError(f"unknown kind of source {kind!r}; known: {', '.join(KINDS)}")
    if not MIN_SNAPLEN <= snaplen <= MAX_RECORD:
        raise UsageError(f"the snap length is {snaplen}; it must be from {MIN_SNAPLEN} to {MAX_RECORD} octets")
    if not MIN_RING <= ring_bytes <= MAX_RING:
        raise UsageError(f"the ring is {ring_bytes} octets; it must be from {MIN_RING} to {MAX_RING}")
    if kind == "auto":
        kind = _kind_of(name)
    if kind in ("follow", "pipe") and filter is not None:
        raise UsageError(
            f"{name}: a filter is for interfaces; for a file or pipe give it to the program that writes it (tcpdump, dumpcap -f)"
        )
    if kind == "pipe" or (kind == "follow" and _is_pipe(name)):
        from analyzer.capture.pipe import PipeSource

        return PipeSource(name)
    if kind == "follow":
        from analyzer.capture.follow import FileSource, FolderSource

        return FolderSource(name) if os.path.isdir(name) else FileSource(name)  # noqa: PTH112
    if kind == "scapy":
        from analyzer.capture.sniffer import SnifferSource

        return SnifferSource(name, filter, promiscuous, snaplen)
    from analyzer.capture.ring import RingSource

    return RingSource(name, filter, promiscuous, snaplen, ring_bytes)


def has_ring() -> bool:
    """Whether this system has the ring."""
    return sys.platform.startswith("linux") and sys.byteorder == "little" and hasattr(socket, "AF_PACKET")


def _kind_of(name: str) -> str:
    if name == STDIN:
        return "pipe"
    if name != ANY and name not in names() and (os.sep in name or os.path.exists(name)):  # noqa: PTH110
        return "follow"
    return "ring" if has_ring() else "scapy"


def _is_pipe(name: str) -> bool:
    if name == STDIN:
        return True
    try:
        return stat.S_ISFIFO(os.stat(name).st_mode)  # noqa: PTH116
    except OSError:
        return False


__all__ = ["KINDS", "Interface", "interfaces", "make_live", "open_live"]
