"""JSON written straight from the records is what the rows say, octet by octet."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
from support.jobs import hostile_result

from analyzer.findings.catalogue import RULES
from analyzer.model import CLIENT, Secret
from analyzer.pipeline import Result, run
from analyzer.report.columns import TABLES
from analyzer.report.formats.json import RowWriter, write_json, write_jsonl
from analyzer.report.rows import RowList, RowMaker, push_rows
from analyzer.sessions.records import AnomalySeen

SAMPLES = Path(__file__).parents[3] / "captures"
KEY = b"key of the tests"


def same_as_rows(result: Result, secrets: bool) -> dict[str, list[dict[str, object]]]:
    """The tables of a result written as JSON, which are those of its rows."""
    whole = io.StringIO()
    write_json(result, RowMaker(secrets, secrets, KEY), whole, "1")
    lines = io.StringIO()
    write_jsonl(result, RowMaker(secrets, secrets, KEY), lines)
    maker = RowMaker(secrets, secrets, KEY)
    expected = '{"schema_version":1,"mailtap":"1"'
    expected_lines = ""
    for table in TABLES:
        sink = RowList()
        push_rows(table, result.sessions, result.captures, maker, sink)
        writer, named = RowWriter(table), RowWriter(table, f'{{"table":"{table}",')
        expected += f',\n"{table}":[' + ",\n".join([writer.write(row) for row in sink.rows]) + "]"
        expected_lines += "".join([named.write(row) + "\n" for row in sink.rows])
    assert whole.getvalue() == expected + "}\n"
    assert lines.getvalue() == expected_lines
    tables: dict[str, list[dict[str, object]]] = json.loads(whole.getvalue())
    return tables


@pytest.mark.parametrize("secrets", [False, True])
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.pcap*")))
def test_what_is_written_is_what_the_rows_say(name: str, secrets: bool) -> None:
    same_as_rows(run([SAMPLES / name], headers=secrets), secrets)


@pytest.mark.parametrize("secrets", [False, True])
def test_so_it_is_where_the_traffic_means_harm(secrets: bool) -> None:
    same_as_rows(hostile_result(), secrets)


@pytest.mark.parametrize("word", ['"', "\\", "\x00", "\x7f", "\u00e9", "\udcff", "x" * 600 + '"'])
def test_details_that_rules_make_hold_no_words_of_the_traffic_but_the_user_name(word: str) -> None:
    """They are written as they are where the name needs no escape: whatever else a rule quoted would break the file."""
    result = run([SAMPLES / "office.pcapng", SAMPLES / "pop3-auth.pcap"])
    told = set()
    for hostile_name in (False, True):
        for session in result.sessions:
            session.server_banner = session.client_name = word
            session.capabilities = [*(session.capabilities or []), word] if session.capabilities is not None else None
            for credential in session.credentials or []:
                credential.reply = credential.authzid = word
                credential.username = word if hostile_name else "kim"
        told |= {finding["rule"] for finding in same_as_rows(result, False)["findings"]}
    assert {rule.slug for rule in RULES if rule.describe is not None} <= told, "nothing was tried of some rule"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("capture", ["b.pcap"]), ("sensor", ["tap"]), ("protocol", ["imap"]), ("port_service", [None, "imaps"]),
        ("transport", ["starttls"]), ("starttls", ["offered"]), ("exposure", ["none"]), ("gap_bytes", [7, 8]),
        ("conflict_bytes", [7, 8]), ("completeness", ["truncated"]), ("server_banner", ["hi", "hello"]), ("client_name", ["pc", "tv"]),
        ("capabilities", [["UIDL"], ["TOP", "UIDL"]]), ("compressed", [True]), ("not_mail", ["http"]), ("spans_files", [True]),
        ("anomalies", [[AnomalySeen("reset", "", CLIENT, 3, 0, 0)]]),
    ],
)  # fmt: skip
def test_neighbours_differ_in_one_column(name: str, others: list[object]) -> None:
    """What rows have in common is kept from row to row: of neither neighbour in the other's place."""
    result = run([SAMPLES / "pop3-login.pcap"])
    for session in result.sessions:
        for column in ("server_banner", "client_name", "capabilities", "anomalies"):
            setattr(session, column, None)
    values = [getattr(result.sessions[0], name), *others]
    assert len(result.sessions) > len(values) == len({str(row) for row in values})
    for index, session in enumerate(result.sessions):
        setattr(session, name, values[index % len(values)])
    same_as_rows(result, False)


@pytest.mark.parametrize("secrets", [False, True])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("mechanism", ["PLAIN", "LOGIN"]), ("username", ["kim", None]), ("authzid", ["ann", "eva"]), ("secret", [Secret("Zulu7Tango"), None]),
        ("secret_kind", ["bearer_token"]), ("challenge", ["<1@mx>", "<2@mx>"]), ("response", [Secret("c9"), Secret("d8")]),
        ("outcome", ["rejected"]), ("exposed", [False]),
    ],
)  # fmt: skip
def test_so_do_logins(name: str, others: list[object], secrets: bool) -> None:
    result = run([SAMPLES / "pop3-login.pcap"])
    logins = [one for session in result.sessions for one in session.credentials or []]
    values = [getattr(logins[0], name), *others]
    assert len(logins) > len(values)
    for index, one in enumerate(logins):
        setattr(one, name, values[index % len(values)])
    same_as_rows(result, secrets)


@pytest.mark.parametrize("word", ['"', "\\", '","detail":"', "\x00"])
def test_the_name_in_a_detail_is_that_of_its_finding(word: str) -> None:
    """Though by frame and offset another login is its evidence, too."""
    result = run([SAMPLES / "pop3-auth.pcap"])
    for session in result.sessions:
        if session.credentials:
            other = copy.copy(session.credentials[0])
            other.username = word
            session.credentials.insert(0, other)
    told = [row for row in same_as_rows(result, False)["findings"] if str(row["detail"]).startswith("login of ")]
    assert {word, "boris"} < {row["username"] for row in told}
    assert all(str(row["detail"]).startswith(f"login of {row['username']} to ") for row in told)


@pytest.mark.parametrize("start_ns", [0, -500_000_000, -1_500_000_000, 1_700_000_000_000_000_000])
def test_a_finding_without_a_time_has_none(start_ns: int) -> None:
    result = run([SAMPLES / "office.pcapng"])
    for index, session in enumerate(result.sessions):
        for credential in session.credentials or []:
            credential.timestamp_ns = start_ns if index % 2 else 0
    times = [finding["time"] for finding in same_as_rows(result, False)["findings"]]
    assert None in times
    assert any(times)
