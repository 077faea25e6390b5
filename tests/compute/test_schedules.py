"""Schedules of snapshots: when they run, what they keep, what is seen of a run that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from nanocore.capabilities.snapshots import (
    CreateSnapshotSchedule,
    DeleteSnapshotSchedule,
    UpdateSnapshotSchedule,
)
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.model.snapshot import Snapshot, SnapshotSchedule
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import Request
from nanoplugins.compute.storage.records import SNAPSHOT_SCHEDULES, snapshots_of
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import NODE, StorageBench, storage_bench

HOUR = 3600


def on_bench(*works: Callable[[StorageBench], Awaitable[None]]) -> None:
    """Run each of ``works`` on the same store, clock and cell, with a restart in between."""
    store, clock, cell = MemoryStore(), FakeClock(), SimStorage()

    async def main() -> None:
        for work in works:
            async with storage_bench(store, clock, cell) as bench:
                await work(bench)

    asyncio.run(main())


async def ask(bench: StorageBench, message: Request[Any]) -> Any:
    handlers = {handler.message: handler.call for handler in bench.storage.handlers()}
    call = type("Call", (), {"actor": None})()
    return await handlers[type(message)](message, call)


async def make(bench: StorageBench, *, keep: int = 2) -> SnapshotSchedule:
    made: SnapshotSchedule = await ask(
        bench,
        CreateSnapshotSchedule(instance_id=bench.instance.id, name="hourly", interval_seconds=HOUR, keep=keep),
    )
    return made


def made(bench: StorageBench) -> list[str]:
    return [record.name for record in snapshots_of(bench.context.store, bench.instance.id)]


def shown(bench: StorageBench) -> SnapshotSchedule:
    return next(iter(bench.storage.board.schedules.views()))


def test_it_runs_at_its_time_and_keeps_the_newest() -> None:
    async def work(bench: StorageBench) -> None:
        await make(bench)
        await bench.run_due()
        assert made(bench) == []
        for _ in range(4):
            bench.context.clock.advance(HOUR)
            await bench.run_due()
            await bench.run_due()
        assert made(bench) == ["hourly 2030-01-01 03:00:00", "hourly 2030-01-01 04:00:00"]
        assert (shown(bench).snapshots, shown(bench).last_error) == (2, None)
        volume = (await bench.context.cell.list())[0]
        assert len(volume.snapshots) == 2
        views: list[Snapshot] = list(bench.storage.board.snapshots.views())
        assert {view.schedule_id for view in views} == {shown(bench).id}

    on_bench(work)


def test_it_deletes_only_its_own() -> None:
    async def work(bench: StorageBench) -> None:
        operation = await bench.storage.snapshots.create(bench.instance.id, "mine")
        await bench.context.operations.wait(operation.id, 10)
        await make(bench, keep=1)
        for _ in range(3):
            bench.context.clock.advance(HOUR)
            await bench.run_due()
        assert made(bench) == ["mine", "hourly 2030-01-01 03:00:00"]

    on_bench(work)


def test_what_was_missed_while_the_core_was_off_is_run_once() -> None:
    async def before(bench: StorageBench) -> None:
        await make(bench, keep=5)
        bench.context.clock.advance(5.5 * HOUR)

    async def after(bench: StorageBench) -> None:
        await bench.run_due()
        await bench.run_due()
        assert made(bench) == ["hourly 2030-01-01 05:30:00"]
        assert f"{shown(bench).next_run_at:%H:%M}" == "06:00"

    on_bench(before, after)


def test_a_run_that_fails_is_shown_and_the_next_comes_in_its_time() -> None:
    async def work(bench: StorageBench) -> None:
        await make(bench)
        cell = bench.board.cells.find(NODE)
        assert cell is not None
        cell.is_reachable = False
        for count in (1, 2):
            bench.context.clock.advance(HOUR)
            await bench.run_due()
            assert "unreachable" in (shown(bench).last_error or "")
            assert shown(bench).failures == count
        cell.is_reachable = True
        await bench.run_due()
        assert made(bench) == []
        bench.context.clock.advance(HOUR)
        await bench.run_due()
        assert (len(made(bench)), shown(bench).last_error, shown(bench).failures) == (1, None, 0)

    on_bench(work)


def test_a_busy_instance_is_tried_again_at_the_next_look() -> None:
    async def work(bench: StorageBench) -> None:
        await make(bench)
        bench.context.clock.advance(HOUR)
        other = await bench.storage.snapshots.create(bench.instance.id, "other")
        await bench.run_due()
        assert shown(bench).last_error is None
        await bench.context.operations.wait(other.id, 10)
        await bench.run_due()
        assert sorted(made(bench)) == ["hourly 2030-01-01 01:00:00", "other"]

    on_bench(work)


class BusyStore(MemoryStore):
    """Lets somebody else be quicker: ``before`` is done once, ahead of the next change of a schedule."""

    before: Callable[[], Awaitable[object]] | None = None

    async def commit(self, *changes: Put | Delete) -> int:
        before = self.before
        if before is not None and any(change.collection is SNAPSHOT_SCHEDULES for change in changes):
            self.before = None
            await before()
        return await super().commit(*changes)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_what_users_say_while_it_runs_counts(is_deleted: bool) -> None:  # noqa: FBT001
    async def main() -> None:
        store = BusyStore()
        async with storage_bench(store, FakeClock(), SimStorage()) as bench:
            schedule = await make(bench)
            said = DeleteSnapshotSchedule(id=schedule.id) if is_deleted else None
            store.before = lambda: ask(bench, said or UpdateSnapshotSchedule(id=schedule.id, keep=7))
            bench.context.clock.advance(HOUR)
            await bench.run_due()
            await bench.run_due()
            assert len(made(bench)) == 1
            kept = [entry.value.keep for entry in store.list(SNAPSHOT_SCHEDULES)]
            assert kept == ([] if is_deleted else [7])
            assert is_deleted or shown(bench).next_run_at > bench.context.clock.now()

    asyncio.run(main())


def test_too_many_snapshots_are_a_failure_that_says_so() -> None:
    async def work(bench: StorageBench) -> None:
        await make(bench, keep=50)
        for index in range(bench.context.settings.max_snapshots):
            operation = await bench.storage.snapshots.create(bench.instance.id, f"s{index}")
            await bench.context.operations.wait(operation.id, 10)
        with pytest.raises(NanoError) as caught:
            await bench.storage.snapshots.create(bench.instance.id, "one more")
        assert caught.value.code is ErrorCode.QUOTA_EXCEEDED
        bench.context.clock.advance(HOUR)
        await bench.run_due()
        assert "max_snapshots" in (shown(bench).last_error or "")

    on_bench(work)


def test_a_schedule_is_changed_switched_off_and_deleted() -> None:
    async def work(bench: StorageBench) -> None:
        schedule = await make(bench)
        with pytest.raises(NanoError) as caught:
            await make(bench)
        assert caught.value.code is ErrorCode.ALREADY_EXISTS
        await ask(bench, UpdateSnapshotSchedule(id=schedule.id, is_enabled=False))
        bench.context.clock.advance(3 * HOUR)
        await bench.run_due()
        assert made(bench) == []
        changed = await ask(bench, UpdateSnapshotSchedule(id=schedule.id, is_enabled=True, interval_seconds=60))
        assert (changed.next_run_at - bench.context.clock.now()).total_seconds() == 60
        bench.context.clock.advance(60)
        await bench.run_due()
        assert len(made(bench)) == 1
        handlers = {handler.message: handler.call for handler in bench.storage.handlers()}
        await handlers[DeleteSnapshotSchedule](DeleteSnapshotSchedule(id=schedule.id), type("Call", (), {})())
        assert list(bench.storage.board.schedules.views()) == []
        assert len(made(bench)) == 1

    on_bench(work)
