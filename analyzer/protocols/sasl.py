"""SASL exchanges (RFC 4422): what the client's responses and the server's challenges give away."""

from __future__ import annotations

import binascii


def decode_base64(data: bytes) -> bytes | None:
    """Strict base64 of one line; None where it is none."""
    try:
        return binascii.a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        return None


class Exchange:
    """One authentication: fed with decoded challenges and responses, it collects what an eavesdropper learns."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self.username: str | None = None
        self.authzid: str | None = None
        self.secret: str | None = None
        self.secret_kind: str = "none"
        self.challenge: str | None = None
        self.response: str | None = None
        #: what was wrong with the last message, for an anomaly
        self.malformed: str | None = None
        #: the credentials are all on the wire
        self.complete: bool = False

    def receive_response(self, data: bytes) -> None:
        """A response of the client, decoded."""

    def receive_challenge(self, data: bytes) -> None:
        """A challenge of the server, decoded."""

    def finish(self, outcome: str) -> None:
        """The exchange is over: last chance to make sense of what was sent."""

    def known(self) -> bool:
        """Whether there is anything to tell."""
        return self.username is not None or self.secret is not None or self.response is not None
