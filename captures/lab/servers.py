"""The servers of the laboratory: rendered from ``config/``, started, reset between samples, stopped."""

from __future__ import annotations

import http.server
import json
import os
import pwd
import shutil
import signal
import socket
import socketserver
import subprocess
import sysconfig
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any, Final

from . import accounts, network
from .network import SERVERS, LabError, inside, run, start_daemon

_CONFIG: Final = Path(__file__).parent / "config"
_CYRUS_PACKAGES: Final = ("cyrus-common", "cyrus-imapd", "cyrus-pop3d")
_CYRUS_USERS: Final = ("anna", "eva", "pavel")
_LIBRARIES: Final = f"usr/lib/{sysconfig.get_config_var('MULTIARCH') or 'x86_64-linux-gnu'}"
_SASLDB: Final = Path("/etc/sasldb2")
#: Addresses of Dovecot with a certificate of their own.
_FAULTS: Final = {
    network.EXPIRED: "expired",
    network.SELF_SIGNED: "self-signed",
    network.MISMATCH: "mismatch",
    network.WEAK: "weak",
    network.NOT_YET: "not-yet",
    network.ECDSA: "ecdsa",
}


class Servers:
    """Everything that listens. ``folder`` is scratch space, ``cache`` keeps Debian's Cyrus packages between runs."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.certs = folder / "certs"
        self.cyrus = self._unpack_cyrus(cache)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._made_sasldb = False

    def up(self) -> None:
        """Render the templates, make the certificates, start Dovecot, Postfix (twice), Cyrus and the token endpoint."""
        for name in ("dovecot", "dovecot-state", "mail", "postfix/queue", "postfix/data", "partner/queue",
                     "partner/data", "sasl2", "certs", *(f"cyrus/{n}" for n in ("spool", "sieve", "proc", "lock", "db",
                     "socket", "log", "msg", "ptclient"))):  # fmt: skip
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        for instance in ("postfix", "partner"):
            shutil.chown(self.folder / instance / "data", "postfix")
            (self.folder / instance / "dynamicmaps.cf").touch()
        run("chown", "-R", "mail:mail", str(self.folder / "cyrus"), str(self.folder / "mail"))
        self._certificates()
        self._render("dovecot.conf", "dovecot.conf")
        self._render("dovecot-oauth2.conf", "dovecot-oauth2.conf")
        self._render("main.cf", "postfix/main.cf")
        self._render("master.cf", "postfix/master.cf")
        self._render("partner-main.cf", "partner/main.cf")
        self._render("partner-master.cf", "partner/master.cf")
        self._render("partner-transport", "partner/transport")
        self._render("cyrus-master.conf", "cyrus-master.conf")
        self._render("cyrus-imapd.conf", "cyrus-imapd.conf")
        self._render("sasl-smtpd.conf", "sasl2/smtpd.conf")
        people = accounts.ACCOUNTS | accounts.OFFICE
        (self.folder / "users").write_text(
            "".join(f"{user}:{{PLAIN}}{secret}::::::\n" for user, secret in people.items())
        )
        self.seed(people)
        endpoint = _Threaded(("127.0.0.1", 8901), _TokenEndpoint, SERVERS)
        network.thread_in(SERVERS, endpoint.listen)
        start_daemon(SERVERS, "dovecot", "-c", str(self.folder / "dovecot.conf"))
        self._sasldb()
        start_daemon(SERVERS, "postfix", "-c", str(self.folder / "postfix"), "start")
        start_daemon(network.CLIENTS, "postfix", "-c", str(self.folder / "partner"), "start")
        self.start(
            f"{self.cyrus}/usr/lib/cyrus/bin/master", "-C", f"{self.folder}/cyrus-imapd.conf", "-M",
            f"{self.folder}/cyrus-master.conf", "-p", f"{self.folder}/cyrus.pid", "-D",
            environment={"LD_LIBRARY_PATH": f"{self.cyrus}/{_LIBRARIES}"},
        )  # fmt: skip
        network.enter(SERVERS)
        for address, port in ((network.MAIL, 143), (network.MAIL, 25), (network.CYRUS, 143)):
            wait_for(address, port)
        network.enter(network.CLIENTS)

    def down(self) -> None:
        """Stop everything that :meth:`up` and :meth:`start` started."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        run("postfix", "-c", str(self.folder / "partner"), "stop", check=False)
        run("postfix", "-c", str(self.folder / "postfix"), "stop", check=False)
        run("doveadm", "-c", str(self.folder / "dovecot.conf"), "stop", check=False)
        if self._made_sasldb:
            _SASLDB.unlink(missing_ok=True)

    def start(self, *argv: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start one more server among the servers; it is stopped with the rest."""
        process = subprocess.Popen(
            inside(SERVERS, *argv), env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._processes.append(process)
        return process

    def seed(self, people: dict[str, str], count: int = 2) -> None:
        """Empty the mailboxes and put ``count`` messages into each (the third one quotes mail commands)."""
        owner = pwd.getpwnam("mail")
        for user in people:
            box = self.folder / "mail" / user
            shutil.rmtree(box, ignore_errors=True)
            for name in ("cur", "new", "tmp"):
                (box / "Maildir" / name).mkdir(parents=True)
            for number in range(1, count + 1):
                address = user if "@" in user else f"{user}@{accounts.DOMAIN}"
                text = accounts.message(number, address)
                (box / "Maildir" / "new" / f"17724420{number:02}.M{number}.post").write_bytes(text.encode())
            for path in (box, *box.rglob("*")):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def _render(self, template: str, target: str) -> None:
        text = (_CONFIG / template).read_text()
        listen = ", ".join((network.MAIL, network.STRICT, *_FAULTS, network.WIRE_SERVER, network.MAIL6, "127.0.0.1"))
        certificate = "local {0} {{\n  ssl_cert = <{1}/{2}.crt\n  ssl_key = <{1}/{2}.key\n}}\n"
        values = {
            "run": str(self.folder),
            "certs": str(self.certs),
            "cyrus": f"{self.cyrus}/usr/lib/cyrus/bin",
            "listen": listen,
            "locals": "\n" + "".join(certificate.format(a, self.certs, n) for a, n in _FAULTS.items()),
        }
        for name, value in values.items():
            text = text.replace("{{" + name + "}}", value)
        (self.folder / target).write_text(text)

    def _certificates(self) -> None:
        """A root and seven server certificates, each but the first with one fault."""
        self._render("openssl.cnf", "certs/openssl.cnf")
        (self.certs / "index.txt").touch()
        (self.certs / "serial").write_text("1001\n")
        config = str(self.certs / "openssl.cnf")
        self._self_signed("root", "Laboratory Root", "rsa:2048", "-sha256", "-days", "3650", "-extensions", "root")
        year = time.gmtime().tm_year
        host, good = "mail.example.org", (f"{year - 1}0101000000Z", f"{year + 20}0101000000Z")
        for name, host_name, key, dates in (
            ("good", host, "rsa:2048", good),
            ("expired", host, "rsa:2048", (f"{year - 3}0101000000Z", f"{year - 2}0101000000Z")),
            ("not-yet", host, "rsa:2048", (f"{year + 10}0101000000Z", f"{year + 20}0101000000Z")),
            ("mismatch", "shop.example.net", "rsa:2048", good),
            ("ecdsa", host, "ec", good),
        ):
            path = self.certs / name
            make = ("-newkey", key) if key != "ec" else ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
            names = f"DNS:{host_name}" if host_name != host else f"DNS:{host},DNS:*.example.org"
            run("openssl", "req", "-config", config, "-nodes", *make, "-keyout", f"{path}.key", "-out", f"{path}.csr",
                "-subj", f"/O=Example Organisation/CN={host_name}", "-addext", f"subjectAltName={names}")  # fmt: skip
            run("openssl", "ca", "-config", config, "-batch", "-notext", "-in", f"{path}.csr", "-out", f"{path}.crt",
                "-cert", f"{self.certs}/root.crt", "-keyfile", f"{self.certs}/root.key", "-startdate", dates[0],
                "-enddate", dates[1], "-extensions", "leaf")  # fmt: skip
        self._self_signed("self-signed", host, "rsa:2048", "-sha256", "-days", "3650", "-extensions", "leaf")
        self._self_signed("weak", host, "rsa:1024", "-sha1", "-days", "3650", "-extensions", "leaf")
        for path in self.certs.glob("*.key"):
            path.chmod(0o644)  # made up on the spot, and thrown away with the folder

    def _self_signed(self, name: str, host: str, key: str, *options: str) -> None:
        path = self.certs / name
        run("openssl", "req", "-config", f"{self.certs}/openssl.cnf", "-x509", "-nodes", "-newkey", key, *options,
            "-subj", f"/O=Example Organisation/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
            "-keyout", f"{path}.key", "-out", f"{path}.crt")  # fmt: skip

    def _sasldb(self) -> None:
        """The password file of Cyrus SASL. Debian's Postfix looks for it in /etc, so it is mounted there, for it alone."""
        path = self.folder / "sasldb2"
        for user in _CYRUS_USERS:
            for realm in ("example.org", "cyrus.example.org", "mail.example.org"):
                run("saslpasswd2", "-p", "-c", "-f", str(path), "-u", realm, user, input=accounts.password(user))
        path.chmod(0o644)
        if not _SASLDB.exists():
            _SASLDB.touch()
            self._made_sasldb = True
        shutil.copy(path, Path("/etc/netns") / SERVERS / "sasldb2")

    @staticmethod
    def _unpack_cyrus(cache: Path) -> Path:
        """Cyrus cannot be installed beside Dovecot; its packages are fetched and unpacked into the cache instead."""
        root = cache / "cyrus"
        if not (root / "usr/lib/cyrus/bin/imapd").exists():
            root.mkdir(parents=True, exist_ok=True)
            run("apt-get", "download", *_CYRUS_PACKAGES, cwd=cache)
            for package in cache.glob("cyrus-*.deb"):
                run("dpkg", "-x", str(package), str(root))
        imapd = root / "usr/lib/cyrus/bin/imapd"
        linked = run("ldd", str(imapd), env={**os.environ, "LD_LIBRARY_PATH": str(root / _LIBRARIES)}).stdout
        if missing := [line.split()[0] for line in linked.splitlines() if "not found" in line]:
            raise LabError(f"Cyrus needs these libraries, install their packages: {', '.join(missing)}")
        return root


def wait_for(address: str, port: int, seconds: float = 10) -> None:
    """Wait until somebody listens there; called from within the servers' namespace, so that no tap sees it."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((address, port), 1).close()
        except OSError as error:
            if time.monotonic() > end:
                raise LabError(f"nobody listens on {address} port {port}: {error}") from error
            time.sleep(0.1)
        else:
            return


class _Threaded(socketserver.ThreadingTCPServer):
    """A server of our own whose threads live in a namespace; its socket is made by :meth:`listen`, there."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: Any, namespace: str) -> None:
        super().__init__(address, handler, bind_and_activate=False)
        self.namespace = namespace
        self.ready = threading.Event()

    def listen(self) -> None:
        """Make the socket in the calling thread's namespace and serve."""
        self.socket.close()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.server_bind()
        self.server_activate()
        self.ready.set()
        self.serve_forever()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        network.enter(self.namespace)
        super().process_request_thread(request, client_address)


def serve(address: str, port: int, handler: Any) -> _Threaded:
    """Let ``handler`` serve one address and port among the servers; ``shutdown()`` the result."""
    server = _Threaded((address, port), handler, SERVERS)
    network.thread_in(SERVERS, server.listen)
    if not server.ready.wait(5):
        raise LabError(f"cannot listen on {address}:{port}")
    return server


class _TokenEndpoint(http.server.BaseHTTPRequestHandler):
    """Tells Dovecot whose token this is: ``tok.USER-good-...`` is good."""

    def do_GET(self) -> None:
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        user, good, _ = query.get("access_token", [""])[0].removeprefix("tok.").partition("-good-")
        body = json.dumps({"user": user, "state": "live"} if good else {"error": "invalid_token"}).encode()
        self.send_response(200 if good else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nobody reads it."""


class Web(http.server.BaseHTTPRequestHandler):
    """A web server with one page, which talks about mail."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = b"<p>To read mail by hand, type:</p><pre>\r\nUSER decoy\r\nPASS decoy-on-a-page\r\na1 LOGIN decoy decoy-on-a-page\r\n</pre>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        """Nobody reads it."""


class Ftp(socketserver.StreamRequestHandler):
    """The control connection of an FTP server: USER and PASS, as in POP3, and replies with codes, as in SMTP."""

    def handle(self) -> None:
        self.wfile.write(b"220 Files of example.org ready.\r\n")
        for line in self.rfile:
            verb = line.split()[0].upper()
            if verb == b"USER":
                self.wfile.write(b"331 Password required.\r\n")
            elif verb == b"PASS":
                self.wfile.write(b"230 Logged in.\r\n")
            elif verb == b"QUIT":
                self.wfile.write(b"221 Goodbye.\r\n")
                return
            else:
                self.wfile.write(b"502 Command not implemented.\r\n")


class Redis(socketserver.StreamRequestHandler):
    """A Redis server that says +OK to everything, as POP3 servers do."""

    def handle(self) -> None:
        for line in self.rfile:
            if line[:1] == b"*":
                for _ in range(2 * int(line[1:])):
                    self.rfile.readline()
                self.wfile.write(b"+OK\r\n")


class Names(socketserver.BaseRequestHandler):
    """A DNS server: everything is at one address."""

    def handle(self) -> None:
        query, end = self.request
        question = query[12 : query.index(b"\0", 12) + 5]
        answer = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04" + socket.inet_aton(network.MAIL)
        end.sendto(query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + question + answer, self.client_address)


def serve_names(address: str) -> None:
    """Answer DNS queries on an address until the end."""
    ready = threading.Event()

    def body() -> None:
        with socketserver.UDPServer((address, 53), Names) as server:
            ready.set()
            server.serve_forever()

    network.thread_in(SERVERS, body)
    if not ready.wait(5):
        raise LabError(f"cannot listen on {address}:53")
