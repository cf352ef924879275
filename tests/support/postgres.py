"""A PostgreSQL server for tests: in a folder of its own, on a Unix socket, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.waiting import CHILD_PATIENCE

PASSWORD = "made-up-word-of-the-database"


def programs() -> Path:
    """The folder of ``initdb`` and ``pg_ctl``, which Debian keeps out of the way."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]
    on_path = shutil.which("pg_ctl")
    place = max(found, key=lambda one: int(one.parts[-3].split(".")[0])) if found else Path(on_path or "pg_ctl")
    return place.resolve().parent


class Postgres:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._run("initdb", "-D", str(self.data), "-U", "mail", "--auth=scram-sha-256", f"--pwfile={folder / 'word'}", "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = ''\nunix_socket_directories = '{folder}'\nfsync = off\nmax_connections = 20\n"
            )

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as_user, str(programs() / program), *arguments], capture_output=True, text=True, check=False, cwd="/", timeout=CHILD_PATIENCE,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._run(
            "pg_ctl", "-D", str(self.data), "-w", "-t", f"{CHILD_PATIENCE:.0f}", "-l", str(self.folder / "log"), "start"
        )

    def stop(self, how: str = "immediate") -> None:
        """Stop it: ``fast`` says good-bye, ``immediate`` does not."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-t", f"{CHILD_PATIENCE:.0f}", "-m", how, "stop")

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://mail:{PASSWORD}@/{database}?host={self.folder}"

    def make(self, database: str) -> str:
        """Make a database; its address."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)


@contextmanager
def running() -> Iterator[Postgres]:
    """A server for as long as the context lasts."""
    folder = Path(tempfile.mkdtemp(prefix="mailtap-pg-", dir="/tmp"))
    try:
        (folder / "word").write_text(PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "word", "postgres")
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
