"""Volumes on a cell: the storage driver's promise and the core's commands."""
# ruff: noqa: ARG002  the calls that a driver may leave out refuse whatever they are given

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, InstanceId, SnapshotId, StepKey, StoragePoolId, VolumeId
from nanocore.wire import Command, Query, Result, Struct, field


class VolumeSpec(Struct, frozen=True, kw_only=True):
    """A volume to make."""

    id: VolumeId
    size_bytes: int
    image_path: str | None = None
    """A cached image on this cell to clone thinly; ``None`` for an empty volume."""
    image_format: str | None = None
    """``qcow2`` or ``raw``; given with ``image_path``, never probed."""
    storage_pool_id: StoragePoolId | None = None
    """Only paths of this storage pool; ``None`` for any enabled path."""


class VolumeInfo(Struct, frozen=True, kw_only=True):
    """A volume that exists; ``used_bytes`` is what it takes in the pool."""

    id: VolumeId
    path: str
    format: str
    size_bytes: int
    used_bytes: int
    folder: str = ""
    """The path of the storage pool in which it lies, as in ``StoragePathState.path``."""
    snapshots: list[SnapshotId] = field(default_factory=list)
    """The snapshots inside it, oldest first."""
    base_path: str | None = None
    """The cached image that it is a thin clone of and can't do without."""


class StoragePath(Struct, frozen=True, kw_only=True):
    """A folder of a cell that a storage pool uses."""

    id: str
    storage_pool_id: StoragePoolId
    path: str
    is_enabled: bool = True
    """Whether new volumes may go there."""
    is_draining: bool = False
    """Whether its volumes are to go elsewhere; no new ones come."""


class StoragePathState(Struct, frozen=True, kw_only=True):
    """What a cell says of one path: the core's, or one of its own configuration."""

    path: str
    id: str | None = None
    """The core's id; ``None`` for a configured path that the core has not named yet."""
    is_configured: bool = False
    reason: str | None = None
    """Why it can't be used, or ``None``."""
    total_bytes: int = 0
    used_bytes: int = 0
    volumes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageInfo:
    """Facts that a caller may branch on; what is false makes the calls for it raise ``unsupported``."""

    name: str
    can_clone_thin: bool = True
    has_real_files: bool = True
    has_paths: bool = False
    """``define_paths``, ``ensure_path``, ``list_paths``, ``move``."""
    can_snapshot: bool = False
    """``create_snapshot``, ``restore_snapshot``, ``delete_snapshot``."""
    can_copy: bool = False
    """``copy`` and ``read``."""
    can_shrink: bool = False
    """``resize`` with ``is_shrink_confirmed``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUsage:
    """Space of the pool, in bytes."""

    total_bytes: int
    used_bytes: int


class StorageDriver(Protocol):
    """Declared by ``nano_storage_drivers``; one is picked by ``[agent] storage``.

    Raises ``no_capacity`` when the pool is full, ``not_found``, and ``invalid_argument`` for ids that are no ids: no
    path outside the pool is ever touched. A failed ``create`` leaves nothing. A driver that subclasses this class need
    not write the calls that its ``info`` says it can't do.
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
        """Remove a volume with its snapshots; an absent one is no error."""
        ...

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume."""
        ...

    async def list(self) -> list[VolumeInfo]:
        """Return every volume of the pool."""
        ...

    async def resize(self, id: VolumeId, size_bytes: int, *, is_shrink_confirmed: bool = False) -> VolumeInfo:
        """Change the size of a volume that no running guest uses.

        ``invalid_argument`` for a smaller size, unless the loss of what lies beyond it is confirmed and ``info`` says
        ``can_shrink``; then ``wrong_state`` while it has snapshots.
        """
        ...

    async def usage(self) -> StorageUsage:
        """Return the pool's space."""
        ...

    async def create_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Keep the contents of volumes that no running guest uses: of all of them, or of none when it fails.

        Volumes that have the snapshot already keep the one they have.
        """
        raise unsupported(self.name, "snapshots")

    async def restore_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Bring contents and sizes back; the snapshot stays. ``not_found``, with nothing changed, if one lacks it."""
        raise unsupported(self.name, "snapshots")

    async def delete_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Remove a snapshot; volumes that are absent or don't have it are no error."""
        raise unsupported(self.name, "snapshots")

    async def define_paths(self, paths: Sequence[StoragePath]) -> Sequence[StoragePathState]:
        """Use these paths, beside configured ones, from now on and after a restart; return how all of them are.

        One that can't be used is no error, its state has the reason. ``wrong_state`` for leaving one out that has
        volumes.
        """
        raise unsupported(self.name, "several paths")

    async def ensure_path(self, path: str) -> None:
        """Return if ``path`` could be added; ``invalid_argument`` says why not. Nothing is changed."""
        raise unsupported(self.name, "several paths")

    async def list_paths(self) -> Sequence[StoragePathState]:
        """Return how every path is; none where the driver has no paths."""
        return []

    async def move(self, id: VolumeId, path_id: str) -> VolumeInfo:
        """Have a volume that no running guest uses on another path, with its snapshots; there already is no error."""
        raise unsupported(self.name, "several paths")

    async def copy(self, id: VolumeId, target_id: VolumeId, storage_pool_id: StoragePoolId | None = None) -> VolumeInfo:
        """Make the volume ``target_id``: what a volume that no running guest uses holds now, needing no other file.

        Snapshots are not copied. An existing one of that id is returned as it is; a failed copy leaves nothing.
        """
        raise unsupported(self.name, "copies of volumes")

    async def read(self, id: VolumeId) -> VolumeReader:
        """Open the file of a volume that nobody uses, to be sent elsewhere."""
        raise unsupported(self.name, "files to read")


class VolumeReader(Protocol):
    """An open file of a volume."""

    size_bytes: int

    async def read(self, length: int) -> bytes:
        """Return the next bytes, at most ``length``; none at the end."""
        ...

    async def close(self) -> None:
        """Let go. Safe to call twice."""
        ...


def unsupported(name: str, what: str) -> NanoError:
    """Return the error for a call that a driver's ``info`` says it can't do."""
    return NanoError(ErrorCode.UNSUPPORTED, f"storage driver {name} has no {what}", reason="storage.unsupported")


class CreateVolume(Command[VolumeInfo], frozen=True, kw_only=True):
    """Core to cell. The image must be in the cell's cache (``images.ensure_cached``)."""

    op: ClassVar[str] = "storage.create_volume"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId
    size_bytes: int
    image_id: ImageId | None = None
    storage_pool_id: StoragePoolId | None = None


class DeleteVolume(Command[None], frozen=True, kw_only=True):
    """Core to cell; absent is fine."""

    op: ClassVar[str] = "storage.delete_volume"
    timeout_seconds: ClassVar[float] = 60
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId


class ResizeVolume(Command[VolumeInfo], frozen=True, kw_only=True):
    """Core to cell. A volume of a running guest grows while it runs; shrinking it is ``wrong_state``."""

    op: ClassVar[str] = "storage.resize_volume"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId
    size_bytes: int
    is_shrink_confirmed: bool = False
    instance_id: InstanceId | None = None


class MoveVolume(Command[VolumeInfo], frozen=True, kw_only=True):
    """Core to cell: to another path of that cell; ``wrong_state`` while the guest runs."""

    op: ClassVar[str] = "storage.move_volume"
    timeout_seconds: ClassVar[float] = 3600
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId
    path_id: str
    instance_id: InstanceId | None = None


class CopyVolume(Command[VolumeInfo], frozen=True, kw_only=True):
    """Core to cell: ``target_id`` becomes a whole copy of a volume; ``wrong_state`` while its guest is not stopped."""

    op: ClassVar[str] = "storage.copy_volume"
    timeout_seconds: ClassVar[float] = 4 * 3600
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: VolumeId
    target_id: VolumeId
    storage_pool_id: StoragePoolId | None = None
    instance_id: InstanceId | None = None


class VolumeFile(Struct, frozen=True, kw_only=True):
    """The first chunk of ``ReadVolume``'s stream, as JSON."""

    format: str
    size_bytes: int
    """Bytes that follow."""


class ReadVolume(Query[None], frozen=True, kw_only=True):
    """Core to cell, as a stream: the JSON of ``VolumeFile``, then the bytes of the file of a volume not in use."""

    op: ClassVar[str] = "storage.read_volume"

    id: VolumeId


class ListVolumes(Query[list[VolumeInfo]], frozen=True, kw_only=True):
    """Core to cell: every volume as it is now."""

    op: ClassVar[str] = "storage.list_volumes"
    timeout_seconds: ClassVar[float] = 30


class SnapshotTaken(Result, frozen=True, kw_only=True):
    """What became of a snapshot."""

    is_consistent: bool
    """Whether the guest's file systems were at rest: it was off, or its agent froze them."""


class CreateSnapshot(Command[SnapshotTaken], frozen=True, kw_only=True):
    """Core to cell: of all ``volumes`` at one moment, whether their guest runs or not."""

    op: ClassVar[str] = "storage.create_snapshot"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: SnapshotId
    instance_id: InstanceId
    volumes: list[VolumeId]


class RestoreSnapshot(Command[list[VolumeInfo]], frozen=True, kw_only=True):
    """Core to cell: ``wrong_state`` while the guest runs. Returns the volumes as they are then."""

    op: ClassVar[str] = "storage.restore_snapshot"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: SnapshotId
    instance_id: InstanceId
    volumes: list[VolumeId]


class DeleteSnapshot(Command[None], frozen=True, kw_only=True):
    """Core to cell, whether the guest runs or not; absent is fine."""

    op: ClassVar[str] = "storage.delete_snapshot"
    timeout_seconds: ClassVar[float] = 120
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: SnapshotId
    instance_id: InstanceId | None = None
    volumes: list[VolumeId]


class DefinePaths(Command[list[StoragePathState]], frozen=True, kw_only=True):
    """Core to cell: every path that storage pools use there."""

    op: ClassVar[str] = "storage.define_paths"
    timeout_seconds: ClassVar[float] = 30
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    paths: list[StoragePath]


class EnsurePath(Command[None], frozen=True, kw_only=True):
    """Core to cell: ``invalid_argument`` says why a path can't be added."""

    op: ClassVar[str] = "storage.ensure_path"
    timeout_seconds: ClassVar[float] = 30
    is_idempotent: ClassVar[bool] = True

    path: str


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
