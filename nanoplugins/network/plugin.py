"""Hook implementations of ``network``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nanocore
from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import Handler, Subscription
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection
from nanocore.hookspecs import hookimpl
from nanoplugins.network.config import NetworkConfig
from nanoplugins.network.records import COLLECTIONS
from nanoplugins.network.routes import all_routes
from nanoplugins.network.service import NetworkService


class Plugin:
    """Networks and their addresses."""

    def __init__(self) -> None:
        self._service: NetworkService | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say who this is."""
        return [
            PluginInfo(
                name="network",
                version=nanocore.__version__,
                summary="Networks, address pools and security policies",
                roles=frozenset({NodeRole.CORE}),
            )
        ]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Declare ``[network]``."""
        return [ConfigSection("network", NetworkConfig)]

    @hookimpl
    def nano_collections(self) -> Sequence[Collection[Any]]:
        """Declare what is kept."""
        return COLLECTIONS

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Declare the keeper of networks."""
        return [self._the_service(context)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Declare what is answered."""
        return self._the_service(context).handlers()

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:
        """Declare what the core listens to."""
        return self._the_service(context).subscriptions()

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Declare ``/networks``, ``/address-pools`` and ``/security-policies``."""
        return all_routes()

    def _the_service(self, context: PluginContext) -> NetworkService:
        # Several hooks speak of the same service, in an order that means nothing.
        if self._service is None:
            self._service = NetworkService(context)
        return self._service
