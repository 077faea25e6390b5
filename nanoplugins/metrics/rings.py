"""Time series of fixed size: one subject's samples at several resolutions. Pure, told the time."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

from nanocore.wire import Struct

NOTHING = math.nan
"""A slot without a sample; shown as ``None``."""


class SavedRing(Struct, frozen=True, kw_only=True):
    """A ring as bytes, in this machine's order."""

    step_seconds: float
    first: int
    last: int
    values: bytes
    counts: bytes


class SavedHistory(Struct, frozen=True, kw_only=True):
    """One subject's rings."""

    kind: str
    id: str
    series: list[str]
    last_at: float
    rings: list[SavedRing]


class Ring:
    """The last ``length`` slots of ``step_seconds`` each; a slot holds the mean of the samples that fell into it.

    One array of 4-byte floats for all series of a subject, slot by slot. It grows up to its full length, so that
    a subject that lives for a minute doesn't cost a week's memory.
    """

    __slots__ = ("_counts", "_first", "_values", "_width", "last", "length", "step_seconds")

    def __init__(self, step_seconds: float, length: int, width: int) -> None:
        self.step_seconds = step_seconds
        self.length = length
        self.last = -1
        """Number of the latest slot since 1970."""
        self._first = -1
        self._width = width
        self._values = array("f")
        self._counts = array("H")

    def save(self) -> SavedRing:
        """Return everything that ``load`` needs."""
        return SavedRing(
            step_seconds=self.step_seconds,
            first=self._first,
            last=self.last,
            values=self._values.tobytes(),
            counts=self._counts.tobytes(),
        )

    def load(self, saved: SavedRing) -> None:
        """Take over what ``save`` returned of a ring of the same step and width; anything else is left out."""
        values, counts = array("f"), array("H")
        if len(saved.values) % values.itemsize or len(saved.counts) % counts.itemsize:
            return
        values.frombytes(saved.values)
        counts.frombytes(saved.counts)
        fits = len(values) == len(counts) * self._width and 0 < len(counts) <= self.length
        if fits and saved.step_seconds == self.step_seconds and 0 <= saved.first <= saved.last:
            self._first, self.last, self._values, self._counts = saved.first, saved.last, values, counts

    @property
    def used_bytes(self) -> int:
        """Memory that the samples take."""
        return len(self._values) * self._values.itemsize + len(self._counts) * self._counts.itemsize

    def add(self, at: float, sample: Sequence[float]) -> None:
        """Count ``sample`` in at ``at`` seconds since 1970; one older than the ring is dropped."""
        slot = math.floor(at / self.step_seconds)
        if self.last < 0:
            self._first = self.last = slot
            self._append_empty()
        elif slot > self.last:
            self._advance(slot)
        elif slot < self._oldest():
            return
        position = (slot - self._first) % self.length
        count = self._counts[position]
        if count == 65535:  # noqa: PLR2004  what the array's type holds
            return
        base = position * self._width
        for offset, value in enumerate(sample, base):
            mean = self._values[offset]
            self._values[offset] = value if not count else mean + (value - mean) / (count + 1)
        self._counts[position] = count + 1

    def read(self, start: float, end: float) -> tuple[list[float], list[list[float | None]]]:
        """Return the slots' times (their beginnings) from ``start`` to ``end``, and each series' values there."""
        if self.last < 0:
            return [], [[] for _ in range(self._width)]
        first = max(self._oldest(), math.ceil(start / self.step_seconds - 1e-9))
        last = min(self.last, math.floor(end / self.step_seconds))
        positions = [(slot - self._first) % self.length for slot in range(first, last + 1)]
        times = [slot * self.step_seconds for slot in range(first, last + 1)]
        return times, [[self._value(position, series) for position in positions] for series in range(self._width)]

    def reaches_back_to(self, at: float, now: float) -> bool:
        """Return whether a ring of this length, always filled, would still hold ``at``."""
        return at >= now - self.step_seconds * self.length

    def _value(self, position: int, series: int) -> float | None:
        return self._values[position * self._width + series] if self._counts[position] else None

    def _oldest(self) -> int:
        return max(self._first, self.last - self.length + 1)

    def _advance(self, slot: int) -> None:
        for missed in range(max(self.last + 1, slot - self.length + 1), slot + 1):
            position = (missed - self._first) % self.length
            if position < len(self._counts):
                self._counts[position] = 0
            else:
                while len(self._counts) <= position:
                    self._append_empty()
        self.last = slot

    def _append_empty(self) -> None:
        self._counts.append(0)
        self._values.extend([NOTHING] * self._width)


class History:
    """One subject's rings, finest first."""

    __slots__ = ("last_at", "rings", "series")

    def __init__(self, series: Sequence[str], resolutions: Sequence[tuple[float, int]]) -> None:
        self.series = series
        self.rings = [Ring(step, length, len(series)) for step, length in resolutions]
        self.last_at = 0.0

    def save(self, kind: str, id: str, coarser_than: float) -> SavedHistory:
        """Return the rings with steps of more than ``coarser_than`` seconds."""
        rings = [ring.save() for ring in self.rings if ring.step_seconds > coarser_than and ring.last >= 0]
        return SavedHistory(kind=kind, id=id, series=list(self.series), last_at=self.last_at, rings=rings)

    def load(self, saved: SavedHistory) -> None:
        """Take over saved rings of the same series."""
        if saved.series == list(self.series):
            self.last_at = saved.last_at
            for ring in self.rings:
                for found in saved.rings:
                    ring.load(found)

    def add(self, at: float, sample: Sequence[float]) -> None:
        """Count a sample into every ring."""
        self.last_at = max(self.last_at, at)
        for ring in self.rings:
            ring.add(at, sample)

    def read(
        self, start: float, end: float, step_seconds: float | None, now: float
    ) -> tuple[float, list[float], Mapping[str, list[float | None]]]:
        """Return step, times and values of the finest ring that reaches back to ``start`` and is coarse enough."""
        fitting = [ring for ring in self.rings if ring.reaches_back_to(start, now)]
        if step_seconds is not None:
            fitting = [ring for ring in fitting if ring.step_seconds >= step_seconds] or fitting[-1:]
        ring = (fitting or self.rings[-1:])[0]
        times, values = ring.read(start, end)
        return ring.step_seconds, times, dict(zip(self.series, values, strict=True))
