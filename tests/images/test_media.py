"""What is taken as a media image: real ISO files of Debian's packages, and files that only pretend."""

from __future__ import annotations

import asyncio
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanocore.capabilities.hypervisor import CellReport, CellReported
from nanocore.capabilities.images import (
    CreateMediaImage,
    DeleteDiskImage,
    DeleteMediaImage,
    EnsureCached,
    GetDiskImage,
    GetMediaImage,
    ListDiskImages,
    ListMediaImages,
    UpdateMediaImage,
)
from nanocore.contracts.node import NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, StepKey
from nanocore.model.image import ImageState
from nanoplugins.images.formats import Verdict, examine_media

MakeNode = Callable[..., Any]
REAL = (Path("/usr/lib/memtest86+/memtest86+x64.iso"), Path("/usr/lib/grub-rescue/grub-rescue-cdrom.iso"))
SECTOR = 2048


def descriptor(kind: int, blocks: int = 20, block_size: int = SECTOR) -> bytearray:
    sector = bytearray(SECTOR)
    sector[:7] = bytes([kind]) + b"CD001\x01"
    struct.pack_into("<I", sector, 80, blocks)
    struct.pack_into(">I", sector, 84, blocks)
    struct.pack_into("<H", sector, 128, block_size)
    struct.pack_into(">H", sector, 130, block_size)
    return sector


def iso(*descriptors: bytes, start: bytes = b"", sectors: int = 20) -> bytes:
    data = start.ljust(16 * SECTOR, b"\0") + b"".join(descriptors or (descriptor(1), descriptor(255)))
    return data.ljust(sectors * SECTOR, b"\0")


def verdict(data: bytes) -> Verdict:
    return examine_media(io.BytesIO(data), len(data))


async def upload(core: Any, name: str, data: bytes) -> Any:
    made = await core.call(CreateMediaImage(name=name, size_bytes=len(data)))
    assert made.operation is None
    await core.append(made.image.id, 0, data)
    async with asyncio.timeout(30):
        while (image := await core.call(GetMediaImage(id=made.image.id))).state is not ImageState.READY:
            if image.state is ImageState.FAILED:
                return image
            await asyncio.sleep(0.005)
    return image


async def refused(work: Any, code: ErrorCode, match: str | None = None) -> None:
    with pytest.raises(NanoError, match=match) as caught:
        await work
    assert caught.value.code is code, caught.value


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_are_taken_and_cached(node: MakeNode, path: Path) -> None:
    data = path.read_bytes()

    async def main() -> None:
        async with node().running() as core, node("cell", (NodeRole.CELL,), core=core).running() as cell:
            image = await upload(core, path.stem, data)
            assert (image.format, image.size_bytes, image.version) == ("iso", len(data), 1)
            message = EnsureCached(
                step_key=StepKey("o/s"), id=image.id, format="iso", size_bytes=len(data), sha256=image.sha256
            )
            await cell.call(message)
            (cache,) = cell.caches
            found = cache.find(image.id)
            assert (found.format, found.path.suffix, found.path.read_bytes()) == ("iso", ".iso", data)
            (subscription,) = [each for each in core.subscriptions if each.event is CellReported]
            await subscription.call(CellReported(report=CellReport(cached_images=cache.list())), cell.info)
            assert (await core.call(GetMediaImage(id=image.id))).cached_on == [cell.info.id]

    asyncio.run(main())


def test_two_nouns_that_do_not_mix(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            media, disk = await upload(core, "one", iso()), await core.upload("one", raw)
            assert (media.version, disk.version) == (1, 1)
            assert (await core.call(ListMediaImages())).body.total == 1
            assert (await core.call(ListDiskImages())).body.total == 1
            await refused(core.call(GetDiskImage(id=media.id)), ErrorCode.NOT_FOUND, "disk-image")
            await refused(core.call(DeleteDiskImage(id=media.id)), ErrorCode.NOT_FOUND, "disk image")
            await refused(core.call(DeleteMediaImage(id=disk.id)), ErrorCode.NOT_FOUND, "media image")
            changed = await core.call(UpdateMediaImage(id=media.id, name="two", tags=["rescue"]))
            assert (changed.name, changed.version, changed.tags) == ("two", 1, ["rescue"])
            await core.call(DeleteMediaImage(id=media.id))
            assert core.files() == {f"images/{disk.id}"}
            await asyncio.gather(*core.tasks)
            assert {event.noun for event in core.context.published} == {"disk-images", "media-images"}

    asyncio.run(main())


def test_inserted_media_are_not_deleted(node: MakeNode) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await upload(core, "rescue", iso())
            drives = [{"slot": 0, "media_image_id": None}, {"slot": 1, "media_image_id": image.id}]
            core.instances = [{"id": "i1", "name": "web-1", "media": drives}]
            await refused(core.call(DeleteMediaImage(id=image.id)), ErrorCode.WRONG_STATE, "web-1; eject it")
            core.instances[0]["media"] = drives[:1]
            await core.call(DeleteMediaImage(id=image.id))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no ISO 9660"),
        (bytes(SECTOR * 20), "no volume descriptor"),
        (b"QFI\xfb" + iso()[4:], "qcow2"),
        (b"KDMV" + iso()[4:], "VMDK"),
        (b"# Disk DescriptorFile\n" + iso()[22:], "VMDK"),
        (b"conectix" + iso()[8:], "VHD"),
        (iso(descriptor(1, blocks=2**32 - 1), descriptor(255)), "cut off"),
        (iso(descriptor(1, blocks=0), descriptor(255)), "contradict"),
        (iso(descriptor(1, block_size=3), descriptor(255)), "contradict"),
        (iso(descriptor(2), descriptor(255)), "no primary"),
        (iso(descriptor(1)), "damaged"),
        (iso(*[descriptor(1)] * 70, sectors=90), "does not end"),
        (iso(*[descriptor(1)] * 4), "cut off"),
    ],
    ids=range(13),
)
def test_what_is_no_media_image(data: bytes, why: str) -> None:
    assert re.search(why, verdict(data).refusal or ""), verdict(data)


def test_sizes_that_contradict_each_other() -> None:
    data = bytearray(iso())
    struct.pack_into(">I", data, 16 * SECTOR + 84, 19)
    assert "contradict" in (verdict(bytes(data)).refusal or "")


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
@pytest.mark.parametrize("kept", [0, 1000, 16 * SECTOR, 17 * SECTOR, 18 * SECTOR, 100 * SECTOR])
def test_cut_off_real_files(path: Path, kept: int) -> None:
    assert verdict(path.read_bytes()[:kept]).refusal is not None


def test_refused_upload_leaves_nothing(node: MakeNode, raw: bytes, qcow2: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            for name, data in (("raw", raw), ("qcow2", qcow2)):
                image = await upload(core, name, data)
                assert (image.state, "refused" in (image.reason or "")) == (ImageState.FAILED, True)
            async with asyncio.timeout(10):
                while core.files():
                    await asyncio.sleep(0.005)
            await refused(core.call(CreateMediaImage(name="x")), ErrorCode.INVALID_ARGUMENT, "size_bytes")
            await refused(core.call(GetMediaImage(id=ImageId("x"))), ErrorCode.INVALID_ARGUMENT)

    asyncio.run(main())
