"""Hook implementations of ``network``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nanocore
from nanocore.capabilities.network import (
    AllocateAddress,
    GetNetwork,
    ListAllocations,
    ListNetworks,
    ReleaseAddress,
)
from nanocore.capabilities.rest import Route
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CORE_ONLY, Handler
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection
from nanocore.hookspecs import hookimpl
from nanocore.model.network import Network
from nanoplugins.network.config import NetworkConfig
from nanoplugins.network.service import COLLECTIONS, NetworkService


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
                summary="Networks and the addresses allocated from them",
                roles=frozenset({NodeRole.CORE}),
            )
        ]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Declare ``[network]``."""
        return [ConfigSection("network", NetworkConfig)]

    @hookimpl
    def nano_collections(self) -> Sequence[Collection[Any]]:
        """Declare networks and allocations."""
        return COLLECTIONS

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Declare the keeper of networks."""
        return [self._the_service(context)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Declare what is answered."""
        service = self._the_service(context)
        return [
            Handler(ListNetworks, service.list),
            Handler(GetNetwork, service.get, resource=lambda query: ResourceRef(kind="network", id=query.id)),
            Handler(AllocateAddress, service.allocate, allow=CORE_ONLY),
            Handler(ReleaseAddress, service.release, allow=CORE_ONLY),
            Handler(ListAllocations, service.list_allocations, allow=CORE_ONLY),
        ]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Declare ``/networks``."""
        return [
            Route("GET", "/networks", ListNetworks, "List networks", example={"limit": 20}, is_list=True, item=Network),
            Route("GET", "/networks/{id}", GetNetwork, "Show one network"),
        ]

    def _the_service(self, context: PluginContext) -> NetworkService:
        # Several hooks speak of the same service, in an order that means nothing.
        if self._service is None:
            self._service = NetworkService(context)
        return self._service
