"""How bytes become an image on the core: receive, inspect, file. Everything here survives a kill at any point.

An upload's acknowledged length is in its record and its bytes are synced before: what lies beyond it after a kill is
cut off. The record says ``inspecting`` from the last byte on; the file is renamed before the record says ``ready``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from nanocore.capabilities.images import UploadState
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.failpoints import fail_point
from nanocore.ids import ImageId
from nanocore.model.image import ImageRecord, ImageSource, ImageState
from nanocore.wire import structs
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import ImageFolders, publish
from nanoplugins.images.formats import FOREIGN, Verdict
from nanoplugins.images.growing_file import GrowingFile, write_error
from nanoplugins.images.inspection import convert_image, inspect_image
from nanoplugins.images.library import ANY_STATE, ImageLibrary

T = TypeVar("T")

BATCH_BYTES = 4 * 1024**2
"""Written and digested in one turn of a thread."""
CHECKPOINT_BYTES = 32 * 1024**2
"""What a kill in the middle of one request costs at most."""
PARALLEL_INSPECTIONS = 2
_UPLOADING = frozenset({ImageState.UPLOADING})
_INSPECTING = frozenset({ImageState.INSPECTING})
_KEPT = frozenset({ImageState.INSPECTING, ImageState.CREATING})


class Intake:
    """Owned by the images service of a core."""

    def __init__(
        self, context: PluginContext, config: ImagesConfig, folders: ImageFolders, library: ImageLibrary
    ) -> None:
        self._context = context
        self._config = config
        self._folders = folders
        self._library = library
        self._writing: set[ImageId] = set()
        # Digests of what has arrived, so that an upload in several requests is read once.
        self._digests: dict[ImageId, tuple[int, hashlib._Hash]] = {}
        self._inspections = asyncio.Semaphore(PARALLEL_INSPECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()

    async def recover(self, records: list[ImageRecord]) -> None:
        """Carry on after a restart: sweep, check what is there, inspect again what was being inspected."""
        await asyncio.to_thread(self._sweep, {record.id: record.state for record in records})
        for record in records:
            if record.state is ImageState.INSPECTING:
                self._start_inspection(record.id)
            elif record.state is ImageState.READY and not self._folders.image(record.id).exists():
                await self._library.change(
                    record.id, ANY_STATE, state=ImageState.FAILED, reason="its file is gone from the core's disk"
                )
            elif record.state is ImageState.UPLOADING:
                await self._check_upload(record)

    async def stop(self) -> None:
        """End inspections; the next start begins them again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def state(self, id: ImageId) -> UploadState:
        """Return how much of an upload is safe."""
        record = self._library.require(id, ANY_STATE)
        return UploadState(offset_bytes=record.uploaded_bytes, size_bytes=record.size_bytes)

    async def append(self, id: ImageId, offset: int, stream: Stream) -> UploadState:
        """Take what ``stream`` brings; return when it has ended, or raise with everything that arrived kept."""
        async with self._sole_writer(id):
            record = self._library.require(id, _UPLOADING)
            if offset != record.uploaded_bytes:
                raise NanoError(
                    ErrorCode.CONFLICT,
                    f"the upload of {record.name} stands at byte {record.uploaded_bytes}, not at {offset}; go on there",
                    reason="images.wrong_offset",
                    field="offset_bytes",
                    offset_bytes=record.uploaded_bytes,
                )
            file = await _in_thread(lambda: self._open(record))
            try:
                try:
                    await self._receive(record, file, stream)
                finally:
                    record = await self._checkpoint(record.id, file)
            finally:
                file.close()
                if self._library.find(id) is None:
                    # Deleted while the file was being opened, which made it anew.
                    self._remove_files(id)
            if record.uploaded_bytes == record.size_bytes:
                record = await self._library.change(record.id, _UPLOADING, state=ImageState.INSPECTING)
                self._start_inspection(record.id)
        return UploadState(offset_bytes=record.uploaded_bytes, size_bytes=record.size_bytes)

    async def delete(self, id: ImageId) -> None:
        """Delete an image in any state; whoever still reads its file reads on."""
        record = await self._library.delete(id)
        await asyncio.to_thread(self._remove_files, record.id)

    async def remove_files(self, id: ImageId) -> None:
        """Remove what is there of an image without a record."""
        await asyncio.to_thread(self._remove_files, id)

    async def expire(self) -> None:
        """Delete uploads that nobody has continued for a long time (a timed job)."""
        limit = self._context.clock.now() - timedelta(seconds=self._config.upload_expires_seconds)
        for record in self._library.records():
            last = record.last_byte_at or record.created_at
            if record.state is ImageState.UPLOADING and last < limit and record.id not in self._writing:
                self._context.log.info("abandoned upload deleted", image_id=record.id, bytes=record.uploaded_bytes)
                await self.delete(record.id)

    @asynccontextmanager
    async def _sole_writer(self, id: ImageId) -> AsyncIterator[None]:
        if id in self._writing:
            raise NanoError(
                ErrorCode.BUSY,
                "this upload is being continued by another request; wait for it or end it",
                reason="images.upload_busy",
                retry_after_seconds=1,
            )
        self._writing.add(id)
        try:
            yield
        finally:
            self._writing.discard(id)

    def _open(self, record: ImageRecord) -> GrowingFile:
        offset, digest = self._digests.pop(record.id, (-1, None))
        known = digest if offset == record.uploaded_bytes else None
        return GrowingFile(self._folders.upload(record.id), record.uploaded_bytes, known)

    async def _receive(self, record: ImageRecord, file: GrowingFile, stream: Stream) -> None:
        batch: list[bytes] = []
        gathered = 0
        safe = file.offset
        try:
            async for chunk in self._chunks(stream):
                if file.offset + gathered + len(chunk) > record.size_bytes:
                    raise NanoError(
                        ErrorCode.INVALID_ARGUMENT,
                        f"more bytes came than the {record.size_bytes} announced for {record.name}",
                        reason="images.too_many_bytes",
                    )
                batch.append(chunk)
                gathered += len(chunk)
                if gathered >= BATCH_BYTES:
                    full, batch, gathered = batch, [], 0
                    await _in_thread(lambda full=full: file.append(full))  # type: ignore[misc]
                if file.offset - safe >= CHECKPOINT_BYTES:
                    await self._checkpoint(record.id, file)
                    safe = file.offset
        finally:
            await _in_thread(lambda: file.append(batch))

    async def _chunks(self, stream: Stream) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._config.upload_idle_seconds):
                    chunk = await stream.receive()
            except TimeoutError as error:
                raise NanoError(
                    ErrorCode.DEADLINE_EXCEEDED,
                    f"nothing came for {self._config.upload_idle_seconds:g} s; resume the upload",
                    reason="images.upload_idle",
                ) from error
            if chunk is None:
                return
            yield chunk

    async def _checkpoint(self, id: ImageId, file: GrowingFile) -> ImageRecord:
        """Make what has arrived safe, then say so."""
        offset, digest = file.offset, file.digest.copy()
        await _in_thread(file.sync)
        fail_point("images/upload/synced")
        record = await self._library.change(
            id, _UPLOADING, uploaded_bytes=offset, last_byte_at=self._context.clock.now()
        )
        self._digests[id] = (offset, digest)
        fail_point("images/upload/acknowledged")
        return record

    def _start_inspection(self, id: ImageId) -> None:
        task = asyncio.create_task(self._inspect(id), name=f"inspect {id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _inspect(self, id: ImageId) -> None:
        log = self._context.log.bind(image_id=id)
        try:
            async with self._inspections:
                fields = await self.judge(id, _INSPECTING)
            fail_point("images/inspect/judged")
            record = await self._library.change(id, _INSPECTING, **fields)
            fail_point("images/inspect/recorded")
            log.info("image inspected", state=record.state, reason=record.reason, format=record.format)
            if record.state is ImageState.FAILED:
                await asyncio.to_thread(self._remove_files, id)
        except Exception:
            if self._library.find(id) is not None:
                log.exception("inspection not recorded; the next start repeats it")
                return
            # Deleted meanwhile; the file may have been renamed after the deletion looked for it.
            await self.remove_files(id)

    async def judge(self, id: ImageId, states: Collection[ImageState]) -> dict[str, Any]:
        """Return what the record, in one of ``states``, is to say; an accepted file has its final name then."""
        record = self._library.require(id, states)
        try:
            return await self._examine(record)
        except (OSError, NanoError) as error:
            self._context.log.exception("image could not be inspected", image_id=id)
            return {
                "state": ImageState.FAILED,
                "reason": f"the core could not inspect it: {error}; delete it and upload it again",
            }

    async def _examine(self, record: ImageRecord) -> dict[str, Any]:
        path = await asyncio.to_thread(self._locate, record.id)
        verdict = await inspect_image(
            path,
            max_virtual_bytes=self._config.max_virtual_bytes,
            timeout_seconds=self._config.inspection_timeout_seconds,
            kind=record.kind,
        )
        if verdict.refusal is not None:
            return _refused(f"the image was refused: {verdict.refusal}")
        digest = await self._digest(record, path)
        # What was converted before a kill is not what was announced.
        announced = record.source.sha256 if path == self._folders.image(record.id) and record.source.sha256 else digest
        if record.expected_sha256 not in (None, announced):
            return _refused(f"the file has SHA-256 {announced}, announced was {record.expected_sha256}; bring it again")
        source = record.source
        if verdict.format in FOREIGN:
            source = structs.replace(source, format=verdict.format, sha256=digest)
            verdict = await self._convert(record, source, path, verdict)
            if verdict.refusal is not None:
                return _refused(f"the image was refused: {verdict.refusal}")
            path = self._folders.converted(record.id)
            digest = await _in_thread(lambda: _digest_file(path))
        filed = self._folders.image(record.id)
        if path != filed:
            await _in_thread(lambda: publish(path, filed))
            await asyncio.to_thread(self._folders.upload(record.id).unlink, missing_ok=True)
        size_bytes = filed.stat().st_size
        return {
            "state": ImageState.READY,
            "format": verdict.format,
            "size_bytes": size_bytes,
            "uploaded_bytes": size_bytes,
            "virtual_size_bytes": verdict.virtual_size_bytes,
            "source": source,
            "sha256": digest,
        }

    async def _convert(self, record: ImageRecord, source: ImageSource, path: Path, found: Verdict) -> Verdict:
        """Make qcow2 of another format, have that inspected as well, and note what it was made of."""
        target = self._folders.converted(record.id)
        seconds = self._config.conversion_timeout_seconds
        room = min(self._config.max_image_bytes, max(self._library.free_bytes(), 0))
        verdict = await convert_image(
            path,
            target,
            format=found.format,
            max_virtual_bytes=self._config.max_virtual_bytes,
            max_bytes=room,
            timeout_seconds=seconds,
        )
        if verdict.refusal is None:
            verdict = await inspect_image(
                target, max_virtual_bytes=self._config.max_virtual_bytes, timeout_seconds=seconds
            )
        if verdict.refusal is not None:
            await asyncio.to_thread(target.unlink, missing_ok=True)
            return verdict
        fail_point("images/inspect/converted")
        await self._library.change(record.id, _KEPT, source=source)
        return verdict

    async def _digest(self, record: ImageRecord, path: Path) -> str:
        offset, digest = self._digests.pop(record.id, (-1, None))
        if digest is not None and offset == record.size_bytes:
            return digest.hexdigest()
        return await _in_thread(lambda: _digest_file(path))

    def _locate(self, id: ImageId) -> Path:
        """Return where the bytes are: a kill may have come between renaming and saying so."""
        filed = self._folders.image(id)
        return filed if filed.exists() else self._folders.upload(id)

    async def _check_upload(self, record: ImageRecord) -> None:
        path = self._folders.upload(record.id)
        length = path.stat().st_size if path.exists() else 0
        if length < record.uploaded_bytes:
            self._context.log.warning("upload lost bytes", image_id=record.id, had=record.uploaded_bytes, has=length)
            record = await self._library.change(record.id, _UPLOADING, uploaded_bytes=length)
        if record.uploaded_bytes == record.size_bytes:
            await self._library.change(record.id, _UPLOADING, state=ImageState.INSPECTING)
            self._start_inspection(record.id)

    def _sweep(self, states: dict[ImageId, ImageState]) -> None:
        for path, id in self._folders.list_core_files():
            state = None if id is None else states.get(id)
            is_upload = id is not None and path == self._folders.upload(id)
            if state in _KEPT or (state is ImageState.UPLOADING and is_upload):
                continue
            if state is ImageState.READY and not is_upload:
                continue
            self._context.log.info("leftover removed", path=str(path))
            path.unlink(missing_ok=True)

    def _remove_files(self, id: ImageId) -> None:
        self._digests.pop(id, None)
        self._folders.upload(id).unlink(missing_ok=True)
        self._folders.converted(id).unlink(missing_ok=True)
        self._folders.image(id).unlink(missing_ok=True)


def _refused(reason: str) -> dict[str, Any]:
    return {"state": ImageState.FAILED, "reason": reason}


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise write_error(error) from error
