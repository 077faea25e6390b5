"""A cell's cache of disk images: fetched once, checked, read-only, found by ``agent`` through ``ImageCache``."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nanocore.capabilities.images import EnsureCached, EvictCached, ListNeededImages, ReadImage
from nanocore.capabilities.storage import CachedImage, ListVolumes
from nanocore.contracts.handler import Call
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import ImageId, parse_id
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import FORMATS, ImageFolders, link, publish
from nanoplugins.images.growing_file import GrowingFile, write_error

T = TypeVar("T")

ATTEMPTS = 5
RETRY_SECONDS = 0.5
BATCH_BYTES = 4 * 1024**2
GRACE_SECONDS = 600.0
"""An image used that recently may be wanted by something that is not recorded yet."""
WRONG_DIGEST = "images.wrong_digest"


class CellCache:
    """Implements ``ImageCache`` and answers ``EnsureCached``."""

    name = "images"

    def __init__(self, context: PluginContext, config: ImagesConfig, folders: ImageFolders) -> None:
        self._context = context
        self._config = config
        self._folders = folders
        self._fetches: dict[ImageId, asyncio.Task[None]] = {}

    def find(self, id: ImageId) -> CachedImage | None:
        """Return a complete cached image or ``None``; a part is never one."""
        for format in FORMATS:
            path = self._folders.cached(id, format)
            if path.is_file():
                return CachedImage(id=id, path=path, format=format)
        return None

    def list(self) -> list[ImageId]:
        """Return the ids of complete cached images."""
        return sorted({id for id, _ in self._folders.list_cached()})

    async def ensure_cached(self, message: EnsureCached, _call: Call) -> None:
        """Have the image here; callers at the same time share one fetch."""
        parse_id(message.id)
        if message.format not in FORMATS:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, f"image format must be one of {', '.join(FORMATS)}", field="format"
            )
        found = self.find(message.id)
        if found is not None:
            await _in_thread(lambda: self._folders.touch(message.id, found.format))
            return
        task = self._fetches.get(message.id)
        if task is None:
            task = asyncio.create_task(self._fetch(message), name=f"fetch image {message.id}")
            self._fetches[message.id] = task
            task.add_done_callback(lambda done: self._forget(message.id, done))
        # One caller giving up does not take the image from the others.
        await asyncio.shield(task)

    async def stop(self) -> None:
        """End fetches; the next request goes on where they stopped."""
        tasks = [*self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, id: ImageId, task: asyncio.Task[None]) -> None:
        del self._fetches[id]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._context.log.warning("image not fetched", image_id=id, error=str(error))

    async def evict_cached(self, message: EvictCached, _call: Call) -> None:
        """Remove an image that no volume needs."""
        parse_id(message.id)
        if message.id in self._fetches:
            raise NanoError(ErrorCode.BUSY, f"image {message.id} is being fetched", retry_after_seconds=1)
        user = (await self._bases()).get(message.id)
        if user is not None:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"volume {user} is a thin clone of image {message.id} and needs its file",
                reason="images.needed",
            )
        await _in_thread(lambda: self._folders.evict(message.id))

    async def _bases(self) -> dict[ImageId, str]:
        """Return the images that volumes here are clones of, each with one such volume."""
        try:
            volumes = await self._context.call(ListVolumes(), dst=self._context.node.id)
        except NanoError as error:
            if error.code is ErrorCode.UNIMPLEMENTED:
                return {}  # no volumes without an agent
            raise
        return {ImageId(Path(each.base_path).stem): each.id for each in volumes if each.base_path}

    async def _make_room(self, message: EnsureCached) -> None:
        """Remove what was used least recently until the image fits; what is needed stays, and then it may not fit."""
        limit = self._config.cache_max_bytes
        cached = await _in_thread(self._folders.cached_facts)
        excess = sum(size for _, size, _ in cached) + message.size_bytes - limit if limit else 0
        shortage = message.size_bytes + self._config.reserve_bytes - await _in_thread(self._folders.free_bytes)
        excess = max(excess, shortage)
        if excess <= 0:
            return
        try:
            needed = {*await self._bases(), *await self._context.call(ListNeededImages())}
        except NanoError as error:
            # Better a full cache than a guest without its disk.
            self._context.log.warning("cache not tidied", error=str(error))
            return
        fresh = self._context.clock.now().timestamp() - GRACE_SECONDS
        for used_at, size, old in cached:
            if excess <= 0:
                break
            if old not in needed and used_at < fresh and old not in self._fetches:
                await _in_thread(lambda old=old: self._folders.evict(old))  # type: ignore[misc]
                self._context.log.info("cached image evicted", image_id=old, bytes=size)
                excess -= size

    async def _fetch(self, message: EnsureCached) -> None:
        await self._make_room(message)
        if NodeRole.CORE in self._context.node.roles and await self._link(message):
            return
        await _in_thread(lambda: self._check_room(message))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._download(message)
            except NanoError as error:
                # A resumed part may be at fault for a wrong digest; a second one is the core's.
                is_hopeless = error.reason == WRONG_DIGEST and attempt > 1
                if error.code is not ErrorCode.UNAVAILABLE or attempt == ATTEMPTS or is_hopeless:
                    raise
                self._context.log.info("fetch interrupted", image_id=message.id, attempt=attempt, error=str(error))
                await asyncio.sleep(RETRY_SECONDS * attempt)
            else:
                return

    async def _link(self, message: EnsureCached) -> bool:
        """Share the core's own file, which was checked when it came; false where that can't be done."""
        source, target = self._folders.image(message.id), self._folders.cached(message.id, message.format)
        try:
            await asyncio.to_thread(link, source, target)
        except OSError:
            return False
        return True

    async def _download(self, message: EnsureCached) -> None:
        """Fetch the rest of the image, check the whole, make it visible."""
        part = self._folders.fetch(message.id)
        offset = await _in_thread(lambda: min(part.stat().st_size, message.size_bytes) if part.exists() else 0)
        file = await _in_thread(lambda: GrowingFile(part, offset))
        try:
            stream = await self._context.open_stream(ReadImage(id=message.id, offset_bytes=offset))
            try:
                await stream.end()
                await self._receive(message, file, stream)
            finally:
                await stream.close()
            is_whole = file.offset == message.size_bytes and file.digest.hexdigest() == message.sha256
        finally:
            file.close()
        if not is_whole:
            await asyncio.to_thread(part.unlink, missing_ok=True)
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"what came of image {message.id} is not what the core has recorded ({file.offset} of "
                f"{message.size_bytes} bytes); it was thrown away",
                reason=WRONG_DIGEST,
            )
        fail_point("cell/images/fetched")
        await _in_thread(lambda: publish(part, self._folders.cached(message.id, message.format)))

    async def _receive(self, message: EnsureCached, file: GrowingFile, stream: Stream) -> None:
        batch: builtins.list[bytes] = []
        gathered = 0
        try:
            while (chunk := await stream.receive()) is not None:
                batch.append(chunk)
                gathered += len(chunk)
                if file.offset + gathered > message.size_bytes:
                    batch.clear()
                    raise NanoError(
                        ErrorCode.INTERNAL,
                        f"more bytes came than image {message.id} has",
                        reason="images.too_many_bytes",
                    )
                if gathered >= BATCH_BYTES:
                    full, batch, gathered = batch, [], 0
                    await _in_thread(lambda full=full: file.append(full))  # type: ignore[misc]
        finally:
            # Also what came before the link broke: the next attempt goes on there.
            await _in_thread(lambda: file.append(batch))

    def _check_room(self, message: EnsureCached) -> None:
        part = self._folders.fetch(message.id)
        present = part.stat().st_size if part.exists() else 0
        free = self._folders.free_bytes() - self._config.reserve_bytes
        if message.size_bytes - present > free:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"image {message.id} has {message.size_bytes} bytes, {max(free, 0)} are free for the cache of "
                f"{self._context.node.name}",
                reason="images.full",
            )


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise write_error(error) from error
