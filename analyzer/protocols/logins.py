"""Logins: SASL exchanges as the protocols carry them, and what is told of them and of other credentials.

What the messages of an exchange mean is the business of :mod:`analyzer.protocols.sasl`; here is when it is told. Credentials are told
once they are complete, or once it is known that no more will come, with the place of the client's last word of them. What was taken
for an exchange by its form alone is told only after the server has confirmed it.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from analyzer.model import CLIENT, SERVER, Position, Secret, Sender
from analyzer.protocols.events import (
    ACCEPTED,
    CANCELLED,
    CHALLENGE_RESPONSE,
    MALFORMED_SASL,
    PASSWORD_NOT_OFFERED,
    PASSWORD_THOUGH_FORBIDDEN,
    REJECTED,
    AuthenticationEnded,
    CredentialsSent,
)
from analyzer.protocols.grammar import MAX_DETAIL
from analyzer.protocols.sasl import Exchange, decode_base64, withholds_passwords
from analyzer.protocols.starttls import StartTls
from analyzer.protocols.unnamed import could_be_response, mechanism_of

#: Octets of the shortest response whose form tells its mechanism, in base64: ``NUL a NUL b``.
MIN_TOLD: Final = 6


def response_form(line: bytes) -> bool:
    """Whether a line has the form of a SASL response in base64: one that may belong to an authentication whose beginning is missing."""
    if not line or line.find(b" ") >= 0:
        return False
    decoded = decode_base64(line)
    return decoded is not None and could_be_response(decoded)


def says_who(line: bytes) -> bool:
    """Whether a line is a SASL response in base64 whose form tells its mechanism: nothing else looks so."""
    if len(line) < MIN_TOLD or line.find(b" ") >= 0:
        return False
    decoded = decode_base64(line)
    return decoded is not None and mechanism_of(decoded) != ""


@mypyc_attr(acyclic=True)
class Logins(StartTls):
    """Follows the authentication that goes on, at most one at a time, and numbers and tells all of them.

    It relies on where the line being handled stands (``at``, ``line_offset``) and on framing's word that octets are missing (``_lost``).
    Nothing of it is about TLS: it is built on the class that is, because there is one line of bases.
    """

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self._exchange: Exchange | None = None
        self._exchange_number: int = 0
        #: where the client's last word of the exchange stands: the evidence for what is told later
        self._exchange_frame: i64 = 0
        self._exchange_ns: i64 = 0
        self._exchange_offset: i64 = 0
        self._exchange_told: bool = False
        #: what looks like an exchange may be something else: nothing is told of it before the server has answered it
        self._exchange_doubtful: bool = False
        #: its command was not captured
        self._exchange_stray: bool = False
        #: some of what the client said in it may be missing
        self._exchange_torn: bool = False
        #: commands that had come when an authentication was refused; -1 where none was
        self._refused_at: i64 = -1
        #: a login was accepted
        self._let_in: bool = False
        #: the latest list of capabilities, where it is whole and told to who was not logged in, until somebody asks what it withholds
        self._told_offer: list[str] | None = None
        self._withheld: bool = False

    # -- an exchange that goes on ------------------------------------------------------------------------------------------------

    def begin_exchange(self, mechanism: str) -> None:
        """The client asks for an authentication by this mechanism."""
        self._exchange = Exchange(mechanism)
        self._exchange_number += 1
        self._exchange_told = False
        self._exchange_doubtful = False
        self._exchange_stray = False
        self._exchange_torn = False
        self._mark_exchange()

    def begin_stray_exchange(self, doubtful: bool) -> None:
        """An authentication goes on whose beginning, the mechanism's name included, was not captured.

        ``doubtful``: so it seems, by what the client has sent. Nothing is told before :meth:`exchange_confirmed`.
        """
        self.begin_exchange("")
        self._exchange_stray = True
        self._exchange_doubtful = doubtful

    def sent_all_the_same(self, line: bytes) -> bool:
        """Whether a line that is no command tells credentials: of an authentication that the server has just refused, and the client goes on with.

        Behind another command it is none: it may be the text of a letter.
        """
        if self._refused_at != self.commands or self._exchange is not None or not says_who(line):
            return False
        self.begin_stray_exchange(doubtful=False)
        return True

    def exchange_stray(self) -> bool:
        """Whether an authentication is going on of which the command was not captured."""
        return self._exchange_stray and self._exchange is not None

    def exchange_confirmed(self) -> None:
        """The server's word: what looked like an authentication was one."""
        self._exchange_doubtful = False

    def exchange_told(self) -> None:
        """Tell what is known of the exchange by now."""
        if self._exchange is not None:
            self._tell_credentials(self._exchange)

    def exchange_open(self) -> bool:
        """Whether an authentication is going on."""
        return self._exchange is not None

    def exchange_complete(self) -> bool:
        """Whether all credentials of the authentication that goes on are on the wire: the server has the word, none is due from the client."""
        return self._exchange is not None and self._exchange.complete

    def exchange_dropped(self) -> None:
        """How the authentication ends will not be known: tell what was sent, and leave it."""
        if self._exchange is not None:
            self._tell_credentials(self._exchange)
            self._exchange = None

    def exchange_response(self, encoded: bytes) -> None:
        """A SASL response of the client, in base64; ``=`` is an empty one where it stands alone (RFC 4954 section 4)."""
        exchange = self._exchange
        if exchange is None:
            return
        if encoded == b"=":
            encoded = b""
        decoded = decode_base64(encoded)
        if decoded is None:
            if exchange.mechanism:
                self.anomaly(CLIENT, MALFORMED_SASL, f"{exchange.mechanism}: the client's response is not base64")
            exchange.missed(False)  # it cannot be read: what comes next is not it
            return
        self.exchange_octets(decoded)

    def exchange_octets(self, decoded: bytes) -> None:
        """A SASL response of the client, decoded."""
        exchange = self._exchange
        if exchange is None:
            return
        self._mark_exchange()
        exchange.receive_response(decoded)
        if exchange.malformed is not None:
            self.anomaly(CLIENT, MALFORMED_SASL, f"{exchange.mechanism}: {exchange.malformed}")
            exchange.malformed = None
        if exchange.complete and not self._exchange_told:
            self._tell_credentials(exchange)

    def response_skipped(self) -> None:
        """A SASL response of the client was too long to be kept."""
        exchange = self._exchange
        if exchange is not None:
            self._mark_exchange()
            exchange.missed(False)

    def challenge_skipped(self) -> None:
        """A SASL challenge of the server was too long to be kept."""
        if self._exchange is not None:
            self._exchange.missed(True)

    def exchange_challenge(self, encoded: bytes) -> None:
        """A SASL challenge of the server, in base64. Servers write prose there too, which only who asks for words is given."""
        exchange = self._exchange
        if exchange is None:
            return
        decoded = decode_base64(encoded)
        if decoded is not None:
            exchange.receive_challenge(decoded)
        else:
            exchange.receive_prompt(encoded)

    def offer_told(self, names: list[str], whole: bool) -> None:
        """The server has told what it offers; ``whole``: nothing of it is missing, so that what is not in it is not offered."""
        self._told_offer = names if whole and not self._let_in else None
        self._withheld = False

    def password_sent(self, how: str, forbidden: bool) -> None:
        """The client has just sent a password, by this command; ``forbidden``: the server has said that it takes none before TLS."""
        if forbidden:
            self.anomaly(CLIENT, PASSWORD_THOUGH_FORBIDDEN, f"{how}, although the server takes no password in clear")
            return
        offer = self._told_offer
        if offer is not None:
            self._told_offer = None
            self._withheld = withholds_passwords(offer)
        if self._withheld:
            self.anomaly(CLIENT, PASSWORD_NOT_OFFERED, f"{how}, although the server offers no such login before TLS")

    def exchange_ended(self, outcome: str, reply: str) -> None:
        """The exchange is over: ``accepted``, ``rejected`` or ``cancelled``."""
        exchange = self._exchange
        if exchange is None:
            return
        self._refused_at = self.commands if outcome == REJECTED else -1
        if outcome == ACCEPTED:
            self._let_in = True
        if not exchange.mechanism:
            exchange.finish(outcome)
        if not exchange.mechanism or self._exchange_doubtful:
            self._exchange = None  # nobody knows what it was
            return
        if not self._exchange_told:
            exchange.finish(outcome)
            self._tell_credentials(exchange)
        self._exchange = None
        if self._exchange_torn and outcome == REJECTED and not exchange.complete:
            return  # the client may have given up: what it said last is missing
        at = self.at
        sender = CLIENT if outcome == CANCELLED else SERVER
        self.events.append(
            AuthenticationEnded(
                sender, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, outcome, reply[:MAX_DETAIL]
            )
        )

    # -- what is told ------------------------------------------------------------------------------------------------------------

    def tell_login(self, mechanism: str, username: str | None, password: str | None, kind: str) -> int:
        """Credentials of a mechanism outside SASL (USER/PASS, LOGIN); returns the exchange's number, for ``tell_outcome``."""
        self._exchange_number += 1
        at = self.at
        secret = None if password is None else Secret(password)
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, mechanism, username, None,
                secret, kind, None, None,
            )
        )  # fmt: skip
        return self._exchange_number

    def tell_digest(self, mechanism: str, username: str | None, challenge: str | None, digest: str) -> int:
        """Credentials of a challenge-response mechanism outside SASL (APOP); returns the exchange's number, for ``tell_outcome``."""
        self._exchange_number += 1
        at = self.at
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, self.line_offset, self._exchange_number, mechanism, username, None,
                None, CHALLENGE_RESPONSE, challenge, Secret(digest),
            )
        )  # fmt: skip
        return self._exchange_number

    def tell_outcome(self, exchange: int, outcome: str, reply: str) -> None:
        """How the authentication of this number has ended, by the server's line just read."""
        at = self.at
        self.events.append(
            AuthenticationEnded(
                SERVER, at.frame, at.timestamp_ns, self.line_offset, exchange, outcome, reply[:MAX_DETAIL]
            )
        )

    def _mark_exchange(self) -> None:
        """The client's line just read is its last word of the exchange so far."""
        at = self.at
        self._exchange_frame = at.frame
        self._exchange_ns = at.timestamp_ns
        self._exchange_offset = self.line_offset

    def _tell_credentials(self, exchange: Exchange) -> None:
        """Tell what is known of the exchange that goes on, unless it was told, or is in doubt."""
        if self._exchange_told or self._exchange_doubtful or not exchange.known():
            return
        self._exchange_told = True
        at = Position(self._exchange_frame, self._exchange_ns, 0)
        self.tell_exchange(exchange, self._exchange_number, at, self._exchange_offset)

    def tell_exchange(self, exchange: Exchange, number: int, at: Position, offset: i64) -> None:
        """Tell what is known of an authentication: its number, and where the client's last word of it stands."""
        if not exchange.known():
            return
        secret = None if exchange.secret is None else Secret(exchange.secret)
        response = None if exchange.response is None else Secret(exchange.response)
        self.events.append(
            CredentialsSent(
                CLIENT, at.frame, at.timestamp_ns, offset, number, exchange.mechanism, exchange.username, exchange.authzid,
                secret, exchange.secret_kind, exchange.challenge, response,
            )
        )  # fmt: skip

    def _lost(self, sender: Sender) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.missed(sender == SERVER)
            if sender == CLIENT:
                self._exchange_torn = True
        super()._lost(sender)
