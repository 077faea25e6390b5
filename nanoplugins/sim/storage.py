"""Volumes that exist by name only: no bytes, the same promises, a snapshot that outlives a killed cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanocore.capabilities.storage import (
    StorageDriver,
    StorageInfo,
    StoragePath,
    StoragePathState,
    StorageUsage,
    VolumeInfo,
    VolumeReader,
    VolumeSpec,
)
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import SnapshotId, StoragePoolId, VolumeId, parse_id
from nanocore.model.instance import GIB
from nanocore.wire import Struct, decode_json, encode_json, field, structs

DEFAULT_POOL_BYTES = 1024 * GIB
DEFAULT_PATH = "/sim"
SECTOR_BYTES = 512
IMAGE_FORMATS = ("qcow2", "raw")


class _Snapshot(Struct, frozen=True, kw_only=True):
    volumes: list[VolumeInfo] = field(default_factory=list)
    paths: list[StoragePath] = field(default_factory=list)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    """Size of each volume at each of its snapshots."""


class SimStorage(StorageDriver):
    """Implements ``StorageDriver`` in memory.

    ``snapshot`` is a file that is written at every change and read by ``open``; ``None`` keeps nothing. A volume
    takes its whole size from its path's ``total_bytes``, so that a test fills one with one request. Any absolute path
    can be added, but for those that begin with ``/missing``.
    """

    name = "sim"

    def __init__(self, snapshot: Path | None = None, *, total_bytes: int = DEFAULT_POOL_BYTES) -> None:
        self._snapshot = snapshot
        self._total_bytes = total_bytes
        self._volumes: dict[VolumeId, VolumeInfo] = {}
        self._paths: list[StoragePath] = []
        self._kept: dict[str, dict[str, int]] = {}

    @property
    def info(self) -> StorageInfo:
        """No real files."""
        return StorageInfo(
            name=self.name, has_real_files=False, has_paths=True, can_snapshot=True, can_copy=True, can_shrink=True
        )

    async def open(self) -> None:
        """Read the snapshot; ``unavailable`` when it can't be read."""
        if self._snapshot is None or not self._snapshot.exists():
            return
        try:
            saved = decode_json(self._snapshot.read_bytes(), _Snapshot)
        except (OSError, NanoError) as error:
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"{self._snapshot} can't be read: {error}; remove it to begin with an empty pool",
                reason="sim.snapshot",
            ) from error
        self._volumes = {volume.id: volume for volume in saved.volumes}
        self._paths = saved.paths
        self._kept = saved.kept

    async def close(self) -> None:
        """Nothing is held open."""

    async def create(self, spec: VolumeSpec) -> VolumeInfo:
        """Note a volume; the image's bytes are not looked at."""
        parse_id(spec.id)
        existing = self._volumes.get(spec.id)
        if existing is not None:
            return existing
        _check_size(spec.size_bytes)
        if spec.image_path is not None and spec.image_format not in IMAGE_FORMATS:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"image format must be one of {', '.join(IMAGE_FORMATS)}, got {spec.image_format}",
                field="image_format",
            )
        folder = self._emptiest(spec.storage_pool_id)
        self._require_space(folder, spec.size_bytes)
        volume = VolumeInfo(
            id=spec.id,
            path=f"sim:///volumes/{spec.id}",
            format="qcow2",
            size_bytes=spec.size_bytes,
            used_bytes=spec.size_bytes,
            folder=folder,
            base_path=spec.image_path,
        )
        self._keep(volume)
        return volume

    async def delete(self, id: VolumeId) -> None:
        """Forget a volume."""
        if self._volumes.pop(VolumeId(parse_id(id)), None) is not None:
            self._kept.pop(id, None)
            self._save()

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume."""
        volume = self._volumes.get(VolumeId(parse_id(id)))
        if volume is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no volume {id} in the storage pool")
        return volume

    async def resize(self, id: VolumeId, size_bytes: int, *, is_shrink_confirmed: bool = False) -> VolumeInfo:
        """Change a volume's size."""
        volume = await self.get(id)
        _check_size(size_bytes)
        if size_bytes < volume.size_bytes and not is_shrink_confirmed:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"volume {id} has {volume.size_bytes} bytes and can't shrink to {size_bytes} unless that is confirmed",
                field="size_bytes",
            )
        if size_bytes < volume.size_bytes and volume.snapshots:
            raise NanoError(ErrorCode.WRONG_STATE, f"volume {id} has snapshots and can't shrink; delete them first")
        self._require_space(volume.folder, size_bytes - volume.size_bytes)
        changed = structs.replace(volume, size_bytes=size_bytes, used_bytes=size_bytes)
        self._keep(changed)
        return changed

    async def usage(self) -> StorageUsage:
        """Return the pool's pretended space."""
        used = sum(volume.used_bytes for volume in self._volumes.values())
        return StorageUsage(total_bytes=self._total_bytes * len(self._folders()), used_bytes=used)

    async def list(self) -> list[VolumeInfo]:
        """Return every volume."""
        return [*self._volumes.values()]

    async def create_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Note sizes and names."""
        parse_id(snapshot_id, field="snapshot_id")
        for volume in [await self.get(id) for id in ids]:
            if snapshot_id not in volume.snapshots:
                self._kept.setdefault(volume.id, {})[snapshot_id] = volume.size_bytes
                self._volumes[volume.id] = structs.replace(volume, snapshots=[*volume.snapshots, snapshot_id])
        self._save()

    async def restore_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Bring sizes back."""
        volumes = [await self.get(id) for id in ids]
        for volume in volumes:
            if snapshot_id not in volume.snapshots:
                raise NanoError(ErrorCode.NOT_FOUND, f"volume {volume.id} has no snapshot {snapshot_id[:80]}")
        for volume in volumes:
            size = self._kept.get(volume.id, {}).get(snapshot_id, volume.size_bytes)
            self._volumes[volume.id] = structs.replace(volume, size_bytes=size, used_bytes=size)
        self._save()

    async def delete_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Forget names."""
        parse_id(snapshot_id, field="snapshot_id")
        for id in ids:
            volume = self._volumes.get(VolumeId(parse_id(id)))
            if volume is not None and snapshot_id in volume.snapshots:
                left = [known for known in volume.snapshots if known != snapshot_id]
                self._kept.get(id, {}).pop(snapshot_id, None)
                self._volumes[volume.id] = structs.replace(volume, snapshots=left)
        self._save()

    async def define_paths(self, paths: Sequence[StoragePath]) -> Sequence[StoragePathState]:
        """Note the paths."""
        named = {path.path for path in paths}
        for folder in self._folders():
            if folder not in named and folder != DEFAULT_PATH and (count := self._count(folder)):
                raise NanoError(ErrorCode.WRONG_STATE, f"path {folder} still has {count} volumes; drain it first")
        self._paths = [*paths]
        self._save()
        return await self.list_paths()

    async def ensure_path(self, path: str) -> None:
        """Refuse what no cell would have."""
        if not path.startswith("/"):
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"path {path} is not absolute", field="path")
        if path.startswith("/missing"):
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"path {path} does not exist on this cell", field="path")
        if path in self._folders():
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"path {path} is a storage path already", field="path")

    async def list_paths(self) -> Sequence[StoragePathState]:
        """Return the pretended paths."""
        defined = {path.path: path for path in self._paths}
        return [
            StoragePathState(
                path=folder,
                id=defined[folder].id if folder in defined else None,
                is_configured=folder == DEFAULT_PATH,
                total_bytes=self._total_bytes,
                used_bytes=self._used(folder),
                volumes=self._count(folder),
            )
            for folder in self._folders()
        ]

    async def move(self, id: VolumeId, path_id: str) -> VolumeInfo:
        """Note another path."""
        volume = await self.get(id)
        target = next((path.path for path in self._paths if path.id == path_id), None)
        if target is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"this cell has no storage path with id {path_id[:80]}")
        if volume.folder != target:
            self._require_space(target, volume.used_bytes)
            self._keep(structs.replace(volume, folder=target))
        return self._volumes[volume.id]

    async def copy(self, id: VolumeId, target_id: VolumeId, storage_pool_id: StoragePoolId | None = None) -> VolumeInfo:
        """Note another volume of the same size."""
        volume = await self.get(id)
        return await self.create(
            VolumeSpec(id=target_id, size_bytes=volume.size_bytes, storage_pool_id=storage_pool_id)
        )

    async def read(self, id: VolumeId) -> VolumeReader:
        """Pretend a small file."""
        await self.get(id)
        return _SimReader()

    def _folders(self) -> dict[str, None]:
        return {DEFAULT_PATH: None} | {path.path: None for path in self._paths}

    def _emptiest(self, pool: StoragePoolId | None) -> str:
        """Return where a new volume goes."""
        defined = {path.path: path for path in self._paths}
        mine = [
            folder
            for folder in self._folders()
            if pool is None or not defined or (folder in defined and defined[folder].storage_pool_id == pool)
        ]
        if not mine:
            raise NanoError(ErrorCode.NOT_FOUND, f"storage pool {pool} has no path on this cell; add one")
        open_paths = [
            folder
            for folder in mine
            if folder not in defined or (defined[folder].is_enabled and not defined[folder].is_draining)
        ]
        if not open_paths:
            raise NanoError(ErrorCode.NO_CAPACITY, "no path of the storage pool takes new volumes", reason="sim.full")
        return min(open_paths, key=self._used)

    def _used(self, folder: str) -> int:
        return sum(volume.used_bytes for volume in self._volumes.values() if volume.folder == folder)

    def _count(self, folder: str) -> int:
        return sum(volume.folder == folder for volume in self._volumes.values())

    def _require_space(self, folder: str, size_bytes: int) -> None:
        free = self._total_bytes - self._used(folder)
        if size_bytes > free:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the storage pool is full: {size_bytes} bytes are wanted, {free} are free",
                reason="sim.full",
            )

    def _keep(self, volume: VolumeInfo) -> None:
        self._volumes[volume.id] = volume
        self._save()

    def _save(self) -> None:
        if self._snapshot is None:
            return
        # Renamed, so that a kill in the middle leaves the last whole one. Not synced: it survives the process, not the
        # machine, and a simulated cell has no more to lose.
        part = self._snapshot.with_name(self._snapshot.name + ".part")
        part.write_bytes(encode_json(_Snapshot(volumes=[*self._volumes.values()], paths=self._paths, kept=self._kept)))
        part.rename(self._snapshot)


class _SimReader:
    """A raw disk of 1 MiB with one partition: the least that an inspection takes."""

    def __init__(self) -> None:
        partition = bytes([0x80, 0, 2, 0, 0x83, 0, 0, 0]) + (1).to_bytes(4, "little") + (2047).to_bytes(4, "little")
        self._data = (bytes(446) + partition).ljust(510, b"\0") + b"\x55\xaa" + bytes(1024**2 - 512)
        self.size_bytes = len(self._data)

    async def read(self, length: int) -> bytes:
        """Return the next bytes."""
        part, self._data = self._data[:length], self._data[length:]
        return part

    async def close(self) -> None:
        """Let go."""
        self._data = b""


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"size must be a positive multiple of {SECTOR_BYTES} bytes, got {size_bytes}",
            field="size_bytes",
        )
