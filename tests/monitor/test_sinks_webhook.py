from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from support.alerts import HOSTILE, alert
from support.receivers import Request, Web, authority, identity, server_context
from support.waiting import SOCKET_PATIENCE, until

from analyzer.errors import OutputError, UsageError
from analyzer.monitor.sinks import SinkOptions, _spooled, left_behind, make_sink
from analyzer.monitor.sinks.webhook import Webhook
from analyzer.report.visible import visible


@pytest.fixture
def options(tmp_path: Path) -> SinkOptions:
    return SinkOptions(spool=str(tmp_path / "spool"), version="0.1.0")


@pytest.fixture
def made() -> Iterator[list[Webhook]]:
    """Sinks that are closed at the end of a test."""
    sinks: list[Webhook] = []
    yield sinks
    for sink in sinks:
        sink.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Webhook, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(Webhook, "MAX_PAUSE_S", 0.1)
    # A slow machine must not look like a receiver that does not answer.
    monkeypatch.setattr(Webhook, "TIMEOUT_S", SOCKET_PATIENCE)
    monkeypatch.setattr(_spooled, "CLOSE_S", SOCKET_PATIENCE)


def opened(made: list[Webhook], web: Web, options: SinkOptions, path: str = "/hook?room=7") -> Webhook:
    scheme = "http" if web.context is None else "https"
    sink = make_sink(f"{scheme}://127.0.0.1:{web.port}{path}", options)
    assert isinstance(sink, Webhook)
    sink.open()
    made.append(sink)
    return sink


def numbers(web: Web) -> list[int]:
    """The alerts that were taken, by number."""
    return [int(request.object["frame"]) - 7 for request in web.taken]


def test_an_alert_is_posted_at_once(made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch):
    # It does not wait for the sender to look by itself.
    monkeypatch.setattr(_spooled, "POLL_S", 3600.0)
    with Web() as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1)])
        until(lambda: sink.delivered == 1)
        (request,) = web.taken
        assert request.path == "/hook?room=7"
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["Idempotency-Key"] == alert(1).finding_id
        assert request.headers["User-Agent"] == "mailtap/0.1.0"
        assert "Mailtap-Signature" not in request.headers
        assert (request.object["alert"], request.object["username"]) == ("finding", "user1@example.test")
        assert (sink.waiting, sink.lost, sink.trouble) == (0, 0, "")
        for number in range(2, 7):
            sink.deliver([alert(number)])
            until(lambda wanted=number: sink.delivered == wanted)


def test_a_receiver_that_is_down_and_comes_back_gets_every_alert_in_order(made: list[Webhook], options: SinkOptions):
    web = Web([204] * 20 + ["stall"])
    sink = opened(made, web, options)
    for number in range(0, 40, 4):
        sink.deliver([alert(number + more) for more in range(4)])
    until(lambda: "Connection refused; alerts wait and are tried again" in sink.trouble)
    assert (sink.waiting, sink.delivered) == (40, 0)
    with web:
        # It goes down in the middle of a request.
        until(lambda: len(web.requests) == 21)
    sink.deliver([alert(number) for number in range(40, 60)])
    assert sink.delivered == 20
    with web:
        until(lambda: sink.delivered == 60)
        assert (sink.waiting, sink.lost, sink.trouble) == (0, 0, "")
    assert list(dict.fromkeys(numbers(web))) == list(range(60))


def test_failures_of_every_kind_are_tried_again(
    made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    answers = [500, 502, 503, 408, 429, 302, "garbage", "stall", "drip"]
    with Web(answers) as web:
        # Short where no answer is to come, and long where one is.
        cut_short: list[str] = []

        def timeout(_: Webhook) -> float:
            answer = str(*web.answers[:1])
            if answer not in ("stall", "drip"):
                return SOCKET_PATIENCE
            cut_short.append(answer)
            return 0.2

        monkeypatch.setattr(Webhook, "TIMEOUT_S", property(timeout))
        sink = opened(made, web, options)
        sink.deliver([alert(1), alert(2)])

        def idle() -> bool:
            # As the sink's thread does.
            sink.idle()
            return sink.delivered == 2

        until(idle)
        assert web.answers == []
        assert len(web.requests) >= len(answers) + 2
        assert list(dict.fromkeys(numbers(web))) == [1, 2]
        # Only an attempt that did not wait for its answer may have been taken unnoticed.
        assert len(numbers(web)) <= 2 + len(cut_short)
        assert sink.lost == 0


def test_what_the_receiver_will_never_take_is_given_up_and_counted(made: list[Webhook], options: SinkOptions):
    with Web([204, 400, 404, 204]) as web:
        sink = opened(made, web, options)
        sink.deliver([alert(number) for number in range(3)])
        until(lambda: sink.lost == 2)
        assert "answered 404" in sink.trouble
        sink.deliver([alert(3)])
        until(lambda: sink.delivered == 2)
        assert (numbers(web), sink.waiting, sink.trouble) == ([0, 3], 0, "")


class Picky(Web):
    """Answers some alerts with 500, however often they come; all of them while it is ``broken``."""

    def __init__(self, *poison: int) -> None:
        super().__init__()
        self.poison = poison
        self.broken = False

    def judge(self, request: Request) -> int:
        return 500 if self.broken or int(request.object["frame"]) - 7 in self.poison else 204


def test_an_alert_that_the_receiver_fails_at_keeps_no_other_from_it_and_is_given_up(
    made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_spooled, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(_spooled, "SAID_S", 3600.0)
    with Picky(0, 1, 30) as web:
        sink = opened(made, web, options)
        sink.deliver([alert(number) for number in range(50)])
        until(lambda: sink.delivered == 47)
        assert sorted(numbers(web)) == [number for number in range(50) if number not in web.poison]
        until(lambda: sink.waiting + sink.lost == 3)

        def rest() -> bool:
            if sink.waiting < 10:
                sink.deliver([alert(100)])
            return sink.lost == 3

        until(rest)
        assert "answered 500 to one alert 5 times, and took others: it is given up, and counted as lost" in sink.trouble
        until(lambda: sink.waiting == 0)


def test_one_that_waits_behind_the_others_is_not_given_up_before_its_time_and_survives_a_stop(
    made: list[Webhook], options: SinkOptions
):
    with Picky(0) as web:
        sink = opened(made, web, options)
        for number in range(30):
            sink.deliver([alert(number)])
            until(lambda wanted=number: sink.delivered == wanted)
        assert (sink.waiting, sink.lost) == (1, 0)
        sink.close()
        web.poison = ()
        again = opened(made, web, options)
        until(lambda: again.delivered == 1)
        assert numbers(web)[-1] == 0


@pytest.mark.parametrize("how", ["down", "broken"])
def test_a_receiver_that_takes_nothing_for_long_loses_nothing_and_keeps_the_order(
    made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch, how: str
):
    monkeypatch.setattr(_spooled, "GIVE_UP_S", 0.0)
    monkeypatch.setattr(Webhook, "MAX_PAUSE_S", 0.01)
    web = Picky()
    web.broken = how == "broken"
    if web.broken:
        web.start()
    sink = opened(made, web, options)
    sink.deliver([alert(number) for number in range(5)])
    until(lambda: sink._failures > 60)
    assert (sink.waiting, sink.lost) == (5, 0)
    web.broken = False
    if how == "down":
        web.start()
    until(lambda: sink.delivered == 5)
    web.stop()
    # The one that was just being tried in place of the oldest may come before it.
    order = numbers(web)
    assert sorted(order) == list(range(5))
    assert order[1:] == sorted(order[1:])


@pytest.mark.parametrize("value", ["1", formatdate(time.time() + 86400, usegmt=True)], ids=["seconds", "date"])
def test_a_receiver_says_when_it_wants_to_be_asked_again(made: list[Webhook], options: SinkOptions, value: str):
    with Web([(429, {"Retry-After": value})]) as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1)])
        until(lambda: "429" in sink.trouble)
        if value == "1":
            until(lambda: sink.delivered == 1)
            assert web.requests[1].at - web.requests[0].at > 0.9
        else:
            assert 3000 < sink._not_before - time.monotonic() <= 3600


def test_requests_are_signed_with_a_secret_from_a_file_and_it_is_read_anew(
    made: list[Webhook], options: SinkOptions, tmp_path: Path
):
    secret = tmp_path / "secret"
    secret.write_text("marzipan\n")
    options.secret_file = str(secret)
    with Web() as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1)])
        until(lambda: sink.delivered == 1)
        secret.write_text("nougat\n")
        sink.reopen()
        sink.deliver([alert(2)])
        until(lambda: sink.delivered == 2)
        for request, key in zip(web.taken, (b"marzipan", b"nougat"), strict=True):
            moment, _, signature = request.headers["Mailtap-Signature"].partition(",v1=")
            assert abs(int(moment.removeprefix("t=")) - time.time()) < 600
            text = moment.removeprefix("t=").encode() + b"." + request.body
            assert signature == hmac.new(key, text, hashlib.sha256).hexdigest()
        assert b"marzipan" not in b"".join(request.body for request in web.requests)


def test_a_secret_from_the_environment_and_secrets_that_are_missing(
    made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch
):
    options.secret_env = "MAILTAP_TEST_SECRET"
    with Web() as web:
        with pytest.raises(OutputError, match="webhook-secret-env MAILTAP_TEST_SECRET: there is no secret"):
            opened(made, web, options)
        monkeypatch.setenv("MAILTAP_TEST_SECRET", "marzipan")
        sink = opened(made, web, options)
        sink.deliver([alert(1)])
        until(lambda: sink.delivered == 1)
        assert "Mailtap-Signature" in web.taken[0].headers
    options.secret_env, options.secret_file = None, "/none/secret"
    with pytest.raises(OutputError, match="webhook-secret-file /none/secret: it cannot be read"):
        opened(made, web, options)


def test_the_certificate_of_the_receiver_is_checked(made: list[Webhook], options: SinkOptions):
    with Web(context=server_context(identity("127.0.0.1"))) as web:
        stranger = opened(made, web, options, "/a")
        stranger.deliver([alert(1)])
        until(lambda: "certificate is not good" in stranger.trouble)
        options = replace(options, ca_file=authority()[2])
        sink = opened(made, web, options, "/b")
        sink.deliver([alert(2)])
        until(lambda: sink.delivered == 1)
        assert numbers(web) == [2]
    with Web(context=server_context(identity("mail.example.test"))) as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1)])
        until(lambda: "mismatch" in sink.trouble)
        assert not web.requests
    with pytest.raises(OutputError, match=r"webhook-ca-file /none/ca\.pem"):
        opened(made, web, replace(options, ca_file="/none/ca.pem"))


def test_nothing_from_traffic_gets_out_of_its_text(made: list[Webhook], options: SinkOptions):
    with Web() as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1, username=HOSTILE, detail=HOSTILE)])
        until(lambda: sink.delivered == 1)
        (request,) = web.taken
        assert all(0x20 <= octet < 0x7F for octet in request.body)
        assert request.object["username"] == visible(HOSTILE)


def test_an_address_shows_nothing_but_its_host(options: SinkOptions):
    sink = make_sink("https://hooks.example.test/services/T0/marzipan?token=nougat", options)
    assert sink.name.startswith("https://hooks.example.test/... (")
    other = make_sink("https://hooks.example.test/services/T0/praline", options)
    assert other.name != sink.name
    for word in (
        "https://user:marzipan@hooks.example.test/",
        "https://hooks.example.test/#marzipan",
        "https:///marzipan",
    ):
        with pytest.raises(UsageError) as told:
            make_sink(word, options)
        assert "marzipan" not in str(told.value)
    for word in ("https://host/a b", "https://host/\n", "https://host/\u202e", "https://host:port/", "http://[::1/"):
        with pytest.raises(UsageError, match="address of a webhook makes no sense"):
            make_sink(word, options)


def test_a_full_disk_keeps_alerts_in_memory_and_they_are_sent_all_the_same(made: list[Webhook], options: SinkOptions):
    web = Web()
    sink = opened(made, web, options)
    writer = sink._spool._writer
    assert writer is not None
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    sink.deliver([alert(number, detail="x" * 1000) for number in range(20)])
    sink.deliver([alert(20)])
    sink.idle()
    assert "full; they wait in memory" in sink.trouble
    assert (sink.waiting, len(sink._memory)) == (21, 21)
    with web:
        until(lambda: sink.delivered == 21)
        assert numbers(web) == list(range(21))
        writer.execute("PRAGMA max_page_count = 100000")
        sink.deliver([alert(21)])
        until(lambda: sink.delivered == 22)
        assert (sink.trouble, sink.lost, sink.waiting) == ("", 0, 0)


def test_what_waits_in_memory_goes_to_the_spool_when_there_is_room(made: list[Webhook], options: SinkOptions):
    web = Web()
    sink = opened(made, web, options)
    writer = sink._spool._writer
    assert writer is not None
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    sink.deliver([alert(number, detail="x" * 1000) for number in range(20)])
    writer.execute("PRAGMA max_page_count = 100000")

    def kept() -> bool:
        sink.idle()
        return not sink._memory

    until(kept)
    assert sink._spool.waiting == 20
    with web:
        until(lambda: sink.delivered == 20)
        assert list(dict.fromkeys(numbers(web))) == list(range(20))


def test_memory_is_bounded(made: list[Webhook], options: SinkOptions, monkeypatch: pytest.MonkeyPatch):
    from analyzer.monitor.sinks import _spooled

    monkeypatch.setattr(_spooled, "MAX_MEMORY", 5)
    sink = opened(made, Web(), options)
    writer = sink._spool._writer
    assert writer is not None
    writer.execute(f"PRAGMA max_page_count = {writer.execute('PRAGMA page_count').fetchone()[0]}")
    sink.deliver([alert(number, detail="x" * 1000) for number in range(20)])
    assert (sink.waiting, sink.lost) == (5, 15)


def test_the_size_of_the_spool_is_bounded_and_the_newest_stay(made: list[Webhook], options: SinkOptions):
    options.spool_bytes = 1 << 16
    web = Web()
    sink = opened(made, web, options)
    for number in range(0, 200, 10):
        sink.deliver([alert(number + more) for more in range(10)])
    assert sink.lost > 50
    assert sink.waiting + sink.lost == 200
    assert "the oldest alerts are dropped" in sink.trouble
    lost = sink.lost
    with web:
        until(lambda: sink.waiting == 0)
        assert numbers(web) == list(range(lost, 200))


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from support.alerts import alert, state
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.sinks import SinkOptions, _spooled, left_behind, make_sink
sink = make_sink(sys.argv[2], SinkOptions(spool=sys.argv[3]))
dispatcher = AlertDispatcher([sink], state(), rate=0)
dispatcher.start()
for number in range(int(sys.argv[4]), int(sys.argv[5])):
    dispatcher.raise_alert(alert(number))
    while sink._spool._added <= number - int(sys.argv[4]):
        time.sleep(0.001)
    print(number, flush=True)
if len(sys.argv) > 6:
    dispatcher.close()
else:
    time.sleep(60)
"""


def test_a_kill_in_the_middle_loses_nothing_and_the_next_run_delivers(tmp_path: Path):
    tests = str(Path(__file__).parents[1])
    web = Web()
    arguments = [sys.executable, "-c", SCRIPT, tests, f"http://127.0.0.1:{web.port}/", str(tmp_path / "spool")]

    def run_and_kill(first: int, last: int) -> None:
        with subprocess.Popen([*arguments, str(first), "1000000"], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                if int(line) == last - 1:
                    os.kill(run.pid, signal.SIGKILL)
                    break
        assert run.returncode == -signal.SIGKILL

    # Killed while the receiver is down, then while it is up and alerts stream.
    run_and_kill(0, 20)
    with web:
        run_and_kill(1000, 1020)
        sent_before = set(numbers(web))
        spool = tmp_path / "spool"
        sink = make_sink(f"http://127.0.0.1:{web.port}/", SinkOptions(spool=str(spool)))
        sink.open()
        until(lambda: sink.waiting == 0)
        sink.deliver([alert(9999)])
        until(lambda: sink.waiting == 0)
        sink.close()
    told = list(dict.fromkeys(numbers(web)))
    assert sent_before <= set(told)
    # All that was in the spool when it was killed, in order; what came in the instant of the kill may follow.
    assert set(range(20)) | set(range(1000, 1020)) <= set(told)
    assert told == sorted(told)
    keys = {request.headers["Idempotency-Key"] for request in web.taken}
    assert len(keys) == len(told)


def test_at_the_stop_what_waits_is_sent_and_what_cannot_be_sent_stays(made: list[Webhook], options: SinkOptions):
    web = Web()
    sink = opened(made, web, options)
    sink.deliver([alert(1)])
    until(lambda: sink.trouble)
    sink.close()
    assert (sink.waiting, sink.lost) == (1, 0)
    with web:
        again = opened(made, web, options)
        until(lambda: again.delivered == 1)
        again.deliver([alert(2), alert(3)])
        again.close()
        assert numbers(web) == [1, 2, 3]


def test_a_spool_whose_receiver_is_no_longer_named_is_said(made: list[Webhook], options: SinkOptions):
    sink = opened(made, Web(), options)
    gone = Web()
    other = opened(made, gone, options)
    other.deliver([alert(1), alert(2)])
    assert left_behind(options.spool, [sink, other]) == []
    # As long as somebody has it open, somebody delivers it: a second monitor beside a running one, say, finds nothing amiss.
    assert left_behind(options.spool, [sink]) == []
    other.close()
    (sentence,) = left_behind(options.spool, [sink])
    assert sentence.startswith(f"{other.spool_path} holds 2 alerts for a receiver that is no longer named")
    # Nor is looking in the way of who opens it.
    again = opened(made, gone, options)
    assert left_behind("/none", []) == []
    again.close()
    # Where there is no lock nobody has it open; where that cannot be known it is not said that nobody has.
    other.spool_path.with_suffix(".lock").unlink()
    assert left_behind(options.spool, [sink]) == [sentence]
    other.spool_path.with_suffix(".lock").symlink_to(other.spool_path.with_suffix(".lock"))
    assert left_behind(options.spool, [sink]) == []


def test_a_folder_that_may_not_be_entered_holds_nothing_for_us(monkeypatch: pytest.MonkeyPatch):
    def shut(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("stat", "listdir", "scandir"):
        monkeypatch.setattr(os, name, shut)
    assert left_behind("/root/.local/state/mailtap/spool", []) == []


def test_a_body_is_what_the_module_says(made: list[Webhook], options: SinkOptions):
    with Web() as web:
        sink = opened(made, web, options)
        sink.deliver([alert(1, count=5, username=None, server_ip=None, server_port=None, session_id=None, frame=0)])
        until(lambda: sink.delivered == 1)
        told = json.loads(web.taken[0].body)
        assert (told["count"], told["username"], told["server_port"], told["frame"]) == (5, None, None, None)
