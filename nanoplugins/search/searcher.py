"""Asks the owner of every list, as the caller, and puts the best hits first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanocore.capabilities.rest import Route
from nanocore.capabilities.search import ListHits, SearchHit, SearchResult
from nanocore.contracts.handler import Call
from nanocore.contracts.listing import RELEVANCE, ListQuery
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import decode_json, encode_json, structs

OWNER_SECONDS = 3.0
SHOWN = 120
"""Characters of a hit's text."""
HIDDEN = frozenset({ErrorCode.PERMISSION_DENIED, ErrorCode.UNAUTHENTICATED})
LABELS = ("name", "username", "hostname", "title")
"""Fields that people know an object by, the best first; else its id."""


@dataclass(frozen=True, slots=True)
class Noun:
    """One list of the API that can be searched."""

    collection: str
    route: Route
    has_items: bool
    """Whether the API shows single objects under their ids."""

    @property
    def kind(self) -> str:
        """Return the word for one of them."""
        if self.collection.endswith("ies"):
            return self.collection.removesuffix("ies") + "y"
        return self.collection.removesuffix("s")


class Searcher:
    """The handler. Any plugin's list joins in by its route: it is asked by its own message and permission."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._nouns: list[Noun] | None = None

    async def search(self, message: ListHits, call: Call) -> SearchResult:
        """Answer ``search.list_hits``."""
        if self._nouns is None:
            self._nouns = searchable(self._context.collected(Route))
        nouns = [noun for noun in self._nouns if message.kind in ("", noun.kind, noun.collection)]
        if not nouns:
            kinds = ", ".join(noun.kind for noun in self._nouns)
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"kind must be one of: {kinds}", field="kind")
        found = await asyncio.gather(*(self._ask(noun, message, call.credential) for noun in nouns))
        ranked = sorted(
            (hit for answer in found if answer is not None for hit in answer[1]),
            key=lambda hit: (rank(hit, message.q), hit.kind, hit.name.casefold(), hit.id),
        )
        return SearchResult(
            items=ranked[: message.limit],
            total=sum(answer[0] for answer in found if answer is not None),
            unanswered=[noun.collection for noun, answer in zip(nouns, found, strict=True) if answer is None],
        )

    async def _ask(self, noun: Noun, message: ListHits, credential: str) -> tuple[int, list[SearchHit]] | None:
        """Return how many fit and the best of them; nothing of what is hidden, ``None`` of who does not answer."""
        try:
            if issubclass(noun.route.message, ListQuery):
                query: Any = noun.route.message
                reply = await self._context.call_reply(
                    query(q=message.q, sort=RELEVANCE, limit=message.limit),
                    credential=credential,
                    timeout_seconds=OWNER_SECONDS,
                )
                total, items = reply.body.total, [decode_json(bytes(blob), dict[str, Any]) for blob in reply.blobs]
            else:
                answer = await self._context.call(
                    noun.route.message(), credential=credential, timeout_seconds=OWNER_SECONDS
                )
                items = [item for item in decode_json(encode_json(answer), list[Any]) if fits(item, message.q)]
                total = len(items)
        except NanoError as error:
            if error.code in HIDDEN:
                return 0, []
            self._context.log.warning("search.unanswered", noun=noun.collection, error=str(error))
            return None
        return total, [_hit(noun, item, message.q) for item in items[: message.limit]]


def searchable(routes: Mapping[str, Route]) -> list[Noun]:
    """Return every list among ``routes`` that can be asked without naming anything else, by collection."""
    found = []
    for route in routes.values():
        collection = route.path.strip("/")
        is_free = not any(info.required for info in structs.fields(route.message))
        if route.method == "GET" and route.is_list and "/" not in collection and is_free:
            found.append(Noun(collection, route, f"GET /{collection}/{{id}}" in routes))
    return sorted(found, key=lambda noun: noun.collection)


def fits(item: Mapping[str, Any], q: str) -> bool:
    """Return whether every word of ``q`` occurs in some value of ``item``."""
    values = [text.casefold() for _, text in _values(item, "")]
    return all(any(word in value for value in values) for word in q.casefold().split())


def rank(hit: SearchHit, q: str) -> int:
    """Return how good a hit is, 0 best: the whole name or id, its beginning, a part of the name, another field."""
    wanted, name = q.casefold().strip(), hit.name.casefold()
    if wanted in (name, hit.id):
        return 0
    if name.startswith(wanted) or hit.id.startswith(wanted):
        return 1
    return 2 if all(word in name for word in wanted.split()) else 3


def _hit(noun: Noun, item: Mapping[str, Any], q: str) -> SearchHit:
    id = str(item.get("id", item.get("name", "")))
    name = next((str(item[label]) for label in LABELS if item.get(label)), id)
    return SearchHit(
        kind=noun.kind,
        id=id,
        name=name,
        text=_where(item, name, q),
        path=f"/{noun.collection}/{id}" if noun.has_items else f"/{noun.collection}",
    )


def _where(item: Mapping[str, Any], name: str, q: str) -> str:
    words = [word for word in q.casefold().split() if word not in name.casefold()]
    for word in words:
        for path, text in _values(item, ""):
            if word in text.casefold():
                return f"{path}: {text}"[:SHOWN]
    description = item.get("description")
    return description[:SHOWN] if isinstance(description, str) else ""


def _values(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _values(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _values(inner, path)
    elif value is not None:
        yield path, str(value)
