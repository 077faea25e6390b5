from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nanocore.capabilities.images import (
    AppendUpload,
    DeleteDiskImage,
    GetDiskImage,
    GetUpload,
    ListDiskImages,
    UpdateDiskImage,
    UpdateMediaImage,
)
from nanocore.contracts.state_store import Put
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, new_id
from nanocore.model.image import DiskImage, ImageState
from nanocore.wire import decode_json, structs
from nanoplugins.images.records import IMAGES

MakeNode = Callable[..., Any]
KIB = 1024
ONES = ListDiskImages(filter={"name": "one"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def refused(work: Any, code: ErrorCode, match: str | None = None) -> NanoError:
    with pytest.raises(NanoError, match=match) as caught:
        await work
    assert caught.value.code is code, caught.value
    return caught.value


def test_upload_becomes_ready(node: MakeNode, qcow2: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await core.upload("debian", qcow2, sha256=sha256(qcow2), tags=["a"], description="d")
            assert image.state is ImageState.READY
            assert (image.format, image.virtual_size_bytes) == ("qcow2", 8 * 1024 * KIB)
            assert (image.size_bytes, image.uploaded_bytes) == (len(qcow2), len(qcow2))
            assert (image.sha256, image.owner, image.tags) == (sha256(qcow2), "ada", ["a"])
            assert core.files() == {f"images/{image.id}"}
            assert await core.read(image.id) == qcow2
            assert await core.read(image.id, 1000) == qcow2[1000:]
            assert await core.read(image.id, len(qcow2)) == b""
            await refused(core.read(image.id, len(qcow2) + 1), ErrorCode.INVALID_ARGUMENT)
            await refused(core.read(image.id, -1), ErrorCode.INVALID_ARGUMENT)

    asyncio.run(main())


def test_upload_in_pieces(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            offset = 0
            for length in (1, 511, 300 * KIB, 0, len(raw)):
                state = await core.append(id, offset, raw[offset : offset + length])
                offset = min(offset + length, len(raw))
                assert state.offset_bytes == offset
                assert await core.call(GetUpload(id=id)) == state
            image = await core.wait(id)
            assert (image.state, image.format, image.sha256) == (ImageState.READY, "raw", sha256(raw))

    asyncio.run(main())


def test_list_shows_ready_json(node: MakeNode) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", 512)
            reply = await core.call(ListDiskImages())
            assert reply.body.total == 1
            item = decode_json(bytes(reply.blobs[0]), dict)
            assert (item["id"], item["state"], item["uploaded_bytes"]) == (id, "uploading", 0)
            await asyncio.gather(*core.tasks)
            assert [event.noun for event in core.context.published] == ["disk-images"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "../../etc/passwd", "-rf", "镜像 ☃", "{{7*7}}", "a'; --"]
)
def test_names_are_kept_verbatim_and_are_no_paths(node: MakeNode, raw: bytes, name: str) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await core.upload(name, raw)
            assert image.name == name
            assert core.files() == {f"images/{image.id}"}

    asyncio.run(main())


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "  ", " a", "a\u202eb", "a\0b"])
def test_names_that_break_a_terminal_are_refused(node: MakeNode, name: str) -> None:
    async def main() -> None:
        async with node().running() as core:
            await refused(core.create(name, 512), ErrorCode.INVALID_ARGUMENT, "name")
            await refused(core.create("good", 512, tags=[name]), ErrorCode.INVALID_ARGUMENT, "tags")
            assert (await core.call(ListDiskImages())).body.total == 0

    asyncio.run(main())


def test_the_same_name_is_the_next_version(node: MakeNode) -> None:
    async def main() -> None:
        async with node().running() as core:
            ids = await asyncio.gather(*(core.create("one", 512) for _ in range(5)))
            images = [await core.call(GetDiskImage(id=id)) for id in ids]
            assert sorted(image.version for image in images) == [1, 2, 3, 4, 5]
            (third,) = [image.id for image in images if image.version == 3]
            await core.call(DeleteDiskImage(id=third))
            assert (await core.call(GetDiskImage(id=await core.create("one", 512)))).version == 6
            assert (await core.call(GetDiskImage(id=await core.create("two", 512)))).version == 1
        async with node().running() as core:
            versions = [decode_json(bytes(blob), DiskImage).version for blob in (await core.call(ONES)).blobs]
            assert sorted(versions) == [1, 2, 4, 5, 6]

    asyncio.run(main())


def test_edit(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await core.upload("one", raw, tags=["old"])
            await core.create("two", 512)
            changed = await core.call(UpdateDiskImage(id=image.id, description="about it", tags=["new", "fine"]))
            assert (changed.name, changed.version, changed.description) == ("one", 1, "about it")
            assert changed.tags == ["new", "fine"]
            assert (await core.call(UpdateDiskImage(id=image.id))) == changed
            renamed = await core.call(UpdateDiskImage(id=image.id, name="two"))
            assert (renamed.name, renamed.version, renamed.tags) == ("two", 2, ["new", "fine"])
            assert (await core.call(GetDiskImage(id=await core.create("one", 512)))).version == 1
            await refused(core.call(UpdateDiskImage(id=image.id, name="a\nb")), ErrorCode.INVALID_ARGUMENT, "name")
            await refused(core.call(UpdateDiskImage(id=ImageId(new_id()))), ErrorCode.NOT_FOUND)
            await refused(core.call(UpdateMediaImage(id=image.id, name="x")), ErrorCode.NOT_FOUND, "media image")
            assert await core.read(image.id) == raw

    asyncio.run(main())


def test_what_is_needed_is_not_deleted(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            image, other = await core.upload("one", raw), await core.upload("two", raw)
            disk = {"image_id": image.id}
            core.instances = [{"id": f"i{n}", "name": f"web-{n}", "disks": [disk]} for n in range(7)]
            error = await refused(core.call(DeleteDiskImage(id=image.id)), ErrorCode.WRONG_STATE, "instance web-0")
            assert "and 2 more" in error.message
            shown = await core.call(GetDiskImage(id=image.id))
            assert [use.name for use in shown.used_by] == [f"web-{n}" for n in range(7)]
            await core.call(DeleteDiskImage(id=other.id))
            core.instances = []
            await core.call(DeleteDiskImage(id=image.id))
            assert core.files() == set()

    asyncio.run(main())


def test_an_image_whose_making_was_given_up_is_deleted(node: MakeNode) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("golden", 512)
            entry = core.store.get(IMAGES, id)
            assert entry is not None
            await core.store.commit(Put(IMAGES, id, structs.replace(entry.value, state=ImageState.CREATING)))
            await core.call(DeleteDiskImage(id=id))
            await refused(core.call(GetDiskImage(id=id)), ErrorCode.NOT_FOUND)
            assert core.files() == set()

    asyncio.run(main())


def test_changes_at_one_moment_do_not_fail_each_other(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            texts = [UpdateDiskImage(id=id, description="one"), UpdateDiskImage(id=id, tags=["two"])]
            await asyncio.gather(core.append(id, 0, raw), *(core.call(text) for text in texts))
            image = await core.wait(id)
            assert (image.state, image.description, image.tags) == (ImageState.READY, "one", ["two"])

    asyncio.run(main())


def test_wrong_offset_says_where_to_go_on(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            await core.append(id, 0, raw[:1000])
            for offset in (0, 999, 1001, len(raw), -1):
                error = await refused(core.append(id, offset, raw[offset:]), ErrorCode.CONFLICT, "1000")
                assert error.details["offset_bytes"] == 1000
            await core.append(id, 1000, raw[1000:])
            assert (await core.wait(id)).sha256 == sha256(raw)

    asyncio.run(main())


def test_one_writer_at_a_time(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            first = await core.open_stream(AppendUpload(id=id, offset_bytes=0))
            await first.send(raw[:1000])
            error = await refused(core.append(id, 0, b"x" * 5000), ErrorCode.BUSY)
            assert error.details["retry_after_seconds"] == 1
            await first.send(raw[1000:2000])
            await first.end()
            assert b"2000" in await first.receive()
            await core.append(id, 2000, raw[2000:])
            assert (await core.wait(id)).sha256 == sha256(raw)

    asyncio.run(main())


def test_too_many_bytes_keep_what_fits(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            await core.append(id, 0, raw[:-100])
            await refused(core.append(id, len(raw) - 100, bytes(101)), ErrorCode.INVALID_ARGUMENT, "announced")
            state = await core.append(id, len(raw) - 100, raw[-100:])
            assert state.offset_bytes == len(raw)
            assert (await core.wait(id)).state is ImageState.READY

    asyncio.run(main())


def test_lost_link_keeps_what_arrived(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            stream = await core.open_stream(AppendUpload(id=id, offset_bytes=0))
            await stream.send(raw[:5000])
            await stream.close(NanoError(ErrorCode.UNAVAILABLE, "the link is lost"))
            await asyncio.gather(*core.tasks)
            assert (await core.call(GetUpload(id=id))).offset_bytes == 5000
            await core.append(id, 5000, raw[5000:])
            assert (await core.wait(id)).sha256 == sha256(raw)

    asyncio.run(main())


def test_silent_sender_is_let_go(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node(upload_idle_seconds=0.05).running() as core:
            id = await core.create("disk", len(raw))
            stream = await core.open_stream(AppendUpload(id=id, offset_bytes=0))
            await stream.send(raw[:1000])
            await refused(stream.receive(), ErrorCode.DEADLINE_EXCEEDED, "resume")
            assert (await core.call(GetUpload(id=id))).offset_bytes == 1000
            await core.append(id, 1000, raw[1000:])

    asyncio.run(main())


def test_digest_mismatch_fails_and_keeps_nothing(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            image = await core.upload("disk", raw, sha256="0" * 64)
            assert image.state is ImageState.FAILED
            assert sha256(raw) in (image.reason or "")
            await files_are(core, set())
            await refused(core.read(image.id), ErrorCode.WRONG_STATE)
            await refused(core.append(image.id, len(raw), b""), ErrorCode.WRONG_STATE)

    asyncio.run(main())


async def files_are(core: Any, wanted: set[str]) -> None:
    async with asyncio.timeout(10):
        while core.files() != wanted:
            await asyncio.sleep(0.005)


def test_unknown_and_malformed_ids(node: MakeNode) -> None:
    async def main() -> None:
        async with node().running() as core:
            for message in (GetDiskImage, DeleteDiskImage, GetUpload):
                await refused(core.call(message(id=ImageId(new_id()))), ErrorCode.NOT_FOUND)
                await refused(core.call(message(id=ImageId("../../nano.db"))), ErrorCode.INVALID_ARGUMENT)
            await refused(core.append(ImageId(new_id()), 0, b""), ErrorCode.NOT_FOUND)
            await refused(core.append(ImageId("../x"), 0, b""), ErrorCode.INVALID_ARGUMENT)
            await refused(core.read(ImageId("../../nano.db")), ErrorCode.INVALID_ARGUMENT)
            await refused(core.call(AppendUpload(id=ImageId(new_id()), offset_bytes=0)), ErrorCode.INVALID_ARGUMENT)

    asyncio.run(main())


def test_limits_at_announcement(node: MakeNode) -> None:
    async def main() -> None:
        async with node(max_image_bytes=10_000, max_unfinished_uploads=3).running() as core:
            await refused(core.create("large", 10_001), ErrorCode.INVALID_ARGUMENT, "max_image_bytes")
            tries = await asyncio.gather(*(core.create(f"n{i}", 10_000) for i in range(6)), return_exceptions=True)
            assert sum(isinstance(result, NanoError) for result in tries) == 3
            await refused(core.create("more", 1), ErrorCode.QUOTA_EXCEEDED)

    asyncio.run(main())


def test_space_that_others_were_promised_is_not_promised_again(node: MakeNode) -> None:
    async def main() -> None:
        core = node(max_image_bytes=2**62)
        async with core.running():
            facts = os.statvfs(core.state)
            free = facts.f_bavail * facts.f_frsize
            await core.create("first", free * 2 // 3)
            await refused(core.create("second", free * 2 // 3), ErrorCode.NO_CAPACITY)

    asyncio.run(main())


def test_delete_while_uploading(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            stream = await core.open_stream(AppendUpload(id=id, offset_bytes=0))
            await stream.send(raw[:1000])
            await core.call(DeleteDiskImage(id=id))
            await stream.end()
            await refused(stream.receive(), ErrorCode.NOT_FOUND)
            await refused(core.call(GetDiskImage(id=id)), ErrorCode.NOT_FOUND)
            assert core.files() == set()

    asyncio.run(main())


def test_delete_while_inspecting(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            await core.append(id, 0, raw)
            await core.call(DeleteDiskImage(id=id))
            await files_are(core, set())
        assert core.files() == set()

    asyncio.run(main())


def test_reader_of_a_deleted_image_reads_on(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            data = raw * 20
            image = await core.upload("disk", data)
            reading = asyncio.create_task(core.read(image.id))
            while not core.opened[-1].other.queue.qsize():
                await asyncio.sleep(0)
            await core.call(DeleteDiskImage(id=image.id))
            assert await reading == data

    asyncio.run(main())


def test_abandoned_uploads_expire(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node(upload_expires_seconds=3600.0).running() as core:
            ready = await core.upload("ready", raw)
            old = await core.create("old", len(raw))
            await core.append(old, 0, raw[:10])
            core.clock.ahead += core.clock.ahead.__class__(minutes=50)
            fresh = await core.create("fresh", len(raw))
            expire = core.jobs["images.expire_uploads"].run
            await expire()
            assert (await core.call(ListDiskImages())).body.total == 3
            core.clock.ahead += core.clock.ahead.__class__(minutes=20)
            await expire()
            await refused(core.call(GetUpload(id=old)), ErrorCode.NOT_FOUND)
            assert (await core.call(GetUpload(id=fresh))).offset_bytes == 0
            assert core.files() == {f"images/{ready.id}"}

    asyncio.run(main())


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "core" / "state" / "uploads"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def part_lengths(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.iterdir()]


def enlarge(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=4m", folder], check=True)


@pytest.mark.needs("root")
def test_full_disk_in_the_middle_keeps_the_rest_of_the_truth(node: MakeNode, raw: bytes, tiny_disk: Path) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            await core.append(id, 0, raw[: 100 * KIB])
            await refused(core.append(id, 100 * KIB, raw[100 * KIB :]), ErrorCode.NO_CAPACITY, "full")
            state = await core.call(GetUpload(id=id))
            assert 100 * KIB <= state.offset_bytes <= 512 * KIB
            assert part_lengths(tiny_disk) == [state.offset_bytes]
            enlarge(tiny_disk)
            await core.append(id, state.offset_bytes, raw[state.offset_bytes :])
            # The folder of the test is a file system of its own, so that the image can't be renamed out of it.
            image = await core.wait(id)
            assert image.state is ImageState.FAILED
            assert "could not inspect" in (image.reason or "")
            await files_are(core, set())

    asyncio.run(main())


def test_restart_sweeps_what_no_record_owns(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            ready = await core.upload("ready", raw)
            part = await core.create("part", len(raw))
            await core.append(part, 0, raw[:1000])
            lost = await core.upload("lost", raw)
        (core.state / "images" / lost.id).unlink()
        (core.state / "images" / new_id()).write_bytes(b"orphan")
        (core.state / "uploads" / f"{new_id()}.part").write_bytes(b"orphan")
        (core.state / "uploads" / f"{ready.id}.part").write_bytes(b"left over")
        (core.state / "uploads" / "notes.txt").write_bytes(b"?")
        with (core.state / "uploads" / f"{part}.part").open("ab") as file:
            file.write(b"never acknowledged")
        async with node().running() as core:
            assert core.files() == {f"images/{ready.id}", f"uploads/{part}.part"}
            assert (await core.call(GetDiskImage(id=lost.id))).state is ImageState.FAILED
            assert (await core.call(GetUpload(id=part))).offset_bytes == 1000
            await core.append(part, 1000, raw[1000:])
            assert (await core.wait(part)).sha256 == sha256(raw)

    asyncio.run(main())


def test_upload_whose_file_shrank_goes_on_where_it_is(node: MakeNode, raw: bytes) -> None:
    async def main() -> None:
        async with node().running() as core:
            id = await core.create("disk", len(raw))
            await core.append(id, 0, raw[:5000])
        os.truncate(core.state / "uploads" / f"{id}.part", 3000)
        async with node().running() as core:
            assert (await core.call(GetUpload(id=id))).offset_bytes == 3000
            await core.append(id, 3000, raw[3000:])
            assert (await core.wait(id)).sha256 == sha256(raw)

    asyncio.run(main())
