"""Asks the placer, and keeps what it promised until the record says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from nanocore.capabilities.placement import Candidate, Decision, PlacementFilter, PlacementRequest, Placer
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ComputePoolId, InstanceId, NodeId
from nanocore.model.compute_pool import ComputePoolRecord, Usage
from nanocore.model.instance import Firmware, InstanceRecord
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.records import COMPUTE_POOLS, INSTANCES
from nanoplugins.compute.storage.records import STORAGE_POOLS, VOLUMES, open_pools
from nanoplugins.compute.views import cell_usage

SIZE_FILTERS = ("cpu", "memory")


class Placing:
    """Decisions are taken one at a time on the loop, so two instances never get the same last place."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._reserved: dict[InstanceId, InstanceRecord] = {}

    def decide(self, record: InstanceRecord, node_id: NodeId | None) -> Decision:
        """Return where ``record`` would go now, changing nothing; raise ``no_capacity`` with every cell's reason."""
        placers = self._context.collected(Placer)
        name = self._context.config(ComputeConfig).placer
        if name not in placers:
            raise NanoError(
                ErrorCode.UNIMPLEMENTED,
                f"no placer is called {name!r}; there are: {', '.join(sorted(placers)) or 'none'}",
            )
        request = PlacementRequest(
            instance_id=record.id,
            vcpus=record.vcpus,
            memory_bytes=record.memory_bytes,
            disk_bytes=sum(disk.size_bytes for disk in record.disks),
            image_id=record.image_id,
            node_id=node_id,
            storage_pools=self._storage_pools(record),
            needs=_needs(record),
        )
        decision = placers[name].decide(request, self._candidates(record.compute_pool_id))
        if decision.node_id is None:
            refusals = [structs.asdict(refusal) for refusal in decision.refusals]
            raise NanoError(ErrorCode.NO_CAPACITY, decision.reason, reason="placement.nobody", refusals=refusals)
        return decision

    @contextmanager
    def reserve(self, record: InstanceRecord, node_id: NodeId | None) -> Iterator[Decision]:
        """Decide, and count the instance at its cell while the caller commits its record."""
        decision = self.decide(record, node_id)
        self._reserved[record.id] = structs.replace(record, node_id=decision.node_id)
        try:
            yield decision
        finally:
            del self._reserved[record.id]

    def check_growth(self, before: InstanceRecord, after: InstanceRecord) -> None:
        """Raise ``no_capacity`` if an instance would outgrow its cell; filters that look at size alone are asked."""
        if after.vcpus <= before.vcpus and after.memory_bytes <= before.memory_bytes:
            return
        pool = self._board.store.get(COMPUTE_POOLS, after.compute_pool_id)
        if pool is None or after.node_id is None:
            return
        request = PlacementRequest(
            instance_id=after.id,
            vcpus=after.vcpus,
            memory_bytes=after.memory_bytes,
            disk_bytes=0,
            node_id=after.node_id,
        )
        filters = self._context.collected(PlacementFilter)
        for candidate in self._candidate(after.node_id, pool.value, {}, without=after.id):
            for name in SIZE_FILTERS:
                reason = filters[name].refuse(request, candidate) if name in filters else None
                if reason is not None and candidate.usage.cores:
                    text = f"{after.name} can't grow on {candidate.name}: {reason}"
                    raise NanoError(ErrorCode.NO_CAPACITY, text, reason="placement.growth")

    def _candidates(self, pool_id: ComputePoolId) -> list[Candidate]:
        pool = self._board.store.get(COMPUTE_POOLS, pool_id)
        if pool is None:
            raise NanoError(
                ErrorCode.NOT_FOUND, f"there is no compute pool with id {pool_id[:80]}", field="compute_pool_id"
            )
        if not pool.value.is_enabled:
            raise NanoError(
                ErrorCode.WRONG_STATE, f"compute pool {pool.value.name} is disabled; enable it or choose another"
            )
        open_there = open_pools(self._board.store)
        return [candidate for id in pool.value.cells for candidate in self._candidate(id, pool.value, open_there)]

    def _candidate(
        self,
        id: NodeId,
        pool: ComputePoolRecord,
        open_there: Mapping[NodeId, list[str]],
        *,
        without: InstanceId | None = None,
    ) -> list[Candidate]:
        cell = self._board.cells.find(id)
        if cell is None:
            return []
        records = {entry.key: entry.value for entry in self._board.store.list(INSTANCES, index="node", value=id)}
        records |= {key: record for key, record in self._reserved.items() if record.node_id == id}
        records.pop(without or "", None)
        return [
            Candidate(
                node_id=id,
                name=cell.info.name,
                zone=cell.info.zone,
                is_reachable=cell.is_reachable,
                is_enabled=self._board.is_enabled(id),
                instances=len(records),
                usage=cell_usage(cell, records.values()) if cell.has_reported else Usage(),
                cached_images=cell.report.cached_images,
                lacks=cell.report.lacks,
                cpu_overcommit=pool.cpu_overcommit,
                memory_overcommit=pool.memory_overcommit,
                storage_pool_ids=open_there.get(id),
            )
        ]

    def _storage_pools(self, record: InstanceRecord) -> dict[str, str]:
        """Return the storage pools of its new disks; one that was a free volume lies where it lies."""
        wanted = {disk.storage_pool_id for disk in record.disks if disk.storage_pool_id is not None}
        new = {disk.storage_pool_id for disk in record.disks if self._board.store.get(VOLUMES, disk.volume_id) is None}
        entries = [self._board.store.get(STORAGE_POOLS, id) for id in wanted & new]
        return {entry.value.id: entry.value.name for entry in entries if entry is not None}


def _needs(record: InstanceRecord) -> list[str]:
    """Return the abilities that a cell must have; limits are no need, they are named where they can't be in force."""
    wanted = {"has_uefi": record.firmware is Firmware.UEFI, "has_tpm": record.has_tpm}
    return [name for name, is_wanted in wanted.items() if is_wanted]
