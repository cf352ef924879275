"""ECS: every field that is not mailtap's own is one of the schema's, with the schema's type."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.jobs import SAMPLES, hostile_result, job_of, result_of, text_of

from analyzer.findings.catalogue import BY_SLUG, explanation
from analyzer.pipeline import run
from analyzer.report.columns import TABLES
from analyzer.report.formats.ecs import COMMON, FIELDS, community_id

CAPTURES = Path(__file__).parents[3] / "captures"

#: Fields of ECS 8.11 as published (generated/csv/fields.csv of elastic/ecs), those that a mail sensor may fill: name -> type.
PUBLISHED = {
    "@timestamp": "date", "message": "text", "ecs.version": "keyword",
    "client.bytes": "long", "client.ip": "ip", "client.port": "long", "server.bytes": "long", "server.ip": "ip", "server.port": "long",
    "source.bytes": "long", "source.ip": "ip", "source.port": "long",
    "destination.bytes": "long", "destination.domain": "keyword", "destination.ip": "ip", "destination.port": "long",
    "email.attachments": "nested", "email.from.address": "keyword[]", "email.sender.address": "keyword", "email.subject": "keyword",
    "email.to.address": "keyword[]",
    "event.category": "keyword[]", "event.dataset": "keyword", "event.duration": "long", "event.end": "date", "event.id": "keyword",
    "event.kind": "keyword", "event.module": "keyword", "event.outcome": "keyword", "event.severity": "long", "event.start": "date",
    "event.type": "keyword[]",
    "file.hash.sha256": "keyword", "file.path": "keyword", "file.size": "long",
    "network.bytes": "long", "network.community_id": "keyword", "network.packets": "long", "network.protocol": "keyword",
    "network.transport": "keyword", "network.type": "keyword",
    "observer.name": "keyword", "observer.product": "keyword", "observer.version": "keyword",
    "related.hash": "keyword[]", "related.ip": "ip[]", "related.user": "keyword[]",
    "rule.description": "keyword", "rule.id": "keyword", "rule.name": "keyword", "rule.reference": "keyword",
    "tls.cipher": "keyword", "tls.client.ja3": "keyword", "tls.client.server_name": "keyword", "tls.client.supported_ciphers": "keyword[]",
    "tls.curve": "keyword", "tls.established": "boolean", "tls.next_protocol": "keyword", "tls.resumed": "boolean",
    "tls.server.hash.sha256": "keyword", "tls.server.issuer": "keyword", "tls.server.ja3s": "keyword", "tls.server.not_after": "date",
    "tls.server.not_before": "date", "tls.server.subject": "keyword", "tls.server.x509.alternative_names": "keyword[]",
    "tls.server.x509.issuer.distinguished_name": "keyword", "tls.server.x509.public_key_algorithm": "keyword",
    "tls.server.x509.public_key_size": "long", "tls.server.x509.signature_algorithm": "keyword",
    "tls.server.x509.subject.distinguished_name": "keyword", "tls.version": "keyword", "tls.version_protocol": "keyword",
    "user.name": "keyword",
}  # fmt: skip
#: Values that ECS allows, and which event.type goes with which event.category.
KINDS = {"alert", "asset", "enrichment", "event", "metric", "state", "pipeline_error", "signal"}
EXPECTED_TYPES = {
    "authentication": {"start", "end", "info"},
    "configuration": {"access", "change", "creation", "deletion", "info"},
    "email": {"info"},
    "file": {"access", "change", "creation", "deletion", "info"},
    "network": {"access", "allowed", "connection", "denied", "end", "info", "protocol", "start"},
}
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")


def documents(job: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text_of(job, "ecs").splitlines()]


def check(name: str, kind: str, value: object) -> None:
    if kind.endswith("[]") or kind == "nested":
        assert isinstance(value, list), name
        for one in value:
            if kind != "nested":
                check(name, kind[:-2], one)
        return
    if kind == "long":
        assert isinstance(value, int), name
        assert not isinstance(value, bool), name
    elif kind == "boolean":
        assert isinstance(value, bool), name
    else:
        assert isinstance(value, str), name
        if kind == "date":
            assert DATE.fullmatch(value), (name, value)


@pytest.mark.parametrize(
    "sample", [None, *(name for name in SAMPLES if name.startswith(("office", "tls-cert", "smtp", "ipv6", "not-mail")))]
)
def test_fields_are_published_ones_or_our_own(sample: str | None) -> None:
    found = documents(job_of(hostile_result() if sample is None else result_of(sample), headers=True))
    assert found
    for document in found:
        assert DATE.fullmatch(document["@timestamp"])
        assert document["event.kind"] in KINDS
        for category in document["event.category"]:
            assert set(document["event.type"]) <= EXPECTED_TYPES[category]
        for name, value in document.items():
            if not name.startswith("mailtap."):
                assert name in PUBLISHED, name
                check(name, PUBLISHED[name], value)


def test_a_file_has_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "login.pcap.gz"
    path.write_bytes(gzip.compress((CAPTURES / "pop3-login.pcap").read_bytes()))
    found = documents(job_of(run([path])))[0]
    assert (found["file.path"], found["file.size"]) == (str(path), path.stat().st_size)
    assert found["mailtap.bytes"] != found["file.size"]


@pytest.mark.parametrize("sensor", ["", "attic"])
def test_only_a_sensor_with_a_name_is_an_observer_with_one(sensor: str) -> None:
    found = documents(job_of(run([CAPTURES / "pop3-login.pcap"], sensor=sensor)))
    names = {one.get("observer.name") for one in found if one["event.dataset"] == "mailtap.session"}
    assert names == {sensor or None}


def test_a_login_and_its_finding() -> None:
    found = documents(job_of(result_of("pop3-login.pcap")))
    logins = [one for one in found if one["event.dataset"] == "mailtap.credential"]
    assert {one["event.outcome"] for one in logins} <= {"success", "failure", "unknown"}
    login = next(one for one in logins if one["event.outcome"] == "success")
    assert login["user.name"] in login["related.user"]
    assert login["source.ip"] == login["client.ip"]
    assert login["source.port"] == login["client.port"]
    assert login["network.protocol"] == "pop3"
    assert login["mailtap.secret"] == "********"
    finding = next(
        one
        for one in found
        if one.get("rule.id") == "plaintext-password" and one["network.community_id"] == login["network.community_id"]
    )
    assert finding["event.kind"] == "alert"
    assert finding["event.severity"] in (47, 73, 99)


def test_tls_versions_are_numbers_and_hashes_are_upper_case() -> None:
    found = [
        one for one in documents(job_of(result_of("tls-certificates.pcap"))) if one["event.dataset"] == "mailtap.tls"
    ]
    assert {one["tls.version_protocol"] for one in found if "tls.version" in one} <= {"tls", "ssl"}
    assert all(re.fullmatch(r"[123](\.\d)?", one["tls.version"]) for one in found if "tls.version" in one)
    hashes = [one["tls.server.hash.sha256"] for one in found if "tls.server.hash.sha256" in one]
    assert hashes
    assert all(re.fullmatch(r"[0-9A-F]{64}", one) for one in hashes)


@pytest.mark.parametrize(
    ("flow", "expected"),
    [  # test vectors of the Community ID specification, both directions
        (("128.232.110.120", 34855, "66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (("66.35.250.204", 80, "128.232.110.120", 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ],
)
def test_community_id(flow: tuple[str, int, str, int], expected: str) -> None:
    assert community_id(*flow) == expected


def test_a_rule_is_described_by_what_it_means() -> None:
    documents = [json.loads(line) for line in text_of(job_of(result_of("office.pcapng")), "ecs").splitlines()]
    found = [one for one in documents if one["event.dataset"] == "mailtap.finding"]
    assert found
    for one in found:
        assert one["rule.description"] == " ".join(explanation(one["rule.id"]).split())
        assert one["mailtap.remediation"] == BY_SLUG[one["rule.id"]].remediation


def kind_of(value: object) -> str:
    """The type that Elasticsearch gives a field by its first value."""
    first = value[0] if isinstance(value, list) and value else value
    return type(first).__name__


def test_a_field_has_one_type_in_all_documents_and_is_no_part_of_another() -> None:
    found = [one for name in ("office.pcapng", "tls-certificates.pcap") for one in documents(job_of(result_of(name)))]
    kinds: dict[str, set[str]] = {}
    for document in found:
        for name, value in document.items():
            if value != []:
                kinds.setdefault(name, set()).add(kind_of(value))
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}
    assert [(one, other) for one in kinds for other in kinds if other.startswith(f"{one}.")] == []


def test_columns_of_different_types_go_into_different_fields() -> None:
    kinds: dict[str, set[str]] = {}
    for table, columns in TABLES.items():
        for column in columns:
            field = FIELDS[table].get(column.name) or COMMON.get(column.name) or f"mailtap.{column.name}"
            kinds.setdefault(field, set()).add({"word": "text", "list": "text"}.get(column.kind, column.kind))
    assert {field: kind for field, kind in kinds.items() if len(kind) > 1} == {}


def test_an_address_that_a_client_asked_for_is_no_domain() -> None:
    found = [one for one in documents(job_of(result_of("office.pcapng"))) if "tls.client.server_name" in one]
    addresses = [one for one in found if re.fullmatch(r"[\d.]+", one["tls.client.server_name"])]
    assert addresses
    assert not any("destination.domain" in one for one in addresses)
    names = [one for one in found if one not in addresses]
    assert names
    assert all(one["destination.domain"] == one["tls.client.server_name"] for one in names)


def test_a_server_and_its_handshakes_are_joined_by_their_certificate() -> None:
    found = documents(job_of(result_of("tls-certificates.pcap")))
    hashes = {
        kind: {
            one["tls.server.hash.sha256"]
            for one in found
            if one["event.dataset"] == kind and "tls.server.hash.sha256" in one
        }
        for kind in ("mailtap.server", "mailtap.tls")
    }
    assert hashes["mailtap.server"]
    assert hashes["mailtap.server"] <= hashes["mailtap.tls"]
    assert not any("mailtap.cert_sha256" in one for one in found)
