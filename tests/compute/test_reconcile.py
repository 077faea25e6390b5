"""Reconciliation: what is removed, what is settled, what is only shown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nanocore.capabilities.hypervisor import CellReport, Inventory, Observed
from nanocore.capabilities.storage import VolumeInfo
from nanocore.ids import ComputePoolId, InstanceId, NetworkId, SnapshotId, VolumeId
from nanocore.model.instance import DesiredState, DiskRecord, InstanceRecord, NicRecord, ObservedState
from nanocore.wire import structs
from nanoplugins.compute.reconcile import plan
from nanoplugins.compute.records import Tombstone

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(id: str, desired: DesiredState = DesiredState.RUNNING, **changes: object) -> InstanceRecord:
    facts = {"is_created": True} | changes
    return InstanceRecord(
        id=InstanceId(id),
        name=id,
        desired=desired,
        compute_pool_id=ComputePoolId("p"),
        vcpus=1,
        memory_bytes=1024**3,
        disks=[DiskRecord(volume_id=VolumeId(f"v-{id}"), size_bytes=512)],
        nics=[NicRecord(id=f"n-{id}", mac="52:54:00:00:00:01", network_id=NetworkId("net"))],
        created_at=NOW,
        **facts,  # type: ignore[arg-type]
    )


def guest(id: str, state: ObservedState = ObservedState.RUNNING, *, is_managed: bool = True) -> Observed:
    return Observed(id=InstanceId(id), name=id, state=state, is_managed=is_managed)


def inventory(*guests: Observed, volumes: tuple[str, ...] = (), ports: tuple[str, ...] = ()) -> Inventory:
    return Inventory(
        guests=list(guests), volumes=[VolumeId(volume) for volume in volumes], ports=list(ports), report=CellReport()
    )


def grave(id: str) -> Tombstone:
    return Tombstone(id=InstanceId(id), name=id, volumes=[VolumeId(f"v-{id}")], nics=[f"n-{id}"], at=NOW)


def test_agreement_needs_nothing() -> None:
    found = plan(inventory(guest("a"), volumes=("v-a",), ports=("n-a",)), [record("a")], [], set())
    assert (found.delete_guests, found.delete_volumes, found.delete_ports) == ([], [], [])
    assert (found.start, found.settle, found.findings) == ([], {}, {})


def test_what_a_tombstone_names_is_removed() -> None:
    found = plan(inventory(guest("a"), volumes=("v-a",), ports=("n-a",)), [], [grave("a")], set())
    assert (found.delete_guests, found.delete_volumes, found.delete_ports) == (["a"], ["v-a"], ["n-a"])
    assert found.findings == {}


def test_a_busy_instance_is_left_to_its_operation() -> None:
    found = plan(inventory(guest("a"), volumes=("v-a",), ports=("n-a",)), [], [grave("a")], {InstanceId("a")})
    assert (found.delete_guests, found.delete_volumes, found.delete_ports) == ([], [], [])


def test_unknown_managed_guest_is_shown_and_left_alone() -> None:
    found = plan(inventory(guest("x"), volumes=("v-x",)), [], [], set())
    assert found.delete_guests == []
    assert found.delete_volumes == []
    assert set(found.findings) == {"x", "v-x"}


def test_foreign_guest_is_not_even_mentioned() -> None:
    found = plan(inventory(guest("x", is_managed=False)), [], [grave("x")], set())
    assert found.delete_guests == []
    assert found.findings == {}


@pytest.mark.parametrize(
    ("desired", "seen", "settled"),
    [
        (DesiredState.RUNNING, ObservedState.STOPPED, DesiredState.STOPPED),
        (DesiredState.STOPPED, ObservedState.RUNNING, DesiredState.RUNNING),
        (DesiredState.RUNNING, ObservedState.PAUSED, DesiredState.PAUSED),
        (DesiredState.RUNNING, ObservedState.CRASHED, None),
        (DesiredState.DELETED, ObservedState.RUNNING, None),
        (DesiredState.STOPPED, ObservedState.STOPPED, None),
        (DesiredState.SUSPENDED, ObservedState.SUSPENDED, None),
        (DesiredState.RUNNING, ObservedState.SUSPENDED, DesiredState.SUSPENDED),
        (DesiredState.SUSPENDED, ObservedState.RUNNING, DesiredState.RUNNING),
        (DesiredState.SUSPENDED, ObservedState.STOPPED, DesiredState.STOPPED),
    ],
)
def test_the_record_follows_the_guest(desired: DesiredState, seen: ObservedState, settled: DesiredState | None) -> None:
    found = plan(inventory(guest("a", seen)), [record("a", desired)], [], set())
    assert found.settle.get(InstanceId("a")) is settled


def test_autostart_starts_what_was_found_off() -> None:
    found = plan(inventory(guest("a", ObservedState.STOPPED)), [record("a", autostart=True)], [], set())
    assert found.start == ["a"]
    assert found.settle == {}


def test_an_unfinished_creation_is_not_judged() -> None:
    found = plan(inventory(guest("a", ObservedState.STOPPED)), [record("a", is_created=False)], [], set())
    assert (found.start, found.settle) == ([], {})


def test_a_free_volume_is_no_leftover() -> None:
    found = plan(inventory(volumes=("v-free", "v-lost")), [], [], set(), {VolumeId("v-free")})
    assert set(found.findings) == {"v-lost"}
    assert found.delete_volumes == []


def test_a_kept_volume_outlives_the_tombstone_of_its_instance() -> None:
    seen = inventory(volumes=("v-a",))
    assert plan(seen, [], [grave("a")], set(), {VolumeId("v-a")}).delete_volumes == []
    assert plan(seen, [], [grave("a")], set()).delete_volumes == ["v-a"]


def test_a_snapshot_that_was_deleted_meanwhile_is_removed_from_the_disks_that_have_it() -> None:
    gone, other = SnapshotId("s-gone"), SnapshotId("s-other")
    volumes = [
        VolumeInfo(id=VolumeId(id), path="", format="qcow2", size_bytes=1, used_bytes=1, snapshots=snapshots)
        for id, snapshots in (("v-a", [gone, other]), ("v-b", [gone]), ("v-c", [other]))
    ]
    seen = structs.replace(inventory(), volume_infos=volumes)
    tombstone = structs.replace(grave("s-gone"), volumes=[], nics=[], snapshots=[gone])
    assert plan(seen, [], [tombstone], set()).delete_snapshots == {gone: ["v-a", "v-b"]}
    assert plan(seen, [], [tombstone], {InstanceId("s-gone")}).delete_snapshots == {}
