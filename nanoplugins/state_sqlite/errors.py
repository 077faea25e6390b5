"""What SQLite's error codes mean to Nano: the only place that looks at them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError

_FULL = "the disk is full: free space in its folder; nothing was changed"
_IO = "the disk reports an input/output error: look at the system log and check the disk"
_READ_ONLY = "it can't be written: check the owner and mode of the file and its folder, and how the disk is mounted"
_IN_USE = "another process uses it: only one core may run on one state folder"
_DAMAGED = (
    "it is damaged: stop the core, move the file away (with its -wal file), then restore a backup, "
    "or save what can be read by `sqlite3 FILE .recover`"
)
_BUG = "SQLite refused a statement of ours; please report this"

MEANINGS: dict[int, tuple[ErrorCode, str, str]] = {
    sqlite3.SQLITE_FULL: (ErrorCode.UNAVAILABLE, "full", _FULL),
    sqlite3.SQLITE_IOERR: (ErrorCode.UNAVAILABLE, "io", _IO),
    sqlite3.SQLITE_NOMEM: (ErrorCode.UNAVAILABLE, "memory", "there is not enough memory; nothing was changed"),
    sqlite3.SQLITE_READONLY: (ErrorCode.UNAVAILABLE, "read_only", _READ_ONLY),
    sqlite3.SQLITE_PERM: (ErrorCode.UNAVAILABLE, "read_only", _READ_ONLY),
    sqlite3.SQLITE_AUTH: (ErrorCode.UNAVAILABLE, "read_only", _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (ErrorCode.UNAVAILABLE, "read_only", _READ_ONLY),
    sqlite3.SQLITE_BUSY: (ErrorCode.UNAVAILABLE, "in_use", _IN_USE),
    sqlite3.SQLITE_LOCKED: (ErrorCode.UNAVAILABLE, "in_use", _IN_USE),
    sqlite3.SQLITE_PROTOCOL: (ErrorCode.UNAVAILABLE, "in_use", _IN_USE),
    sqlite3.SQLITE_CORRUPT: (ErrorCode.UNAVAILABLE, "damaged", _DAMAGED),
    sqlite3.SQLITE_NOTADB: (ErrorCode.UNAVAILABLE, "damaged", _DAMAGED),
    sqlite3.SQLITE_FORMAT: (ErrorCode.UNAVAILABLE, "damaged", _DAMAGED),
    sqlite3.SQLITE_NOLFS: (ErrorCode.UNAVAILABLE, "full", "the file system can't hold a file of this size"),
    sqlite3.SQLITE_TOOBIG: (ErrorCode.INVALID_ARGUMENT, "too_big", "a record is too big"),
    sqlite3.SQLITE_INTERRUPT: (ErrorCode.UNAVAILABLE, "interrupted", "the write was interrupted; nothing was changed"),
    sqlite3.SQLITE_ABORT: (ErrorCode.UNAVAILABLE, "interrupted", "the write was aborted; nothing was changed"),
}
"""Primary code to error code, reason and remedy. A code that isn't here means a mistake in this plugin."""

OURS = frozenset(
    {
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_NOTFOUND,
        sqlite3.SQLITE_EMPTY,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
    }
)
"""Codes that no state of disk or file explains."""


def translate(error: sqlite3.Error, path: Path) -> NanoError:
    """Return what ``error``, met while using the file ``path``, means; the message names the file and a remedy."""
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    code, reason, remedy = MEANINGS.get(primary, (ErrorCode.INTERNAL, "statement", _BUG))
    return NanoError(code, f"state file {path}: {remedy} ({error})", reason=f"state_sqlite.{reason}")
