"""tus 1.0 (core protocol): resumable uploads, streamed to whoever owns the image, never held here."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado import web

from nanocore.capabilities.images import AppendUpload, GetUpload, UploadState
from nanocore.contracts.stream import MAX_CHUNK_BYTES, Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId
from nanocore.wire import decode_json
from nanoplugins.restapi.handling import DRAIN_BYTES, BaseHandler, is_number
from nanoplugins.restapi.problems import Answer, HttpProblem

VERSION = "1.0.0"
MAX_BYTES = 1 << 50
MAX_SECONDS = 24 * 3600.0
CONTENT_TYPE = "application/offset+octet-stream"


@web.stream_request_body
class UploadHandler(BaseHandler):
    """``/api/v2/uploads/{id}``. Tornado waits for ``data_received``, so the sender's pace is the receiver's."""

    _stream: Stream | None = None
    _failure: NanoError | None = None
    _received = 0
    _watchdog: asyncio.TimerHandle | None = None

    def set_default_headers(self) -> None:
        """Add the protocol's own header to every answer."""
        super().set_default_headers()
        self.set_header("Tus-Resumable", VERSION)

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401  Tornado's signature
        """Say that the connection ends as well, as it does when ``prepare`` refuses. Called by Tornado."""
        self.set_header("Connection", "close")
        super().write_error(status_code, **kwargs)

    async def prepare(self) -> None:
        """Check everything, and open the stream, before the first byte."""
        if self.request.method == "OPTIONS":
            return
        self._check_version()
        self._credential = self.credential()
        await self.check_cross_site(self._credential)
        if self.request.method != "PATCH":
            return
        if self.request.headers.get("Content-Type", "").lower() != CONTENT_TYPE:
            raise HttpProblem(
                415, ErrorCode.INVALID_ARGUMENT, f"Content-Type must be {CONTENT_TYPE}", reason="http.content_type"
            )
        message = AppendUpload(id=self._id(), offset_bytes=self._offset())
        self.connection.set_max_body_size(MAX_BYTES)
        self.connection.set_body_timeout(MAX_SECONDS)
        # Where the upload stands is asked first: a wrong offset is refused before the client sends gigabytes.
        state = await self.api.core.call(GetUpload(id=message.id), credential=self._credential)
        if state.offset_bytes != message.offset_bytes:
            raise _offset_problem(f"the upload stands at {state.offset_bytes}, not at {message.offset_bytes}")
        self._stream = await self.api.core.open_stream(message, credential=self._credential)
        self._feed_watchdog()

    async def data_received(self, chunk: bytes) -> None:
        """Pass on a piece of the body."""
        self._received += len(chunk)
        if self._stream is None:
            return
        view = memoryview(chunk)
        try:
            for start in range(0, len(view), MAX_CHUNK_BYTES):
                await self._stream.send(view[start : start + MAX_CHUNK_BYTES])
        except NanoError as error:
            await self._give_up(error)
        else:
            self._feed_watchdog()

    async def patch(self, id: str) -> None:
        """Finish: everything was sent, now it has to be safe on disk."""
        del id
        self._stop_watchdog()
        stream, self._stream = self._stream, None
        if stream is None:
            raise self._failure or NanoError(ErrorCode.UNAVAILABLE, "the upload was interrupted; go on from its offset")
        try:
            state = await _finish(stream)
        except NanoError as error:
            raise _translated(error) from error
        await self.send(Answer(204, headers={"Upload-Offset": str(state.offset_bytes)}))

    async def head(self, id: str) -> None:
        """Say where to go on."""
        state = await self.api.core.call(GetUpload(id=ImageId(id)), credential=self._credential)
        headers = {"Upload-Offset": str(state.offset_bytes), "Upload-Length": str(state.size_bytes)}
        await self.send(Answer(200, headers=headers))

    async def options(self, id: str) -> None:
        """Say what this is."""
        del id
        await self.send(Answer(204, headers={"Tus-Version": VERSION, "Allow": "HEAD, OPTIONS, PATCH"}))

    def on_connection_close(self) -> None:
        """Keep what has arrived: the client can go on from there."""
        super().on_connection_close()
        self._stop_watchdog()
        stream, self._stream = self._stream, None
        if stream is not None:
            self.api.context.spawn(_keep(stream), name="keep interrupted upload")

    def on_finish(self) -> None:
        """Let go after a failure in ``prepare``."""
        self._stop_watchdog()

    async def _give_up(self, error: NanoError) -> None:
        stream, self._stream = self._stream, None
        failure = self._failure = _translated(error)
        if stream is not None:
            await stream.close(error)
        length = self.request.headers.get("Content-Length", "")
        if not is_number(length) or int(length) - self._received > DRAIN_BYTES:
            # Too much is still to come to throw it away; the connection ends with this answer.
            self._stop_watchdog()
            self.send_error(500, exc_info=(NanoError, failure, None))

    def _feed_watchdog(self) -> None:
        self._stop_watchdog()
        loop = asyncio.get_running_loop()
        self._watchdog = loop.call_later(self.api.config.stall_seconds, self._stalled)

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _stalled(self) -> None:
        self.connection.close()

    def _check_version(self) -> None:
        if self.request.headers.get("Tus-Resumable") != VERSION:
            raise HttpProblem(
                412,
                ErrorCode.INVALID_ARGUMENT,
                f"the header Tus-Resumable must be {VERSION}",
                reason="tus.version",
                headers={"Tus-Version": VERSION},
            )

    def _offset(self) -> int:
        text = self.request.headers.get("Upload-Offset", "")
        if not is_number(text) or int(text) > MAX_BYTES:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT, "the header Upload-Offset must be a number of bytes", field="Upload-Offset"
            )
        return int(text)

    def _id(self) -> ImageId:
        return ImageId(self.path_kwargs["id"])


def _translated(error: NanoError) -> NanoError:
    return _offset_problem(error.message) if error.code is ErrorCode.CONFLICT else error


def _offset_problem(message: str) -> HttpProblem:
    # tus wants 409 where the rest of the API says 412.
    return HttpProblem(409, ErrorCode.CONFLICT, message, reason="tus.offset")


async def _finish(stream: Stream) -> UploadState:
    try:
        await stream.end()
        parts = []
        while (chunk := await stream.receive()) is not None:
            parts.append(chunk)
        return decode_json(b"".join(parts), UploadState)
    finally:
        await stream.close()


async def _keep(stream: Stream) -> None:
    try:
        await _finish(stream)
    except NanoError:
        # Nobody is left to be told; the next HEAD says what was kept.
        return
