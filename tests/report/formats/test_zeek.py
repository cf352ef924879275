"""Zeek logs: headers as Zeek writes them, fields of Zeek's own logs with Zeek's types, and lines that split as they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.jobs import SAMPLES, hostile_result, job_of, result_of

from analyzer.pipeline import Result
from analyzer.report.columns import TABLES
from analyzer.report.formats import load
from analyzer.report.formats.zeek import LOGS, OWN, uid_of, zeek_text

#: Fields and types of Zeek 6's logs as published (its log headers; ssl with the ja3 package), in Zeek's order.
ID = "uid string id.orig_h addr id.orig_p port id.resp_h addr id.resp_p port"
PUBLISHED = {
    "conn": f"ts time {ID} proto enum service string duration interval orig_bytes count resp_bytes count conn_state string local_orig bool "
    "local_resp bool missed_bytes count history string orig_pkts count orig_ip_bytes count resp_pkts count resp_ip_bytes count "
    "tunnel_parents set[string]",
    "ssl": f"ts time {ID} version string cipher string curve string server_name string resumed bool last_alert string next_protocol string "
    "established bool ssl_history string cert_chain_fps vector[string] client_cert_chain_fps vector[string] sni_matches_cert bool "
    "validation_status string ja3 string ja3s string",
    "x509": "ts time fingerprint string certificate.version count certificate.serial string certificate.subject string "
    "certificate.issuer string certificate.not_valid_before time certificate.not_valid_after time certificate.key_alg string "
    "certificate.sig_alg string certificate.key_type string certificate.key_length count certificate.exponent string "
    "certificate.curve string san.dns vector[string] san.uri vector[string] san.email vector[string] san.ip vector[addr] "
    "basic_constraints.ca bool basic_constraints.path_len count host_cert bool client_cert bool",
    "smtp": f"ts time {ID} trans_depth count helo string mailfrom string rcptto set[string] date string from string to set[string] "
    "cc set[string] reply_to string msg_id string in_reply_to string subject string x_originating_ip addr first_received string "
    "second_received string last_reply string path vector[addr] user_agent string tls bool fuids vector[string]",
    "notice": f"ts time {ID} fuid string file_mime_type string file_desc string proto enum note enum msg string sub string src addr "
    "dst addr p port n count peer_descr string actions set[enum] email_dest set[string] suppress_for interval "
    "remote_location.country_code string remote_location.region string remote_location.city string remote_location.latitude double "
    "remote_location.longitude double",
    "weird": f"ts time {ID} name string addl string notice bool peer string source string",
}


def pairs(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(zip(words[::2], words[1::2], strict=True))


def read_log(path: Path) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """A log as Zeek's readers take it: the header's lines by their word, and the lines by their fields."""
    head: dict[str, list[str]] = {}
    lines: list[dict[str, str]] = []
    for line in path.read_text("utf-8").split("\n")[:-1]:
        if line.startswith("#separator "):
            head["separator"] = [line.split(" ")[1]]
        elif line.startswith("#"):
            word, *values = line[1:].split("\t")
            head[word] = values
        else:
            lines.append(dict(zip(head["fields"], line.split("\t"), strict=True)))
    return head, lines


def logs_of(job: Any, folder: Path) -> dict[str, list[dict[str, str]]]:
    load("zeek").write_folder(job, folder)
    return {path.stem: read_log(path)[1] for path in folder.iterdir()}


@pytest.mark.parametrize("log", sorted(PUBLISHED))
def test_fields_are_zeeks_in_zeeks_order_with_zeeks_types(log: str) -> None:
    published = pairs(PUBLISHED[log])
    ours = [(name, kind) for name, _, kind in (field.partition(":") for field in LOGS[log].split())]
    places = [published.index(field) for field in ours]
    assert places == sorted(places)
    assert set(LOGS) == set(PUBLISHED)


def test_headers_are_as_zeek_writes_them(tmp_path: Path) -> None:
    load("zeek").write_folder(job_of(result_of("office.pcapng")), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.log" for name in (*LOGS, *OWN)}
    for path in tmp_path.iterdir():
        text = path.read_text("utf-8").split("\n")
        assert text[:5] == [
            "#separator \\x09",
            "#set_separator\t,",
            "#empty_field\t(empty)",
            "#unset_field\t-",
            f"#path\t{path.stem}",
        ]
        assert text[5].startswith("#open\t2026-")
        assert text[6].startswith("#fields\t")
        assert text[7].startswith("#types\t")
        assert text[-2].startswith("#close\t2026-")
        head, _ = read_log(path)
        assert len(head["fields"]) == len(head["types"]) == len(set(head["fields"]))


@pytest.mark.parametrize(
    "sample", ["", *[name for name in SAMPLES if name.startswith(("office", "imap", "smtp", "tls-"))]]
)
def test_lines_belong_together(sample: str, tmp_path: Path) -> None:
    result = result_of(sample) if sample else hostile_result()
    logs = logs_of(job_of(result, headers=True), tmp_path)
    uids = [line["uid"] for line in logs["conn"]]
    assert len(set(uids)) == len(uids) == len(result.sessions)
    for name in ("ssl", "smtp", "weird", "mail_auth", "mail_message"):
        assert {line["uid"] for line in logs[name]} <= set(uids)
    assert {line["uid"] for line in logs["notice"]} <= {*uids, "-"}
    prints = {line["fingerprint"] for line in logs["x509"]}
    assert {line["cert_chain_fps"] for line in logs["ssl"]} <= {*prints, "-"}
    assert len(prints) == len(logs["x509"])


def test_hostile_values_stay_in_their_field(tmp_path: Path) -> None:
    logs = logs_of(job_of(hostile_result(), headers=True), tmp_path)
    names = [line["username"] for line in logs["mail_auth"]]
    assert {"\\x2d", "\\x28empty)", "a\\x09b,c", "caf\\xe9", "日本語", "\\u200bzero"} <= set(names)
    assert any(name.startswith("<script>") and "\\u202eevil" in name for name in names)


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "string", "-"),
        ("", "string", "(empty)"),
        ("-", "string", "\\x2d"),
        ("(empty)", "string", "\\x28empty)"),
        ("a\tb\\x", "string", "a\\x09b\\\\x"),
        ([], "vector[string]", "(empty)"),
        (["a,b", "-"], "set[string]", "a\\x2cb,\\x2d"),
        (True, "bool", "T"),
        (False, "bool", "F"),
        (1_772_442_000_123_456_789, "time", "1772442000.123456"),
        (1_500_000_000, "interval", "1.500000"),
        (-1_500_000_000, "time", "-1.500000"),
        (110, "port", "110"),
    ],
)
def test_values_are_written_as_zeek_writes_them(value: object, kind: str, text: str) -> None:
    assert zeek_text(value, kind) == text


def test_uids_are_stable_and_distinct() -> None:
    assert uid_of("0000000000000000") == "C00000000000"
    assert uid_of("ffffffffffffffff") == "CLygHa16AHYF"
    assert uid_of("a15d283b52147c32") == uid_of("a15d283b52147c32")


def test_own_logs_have_the_columns_of_their_table(tmp_path: Path) -> None:
    load("zeek").write_folder(job_of(Result()), tmp_path)
    for log, table in OWN.items():
        head, lines = read_log(tmp_path / f"{log}.log")
        columns = {"uid" if column.name == "session_id" else column.name for column in TABLES[table]}
        assert lines == []
        assert columns - set(head["fields"]) <= {"time", "first", "first_seen", "last_seen"}
        assert len(head["fields"]) == len(TABLES[table])
