"""Rules about what travelled in clear: passwords, tokens, messages; and about servers and clients that let it happen."""

from __future__ import annotations

from typing import Final

from analyzer.findings.base import (
    ANOMALIES,
    CRITICAL,
    HIGH,
    LIKELY,
    LISTED,
    LOW,
    MEDIUM,
    MESSAGES,
    NO_OFFER,
    OFFERED_CLEAR,
    PASSWORDS,
    RESPONSES,
    SUBMISSION,
    SURE,
    TOKENS,
    Finding,
    Found,
    Rule,
)
from analyzer.findings.offers import PLAIN_MECHANISMS, SALTED, offer_of, rank, takes_passwords, told_before_login
from analyzer.findings.traits import (
    asked_too_late,
    between_servers,
    capped,
    clear_messages,
    counted,
    credential_at,
    first_clear_message,
    first_login,
    on_one_host,
    server_text,
)
from analyzer.protocols.events import (
    ACCEPTED,
    BEARER_TOKEN,
    CHALLENGE_RESPONSE,
    CREDENTIALS_BEFORE_CAPABILITIES,
    PASSWORD,
    PASSWORD_NOT_OFFERED,
    PASSWORD_THOUGH_FORBIDDEN,
)
from analyzer.sessions.records import NOT_OFFERED, OFFERED, REFUSED, Credential, Session


def _logins(session: Session, found: Found, kind: str) -> None:
    """One finding for each account and outcome among the readable logins of a kind."""
    credentials = session.credentials
    if credentials is None:
        return
    if len(credentials) == 1:
        credential = credentials[0]
        if credential.secret_kind == kind and credential.exposed:
            _add_login(session, found, credential, 1)
        return
    first: dict[str, Credential] = {}
    count: dict[str, int] = {}
    for credential in credentials:
        if credential.secret_kind == kind and credential.exposed:
            key = f"{credential.outcome} {credential.username}"
            if key not in first:
                first[key] = credential
            count[key] = count.get(key, 0) + 1
    for key, credential in first.items():
        _add_login(session, found, credential, count[key])


def _add_login(session: Session, found: Found, credential: Credential, count: int) -> None:
    severity = found.rule.severity
    if credential.secret_kind == CHALLENGE_RESPONSE:
        kind = rank(credential.mechanism)
        if kind == SALTED:
            severity = LOW
        elif credential.mechanism == "NTLM":
            severity = HIGH
    elif credential.outcome == ACCEPTED:
        severity = CRITICAL
    found.add(
        session, credential.frame, credential.timestamp_ns, credential.offset,
        severity=capped(session, severity), username=credential.username, count=count,
    )  # fmt: skip


def plaintext_password(session: Session, found: Found) -> None:
    """A client sent a password over a connection that was not encrypted.

    Whoever can see the traffic, at this capture's place or anywhere else on the way, has the password now, and with it the mailbox
    and often much else. One that was rejected is often the right one for another account, or a slip away from it. SASL PLAIN and
    LOGIN are mere encodings (base64) and count as clear text.

    Critical where the server accepted it, high otherwise. Low at most where client and server are one machine: nobody on the
    network could listen.
    """
    _logins(session, found, PASSWORD)


def plaintext_token(session: Session, found: Found) -> None:
    """A client sent a bearer token (XOAUTH2, OAUTHBEARER) over a connection that was not encrypted.

    A bearer token opens the account to whoever holds it, without the password and without a second factor, until it expires or is
    withdrawn. RFC 6750 allows it over TLS only.

    Critical where the server accepted it, high otherwise. Low at most where client and server are one machine: nobody on the
    network could listen.
    """
    _logins(session, found, BEARER_TOKEN)


def challenge_response_in_clear(session: Session, found: Found) -> None:
    """A client proved its password by challenge and response (APOP, CRAM-MD5, DIGEST-MD5, NTLM, SCRAM) over a connection in clear.

    The password itself was not sent, but whoever saw both can guess it offline, as fast as his machine allows: billions of guesses
    a second for CRAM-MD5, APOP and NTLM, far fewer for SCRAM, whose hash is salted and slow. The rest of the session, mail
    included, was readable, and an attacker on the way could have taken the session over.

    Medium for APOP, CRAM-MD5 and DIGEST-MD5, high for NTLM, low for SCRAM and its like. Low at most where client and server are one machine:
    nobody on the network could listen.
    """
    _logins(session, found, CHALLENGE_RESPONSE)


def _describe_login(finding: Finding) -> str:
    session = finding.session
    credential = credential_at(session, finding.frame, finding.offset)
    if session is None or credential is None:
        return ""
    outcome = credential.outcome if credential.outcome != "unknown" else "outcome not seen"
    times = f", {finding.count:,} times" if finding.count > 1 else ""
    # The finding's name, not the credential's: no other word of the traffic may stand in a detail.
    who = "a login without a user name" if finding.username is None else f"login of {finding.username or '(empty)'}"
    return f"{who} to {server_text(session)} with {credential.mechanism}, {outcome}{times}"


def plaintext_message(session: Session, found: Found) -> None:
    """A mail message, or a part of one, went over the wire in clear.

    Whoever can see the traffic can read it, and whoever sits on the way can change it unnoticed. Between servers (port 25, LMTP)
    encryption is a matter of opportunity, so it is a smaller matter there than between a user's mail client and his server.

    Medium from or to a mail client, low between servers. Low at most where client and server are one machine: nobody on the network
    could listen.
    """
    message = first_clear_message(session)
    if message is not None:
        severity = LOW if between_servers(message) else MEDIUM
        found.add(
            session, message.frame, message.timestamp_ns, message.offset,
            severity=capped(session, severity), count=clear_messages(session),
        )  # fmt: skip


def _describe_messages(finding: Finding) -> str:
    session = finding.session
    if session is None:
        return ""
    size = counted(session.message_bytes, "octet")
    return f"{counted(finding.count, 'message')} of {size} in all, readable on the way between {session.client_ip} and {server_text(session)}"


def plaintext_auth_offered(session: Session, found: Found) -> None:
    """A server offers to take passwords as such (USER, LOGIN, SASL PLAIN or LOGIN, bearer tokens) before TLS is in use.

    As long as it does, one wrongly configured client is enough to expose an account, and an attacker who hides STARTTLS gets every
    password. A server can demand TLS first: RFC 8314 section 4.1, for IMAP the LOGINDISABLED capability. Said once a server.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    offer = offer_of(session)
    if not told_before_login(session, offer) or not takes_passwords(session, offer):
        return
    past = found.history.server(session)
    if past.said is None:
        past.said = set()
    # What is told to the machine itself weighs little, and says nothing of what the network is told.
    key = "auth at home" if on_one_host(session) else "auth"
    if key in past.said or "auth" in past.said:
        return
    past.said.add(key)
    readable = [name for name in offer.mechanisms if name in PLAIN_MECHANISMS]
    if session.protocol == "imap" and "LOGINDISABLED" not in offer.words:
        readable.insert(0, "LOGIN command")
    elif session.protocol == "pop3" and "USER" in offer.words:
        readable.insert(0, "USER/PASS")
    found.add_start(
        session,
        severity=capped(session, MEDIUM),
        detail=f"{server_text(session)} offers {', '.join(readable[:8])} before TLS",
    )


def _severity_of_use(session: Session) -> int:
    """How bad it is that a session stayed in clear: by the worst that it was used for; -1 where it was not used."""
    if first_login(session) is not None:
        return HIGH
    message = first_clear_message(session)
    if message is not None:
        return LOW if between_servers(message) else MEDIUM
    if session.auth_attempts > 0:
        return MEDIUM
    return -1


def _add_use(session: Session, found: Found, severity: int, confidence: str, detail: str) -> None:
    """Report a session that stayed in clear, with the login (or else the mail) that went over it as evidence."""
    credential = first_login(session)
    severity = capped(session, severity)
    if credential is not None:
        found.add(
            session, credential.frame, credential.timestamp_ns, credential.offset,
            severity=severity, confidence=confidence, username=credential.username, detail=detail,
        )  # fmt: skip
        return
    message = first_clear_message(session)
    if message is not None:
        found.add(
            session, message.frame, message.timestamp_ns, message.offset, severity=severity, confidence=confidence, detail=detail
        )  # fmt: skip
        return
    found.add_start(session, severity=severity, confidence=confidence, detail=detail)


def starttls_not_used(session: Session, found: Found) -> None:
    """The server offered an upgrade to TLS; the client did not ask for it in time, and logged in or moved mail in clear.

    Nothing is missing but a setting of the client. Clients set to "TLS if available" or "none" do this.

    High where a login followed, medium for mail alone (low between servers) and for a login of which nothing was readable. Low at
    most where client and server are one machine: nobody on the network could listen.
    """
    late = session.starttls == REFUSED and asked_too_late(session) and offer_of(session).starttls
    if session.starttls == OFFERED or late:
        severity = _severity_of_use(session)
        if severity >= 0:
            seen_begun = session.client_bytes > 0
            _add_use(session, found, severity, SURE if seen_begun else LIKELY, "")


def _describe_not_used(finding: Finding) -> str:
    session = finding.session
    return "" if session is None else f"{server_text(session)} offered STARTTLS, {session.client_ip} went on in clear"


def starttls_not_offered(session: Session, found: Found) -> None:
    """The server told what it offers, an upgrade to TLS was not among it, and a login or mail followed in clear.

    Either the server has no TLS on this port, or somebody on the way took the offer out; one session alone cannot tell which.
    A client that goes on regardless would go on under attack as well.

    High where a login followed, medium for mail alone (low between servers) and for a login of which nothing was readable. Low at
    most where client and server are one machine: nobody on the network could listen.
    """
    if session.starttls != NOT_OFFERED and session.starttls != REFUSED:
        return
    if not session.capabilities_whole:
        return  # what was offered is not known, or not all of it
    offer = offer_of(session)
    if offer.starttls or (session.protocol == "imap" and not told_before_login(session, offer)):
        return
    severity = _severity_of_use(session)
    if severity >= 0:
        _add_use(session, found, severity, SURE, "")


def _describe_not_offered(finding: Finding) -> str:
    session = finding.session
    if session is None:
        return ""
    asked = ", refused it when asked" if session.starttls == REFUSED else ""
    return f"{server_text(session)} did not offer STARTTLS{asked}, {session.client_ip} went on in clear"


def password_sent_though_forbidden(session: Session, found: Found) -> None:
    """A client sent a password although the server had said that it takes none before TLS (LOGINDISABLED, 530, 538), or offered none.

    A server that lists STARTTLS, and no login with the password itself, takes none before TLS; only a whole list tells that, and only a
    login that was not accepted all the same. The password was exposed in any case: the server's rule protects only clients that read it.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    for seen in session.anomalies or []:
        if seen.kind == PASSWORD_THOUGH_FORBIDDEN or (
            seen.kind == PASSWORD_NOT_OFFERED and not _worked(session, seen.frame, seen.offset)
        ):
            found.add(
                session, seen.frame, seen.timestamp_ns, seen.offset, severity=capped(session, HIGH),
                username=_username_at(session, seen.frame), detail=seen.detail,
            )  # fmt: skip


def credentials_before_capabilities(session: Session, found: Found) -> None:
    """A client sent its login before the server had told what it offers.

    Such a client cannot know whether TLS is to be had, or whether passwords are forbidden, and so never protects its login.
    """
    for seen in session.anomalies or []:
        if seen.kind == CREDENTIALS_BEFORE_CAPABILITIES:
            found.add(
                session, seen.frame, seen.timestamp_ns, seen.offset, severity=capped(session, LOW),
                username=_username_at(session, seen.frame), detail=seen.detail,
            )  # fmt: skip
            return


def _worked(session: Session, frame: int, offset: int) -> bool:
    """Whether the server took the password that was sent here."""
    credential = credential_at(session, frame, offset)
    return credential is not None and credential.outcome == ACCEPTED


def _username_at(session: Session, frame: int) -> str | None:
    credentials = session.credentials
    if credentials is not None:
        for credential in credentials:
            if credential.exposed and credential.frame >= frame:
                return credential.username
    return None


def mail_before_starttls(session: Session, found: Found) -> None:
    """A submission server (port 587) took a message in clear.

    Submission is where users hand in their mail, mostly with their password. A server that takes mail there without TLS forces
    nobody to protect either (RFC 8314 section 3.3 and 4.1).

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    if session.protocol != "smtp" or session.port_service != "submission":
        return
    message = first_clear_message(session)
    if message is not None and message.accepted is not False:
        found.add(
            session, message.frame, message.timestamp_ns, message.offset, severity=capped(session, MEDIUM),
            confidence=SURE if message.accepted else LIKELY,
            detail=f"{server_text(session)} took mail from {session.client_ip} without TLS",
        )  # fmt: skip


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "plaintext-password", HIGH, "Password sent in clear", plaintext_password, PASSWORDS,
        "Set the mail client to SSL/TLS (or STARTTLS where that is all the server has), change the password, and let the server "
        "refuse logins before TLS. The migration table has the settings for each client.",
        ("CWE-319", "CWE-523", "RFC 8314 section 3"), _describe_login,
    ),
    Rule(
        "plaintext-token", HIGH, "Access token sent in clear", plaintext_token, TOKENS,
        "Withdraw the token, set the mail client to SSL/TLS, and let the server offer XOAUTH2 and OAUTHBEARER under TLS only.",
        ("CWE-319", "RFC 6750 section 5.3", "RFC 7628 section 5"), _describe_login,
    ),
    Rule(
        "challenge-response-in-clear", MEDIUM, "Challenge and response sent in clear", challenge_response_in_clear, RESPONSES,
        "Set the mail client to SSL/TLS. Under TLS a plain password is safer than CRAM-MD5, DIGEST-MD5 or NTLM in clear; switch those off.",
        ("CWE-319", "CWE-916", "RFC 4954 section 9", "RFC 6331", "RFC 8314 section 3"), _describe_login,
    ),
    Rule(
        "plaintext-message", MEDIUM, "Mail readable on the way", plaintext_message, MESSAGES,
        "Set mail clients to SSL/TLS; between servers turn on STARTTLS on both sides (opportunistic TLS, MTA-STS or DANE).",
        ("CWE-319", "RFC 8314 section 3", "RFC 7435", "RFC 8461"), _describe_messages,
    ),
    Rule(
        "plaintext-auth-offered", MEDIUM, "Server takes passwords before TLS", plaintext_auth_offered, LISTED,
        "Make the server refuse logins before TLS: Dovecot disable_plaintext_auth = yes (auth_allow_cleartext = no), Postfix "
        "smtpd_tls_auth_only = yes, Exim server_advertise_condition on $tls_in_cipher, Cyrus allowplaintext: no.",
        ("CWE-319", "RFC 8314 section 4.1", "RFC 9051 section 11.1"),
    ),
    Rule(
        "starttls-not-used", HIGH, "TLS offered and not used", starttls_not_used, OFFERED_CLEAR,
        "Set the mail client to SSL/TLS or STARTTLS; then let the server refuse logins before TLS, so that no client falls back.",
        ("CWE-319", "RFC 8314 section 3", "RFC 2595", "RFC 3207"), _describe_not_used,
    ),
    Rule(
        "starttls-not-offered", HIGH, "No TLS offered, yet used in clear", starttls_not_offered, NO_OFFER,
        "Give the server a certificate and turn TLS on, at best on the ports for it (995, 993, 465); set clients to SSL/TLS. If the "
        "server does offer STARTTLS elsewhere, look for who takes the offer out on the way.",
        ("CWE-319", "CWE-757", "RFC 8314 section 3"), _describe_not_offered,
    ),
    Rule(
        "password-sent-though-forbidden", HIGH, "Password sent though the server forbids it", password_sent_though_forbidden, ANOMALIES,
        "Change the password, and set this client to SSL/TLS: it does not work as it is set now.",
        ("CWE-319", "RFC 9051 section 6.2.3", "RFC 4954 section 4", "RFC 4954 section 6", "RFC 5804 section 1.7", "RFC 8314 section 4.1"),
    ),
    Rule(
        "credentials-before-capabilities", LOW, "Login sent before asking what is offered", credentials_before_capabilities, ANOMALIES,
        "Set this client to SSL/TLS, where there is nothing to negotiate, or replace it.",
        ("CWE-319", "RFC 9051 section 6.2", "RFC 4954 section 4"),
    ),
    Rule(
        "mail-before-starttls", MEDIUM, "Submission without TLS", mail_before_starttls, MESSAGES | SUBMISSION,
        "Make the submission service demand TLS (Postfix: smtpd_tls_security_level = encrypt for 587), and offer 465 beside it.",
        ("CWE-319", "RFC 8314 section 3.3", "RFC 6409"),
    ),
)  # fmt: skip
