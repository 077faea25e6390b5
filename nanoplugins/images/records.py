"""What the core's store holds of images, and how a record is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanocore.contracts.state_store import Collection
from nanocore.ids import ImageId, NodeId
from nanocore.model.image import DiskImage, ImageKind, ImageRecord, ImageUse, MediaImage
from nanocore.wire import Struct


class NameRecord(Struct, frozen=True, kw_only=True):
    """Whose a version of a name is; its key is ``name_key``, so that the store itself keeps the pair unique."""

    image_id: ImageId


IMAGES: Collection[ImageRecord] = Collection("disk_images", ImageRecord)
NAMES: Collection[NameRecord] = Collection("image_names", NameRecord)

NOUNS = {ImageKind.DISK: "disk-images", ImageKind.MEDIA: "media-images"}
WORDS = {ImageKind.DISK: "disk image", ImageKind.MEDIA: "media image"}


def name_key(kind: ImageKind, name: str, version: int) -> str:
    """Return the key of ``NAMES``."""
    return f"{kind}/{version}/{name}"


def view(record: ImageRecord, cached_on: Sequence[NodeId], used_by: Sequence[ImageUse]) -> DiskImage | MediaImage:
    """Return ``record`` as the API shows it."""
    fields: dict[str, Any] = {
        "id": record.id,
        "name": record.name,
        "version": record.version,
        "description": record.description,
        "state": record.state,
        "reason": record.reason,
        "format": record.format,
        "size_bytes": record.size_bytes,
        "uploaded_bytes": record.uploaded_bytes,
        "sha256": record.sha256,
        "source": record.source,
        "tags": record.tags,
        "owner": record.owner,
        "cached_on": sorted(cached_on),
        "used_by": [*used_by],
        "created_at": record.created_at,
    }
    if record.kind is ImageKind.MEDIA:
        return MediaImage(**fields)
    return DiskImage(**fields, virtual_size_bytes=record.virtual_size_bytes)
