"""A report at a glance: one sentence, one small table, one card for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from analyzer.model import SEVERITIES
from analyzer.protocols.events import CHALLENGE_RESPONSE, NO_SECRET
from analyzer.report.overview import NONE_ALIVE
from analyzer.report.summary import summarize
from analyzer.report.visible import shorten
from analyzer.report.wording import noun, plural

if TYPE_CHECKING:
    import pandas as pd

    from analyzer.report.tables import Report

#: Findings that the card shows, and warnings.
WORST: Final = 5
#: Characters of a cell of the card.
WIDTH: Final = 90

#: Transports in the order in which they are told.
TRANSPORTS: Final = ("plaintext", "starttls", "implicit_tls", "unknown")
#: What an eavesdropper could read of a session (``exposure``), in the words of the page and of the charts; what was never looked at is told apart.
READABLE: Final = {
    "credentials": "credentials",
    "content": "messages",
    "metadata": "metadata",
    "none": "nothing",
    "unknown": "unknown",
}
NOT_LOOKED_AT: Final = "not looked at"
#: A login counts as readable where one of these could be read: a password, a token, or what lets one guess a password. One without any of
#: them (ANONYMOUS, or cancelled before it was sent) gives nothing away.
GUESSABLE: Final = ("password", "bearer_token", "challenge_response")
PROTOCOLS: Final = ("pop3", "imap", "smtp", "lmtp", "managesieve", "unknown")


def exposed_logins(credentials: pd.DataFrame) -> pd.DataFrame:
    """The authentications of which an eavesdropper could read a password, a token, or what lets him guess it."""
    return credentials[credentials["exposed"].fillna(value=False) & credentials["secret_kind"].isin(GUESSABLE)]


def only_hashed(logins: pd.DataFrame) -> pd.Series[bool]:
    """Which of these authentications gave no password or token away, but a response, from which a password can be guessed offline."""
    return (logins["secret_kind"] == CHALLENGE_RESPONSE) & logins["secret"].isna()


def exposed_accounts(credentials: pd.DataFrame) -> pd.DataFrame:
    """Accounts whose password or token was readable: one row an account at one server (address and port) and protocol."""
    logins = exposed_logins(credentials)
    readable = logins[logins["secret"].notna() & logins["username"].notna()]
    return readable[["username", "server_ip", "server_port", "protocol"]].drop_duplicates()


def nameless_logins(credentials: pd.DataFrame) -> int:
    """How many logins there were whose password or token was readable, but no name of an account."""
    logins = exposed_logins(credentials)
    return int((logins["secret"].notna() & logins["username"].isna()).sum())


def unjudged_sessions(report: Report) -> int:
    """In how many mail sessions logins in clear may have gone unseen; :func:`~analyzer.report.overview.unjudged` tells why."""
    if report.result is not None:
        return summarize(report.result.sessions).doubtful()
    # The tables do not tell whether a session of which one side was captured had begun before.
    sessions, credentials = report.sessions, report.credentials
    mail = sessions[sessions["protocol"] != "unknown"]
    whole = mail["completeness"]
    told = credentials[(credentials["secret_kind"] != NO_SECRET) | (credentials["outcome"] == "accepted")]
    silent = (mail["transport"] == "plaintext") & ~mail["session_id"].isin(told["session_id"])
    last = credentials.drop_duplicates("session_id", keep="last")
    unfinished = mail["session_id"].isin(last[last["outcome"] == "unknown"]["session_id"])
    lossy = mail["gap_bytes"] > 0
    doubtful = (
        (whole == "midstream")
        | ((whole == "one_sided") & ((mail["client_bytes"] == 0) | lossy))
        | ((whole == "truncated") & (lossy | unfinished))
    )
    unread = (mail["transport"] == "unknown") & (mail["starttls"] == "unseen")
    return int(((silent & doubtful) | unread).fillna(value=False).sum())


def exposed_counts(accounts: pd.DataFrame) -> tuple[int, int]:
    """How many accounts that is, by name, and on how many servers (address and port); see :class:`~analyzer.report.overview.Exposed`."""
    return int(accounts["username"].nunique()), len(accounts[["server_ip", "server_port"]].drop_duplicates())


def summary_of(report: Report) -> pd.DataFrame:
    """See :meth:`analyzer.report.tables.Report.summary`."""
    import pandas as pd

    sessions, findings = report.sessions, report.findings
    logins, accounts = exposed_logins(report.credentials), exposed_accounts(report.credentials)
    hashes = only_hashed(logins)
    serious = findings[findings["severity"].isin(("high", "critical"))]
    present = set(sessions["protocol"].dropna()) | set(findings["protocol"].dropna())
    rows: dict[str, list[int]] = {}
    for name in [*[word for word in PROTOCOLS if word in present], "all"]:
        kept = [
            frame if name == "all" else frame[frame["protocol"] == name]
            for frame in (sessions, logins[~hashes], accounts, logins[hashes], findings, serious)
        ]
        transports = [int((kept[0]["transport"] == word).sum()) for word in TRANSPORTS]
        rows[name] = [
            len(kept[0]),
            *transports,
            len(kept[1]),
            *exposed_counts(kept[2]),
            len(kept[3]),
            len(set(kept[3]["username"].dropna()) - set(kept[2]["username"])),
            int(kept[0]["messages"].sum()),
            len(kept[4]),
            len(kept[5]),
        ]
    columns = [
        "sessions", *TRANSPORTS, "logins_exposed", "accounts_exposed", "servers_exposed", "logins_hashed", "accounts_hashed",
        "messages_exposed", "findings", "findings_serious",
    ]  # fmt: skip
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype="Int64")
    frame.index = pd.Index(list(rows), dtype="object", name="protocol")
    return frame


def sentence(report: Report) -> str:
    """What the report covers and how bad it is, in half a sentence."""
    sessions = report.sessions
    mail = sessions[sessions["protocol"] != "unknown"]
    counts = sessions["transport"].value_counts()
    serious = int(report.findings["severity"].isin(("high", "critical")).sum())
    accounts, servers = exposed_counts(exposed_accounts(report.credentials))
    exposed = f"{plural(accounts, 'account')} exposed" + (f" on {plural(servers, 'server')}" if accounts else "")
    unnamed = nameless_logins(report.credentials)
    exposed += f" and {plural(unnamed, 'login')} without a name" if unnamed else ""
    return (
        f"{plural(len(report.captures), 'capture')}: {plural(len(mail), 'mail session')}, {counts.get('plaintext', 0):,} in clear, "
        f"{counts.get('starttls', 0):,} STARTTLS, {counts.get('implicit_tls', 0):,} implicit TLS, "
        f"{exposed}, {plural(serious, 'serious finding')}"
    )


def worst_findings(findings: pd.DataFrame, count: int = WORST) -> pd.DataFrame:
    """The worst findings, one a rule and server, the worst first, with how often each was met in ``times``."""
    place = ["rule", "server_ip", "server_port"]
    times = findings.groupby(place, observed=True, dropna=False)["rule"].transform("size")
    told = findings.assign(times=times).sort_values(["severity", "times"], ascending=False, kind="stable")
    return told.drop_duplicates(place).head(count)


def html_card(report: Report) -> str:
    """The report as a fragment of HTML for notebooks: cards with the counts, the worst findings, warnings. All text is escaped."""
    total = {str(name): int(str(count)) for name, count in summary_of(report).loc["all"].items()}
    accounts = total["accounts_exposed"]
    unnamed = nameless_logins(report.credentials)
    unjudged = unjudged_sessions(report)
    notes = [f"on {plural(total['servers_exposed'], 'server')}"] if accounts else []
    notes += [f"{'and' if accounts else 'but'} {plural(unnamed, 'login')} without a name"] if unnamed else []
    if not notes:
        notes = ["cannot be judged" if unjudged else "none seen"]
    cards = [
        (noun(total["sessions"], "session"), total["sessions"], ""),
        ("in clear", total["plaintext"], _share(total["plaintext"], total["sessions"])),
        ("STARTTLS", total["starttls"], _share(total["starttls"], total["sessions"])),
        ("implicit TLS", total["implicit_tls"], _share(total["implicit_tls"], total["sessions"])),
        (f"{noun(accounts, 'account')} exposed", accounts, ", ".join(notes)),
        (f"{noun(total['messages_exposed'], 'message')} readable", total["messages_exposed"], ""),
    ]
    box = "border:1px solid #8888;border-radius:6px;padding:6px 12px;min-width:7em"
    shown = "".join(
        f'<div style="{box}"><div style="font-size:1.6em">{count:,}</div><div>{label}</div><div style="opacity:.7;font-size:.85em">{note}&nbsp;</div></div>'
        for label, count, note in cards
    )
    parts = [
        f'<div style="display:flex;flex-wrap:wrap;gap:8px;margin:4px 0 10px">{shown}</div>',
        *(
            [
                f"<div>Logins of {plural(unjudged, 'session')} cannot be judged: parts of what was said were not captured.</div>"
            ]
            if unjudged
            else []
        ),
        *([f"<div>{NONE_ALIVE}</div>"] if _none_alive(report) else []),
        _findings_table(report.findings),
    ]
    names = report.captures["capture"].tolist()
    told = ", ".join(_cell(name) for name in names[:WORST]) + (
        f" and {len(names) - WORST:,} more" if len(names) > WORST else ""
    )
    parts.append(f'<div style="opacity:.7;margin-top:6px">from {told or "no capture"}</div>')
    warnings = report.warnings
    parts.extend(f"<div><b>warning:</b> {_cell(warning)}</div>" for warning in warnings[:WORST])
    if len(warnings) > WORST:
        parts.append(f"<div>and {len(warnings) - WORST:,} more warnings</div>")
    return f'<div role="group" aria-label="mailtap report">{"".join(parts)}</div>'


def _findings_table(findings: pd.DataFrame) -> str:
    if findings.empty:
        return "<div>no findings</div>"
    counts = findings["severity"].value_counts()
    told = ", ".join(f"{counts[word]:,} {word}" for word in reversed(SEVERITIES) if counts.get(word, 0))
    rows = []
    for row in worst_findings(findings).to_dict("records"):
        server = (
            ""
            if row["server_ip"] is None or row["server_ip"] != row["server_ip"]
            else f"{row['server_ip']} port {row['server_port']}"
        )
        cells = [row["severity"], f"{row['times']:,}", row["title"], server, row["detail"]]
        rows.append("<tr>" + "".join(f'<td style="text-align:left">{_cell(cell)}</td>' for cell in cells) + "</tr>")
    head = "".join(
        f'<th style="text-align:left">{word}</th>' for word in ("severity", "times", "finding", "server", "for example")
    )
    return f"<div><b>Findings:</b> {told}. The worst:</div><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _none_alive(report: Report) -> bool:
    """Whether the times asked for have left out all that was mail."""
    result = report.result
    return result is not None and result.left_out > 0 and not (report.sessions["protocol"] != "unknown").any()


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _cell(value: object) -> str:
    return escape(shorten("" if value is None else str(value), WIDTH))
