"""The storage driver: volumes as qcow2 files, thin clones of cached images."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

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
from nanocore.failpoints import fail_point
from nanocore.ids import SnapshotId, StoragePoolId, VolumeId, parse_id
from nanoplugins.storage_local import moving, qcow2, qemu_img, snapshots
from nanoplugins.storage_local.paths import PoolFolder, read_start
from nanoplugins.storage_local.places import Place, Places
from nanoplugins.storage_local.reading import FileReader

T = TypeVar("T")

SECTOR_BYTES = 512
PARALLEL_COMMANDS = 4
IMAGE_FORMATS = ("qcow2", "raw")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalStorage(StorageDriver):
    """Implements ``StorageDriver`` on ``paths`` and those that the core defines.

    Without ``paths`` on ``default_path``, which it may create; beside that lies the file that remembers defined paths.
    """

    name = "local"

    def __init__(
        self, paths: Sequence[Path], *, default_path: Path, reserve_bytes: int, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._places = Places(paths, default_path, default_path.parent / "paths.json", log)
        self._reserve_bytes = reserve_bytes
        self._log = log
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._commands = asyncio.Semaphore(PARALLEL_COMMANDS)

    @property
    def info(self) -> StorageInfo:
        """Real files, thin clones, several paths, snapshots."""
        return StorageInfo(name=self.name, has_paths=True, can_snapshot=True, can_copy=True, can_shrink=True)

    async def open(self) -> None:
        """Check every folder and remove what a kill left half made."""
        await _in_thread(self._places.open)

    async def close(self) -> None:
        """Nothing is held open."""

    async def create(self, spec: VolumeSpec) -> VolumeInfo:
        """Make a volume under another name and rename it when it is durable."""
        parse_id(spec.id)
        async with self._lock(spec.id):
            if existing := await _in_thread(lambda: self._describe_existing(spec.id)):
                return existing
            base = await _in_thread(lambda: _check(spec))
            folder = await _in_thread(lambda: self._places.emptiest(spec.storage_pool_id, self._reserve_bytes))
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
            for place in await _in_thread(self._places.usable):
                await _in_thread(lambda place=place: place.folder.remove(id))  # type: ignore[misc]

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume, as its file is now."""
        parse_id(id)
        return await _in_thread(lambda: _describe(self._require(id), id))

    async def resize(self, id: VolumeId, size_bytes: int, *, is_shrink_confirmed: bool = False) -> VolumeInfo:
        """Change a volume's size; its file may not be open in QEMU (``wrong_state``)."""
        parse_id(id)
        _check_size(size_bytes)
        async with self._lock(id):
            folder = await _in_thread(lambda: self._require(id))
            before = await _in_thread(lambda: _describe(folder, id))
            if size_bytes != before.size_bytes:
                file_bytes = await _in_thread(lambda: folder.volume(id).lstat().st_size)
                if size_bytes < before.size_bytes:
                    _check_shrink(before, size_bytes, is_confirmed=is_shrink_confirmed)
                change = qemu_img.grow_volume if size_bytes > before.size_bytes else qemu_img.shrink_volume
                async with self._commands:
                    await change(folder.volume(id), size_bytes, file_bytes=file_bytes)
            return await _in_thread(lambda: _describe(folder, id))

    async def usage(self) -> StorageUsage:
        """Return total and used space; folders on one file system count once."""
        spaces = await _in_thread(
            lambda: {space[0]: space for space in (place.folder.space() for place in self._places.usable())}
        )
        total = sum(space[1] for space in spaces.values())
        return StorageUsage(total_bytes=total, used_bytes=total - sum(space[2] for space in spaces.values()))

    async def list(self) -> list[VolumeInfo]:
        """Return every volume; one whose file is damaged is logged and left out."""
        return await _in_thread(self._list)

    async def create_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Make it in every volume, or in none."""
        await self._with_files(ids, snapshot_id, snapshots.create)

    async def restore_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Bring every volume back."""
        await self._with_files(ids, snapshot_id, snapshots.restore)

    async def delete_snapshot(self, ids: Sequence[VolumeId], snapshot_id: SnapshotId) -> None:
        """Remove it from the volumes that are there."""
        wanted = [parse_volume_id(id) for id in ids]
        there = await _in_thread(lambda: [id for id in wanted if self._places.find(id)])
        await self._with_files(there, snapshot_id, snapshots.delete)

    async def define_paths(self, paths: Sequence[StoragePath]) -> Sequence[StoragePathState]:
        """Use these paths beside the configured ones."""
        await _in_thread(lambda: self._places.define(paths))
        return await self.list_paths()

    async def ensure_path(self, path: str) -> None:
        """Return if the folder could be added."""
        await _in_thread(lambda: self._places.ensure(path))

    async def list_paths(self) -> Sequence[StoragePathState]:
        """Return how every path is."""
        return await _in_thread(self._places.states)

    async def move(self, id: VolumeId, path_id: str) -> VolumeInfo:
        """Copy the file, publish the copy, remove the old one; a repeat goes on where a kill came between."""
        parse_id(id)
        async with self._lock(id):
            target = await _in_thread(lambda: self._places.get(path_id))
            if not await _in_thread(lambda: target.folder.has(id)):
                source = await _in_thread(lambda: self._require(id))
                await self._copy(source, target.folder, id)
                fail_point("cell/storage_local/copy_published")
            for place in await _in_thread(self._places.usable):
                if place is not target:
                    await _in_thread(lambda place=place: place.folder.remove(id))  # type: ignore[misc]
            return await _in_thread(lambda: _describe(target.folder, id))

    async def copy(self, id: VolumeId, target_id: VolumeId, storage_pool_id: StoragePoolId | None = None) -> VolumeInfo:
        """Convert it, base and all, into a file of its own."""
        parse_id(id)
        parse_id(target_id)
        async with self._lock(target_id):
            if existing := await _in_thread(lambda: self._describe_existing(target_id)):
                return existing
            source = await _in_thread(lambda: self._require(id))
            size_bytes = (await _in_thread(lambda: _describe(source, id))).size_bytes
            folder = await _in_thread(lambda: self._places.emptiest(storage_pool_id, self._reserve_bytes))
            try:
                part = await _in_thread(lambda: folder.begin(target_id))
                async with self._commands:
                    await qemu_img.copy_volume(source.volume(id), part, size_bytes)
                fail_point("cell/storage_local/copy_made")
                await _in_thread(lambda: folder.publish(target_id))
            except BaseException:
                folder.abandon(target_id)
                raise
            return await _in_thread(lambda: _describe(folder, target_id))

    async def read(self, id: VolumeId) -> VolumeReader:
        """Open its file."""
        folder = await _in_thread(lambda: self._require(parse_volume_id(id)))
        return await _in_thread(lambda: FileReader(folder.volume(id)))

    async def _copy(self, source: PoolFolder, target: PoolFolder, id: VolumeId) -> None:
        needed = (await _in_thread(lambda: _describe(source, id))).used_bytes + self._reserve_bytes
        if (free := (await _in_thread(target.space))[2]) < needed:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"volume {id} needs {needed} bytes with the reserve, {free} are free in {target.root}",
                reason="storage_local.full",
            )
        stop = threading.Event()

        def work() -> None:
            moving.check_unused(source.volume(id))
            moving.copy(source.volume(id), target.begin(id), stop)
            target.publish(id)

        copying = asyncio.ensure_future(_in_thread(work))
        try:
            await asyncio.shield(copying)
        except BaseException:
            stop.set()
            await asyncio.wait({copying})
            target.abandon(id)
            raise

    async def _with_files(
        self,
        ids: Sequence[VolumeId],
        snapshot_id: SnapshotId,
        act: Callable[[Sequence[snapshots.File], SnapshotId], Awaitable[None]],
    ) -> None:
        parse_id(snapshot_id, field="snapshot_id")
        async with AsyncExitStack() as held:
            for id in sorted({parse_volume_id(id) for id in ids}):
                await held.enter_async_context(self._lock(id))
            async with self._commands:
                await act(await _in_thread(lambda: [self._file(id) for id in ids]), snapshot_id)

    def _file(self, id: VolumeId) -> snapshots.File:
        folder = self._require(id)
        found = _describe(folder, id)
        path = folder.volume(id)
        return snapshots.File(id, path, path.lstat().st_size, found.snapshots)

    def _list(self) -> list[VolumeInfo]:  # type: ignore[valid-type]  # `list` is the method above here
        found: dict[VolumeId, VolumeInfo] = {}
        for place in sorted(self._places.usable(), key=Place.takes_new, reverse=True):
            for id in place.folder.ids():
                try:
                    found.setdefault(id, _describe(place.folder, id))
                except NanoError as error:
                    if error.code is not ErrorCode.NOT_FOUND:
                        self._log.error("volume can't be read", volume_id=id, error=str(error))
        return [*found.values()]

    def _describe_existing(self, id: VolumeId) -> VolumeInfo | None:
        place = self._places.find(id)
        return None if place is None else _describe(place.folder, id)

    def _require(self, id: VolumeId) -> PoolFolder:
        place = self._places.find(id)
        if place is None:
            raise _not_found(id)
        return place.folder

    def _lock(self, id: VolumeId) -> asyncio.Lock:
        lock = self._locks.get(id)
        if lock is None:
            lock = self._locks[id] = asyncio.Lock()
        return lock


def parse_volume_id(id: VolumeId) -> VolumeId:
    """Return ``id`` if it is one; raise ``invalid_argument``."""
    return VolumeId(parse_id(id))


def _check_shrink(before: VolumeInfo, size_bytes: int, *, is_confirmed: bool) -> None:
    if not is_confirmed:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT,
            f"volume {before.id} has {before.size_bytes} bytes and can't shrink to {size_bytes}: "
            "what the guest stored at its end would be lost, which has to be confirmed",
            field="size_bytes",
        )
    if before.snapshots:
        raise NanoError(
            ErrorCode.WRONG_STATE,
            f"volume {before.id} has {len(before.snapshots)} snapshots and can't shrink; delete them first",
            reason="storage_local.has_snapshots",
        )


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
        folder=str(folder.root),
        snapshots=qcow2.snapshots(start, path),
        base_path=qcow2.base_path(start, path),
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
