"""Names of TLS numbers, against the registries and against OpenSSL."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from analyzer.protocols import tls_names as names


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x0000, "TLS_NULL_WITH_NULL_NULL"),
        (0x002F, "TLS_RSA_WITH_AES_128_CBC_SHA"),
        (0x00FF, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
        (0x1301, "TLS_AES_128_GCM_SHA256"),
        (0x5600, "TLS_FALLBACK_SCSV"),
        (0xC02F, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
        (0xC0AA, "TLS_PSK_DHE_WITH_AES_128_CCM_8"),
        (0xCCA8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
        (0xFEFF, "SSL_RSA_FIPS_WITH_3DES_EDE_CBC_SHA"),
        (0x0A0A, "GREASE"),
        (0x7777, "0x7777"),
        (0x0700C0, "SSL_CK_DES_192_EDE3_CBC_WITH_MD5"),
    ],
)
def test_suites(code: int, name: str):
    assert names.suite_name(code) == name


def test_suites_are_those_of_openssl():
    if shutil.which("openssl") is None:
        return  # nothing to compare with
    out = subprocess.run(
        ["openssl", "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    compared = 0
    for line in out.splitlines():
        code, _, name = line.split()[:3]
        first, second = code.split(",")
        if name != "UNKNOWN" and not name.startswith("GOST"):
            assert names.suite_name(int(first, 16) << 8 | int(second, 16)) == name
            compared += 1
    assert compared > 30


def test_no_suite_is_in_two_tables():
    assert not set(names.SUITES) & set(names.UNREGISTERED_SUITES)
    assert len(set(names.SUITES.values())) == len(names.SUITES)
    assert not any(names.is_grease(code) for code in names.SUITES)


def test_other_names():
    assert names.version_name(0x0304) == "TLSv1.3"
    assert names.version_name(0x7F1C) == "TLSv1.3"
    assert names.version_name(0x1234) == "0x1234"
    assert names.group_name(29) == "x25519"
    assert names.group_name(0x11EC) == "X25519MLKEM768"
    assert names.group_name(0x9999) == "0x9999"
    assert names.signature_scheme_name(0x0804) == "rsa_pss_rsae_sha256"
    assert names.signature_scheme_name(0x0202) == "dsa_sha1"
    assert names.signature_scheme_name(0x0303) == "ecdsa_sha224"
    assert names.signature_scheme_name(0xEEEE) == "0xeeee"
    assert names.alert_name(48) == "unknown_ca"
    assert names.alert_name(200) == "alert_200"


def test_grease_is_left_out_of_lists():
    assert names.codes_of(bytes.fromhex("0a0a 1301 fafa c02f 00")) == [0x1301, 0xC02F]
    assert names.names_of("groups", bytes.fromhex("1a1a001d")) == ("x25519",)
    assert names.names_of("sslv2_suites", bytes.fromhex("010080 00002f")) == (
        "SSL_CK_RC4_128_WITH_MD5",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
    )
    assert names.names_of("versions", bytes.fromhex("0304 0303")) == ("TLSv1.3", "TLSv1.2")
    assert names.names_of("signature_schemes", bytes.fromhex("0403")) == ("ecdsa_secp256r1_sha256",)


def test_lists_that_are_remembered_are_bounded():
    for number in range(names.MAX_REMEMBERED + 10):
        names.names_of("suites", number.to_bytes(4, "big"))
    assert len(names._names_of_lists) <= names.MAX_REMEMBERED
    assert len(names.names_of("suites", bytes(65534))) == names.MAX_NAMED


@pytest.mark.parametrize(
    ("suite", "exchange", "mac"),
    [
        (0x1301, "", -1),
        (0xC0B4, "", 32),
        (0xC0B5, "", 48),
        (0x0000, "NULL", 0),
        (0x0001, "RSA", 16),
        (0x0002, "RSA", 20),
        (0x003B, "RSA", 32),
        (0xC03B, "ECDHE_PSK", 48),
        (0xC010, "ECDHE", 20),
        (0xC02F, "ECDHE", -1),
        (0xC018, "ECDHE", -1),
        (0x0034, "DHE", -1),
        (0x009E, "DHE", -1),
        (0x00B4, "DHE_PSK", 32),
        (0xC0AA, "DHE_PSK", -1),
        (0xCC13, "ECDHE", -1),
        (0x7777, "", -1),
    ],
)
def test_what_a_suite_does(suite: int, exchange: str, mac: int):
    assert names.key_exchange(suite) == exchange
    assert names.null_mac_size(suite) == mac
