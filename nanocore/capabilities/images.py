"""Disk and media images: the API's requests, and how a cell gets one into its cache."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.contracts.operation import Operation
from nanocore.ids import LABEL_PATTERN, ImageId, InstanceId, NodeId, StepKey
from nanocore.model.image import DiskImage, MediaImage
from nanocore.wire import Command, Meta, Query, Result, field

ImageName = Annotated[
    str,
    Meta(
        description="Name; images of one kind with the same name are versions of each other",
        min_length=1,
        max_length=200,
        pattern=LABEL_PATTERN,
    ),
]
Description = Annotated[str, Meta(description="Free text", max_length=2000)]
Tags = Annotated[
    list[Annotated[str, Meta(max_length=100, pattern=LABEL_PATTERN)]], Meta(description="Labels", max_length=50)
]
UploadBytes = Annotated[int, Meta(description="Length of the upload in bytes; it follows at `upload_path`", gt=0)]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
SHA256_TEXT = "Digest (SHA-256, hexadecimal) that the file must have as it comes"
ImportUrl = Annotated[str, Meta(max_length=2000)]
URL_TEXT = "Address (http or https) to fetch the file from, instead of an upload"
IdempotencyKey = Annotated[str | None, Meta(description="Set from the Idempotency-Key header")]


class ListDiskImages(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of disk images."""

    op: ClassVar[str] = "images.list_disk_images"
    permission: ClassVar[str | None] = "image.read"


class GetDiskImage(Query[DiskImage], frozen=True, kw_only=True):
    """One disk image."""

    op: ClassVar[str] = "images.get_disk_image"
    permission: ClassVar[str | None] = "image.read"

    id: ImageId


class CreatedDiskImage(DiskImage, frozen=True, kw_only=True):
    """A new disk image that waits for its bytes."""

    upload_path: str


class NewDiskImage(Result, frozen=True, kw_only=True):
    """The image that waits for its bytes, or the operation that brings them."""

    image: CreatedDiskImage | None = None
    operation: Operation | None = None


class CreateDiskImage(Command[NewDiskImage], frozen=True, kw_only=True):
    """Make a disk image: of an upload, of an instance's boot disk, or of a file that the core fetches.

    Exactly one of ``size_bytes``, ``from_instance_id`` and ``import_url`` says which. The bytes of an upload follow
    by tus at ``upload_path``; the others are operations, and leave nothing when they fail.
    """

    op: ClassVar[str] = "images.create_disk_image"
    permission: ClassVar[str | None] = "image.create"

    name: ImageName
    size_bytes: UploadBytes | None = None
    from_instance_id: Annotated[
        InstanceId | None, Meta(description="Instance whose boot disk is copied, instead of an upload")
    ] = None
    import_url: Annotated[ImportUrl | None, Meta(description=URL_TEXT)] = None
    description: Description = ""
    sha256: Annotated[Sha256 | None, Meta(description=SHA256_TEXT)] = None
    tags: Tags = field(default_factory=list)
    idempotency_key: IdempotencyKey = None


class UpdateDiskImage(Command[DiskImage], frozen=True, kw_only=True):
    """Change what is said of an image; under a new name it becomes the newest version of that."""

    op: ClassVar[str] = "images.update_disk_image"
    permission: ClassVar[str | None] = "image.update"

    id: ImageId
    name: ImageName | None = None
    description: Description | None = None
    tags: Tags | None = None


class DeleteDiskImage(Command[None], frozen=True, kw_only=True):
    """Delete an image; ``wrong_state`` names what was cloned from it and still needs it."""

    op: ClassVar[str] = "images.delete_disk_image"
    permission: ClassVar[str | None] = "image.delete"

    id: ImageId


class ListMediaImages(ListQuery, Query[PageInfo], frozen=True, kw_only=True):
    """A page of media images."""

    op: ClassVar[str] = "images.list_media_images"
    permission: ClassVar[str | None] = "image.read"


class GetMediaImage(Query[MediaImage], frozen=True, kw_only=True):
    """One media image."""

    op: ClassVar[str] = "images.get_media_image"
    permission: ClassVar[str | None] = "image.read"

    id: ImageId


class CreatedMediaImage(MediaImage, frozen=True, kw_only=True):
    """A new media image that waits for its bytes."""

    upload_path: str


class NewMediaImage(Result, frozen=True, kw_only=True):
    """The image that waits for its bytes, or the operation that brings them."""

    image: CreatedMediaImage | None = None
    operation: Operation | None = None


class CreateMediaImage(Command[NewMediaImage], frozen=True, kw_only=True):
    """Make a media image (ISO 9660): of an upload, or of a file that the core fetches.

    Exactly one of ``size_bytes`` and ``import_url`` says which. The bytes of an upload follow by tus at
    ``upload_path``; fetching is an operation, and leaves nothing when it fails.
    """

    op: ClassVar[str] = "images.create_media_image"
    permission: ClassVar[str | None] = "image.create"

    name: ImageName
    size_bytes: UploadBytes | None = None
    import_url: Annotated[ImportUrl | None, Meta(description=URL_TEXT)] = None
    description: Description = ""
    sha256: Annotated[Sha256 | None, Meta(description=SHA256_TEXT)] = None
    tags: Tags = field(default_factory=list)
    idempotency_key: IdempotencyKey = None


class UpdateMediaImage(Command[MediaImage], frozen=True, kw_only=True):
    """Change what is said of an image; under a new name it becomes the newest version of that."""

    op: ClassVar[str] = "images.update_media_image"
    permission: ClassVar[str | None] = "image.update"

    id: ImageId
    name: ImageName | None = None
    description: Description | None = None
    tags: Tags | None = None


class DeleteMediaImage(Command[None], frozen=True, kw_only=True):
    """Delete an image; ``wrong_state`` names the instances in whose drives it is."""

    op: ClassVar[str] = "images.delete_media_image"
    permission: ClassVar[str | None] = "image.delete"

    id: ImageId


class KeptImage(Result, frozen=True, kw_only=True):
    """A cell that keeps an image in its cache although it was asked to let go of it."""

    node_id: NodeId
    reason: str


class Evicted(Result, frozen=True, kw_only=True):
    """What became of the cached files."""

    evicted_from: list[NodeId] = field(default_factory=list)
    kept_on: list[KeptImage] = field(default_factory=list)


class EvictDiskImage(Command[Evicted], frozen=True, kw_only=True):
    """Have cells throw away their cached file of an image, where no disk is a clone of it; it can be fetched again."""

    op: ClassVar[str] = "images.evict_disk_image"
    permission: ClassVar[str | None] = "image.update"
    timeout_seconds: ClassVar[float] = 30

    id: ImageId
    node_id: Annotated[NodeId | None, Meta(description="Cell; default: every cell that has it")] = None


class EvictMediaImage(Command[Evicted], frozen=True, kw_only=True):
    """Have cells throw away their cached file of an image, where it is in no drive; it can be fetched again."""

    op: ClassVar[str] = "images.evict_media_image"
    permission: ClassVar[str | None] = "image.update"
    timeout_seconds: ClassVar[float] = 30

    id: ImageId
    node_id: Annotated[NodeId | None, Meta(description="Cell; default: every cell that has it")] = None


class UploadState(Result, frozen=True, kw_only=True):
    """How much of an upload has arrived and is safe on disk."""

    offset_bytes: int
    size_bytes: int


class GetUpload(Query[UploadState], frozen=True, kw_only=True):
    """Where to go on (tus HEAD)."""

    op: ClassVar[str] = "images.get_upload"
    permission: ClassVar[str | None] = "image.create"

    id: ImageId


class AppendUpload(Command[UploadState], frozen=True, kw_only=True):
    """Stream of bytes that continue an upload (tus PATCH).

    ``conflict`` if ``offset_bytes`` is not where the upload stands. The receiver ends its
    direction after sending the JSON of ``UploadState``.
    """

    op: ClassVar[str] = "images.append_upload"
    permission: ClassVar[str | None] = "image.create"
    timeout_seconds: ClassVar[float] = 24 * 3600

    id: ImageId
    offset_bytes: int


class EnsureCached(Command[None], frozen=True, kw_only=True):
    """Core to cell: have the image in the cache, fetching it if it is not there; many at once fetch it once."""

    op: ClassVar[str] = "images.ensure_cached"
    timeout_seconds: ClassVar[float] = 3600
    is_idempotent: ClassVar[bool] = True

    step_key: StepKey
    id: ImageId
    format: str
    size_bytes: int
    sha256: str


class EvictCached(Command[None], frozen=True, kw_only=True):
    """Core to cell: remove an image from the cache; absent is fine, ``wrong_state`` while a volume needs it."""

    op: ClassVar[str] = "images.evict_cached"
    is_idempotent: ClassVar[bool] = True

    id: ImageId


class ListNeededImages(Query[list[ImageId]], frozen=True, kw_only=True):
    """Cell to core: the images that the instances on the asking cell need."""

    op: ClassVar[str] = "images.list_needed_images"


class ReadImage(Command[None], frozen=True, kw_only=True):
    """Cell to core, as a stream: the image's bytes from ``offset_bytes`` on."""

    op: ClassVar[str] = "images.read_image"

    id: ImageId
    offset_bytes: int = 0


class ReadContent(Query[None], frozen=True, kw_only=True):
    """As a stream: the bytes of a ready image, for a download; ``length_bytes`` of them, or all up to the end."""

    op: ClassVar[str] = "images.read_content"
    permission: ClassVar[str | None] = "image.read"
    timeout_seconds: ClassVar[float] = 24 * 3600

    id: ImageId
    offset_bytes: int = 0
    length_bytes: int | None = None
