"""The core's storage with real operations, a clock that stands still, and one simulated cell in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import structlog

from nanocore.capabilities.hypervisor import Inventory, Observed
from nanocore.capabilities.storage import VolumeSpec
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put
from nanocore.ids import ComputePoolId, InstanceId, NodeId, VolumeId, new_id
from nanocore.model.instance import MIB, DesiredState, DiskRecord, InstanceRecord, ObservedState
from nanocore.operations.engine import OperationEngine
from nanocore.testing.fake_clock import FakeClock
from nanocore.testing.memory_store import MemoryStore
from nanocore.wire import Request
from nanoplugins.agent.drivers import Drivers
from nanoplugins.agent.guests import GuestCommands
from nanoplugins.agent.storage import StorageCommands
from nanoplugins.compute import records
from nanoplugins.compute.board import Board
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.storage import records as storage_records
from nanoplugins.compute.storage.parts import Storage
from nanoplugins.sim.config import SimConfig
from nanoplugins.sim.hypervisor import SimHypervisor
from nanoplugins.sim.storage import SimStorage

NODE = NodeId("11111111-1111-4111-8111-111111111111")


@dataclass
class Context:
    """What ``compute`` sees of its node; commands to the cell go to the agent's own handlers."""

    store: MemoryStore
    clock: FakeClock
    cell: SimStorage
    settings: ComputeConfig = field(default_factory=ComputeConfig)
    node: NodeInfo = field(default_factory=lambda: NodeInfo(id=NODE, name="core-1", roles=[NodeRole.CORE]))
    log: Any = field(default_factory=structlog.stdlib.get_logger)
    operations: Any = None
    _handlers: dict[type[Request[Any]], Callable[[Any, Any], Awaitable[Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        hypervisor = SimHypervisor(SimConfig(), clock=self.clock, storage=self.cell)
        drivers = cast("Drivers", SimpleNamespace(storage=self.cell, hypervisor=hypervisor))
        agent = StorageCommands(drivers, GuestCommands(cast("PluginContext", self), drivers))
        self._handlers = agent.changes() | {
            cast("type[Request[Any]]", handler.message): handler.call for handler in agent.questions()
        }

    def config(self, _kind: object) -> ComputeConfig:
        return self.settings

    def chosen(self, _kind: object) -> MemoryStore:
        return self.store

    async def call(self, message: Request[Any], **_where: object) -> Any:
        return await self._handlers[type(message)](message, None)

    def answer(self, how: Callable[[Any, Any], Awaitable[Any]], *messages: type[Request[Any]]) -> None:
        """Have ``how`` answer these messages from now on."""
        self._handlers |= dict.fromkeys(messages, how)

    async def publish(self, _event: object) -> None:
        return

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        del name
        work.close()


@dataclass
class StorageBench:
    """One stopped instance of one disk on the cell."""

    context: Context
    storage: Storage
    board: Board
    instance: InstanceRecord

    async def run_due(self) -> None:
        """Run what the scheduler would run now."""
        await self.storage.jobs()[0].run()


@asynccontextmanager
async def storage_bench(store: MemoryStore, clock: FakeClock, cell: SimStorage) -> AsyncIterator[StorageBench]:
    """Start the core on what ``store`` and ``cell`` hold; a second time is a restart."""
    context = Context(store, clock, cell)
    engine = OperationEngine(store, clock, context.log, context.publish)
    context.operations = engine
    plugin = cast("PluginContext", context)
    board = Board(plugin, lambda _change: None)
    storage = Storage(plugin, board, lambda _change: None)
    await store.open([*records.ALL, *storage_records.ALL, *engine.collections()])
    engine.register(storage.workflows())
    await engine.start()
    board.cells.put_joined(NodeInfo(id=NODE, name="core-1", roles=[NodeRole.CORE, NodeRole.CELL]))
    board.load()
    await storage.start()
    storage.load()
    known = [entry.value for entry in store.list(records.INSTANCES)]
    instance = known[0] if known else await _new_instance(store, clock, cell)
    volumes = await cell.list()
    guest = Observed(id=instance.id, name=instance.name, state=ObservedState.STOPPED)
    inventory = Inventory(
        guests=[guest], volumes=[], ports=[], report=board.cells.all()[0].report, volume_infos=volumes
    )
    board.cells.put_inventory(NODE, inventory)
    await storage.put_inventory(NODE, inventory)
    try:
        yield StorageBench(context, storage, board, instance)
    finally:
        storage.close()
        board.close()
        await engine.stop()
        await store.close()


async def _new_instance(store: MemoryStore, clock: FakeClock, cell: SimStorage) -> InstanceRecord:
    disk = DiskRecord(volume_id=VolumeId(new_id()), size_bytes=8 * MIB, is_boot=True)
    record = InstanceRecord(
        id=InstanceId(new_id()),
        name="web-1",
        desired=DesiredState.STOPPED,
        compute_pool_id=ComputePoolId(new_id()),
        node_id=NODE,
        vcpus=1,
        memory_bytes=64 * MIB,
        disks=[disk],
        is_created=True,
        created_at=clock.now(),
    )
    await cell.create(VolumeSpec(id=disk.volume_id, size_bytes=disk.size_bytes))
    await store.commit(Put(records.INSTANCES, record.id, record))
    return record
