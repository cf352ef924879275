"""Every sample capture, held against what its clients really did and against Wireshark."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from support.waiting import CHILD_PATIENCE

from analyzer.pipeline import run
from analyzer.sessions.records import Session

CAPTURES = Path(__file__).parents[1] / "captures"
MAIL = ("pop3", "imap", "smtp", "lmtp", "managesieve")

STREAMS: dict[str, list[dict[str, Any]]] = defaultdict(list)
for _line in (CAPTURES / "expected.jsonl").read_text(encoding="utf-8").splitlines():
    _stream = json.loads(_line)
    STREAMS[_stream["sample"]].append(_stream)


def by_ends(sessions: list[Session]) -> dict[tuple[str, str], list[Session]]:
    """Sessions by their endpoints, in order."""
    found: dict[tuple[str, str], list[Session]] = defaultdict(list)
    for session in sorted(sessions, key=lambda one: one.first_frame):
        ends = (f"{session.client_ip}:{session.client_port}", f"{session.server_ip}:{session.server_port}")
        found[ends].append(session)
    return found


def credentials(session: Session) -> list[tuple[str, str, str, str]]:
    found = []
    for one in session.credentials or ():
        hidden = one.secret if one.secret is not None else one.response
        found.append((one.mechanism, one.username or "", "" if hidden is None else hidden.reveal() or "", one.outcome))
    return sorted(found)


@pytest.mark.parametrize("sample", sorted(STREAMS))
def test_what_the_clients_did_is_what_is_found(sample: str) -> None:
    result = run([CAPTURES / sample])
    assert result.counters["sessions.faults"] == 0
    sessions = by_ends(result.sessions)
    for stream in STREAMS[sample]:
        ends = (stream["client"].replace("[", "").replace("]", ""), stream["server"].replace("[", "").replace("]", ""))
        where = f"{sample} stream {stream['stream']}"
        if not sessions[ends]:
            assert stream["protocol"] not in MAIL, where
            continue
        session = sessions[ends].pop(0)
        assert session.protocol == stream["protocol"], where
        if stream["protocol"] not in MAIL:
            assert session.not_mail == stream["not_mail"] or session.auth_attempts == 0, where
            assert credentials(session) == [], where
            continue
        found = [session.transport, session.starttls, session.messages, session.completeness]
        assert found == [stream[word] for word in ("transport", "starttls", "messages", "completeness")], where
        assert credentials(session) == sorted(
            (
                one["mechanism"],
                one.get("username") or "",
                one.get("secret") or one.get("response") or "",
                one["outcome"],
            )
            for one in stream["credentials"]
        ), where
        if stream["tls_version"] is not None:
            assert session.tls is not None, where
            session.tls.fill()
            assert session.tls.version == stream["tls_version"], where
    left = [session for several in sessions.values() for session in several]
    assert left == []


def tshark(path: Path, *arguments: str) -> list[list[str]]:
    """Rows of tshark's fields; decryption is off, so that it sees what an eavesdropper sees."""
    done = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "occurrence=f", "-o", "tls.desegment_ssl_application_data:FALSE", *arguments],
        capture_output=True, check=True, text=True, timeout=CHILD_PATIENCE,
    )  # fmt: skip
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.tshark
@pytest.mark.parametrize("sample", sorted(STREAMS))
def test_sessions_frames_and_tls_starts_are_wiresharks(sample: str) -> None:
    path = CAPTURES / sample
    result = run([path])
    streams: dict[str, list[int]] = defaultdict(list)
    starts: dict[str, int] = {}
    for number, stream, hello in tshark(
        path, "-Y", "tcp", "-e", "frame.number", "-e", "tcp.stream", "-e", "tls.handshake.type"
    ):
        streams[stream].append(int(number))
        if hello == "1":
            starts.setdefault(stream, int(number))
    frames = {(members[0], members[-1], len(members)): stream for stream, members in streams.items()}
    # Wireshark gives pcapng's custom blocks a frame number too; one sample holds one.
    customs = 1 if sample == "blocks.pcapng" else 0
    assert sum(stats.packets for stats in result.captures) + customs == len(tshark(path, "-e", "frame.number"))
    for session in result.sessions:
        stream = frames.get((session.first_frame, session.last_frame, session.packets))
        assert stream is not None, (sample, session.first_frame, session.last_frame, session.packets)
        if session.tls is not None and session.tls.handshake != "unseen" and stream in starts:
            # The frame of the ClientHello; where it spans several, Wireshark names the last and mailtap the first.
            assert session.tls.frame <= starts[stream], (sample, session.first_frame)
            assert starts[stream] - session.tls.frame <= 12, (sample, session.first_frame)
        shown = tshark(path, "-Y", session.display_filter(), "-e", "tcp.stream") if len(result.sessions) <= 5 else []
        assert {row[0] for row in shown} <= {stream}
        assert len(shown) in (0, session.packets)
