"""Events to their subscribers on this node: in order, each subscriber alone, none slowing the publisher."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from nanocore.contracts.handler import Subscription
from nanocore.contracts.node import NodeInfo
from nanocore.wire import Event

SUBSCRIBER_SECONDS = 10.0
QUEUE_LENGTH = 10_000
_SLACK = 1.5


class _Subscriber:
    """One subscription with its own queue; its task lives only while events wait."""

    def __init__(self, subscription: Subscription, timeout: float, log: structlog.stdlib.BoundLogger) -> None:
        self._subscription = subscription
        self._timeout = timeout
        self._log = log.bind(subscriber=subscription.key)
        self._queue: deque[tuple[Event, NodeInfo]] = deque()
        self._dropped = 0
        self.task: asyncio.Task[None] | None = None

    def may_send(self, source: NodeInfo) -> bool:
        """Return whether this subscriber takes the event from another node in the roles of ``source``."""
        return not self._subscription.allow.isdisjoint(source.roles)

    def put(self, event: Event, source: NodeInfo) -> None:
        if len(self._queue) >= QUEUE_LENGTH:
            # The newest events carry the newest state, so the oldest go.
            self._queue.popleft()
            if self._dropped == 0:
                self._log.error("subscriber is too slow; its oldest events are dropped", queue_length=QUEUE_LENGTH)
            self._dropped += 1
        self._queue.append((event, source))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._work(), name=f"event:{self._subscription.key}")

    async def _work(self) -> None:
        while self._queue:
            try:
                await self._deliver()
            except TimeoutError:
                self._log.exception("subscriber took too long for an event", timeout_seconds=self._timeout)

    async def _deliver(self) -> None:
        """Deliver until the queue is empty; an event may take from one to one and a half times the timeout.

        One timer for many events: a timer for each would cost more than most subscribers' work.
        """
        now = asyncio.get_running_loop().time
        async with asyncio.timeout(_SLACK * self._timeout) as limit:
            while self._queue:
                event, source = self._queue.popleft()
                if (limit.when() or 0.0) - now() < self._timeout:
                    limit.reschedule(now() + _SLACK * self._timeout)
                try:
                    await self._subscription.call(event, source)
                except Exception:  # noqa: BLE001  a failing subscriber loses this event, nobody else does
                    self._log.exception("subscriber failed on an event")


class EventBus:
    """Subscriptions of one node."""

    def __init__(self, log: structlog.stdlib.BoundLogger, *, timeout_seconds: float = SUBSCRIBER_SECONDS) -> None:
        self._log = log
        self._timeout = timeout_seconds
        self._subscribers: dict[str, list[_Subscriber]] = {}
        self._types: dict[str, type[Event]] = {}

    def subscribe(self, subscription: Subscription) -> Callable[[], None]:
        """Deliver ``subscription.event`` to it from now on; return the function that ends it."""
        op = subscription.event.op
        subscriber = _Subscriber(subscription, self._timeout, self._log)
        self._types[op] = subscription.event
        subscribers = self._subscribers.setdefault(op, [])
        subscribers.append(subscriber)

        def end() -> None:
            if subscriber in subscribers:
                subscribers.remove(subscriber)

        return end

    def type_of(self, op: str) -> type[Event] | None:
        """Return the type of an event that somebody here wants."""
        return self._types.get(op) if self._subscribers.get(op) else None

    def takes(self, op: str, source: NodeInfo) -> bool:
        """Return whether somebody here takes the event from ``source``, another node."""
        return any(subscriber.may_send(source) for subscriber in self._subscribers.get(op, ()))

    def deliver(self, event: Event, source: NodeInfo, *, is_own: bool = True) -> None:
        """Queue ``event`` for each subscriber, one of another node for those that take it; returns at once."""
        for subscriber in self._subscribers.get(event.op, ()):
            if is_own or subscriber.may_send(source):
                subscriber.put(event, source)

    async def stop(self) -> None:
        """End what still runs."""
        tasks = [s.task for group in self._subscribers.values() for s in group if s.task is not None]
        self._subscribers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
