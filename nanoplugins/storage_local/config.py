"""Settings of ``[storage_local]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class StorageLocalConfig:
    """Where volumes are kept."""

    paths: list[str] = setting(
        [],
        "Folders of the storage pool, absolute and existing; a new volume goes to the one with the most free space. "
        "Empty: one folder in Nano's own state",
    )
    reserve_bytes: int = setting(
        256 * 1024**2, "Space to leave free in each folder; below it new volumes are refused", minimum=0
    )
