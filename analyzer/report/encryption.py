"""What TLS each server was seen to speak, worst first: versions, cipher suites, certificates and what is wrong with them.

Nothing is done for sessions without TLS; certificates are parsed and judged once each, at the time they were last seen.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import CRITICAL
from analyzer.findings.tls import STATIC_KEYS, WEAK_PARTS
from analyzer.sessions.certificates import TrustStore, judge, parse_certificate
from analyzer.sessions.records import Session, TlsHandshake

#: Distinct certificates, and names asked for with one of them, kept of one server.
MAX_CERTIFICATES: Final = 16
MAX_NAMES: Final = 8
#: Servers kept; what is beyond is not told.
MAX_SERVERS: Final = 10_000
#: Versions that RFC 8996 and RFC 7568 forbid, worst first.
OBSOLETE: Final = ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1")
#: How bad the problems of a certificate are, by their words; others count 1.
_WEIGHTS: Final[dict[str, int]] = {
    "expired": 3,
    "self_signed": 3,
    "name_mismatch": 3,
    "untrusted": 3,
    "weak_key": 3,
    "weak_signature": 3,
    "expiring": 1,
}


class CertificateTally:
    """One certificate as a server used it."""

    def __init__(self, chain: list[bytes]) -> None:
        self.chain = chain
        self.sessions: i64 = 0
        self.last_ns: i64 = 0
        #: names the clients asked for; None stands for none
        self.names: list[str | None] = []
        #: words of ``cert_problems``, filled in by :meth:`judge`
        self.problems: list[str] = []

    def judge(self, trust: TrustStore) -> None:
        """What is wrong with it, at the time it was last seen, for any of the names asked for."""
        for name in self.names:
            for problem in judge(self.chain, self.last_ns, name, trust):
                if problem not in self.problems:
                    self.problems.append(problem)


class TlsServer:
    """One server address and port, as far as its TLS was seen."""

    def __init__(self, server_ip: str, server_port: i64) -> None:
        self.server_ip = server_ip
        self.server_port: i64 = server_port
        self.handshakes: i64 = 0
        self.failed: i64 = 0
        #: version -> handshakes that chose it, cipher suite likewise
        self.versions: dict[str, int] = {}
        self.suites: dict[str, int] = {}
        self.certificates: dict[bytes, CertificateTally] = {}
        #: certificates beyond those kept
        self.certificates_left_out: i64 = 0

    def badness(self) -> int:
        """How much is wrong, for the order of the report."""
        total = 0
        for suite in self.suites:
            total += 20 * suite_weakness(suite)
        for version in self.versions:
            if version in OBSOLETE:
                total += 40 - 10 * OBSOLETE.index(version)
        for certificate in self.certificates.values():
            for problem in certificate.problems:
                total += 10 * _WEIGHTS.get(problem, 1)
        return total

    def verdict(self) -> str:
        """Its certificates in a word: ``unseen`` (TLS 1.3, resumed sessions), ``good`` or ``problems``."""
        if not self.certificates:
            return "unseen"
        bad = [certificate for certificate in self.certificates.values() if certificate.problems]
        return "problems" if bad else "good"


def suite_weakness(suite: str) -> int:
    """3 for a suite that does not protect, 2 for a weak one, 1 for one without forward secrecy, 0 for a sound one."""
    for part, _what, severity in WEAK_PARTS:
        if part in suite:
            return 3 if severity == CRITICAL else 2
    return 1 if suite.startswith(STATIC_KEYS) else 0


class TlsServers:
    """Collects what TLS each server speaks, session by session."""

    def __init__(self) -> None:
        self._servers: dict[str, TlsServer] = {}

    def receive(self, session: Session) -> None:
        """The next session."""
        tls = session.tls
        if tls is None:
            return
        name = f"{session.server_ip} {session.server_port}"
        server = self._servers.get(name)
        if server is None:
            if len(self._servers) >= MAX_SERVERS:
                return
            server = TlsServer(session.server_ip, session.server_port)
            self._servers[name] = server
        _add(server, tls)

    def judged(self, trust: TrustStore) -> list[TlsServer]:
        """The servers that TLS was seen of, worst first, their certificates judged."""
        for server in self._servers.values():
            for certificate in server.certificates.values():
                certificate.judge(trust)
        return sorted(self._servers.values(), key=_order)


def _order(one: TlsServer) -> tuple[int, int, int, str, int]:
    return (-one.badness(), -one.failed, -one.handshakes, one.server_ip, one.server_port)


def _add(server: TlsServer, tls: TlsHandshake) -> None:
    server.handshakes += 1
    version, suite, sni, chain = tls.in_short()
    if tls.handshake == "failed":
        server.failed += 1
        version = suite = None
    if version is not None:
        server.versions[version] = server.versions.get(version, 0) + 1
    if suite is not None:
        server.suites[suite] = server.suites.get(suite, 0) + 1
    if not chain:
        return
    certificate = server.certificates.get(chain[0])
    if certificate is None:
        if len(server.certificates) >= MAX_CERTIFICATES:
            server.certificates_left_out += 1
            return
        certificate = CertificateTally(chain)
        server.certificates[chain[0]] = certificate
    certificate.sessions += 1
    if tls.timestamp_ns > certificate.last_ns:
        certificate.last_ns = tls.timestamp_ns
    if sni not in certificate.names and len(certificate.names) < MAX_NAMES:
        certificate.names.append(sni)


def bad_certificates(servers: list[TlsServer]) -> list[tuple[CertificateTally, list[TlsServer]]]:
    """The certificates with problems, and the servers that used each, in the servers' order."""
    found: dict[bytes, tuple[CertificateTally, list[TlsServer]]] = {}
    for server in servers:
        for der, certificate in server.certificates.items():
            if not certificate.problems:
                continue
            known = found.get(der)
            if known is None:
                total = CertificateTally(certificate.chain)
                known = (total, [])
                found[der] = known
            known[0].sessions += certificate.sessions
            known[0].problems.extend([problem for problem in certificate.problems if problem not in known[0].problems])
            known[1].append(server)
    return list(found.values())


def short_name(certificate: CertificateTally) -> str:
    """What to call a certificate: its first name, else its subject, else its fingerprint."""
    parsed = parse_certificate(certificate.chain[0])
    if parsed.names:
        return parsed.names[0]
    return parsed.subject or f"sha256 {parsed.sha256[:16]}"
