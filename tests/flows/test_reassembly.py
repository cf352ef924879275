"""Streams in order, once, with gaps; and in the order of cause and answer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.segments import (
    ACK,
    EPOCH,
    FIN,
    LOGIN,
    MASK,
    MILLISECOND,
    PSH,
    RST,
    SECOND,
    SYN,
    Player,
    Segment,
    Talk,
    conversation,
    login,
    play,
    turns,
)

from analyzer.flows import reassembly
from analyzer.flows.base import StreamRecorder
from analyzer.flows.reassembly import (
    ACKED_WAIT_NS,
    ACKED_WAIT_SEGMENTS,
    HOLE_WAIT_NS,
    MAX_HELD_BYTES,
    MAX_HELD_SEGMENTS,
    RESYNC_SEGMENTS,
)
from analyzer.model import CLIENT, SERVER


def one(segments: list[Segment]) -> StreamRecorder:
    recorders = play(segments)
    assert len(recorders) == 1
    assert recorders[0].ended == 1
    return recorders[0]


def kinds(recorder: StreamRecorder) -> list[tuple[str, int, bytes, int]]:
    return [turn for turn in conversation(recorder) if turn[0] != "eof"]


# -- order within a stream -----------------------------------------------------------------------------------------------------


def test_sequence_numbers_wrap():
    for isn in ((MASK - 12, MASK - 3), (MASK, MASK - 1), (0x7FFFFFF0, 0x7FFFFFFC)):
        assert turns(one(login(isn=isn).segments)) == list(LOGIN)


def test_out_of_order_octets_wait():
    talk = Talk().open().say(SERVER, b"+OK\r\n").say(CLIENT, b"USER ann\r\nPASS made-up\r\n", size=4)
    early = talk.segments[:4] + talk.segments[:3:-1]
    player = Player().play(early[:-1])
    assert turns(player.recorders[0]) == [(SERVER, b"+OK\r\n")]
    player.play(early[-1:])
    assert turns(player.recorders[0]) == [(SERVER, b"+OK\r\n"), (CLIENT, b"USER ann\r\nPASS made-up\r\n")]
    assert player.table.counters()["out_of_order"] == 5
    assert player.end()[0].flow.gap_bytes == 0


def test_positions_are_those_of_the_segments():
    talk = Talk().open().say(SERVER, b"aabbcc", size=2)
    segments = talk.segments
    recorder = one([*segments[:3], segments[4], segments[5], segments[3]])
    assert [(call[2], call[4], call[5]) for call in recorder.calls] == [(b"aa", 6, 0), (b"bb", 4, 2), (b"cc", 5, 4)]


def test_same_octets_again_are_dropped_and_no_conflict():
    segments = login().segments
    twice = [segment for segment in segments for _ in range(2)]
    player = Player().play(twice)
    (recorder,) = player.end()
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.conflict_bytes == 0
    assert recorder.flow.packets == 22
    assert player.table.counters()["duplicates"] == 2 + 5


def test_overlap_keeps_the_first_copy_and_counts_the_difference():
    talk = Talk().open().say(SERVER, b"+OK\r\n").say(CLIENT, b"USER ann\r\n")
    talk.send(CLIENT, b"USER bob\r\nPASS x\r\n", seq=1001)
    recorder = one(talk.segments)
    assert turns(recorder)[1] == (CLIENT, b"USER ann\r\nPASS x\r\n")
    assert recorder.flow.conflict_bytes == 3
    assert recorder.flow.conflict_frame == 6
    assert recorder.flow.conflict_ns == talk.segments[5].time
    assert recorder.flow.client_bytes == 18


def test_retransmission_in_other_pieces_is_no_conflict():
    text = bytes(random.Random(1).randbytes(3000))
    talk = Talk().open().say(SERVER, text, size=100)
    for at in range(0, 3000, 170):
        talk.send(SERVER, text[at : at + 170], seq=5001 + at)
    recorder = one(talk.segments)
    assert recorder.stream(SERVER) == text
    assert recorder.flow.conflict_bytes == 0


@pytest.mark.parametrize(("back", "conflicts"), [(1, 0), (2, 1)])
def test_keep_alive_probe_behind_octets_that_still_wait_is_no_conflict(back: int, conflicts: int):
    talk = Talk().open()
    talk.say(SERVER, b"+OK\r\n")
    talk.next[CLIENT] += 6  # lost
    talk.say(CLIENT, b"PASS zulu\r\n")
    talk.send(CLIENT, b"\0", seq=talk.next[CLIENT] - back)
    (recorder,) = play(talk.segments)
    assert recorder.flow.conflict_bytes == conflicts


def test_conflict_with_octets_that_still_wait():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"made-up\r\n", seq=1011)
    talk.send(CLIENT, b"PASS "[2:] + b"MADE-UP\r\n", seq=1008)
    talk.send(CLIENT, b"USER an", seq=1001)
    recorder = one(talk.segments)
    assert recorder.stream(CLIENT) == b"USER anSS made-up\r\n"
    assert recorder.flow.conflict_bytes == 6
    assert recorder.flow.conflict_frame == 6


def test_old_octets_are_compared_as_far_back_as_is_kept():
    talk = Talk().open()
    talk.say(SERVER, b"x" * 100_000)
    near = talk.next[1] - 5000
    talk.send(SERVER, b"y" * 10, seq=near)
    talk.send(SERVER, b"z" * 10, seq=5001)  # too old to be known
    flow = one(talk.segments).flow
    assert flow.conflict_bytes == 10


def test_keep_alive_is_neither_data_nor_conflict():
    talk = Talk().open().dialogue(*LOGIN)
    talk.send(CLIENT, b"\0", seq=talk.next[0] - 1)
    talk.send(CLIENT, b"", seq=talk.next[0] - 1)
    recorder = one(talk.close().segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.conflict_bytes == 0
    assert recorder.flow.packets == 13


def test_data_behind_the_fin_are_strays():
    talk = Talk().open().dialogue(*LOGIN)
    talk.send(CLIENT, flags=FIN | ACK)
    talk.send(CLIENT, b"QUIT\r\n")
    player = Player().play(talk.segments)
    assert turns(player.end()[0]) == list(LOGIN)
    assert player.table.counters()["strays"] == 1


def test_fin_waits_for_the_data_before_it():
    segments = login().segments
    recorder = one([*segments[:6], segments[8], segments[7], segments[6], *segments[9:]])
    assert turns(recorder) == list(LOGIN)
    assert [call[0] for call in recorder.calls[-2:]] == ["eof", "eof"]


# -- cause and answer ----------------------------------------------------------------------------------------------------------


def test_answer_captured_before_its_cause():
    """The server's packets arrive over another queue, ahead of the client's; and the other way round."""
    segments = login().segments
    of_server = [segment for segment in segments if segment.key == segments[1].key]
    of_client = [segment for segment in segments if segment.key == segments[0].key]
    for order in (of_server + of_client, of_client + of_server):
        recorder = one(order)
        assert turns(recorder) == list(LOGIN)
        assert recorder.flow.gap_bytes == 0


def test_two_that_wait_for_each_other():
    """A command was not captured, only its later retransmission, which acknowledges the reply to it already."""
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.say(CLIENT, b"USER ann\r\n")
    talk.say(SERVER, b"+OK go on\r\n")
    talk.send(CLIENT, b"USER ann\r\n", seq=1001)
    talk.say(CLIENT, b"PASS x\r\n")
    segments = talk.segments
    recorder = one(segments[:4] + segments[5:])
    assert turns(recorder) == [
        (SERVER, b"+OK\r\n"),
        (CLIENT, b"USER ann\r\n"),
        (SERVER, b"+OK go on\r\n"),
        (CLIENT, b"PASS x\r\n"),
    ]


def test_impossible_acknowledgement_is_not_waited_for():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"USER ann\r\n", ack=3_000_000_000)
    player = Player().play(talk.segments)
    assert turns(player.recorders[0])[-1] == (CLIENT, b"USER ann\r\n")


def test_bogus_acknowledgement_makes_no_gap():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"USER ann\r\n", ack=talk.next[1] + 50_000)
    talk.send(CLIENT)
    talk.time += 2 * ACKED_WAIT_NS
    talk.send(CLIENT)
    recorder = one(talk.say(SERVER, b"+OK again\r\n").segments)
    assert turns(recorder) == [(SERVER, b"+OK\r\n"), (CLIENT, b"USER ann\r\n"), (SERVER, b"+OK again\r\n")]
    assert recorder.flow.gap_bytes == 0


# -- loss ----------------------------------------------------------------------------------------------------------------------


def test_acknowledged_hole_becomes_a_gap_after_some_segments():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.say(CLIENT, b"USER ann\r\n")
    lost = len(talk.segments) - 1
    talk.say(CLIENT, b"PASS x\r\n").say(SERVER, b"+OK\r\n")
    for _ in range(ACKED_WAIT_SEGMENTS + 2):
        talk.send(CLIENT)
    del talk.segments[lost]
    player = Player().play(talk.segments[:-10])
    assert kinds(player.recorders[0]) == [("data", SERVER, b"+OK\r\n", 5)]
    player.play(talk.segments[-10:])
    assert kinds(player.recorders[0]) == [
        ("data", SERVER, b"+OK\r\n", 5),
        ("gap", CLIENT, b"", 10),
        ("data", CLIENT, b"PASS x\r\n", 8),
        ("data", SERVER, b"+OK\r\n", 5),
    ]
    assert player.end()[0].flow.gap_bytes == 10


def test_acknowledged_hole_becomes_a_gap_after_some_time():
    talk = login()
    segments = talk.segments
    del segments[5]
    later = [segment.but(time=segment.time + 2 * ACKED_WAIT_NS) for segment in segments[8:]]
    player = Player().play(segments[:8])
    assert len(player.recorders[0].calls) == 3 - 1
    player.play(later)
    recorder = player.end()[0]
    assert kinds(recorder) == [
        ("data", SERVER, b"+OK ready\r\n", 11),
        ("data", CLIENT, b"USER ann\r\n", 10),
        ("gap", SERVER, b"", 5),
        ("data", CLIENT, b"PASS made-up\r\n", 14),
        ("data", SERVER, b"+OK logged in\r\n", 15),
    ]
    assert (recorder.flow.gap_bytes, recorder.flow.server_bytes) == (5, 31)


def test_lost_reply_is_a_gap_in_its_place_at_the_latest_at_the_end():
    for lost in range(3, 8):
        segments = login().segments
        gone = segments.pop(lost)
        recorder = one(segments)
        sender = int(gone.key == segments[1].key)
        want = [("data", who, said, len(said)) for who, said in LOGIN]
        want[lost - 3] = ("gap", sender, b"", len(gone.data))
        assert kinds(recorder) == want
        assert recorder.flow.gap_bytes == len(gone.data)


def test_unacknowledged_hole_waits_longer():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"PASS x\r\n", seq=1011)
    talk.time += HOLE_WAIT_NS - SECOND
    talk.send(SERVER)
    player = Player().play(talk.segments)
    assert len(player.recorders[0].calls) == 1
    talk.time += 2 * SECOND
    player.play([talk.send(SERVER)])
    assert kinds(player.recorders[0])[1:] == [("gap", CLIENT, b"", 10), ("data", CLIENT, b"PASS x\r\n", 8)]


def test_retransmission_fills_a_hole_in_time():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"PASS x\r\n", seq=1011)
    talk.time += 30 * SECOND
    talk.send(CLIENT, b"USER ann\r\n", seq=1001)
    recorder = one(talk.segments)
    assert turns(recorder)[1] == (CLIENT, b"USER ann\r\nPASS x\r\n")
    assert recorder.flow.gap_bytes == 0


def test_sweep_ends_waits_too():
    segments = login().segments
    del segments[5]
    player = Player().play(segments[:8])
    player.table.advance(EPOCH + 100 * SECOND)
    assert player.recorders[0].calls[-2][2] == b"+OK logged in\r\n"


def test_octets_acknowledged_at_the_end_and_never_seen():
    talk = Talk().open().dialogue(*LOGIN)
    talk.say(SERVER, b"x" * 500).send(CLIENT)
    del talk.segments[-2]
    recorder = one(talk.segments)
    assert conversation(recorder)[-1] == ("gap", SERVER, b"", 500)
    assert recorder.flow.server_bytes == 531


def test_acknowledged_fin_is_no_octet():
    for gone in (8, 9):
        segments = login().segments
        del segments[gone]
        flow = one(segments).flow
        assert flow.gap_bytes == 0


def test_one_sided_capture():
    for side in (0, 1):
        talk = login()
        recorder = one([segment for segment in talk.segments if segment.key == talk.keys[side]])
        assert turns(recorder) == [(side, b"".join(said for sender, said in LOGIN if sender == side))]
        assert recorder.flow.gap_bytes == 0
        assert (recorder.flow.client_packets == 0) == (side == SERVER)


def test_one_sided_capture_waits_once():
    talk = Talk(pause=10 * MILLISECOND).open()
    for _ in range(200):
        talk.say(SERVER, b"ok\r\n").say(CLIENT, b"NOOP\r\n")
    segments = [segment for segment in talk.segments if segment.key == talk.keys[0]]
    player = Player().play(segments)
    assert len(player.recorders[0].calls) == 200
    assert player.table.counters().get("limit_held_segments") is None
    assert player.end()[0].flow.gap_bytes == 0


def test_other_side_shows_up_later():
    talk = Talk(pause=10 * MILLISECOND).open()
    for number in range(200):
        talk.say(SERVER, b"ok %d\r\n" % number).say(CLIENT, b"NOOP %d\r\n" % number)
    half = len(talk.segments) // 2
    segments = [segment for segment in talk.segments[:half] if segment.key == talk.keys[0]] + talk.segments[half:]
    recorder = one(segments)
    said = turns(recorder)
    assert said[0][0] == CLIENT
    assert said[-3:] == [(CLIENT, b"NOOP 198\r\n"), (SERVER, b"ok 199\r\n"), (CLIENT, b"NOOP 199\r\n")]
    assert recorder.flow.gap_bytes == 0


def test_answer_to_syn_not_captured():
    segments = login().segments
    del segments[1]
    recorder = one(segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.gap_bytes == 0


def test_answer_to_syn_and_greeting_not_captured():
    segments = login().segments
    del segments[1]
    del segments[2]
    recorder = one(segments)
    assert kinds(recorder)[:2] == [("gap", SERVER, b"", 11), ("data", CLIENT, b"USER ann\r\n", 10)]


def test_segment_cut_by_the_snap_length():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"USER", missing=6)
    talk.say(SERVER, b"+OK\r\n")
    talk.send(CLIENT, b"", missing=8)
    recorder = one(talk.segments)
    assert kinds(recorder)[1:] == [
        ("data", CLIENT, b"USER", 4),
        ("gap", CLIENT, b"", 6),
        ("data", SERVER, b"+OK\r\n", 5),
        ("gap", CLIENT, b"", 8),
    ]
    assert recorder.flow.truncated
    assert (recorder.flow.gap_bytes, recorder.flow.client_bytes) == (14, 18)


def test_cut_segments_out_of_order():
    talk = Talk().open()
    talk.send(SERVER, b"ab", missing=2)
    talk.send(SERVER, b"ef", missing=2)
    segments = talk.segments
    recorder = one([*segments[:3], segments[4], segments[3]])
    assert [(call[0], call[2], call[3]) for call in recorder.calls] == [
        ("data", b"ab", 2), ("gap", b"", 2), ("data", b"ef", 2), ("gap", b"", 2),
    ]  # fmt: skip


# -- strays --------------------------------------------------------------------------------------------------------------------


def test_stray_is_ignored():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(CLIENT, b"HELLO\r\n", seq=2_000_000_000)
    player = Player().play(talk.dialogue(*LOGIN[3:]).close().segments)
    (recorder,) = player.end()
    assert turns(recorder) == list(LOGIN)
    assert player.table.counters()["strays"] == 1


def test_near_stray_does_not_stop_the_stream():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(CLIENT, b"HELLO\r\n", seq=talk.next[0] + 3_000_000)
    talk.time += 2 * HOLE_WAIT_NS
    recorder = one(talk.dialogue(*LOGIN[3:]).close().segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.gap_bytes == 0


def test_stream_that_goes_on_far_ahead_is_followed():
    talk = Talk().open().say(SERVER, b"+OK\r\n")
    talk.next[1] += 20_000_000
    for _ in range(RESYNC_SEGMENTS + 1):
        talk.say(SERVER, b"text\r\n")
    recorder = one(talk.segments)
    assert recorder.flow.gap_bytes == 20_000_000 + 6 * (RESYNC_SEGMENTS - 1)
    assert conversation(recorder)[-1] == ("data", SERVER, b"text\r\n" * 2, 12)


def test_stream_that_goes_on_elsewhere_is_another_connection():
    first = Talk().open().dialogue(*LOGIN)
    other = Talk(isn=(3_000_000_000, 4_000_000_000), time=first.time)
    other.say(CLIENT, b"NOOP\r\n" * (RESYNC_SEGMENTS + 2), size=6)
    recorders = play(first.segments + other.segments)
    assert len(recorders) == 2
    assert recorders[0].stream(CLIENT).endswith(b"made-up\r\n")
    assert recorders[1].stream(CLIENT) == b"NOOP\r\n" * 3
    assert recorders[0].flow.packets + recorders[1].flow.packets == len(first.segments + other.segments)


# -- limits --------------------------------------------------------------------------------------------------------------------


def test_held_pieces_are_bounded():
    talk = Talk().open()
    talk.next[1] += 10
    for _ in range(MAX_HELD_SEGMENTS + 1):
        talk.say(SERVER, b"x")
    player = Player().play(talk.segments)
    assert player.table.counters()["limit_held_segments"] == 1
    assert player.recorders[0].calls[0][0] == "gap"
    assert len(player.recorders[0].stream(SERVER)) == MAX_HELD_SEGMENTS + 1
    player.end()


def test_held_octets_are_bounded():
    talk = Talk().open()
    talk.next[1] += 10
    for _ in range(MAX_HELD_BYTES // 60_000 + 1):
        talk.say(SERVER, b"x" * 60_000, size=60_000)
    player = Player().play(talk.segments)
    assert player.table.counters()["limit_held_bytes"] == 1
    player.end()


def test_held_octets_of_all_flows_are_bounded():
    player = Player()
    flows = reassembly.MAX_TOTAL_HELD_BYTES // 960_000 + 2
    for number in range(flows):
        talk = Talk(client_port=1024 + number).open()
        talk.next[1] += 10
        talk.say(SERVER, b"x" * 960_000, size=60_000)
        player.play(talk.segments)
    assert player.table.counters()["limit_held_bytes_total"] > 0
    assert player.table._ledger.held_bytes <= reassembly.MAX_TOTAL_HELD_BYTES
    player.end()


def test_octets_kept_for_comparison_are_bounded():
    player = Player()
    for number in range(reassembly.MAX_TOTAL_RECENT_BYTES // 30_000 + 30):
        talk = Talk(client_port=1024 + number, pause=1).open()
        player.play(talk.say(SERVER, b"x" * 30_000, size=30_000).segments)
    assert player.table.counters()["limit_recent_bytes"] > 0
    assert player.table._ledger.recent_bytes <= reassembly.MAX_TOTAL_RECENT_BYTES
    player.end()


# -- properties ----------------------------------------------------------------------------------------------------------------

#: a dialogue's segments, and who says what in it
Made = tuple[Talk, list[tuple[int, bytes]]]

SAID = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=8)


@st.composite
def talks(draw: st.DrawFn) -> Made:
    """A dialogue in turns, cut into segments anywhere."""
    talk = Talk(
        server_port=draw(st.sampled_from([110, 2110])),
        isn=(draw(st.integers(0, MASK)), draw(st.integers(0, MASK))),
        pause=draw(st.sampled_from([1000, MILLISECOND])),
    ).open()
    said: list[tuple[int, bytes]] = []
    sender = SERVER
    for text in draw(SAID):
        line = (b"+OK ", b"USER ")[len(said)] + text if len(said) < 2 else text
        said.append((sender, line))
        at = 0
        while at < len(line):
            size = draw(st.integers(1, len(line) - at))
            talk.say(sender, line[at : at + size])
            at += size
        if draw(st.booleans()):
            talk.send(1 - sender)  # a bare acknowledgement
        sender = 1 - sender
    if draw(st.booleans()):
        talk.close()
    return talk, said


@settings(max_examples=100, deadline=None)
@given(talks(), st.randoms(use_true_random=False))
def test_any_segmentation_order_and_duplication_gives_the_same_dialogue(made: Made, rnd: random.Random):
    talk, said = made
    first = talk.segments[rnd.randrange(2)]  # a SYN or its answer comes first, anything may follow
    rest = [segment for segment in talk.segments if segment is not first]
    rest += [segment for segment in talk.segments if rnd.random() < 0.3]
    rnd.shuffle(rest)
    order = [first, *rest]
    times = sorted(segment.time for segment in order)
    recorder = one([segment.but(time=time) for segment, time in zip(order, times, strict=True)])
    assert turns(recorder) == said
    assert recorder.flow.gap_bytes == 0
    assert recorder.flow.conflict_bytes == 0
    assert recorder.flow.packets == len(order)
    offsets = [0, 0]
    for kind, sender, _data, size, _frame, offset in recorder.calls:
        assert offset == offsets[sender]
        offsets[sender] += size
        assert kind != "gap"


@settings(max_examples=100, deadline=None)
@given(talks(), st.randoms(use_true_random=False))
def test_retransmission_in_any_pieces_changes_nothing(made: Made, rnd: random.Random):
    talk, said = made
    again: list[Segment] = []
    for sender in (CLIENT, SERVER):
        stream = b"".join(text for who, text in said if who == sender)
        for _ in range(4):
            if stream:
                at = rnd.randrange(len(stream))
                piece = stream[at : at + rnd.randrange(1, 60)]
                seq = (talk.isn[sender] + 1 + at) & MASK
                again.append(Segment(talk.keys[sender], piece, seq, 0, PSH, talk.time))
    recorder = one(talk.segments[:3] + sorted(talk.segments[3:] + again, key=lambda _: rnd.random()))
    for sender in (CLIENT, SERVER):
        assert recorder.stream(sender) == b"".join(text for who, text in said if who == sender)
    assert recorder.flow.conflict_bytes == 0
    assert recorder.flow.gap_bytes == 0


@settings(max_examples=100, deadline=None)
@given(talks(), st.randoms(use_true_random=False))
def test_lost_segments_become_gaps_of_their_size(made: Made, rnd: random.Random):
    talk, said = made
    lost = [segment for segment in talk.segments[3:] if segment.data and rnd.random() < 0.3]
    seen = [segment for segment in talk.segments if not any(segment is gone for gone in lost)]
    recorders = play(seen)
    if not recorders:
        return
    recorder = recorders[0]
    for sender in (CLIENT, SERVER):
        want = bytearray(b"".join(text for who, text in said if who == sender))
        got = bytearray()
        for kind, who, data, size, _frame, _offset in recorder.calls:
            if who == sender:
                got += data if kind == "data" else bytes(size)
        for gone in lost:
            if gone.key == talk.keys[sender]:
                at = (gone.seq - talk.isn[sender] - 1) & MASK
                want[at : at + len(gone.data)] = bytes(len(gone.data))
        assert want.startswith(bytes(got))  # a loss at the very end may have gone unacknowledged
        assert not any(want[len(got) :])


ODD_FLAGS = st.sampled_from(
    [SYN, SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST, RST | ACK, 0, FIN | SYN, 0xFF, FIN | PSH | ACK]
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([110, 2110]),
            st.one_of(st.binary(max_size=20), st.sampled_from([b"+OK x\r\n", b"USER x\r\n"])),
            st.one_of(st.integers(0, 60), st.integers(0, MASK), st.integers(MASK - 30, MASK)),
            st.one_of(st.integers(0, 60), st.integers(0, MASK)),
            ODD_FLAGS,
            st.one_of(st.integers(0, 10 * SECOND), st.integers(-(1 << 62), 1 << 62)),
            st.sampled_from([0, 0, 0, 1, 1000, 70_000]),
        ),
        max_size=60,
    )
)
def test_arbitrary_segments_never_raise(packets: list[tuple[bool, int, bytes, int, int, int, int, int]]):
    player = Player(refused=b"USER")
    for backwards, port, data, seq, ack, flags, time, missing in packets:
        key = Talk(server_port=port).keys[backwards]
        player.play([Segment(key, data, seq, ack, flags, time, missing)])
    for recorder in player.end():
        offsets = [0, 0]
        for _kind, sender, data, size, _frame, offset in recorder.calls:
            assert offset == offsets[sender]
            offsets[sender] += size
            assert size >= len(data)
        flow = recorder.flow
        assert flow.packets == flow.client_packets + flow.server_packets
        if recorder.ended:
            assert [flow.client_bytes, flow.server_bytes] == offsets


@settings(max_examples=60, deadline=None)
@given(st.lists(talks(), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_a_flow_depends_on_its_own_packets_alone(made: list[Made], rnd: random.Random):
    alone = []
    queues: list[list[Segment]] = []
    for number, (talk, _said) in enumerate(made):
        port = (50000 + number).to_bytes(2, "big")
        segments = []
        for segment in talk.segments:
            if rnd.random() < 0.9:
                key = segment.key
                key = key[:8] + port + key[10:] if segment.key == talk.keys[0] else key[:10] + port
                segments.append(segment.but(key=key))
        queues.append(segments)
        alone += [conversation(recorder) for recorder in play(segments)]
    mixed: list[Segment] = []
    while any(queues):
        mixed.append(rnd.choice([queue for queue in queues if queue]).pop(0))
    together = [conversation(recorder) for recorder in play(mixed)]
    assert sorted(map(repr, together)) == sorted(map(repr, alone))
