"""Sessions come in order of their start, whatever their ends, and none waits without need."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.traffic import START_NS, Frame, Talk, capture

from analyzer.pipeline import Pipeline, run
from analyzer.report.formats.json import write_json
from analyzer.report.formats.text import write_text
from analyzer.report.glance import Glancer
from analyzer.report.rows import RowMaker
from analyzer.sessions.ordering import SessionOrder, in_order
from analyzer.sessions.records import Session, SessionList

SECOND = 1_000_000_000
SAMPLES = Path(__file__).parents[2] / "captures"


def talk(number: int, start_ns: int, pause_ns: int = 0, close: bool = True) -> list[Frame]:
    """One login, with a pause in the middle."""
    one = Talk(client=f"192.0.2.{number % 200 + 1}", client_port=40000 + number, start_ns=start_ns)
    one.play("S: +OK ready\nC: USER kim\nS: +OK")
    one.now += pause_ns
    one.play("C: PASS Zulu7Tango\nS: +OK in\nC: QUIT\nS: +OK bye")
    return (one.close() if close else one).frames()


def names(sessions: list[Session]) -> list[str]:
    return [session.session_id() for session in sessions]


def read(folder: Path, frames: list[Frame], order: SessionOrder) -> None:
    """Read frames; the connections still open end behind the last."""
    path = folder / "talks.pcap"
    path.write_bytes(capture(frames))
    pipeline = Pipeline(order)
    order.table = pipeline.table
    pipeline.read(str(path))


MOMENTS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 15), st.booleans()), min_size=1, max_size=12
)  # start and pause in seconds (equal starts among them), and whether it ends in the capture


@settings(max_examples=60)
@given(MOMENTS, st.randoms(use_true_random=False))
def test_the_order_is_that_of_all_sessions_sorted(
    tmp_path: Path, moments: list[tuple[int, int, bool]], random: object
) -> None:
    frames: list[Frame] = []
    for number, (start, pause, close) in enumerate(moments):
        frames += talk(number, START_NS + start * SECOND, pause * SECOND, close)
    # Captured a little out of order, as by several queues.
    frames.sort(key=lambda frame: frame[0] + random.randrange(2 * SECOND))  # type: ignore[attr-defined]
    handed_on = SessionList()
    order = SessionOrder(handed_on, batch=1)
    read(tmp_path, frames, order)
    before = len(handed_on.sessions)
    order.table.end_capture()  # type: ignore[union-attr]
    order.flush()
    whole = run([tmp_path / "talks.pcap"]).sessions
    assert names(handed_on.sessions) == names(in_order(whole))
    assert order.late == order.waiting == 0
    assert before <= len(whole)


def test_sessions_are_handed_on_as_they_end(tmp_path: Path) -> None:
    handed_on = SessionList()
    order = SessionOrder(handed_on, batch=1)
    read(tmp_path, [frame for number in range(40) for frame in talk(number, START_NS + number * SECOND)], order)
    assert order.waiting < 8
    assert len(handed_on.sessions) > 30


def test_a_connection_that_lasts_holds_back_what_began_after_it(tmp_path: Path) -> None:
    frames = talk(0, START_NS, 60 * SECOND, close=False)
    for number in range(1, 30):
        frames += talk(number, START_NS + number * SECOND)
    frames.sort(key=lambda frame: frame[0])
    handed_on = SessionList()
    order = SessionOrder(handed_on, batch=1)
    read(tmp_path, frames, order)
    assert handed_on.sessions == []
    order.table.end_capture()  # type: ignore[union-attr]
    order.flush()
    assert len(handed_on.sessions) == 30
    assert handed_on.in_order
    assert order.late == 0


def test_sessions_of_one_moment_stand_in_order_of_frames_and_are_judged_in_order_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "talks.pcap"
    frames = [frame for number in (2, 1, 0) for frame in talk(number, START_NS)]
    path.write_bytes(capture(sorted(frames, key=lambda frame: frame[0])))
    result = run([path])
    assert not result.in_order
    assert [session.client_port for session in result.sessions] == [40002, 40001, 40000]
    out = io.StringIO()
    write_json(result, RowMaker(), out, "1")
    tables = json.loads(out.getvalue())
    assert [row["client_port"] for row in tables["sessions"]] == [40002, 40001, 40000]
    judged = dict.fromkeys(row["client_ip"] for row in tables["findings"])
    assert list(judged) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    path.write_bytes(capture(talk(0, START_NS) + talk(1, START_NS + 1)))
    assert run([path]).in_order


def test_several_inputs_are_one_order(tmp_path: Path) -> None:
    for name, first in (("a.pcap", 1), ("b.pcap", 0)):
        frames = [frame for number in range(first, 10, 2) for frame in talk(number, START_NS + number * SECOND)]
        (tmp_path / name).write_bytes(capture(frames))
    handed_on = SessionList()
    result = run([tmp_path / "a.pcap", tmp_path / "b.pcap"], receiver=handed_on)
    assert [session.client_port for session in handed_on.sessions] == list(range(40000, 40010))
    assert result.sessions == []


def test_times_choose_sessions_for_a_receiver_too(tmp_path: Path) -> None:
    path = tmp_path / "talks.pcap"
    path.write_bytes(capture([frame for number in range(20) for frame in talk(number, START_NS + number * SECOND)]))
    handed_on = SessionList()
    times = {"since_ns": START_NS + 5 * SECOND, "until_ns": START_NS + 11 * SECOND}
    run([path], receiver=handed_on, since_ns=times["since_ns"], until_ns=times["until_ns"])
    assert [session.client_port for session in handed_on.sessions] == list(range(40005, 40012))
    assert names(run([path], since_ns=times["since_ns"], until_ns=times["until_ns"]).sessions) == names(
        handed_on.sessions
    )


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.pcap*")))
def test_the_text_report_is_the_same_whether_sessions_are_kept_or_not(name: str) -> None:
    path = SAMPLES / name
    glancer = Glancer()
    result = run([path], receiver=glancer)
    handed_on, kept = io.StringIO(), io.StringIO()
    write_text(result, handed_on, "1", seen=glancer.finish(result.captures))
    whole = run([path])
    write_text(whole, kept, "1")
    assert handed_on.getvalue() == kept.getvalue()
    assert result.warnings == whole.warnings
