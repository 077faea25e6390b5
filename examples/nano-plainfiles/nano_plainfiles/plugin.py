"""Hook implementations of the plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nano_plainfiles.driver import PlainFiles
from nanocore.capabilities.storage import StorageDriver
from nanocore.config import setting
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.hookspecs import hookimpl


@dataclass(frozen=True, slots=True)
class PlainFilesConfig:
    """Table ``[plainfiles]``."""

    path: str = setting("/srv/nano", "Folder of the volumes; it must exist.")
    reserve_bytes: int = setting(256 * 1024**2, "Space that is left free.", minimum=0)


class Plugin:
    """Offers the storage driver ``plainfiles``."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Introduce the plugin; it does something on cells only."""
        return [PluginInfo("plainfiles", "1.0", "Volumes as raw files in one folder", frozenset({NodeRole.CELL}))]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Declare ``[plainfiles]``."""
        return [ConfigSection("plainfiles", PlainFilesConfig)]

    @hookimpl
    def nano_storage_drivers(self, context: PluginContext) -> Sequence[StorageDriver]:
        """Offer the driver, not opened."""
        config = context.config(PlainFilesConfig)
        return [PlainFiles(Path(config.path), reserve_bytes=config.reserve_bytes)]
