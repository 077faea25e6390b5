"""Timed jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScheduledJob:
    """``run`` is called every ``interval_seconds`` on a core; never twice at once; failures are logged and counted."""

    name: str
    interval_seconds: float
    run: Callable[[], Awaitable[None]]
