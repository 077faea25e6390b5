"""What is asked for each cell, card or volume does not read all records each time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, cast

from nanocore.capabilities.storage import VolumeSpec
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.ids import ComputePoolId, NetworkId, NodeId, StoragePoolId, VolumeId, new_id
from nanocore.model.compute_pool import ComputePoolRecord
from nanocore.model.instance import MIB, NicRecord
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.model.volume import VolumeRecord, VolumeState
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import structs
from nanoplugins.compute.composing import Composer
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.records import COMPUTE_POOLS, INSTANCES
from nanoplugins.compute.storage.records import STORAGE_POOLS, VOLUMES, open_pools
from nanoplugins.sim.storage import SimStorage
from tests.compute.storage_bench import NODE, StorageBench, storage_bench

MANY = 50


class CountingStore(MemoryStore):
    """Counts how often all records of a collection are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def list(self, collection: Any, *, index: str | None = None, value: str | None = None) -> Any:
        self.reads[collection.name] += index is None
        return super().list(collection, index=index, value=value)


def on_bench(work: Callable[[StorageBench, CountingStore], Awaitable[None]]) -> None:
    async def main() -> None:
        store = CountingStore()
        async with storage_bench(store, FakeClock(), SimStorage()) as bench:
            await work(bench, store)

    asyncio.run(main())


async def put_cells(bench: StorageBench) -> tuple[ComputePoolRecord, StoragePoolRecord]:
    """Make many cells, each with one path, in one compute pool and one storage pool."""
    at = bench.context.clock.now()
    ids = [NodeId(new_id()) for _ in range(MANY)]
    for id in ids:
        bench.board.cells.put_joined(NodeInfo(id=id, name=id[:8], roles=[NodeRole.CELL]))
    compute = ComputePoolRecord(id=ComputePoolId(new_id()), name="many", cells=ids, created_at=at)
    paths = [StoragePathRecord(id=new_id(), node_id=id, path="/srv/nano") for id in ids]
    storage = StoragePoolRecord(id=StoragePoolId(new_id()), name="many", paths=paths, created_at=at)
    await bench.context.store.commit(Put(COMPUTE_POOLS, compute.id, compute), Put(STORAGE_POOLS, storage.id, storage))
    return compute, storage


def test_a_new_mac_is_found_without_reading_every_instance() -> None:
    async def work(bench: StorageBench, store: CountingStore) -> None:
        composer = Composer(cast("PluginContext", bench.context), bench.board)
        store.reads.clear()
        assert len({composer.new_mac() for _ in range(MANY)}) == MANY
        assert store.reads[INSTANCES.name] == 0
        nics = [NicRecord(id=new_id(), mac=f"52:54:00:00:00:0{n}", network_id=NetworkId("n")) for n in range(3)]
        taken = [nic.mac for nic in nics]
        other = structs.replace(bench.instance, id=new_id(), nics=nics[:2])
        for kept in (nics, nics[1:]):
            await store.commit(Put(INSTANCES, bench.instance.id, structs.replace(bench.instance, nics=kept)))
        assert [mac in bench.board.macs for mac in taken] == [False, True, True]
        await store.commit(Put(INSTANCES, other.id, other))
        await store.commit(Delete(INSTANCES, bench.instance.id))
        assert [mac in bench.board.macs for mac in taken] == [True, True, False]

    on_bench(work)


def test_the_sums_of_many_cells_read_the_pools_once() -> None:
    async def work(bench: StorageBench, store: CountingStore) -> None:
        compute, storage = await put_cells(bench)
        store.reads.clear()
        bench.board.refresh_sums_now()
        bench.storage.board.refresh_pools_now()
        assert max(store.reads.values()) <= 3
        assert {node.compute_pool_id for node in bench.board.nodes.views() if node.id in compute.cells} == {compute.id}
        assert bench.storage.board.pools.get(storage.id).compute_pool_ids == [compute.id]

    on_bench(work)


def test_the_candidates_of_a_placement_read_the_storage_pools_once() -> None:
    async def work(bench: StorageBench, store: CountingStore) -> None:
        compute, storage = await put_cells(bench)
        closed = structs.replace(storage.paths[0], is_enabled=False)
        await store.commit(Put(STORAGE_POOLS, storage.id, structs.replace(storage, paths=[closed, *storage.paths[1:]])))
        store.reads.clear()
        placing = Placing(cast("PluginContext", bench.context), bench.board)
        found = placing._candidates(compute.id)
        assert [candidate.storage_pool_ids for candidate in found] == [[], *([[storage.id]] * (MANY - 1))]
        assert store.reads[STORAGE_POOLS.name] == 1
        assert open_pools(store).get(NodeId(new_id())) is None

    on_bench(work)


def test_the_pool_of_a_volume_follows_its_path() -> None:
    async def work(bench: StorageBench, store: CountingStore) -> None:
        _, storage = await put_cells(bench)
        volume = VolumeRecord(
            id=VolumeId(new_id()),
            name="data",
            size_bytes=MIB,
            node_id=NODE,
            state=VolumeState.READY,
            created_at=bench.context.clock.now(),
        )
        info = await bench.context.cell.create(VolumeSpec(id=volume.id, size_bytes=MIB))
        await store.commit(Put(VOLUMES, volume.id, volume))
        store.reads.clear()
        bench.storage.board.put_volume(NODE, info)
        assert store.reads[STORAGE_POOLS.name] == 0
        here = StoragePathRecord(id=new_id(), node_id=NODE, path=info.folder)
        await store.commit(Put(STORAGE_POOLS, storage.id, structs.replace(storage, paths=[*storage.paths, here])))
        bench.storage.board.refresh_volume(volume.id)
        assert bench.storage.board.volumes.get(volume.id).storage_pool_id == storage.id

    on_bench(work)
