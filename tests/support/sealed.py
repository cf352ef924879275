"""A mail session inside TLS, as a capture, and the secrets that open it."""

from __future__ import annotations

import ssl
from pathlib import Path

from support import tls as lab
from support.traffic import Talk, capture

#: What is said inside; the client's password is in it.
DIALOGUE = [
    (lab.SERVER, b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
    (lab.CLIENT, b"a1 LOGIN mila Quartz.river4\r\n"),
    (lab.SERVER, b"a1 OK done\r\n"),
    (lab.CLIENT, b"a2 SELECT INBOX\r\n"),
    (lab.SERVER, b"* 1 EXISTS\r\na2 OK done\r\n"),
    (lab.CLIENT, b"a3 FETCH 1 BODY[]\r\n"),
    (lab.SERVER, b"* 1 FETCH (BODY[] {32}\r\nSubject: hello\r\n\r\nGood morning.\n)\r\na3 OK done\r\n"),
]


def sealed_session(
    folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, ciphers: str = "DEFAULT", starttls: bool = False
) -> tuple[Path, Path]:
    """Paths of a capture of one IMAP session and of its key log."""
    keylog = folder / "keys.log"
    client = lab.context(lab.CLIENT, version, ciphers=ciphers)
    if hasattr(client, "keylog_filename"):
        client.keylog_filename = str(keylog)
    connection = lab.Connection(client, lab.context(lab.SERVER, version, ciphers=ciphers)).shake_hands()
    for sender, text in DIALOGUE[1 if starttls else 0 :]:
        connection.say(sender, text)
    connection.close()
    talk = Talk(server_port=143 if starttls else 993)
    if starttls:
        talk.play("S: * OK [CAPABILITY IMAP4rev1 STARTTLS] ready\nC: s1 STARTTLS\nS: s1 OK begin")
    for sender, what in connection.pieces:
        if isinstance(what, bytes):
            for at in range(0, len(what), 1400):
                (talk.client if sender == lab.CLIENT else talk.server)(what[at : at + 1400])
    path = folder / "sealed.pcap"
    path.write_bytes(capture(talk.close().frames()))
    return path, keylog
