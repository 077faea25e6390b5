"""Which rows of a table a list query asks for, in which order, and which part of them: in small pieces of work.

A list of ten thousand rows takes longer to filter and sort than an event loop may be held. Each function here that
looks at many rows is a generator that yields after every piece; its result is its return value. ``Table`` runs them.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

from nanocore.contracts.listing import RELEVANCE, ListQuery
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct, decode_json, encode_json, structs

SortValue = tuple[int, float, str]
"""Kind of value (numbers, then texts, then nothing), number, text."""
SortKey = tuple[int, float, str, float]
"""The value a row is sorted by, and the row's serial number, which makes keys unique."""
T = TypeVar("T")
V = TypeVar("V")
Pieces = Generator[None, None, T]

PIECE = 256
"""Rows looked at between two yields: some tenths of a millisecond."""
REMEMBERED = 8
"""Paths by which one row remembers what it is sorted by; clients name the paths."""
LABELS = ("name", "username", "hostname", "id")
"""Fields that people know an object by."""
_SORTED_TEXT = 128
"""Characters by which texts are sorted, so that a cursor, which holds one, stays short."""
_KEYS = re.compile(rb'"[^"\\]*":')


class _Cursor(Struct, frozen=True, array_like=True):
    sort: str
    key: tuple[int, float, str, int]


class Row(Generic[V]):
    """One object: its view, its JSON, and what was once found out about it. A change makes a new row."""

    __slots__ = ("_keys", "_text", "json", "revision", "serial", "view")

    def __init__(self, view: V, encoded: bytes, revision: int, serial: int) -> None:
        self.view = view
        self.json = encoded
        self.revision = revision
        self.serial = serial
        """Counts the objects as they came; an object keeps it through its changes, so pages stay stable."""
        self._text: str | None = None
        self._keys: dict[str, SortValue] | None = None

    @property
    def text(self) -> str:
        """The values without the fields' names, for free text; made when first searched."""
        if self._text is None:
            self._text = _KEYS.sub(b" ", self.json).decode().casefold()
        return self._text

    def sort_value(self, path: str, parts: Sequence[str]) -> SortValue:
        """Return what the row is sorted by; ``parts`` is ``path``, split."""
        if self._keys is None:
            self._keys = {}
        found = self._keys.get(path)
        if found is None:
            value: Any = self.view
            for part in parts:
                value = _member(value, part)
            found = _sort_value(value)
            if len(self._keys) < REMEMBERED:
                self._keys[path] = found
        return found


Rows = list[Row[V]]


def matching(rows: Rows[V], query: ListQuery, where: Callable[[V], bool] | None) -> Pieces[Rows[V]]:
    """Return those of ``rows`` that the query's filters and words, and ``where``, let through."""
    tests: list[Callable[[Row[V]], bool]] = [] if where is None else [lambda row: where(row.view)]
    tests += [_field_test(path.split("."), frozenset(wanted.split(","))) for path, wanted in query.filter.items()]
    # As the word stands in JSON: a quote or a backslash in it is escaped there.
    needles = [encode_json(word)[1:-1].decode() for word in query.q.casefold().split()]
    for test in tests:
        kept: Rows[V] = []
        for piece in _pieces(rows):
            kept += [row for row in piece if test(row)]
            yield
        rows = kept
    for needle in needles:
        kept = []
        for piece in _pieces(rows):
            kept += [row for row in piece if needle in row.text]
            yield
        rows = kept
    return rows


def _field_test(parts: Sequence[str], alternatives: frozenset[str]) -> Callable[[Row[V]], bool]:
    return lambda row: not alternatives.isdisjoint(_texts(row.view, parts, 0))


def _pieces(rows: Rows[V]) -> Iterable[Rows[V]]:
    return (rows[start : start + PIECE] for start in range(0, len(rows), PIECE))


def cut(rows: Rows[V], query: ListQuery) -> Pieces[tuple[Rows[V], str | None]]:
    """Return the rows on the page and the cursor of the next one; ``rows`` come by serial number.

    Keeps no more than a page while it goes through the rows, so the whole is never sorted at once.
    """
    if not query.sort:
        return _cut_unsorted(rows, query)
    is_down = query.sort.startswith("-")
    value_of = _ranker(query.q) if query.sort == RELEVANCE else _reader(query.sort.removeprefix("-"))
    after = _after(query) if query.cursor else None
    best: list[tuple[int, float, str, int, Row[V]]] = []
    room = query.limit + 1
    for piece in _pieces(rows):
        # Serial numbers make the keys unique, so that rows themselves are never compared.
        keyed = [(*value_of(row), row.serial, row) for row in piece]
        if after is not None:
            keyed = [key for key in keyed if (key < after if is_down else key > after)]
        if len(best) == room:
            worst = best[-1]
            keyed = [key for key in keyed if (key > worst if is_down else key < worst)]
        best = sorted(best + keyed, reverse=is_down)[:room]
        yield
    page = best[: query.limit]
    next_cursor = _cursor(query, page[-1][:4]) if page and len(best) == room else None
    return [key[4] for key in page], next_cursor


def _cut_unsorted(rows: Rows[V], query: ListQuery) -> tuple[Rows[V], str | None]:
    first = bisect_right(rows, _after(query)[3], key=_serial) if query.cursor else 0
    page = rows[first : first + query.limit]
    is_end = first + query.limit >= len(rows) or not page
    return page, None if is_end else cursor_after(query, page[-1].serial)


def cursor_after(query: ListQuery, serial: int) -> str:
    """Return the cursor behind the row with ``serial`` in a list without ``sort``."""
    return _cursor(query, (2, 0.0, "", serial))


def _serial(row: Row[Any]) -> int:
    return row.serial


# -- values


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


# -- order


def _reader(path: str) -> Callable[[Row[Any]], SortValue]:
    parts = path.split(".")
    return lambda row: row.sort_value(path, parts)


def _ranker(q: str) -> Callable[[Row[Any]], SortValue]:
    """Return how well a row's name fits: all of it, its beginning, a part, another field; then by name."""
    wanted = q.casefold().strip()
    words = wanted.split()

    def rank(row: Row[Any]) -> SortValue:
        labels = [str(found).casefold() for label in LABELS if (found := _member(row.view, label))]
        place = 3.0
        for label in labels:
            if label == wanted:
                place = 0.0
            elif label.startswith(wanted):
                place = min(place, 1.0)
            elif all(word in label for word in words):
                place = min(place, 2.0)
        return (0, place, labels[0][:_SORTED_TEXT] if labels else "")

    return rank


def _sort_value(value: Any) -> SortValue:  # noqa: ANN401  whatever a view holds
    if isinstance(value, str):
        return (1, 0.0, value[:_SORTED_TEXT].casefold())
    if isinstance(value, int | float):
        return (0, float(value), "")
    if isinstance(value, datetime):
        return (0, value.timestamp(), "")
    return (2, 0.0, "")


def _cursor(query: ListQuery, key: tuple[int, float, str, int]) -> str:
    return base64.urlsafe_b64encode(encode_json(_Cursor(query.sort, key))).decode()


def _after(query: ListQuery) -> SortKey:
    """Return a key right behind the cursor's in the direction of the list; shorter than a row's, so never equal."""
    try:
        cursor = decode_json(base64.urlsafe_b64decode(query.cursor), _Cursor)
    except (ValueError, binascii.Error, NanoError) as error:
        message = "cursor is not one that a list returned; start without it"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="cursor") from error
    if cursor.sort != query.sort:
        message = f"cursor belongs to a list sorted by {cursor.sort or 'nothing'!r}; start without it"
        raise NanoError(ErrorCode.INVALID_ARGUMENT, message, field="cursor")
    kind, number, text, serial = cursor.key
    return (kind, number, text, serial if query.sort.startswith("-") else serial + 0.5)
