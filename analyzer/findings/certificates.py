"""Rules about servers' certificates, judged at capture time; and about clients that went on whatever was wrong.

A certificate can be seen up to TLS 1.2 and in full handshakes only: nothing here means "unseen", not "fine". Private
certification authorities are common inside organisations, so a path to no public root weighs little, and is said once a server.
"""

from __future__ import annotations

import time
from typing import Final

from analyzer.findings.base import CERTIFICATE, HIGH, HINT, INFO, LIKELY, LOW, MEDIUM, SURE, Found, Rule
from analyzer.findings.tls import PROBLEMS
from analyzer.findings.traits import server_text
from analyzer.sessions.certificates import (
    EXPIRED,
    EXPIRING,
    NAME_MISMATCH,
    NOT_YET_VALID,
    SELF_SIGNED,
    UNPARSABLE,
    UNTRUSTED,
    WEAK_KEY,
    WEAK_SIGNATURE,
    Certificate,
    parse_certificate,
)
from analyzer.sessions.records import Session

#: Names of a certificate that a finding quotes.
MAX_NAMED: Final = 5
#: Certificates of one server that are remembered as already told of.
MAX_SAID: Final = 100


def _certificate(session: Session) -> Certificate | None:
    tls = session.tls
    if tls is None or not tls.certificates:
        return None
    return parse_certificate(tls.certificates[0])


def _day(timestamp_ns: int | None) -> str:
    """A day as ``2026-03-02``."""
    if timestamp_ns is None:
        return "an unknown day"
    return time.strftime("%Y-%m-%d", time.gmtime(min(max(timestamp_ns // 1_000_000_000, 0), 253402300799)))


def _add(session: Session, found: Found, problem: str, what: str, severity: int = -1, confidence: str = SURE) -> None:
    """Report a problem of the certificate, if it has it."""
    tls = session.tls
    if tls is None or problem not in found.certificate_problems(session):
        return
    own = _certificate(session)
    subject = "" if own is None or own.subject is None else f" of {own.subject[:120]}"
    found.add(
        session, tls.frame, tls.timestamp_ns, 0, severity=severity, confidence=confidence,
        detail=f"{server_text(session)}: certificate{subject} {what}",
    )  # fmt: skip


def certificate_expired(session: Session, found: Found) -> None:
    """The server's certificate had run out when it was used.

    Users are shown a warning, and learn to click it away; clients set to "accept all" do so silently.
    """
    own = _certificate(session)
    if own is not None:
        _add(session, found, EXPIRED, f"ran out on {_day(own.not_after_ns)}")


def certificate_not_yet_valid(session: Session, found: Found) -> None:
    """The server's certificate was not valid yet when it was used: it was installed too early, or a clock is wrong."""
    own = _certificate(session)
    if own is not None:
        _add(session, found, NOT_YET_VALID, f"begins on {_day(own.not_before_ns)}")


def certificate_expiring(session: Session, found: Found) -> None:
    """The server's certificate runs out within 30 days of the capture. Said once a server."""
    own = _certificate(session)
    if own is not None and EXPIRING in found.certificate_problems(session) and not _said(session, found, own, EXPIRING):
        _add(session, found, EXPIRING, f"runs out on {_day(own.not_after_ns)}")


def certificate_name_mismatch(session: Session, found: Found) -> None:
    """The server's certificate is not for the name that the client asked for.

    Either clients are set to another name than the certificate has, or somebody else's server answered. Judged where the client
    told the name (SNI).
    """
    own = _certificate(session)
    tls = session.tls
    if own is not None and tls is not None:
        _add(
            session,
            found,
            NAME_MISMATCH,
            f"is for {', '.join(own.names[:MAX_NAMED]) or 'no name'}, the client asked for {tls.sni}",
        )


def certificate_self_signed(session: Session, found: Found) -> None:
    """The server's certificate is signed by itself.

    No client can tell it from an attacker's, unless it was installed there beforehand.

    Medium; low between servers (port 25), where certificates are mostly not looked at.
    """
    _add(session, found, SELF_SIGNED, "is self-signed", LOW if _relay(session) else -1)


def certificate_untrusted(session: Session, found: Found) -> None:
    """No path leads from the server's certificate to a known root, or it cannot be read at all.

    The issuer may be the organisation's own: then clients need its root, and the finding can be silenced by naming the root to
    mailtap. Often the server forgot to send an intermediate certificate. Said once a server and certificate.
    """
    own = _certificate(session)
    if own is None:
        return
    problems = found.certificate_problems(session)
    problem = UNTRUSTED if UNTRUSTED in problems else UNPARSABLE if UNPARSABLE in problems else ""
    if problem and not _said(session, found, own, UNTRUSTED):
        what = (
            "cannot be parsed"
            if problem == UNPARSABLE
            else f"leads to no known root; issuer {(own.issuer or 'unknown')[:120]}"
        )
        _add(session, found, problem, what, confidence=LIKELY)


def _said(session: Session, found: Found, own: Certificate, what: str) -> bool:
    """Whether something was said of this server and certificate before; it is now."""
    past = found.history.server(session)
    said = past.said
    if said is None:
        said = set()
        past.said = said
    key = f"{what} {own.sha256}"
    if key in said:
        return True
    if len(said) < MAX_SAID:
        said.add(key)
    return False


def _relay(session: Session) -> bool:
    """Whether a session is between servers, where certificates are mostly not looked at (RFC 7435)."""
    return session.protocol == "smtp" and session.server_port == 25


def certificate_weak_key(session: Session, found: Found) -> None:
    """The server's key is too short (RSA below 2048 bits, elliptic curves below 224): it can be computed from the certificate."""
    own = _certificate(session)
    if own is not None:
        _add(session, found, WEAK_KEY, f"has a key of {own.key}")


def certificate_weak_signature(session: Session, found: Found) -> None:
    """The server's certificate is signed with MD5 or SHA-1, for which a second certificate with the same signature can be made."""
    own = _certificate(session)
    if own is not None:
        _add(session, found, WEAK_SIGNATURE, f"is signed with {own.signature}")


def certificate_ignored(session: Session, found: Found) -> None:
    """The client went on although the server's certificate was bad: expired, not yet valid, for another name, self-signed.

    It does not check certificates, or its user clicked the warning away: anybody on the way can pose as the server to it. A
    self-signed certificate may have been installed in the client, so that alone is said with less confidence. Between servers
    (port 25) it is the rule and not worth more than a note.

    Medium; low where the certificate is self-signed and nothing else is wrong with it; info between servers (port 25).
    """
    tls = session.tls
    if tls is None or not tls.client_went_on:
        return
    bad = [
        problem
        for problem in found.certificate_problems(session)
        if problem in (EXPIRED, NOT_YET_VALID, NAME_MISMATCH, SELF_SIGNED)
    ]
    if not bad:
        return
    only_self_signed = bad == [SELF_SIGNED]
    severity = INFO if _relay(session) else (LOW if only_self_signed else MEDIUM)
    found.add(
        session, tls.frame, tls.timestamp_ns, 0, severity=severity, confidence=HINT if only_self_signed else SURE,
        detail=(
            f"{session.client_ip} went on with {server_text(session)}, whose certificate "
            f"{' and '.join([PROBLEMS[problem] for problem in bad])}"
        ),
    )  # fmt: skip


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "certificate-expired", HIGH, "Certificate has expired", certificate_expired, CERTIFICATE,
        "Renew the certificate, and let it renew itself from now on (ACME).",
        ("RFC 5280 section 4.1.2.5", "CWE-298"),
    ),
    Rule(
        "certificate-not-yet-valid", MEDIUM, "Certificate is not yet valid", certificate_not_yet_valid, CERTIFICATE,
        "Check the clocks of server and issuer; put the earlier certificate back until this one begins.",
        ("RFC 5280 section 4.1.2.5", "CWE-298"),
    ),
    Rule(
        "certificate-expiring", LOW, "Certificate expires soon", certificate_expiring, CERTIFICATE,
        "Renew the certificate now, and let it renew itself from now on (ACME).",
        ("RFC 5280 section 4.1.2.5",),
    ),
    Rule(
        "certificate-name-mismatch", HIGH, "Certificate is for another name", certificate_name_mismatch, CERTIFICATE,
        "Enter in clients a server name that the certificate has, or get a certificate for the name that they use.",
        ("RFC 9525 section 6", "RFC 7817", "CWE-297"),
    ),
    Rule(
        "certificate-self-signed", MEDIUM, "Certificate is self-signed", certificate_self_signed, CERTIFICATE,
        "Get a certificate of a public authority (ACME costs nothing), or of your own authority whose root all clients have.",
        ("RFC 5280 section 6.1", "CWE-295"),
    ),
    Rule(
        "certificate-untrusted", LOW, "Certificate leads to no known root", certificate_untrusted, CERTIFICATE,
        "Let the server send its intermediate certificates. For an authority of your own: install its root in all clients.",
        ("RFC 5280 section 6.1", "CWE-295"),
    ),
    Rule(
        "certificate-weak-key", HIGH, "Certificate with a weak key", certificate_weak_key, CERTIFICATE,
        "Make a new key (RSA 2048 bits or more, or ECDSA P-256) and get a certificate for it.",
        ("RFC 9325 section 4.5", "NIST SP 800-131A", "CWE-326"),
    ),
    Rule(
        "certificate-weak-signature", MEDIUM, "Certificate with a weak signature", certificate_weak_signature, CERTIFICATE,
        "Get a certificate signed with SHA-256 or better.",
        ("RFC 9325 section 4.5", "RFC 6151", "RFC 6194", "CWE-328"),
    ),
    Rule(
        "certificate-ignored", MEDIUM, "Client went on in spite of the certificate", certificate_ignored, CERTIFICATE,
        "Mend the certificate first; then set the client to check it.",
        ("RFC 8314 section 4.1", "RFC 7817", "CWE-295"),
    ),
)  # fmt: skip
