"""What names a store, told without a database library: captures, folders and stores stand in the same place of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The store where none is named, in the folder in which the monitor was started.
DEFAULT_STORE: Final = "mailtap.sqlite"
#: How the address of a PostgreSQL store may begin.
DATABASES: Final = ("postgresql", "postgres", "postgresql+psycopg")
#: What every file of SQLite's begins with.
MAGIC: Final = b"SQLite format 3\0"


def is_store(where: str) -> bool:
    """Whether this names a store: a database's address, or a file that SQLite wrote."""
    scheme, separator, _ = where.partition("://")
    if separator:
        return scheme.lower() in ("sqlite", *DATABASES)
    try:
        with Path(where).open("rb") as file:
            return file.read(16) == MAGIC
    except (OSError, ValueError):
        return False
