"""Which folders the pool has: the configured ones, and those that the core named, remembered in a small file.

The file is only so that a cell finds its volumes after a restart without its core; what lies where is always found by
looking. Everything here blocks; the driver calls it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from nanocore.capabilities.storage import StoragePath, StoragePathState
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import StoragePoolId, VolumeId
from nanocore.wire import Struct, decode_json, encode_json, field
from nanoplugins.storage_local.paths import FOLDER_MODE, PoolFolder

SYSTEM_FOLDERS = tuple(
    Path(name)
    for name in (
        *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys"),
        *("/usr", "/var/cache", "/var/log"),
    )
)
"""What the system owns, makes anew at each start, or only shows: no volume is to lie there or anywhere below."""
ALIKE_BYTES = 64 * 1024**2
"""Folders whose free space differs by less take turns, by the number of their volumes."""


class _Remembered(Struct, frozen=True, kw_only=True):
    path: StoragePath
    is_prepared: bool = False


class _File(Struct, frozen=True, kw_only=True):
    paths: list[_Remembered] = field(default_factory=list)


@dataclass
class Place:
    """One folder and what is known of it."""

    folder: PoolFolder
    is_configured: bool = False
    defined: StoragePath | None = None
    is_prepared: bool = False
    reason: str | None = None
    """Why it can't be used, as last seen."""

    def look(self) -> bool:
        """Return whether it can be used now, and note the reason if not."""
        try:
            if self.is_prepared:
                self.folder.check()
            else:
                self.folder.prepare()
                self.is_prepared = True
        except (NanoError, OSError) as error:
            self.reason = error.message if isinstance(error, NanoError) else f"{self.folder.root}: {error.strerror}"
        else:
            self.reason = None
        return self.reason is None

    def takes_new(self) -> bool:
        """Return whether new volumes may come here."""
        return self.defined is None or (self.defined.is_enabled and not self.defined.is_draining)

    def is_of(self, pool: StoragePoolId | None) -> bool:
        """Return whether it is a path of that storage pool."""
        return pool is None or (self.defined is not None and self.defined.storage_pool_id == pool)

    def state(self) -> StoragePathState:
        """Return how it is."""
        total = used = count = 0
        if self.look():
            try:
                _, total, free = self.folder.space()
                used, count = total - free, self.folder.count()
            except OSError as error:
                self.reason = f"{self.folder.root}: {error.strerror}"
        return StoragePathState(
            path=str(self.folder.root),
            id=None if self.defined is None else self.defined.id,
            is_configured=self.is_configured,
            reason=self.reason,
            total_bytes=total,
            used_bytes=used,
            volumes=count,
        )


class Places:
    """All folders. ``memory`` is the file with what the core defined."""

    def __init__(
        self, configured: Sequence[Path], default_path: Path, memory: Path, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._is_default = not configured
        self._memory = memory
        self._state = memory.parent
        self._log = log
        self._places = [Place(PoolFolder(path), is_configured=True) for path in configured or [default_path]]

    def open(self) -> None:
        """Check configured folders (``unavailable``), look at remembered ones, sweep what a kill left half made."""
        if self._is_default:
            root = self._places[0].folder.root
            root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            # QEMU may run as another user, which has to get through Nano's own folder to the file.
            root.parent.chmod(FOLDER_MODE)
            root.chmod(FOLDER_MODE)
        for place in self._places:
            if place.is_configured:
                place.folder.prepare()
                place.is_prepared = True
        for remembered in self._remembered():
            self._adopt(remembered.path, is_prepared=remembered.is_prepared)
        for place in self.usable():
            if left := place.folder.sweep():
                self._log.info("unfinished volumes removed", path=str(place.folder.root), names=left)

    def usable(self) -> list[Place]:
        """Return every place that can be used now."""
        return [place for place in self._places if place.look()]

    def states(self) -> list[StoragePathState]:
        """Return how every place is."""
        return [place.state() for place in self._places]

    def find(self, id: VolumeId) -> Place | None:
        """Return where a volume lies. While it is moved it may lie in two places, alike: the one it goes to counts."""
        holders = [place for place in self.usable() if place.folder.has(id)]
        return max(holders, key=Place.takes_new, default=None)

    def get(self, path_id: str) -> Place:
        """Return the place that the core calls ``path_id``; raise ``not_found``, or ``unavailable`` with the reason."""
        for place in self._places:
            if place.defined is not None and place.defined.id == path_id:
                if not place.look():
                    raise NanoError(ErrorCode.UNAVAILABLE, f"{place.reason}", reason="storage_local.path")
                return place
        raise NanoError(ErrorCode.NOT_FOUND, f"this cell has no storage path with id {path_id[:80]}")

    def emptiest(self, pool: StoragePoolId | None, reserve_bytes: int) -> PoolFolder:
        """Return where a new volume goes; raise ``not_found`` without a path and ``no_capacity`` without room."""
        if all(place.defined is None for place in self._places):
            pool = None  # The core has not told its pools yet, so that the configured paths are all of them.
        mine = [place for place in self._places if place.is_of(pool)]
        if not mine:
            raise NanoError(
                ErrorCode.NOT_FOUND,
                f"storage pool {pool} has no path on this cell; add one",
                reason="storage_local.no_path",
            )
        found = [place.folder for place in mine if place.takes_new() and place.look()]
        if not found:
            why = "; ".join(place.reason or f"{place.folder.root} takes no new volumes" for place in mine)
            raise NanoError(
                ErrorCode.NO_CAPACITY, f"no path of the storage pool can be used: {why}", reason="storage_local.no_path"
            )
        free = {folder: folder.space()[2] for folder in found}
        folder = max(found, key=lambda folder: (free[folder] // ALIKE_BYTES, -folder.count()))
        if free[folder] < reserve_bytes:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the storage pool is full: {free[folder]} bytes are free in {folder.root}, {reserve_bytes} are "
                "reserved; delete volumes or add a path",
                reason="storage_local.full",
            )
        return folder

    def ensure(self, path: str) -> None:
        """Raise ``invalid_argument`` if ``path`` can't be added."""
        refusal = self._refusal(path)
        if refusal is not None:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, f"path {path} {refusal}", field="path")

    def define(self, paths: Sequence[StoragePath]) -> None:
        """Take over what the core says; raise ``wrong_state`` for leaving out one that has volumes."""
        wanted = {path.path: path for path in paths}
        for place in self._places:
            root = str(place.folder.root)
            if root in wanted or place.defined is None or place.is_configured or not place.look():
                continue
            if count := place.folder.count():
                raise NanoError(
                    ErrorCode.WRONG_STATE,
                    f"path {root} still has {count} volumes; drain it first",
                    reason="storage_local.not_empty",
                )
        self._places = [place for place in self._places if place.is_configured or str(place.folder.root) in wanted]
        for place in self._places:
            place.defined = None
        for path in wanted.values():
            self._adopt(path, is_prepared=False)
        self._remember()

    def _adopt(self, path: StoragePath, *, is_prepared: bool) -> None:
        for place in self._places:
            if str(place.folder.root) == path.path:
                place.defined = path
                return
        place = Place(PoolFolder(Path(path.path)), defined=path, is_prepared=is_prepared)
        place.look()
        self._places.append(place)

    def _refusal(self, path: str) -> str | None:
        root = Path(path)
        checks: tuple[tuple[Callable[[], bool], str], ...] = (
            (root.is_absolute, "is not absolute; write the whole path"),
            (lambda: os.path.normpath(path) == path, f"is not in its shortest form; write {os.path.normpath(path)}"),
            (root.exists, "does not exist on this cell; create it or mount its disk first"),
            (root.is_dir, "is not a folder"),
            (lambda: os.access(root, os.W_OK | os.X_OK), "can't be written"),
            (lambda: not _is_read_only(root), "is on a file system that is mounted read-only"),
        )
        try:
            return next((text for holds, text in checks if not holds()), None) or self._conflict(root.resolve())
        except OSError as error:
            return f"can't be looked at: {error.strerror}"

    def _conflict(self, real: Path) -> str | None:
        """Return what else has the folder."""
        if real == Path("/") or any(real.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
            return f"is {real}, the system's own; make a folder for volumes elsewhere, such as /srv/nano"
        if self._state.resolve().is_relative_to(real):
            return f"is or contains {self._state}, where Nano keeps its state; take a folder beside it"
        for place in self._places:
            other = place.folder.root.resolve()
            if real == other or real.is_relative_to(other) or other.is_relative_to(real):
                return f"is, contains or lies in {place.folder.root}, which is a storage path already"
        return None

    def _remembered(self) -> list[_Remembered]:
        try:
            return decode_json(self._memory.read_bytes(), _File).paths
        except FileNotFoundError:
            return []
        except (OSError, NanoError) as error:
            # The core tells them again; until then volumes on added paths are not found, and their guests say so.
            self._log.error("storage paths can't be read", file=str(self._memory), error=str(error))
            return []

    def _remember(self) -> None:
        paths = [
            _Remembered(path=place.defined, is_prepared=place.is_prepared) for place in self._places if place.defined
        ]
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        part = self._memory.with_name(self._memory.name + ".part")
        with part.open("wb") as file:
            file.write(encode_json(_File(paths=paths)))
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._memory)


def _is_read_only(root: Path) -> bool:
    return bool(os.statvfs(root).f_flag & os.ST_RDONLY)
