"""Rules about ports and what is spoken on them: settings that do not fit, services where nobody expects them."""

from __future__ import annotations

from typing import Final

from analyzer.findings.base import (
    ANOMALIES,
    CLEAR,
    CREDENTIALS,
    HIGH,
    INFO,
    LIKELY,
    LOW,
    MEDIUM,
    MESSAGES,
    NOT_MAIL,
    PORT_25,
    SUBMISSION,
    SURE,
    UNUSUAL_PORT,
    Found,
    Rule,
)
from analyzer.findings.traits import capped, first_login, server_text
from analyzer.protocols.events import ACCEPTED, PLAINTEXT_ON_TLS_PORT, TLS_ON_PLAINTEXT_PORT
from analyzer.sessions.records import COMPLETE, IMPLICIT_TLS, PLAINTEXT, TRUNCATED, Session


def plaintext_on_tls_port(session: Session, found: Found) -> None:
    """A client spoke in clear to a port that is for TLS from the first octet (995, 993, 465).

    Its setting says "port 995 without TLS". The server closes such a connection without a word, but what the client had sent by
    then, its password included, was readable.

    High where a login was readable, medium otherwise. Low at most where client and server are one machine: nobody on the network
    could listen.
    """
    for seen in session.anomalies or []:
        if seen.kind == PLAINTEXT_ON_TLS_PORT:
            credential = first_login(session)
            found.add(
                session, seen.frame, seen.timestamp_ns, seen.offset, severity=capped(session, HIGH if credential is not None else MEDIUM),
                username=None if credential is None else credential.username, detail=f"{session.client_ip}: {seen.detail}",
            )  # fmt: skip
            return


def tls_on_plaintext_port(session: Session, found: Found) -> None:
    """A client began with TLS on a port that begins in clear (110, 143, 25, 587).

    Its setting says "port 110 with SSL/TLS". Nothing was exposed, but mostly nothing works either, and users then switch
    encryption off. It takes either the port for SSL/TLS, or the setting STARTTLS.

    Low; info where the handshake was completed, for then it works.
    """
    for seen in session.anomalies or []:
        if seen.kind == TLS_ON_PLAINTEXT_PORT:
            works = (
                session.transport == IMPLICIT_TLS and session.tls is not None and session.tls.handshake == "completed"
            )
            found.add(
                session, seen.frame, seen.timestamp_ns, seen.offset, severity=INFO if works else LOW,
                detail=f"{session.client_ip} to {server_text(session)}: {seen.detail}",
            )  # fmt: skip
            return


def mail_on_unusual_port(session: Session, found: Found) -> None:
    """A mail protocol was spoken on a port that is not one of its own.

    It may be a test server, a tunnel, or a service that somebody wanted to hide; firewalls and filters that go by the port miss it.
    A client that asks a proxy (SOCKS, HTTP CONNECT) for a server's usual port is none of these.
    """
    found.add_start(session, detail=f"{server_text(session)}, {session.transport}")


def not_mail_on_mail_port(session: Session, found: Found) -> None:
    """Something else than mail was spoken on a mail port.

    Mail ports are open in many firewalls, so tunnels and scanners use them. mailtap reads no credentials from such a session.
    """
    found.add_start(
        session,
        detail=f"{session.not_mail} between {session.client_ip} and port {session.server_port} of {session.server_ip}",
    )


def auth_on_port_25(session: Session, found: Found) -> None:
    """A client logged in on port 25, which is for mail between servers, or tried to.

    Users' programs belong on 465 (or 587): there TLS can be demanded, and port 25, which guessers of passwords visit all day, need
    not take logins at all.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    if session.protocol != "smtp" or session.server_port != 25:
        return
    for credential in session.credentials or []:
        if credential.exposed:
            found.add(
                session, credential.frame, credential.timestamp_ns, credential.offset, severity=capped(session, MEDIUM),
                username=credential.username, detail=f"{session.client_ip} {'logged in' if credential.outcome == ACCEPTED else 'tried to log in'} on port 25 with {credential.mechanism}",
            )  # fmt: skip
            return


def submission_without_auth(session: Session, found: Found) -> None:
    """A submission server (587, 465) took a message from a client that had not logged in.

    Whoever reaches the port can send mail in the organisation's name (RFC 6409 section 4.3). It may be wanted for a network of
    one's own; spam runs find such servers fast. Only sessions whose beginning was seen are judged.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    service = session.port_service
    if session.protocol != "smtp" or (service != "submission" and service != "submissions"):
        return
    if session.transport != PLAINTEXT or session.auth_accepted > 0:
        return
    if session.completeness != COMPLETE and (session.completeness != TRUNCATED or session.gap_bytes > 0):
        return
    for credential in session.credentials or []:
        if credential.outcome == ACCEPTED or credential.outcome == "unknown":
            return
    for message in session.message_list or []:
        if message.accepted and message.exposed:
            found.add(
                session, message.frame, message.timestamp_ns, message.offset, severity=capped(session, MEDIUM),
                confidence=SURE if session.completeness == COMPLETE else LIKELY,
                detail=f"{server_text(session)} took a message of {session.client_ip} without a login",
            )  # fmt: skip
            return


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "plaintext-on-tls-port", HIGH, "Clear text on a port for TLS", plaintext_on_tls_port, ANOMALIES | CLEAR,
        "In this client's account settings choose SSL/TLS for this port; change the password if one was sent.",
        ("CWE-319", "RFC 8314 section 3"),
    ),
    Rule(
        "tls-on-plaintext-port", LOW, "TLS on a port that begins in clear", tls_on_plaintext_port, ANOMALIES,
        "In this client's account settings choose the port for SSL/TLS (995 for POP3, 993 for IMAP, 465 for submission).",
        ("RFC 8314 section 3",),
    ),
    Rule(
        "mail-on-unusual-port", INFO, "Mail on an unusual port", mail_on_unusual_port, UNUSUAL_PORT,
        "Find out who runs this service. If it is meant to be there, name it with --port.",
        ("RFC 6335", "MITRE ATT&CK T1571"),
    ),
    Rule(
        "not-mail-on-mail-port", LOW, "Something else on a mail port", not_mail_on_mail_port, NOT_MAIL,
        "Find out what the client is; allow mail ports in the firewall for mail servers and clients only.",
        ("MITRE ATT&CK T1571",),
    ),
    Rule(
        "auth-on-port-25", MEDIUM, "Login on port 25", auth_on_port_25, CREDENTIALS | PORT_25,
        "Set clients to port 465 with SSL/TLS (or 587 with STARTTLS), then switch AUTH off on port 25.",
        ("RFC 6409 section 3.1", "RFC 8314 section 3.3"),
    ),
    Rule(
        "submission-without-auth", MEDIUM, "Mail submitted without login", submission_without_auth, MESSAGES | SUBMISSION,
        "Demand a login on the submission service; name the exceptions by address.",
        ("CWE-306", "RFC 6409 section 4.3"),
    ),
)  # fmt: skip
