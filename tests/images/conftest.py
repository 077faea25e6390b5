"""A node for the images plugin alone: its own context, a real state store, streams in memory."""

from __future__ import annotations

import asyncio
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from nanocore.capabilities.compute import ListInstances
from nanocore.capabilities.images import (
    AppendUpload,
    CreateDiskImage,
    GetDiskImage,
    NewDiskImage,
    ReadImage,
    UploadState,
)
from nanocore.capabilities.storage import ListVolumes as ListNodeVolumes
from nanocore.capabilities.storage import VolumeInfo
from nanocore.clock import Deadline, SystemClock
from nanocore.contracts.authorizer import Principal
from nanocore.contracts.handler import Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginPaths
from nanocore.contracts.stream import MAX_CHUNK_BYTES
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId
from nanocore.model.image import DiskImage, ImageState
from nanocore.wire import Event, Request, decode_json, encode_json
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.plugin import Plugin
from nanoplugins.state_sqlite.store import SqliteStateStore

DEADLINE_SECONDS = 30


class MovingClock(SystemClock):
    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Pipe:
    """One end of a stream in memory; ``break_after`` bytes the link is lost."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(8)
        self.other: Pipe
        self.is_closed = False
        self.break_after: int | None = None

    async def send(self, chunk: bytes | memoryview) -> None:
        assert len(chunk) <= MAX_CHUNK_BYTES
        if self.is_closed:
            raise NanoError(ErrorCode.UNAVAILABLE, "the stream is closed")
        if self.break_after is not None:
            self.break_after -= len(chunk)
            if self.break_after < 0:
                error = NanoError(ErrorCode.UNAVAILABLE, "the link is lost")
                await self.close(error)
                await self.other.close(error)
                raise error
        await self.other.queue.put(bytes(chunk))

    async def receive(self) -> bytes | None:
        item = await self.queue.get()
        if isinstance(item, Exception):
            raise item
        return item

    async def end(self) -> None:
        if not self.is_closed:
            await self.other.queue.put(None)

    async def close(self, error: Exception | None = None) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        if error is not None:
            while self.other.queue.full():
                self.other.queue.get_nowait()
            self.other.queue.put_nowait(error)


def pipe() -> tuple[Pipe, Pipe]:
    one, two = Pipe(), Pipe()
    one.other, two.other = two, one
    return one, two


class Context:
    """The part of ``PluginContext`` that the images plugin uses."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.node = node.info
        self.clock = node.clock
        self.log = structlog.stdlib.get_logger()
        self.paths = PluginPaths(state=node.root / "state", run=node.root / "run")
        self.published: list[Event] = []
        # No operation runs on a node of this plugin alone.
        self.operations = SimpleNamespace(find_running=lambda _resource: None)

    def config(self, kind: type[Any]) -> Any:
        assert kind is ImagesConfig
        return self._node.config

    def chosen(self, _kind: type[Any]) -> Any:
        return self._node.store

    async def call(self, message: Request[Any], *, dst: NodeId | None = None, **_: Any) -> Any:
        if isinstance(message, ListNodeVolumes) and self._node.volumes is not None:
            return self._node.volumes
        here = self._node.info.id if message.op in self._node.handlers else None
        for node in (self._node, self._node.core, *self._node.cells):
            if node is not None and message.op in node.handlers and node.info.id == (dst or here or node.info.id):
                return await node.call(message, source=self.node)
        raise NanoError(ErrorCode.UNIMPLEMENTED, f"nobody here answers {message.op}")

    async def call_reply(self, message: Request[Any], **_: Any) -> Reply[Any]:
        if isinstance(message, ListInstances) and self._node.instances is not None:
            return Reply(PageInfo(total=1, revision=1), [encode_json(item) for item in self._node.instances])
        raise NanoError(ErrorCode.UNIMPLEMENTED, f"nobody here answers {message.op}")

    async def publish(self, event: Event) -> None:
        self.published.append(event)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        self._node.tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def open_stream(self, message: Request[Any], **_: Any) -> Pipe:
        return await (self._node.core or self._node).open_stream(message, source=self.node)


class Node:
    def __init__(self, root: Path, roles: list[NodeRole], *, core: Node | None = None, **settings: Any) -> None:
        self.root = root
        (root / "state").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.core = core
        if core is not None:
            core.cells.append(self)
        self.info = NodeInfo(id=NodeId(f"node-{root.name}"), name=root.name, roles=roles)
        self.clock = MovingClock()
        self.config = replace(ImagesConfig(), reserve_bytes=0, **settings)
        self.store = SqliteStateStore(root / "nano.db", structlog.stdlib.get_logger())
        self.tasks: list[asyncio.Task[None]] = []
        self.opened: list[Pipe] = []
        self.cells: list[Node] = []
        self.volumes: list[VolumeInfo] | None = None
        """What ``agent`` would list, or that there is no such plugin."""
        self.instances: list[dict[str, Any]] | None = None
        """What ``compute`` would list, or that there is no such plugin."""
        self.break_next: list[int] = []
        """Bytes after which the next streams opened here lose their link."""
        self.context = Context(self)
        self.plugin = Plugin()
        context: Any = self.context
        self.handlers: dict[str, Handler] = {h.op: h for h in self.plugin.nano_message_handlers(context)}
        (self.service,) = self.plugin.nano_services(context)
        self.jobs = {job.name: job for job in self.plugin.nano_scheduled_jobs(context)}
        self.caches = self.plugin.nano_image_caches(context)
        self.subscriptions = self.plugin.nano_event_subscriptions(context)

    @property
    def state(self) -> Path:
        return self.root / "state"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        if NodeRole.CORE in self.info.roles:
            await self.store.open(self.plugin.nano_collections())
        await self.service.start()
        try:
            yield self
        finally:
            await self.service.stop()
            await asyncio.gather(*self.tasks)
            if NodeRole.CORE in self.info.roles:
                await self.store.close()

    async def call(self, message: Request[Any], *, stream: Pipe | None = None, source: NodeInfo | None = None) -> Any:
        call = Call(
            id="r",
            source=source or self.info,
            deadline=Deadline.after(DEADLINE_SECONDS, self.clock),
            trace="t",
            actor=Principal(user_id="u", username="ada"),
            stream=stream,
        )
        return await self.handlers[message.op].call(message, call)

    async def open_stream(self, message: Request[Any], *, source: NodeInfo | None = None) -> Pipe:
        ours, theirs = pipe()
        if self.break_next:
            theirs.break_after = self.break_next.pop(0)
        self.opened.append(theirs)
        self.tasks.append(asyncio.create_task(self._serve(message, theirs, source)))
        return ours

    async def _serve(self, message: Request[Any], stream: Pipe, source: NodeInfo | None) -> None:
        """As the kernel's dispatch does it."""
        try:
            await self.call(message, stream=stream, source=source)
        except NanoError as error:
            await stream.close(error)

    async def create(self, name: str, size_bytes: int, **fields: Any) -> ImageId:
        made: NewDiskImage = await self.call(CreateDiskImage(name=name, size_bytes=size_bytes, **fields))
        assert made.image is not None
        return made.image.id

    async def append(self, id: ImageId, offset: int, data: bytes) -> UploadState:
        """Send ``data`` and return the answer, or raise the error that came instead."""
        stream = await self.open_stream(AppendUpload(id=id, offset_bytes=offset))
        try:
            for start in range(0, len(data), MAX_CHUNK_BYTES):
                if not stream.queue.empty():
                    break
                await stream.send(data[start : start + MAX_CHUNK_BYTES])
            await stream.end()
            answer = await stream.receive()
            assert answer is not None
            assert await stream.receive() is None
            return decode_json(answer, UploadState)
        finally:
            await stream.close()

    async def wait(self, id: ImageId) -> DiskImage:
        """Return the image once it is no longer unfinished."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                image: DiskImage = await self.call(GetDiskImage(id=id))
                if image.state not in (ImageState.UPLOADING, ImageState.INSPECTING):
                    return image
                await asyncio.sleep(0.005)

    async def upload(self, name: str, data: bytes, **fields: Any) -> DiskImage:
        id = await self.create(name, len(data), **fields)
        await self.append(id, 0, data)
        return await self.wait(id)

    async def read(self, id: ImageId, offset: int = 0) -> bytes:
        stream = await self.open_stream(ReadImage(id=id, offset_bytes=offset))
        await stream.end()
        data = b""
        while (chunk := await stream.receive()) is not None:
            data += chunk
        return data

    def files(self) -> set[str]:
        return {str(path.relative_to(self.state)) for path in self.state.rglob("*") if path.is_file()}


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Node]:
    """Return a maker of nodes; the same name again is a restart."""

    def make(name: str = "core", roles: tuple[NodeRole, ...] = (NodeRole.CORE,), **settings: Any) -> Node:
        return Node(tmp_path / name, [*roles], **settings)

    return make


@pytest.fixture(scope="session")
def qcow2(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good image of 8 MiB with 1 MiB of data."""
    path = tmp_path_factory.mktemp("images") / "good.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "8M"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 5 0 1M", path], check=True, capture_output=True)
    return path.read_bytes()


@pytest.fixture(scope="session")
def raw() -> bytes:
    """A good raw disk of 1 MiB with one partition."""
    sector = bytearray(512)
    sector[446:462] = struct.pack("<B3BB3BII", 0x80, 0, 2, 0, 0x83, 0, 0, 0, 1, 2047)
    sector[510:] = b"\x55\xaa"
    return bytes(sector) + bytes(1024 * 1024 - 512)
