"""What the plugin remembers: histories of nodes, instances, compute pools and the zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nanocore.capabilities.compute import CellUsed, PoolUsage, ZoneUsage
from nanocore.capabilities.metrics import (
    GetComputePoolMetrics,
    GetInstanceMetrics,
    GetNodeMetrics,
    GetSystemMetrics,
    Series,
)
from nanocore.clock import Clock
from nanocore.contracts.handler import Call
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo
from nanocore.errors import ErrorCode, NanoError
from nanoplugins.metrics.rings import History, SavedHistory

RESOLUTIONS: tuple[tuple[float, int], ...] = ((2.0, 1800), (60.0, 1440), (600.0, 1008))
"""Seconds a sample and number of samples: an hour, a day, a week."""
HOUR_SECONDS = 3600.0
FORGET_SECONDS = 7 * 24 * HOUR_SECONDS
FORGOTTEN_KEPT = 10_000

RATES = (
    "disk_read_bytes_per_second",
    "disk_write_bytes_per_second",
    "network_receive_bytes_per_second",
    "network_transmit_bytes_per_second",
)
INSTANCE_SERIES = ("cpu_percent", "memory_bytes", *RATES)
NODE_SERIES = (
    "cpu_percent",
    "memory_used_bytes",
    "memory_bytes",
    "disk_used_bytes",
    "disk_bytes",
    "instances",
    *RATES,
)
POOL_SERIES = (*NODE_SERIES, "cores", "vcpus_allocated", "memory_allocated_bytes")
SERIES = {"instance": INSTANCE_SERIES, "node": NODE_SERIES, "compute_pool": POOL_SERIES, "zone": POOL_SERIES}
NOUNS = {"instances": "instance", "nodes": "node", "compute-pools": "compute_pool"}
ZONE = "zone"
MetricsQuery = GetInstanceMetrics | GetNodeMetrics | GetComputePoolMetrics | GetSystemMetrics


class Recorder:
    """Handlers, subscriptions and the job of this plugin."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._histories: dict[str, dict[str, History]] = {kind: {} for kind in SERIES}
        self._deleted: dict[str, None] = {}
        """Late reports about these must not bring them back; bounded."""

    async def take_use(self, event: CellUsed, source: NodeInfo) -> None:
        """Count what a cell uses into the histories of the cell and its instances."""
        del source
        now = self._clock.now().timestamp()
        report = event.report
        rates = [sum(getattr(usage, name) for usage in report.usage.values()) for name in RATES]
        sample = (
            report.cpu_percent,
            report.memory_used_bytes,
            report.memory_bytes,
            report.disk_used_bytes,
            report.disk_bytes,
            len(report.usage),
            *rates,
        )
        self._add("node", event.node_id, now, sample)
        for id, usage in report.usage.items():
            if id not in self._deleted:
                self._add("instance", id, now, tuple(getattr(usage, name) for name in INSTANCE_SERIES))

    def take_zone(self, zone: ZoneUsage) -> None:
        """Count what is used of the zone and of each compute pool."""
        now = self._clock.now().timestamp()
        self._add("zone", ZONE, now, _pool_sample(zone.zone))
        for id, pool in zone.compute_pools.items():
            self._add("compute_pool", id, now, _pool_sample(pool))

    async def take_change(self, event: ResourceChanged, source: NodeInfo) -> None:
        """Forget what was deleted."""
        del source
        kind = NOUNS.get(event.noun)
        if not event.is_deleted or kind is None:
            return
        self._histories[kind].pop(event.id, None)
        if kind == "instance":
            self._deleted[event.id] = None
            if len(self._deleted) > FORGOTTEN_KEPT:
                del self._deleted[next(iter(self._deleted))]

    async def forget_old(self) -> None:
        """Drop histories that hold nothing any more; run daily."""
        limit = self._clock.now().timestamp() - FORGET_SECONDS
        for histories in self._histories.values():
            for id in [id for id, history in histories.items() if history.last_at < limit]:
                del histories[id]

    # -- over a restart

    def saved(self) -> Iterator[SavedHistory]:
        """Yield what shall outlive the process: all of nodes, pools and zone, of instances no single 2 s samples."""
        finest = RESOLUTIONS[0][0]
        for kind, histories in self._histories.items():
            for id, history in list(histories.items()):
                yield history.save(kind, id, finest if kind == "instance" else 0.0)

    def load(self, saved: SavedHistory) -> None:
        """Take over what ``saved`` yielded before a restart, unless it is too old or of another version."""
        is_fresh = saved.last_at >= self._clock.now().timestamp() - FORGET_SECONDS
        if saved.kind in SERIES and is_fresh and saved.id not in self._histories[saved.kind]:
            history = History(SERIES[saved.kind], RESOLUTIONS)
            history.load(saved)
            self._histories[saved.kind][saved.id] = history

    # -- answers

    async def get_instance_metrics(self, query: GetInstanceMetrics, call: Call) -> Series:
        """Answer ``metrics.get_instance_metrics``."""
        del call
        return self._series("instance", query.id, query)

    async def get_node_metrics(self, query: GetNodeMetrics, call: Call) -> Series:
        """Answer ``metrics.get_node_metrics``."""
        del call
        return self._series("node", query.id, query)

    async def get_compute_pool_metrics(self, query: GetComputePoolMetrics, call: Call) -> Series:
        """Answer ``metrics.get_compute_pool_metrics``."""
        del call
        return self._series("compute_pool", query.id, query)

    async def get_system_metrics(self, query: GetSystemMetrics, call: Call) -> Series:
        """Answer ``metrics.get_system_metrics``; a zone just begun has no samples."""
        del call
        if ZONE not in self._histories["zone"]:
            return Series(step_seconds=query.step or RESOLUTIONS[0][0])
        return self._series("zone", ZONE, query)

    def _add(self, kind: str, id: str, at: float, sample: Sequence[float]) -> None:
        history = self._histories[kind].get(id)
        if history is None:
            history = self._histories[kind][id] = History(SERIES[kind], RESOLUTIONS)
        history.add(at, sample)

    def _series(self, kind: str, id: str, query: MetricsQuery) -> Series:
        history = self._histories[kind].get(id)
        if history is None:
            noun = kind.replace("_", " ")
            message = f"there are no metrics of {noun} {id[:80]}: it is unknown here, or has not reported yet"
            raise NanoError(ErrorCode.NOT_FOUND, message)
        now = self._clock.now().timestamp()
        end = now if query.to is None else query.to
        start = end - HOUR_SECONDS if query.from_ is None else query.from_
        if start > end:
            raise NanoError(ErrorCode.INVALID_ARGUMENT, "from must not be after to", field="from")
        step, times, series = history.read(start, end, query.step, now)
        return Series(step_seconds=step, times=times, series=dict(series))


def _pool_sample(pool: PoolUsage) -> tuple[float, ...]:
    usage = pool.usage
    return tuple(float(pool.instances_running if name == "instances" else getattr(usage, name)) for name in POOL_SERIES)
