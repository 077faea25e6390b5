"""Hook implementations of ``scheduler``."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore import __version__
from nanocore.capabilities.schedule import ScheduledJob
from nanocore.contracts.node import NodeRole
from nanocore.contracts.plugin import ConfigSection, PluginContext, PluginInfo
from nanocore.contracts.service import Service
from nanocore.hookspecs import hookimpl
from nanoplugins.scheduler.config import SchedulerConfig
from nanoplugins.scheduler.retention import INTERVAL_SECONDS, OperationRetention
from nanoplugins.scheduler.service import Schedule


class Plugin:
    """Timed jobs."""

    @hookimpl
    def nano_plugin_info(self) -> Sequence[PluginInfo]:
        """Say what this plugin is."""
        return [PluginInfo("scheduler", __version__, "Runs timed jobs", frozenset({NodeRole.CORE}))]

    @hookimpl
    def nano_config_sections(self) -> Sequence[ConfigSection]:
        """Return ``[scheduler]``."""
        return [ConfigSection("scheduler", SchedulerConfig)]

    @hookimpl
    def nano_services(self, context: PluginContext) -> Sequence[Service]:
        """Return the running schedule."""
        return [Schedule(lambda: context.collected(ScheduledJob), context.clock, context.log)]

    @hookimpl
    def nano_scheduled_jobs(self, context: PluginContext) -> Sequence[ScheduledJob]:
        """Return the retention of operations."""
        keep_days = context.config(SchedulerConfig).operation_retention_days
        retention = OperationRetention(lambda: context.operations, keep_days, context.clock, context.log)
        return [ScheduledJob("operation-retention", INTERVAL_SECONDS, retention.run)]
