"""What must be gone is tried in processes of their own: this one keeps its rights. Tests marked ``root`` need them."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import CHILD_PATIENCE

from analyzer.errors import OutputError, UsageError
from analyzer.monitor import privileges
from analyzer.monitor.privileges import User, check, choose_user, sqlite_files

NOBODY = User("nobody", 65534, 65534, (65534,), "/nonexistent")

#: What every script begins with. Everything is imported first: the interpreter may live where only root can read.
PREAMBLE = """
import ctypes, encodings.ascii, encodings.idna, json, os, resource, socket, sys, threading
from analyzer.errors import MailtapError
from analyzer.monitor import privileges
from analyzer.monitor.privileges import User

NOBODY = User("nobody", 65534, 65534, (65534,), "/nonexistent")
libc = ctypes.CDLL(None, use_errno=True)

def packet_socket():
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.bind(("lo", 0))
    opened.settimeout(60)
    return opened

def can(function, *arguments):
    try:
        function(*arguments)
    except (OSError, MailtapError):
        return False
    return True

def still_reads(opened):
    marker = b"mailtap still reads " + str(os.getpid()).encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(marker, ("127.0.0.1", 9))
        while marker not in opened.recv(65536):
            pass
    return True

def state():
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return {
        "capabilities": {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0},
        "bounding": int(status["CapBnd"], 16),
        "uids": sorted(set(status["Uid"].split())),
        "gids": sorted(set(status["Gid"].split())),
        "groups": status["Groups"].split(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "dumpable": libc.prctl(3, 0, 0, 0, 0),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "opens_interfaces": can(packet_socket),
        "becomes_root": os.geteuid() != 0 and can(os.setuid, 0),
    }

def become_with_net_raw():
    "As systemd's AmbientCapabilities= starts a service: not root, one capability, inherited by what it starts."
    libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    raw = 1 << 13
    assert libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)(raw, raw, raw, 0, 0, 0))) == 0
    assert libc.prctl(47, 2, 13, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE
"""


def run(script: str, **keywords: Any) -> Any:
    """The last line that the script prints, from JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(script)],
        capture_output=True, text=True, timeout=CHILD_PATIENCE, check=False, **keywords,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody can enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="mailtap-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.root
def test_root_is_left_behind_for_good_and_the_open_socket_still_reads() -> None:
    found = run("""
        opened = packet_socket()
        said = privileges.drop(NOBODY)
        print(json.dumps(state() | {"said": said, "reads": still_reads(opened), "home": os.environ["HOME"]}))
    """)
    assert found == {
        "capabilities": True,
        "bounding": 0,
        "uids": ["65534"],
        "gids": ["65534"],
        "groups": ["65534"],
        "no_new_privileges": "1",
        "dumpable": 0,
        "core": [0, 0],
        "opens_interfaces": False,
        "becomes_root": False,
        "said": "runs as nobody (uid 65534), without capabilities",
        "reads": True,
        "home": "/nonexistent",
    }


@pytest.mark.root
def test_the_ring_still_reads_without_any_right() -> None:
    found = run("""
        from analyzer.capture.base import RecordList
        from analyzer.capture.live_open import open_live
        import time
        source = open_live("lo", kind="ring", ring_bytes=1 << 20)
        privileges.drop(NOBODY)
        sink = RecordList()
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.connect_ex(("127.0.0.1", 4190))  # refused, or taken: the beginning of a connection to a mail port
        until = time.monotonic() + 60
        while not sink.records and time.monotonic() < until:
            source.read(sink)
            time.sleep(0.01)
        drops = source.counters().kernel_drops
        source.close()
        print(json.dumps([len(sink.records) > 0, drops, can(open_live, "lo")]))
    """)
    assert found == [True, 0, False]


@pytest.mark.root
def test_capabilities_that_a_service_was_started_with_are_given_up() -> None:
    found = run("""
        become_with_net_raw()
        before = privileges.may_capture()
        opened = packet_socket()
        said = privileges.drop(privileges.choose_user(None, writes_files=True))
        print(json.dumps(state() | {"said": said, "before": before, "reads": still_reads(opened)}))
    """)
    assert found["before"]
    assert found["reads"]
    assert found["capabilities"]
    assert not found["opens_interfaces"]
    assert found["no_new_privileges"] == "1"
    assert found["said"] == "runs as uid 65534, without capabilities"


@pytest.mark.root
def test_promiscuous_mode_needs_no_other_capability_and_ends_with_the_socket() -> None:
    found = run("""
        import struct
        flags = lambda: int(open("/sys/class/net/lo/flags").read(), 16)
        become_with_net_raw()
        opened = packet_socket()
        membership = struct.pack("iHH8s", socket.if_nametoindex("lo"), socket.PACKET_MR_PROMISC if hasattr(socket, "PACKET_MR_PROMISC") else 1, 0, b"")
        opened.setsockopt(263, 1, membership)  # SOL_PACKET, PACKET_ADD_MEMBERSHIP
        on = bool(flags() & 0x100)
        privileges.drop(None)
        kept = bool(flags() & 0x100)
        opened.close()
        print(json.dumps([on, kept, bool(flags() & 0x100)]))
    """)
    assert found == [True, True, False]


@pytest.mark.root
def test_root_on_request_has_no_capability_either(tmp_path: Path) -> None:
    found = run(f"""
        opened = packet_socket()
        root = privileges.choose_user("root", writes_files=True)
        said = privileges.drop(root)
        written = can(open, {str(tmp_path / "own")!r}, "w")
        given_away = can(os.chown, {str(tmp_path)!r}, 1, 1)
        print(json.dumps(state() | {{"said": said, "reads": still_reads(opened), "written": written, "chown": given_away}}))
    """)
    assert found["capabilities"]
    assert found["bounding"] == 0
    assert not found["opens_interfaces"]
    assert found["reads"]
    assert found["written"]
    assert not found["chown"]
    assert found["said"] == "runs as root (uid 0), without capabilities"


@pytest.mark.root
def test_a_thread_that_keeps_its_rights_is_not_overlooked() -> None:
    found = run("""
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()
        try:
            privileges.drop(privileges.choose_user("root", writes_files=False))
            said = ""
        except MailtapError as error:
            said = str(error)
        done.set()
        print(json.dumps(said))
    """)
    assert "threads must be started later" in found


@pytest.mark.root
def test_what_a_program_started_afterwards_gets_is_nothing() -> None:
    status = run("""
        import subprocess
        privileges.drop(privileges.choose_user("root", writes_files=False))
        print(json.dumps(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout))
    """)
    assert "CapEff:\t0000000000000000" in status
    assert "CapPrm:\t0000000000000000" in status


def test_descriptors_of_the_calling_program_are_closed() -> None:
    reading, writing = os.pipe()
    kept = os.dup(reading)
    for descriptor in (reading, writing, kept):
        os.set_inheritable(descriptor, True)
    try:
        found = run(
            f"""
            own = socket.socket()
            closed = privileges.close_inherited(keep=[{kept}])
            print(json.dumps([closed, can(os.fstat, {reading}), can(os.fstat, {writing}), can(os.fstat, {kept}), can(os.fstat, own.fileno())]))
            """,
            pass_fds=(reading, writing, kept),
        )
    finally:
        for descriptor in (reading, writing, kept):
            os.close(descriptor)
    assert found == [2, False, False, True, True]


@pytest.mark.root
def test_a_store_the_user_cannot_write_is_said_before_it_is_too_late(open_path: Path) -> None:
    tmp_path = open_path
    store = tmp_path / "mailtap.db"
    with pytest.raises(OutputError, match=rf"nobody, who may not write to {tmp_path}: sudo chown nobody '{tmp_path}'"):
        check(NOBODY, sqlite_files(store), [])
    os.chown(tmp_path, 65534, 65534)
    check(NOBODY, sqlite_files(store), [])
    store.touch(0o600)
    (tmp_path / "mailtap.db-wal").touch()
    with pytest.raises(OutputError, match=r"may not write to .*mailtap\.db: sudo chown"):
        check(NOBODY, sqlite_files(store), [])
    os.chown(store, 65534, 65534)
    with pytest.raises(OutputError, match=r"may not write to .*mailtap\.db-wal: sudo chown"):
        check(NOBODY, sqlite_files(store), [])
    inner = tmp_path / "not" / "yet" / "spool"
    check(NOBODY, [inner], [])
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    with pytest.raises(OutputError, match=rf"may not enter {closed} \(for .*spool\): choose another place"):
        check(NOBODY, [closed / "spool"], [])
    assert os.geteuid() == 0  # it was a child that became the user


@pytest.mark.root
def test_a_secret_is_to_be_its_readers_alone_and_never_everybodys(open_path: Path) -> None:
    secret = open_path / "webhook.secret"
    secret.touch(0o600)
    with pytest.raises(UsageError) as caught:
        check(NOBODY, [], [], secret=[secret])
    said = str(caught.value)
    assert f"nobody, who may not read {secret}: sudo chown nobody '{secret}' and sudo chmod 400 '{secret}'" in said
    assert "everybody" not in said
    os.chown(secret, 65534, 65534)
    secret.chmod(0o400)
    check(NOBODY, [], [], secret=[secret])
    closed = open_path / "closed"
    closed.mkdir(0o700)
    (closed / "secret").touch(0o600)
    with pytest.raises(UsageError, match=rf"may not enter {closed} .*: put it into a folder that nobody may enter"):
        check(NOBODY, [], [], secret=[closed / "secret"])
    capture = open_path / "ring.pcap"
    capture.touch(0o600)
    with pytest.raises(UsageError, match=rf"may not read {capture}: sudo setfacl -m u:nobody:rX '{capture}'"):
        check(NOBODY, [], [], captures=[capture])


@pytest.mark.root
def test_nobody_is_told_to_take_what_he_has_or_what_is_the_systems(open_path: Path) -> None:
    root = User("root", 0, 0, (0,), "/root")
    for user, place in ((root, "/proc/store.db"), (NOBODY, "/etc/store.db"), (NOBODY, "/proc/sys/store.db")):
        with pytest.raises(OutputError, match=r"may not write to /\w+(/sys)? \(for .*\): choose another place, or"):
            check(user, [Path(place)], [])
    mine = open_path / "mine"
    mine.mkdir(0o500)
    os.chown(mine, 65534, 65534)
    with pytest.raises(OutputError, match=rf"may not write to {mine} .*: choose another place"):
        check(NOBODY, [mine / "store.db"], [])


@pytest.mark.root
def test_an_installation_that_the_user_cannot_read_is_said(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir(0o700)
    with pytest.raises(UsageError, match=r"nobody, who may not .* put it where everybody can read it"):
        check(NOBODY, [], [package])
    root = User("root", 0, 0, (0,), "/root")
    check(root, [tmp_path], [package])
    os.chown(package, 65534, 65534)
    with pytest.raises(OutputError, match="root, who may not enter"):  # without capabilities root is a user like others
        check(root, [package / "mailtap.db"], [])


def test_without_a_change_of_user_ones_own_rights_are_looked_at(tmp_path: Path) -> None:
    check(None, sqlite_files(tmp_path / "mailtap.db"))
    with pytest.raises(UsageError, match="does not find"):
        check(None, [], [tmp_path / "gone"])


def known(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Only these users are there."""

    def getpwnam(name: str) -> pwd.struct_passwd:
        if name not in names:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", 990 + names.index(name), 990, "", f"/home/{name}", "/bin/false"))

    def getpwuid(uid: int) -> pwd.struct_passwd:
        if not 990 <= uid < 990 + len(names):
            raise KeyError(uid)
        return getpwnam(names[uid - 990])

    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    monkeypatch.setattr(os, "getgrouplist", lambda name, group: [group])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.delenv("SUDO_GID", raising=False)


def test_who_root_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, "nobody", "alice", "mailtap", "carol")

    def chosen(asked: str | None = None, *, writes_files: bool = True) -> tuple[str, int, int]:
        user = choose_user(asked, writes_files=writes_files)
        assert user is not None
        return user.name, user.uid, user.gid

    monkeypatch.setenv("SUDO_UID", "991")
    assert chosen("carol") == ("carol", 993, 990)
    assert chosen("991:5") == ("alice", 991, 5)
    assert chosen("4242:4243") == ("4242", 4242, 4243)
    assert chosen() == ("mailtap", 992, 990)

    known(monkeypatch, "nobody", "alice")
    monkeypatch.setenv("SUDO_UID", "991")
    monkeypatch.setenv("SUDO_GID", "991")
    assert chosen() == ("alice", 991, 991)
    monkeypatch.setenv("SUDO_UID", "0")
    assert chosen(writes_files=False) == ("nobody", 990, 990)
    with pytest.raises(UsageError, match="useradd --system"):
        chosen()

    # a user of this name that exists as long as a service runs
    known(monkeypatch, "alice", "mailtap")
    named = pwd.getpwnam
    fleeting = pwd.struct_passwd(("mailtap", "x", 65502, 65502, "", "/", "/bin/false"))
    monkeypatch.setattr(pwd, "getpwnam", lambda name: fleeting if name == "mailtap" else named(name))
    monkeypatch.setenv("SUDO_UID", "990")
    assert chosen()[0] == "alice"


@pytest.mark.parametrize(
    "asked", ["dave", "4242", "alice:users", "", ":5", "4242:99999999999", "99999999999999999999:1"]
)
def test_users_that_are_not_there(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    known(monkeypatch, "alice")
    with pytest.raises(UsageError, match="--user"):
        choose_user(asked, writes_files=False)


def test_who_is_not_root_stays_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, "alice", "carol")
    monkeypatch.setattr(os, "geteuid", lambda: 990)
    assert choose_user(None, writes_files=True) is None
    assert choose_user("alice", writes_files=True) is None
    with pytest.raises(UsageError, match="only root can become another user"):
        choose_user("carol", writes_files=True)


def test_a_container_without_setuid_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(UsageError, match="CAP_SETUID"):
        privileges._become(NOBODY)


def test_another_system_does_what_it_can_and_says_what_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "LINUX", False)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(privileges.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(privileges, "verify", lambda _: None)
    assert privileges.drop(None).endswith("darwin knows no capabilities and no way to forbid new privileges")
