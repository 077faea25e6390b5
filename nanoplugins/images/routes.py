"""The public API of images. Uploads are tus and downloads bare bytes, both of which ``restapi`` speaks."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities.images import (
    CreateDiskImage,
    CreateMediaImage,
    DeleteDiskImage,
    DeleteMediaImage,
    EvictDiskImage,
    EvictMediaImage,
    GetDiskImage,
    GetMediaImage,
    ListDiskImages,
    ListMediaImages,
    UpdateDiskImage,
    UpdateMediaImage,
)
from nanocore.capabilities.rest import Route
from nanocore.model.image import DiskImage, MediaImage

DISK = {"name": "debian-12", "size_bytes": 198_180_864, "description": "Debian 12, cloud-init", "tags": ["debian"]}
MEDIA = {"name": "memtest", "size_bytes": 6_193_152, "description": "Memory test", "tags": ["tools"]}


def routes() -> Sequence[Route]:
    """Return the routes; asked on every node that serves the API."""
    return [
        Route("GET", "/disk-images", ListDiskImages, "List disk images", is_list=True, item=DiskImage),
        Route("GET", "/disk-images/{id}", GetDiskImage, "Show a disk image"),
        Route(
            "POST",
            "/disk-images",
            CreateDiskImage,
            "Make a disk image; an upload's bytes follow at upload_path",
            example=DISK,
            status=201,
            is_either=True,
            location="/disk-images/{id}",
        ),
        Route("PATCH", "/disk-images/{id}", UpdateDiskImage, "Edit a disk image", example={"tags": ["debian", "lts"]}),
        Route("DELETE", "/disk-images/{id}", DeleteDiskImage, "Delete a disk image", status=204),
        Route("POST", "/disk-images/{id}/actions/evict", EvictDiskImage, "Remove a disk image from caches", example={}),
        Route("GET", "/media-images", ListMediaImages, "List media images", is_list=True, item=MediaImage),
        Route("GET", "/media-images/{id}", GetMediaImage, "Show a media image"),
        Route(
            "POST",
            "/media-images",
            CreateMediaImage,
            "Make a media image; an upload's bytes follow at upload_path",
            example=MEDIA,
            status=201,
            is_either=True,
            location="/media-images/{id}",
        ),
        Route("PATCH", "/media-images/{id}", UpdateMediaImage, "Edit a media image", example={"tags": ["rescue"]}),
        Route("DELETE", "/media-images/{id}", DeleteMediaImage, "Delete a media image", status=204),
        Route(
            "POST", "/media-images/{id}/actions/evict", EvictMediaImage, "Remove a media image from caches", example={}
        ),
    ]
