"""Subject and addresses of a message, read from its header block on request only (RFC 5322, RFC 2047)."""

from __future__ import annotations

import email.errors
import email.parser
import email.policy
from typing import Final

#: Characters kept of a field.
MAX_FIELD: Final = 998


def read_header(block: bytes) -> tuple[str | None, str | None, str | None]:
    """(Subject, From, To) of a raw header block, decoded; None for a field that is missing or beyond reading."""
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(block, headersonly=True)
    return (_field(message.get("Subject")), _field(message.get("From")), _field(message.get("To")))


def _field(value: object) -> str | None:
    if value is None:
        return None
    from email.header import decode_header, make_header

    text = " ".join(str(value).split())
    try:
        text = str(make_header(decode_header(text)))
    except (email.errors.HeaderParseError, LookupError, ValueError):
        # An encoded word of an unknown character set: the field as it stands.
        return text[:MAX_FIELD]
    return text[:MAX_FIELD]
