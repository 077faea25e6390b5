"""Settings of ``scheduler``."""

from __future__ import annotations

from dataclasses import dataclass

from nanocore.config import setting


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Table ``[scheduler]``."""

    operation_retention_days: float = setting(30.0, "Days for which an operation is kept after it ended", minimum=1.0)
