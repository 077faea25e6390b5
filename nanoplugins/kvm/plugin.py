"""Hook implementations of ``kvm``."""

from __future__ import annotations

from nanocore import __version__
from nanocore.capabilities.health import HealthCheck
from nanocore.capabilities.hypervisor import HypervisorDriver
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.kvm.config import KvmConfig
from nanoplugins.kvm.driver import NAME, KvmDriver
from nanoplugins.kvm.events import shared_pump


class Plugin:
    """Guests on libvirt and QEMU."""

    def __init__(self) -> None:
        self._driver: KvmDriver | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Name it."""
        summary = "Runs guests with libvirt and QEMU"
        return [PluginInfo(NAME, __version__, summary, frozenset({NodeRole.CELL}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[kvm]``."""
        return [ConfigSection(NAME, KvmConfig)]

    @hookimpl
    def nano_hypervisor_drivers(self, context: PluginContext) -> list[HypervisorDriver]:
        """Offer the driver ``kvm``."""
        return [self._the_driver(context)]

    @hookimpl
    def nano_health_checks(self, context: PluginContext) -> list[HealthCheck]:
        """Check that libvirt can be reached."""
        return [HealthCheck("libvirt", self._the_driver(context).check)]

    def _the_driver(self, context: PluginContext) -> KvmDriver:
        # Both hooks speak of the same driver, and either may be asked first.
        if self._driver is None:
            self._driver = KvmDriver(
                context.config(KvmConfig),
                zone=context.node.zone,
                clock=context.clock,
                log=context.log,
                pump=shared_pump(),
                probe_cache=context.paths.state / "acceleration.json",
            )
        return self._driver
