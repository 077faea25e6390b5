"""Lists: one query shape, one page shape, and the in-memory table that answers them.

A plugin that owns a noun keeps a ``Table`` of it: the current views, each with its JSON ready, filtered and
sorted on request, with a bounded feed of changes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.wire import Event, Meta, Result, Struct, field

MAX_LIMIT = 1000
RELEVANCE = "relevance"
"""A ``sort`` beside the fields: best matches of ``q`` first, by the object's name or id."""


class ListQuery(Struct, frozen=True, kw_only=True):
    """Mixed into every list query."""

    limit: Annotated[int, Meta(description="Items on a page", ge=1, le=MAX_LIMIT)] = 100
    cursor: Annotated[str, Meta(description="Where to go on: `next_cursor` of the page before", max_length=1024)] = ""
    sort: Annotated[
        str,
        Meta(
            description="Field to sort by; a leading `-` turns the order round; `relevance`: best first", max_length=64
        ),
    ] = ""
    q: Annotated[str, Meta(description="Free text: every word must occur in some field", max_length=256)] = ""
    filter: Annotated[
        dict[str, str], Meta(description="Field (dotted path) to wanted value; commas separate alternatives")
    ] = field(default_factory=dict)
    since_revision: Annotated[
        int | None, Meta(description="Only what changed after this revision, deletions as tombstones")
    ] = None


class PageInfo(Result, frozen=True, kw_only=True):
    """The page without its items, which follow as one blob each: ready JSON.

    ``deleted`` are ids of tombstones (only with ``since_revision``); ``is_reset`` says that the feed no longer
    reaches back to ``since_revision``, and that the page is a full list.
    """

    total: int
    revision: int
    next_cursor: str | None = None
    deleted: list[str] = field(default_factory=list)
    is_reset: bool = False


class ResourceChanged(Event, frozen=True, kw_only=True):
    """An object of the API was made, changed or deleted; published by the owner of the noun."""

    op: ClassVar[str] = "resource.changed"

    noun: str
    """The collection's name in REST: ``instances``."""
    id: str
    revision: int
    is_deleted: bool = False
