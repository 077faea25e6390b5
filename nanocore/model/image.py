"""Disk images: bootable sources that boot disks are cloned from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from nanocore.ids import ImageId, NodeId
from nanocore.wire import Result, Struct, field


class ImageState(StrEnum):
    """An image can be used once it is ``ready``."""

    UPLOADING = "uploading"
    INSPECTING = "inspecting"
    READY = "ready"
    FAILED = "failed"


class ImageRecord(Struct, frozen=True, kw_only=True):
    """What the store holds; the bytes are in the images plugin's folder."""

    id: ImageId
    name: str
    description: str = ""
    state: ImageState
    reason: str | None = None
    format: str = "qcow2"
    """As found by inspection: qcow2 or raw."""
    size_bytes: int = 0
    """Of the file."""
    uploaded_bytes: int = 0
    virtual_size_bytes: int = 0
    sha256: str | None = None
    expected_sha256: str | None = None
    tags: list[str] = field(default_factory=list)
    owner: str = ""
    created_at: datetime
    last_byte_at: datetime | None = None
    """When bytes arrived last; an upload without any for long is deleted."""


class DiskImage(Result, frozen=True, kw_only=True):
    """As the API shows it."""

    id: ImageId
    name: str
    description: str = ""
    state: ImageState
    reason: str | None = None
    format: str
    size_bytes: int
    uploaded_bytes: int
    virtual_size_bytes: int
    sha256: str | None = None
    tags: list[str] = field(default_factory=list)
    owner: str = ""
    cached_on: list[NodeId] = field(default_factory=list)
    created_at: datetime
