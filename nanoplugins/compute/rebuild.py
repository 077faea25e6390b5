"""The workflow ``instance.rebuild``: a fresh boot disk, everything else as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanocore.capabilities.compute import RebuildInstance
from nanocore.capabilities.hypervisor import PowerAction
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import Call, Handler
from nanocore.contracts.operation import Operation, Step, StepContext, Workflow
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, VolumeId, new_id
from nanocore.model.instance import DesiredState, DiskRecord, InstanceAction, InstanceRecord
from nanocore.wire import Struct, structs
from nanoplugins.compute.board import Board
from nanoplugins.compute.cell_commands import CellCommands, node_of
from nanoplugins.compute.composing import whole_sectors
from nanoplugins.compute.permits import check_permitted, find_repeated
from nanoplugins.compute.records import TOMBSTONES, Tombstone, change_instance, get_instance
from nanoplugins.compute.sources import SourceImage, get_disk_source
from nanoplugins.compute.storage.records import VOLUMES, free_volume, snapshots_of

REBUILD = "instance.rebuild"


class RebuildInput(Struct, frozen=True, kw_only=True):
    """The record as it was, and what replaces its boot disk."""

    record: InstanceRecord
    image: SourceImage
    disk: DiskRecord
    is_started: bool


class Rebuilds:
    """Handler of ``compute.rebuild_instance`` and its workflow."""

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board

    def handlers(self) -> list[Handler]:
        """Return the handler."""
        return [Handler(RebuildInstance, self._rebuild, resource=_resource)]

    def workflows(self) -> list[Workflow[Any]]:
        """Return the workflow."""
        return [RebuildWorkflow(self._context, self._board)]

    async def _rebuild(self, message: RebuildInstance, call: Call) -> Operation:
        repeated = find_repeated(self._context, REBUILD, message, call)
        if repeated is not None:
            return repeated
        record, _ = check_permitted(self._context, self._board, InstanceAction.REBUILD, message.id)
        image_id = message.image_id or record.image_id
        if image_id is None:
            text = f"instance {record.name} was not made from an image; say which image_id to rebuild it from"
            raise NanoError(ErrorCode.INVALID_ARGUMENT, text, field="image_id")
        image = await get_disk_source(self._context, ImageId(image_id), "image_id")
        boot = _boot_disk(record)
        self._check_snapshots(record, boot)
        operation = await self._context.operations.run(
            REBUILD,
            RebuildInput(
                record=record,
                image=image,
                disk=structs.replace(
                    boot,
                    volume_id=VolumeId(new_id()),
                    size_bytes=max(boot.size_bytes, whole_sectors(image.virtual_size_bytes)),
                    is_kept=False,
                    image_id=image.id,
                ),
                is_started=message.is_started,
            ),
            requested_by=call.actor,
            idempotency_key=message.idempotency_key,
        )
        self._board.refresh_instance(record.id)
        return operation

    def _check_snapshots(self, record: InstanceRecord, boot: DiskRecord) -> None:
        held = [each.name for each in snapshots_of(self._board.store, record.id) if boot.volume_id in each.volume_ids]
        if held:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"the boot disk of instance {record.name} is part of {len(held)} snapshots, such as {held[0]!r}, "
                "which would be lost with it; delete them first",
            )


class RebuildWorkflow:
    """Image, new volume, record, guest, start; the old boot disk goes when all of that has worked."""

    kind = REBUILD
    input = RebuildInput

    def __init__(self, context: PluginContext, board: Board) -> None:
        self._context = context
        self._board = board
        self._cell = CellCommands(context, board.cells)

    def resources(self, input: RebuildInput) -> list[ResourceRef]:
        """Return the instance."""
        return [ResourceRef(kind="instance", id=input.record.id, name=input.record.name)]

    def result(self, input: RebuildInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return what it was made from now."""
        return {"instance_id": input.record.id, "image_id": input.image.id, "volume_id": input.disk.volume_id}

    def steps(self, input: RebuildInput) -> Sequence[Step]:
        """Return the steps in order."""
        run = _Rebuild(self._context, self._board, self._cell, input)
        steps = [
            Step("cache_image", run.cache_image, timeout_seconds=3600),
            Step("create_volume", run.create_volume, run.delete_volume, timeout_seconds=180),
            Step("record", run.note, run.note_before),
            Step("define", run.define, run.define_before),
        ]
        if input.is_started:
            steps.append(Step("start", run.start, run.power_off, timeout_seconds=150))
        return [
            *steps,
            Step("finish", run.finish, is_final_commit=True),
            Step("delete_old", run.delete_old),
        ]


class _Rebuild:
    """The steps of one rebuild."""

    def __init__(self, context: PluginContext, board: Board, cell: CellCommands, input: RebuildInput) -> None:
        self._context = context
        self._board = board
        self._cell = cell
        self._input = input
        self._id = input.record.id
        self._node_id = node_of(input.record)
        self._old = _boot_disk(input.record)

    async def cache_image(self, step: StepContext) -> None:
        """Have the image on the cell."""
        await self._cell.ensure_cached(self._node_id, self._input.image, step.key)

    async def create_volume(self, step: StepContext) -> None:
        """Clone the new boot disk."""
        await self._cell.create_volume(self._node_id, self._input.disk, step.key)

    async def delete_volume(self, step: StepContext) -> None:
        """Remove the new boot disk; a lost cell is cleared when it comes back."""
        id = self._input.disk.volume_id
        await self._board.store.commit(self._bury(id))
        await self._cell.unless_lost(self._node_id, self._cell.delete_volume(self._node_id, id, step.key))

    async def note(self, _step: StepContext) -> None:
        """Put the new boot disk in the old one's place."""
        await self._swap(self._old.volume_id, self._input.disk, self._input.image.id)

    async def note_before(self, _step: StepContext) -> None:
        """Put the old boot disk back."""
        await self._swap(self._input.disk.volume_id, self._old, self._input.record.image_id)

    async def _swap(self, id: VolumeId, disk: DiskRecord, image_id: ImageId | None) -> None:
        def edit(record: InstanceRecord) -> InstanceRecord:
            disks = [disk if each.volume_id == id else each for each in record.disks]
            return structs.replace(record, disks=disks, image_id=image_id)

        self._board.image_names[self._input.image.id] = self._input.image.name
        await change_instance(self._board.store, self._id, edit)
        self._board.refresh_instance(self._id)

    async def define(self, step: StepContext) -> None:
        """Make ports and guest as the record wants them now."""
        record = get_instance(self._board.store, self._id)
        for nic in record.nics:
            await self._cell.ensure_port(record, nic, step.key)
        await self._cell.define(record, step.key)

    async def define_before(self, step: StepContext) -> None:
        """Make the guest as it was, its record follows; on a lost cell its next start does so."""
        now = get_instance(self._board.store, self._id)
        disks = [self._old if each.volume_id == self._input.disk.volume_id else each for each in now.disks]
        command = self._cell.define(structs.replace(now, disks=disks), step.key)
        await self._cell.unless_lost(self._node_id, command)

    async def start(self, step: StepContext) -> None:
        """Start it from the new disk."""
        record = get_instance(self._board.store, self._id)
        seen = await self._cell.change_power(record, PowerAction.START, step.key)
        self._board.cells.put_guest(self._node_id, seen)

    async def power_off(self, step: StepContext) -> None:
        """Stop it again."""
        seen = await self._cell.change_power(self._input.record, PowerAction.POWER_OFF, step.key)
        self._board.cells.put_guest(self._node_id, seen)

    async def finish(self, _step: StepContext) -> None:
        """Let go of the old boot disk: as a volume of its own if it is kept, else by its tombstone."""
        store, record, old = self._board.store, self._input.record, self._old
        now = self._context.clock.now()
        leaves: Put | Delete
        if old.is_kept:
            leaves = Put(VOLUMES, old.volume_id, free_volume(old, record, self._node_id, now))
        else:
            leaves = self._bury(old.volume_id)
        await store.commit(leaves)
        desired = DesiredState.RUNNING if self._input.is_started else DesiredState.STOPPED
        await change_instance(store, self._id, lambda now: structs.replace(now, desired=desired))
        self._board.refresh_instance(self._id)

    def _bury(self, id: VolumeId) -> Put:
        now = self._context.clock.now()
        return Put(TOMBSTONES, id, Tombstone(id=InstanceId(id), name=self._input.record.name, volumes=[id], at=now))

    async def delete_old(self, step: StepContext) -> None:
        """Remove the old boot disk, unless it is kept."""
        if not self._old.is_kept:
            command = self._cell.delete_volume(self._node_id, self._old.volume_id, step.key)
            await self._cell.unless_lost(self._node_id, command)


def _boot_disk(record: InstanceRecord) -> DiskRecord:
    found = next((disk for disk in record.disks if disk.is_boot), None)
    if found is None:
        raise NanoError(ErrorCode.WRONG_STATE, f"instance {record.name} has no boot disk to replace")
    return found


def _resource(message: RebuildInstance) -> ResourceRef:
    return ResourceRef(kind="instance", id=message.id)
