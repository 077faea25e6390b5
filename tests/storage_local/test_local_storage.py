from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from nanocore.capabilities.storage import StorageDriver, VolumeSpec
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import VolumeId, new_id
from nanocore.model.instance import GIB, MIB
from nanocore.testing.storage_suite import StorageSuite, SuiteImage
from nanoplugins.storage_local import qemu_img
from nanoplugins.storage_local.driver import LocalStorage


def make(*paths: Path, default: Path = Path("/nonexistent"), reserve_bytes: int = 0) -> LocalStorage:
    return LocalStorage(paths, default_path=default, reserve_bytes=reserve_bytes, log=structlog.stdlib.get_logger())


def make_image(folder: Path, size_bytes: int = 32 * MIB, format: str = "qcow2") -> Path:
    path = folder / f"base.{format}"
    subprocess.run(["qemu-img", "create", "-q", "-f", format, path, str(size_bytes)], check=True)
    subprocess.run(["qemu-io", "-f", format, "-c", "write -P 7 0 1M", path], check=True, capture_output=True)
    return path


def new_volume_id() -> VolumeId:
    return VolumeId(new_id())


def info(path: str | Path) -> dict[str, object]:
    done = subprocess.run(["qemu-img", "info", "-f", "qcow2", "--output=json", path], check=True, capture_output=True)
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def refused(work: Coroutine[Any, Any, object], code: ErrorCode, match: str | None = None) -> NanoError:
    with pytest.raises(NanoError, match=match) as caught:
        asyncio.run(work)
    assert caught.value.code is code, caught.value
    return caught.value


@pytest.mark.needs("qemu")
class TestLocalStorage(StorageSuite):
    def driver(self, folder: Path) -> StorageDriver:
        pool = folder / "pool"
        pool.mkdir(exist_ok=True)
        return make(pool, default=folder / "state" / "pool")

    def full_driver(self, folder: Path) -> StorageDriver:
        return make(folder, reserve_bytes=2**62)

    def image(self, folder: Path) -> SuiteImage:
        return SuiteImage(path=make_image(folder), format="qcow2", size_bytes=32 * MIB)


@pytest.fixture
def opened(tmp_path: Path) -> LocalStorage:
    driver = make(default=tmp_path / "state" / "pool")
    asyncio.run(driver.open())
    return driver


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("format", ["qcow2", "raw"])
def test_clone_reads_the_image_and_leaves_it_alone(opened: LocalStorage, tmp_path: Path, format: str) -> None:
    image = make_image(tmp_path, format=format)
    before = image.read_bytes()
    spec = VolumeSpec(id=new_volume_id(), size_bytes=GIB, image_path=str(image), image_format=format)
    made = asyncio.run(opened.create(spec))

    facts = info(made.path)
    assert facts["backing-filename"] == str(image)
    assert facts["backing-filename-format"] == format
    assert facts["virtual-size"] == GIB
    command = ["qemu-io", "-f", "qcow2", "-c", "read -P 7 0 1M", "-c", "write -P 9 0 64k", made.path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "Pattern verification failed" not in done.stdout
    assert image.read_bytes() == before
    assert made.used_bytes < MIB


def test_copy_has_the_same_bytes_and_no_base(opened: LocalStorage, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    spec = VolumeSpec(id=new_volume_id(), size_bytes=GIB, image_path=str(image), image_format="qcow2")
    made = asyncio.run(opened.create(spec))
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 9 500M 1M", made.path], check=True, capture_output=True)
    copy = asyncio.run(opened.copy(spec.id, new_volume_id()))
    assert "backing-filename" not in info(copy.path)
    same = ["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", made.path, copy.path]
    assert subprocess.run(same, check=False, capture_output=True).returncode == 0
    assert copy.used_bytes < 16 * MIB


def test_copy_without_room_leaves_nothing(tiny_disk: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    driver = make(tiny_disk)
    asyncio.run(driver.open())
    spec = VolumeSpec(id=new_volume_id(), size_bytes=GIB, image_path=str(image), image_format="qcow2")
    made = asyncio.run(driver.create(spec))
    refused(driver.copy(spec.id, new_volume_id()), ErrorCode.NO_CAPACITY, "full")
    assert asyncio.run(driver.list()) == [made]
    assert len([*(tiny_disk / "volumes").iterdir()]) == 1


def test_volume_and_folder_modes(opened: LocalStorage, tmp_path: Path) -> None:
    made = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    path = Path(made.path)
    assert path.stat().st_mode & 0o777 == 0o600
    for folder in (path.parent, path.parent.parent, tmp_path / "state"):
        assert folder.stat().st_mode & 0o777 == 0o711


def test_volume_smaller_than_its_image_is_refused(opened: LocalStorage, tmp_path: Path) -> None:
    image = make_image(tmp_path)
    spec = VolumeSpec(id=new_volume_id(), size_bytes=16 * MIB, image_path=str(image), image_format="qcow2")
    refused(opened.create(spec), ErrorCode.INVALID_ARGUMENT, "33554432")
    assert asyncio.run(opened.list()) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("missing", ErrorCode.NOT_FOUND),
        ("link", ErrorCode.NOT_FOUND),
        ("folder", ErrorCode.WRONG_STATE),
        ("pipe", ErrorCode.WRONG_STATE),
        ("text", ErrorCode.INTERNAL),
    ],
)
def test_image_that_is_no_image(opened: LocalStorage, tmp_path: Path, name: str, code: ErrorCode) -> None:
    path = tmp_path / name
    if name == "link":
        path.symlink_to(make_image(tmp_path))
    elif name == "folder":
        path.mkdir()
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "text":
        path.write_text("nbd://127.0.0.1/")
    spec = VolumeSpec(id=new_volume_id(), size_bytes=GIB, image_path=str(path), image_format="qcow2")
    refused(opened.create(spec), code)
    assert asyncio.run(opened.list()) == []


@pytest.mark.parametrize("path", ["base.qcow2", "nbd://127.0.0.1/x", "json:{}", "-f"])
def test_image_path_that_qemu_would_take_for_something_else(opened: LocalStorage, path: str) -> None:
    spec = VolumeSpec(id=new_volume_id(), size_bytes=GIB, image_path=path, image_format="qcow2")
    refused(opened.create(spec), ErrorCode.INVALID_ARGUMENT, "absolute")


def test_configured_path_is_never_created(tmp_path: Path) -> None:
    missing = tmp_path / "mnt"
    error = refused(make(tmp_path, missing).open(), ErrorCode.UNAVAILABLE, "does not exist")
    assert str(missing) in error.message
    assert not missing.exists()
    (tmp_path / "file").touch()
    refused(make(tmp_path / "file").open(), ErrorCode.UNAVAILABLE, "not a folder")
    refused(make(Path("relative")).open(), ErrorCode.UNAVAILABLE, "not absolute")


def test_linked_volumes_folder_is_refused(tmp_path: Path) -> None:
    pool, outside = tmp_path / "pool", tmp_path / "outside"
    pool.mkdir()
    outside.mkdir(mode=0o700)
    (pool / "volumes").symlink_to(outside)
    refused(make(pool).open(), ErrorCode.UNAVAILABLE, "volumes")
    assert outside.stat().st_mode & 0o777 == 0o700


def test_link_in_place_of_a_volume_is_not_followed(opened: LocalStorage, tmp_path: Path) -> None:
    victim = make_image(tmp_path)
    before = victim.read_bytes()
    volume_id = new_volume_id()
    made = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    link = Path(made.path).with_name(f"{volume_id}.qcow2")
    link.symlink_to(victim)
    refused(opened.create(VolumeSpec(id=volume_id, size_bytes=MIB)), ErrorCode.WRONG_STATE, "by hand")
    refused(opened.get(volume_id), ErrorCode.WRONG_STATE)
    refused(opened.resize(volume_id, GIB), ErrorCode.WRONG_STATE)
    assert [volume.id for volume in asyncio.run(opened.list())] == [made.id]
    asyncio.run(opened.delete(volume_id))
    assert not link.is_symlink()
    assert victim.read_bytes() == before


def test_link_in_place_of_a_part_is_not_followed(opened: LocalStorage, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    volume_id = new_volume_id()
    made = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    Path(made.path).with_name(f".{volume_id}.qcow2.part").symlink_to(victim)
    asyncio.run(opened.create(VolumeSpec(id=volume_id, size_bytes=MIB)))
    assert victim.read_text() == "precious"


def test_damaged_volume_does_not_hide_the_others(opened: LocalStorage) -> None:
    good = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    volume_id = new_volume_id()
    Path(good.path).with_name(f"{volume_id}.qcow2").write_bytes(b"short")
    Path(good.path).with_name("notes.qcow2").write_bytes(b"")
    assert [volume.id for volume in asyncio.run(opened.list())] == [good.id]
    refused(opened.get(volume_id), ErrorCode.INTERNAL, "damaged")


def test_full_disk_leaves_nothing(tiny_disk: Path) -> None:
    driver = make(tiny_disk)
    asyncio.run(driver.open())
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024 - 16 * 1024))
    refused(driver.create(VolumeSpec(id=new_volume_id(), size_bytes=GIB)), ErrorCode.NO_CAPACITY, "full")
    assert list((tiny_disk / "volumes").iterdir()) == []
    ballast.unlink()
    asyncio.run(driver.create(VolumeSpec(id=new_volume_id(), size_bytes=GIB)))


def test_new_volume_goes_where_most_is_free(tmp_path: Path, tiny_disk: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    driver = make(tiny_disk, large)
    asyncio.run(driver.open())
    made = asyncio.run(driver.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    assert Path(made.path).is_relative_to(large)
    assert asyncio.run(driver.get(made.id)) == made
    assert asyncio.run(driver.usage()).total_bytes > asyncio.run(make(large).usage()).total_bytes


def test_volume_in_use_is_not_resized(opened: LocalStorage) -> None:
    made = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", made.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("length\n")
        guest.stdin.flush()
        assert "1 MiB" in guest.stdout.readline()
        refused(opened.resize(made.id, GIB), ErrorCode.WRONG_STATE, "in use")
        guest.stdin.close()
    assert asyncio.run(opened.resize(made.id, GIB)).size_bytes == GIB


def test_volume_in_use_is_neither_copied_nor_read(opened: LocalStorage) -> None:
    made = asyncio.run(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
    holder = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", made.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"length\n")
        holder.stdin.flush()
        holder.stdout.readline()
        refused(opened.copy(made.id, new_volume_id()), ErrorCode.WRONG_STATE, "in use")
        refused(opened.read(made.id), ErrorCode.WRONG_STATE, "in use")
    finally:
        holder.kill()
        holder.communicate()


def test_cancelled_create_leaves_nothing(opened: LocalStorage, tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(8):
            task = asyncio.create_task(opened.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)))
            volumes = tmp_path / "state" / "pool" / "volumes"
            while not task.done() and not any(volumes.iterdir()):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    volumes = tmp_path / "state" / "pool" / "volumes"
    assert [path for path in volumes.iterdir() if path.name.endswith(".part")] == []


KILLED = """
import asyncio, sys
from pathlib import Path
import structlog
from nanocore.capabilities.storage import VolumeSpec
from nanoplugins.storage_local.driver import LocalStorage

async def main():
    log = structlog.stdlib.get_logger()
    driver = LocalStorage([Path(sys.argv[1])], default_path=Path("/"), reserve_bytes=0, log=log)
    await driver.open()
    await driver.create(VolumeSpec(id=sys.argv[2], size_bytes=1 << 20))

asyncio.run(main())
"""


def test_kill_while_creating_leaves_a_part_that_open_sweeps(tmp_path: Path) -> None:
    volume_id = new_volume_id()
    environment = os.environ | {"NANO_FAIL_POINT": "cell/storage_local/part_made"}
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path, volume_id], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "volumes").iterdir()] == [f".{volume_id}.qcow2.part"]

    driver = make(tmp_path)
    asyncio.run(driver.open())
    assert list((tmp_path / "volumes").iterdir()) == []
    assert asyncio.run(driver.create(VolumeSpec(id=volume_id, size_bytes=MIB))).size_bytes == MIB


COMPLAINTS = [
    ("qemu-img: /p/x: Could not resize file: No space left on device", ErrorCode.NO_CAPACITY),
    ("qemu-img: Disk quota exceeded", ErrorCode.NO_CAPACITY),
    (
        'qemu-img: Could not open: Failed to get "write" lock\nIs another process using the image',
        ErrorCode.WRONG_STATE,
    ),
    ("qemu-img: Could not open '/p/x': Permission denied", ErrorCode.UNAVAILABLE),
    ("qemu-img: Could not create '/p/x': Read-only file system", ErrorCode.UNAVAILABLE),
    ("qemu-img: /p/x: error while writing: Input/output error", ErrorCode.UNAVAILABLE),
    ("qemu-img: error while writing: File too large", ErrorCode.UNAVAILABLE),
    ("qemu-img: Could not open '/p/x': No such file or directory", ErrorCode.NOT_FOUND),
    ("qemu-img: Could not open '/p/x': Image is not in qcow2 format", ErrorCode.INTERNAL),
    ("something new", ErrorCode.INTERNAL),
    ("", ErrorCode.INTERNAL),
]


@pytest.mark.parametrize(("complaint", "code"), COMPLAINTS)
def test_complaints_are_translated(complaint: str, code: ErrorCode) -> None:
    error = qemu_img.translate(complaint)
    assert error.code is code
    assert error.reason is not None


def test_every_row_of_the_table_is_reached_by_a_real_complaint() -> None:
    reasons = {qemu_img.translate(complaint).reason for complaint, _ in COMPLAINTS}
    assert {row[2] for row in qemu_img.ERRORS} <= reasons


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = make(tmp_path)
    asyncio.run(driver.open())
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(driver.create(VolumeSpec(id=new_volume_id(), size_bytes=MIB)), ErrorCode.UNAVAILABLE, "install")
    assert list((tmp_path / "volumes").iterdir()) == []
