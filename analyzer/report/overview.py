"""What the reports for people say first: one sentence of verdict, what to do in which order, what the capture cannot tell.

Everything here is made of records, without pandas. Texts may hold words from traffic: who shows them escapes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.model import SEVERITIES
from analyzer.report.columns import FINDINGS, MIGRATION
from analyzer.report.rows import Row, RowSink
from analyzer.report.summary import Summary, summarize
from analyzer.report.wording import plural

if TYPE_CHECKING:
    from analyzer.pipeline import Result
    from analyzer.report.formats import Job

#: Findings kept for showing, worst first; what comes beyond is counted.
MAX_FINDINGS: Final = 10_000
#: Servers and accounts kept of one kind of finding; what comes beyond is counted as one.
MAX_KEPT: Final = 10_000

# Where the values of a finding's and a migration's row stand.
_FINDING: Final = {column.name: index for index, column in enumerate(FINDINGS)}
_MIGRATION: Final = {column.name: index for index, column in enumerate(MIGRATION)}


class Action:
    """All findings of one rule, as one thing to do."""

    def __init__(self, rule: str, severity: str, title: str, remediation: str, references: list[str]) -> None:
        self.rule = rule
        #: the worst of its findings
        self.severity = severity
        self.title = title
        self.remediation = remediation
        self.references = references
        self.count = 0
        self.servers: set[str] = set()
        self.clients: set[str] = set()
        self.accounts: set[str] = set()
        #: where the first of the worst was seen
        self.frame: object = None
        self.capture: object = None

    @property
    def rank(self) -> int:
        """0 for info, 4 for critical."""
        return rank(self.severity)


class Exposed:
    """Who was exposed, counted the same in every report: an account is a name, a server is an address and port.

    An account counts where its password or token could be read; the same name at several servers is one account, on several servers.
    """

    def __init__(self, total: Summary) -> None:
        #: accounts, those of them that were let in, servers, clients
        self.accounts, self.accepted, self.servers, self.clients = total.exposed()
        #: accounts, and clients, were left out of these, because there were too many to tell apart
        self.more: bool = total.accounts_left_out > 0
        self.more_clients: bool = total.clients_left_out > 0

    def words(self) -> str:
        """``13 accounts on 5 servers``, ``at least`` so many where not all were told apart."""
        text = f"{plural(len(self.accounts), 'account')} on {plural(len(self.servers), 'server')}"
        return f"at least {text}" if self.more else text

    def senders(self) -> str:
        """``12 clients``, in the same way."""
        text = plural(len(self.clients), "client")
        return f"at least {text}" if self.more_clients else text


class Overview:
    """What a report for people leads with."""

    def __init__(self, version: str, total: Summary) -> None:
        self.version = version
        self.total = total
        #: one sentence; and how bad it is: ``bad warn good none``
        self.verdict: str = ""
        self.tone: str = "none"
        #: by rule, worst first
        self.actions: list[Action] = []
        #: how many findings there are of each severity, worst first
        self.severities: dict[str, int] = {}
        #: rows of the worst findings
        self.findings: list[Row] = []
        self.migration: list[Row] = []
        #: what closing each port that is still used in clear would cut off, in sentences
        self.closing: list[str] = []
        #: sentences on what the capture cannot tell
        self.limits: list[str] = []


def rank(severity: object) -> int:
    """0 for info, 4 for critical, -1 for what is neither."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else -1


class _Findings(RowSink):
    """Counts findings by rule and keeps the worst."""

    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}
        self.counts: dict[str, int] = dict.fromkeys(reversed(SEVERITIES), 0)
        self._kept: dict[str, list[Row]] = {severity: [] for severity in reversed(SEVERITIES)}

    def receive_row(self, row: Row) -> None:
        rule, severity = str(row[_FINDING["rule"]]), str(row[_FINDING["severity"]])
        self.counts[severity] = self.counts.get(severity, 0) + 1
        kept = self._kept.setdefault(severity, [])
        if len(kept) < MAX_FINDINGS:
            kept.append(row)
        one = self.actions.get(rule)
        if one is None:
            references = row[_FINDING["references"]]
            one = Action(
                rule,
                severity,
                str(row[_FINDING["title"]] or rule),
                str(row[_FINDING["remediation"]] or ""),
                [str(reference) for reference in references] if isinstance(references, list) else [],
            )
            one.frame, one.capture = row[_FINDING["frame"]], row[_FINDING["capture"]]
            self.actions[rule] = one
        elif rank(severity) > rank(one.severity):
            one.severity = severity
            one.frame, one.capture = row[_FINDING["frame"]], row[_FINDING["capture"]]
        one.count += 1
        if row[_FINDING["server_ip"]] is not None and len(one.servers) < MAX_KEPT:
            one.servers.add(endpoint(row[_FINDING["server_ip"]], row[_FINDING["server_port"]]))
        if row[_FINDING["client_ip"]] is not None and len(one.clients) < MAX_KEPT:
            one.clients.add(str(row[_FINDING["client_ip"]]))
        if row[_FINDING["username"]] is not None and len(one.accounts) < MAX_KEPT:
            one.accounts.add(str(row[_FINDING["username"]]))

    def worst(self) -> list[Row]:
        """The findings kept, worst first, in order of time within a severity."""
        rows = [row for kept in self._kept.values() for row in kept]
        return rows[:MAX_FINDINGS]


def make_overview(job: Job) -> Overview:
    """The overview of a run."""
    total = summarize(job.result.sessions)
    overview = Overview(job.version, total)
    sink = _Findings()
    job.push("findings", sink)
    overview.findings = sink.worst()
    overview.severities = sink.counts
    overview.actions = sorted(sink.actions.values(), key=lambda one: (-one.rank, -one.count, one.rule))
    overview.migration = job.rows("migration")
    overview.closing = list(dict.fromkeys(str(row[_MIGRATION["closing"]]) for row in overview.migration))
    overview.tone, overview.verdict = verdict(total, sink.counts)
    overview.limits = limits(job.result, total) + job.maker.notes
    return overview


def verdict(total: Summary, severities: dict[str, int]) -> tuple[str, str]:
    """How bad it is (``bad warn good none``), and one sentence that says so."""
    exposed = Exposed(total)
    hashed = {one.username for one in total.hashed_accounts()}
    grave = severities.get("critical", 0) + severities.get("high", 0)
    if exposed.accounts:
        whose = "its password or token" if len(exposed.accounts) == 1 else "their passwords or tokens"
        words = exposed.words()
        text = f"{words[:1].upper()}{words[1:]} sent {whose} in clear, from {exposed.senders()}."
        return "bad", text
    if total.nameless:
        return (
            "bad",
            f"{plural(total.nameless, 'login')} went over the wire in clear; the account names could not be read.",
        )
    if hashed:
        return "warn", (
            f"No password was sent as such, but {plural(len(hashed), 'account')} sent challenge and response in clear, "
            "from which passwords can be guessed offline."
        )
    if total.messages_exposed:
        return (
            "warn",
            f"No password was readable, but {plural(total.messages_exposed, 'message')} could be read in clear.",
        )
    if grave:
        return (
            "warn",
            f"No password or message was readable, but {plural(grave, 'finding')} of high severity want attention.",
        )
    if total.mail:
        seen = "" if total.complete == total.sessions else ", as far as this capture can tell"
        return "good", f"No password, token or message was readable in {plural(total.mail, 'mail session')}{seen}."
    return "none", "No mail session was seen in this capture."


def limits(result: Result, total: Summary) -> list[str]:
    """What the captures cannot tell, in sentences."""
    lines = []
    if total.midstream:
        lines.append(f"{plural(total.midstream, 'session')} began before the capture: what came before is unseen.")
    if total.one_sided:
        lines.append(
            f"{plural(total.one_sided, 'session')} had only one direction captured: outcomes or secrets may be missing."
        )
    if total.truncated:
        lines.append(
            f"{plural(total.truncated, 'session')} lacked octets ({total.gap_bytes:,} missing) or had not ended."
        )
    if total.conflicts:
        lines.append(
            f"{plural(total.conflicts, 'session')} carried the same octets twice with different content: "
            "somebody may inject packets."
        )
    if total.cut_records:
        lines.append(f"{total.cut_records:,} records of overlong sessions were left out.")
    lines.extend(total.notes())
    lines.extend(result.warnings)
    lines.extend(str(failure) for failure in result.failures)
    return lines


def endpoint(address: object, port: object) -> str:
    """Address and port as one writes them: ``192.0.2.1:110``, ``[2001:db8::1]:110``."""
    host = f"[{address}]" if ":" in str(address) else str(address)
    return host if port is None else f"{host}:{port}"


def reference_url(reference: str) -> str:
    """Where a reference of a rule (``RFC 8314 section 3``, ``CWE-319``, ``CVE-2011-0411``) can be read; empty where nowhere."""
    if reference.startswith("https://"):
        return reference
    word, _, rest = reference.partition(" ")
    number, _, section = rest.partition(" section ")
    if word == "RFC" and number.isdecimal():
        return f"https://www.rfc-editor.org/rfc/rfc{number}" + (f"#section-{section}" if section else "")
    if reference.startswith("MITRE ATT&CK T"):
        return f"https://attack.mitre.org/techniques/{reference.rsplit(maxsplit=1)[-1].replace('.', '/')}/"
    kind, _, number = reference.partition("-")
    if kind == "CWE" and number.isdecimal():
        return f"https://cwe.mitre.org/data/definitions/{number}.html"
    if kind == "CVE" and number.replace("-", "").isdecimal():
        return f"https://nvd.nist.gov/vuln/detail/{reference}"
    return ""
