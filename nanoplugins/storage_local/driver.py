"""The storage driver: volumes as qcow2 files, thin clones of cached images."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from nanocore.capabilities.storage import StorageInfo, StorageUsage, VolumeInfo, VolumeSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import VolumeId, parse_id
from nanoplugins.storage_local import qcow2, qemu_img
from nanoplugins.storage_local.paths import FOLDER_MODE, PoolFolder, read_start

T = TypeVar("T")

SECTOR_BYTES = 512
PARALLEL_COMMANDS = 4
IMAGE_FORMATS = ("qcow2", "raw")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalStorage:
    """Implements ``StorageDriver`` on ``paths``; without any on ``default_path``, which it may create."""

    name = "local"

    def __init__(
        self, paths: Sequence[Path], *, default_path: Path, reserve_bytes: int, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._is_default = not paths
        self._folders = [PoolFolder(path) for path in paths or [default_path]]
        self._reserve_bytes = reserve_bytes
        self._log = log
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._commands = asyncio.Semaphore(PARALLEL_COMMANDS)

    @property
    def info(self) -> StorageInfo:
        """Real files, thin clones."""
        return StorageInfo(name=self.name)

    async def open(self) -> None:
        """Check every folder and remove what a kill left half made."""
        await _in_thread(self._open)

    async def close(self) -> None:
        """Nothing is held open."""

    async def create(self, spec: VolumeSpec) -> VolumeInfo:
        """Make a volume under another name and rename it when it is durable."""
        parse_id(spec.id)
        async with self._lock(spec.id):
            if existing := await _in_thread(lambda: self._describe_existing(spec.id)):
                return existing
            base = await _in_thread(lambda: _check(spec))
            folder = await _in_thread(self._emptiest)
            try:
                part = await _in_thread(lambda: folder.begin(spec.id))
                async with self._commands:
                    await qemu_img.create_volume(part, spec.size_bytes, base=base, base_format=spec.image_format)
                fail_point("cell/storage_local/part_made")
                await _in_thread(lambda: folder.publish(spec.id))
            except BaseException:
                folder.abandon(spec.id)
                raise
            return await _in_thread(lambda: _describe(folder, spec.id))

    async def delete(self, id: VolumeId) -> None:
        """Remove the volume's file; a process that has it open keeps its bytes until it closes it."""
        parse_id(id)
        async with self._lock(id):
            for folder in self._folders:
                await _in_thread(lambda folder=folder: folder.remove(id))  # type: ignore[misc]

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume, as its file is now."""
        parse_id(id)
        return await _in_thread(lambda: _describe(self._require(id), id))

    async def resize(self, id: VolumeId, size_bytes: int) -> VolumeInfo:
        """Grow a volume; its file may not be open in QEMU (``wrong_state``)."""
        parse_id(id)
        _check_size(size_bytes)
        async with self._lock(id):
            folder = await _in_thread(lambda: self._require(id))
            before = await _in_thread(lambda: _describe(folder, id))
            if size_bytes < before.size_bytes:
                raise NanoError(
                    ErrorCode.INVALID_ARGUMENT,
                    f"volume {id} has {before.size_bytes} bytes and can't shrink to {size_bytes}: "
                    "what the guest stored at its end would be lost",
                    field="size_bytes",
                )
            if size_bytes > before.size_bytes:
                async with self._commands:
                    file_bytes = await _in_thread(lambda: folder.volume(id).lstat().st_size)
                    await qemu_img.grow_volume(folder.volume(id), size_bytes, file_bytes=file_bytes)
            return await _in_thread(lambda: _describe(folder, id))

    async def usage(self) -> StorageUsage:
        """Return total and used space; folders on one file system count once."""
        spaces = await _in_thread(lambda: {space[0]: space for space in (f.space() for f in self._folders)})
        total = sum(space[1] for space in spaces.values())
        return StorageUsage(total_bytes=total, used_bytes=total - sum(space[2] for space in spaces.values()))

    async def list(self) -> list[VolumeInfo]:
        """Return every volume; one whose file is damaged is logged and left out."""
        return await _in_thread(self._list)

    def _open(self) -> None:
        if self._is_default:
            root = self._folders[0].root
            root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            # QEMU may run as another user, which has to get through Nano's own folder to the file.
            root.parent.chmod(FOLDER_MODE)
            root.chmod(FOLDER_MODE)
        for folder in self._folders:
            folder.prepare()
            if left := folder.sweep():
                self._log.info("unfinished volumes removed", path=str(folder.root), names=left)

    def _list(self) -> list[VolumeInfo]:  # type: ignore[valid-type]  # `list` is the method above here
        found: dict[VolumeId, VolumeInfo] = {}
        for folder in self._folders:
            for id in folder.ids():
                try:
                    found.setdefault(id, _describe(folder, id))
                except NanoError as error:
                    if error.code is not ErrorCode.NOT_FOUND:
                        self._log.error("volume can't be read", volume_id=id, error=str(error))
        return [*found.values()]

    def _find(self, id: VolumeId) -> PoolFolder | None:
        return next((folder for folder in self._folders if folder.has(id)), None)

    def _describe_existing(self, id: VolumeId) -> VolumeInfo | None:
        folder = self._find(id)
        return None if folder is None else _describe(folder, id)

    def _require(self, id: VolumeId) -> PoolFolder:
        folder = self._find(id)
        if folder is None:
            raise _not_found(id)
        return folder

    def _emptiest(self) -> PoolFolder:
        free, folder = max(((folder.space()[2], folder) for folder in self._folders), key=lambda pair: pair[0])
        if free < self._reserve_bytes:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the storage pool is full: {free} bytes are free in {folder.root}, {self._reserve_bytes} are "
                "reserved; delete volumes or add a folder",
                reason="storage_local.full",
            )
        return folder

    def _lock(self, id: VolumeId) -> asyncio.Lock:
        lock = self._locks.get(id)
        if lock is None:
            lock = self._locks[id] = asyncio.Lock()
        return lock


def _check(spec: VolumeSpec) -> Path | None:
    """Refuse what can't be made; return the base to clone."""
    _check_size(spec.size_bytes)
    if spec.image_path is None:
        return None
    base = Path(spec.image_path)
    if spec.image_format not in IMAGE_FORMATS:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"image format must be one of {', '.join(IMAGE_FORMATS)}, got {spec.image_format}; it is never guessed",
            field="image_format",
        )
    if not base.is_absolute():
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"image path {base} is not absolute", field="image_path")
    try:
        start, facts = read_start(base, qcow2.START_BYTES)
    except OSError as error:
        raise NanoError(
            ErrorCode.NOT_FOUND, f"image {base} can't be opened: {error.strerror}", reason="storage_local.no_image"
        ) from error
    if spec.image_format == "qcow2":
        wanted = qcow2.virtual_size(start, name=f"image {base}")
    else:
        wanted = -(-facts.st_size // SECTOR_BYTES) * SECTOR_BYTES
    if spec.size_bytes < wanted:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"a volume of {spec.size_bytes} bytes is smaller than its image, which needs {wanted}",
            field="size_bytes",
        )
    return base


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"size must be a positive multiple of {SECTOR_BYTES} bytes, got {size_bytes}",
            field="size_bytes",
        )


def _describe(folder: PoolFolder, id: VolumeId) -> VolumeInfo:
    path = folder.volume(id)
    try:
        start, facts = read_start(path, qcow2.START_BYTES)
    except FileNotFoundError as error:
        raise _not_found(id) from error
    return VolumeInfo(
        id=id,
        path=str(path),
        format="qcow2",
        size_bytes=qcow2.virtual_size(start, name=f"volume {id}"),
        used_bytes=facts.st_blocks * SECTOR_BYTES,
    )


def _not_found(id: VolumeId) -> NanoError:
    return NanoError(ErrorCode.NOT_FOUND, f"there is no volume {id} in the storage pool")


async def _in_thread(work: Callable[[], T]) -> T:
    """Do blocking work in a thread; the file system's refusals become the table's errors."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise _translate(error) from error


def _translate(error: OSError) -> NanoError:
    if error.errno in _FULL:
        return NanoError(
            ErrorCode.NO_CAPACITY,
            "the storage pool is full; delete volumes or add space",
            reason="storage_local.full",
        )
    where = f"{error.filename}: " if error.filename else ""
    return NanoError(
        ErrorCode.UNAVAILABLE,
        f"the storage pool can't be used: {where}{error.strerror}",
        reason="storage_local.refused",
    )
