"""Images, as workflows keep them in their input: an image may be renamed, or deleted, meanwhile."""

from __future__ import annotations

from nanocore.capabilities.images import GetDiskImage, GetMediaImage
from nanocore.contracts.plugin import PluginContext
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import ImageId, parse_id
from nanocore.model.image import DiskImage, ImageState, MediaImage
from nanocore.wire import Struct


class SourceImage(Struct, frozen=True, kw_only=True):
    """Everything that a cell has to be told to have it."""

    id: ImageId
    name: str
    format: str
    size_bytes: int
    virtual_size_bytes: int = 0
    sha256: str = ""


async def get_disk_source(context: PluginContext, id: ImageId, field: str) -> SourceImage:
    """Return a disk image that can be cloned; raise ``invalid_argument`` or ``wrong_state`` naming ``field``."""
    parse_id(id, field=field)
    try:
        image = await context.call(GetDiskImage(id=id))
    except NanoError as error:
        raise _unknown(error, "disk image", id, field) from error
    return _usable(image, "disk image", field)


async def get_media_source(context: PluginContext, id: ImageId, field: str) -> SourceImage:
    """Return a media image that can be inserted; raise as ``get_disk_source``."""
    parse_id(id, field=field)
    try:
        image = await context.call(GetMediaImage(id=id))
    except NanoError as error:
        raise _unknown(error, "media image", id, field) from error
    return _usable(image, "media image", field)


def _unknown(error: NanoError, what: str, id: ImageId, field: str) -> NanoError:
    if error.code is not ErrorCode.NOT_FOUND:
        return error
    return NanoError(ErrorCode.INVALID_ARGUMENT, f"there is no {what} with id {id[:80]}", field=field)


def _usable(image: DiskImage | MediaImage, what: str, field: str) -> SourceImage:
    if image.state is not ImageState.READY:
        text = f"{what} {image.name} is {image.state.value}; wait until it is ready"
        raise NanoError(ErrorCode.WRONG_STATE, text, field=field)
    return SourceImage(
        id=image.id,
        name=image.name,
        format=image.format,
        size_bytes=image.size_bytes,
        virtual_size_bytes=image.virtual_size_bytes if isinstance(image, DiskImage) else 0,
        sha256=image.sha256 or "",
    )
