"""Hook implementations of ``search``."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore import __version__
from nanocore.capabilities.rest import Route
from nanocore.capabilities.search import ListHits
from nanocore.contracts.handler import Handler
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.search.searcher import Searcher


class Plugin:
    """Search over everything that the API lists."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say what this plugin is."""
        return [PluginInfo("search", __version__, "One search over every noun", frozenset({NodeRole.CORE}))]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Return the handler of the search."""
        return [Handler(ListHits, Searcher(context).search)]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Return the route."""
        return [Route("GET", "/search", ListHits, "Search every noun", {"q": "web", "limit": 10})]
