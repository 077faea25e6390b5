"""What the API shows: observed states, allowed actions, sums."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nanocore.capabilities.hypervisor import CellReport, Observed
from nanocore.contracts.node import NodeInfo, NodeRole
from nanocore.ids import ComputePoolId, InstanceId, NodeId
from nanocore.model.compute_pool import Usage
from nanocore.model.instance import DesiredState, InstanceAction, InstanceRecord, InstanceUsage, ObservedState
from nanoplugins.compute.cells import Cell
from nanoplugins.compute.views import allowed_actions, cell_usage, count_running, observe, refuse, sum_usage


def record(**changes: object) -> InstanceRecord:
    facts: dict[str, object] = {"desired": DesiredState.RUNNING, "is_created": True} | changes
    return InstanceRecord(
        id=InstanceId("a"),
        name="web",
        compute_pool_id=ComputePoolId("p"),
        node_id=NodeId("n"),
        vcpus=2,
        memory_bytes=1024,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **facts,  # type: ignore[arg-type]
    )


def cell(*, is_reachable: bool = True, has_inventory: bool = True, guest: ObservedState | None = None) -> Cell:
    made = Cell(NodeInfo(id=NodeId("n"), name="host-1", roles=[NodeRole.CELL]), is_reachable=is_reachable)
    made.has_inventory = has_inventory
    if guest is not None:
        made.guests[InstanceId("a")] = Observed(id=InstanceId("a"), name="web", state=guest)
    return made


@pytest.mark.parametrize(
    ("where", "state", "words"),
    [
        (None, ObservedState.UNKNOWN, "not registered"),
        (cell(is_reachable=False, guest=ObservedState.RUNNING), ObservedState.UNKNOWN, "host-1 is unreachable"),
        (cell(has_inventory=False, guest=ObservedState.RUNNING), ObservedState.UNKNOWN, "not reported yet"),
        (cell(), ObservedState.MISSING, "no such guest"),
        (cell(guest=ObservedState.PAUSED), ObservedState.PAUSED, ""),
    ],
)
def test_observed_state_is_what_the_cell_said_or_unknown(where: Cell | None, state: ObservedState, words: str) -> None:
    seen, reason = observe(record(), where)
    assert seen is state
    assert words in (reason or "")


def test_unfinished_creation_shows_as_creating() -> None:
    assert observe(record(is_created=False), None)[0] is ObservedState.CREATING


def test_every_action_is_listed_and_each_refusal_says_why() -> None:
    for state in ObservedState:
        actions = allowed_actions(record(), state, "some reason", None)
        assert [action.name for action in actions] == list(InstanceAction)
        assert all(action.allowed == (action.why_not is None) for action in actions)


def test_a_running_operation_blocks_all_but_the_console() -> None:
    actions = allowed_actions(record(), ObservedState.RUNNING, None, "instance.power")
    assert [action.name for action in actions if action.allowed] == [InstanceAction.CONSOLE]


def test_what_nobody_makes_any_more_can_be_deleted() -> None:
    for is_protected in (False, True):
        half_made = record(is_created=False, protected=is_protected)
        allowed = {
            kind: [
                action.name
                for action in allowed_actions(half_made, ObservedState.CREATING, None, kind)
                if action.allowed
            ]
            for kind in (None, "instance.create")
        }
        assert allowed == {None: [InstanceAction.DELETE], "instance.create": []}


def test_protection_and_unknown_state_refuse_deletion() -> None:
    assert "protected" in (
        refuse(InstanceAction.DELETE, record(protected=True), ObservedState.STOPPED, None, None) or ""
    )
    why_not = refuse(InstanceAction.DELETE, record(), ObservedState.UNKNOWN, "node host-1 is unreachable", None)
    assert why_not == "node host-1 is unreachable"


def test_a_missing_guest_can_be_started_again() -> None:
    assert refuse(InstanceAction.START, record(), ObservedState.MISSING, None, None) is None


def test_unreachable_cells_use_counts_as_unknown_not_as_running() -> None:
    away = cell(is_reachable=False, guest=ObservedState.RUNNING)
    away.report = CellReport(cores=4, cpu_percent=50, memory_bytes=8, memory_used_bytes=4)
    usage = cell_usage(away, [record()])
    assert count_running(away) == 0
    assert (usage.cores, usage.vcpus_allocated, usage.cpu_percent, usage.memory_used_bytes) == (4, 2, 0.0, 0)


def test_usage_of_a_cell_sums_its_guests_rates() -> None:
    here = cell(guest=ObservedState.RUNNING)
    rate = InstanceUsage(disk_read_bytes_per_second=10, network_transmit_bytes_per_second=5)
    here.report = CellReport(cores=2, usage={"a": rate, "b": rate})
    usage = cell_usage(here, [record()])
    assert (usage.disk_read_bytes_per_second, usage.network_transmit_bytes_per_second) == (20, 10)
    assert count_running(here) == 1


def test_sum_weighs_cpu_by_cores() -> None:
    total = sum_usage([Usage(cores=1, cpu_percent=100, memory_bytes=1), Usage(cores=3, cpu_percent=0, memory_bytes=2)])
    assert (total.cores, total.cpu_percent, total.memory_bytes) == (4, 25.0, 3)
    assert sum_usage([]) == Usage()
