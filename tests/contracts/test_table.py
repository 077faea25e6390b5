"""The table behind a list: contents, pages, order, filters, text, the change feed, and speed by counting work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanocore.clock import SystemClock
from nanocore.contracts import selection
from nanocore.contracts import table as table_module
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Result, decode_json, encode_json, field

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Owner(Result, frozen=True, kw_only=True):
    name: str
    is_admin: bool = False


class Thing(Result, frozen=True, kw_only=True):
    id: str
    name: str = ""
    size: int = 0
    weight: float | None = None
    colour: Colour = Colour.RED
    owner: Owner | None = None
    tags: list[str] = field(default_factory=list)
    parts: list[Owner] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    from_: str = field(default="", name="from")
    created_at: datetime = NOW


class World:
    def __init__(self, *things: Thing) -> None:
        self.events: list[ResourceChanged] = []
        self.table: Table[Thing] = Table("things", SystemClock(), self.events.append)
        for thing in things:
            self.table.put(thing)

    def page(self, **query: Any) -> tuple[PageInfo, list[str]]:
        reply = self.table.page(ListQuery(**query))
        return reply.body, [decode_json(bytes(blob), Thing).id for blob in reply.blobs]

    def ids(self, **query: Any) -> list[str]:
        return self.page(**query)[1]

    def all_pages(self, **query: Any) -> list[str]:
        info, ids = self.page(**query)
        while info.next_cursor:
            info, more = self.page(**query, cursor=info.next_cursor)
            assert more
            ids += more
        return ids


def test_put_find_get_delete() -> None:
    world = World()
    thing = Thing(id="1", name="a")
    assert world.table.put(thing)
    assert not world.table.put(Thing(id="1", name="a"))
    assert world.table.put(Thing(id="1", name="b"))
    assert world.table.get("1").name == "b"
    assert world.table.find("2") is None
    assert len(world.table) == 1
    assert [view.name for view in world.table.views()] == ["b"]
    with pytest.raises(NanoError, match="there is no thing with id 2") as caught:
        world.table.get("2")
    assert caught.value.code is ErrorCode.NOT_FOUND
    world.table.delete("2")
    world.table.delete("1")
    assert len(world.table) == 0
    assert [(event.id, event.is_deleted) for event in world.events] == [("1", False), ("1", False), ("1", True)]
    assert [event.revision for event in world.events] == sorted({event.revision for event in world.events})


def test_reply_is_a_page_of_one_with_its_own_revision() -> None:
    world = World(Thing(id="1"), Thing(id="2"))
    reply = world.table.reply("1")
    assert (reply.body.total, list(reply.blobs)) == (1, [encode_json(Thing(id="1"))])
    assert reply.body.revision == world.table.revision - 1
    with pytest.raises(NanoError):
        world.table.reply("3")


def test_revisions_grow_across_restarts() -> None:
    first = World(*(Thing(id=str(n)) for n in range(100)))
    assert World().table.revision > first.table.revision - 100


def test_order_by_making_by_number_by_text_by_time_and_back() -> None:
    world = World(
        Thing(id="1", name="beta", size=10, weight=0.5, created_at=NOW + timedelta(microseconds=5)),
        Thing(id="2", name="Alpha", size=9, created_at=NOW),
        Thing(id="3", name="gamma", size=100, weight=0.25, owner=Owner(name="zoe"), created_at=NOW + timedelta(days=1)),
    )
    assert world.ids() == ["1", "2", "3"]
    assert world.ids(sort="name") == ["2", "1", "3"]
    assert world.ids(sort="-name") == ["3", "1", "2"]
    assert world.ids(sort="size") == ["2", "1", "3"]
    assert world.ids(sort="weight") == ["3", "1", "2"]
    assert world.ids(sort="created_at") == ["2", "1", "3"]
    assert world.ids(sort="-created_at") == ["3", "1", "2"]
    assert world.ids(sort="owner.name") == ["3", "1", "2"]
    assert world.ids(sort="nothing.like.it") == ["1", "2", "3"]
    world.table.put(Thing(id="1", name="omega"))
    assert world.ids() == ["1", "2", "3"]
    assert world.ids(sort="name") == ["2", "3", "1"]


def test_filters() -> None:
    world = World(
        Thing(id="1", name="a", tags=["x", "y"], owner=Owner(name="ann", is_admin=True), labels={"rack": "7"}),
        Thing(id="2", name="b", tags=["y"], colour=Colour.BLUE, parts=[Owner(name="bob"), Owner(name="ann")]),
        Thing(id="3", name="c", size=5, from_="there"),
    )
    assert world.ids(filter={"tags": "y"}) == ["1", "2"]
    assert world.ids(filter={"tags": "x,nothing"}) == ["1"]
    assert world.ids(filter={"name": "a,c"}) == ["1", "3"]
    assert world.ids(filter={"colour": "red", "tags": "y"}) == ["1"]
    assert world.ids(filter={"owner.is_admin": "true"}) == ["1"]
    assert world.ids(filter={"owner.name": "bob"}) == []
    assert world.ids(filter={"parts.name": "ann"}) == ["2"]
    assert world.ids(filter={"labels.rack": "7"}) == ["1"]
    assert world.ids(filter={"size": "5"}) == ["3"]
    assert world.ids(filter={"from": "there"}) == ["3"]
    assert world.ids(filter={"created_at": "2026-01-01T00:00:00Z"}) == ["1", "2", "3"]
    assert world.ids(filter={"absent": "x"}) == []
    assert world.page(filter={"tags": "y"}, limit=1)[0].total == 2


def test_free_text_looks_at_values_not_at_names_of_fields() -> None:
    world = World(
        Thing(id="1", name="Größe", tags=["Web Front"]),
        Thing(id="2", name='say "hi"', owner=Owner(name="ann")),
        Thing(id="3", name="back\\slash", size=4711),
    )
    assert world.ids(q="GRÖSSE") == ["1"]
    assert world.ids(q="front WEB") == ["1"]
    assert world.ids(q='"hi"') == ["2"]
    assert world.ids(q="k\\s") == ["3"]
    assert world.ids(q="4711") == ["3"]
    for name in ("owner", "is_admin", "created_at", "tags"):
        assert world.ids(q=name) == []


def test_where_hides() -> None:
    world = World(*(Thing(id=str(n), size=n) for n in range(10)))
    reply = world.table.page(ListQuery(limit=3), where=lambda thing: thing.size % 2 == 0)
    assert reply.body.total == 5
    assert [decode_json(bytes(blob), Thing).size for blob in reply.blobs] == [0, 2, 4]


@pytest.mark.parametrize("sort", ["", "name", "-name", "size", "-size"])
def test_pages_neither_repeat_nor_hide_while_things_change(sort: str) -> None:
    world = World(*(Thing(id=f"{n:03}", name=f"n{n % 7}", size=n // 3) for n in range(100)))
    kept = {f"{n:03}" for n in range(100) if n % 10}
    info, seen = world.page(sort=sort, limit=9)
    turn = 0
    while info.next_cursor:
        for gone in [f"{n:03}" for n in range(0, 100, 10)][turn : turn + 1]:
            world.table.delete(gone)
        world.table.put(Thing(id=f"new{turn}", name=f"n{turn % 7}", size=turn))
        turn += 1
        info, more = world.page(sort=sort, limit=9, cursor=info.next_cursor)
        seen += more
    assert len(seen) == len(set(seen))
    assert kept <= set(seen)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.text(max_size=3), st.one_of(st.none(), st.floats(-5, 5)))),
    st.sampled_from(["", "name", "-name", "weight", "-weight", "size", "-id", "tags"]),
    st.integers(1, 7),
)
def test_pages_together_are_the_whole_sorted_list(
    things: list[tuple[int, str, float | None]], sort: str, limit: int
) -> None:
    world = World(*(Thing(id=str(n), name=name, weight=weight, size=n % 3) for n, name, weight in things))
    whole = world.ids(sort=sort, limit=1000)
    assert world.all_pages(sort=sort, limit=limit) == whole
    assert sorted(whole) == sorted({str(n) for n, _, _ in things})
    if sort.startswith("-"):
        assert world.ids(sort=sort[1:], limit=1000) == whole[::-1]


@pytest.mark.parametrize("cursor", ["x", "!!!", "WzFd", "é", "bm90IGpzb24="])
def test_a_strange_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(NanoError) as caught:
        World(Thing(id="1")).page(cursor=cursor)
    assert (caught.value.code, caught.value.details["field"]) == (ErrorCode.INVALID_ARGUMENT, "cursor")


def test_a_cursor_of_another_order_is_refused() -> None:
    world = World(*(Thing(id=str(n)) for n in range(5)))
    cursor = world.page(limit=2, sort="name")[0].next_cursor
    with pytest.raises(NanoError, match="sorted by 'name'"):
        world.page(limit=2, sort="-name", cursor=cursor)


def test_since_revision_gives_changes_and_tombstones() -> None:
    world = World(Thing(id="1"), Thing(id="2"), Thing(id="3"))
    revision = world.table.revision
    assert world.page(since_revision=revision)[1] == []
    world.table.put(Thing(id="2", name="changed"))
    world.table.delete("3")
    world.table.put(Thing(id="4"))
    world.table.put(Thing(id="5"))
    world.table.delete("5")
    info, ids = world.page(since_revision=revision)
    assert (ids, sorted(info.deleted), info.is_reset) == (["2", "4"], ["3", "5"], False)
    assert world.page(since_revision=info.revision) == (
        PageInfo(total=0, revision=info.revision, next_cursor=None),
        [],
    )


def test_a_revision_beyond_the_feed_or_of_another_life_is_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "FEED_LENGTH", 4)
    world = World()
    start = world.table.revision
    for n in range(4):
        world.table.put(Thing(id=str(n)))
    assert not world.page(since_revision=start)[0].is_reset
    world.table.put(Thing(id="4"))
    info, ids = world.page(since_revision=start)
    assert info.is_reset
    assert len(ids) == 5
    assert not world.page(since_revision=start + 1)[0].is_reset
    assert world.page(since_revision=world.table.revision + 1)[0].is_reset
    assert world.page(since_revision=0)[0].is_reset


def test_a_first_page_looks_at_its_own_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(*(Thing(id=str(n)) for n in range(2000)))

    def refuse(*args: Any) -> Any:
        raise AssertionError(args)

    for name in ("_sort_value", "_texts"):
        monkeypatch.setattr(selection, name, refuse)
    info, ids = world.page(limit=1000)
    assert (info.total, len(ids)) == (2000, 1000)
    assert info.next_cursor
