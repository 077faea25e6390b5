"""The live tables of volumes, storage pools, snapshots and schedules: they follow the store and the cells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nanocore.capabilities.hypervisor import PathReport
from nanocore.capabilities.storage import StoragePathState, VolumeInfo
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Change, StateStore
from nanocore.contracts.table import Table
from nanocore.ids import InstanceId, NodeId, OperationId, SnapshotId, StoragePoolId, VolumeId
from nanocore.model.instance import InstanceRecord
from nanocore.model.snapshot import Snapshot, SnapshotSchedule
from nanocore.model.storage_pool import StoragePool
from nanocore.model.volume import Volume
from nanocore.wire import structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.records import INSTANCES
from nanoplugins.compute.storage.records import (
    SNAPSHOT_SCHEDULES,
    SNAPSHOTS,
    STORAGE_POOLS,
    VOLUMES,
    find_disk,
    snapshots_of,
)
from nanoplugins.compute.storage.views import (
    VolumeFacts,
    disk_view,
    free_view,
    pool_view,
    schedule_view,
    snapshot_view,
)

SUM_DELAY_SECONDS = 0.25
FOLLOW_SECONDS = 60.0


class StorageBoard:
    """Four tables. What cells told of their volumes is kept in memory only and learned anew."""

    def __init__(self, context: PluginContext, board: Board, publish: Callable[[ResourceChanged], None]) -> None:
        self._context = context
        self._board = board
        self.volumes: Table[Volume] = Table("volumes", context.clock, publish)
        self.pools: Table[StoragePool] = Table("storage-pools", context.clock, publish)
        self.snapshots: Table[Snapshot] = Table("snapshots", context.clock, publish)
        self.schedules: Table[SnapshotSchedule] = Table("snapshot-schedules", context.clock, publish)
        self.on_new: Callable[[NodeId], None] = lambda _node_id: None
        """Called when a cell has volumes that it has not told of yet."""
        self._seen: dict[NodeId, dict[VolumeId, VolumeInfo]] = {}
        self._folders: dict[tuple[NodeId, str], StoragePoolId] = {}
        """The storage pool of every path, as all of them are too many to look through for each volume."""
        self._new: set[VolumeId] = set()
        """Volumes that came after their cell told last what it has."""
        self._disks: dict[InstanceId, set[VolumeId]] = {}
        self._holders: dict[VolumeId, InstanceId] = {}
        self._followed: set[OperationId] = set()
        self._end_watch: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def store(self) -> StateStore:
        """Return the core's store."""
        return self._board.store

    def load(self) -> None:
        """Fill the tables and follow the store from now on."""
        self._follow_pools()
        for entry in self.store.list(INSTANCES):
            self._follow_instance(entry.value.id, entry.value)
        for volume in self.store.list(VOLUMES):
            self.refresh_volume(volume.value.id)
        for schedule in self.store.list(SNAPSHOT_SCHEDULES):
            self._refresh_schedule(schedule.key)
        self._refresh_pools()
        self._end_watch = self.store.watch(self._on_changes)

    def close(self) -> None:
        """Stop following."""
        if self._end_watch is not None:
            self._end_watch()
            self._end_watch = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def holder_of(self, id: VolumeId) -> InstanceId | None:
        """Return the instance whose disk a volume is."""
        return self._holders.get(id)

    def seen_on(self, node_id: NodeId) -> dict[VolumeId, VolumeInfo]:
        """Return what a cell told last of its volumes."""
        return self._seen.get(node_id, {})

    def put_volumes(self, node_id: NodeId, volumes: Iterable[VolumeInfo]) -> None:
        """Take everything that a cell has."""
        before = self._seen.get(node_id, {})
        now = self._seen[node_id] = {volume.id: volume for volume in volumes}
        new = [view for view in map(self.volumes.find, self._new) if view is not None]
        told = {view.id for view in new if view.node_id == node_id}
        self._new = {view.id for view in new if view.node_id != node_id}
        for id in told | {id for id in before.keys() | now.keys() if before.get(id) != now.get(id)}:
            self.refresh_volume(id)
        self._refresh_on(node_id)

    def put_volume(self, node_id: NodeId, volume: VolumeInfo) -> None:
        """Take one volume as it is now."""
        if node_id in self._seen:
            self._seen[node_id][volume.id] = volume
            self.refresh_volume(volume.id)

    def drop_volume(self, node_id: NodeId, id: VolumeId) -> None:
        """Note that a cell has a volume no more."""
        if self._seen.get(node_id, {}).pop(id, None) is not None:
            self.refresh_volume(id)

    def put_paths(self, node_id: NodeId, states: Iterable[StoragePathState]) -> None:
        """Take a cell's paths as it told them just now, before its next report does."""
        cell = self._board.cells.find(node_id)
        if cell is not None:
            told = [
                PathReport(
                    state.path, state.reason, state.total_bytes, state.used_bytes, state.volumes, state.is_configured
                )
                for state in states
            ]
            cell.report = structs.replace(cell.report, storage_paths=told)
            self._refresh_pools()

    def node_changed(self, node_id: NodeId) -> None:
        """Show at volumes and paths whether their cell answers."""
        for volume in list(self.volumes.views()):
            if volume.node_id == node_id:
                self.refresh_volume(volume.id)
        self.refresh_pools_soon()

    def refresh_volume(self, id: VolumeId) -> None:
        """Build one volume's view anew."""
        entry = self.store.get(VOLUMES, id)
        if entry is not None:
            facts = self._facts(id, entry.value.node_id, entry.value.storage_pool_id, self._operation("volume", id))
            self.volumes.put(free_view(entry.value, facts))
            return
        holder = self._holders.get(id)
        instance = None if holder is None else self.store.get(INSTANCES, holder)
        disk = None if instance is None else find_disk(instance.value, id)
        if instance is None or disk is None:
            self.volumes.delete(id)
            return
        record = instance.value
        facts = self._facts(id, record.node_id, disk.storage_pool_id, self._operation("instance", record.id))
        self.volumes.put(disk_view(disk, record, facts))

    def refresh_pools_soon(self) -> None:
        """Build storage pools anew within a quarter of a second."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SUM_DELAY_SECONDS, self._refresh_pools)

    def refresh_pools_now(self) -> None:
        """Bring storage pools up to date before they are answered with."""
        self._refresh_pools()

    def pool_at(self, node_id: NodeId | None, folder: str) -> StoragePoolId | None:
        """Return the storage pool that has a path."""
        return None if node_id is None else self._folders.get((node_id, folder))

    # -- following the store

    def _on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.collection == INSTANCES.name:
                record: Any = change.value
                self._follow_instance(InstanceId(change.key), record)
            elif change.collection == VOLUMES.name:
                self.refresh_volume(VolumeId(change.key))
                self.refresh_pools_soon()
            elif change.collection == STORAGE_POOLS.name:
                self._follow_pools()
                self._refresh_pools()
            elif change.collection == SNAPSHOTS.name:
                self.refresh_snapshot(SnapshotId(change.key))
            elif change.collection == SNAPSHOT_SCHEDULES.name:
                self._refresh_schedule(change.key)

    def _follow_pools(self) -> None:
        entries = self.store.list(STORAGE_POOLS)
        self._folders = {(path.node_id, path.path): entry.value.id for entry in entries for path in entry.value.paths}

    def _follow_instance(self, id: InstanceId, record: InstanceRecord | None) -> None:
        now = set() if record is None else {disk.volume_id for disk in record.disks}
        before = self._disks.get(id, set())
        if record is None:
            self._disks.pop(id, None)
        else:
            self._disks[id] = now
        for gone in before - now:
            if self._holders.get(gone) == id:
                del self._holders[gone]
        self._holders |= dict.fromkeys(now, id)
        if record is not None and record.node_id is not None:
            self._new |= (now - before) - self.seen_on(record.node_id).keys()
            if record.is_created and not self._new.isdisjoint(now):
                self.on_new(record.node_id)
        for volume_id in before | now:
            self.refresh_volume(volume_id)
        for snapshot in snapshots_of(self.store, id):
            self.refresh_snapshot(snapshot.id)
        for entry in self.store.list(SNAPSHOT_SCHEDULES, index="instance", value=id):
            self._refresh_schedule(entry.key)

    def _refresh_on(self, node_id: NodeId) -> None:
        for entry in self.store.list(INSTANCES, index="node", value=node_id):
            for snapshot in snapshots_of(self.store, entry.value.id):
                self.refresh_snapshot(snapshot.id)
        self.refresh_pools_soon()

    def refresh_snapshot(self, id: SnapshotId) -> None:
        """Build one snapshot's view anew."""
        entry = self.store.get(SNAPSHOTS, id)
        if entry is None:
            gone = self.snapshots.find(id)
            self.snapshots.delete(id)
            schedule_id = None if gone is None else gone.schedule_id
        else:
            record = entry.value
            instance = self.store.get(INSTANCES, record.instance_id)
            node_id = None if instance is None else instance.value.node_id
            seen = {} if node_id is None else self.seen_on(node_id)
            operation = self._operation("instance", record.instance_id)
            self.snapshots.put(snapshot_view(record, "" if instance is None else instance.value.name, seen, operation))
            schedule_id = record.schedule_id
        if schedule_id is not None:
            self._refresh_schedule(schedule_id)

    def _refresh_schedule(self, id: str) -> None:
        entry = self.store.get(SNAPSHOT_SCHEDULES, id)
        if entry is None:
            self.schedules.delete(id)
            return
        record = entry.value
        instance = self.store.get(INSTANCES, record.instance_id)
        count = sum(snapshot.schedule_id == id for snapshot in snapshots_of(self.store, record.instance_id))
        self.schedules.put(schedule_view(record, "" if instance is None else instance.value.name, count))

    def _refresh_pools(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        entries = self.store.list(STORAGE_POOLS)
        for gone in {pool.id for pool in self.pools.views()} - {entry.value.id for entry in entries}:
            self.pools.delete(gone)
        by_cell = self._board.pools_by_cell()
        counts: dict[StoragePoolId | None, int] = {}
        for volume in self.volumes.views():
            counts[volume.storage_pool_id] = counts.get(volume.storage_pool_id, 0) + 1
        for entry in entries:
            record = entry.value
            cells = [self._board.cells.find(path.node_id) for path in record.paths]
            pools = [by_cell.get(path.node_id) for path in record.paths]
            ids = sorted({pool.id for pool in pools if pool is not None})
            self.pools.put(pool_view(record, cells, ids, counts.get(record.id, 0)))

    # -- parts

    def _facts(
        self, id: VolumeId, node_id: NodeId | None, pool_id: StoragePoolId | None, operation_id: OperationId | None
    ) -> VolumeFacts:
        seen = None if node_id is None else self.seen_on(node_id).get(id)
        lies_in = None if seen is None else self.pool_at(node_id, seen.folder)
        pool = self.store.get(STORAGE_POOLS, lies_in or pool_id or "")
        return VolumeFacts(
            cell=self._board.cells.find(node_id),
            seen=seen,
            has_told=node_id in self._seen,
            is_new=id in self._new,
            pool_id=lies_in or pool_id,
            pool_name=None if pool is None else pool.value.name,
            operation_id=operation_id,
        )

    def _operation(self, kind: str, id: str) -> OperationId | None:
        resource = ResourceRef(kind=kind, id=id)
        running = self._context.operations.find_running(resource)
        if running is None:
            return None
        if running.id not in self._followed:
            self._followed.add(running.id)
            self._context.spawn(self._follow(running), name=f"compute.follow.{running.id}")
        return running.id

    async def _follow(self, operation: Operation) -> None:
        """Show at what it changes that an operation has ended."""
        now = operation
        while not now.state.is_final:
            now = await self._context.operations.wait(operation.id, FOLLOW_SECONDS)
            await asyncio.sleep(0)  # While the core stops, waiting returns at once.
        self._followed.discard(operation.id)
        for resource in operation.resources:
            self._refresh_resource(resource)

    def _refresh_resource(self, resource: ResourceRef) -> None:
        if resource.kind == "volume":
            self.refresh_volume(VolumeId(resource.id))
        elif resource.kind == "instance":
            entry = self.store.get(INSTANCES, resource.id)
            self._follow_instance(InstanceId(resource.id), None if entry is None else entry.value)
