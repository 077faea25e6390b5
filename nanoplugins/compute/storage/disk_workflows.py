"""The workflows ``instance.attach_disk``, ``instance.update_disk`` and ``instance.detach_disk``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nanocore.capabilities.guest_changes import AttachDisk, DetachDisk
from nanocore.capabilities.hypervisor import DefineDisk, Observed
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.operation import Step, StepContext
from nanocore.contracts.state_store import Delete, Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import InstanceId, NodeId
from nanocore.model.instance import DiskRecord, InstanceRecord
from nanocore.model.volume import VolumeRecord, VolumeState
from nanocore.wire import Command, Struct, structs
from nanoplugins.compute.records import CHANGE_ATTEMPTS, INSTANCES, change_instance
from nanoplugins.compute.storage.records import VOLUMES, find_disk
from nanoplugins.compute.storage.volume_workflows import VolumeParts, volume_resource


class DiskInput(Struct, frozen=True, kw_only=True):
    """A volume on its way into or out of an instance: what it is on either side."""

    instance_id: InstanceId
    instance: str
    disk: DiskRecord
    volume: VolumeRecord
    is_new: bool = False
    """Attach: make the volume first."""
    is_kept: bool = True
    """Detach: leave it as a free volume."""


class DiskParts:
    """The moves between records, and the guest's side."""

    def __init__(self, parts: VolumeParts) -> None:
        self.volumes = parts

    async def into_instance(self, input: DiskInput) -> None:
        """Turn the free volume into a disk, in one commit."""

        def add(record: InstanceRecord) -> InstanceRecord:
            return structs.replace(record, disks=[*record.disks, input.disk])

        await self._move(input, add, Delete(VOLUMES, input.volume.id), is_disk=True)

    async def out_of_instance(self, input: DiskInput, state: VolumeState) -> None:
        """Turn the disk into a free volume, in one commit."""

        def drop(record: InstanceRecord) -> InstanceRecord:
            left = [disk for disk in record.disks if disk.volume_id != input.volume.id]
            return structs.replace(record, disks=left)

        free = structs.replace(input.volume, state=state)
        await self._move(input, drop, Put(VOLUMES, input.volume.id, free), is_disk=False)

    async def _move(
        self,
        input: DiskInput,
        edit: Callable[[InstanceRecord], InstanceRecord],
        other: Put | Delete,
        *,
        is_disk: bool,
    ) -> None:
        store = self.volumes.board.store
        for attempt in range(CHANGE_ATTEMPTS):
            entry = store.get(INSTANCES, input.instance_id)
            if entry is None or (find_disk(entry.value, input.volume.id) is not None) is is_disk:
                return
            try:
                await store.commit(Put(INSTANCES, input.instance_id, edit(entry.value), expect=entry.revision), other)
            except NanoError as error:
                if error.code is not ErrorCode.CONFLICT or attempt == CHANGE_ATTEMPTS - 1:
                    raise
            else:
                break
        self.volumes.board.refresh_instance(input.instance_id)

    async def plug(self, input: DiskInput, step: StepContext) -> None:
        """Give the guest the disk; one that its cell does not know gets it when it is defined again."""
        disk = DefineDisk(volume_id=input.disk.volume_id, is_boot=input.disk.is_boot)
        await self._tell(input.volume.node_id, AttachDisk(step_key=step.key, id=input.instance_id, disk=disk))

    async def unplug(self, input: DiskInput, step: StepContext) -> None:
        """Take the disk from the guest."""
        message = DetachDisk(step_key=step.key, id=input.instance_id, volume_id=input.disk.volume_id)
        await self._tell(input.volume.node_id, message)

    async def _tell(self, node_id: NodeId, message: Command[Observed]) -> None:
        try:
            seen = await self.volumes.context.call(message, dst=node_id)
        except NanoError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
        else:
            self.volumes.board.cells.put_guest(node_id, seen)


def disk_resources(input: DiskInput) -> list[ResourceRef]:
    """Return the instance and the volume."""
    return [ResourceRef(kind="instance", id=input.instance_id, name=input.instance), volume_resource(input.volume)]


def disk_result(input: DiskInput) -> dict[str, Any]:
    """Return which volume at which instance."""
    return {"instance_id": input.instance_id, "volume_id": input.volume.id}


class AttachDiskWorkflow:
    """Make the volume if it is new, note it at the instance, give it to the guest."""

    kind = "instance.attach_disk"
    input = DiskInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = DiskParts(parts)

    def resources(self, input: DiskInput) -> list[ResourceRef]:
        """Return instance and volume."""
        return disk_resources(input)

    def result(self, input: DiskInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which volume at which instance."""
        return disk_result(input)

    def steps(self, input: DiskInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts = self._parts

        async def attach(_step: StepContext) -> None:
            await parts.into_instance(input)

        async def give_back(_step: StepContext) -> None:
            await parts.out_of_instance(input, VolumeState.CREATING if input.is_new else VolumeState.READY)

        async def plug(step: StepContext) -> None:
            await parts.plug(input, step)

        async def unplug(step: StepContext) -> None:
            await parts.unplug(input, step)

        return [
            *(parts.volumes.new_volume_steps(input.volume) if input.is_new else []),
            Step("attach", attach, give_back),
            Step("plug", plug, unplug, timeout_seconds=90),
        ]


class DetachDiskWorkflow:
    """The guest first: a disk that it does not let go stays its disk."""

    kind = "instance.detach_disk"
    input = DiskInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = DiskParts(parts)

    def resources(self, input: DiskInput) -> list[ResourceRef]:
        """Return instance and volume."""
        return disk_resources(input)

    def result(self, input: DiskInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which volume, and whether it is still there."""
        return disk_result(input) | {"is_kept": input.is_kept}

    def steps(self, input: DiskInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts = self._parts

        async def unplug(step: StepContext) -> None:
            await parts.unplug(input, step)

        async def plug(step: StepContext) -> None:
            await parts.plug(input, step)

        async def detach(_step: StepContext) -> None:
            await parts.out_of_instance(input, VolumeState.READY if input.is_kept else VolumeState.DELETING)

        steps = [
            Step("unplug", unplug, plug, timeout_seconds=120),
            Step("detach", detach, is_final_commit=True),
        ]
        return steps if input.is_kept else [*steps, *parts.volumes.deletion_steps(input.volume)]


class UpdateDiskInput(Struct, frozen=True, kw_only=True):
    """What is to change at a disk; ``None`` stays."""

    instance_id: InstanceId
    instance: str
    node_id: NodeId
    disk: DiskRecord
    name: str | None = None
    size_bytes: int | None = None
    is_kept: bool | None = None
    is_shrink_confirmed: bool = False


class UpdateDiskWorkflow:
    """The cell first: a size that the cell refuses never gets into the record."""

    kind = "instance.update_disk"
    input = UpdateDiskInput

    def __init__(self, parts: VolumeParts) -> None:
        self._parts = parts

    def resources(self, input: UpdateDiskInput) -> list[ResourceRef]:
        """Return instance and volume."""
        return [
            ResourceRef(kind="instance", id=input.instance_id, name=input.instance),
            ResourceRef(kind="volume", id=input.disk.volume_id, name=input.disk.name or None),
        ]

    def result(self, input: UpdateDiskInput, _outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Return which volume at which instance."""
        return {"instance_id": input.instance_id, "volume_id": input.disk.volume_id}

    def steps(self, input: UpdateDiskInput) -> Sequence[Step]:
        """Return the steps in order."""
        parts, size = self._parts, input.size_bytes
        wanted = {"name": input.name, "size_bytes": size, "is_kept": input.is_kept}
        changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}

        async def resize(step: StepContext) -> None:
            if size is not None:
                volume = await parts.commands.resize(
                    input.node_id,
                    input.disk.volume_id,
                    size,
                    step.key,
                    is_shrink_confirmed=input.is_shrink_confirmed,
                    instance_id=input.instance_id,
                )
                parts.storage.put_volume(input.node_id, volume)

        def edit(record: InstanceRecord) -> InstanceRecord:
            disks = [
                structs.replace(disk, **changes) if disk.volume_id == input.disk.volume_id else disk
                for disk in record.disks
            ]
            return structs.replace(record, disks=disks)

        async def note(_step: StepContext) -> None:
            await change_instance(parts.board.store, input.instance_id, edit)
            parts.board.refresh_instance(input.instance_id)

        steps = [] if size is None else [Step("resize", resize, timeout_seconds=180)]
        return [*steps, Step("record", note, is_final_commit=True)]
