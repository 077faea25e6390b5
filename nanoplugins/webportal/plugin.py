"""Hook implementations of ``webportal``."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from nanocore.capabilities.portal import StaticFolder
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.errors import ErrorCode, NanoError
from nanocore.hookspecs import hookimpl


class Plugin:
    """The portal's files; ``restapi`` serves them."""

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Return who we are."""
        return [PluginInfo("webportal", "0.1.0", "Web portal: everything in the browser, on the API alone")]

    @hookimpl
    def nano_portal_pages(self, context: PluginContext) -> list[StaticFolder]:
        """Return the built portal, whose ``index.html`` answers every path that is no file.

        No document needs inline styles: what draws the serial console writes through the CSSOM.
        """
        folder = Path(str(files("nanoplugins.webportal"))) / "static"
        if not (folder / "index.html").is_file():
            raise NanoError(
                ErrorCode.UNAVAILABLE,
                f"the portal is not built: {folder} has no index.html; run `python -m nanoplugins.webportal.build`",
                reason="webportal.not_built",
            )
        context.log.debug("portal found", folder=str(folder))
        return [StaticFolder(url_prefix="/", folder=folder, index="index.html")]
