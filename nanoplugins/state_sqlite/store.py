"""The state store: commits are gathered on the loop, written by one thread, then applied to memory in order.

At any time at most one batch is at the writer. A batch is checked against memory when it is handed over, and
memory then holds exactly what the file holds, so a refused batch needs no repair: it just never happened.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from nanocore.contracts.state_store import Change, Collection, Delete, Entry, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct, decode, encode
from nanoplugins.state_sqlite.database import Database, PutRow
from nanoplugins.state_sqlite.records import IndexValues, Shelf

T = TypeVar("T", bound=Struct)

MAX_RECORD_BYTES = 16 * 1024 * 1024
_MAX_BATCH = 512
"""Commits in one transaction. Many writers thus fall into two groups, and the thread writes one while the loop answers
the other; it also bounds how long the loop is busy with one batch."""


@dataclass(slots=True)
class _Act:
    """One change of a commit, ready to write; ``body`` is ``None`` for a deletion."""

    shelf: Shelf
    key: str
    expect: int | None
    value: Struct | None
    body: bytes | None
    index_values: IndexValues


@dataclass(slots=True)
class _Commit:
    """A caller waiting for its changes."""

    acts: builtins.list[_Act]
    future: asyncio.Future[int]
    revision: int = 0


class SqliteStateStore:
    """``StateStore`` on one SQLite file. Used on one event loop; made by the plugin, opened by the kernel."""

    name = "sqlite"

    def __init__(self, path: Path, log: structlog.stdlib.BoundLogger) -> None:
        self.path = path
        self._log = log
        self._database = Database(path)
        self._shelves: dict[str, Shelf] = {}
        self._revision = 0
        self._waiting: builtins.list[_Commit] = []
        self._is_flush_scheduled = False
        self._idle: asyncio.Event | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._watchers: builtins.list[Callable[[Sequence[Change]], None]] = []

    async def open(self, collections: Sequence[Collection[Any]]) -> None:
        """Open, migrate and load. Raises ``unavailable`` naming the file and the remedy."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-sqlite")
        self._idle = asyncio.Event()
        self._idle.set()
        loop = asyncio.get_running_loop()
        try:
            self._revision, self._shelves = await loop.run_in_executor(self._thread, self._load, collections)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Wait for the commits under way, then close the file. Safe to call twice."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        while self._waiting or (self._idle is not None and not self._idle.is_set()):
            self._flush(thread)
            if self._idle is not None:
                await self._idle.wait()
        await asyncio.get_running_loop().run_in_executor(thread, self._database.close)
        thread.shutdown()

    @property
    def revision(self) -> int:
        """The revision of the last durable change."""
        return self._revision

    def get(self, collection: Collection[T], key: str) -> Entry[T] | None:
        """Return one record, from memory."""
        return self._shelf(collection).entries.get(key)

    def list(
        self, collection: Collection[T], *, index: str | None = None, value: str | None = None
    ) -> builtins.list[Entry[T]]:
        """Return all records, or those whose ``index`` has ``value``, from memory."""
        shelf = self._shelf(collection)
        return builtins.list(shelf.entries.values() if index is None else shelf.find(index, value))

    async def commit(self, *changes: Put | Delete) -> int:
        """Make all ``changes`` durable, or none; return the new revision.

        Raises ``conflict`` when an ``expect`` does not hold, ``unavailable`` when the disk refuses, and
        ``invalid_argument`` for a record that can't be stored. A caller that is cancelled doesn't take it back.
        """
        if self._thread is None:
            raise NanoError(ErrorCode.UNAVAILABLE, f"state file {self.path} is not open; the core is stopping")
        if not changes:
            return self._revision
        loop = asyncio.get_running_loop()
        commit = _Commit([self._act(change) for change in changes], loop.create_future())
        self._waiting.append(commit)
        if not self._is_flush_scheduled and self._idle is not None and self._idle.is_set():
            # Later in this turn of the loop, so that everybody who is ready now shares one transaction.
            self._is_flush_scheduled = True
            loop.call_soon(self._flush, self._thread)
        return await commit.future

    def watch(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Call ``callback`` on the loop after each commit, in order; return the function that ends it."""
        self._watchers.append(callback)

        def end() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return end

    # -- in the writer thread

    def _load(self, collections: Sequence[Collection[Any]]) -> tuple[int, dict[str, Shelf]]:
        revision = self._database.open()
        shelves = {collection.name: Shelf(collection) for collection in collections}
        for shelf in shelves.values():
            kind = shelf.collection.record
            for key, at, body in self._database.load(shelf.collection.name):
                try:
                    value = decode(body, kind)
                    shelf.put(Entry(key, value, at), shelf.index_values(value))
                except Exception as error:
                    message = (
                        f"state file {self.path}: record {key!r} of {shelf.collection.name} can't be read as "
                        f"{kind.__name__} ({error}); install the release that wrote it, or restore a backup"
                    )
                    raise NanoError(ErrorCode.UNAVAILABLE, message, reason="state_sqlite.record") from error
        return revision, shelves

    # -- on the loop

    def _shelf(self, collection: Collection[Any]) -> Shelf:
        shelf = self._shelves.get(collection.name)
        if shelf is None:
            message = f"collection {collection.name} was not named when the state store was opened (nano_collections)"
            raise NanoError(ErrorCode.INTERNAL, message)
        return shelf

    def _act(self, change: Put | Delete) -> _Act:
        shelf = self._shelf(change.collection)
        if isinstance(change, Delete):
            return _Act(shelf, change.key, change.expect, None, None, ())
        body = encode(change.value)
        if len(body) > MAX_RECORD_BYTES:
            message = (
                f"record {change.key!r} of {change.collection.name} has {len(body)} bytes; "
                f"at most {MAX_RECORD_BYTES} can be stored"
            )
            raise NanoError(ErrorCode.INVALID_ARGUMENT, message, reason="state_sqlite.too_big")
        return _Act(shelf, change.key, change.expect, change.value, body, shelf.index_values(change.value))

    def _flush(self, thread: ThreadPoolExecutor) -> None:
        self._is_flush_scheduled = False
        if self._idle is None or not self._idle.is_set() or not self._waiting:
            return
        taken, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        batch, rows = self._check(taken)
        if not batch:
            self._flush(thread)
            return
        self._idle.clear()
        puts: builtins.list[PutRow] = []
        deletes: builtins.list[tuple[str, str]] = []
        for (collection, key), (revision, body) in rows.items():
            if body is None:
                deletes.append((collection, key))
            else:
                puts.append((collection, key, revision, body))
        work = asyncio.get_running_loop().run_in_executor(
            thread, self._database.write, puts, deletes, batch[-1].revision
        )
        work.add_done_callback(partial(self._written, thread, batch))

    def _check(
        self, taken: Sequence[_Commit]
    ) -> tuple[builtins.list[_Commit], dict[tuple[str, str], tuple[int, bytes | None]]]:
        """Refuse commits whose expectation fails; return the others and the last state of every row they touch."""
        batch: builtins.list[_Commit] = []
        rows: dict[tuple[str, str], tuple[int, bytes | None]] = {}
        revision = self._revision
        for commit in taken:
            broken = next((act for act in commit.acts if not _holds(act, rows)), None)
            if broken is not None:
                _refuse(commit, _conflict(broken))
                continue
            revision += 1
            commit.revision = revision
            for act in commit.acts:
                rows[act.shelf.collection.name, act.key] = (revision, act.body)
            batch.append(commit)
        return batch, rows

    def _written(self, thread: ThreadPoolExecutor, batch: builtins.list[_Commit], done: asyncio.Future[None]) -> None:
        error = done.exception()
        if error is None:
            for commit in batch:
                self._apply(commit)
        if self._idle is not None:
            self._idle.set()
        if self._waiting:
            # The thread writes on while the loop answers.
            self._flush(thread)
        if error is not None:
            self._log.error("state not written", file=str(self.path), commits=len(batch), error=str(error))
        for commit in batch:
            if error is not None:
                _refuse(commit, _copy(error))
                continue
            self._tell(commit)
            if not commit.future.done():
                commit.future.set_result(commit.revision)
        if not self._is_flush_scheduled:
            # After the callers just answered have had their turn: what they commit next shares a batch.
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush, thread)

    def _apply(self, commit: _Commit) -> None:
        revision = self._revision = commit.revision
        for act in commit.acts:
            if act.value is None:
                act.shelf.delete(act.key)
            else:
                act.shelf.put(Entry(act.key, act.value, revision), act.index_values)

    def _tell(self, commit: _Commit) -> None:
        if not self._watchers:
            return
        changes = [Change(act.shelf.collection.name, act.key, act.value, commit.revision) for act in commit.acts]
        for watcher in tuple(self._watchers):
            try:
                watcher(changes)
            except Exception:  # noqa: BLE001  the watcher is somebody else's code
                # A watcher's mistake must neither lose the acknowledgement nor starve the next watcher.
                self._log.exception("state watcher failed", watcher=repr(watcher))


def _holds(act: _Act, rows: dict[tuple[str, str], tuple[int, bytes | None]]) -> bool:
    if act.expect is None:
        return True
    pending = rows.get((act.shelf.collection.name, act.key))
    if pending is None:
        return act.shelf.revision(act.key) == act.expect
    revision, body = pending
    return (0 if body is None else revision) == act.expect


def _conflict(act: _Act) -> NanoError:
    name = f"{act.shelf.collection.name} {act.key}"
    message = f"{name} already exists" if act.expect == 0 else f"{name} was changed by somebody else; read it again"
    return NanoError(ErrorCode.CONFLICT, message, reason="state_store.revision")


def _refuse(commit: _Commit, error: Exception) -> None:
    if not commit.future.done():
        commit.future.set_exception(error)


def _copy(error: BaseException) -> NanoError:
    """Return an exception for one caller: one object raised in many tasks would gather all their tracebacks."""
    if isinstance(error, NanoError):
        return NanoError(error.code, error.message, reason=error.reason, **error.details)
    return NanoError(ErrorCode.INTERNAL, f"the state store failed: {error}", reason="state_sqlite.bug")
