"""The TLS dissector: connections of the ssl module in memory, odd ones built octet by octet, and anything at all."""

from __future__ import annotations

import ssl
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import tls as lab
from support.tls import HOST, Connection, Piece, context, play, record

from analyzer.model import CLIENT, SERVER, Position
from analyzer.protocols.tls import MAX_PLAINTEXT, TlsDissector
from analyzer.protocols.tls_handshake import MAX_CERTIFICATES, RETRY_RANDOM
from analyzer.protocols.tls_messages import MAX_HANDSHAKE
from analyzer.protocols.tls_verdict import MAX_ALERTS, MAX_ANOMALIES

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    VERSIONS = {
        "TLSv1.0": ssl.TLSVersion.TLSv1,
        "TLSv1.1": ssl.TLSVersion.TLSv1_1,
        "TLSv1.2": ssl.TLSVersion.TLSv1_2,
        "TLSv1.3": ssl.TLSVersion.TLSv1_3,
    }
TLS12 = VERSIONS["TLSv1.2"]
TLS13 = VERSIONS["TLSv1.3"]


def connect(version: ssl.TLSVersion, **client_settings: object) -> Connection:
    return Connection(context(CLIENT, version, **client_settings), context(SERVER, version)).shake_hands()


def same_however_cut(pieces: list[Piece], *, midstream: bool = False) -> lab.Played:
    whole = play(pieces, midstream=midstream)
    want = whole.summary()
    for cut, seed in (("octets", 0), ("random", 1), ("random", 2)):
        assert play(pieces, cut=cut, seed=seed, midstream=midstream).summary() == want, (cut, seed)
    return whole


# -- real handshakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_full_handshake_of_each_version(version: str):
    connection = connect(VERSIONS[version], alpn=["imap", "pop3"])
    connection.talk().close()
    played = same_however_cut(connection.pieces)
    facts = played.facts
    assert played.dissector.recognised
    assert facts.handshake == "completed"
    assert facts.version == version
    assert facts.offered_versions == [version]
    chosen = connection.client.cipher()[0]
    number = next(c["id"] & 0xFFFF for c in connection.client.context.get_ciphers() if c["name"] == chosen)
    assert facts.suite_code == number
    assert facts.cipher_suite in facts.offered_suites
    assert facts.sni == HOST
    assert facts.offered_alpn == ["imap", "pop3"]
    assert facts.resumed is False
    assert facts.group == "x25519"
    assert facts.client_data_records >= 1  # TLS 1.0 clients send an empty record in front of each
    assert facts.server_data_records >= 2
    assert facts.client_went_on
    assert facts.alert is None
    assert len(facts.ja3 or "") == len(facts.ja3s or "") == 32
    assert (facts.ja4 or "").startswith("t" + version[4] + version[6] + "d")
    if version == "TLSv1.3":
        assert not facts.cert_seen
        assert facts.certificates == []
    else:
        assert facts.cert_seen
        assert facts.certificates == lab.server_identity().chain
    assert played.kinds()[:2] == ["TlsHelloSeen", "TlsCompleted"]
    assert played.events[0].sni == HOST
    assert facts.completed_frame > facts.first_frame == 1


def test_server_chooses_alpn_in_clear_up_to_tls12_only():
    for version, want in ((TLS12, "pop3"), (TLS13, "imap,pop3")):
        server = context(SERVER, version, alpn=["pop3"])
        connection = Connection(context(CLIENT, version, alpn=["imap", "pop3"]), server).shake_hands().talk()
        assert connection.client.selected_alpn_protocol() == "pop3"
        assert play(connection.pieces).facts.alpn == want


def test_server_that_chooses_no_alpn():
    assert play(connect(TLS12, alpn=["imap"]).pieces).facts.alpn is None


def test_without_sni():
    connection = Connection(context(CLIENT, TLS13), context(SERVER, TLS13), sni=None).shake_hands()
    facts = play(connection.pieces).facts
    assert facts.sni is None
    assert (facts.ja4 or "").startswith("t13i")


def test_hello_retry_request():
    server = context(SERVER, TLS13)
    server.set_ecdh_curve("secp384r1")
    connection = Connection(context(CLIENT, TLS13), server).shake_hands().talk().close()
    played = same_however_cut(connection.pieces)
    assert played.facts.retried
    assert played.facts.handshake == "completed"
    assert played.facts.group == "secp384r1"
    assert played.kinds().count("TlsHelloSeen") == 1
    assert not played.facts.server_hello.retry


def test_only_the_retry_request_was_seen():
    offer = lab.extension(43, lab.counted(1, lab.codes(0x0304)))
    retry = lab.server_hello(
        suite=0x1302,
        random_octets=RETRY_RANDOM,
        extensions=lab.extension(43, lab.codes(0x0304)) + lab.extension(51, lab.codes(24)),
    )
    facts = same_however_cut(
        [(CLIENT, record(22, lab.client_hello(extensions=offer))), (SERVER, record(22, retry))]
    ).facts
    assert (facts.version, facts.cipher_suite, facts.group) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "secp384r1")
    assert (facts.retried, facts.handshake) == (True, "incomplete")


@pytest.mark.parametrize(
    ("version", "ticket", "kind"), [(TLS12, False, "session_id"), (TLS12, True, "ticket"), (TLS13, True, "psk")]
)
def test_resumption(version: ssl.TLSVersion, ticket: bool, kind: str):
    client, server = context(CLIENT, version), context(SERVER, version)
    if not ticket:
        for side in (client, server):
            side.options |= ssl.OP_NO_TICKET
    first = Connection(client, server).shake_hands().talk().close()
    facts = play(first.pieces).facts
    assert (facts.resumed, facts.resumption) == (False, None)
    second = Connection(client, server, session=first.client.session).shake_hands().talk().close()
    assert second.client.session_reused
    facts = same_however_cut(second.pieces).facts
    assert (facts.resumed, facts.resumption, facts.handshake) == (True, kind, "completed")
    assert not facts.cert_seen


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_client_certificate(version: ssl.TLSVersion):
    client, server = context(CLIENT, version), context(SERVER, version)
    client.load_cert_chain(lab.client_identity().pem)
    server.verify_mode = ssl.CERT_REQUIRED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server.load_verify_locations(cadata=lab.root().chain[0])
    connection = Connection(client, server).shake_hands().talk().close()
    facts = same_however_cut(connection.pieces).facts
    assert facts.handshake == "completed"
    assert facts.client_data_records == 1
    if version == TLS12:
        assert facts.client_certificate_requested
        assert facts.client_certificates == lab.client_identity().chain
        assert facts.certificates == lab.server_identity().chain
    else:
        assert not facts.client_certificates


def test_client_without_the_certificate_that_the_server_wants():
    server = context(SERVER, TLS12)
    server.verify_mode = ssl.CERT_REQUIRED
    connection = Connection(context(CLIENT, TLS12), server).shake_hands()
    assert connection.errors
    facts = same_however_cut(connection.pieces).facts
    assert (facts.handshake, facts.failure, facts.alert, facts.alert_sender) == (
        "failed",
        "alert",
        "handshake_failure",
        SERVER,
    )
    assert facts.client_certificate_requested
    assert facts.client_certificates == []


def test_server_refuses_a_tls13_client_without_certificate():
    server = context(SERVER, TLS13)
    server.verify_mode = ssl.CERT_REQUIRED
    connection = Connection(context(CLIENT, TLS13), server).shake_hands()
    connection.move()
    connection.pieces += [(SERVER, None), (CLIENT, None)]
    facts = same_however_cut(connection.pieces).facts
    assert (facts.handshake, facts.failure, facts.failure_sender) == ("failed", "encrypted_alert", SERVER)


def test_client_refuses_the_certificate_in_tls12():
    connection = connect(TLS12, verify=True)
    assert connection.errors
    connection.pieces += [(CLIENT, None), (SERVER, None)]
    played = same_however_cut(connection.pieces)
    facts = played.facts
    assert (facts.handshake, facts.failure, facts.alert, facts.alert_sender) == (
        "failed",
        "alert",
        "unknown_ca",
        CLIENT,
    )
    assert facts.certificates == lab.server_identity().chain
    assert not facts.client_went_on
    assert played.kinds() == ["TlsHelloSeen", "TlsAlert", "TlsFailed"]
    assert played.events[1].fatal


def test_client_refuses_the_certificate_in_tls13():
    connection = connect(TLS13, verify=True)
    assert connection.errors
    connection.pieces += [(CLIENT, None), (SERVER, None)]
    facts = same_however_cut(connection.pieces).facts
    assert (facts.handshake, facts.failure, facts.alert, facts.alert_sender) == (
        "failed",
        "alert",
        "unknown_ca",
        CLIENT,
    )
    assert not facts.established


def test_client_refuses_the_certificate_under_encryption():
    pieces = [
        *lab.tls13_hellos(),
        (SERVER, record(23, bytes(900))),
        (CLIENT, record(20, b"\x01") + record(23, bytes(19))),
    ]
    pieces += [(CLIENT, None), (SERVER, None)]
    facts = same_however_cut(pieces).facts
    assert (facts.handshake, facts.failure, facts.alert, facts.alert_sender) == (
        "failed", "encrypted_alert", "encrypted_alert", CLIENT,
    )  # fmt: skip
    assert not facts.established


def test_no_common_version():
    connection = Connection(context(CLIENT, TLS13), context(SERVER, TLS12)).shake_hands()
    facts = same_however_cut(connection.pieces).facts
    assert (facts.handshake, facts.alert, facts.alert_sender, facts.version) == (
        "failed",
        "protocol_version",
        SERVER,
        None,
    )
    assert facts.offered_versions == ["TLSv1.3"]


def test_client_that_closes_right_after_the_handshake_has_completed_it():
    for version in (TLS12, TLS13):
        connection = connect(version)
        connection.close()
        facts = same_however_cut(connection.pieces).facts
        assert facts.handshake == "completed"
        assert facts.client_data_records == 0
        assert not facts.client_went_on


def test_null_cipher_is_read_on():
    server = context(SERVER, TLS12, ciphers="eNULL")
    connection = Connection(context(CLIENT, TLS12, ciphers="eNULL"), server).shake_hands().talk()
    connection.say(CLIENT, b"a2 LOGIN alice secret\r\n" * 2000).close()
    played = same_however_cut(connection.pieces)
    assert played.facts.null_cipher
    assert "_WITH_NULL_" in played.facts.cipher_suite
    assert played.facts.handshake == "completed"
    assert played.plain[SERVER] == b"* OK ready\r\na1 OK done\r\n"
    assert played.plain[CLIENT] == b"a1 NOOP\r\n" + b"a2 LOGIN alice secret\r\n" * 2000


def test_encrypted_data_is_never_handed_over():
    connection = connect(TLS12).talk()
    played = play(connection.pieces)
    assert not played.facts.null_cipher
    assert played.plain == [b"", b""]


# -- built octet by octet --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "version"), [(0x0300, "SSLv3"), (0x0301, "TLSv1.0"), (0x0302, "TLSv1.1"), (0x0303, "TLSv1.2")]
)
def test_rsa_key_transport_of_old_versions(code: int, version: str):
    played = same_however_cut(lab.old_handshake(code))
    facts = played.facts
    assert (facts.version, facts.handshake, facts.group) == (version, "completed", None)
    assert facts.offered_versions == [version]
    assert facts.cipher_suite == "TLS_RSA_WITH_AES_128_CBC_SHA"
    assert facts.resumed is False
    assert (facts.client_data_records, facts.server_data_records) == (1, 1)
    assert played.kinds() == ["TlsHelloSeen", "TlsCompleted"]
    assert played.events[1].version == version


def test_the_record_layer_is_never_the_version():
    offer = lab.client_hello(version=0x0303, extensions=None)
    facts = play([(CLIENT, record(22, offer, 0x0301))]).facts
    assert (facts.version, facts.offered_versions, facts.handshake) == (None, ["TLSv1.2"], "incomplete")


#: A segment of each side of which a snap length has left the beginning: 42 octets, as at 96.
def snapped(pieces: list[Piece], size: int = 42) -> list[Piece]:
    cut: list[Piece] = []
    for sender, what in pieces:
        assert isinstance(what, bytes)
        cut.append((sender, what[:size]))
        if len(what) > size:
            cut.append((sender, len(what) - size))
    return cut


CCS = record(20, b"\x01")


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0302, 0x0303])
def test_the_version_shows_in_what_a_snap_length_leaves(version: int):
    pieces = lab.old_handshake(version)
    for kept in (pieces, pieces[:2], pieces[2:]):
        facts = same_however_cut(snapped(kept)).facts
        assert facts.version_code == version
        assert facts.cipher_suite is None


def test_tls13_shows_in_what_a_snap_length_leaves():
    hellos = lab.tls13_hellos()
    answer: Piece = (CLIENT, CCS + record(23, bytes(53)))
    for size in (11, 42, 90):
        assert same_however_cut(snapped([*hellos, answer], size)).facts.version == "TLSv1.3"
    # Up to TLS 1.2 something stands between, and that may be missing; early data is no answer; nor is there one without a client.
    finished: Piece = (CLIENT, CCS + record(22, bytes(40)) + record(23, bytes(53)))
    lost: list[Piece] = [(CLIENT, CCS), (CLIENT, 45), (CLIENT, record(23, bytes(53)))]
    early: list[Piece] = [hellos[0], answer, hellos[1]]
    for pieces in ([*hellos, finished], early, hellos):
        assert same_however_cut(snapped(pieces)).facts.version is None
    assert same_however_cut([*snapped(hellos), *lost]).facts.version is None


def test_sslv2_format_hello_answered_by_tls():
    pieces = lab.old_handshake(0x0301)
    pieces[0] = (CLIENT, lab.sslv2_client_hello(0x0301, bytes.fromhex("00002f 010080 00000a")))
    played = same_however_cut(pieces)
    facts = played.facts
    assert (facts.version, facts.handshake) == ("TLSv1.0", "completed")
    assert facts.client_hello.sslv2
    assert facts.offered_versions == ["SSLv2", "TLSv1.0"]
    assert facts.offered_suites == [
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "SSL_CK_RC4_128_WITH_MD5",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    ]
    assert (facts.ja3, facts.ja4) == (None, None)


def test_sslv2_proper():
    der = b"a certificate"
    hello = b"\x04\0\x01" + lab.codes(2, len(der), 3, 16) + der + b"\x01\0\x80" + bytes(16)
    pieces: list[Piece] = [
        (CLIENT, lab.sslv2_client_hello(2, b"\x01\0\x80")),
        (SERVER, lab.sslv2_record(hello)),
        (CLIENT, lab.sslv2_record(b"\x02\x01\0\x80" + lab.codes(0, 128, 0) + bytes(128)) + lab.sslv2_record(bytes(33))),
        (SERVER, lab.sslv2_record(bytes(33)) + lab.sslv2_record(bytes(49))),
        (CLIENT, b"\x00\x20\x07" + bytes(32)),
    ]
    facts = same_however_cut(pieces).facts
    assert (facts.version, facts.handshake, facts.cipher_suite) == ("SSLv2", "completed", "SSL_CK_RC4_128_WITH_MD5")
    assert facts.certificates == [der]
    assert facts.offered_versions == ["SSLv2"]


def test_sslv2_error():
    pieces: list[Piece] = [(CLIENT, lab.sslv2_client_hello(2, b"\x01\0\x80")), (SERVER, lab.sslv2_record(b"\0\0\x01"))]
    facts = same_however_cut(pieces).facts
    assert (facts.handshake, facts.alert, facts.alert_sender) == ("failed", "no_cipher", SERVER)


def test_messages_are_joined_and_cut_by_records():
    hello = lab.client_hello(extensions=lab.sni(HOST))
    flight = lab.server_hello() + lab.certificates(b"A" * 500, b"B" * 700) + lab.message(14, b"")
    pieces: list[Piece] = [
        (CLIENT, b"".join([record(22, hello[at : at + 7]) for at in range(0, len(hello), 7)])),
        (SERVER, record(22, flight[:3]) + record(22, flight[3:600]) + record(22, b"") + record(22, flight[600:])),
    ]
    facts = same_however_cut(pieces).facts
    assert facts.sni == HOST
    assert facts.certificates == [b"A" * 500, b"B" * 700]
    assert facts.resumed is False
    assert facts.cipher_suite == "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"


def test_diffie_hellman_primes():
    def exchange(prime: bytes) -> object:
        body = (
            lab.counted(2, prime)
            + lab.counted(2, b"\x02")
            + lab.counted(2, b"\x05")
            + lab.codes(0x0804)
            + lab.counted(2, bytes(256))
        )
        flight = lab.server_hello(suite=0x009E) + lab.message(12, body)
        return same_however_cut([(CLIENT, record(22, lab.client_hello())), (SERVER, record(22, flight))]).facts

    facts = exchange(b"\x80" + bytes(127))
    assert (facts.group, facts.dh_bits, facts.signature_scheme) == ("DH-1024", 1024, "rsa_pss_rsae_sha256")
    named = bytes.fromhex("ffffffffffffffffadf85458a2bb4a9a") + bytes(240)
    assert exchange(named).group == "ffdhe2048"
    assert exchange(b"\0" + b"\x01" + bytes(63)).dh_bits == 505


def test_middlebox_change_cipher_spec_means_nothing_in_tls13():
    pieces = lab.tls13_hellos()
    pieces += [(CLIENT, record(20, b"\x01")), (SERVER, record(23, bytes(900)))]
    facts = play(pieces).facts
    assert facts.handshake == "incomplete"
    pieces += [(CLIENT, record(23, bytes(53)))]
    facts = same_however_cut(pieces).facts
    assert (facts.handshake, facts.client_data_records) == ("completed", 0)


def test_a_small_first_record_that_is_followed_by_more_was_no_alert():
    pieces = [*lab.tls13_hellos(), (SERVER, record(23, bytes(900))), (CLIENT, record(23, bytes(19)))]
    assert play(pieces, finish=False).facts.handshake == "incomplete"
    assert play([*pieces, (CLIENT, record(23, bytes(53)))]).facts.handshake == "completed"
    assert play([*pieces, (CLIENT, None)]).facts.failure == "encrypted_alert"


def test_server_that_fails_right_after_its_hello():
    pieces = [*lab.tls13_hellos(), (SERVER, record(23, bytes(19))), (SERVER, None)]
    facts = same_however_cut(pieces).facts
    assert (facts.failure, facts.failure_sender) == ("encrypted_alert", SERVER)


def test_early_data_does_not_complete_the_handshake():
    hellos = lab.tls13_hellos()
    pieces = [hellos[0], (CLIENT, record(20, b"\x01") + record(23, bytes(300))), hellos[1]]
    assert play(pieces).facts.handshake == "incomplete"
    pieces += [(SERVER, record(23, bytes(900))), (CLIENT, record(23, bytes(21)) + record(23, bytes(53)))]
    assert same_however_cut(pieces).facts.handshake == "completed"


def test_abbreviated_handshake_with_a_ticket_and_without_session_id():
    ccs, finished = record(20, b"\x01"), record(22, bytes(40))
    pieces: list[Piece] = [
        (CLIENT, record(22, lab.client_hello(extensions=lab.extension(35, bytes(100))))),
        (SERVER, record(22, lab.server_hello()) + record(22, lab.message(4, bytes(60))) + ccs + finished),
        (CLIENT, ccs + finished),
    ]
    facts = same_however_cut(pieces).facts
    assert (facts.resumed, facts.resumption, facts.handshake) == (True, "ticket", "completed")


def test_a_server_that_echoes_the_session_id_and_sends_a_certificate_resumes_nothing():
    pieces = lab.old_handshake(0x0303)
    pieces[0] = (CLIENT, record(22, lab.client_hello(session_id=b"x" * 32)))
    flight = lab.server_hello(session_id=b"x" * 32) + lab.certificates(b"der") + lab.message(14, b"")
    pieces[1] = (SERVER, record(22, flight))
    facts = same_however_cut(pieces).facts
    assert (facts.resumed, facts.resumption) == (False, None)


def test_renegotiation():
    ccs, sealed = record(20, bytes(24)), record(22, bytes(60))
    pieces = [
        *lab.old_handshake(0x0303),
        (CLIENT, sealed),
        (SERVER, sealed),
        (CLIENT, sealed + ccs + sealed),
        (SERVER, ccs + sealed),
    ]
    facts = same_however_cut(pieces).facts
    assert (facts.renegotiations, facts.handshake, facts.alert) == (1, "completed", None)
    assert play(lab.old_handshake(0x0303)).facts.renegotiations == 0


def test_warning_alerts_do_not_fail_a_handshake():
    pieces = lab.old_handshake(0x0303)
    sender, flight = pieces[1]
    pieces[1] = (sender, record(21, b"\x01\x70") + flight)
    played = same_however_cut(pieces)
    facts = played.facts
    assert (facts.handshake, facts.alert, facts.alert_fatal) == ("completed", "unrecognized_name", False)


def test_a_warning_followed_by_the_end_is_why_the_handshake_failed():
    pieces = [*lab.old_handshake(0x0303)[:2], (CLIENT, record(21, b"\x01\x2e")), (CLIENT, None)]
    facts = same_however_cut(pieces).facts
    assert (facts.handshake, facts.failure, facts.alert, facts.alert_sender) == (
        "failed",
        "alert",
        "certificate_unknown",
        CLIENT,
    )


def test_close_before_the_end_of_the_handshake():
    pieces = [*lab.old_handshake(0x0303)[:2], (CLIENT, None), (SERVER, None)]
    played = same_however_cut(pieces)
    assert (played.facts.handshake, played.facts.failure, played.facts.failure_sender) == ("failed", "closed", CLIENT)
    assert play(lab.old_handshake(0x0303)[:2]).facts.handshake == "incomplete"


def test_encrypted_alert_instead_of_the_servers_finished():
    pieces = [*lab.old_handshake(0x0303)[:3], (CLIENT, record(21, bytes(26))), (CLIENT, None)]
    facts = same_however_cut(pieces).facts
    assert (facts.failure, facts.alert, facts.alert_sender) == ("encrypted_alert", "encrypted_alert", CLIENT)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"-ERR not now\r\nmore", "-ERR not now"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request"),
        (b"5", "5"),
    ],
)
def test_text_instead_of_tls(text: bytes, line: str):
    pieces: list[Piece] = [(CLIENT, record(22, lab.client_hello())), (SERVER, text), (SERVER, None), (CLIENT, None)]
    played = same_however_cut(pieces)
    assert (played.facts.handshake, played.facts.failure, played.facts.failure_sender) == ("failed", "text", SERVER)
    assert played.facts.text.split(b"\r")[0] == line.encode()
    assert played.kinds() == ["TlsHelloSeen", "TlsFailed"]


def test_text_that_came_first_fails_the_handshake_too():
    pieces: list[Piece] = [(SERVER, b"220 hello\r\n"), (CLIENT, record(22, lab.client_hello()))]
    assert same_however_cut(pieces).facts.failure == "text"


def test_text_alone_is_not_tls():
    played = play([(SERVER, b"220 hello\r\n"), (CLIENT, b"EHLO me\r\n"), (CLIENT, None), (SERVER, None)])
    assert not played.dissector.recognised
    assert played.facts.handshake == "unseen"
    assert played.events == []


def test_null_cipher_by_hand_and_its_limits():
    mac = bytes(32)
    pieces = lab.old_handshake(0x0303, 0x003B, data=False)
    pieces += [(CLIENT, record(23, b"USER alice\r\n" + mac)), (SERVER, record(23, b"+OK\r\n" + mac) + record(23, mac))]
    played = same_however_cut(pieces)
    assert played.plain == [b"USER alice\r\n", b"+OK\r\n"]
    # a gap inside a record costs that record alone
    pieces += [
        (CLIENT, record(23, b"PASS x\r\n" + mac)[:8]),
        (CLIENT, 35),
        (CLIENT, b"\0" * 2 + record(23, b"QUIT\r\n" + mac)),
    ]
    assert same_however_cut(pieces).plain[CLIENT] == b"USER alice\r\nQUIT\r\n"
    # data that nobody takes is dropped, and counted
    dissector = TlsDissector("implicit")
    for sender, data in lab.old_handshake(0x0303, 0x003B, data=False):
        dissector.receive_data(sender, data, Position(1, 0, 0))
    for _ in range(MAX_PLAINTEXT // 16000 + 20):
        dissector.receive_data(CLIENT, record(23, bytes(16000) + mac), Position(1, 0, 0))
    assert dissector.plaintext_dropped > 0
    assert MAX_PLAINTEXT - 16000 <= len(dissector.plaintext(CLIENT)) <= MAX_PLAINTEXT


def test_null_cipher_of_tls13():
    tag = bytes(32)
    pieces = [
        *lab.tls13_hellos(0xC0B4),
        (SERVER, record(23, bytes(400) + b"\x16" + tag)),
        (CLIENT, record(23, bytes(36) + b"\x16" + tag)),
    ]
    pieces += [(CLIENT, record(23, b"USER alice\r\n\x17\0\0" + tag))]
    played = same_however_cut(pieces)
    assert (played.facts.null_cipher, played.facts.handshake) == (True, "completed")
    assert played.plain == [b"USER alice\r\n", b""]


def test_compressed_null_cipher_is_not_handed_over():
    pieces = lab.old_handshake(0x0303, 0x003B)
    pieces[1] = (SERVER, record(22, lab.server_hello(suite=0x003B, compression=1)))
    played = play(pieces)
    assert (played.facts.null_cipher, played.facts.compression) == (True, True)
    assert played.plain == [b"", b""]


# -- parts of connections ---------------------------------------------------------------------------------------------------


def test_midstream_at_a_record_boundary():
    pieces = [(SERVER, record(23, bytes(90), 0x0303)), (CLIENT, record(23, bytes(60), 0x0303))]
    for midstream in (False, True):
        played = same_however_cut(pieces, midstream=midstream)
        assert played.dissector.recognised
        assert (played.facts.handshake, played.facts.version, played.facts.established) == ("unseen", None, True)


def test_midstream_of_an_old_version_tells_it():
    facts = play([(SERVER, record(23, bytes(90), 0x0301))]).facts
    assert facts.version == "TLSv1.0"


def test_midstream_inside_a_record():
    sealed = bytes(range(256)) * 4
    pieces = [(SERVER, sealed[100:] + record(23, sealed) + record(23, sealed)), (CLIENT, record(23, sealed))]
    played = same_however_cut(pieces, midstream=True)
    assert played.dissector.recognised
    assert played.facts.server_data_octets == 1024  # the first record found only confirms that these are records
    assert not play([(SERVER, sealed * 4)], midstream=True).dissector.recognised


def test_midstream_found_the_wrong_way_round():
    pieces = lab.old_handshake(0x0301)
    turned: list[Piece] = [(1 - sender, data) for sender, data in pieces]
    played = same_however_cut(turned)
    facts = played.facts
    assert facts.roles_swapped
    assert (facts.handshake, facts.version, facts.client_data_records) == ("completed", "TLSv1.0", 1)
    facts = same_however_cut(turned[1:]).facts
    assert facts.roles_swapped
    assert facts.version == "TLSv1.0"


@pytest.mark.parametrize("version", [0x0301, 0x0303])
def test_one_direction_alone(version: int):
    pieces = lab.old_handshake(version)
    client = same_however_cut([piece for piece in pieces if piece[0] == CLIENT]).facts
    server = same_however_cut([piece for piece in pieces if piece[0] == SERVER]).facts
    assert (client.handshake, server.handshake) == ("completed", "completed")
    assert client.version == server.version
    assert client.cipher_suite is None
    assert server.cipher_suite == "TLS_RSA_WITH_AES_128_CBC_SHA"


def test_one_direction_of_tls13():
    connection = connect(TLS13).talk().close()
    client = same_however_cut([piece for piece in connection.pieces if piece[0] == CLIENT]).facts
    server = same_however_cut([piece for piece in connection.pieces if piece[0] == SERVER]).facts
    assert (client.handshake, client.version, client.offered_versions) == ("completed", None, ["TLSv1.3"])
    assert (server.handshake, server.version) == ("completed", "TLSv1.3")


def test_hello_without_an_answer():
    facts = play([(CLIENT, record(22, lab.client_hello())), (CLIENT, None)]).facts
    assert facts.handshake == "incomplete"
    facts = play([(CLIENT, record(22, lab.client_hello())), (SERVER, None)]).facts
    assert (facts.handshake, facts.failure, facts.failure_sender) == ("failed", "closed", SERVER)


# -- gaps and damage ---------------------------------------------------------------------------------------------------------


def test_gap_inside_application_data_is_stepped_over():
    data = record(23, bytes(5000))
    pieces = [
        *lab.old_handshake(0x0303),
        (SERVER, data[:500]),
        (SERVER, 4000),
        (SERVER, data[4500:] + record(23, bytes(7))),
    ]
    played = same_however_cut(pieces)
    assert played.facts.server_data_records == 3
    assert not played.facts.damaged
    assert played.anomalies() == []


def test_gap_over_record_headers_resynchronises():
    sealed = bytes([7]) * 3000
    data = record(23, sealed) * 3
    pieces = [
        *lab.old_handshake(0x0303),
        (SERVER, data[:500]),
        (SERVER, 4000),
        (SERVER, data[4500:] + record(23, bytes(9))),
    ]
    played = same_however_cut(pieces)
    assert played.facts.server_data_octets == 64 + 3000 + 3000 + 9
    assert played.anomalies() == []


def test_gap_inside_the_certificate_costs_the_certificate_alone():
    flight = record(
        22, lab.server_hello() + lab.certificates(bytes(3000)) + lab.message(13, bytes(8)) + lab.message(14, b"")
    )
    pieces = [
        lab.old_handshake(0x0303)[0], (SERVER, flight[:400]), (SERVER, 1000), (SERVER, flight[1400:]),
        *lab.old_handshake(0x0303)[2:],
    ]  # fmt: skip
    facts = same_however_cut(pieces).facts
    assert (facts.cert_seen, facts.certificates) == (True, [])
    assert facts.client_certificate_requested
    assert (facts.handshake, facts.resumed, facts.damaged) == ("completed", False, True)


def test_gap_over_a_hello():
    pieces = lab.old_handshake(0x0301)
    facts = same_however_cut([(CLIENT, 100), *pieces[1:]]).facts
    assert (facts.handshake, facts.version, facts.sni) == ("completed", "TLSv1.0", None)
    facts = same_however_cut([pieces[0], (SERVER, 300), *pieces[2:]]).facts
    assert (facts.handshake, facts.version) == ("completed", "TLSv1.0")
    facts = same_however_cut([(CLIENT, 100), (SERVER, 300), *pieces[2:]]).facts
    assert facts.handshake == "unseen"
    assert facts.established


def test_garbage_between_records():
    pieces = [
        *lab.old_handshake(0x0303),
        (SERVER, b"garbage and noise" + record(23, bytes(30)) + record(23, bytes(30))),
    ]
    played = same_however_cut(pieces)
    assert played.anomalies() == ["tls_stream_lost"]
    assert played.facts.server_data_octets == 64 + 60


def test_garbage_without_end_is_given_up():
    noise = (b"\x17\x03\x03\x00\x01" + b"x\xff") * 100
    played = same_however_cut([*lab.old_handshake(0x0303), (SERVER, noise)])
    assert len(played.anomalies()) <= MAX_ANOMALIES
    assert played.facts.server_data_records < 100


@pytest.mark.parametrize(
    "header", [b"\x16\x03\x01\xff\xff", b"\x16\x04\x01\x00\x40", b"\x19\x03\x01\x00\x40", b"\x17\x03\x09\x00\x40"]
)
def test_impossible_record_headers(header: bytes):
    played = same_however_cut([(CLIENT, header + bytes(100))])
    assert not played.dissector.recognised
    assert played.facts.handshake == "unseen"


def test_a_client_hello_that_claims_16_megabytes_costs_little():
    dissector = TlsDissector("implicit")
    claim = b"\x01\xff\xff\xff" + bytes(16000)
    anomalies = dissector.receive_data(CLIENT, record(22, claim), Position(1, 0, 0))
    assert [event.kind for event in anomalies] == ["tls_handshake_too_long"]
    for _ in range(1000):
        dissector.receive_data(CLIENT, record(22, bytes(16000)), Position(1, 0, 0))
    assert len(dissector._from_client.message) == 0
    assert dissector.facts.handshake == "unseen"


def test_a_long_message_is_kept_up_to_its_limit_only():
    dissector = TlsDissector("implicit")
    dissector.receive_data(
        CLIENT, record(22, b"\x01" + (MAX_HANDSHAKE).to_bytes(3, "big") + bytes(16000)), Position(1, 0, 0)
    )
    for _ in range(40):
        dissector.receive_data(CLIENT, record(22, bytes(16000)), Position(1, 0, 0))
        assert len(dissector._from_client.message) <= MAX_HANDSHAKE + 4


def test_unknown_handshake_messages_cost_their_record():
    pieces: list[Piece] = [
        (CLIENT, record(22, lab.message(99, bytes(10))) + record(22, lab.client_hello(extensions=lab.sni(HOST))))
    ]
    played = same_however_cut(pieces)
    assert played.anomalies() == ["tls_malformed"]
    assert played.facts.sni == HOST


def test_many_certificates_are_counted_and_not_kept():
    flight = lab.server_hello() + lab.certificates(*[bytes([n]) * 10 for n in range(40)])
    facts = play([(CLIENT, record(22, lab.client_hello())), (SERVER, record(22, flight))]).facts
    assert len(facts.certificates) == MAX_CERTIFICATES
    assert facts.certificates_left_out == 40 - MAX_CERTIFICATES


def test_alerts_are_told_a_bounded_number_of_times():
    played = play([(CLIENT, record(22, lab.client_hello())), (SERVER, record(21, b"\x01\x70") * 1000)])
    assert played.kinds().count("TlsAlert") == MAX_ALERTS


def test_data_goes_by_in_bulk():
    played = play(lab.old_handshake(0x0303))
    dissector = played.dissector
    dissector.receive_data(SERVER, record(23, bytes(16384))[:1000], Position(9, 0, 0))
    for _ in range(10):
        assert dissector.receive_data(SERVER, bytes(1400), Position(9, 0, 0)) == []
    assert dissector._from_server.remaining == 16384 - 995 - 14000


# -- anything ------------------------------------------------------------------------------------------------------------------

SAMPLES = [
    lab.old_handshake(0x0301),
    lab.old_handshake(0x0303, 0x003B),
    [*lab.tls13_hellos(), (SERVER, record(23, bytes(900))), (CLIENT, record(23, bytes(53)))],
    [(CLIENT, lab.sslv2_client_hello(0x0301, b"\0\0\x2f")), *lab.old_handshake(0x0301)[1:]],
]

octets = st.one_of(
    st.binary(max_size=60),
    st.builds(record, st.integers(19, 25), st.binary(max_size=60), st.sampled_from([0x0300, 0x0303, 0x0305])),
    st.sampled_from([data for sample in SAMPLES for _, data in sample if isinstance(data, bytes)]),
)
anything = st.lists(
    st.tuples(st.sampled_from([CLIENT, SERVER]), st.one_of(octets, st.integers(1, 3000), st.none())), max_size=12
)


@settings(max_examples=150, deadline=None)
@given(anything, st.integers(0, 1000), st.booleans())
@example([(0, b"\0"), (0, b"\x14\3\0\0\1\0"), (0, 1), (0, b"\x14\3\0\0\1")], 0, True)
def test_anything_never_raises_and_never_depends_on_cuts(pieces: list[Piece], seed: int, midstream: bool):
    whole = play(pieces, midstream=midstream).summary()
    assert play(pieces, cut="random", seed=seed, midstream=midstream).summary() == whole
    assert play(pieces, cut="octets", midstream=midstream).summary() == whole


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_handshakes_never_raise(sample: list[Piece], data: st.DataObject):
    pieces: list[Piece] = []
    for sender, what in sample:
        assert isinstance(what, bytes)
        changed = bytearray(what)
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        pieces.append((sender, bytes(changed)))
    whole = play(pieces).summary()
    assert play(pieces, cut="octets").summary() == whole
