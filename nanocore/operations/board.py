"""What clients see of operations: the list, and the events that tell of its changes; and which keys are taken."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from nanocore.clock import Clock
from nanocore.contracts.authorizer import Principal
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.operation import Operation
from nanocore.contracts.table import Table
from nanocore.ids import OperationId
from nanocore.wire import Event

NOUN = "operations"
PUBLISH_SECONDS = 10.0
IDEMPOTENCY_KEPT = timedelta(hours=24)

Publish = Callable[[Event], Awaitable[None]]


class OperationBoard:
    """The table of operations, and one task that publishes its changes, the latest of each operation only."""

    def __init__(self, clock: Clock, log: structlog.stdlib.BoundLogger, publish: Publish) -> None:
        self.table: Table[Operation] = Table(NOUN, clock, self._changed)
        self._log = log
        self._publish = publish
        self._events: dict[str, ResourceChanged] = {}
        self._task: asyncio.Task[None] | None = None
        self._context: contextvars.Context | None = None

    def start(self, context: contextvars.Context) -> None:
        """Publish from now on, in ``context``."""
        self._context = context

    async def stop(self) -> None:
        """Publish no more."""
        self._context = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _changed(self, event: ResourceChanged) -> None:
        self._events[event.id] = event
        if self._task is None and self._context is not None:
            self._task = asyncio.get_running_loop().create_task(
                self._publish_all(), name="operation-events", context=self._context.copy()
            )

    async def _publish_all(self) -> None:
        try:
            while self._events:
                events, self._events = self._events, {}
                try:
                    # One limit for all: a timer for each event would cost more than the event.
                    async with asyncio.timeout(PUBLISH_SECONDS):
                        for event in events.values():
                            await self._publish(event)
                except Exception:  # noqa: BLE001  telling is best effort; the list is the truth
                    self._log.exception("operation events not published", count=len(events))
        finally:
            self._task = None


class IdempotencyKeys:
    """Which keys began which operation, for 24 hours. Pure; the journal's records fill it at the start."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[OperationId, datetime]] = {}

    def remember(self, key: str | None, id: OperationId, created_at: datetime, now: datetime) -> None:
        """Take ``key``, and forget those that are too old; records come in the order of their making."""
        if key is None:
            return
        self._ids[key] = (id, created_at)
        while (oldest := next(iter(self._ids.items()), None)) and oldest[1][1] < now - IDEMPOTENCY_KEPT:
            del self._ids[oldest[0]]

    def forget(self, key: str | None) -> None:
        """Free ``key``: nothing was begun by it after all."""
        if key is not None:
            self._ids.pop(key, None)

    def find(self, key: str | None, now: datetime) -> OperationId | None:
        """Return the operation that ``key`` began."""
        known = None if key is None else self._ids.get(key)
        return None if known is None or known[1] < now - IDEMPOTENCY_KEPT else known[0]


def scoped_key(kind: str, requested_by: Principal | None, key: str | None) -> str | None:
    """Return the key as it is remembered: one user's must not reveal another's operation."""
    return None if key is None else f"{kind} {'' if requested_by is None else requested_by.user_id} {key}"
