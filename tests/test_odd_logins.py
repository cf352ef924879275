"""Logins that do not keep to the form of their mechanism, as packets through the whole pipeline."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.traffic import Talk, logins, run_frames
from support.verdicts import findings, slugs

from analyzer.pipeline import Result


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


GREETING = {
    25: "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH LOGIN PLAIN",
    110: "S: +OK mx",
    143: "S: * OK [CAPABILITY IMAP4rev1 AUTH=LOGIN AUTH=PLAIN] mx",
    4190: 'S: "IMPLEMENTATION" "x"\nS: "SASL" "LOGIN PLAIN"\nS: OK',
}
ASK = {25: "AUTH {}", 110: "AUTH {}", 143: "a AUTHENTICATE {}", 4190: 'AUTHENTICATE "{}"'}
PROMPT = {25: "334 {}", 110: "+ {}", 143: "+ {}", 4190: '"{}"'}
SAY = {25: "{}", 110: "{}", 143: "{}", 4190: '"{}"'}
ANSWER = {
    "accepted": {25: "235 in", 110: "+OK in", 143: "a OK in", 4190: 'OK "in"'},
    "rejected": {25: "535 no", 110: "-ERR no", 143: "a NO no", 4190: 'NO "no"'},
}
LAST = {25: "C: QUIT\nS: 221 bye", 110: "C: QUIT\nS: +OK bye", 143: "C: b LOGOUT\nS: * BYE\nS: b OK", 4190: "C: LOGOUT\nS: OK"}  # fmt: skip
PORTS = sorted(GREETING)


def dialogue(port: int, mechanism: str, *said: str, outcome: str = "accepted", step: int = 0) -> Talk:
    """A login, in segments of ``step`` octets (0: whole); what is said by the server and by the client takes turns."""
    talk = Talk(server_port=port).play(GREETING[port])
    rows = [(0, ASK[port].format(mechanism))]
    rows += [((at + 1) % 2, (SAY if at % 2 else PROMPT)[port].format(word)) for at, word in enumerate(said)]
    rows.append((1, ANSWER[outcome][port]))
    for sender, row in rows:
        octets = row.encode() + b"\r\n"
        for start in range(0, len(octets), step or len(octets)):
            talk._segment(sender, 24, octets[start : start + (step or len(octets))])
    return talk.play(LAST[port]).close()


def heard(folder: Path, port: int, mechanism: str, *said: str, outcome: str = "accepted", lost: str = "") -> Result:
    """The records of a login, which are the same however it is cut."""
    if lost:
        whole = dialogue(port, mechanism, *said, outcome=outcome).frames()
        return run_frames(folder, [frame for frame in whole if lost.encode() not in frame[1]])
    results = [run_frames(folder, dialogue(port, mechanism, *said, outcome=outcome, step=step).frames()) for step in (0, 1, 5)]  # fmt: skip
    seen = [(logins(one), [(odd.kind, odd.offset) for odd in one.sessions[0].anomalies or []]) for one in results]
    assert seen[0] == seen[1] == seen[2]
    return results[0]


# -- PLAIN without its first NUL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ANSWER)
@pytest.mark.parametrize("port", PORTS)
def test_plain_of_two_fields(port: int, outcome: str, tmp_path: Path) -> None:
    for message in (b64(b"kim\0Zulu7Tango"), b64(b"kim\0Zulu7Tango\0")):
        result = heard(tmp_path, port, "PLAIN", "", message, outcome=outcome)
        assert logins(result) == [("PLAIN", "kim", "Zulu7Tango", outcome)]
        assert "malformed_sasl" in [one.kind for one in result.sessions[0].anomalies or []]
        talk = dialogue(port, "PLAIN", "", message, outcome=outcome)
        assert "plaintext-password" in slugs(findings(tmp_path, talk))


@pytest.mark.parametrize(
    "message", [b"\0Zulu7Tango", b"kim\0", b"kim\0kim", b"kim\0Zulu\x037", b"\xff\xfe\0Zulu\x80", b"kim Zulu7Tango"]
)
@pytest.mark.parametrize("port", PORTS)
def test_plain_that_holds_no_password_for_certain(port: int, message: bytes, tmp_path: Path) -> None:
    result = heard(tmp_path, port, "PLAIN", "", b64(message), outcome="rejected")
    assert logins(result) == []
    assert "malformed_sasl" in [one.kind for one in result.sessions[0].anomalies or []]


# -- LOGIN that asks in other words --------------------------------------------------------------------------------------------------

PROMPTS = [
    ("Username:", "Password:"), ("Your name, please", "Your secret, please"), ("Name", "Pass"), ("", ""), ("pass", "word"),
    (b64(b"Benutzername:"), b64(b"Kennwort:")), (b64(b"Passport"), b64(b"Code")), (b64(b"login"), b64(b"user secret")),
]  # fmt: skip


@pytest.mark.parametrize("outcome", ANSWER)
@pytest.mark.parametrize("prompts", PROMPTS)
@pytest.mark.parametrize("port", PORTS)
def test_a_name_and_a_password_are_told_by_their_place(
    port: int, prompts: tuple[str, str], outcome: str, tmp_path: Path
) -> None:
    kim, secret = b64(b"kim"), b64(b"Zulu7Tango")
    said = (prompts[0], kim, prompts[1], secret)
    whole = [("LOGIN", "kim", "Zulu7Tango", outcome)]
    assert logins(heard(tmp_path, port, "LOGIN", *said, outcome=outcome)) == whole
    for prompt in set(prompts) - {"", "pass", "word"}:
        lost = PROMPT[port].format(prompt)
        assert logins(heard(tmp_path, port, "LOGIN", *said, outcome=outcome, lost=lost)) == whole


@pytest.mark.parametrize("outcome", ANSWER)
@pytest.mark.parametrize("port", PORTS)
def test_two_words_are_a_name_and_a_password_though_nobody_heard_of_login(
    port: int, outcome: str, tmp_path: Path
) -> None:
    kim, secret = b64(b"kim"), b64(b"Zulu7Tango")
    for prompts in [("", ""), (b64(b"Benutzername:"), b64(b"Kennwort:"))]:
        said = (prompts[0], kim, prompts[1], secret)
        found = logins(heard(tmp_path, port, "LOGIN", *said, outcome=outcome, lost=ASK[port].format("LOGIN")))
        assert found == [("LOGIN", "kim", "Zulu7Tango", outcome)]
    # One word, three words, octets that are no words, and what has been asked for is a one-time password.
    for said in (
        ("", kim), ("", kim, "", secret, "", secret), ("", kim, "", b64(b"\1\2\3\4")), ("", b64(b"\0\1x"), "", secret),
        ("", kim, b64(b"otp-md5 499 ke1234"), b64(b"word:a b c d e f")),
        ("", kim, b64(b"s/key 99 ke1234"), b64(b"a b c d e f")),
    ):  # fmt: skip
        found = logins(heard(tmp_path, port, "LOGIN", *said, outcome=outcome, lost=ASK[port].format("LOGIN")))
        assert [one for one in found if one[0] == "LOGIN"] == []
