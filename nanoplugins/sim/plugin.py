"""Hook implementations of ``sim``."""

from __future__ import annotations

from nanocore import __version__
from nanocore.capabilities.hypervisor import HypervisorDriver
from nanocore.capabilities.network import NetworkDriver
from nanocore.capabilities.storage import StorageDriver
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.sim.config import SimConfig
from nanoplugins.sim.hypervisor import NAME, SimHypervisor
from nanoplugins.sim.network import SimNetwork
from nanoplugins.sim.storage import SimStorage


class Plugin:
    """A cell without a machine: for tests, demonstrations and scale."""

    def __init__(self) -> None:
        self._storage: SimStorage | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Name it."""
        summary = "Simulates hypervisor, storage and network"
        return [PluginInfo(NAME, __version__, summary, frozenset({NodeRole.CELL}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[sim]``."""
        return [ConfigSection(NAME, SimConfig)]

    @hookimpl
    def nano_hypervisor_drivers(self, context: PluginContext) -> list[HypervisorDriver]:
        """Offer the driver ``sim``."""
        guest_file = context.paths.state / "guests.jsonl"
        config, storage = context.config(SimConfig), self._the_storage(context)
        return [SimHypervisor(config, clock=context.clock, guest_file=guest_file, storage=storage)]

    @hookimpl
    def nano_storage_drivers(self, context: PluginContext) -> list[StorageDriver]:
        """Offer the driver ``sim``."""
        return [self._the_storage(context)]

    @hookimpl
    def nano_network_drivers(self, context: PluginContext) -> list[NetworkDriver]:
        """Offer the driver ``sim``."""
        return [SimNetwork(context.paths.state / "ports")]

    def _the_storage(self, context: PluginContext) -> SimStorage:
        # Guests change their volumes, and either hook may be asked first.
        if self._storage is None:
            total = context.config(SimConfig).storage_bytes
            self._storage = SimStorage(context.paths.state / "volumes.json", total_bytes=total)
        return self._storage
