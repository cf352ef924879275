"""What other tools get wrong, as packets through the whole pipeline: each test names the input they stumble over."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest
from support.traffic import START_NS, Talk, logins, run_frames

from analyzer.report.formats.json import write_json
from analyzer.report.rows import RowMaker


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


IMAP_GREETING = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN AUTH=LOGIN] ready"
SMTP_OPENING = """
    S: 220 mx.example.org ESMTP
    C: EHLO pc.example.org
    S: 250-mx.example.org
    S: 250-STARTTLS
    S: 250 AUTH PLAIN LOGIN CRAM-MD5 XOAUTH2
"""


def imap(tmp_path: Path, lines: str) -> list[tuple[str, str | None, str | None, str]]:
    talk = Talk(server_port=143).play(IMAP_GREETING).play(lines).close()
    return logins(run_frames(tmp_path, talk.frames()))


def smtp(tmp_path: Path, lines: str) -> list[tuple[str, str | None, str | None, str]]:
    talk = Talk(server_port=587).play(SMTP_OPENING).play(lines).close()
    return logins(run_frames(tmp_path, talk.frames()))


def pop3(tmp_path: Path, lines: str) -> list[tuple[str, str | None, str | None, str]]:
    talk = Talk(server_port=110).play("S: +OK <17.42@mx.example.org> ready").play(lines).close()
    return logins(run_frames(tmp_path, talk.frames()))


def test_imap_atom_password_keeps_first_and_last_octet(tmp_path: Path) -> None:
    found = imap(tmp_path, "C: a1 LOGIN u@x.example Pw15secret\nS: a1 OK Logged in")
    assert found == [("LOGIN-CMD", "u@x.example", "Pw15secret", "accepted")]


def test_imap_login_with_a_literal_is_not_malformed(tmp_path: Path) -> None:
    found = imap(
        tmp_path,
        "C: a1 LOGIN {12}\nS: + go\nC: usr16@x.test {10}\nS: + go\nC: Pw16secret\nS: a1 OK Logged in",
    )
    assert found == [("LOGIN-CMD", "usr16@x.test", "Pw16secret", "accepted")]


def test_imap_quoted_password_is_unescaped(tmp_path: Path) -> None:
    talk = Talk(server_port=143).play(IMAP_GREETING)
    talk.client(b'a1 LOGIN u18@x.test "Pw\\"q Pw18secret"\r\n').play("S: a1 OK Logged in").close()
    assert logins(run_frames(tmp_path, talk.frames())) == [("LOGIN-CMD", "u18@x.test", 'Pw"q Pw18secret', "accepted")]


def test_login_out_of_order_and_overlapping(tmp_path: Path) -> None:
    talk = Talk(server_port=143).play(IMAP_GREETING)
    command = b"a1 LOGIN erika Lima0Kilo\r\n"
    first = len(talk.sent)
    talk.client(command[:7]).client(command[7:15]).client(command[15:])
    frames = talk.play("S: a1 OK Logged in").close().frames()
    swapped = [
        *frames[:first],
        frames[first + 2],
        frames[first + 1],
        frames[first],
        frames[first + 1],
        *frames[first + 3 :],
    ]
    assert logins(run_frames(tmp_path, swapped)) == [("LOGIN-CMD", "erika", "Lima0Kilo", "accepted")]


def test_user_and_pass_in_one_segment(tmp_path: Path) -> None:
    talk = Talk().play("S: +OK ready").client(b"USER kim\r\nPASS Zulu7Tango\r\n").server(b"+OK\r\n+OK in\r\n").close()
    assert logins(run_frames(tmp_path, talk.frames())) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


def test_pass_octet_by_octet(tmp_path: Path) -> None:
    talk = Talk().play("S: +OK ready\nC: USER kim\nS: +OK")
    for octet in b"PASS Zulu7Tango\r\n":
        talk.client(bytes([octet]))
    talk.play("S: +OK in").close()
    assert logins(run_frames(tmp_path, talk.frames())) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]


def test_non_synchronising_literals(tmp_path: Path) -> None:
    found = imap(tmp_path, "C: a1 LOGIN {5+}\\r\\nusr20 {10+}\\r\\nPw20secret\nS: a1 OK Logged in")
    assert found == [("LOGIN-CMD", "usr20", "Pw20secret", "accepted")]


def test_authenticate_plain_in_clear_is_not_imaps(tmp_path: Path) -> None:
    talk = (
        Talk(server_port=143)
        .play(IMAP_GREETING)
        .play(f"C: a AUTHENTICATE PLAIN {b64(b'|ute|Pw-of-ute'.replace(b'|', bytes(1)))}\nS: a OK done")
    )
    result = run_frames(tmp_path, talk.close().frames())
    assert logins(result) == [("PLAIN", "ute", "Pw-of-ute", "accepted")]
    assert (result.sessions[0].transport, result.sessions[0].exposure) == ("plaintext", "credentials")


def test_starttls_refused_then_login_is_not_imaps(tmp_path: Path) -> None:
    talk = (
        Talk(server_port=143)
        .play(IMAP_GREETING)
        .play("C: a1 STARTTLS\nS: a1 NO not now\nC: a2 LOGIN ute Pw-of-ute\nS: a2 OK Logged in")
    )
    session = run_frames(tmp_path, talk.close().frames()).sessions[0]
    assert (session.transport, session.starttls, session.exposure) == ("plaintext", "refused", "credentials")


def test_sasl_plain_with_authzid_keeps_the_whole_user(tmp_path: Path) -> None:
    blob = b64(b"boss\0ute\0Pw-of-ute")
    assert smtp(tmp_path, f"C: AUTH PLAIN {blob}\nS: 235 ok") == [("PLAIN", "ute", "Pw-of-ute", "accepted")]


def test_pop3_password_with_spaces(tmp_path: Path) -> None:
    found = pop3(tmp_path, "C: USER kim\nS: +OK\nC: PASS three words  here\nS: +OK in")
    assert found == [("USER/PASS", "kim", "three words  here", "accepted")]


def test_ehlo_then_cram_md5_is_not_binary_garbage(tmp_path: Path) -> None:
    answer = "ute@x.example b913a602c7eda7a495b4e6e7334d3890"
    found = smtp(
        tmp_path,
        f"C: AUTH CRAM-MD5\nS: 334 {b64(b'<17.42@mx.example.org>')}\nC: {b64(answer.encode())}\nS: 235 ok",
    )
    assert found == [("CRAM-MD5", "ute@x.example", answer, "accepted")]


def test_mail_body_that_quotes_logins_gives_none(tmp_path: Path) -> None:
    found = smtp(
        tmp_path,
        "C: MAIL FROM:<a@x.example>\nS: 250 ok\nC: RCPT TO:<b@x.example>\nS: 250 ok\nC: DATA\nS: 354 go\n"
        "C: Subject: how to\nC: USER trapped\nC: PASS trap-secret\nC: AUTH PLAIN AHRyYXAAdHJhcA==\nC: a1 LOGIN trap trap\n"
        "C: .\nS: 250 queued",
    )
    assert found == []


def test_smtp_auth_plain_with_initial_response(tmp_path: Path) -> None:
    blob = b64(b"\0ute\0Pw-of-ute")
    assert smtp(tmp_path, f"C: AUTH PLAIN {blob}\nS: 235 ok") == [("PLAIN", "ute", "Pw-of-ute", "accepted")]


def test_outcome_tells_accepted_from_rejected(tmp_path: Path) -> None:
    found = imap(tmp_path, "C: a1 LOGIN ute wrong\nS: a1 NO failed\nC: a2 LOGIN ute right\nS: a2 OK Logged in")
    assert [one[3] for one in found] == ["rejected", "accepted"]


def test_ettercap_literal_marker_is_not_the_user(tmp_path: Path) -> None:
    found = imap(tmp_path, "C: a1 LOGIN {5+}\\r\\nusr20 {10+}\\r\\nPw20secret\nS: a1 OK in")
    assert found[0][1:3] == ("usr20", "Pw20secret")


@pytest.mark.parametrize("verb", ["LOGIN", "login", "Login", "lOgIn"])
def test_imap_login_in_any_letter_case(tmp_path: Path, verb: str) -> None:
    found = imap(tmp_path, f"C: a1 {verb} ute Pw-of-ute\nS: a1 OK in")
    assert found == [("LOGIN-CMD", "ute", "Pw-of-ute", "accepted")]


def test_redis_is_not_pop3(tmp_path: Path) -> None:
    for port in (6379, 110):
        talk = Talk(server_port=port, client_port=40000 + port % 1000)
        talk.client(b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n").server(b"+OK\r\n").client(b"*1\r\n$4\r\nPING\r\n").server(
            b"+PONG\r\n"
        )
        result = run_frames(tmp_path, talk.close().frames())
        assert logins(result) == []
        assert [session.protocol for session in result.sessions] in ([], ["unknown"])


def test_passwords_are_masked_in_the_log(tmp_path: Path) -> None:
    talk = Talk().play("S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in").close()
    result = run_frames(tmp_path, talk.frames())
    path = tmp_path / "out.json"
    with path.open("w") as out:
        write_json(result, RowMaker(), out, "test")
    text = path.read_text(encoding="utf-8")
    assert "Zulu7Tango" not in text
    assert json.loads(text)["credentials"][0]["username"] == "kim"


CLIENT_HELLO = bytes.fromhex("16030100310100002d0303") + bytes(32) + bytes.fromhex("000002002f01000002ff01")[:11]


def test_x_anonymoustls_is_starttls(tmp_path: Path) -> None:
    talk = Talk(server_port=25).play(
        "S: 220 ex.example.org Microsoft ESMTP\nC: EHLO ex2.example.org\nS: 250-ex.example.org\nS: 250 X-ANONYMOUSTLS\n"
        "C: X-ANONYMOUSTLS\nS: 220 2.0.0 SMTP server ready"
    )
    talk.client(CLIENT_HELLO)
    session = run_frames(tmp_path, talk.close().frames()).sessions[0]
    assert (session.transport, session.starttls) == ("starttls", "accepted")


def test_text_behind_a_starttls_grant_is_read_on(tmp_path: Path) -> None:
    blob = b64(b"\0ute\0Pw-of-ute")
    talk = (
        Talk(server_port=25)
        .play(SMTP_OPENING)
        .play(f"C: STARTTLS\nS: 220 go\nC: EHLO again\nS: 250 AUTH PLAIN\nC: AUTH PLAIN {blob}\nS: 235 ok")
    )
    result = run_frames(tmp_path, talk.close().frames())
    assert logins(result) == [("PLAIN", "ute", "Pw-of-ute", "accepted")]
    session = result.sessions[0]
    assert (session.transport, session.starttls) == ("plaintext", "accepted")
    assert "starttls_without_tls" in [seen.kind for seen in session.anomalies or ()]


def test_mail_from_without_space_or_brackets(tmp_path: Path) -> None:
    talk = (
        Talk(server_port=25)
        .play(SMTP_OPENING)
        .play(
            "C: MAIL FROM:xavier@x.example\nS: 250 ok\nC: RCPT TO:yann@y.example\nS: 250 ok\nC: DATA\nS: 354 go\nC: hi\nC: .\nS: 250 ok"
        )
    )
    message = (run_frames(tmp_path, talk.close().frames()).sessions[0].message_list or [])[0]
    assert (message.mail_from, message.recipients) == ("xavier@x.example", ["yann@y.example"])


@pytest.mark.parametrize(
    ("port", "lines", "secret"),
    [
        (143, "C: a1 LOGIN {3}\nS: + go\nC: ute {12}\nS: + go\nC: lit-Secret-1\nS: a1 OK in", "lit-Secret-1"),
        (143, "C: a1 LOGIN {3+}\\r\\nute {12+}\\r\\nlit-Secret-2\nS: a1 OK in", "lit-Secret-2"),
        (
            143,
            f"C: a1 AUTHENTICATE PLAIN {b64(b'|ute|inline-Sec3'.replace(b'|', bytes(1)))}\nS: a1 OK in",
            "inline-Sec3",
        ),
        (
            143,
            f"C: a1 AUTHENTICATE XOAUTH2 {b64(b'user=ute@x.example' + bytes([1]) + b'auth=Bearer tok-Secret-4' + bytes([1, 1]))}\nS: a1 OK in",
            "tok-Secret-4",
        ),
    ],
)
def test_no_secret_nor_its_base64_leaves_masked_output(tmp_path: Path, port: int, lines: str, secret: str) -> None:
    talk = Talk(server_port=port).play(IMAP_GREETING).play(lines).close()
    result = run_frames(tmp_path, talk.frames())
    assert [one[2] for one in logins(result)] == [secret]
    path = tmp_path / "out.json"
    with path.open("w") as out:
        write_json(result, RowMaker(), out, "test")
    text = path.read_text(encoding="utf-8")
    for needle in (secret, b64(secret.encode()), b64(b"x" + secret.encode())[4:-4], b64(b"xx" + secret.encode())[4:-4]):
        assert needle not in text


# What no other tool finds.


def test_pop3_cram_md5(tmp_path: Path) -> None:
    answer = "kim b913a602c7eda7a495b4e6e7334d3890"
    found = pop3(
        tmp_path, f"C: AUTH CRAM-MD5\nS: + {b64(b'<17.42@mx.example.org>')}\nC: {b64(answer.encode())}\nS: +OK in"
    )
    assert found == [("CRAM-MD5", "kim", answer, "accepted")]


@pytest.mark.parametrize("port", [110, 143, 587])
def test_xoauth2_on_every_protocol(tmp_path: Path, port: int) -> None:
    blob = b64(b"user=ute@x.example\x01auth=Bearer tok.en\x01\x01")
    lines = {
        110: f"S: +OK ready\nC: AUTH XOAUTH2 {blob}\nS: +OK in",
        143: f"{IMAP_GREETING}\nC: a AUTHENTICATE XOAUTH2 {blob}\nS: a OK in",
        587: f"S: 220 mx\nC: EHLO x\nS: 250 AUTH XOAUTH2\nC: AUTH XOAUTH2 {blob}\nS: 235 in",
    }[port]
    talk = Talk(server_port=port).play(lines).close()
    assert logins(run_frames(tmp_path, talk.frames())) == [("XOAUTH2", "ute@x.example", "tok.en", "accepted")]


def test_imap_authenticate_login(tmp_path: Path) -> None:
    found = imap(
        tmp_path,
        f"C: a AUTHENTICATE LOGIN\nS: + {b64(b'Username:')}\nC: {b64(b'ute')}\nS: + {b64(b'Password:')}\nC: {b64(b'Pw-of-ute')}\nS: a OK in",
    )
    assert found == [("LOGIN", "ute", "Pw-of-ute", "accepted")]


def test_managesieve(tmp_path: Path) -> None:
    blob = b64(b"\0ute\0Pw-of-ute")
    talk = Talk(server_port=4190).server(b'"IMPLEMENTATION" "x"\r\n"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK\r\n')
    talk.client(f'AUTHENTICATE "PLAIN" "{blob}"\r\n'.encode()).play("S: OK").close()
    assert logins(run_frames(tmp_path, talk.frames())) == [("PLAIN", "ute", "Pw-of-ute", "accepted")]


def test_injections_preauth_and_masked_keyword_are_reported(tmp_path: Path) -> None:
    injected = (
        Talk(server_port=25, client_port=41001).play(SMTP_OPENING).client(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
    )
    injected.play("S: 220 go").client(CLIENT_HELLO)
    answered = (
        Talk(client_port=41002).play("S: +OK ready\nC: STLS").server(b"+OK go\r\n+OK forged\r\n").client(CLIENT_HELLO)
    )
    preauth = Talk(server_port=143, client_port=41003).play("S: * PREAUTH welcome\nC: a1 NOOP\nS: a1 OK")
    masked = Talk(server_port=587, client_port=41004).play(
        "S: 220 mx ESMTP\nC: EHLO x\nS: 250-mx\nS: 250-XXXXXXXA\nS: 250 AUTH PLAIN\nC: QUIT\nS: 221 bye"
    )
    frames = [frame for talk in (injected, answered, preauth, masked) for frame in talk.close().frames()]
    kinds = {seen.kind for session in run_frames(tmp_path, frames).sessions for seen in session.anomalies or ()}
    assert {"starttls_command_injection", "starttls_response_injection", "imap_preauth", "starttls_stripped"} <= kinds


def test_injections_point_at_the_packet_that_holds_them(tmp_path: Path) -> None:
    injected = Talk(server_port=25).play(SMTP_OPENING).client(b"STARTTLS\r\nMAIL FROM:<evil@x.example>\r\n")
    frame = len(injected.frames())
    injected.play("S: 220 go").client(CLIENT_HELLO).close()
    seen = run_frames(tmp_path, injected.frames()).sessions[0].anomalies or []
    assert [(one.kind, one.frame) for one in seen if "injection" in one.kind] == [("starttls_command_injection", frame)]


def test_ipv6_and_frame_numbers_beside_credentials(tmp_path: Path) -> None:
    talk = Talk(client="2001:db8::10", server="2001:db8::20").play(
        "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in"
    )
    result = run_frames(tmp_path, talk.close().frames())
    session = result.sessions[0]
    assert (session.client_ip, session.server_ip) == ("2001:db8::10", "2001:db8::20")
    assert [(one.frame, one.outcome_frame) for one in session.credentials or ()] == [(7, 8)]
    assert session.start_ns == START_NS


def test_any_shuffle_of_a_window_gives_the_same_records(tmp_path: Path) -> None:
    talk = (
        Talk()
        .play(
            "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: STAT\nS: +OK 0 0\nC: QUIT\nS: +OK bye"
        )
        .close()
    )
    frames = talk.frames()
    for seed in range(20):
        middle = frames[3:-3]
        random.Random(seed).shuffle(middle)
        assert logins(run_frames(tmp_path, frames[:3] + middle + frames[-3:])) == [
            ("USER/PASS", "kim", "Zulu7Tango", "accepted")
        ]
