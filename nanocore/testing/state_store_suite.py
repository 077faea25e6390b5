"""Conformance suite of ``StateStore``: a store's tests inherit it and say how a store is made.

::

    class TestMyStore(StateStoreSuite):
        def make_store(self, folder: Path) -> StateStore:
            return MyStore(folder)
"""

# ruff: noqa: S101, PLR2004  pytest's asserts; numbers of the examples

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nanocore.contracts.state_store import Change, Collection, Delete, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.wire import Struct


class Pet(Struct, frozen=True, kw_only=True):
    """The suite's record."""

    name: str
    owner: str | None = None
    age: int = 0


PETS = Collection("pets", Pet, (("owner", lambda pet: pet.owner), ("name", lambda pet: pet.name)))
TOYS = Collection("toys", Pet)


class StateStoreSuite:
    """Every promise of ``StateStore``."""

    is_durable = True
    """Whether records outlive ``close``; a store in memory says no."""

    def make_store(self, folder: Path) -> StateStore:
        """Return a store that keeps its files in ``folder``, not opened."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, folder: Path) -> AsyncIterator[StateStore]:
        """Give an open store with the suite's collections."""
        store = self.make_store(folder)
        await store.open([PETS, TOYS])
        try:
            yield store
        finally:
            await store.close()

    def test_what_was_put_can_be_read(self, tmp_path: Path) -> None:
        """Records, revisions and absence."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                before = store.revision
                revision = await store.commit(Put(PETS, "1", Pet(name="rex")))
                assert revision > before
                assert store.revision == revision
                entry = store.get(PETS, "1")
                assert entry is not None
                assert (entry.key, entry.value, entry.revision) == ("1", Pet(name="rex"), revision)
                assert store.get(PETS, "2") is None
                assert store.get(TOYS, "1") is None

        asyncio.run(main())

    def test_a_commit_is_all_or_nothing(self, tmp_path: Path) -> None:
        """One expectation that fails keeps every change of its commit out."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                await store.commit(Put(PETS, "1", Pet(name="rex")))
                before = store.revision
                with pytest.raises(NanoError) as caught:
                    await store.commit(
                        Put(TOYS, "ball", Pet(name="ball")),
                        Put(PETS, "1", Pet(name="max"), expect=0),
                        Delete(PETS, "1"),
                    )
                assert caught.value.code is ErrorCode.CONFLICT
                assert store.revision == before
                assert store.get(TOYS, "ball") is None
                assert [entry.value.name for entry in store.list(PETS)] == ["rex"]

        asyncio.run(main())

    def test_expectations(self, tmp_path: Path) -> None:
        """0 is "absent", N is "still N", for puts and deletions."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                first = await store.commit(Put(PETS, "1", Pet(name="a"), expect=0))
                second = await store.commit(Put(PETS, "1", Pet(name="b"), expect=first))
                for change in (
                    Put(PETS, "1", Pet(name="c"), expect=first),
                    Put(PETS, "2", Pet(name="c"), expect=second),
                    Delete(PETS, "1", expect=first),
                    Delete(PETS, "1", expect=0),
                ):
                    with pytest.raises(NanoError) as caught:
                        await store.commit(change)
                    assert caught.value.code is ErrorCode.CONFLICT
                await store.commit(Delete(PETS, "1", expect=second))
                assert store.get(PETS, "1") is None
                await store.commit(Delete(PETS, "1"), Delete(PETS, "never", expect=0))
                await store.commit(Put(PETS, "1", Pet(name="d"), expect=0))

        asyncio.run(main())

    def test_concurrent_expectations_let_one_win(self, tmp_path: Path) -> None:
        """Of many that expect the same revision exactly one succeeds, also within one group commit."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                revision = await store.commit(Put(PETS, "1", Pet(name="start")))
                changes = [Put(PETS, "1", Pet(name=str(number)), expect=revision) for number in range(50)]
                results = await asyncio.gather(*(store.commit(one) for one in changes), return_exceptions=True)
                assert sum(isinstance(result, int) for result in results) == 1
                losers = [result for result in results if isinstance(result, NanoError)]
                assert {loser.code for loser in losers} == {ErrorCode.CONFLICT}
                assert len(losers) == 49

        asyncio.run(main())

    def test_indexes_follow_every_change(self, tmp_path: Path) -> None:
        """Put, change, leave out and delete."""

        async def main() -> None:
            def names(owner: str) -> list[str]:
                return sorted(entry.value.name for entry in store.list(PETS, index="owner", value=owner))

            async with self.opened(tmp_path) as store:
                await store.commit(
                    Put(PETS, "1", Pet(name="rex", owner="ann")), Put(PETS, "2", Pet(name="tom", owner="ann"))
                )
                assert names("ann") == ["rex", "tom"]
                await store.commit(Put(PETS, "2", Pet(name="tom", owner="bob")))
                assert (names("ann"), names("bob")) == (["rex"], ["tom"])
                await store.commit(Put(PETS, "1", Pet(name="rex")), Delete(PETS, "2"))
                assert (names("ann"), names("bob")) == ([], [])
                assert len(store.list(PETS)) == 1

        asyncio.run(main())

    def test_watchers_see_every_commit_in_order(self, tmp_path: Path) -> None:
        """Once each, with the values, until the watch ends; memory is already changed."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                seen: list[Change] = []

                def watch(changes: Sequence[Change]) -> None:
                    assert store.revision >= changes[-1].revision
                    seen.extend(changes)

                end = store.watch(watch)
                await asyncio.gather(*(store.commit(Put(PETS, str(n), Pet(name=str(n)))) for n in range(100)))
                await store.commit(Delete(PETS, "7"), Put(TOYS, "ball", Pet(name="ball")))
                end()
                await store.commit(Put(PETS, "late", Pet(name="late")))
                revisions = [change.revision for change in seen]
                assert revisions == sorted(revisions)
                assert len(seen) == 102
                assert [(change.collection, change.key, change.value) for change in seen[-2:]] == [
                    ("pets", "7", None),
                    ("toys", "ball", Pet(name="ball")),
                ]

        asyncio.run(main())

    def test_many_writers_at_once(self, tmp_path: Path) -> None:
        """Each is acknowledged with a revision of its own."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:

                async def write(number: int) -> list[int]:
                    return [
                        await store.commit(Put(PETS, f"{number}-{turn}", Pet(name="x", age=turn))) for turn in range(10)
                    ]

                revisions = await asyncio.gather(*(write(number) for number in range(100)))
                assert len({revision for mine in revisions for revision in mine}) == 1000
                assert len(store.list(PETS)) == 1000

        asyncio.run(main())

    def test_a_cancelled_caller_leaves_the_store_whole(self, tmp_path: Path) -> None:
        """Its change may or may not be there; others' are, and the store goes on."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                lost = asyncio.ensure_future(store.commit(Put(PETS, "lost", Pet(name="lost"))))
                kept = asyncio.ensure_future(store.commit(Put(PETS, "kept", Pet(name="kept"))))
                await asyncio.sleep(0)
                lost.cancel()
                await kept
                await store.commit(Put(PETS, "after", Pet(name="after")))
                assert {"kept", "after"} <= {entry.key for entry in store.list(PETS)}

        asyncio.run(main())

    def test_records_and_revisions_outlive_the_process(self, tmp_path: Path) -> None:
        """Whatever was acknowledged is there after the next open; revisions only grow."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                await store.commit(Put(PETS, "1", Pet(name="rex", owner="ann")), Put(PETS, "2", Pet(name="tom")))
                last = await store.commit(Delete(PETS, "2"))
                first = store.get(PETS, "1")
            async with self.opened(tmp_path) as store:
                if not self.is_durable:
                    return
                assert store.revision == last
                assert store.get(PETS, "1") == first
                assert store.list(PETS, index="owner", value="ann") == [first]
                assert store.get(PETS, "2") is None
                assert await store.commit(Put(PETS, "3", Pet(name="kit"))) > last

        asyncio.run(main())

    def test_an_unnamed_collection_is_refused(self, tmp_path: Path) -> None:
        """A collection that nobody declared is a mistake, not an empty set."""

        async def main() -> None:
            async with self.opened(tmp_path) as store:
                stranger = Collection("strangers", Pet)
                with pytest.raises(NanoError, match="strangers"):
                    store.get(stranger, "1")
                with pytest.raises(NanoError, match="strangers"):
                    await store.commit(Put(stranger, "1", Pet(name="x")))

        asyncio.run(main())
