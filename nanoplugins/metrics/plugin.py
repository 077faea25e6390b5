"""Hook implementations of ``metrics``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nanocore import __version__
from nanocore.capabilities.compute import CellUsed, GetComputePool, GetInstance, GetNode
from nanocore.capabilities.metrics import (
    GetComputePoolMetrics,
    GetInstanceMetrics,
    GetNodeMetrics,
    GetSystemMetrics,
    Series,
)
from nanocore.capabilities.rest import Route
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CORE_ONLY, Call, Handler, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.errors import ErrorCode, NanoError
from nanocore.hookspecs import hookimpl
from nanocore.ids import ComputePoolId, InstanceId, NodeId
from nanoplugins.metrics.keeping import Keeper
from nanoplugins.metrics.recorder import Recorder

DAY_SECONDS = 86_400.0


class Plugin:
    """History of nodes, instances, compute pools and the zone."""

    def __init__(self) -> None:
        self._recorder: Recorder | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say what this plugin is."""
        # A frontend needs the routes; the histories are filled and asked on a core only.
        roles = frozenset({NodeRole.CORE, NodeRole.FRONTEND})
        return [PluginInfo("metrics", __version__, "Use of nodes and instances over time", roles)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Return what samples the zone and keeps histories over a restart."""
        if NodeRole.CORE not in context.node.roles:
            return []
        return [Keeper(context, self._recorded(context))]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Return the handlers of the queries."""
        if NodeRole.CORE not in context.node.roles:
            return []
        recorder = self._recorded(context)
        return [
            Handler(GetInstanceMetrics, _empty_if_known(context, recorder.get_instance_metrics), resource=_instance),
            Handler(GetNodeMetrics, _empty_if_known(context, recorder.get_node_metrics), resource=_node),
            Handler(GetComputePoolMetrics, _empty_if_known(context, recorder.get_compute_pool_metrics), resource=_pool),
            Handler(GetSystemMetrics, recorder.get_system_metrics),
        ]

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:
        """Subscribe to what cells use and to deletions."""
        if NodeRole.CORE not in context.node.roles:
            return []
        recorder = self._recorded(context)
        return [
            Subscription(CellUsed, recorder.take_use, "metrics", allow=CORE_ONLY),
            Subscription(ResourceChanged, recorder.take_change, "metrics", allow=CORE_ONLY),
        ]

    @hookimpl
    def nano_scheduled_jobs(self, context: PluginContext) -> Sequence[ScheduledJob]:
        """Return the job that drops empty histories."""
        if NodeRole.CORE not in context.node.roles:
            return []
        return [ScheduledJob("metrics-forget", DAY_SECONDS, self._recorded(context).forget_old)]

    @hookimpl
    def nano_rest_routes(self) -> Sequence[Route]:
        """Return the routes of the queries."""
        example = {"from": 1767225600, "to": 1767229200, "step": 60}
        return [
            Route("GET", "/instances/{id}/metrics", GetInstanceMetrics, "Use of an instance over time", example),
            Route("GET", "/nodes/{id}/metrics", GetNodeMetrics, "Use of a node over time", example),
            Route(
                "GET", "/compute-pools/{id}/metrics", GetComputePoolMetrics, "Use of a compute pool over time", example
            ),
            Route("GET", "/system/metrics", GetSystemMetrics, "Use of the zone over time", example),
        ]

    def _recorded(self, context: PluginContext) -> Recorder:
        if self._recorder is None:
            self._recorder = Recorder(context.clock)
        return self._recorder


def _instance(query: GetInstanceMetrics) -> ResourceRef:
    return ResourceRef(kind="instance", id=query.id)


def _node(query: GetNodeMetrics) -> ResourceRef:
    return ResourceRef(kind="node", id=query.id)


def _pool(query: GetComputePoolMetrics) -> ResourceRef:
    return ResourceRef(kind="compute_pool", id=query.id)


def _empty_if_known(
    context: PluginContext, call: Callable[[Any, Call], Awaitable[Series]]
) -> Callable[[Any, Call], Awaitable[Series]]:
    """Answer with no samples for what exists but has not reported since the start; the owner says what exists."""

    async def run(query: GetInstanceMetrics | GetNodeMetrics | GetComputePoolMetrics, about: Call) -> Series:
        try:
            return await call(query, about)
        except NanoError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
        if isinstance(query, GetInstanceMetrics):
            await context.call(GetInstance(id=InstanceId(query.id)))
        elif isinstance(query, GetComputePoolMetrics):
            await context.call(GetComputePool(id=ComputePoolId(query.id)))
        else:
            await context.call(GetNode(id=NodeId(query.id)))
        return Series(step_seconds=query.step or 1.0)

    return run
