"""Attacks on STARTTLS in every protocol that has it: each is named, and none of it where nothing happened."""

from __future__ import annotations

import base64
import pickle
import ssl
from pathlib import Path

import pytest
from support.traffic import Frame, Talk, capture, logins
from support.verdicts import carry, failed_tls, findings, good_tls, read, slugs, talk, trust

from analyzer.findings.engine import find
from analyzer.pipeline import run
from analyzer.report.servers import postures

PLAIN = base64.b64encode(b"\0kim\0Zulu7Tango-Mike").decode()

#: protocol -> port, greeting with an offer, request, grant, refusal, login, line of the client, line of the server
PROTOCOLS = {
    "pop3": (
        110, "S: +OK ready\nC: CAPA\nS: +OK\nS: {}USER\nS: .\n", "STLS\\r\\n", "C: STLS", "S: +OK go", "S: -ERR no TLS now",
        "C: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in", "CAPA", "+OK injected",
    ),
    "imap": (
        143, "S: * OK [CAPABILITY IMAP4rev1 {}AUTH=PLAIN] ready\n", "STARTTLS ", "C: a0 STARTTLS", "S: a0 OK go", "S: a0 NO not now",
        "C: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in", "a9 NOOP", "* OK injected",
    ),
    "smtp": (
        587, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: {}250 AUTH PLAIN\n", "250-STARTTLS\\r\\n", "C: STARTTLS", "S: 220 go",
        "S: 454 not now", f"C: AUTH PLAIN {PLAIN}\nS: 235 in", "RSET", "250 injected",
    ),
    "managesieve": (
        4190, 'S: "IMPLEMENTATION" "x"\nS: "SASL" "PLAIN"\nS: {}OK "ready"\n', '"STARTTLS"\\r\\n', "C: STARTTLS", 'S: OK "go"',
        'S: NO "not now"', f'C: AUTHENTICATE "PLAIN" "{PLAIN}"\nS: OK "in"', "CAPABILITY", 'OK "injected"',
    ),
}  # fmt: skip
ALARMS = {
    "starttls-stripped", "starttls-offer-vanished", "starttls-refused", "starttls-command-injection", "starttls-response-injection",
    "starttls-without-tls", "imap-preauth", "untagged-data-before-tls", "tls-fallback-to-plaintext", "capability-suppressed",
    "sasl-downgrade", "tcp-content-conflict", "plaintext-on-tls-port",
}  # fmt: skip

each = pytest.mark.parametrize("protocol", sorted(PROTOCOLS))


def pieces() -> list[tuple[int, bytes | int | None]]:
    return good_tls(ssl.TLSVersion.TLSv1_2)


@each
def test_an_upgrade_as_it_should_be_raises_none(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, _, _, _ = PROTOCOLS[protocol]
    made = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False), pieces()).close()
    assert not slugs(findings(tmp_path, made)) & (
        ALARMS | {"plaintext-password", "starttls-not-used", "starttls-not-offered"}
    )


@each
def test_a_login_in_clear_alone_raises_none(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, _, _, _, login, _, _ = PROTOCOLS[protocol]
    found = slugs(findings(tmp_path, talk(greeting.format(offer) + login, port)))
    assert not found & ALARMS
    assert {"plaintext-password", "starttls-not-used", "plaintext-auth-offered"} <= found


@each
@pytest.mark.parametrize("together", [True, False])
def test_commands_injected(protocol: str, together: bool, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, _, line, _ = PROTOCOLS[protocol]
    request = f"{ask}\\r\\n{line}" if together else f"{ask}\nC: {line}"
    made = carry(talk(f"{greeting.format(offer)}{request}\n{grant}", port, closed=False), pieces()).close()
    found = findings(tmp_path, made)
    assert slugs(found) & ALARMS == {"starttls-command-injection"}
    assert next(one for one in found if one.slug == "starttls-command-injection").severity == 3


@each
def test_commands_injected_behind_the_grant(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, _, line, _ = PROTOCOLS[protocol]
    begun = talk(f"{greeting.format(offer)}{ask}\n{grant}\nC: {line}", port, closed=False)
    found = findings(tmp_path, carry(begun, pieces()).close())
    assert slugs(found) & ALARMS == {"starttls-command-injection"}
    (one,) = [one for one in found if one.slug == "starttls-command-injection"]
    # three frames open the connection; the injected line is the last before TLS
    lines = greeting.format(offer).strip("\n").count("\n") + 1
    assert (one.severity, one.frame) == (3, 3 + lines + 3)
    assert one.session is not None
    assert one.session.starttls == "completed"


@each
def test_commands_behind_the_grant_that_are_answered_are_no_injection(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, line, reply = PROTOCOLS[protocol]
    begun = f"{greeting.format(offer)}{ask}\n{grant}\nC: {line}\n"
    for text in (f"S: {reply}\n{login}", login):
        result = read(tmp_path, [talk(begun + text, port)])
        assert logins(result)[0][1:3] == ("kim", "Zulu7Tango-Mike")
        found = slugs(find(result.sessions)) & ALARMS
        assert "starttls-without-tls" in found
        assert "starttls-command-injection" not in found


def of_client(made: Talk) -> list[Frame]:
    """What the client sends."""
    port = made.ends[0][1].to_bytes(2, "big")
    return [frame for frame in made.frames() if frame[1][34:36] == port]


@each
def test_commands_injected_where_the_client_alone_was_captured(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, refusal, login, line, _ = PROTOCOLS[protocol]
    for text in (f"{ask}\\r\\n{line}\n{grant}", f"{ask}\n{grant}\nC: {line}"):
        made = carry(talk(f"{greeting.format(offer)}{text}", port, closed=False), pieces()).close()
        found = findings(tmp_path, of_client(made))
        assert slugs(found) & ALARMS == {"starttls-command-injection"}
        assert [one.session.starttls for one in found if one.session][:1] == ["completed"]
    # Refused, and asked for again; refused, and done without.
    again = f"{ask}\n{refusal}\nC: {line}\n{ask}\n{grant}"
    made = carry(talk(f"{greeting.format(offer)}{again}", port, closed=False), pieces()).close()
    (session,) = read(tmp_path, [of_client(made)]).sessions
    assert (session.starttls, session.transport) == ("completed", "starttls")
    assert "starttls-command-injection" not in slugs(find([session]))
    result = read(tmp_path, [of_client(talk(f"{greeting.format(offer)}{ask}\n{refusal}\n{login}", port))])
    assert [one[1:3] for one in logins(result)] == [("kim", "Zulu7Tango-Mike")]


@each
def test_replies_injected(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, _, _, line = PROTOCOLS[protocol]
    made = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}\\r\\n{line}", port, closed=False), pieces()).close()
    assert slugs(findings(tmp_path, made)) & ALARMS == {"starttls-response-injection"}


@each
def test_refusal_and_then_a_login(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, _, refusal, login, _, _ = PROTOCOLS[protocol]
    made = talk(f"{greeting.format(offer)}{ask}\n{refusal}\n{login}", port)
    found = findings(tmp_path, made)
    assert slugs(found) & ALARMS == {"starttls-refused"}
    (one,) = [one for one in found if one.slug == "starttls-refused"]
    assert one.severity == 3
    # The evidence is the request, at its own time.
    assert ask.removeprefix("C: ").encode() in made.frames()[one.frame - 1][1]
    assert one.timestamp_ns == made.frames()[one.frame - 1][0]


def test_content_that_contradicts_itself_is_told_at_its_own_time(tmp_path: Path) -> None:
    made = talk("S: +OK ready\nC: USER kim\nS: +OK", closed=False)
    made.seq[0] -= 10
    found = findings(tmp_path, made.client(b"USER lee\r\n").close())
    (one,) = [one for one in found if one.slug == "tcp-content-conflict"]
    assert (one.frame, one.timestamp_ns) == (7, made.frames()[6][0])
    # The session begins earlier, and goes through a pickle with all of it.
    assert one.session is not None
    assert one.session.start_ns < one.timestamp_ns
    again = pickle.loads(pickle.dumps(one.session))
    assert (again.conflict_ns, again.starttls_ns) == (one.timestamp_ns, 0)


@each
def test_offer_taken_out_for_one_client(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, _, _ = PROTOCOLS[protocol]
    good = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False), pieces()).close()
    bad = talk(greeting.format("") + login, port, client="192.0.2.66", at=60)
    found = findings(tmp_path, good, bad)
    assert slugs(found) & ALARMS == {"starttls-offer-vanished"}
    assert [one.session.client_ip for one in found if one.slug == "starttls-offer-vanished" and one.session] == [
        "192.0.2.66"
    ]


@each
def test_granted_and_then_text(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, _, _ = PROTOCOLS[protocol]
    found = slugs(findings(tmp_path, talk(f"{greeting.format(offer)}{ask}\n{grant}\n{login}", port)))
    assert "starttls-without-tls" in found
    assert "plaintext-password" in found


@each
def test_fallback_after_a_failed_upgrade(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, _, _ = PROTOCOLS[protocol]
    failed = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False), failed_tls()).close()
    again = talk(greeting.format(offer) + login, port, at=20)
    assert slugs(findings(tmp_path, failed, again)) & ALARMS == {"tls-fallback-to-plaintext"}


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("S: 220 ********************************0*2******\nC: HELO pc\nS: 250 mx\nC: QUIT\nS: 221 bye", 25),
        ("S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-XXXXXXXA\nS: 250 SIZE\nC: QUIT\nS: 221 bye", 25),
        ("S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 500 #5.5.1 command not recognized\nC: QUIT\nS: 221 bye", 25),
        ("S: * OK [CAPABILITY IMAP4rev1 XXXXXXXX AUTH=PLAIN] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143),
        ("S: +OK ready\nC: CAPA\nS: +OK\nS: XXXX\nS: USER\nS: .\nC: QUIT\nS: +OK bye", 110),
    ],
)  # fmt: skip
def test_marks_of_stripping(text: str, port: int, tmp_path: Path) -> None:
    assert "starttls-stripped" in slugs(findings(tmp_path, talk(text, port)))


def test_an_imap_server_that_does_not_know_starttls_is_suspected(tmp_path: Path) -> None:
    port, greeting, _, ask, _, _, login, _, _ = PROTOCOLS["imap"]
    found = findings(tmp_path, talk(f"{greeting.format('')}{ask}\nS: a0 BAD unknown\n{login}", port))
    assert [one.confidence for one in found if one.slug == "starttls-stripped"] == ["medium"]
    assert "starttls-refused" in slugs(found)


def test_an_smtp_server_that_never_had_it_is_not(tmp_path: Path) -> None:
    port, greeting, _, ask, _, _, login, _, _ = PROTOCOLS["smtp"]
    found = slugs(
        findings(tmp_path, talk(f"{greeting.format('')}{ask}\nS: 502 5.5.1 command not implemented\n{login}", 25))
    )
    assert not found & ALARMS
    assert "starttls-not-offered" in found
    assert port == 587


def test_preauth_on_one_machine_is_a_note(tmp_path: Path) -> None:
    text = "S: * PREAUTH ready\nC: a1 SELECT INBOX\nS: * 0 EXISTS\nS: a1 OK"
    away = findings(tmp_path, talk(text, 143))
    at_home = findings(tmp_path, talk(text, 143, client="127.0.0.1", server="127.0.0.1"))
    assert [one.severity for one in away if one.slug == "imap-preauth"] == [3]
    assert [one.severity for one in at_home if one.slug == "imap-preauth"] == [0]


# -- an offer that vanished: the same host, and how long ago ---------------------------------------------------------------------

MX = "S: 220 {} ESMTP ready\nC: EHLO pc\nS: 250-mx\nS: {}250 AUTH PLAIN\n"
HOUR, DAY = 3600, 86400


def mx(at: float, *, offers: bool, name: str = "mx1.example.org", **where: str) -> Talk:
    text = MX.format(name, "250-STARTTLS\\r\\n" if offers else "") + PROTOCOLS["smtp"][6]
    return talk(text, 587, at=at, **where)


def vanished(folder: Path, *talks: Talk) -> list[str]:
    return [one.confidence for one in findings(folder, *talks) if one.slug == "starttls-offer-vanished"]


@pytest.mark.parametrize(
    ("apart", "before", "later"),
    [
        (60, "high", "medium"),
        (HOUR - 1, "high", "medium"),
        (2 * HOUR, "medium", "low"),
        (DAY - 1, "medium", "low"),
        (3 * DAY, "low", None),
        (200 * DAY, "low", None),
    ],
)
def test_confidence_fades_with_the_time_since_the_offer(
    apart: float, before: str, later: str | None, tmp_path: Path
) -> None:
    assert vanished(tmp_path, mx(0, offers=True), mx(apart, offers=False)) == [before]
    assert vanished(tmp_path, mx(0, offers=False), mx(apart, offers=True)) == ([] if later is None else [later])


def test_the_latest_offer_counts(tmp_path: Path) -> None:
    talks = [mx(0, offers=True), mx(2 * DAY, offers=True), mx(2 * DAY + 60, offers=False)]
    assert vanished(tmp_path, *talks) == ["high"]


def test_other_hosts_behind_one_address_are_not_compared(tmp_path: Path) -> None:
    other = "mx2.example.org"
    assert vanished(tmp_path, mx(0, offers=True), mx(60, offers=False, name=other)) == []
    assert vanished(tmp_path, mx(0, offers=False), mx(60, offers=True, name=other)) == []
    # The host's own offer counts, whatever others said in between; a greeting without a name may be anybody's.
    talks = [
        mx(0, offers=True),
        mx(30, offers=False, name=other),
        mx(60, offers=True, name="mx3.example.org"),
        mx(90, offers=False),
    ]
    assert vanished(tmp_path, *talks) == ["high"]
    assert vanished(tmp_path, mx(0, offers=False), mx(30, offers=True, name=other), mx(60, offers=True)) == ["medium"]
    assert vanished(tmp_path, mx(0, offers=True), mx(60, offers=False, name="ready")) == ["high"]


def test_one_machine_has_nobody_on_the_way(tmp_path: Path) -> None:
    home = {"client": "198.51.100.20", "server": "198.51.100.20"}
    assert vanished(tmp_path, mx(0, offers=True), mx(60, offers=False, **home)) == []
    assert vanished(tmp_path, mx(0, offers=False, **home), mx(60, offers=True)) == []


def test_the_order_of_files_does_not_matter(tmp_path: Path) -> None:
    talks = [
        mx(0, offers=False), mx(60, offers=True), mx(90, offers=False, name="mx2.example.org"), mx(2 * HOUR, offers=False),
        mx(5 * HOUR, offers=True, name="mx2.example.org"), mx(3 * DAY, offers=False), mx(3 * DAY, offers=False, client="192.0.2.9"),
    ]  # fmt: skip
    paths = []
    for number, one in enumerate(talks):
        paths.append(tmp_path / f"{number}.pcap")
        paths[-1].write_bytes(capture(one.frames()))
    told = set()
    for order in (paths, paths[::-1], paths[3:] + paths[:3]):
        found = [one for one in find(run(order).sessions) if one.slug == "starttls-offer-vanished"]
        assert len(found) == 5
        told.add(tuple((one.finding_id(), one.confidence, one.detail()) for one in found))
    assert len(told) == 1


# -- lists of capabilities: whose they are, and when they were told -------------------------------------------------------------


def offering(
    at: float, words: str, *, host: str = "mx1.example.org", rest: str = "", client: str = "192.0.2.10"
) -> Talk:
    listed = "".join(f"S: 250-{word}\n" for word in words.split(", "))
    text = f"S: 220 {host} ESMTP\nC: EHLO pc\nS: 250-{host}\n{listed}S: 250 SIZE 1000\n{rest}C: QUIT\nS: 221 bye"
    return talk(text, 587, at=at, client=client)


SMTP_LOGIN = PROTOCOLS["smtp"][6] + "\n"


def count(folder: Path, rule: str, *talks: Talk) -> int:
    return len([one for one in findings(folder, *talks) if one.slug == rule])


def test_capabilities_of_another_host_behind_the_address_are_no_loss(tmp_path: Path) -> None:
    talks = [offering(at, "DSN, CHUNKING") for at in range(4)]
    assert count(tmp_path, "capability-suppressed", *talks, offering(9, "DSN")) == 1
    assert count(tmp_path, "capability-suppressed", *talks, offering(9, "DSN", host="mx2.example.org")) == 0


def test_a_word_that_several_clients_did_not_get_is_gone(tmp_path: Path) -> None:
    talks = [offering(at, "DSN, CHUNKING") for at in range(4)]
    talks += [offering(9 + at, "DSN", client=f"192.0.2.{20 + at}") for at in range(9)]
    assert count(tmp_path, "capability-suppressed", *talks) == 3
    # One client alone is told of each time, and so is a word that protects.
    alone = [offering(9 + at, "DSN", client="192.0.2.66") for at in range(9)]
    assert count(tmp_path, "capability-suppressed", *talks[:4], *alone) == 9
    text = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS {}AUTH=PLAIN] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK"
    guarded = [talk(text.format("LOGINDISABLED "), 143, at=at) for at in range(4)]
    guarded += [talk(text.format(""), 143, at=9 + at, client=f"192.0.2.{20 + at}") for at in range(9)]
    assert count(tmp_path, "capability-suppressed", *guarded) == 9


def test_what_is_told_behind_a_login_is_no_measure(tmp_path: Path) -> None:
    text = "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\nC: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 {}\nC: a2 LOGOUT\nS: * BYE\nS: a2 OK"
    talks = [talk(text.format("OK [CAPABILITY IMAP4rev1 IDLE MOVE] in"), 143, at=at) for at in range(4)]
    assert count(tmp_path, "capability-suppressed", *talks, talk(text.format("NO no"), 143, at=9)) == 0


def test_a_weaker_host_behind_the_address_is_no_downgrade(tmp_path: Path) -> None:
    strong, weak = "AUTH SCRAM-SHA-256 PLAIN", "AUTH PLAIN"
    for first, second in ((0, 9), (9, 0)):
        one = offering(first, strong)
        assert count(tmp_path, "sasl-downgrade", one, offering(second, weak, rest=SMTP_LOGIN)) == 1
        other = offering(second, weak, rest=SMTP_LOGIN, host="mx2.example.org")
        assert count(tmp_path, "sasl-downgrade", one, other) == 0


def test_taking_all_mechanisms_out_is_a_downgrade_as_well(tmp_path: Path) -> None:
    strong = offering(0, "AUTH SCRAM-SHA-256 PLAIN")
    assert count(tmp_path, "sasl-downgrade", strong, offering(9, "DSN", rest=SMTP_LOGIN)) == 1
    text = "S: * OK [CAPABILITY IMAP4rev1{}] ready\n" + PROTOCOLS["imap"][6]
    first = talk("S: * OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK", 143)
    assert count(tmp_path, "sasl-downgrade", first, talk(text.format(""), 143, at=9)) == 1


IMAP_OFFER = "S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK"


@pytest.mark.parametrize(
    ("text", "vanished", "not_offered"),
    [
        # a list of next to nothing, told before the login
        ("S: * OK [CAPABILITY IMAP4rev1] ready\nC: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in", 1, 1),
        ("S: * OK ready\nC: a0 CAPABILITY\nS: * CAPABILITY IMAP4rev1 IDLE\nS: a0 OK\nC: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in", 1, 1),
        # told with the answer to the login, behind it, or to somebody whom the greeting had let in
        ("S: * OK ready\nC: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK [CAPABILITY IMAP4rev1 IDLE] in", 0, 0),
        ("S: * OK ready\nC: a1 LOGIN kim Zulu7Tango-Mike\nS: a1 OK in\nC: a2 CAPABILITY\nS: * CAPABILITY IMAP4rev1\nS: a2 OK", 0, 0),
        ("S: * PREAUTH [CAPABILITY IMAP4rev1 IDLE] ready\nC: a1 SELECT INBOX\nS: * 0 EXISTS\nS: a1 OK", 0, 0),
    ],
)  # fmt: skip
def test_a_list_of_next_to_nothing_counts_where_it_was_told_before_login(
    text: str, vanished: int, not_offered: int, tmp_path: Path
) -> None:
    later = talk(text + "\nC: a9 LOGOUT\nS: * BYE\nS: a9 OK", 143, at=9, client="192.0.2.66")
    assert count(tmp_path, "starttls-offer-vanished", talk(IMAP_OFFER, 143), later) == vanished
    found = findings(tmp_path, later)
    assert len([one for one in found if one.slug == "starttls-not-offered"]) == not_offered
    assert len([one for one in found if one.slug == "plaintext-auth-offered"]) == not_offered


def test_what_a_server_takes_from_itself_does_not_hide_what_it_takes_from_the_network(tmp_path: Path) -> None:
    text = "S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\nC: a1 LOGOUT\nS: * BYE\nS: a1 OK"
    home = talk(text, 143, client="198.51.100.20")
    found = findings(tmp_path, home, talk(text, 143, at=9), talk(text, 143, client="198.51.100.20", at=12))
    assert [one.severity_word() for one in found if one.slug == "plaintext-auth-offered"] == ["low", "medium"]


def test_text_behind_a_grant_weighs_what_it_carries(tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, _, _ = PROTOCOLS["smtp"]
    begun = f"{greeting.format(offer)}{ask}\n{grant}\n"
    mail = "C: MAIL FROM:<kim@example.org>\nS: 250 ok\nC: RCPT TO:<lee@example.org>\nS: 250 ok\nC: DATA\nS: 354 go\nC: Subject: x\\r\\n\\r\\ntext\\r\\n.\nS: 250 taken"
    for text, severity in (
        (login, "critical"),
        (mail, "high"),
        ("C: QUIT\nS: 221 bye", "medium"),
        ("S: 421 too slow", "medium"),
    ):
        found = findings(tmp_path, talk(begun + text, port))
        assert [one.severity_word() for one in found if one.slug == "starttls-without-tls"] == [severity]


# -- a server, or somebody in its name, that refuses to say what it offers -------------------------------------------------------

#: protocol -> what is said where the question for capabilities is refused and the client goes on
REFUSED = {
    "pop3": "S: +OK ready\nC: CAPA\nS: -ERR what\n",
    "imap": "S: * OK ready\nC: a0 CAPABILITY\nS: a0 BAD what\n",
    "smtp": "S: 220 mx\nC: EHLO pc\nS: 502 what\nC: HELO pc\nS: 250 mx\n",
    "managesieve": 'S: OK "ready"\nC: CAPABILITY\nS: NO "what"\n',
}


@each
def test_an_offer_hidden_by_a_refusal(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, _, login, _, _ = PROTOCOLS[protocol]
    good = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False), pieces()).close()
    for at in (60, -60):
        bad = talk(REFUSED[protocol] + login, port, client="192.0.2.66", at=at)
        found = findings(tmp_path, good, bad)
        assert slugs(found) & ALARMS == {"starttls-offer-vanished"}
        (one,) = [one for one in found if one.slug == "starttls-offer-vanished"]
        assert (one.severity_word(), one.confidence) == ("high", "high" if at > 0 else "medium")
        assert one.session is not None
        assert (one.session.client_ip, one.session.starttls, one.session.capabilities) == (
            "192.0.2.66",
            "not_offered",
            [],
        )


@each
def test_an_offer_that_is_gone_and_refused_when_asked_for(protocol: str, tmp_path: Path) -> None:
    port, greeting, offer, ask, grant, refusal, login, _, _ = PROTOCOLS[protocol]
    good = carry(talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False), pieces()).close()
    for text in (REFUSED[protocol], greeting.format("")):
        bad = talk(f"{text}{ask}\n{refusal}\n{login}", port, client="192.0.2.66", at=60)
        found = slugs(findings(tmp_path, good, bad)) & ALARMS
        assert "starttls-offer-vanished" in found
        # The protocol demands STARTTLS of two of them, so that its absence is remarkable by itself.
        assert found - {"starttls-refused", "starttls-stripped"} == {"starttls-offer-vanished"}
        alone = slugs(findings(tmp_path, bad))
        assert "starttls-offer-vanished" not in alone
        assert "starttls-not-offered" in alone


@each
def test_a_server_that_never_says_what_it_offers_hides_nothing(protocol: str, tmp_path: Path) -> None:
    port, _, _, _, _, _, login, _, _ = PROTOCOLS[protocol]
    found = slugs(findings(tmp_path, *[talk(REFUSED[protocol] + login, port, at=at) for at in range(5)]))
    assert not found & ALARMS
    assert "starttls-not-offered" in found


SMTP_OFFER = "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250-STARTTLS\nS: 250 AUTH PLAIN\n"


@pytest.mark.parametrize(
    ("text", "port"),
    [
        # asked again, and told
        ("S: 220 mx\nC: EHLO p_c\nS: 501 what\n" + SMTP_OFFER.partition("\n")[2] + "C: QUIT\nS: 221 bye", 587),
        # not asked; asked again when all was told; sent away; turned away for now, and gone
        ("S: 220 mx\nC: HELO pc\nS: 250 mx\nC: QUIT\nS: 221 bye", 587),
        (SMTP_OFFER + "C: EHLO pc\nS: 503 twice\nC: HELO pc\nS: 250 mx\nC: QUIT\nS: 221 bye", 587),
        ("S: 220 mx\nC: EHLO pc\nS: 550 not you\nC: QUIT\nS: 221 bye", 587),
        ("S: 220 mx\nC: EHLO pc\nS: 450 later\nC: QUIT\nS: 221 bye", 587),
        # asked behind the login, when servers have less to say
        ("S: +OK ready\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: CAPA\nS: -ERR what\nC: QUIT\nS: +OK", 110),
        ("S: * OK ready\nC: a LOGIN kim Zulu7Tango-Mike\nS: a OK in\nC: b CAPABILITY\nS: b BAD what\nC: c LOGOUT\nS: * BYE\nS: c OK", 143),
        # told already
        ("S: * OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN] ready\nC: b CAPABILITY\nS: b BAD what\nC: c LOGOUT\nS: * BYE\nS: c OK", 143),
    ],
)  # fmt: skip
def test_what_hides_no_offer(text: str, port: int, tmp_path: Path) -> None:
    good = {587: SMTP_OFFER, 110: "S: +OK ready\nC: CAPA\nS: +OK\nS: STLS\nS: USER\nS: .\n", 143: IMAP_OFFER + "\n"}[
        port
    ]
    assert "starttls-offer-vanished" not in slugs(findings(tmp_path, talk(good, port), talk(text, port, at=60)))


def test_a_refusal_to_say_is_no_list_to_compare_with(tmp_path: Path) -> None:
    refused = [talk(REFUSED["pop3"], 110, at=at) for at in range(4)]
    text = "S: +OK ready\nC: CAPA\nS: +OK\nS: USER\nS: UIDL\nS: .\nC: QUIT\nS: +OK"
    assert count(tmp_path, "capability-suppressed", *refused, talk(text, 110, at=9)) == 0
    # Nor does it hide what is missing later: all of it, behind lists that had it.
    lists = [talk(text, 110, at=at) for at in range(9, 12)]
    assert count(tmp_path, "capability-suppressed", *refused, *lists, talk(REFUSED["pop3"], 110, at=20)) == 1


@pytest.mark.parametrize(("protocol", "body"), [("smtp", b"BDAT 4\r\nabcd"), ("imap", b"a9 APPEND x {4+}\r\nabcd")])
@pytest.mark.parametrize("together", [True, False])
def test_a_hello_behind_text_without_a_line_end_is_read(
    protocol: str, body: bytes, together: bool, tmp_path: Path
) -> None:
    port, greeting, offer, ask, grant, _, _, _, _ = PROTOCOLS[protocol]
    begun = talk(f"{greeting.format(offer)}{ask}\n{grant}", port, closed=False)
    parts = [one for one in pieces() if isinstance(one[1], bytes)]
    hello = parts[0][1]
    assert isinstance(hello, bytes)
    for octets in (body + hello,) if together else (body, hello):
        begun.client(octets)
    (session,) = read(tmp_path, [carry(begun, parts[1:]).close()]).sessions
    assert session.tls is not None
    assert session.tls.in_short()[2] is not None
    assert not {one.kind for one in session.anomalies or []} & {"malformed_command"}


def test_a_server_that_refuses_capa_takes_passwords_all_the_same(tmp_path: Path) -> None:
    text = (
        "S: +OK ready\nC: CAPA\nS: -ERR what\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango-Mike\nS: +OK in\nC: QUIT\nS: +OK"
    )
    (server,) = postures(read(tmp_path, [talk(text, 110)]).sessions, trust(tmp_path))
    assert server.plaintext_auth is None
    assert not any("takes no passwords" in reason for reason in server.grade()[1])
