"""scapy as the decoder of last resort: contained, silent, given up where it is in vain."""

import logging
import subprocess
import sys

import pytest
import scapy.config
import scapy.layers.l2
from support.wraps import ethernet, ipv4, ipv6, tcp

from analyzer.packets.slow import MAX_FAILURES, ScapyDecoder

IP = ipv4(tcp(b"payload"))
PREAMBLE = b"\x55" * 7 + b"\xd5"


LOADED = """
import sys
from analyzer.packets.decoder import PacketDecoder
from analyzer.packets.base import SegmentList
decoder = PacketDecoder(SegmentList())
for linktype in {linktypes}:
    decoder.receive_record(bytes(80), 0, 80, 80, linktype, 1, 1)
print(decoder.undecoded, any(name.startswith("scapy") for name in sys.modules))
"""


def test_ip_of_both_versions_is_found_as_it_stood() -> None:
    decoder = ScapyDecoder()
    for ip in (IP, ipv6(tcp(b"payload"))):
        assert decoder.find_ip(274, PREAMBLE + ethernet(ip) + b"FCS.") in (ip, ip + b"FCS.")


def test_a_link_type_that_worked_once_is_never_given_up() -> None:
    decoder = ScapyDecoder()
    record = PREAMBLE + ethernet(IP) + b"FCS."
    assert decoder.find_ip(274, record) is not None
    for _ in range(MAX_FAILURES + 1):
        assert decoder.find_ip(274, b"") is None
    assert decoder.find_ip(274, record) is not None


def test_without_scapy_its_link_types_are_unknown() -> None:
    program = "import sys\nsys.modules['scapy.layers.all'] = None\n" + LOADED.format(linktypes=(274, 274, 1))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "2"


def test_whatever_scapy_raises_is_contained() -> None:
    decoder = ScapyDecoder()
    assert decoder.find_ip(147, b"") is None

    def explode(record: bytes) -> None:
        logging.getLogger("scapy.runtime").warning("not to be seen")
        raise RecursionError

    decoder._link_table = {147: explode}
    assert decoder.find_ip(147, b"x") is None


def test_scapy_is_silent_and_its_log_level_stays(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("scapy")
    before = log.level
    decoder = ScapyDecoder()
    for linktype in (274, 230, 195, 187, 201, 251, 256, 144):
        for record in (b"", b"\0" * 40, b"\xff" * 200, PREAMBLE + ethernet(IP)[:40]):
            decoder.find_ip(linktype, record)
    assert log.level == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("linktypes", "said"), [((1, 101, 113), "0 False"), ((147, 99999), "2 False"), ((274,), "1 True")]
)
def test_scapy_is_loaded_only_where_it_may_help(linktypes: tuple[int, ...], said: str) -> None:
    program = LOADED.format(linktypes=linktypes)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == said.split()


def test_a_layer_that_the_program_taught_scapy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scapy.config.conf.l2types.num2layer, 150, scapy.layers.l2.Ether)
    assert ScapyDecoder().find_ip(150, ethernet(IP)) == IP
