"""Rules about TLS itself: versions and cipher suites that protect no more, handshakes that failed and why."""

from __future__ import annotations

from typing import Final

from analyzer.findings.base import CRITICAL, HIGH, LIKELY, LOW, MEDIUM, SURE, TLS, Found, Rule
from analyzer.findings.traits import server_text
from analyzer.protocols.events import TLS_ON_PLAINTEXT_PORT
from analyzer.sessions.records import Session, TlsHandshake

#: A finite-field group below this many bits is weak (RFC 9325 section 4.4).
MIN_DH_BITS: Final = 2048

#: Parts of suite names, what is wrong with them, and how bad it is: worst first.
WEAK_PARTS: Final = (
    ("_NULL_", "does not encrypt", CRITICAL),
    ("_anon_", "does not authenticate the server", HIGH),
    ("_EXPORT_", "has an export key of 40 or 56 bits", HIGH),
    ("_EXPORT1024_", "has an export key of 56 bits", HIGH),
    ("_RC4_", "uses RC4 (RFC 7465)", HIGH),
    ("_RC2_", "uses RC2", HIGH),
    ("_DES40_", "uses DES with 40 bits", HIGH),
    ("_DES_CBC", "uses DES with 56 bits", HIGH),
    ("_DES_64_CBC_", "uses DES with 56 bits", HIGH),
    ("_3DES_", "uses 3DES, whose blocks are too short (Sweet32)", MEDIUM),
    ("_DES_192_", "uses 3DES, whose blocks are too short (Sweet32)", MEDIUM),
    ("_IDEA_", "uses IDEA, whose blocks are too short (Sweet32)", MEDIUM),
)

#: Beginnings of the names of suites whose keys an attacker who gets the server's key later can compute.
STATIC_KEYS: Final = (
    "TLS_RSA_",
    "TLS_DH_RSA_",
    "TLS_DH_DSS_",
    "TLS_ECDH_RSA_",
    "TLS_ECDH_ECDSA_",
    "TLS_PSK_",
    "TLS_RSA_PSK_",
    "SSL_CK_",
    "SSL2_",
)

#: What an alert says, in words.
CAUSES: Final[dict[str, str]] = {
    "unknown_ca": "{who} does not know who issued the certificate",
    "bad_certificate": "{who} found the certificate bad",
    "certificate_unknown": "{who} did not accept the certificate",
    "certificate_expired": "{who} found the certificate out of date",
    "certificate_revoked": "{who} found the certificate revoked",
    "unsupported_certificate": "{who} cannot use this kind of certificate",
    "certificate_required": "the server wants a certificate of the client",
    "no_certificate": "the client has no certificate",
    "protocol_version": "the two have no TLS version in common",
    "handshake_failure": "the two have no cipher suite, group or signature in common",
    "insufficient_security": "{who} found what the other side offers too weak",
    "inappropriate_fallback": "the client tried an older version than both could do",
    "unrecognized_name": "the server does not know the name that it was asked for",
    "no_application_protocol": "the two have no application protocol in common",
    "decrypt_error": "{who} could not verify a signature or a finished message",
    "internal_error": "{who} had a fault of its own",
    "user_canceled": "{who} gave up",
    "close_notify": "{who} broke it off",
}
_CERTIFICATE_ALERTS: Final = (
    "unknown_ca",
    "bad_certificate",
    "certificate_unknown",
    "certificate_expired",
    "certificate_revoked",
    "unsupported_certificate",
)

#: What judge() says of certificates, in words.
PROBLEMS: Final[dict[str, str]] = {
    "unparsable": "cannot be parsed",
    "expired": "has expired",
    "not_yet_valid": "is not yet valid",
    "expiring": "expires soon",
    "name_mismatch": "is for other names",
    "self_signed": "is self-signed",
    "untrusted": "leads to no known root",
    "weak_key": "has a weak key",
    "weak_signature": "has a weak signature",
}


def tls_obsolete_version(session: Session, found: Found) -> None:
    """A connection uses SSL 2, SSL 3, TLS 1.0 or TLS 1.1.

    SSL 2 and 3 are broken (RFC 6176, RFC 7568); TLS 1.0 and 1.1 rest on MD5 and SHA-1 and are withdrawn (RFC 8996), for mail
    expressly (RFC 8997). The version is the one that the server chose, not the one in the record header.

    High for SSL 2 and SSL 3, medium for TLS 1.0 and 1.1.
    """
    tls = session.tls
    if tls is None or tls.version is None or tls.handshake == "failed":
        return
    version = tls.version
    if version == "TLSv1.2" or version == "TLSv1.3":
        return
    if version == "SSLv2" or version == "SSLv3" or version == "TLSv1.0" or version == "TLSv1.1":
        offered = f"; the client offered {', '.join(tls.offered_versions)}" if tls.offered_versions else ""
        found.add(
            session, tls.frame, tls.timestamp_ns, 0, severity=HIGH if version.startswith("SSL") else MEDIUM,
            confidence=SURE if tls.handshake == "completed" else LIKELY,
            detail=f"{version} with {server_text(session)}{offered}",
        )  # fmt: skip


def tls_weak_cipher(session: Session, found: Found) -> None:
    """A connection uses a cipher suite, or a Diffie-Hellman group, that does not protect.

    Suites without encryption, anonymous ones, export, RC4, DES and 3DES, and groups of less than 2048 bits. Anonymous suites let anybody on the way pose as the server; the rest can be broken, some at home (RFC 9325 section 4.2).

    Critical where nothing is encrypted; medium for 3DES, IDEA and short groups; high for the rest.
    """
    tls = session.tls
    if tls is None or tls.handshake == "failed":
        return
    suite = tls.cipher_suite
    if suite is None and tls.null_cipher:
        found.add(
            session,
            tls.frame,
            tls.timestamp_ns,
            0,
            severity=CRITICAL,
            detail=f"{server_text(session)} does not encrypt",
        )
    elif suite is not None:
        name = suite + "_"
        for part, what, severity in WEAK_PARTS:
            if part in name:
                found.add(
                    session, tls.frame, tls.timestamp_ns, 0, severity=severity,
                    confidence=SURE if tls.handshake == "completed" else LIKELY,
                    detail=f"{suite} with {server_text(session)} {what}",
                )  # fmt: skip
                return
    group = tls.group
    if group is not None and group.startswith("DH-") and group[3:].isdecimal() and int(group[3:]) < MIN_DH_BITS:
        found.add(
            session, tls.frame, tls.timestamp_ns, 0, severity=MEDIUM, confidence=SURE if tls.handshake == "completed" else LIKELY,
            detail=f"Diffie-Hellman group of {group[3:]} bits with {server_text(session)}",
        )  # fmt: skip


def tls_no_forward_secrecy(session: Session, found: Found) -> None:
    """A connection's keys hang on the server's long-term key (RSA key transport, static Diffie-Hellman, plain PSK).

    Whoever records the traffic today and gets the server's key in years to come reads all of it (RFC 9325 section 4.1).
    """
    tls = session.tls
    if tls is None or tls.handshake == "failed" or tls.cipher_suite is None or tls.version == "TLSv1.3":
        return
    if tls.cipher_suite.startswith(STATIC_KEYS):
        found.add(
            session, tls.frame, tls.timestamp_ns, 0, confidence=SURE if tls.handshake == "completed" else LIKELY,
            detail=f"{tls.cipher_suite} with {server_text(session)}",
        )  # fmt: skip


def tls_handshake_failed(session: Session, found: Found) -> None:
    """A TLS handshake failed; the finding says which side ended it and why, as far as that can be seen.

    Where the server says why in clear behind it, its words are told. To the user it is "the server does not work", and his next step is often to switch encryption off. A client that refuses a
    certificate is right to do so: mend the certificate.

    Medium; low where one side closed the connection without a word, which may be a probe or a user who gave up.
    """
    tls = session.tls
    if tls is None or tls.handshake != "failed":
        return
    for seen in session.anomalies or []:
        if seen.kind == TLS_ON_PLAINTEXT_PORT:
            return  # said by its own rule, and there was no handshake
    found.add(
        session, tls.alert_frame or tls.frame, tls.timestamp_ns, 0, severity=LOW if tls.failure == "closed" else MEDIUM,
        confidence=LIKELY if tls.failure == "closed" or tls.failure == "encrypted_alert" else SURE,
        detail=f"{session.client_ip} and {server_text(session)}: {cause(tls, found.certificate_problems(session))}",
    )  # fmt: skip


def cause(tls: TlsHandshake, problems: list[str]) -> str:
    """Why a handshake failed, in words, the server's own behind them; ``problems`` are those of the server's certificate."""
    text = _seen_cause(tls, problems)
    return text if tls.reason is None else f"{text}; the server said: {tls.reason}"


def _seen_cause(tls: TlsHandshake, problems: list[str]) -> str:
    side = tls.failure_sender or tls.alert_sender
    who = "one side" if side is None else f"the {side}"
    if tls.failure == "text":
        return (
            f"{who} went on with text instead of TLS"
            if side == "client"
            else "the server answered with text instead of TLS"
        )
    if tls.failure == "closed":
        return f"{who} closed the connection without a word"
    alert = tls.alert
    if alert is None or tls.failure == "encrypted_alert":
        return f"{who} ended it with an encrypted record of an alert's size"
    text = f"{CAUSES.get(alert, f'{who} sent the alert {alert}').format(who=who)} (alert {alert})"
    if alert in _CERTIFICATE_ALERTS and problems:
        text = f"{text}; the certificate {', '.join([PROBLEMS.get(problem, problem) for problem in problems])}"
    if alert == "protocol_version" and tls.offered_versions:
        text = f"{text}; the client offered {', '.join(tls.offered_versions)}"
    return text


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "tls-obsolete-version", MEDIUM, "Obsolete TLS version", tls_obsolete_version, TLS,
        "Allow TLS 1.2 and 1.3 only on the server; update clients that can do no better.",
        ("RFC 8996", "RFC 8997", "RFC 9325 section 3.1", "CWE-327"),
    ),
    Rule(
        "tls-weak-cipher", HIGH, "Weak cipher suite", tls_weak_cipher, TLS,
        "Allow suites with ECDHE and AES-GCM or ChaCha20 only, and groups of 2048 bits or more.",
        ("RFC 9325 section 4.2", "RFC 7465", "CVE-2016-2183", "CWE-327"),
    ),
    Rule(
        "tls-no-forward-secrecy", LOW, "No forward secrecy", tls_no_forward_secrecy, TLS,
        "Allow suites with ECDHE (or DHE) only; TLS 1.3 has no others.",
        ("RFC 9325 section 4.1", "CWE-326"),
    ),
    Rule(
        "tls-handshake-failed", MEDIUM, "TLS handshake failed", tls_handshake_failed, TLS,
        "Mend the cause that the finding names: install a certificate that fits, or allow versions that both sides know.",
        ("RFC 8446 section 6.2", "RFC 5246 section 7.2.2"),
    ),
)  # fmt: skip
