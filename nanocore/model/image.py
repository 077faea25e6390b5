"""Images: bootable sources that boot disks are cloned from, and ISO files to insert. One record shape for both."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from nanocore.ids import ImageId, InstanceId, NodeId
from nanocore.wire import Result, Struct, field


class ImageKind(StrEnum):
    """What an image is for: ``disk`` images are cloned, ``media`` images are inserted into CD drives."""

    DISK = "disk"
    MEDIA = "media"


class ImageState(StrEnum):
    """An image can be used once it is ``ready``."""

    UPLOADING = "uploading"
    CREATING = "creating"
    """An operation brings its bytes: from an instance or from a URL."""
    INSPECTING = "inspecting"
    READY = "ready"
    FAILED = "failed"


class ImageSourceKind(StrEnum):
    """How an image came to be."""

    UPLOAD = "upload"
    INSTANCE = "instance"
    URL = "url"


class ImageSource(Result, frozen=True, kw_only=True):
    """Where an image came from; what does not apply is ``None``."""

    kind: ImageSourceKind = ImageSourceKind.UPLOAD
    instance_id: InstanceId | None = None
    instance: str | None = None
    """Name that the instance had."""
    is_consistent: bool | None = None
    """Whether the instance's file systems were at rest: it was stopped, or its agent froze them."""
    url: str | None = None
    format: str | None = None
    """Format of the file as it came, where it was converted."""
    sha256: str | None = None
    """Digest of the file as it came, where it was converted."""


class ImageUse(Result, frozen=True, kw_only=True):
    """An object that needs an image: an ``instance`` or a ``volume`` cloned from it, or an instance it is in."""

    kind: str
    id: str
    name: str


class ImageRecord(Struct, frozen=True, kw_only=True):
    """What the store holds; the bytes are in the images plugin's folder."""

    id: ImageId
    kind: ImageKind = ImageKind.DISK
    name: str
    version: int = 1
    """Counts up among the images of one kind and name."""
    description: str = ""
    state: ImageState
    reason: str | None = None
    format: str = "qcow2"
    """As found by inspection: qcow2, raw or iso."""
    size_bytes: int = 0
    """Of the file."""
    uploaded_bytes: int = 0
    virtual_size_bytes: int = 0
    sha256: str | None = None
    expected_sha256: str | None = None
    source: ImageSource = field(default_factory=ImageSource)
    tags: list[str] = field(default_factory=list)
    owner: str = ""
    created_at: datetime
    last_byte_at: datetime | None = None
    """When bytes arrived last; an upload without any for long is deleted."""


class DiskImage(Result, frozen=True, kw_only=True):
    """A disk image as the API shows it."""

    id: ImageId
    name: str
    version: int = 1
    description: str = ""
    state: ImageState
    reason: str | None = None
    format: str
    size_bytes: int
    uploaded_bytes: int
    virtual_size_bytes: int
    sha256: str | None = None
    source: ImageSource = field(default_factory=ImageSource)
    tags: list[str] = field(default_factory=list)
    owner: str = ""
    cached_on: list[NodeId] = field(default_factory=list)
    used_by: list[ImageUse] = field(default_factory=list)
    created_at: datetime


class MediaImage(Result, frozen=True, kw_only=True):
    """A media image as the API shows it."""

    id: ImageId
    name: str
    version: int = 1
    description: str = ""
    state: ImageState
    reason: str | None = None
    format: str
    size_bytes: int
    uploaded_bytes: int
    sha256: str | None = None
    source: ImageSource = field(default_factory=ImageSource)
    tags: list[str] = field(default_factory=list)
    owner: str = ""
    cached_on: list[NodeId] = field(default_factory=list)
    used_by: list[ImageUse] = field(default_factory=list)
    created_at: datetime
