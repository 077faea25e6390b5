"""Snapshots of instances and their schedules: what users ask of the core."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.ids import InstanceId, SnapshotId
from nanocore.model.snapshot import SnapshotName, SnapshotSchedule
from nanocore.wire import Command, Meta, Query

Description = Annotated[str, Meta(description="Free text", max_length=2000)]
IntervalSeconds = Annotated[int, Meta(description="Seconds from one run to the next", ge=60, le=366 * 86400)]
Keep = Annotated[int, Meta(description="How many of its snapshots are kept", ge=1, le=100)]
IdempotencyKey = Annotated[str | None, Meta(description="Set from the Idempotency-Key header")]


class ListSnapshots(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of an instance's snapshots, in the order in which they were made."""

    op: ClassVar[str] = "snapshots.list_snapshots"
    permission: ClassVar[str | None] = "instance.read"

    id: Annotated[InstanceId, Meta(description="Instance")]


class GetSnapshot(Query[PageInfo], frozen=True, kw_only=True):
    """One snapshot, as a page of one."""

    op: ClassVar[str] = "snapshots.get_snapshot"
    permission: ClassVar[str | None] = "instance.read"

    id: Annotated[InstanceId, Meta(description="Instance")]
    snapshot_id: SnapshotId


class CreateSnapshot(Command[Operation], frozen=True, kw_only=True):
    """Keep the contents of all disks of an instance, running or stopped, as they are at one moment."""

    op: ClassVar[str] = "snapshots.create_snapshot"
    permission: ClassVar[str | None] = "instance.snapshot"

    id: Annotated[InstanceId, Meta(description="Instance")]
    name: SnapshotName
    description: Description = ""
    idempotency_key: IdempotencyKey = None


class DeleteSnapshot(Command[Operation], frozen=True, kw_only=True):
    """Delete a snapshot; those made after it stay."""

    op: ClassVar[str] = "snapshots.delete_snapshot"
    permission: ClassVar[str | None] = "instance.snapshot"

    id: Annotated[InstanceId, Meta(description="Instance")]
    snapshot_id: SnapshotId
    idempotency_key: IdempotencyKey = None


class RestoreSnapshot(Command[Operation], frozen=True, kw_only=True):
    """Bring the disks back to a snapshot: cuts the power of a running guest, and starts it again afterwards."""

    op: ClassVar[str] = "snapshots.restore_snapshot"
    permission: ClassVar[str | None] = "instance.snapshot"

    id: Annotated[InstanceId, Meta(description="Instance")]
    snapshot_id: SnapshotId
    idempotency_key: IdempotencyKey = None


class ListSnapshotSchedules(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of schedules."""

    op: ClassVar[str] = "snapshots.list_snapshot_schedules"
    permission: ClassVar[str | None] = "instance.read"


class GetSnapshotSchedule(Query[PageInfo], frozen=True, kw_only=True):
    """One schedule, as a page of one."""

    op: ClassVar[str] = "snapshots.get_snapshot_schedule"
    permission: ClassVar[str | None] = "instance.read"

    id: str


class CreateSnapshotSchedule(Command[SnapshotSchedule], frozen=True, kw_only=True):
    """Make snapshots of an instance every so often; the first one comes after one interval."""

    op: ClassVar[str] = "snapshots.create_snapshot_schedule"
    permission: ClassVar[str | None] = "instance.snapshot"

    instance_id: InstanceId
    name: SnapshotName
    interval_seconds: IntervalSeconds
    keep: Keep
    is_enabled: bool = True


class UpdateSnapshotSchedule(Command[SnapshotSchedule], frozen=True, kw_only=True):
    """Change what is given; a new interval counts from now."""

    op: ClassVar[str] = "snapshots.update_snapshot_schedule"
    permission: ClassVar[str | None] = "instance.snapshot"

    id: str
    name: SnapshotName | None = None
    interval_seconds: IntervalSeconds | None = None
    keep: Keep | None = None
    is_enabled: bool | None = None


class DeleteSnapshotSchedule(Command[None], frozen=True, kw_only=True):
    """End a schedule; its snapshots stay."""

    op: ClassVar[str] = "snapshots.delete_snapshot_schedule"
    permission: ClassVar[str | None] = "instance.snapshot"

    id: str
