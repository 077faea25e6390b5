"""The files of the images plugin: the only place that builds their paths.

Below the plugin's state folder::

    uploads/<image id>.part     bytes that have arrived so far                        core
    uploads/<image id>.qcow2.part   being converted from another format               core
    images/<image id>           inspected, complete, read-only from now on            core
    cache/<image id>.part       being fetched                                         cell
    cache/<image id>.<format>   complete; what volumes are cloned from                cell

Only ``cache`` is open to other users (0711, files 0644): QEMU may run as one and must reach the base of a clone.
Everything blocks; callers use a thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from nanocore.errors import NanoError
from nanocore.ids import ImageId, parse_id

FORMATS = ("qcow2", "raw", "iso")
PART = ".part"
CACHE_FOLDER_MODE = 0o711
IMAGE_MODE = 0o644


class ImageFolders:
    """Paths, and what is done to whole files."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._uploads = state / "uploads"
        self._images = state / "images"
        self._cache = state / "cache"

    def prepare_core(self) -> None:
        """Make the core's folders."""
        for folder in (self._uploads, self._images):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def prepare_cell(self) -> None:
        """Make the cell's folder and let other users through to it."""
        self._cache.mkdir(mode=CACHE_FOLDER_MODE, parents=True, exist_ok=True)
        for folder in (self._state, self._cache):
            folder.chmod(CACHE_FOLDER_MODE)

    def upload(self, id: ImageId) -> Path:
        """Return where an upload's bytes are."""
        return self._uploads / f"{parse_id(id)}{PART}"

    def converted(self, id: ImageId) -> Path:
        """Return where an upload in another format becomes qcow2; a leftover of it belongs to no record."""
        return self._uploads / f"{parse_id(id)}.qcow2{PART}"

    def image(self, id: ImageId) -> Path:
        """Return where the core keeps an image."""
        return self._images / parse_id(id)

    def fetch(self, id: ImageId) -> Path:
        """Return where a cell gathers an image."""
        return self._cache / f"{parse_id(id)}{PART}"

    def cached(self, id: ImageId, format: str) -> Path:
        """Return where a cell keeps an image."""
        return self._cache / f"{parse_id(id)}.{format}"

    def list_core_files(self) -> list[tuple[Path, ImageId | None]]:
        """Return every file in the core's folders with the image it is named after."""
        files = [*self._uploads.iterdir(), *self._images.iterdir()]
        return [(path, _image_id(path.name.removesuffix(PART))) for path in files]

    def list_cached(self) -> list[tuple[ImageId, str]]:
        """Return id and format of every complete image in the cache."""
        try:
            names = [path.name for path in self._cache.iterdir()]
        except FileNotFoundError:
            return []
        found = []
        for name in names:
            stem, _, suffix = name.partition(".")
            id = _image_id(stem)
            if id is not None and suffix in FORMATS:
                found.append((id, suffix))
        return found

    def evict(self, id: ImageId) -> None:
        """Remove every cached file of an image; a guest that has it open keeps it until it closes it."""
        for format in FORMATS:
            self.cached(id, format).unlink(missing_ok=True)

    def touch(self, id: ImageId, format: str) -> None:
        """Note that an image is used now."""
        os.utime(self.cached(id, format))

    def cached_facts(self) -> list[tuple[float, int, ImageId]]:
        """Return when each cached image was used last (seconds since 1970), its bytes and its id; oldest first."""
        found = []
        for id, format in self.list_cached():
            facts = self.cached(id, format).stat()
            found.append((facts.st_mtime, facts.st_size, id))
        return sorted(found)

    def free_bytes(self) -> int:
        """Return the space that can still be used."""
        facts = os.statvfs(self._state)
        return facts.f_bavail * facts.f_frsize


def publish(part: Path, target: Path) -> None:
    """Make ``part`` durable and readable, then give it its final name; both survive a power cut."""
    descriptor = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, IMAGE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(target)
    sync_folder(target.parent)


def link(source: Path, target: Path) -> None:
    """Give a published file a second name; raises ``OSError`` where file systems differ."""
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        return
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _image_id(text: str) -> ImageId | None:
    try:
        return ImageId(parse_id(text))
    except NanoError:
        return None
