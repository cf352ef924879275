"""An office of real clients at a real server: the settings that mailtap recommends work, and once entered the trouble is gone.

It needs root, and ``dovecot``, ``curl``, ``fetchmail``, ``tcpdump``, ``openssl`` and ``ip``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from support.office import CLIENTS, IN_CLEAR, Office, user

import analyzer

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def setting(text: str) -> tuple[str, int, str]:
    """A setting of the migration table as a user reads it: ``POP3 port 995, SSL/TLS``."""
    found = re.fullmatch(r"(POP3|IMAP) port (\d+), (SSL/TLS|STARTTLS|no encryption)", text)
    assert found is not None, text
    return found[1], int(found[2]), found[3]


def test_recommended_settings_work_and_the_trouble_is_gone(office: Office) -> None:
    settings: dict[str, tuple[str, int, str]] = {}
    for number, client in enumerate(CLIENTS):
        protocol, clear, sealed = ("POP3", 110, 995) if number % 2 else ("IMAP", 143, 993)
        if client in IN_CLEAR:
            settings[client] = (protocol, clear, "no encryption")
        elif number % 4 < 2:
            settings[client] = (protocol, clear, "STARTTLS")
        else:
            settings[client] = (protocol, sealed, "SSL/TLS")
    monday = office.day("monday", settings)
    report = analyzer.analyze(monday)
    rows = report.migration.to_dict("records")
    assert {row["client_ip"] for row in rows} == set(IN_CLEAR)
    assert {row["username"] for row in rows} == {user(client) for client in IN_CLEAR}
    assert len(rows) == len(IN_CLEAR)
    assert all(row["seen_working"] for row in rows)
    assert all("today would cut off" in row["closing"] for row in rows)
    for row in rows:
        assert setting(row["current"]) == settings[row["client_ip"]]
        settings[row["client_ip"]] = setting(row["recommended"])
    tuesday = office.day("tuesday", settings)
    again = analyzer.analyze(tuesday)
    assert len(again.migration) == 0
    assert "plaintext-password" not in set(again.findings["rule"])
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "diff", str(monday), str(tuesday), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    changes = json.loads(done.stdout)
    fixed = {(one["client_ip"], one["username"]) for one in changes["fixed"] if one["rule"] == "plaintext-password"}
    assert fixed == {(client, user(client)) for client in IN_CLEAR}
    assert not [one for one in changes["new"] + changes["still_there"] if one["rule"].startswith("plaintext-p")]
