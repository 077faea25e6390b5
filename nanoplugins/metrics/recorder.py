"""What the plugin remembers: histories by node and by instance, filled from the cells' reports."""

from __future__ import annotations

from collections.abc import Sequence

from nanocore.capabilities.hypervisor import CellReported
from nanocore.capabilities.metrics import GetInstanceMetrics, GetNodeMetrics, Series
from nanocore.clock import Clock
from nanocore.contracts.handler import Call
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.metrics.rings import History

RESOLUTIONS: tuple[tuple[float, int], ...] = ((2.0, 1800), (60.0, 1440), (600.0, 1008))
"""Seconds a sample and number of samples: an hour, a day, a week."""
HOUR_SECONDS = 3600.0
FORGET_SECONDS = 7 * 24 * HOUR_SECONDS
FORGOTTEN_KEPT = 10_000

INSTANCE_SERIES = (
    "cpu_percent",
    "memory_bytes",
    "disk_read_bytes_per_second",
    "disk_write_bytes_per_second",
    "network_receive_bytes_per_second",
    "network_transmit_bytes_per_second",
)
NODE_SERIES = (
    "cpu_percent",
    "memory_used_bytes",
    "memory_bytes",
    "disk_used_bytes",
    "disk_bytes",
    "instances",
)


class Recorder:
    """Handlers, subscriptions and the job of this plugin."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, History] = {}
        self._instances: dict[str, History] = {}
        self._deleted: dict[str, None] = {}
        """Late reports about these must not bring them back; bounded."""

    async def take_report(self, event: CellReported, source: NodeInfo) -> None:
        """Count a cell's report into the histories of the cell and its instances."""
        now = self._clock.now().timestamp()
        report = event.report
        sample = (
            report.cpu_percent,
            report.memory_used_bytes,
            report.memory_bytes,
            report.disk_used_bytes,
            report.disk_bytes,
            len(report.usage),
        )
        _history(self._nodes, source.id, NODE_SERIES).add(now, sample)
        for id, usage in report.usage.items():
            if id not in self._deleted:
                sample = tuple(getattr(usage, name) for name in INSTANCE_SERIES)
                _history(self._instances, id, INSTANCE_SERIES).add(now, sample)

    async def take_change(self, event: ResourceChanged, source: NodeInfo) -> None:
        """Forget what was deleted."""
        del source
        if not event.is_deleted:
            return
        if event.noun == "instances":
            self._instances.pop(event.id, None)
            self._deleted[event.id] = None
            if len(self._deleted) > FORGOTTEN_KEPT:
                del self._deleted[next(iter(self._deleted))]
        elif event.noun == "nodes":
            self._nodes.pop(event.id, None)

    async def forget_old(self) -> None:
        """Drop histories that hold nothing any more; run daily."""
        limit = self._clock.now().timestamp() - FORGET_SECONDS
        for histories in (self._nodes, self._instances):
            for id in [id for id, history in histories.items() if history.last_at < limit]:
                del histories[id]

    async def get_instance_metrics(self, query: GetInstanceMetrics, call: Call) -> Series:
        """Answer ``metrics.get_instance_metrics``."""
        del call
        return self._series(self._instances, query, "instance")

    async def get_node_metrics(self, query: GetNodeMetrics, call: Call) -> Series:
        """Answer ``metrics.get_node_metrics``."""
        del call
        return self._series(self._nodes, query, "node")

    def _series(self, histories: dict[str, History], query: GetInstanceMetrics | GetNodeMetrics, noun: str) -> Series:
        history = histories.get(query.id)
        if history is None:
            message = f"there are no metrics of {noun} {query.id[:80]}: it is unknown here, or has not reported yet"
            raise NanoError(ErrorCode.NOT_FOUND, message)
        now = self._clock.now().timestamp()
        end = now if query.to is None else query.to
        start = end - HOUR_SECONDS if query.from_ is None else query.from_
        if start > end:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "from must not be after to", field="from")
        step, times, series = history.read(start, end, query.step, now)
        return Series(step_seconds=step, times=times, series=dict(series))


def _history(histories: dict[str, History], id: str, series: Sequence[str]) -> History:
    history = histories.get(id)
    if history is None:
        history = histories[id] = History(series, RESOLUTIONS)
    return history
