"""Hook implementations of ``restapi``."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities.health import HealthCheck
from nanocore.capabilities.rest import Route
from nanocore.contracts.handler import CORE_ONLY, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.hookspecs import hookimpl
from nanoplugins.restapi.config import RestapiConfig
from nanoplugins.restapi.routes import all_routes
from nanoplugins.restapi.service import RestService

ROLES = frozenset({NodeRole.CORE, NodeRole.FRONTEND})


class Plugin:
    """The public API: on TCP on a frontend, on the local socket on a core as well."""

    def __init__(self) -> None:
        self._service: RestService | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Return who we are."""
        return [PluginInfo("restapi", "0.1.0", "HTTP API, events, consoles, uploads, portal files", ROLES)]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Return ``[restapi]``."""
        return [ConfigSection("restapi", RestapiConfig)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Return the listeners."""
        return [self._parts(context)]

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:
        """Return our interest in every change, for clients that follow."""
        return [Subscription(ResourceChanged, self._parts(context).record, "restapi", allow=CORE_ONLY)]

    @hookimpl
    def nano_health_checks(self, context: PluginContext) -> Sequence[HealthCheck]:
        """Return whether the portal's port is served."""
        return [HealthCheck("portal port", self._parts(context).check)]

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Learn where the core is, on a frontend elsewhere."""
        if self._service is not None:
            self._service.note_peer(peer)

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Return routes of what the kernel owns."""
        return all_routes()

    def _parts(self, context: PluginContext) -> RestService:
        if self._service is None:
            self._service = RestService(context)
        return self._service
