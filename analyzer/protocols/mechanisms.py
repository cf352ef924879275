"""The SASL mechanisms: what an eavesdropper learns from each, one small class a mechanism.

A mechanism is fed decoded responses of the client and challenges of the server in their order, and writes what it learns
into a :class:`Learned`. Two rules hold for all of them:

- nothing is invented: a message that does not have its mechanism's form is ``malformed`` and yields no credentials, unless they stand
  in it all the same;
- ``username`` is the name whose credentials are used, the only name sent where there is but one (EXTERNAL, OAUTHBEARER,
  ANONYMOUS); ``authzid`` is set only where the client asks to act as somebody by a name of its own (RFC 4422 section 2).

Text is UTF-8; octets that are not stay recoverable (``surrogateescape``). Binary messages are kept in base64, up to
:data:`MAX_TOKEN` octets.

``secret_kind`` is ``challenge_response`` where what was sent allows guessing the password offline. A Kerberos ticket
(GSSAPI, KERBEROS_V4) does not: it is sealed with the service's key, mostly a random one; its kind is ``none``, and the
token is kept as the response.

Over 500 lines, because mechanisms are read beside each other: each is a few lines long.
"""

from __future__ import annotations

import binascii
from typing import Final

from mypy_extensions import i64

from analyzer.protocols.events import ACCEPTED, BEARER_TOKEN, CHALLENGE_RESPONSE, NO_SECRET, PASSWORD
from analyzer.protocols.ntlm import (
    AUTHENTICATE,
    CHALLENGE,
    NEGOTIATE_UNICODE,
    find_ntlm,
    message_type,
    parse_authenticate,
    u32,
)

#: Octets kept of a challenge, response, name or secret. Kerberos tokens with group lists reach 48 KiB (RFC 4954 section 4 asks for 12 KiB).
MAX_TOKEN: Final = 49152
#: Octets read of a DIGEST-MD5 message; RFC 2831 section 2.1.2 allows a response of 4095.
MAX_DIGEST: Final = 8192
#: Digits of the longest keyed hash a CRAM mechanism could send (SHA-512), and of the shortest (MD5)
_LONGEST_DIGEST: Final = 128
_SHORTEST_DIGEST: Final = 32


class Learned:
    """What is known of one authentication so far."""

    def __init__(self, mechanism: str) -> None:
        #: the mechanism's name as announced, in capitals
        self.mechanism = mechanism
        self.username: str | None = None
        self.authzid: str | None = None
        self.secret: str | None = None
        self.secret_kind: str = NO_SECRET
        #: text for the text mechanisms, base64 for the binary ones
        self.challenge: str | None = None
        self.response: str | None = None
        #: the user's domain, where the mechanism has one (NTLM domain, DIGEST-MD5 realm)
        self.domain: str | None = None
        #: what was wrong with the last message, for an anomaly
        self.malformed: str | None = None
        #: the credentials are all on the wire
        self.complete: bool = False


class Mechanism:
    """The unknown mechanism: kept by name, the client's last message kept in base64 with the challenge that it answers."""

    def __init__(self) -> None:
        self.step: i64 = 0
        self.last: str | None = None

    def respond(self, learned: Learned, data: bytes) -> None:
        """A response of the client."""
        if data:
            learned.response = encode(data)
            learned.secret_kind = CHALLENGE_RESPONSE
            learned.challenge = self.last

    def challenge(self, learned: Learned, data: bytes) -> None:
        """A challenge of the server."""
        if data:
            self.last = encode(data)
            if learned.response is None:
                learned.challenge = self.last

    def prompt(self, learned: Learned, data: bytes) -> None:
        """A challenge of the server that is no base64: prose, as some servers ask for a name and a password."""

    def missed(self, challenge: bool) -> None:
        """A challenge (else: a response) may be among octets that are missing."""

    def finish(self, learned: Learned, outcome: str) -> None:
        """The server's word, or the client's that it gives up; what was sent may make sense now."""


class Plain(Mechanism):
    """PLAIN, RFC 4616: ``[authzid] NUL authcid NUL passwd``.

    Some clients leave the first NUL out, or send it last. No server should take that, but who listens has the password: it is told, and
    odd. Two equal halves are as likely an authzid and an authcid, of which the password is missing.
    """

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete:
            return
        first: i64 = data.find(b"\0")
        second: i64 = data.find(b"\0", first + 1) if first >= 0 else -1
        if second < 0:
            learned.malformed = "not authzid NUL authcid NUL password"
            if first > 0:
                name = data[:first]
                word = data[first + 1 :]
                if word and word != name and plausible(name) and plausible(word):
                    learned.malformed = "user name NUL password, without a NUL before them"
                    self._tell(learned, name, word)
            return
        end: i64 = data.find(b"\0", second + 1)
        if end < 0:
            end = len(data)
        else:
            learned.malformed = "a NUL in the password"
        name = data[:first]
        word = data[first + 1 : second]
        if end == second + 1 and name and word and name != word:
            # No password is empty: the NUL that is missing in front stands at the end.
            learned.malformed = "user name NUL password NUL, without a NUL before them"
            self._tell(learned, name, word)
            return
        if second == first + 1:
            learned.malformed = "no user name"
            if end == second + 1:
                return  # nor a password
        learned.authzid = text(name) if name else None
        self._tell(learned, word, data[second + 1 : end])

    def _tell(self, learned: Learned, name: bytes, word: bytes) -> None:
        learned.username = text(name)
        learned.secret = text(word)
        learned.secret_kind = PASSWORD
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        """There is none but the empty one."""


class Login(Mechanism):
    """LOGIN (draft-murchison-sasl-login): user name, then password, whatever the prompts say.

    Except that a second prompt, for the password, shows that a response which was not captured held the user name. Where responses may
    be missing, only a prompt tells what a response is, or that the server accepts it, which it does of a password alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prompts: i64 = 0
        #: a response may be missing
        self.torn: bool = False
        #: the beginning of the last prompt
        self.asked: bytes = b""
        #: a response of which it is not known what it is
        self.word: bytes | None = None
        #: the last response was empty: the user name, if the password is asked for next
        self.blank: bool = False

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete:
            return
        if self.step == 0:
            self.blank = not data
            if not data:
                return  # an empty initial response, mostly: the user name is still to be asked for
            if not plausible(data):
                learned.malformed = "the user name has control characters"
                self.step = 2
                return
            if self.torn and self.asked != b"user":
                word = self.word
                if word is None:
                    self.word = data
                    return
                data, self.word = word, data
            learned.username = text(data)
            self.step = 1
            if self.word is not None:
                data = self.word
                self.word = None
                self.respond(learned, data)
        elif self.step == 1:
            if not plausible(data):
                learned.malformed = "the password has control characters"
                self.step = 2
                return
            if self.blank:
                learned.username = ""
            learned.secret = text(data)
            learned.secret_kind = PASSWORD
            learned.complete = True
            self.step = 2

    def challenge(self, learned: Learned, data: bytes) -> None:
        before = self.asked
        self.asked = data[:4].lower()
        if self.step != 0:
            return
        self.prompts += 1
        word = self.word
        self.word = None
        if word is not None and self.asked != b"user":
            learned.username = text(word)  # asked on behind it: it was not the password
            self.step = 1
        elif self.asked == b"pass":
            if self.prompts > 1 or self.torn or self.blank:
                self.step = 1
        elif self.blank and before == b"user" and self.asked != b"user":
            self.step = 1  # in whatever language: the name was asked for, and was empty

    def prompt(self, learned: Learned, data: bytes) -> None:
        self.challenge(learned, data)

    def missed(self, challenge: bool) -> None:
        self.asked = b""
        if not challenge:
            self.torn = True
            self.word = None
            self.blank = self.blank and self.step == 1

    def finish(self, learned: Learned, outcome: str) -> None:
        if self.step == 0 and self.word is not None and outcome == ACCEPTED:
            learned.secret = text(self.word)
            learned.secret_kind = PASSWORD
            learned.complete = True


class Cram(Mechanism):
    """CRAM-MD5, RFC 2195, and its kin of other hashes: challenge ``<...>``, response ``user digest``.

    User names may hold spaces: the last one separates.
    """

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        space: i64 = data.rfind(b" ")
        digest = data[space + 1 :]
        size: i64 = len(digest)
        expected = (
            size == _SHORTEST_DIGEST if learned.mechanism == "CRAM-MD5" else _SHORTEST_DIGEST <= size <= _LONGEST_DIGEST
        )
        if space <= 0 or not expected or not is_hexadecimal(digest):
            learned.malformed = "not a user name and a digest"
            return
        learned.username = text(data[:space])
        learned.response = text(data)
        learned.secret_kind = CHALLENGE_RESPONSE
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        if learned.challenge is None and data:
            learned.challenge = text(data)


class Digest(Mechanism):
    """DIGEST-MD5, RFC 2831: lists of ``name=value``; a client may begin by itself when it authenticates again (section 2.2)."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        data = data[:MAX_DIGEST]
        charset = digest_value(data, b"charset")
        name = digest_value(data, b"username")
        if name is None or digest_value(data, b"response") is None:
            learned.malformed = "no user name or no response"
            return
        realm = digest_value(data, b"realm")
        authzid = digest_value(data, b"authzid")
        utf8 = charset is not None and charset.lower() == b"utf-8"
        learned.username = digest_text(name, utf8)
        learned.authzid = digest_text(authzid, utf8) if authzid else None
        learned.domain = digest_text(realm, utf8) if realm else None
        learned.response = text(data)
        learned.secret_kind = CHALLENGE_RESPONSE
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        # What follows the response is rspauth=: the server's own proof.
        if learned.challenge is None and not learned.complete and data:
            learned.challenge = text(data)


class Scram(Mechanism):
    """SCRAM, RFC 5802 and 7677, with and without channel binding: client-first, server-first, client-final."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        if self.step == 0:
            self._first(learned, data)
            self.step = 1
        elif data.startswith(b"c=") and data.find(b",p=") > 0:
            learned.response = text(data)
            learned.secret_kind = CHALLENGE_RESPONSE
            learned.complete = True
        else:
            learned.malformed = "not a client-final-message"

    def _first(self, learned: Learned, data: bytes) -> None:
        """``gs2-cbind-flag "," ["a=" authzid] "," ["m=" ext ","] "n=" username "," "r=" nonce ...``"""
        fields = data[:MAX_TOKEN].split(b",")
        if len(fields) < 4 or not (fields[0] == b"n" or fields[0] == b"y" or fields[0].startswith(b"p=")):
            learned.malformed = "not a client-first-message"
            return
        at = 2
        if fields[at].startswith(b"m="):
            at += 1
        if at + 1 >= len(fields) or not fields[at].startswith(b"n=") or not fields[at + 1].startswith(b"r="):
            learned.malformed = "not a client-first-message"
            return
        name = saslname(fields[at][2:])
        if not name:
            learned.malformed = "an impossible user name"
            return
        if fields[1].startswith(b"a="):
            authzid = saslname(fields[1][2:])
            learned.authzid = text(authzid) if authzid else None
        learned.username = text(name)

    def challenge(self, learned: Learned, data: bytes) -> None:
        if learned.challenge is None and self.step == 1 and data.startswith(b"r="):
            learned.challenge = text(data)


class Ntlm(Mechanism):
    """NTLM, [MS-NLMP]: NEGOTIATE, CHALLENGE, AUTHENTICATE, bare or in SPNEGO."""

    def __init__(self) -> None:
        super().__init__()
        self.unicode: bool = False

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        message = find_ntlm(data)
        if message is None:
            self.respond_otherwise(learned, data)
            return
        if message_type(message) != AUTHENTICATE:
            return
        names = parse_authenticate(message, self.unicode)
        if names is None:
            learned.malformed = "an NTLM field leaves its message"
            return
        learned.username = names.username or None
        learned.domain = names.domain or None
        learned.response = encode(message)
        learned.secret_kind = CHALLENGE_RESPONSE if names.responses else NO_SECRET
        learned.complete = True

    def respond_otherwise(self, learned: Learned, data: bytes) -> None:
        """A response without NTLM in it."""
        # SASL NTLM may begin with the mechanism's name as an empty move would (RFC 1734 style): tell nothing of it.
        if not plausible(data):
            learned.malformed = "not an NTLM message"

    def challenge(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        message = find_ntlm(data)
        if message is None:
            return
        if message_type(message) == CHALLENGE:
            learned.challenge = encode(message)
            if len(message) >= 24:
                self.unicode = u32(message, 20) & NEGOTIATE_UNICODE != 0


class Gssapi(Ntlm):
    """GSSAPI (RFC 4752), GSS-SPNEGO, GS2 (RFC 5801): Kerberos mostly, NTLM in SPNEGO sometimes.

    The client's first token (Kerberos: the AP-REQ) is the response. Its last message names an authorization identity behind
    four octets of security layer; it is integrity protected, yet in clear (RFC 4752 section 3.1).
    """

    def respond_otherwise(self, learned: Learned, data: bytes) -> None:
        if data[:2] == b"\x05\x04":
            authzid = unsealed(data)
            if authzid is not None and len(authzid) > 4:
                learned.authzid = text(authzid[4:])
            return
        if learned.response is None:
            learned.response = encode(data)


class KerberosV4(Mechanism):
    """KERBEROS_V4, RFC 2222 section 7.1: a random number of the server, then an authenticator and ticket."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if data and learned.response is None:
            learned.response = encode(data)


class Xoauth2(Mechanism):
    """XOAUTH2 (Google, Microsoft): ``user=`` name ^A ``auth=Bearer`` token ^A ^A; an error is JSON, answered by an empty response."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        token: bytes | None = None
        user: bytes | None = None
        for field in data[:MAX_TOKEN].split(b"\x01"):
            if field.startswith(b"user="):
                user = field[5:]
            elif field.startswith(b"auth="):
                token = bearer(field[5:])
        if user is None or token is None:
            learned.malformed = "no user or no bearer token"
            return
        learned.username = text(user) if user else None
        learned.secret = text(token)
        learned.secret_kind = BEARER_TOKEN
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        """The server's error; it tells nothing of the account."""


class OauthBearer(Mechanism):
    """OAUTHBEARER, RFC 7628: a GS2 header, then ``key=value`` pairs behind ^A; an error is JSON, answered by a single ^A."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data or data == b"\x01":
            return
        fields = data[:MAX_TOKEN].split(b"\x01")
        header = fields[0].split(b",")
        token: bytes | None = None
        for field in fields[1:]:
            if field.startswith(b"auth="):
                token = bearer(field[5:])
        if (
            token is None
            or len(header) < 2
            or not (header[0] == b"n" or header[0] == b"y" or header[0].startswith(b"p="))
        ):
            learned.malformed = "no GS2 header or no bearer token"
            return
        if header[1].startswith(b"a="):
            name = saslname(header[1][2:])
            learned.username = text(name) if name else None
        learned.secret = text(token)
        learned.secret_kind = BEARER_TOKEN
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        """The server's error; it tells nothing of the account."""


class External(Mechanism):
    """EXTERNAL, RFC 4422 appendix A, and ANONYMOUS, RFC 4505: a name, or nothing, and no secret."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete:
            return
        if data and not plausible(data):
            learned.malformed = "the name has control characters"
            return
        learned.username = text(data) if data else None
        learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        """There is none but the empty one."""


class Otp(Mechanism):
    """OTP, RFC 2444 (``authzid NUL authcid``), and its forerunner SKEY, RFC 2222 section 7.3 (the name alone)."""

    def respond(self, learned: Learned, data: bytes) -> None:
        if learned.complete or not data:
            return
        if self.step == 0:
            self.step = 1
            nul: i64 = data.find(b"\0")
            name = data[nul + 1 :]
            if not name or not plausible(name):
                learned.malformed = "no user name"
                return
            learned.username = text(name)
            learned.authzid = text(data[:nul]) if nul > 0 else None
        else:
            learned.response = text(data) if plausible(data) else encode(data)
            learned.secret_kind = CHALLENGE_RESPONSE
            learned.complete = True

    def challenge(self, learned: Learned, data: bytes) -> None:
        if learned.challenge is None and self.step == 1 and data:
            learned.challenge = text(data) if plausible(data) else encode(data)


def choose(name: str) -> Mechanism:
    """The mechanism of a name (in capitals); unknown ones get :class:`Mechanism`."""
    if name == "PLAIN":
        return Plain()
    if name == "LOGIN":
        return Login()
    if name == "XOAUTH2":
        return Xoauth2()
    if name == "OAUTHBEARER":
        return OauthBearer()
    if name.startswith("CRAM-"):
        return Cram()
    if name.startswith("SCRAM-"):
        return Scram()
    if name == "DIGEST-MD5":
        return Digest()
    if name == "NTLM":
        return Ntlm()
    if name == "GSSAPI" or name == "GSS-SPNEGO" or name == "SPNEGO" or name.startswith("GS2-"):
        return Gssapi()
    if name == "EXTERNAL" or name == "ANONYMOUS":
        return External()
    if name == "OTP" or name == "SKEY":
        return Otp()
    if name == "KERBEROS_V4":
        return KerberosV4()
    return Mechanism()


def text(data: bytes) -> str:
    """Octets as text, recoverable, bounded."""
    return data[:MAX_TOKEN].decode("utf-8", "surrogateescape")


def encode(data: bytes) -> str:
    """Octets in base64, bounded."""
    return binascii.b2a_base64(data[:MAX_TOKEN], newline=False).decode("ascii")


def plausible(data: bytes) -> bool:
    """Whether octets could be a name or password that somebody typed.

    A command sent where a response is due (``QUIT``, ``NOOP``) is base64 as well: what it decodes to has control characters,
    or octets that are neither UTF-8 nor printable in any 8-bit character set that continues ASCII as ISO 8859 does. A line end
    at the end is what ``echo alice | base64`` leaves: let it pass.
    """
    size: i64 = len(data)
    while size > 0 and (data[size - 1] == 10 or data[size - 1] == 13):
        size -= 1
    high = False
    at: i64 = 0
    while at < size:
        octet = data[at]
        if octet < 32 or octet == 127:
            return False
        if octet & 0xE0 == 0x80:
            high = True
        at += 1
    if not high:
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def is_hexadecimal(data: bytes) -> bool:
    """Whether octets are hexadecimal digits and nothing else."""
    return not data.strip(b"0123456789abcdefABCDEF")


def bearer(value: bytes) -> bytes | None:
    """The token of an ``auth=`` value, RFC 6750 section 2.1; None where the scheme is another or no token follows."""
    if value[:7].lower() != b"bearer ":
        return None
    token = value[7:].strip(b" ")
    return token or None


def saslname(value: bytes) -> bytes | None:
    """A ``saslname`` of RFC 5801 section 4 with ``=2C`` and ``=3D`` undone; None where another ``=`` stands in it."""
    if value.find(b"=") < 0:
        return value
    pieces = value.split(b"=")
    out: list[bytes] = [pieces[0]]
    for piece in pieces[1:]:
        code = piece[:2].upper()
        if code == b"2C":
            out.append(b",")
        elif code == b"3D":
            out.append(b"=")
        else:
            return None
        out.append(piece[2:])
    return b"".join(out)


def digest_value(data: bytes, name: bytes) -> bytes | None:
    """The value of a directive of RFC 2831 section 7.1 (``1#( name "=" ( token / quoted-string ) )``); None where it is absent.

    Directives are found by walking the list, so that a name inside another one's quotes is not taken for one.
    """
    size: i64 = len(data)
    at: i64 = 0
    while at < size:
        if data[at] == 44 or data[at] == 32 or data[at] == 9 or data[at] == 13 or data[at] == 10:
            at += 1
            continue
        equals: i64 = data.find(b"=", at)
        if equals < 0:
            return None
        found = data[at:equals].strip().lower() == name
        at = equals + 1
        while at < size and (data[at] == 32 or data[at] == 9):
            at += 1
        if at < size and data[at] == 34:
            at += 1
            out: list[bytes] = []
            while True:
                quote: i64 = data.find(b'"', at)
                if quote < 0:
                    return None
                escape: i64 = data.find(b"\\", at, quote)
                if escape < 0:
                    out.append(data[at:quote])
                    at = quote + 1
                    break
                out.append(data[at:escape])
                out.append(data[escape + 1 : escape + 2])
                at = escape + 2
            value = b"".join(out)
        else:
            comma: i64 = data.find(b",", at)
            if comma < 0:
                comma = size
            value = data[at:comma].strip()
            at = comma + 1
        if found:
            return value
    return None


def digest_text(value: bytes, utf8: bool) -> str:
    """RFC 2831 section 2.1.1: without ``charset=utf-8`` text is ISO 8859-1; many clients send UTF-8 all the same."""
    if utf8:
        return text(value)
    try:
        return value[:MAX_TOKEN].decode("utf-8")
    except UnicodeDecodeError:
        return value[:MAX_TOKEN].decode("latin-1")


def unsealed(token: bytes) -> bytes | None:
    """What a Kerberos Wrap token carries that is not sealed (RFC 4121 section 4.2.6.2); None where it is, or is none."""
    size: i64 = len(token)
    if size < 16 or token[2] & 2 or token[3] != 0xFF:
        return None
    checksum: i64 = (i64(token[4]) << 8) | i64(token[5])
    rotation: i64 = (i64(token[6]) << 8) | i64(token[7])
    body = token[16:]
    length: i64 = size - 16
    if checksum > length:
        return None
    if rotation and length:
        rotation %= length
        body = body[rotation:] + body[:rotation]
    return body[: length - checksum]
