"""The file's layout, as numbered steps; ``PRAGMA user_version`` is the number of the last one applied."""

from __future__ import annotations

APPLICATION_ID = 0x4E414E4F
"""``NANO`` in ASCII: ``file`` and other programs tell our files from others' by it."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        (
            "CREATE TABLE record (collection TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL,"
            " value BLOB NOT NULL, PRIMARY KEY (collection, key)) WITHOUT ROWID"
        ),
        "CREATE TABLE store (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), revision INTEGER NOT NULL)",
        "INSERT INTO store VALUES (1, 0)",
    ),
)
"""Migration N is entry N - 1. Entries are appended, never changed: files of every release have to open."""
