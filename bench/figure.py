"""One measured figure beside its raw limit, and how rounds of both become one."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeVar

T = TypeVar("T")

LEAST = 0.001
"""What a limit too small to be measured counts as, in its unit."""


class Size(Enum):
    """How much a row does: enough for a test that it runs, for a look, or for the real figures."""

    TINY = 0
    SMALL = 1
    FULL = 2

    def of(self, tiny: T, small: T, full: T) -> T:
        """Return the one of the three that is meant."""
        return (tiny, small, full)[self.value]


class NotMeasuredError(Exception):
    """Raised by a row that this machine can't measure; says what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """``value`` and ``limit`` share ``unit``; ``goal`` is about their ratio (``>= 0.6``, ``<= 2``) or empty.

    A goal with a unit (``<= 0.25 s``) is about the value itself; the limit then shows how far down it could go.

    ``limit``: what a bare program needs or reaches for the same work in the same run. ``n``: how much was done.
    ``spread``: (highest - lowest) / median of the rounds' ratios. ``why``: the reason, where a goal is missed.
    """

    name: str
    value: float
    unit: str
    limit: float
    goal: str = ""
    n: int = 1
    spread: float = 0.0
    why: str = ""

    @property
    def ratio(self) -> float:
        return self.value / self.limit if self.limit else 0.0

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; ``None`` without one."""
        if not self.goal:
            return None
        sign, number, *unit = self.goal.split()
        measured = self.value if unit else self.ratio
        return measured >= float(number) if sign == ">=" else measured <= float(number)

    def line(self) -> dict[str, object]:
        """Return what the JSON line says."""
        line: dict[str, object] = {
            "name": self.name,
            "value": round(self.value, 6),
            "unit": self.unit,
            "limit": round(self.limit, 6),
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "met": self.met,
            "n": self.n,
            "spread": round(self.spread, 3),
        }
        return {**line, "why": self.why} if self.why and self.met is False else line


Measured = Callable[[], Awaitable[float]]


async def compare(
    name: str, unit: str, ours: Measured, bare: Measured, *, goal: str = "", n: int = 1, rounds: int = 3, why: str = ""
) -> Figure:
    """Measure both in turns and return the round whose ratio is the median, with the rounds' spread."""
    pairs = []
    for _ in range(rounds):
        limit = await bare()
        pairs.append((await ours(), limit))
    return of_rounds(name, unit, pairs, goal=goal, n=n, why=why)


def of_rounds(
    name: str, unit: str, pairs: Sequence[tuple[float, float]], *, goal: str = "", n: int = 1, why: str = ""
) -> Figure:
    """Return the round (ours, bare) whose ratio is the median; ``why`` is kept only if the goal is missed."""
    # Another process's CPU is told in the scheduler's steps: a very short round may seem to have cost nothing.
    pairs = [(value, limit or LEAST) for value, limit in pairs]
    ratios = sorted(value / limit for value, limit in pairs)
    middle = min(pairs, key=lambda pair: abs(pair[0] / pair[1] - statistics.median_low(ratios)))
    figure = Figure(name, middle[0], unit, middle[1], goal, n, spread_of(ratios))
    return replace(figure, why=why) if figure.met is False else figure


def spread_of(ratios: Sequence[float]) -> float:
    """Return how far the rounds lie apart, relative to their median."""
    middle = statistics.median(ratios)
    return (max(ratios) - min(ratios)) / middle if middle else 0.0
