"""What the core's store holds of disk images, and how a record is shown."""

from __future__ import annotations

from collections.abc import Iterable

from nanocore.contracts.state_store import Collection
from nanocore.ids import ImageId, NodeId
from nanocore.model.image import DiskImage, ImageRecord
from nanocore.wire import Struct


class NameRecord(Struct, frozen=True, kw_only=True):
    """Whose a name is; its key is the name, so that the store itself keeps names unique."""

    image_id: ImageId


IMAGES: Collection[ImageRecord] = Collection("disk_images", ImageRecord)
NAMES: Collection[NameRecord] = Collection("disk_image_names", NameRecord)


def view(record: ImageRecord, cached_on: Iterable[NodeId]) -> DiskImage:
    """Return ``record`` as the API shows it."""
    return DiskImage(
        id=record.id,
        name=record.name,
        description=record.description,
        state=record.state,
        reason=record.reason,
        format=record.format,
        size_bytes=record.size_bytes,
        uploaded_bytes=record.uploaded_bytes,
        virtual_size_bytes=record.virtual_size_bytes,
        sha256=record.sha256,
        tags=record.tags,
        owner=record.owner,
        cached_on=sorted(cached_on),
        created_at=record.created_at,
    )
