"""Runs to be written in some format: of samples, of traffic made to do harm, and of many sessions."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import serialization
from support import tls
from support.traffic import START_NS, Frame, Talk, capture

from analyzer.pipeline import Result, run
from analyzer.report.formats import BINARY, Job, load
from analyzer.report.rows import RowMaker

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = sorted(path.name for path in CAPTURES.iterdir() if path.suffix in (".pcap", ".pcapng", ".gz", ".zst"))

#: What strangers put into banners, names, subjects and certificates, and what must never come out as it stands.
MARKUP = "<script>alert(1)</script>"
PICTURE = "<svg onload=alert(2)>"
BIDI = "\u202eevil\u2066"
ESCAPE = "\x1b[31m\x07"
BREAKOUT = "\"'></td></style></title><img src=x onerror=alert(3)>`|*_[a](javascript:alert(4))"
UNSAFE_CHARACTERS = "\x1b\x07\u202e\u2066\x00\u200b"


@cache
def result_of(*samples: str) -> Result:
    """One run over samples, done once."""
    return run([CAPTURES / name for name in samples])


def job_of(result: Result, *, show_secrets: bool = False, headers: bool = False, table: str = "sessions") -> Job:
    return Job(result, RowMaker(show_secrets, headers, b"tests"), "0.0", table)


def run_of(frames: list[Frame]) -> Result:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "talk.pcap"
        path.write_bytes(capture(frames))
        result = run([path])
        for stats in result.captures:
            stats.sha256 = "0" * 64
        return result


def text_of(job: Job, form: str) -> str:
    """A result as text; that of a format of octets as Latin-1."""
    module = load(form)
    if module.KIND == BINARY:
        octets = io.BytesIO()
        module.write(job, octets)
        return octets.getvalue().decode("latin-1")
    out = io.StringIO()
    module.write(job, out)
    return out.getvalue()


def rows_of(job: Job, table: str) -> list[Any]:
    return job.rows(table)


def hostile_frames() -> list[Frame]:
    """Sessions in which everything that a stranger can choose is meant to do harm."""
    name = f"{MARKUP}{PICTURE}{BIDI}{ESCAPE}{BREAKOUT}"
    frames: list[Frame] = []
    # A login in clear: greeting, account, reply.
    for number, account in enumerate(
        (name, "=HYPERLINK(1)", "-", "(empty)", "a\tb,c", "\u200bzero", "日本語", "x" * 900)
    ):
        talk = Talk(client_port=41000 + number, start_ns=START_NS + number * 10**9)
        talk.server(f"+OK {name} ready\r\n".encode()).client(f"USER {account}\r\n".encode()).play(
            "S: +OK\nC: PASS Zulu7Tango"
        )
        frames += talk.server(f"+OK {name}\r\n".encode()).play("C: QUIT\nS: +OK").close().frames()
    # Octets that are no text.
    talk = Talk(client_port=42000, start_ns=START_NS + 20 * 10**9)
    talk.server(b"+OK \xff\xfe\x80\r\n").client(b"USER caf\xe9\r\n").play("S: +OK\nC: PASS Zulu7Tango\nS: +OK")
    frames += talk.close().frames()
    # A message: envelope, subject, addresses, attachment.
    talk = Talk(server_port=25, client_port=43000, start_ns=START_NS + 30 * 10**9)
    talk.server(f"220 {name}\r\n".encode()).client(f"EHLO {MARKUP}\r\n".encode()).play("S: 250 hi")
    talk.client(f"MAIL FROM:<{PICTURE}@example.test>\r\n".encode()).play("S: 250 ok")
    talk.client(f"RCPT TO:<{MARKUP}@example.test>\r\n".encode()).play("S: 250 ok\nC: DATA\nS: 354 go")
    header = f"Subject: {name}\r\nFrom: {MARKUP} <a@example.test>\r\nTo: {PICTURE}\r\n"
    header += f'Content-Disposition: attachment; filename="{MARKUP}"\r\n'
    talk.client(f"{header}\r\nhello\r\n.\r\n".encode()).play("S: 250 ok\nC: QUIT\nS: 221 bye")
    frames += talk.close().frames()
    # A certificate: subject, issuer, and the name that the client asks for.
    identity = tls.issue(f"{MARKUP}{BIDI}"[:60])
    der = identity.certificate.public_bytes(serialization.Encoding.DER)
    talk = Talk(server_port=993, client_port=44000, start_ns=START_NS + 40 * 10**9)
    talk.client(tls.record(22, tls.client_hello(extensions=tls.sni(PICTURE))))
    talk.server(
        tls.record(22, tls.server_hello())
        + tls.record(22, tls.certificates(der))
        + tls.record(22, tls.message(14, b""))
    )
    frames += talk.close().frames()
    return frames


@cache
def hostile_result() -> Result:
    result = run_of(hostile_frames())
    result.warnings.append(f"{MARKUP} {BIDI}{ESCAPE}")
    result.captures[0].name = f"{MARKUP}{ESCAPE}.pcap"
    return result


@cache
def large_result(sessions: int = 5000) -> Result:
    """Many sessions, most of them with something to find."""
    frames: list[Frame] = []
    for number in range(sessions):
        talk = Talk(
            client=f"192.0.2.{number % 200 + 1}",
            server=f"198.51.100.{number % 7 + 1}",
            client_port=10000 + number,
            start_ns=START_NS + number * 1_700_000_000,
        )
        talk.play(
            f"S: +OK Post office {number % 7} of example.test ready, please log in <{number}.7@example.test>\n"
            f"C: CAPA\nS: +OK\nS: STLS\nS: SASL PLAIN LOGIN\nS: .\n"
            f"C: USER account{number % 900}@example.test\nS: +OK\nC: PASS Zulu7Tango{number % 11}\nS: +OK in\nC: QUIT\nS: +OK bye"
        )
        frames += talk.close().frames()
    return run_of(frames)
