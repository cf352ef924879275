"""Zeek: tab-separated logs as Zeek 6 and later write them, a file a log, so that what reads Zeek reads mailtap.

Logs of Zeek, with Zeek's field names and types (fields that a capture of mail cannot fill are left out; every reader goes by ``#fields``):

    conn.log     sessions       service is mail's own name (``pop3 imap smtp lmtp managesieve``), with ``ssl`` where TLS was seen;
                                conn_state and packet counts per direction are not known to mailtap and left out
    ssl.log      tls            version as Zeek writes it (``TLSv12``), established = the handshake was completed, ja3 and ja3s as Zeek's
                                package adds them
    x509.log     certificates of ``tls``, each once
    smtp.log     messages of SMTP and LMTP; header fields only where they were asked for
    notice.log   findings       note is ``Mailtap::`` and the rule's name as a Zeek word, msg the title, sub the evidence
    weird.log    anomalies of sessions

Logs in Zeek's manner for what Zeek has no log of: ``mail_auth`` (credentials), ``mail_message`` (messages of POP3, IMAP and the rest),
``mail_server``, ``mail_migration``, ``mail_capture``; their fields are the columns of mailtap's tables.

``uid`` is ``C`` and the session's id in base 62: the same session has the same uid in every run. Where Zeek writes the time of writing
(``#open``, ``#close``), the time of the traffic stands, so that the same capture gives the same files.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from analyzer.report.columns import CREDENTIALS, MESSAGES, TABLES, TLS, Column
from analyzer.report.formats._folder import whole_folder
from analyzer.report.rows import Row, RowMaker, RowSink, judge_passwords
from analyzer.report.visible import visible

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from analyzer.report.formats import Job
    from analyzer.sessions.records import Session

KIND: Final = "folder"
#: Its table of captures has their SHA-256.
HASHED: Final = True

UNSET: Final = "-"
EMPTY: Final = "(empty)"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID: Final = "uid:string id.orig_h:addr id.orig_p:port id.resp_h:addr id.resp_p:port"

#: Log -> its fields with their types, in Zeek's order.
LOGS: Final[dict[str, str]] = {
    "conn": (
        f"ts:time {_ID} proto:enum service:string duration:interval orig_bytes:count resp_bytes:count missed_bytes:count"
    ),
    "ssl": (
        f"ts:time {_ID} version:string cipher:string curve:string server_name:string resumed:bool last_alert:string "
        "next_protocol:string established:bool cert_chain_fps:vector[string] ja3:string ja3s:string"
    ),
    "x509": (
        "ts:time fingerprint:string certificate.subject:string certificate.issuer:string certificate.not_valid_before:time "
        "certificate.not_valid_after:time certificate.sig_alg:string certificate.key_type:string certificate.key_length:count "
        "certificate.curve:string san.dns:vector[string] host_cert:bool client_cert:bool"
    ),
    "smtp": (
        f"ts:time {_ID} trans_depth:count helo:string mailfrom:string rcptto:set[string] from:string to:set[string] subject:string"
    ),
    "notice": (
        f"ts:time {_ID} proto:enum note:enum msg:string sub:string src:addr dst:addr p:port n:count peer_descr:string "
        "actions:set[enum]"
    ),
    "weird": f"ts:time {_ID} name:string addl:string notice:bool peer:string source:string",
}
#: Log in Zeek's manner -> the table whose columns it has.
OWN: Final = {
    "mail_auth": "credentials",
    "mail_message": "messages",
    "mail_server": "servers",
    "mail_migration": "migration",
    "mail_capture": "captures",
}
_TYPES: Final = {
    "text": "string",
    "word": "string",
    "count": "count",
    "flag": "bool",
    "time": "time",
    "list": "vector[string]",
}
_TLS: Final = {column.name: index for index, column in enumerate(TLS)}
_MESSAGE: Final = {column.name: index for index, column in enumerate(MESSAGES)}


class _Log:
    """One log file."""

    def __init__(self, folder: Path, path: str, fields: str, opened_ns: int) -> None:
        self._out: TextIO = (folder / f"{path}.log").open("w", encoding="utf-8", newline="\n")
        names = [field.partition(":")[0] for field in fields.split()]
        self._types = [field.partition(":")[2] for field in fields.split()]
        self._moment = time.strftime("%Y-%m-%d-%H-%M-%S", time.gmtime(min(opened_ns // 1_000_000_000, 253402300799)))
        head = ["#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-", f"#path\t{path}"]
        head.append(f"#open\t{self._moment}")
        head.append("\t".join(["#fields", *names]))
        head.append("\t".join(["#types", *self._types]))
        self._out.write("\n".join(head) + "\n")

    def write(self, values: list[object]) -> None:
        """One line."""
        texts = [zeek_text(value, kind) for value, kind in zip(values, self._types, strict=True)]
        self._out.write("\t".join(texts) + "\n")

    def close(self) -> None:
        """End the log as Zeek does."""
        self._out.write(f"#close\t{self._moment}\n")
        self._out.close()


def zeek_text(value: object, kind: str) -> str:
    """A value as Zeek writes it. Times are nanoseconds, intervals too; an empty text is ``(empty)``, None ``-``."""
    if value is None:
        return UNSET
    if kind in ("time", "interval") and isinstance(value, int):
        sign = "-" if value < 0 else ""
        return f"{sign}{abs(value) // 1_000_000_000}.{abs(value) % 1_000_000_000 // 1000:06d}"
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, list):
        return ",".join([_escape(str(one)).replace(",", "\\x2c") for one in value]) if value else EMPTY
    text = str(value)
    if kind == "string":
        return _escape(text)
    return text


def _escape(text: str) -> str:
    """Text in which nothing separates, ends or means anything else."""
    if text in (UNSET, EMPTY):
        return f"\\x{ord(text[0]):02x}{text[1:]}"
    if text == "":
        return EMPTY
    # A backslash of the traffic's own is doubled first; what visible() adds stays an escape.
    return visible(text.replace("\\", "\\\\"))


def uid_of(session_id: str) -> str:
    """A session's id as a Zeek uid."""
    number = int(session_id, 16)
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return "C" + text.rjust(11, "0")


def _id(session: Session | None) -> list[object]:
    if session is None:
        return [None, None, None, None, None]
    return [
        uid_of(session.session_id()),
        session.client_ip,
        session.client_port,
        session.server_ip,
        session.server_port,
    ]


class _Table(RowSink):
    """Writes the rows of a table to a log of mailtap's own; the session is named by its uid, the time comes first."""

    def __init__(self, log: _Log, columns: tuple[Column, ...]) -> None:
        self._log = log
        self._columns = columns
        self._first = _first_column(columns)

    def receive_row(self, row: Row) -> None:
        values = [row[self._first]] if self._first >= 0 else []
        for index, column in enumerate(self._columns):
            if index == self._first:
                continue
            value = row[index]
            values.append(uid_of(str(value)) if column.name == "session_id" else value)
        self._log.write(values)


def _first_column(columns: tuple[Column, ...]) -> int:
    """The column that becomes ``ts``: the first time in a table."""
    return next((index for index, column in enumerate(columns) if column.kind == "time"), -1)


def _own_fields(columns: tuple[Column, ...]) -> str:
    first = _first_column(columns)
    fields = ["ts:time"] if first >= 0 else []
    for index, column in enumerate(columns):
        if index != first:
            name = "uid" if column.name == "session_id" else column.name
            fields.append(f"{name}:{'addr' if column.name in ('client_ip', 'server_ip') else _TYPES[column.kind]}")
    return " ".join(fields)


class _Notices(RowSink):
    def __init__(self, log: _Log, sessions: dict[str, Session]) -> None:
        self._log = log
        self._sessions = sessions
        self._at = {column.name: index for index, column in enumerate(TABLES["findings"])}

    def receive_row(self, row: Row) -> None:
        at = self._at
        session = self._sessions.get(str(row[at["session_id"]]))
        note = "Mailtap::" + "_".join(word.capitalize() for word in str(row[at["rule"]]).split("-"))
        self._log.write(
            [
                row[at["time"]], *_id(session), "tcp", note, row[at["title"]], row[at["detail"]], row[at["client_ip"]],
                row[at["server_ip"]], row[at["server_port"]], None, "mailtap", ["Notice::ACTION_LOG"],
            ]
        )  # fmt: skip


def write_folder(job: Job, folder: Path) -> None:
    """All logs; one without lines has its head alone."""
    job.add_hashes()
    with whole_folder(folder, private=job.maker.show_secrets) as part:
        _write_logs(job, part)


def _write_logs(job: Job, folder: Path) -> None:
    opened = min([one.first_ns for one in job.result.captures if one.packets], default=0)
    logs = {path: _Log(folder, path, fields, opened) for path, fields in LOGS.items()}
    for path, table in OWN.items():
        logs[path] = _Log(folder, path, _own_fields(TABLES[table]), opened)
    try:
        _write_sessions(job, logs)
        sessions = {session.session_id(): session for session in job.result.sessions}
        job.push("findings", _Notices(logs["notice"], sessions))
        for path in ("mail_server", "mail_migration", "mail_capture"):
            job.push(OWN[path], _Table(logs[path], TABLES[OWN[path]]))
    finally:
        for log in logs.values():
            log.close()


def _write_sessions(job: Job, logs: dict[str, _Log]) -> None:
    """What belongs to sessions, in their order."""
    auth = _Table(logs["mail_auth"], CREDENTIALS)
    other = _Table(logs["mail_message"], MESSAGES)
    certificates: set[str] = set()
    judge_passwords(job.result.sessions, job.maker.strength)
    for session in job.result.sessions:
        name = _id(session)
        service = [] if session.protocol == "unknown" else [session.protocol]
        if session.tls is not None or session.transport in ("starttls", "implicit_tls"):
            service.append("ssl")
        logs["conn"].write(
            [
                session.start_ns, *name, "tcp", ",".join(service) or None, session.end_ns - session.start_ns,
                session.client_bytes, session.server_bytes, session.gap_bytes,
            ]
        )  # fmt: skip
        for credential in session.credentials or ():
            auth.receive_row(job.maker.credential(session, credential))
        depth = 0
        for message in session.message_list or ():
            row = job.maker.message(session, message)
            if session.protocol not in ("smtp", "lmtp"):
                other.receive_row(row)
                continue
            depth += 1
            to = row[_MESSAGE["header_to"]]
            logs["smtp"].write(
                [
                    row[_MESSAGE["time"]], *name, depth, session.client_name, row[_MESSAGE["mail_from"]],
                    row[_MESSAGE["recipients"]], row[_MESSAGE["header_from"]], None if to is None else [to],
                    row[_MESSAGE["subject"]],
                ]
            )  # fmt: skip
        if session.tls is not None:
            _write_tls(job.maker, session, logs, certificates)
        for seen in session.anomalies or ():
            logs["weird"].write([seen.timestamp_ns, *name, seen.kind, seen.detail or None, False, "mailtap", None])


def _write_tls(maker: RowMaker, session: Session, logs: dict[str, _Log], certificates: set[str]) -> None:
    if session.tls is None:
        return
    row = maker.tls(session, session.tls)
    at = _TLS
    version = row[at["version"]]
    fingerprint = row[at["cert_sha256"]]
    alert = row[at["alert"]]
    handshake = row[at["handshake"]]
    logs["ssl"].write(
        [
            row[at["time"]], *_id(session), None if version is None else str(version).replace(".", ""), row[at["cipher_suite"]],
            row[at["group"]], row[at["sni"]], row[at["resumed"]], alert, row[at["alpn"]],
            None if handshake == "unseen" else handshake == "completed",
            None if fingerprint is None else [fingerprint], row[at["ja3"]], row[at["ja3s"]],
        ]
    )  # fmt: skip
    if isinstance(fingerprint, str) and fingerprint not in certificates:
        certificates.add(fingerprint)
        kind, _, size = str(row[at["cert_key"]] or "").partition("-")
        curve = size if kind == "EC" else None
        logs["x509"].write(
            [
                row[at["time"]], fingerprint, row[at["cert_subject"]], row[at["cert_issuer"]], row[at["cert_not_before"]],
                row[at["cert_not_after"]], row[at["cert_signature"]], _key_type(kind), int(size) if size.isdecimal() else None,
                curve, row[at["cert_names"]], True, False,
            ]
        )  # fmt: skip


def _key_type(kind: str) -> str | None:
    """Zeek's word for a kind of key."""
    return {"RSA": "rsa", "DSA": "dsa", "EC": "ecdsa", "ECDSA": "ecdsa"}.get(kind, kind.lower() or None)
