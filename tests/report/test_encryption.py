"""The text report's part on TLS: per server, worst first."""

from __future__ import annotations

import io
import ssl
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support import tls as lab
from support.traffic import Talk, capture, run_frames

from analyzer.pipeline import Result, run
from analyzer.report.encryption import TlsServer, TlsServers, bad_certificates, suite_weakness
from analyzer.report.formats.text import write_text
from analyzer.sessions import certificates
from analyzer.sessions.certificates import TrustStore
from analyzer.sessions.records import Session


def tally_tls(sessions: list[Session], trust: TrustStore) -> list[TlsServer]:
    servers = TlsServers()
    for session in sessions:
        servers.receive(session)
    return servers.judged(trust)


def talk_over(
    version: ssl.TLSVersion, server: str, port: int, *, ciphers: str = "DEFAULT", verify: bool = False
) -> Talk:
    client = lab.context(lab.CLIENT, version, ciphers=ciphers, verify=verify)
    connection = lab.Connection(client, lab.context(lab.SERVER, version, ciphers=ciphers)).shake_hands()
    if not verify:
        connection.talk()
    # The lab's certificates are of today.
    talk = Talk(server=server, client_port=40000 + port, server_port=port, start_ns=time.time_ns())
    for sender, what in connection.close().pieces:
        if isinstance(what, bytes):
            for at in range(0, len(what), 1400):
                (talk.client if sender == lab.CLIENT else talk.server)(what[at : at + 1400])
    return talk.close()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    frames = talk_over(ssl.TLSVersion.TLSv1_3, "198.51.100.1", 993).frames()
    frames += talk_over(ssl.TLSVersion.TLSv1_2, "198.51.100.2", 995).frames()
    frames += talk_over(ssl.TLSVersion.TLSv1_1, "198.51.100.3", 465, ciphers="ALL").frames()
    frames += talk_over(ssl.TLSVersion.TLSv1_2, "198.51.100.4", 993, ciphers="eNULL").frames()
    frames += talk_over(ssl.TLSVersion.TLSv1_2, "198.51.100.2", 993, verify=True).frames()
    return run_frames(tmp_path_factory.mktemp("tls"), frames)


def report(result: Result, trust: TrustStore | None = None) -> str:
    out = io.StringIO()
    write_text(result, out, "0", trust=trust)
    return out.getvalue()


def test_worst_first(result: Result) -> None:
    servers = tally_tls(result.sessions, TrustStore())
    assert [one.server_ip for one in servers][:2] == ["198.51.100.4", "198.51.100.3"]
    by_port = {(one.server_ip, int(one.server_port)): one for one in servers}
    assert by_port["198.51.100.1", 993].verdict() == "unseen"
    assert list(by_port["198.51.100.1", 993].versions) == ["TLSv1.3"]
    assert (by_port["198.51.100.2", 993].failed, by_port["198.51.100.2", 993].versions) == (1, {})
    assert by_port["198.51.100.2", 993].certificates, "a refused certificate is worth telling"


def test_report_names_versions_weak_suites_and_bad_certificates_in_100_columns(result: Result) -> None:
    text = report(result)
    assert max(map(len, text.splitlines())) <= 100
    part = text[text.index("\nTLS\n") :]
    assert "TLSv1.1" in part
    assert "NULL" in part
    assert "untrusted" in part
    assert lab.HOST in part
    assert part.index("198.51.100.4:993") < part.index("198.51.100.3:465") < part.index("198.51.100.1:993")


def test_roots_of_the_users_are_trusted(result: Result, tmp_path: Path) -> None:
    bundle = tmp_path / "roots.pem"
    bundle.write_bytes(lab.root().certificate.public_bytes(Encoding.PEM))
    assert bad_certificates(tally_tls(result.sessions, TrustStore(str(bundle)))) == []
    assert len(bad_certificates(tally_tls(result.sessions, TrustStore()))) == 1
    assert "Certificates with problems" not in report(result, TrustStore(str(bundle)))


def test_a_certificate_is_parsed_once(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    certificates._certificates.clear()
    parsed = []
    read = certificates._read
    monkeypatch.setattr(certificates, "_read", lambda certificate, der: (parsed.append(der), read(certificate, der)))
    tally_tls(result.sessions * 10, TrustStore())
    assert len(parsed) == len(set(parsed))


def test_without_tls_nothing_is_said_or_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk().play("S: +OK ready\nC: QUIT\nS: +OK bye").close().frames()))
    monkeypatch.setattr(TrustStore, "load", lambda _: pytest.fail("roots were loaded"))
    assert "Certificates" not in report(run(path))


@pytest.mark.parametrize(
    ("suite", "weakness"),
    [("TLS_AES_128_GCM_SHA256", 0), ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", 0), ("TLS_RSA_WITH_AES_128_CBC_SHA", 1),
     ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", 2), ("TLS_RSA_WITH_NULL_SHA", 3), ("TLS_DH_anon_WITH_AES_128_CBC_SHA", 2)],
)  # fmt: skip
def test_weakness(suite: str, weakness: int) -> None:
    assert suite_weakness(suite) == weakness
