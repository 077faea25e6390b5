"""Checks behind ``/readyz`` and ``nano doctor``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """``check`` returns ``None`` when well, else the reason with its remedy; limited to 2 s."""

    name: str
    check: Callable[[], Awaitable[str | None]]
