"""Snapshots of instances: their disks at one moment, kept inside the disks; and schedules that make them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from nanocore.ids import InstanceId, OperationId, SnapshotId, VolumeId
from nanocore.wire import Meta, Result, Struct, field

SnapshotName = Annotated[
    str,
    Meta(
        description="Name, unique among the instance's snapshots",
        pattern=r"^[^\x00-\x20\x7f]([^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?$",
        max_length=100,
    ),
]


class SnapshotState(StrEnum):
    """Where a snapshot is in its life."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"
    MISSING = "missing"
    """The disks don't have it any more."""


class Snapshot(Result, frozen=True, kw_only=True):
    """A snapshot as the API shows it. Memory is no part of it: restoring is like pulling the plug at that moment."""

    id: SnapshotId
    name: str
    description: str = ""
    instance_id: InstanceId
    instance: str = ""
    parent_id: SnapshotId | None = None
    """The snapshot that the disks were like before, or ``None``."""
    is_current: bool = False
    """Whether the disks descend from it directly: the parent of the next snapshot."""
    is_consistent: bool = False
    """Whether file systems were at rest: the guest was off, or its agent froze them."""
    state: SnapshotState
    volume_ids: list[VolumeId] = field(default_factory=list)
    """The disks that it covers."""
    schedule_id: str | None = None
    size_bytes: int | None = None
    """What it takes, where that is known without reading the whole disk."""
    operation_id: OperationId | None = None
    created_at: datetime


class SnapshotRecord(Struct, frozen=True, kw_only=True):
    """What the core's store holds; whether it exists is seen in the disks."""

    id: SnapshotId
    name: str
    description: str = ""
    instance_id: InstanceId
    parent_id: SnapshotId | None = None
    is_current: bool = False
    is_consistent: bool = False
    state: SnapshotState = SnapshotState.CREATING
    volume_ids: list[VolumeId] = field(default_factory=list)
    schedule_id: str | None = None
    created_at: datetime


class SnapshotSchedule(Result, frozen=True, kw_only=True):
    """Makes a snapshot of an instance every so often and deletes the oldest of its own."""

    id: str
    name: str
    instance_id: InstanceId
    instance: str = ""
    interval_seconds: int
    keep: int
    is_enabled: bool = True
    next_run_at: datetime
    last_run_at: datetime | None = None
    last_error: str | None = None
    """Why the last run failed; ``None`` after one that worked."""
    failures: int = 0
    """Runs that failed since the last one that worked."""
    snapshots: int = 0
    """How many of its snapshots there are."""
    created_at: datetime


class SnapshotScheduleRecord(Struct, frozen=True, kw_only=True):
    """What the core's store holds."""

    id: str
    name: str
    instance_id: InstanceId
    interval_seconds: int
    keep: int
    is_enabled: bool = True
    next_run_at: datetime
    last_run_at: datetime | None = None
    last_error: str | None = None
    failures: int = 0
    owner: str = ""
    created_at: datetime
