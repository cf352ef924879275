"""Which command a reply of SMTP answers, and what it does not, as packets through the whole pipeline."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.traffic import Talk, logins, run_frames
from support.verdicts import findings

from analyzer.pipeline import Result


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


def heard(folder: Path, port: int, lines: str, *, missed: int = 0) -> Result:
    """What the pipeline makes of a dialogue of which the first ``missed`` frames were not captured."""
    return run_frames(folder, Talk(server_port=port).play(lines).close().frames()[missed:])


LATE = "From: kim@a.example\\r\\nSubject: hello\\r\\n\\r\\nhi\\r\\n."


@pytest.mark.parametrize(
    ("port", "lines", "missed", "said"),
    [
        # A reply of SMTP is no word of NNTP, wherever the capture begins ...
        (25, f"C: {LATE}\nS: 502 ESMTP command error\nC: QUIT\nS: 221 bye", 3, ("smtp", None)),
        (587, "S: 502 what\nS: 502 what", 3, ("smtp", None)),
        (24, "S: 502-what\nS: 502 now\nC: QUIT", 3, ("lmtp", None)),
        (25, "S: 502 nobody speaks to you", 0, ("smtp", None)),
        # ... unless a client of NNTP gets it; and other ports and words are told as ever.
        (25, "S: 502 what\nC: AUTHINFO USER kim\nS: 381\nC: AUTHINFO PASS Zulu7Tango\nS: 281", 3, ("unknown", "nntp")),
        (25, "S: 502 go away\nC: MODE READER\nS: 502 go away", 0, ("unknown", "nntp")),
        (25, "S: 200 news ready", 0, ("unknown", "nntp")),
        (25, "S: 201 news ready\nC: GROUP misc.test\nS: 411 none", 0, ("unknown", "nntp")),
        (587, "S: 480 who are you\nC: AUTHINFO USER kim\nS: 381", 3, ("unknown", "nntp")),
        (110, "S: 502 go away", 0, ("unknown", "nntp")),
        (25, "S: 502 what\nC: USER kim\nS: 331 who", 3, ("unknown", "ftp")),
    ],
)
def test_a_code_that_smtp_shares_names_no_stranger(
    tmp_path: Path, port: int, lines: str, missed: int, said: tuple[str, str | None]
) -> None:
    result = heard(tmp_path, port, lines, missed=missed)
    assert [(one.protocol, one.not_mail) for one in result.sessions] == [said]
    assert logins(result) == []
    made = Talk(server_port=port).play(lines).close()
    made.sent = made.sent[missed:]
    assert ("not-mail-on-mail-port" in {one.slug for one in findings(tmp_path, made)}) is (said[1] is not None)
