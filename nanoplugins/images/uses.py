"""What needs an image: instances and volumes cloned from it, instances in whose drives it is. Asked of their owners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from nanocore.capabilities.compute import ListInstances
from nanocore.capabilities.volumes import ListVolumes
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId
from nanocore.model.image import ImageUse
from nanocore.wire import Query, Struct, decode_json, field
from nanoplugins.images.library import ImageLibrary

REFRESH_SECONDS = 5.0
"""Instances change all the time, hardly ever their images: what lists show may be that old. A deletion asks anew."""
PAGE = 1000
NOUNS = frozenset({"instances", "volumes"})


class _Disk(Struct, frozen=True):
    image_id: str | None = None


class _Drive(Struct, frozen=True):
    media_image_id: str | None = None


class _Instance(Struct, frozen=True):
    id: str
    name: str
    node_id: NodeId | None = None
    disks: list[_Disk] = field(default_factory=list)
    media: list[_Drive] = field(default_factory=list)

    @property
    def images(self) -> set[str]:
        found = {disk.image_id for disk in self.disks} | {drive.media_image_id for drive in self.media}
        return {id for id in found if id is not None}


class _Volume(Struct, frozen=True):
    id: str
    name: str
    node_id: NodeId | None = None
    instance_id: str | None = None
    image_id: str | None = None


I = TypeVar("I", bound=Struct)  # noqa: E741  the items


class ImageUses:
    """Owned by the images service of a core."""

    def __init__(self, context: PluginContext, library: ImageLibrary) -> None:
        self._context = context
        self._library = library
        self._task: asyncio.Task[None] | None = None
        self._is_stale = False

    async def note_change(self, event: ResourceChanged, _source: NodeInfo) -> None:
        """Look again in a while, once for many changes."""
        if event.noun not in NOUNS:
            return
        self._is_stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh_while_stale(), name="refresh uses of images")

    async def stop(self) -> None:
        """End what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def refresh(self) -> dict[NodeId, set[str]]:
        """Ask now; return the images that each cell's instances need."""
        uses: dict[str, list[ImageUse]] = {}
        by_node: dict[NodeId, set[str]] = {}
        async for instance in self._items(ListInstances(limit=PAGE), _Instance):
            for image in instance.images:
                uses.setdefault(image, []).append(ImageUse(kind="instance", id=instance.id, name=instance.name))
                if instance.node_id is not None:
                    by_node.setdefault(instance.node_id, set()).add(image)
        async for volume in self._items(ListVolumes(limit=PAGE), _Volume):
            if volume.image_id is None or volume.instance_id is not None:
                continue
            uses.setdefault(volume.image_id, []).append(ImageUse(kind="volume", id=volume.id, name=volume.name))
            if volume.node_id is not None:
                by_node.setdefault(volume.node_id, set()).add(volume.image_id)
        self._library.note_uses(uses)
        return by_node

    async def _refresh_while_stale(self) -> None:
        while self._is_stale:
            self._is_stale = False
            try:
                await self.refresh()
            except NanoError as error:
                self._context.log.debug("uses of images not known", error=str(error))
            await asyncio.sleep(REFRESH_SECONDS)

    async def _items(self, query: Query[PageInfo], kind: type[I]) -> AsyncIterator[I]:
        cursor = ""
        while True:
            assert isinstance(query, ListQuery)  # noqa: S101  each one is
            try:
                reply = await self._context.call_reply(type(query)(limit=PAGE, cursor=cursor))
            except NanoError as error:
                if error.code is ErrorCode.UNIMPLEMENTED:
                    return  # nobody here has such objects
                raise
            for blob in reply.blobs:
                yield decode_json(bytes(blob), kind)
            if not reply.body.next_cursor:
                return
            cursor = reply.body.next_cursor
