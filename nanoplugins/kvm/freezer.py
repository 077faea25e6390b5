"""Frozen file systems inside guests, and that none stays frozen: not after a deadline, not after a killed node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog

from nanocore.errors import NanoError
from nanocore.ids import InstanceId

AGENT_SECONDS = 20.0
LOOK_SECONDS = 3.0

Agent = Callable[[InstanceId, str, Mapping[str, Any], float], Awaitable[object]]


class Freezer:
    """Freezes by the guest's agent and keeps a timer for each."""

    def __init__(self, agent: Agent, log: structlog.stdlib.BoundLogger) -> None:
        self._agent = agent
        self._log = log
        self._thawing: dict[InstanceId, asyncio.Task[None]] = {}
        self._looking: set[asyncio.Task[None]] = set()

    async def freeze(self, id: InstanceId, timeout_seconds: float) -> int:
        """Freeze; return how many file systems are frozen."""
        self._forget(id)
        # The timer comes first: an answer that is lost must not leave the guest frozen.
        self._thawing[id] = asyncio.create_task(self._thaw_later(id, timeout_seconds), name="kvm.thaw")
        if await self._agent(id, "guest-fsfreeze-status", {}, AGENT_SECONDS) == "frozen":
            return 0
        count = await self._agent(id, "guest-fsfreeze-freeze", {}, AGENT_SECONDS)
        return count if isinstance(count, int) else 0

    async def thaw(self, id: InstanceId) -> None:
        """Thaw now."""
        await self._agent(id, "guest-fsfreeze-thaw", {}, AGENT_SECONDS)
        self._forget(id)

    def thaw_forgotten(self, ids: Iterable[InstanceId]) -> None:
        """Look at guests in the background, and thaw those that a killed node left frozen."""
        task = asyncio.create_task(self._thaw_frozen(list(ids)), name="kvm.thaw_forgotten")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def close(self) -> None:
        """Thaw everything that is frozen, and end."""
        frozen = list(self._thawing)
        for task in (*self._thawing.values(), *self._looking):
            task.cancel()
        await asyncio.gather(*self._thawing.values(), *self._looking, return_exceptions=True)
        self._thawing.clear()
        await asyncio.gather(*(self._try_to_thaw(id, LOOK_SECONDS) for id in frozen))

    def _forget(self, id: InstanceId) -> None:
        timer = self._thawing.pop(id, None)
        if timer is not None:
            timer.cancel()

    async def _thaw_later(self, id: InstanceId, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._log.warning("kvm.thawed_by_deadline", guest=id, seconds=seconds)
        await self._try_to_thaw(id)
        self._thawing.pop(id, None)

    async def _try_to_thaw(self, id: InstanceId, seconds: float = AGENT_SECONDS) -> None:
        try:
            await self._agent(id, "guest-fsfreeze-thaw", {}, seconds)
        except NanoError as error:
            self._log.info("kvm.not_thawed", guest=id, error=error.message)

    async def _thaw_frozen(self, ids: list[InstanceId]) -> None:
        for id in ids:
            try:
                status = await self._agent(id, "guest-fsfreeze-status", {}, LOOK_SECONDS)
            except NanoError:
                continue  # no agent, so nothing was frozen by it
            if status == "frozen":
                self._log.warning("kvm.thawed_forgotten", guest=id)
                await self._try_to_thaw(id)
