"""What ``compute`` keeps of volumes, storage pools, snapshots and schedules.

A volume is in exactly one record: a free one in ``VOLUMES``, an attached one in its instance's ``disks``. Attaching and
detaching move it from one to the other in one commit, so no crash can lose or double it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from nanocore.contracts.state_store import Collection, Delete, Entry, Put, StateStore
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ComputePoolId, InstanceId, NodeId, SnapshotId, StoragePoolId, VolumeId
from nanocore.model.instance import DiskRecord, InstanceRecord
from nanocore.model.snapshot import SnapshotRecord, SnapshotScheduleRecord
from nanocore.model.storage_pool import StoragePathRecord, StoragePoolRecord
from nanocore.model.volume import VolumeRecord, VolumeState
from nanoplugins.compute.records import COMPUTE_POOLS, INSTANCES, TOMBSTONES, NameRecord, Tombstone

VOLUMES: Collection[VolumeRecord] = Collection("volumes", VolumeRecord, (("node", lambda record: record.node_id),))
STORAGE_POOLS: Collection[StoragePoolRecord] = Collection("storage_pools", StoragePoolRecord)
STORAGE_POOL_NAMES: Collection[NameRecord] = Collection("storage_pool_names", NameRecord)
SNAPSHOTS: Collection[SnapshotRecord] = Collection(
    "snapshots", SnapshotRecord, (("instance", lambda record: record.instance_id),)
)
SNAPSHOT_SCHEDULES: Collection[SnapshotScheduleRecord] = Collection(
    "snapshot_schedules", SnapshotScheduleRecord, (("instance", lambda record: record.instance_id),)
)

ALL: list[Collection[Any]] = [VOLUMES, STORAGE_POOLS, STORAGE_POOL_NAMES, SNAPSHOTS, SNAPSHOT_SCHEDULES]

DEFAULT_POOL = "default"


def find_disk(record: InstanceRecord, id: VolumeId) -> DiskRecord | None:
    """Return the disk that is that volume."""
    return next((disk for disk in record.disks if disk.volume_id == id), None)


def find_holder(store: StateStore, id: VolumeId) -> Entry[InstanceRecord] | None:
    """Return the instance whose disk the volume is."""
    return next((entry for entry in store.list(INSTANCES) if find_disk(entry.value, id)), None)


def get_volume(store: StateStore, id: VolumeId) -> Entry[VolumeRecord]:
    """Return a free volume's record; raise ``not_found``, or ``wrong_state`` for one that is attached."""
    entry = store.get(VOLUMES, id)
    if entry is not None:
        return entry
    holder = find_holder(store, id)
    if holder is None:
        raise NanoError(ErrorCode.NOT_FOUND, f"there is no volume with id {id[:80]}")
    raise NanoError(
        ErrorCode.WRONG_STATE,
        f"volume {id} is a disk of instance {holder.value.name}; detach it first",
        reason="compute.attached",
    )


def free_volume(disk: DiskRecord, record: InstanceRecord, node_id: NodeId, at: datetime) -> VolumeRecord:
    """Return the record that a disk gets when it leaves its instance."""
    return VolumeRecord(
        id=disk.volume_id,
        name=disk.name or f"{record.name}-{record.disks.index(disk)}",
        size_bytes=disk.size_bytes,
        node_id=node_id,
        storage_pool_id=disk.storage_pool_id,
        image_id=disk.image_id,
        owner=record.owner,
        created_at=at,
    )


def disk_of(volume: VolumeRecord, *, name: str | None = None, is_kept: bool = False) -> DiskRecord:
    """Return the disk that a free volume becomes."""
    return DiskRecord(
        volume_id=volume.id,
        name=volume.name if name is None else name,
        size_bytes=volume.size_bytes,
        storage_pool_id=volume.storage_pool_id,
        is_kept=is_kept,
        image_id=volume.image_id,
    )


def claim_volume(store: StateStore, id: VolumeId) -> list[Put | Delete]:
    """Return the change that takes a free volume's record away; commit it with the instance that gets the disk."""
    entry = get_volume(store, id)
    if entry.value.state is not VolumeState.READY:
        raise NanoError(ErrorCode.WRONG_STATE, f"volume {entry.value.name} is {entry.value.state.value}")
    return [Delete(VOLUMES, id, expect=entry.revision)]


def bury_volume(record: VolumeRecord, at: datetime) -> list[Put | Delete]:
    """Return the changes that delete a free volume's record and let reconciliation clear what a cell may still have."""
    grave = Tombstone(id=InstanceId(record.id), name=record.name, volumes=[record.id], at=at)
    return [Delete(VOLUMES, record.id), Put(TOMBSTONES, record.id, grave)]


def release_kept(record: InstanceRecord, at: datetime) -> list[Put | Delete]:
    """Return the changes that let an instance's kept disks live on as free volumes."""
    if record.node_id is None:
        return []
    return [
        Put(VOLUMES, disk.volume_id, free_volume(disk, record, record.node_id, at))
        for disk in record.disks
        if disk.is_kept
    ]


def snapshots_of(store: StateStore, id: InstanceId) -> list[SnapshotRecord]:
    """Return an instance's snapshots, oldest first."""
    entries = store.list(SNAPSHOTS, index="instance", value=id)
    return sorted((entry.value for entry in entries), key=lambda record: (record.created_at, record.id))


def forget_snapshots(store: StateStore, id: InstanceId) -> list[Put | Delete]:
    """Return the changes that delete an instance's snapshots and schedules with it."""
    schedules = store.list(SNAPSHOT_SCHEDULES, index="instance", value=id)
    return [
        *(Delete(SNAPSHOTS, record.id) for record in snapshots_of(store, id)),
        *(Delete(SNAPSHOT_SCHEDULES, entry.key) for entry in schedules),
    ]


def get_snapshot(store: StateStore, id: SnapshotId, instance_id: InstanceId | None = None) -> Entry[SnapshotRecord]:
    """Return a snapshot's record; raise ``not_found``, also for one of another instance."""
    entry = store.get(SNAPSHOTS, id)
    if entry is None or instance_id not in (None, entry.value.instance_id):
        raise NanoError(ErrorCode.NOT_FOUND, f"the instance has no snapshot with id {id[:80]}")
    return entry


def get_pool(store: StateStore, id: StoragePoolId) -> Entry[StoragePoolRecord]:
    """Return a storage pool's record; raise ``not_found``."""
    entry = store.get(STORAGE_POOLS, id)
    if entry is None:
        raise NanoError(ErrorCode.NOT_FOUND, f"there is no storage pool with id {id[:80]}", field="storage_pool_id")
    return entry


def find_pool_by_name(store: StateStore, name: str) -> StoragePoolId | None:
    """Return the id of the storage pool with that name."""
    entry = store.get(STORAGE_POOL_NAMES, name)
    return None if entry is None else StoragePoolId(entry.value.id)


def paths_of(store: StateStore, node_id: NodeId) -> list[tuple[StoragePoolRecord, StoragePathRecord]]:
    """Return every path of a cell with its storage pool."""
    return [
        (entry.value, path)
        for entry in store.list(STORAGE_POOLS)
        for path in entry.value.paths
        if path.node_id == node_id
    ]


def open_pools(store: StateStore) -> dict[NodeId, list[str]]:
    """Return for each cell with known paths the storage pools with one there that takes new volumes."""
    found: dict[NodeId, set[str]] = {}
    for entry in store.list(STORAGE_POOLS):
        for path in entry.value.paths:
            known = found.setdefault(path.node_id, set())
            if path.is_enabled and not path.is_draining:
                known.add(entry.value.id)
    return {node_id: sorted(pools) for node_id, pools in found.items()}


def choose_pool(
    store: StateStore, id: StoragePoolId | None, compute_pool_id: ComputePoolId | None = None
) -> StoragePoolId | None:
    """Return the storage pool that was asked for, else the compute pool's first, else ``default``.

    Raises ``not_found``, and ``invalid_argument`` for one that the compute pool does not use.
    """
    entry = None if compute_pool_id is None else store.get(COMPUTE_POOLS, compute_pool_id)
    allowed = [] if entry is None else entry.value.storage_pool_ids
    if id is None:
        return allowed[0] if allowed else find_pool_by_name(store, DEFAULT_POOL)
    pool = get_pool(store, id).value
    if entry is not None and allowed and id not in allowed:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"compute pool {entry.value.name} does not use storage pool {pool.name}; attach it there, or use another",
            field="storage_pool_id",
        )
    return pool.id
