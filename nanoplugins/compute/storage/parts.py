"""Everything about volumes, storage pools and snapshots, put together for the plugin and its service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from nanocore.capabilities.hypervisor import Inventory
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Handler
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.operation import Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import NanoError
from nanocore.ids import NodeId, SnapshotId, StepKey, VolumeId
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.model.volume import Volume
from nanoplugins.compute.board import Board
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.storage.board import StorageBoard
from nanoplugins.compute.storage.disk_workflows import AttachDiskWorkflow, DetachDiskWorkflow, UpdateDiskWorkflow
from nanoplugins.compute.storage.disks import Disks
from nanoplugins.compute.storage.drain import (
    DRAIN,
    DrainInput,
    DrainPathWorkflow,
    MoveVolumeWorkflow,
    find_target,
    volumes_on,
    waits_because,
)
from nanoplugins.compute.storage.pools import StoragePools
from nanoplugins.compute.storage.records import STORAGE_POOLS, VOLUMES
from nanoplugins.compute.storage.schedules import Schedules
from nanoplugins.compute.storage.snapshot_workflows import (
    CreateSnapshotWorkflow,
    DeleteSnapshotWorkflow,
    RestoreSnapshotWorkflow,
)
from nanoplugins.compute.storage.snapshots import Snapshots
from nanoplugins.compute.storage.volume_workflows import (
    CreateVolumeWorkflow,
    DeleteVolumeWorkflow,
    UpdateVolumeWorkflow,
    VolumeParts,
)
from nanoplugins.compute.storage.volumes import Volumes

MEASURE_DELAY_SECONDS = 1.0
MEASURE_TICKS = 4
"""Volumes are measured at every such look at storage."""


class Storage:
    """One object of each kind, wired."""

    def __init__(self, context: PluginContext, board: Board, publish: Callable[[ResourceChanged], None]) -> None:
        self._context = context
        self._board = board
        self.board = StorageBoard(context, board, publish)
        self._parts = VolumeParts(context, board, self.board)
        self._pools = StoragePools(self._parts)
        self._disks = Disks(context, board)
        self.snapshots = Snapshots(context, board, self.board)
        self._schedules = Schedules(context, board, self.board, self.snapshots)
        self._ticks = 0
        self._asking: set[NodeId] = set()
        self.board.on_new = self._measure_soon

    def handlers(self) -> list[Handler]:
        """Return what the core answers about storage."""
        return [
            *Volumes(self._context, self._board, self.board, self._disks).handlers(),
            *self._disks.handlers(),
            *self._pools.handlers(),
            *self.snapshots.handlers(),
            *self._schedules.handlers(),
        ]

    def workflows(self) -> list[Workflow[Any]]:
        """Return how volumes and snapshots are made, changed and deleted."""
        parts = self._parts
        return [
            CreateVolumeWorkflow(parts),
            UpdateVolumeWorkflow(parts),
            DeleteVolumeWorkflow(parts),
            AttachDiskWorkflow(parts),
            UpdateDiskWorkflow(parts),
            DetachDiskWorkflow(parts),
            CreateSnapshotWorkflow(parts),
            RestoreSnapshotWorkflow(parts),
            DeleteSnapshotWorkflow(parts),
            MoveVolumeWorkflow(parts),
            DrainPathWorkflow(parts),
        ]

    def jobs(self) -> list[ScheduledJob]:
        """Return what is looked at every few seconds."""
        pause = self._context.config(ComputeConfig).storage_check_seconds
        return [
            ScheduledJob("compute.snapshot_schedules", pause, self._schedules.run_due),
            ScheduledJob("compute.storage", pause, self.look),
        ]

    # -- for the service

    async def start(self) -> None:
        """Make the storage pool ``default`` in a new zone."""
        await self._pools.create_first()

    def load(self) -> None:
        """Fill the tables."""
        self.board.load()

    def close(self) -> None:
        """Stop following the store."""
        self.board.close()

    def node_changed(self, id: NodeId) -> None:
        """Show whether a cell answers."""
        self.board.node_changed(id)

    def cell_reported(self) -> None:
        """Show new figures of paths, soon."""
        self.board.refresh_pools_soon()

    async def put_inventory(self, id: NodeId, inventory: Inventory) -> None:
        """Take a cell's volumes, and tell it its paths."""
        await self._pools.adopt(id, inventory.report)
        self.board.put_volumes(id, inventory.volume_infos)

    def free_volumes(self) -> set[VolumeId]:
        """Return the volumes that belong to no instance and are wanted all the same."""
        return {entry.value.id for entry in self.board.store.list(VOLUMES)}

    async def delete_leftover(
        self, node_id: NodeId, snapshot: SnapshotId, volumes: Sequence[VolumeId], key: StepKey
    ) -> None:
        """Remove a snapshot that was deleted while its cell was away; in a running guest it waits for another look."""
        try:
            holder = self.board.holder_of(volumes[0])
            await self._parts.commands.delete_snapshot(node_id, snapshot, holder, volumes, key)
        except NanoError as error:
            self._context.log.info("compute.leftover_snapshot_stays", snapshot=snapshot, error=str(error))

    async def look(self) -> None:
        """Go on with draining paths, and measure volumes every now and then."""
        await self._continue_drains()
        self._ticks += 1
        if self._ticks % MEASURE_TICKS == 0:
            await self._measure()

    async def _continue_drains(self) -> None:
        for entry in self.board.store.list(STORAGE_POOLS):
            for path in entry.value.paths:
                if not path.is_draining or self._is_draining_now(path.id):
                    continue
                # What nothing can be done about now would begin an operation at every look.
                if any(self._can_move(entry.value, path, volume) for volume in volumes_on(self._parts, path)):
                    await self._context.operations.run(
                        DRAIN, DrainInput(pool_id=entry.value.id, path=path, previous=path)
                    )

    def _can_move(self, pool: StoragePoolRecord, path: StoragePathRecord, volume: Volume) -> bool:
        is_free = waits_because(self._board, volume) is None
        return is_free and find_target(self._board, pool, path, volume) is not None

    def _is_draining_now(self, path_id: str) -> bool:
        return self._context.operations.find_running(ResourceRef(kind="storage_path", id=path_id)) is not None

    async def _measure(self) -> None:
        for cell in self._board.cells.all():
            await self._measure_cell(cell.info.id)

    async def _measure_cell(self, id: NodeId) -> None:
        cell = self._board.cells.find(id)
        if cell is None or not (cell.is_cell and cell.is_reachable and cell.has_inventory):
            return
        try:
            volumes = await self._parts.commands.list(id)
        except NanoError as error:
            self._context.log.info("compute.volumes_not_measured", node=id, error=str(error))
        else:
            self.board.put_volumes(id, volumes)

    def _measure_soon(self, id: NodeId) -> None:
        """Ask a cell for its volumes, once for all that come within a moment."""

        async def ask() -> None:
            await asyncio.sleep(MEASURE_DELAY_SECONDS)
            self._asking.discard(id)
            await self._measure_cell(id)

        if id not in self._asking:
            self._asking.add(id)
            self._context.spawn(ask(), name=f"compute.measure.{id}")
