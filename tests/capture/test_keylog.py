"""Key logs: whose secrets are they?"""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.capture.keylog import KeyLog, read_keylog
from analyzer.errors import CaptureUnreadable

RANDOM = bytes(range(32))


def test_lines_name_connections_by_the_clients_random() -> None:
    log = KeyLog()
    name, secret = RANDOM.hex(), "aa" * 48
    log.add(
        f"# made by a test\r\nCLIENT_RANDOM {name} {secret}\r\nCLIENT_TRAFFIC_SECRET_0 {name.upper()} bb\n".encode()
    )
    assert (len(log), log.others) == (1, False)
    assert log.fits(RANDOM)
    assert not log.fits(bytes(32))


@pytest.mark.parametrize(
    "line", [b"", b"\0\xff\n", b"CLIENT_RANDOM", b"CLIENT_RANDOM xyz aa", b"CLIENT_RANDOM aabb cc", b"a b c d"]
)
def test_other_text_is_passed_over(line: bytes) -> None:
    log = KeyLog()
    log.add(line)
    assert (len(log), log.others) == (0, False)


def test_secrets_by_ciphertext_may_fit_any_connection() -> None:
    log = KeyLog()
    log.add(b"RSA 0123456789abcdef " + b"aa" * 48)
    assert log.fits(bytes(32))


def test_a_file_without_secrets_is_said(tmp_path: Path) -> None:
    path = tmp_path / "keys.log"
    with pytest.raises(CaptureUnreadable, match="there is no such key log"):
        read_keylog(str(path))
    path.write_text("nothing here\n")
    with pytest.raises(CaptureUnreadable, match="no TLS secret"):
        read_keylog(str(path))
