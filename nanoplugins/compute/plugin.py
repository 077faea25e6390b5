"""Hook implementations of ``compute``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from nanocore.capabilities.rest import Route
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.handler import Call, Handler, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.contracts.operation import Workflow
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.contracts.state_store import Collection
from nanocore.hookspecs import hookimpl
from nanoplugins.compute import template_records
from nanoplugins.compute.batches import Batches
from nanoplugins.compute.board import Board
from nanoplugins.compute.clone import Clones
from nanoplugins.compute.config import ComputeConfig
from nanoplugins.compute.console import Consoles
from nanoplugins.compute.create import CreateWorkflow
from nanoplugins.compute.delete import DeleteWorkflow
from nanoplugins.compute.instances import Instances
from nanoplugins.compute.media import Media
from nanoplugins.compute.nics import Nics
from nanoplugins.compute.nodes import Nodes
from nanoplugins.compute.placing import Placing
from nanoplugins.compute.pools import ComputePools
from nanoplugins.compute.power import POWER_ACTIONS, PowerWorkflow
from nanoplugins.compute.rebuild import Rebuilds
from nanoplugins.compute.records import ALL
from nanoplugins.compute.routes import all_routes
from nanoplugins.compute.service import ComputeService
from nanoplugins.compute.storage import records as storage_records
from nanoplugins.compute.storage.parts import Storage
from nanoplugins.compute.storage.routes import storage_routes
from nanoplugins.compute.templates import Templates, template_routes

HOUR_SECONDS = 3600.0


@dataclass(frozen=True)
class _Parts:
    board: Board
    placing: Placing
    pools: ComputePools
    service: ComputeService
    storage: Storage
    templates: Templates
    instances: Instances
    batches: Batches


class Plugin:
    """The control plane's knowledge of cells and instances."""

    def __init__(self) -> None:
        self._made: _Parts | None = None

    @hookimpl
    def nano_plugin_info(self) -> list[PluginInfo]:
        """Return who we are."""
        summary = "Compute pools, cells and instances"
        return [PluginInfo("compute", "0.1.0", summary, frozenset({NodeRole.CORE, NodeRole.FRONTEND}))]

    @hookimpl
    def nano_config_sections(self) -> list[ConfigSection]:
        """Return ``[compute]``."""
        return [ConfigSection("compute", ComputeConfig)]

    @hookimpl
    def nano_collections(self) -> list[Collection[Any]]:
        """Return our record collections."""
        return [*ALL, *storage_records.ALL, *template_records.ALL]

    @hookimpl
    def nano_services(self, context: PluginContext) -> list[Service]:
        """Return what keeps the board true."""
        return [self._parts(context).service] if _is_core(context) else []

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> list[Handler]:
        """Return what the core answers about instances, compute pools and nodes."""
        if not _is_core(context):
            return []
        parts = self._parts(context)
        handlers = [
            *parts.instances.handlers(),
            *parts.templates.handlers(),
            *parts.batches.handlers(),
            *Nics(context, parts.board).handlers(),
            *Media(context, parts.board).handlers(),
            *Rebuilds(context, parts.board).handlers(),
            *Clones(context, parts.board, parts.placing).handlers(),
            *parts.pools.handlers(),
            *Nodes(context, parts.board).handlers(),
            *Consoles(context, parts.board).handlers(),
            *parts.storage.handlers(),
        ]
        return [replace(handler, call=_when_loaded(parts.board, handler.call)) for handler in handlers]

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> list[Subscription]:
        """Return what the core listens to."""
        return self._parts(context).service.subscriptions() if _is_core(context) else []

    @hookimpl
    def nano_workflows(self, context: PluginContext) -> list[Workflow[Any]]:
        """Return how instances are made, deleted and switched."""
        if not _is_core(context):
            return []
        parts = self._parts(context)
        return [
            CreateWorkflow(context, parts.board, parts.placing),
            DeleteWorkflow(context, parts.board),
            *(PowerWorkflow(context, parts.board, action) for action in POWER_ACTIONS),
            *Nics(context, parts.board).workflows(),
            *Media(context, parts.board).workflows(),
            *Rebuilds(context, parts.board).workflows(),
            *Clones(context, parts.board, parts.placing).workflows(),
            *parts.batches.workflows(),
            *parts.storage.workflows(),
        ]

    @hookimpl
    def nano_scheduled_jobs(self, context: PluginContext) -> list[ScheduledJob]:
        """Return the hourly clean-up."""
        if not _is_core(context):
            return []
        service = self._parts(context).service
        return [
            *self._parts(context).storage.jobs(),
            ScheduledJob("compute.delete_old_tombstones", HOUR_SECONDS, service.delete_old_tombstones),
            ScheduledJob("compute.release_lost_addresses", HOUR_SECONDS, service.release_lost_addresses),
        ]

    @hookimpl
    def nano_rest_routes(self) -> list[Route]:
        """Return the public API."""
        return [*all_routes(), *template_routes(), *storage_routes()]

    @hookimpl
    async def nano_peer_joined(self, peer: NodeInfo) -> None:
        """Show a node that answers."""
        if self._made is not None:
            self._made.service.node_joined(peer)

    @hookimpl
    async def nano_peer_lost(self, peer: NodeInfo, reason: str) -> None:
        """Show a node that does not answer."""
        if self._made is not None:
            self._made.service.node_lost(peer, reason)

    def _parts(self, context: PluginContext) -> _Parts:
        if self._made is None:
            publish = _publisher(context)
            board = Board(context, publish)
            placing = Placing(context, board)
            templates = Templates(context, board, publish)
            pools = ComputePools(context, board)
            storage = Storage(context, board, publish)
            service = ComputeService(context, board, pools, storage, templates)
            instances = Instances(context, board, placing, templates)
            batches = Batches(context, board, placing, templates, instances)
            self._made = _Parts(board, placing, pools, service, storage, templates, instances, batches)
        return self._made


def _is_core(context: PluginContext) -> bool:
    return NodeRole.CORE in context.node.roles


def _when_loaded(board: Board, call: Callable[[Any, Call], Awaitable[Any]]) -> Callable[[Any, Call], Awaitable[Any]]:
    async def run(message: Any, context: Call) -> Any:  # noqa: ANN401  each handler's own types
        board.check_loaded()
        return await call(message, context)

    return run


def _publisher(context: PluginContext) -> Callable[[ResourceChanged], None]:
    """Return what publishes changes in their order, in one task for all that a cell's report changes."""
    waiting: list[ResourceChanged] = []

    async def publish_waiting() -> None:
        changes = list(waiting)
        waiting.clear()
        for change in changes:
            await context.publish(change)

    def publish(change: ResourceChanged) -> None:
        waiting.append(change)
        if len(waiting) == 1:
            context.spawn(publish_waiting(), name="compute.publish")

    return publish
