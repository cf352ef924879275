"""Alerts to a web server: a POST an alert, ``https://host/path`` or ``http://host/path``.

    POST /path HTTP/1.1
    Content-Type: application/json
    Idempotency-Key: 3f2a...                the finding's id: what comes twice under one is the same alert
    Mailtap-Signature: t=1772442000,v1=9c..  only with a secret

    {"alert":"finding","raised":...}        the object described in ``_object``, on one line

The signature is the hexadecimal HMAC-SHA-256, under the secret, of the time, a dot and the body: ``1772442000.{"alert":...}``. The secret comes
from the file or the environment variable that the configuration names, never from the command line, and is read anew on SIGHUP.

Any 2xx is success. 408, 429, 3xx, 5xx, and no answer at all: the alert waits in the spool and is tried again, after a pause that grows
(see ``_spooled``), or when the receiver's ``Retry-After`` says (``MAX_RETRY_AFTER_S`` at most). A 5xx may be about this one alert: after some
attempts others are tried in its place, and where they are taken it waits behind them, and is given up in the end. Any other 4xx: the
receiver will never take this alert; it is given up, and counted as lost. Redirects are not followed, proxies are not used. Certificates are checked, against
the system's roots or those that the configuration names.

An address may hold a secret in its path, so only its host is ever shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.base import Alert
from analyzer.monitor.sinks import SinkOptions
from analyzer.monitor.sinks._object import alert_json
from analyzer.monitor.sinks._spool import Spooled
from analyzer.monitor.sinks._spooled import Refused, Retry, SpooledSink, short_hash

if TYPE_CHECKING:
    import http.client
    import ssl

SCHEMES: Final = ("https", "http")
EXAMPLE: Final = "https://HOST/PATH"

#: The longest pause that a receiver may ask for, seconds.
MAX_RETRY_AFTER_S: Final = 3600.0
#: Octets of an answer that are read, and of a secret.
MAX_ANSWER: Final = 1 << 16
MAX_SECRET: Final = 4096
#: Refusals of the request as it came, not of the alert: it may be taken later.
LATER: Final = (408, 429)


class Webhook(SpooledSink):
    """Posts alerts to one web server."""

    def __init__(self, word: str, options: SinkOptions) -> None:
        parts = urlsplit(word)
        shown = f"{parts.scheme}://{parts.netloc}/... ({short_hash(word)})"
        super().__init__(shown, f"webhook-{short_hash(word)}", options)
        self._options = options
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = b""
        self._connection: http.client.HTTPConnection | None = None
        #: when the attempt under way has taken too long; 0 for none
        self._late_at = 0.0

    def encode(self, alert: Alert) -> bytes:
        return alert_json(alert).encode("ascii")

    def idle(self) -> None:
        super().idle()
        # A receiver that sends an octet now and then would keep a socket's own timeout from ever coming.
        late_at = self._late_at
        if late_at and time.monotonic() > late_at:
            self.cut()

    def cut(self) -> None:
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            try:
                # That of the plain socket: that of TLS would take the connection apart under the thread that reads it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return  # it is over already

    def send(self, item: Spooled) -> None:
        import http.client

        reused = self._connection is not None
        self._late_at = time.monotonic() + 2 * self.TIMEOUT_S
        try:
            status, retry_after = self._post(item)
        except (OSError, http.client.HTTPException) as error:
            self.disconnect()
            if reused and isinstance(error, http.client.RemoteDisconnected | ConnectionError):
                # A kept connection that the receiver has ended meanwhile: that is how it goes, and no failure.
                self.send(item)
                return
            raise Retry(_said(error)) from None
        finally:
            self._late_at = 0.0
        if 200 <= status < 300:
            return
        if status in LATER or not 400 <= status < 500:
            hint = "; redirects are not followed: name the new address" if 300 <= status < 400 else ""
            raise Retry(f"the receiver answered {status}{hint}", retry_after, answered=status >= 500)
        raise Refused(f"the receiver answered {status}: it refuses alerts, which are given up and counted as lost")

    def disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def renew(self) -> None:
        self._secret = read_secret(self._options)
        if self._secure:
            self._context()

    def _post(self, item: Spooled) -> tuple[int, float | None]:
        """One request: its status, and for how long the receiver wants to be left alone."""
        if self._connection is None:
            self._connection = self._connected()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"mailtap/{self._options.version}",
            "Idempotency-Key": item.alert_id,
        }
        if self._secret:
            moment = int(time.time())
            headers["Mailtap-Signature"] = f"t={moment},v1={signature(self._secret, moment, item.body)}"
        self._connection.request("POST", self._target, item.body, headers)
        with self._connection.getresponse() as answer:
            retry_after = _retry_after(answer.getheader("Retry-After"))
            if len(answer.read(MAX_ANSWER)) == MAX_ANSWER or answer.will_close:
                self.disconnect()
            return answer.status, retry_after

    def _connected(self) -> http.client.HTTPConnection:
        import http.client

        if self._secure:
            from analyzer.monitor.sinks._tls import SecureConnection

            return SecureConnection(self._host, self._port, self.TIMEOUT_S, self._context())
        return http.client.HTTPConnection(self._host, self._port, timeout=self.TIMEOUT_S)

    def _context(self) -> ssl.SSLContext:
        """How the server's certificate is checked.

        Raises:
            OutputError: the file of roots cannot be used.
        """
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise OutputError(
                f"webhook-ca-file {self._options.ca_file}: the certificates cannot be used ({error})"
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def signature(secret: bytes, moment: int, body: bytes) -> str:
    """The hexadecimal HMAC-SHA-256 of ``moment.body``."""
    return hmac.new(secret, b"%d." % moment + body, hashlib.sha256).hexdigest()


def read_secret(options: SinkOptions) -> bytes:
    """The secret that signs webhooks, without white space around it; empty where the configuration names none.

    Raises:
        OutputError: the file or variable that it names holds none.
    """
    if options.secret_file is not None:
        try:
            with Path(options.secret_file).open("rb") as file:
                secret = file.read(MAX_SECRET + 1).strip()
        except OSError as error:
            raise OutputError(
                f"webhook-secret-file {options.secret_file}: it cannot be read ({error.strerror})"
            ) from None
        source = f"webhook-secret-file {options.secret_file}"
    elif options.secret_env is not None:
        secret = os.environ.get(options.secret_env, "").strip().encode("utf-8", "surrogateescape")
        source = f"webhook-secret-env {options.secret_env}"
    else:
        return b""
    if not secret or len(secret) > MAX_SECRET:
        raise OutputError(f"{source}: there is no secret in it; put one there, of {MAX_SECRET:,} octets at most")
    return secret


def _retry_after(text: str | None) -> float | None:
    """Seconds, from seconds or a date (RFC 9110 section 10.2.3)."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    from email.utils import parsedate_to_datetime

    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _said(error: Exception) -> str:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the receiver's certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "the receiver does not answer"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"the receiver's answer makes no sense ({type(error).__name__})"


def make(word: str, options: SinkOptions) -> Webhook:
    """The sink of an address.

    Raises:
        UsageError: the address makes no sense. It is not repeated.
    """
    try:
        parts = urlsplit(word)
        good = (
            bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
            and word.isascii()
            and word.isprintable()
            and " " not in word
        )
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"the address of a webhook makes no sense: write {EXAMPLE}, other characters as %XX")
    if parts.username is not None or parts.fragment:
        raise UsageError(
            f"the address of the webhook at {parts.hostname} has a user or a fragment (#): neither is sent; sign with "
            "webhook-secret-file instead"
        )
    return Webhook(word, options)
