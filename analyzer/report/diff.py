"""What changed between two runs: findings that are new, fixed, still there, or were not seen again.

A finding is known by its rule, client, server and account, so the same trouble on another day is the same finding. What is said of
a server (its certificate, what it offers) is known by the server alone, whichever client it was seen with, and what is said of an
account's password by server and account. Accounts with the same password all have that trouble, also the one that was seen first,
which no finding names: who came first is no matter of a day.

One that is gone counts as fixed only where the new run shows that it is: the server's certificate or offer again, the password again, or
that client with that server again, under TLS where the trouble was clear text. A client that was at home that day has fixed nothing.
TLS does not tell who logs in, so it proves nothing of an account where the same client may have used it for another one: where
it did so before, or where several of its accounts are gone. Nor does it where the account's password is still read in clear, accepted or not.
What was seen inside a session (mail deleted, passwords guessed, logins on port 25) may go on unseen inside TLS, so it is over only where
nothing of the client was hidden.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from analyzer.errors import UsageError
from analyzer.findings.behaviour import same_account
from analyzer.findings.catalogue import THEMES
from analyzer.findings.offers import read_offer
from analyzer.model import SEVERITIES
from analyzer.protocols.events import NO_SECRET, PASSWORD
from analyzer.report.columns import TABLES
from analyzer.report.formats._page import width_of
from analyzer.report.results import WrittenResult, is_result
from analyzer.report.visible import shorten

if TYPE_CHECKING:
    from typing import TextIO

    from analyzer.pipeline import Result
    from analyzer.report.rows import RowMaker

#: Lines of one kind in the text form.
MAX_LINES: Final = 200


def _slugs(*themes: str) -> frozenset[str]:
    return frozenset(rule.slug for theme in themes for rule in THEMES[theme])


#: What the capture cannot tell is no trouble of the network.
_LEFT_OUT: Final = _slugs("honesty")
#: Said of a certificate, whoever was shown it; of the client that went on, or that asked for another name, by client.
_CERTIFICATES: Final = _slugs("certificates")
_OF_CLIENTS: Final = ("certificate-ignored", "certificate-name-mismatch")
#: Said of a server, whichever client it was seen with.
_OF_SERVERS: Final = (_CERTIFICATES | {"plaintext-auth-offered", "mail-on-unusual-port"}) - set(_OF_CLIENTS)
#: Said of an account's password, wherever it was seen first.
_OF_PASSWORDS: Final = ("weak-password", "password-reuse")
_REUSED: Final = "password-reuse"
#: Said of a client; the account is the one at which it was noticed.
_OF_ANY_ACCOUNT: Final = ("password-spraying",)
#: Trouble that is over when the client is seen again, whatever it does there.
_SEEN_IS_ENOUGH: Final = ("plaintext-on-tls-port", "tls-on-plaintext-port", "not-mail-on-mail-port")
#: What is said inside sessions, and could go on inside TLS: on the same port; on any port.
_SAID_AT_PORT: Final = _slugs("ports") - set(_SEEN_IS_ENOUGH)
_SAID: Final = _slugs("behaviour")
#: Said of an account that was let in: it has to be read again.
_OF_USERS: Final = ("mail-deleted-after-download",)
#: Clear text: over when the account, not merely the client, uses TLS.
_CLEAR: Final = _slugs("plaintext")

#: The tables that are compared, those first that others refer to.
_TABLES: Final = ("sessions", "credentials", "tls", "findings")

NEW: Final = "new"
FIXED: Final = "fixed"
STILL: Final = "still there"
UNSEEN: Final = "not seen again"
KINDS: Final = (NEW, FIXED, STILL, UNSEEN)

#: Client, server address and protocol; server address and port; server address and user name.
Parties = tuple[str, str, str]
Place = tuple[str, int]
Account = tuple[str, str]
Key = tuple[str, str, str, int, str]


class Trouble(NamedTuple):
    """One finding as it is compared. Client and port are empty (``""``, 0) where it is not said of one."""

    rule: str
    client_ip: str
    server_ip: str
    server_port: int
    protocol: str
    username: str
    severity: str
    title: str

    def key(self) -> Key:
        """What makes it the same finding on another day."""
        return (self.rule, self.client_ip, self.server_ip, self.server_port, self.username)

    def parties(self) -> Parties:
        """Who is concerned."""
        return (self.client_ip, self.server_ip, self.protocol)


class Snapshot:
    """What one run says, as far as it is compared."""

    def __init__(self) -> None:
        self.troubles: dict[Key, Trouble] = {}
        #: who was seen at all, and under TLS
        self.seen: set[Parties] = set()
        self.protected: set[Parties] = set()
        #: accounts that were let in, or may have been, in clear
        self.in_clear: dict[Parties, set[str]] = {}
        #: who said something that could not be read, and on which ports
        self.hidden: set[Parties] = set()
        self.hidden_at: set[tuple[Parties, int]] = set()
        #: accounts that sent a password, a token or a hash in clear, even where it was refused
        self.sent: set[tuple[Parties, str]] = set()
        #: accounts that were read inside TLS, with keys
        self.opened: set[tuple[Parties, str]] = set()
        #: accounts of servers whose password was readable, and judged
        self.readable: set[Account] = set()
        self.judged: set[Account] = set()
        #: account whose password others have -> those others
        self.sharing: dict[Account, set[Account]] = {}
        #: who was shown a certificate that could be seen; servers that showed one, told what they offer, were met at all
        self.shown: set[Parties] = set()
        self.certified: set[Place] = set()
        self.offering: set[Place] = set()
        self.met: set[Place] = set()
        #: what could not be read, or not in full: sentences
        self.warnings: list[str] = []
        #: fingerprint of a password -> the accounts that have it, with their protocols
        self._holders: dict[str, dict[Account, str]] = {}
        #: sessions under TLS of which no handshake was told yet; sessions that were read inside TLS
        self._sealed: dict[str, tuple[Parties, Place]] = {}
        self._read: set[str] = set()

    def add(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of one of the tables; ``sessions`` come first."""
        if table == "sessions":
            for row in rows:
                self._add_session(row)
        elif table == "credentials":
            for row in rows:
                self._add_credential(row)
        elif table == "tls":
            for row in rows:
                self._add_handshake(row)
        elif table == "findings":
            for row in rows:
                self._add_finding(row)

    def finish(self) -> Snapshot:
        """All rows are through."""
        for session_id, (parties, place) in self._sealed.items():
            self._protect(session_id, parties, place)
        self._sealed.clear()
        self._read.clear()
        self._spread_reuse()
        return self

    def _spread_reuse(self) -> None:
        """A password that is found to be reused is so for all accounts that have it, whichever was seen first."""
        reused = {(one.server_ip, one.username): one for one in self.troubles.values() if one.rule == _REUSED}
        if reused:
            for holders in self._holders.values():
                known = [reused[account] for account in holders if account in reused]
                name = next(iter(holders))[1]
                if not known or all(same_account(name, other) for _, other in holders):
                    continue
                worst = max(known, key=_rank)
                for account, protocol in holders.items():
                    self.sharing.setdefault(account, set()).update(other for other in holders if other != account)
                    server_ip, username = account
                    one = worst._replace(server_ip=server_ip, username=username, protocol=protocol)
                    self.troubles[one.key()] = one
        self._holders.clear()

    def _add_finding(self, row: Mapping[str, Any]) -> None:
        """Of several findings alike the worst counts."""
        rule = str(row["rule"])
        if rule in _LEFT_OUT or row["server_ip"] is None:
            return
        nobody = rule in _OF_SERVERS or rule in _OF_PASSWORDS
        one = Trouble(
            rule, "" if nobody else str(row["client_ip"]), str(row["server_ip"]),
            0 if rule in _OF_PASSWORDS else int(row["server_port"]), str(row["protocol"]),
            "" if rule in _OF_ANY_ACCOUNT else str(row["username"] or ""), str(row["severity"]), str(row["title"]),
        )  # fmt: skip
        known = self.troubles.get(one.key())
        if known is None or _rank(one) > _rank(known):
            self.troubles[one.key()] = one

    def _add_session(self, row: Mapping[str, Any]) -> None:
        parties = _parties(row)
        place = _place(row)
        self.seen.add(parties)
        self.met.add(place)
        if row["transport"] in ("starttls", "implicit_tls"):
            self._sealed[str(row["session_id"])] = (parties, place)
        elif row["transport"] == "unknown" and (row["client_bytes"] or row["server_bytes"]):
            self._hide(parties, place)
        # Where something is missing it may be of the list, which then proves no absence.
        if row["capabilities"] and not row["gap_bytes"] and place not in self.offering:
            names = [str(name) for name in row["capabilities"]]
            if read_offer(str(row["protocol"]), names).before_login:
                self.offering.add(place)

    def _add_credential(self, row: Mapping[str, Any]) -> None:
        name = row["username"]
        parties = _parties(row)
        if not row["exposed"]:
            self._read.add(str(row["session_id"]))
        elif name and row["secret_kind"] != NO_SECRET:
            self.sent.add((parties, name))
        if not name or row["outcome"] in ("rejected", "cancelled"):
            return
        if not row["exposed"]:
            self.opened.add((parties, name))
            return
        self.in_clear.setdefault(parties, set()).add(name)
        if row["secret_kind"] == PASSWORD:
            account = (parties[1], str(name))
            self.readable.add(account)
            if row["secret_id"] and row["secret_length"]:
                holders = self._holders.setdefault(str(row["secret_id"]), {})
                # The first in the alphabet, for it must not depend on the order either.
                holders[account] = min(holders.get(account, parties[2]), parties[2])
            if row["strength"] is not None:
                self.judged.add(account)

    def _add_handshake(self, row: Mapping[str, Any]) -> None:
        known = self._sealed.pop(str(row["session_id"]), None)
        if known is None:
            return
        parties, place = known
        if row["handshake"] in ("completed", "unseen"):
            self._protect(str(row["session_id"]), parties, place)
        if row["cert_seen"]:
            self.shown.add(parties)
            self.certified.add(place)

    def _protect(self, session_id: str, parties: Parties, place: Place) -> None:
        """A session was under TLS, and hidden unless it could be read with keys."""
        self.protected.add(parties)
        if session_id not in self._read:
            self._hide(parties, place)

    def _hide(self, parties: Parties, place: Place) -> None:
        self.hidden.add(parties)
        self.hidden_at.add((parties, place[1]))


def _parties(row: Mapping[str, Any]) -> Parties:
    return (str(row["client_ip"]), str(row["server_ip"]), str(row["protocol"]))


def _place(row: Mapping[str, Any]) -> Place:
    return (str(row["server_ip"]), int(row["server_port"]))


def _rank(one: Trouble) -> int:
    return SEVERITIES.index(one.severity) if one.severity in SEVERITIES else 0


def snapshot(path: str, analyse: Callable[[str], Result], maker: RowMaker | None = None) -> Snapshot:
    """What a run said: a JSON or JSON lines result of ``mailtap analyze``, else a capture or a folder of captures, analysed now.

    ``analyse`` makes records of a path (the pipeline's ``run``), ``maker`` rows of them; it knows which roots are trusted.

    Raises:
        CaptureError: the input is missing or unreadable.
        UsageError: it is JSON, but no result of mailtap.
    """
    if is_result(path):
        return _from_json(Path(path))
    return _from_result(analyse(path), maker)


def _from_json(file: Path) -> Snapshot:
    found = Snapshot()
    try:
        for table, rows in WrittenResult(file).rows(*_TABLES):
            found.add(table, rows)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file}: no result of mailtap analyze --format json or jsonl") from error
    return found.finish()


def _from_result(result: Result, maker: RowMaker | None) -> Snapshot:
    from analyzer.report.rows import RowList, RowMaker, push_rows

    found = Snapshot()
    if maker is None:
        maker = RowMaker()
    for table in _TABLES:
        sink = RowList()
        push_rows(table, result.sessions, result.captures, maker, sink)
        names = [column.name for column in TABLES[table]]
        found.add(table, [dict(zip(names, row, strict=True)) for row in sink.rows])
    found.warnings = [*result.warnings, *map(str, result.failures), *maker.notes]
    return found.finish()


def compare(old: Snapshot, new: Snapshot) -> dict[str, list[Trouble]]:
    """Troubles by what became of them, each list worst first."""
    found: dict[str, list[Trouble]] = {kind: [] for kind in KINDS}
    for key, one in new.troubles.items():
        found[STILL if key in old.troubles else NEW].append(one)
    for key, one in old.troubles.items():
        if key not in new.troubles:
            found[FIXED if _is_over(one, old, new) else UNSEEN].append(one)
    for troubles in found.values():
        troubles.sort(key=lambda one: (-_rank(one), *one.key()))
    return found


def _is_over(one: Trouble, old: Snapshot, new: Snapshot) -> bool:
    """Whether the new run shows that a trouble which it does not have is over."""
    rule, place, parties = one.rule, (one.server_ip, one.server_port), one.parties()
    if rule in _OF_SERVERS:
        if rule in _CERTIFICATES:
            return place in new.certified
        return place in (new.offering if rule == "plaintext-auth-offered" else new.met)
    if rule in _CERTIFICATES:
        return parties in new.shown
    if rule == _REUSED:
        return _has_own_password((one.server_ip, one.username), old, new)
    if rule in _OF_PASSWORDS:
        return (one.server_ip, one.username) in (new.judged if rule == "weak-password" else new.readable)
    if rule in _SEEN_IS_ENOUGH:
        return parties in new.seen
    if rule in _SAID_AT_PORT:
        return parties in new.seen and (parties, one.server_port) not in new.hidden_at
    if rule in _SAID:
        met = parties in new.seen if rule not in _OF_USERS else _is_read(parties, one.username, new)
        return met and parties not in new.hidden
    if parties not in new.protected:
        return False
    return rule not in _CLEAR or _has_moved(parties, one.username, old, new)


def _has_own_password(account: Account, old: Snapshot, new: Snapshot) -> bool:
    """Whether the new run shows that nobody has an account's password any more who had it."""
    if account not in new.readable:
        return False
    others = old.sharing.get(account, set())
    # Where others still share one, it is known, and the account's is another.
    return others <= new.readable or any(other in new.sharing for other in others)


def _is_read(parties: Parties, username: str, new: Snapshot) -> bool:
    """Whether an account was let in where it could be seen, or may have been."""
    return username in new.in_clear.get(parties, ()) or (parties, username) in new.opened


def _has_moved(parties: Parties, username: str, old: Snapshot, new: Snapshot) -> bool:
    """Whether TLS of a client in the new run must be that of an account which was in clear in the old one."""
    if (parties, username) in new.sent:
        return False
    if (parties, username) in new.opened:
        return True
    if parties in old.protected:
        return False
    still = new.in_clear.get(parties, set())
    if not username:
        return not still
    return old.in_clear.get(parties, set()) - still <= {username}


def write_text(found: dict[str, list[Trouble]], out: TextIO) -> None:
    """One line a finding, under a heading each; on a terminal that is too narrow, it goes on below."""
    width = width_of(out) if out.isatty() else 0
    for kind in KINDS:
        troubles = found[kind]
        out.write(f"{kind.upper()}: {len(troubles):,}\n")
        for one in troubles[:MAX_LINES]:
            address = f"[{one.server_ip}]" if ":" in one.server_ip and one.server_port else one.server_ip
            account = f"  account {shorten(one.username, 60)}" if one.username else ""
            client = f"{one.client_ip} at " if one.client_ip else ""
            port = f":{one.server_port}" if one.server_port else ""
            line = f"  {one.severity:<9}{one.rule:<30} {client}{one.protocol} {address}{port}{account}"
            out.write(f"{_folded(line, width)}\n")
        if len(troubles) > MAX_LINES:
            out.write(f"  and {len(troubles) - MAX_LINES:,} more (--json has them all)\n")
        out.write("\n")


def _folded(line: str, width: int) -> str:
    """A line of at most ``width`` columns, the rest on further ones; 0 is any width."""
    if not width or len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent=" " * 11, break_on_hyphens=False, break_long_words=True, drop_whitespace=True
    )


def write_json(found: dict[str, list[Trouble]], out: TextIO) -> None:
    """One object with a list for each kind; ASCII throughout."""
    from analyzer.report.formats.json import json_text

    names = {NEW: "new", FIXED: "fixed", STILL: "still_there", UNSEEN: "not_seen_again"}
    parts = []
    for kind in KINDS:
        rows = []
        for one in found[kind]:
            cells = [
                f'"{field}":{"null" if not value else value if isinstance(value, int) else json_text(value)}'
                for field, value in one._asdict().items()
            ]
            rows.append("{" + ",".join(cells) + "}")
        parts.append(f'"{names[kind]}":[' + ",\n".join(rows) + "]")
    out.write('{"schema_version":1,\n' + ",\n".join(parts) + "}\n")
