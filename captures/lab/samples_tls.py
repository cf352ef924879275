"""Samples of TLS: versions, certificates with faults, and secrets to decrypt with."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from . import network, pcapfile
from .accounts import message, password
from .clients import tls_context
from .laboratory import Laboratory, sample
from .ledger import Credential
from .network import MAIL
from .pcapfile import Packet

_ANNA: Final = password("anna")
_TO: Final = "eva@example.org"
_NOTE: Final = message(1, _TO)
_V: Final = ssl.TLSVersion
_VERSIONS: Final = (_V.TLSv1, _V.TLSv1_1, _V.TLSv1_2, _V.TLSv1_3)


@sample(
    "tls-versions.pcap",
    "TLS 1.0 to 1.3, implicit and after STARTTLS; RSA key exchange, CBC with SHA-1; a resumed session; no cipher in common",
    "openssl s_client and scripted clients; Dovecot, Postfix",
    needs=("openssl",),
)
def tls_versions(lab: Laboratory) -> None:
    for version in _VERSIONS:
        with lab.imap(port=993, tls=tls_context(version=version)) as imap:
            imap.login("anna", _ANNA)
            imap.logout()
    for version in _VERSIONS[:3]:
        with lab.smtp() as smtp:
            smtp.starttls(tls_context(version=version))
            smtp.quit()
    for ciphers in ("AES128-SHA:@SECLEVEL=0", "ECDHE-RSA-AES256-SHA:@SECLEVEL=0", "AES256-GCM-SHA384:@SECLEVEL=0"):
        with lab.pop3(port=995, tls=tls_context(version=_V.TLSv1_2, ciphers=ciphers)) as pop3:
            pop3.login("anna", _ANNA)
            pop3.quit()
    ticket = str(lab.folder / "ticket.pem")
    for option in ("-sess_out", "-sess_in"):
        # Postfix, because its processes share the keys of their tickets
        lab.did("smtp", 465, implicit_tls=True, tls_version="TLSv1.2")
        lab.programs.openssl(MAIL, 465, "-tls1_2", option, ticket, talk="EHLO desk.example.net\nQUIT", expect=(0, 1))
    lab.did(
        "imap",
        993,
        implicit_tls=True,
        note="no cipher in common: the server goes without a word, the client sends an alert",
    )
    lab.programs.openssl(MAIL, 993, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", talk="a LOGOUT", expect=(1,))


@sample(
    "tls-certificates.pcap",
    "TLS 1.2 with certificates that are good, expired, not yet valid, for another name, self-signed, weak (RSA-1024, SHA-1), ECDSA; one client refuses",
    "curl and scripted clients; Dovecot, Postfix",
    needs=("curl",),
)
def tls_certificates(lab: Laboratory) -> None:
    for server, problem in (
        (MAIL, None), (network.EXPIRED, "expired"), (network.NOT_YET, "not_yet_valid"), (network.MISMATCH, "name_mismatch"),
        (network.SELF_SIGNED, "self_signed"), (network.WEAK, "weak_key"), (network.ECDSA, None),
    ):  # fmt: skip
        with lab.imap(server, port=993, tls=tls_context(version=_V.TLSv1_2), cert_problem=problem) as imap:
            imap.login("anna", _ANNA)
            imap.logout()
    with lab.smtp(network.EXPIRED, cert_problem="expired") as smtp:
        smtp.starttls(tls_context(version=_V.TLSv1_2))
        smtp.auth("PLAIN", "anna", _ANNA)
        smtp.quit()
    with lab.pop3(network.SELF_SIGNED, cert_problem="self_signed") as pop3:
        pop3.stls(tls_context(version=_V.TLSv1_2))
        pop3.login("anna", _ANNA)
        pop3.quit()
    lab.did(
        "imap",
        993,
        network.SELF_SIGNED,
        implicit_tls=True,
        tls_version="TLSv1.2",
        cert_problem="self_signed",
        note="the client refuses and goes",
    )
    lab.programs.run(
        "curl", "-sS", "--tls-max", "1.2", "--user", f"anna:{_ANNA}", f"imaps://{network.SELF_SIGNED}/", expect=(60,)
    )


def _with_secrets(lab: Laboratory, path: Path, packets: list[Packet]) -> None:
    pcapfile.write_pcapng(path, packets, lab.folder / "keys.log")


def _secret_sessions(lab: Laboratory, version: ssl.TLSVersion) -> None:
    keys = lab.folder / "keys.log"
    keys.unlink(missing_ok=True)

    def context() -> ssl.SSLContext:
        return tls_context(version=version, keylog=keys)

    with lab.imap(port=993, tls=context()) as imap:
        imap.login("boris", password("boris"))
        imap.fetch(2)
        imap.logout()
    with lab.pop3() as pop3:
        pop3.stls(context())
        pop3.auth("PLAIN", "anna", _ANNA)
        pop3.retrieve(1)
        pop3.quit()
    with lab.smtp() as smtp:
        smtp.starttls(context())
        smtp.auth("SCRAM-SHA-256", "anna", _ANNA)
        smtp.mail(_NOTE, _TO)
        smtp.quit()
    name = "1.2" if version == _V.TLSv1_2 else "1.3"
    session = lab.did("imap", 993, implicit_tls=True, tls_version=f"TLSv{name}", tls_messages=1)
    session.add(Credential("PLAIN", "eva", password("eva"), outcome="accepted"), encrypted=True)
    lab.programs.curl(f"imaps://{MAIL}/INBOX/;MAILINDEX=1", f"--tlsv{name}", "--tls-max", name, "--user", f"eva:{password('eva')}",
                      "--login-options", "AUTH=PLAIN", keylog=keys)  # fmt: skip


@sample(
    "tls12-secrets.pcapng", "TLS 1.2 with its secrets in the file (decryption secrets block)",
    "curl and scripted clients, secrets put in by editcap; Dovecot, Postfix", needs=("curl",), write=_with_secrets,
)  # fmt: skip
def tls12_secrets(lab: Laboratory) -> None:
    _secret_sessions(lab, _V.TLSv1_2)


@sample(
    "tls13-secrets.pcapng", "TLS 1.3 with its secrets in the file (decryption secrets block)",
    "curl and scripted clients, secrets put in by editcap; Dovecot, Postfix", needs=("curl",), write=_with_secrets,
)  # fmt: skip
def tls13_secrets(lab: Laboratory) -> None:
    _secret_sessions(lab, _V.TLSv1_3)
