"""The sample captures, their table in README.md and expected.jsonl agree with each other."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

_CAPTURES: Final = Path(__file__).resolve().parent.parent / "captures"
_SUFFIXES: Final = (".pcap", ".pcapng", ".gz", ".zst")
_ROW: Final = re.compile(r"^\| `([^`]+)` \| (\d+) \| [^|]+ \| [^|]+ \| (\d+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)
_MOST: Final = 3_000_000
_MOST_OFFICE: Final = 1_600_000
_ADDRESS: Final = re.compile(r"(192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|10\.20\.0\.|\[2001:db8:)")
_WORDS: Final = {
    "protocol": {"pop3", "imap", "smtp", "lmtp", "managesieve", "unknown"},
    "transport": {"plaintext", "starttls", "implicit_tls", "unknown"},
    "starttls": {"not_applicable", "not_offered", "offered", "requested", "refused", "accepted", "completed", "unseen"},
    "completeness": {"complete", "midstream", "truncated", "one_sided"},
}
_OUTCOMES: Final = {"accepted", "rejected", "cancelled", "unknown"}
_FILES: Final = sorted(path.name for path in _CAPTURES.iterdir() if path.suffix in _SUFFIXES)


def _table() -> dict[str, tuple[int, int, str]]:
    text = (_CAPTURES / "README.md").read_text(encoding="utf-8")
    return {name: (int(count), int(size), digest) for name, count, size, digest in _ROW.findall(text)}


def _expected() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_CAPTURES / "expected.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_sample_is_in_the_table_and_expected() -> None:
    assert sorted(_table()) == _FILES
    assert sorted({record["sample"] for record in _expected()}) == _FILES


@pytest.mark.parametrize("name", _FILES)
def test_table_tells_size_digest_and_connections(name: str) -> None:
    data = (_CAPTURES / name).read_bytes()
    streams = [record["stream"] for record in _expected() if record["sample"] == name]
    assert _table()[name] == (len(streams), len(data), hashlib.sha256(data).hexdigest())
    assert streams == list(range(len(streams)))


def test_samples_stay_small() -> None:
    sizes = {name: (_CAPTURES / name).stat().st_size for name in _FILES}
    assert sum(sizes.values()) <= _MOST
    assert sizes["office.pcapng"] <= _MOST_OFFICE


def test_expected_speaks_the_tables_language() -> None:
    for record in _expected():
        for field, words in _WORDS.items():
            assert record[field] in words, record
        for credential in (*record["credentials"], *record["tls_credentials"]):
            assert credential["outcome"] in _OUTCOMES, record
            assert not (credential["username"] or "").startswith("decoy"), record


def test_addresses_are_those_kept_for_documentation() -> None:
    for record in _expected():
        assert _ADDRESS.match(record["client"]), record["client"]
        assert _ADDRESS.match(record["server"]), record["server"]
