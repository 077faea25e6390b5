"""Hook implementations of ``metrics``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nanocore import __version__
from nanocore.capabilities.compute import GetInstance, GetNode
from nanocore.capabilities.hypervisor import CellReported
from nanocore.capabilities.metrics import GetInstanceMetrics, GetNodeMetrics, Series
from nanocore.capabilities.rest import Route
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.authorizer import ResourceRef
from nanocore.contracts.handler import CELL_ONLY, CORE_ONLY, Call, Handler, Subscription
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import PluginContext, PluginInfo
from nanocore.errors import ErrorCode, NanoError
from nanocore.hookspecs import hookimpl
from nanocore.ids import InstanceId, NodeId
from nanoplugins.metrics.recorder import Recorder

DAY_SECONDS = 86_400.0


class Plugin:
    """History of nodes and instances."""

    def __init__(self) -> None:
        self._recorder: Recorder | None = None

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say what this plugin is."""
        # A frontend needs the routes; the histories are filled and asked on a core only.
        roles = frozenset({NodeRole.CORE, NodeRole.FRONTEND})
        return [PluginInfo("metrics", __version__, "Use of nodes and instances over time", roles)]

    @hookimpl
    def nano_message_handlers(self, context: PluginContext) -> Sequence[Handler]:
        """Return the handlers of both queries."""
        if NodeRole.CORE not in context.node.roles:
            return []
        recorder = self._recorded(context)
        return [
            Handler(GetInstanceMetrics, _empty_if_known(context, recorder.get_instance_metrics), resource=_instance),
            Handler(GetNodeMetrics, _empty_if_known(context, recorder.get_node_metrics), resource=_node),
        ]

    @hookimpl
    def nano_event_subscriptions(self, context: PluginContext) -> Sequence[Subscription]:
        """Subscribe to reports and to deletions."""
        if NodeRole.CORE not in context.node.roles:
            return []
        recorder = self._recorded(context)
        return [
            Subscription(CellReported, recorder.take_report, "metrics", allow=CELL_ONLY),
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
        """Return the routes of both queries."""
        example = {"from": 1767225600, "to": 1767229200, "step": 60}
        return [
            Route("GET", "/instances/{id}/metrics", GetInstanceMetrics, "Use of an instance over time", example),
            Route("GET", "/nodes/{id}/metrics", GetNodeMetrics, "Use of a node over time", example),
        ]

    def _recorded(self, context: PluginContext) -> Recorder:
        if self._recorder is None:
            self._recorder = Recorder(context.clock)
        return self._recorder


def _instance(query: GetInstanceMetrics) -> ResourceRef:
    return ResourceRef(kind="instance", id=query.id)


def _node(query: GetNodeMetrics) -> ResourceRef:
    return ResourceRef(kind="node", id=query.id)


def _empty_if_known(
    context: PluginContext, call: Callable[[Any, Call], Awaitable[Series]]
) -> Callable[[Any, Call], Awaitable[Series]]:
    """Answer with no samples for what exists but has not reported since the start; the owner says what exists."""

    async def run(query: GetInstanceMetrics | GetNodeMetrics, about: Call) -> Series:
        try:
            return await call(query, about)
        except NanoError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
        if isinstance(query, GetInstanceMetrics):
            await context.call(GetInstance(id=InstanceId(query.id)))
        else:
            await context.call(GetNode(id=NodeId(query.id)))
        return Series(step_seconds=query.step or 1.0)

    return run
