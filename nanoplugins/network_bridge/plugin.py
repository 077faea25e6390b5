"""Hook implementations of ``network_bridge``."""

from __future__ import annotations

from collections.abc import Sequence

import nanocore
from nanocore.capabilities.health import HealthCheck
from nanocore.capabilities.network import NetworkDriver
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.network_bridge.config import NetworkBridgeConfig
from nanoplugins.network_bridge.driver import BridgeDriver
from nanoplugins.network_bridge.health import check_networks


class Plugin:
    """Makes the networks of a cell's guests."""

    def __init__(self) -> None:
        self._driver: BridgeDriver | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say who this is."""
        return [
            PluginInfo(
                name="network_bridge",
                version=nanocore.__version__,
                summary="Bridges with NAT, DHCP and DNS for guests",
                roles=frozenset({NodeRole.CELL}),
            )
        ]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Declare ``[network_bridge]``."""
        return [ConfigSection("network_bridge", NetworkBridgeConfig)]

    @hookimpl
    def nano_network_drivers(self, context: PluginContext) -> Sequence[NetworkDriver]:
        """Declare the driver ``bridge``."""
        return [self._the_driver(context)]

    @hookimpl
    def nano_health_checks(self, context: PluginContext) -> Sequence[HealthCheck]:
        """Declare the check of DHCP and forwarding."""
        driver = self._the_driver(context)
        return [HealthCheck("networks of guests", lambda: check_networks(driver))]

    def _the_driver(self, context: PluginContext) -> BridgeDriver:
        # Both hooks speak of the same driver, and either may be asked first.
        if self._driver is None:
            self._driver = BridgeDriver(
                node_id=context.node.id,
                folder=context.paths.state,
                settings=context.config(NetworkBridgeConfig),
                log=context.log,
            )
        return self._driver
