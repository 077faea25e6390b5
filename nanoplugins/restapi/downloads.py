"""Downloads of images: bytes streamed from the core at the client's pace, from any offset on."""

from __future__ import annotations

import asyncio
import re
from typing import ClassVar, cast
from urllib.parse import quote

from tornado import iostream

from nanocore.capabilities.images import GetDiskImage, GetMediaImage, ReadContent
from nanocore.contracts.authorizer import ANONYMOUS
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId
from nanocore.model.image import DiskImage, ImageState, MediaImage
from nanocore.wire import Query
from nanoplugins.restapi.handling import MAX_DIGITS, BaseHandler
from nanoplugins.restapi.problems import Answer, HttpProblem

CONTENT_TYPE = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class DownloadHandler(BaseHandler):
    """``GET`` and ``HEAD`` of ``…/content``; a subclass says of what."""

    query: ClassVar[type[GetDiskImage | GetMediaImage]]

    async def get(self, id: str) -> None:
        """Send the file, or the part that ``Range`` asks for."""
        credential = self.credential()
        if credential == ANONYMOUS:
            raise NanoError(ErrorCode.UNAUTHENTICATED, "log in first")
        image: DiskImage | MediaImage = await self.api.core.call(
            cast("Query[DiskImage | MediaImage]", self.query(id=ImageId(id))), credential=credential
        )
        if image.state is not ImageState.READY:
            raise NanoError(
                ErrorCode.WRONG_STATE, f"image {image.name} is {image.state.value}; only a ready one can be downloaded"
            )
        offset, length = self._part(image)
        self._set_headers(image, length)
        if self.check_etag_header():
            await self.send(Answer(304))
        elif self.request.method == "HEAD":
            await self.finish()
        else:
            message = ReadContent(id=image.id, offset_bytes=offset, length_bytes=length)
            await self._send_stream(await self.api.core.open_stream(message, credential=credential))

    head = get

    def _part(self, image: DiskImage | MediaImage) -> tuple[int, int]:
        """Return offset and length of what is wanted. Raises 416 for a part that is not there."""
        size = image.size_bytes
        text = self.request.headers.get("Range", "")
        condition = self.request.headers.get("If-Range")
        found = _RANGE.fullmatch(text.strip()) if condition in (None, _etag(image)) else None
        # Several parts at once, other units and nonsense may be answered with the whole (RFC 9110, 14.2).
        if found is None or found[0] == "bytes=-" or max(map(len, found.groups())) > MAX_DIGITS:
            return 0, size
        first, last = found.groups()
        start = int(first) if first else max(size - int(last), 0)
        end = min(int(last), size - 1) if first and last else size - 1
        if start > end:
            if first and last and int(last) < start:
                return 0, size
            raise HttpProblem(
                416,
                ErrorCode.INVALID_ARGUMENT,
                f"the image has {size} bytes, nothing of it is in {text[:80]}",
                reason="http.range",
                headers={"Content-Range": f"bytes */{size}"},
            )
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end}/{size}")
        return start, end - start + 1

    def _set_headers(self, image: DiskImage | MediaImage, length: int) -> None:
        name = f"{image.name}-{image.version}.{image.format}"
        plain = _UNSAFE.sub("_", name).lstrip(".") or "image"
        self.set_header("Content-Type", CONTENT_TYPE)
        self.set_header("Content-Length", str(length))
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
        self.set_header("Content-Disposition", disposition)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", _etag(image))
        self.set_header("Cache-Control", "private, no-cache")

    async def _send_stream(self, stream: Stream) -> None:
        """Pass on chunk after chunk; the next is taken when the client has taken the last."""
        try:
            await stream.end()
            # An error of the core before the first byte can still become an answer.
            chunk = await stream.receive()
            while chunk is not None:
                self.write(chunk)
                async with asyncio.timeout(self.api.config.stall_seconds):
                    await self.flush()
                chunk = await self._next(stream)
            await self.finish()
        except iostream.StreamClosedError:
            pass
        except TimeoutError:
            self.api.context.log.info("client does not read", request_id=self.request_id)
            self.connection.close()
        finally:
            await stream.close()

    async def _next(self, stream: Stream) -> bytes | None:
        try:
            return await stream.receive()
        except NanoError as error:
            # The headers are gone: cutting the connection is the only way to say that the rest will not come.
            self.api.context.log.warning("download broken off", request_id=self.request_id, error=str(error))
            self.connection.close()
            raise iostream.StreamClosedError from error


class DiskImageContentHandler(DownloadHandler):
    """``/disk-images/{id}/content``."""

    query = GetDiskImage


class MediaImageContentHandler(DownloadHandler):
    """``/media-images/{id}/content``."""

    query = GetMediaImage


def _etag(image: DiskImage | MediaImage) -> str:
    return f'"{image.sha256}"'
