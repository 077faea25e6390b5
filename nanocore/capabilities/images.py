"""Disk images: the API's requests, and how a cell gets one into its cache."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.contracts.listing import ListQuery, PageInfo
from nanocore.ids import ImageId, StepKey
from nanocore.model.image import DiskImage
from nanocore.wire import Command, Meta, Query, Result, field


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


class CreateDiskImage(Command[CreatedDiskImage], frozen=True, kw_only=True):
    """Announce an upload; the bytes follow by tus at ``upload_path``."""

    op: ClassVar[str] = "images.create_disk_image"
    permission: ClassVar[str | None] = "image.create"

    name: Annotated[str, Meta(description="Name, unique among disk images", min_length=1, max_length=200)]
    size_bytes: Annotated[int, Meta(description="Length of the upload in bytes", gt=0)]
    description: Annotated[str, Meta(description="Free text", max_length=2000)] = ""
    sha256: Annotated[
        Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None, Meta(description="Digest to check the upload against")
    ] = None
    tags: Annotated[list[str], Meta(description="Labels", max_length=50)] = field(default_factory=list)


class DeleteDiskImage(Command[None], frozen=True, kw_only=True):
    """Delete an image; instances cloned from it keep working, as their cells keep the file they need."""

    op: ClassVar[str] = "images.delete_disk_image"
    permission: ClassVar[str | None] = "image.delete"

    id: ImageId


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


class ReadImage(Command[None], frozen=True, kw_only=True):
    """Cell to core, as a stream: the image's bytes from ``offset_bytes`` on."""

    op: ClassVar[str] = "images.read_image"

    id: ImageId
    offset_bytes: int = 0
