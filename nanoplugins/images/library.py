"""The records of images on a core: every change goes through here, to the store first, then to the tables."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from nanocore.contracts.handler import Reply
from nanocore.contracts.listing import ListQuery, PageInfo, ResourceChanged
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.state_store import Delete, Put, StateStore
from nanocore.contracts.table import Table
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, NodeId, new_id, parse_id
from nanocore.model.image import DiskImage, ImageKind, ImageRecord, ImageSource, ImageState, ImageUse, MediaImage
from nanocore.wire import Struct, field, structs
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.records import IMAGES, NAMES, NOUNS, WORDS, NameRecord, name_key, view

MAX_TAG_LENGTH = 100
NAMING_ATTEMPTS = 8
CHANGE_ATTEMPTS = 8
ANY_STATE = frozenset(ImageState)
UNFINISHED = frozenset({ImageState.UPLOADING, ImageState.CREATING, ImageState.INSPECTING})


class Texts(Struct, frozen=True, kw_only=True):
    """What people say of an image; ``None`` in a change leaves it as it is."""

    name: str | None = None
    description: str | None = None
    tags: list[str] | None = None


class Announcement(Struct, frozen=True, kw_only=True):
    """An image that is going to be there."""

    id: ImageId = field(default_factory=lambda: ImageId(new_id()))
    kind: ImageKind
    state: ImageState = ImageState.UPLOADING
    texts: Texts
    size_bytes: int = 0
    """Of the upload; 0 while nobody knows."""
    sha256: str | None = None
    source: ImageSource = field(default_factory=ImageSource)
    owner: str = ""


class ImageLibrary:
    """Owned by the images service of a core."""

    def __init__(self, context: PluginContext, config: ImagesConfig, folders: ImageFolders) -> None:
        self._context = context
        self._config = config
        self._folders = folders
        self._tables: dict[ImageKind, Table[DiskImage | MediaImage]] = {
            kind: Table(noun, context.clock, self._publish) for kind, noun in NOUNS.items()
        }
        self._cached: dict[NodeId, frozenset[str]] = {}
        self._uses: dict[str, list[ImageUse]] = {}
        # Two announcements at once must not both see the last free slot or byte.
        self._creating = asyncio.Lock()

    async def load(self) -> list[ImageRecord]:
        """Fill the tables from the store; return all records."""
        records = self.records()
        for record in records:
            key = name_key(record.kind, record.name, record.version)
            if self._store.get(NAMES, key) is None:
                # Recorded before names had versions.
                await self._store.commit(Put(NAMES, key, NameRecord(image_id=record.id)))
            self._show(record)
        return records

    async def page(self, kind: ImageKind, query: ListQuery) -> Reply[PageInfo]:
        """Answer a list."""
        return await self._tables[kind].answer(query)

    def get(self, kind: ImageKind, id: ImageId) -> DiskImage | MediaImage:
        """Return one image; ``not_found``, also for one of the other kind."""
        return self._tables[kind].get(parse_id(id))

    def records(self) -> list[ImageRecord]:
        """Return all records."""
        return [entry.value for entry in self._store.list(IMAGES)]

    def find(self, id: ImageId) -> ImageRecord | None:
        """Return one record or ``None``."""
        entry = self._store.get(IMAGES, id)
        return None if entry is None else entry.value

    def require(self, id: ImageId, states: Collection[ImageState], kind: ImageKind | None = None) -> ImageRecord:
        """Return one record in one of ``states``; ``not_found``, also for another ``kind``, or ``wrong_state``."""
        record = self.find(ImageId(parse_id(id)))
        if record is None or kind not in (None, record.kind):
            raise NanoError(ErrorCode.NOT_FOUND, f"there is no {WORDS[kind] if kind else 'image'} with id {id}")
        if record.state not in states:
            wanted = " or ".join(states)
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"{WORDS[record.kind]} {record.name} is {record.state}, it would have to be {wanted}",
            )
        return record

    async def create(self, wanted: Announcement) -> ImageRecord:
        """Note an image whose bytes are going to come, as the newest version of its name."""
        check_texts(wanted.texts)
        record = ImageRecord(
            id=wanted.id,
            kind=wanted.kind,
            name=wanted.texts.name or "",
            description=wanted.texts.description or "",
            state=wanted.state,
            size_bytes=wanted.size_bytes,
            expected_sha256=wanted.sha256,
            source=wanted.source,
            tags=wanted.texts.tags or [],
            owner=wanted.owner,
            created_at=self._context.clock.now(),
        )
        async with self._creating:
            self.check_room(record.size_bytes)
            record = await self._commit_named(record, expect=0)
        self._show(record)
        return record

    async def change(self, id: ImageId, states: Collection[ImageState], **fields: Any) -> ImageRecord:  # noqa: ANN401
        """Replace fields of a record that is in one of ``states``; durable on return."""
        for attempt in range(CHANGE_ATTEMPTS):
            self.require(id, states)
            entry = self._store.get(IMAGES, id)
            if entry is None:
                break
            record = structs.replace(entry.value, **fields)
            try:
                await self._store.commit(Put(IMAGES, id, record, expect=entry.revision))
            except NanoError as error:
                # Somebody else was quicker, with other fields: a new description must not fail an upload.
                if error.code is not ErrorCode.CONFLICT or attempt == CHANGE_ATTEMPTS - 1:
                    raise
            else:
                self._show(record)
                return record
        raise NanoError(ErrorCode.NOT_FOUND, f"there is no image with id {id}")

    async def describe(self, kind: ImageKind, id: ImageId, texts: Texts) -> DiskImage | MediaImage:
        """Change what is said of an image."""
        check_texts(texts)
        before = self.require(id, ANY_STATE, kind)
        wanted = {name: value for name, value in structs.asdict(texts).items() if value is not None}
        if texts.name in (None, before.name):
            await self.change(id, ANY_STATE, **wanted)
        else:
            async with self._creating:
                entry = self._store.get(IMAGES, before.id)
                if entry is None:
                    raise NanoError(ErrorCode.NOT_FOUND, f"there is no {WORDS[kind]} with id {id}")
                renamed = structs.replace(entry.value, **wanted)
                old = name_key(kind, entry.value.name, entry.value.version)
                self._show(await self._commit_named(renamed, Delete(NAMES, old), expect=entry.revision))
        return self.get(kind, id)

    async def delete(self, id: ImageId) -> ImageRecord:
        """Remove a record and free its name."""
        record = self.require(id, ANY_STATE)
        key = name_key(record.kind, record.name, record.version)
        await self._store.commit(Delete(IMAGES, record.id), Delete(NAMES, key))
        self._tables[record.kind].delete(record.id)
        return record

    async def _commit_named(self, record: ImageRecord, *more: Delete, expect: int) -> ImageRecord:
        """Store ``record`` under the next version of its name; another core may take that in between."""
        for _ in range(NAMING_ATTEMPTS):
            versions = [r.version for r in self.records() if (r.kind, r.name) == (record.kind, record.name)]
            record = structs.replace(record, version=max(versions, default=0) + 1)
            key = name_key(record.kind, record.name, record.version)
            try:
                await self._store.commit(
                    Put(IMAGES, record.id, record, expect=expect),
                    Put(NAMES, key, NameRecord(image_id=record.id), expect=0),
                    *more,
                )
            except NanoError as error:
                entry = self._store.get(IMAGES, record.id)
                if error.code is not ErrorCode.CONFLICT or (0 if entry is None else entry.revision) != expect:
                    raise
            else:
                return record
        raise NanoError(ErrorCode.BUSY, f"many are making versions of {record.name!r}; try again")

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

    def note_evicted(self, node: NodeId, id: ImageId) -> None:
        """Take in that a cell has let go of an image, before its next report says so."""
        self.note_cached(node, self._cached.get(node, frozenset()) - {id})

    def note_uses(self, uses: dict[str, list[ImageUse]]) -> None:
        """Take in which objects need which image."""
        before, self._uses = self._uses, uses
        for id in before.keys() | uses.keys():
            record = self.find(ImageId(id)) if before.get(id) != uses.get(id) else None
            if record is not None:
                self._show(record)

    def uses(self, id: ImageId) -> list[ImageUse]:
        """Return what needs an image, as known last."""
        return self._uses.get(id, [])

    def cells_with(self, id: ImageId) -> list[NodeId]:
        """Return the cells that have it in their cache."""
        return sorted(node for node, images in self._cached.items() if id in images)

    def check_room(self, size_bytes: int) -> None:
        """Return if an image of that size may come."""
        if size_bytes > self._config.max_image_bytes:
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"an image may have {self._config.max_image_bytes} bytes at most ([images] max_image_bytes), "
                f"this one has {size_bytes}",
                field="size_bytes",
            )
        unfinished = [record for record in self.records() if record.state in UNFINISHED]
        if len(unfinished) >= self._config.max_unfinished_uploads:
            raise NanoError(
                ErrorCode.QUOTA_EXCEEDED,
                f"{len(unfinished)} uploads are unfinished already; finish one or delete its image",
                reason="images.unfinished_uploads",
            )
        free = self.free_bytes()
        if size_bytes > free:
            raise NanoError(
                ErrorCode.NO_CAPACITY,
                f"the image has {size_bytes} bytes, {max(free, 0)} are free on the core; delete images or add space",
                reason="images.full",
            )

    def free_bytes(self) -> int:
        """Return the space that nobody was promised."""
        unfinished = [record for record in self.records() if record.state in UNFINISHED]
        promised = sum(max(record.size_bytes - record.uploaded_bytes, 0) for record in unfinished)
        return self._folders.free_bytes() - self._config.reserve_bytes - promised

    def _show(self, record: ImageRecord) -> None:
        self._tables[record.kind].put(view(record, self.cells_with(record.id), self.uses(record.id)))

    def _publish(self, change: ResourceChanged) -> None:
        self._context.spawn(self._context.publish(change), name=f"publish {change.noun}")

    @property
    def _store(self) -> StateStore:
        return self._context.chosen(StateStore)


def check_texts(texts: Texts) -> None:
    """Refuse what would break a terminal or a log; everything else is kept as it was sent."""
    tags = texts.tags or []
    named = [] if texts.name is None else [("name", texts.name)]
    for place, text in (*named, *(("tags", tag) for tag in tags)):
        if not text.strip() or not text.isprintable() or text != text.strip():
            raise NanoError(
                ErrorCode.INVALID_ARGUMENT,
                f"{place} must be printable, not blank, without spaces at its ends, got {text[:80]!r}",
                field=place,
            )
    if len(tags) != len(set(tags)) or any(len(tag) > MAX_TAG_LENGTH for tag in tags):
        raise NanoError(
            ErrorCode.INVALID_ARGUMENT, f"tags must differ and have {MAX_TAG_LENGTH} characters at most", field="tags"
        )
