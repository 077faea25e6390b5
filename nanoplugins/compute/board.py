"""The live tables behind every list of ``compute``: kept up to date, at most a few times a second for sums."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Put, StateStore
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, NetworkId, NodeId, OperationId, SecurityPolicyId, TemplateId
from nanocore.model.compute_pool import ComputePool, ComputePoolRecord
from nanocore.model.instance import Instance, ObservedState
from nanocore.model.node import Node
from nanocore.wire import structs
from nanoplugins.compute.cells import Cells
from nanoplugins.compute.macs import Macs
from nanoplugins.compute.records import COMPUTE_POOLS, INSTANCES, NODE_SETTINGS, NodeSettings
from nanoplugins.compute.views import ACTIVE, InstanceFacts, instance_view, node_view, observe, pool_view

SUM_DELAY_SECONDS = 0.25


class Board:
    """Three tables: instances, nodes, compute pools."""

    def __init__(self, context: PluginContext, publish: Callable[[ResourceChanged], None]) -> None:
        self._context = context
        self.cells = Cells(context.clock, self._guest_changed, self.refresh_node, self._lives_at)
        self.instances: Table[Instance] = Table("instances", context.clock, publish)
        self.nodes: Table[Node] = Table("nodes", context.clock, publish)
        self.pools: Table[ComputePool] = Table("compute-pools", context.clock, publish)
        self.macs = Macs()
        self.image_names: dict[ImageId, str] = {}
        self.network_names: dict[NetworkId, str] = {}
        self.policy_names: dict[SecurityPolicyId, str] = {}
        self.template_names: dict[TemplateId, str] = {}
        self._observed: dict[InstanceId, tuple[ObservedState, datetime, datetime | None]] = {}
        self._by_operation: dict[OperationId, set[InstanceId]] = {}
        self._stale_nodes: set[NodeId] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_loaded = False

    @property
    def store(self) -> StateStore:
        """Return the core's store."""
        return self._context.chosen(StateStore)

    def load(self) -> None:
        """Fill the tables from the store."""
        for settings in self.store.list(NODE_SETTINGS):
            known = settings.value
            self.cells.put_size(
                known.id, cores=known.cores, memory_bytes=known.memory_bytes, disk_bytes=known.disk_bytes
            )
        self.macs.load(self.store)
        for entry in self.store.list(INSTANCES):
            self.refresh_instance(entry.value.id)
        self._refresh_sums()
        self._is_loaded = True

    def check_loaded(self) -> None:
        """Raise ``unavailable`` while the tables are not filled: they would answer that nothing is there."""
        if not self._is_loaded:
            raise NanoError(
                ErrorCode.UNAVAILABLE, "the core is still starting; try again in a moment", retry_after_seconds=1
            )

    def close(self) -> None:
        """Stop the timer, and following the store."""
        self.macs.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refresh_instance(self, id: InstanceId) -> None:
        """Build one instance's view anew; a record that is gone takes its view along."""
        entry = self.store.get(INSTANCES, id)
        if entry is None:
            self.instances.delete(id)
            self._observed.pop(id, None)
            return
        record = entry.value
        cell = self.cells.find(record.node_id)
        since, started_at = self._since(id, observe(record, cell)[0])
        operation = self._context.operations.find_running(ResourceRef(kind="instance", id=id))
        if operation is not None:
            self._by_operation.setdefault(operation.id, set()).add(id)
        pool = self.store.get(COMPUTE_POOLS, record.compute_pool_id)
        facts = InstanceFacts(
            pool_name="" if pool is None else pool.value.name,
            cell=cell,
            images=self.image_names,
            networks=self.network_names,
            policies=self.policy_names,
            templates=self.template_names,
            operation_id=None if operation is None else operation.id,
            operation_kind=None if operation is None else operation.kind,
            since=since,
            started_at=started_at,
        )
        self.instances.put(instance_view(record, facts))
        if record.node_id is not None:
            self.refresh_node(record.node_id)

    def refresh_node(self, id: NodeId) -> None:
        """Build a node's view, and the sums it is part of, anew within a quarter of a second."""
        self._stale_nodes.add(id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SUM_DELAY_SECONDS, self._refresh_sums)

    def operation_changed(self, id: OperationId) -> None:
        """Show or clear the operation at its instances."""
        for instance_id in list(self._by_operation.get(id, ())):
            running = self._context.operations.find_running(ResourceRef(kind="instance", id=instance_id))
            if running is None or running.id != id:
                self._by_operation.pop(id, None)
            self.refresh_instance(instance_id)

    def refresh_names(self) -> None:
        """Show new names of images and networks at every instance."""
        for entry in self.store.list(INSTANCES):
            self.refresh_instance(entry.value.id)

    def pool_of(self, id: NodeId) -> ComputePoolRecord | None:
        """Return the compute pool that a cell is in."""
        for entry in self.store.list(COMPUTE_POOLS):
            if id in entry.value.cells:
                return entry.value
        return None

    def pools_by_cell(self) -> dict[NodeId, ComputePoolRecord]:
        """Return every cell's compute pool: for many cells at once, as asking for each reads all of them each time."""
        return {id: entry.value for entry in self.store.list(COMPUTE_POOLS) for id in entry.value.cells}

    def is_enabled(self, id: NodeId) -> bool:
        """Return whether a node may get new instances."""
        entry = self.store.get(NODE_SETTINGS, id)
        return entry is None or entry.value.is_enabled

    async def keep_size(self, id: NodeId) -> None:
        """Write down what a cell has when it says something new about that, which is rare."""
        cell = self.cells.find(id)
        if cell is None or not cell.report.cores:
            return
        entry = self.store.get(NODE_SETTINGS, id)
        before = NodeSettings(id=id) if entry is None else entry.value
        report = cell.report
        now = structs.replace(
            before, cores=report.cores, memory_bytes=report.memory_bytes, disk_bytes=report.disk_bytes
        )
        if now != before:
            await self.store.commit(Put(NODE_SETTINGS, id, now))

    def refresh_sums_now(self) -> None:
        """Bring nodes and compute pools up to date before they are answered with."""
        self._refresh_sums()

    def _guest_changed(self, node_id: NodeId, id: InstanceId) -> None:
        entry = self.store.get(INSTANCES, id)
        if entry is not None and entry.value.node_id == node_id:
            self.refresh_instance(id)

    def _lives_at(self, node_id: NodeId, id: InstanceId) -> bool:
        entry = self.store.get(INSTANCES, id)
        return entry is not None and entry.value.node_id == node_id

    def _since(self, id: InstanceId, observed: ObservedState) -> tuple[datetime, datetime | None]:
        before = self._observed.get(id)
        if before is not None and before[0] is observed:
            return before[1], before[2]
        now = self._context.clock.now()
        started_at = None
        if observed in ACTIVE and before is not None and before[0] is not ObservedState.UNKNOWN:
            started_at = before[2] if before[0] in ACTIVE else now
        self._observed[id] = (observed, now, started_at)
        return now, started_at

    def _refresh_sums(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        stale, self._stale_nodes = self._stale_nodes, set()
        known = {cell.info.id for cell in self.cells.all()}
        for view in list(self.nodes.views()):
            if view.id not in known:
                self.nodes.delete(view.id)
        pools = self.pools_by_cell()
        for cell in self.cells.all():
            id = cell.info.id
            pool = pools.get(id)
            shown = self.nodes.find(id)
            if id in stale or shown is None or shown.compute_pool_id != (pool.id if pool else None):
                records = [entry.value for entry in self.store.list(INSTANCES, index="node", value=id)]
                is_self = id == self._context.node.id
                self.nodes.put(node_view(cell, pool, records, is_enabled=self.is_enabled(id), is_self=is_self))
        self._refresh_pools()

    def _refresh_pools(self) -> None:
        entries = self.store.list(COMPUTE_POOLS)
        for gone in {pool.id for pool in self.pools.views()} - {entry.value.id for entry in entries}:
            self.pools.delete(gone)
        for entry in entries:
            record = entry.value
            nodes = [node for node in map(self.nodes.find, record.cells) if node is not None]
            count = len(self.store.list(INSTANCES, index="compute_pool", value=record.id))
            self.pools.put(pool_view(record, nodes, count))
