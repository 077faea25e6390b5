"""Paths that come and go, moved volumes, snapshots inside files, and disks that are full."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nanocore.capabilities.storage import StoragePath, VolumeInfo, VolumeSpec
from nanocore.errors import ErrorCode
from nanocore.ids import SnapshotId, StoragePoolId, VolumeId, new_id
from nanocore.model.instance import GIB, MIB
from nanoplugins.storage_local.driver import LocalStorage
from tests.storage_local.test_local_storage import info, make, refused

pytestmark = pytest.mark.needs("qemu")
POOL = StoragePoolId(new_id())


def path_at(folder: Path, *, is_enabled: bool = True) -> StoragePath:
    folder.mkdir(exist_ok=True)
    return StoragePath(id=new_id(), storage_pool_id=POOL, path=str(folder), is_enabled=is_enabled)


def create(driver: LocalStorage, size_bytes: int = 16 * MIB) -> VolumeInfo:
    spec = VolumeSpec(id=VolumeId(new_id()), size_bytes=size_bytes, storage_pool_id=POOL)
    return asyncio.run(driver.create(spec))


def qemu_io(path: str, *commands: str) -> str:
    arguments = [part for command in commands for part in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", "qcow2", *arguments, path], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def driver(tmp_path: Path) -> LocalStorage:
    made = make(default=tmp_path / "state" / "pool")
    asyncio.run(made.open())
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    """Leave a few kilobytes of the disk."""
    ballast = folder / "ballast"
    descriptor = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    try:
        with suppress(OSError):
            while True:
                os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
    return ballast


def test_full_disk_while_growing_leaves_the_volume_as_it_was(driver: LocalStorage, small_disk: Path) -> None:
    asyncio.run(driver.define_paths([path_at(small_disk)]))
    made = create(driver)
    ballast = fill(small_disk)
    # Over a terabyte the tables need more clusters than are left.
    refused(driver.resize(made.id, 16 * 1024 * GIB), ErrorCode.NO_CAPACITY, "full")
    assert asyncio.run(driver.get(made.id)).size_bytes == made.size_bytes
    assert sorted(path.name for path in (small_disk / "volumes").iterdir()) == [f"{made.id}.qcow2"]
    ballast.unlink()
    assert asyncio.run(driver.resize(made.id, GIB)).size_bytes == GIB
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", made.path], check=True)


def test_full_disk_while_taking_a_snapshot_leaves_none(driver: LocalStorage, small_disk: Path, tmp_path: Path) -> None:
    other = path_at(tmp_path / "other")
    asyncio.run(driver.define_paths([other]))
    roomy = create(driver)
    full = path_at(small_disk)
    asyncio.run(
        driver.define_paths([StoragePath(id=other.id, storage_pool_id=POOL, path=other.path, is_enabled=False), full])
    )
    tight = create(driver)
    qemu_io(tight.path, "write -P 5 0 64k")
    ballast = fill(small_disk)
    snapshot = SnapshotId(new_id())
    refused(driver.create_snapshot([roomy.id, tight.id], snapshot), ErrorCode.NO_CAPACITY, "full")
    assert [asyncio.run(driver.get(id)).snapshots for id in (roomy.id, tight.id)] == [[], []]
    ballast.unlink()
    asyncio.run(driver.create_snapshot([roomy.id, tight.id], snapshot))
    assert asyncio.run(driver.get(tight.id)).snapshots == [snapshot]


def test_full_disk_while_moving_leaves_the_volume_where_it_was(
    driver: LocalStorage, small_disk: Path, tmp_path: Path
) -> None:
    first, second = path_at(tmp_path / "first"), path_at(small_disk, is_enabled=False)
    asyncio.run(driver.define_paths([first, second]))
    made = create(driver)
    qemu_io(made.path, "write -P 5 0 8M")
    refused(driver.move(made.id, second.id), ErrorCode.NO_CAPACITY, "free")
    assert asyncio.run(driver.get(made.id)).folder == first.path
    assert list((small_disk / "volumes").iterdir()) == []


def test_moved_volume_keeps_contents_holes_and_snapshots(driver: LocalStorage, tmp_path: Path) -> None:
    first, second = path_at(tmp_path / "first"), path_at(tmp_path / "second", is_enabled=False)
    asyncio.run(driver.define_paths([first, second]))
    made = create(driver, GIB)
    qemu_io(made.path, "write -P 1 0 1M")
    snapshot = SnapshotId(new_id())
    asyncio.run(driver.create_snapshot([made.id], snapshot))
    qemu_io(made.path, "write -P 2 0 1M", "write -P 3 900M 1M")
    before = asyncio.run(driver.get(made.id))
    moved = asyncio.run(driver.move(made.id, second.id))
    assert not Path(made.path).exists()
    assert Path(moved.path).stat().st_mode & 0o777 == 0o600
    assert "failed" not in qemu_io(moved.path, "read -P 2 0 1M", "read -P 3 900M 1M")
    assert moved.used_bytes <= before.used_bytes + MIB
    asyncio.run(driver.restore_snapshot([made.id], snapshot))
    assert "failed" not in qemu_io(moved.path, "read -P 1 0 1M")
    assert info(moved.path)["virtual-size"] == GIB


def test_volume_in_use_is_not_moved(driver: LocalStorage, tmp_path: Path) -> None:
    first, second = path_at(tmp_path / "first"), path_at(tmp_path / "second", is_enabled=False)
    asyncio.run(driver.define_paths([first, second]))
    made = create(driver)
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", made.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("length\n")
        guest.stdin.flush()
        assert "16 MiB" in guest.stdout.readline()
        refused(driver.move(made.id, second.id), ErrorCode.WRONG_STATE, "in use")
        guest.stdin.close()
    assert list((tmp_path / "second" / "volumes").iterdir()) == []
    assert asyncio.run(driver.move(made.id, second.id)).folder == second.path


def test_copy_that_was_published_before_a_kill_is_finished_by_the_repeat(driver: LocalStorage, tmp_path: Path) -> None:
    first, second = path_at(tmp_path / "first", is_enabled=True), path_at(tmp_path / "second", is_enabled=True)
    asyncio.run(driver.define_paths([first]))
    made = create(driver)
    asyncio.run(driver.define_paths([first, second]))
    copy = tmp_path / "second" / "volumes" / Path(made.path).name
    copy.write_bytes(Path(made.path).read_bytes())
    assert [volume.id for volume in asyncio.run(driver.list())] == [made.id]
    assert asyncio.run(driver.move(made.id, second.id)).path == str(copy)
    assert not Path(made.path).exists()


def test_path_whose_disk_is_not_mounted_is_shown_and_left_alone(driver: LocalStorage, tmp_path: Path) -> None:
    more = path_at(tmp_path / "more")
    asyncio.run(driver.define_paths([more]))
    made = create(driver)
    (tmp_path / "more" / "volumes").rename(tmp_path / "away")
    again = make(default=tmp_path / "state" / "pool")
    asyncio.run(again.open())
    states = {state.path: state.reason for state in asyncio.run(again.list_paths())}
    assert "is its disk mounted?" in (states[more.path] or "")
    refused(again.get(made.id), ErrorCode.NOT_FOUND)
    spec = VolumeSpec(id=VolumeId(new_id()), size_bytes=MIB, storage_pool_id=POOL)
    refused(again.create(spec), ErrorCode.NO_CAPACITY, "mounted")
    assert list((tmp_path / "more").iterdir()) == []
    (tmp_path / "away").rename(tmp_path / "more" / "volumes")
    assert asyncio.run(again.get(made.id)) == made


def test_new_volumes_take_turns_on_paths_that_are_alike(driver: LocalStorage, tmp_path: Path) -> None:
    asyncio.run(driver.define_paths([path_at(tmp_path / "first"), path_at(tmp_path / "second")]))
    folders = [create(driver, MIB).folder for _ in range(6)]
    assert sorted(folders) == [str(tmp_path / "first")] * 3 + [str(tmp_path / "second")] * 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "does not exist"),
        ("file", "not a folder"),
        ("pool/volumes", "storage path already"),
        ("", "keeps its state"),
        ("pool/../pool", "shortest form"),
        ("link", "storage path already"),
        ("state", "keeps its state"),
        ("to-etc", "the system's own"),
        ("to-root", "the system's own"),
        ("n" * 300, "too long"),
    ],
)
def test_path_that_can_not_be_added(tmp_path: Path, name: str, words: str) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(pool)
    (tmp_path / "state").mkdir()
    (tmp_path / "to-etc").symlink_to("/etc")
    (tmp_path / "to-root").symlink_to("/")
    driver = make(pool, default=tmp_path / "state" / "pool")
    asyncio.run(driver.open())
    error = refused(driver.ensure_path(f"{tmp_path}/{name}".rstrip("/")), ErrorCode.INVALID_ARGUMENT, words)
    assert error.details["field"] == "path"


def test_read_only_path_is_refused(driver: LocalStorage, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(driver.ensure_path(str(small_disk)), ErrorCode.INVALID_ARGUMENT, "read-only|written")


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/local", "/dev/shm", "/proc"])
def test_folder_of_the_system_is_refused(driver: LocalStorage, path: str) -> None:
    refused(driver.ensure_path(path), ErrorCode.INVALID_ARGUMENT, "the system's own")
