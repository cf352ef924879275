"""Files of a ring read side by side, and their residues in order: the records of one stream."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traffic import MILLISECOND, Frame, Talk, capture

from analyzer.packets import selection
from analyzer.packets.selection import connection_key
from analyzer.pipeline import Pipeline, Result, run
from analyzer.report.formats import Job, load
from analyzer.report.rows import RowMaker
from analyzer.residue import crossing, join, read_part, read_residue
from analyzer.sessions.ordering import sort_by_start
from analyzer.sessions.records import Session, SessionList

DIALOGUES = [
    (110, "S: +OK mx\nC: USER kim\nS: +OK\nC: PASS pw-one\nS: +OK in\nC: RETR 1\nS: +OK\nS: Subject: x\nS: \nS: text\nS: .\nC: QUIT\nS: +OK bye"),
    (143, "S: * OK mx\nC: a LOGIN ann pw-two\nS: a OK in\nC: b SELECT INBOX\nS: b OK\nC: c LOGOUT\nS: * BYE\nS: c OK"),
    (587, "S: 220 mx\nC: EHLO pc\nS: 250-mx\nS: 250 AUTH PLAIN\nC: AUTH PLAIN AGJvYgBwdy10aHJlZQ==\nS: 235 in\nC: QUIT\nS: 221 bye"),
    (2525, "S: 220 mx ESMTP\nC: EHLO pc\nS: 250 mx\nC: MAIL FROM:<a@x.example>\nS: 250 ok\nC: QUIT\nS: 221 bye"),
    (8080, "C: GET / HTTP/1.1\nC: \nS: HTTP/1.1 200 OK\nS: text"),
    (993, "C: \\x16\\x03\\x01\\x00\\x05\\x01\\x00\\x00\\x01\\x00"),
]  # fmt: skip


def connection(chance: random.Random, number: int) -> list[Frame]:
    """One connection, with what goes wrong in captures."""
    port, lines = chance.choice(DIALOGUES)
    client_port = 40000 + chance.randrange(3)  # ports are used again
    begin = 1_772_442_000_000_000_000 + chance.randrange(40) * MILLISECOND * 7 + number
    isn = (chance.choice((1000, 900_000_000)), chance.randrange(1 << 32))
    talk = Talk(client_port=client_port, server_port=port, start_ns=begin, isn=isn).play(lines)
    if chance.random() < 0.7:
        talk.close()
    frames = talk.frames()
    if chance.random() < 0.3:
        frames.insert(chance.randrange(len(frames)), frames[0])  # the SYN again
    if chance.random() < 0.3:
        del frames[chance.randrange(len(frames))]
    if chance.random() < 0.3:
        frames = frames[chance.randrange(4) :]
    if chance.random() < 0.3 and len(frames) > 3:
        at = chance.randrange(len(frames) - 1)
        frames[at], frames[at + 1] = frames[at + 1], frames[at]
    times = [begin + index * MILLISECOND * chance.choice((1, 1, 5)) for index in range(len(frames))]
    return list(zip(sorted(times), [frame for _, frame in frames], strict=True))


def told(sessions: list[Session], paths: list[str]) -> dict[str, object]:
    """All that a report would say."""
    result = Result()
    result.sessions = sessions
    out = io.StringIO()
    load("json").write(Job(result, RowMaker(True, False, b"tests"), "0.0", "sessions"), out)
    report: dict[str, object] = json.loads(out.getvalue())
    return report


def in_one(paths: list[str]) -> list[Session]:
    sink = SessionList()
    pipeline = Pipeline(sink)
    for path in paths:
        pipeline.read(path)
    pipeline.close()
    sort_by_start(sink.sessions)
    return sink.sessions


def side_by_side(paths: list[str]) -> tuple[list[Session], int]:
    parts = [pickle.loads(pickle.dumps(read_part(path))) for path in paths]
    residues = [read_residue(path, crossing(parts, index)) for index, path in enumerate(paths)]
    return join(parts, residues)


def write_ring(folder: Path, frames: list[Frame], cuts: list[int]) -> list[str]:
    paths = []
    edges = [0, *sorted(cut % (len(frames) + 1) for cut in cuts), len(frames)]
    for index, (begin, end) in enumerate(itertools.pairwise(edges)):
        path = folder / f"ring_{index:05d}.pcap"
        path.write_bytes(capture(frames[begin:end]))
        paths.append(str(path))
    return paths


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 8), st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_the_same_records_as_in_one_stream(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, cuts: list[int]
) -> None:
    chance = random.Random(seed)
    frames = sorted((frame for number in range(count) for frame in connection(chance, number)), key=lambda one: one[0])
    if not frames:
        return
    paths = write_ring(tmp_path_factory.mktemp("ring"), frames, cuts)
    sessions, lost = side_by_side(paths)
    assert lost == 0
    # secrets are masked when parts are pickled, so they are compared by what is kept of them
    assert told(masked(sessions), paths) == told(masked(in_one(paths)), paths)


def masked(sessions: list[Session]) -> list[Session]:
    return list(pickle.loads(pickle.dumps(sessions)))


def test_nothing_crosses_where_all_is_over(tmp_path: Path) -> None:
    one, two = (Talk(client_port=port).play(DIALOGUES[0][1]).reset().frames() for port in (40000, 40001))
    paths = write_ring(tmp_path, one + [(time + 10**13, frame) for time, frame in two], [len(one)])
    parts = [read_part(path) for path in paths]
    assert len(parts[0].open) <= 1  # closed, and late packets may come
    residue = read_residue(paths[1], crossing(parts, 1) - parts[1].open)
    assert residue.records == []


def test_files_that_begin_alike_are_read_in_one_order(tmp_path: Path) -> None:
    paths = []
    for index, port in enumerate((50000, 40000)):
        paths.append(str(tmp_path / f"ring_{index:05d}.pcap"))
        Path(paths[-1]).write_bytes(capture(Talk(client_port=port).play(DIALOGUES[0][1]).reset().frames()))
    whole = run([tmp_path]).sessions
    assert [(one.client_port, one.first_frame) for one in whole] == [(40000, 1), (50000, 1)]
    assert told(masked(side_by_side(paths)[0]), paths) == told(masked(whole), paths)


def test_what_is_left_out_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = Talk().play(DIALOGUES[0][1]).frames()
    paths = write_ring(tmp_path, frames, [5])
    parts = [read_part(path) for path in paths]
    monkeypatch.setattr("analyzer.residue.MAX_OPEN", 0)
    assert read_part(paths[0]).open_left_out == 1
    if selection.__file__.endswith(".py"):
        monkeypatch.setattr(selection, "MAX_SELECTED", 300)
        assert read_residue(paths[0], crossing(parts, 0)).left_out == 4


def test_both_directions_have_one_name() -> None:
    client, server = b"\x0a\0\0\1", b"\x0a\0\0\2"
    one = client + server + b"\x9c\x40\0\x6e"
    other = server + client + b"\0\x6e\x9c\x40"
    assert connection_key(one) == connection_key(other) == connection_key(b"\0\1" + one)
    assert connection_key(one) != connection_key(client + server + b"\x9c\x41\0\x6e")


def test_what_is_known_of_a_file_survives_pickling(tmp_path: Path) -> None:
    (path,) = write_ring(tmp_path, Talk().play(DIALOGUES[0][1]).frames(), [])
    stats = read_part(path).stats
    stats.sha256, stats.dropped, stats.keylog, stats.warnings = "ab", 3, [b"x"], ["odd"]
    again = pickle.loads(pickle.dumps(stats))
    names = [name for name in dir(stats) if not name.startswith("_")]
    assert {name: getattr(again, name) for name in names} == {name: getattr(stats, name) for name in names}
