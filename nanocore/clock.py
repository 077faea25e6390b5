"""Time as an argument: wall-clock for records, monotonic for deadlines."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Tests pass ``nanocore.testing.FakeClock``."""

    def now(self) -> datetime:
        """Return the wall-clock time, UTC-aware; for records and people, never for deadlines."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never jumps."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the current UTC time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return ``time.monotonic()``."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock; crosses nodes as remaining time only."""

    at: float

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return cls(clock.monotonic() + seconds)

    def remaining(self, clock: Clock) -> float:
        """Return the seconds left; negative once it has passed."""
        return self.at - clock.monotonic()
