"""One search over everything that the API lists."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.wire import Meta, Query, Result, field

MAX_HITS = 200


class SearchHit(Result, frozen=True, kw_only=True):
    """An object that fits."""

    kind: str
    """What it is, in the words of the command line: ``disk-image``."""
    id: str
    name: str
    text: str
    """Where the search word was found, when not in the name: a field and its value."""
    path: str
    """Where the API shows it, below ``/api/v2``; its list where single objects are not shown."""


class SearchResult(Result, frozen=True, kw_only=True):
    """The best hits first."""

    items: list[SearchHit] = field(default_factory=list)
    total: int = 0
    """How many objects fit, more than shown perhaps."""
    unanswered: list[str] = field(default_factory=list)
    """Collections whose owner did not answer, so that hits may be missing."""


class ListHits(Query[SearchResult], frozen=True, kw_only=True):
    """Look for objects of every kind that the caller may read. Every word must occur in some field of the object."""

    op: ClassVar[str] = "search.list_hits"
    permission: ClassVar[str | None] = "search.read"

    q: Annotated[
        str, Meta(description="What to look for: words, a name, an address or an id", min_length=1, max_length=256)
    ]
    kind: Annotated[str, Meta(description="Only this kind, such as `instance`", max_length=64)] = ""
    limit: Annotated[int, Meta(description="At most so many hits", ge=1, le=MAX_HITS)] = 50
