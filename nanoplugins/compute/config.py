"""Settings of ``[compute]``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How instances are made."""

    placer: str = setting("weighted", "Which placer chooses the cell of a new instance")
    shut_down_repeat_seconds: float = setting(
        5.0,
        "How often a guest that was asked to shut down is asked again (one that still boots misses the first)",
        minimum=0.1,
    )
    tombstone_days: float = setting(
        30.0, "How long deleted instances are remembered, to clear what a lost cell kept", minimum=1
    )
    max_snapshots: int = setting(32, "How many snapshots an instance may have", minimum=1)
    storage_check_seconds: float = setting(
        15.0,
        "How often schedules of snapshots, draining paths and the use of volumes are looked at",
        minimum=0.1,
    )
