"""What every storage driver must keep: subclass ``StorageSuite``, say how to make the driver, collect it with pytest.

::

    class TestMine(StorageSuite):
        def driver(self, folder: Path) -> StorageDriver:
            return MyStorage(folder)
"""
# ruff: noqa: S101, D102, ASYNC240  a suite is a test module: it asserts, its tests' names say what they check

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nanocore.capabilities.storage import StorageDriver, StoragePath, VolumeInfo, VolumeSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import SnapshotId, StoragePoolId, VolumeId, new_id
from nanocore.model.instance import MIB
from nanocore.wire import structs

NO_IDS = ("", "..", "../x", "/etc/passwd", "a" * 5000, "00000000-0000-0000-0000-00000000000G", "-f", "x\0y", "ü")
"""What comes instead of an id when somebody tries."""


@dataclass(frozen=True, slots=True)
class SuiteImage:
    """An image to clone, as the cache would offer it."""

    path: Path
    format: str
    size_bytes: int


class StorageSuite(ABC):
    """The promise of ``StorageDriver``, one test a clause."""

    @abstractmethod
    def driver(self, folder: Path) -> StorageDriver:
        """Return a driver, not opened, that keeps its pool in ``folder``; called again for a restart."""

    @abstractmethod
    def full_driver(self, folder: Path) -> StorageDriver:
        """Return a driver whose pool has no room for another volume."""

    @abstractmethod
    def image(self, folder: Path) -> SuiteImage:
        """Return an image that the driver can clone."""

    def test_new_volume_is_there(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            made = await driver.create(spec := _spec())
            assert made.id == spec.id
            assert made.size_bytes == spec.size_bytes
            assert made.path
            assert made.format
            assert await driver.get(spec.id) == made
            assert await driver.list() == [made]
            assert driver.info.has_real_files == Path(made.path).is_file()

        self._run(tmp_path, check)

    def test_create_is_idempotent_by_id(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            first = await driver.create(spec := _spec())
            again = await driver.create(VolumeSpec(id=spec.id, size_bytes=64 * MIB))
            assert (again.path, again.size_bytes) == (first.path, first.size_bytes)

        self._run(tmp_path, check)

    def test_many_creates_of_one_id_at_once_make_one_volume(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            spec = _spec()
            made = await asyncio.gather(*(driver.create(spec) for _ in range(8)))
            assert len({volume.path for volume in made}) == 1
            assert len(await driver.list()) == 1

        self._run(tmp_path, check)

    def test_many_volumes_at_once(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            made = await asyncio.gather(*(driver.create(_spec()) for _ in range(12)))
            assert {volume.id for volume in await driver.list()} == {volume.id for volume in made}
            await asyncio.gather(*(driver.delete(volume.id) for volume in made))
            assert await driver.list() == []

        self._run(tmp_path, check)

    def test_clone_of_an_image(self, tmp_path: Path) -> None:
        image = self.image(tmp_path)

        async def check(driver: StorageDriver) -> None:
            size = image.size_bytes + 8 * MIB
            made = await driver.create(_spec(size, image))
            assert made.size_bytes == size
            if driver.info.has_real_files and driver.info.can_clone_thin:
                assert made.used_bytes < image.size_bytes

        self._run(tmp_path, check)

    def test_image_format_is_never_guessed(self, tmp_path: Path) -> None:
        image = self.image(tmp_path)

        async def check(driver: StorageDriver) -> None:
            for bad in (None, "vmdk", "auto", ""):
                spec = VolumeSpec(id=_id(), size_bytes=64 * MIB, image_path=str(image.path), image_format=bad)
                await _refused(driver.create(spec), ErrorCode.INVALID_ARGUMENT)
            assert await driver.list() == []

        self._run(tmp_path, check)

    def test_delete_twice(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            made = await driver.create(_spec())
            await driver.delete(made.id)
            await driver.delete(made.id)
            await _refused(driver.get(made.id), ErrorCode.NOT_FOUND)
            assert await driver.list() == []
            assert not Path(made.path).exists()

        self._run(tmp_path, check)

    def test_unknown_volume(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            await _refused(driver.get(_id()), ErrorCode.NOT_FOUND)
            await _refused(driver.resize(_id(), 64 * MIB), ErrorCode.NOT_FOUND)

        self._run(tmp_path, check)

    def test_volume_grows_and_never_shrinks(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            made = await driver.create(_spec())
            grown = await driver.resize(made.id, made.size_bytes * 2)
            assert grown.size_bytes == made.size_bytes * 2
            assert (await driver.resize(made.id, grown.size_bytes)).size_bytes == grown.size_bytes
            await _refused(driver.resize(made.id, made.size_bytes), ErrorCode.INVALID_ARGUMENT)
            assert (await driver.get(made.id)).size_bytes == grown.size_bytes

        self._run(tmp_path, check)

    @pytest.mark.parametrize("size_bytes", [0, -512, 1000])
    def test_size_that_no_disk_has(self, tmp_path: Path, size_bytes: int) -> None:
        async def check(driver: StorageDriver) -> None:
            await _refused(driver.create(VolumeSpec(id=_id(), size_bytes=size_bytes)), ErrorCode.INVALID_ARGUMENT)
            assert await driver.list() == []

        self._run(tmp_path, check)

    @pytest.mark.parametrize("text", NO_IDS, ids=range(len(NO_IDS)))
    def test_what_is_no_id_reaches_no_path(self, tmp_path: Path, text: str) -> None:
        async def check(driver: StorageDriver) -> None:
            before = {path for path in tmp_path.rglob("*") if path.is_file()}
            volume_id = VolumeId(text)
            await _refused(driver.create(VolumeSpec(id=volume_id, size_bytes=MIB)), ErrorCode.INVALID_ARGUMENT)
            await _refused(driver.delete(volume_id), ErrorCode.INVALID_ARGUMENT)
            await _refused(driver.get(volume_id), ErrorCode.INVALID_ARGUMENT)
            await _refused(driver.resize(volume_id, MIB), ErrorCode.INVALID_ARGUMENT)
            assert {path for path in tmp_path.rglob("*") if path.is_file()} == before

        self._run(tmp_path, check)

    def test_volumes_survive_a_restart(self, tmp_path: Path) -> None:
        async def make(driver: StorageDriver) -> None:
            made.append(await driver.create(_spec()))
            gone = await driver.create(_spec())
            await driver.delete(gone.id)
            made[0] = await driver.resize(made[0].id, made[0].size_bytes * 2)

        async def look(driver: StorageDriver) -> None:
            assert [volume.id for volume in await driver.list()] == [made[0].id]
            assert (await driver.get(made[0].id)).size_bytes == made[0].size_bytes

        made: list[VolumeInfo] = []
        self._run(tmp_path, make)
        self._run(tmp_path, look)

    def test_shrinking_has_to_be_confirmed(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            made = await driver.create(_spec(32 * MIB))
            await _refused(driver.resize(made.id, 16 * MIB), ErrorCode.INVALID_ARGUMENT)
            if not driver.info.can_shrink:
                shrinking = driver.resize(made.id, 16 * MIB, is_shrink_confirmed=True)
                await _refused(shrinking, ErrorCode.INVALID_ARGUMENT)
                assert (await driver.get(made.id)).size_bytes == 32 * MIB
                return
            shrunk = await driver.resize(made.id, 16 * MIB, is_shrink_confirmed=True)
            assert (shrunk.size_bytes, await driver.get(made.id)) == (16 * MIB, shrunk)

        self._run(tmp_path, check)

    def test_snapshots_of_several_volumes(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            ids = [(await driver.create(_spec())).id for _ in range(2)]
            first, second = _snapshot_id(), _snapshot_id()
            if not driver.info.can_snapshot:
                await _refused(driver.create_snapshot(ids, first), ErrorCode.UNSUPPORTED)
                await _refused(driver.restore_snapshot(ids, first), ErrorCode.UNSUPPORTED)
                await _refused(driver.delete_snapshot(ids, first), ErrorCode.UNSUPPORTED)
                return
            await driver.create_snapshot(ids, first)
            await driver.create_snapshot(ids, first)
            grown = await driver.resize(ids[0], 32 * MIB)
            assert grown.snapshots == [first]
            if driver.info.can_shrink:
                await _refused(driver.resize(ids[0], 16 * MIB, is_shrink_confirmed=True), ErrorCode.WRONG_STATE)
            await driver.create_snapshot(ids, second)
            assert [(await driver.get(id)).snapshots for id in ids] == [[first, second]] * 2
            await driver.restore_snapshot(ids, first)
            assert (await driver.get(ids[0])).size_bytes == 16 * MIB
            await driver.restore_snapshot(ids, second)
            assert (await driver.get(ids[0])).size_bytes == 32 * MIB
            await driver.delete_snapshot([*ids, _id()], first)
            await driver.delete_snapshot(ids, first)
            assert [(await driver.get(id)).snapshots for id in ids] == [[second]] * 2
            await driver.delete(ids[0])
            assert [volume.id for volume in await driver.list()] == ids[1:]

        self._run(tmp_path, check)

    def test_snapshot_is_of_all_volumes_or_of_none(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            if not driver.info.can_snapshot:
                await _refused(driver.create_snapshot([], _snapshot_id()), ErrorCode.UNSUPPORTED)
                return
            made, lacking = await driver.create(_spec()), await driver.create(_spec())
            snapshot = _snapshot_id()
            await _refused(driver.create_snapshot([made.id, _id()], snapshot), ErrorCode.NOT_FOUND)
            assert (await driver.get(made.id)).snapshots == []
            await driver.create_snapshot([made.id], snapshot)
            await driver.resize(made.id, 32 * MIB)
            await _refused(driver.restore_snapshot([made.id, lacking.id], snapshot), ErrorCode.NOT_FOUND)
            assert (await driver.get(made.id)).size_bytes == 32 * MIB

        self._run(tmp_path, check)

    def test_snapshots_survive_a_restart(self, tmp_path: Path) -> None:
        async def make(driver: StorageDriver) -> None:
            if driver.info.can_snapshot:
                made.append(await driver.create(_spec()))
                await driver.create_snapshot([made[0].id], snapshot)
            else:
                await _refused(driver.create_snapshot([], snapshot), ErrorCode.UNSUPPORTED)

        async def look(driver: StorageDriver) -> None:
            assert [volume.snapshots for volume in await driver.list()] == [[snapshot]] * len(made)

        made: list[VolumeInfo] = []
        snapshot = _snapshot_id()
        self._run(tmp_path, make)
        self._run(tmp_path, look)

    def test_copy_needs_no_other_file(self, tmp_path: Path) -> None:
        image = self.image(tmp_path)

        async def check(driver: StorageDriver) -> None:
            spec = VolumeSpec(
                id=VolumeId(new_id()),
                size_bytes=image.size_bytes,
                image_path=str(image.path),
                image_format=image.format,
            )
            made = await driver.create(spec)
            target = VolumeId(new_id())
            if not driver.info.can_copy:
                await _refused(driver.copy(made.id, target), ErrorCode.UNSUPPORTED)
                await _refused(driver.read(made.id), ErrorCode.UNSUPPORTED)
                return
            copy = await driver.copy(made.id, target)
            assert (copy.id, copy.size_bytes, copy.format) == (target, made.size_bytes, made.format)
            assert await driver.copy(made.id, target) == copy
            assert (made.base_path, copy.base_path) == (str(image.path), None)
            await driver.delete(made.id)
            image.path.unlink(missing_ok=True)
            reader = await driver.read(target)
            data = b""
            while part := await reader.read(MIB):
                assert len(part) <= MIB
                data += part
            assert len(data) == reader.size_bytes > 0
            await reader.close()
            await reader.close()
            await _refused(driver.copy(made.id, VolumeId(new_id())), ErrorCode.NOT_FOUND)
            await _refused(driver.read(made.id), ErrorCode.NOT_FOUND)
            assert [volume.id for volume in await driver.list()] == [target]

        self._run(tmp_path, check)

    def test_paths_are_added_filled_drained_and_removed(self, tmp_path: Path) -> None:
        first, second = self._more_paths(tmp_path)

        async def check(driver: StorageDriver) -> None:
            if not driver.info.has_paths:
                await _refused(driver.ensure_path(first.path), ErrorCode.UNSUPPORTED)
                await _refused(driver.define_paths([first]), ErrorCode.UNSUPPORTED)
                await _refused(driver.move(_id(), first.id), ErrorCode.UNSUPPORTED)
                assert list(await driver.list_paths()) == []
                return
            before = {state.path for state in await driver.list_paths()}
            await driver.ensure_path(first.path)
            states = await driver.define_paths([first, second])
            assert {state.path for state in states} == before | {first.path, second.path}
            assert [state.reason for state in states] == [None] * len(states)
            await _refused(driver.ensure_path(first.path), ErrorCode.INVALID_ARGUMENT)
            made = await driver.create(_spec(pool=first.storage_pool_id))
            assert made.folder == first.path
            await self._check_snapshot_moves(driver, made, second)
            await _refused(driver.define_paths([first]), ErrorCode.WRONG_STATE)
            await driver.delete(made.id)
            await driver.define_paths([])
            assert {state.path for state in await driver.list_paths()} == before

        self._run(tmp_path, check)

    async def _check_snapshot_moves(self, driver: StorageDriver, made: VolumeInfo, target: StoragePath) -> None:
        snapshot = _snapshot_id()
        if driver.info.can_snapshot:
            await driver.create_snapshot([made.id], snapshot)
        moved = await driver.move(made.id, target.id)
        assert await driver.move(made.id, target.id) == moved
        assert (moved.folder, moved.size_bytes) == (target.path, made.size_bytes)
        assert [volume.id for volume in await driver.list()] == [made.id]
        assert moved.snapshots == ([snapshot] if driver.info.can_snapshot else [])
        if driver.info.has_real_files:
            assert (Path(moved.path).is_file(), Path(made.path).exists()) == (True, False)
        await _refused(driver.move(made.id, new_id()), ErrorCode.NOT_FOUND)
        await _refused(driver.move(_id(), target.id), ErrorCode.NOT_FOUND)

    def test_path_that_is_off_takes_nothing_new(self, tmp_path: Path) -> None:
        first, second = self._more_paths(tmp_path)
        pool = first.storage_pool_id

        async def check(driver: StorageDriver) -> None:
            if not driver.info.has_paths:
                await _refused(driver.define_paths([first]), ErrorCode.UNSUPPORTED)
                return
            off = structs.replace(first, is_enabled=False)
            await driver.define_paths([off, structs.replace(second, storage_pool_id=pool)])
            assert {(await driver.create(_spec(pool=pool))).folder for _ in range(3)} == {second.path}
            await driver.define_paths([off, structs.replace(second, storage_pool_id=pool, is_draining=True)])
            await _refused(driver.create(_spec(pool=pool)), ErrorCode.NO_CAPACITY)
            await _refused(driver.create(_spec(pool=StoragePoolId(new_id()))), ErrorCode.NOT_FOUND)

        self._run(tmp_path, check)

    def test_paths_are_remembered(self, tmp_path: Path) -> None:
        first, second = self._more_paths(tmp_path)

        async def make(driver: StorageDriver) -> None:
            if not driver.info.has_paths:
                await _refused(driver.define_paths([first]), ErrorCode.UNSUPPORTED)
                return
            await driver.define_paths([first, second])
            made.append(await driver.create(_spec(pool=second.storage_pool_id)))

        async def look(driver: StorageDriver) -> None:
            assert await driver.list() == made
            if made:
                assert {first.id, second.id} <= {state.id for state in await driver.list_paths()}

        made: list[VolumeInfo] = []
        self._run(tmp_path, make)
        self._run(tmp_path, look)

    @pytest.mark.parametrize("path", ["relative", "/missing/path"])
    def test_path_that_is_none_is_refused_with_the_reason(self, tmp_path: Path, path: str) -> None:
        async def check(driver: StorageDriver) -> None:
            code = ErrorCode.INVALID_ARGUMENT if driver.info.has_paths else ErrorCode.UNSUPPORTED
            await _refused(driver.ensure_path(path), code)

        self._run(tmp_path, check)

    def test_usage_is_of_the_pool(self, tmp_path: Path) -> None:
        async def check(driver: StorageDriver) -> None:
            usage = await driver.usage()
            assert 0 <= usage.used_bytes <= usage.total_bytes
            assert usage.total_bytes > 0

        self._run(tmp_path, check)

    def test_full_pool_leaves_nothing(self, tmp_path: Path) -> None:
        async def check() -> None:
            driver = self.full_driver(tmp_path)
            await driver.open()
            before = await driver.list()
            try:
                await _refused(driver.create(spec := _spec()), ErrorCode.NO_CAPACITY)
                assert await driver.list() == before
                await _refused(driver.get(spec.id), ErrorCode.NOT_FOUND)
            finally:
                await driver.close()

        asyncio.run(check())

    def _more_paths(self, folder: Path) -> tuple[StoragePath, StoragePath]:
        """Return two paths of two storage pools; their folders exist."""
        paths = [folder / "more-1", folder / "more-2"]
        for path in paths:
            path.mkdir()
        first, second = (
            StoragePath(id=new_id(), storage_pool_id=StoragePoolId(new_id()), path=str(path)) for path in paths
        )
        return first, second

    def _run(self, folder: Path, check: Callable[[StorageDriver], Awaitable[None]]) -> None:
        async def main() -> None:
            driver = self.driver(folder)
            await driver.open()
            try:
                await check(driver)
            finally:
                await driver.close()

        asyncio.run(main())


def _id() -> VolumeId:
    return VolumeId(new_id())


def _snapshot_id() -> SnapshotId:
    return SnapshotId(new_id())


def _spec(size_bytes: int = 16 * MIB, image: SuiteImage | None = None, pool: StoragePoolId | None = None) -> VolumeSpec:
    if image is None:
        return VolumeSpec(id=_id(), size_bytes=size_bytes, storage_pool_id=pool)
    return VolumeSpec(id=_id(), size_bytes=size_bytes, image_path=str(image.path), image_format=image.format)


async def _refused(work: Awaitable[object], code: ErrorCode) -> None:
    with pytest.raises(NanoError) as caught:
        await work
    assert caught.value.code is code, caught.value
