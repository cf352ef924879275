"""What the README says of monitoring is run, as it stands there, as far as it needs no rights."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.alerts import alert
from support.waiting import until

from analyzer.findings.catalogue import BY_SLUG
from analyzer.monitor.base import FINDING, SUMMARY
from analyzer.monitor.config import MonitorSettings
from analyzer.monitor.gate import HELD_RULE
from analyzer.monitor.sinks import SinkOptions, make_sink
from analyzer.monitor.sinks._object import alert_json
from analyzer.monitor.sinks.webhook import Webhook, signature
from analyzer.monitor.store_names import DEFAULT_STORE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("### Monitoring a segment\n")[2].partition("\n### ")[0]
SAMPLE = ROOT / "captures" / "pop3-login.pcap"
#: Root would become somebody who may not write into the folder of a test.
USER = ["--user", "root"] if os.geteuid() == 0 else []


def commands(begin: str) -> list[list[str]]:
    """The commands of the section that begin so: in its blocks without their comments, and within its lines."""
    blocks = [line.partition("  #")[0] for line in SECTION.splitlines() if line.startswith("    ")]
    spans = [part for span in re.findall(r"`([^`]+)`", SECTION) for part in span.split("\\|")]
    return [shlex.split(text) for text in [*blocks, *spans] if text.strip().startswith(begin)]


def run(words: list[str], folder: Path, capture: Path | None = None) -> str:
    assert words[0] == "mailtap"
    with (capture or Path(os.devnull)).open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "analyzer", *words[1:]], stdin=file, capture_output=True, text=True, check=False, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_monitoring_do_what_the_readme_says(tmp_path: Path) -> None:
    (interfaces,) = commands("mailtap interfaces")
    assert "lo" in run(interfaces, tmp_path)
    (pipe,) = [words for words in commands("mailtap monitor") if words[2:] == ["-"]]
    alerts = [json.loads(line) for line in run([*pipe, *USER], tmp_path, SAMPLE).splitlines()]
    assert "plaintext-password" in {one["rule"] for one in alerts}
    (report,) = commands("mailtap report")
    assert alerts[0]["username"] in run(report, tmp_path)
    assert (tmp_path / report[2]).is_file()
    (query,) = re.findall(r"`(SELECT [^`]+)`", SECTION)
    with closing(sqlite3.connect(tmp_path / report[2])) as store:
        assert alerts[0]["client_ip"] in {address for _, address in store.execute(query)}
    (key,) = re.findall(r"`([^` ]+\.key)`", SECTION)
    assert (tmp_path / key).is_file()
    (load,) = re.findall(r"`(analyzer\.load\([^`]+\))`", SECTION)
    done = subprocess.run(
        [sys.executable, "-c", f"import analyzer; print(len({load}.credentials))"], capture_output=True, text=True, check=True,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert int(done.stdout) > 0


def test_everything_that_the_readme_has_printed_is_printed(tmp_path: Path) -> None:
    printed = commands("mailtap monitor --")
    words = {word for words in printed for word in words[2:]} | set(re.findall(r"`(--print-[a-z]+)`", SECTION))
    assert words == {"--example-config", "--print-unit", "--print-containerfile"}
    for word in sorted(words):
        assert run(["mailtap", "monitor", word], tmp_path)


def test_the_store_has_one_name_everywhere() -> None:
    assert MonitorSettings().store == DEFAULT_STORE
    texts = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "analyzer").rglob("*") if path.suffix in {".toml", ".service", ""} and path.is_file())]  # fmt: skip
    for text in texts:
        assert set(re.findall(r"\bmailtap\.(?:db|sqlite3?)\b", text)) <= {DEFAULT_STORE}
    assert any(DEFAULT_STORE in text for text in texts[1:])


# -- of the monitor's own README ----------------------------------------------------------------------------------------------------

DETAILS = (ROOT / "analyzer" / "monitor" / "README.md").read_text(encoding="utf-8")
ALERTS = DETAILS.partition("\n## Alerts\n")[2].partition("\n## ")[0]


def block(begin: str) -> str:
    """The indented block of the section on alerts that begins so."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", ALERTS, re.MULTILINE)
    (found,) = [text for text in map(textwrap.dedent, blocks) if text.strip().startswith(begin)]
    return found


def test_the_example_of_an_alert_is_one() -> None:
    told, made = json.loads(block("{")), json.loads(alert_json(alert()))
    assert list(told) == list(made)
    assert [type(value) for value in told.values()] == [type(value) for value in made.values()]
    rule = BY_SLUG[told["rule"]]
    assert (told["title"], told["references"]) == (rule.title, list(rule.references))
    kinds = set(re.findall(r"^\| `(\w+)` \|", ALERTS, re.MULTILINE)) - {"alert"}
    assert kinds == {FINDING, SUMMARY}
    assert f"| `{HELD_RULE}` |" in ALERTS


class Receiver:
    """A connection to a web server that takes what it is posted."""

    sock = None
    status = 204
    will_close = False

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""

    def request(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> None:
        self.headers, self.body = headers, body

    @contextmanager
    def getresponse(self) -> Iterator[Receiver]:
        yield self

    def getheader(self, _: str) -> None:
        return None

    def read(self, _: int) -> bytes:
        return b""

    def close(self) -> None:
        return


def test_the_signature_of_a_webhook_is_checked_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces: dict[str, Any] = {}
    exec(block("import hashlib"), spaces)
    is_genuine = spaces["is_genuine"]
    file = tmp_path / "secret"
    file.write_bytes(b"a secret of tests\n")
    request = Receiver()
    monkeypatch.setattr(Webhook, "_connected", lambda _: request)
    sink = make_sink("https://hooks.example.test/", SinkOptions(spool=str(tmp_path / "spool"), secret_file=str(file)))
    sink.open()
    try:
        sink.deliver([alert(1)])
        until(lambda: sink.delivered == 1)
    finally:
        sink.close()
    header = request.headers["Mailtap-Signature"]
    assert is_genuine(b"a secret of tests", header, request.body)
    assert not is_genuine(b"another secret", header, request.body)
    assert not is_genuine(b"a secret of tests", header, request.body.replace(b"critical", b"harmless"))
    moment = int(header.partition("=")[2].partition(",")[0])
    later = header.replace(str(moment), str(moment + 1))
    assert not is_genuine(b"a secret of tests", later, request.body)
    old = moment - 3600
    stale = f"t={old},v1={signature(b'a secret of tests', old, request.body)}"
    assert not is_genuine(b"a secret of tests", stale, request.body)
    assert request.headers["Idempotency-Key"] == json.loads(request.body)["finding_id"]
