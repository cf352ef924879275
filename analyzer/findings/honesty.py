"""Rules about the capture itself: what it does not hold, so that nobody takes "not seen" for "not there"."""

from __future__ import annotations

from typing import Final

from analyzer.findings.base import INCOMPLETE, INFO, Found, Rule
from analyzer.findings.traits import counted
from analyzer.sessions.records import MIDSTREAM, ONE_SIDED, Session


def capture_loss(session: Session, found: Found) -> None:
    """Octets of this session were sent, and acknowledged, that the capture does not hold.

    Logins, offers and messages may stand in the gap. The usual reason is a capturing machine that is too slow, a mirror port that
    is overloaded, or one that sees only part of the ways.
    """
    if session.gap_bytes > 0 and not session.truncated:
        found.add_start(session, detail=_missing(session), count=session.gap_bytes)


def one_sided(session: Session, found: Found) -> None:
    """Only one direction of this session was captured.

    Without the client there are no credentials to be seen, without the server no outcome: what was not seen may well have happened.
    """
    if session.completeness == ONE_SIDED:
        side = "server" if session.client_bytes == 0 else "client"
        found.add_start(session, detail=f"only the {side}'s packets were captured")


def midstream(session: Session, found: Found) -> None:
    """The session had begun before the capture did.

    A login or a STARTTLS before that is not seen; a connection met in TLS may have been upgraded or begun so.
    """
    if session.completeness == MIDSTREAM:
        found.add_start(session, detail="the beginning of the connection was not captured")


def truncated_packets(session: Session, found: Found) -> None:
    """Packets of this session were cut by the capture's snap length: the ends of long packets are missing.

    Passwords and messages may be cut with them.
    """
    if session.truncated:
        found.add_start(session, detail=f"packets were cut, {_missing(session)}", count=session.gap_bytes)


def _missing(session: Session) -> str:
    return f"{counted(session.gap_bytes, 'octet')} {'is' if session.gap_bytes == 1 else 'are'} missing"


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "capture-loss", INFO, "Capture lacks octets", capture_loss, INCOMPLETE,
        "Capture closer to the server, with a capture filter for mail ports and a larger buffer (tcpdump -B, dumpcap -B).",
        (),
    ),
    Rule(
        "one-sided", INFO, "Only one direction captured", one_sided, INCOMPLETE,
        "Mirror both directions, or capture where both ways meet (asymmetric routing).",
        (),
    ),
    Rule(
        "midstream", INFO, "Began before the capture", midstream, INCOMPLETE,
        "Capture for longer; for connections that stay open all day (IMAP) restart the client.",
        (),
    ),
    Rule(
        "truncated-packets", INFO, "Packets cut by the capture", truncated_packets, INCOMPLETE,
        "Capture whole packets (tcpdump -s 0).",
        (),
    ),
)  # fmt: skip
