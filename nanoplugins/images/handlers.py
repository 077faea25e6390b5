"""The core's answers about disk images."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from nanocore.capabilities.hypervisor import CellReported
from nanocore.capabilities.images import (
    AppendUpload,
    CreatedDiskImage,
    CreateDiskImage,
    DeleteDiskImage,
    GetDiskImage,
    GetUpload,
    ListDiskImages,
    ReadImage,
    UploadState,
)
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CELL_ONLY, Call, Handler, Reply
from nanocore.contracts.listing import PageInfo
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId
from nanocore.model.image import DiskImage, ImageState
from nanocore.wire import encode_json, structs
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.intake import Intake
from nanoplugins.images.library import ImageLibrary

READ_BYTES = 4 * MAX_CHUNK_BYTES
_READY = frozenset({ImageState.READY})


class ImageHandlers:
    """Thin: takes messages apart, asks ``ImageLibrary`` and ``Intake``."""

    def __init__(self, folders: ImageFolders, library: ImageLibrary, intake: Intake) -> None:
        self._folders = folders
        self._library = library
        self._intake = intake

    def declare(self) -> Sequence[Handler]:
        """Return the handlers of a core."""
        return [
            Handler(ListDiskImages, self.list_disk_images),
            Handler(GetDiskImage, self.get_disk_image, resource=_resource),
            Handler(CreateDiskImage, self.create_disk_image),
            Handler(DeleteDiskImage, self.delete_disk_image, resource=_resource),
            Handler(GetUpload, self.get_upload, resource=_resource),
            Handler(AppendUpload, self.append_upload, resource=_resource, is_stream=True),
            Handler(ReadImage, self.read_image, allow=CELL_ONLY, is_stream=True),
        ]

    async def list_disk_images(self, message: ListDiskImages, _call: Call) -> Reply[PageInfo]:
        """Answer with a page."""
        return await self._library.page(message)

    async def get_disk_image(self, message: GetDiskImage, _call: Call) -> DiskImage:
        """Answer with one image."""
        return self._library.get(message.id)

    async def create_disk_image(self, message: CreateDiskImage, call: Call) -> CreatedDiskImage:
        """Note it; the bytes come with ``AppendUpload``."""
        owner = "" if call.actor is None else call.actor.username
        record = await self._library.create(message, owner=owner)
        shown = structs.asdict(self._library.get(record.id))
        return CreatedDiskImage(**shown, upload_path=f"/api/v2/uploads/{record.id}")

    async def delete_disk_image(self, message: DeleteDiskImage, _call: Call) -> None:
        """Delete record and bytes."""
        await self._intake.delete(message.id)

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

    async def read_image(self, message: ReadImage, call: Call) -> None:
        """Send an image's bytes from an offset on; an error that is raised here closes the stream (dispatch)."""
        stream = _stream(call)
        await self._send(message.id, message.offset_bytes, stream)
        await stream.end()
        await stream.close()

    async def note_report(self, event: CellReported, source: NodeInfo) -> None:
        """Learn from a cell's report what it has cached."""
        self._library.note_cached(source.id, event.report.cached_images)

    async def _send(self, id: ImageId, offset: int, stream: Stream) -> None:
        record = self._library.require(id, _READY)
        if not 0 <= offset <= record.size_bytes:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"image {id} has {record.size_bytes} bytes, there is no byte {offset}",
                field="offset_bytes",
            )
        try:
            descriptor = os.open(self._folders.image(record.id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise NanoError(ErrorCode.NOT_FOUND, f"the file of image {id} is gone", reason="images.no_file") from error
        try:
            while data := await asyncio.to_thread(os.pread, descriptor, READ_BYTES, offset):
                offset += len(data)
                for start in range(0, len(data), MAX_CHUNK_BYTES):
                    await stream.send(data[start : start + MAX_CHUNK_BYTES])
        finally:
            os.close(descriptor)


def _stream(call: Call) -> Stream:
    if call.stream is None:
        raise NanoError(ErrorCode.INVALID_ARGUMENT, "this request carries bytes and must be sent as a stream")
    return call.stream


def _resource(message: Any) -> ResourceRef:  # noqa: ANN401  any message with an id
    return ResourceRef(kind="disk_image", id=message.id)
