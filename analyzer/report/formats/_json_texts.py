"""The large tables as JSON, straight from the records.

The result is what :class:`analyzer.report.formats.json.RowWriter` makes of their rows, octet by octet, at a third of the cost: a run may
have hundreds of thousands of sessions, and several rows for each. What rows of one session, one rule or one server port have in common
is written once for all of them. Columns stand here as they stand in :mod:`analyzer.report.columns`; a test holds the two together.
"""

from __future__ import annotations

import json
import time
from json.encoder import encode_basestring_ascii as encode_ascii
from typing import Final

from mypy_extensions import i64

from analyzer.findings.base import Finding, Rule
from analyzer.model import MASK, SEVERITIES, Secret
from analyzer.report.migration import Migrant, Port
from analyzer.report.rows import RowMaker
from analyzer.sessions.records import Credential, Message, Session

#: Seconds of which the text is kept.
MAX_KEPT: Final = 4096
#: What no time has.
NO_SECOND: Final = 1 << 60
#: Addresses, names and servers of which the text is kept; secrets of which the fingerprint is.
MAX_WORDS: Final = 32768
#: Three digits of a number.
_DIGITS: Final[list[str]] = [f"{number:03d}" for number in range(1000)]
_NUMBERS: Final[list[str]] = [str(number) for number in range(1000)]


def rfc3339_second(second: int) -> str:
    """A second since the epoch as ``2026-01-31T23:59:59``; years beyond 9999 (a damaged capture) as the last second of 9999."""
    moment = time.gmtime(min(max(second, -62135596800), 253402300799))
    return (
        f"{moment.tm_year:04d}-{moment.tm_mon:02d}-{moment.tm_mday:02d}"
        f"T{moment.tm_hour:02d}:{moment.tm_min:02d}:{moment.tm_sec:02d}"
    )


def json_text(text: str) -> str:
    """A JSON string."""
    if text.isascii():
        return encode_ascii(text)
    return json.dumps(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"))


class Moments:
    """Writes times; the seconds written last are kept.

    A row takes the parts of a time that was :meth:`set` as they are: putting them together first would copy them once more.
    """

    def __init__(self) -> None:
        self._second: i64 = NO_SECOND
        self._prefixes: dict[int, str] = {}
        #: the second with the quotation mark before it and the dot behind, and three times three digits
        self.second: str = ""
        self.thousandths: str = ""
        self.millionths: str = ""
        self.billionths: str = ""
        #: what closes a time
        self.zone: str = 'Z"'

    def set(self, timestamp_ns: i64) -> None:
        """Take a time."""
        second = timestamp_ns // 1_000_000_000
        if second != self._second:
            known = self._prefixes.get(second)
            if known is None:
                known = f'"{rfc3339_second(second)}.'
                if len(self._prefixes) >= MAX_KEPT:
                    self._prefixes.clear()
                self._prefixes[second] = known
            self._second = second
            self.second = known
            self.zone = 'Z"'
        rest = timestamp_ns - second * 1_000_000_000
        thousands = rest // 1000
        self.thousandths = _DIGITS[thousands // 1000]
        self.millionths = _DIGITS[thousands % 1000]
        self.billionths = _DIGITS[rest % 1000]

    def unset(self) -> None:
        """Take that there is no time."""
        self._second = NO_SECOND
        self.second = "null"
        self.thousandths = self.millionths = self.billionths = self.zone = ""

    def text(self, timestamp_ns: i64) -> str:
        """A time as RFC 3339, with nanoseconds, in quotation marks."""
        self.set(timestamp_ns)
        return f'{self.second}{self.thousandths}{self.millionths}{self.billionths}Z"'


def number_text(number: i64) -> str:
    """A number; most are small."""
    if 0 <= number < 1000:
        return _NUMBERS[number]
    if 0 <= number < 1_000_000:
        return f"{_NUMBERS[number // 1000]}{_DIGITS[number % 1000]}"
    return str(number)


def optional_text(text: str | None) -> str:
    """A JSON string, or null."""
    return "null" if text is None else json_text(text)


def list_text(texts: list[str] | None) -> str:
    """A JSON list of strings."""
    if not texts:
        return "[]"
    return f"[{','.join([json_text(text) for text in texts])}]"


def flag_text(flag: bool | None) -> str:
    """A JSON boolean, or null."""
    return "null" if flag is None else "true" if flag else "false"


class _Word:
    """A word, and what it is in JSON."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.text = json_text(word)
        #: it stands there as it is, between quotation marks
        self.plain: bool = len(self.text) == len(word) + 2


#: What stands for no word.
_NO_WORD: Final = _Word("")


class Words:
    """Writes words that come again and again: addresses, names of accounts, mechanisms. Their text is kept."""

    def __init__(self) -> None:
        self._known: dict[str, _Word] = {}

    def of(self, word: str) -> _Word:
        """A word, and its text."""
        known = self._known.get(word)
        if known is None:
            known = _Word(word)
            if len(self._known) >= MAX_WORDS:
                self._known.clear()
            self._known[word] = known
        return known

    def text(self, word: str) -> str:
        """A JSON string."""
        return self.of(word).text

    def optional(self, word: str | None) -> str:
        """A JSON string, or null."""
        return "null" if word is None else self.of(word).text

    def name(self, one: Credential) -> str:
        """A login's user name, or null. The name becomes the same object everywhere: whoever compares it then compares no letters."""
        if one.username is None:
            return "null"
        known = self.of(one.username)
        one.username = known.word
        return known.text


class _Server:
    """What rows and display filters say of one server address and port."""

    def __init__(self, address: str, port: i64) -> None:
        family = "ipv6" if ":" in address else "ip"
        self.columns = f',"server_ip":{json_text(address)},"server_port":{port}'
        self.before_client_port = f" && {family}.addr == {address} && tcp.port == "
        self.before_frame = f" && tcp.port == {port} && frame.number >= "


class Servers:
    """Writes servers; what was written is kept."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, _Server]] = {}
        self._count: i64 = 0

    def of(self, session: Session) -> _Server:
        """The server of a session."""
        ports = self._known.get(session.server_ip)
        known: _Server | None = None if ports is None else ports.get(session.server_port)
        if known is None:
            if self._count >= MAX_WORDS:
                self._known.clear()
                self._count = 0
                ports = None
            if ports is None:
                ports = {}
                self._known[session.server_ip] = ports
            known = _Server(session.server_ip, session.server_port)
            ports[session.server_port] = known
            self._count += 1
        return known


class SessionTexts:
    """Rows of ``sessions``. ``head`` is what opens each object."""

    def __init__(self, head: str, words: Words, servers: Servers) -> None:
        self._head = f'{head}"session_id":"'
        self._all_words = words
        self._servers = servers
        self._starts = Moments()
        self._ends = Moments()
        self._capture: str | None = None
        self._sensor: str | None = None
        self._place: str = ""
        self._protocol: str = ""
        self._service: str | None = ""
        self._transport: str = ""
        self._starttls: str = ""
        self._exposure: str = ""
        self._words: str = ""
        self._completeness: str = ""
        self._banner: str | None = None
        self._whole: str = ""

    def text(self, one: Session) -> str:
        """One object on one line."""
        if one.capture is not self._capture or one.sensor is not self._sensor:
            self._capture = one.capture
            self._sensor = one.sensor
            self._place = f'","capture":{json_text(one.capture)},"sensor":{json_text(one.sensor)},"start":'
        if (
            one.protocol is not self._protocol
            or one.port_service is not self._service
            or one.transport is not self._transport
            or one.starttls is not self._starttls
            or one.exposure is not self._exposure
        ):
            self._protocol = one.protocol
            self._service = one.port_service
            self._transport = one.transport
            self._starttls = one.starttls
            self._exposure = one.exposure
            self._words = (
                f',"protocol":"{one.protocol}","port_service":{optional_text(one.port_service)}'
                f',"transport":"{one.transport}","starttls":"{one.starttls}","exposure":"{one.exposure}","auth_attempts":'
            )
        if one.gap_bytes == 0 and one.conflict_bytes == 0 and one.client_name is None and one.capabilities is None:
            # Most of the many are alike: nothing is missing, and their servers greet alike.
            if one.completeness is not self._completeness or one.server_banner is not self._banner:
                self._completeness = one.completeness
                self._banner = one.server_banner
                self._whole = self._what_was_seen(one)
            seen = self._whole
        else:
            seen = self._what_was_seen(one)
        server = self._servers.of(one)
        client_ip = one.client_ip
        client_port = number_text(one.client_port)
        first_frame = number_text(one.first_frame)
        last_frame = number_text(one.last_frame)
        start = self._starts
        start.set(one.start_ns)
        end = self._ends
        end.set(one.end_ns)
        family = "ipv6" if ":" in client_ip else "ip"
        frames = "" if one.spans_files else f" && frame.number <= {last_frame}"
        return (
            f"{self._head}{one.session_id()}{self._place}{start.second}{start.thousandths}{start.millionths}{start.billionths}"
            f'Z","end":{end.second}{end.thousandths}{end.millionths}{end.billionths}Z","first_frame":{first_frame},"last_frame":{last_frame}'
            f',"client_ip":{self._all_words.text(client_ip)},"client_port":{client_port}{server.columns}{self._words}'
            f'{number_text(one.auth_attempts)},"auth_accepted":{number_text(one.auth_accepted)},"messages":{number_text(one.messages)}'
            f',"message_bytes":{number_text(one.message_bytes)},"packets":{number_text(one.packets)}'
            f',"client_bytes":{number_text(one.client_bytes)},"server_bytes":{number_text(one.server_bytes)}'
            f"{seen}{family}.addr == {client_ip}{server.before_client_port}{client_port}{server.before_frame}{first_frame}{frames}{_ending(one)}"
        )

    def _what_was_seen(self, one: Session) -> str:
        """The columns from what is missing to the capabilities, up to the display filter."""
        return (
            f',"gap_bytes":{number_text(one.gap_bytes)},"conflict_bytes":{number_text(one.conflict_bytes)}'
            f',"completeness":"{one.completeness}","server_banner":{self._all_words.optional(one.server_banner)}'
            f',"client_name":{optional_text(one.client_name)},"capabilities":{list_text(one.capabilities)},"display_filter":"'
        )


def _ending(one: Session) -> str:
    """What stands behind a session's display filter."""
    anomalies = one.anomalies
    if anomalies is None and one.not_mail is None and not one.compressed:
        return '","compressed":false,"not_mail":null,"anomalies":[]}'
    odd = "[]" if anomalies is None else list_text([f"{seen.kind}@{seen.frame}" for seen in anomalies])
    return f'","compressed":{flag_text(one.compressed)},"not_mail":{optional_text(one.not_mail)},"anomalies":{odd}}}'


class CredentialTexts:
    """Rows of ``credentials``."""

    def __init__(self, head: str, maker: RowMaker, words: Words, servers: Servers) -> None:
        self._head = f'{head}"session_id":"'
        self._maker = maker
        self._words = words
        self._servers = servers
        self._moments = Moments()
        #: secret -> its fingerprint: most are used again and again
        self._seals: dict[str, _Word] = {}
        self._protocol: str = ""
        self._mechanism: str = ""
        self._how: str = ""
        self._kind: str = ""
        self._hidden: str = ""

    def text(self, session: Session, one: Credential) -> str:
        """One object on one line."""
        words = self._words
        hidden = one.secret if one.secret is not None else one.response
        identifier = "null" if hidden is None else self._seal(hidden)
        secret, challenge, response, _, length, strength = self._maker.shown(one)
        if session.protocol is not self._protocol or one.mechanism is not self._mechanism:
            self._protocol = session.protocol
            self._mechanism = one.mechanism
            self._how = f',"protocol":"{session.protocol}","mechanism":{json_text(one.mechanism)},"username":'
        if secret is MASK and one.authzid is None and challenge is None and response is None:
            # As nearly all are.
            if one.secret_kind is not self._kind:
                self._kind = one.secret_kind
                self._hidden = _proof_text(one, MASK, None, None)
            proof = self._hidden
        else:
            proof = _proof_text(one, secret, challenge, response)
        at = self._moments
        at.set(one.timestamp_ns)
        return (
            f'{self._head}{session.session_id()}","time":{at.second}{at.thousandths}{at.millionths}{at.billionths}Z","frame":{number_text(one.frame)}'
            f',"client_ip":{words.text(session.client_ip)}{self._servers.of(session).columns}{self._how}{words.name(one)}'
            f'{proof}{one.outcome}","secret_id":{identifier}'
            f',"secret_length":{count_text(length)},"strength":{count_text(strength)},"exposed":{flag_text(one.exposed)}}}'
        )

    def _seal(self, secret: Secret) -> str:
        """The fingerprint of a secret, as a JSON string."""
        if secret.fingerprint is not None:
            return json_text(secret.fingerprint)
        value = secret.reveal() or ""
        known = self._seals.get(value)
        if known is None:
            if len(self._seals) >= MAX_WORDS:
                self._seals.clear()
            known = _Word(secret.seal(self._maker.key))
            self._seals[value] = known
        else:
            secret.fingerprint = known.word
        return known.text


def _proof_text(one: Credential, secret: str | None, challenge: str | None, response: str | None) -> str:
    """The columns that tell what a login was proved with, up to its outcome."""
    return (
        f',"authzid":{optional_text(one.authzid)},"secret":{optional_text(secret)},"secret_kind":"{one.secret_kind}"'
        f',"challenge":{optional_text(challenge)},"response":{optional_text(response)},"outcome":"'
    )


class MessageTexts:
    """Rows of ``messages``."""

    def __init__(self, head: str, maker: RowMaker) -> None:
        self._head = f'{head}"session_id":"'
        self._maker = maker
        self._moments = Moments()

    def text(self, session: Session, one: Message) -> str:
        """One object on one line."""
        subject, sender, recipients = self._maker.header_fields(one)
        at = self._moments
        at.set(one.timestamp_ns)
        return (
            f'{self._head}{session.session_id()}","time":{at.second}{at.thousandths}{at.millionths}{at.billionths}Z"'
            f',"frame":{number_text(one.frame)},"direction":"{one.direction}","mail_from":{optional_text(one.mail_from)},"recipients":{list_text(one.recipients)}'
            f',"recipient_count":{number_text(one.recipient_count)},"size":{number_text(one.size)}'
            f',"complete":{flag_text(one.complete)},"accepted":{flag_text(one.accepted)},"deleted":{flag_text(one.deleted)}'
            f',"mailbox":{optional_text(one.mailbox)},"attachments":{list_text(one.attachments)}'
            f',"subject":{optional_text(subject)},"header_from":{optional_text(sender)},"header_to":{optional_text(recipients)}'
            f',"exposed":{flag_text(one.exposed)}}}'
        )


class _RuleTexts:
    """What all findings of one rule have in common."""

    def __init__(self, rule: Rule) -> None:
        self.title = f'","title":{json_text(rule.title)},"session_id":'
        self.rule = f'","rule":"{rule.slug}","severity":"'
        self.advice = (
            f'","remediation":{json_text(rule.remediation)},"references":{list_text(list(rule.references))},"offset":'
        )


class FindingTexts:
    """Rows of ``findings``."""

    def __init__(self, head: str, words: Words, servers: Servers) -> None:
        self._head = f'{head}"finding_id":"'
        self._words = words
        self._servers = servers
        self._moments = Moments()
        self._rules: dict[int, _RuleTexts] = {}
        self._session: Session | None = None
        self._who: str = ""
        self._where: str = ""
        self._capture: str | None = None
        self._capture_text: str = ""

    def text(self, one: Finding) -> str:
        """One object on one line."""
        rule = one.rule
        texts = self._rules.get(rule.number)
        if texts is None:
            texts = _RuleTexts(rule)
            self._rules[rule.number] = texts
        session = one.session
        capture = one.capture if session is None else session.capture
        if capture is not self._capture:
            self._capture = capture
            self._capture_text = f',"capture":{json_text(capture)}}}'
        if session is None:
            self._session = None
            self._who = 'null,"time":'
            self._where = ',"client_ip":null,"server_ip":null,"server_port":null,"protocol":null,"username":'
        elif session is not self._session:
            self._session = session
            self._who = f'"{session.session_id()}","time":'
            self._where = (
                f',"client_ip":{self._words.text(session.client_ip)}{self._servers.of(session).columns}'
                f',"protocol":"{session.protocol}","username":'
            )
        name = _NO_WORD if one.username is None else self._words.of(one.username)
        detail = one.detail()
        if one.detail_text != "" or not name.plain:
            detail = json_text(detail)[1:-1]
        frame_text = number_text(one.frame) if one.frame else "null"
        at = self._moments
        if one.timestamp_ns:
            at.set(one.timestamp_ns)
        else:
            at.unset()
        return (
            f'{self._head}{one.finding_id()}{texts.rule}{SEVERITIES[one.severity]}","confidence":"{one.confidence}{texts.title}'
            f'{self._who}{at.second}{at.thousandths}{at.millionths}{at.billionths}{at.zone},"frame":{frame_text}{self._where}'
            f'{"null" if one.username is None else name.text},"detail":"{detail}{texts.advice}{number_text(one.offset)}{self._capture_text}'
        )


class _PortTexts:
    """What all rows of one server port have in common."""

    def __init__(self, one: Migrant) -> None:
        port = one.port
        self.where = (
            f',"server_ip":{json_text(port.server_ip)},"server_port":{port.server_port},"protocol":"{port.protocol}"'
            ',"username":'
        )
        self.setting = (
            f',"current":{json_text(one.current())},"recommended":{optional_text(one.recommended())}'
            f',"seen_working":{flag_text(one.seen_working())},"accounts":'
        )
        self.host = f',"host":{json_text(port.host)},"authentication":'
        self.basis = f',"basis":{json_text(one.basis())},"problems":'
        self.closing = f',"closing":{json_text(port.closing)}}}'


class MigrationTexts:
    """Rows of ``migration``."""

    def __init__(self, head: str, words: Words) -> None:
        self._head = f'{head}"client_ip":'
        self._words = words
        self._moments = Moments()
        self._ports: dict[Port, _PortTexts] = {}

    def text(self, one: Migrant) -> str:
        """One object on one line."""
        texts = self._ports.get(one.port)
        if texts is None:
            texts = _PortTexts(one)
            if len(self._ports) >= MAX_KEPT:
                self._ports.clear()
            self._ports[one.port] = texts
        words = self._words
        last = self._moments
        last.set(one.last_ns)
        return (
            f"{self._head}{words.text(one.client_ip)}{texts.where}{words.optional(one.username)}{texts.setting}"
            f'{number_text(one.accounts())},"last_seen":{last.second}{last.thousandths}{last.millionths}{last.billionths}Z"{texts.host}'
            f"{words.text(one.authentication())}{texts.basis}{list_text(one.problems)}{texts.closing}"
        )


def count_text(count: int | None) -> str:
    """A number, or null."""
    return "null" if count is None else str(count)
