"""Authentication exchanges from the client's side: what to answer, and what to write down about it.

An exchange is a generator: ``next()`` gives the initial response (None where the server speaks first), ``send()``
takes a decoded challenge and gives the next response. The credential is complete when the exchange is over.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Generator
from typing import Final, TypeAlias

from .ledger import Credential

Exchange: TypeAlias = Generator[bytes | None, bytes, None]

#: Nonces are fixed: this is a laboratory.
_NONCE: Final = "sAmPlEnOnCe0123456789"


def begin(mechanism: str, user: str, secret: str, *, authzid: str = "", host: str = "") -> tuple[Exchange, Credential]:
    """Start an exchange; ``host`` is the service and name DIGEST-MD5 asks for (``imap/mail.example.org``)."""
    credential = Credential(mechanism, user, authzid=authzid or None)
    if mechanism == "PLAIN":
        credential.secret = secret
        return _once(f"{authzid}\0{user}\0{secret}".encode()), credential
    if mechanism == "LOGIN":
        credential.secret = secret
        return _login(user, secret), credential
    if mechanism == "CRAM-MD5":
        return _cram_md5(credential, user, secret), credential
    if mechanism == "DIGEST-MD5":
        return _digest_md5(credential, user, secret, host), credential
    if mechanism.startswith("SCRAM-SHA-"):
        return _scram(credential, user, secret, mechanism.removeprefix("SCRAM-").replace("-", "").lower()), credential
    if mechanism == "XOAUTH2":
        credential.secret = secret
        return _once(f"user={user}\1auth=Bearer {secret}\1\1".encode(), b""), credential
    if mechanism == "OAUTHBEARER":
        credential.secret = secret
        gs2 = f"n,a={user},\1host=mail.example.org\1port=143\1auth=Bearer {secret}\1\1"
        return _once(gs2.encode(), b"\1"), credential
    if mechanism == "ANONYMOUS":
        return _once(user.encode()), credential
    # A mechanism nobody knows: what it says is kept as it travels, and nobody can tell whose it is.
    first = f"\0{user}\0{secret}".encode()
    credential.username, credential.response = None, base64.b64encode(first).decode()
    return _once(first), credential


def _once(first: bytes, then: bytes | None = None) -> Exchange:
    """One response; then, if the server reports an error, the empty one that lets it finish."""
    yield first
    if then is not None:
        yield then


def _login(user: str, secret: str) -> Exchange:
    yield None
    yield user.encode()
    yield secret.encode()


def _cram_md5(credential: Credential, user: str, secret: str) -> Exchange:
    challenge = yield None
    response = f"{user} {hmac.new(secret.encode(), challenge, 'md5').hexdigest()}"
    credential.challenge, credential.response = challenge.decode(), response
    yield response.encode()


def _digest_md5(credential: Credential, user: str, secret: str, uri: str) -> Exchange:
    challenge = yield None
    text = challenge.decode()
    nonce = re.search(r'nonce="([^"]*)"', text)
    realm_match = re.search(r'realm="([^"]*)"', text)
    realm = realm_match.group(1) if realm_match else ""

    def md5(data: bytes) -> bytes:
        return hashlib.md5(data, usedforsecurity=False).digest()

    server_nonce = nonce.group(1) if nonce else ""
    a1 = md5(f"{user}:{realm}:{secret}".encode()) + f":{server_nonce}:{_NONCE}".encode()
    a2 = f"AUTHENTICATE:{uri}".encode()
    middle = f":{server_nonce}:00000001:{_NONCE}:auth:"
    digest = md5(md5(a1).hex().encode() + middle.encode() + md5(a2).hex().encode()).hex()
    response = (
        f'charset=utf-8,username="{user}",realm="{realm}",nonce="{server_nonce}",nc=00000001,cnonce="{_NONCE}",'
        f'digest-uri="{uri}",response={digest},qop=auth'
    )
    credential.challenge, credential.response = text, response
    yield response.encode()
    yield b""  # the server has proved itself with rspauth


def _scram(credential: Credential, user: str, secret: str, digest: str) -> Exchange:
    bare = f"n={user},r={_NONCE}"
    server_first = (yield f"n,,{bare}".encode()).decode()
    fields = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac(digest, secret.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    key = hmac.digest(salted, b"Client Key", digest)
    without_proof = f"c=biws,r={fields['r']}"
    signed = f"{bare},{server_first},{without_proof}".encode()
    signature = hmac.digest(hashlib.new(digest, key).digest(), signed, digest)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
    credential.challenge, credential.response = server_first, f"{without_proof},p={proof}"
    yield f"{without_proof},p={proof}".encode()
    yield b""  # the server has proved itself


def apop(banner: str, secret: str) -> tuple[str, str]:
    """The timestamp of a POP3 greeting and the digest APOP answers it with."""
    match = re.search(r"<[^<>@\s]*@[^>\s]*>", banner)
    stamp = match.group() if match else ""
    return stamp, hashlib.md5((stamp + secret).encode(), usedforsecurity=False).hexdigest()
