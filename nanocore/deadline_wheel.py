"""Deadlines of very many things on one coarse timer."""

from __future__ import annotations

import math
from typing import Generic, TypeVar

T = TypeVar("T")


class DeadlineWheel(Generic[T]):
    """Holds at most one deadline a thing; adding and discarding cost a dictionary access. Pure: told the time."""

    def __init__(self, grain_seconds: float) -> None:
        self.grain_seconds = grain_seconds
        self._slots: dict[int, dict[T, None]] = {}
        self._slot_of: dict[T, int] = {}
        self._next: int | None = None

    def __len__(self) -> int:
        """Return the number of things that wait."""
        return len(self._slot_of)

    def add(self, thing: T, at: float) -> None:
        """Let ``thing`` expire at ``at``, or up to one grain later, instead of when it was to expire before."""
        self.discard(thing)
        slot = math.ceil(at / self.grain_seconds)
        self._slot_of[thing] = slot
        self._slots.setdefault(slot, {})[thing] = None
        if self._next is None or slot < self._next:
            self._next = slot

    def has(self, thing: T) -> bool:
        """Return whether ``thing`` waits."""
        return thing in self._slot_of

    def discard(self, thing: T) -> None:
        """Forget ``thing``; one that doesn't wait is no error."""
        slot = self._slot_of.pop(thing, None)
        if slot is not None:
            things = self._slots[slot]
            del things[thing]
            if not things:
                del self._slots[slot]

    def expire(self, now: float) -> list[T]:
        """Take out and return what has expired by ``now``, earliest first."""
        last = math.floor(now / self.grain_seconds)
        if self._next is None or self._next > last:
            return []
        # Few slots are in use (deadlines come in a handful of lengths), so this looks at those and not at each grain.
        expired = [
            thing for slot in sorted(slot for slot in self._slots if slot <= last) for thing in self._slots[slot]
        ]
        for thing in expired:
            self.discard(thing)
        self._next = min(self._slots, default=None)
        return expired
