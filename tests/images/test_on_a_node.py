"""The plugin on a real node: dispatch, streams and the state store are the kernel's."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import structlog

from nanocore.capabilities.images import (
    AppendUpload,
    CreateDiskImage,
    EnsureCached,
    GetDiskImage,
    GetUpload,
    ReadImage,
    UploadState,
)
from nanocore.capabilities.storage import ImageCache
from nanocore.contracts.stream import MAX_CHUNK_BYTES
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, StepKey
from nanocore.kernel.node import Node
from nanocore.model.image import DiskImage, ImageState
from nanocore.wire import Request, decode_json

PLUGINS = ["images", "state_sqlite", "identity_local"]
R = TypeVar("R")


@asynccontextmanager
async def running(root: Path) -> AsyncIterator[Node]:
    kernel = {
        "name": "core-1",
        "roles": ["core", "cell"],
        "plugins": PLUGINS,
        "strict": True,
        "listen_address": "127.0.0.1",
        "message_port": 0,
        "stream_port": 0,
    }
    node = Node(root, log=structlog.stdlib.get_logger(), settings={"kernel": kernel})
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


async def call(node: Node, message: Request[R]) -> R:
    return (await node.call_reply(message)).body


async def append(node: Node, id: ImageId, offset: int, data: bytes) -> UploadState:
    stream = await node.open_stream(AppendUpload(id=id, offset_bytes=offset))
    try:
        for start in range(0, len(data), MAX_CHUNK_BYTES):
            await stream.send(data[start : start + MAX_CHUNK_BYTES])
        await stream.end()
        answer = await stream.receive()
        assert answer is not None
        assert await stream.receive() is None
        return decode_json(answer, UploadState)
    finally:
        await stream.close()


async def ready(node: Node, id: ImageId) -> DiskImage:
    async with asyncio.timeout(30):
        while (image := await call(node, GetDiskImage(id=id))).state is not ImageState.READY:
            assert image.state is not ImageState.FAILED, image.reason
            await asyncio.sleep(0.01)
    return image


async def read(node: Node, id: ImageId) -> bytes:
    stream = await node.open_stream(ReadImage(id=id))
    await stream.end()
    chunks = []
    while (chunk := await stream.receive()) is not None:
        chunks.append(chunk)
    await stream.close()
    return b"".join(chunks)


def test_upload_over_real_streams_and_a_restart(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with running(tmp_path) as node:
            made = (await call(node, CreateDiskImage(name="debian", size_bytes=len(qcow2)))).image
            assert made is not None
            assert made.upload_path == f"/api/v2/uploads/{made.id}"
            state = await append(node, made.id, 0, qcow2[:700_000])
            assert state == UploadState(offset_bytes=700_000, size_bytes=len(qcow2))
        async with running(tmp_path) as node:
            assert await call(node, GetUpload(id=made.id)) == state
            with pytest.raises(NanoError) as caught:
                await append(node, made.id, 0, qcow2)
            assert caught.value.code is ErrorCode.CONFLICT
            await append(node, made.id, 700_000, qcow2[700_000:])
            image = await ready(node, made.id)
            assert image.sha256 == hashlib.sha256(qcow2).hexdigest()
            assert await read(node, made.id) == qcow2

            message = EnsureCached(
                step_key=StepKey("o/fetch"),
                id=image.id,
                format=image.format,
                size_bytes=image.size_bytes,
                sha256=image.sha256,
            )
            await call(node, message)
            (cache,) = node.collected(ImageCache).values()
            found = cache.find(image.id)
            assert found is not None
            assert found.path.read_bytes() == qcow2

    asyncio.run(main())


def test_error_in_the_middle_of_a_stream_reaches_the_sender(tmp_path: Path, qcow2: bytes) -> None:
    async def main() -> None:
        async with running(tmp_path) as node:
            made = (await call(node, CreateDiskImage(name="debian", size_bytes=len(qcow2)))).image
            assert made is not None
            with pytest.raises(NanoError) as caught:
                await append(node, made.id, 0, qcow2 + b"!")
            assert caught.value.code is ErrorCode.INVALID_ARGUMENT
            with pytest.raises(NanoError) as caught:
                await read(node, made.id)
            assert caught.value.code is ErrorCode.WRONG_STATE

    asyncio.run(main())
