#!/usr/bin/env python3
"""Make the sample captures again, from nothing.

    sudo python3 captures/make.py              all of them
    sudo python3 captures/make.py --list       what there is
    sudo python3 captures/make.py --only NAME  one of them (may be given several times)

It brings up mail servers in network namespaces of its own, lets real clients talk to them, records that, writes the
captures beside this file, what the clients did to ``expected.jsonl`` and the table of ``README.md``, and takes
everything down again. It needs Linux, root and these packages of Debian 12:

    apt-get install dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved postfix sasl2-bin libsasl2-modules \\
        curl swaks libauthen-ntlm-perl libauthen-sasl-perl libnet-ssleay-perl fetchmail getmail6 isync msmtp mutt neomutt \\
        openssl openssh-server openssh-client tcpdump wireshark-common zstd ethtool iproute2 bsdutils

Cyrus cannot be installed beside Dovecot: its packages are downloaded and unpacked into a cache folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lab import network, pcapfile, samples, samples_attacks, samples_formats, samples_office, samples_tls
from lab.laboratory import SAMPLES, Laboratory, Sample
from lab.network import LabError
from lab.programs import Programs
from lab.servers import Servers

_HERE: Final = Path(__file__).resolve().parent
_ALWAYS: Final = (
    "ip",
    "ethtool",
    "tcpdump",
    "editcap",
    "openssl",
    "dovecot",
    "doveadm",
    "postfix",
    "saslpasswd2",
    "dpkg",
)
_MODULES: Final = (samples, samples_attacks, samples_formats, samples_tls, samples_office)
_TABLE: Final = re.compile(r"(?s)(?<=<!-- samples -->\n).*?(?=<!-- /samples -->)")
_VERSIONS: Final = re.compile(r"(?s)(?<=<!-- versions -->\n).*?(?=<!-- /versions -->)")
_MOST: Final = 3_000_000


def main(arguments: list[str] | None = None) -> int:
    """Make what was asked for. Exit code 0: made; 1: something failed; 2: wrong usage; 130: interrupted."""
    parser = argparse.ArgumentParser(description="Make the sample captures again, from nothing (root, Debian 12).")
    parser.add_argument("--list", action="store_true", help="list the samples and leave")
    parser.add_argument("--only", action="append", metavar="NAME", default=[], help="make this sample alone")
    parser.add_argument("--keep-going", action="store_true", help="go on with the next sample when one fails")
    parser.add_argument("--into", type=Path, default=_HERE, help="write the captures to this folder (default: here)")
    parser.add_argument(
        "--cache", type=Path, default=Path("~/.cache/mailtap-samples").expanduser(), help="keeps Cyrus' packages"
    )
    options = parser.parse_args(arguments)
    if options.list:
        for sample in SAMPLES.values():
            print(f"{sample.name:28} {sample.shows}")
        return 0
    if unknown := [name for name in options.only if name not in SAMPLES]:
        parser.error(f"no such sample: {', '.join(unknown)} (see --list)")
    wanted = [sample for name, sample in SAMPLES.items() if not options.only or name in options.only]
    if complaint := _missing(wanted):
        print(f"make.py: {complaint}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _make_all(wanted, options.into, options.cache, keep_going=options.keep_going)
    except LabError as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make.py: stopped; everything is taken down", file=sys.stderr)
        return 130


def _missing(wanted: list[Sample]) -> str:
    if os.geteuid() != 0:
        return "network namespaces and captures need root: run it with sudo"
    programs = sorted({*_ALWAYS, *(program for sample in wanted for program in sample.needs)})
    if absent := [program for program in programs if not pcapfile.which(program)]:
        return f"not installed: {', '.join(absent)}; the packages are named at the top of this file"
    return ""


def _make_all(wanted: list[Sample], target: Path, cache: Path, *, keep_going: bool) -> int:
    target.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="mailtap-samples-"))
    servers = Servers(folder, cache)
    failed = []
    try:
        network.up()
        network.enter(network.CLIENTS)
        servers.up()
        lab = Laboratory(folder, servers, Programs(folder))
        for sample in wanted:
            begun = time.monotonic()
            try:
                records = _make(sample, lab, target)
            except LabError as error:
                if not keep_going:
                    raise LabError(f"{sample.name}: {error}") from error
                failed.append(sample.name)
                print(f"make.py: {sample.name}: {error}", file=sys.stderr)
                continue
            _update_expected(target, sample.name, records)
            size = (target / sample.name).stat().st_size
            print(
                f"{sample.name:28} {size:9,} octets {len(records):4} connections {time.monotonic() - begun:6.1f} s",
                flush=True,
            )
    finally:
        servers.down()
        network.down()
        shutil.rmtree(folder, ignore_errors=True)
    _update_readme(target)
    return 1 if failed else 0


def _make(sample: Sample, lab: Laboratory, target: Path) -> list[dict[str, Any]]:
    lab.begin()
    raw = lab.folder / "raw.pcap"
    tap = pcapfile.Tap(raw, interface=sample.interface, options=sample.options, expression=sample.expression)
    try:
        sample.make(lab)
    except OSError as error:
        raise LabError(f"a client failed: {error}") from error
    finally:
        tap.close()
    packets = pcapfile.read(raw)
    pcapfile.assign_ports(packets, lab.ledger.sessions)
    if sample.finish:
        packets = sample.finish(lab, packets)
    path = target / sample.name
    if sample.write:
        sample.write(lab, path, packets)
    elif path.suffix == ".pcapng":
        pcapfile.write_pcapng(path, packets)
    else:
        pcapfile.write(path, packets)
    path.chmod(0o644)
    ordered = pcapfile.in_order(packets, lab.ledger.sessions)
    return [session.as_json(sample.name, stream) for stream, session in enumerate(ordered)]


def _update_expected(target: Path, name: str, records: list[dict[str, Any]]) -> None:
    path = target / "expected.jsonl"
    old = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    lines = [record for record in old if record["sample"] != name and record["sample"] in SAMPLES] + records
    order = list(SAMPLES)
    lines.sort(key=lambda record: (order.index(record["sample"]), record["stream"]))
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in lines))


def _update_readme(target: Path) -> None:
    readme = target / "README.md"
    if not readme.exists():
        return
    expected = [json.loads(line) for line in (target / "expected.jsonl").read_text().splitlines()]
    rows = ["| file | connections | what it shows | made with | octets | sha256 |", "|---|---:|---|---|---:|---|"]
    total = 0
    for sample in SAMPLES.values():
        path = target / sample.name
        if not path.exists():
            continue
        data = path.read_bytes()
        total += len(data)
        count = sum(record["sample"] == sample.name for record in expected)
        digest = hashlib.sha256(data).hexdigest()
        rows.append(f"| `{sample.name}` | {count} | {sample.shows} | {sample.made} | {len(data)} | `{digest}` |")
    if total > _MOST:
        raise LabError(f"the samples have grown to {total} octets, more than {_MOST}")
    text = _TABLE.sub(lambda _: "\n" + "\n".join(rows) + f"\n\nTogether {total} octets.\n\n", readme.read_text())
    text = _VERSIONS.sub(lambda _: "\n" + _versions() + "\n\n", text)
    readme.write_text(text)


def _versions() -> str:
    packages = (
        "dovecot-core", "postfix", "cyrus-imapd", "curl", "swaks", "fetchmail", "getmail6", "isync", "msmtp", "mutt", "neomutt",
        "openssl", "openssh-server", "tcpdump",
    )  # fmt: skip
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        version = network.run("dpkg-query", "-W", "-f", "${Version}", package, check=False).stdout.strip()
        if not version:
            policy = network.run("apt-cache", "policy", package, check=False).stdout
            version = next((line.split()[1] for line in policy.splitlines() if "Candidate" in line), "unknown")
        found.append(f"{package} {version}")
    return "Versions: " + ", ".join(found) + "."


if __name__ == "__main__":
    sys.exit(main())
