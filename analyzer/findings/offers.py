"""What a server offers in clear, read from the capabilities of a session: STARTTLS, mechanisms, and whether passwords are welcome."""

from __future__ import annotations

from typing import Final

from analyzer.protocols.events import CREDENTIALS_BEFORE_CAPABILITIES, IMAP_PREAUTH
from analyzer.sessions.records import COMPLETE, NOT_OFFERED, REFUSED, TRUNCATED, Session

#: Lists of capabilities that are kept parsed; the memory starts over when it is full.
MAX_OFFERS: Final = 4096

#: What offers an upgrade to TLS.
UPGRADES: Final = ("STARTTLS", "STLS", "X-ANONYMOUSTLS")
#: Mechanisms that show the password or token itself.
PLAIN_MECHANISMS: Final = ("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER")

# Kinds of mechanisms by what an eavesdropper gets.
READABLE: Final = 1  # the secret itself
GUESSABLE: Final = 2  # something to guess the password with, fast
SALTED: Final = 3  # something to guess the password with, slowly; or nothing


class Offer:
    """One capability list, parsed."""

    def __init__(self) -> None:
        self.starttls: bool = False
        #: SASL mechanisms, in the server's order
        self.mechanisms: list[str] = []
        #: passwords or tokens as such are welcome before TLS
        self.plaintext: bool = False
        #: the list shows by itself that it is one given before login: afterwards servers leave STARTTLS and mechanisms out
        self.before_login: bool = True
        #: strongest kind of mechanism, and one of that kind
        self.rank: int = 0
        self.strongest: str = ""
        #: its words without arguments, STARTTLS and mechanisms left out
        self.words: list[str] = []


def rank(mechanism: str) -> int:
    """The kind of a mechanism; 0 for one that proves nothing about a password (EXTERNAL, ANONYMOUS)."""
    if mechanism in PLAIN_MECHANISMS or mechanism == "LOGIN-CMD" or mechanism == "USER/PASS":
        return READABLE
    if mechanism.startswith("SCRAM-") or mechanism == "GSSAPI" or mechanism == "GS2-KRB5" or mechanism == "SRP":
        return SALTED
    if (
        mechanism == "CRAM-MD5"
        or mechanism == "DIGEST-MD5"
        or mechanism == "NTLM"
        or mechanism == "APOP"
        or mechanism == "GSS-SPNEGO"
    ):
        return GUESSABLE
    return 0


_offers: dict[str, Offer] = {}


def offer_of(session: Session) -> Offer:
    """What the server of a session offered in clear; the session has a capability list."""
    names = session.capabilities
    if names is None:
        return Offer()
    key = session.protocol + "\n" + "\n".join(names)
    offer = _offers.get(key)
    if offer is None:
        if len(_offers) >= MAX_OFFERS:
            _offers.clear()
        offer = read_offer(session.protocol, names)
        _offers[key] = offer
    return offer


def told_before_login(session: Session, offer: Offer) -> bool:
    """Whether a session's list is one that is given before login.

    What is not in it was not offered then, where it is whole (``Session.capabilities_whole``): of a list with lines missing, only what
    is in it counts. Some servers name no mechanism at all, and somebody on the way may have taken them out: such a list counts where
    the session was seen from its greeting on and nobody had logged in before it.
    """
    if offer.before_login:
        return True
    if not session.capabilities_whole or (session.starttls != NOT_OFFERED and session.starttls != REFUSED):
        return False
    if session.gap_bytes > 0 or (session.completeness != COMPLETE and session.completeness != TRUNCATED):
        return False
    for seen in session.anomalies or []:
        # Who sends his login first may be told the list with its answer.
        if seen.kind == IMAP_PREAUTH or seen.kind == CREDENTIALS_BEFORE_CAPABILITIES:
            return False
    return True


def takes_passwords(session: Session, offer: Offer) -> bool:
    """Whether passwords or tokens as such are welcome before TLS; the list is one that was told before login."""
    # A list that does not say LOGINDISABLED allows the LOGIN command (RFC 9051 section 6.2.3).
    return offer.plaintext or (session.protocol == "imap" and not offer.before_login)


def read_offer(protocol: str, names: list[str]) -> Offer:
    """A capability list parsed; ``names`` are its words as in ``sessions.capabilities``."""
    offer = Offer()
    login_disabled = False
    user = False
    sasl = False
    for name in names:
        parts = name.split(" ")
        word = parts[0]
        if word in UPGRADES:
            offer.starttls = True
        elif word == "AUTH" or word == "SASL":
            sasl = True
            for mechanism in parts[1:]:
                if mechanism and mechanism not in offer.mechanisms:
                    offer.mechanisms.append(mechanism)
        elif word.startswith("AUTH="):
            sasl = True
            if word[5:] not in offer.mechanisms:
                offer.mechanisms.append(word[5:])
        else:
            if word == "LOGINDISABLED":
                login_disabled = True
            elif word == "USER":
                user = True
            if word and word not in offer.words:
                offer.words.append(word)
    for mechanism in offer.mechanisms:
        kind = rank(mechanism)
        if kind == READABLE:
            offer.plaintext = True
        if kind > offer.rank:
            offer.rank = kind
            offer.strongest = mechanism
    if protocol == "imap":
        offer.before_login = sasl or login_disabled or offer.starttls
        if offer.before_login and not login_disabled:
            offer.plaintext = True  # the LOGIN command, RFC 9051 section 6.2.3
            if offer.rank == 0:
                offer.rank = READABLE
    elif protocol == "pop3":
        offer.before_login = sasl or user or offer.starttls
        if user:
            offer.plaintext = True
            if offer.rank == 0:
                offer.rank = READABLE
    return offer
