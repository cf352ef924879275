"""What the reports for people say first: one sentence of verdict, what to do in which order, what the capture cannot tell.

Everything here is made of records, without pandas. Texts may hold words from traffic: who shows them escapes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.model import SEVERITIES
from analyzer.report.columns import FINDINGS
from analyzer.report.migration import closings, migrate
from analyzer.report.rows import Row, RowSink
from analyzer.report.servers import postures
from analyzer.report.summary import Summary, summarize
from analyzer.report.wording import noun, plural

if TYPE_CHECKING:
    from analyzer.pipeline import Result
    from analyzer.report.formats import Job
    from analyzer.sessions.records import Session

#: Findings kept for showing, worst first; what comes beyond is counted.
MAX_FINDINGS: Final = 10_000
#: Servers and accounts kept of one kind of finding; what comes beyond is counted as one.
MAX_KEPT: Final = 10_000

#: Servers named of those that spoke something else than mail, of one kind.
MAX_PLACES: Final = 3
#: Sentences on closing ports.
MAX_CLOSINGS: Final = 10

#: What is said of a login, or an account, of which no more could be read.
HASH_ONLY: Final = "only a hash readable"
#: The verdict where mail was left out, and none is left.
NONE_ALIVE: Final = "No mail session was alive in the time asked for."

# Where the values of a finding's row stand.
_FINDING: Final = {column.name: index for index, column in enumerate(FINDINGS)}


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

    An account counts where its password or token could be read, whatever came of it; the same name at several servers is one account, on
    several servers. Those that were let in, or of which the outcome was not seen, lead; names that were only tried and rejected are told apart.
    """

    def __init__(self, total: Summary) -> None:
        #: accounts, those of them that were let in, those that were only rejected, servers, clients
        self.accounts, self.accepted, self.rejected, self.servers, self.clients = total.exposed()
        #: accounts of which a hash alone was readable, from which passwords can be guessed offline: at no server more than that
        hashed = [one for one in total.hashed_accounts() if one.username not in self.accounts]
        self.hashed: set[str] = {one.username for one in hashed}
        #: the mechanisms by which they logged in, sorted
        self.hashed_by: list[str] = sorted({name for one in hashed for name in one.mechanisms()})
        #: accounts that lead the report, and their servers and clients: all where all were rejected
        self.leading: set[str] = self.accounts - self.rejected or self.accounts
        if len(self.leading) < len(self.accounts):
            self.servers_leading, self.clients_leading = total.places_of(self.leading)
        else:
            self.servers_leading, self.clients_leading = self.servers, self.clients
        #: accounts, and clients, were left out of these, because there were too many to tell apart
        self.more: bool = total.accounts_left_out > 0
        self.more_clients: bool = total.clients_left_out > 0

    def words(self) -> str:
        """``13 accounts on 5 servers``, ``at least`` so many where not all were told apart; with what came of it where that is unlike."""
        text = (
            f"{plural(len(self.leading), 'account')}{self._outcomes()} on {plural(len(self.servers_leading), 'server')}"
        )
        return f"at least {text}" if self.more else text

    def _outcomes(self) -> str:
        unseen = len(self.leading) - len(self.accepted)
        if not unseen or self.leading == self.rejected:
            return ""
        if not self.accepted:
            return " (outcome not seen)"
        return f" ({len(self.accepted):,} let in, outcome of {unseen:,} not seen)"

    def senders(self) -> str:
        """``12 clients``, in the same way."""
        text = plural(len(self.clients_leading), "client")
        return f"at least {text}" if self.more_clients else text

    def others(self) -> str:
        """What is to be said of names that were only rejected, behind a comma or semicolon; empty where there are none."""
        if not self.rejected:
            return ""
        if self.leading == self.rejected:
            return ", rejected" if len(self.rejected) == 1 else ", all rejected"
        more = len(self.rejected)
        return f"; {plural(more, 'more name')} {'was' if more == 1 else 'were'} tried and rejected"

    def came_of_it(self) -> str:
        """What came of the logins, of all accounts: ``3 let in, 7 rejected``."""
        counts = (
            (len(self.accepted), "let in"),
            (len(self.accounts) - len(self.accepted) - len(self.rejected), "with outcome not seen"),
            (len(self.rejected), "rejected"),
        )
        return ", ".join(f"{count:,} {what}" for count, what in counts if count)


class Verdict:
    """One sentence or two on how bad it is, as every report leads with it."""

    def __init__(self, exposed: Exposed, kind: str, tone: str, lead: str, rest: str = "") -> None:
        #: whose secrets were readable
        self.exposed = exposed
        #: what it rests on: ``readable nameless hashed messages grave unjudged good none``
        self.kind = kind
        #: how bad it is: ``bad warn good none``
        self.tone = tone
        #: what weighs most, and the rest of the text
        self.lead = lead
        self.rest = rest

    def sentence(self) -> str:
        """All of it."""
        return f"{self.lead[:1].upper()}{self.lead[1:]}{self.rest}"


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
        #: the accounts of these rows in words: ``(empty)``, ``?`` where none could be read, ``(no login)``
        self.migrants: list[str] = []
        #: what closing the ports that are still used in clear would cut off, in sentences, those with most accounts first
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
    migration = migrate(job.result.sessions, postures(job.result.sessions, None))
    overview.migration = [job.maker.migrant(one) for one in migration.rows]
    overview.migrants = [one.account() for one in migration.rows]
    overview.closing = closings(migration.ports, MAX_CLOSINGS)
    found = verdict(total, sink.counts, job.result.left_out)
    overview.tone, overview.verdict = found.tone, found.sentence()
    overview.limits = limits(job.result, total) + job.maker.notes
    return overview


def verdict(total: Summary, severities: dict[str, int], left_out: int = 0) -> Verdict:
    """How bad it is. Nothing reassures where logins in clear may have gone unseen. ``left_out`` sessions were not in the time asked for."""
    exposed = Exposed(total)
    if exposed.accounts:
        whose = "its password or token" if len(exposed.leading) == 1 else "their passwords or tokens"
        rest = f" sent {whose} in clear, from {exposed.senders()}{exposed.others()}."
        if total.nameless:
            rest = f"{rest} {nameless(total.nameless, 'more login')}"
        return Verdict(exposed, "readable", "bad", exposed.words(), rest)
    doubt = unjudged(total)
    more = f" {doubt}" if doubt else ""
    hashed = _hashed(total, exposed)
    if total.nameless:
        names = noun(total.nameless, "name")
        rest = f" went over the wire in clear; the account {names} could not be read."
        if hashed:
            rest = f"{rest} {hashed[:1].upper()}{hashed[1:]}: the hash is readable, and can be guessed offline."
        return Verdict(exposed, "nameless", "bad", plural(total.nameless, "login"), rest + more)
    readable = "seen" if doubt else "readable"
    if hashed:
        what, mark, by = hashed.partition(" (")
        rest = f"{mark}{by}: the hash is readable, and can be guessed offline.{more}"
        return Verdict(exposed, "hashed", "warn", f"No password was {readable}, but {what}", rest)
    if total.messages_exposed:
        what = f"No password was {readable}, but {plural(total.messages_exposed, 'message')} could be read in clear."
        return Verdict(exposed, "messages", "warn", what, more)
    grave = severities.get("critical", 0) + severities.get("high", 0)
    if grave:
        what = (
            f"No password or message was {readable}, but {plural(grave, 'finding')} of high severity "
            f"{'wants' if grave == 1 else 'want'} attention."
        )
        return Verdict(exposed, "grave", "warn", what, more)
    if doubt:
        others = total.mail - total.doubtful()
        rest = (
            f" In {plural(others, 'other mail session')} no password, token or message was readable." if others else ""
        )
        return Verdict(exposed, "unjudged", "warn", doubt, rest)
    if total.mail:
        seen = "" if total.complete == total.sessions else ", as far as this capture can tell"
        what = f"No password, token or message was readable in {plural(total.mail, 'mail session')}{seen}."
        return Verdict(exposed, "good", "good", what)
    if left_out:
        return Verdict(exposed, "none", "none", NONE_ALIVE)
    return Verdict(exposed, "none", "none", "No mail session was seen in this capture.")


def _hashed(total: Summary, exposed: Exposed) -> str:
    """Whose challenge and response were in clear, with the mechanisms in brackets where they are known; empty where nobody's were."""
    who = [plural(len(exposed.hashed), "account")] if exposed.hashed else []
    if total.nameless_hashes:
        who.append(f"{plural(total.nameless_hashes, 'login')} without a name")
    by = f" ({', '.join(exposed.hashed_by)})" if exposed.hashed else ""
    return f"{' and '.join(who)} sent challenge and response in clear{by}" if who else ""


def nameless(count: int, what: str = "login") -> str:
    """A sentence on logins that were readable without the name of an account; empty where there are none."""
    if not count:
        return ""
    return (
        f"{plural(count, what)} {'was' if count == 1 else 'were'} readable, but not the account {noun(count, 'name')}."
    )


def unjudged(total: Summary) -> str:
    """A sentence on the sessions in which logins in clear may have gone unseen; empty where there are none."""
    causes = []
    if total.unheard:
        whose = "client's" if total.unheard == 1 else "clients'"
        causes.append(f"of {plural(total.unheard, 'session')} in clear the {whose} side was not captured")
    if total.late:
        causes.append(f"{plural(total.late, 'session')} in clear began before the capture")
    if total.patchy:
        causes.append(f"{plural(total.patchy, 'session')} in clear {'lacks' if total.patchy == 1 else 'lack'} octets")
    if total.unfinished:
        causes.append(f"in {plural(total.unfinished, 'session')} in clear the capture ends within a login")
    if total.unread:
        causes.append(f"of {plural(total.unread, 'session')} nothing that was said was captured")
    return f"Logins cannot be judged: {', '.join(causes)}." if causes else ""


def limits(result: Result, total: Summary) -> list[str]:
    """What the captures cannot tell, in sentences."""
    return [*unseen(total), *total.notes(), *result.warnings, *(str(failure) for failure in result.failures)]


def unseen(total: Summary) -> list[str]:
    """What is missing of the sessions, in sentences."""
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
    return lines


def sessions_of(total: Summary) -> str:
    """How many sessions there are: ``5 mail sessions``, ``5 mail sessions and 2 other connections to mail ports``."""
    others = total.sessions - total.mail
    text = plural(total.mail, "mail session")
    return f"{text} and {plural(others, 'other connection')} to mail ports" if others else text


def wordless(total: Summary) -> str:
    """How many connections to mail ports are neither mail nor known as something else, in a sentence; empty where there are none."""
    told = [f"{plural(total.wordless, 'connection')} to mail ports without a word"] if total.wordless else []
    if total.unrecognised:
        what = "more" if told else f"{noun(total.unrecognised, 'connection')} to mail ports"
        told.append(f"{total.unrecognised:,} {what} in which nothing was recognised")
    return f"{', '.join(told)}." if told else ""


def strangers(sessions: list[Session]) -> str:
    """Where something else than mail was met on mail ports, in a sentence; empty where that was nowhere."""
    seen: dict[str, set[str]] = {}
    for session in sessions:
        if session.not_mail is not None:
            seen.setdefault(session.not_mail, set()).add(endpoint(session.server_ip, session.server_port))
    told = [
        f"{name} at {', '.join(sorted(places)[:MAX_PLACES])}{_more(places)}" for name, places in sorted(seen.items())
    ]
    return f"Not mail, on mail ports: {'; '.join(told)}." if told else ""


def _more(places: set[str]) -> str:
    return f" and {len(places) - MAX_PLACES:,} more" if len(places) > MAX_PLACES else ""


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
