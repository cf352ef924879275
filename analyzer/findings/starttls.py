"""Rules about the upgrade to TLS under attack: offers hidden or refused, text smuggled past the change, sessions talked back into clear.

Several compare a session with others of the same server. What a server offered is known from its sessions in clear; a session
that saw less may also wait for what later sessions say, so an attack that was on when the capture began is found as well, with
less confidence: the server may have been set up in between.

Over 500 lines, because the rules of this theme weigh the same marks against each other: each says what the others leave to it.
"""

from __future__ import annotations

import re
from typing import Final

from analyzer.findings.base import (
    ANOMALIES,
    CONFLICT,
    CRITICAL,
    FALLBACK,
    HIGH,
    HINT,
    INFO,
    LIKELY,
    LISTED,
    LOW,
    MARKED,
    MEDIUM,
    NO_OFFER,
    SURE,
    Found,
    Rule,
)
from analyzer.findings.history import MAX_HOSTS, MAX_LISTED_HOSTS, MAX_WORDS, ListsPast, ServerPast, Strongest
from analyzer.findings.offers import READABLE, UPGRADES, offer_of, rank, told_before_login
from analyzer.findings.traits import (
    asked_too_late,
    capped,
    counted,
    first_clear_message,
    first_login,
    moment,
    on_one_host,
    server_text,
)
from analyzer.model import SERVER
from analyzer.protocols.events import (
    IMAP_PREAUTH,
    STARTTLS_COMMAND_INJECTION,
    STARTTLS_RESPONSE_INJECTION,
    STARTTLS_STRIPPED,
    STARTTLS_WITHOUT_TLS,
    UNTAGGED_DATA_BEFORE_TLS,
)
from analyzer.sessions.records import NOT_OFFERED, PLAINTEXT, REFUSED, AnomalySeen, Credential, Session

#: A client that comes back in clear within this time after a failed handshake has fallen back.
FALLBACK_NS: Final = 600 * 1_000_000_000
#: Capability lists of a server that must agree before one that lacks a word is remarkable; clients that lack it when it is gone.
MIN_LISTS: Final = 3
MIN_LACKING: Final = 3

#: Times after which a server is less surely as it was.
HOUR_NS: Final = 3600 * 1_000_000_000
DAY_NS: Final = 24 * HOUR_NS
#: Greetings of which the host's name is kept; the memory starts over when it is full.
MAX_GREETINGS: Final = 4096
#: A host's name in a greeting: a word, or what stands behind the @ of a timestamp (RFC 1939 section 7).
_HOST_NAME: Final = re.compile(r"(?:^|[\s@])((?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,63})(?=[\s>;,]|$)")

#: Servers must know STARTTLS in these protocols, so one that says it does not is remarkable: RFC 9051 section 11.1, RFC 5804 section 2.2.
STARTTLS_MANDATORY: Final = ("imap", "managesieve")
#: Words whose loss weakens a session.
PROTECTIVE_WORDS: Final = ("LOGINDISABLED", "REQUIRETLS")
#: Servers tell who has logged in more in these protocols, so what they told him is no measure for others.
TELL_MORE: Final = ("imap", "pop3", "managesieve")

_hosts: Final[dict[str, str]] = {}


def _anomaly(session: Session, kind: str) -> AnomalySeen | None:
    """The first anomaly of a kind."""
    anomalies = session.anomalies
    if anomalies is not None:
        for seen in anomalies:
            if seen.kind == kind:
                return seen
    return None


def _report_anomaly(session: Session, found: Found, kind: str, severity: int, confidence: str = SURE) -> None:
    seen = _anomaly(session, kind)
    if seen is not None:
        credential = first_login(session)
        found.add(
            session, seen.frame, seen.timestamp_ns, seen.offset, severity=severity, confidence=confidence,
            username=None if credential is None else credential.username, detail=seen.detail,
        )  # fmt: skip


def _went_on(session: Session) -> bool:
    """Whether a login or mail went over a session in clear."""
    return session.transport == PLAINTEXT and (
        first_login(session) is not None or first_clear_message(session) is not None
    )


def starttls_stripped(session: Session, found: Found) -> None:
    """Something on the way overwrote the server's offer of TLS, or the client's request for it.

    The marks are a capability or command of X's, as many as the word had letters (XXXXXXXA), a banner of asterisks (220 ****), and
    "500 #5.5.1 command not recognized": firewalls that "inspect" mail do this, and attackers do the same. An IMAP or ManageSieve
    server that neither offers nor knows STARTTLS when a client asks for it is suspected as well, because it has to know it; some
    servers with TLS switched off do that, hence with less confidence.

    Critical where such marks were seen and a login followed in clear, high otherwise.
    """
    seen = _anomaly(session, STARTTLS_STRIPPED)
    credential = first_login(session)
    severity = HIGH if credential is None or session.transport != PLAINTEXT else CRITICAL
    if seen is not None:
        # Without the server's side a message looks like commands, and a line of X's in it like a masked one.
        if seen.sender == SERVER or session.server_bytes > 0:
            _report_anomaly(session, found, STARTTLS_STRIPPED, severity)
        return
    if session.starttls == REFUSED and session.protocol in STARTTLS_MANDATORY and session.capabilities_whole:
        offer = offer_of(session)
        if (
            told_before_login(session, offer)
            and not offer.starttls
            and not asked_too_late(session)
            and _went_on(session)
        ):
            found.add(
                session, session.starttls_frame, session.starttls_ns or session.start_ns, 0, severity=HIGH, confidence=LIKELY,
                username=None if credential is None else credential.username,
                detail=f"{server_text(session)} did not offer STARTTLS and refused it, though its protocol demands it",
            )  # fmt: skip


def starttls_offer_vanished(session: Session, found: Found) -> None:
    """The server offered STARTTLS in other sessions, and did not in this one.

    Taking the offer out of the server's greeting is the simplest attack on STARTTLS: most clients then go on in clear. Answering the
    question for it with an error (to EHLO, which brings clients back to HELO, CAPA or CAPABILITY) does the same, and a client that asks
    for TLS all the same is refused. The innocent reading is that the server was set up anew in between, and that gets likelier with
    time. TLS is hardly ever switched off at a running server, so an offer less than an hour before leaves little else (high
    confidence); a night's maintenance may lie within a day (medium); beyond a day it is a hint (low). TLS is often switched on: an offer that came less than an hour later is likely
    the same server, within a day a hint, and one that came later still is the upgrade that was hoped for, and not reported.
    Only sessions with the same host are compared: a server that names itself otherwise in its greeting is another one behind the same
    address. Sessions within one machine are left out, for nobody is on the way.

    High where a login or mail followed in clear, medium otherwise.
    """
    if session.capabilities is None or on_one_host(session):
        return
    offer = offer_of(session)
    if not told_before_login(session, offer):
        return
    if offer.starttls:
        past = found.history.server(session)
        host = host_of(session)
        if past.offers is None:
            past.offers = {}
        if host in past.offers:
            past.offers[host] = session.start_ns
        elif len(past.offers) < MAX_HOSTS:
            past.offers[host] = session.start_ns
            _look_back(past, session, host, found)
    elif (
        session.capabilities_whole
        and (session.starttls == NOT_OFFERED or session.starttls == REFUSED)
        and session.gap_bytes == 0
    ):
        past = found.history.server(session)
        host = host_of(session)
        offer_ns = -1
        for other, offered_ns in (past.offers or {}).items():
            if offered_ns > offer_ns and _same_host(host, other):
                offer_ns = offered_ns
        if offer_ns >= 0:
            confidence = _faded(session.start_ns - offer_ns)
            _add_vanished(session, found, confidence, f"offered before, at {moment(offer_ns)}")
        else:
            if past.waiting is None:
                past.waiting = []
            found.history.wait(past.waiting, session)


def _look_back(past: ServerPast, session: Session, host: str, found: Found) -> None:
    """A host's first offer: report the sessions shortly before it that had none. Those of other hosts wait on."""
    waiting = past.waiting
    if waiting is None:
        return
    past.waiting = None
    found.history.released(waiting)
    for one in waiting:
        apart_ns = session.start_ns - one.start_ns
        if not _same_host(host, host_of(one)):
            if past.waiting is None:
                past.waiting = []
            found.history.wait(past.waiting, one)
        elif apart_ns <= DAY_NS:
            confidence = LIKELY if apart_ns <= HOUR_NS else HINT
            _add_vanished(one, found, confidence, f"offered later, at {moment(session.start_ns)}")


def _faded(apart_ns: int) -> str:
    """How sure it still is that a server is as it was, some time later; see :func:`starttls_offer_vanished`."""
    return SURE if apart_ns <= HOUR_NS else LIKELY if apart_ns <= DAY_NS else HINT


def host_of(session: Session) -> str:
    """The name that a server gives itself in its greeting (RFC 5321 section 4.2; others do it, too), empty where it gives none."""
    banner = session.server_banner
    if banner is None:
        return ""
    host = _hosts.get(banner)
    if host is None:
        if len(_hosts) >= MAX_GREETINGS:
            _hosts.clear()
        name = _HOST_NAME.search(banner)
        host = "" if name is None else name.group(1).lower()
        _hosts[banner] = host
    return host


def _same_host(one: str, other: str) -> bool:
    """Whether two names may be those of one host; a greeting without a name tells nothing."""
    return one == other or not one or not other


def _add_vanished(session: Session, found: Found, confidence: str, offered: str) -> None:
    severity = HIGH if _went_on(session) else MEDIUM
    credential = first_login(session)
    found.add(
        session, session.first_frame, session.start_ns, 0, severity=severity, confidence=confidence,
        username=None if credential is None else credential.username,
        detail=f"{server_text(session)} did not offer STARTTLS to {session.client_ip}; {offered}",
    )  # fmt: skip


def starttls_refused(session: Session, found: Found) -> None:
    """The client asked for TLS and the server refused.

    What is refused must have been offered, or not have been asked about, or be due by the protocol: an SMTP or POP3 server that
    never offered STARTTLS and says that it does not know it is a case of starttls-not-offered. A client that goes on in clear
    after a refusal will do so under attack as well, for a refusal is easily forged.

    High where a login or mail followed in clear, low otherwise. Low at most where client and server are one machine: nobody on the
    network could listen.
    """
    if session.starttls != REFUSED or asked_too_late(session):
        return
    if session.capabilities_whole and session.protocol not in STARTTLS_MANDATORY and not offer_of(session).starttls:
        return
    went_on = _went_on(session)
    credential = first_login(session)
    found.add(
        session, session.starttls_frame, session.starttls_ns or session.start_ns, 0, severity=capped(session, HIGH if went_on else LOW),
        username=None if credential is None else credential.username,
        detail=f"{server_text(session)} refused TLS; {session.client_ip} {'went on in clear' if went_on else 'did not go on in clear'}",
    )  # fmt: skip


def starttls_command_injection(session: Session, found: Found) -> None:
    """Text from the client's side stood behind its STARTTLS command, before TLS began.

    A server that keeps it in its buffer runs it after the handshake, as if it had come under TLS: an attacker on the way can put
    his commands in front of the user's (CVE-2011-0411 and its many successors). Whether this server fell for it cannot be seen from
    outside; that somebody tried, or that a client is badly broken, can.
    """
    _report_anomaly(session, found, STARTTLS_COMMAND_INJECTION, HIGH)


def starttls_response_injection(session: Session, found: Found) -> None:
    """Text from the server's side stood behind its grant of STARTTLS, before its side of TLS began.

    A client that keeps it in its buffer takes it for an answer given under TLS: an attacker on the way can forge capabilities,
    mailboxes or login results (CVE-2021-38371, CVE-2020-15685).
    """
    _report_anomaly(session, found, STARTTLS_RESPONSE_INJECTION, HIGH)


def starttls_without_tls(session: Session, found: Found) -> None:
    """The server granted TLS, and then text went on instead of a handshake.

    Tools that know the grant only call such a session encrypted; it was not. A proxy that takes TLS apart and forwards clear text
    behind it does this, and so does a client that ignores its own request, or one that goes on in clear on the same connection where
    the handshake has failed: anybody who disturbs its handshakes gets to read its password.

    Critical where a login followed, high where mail did, medium where neither did: a probe that takes its leave looks the same.
    """
    if first_login(session) is not None:
        severity = CRITICAL
    else:
        severity = MEDIUM if first_clear_message(session) is None else HIGH
    _report_anomaly(session, found, STARTTLS_WITHOUT_TLS, severity)


def imap_preauth(session: Session, found: Found) -> None:
    """An IMAP server greeted with PREAUTH in clear: the client is logged in already, and STARTTLS is not possible any more.

    STARTTLS is allowed before login only, so an attacker who changes the greeting into PREAUTH keeps a session in clear, and shows
    the client a mailbox of his own (CVE-2020-12398). PREAUTH is meant for connections that are private by other means.

    High; info where client and server are one machine: nobody on the network could listen.
    """
    _report_anomaly(session, found, IMAP_PREAUTH, INFO if on_one_host(session) else HIGH)


def untagged_data_before_tls(session: Session, found: Found) -> None:
    """An IMAP server sent mailbox data before login, in clear.

    No server does so by itself. Clients that take such data for real can be shown folders and messages which an attacker wrote.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    _report_anomaly(session, found, UNTAGGED_DATA_BEFORE_TLS, capped(session, MEDIUM), LIKELY)


def tls_fallback_to_plaintext(session: Session, found: Found) -> None:
    """A TLS handshake failed, and soon after the same client came back to the same server and went on in clear.

    A client that does so can be brought into the clear by anybody who disturbs its handshakes. Often nobody did: a certificate has
    run out, or versions do not fit, and a helpful mail program, or user, switched encryption off. One that was in clear before it
    tried TLS is told of as well: a failure that nobody captured may have brought it there.

    Low at most where client and server are one machine: nobody on the network could listen.
    """
    tls = session.tls
    if tls is not None:
        if tls.handshake == "failed" or (tls.handshake == "incomplete" and session.reset_frame > 0):
            past = found.history.client(session)
            if past.failures is None:
                past.failures = {}
            past.failures[session.protocol] = session
            found.history.failures += 1
            return
        if tls.handshake == "completed" and found.history.failures > 0:
            # It got through after all (a retry with another version): what comes in clear later is no answer to the failure.
            again = found.history.known_client(session)
            if again is not None and again.failures is not None and session.protocol in again.failures:
                del again.failures[session.protocol]
        if session.transport != PLAINTEXT:
            return
    if found.history.failures == 0 or session.transport != PLAINTEXT:
        return
    known = found.history.known_client(session)
    if known is None or known.failures is None:
        return
    failed = known.failures.get(session.protocol)
    if failed is None or failed is session or session.start_ns - failed.start_ns > FALLBACK_NS or not _went_on(session):
        return
    credential = first_login(session)
    cause = "" if failed.tls is None else failed.tls.handshake
    found.add(
        session, session.first_frame, session.start_ns, 0, severity=capped(session, HIGH),
        confidence=SURE if cause == "failed" else LIKELY, username=None if credential is None else credential.username,
        detail=(
            f"{session.client_ip} failed to set up TLS with port {failed.server_port} at {moment(failed.start_ns)}, "
            f"then used port {session.server_port} in clear"
        ),
    )  # fmt: skip


def capability_suppressed(session: Session, found: Found) -> None:
    """A word that this server offered in every other session was missing in this one.

    Somebody on the way may have taken it out, so that the client does without: LOGINDISABLED is the one that protects passwords.
    A server that treats networks differently looks the same. Only sessions with the same host are compared, by the name in the
    greeting; lists told after a login are no measure; and a word that three clients did not get is taken to be gone since a change of
    the server, unless it is one that protects.

    Medium where the word protects (LOGINDISABLED, REQUIRETLS), low otherwise.
    """
    if session.gap_bytes > 0 or not session.capabilities_whole:
        return
    offer = offer_of(session)
    if not told_before_login(session, offer):
        return
    server = found.history.server(session)
    if server.lists is None:
        server.lists = {}
    host = host_of(session)
    past = server.lists.get(host)
    if past is None:
        if len(server.lists) >= MAX_LISTED_HOSTS:
            return
        past = ListsPast()
        server.lists[host] = past
    words = past.words
    if past.count >= MIN_LISTS:
        missing = [word for word in words if word not in offer.words]
        if missing:
            missing.sort()
            protective = any(word in PROTECTIVE_WORDS for word in missing)
            found.add_start(
                session, severity=MEDIUM if protective else LOW, confidence=LIKELY if protective else HINT,
                detail=f"{server_text(session)} left out {', '.join(missing[:8])}, offered in {past.count:,} sessions before",
            )  # fmt: skip
            # The list that lacks them does not count: a second one must be as remarkable as the first.
            _note_lacking(past, missing, session.client_ip)
            return
    if not session.capabilities or (session.auth_accepted > 0 and session.protocol in TELL_MORE):
        return  # a list of nothing says no more of the server than that it said nothing, once
    past.count += 1
    if past.count == 1:
        words.update([word for word in offer.words if word not in UPGRADES][:MAX_WORDS])
    else:
        words.intersection_update(offer.words)


def _note_lacking(past: ListsPast, missing: list[str], client_ip: str) -> None:
    """Words that a client did not get; those that several did not get are gone."""
    if past.lacking is None:
        past.lacking = {}
    for word in missing:
        if word in PROTECTIVE_WORDS:
            continue
        clients = past.lacking.setdefault(word, set())
        clients.add(client_ip)
        if len(clients) >= MIN_LACKING:
            del past.lacking[word]
            past.words.discard(word)


def sasl_downgrade(session: Session, found: Found) -> None:
    """The server offered stronger login mechanisms in other sessions; here they were missing, and the client sent its password as such.

    Clients choose the strongest mechanism offered, so taking SCRAM or CRAM-MD5 out of the list brings the password onto the wire. The
    more time lies between the two sessions, the likelier the server was set up anew: confidence fades as in starttls-offer-vanished,
    and as there only sessions with the same host are compared.
    """
    if session.gap_bytes > 0 or not session.capabilities_whole:
        return
    offer = offer_of(session)
    if not told_before_login(session, offer):
        return
    if offer.rank > READABLE:
        past = found.history.server(session)
        host = host_of(session)
        if past.best is None:
            past.best = {}
        best = past.best.get(host)
        if best is not None:
            if offer.rank >= best.rank:
                best.rank, best.mechanism, best.timestamp_ns = offer.rank, offer.strongest, session.start_ns
        elif len(past.best) < MAX_HOSTS:
            past.best[host] = Strongest(offer.rank, offer.strongest, session.start_ns)
            _look_back_for_downgrades(past, session, host, found)
        return
    if _readable_login(session) is None or on_one_host(session):
        return
    past = found.history.server(session)
    host = host_of(session)
    known: Strongest | None = None
    for other, one in (past.best or {}).items():
        if _same_host(host, other) and (known is None or one.timestamp_ns > known.timestamp_ns):
            known = one
    if known is not None:
        before = f"{known.mechanism} was offered before, at {moment(known.timestamp_ns)}"
        _add_downgrade(session, found, _faded(session.start_ns - known.timestamp_ns), before)
    else:
        if past.waiting_weak is None:
            past.waiting_weak = []
        found.history.wait(past.waiting_weak, session)


def _look_back_for_downgrades(past: ServerPast, session: Session, host: str, found: Found) -> None:
    """A host's first strong mechanism: report the passwords shortly before it. Those of other hosts wait on."""
    waiting = past.waiting_weak
    if waiting is None:
        return
    past.waiting_weak = None
    found.history.released(waiting)
    later = f"{offer_of(session).strongest} was offered later, at {moment(session.start_ns)}"
    for one in waiting:
        apart_ns = session.start_ns - one.start_ns
        if not _same_host(host, host_of(one)):
            if past.waiting_weak is None:
                past.waiting_weak = []
            found.history.wait(past.waiting_weak, one)
        elif apart_ns <= DAY_NS:
            _add_downgrade(one, found, LIKELY if apart_ns <= HOUR_NS else HINT, later)


def _readable_login(session: Session) -> Credential | None:
    """The first login that shows the secret itself."""
    for credential in session.credentials or []:
        if credential.exposed and credential.secret is not None and rank(credential.mechanism) == READABLE:
            return credential
    return None


def _add_downgrade(session: Session, found: Found, confidence: str, why: str) -> None:
    credential = _readable_login(session)
    if credential is not None:
        found.add(
            session, credential.frame, credential.timestamp_ns, credential.offset, confidence=confidence,
            username=credential.username,
            detail=f"{server_text(session)} offered no more than {credential.mechanism} or its like; {why}",
        )  # fmt: skip


def tcp_content_conflict(session: Session, found: Found) -> None:
    """The same octets of a connection came twice, with different content.

    TCP repeats what was lost, and repeats it unchanged. Different content means that a second sender spoke into the connection (the
    classic injection beside the wire), or that a broken middlebox rewrites packets. mailtap reads the first copy; what the
    receiver took is not known.
    """
    found.add(
        session, session.conflict_frame or session.first_frame, session.conflict_ns or session.start_ns, 0, confidence=LIKELY,
        detail=f"{counted(session.conflict_bytes, 'octet')} came twice with different content", count=session.conflict_bytes,
    )  # fmt: skip


_NO_STARTTLS: Final = "Poddebniak et al., Why TLS Is Better Without STARTTLS, USENIX Security 2021"
_PREFER_IMPLICIT: Final = (
    "Set clients to SSL/TLS on the ports for it (995, 993, 465), where there is nothing to strip or inject."
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "starttls-stripped", HIGH, "STARTTLS hidden on the way", starttls_stripped, MARKED,
        "Find the device (mail inspection of a firewall, for example Cisco's ESMTP inspection) and switch that off, or find the "
        f"attacker. {_PREFER_IMPLICIT} Where clients must use STARTTLS, set them to demand it.",
        ("CWE-757", "RFC 3207 section 6", "RFC 8314 section 4.1", _NO_STARTTLS),
    ),
    Rule(
        "starttls-offer-vanished", HIGH, "Offer of STARTTLS vanished", starttls_offer_vanished, LISTED,
        f"Ask the server's administrator whether it was changed in between; if not, look for who is on the way. {_PREFER_IMPLICIT}",
        ("CWE-757", "RFC 3207 section 6", _NO_STARTTLS),
    ),
    Rule(
        "starttls-refused", HIGH, "STARTTLS refused", starttls_refused, NO_OFFER,
        f"Look into the server's log and certificate setup: it offers TLS but cannot do it. {_PREFER_IMPLICIT} Set clients to demand TLS.",
        ("CWE-757", "RFC 3207 section 4.1", "RFC 9051 section 6.2.1", _NO_STARTTLS),
    ),
    Rule(
        "starttls-command-injection", HIGH, "Commands injected behind STARTTLS", starttls_command_injection, ANOMALIES,
        "Update the server and test it (it must drop what came before the handshake); find out who sent the text. "
        f"{_PREFER_IMPLICIT}",
        ("CVE-2011-0411", "CVE-2021-33515", "CWE-74", "RFC 3207 section 6", _NO_STARTTLS),
    ),
    Rule(
        "starttls-response-injection", HIGH, "Replies injected behind STARTTLS", starttls_response_injection, ANOMALIES,
        f"Update clients and server; find out who sent the text. {_PREFER_IMPLICIT}",
        ("CVE-2021-38371", "CVE-2020-15685", "CWE-74", _NO_STARTTLS),
    ),
    Rule(
        "starttls-without-tls", HIGH, "TLS granted, text went on", starttls_without_tls, ANOMALIES,
        "Find the proxy or client that goes on in clear after the grant, and do not count such sessions as encrypted. Where a handshake "
        "had failed (see tls-handshake-failed), mend that, and set the client to demand TLS.",
        ("CWE-319", "RFC 3207 section 4", "RFC 2595 section 4"),
    ),
    Rule(
        "imap-preauth", HIGH, "IMAP greeting with PREAUTH in clear", imap_preauth, ANOMALIES,
        "Switch PREAUTH off for connections from the network; update clients, which must break such a connection off when TLS is "
        f"demanded. {_PREFER_IMPLICIT}",
        ("CVE-2020-12398", "RFC 9051 section 7.1.4", "RFC 9051 section 11.1", _NO_STARTTLS),
    ),
    Rule(
        "untagged-data-before-tls", MEDIUM, "Mailbox data before login", untagged_data_before_tls, ANOMALIES,
        f"Look for who is on the way between client and server; update clients. {_PREFER_IMPLICIT}",
        ("CWE-74", "RFC 9051 section 11.1", _NO_STARTTLS),
    ),
    Rule(
        "tls-fallback-to-plaintext", HIGH, "Fallback from TLS to clear text", tls_fallback_to_plaintext, FALLBACK,
        "Mend what made the handshake fail (see tls-handshake-failed), set the client to demand TLS, and let the server refuse logins "
        "before TLS, so that there is nothing to fall back to.",
        ("CWE-757", "RFC 8314 section 4.1", "RFC 9325 section 3.2"),
    ),
    Rule(
        "capability-suppressed", LOW, "Capability missing that is always offered", capability_suppressed, LISTED,
        f"Compare with the server's own answer, asked from its own network; if it differs, look for who is on the way. {_PREFER_IMPLICIT}",
        ("CWE-757", _NO_STARTTLS),
    ),
    Rule(
        "sasl-downgrade", HIGH, "Stronger login mechanisms missing, password sent", sasl_downgrade, LISTED,
        f"Change the password, and look for who is on the way. {_PREFER_IMPLICIT}",
        ("CWE-757", "RFC 4422 section 6.1.2", "RFC 8314 section 3"),
    ),
    Rule(
        "tcp-content-conflict", MEDIUM, "Same octets, different content", tcp_content_conflict, CONFLICT,
        "Look at the packets around the frame: different TTL or hardware address of the two copies tells where the second came from.",
        ("CWE-924", "RFC 9293 section 3.10"),
    ),
)  # fmt: skip
