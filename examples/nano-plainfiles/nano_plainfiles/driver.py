"""The storage driver: a volume is a raw file, a clone is a whole copy."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from pathlib import Path

from nanocore.capabilities.storage import StorageDriver, StorageInfo, StorageUsage, VolumeInfo, VolumeSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId, parse_id

SECTOR_BYTES = 512
IMAGE_FORMATS = ("qcow2", "raw")
COPY_SECONDS = 110
"""Less than the core waits for a volume."""


class PlainFiles(StorageDriver):
    """Implements ``StorageDriver`` on one folder; what its ``info`` does not promise is refused by the base."""

    name = "plainfiles"

    def __init__(self, folder: Path, *, reserve_bytes: int) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        # One change at a time, so that two creations of one id can't meet. Enough for an example.
        self._lock = asyncio.Lock()

    @property
    def info(self) -> StorageInfo:
        """Real files; a clone takes as much as its image."""
        return StorageInfo(name=self.name, can_clone_thin=False)

    async def open(self) -> None:
        """Check the folder, and remove what a kill left half made."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """Nothing is held open."""

    async def create(self, spec: VolumeSpec) -> VolumeInfo:
        """Make a volume, or return the one that is there."""
        async with self._lock:
            return await asyncio.to_thread(self._create, spec)

    async def delete(self, id: VolumeId) -> None:
        """Remove the file, if there is one."""
        path = self._path(id)
        async with self._lock:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def get(self, id: VolumeId) -> VolumeInfo:
        """Return one volume."""
        return await asyncio.to_thread(self._describe, self._path(id))

    async def list(self) -> list[VolumeInfo]:
        """Return every volume."""
        return await asyncio.to_thread(lambda: [self._describe(path) for path in sorted(self._folder.glob("*.raw"))])

    async def resize(self, id: VolumeId, size_bytes: int, *, is_shrink_confirmed: bool = False) -> VolumeInfo:
        """Grow the file."""
        del is_shrink_confirmed  # `info` does not say `can_shrink`
        path = self._path(id)
        async with self._lock:
            return await asyncio.to_thread(self._resize, path, size_bytes)

    async def usage(self) -> StorageUsage:
        """Return the space of the folder's file system."""
        space = await asyncio.to_thread(shutil.disk_usage, self._folder)
        return StorageUsage(total_bytes=space.total, used_bytes=space.used)

    # -- in a thread: nothing here may hold up the node's loop

    def _open(self) -> None:
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise NanoError(
                ErrorCode.UNAVAILABLE, f"{self._folder} is no folder that can be written; make it or mount it"
            )
        for part in self._folder.glob("*.part"):
            part.unlink()

    def _create(self, spec: VolumeSpec) -> VolumeInfo:
        path = self._path(spec.id)
        if not path.exists():
            _check_size(spec.size_bytes)
            self._require_space(spec.size_bytes)
            self._make(spec, path)
        return self._describe(path)

    def _make(self, spec: VolumeSpec, path: Path) -> None:
        """Make it under another name, and give it its own when it is whole and on the disk."""
        part = path.with_suffix(".part")
        try:
            if spec.image_path is None:
                part.touch(mode=0o600)
            else:
                _copy_image(spec, part)
            with part.open("rb+") as file:
                file.truncate(spec.size_bytes)
                os.fsync(file.fileno())
            part.rename(path)
        except OSError as error:
            code = ErrorCode.NO_CAPACITY if error.errno == errno.ENOSPC else ErrorCode.UNAVAILABLE
            raise NanoError(code, f"volume {spec.id} can't be written: {error}") from error
        finally:
            part.unlink(missing_ok=True)

    def _resize(self, path: Path, size_bytes: int) -> VolumeInfo:
        now = self._describe(path)
        _check_size(size_bytes)
        if size_bytes < now.size_bytes:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"volume {now.id} has {now.size_bytes} bytes and can't shrink")
        self._require_space(size_bytes - now.size_bytes)
        os.truncate(path, size_bytes)
        return self._describe(path)

    def _describe(self, path: Path) -> VolumeInfo:
        try:
            facts = path.lstat()
        except FileNotFoundError:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no volume {path.stem} in {self._folder}") from None
        return VolumeInfo(
            id=VolumeId(path.stem),
            path=str(path),
            format="raw",
            size_bytes=facts.st_size,
            used_bytes=facts.st_blocks * SECTOR_BYTES,
        )

    def _path(self, id: VolumeId) -> Path:
        """Return the file of a volume; ``parse_id`` lets nothing through that could lead out of the folder."""
        return self._folder / f"{parse_id(id)}.raw"

    def _require_space(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self._folder).free - self._reserve_bytes
        if size_bytes > free:
            raise NanoError(ErrorCode.NO_CAPACITY, f"{size_bytes} bytes are wanted, {max(0, free)} are free")


def _check_size(size_bytes: int) -> None:
    if size_bytes <= 0 or size_bytes % SECTOR_BYTES:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, f"a size is a positive multiple of {SECTOR_BYTES} bytes, got {size_bytes}"
        )


def _copy_image(spec: VolumeSpec, part: Path) -> None:
    """Unfold the image into ``part``. Its format is told, never guessed: a guest may write any header to its disk."""
    if spec.image_format not in IMAGE_FORMATS:
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, f"an image is {' or '.join(IMAGE_FORMATS)}, not {spec.image_format}"
        )
    command = ["qemu-img", "convert", "-f", spec.image_format, "-O", "raw", str(spec.image_path), str(part)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COPY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise NanoError(ErrorCode.DEADLINE_EXCEEDED, f"copying the image took over {COPY_SECONDS} s") from None
    if done.returncode:
        raise NanoError(ErrorCode.UNAVAILABLE, f"the image can't be copied: {done.stderr.strip()}")
    if part.stat().st_size > spec.size_bytes:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, f"the image needs a volume of {part.stat().st_size} bytes")
