"""Every rule: traffic that fires it and a near miss that does not, as packets through the whole pipeline."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from support import tls as lab
from support.traffic import MILLISECOND, START_NS, Frame, Talk, tcp_frame
from support.verdicts import failed_tls, findings, good_tls, identity, lost, read, shown, slugs, talk, tls

from analyzer.findings.catalogue import BY_SLUG, RULES, explanation
from analyzer.findings.engine import find
from analyzer.pipeline import Result

Talks = list[Talk | list[Frame]]


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


LOGIN = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: QUIT\nS: +OK bye"
PLAIN = b64("\0kim\0Zulu7Tango-Mike")
CAPA = "S: +OK ready\nC: CAPA\nS: +OK\nS: {}USER\nS: UIDL\nS: SASL PLAIN\nS: .\n"
POP3_IN = "C: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: QUIT\nS: +OK bye"
EHLO = "S: 220 mx ready\nC: EHLO pc\nS: 250-mx\n{}S: 250 8BITMIME\n"
AUTH = "S: 250-AUTH PLAIN LOGIN\n"
TLS = "S: 250-STARTTLS\n"
SMTP_IN = f"C: AUTH PLAIN {PLAIN}\nS: 235 in\n"
MAIL = "C: MAIL FROM:<kim@example.org>\nS: 250 ok\nC: RCPT TO:<lee@example.org>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\\r\\n\\r\\ntext\\r\\n.\nS: 250 taken\n"
BYE = "C: QUIT\nS: 221 bye"
STARTTLS = "C: STARTTLS\nS: 220 go"
IMAP = "S: * OK [CAPABILITY IMAP4rev1 {}AUTH=PLAIN] ready\n"
IMAP_IN = 'C: a1 LOGIN kim "Zulu7Tango-Mike"\nS: a1 OK in\nC: a2 LOGOUT\nS: * BYE\nS: a2 OK out'


def ehlo(offers: str = TLS + AUTH) -> str:
    return EHLO.format(offers)


def capa(offers: str = "") -> str:
    return CAPA.format(offers)


def imap(offers: str = "STARTTLS ") -> str:
    return IMAP.format(offers)


def fetched(before: str, *, deleted: bool = False, quits: bool = True) -> str:
    text = before + "C: RETR 1\nS: +OK\nS: Subject: x\\r\\n\\r\\ntext\\r\\n.\n"
    if deleted:
        text += "C: DELE 1\nS: +OK\n"
    return text + ("C: QUIT\nS: +OK bye" if quits else "C: NOOP\nS: +OK")


UPGRADE = "S: +OK ready\nC: STLS\nS: +OK go"
INSIDE = "S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\n"
REJECTED = "S: +OK ready\nC: USER {}\nS: +OK\nC: PASS {}\nS: -ERR [AUTH] no\nC: QUIT\nS: +OK bye"


def with_password(password: str, user: str = "kim") -> str:
    return f"S: +OK ready\nC: USER {user}\nS: +OK\nC: PASS {password}\nS: +OK in\nC: QUIT\nS: +OK bye"


def guesses(passwords: list[str], *, every: float = 1, user: str = "kim") -> Talks:
    return [talk(REJECTED.format(user, password), at=at * every) for at, password in enumerate(passwords)]


def twice(made: Talk, number: int, other: bytes) -> list[Frame]:
    """A frame's octets sent once more, with other content of the same length."""
    frames = made.frames()
    seq, ack = 1001, 5001
    for at, (_, frame) in enumerate(frames):
        if at == number:
            seq, ack = int.from_bytes(frame[38:42], "big"), int.from_bytes(frame[42:46], "big")
    again = tcp_frame("192.0.2.10", "198.51.100.20", made.ends[0][1], made.ends[1][1], seq, ack, 24, other)
    return [*frames[: number + 1], (frames[number][0] + MILLISECOND // 2, again), *frames[number + 1 :]]


def cut(made: Talk, number: int) -> list[Frame]:
    """A connection of which a frame was not captured, though its octets were acknowledged."""
    return lost(made, number, number + 1)


def one_way(made: Talk, sender: int) -> list[Frame]:
    return [frame for frame in made.frames() if (frame[1][26:30] == b"\xc0\x00\x02\x0a") == (sender == 0)]


def injected_talk(transcript: str, sender: int, octets: bytes) -> Talk:
    made = talk(transcript, 587, closed=False)
    (made.client if sender == 0 else made.server)(octets)
    for side, what in good_tls(ssl.TLSVersion.TLSv1_2):
        if isinstance(what, bytes):
            (made.client if side == 0 else made.server)(what)
    return made.close()


def certificate(**what: object) -> Talks:
    one = identity(**what)  # type: ignore[arg-type] # as named there
    return [tls(shown(one.chain))]


def weakly_signed() -> Talks:
    prefix = bytes.fromhex("06092a864886f70d0101")
    der = identity(signed_by_itself=True).chain[0].replace(prefix + b"\x0b", prefix + b"\x04")
    return [tls(shown([der]))]


CRAM = f"C: AUTH CRAM-MD5\nS: + {b64('<1.2@mx>')}\nC: {b64('kim 0123456789abcdef0123456789abcdef')}\nS: +OK in\nC: QUIT\nS: +OK bye"
SCRAM_OFFER = "S: 250-AUTH SCRAM-SHA-256 PLAIN\n"
MANY = [f"Zulu7-{word}-Tango" for word in ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")]

#: slug -> (traffic that fires it, traffic that nearly does)
CASES: dict[str, tuple[Callable[[], Talks], Callable[[], Talks]]] = {
    "plaintext-password": (lambda: [talk(LOGIN)], lambda: [talk("S: +OK <1.2@mx>\nC: APOP kim 0123456789abcdef0123456789abcdef\nS: +OK in\nC: QUIT\nS: +OK bye")]),
    "plaintext-token": (
        lambda: [talk(imap() + f"C: a1 AUTHENTICATE XOAUTH2 {b64(chr(1).join(['user=kim', 'auth=Bearer ya29.Zulu', '', '']))}\nS: a1 OK in", 143)],
        lambda: [talk(imap() + IMAP_IN, 143)],
    ),
    "challenge-response-in-clear": (lambda: [talk("S: +OK ready\n" + CRAM)], lambda: [talk(LOGIN)]),
    "plaintext-message": (lambda: [talk(fetched(INSIDE))], lambda: [talk(LOGIN)]),
    "plaintext-auth-offered": (
        lambda: [talk(imap() + "C: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143)],
        lambda: [talk("S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143)],
    ),
    "starttls-not-used": (lambda: [talk(capa("STLS\\r\\n") + POP3_IN)], lambda: [talk(capa("STLS\\r\\n") + "C: QUIT\nS: +OK bye")]),
    "starttls-not-offered": (lambda: [talk(capa() + POP3_IN)], lambda: [talk(LOGIN)]),
    "password-sent-though-forbidden": (
        lambda: [talk("S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\n" + IMAP_IN.replace("OK in", "NO no"), 143)],
        lambda: [talk(imap() + IMAP_IN.replace("OK in", "NO no"), 143)],
    ),
    "credentials-before-capabilities": (
        lambda: [talk(f"S: 220 mx ready\nC: AUTH PLAIN {PLAIN}\nS: 235 in\n" + BYE, 587)],
        lambda: [talk(ehlo() + SMTP_IN + BYE, 587)],
    ),
    "mail-before-starttls": (lambda: [talk(ehlo() + SMTP_IN + MAIL + BYE, 587)], lambda: [talk(ehlo() + MAIL + BYE, 25)]),
    "starttls-stripped": (
        lambda: [talk(ehlo("S: 250-XXXXXXXA\n" + AUTH) + SMTP_IN + BYE, 587)],
        lambda: [talk(ehlo("S: 250-XEXCH50\nS: 250-XCLIENT NAME\n" + AUTH) + SMTP_IN + BYE, 587)],
    ),
    "starttls-offer-vanished": (
        lambda: [talk(ehlo() + SMTP_IN + BYE, 587), talk(ehlo(AUTH) + SMTP_IN + BYE, 587, at=60)],
        lambda: [talk(ehlo() + SMTP_IN + BYE, 587), talk(ehlo(AUTH) + SMTP_IN + BYE, 587, at=60, server="198.51.100.99")],
    ),
    "starttls-refused": (
        lambda: [talk(ehlo() + "C: STARTTLS\nS: 454 TLS not available\n" + SMTP_IN + BYE, 587)],
        lambda: [talk(ehlo(AUTH) + "C: STARTTLS\nS: 502 5.5.1 not implemented\n" + SMTP_IN + BYE, 587)],
    ),
    "starttls-command-injection": (
        lambda: [injected_talk(ehlo() + "C: STARTTLS\\r\\nMAIL FROM:<mallory@example.org>\nS: 220 go", 0, b"")],
        lambda: [tls(good_tls(), 587, before=ehlo() + STARTTLS)],
    ),
    "starttls-response-injection": (
        lambda: [injected_talk(ehlo() + "C: STARTTLS\nS: 220 go\\r\\n250 AUTH PLAIN", 1, b"")],
        lambda: [tls(good_tls(), 587, before=ehlo() + STARTTLS)],
    ),
    "starttls-without-tls": (
        lambda: [talk(ehlo() + STARTTLS + "\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN\n" + SMTP_IN + BYE, 587)],
        lambda: [tls(good_tls(), 587, before=ehlo() + STARTTLS)],
    ),
    "imap-preauth": (
        lambda: [talk("S: * PREAUTH ready\nC: a1 SELECT INBOX\nS: * 0 EXISTS\nS: a1 OK", 143)],
        lambda: [talk("S: * OK [ALERT] PREAUTH is not for you\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143)],
    ),
    "untagged-data-before-tls": (
        lambda: [talk(imap() + "S: * 3 EXISTS\nC: a1 NOOP\nS: a1 OK", 143)],
        lambda: [talk(imap() + "C: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in\nC: a2 SELECT INBOX\nS: * 3 EXISTS\nS: a2 OK", 143)],
    ),
    "tls-fallback-to-plaintext": (
        lambda: [tls(failed_tls()), talk(LOGIN, at=30)],
        lambda: [tls(failed_tls()), talk(LOGIN, at=30, client="192.0.2.11"), talk(LOGIN, at=1500)],
    ),
    "capability-suppressed": (
        lambda: [
            *[talk(imap("STARTTLS LOGINDISABLED ") + "C: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143, at=at) for at in range(3)],
            talk(imap("STARTTLS ") + "C: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143, at=10),
        ],
        lambda: [
            *[talk(imap("STARTTLS LOGINDISABLED ") + "C: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143, at=at) for at in range(2)],
            talk(imap("STARTTLS ") + "C: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143, at=10),
        ],
    ),
    "sasl-downgrade": (
        lambda: [talk(ehlo(TLS + SCRAM_OFFER) + BYE, 587), talk(ehlo(TLS + AUTH) + SMTP_IN + BYE, 587, at=60)],
        lambda: [talk(ehlo(TLS + SCRAM_OFFER) + BYE, 587), talk(ehlo(TLS + SCRAM_OFFER) + SMTP_IN + BYE, 587, at=60)],
    ),
    "tcp-content-conflict": (
        lambda: [twice(talk(LOGIN), 4, b"USER leo\r\n")],
        lambda: [twice(talk(LOGIN), 4, b"USER kim\r\n")],
    ),
    "plaintext-on-tls-port": (lambda: [talk(LOGIN, 995)], lambda: [tls(good_tls())]),
    "tls-on-plaintext-port": (
        lambda: [tls([piece for piece in good_tls() if piece[0] == 0][:1], 110, before="S: +OK ready")],
        lambda: [tls(good_tls(), 110, before="S: +OK ready\nC: STLS\nS: +OK go")],
    ),
    "mail-on-unusual-port": (lambda: [talk(LOGIN, 8110)], lambda: [talk(LOGIN, 110)]),
    "not-mail-on-mail-port": (
        lambda: [talk("C: GET / HTTP/1.1\\r\\nHost: a\\r\\n\nS: HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n", 587)],
        lambda: [talk("C: GET / HTTP/1.1\\r\\nHost: a\\r\\n\nS: HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n", 8080)],
    ),
    "auth-on-port-25": (lambda: [talk(ehlo() + SMTP_IN + BYE, 25)], lambda: [talk(ehlo() + MAIL + BYE, 25)]),
    "submission-without-auth": (lambda: [talk(ehlo() + MAIL + BYE, 587)], lambda: [talk(ehlo() + SMTP_IN + MAIL + BYE, 587)]),
    "tls-obsolete-version": (
        lambda: [tls(lab.old_handshake(0x0301, 0xC013))],
        lambda: [tls(good_tls(ssl.TLSVersion.TLSv1_2))],
    ),
    "tls-weak-cipher": (lambda: [tls(lab.old_handshake(0x0303, 0x000A))], lambda: [tls(lab.old_handshake(0x0303, 0x003C))]),
    "tls-no-forward-secrecy": (
        lambda: [tls(lab.old_handshake(0x0303, 0x003C))],
        lambda: [tls(good_tls(ssl.TLSVersion.TLSv1_2)), tls(good_tls(), at=5)],
    ),
    "tls-handshake-failed": (lambda: [tls(failed_tls())], lambda: [tls(good_tls())]),
    "certificate-expired": (lambda: certificate(first=-400, last=-1), lambda: certificate(first=-400, last=40)),
    "certificate-not-yet-valid": (lambda: certificate(first=1, last=300), lambda: certificate(first=-1, last=300)),
    "certificate-expiring": (lambda: certificate(last=20), lambda: certificate(last=40)),
    "certificate-name-mismatch": (lambda: certificate(name="other.example.org"), lambda: certificate(name="*.example.test")),
    "certificate-self-signed": (lambda: certificate(signed_by_itself=True), certificate),
    "certificate-untrusted": (lambda: [tls(good_tls(ssl.TLSVersion.TLSv1_2))], certificate),
    "certificate-weak-key": (lambda: certificate(bits=1024), certificate),
    "certificate-weak-signature": (weakly_signed, lambda: certificate(signed_by_itself=True)),
    "certificate-ignored": (
        lambda: [tls(shown(identity(last=-1, first=-400).chain))],
        lambda: [tls(shown(identity(last=-1, first=-400).chain, goes_on=False)), tls(shown(identity().chain), at=5)],
    ),
    "brute-force": (lambda: guesses(MANY[:5]), lambda: guesses(["Zulu7Tango"] * 20)),
    "password-spraying": (
        lambda: [talk(REJECTED.format(name, "Zulu7Tango"), at=at) for at, name in enumerate(("ann", "bob", "cid", "dan", "eve"))],
        lambda: [talk(REJECTED.format(name, "Zulu7Tango"), at=at * 400) for at, name in enumerate(("ann", "bob", "cid", "dan", "eve"))],
    ),
    "password-reuse": (
        lambda: [talk(with_password("Zulu7Tango", "kim")), talk(with_password("Zulu7Tango", "lee"), at=5)],
        lambda: [talk(with_password("Zulu7Tango", "kim")), talk(with_password("Zulu7Tango", "Kim@example.org"), at=5), talk(REJECTED.format("lee", "Zulu7Tango"), at=9)],
    ),
    "weak-password": (lambda: [talk(with_password("password1"))], lambda: [talk(with_password("vT9#qLw2!xRz8")), talk(REJECTED.format("lee", "password1"), at=5)]),
    "anonymous-login": (
        lambda: [talk(f"S: +OK ready\nC: AUTH ANONYMOUS\nS: +\nC: {b64('guest')}\nS: +OK in\nC: QUIT\nS: +OK bye")],
        lambda: [talk(f"S: +OK ready\nC: AUTH ANONYMOUS\nS: +\nC: {b64('guest')}\nS: -ERR no\nC: QUIT\nS: +OK bye")],
    ),
    "mail-deleted-after-download": (lambda: [talk(fetched(INSIDE, deleted=True))], lambda: [talk(fetched(INSIDE, deleted=True, quits=False))]),
    "compressed-session": (
        lambda: [talk(imap("COMPRESS=DEFLATE ") + "C: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in\nC: a2 COMPRESS DEFLATE\nS: a2 OK go", 143)],
        lambda: [talk(imap("COMPRESS=DEFLATE ") + "C: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in\nC: a2 COMPRESS DEFLATE\nS: a2 NO go", 143)],
    ),
    "capture-loss": (lambda: [cut(talk(fetched(INSIDE)), 10)], lambda: [talk(fetched(INSIDE))]),
    "one-sided": (lambda: [one_way(talk(LOGIN), 0)], lambda: [talk(LOGIN)]),
    "midstream": (lambda: [talk(LOGIN).frames()[3:]], lambda: [talk(LOGIN)]),
    "truncated-packets": (list, lambda: [talk(LOGIN)]),
}  # fmt: skip


def test_every_rule_has_its_case() -> None:
    assert set(CASES) == set(BY_SLUG)


@pytest.mark.parametrize("slug", sorted(set(CASES) - {"truncated-packets"}))
def test_fires(slug: str, tmp_path: Path) -> None:
    found = [one for one in findings(tmp_path, *CASES[slug][0]()) if one.slug == slug]
    assert found
    one = found[0]
    assert one.session is not None
    assert one.session.first_frame <= one.frame <= one.session.last_frame
    assert one.session.start_ns <= one.timestamp_ns <= one.session.end_ns
    assert one.offset >= 0
    assert one.detail()
    assert one.confidence in ("high", "medium", "low")


@pytest.mark.parametrize("slug", sorted(CASES))
def test_near_miss(slug: str, tmp_path: Path) -> None:
    traffic = CASES[slug][1]()
    assert traffic
    assert slug not in slugs(findings(tmp_path, *traffic))


def opened(result: Result) -> Result:
    """The same, as if all that is read of it had been read through decryption with keys."""
    for session in result.sessions:
        for one in [*(session.credentials or []), *(session.message_list or [])]:
            one.exposed = False
    return result


@pytest.mark.parametrize(
    "slug",
    [
        "plaintext-message", "mail-before-starttls", "mail-deleted-after-download", "submission-without-auth", "plaintext-password",
        "plaintext-token", "challenge-response-in-clear", "weak-password", "auth-on-port-25",
    ],
)  # fmt: skip
def test_what_only_keys_could_read_was_not_exposed(slug: str, tmp_path: Path) -> None:
    result = read(tmp_path, CASES[slug][0]())
    assert slug in slugs(find(result.sessions))
    assert slug not in slugs(find(opened(result).sessions))


def test_only_the_messages_that_were_readable_are_counted(tmp_path: Path) -> None:
    twice = fetched(INSIDE).replace("C: RETR 1", "C: RETR 1\nS: +OK\nS: Subject: y\\r\\n\\r\\ntext\\r\\n.\nC: RETR 2")
    result = read(
        tmp_path, [talk(twice + "\nC: DELE 1\nS: +OK", closed=False).client(b"QUIT\r\n").server(b"+OK bye\r\n").close()]
    )
    messages = result.sessions[0].message_list or []
    assert len(messages) == 2
    messages[0].exposed = False
    assert [one.count for one in find(result.sessions) if one.slug == "plaintext-message"] == [1]
    assert [one.frame for one in find(result.sessions) if one.slug == "plaintext-message"] == [messages[1].frame]


@pytest.mark.parametrize(
    ("talks", "fires"),
    [
        (lambda: [tls(failed_tls()), talk(LOGIN, at=60)], True),
        (lambda: [tls(failed_tls()), tls(good_tls(), at=20), talk(LOGIN, at=60)], False),
        # through STARTTLS on the port in clear as well as on the other port
        (lambda: [tls(failed_tls(), 110, before=UPGRADE), tls(good_tls(), 110, before=UPGRADE, at=20), talk(LOGIN, at=60)], False),
        (lambda: [tls(failed_tls()), tls(good_tls(), 110, before=UPGRADE, at=20), talk(LOGIN, at=60)], False),
        # another client's success, another protocol's, or one before the failure says nothing
        (lambda: [tls(failed_tls()), tls(good_tls(), at=20, client="192.0.2.11"), talk(LOGIN, at=60)], True),
        (lambda: [tls(failed_tls()), tls(good_tls(), 993, at=20), talk(LOGIN, at=60)], True),
        (lambda: [tls(good_tls()), tls(failed_tls(), at=20), talk(LOGIN, at=60)], True),
        (lambda: [tls(failed_tls()), tls(good_tls(), at=20), tls(failed_tls(), at=40), talk(LOGIN, at=60)], True),
        # nor does what it did before: nobody knows what had brought it there
        (lambda: [talk(LOGIN), tls(failed_tls(), at=20), talk(LOGIN, at=60)], True),
        (lambda: [talk(LOGIN), tls(failed_tls(), at=20)], False),
    ],
)  # fmt: skip
def test_falling_back_is_what_comes_of_a_failure_that_was_not_overcome(
    talks: Callable[[], Talks], fires: bool, tmp_path: Path
) -> None:
    assert ("tls-fallback-to-plaintext" in slugs(findings(tmp_path, *talks()))) is fires


def test_packets_cut_by_the_snap_length(tmp_path: Path) -> None:
    import struct

    from support.traffic import capture

    from analyzer.pipeline import run

    content = capture(talk(fetched(INSIDE)).frames())
    cut_short, at = content[:24], 24
    while at < len(content):
        seconds, fraction, size, wire = struct.unpack_from("<IIII", content, at)
        keep = min(size, 70)
        cut_short += struct.pack("<IIII", seconds, fraction, keep, wire) + content[at + 16 : at + 16 + keep]
        at += 16 + size
    path = tmp_path / "cut.pcap"
    path.write_bytes(cut_short)
    result = run([path])
    assert "truncated-packets" in slugs(find(result.sessions, result.captures))


def test_numbers_in_sentences_are_written_as_in_reports(tmp_path: Path) -> None:
    def said(size: int, times: int) -> list[str]:
        made = talk("S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in", closed=False)
        for number in range(times):
            made.play(f"C: RETR {number + 1}\nS: +OK").server(b"Subject: x\r\n\r\n" + b"x" * (size - 16) + b"\r\n.\r\n")
        return [one.detail() for one in findings(tmp_path, made.close()) if one.slug == "plaintext-message"]

    way = "in all, readable on the way between 192.0.2.10 and pop3 server 198.51.100.20:110"
    assert said(1234, 1) == [f"1 message of 1,234 octets {way}"]
    assert said(999, 1) == [f"1 message of 999 octets {way}"]
    assert said(100, 1001) == [f"1,001 messages of 100,100 octets {way}"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.slug)
def test_a_rule_explains_itself(rule: object) -> None:
    slug = rule.slug  # type: ignore[attr-defined] # a Rule
    one = BY_SLUG[slug]
    text = explanation(slug)
    assert len(text) > 80
    assert text != one.title
    assert one.remediation.endswith(".")
    assert len(one.title) < 60


def test_the_start_is_known() -> None:
    assert START_NS % 1_000_000_000 == 0
