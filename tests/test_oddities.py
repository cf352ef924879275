"""Odd dialogues, beginnings that were missed and strangers on mail ports, as packets through the whole pipeline."""

from __future__ import annotations

import base64
import io
import json
import ssl
import zlib
from pathlib import Path

import pytest
from support.captures import NANO, pcap_header, pcap_record
from support.tls import old_handshake
from support.traffic import ACK, SYN, Talk, capture, logins, run_frames
from support.verdicts import findings, good_tls, tls

from analyzer.findings.engine import find
from analyzer.monitor.pickles import SessionLoader, dump_session
from analyzer.pipeline import Result, run
from analyzer.protocols.compression import INFLATE_STEP
from analyzer.report.formats.json import write_json
from analyzer.report.migration import migrate
from analyzer.report.rows import RowMaker
from analyzer.report.servers import postures
from analyzer.sessions.records import Session


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def heard(folder: Path, port: int, lines: str, *, missed: int = 0) -> Result:
    """What the pipeline makes of a dialogue of which the first ``missed`` frames were not captured."""
    return run_frames(folder, Talk(server_port=port).play(lines).close().frames()[missed:])


SMTP = "S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN XOAUTH2\n"
TOKEN = b64(b"user=kim\x01auth=Bearer tok-77\x01\x01")
REFUSED = b64(b'{"status":"400"}')


@pytest.mark.parametrize(
    ("port", "lines"),
    [
        (587, SMTP + f"C: AUTH XOAUTH2 {TOKEN}\nS: 334 {REFUSED}\nC: *\nS: 535 no"),
        (110, f"S: +OK mx\nC: AUTH XOAUTH2 {TOKEN}\nS: + {REFUSED}\nC: *\nS: -ERR no"),
        (143, f"S: * OK mx\nC: a AUTHENTICATE XOAUTH2 {TOKEN}\nS: + {REFUSED}\nC: *\nS: a NO no"),
        (4190, f'S: "SASL" "XOAUTH2"\nS: OK\nC: AUTHENTICATE "XOAUTH2" "{TOKEN}"\nS: "{REFUSED}"\nC: "*"\nS: NO'),
    ],
)
def test_a_star_behind_complete_credentials_cancels_nothing(tmp_path: Path, port: int, lines: str) -> None:
    assert logins(heard(tmp_path, port, lines)) == [("XOAUTH2", "kim", "tok-77", "rejected")]


def test_base64_without_its_padding(tmp_path: Path) -> None:
    lines = SMTP + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: a2lt\nS: 334 UGFzc3dvcmQ6\nC: WnVsdTdUYW5nbw\nS: 235 ok"
    assert logins(heard(tmp_path, 587, lines)) == [("LOGIN", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ("C: USER kim\nS: -ERR TLS first\nC: QUIT\nS: +OK", "rejected"),
        ("C: USER kim\nS: -ERR TLS first\nC: STLS\nS: -ERR no", "rejected"),
        ("C: USER kim\nS: +OK\nC: QUIT\nS: +OK", "unknown"),
    ],
)
def test_a_user_name_that_no_password_follows(tmp_path: Path, lines: str, outcome: str) -> None:
    assert logins(heard(tmp_path, 110, "S: +OK mx\n" + lines)) == [("USER/PASS", "kim", None, outcome)]


@pytest.mark.parametrize(
    ("port", "protocol", "greeting"),
    [
        (25, "smtp", "554 go away"),
        (587, "smtp", "421 busy"),
        (110, "pop3", "-ERR busy"),
        (143, "imap", "* BYE busy"),
        (4190, "managesieve", 'BYE "busy"'),
    ],
)
def test_a_server_that_turns_its_client_away(tmp_path: Path, port: int, protocol: str, greeting: str) -> None:
    assert [s.protocol for s in heard(tmp_path, port, f"S: {greeting}").sessions] == [protocol]


@pytest.mark.parametrize(
    ("port", "protocol", "reply"),
    [(25, "smtp", "250 ok"), (24, "lmtp", "354 go on"), (110, "pop3", "+OK 2 300"), (4190, "managesieve", "OK")],
)
def test_replies_alone_on_a_mail_port(tmp_path: Path, port: int, protocol: str, reply: str) -> None:
    assert [s.protocol for s in heard(tmp_path, port, f"S: {reply}", missed=3).sessions] == [protocol]


def test_a_listing_that_never_ends_has_offered_what_it_says(tmp_path: Path) -> None:
    (session,) = heard(tmp_path, 25, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-STARTTLS\nS: 250-SIZE 10").sessions
    assert session.starttls == "offered"


@pytest.mark.parametrize("port", [21, 6379])
def test_who_speaks_before_the_greeting_is_no_mail_client(tmp_path: Path, port: int) -> None:
    assert not heard(tmp_path, port, "C: AUTH Zulu7Tango\nS: +OK\nC: QUIT\nS: +OK").sessions


@pytest.mark.parametrize(
    "lines",
    [
        "C: PASS Zulu7Tango\nC: NICK kim\nS: :irc.example 001 kim :hi",
        "C: CHECK SPAMC/1.5\nC: USER kim\nC: PASS Zulu7Tango\nS: SPAMD/1.1 0 EX_OK",
    ],
)
def test_strangers_on_a_mail_port_give_no_credentials(tmp_path: Path, lines: str) -> None:
    result = heard(tmp_path, 110, lines)
    assert logins(result) == []
    assert [s.protocol for s in result.sessions] == ["unknown"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (
            'S: * ACAP (IMPLEMENTATION "x") (SASL "PLAIN")\nC: a1 AUTHENTICATE "PLAIN" "AHRyYXAAdHJhcA=="\nS: a1 OK "in"',
            "acap",
        ),
        ("C: AUTH Zulu7Tango\nS: +OK\nC: PING\nS: +PONG", "redis"),
        ("C: AUTH kim Zulu7Tango\nS: +OK\nC: GET x\nS: $-1", "redis"),
        ("C: AUTH Zulu7Tango\nS: -ERR invalid password\nC: PING\nS: -NOAUTH Authentication required.", "redis"),
        ("C: AUTH kim Zulu7Tango\nS: -WRONGPASS invalid username-password pair", "redis"),
        ("C: PASS Zulu7Tango\nS: +OK", "unknown"),
        ("C: get x\nS: END", "memcached"),
        ("C: PASS Zulu7Tango\nC: NICK kim\nC: USER kim 0 * :Kim\nS: :irc.example 001 kim :hi", "irc"),
        ("C: USER kim 0 * :Kim\nS: ERROR :Closing link", "irc"),
        ("S: 200 news ready\nC: AUTHINFO USER kim\nS: 381\nC: AUTHINFO PASS Zulu7Tango\nS: 281", "nntp"),
        ("S: 220 ftp.example ready\nC: USER kim\nS: 331\nC: PASS Zulu7Tango\nS: 230", "ftp"),
        ("S: 220 FTP server\nC: NOOP\nS: 200\nC: USER kim\nS: 331\nC: PASS Zulu7Tango\nS: 230", "ftp"),
        ("S: 220 dictd\nC: CLIENT x\nS: 250 ok\nC: AUTH kim 0123456789abcdef\nS: 230 ok", "dict"),
        ("C: GET / HTTP/1.1\nC: Authorization: Basic a2ltOlp1bHU=\nS: HTTP/1.1 200 OK", "http"),
        ("S: SSH-2.0-x\nC: SSH-2.0-y", "ssh"),
        ("S: +OK\nC: hello\nS: +OK\nC: LOGIN kim Zulu7Tango\nS: +OK", "unknown"),
        ("S: OK MPD 0.23\nC: password Zulu7Tango\nS: OK", "unknown"),
        ("C: USERNAME kim\nS: OK\nC: PASSWORD Zulu7Tango\nS: OK", "unknown"),
    ],
)
@pytest.mark.parametrize("port", [25, 110, 143, 587, 4190])
def test_strangers_are_named(tmp_path: Path, port: int, lines: str, name: str) -> None:
    result = heard(tmp_path, port, lines)
    assert [(s.protocol, s.not_mail) for s in result.sessions] == [("unknown", name)]
    assert logins(result) == []


@pytest.mark.parametrize(
    ("port", "lines", "protocol"),
    [
        # clients of mail that do not wait, servers of few words, and mail on another protocol's port
        (110, "C: USER kim\nC: PASS Zulu7Tango\nS: +OK mx\nS: +OK\nS: +OK in", "pop3"),
        (110, "C: AUTH PLAIN\nS: +OK\nS: -ERR", "pop3"),
        (110, "S: +OK\nC: USER kim\nS: +OK", "pop3"),
        (110, "S: +OK POP3 ready\nC: HELLO\nS: -ERR", "pop3"),
        (110, "S: * OK ready\nC: a1 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: a1 OK", "imap"),
        (143, "S: * OK ready\nC: hello\nS: * BAD", "imap"),
        (25, "S: 220 ftp-relay SMTP\nC: NOOP\nS: 250 ok", "smtp"),
        (25, "S: 220 mx\nC: HELLO\nS: 500 what", "smtp"),
        (4190, 'S: OK "ready"\nC: FOO\nS: NO', "managesieve"),
    ],
)
def test_mail_that_looks_like_a_stranger(tmp_path: Path, port: int, lines: str, protocol: str) -> None:
    assert [s.protocol for s in heard(tmp_path, port, lines).sessions] == [protocol]


@pytest.mark.parametrize("port", [25, 110])
def test_a_password_of_redis_is_no_mechanism(tmp_path: Path, port: int) -> None:
    result = heard(tmp_path, port, "C: AUTH kim Zulu7Tango\nS: +OK\nC: PING\nS: +PONG", missed=3)
    assert logins(result) == []


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (b"\x05\x01\x00", b"\x05\x00"),
        (b"\x04\x01\x00\x19\x0a\x00\x00\x01\x00", b"\x00\x5a\x00\x00\x00\x00\x00\x00"),
    ],
)
def test_mail_behind_socks_on_any_port(tmp_path: Path, hello: bytes, answer: bytes) -> None:
    talk = Talk(server_port=1080).client(hello).server(answer)
    if hello[0] == 5:
        talk.client(b"\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x19").server(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    result = run_frames(
        tmp_path,
        talk.play(SMTP + f"C: AUTH PLAIN {b64(b'%skim%sZulu7Tango' % (bytes(1), bytes(1)))}\nS: 235 ok")
        .close()
        .frames(),
    )
    assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", "accepted")]


def tunnel(kind: str, port: int) -> Talk:
    """A connection to a proxy that has asked for a port of some host, and got it."""
    number = port.to_bytes(2, "big")
    talk = Talk(server_port=3128 if kind == "http" else 1080)
    if kind == "http":
        request = b"CONNECT mail.example.test:%d HTTP/1.1\r\nHost: mail.example.test\r\n\r\n" % port
        return talk.client(request).server(b"HTTP/1.1 200 OK\r\n\r\n")
    if kind == "socks4":
        return talk.client(b"\x04\x01" + number + b"\x0a\0\0\x01\0").server(b"\0\x5a" + bytes(6))
    talk.client(b"\x05\x01\0").server(b"\x05\0").client(b"\x05\x01\0\x03\x02mx" + number)
    return talk.server(b"\x05\0\0\x01" + bytes(6))


@pytest.mark.parametrize("body", [b"", b"<html>who asks?</html>", b"HTTP/1.1 200 OK\r\n\r\n* OK trap\r\n"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_tunnel_whose_proxy_asks_who_wants_it(tmp_path: Path, body: bytes, times: int) -> None:
    talk = Talk(server_port=3128)
    request = b"CONNECT mail.example.test:143 HTTP/1.1\r\n%s\r\n"
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: %d\r\n\r\n" % len(body)
    for _ in range(times):
        talk.client(request % b"").server(refusal + body)
    begun = talk.client(request % b"Proxy-Authorization: Basic eDp4\r\n")
    begun.server(b"HTTP/1.1 200 OK\r\n\r\n")
    lines = "S: * OK mx\nC: a LOGIN kim Zulu7Tango\nS: a OK in"
    assert logins(run_frames(tmp_path, begun.play(lines).close().frames())) == [
        ("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")
    ]
    refused = Talk(server_port=3128).client(request % b"").server(refusal + body).client(b"GET / HTTP/1.1\r\n\r\n")
    refused.play("S: HTTP/1.1 200 OK\nS: \nC: a LOGIN kim Zulu7Tango\nS: a OK in")
    assert run_frames(tmp_path, refused.close().frames()).sessions == []


@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
@pytest.mark.parametrize("sealed", [True, False])
def test_who_asks_a_proxy_for_a_usual_port_is_on_no_unusual_one(tmp_path: Path, kind: str, sealed: bool) -> None:
    for port, ports, odd in ((993 if sealed else 143, None, False), (1993, None, True), (1993, {1993: "imaps"}, False)):
        talk = tunnel(kind, port)
        if sealed:
            for sender, data in old_handshake(0x0303):
                assert isinstance(data, bytes)
                (talk.client if sender == 0 else talk.server)(data)
        else:
            talk.play("S: * OK mx\nC: a LOGIN kim Zulu7Tango\nS: a OK in")
        sessions = run_frames(tmp_path, talk.close().frames(), ports=ports).sessions
        assert len(sessions) == (0 if sealed and odd else 1)
        for session in (*sessions, *[SessionLoader({}).load(dump_session(one)[0]) for one in sessions]):
            assert session.port_service is None
            assert ("mail-on-unusual-port" in {one.slug for one in find([session])}) is odd


@pytest.mark.parametrize("kind", ["socks4", "socks5", "http"])
@pytest.mark.parametrize(
    ("port", "protocol"),
    [(993, "imap"), (995, "pop3"), (465, "smtp"), (443, None), (1993, None), (25, None), (143, None)],
)
def test_tls_in_a_tunnel_to_a_port_for_mail(tmp_path: Path, kind: str, port: int, protocol: str | None) -> None:
    talk = tunnel(kind, port)
    for sender, data in old_handshake(0x0303):
        assert isinstance(data, bytes)
        (talk.client if sender == 0 else talk.server)(data)
    frames = talk.close().frames()
    sessions = run_frames(tmp_path, frames).sessions
    if protocol is None:
        assert sessions == []
        sessions = run_frames(tmp_path, frames, ports={1993: "imaps"}).sessions
        assert [one.protocol for one in sessions] == (["imap"] if port == 1993 else [])
        return
    (session,) = sessions
    assert (session.protocol, session.port_service, session.transport) == (protocol, None, "implicit_tls")
    assert session.tls is not None
    assert (session.tls.mode, session.tls.handshake, session.tls.in_short()[0]) == ("implicit", "completed", "TLSv1.2")
    assert session.anomalies is None
    # What is no TLS on such a port, and no mail, is of no interest.
    stranger = tunnel(kind, port).play("C: GET / HTTP/1.1\nC: \nS: HTTP/1.1 200 OK").close()
    assert run_frames(tmp_path, stranger.frames()).sessions == []


@pytest.mark.parametrize(("port", "transport"), [(993, "implicit_tls"), (995, "implicit_tls"), (143, "starttls")])
def test_a_capture_that_begins_within_a_server_record_of_tls(tmp_path: Path, port: int, transport: str) -> None:
    rest = bytes(range(200, 256)) + bytes(range(40))
    finished = b"\x14\x03\x03\x00\x01\x01\x16\x03\x03\x00\x20" + bytes(range(32))
    talk = Talk(server_port=port, handshake=False).server(rest).client(finished)
    talk.server(finished).client(b"\x17\x03\x03\x00\x20" + bytes(range(100, 132)))
    (session,) = run_frames(tmp_path, talk.frames()).sessions
    assert session.transport == transport
    assert not any(anomaly.kind == "tls_on_plaintext_port" for anomaly in session.anomalies or ())


def test_a_user_name_that_was_not_captured_is_not_the_password(tmp_path: Path) -> None:
    talk = (
        Talk(server_port=4190)
        .play('S: "SASL" "LOGIN"\nS: OK\nC: AUTHENTICATE "LOGIN"\nS: "VXNlcm5hbWU6"')
        .client(b"{4+}\r\na2lt\r\n")
        .acknowledge(1)
    )
    lost = len(talk.frames()) - 2
    frames = talk.play('S: "UGFzc3dvcmQ6"').client(b"{16+}\r\nWnVsdTdUYW5nbw==\r\n").play("S: OK").close().frames()
    assert logins(run_frames(tmp_path, frames[:lost] + frames[lost + 1 :])) == [
        ("LOGIN", None, "Zulu7Tango", "accepted")
    ]


def test_a_capture_that_begins_within_an_appended_message(tmp_path: Path) -> None:
    lines = "S: + go on\nC: Subject: notes\nC: \nC: b LOGIN trap trap\nC: \nS: a7 OK done\nC: a8 LOGIN kim Zulu7Tango\nS: a8 OK in"
    assert logins(heard(tmp_path, 143, lines, missed=4)) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]
    assert logins(heard(tmp_path, 143, "C: a8 LOGIN kim Zulu7Tango\nS: a8 OK in", missed=3)) == [
        ("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")
    ]


UPGRADES = {
    110: "S: +OK mx\nC: STLS\nS: +OK go on",
    143: "S: * OK mx\nC: a STARTTLS\nS: a OK go on",
    587: "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go on",
    25: "S: 220 mx\nC: STARTTLS\nS: 220 go on",
    4190: 'S: "STARTTLS"\nS: OK\nC: STARTTLS\nS: OK',
}


def upgraded(folder: Path, port: int, lines: str, lost: range, *, missed: int = 0) -> Session:
    """The session of a dialogue that TLS follows, without the first ``missed`` frames and those whose index is ``lost``."""
    talk = Talk(server_port=port).play(lines) if lines else Talk(server_port=port)
    for sender, data in old_handshake(0x0303):
        assert isinstance(data, bytes)
        (talk.client if sender == 0 else talk.server)(data)
    frames = talk.close().frames()
    kept = [frame for index, frame in enumerate(frames) if index >= missed and index not in lost]
    (session,) = run_frames(folder, kept).sessions
    return session


@pytest.mark.parametrize("port", list(UPGRADES))
@pytest.mark.parametrize(
    ("begin", "end", "missed", "starttls"),
    [
        (0, 0, 0, "completed"),
        (0, None, 0, "unseen"),  # all that was said in clear is missing
        (0, None, 1, "unseen"),
        (0, None, 3, "unseen"),
        (0, -1, 3, None),  # the grant alone is left: to what, nobody knows
        (0, -1, 0, None),
        (1, None, 0, "completed"),  # a greeting, then TLS
    ],
)
def test_an_upgrade_that_is_missing_is_no_implicit_tls(
    tmp_path: Path, port: int, begin: int, end: int | None, missed: int, starttls: str | None
) -> None:
    lines = UPGRADES[port]
    count = lines.count("\n") + 1
    if begin and port in (25, 587):
        lines, count = "S: 220 mx\nC: EHLO pc\nS: 250 mx\nC: STARTTLS\nS: 220 go on", 5
    if begin and port == 4190:
        begin = 2
    lost = range(3 + begin, 3 + (count if end is None else end + (count if end else 0)))
    session = upgraded(tmp_path, port, lines, lost, missed=missed)
    assert (session.transport, session.tls is not None and session.tls.mode) == ("starttls", "starttls")
    assert session.starttls in ({starttls} if starttls else {"unseen", "completed"})
    assert session.protocol == {110: "pop3", 143: "imap", 4190: "managesieve"}.get(port, "smtp")
    assert [one.kind for one in session.anomalies or ()] == []


@pytest.mark.parametrize("port", list(UPGRADES))
def test_tls_from_the_first_octet_is_implicit(tmp_path: Path, port: int) -> None:
    session = upgraded(tmp_path, port, "", range(0))
    assert (session.transport, session.starttls) == ("implicit_tls", "not_applicable")
    assert [one.kind for one in session.anomalies or ()] == ["tls_on_plaintext_port"]


@pytest.mark.parametrize(
    ("port", "before", "auth", "prompt", "string", "no"),
    [
        (587, "S: 220 mx\nC: EHLO pc\nS: 250 mx", "AUTH LOGIN", "334 %s", "%s", "535 no"),
        (110, "S: +OK mx\nC: NOOP\nS: +OK", "AUTH LOGIN", "+ %s", "%s", "-ERR no"),
        (143, "S: * OK mx\nC: a NOOP\nS: a OK", "b AUTHENTICATE LOGIN", "+ %s", "%s", "b NO no"),
        (4190, 'S: "SASL" "LOGIN"\nS: OK\nC: NOOP\nS: OK', 'AUTHENTICATE "LOGIN"', '"%s"', '"%s"', "NO"),
    ],
)
@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 5, 10])
@pytest.mark.parametrize("which", [(1,), (3,), (1, 3)])
def test_a_prompt_cut_by_the_snap_length_is_a_prompt(
    tmp_path: Path,
    port: int,
    before: str,
    auth: str,
    prompt: str,
    string: str,
    no: str,
    kept: int,
    which: tuple[int, ...],
) -> None:
    lines = f"{before}\nC: {auth}\nS: {prompt % b64(b'Username:')}\nC: {string % b64(b'kim')}\nS: {prompt % b64(b'Password:')}\nC: {string % '*'}\nS: {no}"
    first = 4 + before.count("\n")
    cut = {first + index: kept for index in which}
    frames = Talk(server_port=port).play(lines).close().frames()
    records = [pcap_header(magic=NANO)]
    for index, (_, frame) in enumerate(frames):
        size = 54 + cut[index] if index in cut else len(frame)
        records.append(pcap_record(frame[:size], fraction=index, wire=len(frame)))
    path = tmp_path / "cut.pcap"
    path.write_bytes(b"".join(records))
    assert logins(run([path])) == [("LOGIN", "kim", None, "cancelled")]


@pytest.mark.parametrize(
    ("port", "lines", "protocol"),
    [
        (110, "S: : a line of a letter\nS: .\nC: USER kim\nS: +OK\nC: PASS Zulu7\nS: +OK", "pop3"),
        (110, "S: $ 100\nS: .\nC: DELE 1\nS: +OK", "pop3"),
        (25, "S: 502 what\nC: HELO pc\nS: 250 mx", "smtp"),
        (25, "S: 200 ok\nC: EHLO pc\nS: 250 mx", "smtp"),
        (110, "S: :irc.example 372 kim :hello\nC: PRIVMSG #x :hi\nS: :irc.example 1 kim :x", "unknown"),
    ],
)
def test_text_in_the_middle_of_a_connection_names_no_stranger(
    tmp_path: Path, port: int, lines: str, protocol: str
) -> None:
    assert [s.protocol for s in heard(tmp_path, port, lines, missed=3).sessions] == [protocol]


@pytest.mark.parametrize("port", [993, 995, 465])
def test_the_middle_of_tls_on_its_own_port_is_implicit(tmp_path: Path, port: int) -> None:
    frames = Talk(server_port=port)
    for sender, data in old_handshake(0x0303):
        assert isinstance(data, bytes)
        (frames.client if sender == 0 else frames.server)(data)
    whole = frames.close().frames()
    for begin in range(3, 6):
        for end in range(begin + 1, len(whole) - 3):
            (session,) = run_frames(tmp_path, whole[:begin] + whole[end:]).sessions
            assert session.transport in ("implicit_tls", "unknown"), (begin, end)
            assert not any(one.kind == "plaintext_on_tls_port" for one in session.anomalies or ())


@pytest.mark.parametrize("lost", [3, 4])
def test_clear_text_on_a_port_of_tls_behind_a_gap(tmp_path: Path, lost: int) -> None:
    frames = (
        Talk(server_port=993).play("S: * OK mx\nC: a NOOP\nS: a OK\nC: b LOGIN kim Zulu7\nS: b OK in").close().frames()
    )
    result = run_frames(tmp_path, frames[:lost] + frames[lost + 1 :])
    assert logins(result) == [("LOGIN-CMD", "kim", "Zulu7", "accepted")]
    assert [s.transport for s in result.sessions] == ["plaintext"]


def test_an_answer_that_welcomes_is_no_greeting(tmp_path: Path) -> None:
    lines = "S: +OK mx ready\nC: USER kim\nS: +OK welcome here\nC: PASS bad\nS: -ERR no\nC: QUIT\nS: +OK bye"
    for missed in (3, 4):
        assert logins(heard(tmp_path, 110, lines, missed=missed)) == [("USER/PASS", "kim", "bad", "rejected")]


@pytest.mark.parametrize(
    ("port", "greeting", "answer"),
    [(25, "220 mx ESMTP", "500 what"), (143, "* OK mx", "* BAD what"), (110, "+OK mx ready", "-ERR what")],
)
def test_a_client_of_implicit_tls_at_a_port_in_clear_from_its_greeting_on(
    tmp_path: Path, port: int, greeting: str, answer: str
) -> None:
    hello = old_handshake(0x0303)[0][1]
    assert isinstance(hello, bytes)
    frames = Talk(server_port=port).play(f"S: {greeting}").client(hello).play(f"S: {answer}").close().frames()
    for missed in (0, 2, 3, 4):
        (session,) = run_frames(tmp_path, frames[missed:]).sessions
        assert session.transport == "plaintext", missed


def test_an_upgrade_of_imap_whose_neighbour_is_missing(tmp_path: Path) -> None:
    lines = "S: * OK mx\nC: a CAPABILITY\nS: * CAPABILITY IMAP4rev1 STARTTLS\nS: a OK\nC: b STARTTLS\nS: b OK go on"
    assert upgraded(tmp_path, 143, lines, range(4, 5)).starttls == "completed"


def snapped(folder: Path, port: int, lines: str | Talk, payload: int) -> Session:
    """The session of a dialogue of which the capture holds so many octets of each segment's payload."""
    talk = Talk(server_port=port).play(lines).close() if isinstance(lines, str) else lines
    records = [pcap_header(magic=NANO)]
    for index, (_, frame) in enumerate(talk.frames()):
        records.append(pcap_record(frame[: 54 + payload], fraction=index, wire=len(frame)))
    path = folder / f"snapped{payload}.pcap"
    path.write_bytes(b"".join(records))
    (session,) = run([path]).sessions
    return session


@pytest.mark.parametrize(
    ("port", "lines", "protocol"),
    [
        (110, "S: +OK mx ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK welcome", "pop3"),
        (143, "S: * OK mx ready\nC: a1 LOGIN kim Zulu7Tango\nS: a1 OK done", "imap"),
        (587, SMTP + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: a2lt\nS: 334 UGFzc3dvcmQ6", "smtp"),
        (4190, 'S: "SASL" "PLAIN"\nS: OK "done"\nC: LOGOUT\nS: OK "bye"', "managesieve"),
        (24, "S: 220 mx LMTP\nC: LHLO pc\nS: 250 mx ready", "lmtp"),
    ],
)
def test_what_a_snap_length_leaves_nothing_of_is_known_by_its_port(
    tmp_path: Path, port: int, lines: str, protocol: str
) -> None:
    for payload in range(12):
        session = snapped(tmp_path, port, lines, payload)
        assert (session.protocol, session.completeness) == (protocol, "truncated"), payload
        if payload < 3:
            assert (session.transport, session.starttls) == ("unknown", "unseen"), payload


def test_what_a_snap_length_leaves_enough_of_is_known_by_what_it_says(tmp_path: Path) -> None:
    assert snapped(tmp_path, 110, "S: +OK mx ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK", 9).transport == (
        "plaintext"
    )
    stranger = snapped(tmp_path, 110, "S: SSH-2.0-OpenSSH_9.2\nC: SSH-2.0-OpenSSH_9.2", 8)
    assert (stranger.protocol, stranger.not_mail) == ("unknown", "ssh")
    # Nothing is cut here, and nothing of it is mail: the port says nothing.
    assert heard(tmp_path, 110, "S: x\nC: y").sessions[0].protocol == "unknown"


@pytest.mark.parametrize(
    ("port", "lines"),
    [
        (143, "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] mx\nC: a STARTTLS\nS: a OK go on"),
        (4190, 'S: "SASL" ""\nS: "STARTTLS"\nS: OK\nC: STARTTLS\nS: OK "go on"'),
        (110, "S: +OK mx\nC: STLS\nS: +OK Begin TLS"),
        (587, SMTP + "C: STARTTLS\nS: 220 go on"),
    ],
)
def test_an_upgrade_of_which_the_server_alone_is_seen(tmp_path: Path, port: int, lines: str) -> None:
    talk = Talk(server_port=port).play(lines)
    for sender, data in old_handshake(0x0303):
        assert isinstance(data, bytes)
        (talk.client if sender == 0 else talk.server)(data)
    whole = talk.close().frames()
    source = slice(34, 36)
    seen = [frame for frame in whole if frame[1][source] == port.to_bytes(2, "big")]
    (session,) = run_frames(tmp_path, seen).sessions
    assert (session.transport, session.starttls, session.completeness) == ("starttls", "completed", "one_sided")
    assert session.tls is not None
    assert session.tls.in_short()[0] == "TLSv1.2"
    # The same without TLS: a server that only talks on is not taken for an upgraded one.
    clear = [
        frame
        for frame in Talk(server_port=port).play(lines).close().frames()
        if frame[1][source] == port.to_bytes(2, "big")
    ]
    (session,) = run_frames(tmp_path, clear).sessions
    assert session.transport == "plaintext"


@pytest.mark.parametrize("port", [993, 995, 465])
@pytest.mark.parametrize("version", [0x0301, 0x0302, 0x0303])
def test_tls_of_which_the_opening_of_the_connection_is_missing(tmp_path: Path, port: int, version: int) -> None:
    talk = Talk(server_port=port)
    for sender, data in old_handshake(version):
        assert isinstance(data, bytes)
        if data[:1] == b"\x16" and sender == 0 and data[5:6] == b"\x01":
            data = data[:1] + b"\x03\x01" + data[3:]  # what clients write on their first record
        (talk.client if sender == 0 else talk.server)(data)
    whole = talk.close().frames()
    for missed in range(4):
        (session,) = run_frames(tmp_path, whole[missed:]).sessions
        assert session.tls is not None
        assert (session.transport, session.tls.handshake) == ("implicit_tls", "completed"), missed
        name = {0x0301: "TLSv1.0", 0x0302: "TLSv1.1", 0x0303: "TLSv1.2"}[version]
        assert session.tls.in_short()[:2] == (name, "TLS_RSA_WITH_AES_128_CBC_SHA"), missed


@pytest.mark.parametrize(
    ("port", "lines", "login"),
    [
        (993, "C: a LOGIN kim Zulu7Tango", ("LOGIN-CMD", "kim", "Zulu7Tango", "unknown")),
        (995, "C: USER kim\\r\\nPASS Zulu7Tango", ("USER/PASS", "kim", "Zulu7Tango", "unknown")),
        (465, f"C: EHLO pc\\r\\nAUTH PLAIN {b64(b'|kim|Zulu7Tango'.replace(b'|', bytes(1)))}", ("PLAIN", "kim", "Zulu7Tango", "unknown")),
    ],
)  # fmt: skip
def test_clear_text_that_a_server_of_tls_answers_with_an_alert(
    tmp_path: Path, port: int, lines: str, login: tuple[str, str, str, str]
) -> None:
    for before in (True, False):
        talk = Talk(server_port=port)
        if before:
            talk.play(lines)
            talk.server(b"\x15\x03\x03\0\x02\x02\x46")
        else:
            # The alert crosses what the client says behind its first line.
            first, _, rest = lines[3:].encode("latin-1").decode("unicode_escape").encode("latin-1").partition(b"\r\n")
            talk.client(first + b"\r\n").server(b"\x15\x03\x03\0\x02\x02\x46").client(rest + b"\r\n" if rest else b"")
        result = run_frames(tmp_path, talk.close().frames())
        assert logins(result) == [login]
        (session,) = result.sessions
        assert (session.transport, session.tls) == ("plaintext", None)
        assert [one.kind for one in session.anomalies or ()] == ["plaintext_on_tls_port"]


def test_an_alert_to_who_speaks_no_mail_in_clear(tmp_path: Path) -> None:
    hello = old_handshake(0x0303)[0][1]
    assert isinstance(hello, bytes)
    (session,) = run_frames(
        tmp_path, Talk(server_port=993).client(hello).server(b"\x15\x03\x03\0\x02\x02\x46").close().frames()
    ).sessions
    assert session.transport == "implicit_tls"
    assert session.tls is not None
    assert session.tls.handshake == "failed"
    talk = Talk(server_port=993).client(b"GET / HTTP/1.1\r\nHost: mx\r\n\r\n").server(b"\x15\x03\x03\0\x02\x02\x46")
    (session,) = run_frames(tmp_path, talk.close().frames()).sessions
    assert session.not_mail == "http"


def test_tls_sent_to_a_server_that_refused_what_it_did_not_understand(tmp_path: Path) -> None:
    hello = old_handshake(0x0303)[0][1]
    assert isinstance(hello, bytes)
    talk = Talk(server_port=143).play("S: * OK mx\nC: STARTTLS\nS: STARTTLS BAD what").client(hello)
    (session,) = run_frames(tmp_path, talk.play("S: * BAD what").close().frames()).sessions
    assert (session.transport, session.starttls, session.tls) == ("plaintext", "unseen", None)


def test_an_authentication_that_is_cancelled_where_the_capture_begins_with_it(tmp_path: Path) -> None:
    lines = "S: * OK mx\nC: a AUTHENTICATE LOGIN\nS: + VXNlcm5hbWU6\nC: a2lt\nS: + UGFzc3dvcmQ6\nC: *\nS: a {} so\nC: b NOOP\nS: b OK"
    for missed in (0, 3, 4):
        assert logins(heard(tmp_path, 143, lines.format("BAD"), missed=missed)) == [("LOGIN", "kim", None, "cancelled")]
    # Text of a letter that looks like it, and is not answered, is no login.
    letter = "S: + go on\nC: a AUTHENTICATE LOGIN\nC: a2lt\nC: *\nC: \nS: a7 OK done"
    assert logins(heard(tmp_path, 143, letter, missed=4)) == []


def test_tls_behind_text_that_crossed_its_grant(tmp_path: Path) -> None:
    lines = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go on\nC: RSET"
    session = upgraded(tmp_path, 25, lines, range(0))
    assert (session.transport, session.starttls) == ("starttls", "completed")
    assert session.tls is not None
    assert session.tls.in_short()[0] == "TLSv1.2"
    # Text alone goes on in clear, logins and all.
    talk = f"{lines}\nS: 250 ok\nC: AUTH PLAIN {b64(bytes(1) + b'kim' + bytes(1) + b'Zulu7')}\nS: 235 ok"
    result = heard(tmp_path, 25, talk)
    assert logins(result) == [("PLAIN", "kim", "Zulu7", "accepted")]
    assert [(one.transport, one.starttls) for one in result.sessions] == [("plaintext", "accepted")]


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ("S: * OK ready\nC: a1 LOGIN kim Zulu7Tango\nS: a1 OK [CAPABILITY IMAP4rev1 IDLE] in", "unseen"),
        ("S: * OK ready\nC: a1 AUTHENTICATE PLAIN AGtpbQBadWx1N1RhbmdvLU1pa2U=\nS: a1 OK [CAPABILITY IMAP4rev1] in", "unseen"),
        # Asked before, or told by a server that did not let the client in: that is its offer.
        ("S: * OK ready\nC: a0 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: a0 OK\nC: a1 LOGIN kim Zulu7Tango\nS: a1 OK in", "not_offered"),
        ("S: * OK ready\nC: a1 LOGIN kim Zulu7Tango\nS: a1 NO [CAPABILITY IMAP4rev1] no", "not_offered"),
    ],
)  # fmt: skip
def test_what_a_server_lists_in_its_answer_to_a_login_is_not_its_offer(lines: str, state: str, tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(capture(Talk(server_port=143).play(lines).close().frames()))
    (session,) = run([path]).sessions
    assert session.starttls == state


def test_a_message_in_the_place_of_another_one_is_counted(tmp_path: Path) -> None:
    lines = "S: * OK mx\nC: a LOGIN kim Zulu7Tango\nS: a OK in\nC: b SELECT Drafts\nS: * 4 EXISTS\nS: b OK\n{}\nC: d LOGOUT\nS: * BYE\nS: d OK"
    letter = "Subject: lunch\\r\\n\\r\\nd LOGIN trap trap"
    replace = f"C: c {{}} Drafts (\\\\Draft) {{{{33+}}}}\\r\\n{letter}\nS: * 4 EXPUNGE\nS: c OK"
    for command in ("REPLACE 4", "UID REPLACE 17", "APPEND"):
        result = heard(tmp_path, 143, lines.format(replace.format(command)))
        (session,) = result.sessions
        (message,) = session.message_list or ()
        assert (message.direction, message.mailbox, message.size, message.complete) == ("appended", "Drafts", 33, True)
        assert message.accepted
        assert [one[1] for one in logins(result)] == ["kim"]
    # A literal of a command that carries no message.
    (session,) = heard(tmp_path, 143, lines.format(replace.format("SEARCH"))).sessions
    assert session.message_list is None


LETTER = "Subject: lunch\\r\\nFrom: lee@example.org\\r\\n\\r\\nAUTH PLAIN AHRyYXAAdHJhcA==\\r\\n.."


def carried(result: Result) -> list[tuple[str, int, bool, bool | None]]:
    """Direction, size, completeness and fate of the messages of a run; none of their text is a login."""
    assert logins(result) == []
    (session,) = result.sessions
    assert session.messages == len(session.message_list or ())
    return [(one.direction, one.size, one.complete, one.accepted) for one in session.message_list or ()]


@pytest.mark.parametrize(("port", "direction"), [(25, "relayed"), (587, "submitted"), (24, "delivered")])
def test_a_message_whose_go_ahead_begins_the_capture(port: int, direction: str, tmp_path: Path) -> None:
    lines = f"S: 354 go on\nC: {LETTER}\\r\\n.\nS: 250 ok\nC: QUIT\nS: 221 bye"
    whole = [(direction, 73, True, True)]
    assert carried(heard(tmp_path, port, lines, missed=3)) == whole
    assert carried(heard(tmp_path, port, f"S: 250 ok\n{lines}", missed=3)) == whole
    assert carried(heard(tmp_path, port, lines.replace("250 ok", "554 no"), missed=3)) == [(direction, 73, True, False)]
    # In the smallest pieces; and with the end missing.
    talk = Talk(server_port=port).server(b"354 go on\r\n")
    for octet in LETTER.encode().decode("unicode_escape").encode() + b"\r\n.\r\n":
        talk.client(bytes([octet]))
    assert carried(run_frames(tmp_path, talk.server(b"250 ok\r\n").close().frames()[3:])) == whole
    (session,) = heard(tmp_path, port, f"S: 354 go on\nC: {LETTER}", missed=3).sessions
    assert [(one.size, one.ended) for one in session.message_list or ()] == [(73, False)]


@pytest.mark.parametrize(
    "lines",
    [
        "S: 250 ok\nC: {}\\r\\n.\nS: 250 ok",  # no go-ahead
        "S: 354 go on\nS: 250 ok\nC: {}\\r\\n.\nS: 250 ok",  # of another message
        "S: 354 go on\nC: RSET\nS: 250 ok\nC: QUIT\nS: 221 bye",
        "S: 354 go on\nC: no message\\r\\n.\nS: 250 ok",
        "S: 354 go on\nS: 250 ok\nS: 221 bye",  # the server alone
    ],
)
def test_what_no_go_ahead_or_no_header_begins_is_no_message(lines: str, tmp_path: Path) -> None:
    assert carried(heard(tmp_path, 25, lines.format(LETTER), missed=3)) == []


def test_a_retrieved_message_whose_reply_begins_the_capture(tmp_path: Path) -> None:
    lines = f"S: {{}}\\r\\n{LETTER}\\r\\n.\nC: DELE 1\nS: +OK\nC: QUIT\nS: +OK bye"
    for reply in ("+OK 73 octets", "+OK 73 octets ready", "+OK", "+OK message follows"):
        assert carried(heard(tmp_path, 110, lines.format(reply), missed=3)) == [("retrieved", 73, True, None)]
    # The top of one; a list of what the server can do.
    assert carried(heard(tmp_path, 110, lines.format("+OK 730 octets"), missed=3)) == []
    listing = "S: +OK\\r\\nTOP\\r\\nUSER\\r\\n.\nC: QUIT\nS: +OK bye"
    assert carried(heard(tmp_path, 110, listing, missed=3)) == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("suites", ["ECDHE+AESGCM", "AES128-GCM-SHA256"])
def test_the_version_of_tls_in_what_a_snap_length_leaves(version: ssl.TLSVersion, suites: str, tmp_path: Path) -> None:
    pieces = good_tls(version, suites)
    name = version.name.replace("_", ".")
    for payload in (14, 30, 42, 80, 120, 2000):
        session = snapped(tmp_path, 993, tls(pieces, 993), payload)
        assert session.tls is not None
        told, suite, _, _ = session.tls.in_short()
        assert told == name
        # The suite where its octets are there, and no other.
        assert suite is None if payload <= 42 else suite is None or suite.startswith("TLS_")
        if payload == 2000:
            assert suite is not None
    # The server's answer alone, cut before its extensions, may be of either.
    talk = Talk(server_port=993)
    for sender, data in pieces[:2]:
        assert isinstance(data, bytes)
        (talk.client if sender == 0 else talk.server)(data)
    session = snapped(tmp_path, 993, talk.close(), 42)
    assert session.tls is not None
    assert session.tls.in_short()[0] is None


@pytest.mark.parametrize("port", [110, 143, 587])
def test_an_upgrade_of_which_the_client_alone_was_captured_in_short(port: int, tmp_path: Path) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, None)):
        talk = Talk(server_port=port).play(UPGRADES[port])
        for sender, data in good_tls(version):
            assert isinstance(data, bytes)
            (talk.client if sender == 0 else talk.server)(data)
        client = talk.ends[0][1].to_bytes(2, "big")
        talk.sent = [frame for frame in talk.close().sent if frame[1][34:36] == client]
        for payload in (42, 120, 3000):
            session = snapped(tmp_path, port, talk, payload)
            assert session.transport == "starttls"
            assert session.tls is not None
            told, _, sni, _ = session.tls.in_short()
            # No hello is read across what is missing.
            assert sni == ("mail.example.test" if payload == 3000 else None)
            assert told in (name, None)
            assert told == name or payload < 3000
            assert session.anomalies is None


@pytest.mark.parametrize("whose", [(0,), (1,), (0, 1)])
def test_captures_made_by_hand_whose_syn_takes_no_number(tmp_path: Path, whose: tuple[int, ...]) -> None:
    made = Talk(server_port=110, handshake=False)
    made.seq = [1000, 5000]
    for side, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
        made._segment(side, flags, b"", with_ack=flags != SYN)
        if side in whose and flags != ACK:
            made.seq[side] -= 1
    made.play("S: +OK mx ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in").close()
    result = run_frames(tmp_path, made.frames())
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]
    assert (result.sessions[0].gap_bytes, result.sessions[0].conflict_bytes) == (0, 0)


@pytest.mark.parametrize("early", [1, 2, 7])
@pytest.mark.parametrize("whose", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("twice", [False, True])
def test_what_stands_before_the_first_octet_is_read_by_nobody(
    tmp_path: Path, whose: tuple[int, ...], early: int, twice: bool
) -> None:
    """The octet at the SYN's own number, and those before it, are dropped by whoever gets them (RFC 9293 section 3.10.7.4)."""
    made = Talk(server_port=110)
    for side, line in enumerate((b"USER kim\r\n", b"+OK mx ready\r\n")):
        octets = b"XPASSXX"[:early] + line if side in whose else line
        for _ in range(1 + twice):
            made.seq[side] = (1001, 5001)[side] - (len(octets) - len(line))
            made._segment(side, 24, octets)
    made.play("S: +OK\nC: PASS Zulu7Tango\nS: +OK in").close()
    result = run_frames(tmp_path, made.frames())
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]
    assert result.sessions[0].server_banner == "mx ready"
    assert (result.sessions[0].gap_bytes, result.sessions[0].conflict_bytes) == (0, 0)


def test_a_keep_alive_before_the_first_octet_is_none(tmp_path: Path) -> None:
    made = Talk(server_port=110)
    made.seq[0] -= 1
    made.client(b"\0").play("S: +OK mx ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in").close()
    assert logins(run_frames(tmp_path, made.frames())) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


NO_NAME = b64(b"\0\0Zulu7Tango")
NO_NAMES: list[tuple[int, str, str, str]] = [
    (587, SMTP + "C: AUTH PLAIN {}\nS: {}", "535 no", "235 in"),
    (587, SMTP + "C: AUTH PLAIN\nS: 334 \nC: {}\nS: {}", "535 no", "235 in"),
    (110, "S: +OK mx\nC: AUTH PLAIN\nS: + \nC: {}\nS: {}", "-ERR no", "+OK in"),
    (143, "S: * OK mx\nC: a AUTHENTICATE PLAIN {}\nS: {}", "a NO no", "a OK in"),
    (4190, 'S: "SASL" "PLAIN"\nS: OK\nC: AUTHENTICATE "PLAIN" "{}"\nS: {}', "NO", "OK"),
]


@pytest.mark.parametrize(("port", "lines", "no", "yes"), NO_NAMES)
def test_a_password_without_a_user_name_was_readable(tmp_path: Path, port: int, lines: str, no: str, yes: str) -> None:
    for answer, outcome in ((no, "rejected"), (yes, "accepted")):
        result = heard(tmp_path, port, lines.format(NO_NAME, answer))
        assert logins(result) == [("PLAIN", "", "Zulu7Tango", outcome)]
        assert result.sessions[0].exposure == "credentials"
    # No password either: nothing was sent that could be told.
    assert logins(heard(tmp_path, port, lines.format(b64(bytes(2)), no))) == []


@pytest.mark.parametrize(
    ("port", "before", "prompt", "string", "no"),
    [
        (587, SMTP + "C: AUTH LOGIN", "334 %s", "%s", "535 no"),
        (110, "S: +OK mx\nC: AUTH LOGIN", "+ %s", "%s", "-ERR no"),
        (143, "S: * OK mx\nC: a AUTHENTICATE LOGIN", "+ %s", "%s", "a NO no"),
        (4190, 'S: "SASL" "LOGIN"\nS: OK\nC: AUTHENTICATE "LOGIN"', '"%s"', '"%s"', "NO"),
    ],
)
def test_an_empty_answer_to_who_it_is(
    tmp_path: Path, port: int, before: str, prompt: str, string: str, no: str
) -> None:
    user, word = prompt % b64(b"Username:"), prompt % b64(b"Password:")
    secret = string % b64(b"Zulu7Tango")
    lines = f"{before}\nS: {user}\nC: {string % ''}\nS: {{}}\nC: {{}}\nS: {no}"
    assert logins(heard(tmp_path, port, lines.format(word, secret))) == [("LOGIN", "", "Zulu7Tango", "rejected")]
    # Asked again for the name, it is a name; without a password there is nothing to tell.
    asked = f"{user}\nC: {string % b64(b'kim')}\nS: {word}"
    assert logins(heard(tmp_path, port, lines.format(asked, secret))) == [("LOGIN", "kim", "Zulu7Tango", "rejected")]
    assert logins(heard(tmp_path, port, lines.format(word, string % "*"))) == []


def test_an_empty_initial_response_and_a_prompt_for_the_password(tmp_path: Path) -> None:
    lines = SMTP + "C: AUTH LOGIN =\nS: 334 {}\nC: {}\nS: 535 no"
    result = heard(tmp_path, 587, lines.format(b64(b"Password:"), b64(b"Zulu7Tango")))
    assert logins(result) == [("LOGIN", "", "Zulu7Tango", "rejected")]
    result = heard(tmp_path, 587, lines.format(b64(b"Username:"), b64(b"kim")))
    assert logins(result) == [("LOGIN", "kim", None, "rejected")]


def test_who_has_no_name_is_an_account_all_the_same(tmp_path: Path) -> None:
    made = Talk(server_port=587).play(SMTP + f"C: AUTH PLAIN {NO_NAME}\nS: 235 in").close()
    found = {(one.rule.slug, one.username) for one in findings(tmp_path, made)}
    assert found == {("plaintext-password", ""), ("starttls-not-offered", ""), ("plaintext-auth-offered", None)}
    sessions = run_frames(tmp_path, made.frames()).sessions
    (row,) = migrate(sessions, postures(sessions, None)).rows
    assert (row.account(), row.authentication()) == ("(empty)", "normal password")


LITERALS = "S: * OK [CAPABILITY IMAP4rev1 LITERAL+] mx\n"


@pytest.mark.parametrize("early", [0, 5])
def test_a_literal_that_does_not_wait_comes_though_it_was_refused(tmp_path: Path, early: int) -> None:
    letter = b"b LOGIN trap trap\r\nSubject: x\r\n"
    made = Talk(server_port=143).play(LITERALS + "C: z LOGIN kim Zulu7Tango\nS: z OK in")
    made.client(b"a APPEND Gone {%d+}\r\n" % len(letter) + letter[:early]).play("S: a NO [TRYCREATE] no")
    result = run_frames(
        tmp_path,
        made.client(letter[early:] + b"\r\n").play("C: c LOGOUT\nS: * BYE\nS: c OK").close().frames(),
    )
    assert logins(result) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]
    (session,) = result.sessions
    assert [(one.size, one.complete, one.accepted) for one in session.message_list or ()] == [(31, True, False)]
    assert session.anomalies is None


@pytest.mark.parametrize(
    ("first", "rest", "password"),
    [
        ("a LOGIN {3+}", "kim {10+}\\r\\nZulu7Tango", "Zulu7Tango"),
        ("a LOGIN kim {10+}", "Zulu7Tango", "Zulu7Tango"),
        ("a LOGIN {3+}", "kim {10}", None),  # no go-ahead comes, and no password
        ("a LOGIN kim {10}", "", None),
    ],
)
def test_a_password_behind_a_refusal_that_crossed_it(
    tmp_path: Path, first: str, rest: str, password: str | None
) -> None:
    behind = f"C: {rest}\n" if rest else ""
    lines = f"{LITERALS}C: {first}\nS: a BAD no\n{behind}C: b LOGIN lee Echo5Golf\nS: b OK in\nC: c LOGOUT\nS: c OK"
    result = heard(tmp_path, 143, lines)
    assert logins(result) == [
        ("LOGIN-CMD", "kim", password, "rejected"),
        ("LOGIN-CMD", "lee", "Echo5Golf", "accepted"),
    ]
    assert result.sessions[0].anomalies is None


HANDED_IN = "S: +OK mx\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: XTND XMIT\nS: {}\n"
TRAP = "Subject: x\\r\\n\\r\\nUSER trap\\r\\nPASS trap\\r\\n"


def test_a_message_handed_in_by_pop3_is_none_of_its_commands(tmp_path: Path) -> None:
    kim = ("USER/PASS", "kim", "Zulu7Tango")
    letter = f"C: {TRAP}.\nS: +OK taken\nC: RETR 1\nS: +OK\nS: {TRAP}.\nC: QUIT\nS: +OK bye"
    made = Talk(server_port=110).play(HANDED_IN.format("+OK sendit") + letter).close()
    whole = made.frames()
    for frames in (whole, [frame for frame in whole if b"sendit" not in frame[1]]):
        result = run_frames(tmp_path, frames)
        assert logins(result) == [(*kim, "accepted")]
        (session,) = result.sessions
        assert session.anomalies is None
        assert [(one.direction, one.size, one.complete) for one in session.message_list or ()] == [
            ("submitted", 36, True),
            ("retrieved", 36, True),
        ]
    alone = [frame for frame in whole if frame[1][34:36] != b"\0\x6e"]
    assert logins(run_frames(tmp_path, alone)) == [(*kim, "unknown")]
    # Refused: what follows is commands, whether they waited or not.
    result = heard(tmp_path, 110, HANDED_IN.format("-ERR no") + "C: USER lee\nS: +OK\nC: PASS Echo5Golf\nS: -ERR no")
    assert logins(result) == [(*kim, "accepted"), ("USER/PASS", "lee", "Echo5Golf", "rejected")]
    early = "S: +OK mx\nC: XTND XMIT\nC: USER kim\nC: PASS Zulu7Tango\nS: -ERR no\nS: +OK\nS: +OK in"
    assert logins(heard(tmp_path, 110, early)) == [(*kim, "accepted")]


def test_extensions_of_pop3_that_list(tmp_path: Path) -> None:
    lines = HANDED_IN.partition("C: XTND")[0]
    listing = "C: XTND XLST Subject\nC: USER lee\nS: +OK\nS: 1 Subject: x\nS: .\nS: -ERR no\nC: QUIT\nS: +OK"
    other = "C: XTND SCAN\nC: USER lee\nS: +OK\nS: -ERR no\nC: QUIT\nS: +OK"
    for more in (listing, other):
        result = heard(tmp_path, 110, lines + more)
        assert [(one[1], one[3]) for one in logins(result)] == [("kim", "accepted"), ("lee", "rejected")]
        assert result.sessions[0].anomalies is None


@pytest.mark.parametrize(("answers", "accepted"), [("S: 250 taken", True), ("S: 550 no", False)])
@pytest.mark.parametrize("hello", ["C: EHLO pc\nS: 250-mx\nS: 250 SIZE", "C: HELO pc\nS: 250 mx"])
def test_smtp_on_the_port_of_lmtp_has_one_answer_for_all(
    tmp_path: Path, hello: str, answers: str, accepted: bool
) -> None:
    letter = (
        "C: MAIL FROM:<a@b.example>\nS: 250 ok\nC: RCPT TO:<c@d.example>\nS: 250 ok\nC: RCPT TO:<e@d.example>\nS: 250 ok\n"
        "C: DATA\nS: 354 go on\nC: Subject: x\nC: \nC: .\n"
    )
    rest = f"{letter}{answers}\nC: NOOP\nS: 250 fine\nC: QUIT\nS: 221 bye"
    for before in ("", "C: LHLO pc\nS: 500 what\n"):
        (session,) = heard(tmp_path, 24, f"S: 220 mx\n{before}{hello}\n{rest}").sessions
        (message,) = session.message_list or ()
        assert (session.protocol, message.direction, message.accepted) == ("smtp", "relayed", accepted)
    # A server of LMTP has turned EHLO away.
    each = "S: 550 no\nS: 250 taken"
    lines = f"S: 220 mx\n{hello[:10]}\nS: 500 LHLO\nC: LHLO pc\nS: 250 mx\n{letter}{each}\nC: NOOP\nS: 550 no"
    (session,) = heard(tmp_path, 24, lines).sessions
    (message,) = session.message_list or ()
    assert (session.protocol, message.direction, message.accepted) == ("lmtp", "delivered", True)


BEARER = b64(b"user=kim\x01auth=Bearer tok-77\x01\x01")
GIVEN_UP = [
    (587, SMTP, "AUTH XOAUTH2 %s", "334 %s", "QUIT", "221 bye", "501 what", "%s", "235 in"),
    (587, SMTP, "AUTH XOAUTH2 %s", "334 %s", "RSET", "250 ok", "501 what", "%s", "250 in"),
    (110, "S: +OK mx\n", "AUTH XOAUTH2 %s", "+ %s", "QUIT", "+OK bye", "-ERR what", "%s", "+OK in"),
    (4190, 'S: "SASL" "PLAIN"\nS: OK\n', 'AUTHENTICATE "XOAUTH2" "%s"', '"%s"', "LOGOUT", "OK", "NO", '"%s"', "OK"),
]


@pytest.mark.parametrize(("port", "before", "auth", "prompt", "leave", "bye", "no", "string", "yes"), GIVEN_UP)
def test_a_yes_to_who_gives_up_lets_nobody_in(
    tmp_path: Path, port: int, before: str, auth: str, prompt: str, leave: str, bye: str, no: str, string: str, yes: str
) -> None:
    said = ("XOAUTH2", "kim", "tok-77")
    lines = f"{before}C: {auth % BEARER}\nS: {prompt % REFUSED}\nC: {{}}\nS: {{}}"
    left = heard(tmp_path, port, lines.format(leave, bye))
    assert (logins(left), left.sessions[0].auth_accepted) == ([(*said, "unknown")], 0)
    assert logins(heard(tmp_path, port, lines.format(leave, no))) == [(*said, "rejected")]
    assert logins(heard(tmp_path, port, lines.format(string % "", yes))) == [(*said, "accepted")]
    # Half way through a login of two answers: a name, and nobody in.
    begin = auth.partition("XOAUTH2")[0] + ('LOGIN"' if port == 4190 else "LOGIN")
    lines = f"{before}C: {begin}\nS: {prompt % b64(b'Username:')}\nC: {string % b64(b'kim')}\nS: {prompt % b64(b'Password:')}\nC: {{}}\nS: {{}}"
    left = heard(tmp_path, port, lines.format(leave, bye))
    assert (logins(left), left.sessions[0].auth_accepted) == ([("LOGIN", "kim", None, "unknown")], 0)
    whole = heard(tmp_path, port, lines.format(string % b64(b"Zulu7Tango"), yes))
    assert logins(whole) == [("LOGIN", "kim", "Zulu7Tango", "accepted")]


@pytest.mark.parametrize("recipient", ["S: 550 no", "S: 250 ok"])
def test_a_dot_for_nobody_is_no_message(tmp_path: Path, recipient: str) -> None:
    # RFC 2920 section 3.1: a client that is told to go on though no recipient was taken sends the dot alone.
    lines = (
        "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 PIPELINING\nC: MAIL FROM:<a@b.example>\nC: RCPT TO:<c@d.example>\nC: DATA\n"
        f"S: 250 ok\n{recipient}\nS: 354 go on\nC: .\nS: 554 no\nC: QUIT\nS: 221 bye"
    )
    made = Talk(server_port=25).play(lines).close()
    (session,) = run_frames(tmp_path, made.frames()).sessions
    nobody = recipient == "S: 550 no"
    assert (session.messages, session.anomalies) == (0 if nobody else 1, None)
    assert ("plaintext-message" in {one.slug for one in findings(tmp_path, made)}) is not nobody


REFUSED_AT_ONCE = [
    (587, SMTP, "AUTH {}", "538 TLS first", "{}", "500 what", "rejected"),
    (110, "S: +OK mx\n", "AUTH {}", "-ERR no", "{}", "-ERR what", "rejected"),
    (143, "S: * OK mx\n", "a AUTHENTICATE {}", "a NO no", "{}", "* BAD what", "unknown"),
    (4190, 'S: "SASL" "PLAIN"\nS: OK\n', 'AUTHENTICATE "{}"', "NO", '"{}"', "NO", "rejected"),
]


@pytest.mark.parametrize(("port", "before", "auth", "no", "string", "what", "outcome"), REFUSED_AT_ONCE)
def test_a_password_that_is_sent_though_the_login_was_refused(
    tmp_path: Path, port: int, before: str, auth: str, no: str, string: str, what: str, outcome: str
) -> None:
    secret = b64(b"\0kim\0Zulu7Tango")
    kim = ("PLAIN", "kim", "Zulu7Tango", outcome)
    ask, say = f"C: {auth.format('PLAIN')}", string.format(secret)
    # Whether it waited for the refusal or not; and what comes behind it is read as ever.
    assert logins(heard(tmp_path, port, f"{before}{ask}\nS: {no}\nC: {say}\nS: {what}")) == [kim]
    assert logins(heard(tmp_path, port, f"{before}{ask}\nC: {say}\nS: {no}\nS: {what}")) == [kim]
    again = f"{ask}\nS: {no}\nC: {say}\nS: {what}\n"
    assert logins(heard(tmp_path, port, before + again + again)) == [kim, kim]
    # Nobody asked for a login; or the words have no form of their own.
    assert logins(heard(tmp_path, port, f"{before}C: {say}\nS: {what}")) == []
    word = string.format(b64(b"Zulu7Tango"))
    ask = f"C: {auth.format('LOGIN')}"
    assert logins(heard(tmp_path, port, f"{before}{ask}\nS: {no}\nC: {word}\nS: {what}")) == []


SAID_BADLY = [
    (587, SMTP + "C: AUTH LOGIN", "334 %s", "%s", "535 no", "235 in"),
    (110, "S: +OK mx\nC: AUTH LOGIN", "+ %s", "%s", "-ERR no", "+OK in"),
    (143, "S: * OK mx\nC: a AUTHENTICATE LOGIN", "+ %s", "%s", "a NO no", "a OK in"),
    (4190, 'S: "SASL" "LOGIN"\nS: OK\nC: AUTHENTICATE "LOGIN"', '"%s"', '"%s"', "NO", "OK"),
]


@pytest.mark.parametrize(("port", "before", "prompt", "string", "no", "yes"), SAID_BADLY)
def test_a_password_behind_a_name_that_cannot_be_read_is_no_name(
    tmp_path: Path, port: int, before: str, prompt: str, string: str, no: str, yes: str
) -> None:
    word = "C: " + string % b64(b"Zulu7Tango")
    asked = f"S: {prompt % b64(b'Username:')}\n"
    lines = f"{before}\n{asked}C: {string % '!!kim'}\nS: {{}}\n{word}\nS: {{}}"
    for prompted in (b"Password:", b"Kennwort:"):
        for missed in (False, True):
            made = Talk(server_port=port).play(lines.format(prompt % b64(prompted), no)).close().frames()
            lost = 3 + before.count("\n") + 1
            result = run_frames(tmp_path, made[:lost] + made[lost + 1 :] if missed else made)
            found = logins(result)
            assert found == ([("LOGIN", None, "Zulu7Tango", "rejected")] if prompted == b"Password:" else [])
    # Where no prompt tells, that the server takes it does.
    result = heard(tmp_path, port, lines.format(prompt % b64(b"Kennwort:"), yes))
    assert logins(result) == [("LOGIN", None, "Zulu7Tango", "accepted")]
    # Asked for the name once more, and given it so that it can be read.
    again = f"{prompt % b64(b'Username:')}\nC: {string % b64(b'kim')}\nS: {prompt % b64(b'Password:')}"
    result = heard(tmp_path, port, lines.format(again, no))
    assert logins(result) == [("LOGIN", "kim", "Zulu7Tango", "rejected")]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize(
    ("before", "line", "literal", "told"),
    [
        ("", 'AUTHENTICATE "PLAIN" {{{}+}}', b64(b"\0kim\0Zulu7Tango"), [("PLAIN", "kim", "Zulu7Tango", "rejected")]),
        ('C: AUTHENTICATE "PLAIN"\nS: ""', "{{{}+}}", b64(b"\0kim\0Zulu7Tango"), [("PLAIN", "kim", "Zulu7Tango", "rejected")]),
        ('C: AUTHENTICATE "LOGIN"\nS: "VXNlcm5hbWU6"', "{{{}+}}", b64(b"kim"), [("LOGIN", "kim", None, "rejected")]),
        ("", 'PUTSCRIPT "x" {{{}+}}', "LOGOUT\r\nkeep;\r\nOK\r\n", []),
    ],
)  # fmt: skip
def test_a_literal_of_managesieve_that_is_answered_before_it_comes(
    tmp_path: Path, before: str, line: str, literal: str, told: list[object], early: bool
) -> None:
    made = Talk(server_port=4190).play('S: "SASL" "PLAIN LOGIN"\nS: OK\n' + before)
    made.client(line.format(len(literal)).encode() + b"\r\n")
    if early:
        made.play("S: NO no").client(literal.encode() + b"\r\n")
    else:
        made.client(literal.encode() + b"\r\n").play("S: NO no")
    again = f'C: AUTHENTICATE "PLAIN" "{b64(bytes(1) + b"lee" + bytes(1) + b"Echo5Golf")}"\nS: NO\nC: LOGOUT\nS: OK'
    result = run_frames(tmp_path, made.play(again).close().frames())
    assert logins(result) == [*told, ("PLAIN", "lee", "Echo5Golf", "rejected")]
    assert result.sessions[0].anomalies is None


def test_a_server_of_managesieve_that_leaves_within_a_literal(tmp_path: Path) -> None:
    made = Talk(server_port=4190).play('S: "SASL" "PLAIN LOGIN"\nS: OK\nC: AUTHENTICATE "LOGIN"\nS: "VXNlcm5hbWU6"')
    frames = made.client(b"{4+}\r\na2").play('S: BYE "too slow"').close().frames()
    result = run_frames(tmp_path, frames)
    assert (logins(result), result.sessions[0].anomalies) == ([], None)
    # The answer to the line before is none to this one.
    secret = b64(b"\0kim\0Zulu7Tango")
    lines = f'S: "SASL" "PLAIN"\nS: OK\nC: NOOP\nC: AUTHENTICATE "PLAIN" {{{len(secret)}+}}\nS: OK\nC: {secret}\nS: NO'
    assert logins(heard(tmp_path, 4190, lines)) == [("PLAIN", "kim", "Zulu7Tango", "rejected")]


@pytest.mark.parametrize(
    ("port", "greeting", "line"),
    [(587, "S: 220 mx", b"AUTH X\r\n"), (587, "S: 220 mx", b"XEXCH50 9 2\r\n"), (110, "S: +OK mx", b"AUTH X\r\n"), (110, "S: +OK mx", b"STLS\n")],
)  # fmt: skip
def test_thousands_of_commands_that_wait_for_an_answer_are_read_one_after_the_other(
    tmp_path: Path, port: int, greeting: str, line: bytes
) -> None:
    made = Talk(server_port=port).play(greeting)
    for _ in range(150):
        made.client(line * (1448 // len(line)))
    (session,) = run_frames(tmp_path, made.close().frames()).sessions
    # Each of them reads on what waits behind it: that goes no deeper, for compiled code has no floor there.
    assert "dissector_fault" not in {one.kind for one in session.anomalies or []}
    assert session.client_bytes == 150 * (1448 // len(line)) * len(line)


def test_a_name_that_is_empty_and_a_prompt_in_another_language(tmp_path: Path) -> None:
    user, word = b64(b"Username:"), b64(b"Kennwort:")
    lines = f"{SMTP}C: AUTH LOGIN\nS: 334 {user}\nC: \nS: 334 {word}\nC: {b64(b'Zulu7Tango')}\nS: 535 no\nC: QUIT\nS: 221 bye"
    assert logins(heard(tmp_path, 587, lines)) == [("LOGIN", "", "Zulu7Tango", "rejected")]
    found = findings(tmp_path, Talk(server_port=587).play(lines).close())
    assert ["login of (empty) to" in one.detail() for one in found if one.slug == "plaintext-password"] == [True]


def test_a_letter_sent_behind_a_refused_login_is_none(tmp_path: Path) -> None:
    refused = f"{SMTP}C: AUTH PLAIN {b64(b'%ckim%cZulu7Tango' % (0, 0))}\nS: 535 no\n"
    trap = b64(b"%ctrap%ctrap" % (0, 0))
    letter = f"C: MAIL FROM:<a@b.cd>\nS: 250 ok\nC: DATA\nS: 554 no\nC: Subject: tea\nS: 500 no\nC: {trap}\nS: 500 no\nC: .\nS: 500 no\nC: QUIT\nS: 221 bye"
    assert [one[1] for one in logins(heard(tmp_path, 587, refused + letter))] == ["kim"]


def deflated(*parts: bytes) -> list[bytes]:
    """Each part deflated and flushed, as one stream."""
    deflater = zlib.compressobj(wbits=-15)
    return [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts]


def test_logins_that_one_deflated_segment_holds_are_told_apart(tmp_path: Path) -> None:
    # However much it inflates to, and however many steps that takes.
    first, last = b'a LOGIN "k\\"im" Zulu7Tango\r\n', b"b LOGIN kim Zulu7Tango\r\n"
    filler = b"p NOOP" + b" " * (INFLATE_STEP // 2 - 8) + b"\r\n"
    between = filler + b"p NOOP" + b" " * (INFLATE_STEP // 2 - len(first) - 8) + b"\r\n"
    talk = Talk(server_port=143).play("S: * OK mx\nC: z COMPRESS DEFLATE\nS: z OK on")
    talk.client(*deflated(first + between + last)).server(*deflated(b"a NO no\r\np OK\r\np OK\r\nb NO no\r\n"))
    result = run_frames(tmp_path, talk.close().frames())
    assert logins(result) == [("LOGIN-CMD", name, "Zulu7Tango", "rejected") for name in ('k"im', "kim")]
    assert len({one.offset for one in result.sessions[0].credentials or []}) == 2
    out = io.StringIO()
    write_json(result, RowMaker(), out, "1")
    told = [row for row in json.loads(out.getvalue())["findings"] if row["rule"] == "plaintext-password"]
    assert [row["detail"].partition(" to ")[0] for row in told] == ['login of k"im', "login of kim"]
    assert len({row["finding_id"] for row in told}) == 2


@pytest.mark.parametrize("together", [True, False])
def test_a_deflated_login_that_waits_for_the_yes_stands_where_it_was_sent(tmp_path: Path, together: bool) -> None:
    talk = Talk(server_port=143).play("S: * OK mx")
    asked, login = b"z COMPRESS DEFLATE\r\n", deflated(b"a LOGIN kim Zulu7Tango\r\n")[0]
    for piece in (asked + login,) if together else (asked, login):
        talk.client(piece)
    talk.play("S: z OK on").server(*deflated(b"a OK in\r\n"))
    result = run_frames(tmp_path, talk.close().frames())
    assert logins(result) == [("LOGIN-CMD", "kim", "Zulu7Tango", "accepted")]
    (one,) = result.sessions[0].credentials or []
    assert (one.frame, one.offset) == (5 if together else 6, len(asked))
