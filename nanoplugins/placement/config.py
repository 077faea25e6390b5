"""Settings of ``[placement]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """How full a cell may get and what counts when several fit."""

    vcpus_per_core: float = setting(8.0, "Virtual processors that may be promised for each core of a cell", minimum=0.1)
    memory_ratio: float = setting(1.0, "Memory that may be promised, as a part of a cell's memory", minimum=0.1)
    free_disk_bytes: int = setting(2 * 1024**3, "Disk space in bytes that stays free on a cell", minimum=0)
