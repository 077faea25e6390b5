"""Checks that plugins declare, and what a node says of its plugins when the core asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from nanocore.contracts.plugin import PluginStatus
from nanocore.wire import Query, Result, field


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """``check`` returns ``None`` when well, else the reason with its remedy; limited to 2 s."""

    name: str
    check: Callable[[], Awaitable[str | None]]


class CheckOutcome(Result, frozen=True, kw_only=True):
    """What one check said; ``reason`` is ``None`` when all is well."""

    name: str
    is_ok: bool
    reason: str | None = None


class PluginHealth(PluginStatus, frozen=True, kw_only=True):
    """A plugin of a node with its health checks' outcomes."""

    checks: list[CheckOutcome] = field(default_factory=list)


class GetHealth(Query[list[PluginHealth]], frozen=True, kw_only=True):
    """Core to node: every plugin found there with the outcome of its checks; by the node's own kernel."""

    op: ClassVar[str] = "plugins.get_health"
