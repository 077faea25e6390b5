"""Volumes and the disks of instances: what users ask of the core."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.ids import ComputePoolId, InstanceId, NodeId, StoragePoolId, VolumeId
from nanocore.model.instance import DiskBytes
from nanocore.wire import Command, Meta, Query

VolumeName = Annotated[
    str,
    Meta(
        description="Name for people; need not be unique",
        pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$",
        max_length=100,
    ),
]
IdempotencyKey = Annotated[str | None, Meta(description="Set from the Idempotency-Key header")]


class ListVolumes(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of volumes, free ones and those that are disks of instances."""

    op: ClassVar[str] = "volumes.list_volumes"
    permission: ClassVar[str | None] = "volume.read"


class GetVolume(Query[PageInfo], frozen=True, kw_only=True):
    """One volume, as a page of one."""

    op: ClassVar[str] = "volumes.get_volume"
    permission: ClassVar[str | None] = "volume.read"

    id: VolumeId


class CreateVolume(Command[Operation], frozen=True, kw_only=True):
    """Make an empty volume on a cell, to attach it to an instance there."""

    op: ClassVar[str] = "volumes.create_volume"
    permission: ClassVar[str | None] = "volume.create"

    name: VolumeName
    size_bytes: DiskBytes
    compute_pool_id: Annotated[ComputePoolId | None, Meta(description="Compute pool; default: the pool `default`")] = (
        None
    )
    node_id: Annotated[
        NodeId | None, Meta(description="Cell; default: the one with the most free space in the storage pool")
    ] = None
    storage_pool_id: Annotated[StoragePoolId | None, Meta(description="Storage pool; default: the pool `default`")] = (
        None
    )
    idempotency_key: IdempotencyKey = None


class UpdateVolume(Command[Operation], frozen=True, kw_only=True):
    """Rename or resize a volume, free or attached; shrinking loses what lies at its end and has to be confirmed."""

    op: ClassVar[str] = "volumes.update_volume"
    permission: ClassVar[str | None] = "volume.update"

    id: VolumeId
    name: VolumeName | None = None
    size_bytes: DiskBytes | None = None
    is_shrink_confirmed: Annotated[
        bool, Meta(description="Shrink it although what lies beyond the new size is lost")
    ] = False
    idempotency_key: IdempotencyKey = None


class DeleteVolume(Command[Operation], frozen=True, kw_only=True):
    """Delete a free volume; ``wrong_state`` while it is attached."""

    op: ClassVar[str] = "volumes.delete_volume"
    permission: ClassVar[str | None] = "volume.delete"

    id: VolumeId
    idempotency_key: IdempotencyKey = None


class AttachDisk(Command[Operation], frozen=True, kw_only=True):
    """Give an instance, running or not, a new empty disk or a free volume of its cell."""

    op: ClassVar[str] = "volumes.attach_disk"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    volume_id: Annotated[VolumeId | None, Meta(description="A free volume on the instance's cell")] = None
    size_bytes: Annotated[DiskBytes | None, Meta(description="Size of a new disk, instead of `volume_id`")] = None
    name: VolumeName | None = None
    is_kept: Annotated[bool, Meta(description="Keep it as a volume when the instance is deleted")] = False
    storage_pool_id: Annotated[StoragePoolId | None, Meta(description="For a new disk; default: `default`")] = None
    idempotency_key: IdempotencyKey = None


class UpdateDisk(Command[Operation], frozen=True, kw_only=True):
    """Rename a disk, keep it or not, grow it while its instance runs; shrink it only stopped and confirmed."""

    op: ClassVar[str] = "volumes.update_disk"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    volume_id: VolumeId
    name: VolumeName | None = None
    size_bytes: DiskBytes | None = None
    is_kept: bool | None = None
    is_shrink_confirmed: Annotated[
        bool, Meta(description="Shrink it although what lies beyond the new size is lost")
    ] = False
    idempotency_key: IdempotencyKey = None


class DetachDisk(Command[Operation], frozen=True, kw_only=True):
    """Take a disk from an instance, running or not; it stays as a free volume unless told otherwise."""

    op: ClassVar[str] = "volumes.detach_disk"
    permission: ClassVar[str | None] = "instance.update"

    id: Annotated[InstanceId, Meta(description="Instance")]
    volume_id: VolumeId
    is_kept: Annotated[bool, Meta(description="false deletes it with everything on it")] = True
    idempotency_key: IdempotencyKey = None
