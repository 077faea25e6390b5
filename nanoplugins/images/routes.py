"""The public API of disk images. Uploads themselves are tus, which ``restapi`` speaks."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities.images import CreateDiskImage, DeleteDiskImage, GetDiskImage, ListDiskImages
from nanocore.capabilities.rest import Route
from nanocore.model.image import DiskImage

EXAMPLE = {"name": "debian-12", "size_bytes": 198_180_864, "description": "Debian 12, cloud-init", "tags": ["debian"]}


def routes() -> Sequence[Route]:
    """Return the routes; asked on every node that serves the API."""
    return [
        Route("GET", "/disk-images", ListDiskImages, "List disk images", is_list=True, item=DiskImage),
        Route("GET", "/disk-images/{id}", GetDiskImage, "Show a disk image"),
        Route(
            "POST",
            "/disk-images",
            CreateDiskImage,
            "Announce a disk image; its bytes follow at upload_path",
            example=EXAMPLE,
            status=201,
            location="/disk-images/{id}",
        ),
        Route("DELETE", "/disk-images/{id}", DeleteDiskImage, "Delete a disk image", status=204),
    ]
