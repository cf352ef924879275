"""An alert as a JSON object: what ``jsonl`` writes as a line and ``webhook`` sends as a body.

    {"alert": "finding", "raised": "2026-03-02T09:00:00.250000000Z", "count": 1, "sensor": "mirror-1",
     "finding_id": ..., "rule": ..., "severity": ..., "confidence": ..., "title": ..., "session_id": ..., "time": ..., "frame": ...,
     "client_ip": ..., "server_ip": ..., "server_port": ..., "protocol": ..., "username": ..., "detail": ..., "remediation": ...,
     "references": [...], "offset": ..., "capture": ..., "client_port": ...}

From ``finding_id`` to ``capture`` the names and meanings are those of the ``findings`` table. ``alert`` is ``finding``, or ``summary`` for
an alert that tells of ``count`` others which were held back; ``count`` of a finding is itself and those of its rule, server and account
held back before it. Text from traffic is as the reports show it (``report/visible.py``): a control character, NUL, a bidi mark, an octet that
is no UTF-8 stand as a backslash and letters (``\\x00``, ``\\u202e``), so that no receiver gets one even after it has read the JSON; some answer
a NUL with an error. The object itself is ASCII: letters beyond stand as JSON's own escapes.
"""

from __future__ import annotations

from typing import Final

from analyzer.monitor.base import Alert
from analyzer.report.columns import FINDINGS
from analyzer.report.formats.json import json_text, rfc3339_second
from analyzer.report.visible import visible

#: Characters of one text; what is longer is cut. No alert is larger than some 16 KiB.
MAX_TEXT: Final = 1000
CUT: Final = "..."


def alert_json(alert: Alert) -> str:
    """One JSON object on one line, ASCII."""
    parts = [
        f'{{"alert":{json_text(alert.kind)},"raised":{time_text(alert.raised_ns)},"count":{alert.count}',
        f'"sensor":{json_text(plain(alert.sensor))}',
    ]
    for column in FINDINGS:
        value = alert.time_ns if column.name == "time" else getattr(alert, column.name)
        if column.name == "frame":
            value = value or None
        parts.append(f'"{column.name}":{_value(value, column.kind)}')
    parts.append(f'"client_port":{_value(alert.client_port, "count")}}}')
    return ",".join(parts)


def _value(value: object, kind: str) -> str:
    if value is None:
        return "null"
    if kind == "time" and isinstance(value, int):
        return time_text(value) if value else "null"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ",".join([json_text(plain(str(one))) for one in value]) + "]"
    return json_text(plain(str(value)))


def time_text(timestamp_ns: int) -> str:
    """RFC 3339 in UTC with nanoseconds, in quotes."""
    second, rest = divmod(timestamp_ns, 1_000_000_000)
    return f'"{rfc3339_second(second)}.{rest:09d}Z"'


def plain(text: str) -> str:
    """``text`` made visible, at most ``MAX_TEXT`` characters."""
    return shortened(visible(shortened(text)))


def shortened(text: str) -> str:
    """``text``, at most ``MAX_TEXT`` characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - len(CUT)] + CUT
