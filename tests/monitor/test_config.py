from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from support.alerts import Kept, alert, state
from support.waiting import PATIENCE, until

from analyzer.errors import UsageError
from analyzer.monitor.alerts import AlertDispatcher
from analyzer.monitor.config import (
    MonitorSettings,
    check,
    example_config,
    keys,
    load_settings,
    meaning,
    merged,
    reloaded,
)

WATCH = {"interface": ["eth0"]}


def written(folder: Path, text: str) -> Path:
    path = folder / "monitor.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_loads_and_names_every_key(tmp_path: Path):
    text = example_config()
    settings = load_settings(written(tmp_path, text))
    named = {line.lstrip("# ").partition(" = ")[0] for line in text.splitlines() if " = " in line}
    assert set(keys()) <= named
    merged(settings, {})
    for key in keys():
        assert meaning(key)


def test_what_the_example_shows_as_a_default_is_one(tmp_path: Path):
    settings = load_settings(written(tmp_path, example_config()))
    settings.interface = []
    settings.alerts = []
    assert settings == MonitorSettings()


def test_a_comment_taken_out_of_the_example_still_loads(tmp_path: Path):
    lines = [
        line[2:] if line.startswith("# ") and line[2:].partition(" = ")[0] in keys() else line
        for line in example_config().splitlines()
    ]
    settings = load_settings(written(tmp_path, "\n".join(lines)))
    assert settings.user == "mailtap"
    assert settings.filter
    assert settings.spool


def test_values_with_their_units(tmp_path: Path):
    settings = load_settings(
        written(
            tmp_path,
            'window = "10m"\nretention = "2w"\nretention-size = "1.5G"\nrate = "30/m"\nport = { 1143 = "imap" }\nmetrics = "off"\n'
            'spool-size = 100_000\nduration = 2.5\nstore = "off"\n',
        )
    )
    assert (settings.window_s, settings.retention_s, settings.retention_bytes) == (600, 14 * 86400, 3 << 29)
    assert (settings.rate, settings.ports, settings.metrics) == (0.5, {1143: "imap"}, "")
    assert (settings.spool_bytes, settings.duration_s, settings.store) == (100_000, 2.5, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("min_severity = 'high'", r"monitor.toml: there is no setting 'min_severity'; did you mean min-severity\?"),
        ("colour = 'red'", "no setting 'colour'; keys are: interface, follow"),
        ("min-severity = 'bad'", "monitor.toml: min-severity = 'bad': write one of: info, low, medium, high, critical"),
        ("window = 'soon'", "window = 'soon': write a time such as 30s"),
        ("window = -1", "window = -1: write a time of at least"),
        ("window = nan", "window = nan: write a time"),
        ("window = true", "window = True: write a time such as"),
        ("rate = '5/fortnight'", "rate = '5/fortnight': write alerts a time such as"),
        ("rate = -1", "rate = -1: write alerts"),
        ("burst = 0", "burst = 0: write a whole number from 1"),
        ("burst = 1.5", "burst = 1.5: write a whole number"),
        ("retention-size = '5 apples'", "write a size such as"),
        ("ring-size = 10", "write a size of at least"),
        ("interface = 'eth0'", r"interface = 'eth0': write a list of texts"),
        ("interface = [1]", "interface: write a list"),
        ("promiscuous = 'yes'", "promiscuous = 'yes': write true or false"),
        ("metrics = '9469'", "metrics = '9469': write an address and a port"),
        ("metrics = 'example.test:9469'", "write an address and a port"),
        ("metrics = '127.0.0.1:99999'", "write an address and a port"),
        ("port = ['imap']", "monitor.toml: port: imap: write it as PORT=SERVICE, for example 1143=imap"),
        ("port = ['1143=imapx']", "port: 1143=imapx: unknown mail service 'imapx' for port 1143; known: imap, "),
        ("port = { 1143 = 'jmap' }", "port: 1143=jmap: unknown mail service"),
        ("port = ['70000=imap']", "port: 70000=imap: 70000 is no TCP port"),
        ("port = [1143]", "port: 1143: write it as PORT=SERVICE"),
        ("port = 5", "port = 5: write ports"),
        ("source = 'pcap'", "write one of: auto, ring, scapy"),
        ("user = ''", "user = '': write a text that is not empty"),
        ('sensor = "a\\u001b[2J"', r"sensor = 'a\\x1b\[2J': holds a control character"),
        ("sensor = 5", "sensor = 5: write a text in quotes"),
        ('follow = ["a.pcap", "b\\u001b.pcap"]', "follow: holds a control character"),
        ('follow = [""]', "follow: write a list of texts"),
        ("window = ", "this is no TOML: Invalid value .*; mailtap monitor --example-config shows some"),
        ("[alerts]\nto = 1", "alerts: write a list of texts"),
    ],
)
def test_what_makes_no_sense_is_named_with_file_key_and_what_is_allowed(tmp_path: Path, text: str, said: str):
    with pytest.raises(UsageError, match=said):
        load_settings(written(tmp_path, text))


def test_no_value_that_may_hold_a_password_is_repeated(tmp_path: Path):
    for text in ("store = 5.25", "alerts = 'https://hook.example.test/5.25'", "alerts = ['gopher:5.25']"):
        with pytest.raises(UsageError) as told:
            merged(load_settings(written(tmp_path, text)), WATCH)
        assert "5.25" not in str(told.value)


def test_files_that_are_no_configuration(tmp_path: Path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\0")
    with pytest.raises(UsageError, match="save it as UTF-8"):
        load_settings(binary)
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (2 << 20))
    with pytest.raises(UsageError, match="no configuration of mailtap"):
        load_settings(large)


def test_the_command_line_counts_more_than_the_file(tmp_path: Path):
    file = load_settings(written(tmp_path, 'interface = ["eth0", "eth1"]\nwindow = "10m"\nmin-severity = "low"\n'))
    settings = merged(file, {"interface": ["eth2"], "window_s": "5s", "min_severity": None, "ports": ["1143=imap"]})
    assert (settings.interface, settings.window_s, settings.min_severity) == (["eth2"], 5, "low")
    assert settings.ports == {1143: "imap"}
    assert settings.sensor
    assert merged(file, {"ports": ["4465=SMTPS", "2000 = sieve"]}).ports == {4465: "submissions", 2000: "managesieve"}
    with pytest.raises(UsageError, match="--port: 0=imap: 0 is no TCP port"):
        merged(file, {"ports": ["0=imap"]})
    with pytest.raises(UsageError, match="--window = 'soon': write a time"):
        merged(file, {"window_s": "soon"})


@pytest.mark.parametrize(("option", "value"), [("store", "/x\x1b/y"), ("follow", ["x\x1b"]), ("alerts", ["jsonl:\r"])])
def test_a_control_character_on_the_command_line_is_called_one(option: str, value: object):
    with pytest.raises(UsageError, match=rf"^--{option}: holds a control character") as told:
        merged(None, {**WATCH, option: value})
    assert str(told.value).isprintable()


def test_settings_that_do_not_go_together():
    with pytest.raises(UsageError, match="nothing to watch"):
        merged(None, {})
    with pytest.raises(UsageError, match="--live shows the screen"):
        merged(None, {**WATCH, "live": True, "alerts": ["jsonl:-"]})
    with pytest.raises(UsageError, match="both given"):
        merged(None, {**WATCH, "webhook_secret_file": "a", "webhook_secret_env": "B"})
    with pytest.raises(UsageError, match="named twice"):
        merged(None, {**WATCH, "alerts": ["jsonl:a", "jsonl:a"]})
    assert merged(None, {**WATCH, "live": True}).sink_words() == []
    assert merged(None, WATCH).sink_words() == ["jsonl:-"]


def test_the_spool_is_beside_the_store_unless_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = merged(None, {**WATCH, "store": str(tmp_path / "mailtap.db")})
    assert settings.spool_folder() == tmp_path / "mailtap.db.spool"
    assert settings.written_paths() == [tmp_path / "mailtap.db"]
    settings = merged(None, {**WATCH, "store": "postgresql://host/db", "alerts": [f"jsonl:{tmp_path}/a"]})
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/mailtap")
    assert settings.spool_folder() == Path("/var/lib/mailtap/spool")
    monkeypatch.setenv("STATE_DIRECTORY", "")
    monkeypatch.setenv("XDG_STATE_HOME", "/home/eve/state")
    assert settings.spool_folder() == Path("/home/eve/state/mailtap/spool")
    assert [str(path) for path in settings.written_paths()] == [f"{tmp_path}/a"]


def test_what_changes_on_reload_and_what_takes_a_restart():
    old = merged(None, WATCH)
    new = merged(None, {**WATCH, "window_s": "1s", "snaplen": 100, "store": "other.sqlite", "alerts": ["jsonl:x"]})
    settings, warnings = reloaded(old, new)
    assert (settings.window_s, settings.alerts) == (1, ["jsonl:x"])
    assert (settings.snaplen, settings.store) == (old.snaplen, old.store)
    assert warnings == [
        "the configuration has changed in snaplen, store: that takes a restart; the rest counts from now on"
    ]
    assert reloaded(old, old) == (old, [])
    live = {one.name for one in fields(MonitorSettings) if one.metadata["live"]}
    assert live == {"alerts", "min_severity", "window_s", "rate", "burst", "retention_s", "retention_bytes"}


def test_a_reload_exchanges_limits_and_sinks(tmp_path: Path):
    seen = state()
    dispatcher = AlertDispatcher([Kept("jsonl:kept"), Kept("jsonl:gone")], seen)
    dispatcher.start()
    kept, gone = seen.sinks
    dispatcher.raise_alert(alert(1))
    path = tmp_path / "new.jsonl"
    settings = merged(None, {**WATCH, "alerts": ["jsonl:kept", f"jsonl:{path}"], "min_severity": "high", "window_s": 0})
    dispatcher.reload(settings)
    dispatcher.raise_alert(alert(1))
    dispatcher.raise_alert(alert(2, severity="medium"))
    until(lambda: len(kept.alerts) == 2 and gone.calls == ["open", "close"])
    assert seen.sinks[0] is kept
    assert seen.alerts_below == 1
    assert dispatcher.close(PATIENCE)
    assert len(gone.alerts) == 1
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1


def test_a_sink_of_a_reload_that_cannot_open_is_tried_again(tmp_path: Path):
    seen = state()
    dispatcher = AlertDispatcher([], seen)
    dispatcher.start()
    path = tmp_path / "folder" / "new.jsonl"
    dispatcher.reload(merged(None, {**WATCH, "alerts": [f"jsonl:{path}"]}))
    dispatcher.raise_alert(alert(1))
    until(lambda: seen.sinks and "make its folder" in seen.sinks[0].trouble)
    path.parent.mkdir()
    until(lambda: path.exists() and path.read_text(encoding="utf-8"))
    until(lambda: seen.sinks[0].trouble == "")
    assert dispatcher.close(PATIENCE)


def test_a_reload_that_makes_no_sense_changes_nothing():
    seen = state()
    dispatcher = AlertDispatcher([Kept("jsonl:kept")], seen)
    settings = MonitorSettings()
    settings.interface = ["eth0"]
    settings.alerts = ["nonsense"]
    settings.min_severity = "critical"
    with pytest.raises(UsageError):
        dispatcher.reload(settings)
    with pytest.raises(UsageError):
        check(settings)
    assert dispatcher._least == 2
