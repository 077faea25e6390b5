"""What the core does for a cell that is gone is left to the moment at which the cell comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from nanocore.capabilities.hypervisor import CellReport, DefineGuest, Inventory
from nanocore.capabilities.network import DeletePort
from nanocore.capabilities.storage import DefinePaths, DeleteVolume
from nanocore.capabilities.storage_pools import ActOnPath
from nanocore.contracts.handler import Call
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NetworkId, StepKey, StoragePoolId, VolumeId, new_id
from nanocore.model.instance import DiskRecord, NicRecord
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import structs
from nanoplugins.compute.nics import AddNicWorkflow, NicInput, NicParts, RemoveNicWorkflow
from nanoplugins.compute.rebuild import RebuildInput, RebuildWorkflow
from nanoplugins.compute.reconcile import Plan, plan
from nanoplugins.compute.records import INSTANCES, TOMBSTONES
from nanoplugins.compute.sources import SourceImage
from nanoplugins.compute.storage.records import STORAGE_POOLS
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import NODE, StorageBench, storage_bench

STEP = cast("StepContext", SimpleNamespace(key=StepKey("key"), outcomes={}))


def on_lost_cell(work: Callable[[StorageBench], Awaitable[None]]) -> None:
    """Run ``work`` while the cell of the bench answers nothing."""

    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            lost = NodeInfo(id=NODE, name="core-1", roles=[NodeRole.CORE, NodeRole.CELL])
            bench.board.cells.put_lost(lost, "it does not answer")
            bench.context.answer(_nothing, DefineGuest, DeletePort, DeleteVolume)
            await work(bench)

    asyncio.run(main())


async def _nothing(_message: object, _call: object) -> None:
    raise NanoError(ErrorCode.UNAVAILABLE, "the node does not answer")


def step_of(steps: Sequence[Step], name: str) -> Step:
    return next(step for step in steps if step.name == name)


async def undo(steps: Sequence[Step], name: str) -> None:
    back = step_of(steps, name).undo
    assert back is not None
    await back(STEP)


def wanted_of(bench: StorageBench, **there: Any) -> Plan:
    """Return what is to be done once the cell tells that ``there`` is on it."""
    inventory = structs.replace(Inventory(guests=[], volumes=[], ports=[], report=CellReport()), **there)
    store = bench.context.store
    instances = [entry.value for entry in store.list(INSTANCES)]
    return plan(inventory, instances, [entry.value for entry in store.list(TOMBSTONES)], set())


def test_the_port_of_a_card_that_was_removed_or_never_came_is_cleared() -> None:
    async def work(bench: StorageBench) -> None:
        parts = NicParts(cast("PluginContext", bench.context), bench.board)
        removed, undone = (
            NicInput(
                instance_id=bench.instance.id,
                instance=bench.instance.name,
                node_id=NODE,
                nic=NicRecord(id=new_id(), mac="52:54:00:00:00:01", network_id=NetworkId(new_id())),
            )
            for _ in range(2)
        )
        await step_of(RemoveNicWorkflow(parts).steps(removed), "delete_port").do(STEP)
        await undo(AddNicWorkflow(parts).steps(undone), "create_port")
        stranger = new_id()
        ports = [removed.nic.id, undone.nic.id, stranger]
        assert wanted_of(bench, ports=ports).delete_ports == [removed.nic.id, undone.nic.id]

    on_lost_cell(work)


def test_a_path_is_disabled_and_the_cell_learns_it_later() -> None:
    async def work(bench: StorageBench) -> None:
        path = StoragePathRecord(id=new_id(), node_id=NODE, path="/srv/nano")
        pool = StoragePoolRecord(
            id=StoragePoolId(new_id()), name="fast", paths=[path], created_at=bench.context.clock.now()
        )
        await bench.context.store.commit(Put(STORAGE_POOLS, pool.id, pool))
        bench.context.answer(_nothing, DefinePaths)
        handlers = {handler.message: handler.call for handler in bench.storage.handlers()}
        message = ActOnPath(id=pool.id, path_id=path.id, action="disable")
        shown = await handlers[ActOnPath](message, cast("Call", SimpleNamespace(actor=None)))
        assert [each.is_enabled for each in shown.paths] == [False]

    on_lost_cell(work)


def test_the_new_disk_of_a_rebuild_that_was_undone_is_cleared() -> None:
    async def work(bench: StorageBench) -> None:
        disk = DiskRecord(volume_id=VolumeId(new_id()), size_bytes=1024**2, is_boot=True)
        image = SourceImage(id=ImageId(new_id()), name="debian", format="qcow2", size_bytes=1)
        input = RebuildInput(record=bench.instance, image=image, disk=disk, is_started=False)
        steps = RebuildWorkflow(cast("PluginContext", bench.context), bench.board).steps(input)
        for name in ("define", "record", "create_volume"):
            await undo(steps, name)
        old = bench.instance.disks[0].volume_id
        assert wanted_of(bench, volumes=[old, disk.volume_id]).delete_volumes == [disk.volume_id]
        assert [each.volume_id for each in bench.board.store.list(INSTANCES)[0].value.disks] == [old]

    on_lost_cell(work)
