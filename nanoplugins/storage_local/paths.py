"""Where a volume lies: the only place that builds a path, and the checks that keep it inside the pool.

Layout of a pool folder::

    <folder>/volumes/<volume id>.qcow2           a volume, 0600
    <folder>/volumes/.<volume id>.qcow2.part     one being made; a leftover after a kill, swept by ``sweep``

Folders are 0711: QEMU, which may run as another user, reaches a file whose path it was given and lists nothing.
Everything here blocks for a system call or two; the driver calls it in a thread.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId, parse_id

FOLDER_MODE = 0o711
FILE_MODE = 0o600
SUFFIX = ".qcow2"
PART_SUFFIX = ".qcow2.part"


class PoolFolder:
    """One folder of the storage pool."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._volumes = root / "volumes"

    def volume(self, id: VolumeId) -> Path:
        """Return where the volume is or would be; ``invalid_argument`` for what is no id."""
        return self._volumes / f"{parse_id(id)}{SUFFIX}"

    def part(self, id: VolumeId) -> Path:
        """Return where the volume is made before it gets its name."""
        return self._volumes / f".{parse_id(id)}{PART_SUFFIX}"

    def prepare(self) -> None:
        """Check the folder and make ``volumes`` in it; ``unavailable`` names what is wrong."""
        if not self.root.is_absolute():
            raise _unavailable(self.root, "is not absolute; write the whole path")
        if not self.root.exists():
            raise _unavailable(self.root, "does not exist; create it, mount it, or correct the path")
        if not self.root.is_dir():
            raise _unavailable(self.root, "is not a folder; correct the path")
        try:
            self._volumes.mkdir(mode=FOLDER_MODE, exist_ok=True)
            # A link here would lead every volume out of the pool.
            descriptor = os.open(self._volumes, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise _unavailable(self._volumes, f"can't be used: {error.strerror}") from error
        try:
            os.fchmod(descriptor, FOLDER_MODE)
        except OSError as error:
            raise _unavailable(self._volumes, f"can't be used: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if not os.access(self._volumes, os.W_OK | os.X_OK):
            raise _unavailable(self._volumes, "can't be written")

    def check(self) -> None:
        """Raise ``unavailable`` if a folder that was prepared once can't be used now; make nothing.

        An absent ``volumes`` usually means that its disk is not mounted: making it anew would fill the mount point.
        """
        if not self._volumes.is_dir() or self._volumes.is_symlink():
            raise _unavailable(self._volumes, "is gone; is its disk mounted?")
        if not os.access(self._volumes, os.W_OK | os.X_OK):
            raise _unavailable(self._volumes, "can't be written")

    def sweep(self) -> list[str]:
        """Remove what a killed ``create`` left; return the names."""
        left = [entry.name for entry in os.scandir(self._volumes) if entry.name.endswith(PART_SUFFIX)]
        for name in left:
            (self._volumes / name).unlink(missing_ok=True)
        return left

    def begin(self, id: VolumeId) -> Path:
        """Make the part, empty and new: a link that waits under its name is removed, not written through."""
        part = self.part(id)
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        return part

    def abandon(self, id: VolumeId) -> None:
        """Remove the part; absent is fine."""
        self.part(id).unlink(missing_ok=True)

    def publish(self, id: VolumeId) -> Path:
        """Make the finished part durable and give it its name."""
        part, volume = self.part(id), self.volume(id)
        descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW)
        try:
            os.fchmod(descriptor, FILE_MODE)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.rename(volume)
        self._sync()
        return volume

    def remove(self, id: VolumeId) -> None:
        """Remove volume and part; absent is fine. A link is removed, never followed."""
        self.part(id).unlink(missing_ok=True)
        self.volume(id).unlink(missing_ok=True)
        self._sync()

    def has(self, id: VolumeId) -> bool:
        """Return whether the volume is here; ``wrong_state`` when something else has its name."""
        path = self.volume(id)
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return False
        if not stat.S_ISREG(mode):
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"{path} is not a regular file; Nano did not make it, remove it by hand",
                reason="storage_local.not_a_file",
            )
        return True

    def ids(self) -> list[VolumeId]:
        """Return the ids of all volumes; files with other names are not Nano's."""
        found = []
        for entry in os.scandir(self._volumes):
            if not entry.name.endswith(SUFFIX) or not entry.is_file(follow_symlinks=False):
                continue
            try:
                found.append(VolumeId(parse_id(entry.name.removesuffix(SUFFIX))))
            except NanoError:
                continue
        return found

    def count(self) -> int:
        """Return how many volumes are here, without looking at them."""
        return sum(entry.name.endswith(SUFFIX) for entry in os.scandir(self._volumes))

    def space(self) -> tuple[int, int, int]:
        """Return device number, total and free bytes of the file system."""
        facts = os.statvfs(self._volumes)
        return self._volumes.stat().st_dev, facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize

    def _sync(self) -> None:
        descriptor = os.open(self._volumes, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_start(path: Path, length: int) -> tuple[bytes, os.stat_result]:
    """Return the first bytes of a regular file and its facts; links are refused, devices and pipes too."""
    # O_NONBLOCK: opening a pipe that somebody put there must not wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise NanoError(ErrorCode.WRONG_STATE, f"{path} is not a regular file", reason="storage_local.not_a_file")
        return os.pread(descriptor, length, 0), facts
    finally:
        os.close(descriptor)


def _unavailable(path: Path, what: str) -> NanoError:
    return NanoError(ErrorCode.UNAVAILABLE, f"storage path {path} {what}", reason="storage_local.path")
