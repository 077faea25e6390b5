"""Hook implementations of ``state_sqlite``."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore import __version__
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.contracts.state_store import StateStore
from nanocore.hookspecs import hookimpl
from nanoplugins.state_sqlite.store import SqliteStateStore


class Plugin:
    """The embedded state store."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say what this plugin is."""
        return [
            PluginInfo("state_sqlite", __version__, "Durable records in one SQLite file", frozenset({NodeRole.CORE}))
        ]

    @hookimpl
    def nano_state_stores(self, context: PluginContext) -> Sequence[StateStore]:
        """Offer the store ``sqlite``, not opened."""
        return [SqliteStateStore(context.paths.state / "nano.db", context.log)]
