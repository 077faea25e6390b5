"""The public API of volumes, disks, storage pools, snapshots and their schedules."""

from __future__ import annotations

from nanocore.capabilities import snapshots, storage_pools, volumes
from nanocore.capabilities.rest import Route
from nanocore.model.snapshot import Snapshot, SnapshotSchedule
from nanocore.model.storage_pool import StoragePool
from nanocore.model.volume import Volume

_ID = "2c4f9a31-6f0e-4a55-9b0e-0f6f5a2f7a10"
GIB = 1024**3


def storage_routes() -> list[Route]:
    """Return every route about storage."""
    return [*_volume_routes(), *_disk_routes(), *_pool_routes(), *_snapshot_routes(), *_schedule_routes()]


def _volume_routes() -> list[Route]:
    new = {"name": "data", "size_bytes": 10 * GIB}
    return [
        Route("GET", "/volumes", volumes.ListVolumes, "List volumes, free and attached", is_list=True, item=Volume),
        Route("POST", "/volumes", volumes.CreateVolume, "Create an empty volume", new),
        Route("GET", "/volumes/{id}", volumes.GetVolume, "Get a volume", item=Volume),
        Route("PATCH", "/volumes/{id}", volumes.UpdateVolume, "Rename or resize a volume", {"size_bytes": 20 * GIB}),
        Route("DELETE", "/volumes/{id}", volumes.DeleteVolume, "Delete a free volume"),
    ]


def _disk_routes() -> list[Route]:
    path = "/instances/{id}/disks"
    return [
        Route("POST", path, volumes.AttachDisk, "Add a new disk, or attach a volume", {"size_bytes": 10 * GIB}),
        Route("PATCH", f"{path}/{{volume_id}}", volumes.UpdateDisk, "Change a disk", {"size_bytes": 20 * GIB}),
        Route("DELETE", f"{path}/{{volume_id}}", volumes.DetachDisk, "Detach a disk; it stays as a volume"),
    ]


def _pool_routes() -> list[Route]:
    one, path = "/storage-pools/{id}", "/storage-pools/{id}/paths/{path_id}"
    return [
        Route(
            "GET",
            "/storage-pools",
            storage_pools.ListStoragePools,
            "List storage pools",
            is_list=True,
            item=StoragePool,
        ),
        Route(
            "POST",
            "/storage-pools",
            storage_pools.CreateStoragePool,
            "Create a storage pool",
            {"name": "fast", "description": "NVMe"},
            status=201,
            location=one,
        ),
        Route("GET", one, storage_pools.GetStoragePool, "Get a storage pool", item=StoragePool),
        Route("PATCH", one, storage_pools.UpdateStoragePool, "Change a storage pool", {"description": "NVMe"}),
        Route("DELETE", one, storage_pools.DeleteStoragePool, "Delete a storage pool without paths", status=204),
        Route(
            "POST",
            f"{one}/paths",
            storage_pools.AddPath,
            "Let a storage pool use a folder of a cell",
            {"node_id": _ID, "path": "/srv/nano"},
        ),
        Route("DELETE", path, storage_pools.RemovePath, "Take an empty path out of a storage pool"),
        *(
            Route("POST", f"{path}/actions/{action}", storage_pools.ActOnPath, summary, constants=(("action", action),))
            for action, summary in (
                ("enable", "Let new volumes go to a path, and end its draining"),
                ("disable", "Let no new volumes go to a path"),
            )
        ),
        Route("POST", f"{path}/actions/drain", storage_pools.DrainPath, "Move a path's volumes to the other paths"),
    ]


def _snapshot_routes() -> list[Route]:
    every = "/instances/{id}/snapshots"
    one = f"{every}/{{snapshot_id}}"
    new = {"name": "before the upgrade"}
    return [
        Route("GET", every, snapshots.ListSnapshots, "List an instance's snapshots", is_list=True, item=Snapshot),
        Route("POST", every, snapshots.CreateSnapshot, "Take a snapshot of all disks", new),
        Route("GET", one, snapshots.GetSnapshot, "Get a snapshot", item=Snapshot),
        Route("DELETE", one, snapshots.DeleteSnapshot, "Delete a snapshot; later ones stay"),
        Route("POST", f"{one}/actions/restore", snapshots.RestoreSnapshot, "Bring the disks back to a snapshot"),
    ]


def _schedule_routes() -> list[Route]:
    every, one = "/snapshot-schedules", "/snapshot-schedules/{id}"
    new = {"instance_id": _ID, "name": "hourly", "interval_seconds": 3600, "keep": 24}
    return [
        Route(
            "GET",
            every,
            snapshots.ListSnapshotSchedules,
            "List schedules of snapshots",
            is_list=True,
            item=SnapshotSchedule,
        ),
        Route(
            "POST",
            every,
            snapshots.CreateSnapshotSchedule,
            "Take snapshots of an instance every so often",
            new,
            status=201,
            location=one,
        ),
        Route("GET", one, snapshots.GetSnapshotSchedule, "Get a schedule of snapshots", item=SnapshotSchedule),
        Route("PATCH", one, snapshots.UpdateSnapshotSchedule, "Change a schedule of snapshots", {"keep": 48}),
        Route("DELETE", one, snapshots.DeleteSnapshotSchedule, "End a schedule; its snapshots stay", status=204),
    ]
