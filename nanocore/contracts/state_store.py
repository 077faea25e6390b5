"""Durable records of the core: compare-and-set transactions, a change feed, reads from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from nanocore.wire import Struct

T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class Collection(Generic[T]):
    """A named set of records of one type; ``indexes`` map an index's name to a function of the record.

    An index function returns the value to find the record by, or ``None`` to leave it out.
    """

    name: str
    record: type[T]
    indexes: tuple[tuple[str, Callable[[T], str | None]], ...] = ()


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """One record with the store revision at which it last changed."""

    key: str
    value: T
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write a record. ``expect``: ``None`` always, 0 only if absent, N only if its revision is still N."""

    collection: Collection[Any]
    key: str
    value: Struct
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record, which may be absent unless ``expect`` says otherwise."""

    collection: Collection[Any]
    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the change feed; ``value`` is ``None`` for a deletion."""

    collection: str
    key: str
    value: Struct | None
    revision: int


class StateStore(Protocol):
    """Chosen by configuration (``[kernel] state_store``). Nothing may assume that one process or machine owns it."""

    name: str

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """Open, migrate and load; every collection that will be used is named. Raises ``unavailable``."""
        ...

    async def close(self) -> None:
        """Write what is acknowledged, then close."""
        ...

    @property
    def revision(self) -> int:
        """The revision of the last durable change."""
        ...

    def get(self, collection: Collection[T], key: str) -> Entry[T] | None:
        """Return one record, from memory."""
        ...

    def list(self, collection: Collection[T], *, index: str | None = None, value: str | None = None) -> list[Entry[T]]:
        """Return all records, or those whose ``index`` has ``value``, in no order, from memory."""
        ...

    async def commit(self, *changes: Put | Delete) -> int:
        """Make all ``changes`` durable, or none; return the new revision.

        Raises ``conflict`` when an ``expect`` does not hold and ``unavailable`` when the disk refuses.
        """
        ...

    def watch(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` on the loop after each commit, in order; return the function that ends it."""
        ...
