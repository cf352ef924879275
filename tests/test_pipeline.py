"""The whole way from packets to records: what must hold however the packets come."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traffic import START_NS, Frame, Talk, capture, logins, retimed, run_frames
from support.waiting import CHILD_PATIENCE

import analyzer
from analyzer.errors import CaptureError, UsageError
from analyzer.pipeline import Result, run
from analyzer.report.rows import RowList, RowMaker, push_rows
from analyzer.times import parse_time

KEY = b"key of the tests"

DIALOGUES = {
    "pop3": (110, ("S: +OK ready <1.2@x>\nC: CAPA\nS: +OK\\r\\nSTLS\\r\\nUSER\\r\\n.\nC: USER kim\nS: +OK\nC: PASS Zulu7Tango\nS: +OK in\nC: RETR 1\n"
             "S: +OK\\r\\nSubject: hi\\r\\n\\r\\n..PASS trap\\r\\nUSER trap\\r\\n.\nC: DELE 1\nS: +OK\nC: QUIT\nS: +OK bye")),
    "imap": (143, ('S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] x\nC: a ID ("name" "mua" "version" "1")\nS: * ID NIL\\r\\na OK\n'
             'C: b LOGIN {3}\nS: + go\nC: ute "sp ace"\nS: b OK in\nC: c FETCH 1 BODY[]\nS: * 1 FETCH (BODY[] {17}\\r\\nA: b\\r\\n\\r\\nLOGIN x y)\\r\\nc OK\n'
             "C: d LOGOUT\nS: * BYE\\r\\nd OK")),
    "smtp": (587, ("S: 220 mx ESMTP\nC: EHLO pc\nS: 250-mx\\r\\n250-STARTTLS\\r\\n250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dXRl\nS: 334 UGFzc3dvcmQ6\n"
             "C: c3AgYWNl\nS: 235 ok\nC: MAIL FROM:<a@x.example>\nS: 250 ok\nC: RCPT TO:<b@x.example>\nS: 250 ok\nC: DATA\nS: 354 go\n"
             "C: Subject: x\\r\\n\\r\\nAUTH PLAIN AHRyYXAAdHJhcA==\\r\\n.\nS: 250 queued\nC: QUIT\nS: 221 bye")),
    "managesieve": (4190, 'S: "IMPLEMENTATION" "x"\\r\\n"SASL" "PLAIN"\\r\\n"STARTTLS"\\r\\nOK\nC: AUTHENTICATE "PLAIN" "AHV0ZQBzcCBhY2U="\nS: OK\nC: LOGOUT\nS: OK'),
    "starttls": (143, "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] x\nC: a STARTTLS\nS: a OK go\nC: \\x16\\x03\\x01\\x00\\x05hello\nS: \\x15\\x03\\x01\\x00\\x02\\x02\\x28"),
    "unusual": (1143, "S: * OK ready\nC: b LOGIN ute secret9\nS: b OK in\nC: c LOGOUT\nS: * BYE"),
}  # fmt: skip


def values(result: Result) -> dict[str, list[list[object]]]:
    """All rows that do not depend on how the packets came."""
    maker = RowMaker(show_secrets=True, key=KEY)
    found: dict[str, list[list[object]]] = {}
    for table in ("sessions", "credentials", "messages"):
        sink = RowList()
        push_rows(table, result.sessions, [], maker, sink)
        found[table] = sink.rows
    return found


def stable(result: Result) -> list[object]:
    """What must be the same however the octets were cut into segments, ordered and doubled."""
    return [
            [
                session.client_ip, session.client_port, session.server_ip, session.server_port, session.protocol, session.transport,
                session.starttls, session.exposure, session.auth_attempts, session.auth_accepted, session.messages,
                session.message_bytes, session.client_bytes, session.server_bytes, session.gap_bytes, session.conflict_bytes,
                session.completeness, session.server_banner, session.client_name, session.capabilities,
                [
                    (c.mechanism, c.username, c.secret and c.secret.reveal(), c.challenge, c.response and c.response.reveal(), c.outcome)
                    for c in session.credentials or ()
                ],
                [(m.direction, m.mail_from, m.recipients, m.size, m.complete, m.accepted, m.deleted, m.mailbox) for m in session.message_list or ()],
                [(a.kind, a.offset) for a in session.anomalies or ()],
            ]
            for session in result.sessions
    ]  # fmt: skip


def spoken(name: str, client_port: int = 40000) -> Talk:
    port, transcript = DIALOGUES[name]
    return Talk(server_port=port, client_port=client_port).play(transcript).close()


def turns(name: str) -> list[tuple[int, bytes]]:
    """(sender, octets) of each line of a dialogue."""
    talk = spoken(name)
    found = []
    for _, frame in talk.frames():
        payload = frame[14 + 20 + 20 :]
        if payload:
            found.append((0 if frame[26:30] == bytes([192, 0, 2, 10]) else 1, payload))
    return found


def test_golden_records_of_each_protocol(tmp_path: Path) -> None:
    expected = {
        "pop3": ("pop3", "plaintext", "offered", "credentials", [("USER/PASS", "kim", "Zulu7Tango", "accepted")], 1),
        "imap": ("imap", "plaintext", "offered", "credentials", [("LOGIN-CMD", "ute", "sp ace", "accepted")], 1),
        "smtp": ("smtp", "plaintext", "offered", "credentials", [("LOGIN", "ute", "sp ace", "accepted")], 1),
        "managesieve": (
            "managesieve",
            "plaintext",
            "offered",
            "credentials",
            [("PLAIN", "ute", "sp ace", "accepted")],
            0,
        ),
        "starttls": ("imap", "starttls", "accepted", "none", [], 0),
        "unusual": ("imap", "plaintext", "unseen", "credentials", [("LOGIN-CMD", "ute", "secret9", "accepted")], 0),
    }
    for name, (protocol, transport, starttls, exposure, credentials, messages) in expected.items():
        result = run_frames(tmp_path, spoken(name).frames())
        session = result.sessions[0]
        assert (session.protocol, session.transport, session.starttls, session.exposure, session.messages) == (
            protocol, transport, starttls, exposure, messages,
        ), name  # fmt: skip
        assert logins(result) == credentials, name
        assert session.completeness == "complete"
        assert session.first_frame == 1
        assert session.last_frame == session.packets == len(spoken(name).frames())


@settings(max_examples=60)
@given(st.sampled_from(sorted(DIALOGUES)), st.data())
def test_any_split_order_and_duplication_gives_the_same_records(tmp_path: Path, name: str, data: st.DataObject) -> None:
    port = DIALOGUES[name][0]
    talk = Talk(server_port=port)
    for sender, octets in turns(name):
        cuts = sorted(data.draw(st.lists(st.integers(1, max(1, len(octets) - 1)), max_size=4, unique=True)))
        for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
            if start < end:
                (talk.client if sender == 0 else talk.server)(octets[start:end])
    opening = len(talk.frames())
    frames = talk.close().frames()
    body = list(frames[3:opening])
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        body.insert(data.draw(st.integers(at, len(body))), body[at])
    shuffled: list[Frame] = []
    window = data.draw(st.integers(1, 8))
    for start in range(0, len(body), window):
        shuffled.extend(data.draw(st.permutations(body[start : start + window])))
    mixed = retimed(frames[:3] + shuffled + frames[opening:])
    assert stable(run_frames(tmp_path, mixed)) == stable(run_frames(tmp_path, spoken(name).frames()))


#: What is said before STARTTLS, the request, its grant, and words of clients and servers that may come with them.
UPGRADES: dict[int, tuple[list[bytes], bytes, bytes, list[bytes], list[bytes]]] = {
    110: ([b"+OK hi\r\n"], b"STLS\r\n", b"+OK\r\n", [b"USER kim\r\n", b"PASS zulu\r\n", b"AUTH PLAIN\r\n"], [b"-ERR no\r\n", b"+ \r\n"]),
    143: ([b"* OK hi\r\n"], b"b STARTTLS\r\n", b"b OK go\r\n", [b"c LOGIN kim zulu\r\n", b"c LOGIN {3}\r\n"], [b"* OK\r\n", b"c OK\r\n", b"+ go\r\n"]),
    587: (
        [b"220 mx\r\n", b"EHLO me\r\n", b"250-mx\r\n250 STARTTLS\r\n"], b"STARTTLS\r\n", b"220 go\r\n",
        [b"AUTH PLAIN AGtpbQB6dWx1\r\n", b"MAIL FROM:<a@x.example>\r\n", b"DATA\r\n"], [b"250 ok\r\n", b"454 no\r\n", b"334 \r\n"],
    ),
    4190: ([b'"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK\r\n'], b"STARTTLS\r\n", b"OK\r\n", [b'AUTHENTICATE "PLAIN" "AGtpbQB6dWx1"\r\n'], [b"NO\r\n", b'"SASL" ""\r\n']),
}  # fmt: skip
#: Octets that are TLS, may become TLS, or only begin like it.
BEGINNINGS = [
    b"\x16", b"\x16\x03", b"\x16\x03\x01\x00\x05hello", b"\x15\x03\x01\x00\x02\x02\x28", b"\x17abc\r\n", b"\x80", b"\x80\x2e\x01\x00\x02",
    b"\x80ABUSER kim\r\n", "\u00e9t\u00e9\r\n".encode(), b"\xff\xfb\x01", b"\0\1",
]  # fmt: skip


@settings(max_examples=150)
@given(st.sampled_from(sorted(UPGRADES)), st.data())
def test_any_split_behind_the_grant_of_tls_gives_the_same_records(
    tmp_path: Path, port: int, data: st.DataObject
) -> None:
    before, request, grant, of_client, of_server = UPGRADES[port]
    some = [
        st.lists(st.sampled_from(words + BEGINNINGS), max_size=2).map(b"".join)
        for words in (of_client, of_server)
    ]  # fmt: skip
    said = [(0 if octets.startswith(b"EHLO") else 1, octets) for octets in before]
    said += [(0, request + data.draw(some[0])), (1, grant + data.draw(some[1]))]
    for _ in range(data.draw(st.integers(0, 4))):
        sender = data.draw(st.integers(0, 1))
        said.append((sender, data.draw(some[sender])))
    whole, cut = Talk(server_port=port), Talk(server_port=port)
    for sender, octets in said:
        pieces = data.draw(st.integers(1, 4))
        for talk, step in ((whole, len(octets)), (cut, pieces)):
            for start in range(0, len(octets), step or 1):
                (talk.client if sender == 0 else talk.server)(octets[start : start + step])
    assert stable(run_frames(tmp_path, cut.close().frames())) == stable(run_frames(tmp_path, whole.close().frames()))


def test_a_login_behind_an_octet_that_may_begin_tls_is_no_secret(tmp_path: Path) -> None:
    """A server that works with its client sends one octet of TLS, alone in its segment, and goes on in clear."""
    talk = Talk(server_port=110).play("S: +OK hi\nC: STLS\nS: +OK go")
    talk.server(b"\x17")
    talk.server(b"abc\r\n")
    talk.client(b"USER kim\r\n")
    talk.server(b"+OK\r\n")
    talk.client(b"PASS Zulu7Tango\r\n")
    talk.server(b"+OK in\r\n")
    result = run_frames(tmp_path, talk.close().frames())
    assert logins(result) == [("USER/PASS", "kim", "Zulu7Tango", "accepted")]
    assert result.sessions[0].transport == "plaintext"


def test_several_connections_interleaved_give_what_each_gives_alone(tmp_path: Path) -> None:
    talks = [spoken(name, 40000 + index) for index, name in enumerate(sorted(DIALOGUES))]
    alone = [one for talk in talks for one in stable(run_frames(tmp_path, talk.frames()))]
    frames = sorted((frame for talk in talks for frame in talk.frames()), key=lambda frame: frame[0])
    together = stable(run_frames(tmp_path, frames))
    assert sorted(map(repr, together)) == sorted(map(repr, alone))


def test_a_ring_of_files_is_one_stream_and_batches_never_matter(tmp_path: Path) -> None:
    talks = [spoken(name, 40000 + index) for index, name in enumerate(sorted(DIALOGUES))]
    frames = sorted((frame for talk in talks for frame in talk.frames()), key=lambda frame: frame[0])
    whole = stable(run_frames(tmp_path, frames))
    for parts in (2, 5):
        folder = tmp_path / f"ring{parts}"
        folder.mkdir()
        step = len(frames) // parts + 1
        for index in range(parts):
            part = capture(frames[index * step : (index + 1) * step])
            (folder / f"mail_{index + 1:05d}_2026030209000{index}.pcap").write_bytes(part)
        result = run([folder])
        assert stable(result) == whole
        assert any(session.spans_files for session in result.sessions)


def test_compression_of_the_file_never_matters(tmp_path: Path) -> None:
    content = capture(spoken("pop3").frames())
    path = tmp_path / "talk.pcap"
    path.write_bytes(content)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(content))
    assert stable(run([path])) == stable(run([packed]))


MUTABLE = capture(
    [frame for index, name in enumerate(sorted(DIALOGUES)) for frame in spoken(name, 40000 + index).frames()]
)


@settings(max_examples=150)
@given(st.data())
def test_any_mutation_of_a_capture_ends_in_records_or_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(MUTABLE)
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "drop"]))
        if kind == "flip":
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[max(at, 1) :]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=40))
        else:
            del content[at : at + data.draw(st.integers(1, 200))]
        if not content:
            break
    path = tmp_path / "mutated.pcap"
    path.write_bytes(content)
    try:
        result = run([path])
    except CaptureError:
        return
    assert result.counters["sessions.faults"] == 0
    stats = result.captures[0]
    assert stats.skipped_bytes >= 0
    values(result)


@settings(max_examples=100)
@given(
    st.sampled_from([25, 110, 143, 587, 993, 4190, 24, 8025]),
    st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=200)), max_size=12),
)
def test_any_octets_on_any_port_are_no_fault(tmp_path: Path, port: int, pieces: list[tuple[bool, bytes]]) -> None:
    talk = Talk(server_port=port)
    for from_client, octets in pieces:
        (talk.client if from_client else talk.server)(octets)
    result = run_frames(tmp_path, talk.close().frames())
    assert result.counters["sessions.faults"] == 0
    values(result)


SECRET = "s3cr3t-of-the-tests"
LEAKS = {
    "pop3": f"S: +OK x\nC: USER kim\nS: +OK\nC: PASS {SECRET}\nS: -ERR {SECRET}? no\nC: AUTH PLAIN {base64.b64encode(f'|kim|{SECRET}'.replace('|', chr(0)).encode()).decode()}\nS: +OK",
    "imap": f'S: * OK x\nC: a LOGIN kim {SECRET}\nS: a NO no {SECRET}\nC: b LOGIN kim "{SECRET}"\nS: b NO\nC: c LOGIN kim {{{len(SECRET)}}}\nS: + x\nC: {SECRET}\nS: c OK',
    "smtp": f"S: 220 x\nC: EHLO x\nS: 250 AUTH PLAIN LOGIN XOAUTH2\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: a2lt\nS: 334 UGFzc3dvcmQ6\n"
    f"C: {base64.b64encode(SECRET.encode()).decode()}\nS: 535 no\nC: AUTH XOAUTH2 {base64.b64encode(f'user=kim{chr(1)}auth=Bearer {SECRET}{chr(1)}{chr(1)}'.encode()).decode()}\nS: 235 ok",
    "injected": f"S: 220 x\nC: EHLO x\nS: 250 STARTTLS\nC: STARTTLS\\r\\nAUTH PLAIN {base64.b64encode(f'|kim|{SECRET}'.replace('|', chr(0)).encode()).decode()}\nS: 220 go\nC: \\x16\\x03\\x01\\x00\\x05hello",
    "continued": f"S: 220 x\nC: EHLO x\nS: 250 STARTTLS\nC: STARTTLS\\r\\nAUTH PLAIN\\r\\n{base64.b64encode(f'|kim|{SECRET}'.replace('|', chr(0)).encode()).decode()}\\r\\n{SECRET}\nS: 220 go\nC: \\x16\\x03\\x01\\x00\\x05hello",
    "echoed": f"S: 220 x\nC: EHLO x\nS: 250 STARTTLS\nC: STARTTLS\nS: 500 #5.5.1 {SECRET}\nC: NOOP\nS: 250 ok\nS: 250 {SECRET}",
    "malformed": f"S: 220 x\nC: EHLO x\nS: 250 AUTH PLAIN\nC: AUTH PLAIN {SECRET}\nS: 501 bad\nC: AUTH PLAIN\nS: 334 \nC: {SECRET}=\nS: 501 bad",
}  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv", "markdown", "html", "ecs", "zeek"])
@pytest.mark.parametrize("name", sorted(LEAKS))
def test_no_secret_nor_its_base64_in_any_output(tmp_path: Path, name: str, form: str) -> None:
    port = {"pop3": 110, "imap": 143}.get(name, 25)
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(Talk(server_port=port).play(LEAKS[name]).close().frames()))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "analyzer", "analyze", str(path), "-f", form, "-o", str(out)]
    done = subprocess.run(
        command, capture_output=True, check=True, timeout=CHILD_PATIENCE, env={**os.environ, "COLUMNS": "100"}
    )
    files = list(out.iterdir()) if out.is_dir() else [out]
    written = b"".join(file.read_bytes() for file in files) + done.stdout + done.stderr
    # Base64 depends on where in a group of three octets the secret begins: all three ways, without the outer quanta.
    needles = [SECRET.encode()] + [base64.b64encode(b"x" * shift + SECRET.encode())[4:-4] for shift in range(3)]
    assert [needle for needle in needles if needle in written] == []


def test_secrets_do_not_leave_by_repr_pickle_or_traceback(tmp_path: Path) -> None:
    result = run_frames(tmp_path, spoken("pop3").frames())
    credential = (result.sessions[0].credentials or [])[0]
    assert credential.secret is not None
    assert credential.secret.reveal() == "Zulu7Tango"
    copied = pickle.loads(pickle.dumps(result.sessions))
    assert b"Zulu7Tango" not in pickle.dumps(result.sessions)
    masked = copied[0].credentials[0].secret
    assert (masked.reveal(), masked.length, str(masked), f"{masked}", repr(masked)) == (
        None,
        10,
        "********",
        "********",
        "Secret(********)",
    )
    first, second = values(result)["sessions"], RowList()
    push_rows("sessions", copied, [], RowMaker(), second)
    assert first == second.rows


def test_session_id_depends_on_the_connection_alone(tmp_path: Path) -> None:
    alone = run_frames(tmp_path, spoken("imap", 40001).frames()).sessions[0].session_id()
    frames = sorted(spoken("pop3").frames() + spoken("imap", 40001).frames(), key=lambda frame: frame[0])
    (tmp_path / "other").mkdir()
    together = {session.protocol: session.session_id() for session in run_frames(tmp_path / "other", frames).sessions}
    assert together["imap"] == alone != together["pop3"]


def test_api_gives_typed_tables_even_when_empty(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture([]))
    report = analyzer.analyze(path)
    types = {
        "count": "Int64",
        "flag": "boolean",
        "text": "string",
        "time": "datetime64[ns, UTC]",
        "list": "object",
        "word": "category",
    }
    from analyzer.report.columns import TABLES

    for name, columns in TABLES.items():
        frame = report.table(name)
        assert list(frame.columns) == [column.name for column in columns]
        assert [str(frame[column.name].dtype) for column in columns] == [types[column.kind] for column in columns]
    assert len(report.captures) == 1
    assert len(report.sessions) == 0


def test_api_masks_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture(spoken("pop3").frames()))
    assert list(analyzer.analyze(path).credentials["secret"]) == ["********"]
    shown = analyzer.analyze(str(path), show_secrets=True, headers=True)
    assert list(shown.credentials["secret"]) == ["Zulu7Tango"]
    assert list(shown.messages["subject"]) == ["hi"]
    assert (
        analyzer.analyze(path, key=KEY).credentials["secret_id"][0]
        == analyzer.analyze(path, key=KEY).credentials["secret_id"][0]
    )
    assert analyzer.analyze(path).credentials["secret_id"][0] != analyzer.analyze(path).credentials["secret_id"][0]
    assert shown.sessions["start"][0].value == START_NS
    assert "1 accounts exposed" in repr(shown) or "exposed" in repr(shown)


def test_api_errors(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"nothing\.pcap"):
        analyzer.analyze(tmp_path / "nothing.pcap")
    path = tmp_path / "talk.pcap"
    path.write_bytes(capture([]))
    for arguments in ({"engine": "steam"}, {"ports": {1143: "imapx"}}, {"ports": {0: "imap"}}, {"since": "soon"}):
        with pytest.raises(UsageError):
            analyzer.analyze(path, **arguments)  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(UsageError):
        analyzer.analyze([])


@pytest.mark.slow
def test_pure_and_compiled_give_equal_results(tmp_path: Path) -> None:
    """The same captures through this build and through plain Python; where this build is pure already, both are."""
    from importlib.util import find_spec

    spec = find_spec("analyzer")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    with tempfile.TemporaryDirectory(dir=tmp_path) as copy:
        for path in source.rglob("*.py"):
            target = Path(copy) / "analyzer" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        samples = sorted((Path(__file__).parents[1] / "captures").glob("*.pcap*"))
        code = (
            "import analyzer._build, sys\nfrom analyzer.cli import run_command\n"
            "sys.stderr.write(analyzer._build.build_kind())\nsys.exit(run_command(sys.argv[1:]))"
        )
        outputs = []
        for environment in ({**os.environ}, {**os.environ, "PYTHONPATH": copy}):
            done = subprocess.run(
                [sys.executable, "-c", code, "analyze", "-f", "json", "--show-secrets", *map(str, samples)],
                capture_output=True, check=False, timeout=10 * CHILD_PATIENCE, env=environment,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-2000:]
            found = json.loads(done.stdout)
            for credential in found["credentials"]:
                credential["secret_id"] = None
            outputs.append((done.stderr, found))
    assert b"pure" in outputs[1][0]
    assert outputs[0][1] == outputs[1][1]
    assert len(outputs[0][1]["sessions"]) > 100


@pytest.mark.parametrize(
    ("since_s", "until_s", "sentence"),
    [
        (None, None, ""),
        (0, None, "Only sessions alive since 2026-03-02 09:00:00 UTC are told; none was left out."),
        (60, None, "Only sessions alive since 2026-03-02 09:01:00 UTC are told; 1 session was left out."),
        (None, 60, "Only sessions alive until 2026-03-02 09:01:00 UTC are told; 1 session was left out."),
        (
            -7200,
            -3600.5,
            "Only sessions alive between 2026-03-02 07:00:00 and 2026-03-02 07:59:59.5 UTC are told; 2 sessions were left out.",
        ),
    ],
)
def test_a_result_tells_the_times_that_were_asked_for(
    tmp_path: Path, since_s: float | None, until_s: float | None, sentence: str
) -> None:
    path = tmp_path / "two.pcap"
    path.write_bytes(capture([*_played("pop3"), *_played("imap", start_ns=START_NS + 3600 * 10**9)]))
    since_ns, until_ns = (None if one is None else START_NS + int(one * 10**9) for one in (since_s, until_s))
    result = run([path], since_ns=since_ns, until_ns=until_ns)
    assert result.window() == sentence
    assert result.left_out == 2 - len(result.sessions)


def test_so_long_ago_is_told_without_parts_of_a_second() -> None:
    now = time.time()
    found = parse_time("24h")
    assert found is not None
    assert found % 10**9 == 0
    assert abs(found / 1e9 - (now - 86400)) < 60
    assert parse_time("2026-03-02T09:00:00.5") == START_NS + 5 * 10**8


def test_a_report_tells_the_times_that_were_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "one.pcap"
    path.write_bytes(capture(_played("pop3")))
    assert "1 session was left out" in analyzer.analyze(path, since="2026-03-03").warnings[0]
    assert analyzer.analyze(path).warnings == []


def _played(name: str, start_ns: int = START_NS) -> list[Frame]:
    port, dialogue = DIALOGUES[name]
    return Talk(server_port=port, client_port=40000 + port, start_ns=start_ns).play(dialogue).close().frames()
