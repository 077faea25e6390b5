"""Where requests of users go: to the core, always, whatever plugins this node has; only the core knows users."""

from __future__ import annotations

from typing import Any, TypeVar

from nanocore.contracts.handler import Reply
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import PluginContext
from nanocore.contracts.stream import Stream
from nanocore.ids import NodeId
from nanocore.wire import Request

R = TypeVar("R")


class CoreLink:
    """``PluginContext``'s calls with the core as their goal."""

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._core_id: NodeId | None = context.node.id if NodeRole.CORE in context.node.roles else None

    @property
    def is_here(self) -> bool:
        """Return whether this node is the core itself."""
        return self._core_id == self._context.node.id

    def note(self, peer: NodeInfo) -> bool:
        """Take note of a peer that became reachable; return whether it is the core, seen from elsewhere."""
        if self.is_here or NodeRole.CORE not in peer.roles:
            return False
        self._core_id = peer.id
        return True

    async def call(self, message: Request[R], *, credential: str, timeout_seconds: float | None = None) -> R:
        """Return the body of the core's reply; raises as ``PluginContext.call``."""
        reply = await self.call_reply(message, credential=credential, timeout_seconds=timeout_seconds)
        return reply.body

    async def call_reply(
        self, message: Request[R], *, credential: str, timeout_seconds: float | None = None
    ) -> Reply[R]:
        """Return the core's reply; raises as ``PluginContext.call_reply``."""
        return await self._context.call_reply(
            message, dst=self._core_id, credential=credential, timeout_seconds=timeout_seconds
        )

    async def open_stream(self, message: Request[Any], *, credential: str) -> Stream:
        """Open a stream to the core; raises as ``PluginContext.open_stream``."""
        return await self._context.open_stream(message, dst=self._core_id, credential=credential)
