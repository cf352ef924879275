"""NTLM messages ([MS-NLMP] section 2.2), bare or inside SPNEGO tokens (RFC 4178), read with every length checked.

Nothing is trusted: a field whose offset or length leaves the message makes the whole message malformed, never a shorter name.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

#: [MS-NLMP] section 2.2.1: what each message begins with
SIGNATURE: Final = b"NTLMSSP\x00"
#: message types
CHALLENGE: Final = 2
AUTHENTICATE: Final = 3
#: [MS-NLMP] section 2.2.2.5, flag A: names are UTF-16LE, else in the machine's own 8-bit character set
NEGOTIATE_UNICODE: Final = 0x00000001
#: longest name read, in octets: Windows allows 256 characters of user and 255 of domain name
MAX_NAME: Final = 1024
#: an AUTHENTICATE message's fixed fields up to the workstation's, as old clients send it (without flags, version and MIC)
_SHORTEST_AUTHENTICATE: Final = 52


class NtlmAuthenticate:
    """What an AUTHENTICATE message says in clear. ``responses`` tells whether it carries an NT or LM response at all."""

    def __init__(self, username: str, domain: str, workstation: str, responses: bool) -> None:
        self.username = username
        self.domain = domain
        self.workstation = workstation
        self.responses = responses


def u16(data: bytes, at: i64) -> i64:
    """A little-endian 16-bit number."""
    low: i64 = data[at]
    high: i64 = data[at + 1]
    return low | (high << 8)


def u32(data: bytes, at: i64) -> i64:
    """A little-endian 32-bit number."""
    return u16(data, at) | (u16(data, at + 2) << 16)


def find_ntlm(token: bytes) -> bytes | None:
    """The NTLM message of a token: the token itself, or the octet string of an SPNEGO token that begins with the signature.

    None where there is none. Behind the octet string SPNEGO may go on (``mechListMIC``), so its DER length decides where the
    message ends; a length that leaves the token is no message.
    """
    if token.startswith(SIGNATURE):
        return token
    if not token or (token[0] != 0x60 and token[0] & 0xE0 != 0xA0):
        return None
    at: i64 = token.find(SIGNATURE)
    if at < 0:
        return None
    length: i64 = -1
    if at >= 2 and token[at - 2] == 4 and token[at - 1] < 0x80:
        length = token[at - 1]
    elif at >= 3 and token[at - 3] == 4 and token[at - 2] == 0x81:
        length = token[at - 1]
    elif at >= 4 and token[at - 4] == 4 and token[at - 3] == 0x82:
        length = (i64(token[at - 2]) << 8) | i64(token[at - 1])
    if length < 0 or at + length > len(token):
        return None
    return token[at : at + length]


def message_type(message: bytes) -> i64:
    """The type of an NTLM message; 0 where it is none."""
    if len(message) < 12 or not message.startswith(SIGNATURE):
        return 0
    return u32(message, 8)


def parse_authenticate(message: bytes, unicode_agreed: bool) -> NtlmAuthenticate | None:
    """The names of an AUTHENTICATE message; None where a field leaves the message.

    ``unicode_agreed`` (the CHALLENGE had the flag) decides for old messages that carry no flags of their own.
    """
    size: i64 = len(message)
    if size < _SHORTEST_AUTHENTICATE or message_type(message) != AUTHENTICATE:
        return None
    first = size
    for field in range(12, 52, 8):
        length = u16(message, field)
        offset = u32(message, field + 4)
        if length == 0:
            continue
        if offset < _SHORTEST_AUTHENTICATE or offset + length > size:
            return None
        if offset < first:
            first = offset
    unicode = unicode_agreed
    if first >= 64 and size >= 64:
        unicode = u32(message, 60) & NEGOTIATE_UNICODE != 0
    domain = _name(message, 28, unicode)
    username = _name(message, 36, unicode)
    workstation = _name(message, 44, unicode)
    if domain is None or username is None or workstation is None:
        return None
    lm_length = u16(message, 12)
    # An anonymous login sends an empty NT response and an LM response of one zero octet: [MS-NLMP] section 3.2.5.1.2.
    return NtlmAuthenticate(username, domain, workstation, u16(message, 20) > 0 or lm_length > 1)


def _name(message: bytes, field: i64, unicode: bool) -> str | None:
    length = u16(message, field)
    if length == 0:
        return ""
    if length > MAX_NAME or (unicode and length & 1):
        return None
    offset = u32(message, field + 4)
    name = message[offset : offset + length]
    # The OEM character set is not told on the wire; names outside ASCII are mostly UTF-8 where the client is not Windows.
    return name.decode("utf-16-le", "replace") if unicode else name.decode("utf-8", "surrogateescape")
