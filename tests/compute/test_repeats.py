"""A request that comes again under its key is answered with the operation that it began, whatever is refused by now."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from nanocore.capabilities import guest_changes
from nanocore.capabilities.compute import EjectMedia, UpdateNic
from nanocore.capabilities.hypervisor import Observed
from nanocore.capabilities.snapshots import CreateSnapshot, DeleteSnapshot, RestoreSnapshot
from nanocore.capabilities.storage import DeleteVolume as DeleteVolumeThere
from nanocore.capabilities.volumes import DeleteVolume, DetachDisk, UpdateDisk
from nanocore.contracts.handler import Call
from nanocore.contracts.operation import Operation, OperationState
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.ids import NetworkId, VolumeId, new_id
from nanocore.model.instance import MIB, DiskRecord, MediaRecord, NicRecord, ObservedState
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import Request, structs
from nanoplugins.compute.media import Media
from nanoplugins.compute.nics import Nics
from nanoplugins.compute.records import INSTANCES
from nanoplugins.compute.storage.records import snapshots_of
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import StorageBench, storage_bench

WAIT_SECONDS = 30


async def ask_twice(bench: StorageBench, message: Request[Operation], *, ends: bool = True) -> None:
    """Assert that a repeat gets the same answer while the operation runs, and after it."""
    context = cast("PluginContext", bench.context)
    parts = (bench.storage, Nics(context, bench.board), Media(context, bench.board))
    calls = {handler.message: handler.call for part in parts for handler in part.handlers()}
    call = cast("Call", SimpleNamespace(actor=None))
    keyed: Any = structs.replace(message, idempotency_key=new_id())
    first = await calls[type(message)](keyed, call)
    assert (await calls[type(message)](keyed, call)).id == first.id
    ended = await context.operations.wait(first.id, WAIT_SECONDS)
    assert not ends or ended.state is OperationState.SUCCEEDED, ended
    assert (await calls[type(message)](keyed, call)).id == first.id


def test_a_repeated_request_gets_its_first_operation() -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            id, store = bench.instance.id, bench.context.store
            guest = Observed(id=id, name="web-1", state=ObservedState.STOPPED)
            bench.context.answer(lambda *_: _return(guest), guest_changes.DetachDisk, guest_changes.ChangeMedia)
            bench.context.answer(lambda *_: _return(None), DeleteVolumeThere)
            for part in (Nics, Media):
                workflows = part(cast("PluginContext", bench.context), bench.board).workflows()
                bench.context.operations.register(workflows)
            data = DiskRecord(volume_id=VolumeId(new_id()), size_bytes=MIB)
            nic = NicRecord(id=new_id(), mac="52:54:00:00:00:01", network_id=NetworkId(new_id()))
            changed = structs.replace(
                bench.instance, disks=[*bench.instance.disks, data], nics=[nic], media=[MediaRecord(slot=0)]
            )
            await ask_twice(bench, CreateSnapshot(id=id, name="one"))
            await store.commit(Put(INSTANCES, id, changed))
            (snapshot,) = snapshots_of(store, id)
            await ask_twice(bench, RestoreSnapshot(id=id, snapshot_id=snapshot.id))
            await ask_twice(bench, DeleteSnapshot(id=id, snapshot_id=snapshot.id))
            await ask_twice(bench, UpdateDisk(id=id, volume_id=data.volume_id, name="data"))
            await ask_twice(bench, DetachDisk(id=id, volume_id=data.volume_id))
            await ask_twice(bench, DeleteVolume(id=data.volume_id))
            await ask_twice(bench, EjectMedia(id=id, slot=0))
            await ask_twice(bench, UpdateNic(id=id, nic_id=nic.id, security_policy_id=None), ends=False)

    asyncio.run(main())


async def _return(value: Any) -> Any:
    return value
