"""The in-memory table behind a list: views with their JSON ready, filtered, sorted, paged, with a change feed."""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import encode_json

FEED_LENGTH = 20_000
"""Changes that ``since_revision`` can reach back; older clients get a full list."""


class View(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Return the object's id."""
        ...


V = TypeVar("V", bound=View)


class _Row(Generic[V]):
    __slots__ = ("_plain", "json", "revision", "view")

    def __init__(self, view: V, encoded: bytes, revision: int) -> None:
        self.view = view
        self.json = encoded
        self.revision = revision
        self._plain: dict[str, Any] | None = None

    @property
    def plain(self) -> dict[str, Any]:
        if self._plain is None:
            self._plain = json.loads(self.json)
        return self._plain


class Table(Generic[V]):
    """Owned by the plugin that owns the noun. Revisions grow across restarts, as they start at the wall clock."""

    def __init__(self, noun: str, clock: Clock, on_change: Callable[[ResourceChanged], None]) -> None:
        self.noun = noun
        self._on_change = on_change
        self._rows: dict[str, _Row[V]] = {}
        self._start = self.revision = int(clock.now().timestamp() * 1_000_000)
        self._feed: deque[tuple[int, str]] = deque(maxlen=FEED_LENGTH)

    def put(self, view: V) -> bool:
        """Add or replace a view; return whether its JSON changed (an unchanged one is no change)."""
        encoded = encode_json(view)
        row = self._rows.get(view.id)
        if row is not None and row.json == encoded:
            row.view = view
            return False
        self._note(view.id)
        self._rows[view.id] = _Row(view, encoded, self.revision)
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
        """Answer a list; ``where`` hides what the actor must not see. Raises ``invalid_argument``."""
        deleted: list[str] = []
        is_reset = False
        ids: Iterable[str] = self._rows
        if query.since_revision is not None:
            changed = self._changed_since(query.since_revision)
            is_reset = changed is None
            if changed is not None:
                deleted = [key for key in changed if key not in self._rows]
                ids = [key for key in changed if key in self._rows]
        rows = [self._rows[key] for key in ids]
        if where is not None:
            rows = [row for row in rows if where(row.view)]
        rows = _filtered(rows, query)
        _sort(rows, query.sort)
        first = _decode_cursor(query.cursor)
        page = rows[first : first + query.limit]
        last = first + len(page)
        info = PageInfo(
            total=len(rows),
            revision=self.revision,
            next_cursor=_encode_cursor(last) if last < len(rows) else None,
            deleted=deleted,
            is_reset=is_reset,
        )
        return Reply(info, [row.json for row in page])

    def _note(self, id: str) -> None:
        self.revision += 1
        self._feed.append((self.revision, id))

    def _changed_since(self, revision: int) -> list[str] | None:
        oldest = self._feed[0][0] - 1 if len(self._feed) == FEED_LENGTH else self._start
        if revision < oldest or revision > self.revision:
            return None
        changed: dict[str, None] = {}
        for at, id in reversed(self._feed):  # noqa: A001
            if at <= revision:
                break
            changed[id] = None
        return list(changed)


def _filtered(rows: list[_Row[V]], query: ListQuery) -> list[_Row[V]]:
    for path, wanted in query.filter.items():
        alternatives = set(wanted.split(","))
        parts = path.split(".")
        rows = [row for row in rows if _texts(row.plain, parts) & alternatives]
    for word in query.q.casefold().split():
        needle = word.encode()
        rows = [row for row in rows if needle in row.json.lower() or word in row.json.decode().casefold()]
    return rows


def _texts(value: Any, parts: list[str]) -> set[str]:  # noqa: ANN401  JSON
    """Return every value at the path as text; lists fan out, so ``tags`` finds any tag."""
    for index, part in enumerate(parts):
        if isinstance(value, list):
            return {text for item in value for text in _texts(item, parts[index:])}
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, list):
        return {text for item in value for text in _texts(item, [])}
    if isinstance(value, bool):
        return {"true" if value else "false"}
    return set() if value is None else {str(value)}


def _sort(rows: list[_Row[V]], sort: str) -> None:
    if not sort:
        return
    parts = sort.removeprefix("-").split(".")

    def sort_key(row: _Row[V]) -> tuple[int, float, str]:
        value: Any = row.plain
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, bool | int | float):
            return (0, float(value), "")
        return (1, 0.0, str(value).casefold()) if isinstance(value, str) else (2, 0.0, "")

    rows.sort(key=sort_key, reverse=sort.startswith("-"))


def _encode_cursor(position: int) -> str:
    return base64.urlsafe_b64encode(str(position).encode()).decode()


def _decode_cursor(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        return max(0, int(base64.urlsafe_b64decode(cursor)))
    except (ValueError, binascii.Error) as error:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, "cursor is not one that a list returned; start without it", field="cursor"
        ) from error
