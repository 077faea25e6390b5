"""The in-memory table behind a list: views with their JSON ready, filtered, sorted, paged, with a change feed."""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct, decode_json, encode_json, structs

FEED_LENGTH = 20_000
"""Changes that ``since_revision`` can reach back; older clients get a full list."""

SortKey = tuple[int, float, str, int]
"""Kind of value (numbers, then texts, then nothing), number, text, and the row's serial number."""

_SORTED_TEXT = 128
"""Characters by which texts are sorted, so that a cursor, which holds one, stays short."""
_KEYS = re.compile(rb'"[^"\\]*":')


class _Cursor(Struct, frozen=True, array_like=True):
    sort: str
    key: SortKey


class View(Protocol):
    """Anything with an id."""

    @property
    def id(self) -> str:
        """Return the object's id."""
        ...


V = TypeVar("V", bound=View)


class _Row(Generic[V]):
    __slots__ = ("_text", "json", "revision", "serial", "view")

    def __init__(self, view: V, encoded: bytes, revision: int, serial: int) -> None:
        self.view = view
        self.json = encoded
        self.revision = revision
        self.serial = serial
        """Counts the objects as they came; an object keeps it through its changes, so pages stay stable."""
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The values without the fields' names, for free text; made when first searched."""
        if self._text is None:
            self._text = _KEYS.sub(b" ", self.json).decode().casefold()
        return self._text


class Table(Generic[V]):
    """Owned by the plugin that owns the noun. Revisions grow across restarts, as they start at the wall clock."""

    def __init__(self, noun: str, clock: Clock, on_change: Callable[[ResourceChanged], None]) -> None:
        self.noun = noun
        self._on_change = on_change
        self._rows: dict[str, _Row[V]] = {}
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
        self._rows[view.id] = _Row(view, encoded, self.revision, serial)
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
        """Answer a list; ``where`` hides what the actor must not see. Raises ``invalid_argument``.

        Without ``sort`` objects come in the order in which they were made. A cursor names the last object of its
        page, so objects that come or go meanwhile neither repeat nor hide others.
        """
        deleted: list[str] = []
        is_reset = False
        rows: Iterable[_Row[V]] = self._rows.values()
        if query.since_revision is not None:
            changed = self._changed_since(query.since_revision)
            is_reset = changed is None
            if changed is not None:
                deleted = [key for key in changed if key not in self._rows]
                rows = sorted((self._rows[key] for key in changed if key in self._rows), key=_serial)
        if where is not None:
            rows = [row for row in rows if where(row.view)]
        rows = _filtered(rows, query)
        total, page, next_cursor = _cut(rows, query, len(self._rows))
        info = PageInfo(
            total=total, revision=self.revision, next_cursor=next_cursor, deleted=deleted, is_reset=is_reset
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
        for at, id in reversed(self._feed):
            if at <= revision:
                break
            changed[id] = None
        return list(changed)


# -- which rows


def _filtered(rows: Iterable[_Row[V]], query: ListQuery) -> Iterable[_Row[V]]:
    for path, wanted in query.filter.items():
        alternatives = frozenset(wanted.split(","))
        parts = path.split(".")
        rows = [row for row in rows if not alternatives.isdisjoint(_texts(row.view, parts, 0))]
    for word in query.q.casefold().split():
        # As the word stands in JSON: a quote or a backslash in it is escaped there.
        needle = encode_json(word)[1:-1].decode()
        rows = [row for row in rows if needle in row.text]
    return rows


def _texts(value: Any, parts: Sequence[str], at: int) -> Iterable[str]:  # noqa: ANN401  whatever a view holds
    """Return every value at the path as text; lists fan out, so ``tags`` finds any tag."""
    while at < len(parts) and not isinstance(value, list | tuple):
        value = _member(value, parts[at])
        at += 1
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item, parts, at)]
    return () if value is None else (_text(value),)


def _text(value: Any) -> str:  # noqa: ANN401  a scalar
    """Return a scalar as JSON shows it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _member(value: Any, name: str) -> Any:  # noqa: ANN401  as _texts
    kind: Any = type(value)
    attribute = _attribute(kind, name)
    if attribute is not None:
        return getattr(value, attribute)
    return value.get(name) if isinstance(value, dict) else None


@lru_cache(maxsize=1024)
def _attribute(kind: type[Any], name: str) -> str | None:
    """Return the attribute that JSON calls ``name``; clients name any path, so what is remembered is bounded."""
    if not issubclass(kind, Struct):
        return None
    return next((field.name for field in structs.fields(kind) if field.encode_name == name), None)


# -- in which order, and which part


def _cut(rows: Iterable[_Row[V]], query: ListQuery, at_most: int) -> tuple[int, list[_Row[V]], str | None]:
    """Return the number of ``rows``, those on the page, and the cursor of the next one."""
    if not query.sort and not query.cursor and not isinstance(rows, list):
        page = list(islice(rows, query.limit))
        return at_most, page, _cursor(query, (2, 0.0, "", page[-1].serial)) if at_most > len(page) else None
    value_of = _reader(query.sort.removeprefix("-").split(".")) if query.sort else _nothing
    # Serial numbers make the keys unique, so that rows themselves are never compared.
    keyed = sorted([(*_sort_value(value_of(row.view)), row.serial, row) for row in rows])
    if query.sort.startswith("-"):
        last = bisect_left(keyed, _after(query), key=_sort_key) if query.cursor else len(keyed)
        first = max(0, last - query.limit)
        cut = keyed[first:last][::-1]
        is_end = first == 0
    else:
        first = bisect_right(keyed, _after(query), key=_sort_key) if query.cursor else 0
        cut = keyed[first : first + query.limit]
        is_end = first + query.limit >= len(keyed)
    return len(keyed), [item[4] for item in cut], None if is_end or not cut else _cursor(query, _sort_key(cut[-1]))


def _reader(path: Sequence[str]) -> Callable[[Any], Any]:
    def read(view: Any) -> Any:  # noqa: ANN401  whatever a view holds
        for part in path:
            view = _member(view, part)
        return view

    return read


def _nothing(view: object) -> None:
    del view


def _sort_value(value: Any) -> tuple[int, float, str]:  # noqa: ANN401  whatever a view holds
    if isinstance(value, str):
        return (1, 0.0, value[:_SORTED_TEXT].casefold())
    if isinstance(value, int | float):
        return (0, float(value), "")
    if isinstance(value, datetime):
        return (0, value.timestamp(), "")
    return (2, 0.0, "")


def _sort_key(item: tuple[int, float, str, int, object]) -> SortKey:
    return item[:4]


def _serial(row: _Row[Any]) -> int:
    return row.serial


def _cursor(query: ListQuery, key: SortKey) -> str:
    return base64.urlsafe_b64encode(encode_json(_Cursor(query.sort, key))).decode()


def _after(query: ListQuery) -> SortKey:
    try:
        cursor = decode_json(base64.urlsafe_b64decode(query.cursor), _Cursor)
    except (ValueError, binascii.Error, NanoError) as error:
        message = "cursor is not one that a list returned; start without it"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="cursor") from error
    if cursor.sort != query.sort:
        message = f"cursor belongs to a list sorted by {cursor.sort or 'nothing'!r}; start without it"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="cursor")
    return cursor.key
