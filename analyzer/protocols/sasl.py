"""SASL exchanges (RFC 4422): what the client's responses and the server's challenges give away.

The protocols carry challenges and responses in their own ways and hand them over decoded; what they mean is
the business of :mod:`analyzer.protocols.mechanisms`.
"""

from __future__ import annotations

import binascii
from typing import Final

from analyzer.protocols.events import NO_SECRET
from analyzer.protocols.mechanisms import Learned, Mechanism, choose
from analyzer.protocols.unnamed import Unnamed

#: Characters kept of a mechanism's name. RFC 4422 section 3.1 allows 20; a few in use are longer (ECDSA-NIST256P-CHALLENGE).
MAX_MECHANISM: Final = 40


#: Mechanisms that clients name behind AUTH, and beginnings of such names.
MECHANISMS: Final = frozenset(
    {b"PLAIN", b"LOGIN", b"DIGEST-MD5", b"NTLM", b"XOAUTH2", b"OAUTHBEARER", b"GSSAPI", b"GSS-SPNEGO", b"SPNEGO", b"EXTERNAL",
     b"ANONYMOUS", b"OTP", b"SKEY", b"KERBEROS_V4", b"MSN", b"XYMCOOKIE"}
)  # fmt: skip
MECHANISM_FAMILIES: Final = (b"CRAM-", b"SCRAM-", b"GS2-", b"X-", b"XOAUTH", b"ECDSA-", b"ECDH-")


def names_mechanism(argument: bytes) -> bool:
    """Whether what stands behind AUTH is a mechanism that there is, with or without a response; one that could be, by its capitals; or nothing."""
    words = argument.split(None, 1)
    if not words:
        return True
    name = words[0].upper()
    return name in MECHANISMS or name.startswith(MECHANISM_FAMILIES) or (words[0] == name and len(words) == 1)


def withholds_passwords(names: list[str]) -> bool:
    """Whether a whole list of capabilities offers TLS, and before TLS no login with the password itself.

    What is not in the list is not to be had: RFC 4954 section 4, RFC 5804 section 1.7; RFC 2595 section 2.2 and RFC 2449 section 6.3 of
    USER. IMAP has a command that no list names: its list is asked only where it holds LOGINDISABLED.
    """
    tls = False
    for name in names:
        words = name.split(" ")
        word = words[0]
        if word == "STARTTLS" or word == "STLS" or word == "X-ANONYMOUSTLS":
            tls = True
        elif word == "AUTH" or word == "SASL" or word == "X-EXPS":
            if "PLAIN" in words or "LOGIN" in words:
                return False
        elif word == "LOGINDISABLED":
            tls = True
        elif word == "USER" or word == "X-EXPS=LOGIN" or word == "AUTH=PLAIN" or word == "AUTH=LOGIN":
            return False
    return tls


def decode_base64(data: bytes) -> bytes | None:
    """Strict base64 (RFC 4648 section 4) of one line, None where it is none. Blanks around it are forgiven, and missing ``=`` at its end."""
    if data and (data[0] == 32 or data[0] == 9 or data[-1] == 32 or data[-1] == 9):
        data = data.strip(b" \t")
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return _decode_unpadded(data)


def _decode_unpadded(data: bytes) -> bytes | None:
    """Base64 whose padding was left out, as some clients do. The bits that would be padded must be zero: text in clear seldom has that."""
    missing = -len(data) % 4
    if missing == 0 or missing == 3 or b"=" in data:
        return None
    padded = data + b"=" * missing
    try:
        decoded = binascii.a2b_base64(padded, strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if binascii.b2a_base64(decoded, newline=False) == padded else None


def mechanism_name(name: str) -> str:
    """A mechanism's name as RFC 4422 section 3.1 spells it: capitals, digits, ``-`` and ``_``; anything else becomes ``?``."""
    name = name[:MAX_MECHANISM].upper()
    for char in name:
        if not ("A" <= char <= "Z" or "0" <= char <= "9" or char == "-" or char == "_"):
            return "".join([c if "A" <= c <= "Z" or "0" <= c <= "9" or c == "-" or c == "_" else "?" for c in name])
    return name


class Exchange(Learned):
    """One authentication: fed with decoded challenges and responses, it collects what an eavesdropper learns.

    An empty name is that of a mechanism whose command was not captured; ``mechanism`` stays empty until its messages tell it.
    """

    def __init__(self, mechanism: str) -> None:
        name = mechanism_name(mechanism)
        super().__init__(name)
        self._mechanism: Mechanism = choose(name) if name else Unnamed()

    def receive_response(self, data: bytes) -> None:
        """A response of the client, decoded."""
        self._mechanism.respond(self, data)

    def receive_challenge(self, data: bytes) -> None:
        """A challenge of the server, decoded."""
        self._mechanism.challenge(self, data)

    def receive_prompt(self, data: bytes) -> None:
        """A challenge of the server that is no base64."""
        self._mechanism.prompt(self, data)

    def missed(self, challenge: bool) -> None:
        """A challenge of the server (else: a response of the client) may be among octets that are missing."""
        self._mechanism.missed(challenge)

    def finish(self, outcome: str) -> None:
        """The exchange is over, with this outcome: last chance to make sense of what was sent."""
        self._mechanism.finish(self, outcome)
        if self.secret is None and self.response is None:
            self.secret_kind = NO_SECRET

    def known(self) -> bool:
        """Whether there is anything to tell: a name, a secret, a response, or a challenge that the client turned away from."""
        return (
            self.username is not None
            or self.secret is not None
            or self.response is not None
            or self.challenge is not None
            or self.complete
        )
