"""Parts of a report, and reports joined: tables in, tables of the same types out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from analyzer.errors import UsageError
from analyzer.report.cards import PROTOCOLS
from analyzer.report.columns import TABLES, Column
from analyzer.report.frames import FIRST_NS, LAST_NS, frame_of, retyped, series_of
from analyzer.report.tables import Report
from analyzer.report.wording import secrets_inside
from analyzer.times import check_order, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from analyzer.pipeline import Result

Network = IPv4Network | IPv6Network
#: Capture -> the identifiers of sessions whose TLS secrets it holds, unused.
Sealed = Mapping[str, Sequence[str]]

#: Tables whose rows belong to a session.
OF_SESSIONS: Final = ("credentials", "tls", "messages", "findings")
#: What makes a row of servers, and of migration, the same in two reports.
SERVER_KEY: Final = ["server_ip", "server_port", "protocol"]
#: What to say of findings that cannot be found anew.
OF_THE_WHOLE: Final = (
    "findings, servers and settings are those of the whole report, as far as they belong to the sessions of the times asked for; "
    "analyzer.analyze(since=..., until=...) finds those of these sessions alone"
)
COUNT: Final = Column("sessions", "count", "")
MIGRATION_KEY: Final = ["client_ip", *SERVER_KEY, "username"]


def filtered(
    report: Report,
    *,
    client: str | Iterable[str] | None,
    server: str | Iterable[str] | None,
    protocol: str | Iterable[str] | None,
    since: str | datetime | None,
    until: str | datetime | None,
) -> Report:
    """See :meth:`analyzer.report.tables.Report.filter`."""
    import pandas as pd

    since_ns, until_ns = _moment(since), _moment(until)
    check_order(since_ns, until_ns)
    warnings = [] if since_ns is None and until_ns is None else [OF_THE_WHOLE]
    if warnings and report.result is not None:
        report = _between(report, report.result, since_ns, until_ns)
        if client is None and server is None and protocol is None:
            return report
        warnings = []
    sessions = report.sessions
    keep = pd.Series(data=True, index=sessions.index, dtype="bool")
    if client is not None:
        networks = [_network(word) for word in _words(client)]
        inside = {address: _inside(address, networks) for address in sessions["client_ip"].unique()}
        keep &= sessions["client_ip"].map(inside).astype("bool")
    if server is not None:
        places = [_place(word) for word in _words(server)]
        of_server = pd.Series(data=False, index=sessions.index, dtype="bool")
        for network, port in places:
            inside = {address: _inside(address, [network]) for address in sessions["server_ip"].unique()}
            here = sessions["server_ip"].map(inside).astype("bool")
            of_server |= here if port is None else here & (sessions["server_port"] == port).astype("bool")
        keep &= of_server
    if protocol is not None:
        words = _words(protocol)
        unknown = sorted(set(words) - set(PROTOCOLS))
        if unknown:
            raise UsageError(f"no protocol of mailtap: {', '.join(unknown)}; known: {' '.join(PROTOCOLS)}")
        keep &= sessions["protocol"].isin(words)
    if since_ns is not None:
        keep &= sessions["end"] >= _timestamp(since_ns)
    if until_ns is not None:
        keep &= sessions["start"] <= _timestamp(until_ns)
    frames = {"captures": report.captures, "sessions": retyped("sessions", sessions[keep])}
    left = frames["sessions"]
    ids = set(left["session_id"])
    for name in OF_SESSIONS:
        frame = report.table(name)
        mine = frame["session_id"].isin(ids)
        if name == "findings":
            mine |= frame["session_id"].isna()
        frames[name] = retyped(name, frame[mine])
    for name, key in (("servers", SERVER_KEY), ("migration", ["client_ip", *SERVER_KEY])):
        frame = report.table(name)
        there = set(_keys(left, key))
        mine = pd.Series([one in there for one in _keys(frame, key)], index=frame.index, dtype="bool")
        frames[name] = retyped(name, frame[mine])
    sealed = _left(report.sealed, ids)
    known = _counted_anew(report.warnings, report.sealed, sealed)
    return Report(frames=frames, warnings=known + [one for one in warnings if one not in known], sealed=sealed)


def _left(sealed: Sealed, ids: set[str]) -> dict[str, list[str]]:
    """The sessions that could be decrypted, as far as they are among some."""
    left = {capture: [one for one in sessions if one in ids] for capture, sessions in sealed.items()}
    return {capture: sessions for capture, sessions in left.items() if sessions}


def _counted_anew(warnings: Iterable[str], before: Sealed, after: Sealed) -> list[str]:
    """Warnings as they are where other sessions could be decrypted: what tells how many there are tells it of these."""
    changed: dict[str, str | None] = {}
    for capture, sessions in before.items():
        left = len(after.get(capture, ()))
        changed[secrets_inside(capture, len(sessions))] = secrets_inside(capture, left) if left else None
    return [text for text in [changed.get(one, one) for one in warnings] if text is not None]


def _between(report: Report, whole: Result, since_ns: int | None, until_ns: int | None) -> Report:
    """The report that a run would have given which was asked for these times: all tables are made anew, of the records."""
    part = type(whole)()
    part.sessions = [
        session
        for session in whole.sessions
        if (since_ns is None or session.end_ns >= since_ns) and (until_ns is None or session.start_ns <= until_ns)
    ]
    part.left_out = whole.left_out + len(whole.sessions) - len(part.sessions)
    part.since_ns = max([one for one in (whole.since_ns, since_ns) if one is not None], default=None)
    part.until_ns = min([one for one in (whole.until_ns, until_ns) if one is not None], default=None)
    part.sealed = _left(whole.sealed, {session.session_id() for session in part.sessions} if whole.sealed else set())
    part.warnings = _counted_anew(whole.warnings, whole.sealed, part.sealed)
    part.captures, part.failures = whole.captures, whole.failures
    part.counters, part.seconds = whole.counters, whole.seconds
    part.interrupted, part.stored = whole.interrupted, whole.stored
    return Report(part, None if report.maker is None else report.maker.anew())


def concat(reports: Iterable[Report]) -> Report:
    """Several reports as one: those of two days, of several sensors.

    Sessions and findings that occur in several are kept once (of the first). Rows of ``servers`` for the same server, and of ``migration``
    for the same client and account, become one: sessions are counted anew, other counts added, lists joined, the later settings, the
    worse grade and the wider span of time kept. Findings are taken as they are: rules that compare sessions compare those of one run only, so analyse captures
    together where that matters. ``secret_id`` compares across reports that were made with one ``key`` only.

    Raises:
        UsageError: there is none.
    """
    import pandas as pd

    reports = list(reports)
    if not reports:
        raise UsageError("no report to join")
    frames: dict[str, pd.DataFrame] = {}
    seen: set[str] = set()
    news: list[set[str]] = []
    for report in reports:
        new = set(report.sessions["session_id"]) - seen
        news.append(new)
        seen |= new
    for name in TABLES:
        parts = []
        for report, new in zip(reports, news, strict=True):
            frame = report.table(name)
            if name in ("sessions", "credentials", "tls", "messages"):
                frame = frame[frame["session_id"].isin(new)]
            parts.append(_plain(name, frame))
        filled = [part for part in parts if len(part)]
        frames[name] = retyped(name, pd.concat(filled)) if filled else frame_of(name, [])
    frames["captures"] = retyped(
        "captures", frames["captures"].drop_duplicates(["capture", "sha256", "first", "packets"])
    )
    frames["sessions"] = retyped("sessions", frames["sessions"].sort_values(["start", "first_frame"], kind="stable"))
    frames["findings"] = retyped("findings", frames["findings"].drop_duplicates("finding_id"))
    frames["servers"] = _recounted(_joined("servers", frames["servers"], SERVER_KEY), frames["sessions"])
    frames["migration"] = _joined("migration", frames["migration"], MIGRATION_KEY)
    sealed: dict[str, list[str]] = {}
    for report in reports:
        for capture, those in report.sealed.items():
            sealed[capture] = list(dict.fromkeys([*sealed.get(capture, ()), *those]))
    told = [_counted_anew(report.warnings, report.sealed, sealed) for report in reports]
    return Report(frames=frames, warnings=dict.fromkeys(one for warnings in told for one in warnings), sealed=sealed)


def _plain(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with words as text, because categories of two frames do not join."""
    import pandas as pd

    words = {column.name: pd.StringDtype(storage="python") for column in TABLES[table] if column.kind == "word"}
    return frame.astype(words)


def _joined(table: str, frame: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """Rows with the same key made one (see :func:`concat`)."""
    import pandas as pd

    if not frame.duplicated(list(key)).any():
        return frame
    kinds = {column.name: column.kind for column in TABLES[table]}
    rows: list[list[object]] = []
    for _, group in frame.sort_values("last_seen", kind="stable").groupby(
        list(key), sort=False, dropna=False, observed=True
    ):
        row: list[object] = []
        for name, kind in kinds.items():
            column = group[name]
            known = column.dropna()
            value: object
            if name.startswith("cert_"):
                # The certificate is that of the last row that knows one, whole.
                seen = group["cert_sha256"].notna() if "cert_sha256" in group else column.notna()
                column = column[seen] if seen.any() else column
                value = column.iloc[-1]
                if kind == "time":
                    value = None if pd.isna(column.iloc[-1]) else column.iloc[-1].value
                elif kind != "list" and pd.isna(column.iloc[-1]):
                    value = None
            elif name in key or known.empty:
                value = [] if kind == "list" else None if pd.isna(column.iloc[-1]) else column.iloc[-1]
            elif kind == "list":
                value = list(dict.fromkeys(item for cell in known for item in cell))
            elif kind == "time":
                value = (known.min() if name.startswith("first") else known.max()).value
            elif kind == "flag":
                value = bool(known.any())
            elif kind == "count":
                # A client's accounts are a set that the rows repeat; all other counts are of sessions.
                value = int(known.max() if name == "accounts" else known.sum())
            elif name == "starttls_offered":
                told = set(known) - {"unseen"}
                value = "unseen" if not told else told.pop() if len(told) == 1 else "sometimes"
            elif name == "grade":
                value = max(set(known) - {"unseen"}, default="unseen")
            else:
                value = known.iloc[-1]
            row.append(value)
        rows.append(row)
    return frame_of(table, rows)


def _recounted(servers: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    """The servers with their sessions counted anew: one that was in several reports counts once."""
    mail = sessions[sessions["protocol"] != "unknown"]
    for name in ("sessions", "plaintext", "starttls", "implicit_tls"):
        kept = mail if name == "sessions" else mail[mail["transport"] == name]
        counts = Counter(_keys(kept, SERVER_KEY))
        servers[name] = series_of(COUNT, [counts[key] for key in _keys(servers, SERVER_KEY)])
    return servers


def _keys(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[object, ...]]:
    return list(zip(*[frame[name].tolist() for name in columns], strict=True))


def _words(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else [str(word) for word in value]


def _network(word: str) -> Network:
    try:
        return ip_network(word.strip().strip("[]"), strict=False)
    except ValueError:
        raise UsageError(
            f"{word!r} is no address and no network; write it like 192.0.2.10, 10.0.0.0/8 or 2001:db8::1"
        ) from None


def _place(word: str) -> tuple[Network, int | None]:
    """A server: an address or network, with a port behind a colon where wanted."""
    address, colon, port = word.rpartition(":")
    if colon and port.isdecimal() and (address.endswith("]") or ":" not in address):
        return _network(address), int(port)
    return _network(word), None


def _inside(address: object, networks: Sequence[Network]) -> bool:
    try:
        one = ip_address(str(address))
    except ValueError:
        return False
    return any(one in network for network in networks)


def _moment(value: str | datetime | None) -> int | None:
    """A time in nanoseconds since the epoch: whatever the command line takes, and whatever else pandas reads, but for bare numbers."""
    try:
        return parse_time(value)
    except UsageError as error:
        from datetime import date

        import pandas as pd

        if not isinstance(value, (str, date)):
            raise

        try:
            return parse_time(pd.Timestamp(value))
        except (ValueError, TypeError):
            raise error from None


def _timestamp(moment_ns: int) -> pd.Timestamp:
    import pandas as pd

    return pd.Timestamp(min(max(moment_ns, FIRST_NS), LAST_NS), tz="UTC")
