"""What SMTP keeps of one mail transaction (RFC 5321 section 3.3): sender, recipients, and the message on its way."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.protocols.message import MessageReader

#: Recipients of a message whose addresses are kept; all are counted.
MAX_RECIPIENTS: Final = 1000
#: Characters kept of an address: RFC 5321 section 4.5.3.1.3 allows 256.
MAX_ADDRESS: Final = 1024


class Envelope:
    """One MAIL command and the RCPT commands that follow it."""

    def __init__(self, mail_from: str | None) -> None:
        self.mail_from = mail_from
        self._names: list[str] = []
        self._refused: list[bool] = []
        self._sent: int = 0
        self._rejected: int = 0
        #: the server has refused its sender
        self.turned_away: bool = False

    def add(self, address: str) -> int:
        """A recipient is named; its index, for :meth:`refuse`, or -1 where the address is not kept."""
        self._sent += 1
        index = len(self._names)
        if index >= MAX_RECIPIENTS:
            return -1
        self._names.append(address)
        self._refused.append(False)
        return index

    def refuse(self, index: int) -> None:
        """The server does not take this recipient."""
        self._rejected += 1
        if index >= 0:
            self._refused[index] = True

    def recipients(self) -> list[str]:
        """Addresses of the recipients that were not refused."""
        if not self._rejected:
            return self._names
        return [name for name, refused in zip(self._names, self._refused, strict=True) if not refused]

    def count(self) -> int:
        """Recipients that were not refused."""
        return self._sent - self._rejected

    def is_refused(self) -> bool:
        """Whether the server takes no message for it: it has refused the sender, or all the recipients."""
        return self.turned_away or 0 < self._sent == self._rejected


class Transfer:
    """One message on its way: from DATA or the first BDAT to the server's last word."""

    def __init__(self, number: int, envelope: Envelope, reader: MessageReader) -> None:
        self.number = number
        self.envelope = envelope
        self.reader = reader
        #: its end was seen
        self.ended: bool = False
        #: its event is out
        self.told: bool = False
        self.answered: bool = False
        self.accepted: bool = False
        #: where the last word was seen
        self.answer_frame: i64 = 0
        self.answer_ns: i64 = 0
        self.answer_offset: i64 = 0
        #: final replies still to come once one has (LMTP: one a recipient, RFC 2033 section 4.2); 0 before
        self.replies_due: int = 0
        #: replies for single recipients still to come before the final one
        self.recipients_due: int = 0

    def is_last_reply(self, code: i64, line: bytes, lmtp: bool, torn: bool) -> bool:
        """Whether a reply, of which the last line is given, is the last one that is due. ``torn``: some before it may be missing.

        PRDR (draft-hall-prdr) has one reply a recipient behind a 353, and then the one that counts.
        """
        if code == 353 and self.recipients_due == 0:
            self.recipients_due = max(self.envelope.count(), 1)
            return False
        if torn and line.find(b" PRDR R=<") == 3:
            self.recipients_due = 0  # as Exim says it of one recipient; how many are missing is not known
            return False
        if self.recipients_due > 0 and code != 421:
            self.recipients_due -= 1
            return False
        if code < 400:
            self.accepted = True
        if lmtp and self.replies_due == 0:
            self.replies_due = max(self.envelope.count(), 1)
        self.replies_due -= 1
        return self.replies_due <= 0 or code == 421


class Pending:
    """A command that waits for its reply."""

    def __init__(self, kind: int, envelope: Envelope | None, index: int, transfer: Transfer | None) -> None:
        self.kind = kind
        self.envelope = envelope
        #: RCPT: index of the recipient; EHLO: 1 where it has an argument; BDAT: 1 where it was refused before its octets came;
        #: XEXCH50: octets to come
        self.index = index
        self.transfer = transfer


def parse_path(argument: bytes, keyword: bytes) -> str | None:
    """The address in ``FROM:<a@b> SIZE=1`` or ``TO:<a@b>`` (RFC 5321 section 4.1.2); None where the keyword is not there.

    Read as leniently as servers do: brackets may be missing, blanks may stand before and behind the colon. A source route
    (``<@relay:a@b>``, appendix C) is left out, ``<>`` is the empty address.
    """
    size: i64 = len(keyword)
    if argument[:size].upper() != keyword:
        return None
    rest = argument[size:].lstrip(b" \t")
    if not rest.startswith(b":"):
        return None
    rest = rest[1:].lstrip(b" \t")
    bracket = rest.startswith(b"<")
    at: i64 = 1 if bracket else 0
    start = at
    end: i64 = len(rest)
    if rest.find(b'"') < 0:
        stop: i64 = rest.find(b">" if bracket else b" ", at)
        if stop >= 0:
            end = stop
    else:
        quoted = False
        closing: i64 = 62 if bracket else 32
        while at < end:
            octet: i64 = rest[at]
            if octet == 92 and quoted:
                at += 1
            elif octet == 34:
                quoted = not quoted
            elif octet == closing and not quoted:
                end = at
                break
            at += 1
    path = rest[start:end]
    if path.startswith(b"@"):
        _, colon, behind = path.partition(b":")
        if colon:
            path = behind
    return path.strip()[:MAX_ADDRESS].decode("utf-8", "surrogateescape")
