"""What is said of files that are no captures."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from support.captures import pcap

from analyzer.capture.base import RecordList
from analyzer.capture.files import read_capture
from analyzer.errors import NotACapture

FRAMES = [bytes([i]) * 60 for i in range(5)]


def save(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello\n", "is a text file"),
        ("grüße\n".encode(), "is a text file"),
        ("\ufeffhello\n".encode("utf-16"), "is a text file"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"\n<html>", "is a web page"),
        (b'<?xml version="1.0"?>\n<pdml version="0">', "written by tshark (XML)"),
        (b"<?xml?><a/>", "is an XML file"),
        (b'{"a": 1}', "is a JSON file"),
        (b'[\n  {\n    "_index": "packets",\n    "_source": {\n', "written by tshark (JSON)"),
        ("    1   0.000000 10.0.0.1 → 10.0.0.2 TCP 74\n".encode(), "written by tshark"),
        (b"Frame 1: 74 bytes on wire (592 bits)\n", "written by tshark"),
        (b"12:00:00.000001 IP 10.0.0.1.1 > 10.0.0.2.110: Flags [S]\n", "written by tcpdump"),
        (b"0000  00 11 22 33 44 55 66\n", "text2pcap"),
        (b"\t0x0000:  4500 003c 1c46\n", "text2pcap"),
        (b"snoop\0\0\0\0\0\0\2", "Solaris snoop file, which mailtap does not read; convert it first: editcap"),
        (b"GMBU\0\2", "Network Monitor"),
        (b"TRSNIFF data    \x1a\0", "Sniffer"),
        (b"btsnoop\0\0\0\0\1", "Bluetooth"),
        (bytes(64) + "NT Kernel Logger".encode("utf-16-le"), "ETL"),
        ((bytes(8) + b"\x02\x04\x00\x50\0\0\0\x3c" + bytes(64)) * 2, "ERF"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "7z archive; unpack it first"),
        (bytes(257) + b"ustar\0" + bytes(300), "tar archive"),
        (bytes(5000), "holds only zeros"),
        (b"\x7fELF\2\1\1\0", "it starts with 7f 45 4c 46"),
        (b"\n\r\r\n\0\0\0\x1cno byte order", "is no capture file"),
    ],
)
def test_no_capture(tmp_path: Path, content: bytes, message: str):
    path = save(tmp_path / "a.pcap", content)
    with pytest.raises(NotACapture) as caught:
        read_capture(path, RecordList())
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_zip_archive(tmp_path: Path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.pcap", pcap(FRAMES))
    with pytest.raises(NotACapture, match="zip archive; unpack it first"):
        read_capture(save(tmp_path / "a.pcap", packed.getvalue()), RecordList())
    with pytest.raises(NotACapture, match=r"web page.*after decompression"):
        read_capture(save(tmp_path / "a.pcap", gzip.compress(b"<html>")), RecordList())
