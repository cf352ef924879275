"""Two engines, one capture: where do their records differ? Says nothing of secrets but that they differ.

Compared is what both can know: what was readable without keys. What either engine read through decryption is left out, and so
are facts that only one of them counts (conflicting copies of octets).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from analyzer.report.visible import visible
from analyzer.report.wording import noun

if TYPE_CHECKING:
    from analyzer.pipeline import Result
    from analyzer.sessions.records import Session

#: Columns of ``sessions`` that are compared.
_FACTS: Final = (
    "protocol", "transport", "starttls", "exposure", "completeness", "not_mail", "messages", "message_bytes", "packets",
    "client_bytes", "server_bytes", "gap_bytes", "first_frame", "last_frame", "server_banner", "client_name", "compressed",
)  # fmt: skip
_NAMES: Final = ("server_banner", "client_name")
#: Columns of ``tls`` that are compared.
_TLS_FACTS: Final = (
    "mode", "version", "cipher_suite", "sni", "alpn", "ja3", "ja3s", "ja4", "resumed", "handshake", "alert", "alert_sender",
    "certificates",
)  # fmt: skip
#: Differences told; what comes beyond is counted.
MAX_DIFFERENCES: Final = 200


def differences(native: Result, wireshark: Result) -> list[str]:
    """One line a difference, in order of the sessions' start; empty where the engines agree."""
    first = {session.session_id(): session for session in native.sessions}
    second = {session.session_id(): session for session in wireshark.sessions}
    found: list[str] = []
    for session in sorted({**first, **second}.values(), key=lambda one: (one.start_ns, one.first_frame)):
        key = session.session_id()
        mine, other = first.get(key), second.get(key)
        if mine is None or other is None:
            found.append(f"{_name(session)}: seen by the {'Wireshark' if mine is None else 'native'} engine only")
            continue
        found.extend(f"{_name(session)}: {line}" for line in _compare(mine, other))
    if len(found) > MAX_DIFFERENCES:
        found[MAX_DIFFERENCES:] = [
            f"and {len(found) - MAX_DIFFERENCES:,} more {noun(len(found) - MAX_DIFFERENCES, 'difference')}"
        ]
    return found


def _name(session: Session) -> str:
    return (
        f"{session.capture} frame {session.first_frame}, {session.client_ip}:{session.client_port} to "
        f"{session.server_ip}:{session.server_port}"
    )


def _compare(mine: Session, other: Session) -> list[str]:
    lines = []
    for name in _FACTS:
        one, two = getattr(mine, name), getattr(other, name)
        if name in _NAMES and mine.tls is not None and (one is None or two is None):
            continue  # said inside TLS, where one engine could read it
        if one != two:
            lines.append(_differ(name, one, two))
    if (mine.tls is None) != (other.tls is None):
        lines.append(_differ("tls", "no" if mine.tls is None else "yes", "no" if other.tls is None else "yes"))
    elif mine.tls is not None and other.tls is not None:
        mine.tls.fill()
        other.tls.fill()
        for name in _TLS_FACTS:
            one, two = getattr(mine.tls, name), getattr(other.tls, name)
            if one != two:
                lines.append(f"tls {name} differ" if name == "certificates" else _differ(f"tls {name}", one, two))
    lines.extend(_compare_lists("login", _logins(mine), _logins(other)))
    lines.extend(_compare_lists("message", _messages(mine), _messages(other)))
    if not lines and _secrets(mine) != _secrets(other):
        lines.append("the secrets of the logins differ")
    return lines


def _differ(name: str, one: object, two: object) -> str:
    return f"{name}: native {visible(str(one))}, Wireshark {visible(str(two))}"


def _compare_lists(what: str, one: list[str], two: list[str]) -> list[str]:
    """What stands in one list and not in the other."""
    lines = []
    rest = list(two)
    for text in one:
        if text in rest:
            rest.remove(text)
        else:
            lines.append(f"{what} of the native engine only: {text}")
    return lines + [f"{what} of the Wireshark engine only: {text}" for text in rest]


def _logins(session: Session) -> list[str]:
    return [
        visible(f"{one.mechanism} {one.username} {one.outcome}, frame {one.frame}")
        for one in session.credentials or ()
        if one.exposed
    ]


def _messages(session: Session) -> list[str]:
    return [
        visible(
            f"{one.direction}, {one.size} octets, {'complete' if one.complete else 'incomplete'}, frame {one.frame}"
        )
        for one in session.message_list or ()
        if one.exposed
    ]


def _secrets(session: Session) -> list[tuple[str | None, str | None]]:
    return [
        (
            one.secret.reveal() if one.secret is not None else None,
            one.response.reveal() if one.response is not None else None,
        )
        for one in session.credentials or ()
        if one.exposed
    ]
