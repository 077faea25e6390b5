"""From records and what cells told to what the API shows of storage. All pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nanocore.capabilities.hypervisor import PathReport
from nanocore.capabilities.storage import VolumeInfo
from nanocore.ids import ComputePoolId, OperationId, StoragePoolId, VolumeId
from nanocore.model.instance import DiskRecord, InstanceRecord
from nanocore.model.snapshot import (
    Snapshot,
    SnapshotRecord,
    SnapshotSchedule,
    SnapshotScheduleRecord,
    SnapshotState,
)
from nanocore.model.storage_pool import (
    StoragePathCondition,
    StoragePathRecord,
    StoragePool,
    StoragePoolPath,
    StoragePoolRecord,
)
from nanocore.model.volume import Volume, VolumeRecord, VolumeState
from nanocore.wire import structs
from nanoplugins.compute.cells import Cell


@dataclass(frozen=True)
class VolumeFacts:
    """Everything beside the record that a volume's view is made of."""

    cell: Cell | None
    seen: VolumeInfo | None
    has_told: bool
    """Whether the cell has told of all its volumes."""
    is_new: bool
    """Whether it has not done so since the volume came."""
    pool_id: StoragePoolId | None
    pool_name: str | None
    operation_id: OperationId | None


def free_view(record: VolumeRecord, facts: VolumeFacts) -> Volume:
    """Return what the API shows of a free volume."""
    state, reason = _state(record.state, facts)
    view = Volume(
        id=record.id,
        name=record.name,
        size_bytes=record.size_bytes,
        state=state,
        reason=reason,
        node_id=record.node_id,
        image_id=record.image_id,
        created_at=record.created_at,
    )
    return _placed(view, facts)


def disk_view(disk: DiskRecord, record: InstanceRecord, facts: VolumeFacts) -> Volume:
    """Return what the API shows of a volume that is a disk."""
    state, reason = _state(VolumeState.READY if record.is_created else VolumeState.CREATING, facts)
    view = Volume(
        id=disk.volume_id,
        name=disk.name or f"{record.name}-{record.disks.index(disk)}",
        size_bytes=disk.size_bytes,
        state=state,
        reason=reason,
        node_id=record.node_id,
        instance_id=record.id,
        instance=record.name,
        is_boot=disk.is_boot,
        is_kept=disk.is_kept,
        image_id=disk.image_id,
        created_at=record.created_at,
    )
    return _placed(view, facts)


def _placed(view: Volume, facts: VolumeFacts) -> Volume:
    seen = facts.seen
    return structs.replace(
        view,
        node=None if facts.cell is None else facts.cell.info.name,
        storage_pool_id=facts.pool_id,
        storage_pool=facts.pool_name,
        path=None if seen is None else seen.folder or None,
        used_bytes=None if seen is None else seen.used_bytes,
        snapshots=0 if seen is None else len(seen.snapshots),
        operation_id=facts.operation_id,
    )


def _state(state: VolumeState, facts: VolumeFacts) -> tuple[VolumeState, str | None]:
    cell = facts.cell
    if state is not VolumeState.READY:
        return state, None
    if cell is None:
        return VolumeState.UNKNOWN, "its node is not registered any more"
    if not cell.is_reachable or not facts.has_told:
        why = "has not reported yet" if cell.is_reachable else "is unreachable"
        return VolumeState.UNKNOWN, f"node {cell.info.name} {why}"
    if facts.seen is None and not facts.is_new:
        return VolumeState.MISSING, f"node {cell.info.name} has no such volume on any path that can be used"
    return state, None


def path_view(path: StoragePathRecord, cell: Cell | None) -> StoragePoolPath:
    """Return what the API shows of a path."""
    told = None if cell is None else next((told for told in cell.report.storage_paths if told.path == path.path), None)
    state, reason = _condition(path, cell, told)
    return StoragePoolPath(
        id=path.id,
        node_id=path.node_id,
        node=None if cell is None else cell.info.name,
        path=path.path,
        state=state,
        reason=reason,
        is_enabled=path.is_enabled,
        is_draining=path.is_draining,
        is_configured=path.is_configured,
        total_bytes=0 if told is None else told.total_bytes,
        used_bytes=0 if told is None else told.used_bytes,
        volumes=0 if told is None else told.volumes,
    )


def _condition(
    path: StoragePathRecord, cell: Cell | None, told: PathReport | None
) -> tuple[StoragePathCondition, str | None]:
    if cell is None or not cell.is_reachable or told is None:
        name = "its node" if cell is None else f"node {cell.info.name}"
        why = "has not told of it yet" if cell is not None and cell.is_reachable else "can't be asked"
        return StoragePathCondition.UNKNOWN, f"{name} {why}"
    if told.reason is not None:
        return StoragePathCondition.FAILED, told.reason
    if path.is_draining:
        return StoragePathCondition.DRAINING, f"{told.volumes} volumes are left" if told.volumes else "it is empty"
    return (StoragePathCondition.ONLINE if path.is_enabled else StoragePathCondition.DISABLED), None


def pool_view(
    record: StoragePoolRecord, cells: Sequence[Cell | None], compute_pools: list[ComputePoolId], volumes: int
) -> StoragePool:
    """Return what the API shows of a storage pool; ``cells`` are those of its paths, in order."""
    pairs = list(zip(record.paths, cells, strict=True))
    paths = [path_view(path, cell) for path, cell in pairs]
    # Paths of one cell with the same figures lie on one file system.
    spaces = {(path.node_id, path.total_bytes, path.used_bytes) for path in paths}
    drivers = sorted({cell.report.storage_driver for cell in cells if cell is not None and cell.report.storage_driver})
    return StoragePool(
        id=record.id,
        name=record.name,
        description=record.description,
        driver=", ".join(drivers),
        compute_pool_ids=compute_pools,
        paths=paths,
        total_bytes=sum(space[1] for space in spaces),
        used_bytes=sum(space[2] for space in spaces),
        volumes=volumes,
        created_at=record.created_at,
    )


def snapshot_view(
    record: SnapshotRecord, instance: str, seen: dict[VolumeId, VolumeInfo], operation_id: OperationId | None
) -> Snapshot:
    """Return what the API shows of a snapshot; ``seen`` are the disks as their cell told them last."""
    state = record.state
    told = [seen[id] for id in record.volume_ids if id in seen]
    if state is SnapshotState.READY and any(record.id not in volume.snapshots for volume in told):
        state = SnapshotState.MISSING
    return Snapshot(
        id=record.id,
        name=record.name,
        description=record.description,
        instance_id=record.instance_id,
        instance=instance,
        parent_id=record.parent_id,
        is_current=record.is_current,
        is_consistent=record.is_consistent,
        state=state,
        volume_ids=record.volume_ids,
        schedule_id=record.schedule_id,
        operation_id=operation_id,
        created_at=record.created_at,
    )


def schedule_view(record: SnapshotScheduleRecord, instance: str, snapshots: int) -> SnapshotSchedule:
    """Return what the API shows of a schedule."""
    return SnapshotSchedule(
        id=record.id,
        name=record.name,
        instance_id=record.instance_id,
        instance=instance,
        interval_seconds=record.interval_seconds,
        keep=record.keep,
        is_enabled=record.is_enabled,
        next_run_at=record.next_run_at,
        last_run_at=record.last_run_at,
        last_error=record.last_error,
        failures=record.failures,
        snapshots=snapshots,
        created_at=record.created_at,
    )


def next_run(record: SnapshotScheduleRecord, now: datetime) -> datetime:
    """Return when the run after one at ``now`` is due: what was missed meanwhile is not made up for."""
    late = (now - record.next_run_at).total_seconds()
    runs = int(late // record.interval_seconds) + 1
    return record.next_run_at + timedelta(seconds=runs * record.interval_seconds)
