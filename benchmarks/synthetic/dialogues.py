"""What clients and servers say to each other in the synthetic captures. Accounts are numbered, made up, and differ a flow."""

from __future__ import annotations

import base64
import datetime as dt
import random
import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from .frames import CLIENT, SERVER, SLOT

Turns = list[tuple[int, bytes]]

_USER: Final = b"user" + SLOT
_ADDRESS: Final = _USER + b"@example.org"
_SECRET: Final = b"Pw-" + SLOT + b"-demo"


def message(lines: int, seed: int) -> bytes:
    """A mail of so many body lines, with CRLF and one dot-stuffed line, without the closing dot."""
    rng = random.Random(seed)
    words = ["report", "meeting", "invoice", "the", "of", "to", "tomorrow", "please", "and", "see", "list", "draft"]
    head = (
        b"From: <" + _ADDRESS + b">\r\nTo: <office@example.com>\r\nSubject: report " + SLOT + b"\r\n"
        b"Message-ID: <" + SLOT + b"@example.org>\r\n\r\n"
    )
    body = [" ".join(rng.choice(words) for _ in range(11)).encode() for _ in range(lines)]
    if lines > 2:
        body[1] = b"..." + body[1]
    return head + b"".join(line + b"\r\n" for line in body)


def pop3(mails: list[bytes], *, accepted: bool = True) -> Turns:
    """A POP3 login with USER and PASS, and the retrieval of some mails."""
    turns: Turns = [
        (SERVER, b"+OK POP3 server ready\r\n"),
        (CLIENT, b""),
        (CLIENT, b"USER " + _USER + b"\r\n"),
        (SERVER, b"+OK\r\n"),
        (CLIENT, b"PASS " + _SECRET + b"\r\n"),
    ]
    if accepted:
        total = sum(map(len, mails))
        listing = b"".join(b"%d %d\r\n" % (i, len(mail)) for i, mail in enumerate(mails, 1))
        turns += [
            (SERVER, b"+OK Logged in.\r\n"),
            (CLIENT, b"STAT\r\n"),
            (SERVER, b"+OK %d %d\r\n" % (len(mails), total)),
        ]
        if mails:
            turns += [(CLIENT, b"LIST\r\n"), (SERVER, b"+OK %d messages:\r\n" % len(mails) + listing + b".\r\n")]
        for i, mail in enumerate(mails, 1):
            turns += [(CLIENT, b"RETR %d\r\n" % i), (SERVER, b"+OK %d octets\r\n" % len(mail) + mail + b".\r\n")]
    else:
        turns.append((SERVER, b"-ERR [AUTH] Authentication failed.\r\n"))
    return [*turns, (CLIENT, b"QUIT\r\n"), (SERVER, b"+OK Logging out.\r\n")]


def imap(mails: list[bytes], *, sasl: bool = False) -> Turns:
    """An IMAP login (LOGIN, or AUTHENTICATE PLAIN with an initial response), and the fetch of some mails."""
    login = b"a2 LOGIN " + _ADDRESS + b' "' + _SECRET + b'"\r\n'
    if sasl:
        login = b"a2 AUTHENTICATE PLAIN " + base64.b64encode(b"\0imapuser@example.org\0Pw-imap-demo") + b"\r\n"
    turns: Turns = [
        (SERVER, b"* OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ IDLE AUTH=PLAIN] server ready\r\n"),
        (CLIENT, b"a1 CAPABILITY\r\n"),
        (SERVER, b"* CAPABILITY IMAP4rev1 SASL-IR LITERAL+ IDLE AUTH=PLAIN\r\na1 OK done\r\n"),
        (CLIENT, login),
        (SERVER, b"a2 OK Logged in\r\n"),
        (CLIENT, b"a3 SELECT INBOX\r\n"),
        (SERVER, b"* FLAGS (\\Seen \\Deleted)\r\n* %d EXISTS\r\na3 OK [READ-WRITE] Select completed\r\n" % len(mails)),
    ]
    for i, mail in enumerate(mails, 1):
        reply = (
            b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (i, i, len(mail)) + mail + b")\r\nf%d OK Fetch completed\r\n" % i
        )
        turns += [(CLIENT, b"f%d UID FETCH %d (BODY.PEEK[])\r\n" % (i, i)), (SERVER, reply)]
    return [*turns, (CLIENT, b"a9 LOGOUT\r\n"), (SERVER, b"* BYE Logging out\r\na9 OK Logout completed\r\n")]


def smtp(mail: bytes, *, login: bool, starttls: bool = False) -> Turns:
    """An SMTP transaction; with ``login`` a submission with AUTH LOGIN before it."""
    offers = b"250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n"
    offers += b"250-STARTTLS\r\n" if starttls else b""
    offers += b"250-AUTH PLAIN LOGIN\r\n" if login else b""
    turns: Turns = [
        (SERVER, b"220 mx.example.com ESMTP\r\n"),
        (CLIENT, b"EHLO client.example.org\r\n"),
        (SERVER, offers + b"250 8BITMIME\r\n"),
    ]
    if login:
        turns += [
            (CLIENT, b"AUTH LOGIN\r\n"),
            (SERVER, b"334 VXNlcm5hbWU6\r\n"),
            (CLIENT, base64.b64encode(b"submit@example.org") + b"\r\n"),
            (SERVER, b"334 UGFzc3dvcmQ6\r\n"),
            (CLIENT, base64.b64encode(b"Pw-submit-demo") + b"\r\n"),
            (SERVER, b"235 2.7.0 Authentication successful\r\n"),
        ]
    return [
        *turns,
        (CLIENT, b"MAIL FROM:<" + _ADDRESS + b">\r\nRCPT TO:<office@example.com>\r\nDATA\r\n"),
        (SERVER, b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n"),
        (CLIENT, mail + b".\r\n"),
        (SERVER, b"250 2.0.0 Ok: queued as " + SLOT + b"\r\n"),
        (CLIENT, b"QUIT\r\n"),
        (SERVER, b"221 2.0.0 Bye\r\n"),
    ]


def sieve() -> Turns:
    """A ManageSieve login and the upload of a script as a literal."""
    script = b'require ["fileinto"];\r\nif header :contains "subject" "report" { fileinto "Reports"; }\r\n'
    login = base64.b64encode(b"\0sieveuser\0Pw-sieve-demo")
    return [
        (SERVER, b'"IMPLEMENTATION" "Sieve server"\r\n"SIEVE" "fileinto vacation"\r\n"SASL" "PLAIN"\r\nOK "ready"\r\n'),
        (CLIENT, b'AUTHENTICATE "PLAIN" "' + login + b'"\r\n'),
        (SERVER, b'OK "Logged in."\r\n'),
        (CLIENT, b'PUTSCRIPT "reports" {%d+}\r\n' % len(script) + script + b"\r\n"),
        (SERVER, b'OK "PUTSCRIPT completed."\r\n'),
        (CLIENT, b"LOGOUT\r\n"),
        (SERVER, b'OK "Logout completed."\r\n'),
    ]


def starttls(protocol: str, inside: Turns) -> Turns:
    """A dialogue in clear up to the grant of STARTTLS, then a real handshake and ``inside`` encrypted."""
    before: dict[str, Turns] = {
        "pop3": [
            (SERVER, b"+OK POP3 server ready\r\n"),
            (CLIENT, b"STLS\r\n"),
            (SERVER, b"+OK Begin TLS negotiation now.\r\n"),
        ],
        "imap": [
            (SERVER, b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] server ready\r\n"),
            (CLIENT, b"a1 STARTTLS\r\n"),
            (SERVER, b"a1 OK Begin TLS negotiation now.\r\n"),
        ],
        "smtp": [
            (SERVER, b"220 mx.example.com ESMTP\r\n"),
            (CLIENT, b"EHLO client.example.org\r\n"),
            (SERVER, b"250-mx.example.com\r\n250-STARTTLS\r\n250 8BITMIME\r\n"),
            (CLIENT, b"STARTTLS\r\n"),
            (SERVER, b"220 2.0.0 Ready to start TLS\r\n"),
        ],
    }
    return before[protocol] + encrypted(inside)


def encrypted(inside: Turns, version: str = "1.3") -> Turns:
    """A real TLS handshake between two ends in memory, then ``inside`` as application data, then close_notify."""
    maximum = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client_context.maximum_version = maximum
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "server.pem")
        path.write_bytes(_certificate())
        server_context.load_cert_chain(path)
    wires = [ssl.MemoryBIO(), ssl.MemoryBIO()]  # what the client and the server have sent
    arrived = [ssl.MemoryBIO(), ssl.MemoryBIO()]
    ends = [
        client_context.wrap_bio(arrived[CLIENT], wires[CLIENT], server_hostname="mail.example.com"),
        server_context.wrap_bio(arrived[SERVER], wires[SERVER], server_side=True),
    ]
    turns: Turns = []

    def carry(sender: int) -> None:
        data = wires[sender].read()
        if data:
            turns.append((sender, data))
            arrived[1 - sender].write(data)

    shaken = [False, False]
    while not all(shaken):
        for side in (CLIENT, SERVER):
            if not shaken[side]:
                try:
                    ends[side].do_handshake()
                    shaken[side] = True
                except ssl.SSLWantReadError:
                    shaken[side] = False
            carry(side)
    for sender, data in inside:
        if data:
            ends[sender].write(data)
            carry(sender)
    return turns


@cache
def _certificate() -> bytes:
    """A self-signed certificate with its key, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("mail.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def web_tls(down: int, seed: int) -> Turns:
    """A web page over TLS: a plausible hello, then records of random octets, ``down`` octets of them from the server."""
    rng = random.Random(seed)
    hello = b"\x16\x03\x01\x02\x00" + b"\x01\x00\x01\xfc\x03\x03" + rng.randbytes(506)
    answer = b"\x16\x03\x03\x00\x7a" + b"\x02\x00\x00\x76\x03\x03" + rng.randbytes(116)
    records = []
    while down > 0:
        size = min(down, 16_000)
        records.append(b"\x17\x03\x03" + size.to_bytes(2, "big") + rng.randbytes(size))
        down -= size
    return [
        (CLIENT, hello),
        (SERVER, answer + b"\x17\x03\x03\x08\x00" + rng.randbytes(2048)),
        (CLIENT, b"\x17\x03\x03\x00\x45" + rng.randbytes(69)),
        (CLIENT, b"\x17\x03\x03\x01\x00" + rng.randbytes(256)),
        (SERVER, b"".join(records)),
    ]


def http(down: int, seed: int) -> Turns:
    """A file over HTTP in clear."""
    body = random.Random(seed).randbytes(down)
    return [
        (CLIENT, b"GET /files/" + SLOT + b" HTTP/1.1\r\nHost: www.example.net\r\nUser-Agent: browser/1.0\r\n\r\n"),
        (SERVER, b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % down + body),
    ]


def upload(up: int, seed: int) -> Turns:
    """A backup sent to a server on a port of no known service."""
    return [(CLIENT, b"PUT\x00" + random.Random(seed).randbytes(up)), (SERVER, b"\x00\x00\x00\x01")]


def ssh(rounds: int, seed: int) -> Turns:
    """An interactive SSH session: many small segments both ways."""
    rng = random.Random(seed)
    turns: Turns = [(SERVER, b"SSH-2.0-OpenSSH_9.2\r\n"), (CLIENT, b"SSH-2.0-OpenSSH_9.2\r\n")]
    for _ in range(rounds):
        turns += [(CLIENT, rng.randbytes(36)), (SERVER, rng.randbytes(36 * rng.randint(1, 12)))]
    return turns


def dns(seed: int) -> Turns:
    """A name looked up over UDP."""
    rng = random.Random(seed)
    name = b"\x03www\x07example\x03net\x00\x00\x01\x00\x01"
    query = rng.randbytes(2) + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name
    reply = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + name
    reply += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x50"
    return [(CLIENT, query), (SERVER, reply)]


def quic(packets: int, seed: int) -> Turns:
    """A download over QUIC: datagrams of random octets, one acknowledged in five."""
    rng = random.Random(seed)
    turns: Turns = [(CLIENT, b"\xc3\x00\x00\x00\x01" + rng.randbytes(1195))]
    for i in range(packets):
        turns.append((SERVER, b"\x40" + rng.randbytes(1231)))
        if i % 5 == 4:
            turns.append((CLIENT, b"\x40" + rng.randbytes(34)))
    return turns
