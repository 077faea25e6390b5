"""The commands about volumes that workflows send to a cell. Each may be repeated with the same key."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities import storage
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import StateStore
from nanocore.ids import InstanceId, NodeId, SnapshotId, StepKey, VolumeId
from nanocore.model.volume import VolumeRecord
from nanoplugins.compute.storage.records import paths_of


class StorageCommands:
    """What the core asks a cell's agent about storage."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    async def create(self, record: VolumeRecord, key: StepKey) -> storage.VolumeInfo:
        """Make an empty volume."""
        message = storage.CreateVolume(
            step_key=key, id=record.id, size_bytes=record.size_bytes, storage_pool_id=record.storage_pool_id
        )
        return await self._context.call(message, dst=record.node_id)

    async def delete(self, node_id: NodeId, id: VolumeId, key: StepKey) -> None:
        """Remove a volume."""
        await self._context.call(storage.DeleteVolume(step_key=key, id=id), dst=node_id)

    async def resize(
        self,
        node_id: NodeId,
        id: VolumeId,
        size_bytes: int,
        key: StepKey,
        *,
        is_shrink_confirmed: bool = False,
        instance_id: InstanceId | None = None,
    ) -> storage.VolumeInfo:
        """Change a volume's size, under the guest that runs on it if need be."""
        message = storage.ResizeVolume(
            step_key=key,
            id=id,
            size_bytes=size_bytes,
            is_shrink_confirmed=is_shrink_confirmed,
            instance_id=instance_id,
        )
        return await self._context.call(message, dst=node_id)

    async def move(
        self, node_id: NodeId, id: VolumeId, path_id: str, key: StepKey, instance_id: InstanceId | None
    ) -> storage.VolumeInfo:
        """Bring a volume to another path of its cell."""
        message = storage.MoveVolume(step_key=key, id=id, path_id=path_id, instance_id=instance_id)
        return await self._context.call(message, dst=node_id)

    async def list(self, node_id: NodeId) -> Sequence[storage.VolumeInfo]:
        """Return every volume of a cell."""
        return await self._context.call(storage.ListVolumes(), dst=node_id)

    async def create_snapshot(
        self, node_id: NodeId, id: SnapshotId, instance_id: InstanceId, volumes: Sequence[VolumeId], key: StepKey
    ) -> storage.SnapshotTaken:
        """Keep the contents of an instance's disks."""
        message = storage.CreateSnapshot(step_key=key, id=id, instance_id=instance_id, volumes=[*volumes])
        return await self._context.call(message, dst=node_id)

    async def restore_snapshot(
        self, node_id: NodeId, id: SnapshotId, instance_id: InstanceId, volumes: Sequence[VolumeId], key: StepKey
    ) -> Sequence[storage.VolumeInfo]:
        """Bring the contents of a stopped instance's disks back."""
        message = storage.RestoreSnapshot(step_key=key, id=id, instance_id=instance_id, volumes=[*volumes])
        return await self._context.call(message, dst=node_id)

    async def delete_snapshot(
        self,
        node_id: NodeId,
        id: SnapshotId,
        instance_id: InstanceId | None,
        volumes: Sequence[VolumeId],
        key: StepKey,
    ) -> None:
        """Remove a snapshot from disks."""
        message = storage.DeleteSnapshot(step_key=key, id=id, instance_id=instance_id, volumes=[*volumes])
        await self._context.call(message, dst=node_id)

    async def ensure_path(self, node_id: NodeId, path: str) -> None:
        """Return if a folder of the cell could be added."""
        await self._context.call(storage.EnsurePath(path=path), dst=node_id)

    async def define_paths(self, store: StateStore, node_id: NodeId) -> Sequence[storage.StoragePathState]:
        """Tell a cell which paths the storage pools use there; return how they are."""
        paths = [
            storage.StoragePath(
                id=path.id,
                storage_pool_id=pool.id,
                path=path.path,
                is_enabled=path.is_enabled,
                is_draining=path.is_draining,
            )
            for pool, path in paths_of(store, node_id)
        ]
        message = storage.DefinePaths(step_key=StepKey(f"storage/{node_id}"), paths=paths)
        return await self._context.call(message, dst=node_id)
