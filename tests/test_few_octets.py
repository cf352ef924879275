"""Where TLS begins, a few octets at a time: cut by a snap length, by a grant, by the end of the connection, or by somebody who hides a login."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.captures import NANO, pcap_header, pcap_record
from support.traffic import Talk, logins, run_frames
from support.verdicts import good_tls

from analyzer.pipeline import run
from analyzer.sessions.records import Session

GREETED = {
    110: "S: +OK mx\n",
    143: "S: * OK mx\n",
    587: "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\\r\\n250 STARTTLS\n",
    4190: 'S: "SASL" "PLAIN"\\r\\n"STARTTLS"\\r\\nOK\n',
}
REQUEST = {110: b"STLS\r\n", 143: b"b STARTTLS\r\n", 587: b"STARTTLS\r\n", 4190: b"STARTTLS\r\n"}
GRANT = {110: b"+OK\r\n", 143: b"b OK go\r\n", 587: b"220 go\r\n", 4190: b"OK\r\n"}
LOGIN = {
    110: [(0, b"USER kim\r\n"), (1, b"+OK\r\n"), (0, b"PASS Zulu7Tango\r\n"), (1, b"+OK\r\n")],
    143: [(0, b"c LOGIN kim Zulu7Tango\r\n"), (1, b"c OK in\r\n")],
    587: [(0, b"AUTH PLAIN AGtpbQBadWx1N1RhbmdvAA==\r\n"), (1, b"235 ok\r\n")],
    4190: [(0, b'AUTHENTICATE "PLAIN" "AGtpbQBadWx1N1Rhbmdv"\r\n'), (1, b"OK\r\n")],
}  # fmt: skip
PORTS = sorted(GREETED)


def hellos() -> list[tuple[int, bytes]]:
    """A good handshake, and what is said in it."""
    pieces = good_tls()
    return [(sender, data) for sender, data in pieces if isinstance(data, bytes)]


def said(port: int, *pieces: tuple[int, bytes]) -> Talk:
    """A greeting, and then these pieces, a segment each."""
    talk = Talk(server_port=port).play(GREETED[port])
    for sender, data in pieces:
        (talk.client if sender == 0 else talk.server)(data)
    return talk.close()


def heard(folder: Path, talk: Talk) -> Session:
    (session,) = run_frames(folder, talk.frames()).sessions
    return session


def kinds(session: Session) -> list[str]:
    return [seen.kind for seen in session.anomalies or []]


def snapped(folder: Path, talk: Talk, payload: int) -> Session:
    """The session of which so many octets of each segment's payload were captured."""
    frames = [
        pcap_record(frame[: 54 + payload], fraction=index, wire=len(frame))
        for index, (_, frame) in enumerate(talk.frames())
    ]
    path = folder / "snapped.pcap"
    path.write_bytes(pcap_header(magic=NANO) + b"".join(frames))
    (session,) = run([path]).sessions
    return session


@pytest.mark.parametrize("octets", [1, 2])
@pytest.mark.parametrize("port", PORTS)
def test_a_hello_behind_its_request_of_which_few_octets_are_left(port: int, octets: int, tmp_path: Path) -> None:
    client, *others = hellos()
    talk = said(port, (0, REQUEST[port] + client[1]), (1, GRANT[port]), *others)
    # A greeting and capabilities that are cut as well say nothing: the snap length leaves the lines whole that matter here.
    for frame in (len(REQUEST[port]) + octets,):
        session = snapped(tmp_path, talk, frame)
        assert session.transport == "starttls", (port, octets, kinds(session))
        assert session.exposure != "credentials"
        assert "tls_stream_lost" not in kinds(session)


@pytest.mark.parametrize("octets", [1, 2])
@pytest.mark.parametrize("port", PORTS)
def test_a_servers_hello_behind_its_grant_of_which_few_octets_are_left(port: int, octets: int, tmp_path: Path) -> None:
    client, server, *others = hellos()
    talk = said(port, (0, REQUEST[port]), (1, GRANT[port] + server[1]), client, *others)
    talk.sent = [
        (moment, frame[: 54 + len(GRANT[port]) + octets] if server[1][:20] in frame else frame)
        for moment, frame in talk.sent
    ]  # fmt: skip
    frames = [
        pcap_record(frame, fraction=index, wire=int.from_bytes(frame[16:18], "big") + 14)
        for index, (_, frame) in enumerate(talk.frames())
    ]
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap_header(magic=NANO) + b"".join(frames))
    (session,) = run([path]).sessions
    assert session.transport == "starttls"
    assert kinds(session) == []


@pytest.mark.parametrize("begun", [b"\x16", b"\x16\x03", b"\x80", b"\xc3\xa9"])
@pytest.mark.parametrize("port", PORTS)
def test_text_cut_in_two_by_the_grant_is_text(port: int, begun: bytes, tmp_path: Path) -> None:
    pieces = [(0, REQUEST[port] + begun), (1, GRANT[port]), (0, b"x\r\n"), *LOGIN[port]]
    result = run_frames(tmp_path, said(port, *pieces).frames())
    assert [one[1:3] for one in logins(result)] == [("kim", "Zulu7Tango")]
    assert result.sessions[0].transport == "plaintext"


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("port", PORTS)
def test_a_hello_cut_in_two_by_the_grant_is_a_hello(port: int, cut: int, tmp_path: Path) -> None:
    client, *others = hellos()
    session = heard(
        tmp_path,
        said(port, (0, REQUEST[port] + client[1][:cut]), (1, GRANT[port]), (0, client[1][cut:]), *others),
    )
    assert (session.transport, kinds(session)) == ("starttls", [])
    assert session.tls is not None
    assert session.tls.in_short()[0] == "TLSv1.3"


@pytest.mark.parametrize("port", PORTS)
def test_an_octet_of_an_earlier_grant_is_forgotten(port: int, tmp_path: Path) -> None:
    _, server, *_ = hellos()
    again = {110: b"+OK\r\n", 143: b"b OK go\r\n", 587: b"220 go\r\n", 4190: b"OK\r\n"}[port]
    pieces = [
        (0, REQUEST[port]), (1, GRANT[port]), (1, b"\x80"), *LOGIN[port],
        (0, REQUEST[port]), (1, again), (1, server[1]),
    ]  # fmt: skip
    session = heard(tmp_path, said(port, *pieces))
    assert session.transport == "starttls"


@pytest.mark.parametrize("port", PORTS)
def test_a_server_that_gives_up_a_handshake_injects_nothing(port: int, tmp_path: Path) -> None:
    farewell = {110: b"-ERR timeout\r\n", 143: b"* BYE timeout\r\n", 587: b"421 timeout\r\n", 4190: b"BYE\r\n"}[port]
    for begun in (b"\x16", b"\x16\x03"):
        session = heard(tmp_path, said(port, (0, REQUEST[port]), (1, GRANT[port]), (0, begun), (1, farewell)))
        assert session.transport == "starttls"
        assert kinds(session) == []
    # What comes before the client's hello is injected all the same, and tells of it though the hello is cut short.
    session = heard(tmp_path, said(port, (0, REQUEST[port]), (1, GRANT[port] + farewell), (0, b"\x16")))
    assert kinds(session) == ["starttls_response_injection"]


@pytest.mark.parametrize("cut", [3, 5, 7])
@pytest.mark.parametrize("port", [465, 587])
def test_an_alert_in_pieces_is_the_answer_to_text_all_the_same(port: int, cut: int, tmp_path: Path) -> None:
    alert = b"\x15\x03\x01\x00\x02\x02\x28"
    talk = Talk(server_port=port)
    for piece in (alert[:cut], alert[cut:]):
        if piece:
            talk.server(piece)
    for sender, octets in [(0, b"EHLO pc\r\n"), (1, b"250-mx\r\n250 AUTH PLAIN\r\n"), *LOGIN[587]]:
        (talk.client if sender == 0 else talk.server)(octets)
    result = run_frames(tmp_path, talk.close().frames())
    assert [one[1:3] for one in logins(result)] == [("kim", "Zulu7Tango")]


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize(
    "behind", [b"\0\1\x16", b"m\x16\x03\x01\r\n", b"\x16m\x16\x03", b"m\r\n\x16\x03\x01\x00\x02\x01\x00"]
)
def test_a_line_that_the_grant_has_cut_goes_on_to_its_end(tmp_path: Path, port: int, behind: bytes) -> None:
    """Octets in the middle of a line begin nothing, wherever segments begin; behind its end TLS may begin."""
    begun = [(0, REQUEST[port] + b"NOOP ki"), (1, GRANT[port])]
    whole = heard(tmp_path, said(port, *begun, (0, behind)))
    single = heard(tmp_path, said(port, *begun, *[(0, behind[at : at + 1]) for at in range(len(behind))]))
    assert (whole.transport, kinds(whole)) == (single.transport, kinds(single))
    assert whole.transport == ("starttls" if b"\n\x16" in behind else "plaintext")
    assert "starttls_command_injection" in kinds(whole)
