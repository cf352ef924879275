r"""An authentication whose beginning was not captured: its mechanism is told by the form of what is sent, or not at all.

Where the AUTH command is missing, responses and challenges remain. Most mechanisms' messages have a form that nothing else has:
PLAIN's two NULs, the bearer tokens, the digests, NTLM's signature, SCRAM's last message (whose proof is as long as its hash). A user
name or password of LOGIN is any text, so the prompts must tell: what follows ``Password:`` is the password, what came before it
was the user name. Where they are in other words, their number does: two words, each of them asked for, that the server then judges.
Nothing is told of what has no such form.
"""

from __future__ import annotations

import binascii
from typing import Final

from mypy_extensions import i64

from analyzer.protocols.events import CANCELLED
from analyzer.protocols.mechanisms import (
    MAX_TOKEN,
    Learned,
    Login,
    Mechanism,
    bearer,
    choose,
    digest_value,
    is_hexadecimal,
    plausible,
)

#: Octets of the hash that a SCRAM proof is as long as (RFC 5802 section 3, RFC 7677).
_SCRAM: Final[dict[int, str]] = {20: "SCRAM-SHA-1", 32: "SCRAM-SHA-256", 64: "SCRAM-SHA-512"}
#: Longest name or password that a response without form is taken for.
MAX_WORD: Final = 1024


class Unnamed(Mechanism):
    """Finds out which mechanism it is, then is that mechanism."""

    def __init__(self) -> None:
        super().__init__()
        self._found: Mechanism | None = None
        #: the client's last response, of which it is not known what it is
        self._word: bytes | None = None
        #: the word before it, which the server has answered by asking on
        self._name: bytes | None = None
        #: challenges or responses have come that are none of LOGIN's
        self._other: bool = False
        #: the server's last challenge
        self._asked: bytes = b""
        #: SCRAM's first message of the client, and the server's answer
        self._client_first: bytes | None = None
        self._server_first: bytes = b""

    def respond(self, learned: Learned, data: bytes) -> None:
        found = self._found
        if found is None:
            found = self._find(learned, data)
            if found is None:
                return
        found.respond(learned, data)

    def challenge(self, learned: Learned, data: bytes) -> None:
        found = self._found
        if found is not None:
            found.challenge(learned, data)
            return
        if data[:4].lower() == b"otp-" or data[:6].lower() == b"s/key ":
            self._other = True  # RFC 2289: an answer of six words
        self._asked = data
        if self._client_first is not None and not self._server_first and data.startswith(b"r="):
            self._server_first = data
        word = self._word
        if data[:4].lower() == b"pass":
            login = Login()
            if word is None:
                login.step = 1
            else:
                login.respond(learned, word)
            self._become(learned, "LOGIN", login)
        if word is not None:
            self._other = self._other or self._name is not None
            self._name = word
        self._word = None

    def prompt(self, learned: Learned, data: bytes) -> None:
        self.challenge(learned, data)

    def missed(self, challenge: bool) -> None:
        found = self._found
        if found is not None:
            found.missed(challenge)
            return
        self._asked = b""
        if not challenge:
            self._word = None
            self._name = None
            self._other = True
            self._client_first = None

    def finish(self, learned: Learned, outcome: str) -> None:
        name = self._name
        word = self._word
        if self._found is not None:
            self._found.finish(learned, outcome)
        elif name is not None and word is not None and not self._other and outcome != CANCELLED:
            login = Login()
            login.respond(learned, name)
            login.respond(learned, word)
            self._become(learned, "LOGIN", login)

    def _find(self, learned: Learned, data: bytes) -> Mechanism | None:
        """The mechanism that a response belongs to, if that is certain now."""
        if self._asked[:4].lower() == b"user" and is_word(data):
            return self._become(learned, "LOGIN", Login())
        name = mechanism_of(data)
        if not name:
            if is_scram_first(data):
                self._client_first = data
            elif is_word(data) and self._word is None:
                self._word = data
            else:
                self._other = True
            return None
        found = choose(name)
        if name.startswith("SCRAM-"):
            first = self._client_first
            if first is None:
                found.step = 1
            else:
                found.respond(learned, first)
                found.challenge(learned, self._server_first)
        elif self._asked:
            found.challenge(learned, self._asked)
        return self._become(learned, name, found)

    def _become(self, learned: Learned, name: str, found: Mechanism) -> Mechanism:
        learned.mechanism = name
        self._found = found
        return found


def could_be_response(data: bytes) -> bool:
    """Whether decoded base64 may be a response of a mechanism known here: else it is some other text that happens to decode."""
    return bool(mechanism_of(data)) or is_scram_first(data) or is_word(data)


def mechanism_of(data: bytes) -> str:
    """The mechanism whose response has the form of ``data``; empty where none has, or more than one."""
    if data.startswith(b"NTLMSSP\0"):
        return "NTLM"
    if 0 in data:
        parts = data.split(b"\0")
        if len(parts) == 3 and parts[1] and parts[2] and all(plausible(part) for part in parts):
            return "PLAIN"
        return ""
    if 1 in data:
        return _bearer_mechanism(data[:MAX_TOKEN].split(b"\x01"))
    space: i64 = data.rfind(b" ")
    if space > 0 and len(data) - space == 33 and is_hexadecimal(data[space + 1 :]) and plausible(data):
        return "CRAM-MD5"
    if data.startswith(b"c="):
        return _scram_mechanism(data)
    if data.find(b"username=") >= 0:
        for name in (b"username", b"nonce", b"cnonce", b"digest-uri", b"response"):
            if digest_value(data, name) is None:
                return ""
        return "DIGEST-MD5"
    return ""


def _bearer_mechanism(fields: list[bytes]) -> str:
    """XOAUTH2 begins with ``user=``, OAUTHBEARER (RFC 7628 section 3.1) with a GS2 header; both hold ``auth=Bearer``."""
    for field in fields[1:]:
        if field.startswith(b"auth=") and bearer(field[5:]) is not None:
            if fields[0].startswith(b"user="):
                return "XOAUTH2"
            if fields[0].startswith((b"n,", b"y,")):
                return "OAUTHBEARER"
    return ""


def _scram_mechanism(data: bytes) -> str:
    """``c=`` channel binding ``,r=`` nonce ``,p=`` proof (RFC 5802 section 7)."""
    fields = data.split(b",")
    if len(fields) < 3 or not fields[1].startswith(b"r=") or not fields[-1].startswith(b"p="):
        return ""
    try:
        header = binascii.a2b_base64(fields[0][2:], strict_mode=True)
        proof = binascii.a2b_base64(fields[-1][2:], strict_mode=True)
    except (binascii.Error, ValueError):
        return ""
    name = _SCRAM.get(len(proof), "")
    return name + "-PLUS" if name and header.startswith(b"p=") else name


def is_scram_first(data: bytes) -> bool:
    """Whether a response is SCRAM's first one; which SCRAM it is, only the last one tells."""
    return data.startswith((b"n,", b"y,", b"p=")) and data.find(b",n=") > 0 and data.find(b",r=") > 0


def is_word(data: bytes) -> bool:
    """Whether a response could be a user name or a password by itself."""
    return 0 < len(data) <= MAX_WORD and plausible(data)
