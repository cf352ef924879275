"""An office of real clients at a real server: two network namespaces joined by a cable, Dovecot in one, clients at thirty addresses in the other."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

from support.waiting import CHILD_PATIENCE, SOCKET_PATIENCE, until

SERVER = "192.0.2.10"
CLIENTS = [f"10.20.0.{number}" for number in range(11, 41)]
#: Those in clear: curl and fetchmail, POP3 and IMAP.
IN_CLEAR = CLIENTS[:11]
PASSWORD = "Zulu7Tango-{}"

DOVECOT = """
base_dir = {folder}/run
log_path = {folder}/log
state_dir = {folder}/state
listen = {server}
protocols = pop3 imap
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
first_valid_gid = 1
mail_uid = mail
mail_gid = mail
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={folder}/mail/%u
}}
"""
# Dovecot 2.4 has other words for the same.
DOVECOT_24 = """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {folder}/run
log_path = {folder}/log
state_dir = {folder}/state
listen = {server}
protocols = pop3 imap
ssl = yes
ssl_server_cert_file = {folder}/cert.pem
ssl_server_key_file = {folder}/key.pem
auth_allow_cleartext = yes
auth_mechanisms = plain login
mail_driver = maildir
mail_path = {folder}/mail/%{{user}}
first_valid_uid = 1
first_valid_gid = 1
mail_uid = mail
mail_gid = mail
passdb passwd-file {{
  passwd_file_path = {folder}/users
}}
userdb static {{
  fields {{
    uid = mail
    gid = mail
    home = {folder}/mail/%{{user}}
  }}
}}
"""


def user(client: str) -> str:
    return f"user{client.rpartition('.')[2]}"


def run(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=CHILD_PATIENCE)
    assert not check or done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done


class Office:
    """The namespaces, the server, and what one does there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inside = f"mailtap-c{os.getpid()}"
        self.outside = f"mailtap-s{os.getpid()}"

    def up(self) -> None:
        for name in (self.inside, self.outside):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run(
            "ip", "link", "add", "c0", "netns", self.inside, "type", "veth", "peer", "name", "s0", "netns", self.outside
        )
        run("ip", "-n", self.inside, "link", "set", "c0", "up")
        run("ip", "-n", self.outside, "link", "set", "s0", "up")
        for client in CLIENTS:
            run("ip", "-n", self.inside, "addr", "add", f"{client}/24", "dev", "c0")
        run("ip", "-n", self.outside, "addr", "add", f"{SERVER}/32", "dev", "s0")
        run("ip", "-n", self.inside, "route", "add", f"{SERVER}/32", "dev", "c0")
        run("ip", "-n", self.outside, "route", "add", "10.20.0.0/24", "dev", "s0")
        self._server()

    def _server(self) -> None:
        folder = self.folder
        for name in ("run", "state", "mail"):
            (folder / name).mkdir()
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/CN=mail.example.org", "-addext",
            "subjectAltName=DNS:mail.example.org", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem")  # fmt: skip
        lines = [f"{user(client)}:{{PLAIN}}{PASSWORD.format(user(client))}::::::\n" for client in CLIENTS]
        (folder / "users").write_text("".join(lines))
        owner = pwd.getpwnam("mail")
        for client in CLIENTS:
            box = folder / "mail" / user(client)
            for name in ("cur", "new", "tmp"):
                (box / name).mkdir(parents=True)
            (box / "new" / "1.M1.office").write_text("From: a@example.org\nSubject: A note\n\nIt is teatime.\n")
            for path in (box, *box.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        version = run("dovecot", "--version").stdout
        text = DOVECOT_24 if version.startswith("2.4") else DOVECOT
        (folder / "dovecot.conf").write_text(text.format(folder=folder, server=SERVER))
        run(
            "ip",
            "netns",
            "exec",
            self.outside,
            "sh",
            "-c",
            f"dovecot -c {folder}/dovecot.conf >{folder}/start 2>&1 </dev/null",
        )
        for port in (110, 995, 143, 993):
            self._wait(port)

    def _wait(self, port: int) -> None:
        probe = f"import socket; socket.create_connection(('{SERVER}', {port}), {SOCKET_PATIENCE})"
        command = ("ip", "netns", "exec", self.outside, sys.executable, "-c", probe)
        until(lambda: run(*command, check=False).returncode == 0)

    def calm(self) -> None:
        """Wait until all connections are over, to their last packet."""

        def over() -> bool:
            for namespace in (self.inside, self.outside):
                lines = run("ss", "-N", namespace, "-Htan").stdout.splitlines()
                if not {line.split()[0] for line in lines} <= {"LISTEN", "TIME-WAIT"}:
                    return False
            return True

        until(over)

    def end_tap(self, tap: subprocess.Popen[str], path: Path) -> None:
        """End tcpdump or dumpcap once it has written all there was: a connection to nobody, from a port of its own, comes last."""
        port = 48879
        probe = f"import socket; s = socket.socket(); s.bind(('', {port})); s.connect_ex(('{SERVER}', 9))"
        run("ip", "netns", "exec", self.inside, sys.executable, "-c", probe)
        refusal = (9).to_bytes(2, "big") + port.to_bytes(2, "big")
        until(lambda: refusal in path.read_bytes()[-65536:])
        tap.send_signal(signal.SIGINT)
        assert tap.stderr is not None
        tap.stderr.read()
        tap.wait(CHILD_PATIENCE)
        tap.stderr.close()

    def down(self) -> None:
        run("doveadm", "-c", f"{self.folder}/dovecot.conf", "stop", check=False)
        for name in (self.inside, self.outside):
            run("ip", "netns", "del", name, check=False)

    def day(self, name: str, settings: dict[str, tuple[str, int, str]]) -> Path:
        """Every client fetches its mail with its setting (protocol, port, encryption); the capture of it."""
        path = self.folder / f"{name}.pcap"
        tap = subprocess.Popen(
            ["ip", "netns", "exec", self.outside, "tcpdump", "-i", "s0", "-U", "--immediate-mode", "-Z", "root", "-w", str(path), "tcp"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tap.stderr is not None
        while "listening" not in tap.stderr.readline():
            assert tap.poll() is None
        for client, (protocol, port, encryption) in settings.items():
            self.fetch(client, protocol, port, encryption)
        self.calm()
        self.end_tap(tap, path)
        return path

    def fetch(self, client: str, protocol: str, port: int, encryption: str) -> None:
        """fetchmail for every third client, curl for the others; both take the setting as a user would enter it."""
        secret = PASSWORD.format(user(client))
        if CLIENTS.index(client) % 3 == 0:
            run("ip", "-n", self.inside, "route", "replace", f"{SERVER}/32", "dev", "c0", "src", client)
            option = {"no encryption": "sslproto ''", "STARTTLS": "sslproto 'auto'", "SSL/TLS": "ssl"}[encryption]
            path = self.folder / "fetchmailrc"
            path.write_text(
                f'poll {SERVER} protocol {protocol} port {port} user "{user(client)}" password "{secret}" '
                f"{option} no sslcertck fetchall keep mda /bin/cat\n"
            )
            path.chmod(0o600)
            environment = ("env", f"FETCHMAILHOME={self.folder}", f"HOME={self.folder}")
            argv = ("fetchmail", "-s", "--nosyslog", "--pidfile", f"{self.folder}/fetchmail.pid", "-f", str(path))
            done = run("ip", "netns", "exec", self.inside, *environment, *argv, check=False)
            assert done.returncode in (0, 1), done.stderr + (self.folder / "log").read_text(
                encoding="utf-8"
            )  # 1: no new mail
            return
        scheme = protocol.lower() + ("s" if encryption == "SSL/TLS" else "")
        options = ["--ssl-reqd"] if encryption == "STARTTLS" else []
        path_in_url = "1" if protocol == "POP3" else "INBOX;MAILINDEX=1"
        run("ip", "netns", "exec", self.inside, "curl", "-sS", "-k", "--max-time", "100", "--interface", client, "-u",
            f"{user(client)}:{secret}", *options, f"{scheme}://{SERVER}:{port}/{path_in_url}")  # fmt: skip
