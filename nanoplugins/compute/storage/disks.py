"""What users ask about the disks of an instance."""

from __future__ import annotations

from nanocore.capabilities.volumes import AttachDisk, DetachDisk, UpdateDisk
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import Operation
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId, new_id
from nanocore.model.instance import DiskRecord, InstanceAction, InstanceRecord, ObservedState
from nanocore.model.volume import VolumeRecord, VolumeState
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import node_of
from nanoplugins.compute.permits import check_devices_free, check_new_size, check_permitted, check_size, find_repeated
from nanoplugins.compute.storage.disk_workflows import DiskInput, UpdateDiskInput
from nanoplugins.compute.storage.records import (
    choose_pool,
    disk_of,
    find_disk,
    free_volume,
    get_volume,
    snapshots_of,
)

MAX_DISKS = 16


class Disks:
    """Handlers of ``volumes.*_disk``."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return one handler a message."""
        return [
            Handler(AttachDisk, self._attach, resource=_resource),
            Handler(UpdateDisk, self.update, resource=_resource),
            Handler(DetachDisk, self._detach, resource=_resource),
        ]

    async def _attach(self, message: AttachDisk, call: Call) -> Operation:
        repeated = find_repeated(self._context, "instance.attach_disk", message, call)
        if repeated is not None:
            return repeated
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        check_devices_free(record, observed)
        if len(record.disks) >= MAX_DISKS:
            raise NanoError(
                ErrorCode.WRONG_STATE, f"instance {record.name} has {MAX_DISKS} disks, which is the most it can have"
            )
        volume = self._free_volume(message, record) if message.volume_id else self._new_volume(message, record)
        disk = disk_of(volume, name=message.name, is_kept=message.is_kept)
        return await self._run(
            "instance.attach_disk",
            DiskInput(
                instance_id=record.id,
                instance=record.name,
                disk=disk,
                volume=volume,
                is_new=message.volume_id is None,
            ),
            message.idempotency_key,
            call,
        )

    def _free_volume(self, message: AttachDisk, record: InstanceRecord) -> VolumeRecord:
        if message.size_bytes is not None or message.storage_pool_id is not None:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                "a volume that exists has its size and storage pool: give volume_id alone",
                field="volume_id",
            )
        volume = get_volume(self._board.store, message.volume_id or VolumeId("")).value
        if volume.state is not VolumeState.READY:
            raise NanoError(ErrorCode.WRONG_STATE, f"volume {volume.name} is {volume.state.value}", field="volume_id")
        if volume.node_id != record.node_id:
            cells = [self._board.cells.find(node_id) for node_id in (volume.node_id, record.node_id)]
            names = ["?" if cell is None else cell.info.name for cell in cells]
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"volume {volume.name} lies on node {names[0]}, instance {record.name} on {names[1]}: "
                "a volume can't be attached across nodes",
                field="volume_id",
            )
        return volume

    def _new_volume(self, message: AttachDisk, record: InstanceRecord) -> VolumeRecord:
        if message.size_bytes is None:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                "say size_bytes for a new disk, or volume_id for a volume that exists",
                field="size_bytes",
            )
        check_size(message.size_bytes)
        return VolumeRecord(
            id=VolumeId(new_id()),
            name=message.name or f"{record.name}-{len(record.disks)}",
            size_bytes=message.size_bytes,
            node_id=node_of(record),
            storage_pool_id=choose_pool(self._board.store, message.storage_pool_id, record.compute_pool_id),
            state=VolumeState.CREATING,
            owner=record.owner,
            created_at=self._context.clock.now(),
        )

    async def update(self, message: UpdateDisk, call: Call) -> Operation:
        """Change a disk; also for ``volumes.update_volume`` of an attached one."""
        repeated = find_repeated(self._context, "instance.update_disk", message, call)
        if repeated is not None:
            return repeated
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        disk = self._disk(record, message.volume_id)
        if message.size_bytes is not None:
            self._check_resize(message, record, disk, observed)
        if message.name is None and message.size_bytes is None and message.is_kept is None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "say what to change: name, size_bytes or is_kept")
        operation = await self._context.operations.run(
            "instance.update_disk",
            UpdateDiskInput(
                instance_id=record.id,
                instance=record.name,
                node_id=node_of(record),
                disk=disk,
                name=message.name,
                size_bytes=message.size_bytes,
                is_kept=message.is_kept,
                is_shrink_confirmed=message.is_shrink_confirmed,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(record.id)
        return operation

    def _check_resize(
        self, message: UpdateDisk, record: InstanceRecord, disk: DiskRecord, observed: ObservedState
    ) -> None:
        size = message.size_bytes or 0
        check_devices_free(record, observed)
        check_new_size(disk.size_bytes, size, is_confirmed=message.is_shrink_confirmed)
        if size >= disk.size_bytes:
            return
        if observed not in (ObservedState.STOPPED, ObservedState.MISSING):
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"instance {record.name} is {observed.value}: a disk shrinks only while it is stopped",
            )
        count = sum(disk.volume_id in snapshot.volume_ids for snapshot in snapshots_of(self._board.store, record.id))
        if count:
            raise NanoError(
                ErrorCode.WRONG_STATE, f"{count} snapshots hold the disk at its size; delete them before it shrinks"
            )

    async def _detach(self, message: DetachDisk, call: Call) -> Operation:
        repeated = find_repeated(self._context, "instance.detach_disk", message, call)
        if repeated is not None:
            return repeated
        record, observed = check_permitted(self._context, self._board, InstanceAction.UPDATE, message.id)
        check_devices_free(record, observed)
        disk = self._disk(record, message.volume_id)
        if disk.is_boot:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"instance {record.name} starts from this disk; set is_kept to keep it when the instance is deleted",
            )
        names = [
            snapshot.name
            for snapshot in snapshots_of(self._board.store, record.id)
            if disk.volume_id in snapshot.volume_ids
        ]
        if names:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"the disk is part of {len(names)} snapshots of instance {record.name}, such as {names[0]!r}; "
                "delete them first",
            )
        volume = free_volume(disk, record, node_of(record), self._context.clock.now())
        return await self._run(
            "instance.detach_disk",
            DiskInput(instance_id=record.id, instance=record.name, disk=disk, volume=volume, is_kept=message.is_kept),
            message.idempotency_key,
            call,
        )

    async def _run(self, kind: str, input: DiskInput, key: str | None, call: Call) -> Operation:
        operation = await self._context.operations.run(kind, input, requested_by=call.actor, idempotency_key=key)
        self._board.refresh_instance(input.instance_id)
        return operation

    def _disk(self, record: InstanceRecord, id: VolumeId) -> DiskRecord:
        disk = find_disk(record, id)
        if disk is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"instance {record.name} has no disk {id[:80]}")
        return disk


def _resource(message: AttachDisk | UpdateDisk | DetachDisk) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)
