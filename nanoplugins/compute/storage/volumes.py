"""What users ask about volumes."""

from __future__ import annotations

from nanocore.capabilities.volumes import CreateVolume, DeleteVolume, GetVolume, ListVolumes, UpdateDisk, UpdateVolume
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ComputePoolId, NodeId, StoragePoolId, VolumeId, new_id
from nanocore.model.volume import VolumeRecord, VolumeState
from nanoplugins.compute.board import Board
from nanoplugins.compute.cells import Cell
from nanoplugins.compute.permits import check_new_size, check_size, find_repeated
from nanoplugins.compute.records import COMPUTE_POOL_NAMES, COMPUTE_POOLS
from nanoplugins.compute.storage.board import StorageBoard
from nanoplugins.compute.storage.disks import Disks
from nanoplugins.compute.storage.records import choose_pool, get_volume, paths_of
from nanoplugins.compute.storage.volume_workflows import UpdateVolumeInput, VolumeInput


class Volumes:
    """Handlers of ``volumes.*_volume``."""

    def __init__(self, context: PluginContext, board: Board, storage: StorageBoard, disks: Disks) -> None:
        self._context = context
        self._board = board
        self._storage = storage
        self._disks = disks

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(ListVolumes, self._list),
            Handler(GetVolume, self._get),
            Handler(CreateVolume, self._create),
            Handler(UpdateVolume, self._update),
            Handler(DeleteVolume, self._delete),
        ]

    async def _list(self, message: ListVolumes, _call: Call) -> Reply[PageInfo]:
        return self._storage.volumes.page(message)

    async def _get(self, message: GetVolume, _call: Call) -> Reply[PageInfo]:
        self._storage.refresh_volume(message.id)
        return self._storage.volumes.reply(message.id)

    async def _create(self, message: CreateVolume, call: Call) -> Operation:
        check_size(message.size_bytes)
        repeated = find_repeated(self._context, "volume.create", message, call)
        if repeated is not None:
            return repeated
        pool_id = choose_pool(self._board.store, message.storage_pool_id, message.compute_pool_id)
        record = VolumeRecord(
            id=VolumeId(new_id()),
            name=message.name,
            size_bytes=message.size_bytes,
            node_id=self._choose_cell(message, pool_id),
            storage_pool_id=pool_id,
            state=VolumeState.CREATING,
            owner="" if call.actor is None else call.actor.username,
            created_at=self._context.clock.now(),
        )
        return await self._context.operations.run(
            "volume.create",
            VolumeInput(record=record),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )

    async def _update(self, message: UpdateVolume, call: Call) -> Operation:
        holder = self._storage.holder_of(message.id)
        if holder is not None:
            change = UpdateDisk(
                id=holder,
                volume_id=message.id,
                name=message.name,
                size_bytes=message.size_bytes,
                is_shrink_confirmed=message.is_shrink_confirmed,
                idempotency_key=message.idempotency_key,
            )
            return await self._disks.update(change, call)
        repeated = find_repeated(self._context, "volume.update", message, call)
        if repeated is not None:
            return repeated
        record = self._settled(message.id)
        if message.name is None and message.size_bytes is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "say what to change: name or size_bytes")
        if message.size_bytes is not None:
            check_new_size(record.size_bytes, message.size_bytes, is_confirmed=message.is_shrink_confirmed)
        return await self._context.operations.run(
            "volume.update",
            UpdateVolumeInput(
                record=record,
                name=message.name,
                size_bytes=message.size_bytes,
                is_shrink_confirmed=message.is_shrink_confirmed,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )

    async def _delete(self, message: DeleteVolume, call: Call) -> Operation:
        repeated = find_repeated(self._context, "volume.delete", message, call)
        if repeated is not None:
            return repeated
        record = get_volume(self._board.store, message.id).value
        operation = await self._context.operations.run(
            "volume.delete",
            VolumeInput(record=record),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._storage.refresh_volume(message.id)
        return operation

    def _settled(self, id: VolumeId) -> VolumeRecord:
        record = get_volume(self._board.store, id).value
        if record.state is not VolumeState.READY:
            raise NanoError(ErrorCode.WRONG_STATE, f"volume {record.name} is {record.state.value}")
        return record

    def _choose_cell(self, message: CreateVolume, pool_id: StoragePoolId | None) -> NodeId:
        """Return the cell with the most free space in the storage pool; raise ``no_capacity`` with all reasons."""
        if message.node_id is not None:
            cell = self._board.cells.find(message.node_id)
            if cell is None or not cell.is_cell:
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT, f"there is no cell with id {message.node_id[:80]}", field="node_id"
                )
            cells = [cell]
        else:
            found = [self._board.cells.find(id) for id in self._cells_of(message.compute_pool_id)]
            cells = [cell for cell in found if cell is not None and self._board.is_enabled(cell.info.id)]
        fits: list[tuple[int, NodeId]] = []
        reasons = []
        for cell in cells:
            free, reason = self._free_on(cell, pool_id)
            if reason is None:
                fits.append((free, cell.info.id))
            else:
                reasons.append(f"{cell.info.name}: {reason}")
        if not fits:
            why = "; ".join(reasons) or "the compute pool has no enabled cell"
            raise NanoError(ErrorCode.NO_CAPACITY, f"no cell can take the volume: {why}", reason="compute.no_cell")
        return max(fits)[1]

    def _free_on(self, cell: Cell, pool_id: StoragePoolId | None) -> tuple[int, str | None]:
        if not cell.is_reachable:
            return 0, "it is unreachable"
        if not cell.report.storage_paths:
            return cell.report.disk_bytes - cell.report.disk_used_bytes, None
        paths = {path.path: path for pool, path in paths_of(self._board.store, cell.info.id) if pool.id == pool_id}
        if not paths:
            return 0, "the storage pool has no path there"
        free = [
            told.total_bytes - told.used_bytes
            for told in cell.report.storage_paths
            if told.reason is None
            and told.path in paths
            and paths[told.path].is_enabled
            and not paths[told.path].is_draining
        ]
        return (max(free), None) if free else (0, "no path of the storage pool there takes new volumes")

    def _cells_of(self, id: ComputePoolId | None) -> list[NodeId]:
        store = self._board.store
        if id is None:
            name = store.get(COMPUTE_POOL_NAMES, "default")
            id = None if name is None else ComputePoolId(name.value.id)
        pool = None if id is None else store.get(COMPUTE_POOLS, id)
        if pool is None:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                "there is no such compute pool; say which compute_pool_id or node_id to use",
                field="compute_pool_id",
            )
        return pool.value.cells
