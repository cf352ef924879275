"""What changed between two runs: findings that are new, fixed, still there, or were not seen again.

A finding is known by its rule, client, server and account, so the same trouble on another day is the same finding. One that is
gone counts as fixed only where the new run shows that client with that server again, under TLS where the trouble was clear text: a client
that was at home that day has fixed nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from analyzer.errors import CaptureUnreadable, UsageError
from analyzer.findings.catalogue import THEMES
from analyzer.model import SEVERITIES
from analyzer.report.columns import TABLES
from analyzer.report.visible import shorten

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result

#: Lines of one kind in the text form.
MAX_LINES: Final = 200

#: What the capture cannot tell is no trouble of the network.
_LEFT_OUT: Final = frozenset(rule.slug for rule in THEMES["honesty"])
#: Trouble that is over when the client is seen again, whatever it does there.
_SEEN_IS_ENOUGH: Final = frozenset(rule.slug for theme in ("behaviour", "ports") for rule in THEMES[theme])

NEW: Final = "new"
FIXED: Final = "fixed"
STILL: Final = "still there"
UNSEEN: Final = "not seen again"
KINDS: Final = (NEW, FIXED, STILL, UNSEEN)


class Trouble(NamedTuple):
    """One finding as it is compared."""

    rule: str
    client_ip: str
    server_ip: str
    server_port: int
    protocol: str
    username: str
    severity: str
    title: str

    def key(self) -> tuple[str, str, str, int, str]:
        """What makes it the same finding on another day."""
        return (self.rule, self.client_ip, self.server_ip, self.server_port, self.username)


class Snapshot:
    """What one run says, as far as it is compared."""

    def __init__(self) -> None:
        self.troubles: dict[tuple[str, str, str, int, str], Trouble] = {}
        #: (client, server, protocol) seen at all, and seen under TLS
        self.seen: set[tuple[str, str, str]] = set()
        self.protected: set[tuple[str, str, str]] = set()

    def add_finding(self, row: Mapping[str, Any]) -> None:
        """A row of ``findings``; of several alike the worst counts."""
        rule = str(row["rule"])
        if rule in _LEFT_OUT or row["server_ip"] is None:
            return
        one = Trouble(
            rule, str(row["client_ip"]), str(row["server_ip"]), int(row["server_port"]), str(row["protocol"]),
            str(row["username"] or ""), str(row["severity"]), str(row["title"]),
        )  # fmt: skip
        known = self.troubles.get(one.key())
        if known is None or _rank(one) > _rank(known):
            self.troubles[one.key()] = one

    def add_session(self, row: Mapping[str, Any]) -> None:
        """A row of ``sessions``."""
        parties = (str(row["client_ip"]), str(row["server_ip"]), str(row["protocol"]))
        self.seen.add(parties)
        if row["transport"] in ("starttls", "implicit_tls"):
            self.protected.add(parties)


def _rank(one: Trouble) -> int:
    return SEVERITIES.index(one.severity) if one.severity in SEVERITIES else 0


def snapshot(path: str, analyse: Callable[[str], Result]) -> Snapshot:
    """What a run said: a JSON or JSON lines result of ``mailtap analyze``, else a capture or a folder of captures, analysed now.

    ``analyse`` makes records of a path (the pipeline's ``run``).

    Raises:
        CaptureError: the input is missing or unreadable.
        UsageError: it is JSON, but no result of mailtap.
    """
    file = Path(path)
    if file.is_file():
        try:
            with file.open("rb") as stream:
                begins = stream.read(64).lstrip()[:1]
        except OSError as error:
            raise CaptureUnreadable(f"{path}: cannot be read: {error.strerror}") from error
        if begins == b"{":
            return _from_json(file)
    return _from_result(analyse(path))


def _from_json(file: Path) -> Snapshot:
    found = Snapshot()
    wrong = f"{file}: no result of mailtap analyze --format json or jsonl"
    try:
        text = file.read_text(encoding="utf-8")
        first, _, rest = text.partition("\n")
        if first.startswith('{"table"'):
            for line in [first, *rest.splitlines()]:
                row = json.loads(line)
                _add(found, row["table"], [row])
        else:
            result = json.loads(text)
            if result.get("schema_version") != 1:
                raise UsageError(wrong)
            for table in ("sessions", "findings"):
                _add(found, table, result[table])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(wrong) from error
    except OSError as error:
        raise CaptureUnreadable(f"{file}: cannot be read: {error.strerror}") from error
    return found


def _from_result(result: Result) -> Snapshot:
    from analyzer.report.rows import RowList, RowMaker, push_rows

    found = Snapshot()
    maker = RowMaker()
    for table in ("sessions", "findings"):
        sink = RowList()
        push_rows(table, result.sessions, result.captures, maker, sink)
        names = [column.name for column in TABLES[table]]
        _add(found, table, [dict(zip(names, row, strict=True)) for row in sink.rows])
    return found


def _add(found: Snapshot, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    if table == "sessions":
        for row in rows:
            found.add_session(row)
    elif table == "findings":
        for row in rows:
            found.add_finding(row)


def compare(old: Snapshot, new: Snapshot) -> dict[str, list[Trouble]]:
    """Troubles by what became of them, each list worst first."""
    found: dict[str, list[Trouble]] = {kind: [] for kind in KINDS}
    for key, one in new.troubles.items():
        found[STILL if key in old.troubles else NEW].append(one)
    for key, one in old.troubles.items():
        if key not in new.troubles:
            parties = (one.client_ip, one.server_ip, one.protocol)
            again = new.seen if one.rule in _SEEN_IS_ENOUGH else new.protected
            found[FIXED if parties in again else UNSEEN].append(one)
    for troubles in found.values():
        troubles.sort(key=lambda one: (-_rank(one), *one.key()))
    return found


def write_text(found: dict[str, list[Trouble]], out: TextIO) -> None:
    """One line a finding, under a heading each."""
    for kind in KINDS:
        troubles = found[kind]
        out.write(f"{kind.upper()}: {len(troubles):,}\n")
        for one in troubles[:MAX_LINES]:
            address = f"[{one.server_ip}]" if ":" in one.server_ip else one.server_ip
            account = f"  account {shorten(one.username, 60)}" if one.username else ""
            out.write(
                f"  {one.severity:<9}{one.rule:<30} {one.client_ip} at {one.protocol} {address}:{one.server_port}{account}\n"
            )
        if len(troubles) > MAX_LINES:
            out.write(f"  and {len(troubles) - MAX_LINES:,} more (--json has them all)\n")
        out.write("\n")


def write_json(found: dict[str, list[Trouble]], out: TextIO) -> None:
    """One object with a list for each kind; ASCII throughout."""
    from analyzer.report.formats.json import json_text

    names = {NEW: "new", FIXED: "fixed", STILL: "still_there", UNSEEN: "not_seen_again"}
    parts = []
    for kind in KINDS:
        rows = []
        for one in found[kind]:
            cells = [
                f'"{field}":{value if isinstance(value, int) else json_text(value) if value or field != "username" else "null"}'
                for field, value in one._asdict().items()
            ]
            rows.append("{" + ",".join(cells) + "}")
        parts.append(f'"{names[kind]}":[' + ",\n".join(rows) + "]")
    out.write('{"schema_version":1,\n' + ",\n".join(parts) + "}\n")
