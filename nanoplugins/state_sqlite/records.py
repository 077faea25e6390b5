"""The records in memory with their indexes: what reads are answered from. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanocore.contracts.state_store import Collection, Entry
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct

IndexValues = tuple[str | None, ...]


class Shelf:
    """The records of one collection."""

    def __init__(self, collection: Collection[Any]) -> None:
        self.collection = collection
        self.entries: dict[str, Entry[Any]] = {}
        self._functions = [function for _, function in collection.indexes]
        self._indexes: list[dict[str, dict[str, Entry[Any]]]] = [{} for _ in collection.indexes]
        self._names = {name: position for position, (name, _) in enumerate(collection.indexes)}

    def index_values(self, value: Struct) -> IndexValues:
        """Return what ``value`` will be found by; raises whatever an index function raises."""
        return tuple([function(value) for function in self._functions])

    def put(self, entry: Entry[Any], values: IndexValues) -> None:
        """Add or replace a record."""
        old = self.entries.get(entry.key)
        if old is not None and self._functions:
            self._drop(old)
        self.entries[entry.key] = entry
        for index, value in zip(self._indexes, values, strict=True):
            if value is not None:
                index.setdefault(value, {})[entry.key] = entry

    def delete(self, key: str) -> bool:
        """Remove a record; return whether it was there."""
        old = self.entries.pop(key, None)
        if old is None:
            return False
        self._drop(old)
        return True

    def revision(self, key: str) -> int:
        """Return the revision of a record, 0 if it is absent."""
        entry = self.entries.get(key)
        return 0 if entry is None else entry.revision

    def find(self, index: str, value: str | None) -> Sequence[Entry[Any]]:
        """Return the records whose ``index`` has ``value``."""
        position = self._names.get(index)
        if position is None:
            known = ", ".join(self._names) or "none"
            message = f"collection {self.collection.name} has no index {index!r}; it has: {known}"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, message)
        return list(self._indexes[position].get(value, {}).values()) if value is not None else []

    def _drop(self, old: Entry[Any]) -> None:
        for index, value in zip(self._indexes, self.index_values(old.value), strict=True):
            if value is not None:
                found = index[value]
                del found[old.key]
                if not found:
                    del index[value]
