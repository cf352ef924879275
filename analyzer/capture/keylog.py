"""Key logs: which TLS connections secrets are at hand for (the NSS key log format, RFC 9850).

The secrets themselves are Wireshark's to use; here only the client's random of each line is read, which names its connection.
"""

from __future__ import annotations

import binascii
from pathlib import Path
from typing import Final

from analyzer.errors import CaptureUnreadable
from analyzer.places import reason

#: Octets read of a key log: some hundred thousand connections.
MAX_KEYLOG: Final = 64 * 1024 * 1024
#: Labels whose line names a connection otherwise than by the client's random (by a ciphertext or a session).
_OTHER_LABELS: Final = (b"RSA",)


class KeyLog:
    """What connections a key log is about."""

    def __init__(self) -> None:
        #: randoms of the client hellos that secrets are known of
        self.randoms: set[bytes] = set()
        #: some lines name their connection otherwise, so that no connection can be ruled out
        self.others: bool = False

    def add(self, text: bytes) -> None:
        """Take the text of a key log; lines of other kinds are passed over."""
        for line in text.split(b"\n"):
            words = line.split()
            if len(words) < 3 or line.startswith(b"#"):
                continue
            if words[0] in _OTHER_LABELS:
                self.others = True
                continue
            try:
                random = binascii.unhexlify(words[1])
            except binascii.Error:
                continue
            if len(random) == 32:
                self.randoms.add(random)

    def fits(self, client_random: bytes) -> bool:
        """Whether secrets of the connection with this client random may be at hand."""
        return self.others or client_random in self.randoms

    def __len__(self) -> int:
        return len(self.randoms)


def read_keylog(path: str) -> KeyLog:
    """The connections of a key log file.

    Raises:
        CaptureUnreadable: it is missing, cannot be read, or holds no secrets.
    """
    keylog = KeyLog()
    try:
        with Path(path).open("rb") as file:
            keylog.add(file.read(MAX_KEYLOG))
    except (FileNotFoundError, NotADirectoryError):
        raise CaptureUnreadable(f"{path}: there is no such key log; check the spelling") from None
    except (OSError, ValueError) as error:
        raise CaptureUnreadable(f"{path}: the key log cannot be read ({reason(error)})") from None
    if not keylog.randoms and not keylog.others:
        raise CaptureUnreadable(
            f"{path}: no TLS secret in this file; name the one that a program wrote under SSLKEYLOGFILE"
        )
    return keylog
