"""Real mail programs, run as their users run them, each for one connection or as many as are declared.

The caller says what the program is told to do; that goes into the ledger. Octets of a challenge and its response are
taken from the program's own log.
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
from pathlib import Path
from typing import Final

from . import network
from .accounts import password
from .ledger import Credential, Session
from .network import LabError, inside, run

_PATIENCE: Final = 25  # seconds a program may take
#: A line of base64 in a log: curl writes ``<`` and ``>``, swaks ``<-``, msmtp ``<--``, fetchmail ``fetchmail: IMAP<``.
_BLOB: Final = re.compile(
    r"^\s*(?:[\w: ]*(?:<-*|<~|-*>|~>))?\s*(?:\+ |334 )?([A-Za-z0-9+/]{8,}={0,2})\s*$", re.MULTILINE
)
#: How the challenge and the response of a mechanism begin, decoded.
_SIGNS: Final = {
    "CRAM-MD5": (b"<", b""),
    "NTLM": (b"NTLMSSP\0\2", b"NTLMSSP\0\3"),
    "SCRAM-SHA-1": (b"r=", b"c="),
    "SCRAM-SHA-256": (b"r=", b"c="),
    "DIGEST-MD5": (b"", b""),
}


class Programs:
    """The programs, with a home folder of their own. ``ledger`` is that of the current sample."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        (self.home / "Mail").mkdir(parents=True, exist_ok=True)  # mutt asks for it otherwise

    def run(
        self, *argv: str, expect: tuple[int, ...] = (0,), text: str = "", environment: dict[str, str] | None = None
    ) -> str:
        """Run a program among the clients; give what it printed. An unexpected exit code ends the sample."""
        try:
            done = subprocess.run(
                inside(network.CLIENTS, *argv), input=text.encode(), capture_output=True, timeout=_PATIENCE, check=False,
                env={**os.environ, "HOME": str(self.home), "LC_ALL": "C.UTF-8", **(environment or {})}, cwd=self.home,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = (late.stdout or b"").decode("utf-8", "replace")
            raise LabError(f"{' '.join(argv)}: no end after {_PATIENCE} s:\n{said}") from late
        output = (done.stdout + done.stderr).decode("utf-8", "replace")
        if done.returncode not in expect:
            raise LabError(f"{' '.join(argv)}: exit code {done.returncode}, wanted {expect}:\n{output}")
        return output

    def curl(self, url: str, *options: str, expect: tuple[int, ...] = (0,), keylog: Path | None = None) -> str:
        """curl, verbose, taking any certificate."""
        environment = {"SSLKEYLOGFILE": str(keylog)} if keylog else {}
        return self.run("curl", "-sSv", "-k", "--max-time", "20", *options, url, expect=expect, environment=environment)

    def swaks(self, *options: str, expect: tuple[int, ...] = (0,)) -> str:
        """swaks with a short message."""
        return self.run(
            "swaks", "--helo", "desk.example.net", "--from", "post@example.test", "--header", "Subject: A note from swaks",
            "--body", "It is teatime.", *options, expect=expect,
        )  # fmt: skip

    def config(self, name: str, text: str) -> str:
        """Write a configuration file only its owner may read, and give its path."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def fetchmail(self, server: str, user: str, protocol: str, *, poll: str = "", user_options: str = "") -> str:
        """fetchmail, fetching everything and keeping it on the server."""
        text = (
            f'poll {server} protocol {protocol} {poll} user "{user}" password "{password(user)}" fetchall keep {user_options} '
            'mda "/bin/cat"\n'
        )
        rc = self.config("fetchmailrc", text)
        pid = str(self.home / "fetchmail.pid")
        return self.run("fetchmail", "-vv", "--nosyslog", "--pidfile", pid, "-i", str(self.home / "ids"), "-f", rc)

    def getmail(self, kind: str, server: str, user: str) -> str:
        """getmail, fetching everything and deleting nothing."""
        box = self.home / "getmail-box"
        for name in ("cur", "new", "tmp"):
            (box / name).mkdir(parents=True, exist_ok=True)
        run("chown", "-R", "mail", str(box))  # getmail refuses to deliver as root
        text = (
            f"[retriever]\ntype = {kind}\nserver = {server}\nusername = {user}\npassword = {password(user)}\n"
            f"[destination]\ntype = Maildir\npath = {box}/\nuser = mail\n[options]\nread_all = true\ndelete = false\n"
        )
        (self.home / ".getmail").mkdir(exist_ok=True)
        (self.home / ".getmail").chmod(0o700)
        self.config(".getmail/getmailrc", text)
        return self.run("getmail", "--getmaildir", str(self.home / ".getmail"))

    def mbsync(self, server: str, user: str, *, tls: str = "None", mechanisms: str = "LOGIN", extra: str = "") -> str:
        """mbsync, synchronising INBOX into an empty Maildir."""
        box = self.home / f"mbsync-{user}"
        subprocess.run(["rm", "-rf", str(box)], check=True)
        box.mkdir()
        text = (
            f"IMAPAccount lab\nHost {server}\nUser {user}\nPass {password(user)}\nSSLType {tls}\nAuthMechs {mechanisms}\n"
            f"SystemCertificates no\n{extra}\n\n"
            f"IMAPStore far\nAccount lab\n\nMaildirStore near\nPath {box}/\nInbox {box}/INBOX\n\n"
            "Channel lab\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSync Pull\nSyncState *\n"
        )
        return self.run("mbsync", "-Dn", "-c", self.config("mbsyncrc", text), "lab")

    def msmtp(
        self, server: str, port: int, user: str, recipient: str, *, auth: str, tls: str = "off", text: str
    ) -> str:
        """msmtp, sending one message; ``tls`` is ``off``, ``starttls`` or ``on``."""
        lines = [
            "account lab", f"host {server}", f"port {port}", f"auth {auth}", f"user {user}", f"password {password(user)}",
            f"from {user}@example.org", "domain desk.example.net", "account default : lab",
        ]  # fmt: skip
        if tls != "off":
            lines[1:1] = ["tls on", f"tls_starttls {'on' if tls == 'starttls' else 'off'}", "tls_certcheck off"]
        return self.run("msmtp", "--debug", "-C", self.config("msmtprc", "\n".join(lines) + "\n"), recipient, text=text)

    def mutt(self, url: str, secret: str, *settings: str, program: str = "neomutt") -> str:
        """mutt or neomutt, opening a mailbox, reading the first message and leaving."""
        lines = [
            f"set imap_pass='{secret}'", f"set pop_pass='{secret}'", "set ssl_force_tls=no", "set wait_key=no",
            "set timeout=2", "set imap_check_subscribed=no", "set quit=yes", "set pager_stop=yes", *settings,
            "push '<display-message><exit><exit>'",
        ]  # fmt: skip
        rc = self.config("muttrc", "\n".join(lines) + "\n")
        # A terminal is needed, and `script` gives one.
        return self.run(
            "script", "-qec", f"{program} -n -F {rc} -f {url}", "/dev/null", expect=(0, 1),
            environment={"TERM": "vt100", "COLUMNS": "80", "LINES": "24"},
        )  # fmt: skip

    def openssl(self, server: str, port: int, *options: str, talk: str, expect: tuple[int, ...] = (0,)) -> str:
        """openssl s_client; ``talk`` is typed line by line, half a second apart."""
        script = f"printf '%s\\n' {_shell(talk)} | while IFS= read -r line; do sleep 0.15; printf '%s\\r\\n' \"$line\"; done; sleep 0.3"
        target = f"[{server}]:{port}" if ":" in server else f"{server}:{port}"
        command = f"({script}) | openssl s_client -quiet -connect {target} {' '.join(options)}"
        return self.run("sh", "-c", command, expect=expect)

    def partner(self, folder: Path, *recipients: str, text: str) -> None:
        """The partner's Postfix takes a message and sends it on at once."""
        self.run("sendmail", "-C", str(folder / "partner"), "-i", "-f", "post@example.test", *recipients, text=text)


def exchange(
    output: str, session: Session, mechanism: str, user: str, outcome: str, *, encrypted: bool = False
) -> Credential:
    """The credential of a challenge-response exchange, from the log of the program that made it.

    The first base64 line that begins like a challenge, and the next one that begins like its response.
    """
    challenge_sign, response_sign = _SIGNS[mechanism]
    blobs = _BLOB.findall(output)
    decoded = [base64.b64decode(blob + "=" * (-len(blob) % 4)) for blob in blobs]
    first = next((n for n, text in enumerate(decoded) if text.startswith(challenge_sign)), len(blobs))
    second = next((n for n in range(first + 1, len(blobs)) if decoded[n].startswith(response_sign)), None)
    if second is None:
        raise LabError(f"no {mechanism} exchange in the log:\n{output}")
    if mechanism == "NTLM":
        challenge, response = blobs[first], blobs[second]
    else:
        challenge, response = decoded[first].decode(), decoded[second].decode()
    credential = Credential(mechanism, user, challenge=challenge, response=response, outcome=outcome)
    return session.add(credential, encrypted=encrypted)


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
