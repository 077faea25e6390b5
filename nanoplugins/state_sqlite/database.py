"""The file. Every call blocks, so only the store's writer thread makes them; all raise ``NanoError``."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanocore.errors import ErrorCode, NanoError
from nanoplugins.state_sqlite.errors import translate
from nanoplugins.state_sqlite.migrations import APPLICATION_ID, MIGRATIONS

PutRow = tuple[str, str, int, bytes]
"""Collection, key, revision, value."""

_PRAGMAS = (
    # Exclusive: a second core on the same folder must fail at once instead of working on stale memory.
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA trusted_schema = OFF",
)
_PUT = "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM record WHERE collection = ? AND key = ?"


class Database:
    """One SQLite file in WAL mode with full synchronisation, owned by one thread of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> int:
        """Create or open the file, check it, migrate it, and return its revision."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.path.chmod(0o600)
        except OSError as error:
            message = f"state file {self.path} can't be opened ({error.strerror}): check its folder, owner and mode"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="state_sqlite.read_only") from error
        with self._translated():
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
            for pragma in _PRAGMAS:
                self._connection.execute(pragma)
            self._check()
            self._migrate()
            return self._read_revision()

    def load(self, collection: str) -> list[tuple[str, int, bytes]]:
        """Return key, revision and value of every record of ``collection``."""
        with self._translated() as connection:
            query = "SELECT key, revision, value FROM record WHERE collection = ?"
            return connection.execute(query, (collection,)).fetchall()

    def write(self, puts: Sequence[PutRow], deletes: Iterable[tuple[str, str]], revision: int) -> None:
        """Apply everything in one transaction and return when it is on the disk; on an error nothing is applied."""
        with self._translated() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_PUT, puts)
                connection.executemany(_DELETE, deletes)
                connection.execute("UPDATE store SET revision = ?", (revision,))
                connection.execute("COMMIT")
            except sqlite3.Error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                # An error reported by COMMIT leaves open whether the change reached the file: look.
                if self._read_revision() != revision:
                    raise

    def close(self) -> None:
        """Fold the write-ahead log into the file, as far as the disk allows, and let go of it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error:
            # Every acknowledged change is in the log already; the next open reads it from there.
            return
        finally:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[sqlite3.Connection]:
        try:
            # `open` enters before there is a connection and uses its own.
            yield self._connection  # type: ignore[misc]
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def _read_revision(self) -> int:
        return int(self._scalar("SELECT revision FROM store"))

    def _check(self) -> None:
        application = self._scalar("PRAGMA application_id")
        tables = self._scalar("SELECT count(*) FROM sqlite_schema")
        if application != APPLICATION_ID and tables:
            message = f"state file {self.path} belongs to another program; move it away or set another state folder"
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="state_sqlite.foreign")
        version = self._scalar("PRAGMA user_version")
        if version > len(MIGRATIONS):
            message = (
                f"state file {self.path} was written by a newer release (layout {version}, this release knows "
                f"{len(MIGRATIONS)}); install that release, or restore a backup made by this one"
            )
            raise NanoError(ErrorCode.UNAVAILABLE, message, reason="state_sqlite.newer")
        found = self._scalar("PRAGMA quick_check(1)")
        if found != "ok":
            raise translate(_damaged(found), self.path)

    def _migrate(self) -> None:
        for number in range(self._scalar("PRAGMA user_version") + 1, len(MIGRATIONS) + 1):
            connection = self._connection
            assert connection is not None  # noqa: S101  `open` has just made it
            connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[number - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")

    def _scalar(self, statement: str) -> Any:  # noqa: ANN401  a number or a text, as the statement has it
        assert self._connection is not None  # noqa: S101  callers run after `open` connected
        return self._connection.execute(statement).fetchone()[0]


def _damaged(found: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(found)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
