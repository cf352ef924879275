"""The same handshakes, read by mailtap and by tshark."""

from __future__ import annotations

import ssl
import struct
import subprocess
import warnings
from pathlib import Path

import pytest
from compare_tls import compare as compare_capture
from support import tls as lab
from support.captures import pcap_header, pcap_record

from analyzer.model import CLIENT

CAPTURES = Path(__file__).parents[2] / "captures"
#: Samples with TLS, but for the large one.
SAMPLES = (
    "imap-starttls.pcap", "imaps.pcap", "managesieve.pcap", "pop3-stls.pcap", "pop3s.pcap", "smtp-starttls.pcap", "smtps.pcap",
    "starttls-injection.pcap", "tls-certificates.pcap", "tls-versions.pcap", "tls12-secrets.pcapng", "tls13-secrets.pcapng",
)  # fmt: skip

FIELDS = (
    "tls.handshake.type", "tls.handshake.version", "tls.handshake.extensions.supported_version", "tls.handshake.ciphersuite",
    "tls.handshake.extensions_server_name", "tls.handshake.extensions_alpn_str", "tls.handshake.ja3", "tls.handshake.ja3s",
    "tls.handshake.certificate", "tls.alert_message.desc",
)  # fmt: skip


def write_capture(path: Path, pieces: list[lab.Piece]) -> None:
    """A capture of raw IPv4 packets, one segment of at most 1400 octets each."""
    sequence = [0, 0]
    packets: list[bytes] = []

    def segment(sender: int, flags: int, data: bytes) -> None:
        ports = (40000, 993) if sender == CLIENT else (993, 40000)
        tcp = struct.pack(">HHIIBBHHH", *ports, sequence[sender], sequence[1 - sender], 0x50, flags, 65535, 0, 0)
        addresses = bytes([192, 0, 2, 1, 192, 0, 2, 2]) if sender == CLIENT else bytes([192, 0, 2, 2, 192, 0, 2, 1])
        packets.append(struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 1, 0, 64, 6, 0) + addresses + tcp + data)
        sequence[sender] += len(data)

    segment(lab.CLIENT, 0x02, b"")
    sequence[0] = 1
    segment(lab.SERVER, 0x12, b"")
    sequence[1] = 1
    for sender, what in pieces:
        if isinstance(what, bytes):
            for at in range(0, len(what), 1400):
                segment(sender, 0x18, what[at : at + 1400])
    records = [pcap_record(data, fraction=number) for number, data in enumerate(packets)]
    path.write_bytes(pcap_header(linktype=101) + b"".join(records))


def tshark(path: Path) -> dict[str, list[str]]:
    """All values of each field, in the order of the messages."""
    command = ["tshark", "-r", str(path), "-Y", "tls", "-T", "fields", "-E", "separator=|"]
    for field in FIELDS:
        command += ["-e", field]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values: dict[str, list[str]] = {field: [] for field in FIELDS}
    for line in out.splitlines():
        for field, text in zip(FIELDS, line.split("|"), strict=True):
            values[field] += [word for word in text.split(",") if word]
    return values


def compare(path: Path, pieces: list[lab.Piece]) -> None:
    write_capture(path, pieces)
    facts = lab.play(pieces).facts
    said = tshark(path)
    hello, answer = facts.client_hello, facts.server_hello
    assert hello is not None
    assert said["tls.handshake.extensions_server_name"][:1] == [facts.sni]
    assert said["tls.handshake.ja3"][:1] == [facts.ja3]
    assert said["tls.handshake.extensions_alpn_str"][: len(hello.alpn)] == facts.offered_alpn
    if answer is not None:
        versions = said["tls.handshake.extensions.supported_version"] or said["tls.handshake.version"]
        assert int(versions[-1], 16) == facts.version_code
        assert int(said["tls.handshake.ciphersuite"][-1], 16) == facts.suite_code
        assert said["tls.handshake.ja3s"][-1] == facts.ja3s
    assert said["tls.handshake.certificate"] == [der.hex() for der in facts.certificates]
    if said["tls.alert_message.desc"]:
        assert facts.alert is not None
        assert lab.alert_code(facts.alert) == int(said["tls.alert_message.desc"][0])


@pytest.mark.tshark
@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_are_read_alike(sample: str):
    compared, differences = compare_capture(CAPTURES / sample)
    assert compared > 0
    assert differences == []


@pytest.mark.tshark
@pytest.mark.slow
def test_an_office_full_of_handshakes_is_read_alike():
    compared, differences = compare_capture(CAPTURES / "office.pcapng")
    assert compared > 50
    assert differences == []


@pytest.mark.tshark
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"])
def test_handshakes(version: str, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = getattr(ssl.TLSVersion, version)
    client = lab.context(lab.CLIENT, number, alpn=["imap", "pop3"])
    connection = lab.Connection(client, lab.context(lab.SERVER, number)).shake_hands().talk().close()
    compare(tmp_path / "tls.pcap", connection.pieces)


@pytest.mark.tshark
def test_refused_certificate(tmp_path: Path):
    client = lab.context(lab.CLIENT, ssl.TLSVersion.TLSv1_2, verify=True)
    connection = lab.Connection(client, lab.context(lab.SERVER, ssl.TLSVersion.TLSv1_2)).shake_hands()
    compare(tmp_path / "tls.pcap", connection.pieces)


@pytest.mark.tshark
def test_no_common_version(tmp_path: Path):
    client, server = lab.context(lab.CLIENT, ssl.TLSVersion.TLSv1_3), lab.context(lab.SERVER, ssl.TLSVersion.TLSv1_2)
    compare(tmp_path / "tls.pcap", lab.Connection(client, server).shake_hands().pieces)
