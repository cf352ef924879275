"""What a file is, by its first octets: a capture that mailtap reads, or else what it seems to be and what to do about it."""

from __future__ import annotations

import re
from typing import Final

from analyzer.capture.compressed import compression_of

#: Octets looked at to tell what a file is, when its first four say nothing.
HEAD: Final = 1024
#: Other capture formats, by their first octets.
OTHER_CAPTURES: Final = (
    (b"snoop\0\0\0", "a Solaris snoop file"),
    (b"GMBU", "a Microsoft Network Monitor file"),
    (b"RTSS", "a Microsoft Network Monitor file"),
    (b"TRSNIFF data    \x1a", "a Sniffer file"),
    (b"XCP\0", "a NetXRay or Windows Sniffer file"),
    (b"btsnoop\0", "a Bluetooth snoop file"),
    (b"iptrace 1.0", "an AIX iptrace file"),
    (b"iptrace 2.0", "an AIX iptrace file"),
    (b"\x54\x52\x00\x64\x00", "an HP-UX nettl file"),
    (b"\x05VNF", "a Visual Networks file"),
    (b"\xaa\xaa\xaa\xaa", "an Accellent 5View file"),
    (b"\x00\x00\x02\x00\x12\x05\x00\x10", "a Tektronix K12 file"),
    (b"EyeSDN", "an EyeSDN file"),
    (b"\x7fver", "a Savvius *Peek file"),
)
#: Things that hold other files.
SQLITE: Final = b"SQLite format 3\0"
ARCHIVES: Final = (
    (b"PK\x03\x04", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"\x1f\x9d", "compressed with compress (.Z)"),
    (b"\x02\x21\x4c\x18", "compressed with the old lz4 format"),
    (b"LZIP", "compressed with lzip"),
)
#: The first header line of Event Trace Logs: the name of the kernel or of the session, in UTF-16, is within the head.
ETL_MARKS: Final = ("NT Kernel Logger".encode("utf-16-le"), ".etl\0".encode("utf-16-le"))


def says_pcap(head: bytes) -> bool:
    """Whether the first four octets are a magic number of pcap or its relatives, in either byte order."""
    return head[:4] in (
        b"\xa1\xb2\xc3\xd4",
        b"\xd4\xc3\xb2\xa1",
        b"\xa1\xb2\x3c\x4d",
        b"\x4d\x3c\xb2\xa1",
        b"\xa1\xb2\xcd\x34",
        b"\x34\xcd\xb2\xa1",
        b"\x1c\x00\x01\xac",
        b"\xac\x01\x00\x1c",
        b"\x1c\x00\x01\xab",
        b"\xab\x01\x00\x1c",
    )


def says_pcapng(head: bytes) -> bool:
    """Whether the first twelve octets begin a pcapng section."""
    return head[:4] == b"\n\r\r\n" and head[8:12] in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a")


#: What to do where a file is something else altogether.
NAME_IT: Final = "name a file that tcpdump -w, dumpcap or Wireshark wrote"


def describe(head: bytes) -> str:
    """What a file that is no capture seems to be, and what to do about it."""
    if not head:
        return "is empty (0 octets), nothing was captured into it; capture again, or name another file"
    for magic, name in OTHER_CAPTURES:
        if head.startswith(magic):
            return f"is {name}, which mailtap does not read; convert it first: editcap IN OUT.pcapng"
    if any(mark in head for mark in ETL_MARKS):
        return "is a Windows event trace (ETL); convert it first: etl2pcapng IN OUT.pcapng"
    if head.startswith(SQLITE):
        return "is an SQLite database, not a capture; what mailtap monitor stores is read by mailtap report"
    for magic, name in ARCHIVES:
        if head.startswith(magic):
            return f"is {name}; unpack it first"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if compression_of(head):
        return "is compressed more than twice; unpack it first"
    text = _describe_text(head)
    if text:
        return text
    if _says_erf(head):
        return "is probably an Endace ERF file, which mailtap does not read; convert it first: editcap IN OUT.pcapng"
    if not head.strip(b"\0"):
        return "holds only zeros, for the capture was never written; capture again, or name another file"
    return f"is no capture file (it starts with {head[:8].hex(' ')}); mailtap reads pcap and pcapng, {NAME_IT}"


def _describe_text(head: bytes) -> str:
    """What a text file seems to be; empty where it is none."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and len(head) > 2:
        text = head[: len(head) & ~1].decode("utf-16", "replace")
    elif any(octet < 32 and octet not in b"\t\n\r\f\x1b" for octet in head):
        return ""
    else:
        text = head.decode("utf-8", "replace")
        if text.count("\ufffd") > len(text) // 10:
            return ""
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "is a web page, not a capture; perhaps the download asked for a login: fetch it again"
    if "<pdml" in start or "<psml" in start:
        return "is packet text written by tshark (XML); give the capture it was made from"
    if start.startswith("<"):
        return f"is an XML file, not a capture; {NAME_IT}"
    if start.startswith(("{", "[")):
        if '"_source"' in start or '"layers"' in start:
            return "is packet text written by tshark (JSON); give the capture it was made from"
        return f"is a JSON file, not a capture; {NAME_IT}"
    if re.match(r"(?:frame \d+: \d+ bytes on wire|\d+ +\d+\.\d+ +\S+ (?:→|->) )", start):
        return "is packet text written by tshark; give the capture it was made from (tshark -w FILE)"
    if re.match(r"\d\d:\d\d:\d\d\.\d+ (?:ip6?|arp) ", start):
        return "is packet text written by tcpdump; give the capture it was made from (tcpdump -w FILE)"
    if re.match(r"(?:0x)?0{3,8}:? +[0-9a-f]{2}[0-9a-f]{0,2} ", start):
        return "is a hex dump, not a capture; convert it first: text2pcap IN OUT.pcap"
    return f"is a text file, not a capture; mailtap reads pcap and pcapng, {NAME_IT}"


def _says_erf(head: bytes) -> bool:
    """ERF has no magic number: two records of a known type whose lengths lead from one to the next."""
    position = 0
    for _ in range(2):
        record = head[position : position + 16]
        if len(record) < 16:
            return False
        length = int.from_bytes(record[10:12], "big")
        wire = int.from_bytes(record[14:16], "big")
        if not 1 <= record[8] & 0x7F <= 48 or length < 16 or wire == 0:
            return False
        position += length
    return True
