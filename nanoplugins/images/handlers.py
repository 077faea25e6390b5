"""The core's answers about images."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, cast

from nanocore.capabilities.hypervisor import CellReported
from nanocore.capabilities.images import (
    AppendUpload,
    CreatedDiskImage,
    CreateDiskImage,
    CreatedMediaImage,
    CreateMediaImage,
    DeleteDiskImage,
    DeleteMediaImage,
    EvictDiskImage,
    Evicted,
    EvictMediaImage,
    GetDiskImage,
    GetMediaImage,
    GetUpload,
    ListDiskImages,
    ListMediaImages,
    ListNeededImages,
    NewDiskImage,
    NewMediaImage,
    ReadContent,
    ReadImage,
    UpdateDiskImage,
    UpdateMediaImage,
    UploadState,
)
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CELL_ONLY, Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId
from nanocore.model.image import DiskImage, ImageKind, ImageRecord, ImageState, MediaImage
from nanocore.wire import encode_json, structs
from nanoplugins.images.eviction import Eviction
from nanoplugins.images.library import ANY_STATE, Texts
from nanoplugins.images.making import Tools
from nanoplugins.images.records import WORDS
from nanoplugins.images.requests import Requests
from nanoplugins.images.uses import ImageUses

READ_BYTES = 4 * MAX_CHUNK_BYTES
MAX_NAMED_USES = 5
_READY = frozenset({ImageState.READY})


class ImageHandlers:
    """Thin: takes messages apart, asks ``ImageLibrary`` and ``Intake``."""

    def __init__(self, tools: Tools, uses: ImageUses) -> None:
        self._context = tools.context
        self._folders = tools.folders
        self._library = tools.library
        self._intake = tools.intake
        self._requests = Requests(tools)
        self._uses = uses
        self._eviction = Eviction(tools, uses)

    def declare(self) -> Sequence[Handler]:
        """Return the handlers of a core."""
        return [
            Handler(ListDiskImages, self.list_disk_images),
            Handler(GetDiskImage, self.get_disk_image, resource=_disk_image),
            Handler(CreateDiskImage, self.create_disk_image),
            Handler(UpdateDiskImage, self.update_disk_image, resource=_disk_image),
            Handler(DeleteDiskImage, self.delete_disk_image, resource=_disk_image),
            Handler(ListMediaImages, self.list_media_images),
            Handler(GetMediaImage, self.get_media_image, resource=_media_image),
            Handler(CreateMediaImage, self.create_media_image),
            Handler(UpdateMediaImage, self.update_media_image, resource=_media_image),
            Handler(DeleteMediaImage, self.delete_media_image, resource=_media_image),
            Handler(GetUpload, self.get_upload, resource=self._any_image),
            Handler(AppendUpload, self.append_upload, resource=self._any_image, is_stream=True),
            Handler(ReadContent, self.read_content, resource=self._any_image, is_stream=True),
            Handler(EvictDiskImage, self.evict_disk_image, resource=_disk_image),
            Handler(EvictMediaImage, self.evict_media_image, resource=_media_image),
            Handler(ListNeededImages, self.list_needed_images, allow=CELL_ONLY),
            Handler(ReadImage, self.read_image, allow=CELL_ONLY, is_stream=True),
        ]

    async def list_disk_images(self, message: ListDiskImages, _call: Call) -> Reply[PageInfo]:
        """Answer with a page."""
        return await self._library.page(ImageKind.DISK, message)

    async def list_media_images(self, message: ListMediaImages, _call: Call) -> Reply[PageInfo]:
        """Answer with a page."""
        return await self._library.page(ImageKind.MEDIA, message)

    async def get_disk_image(self, message: GetDiskImage, _call: Call) -> DiskImage:
        """Answer with one image."""
        return cast("DiskImage", self._library.get(ImageKind.DISK, message.id))

    async def get_media_image(self, message: GetMediaImage, _call: Call) -> MediaImage:
        """Answer with one image."""
        return cast("MediaImage", self._library.get(ImageKind.MEDIA, message.id))

    async def create_disk_image(self, message: CreateDiskImage, call: Call) -> NewDiskImage:
        """Note it for ``AppendUpload``, or begin the operation that brings the bytes."""
        operation = await self._requests.begin(ImageKind.DISK, message, call)
        if operation is not None:
            return NewDiskImage(operation=operation)
        shown = structs.asdict(await self._requests.announce_upload(ImageKind.DISK, message, call))
        return NewDiskImage(image=CreatedDiskImage(**shown, upload_path=_upload_path(shown["id"])))

    async def create_media_image(self, message: CreateMediaImage, call: Call) -> NewMediaImage:
        """Note it for ``AppendUpload``, or begin the operation that brings the bytes."""
        operation = await self._requests.begin(ImageKind.MEDIA, message, call)
        if operation is not None:
            return NewMediaImage(operation=operation)
        shown = structs.asdict(await self._requests.announce_upload(ImageKind.MEDIA, message, call))
        return NewMediaImage(image=CreatedMediaImage(**shown, upload_path=_upload_path(shown["id"])))

    async def update_disk_image(self, message: UpdateDiskImage, _call: Call) -> DiskImage:
        """Change what is said of it."""
        return cast("DiskImage", await self._library.describe(ImageKind.DISK, message.id, _texts(message)))

    async def update_media_image(self, message: UpdateMediaImage, _call: Call) -> MediaImage:
        """Change what is said of it."""
        return cast("MediaImage", await self._library.describe(ImageKind.MEDIA, message.id, _texts(message)))

    async def delete_disk_image(self, message: DeleteDiskImage, _call: Call) -> None:
        """Delete record and bytes."""
        await self._delete(ImageKind.DISK, message.id)

    async def delete_media_image(self, message: DeleteMediaImage, _call: Call) -> None:
        """Delete record and bytes."""
        await self._delete(ImageKind.MEDIA, message.id)

    async def get_upload(self, message: GetUpload, _call: Call) -> UploadState:
        """Tell where to go on."""
        return self._intake.state(message.id)

    async def append_upload(self, message: AppendUpload, call: Call) -> None:
        """Take bytes; answer on the stream. An error that is raised here closes it (dispatch)."""
        stream = _stream(call)
        state = await self._intake.append(message.id, message.offset_bytes, stream)
        await stream.send(encode_json(state))
        await stream.end()
        await stream.close()

    async def read_content(self, message: ReadContent, call: Call) -> None:
        """Send a part of an image for a download; an error that is raised here closes the stream (dispatch)."""
        stream = _stream(call)
        await self._send(message.id, message.offset_bytes, stream, length=message.length_bytes)
        await stream.end()
        await stream.close()

    async def read_image(self, message: ReadImage, call: Call) -> None:
        """Send an image's bytes from an offset on; an error that is raised here closes the stream (dispatch)."""
        stream = _stream(call)
        await self._send(message.id, message.offset_bytes, stream)
        await stream.end()
        await stream.close()

    async def evict_disk_image(self, message: EvictDiskImage, _call: Call) -> Evicted:
        """Have caches let go of it."""
        return await self._eviction.evict(ImageKind.DISK, message.id, message.node_id)

    async def evict_media_image(self, message: EvictMediaImage, _call: Call) -> Evicted:
        """Have caches let go of it."""
        return await self._eviction.evict(ImageKind.MEDIA, message.id, message.node_id)

    async def list_needed_images(self, _message: ListNeededImages, call: Call) -> list[ImageId]:
        """Tell a cell what may not leave its cache."""
        by_node = await self._uses.refresh()
        return sorted(ImageId(id) for id in by_node.get(call.source.id, set()))

    async def note_report(self, event: CellReported, source: NodeInfo) -> None:
        """Learn from a cell's report what it has cached."""
        self._library.note_cached(source.id, event.report.cached_images)

    async def _delete(self, kind: ImageKind, id: ImageId) -> None:
        record = self._library.require(id, ANY_STATE, kind)
        maker = self._context.operations.find_running(ResourceRef(kind=WORDS[kind].replace(" ", "_"), id=id))
        if record.state is ImageState.CREATING and maker is not None:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"{WORDS[kind]} {record.name} is being made by operation {maker.id}; cancel that",
                reason="images.being_made",
            )
        await self._uses.refresh()
        users = self._library.uses(record.id)
        if users:
            raise _needed(record, [f"{user.kind} {user.name}" for user in users])
        await self._intake.delete(record.id)

    async def _send(self, id: ImageId, offset: int, stream: Stream, *, length: int | None = None) -> None:
        record = self._library.require(id, _READY)
        if not 0 <= offset <= record.size_bytes or (length is not None and length < 0):
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"image {id} has {record.size_bytes} bytes, there is no byte {offset}",
                field="offset_bytes",
            )
        end = record.size_bytes if length is None else min(offset + length, record.size_bytes)
        try:
            descriptor = os.open(self._folders.image(record.id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise NanoError(ErrorCode.NOT_FOUND, f"the file of image {id} is gone", reason="images.no_file") from error
        try:
            while offset < end:
                data = await asyncio.to_thread(os.pread, descriptor, min(READ_BYTES, end - offset), offset)
                if not data:
                    raise NanoError(
                        ErrorCode.INTERNAL,
                        f"the file of image {id} is shorter than recorded",
                        reason="images.short_file",
                    )
                offset += len(data)
                for start in range(0, len(data), MAX_CHUNK_BYTES):
                    await stream.send(data[start : start + MAX_CHUNK_BYTES])
        finally:
            os.close(descriptor)

    def _any_image(self, message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
        record = self._library.find(message.id)
        return _media_image(message) if record and record.kind is ImageKind.MEDIA else _disk_image(message)


def _needed(record: ImageRecord, users: list[str]) -> NanoError:
    named = ", ".join(users[:MAX_NAMED_USES]) + (
        f" and {len(users) - MAX_NAMED_USES} more" * (len(users) > MAX_NAMED_USES)
    )
    why, what = (
        ("is in the drives of", "eject it there first")
        if record.kind is ImageKind.MEDIA
        else ("has thin clones that need it", "delete them or rebuild them from another image first")
    )
    separator = " " if record.kind is ImageKind.MEDIA else ": "
    return NanoError(
        ErrorCode.WRONG_STATE,
        f"{WORDS[record.kind]} {record.name} (version {record.version}) {why}{separator}{named}; {what}",
        reason="images.needed",
    )


def _upload_path(id: ImageId) -> str:
    return f"/api/v2/uploads/{id}"


def _texts(message: UpdateDiskImage | UpdateMediaImage) -> Texts:
    return Texts(name=message.name, description=message.description, tags=message.tags)


def _stream(call: Call) -> Stream:
    if call.stream is None:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "this request carries bytes and must be sent as a stream")
    return call.stream


def _disk_image(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="disk_image", id=message.id)


def _media_image(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="media_image", id=message.id)
