"""Hook implementations of ``guest_tools``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nanocore import __version__
from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import Handler, Subscription
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.operation import Workflow
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.hookspecs import hookimpl
from nanoplugins.guest_tools.actions import GuestActions
from nanoplugins.guest_tools.changes import GuestChanges
from nanoplugins.guest_tools.config import GuestToolsConfig
from nanoplugins.guest_tools.routes import all_routes
from nanoplugins.guest_tools.seeds import Seeds
from nanoplugins.guest_tools.watch import Watch


@dataclass(frozen=True)
class _Cell:
    seeds: Seeds
    watch: Watch


class Plugin:
    """First boots, agents and readiness, on cells; the users' side of it on cores."""

    def __init__(self) -> None:
        self._made: _Cell | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Return who we are."""
        summary = "First boots, agents and readiness of guests"
        return [PluginInfo("guest_tools", __version__, summary, frozenset({NodeRole.CORE, NodeRole.CELL}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[guest_tools]``."""
        return [ConfigSection("guest_tools", GuestToolsConfig)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> list[Service]:
        """Return what asks the guests of a cell."""
        return [self._cell(context).watch] if _is(context, NodeRole.CELL) else []

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> list[Handler]:
        """Return what cells and cores answer."""
        handlers = GuestActions(context).handlers() if _is(context, NodeRole.CORE) else []
        if _is(context, NodeRole.CELL):
            cell = self._cell(context)
            handlers += [*cell.seeds.handlers(), *cell.watch.handlers(), *GuestChanges(context, cell.watch).handlers()]
        return handlers

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> list[Subscription]:
        """Return what tells a cell of its guests."""
        return self._cell(context).watch.subscriptions() if _is(context, NodeRole.CELL) else []

    @hookimpl
    def nano_workflows(self, context: PluginContext) -> list[Workflow[Any]]:
        """Return what users have done inside guests."""
        return [*GuestActions(context).workflows()] if _is(context, NodeRole.CORE) else []

    @hookimpl
    def nano_rest_routes(self) -> list[Route]:
        """Return the public API."""
        return all_routes()

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Tell a core that came back everything again."""
        if NodeRole.CORE in peer.roles and self._made is not None:
            await self._made.watch.tell_again()

    def _cell(self, context: PluginContext) -> _Cell:
        if self._made is None:
            seeds = Seeds(context)
            self._made = _Cell(seeds, Watch(context, seeds))
        return self._made


def _is(context: PluginContext, role: NodeRole) -> bool:
    return role in context.node.roles
