"""Hook implementations of ``storage_local``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanocore import __version__
from nanocore.capabilities.storage import StorageDriver
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl
from nanoplugins.storage_local.config import StorageLocalConfig
from nanoplugins.storage_local.driver import LocalStorage


class Plugin:
    """Volumes on local folders."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Name it."""
        return [
            PluginInfo(
                name="storage_local",
                version=__version__,
                summary="Volumes as qcow2 files in local folders",
                roles=frozenset({NodeRole.CELL}),
            )
        ]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """``[storage_local]``."""
        return [ConfigSection(name="storage_local", kind=StorageLocalConfig)]

    @hookimpl
    def nano_storage_drivers(self, context: PluginContext) -> Sequence[StorageDriver]:
        """Offer the driver ``local``."""
        config = context.config(StorageLocalConfig)
        driver = LocalStorage(
            [Path(path) for path in config.paths],
            default_path=context.paths.state / "pool",
            reserve_bytes=config.reserve_bytes,
            log=context.log,
        )
        return [driver]
