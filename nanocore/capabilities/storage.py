"""Volumes on a cell: the storage driver's promise and the core's commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from nanocore.ids import ImageId, StepKey, VolumeId
from nanocore.wire import Command, Struct


class VolumeSpec(Struct, frozen=True, kw_only=True):
    """A volume to make."""

    id: VolumeId
    size_bytes: int
    image_path: str | None = None
    """A cached image on this cell to clone thinly; ``None`` for an empty volume."""
    image_format: str | None = None
    """``qcow2`` or ``raw``; given with ``image_path``, never probed."""


class VolumeInfo(Struct, frozen=True, kw_only=True):
    """A volume that exists; ``used_bytes`` is what it takes in the pool."""

    id: VolumeId
    path: str
    format: str
    size_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageInfo:
    """Facts that a caller may branch on."""

    name: str
    can_clone_thin: bool = True
    has_real_files: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUsage:
    """Space of the pool, in bytes."""

    total_bytes: int
    used_bytes: int


class StorageDriver(Protocol):
    """Declared by ``nano_storage_drivers``; one is picked by ``[agent] storage``.

    Raises ``no_capacity`` when the pool is full, ``not_found``, and ``invalid_argument`` for ids that are no ids: no
    path outside the pool is ever touched. A failed ``create`` leaves nothing.
    """

    name: str

    @property
    def info(self) -> StorageInfo:
        """Return the facts; complete after ``open``."""
        ...

    async def open(self) -> None:
        """Check the pool's paths; ``unavailable`` names one that does not exist or can't be written."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    async def create(self, spec: VolumeSpec) -> VolumeInfo:
        """Make a volume; an existing one of that id is returned as it is."""
        ...

    async def delete(self, id: VolumeId) -> None:
        """Remove a volume; an absent one is no error."""
        ...

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume."""
        ...

    async def list(self) -> list[VolumeInfo]:
        """Return every volume of the pool."""
        ...

    async def resize(self, id: VolumeId, size_bytes: int) -> VolumeInfo:
        """Grow a volume that no running guest uses; ``invalid_argument`` for a smaller size."""
        ...

    async def usage(self) -> StorageUsage:
        """Return the pool's space."""
        ...


class CreateVolume(Command[VolumeInfo], frozen=True, kw_only=True):
    """Core to cell. The image must be in the cell's cache (``images.ensure_cached``)."""

    op: ClassVar[str] = "storage.create_volume"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId
    size_bytes: int
    image_id: ImageId | None = None


class DeleteVolume(Command[None], frozen=True, kw_only=True):
    """Core to cell; absent is fine."""

    op: ClassVar[str] = "storage.delete_volume"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId


@dataclass(frozen=True, slots=True)
class CachedImage:
    """An image in a cell's cache."""

    id: ImageId
    path: Path
    format: str


class ImageCache(Protocol):
    """Declared by ``nano_image_caches`` on a cell: where ``agent`` finds the file to clone."""

    name: str

    def find(self, id: ImageId) -> CachedImage | None:
        """Return a complete cached image or ``None``."""
        ...

    def list(self) -> list[ImageId]:
        """Return the ids of complete cached images."""
        ...
