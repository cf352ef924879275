"""Leaving behind what only opening an interface needed: root, capabilities, descriptors, core dumps.

The order in the monitor: open the sources, ``close_inherited``, ``choose_user``, ``check`` (what will be written, and what is still to
be imported, as that user), ``drop``, and only then the store, sinks and threads. A thread started earlier keeps its capabilities;
``drop`` looks at every thread and refuses to go on where one did.

Who root becomes, unless ``--user`` says: ``mailtap`` where there is such a user; else who called sudo, for that is with whose files
mailtap was asked to deal, and it gives no right that the caller did not have; else ``nobody``, but only where no file is to be
written: files of ``nobody`` are open to every other program that runs as ``nobody``, and a store of accounts must not be.
``--user root`` stays root on request, without capabilities: then it can do what a file's owner may, and nothing more.

Linux does all of it; elsewhere user, groups and core dumps are dealt with, and ``drop`` says what is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pwd
import resource
import sys
import sysconfig
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import analyzer
from analyzer.capture.interfaces import permission_missing
from analyzer.errors import InternalError, OutputError, UsageError
from analyzer.places import is_there

LINUX: Final = sys.platform == "linux"
#: The user of one's own that root becomes where it exists.
OWN_USER: Final = "mailtap"
#: Who runs what may touch nothing.
NOBODY: Final = "nobody"
#: Users that systemd makes for as long as a service runs (DynamicUser=): they own nothing that stays.
DYNAMIC_USERS: Final = range(61184, 65520)
#: Longest answer of the child that tries what a user may, in octets.
MAX_ANSWER: Final = 65536

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
#: linux/capability.h: _LINUX_CAPABILITY_VERSION_3, two sets of 32 bits
CAPABILITY_VERSION: Final = 0x20080522
#: More capabilities than this there are not, whatever the kernel says.
MAX_CAPABILITIES: Final = 64


@dataclass(frozen=True, slots=True)
class User:
    """Who the monitor runs as once it has what it needs."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def choose_user(asked: str | None, *, writes_files: bool) -> User | None:
    """Who to become; None where this process is not root and so stays who it is.

    ``asked`` is the value of ``--user``: a name, ``UID`` or ``UID:GID``. ``writes_files`` says that a store, spool or file of alerts
    on this machine is to be written.

    Raises:
        UsageError: there is no such user, only root could become it, or nobody suitable was found.
    """
    if os.geteuid() != 0:
        if asked is not None and _user(asked).uid != os.geteuid():
            raise UsageError(f"only root can become another user: leave out --user {asked}, or start mailtap by sudo")
        return None
    if asked is not None:
        return _user(asked)
    with contextlib.suppress(UsageError):
        own = _user(OWN_USER)
        if own.uid not in DYNAMIC_USERS:
            return own
    caller = os.environ.get("SUDO_UID", "")
    if caller.isascii() and caller.isdigit() and int(caller) != 0:
        return _user(f"{caller}:{os.environ.get('SUDO_GID', '')}".removesuffix(":"))
    if not writes_files:
        with contextlib.suppress(UsageError):
            return _user(NOBODY)
    raise UsageError(
        "mailtap does not read traffic as root, and there is no user to become: make one (useradd --system "
        f"--home-dir /var/lib/mailtap --create-home --shell /usr/sbin/nologin {OWN_USER}) and keep the store in /var/lib/mailtap, "
        "or name one with --user"
    )


def check(
    user: User | None,
    writable: Iterable[Path],
    readable: Iterable[Path] | None = None,
    *,
    secret: Iterable[Path] = (),
    captures: Iterable[Path] = (),
) -> None:
    """Make sure, before it is too late, that the user can do what the monitor will have to do.

    ``writable`` are files and folders that will be written, there already or not; ``readable`` those that will be read, by default
    what is yet to be imported; ``secret`` and ``captures`` others that will be read, which not everybody should be able to.
    Asks the kernel, as that user, in a child process: access lists and read-only file systems count.

    Raises:
        OutputError: something cannot be written; the message says what to chown.
        UsageError: mailtap itself, or another file, cannot be read by that user.
    """
    to_write, secrets, traffic = _absolute(writable), _absolute(secret), _absolute(captures)
    to_read = _absolute(installed() if readable is None else readable) + secrets + traffic
    found = _obstacles(to_write, to_read) if user is None else _as_user(user, to_write, to_read)
    name = "this user" if user is None else user.name
    for kind, path, thing, why in found:
        where = f"{thing}{'' if thing == path else f' (for {path})'}"
        who = f"the monitor will run as {name}, who {why} {where}"
        if kind == "write":
            cure = _cure_of_writing(user, thing) if why == "may not write to" else "choose another place"
            raise OutputError(f"{who}: {cure}, or choose another user with --user")
        owner = user.name if user else "$USER"
        if why == "does not find":
            cure = "look at its name"
        elif path in secrets:
            cure = f"sudo chown {owner} '{path}' and sudo chmod 400 '{path}'"
            if thing != path:
                cure = f"put it into a folder that {name} may enter (/etc/mailtap, say), and there give it to that user alone (chown, chmod 400)"
        elif path in traffic:
            cure = f"sudo setfacl -m u:{owner}:rX '{thing}'"
        else:
            cure = "put it where everybody can read it (mailtap itself into a virtual environment in /opt/mailtap, say)"
        raise UsageError(f"{who}: {cure}, or choose another user with --user")


def _absolute(paths: Iterable[Path]) -> list[str]:
    return [os.path.abspath(path) for path in paths]  # noqa: PTH100 - links are to be followed as that user


def _cure_of_writing(user: User | None, thing: str) -> str:
    """To own it helps, unless who owns it already may not write to it; and the system's own folders are nobody's to have."""
    uid = os.geteuid() if user is None else user.uid
    try:
        owned = Path(thing).stat().st_uid == uid
    except OSError:
        owned = False
    if owned or os.path.dirname(thing) == "/" or thing.startswith(("/proc/", "/sys/", "/dev/")):  # noqa: PTH120
        return "choose another place"
    return f"sudo chown {user.name if user else '$USER'} '{thing}'"


def sqlite_files(store: Path) -> list[Path]:
    """What is written for an SQLite store: the file, what SQLite and mailtap keep beside it, the folder they are in."""
    beside = [store.with_name(store.name + ending) for ending in ("-wal", "-shm", "-journal", ".key")]
    return [store.parent, store, *[path for path in beside if is_there(path)]]


def installed() -> list[Path]:
    """Where modules are imported from: the standard library, installed packages, mailtap."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return [Path(folder) for folder in sorted(folders)] + [Path(place) for place in analyzer.__path__]


def drop(user: User | None) -> str:
    """Become the user, if there is one to become, and give up every right there is no more need for; in words, what was done.

    Raises:
        UsageError: this process may not become that user (a container without CAP_SETUID).
        InternalError: a right is still there afterwards, or could be had again.
    """
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if LINUX:
        _clear_bounding_set()
    if user is not None:
        _become(user)
    if LINUX:
        _clear_capabilities()
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        # Passwords are in memory: no core dump, no debugger but root's. After the change of user, which sets it anew.
        _prctl(PR_SET_DUMPABLE, 0)
    verify(user)
    words = f"runs as {user.name} (uid {user.uid})" if user is not None else f"runs as uid {os.geteuid()}"
    if not LINUX:
        return f"{words}; {sys.platform} knows no capabilities and no way to forbid new privileges"
    return f"{words}, without capabilities"


def verify(user: User | None) -> None:
    """Make sure that nothing is left and nothing can be had again.

    Raises:
        InternalError: it is not so.
    """
    if user is not None and {os.getuid(), os.geteuid()} != {user.uid}:
        raise InternalError(f"privileges were not left behind: this is still uid {os.geteuid()}")
    if os.geteuid() != 0:
        for regain in (os.setuid, os.seteuid, os.setgid):
            try:
                regain(0)
            except OSError:
                continue
            raise InternalError("privileges were not left behind: root can be had again")
    if LINUX:
        _verify_linux()


def close_inherited(keep: Collection[int] = ()) -> int:
    """Close what the calling program left open in us (but standard input, output and error); how many.

    What Python opens is marked to be closed when another program is started, so whatever is not marked came from outside. Not for
    use inside another program: only where this process is mailtap's own.
    """
    closed = 0
    for descriptor in _descriptors():
        if descriptor <= 2 or descriptor in keep:
            continue
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            if not fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(descriptor)
                closed += 1
    return closed


def may_capture() -> bool:
    """This process may open packet sockets now."""
    return not permission_missing() if LINUX else os.geteuid() == 0


def _user(asked: str) -> User:
    """The user of a name, ``UID`` or ``UID:GID``."""
    uid, _, gid = asked.partition(":")
    numbers = uid.isascii() and uid.isdigit() and (not gid or (gid.isascii() and gid.isdigit()))
    if not numbers and gid:
        raise UsageError(f"--user {asked}: a name, UID or UID:GID is wanted")
    try:
        entry = pwd.getpwuid(int(uid)) if numbers else pwd.getpwnam(uid)
    except (KeyError, OverflowError) as error:
        if numbers and gid and int(uid) < 1 << 32 and int(gid) < 1 << 32:
            return User(uid, int(uid), int(gid), (int(gid),), "/")
        what = "UID:GID for one without a name" if numbers else f"useradd --system {asked} makes it"
        raise UsageError(f"--user {asked}: there is no such user here ({what})") from error
    group = int(gid) if gid else entry.pw_gid
    groups = tuple(sorted({*os.getgrouplist(entry.pw_name, group)}))
    return User(entry.pw_name, entry.pw_uid, group, groups, entry.pw_dir)


def _become(user: User) -> None:
    """Groups first, for they can be set by root alone; then the group, then the user: real, effective and saved."""
    try:
        os.setgroups(user.groups)
        if hasattr(os, "setresuid"):
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        else:
            os.setgid(user.gid)
            os.setuid(user.uid)
    except PermissionError as error:
        raise UsageError(
            f"this process may not become {user.name} (a container without CAP_SETUID and CAP_SETGID?): start it as that user, or "
            "stay who you are with --user root"
        ) from error
    # libraries look for their files there
    os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name)


# -- what a user may ---------------------------------------------------------------------------------------------------------------

#: ``write`` or ``read``, the path that was asked for, what stands in the way, and why: ``may not write to``
Obstacle = tuple[str, str, str, str]


def _obstacles(to_write: Sequence[str], to_read: Sequence[str]) -> list[Obstacle]:
    """What this process, as it is now, may not do of all this."""
    found: list[Obstacle] = []
    for path in to_write:
        thing, why = _obstacle_to_writing(path)
        if why:
            found.append(("write", path, thing, why))
    for path in to_read:
        thing, why = _obstacle_on_the_way(path)
        if not why and not os.access(path, os.R_OK):
            thing, why = path, "may not read" if os.path.lexists(path) else "does not find"
        if why:
            found.append(("read", path, thing, why))
    return found


def _obstacle_to_writing(path: str) -> tuple[str, str]:
    thing, why = _obstacle_on_the_way(path)
    if why:
        return thing, why
    folder = os.path.isdir(path)  # noqa: PTH112
    while not os.path.lexists(path):
        path, folder = os.path.dirname(path), True  # noqa: PTH120 - the folder in which it would be made
    right = os.R_OK | os.W_OK | os.X_OK if folder else os.W_OK
    return ("", "") if os.access(path, right) else (path, "may not write to")


def _obstacle_on_the_way(path: str) -> tuple[str, str]:
    """The first folder on the way to a path that may not be entered."""
    way = Path(path).parents
    for folder in reversed(way):
        if not os.path.lexists(folder):
            return "", ""
        if not os.access(folder, os.X_OK):
            return str(folder), "may not enter"
    return "", ""


def _as_user(user: User, to_write: Sequence[str], to_read: Sequence[str]) -> list[Obstacle]:
    """The same, tried in a child that has become the user for good."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the parent's is touched, and nothing of it is run at the end
        try:
            _become(user)
            if LINUX:
                _clear_capabilities()  # root without them may do less, too
            answer = json.dumps(_obstacles(to_write, to_read))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent shall say it
            answer = json.dumps(str(error))
        os.write(writing, answer.encode()[:MAX_ANSWER])
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        answered = pipe.read(MAX_ANSWER)
    os.waitpid(child, 0)
    found = json.loads(answered or b'"the trial ended without an answer"')
    if isinstance(found, str):
        raise UsageError(f"what {user.name} may write could not be tried: {found}")
    return [(kind, path, thing, why) for kind, path, thing, why in found]


# -- Linux -------------------------------------------------------------------------------------------------------------------------


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"prctl {option}")


def _clear_bounding_set() -> None:
    """No program we might start can be given a capability. Needs CAP_SETPCAP; without it there is NO_NEW_PRIVS, which is as good."""
    for capability in range(MAX_CAPABILITIES):
        try:
            _prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # not allowed to, or past the last capability of this kernel
            break


def _clear_capabilities() -> None:
    """Ambient, inheritable, permitted and effective: none."""
    with contextlib.suppress(OSError):  # Linux before 4.3 has no ambient set
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc().capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        raise InternalError(f"capabilities could not be given up: {os.strerror(ctypes.get_errno())}")


def _verify_linux() -> None:
    for task in sorted(Path("/proc/self/task").iterdir()):
        try:
            status = (task / "status").read_text(encoding="ascii", errors="replace")
        except OSError:  # a thread that has ended
            continue
        words = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            if int(words.get(name, "0"), 16) != 0:
                raise InternalError(
                    f"privileges were not left behind: thread {task.name} has {name} {words[name].strip()}; threads must be started later"
                )
    if may_capture():
        raise InternalError("privileges were not left behind: an interface can still be opened")


def _descriptors() -> list[int]:
    """Descriptors that are open, more or less."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return sorted(int(name) for name in os.listdir(folder) if name.isdigit())  # noqa: PTH208
    return list(range(3, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 4096)))
