"""The samples by protocol: who logs in how. Each function is one file of ``captures/``.

One list, longer than most modules: a sample is read beside its neighbours, to see what it shows that they do not.
"""

from __future__ import annotations

import base64
import contextlib
import imaplib
import poplib
import smtplib
import socket
import ssl
from typing import Final

from . import network, programs, sasl
from .accounts import EXPIRED_TOKEN, TOKENS, message, password
from .clients import drip, tls_context
from .laboratory import Laboratory, sample
from .ledger import Credential
from .network import CYRUS, MAIL, STRICT

_ANNA: Final = password("anna")
_TO: Final = "eva@example.org"
_NOTE: Final = message(1, _TO)
_TRAP: Final = message(3, _TO)
_MECHANISMS: Final = ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256")


# POP3 -----------------------------------------------------------------------------------------------------------------


@sample(
    "pop3-login.pcap",
    "USER/PASS: plain, with spaces and quotes, UTF-8, refused, pipelined, octet by octet; RETR, TOP, DELE",
    "poplib, getmail, curl and scripted clients; Dovecot",
    needs=("getmail", "curl"),
)
def pop3_login(lab: Laboratory) -> None:
    session = lab.did("pop3", 110, credentials=[Credential("USER/PASS", "anna", _ANNA, outcome="accepted")], messages=2)
    client = poplib.POP3(MAIL)
    client.user("anna")
    client.pass_(_ANNA)
    for number in (1, 2):
        client.retr(number)
    client.top(1, 0)
    client.quit()
    session = lab.did(
        "pop3", 110, credentials=[Credential("USER/PASS", "eva", password("eva"), outcome="accepted")], messages=2
    )
    lab.programs.getmail("SimplePOP3Retriever", MAIL, "eva")
    session = lab.did("pop3", 110, starttls="offered", messages=1)
    session.add(Credential("PLAIN", "farid", password("farid"), outcome="accepted"))
    lab.programs.curl(
        f"pop3://{MAIL}/1", "--user", f"farid:{password('farid')}", "--login-options", "AUTH=PLAIN", "--sasl-ir"
    )
    for user in ("boris", "chiara@example.org", "dimitri", "greta", "hana", "igor"):
        with lab.pop3() as scripted:
            scripted.capa()
            scripted.login(user, password(user))
            scripted.command("STAT")
            scripted.quit()
    with lab.pop3() as scripted:
        scripted.login("anna", "wrong-once")
        scripted.login("anna", "wrong again")
        scripted.login("anna", _ANNA)
        scripted.retrieve(2, delete=True)
        scripted.quit()
    with lab.pop3() as scripted:
        credential = scripted.credential(Credential("USER/PASS", "eva", password("eva")))
        scripted.send(f"USER eva\r\nPASS {password('eva')}\r\nSTAT\r\nRETR 1\r\nQUIT\r\n")
        scripted.reply()
        credential.outcome = "accepted" if scripted.reply().startswith("+OK") else "rejected"
        scripted.reply()
        scripted.reply(multiline=True)
        scripted.message()
        scripted.reply()
    with lab.pop3() as scripted:
        credential = scripted.credential(Credential("USER/PASS", "igor", password("igor")))
        drip(scripted, b"user igor\r\n")
        scripted.reply()
        drip(scripted, f"pass {password('igor')}\r\n".encode())
        credential.outcome = "accepted" if scripted.reply().startswith("+OK") else "rejected"
        scripted.quit()
    with lab.pop3(STRICT) as scripted:
        scripted.capa()
        scripted.login("anna", _ANNA)
        scripted.quit()


@sample(
    "pop3-apop.pcap", "APOP accepted and refused", "fetchmail and a scripted client; Dovecot", needs=("fetchmail",)
)  # fmt: skip
def pop3_apop(lab: Laboratory) -> None:
    session = lab.did("pop3", 110, messages=2)
    log = lab.programs.fetchmail(MAIL, "eva", "APOP")
    stamp, digest = sasl.apop(log, password("eva"))
    session.add(Credential("APOP", "eva", challenge=stamp, response=digest, outcome="accepted"))
    if "STLS" in log:
        session.starttls = "offered"
    with lab.pop3() as scripted:
        scripted.apop("anna", "not the password")
        scripted.apop("anna", _ANNA)
        scripted.retrieve(1)
        scripted.quit()


@sample(
    "pop3-auth.pcap",
    "AUTH with every mechanism, with and without initial response, cancelled, unknown, refused; NTLM",
    "curl and scripted clients; Dovecot, Cyrus (NTLM)",
    needs=("curl",),
)
def pop3_auth(lab: Laboratory) -> None:
    for mechanism in _MECHANISMS:
        with lab.pop3() as scripted:
            scripted.capa()
            scripted.auth(mechanism, "anna", _ANNA, initial=mechanism != "PLAIN")
            scripted.command("STAT")
            scripted.quit()
    with lab.pop3() as scripted:
        scripted.auth("PLAIN", "dimitri", password("dimitri"))
        scripted.quit()
    with lab.pop3() as scripted:
        scripted.auth("LOGIN", "boris", password("boris"), initial=False)
        scripted.quit()
    with lab.pop3() as scripted:
        scripted.auth("XOAUTH2", "anna", EXPIRED_TOKEN)
        scripted.auth("XOAUTH2", "anna", TOKENS["anna"], initial=False)
        scripted.quit()
    with lab.pop3() as scripted:
        scripted.auth("OAUTHBEARER", "eva", TOKENS["eva"])
        scripted.quit()
    with lab.pop3() as scripted:
        scripted.auth("ANONYMOUS", "guest@example.net")
        scripted.quit()
    with lab.pop3() as scripted:
        scripted.command("AUTH LOGIN")
        scripted.command("*")
        scripted.command("AUTH LOGIN")
        scripted.command(base64.b64encode(b"anna").decode())
        scripted.command("*")
        scripted.credential(Credential("LOGIN", "anna", outcome="cancelled"))
        scripted.auth("CRAM-MD5", "anna", "not the password")
        scripted.auth("CRAM-MD5", "anna", _ANNA)
        scripted.quit()
    session = lab.did("pop3", 110, CYRUS, starttls="offered", messages=0)
    log = lab.programs.curl(f"pop3://{CYRUS}/", "-l", "--user", f"anna:{_ANNA}", "--login-options", "AUTH=NTLM")
    programs.exchange(log, session, "NTLM", "anna", "accepted")


@sample(
    "pop3-stls.pcap",
    "STLS completed, in TLS 1.2 and 1.3; a password sent before it although the server wants TLS",
    "poplib, curl, fetchmail and scripted clients; Dovecot",
    needs=("curl", "fetchmail"),
)
def pop3_stls(lab: Laboratory) -> None:
    inside = Credential("USER/PASS", "anna", _ANNA, outcome="accepted")
    lab.did("pop3", 110, starttls="completed", tls_version="TLSv1.3", tls_credentials=[inside], tls_messages=1)
    client = poplib.POP3(MAIL)
    client.capa()
    client.stls(tls_context())
    client.user("anna")
    client.pass_(_ANNA)
    client.retr(1)
    client.quit()
    inside = Credential("PLAIN", "eva", password("eva"), outcome="accepted")
    lab.did("pop3", 110, starttls="completed", tls_version="TLSv1.2", tls_credentials=[inside], tls_messages=1)
    lab.programs.curl(f"pop3://{MAIL}/1", "--ssl-reqd", "--tls-max", "1.2", "--user", f"eva:{password('eva')}",
                      "--login-options", "AUTH=PLAIN")  # fmt: skip
    inside = Credential("USER/PASS", "eva", password("eva"), outcome="accepted")
    lab.did("pop3", 110, starttls="completed", tls_version="TLSv1.3", tls_credentials=[inside], tls_messages=2)
    lab.programs.fetchmail(MAIL, "eva", "POP3", poll="auth password", user_options='sslproto "TLS1.2+" no sslcertck')
    with lab.pop3(STRICT) as scripted:
        scripted.capa()
        scripted.login("anna", _ANNA)
        scripted.stls()
        scripted.login("anna", _ANNA)
        scripted.retrieve()
        scripted.quit()


@sample(
    "pop3s.pcap",
    "TLS from the first octet on 995; a password sent there in clear; a ClientHello sent to 110",
    "poplib, curl, openssl s_client and scripted clients; Dovecot",
    needs=("curl", "openssl"),
)
def pop3s(lab: Laboratory) -> None:
    inside = Credential("USER/PASS", "anna", _ANNA, outcome="accepted")
    lab.did("pop3", 995, implicit_tls=True, tls_version="TLSv1.3", tls_credentials=[inside], tls_messages=2)
    client = poplib.POP3_SSL(MAIL, context=tls_context())
    client.user("anna")
    client.pass_(_ANNA)
    client.retr(1)
    client.retr(2)
    client.quit()
    inside = Credential("PLAIN", "eva", password("eva"), outcome="accepted")
    lab.did("pop3", 995, implicit_tls=True, tls_version="TLSv1.2", tls_credentials=[inside], tls_messages=1)
    lab.programs.curl(
        f"pop3s://{MAIL}/1", "--tls-max", "1.2", "--user", f"eva:{password('eva')}", "--login-options", "AUTH=PLAIN"
    )
    inside = Credential("USER/PASS", "greta", password("greta"), outcome="accepted")
    lab.did("pop3", 995, implicit_tls=True, tls_version="TLSv1.3", tls_credentials=[inside])
    lab.programs.openssl(MAIL, 995, talk="USER greta\nPASS g\nSTAT\nQUIT")
    plain_to_tls(lab, "pop3", 995, f"USER anna\r\nPASS {_ANNA}\r\n", Credential("USER/PASS", "anna", _ANNA))
    lab.did("pop3", 110, note="a ClientHello, answered with -ERR or nothing")
    lab.programs.openssl(MAIL, 110, talk="QUIT", expect=(1,))


def plain_to_tls(lab: Laboratory, protocol: str, port: int, text: str, credential: Credential) -> None:
    """A client set to no encryption on a port that wants TLS; it talks first, because no greeting comes."""
    session = lab.did(protocol, port, credentials=[credential], note="plaintext on a port for TLS")
    with socket.create_connection((MAIL, port), 5, (network.CLIENT, 0)) as connection:
        session.client_port = connection.getsockname()[1]
        connection.sendall(text.encode())
        with contextlib.suppress(ConnectionResetError):  # some close, some reset
            connection.recv(4096)


# IMAP -----------------------------------------------------------------------------------------------------------------


@sample(
    "imap-login.pcap",
    "LOGIN with atoms, quoted strings with escapes, literals of both kinds, UTF-8; lower case; NO, then OK; LOGINDISABLED ignored",
    "imaplib, neomutt and scripted clients; Dovecot",
    needs=("neomutt", "script"),
)
def imap_login(lab: Laboratory) -> None:
    accepted = Credential("LOGIN-CMD", "anna", _ANNA, outcome="accepted")
    lab.did("imap", 143, starttls="offered", credentials=[accepted], messages=1)
    client = imaplib.IMAP4(MAIL)
    client.login("anna", _ANNA)
    client.select()
    client.fetch("1", "(RFC822)")
    client.fetch("2", "(BODY[HEADER.FIELDS (SUBJECT)])")
    client.logout()
    # neomutt's "login" is AUTHENTICATE LOGIN where the server knows it
    lab.did("imap", 143, starttls="offered", messages=1).add(
        Credential("LOGIN", "eva", password("eva"), outcome="accepted")
    )
    lab.programs.mutt(
        f"imap://eva@{MAIL}/INBOX", password("eva"), "set ssl_starttls=no", "set imap_authenticators='login'"
    )
    for user, style in (("anna", "atom"), ("boris", "quoted"), ("chiara@example.org", "quoted"), ("dimitri", "literal"),
                        ("dimitri", "literal+"), ("farid", "literal"), ("hana", "literal+"), ("hana", "quoted"), ("igor", "quoted")):  # fmt: skip
        with lab.imap() as scripted:
            scripted.login(user, password(user), style=style)
            scripted.fetch(1)
            scripted.logout()
    for verb, tag in (("login", "1"), ("Login", "a-b.7_X"), ("lOgIn", "LOGIN")):
        with lab.imap() as scripted:
            scripted.login("eva", password("eva"), verb=verb, style="atom", tag=tag)
            scripted.logout()
    with lab.imap() as scripted:
        scripted.login("chiara@example.org", "wrong", style="literal")
        scripted.login("chiara@example.org", 'wr"ong', style="quoted")
        scripted.login("chiara@example.org", password("chiara@example.org"), style="literal")
        scripted.logout()
    with lab.imap(STRICT) as scripted:
        scripted.login("anna", _ANNA)
        scripted.logout()


@sample(
    "imap-auth.pcap",
    "AUTHENTICATE with every mechanism, with and without initial response, acting for another, cancelled, refused; NTLM",
    "imaplib, curl, mutt, fetchmail and scripted clients; Dovecot, Cyrus (NTLM, DIGEST-MD5)",
    needs=("curl", "mutt", "fetchmail", "script"),
)
def imap_auth(lab: Laboratory) -> None:
    for mechanism in _MECHANISMS:
        with lab.imap() as scripted:
            scripted.authenticate(mechanism, "anna", _ANNA, initial=mechanism not in ("PLAIN", "SCRAM-SHA-1"))
            scripted.command("NOOP")
            scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("PLAIN", "dimitri", password("dimitri"))
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("PLAIN", "eva", password("eva"), authzid="eva")
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("LOGIN", "hana", password("hana"), initial=False)
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("XOAUTH2", "anna", EXPIRED_TOKEN)
        scripted.authenticate("XOAUTH2", "anna", TOKENS["anna"], initial=False)
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("OAUTHBEARER", "anna", EXPIRED_TOKEN)
        scripted.authenticate("OAUTHBEARER", "eva", TOKENS["eva"])
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("ANONYMOUS", "guest@example.net", initial=False)
        scripted.logout()
    with lab.imap() as scripted:
        scripted.authenticate("PLAIN", "anna", _ANNA, initial=False, cancel=0)
        scripted.authenticate("LOGIN", "anna", _ANNA, initial=False, cancel=1)
        scripted.authenticate("SCRAM-SHA-256", "anna", "not the password")
        scripted.authenticate("KRYPTON", "anna", _ANNA)
        scripted.authenticate("PLAIN", "anna", "wrong, and with a comma")
        scripted.authenticate("PLAIN", "anna", _ANNA)
        scripted.logout()
    client = imaplib.IMAP4(MAIL)
    session = lab.did("imap", 143, starttls="offered", client_port=client.sock.getsockname()[1])
    seen: list[bytes] = []

    def cram_md5(challenge: bytes) -> bytes:
        exchange, credential = sasl.begin("CRAM-MD5", "eva", password("eva"))
        next(exchange)
        seen.append(challenge)
        answer = exchange.send(challenge) or b""
        credential.outcome = "accepted"
        session.add(credential)
        return answer

    client.authenticate("CRAM-MD5", cram_md5)
    client.logout()
    session = lab.did("imap", 143, CYRUS, starttls="offered")
    log = lab.programs.curl(f"imap://{CYRUS}/", "--user", f"anna:{_ANNA}", "--login-options", "AUTH=NTLM")
    programs.exchange(log, session, "NTLM", "anna", "accepted")
    session = lab.did("imap", 143, CYRUS, starttls="offered")
    log = lab.programs.curl(
        f"imap://{CYRUS}/", "--user", f"eva:{password('eva')}", "--login-options", "AUTH=DIGEST-MD5"
    )
    programs.exchange(log, session, "DIGEST-MD5", "eva", "accepted")
    session = lab.did("imap", 143, starttls="offered", messages=1)
    session.add(Credential("LOGIN", "eva", password("eva"), outcome="accepted"))
    lab.programs.mutt(f"imap://eva@{MAIL}/INBOX", password("eva"), "set ssl_starttls=no", "set imap_authenticators='login'",
                      program="mutt")  # fmt: skip
    # fetchmail asks for header and text apart, so no message travels in one piece.
    session = lab.did("imap", 143, starttls="offered")
    log = lab.programs.fetchmail(MAIL, "anna", "IMAP", poll="auth cram-md5", user_options="sslproto ''")
    programs.exchange(log, session, "CRAM-MD5", "anna", "accepted")


@sample(
    "imap-starttls.pcap",
    "STARTTLS completed by four clients; offered and left alone; a refusal without TLS, then TLS on the same connection",
    "imaplib, curl, mbsync, neomutt and scripted clients; Dovecot",
    needs=("curl", "mbsync", "neomutt", "script"),
)
def imap_starttls(lab: Laboratory) -> None:
    done = {"starttls": "completed", "tls_version": "TLSv1.3"}
    lab.did("imap", 143, **done, tls_messages=1).add(
        Credential("LOGIN-CMD", "anna", _ANNA, outcome="accepted"), encrypted=True
    )
    client = imaplib.IMAP4(MAIL)
    client.starttls(tls_context())
    client.login("anna", _ANNA)
    client.select()
    client.fetch("1", "(RFC822)")
    client.logout()
    session = lab.did("imap", 143, starttls="completed", tls_version="TLSv1.2", tls_messages=1)
    session.add(Credential("PLAIN", "boris", password("boris"), outcome="accepted"), encrypted=True)
    lab.programs.curl(f"imap://{MAIL}/INBOX/;MAILINDEX=1", "--ssl-reqd", "--tls-max", "1.2", "--user",
                      f"boris:{password('boris')}", "--login-options", "AUTH=PLAIN")  # fmt: skip
    session = lab.did("imap", 143, **done, tls_messages=2)
    session.add(Credential("LOGIN-CMD", "eva", password("eva"), outcome="accepted"), encrypted=True)
    lab.programs.mbsync(
        "mail.example.org", "eva", tls="STARTTLS", extra=f"CertificateFile {lab.servers.certs}/root.crt"
    )
    session = lab.did("imap", 143, **done, tls_messages=1)
    session.add(Credential("PLAIN", "anna", _ANNA, outcome="accepted"), encrypted=True)
    lab.programs.mutt("imap://anna@mail.example.org/INBOX", _ANNA, "set ssl_starttls=yes", "set ssl_verify_host=no",
                      f"set certificate_file={lab.servers.certs}/root.crt", f"set ssl_ca_certificates_file={lab.servers.certs}/root.crt",
                      "set imap_authenticators='plain'")  # fmt: skip
    with lab.imap() as scripted:
        scripted.command("CAPABILITY")
        scripted.logout()
    with lab.imap(STRICT) as scripted:
        scripted.login("anna", _ANNA)
        scripted.starttls()
        scripted.authenticate("SCRAM-SHA-256", "anna", _ANNA)
        scripted.fetch(1)
        scripted.logout()


@sample(
    "imaps.pcap",
    "TLS from the first octet on 993; a password sent there in clear; a ClientHello sent to 143",
    "imaplib, curl, openssl s_client and scripted clients; Dovecot",
    needs=("curl", "openssl"),
)
def imaps(lab: Laboratory) -> None:
    session = lab.did("imap", 993, implicit_tls=True, tls_version="TLSv1.3", tls_messages=1)
    session.add(Credential("LOGIN-CMD", "anna", _ANNA, outcome="accepted"), encrypted=True)
    client = imaplib.IMAP4_SSL(MAIL, ssl_context=tls_context())
    client.login("anna", _ANNA)
    client.select()
    client.fetch("1", "(RFC822)")
    client.logout()
    session = lab.did("imap", 993, implicit_tls=True, tls_version="TLSv1.2", tls_messages=1)
    session.add(Credential("PLAIN", "eva", password("eva"), outcome="accepted"), encrypted=True)
    lab.programs.curl(f"imaps://{MAIL}/INBOX/;MAILINDEX=2", "--tls-max", "1.2", "--user", f"eva:{password('eva')}",
                      "--login-options", "AUTH=PLAIN")  # fmt: skip
    plain_to_tls(lab, "imap", 993, f"m001 LOGIN anna {_ANNA}\r\n", Credential("LOGIN-CMD", "anna", _ANNA))
    lab.did("imap", 143, starttls="offered", note="a ClientHello, answered with BAD")
    lab.programs.openssl(MAIL, 143, talk="a LOGOUT", expect=(1,))


@sample(
    "imap-compress.pcap",
    "COMPRESS=DEFLATE after a LOGIN in clear: what follows looks encrypted and is not",
    "mbsync and a scripted client; Dovecot",
    needs=("mbsync",),
)
def imap_compress(lab: Laboratory) -> None:
    with lab.imap() as scripted:
        scripted.login("anna", _ANNA)
        scripted.command("COMPRESS DEFLATE")
        scripted.compress()
        scripted.fetch(2)
        scripted.append(_NOTE)
        scripted.logout()
    session = lab.did("imap", 143, starttls="offered", messages=2)
    session.add(Credential("LOGIN-CMD", "eva", password("eva"), outcome="accepted"))
    lab.programs.mbsync("mail.example.org", "eva")


@sample(
    "imap-idle-append.pcap",
    "IDLE with mail coming in; APPEND (both kinds of literal) and FETCH of messages full of mail commands; ID, NAMESPACE, SEARCH",
    "scripted clients; Dovecot",
)
def imap_idle_append(lab: Laboratory) -> None:
    with lab.imap() as scripted:
        scripted.command('ID ("name" "Sample Mail" "version" "1.0")')
        scripted.login("eva", password("eva"), style="atom")
        scripted.command("NAMESPACE")
        scripted.command("SELECT INBOX")

        def deliver() -> None:
            with lab.smtp(port=25) as other:
                other.mail(_NOTE, _TO)
                other.quit()

        scripted.idle(deliver)
        scripted.append(_TRAP)
        scripted.append(_TRAP, plus=True)
        scripted.command("UID SEARCH ALL")
        scripted.fetch(5, "BODY[]")
        scripted.command("FETCH 1 (BODY.PEEK[HEADER] BODY.PEEK[TEXT]<0.20>)")
        scripted.logout()


# SMTP -----------------------------------------------------------------------------------------------------------------


@sample(
    "smtp-relay.pcap",
    "Server to server on 25: in clear and after STARTTLS; a client that sends to 25 without logging in",
    "Postfix to Postfix, swaks",
    needs=("swaks", "postfix"),
)
def smtp_relay(lab: Laboratory) -> None:
    for name, server, truth in (
        ("anna", MAIL, {"starttls": "offered", "messages": 1}),
        ("tls-anna", MAIL, {"starttls": "completed", "tls_version": "TLSv1.3", "tls_messages": 1}),
        ("ec-anna", network.ECDSA, {"starttls": "completed", "tls_version": "TLSv1.3", "tls_messages": 1}),
    ):
        lab.did("smtp", 25, server, client=network.PARTNER, **truth)
        lab.programs.partner(lab.folder, f"{name}@example.org", text=_NOTE.replace("\r\n", "\n"))
        lab.wait_sent()
    lab.did("smtp", 25, starttls="offered", messages=1)
    lab.programs.swaks("--server", f"{MAIL}:25", "--to", _TO)
    lab.did("smtp", 25, starttls="completed", tls_version="TLSv1.3", tls_messages=1)
    lab.programs.swaks("--server", f"{MAIL}:25", "--to", _TO, "-tls")


@sample(
    "smtp-submission.pcap",
    "AUTH on 587 in clear: every mechanism, with and without initial response, cancelled, refused twice and then accepted; NTLM",
    "smtplib, swaks, curl, msmtp and scripted clients; Postfix with Dovecot's and with Cyrus' SASL (NTLM)",
    needs=("swaks", "curl", "msmtp"),
)
def smtp_submission(lab: Laboratory) -> None:
    letter = lab.programs.config("letter.eml", _NOTE)
    session = lab.did("smtp", 587, starttls="offered", messages=1)
    smtp = smtplib.SMTP(MAIL, 587, "desk.example.net")
    smtp.ehlo()
    smtp.user, smtp.password = "anna", _ANNA
    smtp.auth("PLAIN", smtp.auth_plain)
    smtp.sendmail("anna@example.org", [_TO], _NOTE)
    smtp.quit()
    session.add(Credential("PLAIN", "anna", _ANNA, outcome="accepted"))
    for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"):
        session = lab.did("smtp", 587, starttls="offered", messages=1)
        log = lab.programs.swaks("--server", f"{MAIL}:587", "--to", _TO, "--auth", mechanism, "--auth-user", "eva",
                                 "--auth-password", password("eva"))  # fmt: skip
        if mechanism in ("PLAIN", "LOGIN"):
            session.add(Credential(mechanism, "eva", password("eva"), outcome="accepted"))
        else:
            programs.exchange(log, session, mechanism, "eva", "accepted")
    for options, mechanism, user, secret in (
        (("--login-options", "AUTH=PLAIN"), "PLAIN", "boris", password("boris")),
        (("--login-options", "AUTH=LOGIN", "--sasl-ir"), "LOGIN", "dimitri", password("dimitri")),
        (("--oauth2-bearer", TOKENS["anna"]), "OAUTHBEARER", "anna", TOKENS["anna"]),
        (
            ("--login-options", "AUTH=OAUTHBEARER", "--oauth2-bearer", TOKENS["eva"], "--sasl-ir"),
            "OAUTHBEARER",
            "eva",
            TOKENS["eva"],
        ),
    ):
        session = lab.did("smtp", 587, starttls="offered", messages=1)
        lab.programs.curl(f"smtp://{MAIL}:587/desk.example.net", "--user", f"{user}:{secret}", *options, "--mail-from",
                          "post@example.test", "--mail-rcpt", _TO, "-T", letter)  # fmt: skip
        session.add(Credential(mechanism, user, secret, outcome="accepted"))
    for name, mechanism in (("scram-sha-1", "SCRAM-SHA-1"), ("scram-sha-256", "SCRAM-SHA-256")):
        session = lab.did("smtp", 587, starttls="offered", messages=1)
        log = lab.programs.msmtp(MAIL, 587, "anna", _TO, auth=name, text=_NOTE)
        programs.exchange(log, session, mechanism, "anna", "accepted")
    with lab.smtp() as scripted:
        scripted.auth("PLAIN", "anna", "first guess")
        scripted.auth("LOGIN", "anna", "second guess")
        scripted.auth("LOGIN", "anna", _ANNA, initial=False, cancel=0)
        scripted.auth("LOGIN", "anna", _ANNA, initial=False, cancel=1)
        scripted.auth("LOGIN", "anna", _ANNA, initial=False)
        scripted.mail(_TRAP, _TO)
        scripted.quit()
    with lab.smtp() as scripted:
        scripted.auth("XOAUTH2", "anna", EXPIRED_TOKEN)
        scripted.auth("XOAUTH2", "anna", TOKENS["anna"])
        scripted.mail(_NOTE, _TO)
        scripted.quit()
    with lab.smtp(network.MAIL) as scripted:
        scripted.auth("PLAIN", "igor", password("igor"), authzid="igor", initial=False)
        scripted.auth("PLAIN", "igor", password("igor"))
        scripted.quit()
    session = lab.did("smtp", 587, CYRUS, starttls="offered", messages=1)
    log = lab.programs.swaks(
        "--server", f"{CYRUS}:587", "--to", _TO, "--auth", "NTLM", "--auth-user", "anna", "--auth-password", _ANNA
    )
    programs.exchange(log, session, "NTLM", "anna", "accepted")


@sample(
    "smtp-starttls.pcap",
    "STARTTLS on 587 completed by four clients; a password sent before it; a server without TLS; a password where only TLS is allowed",
    "smtplib, swaks, msmtp, openssl s_client and scripted clients; Postfix",
    needs=("swaks", "msmtp", "openssl"),
)
def smtp_starttls(lab: Laboratory) -> None:
    session = lab.did("smtp", 587, starttls="completed", tls_version="TLSv1.3", tls_messages=1)
    smtp = smtplib.SMTP(MAIL, 587, "desk.example.net")
    smtp.starttls(context=tls_context())
    smtp.ehlo()
    smtp.user, smtp.password = "anna", _ANNA
    smtp.auth("PLAIN", smtp.auth_plain)
    smtp.sendmail("anna@example.org", [_TO], _NOTE)
    smtp.quit()
    session.add(Credential("PLAIN", "anna", _ANNA, outcome="accepted"), encrypted=True)
    session = lab.did("smtp", 587, starttls="completed", tls_version="TLSv1.2", tls_messages=1)
    session.add(Credential("PLAIN", "eva", password("eva"), outcome="accepted"), encrypted=True)
    lab.programs.swaks("--server", f"{MAIL}:587", "--to", _TO, "-tls", "--tls-protocol", "tlsv1_2", "--auth", "PLAIN",
                       "--auth-user", "eva", "--auth-password", password("eva"))  # fmt: skip
    session = lab.did("smtp", 587, starttls="completed", tls_version="TLSv1.3", tls_messages=1)
    session.add(Credential("PLAIN", "igor", password("igor"), outcome="accepted"), encrypted=True)
    lab.programs.msmtp(MAIL, 587, "igor", _TO, auth="plain", tls="starttls", text=_NOTE)
    lab.did("smtp", 587, starttls="completed", tls_version="TLSv1.3")
    lab.programs.openssl(MAIL, 587, "-starttls", "smtp", talk="EHLO desk.example.net\nQUIT")
    with lab.smtp() as scripted:
        scripted.auth("PLAIN", "anna", "before TLS, wrong")
        scripted.starttls()
        scripted.auth("PLAIN", "anna", _ANNA)
        scripted.mail(_NOTE, _TO)
        scripted.quit()
    with lab.smtp("192.0.2.19") as scripted:
        scripted.starttls()
        scripted.auth("LOGIN", "eva", password("eva"))
        scripted.mail(_NOTE, _TO)
        scripted.quit()
    with lab.smtp(STRICT) as scripted:
        scripted.auth("PLAIN", "anna", _ANNA)
        scripted.quit()


@sample(
    "smtps.pcap",
    "TLS from the first octet on 465; a password sent there in clear; a ClientHello sent to 25",
    "smtplib, msmtp, openssl s_client and scripted clients; Postfix",
    needs=("msmtp", "openssl"),
)
def smtps(lab: Laboratory) -> None:
    session = lab.did("smtp", 465, implicit_tls=True, tls_version="TLSv1.3", tls_messages=1)
    session.add(Credential("LOGIN", "eva", password("eva"), outcome="accepted"), encrypted=True)
    lab.programs.msmtp(MAIL, 465, "eva", _TO, auth="login", tls="on", text=_NOTE)
    with lab.smtp(port=465, tls=tls_context(version=ssl.TLSVersion.TLSv1_2)) as scripted:
        scripted.auth("SCRAM-SHA-256", "anna", _ANNA)
        scripted.mail(_TRAP, _TO)
        scripted.quit()
    secret = sasl.begin("PLAIN", "anna", _ANNA)
    first = next(secret[0]) or b""
    text = "EHLO desk.example.net\r\nAUTH PLAIN " + base64.b64encode(first).decode() + "\r\n"
    plain_to_tls(lab, "smtp", 465, text, Credential("PLAIN", "anna", _ANNA))
    lab.did("smtp", 25, note="a ClientHello, answered with 500 or nothing")
    lab.programs.openssl(MAIL, 25, talk="QUIT", expect=(1,))


@sample(
    "smtp-extensions.pcap",
    "BDAT in chunks, pipelining in one segment, SMTPUTF8, RSET, three messages in a session, doubled dots, a body full of commands, a refused recipient",
    "scripted clients; Postfix",
)
def smtp_extensions(lab: Laboratory) -> None:
    with lab.smtp(port=25) as scripted:
        scripted.bdat(_TRAP, _TO)
        scripted.bdat(_NOTE, _TO, chunk=100000)
        scripted.quit()
    with lab.smtp(port=25) as scripted:
        body = _TRAP.replace("\n", "\n.", 3)
        scripted.send(f"MAIL FROM:<post@example.test>\r\nRCPT TO:<{_TO}>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n")
        for _ in range(4):
            scripted.reply()
        scripted.send(body.replace("\n.", "\n..") + ".\r\nQUIT\r\n")
        if scripted.reply().startswith("250"):
            scripted.message()
        scripted.reply()
    with lab.smtp(port=25) as scripted:
        scripted.mail(
            _NOTE.replace("lamps", "Lämpchen 灯"), _TO, sender="дима@example.test", parameters=" SMTPUTF8 BODY=8BITMIME"
        )
        scripted.command("MAIL FROM:<post@example.test>")
        scripted.command("RSET")
        scripted.mail(_TRAP, _TO, "nobody@elsewhere.example")
        scripted.mail(_NOTE, _TO, "anna@example.org", parameters=f" SIZE={len(_NOTE)}")
        scripted.command("MAIL FROM:<post@example.test>")
        scripted.command("RCPT TO:<nobody@elsewhere.example>")
        scripted.command("DATA")
        scripted.command("VRFY eva")
        scripted.quit()


@sample(
    "lmtp.pcap", "LMTP on 24: two recipients, a reply for each; after STARTTLS", "swaks and scripted clients; Dovecot",
    needs=("swaks",),
)  # fmt: skip
def lmtp(lab: Laboratory) -> None:
    with lab.lmtp() as scripted:
        scripted.mail(_NOTE, _TO, "anna@example.org")
        scripted.mail(_TRAP, _TO)
        scripted.quit()
    lab.did("lmtp", 24, starttls="offered", messages=1)
    lab.programs.swaks("--server", f"{MAIL}:24", "--protocol", "LMTP", "--to", _TO)
    with lab.lmtp() as scripted:
        scripted.starttls()
        scripted.mail(_NOTE, _TO)
        scripted.quit()


# ManageSieve ----------------------------------------------------------------------------------------------------------


@sample(
    "managesieve.pcap",
    "AUTHENTICATE with quoted strings and literals, refused, LOGIN and SCRAM; STARTTLS; Cyrus",
    "scripted clients; Dovecot, Cyrus",
)
def managesieve(lab: Laboratory) -> None:
    with lab.sieve() as scripted:
        scripted.authenticate("PLAIN", "anna", _ANNA)
        scripted.command('HAVESPACE "rules" 200')
        script = 'require "fileinto";\r\n# a1 LOGIN decoy decoy-in-a-script\r\nkeep;\r\n'
        scripted.command(f'PUTSCRIPT "rules" {{{len(script)}+}}\r\n{script}')
        scripted.command("LISTSCRIPTS")
        scripted.logout()
    with lab.sieve() as scripted:
        scripted.authenticate("PLAIN", "eva", "not the password", style="literal")
        scripted.authenticate("PLAIN", "eva", password("eva"), style="literal")
        scripted.logout()
    with lab.sieve() as scripted:
        scripted.authenticate("LOGIN", "hana", password("hana"))
        scripted.logout()
    with lab.sieve() as scripted:
        scripted.authenticate("SCRAM-SHA-256", "anna", _ANNA)
        scripted.logout()
    with lab.sieve() as scripted:
        scripted.starttls()
        scripted.authenticate("PLAIN", "anna", _ANNA)
        scripted.logout()
    with lab.sieve(CYRUS) as scripted:
        scripted.authenticate("PLAIN", "anna", _ANNA)
        scripted.logout()
