"""Where a store is, how to connect to it, and where the key of its fingerprints is kept."""

from __future__ import annotations

import os
import secrets as random_source
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from analyzer.errors import CaptureNotFound, CaptureUnreadable, NotACapture, OutputError, UsageError, comes_with

try:
    import sqlalchemy as sql
except ImportError:
    raise UsageError(f"the store needs SQLAlchemy, which is not installed; {comes_with('monitor')}") from None

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from analyzer.monitor.store_names import DATABASES, is_store
from analyzer.places import is_there, status_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Seconds to wait for a lock of SQLite, and for a connection to PostgreSQL.
BUSY_S: Final = 5.0
CONNECT_S: Final = 5
#: Octets that SQLite's write-ahead log may keep once its content is in the database.
WAL_OCTETS: Final = 16 << 20
#: Octets of a key, and the fewest that are taken for one.
KEY_OCTETS: Final = 32
MIN_KEY_OCTETS: Final = 16


class Location:
    """Where a store is: a path of SQLite's, or the address of a PostgreSQL database."""

    def __init__(self, where: str) -> None:
        self.path: Path | None = None
        #: which file that was when it was opened to write last
        self.inode: int = 0
        self.url: URL | None = None
        scheme, separator, rest = where.partition("://")
        scheme = scheme.lower()
        if not separator:
            self.path = Path(where)
        elif scheme == "sqlite":
            # sqlite:///relative.db, sqlite:////absolute.db
            if not rest.startswith("/") or len(rest) < 2:
                raise UsageError(f"{where}: write it as sqlite:///FILE, or just name the file")
            self.path = Path(rest[1:])
        elif scheme in DATABASES:
            try:
                self.url = make_url(where).set(drivername="postgresql+psycopg")
            except (exc.ArgumentError, ValueError):
                # The address may hold a password, so it is not repeated.
                raise UsageError(
                    "the address of the store makes no sense; write it as postgresql://USER@HOST/DATABASE"
                ) from None
        else:
            raise UsageError(f"a store is a file, or postgresql://USER@HOST/DATABASE; {scheme}:// is neither")
        #: for messages; holds no password
        self.name: str = str(self.path) if self.path is not None else str(self._shown())

    def _shown(self) -> str:
        assert self.url is not None
        query = {key: value for key, value in self.url.query.items() if "pass" not in key.lower()}
        return self.url.set(drivername="postgresql", query=query).render_as_string(hide_password=True)

    def vanished(self) -> bool:
        """Whether the file was removed or replaced since it was opened to write: what is written now would be lost."""
        if self.path is None or self.inode == 0:
            return False
        try:
            return self.path.stat().st_ino != self.inode
        except OSError:
            return True

    def key_file(self) -> Path:
        """Where the key is kept unless somebody says otherwise.

        Beside a file; for PostgreSQL in the folder of the service's state (``STATE_DIRECTORY``, as systemd sets it), else of the user's.
        """
        if self.path is not None:
            return self.path.with_name(self.path.name + ".key")
        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        if not state:
            state = os.environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
            return Path(state) / "mailtap" / "store.key"
        return Path(state) / "store.key"


def sqlite_engine(place: Location, writing: bool) -> Engine:
    """SQLite, to read and write or to read alone.

    Raises:
        CaptureError: the file is not there, or no SQLite database.
        OutputError: it cannot be made.
    """
    path = place.path
    assert path is not None
    status = status_of(path, OutputError if writing else CaptureUnreadable)
    if status is not None and stat.S_ISDIR(status.st_mode):
        wanted = (
            "name a file for the store"
            if writing
            else "name the store's file; mailtap analyze reads folders of captures"
        )
        raise UsageError(f"{path} is a folder; {wanted}")
    if writing:
        make_file(path)
    elif status is None:
        raise CaptureNotFound(f"{path}: there is no such store; mailtap monitor --store {path} makes it")
    elif not is_store(str(path)):
        if not os.access(path, os.R_OK):
            raise CaptureUnreadable(f"{path}: may not be read; run it as the user that the monitor runs as, or as root")
        raise NotACapture(f"{path}: not a store of mailtap monitor; captures are read by mailtap analyze")
    mode = "rw" if writing else "ro"
    if not writing and not os.access(path.parent, os.W_OK) and not is_there(f"{path}-wal"):
        # A copy where nothing can be written (evidence, a backup): nobody changes it, and SQLite needs no files beside it.
        mode = "ro&immutable=1"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, timeout=BUSY_S, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        try:
            connection.execute("PRAGMA trusted_schema=OFF")
            if writing:
                # Before the first table, or it would take a VACUUM: pages that retention frees can be given back.
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute(f"PRAGMA journal_size_limit={WAL_OCTETS}")
                place.inode = path.stat().st_ino
            else:
                connection.execute("PRAGMA query_only=ON")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = sql.create_engine("sqlite://", creator=connect, poolclass=sql.pool.QueuePool, pool_size=3)

    @sql.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that writes takes its lock at once: one that read first could not get it while another writes.
        writes = connection.get_execution_options().get("mailtap_writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def make_file(path: Path) -> None:
    """Make an empty file for the store, with its folder.

    Made here and not by SQLite, so that nobody else can read it at any moment; its ``-wal`` and ``-shm`` take its permissions.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise OutputError(f"{path}: the store cannot be made ({error.strerror or error})") from None


def postgres_engine(place: Location) -> Engine:
    """PostgreSQL.

    Raises:
        UsageError: psycopg is not installed.
    """
    url = place.url
    assert url is not None
    try:
        import psycopg  # noqa: F401 - to say so before anything is tried
    except ImportError:
        raise UsageError(
            f"a store in PostgreSQL needs psycopg, which is not installed; {comes_with('postgres')}"
        ) from None
    # A server that is gone without a word is noticed within seconds, not after the quarter of an hour that TCP takes.
    wanted: dict[str, Any] = {
        "connect_timeout": CONNECT_S, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
        "tcp_user_timeout": 15000, "application_name": "mailtap",
    }  # fmt: skip
    arguments = {key: value for key, value in wanted.items() if key not in url.query}
    return sql.create_engine(url, connect_args=arguments, pool_pre_ping=True, pool_size=3)


def said_by(error: BaseException) -> str:
    """What a database said, in one line, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    lines = str(original).strip().splitlines()
    return lines[0][:300] if lines else type(original).__name__


def read_key(path: Path) -> bytes:
    """The key in a file; made where there is none, for its owner alone.

    Raises:
        OutputError: it can be neither read nor written, or is no key.
    """
    try:
        try:
            text = path.read_text("ascii")
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.{os.getpid()}.{random_source.token_hex(4)}")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(random_source.token_hex(KEY_OCTETS) + "\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                # Two who make it at once end up with the same one.
                path.hardlink_to(part)
            except FileExistsError:
                pass
            finally:
                part.unlink()
            text = path.read_text("ascii")
        key = bytes.fromhex(text.strip())
    except OSError as error:
        raise OutputError(
            f"{path}: the key of the fingerprints can be neither read nor made ({error.strerror or error})"
        ) from None
    except ValueError:
        key = b""
    if len(key) < MIN_KEY_OCTETS:
        raise OutputError(
            f"{path}: no key (hexadecimal digits, {2 * KEY_OCTETS} of them); remove it, and a new one is made"
        )
    return key
