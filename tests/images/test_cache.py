from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from nanocore.capabilities.hypervisor import CellReport, CellReported
from nanocore.capabilities.images import (
    DeleteDiskImage,
    EnsureCached,
    EvictCached,
    EvictDiskImage,
    GetDiskImage,
    ListNeededImages,
)
from nanocore.capabilities.storage import VolumeInfo
from nanocore.contracts.node import NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId, StepKey, VolumeId, new_id
from nanocore.model.image import DiskImage

MakeNode = Callable[..., Any]
CELL = (NodeRole.CELL,)
BOTH = (NodeRole.CORE, NodeRole.CELL)


def ensure(image: DiskImage, **changes: Any) -> EnsureCached:
    fields: dict[str, Any] = {
        "id": image.id,
        "format": image.format,
        "size_bytes": image.size_bytes,
        "sha256": image.sha256,
    }
    return EnsureCached(step_key=StepKey("o/fetch"), **(fields | changes))


async def refused(work: Any, code: ErrorCode) -> NanoError:
    with pytest.raises(NanoError) as caught:
        await work
    assert caught.value.code is code, caught.value
    return caught.value


def test_cell_fetches_once_and_keeps_it(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            data = raw * 3
            image = await core.upload("disk", data)
            (cache,) = cell.caches
            assert (cache.find(image.id), cache.list()) == (None, [])
            opened = len(core.opened)
            await asyncio.gather(*(cell.call(ensure(image)) for _ in range(10)))
            assert len(core.opened) == opened + 1
            found = cache.find(image.id)
            assert (found.id, found.format, found.path.read_bytes()) == (image.id, "raw", data)
            assert found.path.stat().st_mode & 0o777 == 0o644
            assert found.path.parent.stat().st_mode & 0o777 == 0o711
            assert cache.list() == [image.id]
            await cell.call(ensure(image))
            assert len(core.opened) == opened + 1
            assert cell.files() == {f"cache/{image.id}.raw"}
            await core.call(DeleteDiskImage(id=image.id))
            assert cache.find(image.id).path.read_bytes() == data

    asyncio.run(main())


def test_core_that_is_a_cell_shares_the_file(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node("core", BOTH).running() as both:
            image = await both.upload("disk", raw)
            opened = len(both.opened)
            await both.call(ensure(image))
            assert len(both.opened) == opened
            path = both.caches[0].find(image.id).path
            assert path.samefile(both.state / "images" / image.id)
            await both.call(DeleteDiskImage(id=image.id))
            assert path.read_bytes() == raw
            assert both.files() == {f"cache/{image.id}.raw"}
        async with node("core", BOTH).running() as both:
            assert both.caches[0].list() == [image.id]

    asyncio.run(main())


def test_fetch_goes_on_where_the_link_broke(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw * 4)
            core.break_next = [2 * len(raw), len(raw)]
            await cell.call(ensure(image))
            assert cell.caches[0].find(image.id).path.read_bytes() == raw * 4
            assert core.break_next == []

    asyncio.run(main())


def test_fetch_goes_on_after_a_restart_of_the_cell(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await core.upload("disk", raw)
            part = core.root.parent / "cell" / "state" / "cache" / f"{image.id}.part"
            async with node("cell", CELL, core=core).running() as cell:
                part.write_bytes(raw[:1000])
                assert cell.caches[0].list() == []
            async with node("cell", CELL, core=core).running() as cell:
                await cell.call(ensure(image))
                assert cell.caches[0].find(image.id).path.read_bytes() == raw

    asyncio.run(main())


def test_damaged_part_is_thrown_away_and_fetched_anew(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            (cell.state / "cache" / f"{image.id}.part").write_bytes(b"x" * 5000)
            await cell.call(ensure(image))
            assert cell.caches[0].find(image.id).path.read_bytes() == raw
            assert cell.files() == {f"cache/{image.id}.raw"}

    asyncio.run(main())


def test_lying_digest_is_never_visible(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            wrong = hashlib.sha256(b"").hexdigest()
            await refused(cell.call(ensure(image, sha256=wrong)), ErrorCode.UNAVAILABLE)
            assert cell.caches[0].find(image.id) is None
            assert cell.files() == set()
            await refused(cell.call(ensure(image, size_bytes=1000)), ErrorCode.INTERNAL)
            assert cell.caches[0].list() == []
            await cell.call(ensure(image))

    asyncio.run(main())


def test_no_room_on_the_cell(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            await refused(cell.call(ensure(image, size_bytes=2**62)), ErrorCode.NO_CAPACITY)
            assert cell.files() == set()

    asyncio.run(main())


def test_unknown_image_and_malformed_requests(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            await refused(cell.call(ensure(image, id=ImageId(new_id()))), ErrorCode.NOT_FOUND)
            await refused(cell.call(ensure(image, id=ImageId("../x"))), ErrorCode.INVALID_ARGUMENT)
            await refused(cell.call(ensure(image, format="../x")), ErrorCode.INVALID_ARGUMENT)

    asyncio.run(main())


def test_one_caller_giving_up_leaves_the_fetch_to_the_others(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            callers = [asyncio.create_task(cell.call(ensure(image))) for _ in range(3)]
            await asyncio.sleep(0)
            callers[0].cancel()
            results = await asyncio.gather(*callers, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError)
            assert results[1:] == [None, None]
            assert cell.caches[0].list() == [image.id]

    asyncio.run(main())


def test_core_learns_who_has_it(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            image = await core.upload("disk", raw)
            (subscription,) = [each for each in core.subscriptions if each.event is CellReported]
            reports: tuple[list[str], ...] = ([image.id, new_id()], [image.id], [])
            for cached in reports:
                await subscription.call(CellReported(report=CellReport(cached_images=cached)), cell.info)
                shown = await core.call(GetDiskImage(id=image.id))
                assert shown.cached_on == ([cell.info.id] if cached else [])

    asyncio.run(main())


def test_files_that_are_no_images_are_not_listed(node: MakeNode) -> None:
    async def main() -> None:
        async with node("cell", CELL).running() as cell:
            folder = cell.state / "cache"
            for name in (f"{new_id()}.part", f"{new_id()}.vmdk", "notes.raw", "x.qcow2"):
                (folder / name).touch()
            (folder / "sub").mkdir()
            assert cell.caches[0].list() == []

    asyncio.run(main())


async def filled(core: Any, cell: Any, raw: bytes, count: int) -> list[DiskImage]:
    """Have ``count`` images in the cache, the first the oldest, and the core know it."""
    images = []
    for index in range(count):
        image = await core.upload(f"image-{index}", raw)
        await cell.call(ensure(image))
        age(cell, image, hours=count - index)
        images.append(image)
    (subscription,) = [each for each in core.subscriptions if each.event is CellReported]
    await subscription.call(CellReported(report=CellReport(cached_images=cell.caches[0].list())), cell.info)
    return images


def age(cell: Any, image: DiskImage, *, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(cell.state / "cache" / f"{image.id}.{image.format}", (then, then))


def clone_of(cell: Any, image: DiskImage) -> VolumeInfo:
    path = str(cell.state / "cache" / f"{image.id}.{image.format}")
    return VolumeInfo(id=VolumeId("v1"), path="/v1", format="qcow2", size_bytes=1, used_bytes=1, base_path=path)


def test_evict_by_hand(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core, node("cell", CELL, core=core).running() as cell:
            one, two, three = await filled(core, cell, raw, 3)
            cell.volumes = [clone_of(cell, two)]
            core.instances = [{"id": "i1", "name": "web-1", "node_id": cell.info.id, "disks": [{"image_id": three.id}]}]
            done = await core.call(EvictDiskImage(id=one.id))
            assert (done.evicted_from, done.kept_on) == ([cell.info.id], [])
            assert (await core.call(GetDiskImage(id=one.id))).cached_on == []
            assert cell.caches[0].list() == sorted([two.id, three.id])
            kept = await core.call(EvictDiskImage(id=two.id))
            assert (kept.evicted_from, "volume v1" in kept.kept_on[0].reason) == ([], True)
            kept = await core.call(EvictDiskImage(id=three.id))
            assert (kept.evicted_from, "instance web-1" in kept.kept_on[0].reason) == ([], True)
            assert cell.caches[0].list() == sorted([two.id, three.id])
            elsewhere = EvictDiskImage(id=two.id, node_id=NodeId(new_id()))
            await refused(core.call(elsewhere), ErrorCode.NOT_FOUND)
            cell.volumes = []
            await cell.call(EvictCached(id=two.id))
            await cell.call(EvictCached(id=two.id))
            await refused(cell.call(EvictCached(id=ImageId("../x"))), ErrorCode.INVALID_ARGUMENT)
            assert core.files() == {f"images/{image.id}" for image in (one, two, three)}

    asyncio.run(main())


def test_limit_evicts_the_least_recently_used_that_nothing_needs(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        core_node = node()
        async with (
            core_node.running() as core,
            node("cell", CELL, core=core_node, cache_max_bytes=4 * len(raw)).running() as cell,
        ):
            cloned, inserted, old, used = await filled(core, cell, raw, 4)
            cell.volumes = [clone_of(cell, cloned)]
            drive = {"media_image_id": inserted.id}
            core.instances = [{"id": "i1", "name": "web-1", "node_id": cell.info.id, "media": [drive]}]
            age(cell, used, hours=50)
            await cell.call(ensure(used))
            new = await core.upload("new", raw)
            await cell.call(ensure(new))
            assert cell.caches[0].list() == sorted([cloned.id, inserted.id, used.id, new.id])
            # Nothing is left that may go: the limit gives way, not the guests.
            newer = await core.upload("newer", raw)
            await cell.call(ensure(newer))
            assert len(cell.caches[0].list()) == 5
            del old

    asyncio.run(main())


def test_nothing_is_evicted_while_nobody_knows_what_is_needed(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        core_node = node()
        async with (
            core_node.running() as core,
            node("cell", CELL, core=core_node, cache_max_bytes=len(raw)).running() as cell,
        ):
            (old,) = await filled(core, cell, raw, 1)
            del core.handlers[ListNeededImages.op]
            new = await core.upload("new", raw)
            await cell.call(ensure(new))
            assert cell.caches[0].list() == sorted([old.id, new.id])

    asyncio.run(main())
