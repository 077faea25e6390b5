"""What a plugin says of itself, and the narrow view of the node that it gets."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import structlog

from nanocore.clock import Clock
from nanocore.contracts.handler import Reply
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.operation import Operations
from nanocore.contracts.stream import Stream
from nanocore.ids import NodeId
from nanocore.wire import Event, Query, Request, Result

R = TypeVar("R")
C = TypeVar("C")
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """Exactly one a plugin. ``roles`` are the node roles on which it does anything; empty means all."""

    name: str
    version: str
    summary: str
    roles: frozenset[NodeRole] = frozenset()


@dataclass(frozen=True, slots=True)
class ConfigSection:
    """Table ``[name]`` of the configuration, read into the frozen dataclass ``kind`` (fields by ``setting``)."""

    name: str
    kind: type[Any]


class PluginState(StrEnum):
    """What became of a plugin at start-up."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    """Installed, but not listed in ``[kernel] plugins``, or not for this node's roles."""
    FAILED = "failed"
    """Listed, but left out or stopped; ``reason`` says why."""


class PluginStatus(Result, frozen=True, kw_only=True):
    """One row of ``nano plugin list``."""

    name: str
    version: str
    summary: str
    distribution: str
    state: PluginState
    reason: str | None = None
    failures: int = 0
    """Calls of this plugin that raised or timed out since the start."""


class ListPlugins(Query[list[PluginStatus]], frozen=True, kw_only=True):
    """Every plugin found on the node that answers; by its own kernel."""

    op: ClassVar[str] = "plugins.list_plugins"
    permission: ClassVar[str | None] = "plugin.read"


@dataclass(frozen=True, slots=True)
class PluginPaths:
    """Folders that belong to one plugin; made 0700 before the plugin sees them."""

    state: Path
    """Survives restarts: ``<root>/var/lib/nano/<plugin>``."""
    run: Path
    """Sockets and locks: ``<root>/run/nano/<plugin>``; short enough for a UNIX socket."""


class PluginContext(Protocol):
    """Everything that a plugin may use of its node.

    Given to every hook implementation that asks for ``context``. While hooks are being collected only the
    attributes and ``config`` may be used; ``call`` and the rest work once services are started.
    """

    node: NodeInfo
    clock: Clock
    log: structlog.stdlib.BoundLogger

    @property
    def paths(self) -> PluginPaths:
        """Return this plugin's folders."""
        ...

    def config(self, kind: type[C]) -> C:
        """Return this plugin's section of the configuration; ``kind`` as in its ``ConfigSection``."""
        ...

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
        """Send ``message`` and return the reply's body.

        ``dst``: the node to ask; by default this node if it handles the op, else the core. ``credential``: the
        actor's; by default the platform's own. ``request_id`` makes repeats of a command count once. Raises
        every ``NanoError`` that the handler or the way there can raise.
        """
        ...

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
        ...

    async def open_stream(
        self, message: Request[Any], *, dst: NodeId | None = None, credential: str | None = None
    ) -> Stream:
        """Send ``message`` to a handler with ``is_stream`` and return our end of the stream."""
        ...

    async def publish(self, event: Event) -> None:
        """Deliver ``event`` to every subscription of this node and, if it says so, of the core."""
        ...

    def collected(self, kind: type[K]) -> Mapping[str, K]:
        """Return what all plugins declared of ``kind`` (``HypervisorDriver``, ``Route``…), by key."""
        ...

    def chosen(self, kind: type[K]) -> K:
        """Return the implementation of ``kind`` (``StateStore``, ``Authorizer``) that configuration names."""
        ...

    @property
    def operations(self) -> Operations:
        """Workflows; only on a core."""
        ...

    def plugin_statuses(self) -> list[PluginStatus]:
        """Return every plugin found on this node, its state and the reason."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run ``work`` as a task that is logged if it fails and cancelled when the node stops."""
        ...
