"""Server posture: what each server offers and takes, as far as the capture tells, and a grade with its reasons.

The grades follow RFC 8314 (clear text is obsolete for users' mail) and RFC 9325 (how to use TLS):

    A   TLS from the first octet or demanded, with versions and certificate that are fine or were not visible
    B   protects its users, with a flaw: forward secrecy, a certificate that ends soon or leads to no known root, mail in clear
        between servers
    C   leaves it to the client: invites passwords before TLS, old TLS versions, a certificate that clients must refuse
    D   offers no TLS on this port, refuses it, or takes mail of users in clear
    F   took passwords or tokens in clear, or uses TLS that does not protect
    unseen   the capture shows nothing to judge by

What was not seen is never graded: a server is as good as the worst that was seen of it.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import HIGH
from analyzer.findings.offers import offer_of, takes_passwords, told_before_login
from analyzer.findings.tls import PROBLEMS, STATIC_KEYS, WEAK_PARTS
from analyzer.findings.traits import asked_too_late, between_servers, first_clear_message
from analyzer.protocols.events import ACCEPTED, NO_SECRET
from analyzer.report.wording import plural
from analyzer.sessions.certificates import (
    EXPIRING,
    UNTRUSTED,
    TrustStore,
    judge,
    parse_certificate,
)
from analyzer.sessions.records import (
    IMPLICIT_TLS,
    PLAINTEXT,
    REFUSED,
    STARTTLS,
    UNKNOWN,
    Session,
    TlsHandshake,
)

#: Mechanisms, versions, suites and reasons kept of one server.
MAX_KEPT: Final = 64
#: Servers of the table, and servers kept for a report at a glance, which shows few. What is beyond is not judged.
MAX_SERVERS: Final = 1_000_000
MAX_SERVERS_AT_A_GLANCE: Final = 10_000

GRADES: Final = "ABCDF"
UNSEEN: Final = "unseen"

_OLD_VERSIONS: Final = ("TLSv1.0", "TLSv1.1")
_BROKEN_VERSIONS: Final = ("SSLv2", "SSLv3")


class Posture:
    """What was seen of one server address, port and protocol."""

    def __init__(self, session: Session) -> None:
        self.server_ip = session.server_ip
        self.server_port: i64 = session.server_port
        self.protocol = session.protocol
        self.port_service = session.port_service
        self.sessions: i64 = 0
        self.plaintext: i64 = 0
        self.starttls: i64 = 0
        self.implicit_tls: i64 = 0
        #: sessions with and without an offer of STARTTLS; those of either kind, or neither, in which it was refused
        self.offered: i64 = 0
        self.not_offered: i64 = 0
        self.refused: i64 = 0
        #: handshakes completed, failed
        self.tls_completed: i64 = 0
        self.tls_failed: i64 = 0
        self.mechanisms: list[str] = []
        #: mechanisms with which logins in clear were accepted
        self.accepted: list[str] = []
        #: passwords are invited before TLS; None where no list was seen
        self.plaintext_auth: bool | None = None
        self.readable_logins: i64 = 0
        self.guessable_logins: i64 = 0
        self.user_mail_in_clear: i64 = 0
        self.server_mail_in_clear: i64 = 0
        self.versions: list[str] = []
        self.suites: list[str] = []
        self.certificate_sha256: str | None = None
        self.certificate_not_after_ns: int | None = None
        self.certificate_names: list[str] = []
        self.certificate_ns: i64 = 0
        #: the chain of the certificate seen last, the name asked for, and what it is checked against
        self._chain: list[bytes] = []
        self._sni: str | None = None
        self._trust: TrustStore | None = None
        self._problems: list[str] | None = None
        #: names that clients asked for in handshakes that were completed
        self.names: list[str] = []
        self.first_ns: i64 = session.start_ns
        self.last_ns: i64 = session.end_ns

    def show(self, chain: list[bytes], at_ns: i64, sni: str | None, trust: TrustStore | None) -> None:
        """A certificate that was shown later than those before; it is judged when somebody asks."""
        own = parse_certificate(chain[0])
        self.certificate_ns = at_ns
        self.certificate_sha256 = own.sha256
        self.certificate_not_after_ns = own.not_after_ns
        self.certificate_names = own.names
        self._chain, self._sni, self._trust, self._problems = chain, sni, trust, None

    @property
    def certificate_problems(self) -> list[str]:
        """What is wrong with the certificate seen last, as words of ``cert_problems``."""
        if self._problems is None:
            self._problems = judge(self._chain, self.certificate_ns, self._sni, self._trust)
        return self._problems

    def starttls_offered(self) -> str:
        """``always sometimes never unseen``; :meth:`offers_starttls` says it to people."""
        if self.offered:
            return "sometimes" if self.not_offered else "always"
        return "never" if self.not_offered else UNSEEN

    def offers_starttls(self) -> str:
        """The same in words for people."""
        return offer_in_words(self.starttls_offered(), self.plaintext, self.starttls, self.implicit_tls)

    def speaks_clear(self) -> bool:
        """Whether it was seen to go along with clients in clear."""
        return bool(
            self.accepted or self.plaintext_auth is not None or self.user_mail_in_clear or self.server_mail_in_clear
        )

    def grade(self) -> tuple[str, list[str]]:
        """The grade, and the reasons in words, worst first."""
        found: list[tuple[int, str]] = []
        self._judge_clear(found)
        self._judge_tls(found)
        self._judge_certificate(found)
        found.sort(key=_worst_first)
        reasons = [reason for _, reason in found]
        good = self._good()
        if not found and not good:
            return UNSEEN, ["the capture shows neither logins nor offers nor TLS of it"]
        return GRADES[found[0][0] if found else 0], reasons + good

    def _judge_clear(self, found: list[tuple[int, str]]) -> None:
        """What it takes in clear."""
        if self.readable_logins:
            found.append(
                (4, f"took {plural(self.readable_logins, 'login')} with readable passwords or tokens in clear")
            )
        if self.guessable_logins:
            found.append((3, f"took {plural(self.guessable_logins, 'login')} by challenge and response in clear"))
        if self.user_mail_in_clear:
            found.append((3, f"moved users' mail in clear in {plural(self.user_mail_in_clear, 'session')}"))
        if self.server_mail_in_clear:
            found.append((1, f"moved mail between servers in clear in {plural(self.server_mail_in_clear, 'session')}"))
        if self.plaintext_auth and not self.readable_logins:
            found.append((2, "invites passwords before TLS"))
        self._judge_upgrade(found)
        if self.plaintext and self.port_service in ("pop3s", "imaps", "submissions", "smtps"):
            found.append((2, "was spoken to in clear on a port for TLS"))

    def _judge_upgrade(self, found: list[tuple[int, str]]) -> None:
        """Whether TLS is to be had where it is asked for."""
        relay = self.protocol == "lmtp" or (
            self.protocol == "smtp" and self.server_port == 25 and not self.plaintext_auth
        )
        without = 2 if relay else 3
        state = self.starttls_offered()
        if state == "never":
            found.append((without, "refuses STARTTLS" if self.refused else "offers no STARTTLS"))
            return
        if state == "sometimes":
            judged = self.offered + self.not_offered
            found.append((2, f"offers STARTTLS only sometimes ({self.offered:,} of {judged:,} sessions)"))
        if self.refused:
            if self.starttls or self.refused < self.offered:
                found.append((2, f"refused STARTTLS in {plural(self.refused, 'session')}"))
            elif self.offered:
                found.append((2, "offers STARTTLS and refuses it"))
            else:
                found.append((without, "refuses STARTTLS"))

    def _judge_tls(self, found: list[tuple[int, str]]) -> None:
        """How it uses TLS."""
        for version in self.versions:
            if version in _BROKEN_VERSIONS:
                found.append((4, f"uses {version}"))
            elif version in _OLD_VERSIONS:
                found.append((2, f"uses {version} (RFC 8996)"))
        for suite in self.suites:
            for part, what, severity in WEAK_PARTS:
                if part in suite + "_":
                    found.append((4 if severity >= HIGH else 2, f"{suite} {what}"))
                    break
            else:
                if suite.startswith(STATIC_KEYS):
                    found.append((1, f"{suite} has no forward secrecy"))
        if self.tls_failed and not self.tls_completed:
            found.append((2, f"all {self.tls_failed:,} TLS handshakes failed"))

    def _judge_certificate(self, found: list[tuple[int, str]]) -> None:
        """What is wrong with the certificate seen last."""
        for problem in self.certificate_problems:
            step = 2
            if problem in (EXPIRING, UNTRUSTED):
                step = 1
            found.append((step, f"its certificate {PROBLEMS.get(problem, problem)}"))

    def _good(self) -> list[str]:
        """What speaks for it."""
        good: list[str] = []
        if self.implicit_tls and self.tls_completed:
            good.append("TLS from the first octet")
        elif self.starttls and self.tls_completed:
            good.append("STARTTLS works")
        elif self.refused < self.offered:
            good.append("offers STARTTLS")
        if self.tls_completed and self.certificate_sha256 is None:
            good.append("its certificate could not be seen (TLS 1.3 or resumption)")
        if self.plaintext_auth is False:
            good.append("takes no passwords before TLS")
        return good


def offer_in_words(offered: str, plaintext: int, starttls: int, implicit_tls: int) -> str:
    """Whether a server offers STARTTLS (:meth:`Posture.starttls_offered`), and ``not needed`` where all that was seen is TLS from the first octet."""
    return "not needed" if offered == UNSEEN and implicit_tls and not plaintext and not starttls else offered


def _worst_first(one: tuple[int, str]) -> tuple[int, str]:
    return (-one[0], one[1])


class Postures:
    """Collects what is seen of servers, session by session. Without a trust store, trust is not judged."""

    def __init__(self, trust: TrustStore | None, limit: int = MAX_SERVERS) -> None:
        #: one posture a server address, port and protocol, in order of appearance
        self.found: list[Posture] = []
        self._trust = trust
        self._limit: i64 = limit
        self._by_address: dict[str, dict[int, list[Posture]]] = {}

    def receive(self, session: Session) -> None:
        """The next session."""
        if session.protocol == UNKNOWN:
            return
        ports = self._by_address.get(session.server_ip)
        known: list[Posture] | None = None if ports is None else ports.get(session.server_port)
        posture: Posture | None = None
        if known is not None:
            for one in known:  # more than one only where a port was met with several protocols
                if one.protocol == session.protocol:
                    posture = one
                    break
        if posture is None:
            if len(self.found) >= self._limit:
                return
            if ports is None:
                ports = {}
                self._by_address[session.server_ip] = ports
            if known is None:
                known = []
                ports[session.server_port] = known
            posture = Posture(session)
            known.append(posture)
            self.found.append(posture)
        _add(posture, session, self._trust)


def postures(sessions: list[Session], trust: TrustStore | None) -> list[Posture]:
    """One posture a server address, port and protocol, in order of appearance."""
    servers = Postures(trust)
    for session in sessions:
        servers.receive(session)
    return servers.found


def _keep(words: list[str], word: str) -> None:
    if word not in words and len(words) < MAX_KEPT:
        words.append(word)


def _add(one: Posture, session: Session, trust: TrustStore | None) -> None:
    one.sessions += 1
    if session.start_ns < one.first_ns:
        one.first_ns = session.start_ns
    if session.end_ns > one.last_ns:
        one.last_ns = session.end_ns
    transport = session.transport
    if transport == PLAINTEXT:
        one.plaintext += 1
    elif transport == STARTTLS:
        one.starttls += 1
    elif transport == IMPLICIT_TLS:
        one.implicit_tls += 1
    if session.starttls == REFUSED and not asked_too_late(session):
        one.refused += 1
    if session.capabilities is not None:
        _add_offer(one, session)
    elif transport == STARTTLS:
        one.offered += 1
    if session.credentials is not None:
        for credential in session.credentials:
            if credential.exposed and credential.outcome == ACCEPTED:
                _keep(one.accepted, credential.mechanism)
                if credential.secret is not None:
                    one.readable_logins += 1
                elif credential.secret_kind != NO_SECRET:
                    one.guessable_logins += 1
    message = first_clear_message(session)
    if message is not None and message.accepted is not False:
        if between_servers(message):
            one.server_mail_in_clear += 1
        else:
            one.user_mail_in_clear += 1
    tls = session.tls
    if tls is not None:
        _add_tls(one, tls, trust)


def _add_offer(one: Posture, session: Session) -> None:
    offer = offer_of(session)
    if not told_before_login(session, offer):
        return
    if offer.starttls or session.transport == STARTTLS:
        one.offered += 1
    elif session.capabilities_whole and session.starttls != UNSEEN:
        one.not_offered += 1
    for mechanism in offer.mechanisms:
        _keep(one.mechanisms, mechanism)
    # Who refused to say what it offers has not said that it takes no passwords.
    if session.capabilities and one.plaintext_auth is not True:
        if takes_passwords(session, offer):
            one.plaintext_auth = True
        elif session.capabilities_whole:
            one.plaintext_auth = False  # a part of a list invites to what is in it, and forbids nothing


def _add_tls(one: Posture, tls: TlsHandshake, trust: TrustStore | None) -> None:
    tls.fill()
    if tls.handshake == "failed":
        one.tls_failed += 1
    elif tls.handshake == "completed" or tls.version is not None:
        one.tls_completed += 1
        if tls.version is not None:
            _keep(one.versions, tls.version)
        if tls.cipher_suite is not None:
            _keep(one.suites, tls.cipher_suite)
        if tls.sni is not None:
            _keep(one.names, tls.sni)
    if tls.certificates and tls.timestamp_ns >= one.certificate_ns:
        one.show(tls.certificates, tls.timestamp_ns, tls.sni, trust)
