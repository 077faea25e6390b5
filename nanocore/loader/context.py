"""The narrow view of the node that one plugin gets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.node import NodeInfo
from nanocore.contracts.operation import Operations
from nanocore.contracts.plugin import PluginPaths, PluginStatus
from nanocore.contracts.stream import Stream
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId
from nanocore.wire import Event, Request

R = TypeVar("R")
C = TypeVar("C")
K = TypeVar("K")

FOLDER_MODE = 0o700


class NodeLink(Protocol):
    """What a context needs of its node; implemented by the composition root."""

    @property
    def info(self) -> NodeInfo:
        """Return the node's description."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the node's clock."""
        ...

    @property
    def is_collecting(self) -> bool:
        """Whether hooks are still being collected, so that nothing can be called yet."""
        ...

    def folder(self, kind: str, plugin: str) -> Path:
        """Return the plugin's folder below the node's ``state`` or ``run`` folder."""
        ...

    async def call_reply(
        self,
        message: Request[R],
        *,
        dst: NodeId | None,
        timeout_seconds: float | None,
        blobs: Sequence[bytes],
        credential: str | None,
        request_id: str | None,
    ) -> Reply[R]:
        """As ``PluginContext.call_reply``."""
        ...

    async def open_stream(self, message: Request[Any], *, dst: NodeId | None, credential: str | None) -> Stream:
        """As ``PluginContext.open_stream``."""
        ...

    async def publish(self, event: Event) -> None:
        """As ``PluginContext.publish``."""
        ...

    def collected(self, kind: type[K]) -> Mapping[str, K]:
        """As ``PluginContext.collected``."""
        ...

    def chosen(self, kind: type[K]) -> K:
        """As ``PluginContext.chosen``."""
        ...

    @property
    def operations(self) -> Operations:
        """As ``PluginContext.operations``."""
        ...

    def plugin_statuses(self) -> list[PluginStatus]:
        """As ``PluginContext.plugin_statuses``."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str, plugin: str) -> None:
        """As ``PluginContext.spawn``, for ``plugin``."""
        ...


class NodeContext:
    """A plugin's ``PluginContext``. ``settings`` finds the plugin's section by its type."""

    def __init__(
        self,
        plugin: str,
        link: NodeLink,
        log: structlog.stdlib.BoundLogger,
        settings: Callable[[type[Any]], Any],
    ) -> None:
        self._plugin = plugin
        self._link = link
        self._settings = settings
        self._paths: PluginPaths | None = None
        self.node: NodeInfo = link.info
        self.clock: Clock = link.clock
        self.log: structlog.stdlib.BoundLogger = log.bind(plugin=plugin)

    @property
    def paths(self) -> PluginPaths:
        """Return the plugin's folders, made at first use."""
        if self._paths is None:
            paths = PluginPaths(
                state=self._link.folder("state", self._plugin), run=self._link.folder("run", self._plugin)
            )
            for folder in (paths.state, paths.run):
                folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            self._paths = paths
        return self._paths

    def config(self, kind: type[C]) -> C:
        """Return this plugin's section."""
        section: C = self._settings(kind)
        return section

    async def call(
        self,
        message: Request[R],
        *,
        dst: NodeId | None = None,
        timeout_seconds: float | None = None,
        blobs: Sequence[bytes] = (),
        credential: str | None = None,
        request_id: str | None = None,
    ) -> R:
        """Send ``message`` and return the reply's body."""
        reply = await self.call_reply(
            message,
            dst=dst,
            timeout_seconds=timeout_seconds,
            blobs=blobs,
            credential=credential,
            request_id=request_id,
        )
        return reply.body

    async def call_reply(
        self,
        message: Request[R],
        *,
        dst: NodeId | None = None,
        timeout_seconds: float | None = None,
        blobs: Sequence[bytes] = (),
        credential: str | None = None,
        request_id: str | None = None,
    ) -> Reply[R]:
        """As ``call``, with the reply's blobs."""
        self._ready("call")
        return await self._link.call_reply(
            message,
            dst=dst,
            timeout_seconds=timeout_seconds,
            blobs=blobs,
            credential=credential,
            request_id=request_id,
        )

    async def open_stream(
        self, message: Request[Any], *, dst: NodeId | None = None, credential: str | None = None
    ) -> Stream:
        """Send ``message`` to a stream handler and return our end."""
        self._ready("open_stream")
        return await self._link.open_stream(message, dst=dst, credential=credential)

    async def publish(self, event: Event) -> None:
        """Deliver ``event``."""
        self._ready("publish")
        await self._link.publish(event)

    def collected(self, kind: type[K]) -> Mapping[str, K]:
        """Return what all plugins declared of ``kind``, by key."""
        self._ready("collected")
        return self._link.collected(kind)

    def chosen(self, kind: type[K]) -> K:
        """Return the implementation of ``kind`` that configuration names."""
        self._ready("chosen")
        return self._link.chosen(kind)

    @property
    def operations(self) -> Operations:
        """Workflows; only on a core."""
        self._ready("operations")
        return self._link.operations

    def plugin_statuses(self) -> list[PluginStatus]:
        """Return every plugin found on this node."""
        return self._link.plugin_statuses()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run ``work`` as a task of this plugin."""
        self._link.spawn(work, name=name, plugin=self._plugin)

    def _ready(self, what: str) -> None:
        if self._link.is_collecting:
            raise NanoError(
                ErrorCode.WRONG_STATE,
                f"plugin {self._plugin} used context.{what} while hooks are being collected; keep the context and "
                "use it once the plugin's services start",
            )
