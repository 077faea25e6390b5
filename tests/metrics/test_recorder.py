"""From reports to answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nanocore.capabilities.compute import CellUsed, PoolUsage, ZoneUsage
from nanocore.capabilities.hypervisor import CellReport
from nanocore.capabilities.metrics import (
    GetComputePoolMetrics,
    GetInstanceMetrics,
    GetNodeMetrics,
    GetSystemMetrics,
    Series,
)
from nanocore.contracts.listing import ResourceChanged
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.errors import ErrorCode, NanoError
from nanocore.ids import NodeId
from nanocore.model.compute_pool import Usage
from nanocore.model.instance import InstanceUsage
from nanocore.wire import structs
from nanoplugins.metrics.plugin import Plugin
from nanoplugins.metrics.recorder import INSTANCE_SERIES, Recorder

CELL = NodeInfo(id=NodeId("cell-1"), name="cell-1", roles=[NodeRole.CELL])
CORE = NodeInfo(id=NodeId("core-1"), name="core-1", roles=[NodeRole.CORE])


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.recorder = Recorder(self.clock)

    def report(self, cpu_percent: float, **usage: InstanceUsage) -> None:
        report = CellReport(cores=4, cpu_percent=cpu_percent, memory_bytes=8, memory_used_bytes=2, usage=usage)
        asyncio.run(self.recorder.take_use(CellUsed(node_id=CELL.id, report=report), CORE))

    def delete(self, noun: str, id: str) -> None:
        asyncio.run(self.recorder.take_change(ResourceChanged(noun=noun, id=id, revision=1, is_deleted=True), CORE))

    def instance(self, id: str, **query: Any) -> Series:
        call: Any = None
        return asyncio.run(self.recorder.get_instance_metrics(GetInstanceMetrics(id=id, **query), call))

    def node(self, id: str, **query: Any) -> Series:
        call: Any = None
        return asyncio.run(self.recorder.get_node_metrics(GetNodeMetrics(id=id, **query), call))


def test_reports_become_series_of_node_and_instances() -> None:
    world = World()
    start = world.clock.now().timestamp()
    for turn in range(5):
        world.report(turn * 10.0, web=InstanceUsage(cpu_percent=turn + 0.5, memory_bytes=1024))
        world.clock.advance(2)
    node = world.node("cell-1")
    assert node.step_seconds == 2
    assert node.times == [start + 2 * turn for turn in range(5)]
    assert node.series["cpu_percent"] == [0, 10, 20, 30, 40]
    assert node.series["memory_bytes"] == [8] * 5
    assert node.series["instances"] == [1] * 5
    web = world.instance("web", from_=start + 4, to=start + 6)
    assert web.times == [start + 4, start + 6]
    assert web.series["cpu_percent"] == [2.5, 3.5]
    assert set(web.series) == set(INSTANCE_SERIES)


def test_the_default_range_is_the_last_hour_and_days_come_coarser() -> None:
    world = World()
    start = world.clock.now().timestamp()
    for _ in range(200):
        world.report(50.0)
        world.clock.advance(60)
    assert len(world.node("cell-1").times) <= 1801
    assert world.node("cell-1").times[0] >= world.clock.now().timestamp() - 3600
    day = world.node("cell-1", from_=start)
    assert day.step_seconds == 60
    assert len(day.times) == 200
    assert world.node("cell-1", from_=start, step=600).step_seconds == 600


def test_an_unknown_id_is_not_found_and_a_silent_one_is_empty() -> None:
    world = World()
    world.report(1.0)
    for ask in (world.node, world.instance):
        with pytest.raises(NanoError) as caught:
            ask("nobody")
        assert caught.value.code is ErrorCode.NOT_FOUND
    world.clock.advance(7200)
    assert world.node("cell-1").times == []


def test_a_range_the_wrong_way_round_is_refused() -> None:
    world = World()
    world.report(1.0)
    with pytest.raises(NanoError) as caught:
        world.node("cell-1", from_=10, to=5)
    assert caught.value.details["field"] == "from"


def test_a_deleted_instance_is_forgotten_and_a_late_report_does_not_bring_it_back() -> None:
    world = World()
    world.report(1.0, web=InstanceUsage(), db=InstanceUsage())
    world.delete("instances", "web")
    world.report(1.0, web=InstanceUsage(), db=InstanceUsage())
    with pytest.raises(NanoError):
        world.instance("web")
    assert world.instance("db").times
    world.delete("volumes", "db")
    assert world.instance("db").times
    world.delete("nodes", "cell-1")
    with pytest.raises(NanoError):
        world.node("cell-1")


def test_what_was_silent_for_a_week_is_dropped() -> None:
    world = World()
    world.report(1.0, web=InstanceUsage())
    world.clock.advance(6 * 86_400)
    asyncio.run(world.recorder.forget_old())
    assert world.instance("web").times == []
    world.clock.advance(2 * 86_400)
    asyncio.run(world.recorder.forget_old())
    with pytest.raises(NanoError):
        world.instance("web")


def zone(cpu_percent: float, running: int) -> ZoneUsage:
    use = PoolUsage(usage=Usage(cores=4, cpu_percent=cpu_percent, memory_used_bytes=2048), instances_running=running)
    return ZoneUsage(zone=use, compute_pools={"pool-1": use})


def ask_pool(recorder: Recorder, id: str, **query: Any) -> Series:
    call: Any = None
    return asyncio.run(recorder.get_compute_pool_metrics(GetComputePoolMetrics(id=id, **query), call))


def ask_zone(recorder: Recorder, **query: Any) -> Series:
    call: Any = None
    return asyncio.run(recorder.get_system_metrics(GetSystemMetrics(**query), call))


def test_compute_pools_and_the_zone_have_a_history_too() -> None:
    world = World()
    assert ask_zone(world.recorder).times == []
    with pytest.raises(NanoError):
        ask_pool(world.recorder, "pool-1")
    for turn in range(3):
        world.recorder.take_zone(zone(turn * 10.0, turn))
        world.clock.advance(2)
    assert ask_zone(world.recorder).series["cpu_percent"] == [0, 10, 20]
    assert ask_pool(world.recorder, "pool-1").series["instances"] == [0, 1, 2]
    assert ask_pool(world.recorder, "pool-1").series["memory_used_bytes"] == [2048] * 3
    world.delete("compute-pools", "pool-1")
    with pytest.raises(NanoError):
        ask_pool(world.recorder, "pool-1")


def test_a_node_shows_the_throughput_of_its_instances() -> None:
    world = World()
    rates = {"disk_read_bytes_per_second": 100.0, "network_transmit_bytes_per_second": 7.0}
    world.report(1.0, web=InstanceUsage(**rates), db=InstanceUsage(**rates))
    assert world.node("cell-1").series["disk_read_bytes_per_second"] == [200]
    assert world.node("cell-1").series["network_transmit_bytes_per_second"] == [14]


def test_a_restart_keeps_hours_and_days_and_of_instances_the_minutes() -> None:
    world = World()
    for turn in range(100):
        world.report(50.0, web=InstanceUsage(cpu_percent=25.0))
        world.recorder.take_zone(zone(10.0, turn))
        world.clock.advance(2)
    after = World()
    after.clock = world.clock
    after.recorder = Recorder(after.clock)
    for saved in world.recorder.saved():
        after.recorder.load(saved)
    start = world.clock.now().timestamp() - 3600
    assert after.node("cell-1") == world.node("cell-1")
    assert ask_zone(after.recorder) == ask_zone(world.recorder)
    assert after.instance("web", from_=start, step=60) == world.instance("web", from_=start, step=60)
    world.clock.advance(60)
    after.report(70.0)
    assert after.node("cell-1").series["cpu_percent"][-1] == 70
    assert None in after.node("cell-1").series["cpu_percent"][-32:-1]


@pytest.mark.parametrize(
    ("spoil", "is_known"),
    [({"series": ["other"]}, True), ({"kind": "volume"}, False), ({"last_at": 1.0}, False), ({"rings": []}, True)],
)
def test_what_another_version_saved_or_is_too_old_is_left_out(spoil: dict[str, Any], *, is_known: bool) -> None:
    world = World()
    world.report(50.0)
    after = World()
    after.recorder = Recorder(world.clock)
    for saved in world.recorder.saved():
        after.recorder.load(structs.replace(saved, **spoil))
    if is_known:
        assert after.node("cell-1").times == []
    else:
        with pytest.raises(NanoError):
            after.node("cell-1")


def test_routes_carry_permissions() -> None:
    routes = Plugin().nano_rest_routes()
    assert {route.key: route.message.permission for route in routes} == {
        "GET /instances/{id}/metrics": "instance.read",
        "GET /nodes/{id}/metrics": "node.read",
        "GET /compute-pools/{id}/metrics": "compute_pool.read",
        "GET /system/metrics": "system.read",
    }
