"""Volumes that exist by name only: no bytes, the same promises, a snapshot that outlives a killed cell."""

from __future__ import annotations

from pathlib import Path

from nanocore.capabilities.storage import StorageInfo, StorageUsage, VolumeInfo, VolumeSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId, parse_id
from nanocore.model.instance import GIB
from nanocore.wire import Struct, decode_json, encode_json, field, structs

DEFAULT_POOL_BYTES = 1024 * GIB
SECTOR_BYTES = 512
IMAGE_FORMATS = ("qcow2", "raw")


class _Snapshot(Struct, frozen=True, kw_only=True):
    volumes: list[VolumeInfo] = field(default_factory=list)


class SimStorage:
    """Implements ``StorageDriver`` in memory.

    ``snapshot`` is a file that is written at every change and read by ``open``; ``None`` keeps nothing. A volume
    takes its whole size from the pool's ``total_bytes``, so that a test fills the pool with one request.
    """

    name = "sim"

    def __init__(self, snapshot: Path | None = None, *, total_bytes: int = DEFAULT_POOL_BYTES) -> None:
        self._snapshot = snapshot
        self._total_bytes = total_bytes
        self._volumes: dict[VolumeId, VolumeInfo] = {}

    @property
    def info(self) -> StorageInfo:
        """No real files."""
        return StorageInfo(name=self.name, has_real_files=False)

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
        self._require_space(spec.size_bytes)
        volume = VolumeInfo(
            id=spec.id,
            path=f"sim:///volumes/{spec.id}",
            format="qcow2",
            size_bytes=spec.size_bytes,
            used_bytes=spec.size_bytes,
        )
        self._keep(volume)
        return volume

    async def delete(self, id: VolumeId) -> None:
        """Forget a volume."""
        if self._volumes.pop(VolumeId(parse_id(id)), None) is not None:
            self._save()

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume."""
        volume = self._volumes.get(VolumeId(parse_id(id)))
        if volume is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no volume {id} in the storage pool")
        return volume

    async def resize(self, id: VolumeId, size_bytes: int) -> VolumeInfo:
        """Grow a volume."""
        volume = await self.get(id)
        _check_size(size_bytes)
        if size_bytes < volume.size_bytes:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"volume {id} has {volume.size_bytes} bytes and can't shrink to {size_bytes}",
                field="size_bytes",
            )
        self._require_space(size_bytes - volume.size_bytes)
        grown = structs.replace(volume, size_bytes=size_bytes, used_bytes=size_bytes)
        self._keep(grown)
        return grown

    async def usage(self) -> StorageUsage:
        """Return the pool's pretended space."""
        return StorageUsage(total_bytes=self._total_bytes, used_bytes=self._used())

    async def list(self) -> list[VolumeInfo]:
        """Return every volume."""
        return [*self._volumes.values()]

    def _used(self) -> int:
        return sum(volume.used_bytes for volume in self._volumes.values())

    def _require_space(self, size_bytes: int) -> None:
        free = self._total_bytes - self._used()
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
        part.write_bytes(encode_json(_Snapshot(volumes=[*self._volumes.values()])))
        part.rename(self._snapshot)


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"size must be a positive multiple of {SECTOR_BYTES} bytes, got {size_bytes}",
            field="size_bytes",
        )
