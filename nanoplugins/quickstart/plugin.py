"""Hook implementations of ``quickstart``."""

from __future__ import annotations

from collections.abc import Sequence

import nanocore
from nanocore.capabilities.cli import CliCommand
from nanocore.contracts.plugin import PluginInfo
from nanocore.hookspecs import hookimpl


class Plugin:
    """Adds ``nano demo-image``; the rest of this package is not a plugin but the program behind ``./quickstart``."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say who this is."""
        return [
            PluginInfo(
                name="quickstart",
                version=nanocore.__version__,
                summary="First steps on a fresh machine, and the demo disk image",
            )
        ]

    @hookimpl
    def nano_cli_commands(self) -> Sequence[CliCommand]:
        """Declare ``nano demo-image``."""
        target = "nanoplugins.quickstart.cli:demo_image"
        return [CliCommand("demo-image", target, "Build a small bootable disk image from this system's packages")]
