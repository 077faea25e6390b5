"""Hook implementations of ``images``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanocore import __version__
from nanocore.capabilities.hypervisor import CellReported
from nanocore.capabilities.images import EnsureCached, EvictCached
from nanocore.capabilities.rest import Route
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.capabilities.storage import ImageCache
from nanocore.contracts.handler import CELL_ONLY, CORE_ONLY, Handler, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeRole
from nanocore.contracts.operation import Workflow
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection
from nanocore.hookspecs import hookimpl
from nanoplugins.images.cache import CellCache
from nanoplugins.images.config import ImagesConfig
from nanoplugins.images.folders import ImageFolders
from nanoplugins.images.handlers import ImageHandlers
from nanoplugins.images.intake import Intake
from nanoplugins.images.library import ImageLibrary
from nanoplugins.images.making import BuildWorkflow, ImportWorkflow, Tools
from nanoplugins.images.records import IMAGES, NAMES
from nanoplugins.images.routes import routes
from nanoplugins.images.service import ImagesService
from nanoplugins.images.uses import ImageUses

EXPIRY_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Parts:
    """What this node's roles ask for."""

    service: ImagesService
    intake: Intake | None
    uses: ImageUses | None
    handlers: ImageHandlers | None
    cache: CellCache | None
    tools: Tools | None


class Plugin:
    """Disk and media images."""

    def __init__(self) -> None:
        self._made: _Parts | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Name it; a frontend needs its routes."""
        roles = frozenset({NodeRole.CORE, NodeRole.CELL, NodeRole.FRONTEND})
        return [PluginInfo("images", __version__, "Disk and media images: upload, inspection, caches on cells", roles)]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """``[images]``."""
        return [ConfigSection("images", ImagesConfig)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """One for both sides; none on a mere frontend."""
        parts = self._parts(context)
        return [parts.service] if parts.handlers or parts.cache else []

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Declare the core's and the cell's."""
        parts = self._parts(context)
        declared = [] if parts.handlers is None else [*parts.handlers.declare()]
        if parts.cache is not None:
            declared.append(Handler(EnsureCached, parts.cache.ensure_cached, allow=CORE_ONLY))
            declared.append(Handler(EvictCached, parts.cache.evict_cached, allow=CORE_ONLY))
        return declared

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:
        """Take cells' reports for ``cached_on``, and changes of whoever uses images for ``used_by``."""
        parts = self._parts(context)
        if parts.handlers is None or parts.uses is None:
            return []
        return [
            Subscription(CellReported, parts.handlers.note_report, "images", allow=CELL_ONLY),
            Subscription(ResourceChanged, parts.uses.note_change, "images", allow=CORE_ONLY),
        ]

    @hookimpl
    def nano_collections(self) -> Sequence[Collection[Any]]:
        """Keep records and their names."""
        return [IMAGES, NAMES]

    @hookimpl
    def nano_workflows(self, context: PluginContext) -> Sequence[Workflow[Any]]:
        """Say how images are made of instances and of files elsewhere."""
        tools = self._parts(context).tools
        return [] if tools is None else [BuildWorkflow(tools), ImportWorkflow(tools)]

    @hookimpl
    def nano_scheduled_jobs(self, context: PluginContext) -> Sequence[ScheduledJob]:
        """Expiry of abandoned uploads."""
        intake = self._parts(context).intake
        return [] if intake is None else [ScheduledJob("images.expire_uploads", EXPIRY_SECONDS, intake.expire)]

    @hookimpl
    def nano_image_caches(self, context: PluginContext) -> Sequence[ImageCache]:
        """Offer the cell's cache."""
        cache = self._parts(context).cache
        return [] if cache is None else [cache]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """``/disk-images`` and ``/media-images``."""
        return routes()

    def _parts(self, context: PluginContext) -> _Parts:
        if self._made is None:
            self._made = _make(context)
        return self._made


def _make(context: PluginContext) -> _Parts:
    config, folders = context.config(ImagesConfig), ImageFolders(context.paths.state)
    cache = CellCache(context, config, folders) if NodeRole.CELL in context.node.roles else None
    if NodeRole.CORE not in context.node.roles:
        return _Parts(ImagesService(folders, None, cache), None, None, None, cache, None)
    library = ImageLibrary(context, config, folders)
    intake = Intake(context, config, folders, library)
    uses = ImageUses(context, library)
    service = ImagesService(folders, (library, intake, uses), cache)
    tools = Tools(context, config, folders, library, intake)
    return _Parts(service, intake, uses, ImageHandlers(tools, uses), cache, tools)
