"""Volumes: block storage with a life of its own; attached to an instance it is that instance's disk."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from nanocore.ids import ImageId, InstanceId, NodeId, OperationId, StoragePoolId, VolumeId
from nanocore.wire import Result, Struct


class VolumeState(StrEnum):
    """Where a volume is in its life."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"
    MISSING = "missing"
    """Its cell is there and has no such volume."""
    UNKNOWN = "unknown"
    """Its cell can't be asked."""


class Volume(Result, frozen=True, kw_only=True):
    """A volume as the API shows it, free or attached."""

    id: VolumeId
    name: str
    size_bytes: int
    used_bytes: int | None = None
    """What it takes on its path, snapshots included."""
    state: VolumeState
    reason: str | None = None
    node_id: NodeId | None = None
    node: str | None = None
    storage_pool_id: StoragePoolId | None = None
    storage_pool: str | None = None
    path: str | None = None
    """The path of the storage pool in which it lies."""
    instance_id: InstanceId | None = None
    instance: str | None = None
    is_boot: bool = False
    is_kept: bool = False
    image_id: ImageId | None = None
    snapshots: int = 0
    operation_id: OperationId | None = None
    created_at: datetime


class VolumeRecord(Struct, frozen=True, kw_only=True):
    """A free volume. An attached one has no such record: it is a ``DiskRecord`` of its instance."""

    id: VolumeId
    name: str
    size_bytes: int
    node_id: NodeId
    storage_pool_id: StoragePoolId | None = None
    image_id: ImageId | None = None
    state: VolumeState = VolumeState.READY
    owner: str = ""
    created_at: datetime
