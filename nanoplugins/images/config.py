"""Settings of ``[images]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class ImagesConfig:
    """Limits for uploads and inspections."""

    max_image_bytes: int = setting(64 * 1024**3, "Largest file that may be uploaded", minimum=1)
    max_virtual_bytes: int = setting(2 * 1024**4, "Largest disk that an image may unfold to", minimum=1)
    max_unfinished_uploads: int = setting(32, "Uploads that may be under way at once", minimum=1)
    upload_idle_seconds: float = setting(60.0, "Silence after which a sender counts as gone; it may resume", minimum=1)
    upload_expires_seconds: float = setting(
        24 * 3600.0, "Time without a byte after which an unfinished upload is deleted", minimum=60
    )
    conversion_timeout_seconds: float = setting(
        3600.0, "Longest time that converting another format to qcow2 may take", minimum=1
    )
    import_timeout_seconds: float = setting(4 * 3600.0, "Longest time that an import from a URL may take", minimum=1)
    import_allowed_networks: list[str] = setting(
        [],
        "Networks (`10.1.0.0/16`) that images may be imported from although they are private or the platform's own",
    )
    cache_max_bytes: int = setting(
        0,
        "Space that a cell's cache may take; beyond it the images that were used least recently and that nothing "
        "needs are removed. 0: no limit but the disk's",
        minimum=0,
    )
    reserve_bytes: int = setting(256 * 1024**2, "Space that uploads and caches leave free", minimum=0)
    inspection_timeout_seconds: float = setting(120.0, "Longest time that an inspection may take", minimum=1)
