"""Hook implementations of ``identity_local``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nanocore.capabilities.rest import Route
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.authorizer import Authorizer
from nanocore.contracts.handler import Handler
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection
from nanocore.hookspecs import hookimpl
from nanoplugins.identity_local.config import IdentityLocalConfig
from nanoplugins.identity_local.records import SESSIONS, TOKENS, USERS
from nanoplugins.identity_local.routes import all_routes
from nanoplugins.identity_local.service import IdentityService

SWEEP_SECONDS = 3600.0


class Plugin:
    """Users, sessions and tokens on a core."""

    def __init__(self) -> None:
        self._service: IdentityService | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Return who we are."""
        return [PluginInfo("identity_local", "0.1.0", "Users, sessions and API tokens", frozenset({NodeRole.CORE}))]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Return ``[identity_local]``."""
        return [ConfigSection("identity_local", IdentityLocalConfig)]

    @hookimpl
    def nano_collections(self) -> Sequence[Collection[Any]]:
        """Return what we keep."""
        return [USERS, SESSIONS, TOKENS]

    @hookimpl
    def nano_authorizers(self, context: PluginContext) -> Sequence[Authorizer]:
        """Return the authorizer ``local``."""
        return [self._parts(context).authorizer]

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Return what makes the administrator and hashes passwords."""
        return [self._parts(context)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Return login, logout and tokens."""
        return self._parts(context).handlers.all()

    @hookimpl
    def nano_scheduled_jobs(self, context: PluginContext) -> Sequence[ScheduledJob]:
        """Return the removal of what has expired."""
        return [ScheduledJob("identity_local.sweep", SWEEP_SECONDS, self._parts(context).sweep)]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Return ``/session`` and ``/tokens``."""
        return all_routes()

    def _parts(self, context: PluginContext) -> IdentityService:
        if self._service is None:
            self._service = IdentityService(context)
        return self._service
