"""Requests that wait for a reply, deadlines on one wheel, and replies kept against duplicates."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.deadline_wheel import DeadlineWheel
from nanocore.errors import ErrorCode, NanoError

GRAIN_SECONDS = 0.05
KEPT_PER_SOURCE = 256
KEPT_IN_ALL = 20_000


class Expiring(Protocol):
    """A thing with a deadline."""

    def expire(self) -> None:
        """Act on the deadline; called once, on the loop."""
        ...


class Deadlines:
    """Every deadline of a node on one wheel and one timer, which runs only while something waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wheel: DeadlineWheel[Expiring] = DeadlineWheel(GRAIN_SECONDS)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, thing: Expiring, at: float) -> None:
        """Let ``thing`` expire at ``at`` on the monotonic clock, or up to two grains later."""
        self._wheel.add(thing, at)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GRAIN_SECONDS, self._tick)

    def discard(self, thing: Expiring) -> None:
        """Forget ``thing``, whether it waits or not."""
        self._wheel.discard(thing)

    def stop(self) -> None:
        """Let nothing expire any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = None
        for thing in self._wheel.expire(self._clock.monotonic()):
            thing.expire()
        if len(self._wheel) and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GRAIN_SECONDS, self._tick)


@dataclass(eq=False, slots=True)
class Pending:
    """A request that was sent to ``hop`` and waits for the reply of ``dst``."""

    id: str
    op: str
    dst: str
    hop: str
    is_idempotent: bool
    future: asyncio.Future[Reply[Any]]

    def expire(self) -> None:
        """Fail: too late for a request that may be repeated, else nobody knows what became of it."""
        self.fail(
            NanoError(ErrorCode.DEADLINE_EXCEEDED, f"node {self.dst} did not answer {self.op} in time")
            if self.is_idempotent
            else NanoError(ErrorCode.UNKNOWN_OUTCOME, f"node {self.dst} did not say in time what became of {self.op}")
        )

    def lose(self, reason: str) -> None:
        """Fail because the link that carried it ended."""
        text = f"the connection to node {self.hop} ended ({reason})"
        self.fail(
            NanoError(ErrorCode.UNAVAILABLE, f"{text}; {self.op} can be repeated", reason="request.link_lost")
            if self.is_idempotent
            else NanoError(ErrorCode.UNKNOWN_OUTCOME, f"{text} before it said what became of {self.op}")
        )

    def fail(self, error: NanoError) -> None:
        """End the wait with ``error``."""
        if not self.future.done():
            self.future.set_exception(error)


class PendingRequests:
    """What this node has asked others and not yet heard."""

    def __init__(self) -> None:
        self._by_id: dict[str, Pending] = {}

    def __len__(self) -> int:
        """Return the number of requests that wait."""
        return len(self._by_id)

    def add(self, pending: Pending) -> None:
        """Note a request; raise ``conflict`` while one with the same id waits."""
        if pending.id in self._by_id:
            raise NanoError(ErrorCode.CONFLICT, f"request {pending.id} is already on its way; wait for its reply")
        self._by_id[pending.id] = pending

    def discard(self, pending: Pending) -> None:
        """Forget a request."""
        self._by_id.pop(pending.id, None)

    def settle(self, id: str, hop: str) -> Pending | None:
        """Take out the request that a reply from ``hop`` answers; ``None`` if it comes too late or from elsewhere."""
        pending = self._by_id.get(id)
        if pending is None or pending.hop != hop:
            return None
        return self._by_id.pop(id)

    def hops(self) -> set[str]:
        """Return every neighbour that something waits on."""
        return {pending.hop for pending in self._by_id.values()}

    def take_lost(self, hop: str) -> list[Pending]:
        """Take out everything that went through ``hop``."""
        lost = [pending for pending in self._by_id.values() if pending.hop == hop]
        for pending in lost:
            del self._by_id[pending.id]
        return lost


RequestKey = tuple[str, str, str]
"""Source node, credential and request id: nobody reads another's reply by guessing its id."""


@dataclass(frozen=True, slots=True)
class KeptReply:
    """What a command was answered."""

    op: str
    outcome: Reply[Any] | NanoError


class KeptReplies:
    """The last replies to commands, in memory; lost at restart without harm."""

    def __init__(self, *, per_source: int = KEPT_PER_SOURCE, in_all: int = KEPT_IN_ALL) -> None:
        self._per_source = per_source
        self._in_all = in_all
        self._replies: OrderedDict[RequestKey, KeptReply] = OrderedDict()
        self._keys: dict[str, OrderedDict[RequestKey, None]] = {}

    def __len__(self) -> int:
        """Return the number of kept replies."""
        return len(self._replies)

    def find(self, key: RequestKey) -> KeptReply | None:
        """Return what ``key`` was answered, if it is still known."""
        return self._replies.get(key)

    def keep(self, key: RequestKey, reply: KeptReply) -> None:
        """Keep a reply; the source's oldest goes first, so that one node can't push out another's."""
        self._replies[key] = reply
        keys = self._keys.setdefault(key[0], OrderedDict())
        keys[key] = None
        if len(keys) > self._per_source:
            oldest, _ = keys.popitem(last=False)
            del self._replies[oldest]
        elif len(self._replies) > self._in_all:
            oldest, _ = self._replies.popitem(last=False)
            del self._keys[oldest[0]][oldest]
