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
from analyzer.report.migration import Migrant, Port
from analyzer.report.rows import RowMaker
from analyzer.sessions.records import Credential, Message, Session

#: Seconds, and heads of findings, of which the text is kept.
MAX_KEPT: Final = 4096
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
    """Writes times; the seconds written last are kept."""

    def __init__(self) -> None:
        self._second: i64 = -1
        self._prefix: str = ""
        self._prefixes: dict[int, str] = {}

    def text(self, timestamp_ns: i64) -> str:
        """A time as RFC 3339, with nanoseconds, in quotation marks."""
        second = timestamp_ns // 1_000_000_000
        if second != self._second:
            known = self._prefixes.get(second)
            if known is None:
                known = f'"{rfc3339_second(second)}.'
                if len(self._prefixes) >= MAX_KEPT:
                    self._prefixes.clear()
                self._prefixes[second] = known
            self._second = second
            self._prefix = known
        rest = timestamp_ns - second * 1_000_000_000
        thousands = rest // 1000
        return f'{self._prefix}{_DIGITS[thousands // 1000]}{_DIGITS[thousands % 1000]}{_DIGITS[rest % 1000]}Z"'


def number_text(number: i64) -> str:
    """A number; most are small."""
    if 0 <= number < 1000:
        return _NUMBERS[number]
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


class SessionTexts:
    """Rows of ``sessions``. ``head`` is what opens each object."""

    def __init__(self, head: str) -> None:
        self._head = f'{head}"session_id":"'
        self._moments = Moments()
        self._capture: str | None = None
        self._sensor: str | None = None
        self._place: str = ""
        self._server_ip: str = ""
        self._server_port: i64 = -1
        self._server: str = ""
        self._protocol: str = ""
        self._service: str | None = ""
        self._transport: str = ""
        self._starttls: str = ""
        self._exposure: str = ""
        self._words: str = ""
        self._banner: str | None = None
        self._banner_text: str = "null"

    def text(self, one: Session) -> str:
        """One object on one line."""
        if one.capture is not self._capture or one.sensor is not self._sensor:
            self._capture = one.capture
            self._sensor = one.sensor
            self._place = f'","capture":{json_text(one.capture)},"sensor":{json_text(one.sensor)},"start":'
        if one.server_ip is not self._server_ip or one.server_port != self._server_port:
            self._server_ip = one.server_ip
            self._server_port = one.server_port
            self._server = f',"server_ip":{json_text(one.server_ip)},"server_port":{one.server_port}'
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
        if one.server_banner is not self._banner:
            self._banner = one.server_banner
            self._banner_text = optional_text(one.server_banner)
        client_ip = json_text(one.client_ip)
        anomalies = one.anomalies
        odd = "[]" if anomalies is None else list_text([f"{seen.kind}@{seen.frame}" for seen in anomalies])
        moments = self._moments
        return (
            f"{self._head}{one.session_id()}{self._place}{moments.text(one.start_ns)}"
            f',"end":{moments.text(one.end_ns)},"first_frame":{one.first_frame},"last_frame":{one.last_frame}'
            f',"client_ip":{client_ip},"client_port":{one.client_port}{self._server}{self._words}'
            f'{number_text(one.auth_attempts)},"auth_accepted":{number_text(one.auth_accepted)},"messages":{number_text(one.messages)}'
            f',"message_bytes":{number_text(one.message_bytes)},"packets":{number_text(one.packets)}'
            f',"client_bytes":{number_text(one.client_bytes)},"server_bytes":{number_text(one.server_bytes)}'
            f',"gap_bytes":{number_text(one.gap_bytes)},"conflict_bytes":{number_text(one.conflict_bytes)}'
            f',"completeness":"{one.completeness}","server_banner":{self._banner_text}'
            f',"client_name":{optional_text(one.client_name)},"capabilities":{list_text(one.capabilities)}'
            f',"display_filter":"{one.display_filter()}","compressed":{flag_text(one.compressed)}'
            f',"not_mail":{optional_text(one.not_mail)},"anomalies":{odd}}}'
        )


class CredentialTexts:
    """Rows of ``credentials``."""

    def __init__(self, head: str, maker: RowMaker) -> None:
        self._head = f'{head}"session_id":"'
        self._maker = maker
        self._moments = Moments()
        self._session: Session | None = None
        self._who: str = ""
        self._where: str = ""

    def text(self, session: Session, one: Credential) -> str:
        """One object on one line."""
        if session is not self._session:
            self._session = session
            self._who = f'{self._head}{session.session_id()}","time":'
            self._where = f',"client_ip":{json_text(session.client_ip)}{server_text(session)},"mechanism":'
        secret, challenge, response, secret_id, length, strength = self._maker.shown(one)
        return (
            f'{self._who}{self._moments.text(one.timestamp_ns)},"frame":{one.frame}{self._where}{json_text(one.mechanism)}'
            f',"username":{optional_text(one.username)},"authzid":{optional_text(one.authzid)},"secret":{optional_text(secret)}'
            f',"secret_kind":"{one.secret_kind}","challenge":{optional_text(challenge)}'
            f',"response":{optional_text(response)},"outcome":"{one.outcome}","secret_id":{optional_text(secret_id)}'
            f',"secret_length":{count_text(length)},"strength":{count_text(strength)},"exposed":{flag_text(one.exposed)}}}'
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
        return (
            f'{self._head}{session.session_id()}","time":{self._moments.text(one.timestamp_ns)},"frame":{one.frame}'
            f',"direction":"{one.direction}","mail_from":{optional_text(one.mail_from)},"recipients":{list_text(one.recipients)}'
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
            f',"remediation":{json_text(rule.remediation)},"references":{list_text(list(rule.references))},"offset":'
        )


class FindingTexts:
    """Rows of ``findings``."""

    def __init__(self, head: str) -> None:
        self._head = f'{head}"finding_id":"'
        self._moments = Moments()
        self._rules: dict[int, _RuleTexts] = {}
        self._session: Session | None = None
        self._who: str = ""
        self._where: str = ""
        self._capture: str = ""

    def text(self, one: Finding) -> str:
        """One object on one line."""
        rule = one.rule
        texts = self._rules.get(rule.number)
        if texts is None:
            texts = _RuleTexts(rule)
            self._rules[rule.number] = texts
        session = one.session
        if session is None:
            self._session = None
            self._who = 'null,"time":'
            self._where = ',"client_ip":null,"server_ip":null,"server_port":null,"protocol":null,"username":'
            self._capture = f',"capture":{json_text(one.capture)}}}'
        elif session is not self._session:
            self._session = session
            self._who = f'"{session.session_id()}","time":'
            self._where = f',"client_ip":{json_text(session.client_ip)}{server_text(session)},"username":'
            self._capture = f',"capture":{json_text(session.capture)}}}'
        time_text = self._moments.text(one.timestamp_ns) if one.timestamp_ns else "null"
        frame_text = str(one.frame) if one.frame else "null"
        return (
            f'{self._head}{one.finding_id()}{texts.rule}{one.severity_word()}","confidence":"{one.confidence}{texts.title}'
            f'{self._who}{time_text},"frame":{frame_text}{self._where}{optional_text(one.username)}'
            f',"detail":{json_text(one.detail())}{texts.advice}{number_text(one.offset)}{self._capture}'
        )


class MigrationTexts:
    """Rows of ``migration``."""

    def __init__(self, head: str) -> None:
        self._head = f'{head}"client_ip":'
        self._moments = Moments()
        self._port: Port | None = None
        self._where: str = ""
        self._setting: str = ""
        self._host: str = ""
        self._basis: str = ""
        self._closing: str = ""

    def text(self, one: Migrant) -> str:
        """One object on one line."""
        port = one.port
        if port is not self._port:
            self._port = port
            self._where = f',"server_ip":{json_text(port.server_ip)},"server_port":{port.server_port},"protocol":"{port.protocol}","username":'
            self._setting = (
                f',"current":{json_text(one.current())},"recommended":{optional_text(one.recommended())}'
                f',"seen_working":{flag_text(one.seen_working())},"accounts":'
            )
            self._host = f',"host":{json_text(port.host)},"authentication":'
            self._basis = f',"basis":{json_text(one.basis())},"problems":'
            self._closing = f',"closing":{json_text(port.closing)}}}'
        return (
            f"{self._head}{json_text(one.client_ip)}{self._where}{optional_text(one.username)}{self._setting}"
            f'{number_text(one.accounts())},"last_seen":{self._moments.text(one.last_ns)}{self._host}'
            f"{json_text(one.authentication())}{self._basis}{list_text(one.problems)}{self._closing}"
        )


def server_text(session: Session) -> str:
    """The columns that name the server and its protocol."""
    return f',"server_ip":{json_text(session.server_ip)},"server_port":{session.server_port},"protocol":"{session.protocol}"'


def count_text(count: int | None) -> str:
    """A number, or null."""
    return "null" if count is None else str(count)
