"""What opens a flow, who is the client, what ends it, and what a table of flows may cost."""

from __future__ import annotations

import pytest
from support.segments import (
    ACK,
    EPOCH,
    FIN,
    LOGIN,
    MILLISECOND,
    PSH,
    RST,
    SECOND,
    SYN,
    Player,
    Segment,
    Talk,
    login,
    play,
    turns,
)

from analyzer.flows import table as table_module
from analyzer.flows.base import CountingFactory, Flow, StreamRecorder, default_opening_octets
from analyzer.flows.reassembly import IDLE_NS, LINGER_NS, RESET_LINGER_NS, SYN_WAIT_NS
from analyzer.flows.table import MAX_EMBRYOS, MAX_LINGERING, SWEEP_NS, FlowTable
from analyzer.model import CLIENT, SERVER


def one(segments: list[Segment]) -> StreamRecorder:
    recorders = play(segments)
    assert len(recorders) == 1
    assert recorders[0].ended == 1
    return recorders[0]


# -- a whole session -----------------------------------------------------------------------------------------------------------


def test_session_is_heard_and_its_facts_are_right():
    recorder = one(login().segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.calls[1] == ("data", CLIENT, b"USER ann\r\n", 10, 5, 0)
    assert [call[:2] for call in recorder.calls[-2:]] == [("eof", CLIENT), ("eof", SERVER)]
    flow = recorder.flow
    assert (flow.client_ipv4, flow.server_ipv4) == (0xC0000201, 0xC6336402)
    assert (flow.client_ipv6, flow.server_ipv6) == (b"", b"")
    assert (flow.client_port, flow.server_port) == (40000, 110)
    assert (flow.packets, flow.client_packets, flow.server_packets) == (11, 6, 5)
    assert (flow.first_frame, flow.last_frame) == (1, 11)
    assert (flow.start_ns, flow.end_ns) == (EPOCH, EPOCH + 10 * MILLISECOND)
    assert (flow.client_bytes, flow.server_bytes, flow.gap_bytes, flow.conflict_bytes) == (24, 31, 0, 0)
    assert (flow.syn_seen, flow.syn_ack_seen, flow.client_fin, flow.server_fin) == (True, True, True, True)
    assert (flow.rst_frame, flow.direction_from, flow.truncated) == (0, "syn", False)


def test_ipv6_addresses():
    flow = one(login(client_ip="2001:db8::1", server_ip="2001:db8::2").segments).flow
    assert len(flow.client_ipv6) == 16
    assert flow.server_ipv6[-1] == 2
    assert (flow.client_port, flow.server_port) == (40000, 110)


def test_counters():
    player = Player().play(login().segments)
    player.end()
    counters = player.table.counters()
    assert counters["segments"] == counters["mail_packets"] == 11
    assert counters["flows_opened"] == counters["flows_closed"] == 1
    assert counters["duplicates"] == counters["out_of_order"] == counters["strays"] == counters["flows_ignored"] == 0


def test_capture_number_is_that_of_the_flows_beginning():
    player = Player()
    player.table.capture = 3
    player.play(login().segments[:5])
    player.table.capture = 4
    player.play(login().segments[5:])
    assert player.end()[0].flow.capture == 3


# -- what opens a flow, and who is the client ----------------------------------------------------------------------------------


def test_bare_packets_open_nothing():
    talk = Talk()
    for flags in (ACK, FIN | ACK, RST, RST | ACK, SYN | FIN, SYN | RST):
        talk.send(CLIENT, flags=flags)
    assert play(talk.segments) == []


def test_midstream_server_is_the_listed_port():
    talk = Talk()
    talk.say(SERVER, b"+OK\r\n").say(CLIENT, b"PASS made-up\r\n")
    recorder = one(talk.segments)
    assert turns(recorder) == [(SERVER, b"+OK\r\n"), (CLIENT, b"PASS made-up\r\n")]
    assert recorder.flow.direction_from == "port"
    assert not recorder.flow.syn_seen
    assert recorder.flow.client_port == 40000


@pytest.mark.parametrize(("server", "client"), [(25, 110), (110, 25)])
def test_midstream_between_listed_ports_the_lower_is_the_server(server: int, client: int):
    flow = one(Talk(server, client).say(CLIENT, b"hello\r\n").segments).flow
    assert (flow.server_port, flow.client_port) == (25, 110)


def test_syn_overrules_ports():
    recorder = one(login(server_port=40001, client_port=110).segments)
    assert (recorder.flow.client_port, recorder.flow.server_port) == (110, 40001)


def test_answer_to_syn_tells_the_server_where_the_syn_is_missing():
    segments = login(server_port=9999).segments[1:]
    recorder = one(segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.direction_from == "syn"
    assert recorder.flow.syn_ack_seen
    assert not recorder.flow.syn_seen


def test_greeting_opens_a_flow_on_any_port():
    talk = Talk(server_port=2110).dialogue(*LOGIN)
    recorder = one(talk.segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.direction_from == "content"


def test_other_payload_on_unlisted_ports_opens_nothing():
    talk = Talk(server_port=8080).say(SERVER, b"HTTP/1.1 200 OK\r\n").say(CLIENT, b"+ORDER\r\n").say(CLIENT, b"2\r\n")
    player = Player().play(talk.segments)
    assert player.end() == []
    assert player.table.counters()["flows_ignored"] == 0


def test_keep_alive_probe_opens_nothing():
    assert play(Talk().say(CLIENT, b"\0").segments) == []


def test_packet_to_itself_opens_nothing():
    talk = Talk(110, 110, "192.0.2.1", "192.0.2.1").say(CLIENT, b"hello\r\n")
    player = Player().play(talk.segments)
    assert player.end() == []
    assert player.table.counters()["strays"] == 1


def test_mail_on_an_unusual_port():
    recorder = one(login(server_port=2110).segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.packets == 11


@pytest.mark.parametrize("opening", [b"\x16\x03\x01\x02\x00", b"\x00\x01", b"HTTP/1.1 200", b"SSH-2.0-x\r\n"])
def test_unlisted_port_with_other_octets_is_forgotten_before_a_sink_is_made(opening: bytes):
    player = Player().play(login(server_port=2110).segments[:3])
    talk = Talk(server_port=2110)
    talk.next = [1001, 5001]
    player.play(talk.say(SERVER, opening).segments)
    assert player.recorders == []
    assert player.table.flows_open == 0
    assert player.table.counters()["flows_ignored"] == 1


def test_sink_without_interest_is_forgotten_without_a_record():
    talk = (
        Talk(server_port=2110).open().dialogue((SERVER, b"220 ftp\r\n"), (CLIENT, b"USER x\r\n"), (SERVER, b"331\r\n"))
    )
    player = Player(refused=b"USER").play(talk.segments)
    assert player.table.flows_open == 0
    (recorder,) = player.end()
    assert recorder.ended == 0
    assert turns(recorder) == [(SERVER, b"220 ftp\r\n"), (CLIENT, b"USER x\r\n")]
    assert player.table.counters()["mail_packets"] == 0


def test_sink_without_interest_on_a_mail_port_is_not_asked_again():
    player = Player(refused=b"USER").play(login().segments)
    (recorder,) = player.end()
    assert recorder.ended == 0
    assert recorder.calls[-1][2] == b"USER ann\r\n"


def test_factory_without_interest():
    for port in (110, 2110):
        table = FlowTable(CountingFactory([]) if port == 2110 else CountingFactory([110]))
        for frame, segment in enumerate(login(server_port=port).segments):
            table.receive_segment(
                segment.key, segment.data, 0, len(segment.data), 0, segment.seq, segment.ack, segment.flags,
                segment.time, frame,
            )  # fmt: skip
        table.end_capture()
        assert table.flows_open == 0


def test_silent_connection_on_a_mail_port_has_a_record_if_it_was_answered():
    talk = Talk().open()
    assert one(talk.segments).calls == []
    assert play(talk.segments[:1]) == []
    assert play(Talk(server_port=2110).open().segments) == []


def test_refused_connection():
    talk = Talk()
    talk.send(CLIENT, flags=SYN)
    talk.send(SERVER, flags=RST | ACK, seq=0)
    recorder = one(talk.segments)
    assert recorder.flow.rst_frame == 2
    assert recorder.flow.rst_sender == SERVER
    player = Player().play([s.but(key=s.key[:8] + b"\x9c\x40\x27\x0f") for s in talk.segments[:1]])
    assert player.table.flows_open == 1


def test_refused_connection_does_not_stay_for_its_late_packets():
    talk = Talk()
    talk.send(CLIENT, flags=SYN)
    talk.send(SERVER, flags=RST | ACK, seq=0)
    talk.send(SERVER, flags=RST | ACK, seq=0)
    player = Player().play(talk.segments)
    player.table.advance(talk.time + 2 * RESET_LINGER_NS)
    assert player.table.flows_open == 0


def test_opening_octets():
    octets = default_opening_octets()
    assert len(octets) == 256
    assert [chr(octet) for octet in range(256) if octets[octet] & 1] == sorted('+*245"IONBionb')


# -- SYN again -----------------------------------------------------------------------------------------------------------------


def test_syn_sent_twice_is_one_flow():
    segments = login().segments
    player = Player().play([segments[0], segments[0], segments[1], segments[1], *segments[2:]])
    (recorder,) = player.end()
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.packets == 13
    assert player.table.counters()["duplicates"] == 2


def test_answer_captured_before_its_syn():
    segments = login().segments
    recorder = one([segments[1], segments[0], *segments[2:]])
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.syn_seen
    assert recorder.flow.syn_ack_seen


def test_new_syn_on_the_same_ports_is_a_new_flow():
    first = Talk().open().dialogue(*LOGIN)
    again = login(isn=(900_000, 800_000), time=first.time)
    recorders = play(first.segments + again.segments)
    assert [turns(recorder) for recorder in recorders] == [list(LOGIN), list(LOGIN)]
    assert [recorder.ended for recorder in recorders] == [1, 1]
    assert recorders[0].flow.last_frame == 8
    assert recorders[1].flow.first_frame == 9


def test_ports_used_again_at_once_after_a_close():
    first = login()
    again = login(isn=(900_000, 800_000), time=first.time)
    recorders = play(first.segments + again.segments)
    assert [recorder.flow.packets for recorder in recorders] == [11, 11]


def test_ports_used_again_in_the_other_direction():
    first = login()
    again = Talk(isn=(900_000, 800_000), time=first.time)
    again.send(SERVER, flags=SYN)
    again.send(CLIENT, flags=SYN | ACK)
    recorders = play(first.segments + again.segments)
    assert [recorder.flow.server_port for recorder in recorders] == [110, 40000]


def test_simultaneous_open():
    talk = Talk()
    talk.send(CLIENT, flags=SYN)
    talk.send(SERVER, flags=SYN)
    talk.send(CLIENT, flags=SYN | ACK, seq=1000)
    talk.send(SERVER, flags=SYN | ACK, seq=5000)
    recorder = one(talk.dialogue(*LOGIN).close().segments)
    assert turns(recorder) == list(LOGIN)


def test_stray_answer_to_a_syn_does_not_end_a_flow():
    talk = Talk().open().dialogue(*LOGIN[:2])
    talk.send(SERVER, flags=SYN | ACK, seq=77_777)
    recorder = one(talk.dialogue(*LOGIN[2:]).segments)
    assert turns(recorder) == list(LOGIN)


def test_data_with_the_syn():
    talk = Talk()
    talk.send(CLIENT, b"EHLO early\r\n", flags=SYN)
    talk.send(SERVER, flags=SYN | ACK)
    talk.send(CLIENT)
    talk.say(SERVER, b"220 hi\r\n")
    recorder = one(talk.segments)
    assert turns(recorder) == [(CLIENT, b"EHLO early\r\n"), (SERVER, b"220 hi\r\n")]


def test_syn_captured_after_the_first_data():
    segments = login().segments
    recorder = one([segments[3], *segments[:3], *segments[4:]])
    assert turns(recorder) == list(LOGIN)


# -- ends ----------------------------------------------------------------------------------------------------------------------


def test_eof_is_told_at_once_and_the_end_after_a_while():
    talk = login()
    player = Player().play(talk.segments)
    (recorder,) = player.recorders
    assert [call[0] for call in recorder.calls[-2:]] == ["eof", "eof"]
    assert recorder.ended == 0
    player.table.advance(talk.time + LINGER_NS)
    assert recorder.ended == 0
    player.table.advance(talk.time + 3 * LINGER_NS)
    assert recorder.ended == 1
    assert player.table.flows_open == 0


def test_late_packets_belong_to_the_flow():
    talk = login()
    talk.send(CLIENT, flags=RST)
    talk.send(SERVER, b"+OK logged in\r\n", seq=5017)
    recorder = one(talk.segments)
    assert (recorder.flow.packets, recorder.flow.last_frame) == (13, 13)
    assert len(recorder.calls) == 7


def test_reset_ends_the_flow():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(CLIENT, flags=RST)
    talk.send(SERVER, b"+OK\r\n", seq=5012)
    recorder = one(talk.segments)
    assert turns(recorder) == list(LOGIN[:3])
    assert recorder.calls[-1][:2] == ("eof", CLIENT)
    assert (recorder.flow.rst_frame, recorder.flow.rst_sender, recorder.flow.packets) == (7, CLIENT, 8)


def test_reply_that_was_under_way_when_the_reset_was_sent_is_heard():
    talk = Talk().open().dialogue(*LOGIN[:4])
    talk.send(CLIENT, flags=RST)
    recorder = one(talk.dialogue(*LOGIN[4:]).segments)
    assert turns(recorder) == list(LOGIN)


def test_reset_outside_the_window_is_a_stray():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(SERVER, flags=RST, seq=4_000_000_000)
    talk.send(SERVER, flags=RST, seq=5001)  # long confirmed
    recorder = one(talk.dialogue(*LOGIN[3:]).close().segments)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.rst_frame == 0


def test_who_sends_on_after_a_reset_was_not_reset():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(CLIENT, flags=RST, seq=talk.next[0])
    recorders = play(talk.dialogue(*LOGIN[3:]).close().segments)
    assert [turns(recorder) for recorder in recorders] == [list(LOGIN[:3]), list(LOGIN[3:])]


def test_reset_waits_for_the_data_before_it():
    talk = Talk().open().dialogue(*LOGIN)
    talk.send(CLIENT, flags=RST)
    segments = talk.segments
    recorder = one([*segments[:6], segments[8], segments[6], segments[7]])
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.rst_frame == 7


def test_silence_ends_a_flow_whether_the_sweep_ran_or_not():
    for swept in (False, True):
        talk = Talk().open().dialogue(*LOGIN[:3])
        player = Player().play(talk.segments)
        if swept:
            player.table.advance(talk.time + IDLE_NS // 2)
            for step in range(20):
                player.table.advance(talk.time + IDLE_NS + step * SWEEP_NS)
            assert player.table.flows_open == 0
        later = Talk(time=talk.time + IDLE_NS + 60 * SECOND)
        later.next = talk.next[:]
        player.play(later.dialogue(*LOGIN[3:]).segments)
        recorders = player.end()
        assert [turns(recorder) for recorder in recorders] == [list(LOGIN[:3]), list(LOGIN[3:])]
        assert [recorder.flow.packets for recorder in recorders] == [6, 2]


def test_flow_is_kept_for_almost_the_idle_time():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.time += IDLE_NS - SECOND
    assert turns(one(talk.dialogue(*LOGIN[3:]).segments)) == list(LOGIN)


def test_unanswered_syn_on_an_unlisted_port_is_forgotten():
    for swept in (False, True):
        talk = Talk(server_port=2110)
        talk.send(CLIENT, flags=SYN)
        player = Player().play(talk.segments)
        if swept:
            player.table.advance(talk.time + 2 * SYN_WAIT_NS)
            assert player.table.flows_open == 0
        late = Talk(server_port=2110, time=talk.time + 2 * SYN_WAIT_NS)
        late.next = [1001, 5001]
        player.play(late.say(SERVER, b"hello\r\n").segments)
        assert player.end() == []


def test_last_acknowledgement_missing_from_the_capture():
    talk = login()
    player = Player().play(talk.segments[:-1])
    player.table.advance(talk.time + 100 * SECOND)
    assert player.recorders[0].ended == 1


def test_flow_reset_lingers_longer():
    talk = Talk().open().dialogue(*LOGIN[:3])
    talk.send(CLIENT, flags=RST)
    talk.time += RESET_LINGER_NS - SECOND
    talk.send(SERVER, b"+OK\r\n", seq=5012)
    assert one(talk.segments).flow.packets == 8


def test_end_of_capture_ends_flows_in_the_order_of_their_start():
    talks = [Talk(client_port=40000 + n).open().dialogue(*LOGIN) for n in range(5)]
    segments = [talk.segments[0] for talk in talks]
    for talk in reversed(talks):
        segments += talk.segments[1:]
    player = Player().play(segments)
    order = []
    real = player.table._end

    def noted(flow: Flow) -> None:
        order.append(flow.client_port)
        real(flow)

    try:
        player.table._end = noted
    except AttributeError:  # compiled
        player.end()
        return
    player.table.end_capture()
    assert order == [40000, 40001, 40002, 40003, 40004]


# -- time ----------------------------------------------------------------------------------------------------------------------


def test_time_running_backwards_does_no_harm():
    talk = login()
    back = [segment.but(time=EPOCH - index * SECOND) for index, segment in enumerate(talk.segments)]
    recorder = one(back)
    assert turns(recorder) == list(LOGIN)
    assert recorder.flow.end_ns == EPOCH


def test_one_damaged_timestamp_does_not_end_other_flows():
    talk = Talk().open().dialogue(*LOGIN[:3])
    player = Player().play(talk.segments)
    player.play(Talk(client_port=999, time=EPOCH * 2).open().segments[:3])
    player.play(talk.dialogue(*LOGIN[3:]).segments[6:])
    assert turns(player.end()[0]) == list(LOGIN)


def test_a_real_pause_is_believed_after_a_few_packets():
    talk = Talk().open().dialogue(*LOGIN)
    player = Player().play(talk.segments)
    player.play(login(client_port=999, time=talk.time + 100 * IDLE_NS).segments)
    assert player.recorders[0].ended == 1


# -- limits --------------------------------------------------------------------------------------------------------------------


def test_syn_flood_is_bounded_and_counted():
    player = Player()
    key = Talk().keys[0]
    segments = [
        Segment(number.to_bytes(4, "big") + key[4:], b"", 1, 0, SYN, EPOCH + number)
        for number in range(MAX_EMBRYOS + 10)
    ]
    player.play(segments)
    assert player.table.flows_open <= MAX_EMBRYOS
    counters = player.table.counters()
    assert counters["limit_embryos"] == 1
    assert counters["flows_evicted"] == MAX_EMBRYOS // 8
    assert player.end() == []


def test_flows_are_evicted_oldest_first(monkeypatch: pytest.MonkeyPatch):
    if not hasattr(table_module.FlowTable.receive_segment, "__code__"):
        limit = table_module.MAX_FLOWS  # compiled in
    else:
        limit = 64
        monkeypatch.setattr(table_module, "MAX_FLOWS", limit)
    player = Player()
    key = Talk().keys[0]
    for number in range(limit + 1):
        player.play([Segment(number.to_bytes(4, "big") + key[4:], b"USER x\r\n", 1, 1, ACK | PSH, EPOCH + number)])
    assert player.table.counters()["flows_evicted"] == limit // 8 + 1
    ended = [recorder.ended for recorder in player.recorders]
    assert ended == [1] * (limit // 8 + 1) + [0] * (limit - limit // 8)
    player.end()


def test_lingering_flows_are_bounded():
    player = Player()
    for number in range(MAX_LINGERING + 5):
        player.play(login(client_port=1024 + number, pause=1).segments)
    assert sum(recorder.ended for recorder in player.recorders) == 5
    assert player.table.counters()["limit_lingering"] == 5
    assert all(recorder.ended == 1 for recorder in player.end())
