"""The in-memory table behind a list: views with their JSON ready, filtered, sorted, paged, with a change feed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.contracts.selection import Pieces, Row, Rows, cursor_after, cut, matching
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json

FEED_LENGTH = 20_000
"""Changes that ``since_revision`` can reach back; older clients get a full list."""
SLICE_SECONDS = 0.002
"""So long ``answer`` holds the loop at a time."""


class View(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Return the object's id."""
        ...


V = TypeVar("V", bound=View)


class Table(Generic[V]):
    """Owned by the plugin that owns the noun. Revisions grow across restarts, as they start at the wall clock."""

    def __init__(self, noun: str, clock: Clock, on_change: Callable[[ResourceChanged], None]) -> None:
        self.noun = noun
        self._on_change = on_change
        self._rows: dict[str, Row[V]] = {}
        self._serial = 0
        self._start = self.revision = int(clock.now().timestamp() * 1_000_000)
        self._feed: deque[tuple[int, str]] = deque(maxlen=FEED_LENGTH)

    def put(self, view: V) -> bool:
        """Add or replace a view; return whether its JSON changed (an unchanged one is no change)."""
        encoded = encode_json(view)
        row = self._rows.get(view.id)
        if row is None:
            self._serial = serial = self._serial + 1
        elif row.json == encoded:
            row.view = view
            return False
        else:
            serial = row.serial
        self._note(view.id)
        self._rows[view.id] = Row(view, encoded, self.revision, serial)
        self._on_change(ResourceChanged(noun=self.noun, id=view.id, revision=self.revision))
        return True

    def delete(self, id: str) -> None:
        """Remove a view; an absent one is no change."""
        if self._rows.pop(id, None) is not None:
            self._note(id)
            self._on_change(ResourceChanged(noun=self.noun, id=id, revision=self.revision, is_deleted=True))

    def find(self, id: str) -> V | None:
        """Return the view with ``id`` or ``None``."""
        row = self._rows.get(id)
        return None if row is None else row.view

    def get(self, id: str) -> V:
        """Return the view with ``id``; raise ``not_found``."""
        row = self._rows.get(id)
        if row is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no {self.noun.removesuffix('s')} with id {id[:80]}")
        return row.view

    def reply(self, id: str) -> Reply[PageInfo]:
        """Return the ready JSON of one view as a page of one; raise ``not_found``."""
        self.get(id)
        row = self._rows[id]
        return Reply(PageInfo(total=1, revision=row.revision), (row.json,))

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self._rows)

    def views(self) -> Iterable[V]:
        """Return every view."""
        return [row.view for row in self._rows.values()]

    def page(self, query: ListQuery, *, where: Callable[[V], bool] | None = None) -> Reply[PageInfo]:
        """Answer a list at once; ``where`` hides what the actor must not see. Raises ``invalid_argument``.

        Without ``sort`` objects come in the order in which they were made. A cursor names the last object of its
        page, so objects that come or go meanwhile neither repeat nor hide others. Holds the loop for some ms where
        many rows are filtered or sorted: handlers use ``answer``.
        """
        pieces = self._answer(query, where)
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                reply: Reply[PageInfo] = end.value
                return reply

    async def answer(self, query: ListQuery, *, where: Callable[[V], bool] | None = None) -> Reply[PageInfo]:
        """As ``page``, letting others run every 2 ms; the answer is the list as it was when this was called."""
        pieces = self._answer(query, where)
        ends = time.perf_counter() + SLICE_SECONDS
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                reply: Reply[PageInfo] = end.value
                return reply
            if time.perf_counter() >= ends:
                await asyncio.sleep(0)
                ends = time.perf_counter() + SLICE_SECONDS

    def _answer(self, query: ListQuery, where: Callable[[V], bool] | None) -> Pieces[Reply[PageInfo]]:
        deleted: list[str] = []
        is_reset = False
        revision, count = self.revision, len(self._rows)
        is_plain = where is None and query.since_revision is None
        if is_plain and not (query.sort or query.cursor or query.filter or query.q):
            first = list(islice(self._rows.values(), query.limit))
            next_cursor = cursor_after(query, first[-1].serial) if count > len(first) else None
            return Reply(PageInfo(total=count, revision=revision, next_cursor=next_cursor), [row.json for row in first])
        rows: Rows[V] = list(self._rows.values())
        if query.since_revision is not None:
            changed = self._changed_since(query.since_revision)
            is_reset = changed is None
            if changed is not None:
                deleted = [key for key in changed if key not in self._rows]
                rows = sorted((self._rows[key] for key in changed if key in self._rows), key=_serial)
        if where is not None or query.filter or query.q:
            rows = yield from matching(rows, query, where)
        page, next_cursor = yield from cut(rows, query)
        info = PageInfo(total=len(rows), revision=revision, next_cursor=next_cursor, deleted=deleted, is_reset=is_reset)
        return Reply(info, [row.json for row in page])

    def _note(self, id: str) -> None:
        self.revision += 1
        self._feed.append((self.revision, id))

    def _changed_since(self, revision: int) -> list[str] | None:
        oldest = self._feed[0][0] - 1 if len(self._feed) == FEED_LENGTH else self._start
        if revision < oldest or revision > self.revision:
            return None
        changed: dict[str, None] = {}
        for at, id in reversed(self._feed):
            if at <= revision:
                break
            changed[id] = None
        return list(changed)


def _serial(row: Row[V]) -> int:
    return row.serial
