"""A state store that keeps nothing: the same transactions, revisions and feed, in memory only."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from nanocore.contracts.state_store import Change, Collection, Delete, Entry, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct, decode, encode

T = TypeVar("T", bound=Struct)


class MemoryStore:
    """A ``contracts.StateStore`` for tests. While ``fails``, commits raise ``unavailable``, as with a full disk."""

    name = "memory"

    def __init__(self) -> None:
        self.fails = False
        self._collections: dict[str, Collection[Any]] = {}
        self._records: dict[str, dict[str, Entry[Any]]] = {}
        self._watchers: list[Callable[[Sequence[Change]], None]] = []
        self._revision = 0

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """Take the collections; records of an earlier opening are still there."""
        for collection in collections:
            self._collections[collection.name] = collection
            self._records.setdefault(collection.name, {})

    async def close(self) -> None:
        """Forget the watchers."""
        self._watchers.clear()

    @property
    def revision(self) -> int:
        """The revision of the last change."""
        return self._revision

    def get(self, collection: Collection[T], key: str) -> Entry[T] | None:
        """Return one record."""
        return cast("Entry[T] | None", self._table(collection).get(key))

    def list(
        self, collection: Collection[T], *, index: str | None = None, value: str | None = None
    ) -> builtins.list[Entry[T]]:
        """Return all records, or those whose ``index`` has ``value``."""
        entries = cast("list[Entry[T]]", [*self._table(collection).values()])
        if index is None:
            return entries
        find = dict(collection.indexes)[index]
        return [entry for entry in entries if find(entry.value) == value and value is not None]

    async def commit(self, *changes: Put | Delete) -> int:
        """Apply all ``changes`` or none."""
        if self.fails:
            raise NanoError(ErrorCode.UNAVAILABLE, "the store can't write: no space left on device")
        for change in changes:
            entry = self._table(change.collection).get(change.key)
            if change.expect is not None and change.expect != (entry.revision if entry is not None else 0):
                text = f"{change.collection.name} {change.key} was changed meanwhile; read it again"
                raise NanoError(ErrorCode.CONFLICT, text)
        self._revision += 1
        told = [self._apply(change) for change in changes]
        for watcher in [*self._watchers]:
            watcher(told)
        return self._revision

    def _apply(self, change: Put | Delete) -> Change:
        table = self._table(change.collection)
        if isinstance(change, Delete):
            table.pop(change.key, None)
            return Change(change.collection.name, change.key, None, self._revision)
        # Through the codec, as a record that can't be written must not pass here either.
        value = decode(encode(change.value), change.collection.record)
        table[change.key] = Entry(change.key, value, self._revision)
        return Change(change.collection.name, change.key, value, self._revision)

    def watch(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` after each commit."""
        self._watchers.append(callback)

        def end() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return end

    def _table(self, collection: Collection[Any]) -> dict[str, Entry[Any]]:
        if collection.name not in self._records:
            raise NanoError(ErrorCode.INTERNAL, f"collection {collection.name} was not named when the store was opened")
        return self._records[collection.name]
