"""Deletion forgets an instance as it is at the end, whatever it was when deletion was asked for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

from nanocore.capabilities.hypervisor import CellReport, Inventory
from nanocore.contracts.operation import StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.ids import StepKey
from nanocore.model.instance import InstanceRecord
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import structs
from nanoplugins.compute.delete import DeleteInput, DeleteWorkflow
from nanoplugins.compute.reconcile import plan
from nanoplugins.compute.records import INSTANCE_NAMES, INSTANCES, TOMBSTONES, NameRecord
from nanoplugins.compute.storage.records import snapshots_of
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import StorageBench, storage_bench

WAIT_SECONDS = 30


async def forget(bench: StorageBench, asked: InstanceRecord) -> None:
    """Do the last step of a deletion that was asked for when the record was ``asked``."""
    workflow = DeleteWorkflow(cast("PluginContext", bench.context), bench.board)
    last = workflow.steps(DeleteInput(record=asked))[-1]
    await last.do(cast("StepContext", SimpleNamespace(key=StepKey("key"), outcomes={})))


def test_snapshots_in_a_kept_disk_of_a_lost_cell_are_cleared_later() -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            store, disk = bench.context.store, structs.replace(bench.instance.disks[0], is_kept=True)
            kept = structs.replace(bench.instance, disks=[disk])
            await store.commit(Put(INSTANCES, kept.id, kept))
            taken = await bench.storage.snapshots.create(kept.id, "one")
            await bench.context.operations.wait(taken.id, WAIT_SECONDS)
            (snapshot,) = snapshots_of(store, kept.id)
            await forget(bench, kept)
            there = await bench.context.cell.list()
            inventory = Inventory(
                guests=[], volumes=[disk.volume_id], ports=[], volume_infos=there, report=CellReport()
            )
            graves = [entry.value for entry in store.list(TOMBSTONES)]
            wanted = plan(inventory, [], graves, set(), bench.storage.free_volumes())
            assert (wanted.delete_snapshots, wanted.delete_volumes) == ({snapshot.id: [disk.volume_id]}, [])

    asyncio.run(main())


def test_a_name_that_came_while_deletion_began_is_free_again() -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            asked, store = bench.instance, bench.context.store
            await store.commit(
                Put(INSTANCES, asked.id, structs.replace(asked, name="web-2")),
                Put(INSTANCE_NAMES, "web-2", NameRecord(id=asked.id)),
                Delete(INSTANCE_NAMES, asked.name),
            )
            await forget(bench, asked)
            assert store.list(INSTANCES) == []
            assert store.list(INSTANCE_NAMES) == []

    asyncio.run(main())
