"""Hook implementations of ``placement``."""

from __future__ import annotations

from nanocore.capabilities.placement import PlacementFilter, PlacementWeigher, Placer
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.placement.config import PlacementConfig
from nanoplugins.placement.filters import all_filters
from nanoplugins.placement.placer import WeightedPlacer
from nanoplugins.placement.weighers import all_weighers


class Plugin:
    """Placement by filters and weighers."""

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Return who we are."""
        return [PluginInfo("placement", "0.1.0", "Chooses a cell by filters and weighers", frozenset({NodeRole.CORE}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[placement]``."""
        return [ConfigSection("placement", PlacementConfig)]

    @hookimpl
    def nano_placers(self, context: PluginContext) -> list[Placer]:
        """Return the placer ``weighted``."""
        return [
            WeightedPlacer(
                lambda: list(context.collected(PlacementFilter).values()),
                lambda: list(context.collected(PlacementWeigher).values()),
            )
        ]

    @hookimpl
    def nano_placement_filters(self, context: PluginContext) -> list[PlacementFilter]:
        """Return our filters."""
        return all_filters(context.config(PlacementConfig))

    @hookimpl
    def nano_placement_weighers(self) -> list[PlacementWeigher]:
        """Return our weighers."""
        return all_weighers()
