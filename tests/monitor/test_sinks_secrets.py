"""What alerts of real and of malicious traffic look like in every sink: no secret, and nothing that a terminal or log would obey."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support.alerts import state
from support.jobs import SAMPLES, UNSAFE_CHARACTERS, hostile_result, result_of
from support.waiting import PATIENCE, until

from analyzer.findings.catalogue import RULES
from analyzer.findings.engine import find
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.base import Alert, alert_of
from analyzer.monitor.sinks import SinkOptions, make_sink
from analyzer.monitor.sinks._object import alert_json
from analyzer.monitor.sinks._spooled import SpooledSink
from analyzer.monitor.sinks.syslog import MAX_MESSAGE, message
from analyzer.pipeline import Result


def alerts_of(result: Result) -> list[Alert]:
    return [alert_of(finding, "mirror-1") for finding in find(result.sessions, result.captures)]


def told(alerts: list[Alert], folder: Path) -> bytes:
    """Everything that the sinks write, to their receivers and to disk, and what they say of themselves."""
    words = [f"jsonl:{folder}/alerts.jsonl", "syslog+tcp://127.0.0.1:1", "unix:/none/log", "https://127.0.0.1:1/hook"]
    sinks = [make_sink(word, SinkOptions(spool=str(folder / "spool"))) for word in words]
    dispatcher = AlertDispatcher(sinks, state(), min_severity="info", rate=0)
    dispatcher.start()
    for one in alerts:
        dispatcher.raise_alert(one)
    assert dispatcher.close(PATIENCE)
    spooled = [sink for sink in sinks if isinstance(sink, SpooledSink)]
    until(lambda: all(sink.waiting for sink in spooled) or not alerts)
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    said = [f"{sink.name} {sink.trouble}".encode() for sink in sinks]
    return b"\n".join(files + said)


def secrets_of(result: Result) -> Iterator[str]:
    """Passwords, tokens and responses, but for those that are a name in the traffic or a word of the rules."""
    harmless = {f"{rule.title} {rule.remediation}" for rule in RULES} | {"secret"}
    found: set[str] = set()
    for session in result.sessions:
        for one in session.credentials or ():
            harmless |= {one.username or "", one.authzid or ""}
            found |= {hidden.reveal() or "" for hidden in (one.secret, one.response) if hidden is not None}
    for word in found:
        if len(word) >= 6 and not any(word in name or (len(name) > 3 and name in word) for name in harmless):
            yield word


def forms_of(secret: str) -> Iterable[bytes]:
    """A secret as it stands, and within the base64 of something longer, whatever comes before it."""
    raw = secret.encode("utf-8", "surrogateescape")
    yield raw
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")[shift + 1 : -1]
        if len(coded) >= 6:
            yield coded


def test_no_secret_reaches_any_sink(tmp_path: Path):
    looked_for = alerts = 0
    written = b""
    for number, sample in enumerate(SAMPLES):
        result = result_of(sample)
        folder = tmp_path / str(number)
        folder.mkdir()
        found = alerts_of(result)
        alerts += len(found)
        # One dispatcher for all would hold back what repeats; what the texts are does not depend on it.
        written = "\n".join([alert_json(one) for one in found]).encode()
        written += b"\n".join([message(one, 10, MAX_MESSAGE) for one in found])
        if sample == "office.pcapng":
            written += told(found, folder)
        for secret in secrets_of(result):
            looked_for += 1
            for form in forms_of(secret):
                assert form not in written, (sample, len(secret))
    assert looked_for > 60
    assert alerts > 200


@pytest.fixture
def hostile(tmp_path: Path) -> bytes:
    return told(alerts_of(hostile_result()), tmp_path)


def test_malicious_traffic_leaves_nothing_that_is_obeyed(hostile: bytes, tmp_path: Path):
    lines = (tmp_path / "alerts.jsonl").read_bytes().split(b"\n")
    assert len(lines) > 5
    assert all(json.loads(line)["rule"] for line in lines[:-1])
    for one in alerts_of(hostile_result()):
        for text in (alert_json(one), message(one, 10, MAX_MESSAGE).decode()):
            assert not set(text) & set(UNSAFE_CHARACTERS)
            assert "\n" not in text
    assert b"Zulu7Tango" not in hostile
