"""How long ended operations are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from nanocore.clock import Clock
from nanocore.contracts.operation import Operations

INTERVAL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class OperationRetention:
    """The scheduler's own job. ``operations`` is asked at each run, as it works only once services run."""

    operations: Callable[[], Operations]
    keep_days: float
    clock: Clock
    log: structlog.stdlib.BoundLogger

    async def run(self) -> None:
        """Delete what ended longer ago than ``keep_days``."""
        deleted = await self.operations().delete_ended(self.clock.now() - timedelta(days=self.keep_days))
        if deleted:
            self.log.info("old operations deleted", count=deleted, keep_days=self.keep_days)
