"""The second engine's sessions: what the clients did inside TLS, marked as not exposed, and otherwise what the first engine says."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from support import sealed
from support.sealed import sealed_session

import analyzer
from analyzer.capture.keylog import KeyLog
from analyzer.errors import CaptureError, EngineError, UsageError
from analyzer.model import CLIENT, MASK, SERVER
from analyzer.pipeline import run
from analyzer.report.crosscheck import differences
from analyzer.sessions.records import Session
from analyzer.sessions.replay import decrypt, read_inside

CAPTURES = Path(__file__).parents[2] / "captures"
EXPECTED = [json.loads(line) for line in (CAPTURES / "expected.jsonl").read_text(encoding="utf-8").splitlines()]
SEALED = sorted(
    {
        one["sample"]
        for one in EXPECTED
        if one["tls_credentials"] and one["sample"].endswith("pcapng") and "secrets" in one["sample"]
    }
)


def inside(session: Session) -> list[dict[str, str | None]]:
    return [
        {
            "mechanism": one.mechanism,
            "username": one.username,
            "secret": one.secret.reveal() if one.secret is not None else None,
            "challenge": one.challenge,
            "response": one.response.reveal() if one.response is not None else None,
            "outcome": one.outcome,
        }
        for one in session.credentials or ()
        if not one.exposed
    ]


@pytest.mark.tshark
@pytest.mark.parametrize("sample", SEALED)
def test_samples_with_secrets_open_to_what_the_clients_did(sample: str) -> None:
    sessions = {
        f"{one.client_ip}:{one.client_port}": one for one in run(CAPTURES / sample, engine="wireshark").sessions
    }
    streams = [one for one in EXPECTED if one["sample"] == sample]
    assert len(streams) == len(sessions) > 0
    for stream in streams:
        session = sessions[stream["client"]]
        where = f"{sample} stream {stream['stream']}"
        for want, got in zip(stream["tls_credentials"], inside(session), strict=True):
            assert {word: got[word] for word in want} == want, where
        assert (
            sum(1 for one in session.message_list or () if one.ended and not one.exposed) == stream["tls_messages"]
        ), where
        assert all(not one.exposed for one in session.credentials or ()), where
        assert (session.transport, session.starttls) == (stream["transport"], stream["starttls"]), where
        assert session.exposure in ("none", "metadata"), where
        assert session.messages == 0, where


@pytest.mark.tshark
@pytest.mark.parametrize(
    "sample",
    [
        "tap-loss.pcap",
        "bad-wire.pcap",
        "snaplen.pcap",
        "tls-versions.pcap",
        "ipv6.pcap",
        "server-only.pcap",
        "any-sll2.pcap",
    ],
)
def test_both_engines_agree(sample: str) -> None:
    assert differences(run(CAPTURES / sample), run(CAPTURES / sample, engine="wireshark")) == []


@pytest.mark.tshark
@pytest.mark.parametrize("starttls", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_key_log_opens_the_sessions_it_fits(tmp_path: Path, version: ssl.TLSVersion, starttls: bool) -> None:
    path, keylog = sealed_session(tmp_path, version, starttls=starttls)
    plain = run(path)
    assert [one.credentials for one in plain.sessions] == [None]
    assert plain.warnings == []
    for engine in ("native", "wireshark"):
        result = run(path, keylog=keylog, engine=engine)
        (session,) = result.sessions
        assert inside(session) == [
            {
                "mechanism": "LOGIN-CMD",
                "username": "mila",
                "secret": "Quartz.river4",
                "challenge": None,
                "response": None,
                "outcome": "accepted",
            }
        ]
        assert [(one.size, one.complete, one.exposed) for one in session.message_list or ()] == [(32, True, False)]
        assert session.session_id() == plain.sessions[0].session_id()
        assert session.capture == str(path)
        assert (session.auth_attempts, session.auth_accepted, session.messages) == (1, 1, 0)
        assert session.exposure == plain.sessions[0].exposure
        assert result.warnings == []
        assert differences(plain, result) == []


@pytest.mark.tshark
def test_frames_inside_tls_are_those_of_the_records(tmp_path: Path) -> None:
    path, keylog = sealed_session(tmp_path)
    (session,) = run(path, keylog=keylog).sessions
    assert session.credentials is not None
    frame = session.credentials[0].frame
    command = [
        "tshark",
        "-r",
        path,
        "-o",
        f"tls.keylog_file:{keylog}",
        "-Y",
        'imap.request contains "LOGIN"',
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [str(frame)]


@pytest.mark.tshark
def test_tables_mask_and_mark_what_was_decrypted(tmp_path: Path) -> None:
    path, keylog = sealed_session(tmp_path)
    report = analyzer.analyze(path, keylog=keylog)
    (row,) = report.credentials.to_dict("records")
    assert (row["username"], row["secret"], row["exposed"]) == ("mila", MASK, False)
    assert report.messages["exposed"].tolist() == [False]
    assert not set(report.findings["rule"]) & {"plaintext-password", "plaintext-message"}
    assert report.sessions["exposure"].tolist() == ["none"]


@pytest.mark.tshark
def test_a_key_log_of_other_connections_is_said(tmp_path: Path) -> None:
    path, _ = sealed_session(tmp_path)
    other = tmp_path / "other.log"
    other.write_text(f"CLIENT_RANDOM {'ab' * 32} {'cd' * 48}\n")
    result = run(path, keylog=other)
    assert [one.credentials for one in result.sessions] == [None]
    assert len(result.warnings) == 1
    assert "none of its secrets fits; the beginning of 1 TLS session was captured" in result.warnings[0]


@pytest.mark.tshark
def test_wrong_secrets_are_said(tmp_path: Path) -> None:
    path, keylog = sealed_session(tmp_path)
    lines = [line.split() for line in keylog.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    keylog.write_text("".join(f"{label} {random} {'00' * (len(secret) // 2)}\n" for label, random, secret in lines))
    result = run(path, keylog=keylog)
    assert "no login or message was read" in " ".join(result.warnings)


def test_without_tshark_a_native_run_with_keys_still_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, keylog = sealed_session(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    result = run(path, keylog=keylog)
    assert len(result.sessions) == 1
    assert "not decrypted: the Wireshark engine needs tshark" in result.warnings[0]
    with pytest.raises(EngineError, match="install the package tshark"):
        run(path, keylog=keylog, engine="wireshark")


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    path, _ = sealed_session(tmp_path)
    with pytest.raises(UsageError, match="known: native, wireshark"):
        run(path, engine="tcpdump")
    with pytest.raises(CaptureError, match="key log"):
        run(path, keylog=tmp_path / "missing.log")


def test_secrets_inside_a_capture_are_told_of() -> None:
    result = run(CAPTURES / "tls13-secrets.pcapng")
    assert "holds the TLS secrets of 4 sessions: --engine wireshark, in Python engine=" in " ".join(result.warnings)
    log = KeyLog()
    for text in result.captures[0].keylog:
        log.add(text)
    assert len(log) >= 4


@pytest.mark.tshark
def test_many_sessions_are_looked_for_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.sessions.replay.MAX_FILTERED", 1)
    monkeypatch.setattr("analyzer.capture.wireshark.FOLLOWED_AT_ONCE", 3)
    sessions = run(CAPTURES / "tls12-secrets.pcapng").sessions
    found, warnings = decrypt(sessions, str(CAPTURES / "tls12-secrets.pcapng"), None, None)
    assert sorted(one.session_id() for one in found) == sorted(one.session_id() for one in sessions)
    assert all(read_inside(one) for one in found)
    assert warnings == []


@pytest.mark.tshark
def test_the_command_line_checks_one_engine_with_the_other(tmp_path: Path) -> None:
    path, keylog = sealed_session(tmp_path)

    def mailtap(*arguments: object) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", "analyze", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    assert mailtap(path, "--cross-check") == (0, "both engines tell the same of 1 session\n", "")
    code, out, _ = mailtap(path, "--keylog", keylog)
    assert (code, "With keys, 1 login and 1 message inside TLS were read" in out, "Quartz" in out) == (0, True, False)
    code, out, _ = mailtap(path, "--engine", "wireshark", "--keylog", keylog, "--format", "json", "--show-secrets")
    assert [(one["secret"], one["exposed"]) for one in json.loads(out)["credentials"]] == [("Quartz.river4", False)]
    assert mailtap(path, "--engine", "tcpdump")[0] == 2
    assert mailtap(path, "--ca-file", tmp_path / "missing.pem")[0] == 3
    assert mailtap(tmp_path / "missing.pcap", "--cross-check")[0] == 3


TEXT_ALONE = [
    (SERVER, b"* OK ready\r\n"),
    (CLIENT, b"a AUTHENTICATE EXTERNAL a2lt\r\n"),
    (SERVER, b"a OK in\r\n"),
    (CLIENT, b"f FETCH 1 BODY[TEXT]\r\n"),
    (SERVER, b"* 1 FETCH (BODY[TEXT] {5}\r\nhello)\r\nf OK done\r\n"),
]


@pytest.mark.tshark
@pytest.mark.parametrize("starttls", [False, True])
def test_a_text_without_its_header_is_exposed_unless_it_takes_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starttls: bool
) -> None:
    monkeypatch.setattr(sealed, "DIALOGUE", TEXT_ALONE)
    for ciphers, exposure in (("eNULL", "content"), ("DEFAULT", "none")):
        path, keylog = sealed.sealed_session(tmp_path, ssl.TLSVersion.TLSv1_2, ciphers=ciphers, starttls=starttls)
        (session,) = run(path, keylog=None if exposure == "content" else keylog).sessions
        assert session.auth_accepted == 1
        assert (session.exposure, session.messages) == (exposure, 0)


def test_a_null_cipher_is_read_and_called_exposed(tmp_path: Path) -> None:
    for starttls in (False, True):
        path, _ = sealed_session(tmp_path, ssl.TLSVersion.TLSv1_2, ciphers="eNULL", starttls=starttls)
        (session,) = run(path).sessions
        assert session.tls is not None
        session.tls.fill()
        assert session.tls.null_cipher
        assert session.transport == ("starttls" if starttls else "implicit_tls")
        assert (session.exposure, session.messages, session.auth_accepted) == ("credentials", 1, 1)
        assert session.credentials is not None
        assert [(one.username, one.exposed) for one in session.credentials] == [("mila", True)]
        assert all(one.exposed for one in session.message_list or ())
