"""The settings of ``mailtap monitor``: defaults, a TOML file, the command line; what may change while it runs.

    settings = merged(load_settings(path), {"window_s": "10m"})     # what the command line says counts more

Every setting has one name: the key in the file is the long option without its dashes (``min-severity`` and ``--min-severity``), the field
here the same word with underlines, and its unit behind it where it has one. The file is flat; ``mailtap monitor --example-config``
prints one that names every key. Values are checked here, whether they come from the file or the command line; what is wrong is a
``UsageError`` that names the file, the key and what is allowed. Values that may hold a password (URLs) are never repeated in it.

On SIGHUP the file is read again, see ``reloaded``: sinks, least severity, window, rate, burst and retention change at once, the rest
needs a restart, and is named in a warning.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from analyzer import __version__
from analyzer.errors import UsageError
from analyzer.model import SEVERITIES
from analyzer.monitor.alerts import BURST, RATE, WINDOW_S
from analyzer.monitor.sinks import SinkOptions, make_all
from analyzer.monitor.store_names import DEFAULT_STORE

#: Largest file that is read as a configuration.
MAX_FILE: Final = 1 << 20
#: What turns the metrics, the store or the spool off.
OFF: Final = "off"
#: Where alerts go when no sink is named and the screen is not in the way.
DEFAULT_SINK: Final = "jsonl:-"
#: Kinds of source, as ``--source`` takes them.
SOURCES: Final = ("auto", "ring", "scapy")
EXAMPLE: Final = "example.toml"

_TIMES: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SIZES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNPRINTABLE: Final = "holds a control character, or another that does not print; leave it out"
_NUMBER: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)

#: Turns a raw value into that of a field, or says by ValueError what is allowed.
Reader = Callable[[Any], object]


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("write a text in quotes")
    if not raw.isprintable():
        raise ValueError(_UNPRINTABLE)
    return raw


def _some_text(raw: object) -> str:
    text = _text(raw)
    if not text:
        raise ValueError("write a text that is not empty")
    return text


def _flag(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise ValueError("write true or false")
    return raw


def _count(least: int, most: int) -> Reader:
    def read(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not least <= raw <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return raw

    return read


def _duration(least: float) -> Reader:
    def read(raw: object) -> float:
        if isinstance(raw, int | float) and not isinstance(raw, bool):
            seconds = float(raw)
        else:
            match = _NUMBER.fullmatch(raw) if isinstance(raw, str) else None
            factor = _TIMES.get((match[2] or "s").lower()) if match is not None else None
            if match is None or factor is None:
                raise ValueError("write a time such as 30s, 10m, 2h or 90d (a number alone is seconds)")
            seconds = float(match[1]) * factor
        if not math.isfinite(seconds) or seconds < 0 or 0 < seconds < least or seconds > 1e10:
            raise ValueError(f"write a time of at least {least:g} seconds, or 0")
        return seconds

    return read


def _size(least: int) -> Reader:
    def read(raw: object) -> int:
        if isinstance(raw, int) and not isinstance(raw, bool):
            size = raw
        else:
            match = _NUMBER.fullmatch(raw) if isinstance(raw, str) else None
            unit = match[2].lower().removesuffix("ib").removesuffix("b") if match is not None else "?"
            if match is None or unit not in _SIZES:
                raise ValueError("write a size such as 500k, 64M or 10G (a number alone is octets)")
            size = int(float(match[1]) * _SIZES[unit])
        if size < 0 or 0 < size < least or size > 1 << 60:
            raise ValueError(f"write a size of at least {least:,} octets, or 0")
        return size

    return read


def _rate(raw: object) -> float:
    """Alerts a second, from ``2``, ``30/m``, ``100/h``."""
    rate = -1.0
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        rate = float(raw)
    elif isinstance(raw, str):
        number, slash, unit = raw.strip().partition("/")
        factor = _TIMES.get(unit.strip().lower()) if slash else 1
        if factor is not None and re.fullmatch(r"[0-9]+(\.[0-9]+)?", number.strip(), re.ASCII):
            rate = float(number) / factor
    if not 0 <= rate <= 1e6:
        raise ValueError(
            "write alerts a time such as 1/s, 30/m or 500/h (a number alone is a second), or 0 for no limit"
        )
    return rate


def _words(raw: object) -> list[str]:
    if not isinstance(raw, list | tuple) or not all(isinstance(one, str) and one for one in raw):
        raise ValueError('write a list of texts such as ["one", "two"]')
    if not all(map(str.isprintable, raw)):
        raise ValueError(_UNPRINTABLE)
    return list(raw)


def _choice(words: tuple[str, ...]) -> Reader:
    def read(raw: object) -> str:
        if raw not in words:
            raise ValueError(f"write one of: {', '.join(words)}")
        return str(raw)

    return read


def _ports(raw: object) -> dict[int, str]:
    """From ``{1143 = "imap"}`` of a file, or ``["1143=imap"]`` of either."""
    from analyzer.pipeline import read_ports

    if isinstance(raw, Mapping):
        words = [f"{port}={service}" for port, service in raw.items()]
    elif isinstance(raw, list | tuple):
        words = [str(one) for one in raw]
    else:
        raise ValueError('write ports and their services, as ["1143=imap"] or { 1143 = "imap" }')
    try:
        return read_ports(words)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _address(raw: object) -> str:
    """``127.0.0.1:9469``, ``[::1]:9469``; empty for off."""
    text = _text(raw)
    if text in {OFF, ""}:
        return ""
    host, colon, port = text.rpartition(":")
    good = bool(colon) and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    try:
        if host != "localhost":
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        good = False
    if not good:
        raise ValueError(f'write an address and a port such as 127.0.0.1:9469 or [::1]:9469, or "{OFF}"')
    return text


def _or_off(raw: object) -> str:
    """A text; ``off`` is the empty one."""
    text = _some_text(raw)
    return "" if text == OFF else text


def _setting(key: str, reader: Reader, meaning: str, default: Any, *, live: bool = False, private: bool = False) -> Any:
    """A field: its key, how it is read, what it means; ``live`` may change on SIGHUP, ``private`` is never repeated."""
    metadata = {"key": key, "reader": reader, "meaning": meaning, "live": live, "private": private}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(slots=True)
class MonitorSettings:
    """Everything that ``mailtap monitor`` can be told. Times are seconds, sizes octets; 0 or an empty text turns a thing off."""

    interface: list[str] = _setting("interface", _words, "interfaces to watch; any is all of them", list)
    follow: list[str] = _setting(
        "follow", _words, "growing captures, folders of rotated ones; - is standard input", list
    )
    filter: str | None = _setting("filter", _some_text, "BPF filter in place of the usual one", None)
    source: str = _setting("source", _choice(SOURCES), "who reads the interface", "auto")
    promiscuous: bool = _setting("promiscuous", _flag, "see what is for other machines, too", default=True)
    snaplen: int = _setting("snaplen", _count(64, 262144), "octets of a packet that are captured", 65535)
    ring_bytes: int = _setting("ring-size", _size(1 << 20), "room for packets in the kernel, a interface", 64 << 20)
    sensor: str = _setting("sensor", _text, "name of this monitor; empty is the machine's", "")
    ports: dict[int, str] = _setting("port", _ports, "mail services on unusual ports", dict)
    ca_file: str | None = _setting("ca-file", _some_text, "trusted roots for the certificates that are seen", None)
    store: str = _setting("store", _or_off, "file, or URL of a database; off for none", DEFAULT_STORE, private=True)
    store_key: str | None = _setting("store-key", _some_text, "file with the key of the store's fingerprints", None)
    retention_s: float = _setting(
        "retention", _duration(60), "how long the store keeps; 0 for ever", 90 * 86400.0, live=True
    )
    retention_bytes: int = _setting(
        "retention-size", _size(1 << 20), "how large the store grows; 0 for any", 10 << 30, live=True
    )
    alerts: list[str] = _setting("alerts", _words, "where alerts go", list, live=True, private=True)
    min_severity: str = _setting("min-severity", _choice(SEVERITIES), "least severity of an alert", "medium", live=True)
    window_s: float = _setting(
        "window", _duration(0.001), "one alert per rule, server and account in it", WINDOW_S, live=True
    )
    rate: float = _setting("rate", _rate, "alerts in the long run", RATE, live=True)
    burst: int = _setting("burst", _count(1, 100000), "alerts at once after a quiet time", BURST, live=True)
    spool: str | None = _setting("spool", _some_text, "folder for alerts that receivers have not taken yet", None)
    spool_bytes: int = _setting("spool-size", _size(1 << 16), "room for them, for each receiver", 64 << 20)
    webhook_secret_file: str | None = _setting(
        "webhook-secret-file", _some_text, "file with the secret that signs webhooks", None
    )
    webhook_secret_env: str | None = _setting(
        "webhook-secret-env", _some_text, "environment variable with that secret", None
    )
    webhook_ca_file: str | None = _setting(
        "webhook-ca-file", _some_text, "certificates by which receivers of webhooks are checked", None
    )
    metrics: str = _setting(
        "metrics", _address, "where metrics and health are served; off for nowhere", "127.0.0.1:9469"
    )
    user: str | None = _setting("user", _some_text, "who root becomes after opening the interface", None)
    live: bool = _setting("live", _flag, "show the screen", default=False)
    duration_s: float = _setting("duration", _duration(0.001), "stop after this time; 0 for never", 0.0)

    def sink_words(self) -> list[str]:
        """The sinks that are meant: those named, else standard output where it is free."""
        if self.alerts:
            return self.alerts
        return [] if self.live else [DEFAULT_SINK]

    def sink_options(self) -> SinkOptions:
        """What the sinks are told beside their words."""
        return SinkOptions(
            str(self.spool_folder()),
            self.spool_bytes,
            self.webhook_secret_file,
            self.webhook_secret_env,
            self.webhook_ca_file,
            __version__,
        )

    def spool_folder(self) -> Path:
        """Where alerts wait for their receivers: as told, else beside the store, else in the folder of the service's or user's state."""
        if self.spool is not None:
            return Path(self.spool)
        path = self.store_path()
        if path is not None:
            return path.with_name(path.name + ".spool")
        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        if state:
            return Path(state) / "spool"
        return Path(os.environ.get("XDG_STATE_HOME", "") or Path.home() / ".local" / "state") / "mailtap" / "spool"

    def store_path(self) -> Path | None:
        """The file of the store; None where it is a database elsewhere, or there is none."""
        if not self.store:
            return None
        scheme, mark, rest = self.store.partition("://")
        if not mark:
            return Path(self.store)
        return Path(rest.removeprefix("/").partition("?")[0]) if scheme.partition("+")[0] == "sqlite" else None

    def written_paths(self) -> list[Path]:
        """Files and folders that the monitor writes: its user must be able to."""
        paths = [path for path in (self.store_path(),) if path is not None]
        words = self.sink_words()
        paths += [Path(word[6:]) for word in words if word.startswith("jsonl:") and word != DEFAULT_SINK]
        if any(not word.startswith("jsonl:") for word in words):
            paths.append(self.spool_folder())
        return paths


_FIELDS: Final = {one.name: one for one in fields(MonitorSettings)}
_BY_KEY: Final = {one.metadata["key"]: one for one in fields(MonitorSettings)}


def keys() -> list[str]:
    """The keys that a configuration file may have, in order."""
    return list(_BY_KEY)


def key_of(name: str) -> str:
    """The key, and option, of a field."""
    return str(_FIELDS[name].metadata["key"])


def meaning(key: str) -> str:
    """What a key sets, in a few words."""
    return str(_BY_KEY[key].metadata["meaning"])


def load_settings(path: str | Path) -> MonitorSettings:
    """The settings of a TOML file; defaults for what it does not name.

    Raises:
        UsageError: the file cannot be read, is no TOML, has an unknown key or a value that makes no sense.
    """
    import tomllib

    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise UsageError(f"{path}: larger than {MAX_FILE:,} octets; this is no configuration of mailtap")
        table = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: the configuration cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: the configuration is not UTF-8; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: this is no TOML: {error}; mailtap monitor --example-config shows some") from None
    given: dict[str, object] = {}
    for key, raw in table.items():
        found = _BY_KEY.get(key)
        if found is None:
            raise UsageError(f"{path}: {_unknown(key)}")
        given[found.name] = _read(found, raw, f"{path}: {key}")
    return replace(MonitorSettings(), **given)  # type: ignore[arg-type]


def merged(file: MonitorSettings | None, command_line: Mapping[str, object]) -> MonitorSettings:
    """The settings of a file (or the defaults) with what the command line says in their place.

    ``command_line`` holds raw values by field name; None is not given. A list replaces the file's list.

    Raises:
        UsageError: a value makes no sense, or the settings do not go together.
    """
    given: dict[str, object] = {}
    for name, raw in command_line.items():
        if raw is not None:
            found = _FIELDS[name]
            given[name] = _read(found, raw, f"--{found.metadata['key']}")
    settings = replace(file if file is not None else MonitorSettings(), **given)  # type: ignore[arg-type]
    if not settings.sensor:
        settings.sensor = socket.gethostname()
    check(settings)
    return settings


def check(settings: MonitorSettings) -> None:
    """Whether the settings go together.

    Raises:
        UsageError: they do not; the message says what to change.
    """
    if not settings.interface and not settings.follow:
        raise UsageError("there is nothing to watch: name an interface with -i, or a growing capture with --follow")
    if settings.live and DEFAULT_SINK in settings.alerts:
        raise UsageError(
            "--live shows the screen on standard output, where jsonl:- would write as well: send alerts to a file, jsonl:PATH"
        )
    if settings.webhook_secret_file and settings.webhook_secret_env:
        raise UsageError("webhook-secret-file and webhook-secret-env are both given: the secret comes from one of them")
    make_all(settings.sink_words(), settings.sink_options())


def reloaded(old: MonitorSettings, new: MonitorSettings) -> tuple[MonitorSettings, list[str]]:
    """What a running monitor goes on with when its configuration has become ``new``, and warnings about what needs a restart."""
    waiting = [one for one in _FIELDS.values() if not one.metadata["live"]]
    waiting = [one for one in waiting if getattr(old, one.name) != getattr(new, one.name)]
    kept = {one.name: getattr(old, one.name) for one in waiting}
    warnings = []
    if waiting:
        names = ", ".join([one.metadata["key"] for one in waiting])
        warnings.append(f"the configuration has changed in {names}: that takes a restart; the rest counts from now on")
    return replace(new, **kept), warnings


def example_config() -> str:
    """A configuration that names every key, with its default, and what it is for."""
    return Path(__file__).with_name(EXAMPLE).read_text(encoding="utf-8")


def _read(found: Any, raw: object, where: str) -> object:
    try:
        reader: Reader = found.metadata["reader"]
        return reader(raw)
    except ValueError as error:
        shown = "" if found.metadata["private"] or not isinstance(raw, str | int | float) else f" = {ascii(raw)[:60]}"
        raise UsageError(f"{where}{shown}: {error}") from None


def _unknown(key: str) -> str:
    import difflib

    near = difflib.get_close_matches(key.replace("_", "-"), keys(), 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"keys are: {', '.join(keys())}"
    return f"there is no setting {key[:60]!a}; {hint}"
