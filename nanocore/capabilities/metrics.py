"""History of nodes, instances, compute pools and the zone."""

from __future__ import annotations

from typing import Annotated, ClassVar

from nanocore.wire import Meta, Query, Result, field


class Series(Result, frozen=True, kw_only=True):
    """Aligned samples: ``times`` in seconds since 1970, one value or ``None`` for each in every series."""

    step_seconds: float
    times: list[float] = field(default_factory=list)
    series: dict[str, list[float | None]] = field(default_factory=dict)


class _MetricsQuery(Query[Series], frozen=True, kw_only=True):
    from_: Annotated[float | None, Meta(description="Start, seconds since 1970; default: an hour ago")] = field(
        default=None, name="from"
    )
    to: Annotated[float | None, Meta(description="End, seconds since 1970; default: now")] = None
    step: Annotated[Annotated[float, Meta(ge=1)] | None, Meta(description="Wanted distance of samples in seconds")] = (
        None
    )


class GetInstanceMetrics(_MetricsQuery, Query[Series], frozen=True, kw_only=True):
    """Use of one instance over time."""

    op: ClassVar[str] = "metrics.get_instance_metrics"
    permission: ClassVar[str | None] = "instance.read"

    id: str


class GetNodeMetrics(_MetricsQuery, Query[Series], frozen=True, kw_only=True):
    """Use of one node over time."""

    op: ClassVar[str] = "metrics.get_node_metrics"
    permission: ClassVar[str | None] = "node.read"

    id: str


class GetComputePoolMetrics(_MetricsQuery, Query[Series], frozen=True, kw_only=True):
    """Use of one compute pool over time, of the cells that were in it at each moment."""

    op: ClassVar[str] = "metrics.get_compute_pool_metrics"
    permission: ClassVar[str | None] = "compute_pool.read"

    id: str


class GetSystemMetrics(_MetricsQuery, Query[Series], frozen=True, kw_only=True):
    """Use of the whole zone over time."""

    op: ClassVar[str] = "metrics.get_system_metrics"
    permission: ClassVar[str | None] = "system.read"
