"""Hook implementations of ``agent``."""

from __future__ import annotations

import asyncio

from nanocore.capabilities.health import HealthCheck
from nanocore.capabilities.hypervisor import Observed
from nanocore.contracts.handler import Handler
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.hookspecs import hookimpl
from nanoplugins.agent.commands import Commands
from nanoplugins.agent.config import AgentConfig
from nanoplugins.agent.drivers import Drivers
from nanoplugins.agent.reporter import Reporter


class Plugin:
    """A cell's hands and eyes."""

    def __init__(self) -> None:
        self._drivers: Drivers | None = None
        self._reporter: Reporter | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Return who we are."""
        return [PluginInfo("agent", "0.1.0", "Runs the core's commands on a cell", frozenset({NodeRole.CELL}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[agent]``."""
        return [ConfigSection("agent", AgentConfig)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> list[Service]:
        """Return the drivers and the reporter."""
        drivers, reporter = self._parts(context)
        return [drivers, reporter]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> list[Handler]:
        """Return the commands a core may send."""
        drivers, reporter = self._parts(context)
        return Commands(context, drivers, reporter).handlers()

    @hookimpl
    def nano_health_checks(self, context: PluginContext) -> list[HealthCheck]:
        """Return whether the drivers are open."""
        return [HealthCheck("drivers", self._parts(context)[0].check)]

    def _parts(self, context: PluginContext) -> tuple[Drivers, Reporter]:
        if self._drivers is None or self._reporter is None:
            changes: asyncio.Queue[Observed] = asyncio.Queue()
            self._drivers = Drivers(context, changes.put_nowait)
            self._reporter = Reporter(context, self._drivers, changes)
        return self._drivers, self._reporter

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Tell a core that came back that the drivers are open."""
        if NodeRole.CORE in peer.roles and self._drivers is not None:
            await self._drivers.announce()
