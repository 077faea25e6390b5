"""A draining path is gone on with once its volumes can be moved, not before."""

from __future__ import annotations

import asyncio

import pytest

from nanocore.capabilities.storage import StoragePathState, VolumeSpec
from nanocore.contracts.state_store import Put
from nanocore.ids import StoragePoolId, VolumeId, new_id
from nanocore.model.instance import MIB
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.model.volume import VolumeRecord, VolumeState
from nanocore.operations.journal import OPERATIONS
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanoplugins.compute.storage.records import STORAGE_POOLS, VOLUMES
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import NODE, storage_bench


@pytest.mark.parametrize(("free_bytes", "begun"), [(None, 0), (1, 0), (1024 * MIB, 1)])
def test_no_operation_begins_that_could_move_nothing(free_bytes: int | None, begun: int) -> None:
    async def main() -> None:
        async with storage_bench(MemoryStore(), FakeClock(), SimStorage()) as bench:
            store, at = bench.context.store, bench.context.clock.now()
            id = VolumeId(new_id())
            info = await bench.context.cell.create(VolumeSpec(id=id, size_bytes=MIB))
            here = StoragePathRecord(id=new_id(), node_id=NODE, path=info.folder, is_draining=True)
            there = StoragePathRecord(id=new_id(), node_id=NODE, path="/srv/other")
            pool = StoragePoolRecord(id=StoragePoolId(new_id()), name="fast", paths=[here, there], created_at=at)
            volume = VolumeRecord(
                id=id, name="data", size_bytes=MIB, node_id=NODE, state=VolumeState.READY, created_at=at
            )
            await store.commit(Put(VOLUMES, id, volume), Put(STORAGE_POOLS, pool.id, pool))
            bench.storage.board.put_volumes(NODE, await bench.context.cell.list())
            if free_bytes is not None:
                told = StoragePathState(id=there.id, path=there.path, total_bytes=free_bytes, used_bytes=0)
                bench.storage.board.put_paths(NODE, [told])
            await bench.storage.look()
            assert [entry.value.kind for entry in store.list(OPERATIONS)] == ["storage_pool.drain_path"] * begun

    asyncio.run(main())
