"""The records of disk images on a core: every change goes through here, to the store first, then to the table."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from nanocore.capabilities.images import CreateDiskImage
from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put, StateStore
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId, new_id, parse_id
from nanocore.model.image import DiskImage, ImageRecord, ImageState
from nanocore.wire import structs
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.records import IMAGES, NAMES, NameRecord, view

NOUN = "disk-images"
MAX_TAG_LENGTH = 100
ANY_STATE = frozenset(ImageState)
UNFINISHED = frozenset({ImageState.UPLOADING, ImageState.INSPECTING})


class ImageLibrary:
    """Owned by the images service of a core."""

    def __init__(self, context: PluginContext, config: ImagesConfig, folders: ImageFolders) -> None:
        self._context = context
        self._config = config
        self._folders = folders
        self._table: Table[DiskImage] = Table(NOUN, context.clock, self._publish)
        self._cached: dict[NodeId, frozenset[str]] = {}
        # Two announcements at once must not both see the last free slot or byte.
        self._creating = asyncio.Lock()

    def load(self) -> list[ImageRecord]:
        """Fill the table from the store; return all records."""
        records = [entry.value for entry in self._store.list(IMAGES)]
        for record in records:
            self._show(record)
        return records

    async def page(self, query: ListQuery) -> Reply[PageInfo]:
        """Answer a list."""
        return await self._table.answer(query)

    def get(self, id: ImageId) -> DiskImage:
        """Return one image; ``not_found``."""
        return self._table.get(parse_id(id))

    def records(self) -> Sequence[ImageRecord]:
        """Return all records."""
        return [entry.value for entry in self._store.list(IMAGES)]

    def find(self, id: ImageId) -> ImageRecord | None:
        """Return one record or ``None``."""
        entry = self._store.get(IMAGES, id)
        return None if entry is None else entry.value

    def require(self, id: ImageId, states: Collection[ImageState]) -> ImageRecord:
        """Return one record in one of ``states``; ``not_found`` or ``wrong_state``."""
        record = self.find(ImageId(parse_id(id)))
        if record is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no disk image with id {id}")
        if record.state not in states:
            wanted = " or ".join(states)
            raise NanoError(
                ErrorCode.WRONG_STATE, f"disk image {record.name} is {record.state}, it would have to be {wanted}"
            )
        return record

    async def create(self, message: CreateDiskImage, *, owner: str) -> ImageRecord:
        """Note an image that is going to be uploaded."""
        _check_texts(message)
        record = ImageRecord(
            id=ImageId(new_id()),
            name=message.name,
            description=message.description,
            state=ImageState.UPLOADING,
            size_bytes=message.size_bytes,
            expected_sha256=message.sha256,
            tags=message.tags,
            owner=owner,
            created_at=self._context.clock.now(),
        )
        async with self._creating:
            self._check_room(message)
            named = Put(NAMES, record.name, NameRecord(image_id=record.id), expect=0)
            try:
                await self._store.commit(Put(IMAGES, record.id, record, expect=0), named)
            except NanoError as error:
                if error.code is ErrorCode.CONFLICT:
                    raise _name_taken(record.name) from error
                raise
        self._show(record)
        return record

    async def change(self, id: ImageId, states: Collection[ImageState], **fields: Any) -> ImageRecord:  # noqa: ANN401
        """Replace fields of a record that is in one of ``states``; durable on return."""
        self.require(id, states)
        entry = self._store.get(IMAGES, id)
        if entry is None:
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no disk image with id {id}")
        record = structs.replace(entry.value, **fields)
        await self._store.commit(Put(IMAGES, id, record, expect=entry.revision))
        self._show(record)
        return record

    async def delete(self, id: ImageId) -> ImageRecord:
        """Remove a record and free its name."""
        record = self.require(id, ANY_STATE)
        await self._store.commit(Delete(IMAGES, record.id), Delete(NAMES, record.name))
        self._table.delete(record.id)
        return record

    def note_cached(self, node: NodeId, images: Collection[str]) -> None:
        """Take in which images a cell says it has."""
        now, before = frozenset(images), self._cached.get(node, frozenset())
        if now == before:
            return
        self._cached[node] = now
        for id in now ^ before:
            record = self.find(ImageId(id))
            if record is not None:
                self._show(record)

    def _check_room(self, message: CreateDiskImage) -> None:
        if self._store.get(NAMES, message.name) is not None:
            raise _name_taken(message.name)
        if message.size_bytes > self._config.max_image_bytes:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"an image may have {self._config.max_image_bytes} bytes at most ([images] max_image_bytes), "
                f"this one has {message.size_bytes}",
                field="size_bytes",
            )
        unfinished = [record for record in self.records() if record.state in UNFINISHED]
        if len(unfinished) >= self._config.max_unfinished_uploads:
            raise NanoError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{len(unfinished)} uploads are unfinished already; finish one or delete its image",
                reason="images.unfinished_uploads",
            )
        promised = sum(record.size_bytes - record.uploaded_bytes for record in unfinished)
        free = self._folders.free_bytes() - self._config.reserve_bytes - promised
        if message.size_bytes > free:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the image has {message.size_bytes} bytes, {max(free, 0)} are free on the core; delete images "
                "or add space",
                reason="images.full",
            )

    def _show(self, record: ImageRecord) -> None:
        self._table.put(view(record, (node for node, images in self._cached.items() if record.id in images)))

    def _publish(self, change: ResourceChanged) -> None:
        self._context.spawn(self._context.publish(change), name=f"publish {NOUN}")

    @property
    def _store(self) -> StateStore:
        return self._context.chosen(StateStore)


def _check_texts(message: CreateDiskImage) -> None:
    """Refuse what would break a terminal or a log; everything else is kept as it was sent."""
    for field, text in (("name", message.name), *(("tags", tag) for tag in message.tags)):
        if not text.strip() or not text.isprintable() or text != text.strip():
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"{field} must be printable, not blank, without spaces at its ends, got {text[:80]!r}",
                field=field,
            )
    if len(message.tags) != len(set(message.tags)) or any(len(tag) > MAX_TAG_LENGTH for tag in message.tags):
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, f"tags must differ and have {MAX_TAG_LENGTH} characters at most", field="tags"
        )


def _name_taken(name: str) -> NanoError:
    return NanoError(
        ErrorCode.ALREADY_EXISTS,
        f"there is a disk image named {name!r} already; choose another name or delete that one",
        field="name",
    )
