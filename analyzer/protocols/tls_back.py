"""Text where a TLS record is due: instead of a handshake, or behind one that came to nothing (see :mod:`~analyzer.protocols.tls_text`)."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from analyzer.model import CLIENT, SERVER, Position
from analyzer.protocols.octets import next_line
from analyzer.protocols.tls_facts import FAILURE_TEXT, NOBODY
from analyzer.protocols.tls_half import (
    ALERT,
    APPLICATION_DATA,
    BACK,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    HEADER,
    LINE,
    TEXT,
    Half,
)
from analyzer.protocols.tls_sslv2 import Sslv2
from analyzer.protocols.tls_text import MAX_FIRST_LINE, is_known_line, is_refusal, names_tls, text_size

#: Octets kept of text that came instead of TLS.
MAX_TEXT: Final = 200


def _record_behind(data: bytes, at: i64, size: i64) -> i64:
    """Offset of the first line that begins as a TLS record does; the size where none does. A line begins at ``at``."""
    while at < size and not CHANGE_CIPHER_SPEC <= data[at] <= APPLICATION_DATA:
        at = next_line(data, at, size)
    return at


class TextAgain(Sslv2):
    """Finds where a direction is text again, each on its own: one may end with an alert, while the other goes on in clear."""

    def _may_be_text(self, half: Half, octet: i64) -> bool:
        """Whether text may begin where a record of ``half`` is due: nothing has been encrypted that is more than an alert, and nothing was lost."""
        if not self.text_protocol or not 32 < octet < 127:
            return False
        facts = self.facts
        if facts.completed or facts.roles_swapped or self._v2 or self._null_mac >= 0:
            return False
        if half.losses or half.trial or half.strayed:
            return False
        if half.protected == 0:
            return True
        # In TLS 1.3 the server's flight is encrypted all the same; of the client it may be an alert, and no more.
        return self._tls13 and (half.role == SERVER or (half.protected == 1 and half.last_size == self._alert_size))

    def _begin_line(self, half: Half, at: i64) -> None:
        half.mode = LINE
        half.text_offset = self._at.offset + at
        if (
            half.text_first
            and half.role == SERVER
            and self.facts.client_hello is not None
            and self._client.mode != BACK
        ):
            half.text_waits = True
            half.text_at = Position(self._at.frame, self._at.timestamp_ns, half.text_offset)
        half.line.clear()

    def _read_line(self, half: Half, data: bytes, at: i64, size: i64) -> i64:
        """What may be a line of text: whole, and known, it and all behind it is text; offset of the next octet to be read."""
        newline: i64 = data.find(b"\n", at)
        stop = size if newline < 0 else newline + 1
        good = text_size(data, at, stop)
        half.line += data[at : at + good]
        self._here = half.text_offset - self._at.offset  # wherever the line was cut
        if at + good < stop or len(half.line) > MAX_FIRST_LINE:
            self._no_line(half)
            return at + good
        if newline < 0:
            return size
        line = bytes(half.line).rstrip(b"\r\n")
        if not is_known_line(self.text_protocol, half.role, line):
            self._no_line(half)
            return stop
        self._text_again(half, line)
        return stop

    def _text_again(self, half: Half, line: bytes) -> None:
        """No handshake will come of it: the direction is text from this line on."""
        facts = self.facts
        if half.role == CLIENT:
            self.release_text()
        if facts.failure is None and facts.client_hello is not None:
            self._fail(FAILURE_TEXT, half.role)
        if half.text_first:
            self._text_octets(line, 0, len(line))
            half.text_begun = bytes(half.line)
            half.line_ended = True
        half.mode = BACK
        self.readable = True
        if half.role == SERVER and is_refusal(self.text_protocol, line):
            # The server's word on the handshake, the second one on STARTTLS: it answers no command.
            client_back = self._client.mode == BACK
            if not client_back:
                facts.reason = line[:MAX_TEXT]
            if not client_back or names_tls(line):
                half.text_offset += len(half.line)
                half.line.clear()
                return
        half.plaintext.append(bytes(half.line))
        half.line.clear()

    def _no_line(self, half: Half) -> None:
        """It is no line of the dialogue's: text instead of TLS where the direction began with it, else octets that nobody can read."""
        line = bytes(half.line)
        half.line.clear()
        if half.text_first:
            half.mode = TEXT
            self._text_octets(line, 0, len(line))
            half.text_begun = line
            half.line_ended = line.endswith(b"\n")
        else:
            half.head = b""
            self._here = half.text_offset - self._at.offset
            self._lose(half)

    def _read_text(self, half: Half, data: bytes, at: i64, size: i64) -> i64:
        """Text goes on; offset of the next octet that is none of it.

        Behind text where the server's hello is due, the hello may stand all the same: somebody has slipped the text in. Another record
        there, an alert mostly, is the handshake's, too, and the text is the server's word on it.
        """
        stop = size
        if half.text_waits:
            stop = _record_behind(data, at if half.line_ended else next_line(data, at, size), size)
            if stop > at:
                half.text_begun += data[at:stop]
                half.line_ended = data[stop - 1] == 10
            if len(half.text_begun) > MAX_FIRST_LINE:
                self.release_text()
                stop = size
        if half.mode == BACK:
            if stop > at:
                half.plaintext.append(data[at:stop])
        else:
            self._text_octets(data, at, stop)
        if stop < size:
            half.mode = HEADER
            if data[stop] != HANDSHAKE:
                self.release_text()
                half.text_at = None
                half.plaintext = []
                if data[stop] == ALERT and self.facts.failure == FAILURE_TEXT:
                    # It says more of what went wrong.
                    self.facts.failure = None
                    self.facts.failure_sender = NOBODY
        return stop

    def release_text(self) -> None:
        """The server's text need not wait any more: no hello comes behind it, or it would be no answer to the client's."""
        self._server.text_waits = False
        self._server.text_begun = b""

    def _text_octets(self, data: bytes, at: i64, size: i64) -> None:
        facts = self.facts
        room = MAX_TEXT - len(facts.text)
        if room > 0:
            facts.text += data[at : min(size, at + room)]
